//! A container as the runtime and `/proc` show it, before anybody judges it.

use std::collections::{BTreeMap, BTreeSet};

use super::abilities::Abilities;
use hostfs::identity::Identity;
use strict_groups_core::{policy::Labels, spec::View};

/// How far a container got.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RunState {
    /// Made, and not started.
    Created,
    /// Its first process runs.
    Running,
    /// The same, and it is frozen.
    Paused,
    /// Its first process ended, or never came to be.
    Exited,
    /// The runtime cannot tell.
    Unknown,
}

impl RunState {
    /// The state as it is shown.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Created => "Created",
            Self::Running => "Running",
            Self::Paused => "Paused",
            Self::Exited => "Exited",
            Self::Unknown => "Unknown",
        }
    }

    /// Whether there is a process of the container's own to look at.
    #[must_use]
    pub fn has_process(self) -> bool {
        matches!(self, Self::Running | Self::Paused)
    }
}

/// Whose container it is. All of it is written by others, and not fit to be shown unseen.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Owner {
    /// The pod's namespace.
    pub namespace: String,
    /// The pod's name.
    pub pod: String,
    /// The pod's UID.
    pub pod_uid: String,
    /// The pod's labels.
    pub labels: Labels,
    /// The id of the pod's sandbox.
    pub sandbox: String,
    /// The sandbox's annotations: those of the pod when the sandbox was made.
    pub annotations: BTreeMap<String, String>,
}

/// The first process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Process {
    /// Who it is.
    pub identity: Identity,
    /// What it can change of that.
    pub abilities: Abilities,
}

/// What the runtime kept of the request and made of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Made {
    /// The spec.
    pub spec: View,
    /// The groups that the pod declares; None: nobody on this node knows.
    pub declared: Option<Vec<u32>>,
    /// Groups that come with devices, which the runtime put in.
    pub of_devices: Vec<u32>,
    /// Whether the pod's own field `supplementalGroupsPolicy` says Strict, as far as the runtime kept it.
    pub field_strict: bool,
    /// Whether the runtime enforces that field by itself.
    pub native: bool,
    /// The pod's annotations for us as of the container's creation; None: not known.
    pub annotations: Option<BTreeMap<String, String>>,
    /// Whether `spec` is what the OCI runtime gets. Otherwise the wrapper changed it after this copy was made.
    pub is_final: bool,
}

/// One container.
#[derive(Debug, Clone)]
pub struct Seen {
    /// Its id in the runtime.
    pub id: String,
    /// Its pod.
    pub owner: Owner,
    /// Its name in the pod.
    pub name: String,
    /// How often a container of this name was made before, in this pod.
    pub attempt: u32,
    /// When it was made, in nanoseconds since 1970.
    pub created_at: i64,
    /// How far it got.
    pub state: RunState,
    /// Whether its processes are those of a sandbox or a virtual machine, and cannot be seen from the node: what is known
    /// is what the OCI runtime got.
    pub isolated: bool,
    /// Its first process, as the host numbers it.
    pub pid: Option<u32>,
    /// What it was made of, or why that is not known.
    pub made: Result<Made, String>,
    /// Its first process, or why that is not known; None: it has none (any more).
    pub process: Option<Result<Process, String>>,
    /// The groups that the image's own files give the user, where they had to be read.
    pub implied: Option<BTreeSet<u32>>,
}
