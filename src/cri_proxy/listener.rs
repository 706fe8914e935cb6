//! The socket that the kubelet is pointed at: systemd's, or one of our own.

use std::{
    fs, io,
    os::unix::{fs::FileTypeExt, fs::PermissionsExt, net::UnixListener as StdListener},
    path::{Path, PathBuf},
};

use thiserror::Error;
use tokio::net::UnixListener;

use hostfs::ownership::{self, Untrusted};

/// Why there is nothing to listen on.
#[derive(Debug, Error)]
pub enum ListenError {
    /// systemd handed over something else.
    #[error(
        "what systemd handed over is no listening UNIX socket ({0}); see ListenStream= of the socket unit"
    )]
    Inherited(#[source] io::Error),
    /// Others could put a socket of theirs there.
    #[error("the folder of the socket: {0}")]
    NotTrusted(#[from] Untrusted),
    /// Somebody listens there, or it is no socket.
    #[error("{} is in use; is another proxy running, or is this the runtime's own socket?", path.display())]
    InUse {
        /// The socket.
        path: PathBuf,
    },
    /// The system refused.
    #[error("cannot listen on {} ({source})", path.display())]
    Io {
        /// The socket.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// The socket that systemd handed over, else a new one at `path`.
///
/// # Errors
/// See [`ListenError`].
pub(super) fn listen(path: &Path) -> Result<UnixListener, ListenError> {
    let mut inherited = listenfd::ListenFd::from_env();
    let listener = match inherited.take_unix_listener(0).map_err(ListenError::Inherited)? {
        Some(listener) => listener,
        None => bind(path)?,
    };
    let io = |source| ListenError::Io { path: path.to_owned(), source };
    listener.set_nonblocking(true).map_err(io)?;
    UnixListener::from_std(listener).map_err(io)
}

fn bind(path: &Path) -> Result<StdListener, ListenError> {
    let io = |source| ListenError::Io { path: path.to_owned(), source };
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs::create_dir_all(folder).map_err(io)?;
    ownership::check(&std::path::absolute(folder).map_err(io)?, ownership::Kind::File)?;
    match fs::symlink_metadata(path) {
        // One that nobody listens on was left by a proxy that was killed.
        Ok(file)
            if file.file_type().is_socket() && std::os::unix::net::UnixStream::connect(path).is_err() =>
        {
            fs::remove_file(path).map_err(io)?;
        }
        Ok(_) => return Err(ListenError::InUse { path: path.to_owned() }),
        Err(_) => {}
    }
    let listener = StdListener::bind(path).map_err(io)?;
    // Whoever may connect can do what root can. The folder is root's alone, so nobody was quicker.
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).map_err(io)?;
    Ok(listener)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_that_was_left_is_replaced_and_one_in_use_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("cri.sock");
        drop(bind(&path).unwrap());
        let listener = bind(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(matches!(bind(&path), Err(ListenError::InUse { .. })));
        drop(listener);
        fs::remove_file(&path).unwrap();
        fs::write(&path, "").unwrap();
        assert!(matches!(bind(&path), Err(ListenError::InUse { .. })), "a plain file stays");
    }

    #[test]
    fn a_folder_that_others_can_write_to_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o777)).unwrap();
        assert!(matches!(bind(&dir.path().join("cri.sock")), Err(ListenError::NotTrusted(_))));
    }
}
