//! Why a configuration is not usable.

use std::{io, path::PathBuf};

use thiserror::Error;

use hostfs::ownership::Untrusted;
use strict_groups_core::text;

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
}

impl ConfigError {
    /// The error with its line, key and what is legal, on one line of at most `max` bytes.
    #[must_use]
    pub fn one_line(&self, max: usize) -> String {
        let (own, source) = (self.to_string(), std::error::Error::source(self).map(ToString::to_string));
        // Some have their source in their own text.
        let source = source.filter(|source| !own.contains(source)).map(|source| format!(": {source}"));
        text::one_line(&format!("{own}{}", source.unwrap_or_default()), max)
    }
}
