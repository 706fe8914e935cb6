//! Registrations under load. NRI before 0.6.1 (containerd before 1.7.16) can deadlock at one, for good.

use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use libtest_mimic::Trial;
use nix::sys::signal::Signal;

use crate::bench::{Bench, number, trial};
use crate::crowd::Crowd;
use crate::saboteur::pause;
use crate::steps::{Pair, Policy};
use crate::tally::Tally;
use e2e::{Kind, Plugin, wait_for};

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial("registrations::under_load_do_not_hang_containerd_1_7_24", |bench| {
            registers(bench, Kind::V1_7)
        }),
        trial("registrations::under_load_do_not_hang_containerd_2_4_2", |bench| registers(bench, Kind::V2_4)),
        trial("registrations::are_taken_back_from_containerd_1_7_2", taken_back),
    ]
}

/// As many clients as made containerd 1.7.2 hang within a minute.
const CLIENTS: usize = 12;

fn registers(bench: &Bench, kind: Kind) -> Result<()> {
    let daemon = bench.configured(kind, &["--wrapper", "--nri"])?;
    let (tally, containers) = (Tally::default(), number("CHAOS_CONTAINERS", 300)?);
    let registered = Crowd::new(&daemon, containers, CLIENTS)?.run(&tally, |done| {
        let (mut random, mut registered) = (bench.random(7), 0);
        while !done.load(Ordering::Relaxed) {
            let plugin = Plugin::start(&daemon, None, &[])?;
            registered += 1;
            pause(&mut random, 1, 300, done);
            plugin.stop(Signal::SIGKILL)?;
        }
        Ok(registered)
    })?;
    println!("{kind:?}, {registered} registrations under load, {containers} containers: {tally}");
    tally.nothing_wrong()?;
    ensure!(registered > 10, "only {registered} registrations");
    ensure!(tally.refused_count(Policy::Merge) == 0, "Merge containers were refused: {tally}");
    let pair = Pair::start(&daemon)?;
    pair.works(Policy::Strict)?;
    pair.works(Policy::Merge)?;
    daemon.stop()
}

fn taken_back(bench: &Bench) -> Result<()> {
    let daemon = bench.configured(Kind::V1_7_2, &["--wrapper", "--nri"])?;
    let (tally, containers) = (Tally::default(), number("CHAOS_CONTAINERS", 300)?);
    let why = "containerd v1.7.2 can hang for good when an NRI plugin registers";
    let tries = Crowd::new(&daemon, containers, CLIENTS)?.run(&tally, |done| {
        let (mut random, mut tries) = (bench.random(8), 0);
        while !done.load(Ordering::Relaxed) {
            let plugin = Plugin::launch(&daemon, None, &[])?;
            let said = wait_for(Duration::from_secs(20), || plugin.log().contains(why).then_some(()));
            said.with_context(|| format!("not why it does not register:\n{}", plugin.log()))?;
            pause(&mut random, 1, 300, done);
            plugin.stop(Signal::SIGKILL)?;
            ensure!(plugin.registrations() == 0, "it registered:\n{}", plugin.log());
            ensure!(plugin.log().contains("nri_that_can_deadlock = true"), "{}", plugin.log());
            tries += 1;
        }
        Ok(tries)
    })?;
    println!("1.7.2, {tries} plugins did not register under load, {containers} containers: {tally}");
    tally.nothing_wrong()?;
    ensure!(tries > 10, "only {tries} tries");
    ensure!(
        tally.started_count(Policy::Strict) + tally.started_count(Policy::Merge) == containers,
        "{tally}"
    );

    // Told so, it registers.
    let plugin = Plugin::start(&daemon, Some("nri_that_can_deadlock = true\n"), &[])?;
    let pair = Pair::start(&daemon)?;
    pair.works(Policy::Strict).with_context(|| plugin.log())?;
    daemon.stop()
}
