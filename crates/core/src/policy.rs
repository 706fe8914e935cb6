//! Which policy a container gets: the pod's annotations and the node's configuration.
//!
//! The annotation keys have the form that NRI plugins share: the bare key and `/pod` speak for the
//! whole pod, `/container.<name>` for one container. The more specific one wins:
//!
//! ```text
//! supplemental-groups-policy.noderesource.dev/container.<name>
//! supplemental-groups-policy.noderesource.dev/pod
//! supplemental-groups-policy.noderesource.dev
//! supplementalGroupsPolicy in the pod's spec, where it is known (CRI proxy, Kubernetes API)
//! the node's configuration: the first rule for this pod, else the default ([`NodePolicy`])
//! ```
//!
//! [`NodePolicy::decide`] is the only place where these are weighed. The annotations that count are those of the
//! pod's **sandbox**, as of its creation: the kubelet sends the pod's current annotations with each container, so
//! they change when somebody annotates a running pod.
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

pub use node::{Facts, Labels, Mode, NodePolicy};
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
pub enum Origin {
    /// The node's configuration: no rule is for the pod.
    Default,
    /// The node's configuration: the rule with this number, from 1.
    Rule(usize),
    /// `securityContext.supplementalGroupsPolicy` of the pod's spec.
    PodField,
    /// The bare key.
    Annotation,
    /// The key with `/pod`.
    PodAnnotation,
    /// The key with `/container.<name>`.
    ContainerAnnotation,
    /// An earlier decision that the container still carries, and that nothing else explains.
    Creation,
}

/// The policy of one container, and what decided it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Decision {
    /// The policy to apply.
    pub policy: Policy,
    /// What decided it.
    pub origin: Origin,
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
    /// A key that begins like ours and has none of the legal forms, or differs from one in upper and lower case
    /// only, which Kubernetes accepts. Ignoring it would turn a typing error into a silent Merge.
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
         remove the annotation or ask the cluster administrator",
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
         change the spec or ask the cluster administrator"
    )]
    SpecMergeForbidden,
    /// A rule of the node's configuration decides by the pod's labels, and they are not known here.
    #[error(
        "a rule of this node's configuration decides by the pod's labels, which only the strict-groups plugin knows, \
         and the plugin did not process this container (it was not running, or has not read the configuration again); \
         run `strict-groups check` on the node; the kubelet tries again, unless restartPolicy is Never"
    )]
    DependsOnLabels,
}

impl PolicyError {
    /// What else the author of the pod has to do, to be appended: what decides is the sandbox, as it was created.
    #[must_use]
    pub fn then_delete(&self) -> &'static str {
        match self {
            Self::BadValue { .. }
            | Self::UnknownKey { .. }
            | Self::MergeForbidden { .. }
            | Self::Contradiction { .. } => {
                "; then delete the pod: a pod that exists keeps the annotations that it was created with"
            }
            Self::BadSpec { .. } | Self::SpecMergeForbidden => "; then delete the pod",
            Self::DependsOnLabels => "",
        }
    }

    /// The key of the annotation that is at fault, if it is one.
    #[must_use]
    pub fn key(&self) -> Option<&str> {
        match self {
            Self::BadValue { key, .. }
            | Self::UnknownKey { key }
            | Self::MergeForbidden { key }
            | Self::Contradiction { key, .. } => Some(key),
            Self::BadSpec { .. } | Self::SpecMergeForbidden | Self::DependsOnLabels => None,
        }
    }
}

/// Weighs everything that is known against one `setting` of the node, which `origin` made.
fn decide<'a, A, K, V>(
    facts: &Facts<'_, A>,
    setting: Setting,
    origin: Origin,
) -> Result<Decision, PolicyError>
where
    A: IntoIterator<Item = (&'a K, &'a V)> + Copy,
    K: AsRef<str> + ?Sized + 'a,
    V: AsRef<str> + ?Sized + 'a,
{
    let annotated = by_annotation(facts.annotations, facts.container)?;
    let field = facts.field.map(|value| {
        value
            .parse()
            .map_err(|UnknownPolicy| PolicyError::BadSpec { shown: text::quoted(value, VALUE_SHOWN) })
    });
    let forbids =
        |policy| policy == Policy::Merge && setting.policy == Policy::Strict && !setting.pods_may_override;
    match (annotated, field.transpose()?) {
        (None, None) => Ok(Decision { policy: setting.policy, origin }),
        (None, Some(policy)) if forbids(policy) => Err(PolicyError::SpecMergeForbidden),
        (None, Some(policy)) => Ok(Decision { policy, origin: Origin::PodField }),
        (Some((decision, key)), Some(spec)) if decision.policy != spec => {
            Err(PolicyError::Contradiction { key: key.to_owned(), annotation: decision.policy, spec })
        }
        (Some((decision, key)), _) if forbids(decision.policy) => {
            Err(PolicyError::MergeForbidden { key: key.to_owned() })
        }
        (Some((decision, _)), _) => Ok(decision),
    }
}

/// What the annotations of its pod say of the container named `container`, and the key that says it.
///
/// Every key that speaks for this container is checked, also one that a more specific key overrules; the keys of
/// other containers are not looked at. Of several wrong annotations the one with the smallest key is reported, so that
/// the message is the same at every try.
fn by_annotation<'a, K, V>(
    annotations: impl IntoIterator<Item = (&'a K, &'a V)>,
    container: &str,
) -> Result<Option<(Decision, &'a str)>, PolicyError>
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
                if found.is_none_or(|(best, _)| best.origin < decision.origin) {
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
    match wrong {
        Some(error) => Err(error),
        None => Ok(found),
    }
}

/// What follows [`ANNOTATION`] in a key of ours, in whatever case it is written: nothing, or a form behind a slash,
/// which need not be one that exists. None: a longer key that only begins with the same letters, or another one,
/// belongs to somebody else.
#[must_use]
pub fn form(key: &str) -> Option<&str> {
    // Kubernetes validates keys in lower case, character by character, as Unicode has it: \u{130} becomes an `i`.
    let mut rest = key.chars();
    let same =
        ANNOTATION.chars().all(|ours| rest.next().is_some_and(|c| c.to_lowercase().next() == Some(ours)));
    let form = rest.as_str();
    (same && (form.is_empty() || form.starts_with('/'))).then_some(form)
}

/// Reads one annotation; `form` is that of its key. None: it is for another container.
fn read(key: &str, form: &str, value: &str, container: &str) -> Result<Option<Decision>, PolicyError> {
    let unknown = || PolicyError::UnknownKey { key: key.to_owned() };
    if !key.starts_with(ANNOTATION) {
        return Err(unknown());
    }
    let origin = match form.strip_prefix('/') {
        None => Origin::Annotation,
        Some("pod") => Origin::PodAnnotation,
        Some(form) => match form.strip_prefix("container.") {
            None | Some("") => return Err(unknown()),
            Some(name) if name == container => Origin::ContainerAnnotation,
            Some(name) if name.eq_ignore_ascii_case(container) => return Err(unknown()),
            Some(_) => return Ok(None),
        },
    };
    match value.parse() {
        Ok(policy) => Ok(Some(Decision { policy, origin })),
        Err(UnknownPolicy) => {
            Err(PolicyError::BadValue { key: key.to_owned(), shown: text::quoted(value, VALUE_SHOWN) })
        }
    }
}

#[cfg(test)]
mod tests;
