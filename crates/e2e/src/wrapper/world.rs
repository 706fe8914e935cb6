//! What all trials share.

use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result};
use libtest_mimic::{Failed, Trial};

use crate::{Machine, Run, run};

/// The machine, and this run's folder.
pub struct World {
    pub machine: Machine,
    pub run: Arc<Run>,
}

static WORLD: Mutex<Option<Arc<World>>> = Mutex::new(None);
static FOLDERS: AtomicUsize = AtomicUsize::new(0);

impl World {
    /// A new folder of the run's.
    pub fn folder(&self) -> Result<PathBuf> {
        let path = self.run.dir().join(format!("w{}", FOLDERS.fetch_add(1, Ordering::Relaxed)));
        fs::create_dir(&path)?;
        Ok(path)
    }
}

pub fn start() -> Result<()> {
    let machine = Machine::check()?;
    run::clean_up_on_signals()?;
    let run = Arc::new(Run::start()?);
    *WORLD.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(World { machine, run }));
    Ok(())
}

/// Removes everything; gives what is left, one line each.
pub fn end() -> Vec<String> {
    let world = WORLD.lock().unwrap_or_else(PoisonError::into_inner).take();
    world.map_or_else(Vec::new, |world| world.run.end())
}

/// A test that gets the world.
pub fn trial(name: &str, test: impl FnOnce(&World) -> Result<()> + Send + 'static) -> Trial {
    Trial::test(name, move || {
        let world = WORLD.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let world = world.context("nothing is set up").map_err(|error| failed(&error))?;
        test(&world).map_err(|error| failed(&error))
    })
}

fn failed(error: &anyhow::Error) -> Failed {
    Failed::from(format!("{error:#}"))
}
