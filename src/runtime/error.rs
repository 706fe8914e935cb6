//! Why a Strict container, or a process in one, does not run. The engine shows what we print; it ends
//! up in `kubectl describe pod`.

use std::{ffi::OsString, fmt, io, path::PathBuf};

use thiserror::Error;

use super::real::RealError;
use crate::{
    gate::{NAME_MAX, Refusal},
    spec::SpecError,
    static_gate::{StaticCause, StaticRefusal},
    text,
};

/// Why it does not run.
#[derive(Debug, Error)]
pub enum RuntimeError {
    /// There is no runtime to become.
    #[error("strict-groups: {0}")]
    Real(#[from] RealError),
    /// The container's gate is shut.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The policy cannot be told, or is Strict and the wrapper is told not to enforce it.
    #[error(transparent)]
    Policy(#[from] StaticRefusal),
    /// The same for a container that belongs to no pod.
    #[error("strict-groups: {subject}: {cause}")]
    NoPod {
        /// Which container.
        subject: Subject,
        /// What is wrong.
        cause: StaticCause,
    },
    /// The policy cannot be enforced.
    #[error("strict-groups: {subject}: refused: {fault}")]
    Fault {
        /// Which container.
        subject: Subject,
        /// What is wrong.
        fault: Fault,
    },
}

/// The container that a message is about, as far as it is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Subject {
    /// By its id.
    Id(String),
    /// By the names that Kubernetes has for it.
    Named {
        /// The pod, as `namespace/name`.
        pod: String,
        /// The container's name within the pod.
        container: String,
    },
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = |name: &str| text::one_line(name, NAME_MAX);
        match self {
            Self::Id(id) => write!(f, "container {}", name(id)),
            Self::Named { pod, container } => write!(f, "pod {}, container {}", name(pod), name(container)),
        }
    }
}

/// What keeps the policy from being enforced.
#[derive(Debug, Error)]
pub enum Fault {
    /// A file that must be read.
    #[error("cannot read {} ({source})", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file that must be understood.
    #[error("{} is not understood: {source}", path.display())]
    Spec {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: SpecError,
    },
    /// A file that must be written.
    #[error("Strict cannot be enforced, {} cannot be replaced ({source})", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The image's user database, which tells the groups to remove.
    #[error(
        "the image's /{file} cannot be read ({source}), so its groups are not known; Strict needs a plain file or none"
    )]
    Image {
        /// The file, below the root file system.
        file: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// The container's root file system.
    #[error("the root file system {} cannot be opened ({source})", path.display())]
    RootFs {
        /// Its path.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Our own executable, which is to be the gate.
    #[error("our own executable cannot be told ({0}); set hook_path in /etc/strict-groups/config.toml")]
    OwnPath(#[source] io::Error),
    /// The real runtime, whose files are not known, was asked for the container's state.
    #[error(
        "the real OCI runtime does not tell the state of the container ({0}), so its groups are not known"
    )]
    State(#[source] io::Error),
    /// `exec` with an option that may have been taken for the container's id.
    #[error("the option {} of exec is not known, so the container is not either", text::quoted(&.option.to_string_lossy(), 64))]
    UnknownOption {
        /// The option.
        option: OsString,
    },
}
