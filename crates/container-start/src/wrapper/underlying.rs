//! The underlying OCI runtime: which one it is, and becoming it.

use std::{
    convert::Infallible,
    env,
    ffi::{OsStr, OsString},
    fs::{self, Metadata},
    io,
    os::unix::{fs::MetadataExt, process::CommandExt},
    path::{Path, PathBuf},
    process::Command,
};

use thiserror::Error;

use super::handler::{Handler, runtime_in};
use crate::config::{ConfigError, UnderlyingRuntime};
use hostfs::program;

/// The names that our own binary goes by.
const OURS: [&str; 2] = ["strict-groups", super::NAME];

/// Where CRI-O, podman and distributions put an OCI runtime, in the order in which they are tried.
const USUAL_NAMES: [&str; 2] = ["runc", "crun"];
const USUAL_PLACES: [&str; 7] =
    ["/usr/bin", "/usr/sbin", "/usr/local/bin", "/usr/local/sbin", "/usr/libexec/crio", "/bin", "/sbin"];

/// Our own executable.
const OWN: &str = "/proc/self/exe";
/// How much is shown of what is wrong with a configuration, in bytes.
const CONFIG_SHOWN: usize = 512;

/// Why there is no real runtime to become.
#[derive(Debug, Error)]
pub enum UnderlyingError {
    /// None was configured and none is in a usual place.
    #[error(
        "no OCI runtime was found ({} in {}); set runtime.path in /etc/strict-groups/config.toml",
        USUAL_NAMES.join(", "), USUAL_PLACES.join(", ")
    )]
    None,
    /// The one that was configured is strict-groups itself.
    #[error(
        "the underlying OCI runtime {} is strict-groups itself, which would call itself for ever; set runtime.path in \
         /etc/strict-groups/config.toml, or in the file of the runtime handler, to runc or crun",
        path.display()
    )]
    Loop {
        /// The runtime's path.
        path: PathBuf,
    },
    /// The runtime of a runtime handler of containerd is not there.
    #[error(
        "the OCI runtime {} of the runtime handler is no program in a folder of the PATH ({path_variable})",
        name.display()
    )]
    NotInPath {
        /// The runtime's name.
        name: PathBuf,
        /// The PATH.
        path_variable: String,
    },
    /// The configuration has an error in it, and there is more than one.
    #[error(
        "which of {} is the underlying OCI runtime cannot be told: {}; correct the file",
        USUAL_NAMES.join(" and "), config
    )]
    Unclear {
        /// What is wrong with the configuration.
        config: String,
    },
    /// It cannot be run.
    #[error(
        "the underlying OCI runtime {} cannot be run ({source}); see runtime.path in /etc/strict-groups/config.toml, or \
         BinaryName of the runtime handler in containerd's configuration",
        path.display()
    )]
    Run {
        /// The runtime's path.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// The underlying OCI runtime's path: `configured`, else the first in a usual place.
///
/// # Errors
/// There is none, or it is ourselves.
pub fn find(configured: Option<&Path>) -> Result<PathBuf, UnderlyingError> {
    let own = fs::metadata(OWN).ok();
    if let Some(path) = configured {
        return if is_ours(path, own.as_ref()) {
            Err(UnderlyingError::Loop { path: path.to_owned() })
        } else {
            Ok(path.to_owned())
        };
    }
    installed(own.as_ref()).next().ok_or(UnderlyingError::None)
}

/// The OCI runtime of a handler whose `file` cannot be used, for calls about containers that exist: the one in the file's
/// name, from the PATH or a usual place. None: it is not there.
pub(super) fn in_name_of(file: &Path, path: &OsStr) -> Option<PathBuf> {
    let name = runtime_in(file.file_name()?.to_str()?)?;
    let own = fs::metadata(OWN).ok();
    let mut paths = env::split_paths(path)
        .map(|folder| folder.join(name))
        .chain(USUAL_PLACES.map(|place| Path::new(place).join(name)));
    paths.find(|path| path.is_file() && !is_ours(path, own.as_ref()))
}

/// The path of a handler's own OCI runtime.
///
/// # Errors
/// It is ourselves, or a name that is not in the PATH.
pub(super) fn named(handler: &Handler) -> Result<PathBuf, UnderlyingError> {
    // As the shim, which gave us its environment, would have found it.
    let variable = env::var_os("PATH").unwrap_or_default();
    let found = program::find(handler.path(), env::split_paths(&variable), Path::to_owned);
    let path = found.ok_or_else(|| UnderlyingError::NotInPath {
        name: handler.path().to_owned(),
        path_variable: variable.to_string_lossy().into_owned(),
    })?;
    let own = fs::metadata(OWN).ok();
    if is_ours(&path, own.as_ref()) { Err(UnderlyingError::Loop { path }) } else { Ok(path) }
}

/// The underlying OCI runtime's path where the configuration has an error in it, and says `said` of the runtime.
///
/// # Errors
/// As [`find`]; or it is not known: the wrong one knows none of the containers.
pub(super) fn find_despite(said: UnderlyingRuntime, error: &ConfigError) -> Result<PathBuf, UnderlyingError> {
    match said {
        UnderlyingRuntime::Path(path) => find(Some(&path)),
        UnderlyingRuntime::NotSet => find(None),
        // Others may choose among the usual ones, but bring none of their own.
        UnderlyingRuntime::NotTrusted(path) if usual().any(|usual| usual == path) => find(Some(&path)),
        UnderlyingRuntime::NotTrusted(_) | UnderlyingRuntime::Unclear => {
            let own = fs::metadata(OWN).ok();
            let mut found = installed(own.as_ref());
            let first = found.next().ok_or(UnderlyingError::None)?;
            if found.all(|other| other.file_name() == first.file_name()) {
                Ok(first)
            } else {
                Err(UnderlyingError::Unclear { config: error.one_line(CONFIG_SHOWN) })
            }
        }
    }
}

fn usual() -> impl Iterator<Item = PathBuf> {
    USUAL_NAMES.iter().flat_map(|name| USUAL_PLACES.map(|place| Path::new(place).join(name)))
}

/// Those of the usual ones that are there. One that is ourselves under another name is passed over.
fn installed(own: Option<&Metadata>) -> impl Iterator<Item = PathBuf> {
    usual().filter(move |path| path.is_file() && !is_ours(path, own))
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
pub(super) fn become_it(path: &Path, args: &[OsString]) -> Result<Infallible, UnderlyingError> {
    // Also gives SIGPIPE back its default, which Rust's own start took away.
    let source = Command::new(path).args(args).exec();
    Err(UnderlyingError::Run { path: path.to_owned(), source })
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
        assert!(matches!(find(Some(&link)), Err(UnderlyingError::Loop { .. })), "the same file");
        let version = dir.path().join("strict-groups");
        fs::write(&version, "").unwrap();
        let link = dir.path().join("crun");
        symlink(&version, &link).unwrap();
        let text = find(Some(&link)).unwrap_err().to_string();
        assert!(text.contains("itself") && text.contains("runtime.path"), "{text}");
    }

    #[test]
    fn runtime_in_the_name_of_a_handlers_file_is_found_in_the_path() {
        let dir = tempfile::tempdir().unwrap();
        let runtime = dir.path().join("my-runc");
        let found = |file: &str| in_name_of(Path::new(file), dir.path().as_os_str());
        assert_eq!(found("/d/strict-groups-runtime-x+my-runc"), None);
        fs::write(&runtime, "").unwrap();
        assert_eq!(found("/d/strict-groups-runtime-x+my-runc"), Some(runtime));
        assert_eq!(found("/d/strict-groups-runtime-x"), None);
        symlink(std::env::current_exe().unwrap(), dir.path().join("ourselves")).unwrap();
        assert_eq!(found("/d/strict-groups-runtime-x+ourselves"), None);
    }

    #[test]
    fn what_cannot_be_run_is_named() {
        let text = become_it(Path::new("/nonexistent/runc"), &[]).unwrap_err().to_string();
        assert!(text.contains("/nonexistent/runc") && text.contains("No such file"), "{text}");
    }
}
