//! Runs a program for what it prints, without an event loop.

use std::{
    io::{self, Read},
    os::fd::AsFd,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use nix::{
    errno::Errno,
    poll::{PollFd, PollFlags, PollTimeout, poll},
    unistd::{AccessFlags, access},
};

/// The most that is read at once, in bytes.
const CHUNK: usize = 16 * 1024;

/// The program `name`: itself where it is a path, else the first file of that name in one of `folders` that can be run
/// (`execvp(3)`). `seen` is where a path is to be looked at.
pub fn find(
    name: &Path,
    folders: impl IntoIterator<Item = PathBuf>,
    seen: impl Fn(&Path) -> PathBuf,
) -> Option<PathBuf> {
    if name.components().count() > 1 || name.has_root() {
        return Some(name.to_owned());
    }
    let can_run = |path: &Path| path.is_file() && access(path, AccessFlags::X_OK).is_ok();
    let mut paths = folders.into_iter().map(|folder| folder.join(name));
    paths.find(|program| program.is_absolute() && can_run(&seen(program)))
}

/// What `command` prints on standard output until it closes that, `largest` bytes at most: what comes later is left out.
/// It is killed then, whatever it still does.
///
/// # Errors
/// It cannot be run, or takes longer than `timeout`.
pub fn printed(command: &mut Command, timeout: Duration, largest: usize) -> io::Result<Vec<u8>> {
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
    fn program_is_the_first_that_can_be_run() {
        let dir = tempfile::tempdir().unwrap();
        let folders = || ["/nonexistent".into(), dir.path().join("a"), dir.path().join("b")];
        for (folder, mode) in [("a", 0o644), ("b", 0o755)] {
            let file = dir.path().join(folder).join("runc");
            std::fs::create_dir(dir.path().join(folder)).unwrap();
            std::fs::write(&file, "").unwrap();
            std::fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(mode)).unwrap();
        }
        let found = |name: &str| find(Path::new(name), folders(), Path::to_owned);
        assert_eq!(found("runc"), Some(dir.path().join("b/runc")));
        assert_eq!(found("other"), None);
        assert_eq!(found("/x/runc"), Some("/x/runc".into()));
        // It counts what is seen there.
        assert_eq!(find(Path::new("runc"), folders(), |_| "/nonexistent".into()), None);
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
