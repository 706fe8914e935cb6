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
    /// The underlying OCI runtime; None: the first one that is found.
    #[must_use]
    pub fn path(&self) -> Option<&Path> {
        self.path.as_ref().map(Absolute::as_path)
    }

    /// What becomes of a Strict container that no plugin has seen.
    #[must_use]
    pub fn ungated(&self) -> Ungated {
        self.ungated
    }

    /// `runtime.path` in the text of a configuration that has an error somewhere: `kill` and `state` have to
    /// reach the underlying OCI runtime also then. None: it is not set.
    ///
    /// # Errors
    /// The error is there.
    pub(super) fn path_despite_errors(text: &str) -> Result<Option<PathBuf>, Unclear> {
        if let Ok(file) = toml::from_str::<File>(text) {
            return Ok(file.path());
        }
        // It is no TOML, or the path is none: line by line. `DeTable::parse_recoverable` finds less: an open bracket
        // anywhere before the table hides the table from it.
        let mut table = String::new();
        for line in text.lines().map(str::trim) {
            if line.starts_with('[') {
                table = line.split('#').next().unwrap_or_default().split_whitespace().collect();
                continue;
            }
            let key = line.split(['=', '.', ' ', '\t']).next().unwrap_or_default();
            let file = match (table.as_str(), key) {
                ("", "runtime") => toml::from_str::<File>(line),
                ("[runtime]", "path") => toml::from_str::<File>(&format!("runtime.{line}")),
                _ => continue,
            };
            return file.map(File::path).map_err(|_| Unclear);
        }
        // A table's name may be what is wrong.
        if text.contains("path") { Err(Unclear) } else { Ok(None) }
    }
}

/// What is not known from a configuration with an error in it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Unclear;

/// As much of the file as is needed.
#[derive(Deserialize)]
struct File {
    runtime: Option<Table>,
}

#[derive(Deserialize)]
struct Table {
    path: Option<Absolute>,
}

impl File {
    fn path(self) -> Option<PathBuf> {
        Some(self.runtime?.path?.as_path().to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn path_is_found_beside_errors() {
        for text in [
            "default_polcy = 7\n[runtime]\npath = \"/usr/bin/crun\"\nungated = 7\n",
            "default_policy = \"Strict\n[runtime]\npath = \"/usr/bin/crun\" # ours\n",
            "[[rule]\npath = 7\n[ runtime ] # x\n  path=\"/usr/bin/crun\"",
            "mode = [\n[runtime]\npath = \"/usr/bin/crun\"",
            "runtime.path = \"/usr/bin/crun\"\nmode =",
            "runtime = { path = \"/usr/bin/crun\" }\nmode =",
        ] {
            assert_eq!(RuntimeConfig::path_despite_errors(text), Ok(Some("/usr/bin/crun".into())), "{text}");
        }
        for none in ["", "[runtime]", "[[", "mode = 7", "default_policy = \"Strict\n[runtime]\nungated = 7"] {
            assert_eq!(RuntimeConfig::path_despite_errors(none), Ok(None), "{none}");
        }
        for unclear in [
            "[runtime]\npath = 7",
            "[runtime]\npath = \"crun\"",
            "[runtime]\npath = \"/crun",
            "[runtim\npath = \"/crun\"",
        ] {
            assert_eq!(RuntimeConfig::path_despite_errors(unclear), Err(Unclear), "{unclear}");
        }
    }
}
