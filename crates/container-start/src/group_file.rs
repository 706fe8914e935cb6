//! The `/etc/group` that an OCI runtime opens which looks groups up by name ([`crate::oci_runtime`]).
//!
//! Such a runtime opens the path as the container's first process, after we have looked. So the file only counts where
//! nobody but the container itself can change it, or what the path leads to: a regular file on the root file system's
//! own mount, reached through directories and links of that mount. A volume, `/dev/shm` and `/proc` are other mounts;
//! a magic link (`proc(5)`) is on one. CRI-O may mount a file of its own there, `<bundle>/group`, which root made.

use std::{
    collections::VecDeque,
    fs::File,
    io::{self, Read},
    os::{
        fd::{AsRawFd, OwnedFd},
        unix::ffi::OsStrExt,
    },
    path::{Path, PathBuf},
};

use nix::{
    errno::Errno,
    fcntl::{open, openat, readlinkat},
    sys::stat::{FileStat, Mode, SFlag, fstat},
};
use thiserror::Error;

use hostfs::rootfs::{self, MOST_LINKS, STEP, is};
use strict_groups_core::{
    groups::{self, Alias},
    oci::{Confinement, IdMaps, ProcessUser},
};

/// The name of CRI-O's own file in a bundle. It makes one for a container whose image lacks the process's group.
const GENERATED: &str = "group";

/// Group and others may write. An ACL that lets somebody write shows in the group bits (`acl(5)`).
const WRITABLE_BY_OTHERS: u32 = 0o022;

/// Why the file cannot be relied on.
#[derive(Debug, Error)]
pub enum GroupFileError {
    #[error("it is on another mount, such as a volume, which others can change")]
    OtherMount,
    #[error("it is a symbolic link that leads nowhere")]
    Dangling,
    #[error("it is no regular file")]
    NotRegular,
    #[error("it leads through too many symbolic links")]
    TooManyLinks,
    #[error("it cannot be read: {0}")]
    Io(#[from] io::Error),
}

impl From<Errno> for GroupFileError {
    fn from(errno: Errno) -> Self {
        Self::Io(errno.into())
    }
}

/// The file, and what the path to it leads through.
#[derive(Debug)]
pub struct GroupFile {
    /// None: there is no such file.
    pub content: Option<Vec<u8>>,
    /// Directories, links, and the file itself.
    passed: Vec<Passed>,
    /// It is CRI-O's own file, on a mount of its own.
    generated: bool,
}

/// Something on the way.
#[derive(Debug)]
struct Passed {
    /// The owner, as the node sees it.
    uid: u32,
    /// Group or others may write to it.
    writable: bool,
}

impl Passed {
    fn new(stat: &FileStat) -> Self {
        // Every link has mode 0777, and none can be written to.
        Self {
            uid: stat.st_uid,
            writable: !is(stat, SFlag::S_IFLNK) && stat.st_mode & WRITABLE_BY_OTHERS != 0,
        }
    }
}

/// The file that CRI-O made in the `bundle` and had mounted, if it did.
#[must_use]
pub fn generated(bundle: &Path, confinement: &Confinement) -> Option<PathBuf> {
    let path = bundle.join(GENERATED);
    confinement.mount_sources.iter().any(|source| Path::new(source) == path).then_some(path)
}

/// Finds the file below `root`, the root directory that the container's first process is going to have. `generated` is
/// the path of the file that CRI-O may have mounted there.
///
/// # Errors
/// Others than the container can change what the OCI runtime is going to read.
pub fn find(root: OwnedFd, generated: Option<&Path>) -> Result<GroupFile, GroupFileError> {
    let mount = mount_of(&root)?;
    let mut passed = vec![Passed::new(&fstat(&root)?)];
    let mut names: VecDeque<Vec<u8>> =
        rootfs::GROUP_FILE.split('/').map(|name| name.as_bytes().to_vec()).collect();
    let mut directories = vec![root];
    let mut links = 0;
    while let Some(name) = names.pop_front() {
        if name == b".." && directories.len() > 1 {
            directories.pop();
        }
        let Some(directory) = directories.last() else { return Err(GroupFileError::TooManyLinks) };
        if matches!(&*name, b"" | b"." | b"..") {
            continue;
        }
        let found = match openat(directory, name.as_slice(), STEP, Mode::empty()) {
            Ok(found) => found,
            Err(Errno::ENOENT | Errno::ENOTDIR) if links == 0 => {
                return Ok(GroupFile { content: None, passed, generated: false });
            }
            Err(Errno::ENOENT | Errno::ENOTDIR) => return Err(GroupFileError::Dangling),
            Err(errno) => return Err(errno.into()),
        };
        // On another mount, which may be FUSE, not even the attributes are asked for.
        let other_mount = mount_of(&found)? != mount;
        if other_mount && (!names.is_empty() || generated.is_none()) {
            return Err(GroupFileError::OtherMount);
        }
        let stat = fstat(&found)?;
        if other_mount && !(names.is_empty() && generated.is_some_and(|path| is_at(&stat, path))) {
            return Err(GroupFileError::OtherMount);
        }
        passed.push(Passed::new(&stat));
        if is(&stat, SFlag::S_IFDIR) {
            directories.push(found);
        } else if is(&stat, SFlag::S_IFLNK) {
            links += 1;
            if links > MOST_LINKS {
                return Err(GroupFileError::TooManyLinks);
            }
            let target = readlinkat(&found, "")?;
            if target.as_bytes().first() == Some(&b'/') {
                directories.truncate(1);
            }
            // A link at the end of the path may itself end in a slash: then only a directory will do.
            for part in target.as_bytes().split(|&byte| byte == b'/').rev() {
                names.push_front(part.to_vec());
            }
        } else if !names.is_empty() {
            if links == 0 {
                return Ok(GroupFile { content: None, passed, generated: false });
            }
            return Err(GroupFileError::Dangling);
        } else if is(&stat, SFlag::S_IFREG) {
            let content = rootfs::read_whole(rootfs::reopen(&found)?)?;
            return Ok(GroupFile { content: Some(content), passed, generated: other_mount });
        } else {
            return Err(GroupFileError::NotRegular);
        }
    }
    // The path ended at a directory.
    Err(GroupFileError::NotRegular)
}

impl GroupFile {
    /// A file of the container's own, with this content, that no user of it can change.
    #[cfg(any(test, feature = "fuzzing"))]
    #[must_use]
    pub fn of(content: &[u8]) -> Self {
        Self { content: Some(content.to_vec()), passed: Vec::new(), generated: false }
    }

    /// What the OCI runtime makes of the groups of a process with this `user`, in a container that is so confined.
    /// Whether a later exec could get others.
    ///
    /// # Errors
    /// It takes one of the groups for another one.
    pub fn judge(&self, user: &ProcessUser, maps: &IdMaps, confinement: &Confinement) -> Result<bool, Alias> {
        let content = self.content.as_deref().unwrap_or_default();
        if let Some(alias) = groups::alias(content, &user.additional_gids) {
            return Err(alias);
        }
        let uid = maps.uids.iter().find_map(|range| range.to_host(user.uid)).unwrap_or(user.uid);
        Ok(self.exec_can_gain_groups(confinement, uid, user.uid == 0))
    }

    /// Whether a process of the container can give a later exec other groups by changing this file, and could not
    /// change its own groups anyway. `uid` is that of the container's user on the node, `is_root` whether it is 0 in
    /// the container.
    fn exec_can_gain_groups(&self, confinement: &Confinement, uid: u32, is_root: bool) -> bool {
        let Confinement { no_new_privileges, may_set_groups, sets_groups, may_unshare, .. } = *confinement;
        // The spec's effective set is for root alone: another user's is empty after the exec of the image's program.
        if is_root && sets_groups || may_set_groups && !no_new_privileges {
            return false;
        }
        // An exec joins the mount namespace of the first process, which can be one that the process made itself and where
        // it put a file of its own over /etc/group.
        if may_unshare && user_namespaces() {
            return true;
        }
        if confinement.read_only_root && !confinement.may_mount && !self.generated {
            return false;
        }
        // Set-user-ID files may be anywhere in the image; a neighbour in a shared process namespace reaches the files
        // through /proc/PID/root, as whoever it is.
        let counts_as_root =
            is_root || !no_new_privileges || confinement.has_ambient || confinement.shares_processes;
        counts_as_root || self.passed.iter().any(|passed| passed.writable || passed.uid == uid)
    }
}

/// Whether a process without privileges can make a user namespace here. What cannot be read counts as yes.
fn user_namespaces() -> bool {
    let is_zero = |name: &str| {
        std::fs::read_to_string(Path::new("/proc/sys").join(name)).is_ok_and(|value| value.trim() == "0")
    };
    // The second one is Debian's and Ubuntu's.
    !is_zero("user/max_user_namespaces") && !is_zero("kernel/unprivileged_userns_clone")
}

/// Whether it is the regular file at `path`, in our own view, and root's.
fn is_at(stat: &FileStat, path: &Path) -> bool {
    open(path, STEP, Mode::empty()).and_then(fstat).is_ok_and(|file| {
        let same = (file.st_dev, file.st_ino) == (stat.st_dev, stat.st_ino);
        same && is(&file, SFlag::S_IFREG) && file.st_uid == 0 && file.st_mode & WRITABLE_BY_OTHERS == 0
    })
}

/// The id of the mount that a file was opened on (`proc(5)`, fdinfo).
fn mount_of(file: &OwnedFd) -> io::Result<u64> {
    let mut text = String::new();
    File::open(format!("/proc/self/fdinfo/{}", file.as_raw_fd()))?.take(4096).read_to_string(&mut text)?;
    text.lines()
        .find_map(|line| line.strip_prefix("mnt_id:")?.trim().parse().ok())
        .ok_or_else(|| io::Error::other("the kernel does not tell a file's mount"))
}

#[cfg(test)]
mod tests;
