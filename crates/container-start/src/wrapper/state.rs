//! Where a running container's spec is: the underlying OCI runtime keeps the bundle's path in its state.
//!
//! Asking it (`state`) would cost a whole start of it for every exec, so the files of the known
//! runtimes are read first.

use std::{
    env,
    ffi::{OsStr, OsString},
    fs, io,
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use super::argv::Call;
use crate::bundle;
use strict_groups_core::json::Object;

/// A container that the underlying OCI runtime knows.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Running {
    /// The folder that it was made from.
    pub(super) bundle: PathBuf,
    /// The folder of the `config.json` that it was made from: crun keeps one of its own.
    pub(super) spec: PathBuf,
    /// Its first process, where there is one.
    pub(super) pid: Option<u32>,
}

impl Running {
    /// Reads what runc and crun keep, and what every runtime prints as state (OCI runtime spec, "State"). None: it does
    /// not say where the bundle is, or not to every reader the same.
    pub(super) fn parse(json: &[u8]) -> Option<Self> {
        let state = Object::parse(str::from_utf8(json).ok()?).ok()?;
        let [bundle, config, pid, init_pid] =
            ["bundle", "config", "pid", "init_process_pid"].map(|name| state.get(name));
        let bundle = match bundle.ok()? {
            Some(bundle) => serde_json::from_str(bundle).ok()?,
            None => label(config.ok()??)?,
        };
        let pid = pid.ok()?.or(init_pid.ok()?).map(serde_json::from_str).transpose().ok()?;
        Some(Self { spec: PathBuf::clone(&bundle), bundle, pid: pid.filter(|pid| *pid > 0) })
    }
}

/// The bundle in runc's configuration of a container: a label, behind those that runc makes of the annotations, which
/// a pod's author may call the same.
fn label(config: &str) -> Option<PathBuf> {
    let labels = Object::parse(config).ok()?.get("labels").ok()??;
    let labels: Vec<String> = serde_json::from_str(labels).ok()?;
    labels.iter().rev().find_map(|label| label.strip_prefix("bundle=")).map(PathBuf::from)
}

/// Finds the container `id`. None: the underlying OCI runtime does not know it either.
///
/// # Errors
/// The underlying OCI runtime does not say whether it knows it.
pub(super) fn find(real: &Path, call: &Call<'_>, id: &OsStr) -> io::Result<Option<Running>> {
    let root = call.root.map_or_else(|| default_root(real, env::var_os("XDG_RUNTIME_DIR")), Path::to_owned);
    if let Some(running) = kept(&root, id) {
        return Ok(Some(running));
    }
    match asked(real, call.global, id)? {
        // It may fail where its start or exec would not: short of descriptors, say.
        None if is_kept(&root, id) => {
            let path = root.join(id);
            Err(io::Error::new(
                io::ErrorKind::InvalidData,
                format!("what it keeps in {} cannot be read", path.display()),
            ))
        }
        answer => Ok(answer),
    }
}

/// Where the underlying OCI runtime keeps its state without `--root`. crun goes by the environment, as root too; runc does
/// so only in a user namespace or as another user, and is asked where it knows no such container here.
fn default_root(real: &Path, runtime_dir: Option<OsString>) -> PathBuf {
    let crun = real.file_name().is_some_and(|name| name.to_string_lossy().contains("crun"));
    match runtime_dir.filter(|dir| !dir.is_empty()) {
        Some(dir) if crun => Path::new(&dir).join("crun"),
        _ => Path::new(if crun { "/run/crun" } else { "/run/runc" }).to_owned(),
    }
}

/// Whether `id` is the name of a folder, and of nothing above it. runc and crun take one that begins with a dot.
fn is_plain(id: &OsStr) -> bool {
    let id = id.as_bytes();
    !id.is_empty() && id != b"." && id != b".." && !id.contains(&b'/')
}

/// Whether something is kept of the container below `root`, readable or not.
fn is_kept(root: &Path, id: &OsStr) -> bool {
    is_plain(id) && root.join(id).symlink_metadata().is_ok()
}

/// The container in the files below `root`.
fn kept(root: &Path, id: &OsStr) -> Option<Running> {
    if !is_plain(id) {
        return None;
    }
    let folder = root.join(id);
    if let Ok(json) = bundle::read(&folder, Path::new("state.json")) {
        return Running::parse(&json);
    }
    let running = Running::parse(&bundle::read(&folder, Path::new("status")).ok()?)?;
    // crun keeps the spec that the container was made from, whatever became of the bundle's.
    let own_spec = fs::symlink_metadata(folder.join(bundle::CONFIG)).is_ok_and(|file| file.is_file());
    Some(if own_spec { Running { spec: folder, ..running } } else { running })
}

/// The container as the underlying OCI runtime's own `state` has it. A failure of its own is its way to say that
/// there is none; one of ours, or its death, says nothing.
fn asked(real: &Path, global: &[OsString], id: &OsStr) -> io::Result<Option<Running>> {
    let mut command = Command::new(real);
    command.args(global).arg("state");
    if id.as_bytes().starts_with(b"-") {
        command.arg("--");
    }
    let output = command.arg(id).stdin(Stdio::null()).output()?;
    match output.status.code() {
        Some(0) => Running::parse(&output.stdout).map(Some).ok_or_else(|| {
            io::Error::new(io::ErrorKind::InvalidData, "its output is no state with a bundle")
        }),
        Some(_) => Ok(None),
        None => Err(io::Error::other(output.status.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hostfs::executable;

    fn found(root: &tempfile::TempDir, id: &str) -> Option<Running> {
        kept(root.path(), OsStr::new(id))
    }

    fn running(bundle: &str, pid: Option<u32>) -> Running {
        Running { bundle: bundle.into(), spec: bundle.into(), pid }
    }

    fn root(file: &str, content: &str) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("c1")).unwrap();
        fs::write(dir.path().join("c1").join(file), content).unwrap();
        dir
    }

    #[test]
    fn runc_has_the_bundle_in_a_label() {
        let root = root(
            "state.json",
            r#"{"id":"c1","init_process_pid":7,"config":{"labels":["a=b","bundle=/a","bundle=/b"]}}"#,
        );
        assert_eq!(found(&root, "c1"), Some(running("/b", Some(7))));
        assert_eq!(found(&root, "c2"), None);
        for outside in ["", ".", "..", "../c1", "c1/../c1", "/c1"] {
            assert_eq!(found(&root, outside), None, "{outside}");
        }
        // Each a name that runc or crun takes.
        for odd in [".c1", "..c1", "-c1", "c 1", "é", "c1\n"] {
            fs::create_dir(root.path().join(odd)).unwrap();
            fs::copy(root.path().join("c1/state.json"), root.path().join(odd).join("state.json")).unwrap();
            assert!(found(&root, odd).is_some(), "{odd}");
        }
        let no_text = OsStr::from_bytes(b"\xff");
        fs::rename(root.path().join("c1"), root.path().join(no_text)).unwrap();
        assert!(kept(root.path(), no_text).is_some());
    }

    #[test]
    fn process_is_none_where_the_state_names_none() {
        for (pid, found_pid) in [("", None), (r#","init_process_pid":0"#, None), (r#","pid":7"#, Some(7))] {
            let root = root("state.json", &format!(r#"{{"bundle":"/b"{pid}}}"#));
            assert_eq!(found(&root, "c1"), Some(running("/b", found_pid)), "{pid}");
        }
        for broken in [r#"{"bundle":"/b","pid":-1}"#, r#"{"bundle":"/b","pid":4294967296}"#, r#"{"pid":7}"#] {
            assert_eq!(found(&root("state.json", broken), "c1"), None, "{broken}");
        }
    }

    #[test]
    fn crun_takes_its_root_from_the_environment() {
        let root = |real: &str, dir: Option<&str>| default_root(Path::new(real), dir.map(OsString::from));
        for dir in [None, Some("")] {
            assert_eq!(root("/usr/bin/crun", dir), Path::new("/run/crun"));
            assert_eq!(root("/usr/bin/runc", dir), Path::new("/run/runc"));
        }
        assert_eq!(root("/usr/bin/crun", Some("/run/user/0")), Path::new("/run/user/0/crun"));
        assert_eq!(root("/usr/bin/runc", Some("/run/user/0")), Path::new("/run/runc"));
    }

    #[test]
    fn crun_keeps_the_spec_as_well() {
        let root = root("status", r#"{"pid":7,"bundle":"/b","rootfs":"/r"}"#);
        assert_eq!(found(&root, "c1"), Some(running("/b", Some(7))));
        fs::write(root.path().join("c1/config.json"), "{}").unwrap();
        let running = found(&root, "c1").unwrap();
        assert_eq!((running.bundle, running.spec), ("/b".into(), root.path().join("c1")));
    }

    fn script(dir: &Path, cases: &str) -> PathBuf {
        let script = dir.join("other");
        executable::script(&script, &format!("#!/bin/sh\ncase \"$*\" in\n{cases}\nesac\n")).unwrap();
        script
    }

    #[test]
    fn container_that_is_there_is_not_taken_for_one_that_is_not() {
        let root = root("state.json", "{");
        let script = script(root.path(), "*) exit 1;;");
        let args: Vec<OsString> =
            [OsString::from("--root"), root.path().into(), "exec".into(), "c1".into()].into();
        let call = super::super::argv::read(&args);
        assert!(
            find(&script, &call, OsStr::new("c1")).unwrap_err().to_string().contains("c1 cannot be read")
        );
        assert_eq!(find(&script, &call, OsStr::new("c2")).unwrap(), None);
        assert_eq!(find(&script, &call, OsStr::new(".")).unwrap(), None);
    }

    #[test]
    fn another_runtime_is_asked() {
        let dir = tempfile::tempdir().unwrap();
        let script = script(
            dir.path(),
            "'--root /r state c1' | '--root /r state -- -c1') echo '{\"pid\":7,\"bundle\":\"/b\"}';;\n\
             '--root /r state c2') exit 1;;\n*) kill -9 $$",
        );
        let args: Vec<OsString> = ["--root", "/r", "exec", "-p", "f", "c1"].map(OsString::from).into();
        let call = super::super::argv::read(&args);
        assert_eq!(find(&script, &call, OsStr::new("c1")).unwrap(), Some(running("/b", Some(7))));
        assert!(find(&script, &call, OsStr::new("-c1")).unwrap().is_some(), "an id, and no option");
        assert_eq!(find(&script, &call, OsStr::new("c2")).unwrap(), None);
        assert!(find(&script, &call, OsStr::new("c3")).unwrap_err().to_string().contains("signal"));
        assert!(find(Path::new("/nonexistent"), &call, OsStr::new("c1")).is_err());
    }
}
