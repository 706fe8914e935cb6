//! The gate: a createRuntime hook (OCI runtime-spec, "POSIX-platform Hooks") that carries the
//! decision for one container in its arguments, from the moment it is made to the start.
//!
//! ```text
//! strict-groups hook --gate=pending  --pod=<namespace>/<name> --container=<name> [--declared=4000,5000]
//! strict-groups hook --gate=resolved --pod=... --container=... --groups=3000,4000 --removed=50000 [--removed-count=70000]
//! strict-groups hook --gate=refused  --pod=... --container=... --reason=<text>
//! ```
//!
//! A pod's author can write annotations, but no hook. So what stands here was put here by the node,
//! and the decision needs no other place to live in.

use std::fmt;

use thiserror::Error;

use crate::engine::Engine;
use crate::groups::{self, Alias};
use crate::oci::{KEEP_GROUPS, ProcessUser};
use crate::text;

pub mod args;

/// The longest reason that a gate carries, in bytes.
const REASON_MAX: usize = 1024;
/// The decision that one container is Strict, and how far it got.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gate {
    /// The pod, as `namespace/name`.
    pub pod: String,
    /// The container's name within the pod.
    pub container: String,
    /// How far it got.
    pub state: State,
}

/// How far the enforcement of a decision got.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// Decided, and nothing was removed yet. Such a container may start only if its groups are among the declared ones.
    Pending {
        /// The supplementary groups that the pod declares; None: not known here, which is not the same as none at
        /// all. They only ever let a container pass: who removes groups goes by the container's own record.
        declared: Option<Vec<u32>>,
    },
    /// Enforced: the spec was filtered.
    Resolved {
        /// The groups that the process may have, its primary group included.
        groups: Vec<u32>,
        /// The groups that were taken from it, for logs and listings. The arguments have the first 1024 of them.
        removed: Vec<u32>,
    },
    /// It could not be enforced. Such a container must not start.
    Refused {
        /// Why, for the pod's author; [`Gate::args`] makes it one line of at most 1 KiB.
        reason: String,
    },
}

/// Why a hook that names itself ours is not understood: another version, or damaged.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum GateError {
    /// An argument that this version does not know.
    #[error("the gate has an unknown argument {}", text::quoted(.arg, 32))]
    Unknown {
        /// The argument.
        arg: String,
    },
    /// A flag that stands twice.
    #[error("the gate has {flag} twice")]
    Repeated {
        /// The flag, with its dashes.
        flag: &'static str,
    },
    /// A flag that has no place in a gate of this state.
    #[error("the gate is {state} and has {flag}")]
    Misplaced {
        /// The flag, with its dashes.
        flag: &'static str,
        /// The gate's state as it is written.
        state: &'static str,
    },
    /// A flag that must be there.
    #[error("the gate lacks {flag}")]
    Missing {
        /// The flag, with its dashes.
        flag: &'static str,
    },
    /// More groups than a process can have.
    #[error("{flag} of the gate has more than the 65536 groups that the kernel allows")]
    TooMany {
        /// The flag, with its dashes.
        flag: &'static str,
    },
    /// A list of groups with something else than a GID in it.
    #[error("{flag} of the gate has {shown}, which is no GID")]
    BadNumber {
        /// The flag, with its dashes.
        flag: &'static str,
        /// The text in place of the number, quoted and cut.
        shown: String,
    },
}

/// Why a container must not start. The text is what the pod's author reads in the pod's events.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error(
    "strict-groups: pod {}, container {}: {cause}",
    text::one_line(.pod, text::NAME_MAX),
    text::one_line(.container, text::NAME_MAX)
)]
pub struct Refusal {
    /// The pod, as `namespace/name`.
    pub pod: String,
    /// The container's name within the pod.
    pub container: String,
    /// What is wrong.
    pub cause: Cause,
}

/// What is wrong with a container that must not start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cause {
    /// The gate is still pending: nothing filtered the groups.
    NeverEnforced,
    /// The same under CRI-O, where only the OCI runtime could have done it.
    NoWrapper,
    /// The enforcement failed and said why.
    Failed {
        /// Why.
        reason: String,
    },
    /// The spec gives the process groups that the decision does not allow.
    NotAllowed {
        /// Those groups; the primary group too if it is one of them.
        groups: Vec<u32>,
    },
    /// The annotation [`KEEP_GROUPS`] would undo the decision.
    KeepsOriginalGroups,
    /// The container's `/etc/group` would make runc take another group for one of ours.
    Alias(Alias),
    /// The OCI runtime reads the container's `/etc/group`, and others can change it.
    GroupFile {
        /// What is wrong with the file.
        reason: String,
    },
    /// The OCI runtime reads the container's `/etc/group` at each exec, and the container's user can change it.
    ExecAtRisk,
    /// The OCI runtime restores the process from a checkpoint.
    Restored,
    /// The OCI runtime has groups itself, and reads whether it may set others in a `/proc` that is none.
    RuntimeGroups {
        /// Those that the decision does not allow.
        groups: Vec<u32>,
    },
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NeverEnforced => f.write_str(
                "supplementalGroupsPolicy Strict was never enforced (the strict-groups plugin did not finish its \
                 work); see its log on the node; the kubelet tries again, unless restartPolicy is Never",
            ),
            Self::NoWrapper => f.write_str(
                "supplementalGroupsPolicy Strict was never enforced: under CRI-O only the OCI runtime can do it; install \
                 strict-groups-runtime as runtime_path (`strict-groups config crio` prints the drop-in) and restart \
                 CRI-O; the kubelet tries again, unless restartPolicy is Never",
            ),
            Self::Failed { reason } => write!(
                f,
                "supplementalGroupsPolicy Strict could not be enforced: {}; see the log of strict-groups on the \
                 node, then delete the pod to try again",
                text::one_line(reason, REASON_MAX)
            ),
            Self::NotAllowed { groups } => {
                write!(
                    f,
                    "something on the node gave the process groups that Strict does not allow ({}); find the plugin or \
                     runtime that changes process.user, then delete the pod to try again",
                    groups::shown(groups)
                )
            }
            Self::Alias(Alias { name, gid }) => write!(
                f,
                "the container's /etc/group has a group that is named \"{name}\" but has GID {gid}, and runc before \
                 1.3 gives the process that one; rename the group in the image, or use runc 1.3 or crun on the node"
            ),
            Self::GroupFile { reason } => write!(
                f,
                "this node's OCI runtime, older than runc 1.3, takes groups from the container's /etc/group, and with \
                 Strict that file must be the container's own: {}; make it a plain file of the image, or use runc 1.3 \
                 or crun on the node",
                text::one_line(reason, REASON_MAX)
            ),
            Self::ExecAtRisk => f.write_str(
                "this node's OCI runtime, older than runc 1.3, takes the groups of each exec from the container's \
                 /etc/group, which the container's user can change; use runc 1.3 or crun on the node, or set \
                 seccompProfile: RuntimeDefault and allowPrivilegeEscalation: false and keep /etc and /etc/group root's \
                 (readOnlyRootFilesystem: true does), or set old_runc_exec = \"allow\" in the node's configuration",
            ),
            Self::RuntimeGroups { groups } => write!(
                f,
                "the OCI runtime itself has supplementary groups ({}), and the container's /proc, which is no proc file \
                 system, could make it keep them; mount no volume at /proc, or start the container runtime without groups",
                groups::shown(groups)
            ),
            Self::Restored => f.write_str(
                "a process that is restored from a checkpoint has the groups of the checkpoint, and nothing can verify \
                 them before it runs, as Strict demands; use an ordinary image",
            ),
            Self::KeepsOriginalGroups => write!(
                f,
                "annotation {KEEP_GROUPS} makes the runtime keep its own groups, which Strict forbids; remove it \
                 from the pod"
            ),
        }
    }
}

impl Refusal {
    /// The same in the words of the container runtime that made the container.
    #[must_use]
    pub fn under(self, runtime: Engine) -> Self {
        match self.cause {
            Cause::NeverEnforced if runtime == Engine::CriO => Self { cause: Cause::NoWrapper, ..self },
            _ => self,
        }
    }
}

impl Gate {
    /// The hook's `args`, the program's name (`args[0]`) included.
    ///
    /// Long lists are split over several arguments, since the kernel takes at most 128 KiB in one
    /// (`MAX_ARG_STRLEN`). Names and the reason are made one line each.
    #[must_use]
    pub fn args(&self) -> Vec<String> {
        args::write(self)
    }

    /// Reads a hook's `args`. None: some other program's hook, or the node's own gate
    /// (`container_start::static_gate`), which is no container's.
    ///
    /// # Errors
    /// When the first two arguments say that it is ours and the rest is not understood. Such a
    /// container must not start.
    pub fn parse(args: &[impl AsRef<str>]) -> Result<Option<Self>, GateError> {
        args::read(args)
    }

    /// The groups that the decision allows, as far as the gate knows them; the primary one need not be among them.
    #[must_use]
    pub fn allowed(&self) -> &[u32] {
        match &self.state {
            State::Resolved { groups, .. } | State::Pending { declared: Some(groups) } => groups,
            State::Pending { declared: None } | State::Refused { .. } => &[],
        }
    }

    /// Checks the user of the container's first process against the decision.
    ///
    /// # Errors
    /// Unless the gate is resolved and allows the primary group and all supplementary groups, or is pending and knows
    /// that nothing has to be removed.
    pub fn verify(&self, user: &ProcessUser) -> Result<(), Refusal> {
        match &self.state {
            // Without the primary group in the list a runtime may not call setgroups, see [`groups::strict`].
            State::Pending { declared: Some(declared) }
                if user.additional_gids.contains(&user.gid)
                    && groups::excess(user.additional_gids.iter().copied(), with(user.gid, declared))
                        .is_empty() =>
            {
                Ok(())
            }
            State::Pending { .. } => Err(self.refusal(Cause::NeverEnforced)),
            State::Refused { reason } => Err(self.refusal(Cause::Failed { reason: reason.clone() })),
            State::Resolved { groups: allowed, .. } => {
                let groups = groups::excess(with(user.gid, &user.additional_gids), allowed.iter().copied());
                if groups.is_empty() { Ok(()) } else { Err(self.refusal(Cause::NotAllowed { groups })) }
            }
        }
    }

    /// Checks a whole spec against the decision: [`Gate::verify`], and whether it has the annotation [`KEEP_GROUPS`].
    ///
    /// # Errors
    /// Like [`Gate::verify`], and when the spec has the annotation [`KEEP_GROUPS`].
    pub fn verify_spec(&self, user: &ProcessUser, keeps_original_groups: bool) -> Result<(), Refusal> {
        self.verify(user)?;
        if keeps_original_groups {
            return Err(self.refusal(Cause::KeepsOriginalGroups));
        }
        Ok(())
    }

    /// Why the container must not start, with its names.
    #[must_use]
    pub fn refusal(&self, cause: Cause) -> Refusal {
        Refusal { pod: self.pod.clone(), container: self.container.clone(), cause }
    }
}

fn with(gid: u32, groups: &[u32]) -> impl Iterator<Item = u32> + '_ {
    groups.iter().copied().chain([gid])
}

#[cfg(test)]
mod tests;
