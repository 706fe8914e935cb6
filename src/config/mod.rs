//! The node's configuration, `/etc/strict-groups/config.toml`.
//!
//! ```toml
//! default_policy = "Merge"    # for pods without the annotation: "Merge" or "Strict"
//! pods_may_override = false   # with "Strict": may a pod's annotation say "Merge"?
//! hook_path = "/usr/bin/strict-groups"   # the gate, as the OCI runtime finds it
//!
//! [exempt]                    # from the static gate: may start while the plugin is away
//! namespaces = ["kube-system"]
//! pods = ["ns/name", "ns/prefix-*"]
//!
//! [runtime]                   # for strict-groups-runtime
//! path = "/usr/bin/runc"      # the real OCI runtime
//! ungated = "resolve"         # a Strict container that no plugin saw: "resolve" or "refuse"
//! ```
//!
//! Every key is optional, and so is the file at its default place.

use std::{
    io,
    path::{Path, PathBuf},
};

use serde::Deserialize;

use crate::{
    exempt::Exempt,
    policy::{NodePolicy, Policy},
    trust::{self, Untrusted},
};

mod error;
mod runtime;

pub use error::ConfigError;
pub use runtime::{RuntimeConfig, Ungated};

/// Where the configuration is looked for when the command line names none.
pub const DEFAULT_PATH: &str = "/etc/strict-groups/config.toml";

/// What the node's administrator decided.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    default_policy: Policy,
    pods_may_override: bool,
    hook_path: Option<PathBuf>,
    exempt: Exempt,
    runtime: RuntimeConfig,
}

impl Config {
    /// Reads `path`, or [`DEFAULT_PATH`] when none is given; only the latter
    /// may be missing, and then every setting has its default. Nobody but root
    /// may be able to change the file (see [`trust`]).
    ///
    /// # Errors
    /// The file is not root's alone, cannot be read, is not TOML, or says something unknown.
    pub fn load(path: Option<&Path>) -> Result<Self, ConfigError> {
        let file = path.unwrap_or(Path::new(DEFAULT_PATH));
        match trust::check(file, trust::Kind::File) {
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
        let config: Self = toml::from_str(text)
            .map_err(|source| ConfigError::Parse { path: path.to_owned(), source: Box::new(source) })?;
        match &config.hook_path {
            Some(hook) if !hook.is_absolute() => {
                Err(ConfigError::RelativeHook { path: path.to_owned(), hook: hook.clone() })
            }
            _ => Ok(config),
        }
    }

    /// The policy for containers whose pod does not say.
    #[must_use]
    pub fn node_policy(&self) -> NodePolicy {
        NodePolicy { default: self.default_policy, pods_may_override: self.pods_may_override }
    }

    /// The gate's executable as the OCI runtime finds it, where it is not our
    /// own (a plugin that runs in a container has another view of the files).
    #[must_use]
    pub fn hook_path(&self) -> Option<&Path> {
        self.hook_path.as_deref()
    }

    /// What the OCI runtime wrapper does.
    #[must_use]
    pub fn runtime(&self) -> &RuntimeConfig {
        &self.runtime
    }

    /// `runtime.path` of the file that [`Config::load`] would read, although the file may be wrong
    /// otherwise. None as well when it is not root's alone.
    #[must_use]
    pub fn runtime_path_despite_errors(path: Option<&Path>) -> Option<PathBuf> {
        let file = path.unwrap_or(Path::new(DEFAULT_PATH));
        trust::check(file, trust::Kind::File).ok()?;
        RuntimeConfig::path_despite_errors(&std::fs::read_to_string(file).ok()?)
    }

    /// The pods that may start although the plugin did not see them.
    #[must_use]
    pub fn exempt(&self) -> &Exempt {
        &self.exempt
    }
}

#[cfg(test)]
mod tests;
