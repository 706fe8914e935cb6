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
//! It reads the annotations in config.json. A pod's author writes some of them, and which ones the
//! runtime itself wrote, after those, differs between runtimes. So it is told the runtime, and looks
//! at that runtime's own keys only.
//!
//! No runtime writes the pod's labels there. Where a rule of the node's configuration makes the answer
//! hang on them, a container that carries the plugin's mark ([`crate::mark`]) starts, any other is
//! refused.

use std::path::PathBuf;

use thiserror::Error;

use crate::config::{Config, ConfigError};
use crate::gate::{self, PROGRAM, Refusal, args::STATIC};
use crate::policy::{ANNOTATION, Facts, Labels, Policy, PolicyError};
use crate::spec::{Annotations, View};
use crate::text;

const RUNTIME: &str = "--runtime=";
const CONFIG: &str = "--config=";

/// CRI-O's own id of the container.
const CRI_O_CONTAINER: &str = "io.kubernetes.cri-o.ContainerID";

/// The longest description of a wrong configuration, in bytes.
const CONFIG_SHOWN: usize = 512;

/// The static gate, as it stands in the hook's arguments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StaticGate {
    /// Who wrote the config.json.
    pub runtime: Runtime,
    /// The node's configuration, where it is not at its default place.
    pub config: Option<PathBuf>,
}

/// The container runtime that makes the config.json.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Runtime {
    /// containerd.
    Containerd,
    /// CRI-O.
    CriO,
    /// Neither: podman and others, whose containers belong to no pod. The hook is never told this one.
    Other,
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
pub struct Start<'a> {
    /// The id in the OCI state, which the container runtime chose.
    pub id: &'a str,
    /// The spec.
    pub view: &'a View,
    /// The spec's annotations.
    pub annotations: &'a Annotations,
    /// Whether the container's `/etc/group` may turn one of its groups into another one, see
    /// [`groups::alias`](crate::groups::alias).
    pub renames_groups: bool,
}

/// Why the container must not start. The text is what the pod's author reads in the pod's events.
#[derive(Debug, Error)]
pub enum StaticRefusal {
    /// There is a gate of the plugin, and it is shut.
    #[error(transparent)]
    Gate(Refusal),
    /// The policy cannot be told, or is Strict and was not enforced.
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
        "supplementalGroupsPolicy Strict is asked for, but the strict-groups plugin did not see this container \
         (it was not running, not registered with the runtime, or has not read the configuration again); see to the \
         plugin on this node; the kubelet tries again, unless restartPolicy is Never"
    )]
    NotSeen,
    /// The annotations are wrong, or not allowed here.
    #[error(transparent)]
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

/// The annotations that only the runtime itself can write, or that it writes last.
struct Keys {
    sandbox: &'static str,
    namespace: &'static str,
    pod: &'static str,
    container: &'static str,
}

impl Runtime {
    fn as_str(self) -> &'static str {
        match self {
            Self::Containerd => "containerd",
            Self::CriO => "cri-o",
            Self::Other => "other",
        }
    }

    fn keys(self) -> Keys {
        match self {
            // Put in after the pod's annotations that `pod_annotations` lets through.
            Self::Containerd => Keys {
                sandbox: "io.kubernetes.cri.sandbox-id",
                namespace: "io.kubernetes.cri.sandbox-namespace",
                pod: "io.kubernetes.cri.sandbox-name",
                container: "io.kubernetes.cri.container-name",
            },
            // All annotations of the pod come first, CRI-O's own next, the kubelet's labels last.
            Self::CriO => Keys {
                sandbox: "io.kubernetes.cri-o.SandboxID",
                namespace: "io.kubernetes.pod.namespace",
                pod: "io.kubernetes.pod.name",
                container: "io.kubernetes.container.name",
            },
            // Nobody else's annotations say who a container is: these are nobody's.
            Self::Other => Keys { sandbox: "", namespace: "", pod: "", container: "" },
        }
    }

    /// The runtime that made a config.json for the container `id`, by annotations that it alone can have
    /// written: the id is made up after the pod.
    #[must_use]
    pub fn of(annotations: &Annotations, id: &str) -> Self {
        if annotations.get(CRI_O_CONTAINER).is_some_and(|container| container == id) {
            Self::CriO
        } else if annotations.contains_key(Self::Containerd.keys().sandbox) {
            Self::Containerd
        } else {
            Self::Other
        }
    }

    /// Whether the container is one of this runtime's. CRI-O shares its folder of hooks with podman,
    /// whose containers belong to no pod.
    fn made(self, annotations: &Annotations) -> bool {
        match self {
            Self::Containerd | Self::Other => true,
            Self::CriO => annotations.contains_key(CRI_O_CONTAINER),
        }
    }
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
                    [Runtime::Containerd, Runtime::CriO].into_iter().find(|known| known.as_str() == name);
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

    /// Decides whether a container may start. `config` is asked for the node's configuration only
    /// when the answer depends on it, so that a broken one stops nothing else.
    ///
    /// # Errors
    /// Every reason to refuse.
    pub fn judge(
        &self,
        start: &Start<'_>,
        config: impl FnOnce() -> Result<Config, ConfigError>,
    ) -> Result<(), StaticRefusal> {
        let Start { id, view, annotations, renames_groups } = *start;
        let keys = self.runtime.keys();
        let value = |key: &str| annotations.get(key).map(String::as_str);
        // The id is the runtime's own, made up after the pod was written: no annotation of a pod
        // can name it beforehand.
        if value(keys.sandbox) == Some(id) || !self.runtime.made(annotations) {
            return Ok(());
        }
        if !view.gates.is_empty() {
            // Their own hooks say the same; whichever runs first, the reason is the same.
            return view
                .gates
                .iter()
                .try_for_each(|gate| gate.verify_spec(view))
                .map_err(|refusal| StaticRefusal::Gate(refusal.under(Runtime::of(annotations, id))));
        }
        let nothing_implied = view.user.additional_gids.iter().all(|gid| *gid == view.user.gid);
        if nothing_implied && !view.keeps_original_groups && !renames_groups {
            return Ok(());
        }

        let (namespace, pod) = (value(keys.namespace), value(keys.pod));
        let (container, name) = (value(keys.container), |name: Option<&str>| {
            text::one_line(name.unwrap_or("(unknown)"), gate::NAME_MAX)
        });
        let refused = |cause| StaticRefusal::Container {
            pod: format!("{}/{}", name(namespace), name(pod)),
            container: name(container),
            cause,
        };
        let config = config().map_err(|error| refused(StaticCause::Config(error)))?;
        if let (Some(namespace), Some(pod)) = (namespace, pod)
            && config.exempt().covers(namespace, pod)
        {
            return Ok(());
        }
        if container.is_none() && annotations.keys().any(|key| speaks_for_a_container(key)) {
            return Err(refused(match self.runtime {
                Runtime::Other => StaticCause::NoPod,
                Runtime::Containerd | Runtime::CriO => StaticCause::Nameless { key: keys.container },
            }));
        }
        let (node, container) = (config.node_policy(), container.unwrap_or_default());
        let unlabelled = Labels::new();
        let (namespace, labels) = match self.runtime {
            Runtime::Containerd | Runtime::CriO => (namespace, None),
            // It belongs to no pod, so no rule is for it.
            Runtime::Other => (Some(""), Some(&unlabelled)),
        };
        match node.decide(&Facts { annotations, container, namespace, labels, field: None }) {
            Ok(decision) if decision.policy == Policy::Merge => Ok(()),
            Ok(_) => Err(refused(StaticCause::NotSeen)),
            // The plugin knew them, and left the container alone.
            Err(PolicyError::DependsOnLabels) if view.seen_as_merge => Ok(()),
            Err(error) => Err(refused(StaticCause::Policy(error))),
        }
    }
}

fn speaks_for_a_container(key: &str) -> bool {
    key.strip_prefix(ANNOTATION).is_some_and(|form| form.starts_with("/container."))
}

#[cfg(test)]
mod tests;
