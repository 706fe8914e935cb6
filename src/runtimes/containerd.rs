//! containerd's containers API: read one record, write back its spec.
//!
//! The record's spec is what containerd makes the bundle's `config.json` from
//! at the start, and the process of every exec. It is written before the NRI
//! post-create event and read after it, so a change in between decides the
//! groups of both.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    time::Duration,
};

use prost::Message;
use prost_types::{Any, FieldMask};
use thiserror::Error;

use strict_groups_core::text;
use uds_grpc::{Client, Code, Status};

mod api {
    #![allow(missing_docs, unreachable_pub, clippy::all, clippy::pedantic)]
    include!(concat!(env!("OUT_DIR"), "/containerd.services.containers.v1.rs"));
}

/// Where containerd listens unless its configuration says otherwise.
pub const DEFAULT_SOCKET: &str = "/run/containerd/containerd.sock";

/// The type that containerd gives a spec in a record. The value is JSON.
pub const SPEC_TYPE: &str = "types.containerd.io/opencontainers/runtime-spec/1/Spec";

/// The containers of containerd's namespace `k8s.io`: all that came through the CRI.
const NAMESPACE: uds_grpc::Metadata<'static> = &[("containerd-namespace", "k8s.io")];

/// What containerd sends and takes in one message unless its configuration says otherwise (`max_send_message_size`,
/// `max_recv_message_size`, 16 MiB). It bounds what a pod or an image can have us read: a record, and each part of a
/// list. gRPC's usual 4 MiB are too few, since the environment alone may be 2 MiB, and the spec repeats it.
const LARGEST_RECORD: usize = 16 * 1024 * 1024;

/// How much of containerd's own words is shown, in bytes.
const WORDS_SHOWN: usize = 300;

/// Why the containers API was of no use. Each text names the socket.
#[derive(Debug, Error)]
pub enum ContainerdError {
    /// The socket cannot be connected to, or the connection broke.
    #[error("containerd's API at {} cannot be reached ({reason}); is containerd running, and is this its socket?", socket.display())]
    Unreachable {
        /// containerd's socket.
        socket: PathBuf,
        /// What the system or the connection said.
        reason: String,
    },
    /// Somebody other than root could be listening there.
    #[error("containerd's API: {reason}")]
    NotTrusted {
        /// Which part of the path is wrong, and what to do; see [`Untrusted`](hostfs::ownership::Untrusted).
        reason: String,
    },
    /// No answer in time.
    #[error("containerd's API at {} did not answer within {} ms; see containerd's log", socket.display(), limit.as_millis())]
    TimedOut {
        /// containerd's socket.
        socket: PathBuf,
        /// How long was waited.
        limit: Duration,
    },
    /// This containerd has no such record: most likely another instance.
    #[error("containerd at {} does not know {id}; is this the socket of the containerd that runs the pods?", socket.display())]
    Unknown {
        /// containerd's socket.
        socket: PathBuf,
        /// The id of the container or sandbox.
        id: String,
    },
    /// Something answered, but not as the containers API does.
    #[error("containerd's API at {} gave no usable answer ({reason}); is this containerd's socket?", socket.display())]
    NoUsableAnswer {
        /// containerd's socket.
        socket: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// There is no way to put the question.
    #[error("containerd's API at {} was not asked: {reason}", socket.display())]
    NotSent {
        /// containerd's socket.
        socket: PathBuf,
        /// Why not.
        reason: String,
    },
    /// containerd answered with another error.
    #[error("containerd's API at {} answered {code:?}: {message}; see containerd's log", socket.display())]
    Refused {
        /// containerd's socket.
        socket: PathBuf,
        /// The gRPC status code.
        code: Code,
        /// containerd's own words, made one line.
        message: String,
    },
}

/// One container as containerd keeps it.
#[derive(Debug, Clone, Default)]
pub struct Record {
    /// The container's id.
    pub id: String,
    /// The name of the shim that runs it, such as `io.containerd.runc.v2`.
    pub runtime: String,
    /// The OCI runtime spec; see [`SPEC_TYPE`].
    pub spec: Option<Any>,
    /// What containerd's clients keep with a record, the CRI its metadata.
    pub extensions: HashMap<String, Any>,
}

impl From<api::Container> for Record {
    fn from(container: api::Container) -> Self {
        let runtime = container.runtime.unwrap_or_default().name;
        Self { id: container.id, runtime, spec: container.spec, extensions: container.extensions }
    }
}

/// A client of the containers API. The connection is made at the first call
/// and again whenever it is lost, each time only if the socket is root's
/// alone (see [`hostfs::ownership`]). Cheap to clone.
#[derive(Debug, Clone)]
pub struct Containers {
    client: Client,
}

impl Containers {
    /// A client of the containerd that listens on `socket`. Nothing is
    /// connected yet.
    #[must_use]
    pub fn new(socket: &Path) -> Self {
        Self { client: Client::new(socket, LARGEST_RECORD) }
    }

    /// The socket that this client talks to.
    #[must_use]
    pub fn socket(&self) -> &Path {
        self.client.socket()
    }

    /// Reads the record of container or sandbox `id`, waiting at most `limit`.
    ///
    /// # Errors
    /// See [`ContainerdError`].
    pub async fn get(&self, id: &str, limit: Duration) -> Result<Record, ContainerdError> {
        let request = api::GetContainerRequest { id: id.to_owned() };
        let answer: api::GetContainerResponse = self.call("Get", id, &request, limit).await?;
        Ok(answer.container.unwrap_or_default().into())
    }

    /// Reads the records that match one of `filters`, which are in the language of containerd's package `filters`,
    /// waiting at most `limit`. The answer is one message: containerd refuses one beyond its
    /// `max_send_message_size` (16 MiB) with [`Code::ResourceExhausted`].
    ///
    /// # Errors
    /// See [`ContainerdError`].
    pub async fn list(&self, filters: Vec<String>, limit: Duration) -> Result<Vec<Record>, ContainerdError> {
        let request = api::ListContainersRequest { filters };
        let answer: api::ListContainersResponse = self.call("List", "", &request, limit).await?;
        Ok(answer.containers.into_iter().map(Record::from).collect())
    }

    /// Puts `spec` into the record of container `id`, waiting at most `limit`.
    /// Nothing else of the record is changed.
    ///
    /// # Errors
    /// See [`ContainerdError`]. After a time-out the change may still happen.
    pub async fn update_spec(&self, id: &str, spec: Any, limit: Duration) -> Result<(), ContainerdError> {
        let container = api::Container { id: id.to_owned(), spec: Some(spec), ..Default::default() };
        let request = api::UpdateContainerRequest {
            container: Some(container),
            update_mask: Some(FieldMask { paths: vec!["spec".to_owned()] }),
        };
        self.call::<_, api::UpdateContainerResponse>("Update", id, &request, limit).await?;
        Ok(())
    }

    /// Calls a method that is about container `id`.
    async fn call<Req: Message, Resp: Message + Default>(
        &self,
        method: &str,
        id: &str,
        request: &Req,
        limit: Duration,
    ) -> Result<Resp, ContainerdError> {
        let path = format!("/containerd.services.containers.v1.Containers/{method}");
        match tokio::time::timeout(limit, self.client.unary(&path, request, NAMESPACE)).await {
            Ok(result) => result.map_err(|error| self.error(id, error)),
            Err(_) => Err(ContainerdError::TimedOut { socket: self.socket().to_owned(), limit }),
        }
    }

    fn error(&self, id: &str, error: uds_grpc::Error) -> ContainerdError {
        let socket = self.socket().to_owned();
        match error {
            uds_grpc::Error::NotTrusted(reason) => ContainerdError::NotTrusted { reason: reason.to_string() },
            uds_grpc::Error::Status(Status { code: Code::NotFound, .. }) => {
                ContainerdError::Unknown { socket, id: id.to_owned() }
            }
            uds_grpc::Error::Status(Status { code: Code::Unavailable, message }) => {
                ContainerdError::Unreachable { socket, reason: shown(&message) }
            }
            uds_grpc::Error::Status(Status { code, message }) => {
                ContainerdError::Refused { socket, code, message: shown(&message) }
            }
            uds_grpc::Error::Request(_) | uds_grpc::Error::NotSendable(_) => {
                ContainerdError::NotSent { socket, reason: error.to_string() }
            }
            uds_grpc::Error::Connect(_) | uds_grpc::Error::Lost(_) => {
                ContainerdError::Unreachable { socket, reason: shown(&error.to_string()) }
            }
            uds_grpc::Error::Protocol(error) => {
                ContainerdError::NoUsableAnswer { socket, reason: shown(&error.to_string()) }
            }
        }
    }
}

/// Words of the other side in a message of ours: a line break in them would forge a line of the log.
fn shown(words: &str) -> String {
    text::one_line(words, WORDS_SHOWN)
}
