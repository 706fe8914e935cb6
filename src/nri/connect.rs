//! Connecting to a runtime's socket, and saying what is wrong with it.

use std::{
    io::{self, ErrorKind},
    os::unix::fs::FileTypeExt,
    path::Path,
};

use tokio::net;

use super::Error;
use crate::ownership::{self, Untrusted};
use crate::unix_stream::UnixStream;

/// Connects to the runtime; with `root_only`, only if nobody but root can be there.
///
/// # Errors
/// What a person has to know to mend it: see the variants of [`Error`].
pub(super) async fn connect(path: &Path, root_only: bool) -> Result<UnixStream, Error> {
    if root_only {
        match ownership::check(path, ownership::Kind::Socket) {
            Ok(()) => {}
            Err(Untrusted::Missing { .. }) => return Err(Error::SocketMissing { path: path.to_owned() }),
            Err(untrusted) => return Err(Error::NotTrusted(untrusted)),
        }
    }
    let stream = net::UnixStream::connect(path).await.map_err(|source| failed(path, source))?;
    if root_only {
        ownership::check_peer(path, &stream).map_err(Error::NotTrusted)?;
    }
    let adopted = stream.into_std().and_then(UnixStream::new);
    adopted.map_err(|source| Error::Connect { path: path.to_owned(), source })
}

fn failed(path: &Path, source: io::Error) -> Error {
    let path = path.to_owned();
    match source.kind() {
        ErrorKind::NotFound => Error::SocketMissing { path },
        ErrorKind::PermissionDenied => Error::Permission { path },
        // The same answer of the system for a socket without a listener and for a file that is none.
        ErrorKind::ConnectionRefused => {
            let is_socket = std::fs::metadata(&path).is_ok_and(|file| file.file_type().is_socket());
            if is_socket { Error::Refused { path } } else { Error::NotASocket { path } }
        }
        _ => Error::Connect { path, source },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn every_obstacle_has_its_own_words() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("nri.sock");
        let missing = connect(&path, false).await.unwrap_err();
        assert!(matches!(missing, Error::SocketMissing { .. }), "{missing}");
        let text = missing.to_string();
        for word in [path.to_str().unwrap(), "disable = false", "enable_nri = true", "not running"] {
            assert!(text.contains(word), "{text}");
        }

        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        let stale = connect(&path, false).await.unwrap_err();
        assert!(matches!(stale, Error::Refused { .. }), "{stale}");

        let file = dir.path().join("file");
        std::fs::write(&file, "").unwrap();
        for path in [file.as_path(), dir.path()] {
            let error = connect(path, false).await.unwrap_err();
            assert!(matches!(error, Error::NotASocket { .. }), "{error}");
        }

        let long = dir.path().join("x".repeat(200));
        let error = connect(&long, false).await.unwrap_err();
        assert!(matches!(error, Error::Connect { .. }), "{error}");
    }
}
