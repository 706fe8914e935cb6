//! What the node's configuration says for a pod: rules by namespace and label, and a default.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::rule::Match;
use super::{Decision, Policy, PolicyError, Rule, Setting, decide};

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

/// What who runs the node decided. The default enforces, and is Merge for pods that say nothing.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct NodePolicy {
    /// Whether the rest counts.
    pub mode: Mode,
    /// The first one that is for a pod speaks for it.
    pub rules: Vec<Rule>,
    /// For a pod that no rule is for.
    pub default: Setting,
}

/// What the configuration says for one pod, and which part of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Applied {
    /// What it says.
    pub setting: Setting,
    /// The number of the rule, from 1; None for the default.
    pub rule: Option<usize>,
}

/// What can be told of a container whose pod's labels are not known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Blind {
    /// The same as with them.
    Decided(Result<Decision, PolicyError>),
    /// It is Merge, or it is not: that hangs on the labels.
    HangsOnLabels,
}

impl NodePolicy {
    /// What the configuration says for this pod, whether it counts or not.
    #[must_use]
    pub fn applied(&self, namespace: &str, labels: &Labels) -> Applied {
        let is_for = |rule: &Rule| rule.matches(Some(namespace), Some(labels)) == Match::Yes;
        let rules = self.rules.iter().zip(1..);
        let first =
            rules.filter(|(rule, _)| is_for(rule)).map(|(rule, number)| (rule.setting(), number)).next();
        match first {
            Some((setting, number)) => Applied { setting, rule: Some(number) },
            None => Applied { setting: self.default, rule: None },
        }
    }

    /// What counts for this pod.
    #[must_use]
    pub fn setting(&self, namespace: &str, labels: &Labels) -> Setting {
        match self.mode {
            Mode::Enforce => self.applied(namespace, labels).setting,
            Mode::Audit => Setting::default(),
        }
    }

    /// Decides like [`decide`] for a container of whose pod nobody knows the labels, nor the
    /// namespace if that is None. `annotations` is a reference to a map.
    pub fn decide_blind<'a, K, V>(
        &self,
        annotations: impl IntoIterator<Item = (&'a K, &'a V)> + Copy,
        container: &str,
        namespace: Option<&str>,
    ) -> Blind
    where
        K: AsRef<str> + ?Sized + 'a,
        V: AsRef<str> + ?Sized + 'a,
    {
        let (mut merge, mut other) = (None, None);
        for setting in self.possible(namespace) {
            match decide(annotations, container, &setting) {
                Ok(decision) if decision.policy == Policy::Merge => merge = Some(decision),
                result => other = other.or(Some(result)),
            }
        }
        match (merge, other) {
            (None, Some(result)) => Blind::Decided(result),
            (Some(decision), None) => Blind::Decided(Ok(decision)),
            (Some(_), Some(_)) | (None, None) => Blind::HangsOnLabels,
        }
    }

    /// Every setting that may count for a pod of this namespace; at least one.
    fn possible(&self, namespace: Option<&str>) -> Vec<Setting> {
        let mut settings = Vec::new();
        if self.mode == Mode::Audit {
            return vec![Setting::default()];
        }
        for rule in &self.rules {
            match rule.matches(namespace, None) {
                Match::No => {}
                Match::Unknown => settings.push(rule.setting()),
                Match::Yes => {
                    settings.push(rule.setting());
                    return settings;
                }
            }
        }
        settings.push(self.default);
        settings
    }
}

#[cfg(test)]
mod tests;
