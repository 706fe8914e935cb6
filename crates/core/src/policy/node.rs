//! What the node's configuration says for a pod: rules by namespace and label, and a default.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::rule::Match;
use super::{Decision, Origin, Policy, PolicyError, Rule, Setting, decide};

/// The labels of a pod.
pub type Labels = BTreeMap<String, String>;

/// Whether the node's configuration counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// It does.
    #[default]
    Enforce,
    /// What it would make Strict is left alone and reported. What a pod itself asks for is done in
    /// this mode too: Strict never becomes Merge without a word.
    Audit,
}

impl Mode {
    /// The mode as the configuration has it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Enforce => "enforce",
            Self::Audit => "audit",
        }
    }
}

/// What the cluster administrator decided. The default enforces, and is Merge for pods that say nothing.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct NodePolicy {
    /// Whether the rest counts.
    pub mode: Mode,
    /// The first one that is for a pod speaks for it.
    pub rules: Vec<Rule>,
    /// For a pod that no rule is for.
    pub default: Setting,
}

/// What is known of a container when its policy is decided.
#[derive(Debug, Clone, Copy)]
pub struct Facts<'a, A> {
    /// All annotations of its pod's sandbox, as of its creation, in any order: a reference to a map.
    pub annotations: A,
    /// The container's name within the pod.
    pub container: &'a str,
    /// The pod's namespace; None: not known.
    pub namespace: Option<&'a str>,
    /// The pod's labels; None: not known.
    pub labels: Option<&'a Labels>,
    /// `supplementalGroupsPolicy` of the pod's spec; None: it says nothing, or is not known.
    pub field: Option<&'a str>,
}

impl NodePolicy {
    /// Decides the policy of a container on this node.
    ///
    /// # Errors
    /// Says which annotation or field is wrong and what to write instead, or that the policy depends on labels that
    /// are not known.
    pub fn decide<'a, A, K, V>(&self, facts: &Facts<'_, A>) -> Result<Decision, PolicyError>
    where
        A: IntoIterator<Item = (&'a K, &'a V)> + Copy,
        K: AsRef<str> + ?Sized + 'a,
        V: AsRef<str> + ?Sized + 'a,
    {
        self.decide_in(self.mode, facts)
    }

    /// The same as if the configuration had this `mode`.
    ///
    /// # Errors
    /// As [`NodePolicy::decide`].
    pub fn decide_in<'a, A, K, V>(&self, mode: Mode, facts: &Facts<'_, A>) -> Result<Decision, PolicyError>
    where
        A: IntoIterator<Item = (&'a K, &'a V)> + Copy,
        K: AsRef<str> + ?Sized + 'a,
        V: AsRef<str> + ?Sized + 'a,
    {
        let (mut merge, mut other) = (None, None);
        for (setting, origin) in self.possible(mode, facts.namespace, facts.labels) {
            match decide(facts, setting, origin) {
                Ok(decision) if decision.policy == Policy::Merge => merge = merge.or(Some(decision)),
                result => other = other.or(Some(result)),
            }
        }
        match (merge, other) {
            (None, Some(result)) => result,
            (Some(decision), None) => Ok(decision),
            (Some(_), Some(_)) | (None, None) => Err(PolicyError::DependsOnLabels),
        }
    }

    /// Every setting that may count for a pod, with what it comes from; at least one, and just one where namespace
    /// and labels are known.
    fn possible(
        &self,
        mode: Mode,
        namespace: Option<&str>,
        labels: Option<&Labels>,
    ) -> Vec<(Setting, Origin)> {
        let mut settings = Vec::new();
        if mode == Mode::Audit {
            return vec![(Setting::default(), Origin::Default)];
        }
        for (rule, number) in self.rules.iter().zip(1..) {
            match rule.matches(namespace, labels) {
                Match::No => {}
                Match::Unknown => settings.push((rule.setting(), Origin::Rule(number))),
                Match::Yes => {
                    settings.push((rule.setting(), Origin::Rule(number)));
                    return settings;
                }
            }
        }
        settings.push((self.default, Origin::Default));
        settings
    }
}

#[cfg(test)]
mod tests;
