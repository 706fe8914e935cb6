//! containerd is killed at random moments too.

use anyhow::{Context, Result, ensure};
use libtest_mimic::Trial;
use nix::sys::signal::Signal;
use std::sync::atomic::Ordering;

use crate::bench::{Bench, number, trial};
use crate::crowd::Crowd;
use crate::saboteur::{harm_plugin, pause};
use crate::steps::{Pair, Policy};
use crate::tally::Tally;
use e2e::Plugin;

pub(crate) fn trials() -> Vec<Trial> {
    vec![trial("runtime_killed::nothing_gets_through", killed)]
}

fn killed(bench: &Bench) -> Result<()> {
    let daemon = bench.gated()?;
    let tally = Tally::default();
    let containers = number("CHAOS_CONTAINERS", 300)?.div_ceil(3);
    let crowd = Crowd::new(&daemon, containers, 6)?;
    let (harm, kills) = crowd.run(&tally, |done| {
        std::thread::scope(|scope| {
            let harm = scope.spawn(|| harm_plugin(&daemon, &mut bench.random(3), done));
            let (mut random, mut kills) = (bench.random(4), 0);
            loop {
                pause(&mut random, 500, 8000, done);
                if done.load(Ordering::Relaxed) {
                    break;
                }
                daemon.halt(Signal::SIGKILL)?;
                kills += 1;
                pause(&mut random, 0, 1000, done);
                daemon.launch()?;
            }
            let harm = harm.join().map_err(|_| anyhow::anyhow!("the saboteur panicked"))??;
            Ok((harm, kills))
        })
    })?;
    println!("containerd killed too, {containers} containers: {tally}; {harm}; containerd kills {kills}");
    tally.nothing_wrong()?;
    // A containerd that was killed may find its own state wanting, and says so in many ways.
    ensure!(tally.unknown_count() * 20 <= containers, "too many unknown reasons");
    ensure!(kills > 0 && tally.away_count() > 0, "containerd was never away");
    ensure!(tally.started_count(Policy::Strict) > 0, "no Strict container got through");

    let plugin = Plugin::start(&daemon, None, &[])?;
    let pair = Pair::start(&daemon)?;
    pair.works(Policy::Strict).with_context(|| plugin.log())?;
    pair.works(Policy::Merge)?;
    daemon.stop()
}
