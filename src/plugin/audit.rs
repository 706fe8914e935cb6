//! `mode = "audit"`: says for a container that runs what Strict would take
//! from it, and changes nothing.

use std::{sync::Arc, time::Duration};

use tokio::sync::Semaphore;

use super::{Container, Pod, context::Context, log::about, resolver::Resolved, settings::Settings};
use crate::ops::metrics::Audited;
use strict_groups_core::policy::Origin;

/// How many containers are looked at at once; what comes on top waits.
const AT_ONCE: usize = 4;

#[derive(Debug, Clone)]
pub(super) struct Audit {
    context: Context,
    permits: Arc<Semaphore>,
}

impl Audit {
    pub(super) fn new(context: Context) -> Self {
        Self { context, permits: Arc::new(Semaphore::new(AT_ONCE)) }
    }

    /// Reports on a container that is about to start, after the answer to the runtime.
    pub(super) fn report_later(
        &self,
        settings: Arc<Settings>,
        pod: Pod,
        container: Container,
        wait: Duration,
    ) {
        let audit = self.clone();
        tokio::spawn(async move {
            // The semaphore is never closed.
            let Ok(_permit) = audit.permits.acquire().await else { return };
            audit.report(&settings, &pod, &container, wait).await;
        });
    }

    /// Logs the one line that every container gets which is not Strict already.
    pub(super) async fn report(&self, settings: &Settings, pod: &Pod, container: &Container, wait: Duration) {
        let (policy, source) = match settings.decide_enforced(pod, container, None) {
            Ok(decision) => {
                let source = match decision.origin {
                    Origin::Default => "default_policy".to_owned(),
                    Origin::Rule(number) => format!("rule {number}"),
                    _ => "annotation".to_owned(),
                };
                (decision.policy.as_str(), source)
            }
            Err(_) => ("refused", "annotation".to_owned()),
        };
        let would = self.context.resolver.would_resolve(&container.id, wait).await;
        self.context.metrics.audited(match &would {
            Ok(Resolved { removed, .. }) if removed.is_empty() => Audited::Unchanged,
            Ok(_) => Audited::WouldLose,
            Err(_) => Audited::Unknown,
        });
        match would {
            Ok(Resolved { groups, removed }) => {
                let would_remove_groups =
                    removed.with(&self.context.names.beside(container.pid, &removed.first).await);
                about!(
                    info,
                    pod,
                    container,
                    policy,
                    source,
                    groups = groups.to_string(),
                    would_remove_groups,
                    "audit"
                );
            }
            Err(reason) => about!(
                warn,
                pod,
                container,
                policy,
                source,
                "audit: what Strict would remove cannot be told: {reason}"
            ),
        }
    }
}
