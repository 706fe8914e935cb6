//! CRI-O's second copy of a container's spec, which it reads after a restart of its own.
//!
//! conmon, which runs us, has its folder on its command line (`--persist-dir`).

use std::{
    ffi::OsStr,
    fs, io,
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
};

use super::error::Fault;
use crate::bundle;

/// Puts `new` in the place of the copy of `old`, if our parent says where there is one.
///
/// # Errors
/// There is a copy and it cannot be replaced.
pub(super) fn replace(old: &[u8], new: &[u8]) -> Result<(), Fault> {
    let parent = std::os::unix::process::parent_id();
    let Some(folder) = fs::read(format!("/proc/{parent}/cmdline")).ok().and_then(|line| folder(&line)) else {
        return Ok(());
    };
    replace_in(&folder, old, new).map_err(|source| Fault::Write { path: folder.join(bundle::CONFIG), source })
}

fn replace_in(folder: &Path, old: &[u8], new: &[u8]) -> io::Result<()> {
    let name = Path::new(bundle::CONFIG);
    match bundle::read(folder, name) {
        Ok(copy) if copy == old => bundle::replace(folder, name, new),
        // Not a copy: none of our business.
        Ok(_) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

/// The folder on conmon's command line, as `/proc/PID/cmdline` has it.
fn folder(cmdline: &[u8]) -> Option<PathBuf> {
    let mut args = cmdline.split(|&byte| byte == 0);
    let program = Path::new(OsStr::from_bytes(args.next()?));
    if program.file_name()? != "conmon" {
        return None;
    }
    while let Some(arg) = args.next() {
        if arg == b"--persist-dir" {
            return args.next().map(|folder| PathBuf::from(OsStr::from_bytes(folder)));
        }
        if let Some(folder) = arg.strip_prefix(b"--persist-dir=") {
            return Some(PathBuf::from(OsStr::from_bytes(folder)));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conmon_names_the_folder() {
        let line = |words: &[&str]| folder(words.join("\0").as_bytes());
        assert_eq!(
            line(&["/usr/bin/conmon", "-b", "/b", "--persist-dir", "/p", "-u", "x"]),
            Some("/p".into())
        );
        assert_eq!(line(&["conmon", "--persist-dir=/p"]), Some("/p".into()));
        assert_eq!(line(&["/usr/bin/conmon", "-b", "/b"]), None);
        assert_eq!(line(&["/bin/sh", "--persist-dir", "/p"]), None);
        assert_eq!(line(&[]), None);
    }

    #[test]
    fn only_a_copy_is_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(bundle::CONFIG);
        replace_in(dir.path(), b"old", b"new").unwrap();
        assert!(!path.exists());
        fs::write(&path, "another").unwrap();
        replace_in(dir.path(), b"old", b"new").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"another");
        fs::write(&path, "old").unwrap();
        replace_in(dir.path(), b"old", b"new").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
        fs::remove_file(&path).unwrap();
        fs::create_dir(&path).unwrap();
        assert!(replace_in(dir.path(), b"old", b"new").is_err());
    }
}
