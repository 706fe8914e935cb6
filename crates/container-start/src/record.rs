//! What the OCI runtime wrapper asks containerd about one container.
//!
//! The declared groups, and the pod's labels, are nowhere but in containerd's records: no `config.json` has them. The
//! wrapper has no event loop, which would cost every call of the OCI runtime, so another process of our own binary
//! ([`COMMAND`]) asks containerd's API for one extension of a record, prints it and ends. It prints one line, the type of
//! the extension's value or [`FAILED`] and why, and then the value.

use std::{
    ffi::OsString,
    io,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use thiserror::Error;

use hostfs::program;
use strict_groups_core::{
    declared::{self, DeclaredError},
    oci::Annotations,
    policy::Labels,
    text,
};

/// The first argument of the process that asks. The rest is `SOCKET ID EXTENSION`.
pub const COMMAND: &str = "containerd-record";

/// Begins the line where there is no answer; no type begins so.
pub const FAILED: &str = "failed: ";

/// How long containerd's API may take for an answer. Nothing else of the node waits for it.
pub const TIMEOUT: Duration = Duration::from_secs(10);

/// How much longer the process may take: to be started, and to print.
const STARTING: Duration = Duration::from_secs(5);

/// More than containerd sends in one message (16 MiB), in bytes.
const LARGEST: usize = 17 * 1024 * 1024;

/// How much of a message is shown, in bytes.
const SHOWN: usize = 400;

/// Our own executable, also while another version takes its place.
const OWN: &str = "/proc/self/exe";

/// A question as it stands on a command line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked<'a> {
    /// containerd's socket.
    pub socket: &'a Path,
    /// The id of the container or sandbox.
    pub id: &'a str,
    /// The extension's name.
    pub extension: &'a str,
}

impl<'a> Asked<'a> {
    /// Reads the arguments behind [`COMMAND`]. None: they are no question.
    #[must_use]
    pub fn read(args: &'a [OsString]) -> Option<Self> {
        let [socket, id, extension] = args else { return None };
        Some(Self { socket: Path::new(socket), id: id.to_str()?, extension: extension.to_str()? })
    }
}

/// Why containerd's record is not known.
#[derive(Debug, Error)]
pub enum RecordError {
    /// Nobody knows where this containerd's API is.
    #[error(
        "the process that runs strict-groups-runtime is no shim of containerd that names containerd's socket (-address)"
    )]
    NoSocket,
    /// containerd gave no answer.
    #[error("{0}")]
    Failed(String),
    /// It did, and does not say what was asked.
    #[error("containerd's record is not understood: {0}")]
    Declared(#[from] DeclaredError),
    /// The process that asks did not end as it should.
    #[error("containerd's API at {} cannot be asked ({source})", socket.display())]
    NotAsked {
        /// containerd's socket.
        socket: PathBuf,
        /// What is wrong.
        source: io::Error,
    },
}

/// The groups that the kubelet declared for the container `id`, GIDs in the container's own user namespace. `socket` is
/// containerd's.
///
/// # Errors
/// See [`RecordError`].
pub fn declared(socket: &Path, id: &str) -> Result<Vec<u32>, RecordError> {
    ask(socket, id, declared::EXTENSION, declared::from_extension)
}

/// Labels and annotations of the pod whose sandbox is `id`, as they were when that was made. `socket` is containerd's.
///
/// # Errors
/// See [`RecordError`].
pub fn pod(socket: &Path, id: &str) -> Result<(Labels, Annotations), RecordError> {
    ask(socket, id, declared::SANDBOX_EXTENSION, declared::pod_of_sandbox)
}

fn ask<T>(
    socket: &Path,
    id: &str,
    extension: &str,
    understand: impl FnOnce(&str, &[u8]) -> Result<T, DeclaredError>,
) -> Result<T, RecordError> {
    let mut command = Command::new(OWN);
    command.arg0("strict-groups").arg(COMMAND).arg(socket).args([id, extension]).env_clear();
    let failed = |source| RecordError::NotAsked { socket: socket.to_owned(), source };
    let printed = program::printed(&mut command, TIMEOUT + STARTING, LARGEST).map_err(failed)?;
    let line = printed.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let value = printed.get(line.len() + 1..).ok_or_else(|| failed(io::ErrorKind::UnexpectedEof.into()))?;
    let line = String::from_utf8_lossy(line);
    match line.strip_prefix(FAILED) {
        Some(reason) => Err(RecordError::Failed(text::one_line(reason, SHOWN))),
        None => Ok(understand(&line, value)?),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn question_has_three_parts() {
        let read = |words: &[&str]| {
            let args: Vec<OsString> = words.iter().map(OsString::from).collect();
            Asked::read(&args).map(|asked| [asked.id.to_owned(), asked.extension.to_owned()])
        };
        assert_eq!(read(&["/run/x.sock", "abc", "ext"]), Some(["abc".to_owned(), "ext".to_owned()]));
        for other in [&[][..], &["/s", "abc"], &["/s", "abc", "ext", "more"]] {
            assert_eq!(read(other), None, "{other:?}");
        }
    }
}
