//! The NRI handler: decides at CreateContainer, has the container resolved at
//! post-create, and looks at the result after the start.
//!
//! The decision is kept nowhere but in the container's own hooks (see
//! [`crate::gate`]): every event brings them along, so this handler has no
//! state about containers that could be lost, forged or out of date.

mod alarm;
mod audit;
mod events;
mod log;
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

use tokio::sync::watch;
use tracing::warn;

use crate::{
    containerd::Containers,
    kubernetes::Lookup,
    metrics::Metrics,
    policy::{Mode, NodePolicy},
    service::Registration,
};
use audit::Audit;
use names::Names;
use pod_spec::PodSpecs;
use resolver::Resolver;
use settings::Settings;
use survey::Survey;
pub use view::{Container, Pod};
use witness::Witness;

/// How long one step may wait for containerd. The runtime waits 2 s for us by
/// default, and CreateContainer and post-create make one and two calls.
const LONGEST_WAIT: Duration = Duration::from_millis(700);

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

    /// For a container that the plugin did not see in time.
    fn survey(&self) -> Survey {
        Survey {
            settings: self.settings(),
            audit: self.audit.clone(),
            containers: self.containers.clone(),
            specs: self.specs.clone(),
            metrics: Arc::clone(&self.metrics),
            wait: self.wait(),
        }
    }

    fn on_containerd(&self) -> bool {
        self.containerd.load(Ordering::Relaxed)
    }
}
