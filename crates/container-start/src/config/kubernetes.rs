//! The table `[kubernetes]`: whether the plugin asks the API server what pods declare.

use std::path::PathBuf;

use serde::Deserialize;

/// How to ask the Kubernetes API. Off unless it is turned on.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Kubernetes {
    /// Whether to ask at all.
    pub enabled: bool,
    /// A kubeconfig file (absolute); without one, the service account of the pod that the plugin runs in.
    pub kubeconfig: Option<PathBuf>,
}
