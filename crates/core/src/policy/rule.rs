//! One `[[rule]]` of the node's configuration: the pods that it is for, and what it says for them.

use std::{collections::BTreeMap, fmt};

use serde::{
    Deserialize, Deserializer,
    de::{Error, MapAccess, Visitor, value::MapAccessDeserializer},
};
use thiserror::Error;

use super::{Labels, Policy, Setting};
use crate::text;

/// How much of a wrong entry is shown, in bytes.
const SHOWN: usize = 64;

/// A rule: its namespaces, any of which a pod must be in, its labels, all of which the pod must
/// have, and what it says for such a pod. It has namespaces, or labels, or both.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    namespaces: Vec<NamespacePattern>,
    labels: BTreeMap<LabelKey, LabelPattern>,
    setting: Setting,
}

/// Why a rule is none.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum RuleError {
    /// It would be for every pod, or for none.
    #[error(
        "a rule needs namespaces = [\"name\", \"prefix*\"] or labels = {{ key = \"value\" }}, with something in \
         them; what holds for all other pods is default_policy"
    )]
    ForNobody,
    /// Not a namespace's name or the beginning of one.
    #[error("{} is not a namespace; write \"name\" or \"prefix*\"", text::quoted(.entry, SHOWN))]
    Namespace {
        /// The entry.
        entry: String,
    },
    /// Not the key of a label.
    #[error(
        "{} is not the key of a label; write \"name\" or \"prefix/name\", of letters, digits, \"-\", \"_\" and \".\"",
        text::quoted(.entry, SHOWN)
    )]
    LabelKey {
        /// The entry.
        entry: String,
    },
    /// Not the value of a label.
    #[error(
        "{} is not the value of a label; write the whole value (letters, digits, \"-\", \"_\" and \".\"), or \
         \"*\" for any",
        text::quoted(.entry, SHOWN)
    )]
    LabelValue {
        /// The entry.
        entry: String,
    },
}

/// Whether a rule is for a pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Match {
    /// It is.
    Yes,
    /// It is not.
    No,
    /// That depends on what is not known of the pod.
    Unknown,
}

/// The table as it stands in the file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawRule {
    namespaces: Option<Vec<NamespacePattern>>,
    labels: Option<BTreeMap<LabelKey, LabelPattern>>,
    policy: Policy,
    #[serde(default)]
    pods_may_override: bool,
}

/// A namespace's name, or the beginning of names.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
struct NamespacePattern {
    name: String,
    prefix: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(try_from = "String")]
struct LabelKey(String);

/// What a label must be.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
enum LabelPattern {
    /// There, with whatever value.
    Present,
    /// This value.
    Is(String),
}

impl Rule {
    /// What it says for its pods.
    #[must_use]
    pub fn setting(&self) -> Setting {
        self.setting
    }

    /// Whether the rule is for this pod; None for what is not known of it.
    pub(super) fn matches(&self, namespace: Option<&str>, labels: Option<&Labels>) -> Match {
        let in_namespace = match namespace {
            _ if self.namespaces.is_empty() => Match::Yes,
            Some(namespace) => self.namespaces.iter().any(|pattern| pattern.covers(namespace)).into(),
            None => Match::Unknown,
        };
        let has_labels = match labels {
            _ if self.labels.is_empty() => Match::Yes,
            Some(labels) => self.labels.iter().all(|(key, value)| value.covers(labels.get(&key.0))).into(),
            None => Match::Unknown,
        };
        match (in_namespace, has_labels) {
            (Match::No, _) | (_, Match::No) => Match::No,
            (Match::Yes, Match::Yes) => Match::Yes,
            (Match::Unknown, _) | (_, Match::Unknown) => Match::Unknown,
        }
    }
}

impl From<bool> for Match {
    fn from(matches: bool) -> Self {
        if matches { Self::Yes } else { Self::No }
    }
}

impl NamespacePattern {
    fn covers(&self, namespace: &str) -> bool {
        if self.prefix { namespace.starts_with(&self.name) } else { namespace == self.name }
    }
}

impl LabelPattern {
    fn covers(&self, value: Option<&String>) -> bool {
        match self {
            Self::Present => value.is_some(),
            Self::Is(wanted) => value == Some(wanted),
        }
    }
}

/// By hand, so that an error is raised while the table is read: then it is told with the table's line,
/// not with that of the first rule.
impl<'de> Deserialize<'de> for Rule {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Table;

        impl<'de> Visitor<'de> for Table {
            type Value = Rule;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a table [[rule]]")
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Rule, A::Error> {
                RawRule::deserialize(MapAccessDeserializer::new(map))?.try_into().map_err(A::Error::custom)
            }
        }

        deserializer.deserialize_map(Table)
    }
}

impl TryFrom<RawRule> for Rule {
    type Error = RuleError;

    fn try_from(raw: RawRule) -> Result<Self, RuleError> {
        // An empty list is somebody's mistake, and would make the rule wider than it looks.
        let empty = raw.namespaces.as_ref().is_some_and(Vec::is_empty)
            || raw.labels.as_ref().is_some_and(BTreeMap::is_empty);
        if empty || (raw.namespaces.is_none() && raw.labels.is_none()) {
            return Err(RuleError::ForNobody);
        }
        Ok(Self {
            namespaces: raw.namespaces.unwrap_or_default(),
            labels: raw.labels.unwrap_or_default(),
            setting: Setting { policy: raw.policy, pods_may_override: raw.pods_may_override },
        })
    }
}

impl TryFrom<String> for NamespacePattern {
    type Error = RuleError;

    fn try_from(entry: String) -> Result<Self, RuleError> {
        let (name, prefix) = entry.strip_suffix('*').map_or((&*entry, false), |start| (start, true));
        // The characters of RFC 1123 labels, which namespaces are. A bare `*` would be every pod.
        let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        if name.is_empty() || !name.chars().all(allowed) {
            return Err(RuleError::Namespace { entry });
        }
        Ok(Self { name: name.to_owned(), prefix })
    }
}

impl TryFrom<String> for LabelKey {
    type Error = RuleError;

    fn try_from(entry: String) -> Result<Self, RuleError> {
        let (prefix, name) = entry.split_once('/').unwrap_or(("x", &entry));
        let legal = |part: &str| !part.is_empty() && part.chars().all(of_a_label);
        if legal(prefix) && legal(name) { Ok(Self(entry)) } else { Err(RuleError::LabelKey { entry }) }
    }
}

impl TryFrom<String> for LabelPattern {
    type Error = RuleError;

    fn try_from(entry: String) -> Result<Self, RuleError> {
        match &*entry {
            "*" => Ok(Self::Present),
            // A value may be empty.
            value if value.chars().all(of_a_label) => Ok(Self::Is(entry)),
            _ => Err(RuleError::LabelValue { entry }),
        }
    }
}

/// The characters of a label's key and value (Kubernetes, "Labels and Selectors").
fn of_a_label(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.')
}

#[cfg(test)]
mod tests;
