//! The identity that the kernel gives a process: `/proc/PID/status`, read
//! through the process's own GID map.
//!
//! `/proc` shows host ids. A pod in a user namespace has ids of its own, and
//! everything else in this crate speaks of those (OCI runtime spec,
//! `process.user`; CRI, `LinuxContainerSecurityContext`), so the host ids are
//! translated back by `gid_map` (`user_namespaces(7)`).

use std::{
    fs::File,
    io::{self, Read},
    os::fd::OwnedFd,
};

use nix::{
    fcntl::{AtFlags, OFlag, open, openat},
    sys::stat::{Mode, fstatat, stat},
};
use thiserror::Error;

use strict_groups_core::groups;

/// More than the files below `/proc/PID` have: 65,536 groups (`NGROUPS_MAX`) of eleven characters each.
const LARGEST: u64 = 1024 * 1024;

/// User and groups of one process, in the ids of its own user namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// Effective user id.
    pub uid: u32,
    /// Real, effective, saved and file system group id.
    pub gids: [u32; 4],
    /// Supplementary group ids, in the kernel's (ascending host) order.
    pub groups: Vec<u32>,
    /// The host ids among all of these groups that the process's user namespace has no id for. They stand unchanged in
    /// the other fields, where they can look like an id of the container.
    pub unmapped: Vec<u32>,
}

impl Identity {
    /// Effective group id.
    #[must_use]
    pub fn gid(&self) -> u32 {
        let [_, effective, _, _] = self.gids;
        effective
    }

    /// The groups that it holds, primary ones included, and that are not `allowed`: each once, in ascending order.
    #[must_use]
    pub fn beyond(&self, allowed: impl IntoIterator<Item = u32>) -> Vec<u32> {
        let held = self.gids.iter().chain(&self.groups).copied();
        // What has no id in the user namespace stands there with the host's, and may look like an allowed one.
        groups::excess(groups::excess(held, allowed).into_iter().chain(self.unmapped.iter().copied()), [])
    }
}

/// Why a process's identity was not known.
#[derive(Debug, Error)]
pub enum IdentityError {
    /// The process has ended, which is no fault of anybody.
    #[error("process {pid} has ended")]
    Gone {
        /// The process id that was asked for.
        pid: u32,
    },
    /// `/proc` could not be read.
    #[error("cannot read /proc/{pid}")]
    Io {
        /// The process id that was asked for.
        pid: u32,
        /// What the kernel answered.
        source: io::Error,
    },
    /// `/proc` said something that this crate does not understand.
    #[error("/proc/{pid}/{file} has no usable {field}")]
    Unknown {
        /// The process id that was asked for.
        pid: u32,
        /// The file below `/proc/PID`.
        file: &'static str,
        /// The line that is missing or odd.
        field: &'static str,
    },
}

/// Reads the identity of process `pid` (as seen in our own PID namespace).
///
/// # Errors
/// [`IdentityError::Gone`] when there is no such process (any more), the
/// others when `/proc` cannot be read or understood.
pub fn of_process(pid: u32) -> Result<Identity, IdentityError> {
    Ok(with_status(pid)?.0)
}

/// The same, and the whole text of `/proc/PID/status` that it was read from.
///
/// # Errors
/// As [`of_process`].
pub fn with_status(pid: u32) -> Result<(Identity, String), IdentityError> {
    // One directory descriptor for both files: it stays tied to this process,
    // so a pid that is used again cannot mix two processes' answers.
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let proc = open(format!("/proc/{pid}").as_str(), flags, Mode::empty())
        .map_err(|errno| from_errno(pid, errno))?;
    let read = |name: &'static str| -> Result<String, IdentityError> {
        let file = openat(&proc, name, OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty())
            .map_err(|errno| from_errno(pid, errno))?;
        // The size that /proc tells is 0, from which a reader would start with tiny steps. `take` does not ask for it.
        let mut text = String::with_capacity(4096);
        File::from(file).take(LARGEST).read_to_string(&mut text).map_err(|source| from_io(pid, source))?;
        Ok(text)
    };
    let status = read("status")?;
    let mut uid_map = IdMap::parse(&read("uid_map")?).ok_or(unknown(pid, "uid_map", "mapping"))?;
    let mut gid_map = IdMap::parse(&read("gid_map")?).ok_or(unknown(pid, "gid_map", "mapping"))?;
    if !(uid_map.is_identity() && gid_map.is_identity()) && is_in_our_namespace(&proc) {
        (uid_map, gid_map) = (IdMap::identity(), IdMap::identity());
    }
    let [_, uid, _, _] = four(&status, "Uid:").ok_or(unknown(pid, "status", "Uid line"))?;
    let gids = four(&status, "Gid:").ok_or(unknown(pid, "status", "Gid line"))?;
    let groups = numbers(&status, "Groups:").ok_or(unknown(pid, "status", "Groups line"))?;
    let mut unmapped = Vec::new();
    let mut inside = |host: u32| {
        gid_map.inside(host).unwrap_or_else(|| {
            unmapped.push(host);
            host
        })
    };
    let (gids, groups) = (gids.map(&mut inside), groups.into_iter().map(&mut inside).collect());
    Ok((Identity { uid: uid_map.inside(uid).unwrap_or(uid), gids, groups, unmapped }, status))
}

/// A `uid_map` or `gid_map` as read from outside: ranges of inside id, host id
/// and length.
#[derive(Debug)]
struct IdMap(Vec<(u32, u32, u32)>);

impl IdMap {
    /// That of the machine's own user namespace.
    fn identity() -> Self {
        Self(vec![(0, 0, u32::MAX)])
    }

    fn is_identity(&self) -> bool {
        self.0 == [(0, 0, u32::MAX)]
    }

    fn parse(text: &str) -> Option<Self> {
        text.lines()
            .map(|line| {
                let mut numbers = line.split_ascii_whitespace().map(str::parse::<u32>);
                match (numbers.next(), numbers.next(), numbers.next()) {
                    (Some(Ok(inside)), Some(Ok(host)), Some(Ok(length))) => Some((inside, host, length)),
                    _ => None,
                }
            })
            .collect::<Option<Vec<_>>>()
            .map(Self)
    }

    /// The id inside; None: it is not mapped.
    fn inside(&self, host: u32) -> Option<u32> {
        self.0.iter().find_map(|&(inside, start, length)| {
            let offset = host.checked_sub(start).filter(|offset| *offset < length)?;
            inside.checked_add(offset)
        })
    }
}

/// Whether the process with this folder of `/proc` is in our own user namespace, as on a node that itself runs in one.
/// Then `status` has our own ids already, while the maps name those of the parent namespace (`user_namespaces(7)`).
fn is_in_our_namespace(proc: &OwnedFd) -> bool {
    let theirs = fstatat(proc, "ns/user", AtFlags::empty());
    let ours = stat("/proc/self/ns/user");
    matches!((theirs, ours), (Ok(theirs), Ok(ours)) if (theirs.st_dev, theirs.st_ino) == (ours.st_dev, ours.st_ino))
}

/// The ids of a `Uid:` or `Gid:` line: real, effective, saved, file system.
fn four(status: &str, key: &str) -> Option<[u32; 4]> {
    numbers(status, key)?.try_into().ok()
}

fn numbers(status: &str, key: &str) -> Option<Vec<u32>> {
    let line = status.lines().find_map(|line| line.strip_prefix(key))?;
    line.split_ascii_whitespace().map(|number| number.parse().ok()).collect()
}

fn unknown(pid: u32, file: &'static str, field: &'static str) -> IdentityError {
    IdentityError::Unknown { pid, file, field }
}

fn from_errno(pid: u32, errno: nix::errno::Errno) -> IdentityError {
    from_io(pid, io::Error::from(errno))
}

/// A process that ends while it is looked at shows as ENOENT (no directory)
/// or ESRCH (directory open, process gone).
fn from_io(pid: u32, source: io::Error) -> IdentityError {
    const ESRCH: i32 = nix::libc::ESRCH;
    if source.kind() == io::ErrorKind::NotFound || source.raw_os_error() == Some(ESRCH) {
        IdentityError::Gone { pid }
    } else {
        IdentityError::Io { pid, source }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_own_identity_is_what_the_kernel_says() {
        let own = of_process(std::process::id()).unwrap();
        assert_eq!(own.uid, nix::unistd::geteuid().as_raw());
        assert_eq!(own.gid(), nix::unistd::getegid().as_raw());
        let mut groups: Vec<u32> =
            nix::unistd::getgroups().unwrap().into_iter().map(nix::unistd::Gid::as_raw).collect();
        groups.sort_unstable();
        assert_eq!(own.groups, groups);
        assert_eq!(own.unmapped, [] as [u32; 0]);
    }

    #[test]
    fn process_of_our_own_user_namespace_has_its_ids_already() {
        let command = |program: &std::ffi::OsStr| {
            let mut command = std::process::Command::new("unshare");
            command.args(["--user", "--map-user=1234", "--map-group=1234"]).arg(program);
            command
        };
        if !command("true".as_ref()).status().is_ok_and(|status| status.success()) {
            return;
        }
        let mut again = command(std::env::current_exe().unwrap().as_os_str());
        let test = "identity::tests::our_own_identity_is_what_the_kernel_says";
        let output = again.args(["--exact", test]).output().unwrap();
        assert!(output.status.success() && String::from_utf8_lossy(&output.stdout).contains("1 passed"));
    }

    #[test]
    fn process_that_ended_is_gone_not_broken() {
        let mut child = std::process::Command::new("/bin/true").spawn().unwrap();
        let pid = child.id();
        child.wait().unwrap();
        assert!(matches!(of_process(pid), Err(IdentityError::Gone { .. })));
    }

    #[test]
    fn host_ids_are_translated_to_the_containers_own() {
        let map =
            IdMap::parse("         0     100000      65536\n     70000     500000          1\n").unwrap();
        assert_eq!(map.inside(103_000), Some(3000));
        assert_eq!(map.inside(100_000), Some(0));
        assert_eq!(map.inside(165_535), Some(65535));
        assert_eq!(map.inside(500_000), Some(70000));
        assert_eq!(map.inside(165_536), None);
        assert_eq!(map.inside(3000), None);
        let host = IdMap::parse("         0          0 4294967295\n").unwrap();
        assert_eq!(host.inside(4_294_967_294), Some(4_294_967_294));
    }

    #[test]
    fn odd_lines_are_not_guessed_at() {
        assert!(IdMap::parse("0 x 1\n").is_none());
        assert!(IdMap::parse("0 1\n").is_none());
        assert_eq!(numbers("Name:\tx\nGroups:\t\n", "Groups:"), Some(vec![]));
        assert_eq!(numbers("Groups:\t1 2 \n", "Groups:"), Some(vec![1, 2]));
        assert_eq!(numbers("Groups:\t1 -2\n", "Groups:"), None);
        assert_eq!(numbers("Name:\tx\n", "Groups:"), None);
        assert_eq!(four("Gid:\t1\t2\t3\t4\n", "Gid:"), Some([1, 2, 3, 4]));
        assert_eq!(four("Gid:\t1\n", "Gid:"), None);
    }

    #[test]
    fn what_is_not_allowed_shows_wherever_it_stands() {
        let process = |gid, groups: &[u32], unmapped: &[u32]| Identity {
            uid: 1000,
            gids: [gid; 4],
            groups: groups.to_vec(),
            unmapped: unmapped.to_vec(),
        };
        for (process, allowed, extra) in [
            (process(3000, &[3000, 4000], &[]), vec![3000, 4000], vec![]),
            (process(3000, &[3000], &[]), vec![4000, 3000], vec![]),
            (process(3000, &[50000, 3000, 4000], &[]), vec![3000, 4000], vec![50000]),
            (process(50000, &[3000], &[]), vec![3000], vec![50000]),
            (process(3000, &[4000], &[4000]), vec![3000, 4000], vec![4000]),
        ] {
            assert_eq!(process.beyond(allowed.clone()), extra, "{process:?} {allowed:?}");
        }
    }
}
