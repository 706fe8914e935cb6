//! What the OCI runtime wrapper asks containerd for about one container.
//!
//! The declared groups, and the pod's labels, are nowhere but in containerd's records: no `config.json` has them. The
//! wrapper has no event loop, which would cost every call of the OCI runtime, so another process of our own binary
//! ([`COMMAND`]) asks containerd's API, prints a [`Reply`] as JSON and ends.

use std::{
    ffi::OsString,
    io,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::{policy::Labels, program, spec::Annotations, text};

/// The first argument of the process that asks. The rest is `SOCKET QUESTION ID`.
pub(crate) const COMMAND: &str = "containerd-record";

/// How long containerd's API may take for an answer. Nothing else of the node waits for it.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(10);

/// How much longer the process may take: to be started, and to understand the answer.
const STARTING: Duration = Duration::from_secs(5);

/// The largest reply, in bytes: the kernel takes 65536 groups, and etcd no larger pod.
const LARGEST: usize = 4 * 1024 * 1024;

/// How much of a message is shown, in bytes.
const SHOWN: usize = 400;

/// Our own executable, also while another version takes its place.
const OWN: &str = "/proc/self/exe";

/// What is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Question {
    /// The groups that the kubelet declared for a container.
    Declared,
    /// The pod of a sandbox.
    Pod,
}

impl Question {
    /// The question as an argument.
    fn as_str(self) -> &'static str {
        match self {
            Self::Declared => "declared",
            Self::Pod => "pod",
        }
    }
}

/// A question as it stands on a command line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked<'a> {
    /// containerd's socket.
    pub socket: &'a Path,
    /// What is asked.
    pub question: Question,
    /// The id of the container or sandbox.
    pub id: &'a str,
}

impl<'a> Asked<'a> {
    /// Reads the arguments behind [`COMMAND`]. None: they are no question.
    #[must_use]
    pub fn read(args: &'a [OsString]) -> Option<Self> {
        let [socket, question, id] = args else { return None };
        let question =
            [Question::Declared, Question::Pod].into_iter().find(|known| question == known.as_str());
        Some(Self { socket: Path::new(socket), question: question?, id: id.to_str()? })
    }
}

/// The answer to a question.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Reply {
    /// To [`Question::Declared`]: GIDs in the container's own user namespace.
    Declared(Vec<u32>),
    /// To [`Question::Pod`]: what the kubelet sent when the sandbox was made.
    Pod {
        /// The pod's labels.
        labels: Labels,
        /// The pod's annotations.
        annotations: Annotations,
    },
    /// To both: why there is no answer, one line.
    Failed(String),
}

/// Why containerd's record is not known.
#[derive(Debug, Error)]
pub enum RecordError {
    /// Nobody knows where this containerd's API is.
    #[error(
        "the process that runs strict-groups-runtime is no shim of containerd that names containerd's socket (-address)"
    )]
    NoSocket,
    /// containerd gave no answer, or its record does not say.
    #[error("{0}")]
    Failed(String),
    /// The process that asks did not end as it should.
    #[error("containerd's API at {} cannot be asked ({source})", socket.display())]
    NotAsked {
        /// containerd's socket.
        socket: PathBuf,
        /// What is wrong.
        source: io::Error,
    },
}

fn ask(socket: &Path, question: Question, id: &str) -> Result<Reply, RecordError> {
    let failed = |source| RecordError::NotAsked { socket: socket.to_owned(), source };
    let mut command = Command::new(OWN);
    command.arg0("strict-groups").arg(COMMAND).arg(socket).args([question.as_str(), id]).env_clear();
    let printed = program::printed(&mut command, TIMEOUT + STARTING, LARGEST).map_err(failed)?;
    match serde_json::from_slice(&printed) {
        Ok(Reply::Failed(reason)) => Err(RecordError::Failed(text::one_line(&reason, SHOWN))),
        Ok(reply) => Ok(reply),
        Err(error) => Err(failed(error.into())),
    }
}

/// The groups that the kubelet declared for the container `id`, GIDs in the container's own user namespace.
///
/// # Errors
/// See [`RecordError`].
pub(crate) fn declared(socket: &Path, id: &str) -> Result<Vec<u32>, RecordError> {
    match ask(socket, Question::Declared, id)? {
        Reply::Declared(groups) => Ok(groups),
        _ => Err(mixed_up(socket)),
    }
}

/// Labels and annotations of the pod whose sandbox is `id`, as they were when that was made.
///
/// # Errors
/// See [`RecordError`].
pub(crate) fn pod(socket: &Path, id: &str) -> Result<(Labels, Annotations), RecordError> {
    match ask(socket, Question::Pod, id)? {
        Reply::Pod { labels, annotations } => Ok((labels, annotations)),
        _ => Err(mixed_up(socket)),
    }
}

fn mixed_up(socket: &Path) -> RecordError {
    let source = io::Error::new(io::ErrorKind::InvalidData, "the answer is to another question");
    RecordError::NotAsked { socket: socket.to_owned(), source }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(words: &[&str]) -> Option<(PathBuf, Question, String)> {
        let args: Vec<OsString> = words.iter().map(OsString::from).collect();
        Asked::read(&args).map(|asked| (asked.socket.to_owned(), asked.question, asked.id.to_owned()))
    }

    #[test]
    fn question_is_read_as_it_was_written() {
        for question in [Question::Declared, Question::Pod] {
            let expected = ("/run/x.sock".into(), question, "abc".to_owned());
            assert_eq!(read(&["/run/x.sock", question.as_str(), "abc"]), Some(expected));
        }
        for other in [&[][..], &["/s", "pod"], &["/s", "groups", "abc"], &["/s", "pod", "abc", "more"]] {
            assert_eq!(read(other), None, "{other:?}");
        }
    }
}
