//! Which pods the static gate lets start although the plugin did not see them.
//!
//! On a cold node something has to run before the plugin does: static pods, and the plugin's own
//! pod. The cluster administrator names them; the names are those that the runtime itself wrote down, never
//! what a pod's author can write.

use serde::Deserialize;
use thiserror::Error;

use crate::text;

/// How much of a wrong entry is shown, in characters.
const SHOWN: usize = 64;

/// The pods that are exempt. The default is none.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Exempt {
    namespaces: Vec<Namespace>,
    pods: Vec<PodPattern>,
}

/// The name of a namespace, all of whose pods are exempt.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
struct Namespace(String);

/// One pod, or all pods of a namespace whose name begins in a certain way.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
struct PodPattern {
    namespace: String,
    name: String,
    prefix: bool,
}

/// An entry that is no exemption.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ExemptError {
    /// Not the name of a namespace.
    #[error("{} is not the name of a namespace", text::quoted(.entry, SHOWN))]
    Namespace {
        /// The entry.
        entry: String,
    },
    /// Not the name of a pod with its namespace.
    #[error("{} is not a pod; write \"namespace/name\" or \"namespace/prefix*\"", text::quoted(.entry, SHOWN))]
    Pod {
        /// The entry.
        entry: String,
    },
}

impl Exempt {
    /// Whether this pod is exempt.
    #[must_use]
    pub fn covers(&self, namespace: &str, pod: &str) -> bool {
        self.namespaces.iter().any(|exempt| exempt.0 == namespace)
            || self.pods.iter().any(|exempt| exempt.covers(namespace, pod))
    }
}

impl PodPattern {
    fn covers(&self, namespace: &str, pod: &str) -> bool {
        let named = if self.prefix { pod.starts_with(&self.name) } else { pod == self.name };
        named && namespace == self.namespace
    }
}

impl TryFrom<String> for Namespace {
    type Error = ExemptError;

    fn try_from(entry: String) -> Result<Self, ExemptError> {
        if is_name(&entry) { Ok(Self(entry)) } else { Err(ExemptError::Namespace { entry }) }
    }
}

impl TryFrom<String> for PodPattern {
    type Error = ExemptError;

    fn try_from(entry: String) -> Result<Self, ExemptError> {
        let Some((namespace, name)) = entry.split_once('/') else { return Err(ExemptError::Pod { entry }) };
        let (name, prefix) = name.strip_suffix('*').map_or((name, false), |start| (start, true));
        // A bare `*` would be the whole namespace: that has a list of its own.
        if is_name(namespace) && is_name(name) {
            Ok(Self { namespace: namespace.to_owned(), name: name.to_owned(), prefix })
        } else {
            Err(ExemptError::Pod { entry })
        }
    }
}

/// The characters that Kubernetes allows in the names of namespaces and pods (RFC 1123).
fn is_name(text: &str) -> bool {
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '.');
    !text.is_empty() && text.chars().all(allowed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exempt(namespaces: &[&str], pods: &[&str]) -> Exempt {
        Exempt {
            namespaces: namespaces
                .iter()
                .map(|entry| Namespace::try_from((*entry).to_owned()).unwrap())
                .collect(),
            pods: pods.iter().map(|entry| PodPattern::try_from((*entry).to_owned()).unwrap()).collect(),
        }
    }

    #[test]
    fn nothing_is_exempt_by_default() {
        assert!(!Exempt::default().covers("kube-system", "kube-proxy"));
        assert!(!Exempt::default().covers("", ""));
    }

    #[test]
    fn namespaces_are_taken_whole() {
        let exempt = exempt(&["kube-system"], &[]);
        assert!(exempt.covers("kube-system", "anything"));
        for other in ["kube-systems", "kube-syste", "KUBE-SYSTEM", ""] {
            assert!(!exempt.covers(other, "anything"), "{other}");
        }
    }

    #[test]
    fn pods_by_name_or_prefix_in_their_namespace() {
        let exempt = exempt(&[], &["infra/etcd", "infra/proxy-*"]);
        assert!(exempt.covers("infra", "etcd") && exempt.covers("infra", "proxy-node1"));
        assert!(exempt.covers("infra", "proxy-"));
        for (namespace, pod) in
            [("infra", "etcd-1"), ("infra", "proxy"), ("default", "etcd"), ("default", "proxy-node1")]
        {
            assert!(!exempt.covers(namespace, pod), "{namespace}/{pod}");
        }
    }

    #[test]
    fn entries_that_exempt_more_than_they_say_are_errors() {
        for entry in ["", "*", "a*", "a/b", "A", "a b", "kube_system"] {
            let error = Namespace::try_from(entry.to_owned()).unwrap_err();
            assert_eq!(error, ExemptError::Namespace { entry: entry.to_owned() });
        }
        for entry in ["", "web", "*", "*/*", "ns/*", "ns/", "/web", "*/web", "ns/w*b", "ns/web**", "a/b/c"] {
            let error = PodPattern::try_from(entry.to_owned()).unwrap_err();
            assert_eq!(error, ExemptError::Pod { entry: entry.to_owned() });
        }
    }
}
