//! The start check: a Strict container's process is compared with its decision after the OCI runtime created it and
//! before it runs the image's program. containerd does not start a container for which NRI `StartContainer` is answered
//! by an error.

use std::time::Duration;

use thiserror::Error;
use tracing::info;

use super::{
    Container, Pod, aside,
    context::Context,
    listed::Listed,
    log::about,
    resolver::{Own, ResolveError},
};
use crate::ops::metrics::{Refusal, Started};
use container_start::start_check::{self, StartError};
use hostfs::identity::Identity;
use strict_groups_core::{
    gate::{Cause, State},
    groups,
    policy::PolicyError,
    text,
};

/// How much of a shim's name is shown, in bytes.
const SHIM_SHOWN: usize = 64;

/// Why a container is refused when it is about to start.
#[derive(Debug, Error)]
pub(super) enum NotStarted {
    /// The gate did not stop it, although it says why it has to.
    #[error("{0}")]
    Gate(Cause),
    #[error(
        "supplementalGroupsPolicy Strict cannot be verified: {0}; the kubelet tries again, unless restartPolicy is \
         Never"
    )]
    Record(#[from] ResolveError),
    #[error(
        "supplementalGroupsPolicy Strict cannot be verified, because the container runtime names no process; see its \
         log; the kubelet tries again, unless restartPolicy is Never"
    )]
    NoProcess,
    /// The process is in a virtual machine, or that of a sandbox.
    #[error(
        "the container's record had groups that supplementalGroupsPolicy Strict does not allow ({}), and what its \
         process has under {} cannot be seen from the node; see the log of strict-groups on the node, then delete the \
         pod to try again",
        groups::shown(.groups),
        text::quoted(.shim, SHIM_SHOWN)
    )]
    NotVisible { groups: Vec<u32>, shim: String },
    #[error(transparent)]
    Process(#[from] StartError),
    #[error(transparent)]
    Policy(#[from] PolicyError),
}

impl From<&NotStarted> for Refusal {
    fn from(why: &NotStarted) -> Self {
        match why {
            NotStarted::Record(error) => Self::from(error),
            NotStarted::Policy(error) => Self::from(error),
            NotStarted::Gate(_) | NotStarted::NotVisible { .. } => Self::Record,
            NotStarted::NoProcess | NotStarted::Process(_) => Self::Process,
        }
    }
}

#[derive(Debug)]
pub(super) struct StartCheck {
    context: Context,
}

/// What a Strict container starts with.
struct Checked {
    own: Own,
    /// None: it cannot be seen from the node.
    process: Option<Identity>,
}

impl StartCheck {
    pub(super) fn new(context: Context) -> Self {
        Self { context }
    }

    /// Compares the created process of the Strict `container` with its own record, counts, and logs the one line that
    /// every Strict container gets.
    ///
    /// # Errors
    /// It must not start.
    pub(super) async fn check(
        &self,
        pod: &Pod,
        container: &Container,
        wait: Duration,
    ) -> Result<(), NotStarted> {
        let result = self.look(container, wait).await;
        self.context.metrics.started(match &result {
            Ok(Checked { process: Some(_), .. }) => Started::Enforced,
            Err(NotStarted::Process(StartError::NotAllowed { .. }) | NotStarted::NotVisible { .. }) => {
                Started::Violated
            }
            Ok(Checked { process: None, .. }) => Started::NotVerified,
            Err(_) => Started::Unseen,
        });
        match result {
            Ok(checked) => {
                self.log(pod, container, checked);
                Ok(())
            }
            Err(why) => {
                self.context.metrics.refused(Refusal::from(&why));
                about!(error, pod, container, "refused before its start: {why}");
                Err(why)
            }
        }
    }

    async fn look(&self, container: &Container, wait: Duration) -> Result<Checked, NotStarted> {
        for gate in container.gates() {
            if let State::Refused { reason } = gate.state {
                return Err(NotStarted::Gate(Cause::Failed { reason }));
            }
        }
        let own = self.context.resolver.before_start(&container.id, wait).await?;
        self.context.metrics.groups_removed(own.late.len());
        if !own.shows_its_process() {
            return if own.late.is_empty() {
                Ok(Checked { own, process: None })
            } else {
                Err(NotStarted::NotVisible { groups: own.late, shim: own.runtime })
            };
        }
        if container.pid == 0 {
            return Err(NotStarted::NoProcess);
        }
        let pid = container.pid;
        // The kernel tells as many groups, each with at most ten digits.
        let size = own.groups.len() * 11;
        let (process, own) =
            aside::run(size, move || (start_check::check(pid, own.gid, &own.declared), own)).await;
        Ok(Checked { process: Some(process?), own })
    }

    fn log(&self, pod: &Pod, container: &Container, Checked { own, process }: Checked) {
        let line = Line {
            pod: pod.name.clone(),
            namespace: pod.namespace.clone(),
            container: container.name.clone(),
            groups: Listed::new(&own.groups).to_string(),
            not_verified: process.is_none().then_some(own.runtime),
        };
        if own.removed.is_empty() || line.not_verified.is_some() {
            // The files of a virtual machine's process are the node's.
            line.log(&own.removed.to_string());
            return;
        }
        // The line follows after the answer to the runtime, which waits for us here.
        let (names, pid, removed) = (self.context.names.clone(), container.pid, own.removed);
        tokio::spawn(async move { line.log(&removed.with(&names.beside(pid, &removed.first).await)) });
    }
}

struct Line {
    pod: String,
    namespace: String,
    container: String,
    groups: String,
    /// The shim under which no process can be seen.
    not_verified: Option<String>,
}

impl Line {
    fn log(&self, removed_groups: &str) {
        let Self { pod, namespace, container, groups, not_verified } = self;
        match not_verified {
            None => info!(pod, namespace, container, groups, removed_groups, "strict"),
            Some(runtime) => info!(
                pod,
                namespace,
                container,
                groups,
                removed_groups,
                runtime = text::one_line(runtime, SHIM_SHOWN),
                "strict by its record; its process cannot be seen from the node"
            ),
        }
    }
}
