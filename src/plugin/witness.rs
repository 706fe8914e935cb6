//! Looks at the first process of a Strict container after its start, and says
//! in one line what became of it.

use std::sync::Arc;

use tracing::{debug, error, info};

use super::{Container, Pod, names::Names};
use crate::{
    groups,
    identity::{self, Identity, IdentityError},
    metrics::{Metrics, Started},
};

#[derive(Debug)]
pub(super) struct Witness {
    names: Names,
    metrics: Arc<Metrics>,
}

impl Witness {
    pub(super) fn new(names: Names, metrics: Arc<Metrics>) -> Self {
        Self { names, metrics }
    }

    /// Compares the first process of `container` with the `groups` that it was
    /// resolved to, and logs the one line that every Strict container gets.
    pub(super) fn look(&self, pod: &Pod, container: &Container, groups: &[u32], removed: Vec<u32>) {
        let line = Line {
            pod: pod.name.clone(),
            namespace: pod.namespace.clone(),
            container: container.name.clone(),
            groups: groups::list(groups),
        };
        match identity::of_process(container.pid) {
            Ok(process) => {
                let extra = not_allowed(&process, groups);
                if !extra.is_empty() {
                    self.metrics.started(Started::Violated);
                    line.violated(&process, &extra);
                    return;
                }
                self.metrics.started(Started::Enforced);
            }
            Err(IdentityError::Gone { .. }) => {
                self.metrics.started(Started::Enforced);
                debug!(pid = container.pid, "ended before it was looked at");
            }
            Err(error) => {
                self.metrics.started(Started::Unseen);
                line.not_seen(&error);
            }
        }
        if removed.is_empty() {
            line.enforced("");
            return;
        }
        // The line follows after the answer to the runtime, which waits for us here.
        self.names.find(container.pid, removed, move |removed| line.enforced(&removed));
    }
}

/// The groups of the process that it was not resolved to, its own gid included.
pub(super) fn not_allowed(process: &Identity, groups: &[u32]) -> Vec<u32> {
    let mut extra: Vec<u32> = std::iter::once(process.gid())
        .chain(process.groups.iter().copied())
        .filter(|gid| !groups.contains(gid))
        .collect();
    extra.dedup();
    extra
}

struct Line {
    pod: String,
    namespace: String,
    container: String,
    groups: String,
}

impl Line {
    fn enforced(&self, removed_groups: &str) {
        let Self { pod, namespace, container, groups } = self;
        info!(pod, namespace, container, groups, removed_groups, "strict");
    }

    fn violated(&self, process: &Identity, extra: &[u32]) {
        let Self { pod, namespace, container, groups } = self;
        error!(
            pod,
            namespace,
            container,
            groups,
            extra_groups = groups::list(extra),
            uid = process.uid,
            "VIOLATED: the first process holds groups that it must not have (it may have taken them \
             itself, if it may change its groups: CAP_SETGID)"
        );
    }

    fn not_seen(&self, reason: &IdentityError) {
        let Self { pod, namespace, container, groups } = self;
        error!(pod, namespace, container, groups, "the first process could not be looked at: {reason}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_that_was_not_allowed_is_seen() {
        let process = |gid, groups: &[u32]| Identity {
            uid: 1000,
            gids: [gid; 4],
            groups: groups.to_vec(),
            unmapped: Vec::new(),
        };
        assert_eq!(not_allowed(&process(3000, &[3000, 4000]), &[3000, 4000]), Vec::<u32>::new());
        assert_eq!(not_allowed(&process(3000, &[3000]), &[3000, 4000]), Vec::<u32>::new());
        assert_eq!(not_allowed(&process(3000, &[3000, 4000, 50000]), &[3000, 4000]), vec![50000]);
        assert_eq!(not_allowed(&process(50000, &[3000]), &[3000]), vec![50000]);
    }
}
