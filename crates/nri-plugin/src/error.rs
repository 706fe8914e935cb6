//! What can go wrong between a plugin and its runtime.

use std::{io, path::PathBuf, time::Duration};

use super::status::Status;

/// What a [`Plugin`](super::Plugin) may answer instead of a result. Its text reaches the user of the runtime.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Why a plugin is not connected (any more).
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Nothing is at the socket's path.
    #[error(
        "there is no NRI socket at {}: the runtime is not running, or NRI is off in its configuration \
         (containerd 1.7: `disable = false` under [plugins.\"io.containerd.nri.v1.nri\"]; \
         CRI-O: `enable_nri = true` under [crio.nri])",
        path.display()
    )]
    SocketMissing {
        /// Where the socket was looked for.
        path: PathBuf,
    },
    /// Something is at the socket's path, and it is no socket.
    #[error("{} is not a socket: name the runtime's NRI socket", path.display())]
    NotASocket {
        /// Where the socket was looked for.
        path: PathBuf,
    },
    /// The socket is there and nobody listens: it was left behind by a runtime that is gone.
    #[error("nobody listens on the NRI socket {}: the runtime is not running", path.display())]
    Refused {
        /// The stale socket.
        path: PathBuf,
    },
    /// The socket is there and may not be opened.
    #[error("no permission to connect to the NRI socket {}: plugins run as root", path.display())]
    Permission {
        /// The socket.
        path: PathBuf,
    },
    /// The plugin's own way to connect rejected the socket; only with
    /// [`Options::connect_by`](super::Options::connect_by).
    #[error("NRI socket: {0}")]
    Rejected(#[source] BoxError),
    /// Connecting failed in another way.
    #[error("cannot connect to the NRI socket {}", path.display())]
    Connect {
        /// The socket.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The connection that the runtime handed to this process cannot be used.
    #[error("NRI_PLUGIN_SOCKET={value}: {reason}")]
    Descriptor {
        /// What the environment said, cut short.
        value: String,
        /// Why that is no use.
        reason: &'static str,
    },
    /// A plugin's name or index that no runtime would accept.
    #[error("{value:?} is no valid plugin {what}: {rule}")]
    Identity {
        /// `name` or `index`.
        what: &'static str,
        /// What was given, cut short.
        value: String,
        /// What is accepted.
        rule: &'static str,
    },
    /// The runtime refused `RegisterPlugin`.
    #[error("the runtime refused to register the plugin: {0}")]
    RegistrationRefused(Status),
    /// `RegisterPlugin` or Configure did not come about in time.
    #[error("the runtime did not finish the registration within {0:?}")]
    RegistrationTimeout(Duration),
    /// Synchronize was answered with an error, or so late that the runtime may have given up. It goes on without the
    /// plugin then, and up to NRI 0.6 leaves it connected.
    #[error(
        "the runtime may have gone on without the plugin, whose answer to Synchronize was late or an error"
    )]
    NotTaken,
    /// The runtime accepted the plugin and gave up before, while or after it told it what runs: the plugin is not in
    /// service. Its state may be more than NRI can carry: 16 MiB in one message up to NRI 0.6, and a container that
    /// does not fit into 4 MiB since.
    #[error("Synchronize, by which the runtime tells what runs, came to nothing")]
    NotSynchronized(#[source] Box<Error>),
    /// The runtime broke the protocol; the connection was closed.
    #[error("the runtime broke the protocol")]
    Protocol(#[from] ProtocolError),
    /// The runtime closed the connection.
    #[error("the runtime closed the connection")]
    Closed,
    /// Reading from or writing to the runtime failed.
    #[error("the connection to the runtime failed")]
    Io(#[from] io::Error),
    /// The one connection that the runtime handed to this process is over. The runtime starts the plugin anew.
    #[error("the connection inherited from the runtime is over")]
    InheritedLost(#[source] Box<Error>),
}

impl Error {
    /// Whether the same may work later. [`run`](super::run()) tries again after these, and returns the others.
    #[must_use]
    pub fn retry_helps(&self) -> bool {
        !matches!(self, Self::Descriptor { .. } | Self::Identity { .. } | Self::InheritedLost(_))
    }
}

/// What a runtime sent that NRI does not allow.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProtocolError {
    /// A frame for a connection other than Plugin (1) and Runtime (2).
    #[error("frame for the unknown connection {0}")]
    UnknownConnection(u32),
    /// A frame that announces more than the largest payload of any NRI release.
    #[error("frame of {0} bytes")]
    FrameTooLarge(u32),
    /// A ttrpc message that announces more than is accepted.
    #[error("message of {0} bytes")]
    MessageTooLarge(u32),
    /// A ttrpc message of a type that has no place on its connection.
    #[error("message of type {kind} on connection {connection}")]
    MessageType {
        /// The type byte of the header.
        kind: u8,
        /// The connection it came on.
        connection: u32,
    },
    /// A request whose stream id is even: those are not the caller's to use.
    #[error("request on the even stream {0}")]
    EvenStream(u32),
    /// A response that cannot be decoded.
    #[error("undecodable response on stream {0}")]
    Response(u32),
    /// The parts of a Synchronize add up to more than is accepted.
    #[error("Synchronize of more than {0} bytes")]
    SynchronizeTooLarge(usize),
    /// The connection ended within a frame or a message.
    #[error("the connection ended in the middle of a message")]
    Cut,
}

/// Why a call to the runtime brought no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CallError {
    /// The runtime answered with an error.
    #[error("the runtime refused: {0}")]
    Refused(Status),
    /// No answer came in time.
    #[error("the runtime did not answer within {0:?}")]
    Timeout(Duration),
    /// The request is larger than a runtime accepts.
    #[error("a request of {0} bytes is more than a runtime accepts")]
    TooLarge(usize),
    /// The answer could not be decoded.
    #[error("the runtime's answer cannot be decoded")]
    Undecodable,
    /// The connection that this handle belongs to is over.
    #[error("the connection to the runtime is over")]
    Disconnected,
}
