//! Kills and stops the plugin at random moments.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Result;
use nix::sys::signal::Signal;

use e2e::random::Random;
use e2e::{Containerd, Plugin};

/// What was done to the plugin.
#[derive(Default)]
pub(crate) struct Harm {
    pub(crate) kills: usize,
    pub(crate) short_stops: usize,
    pub(crate) long_stops: usize,
    pub(crate) connections: usize,
}

impl fmt::Display for Harm {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kills, short_stops, long_stops, connections } = self;
        write!(
            out,
            "plugin kills {kills}, short stops {short_stops}, stops beyond the time-out {long_stops}, \
             connections {connections}"
        )
    }
}

/// Starts a plugin, and harms it until `done`. It is gone afterwards.
pub(crate) fn harm_plugin(daemon: &Containerd, random: &mut Random, done: &AtomicBool) -> Result<Harm> {
    let mut harm = Harm::default();
    let mut plugin = Plugin::start(daemon, None, &[])?;
    loop {
        pause(random, 20, 2500, done);
        if done.load(Ordering::Relaxed) {
            break;
        }
        if random.percent(60) {
            plugin.stop(Signal::SIGKILL)?;
            harm.kills += 1;
            harm.connections += plugin.registrations();
            pause(random, 0, 800, done);
            // Not waited for: the next signal may come before it is registered.
            plugin = Plugin::launch(daemon, None, &[])?;
        } else {
            plugin.signal(Signal::SIGSTOP)?;
            // The runtime waits 2 s for an answer.
            if random.percent(60) {
                harm.short_stops += 1;
                pause(random, 10, 1500, done);
            } else {
                harm.long_stops += 1;
                pause(random, 2100, 3500, done);
            }
            plugin.signal(Signal::SIGCONT)?;
        }
    }
    plugin.stop(Signal::SIGKILL)?;
    harm.connections += plugin.registrations();
    Ok(harm)
}

/// Sleeps for a random number of milliseconds, or until `done`.
pub(crate) fn pause(random: &mut Random, least: usize, most: usize, done: &AtomicBool) {
    let mut left = least + random.below(most - least);
    while left > 0 && !done.load(Ordering::Relaxed) {
        let step = left.min(50);
        std::thread::sleep(Duration::from_millis(step as u64));
        left -= step;
    }
}
