//! What the spec of a pod says: the CRI proxy hands it on, and the Kubernetes API can be asked for it.

use std::{path::PathBuf, sync::Arc, time::Duration};

use super::{Container, Pod};
use crate::{
    handover::{HandoverError, Request, Requests},
    kubernetes::{Declared, Lookup, PodId},
};
use nri_plugin::Events;
use strict_groups_core::policy::Policy;

/// By it the kubelet says where it has a pod from; it always sets it itself.
pub(super) const SOURCE: &str = "kubernetes.io/config.source";
/// The value for pods of the API server. Static pods (`file`, `http`) are not there: what is there
/// under their names are mirror pods, with another uid.
const FROM_API: &str = "api";

/// Who knows; by default nobody.
#[derive(Debug, Clone, Default)]
pub(super) struct PodSpecs {
    requests: Option<Arc<Requests>>,
    lookup: Option<Arc<Lookup>>,
}

impl PodSpecs {
    /// The CRI proxy hands on requests in the directory `dir`.
    pub(super) fn handed_on_in(self, dir: PathBuf) -> Self {
        Self { requests: Some(Arc::new(Requests::new(dir))), ..self }
    }

    pub(super) fn asked_from(self, lookup: Arc<Lookup>) -> Self {
        Self { lookup: Some(lookup), ..self }
    }

    /// The events that are needed for it.
    pub(super) fn events(&self) -> Events {
        match self.lookup {
            Some(_) => Events::RUN_POD_SANDBOX | Events::REMOVE_POD_SANDBOX,
            None => Events::NONE,
        }
    }

    /// What is known of a container that is being created: what the kubelet asked for, and, if the CRI proxy does not
    /// tell that, what its pod's spec says.
    ///
    /// # Errors
    /// The kubelet may have asked for Strict, and it is not known.
    pub(super) async fn at_creation(
        &self,
        pod: &Pod,
        container: &Container,
        wait: Duration,
    ) -> Result<Declared, HandoverError> {
        let request = match &self.requests {
            Some(requests) => requests.read(&pod.uid, &pod.id, &container.name)?,
            None => None,
        };
        let strict = || Some(Policy::Strict.as_str().to_owned());
        Ok(match request {
            Some(Request { strict: true, groups, .. }) => Declared { groups, policy: strict() },
            // The CRI does not tell Merge from nothing.
            Some(Request { strict: false, groups, .. }) => {
                let asked = self.of(pod, wait).await.unwrap_or_default();
                Declared { groups: groups.or(asked.groups), ..asked }
            }
            None => self.of(pod, wait).await.unwrap_or_default(),
        })
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
        if let Some(lookup) = &self.lookup {
            lookup.forget(&pod.id);
        }
    }

    fn question(&self, pod: &Pod) -> Option<(&Lookup, PodId)> {
        let lookup = self.lookup.as_deref()?;
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

#[cfg(test)]
mod tests {
    use super::*;

    fn pod() -> Pod {
        Pod { id: "s1".to_owned(), uid: "u1".to_owned(), ..Default::default() }
    }

    fn known(specs: &PodSpecs, name: &str) -> Result<Declared, HandoverError> {
        let container = Container { name: name.to_owned(), ..Default::default() };
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(specs.at_creation(&pod(), &container, Duration::ZERO))
    }

    #[test]
    #[ignore = "needs root"]
    fn request_counts_while_it_is_handed_on() {
        let dir = tempfile::tempdir().unwrap();
        let proxy = Requests::new(dir.path().to_owned());
        let specs = PodSpecs::default().handed_on_in(dir.path().to_owned());
        let nothing = Declared::default();
        let mut request = Request {
            sandbox: "s1".to_owned(),
            pod_uid: "u1".to_owned(),
            container: "app".to_owned(),
            attempt: 0,
            strict: true,
            groups: Some(vec![4000]),
        };
        let kept = proxy.write(&request).unwrap();
        let strict = Declared { groups: Some(vec![4000]), policy: Some("Strict".to_owned()) };
        assert_eq!(known(&specs, "app").unwrap(), strict);
        assert_eq!(known(&specs, "other").unwrap(), nothing);
        assert_eq!(known(&PodSpecs::default(), "app").unwrap(), nothing);
        drop(kept);
        assert_eq!(known(&specs, "app").unwrap(), nothing);

        request.strict = false;
        let kept = proxy.write(&request).unwrap();
        assert_eq!(
            known(&specs, "app").unwrap(),
            Declared { policy: None, ..strict },
            "it is not said to be Merge"
        );
        drop(kept);
    }
}
