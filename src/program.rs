//! Runs a program for what it prints, without an event loop.

use std::{
    io::{self, Read},
    os::fd::AsFd,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use nix::{
    errno::Errno,
    poll::{PollFd, PollFlags, PollTimeout, poll},
};

/// The most that is read at once, in bytes.
const CHUNK: usize = 16 * 1024;

/// What `command` prints on standard output until it closes that, `largest` bytes at most: what comes later is left out.
/// It is killed then, whatever it still does.
///
/// # Errors
/// It cannot be run, or takes longer than `timeout`.
pub(crate) fn printed(command: &mut Command, timeout: Duration, largest: usize) -> io::Result<Vec<u8>> {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.spawn()?;
    let printed = match child.stdout.take() {
        Some(stdout) => read_in_time(stdout, timeout, largest),
        None => Ok(Vec::new()),
    };
    // It may hang, or go on printing.
    let _ = child.kill();
    child.wait()?;
    printed
}

fn read_in_time(mut from: impl Read + AsFd, timeout: Duration, largest: usize) -> io::Result<Vec<u8>> {
    let (deadline, mut printed) = (Instant::now() + timeout, Vec::new());
    let mut buffer = [0; CHUNK];
    while printed.len() < largest {
        let left = deadline.saturating_duration_since(Instant::now());
        let left = PollTimeout::try_from(left).unwrap_or(PollTimeout::ZERO);
        match poll(&mut [PollFd::new(from.as_fd(), PollFlags::POLLIN)], left) {
            Ok(0) => return Err(io::ErrorKind::TimedOut.into()),
            Ok(_) => {}
            Err(Errno::EINTR) => continue,
            Err(errno) => return Err(errno.into()),
        }
        match from.read(&mut buffer)? {
            0 => break,
            read => printed.extend_from_slice(buffer.get(..read).unwrap_or_default()),
        }
    }
    printed.truncate(largest);
    Ok(printed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str, timeout: Duration, largest: usize) -> io::Result<Vec<u8>> {
        printed(Command::new("/bin/sh").args(["-c", script]), timeout, largest)
    }

    #[test]
    fn printed_gives_what_a_program_says_whatever_its_exit_code() {
        let timeout = Duration::from_secs(60);
        assert_eq!(shell("printf one; printf two; exit 3", timeout, 100).unwrap(), b"onetwo");
        assert_eq!(shell("printf 123456; exec sleep 1000", timeout, 4).unwrap(), b"1234");
        assert_eq!(shell("exec cat /dev/zero", timeout, 100_000).unwrap(), vec![0; 100_000]);
        assert_eq!(shell("exit 0", timeout, 100).unwrap(), b"");
        assert!(printed(&mut Command::new("/nonexistent"), timeout, 1).is_err());
    }

    #[test]
    fn printed_gives_up_on_a_program_that_hangs() {
        let late = shell("exec sleep 1000", Duration::from_millis(10), 100).unwrap_err();
        assert_eq!(late.kind(), io::ErrorKind::TimedOut);
    }
}
