//! Why a configuration is not usable.

use std::{io, path::PathBuf};

use thiserror::Error;

use crate::trust::Untrusted;

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
