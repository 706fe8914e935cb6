//! The wrapper enforces whatever becomes of plugin and NRI, and refuses nothing for want of them.

use std::sync::atomic::Ordering;

use anyhow::{Context, Result, ensure};
use libtest_mimic::Trial;
use nix::sys::signal::Signal;

use crate::bench::{Bench, number, trial};
use crate::crowd::Crowd;
use crate::saboteur::pause;
use crate::steps::{Pair, Policy, app};
use crate::tally::Tally;
use e2e::{Containerd, Kind, Plugin};

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial("wrapper::without_nri_all_start_with_the_right_groups", alone),
        trial("wrapper::beside_a_plugin_that_is_killed_all_start", beside_a_killed_plugin),
        trial("wrapper::beside_an_nri_that_is_impossible_all_start", impossible_nri),
        trial("wrapper::with_containerd_killed_nothing_gets_through", runtime_killed),
    ]
}

/// How many containers each trial starts.
fn containers() -> Result<usize> {
    Ok(number("CHAOS_CONTAINERS", 300)?.div_ceil(3))
}

/// All containers ran, with the right groups.
fn all_started(tally: &Tally, containers: usize) -> Result<()> {
    tally.nothing_wrong()?;
    let started = [Policy::Strict, Policy::Merge].map(|policy| tally.started_count(policy));
    ensure!(started.iter().sum::<usize>() == containers, "not all of {containers} started: {tally}");
    ensure!(started.iter().all(|count| *count > 0), "{tally}");
    Ok(())
}

fn alone(bench: &Bench) -> Result<()> {
    let daemon = bench.configured(Kind::V1_7, &["--wrapper"])?;
    let (tally, containers) = (Tally::default(), containers()?);
    Crowd::new(&daemon, containers, 8)?.run(&tally, |_| Ok(()))?;
    println!("the wrapper alone, {containers} containers: {tally}");
    all_started(&tally, containers)?;
    daemon.stop()
}

fn beside_a_killed_plugin(bench: &Bench) -> Result<()> {
    let daemon = bench.configured(Kind::V1_7, &["--wrapper", "--nri"])?;
    let (tally, containers) = (Tally::default(), containers()?);
    let kills = Crowd::new(&daemon, containers, 8)?.run(&tally, |done| {
        let (mut random, mut kills) = (bench.random(5), 0);
        while !done.load(Ordering::Relaxed) {
            let plugin = Plugin::launch(&daemon, None, &[])?;
            pause(&mut random, 20, 1500, done);
            plugin.stop(Signal::SIGKILL)?;
            kills += 1;
            pause(&mut random, 0, 800, done);
        }
        Ok(kills)
    })?;
    println!(
        "the wrapper beside a plugin that is killed, {containers} containers: {tally}; plugin kills {kills}"
    );
    all_started(&tally, containers)?;
    ensure!(kills > 1, "the plugin was not killed");
    daemon.stop()
}

/// What runs is more than NRI can tell a plugin, so none is ever in service.
fn impossible_nri(bench: &Bench) -> Result<()> {
    let daemon = bench.configured(Kind::V1_7, &["--wrapper", "--nri"])?;
    fill_nri(&daemon)?;
    let plugin = Plugin::launch(&daemon, None, &[])?;
    let (tally, containers) = (Tally::default(), containers()?);
    Crowd::new(&daemon, containers, 8)?.run(&tally, |_| Ok(()))?;
    println!("the wrapper where NRI is impossible, {containers} containers: {tally}");
    all_started(&tally, containers)?;
    ensure!(plugin.registrations() == 0, "the plugin was in service:\n{}", plugin.log());
    daemon.stop()
}

/// Ten containers with 1.9 MB of environment each: together more than one message of NRI 0.6 may have.
fn fill_nri(daemon: &Containerd) -> Result<()> {
    let pod = daemon.cri().run_pod(&Policy::Merge.pod("large"))?;
    for container in 0..10 {
        // Linux takes up to 128 KiB in one variable.
        let spec = (0..19).fold(app(&format!("large{container}")), |spec, variable| {
            spec.env(&format!("LARGE_{variable}"), &"x".repeat(100_000))
        });
        daemon.cri().launch(&pod, &spec).context("a container with a large environment")?;
    }
    Ok(())
}

fn runtime_killed(bench: &Bench) -> Result<()> {
    let daemon = bench.configured(Kind::V1_7, &["--wrapper"])?;
    let (tally, containers) = (Tally::default(), containers()?);
    let kills = Crowd::new(&daemon, containers, 6)?.run(&tally, |done| {
        let (mut random, mut kills) = (bench.random(6), 0);
        loop {
            pause(&mut random, 500, 8000, done);
            if done.load(Ordering::Relaxed) {
                return Ok(kills);
            }
            daemon.halt(Signal::SIGKILL)?;
            kills += 1;
            pause(&mut random, 0, 1000, done);
            daemon.launch()?;
        }
    })?;
    println!(
        "the wrapper while containerd is killed, {containers} containers: {tally}; containerd kills {kills}"
    );
    tally.nothing_wrong()?;
    ensure!(tally.unknown_count() * 20 <= containers, "too many unknown reasons");
    ensure!(kills > 0 && tally.away_count() > 0, "containerd was never away");
    let pair = Pair::start(&daemon)?;
    pair.works(Policy::Strict)?;
    pair.works(Policy::Merge)?;
    daemon.stop()
}
