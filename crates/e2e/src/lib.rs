//! Real container runtimes for the tests and the demo.
//!
//! The order to read it: `machine` (what is needed), `run` (one run's folder
//! and its end), `containerd`, `image`, `cri`, `identity`, `plugin`.

#![allow(
    clippy::missing_errors_doc,
    clippy::must_use_candidate,
    clippy::return_self_not_must_use,
    clippy::new_without_default,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "tests use it alone, and fail by panicking"
)]

pub mod bench;
pub mod cleanup;
pub mod config;
pub mod containerd;
pub mod cri;
pub mod forwarding;
pub mod identity;
pub mod image;
#[allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]
pub mod kube_api;
pub mod leftovers;
pub mod machine;
pub mod node_config;
#[path = "../../nri-plugin/tests/nri/peer.rs"]
#[allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]
pub mod nri_peer;
pub mod plugin;
pub mod pod;
pub mod process;
pub mod proxy;
pub mod random;
pub mod run;
pub mod scrape;
pub mod swapper;
pub mod trials;
pub mod usage;
pub mod wrapper;

pub use containerd::{Containerd, Handler, Kind, Options};
pub use cri::{Cri, RunningPod};
pub use hostfs::executable;
pub use identity::Identity;
pub use image::Image;
pub use machine::Machine;
pub use plugin::Plugin;
pub use pod::{CONFIG_SOURCE, ContainerSpec, Pod};
pub use proxy::Proxy;
pub use run::Run;

use std::time::{Duration, Instant};

/// Asks `probe` every few milliseconds until it gives something; `None` when
/// `limit` has passed without.
pub fn wait_for<T>(limit: Duration, mut probe: impl FnMut() -> Option<T>) -> Option<T> {
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
pub fn log_tail(path: &std::path::Path, lines: usize) -> String {
    let bytes = std::fs::read(path).unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    let all: Vec<&str> = text.lines().collect();
    all.get(all.len().saturating_sub(lines)..).unwrap_or_default().join("\n")
}
