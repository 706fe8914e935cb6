//! Why a Strict container, or a process in one, does not run. The engine shows what we print; it ends
//! up in `kubectl describe pod`.

use std::{
    ffi::{OsStr, OsString},
    fmt, io,
    path::PathBuf,
};

use thiserror::Error;

use super::{handler::HandlerError, underlying::UnderlyingError};
use crate::{
    record::RecordError,
    start_check::StartError,
    static_gate::{StaticCause, StaticRefusal},
};
use strict_groups_core::{gate::Refusal, spec::SpecError, text};

/// Why it does not run.
#[derive(Debug, Error)]
pub enum WrapperError {
    /// There is no runtime to become.
    #[error("strict-groups: {0}")]
    Underlying(#[from] UnderlyingError),
    /// The file of the runtime handler says nothing usable.
    #[error("strict-groups: {0}")]
    Handler(#[from] HandlerError),
    /// The container's gate is shut.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The policy is not known, or is Strict and its configuration forbids the wrapper to enforce it.
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

impl Subject {
    /// The container that a command line names, or several that it may mean.
    pub(super) fn ids(ids: &[&OsStr]) -> Self {
        Self::Id(ids.join(OsStr::new(" ")).to_string_lossy().into_owned())
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = |name: &str| text::one_line(name, text::NAME_MAX);
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
    /// The declared groups are in containerd's record alone.
    #[error(
        "supplementalGroupsPolicy Strict cannot be enforced, the groups that the pod declares are not known: {0}; the \
         kubelet tries again, unless restartPolicy is Never"
    )]
    Declared(#[source] RecordError),
    /// The pod is in containerd's record of its sandbox alone.
    #[error(
        "whether the pod asks for supplementalGroupsPolicy Strict is not known: {0}; the kubelet tries again, unless \
         restartPolicy is Never"
    )]
    Pod(#[source] RecordError),
    /// Our own executable, which is to be the gate.
    #[error("our own executable cannot be told ({0}); set hook_path in /etc/strict-groups/config.toml")]
    OwnPath(#[source] io::Error),
    /// The underlying OCI runtime, whose files are not known, was asked for the container's state.
    #[error(
        "the underlying OCI runtime does not tell the state of the container ({0}), so its groups are not known"
    )]
    State(#[source] io::Error),
    /// `start` or `exec` with an option that may have been taken for the container's id.
    #[error("the option {} of {verb} is not known, so the container is not either", text::quoted(&.option.to_string_lossy(), 64))]
    UnknownOption {
        /// The option.
        option: OsString,
        /// The subcommand.
        verb: &'static str,
    },
    /// `run`, which creates and starts in one.
    #[error(
        "`run` leaves no moment in which the groups of a Strict container's process can be verified before the \
         image's program runs; use `create` and `start`"
    )]
    Run,
    /// `restore`, which takes processes from a checkpoint.
    #[error(
        "the processes of a checkpoint bring their own groups, so supplementalGroupsPolicy Strict cannot be enforced \
         by `restore`; start the container from an image that is no checkpoint, or set the policy to Merge"
    )]
    Restore,
    /// `start` of a container that was made while nobody made it Strict.
    #[error(
        "supplementalGroupsPolicy Strict is asked for, but the container was created without it (by another OCI \
         runtime than strict-groups-runtime, or under another policy); delete the pod to have it made again"
    )]
    NotStrict,
    /// `start` of a container whose state names no process.
    #[error(
        "the OCI runtime's state of the container names no process, so supplementalGroupsPolicy Strict cannot be \
         verified; delete the pod to try again"
    )]
    NoProcess,
    /// `start` of a process with other groups.
    #[error(transparent)]
    Start(#[from] StartError),
}
