//! What was seen of the node. Texts are reasons, as they are to be shown.

use std::path::PathBuf;

use container_start::config::OldRuncExec;
use strict_groups_core::runtime_type::RuntimeType;

/// All of it.
#[derive(Debug, Clone)]
pub struct Facts {
    /// The container runtime; else why it did not answer.
    pub runtime: Result<ContainerRuntime, String>,
    /// The NRI socket.
    pub nri: Nri,
    /// The plugin's sign of life.
    pub plugin: Plugin,
    /// The runtime's handlers; else why they are not known.
    pub handlers: Result<Vec<Handler>, String>,
    /// Every executable that is a gate.
    pub hooks: Vec<Hook>,
    /// The OCI runtimes that the handlers run.
    pub oci_runtimes: Vec<OciRuntime>,
    /// The node's configuration; else what is wrong with it.
    pub config: Result<NodeConfig, String>,
    /// The pods whose sandboxes were not made by the wrapper, where handlers have it: `namespace/name`; else why that cannot
    /// be told.
    pub unwrapped_pods: Result<Vec<String>, String>,
    /// The kernel.
    pub kernel: Kernel,
}

/// The container runtime, as it names itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContainerRuntime {
    /// Such as `containerd`.
    pub name: String,
    /// Such as `1.7.24`.
    pub version: String,
    /// Whether it enforces the pod's field `supplementalGroupsPolicy` itself.
    pub native: bool,
}

/// The NRI socket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Nri {
    /// The runtime listens there.
    Reachable,
    /// There is none at this path.
    Missing(PathBuf),
    /// It is there and of no use.
    Unusable(String),
}

/// What the plugin's health file says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Plugin {
    /// It is registered with this runtime.
    Registered(String),
    /// It runs, and is not registered.
    Waiting,
    /// It runs and gives no sign of life.
    Silent(String),
    /// There is no such file.
    Unknown(PathBuf),
    /// The file cannot be used.
    Unusable(String),
}

/// A runtime handler.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Handler {
    /// Its name.
    pub name: String,
    /// Whether pods without a `RuntimeClass` get it.
    pub default: bool,
    /// What its runtime type stands for.
    pub kind: RuntimeType,
    /// Its type, where that is not known to run OCI hooks.
    pub without_hooks: Option<String>,
    /// The static gate.
    pub gate: Gate,
    /// The patterns that `pod_annotations` lacks: the annotations that they stand for do not get into config.json.
    pub missing_annotations: Vec<String>,
    /// The executable of the OCI runtime, as the container runtime's configuration names it; of Kata Containers its shim,
    /// which has none.
    pub program: String,
    /// Whether its shim runs the OCI runtime that the handler names.
    pub takes_binary_name: bool,
    /// The wrapper, which CRI-O needs, and which is one of the ways on containerd.
    pub wrapper: Wrapper,
}

impl Handler {
    /// Whether `strict-groups config containerd --wrapper` would give it the wrapper.
    pub(super) fn can_be_wrapped(&self) -> bool {
        self.takes_binary_name && self.without_hooks.is_none()
    }
}

/// Whether the OCI runtime wrapper stands before the handler's own OCI runtime.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wrapper {
    /// It does.
    Installed {
        /// The path by which the container runtime runs it.
        path: PathBuf,
        /// Our executable; None: that is the path itself.
        hook: Option<PathBuf>,
        /// The node's configuration that it reads; None: that at the default place.
        config: Option<PathBuf>,
    },
    /// It does not.
    None,
    /// It should, and cannot be used.
    Unusable(String),
}

impl Wrapper {
    /// Whether it is there and can be used.
    #[must_use]
    pub fn is_installed(&self) -> bool {
        matches!(self, Self::Installed { .. })
    }
}

/// The static gate of a handler.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Gate {
    /// It is there.
    Installed {
        /// Its executable.
        hook: PathBuf,
        /// The node's configuration that it reads; None: that at the default place.
        config: Option<PathBuf>,
    },
    /// It is not there.
    None,
    /// It is not known.
    Unreadable(String),
}

/// An executable that is a gate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hook {
    /// Its path.
    pub path: PathBuf,
    /// The version that it says it has; else why it cannot be run.
    pub version: Result<String, String>,
}

/// An OCI runtime.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OciRuntime {
    /// Its executable, as the container runtime's configuration names it.
    pub program: String,
    /// Name and version, one line of what it says; else why that is not known.
    pub version: Result<String, String>,
}

/// The node's configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeConfig {
    /// The file that was read; the default one may be missing.
    pub path: PathBuf,
    /// Whether nothing of it is enforced.
    pub audit: bool,
    /// Whether the wrapper makes containers Strict that no plugin saw.
    pub wrapper_resolves: bool,
    /// What becomes of containers whose execs could gain groups under runc before 1.3.
    pub old_runc_exec: OldRuncExec,
    /// Mode, default policy and number of rules.
    pub summary: String,
}

/// What of the kernel matters here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kernel {
    /// `uname -r`.
    pub release: String,
    /// Whether `openat2(2)` works (Linux 5.6).
    pub openat2: bool,
    /// The version of the control groups.
    pub cgroups: Cgroups,
}

/// The version of the control groups (`cgroups(7)`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cgroups {
    /// Version 2 alone.
    V2,
    /// Version 1, or both.
    V1,
    /// None are mounted.
    None,
}
