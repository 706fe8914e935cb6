//! What the plugin tells others: systemd (`sd_notify(3)`), a file for `strict-groups probe` where there is none,
//! and a file for Node Feature Discovery.
//!
//! All of it comes out of the event loop: where that hangs, it stops, and the process is started again.

use std::{
    convert::Infallible,
    future::pending,
    path::{Path, PathBuf},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, SystemTime},
};

use sd_notify::NotifyState;
use tokio::{
    sync::watch,
    time::{Instant, MissedTickBehavior, interval, sleep_until},
};
use tracing::{debug, warn};

use strict_groups_core::policy::Mode;

mod health;
mod node_feature;

pub use health::{Health, HealthError};
use node_feature::NodeFeature;

/// Where the plugin's sign of life is on a node that runs it by systemd.
pub const HEALTH_FILE: &str = "/run/strict-groups/health";

/// How often a sign of life is given, unless systemd wants it more often.
const BEAT: Duration = Duration::from_secs(5);

/// The runtime that the plugin is registered with, as it names itself; None while there is none.
pub type Registration = Option<String>;

/// Who hears of it.
#[derive(Debug)]
pub struct Service {
    ready_after: Option<Duration>,
    health_file: Option<PathBuf>,
    /// None where it is not wanted, and when the plugin was asked to stop.
    node_feature: Mutex<Option<NodeFeature>>,
    /// Whether systemd knows that the service is started.
    ready: AtomicBool,
}

impl Service {
    /// After `ready_after` the service counts as started also without a runtime; None: only with one.
    /// `health_file` is for `strict-groups probe`, `features` the folder of Node Feature Discovery.
    #[must_use]
    pub fn new(ready_after: Option<Duration>, health_file: Option<PathBuf>, features: Option<&Path>) -> Self {
        let node_feature = Mutex::new(features.map(NodeFeature::new));
        Self { ready_after, health_file, node_feature, ready: AtomicBool::new(false) }
    }

    /// Does `work` while systemd knows that the configuration is being read again.
    pub fn reload<T>(&self, work: impl FnOnce() -> T) -> T {
        // Ready after a reload would also mean started.
        if !self.ready.load(Ordering::Relaxed) {
            return work();
        }
        match NotifyState::monotonic_usec_now() {
            // Both, or systemd takes the reload for one that failed.
            Ok(now) => send(&[NotifyState::Reloading, now]),
            Err(error) => debug!("systemd does not hear of the reload: {error}"),
        }
        let done = work();
        send(&[NotifyState::Ready]);
        done
    }

    /// Tells, for as long as it is polled.
    pub async fn report(
        &self,
        mut registration: watch::Receiver<Registration>,
        mut mode: watch::Receiver<Mode>,
    ) -> Infallible {
        // Two signs of life in the time after which systemd ends the service.
        let beat = sd_notify::watchdog_enabled().map_or(BEAT, |limit| BEAT.min(limit / 2));
        let mut beats = interval(beat.max(Duration::from_millis(1)));
        beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let late = self.ready_after.map(|wait| Instant::now() + wait);
        let mut health_is_written = true;
        loop {
            let state = registration.borrow_and_update().clone();
            let now_ready = self.ready.load(Ordering::Relaxed)
                || state.is_some()
                || late.is_some_and(|late| late <= Instant::now());
            tell(state.as_deref(), now_ready && !self.ready.load(Ordering::Relaxed));
            self.ready.store(now_ready, Ordering::Relaxed);
            self.label(state.is_some() && *mode.borrow_and_update() == Mode::Enforce);
            health_is_written = self.write(state, health_is_written);
            let too_late = async {
                match late {
                    Some(late) if !self.ready.load(Ordering::Relaxed) => sleep_until(late).await,
                    _ => pending().await,
                }
            };
            tokio::select! {
                _ = beats.tick() => {}
                () = too_late => {}
                Ok(()) = registration.changed() => {}
                Ok(()) = mode.changed() => {}
            }
        }
    }

    /// Tells that the plugin was asked to stop.
    pub fn stopping(&self) {
        send(&[NotifyState::Stopping, NotifyState::Status("stopping")]);
        drop(self.node_feature.lock().unwrap_or_else(PoisonError::into_inner).take());
    }

    /// Takes the sign of life away: who looks for it need not wait until it is too old.
    pub fn end(&self) {
        if let Some(file) = &self.health_file
            && let Err(error) = std::fs::remove_file(file)
        {
            debug!("{} stays: {error}", file.display());
        }
    }

    fn label(&self, enforced: bool) {
        if let Some(feature) = self.node_feature.lock().unwrap_or_else(PoisonError::into_inner).as_mut() {
            feature.tell(enforced, SystemTime::now());
        }
    }

    /// Whether it worked, so that a failure is reported once.
    fn write(&self, registration: Registration, worked: bool) -> bool {
        let Some(file) = &self.health_file else { return true };
        match (Health { registration, at: SystemTime::now() }).write(file) {
            Ok(()) => true,
            Err(error) => {
                if worked {
                    warn!("cannot write {}, so probes fail: {error}", file.display());
                }
                false
            }
        }
    }
}

fn tell(registration: Option<&str>, became_ready: bool) {
    let status = registration.map_or_else(
        || "not registered, waiting for the runtime's NRI socket; Strict pods are not enforced".to_owned(),
        |runtime| format!("registered with {runtime}"),
    );
    let mut news = vec![NotifyState::Watchdog, NotifyState::Status(&status)];
    if became_ready {
        news.push(NotifyState::Ready);
    }
    send(&news);
}

fn send(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        debug!("systemd does not hear: {error}");
    }
}
