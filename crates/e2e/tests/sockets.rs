//! Sockets that the plugin does not connect to, since somebody other than root
//! could be listening there.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::{
    fs,
    io::{BufRead, BufReader, ErrorKind},
    os::unix::{
        fs::{chown, lchown, symlink},
        net::UnixListener,
        process::CommandExt,
    },
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use e2e::process::{NOBODY, Process, TIMEOUT, WAITING, binary, mode, plugin};
use nix::sys::signal::Signal;
use strict_groups::runtimes::containerd::{ContainerdError, Containers};

/// The plugin waits for a socket like this, says these words, and connects once it is mended.
fn socket(spoil: fn(&Path), mend: fn(&Path), words: &[&str]) {
    // A folder of the socket's own: the binary may be in the other one.
    let dir = tempfile::tempdir().unwrap();
    let place = dir.path().join("nri");
    fs::create_dir(&place).unwrap();
    let path = place.join("nri.sock").display().to_string();
    let listener = UnixListener::bind(&path).unwrap();
    listener.set_nonblocking(true).unwrap();
    spoil(&place);
    let mut command = Command::new(binary(dir.path()));
    command.args(["--log-level", "debug"]).args(plugin(&place));
    let process = Process::spawn(dir, &mut command);
    process.until("still not connected", 2);
    let log = process.log();
    let line = log.lines().find(|line| line.contains(WAITING)).unwrap();
    for &word in [path.as_str(), "is not trusted"].iter().chain(words) {
        assert!(line.contains(word), "no {word:?} in {line}");
    }
    // It is not even connected to.
    assert_eq!(listener.accept().unwrap_err().kind(), ErrorKind::WouldBlock);
    mend(&place);
    let end = Instant::now() + TIMEOUT;
    while listener.accept().is_err() {
        assert!(Instant::now() < end, "not connected: {}", process.log());
        std::thread::sleep(Duration::from_millis(5));
    }
    let (code, log) = process.end(Signal::SIGTERM);
    assert_eq!(code, Some(0), "{log}");
}

#[test]
fn socket_that_all_can_write_to_is_not_connected_to() {
    socket(
        |dir| mode(&dir.join("nri.sock"), 0o777),
        |dir| mode(&dir.join("nri.sock"), 0o755),
        &["the socket ", "owner uid 0, mode 0777", "chmod o-w"],
    );
}

#[test]
fn socket_of_another_user_is_not_connected_to() {
    socket(
        |dir| chown(dir.join("nri.sock"), Some(NOBODY), None).unwrap(),
        |dir| chown(dir.join("nri.sock"), Some(0), None).unwrap(),
        &["the socket ", "owner uid 65534, mode 0755", "chown -h root:"],
    );
}

#[test]
fn socket_that_others_can_replace_is_not_connected_to() {
    socket(|dir| mode(dir, 0o777), |dir| mode(dir, 0o1777), &["the directory ", "owner uid 0, mode 0777"]);
    socket(
        |dir| chown(dir, Some(NOBODY), None).unwrap(),
        |dir| chown(dir, Some(0), None).unwrap(),
        &["the directory ", "owner uid 65534, mode "],
    );
}

#[test]
fn socket_behind_another_users_link_is_not_connected_to() {
    socket(
        |dir| {
            mode(dir, 0o1777);
            fs::rename(dir.join("nri.sock"), dir.join("real.sock")).unwrap();
            symlink("real.sock", dir.join("nri.sock")).unwrap();
            lchown(dir.join("nri.sock"), Some(NOBODY), None).unwrap();
        },
        |dir| lchown(dir.join("nri.sock"), Some(0), None).unwrap(),
        &["the symbolic link ", "owner uid 65534"],
    );
}

/// What another user's process listens on, in a place that is root's: the path alone does not tell.
struct Impostor {
    child: Child,
    dir: tempfile::TempDir,
}

const IMPOSTOR: &str = "STRICT_GROUPS_TEST_IMPOSTOR";

impl Impostor {
    fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        mode(dir.path(), 0o755);
        let own = dir.path().join("own");
        fs::create_dir(&own).unwrap();
        chown(&own, Some(NOBODY), Some(NOBODY)).unwrap();
        let mut child = Command::new("/proc/self/exe")
            .args(["--exact", "impostor_listens", "--nocapture"])
            .env(IMPOSTOR, own.join("nri.sock"))
            .uid(NOBODY)
            .gid(NOBODY)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let said = BufReader::new(child.stdout.take().unwrap());
        assert!(said.lines().any(|line| line.unwrap().contains("it listens")), "it does not listen");
        let socket = dir.path().join("nri.sock");
        fs::rename(own.join("nri.sock"), &socket).unwrap();
        chown(&socket, Some(0), Some(0)).unwrap();
        Self { child, dir }
    }
}

impl Drop for Impostor {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The impostor's process; nothing in an ordinary run of the tests.
#[test]
fn impostor_listens() {
    if let Some(path) = std::env::var_os(IMPOSTOR) {
        let _listener = UnixListener::bind(path).unwrap();
        println!("it listens");
        // Until the other side ends.
        let _ = std::io::stdin().read_line(&mut String::new());
    }
}

#[test]
fn listener_that_is_not_root_is_not_talked_to() {
    let impostor = Impostor::start();
    let process = Process::spawn(
        tempfile::tempdir().unwrap(),
        Command::new(binary(impostor.dir.path())).args(plugin(impostor.dir.path())),
    );
    process.until(WAITING, 1);
    let (_, log) = process.end(Signal::SIGTERM);
    assert!(log.contains("is not trusted: the process that listens there runs as uid 65534"), "{log}");
}

async fn api(dir: &Path) -> ContainerdError {
    let containers = Containers::new(&dir.join("nri.sock"));
    containers.get("id", Duration::from_secs(20)).await.unwrap_err()
}

#[tokio::test]
async fn containerds_api_is_held_to_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("nri.sock");
    let listener = UnixListener::bind(&socket).unwrap();
    listener.set_nonblocking(true).unwrap();
    mode(&socket, 0o777);
    let error = api(dir.path()).await;
    let text = error.to_string();
    assert!(matches!(error, ContainerdError::NotTrusted { .. }), "{text}");
    for word in ["containerd's API: ", socket.to_str().unwrap(), "is not trusted", "mode 0777", "chmod o-w"] {
        assert!(text.contains(word), "no {word:?} in {text}");
    }
    assert_eq!(listener.accept().unwrap_err().kind(), ErrorKind::WouldBlock);

    let impostor = Impostor::start();
    let error = api(impostor.dir.path()).await;
    assert!(matches!(error, ContainerdError::NotTrusted { .. }), "{error}");
    assert!(error.to_string().contains("listens there runs as uid 65534"), "{error}");
}
