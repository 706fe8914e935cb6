//! Taking over the connected socket that a runtime leaves to a plugin it launched.

use std::{
    fs,
    os::{
        fd::{FromRawFd, OwnedFd, RawFd},
        unix::{fs::FileTypeExt, net::UnixStream},
    },
    sync::Mutex,
};

use nix::fcntl::{FcntlArg, FdFlag, fcntl};

use super::Error;

/// The descriptors taken so far: each has one owner.
static TAKEN: Mutex<Vec<RawFd>> = Mutex::new(Vec::new());

/// The socket whose descriptor is `value`, the text of `NRI_PLUGIN_SOCKET`. It is closed on exec from now on:
/// the plugin's own children must not hold the connection open.
pub(super) fn take(value: &str) -> Result<UnixStream, Error> {
    let refuse = |reason| Error::Descriptor { value: value.chars().take(32).collect(), reason };

    let fd: RawFd = value.parse().map_err(|_| refuse("not the number of a descriptor"))?;
    if fd <= 2 {
        return Err(refuse("0, 1 and 2 are the standard streams"));
    }
    // Follows the link to the open file itself, so it is known to be open, and a socket, before it is taken.
    let file =
        fs::metadata(format!("/proc/self/fd/{fd}")).map_err(|_| refuse("no such descriptor is open"))?;
    if !file.file_type().is_socket() {
        return Err(refuse("not a socket"));
    }
    let mut taken = TAKEN.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    if taken.contains(&fd) {
        return Err(refuse("already taken"));
    }
    taken.push(fd);
    // SAFETY: the descriptor is open (checked above). It was inherited for this very use, nothing else in the
    // process owns it, and TAKEN makes sure that it is wrapped once.
    #[allow(unsafe_code)]
    let owned = unsafe { OwnedFd::from_raw_fd(fd) };

    fcntl(&owned, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC)).map_err(|_| refuse("cannot be set up"))?;
    let stream = UnixStream::from(owned);
    // Fails for a socket of another family.
    stream.peer_addr().map_err(|_| refuse("not a connected UNIX socket"))?;
    Ok(stream)
}

#[cfg(test)]
mod tests {
    use std::os::fd::{AsRawFd, IntoRawFd};

    use super::*;

    fn reason(value: &str) -> String {
        take(value).unwrap_err().to_string()
    }

    #[test]
    fn only_an_open_socket_is_taken() {
        assert!(reason("three").contains("not the number"));
        assert!(reason("").contains("not the number"));
        assert!(reason("-1").contains("standard streams"));
        assert!(reason("1").contains("standard streams"));
        assert!(reason("100000").contains("no such descriptor"));
        let file = fs::File::open("/proc/self/status").unwrap();
        assert!(reason(&file.as_raw_fd().to_string()).contains("not a socket"));
    }

    #[test]
    fn unix_socket_is_taken_once_and_not_left_to_children() {
        use std::io::{Read, Write};
        let (mut theirs, ours) = UnixStream::pair().unwrap();
        let fd = ours.into_raw_fd();
        let mut ours = take(&fd.to_string()).unwrap();
        theirs.write_all(b"x").unwrap();
        let mut byte = [0];
        ours.read_exact(&mut byte).unwrap();
        let flags = FdFlag::from_bits_retain(fcntl(&ours, FcntlArg::F_GETFD).unwrap());
        assert!(flags.contains(FdFlag::FD_CLOEXEC));
        assert!(reason(&fd.to_string()).contains("already taken"));

        // In the same test, while the number above is in use: a number is refused for good once it was taken.
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        assert!(reason(&listener.into_raw_fd().to_string()).contains("UNIX socket"));
    }
}
