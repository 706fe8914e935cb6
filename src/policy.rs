//! Which policy a container gets: the pod's annotations and the node's configuration.
//!
//! The annotation keys have the form that NRI plugins share: the bare key and `/pod` speak for the
//! whole pod, `/container.<name>` for one container. The more specific one wins:
//!
//! ```text
//! supplemental-groups-policy.noderesource.dev/container.<name>
//! supplemental-groups-policy.noderesource.dev/pod
//! supplemental-groups-policy.noderesource.dev
//! supplementalGroupsPolicy in the pod's spec, where the Kubernetes API is asked ([`with_spec`])
//! the node's configuration: the first rule for this pod, else the default ([`NodePolicy`])
//! ```
//!
//! The API server allows 63 characters behind the slash of a key, so a container whose name is
//! longer than 53 characters cannot be named in one; such a pod has to use a whole-pod form.

use std::fmt;
use std::str::FromStr;

use serde::Deserialize;
use thiserror::Error;

use crate::text;

mod node;
mod rule;

pub use node::{Applied, Blind, Labels, Mode, NodePolicy};
pub use rule::{Rule, RuleError};

/// The annotation's key. On its own it speaks for the whole pod.
pub const ANNOTATION: &str = "supplemental-groups-policy.noderesource.dev";

/// How much of a value or key that somebody got wrong is shown to them, in bytes.
const VALUE_SHOWN: usize = 32;
const KEY_SHOWN: usize = 128;

/// Where a process's supplementary groups come from (`supplementalGroupsPolicy` of KEP-3619).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Deserialize)]
pub enum Policy {
    /// The declared groups and those that the image's `/etc/group` gives the user. The default of
    /// Kubernetes.
    #[default]
    Merge,
    /// The declared groups (`fsGroup`, `supplementalGroups`) and the primary group only.
    Strict,
}

impl Policy {
    /// The policy as users write it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Merge => "Merge",
            Self::Strict => "Strict",
        }
    }
}

impl fmt::Display for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A text that is neither `Strict` nor `Merge`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("the policy is Strict or Merge")]
pub struct UnknownPolicy;

impl FromStr for Policy {
    type Err = UnknownPolicy;

    /// Takes `Strict` and `Merge` to the letter, as Kubernetes does with its field.
    fn from_str(text: &str) -> Result<Self, UnknownPolicy> {
        match text {
            "Merge" => Ok(Self::Merge),
            "Strict" => Ok(Self::Strict),
            _ => Err(UnknownPolicy),
        }
    }
}

/// What decided. Ordered from general to specific: the greatest one wins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Source {
    /// The node's configuration, by a rule or by its default; the pod said nothing.
    Node,
    /// `securityContext.supplementalGroupsPolicy` of the pod's spec.
    PodSpec,
    /// The bare key.
    Annotation,
    /// The key with `/pod`.
    PodAnnotation,
    /// The key with `/container.<name>`.
    ContainerAnnotation,
}

/// The policy of one container, and what decided it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Decision {
    /// The policy to apply.
    pub policy: Policy,
    /// What decided it.
    pub source: Source,
}

/// What the node's configuration says for one pod. The default is Merge for a pod that says nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Setting {
    /// The policy without an annotation.
    pub policy: Policy,
    /// Whether a pod may say Merge although `policy` is Strict. Without it such a pod is refused.
    /// It has no effect when `policy` is Merge: a pod may always ask for Strict.
    pub pods_may_override: bool,
}

/// Why a container gets no policy and must not be created.
///
/// The text is what the pod's author reads in the pod's events.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum PolicyError {
    /// The value of an annotation that speaks for this container is not a policy.
    #[error("annotation {} has the value {shown}; write Strict or Merge", text::one_line(.key, KEY_SHOWN))]
    BadValue {
        /// The annotation's key.
        key: String,
        /// The value, quoted, escaped and cut to 32 bytes.
        shown: String,
    },
    /// A key that begins like ours and has none of the legal forms. Ignoring it would turn a typing
    /// error into a silent Merge.
    #[error(
        "annotation key {} is not understood; write {ANNOTATION}, {ANNOTATION}/pod or {ANNOTATION}/container.<name>",
        text::quoted(.key, KEY_SHOWN)
    )]
    UnknownKey {
        /// The annotation's key.
        key: String,
    },
    /// The pod asks for Merge on a node that is configured to be Strict.
    #[error(
        "annotation {} says Merge, but the configuration of this node demands Strict; \
         remove the annotation or ask who runs the node",
        text::one_line(.key, KEY_SHOWN)
    )]
    MergeForbidden {
        /// The annotation's key.
        key: String,
    },
    /// The pod's spec has a policy that is none.
    #[error(
        "supplementalGroupsPolicy in the pod's spec has the value {shown}, which this node does not know; \
         write Strict or Merge"
    )]
    BadSpec {
        /// The value, quoted, escaped and cut to 32 bytes.
        shown: String,
    },
    /// The pod says one thing in its spec, and the other in an annotation.
    #[error(
        "annotation {key} says {annotation}, but supplementalGroupsPolicy in the pod's spec says {spec}; \
         remove the annotation or make both say the same"
    )]
    Contradiction {
        /// The annotation's key.
        key: String,
        /// What the annotation says.
        annotation: Policy,
        /// What the spec says.
        spec: Policy,
    },
    /// The pod's spec asks for Merge on a node that is configured to be Strict.
    #[error(
        "supplementalGroupsPolicy in the pod's spec says Merge, but the configuration of this node demands Strict; \
         change the spec or ask who runs the node"
    )]
    SpecMergeForbidden,
}

impl PolicyError {
    /// The key of the annotation that is at fault, if it is one.
    #[must_use]
    pub fn key(&self) -> Option<&str> {
        match self {
            Self::BadValue { key, .. }
            | Self::UnknownKey { key }
            | Self::MergeForbidden { key }
            | Self::Contradiction { key, .. } => Some(key),
            Self::BadSpec { .. } | Self::SpecMergeForbidden => None,
        }
    }
}

/// Decides the policy of the container named `container`.
///
/// `annotations` are all annotations of its pod, in any order (a `&HashMap<String, String>` will
/// do). Every key that speaks for this container is checked, also one that a more specific key
/// overrules; the keys of other containers are not looked at. `node` is what the configuration says
/// for this pod, see [`NodePolicy`].
///
/// # Errors
/// Says which annotation is wrong and what to write instead. Of several wrong ones it is always
/// the one with the smallest key, so that the message is the same at every try.
pub fn decide<'a, K, V>(
    annotations: impl IntoIterator<Item = (&'a K, &'a V)>,
    container: &str,
    node: &Setting,
) -> Result<Decision, PolicyError>
where
    K: AsRef<str> + ?Sized + 'a,
    V: AsRef<str> + ?Sized + 'a,
{
    let mut found: Option<(Decision, &str)> = None;
    let mut wrong: Option<PolicyError> = None;

    for (key, value) in annotations {
        let key = key.as_ref();
        let Some(form) = form(key) else { continue };
        match read(key, form, value.as_ref(), container) {
            Ok(None) => {}
            Ok(Some(decision)) => {
                if found.is_none_or(|(best, _)| best.source < decision.source) {
                    found = Some((decision, key));
                }
            }
            Err(error) => {
                if wrong.as_ref().is_none_or(|first| error.key() < first.key()) {
                    wrong = Some(error);
                }
            }
        }
    }

    if let Some(error) = wrong {
        return Err(error);
    }
    let Some((decision, key)) = found else {
        return Ok(Decision { policy: node.policy, source: Source::Node });
    };
    if decision.policy == Policy::Merge && node.policy == Policy::Strict && !node.pods_may_override {
        return Err(PolicyError::MergeForbidden { key: key.to_owned() });
    }
    Ok(decision)
}

/// Adds to what [`decide`] found for `container` what the pod's spec says: `spec` is the value of
/// `securityContext.supplementalGroupsPolicy`, None where it says nothing or is not known.
/// `pods_may_override` as in [`Setting`].
///
/// # Errors
/// The value is not a policy, an annotation that decided says the opposite, or the node does not
/// allow Merge.
pub fn with_spec(
    decision: Decision,
    spec: Option<&str>,
    container: &str,
    pods_may_override: bool,
) -> Result<Decision, PolicyError> {
    let Some(value) = spec else { return Ok(decision) };
    let policy = value
        .parse()
        .map_err(|UnknownPolicy| PolicyError::BadSpec { shown: text::quoted(value, VALUE_SHOWN) })?;
    let key = match decision.source {
        Source::Node | Source::PodSpec => None,
        Source::Annotation => Some(ANNOTATION.to_owned()),
        Source::PodAnnotation => Some(format!("{ANNOTATION}/pod")),
        Source::ContainerAnnotation => Some(format!("{ANNOTATION}/container.{container}")),
    };
    match key {
        Some(key) if decision.policy != policy => {
            Err(PolicyError::Contradiction { key, annotation: decision.policy, spec: policy })
        }
        Some(_) => Ok(decision),
        None if policy == Policy::Merge && decision.policy == Policy::Strict && !pods_may_override => {
            Err(PolicyError::SpecMergeForbidden)
        }
        None => Ok(Decision { policy, source: Source::PodSpec }),
    }
}

/// What follows [`ANNOTATION`] in a key of ours: nothing, or a form behind a slash, which need not be one that exists.
/// None: a longer key that only begins with the same letters, or another one, belongs to somebody else.
#[must_use]
pub fn form(key: &str) -> Option<&str> {
    key.strip_prefix(ANNOTATION).filter(|form| form.is_empty() || form.starts_with('/'))
}

/// Reads one annotation; `form` is that of its key. None: it is for another container.
fn read(key: &str, form: &str, value: &str, container: &str) -> Result<Option<Decision>, PolicyError> {
    let source = match form.strip_prefix('/') {
        None => Source::Annotation,
        Some("pod") => Source::PodAnnotation,
        Some(form) => match form.strip_prefix("container.") {
            None | Some("") => return Err(PolicyError::UnknownKey { key: key.to_owned() }),
            Some(name) if name == container => Source::ContainerAnnotation,
            Some(_) => return Ok(None),
        },
    };
    match value.parse() {
        Ok(policy) => Ok(Some(Decision { policy, source })),
        Err(UnknownPolicy) => {
            Err(PolicyError::BadValue { key: key.to_owned(), shown: text::quoted(value, VALUE_SHOWN) })
        }
    }
}

#[cfg(test)]
mod tests;
