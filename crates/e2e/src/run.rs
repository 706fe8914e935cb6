//! One run of the tests or the demo: its folder, the processes started for it,
//! and its end, also when that is a panic or a signal.
//!
//! Everything that a run makes carries the run's name: folder, cgroups, the
//! environment of its processes. So it can be found again without having been
//! written down, even by the next run.

use std::fs;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use anyhow::{Context, Result, ensure};

use super::{cleanup, leftovers};

/// Processes of a run have this variable, with the run's name, in their environment.
pub const VARIABLE: &str = "STRICT_GROUPS_TEST_RUN";

/// Short, because a UNIX socket's path has at most 107 bytes, and open to
/// everyone on the way down: a user namespace's root has to reach its rootfs.
const PARENT: &str = "/tmp";
const PREFIX: &str = "strict-groups-";
const SUFFIX: &str = ".run";

static COUNTER: AtomicU32 = AtomicU32::new(0);
static STATE: Mutex<State> = Mutex::new(State { ending: false, runs: Vec::new() });

struct State {
    /// A signal has come: nothing may be started any more.
    ending: bool,
    /// Names of the runs that this process has to clean up.
    runs: Vec<String>,
}

/// A run; dropping it removes everything that carries its name.
pub struct Run {
    name: String,
    dir: PathBuf,
}

impl Run {
    /// Removes what killed runs left, then makes a new folder.
    pub fn start() -> Result<Self> {
        sweep()?;
        // Orphans of our containerds become our children, so that they can be
        // waited for even where PID 1 does not care.
        nix::sys::prctl::set_child_subreaper(true).context("becoming the reaper of orphans")?;

        let me = std::process::id();
        let name = format!("{PREFIX}{me}-{}{SUFFIX}", COUNTER.fetch_add(1, Ordering::Relaxed));
        let dir = Path::new(PARENT).join(&name);
        let mut state = state();
        ensure!(!state.ending, "interrupted");
        fs::DirBuilder::new()
            .mode(0o755)
            .create(&dir)
            .with_context(|| format!("making {}", dir.display()))?;
        state.runs.push(name.clone());
        drop(state);
        // Renamed, because another run's sweep must not read half of it.
        fs::write(dir.join("owner.new"), format!("{me} {}", start_time(me).unwrap_or_default()))?;
        fs::rename(dir.join("owner.new"), dir.join("owner"))?;
        Ok(Self { name, dir })
    }

    /// The name, unique on this machine; also the name of the top cgroup.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The folder, mode 0755.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Starts a process of this run.
    pub fn spawn(&self, command: &mut Command) -> Result<Child> {
        // The lock is held so that no process starts behind the back of a
        // clean-up that a signal has begun.
        let state = state();
        ensure!(!state.ending, "interrupted");
        let child = command.env(VARIABLE, &self.name).spawn();
        drop(state);
        child.with_context(|| format!("starting {}", command.get_program().display()))
    }

    /// Ends the run now and tells what could not be removed, one line each.
    pub fn end(&self) -> Vec<String> {
        cleanup::clean(&self.name, &self.dir);
        state().runs.retain(|name| *name != self.name);
        leftovers::leftovers(&self.name, &self.dir)
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        for line in self.end() {
            eprintln!("left behind: {line}");
        }
    }
}

/// From now on SIGINT, SIGTERM and SIGHUP clean up all runs, then end the process.
pub fn clean_up_on_signals() -> Result<()> {
    use tokio::signal::unix::{SignalKind, signal};

    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    // Handlers are in place when this function returns, not when the thread gets to run.
    let (mut interrupt, mut terminate, mut hangup) = {
        let _inside = runtime.enter();
        (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?, signal(SignalKind::hangup())?)
    };
    std::thread::spawn(move || {
        let number = runtime.block_on(async {
            tokio::select! {
                _ = interrupt.recv() => 2,
                _ = terminate.recv() => 15,
                _ = hangup.recv() => 1,
            }
        });
        eprintln!("\ninterrupted: cleaning up");
        let names = {
            let mut state = state();
            state.ending = true;
            state.runs.clone()
        };
        let mut clean = true;
        for name in names {
            let dir = Path::new(PARENT).join(&name);
            cleanup::clean(&name, &dir);
            for line in leftovers::leftovers(&name, &dir) {
                clean = false;
                eprintln!("left behind: {line}");
            }
        }
        if clean {
            eprintln!("nothing is left behind");
        }
        std::process::exit(128 + number);
    });
    Ok(())
}

/// True once a signal has begun to end this process: errors from then on mean nothing.
pub fn interrupted() -> bool {
    state().ending
}

/// Cleans up the runs whose process is gone.
fn sweep() -> Result<()> {
    for dir in folders() {
        let Some(name) = dir.file_name().and_then(|name| name.to_str()) else { continue };
        if owner_of(name).is_none_or(|owner| is_alive(owner, &dir)) {
            continue;
        }
        cleanup::clean(name, &dir);
        let left = leftovers::leftovers(name, &dir);
        ensure!(left.is_empty(), "an earlier run cannot be removed:\n{}", left.join("\n"));
    }
    Ok(())
}

/// The folders of all runs, dead or alive, of root.
pub fn folders() -> Vec<PathBuf> {
    let entries = fs::read_dir(PARENT).into_iter().flatten().flatten();
    entries
        .filter(|entry| entry.file_name().to_str().is_some_and(|name| owner_of(name).is_some()))
        .map(|entry| entry.path())
        // Everyone can write to /tmp: only root's own folders count.
        .filter(|path| fs::symlink_metadata(path).is_ok_and(|data| data.is_dir() && data.uid() == 0))
        .collect()
}

/// The process id in a run's name.
fn owner_of(name: &str) -> Option<u32> {
    let (pid, _) = name.strip_prefix(PREFIX)?.strip_suffix(SUFFIX)?.split_once('-')?;
    pid.parse().ok()
}

/// Process ids are used again, so the start time has to be the same too. A
/// folder without the file belongs to a process that is just making it.
fn is_alive(pid: u32, dir: &Path) -> bool {
    let Some(now) = start_time(pid) else { return false };
    match fs::read_to_string(dir.join("owner")) {
        Ok(text) => text == format!("{pid} {now}"),
        Err(_) => true,
    }
}

/// When a process started, in clock ticks since boot (proc(5), stat field 22).
fn start_time(pid: u32) -> Option<String> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name, in parentheses, may itself hold spaces and parentheses.
    let (_, fields) = stat.rsplit_once(')')?;
    fields.split_whitespace().nth(19).map(str::to_owned)
}

fn state() -> MutexGuard<'static, State> {
    STATE.lock().unwrap_or_else(PoisonError::into_inner)
}
