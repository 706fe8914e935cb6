//! Calls from the plugin to the runtime, on connection 2.

use std::{collections::HashMap, time::Duration};

use prost::Message;
use tokio::sync::{mpsc, oneshot};

use super::{
    CallError, Error, Identity, ProtocolError, Status,
    api::{
        ContainerEviction, ContainerUpdate, RegisterPluginRequest, UpdateContainersRequest,
        UpdateContainersResponse,
    },
    ttrpc::{self, wire},
};

const SERVICE: &str = "nri.pkg.api.v1alpha1.Runtime";

/// How long a call to the runtime may take. It waits for the lock that the runtime holds during every event.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Calls that wait to be sent.
const QUEUE: usize = 16;

/// The stream of the first call of every connection, `RegisterPlugin`. A client's streams are odd and rise.
const REGISTRATION: u32 = 1;

/// Makes calls to the runtime that a plugin is connected to. Cheap to clone; of no use after the connection.
#[derive(Debug, Clone)]
pub struct RuntimeService {
    calls: mpsc::Sender<Call>,
}

/// One call on its way to the connection.
#[derive(Debug)]
pub(super) struct Call {
    request: wire::Request,
    reply: oneshot::Sender<Result<Vec<u8>, Status>>,
}

impl RuntimeService {
    pub(super) fn new() -> (Self, mpsc::Receiver<Call>) {
        let (calls, receiver) = mpsc::channel(QUEUE);
        (Self { calls }, receiver)
    }

    /// Changes resources of containers, and asks for others to be evicted, outside of any event. Gives back the
    /// updates that failed. Do not wait for it in a handler: the runtime answers no call while it makes one.
    ///
    /// # Errors
    /// See [`CallError`].
    pub async fn update_containers(
        &self,
        update: Vec<ContainerUpdate>,
        evict: Vec<ContainerEviction>,
    ) -> Result<Vec<ContainerUpdate>, CallError> {
        let payload = UpdateContainersRequest { update, evict }.encode_to_vec();
        let answer = self.call(request("UpdateContainers", payload)).await?;
        let response = UpdateContainersResponse::decode(&*answer).map_err(|_| CallError::Undecodable)?;
        Ok(response.failed)
    }

    async fn call(&self, request: wire::Request) -> Result<Vec<u8>, CallError> {
        let len = request.encoded_len();
        if len > ttrpc::MAX_SENT {
            return Err(CallError::TooLarge(len));
        }
        let (reply, answer) = oneshot::channel();
        let exchange = async {
            self.calls.send(Call { request, reply }).await.map_err(|_| CallError::Disconnected)?;
            answer.await.map_err(|_| CallError::Disconnected)?.map_err(CallError::Refused)
        };
        tokio::time::timeout(TIMEOUT, exchange).await.unwrap_or(Err(CallError::Timeout(TIMEOUT)))
    }
}

fn request(method: &str, payload: Vec<u8>) -> wire::Request {
    wire::Request {
        service: SERVICE.into(),
        method: method.into(),
        payload,
        timeout_nano: i64::try_from(TIMEOUT.as_nanos()).unwrap_or(i64::MAX),
        metadata: Vec::new(),
    }
}

/// Appends the registration, the first call of a connection, to `out`.
pub(super) fn put_registration(out: &mut Vec<u8>, identity: &Identity, timeout: Duration) {
    let message = RegisterPluginRequest {
        plugin_name: identity.name().into(),
        plugin_idx: identity.index().into(),
        // Told by newer plugins so that a runtime can use what is newer; nothing here depends on it.
        nri_version: String::new(),
    };
    let timeout_nano = i64::try_from(timeout.as_nanos()).unwrap_or(i64::MAX);
    let request = wire::Request { timeout_nano, ..request("RegisterPlugin", message.encode_to_vec()) };
    ttrpc::put_request(out, REGISTRATION, &request);
}

/// The calls that wait for an answer.
#[derive(Debug)]
pub(super) struct Pending {
    last_stream: u32,
    replies: HashMap<u32, oneshot::Sender<Result<Vec<u8>, Status>>>,
}

impl Pending {
    pub(super) fn new() -> Self {
        Self { last_stream: REGISTRATION, replies: HashMap::new() }
    }

    /// Appends a call to `out` and remembers who waits for its answer.
    pub(super) fn send(&mut self, call: Call, out: &mut Vec<u8>) {
        self.replies.retain(|_, reply| !reply.is_closed());
        self.last_stream = self.last_stream.wrapping_add(2);
        ttrpc::put_request(out, self.last_stream, &call.request);
        self.replies.insert(self.last_stream, call.reply);
    }

    /// Hands an answer to the one who waits for it. True: it was that of the registration.
    pub(super) fn answered(&mut self, stream: u32, payload: &[u8]) -> Result<bool, Error> {
        let response = wire::Response::decode(payload).map_err(|_| ProtocolError::Response(stream))?;
        let result = match response.status {
            Some(status) if status.code != 0 => Err(Status::received(status.code, &status.message)),
            _ => Ok(response.payload),
        };
        if stream == REGISTRATION {
            return result.map(|_| true).map_err(Error::RegistrationRefused);
        }
        match self.replies.remove(&stream) {
            // Nobody waits any more: the caller gave up.
            None => tracing::debug!(stream, "late answer of the runtime"),
            Some(reply) => drop(reply.send(result)),
        }
        Ok(false)
    }
}
