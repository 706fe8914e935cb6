//! The plugin is killed and stopped at random moments while pods start.

use anyhow::{Context, Result, ensure};
use libtest_mimic::Trial;

use crate::bench::{Bench, number, trial};
use crate::crowd::Crowd;
use crate::saboteur::{harm_plugin, pause};
use crate::steps::{Pair, Policy};
use crate::tally::Tally;
use e2e::Plugin;

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial("plugin_killed::nothing_gets_through_the_static_gate", with_gate),
        trial("plugin_killed::without_the_static_gate_wrong_groups_get_through", without_gate),
    ]
}

fn with_gate(bench: &Bench) -> Result<()> {
    let daemon = bench.gated()?;
    let tally = Tally::default();
    let containers = number("CHAOS_CONTAINERS", 300)?;
    let crowd = Crowd::new(&daemon, containers, 8)?;
    let harm = crowd.run(&tally, |done| harm_plugin(&daemon, &mut bench.random(1), done))?;
    println!("plugin killed and stopped, {containers} containers: {tally}; {harm}");
    tally.ours_alone()?;
    ensure!(harm.kills > 0 && harm.short_stops + harm.long_stops > 0, "it was not harmed");
    ensure!(tally.refused_count(Policy::Strict) > 0, "no container noticed anything");
    ensure!(tally.started_count(Policy::Strict) > 0, "no Strict container got through");
    ensure!(tally.refused_count(Policy::Merge) == 0, "Merge containers were refused");

    let plugin = Plugin::start(&daemon, None, &[])?;
    let pair = Pair::start(&daemon)?;
    pair.works(Policy::Strict).with_context(|| plugin.log())?;
    pair.works(Policy::Merge)?;
    daemon.stop()
}

/// The check itself can fail: NRI alone fails open.
fn without_gate(bench: &Bench) -> Result<()> {
    let daemon = bench.open()?;
    let tally = Tally::default();
    let containers = 100;
    let crowd = Crowd::new(&daemon, containers, 8)?;
    let kills = crowd.run(&tally, |done| {
        let (mut random, mut kills) = (bench.random(2), 0);
        while !done.load(std::sync::atomic::Ordering::Relaxed) {
            let plugin = Plugin::start(&daemon, None, &[])?;
            pause(&mut random, 20, 1500, done);
            drop(plugin);
            kills += 1;
            pause(&mut random, 20, 1500, done);
        }
        Ok(kills)
    })?;
    println!("the same without the static gate, {containers} containers: {tally}; plugin kills {kills}");
    ensure!(tally.wrong_count() > 0, "nothing got through: the trial with the gate proves nothing");
    daemon.stop()
}
