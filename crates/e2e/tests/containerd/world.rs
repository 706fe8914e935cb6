//! What all trials share.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result};
use libtest_mimic::{Failed, Trial};

use e2e::{Containerd, Handler, Image, Kind, Machine, Options, Plugin, Run, run};

/// The machine and two running containerds.
pub(crate) struct World {
    /// containerd 1.7 with NRI on; handlers `runc` (default) and `crun`; pods may have an own network.
    pub(crate) old: Containerd,
    /// The plugin on it.
    pub(crate) old_plugin: Plugin,
    /// containerd 2.x, the same otherwise; it has Strict natively, to compare with.
    pub(crate) new: Containerd,
    /// The plugin on it.
    pub(crate) new_plugin: Plugin,
    pub(crate) machine: Machine,
    pub(crate) run: Arc<Run>,
}

fn health_file(containerd: &Containerd) -> PathBuf {
    containerd.dir().join("health")
}

impl World {
    /// Where the plugin on `old` says that it is registered.
    pub(crate) fn old_health(&self) -> PathBuf {
        health_file(&self.old)
    }
}

/// With this variable set the test binary starts the world, and no trial.
pub(crate) const HOLD: &str = "STRICT_GROUPS_TEST_HOLD";

static WORLD: Mutex<Option<Arc<World>>> = Mutex::new(None);

/// Starts the containerds.
pub(crate) fn start() -> Result<()> {
    let machine = Machine::check()?;
    run::clean_up_on_signals()?;
    let run = Arc::new(Run::start()?);
    let options = || {
        let runc = Handler::new("runc", machine.runc());
        Options::default().handler(runc).handler(Handler::new("crun", machine.crun())).network()
    };
    let old = Containerd::start(&machine, &run, Kind::V1_7, options().nri()).context("containerd 1.7")?;
    let new = Containerd::start(&machine, &run, Kind::V2, options().nri()).context("containerd 2")?;
    for daemon in [&old, &new] {
        daemon.import(&Image::example(&machine)?)?;
    }
    let health = health_file(&old);
    let health = health.to_str().context("the health file's path")?;
    let old_plugin = Plugin::start(&old, None, &["--health-file", health])?;
    let new_plugin = Plugin::start(&new, None, &[])?;
    *WORLD.lock().unwrap_or_else(PoisonError::into_inner) =
        Some(Arc::new(World { old, old_plugin, new, new_plugin, machine, run }));
    Ok(())
}

/// Prints the run's name and waits to be ended by a signal.
pub(crate) fn hold() -> ! {
    if let Some(world) = WORLD.lock().unwrap_or_else(PoisonError::into_inner).as_ref() {
        println!("{}", world.run.dir().display());
    }
    loop {
        std::thread::park();
    }
}

/// Stops everything; gives what is left, one line each.
pub(crate) fn end() -> Vec<String> {
    let world = WORLD.lock().unwrap_or_else(PoisonError::into_inner).take();
    let Some(world) = world else { return Vec::new() };
    let run = Arc::clone(&world.run);
    // The pods go the regular way first, then the run takes what is left.
    let mut problems = Vec::new();
    for daemon in [&world.old, &world.new] {
        if let Err(error) = daemon.stop() {
            problems.push(format!("{:?}: {error:#}", daemon.kind()));
        }
    }
    drop(world);
    problems.extend(run.end());
    problems
}

/// A test that gets the world.
pub(crate) fn trial(name: &'static str, test: fn(&World) -> Result<()>) -> Trial {
    Trial::test(name, move || {
        let world = WORLD.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let world = world.context("the containerds do not run").map_err(|error| failed(&error))?;
        test(&world).map_err(|error| failed(&error))
    })
}

fn failed(error: &anyhow::Error) -> Failed {
    Failed::from(format!("{error:#}"))
}
