//! What the plugin counts, for Prometheus.
//!
//! Everything is there from the beginning, with its labels: to count is one atomic addition, nothing is
//! allocated, and no name of a pod, or of anything else that a pod's author chose, can become a label.
//! So there is also no library: those keep their labels in locked maps, and the text is a few lines
//! (`text.rs`).

mod address;
mod histogram;
mod labels;
mod server;
mod text;

pub use address::{Address, AddressError};
pub use histogram::Timer;
pub use labels::{Audited, Created, Event, Found, Refusal, Reload, Started};
pub use server::serve;

use std::sync::atomic::{AtomicU64, Ordering};

use histogram::Histogram;
use labels::Label;
use text::{Kind, Text};

/// The type of what [`Metrics::text`] gives, for HTTP.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// A number, which may be added to.
#[derive(Debug, Default)]
struct Number(AtomicU64);

impl Number {
    fn add(&self, more: u64) {
        self.0.fetch_add(more, Ordering::Relaxed);
    }

    fn set(&self, value: u64) {
        self.0.store(value, Ordering::Relaxed);
    }

    fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// One `T` for each value of a label.
#[derive(Debug)]
struct Family<L, T>(Vec<(L, T)>);

impl<L: Label, T: Default> Default for Family<L, T> {
    fn default() -> Self {
        Self(L::ALL.iter().map(|label| (*label, T::default())).collect())
    }
}

impl<L: Label, T> Family<L, T> {
    /// The one for this value. There is one for each, so None is never seen.
    fn of(&self, label: L) -> Option<&T> {
        self.0.iter().find_map(|(own, value)| (*own == label).then_some(value))
    }
}

impl<L: Label> Family<L, Number> {
    fn add(&self, label: L, more: u64) {
        if let Some(number) = self.of(label) {
            number.add(more);
        }
    }
}

/// All that is counted in one process, from its start on.
#[derive(Debug, Default)]
pub struct Metrics {
    created: Family<Created, Number>,
    started: Family<Started, Number>,
    audited: Family<Audited, Number>,
    refusals: Family<Refusal, Number>,
    groups_removed: Number,
    violations: Family<Found, Number>,
    violations_at_registration: Number,
    latency: Family<Event, Histogram>,
    registered: Number,
    registrations: Number,
    audit: Number,
    reloads: Family<Reload, Number>,
}

impl Metrics {
    /// A container was decided over.
    pub fn created(&self, how: Created) {
        self.created.add(how, 1);
    }

    /// The created process of a Strict container was looked at.
    pub fn started(&self, how: Started) {
        self.started.add(how, 1);
        if how == Started::Violated {
            self.violations.add(Found::AtStart, 1);
        }
    }

    /// A container was looked at in audit mode.
    pub fn audited(&self, how: Audited) {
        self.audited.add(how, 1);
    }

    /// A container will not start.
    pub fn refused(&self, why: Refusal) {
        self.refusals.add(why, 1);
    }

    /// This many groups were taken from a container.
    pub fn groups_removed(&self, groups: usize) {
        self.groups_removed.add(u64::try_from(groups).unwrap_or(u64::MAX));
    }

    /// This many of the containers that were there already hold groups that they must not have.
    pub fn found_at_registration(&self, violations: u64) {
        self.violations.add(Found::AtRegistration, violations);
        self.violations_at_registration.set(violations);
    }

    /// Measures a call of the runtime's until the timer is dropped.
    #[must_use]
    pub fn time(&self, event: Event) -> Timer<'_> {
        Timer::new(self.latency.of(event))
    }

    /// The plugin is registered with a runtime, or is not any more.
    pub fn set_registered(&self, registered: bool) {
        self.registered.set(registered.into());
        self.registrations.add(registered.into());
    }

    /// The node's configuration is only reported, or counts.
    pub fn set_audit(&self, audit: bool) {
        self.audit.set(audit.into());
    }

    /// The configuration was read again.
    pub fn reloaded(&self, how: Reload) {
        self.reloads.add(how, 1);
    }

    /// All of it as Prometheus reads it, [`CONTENT_TYPE`].
    #[must_use]
    pub fn text(&self) -> String {
        use Kind::{Counter, Gauge};
        let mut text = Text::default();
        text.info(
            "strict_groups_build_info",
            "The version that runs.",
            concat!("version=\"", env!("CARGO_PKG_VERSION"), "\""),
        );
        text.one(
            Gauge,
            "strict_groups_registered",
            "Whether the plugin is registered with the container runtime.",
            self.registered.get(),
        );
        text.one(
            Counter,
            "strict_groups_registrations_total",
            "How often it was registered.",
            self.registrations.get(),
        );
        text.one(
            Gauge,
            "strict_groups_audit_mode",
            "Whether the node's configuration is only reported (mode = audit).",
            self.audit.get(),
        );
        text.family(
            "strict_groups_config_reloads_total",
            "How often the configuration was read again.",
            &self.reloads,
        );
        text.family(
            "strict_groups_created_containers_total",
            "Containers at their creation, by policy and result.",
            &self.created,
        );
        text.family(
            "strict_groups_started_containers_total",
            "Strict containers by what their process had when it was about to start.",
            &self.started,
        );
        text.family(
            "strict_groups_audited_containers_total",
            "Containers by what Strict would do to them, in audit mode.",
            &self.audited,
        );
        text.one(
            Counter,
            "strict_groups_removed_groups_total",
            "Groups taken from containers.",
            self.groups_removed.get(),
        );
        text.family(
            "strict_groups_refusals_total",
            "Containers that do not start, by reason, without those that the hook refuses by itself.",
            &self.refusals,
        );
        text.family(
            "strict_groups_violations_total",
            "Containers found with groups that they must not have: refused at the start, or running.",
            &self.violations,
        );
        text.one(
            Gauge,
            "strict_groups_violations_at_registration",
            "Those among the containers that were there when the plugin was last registered.",
            self.violations_at_registration.get(),
        );
        text.histograms(
            "strict_groups_handler_duration_seconds",
            "How long the runtime waited for the plugin, by event.",
            &self.latency,
        );
        text.into_string()
    }
}

#[cfg(test)]
mod tests;
