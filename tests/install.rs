//! `strict-groups install`, as root.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::{
    fs::{self, Permissions},
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::Path,
    process::{Command, Output},
};

use hostfs::executable;

const BINARY: &str = env!("CARGO_BIN_EXE_strict-groups");

fn install(to: &Path, more: &[&str]) -> Output {
    Command::new(BINARY).arg("install").arg("--to").arg(to).args(more).env_clear().output().unwrap()
}

/// What it says; it must succeed or fail as expected.
fn says(output: &Output, succeeds: bool) -> String {
    assert_eq!(output.status.success(), succeeds, "{output:?}");
    String::from_utf8(output.stderr.clone()).unwrap()
}

#[test]
#[ignore = "needs root"]
fn it_copies_itself_once() {
    let dir = tempfile::tempdir().unwrap();
    let target = dir.path().join("strict-groups");
    assert!(says(&install(dir.path(), &[]), true).starts_with("wrote "));
    assert_eq!(fs::read(&target).unwrap(), fs::read(BINARY).unwrap());
    let written = fs::metadata(&target).unwrap();
    assert_eq!((written.mode() & 0o7777, written.uid()), (0o755, 0));
    let link = fs::read_link(dir.path().join("strict-groups-runtime")).unwrap();
    assert_eq!(link, Path::new("strict-groups"));
    assert!(says(&install(dir.path(), &[]), true).starts_with("up to date"));
    assert_eq!(fs::metadata(&target).unwrap().ino(), written.ino(), "the same file");
}

#[test]
#[ignore = "needs root"]
fn running_hook_is_replaced_and_its_copy_installs_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let target = dir.path().join("strict-groups");
    executable::copy(Path::new("/bin/sleep"), &target).unwrap();
    let mut running = Command::new(&target).arg("60").spawn().unwrap();
    let said = install(dir.path(), &[]);
    let lives = running.try_wait().unwrap().is_none();
    running.kill().unwrap();
    running.wait().unwrap();
    assert!(lives);
    says(&said, true);
    let version = Command::new(&target).arg("--version").output().unwrap();
    assert!(String::from_utf8_lossy(&version.stdout).starts_with("strict-groups "), "{version:?}");
}

#[test]
#[ignore = "needs root"]
fn folder_that_is_not_roots_alone_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    for (mode, word) in [(0o777, "go-w"), (0o1777, "go-w"), (0o775, "go-w")] {
        fs::set_permissions(dir.path(), Permissions::from_mode(mode)).unwrap();
        let said = says(&install(dir.path(), &[]), false);
        assert!(said.contains(word) && said.contains(dir.path().to_str().unwrap()), "{said}");
    }
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    let said = says(&install(Path::new("/nonexistent/bin"), &[]), false);
    assert!(said.contains("/nonexistent"), "{said}");
}

#[test]
#[ignore = "needs root"]
fn wrong_configuration_installs_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (config, bin) = (dir.path().join("config.toml"), dir.path().join("bin"));
    fs::create_dir(&bin).unwrap();
    fs::write(&config, "\ndefault_polcy = \"Strict\"\n").unwrap();
    let said = says(&install(&bin, &["--config", config.to_str().unwrap()]), false);
    assert!(said.contains("line 2") && said.contains("default_polcy"), "{said}");
    assert_eq!(fs::read_dir(&bin).unwrap().count(), 0);
}
