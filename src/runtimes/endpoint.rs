//! Which runtime to ask.

use std::path::{Path, PathBuf};

use thiserror::Error;

use crate::runtimes::containerd;
use strict_groups_core::text;

/// Where CRI-O listens unless its configuration says otherwise.
pub const CRIO_SOCKET: &str = "/run/crio/crio.sock";

/// An endpoint that is not the path of a UNIX socket.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum EndpointError {
    /// It is of another kind.
    #[error("{} is not a runtime's socket; write unix:///path or /path", text::quoted(.endpoint, 256))]
    Kind {
        /// As it was given.
        endpoint: String,
    },
    /// None was given, and there is none at the usual places.
    #[error(
        "there is no {} and no {CRIO_SOCKET}; name the runtime's socket with --runtime-endpoint",
        containerd::DEFAULT_SOCKET
    )]
    NotFound,
}

/// The socket of the endpoint that the command line has, in crictl's form or as a path.
///
/// # Errors
/// It is relative, or of another kind.
pub fn named(endpoint: &str) -> Result<PathBuf, EndpointError> {
    let path = Path::new(endpoint.strip_prefix("unix://").unwrap_or(endpoint));
    if path.is_absolute() {
        Ok(path.to_owned())
    } else {
        Err(EndpointError::Kind { endpoint: endpoint.to_owned() })
    }
}

/// The first of the usual sockets that `exists`.
///
/// # Errors
/// There is none.
pub fn usual(exists: impl Fn(&Path) -> bool) -> Result<PathBuf, EndpointError> {
    [containerd::DEFAULT_SOCKET, CRIO_SOCKET]
        .into_iter()
        .map(PathBuf::from)
        .find(|path| exists(path))
        .ok_or(EndpointError::NotFound)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_with_and_without_a_scheme() {
        for endpoint in ["/run/x.sock", "unix:///run/x.sock"] {
            assert_eq!(named(endpoint), Ok(PathBuf::from("/run/x.sock")));
        }
        for endpoint in ["", "x.sock", "unix://x.sock", "tcp://127.0.0.1:1", "unix:/run/x.sock", "npipe:///x"]
        {
            assert_eq!(named(endpoint), Err(EndpointError::Kind { endpoint: endpoint.to_owned() }));
        }
    }

    #[test]
    fn containerd_comes_first() {
        assert_eq!(usual(|_| true), Ok(PathBuf::from("/run/containerd/containerd.sock")));
        assert_eq!(usual(|path| path.ends_with("crio.sock")), Ok(PathBuf::from("/run/crio/crio.sock")));
        assert_eq!(usual(|_| false), Err(EndpointError::NotFound));
    }
}
