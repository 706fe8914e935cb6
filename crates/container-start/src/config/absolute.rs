//! A path in the configuration that is no matter of anybody's working directory.

use std::path::{Path, PathBuf};

use serde::Deserialize;
use thiserror::Error;

use strict_groups_core::text;

/// An absolute path. For a hook, an OCI runtime refuses any other (OCI runtime spec, "POSIX-platform
/// Hooks").
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "PathBuf")]
pub(super) struct Absolute(PathBuf);

/// A path that no OCI runtime would take.
#[derive(Debug, Error)]
#[error("{} must be absolute; write the path from / on", text::quoted(.0, 256))]
pub(super) struct NotAbsolute(String);

impl Absolute {
    pub(super) fn as_path(&self) -> &Path {
        &self.0
    }
}

impl TryFrom<PathBuf> for Absolute {
    type Error = NotAbsolute;

    fn try_from(path: PathBuf) -> Result<Self, NotAbsolute> {
        if path.is_absolute() { Ok(Self(path)) } else { Err(NotAbsolute(path.display().to_string())) }
    }
}
