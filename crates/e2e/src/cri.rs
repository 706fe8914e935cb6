//! The CRI as a kubelet uses it, in blocking calls, from any thread.

use std::collections::HashMap;
use std::fmt;
use std::future::Future;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use tonic::transport::{Channel, Endpoint};

use super::pod::{CONFIG_SOURCE, ContainerSpec, Pod};
use super::wait_for;

/// The generated messages and clients.
#[allow(
    clippy::all,
    clippy::pedantic,
    missing_docs,
    unreachable_pub,
    reason = "generated from proto/cri.proto"
)]
pub mod v1 {
    include!(concat!(env!("OUT_DIR"), "/runtime.v1.rs"));
}

use v1::image_service_client::ImageServiceClient;
use v1::runtime_service_client::RuntimeServiceClient;

/// Longer than any runtime's own limit: a test shall fail, not hang.
const LIMIT: Duration = Duration::from_secs(60);
const EXEC_SECONDS: i64 = 30;

/// An error of the runtime, its text as a kubelet would report it.
#[derive(Debug)]
pub struct CriError {
    pub code: tonic::Code,
    pub message: String,
}

impl fmt::Display for CriError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{:?}: {}", self.code, self.message)
    }
}

impl std::error::Error for CriError {}

/// A pod that runs; needed again to create containers in it.
#[derive(Clone)]
pub struct RunningPod {
    pub id: String,
    pod: Pod,
}

impl RunningPod {
    /// The pod's name, as Kubernetes has it.
    pub fn name(&self) -> String {
        self.pod.name()
    }

    /// The same pod after somebody annotated it. The sandbox stays as it is; the kubelet sends the pod's
    /// annotations of now with each `CreateContainer`.
    pub fn annotated(&self, key: &str, value: &str) -> Self {
        Self { id: self.id.clone(), pod: self.pod.clone().annotation(key, value) }
    }

    /// The same pod after somebody took all its annotations away but the kubelet's own.
    pub fn without_annotations(&self) -> Self {
        let mut pod = self.pod.clone();
        pod.config.annotations.retain(|key, _| key == CONFIG_SOURCE);
        Self { id: self.id.clone(), pod }
    }
}

/// What an exec gave.
#[derive(Debug)]
pub struct Output {
    pub stdout: String,
    pub stderr: String,
    pub code: i32,
}

/// A container's status.
#[derive(Debug)]
pub struct Status {
    pub state: v1::ContainerState,
    /// The first process, as the host sees it; 0 when there is none.
    pub pid: u32,
    pub exit_code: i32,
    pub reason: String,
    pub message: String,
    /// Only from runtimes that know the policy.
    pub user: Option<v1::LinuxContainerUser>,
    /// The verbose part: pid, runtimeSpec, config and more.
    pub info: serde_json::Value,
}

/// A connection to one runtime.
pub struct Cri {
    handle: tokio::runtime::Handle,
    channel: Channel,
    cgroup_parent: String,
}

impl Cri {
    /// Connects when first used, and again after the runtime was restarted.
    /// `cgroup_parent`: the top cgroup of all pods.
    pub fn new(socket: &Path, cgroup_parent: &str) -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let handle = runtime.handle().clone();
        let channel = {
            let _inside = handle.enter();
            Endpoint::try_from(format!("unix://{}", socket.display()))?.timeout(LIMIT).connect_lazy()
        };
        // One thread drives the sockets; callers wait in their own threads.
        std::thread::spawn(move || runtime.block_on(std::future::pending::<()>()));
        Ok(Self { handle, channel, cgroup_parent: format!("/{cgroup_parent}") })
    }

    fn runtime(&self) -> RuntimeServiceClient<Channel> {
        RuntimeServiceClient::new(self.channel.clone()).max_decoding_message_size(64 << 20)
    }

    fn wait<T>(
        &self,
        call: impl Future<Output = Result<tonic::Response<T>, tonic::Status>>,
    ) -> Result<T, CriError> {
        self.handle
            .block_on(call)
            .map(tonic::Response::into_inner)
            .map_err(|status| CriError { code: status.code(), message: status.message().to_owned() })
    }

    /// True when the runtime can start pods.
    pub fn is_ready(&self) -> bool {
        let answer = self.wait(self.runtime().status(v1::StatusRequest { verbose: false }));
        let conditions = answer.ok().and_then(|answer| answer.status).unwrap_or_default().conditions;
        conditions.iter().any(|condition| condition.r#type == "RuntimeReady" && condition.status)
    }

    /// Name and version of the runtime.
    pub fn version(&self) -> Result<v1::VersionResponse, CriError> {
        self.wait(self.runtime().version(v1::VersionRequest { version: "v1".to_owned() }))
    }

    /// What the runtime says it can do; `None` before 2.0.
    pub fn features(&self) -> Result<Option<v1::RuntimeFeatures>, CriError> {
        Ok(self.wait(self.runtime().status(v1::StatusRequest { verbose: false }))?.features)
    }

    /// True when an image with this name is there.
    pub fn has_image(&self, name: &str) -> bool {
        let image = Some(v1::ImageSpec { image: name.to_owned() });
        let mut client = ImageServiceClient::new(self.channel.clone());
        self.wait(client.image_status(v1::ImageStatusRequest { image }))
            .is_ok_and(|answer| answer.image.is_some())
    }

    /// Starts a pod (`RunPodSandbox`).
    pub fn run_pod(&self, pod: &Pod) -> Result<RunningPod, CriError> {
        let mut pod = pod.clone();
        pod.config.linux = Some(v1::LinuxPodSandboxConfig {
            cgroup_parent: self.cgroup_parent.clone(),
            security_context: Some(v1::LinuxSandboxSecurityContext {
                namespace_options: Some(pod.namespaces.clone()),
                privileged: pod.privileged,
                supplemental_groups_policy: pod.policy,
                supplemental_groups: pod.supplemental.clone(),
                ..Default::default()
            }),
        });
        let request = v1::RunPodSandboxRequest {
            config: Some(pod.config.clone()),
            runtime_handler: pod.handler.clone(),
        };
        let answer = self.wait(self.runtime().run_pod_sandbox(request))?;
        Ok(RunningPod { id: answer.pod_sandbox_id, pod })
    }

    /// `CreateContainer`; gives the container's id.
    pub fn create(&self, pod: &RunningPod, spec: &ContainerSpec) -> Result<String, CriError> {
        let mut config = spec.config.clone();
        let mut security = spec.security.clone();
        security.namespace_options = Some(pod.pod.namespaces.clone());
        config.linux = Some(v1::LinuxContainerConfig { security_context: Some(security) });
        let request = v1::CreateContainerRequest {
            pod_sandbox_id: pod.id.clone(),
            config: Some(config),
            sandbox_config: Some(pod.pod.config.clone()),
        };
        Ok(self.wait(self.runtime().create_container(request))?.container_id)
    }

    /// `StartContainer`.
    pub fn start(&self, container: &str) -> Result<(), CriError> {
        let request = v1::StartContainerRequest { container_id: container.to_owned() };
        self.wait(self.runtime().start_container(request)).map(drop)
    }

    /// Create and start; gives the container's id.
    pub fn launch(&self, pod: &RunningPod, spec: &ContainerSpec) -> Result<String, CriError> {
        let id = self.create(pod, spec)?;
        self.start(&id)?;
        Ok(id)
    }

    /// `ExecSync`, with a limit of 30 seconds.
    pub fn exec(&self, container: &str, command: &[&str]) -> Result<Output, CriError> {
        let answer = self.wait(self.runtime().exec_sync(v1::ExecSyncRequest {
            container_id: container.to_owned(),
            cmd: command.iter().map(|&part| part.to_owned()).collect(),
            timeout: EXEC_SECONDS,
        }))?;
        Ok(Output {
            stdout: String::from_utf8_lossy(&answer.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&answer.stderr).into_owned(),
            code: answer.exit_code,
        })
    }

    /// `ContainerStatus`, as a kubelet asks for it.
    pub fn plain_status(&self, container: &str) -> Result<v1::ContainerStatusResponse, CriError> {
        let request = v1::ContainerStatusRequest { container_id: container.to_owned(), verbose: false };
        self.wait(self.runtime().container_status(request))
    }

    /// `ContainerStatus`, with the verbose part.
    pub fn status(&self, container: &str) -> Result<Status> {
        let request = v1::ContainerStatusRequest { container_id: container.to_owned(), verbose: true };
        let answer = self.wait(self.runtime().container_status(request))?;
        let status = answer.status.context("an empty status")?;
        let info: serde_json::Value = match answer.info.get("info") {
            Some(text) => serde_json::from_str(text).context("reading the verbose status")?,
            None => serde_json::Value::Null,
        };
        let pid = info.get("pid").and_then(serde_json::Value::as_u64).unwrap_or_default();
        Ok(Status {
            state: status.state(),
            pid: pid.try_into()?,
            exit_code: status.exit_code,
            reason: status.reason,
            message: status.message,
            user: status.user.and_then(|user| user.linux),
            info,
        })
    }

    /// Waits until the first process has ended; gives its exit code.
    pub fn wait_exit(&self, container: &str) -> Result<i32> {
        wait_for(LIMIT, || {
            let status = self.status(container).ok()?;
            (status.state == v1::ContainerState::ContainerExited).then_some(status.exit_code)
        })
        .with_context(|| format!("container {container} does not end"))
    }

    /// `StopContainer`, without a grace period.
    pub fn stop(&self, container: &str) -> Result<(), CriError> {
        let request = v1::StopContainerRequest { container_id: container.to_owned(), timeout: 0 };
        self.wait(self.runtime().stop_container(request)).map(drop)
    }

    /// `RemoveContainer`.
    pub fn remove(&self, container: &str) -> Result<(), CriError> {
        let request = v1::RemoveContainerRequest { container_id: container.to_owned() };
        self.wait(self.runtime().remove_container(request)).map(drop)
    }

    /// Stops and removes a pod with all its containers.
    pub fn remove_pod(&self, id: &str) -> Result<(), CriError> {
        let pod_sandbox_id = id.to_owned();
        self.wait(self.runtime().stop_pod_sandbox(v1::StopPodSandboxRequest { pod_sandbox_id }))?;
        let pod_sandbox_id = id.to_owned();
        self.wait(self.runtime().remove_pod_sandbox(v1::RemovePodSandboxRequest { pod_sandbox_id })).map(drop)
    }

    /// The ids of all pods, with their annotations' owner names.
    pub fn pods(&self) -> Result<HashMap<String, String>, CriError> {
        let answer = self.wait(self.runtime().list_pod_sandbox(v1::ListPodSandboxRequest {}))?;
        let name = |pod: &v1::PodSandbox| pod.metadata.clone().unwrap_or_default().name;
        Ok(answer.items.iter().map(|pod| (pod.id.clone(), name(pod))).collect())
    }

    /// Removes every pod; the first error is given when all have been tried.
    pub fn remove_all_pods(&self) -> Result<(), CriError> {
        let mut result = Ok(());
        for id in self.pods()?.keys() {
            let removed = self.remove_pod(id);
            result = result.and(removed);
        }
        result
    }
}
