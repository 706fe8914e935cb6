//! Puts a file in the place of another one, so that whoever looks finds the old one or the new one, whole.

use std::{
    fs::{self, File, Permissions},
    io::{self, Write},
    os::unix::fs::{MetadataExt, PermissionsExt, symlink},
    path::Path,
};

/// What [`put`] did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The file is new.
    Written,
    /// It was there, with this content, mode and owner.
    UpToDate,
}

/// Makes `target` a file of ours with this content and mode, unless it is one already. A process that
/// runs the old file keeps it; a link is replaced, not followed. The file is on the disk afterwards.
///
/// # Errors
/// The file system's. `target` is unchanged then.
pub fn put(target: &Path, content: &[u8], mode: u32) -> io::Result<Outcome> {
    if is_there(target, content, mode)? {
        return Ok(Outcome::UpToDate);
    }
    replace(target, content, |file| {
        file.set_permissions(Permissions::from_mode(mode))?;
        file.sync_all()
    })?;
    File::open(target.parent().unwrap_or(Path::new("/")))?.sync_all()?;
    Ok(Outcome::Written)
}

/// Puts a file with this content in the place of `target`, whatever that is. `finish` gets the new file before it
/// is moved there: its mode is 0600 until then, and nothing is synced to disk.
///
/// # Errors
/// The file system's, or those of `finish`. `target` is unchanged then.
pub fn replace(
    target: &Path,
    content: &[u8],
    finish: impl FnOnce(&File) -> io::Result<()>,
) -> io::Result<()> {
    let folder = target.parent().unwrap_or(Path::new("/"));
    // Hidden and without an ending, so that nobody takes it for one of the files of the folder.
    let mut file = tempfile::Builder::new().prefix(".strict-groups-").tempfile_in(folder)?;
    file.write_all(content)?;
    finish(file.as_file())?;
    file.persist(target).map(drop).map_err(|error| error.error)
}

/// Makes `target` a symbolic link to `to`, unless it is one already.
///
/// # Errors
/// As [`put`].
pub fn link(target: &Path, to: &Path) -> io::Result<Outcome> {
    if fs::read_link(target).is_ok_and(|found| found == to) {
        return Ok(Outcome::UpToDate);
    }
    let folder = target.parent().unwrap_or(Path::new("/"));
    // A link cannot be made in the place of a file, only be moved there.
    let new = tempfile::Builder::new().prefix(".strict-groups-").tempdir_in(folder)?;
    let made = new.path().join("link");
    symlink(to, &made)?;
    fs::rename(made, target)?;
    File::open(folder)?.sync_all()?;
    Ok(Outcome::Written)
}

fn is_there(target: &Path, content: &[u8], mode: u32) -> io::Result<bool> {
    let metadata = match fs::symlink_metadata(target) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(error),
    };
    let us = nix::unistd::geteuid().as_raw();
    let same = metadata.is_file() && metadata.mode() & 0o7777 == mode && metadata.uid() == us;
    Ok(same && metadata.len() == content.len() as u64 && fs::read(target)? == content)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn it_is_replaced_and_not_written_to() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("program");
        assert_eq!(put(&target, b"one", 0o755).unwrap(), Outcome::Written);
        let old = File::open(&target).unwrap();
        assert_eq!(put(&target, b"one", 0o755).unwrap(), Outcome::UpToDate);
        assert_eq!(put(&target, b"two", 0o755).unwrap(), Outcome::Written);
        assert_eq!(io::read_to_string(old).unwrap(), "one");
        assert_eq!(fs::read(&target).unwrap(), b"two");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "nothing is left over");
    }

    #[test]
    fn mode_and_kind_count() {
        let dir = tempfile::tempdir().unwrap();
        let (target, other) = (dir.path().join("program"), dir.path().join("other"));
        fs::write(&other, "one").unwrap();
        symlink(&other, &target).unwrap();
        assert_eq!(put(&target, b"one", 0o755).unwrap(), Outcome::Written, "a link");
        assert!(fs::symlink_metadata(&target).unwrap().is_file());
        fs::set_permissions(&target, Permissions::from_mode(0o777)).unwrap();
        assert_eq!(put(&target, b"one", 0o755).unwrap(), Outcome::Written, "writable for all");
        assert_eq!(fs::metadata(&target).unwrap().mode() & 0o7777, 0o755);
        assert_eq!(fs::read(&other).unwrap(), b"one");
    }

    #[test]
    fn link_takes_the_place_of_a_file() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("name");
        fs::write(&target, "a file").unwrap();
        let to = Path::new("program");
        assert_eq!(link(&target, to).unwrap(), Outcome::Written);
        assert_eq!(link(&target, to).unwrap(), Outcome::UpToDate);
        assert_eq!(fs::read_link(&target).unwrap(), to);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "nothing is left over");
    }

    #[test]
    fn what_fails_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("folder");
        fs::create_dir_all(target.join("full")).unwrap();
        put(&target, b"one", 0o755).unwrap_err();
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}
