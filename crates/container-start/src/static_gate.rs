//! The static gate: the hook in the form that the node's configuration installs for every container.
//!
//! ```text
//! strict-groups hook --gate=static --runtime=containerd [--config=<file>]
//! ```
//!
//! NRI fails open: while the plugin is away, the runtime creates containers as if there were no
//! policy. This gate does not depend on NRI. It refuses a container whose policy is Strict and that
//! carries no gate of the plugin, since nobody can have filtered its groups.
//!
//! It reads annotations in config.json files. A pod's author writes some of them, and which ones the container runtime
//! itself wrote, after those, differs between container runtimes. So it is told the container runtime, and looks at that
//! one's own keys only.
//!
//! The annotations that count are those of the pod's sandbox. containerd copies into a container's config.json the
//! pod's annotations as they are when the container is created, so there the sandbox's own config.json is read. One
//! that lacks the annotation `kubernetes.io/config.source`, which the kubelet always sets, was made before the node
//! was configured: its policy is not known.
//!
//! No container runtime writes the pod's labels there. Where the policy depends on them, or is not known, a container
//! that carries the plugin's Merge marker ([`strict_groups_core::merge_marker`]) starts, any other is refused unless it has nothing to lose.

use std::path::PathBuf;

use thiserror::Error;

use crate::config::{Config, ConfigError};
use strict_groups_core::engine::Engine;
use strict_groups_core::gate::Refusal;
use strict_groups_core::hook_args::{PROGRAM, STATIC};
use strict_groups_core::oci::{self, Annotations, Hooks, OciError};
use strict_groups_core::policy::{ANNOTATION, Facts, Labels, Policy, PolicyError};
use strict_groups_core::spec::View;
use strict_groups_core::text;

const RUNTIME: &str = "--runtime=";
const CONFIG: &str = "--config=";

/// By it the kubelet says where it has a pod from. It sets it itself, for every pod.
pub const CONFIG_SOURCE: &str = "kubernetes.io/config.source";

/// The longest description of a wrong configuration, in bytes.
const CONFIG_SHOWN: usize = 512;

/// The static gate, as it stands in the hook's arguments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StaticGate {
    /// Who wrote the config.json.
    pub runtime: Engine,
    /// The node's configuration, where it is not at its default place.
    pub config: Option<PathBuf>,
}

/// Arguments that say static gate and something that is not understood.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum StaticGateError {
    /// An argument that this version does not know, or that stands twice.
    #[error("the static gate has an unknown argument {}", text::quoted(.arg, 64))]
    Unknown {
        /// The argument.
        arg: String,
    },
    /// The runtime must be named.
    #[error("the static gate lacks --runtime=containerd or --runtime=cri-o")]
    NoRuntime,
}

/// What the OCI runtime is about to start.
#[derive(Debug, Clone, Copy)]
pub struct Candidate<'a> {
    /// The id in the OCI state, which the container runtime chose.
    pub id: &'a str,
    /// The spec.
    pub view: &'a View,
    /// The spec's annotations.
    pub annotations: &'a Annotations,
}

/// What is known of a pod by its sandbox, as of the sandbox's creation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sandbox {
    /// The pod's annotations.
    pub annotations: Annotations,
    /// The pod's labels; None: not known.
    pub labels: Option<Labels>,
}

impl Sandbox {
    /// What the `annotations` of the sandbox's config.json say. None: it was made before this node was configured, so
    /// they are not those of the pod.
    #[must_use]
    pub fn in_config(annotations: Annotations) -> Option<Self> {
        annotations.contains_key(CONFIG_SOURCE).then_some(Self { annotations, labels: None })
    }
}

type AskSandbox<'a> = Box<dyn FnOnce(&str) -> Option<Sandbox> + 'a>;
type AskConfig<'a> = Box<dyn FnOnce() -> Result<Config, ConfigError> + 'a>;

/// The policy of a candidate that no gate of the plugin speaks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Merge, exempt, a sandbox, or another container runtime's: nothing is to be done.
    Merge,
    /// Strict.
    Strict {
        /// The pod, as `namespace/name`.
        pod: String,
        /// The container's name within the pod.
        container: String,
    },
}

/// Why the container must not start. The text is what the pod's author reads in the pod's events.
#[derive(Debug, Error)]
pub enum StaticRefusal {
    /// There is a gate of the plugin, and it is shut.
    #[error(transparent)]
    Gate(Refusal),
    /// The policy is not known, or is Strict and was not enforced.
    #[error("strict-groups: pod {pod}, container {container}: {cause}")]
    Container {
        /// The pod, as `namespace/name`.
        pod: String,
        /// The container's name within the pod.
        container: String,
        /// What is wrong.
        cause: StaticCause,
    },
}

/// What is wrong with a container that carries no gate of the plugin.
#[derive(Debug, Error)]
pub enum StaticCause {
    /// Nobody filtered the groups.
    #[error(
        "supplementalGroupsPolicy Strict is asked for, but the strict-groups plugin did not process this container \
         (it was not running, not registered with the container runtime, or has not read the configuration again); \
         run `strict-groups check` on the node; the kubelet tries again, unless restartPolicy is Never"
    )]
    NotSeen,
    /// The sandbox's annotations were not written down for us.
    #[error(
        "whether the pod asks for supplementalGroupsPolicy Strict is not known: its sandbox was made before this node \
         was set up for strict-groups, and the plugin did not process this container; run `strict-groups check` on \
         the node, or delete the pod"
    )]
    UnknownSandbox,
    /// The annotations are wrong, or not allowed here.
    #[error("{_0}{}", _0.then_delete())]
    Policy(PolicyError),
    /// The answer depends on the node's configuration, and that cannot be used.
    #[error("refused, because the policy of this node cannot be read: {}", .0.one_line(CONFIG_SHOWN))]
    Config(ConfigError),
    /// A container of no pod, and an annotation speaks for one of a pod by its name.
    #[error(
        "refused: an annotation speaks for a container of a pod by its name, and this one is in none; write {ANNOTATION}"
    )]
    NoPod,
    /// The runtime did not write down the container's name, and an annotation speaks for a name.
    #[error("refused: config.json has no annotation {key} that names the container")]
    Nameless {
        /// The annotation that is missing.
        key: &'static str,
    },
}

impl StaticGate {
    /// The hook's `args`, the program's name (`args[0]`) included.
    #[must_use]
    pub fn args(&self) -> Vec<String> {
        let mut args: Vec<String> = PROGRAM.map(String::from).into();
        args.push(STATIC.to_owned());
        args.push(format!("{RUNTIME}{}", self.runtime.as_str()));
        args.extend(self.config.as_ref().map(|path| format!("{CONFIG}{}", path.display())));
        args
    }

    /// Reads a hook's `args`. None: not a static gate.
    ///
    /// # Errors
    /// When the third argument says static gate and the rest is not understood.
    pub fn parse(args: &[impl AsRef<str>]) -> Result<Option<Self>, StaticGateError> {
        let mut args = args.iter().map(AsRef::as_ref);
        if PROGRAM.iter().chain([&STATIC]).any(|wanted| args.next() != Some(*wanted)) {
            return Ok(None);
        }
        let (mut runtime, mut config) = (None, None);
        for arg in args {
            let unknown = || StaticGateError::Unknown { arg: arg.to_owned() };
            if let Some(name) = arg.strip_prefix(RUNTIME) {
                let known =
                    [Engine::Containerd, Engine::CriO].into_iter().find(|known| known.as_str() == name);
                if runtime.replace(known.ok_or_else(unknown)?).is_some() {
                    return Err(unknown());
                }
            } else {
                let path = arg.strip_prefix(CONFIG).filter(|path| !path.is_empty()).ok_or_else(unknown)?;
                if config.replace(PathBuf::from(path)).is_some() {
                    return Err(unknown());
                }
            }
        }
        Ok(Some(Self { runtime: runtime.ok_or(StaticGateError::NoRuntime)?, config }))
    }

    /// The static gate among the createRuntime hooks of a spec. None also for one that is not understood: its own process
    /// refuses.
    ///
    /// # Errors
    /// The spec is not understood.
    pub fn in_spec(json: &[u8]) -> Result<Option<Self>, OciError> {
        let hooks = Hooks::read(&oci::root(json)?)?;
        Ok(hooks.args().find_map(|args| Self::parse(args).ok().flatten()))
    }

    /// Decides whether a container may start. None: it may. Otherwise it is Strict, or could be, and may start with
    /// the groups that it has; pod and container are given for whoever checks what else can change them.
    ///
    /// `config` is asked for the node's configuration unless a gate of the plugin speaks for the container, `sandbox` for
    /// the pod's sandbox only when the answer depends on it. A Merge container with nothing to lose starts also where
    /// either is broken.
    ///
    /// # Errors
    /// Every reason to refuse.
    pub fn judge(
        &self,
        candidate: &Candidate<'_>,
        sandbox: impl FnOnce(&str) -> Option<Sandbox>,
        config: impl FnOnce() -> Result<Config, ConfigError>,
    ) -> Result<Option<(String, String)>, StaticRefusal> {
        let Candidate { id, view, annotations } = *candidate;
        if !view.gates.is_empty() && !self.is_unconcerned(candidate) {
            // Their own hooks say the same, and check the rest; whichever runs first, the reason is the same.
            return view
                .gates
                .iter()
                .try_for_each(|gate| gate.verify_spec(&view.user, view.keeps_original_groups))
                .map(|()| None)
                .map_err(|refusal| StaticRefusal::Gate(refusal.under(Engine::of(annotations, id))));
        }
        let nothing_to_lose = nothing_to_lose(view);
        match self.decide(candidate, sandbox, config) {
            Ok(Verdict::Merge) => Ok(None),
            Ok(Verdict::Strict { pod, container }) if nothing_to_lose => Ok(Some((pod, container))),
            Ok(Verdict::Strict { pod, container }) => {
                Err(StaticRefusal::Container { pod, container, cause: StaticCause::NotSeen })
            }
            Err(StaticRefusal::Container { pod, container, cause })
                if nothing_to_lose && cause.is_no_fault_of_the_pod() =>
            {
                Ok(Some((pod, container)))
            }
            Err(refusal) => Err(refusal),
        }
    }

    /// Decides the policy of a container that no gate of the plugin speaks for.
    ///
    /// # Errors
    /// It is not known, or what the pod says is wrong.
    pub fn decide(
        &self,
        candidate: &Candidate<'_>,
        sandbox: impl FnOnce(&str) -> Option<Sandbox>,
        config: impl FnOnce() -> Result<Config, ConfigError>,
    ) -> Result<Verdict, StaticRefusal> {
        self.decide_by(candidate, Box::new(sandbox), Box::new(config))
    }

    /// The same: once in the binary for all callers.
    fn decide_by<'a>(
        &self,
        candidate: &Candidate<'_>,
        sandbox: AskSandbox<'a>,
        config: AskConfig<'a>,
    ) -> Result<Verdict, StaticRefusal> {
        if self.is_unconcerned(candidate) {
            return Ok(Verdict::Merge);
        }
        let Candidate { view, annotations, .. } = *candidate;
        let keys = self.runtime.keys();
        let value = |key: &str| annotations.get(key).map(String::as_str);
        let (namespace, pod, name) = (value(keys.namespace), value(keys.pod), value(keys.container));
        let shown = |name: Option<&str>| text::one_line(name.unwrap_or("(unknown)"), text::NAME_MAX);
        let (full_name, container) = (format!("{}/{}", shown(namespace), shown(pod)), shown(name));
        let refused = |cause| {
            let (pod, container) = (full_name.clone(), container.clone());
            StaticRefusal::Container { pod, container, cause }
        };
        let config = config().map_err(|error| refused(StaticCause::Config(error)))?;
        if let (Some(namespace), Some(pod)) = (namespace, pod)
            && config.exempt().covers(namespace, pod)
        {
            return Ok(Verdict::Merge);
        }
        let of_sandbox;
        // Of other container runtimes no labels are known; who belongs to no pod has none, and no rule is for it.
        let unlabelled = Labels::new();
        let (annotations, namespace, labels) = match self.runtime {
            Engine::CriO => (annotations, namespace, None),
            Engine::Other => (annotations, Some(""), Some(&unlabelled)),
            Engine::Containerd => match value(keys.sandbox).and_then(sandbox) {
                Some(found) => {
                    of_sandbox = found;
                    (&of_sandbox.annotations, namespace, of_sandbox.labels.as_ref())
                }
                None if view.seen_as_merge => return Ok(Verdict::Merge),
                None => return Err(refused(StaticCause::UnknownSandbox)),
            },
        };
        if name.is_none() && annotations.keys().any(|key| speaks_for_a_container(key)) {
            return Err(refused(match self.runtime {
                Engine::Other => StaticCause::NoPod,
                Engine::Containerd | Engine::CriO => StaticCause::Nameless { key: keys.container },
            }));
        }
        let facts =
            Facts { annotations, container: name.unwrap_or_default(), namespace, labels, field: None };
        match config.node_policy().decide(&facts) {
            Ok(decision) if decision.policy == Policy::Merge => Ok(Verdict::Merge),
            Ok(_) => Ok(Verdict::Strict { pod: full_name, container }),
            // The plugin knew them, and left the container alone.
            Err(PolicyError::DependsOnLabels) if view.seen_as_merge => Ok(Verdict::Merge),
            Err(error) => Err(refused(StaticCause::Policy(error))),
        }
    }

    /// Whether the candidate is a sandbox, or another container runtime's.
    fn is_unconcerned(&self, candidate: &Candidate<'_>) -> bool {
        let sandbox = candidate.annotations.get(self.runtime.keys().sandbox);
        // The id is the container runtime's own, made up after the pod was written: no annotation of a pod can name it
        // beforehand.
        sandbox.is_some_and(|sandbox| sandbox == candidate.id) || !self.runtime.made(candidate.annotations)
    }
}

impl StaticCause {
    /// Whether only the policy was not known.
    #[must_use]
    pub fn is_no_fault_of_the_pod(&self) -> bool {
        match self {
            Self::UnknownSandbox | Self::Config(_) | Self::Policy(PolicyError::DependsOnLabels) => true,
            Self::NotSeen | Self::Policy(_) | Self::NoPod | Self::Nameless { .. } => false,
        }
    }
}

/// Whether a process made by this spec is Strict as it is: it has its primary group only.
#[must_use]
pub fn nothing_to_lose(view: &View) -> bool {
    // An empty list is none to keep to: a runtime may not call setgroups then, see [`strict_groups_core::groups::strict`].
    let made = &view.user.additional_gids;
    !made.is_empty() && made.iter().all(|gid| *gid == view.user.gid) && !view.keeps_original_groups
}

fn speaks_for_a_container(key: &str) -> bool {
    key.strip_prefix(ANNOTATION).is_some_and(|form| form.starts_with("/container."))
}

#[cfg(test)]
mod tests;
