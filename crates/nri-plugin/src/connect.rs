//! Connecting to a runtime's socket, and saying what is wrong with it.

use std::{
    future::Future,
    io::{self, ErrorKind},
    os::unix::fs::FileTypeExt,
    path::Path,
    pin::Pin,
};

use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::UnixStream,
};

use super::{BoxError, Error};

/// A connection to a runtime: `tokio::net::UnixStream`, or a plugin's own kind.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// A connection that is being made by [`Options::connect_by`](super::Options::connect_by).
pub type Connecting<'a> = Pin<Box<dyn Future<Output = Result<Box<dyn Stream>, BoxError>> + Send + 'a>>;

/// A plugin's own way to connect.
pub(super) type Connector = Box<dyn Fn(&Path) -> Connecting<'_> + Send + Sync>;

/// Connects to the runtime at `path`, in the plugin's own way if it has one.
///
/// # Errors
/// What a person has to know to mend it: see the variants of [`Error`].
pub(super) async fn connect(path: &Path, connector: Option<&Connector>) -> Result<Box<dyn Stream>, Error> {
    let Some(connector) = connector else {
        let stream = UnixStream::connect(path).await.map_err(|source| failed(path, source))?;
        return Ok(Box::new(stream));
    };
    connector(path).await.map_err(|error| match error.downcast::<io::Error>() {
        Ok(source) => failed(path, *source),
        Err(error) => Error::Rejected(error),
    })
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
        let missing = connect(&path, None).await.err().unwrap();
        assert!(matches!(missing, Error::SocketMissing { .. }), "{missing}");
        let text = missing.to_string();
        for word in [path.to_str().unwrap(), "disable = false", "enable_nri = true", "not running"] {
            assert!(text.contains(word), "{text}");
        }

        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        let stale = connect(&path, None).await.err().unwrap();
        assert!(matches!(stale, Error::Refused { .. }), "{stale}");

        let file = dir.path().join("file");
        std::fs::write(&file, "").unwrap();
        for path in [file.as_path(), dir.path()] {
            let error = connect(path, None).await.err().unwrap();
            assert!(matches!(error, Error::NotASocket { .. }), "{error}");
        }

        let long = dir.path().join("x".repeat(200));
        let error = connect(&long, None).await.err().unwrap();
        assert!(matches!(error, Error::Connect { .. }), "{error}");
    }

    #[tokio::test]
    async fn plugins_own_way_to_connect_names_its_reason() {
        let rejecting: Connector = Box::new(|_| Box::pin(async { Err("it is not root's".into()) }));
        let error = connect(Path::new("/x"), Some(&rejecting)).await.err().unwrap();
        assert_eq!(error.to_string(), "NRI socket: it is not root's");
        assert!(error.retry_helps());

        let missing: Connector =
            Box::new(|_| Box::pin(async { Err(io::Error::from(ErrorKind::NotFound).into()) }));
        let error = connect(Path::new("/x"), Some(&missing)).await.err().unwrap();
        assert!(matches!(error, Error::SocketMissing { .. }), "{error}");
    }
}
