//! Containers that came while the plugin was away: those that exist when it
//! registers, and those that are on their way then. Those that have not been started yet are resolved; those that
//! run with groups that they must not have are reported, one line each, and in
//! audit mode all the others.

use std::{collections::HashMap, sync::Arc, time::Duration};

use super::{
    Container, Pod,
    audit::Audit,
    log::about,
    pod_spec::PodSpecs,
    resolver::{Resolved, Resolver},
    settings::Settings,
    subject::Subject,
    witness,
};
use crate::{
    containerd::Containers,
    gate::{Gate, State},
    groups,
    identity::{self, IdentityError},
    metrics::{Metrics, Refusal, Started},
    nri::api::ContainerState,
    policy::{Decision, Policy, PolicyError},
};

/// Everything that is needed to go through a node's containers, apart from
/// the plugin, since it may go on after the runtime has its answer.
pub(super) struct Survey {
    pub(super) settings: Arc<Settings>,
    pub(super) audit: Audit,
    pub(super) containers: Containers,
    pub(super) specs: PodSpecs,
    pub(super) metrics: Arc<Metrics>,
    pub(super) wait: Duration,
}

impl Survey {
    /// Goes through all containers: first those that can still be helped.
    pub(super) async fn run(self, pods: Vec<Pod>, containers: Vec<Container>) {
        let pods: HashMap<&str, &Pod> = pods.iter().map(|pod| (pod.id.as_str(), pod)).collect();
        let of_pod = |container: &Container| pods.get(container.pod_sandbox_id.as_str()).copied();
        let in_state = |states: &'static [ContainerState]| {
            containers.iter().filter(move |container| states.contains(&container.state()))
        };
        for container in in_state(&[ContainerState::ContainerCreated]) {
            if let Some(pod) = of_pod(container) {
                self.created(pod, container).await;
            }
        }
        let mut violations = 0;
        for container in in_state(&[ContainerState::ContainerRunning, ContainerState::ContainerPaused]) {
            if let Some(pod) = of_pod(container) {
                violations += u64::from(self.running(pod, container).await);
            }
        }
        self.metrics.found_at_registration(violations);
    }

    async fn decide(&self, pod: &Pod, container: &Container) -> Result<Decision, PolicyError> {
        let declared = self.specs.of(pod, self.wait).await;
        let spec = declared.as_ref().and_then(|declared| declared.policy.as_deref());
        self.settings.decide(pod, container, spec)
    }

    /// Whether nobody asks for Strict.
    pub(super) async fn is_merge(&self, pod: &Pod, container: &Container) -> bool {
        self.decide(pod, container).await.is_ok_and(|decision| decision.policy == Policy::Merge)
    }

    /// A container that was just started and that nobody made Strict.
    pub(super) async fn started(&self, pod: &Pod, container: &Container) {
        if self.running(pod, container).await {
            self.metrics.started(Started::Violated);
        }
    }

    /// A container that waits for its start: resolved, or shut.
    pub(super) async fn created(&self, pod: &Pod, container: &Container) {
        let state = match container.gates().next().map(|gate| gate.state) {
            // Decided, and left pending by a plugin that ended in between.
            Some(State::Pending { declared }) => State::Pending { declared },
            Some(State::Resolved { .. } | State::Refused { .. }) => return,
            None => match self.decide(pod, container).await {
                Ok(decision) if decision.policy == Policy::Merge => return self.merge(pod, container).await,
                Ok(_) => State::Pending { declared: None },
                Err(error) => {
                    self.metrics.refused(Refusal::from(&error));
                    State::Refused { reason: error.to_string() }
                }
            },
        };
        let outcome = match &state {
            State::Refused { .. } => "will not start",
            State::Pending { .. } | State::Resolved { .. } => "enforced before its start",
        };
        let subject = Subject::new(pod, container);
        let gate = Gate { pod: subject.pod, container: subject.container, state };
        let resolver = Resolver::new(self.containers.clone());
        let path = self.settings.hook_path_text();
        match resolver.adopt(&container.id, &path, &gate, self.wait).await {
            Ok(Resolved { removed, .. }) => {
                self.metrics.groups_removed(removed.len());
                about!(info, pod, container, "was created while the plugin was away; {outcome}");
            }
            Err(reason) => {
                self.metrics.refused(Refusal::from(&reason));
                about!(
                    error,
                    pod,
                    container,
                    "was created while the plugin was away and could not be enforced: {reason}"
                );
            }
        }
    }

    /// A Merge container that waits for its start: left alone, unless the static gate must be told.
    async fn merge(&self, pod: &Pod, container: &Container) {
        if !self.settings.needs_mark(pod, container) {
            return;
        }
        let resolver = Resolver::new(self.containers.clone());
        if let Err(reason) = resolver.mark(&container.id, &self.settings.hook_path_text(), self.wait).await {
            about!(
                warn,
                pod,
                container,
                "was created while the plugin was away and cannot be marked as Merge, so that the static gate may \
                 refuse it: {reason}"
            );
        }
    }

    /// A container that runs: nothing can be changed, but it is said. Whether it holds what it must not have.
    async fn running(&self, pod: &Pod, container: &Container) -> bool {
        if self.settings.is_audit() && self.is_left_alone(pod, container).await {
            self.audit.report(&self.settings, pod, container, self.wait).await;
            return false;
        }
        let Some(allowed) = self.allowed(pod, container).await else { return false };
        let process = match identity::of_process(container.pid) {
            Ok(process) => process,
            Err(IdentityError::Gone { .. }) => return false,
            Err(reason) => {
                about!(warn, pod, container, "cannot be looked at: {reason}");
                return false;
            }
        };
        let extra = witness::not_allowed(&process, &allowed.groups(process.gid()));
        if !extra.is_empty() {
            about!(
                error,
                pod,
                container,
                extra_groups = groups::list(&extra),
                uid = process.uid,
                "VIOLATED: runs with groups that Strict forbids, since it was started while the plugin was \
                 away or took them itself (CAP_SETGID); delete the pod to have it enforced"
            );
        }
        !extra.is_empty()
    }

    /// Whether nobody made it Strict, nor asks for it.
    async fn is_left_alone(&self, pod: &Pod, container: &Container) -> bool {
        container.gates().next().is_none() && self.is_merge(pod, container).await
    }

    /// The groups that a running container may have; None: all, or nobody can tell (which is logged).
    async fn allowed(&self, pod: &Pod, container: &Container) -> Option<Allowed> {
        let resolved = container.gates().find_map(|gate| match gate.state {
            State::Resolved { groups, .. } => Some(groups),
            State::Pending { .. } | State::Refused { .. } => None,
        });
        if let Some(groups) = resolved {
            return Some(Allowed::Resolved(groups));
        }
        // A policy that cannot be read is refused when it is asked for; this one was not.
        if self.is_merge(pod, container).await {
            return None;
        }
        match Resolver::new(self.containers.clone()).declared(&container.id, self.wait).await {
            Ok(declared) => Some(Allowed::Declared(declared)),
            Err(reason) => {
                about!(
                    warn,
                    pod,
                    container,
                    "was started while the plugin was away and cannot be compared: {reason}"
                );
                None
            }
        }
    }
}

/// What a running container is compared with.
enum Allowed {
    /// What it was resolved to, its primary group included.
    Resolved(Vec<u32>),
    /// What was declared for it, beside its primary group.
    Declared(Vec<u32>),
}

impl Allowed {
    /// The groups, for a process with this primary group.
    fn groups(self, gid: u32) -> Vec<u32> {
        match self {
            Self::Resolved(groups) => groups,
            Self::Declared(mut groups) => {
                groups.push(gid);
                groups
            }
        }
    }
}
