//! The plugin's metrics as a process, and without a runtime: where they are to be had, and from whom.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::{
    io::Write,
    net::{TcpListener, TcpStream},
    os::unix::fs::PermissionsExt,
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use nix::sys::signal::Signal;

use e2e::process::{Process, TIMEOUT, WAITING, binary};

fn start(dir: tempfile::TempDir, arguments: &[&str]) -> Process {
    let mut command = Command::new(binary(dir.path()));
    command
        .args(e2e::process::plugin(dir.path()))
        .args(arguments)
        .env_remove("RUST_LOG")
        .env_remove("JOURNAL_STREAM");
    Process::spawn(dir, &mut command)
}

/// One on a port of the system's choice, and its address.
fn on_tcp() -> (Process, String) {
    let process = start(tempfile::tempdir().unwrap(), &["--metrics-address", "127.0.0.1:0"]);
    process.until("INFO metrics address=", 1);
    let log = process.log();
    let address = log.split("INFO metrics address=").nth(1).unwrap().split_whitespace().next().unwrap();
    (process, address.to_owned())
}

#[test]
fn they_are_off_unless_asked_for() {
    let process = start(tempfile::tempdir().unwrap(), &[]);
    process.until(WAITING, 1);
    let sockets = std::fs::read_dir(format!("/proc/{}/fd", process.pid())).unwrap();
    let sockets: Vec<_> = sockets
        .filter_map(|entry| std::fs::read_link(entry.unwrap().path()).ok())
        .filter_map(|link| link.to_str()?.strip_prefix("socket:[")?.strip_suffix(']').map(str::to_owned))
        .collect();
    for table in ["tcp", "tcp6"] {
        let table = std::fs::read_to_string(format!("/proc/net/{table}")).unwrap();
        // The tenth column is the inode.
        let mut inodes = table.lines().filter_map(|line| line.split_whitespace().nth(9));
        assert!(!inodes.any(|inode| sockets.iter().any(|own| own == inode)), "{table}");
    }
    assert!(!process.log().contains("metrics"), "{}", process.log());
}

#[test]
fn they_are_to_be_had_over_tcp() {
    let (process, address) = on_tcp();
    let answer = e2e::scrape::tcp(&address).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
    assert_eq!(e2e::scrape::value(&answer, "strict_groups_registered"), Some(0));
    let version = format!("strict_groups_build_info{{version=\"{}\"}}", env!("CARGO_PKG_VERSION"));
    assert_eq!(e2e::scrape::value(&answer, &version), Some(1));
    let (code, log) = process.end(Signal::SIGTERM);
    assert_eq!(code, Some(0), "{log}");
}

#[test]
fn socket_is_roots_and_goes_with_the_plugin() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("metrics.sock");
    let address = format!("unix:{}", socket.display());
    let process = start(dir, &["--metrics-address", &address]);
    process.until("INFO metrics address=", 1);
    assert_eq!(std::fs::metadata(&socket).unwrap().permissions().mode() & 0o777, 0o600);
    let answer = e2e::scrape::unix(&socket).unwrap();
    assert_eq!(e2e::scrape::value(&answer, "strict_groups_registrations_total"), Some(0));
    end_and_find_nothing(process, &socket);
}

fn end_and_find_nothing(process: Process, socket: &Path) {
    use nix::{sys::signal::kill, unistd::Pid};
    kill(Pid::from_raw(process.pid().try_into().unwrap()), Signal::SIGTERM).unwrap();
    let end = Instant::now() + TIMEOUT;
    while socket.exists() {
        assert!(Instant::now() < end, "the socket stays");
        std::thread::sleep(Duration::from_millis(5));
    }
    assert_eq!(process.ended().0, Some(0));
}

#[test]
fn address_in_use_is_told_and_the_plugin_goes_on() {
    let other = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = other.local_addr().unwrap().to_string();
    let process = start(tempfile::tempdir().unwrap(), &["--metrics-address", &address]);
    process.until("metrics are not to be had at", 1);
    process.until(WAITING, 1);
    drop(other);
    process.until("INFO metrics address=", 1);
    e2e::scrape::tcp(&address).unwrap();
    let (code, log) = process.end(Signal::SIGTERM);
    assert_eq!((code, log.matches("not to be had").count()), (Some(0), 1), "{log}");
}

#[test]
fn wrong_address_is_a_wrong_usage() {
    let process = start(tempfile::tempdir().unwrap(), &["--metrics-address", "9880"]);
    let (code, log) = process.ended();
    assert_eq!(code, Some(2), "{log}");
    assert!(log.contains("write IP:PORT") && log.contains("unix:/absolute/path"), "{log}");
}

#[test]
fn silent_client_delays_others_for_a_bounded_time() {
    let (process, address) = on_tcp();
    let descriptors = || std::fs::read_dir(format!("/proc/{}/fd", process.pid())).unwrap().count();
    e2e::scrape::tcp(&address).unwrap();
    let before = descriptors();
    let silent: Vec<TcpStream> = (0..12).map(|_| TcpStream::connect(&address).unwrap()).collect();
    // A head without an end.
    for mut stream in &silent {
        stream.write_all(b"GET /metrics HTTP/1.1\r\nA: b\r\n").unwrap();
    }
    let end = Instant::now() + TIMEOUT;
    while descriptors() == before {
        assert!(Instant::now() < end, "no connection was taken");
        std::thread::sleep(Duration::from_millis(5));
    }
    let answer = e2e::scrape::tcp(&address).unwrap();
    assert!(answer.contains("strict_groups_registered 0"), "{answer}");
    assert!(descriptors() <= before + 4, "{} and {before} before", descriptors());
    drop(silent);
    while descriptors() > before {
        assert!(Instant::now() < end, "{} and {before} before", descriptors());
        std::thread::sleep(Duration::from_millis(5));
    }
}
