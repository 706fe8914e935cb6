//! Catch-up: containers that came while the plugin was not registered, those that exist when it registers and those
//! that are on their way then. What has not been started yet is resolved; what runs with groups that it must not have
//! is reported, one line each, and in audit mode all the others.

use std::{collections::HashMap, sync::Arc, time::Duration};

use super::{
    Container, Pod,
    audit::Audit,
    log::about,
    pod_spec::PodSpecs,
    resolver::{Resolved, Resolver},
    settings::Settings,
    subject::Subject,
};
use crate::{
    gate::{Gate, State},
    groups,
    identity::{self, Identity, IdentityError},
    metrics::{Metrics, Refusal},
    nri::api::ContainerState,
    policy::{Decision, Policy, PolicyError},
};

/// Everything that is needed to go through a node's containers, apart from
/// the plugin, since it may go on after the runtime has its answer.
pub(super) struct CatchUp {
    pub(super) settings: Arc<Settings>,
    pub(super) audit: Audit,
    pub(super) resolver: Arc<Resolver>,
    pub(super) specs: PodSpecs,
    pub(super) metrics: Arc<Metrics>,
    pub(super) wait: Duration,
}

impl CatchUp {
    /// Goes through all containers: first those that can still be helped.
    pub(super) async fn run(self, pods: Vec<Pod>, containers: Vec<Container>) {
        let pods: HashMap<&str, &Pod> = pods.iter().map(|pod| (pod.id.as_str(), pod)).collect();
        let of_pod = |container: &Container| pods.get(container.pod_sandbox_id.as_str()).copied();
        let in_state = |states: &'static [ContainerState]| {
            containers.iter().filter(move |container| states.contains(&container.state()))
        };
        for container in in_state(&[ContainerState::ContainerCreated]) {
            if let Some(pod) = of_pod(container) {
                // Its sandbox was there before us.
                self.created(pod, container, true).await;
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

    /// The policy that counts for a container which nobody decided about.
    pub(super) async fn decide(&self, pod: &Pod, container: &Container) -> Result<Decision, PolicyError> {
        let declared = self.specs.of(pod, self.wait).await;
        let spec = declared.as_ref().and_then(|declared| declared.policy.as_deref());
        self.settings.decide(pod, container, spec)
    }

    /// A container that waits for its start: resolved, or shut. `older`: its sandbox was made before the plugin
    /// registered.
    pub(super) async fn created(&self, pod: &Pod, container: &Container, older: bool) {
        let state = match container.gates().next().map(|gate| gate.state) {
            // Decided, and left pending by a plugin that ended in between.
            Some(State::Pending { declared }) => State::Pending { declared },
            Some(State::Resolved { .. } | State::Refused { .. }) => return,
            None => match self.decide(pod, container).await {
                Ok(decision) if decision.policy == Policy::Merge => {
                    return self.merge(pod, container, older).await;
                }
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
        let path = self.settings.hook_path_text();
        match self.resolver.adopt(&container.id, &path, &gate, self.wait).await {
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

    /// A Merge container that waits for its start: left alone, unless the static gate needs its marker.
    async fn merge(&self, pod: &Pod, container: &Container, older: bool) {
        if container.has_marker() || !self.settings.needs_marker(pod, container, older) {
            return;
        }
        let path = self.settings.hook_path_text();
        if let Err(reason) = self.resolver.mark(&container.id, &path, self.wait).await {
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
        let extra = not_allowed(&process, allowed);
        let violated = !extra.is_empty() && self.is_its_process(container).await;
        if violated {
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
        violated
    }

    /// Whether the pid that the runtime names is the container's own process. Where nobody can tell, it is taken for
    /// it.
    async fn is_its_process(&self, container: &Container) -> bool {
        self.resolver.shows_its_process(&container.id, self.wait).await.unwrap_or(true)
    }

    /// Whether nobody made it Strict, nor asks for it.
    async fn is_left_alone(&self, pod: &Pod, container: &Container) -> bool {
        !container.has_gate()
            && self.decide(pod, container).await.is_ok_and(|decision| decision.policy == Policy::Merge)
    }

    /// The groups that a running container may have, its primary one included; None: all, or nobody can tell (which
    /// is logged).
    async fn allowed(&self, pod: &Pod, container: &Container) -> Option<Vec<u32>> {
        let resolved = container.gates().find_map(|gate| match gate.state {
            State::Resolved { groups, .. } => Some(groups),
            State::Pending { .. } | State::Refused { .. } => None,
        });
        if resolved.is_some() {
            return resolved;
        }
        // A policy that cannot be read is refused when it is asked for; this one was not.
        if self.is_left_alone(pod, container).await {
            return None;
        }
        match self.resolver.allowed(&container.id, self.wait).await {
            Ok(allowed) => Some(allowed),
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

/// The groups of a running process that it may not have.
fn not_allowed(process: &Identity, allowed: Vec<u32>) -> Vec<u32> {
    let held = process.gids.iter().chain(&process.groups).copied();
    let extra = groups::excess(held, allowed).into_iter();
    // What has no id in the process's user namespace stands there with the host's, and may look like an allowed one.
    groups::excess(extra.chain(process.unmapped.iter().copied()), [])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_running_process_holds_only_what_is_allowed() {
        let process = |gid, groups: &[u32], unmapped: &[u32]| Identity {
            uid: 1000,
            gids: [gid; 4],
            groups: groups.to_vec(),
            unmapped: unmapped.to_vec(),
        };
        for (process, allowed, extra) in [
            (process(3000, &[3000, 4000], &[]), vec![3000, 4000], vec![]),
            (process(3000, &[3000], &[]), vec![4000, 3000], vec![]),
            (process(3000, &[50000, 3000, 4000], &[]), vec![3000, 4000], vec![50000]),
            (process(50000, &[3000], &[]), vec![3000], vec![50000]),
            (process(3000, &[4000], &[4000]), vec![3000, 4000], vec![4000]),
        ] {
            assert_eq!(not_allowed(&process, allowed.clone()), extra, "{process:?} {allowed:?}");
        }
    }
}
