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
//! ```
//!
//! Every key is optional, and so is the file at its default place.

use std::{
    io,
    path::{Path, PathBuf},
};

use serde::Deserialize;
use thiserror::Error;

use crate::{
    exempt::Exempt,
    policy::{NodePolicy, Policy},
    trust::{self, Untrusted},
};

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
}

/// Why a configuration is not usable.
#[derive(Debug, Error)]
pub enum ConfigError {
    /// The file could not be read.
    #[error("cannot read the configuration {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system answered.
        source: io::Error,
    },
    /// Others than root could change the file.
    #[error("the configuration {0}")]
    NotTrusted(#[source] Untrusted),
    /// The file is not TOML, or has a key or value that is not known. The
    /// source's text has the line, the key and what is legal.
    #[error("the configuration {} is wrong", path.display())]
    Parse {
        /// The file.
        path: PathBuf,
        /// Line, key and what is legal.
        source: Box<toml::de::Error>,
    },
    /// `hook_path` is not absolute: an OCI runtime refuses such a hook (OCI
    /// runtime spec, POSIX-platform hooks).
    #[error("the configuration {} is wrong: hook_path = \"{}\" must be an absolute path", path.display(), hook.display())]
    RelativeHook {
        /// The file.
        path: PathBuf,
        /// The value of `hook_path`.
        hook: PathBuf,
    },
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

    /// The pods that may start although the plugin did not see them.
    #[must_use]
    pub fn exempt(&self) -> &Exempt {
        &self.exempt
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Config, ConfigError> {
        Config::parse(text, Path::new("/etc/strict-groups/config.toml"))
    }

    /// The message as an operator sees it: the error and its sources.
    fn message(error: ConfigError) -> String {
        format!("{:#}", anyhow::Error::new(error))
    }

    #[test]
    fn an_empty_file_is_the_default() {
        let config = parse("").unwrap();
        assert_eq!(config, Config::default());
        assert_eq!(config.node_policy(), NodePolicy { default: Policy::Merge, pods_may_override: false });
        assert_eq!(config.hook_path(), None);
    }

    #[test]
    fn every_key_is_read() {
        let config =
            parse("default_policy = \"Strict\"\npods_may_override = true\nhook_path = \"/opt/sg\"\n")
                .unwrap();
        assert_eq!(config.node_policy(), NodePolicy { default: Policy::Strict, pods_may_override: true });
        assert_eq!(config.hook_path(), Some(Path::new("/opt/sg")));
    }

    #[test]
    fn exemptions_are_read_and_checked() {
        let config = parse("[exempt]\nnamespaces = [\"kube-system\"]\npods = [\"infra/proxy-*\"]\n").unwrap();
        assert!(config.exempt().covers("kube-system", "any"));
        assert!(config.exempt().covers("infra", "proxy-node1"));
        assert!(!config.exempt().covers("infra", "web"));
        let text = message(parse("\n[exempt]\npods = [\"*\"]\n").unwrap_err());
        assert!(text.contains("line 3") && text.contains("namespace/name"), "{text}");
        let text = message(parse("[exempt]\nnamespace = \"a\"\n").unwrap_err());
        assert!(text.contains("line 2") && text.contains("namespaces"), "{text}");
    }

    #[test]
    fn the_packaged_example_is_legal_as_it_is_and_with_everything_on() {
        let example = include_str!("../packaging/config.toml");
        assert_eq!(parse(example).unwrap(), Config::default());
        let on = |line: &str| line.strip_prefix('#').filter(|rest| !rest.starts_with(' ')).map(str::to_owned);
        let lines: Vec<String> = example.lines().filter_map(on).collect();
        assert_eq!(lines.len(), 6);
        let config = parse(&lines.join("\n")).unwrap();
        assert_eq!(config.hook_path(), Some(Path::new("/usr/local/bin/strict-groups")));
        assert!(config.exempt().covers("infra", "etcd-node1"));
    }

    #[test]
    fn an_unknown_key_is_named_with_its_line() {
        let text = message(parse("pods_may_override = true\ndefault_polcy = \"Strict\"\n").unwrap_err());
        assert!(text.contains("/etc/strict-groups/config.toml"), "{text}");
        assert!(text.contains("line 2"), "{text}");
        assert!(text.contains("default_polcy"), "{text}");
        assert!(text.contains("default_policy"), "legal keys: {text}");
    }

    #[test]
    fn a_wrong_value_is_named_with_what_is_legal() {
        let text = message(parse("\ndefault_policy = \"strict\"\n").unwrap_err());
        assert!(text.contains("line 2"), "{text}");
        assert!(text.contains("`Merge` or `Strict`"), "{text}");
        let text = message(parse("hook_path = \"strict-groups\"").unwrap_err());
        assert!(text.contains("absolute"), "{text}");
        let text = message(parse("default_policy = ").unwrap_err());
        assert!(text.contains("line 1"), "{text}");
    }

    #[test]
    fn only_the_default_file_may_be_missing() {
        let missing = Path::new("/nonexistent/strict-groups.toml");
        let text = message(Config::load(Some(missing)).unwrap_err());
        assert!(text.contains("/nonexistent/strict-groups.toml"), "{text}");
    }
}
