//! Files of an OCI bundle (OCI runtime-spec, "Filesystem Bundle"): read without following what leads
//! elsewhere, replaced so that nobody sees half a file.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read},
    os::{
        fd::OwnedFd,
        unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt},
    },
    path::{Component, Path},
};

use nix::{
    dir::Dir,
    errno::Errno,
    fcntl::{OFlag, OpenHow, ResolveFlag, openat, openat2},
    sys::stat::Mode,
    unistd::{Gid, Uid},
};

use hostfs::atomic_write;

/// The spec of the bundle's container.
pub const CONFIG: &str = "config.json";

/// The note that the wrapper made the bundle's container Strict, and is going to see each of its execs: an empty file.
/// Nobody but root writes into a bundle.
pub const WRAPPER: &str = "strict-groups-runtime";

/// More than any real state or `config.json`: Kubernetes allows 256 KiB of
/// annotations, and the kernel a few MiB of arguments and environment.
const LARGEST: u64 = 16 * 1024 * 1024;

/// Reads the regular file `name`, a single component, in `directory`: no
/// link, no FIFO or device that would make us wait.
///
/// # Errors
/// It cannot be read, is no regular file or larger than 16 MiB.
pub fn read(directory: &Path, name: &Path) -> io::Result<Vec<u8>> {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let file = File::from(open_within(&Dir::open(directory, flags, Mode::empty())?, name)?);
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
    }
    // One more than what is said, so that the end shows in the first read.
    read_into(Vec::with_capacity(usize::try_from(metadata.len().min(LARGEST)).unwrap_or(0) + 1), file)
}

/// The `config.json` of the pod's sandbox `id`, whose bundle containerd puts beside those of the pod's containers.
///
/// # Errors
/// As [`read`]; or `id` is none.
pub fn read_sandbox(bundle: &Path, id: &str) -> io::Result<Vec<u8>> {
    let invalid = || io::Error::from(io::ErrorKind::InvalidInput);
    let mut parts = Path::new(id).components();
    let (Some(Component::Normal(name)), None) = (parts.next(), parts.next()) else { return Err(invalid()) };
    read(&bundle.parent().ok_or_else(invalid)?.join(name), Path::new(CONFIG))
}

/// Reads all of `from`.
///
/// # Errors
/// It cannot be read or is larger than 16 MiB.
pub fn read_limited(from: impl Read) -> io::Result<Vec<u8>> {
    read_into(Vec::new(), from)
}

fn read_into(mut bytes: Vec<u8>, from: impl Read) -> io::Result<Vec<u8>> {
    from.take(LARGEST + 1).read_to_end(&mut bytes)?;
    if u64::try_from(bytes.len()).is_ok_and(|length| length <= LARGEST) {
        Ok(bytes)
    } else {
        Err(io::Error::new(io::ErrorKind::FileTooLarge, "larger than 16 MiB"))
    }
}

/// Puts `content` in the place of the file `name` in `directory`, which keeps
/// its owner and mode. Readers see the old file or the new one. It is not
/// synced to disk: a bundle does not outlive the machine's uptime.
///
/// # Errors
/// The old file stays as it was.
pub fn replace(directory: &Path, name: &Path, content: &[u8]) -> io::Result<()> {
    let path = directory.join(name);
    let old = fs::symlink_metadata(&path)?;
    atomic_write::replace(&path, content, |new| {
        nix::unistd::fchown(new, Some(Uid::from_raw(old.uid())), Some(Gid::from_raw(old.gid())))?;
        new.set_permissions(fs::Permissions::from_mode(old.mode()))
    })
}

/// Notes in the bundle `directory` that the wrapper made its container Strict.
///
/// # Errors
/// It cannot be written, or something else is in its place.
pub fn note_wrapper(directory: &Path) -> io::Result<()> {
    let path = directory.join(WRAPPER);
    match OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path) {
        Ok(_empty) => Ok(()),
        // podman starts a container again from the same bundle.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            if fs::symlink_metadata(&path)?.is_file() { Ok(()) } else { Err(error) }
        }
        Err(error) => Err(error),
    }
}

/// Whether the note is in the bundle `directory`, and root wrote it.
#[must_use]
pub fn has_wrapper(directory: &Path) -> bool {
    fs::symlink_metadata(directory.join(WRAPPER)).is_ok_and(|note| note.is_file() && note.uid() == 0)
}

/// Opens `name` in `directory`, and has the kernel see to it that nothing leads
/// out of there (`openat2(2)`). Without that call (a kernel before 5.6: ENOSYS;
/// a seccomp filter: EPERM) no link is followed either.
fn open_within(directory: &Dir, name: &Path) -> nix::Result<OwnedFd> {
    let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
    let within =
        ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_SYMLINKS | ResolveFlag::RESOLVE_NO_MAGICLINKS;
    match openat2(directory, name, OpenHow::new().flags(flags).resolve(within)) {
        Err(Errno::ENOSYS | Errno::EPERM) => openat(directory, name, flags, Mode::empty()),
        opened => opened,
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn replaced_file_keeps_mode_and_owner() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(CONFIG);
        fs::write(&path, "old").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        let before = fs::metadata(&path).unwrap();
        replace(dir.path(), Path::new(CONFIG), b"new").unwrap();
        let after = fs::metadata(&path).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
        assert_eq!((before.mode(), before.uid(), before.gid()), (after.mode(), after.uid(), after.gid()));
        assert_ne!(before.ino(), after.ino(), "a reader that has the old file open keeps it whole");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn only_plain_files_of_a_sane_size_are_read() {
        let dir = tempfile::tempdir().unwrap();
        let read = || read(dir.path(), Path::new(CONFIG)).unwrap_err();
        assert_eq!(read().kind(), io::ErrorKind::NotFound);
        symlink("/etc/hostname", dir.path().join(CONFIG)).unwrap();
        assert_eq!(read().raw_os_error(), Some(Errno::ELOOP as i32));
        fs::remove_file(dir.path().join(CONFIG)).unwrap();
        nix::unistd::mkfifo(&dir.path().join(CONFIG), Mode::S_IRUSR).unwrap();
        assert!(read().to_string().contains("regular"));
        fs::remove_file(dir.path().join(CONFIG)).unwrap();
        File::create(dir.path().join(CONFIG)).unwrap().set_len(LARGEST + 1).unwrap();
        assert!(read().to_string().contains("16 MiB"));
    }
    #[test]
    fn note_of_the_wrapper_is_a_plain_file_of_roots() {
        let dir = tempfile::tempdir().unwrap();
        let (bundle, note) = (dir.path(), dir.path().join(WRAPPER));
        let root = nix::unistd::geteuid().is_root();
        assert!(!has_wrapper(bundle) && !has_wrapper(Path::new("/nonexistent")));
        // podman starts a container again from the same bundle.
        for _ in 0..2 {
            note_wrapper(bundle).unwrap();
            assert_eq!(has_wrapper(bundle), root);
        }
        let file = fs::symlink_metadata(&note).unwrap();
        assert_eq!((file.len(), file.mode() & 0o777), (0, 0o600));
        if root {
            nix::unistd::chown(&note, Some(Uid::from_raw(1000)), None).unwrap();
            assert!(!has_wrapper(bundle), "another owner");
        }
        fs::remove_file(&note).unwrap();
        symlink("/etc/hostname", &note).unwrap();
        assert!(!has_wrapper(bundle) && note_wrapper(bundle).is_err(), "a link");
        fs::remove_file(&note).unwrap();
        fs::create_dir(&note).unwrap();
        assert!(!has_wrapper(bundle) && note_wrapper(bundle).is_err(), "a folder");
        assert!(note_wrapper(Path::new("/nonexistent")).is_err());
    }
}
