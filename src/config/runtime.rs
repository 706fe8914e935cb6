//! `[runtime]`: what `strict-groups-runtime` does.

use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::absolute::Absolute;

/// The table.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RuntimeConfig {
    path: Option<Absolute>,
    ungated: Ungated,
}

/// What becomes of a Strict container that no plugin has seen.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Ungated {
    /// The wrapper enforces the policy by itself.
    #[default]
    Resolve,
    /// It does not start.
    Refuse,
}

impl RuntimeConfig {
    /// The real OCI runtime; None: the first one that is found.
    #[must_use]
    pub fn path(&self) -> Option<&Path> {
        self.path.as_ref().map(Absolute::as_path)
    }

    /// What becomes of a Strict container that no plugin has seen.
    #[must_use]
    pub fn ungated(&self) -> Ungated {
        self.ungated
    }

    /// `runtime.path` in the text of a configuration whose other parts may be wrong: `kill` and `state`
    /// have to reach the real runtime also then.
    #[must_use]
    pub fn path_despite_errors(text: &str) -> Option<PathBuf> {
        #[derive(Deserialize)]
        struct File {
            runtime: Table,
        }
        #[derive(Deserialize)]
        struct Table {
            path: Absolute,
        }
        toml::from_str::<File>(text).ok().map(|file| file.runtime.path.as_path().to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_path_is_found_beside_errors() {
        let text = "default_polcy = 7\n[runtime]\npath = \"/usr/bin/crun\"\nungated = 7\n";
        assert_eq!(RuntimeConfig::path_despite_errors(text), Some("/usr/bin/crun".into()));
        for none in ["", "[runtime]", "[runtime]\npath = 7", "[runtime]\npath = \"crun\"", "[["] {
            assert_eq!(RuntimeConfig::path_despite_errors(none), None, "{none}");
        }
    }
}
