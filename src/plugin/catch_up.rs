//! Catch-up: containers that came while the plugin was not registered, those that exist when it registers and those
//! that are on their way then. What has not been started yet is resolved; what runs with groups that it must not have
//! is reported, one line each, and in audit mode all the others.

use std::{collections::HashMap, sync::Arc, time::Duration};

use tokio::{sync::oneshot, task::yield_now};

use super::{
    Container, Pod, aside, audit::Audit, context::Context, listed::Listed, log::about, pod_spec::PodSpecs,
    resolver::Resolved, settings::Settings, subject::Subject,
};
use crate::ops::metrics::Refusal;
use hostfs::identity::{self, IdentityError};
use nri_plugin::api::ContainerState;
use strict_groups_core::{
    gate::{Gate, State},
    policy::{Decision, Policy, PolicyError},
};

/// At most so many containers are resolved before the runtime has its answer. Others that wait for their start come
/// right after it; the gate and the start check stand between them and an image's program.
const FIRST: usize = 256;

/// Everything that is needed to go through a node's containers, apart from
/// the plugin, since it may go on after the runtime has its answer.
pub(super) struct CatchUp {
    pub(super) settings: Arc<Settings>,
    pub(super) audit: Audit,
    pub(super) specs: PodSpecs,
    pub(super) context: Context,
    pub(super) wait: Duration,
}

impl CatchUp {
    /// Goes through all containers: first those that can still be helped. `open` is dropped when the runtime need not
    /// wait any more for its answer.
    ///
    /// Between two containers the events of the runtime have their turn.
    pub(super) async fn run(self, pods: Vec<Pod>, containers: Vec<Container>, open: oneshot::Sender<()>) {
        use ContainerState::{ContainerCreated, ContainerPaused, ContainerRunning};
        let pods: HashMap<String, Pod> = pods.into_iter().map(|pod| (pod.id.clone(), pod)).collect();
        let (created, others): (Vec<_>, Vec<_>) =
            containers.into_iter().partition(|container| container.state() == ContainerCreated);
        let mut open = Some(open);
        for (number, container) in created.into_iter().enumerate() {
            if number >= FIRST {
                open = None;
            }
            if let Some(pod) = pods.get(&container.pod_sandbox_id) {
                // Its sandbox was there before us.
                self.created(pod, &container, true).await;
            }
            yield_now().await;
        }
        drop(open);
        let mut violations = 0;
        for container in others {
            if matches!(container.state(), ContainerRunning | ContainerPaused)
                && let Some(pod) = pods.get(&container.pod_sandbox_id)
            {
                violations += u64::from(self.running(pod, container).await);
            }
            yield_now().await;
        }
        self.context.metrics.found_at_registration(violations);
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
                    self.context.metrics.refused(Refusal::from(&error));
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
        match self.context.resolver.adopt(&container.id, path, gate, self.wait).await {
            Ok(Resolved { removed, .. }) => {
                self.context.metrics.groups_removed(removed.len());
                about!(info, pod, container, "was created while the plugin was away; {outcome}");
            }
            Err(reason) => {
                self.context.metrics.refused(Refusal::from(&reason));
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
        if let Err(reason) = self.context.resolver.mark(&container.id, &path, self.wait).await {
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
    async fn running(&self, pod: &Pod, container: Container) -> bool {
        let (container, gates) = aside::run(container.size_of_hooks(), || {
            let gates = Gates::of(&container);
            (container, gates)
        })
        .await;
        if self.settings.is_audit() && self.is_left_alone(pod, &container, gates.any).await {
            self.audit.report(&self.settings, pod, &container, self.wait).await;
            return false;
        }
        let Some(allowed) = self.allowed(pod, &container, gates).await else { return false };
        let pid = container.pid;
        // How many groups a process has is seen only when they are read.
        let looked = aside::run(usize::MAX, move || {
            let process = identity::of_process(pid)?;
            Ok((process.uid, Listed::new(&process.beyond(allowed))))
        });
        let (uid, extra) = match looked.await {
            Ok(looked) => looked,
            Err(IdentityError::Gone { .. }) => return false,
            Err(reason) => {
                about!(warn, pod, container, "cannot be looked at: {reason}");
                return false;
            }
        };
        let violated = !extra.is_empty() && self.is_its_process(&container).await;
        if violated {
            about!(
                error,
                pod,
                container,
                extra_groups = extra.to_string(),
                uid,
                "VIOLATED: runs with groups that Strict forbids, since it was started while the plugin was \
                 away or took them itself (CAP_SETGID); delete the pod to have it enforced"
            );
        }
        violated
    }

    /// Whether the pid that the runtime names is the container's own process. Where nobody can tell, it is taken for
    /// it.
    async fn is_its_process(&self, container: &Container) -> bool {
        self.context.resolver.shows_its_process(&container.id, self.wait).await.unwrap_or(true)
    }

    /// Whether nobody made it Strict, nor asks for it.
    async fn is_left_alone(&self, pod: &Pod, container: &Container, gated: bool) -> bool {
        !gated && self.decide(pod, container).await.is_ok_and(|decision| decision.policy == Policy::Merge)
    }

    /// The groups that a running container may have, its primary one included; None: all, or nobody can tell (which
    /// is logged).
    async fn allowed(&self, pod: &Pod, container: &Container, gates: Gates) -> Option<Vec<u32>> {
        if gates.resolved.is_some() {
            return gates.resolved;
        }
        // A policy that cannot be read is refused when it is asked for; this one was not.
        if self.is_left_alone(pod, container, gates.any).await {
            return None;
        }
        match self.context.resolver.allowed(&container.id, self.wait).await {
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

/// What the gates of a running container say.
struct Gates {
    /// Whether it has one, also one that cannot be read.
    any: bool,
    /// The groups that a resolved one allows.
    resolved: Option<Vec<u32>>,
}

impl Gates {
    fn of(container: &Container) -> Self {
        let resolved = container.gates().find_map(|gate| match gate.state {
            State::Resolved { groups, .. } => Some(groups),
            State::Pending { .. } | State::Refused { .. } => None,
        });
        Self { any: resolved.is_some() || container.has_gate(), resolved }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::{ops::metrics::Metrics, runtimes::containerd::Containers};
    use nri_plugin::api::{Hook, Hooks};
    use strict_groups_core::policy::NodePolicy;

    fn catch_up() -> (CatchUp, Arc<Metrics>) {
        let context = Context::new(Containers::new(Path::new("/nonexistent/containerd.sock")));
        let metrics = Arc::clone(&context.metrics);
        let settings = Settings { node: NodePolicy::default(), hook_path: "/usr/bin/strict-groups".into() };
        let catch_up = CatchUp {
            settings: Arc::new(settings),
            audit: Audit::new(context.clone()),
            specs: PodSpecs::default(),
            context,
            wait: Duration::from_secs(20),
        };
        (catch_up, metrics)
    }

    /// `count` containers of one pod whose gate allows `groups` groups.
    fn node(count: usize, state: ContainerState, groups: u32) -> (Vec<Pod>, Vec<Container>) {
        let gate = Gate {
            pod: "default/web".to_owned(),
            container: "app".to_owned(),
            state: State::Resolved { groups: (0..groups).collect(), removed: Vec::new() },
        };
        let hook = Hook { args: gate.args(), ..Hook::default() };
        let container = Container {
            pod_sandbox_id: "s".to_owned(),
            state: state.into(),
            hooks: Some(Hooks { create_runtime: vec![hook], ..Hooks::default() }),
            // Where no process is.
            pid: 4_194_305,
            ..Container::default()
        };
        (vec![Pod { id: "s".to_owned(), ..Pod::default() }], vec![container; count])
    }

    /// How often events have their turn while all of this is gone through, and before the runtime has its answer.
    async fn turns(pods: Vec<Pod>, containers: Vec<Container>) -> (usize, usize) {
        let (open, mut answer) = oneshot::channel();
        let (catch_up, metrics) = catch_up();
        let work = tokio::spawn(catch_up.run(pods, containers, open));
        let (mut all, mut waiting) = (0, 0);
        while !work.is_finished() {
            waiting += usize::from(answer.try_recv() == Err(oneshot::error::TryRecvError::Empty));
            all += 1;
            yield_now().await;
        }
        work.await.unwrap();
        drop(metrics);
        (all, waiting)
    }

    #[tokio::test]
    async fn events_have_a_turn_after_each_container() {
        for count in [100, 1000] {
            let (pods, containers) = node(count, ContainerState::ContainerRunning, 3);
            let (all, waiting) = turns(pods, containers).await;
            assert!(all >= count, "{all} turns for {count} containers");
            assert!(waiting <= 2, "the runtime waits for containers that run: {waiting} turns");
        }
    }

    #[tokio::test]
    async fn answer_waits_for_so_many_created_containers() {
        for (count, most) in [(10, 12), (5 * FIRST, FIRST + 2)] {
            let (pods, containers) = node(count, ContainerState::ContainerCreated, 3);
            let (all, waiting) = turns(pods, containers).await;
            assert!(all >= count && waiting >= count.min(FIRST) && waiting <= most, "{all}, {waiting}");
        }
    }

    #[tokio::test]
    async fn long_lists_are_read_in_another_thread() {
        // 65,536 groups are 370 KB of arguments. The thread of the events sees only their lengths.
        let (_, containers) = node(1, ContainerState::ContainerRunning, 65_536);
        let [container] = &containers[..] else { panic!("one container") };
        assert!(container.size_of_hooks() > aside::SHORT);
    }
}
