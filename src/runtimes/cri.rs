//! The CRI (runtime.v1) as far as we ask a runtime ourselves.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use prost::Message;
use serde::Deserialize;
use serde_json::value::RawValue;
use thiserror::Error;

use strict_groups_core::text;
use uds_grpc::Client;

/// The messages of `proto/cri.proto`.
pub(crate) mod v1 {
    #![allow(missing_docs, unreachable_pub, dead_code, clippy::all, clippy::pedantic)]
    include!(concat!(env!("OUT_DIR"), "/runtime.v1.rs"));
}

/// How long one call of a command may take: longer than a busy runtime needs, and short enough to wait for.
pub(crate) const LIMIT: Duration = Duration::from_secs(20);

/// More than any runtime sends in one message (containerd and CRI-O: 16 MiB unless configured otherwise).
const LARGEST: usize = 64 * 1024 * 1024;

/// How much of the runtime's own words is shown, in bytes.
const WORDS_SHOWN: usize = 300;

/// A call that gave nothing. The text names the socket and the call.
#[derive(Debug, Error)]
pub enum CallError {
    /// It failed.
    #[error(
        "{call} at {}: {}; is the runtime running, and is this its socket?",
        socket.display(),
        text::one_line(&source.to_string(), WORDS_SHOWN)
    )]
    Failed {
        /// The method.
        call: &'static str,
        /// The runtime's socket.
        socket: PathBuf,
        /// Why.
        source: Box<uds_grpc::Error>,
    },
    /// No answer in time.
    #[error("{call} at {}: no answer within {} s; see the runtime's log", socket.display(), limit.as_secs())]
    TimedOut {
        /// The method.
        call: &'static str,
        /// The runtime's socket.
        socket: PathBuf,
        /// How long was waited.
        limit: Duration,
    },
}

/// The key in the verbose part of a status that came through the CRI proxy, whatever its value.
pub(crate) const PROXY: &str = "strict-groups-cri-proxy";

/// Whether a runtime with this status enforces the pod's field `supplementalGroupsPolicy` itself.
pub(crate) fn has_strict(status: &v1::StatusResponse) -> bool {
    status.features.as_ref().is_some_and(|features| features.supplemental_groups_policy)
}

/// The CRI of one runtime.
#[derive(Debug, Clone)]
pub(crate) struct Cri {
    client: Client,
    limit: Duration,
}

impl Cri {
    /// The runtime at `socket`; each call may take `limit`.
    pub(crate) fn new(socket: &Path, limit: Duration) -> Self {
        Self { client: Client::new(socket, LARGEST), limit }
    }

    /// The runtime's socket.
    pub(crate) fn socket(&self) -> &Path {
        self.client.socket()
    }

    /// One call, of any service that the runtime has.
    pub(crate) async fn call<Req: Message, Resp: Message + Default>(
        &self,
        method: &'static str,
        request: &Req,
        metadata: uds_grpc::Metadata<'_>,
    ) -> Result<Resp, CallError> {
        let socket = || self.client.socket().to_owned();
        match tokio::time::timeout(self.limit, self.client.unary(method, request, metadata)).await {
            Ok(answer) => answer.map_err(|source| CallError::Failed {
                call: method,
                socket: socket(),
                source: Box::new(source),
            }),
            Err(_) => Err(CallError::TimedOut { call: method, socket: socket(), limit: self.limit }),
        }
    }

    /// Name and version of the runtime.
    pub(crate) async fn version(&self) -> Result<v1::VersionResponse, CallError> {
        let request = v1::VersionRequest { version: "v1".to_owned() };
        self.call("/runtime.v1.RuntimeService/Version", &request, &[]).await
    }

    /// Its condition and features; `verbose`: with more that it has to say, containerd its configuration.
    pub(crate) async fn status(&self, verbose: bool) -> Result<v1::StatusResponse, CallError> {
        let request = v1::StatusRequest { verbose };
        self.call("/runtime.v1.RuntimeService/Status", &request, &[]).await
    }

    /// Whether the runtime itself enforces the pod's field `supplementalGroupsPolicy`.
    pub(crate) async fn enforces_natively(&self) -> Result<bool, CallError> {
        Ok(has_strict(&self.status(false).await?))
    }

    /// All pods.
    pub(crate) async fn pods(&self) -> Result<Vec<v1::PodSandbox>, CallError> {
        let request = v1::ListPodSandboxRequest {};
        let answer: v1::ListPodSandboxResponse =
            self.call("/runtime.v1.RuntimeService/ListPodSandbox", &request, &[]).await?;
        Ok(answer.items)
    }

    /// All containers, sandboxes not among them.
    pub(crate) async fn containers(&self) -> Result<Vec<v1::Container>, CallError> {
        let request = v1::ListContainersRequest::default();
        let answer: v1::ListContainersResponse =
            self.call("/runtime.v1.RuntimeService/ListContainers", &request, &[]).await?;
        Ok(answer.containers)
    }

    /// The status of one container with its verbose part. None: the runtime does not know it any more.
    pub(crate) async fn container(
        &self,
        id: String,
    ) -> Result<Option<v1::ContainerStatusResponse>, CallError> {
        let request = v1::ContainerStatusRequest { container_id: id, verbose: true };
        match self.call("/runtime.v1.RuntimeService/ContainerStatus", &request, &[]).await {
            Ok(answer) => Ok(Some(answer)),
            Err(CallError::Failed { source, .. }) if is_not_found(&source) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Removes one container, running or not.
    pub(crate) async fn remove(&self, id: String) -> Result<(), CallError> {
        let request = v1::RemoveContainerRequest { container_id: id };
        self.call("/runtime.v1.RuntimeService/RemoveContainer", &request, &[])
            .await
            .map(|v1::RemoveContainerResponse {}| ())
    }
}

fn is_not_found(error: &uds_grpc::Error) -> bool {
    matches!(error, uds_grpc::Error::Status(status) if status.code == uds_grpc::Code::NotFound)
}

/// The part of a container's verbose status that is of use: JSON under the key `info`, with containerd and with CRI-O
/// (source: `containerInfo` in `server/container_status.go`).
#[derive(Debug, Deserialize)]
pub(crate) struct Info<'a> {
    /// 0: there is none. It may be that of a process that has ended.
    #[serde(default)]
    pub(crate) pid: u32,
    /// The OCI spec.
    #[serde(rename = "runtimeSpec", borrow)]
    pub(crate) spec: &'a RawValue,
}

impl<'a> Info<'a> {
    /// The key under which it stands.
    pub(crate) const KEY: &'static str = "info";

    /// Reads it; None: it has no spec.
    pub(crate) fn read(json: &'a str) -> Option<Self> {
        serde_json::from_str(json).ok()
    }
}
