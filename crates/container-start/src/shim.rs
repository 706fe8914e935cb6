//! The shims of containerd that run, and what they say (containerd, `core/runtime/v2/README.md`, "Shim Authoring").
//!
//! A shim's command line names containerd's socket. A shim of runc runs in the bundle of its pod's sandbox, beside which are
//! those of the pod's containers; in each, the file `runtime` has the path of the OCI runtime that the container was made
//! with (`cmd/containerd-shim-runc-v2/runc/container.go`). By that one it is stopped and removed, whatever containerd's
//! configuration says since; and a sandbox's OCI runtime is that of all containers that its pod will ever have
//! (`internal/cri/server/container_create.go`).

use std::{
    collections::BTreeMap,
    ffi::OsStr,
    fs, io,
    os::unix::{ffi::OsStrExt, fs::MetadataExt},
    path::{Path, PathBuf},
};

use crate::bundle;
use strict_groups_core::{engine::Engine, oci};

/// How the programs of all shims begin.
const SHIM: &[u8] = b"containerd-shim";

/// Where the proc file system is.
pub const PROC: &str = "/proc";

/// containerd's namespace of all that came through the CRI.
const NAMESPACE: &[u8] = b"k8s.io";

/// The socket of the containerd whose shim is our parent. None: it is no shim, or does not say.
#[must_use]
pub fn parents_containerd() -> Option<PathBuf> {
    let parent = std::os::unix::process::parent_id();
    Shim::of(Path::new(PROC).join(parent.to_string()))?.socket()
}

/// A shim that runs.
#[derive(Debug)]
pub struct Shim {
    /// The process, in the proc file system.
    process: PathBuf,
    /// As `/proc/PID/cmdline` has it.
    cmdline: Vec<u8>,
}

/// All shims. `proc` is where the proc file system is.
///
/// # Errors
/// The processes cannot be listed.
pub fn all(proc: &Path) -> io::Result<Vec<Shim>> {
    Ok(fs::read_dir(proc)?.flatten().filter_map(|process| Shim::of(process.path())).collect())
}

/// The ids of the containers and sandboxes that shims run, by their OCI runtime: its path, empty for the shim's default.
/// `proc` is where the proc file system is.
///
/// # Errors
/// The processes cannot be listed.
pub fn containers(proc: &Path) -> io::Result<BTreeMap<PathBuf, Vec<String>>> {
    let mut found: BTreeMap<PathBuf, Vec<String>> = BTreeMap::new();
    for shim in all(proc)? {
        let Ok(bundles) = fs::read_dir(shim.bundle().join("..")) else { continue };
        for bundle in bundles.flatten() {
            let Some(runtime) = runtime(&bundle.path()) else { continue };
            found.entry(runtime).or_default().push(bundle.file_name().to_string_lossy().into_owned());
        }
    }
    for ids in found.values_mut() {
        ids.sort_unstable();
        ids.dedup();
    }
    Ok(found)
}

/// The OCI runtime that made the container of a bundle.
fn runtime(bundle: &Path) -> Option<PathBuf> {
    bundle::read(bundle, Path::new("runtime")).ok().map(|path| OsStr::from_bytes(&path).into())
}

impl Shim {
    /// None: the process is no shim of the node's, or has ended. Whoever may run a process can give it a shim's name: one that
    /// is not root's, or that is in a container, by its root directory, is none. A mount namespace of its own says nothing:
    /// a service of systemd's has one when its unit says so.
    fn of(process: PathBuf) -> Option<Self> {
        let proc = process.parent()?;
        let root =
            |process: &Path| fs::metadata(process.join("root")).ok().map(|root| (root.dev(), root.ino()));
        let own = root(&process)?;
        let is_the_nodes = ["self", "1"].into_iter().any(|known| root(&proc.join(known)) == Some(own));
        if fs::metadata(&process).ok()?.uid() != 0 || !is_the_nodes {
            return None;
        }
        let cmdline = fs::read(process.join("cmdline")).ok()?;
        let program = Path::new(OsStr::from_bytes(cmdline.split(|byte| *byte == 0).next()?));
        let is_shim = program.file_name()?.as_bytes().starts_with(SHIM);
        is_shim.then_some(Self { process, cmdline })
    }

    /// The bundle of its pod's sandbox, through the link of the process: it may be in another mount namespace.
    fn bundle(&self) -> PathBuf {
        self.process.join("cwd")
    }

    /// The folder of its containerd's state: `STATE/io.containerd.runtime.v2.task/NAMESPACE/ID` is the bundle.
    #[must_use]
    pub fn state(&self) -> PathBuf {
        self.bundle().join("../../..")
    }

    /// containerd's socket, which it names.
    #[must_use]
    pub fn socket(&self) -> Option<PathBuf> {
        let socket = Path::new(OsStr::from_bytes(self.flag(b"address")?));
        socket.is_absolute().then(|| socket.to_owned())
    }

    /// The OCI runtime of its pod: a path, empty for the default one.
    #[must_use]
    pub fn runtime(&self) -> Option<PathBuf> {
        runtime(&self.bundle())
    }

    /// Its pod, as `namespace/name`. None: it has none, or the bundle does not say.
    #[must_use]
    pub fn pod(&self) -> Option<String> {
        if self.flag(b"namespace")? != NAMESPACE {
            return None;
        }
        let json = bundle::read(&self.bundle(), Path::new(bundle::CONFIG)).ok()?;
        Engine::Containerd.pod(&oci::read_annotations(&json).ok()?)
    }

    /// The value of a flag on its command line. Go's flags have one dash or two.
    fn flag(&self, name: &[u8]) -> Option<&[u8]> {
        let mut args = self.cmdline.split(|&byte| byte == 0).skip(1);
        let is_flag = |arg: &[u8]| {
            let arg = arg.strip_prefix(b"-").unwrap_or_default();
            arg.strip_prefix(b"-").unwrap_or(arg) == name
        };
        args.by_ref().find(|arg| is_flag(arg)).and_then(|_| args.next())
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    const RUNC: &str = "/usr/bin/containerd-shim-runc-v2";

    #[test]
    #[ignore = "needs root"]
    fn shim_names_the_socket_of_its_containerd() {
        let dir = tempfile::tempdir().unwrap();
        process(dir.path(), "12", RUNC, "aa", "");
        let socket = |words: &[&str]| {
            fs::write(dir.path().join("proc/12/cmdline"), words.join("\0")).unwrap();
            Shim::of(dir.path().join("proc/12"))?.socket()
        };
        let address = ["-address", "/run/k3s/containerd/containerd.sock"];
        assert_eq!(
            socket(&[&[RUNC, "-namespace", "k8s.io", "-id", "x"][..], &address, &[""]].concat()),
            Some(address[1].into())
        );
        assert_eq!(socket(&["containerd-shim", "--address", "/s"]), Some("/s".into()));
        assert_eq!(socket(&[RUNC, "-namespace", "k8s.io"]), None);
        assert_eq!(socket(&[RUNC, "-address"]), None);
        assert_eq!(socket(&[RUNC, "-address", "relative.sock"]), None);
        assert_eq!(socket(&["/usr/bin/conmon", "-address", "/s"]), None);
        assert_eq!(socket(&[]), None);
    }

    #[test]
    #[ignore = "needs root"]
    fn pod_is_that_of_the_sandboxs_bundle() {
        let dir = tempfile::tempdir().unwrap();
        process(dir.path(), "12", RUNC, "aa", "/d/wrapper");
        let [shim] = <[Shim; 1]>::try_from(all(&dir.path().join("proc")).unwrap()).unwrap();
        assert_eq!((shim.runtime(), shim.pod()), (Some("/d/wrapper".into()), None), "no config.json");
        let config = r#"{"annotations":{"io.kubernetes.cri.sandbox-namespace":"default","io.kubernetes.cri.sandbox-name":"web"}}"#;
        fs::write(dir.path().join("k8s.io/aa/config.json"), config).unwrap();
        assert_eq!(shim.pod().as_deref(), Some("default/web"));
        let other =
            Shim { cmdline: b"/usr/bin/containerd-shim-runc-v2\0-namespace\0moby\0".to_vec(), ..shim };
        assert_eq!(other.pod(), None, "of no pod");
    }

    /// A process with this program in a new bundle, whose file `runtime` says `runtime`.
    fn process(root: &Path, pid: &str, program: &str, id: &str, runtime: &str) {
        let (process, bundle) = (root.join("proc").join(pid), root.join("k8s.io").join(id));
        fs::create_dir_all(&process).unwrap();
        fs::create_dir_all(&bundle).unwrap();
        fs::write(process.join("cmdline"), format!("{program}\0-namespace\0k8s.io\0")).unwrap();
        let own = root.join("proc/self/root");
        if !own.exists() {
            fs::create_dir_all(own.parent().unwrap()).unwrap();
            symlink(root, own).unwrap();
        }
        symlink(root, process.join("root")).unwrap();
        fs::write(bundle.join("runtime"), runtime).unwrap();
        symlink(&bundle, process.join("cwd")).unwrap();
    }

    #[test]
    fn file_that_is_none_is_not_read() {
        let dir = tempfile::tempdir().unwrap();
        process(dir.path(), "12", RUNC, "aa", "/d/wrapper");
        let file = dir.path().join("k8s.io/aa/runtime");
        fs::remove_file(&file).unwrap();
        nix::unistd::mkfifo(&file, nix::sys::stat::Mode::S_IRWXU).unwrap();
        assert_eq!(containers(&dir.path().join("proc")).unwrap(), BTreeMap::new());
    }

    #[test]
    #[ignore = "needs root"]
    fn containers_are_found_beside_the_shims_by_their_runtime() {
        let dir = tempfile::tempdir().unwrap();
        process(dir.path(), "12", RUNC, "bb", "/d/wrapper");
        process(dir.path(), "13", RUNC, "aa", "/d/wrapper");
        process(dir.path(), "14", RUNC, "cc", "");
        let found = containers(&dir.path().join("proc")).unwrap();
        let ids = |ids: &[&str]| ids.iter().map(ToString::to_string).collect();
        let expected = [(PathBuf::new(), ids(&["cc"])), ("/d/wrapper".into(), ids(&["aa", "bb"]))];
        assert_eq!(found, expected.into());
    }

    #[test]
    fn other_processes_are_not_looked_at() {
        let dir = tempfile::tempdir().unwrap();
        process(dir.path(), "12", "/bin/sleep", "aa", "/d/file");
        // In a container, and of another user.
        process(dir.path(), "13", RUNC, "bb", "/d/file");
        fs::remove_file(dir.path().join("proc/13/root")).unwrap();
        symlink(dir.path().join("k8s.io"), dir.path().join("proc/13/root")).unwrap();
        process(dir.path(), "14", RUNC, "cc", "/d/file");
        if nix::unistd::geteuid().is_root() {
            nix::unistd::chown(&dir.path().join("proc/14"), Some(1000.into()), None).unwrap();
        }
        assert_eq!(containers(&dir.path().join("proc")).unwrap(), BTreeMap::new());
        assert!(containers(Path::new("/nonexistent")).is_err());
    }
}
