//! The file of a runtime handler of containerd: its `BinaryName`.
//!
//! ```text
//! #!/usr/bin/strict-groups handler
//! # ...
//! path = "/usr/bin/crun"                      # the handler's own OCI runtime; without a slash: in the PATH
//! config = "/etc/strict-groups/config.toml"   # the node's configuration, if not at its default place
//! ```
//!
//! containerd gives an OCI runtime no argument that says which handler it is called for. It runs this file, and the
//! kernel runs our binary for it with the file's path (`execve(2)`, "Interpreter scripts").

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// What the file says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Handler {
    path: PathBuf,
    #[serde(skip_serializing_if = "Option::is_none")]
    config: Option<PathBuf>,
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
        "{} does not name the handler's OCI runtime ({}); write it again with `strict-groups config containerd \
         --wrapper`",
        path.display(),
        crate::text::one_line(.source.message(), 160)
    )]
    Parse {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: Box<toml::de::Error>,
    },
}

impl Handler {
    /// A handler with the OCI runtime `path`, a name if it is to be looked for in the PATH, and the node's configuration
    /// `config` (None: at its default place).
    #[must_use]
    pub fn new(path: PathBuf, config: Option<PathBuf>) -> Self {
        Self { path, config }
    }

    /// Reads the file.
    ///
    /// # Errors
    /// See [`HandlerError`].
    pub fn load(file: &Path) -> Result<Self, HandlerError> {
        let text = fs::read_to_string(file)
            .map_err(|source| HandlerError::Read { path: file.to_owned(), source })?;
        Self::parse(&text)
            .map_err(|source| HandlerError::Parse { path: file.to_owned(), source: Box::new(source) })
    }

    /// Understands the file's text.
    ///
    /// # Errors
    /// It is not understood.
    pub fn parse(text: &str) -> Result<Self, toml::de::Error> {
        // To TOML, the first line is a comment.
        toml::from_str(text)
    }

    /// The handler's own OCI runtime: a path, or a name.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The node's configuration; None: at its default place.
    #[must_use]
    pub fn config(&self) -> Option<&Path> {
        self.config.as_deref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
        assert_eq!(found, Handler::new("/usr/bin/crun".into(), Some("/c.toml".into())));
        assert_eq!(load(&format!("{first}path = \"runc\"\n")).unwrap(), Handler::new("runc".into(), None));
        for wrong in ["", "path = 7", "path = \"a\"\npth = \"b\"", "path"] {
            let text = load(wrong).unwrap_err().to_string();
            assert!(text.contains("write it again") && !text.contains('\n'), "{text}");
        }
        assert!(Handler::load(Path::new("/nonexistent")).unwrap_err().to_string().contains("/nonexistent"));
    }
}
