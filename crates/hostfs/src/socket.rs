//! UNIX sockets to listen on, which only root can connect to or replace.

use std::{
    fs::{self, Permissions},
    io,
    os::{
        fd::AsRawFd,
        unix::{
            fs::{FileTypeExt, PermissionsExt},
            net::UnixListener,
        },
    },
    path::{Path, PathBuf},
};

use nix::{
    errno::Errno,
    sys::socket::{AddressFamily, SockFlag, SockType, UnixAddr, connect, socket},
};
use thiserror::Error;

use crate::ownership::{self, Untrusted};

/// Why a socket cannot be listened on.
#[derive(Debug, Error)]
pub enum BindError {
    /// Others could put a socket of theirs there.
    #[error("the folder of the socket: {0}")]
    NotTrusted(#[from] Untrusted),
    /// Somebody listens there, or it is no socket.
    #[error("{} is in use", path.display())]
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

/// Listens at `path`, whose folder is made if it is missing. Takes the place of a socket on which nobody listens any more,
/// and of nothing else.
///
/// # Errors
/// See [`BindError`].
pub fn bind(path: &Path) -> Result<UnixListener, BindError> {
    let io = |source| BindError::Io { path: path.to_owned(), source };
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs::create_dir_all(folder).map_err(io)?;
    ownership::check(&std::path::absolute(folder).map_err(io)?, ownership::Kind::File)?;
    match fs::symlink_metadata(path) {
        Ok(file) if file.file_type().is_socket() && nobody_listens(path) => {
            fs::remove_file(path).map_err(io)?;
        }
        Ok(_) => return Err(BindError::InUse { path: path.to_owned() }),
        Err(_) => {}
    }
    let listener = UnixListener::bind(path).map_err(io)?;
    // Whoever may connect can do what root can. The folder is root's alone, so nobody was quicker.
    fs::set_permissions(path, Permissions::from_mode(0o600)).map_err(io)?;
    Ok(listener)
}

/// Whether the socket was left by a process that was killed (`unix(7)`, ECONNREFUSED).
fn nobody_listens(path: &Path) -> bool {
    // Not blocking: a process that is stopped may have a full queue.
    let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
    let socket = socket(AddressFamily::Unix, SockType::Stream, flags, None);
    let connected = socket.and_then(|socket| connect(socket.as_raw_fd(), &UnixAddr::new(path)?));
    connected == Err(Errno::ECONNREFUSED)
}

#[cfg(test)]
mod tests {
    use nix::sys::socket::{Backlog, listen};

    use super::*;

    #[test]
    #[ignore = "needs root"]
    fn left_socket_is_replaced_and_one_in_use_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("cri.sock");
        drop(bind(&path).unwrap());
        let listener = bind(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(matches!(bind(&path), Err(BindError::InUse { .. })));
        drop(listener);
        fs::remove_file(&path).unwrap();
        fs::write(&path, "").unwrap();
        assert!(matches!(bind(&path), Err(BindError::InUse { .. })), "a plain file stays");
    }

    /// A blocking `connect(2)` would wait here for ever.
    #[test]
    #[ignore = "needs root"]
    fn socket_with_a_full_queue_is_in_use() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("cri.sock");
        let nobody_accepts = bind(&path).unwrap();
        listen(&nobody_accepts, Backlog::new(1).unwrap()).unwrap();
        let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
        let address = UnixAddr::new(&path).unwrap();
        let mut waiting = Vec::new();
        loop {
            let client = socket(AddressFamily::Unix, SockType::Stream, flags, None).unwrap();
            if connect(client.as_raw_fd(), &address) == Err(Errno::EAGAIN) {
                break;
            }
            waiting.push(client);
        }
        assert!(!waiting.is_empty());
        assert!(matches!(bind(&path), Err(BindError::InUse { .. })));
    }

    #[test]
    fn folder_that_others_can_write_to_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        fs::set_permissions(dir.path(), Permissions::from_mode(0o777)).unwrap();
        assert!(matches!(bind(&dir.path().join("cri.sock")), Err(BindError::NotTrusted(_))));
    }
}
