//! The NRI handler: decides at CreateContainer, has the container resolved at
//! post-create, and looks at the result after the start.
//!
//! The decision is kept nowhere but in the container's own hooks (see
//! [`crate::gate`]): every event brings them along, so this handler has no
//! state about containers that could be lost, forged or out of date.

mod alarm;
mod audit;
#[cfg(test)]
pub(crate) mod messages;
mod names;
mod pod_spec;
mod resolver;
mod settings;
mod subject;
mod survey;
mod view;
mod witness;

use std::{
    path::PathBuf,
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use thiserror::Error;
use tokio::sync::watch;
use tracing::{debug, error, warn};

use crate::{
    containerd::{ContainerdError, Containers},
    gate::{Gate, State},
    kubernetes::Lookup,
    metrics::{Created, Event, Metrics, Refusal},
    nri::{
        self, BoxError, Events, Plugin, RuntimeInfo,
        api::{ContainerUpdate, CreateContainerResponse},
    },
    policy::{Mode, NodePolicy, Policy, PolicyError},
    service::Registration,
    text,
};
use audit::Audit;
use names::Names;
use pod_spec::PodSpecs;
use resolver::{Resolved, Resolver};
use settings::Settings;
use subject::Subject;
use survey::Survey;
pub use view::{Container, Pod};
use witness::Witness;

/// How long one step may wait for containerd. The runtime waits 2 s for us by
/// default, and CreateContainer and post-create make one and two calls.
const LONGEST_WAIT: Duration = Duration::from_millis(700);

/// How much of a runtime's name and version is told, in bytes.
const RUNTIME_SHOWN: usize = 128;

/// Why CreateContainer fails; what `kubectl describe pod` shows.
#[derive(Debug, Error)]
enum Refused {
    #[error("strict-groups: {subject}: {source}")]
    Policy { subject: Subject, source: PolicyError },
    #[error(
        "strict-groups: {subject}: supplementalGroupsPolicy Strict cannot be enforced at the moment: {source}"
    )]
    NotEnforceable { subject: Subject, source: ContainerdError },
}

/// The plugin, as the NRI stub drives it.
#[derive(Debug)]
pub struct StrictGroups {
    settings: RwLock<Arc<Settings>>,
    containers: Containers,
    resolver: Resolver,
    witness: Witness,
    audit: Audit,
    /// What the Kubernetes API says of pods, where it is asked.
    specs: PodSpecs,
    /// Whether the runtime is containerd, whose records can be changed.
    containerd: AtomicBool,
    /// Milliseconds that one call to containerd may take.
    wait: AtomicU64,
    registration: watch::Sender<Registration>,
    mode: watch::Sender<Mode>,
    metrics: Arc<Metrics>,
}

impl StrictGroups {
    /// A plugin that asks `node` for the policy of pods that do not say,
    /// injects `hook_path` (absolute, as the OCI runtime finds it) as the
    /// gate, and resolves containers through `containers`.
    #[must_use]
    pub fn new(node: NodePolicy, hook_path: PathBuf, containers: Containers) -> Self {
        let names = Names::default();
        let metrics = Arc::new(Metrics::default());
        metrics.set_audit(node.mode == Mode::Audit);
        Self {
            mode: watch::Sender::new(node.mode),
            settings: RwLock::new(Arc::new(Settings { node, hook_path })),
            resolver: Resolver::new(containers.clone()),
            audit: Audit::new(containers.clone(), names.clone(), Arc::clone(&metrics)),
            containers,
            witness: Witness::new(names, Arc::clone(&metrics)),
            metrics,
            specs: PodSpecs::default(),
            containerd: AtomicBool::new(true),
            wait: AtomicU64::new(u64::try_from(LONGEST_WAIT.as_millis()).unwrap_or(u64::MAX)),
            registration: watch::Sender::default(),
        }
    }

    /// Asks the Kubernetes API as well what pods declare.
    #[must_use]
    pub fn with_kubernetes(mut self, lookup: Lookup) -> Self {
        self.specs = PodSpecs::asked_from(Arc::new(lookup));
        self
    }

    /// Which runtime the plugin is registered with, now and later.
    #[must_use]
    pub fn registration(&self) -> watch::Receiver<Registration> {
        self.registration.subscribe()
    }

    /// Whether the node's configuration counts, now and later.
    #[must_use]
    pub fn mode(&self) -> watch::Receiver<Mode> {
        self.mode.subscribe()
    }

    /// What is counted.
    #[must_use]
    pub fn metrics(&self) -> &Arc<Metrics> {
        &self.metrics
    }

    fn wait(&self) -> Duration {
        Duration::from_millis(self.wait.load(Ordering::Relaxed))
    }

    /// Goes on with another configuration. What was decided before stays as it is.
    pub fn reconfigure(&self, node: NodePolicy, hook_path: PathBuf) {
        self.metrics.set_audit(node.mode == Mode::Audit);
        let mode = node.mode;
        *self.settings.write().unwrap_or_else(PoisonError::into_inner) =
            Arc::new(Settings { node, hook_path });
        self.mode.send_replace(mode);
        self.warn_of_a_silent_audit();
    }

    fn warn_of_a_silent_audit(&self) {
        if self.settings().is_audit() && !self.on_containerd() {
            warn!("mode = \"audit\" reports nothing here: only containerd's containers can be looked at");
        }
    }

    fn settings(&self) -> Arc<Settings> {
        Arc::clone(&self.settings.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn on_containerd(&self) -> bool {
        self.containerd.load(Ordering::Relaxed)
    }
}

impl Plugin for StrictGroups {
    type Pod = Pod;
    type Container = Container;

    fn events(&self) -> Events {
        let always = Events::CREATE_CONTAINER | Events::POST_CREATE_CONTAINER | Events::POST_START_CONTAINER;
        always | self.specs.events()
    }

    async fn configure(&self, runtime: &RuntimeInfo) -> Result<(), BoxError> {
        self.containerd.store(runtime.name == "containerd", Ordering::Relaxed);
        // Two calls and an answer must fit into what the runtime waits.
        let wait = runtime.request_timeout.map_or(LONGEST_WAIT, |told| LONGEST_WAIT.min(told / 3));
        self.wait.store(u64::try_from(wait.as_millis()).unwrap_or(u64::MAX), Ordering::Relaxed);
        self.warn_of_a_silent_audit();
        Ok(())
    }

    async fn synchronize(
        &self,
        pods: Vec<Pod>,
        containers: Vec<Container>,
    ) -> Result<Vec<ContainerUpdate>, BoxError> {
        let _timer = self.metrics.time(Event::Synchronize);
        if self.on_containerd() {
            let survey = Survey {
                settings: self.settings(),
                audit: self.audit.clone(),
                containers: self.containers.clone(),
                specs: self.specs.clone(),
                metrics: Arc::clone(&self.metrics),
                wait: self.wait(),
            };
            // What can be resolved should be before the runtime goes on, but a
            // plugin that is late here is not registered at all.
            let work = tokio::spawn(survey.run(pods, containers));
            if tokio::time::timeout(self.wait(), work).await.is_err() {
                debug!("still going through the node's containers");
            }
        }
        Ok(Vec::new())
    }

    async fn run_pod_sandbox(&self, pod: Pod) -> Result<(), BoxError> {
        let _timer = self.metrics.time(Event::RunPodSandbox);
        self.specs.begin(&pod);
        Ok(())
    }

    async fn remove_pod_sandbox(&self, pod: Pod) -> Result<(), BoxError> {
        let _timer = self.metrics.time(Event::RemovePodSandbox);
        self.specs.forget(&pod);
        Ok(())
    }

    async fn create_container(
        &self,
        pod: Pod,
        container: Container,
    ) -> Result<CreateContainerResponse, BoxError> {
        let _timer = self.metrics.time(Event::CreateContainer);
        let declared = self.specs.of(&pod, self.wait()).await;
        let spec = declared.as_ref().and_then(|declared| declared.policy.as_deref());
        let settings = self.settings();
        let decision = match settings.decide(&pod, &container, spec) {
            Ok(decision) => decision,
            Err(source) => {
                self.metrics.created(Created::InvalidRefused);
                self.metrics.refused(Refusal::from(&source));
                let subject = Subject::new(&pod, &container);
                warn!(
                    pod = pod.name,
                    namespace = pod.namespace,
                    container = container.name,
                    "refused: {source}"
                );
                return Err(Refused::Policy { subject, source }.into());
            }
        };
        if decision.policy == Policy::Merge {
            self.metrics.created(Created::MergeAccepted);
            let mark = settings.needs_mark(&pod, &container);
            return Ok(if mark { settings.inject_mark() } else { CreateContainerResponse::default() });
        }
        let subject = Subject::new(&pod, &container);
        debug!(%subject, source = ?decision.source, "strict");
        if self.on_containerd() {
            // Asked now, because an error is a readable refusal only here:
            // from post-create on the gate can only say that it was left shut.
            if let Err(source) = self.resolver.check(&pod.id, self.wait()).await {
                self.metrics.created(Created::StrictRefused);
                self.metrics.refused(Refusal::RuntimeApi);
                error!(
                    pod = pod.name,
                    namespace = pod.namespace,
                    container = container.name,
                    "refused: {source}"
                );
                return Err(Refused::NotEnforceable { subject, source }.into());
            }
        }
        self.metrics.created(Created::StrictAccepted);
        // containerd's record has what the kubelet really sent.
        let declared = declared.filter(|_| !self.on_containerd()).and_then(|declared| declared.groups);
        Ok(settings.inject(&Gate {
            pod: subject.pod,
            container: subject.container,
            state: State::Pending { declared },
        }))
    }

    async fn post_create_container(&self, pod: Pod, container: Container) -> Result<(), BoxError> {
        let _timer = self.metrics.time(Event::PostCreateContainer);
        let pending = gates(&container).any(|gate| matches!(gate.state, State::Pending { .. }));
        if !pending || !self.on_containerd() {
            return Ok(());
        }
        match self.resolver.resolve(&container.id, self.wait()).await {
            Ok(Resolved { groups, removed }) => {
                self.metrics.groups_removed(removed.len());
                debug!(subject = %Subject::new(&pod, &container), ?groups, ?removed, "resolved");
            }
            Err(reason) => {
                self.metrics.refused(Refusal::from(&reason));
                error!(
                    pod = pod.name,
                    namespace = pod.namespace,
                    container = container.name,
                    "not enforced, so it will not start: {reason}"
                );
            }
        }
        Ok(())
    }

    async fn post_start_container(&self, pod: Pod, container: Container) -> Result<(), BoxError> {
        let _timer = self.metrics.time(Event::PostStartContainer);
        let resolved = gates(&container).find_map(|gate| match gate.state {
            State::Resolved { groups, removed } => Some((groups, removed)),
            State::Pending { .. } | State::Refused { .. } => None,
        });
        if let Some((groups, removed)) = resolved {
            self.witness.look(&pod, &container, &groups, removed);
            return Ok(());
        }
        let settings = self.settings();
        if settings.is_audit() && self.on_containerd() {
            self.audit.report_later(settings, pod, container, self.wait());
        }
        Ok(())
    }

    fn connected(&self, runtime: &RuntimeInfo, _: &nri::Runtime) {
        let name = text::one_line(&format!("{} {}", runtime.name, runtime.version), RUNTIME_SHOWN);
        self.registration.send_replace(Some(name));
        self.metrics.set_registered(true);
    }

    fn disconnected(&self, reason: &nri::Error) {
        self.registration.send_replace(None);
        self.metrics.set_registered(false);
        warn!("not registered with the runtime any more ({reason}); pods that start now are not made Strict");
    }
}

/// The gates of ours among a container's hooks. One that cannot be read is
/// left to the OCI runtime: it runs it, and it refuses.
fn gates(container: &Container) -> impl Iterator<Item = Gate> + '_ {
    container
        .hooks
        .iter()
        .flat_map(|hooks| &hooks.create_runtime)
        .filter_map(|hook| Gate::parse(&hook.args).ok().flatten())
}
