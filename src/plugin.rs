//! The NRI handler: decides at CreateContainer, has the container resolved at
//! post-create, and checks the created process at `StartContainer`.
//!
//! The decision is kept nowhere but in the container's own hooks (see
//! [`strict_groups_core::gate`]): every event brings them along, so this handler has no
//! state about containers that could be lost, forged or out of date. What it remembers of containerd's records it can
//! read again.

mod aside;
mod audit;
mod catch_up;
mod context;
mod events;
mod limit;
mod listed;
mod log;
#[cfg(test)]
pub(crate) mod messages;
mod names;
mod older;
mod pod_spec;
mod recent;
mod resolver;
mod settings;
mod start;
mod stop;
mod subject;
mod view;

use std::{
    path::PathBuf,
    sync::{
        Arc, Mutex, PoisonError, RwLock,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{sync::watch, task::AbortHandle};
use tracing::warn;

use crate::{
    kubernetes::Lookup, ops::metrics::Metrics, ops::service::Registration, runtimes::containerd::Containers,
};
use audit::Audit;
use catch_up::CatchUp;
use context::Context;
use older::OlderPods;
use pod_spec::PodSpecs;
use settings::Settings;
use start::StartCheck;
use strict_groups_core::policy::{Mode, NodePolicy};
pub use view::{Container, Pod};

/// How long one step may wait for containerd. The runtime waits 2 s for us by
/// default, and CreateContainer makes one call, post-create and `StartContainer` two.
const LONGEST_WAIT: Duration = Duration::from_millis(700);

/// The plugin, as the NRI stub drives it.
#[derive(Debug)]
pub struct StrictGroups {
    settings: RwLock<Arc<Settings>>,
    context: Context,
    start_check: StartCheck,
    audit: Audit,
    /// What the specs of pods say, where that can be known.
    specs: PodSpecs,
    older: OlderPods,
    /// The catch-up that is under way, of the last Synchronize.
    catching_up: Mutex<Option<AbortHandle>>,
    /// Whether the runtime is containerd, whose records can be changed.
    containerd: AtomicBool,
    /// Whether to register with a containerd that can hang for good by it.
    nri_that_can_deadlock: AtomicBool,
    /// Whether the last registration was taken back, because the containerd can hang.
    withdrawn: AtomicBool,
    /// Milliseconds that one call to containerd may take.
    wait: AtomicU64,
    registration: watch::Sender<Registration>,
    mode: watch::Sender<Mode>,
}

impl StrictGroups {
    /// A plugin that asks `node` for the policy of pods that do not say,
    /// injects `hook_path` (absolute, as the OCI runtime finds it) as the
    /// gate, and resolves containers through `containers`.
    #[must_use]
    pub fn new(node: NodePolicy, hook_path: PathBuf, containers: Containers) -> Self {
        let context = Context::new(containers);
        context.metrics.set_audit(node.mode == Mode::Audit);
        Self {
            mode: watch::Sender::new(node.mode),
            settings: RwLock::new(Arc::new(Settings { node, hook_path })),
            audit: Audit::new(context.clone()),
            start_check: StartCheck::new(context.clone()),
            context,
            specs: PodSpecs::default(),
            older: OlderPods::default(),
            catching_up: Mutex::default(),
            containerd: AtomicBool::new(true),
            nri_that_can_deadlock: AtomicBool::new(false),
            withdrawn: AtomicBool::new(false),
            wait: AtomicU64::new(u64::try_from(LONGEST_WAIT.as_millis()).unwrap_or(u64::MAX)),
            registration: watch::Sender::default(),
        }
    }

    /// Asks the Kubernetes API as well what pods declare.
    #[must_use]
    pub fn with_kubernetes(mut self, lookup: Lookup) -> Self {
        self.specs = std::mem::take(&mut self.specs).asked_from(Arc::new(lookup));
        self
    }

    /// Heeds what the CRI proxy hands on in the directory `dir`.
    #[must_use]
    pub fn with_requests(mut self, dir: PathBuf) -> Self {
        self.specs = std::mem::take(&mut self.specs).handed_on_in(dir);
        self
    }

    /// Whether to register with a containerd before 1.7.16, which can hang for good by it. It is not done unless told.
    pub fn register_where_nri_can_deadlock(&self, register: bool) {
        self.nri_that_can_deadlock.store(register, Ordering::Relaxed);
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
        &self.context.metrics
    }

    fn wait(&self) -> Duration {
        Duration::from_millis(self.wait.load(Ordering::Relaxed))
    }

    /// Goes on with another configuration. What was decided before stays as it is.
    pub fn reconfigure(&self, node: NodePolicy, hook_path: PathBuf) {
        self.context.metrics.set_audit(node.mode == Mode::Audit);
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
    fn catch_up(&self) -> CatchUp {
        CatchUp {
            settings: self.settings(),
            audit: self.audit.clone(),
            specs: self.specs.clone(),
            context: self.context.clone(),
            wait: self.wait(),
        }
    }

    /// Ends the catch-up that is under way, and remembers the one that takes its place.
    fn catches_up(&self, next: Option<AbortHandle>) {
        let mut under_way = self.catching_up.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(last) = std::mem::replace(&mut *under_way, next) {
            last.abort();
        }
    }

    fn on_containerd(&self) -> bool {
        self.containerd.load(Ordering::Relaxed)
    }
}
