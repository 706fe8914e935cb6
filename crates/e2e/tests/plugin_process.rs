//! The plugin as a process, without a runtime: what it logs, and how it ends.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

use std::{os::unix::net::UnixListener, time::Duration};

use e2e::process::{Process, WAITING};
use nix::sys::signal::Signal;

#[test]
fn missing_socket_is_named_in_one_line_that_says_what_to_do() {
    let process = Process::start(&[], &[]);
    let socket = process.socket().display().to_string();
    process.until(WAITING, 1);
    // Long enough for more tries, which say nothing.
    std::thread::sleep(Duration::from_millis(100));
    let (code, log) = process.end(Signal::SIGTERM);
    let lines: Vec<&str> = log.lines().collect();
    assert_eq!((code, lines.len()), (Some(0), 3), "{log}");
    assert!(lines[0].contains(" INFO starting"), "{log}");
    for part in [" WARN ", WAITING, &socket, "not running", "NRI is off", "disable = false"] {
        assert!(lines[1].contains(part), "no {part:?} in {log}");
    }
    assert!(lines[2].ends_with(" INFO stopped"), "{log}");
}

#[test]
fn signal_ends_the_wait_for_the_next_try() {
    let process = Process::start(&["--log-level", "debug"], &[]);
    let tries = "still not connected to the runtime";
    process.until(tries, 9);
    let (code, log) = process.end(Signal::SIGTERM);
    assert_eq!(code, Some(0), "{log}");
    // It was to sleep for 2.5 s, and did not finish that to try again.
    assert_eq!(log.matches(tries).count(), 9, "{log}");
    assert!(log.trim_end().ends_with("stopped"), "{log}");
}

#[test]
fn sigint_ends_it_as_well() {
    let process = Process::start(&[], &[]);
    process.until(WAITING, 1);
    let (code, log) = process.end(Signal::SIGINT);
    assert_eq!(code, Some(0), "{log}");
    assert!(log.trim_end().ends_with("stopped"), "{log}");
}

#[test]
fn signal_ends_the_wait_for_a_runtime_that_says_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let listener = UnixListener::bind(dir.path().join("nri.sock")).unwrap();
    let process = Process::start_in(dir, &[], &[]);
    let _connection = listener.accept().unwrap();
    let (code, log) = process.end(Signal::SIGTERM);
    assert_eq!(code, Some(0), "{log}");
    assert!(log.trim_end().ends_with("stopped"), "{log}");
    assert!(!log.contains(WAITING), "{log}");
}

#[test]
fn log_level_says_what_is_logged() {
    for (level, starting, waiting, tries) in
        [("error", 0, 0, 0), ("warn", 0, 1, 0), ("info", 1, 1, 0), ("debug", 1, 1, 1)]
    {
        let process = Process::start(&["--log-level", level], &[]);
        process.until_it_handles(Signal::SIGTERM);
        process.until(WAITING, waiting);
        process.until("DEBUG still not connected", tries);
        let (code, log) = process.end(Signal::SIGTERM);
        assert_eq!(code, Some(0), "{level}: {log}");
        assert_eq!(log.matches("INFO starting").count(), starting, "{level}: {log}");
        assert_eq!(log.matches(WAITING).count(), waiting, "{level}: {log}");
        assert_eq!(log.contains("DEBUG still not connected"), tries == 1, "{level}: {log}");
    }
}

#[test]
fn rust_log_wins_over_log_level() {
    let process = Process::start(&["--log-level", "error"], &[("RUST_LOG", "nri_plugin=debug")]);
    process.until("DEBUG still not connected", 1);
    let (_, log) = process.end(Signal::SIGTERM);
    assert!(!log.contains("starting") && !log.contains("stopped"), "other modules: {log}");
}

#[test]
fn rust_log_that_is_no_filter_is_an_error() {
    let (code, log) = Process::start(&[], &[("RUST_LOG", "strict_groups=loud\n")]).ended();
    assert_eq!(code, Some(1), "{log}");
    assert!(log.contains(r#"RUST_LOG="strict_groups=loud\n" is not a log filter"#), "{log}");
    assert_eq!(log.lines().count(), 1, "{log}");
}

#[cfg(not(feature = "kubernetes-api"))]
#[test]
fn binary_without_kubernetes_api_refuses_the_setting() {
    let dir = tempfile::tempdir().unwrap();
    let config = dir.path().join("config.toml");
    std::fs::write(&config, "[kubernetes]\nenabled = true\n").unwrap();
    let mut command = std::process::Command::new(e2e::process::binary(dir.path()));
    command.args(e2e::process::plugin(dir.path())).arg("--config").arg(config);
    let (code, log) = Process::spawn(dir, &mut command).ended();
    assert_eq!((code, log.lines().count()), (Some(1), 1), "{log}");
    assert!(log.contains("[kubernetes] enabled = true, but this strict-groups was built without"), "{log}");
}

/// A child of a systemd service whose output leads elsewhere.
#[test]
fn journal_that_is_not_our_stderr_is_left_alone() {
    for stream in ["1:2", "", "nonsense"] {
        let process = Process::start(&[], &[("JOURNAL_STREAM", stream)]);
        process.until(WAITING, 1);
        let (_, log) = process.end(Signal::SIGTERM);
        assert!(log.lines().next().unwrap().contains("Z  INFO starting version="), "{log}");
    }
}

#[test]
fn sighup_before_registration_reads_the_configuration() {
    let dir = tempfile::tempdir().unwrap();
    let config = dir.path().join("config.toml");
    std::fs::write(&config, "").unwrap();
    let mut command = std::process::Command::new(e2e::process::binary(dir.path()));
    command.args(e2e::process::plugin(dir.path())).arg("--config").arg(&config);
    command.env_remove("RUST_LOG").env_remove("JOURNAL_STREAM");
    let process = Process::spawn(dir, &mut command);
    process.until_it_handles(Signal::SIGHUP);
    process.until(WAITING, 1);
    let hang_up = || {
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(process.pid().try_into().unwrap()), Signal::SIGHUP)
    };
    std::fs::write(&config, "mode = \"audit\"\n").unwrap();
    hang_up().unwrap();
    process.until("changed=\"mode\" mode=\"audit\"", 1);
    std::fs::write(&config, "mode = \"Audit\"\n").unwrap();
    hang_up().unwrap();
    process.until("the one before stays", 1);
    let (code, log) = process.end(Signal::SIGTERM);
    let refused = log.lines().find(|line| line.contains("the one before stays")).unwrap();
    for part in ["ERROR", "config.toml", "line 1", "`enforce` or `audit`"] {
        assert!(refused.contains(part), "no {part} in {refused}");
    }
    assert_eq!(code, Some(0), "{log}");
}
