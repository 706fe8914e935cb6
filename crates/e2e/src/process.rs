//! The plugin as a process, without a runtime.

use std::{
    fs::{self, File, Permissions},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use hostfs::ownership;
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

/// Nothing here takes this long unless it hangs.
pub const TIMEOUT: Duration = Duration::from_secs(20);

pub const WAITING: &str = "not connected to the runtime, waiting for it";

/// A user other than root.
pub const NOBODY: u32 = 65534;

pub struct Process {
    child: Child,
    dir: tempfile::TempDir,
}

impl Process {
    /// `arguments` come before the command's own; there is no socket at [`Self::socket`].
    pub fn start(arguments: &[&str], environment: &[(&str, &str)]) -> Self {
        Self::start_in(tempfile::tempdir().unwrap(), arguments, environment)
    }

    pub fn start_in(dir: tempfile::TempDir, arguments: &[&str], environment: &[(&str, &str)]) -> Self {
        let mut command = Command::new(binary(dir.path()));
        command.args(arguments).args(plugin(dir.path()));
        command.env_remove("RUST_LOG").env_remove("JOURNAL_STREAM").envs(environment.iter().copied());
        Self::spawn(dir, &mut command)
    }

    /// Any command, whose output becomes the log.
    pub fn spawn(dir: tempfile::TempDir, command: &mut Command) -> Self {
        let log = File::create(dir.path().join("log")).unwrap();
        let child =
            command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap();
        Self { child, dir }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn socket(&self) -> PathBuf {
        socket(self.dir.path())
    }

    pub fn log(&self) -> String {
        fs::read_to_string(self.dir.path().join("log")).unwrap()
    }

    /// Waits until the log has `text` so many times.
    pub fn until(&self, text: &str, times: usize) {
        let end = Instant::now() + TIMEOUT;
        while self.log().matches(text).count() < times {
            assert!(Instant::now() < end, "no {text:?} in {}", self.log());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Waits until it handles this signal (proc(5), `SigCgt`).
    pub fn until_it_handles(&self, signal: Signal) {
        let end = Instant::now() + TIMEOUT;
        loop {
            let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
            let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:")).unwrap().trim();
            if u64::from_str_radix(caught, 16).unwrap() & (1 << (signal as u32 - 1)) != 0 {
                return;
            }
            assert!(Instant::now() < end, "{signal} is not handled: {}", self.log());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Ends it with this signal; its exit code and all of its log.
    pub fn end(mut self, signal: Signal) -> (Option<i32>, String) {
        kill(Pid::from_raw(self.child.id().try_into().unwrap()), signal).unwrap();
        self.wait()
    }

    /// Waits for its own end.
    pub fn ended(mut self) -> (Option<i32>, String) {
        self.wait()
    }

    fn wait(&mut self) -> (Option<i32>, String) {
        let end = Instant::now() + TIMEOUT;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return (status.code(), self.log());
            }
            assert!(Instant::now() < end, "it did not end: {}", self.log());
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The plugin's command and options in this folder.
pub fn plugin(dir: &Path) -> [std::ffi::OsString; 3] {
    ["plugin".into(), "--nri-socket".into(), socket(dir).into()]
}

fn socket(dir: &Path) -> PathBuf {
    dir.join("nri.sock")
}

/// The binary of this build where it is root's alone, else a copy in `dir`.
pub fn binary(dir: &Path) -> PathBuf {
    let built = crate::plugin::built().unwrap();
    if ownership::check(&built, ownership::Kind::File).is_ok() {
        built
    } else {
        copy(&dir.join("strict-groups"))
    }
}

/// Copies the binary of this build to `place`. By another process: no child
/// of this one can then hold the file open for writing, which keeps it from being run.
pub fn copy(place: &Path) -> PathBuf {
    let install = Command::new("install")
        .args(["-m", "0755"])
        .arg(crate::plugin::built().unwrap())
        .arg(place)
        .status()
        .unwrap();
    assert!(install.success());
    place.to_owned()
}

pub fn mode(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}
