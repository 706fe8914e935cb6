//! Pods that are older than the plugin's registration.

use std::{
    collections::HashSet,
    sync::{Mutex, MutexGuard, PoisonError},
};

use super::Pod;

/// The sandboxes of the last Synchronize. Such a sandbox may have been made before the node's configuration passed on
/// the pod's annotations; then the static gate does not know the pod's policy.
#[derive(Debug, Default)]
pub(super) struct OlderPods(Mutex<HashSet<String>>);

impl OlderPods {
    /// These are all that there are.
    pub(super) fn keep(&self, pods: &[Pod]) {
        *self.ids() = pods.iter().map(|pod| pod.id.clone()).collect();
    }

    pub(super) fn has(&self, pod: &Pod) -> bool {
        self.ids().contains(&pod.id)
    }

    /// Its sandbox was removed.
    pub(super) fn forget(&self, pod: &Pod) {
        self.ids().remove(&pod.id);
    }

    fn ids(&self) -> MutexGuard<'_, HashSet<String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
