//! What the plugin does at each of NRI's events.

use std::sync::atomic::Ordering;

use thiserror::Error;
use tokio::sync::oneshot;
use tracing::{debug, error, warn};

use super::{
    Container, LONGEST_WAIT, Pod, StrictGroups,
    limit::{self, TooManyGroups},
    log::about,
    resolver::Resolved,
    start::NotStarted,
    stop,
    subject::Subject,
};
use crate::{
    handover::HandoverError,
    ops::metrics::{Created, Event, Refusal},
    runtimes::containerd::ContainerdError,
    version,
};
use nri_plugin::{
    self, BoxError, Events, Plugin, RuntimeInfo,
    api::{ContainerUpdate, CreateContainerResponse},
};
use strict_groups_core::{
    gate::{Gate, State},
    policy::{Policy, PolicyError},
    text,
};

/// How much of a runtime's name and version is told, in bytes.
const RUNTIME_SHOWN: usize = 128;

/// How much is shown of why the plugin is not in service, in bytes.
const REASON_SHOWN: usize = 300;

/// Why a container is not created or not started; what `kubectl describe pod` shows.
#[derive(Debug, Error)]
pub(super) enum Refused {
    #[error("strict-groups: {subject}: {source}{}", .source.then_delete())]
    Policy { subject: Subject, source: PolicyError },
    #[error(
        "strict-groups: {subject}: supplementalGroupsPolicy Strict cannot be enforced at the moment: {source}"
    )]
    NotEnforceable { subject: Subject, source: ContainerdError },
    #[error(
        "strict-groups: {subject}: what the CRI proxy hands on of this container cannot be used: {source}; remove the \
         file after a look at it; the kubelet tries again"
    )]
    HandedOn { subject: Subject, source: HandoverError },
    #[error("strict-groups: {subject}: {source}")]
    TooManyGroups { subject: Subject, source: TooManyGroups },
    #[error("strict-groups: {subject}: refused before its start: {source}{}", source.then_delete())]
    Start { subject: Subject, source: NotStarted },
}

/// Why the plugin takes its registration back.
#[derive(Debug, Error)]
#[error(
    "containerd {version} can hang for good when an NRI plugin registers while pods start and stop (containerd issue \
     10085), so Strict is not enforced by the plugin; upgrade to containerd 1.7.16 or newer, or use the OCI runtime wrapper \
     (`strict-groups config containerd --wrapper`), or set nri_that_can_deadlock = true in the node's configuration. It is \
     tried again after pauses of up to 5 minutes"
)]
struct CanDeadlock {
    version: String,
}

impl NotStarted {
    fn then_delete(&self) -> &'static str {
        match self {
            Self::Policy(error) => error.then_delete(),
            _ => "",
        }
    }
}

impl Plugin for StrictGroups {
    type Pod = Pod;
    type Container = Container;

    fn events(&self) -> Events {
        let always = Events::CREATE_CONTAINER | Events::POST_CREATE_CONTAINER | Events::START_CONTAINER;
        always | self.specs.events()
    }

    async fn configure(&self, runtime: &RuntimeInfo) -> Result<(), BoxError> {
        // NRI asks before it takes the lock that can deadlock: an error here takes the registration back in time
        // (pkg/adaptation/adaptation.go, acceptPluginConnections).
        let can_deadlock = runtime.name == "containerd"
            && version::registration_can_deadlock(&runtime.version)
            && !self.nri_that_can_deadlock.load(Ordering::Relaxed);
        let told = self.withdrawn.swap(can_deadlock, Ordering::Relaxed);
        if can_deadlock {
            let error = CanDeadlock { version: text::one_line(&runtime.version, RUNTIME_SHOWN) };
            if !told {
                error!("not registered: {error}");
            }
            return Err(error.into());
        }
        self.containerd.store(runtime.name == "containerd", Ordering::Relaxed);
        // Two calls and an answer must fit into what the runtime waits.
        let wait = runtime.request_timeout.map_or(LONGEST_WAIT, |told| LONGEST_WAIT.min(told / 3));
        self.wait.store(u64::try_from(wait.as_millis()).unwrap_or(u64::MAX), Ordering::Relaxed);
        self.warn_of_a_silent_audit();
        Ok(())
    }

    async fn synchronize(
        &self,
        pods: Vec<Pod>,
        containers: Vec<Container>,
    ) -> Result<Vec<ContainerUpdate>, BoxError> {
        let _timer = self.context.metrics.time(Event::Synchronize);
        if self.on_containerd() {
            self.older.keep(&pods);
            // No container is started while the runtime waits here (NRI's lock, containerd's container_start.go), so
            // those that wait for their start are resolved first. But a plugin that is late is not registered at all.
            let (open, answer) = oneshot::channel();
            let work = tokio::spawn(self.catch_up().run(pods, containers, open));
            self.catches_up(Some(work.abort_handle()));
            if tokio::time::timeout(self.wait(), answer).await.is_err() {
                debug!("still going through the containers that wait for their start");
            }
        }
        Ok(Vec::new())
    }

    async fn run_pod_sandbox(&self, pod: Pod) -> Result<(), BoxError> {
        let _timer = self.context.metrics.time(Event::RunPodSandbox);
        self.specs.begin(&pod);
        Ok(())
    }

    async fn remove_pod_sandbox(&self, pod: Pod) -> Result<(), BoxError> {
        let _timer = self.context.metrics.time(Event::RemovePodSandbox);
        self.specs.forget(&pod);
        self.older.forget(&pod);
        Ok(())
    }

    async fn create_container(
        &self,
        pod: Pod,
        container: Container,
    ) -> Result<CreateContainerResponse, BoxError> {
        let _timer = self.context.metrics.time(Event::CreateContainer);
        let known = match self.specs.at_creation(&pod, &container, self.wait()).await {
            Ok(known) => known,
            Err(source) => {
                self.context.metrics.created(Created::InvalidRefused);
                self.context.metrics.refused(Refusal::Record);
                let subject = Subject::new(&pod, &container);
                about!(error, pod, container, "refused: {source}");
                return Err(Refused::HandedOn { subject, source }.into());
            }
        };
        let settings = self.settings();
        let decision = match settings.decide(&pod, &container, known.policy.as_deref()) {
            Ok(decision) => decision,
            Err(source) => {
                self.context.metrics.created(Created::InvalidRefused);
                self.context.metrics.refused(Refusal::from(&source));
                let subject = Subject::new(&pod, &container);
                about!(warn, pod, container, "refused: {source}");
                return Err(Refused::Policy { subject, source }.into());
            }
        };
        if decision.policy == Policy::Merge {
            self.context.metrics.created(Created::MergeAccepted);
            let marker = settings.needs_marker(&pod, &container, self.older.has(&pod));
            return Ok(if marker { settings.inject_marker() } else { CreateContainerResponse::default() });
        }
        let subject = Subject::new(&pod, &container);
        debug!(%subject, origin = ?decision.origin, "strict");
        let declared = if self.on_containerd() {
            // Asked now, because an error is a readable refusal only here:
            // from post-create on the gate can only say that it was left shut.
            match self.context.resolver.declared_by_pod(&pod.id, self.wait()).await {
                Ok(declared) => declared,
                Err(source) => {
                    self.context.metrics.created(Created::StrictRefused);
                    self.context.metrics.refused(Refusal::RuntimeApi);
                    about!(error, pod, container, "refused: {source}");
                    return Err(Refused::NotEnforceable { subject, source }.into());
                }
            }
        } else {
            known.groups
        };
        if let Err(source) = limit::check(declared.as_deref().unwrap_or_default()) {
            self.context.metrics.created(Created::StrictRefused);
            self.context.metrics.refused(Refusal::Record);
            about!(warn, pod, container, "refused: {source}");
            return Err(Refused::TooManyGroups { subject, source }.into());
        }
        self.context.metrics.created(Created::StrictAccepted);
        Ok(settings.inject(&Gate {
            pod: subject.pod,
            container: subject.container,
            state: State::Pending { declared },
        }))
    }

    async fn post_create_container(&self, pod: Pod, container: Container) -> Result<(), BoxError> {
        let _timer = self.context.metrics.time(Event::PostCreateContainer);
        if !self.on_containerd() {
            return Ok(());
        }
        if !container.was_seen() {
            // The plugin registered after CreateContainer, and before the container was one that Synchronize tells of.
            self.catch_up().created(&pod, &container, self.older.has(&pod)).await;
            return Ok(());
        }
        if !container.gates().any(|gate| matches!(gate.state, State::Pending { .. })) {
            return Ok(());
        }
        match self.context.resolver.resolve(&container.id, self.wait()).await {
            Ok(Resolved { groups, removed }) => {
                self.context.metrics.groups_removed(removed.len());
                debug!(
                    subject = %Subject::new(&pod, &container),
                    %groups,
                    %removed,
                    "resolved"
                );
            }
            Err(reason) => {
                self.context.metrics.refused(Refusal::from(&reason));
                about!(error, pod, container, "not enforced, so it will not start: {reason}");
            }
        }
        Ok(())
    }

    async fn start_container(&self, pod: Pod, container: Container) -> Result<(), BoxError> {
        let _timer = self.context.metrics.time(Event::StartContainer);
        // Any other runtime only logs what is answered here.
        if !self.on_containerd() {
            return Ok(());
        }
        match self.is_strict(&pod, &container).await {
            Ok(true) => match self.start_check.check(&pod, &container, self.wait()).await {
                Ok(()) => Ok(()),
                Err(source) => stopped(&pod, &container, source),
            },
            Ok(false) => {
                let settings = self.settings();
                if settings.is_audit() {
                    self.audit.report_later(settings, pod, container, self.wait());
                }
                Ok(())
            }
            Err(source) => {
                self.context.metrics.refused(Refusal::from(&source));
                about!(warn, pod, container, "refused before its start: {source}");
                stopped(&pod, &container, source.into())
            }
        }
    }

    fn connected(&self, runtime: &RuntimeInfo, _: &nri_plugin::RuntimeService) {
        let name = text::one_line(&format!("{} {}", runtime.name, runtime.version), RUNTIME_SHOWN);
        self.registration.send_replace(Some(name));
        self.context.metrics.set_registered(true);
    }

    fn not_synchronized(&self, reason: &nri_plugin::Error) {
        if self.withdrawn.load(Ordering::Relaxed) {
            return;
        }
        // The names and sizes of what runs are not known here: nothing of it arrived.
        error!(
            "the container runtime accepts this plugin and cannot tell it what runs ({}), so Strict is not enforced by it. \
             If containers of this node have megabytes of environment, that is more than NRI can send, to any plugin: \
             find them (`crictl inspect`) and delete their pods, or use strict-groups-runtime as the OCI runtime, which \
             needs no NRI. It is tried again after pauses of up to 5 minutes",
            text::one_line(&nri_plugin::with_sources(reason), REASON_SHOWN)
        );
    }

    fn disconnected(&self, reason: &nri_plugin::Error) {
        self.registration.send_replace(None);
        self.catches_up(None);
        self.context.resolver.forget();
        self.context.metrics.set_registered(false);
        warn!("not registered with the runtime any more ({reason}); pods that start now are not made Strict");
    }
}

/// Stops the start of a container, in the way that its runtime can bear.
fn stopped(pod: &Pod, container: &Container, source: NotStarted) -> Result<(), BoxError> {
    match stop::gvisor_sandbox(container.pid) {
        Ok(true) => {
            about!(warn, pod, container, "gVisor: its sandbox was killed, so that it does not start");
            Ok(())
        }
        Ok(false) => Err(Refused::Start { subject: Subject::new(pod, container), source }.into()),
        Err(error) => {
            about!(error, pod, container, "gVisor: its sandbox cannot be killed: {error}");
            Err(Refused::Start { subject: Subject::new(pod, container), source }.into())
        }
    }
}

impl StrictGroups {
    /// Whether a container that is about to start was decided to be Strict, or would be now, if nobody decided.
    async fn is_strict(&self, pod: &Pod, container: &Container) -> Result<bool, PolicyError> {
        if container.has_gate() {
            return Ok(true);
        }
        if container.has_marker() {
            return Ok(false);
        }
        Ok(self.catch_up().decide(pod, container).await?.policy == Policy::Strict)
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::{
        handover::{Request, Requests},
        runtimes::containerd::Containers,
    };
    use strict_groups_core::policy::{ANNOTATION, NodePolicy};

    fn request(strict: bool) -> Request {
        Request {
            sandbox: "s1".to_owned(),
            pod_uid: "u1".to_owned(),
            container: "app".to_owned(),
            attempt: 0,
            strict,
            groups: Some(vec![4000, 7]),
        }
    }

    /// The gate that a container gets on CRI-O, if it gets one, while `request` is handed on.
    fn decided(request: Option<&Request>, annotation: Option<&str>) -> Result<Option<State>, String> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let dir = tempfile::tempdir().unwrap();
            let proxy = Requests::new(dir.path().join("requests"));
            let _kept = request.map(|request| proxy.write(request).unwrap());
            let containers = Containers::new(Path::new("/nonexistent/containerd.sock"));
            let plugin =
                StrictGroups::new(NodePolicy::default(), "/usr/bin/strict-groups".into(), containers)
                    .with_requests(dir.path().join("requests"));
            let cri_o = RuntimeInfo { name: "cri-o".to_owned(), ..RuntimeInfo::default() };
            plugin.configure(&cri_o).await.unwrap();
            let annotations = annotation.map(|value| (ANNOTATION.to_owned(), value.to_owned()));
            let pod = Pod {
                id: "s1".to_owned(),
                uid: "u1".to_owned(),
                annotations: annotations.into_iter().collect(),
                ..Pod::default()
            };
            let container = Container { name: "app".to_owned(), ..Container::default() };
            let answer = plugin.create_container(pod, container).await.map_err(|error| error.to_string())?;
            let hooks = answer.adjust.and_then(|adjust| adjust.hooks);
            Ok(Container { hooks, ..Container::default() }.gates().next().map(|gate| gate.state))
        })
    }

    #[test]
    #[ignore = "needs root"]
    fn request_decides_and_declares_where_no_record_does() {
        let pending =
            |declared: Option<&[u32]>| Ok(Some(State::Pending { declared: declared.map(<[u32]>::to_vec) }));
        assert_eq!(decided(None, None), Ok(None));
        assert_eq!(decided(None, Some("Strict")), pending(None));
        assert_eq!(decided(Some(&request(true)), None), pending(Some(&[4000, 7])));
        assert_eq!(decided(Some(&request(false)), Some("Strict")), pending(Some(&[4000, 7])));
        assert_eq!(decided(Some(&request(false)), None), Ok(None));
        assert_eq!(decided(Some(&request(false)), Some("Merge")), Ok(None));
        let other = Request { container: "other".to_owned(), ..request(true) };
        assert_eq!(decided(Some(&other), None), Ok(None));
        let contradiction = decided(Some(&request(true)), Some("Merge")).unwrap_err();
        assert!(contradiction.contains("says Merge") && contradiction.contains("delete the pod"));
    }
}
