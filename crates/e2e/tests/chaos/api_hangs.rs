//! containerd's containers API stops answering at random moments: the plugin
//! lives, and has to say in time what it cannot do.

use std::sync::atomic::Ordering;

use anyhow::{Context, Result, ensure};
use libtest_mimic::Trial;

use crate::bench::{Bench, number, trial};
use crate::crowd::Crowd;
use crate::saboteur::pause;
use crate::steps::{Pair, Policy};
use crate::tally::Tally;
use crate::valve::Valve;
use e2e::Plugin;

pub(crate) fn trials() -> Vec<Trial> {
    vec![trial("api_hangs::strict_is_refused_in_time", hangs)]
}

fn hangs(bench: &Bench) -> Result<()> {
    let daemon = bench.gated()?;
    let socket = daemon.dir().join("valve.sock");
    let valve = Valve::start(&socket, &daemon.socket())?;
    let plugin = Plugin::start_with_api(&daemon, &socket)?;

    let tally = Tally::default();
    let containers = number("CHAOS_CONTAINERS", 300)?.div_ceil(4);
    let crowd = Crowd::new(&daemon, containers, 6)?;
    let shut = crowd.run(&tally, |done| {
        let (mut random, mut shut) = (bench.random(5), 0);
        while !done.load(Ordering::Relaxed) {
            pause(&mut random, 20, 2000, done);
            valve.set_open(false);
            shut += 1;
            pause(&mut random, 20, 3000, done);
            valve.set_open(true);
        }
        Ok(shut)
    })?;
    let connections = plugin.registrations();
    println!(
        "containers API hangs, {containers} containers: {tally}; hung {shut} times, connections {connections}"
    );
    tally.ours_alone()?;
    ensure!(tally.refused_count(Policy::Strict) > 0, "no container noticed anything");
    ensure!(tally.started_count(Policy::Strict) > 0, "no Strict container got through");
    ensure!(tally.refused_count(Policy::Merge) == 0, "Merge containers were refused");

    let pair = Pair::start(&daemon)?;
    valve.set_open(false);
    // The plugin may trust the API still, because it just worked: then it is the gate that says no.
    pair.refuses("strict-groups: ")?;
    // In time means that it was the plugin that refused, before the runtime gave it up.
    pair.refuses("did not answer within").with_context(|| plugin.log())?;
    valve.set_open(true);
    pair.works(Policy::Strict)?;
    pair.works(Policy::Merge)?;
    daemon.stop()
}
