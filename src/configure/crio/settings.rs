//! CRI-O's own configuration, as far as the drop-in depends on it (crio.conf(5), "crio.runtime").
//!
//! A file that comes later takes the place of values, and of whole `[crio.runtime.runtimes.NAME]`
//! tables: CRI-O does not merge the fields of those.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use thiserror::Error;
use toml::{Table, Value};

/// What CRI-O runs when no file says (1.26 to 1.30).
const DEFAULT_RUNTIME: &str = "runc";
/// Where the drop-in has CRI-O look for hooks. By itself it looks in /usr/share/containers/oci/hooks.d only.
const DEFAULT_HOOKS: &str = "/usr/share/containers/oci/hooks.d";

/// A file that is not understood.
#[derive(Debug, Error)]
pub enum SettingsError {
    /// It is not TOML.
    #[error("{} is wrong: {source}", path.display())]
    NotToml {
        /// The file.
        path: PathBuf,
        /// Line and column.
        source: Box<toml::de::Error>,
    },
    /// A value that CRI-O would not understand either.
    #[error("{}: {key} is not what CRI-O wants", path.display())]
    BadValue {
        /// The file.
        path: PathBuf,
        /// The key's path.
        key: &'static str,
    },
}

/// What CRI-O's files say.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// The runtime handlers by name, each with all the fields that the files give it.
    pub handlers: BTreeMap<String, Table>,
    /// The handler of pods that name none.
    pub default_runtime: String,
    /// The folders in which CRI-O looks for hooks (`hooks_dir`).
    pub hooks: Vec<String>,
}

impl Settings {
    /// Reads the texts of CRI-O's files in the order in which CRI-O does.
    ///
    /// # Errors
    /// One of them is not understood.
    pub fn read<'f>(files: impl IntoIterator<Item = (&'f Path, &'f str)>) -> Result<Self, SettingsError> {
        let mut settings = Self {
            handlers: BTreeMap::new(),
            default_runtime: DEFAULT_RUNTIME.to_owned(),
            hooks: vec![DEFAULT_HOOKS.to_owned()],
        };
        for (path, text) in files {
            let file: Table = toml::from_str(text).map_err(|source| SettingsError::NotToml {
                path: path.to_owned(),
                source: Box::new(source),
            })?;
            let runtime = file.get("crio").and_then(|crio| crio.get("runtime"));
            let Some(runtime) = runtime.and_then(Value::as_table) else { continue };
            if settings.add(runtime).is_none() {
                return Err(SettingsError::BadValue { path: path.to_owned(), key: wrong_key(runtime) });
            }
        }
        Ok(settings)
    }

    /// Takes over what a file's `[crio.runtime]` says. None: a value is of the wrong type.
    fn add(&mut self, runtime: &Table) -> Option<()> {
        if let Some(name) = runtime.get("default_runtime") {
            name.as_str()?.clone_into(&mut self.default_runtime);
        }
        if let Some(hooks) = runtime.get("hooks_dir") {
            let hooks = hooks.as_array()?.iter().map(|path| path.as_str().map(str::to_owned));
            self.hooks = hooks.collect::<Option<_>>()?;
        }
        if let Some(handlers) = runtime.get("runtimes") {
            for (name, handler) in handlers.as_table()? {
                self.handlers.insert(name.clone(), handler.as_table()?.clone());
            }
        }
        Some(())
    }
}

/// The key that [`Settings::add`] stopped at.
fn wrong_key(runtime: &Table) -> &'static str {
    let is = |key, right: fn(&Value) -> bool| runtime.get(key).is_none_or(right);
    if !is("default_runtime", Value::is_str) {
        "crio.runtime.default_runtime"
    } else if !is("hooks_dir", |value| value.as_array().is_some_and(|list| list.iter().all(Value::is_str))) {
        "crio.runtime.hooks_dir"
    } else {
        "crio.runtime.runtimes"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(files: &[&str]) -> Result<Settings, SettingsError> {
        Settings::read(files.iter().map(|text| (Path::new("/etc/crio/crio.conf"), *text)))
    }

    #[test]
    fn without_files_the_defaults_hold() {
        let settings = read(&["", "[crio.image]\npause_image = \"x\"\n"]).unwrap();
        assert_eq!(settings.default_runtime, "runc");
        assert_eq!(settings.hooks, [DEFAULT_HOOKS]);
        assert!(settings.handlers.is_empty());
    }

    #[test]
    fn later_table_takes_the_place_of_an_earlier_one() {
        let settings = read(&[
            "[crio.runtime]\ndefault_runtime = \"a\"\nhooks_dir = [\"/x\"]\n[crio.runtime.runtimes.a]\nruntime_path = \"/a\"\nruntime_root = \"/run/a\"\n",
            "[crio.runtime]\nhooks_dir = [\"/y\", \"/z\"]\n[crio.runtime.runtimes.a]\nruntime_path = \"/b\"\n[crio.runtime.runtimes.k]\nruntime_type = \"vm\"\n",
        ])
        .unwrap();
        assert_eq!(settings.default_runtime, "a");
        assert_eq!(settings.hooks, ["/y", "/z"]);
        assert_eq!(settings.handlers["a"], toml::from_str("runtime_path = \"/b\"").unwrap());
        assert_eq!(settings.handlers.len(), 2);
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (text, part) in [
            ("[crio", "crio.conf is wrong"),
            ("[crio.runtime]\ndefault_runtime = 7", "crio.runtime.default_runtime"),
            ("[crio.runtime]\nhooks_dir = [7]", "crio.runtime.hooks_dir"),
            ("[crio.runtime]\nruntimes = 7", "crio.runtime.runtimes"),
            ("[crio.runtime.runtimes]\nrunc = 7", "crio.runtime.runtimes"),
        ] {
            let message = read(&[text]).unwrap_err().to_string();
            assert!(message.contains(part), "{text}: {message}");
        }
    }
}
