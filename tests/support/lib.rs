//! Real container runtimes for the tests and the demo.
//!
//! The order to read it: `machine` (what is needed), `run` (one run's folder
//! and its end), `containerd`, `image`, `cri`, `identity`, `plugin`.

pub(crate) mod cleanup;
pub(crate) mod config;
pub(crate) mod containerd;
pub(crate) mod cri;
pub(crate) mod executable;
pub(crate) mod forwarding;
pub(crate) mod identity;
pub(crate) mod image;
#[cfg(feature = "kubernetes-api")]
#[allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]
pub(crate) mod kube_api;
pub(crate) mod leftovers;
pub(crate) mod machine;
pub(crate) mod node_config;
pub(crate) mod plugin;
pub(crate) mod pod;
pub(crate) mod proxy;
pub(crate) mod random;
pub(crate) mod run;
pub(crate) mod scrape;
pub(crate) mod swapper;
pub(crate) mod trials;

pub(crate) use containerd::{Containerd, Handler, Kind, Options};
pub(crate) use cri::{Cri, RunningPod};
pub(crate) use identity::Identity;
pub(crate) use image::Image;
pub(crate) use machine::Machine;
pub(crate) use plugin::Plugin;
pub(crate) use pod::{CONFIG_SOURCE, ContainerSpec, Pod};
pub(crate) use proxy::Proxy;
pub(crate) use run::Run;

use std::time::{Duration, Instant};

/// Asks `probe` every few milliseconds until it gives something; `None` when
/// `limit` has passed without.
pub(crate) fn wait_for<T>(limit: Duration, mut probe: impl FnMut() -> Option<T>) -> Option<T> {
    let end = Instant::now() + limit;
    loop {
        if let Some(found) = probe() {
            return Some(found);
        }
        if Instant::now() >= end {
            return None;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// The last lines of a log file, for error messages.
pub(crate) fn log_tail(path: &std::path::Path, lines: usize) -> String {
    let bytes = std::fs::read(path).unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    let all: Vec<&str> = text.lines().collect();
    all.get(all.len().saturating_sub(lines)..).unwrap_or_default().join("\n")
}
