//! A configuration file of a container runtime.

use std::{fs, io, path::Path};

/// No file of this kind is larger.
const LARGEST: u64 = 16 * 1024 * 1024;

/// The text of a plain file; nothing else is opened, since it could make us wait.
pub(super) fn read(path: &Path) -> io::Result<String> {
    let metadata = fs::metadata(path)?;
    if !metadata.is_file() || metadata.len() > LARGEST {
        return Err(io::Error::other("it is no plain file, or too large"));
    }
    fs::read_to_string(path)
}
