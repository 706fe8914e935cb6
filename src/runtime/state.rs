//! Where a running container's spec is: the real runtime keeps the bundle's path in its state.
//!
//! Asking it (`state`) would cost a whole start of it for every exec, so the files of the known
//! runtimes are read first.

use std::{
    ffi::OsString,
    fs, io,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use serde::Deserialize;

use super::argv::Call;
use crate::bundle;

/// A container that the real runtime knows.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Running {
    /// The folder of its `config.json`.
    pub(super) bundle: PathBuf,
    /// Its first process, where there is one.
    pub(super) pid: Option<u32>,
}

/// What runc and crun keep, and what every runtime prints as state (OCI runtime-spec, "State").
#[derive(Debug, Deserialize)]
struct State {
    #[serde(alias = "init_process_pid")]
    pid: Option<u32>,
    bundle: Option<PathBuf>,
    #[serde(default)]
    config: Config,
}

/// runc keeps the bundle as a label, behind those that it makes of the annotations, which a pod's author may call the
/// same.
#[derive(Debug, Default, Deserialize)]
struct Config {
    #[serde(default)]
    labels: Vec<String>,
}

impl State {
    fn parse(json: &[u8]) -> Option<Running> {
        let State { pid, bundle, config } = serde_json::from_slice(json).ok()?;
        let label =
            || config.labels.iter().rev().find_map(|label| label.strip_prefix("bundle=")).map(PathBuf::from);
        Some(Running { bundle: bundle.or_else(label)?, pid: pid.filter(|pid| *pid > 0) })
    }
}

/// Finds the container `id`. None: the real runtime does not know it either.
///
/// # Errors
/// The real runtime does not say whether it knows it.
pub(super) fn find(real: &Path, call: &Call<'_>, id: &str) -> io::Result<Option<Running>> {
    let crun = real.file_name().is_some_and(|name| name.to_string_lossy().contains("crun"));
    let root = call.root.unwrap_or(Path::new(if crun { "/run/crun" } else { "/run/runc" }));
    if let Some(running) = kept(root, id) {
        return Ok(Some(running));
    }
    match asked(real, call.global, id)? {
        // It may fail where its exec would not: short of descriptors, say.
        None if is_kept(root, id) => {
            let path = root.join(id);
            Err(io::Error::new(
                io::ErrorKind::InvalidData,
                format!("what it keeps in {} cannot be read", path.display()),
            ))
        }
        answer => Ok(answer),
    }
}

/// Whether `id` is the name of a folder, and of nothing above it.
fn is_plain(id: &str) -> bool {
    !id.is_empty() && !id.contains('/') && !id.starts_with('.')
}

/// Whether something is kept of the container below `root`, readable or not.
fn is_kept(root: &Path, id: &str) -> bool {
    is_plain(id) && root.join(id).symlink_metadata().is_ok()
}

/// The container in the files below `root`.
fn kept(root: &Path, id: &str) -> Option<Running> {
    if !is_plain(id) {
        return None;
    }
    let folder = root.join(id);
    if let Ok(json) = bundle::read(&folder, Path::new("state.json")) {
        return State::parse(&json);
    }
    let running = State::parse(&bundle::read(&folder, Path::new("status")).ok()?)?;
    // crun keeps the spec that the container was made from, whatever became of the bundle's.
    let own_spec = fs::symlink_metadata(folder.join(bundle::CONFIG)).is_ok_and(|file| file.is_file());
    Some(Running { bundle: if own_spec { folder } else { running.bundle }, ..running })
}

/// The container as the real runtime's own `state` has it. A failure of its own is its way to say that
/// there is none; one of ours, or its death, says nothing.
fn asked(real: &Path, global: &[OsString], id: &str) -> io::Result<Option<Running>> {
    let output = Command::new(real).args(global).args(["state", id]).stdin(Stdio::null()).output()?;
    match output.status.code() {
        Some(0) => State::parse(&output.stdout).map(Some).ok_or_else(|| {
            io::Error::new(io::ErrorKind::InvalidData, "its output is no state with a bundle")
        }),
        Some(_) => Ok(None),
        None => Err(io::Error::other(output.status.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
        assert_eq!(kept(root.path(), "c1"), Some(Running { bundle: "/b".into(), pid: Some(7) }));
        assert_eq!(kept(root.path(), "c2"), None);
        for outside in ["", ".", "..", "../c1", "c1/../c1", "/c1"] {
            assert_eq!(kept(root.path(), outside), None, "{outside}");
        }
    }

    #[test]
    fn crun_keeps_the_spec_as_well() {
        let root = root("status", r#"{"pid":7,"bundle":"/b","rootfs":"/r"}"#);
        assert_eq!(kept(root.path(), "c1"), Some(Running { bundle: "/b".into(), pid: Some(7) }));
        fs::write(root.path().join("c1/config.json"), "{}").unwrap();
        assert_eq!(kept(root.path(), "c1").unwrap().bundle, root.path().join("c1"));
    }

    fn script(dir: &Path, cases: &str) -> PathBuf {
        let script = dir.join("other");
        fs::write(&script, format!("#!/bin/sh\ncase \"$*\" in\n{cases}\nesac\n")).unwrap();
        fs::set_permissions(&script, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        script
    }

    #[test]
    fn a_container_that_is_there_is_not_taken_for_one_that_is_not() {
        let root = root("state.json", "{");
        let script = script(root.path(), "*) exit 1;;");
        let args: Vec<OsString> =
            [OsString::from("--root"), root.path().into(), "exec".into(), "c1".into()].into();
        let call = super::super::argv::read(&args);
        assert!(find(&script, &call, "c1").unwrap_err().to_string().contains("c1 cannot be read"));
        assert_eq!(find(&script, &call, "c2").unwrap(), None);
        assert_eq!(find(&script, &call, ".").unwrap(), None);
    }

    #[test]
    fn another_runtime_is_asked() {
        let dir = tempfile::tempdir().unwrap();
        let script = script(
            dir.path(),
            "'--root /r state c1') echo '{\"pid\":7,\"bundle\":\"/b\"}';;\n\
             '--root /r state c2') exit 1;;\n*) kill -9 $$",
        );
        let args: Vec<OsString> = ["--root", "/r", "exec", "-p", "f", "c1"].map(OsString::from).into();
        let call = super::super::argv::read(&args);
        assert_eq!(find(&script, &call, "c1").unwrap(), Some(Running { bundle: "/b".into(), pid: Some(7) }));
        assert_eq!(find(&script, &call, "c2").unwrap(), None);
        assert!(find(&script, &call, "c3").unwrap_err().to_string().contains("signal"));
        assert!(find(Path::new("/nonexistent"), &call, "c1").is_err());
    }
}
