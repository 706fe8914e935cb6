//! What we ask the runtime ourselves.

use std::{
    collections::HashMap,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use prost::Message;
use tracing::{info, warn};

use super::{
    edit::{container::Strict, user::User},
    upstream::OnConnect,
};
use crate::{
    grpc::{self, Client},
    policy::{self, Policy, Setting},
};

/// As much as gRPC servers of container runtimes send.
const LARGEST: usize = 16 * 1024 * 1024;
/// How long we wait for an answer of ours.
const LIMIT: Duration = Duration::from_secs(5);
/// How many users of containers are kept. An entry has some 200 bytes.
const KEPT: usize = 4096;

#[derive(Clone, PartialEq, Message)]
struct StatusRequest {}

#[derive(Clone, PartialEq, Message)]
struct StatusResponse {
    #[prost(message, optional, tag = "4")]
    features: Option<Features>,
}

#[derive(Clone, PartialEq, Message)]
struct Features {
    #[prost(bool, tag = "1")]
    supplemental_groups_policy: bool,
}

#[derive(Clone, PartialEq, Message)]
struct PodSandboxStatusRequest {
    #[prost(string, tag = "1")]
    pod_sandbox_id: String,
}

#[derive(Clone, PartialEq, Message)]
struct PodSandboxStatusResponse {
    #[prost(message, optional, tag = "1")]
    status: Option<PodSandboxStatus>,
}

#[derive(Clone, PartialEq, Message)]
struct PodSandboxStatus {
    #[prost(map = "string, string", tag = "8")]
    annotations: HashMap<String, String>,
}

#[derive(Clone, PartialEq, Message)]
struct ContainerStatusRequest {
    #[prost(string, tag = "1")]
    container_id: String,
    #[prost(bool, tag = "2")]
    verbose: bool,
}

#[derive(Clone, PartialEq, Message)]
struct ContainerStatusResponse {
    #[prost(message, optional, tag = "1")]
    status: Option<ContainerStatus>,
    #[prost(map = "string, string", tag = "2")]
    info: HashMap<String, String>,
}

#[derive(Clone, PartialEq, Message)]
struct ContainerStatus {
    /// 0 is created: its spec may still change.
    #[prost(int32, tag = "3")]
    state: i32,
}

/// The runtime, as far as we ask it.
#[derive(Debug)]
pub(super) struct Runtime {
    client: Client,
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    /// Whether the runtime has the feature itself; None: not asked since a connection was made.
    native: Option<bool>,
    /// What was last said about it.
    told: Option<bool>,
    users: HashMap<String, User>,
}

impl Runtime {
    pub(super) fn new(socket: &Path) -> Self {
        Self { client: Client::new(socket, LARGEST), known: Mutex::default() }
    }

    /// Whether the runtime has the feature itself.
    pub(super) async fn is_native(&self) -> Result<bool, grpc::Error> {
        if let Some(native) = self.known().native {
            return Ok(native);
        }
        let status: StatusResponse = self.call("Status", &StatusRequest {}).await?;
        let native = status.features.is_some_and(|features| features.supplemental_groups_policy);
        let mut known = self.known();
        known.native = Some(native);
        if known.told.replace(native) != Some(native) {
            if native {
                info!(
                    "the runtime supports supplementalGroupsPolicy itself: everything is passed on as it is"
                );
            } else {
                info!("the runtime does not support supplementalGroupsPolicy: the proxy adds it");
            }
        }
        Ok(native)
    }

    /// Whether the container's sandbox carries the decision that it is Strict.
    pub(super) async fn sandbox_is_strict(&self, strict: &Strict) -> Result<bool, grpc::Error> {
        let request = PodSandboxStatusRequest { pod_sandbox_id: strict.sandbox.clone() };
        let response: PodSandboxStatusResponse = self.call("PodSandboxStatus", &request).await?;
        let annotations = response.status.unwrap_or_default().annotations;
        let decision = policy::decide(&annotations, &strict.container, &Setting::default());
        Ok(decision.is_ok_and(|decision| decision.policy == Policy::Strict))
    }

    /// The user of the first process of container `id`, where the runtime tells it.
    pub(super) async fn user_of(&self, id: &str) -> Option<User> {
        if let Some(user) = self.known().users.get(id) {
            return Some(user.clone());
        }
        let request = ContainerStatusRequest { container_id: id.to_owned(), verbose: true };
        let response: ContainerStatusResponse = match self.call("ContainerStatus", &request).await {
            Ok(response) => response,
            Err(error) => {
                warn!(id, "the container's user is not told: {error}");
                return None;
            }
        };
        let info = response.info.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
        let user = User::of(&info)?;
        if response.status.is_some_and(|status| status.state != 0) {
            let mut known = self.known();
            if known.users.len() >= KEPT {
                known.users.clear();
            }
            known.users.insert(id.to_owned(), user.clone());
        }
        Some(user)
    }

    async fn call<Req: Message, Resp: Message + Default>(
        &self,
        method: &str,
        request: &Req,
    ) -> Result<Resp, grpc::Error> {
        let path = format!("{}{method}", super::forward::SERVICE);
        let call = self.client.unary(&path, request, &[]);
        tokio::time::timeout(LIMIT, call).await.unwrap_or_else(|_| Err(timed_out()))
    }

    fn known(&self) -> std::sync::MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn timed_out() -> grpc::Error {
    grpc::Error::Connect(std::io::Error::new(std::io::ErrorKind::TimedOut, "no answer in time"))
}

impl OnConnect for Arc<Runtime> {
    fn connected(&self) {
        self.known().native = None;
    }
}
