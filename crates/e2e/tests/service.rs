//! What the plugin tells systemd and a pod's probes, as a process and without a runtime.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may panic")]

use std::{
    os::unix::net::UnixDatagram,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use e2e::process::{TIMEOUT, binary};

/// The plugin under a service manager that listens.
struct Supervised {
    child: Child,
    socket: UnixDatagram,
    dir: tempfile::TempDir,
}

impl Supervised {
    fn start(arguments: &[&str], environment: &[(&str, &str)]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        let child = Command::new(binary(dir.path()))
            .args(e2e::process::plugin(dir.path()))
            .args(arguments)
            .arg("--health-file")
            .arg(dir.path().join("health"))
            .env_clear()
            .env("NOTIFY_SOCKET", path)
            .envs(environment.iter().copied())
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Self { child, socket, dir }
    }

    /// The next message; None when none comes in time.
    fn heard(&self, wait: Duration) -> Option<String> {
        self.socket.set_read_timeout(Some(wait)).unwrap();
        let mut bytes = [0; 4096];
        let length = self.socket.recv(&mut bytes).ok()?;
        Some(String::from_utf8_lossy(bytes.get(..length).unwrap()).into_owned())
    }

    /// All messages until one has this line.
    fn until(&self, line: &str) -> Vec<String> {
        let end = Instant::now() + TIMEOUT;
        let mut all = Vec::new();
        while Instant::now() < end {
            all.extend(self.heard(TIMEOUT));
            if all.last().is_some_and(|message| message.lines().any(|found| found == line)) {
                return all;
            }
        }
        panic!("{line} did not come: {all:?}");
    }

    fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id().try_into().unwrap()), signal).unwrap();
    }

    fn probe(&self, more: &[&str]) -> Output {
        probe(&self.dir.path().join("health"), more)
    }
}

impl Drop for Supervised {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn probe(file: &Path, more: &[&str]) -> Output {
    let args = [PathBuf::from("probe"), "--health-file".into(), file.to_owned()];
    Command::new(e2e::plugin::built().unwrap()).args(args).args(more).env_clear().output().unwrap()
}

fn says(output: &Output, words: &str) {
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(1) && text.contains(words), "{output:?}");
}

#[test]
fn without_a_runtime_ready_comes_late_and_says_why() {
    let plugin = Supervised::start(&["--ready-after", "1"], &[]);
    let first = plugin.heard(TIMEOUT).unwrap();
    assert!(first.contains("STATUS=not registered") && !first.contains("READY=1"), "{first}");
    assert!(plugin.until("READY=1").last().unwrap().contains("STATUS=not registered"));
}

#[test]
fn with_0_only_a_runtime_makes_it_ready() {
    let plugin = Supervised::start(&["--ready-after", "0"], &[("WATCHDOG_USEC", "200000")]);
    let end = Instant::now() + Duration::from_secs(2);
    while Instant::now() < end {
        let message = plugin.heard(TIMEOUT).unwrap();
        assert!(!message.contains("READY=1"), "{message}");
    }
}

#[test]
fn watchdog_hears_nothing_of_a_loop_that_stands_still() {
    let plugin = Supervised::start(&[], &[("WATCHDOG_USEC", "400000")]);
    for _ in 0..5 {
        plugin.until("WATCHDOG=1");
    }
    plugin.signal(Signal::SIGSTOP);
    while plugin.heard(Duration::from_secs(1)).is_some() {}
    plugin.signal(Signal::SIGCONT);
    plugin.until("WATCHDOG=1");
}

#[test]
fn reload_is_told_from_begin_to_end() {
    let plugin = Supervised::start(&["--ready-after", "1"], &[]);
    plugin.until("READY=1");
    plugin.signal(Signal::SIGHUP);
    let told = plugin.until("RELOADING=1");
    assert!(told.last().unwrap().contains("MONOTONIC_USEC="), "{told:?}");
    plugin.until("READY=1");
}

#[test]
fn reload_before_it_is_started_does_not_make_it_so() {
    let plugin = Supervised::start(&["--ready-after", "0"], &[("WATCHDOG_USEC", "200000")]);
    plugin.until("WATCHDOG=1");
    plugin.signal(Signal::SIGHUP);
    let end = Instant::now() + Duration::from_secs(1);
    while Instant::now() < end {
        let message = plugin.heard(TIMEOUT).unwrap();
        assert!(!message.contains("RELOADING=1") && !message.contains("READY=1"), "{message}");
    }
}

#[test]
fn it_says_that_it_stops() {
    let plugin = Supervised::start(&[], &[]);
    plugin.until("WATCHDOG=1");
    plugin.signal(Signal::SIGTERM);
    plugin.until("STOPPING=1");
}

#[test]
fn probe_tells_life_from_readiness() {
    let plugin = Supervised::start(&[], &[]);
    plugin.until("WATCHDOG=1");
    assert!(wait_for(|| plugin.probe(&[]).status.success()), "{:?}", plugin.probe(&[]));
    says(&plugin.probe(&["--ready"]), "not registered with the runtime");
    says(&probe(Path::new("/nonexistent/health"), &[]), "--health-file");
}

fn wait_for(mut ready: impl FnMut() -> bool) -> bool {
    let end = Instant::now() + TIMEOUT;
    while Instant::now() < end {
        if ready() {
            return true;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    false
}
