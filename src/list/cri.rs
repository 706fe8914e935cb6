//! The CRI (runtime.v1) as far as it lists containers.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use prost::Message;
use thiserror::Error;

use crate::{
    grpc::{self, Client},
    text,
};

/// The messages of `proto/cri.proto`.
pub(crate) mod v1 {
    #![allow(missing_docs, unreachable_pub, dead_code, clippy::all, clippy::pedantic)]
    include!(concat!(env!("OUT_DIR"), "/runtime.v1.rs"));
}

/// How long one call may take: longer than a busy runtime needs, and short enough to wait for.
pub(super) const LIMIT: Duration = Duration::from_secs(20);

/// More than any runtime sends in one message (containerd and CRI-O: 16 MiB unless configured otherwise).
pub(super) const LARGEST: usize = 64 * 1024 * 1024;

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
        source: Box<grpc::Error>,
    },
    /// No answer in time.
    #[error("{call} at {}: no answer within {} s; see the runtime's log", socket.display(), LIMIT.as_secs())]
    TimedOut {
        /// The method.
        call: &'static str,
        /// The runtime's socket.
        socket: PathBuf,
    },
}

/// One call, waiting for [`LIMIT`] at most.
pub(super) async fn call<Req: Message, Resp: Message + Default>(
    client: &Client,
    method: &'static str,
    request: &Req,
    metadata: grpc::Metadata<'_>,
) -> Result<Resp, CallError> {
    let socket = || client.socket().to_owned();
    match tokio::time::timeout(LIMIT, client.unary(method, request, metadata)).await {
        Ok(answer) => answer.map_err(|source| CallError::Failed {
            call: method,
            socket: socket(),
            source: Box::new(source),
        }),
        Err(_) => Err(CallError::TimedOut { call: method, socket: socket() }),
    }
}

/// Whether a runtime with this status enforces the pod's field `supplementalGroupsPolicy` itself.
pub(crate) fn has_strict(status: &v1::StatusResponse) -> bool {
    status.features.as_ref().is_some_and(|features| features.supplemental_groups_policy)
}

/// The CRI of one runtime.
#[derive(Debug, Clone)]
pub(crate) struct Cri {
    client: Client,
}

impl Cri {
    pub(crate) fn new(socket: &Path) -> Self {
        Self { client: Client::new(socket, LARGEST) }
    }

    /// The connection, for services beside the CRI.
    pub(super) fn client(&self) -> &Client {
        &self.client
    }

    /// Name and version of the runtime.
    pub(crate) async fn version(&self) -> Result<v1::VersionResponse, CallError> {
        let request = v1::VersionRequest { version: "v1".to_owned() };
        call(&self.client, "/runtime.v1.RuntimeService/Version", &request, &[]).await
    }

    /// Its condition and features; `verbose`: with more that it has to say, containerd its configuration.
    pub(crate) async fn status(&self, verbose: bool) -> Result<v1::StatusResponse, CallError> {
        let request = v1::StatusRequest { verbose };
        call(&self.client, "/runtime.v1.RuntimeService/Status", &request, &[]).await
    }

    /// Whether the runtime itself enforces the pod's field `supplementalGroupsPolicy`.
    pub(super) async fn enforces_natively(&self) -> Result<bool, CallError> {
        Ok(has_strict(&self.status(false).await?))
    }

    /// All pods.
    pub(super) async fn pods(&self) -> Result<Vec<v1::PodSandbox>, CallError> {
        let request = v1::ListPodSandboxRequest {};
        let method = "/runtime.v1.RuntimeService/ListPodSandbox";
        let answer: v1::ListPodSandboxResponse = call(&self.client, method, &request, &[]).await?;
        Ok(answer.items)
    }

    /// All containers, sandboxes not among them.
    pub(super) async fn containers(&self) -> Result<Vec<v1::Container>, CallError> {
        let request = v1::ListContainersRequest::default();
        let method = "/runtime.v1.RuntimeService/ListContainers";
        let answer: v1::ListContainersResponse = call(&self.client, method, &request, &[]).await?;
        Ok(answer.containers)
    }

    /// The verbose part of one container's status. None: the runtime does not know it any more.
    pub(super) async fn info(&self, id: String) -> Result<Option<String>, CallError> {
        let request = v1::ContainerStatusRequest { container_id: id, verbose: true };
        let method = "/runtime.v1.RuntimeService/ContainerStatus";
        let answer: Result<v1::ContainerStatusResponse, _> = call(&self.client, method, &request, &[]).await;
        match answer {
            Ok(mut answer) => Ok(answer.info.remove("info").or(Some(String::new()))),
            Err(CallError::Failed { source, .. }) if matches!(&*source, grpc::Error::Status(status) if status.code == grpc::Code::NotFound) => {
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }
}
