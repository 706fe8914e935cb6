//! The file of a runtime handler of containerd: its `BinaryName`.
//!
//! ```text
//! #!/usr/bin/strict-groups handler
//! # ...
//! config = "/etc/strict-groups/config.toml"   # the node's configuration, if not at its default place
//! path = "/usr/bin/crun"                      # the handler's own OCI runtime; without a slash: in the PATH
//! ```
//!
//! containerd gives an OCI runtime no argument that says which handler it is called for. It runs this file, and the
//! kernel runs our binary for it with the file's path (`execve(2)`, "Interpreter scripts").

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use thiserror::Error;
use toml::{Table, Value};

use super::NAME;

const PATH: &str = "path";
const CONFIG: &str = "config";

/// What the file says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Handler {
    path: String,
    config: Option<String>,
}

/// Stands between the handler's name and that of its OCI runtime, and in neither.
const BETWEEN: char = '+';

/// The name of the file for the handler `name`, whose own OCI runtime is `own`: a path, or a name.
///
/// A container is stopped by the file that it was made by. So one that is to become another OCI runtime, which would not
/// know the container, has another name.
#[must_use]
pub fn file_name(name: &str, own: &str) -> String {
    let own = own.rsplit('/').next().unwrap_or_default();
    let plain = |c: char| if c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.') { c } else { '_' };
    format!("{NAME}-{name}{BETWEEN}{}", own.chars().map(plain).collect::<String>())
}

/// The name of the OCI runtime in the name of such a file.
#[must_use]
pub(super) fn runtime_in(file_name: &str) -> Option<&str> {
    let (_, runtime) = file_name.strip_prefix(NAME)?.rsplit_once(BETWEEN)?;
    (!runtime.is_empty()).then_some(runtime)
}

/// Whether a file of this name is one of these.
#[must_use]
pub fn is_file_name(name: &str) -> bool {
    name.strip_prefix(NAME).is_some_and(|rest| rest.starts_with('-'))
}

/// Why a handler's OCI runtime is not known.
#[derive(Debug, Error)]
pub enum HandlerError {
    /// The file cannot be read.
    #[error("cannot read {}, which names the handler's OCI runtime ({source})", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file says something else.
    #[error(
        "{} does not name the handler's OCI runtime; write it again with `strict-groups config containerd --wrapper`",
        path.display()
    )]
    NotUnderstood {
        /// The file.
        path: PathBuf,
    },
}

impl Handler {
    /// A handler with the OCI runtime `path`, a name if it is to be looked for in the PATH, and the node's configuration
    /// `config` (None: at its default place).
    #[must_use]
    pub fn new(path: &str, config: Option<&str>) -> Self {
        Self { path: path.to_owned(), config: config.map(str::to_owned) }
    }

    /// Reads the file.
    ///
    /// # Errors
    /// See [`HandlerError`].
    pub fn load(file: &Path) -> Result<Self, HandlerError> {
        let text = fs::read_to_string(file)
            .map_err(|source| HandlerError::Read { path: file.to_owned(), source })?;
        Self::parse(&text).ok_or_else(|| HandlerError::NotUnderstood { path: file.to_owned() })
    }

    /// Understands the file's text. None: it says something else.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        // To TOML, the first line is a comment.
        let mut table: Table = toml::from_str(text).ok()?;
        let mut take = |key| match table.remove(key) {
            Some(Value::String(path)) => Some(Some(path)),
            Some(_) => None,
            None => Some(None),
        };
        let handler = Self { path: take(PATH)??, config: take(CONFIG)? };
        table.is_empty().then_some(handler)
    }

    /// The file's text but for its comments, in TOML.
    #[must_use]
    pub fn to_toml(&self) -> String {
        let mut table = Table::new();
        table.insert(PATH.to_owned(), self.path.as_str().into());
        if let Some(config) = &self.config {
            table.insert(CONFIG.to_owned(), config.as_str().into());
        }
        table.to_string()
    }

    /// The handler's own OCI runtime: a path, or a name.
    #[must_use]
    pub fn path(&self) -> &Path {
        Path::new(&self.path)
    }

    /// The node's configuration; None: at its default place.
    #[must_use]
    pub fn config(&self) -> Option<&Path> {
        self.config.as_ref().map(Path::new)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_is_called_after_handler_and_runtime() {
        let name = file_name("a-b", "/opt/nvidia runtime");
        assert_eq!(name, "strict-groups-runtime-a-b+nvidia_runtime");
        assert_eq!(runtime_in(&name), Some("nvidia_runtime"));
        assert_eq!(file_name("crun", "crun"), "strict-groups-runtime-crun+crun");
        assert_eq!((runtime_in("other+runc"), runtime_in("strict-groups-runtime-a")), (None, None));
        assert!(is_file_name(&name) && !is_file_name(NAME));
    }

    #[test]
    fn file_names_the_runtime_and_the_configuration() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("handler");
        let load = |text: &str| {
            fs::write(&path, text).unwrap();
            Handler::load(&path)
        };
        let first = "#!/usr/bin/strict-groups handler\n# by config\n";
        let found = load(&format!("{first}path = \"/usr/bin/crun\"\nconfig = \"/c.toml\"\n")).unwrap();
        assert_eq!(found, Handler::new("/usr/bin/crun", Some("/c.toml")));
        assert_eq!(load(&format!("{first}path = \"runc\"\n")).unwrap(), Handler::new("runc", None));
        let odd = Handler::new("/a \"b\"\n", Some("\\"));
        assert_eq!(Handler::parse(&odd.to_toml()), Some(odd));
        for wrong in ["", "path = 7", "path = \"a\"\npth = \"b\"", "path", "path = \"a\"\nconfig = 7"] {
            let text = load(wrong).unwrap_err().to_string();
            assert!(text.contains("write it again") && !text.contains('\n'), "{text}");
        }
        assert!(Handler::load(Path::new("/nonexistent")).unwrap_err().to_string().contains("/nonexistent"));
    }
}
