//! containerd's containers API: read one record, write back its spec.
//!
//! The record's spec is what containerd makes the bundle's `config.json` from
//! at the start, and the process of every exec. It is written before the NRI
//! post-create event and read after it, so a change in between decides the
//! groups of both.

use std::{
    collections::HashMap,
    error::Error as _,
    path::{Path, PathBuf},
    time::Duration,
};

use hyper_util::rt::TokioIo;
use prost_types::{Any, FieldMask};
use thiserror::Error;
use tokio::net;
use tonic::{
    Code, Request, Status,
    metadata::MetadataValue,
    transport::{Channel, Endpoint},
};

use crate::{
    text,
    trust::{self, Untrusted},
    unix_stream::UnixStream,
};

use api::containers_client::ContainersClient;

mod api {
    #![allow(missing_docs, unreachable_pub, clippy::all, clippy::pedantic)]
    tonic::include_proto!("containerd.services.containers.v1");
}

/// Where containerd listens unless its configuration says otherwise.
pub const DEFAULT_SOCKET: &str = "/run/containerd/containerd.sock";

/// The type that containerd gives a spec in a record. The value is JSON.
pub const SPEC_TYPE: &str = "types.containerd.io/opencontainers/runtime-spec/1/Spec";

/// containerd's namespace of everything that came through the CRI.
const NAMESPACE: &str = "k8s.io";

/// gRPC's usual limit of 4 MiB is for peers that are not trusted; a record
/// with a large environment may be bigger.
const LARGEST_RECORD: usize = 32 * 1024 * 1024;

/// How much of containerd's own words is shown, in bytes.
const WORDS_SHOWN: usize = 300;

/// Why the containers API was of no use. Each text names the socket.
#[derive(Debug, Error)]
pub enum ContainerdError {
    /// The socket's path cannot be used.
    #[error("{} is not usable as a socket's path", socket.display())]
    NotAPath {
        /// The path that was given.
        socket: PathBuf,
    },
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
        /// Which part of the path is wrong, and what to do; see [`Untrusted`].
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
    /// The OCI runtime spec; see [`SPEC_TYPE`].
    pub spec: Option<Any>,
    /// What containerd's clients keep with a record, the CRI its metadata.
    pub extensions: HashMap<String, Any>,
}

/// A client of the containers API. The connection is made at the first call
/// and again whenever it is lost, each time only if the socket is root's
/// alone (see [`trust`]). Cheap to clone.
#[derive(Debug, Clone)]
pub struct Containers {
    client: ContainersClient<Channel>,
    socket: PathBuf,
}

impl Containers {
    /// A client of the containerd that listens on `socket`. Nothing is
    /// connected yet; must be called inside a tokio runtime.
    ///
    /// # Errors
    /// [`ContainerdError::NotAPath`] when the socket's path is not UTF-8.
    pub fn new(socket: &Path) -> Result<Self, ContainerdError> {
        let not_a_path = || ContainerdError::NotAPath { socket: socket.to_owned() };
        let uri = format!("unix:{}", socket.to_str().ok_or_else(not_a_path)?);
        let endpoint = Endpoint::from_shared(uri).map_err(|_| not_a_path())?;
        let path = socket.to_owned();
        let channel = endpoint.connect_with_connector_lazy(tower::service_fn(move |_| connect(path.clone())));
        let client = ContainersClient::new(channel)
            .max_decoding_message_size(LARGEST_RECORD)
            .max_encoding_message_size(LARGEST_RECORD);
        Ok(Self { client, socket: socket.to_owned() })
    }

    /// The socket that this client talks to.
    #[must_use]
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// Reads the record of container or sandbox `id`, waiting at most `limit`.
    ///
    /// # Errors
    /// See [`ContainerdError`].
    pub async fn get(&self, id: &str, limit: Duration) -> Result<Record, ContainerdError> {
        let request = in_namespace(api::GetContainerRequest { id: id.to_owned() });
        let mut client = self.client.clone();
        let answer = self.within(limit, id, client.get(request)).await?;
        let record = answer.container.unwrap_or_default();
        Ok(Record { spec: record.spec, extensions: record.extensions })
    }

    /// Puts `spec` into the record of container `id`, waiting at most `limit`.
    /// Nothing else of the record is changed.
    ///
    /// # Errors
    /// See [`ContainerdError`]. After a time-out the change may still happen.
    pub async fn update_spec(&self, id: &str, spec: Any, limit: Duration) -> Result<(), ContainerdError> {
        let container = api::Container { id: id.to_owned(), spec: Some(spec), ..Default::default() };
        let request = in_namespace(api::UpdateContainerRequest {
            container: Some(container),
            update_mask: Some(FieldMask { paths: vec!["spec".to_owned()] }),
        });
        let mut client = self.client.clone();
        self.within(limit, id, client.update(request)).await?;
        Ok(())
    }

    async fn within<T>(
        &self,
        limit: Duration,
        id: &str,
        call: impl Future<Output = Result<tonic::Response<T>, Status>>,
    ) -> Result<T, ContainerdError> {
        match tokio::time::timeout(limit, call).await {
            Ok(Ok(answer)) => Ok(answer.into_inner()),
            Ok(Err(status)) => Err(self.error(id, &status)),
            Err(_) => Err(ContainerdError::TimedOut { socket: self.socket.clone(), limit }),
        }
    }

    fn error(&self, id: &str, status: &Status) -> ContainerdError {
        let socket = self.socket.clone();
        if let Some(reason) = sources(status).find_map(|source| source.downcast_ref::<Untrusted>()) {
            return ContainerdError::NotTrusted { reason: reason.to_string() };
        }
        match status.code() {
            Code::NotFound => ContainerdError::Unknown { socket, id: id.to_owned() },
            // What did not come from the other side has a source: it speaks no gRPC, or is gone.
            code if code == Code::Unavailable || status.source().is_some() => {
                ContainerdError::Unreachable { socket, reason: root_cause(status) }
            }
            code => ContainerdError::Refused { socket, code, message: shown(status.message()) },
        }
    }
}

/// A connection to root's own socket, which root listens on.
async fn connect(path: PathBuf) -> Result<TokioIo<UnixStream>, Box<dyn std::error::Error + Send + Sync>> {
    match trust::check(&path, trust::Kind::Socket) {
        // The system says what is wrong in its own words.
        Ok(()) | Err(Untrusted::Missing { .. }) => {}
        Err(untrusted) => return Err(untrusted.into()),
    }
    let stream = net::UnixStream::connect(&path).await?;
    trust::check_peer(&path, &stream)?;
    Ok(TokioIo::new(UnixStream::new(stream.into_std()?)?))
}

/// What lies behind a status, the cause of it last.
fn sources(status: &Status) -> impl Iterator<Item = &(dyn std::error::Error + 'static)> {
    std::iter::successors(status.source(), |&error| error.source())
}

/// tonic says "tcp connect error" of any socket; what helps is at the end of
/// the chain of sources ("No such file or directory").
fn root_cause(status: &Status) -> String {
    sources(status).last().map_or_else(|| shown(status.message()), |cause| shown(&cause.to_string()))
}

/// Words of the other side in a message of ours: a line break in them would forge a line of the log.
fn shown(words: &str) -> String {
    text::one_line(words, WORDS_SHOWN)
}

fn in_namespace<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.metadata_mut().insert("containerd-namespace", MetadataValue::from_static(NAMESPACE));
    request
}
