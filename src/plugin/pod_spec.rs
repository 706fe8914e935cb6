//! What the spec of a pod says, where the Kubernetes API is asked for it.

use std::{sync::Arc, time::Duration};

use super::Pod;
use crate::{
    kubernetes::{Declared, Lookup, PodId},
    nri::Events,
};

/// By it the kubelet says where it has a pod from; it always sets it itself.
pub(super) const SOURCE: &str = "kubernetes.io/config.source";
/// The value for pods of the API server. Static pods (`file`, `http`) are not there: what is there
/// under their names are mirror pods, with another uid.
const FROM_API: &str = "api";

/// Asks, or, by default, asks nobody.
#[derive(Debug, Clone, Default)]
pub(super) struct PodSpecs(Option<Arc<Lookup>>);

impl PodSpecs {
    pub(super) fn asked_from(lookup: Arc<Lookup>) -> Self {
        Self(Some(lookup))
    }

    /// The events that are needed for it.
    pub(super) fn events(&self) -> Events {
        match self.0 {
            Some(_) => Events::RUN_POD_SANDBOX | Events::REMOVE_POD_SANDBOX,
            None => Events::NONE,
        }
    }

    /// A sandbox was started: its pod's containers come soon.
    pub(super) fn begin(&self, pod: &Pod) {
        if let Some((lookup, id)) = self.question(pod) {
            lookup.begin(&id);
        }
    }

    /// What the pod's spec says; None: not known within `wait`, or nobody is asked.
    pub(super) async fn of(&self, pod: &Pod, wait: Duration) -> Option<Declared> {
        let (lookup, id) = self.question(pod)?;
        lookup.declared(&id, wait).await
    }

    /// A sandbox was removed.
    pub(super) fn forget(&self, pod: &Pod) {
        if let Some(lookup) = &self.0 {
            lookup.forget(&pod.id);
        }
    }

    fn question(&self, pod: &Pod) -> Option<(&Lookup, PodId)> {
        let lookup = self.0.as_deref()?;
        if pod.annotations.get(SOURCE).is_some_and(|source| source != FROM_API) {
            return None;
        }
        let id = PodId {
            sandbox: pod.id.clone(),
            namespace: pod.namespace.clone(),
            name: pod.name.clone(),
            uid: pod.uid.clone(),
        };
        Some((lookup, id))
    }
}
