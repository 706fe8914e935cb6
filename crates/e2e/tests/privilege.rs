//! What the plugin gives up when it starts, and the files that it refuses to
//! work with, since somebody other than root could have put them there.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic")]

use std::{fs, os::unix::fs::chown, path::Path, process::Command};

use e2e::process::{NOBODY, Process, WAITING, binary, copy, mode, plugin};
use nix::sys::signal::Signal;

const SYS_PTRACE: u64 = 1 << 19;
/// Those that the plugin knows, up to `CAP_CHECKPOINT_RESTORE`.
const KNOWN: u64 = (1 << 41) - 1;

/// The plugin with less than root has, by setpriv(1).
fn with_less(options: &[&str]) -> Process {
    let dir = tempfile::tempdir().unwrap();
    mode(dir.path(), 0o755);
    let program = copy(&dir.path().join("strict-groups"));
    let mut command = Command::new("setpriv");
    command.args(options).arg(program).args(["--log-level", "debug"]).args(plugin(dir.path()));
    Process::spawn(dir, &mut command)
}

/// `[inheritable, permitted, effective, bounding, ambient]` and `no_new_privs` of every thread.
fn threads(pid: u32) -> Vec<([u64; 5], bool)> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    tasks
        .map(|task| {
            let status = fs::read_to_string(task.unwrap().path().join("status")).unwrap();
            let field = |key: &str| {
                let line = status.lines().find_map(|line| line.strip_prefix(key)).unwrap();
                u64::from_str_radix(line.trim(), 16).unwrap()
            };
            let sets = ["CapInh:", "CapPrm:", "CapEff:", "CapBnd:", "CapAmb:"].map(field);
            (sets.map(|set| set & KNOWN), field("NoNewPrivs:") == 1)
        })
        .collect()
}

#[test]
fn one_capability_stays_and_none_comes_back() {
    let process = with_less(&["--inh-caps=+chown", "--ambient-caps=+chown"]);
    process.until(WAITING, 1);
    let threads = threads(process.pid());
    assert!(!threads.is_empty());
    for thread in threads {
        assert_eq!(thread, ([0, SYS_PTRACE, SYS_PTRACE, 0, 0], true));
    }
    let log = process.log();
    assert!(log.contains("DEBUG") && log.contains("capabilities=CAP_SYS_PTRACE no_new_privs=true"), "{log}");
}

#[test]
fn who_has_none_goes_on_without_names() {
    let process = with_less(&["--bounding-set=-all"]);
    process.until(WAITING, 1);
    assert_eq!(threads(process.pid()), [([0; 5], true)]);
    let log = process.log();
    assert!(log.contains("capabilities=none") && log.contains("INFO without CAP_SYS_PTRACE"), "{log}");

    // No core dump, which would hold other pods' environment: the kernel shows that by hiding the memory
    // from the same user, as long as no capability lets him in.
    let maps = format!("/proc/{}/maps", process.pid());
    let other = Command::new("setpriv").args(["--bounding-set=-all", "cat", &maps]).output().unwrap();
    let said = String::from_utf8_lossy(&other.stderr);
    assert!(!other.status.success() && said.contains("Permission denied"), "{other:?}");
}

#[test]
fn who_has_no_more_than_needed_need_not_drop_anything() {
    let process = with_less(&["--bounding-set=-all,+sys_ptrace"]);
    process.until(WAITING, 1);
    let bounding = SYS_PTRACE;
    assert_eq!(threads(process.pid()), [([0, SYS_PTRACE, SYS_PTRACE, bounding, 0], true)]);
}

#[test]
fn what_is_too_much_and_cannot_be_dropped_is_named() {
    let (code, log) = with_less(&["--bounding-set=-all,+sys_ptrace,+net_admin,+chown"]).ended();
    assert_eq!((code, log.lines().count()), (Some(1), 1), "{log}");
    for part in ["strict-groups: ", "CAP_CHOWN CAP_NET_ADMIN (", "not permitted", "CAP_SETPCAP"] {
        assert!(log.contains(part), "no {part:?} in {log}");
    }
}

#[test]
fn who_is_not_root_is_told_so() {
    let (code, log) = with_less(&["--reuid=65534", "--regid=65534", "--clear-groups"]).ended();
    assert_eq!((code, log.lines().count()), (Some(1), 1), "{log}");
    assert!(log.contains("has to run as root, and runs as uid 65534"), "{log}");
}

/// The plugin ends at once and gives this reason in one line.
fn refuses(process: Process, words: &[&str]) {
    let (code, log) = process.ended();
    assert_eq!((code, log.lines().count()), (Some(1), 1), "{log}");
    for word in ["strict-groups: ", "is not trusted"].iter().chain(words) {
        assert!(log.contains(word), "no {word:?} in {log}");
    }
}

#[test]
fn executable_that_others_can_replace_does_not_run() {
    for (folder, file, words) in [
        ((NOBODY, 0o755), (0, 0o755), ["the directory ", "owner uid 65534, mode 0755"]),
        ((0, 0o777), (0, 0o755), ["the directory ", "owner uid 0, mode 0777"]),
        ((0, 0o755), (NOBODY, 0o755), ["the file ", "owner uid 65534, mode 0755"]),
        ((0, 0o755), (0, 0o775), ["the file ", "owner uid 0, mode 0775"]),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let bin = dir.path().join("bin");
        fs::create_dir(&bin).unwrap();
        let program = copy(&bin.join("strict-groups"));
        for (path, (owner, bits)) in [(&program, file), (&bin, folder)] {
            chown(path, Some(owner), None).unwrap();
            mode(path, bits);
        }
        let mut command = Command::new(program);
        command.args(plugin(dir.path()));
        refuses(Process::spawn(dir, &mut command), &[&words[..], &["our own executable"]].concat());
    }
}

/// The plugin with this configuration file, which `spoil` has been at.
fn configured(text: &str, spoil: fn(&Path)) -> Process {
    let dir = tempfile::tempdir().unwrap();
    let (file, hook) = (dir.path().join("config.toml"), dir.path().join("hook"));
    fs::write(&hook, "").unwrap();
    mode(&hook, 0o755);
    fs::write(&file, text.replace("HOOK", hook.to_str().unwrap())).unwrap();
    mode(&file, 0o644);
    spoil(dir.path());
    let mut command = Command::new(binary(dir.path()));
    command.args(plugin(dir.path())).arg("--config").arg(file);
    Process::spawn(dir, &mut command)
}

#[test]
fn hook_that_others_can_replace_is_refused() {
    let hook = "hook_path = \"HOOK\"\n";
    let process = configured(hook, |dir| mode(&dir.join("hook"), 0o775));
    refuses(process, &["hook_path: ", "the file ", "owner uid 0, mode 0775", "chmod go-w"]);
    let process = configured(hook, |dir| chown(dir.join("hook"), Some(NOBODY), None).unwrap());
    refuses(process, &["hook_path: ", "the file ", "owner uid 65534", "chown -h root:"]);
    let process = configured(hook, |_| {});
    process.until(WAITING, 1);
    assert_eq!(process.log().matches("WARN").count(), 1, "{}", process.log());
}

/// root runs the static gate's hook for every container, whether there is a plugin or not.
#[test]
fn static_gate_that_others_can_replace_is_not_installed() {
    let dir = tempfile::tempdir().unwrap();
    mode(dir.path(), 0o755);
    let program = copy(&dir.path().join("strict-groups"));
    std::os::unix::fs::symlink(&program, dir.path().join("strict-groups-runtime")).unwrap();
    let (runc, node) = (dir.path().join("runc"), dir.path().join("node.toml"));
    fs::write(&runc, "").unwrap();
    fs::write(&node, format!("[runtime]\npath = {runc:?}\n")).unwrap();
    mode(&node, 0o644);
    let config = || Command::new(&program).args(["config", "crio", "--config"]).arg(&node).output().unwrap();
    let output = config();
    assert!(output.status.success(), "{output:?}");
    mode(&program, 0o777);
    let output = config();
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!((output.status.code(), output.stdout.len()), (Some(1), 0), "{text}");
    assert!(text.contains("the hook's executable") && text.contains("mode 0777"), "{text}");
}

/// In a container the plugin does not see the node's files.
#[test]
fn hook_that_is_not_seen_is_a_warning() {
    let process = configured("hook_path = \"HOOK\"\n", |dir| fs::remove_file(dir.join("hook")).unwrap());
    process.until(WAITING, 1);
    let (code, log) = process.end(Signal::SIGTERM);
    assert_eq!(code, Some(0), "{log}");
    assert!(
        log.lines().any(|line| line.contains("WARN hook_path ") && line.contains("there is no ")),
        "{log}"
    );
}

#[test]
fn configuration_that_others_can_change_is_refused() {
    let process = configured("", |dir| mode(&dir.join("config.toml"), 0o666));
    refuses(process, &["the configuration ", "the file ", "mode 0666", "chmod go-w"]);
    let process = configured("", |dir| chown(dir.join("config.toml"), Some(NOBODY), None).unwrap());
    refuses(process, &["the configuration ", "owner uid 65534"]);
    let process = configured("", |dir| chown(dir, Some(NOBODY), None).unwrap());
    refuses(process, &["the configuration ", "the directory ", "owner uid 65534"]);
}
