//! The node's configuration, `/etc/strict-groups/config.toml`.
//!
//! ```toml
//! mode = "enforce"            # or "audit": do nothing of what follows, and report what it would do
//! default_policy = "Merge"    # for pods without the annotation: "Merge" or "Strict"
//! pods_may_override = false   # with "Strict": may a pod's annotation say "Merge"?
//! hook_path = "/usr/bin/strict-groups"   # the gate, as the OCI runtime finds it
//! old_runc_exec = "refuse"    # exec under runc before 1.3, where it can gain groups: or "allow"
//! nri_that_can_deadlock = false  # register with a containerd before 1.7.16?
//!
//! [[rule]]                    # before the default; the first one for a pod wins
//! namespaces = ["prod", "team-*"]
//! labels = { app = "web", tier = "*" }
//! policy = "Strict"
//! pods_may_override = true
//!
//! [exempt]                    # from the static gate: may start while the plugin is away
//! namespaces = ["kube-system"]
//! pods = ["ns/name", "ns/prefix-*"]
//!
//! [kubernetes]                # ask the API server what pods declare
//! enabled = false
//! kubeconfig = "/etc/kubernetes/kubelet.conf"
//!
//! [runtime]                   # for strict-groups-runtime
//! path = "/usr/bin/runc"      # the underlying OCI runtime
//! ungated = "resolve"         # a Strict container that no plugin saw: "resolve" or "refuse"
//! ```
//!
//! Every key is optional, and so is the file at its default place. `packaging/config.toml` says more.

use std::{
    io,
    path::{Path, PathBuf},
};

use serde::Deserialize;

use hostfs::ownership::{self, Untrusted};
use strict_groups_core::{
    exempt::Exempt,
    policy::{Mode, NodePolicy, Policy, Rule, Setting},
};

mod absolute;
mod error;
mod kubernetes;
mod wrapper;

use absolute::Absolute;
pub use error::ConfigError;
pub use kubernetes::Kubernetes;
pub use wrapper::{RuntimeConfig, Ungated};

/// Where the configuration is looked for when the command line names none.
pub const DEFAULT_PATH: &str = "/etc/strict-groups/config.toml";

/// Which OCI runtime is the underlying one, as a configuration with an error in it says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UnderlyingRuntime {
    /// `runtime.path`.
    Path(PathBuf),
    /// The same in a file that others than root may have written.
    NotTrusted(PathBuf),
    /// The first one that is found.
    NotSet,
    /// Nobody can tell.
    Unclear,
}

/// What becomes of a Strict container whose execs could gain groups under runc before 1.3, which looks groups up by
/// name in a file that the container can write.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OldRuncExec {
    /// It does not start; where the wrapper is the OCI runtime, the exec fails instead.
    #[default]
    Refuse,
    /// It starts, and the exec runs.
    Allow,
}

impl OldRuncExec {
    /// The value as the configuration has it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Refuse => "refuse",
            Self::Allow => "allow",
        }
    }
}

/// What the node's administrator decided.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    mode: Mode,
    default_policy: Policy,
    pods_may_override: bool,
    #[serde(rename = "rule")]
    rules: Vec<Rule>,
    hook_path: Option<Absolute>,
    old_runc_exec: OldRuncExec,
    nri_that_can_deadlock: bool,
    exempt: Exempt,
    kubernetes: Kubernetes,
    runtime: RuntimeConfig,
}

impl Config {
    /// Reads `path`, or [`DEFAULT_PATH`] when none is given; only the latter
    /// may be missing, and then every setting has its default. Nobody but root
    /// may be able to change the file (see [`ownership`]).
    ///
    /// # Errors
    /// The file is not root's alone, cannot be read, is not TOML, or says something unknown.
    pub fn load(path: Option<&Path>) -> Result<Self, ConfigError> {
        let file = path.unwrap_or(Path::new(DEFAULT_PATH));
        match ownership::check(file, ownership::Kind::File) {
            Ok(()) | Err(Untrusted::Missing { .. }) => {}
            Err(untrusted) => return Err(ConfigError::NotTrusted(untrusted)),
        }
        match std::fs::read_to_string(file) {
            Ok(text) => Self::parse(&text, file),
            Err(error) if path.is_none() && error.kind() == io::ErrorKind::NotFound => Ok(Self::default()),
            Err(source) => Err(ConfigError::Read { path: file.to_owned(), source }),
        }
    }

    /// Understands the text of a configuration file; `path` is for messages.
    ///
    /// # Errors
    /// As [`Config::load`].
    pub fn parse(text: &str, path: &Path) -> Result<Self, ConfigError> {
        toml::from_str(text)
            .map_err(|source| ConfigError::Parse { path: path.to_owned(), source: Box::new(source) })
    }

    /// What holds for the pods of this node.
    #[must_use]
    pub fn node_policy(&self) -> NodePolicy {
        NodePolicy {
            mode: self.mode,
            rules: self.rules.clone(),
            default: Setting { policy: self.default_policy, pods_may_override: self.pods_may_override },
        }
    }

    /// The gate's executable as the OCI runtime finds it, where it is not our
    /// own (a plugin that runs in a container has another view of the files).
    #[must_use]
    pub fn hook_path(&self) -> Option<&Path> {
        self.hook_path.as_ref().map(Absolute::as_path)
    }

    /// What becomes of a Strict container whose execs could gain groups under runc before 1.3.
    #[must_use]
    pub fn old_runc_exec(&self) -> OldRuncExec {
        self.old_runc_exec
    }

    /// Whether the plugin registers with a containerd that can hang for good when a plugin registers: one before 1.7.16.
    #[must_use]
    pub fn nri_that_can_deadlock(&self) -> bool {
        self.nri_that_can_deadlock
    }

    /// The top-level keys whose values are not the same in both.
    #[must_use]
    pub fn differences(&self, other: &Self) -> Vec<&'static str> {
        // Every field by name: a new one cannot be forgotten.
        let Self {
            mode,
            default_policy,
            pods_may_override,
            rules,
            hook_path,
            old_runc_exec,
            nri_that_can_deadlock,
            exempt,
            kubernetes,
            runtime,
        } = self;
        [
            ("mode", *mode != other.mode),
            ("default_policy", *default_policy != other.default_policy),
            ("pods_may_override", *pods_may_override != other.pods_may_override),
            ("rule", *rules != other.rules),
            ("hook_path", *hook_path != other.hook_path),
            ("old_runc_exec", *old_runc_exec != other.old_runc_exec),
            ("nri_that_can_deadlock", *nri_that_can_deadlock != other.nri_that_can_deadlock),
            ("exempt", *exempt != other.exempt),
            ("kubernetes", *kubernetes != other.kubernetes),
            ("runtime", *runtime != other.runtime),
        ]
        .into_iter()
        .filter_map(|(key, differs)| differs.then_some(key))
        .collect()
    }

    /// What the OCI runtime wrapper does.
    #[must_use]
    pub fn runtime(&self) -> &RuntimeConfig {
        &self.runtime
    }

    /// What the file that [`Config::load`] would read, and refused, says of the underlying OCI runtime.
    #[must_use]
    pub fn runtime_despite_errors(path: Option<&Path>) -> UnderlyingRuntime {
        let file = path.unwrap_or(Path::new(DEFAULT_PATH));
        let Ok(text) = std::fs::read_to_string(file) else { return UnderlyingRuntime::Unclear };
        match RuntimeConfig::path_despite_errors(&text) {
            Ok(Some(path)) if ownership::check(file, ownership::Kind::File).is_ok() => {
                UnderlyingRuntime::Path(path)
            }
            Ok(Some(path)) => UnderlyingRuntime::NotTrusted(path),
            Ok(None) => UnderlyingRuntime::NotSet,
            Err(_) => UnderlyingRuntime::Unclear,
        }
    }

    /// The same without [`Config::exempt`]: for who enforces the policy at once, and so needs nobody to be
    /// let through.
    #[must_use]
    pub fn without_exempt(self) -> Self {
        Self { exempt: Exempt::default(), ..self }
    }

    /// The pods that may start although the plugin did not see them.
    #[must_use]
    pub fn exempt(&self) -> &Exempt {
        &self.exempt
    }

    /// Whether and how to ask the Kubernetes API.
    #[must_use]
    pub fn kubernetes(&self) -> &Kubernetes {
        &self.kubernetes
    }
}

#[cfg(test)]
mod tests;
