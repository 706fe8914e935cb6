//! The socket that the kubelet is pointed at: systemd's, or one of our own.

use std::{io, path::Path};

use hostfs::socket::{self, BindError};
use thiserror::Error;
use tokio::net::UnixListener;

/// Why there is nothing to listen on.
#[derive(Debug, Error)]
pub enum ListenError {
    /// systemd handed over something else.
    #[error(
        "what systemd handed over is no listening UNIX socket ({0}); see ListenStream= of the socket unit"
    )]
    Inherited(#[source] io::Error),
    /// There is none of our own.
    #[error("{}{}", .0, hint(.0))]
    Bind(BindError),
}

impl From<BindError> for ListenError {
    fn from(error: BindError) -> Self {
        Self::Bind(error)
    }
}

fn hint(error: &BindError) -> &'static str {
    match error {
        BindError::InUse { .. } => "; is another proxy running, or is this the runtime's own socket?",
        BindError::NotTrusted(_) | BindError::Io { .. } => "",
    }
}

/// The socket that systemd handed over, else a new one at `path`.
///
/// # Errors
/// See [`ListenError`].
pub(super) fn listen(path: &Path) -> Result<UnixListener, ListenError> {
    let mut inherited = listenfd::ListenFd::from_env();
    let listener = match inherited.take_unix_listener(0).map_err(ListenError::Inherited)? {
        Some(listener) => listener,
        None => socket::bind(path)?,
    };
    let io = |source| BindError::Io { path: path.to_owned(), source };
    listener.set_nonblocking(true).map_err(io)?;
    Ok(UnixListener::from_std(listener).map_err(io)?)
}
