//! What all trials share: the machine and the run. Each starts containerds of its own.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use anyhow::{Context, Result};
use libtest_mimic::{Failed, Trial};

use e2e::random::Random;
use e2e::{Containerd, Image, Kind, Machine, Options, Run, node_config, run};

/// Where and with what the trials run.
pub(crate) struct Bench {
    pub(crate) machine: Machine,
    pub(crate) run: Arc<Run>,
    seed: u64,
}

static BENCH: Mutex<Option<Arc<Bench>>> = Mutex::new(None);

impl Bench {
    /// containerd 1.7 as `strict-groups config containerd` sets it up: NRI on, static gate.
    pub(crate) fn gated(&self) -> Result<Containerd> {
        self.configured(Kind::V1_7, &[])
    }

    /// The same for any containerd, and with these options, such as `--wrapper`.
    pub(crate) fn configured(&self, kind: Kind, ways: &[&str]) -> Result<Containerd> {
        let daemon = node_config::start(&self.machine, &self.run, kind, Options::default())?;
        daemon.import(&Image::example(&self.machine)?)?;
        node_config::configure_for(&self.machine, &daemon, ways)?;
        Ok(daemon)
    }

    /// containerd 1.7 with NRI alone, which lets everything through while no plugin answers.
    pub(crate) fn open(&self) -> Result<Containerd> {
        let daemon = Containerd::start(&self.machine, &self.run, Kind::V1_7, Options::default().nri())?;
        daemon.import(&Image::example(&self.machine)?)?;
        Ok(daemon)
    }

    /// Random numbers for one purpose.
    pub(crate) fn random(&self, stream: u64) -> Random {
        Random::new(self.seed, stream)
    }
}

/// Looks at the machine and begins the run.
pub(crate) fn start() -> Result<()> {
    let machine = Machine::check()?;
    run::clean_up_on_signals()?;
    let run = Arc::new(Run::start()?);
    let seed = u64::try_from(number("CHAOS_SEED", 1)?)?;
    println!("seed {seed}");
    *BENCH.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(Bench { machine, run, seed }));
    Ok(())
}

/// Ends the run; gives what is left, one line each.
pub(crate) fn end() -> Vec<String> {
    let bench = BENCH.lock().unwrap_or_else(PoisonError::into_inner).take();
    bench.map(|bench| bench.run.end()).unwrap_or_default()
}

/// A number from the environment.
pub(crate) fn number(variable: &str, default: usize) -> Result<usize> {
    match std::env::var(variable) {
        Ok(text) => text.parse().with_context(|| format!("{variable}={text} is no number")),
        Err(_) => Ok(default),
    }
}

/// A test that gets the bench.
pub(crate) fn trial(name: &'static str, test: fn(&Bench) -> Result<()>) -> Trial {
    Trial::test(name, move || {
        let bench = BENCH.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let begin = Instant::now();
        let result = bench.context("there is no run").and_then(|bench| test(&bench));
        println!("{name} took {} s", begin.elapsed().as_secs());
        result.map_err(|error| Failed::from(format!("{error:#}")))
    })
}
