//! Files of a container's root file system, which image and pod authors
//! write: opened so that no link leads out of it, and nothing that is opened
//! makes us wait.

use std::{
    collections::VecDeque,
    fs::File,
    io::{self, Read},
    os::{
        fd::{AsFd, AsRawFd, OwnedFd},
        unix::ffi::OsStrExt,
    },
    path::{Component, Path},
};

use nix::{
    errno::Errno,
    fcntl::{OFlag, OpenHow, ResolveFlag, open, openat, openat2, readlinkat},
    sys::stat::{FileStat, Mode, SFlag, fstat},
};

/// Where the groups of a root file system are.
pub const GROUP_FILE: &str = "etc/group";
/// Where the users are.
pub const PASSWD_FILE: &str = "etc/passwd";

/// How many links are followed, as by the kernel (`path_resolution(7)`).
pub const MOST_LINKS: usize = 40;

/// One name on a path, looked at and not followed.
pub const STEP: OFlag = OFlag::O_PATH.union(OFlag::O_NOFOLLOW).union(OFlag::O_CLOEXEC);

/// The largest file that is read: more than any real `/etc/group`.
const LARGEST: u64 = 10 * 1024 * 1024;

/// The root directory that process `pid` has, mounts of its own mount
/// namespace included.
///
/// # Errors
/// The process has ended, or may not be looked at (`ptrace(2)`, access mode
/// checking).
pub fn of_process(pid: u32) -> io::Result<OwnedFd> {
    Ok(open(format!("/proc/{pid}/root").as_str(), OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty())?)
}

/// The directory `path` below `root`, taken as if `root` were `/`.
///
/// # Errors
/// It is not there or no directory.
pub fn directory(root: impl AsFd, path: &Path) -> io::Result<OwnedFd> {
    Ok(open_in_root(root, path, OFlag::O_PATH | OFlag::O_DIRECTORY)?)
}

/// The content of the regular file `path` below `root`. None: there is no such
/// file.
///
/// # Errors
/// It cannot be read, is no regular file or larger than 10 MiB.
pub fn read(root: impl AsFd, path: &str) -> io::Result<Option<Vec<u8>>> {
    // Looked at before it is opened: opening a device can do something.
    let found = match open_in_root(root, Path::new(path), OFlag::O_PATH) {
        Ok(found) => found,
        Err(Errno::ENOENT | Errno::ENOTDIR) => return Ok(None),
        Err(errno) => return Err(errno.into()),
    };
    if !is(&fstat(&found)?, SFlag::S_IFREG) {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
    }
    read_whole(reopen(&found)?).map(Some)
}

/// Opens for reading what was opened with `O_PATH`.
///
/// # Errors
/// The system's.
pub fn reopen(file: &OwnedFd) -> io::Result<File> {
    File::open(format!("/proc/self/fd/{}", file.as_raw_fd()))
}

/// The content of a regular file.
///
/// # Errors
/// It cannot be read, or is larger than 10 MiB.
pub fn read_whole(file: File) -> io::Result<Vec<u8>> {
    let metadata = file.metadata()?;
    // One more than what is said, so that the end shows in the first read.
    let mut bytes = Vec::with_capacity(usize::try_from(metadata.len().min(LARGEST)).unwrap_or(0) + 1);
    file.take(LARGEST + 1).read_to_end(&mut bytes)?;
    if u64::try_from(bytes.len()).is_ok_and(|length| length <= LARGEST) {
        Ok(bytes)
    } else {
        Err(io::Error::new(io::ErrorKind::FileTooLarge, "larger than 10 MiB"))
    }
}

/// The same as an engine finds it that follows links by itself; empty where there is no such file.
///
/// # Errors
/// As [`read`]; or it is behind a link that leads somewhere for some, and nowhere for others.
pub fn read_as_engines(root: impl AsFd, path: &str) -> io::Result<Vec<u8>> {
    match read(&root, path)? {
        Some(content) => Ok(content),
        None if is_missing(&root, path)? => Ok(Vec::new()),
        None => Err(io::Error::other("a symbolic link that does not lead to the same place for everybody")),
    }
}

/// Whether nothing is at `path` below `root`, whoever looks. Engines that follow links by themselves take a name that
/// is not there, or no directory, for a plain one: for them `none/..` and `file/.` lead somewhere. So a link that has
/// such parts and leads nowhere for the kernel is not taken for missing.
///
/// # Errors
/// It is not known.
fn is_missing(root: impl AsFd, path: &str) -> io::Result<bool> {
    let mut names: VecDeque<Vec<u8>> = path.split('/').map(|name| name.as_bytes().to_vec()).collect();
    let mut directory = openat(root.as_fd(), ".", STEP, Mode::empty())?;
    let mut links = 0;
    while let Some(name) = names.pop_front() {
        let found = match openat(&directory, name.as_slice(), STEP, Mode::empty()) {
            Ok(found) => found,
            Err(Errno::ENOENT | Errno::ENOTDIR) => return Ok(true),
            Err(errno) => return Err(errno.into()),
        };
        if !is(&fstat(&found)?, SFlag::S_IFLNK) {
            directory = found;
            continue;
        }
        links += 1;
        let target = readlinkat(&found, "")?;
        let (absolute, target) = match target.as_bytes() {
            [b'/', target @ ..] => (true, target),
            target => (false, target),
        };
        let parts: Vec<&[u8]> = target.split(|&byte| byte == b'/').collect();
        if links > MOST_LINKS || parts.iter().any(|part| matches!(*part, b"" | b"." | b"..")) {
            return Ok(false);
        }
        for part in parts.into_iter().rev() {
            names.push_front(part.to_vec());
        }
        if absolute {
            directory = openat(root.as_fd(), ".", STEP, Mode::empty())?;
        }
    }
    Ok(false)
}

/// Whether a file is of this kind, one of `S_IFMT`.
#[must_use]
pub fn is(stat: &FileStat, kind: SFlag) -> bool {
    SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT == kind
}

fn open_in_root(root: impl AsFd, path: &Path, flags: OFlag) -> nix::Result<OwnedFd> {
    let how = OpenHow::new()
        .flags(flags | OFlag::O_CLOEXEC)
        .resolve(ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_MAGICLINKS);
    match openat2(root.as_fd(), path, how) {
        // Kernels before 5.6, and seccomp profiles that do not know the call.
        Err(Errno::ENOSYS | Errno::EPERM) => walk(root, path, flags),
        result => result,
    }
}

/// The same without `openat2(2)`: no link is followed at all, so a path that
/// has one gives ELOOP.
fn walk(root: impl AsFd, path: &Path, flags: OFlag) -> nix::Result<OwnedFd> {
    let mut directory = openat(root.as_fd(), ".", STEP, Mode::empty())?;
    let mut names = path
        .components()
        .filter(|component| !matches!(component, Component::RootDir | Component::CurDir))
        .peekable();
    while let Some(component) = names.next() {
        let Component::Normal(name) = component else { return Err(Errno::EXDEV) };
        let last = names.peek().is_none();
        let flags = if last { flags | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC } else { STEP };
        directory = openat(&directory, name, flags, Mode::empty())?;
        if !last && is(&fstat(&directory)?, SFlag::S_IFLNK) {
            return Err(Errno::ELOOP);
        }
    }
    Ok(directory)
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::symlink};

    use super::*;

    fn root() -> (tempfile::TempDir, OwnedFd) {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("etc")).unwrap();
        let fd = open(dir.path(), OFlag::O_PATH, Mode::empty()).unwrap();
        (dir, fd)
    }

    #[test]
    fn missing_file_is_none() {
        let (dir, root) = root();
        assert_eq!(read(&root, GROUP_FILE).unwrap(), None);
        fs::remove_dir(dir.path().join("etc")).unwrap();
        assert_eq!(read(&root, GROUP_FILE).unwrap(), None);
        fs::write(dir.path().join("etc"), "").unwrap();
        assert_eq!(read(&root, GROUP_FILE).unwrap(), None);
    }

    #[test]
    fn links_stay_inside() {
        let (dir, root) = root();
        fs::write(dir.path().join("real"), "x:x:1:\n").unwrap();
        symlink("/real", dir.path().join("etc/group")).unwrap();
        assert_eq!(read(&root, GROUP_FILE).unwrap().unwrap(), b"x:x:1:\n");
        fs::remove_file(dir.path().join("etc/group")).unwrap();
        // Of the node's own files there is none inside.
        symlink("../../../../../../../../etc/group", dir.path().join("etc/group")).unwrap();
        assert!(read(&root, GROUP_FILE).is_err(), "a link to itself");
        fs::remove_file(dir.path().join("etc/group")).unwrap();
        symlink("/etc/hostname", dir.path().join("etc/group")).unwrap();
        assert_eq!(read(&root, GROUP_FILE).unwrap(), None);
    }

    #[test]
    fn what_is_no_file_is_not_waited_for() {
        let (dir, root) = root();
        nix::unistd::mkfifo(&dir.path().join("etc/group"), Mode::S_IRUSR).unwrap();
        assert!(read(&root, GROUP_FILE).unwrap_err().to_string().contains("regular"));
        fs::remove_file(dir.path().join("etc/group")).unwrap();
        fs::create_dir(dir.path().join("etc/group")).unwrap();
        assert!(read(&root, GROUP_FILE).unwrap_err().to_string().contains("regular"));
        fs::remove_dir(dir.path().join("etc/group")).unwrap();
        fs::File::create(dir.path().join("etc/group")).unwrap().set_len(LARGEST + 1).unwrap();
        assert!(read(&root, GROUP_FILE).unwrap_err().to_string().contains("10 MiB"));
    }

    #[test]
    #[ignore = "needs root"]
    fn device_is_never_opened() {
        use nix::sys::{
            inotify::{AddWatchFlags, InitFlags, Inotify},
            stat::{makedev, mknod},
        };
        let (dir, root) = root();
        let path = dir.path().join("etc/group");
        mknod(&path, SFlag::S_IFCHR, Mode::S_IRUSR, makedev(1, 3)).unwrap();
        let watch = Inotify::init(InitFlags::IN_NONBLOCK).unwrap();
        watch.add_watch(&path, AddWatchFlags::IN_OPEN).unwrap();
        assert!(read(&root, GROUP_FILE).unwrap_err().to_string().contains("regular"));
        assert!(read_as_engines(&root, GROUP_FILE).is_err());
        assert_eq!(watch.read_events().unwrap_err(), Errno::EAGAIN);
        File::open(&path).unwrap();
        assert!(!watch.read_events().unwrap().is_empty(), "an open shows");
    }

    #[test]
    fn old_kernels_follow_no_link() {
        let (dir, root) = root();
        fs::write(dir.path().join("etc/group"), "x").unwrap();
        let flags = OFlag::O_RDONLY;
        assert!(walk(&root, Path::new("/etc/group"), flags).is_ok());
        assert_eq!(walk(&root, Path::new("etc/../etc/group"), flags).unwrap_err(), Errno::EXDEV);
        symlink("group", dir.path().join("etc/link")).unwrap();
        assert_eq!(walk(&root, Path::new("etc/link"), flags).unwrap_err(), Errno::ELOOP);
        symlink("etc", dir.path().join("dir")).unwrap();
        assert_eq!(walk(&root, Path::new("dir/group"), flags).unwrap_err(), Errno::ELOOP);
        assert_eq!(walk(&root, Path::new("etc/group/x"), flags).unwrap_err(), Errno::ENOTDIR);
        assert_eq!(walk(&root, Path::new("etc/none"), flags).unwrap_err(), Errno::ENOENT);
    }

    #[test]
    fn missing_is_only_what_leads_nowhere_for_everybody() {
        let (dir, root) = root();
        let link = dir.path().join("etc/group");
        assert!(is_missing(&root, GROUP_FILE).unwrap());
        fs::write(dir.path().join("real"), "").unwrap();
        for (target, missing) in [
            ("/none", true),
            ("none", true),
            ("/none/group", true),
            ("/real/group", true),
            ("/etc/hop", true),
            // Lexically these are the file.
            ("../none/../real", false),
            ("/none/../real", false),
            ("/real/.", false),
            ("/real/", false),
            ("/real", false),
            // A link to itself.
            ("group", false),
        ] {
            symlink(target, &link).unwrap();
            let _ = symlink("/nowhere", dir.path().join("etc/hop"));
            assert_eq!(is_missing(&root, GROUP_FILE).unwrap(), missing, "{target}");
            fs::remove_file(&link).unwrap();
        }
        fs::remove_file(dir.path().join("etc/hop")).unwrap();
        fs::remove_dir(dir.path().join("etc")).unwrap();
        assert!(is_missing(&root, GROUP_FILE).unwrap());
        fs::write(dir.path().join("etc"), "").unwrap();
        assert!(is_missing(&root, GROUP_FILE).unwrap());
        fs::remove_file(dir.path().join("etc")).unwrap();
        symlink("none/../real", dir.path().join("etc")).unwrap();
        assert!(!is_missing(&root, GROUP_FILE).unwrap());
    }
}
