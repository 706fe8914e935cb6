//! The real OCI runtime: which one it is, and becoming it.

use std::{
    convert::Infallible,
    ffi::OsString,
    fs::{self, Metadata},
    io,
    os::unix::{fs::MetadataExt, process::CommandExt},
    path::{Path, PathBuf},
    process::Command,
};

use thiserror::Error;

/// The names that our own binary goes by.
const OURS: [&str; 2] = ["strict-groups", super::NAME];

/// Where CRI-O, podman and distributions put an OCI runtime, in the order in which they are tried.
const USUAL_NAMES: [&str; 2] = ["runc", "crun"];
const USUAL_PLACES: [&str; 7] =
    ["/usr/bin", "/usr/sbin", "/usr/local/bin", "/usr/local/sbin", "/usr/libexec/crio", "/bin", "/sbin"];

/// Why there is no real runtime to become.
#[derive(Debug, Error)]
pub enum RealError {
    /// None was configured and none is in a usual place.
    #[error(
        "no OCI runtime was found ({} in {}); set runtime.path in /etc/strict-groups/config.toml",
        USUAL_NAMES.join(", "), USUAL_PLACES.join(", ")
    )]
    None,
    /// The one that was configured is strict-groups itself.
    #[error(
        "the real OCI runtime {} is strict-groups itself, which would call itself for ever; set runtime.path in \
         /etc/strict-groups/config.toml to runc or crun",
        path.display()
    )]
    Loop {
        /// The runtime's path.
        path: PathBuf,
    },
    /// It cannot be run.
    #[error("the real OCI runtime {} cannot be run ({source}); see runtime.path in /etc/strict-groups/config.toml", path.display())]
    Run {
        /// The runtime's path.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// The real runtime's path: `configured`, else the first in a usual place.
///
/// # Errors
/// There is none, or it is ourselves.
pub fn find(configured: Option<&Path>) -> Result<PathBuf, RealError> {
    let own = fs::metadata("/proc/self/exe").ok();
    if let Some(path) = configured {
        return if is_ours(path, own.as_ref()) {
            Err(RealError::Loop { path: path.to_owned() })
        } else {
            Ok(path.to_owned())
        };
    }
    let usual = USUAL_NAMES.iter().flat_map(|name| USUAL_PLACES.map(|place| Path::new(place).join(name)));
    // One that is ourselves under another name is passed over.
    usual.into_iter().find(|path| path.is_file() && !is_ours(path, own.as_ref())).ok_or(RealError::None)
}

/// Whether a path leads to our own file, or to another one that has our name (another version).
fn is_ours(path: &Path, own: Option<&Metadata>) -> bool {
    let named = fs::canonicalize(path)
        .is_ok_and(|target| target.file_name().is_some_and(|name| OURS.iter().any(|ours| name == *ours)));
    let same = |file: Metadata| own.is_some_and(|own| (own.dev(), own.ino()) == (file.dev(), file.ino()));
    named || fs::metadata(path).is_ok_and(same)
}

/// Whether a handler's `runtime_path` is the runtime `real`: the same file, or its name in the PATH.
#[must_use]
pub fn is_same(path: &Path, real: &Path) -> bool {
    if path.components().count() == 1 {
        return real.file_name() == path.file_name();
    }
    let id = |path| fs::metadata(path).ok().map(|file| (file.dev(), file.ino()));
    id(path).is_some_and(|file| Some(file) == id(real))
}

/// Becomes the runtime: the same process, descriptors and environment.
///
/// # Errors
/// It cannot be run.
pub(super) fn become_it(path: &Path, args: &[OsString]) -> Result<Infallible, RealError> {
    // Also gives SIGPIPE back its default, which Rust's own start took away.
    let source = Command::new(path).args(args).exec();
    Err(RealError::Run { path: path.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn what_is_configured_is_taken_unless_it_is_ourselves() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(find(Some(Path::new("/bin/sh"))).unwrap(), Path::new("/bin/sh"));
        let own = std::env::current_exe().unwrap();
        let link = dir.path().join("runc");
        symlink(&own, &link).unwrap();
        assert!(matches!(find(Some(&link)), Err(RealError::Loop { .. })), "the same file");
        let version = dir.path().join("strict-groups");
        fs::write(&version, "").unwrap();
        let link = dir.path().join("crun");
        symlink(&version, &link).unwrap();
        let text = find(Some(&link)).unwrap_err().to_string();
        assert!(text.contains("itself") && text.contains("runtime.path"), "{text}");
    }

    #[test]
    fn what_cannot_be_run_is_named() {
        let text = become_it(Path::new("/nonexistent/runc"), &[]).unwrap_err().to_string();
        assert!(text.contains("/nonexistent/runc") && text.contains("No such file"), "{text}");
    }
}
