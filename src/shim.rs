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
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
};

/// How the programs of all shims begin.
const SHIM: &[u8] = b"containerd-shim";

/// Where the proc file system is.
pub(crate) const PROC: &str = "/proc";

/// The socket of the containerd whose shim is our parent. None: it is no shim, or does not say.
pub(crate) fn parents_containerd() -> Option<PathBuf> {
    let parent = std::os::unix::process::parent_id();
    socket(&fs::read(format!("{PROC}/{parent}/cmdline")).ok()?)
}

/// The value of `-address` on a shim's command line, as `/proc/PID/cmdline` has it.
fn socket(cmdline: &[u8]) -> Option<PathBuf> {
    if !is_shim(cmdline) {
        return None;
    }
    let mut args = cmdline.split(|&byte| byte == 0).skip(1);
    // Go's flags have one dash or two.
    let flag = |arg: &[u8]| matches!(arg, b"-address" | b"--address");
    let socket = args.by_ref().find(|arg| flag(arg)).and_then(|_| args.next())?;
    let socket = Path::new(OsStr::from_bytes(socket));
    socket.is_absolute().then(|| socket.to_owned())
}

fn is_shim(cmdline: &[u8]) -> bool {
    let program = cmdline.split(|byte| *byte == 0).next().unwrap_or_default();
    let name = Path::new(OsStr::from_bytes(program)).file_name();
    name.is_some_and(|name| name.as_bytes().starts_with(SHIM))
}

/// The ids of the containers and sandboxes that shims run, by their OCI runtime: its path, empty for the shim's default.
/// `proc` is where the proc file system is.
///
/// # Errors
/// The processes cannot be listed.
pub(crate) fn containers(proc: &Path) -> io::Result<BTreeMap<PathBuf, Vec<String>>> {
    let mut found: BTreeMap<PathBuf, Vec<String>> = BTreeMap::new();
    for process in fs::read_dir(proc)?.flatten() {
        if !is_shim(&fs::read(process.path().join("cmdline")).unwrap_or_default()) {
            continue;
        }
        // Through the link of the process: it may be in another mount namespace.
        let Ok(bundles) = fs::read_dir(process.path().join("cwd/..")) else { continue };
        for bundle in bundles.flatten() {
            let Ok(runtime) = fs::read(bundle.path().join("runtime")) else { continue };
            let ids = found.entry(OsStr::from_bytes(&runtime).into()).or_default();
            ids.push(bundle.file_name().to_string_lossy().into_owned());
        }
    }
    for ids in found.values_mut() {
        ids.sort_unstable();
        ids.dedup();
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    const RUNC: &str = "/usr/bin/containerd-shim-runc-v2";

    #[test]
    fn shim_names_the_socket_of_its_containerd() {
        let line = |words: &[&str]| socket(words.join("\0").as_bytes());
        let address = ["-address", "/run/k3s/containerd/containerd.sock"];
        assert_eq!(
            line(&[&[RUNC, "-namespace", "k8s.io", "-id", "x"][..], &address, &[""]].concat()),
            Some(address[1].into())
        );
        assert_eq!(line(&["containerd-shim", "--address", "/s"]), Some("/s".into()));
        assert_eq!(line(&[RUNC, "-namespace", "k8s.io"]), None);
        assert_eq!(line(&[RUNC, "-address"]), None);
        assert_eq!(line(&[RUNC, "-address", "relative.sock"]), None);
        assert_eq!(line(&["/usr/bin/conmon", "-address", "/s"]), None);
        assert_eq!(line(&[]), None);
    }

    /// A process with this program in a new bundle, whose file `runtime` says `runtime`.
    fn process(root: &Path, pid: &str, program: &str, id: &str, runtime: &str) {
        let (process, bundle) = (root.join("proc").join(pid), root.join("k8s.io").join(id));
        fs::create_dir_all(&process).unwrap();
        fs::create_dir_all(&bundle).unwrap();
        fs::write(process.join("cmdline"), format!("{program}\0-namespace\0k8s.io\0")).unwrap();
        fs::write(bundle.join("runtime"), runtime).unwrap();
        symlink(&bundle, process.join("cwd")).unwrap();
    }

    #[test]
    fn containers_are_found_beside_the_shims_by_their_runtime() {
        let dir = tempfile::tempdir().unwrap();
        process(dir.path(), "12", RUNC, "bb", "/d/wrapper");
        process(dir.path(), "13", RUNC, "aa", "/d/wrapper");
        process(dir.path(), "14", RUNC, "cc", "");
        fs::create_dir(dir.path().join("proc/self")).unwrap();
        let found = containers(&dir.path().join("proc")).unwrap();
        let ids = |ids: &[&str]| ids.iter().map(ToString::to_string).collect();
        let expected = [(PathBuf::new(), ids(&["cc"])), ("/d/wrapper".into(), ids(&["aa", "bb"]))];
        assert_eq!(found, expected.into());
    }

    #[test]
    fn other_processes_are_not_looked_at() {
        let dir = tempfile::tempdir().unwrap();
        process(dir.path(), "12", "/bin/sleep", "aa", "/d/file");
        assert_eq!(containers(&dir.path().join("proc")).unwrap(), BTreeMap::new());
        assert!(containers(Path::new("/nonexistent")).is_err());
    }
}
