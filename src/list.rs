//! `strict-groups list`: who the containers of this node really are, against who they were meant to be.
//!
//! [`collect`] asks the runtime and `/proc`, [`expected`] and [`verdict`] judge (pure), [`report`] is the result, and
//! [`table`] shows it.

use std::path::Path;

pub mod abilities;
mod changed;
pub mod collect;
mod containerd;
mod crio;
pub mod expected;
mod image;
pub mod observed;
pub mod report;
pub mod table;
pub mod verdict;
mod yaml;

pub use crate::runtimes::cri::CallError;
use crate::terminal_json;
use collect::{CollectError, Filter};
use report::Report;
use strict_groups_core::policy::NodePolicy;

/// Looks at the containers of the runtime on `socket`, and judges them by what `node` says.
///
/// # Errors
/// The runtime does not answer.
pub async fn list(socket: &Path, filter: &Filter, node: &NodePolicy) -> Result<Report, CollectError> {
    let (runtime, seen) = collect::collect(socket, filter).await?;
    Ok(Report::new(runtime, seen, node))
}

impl Report {
    /// The report as JSON.
    ///
    /// # Errors
    /// None that can happen: what is in a report can be written.
    pub fn json(&self) -> serde_json::Result<String> {
        terminal_json::document(self)
    }

    /// The report as YAML.
    ///
    /// # Errors
    /// As [`Report::json`].
    pub fn yaml(&self) -> serde_json::Result<String> {
        Ok(yaml::document(&serde_json::to_value(self)?, &terminal_json::quoted))
    }
}
