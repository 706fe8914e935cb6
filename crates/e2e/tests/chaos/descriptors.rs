//! The plugin may open only few files, from too few to start to just enough.

use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use libtest_mimic::Trial;

use crate::bench::{Bench, trial};
use crate::steps::{Pair, Policy};
use crate::tally;
use e2e::usage::cpu;
use e2e::{Containerd, Plugin, wait_for};

pub(crate) fn trials() -> Vec<Trial> {
    vec![trial("descriptors::too_few_are_survived", limited)]
}

/// How a plugin with so few descriptors did.
#[derive(Debug, PartialEq, Eq)]
enum Fate {
    /// It ended and said why.
    Ended,
    /// It runs; Strict was refused.
    Refuses,
    /// It runs; Strict works.
    Works,
}

fn limited(bench: &Bench) -> Result<()> {
    let daemon = bench.gated()?;
    let pair = Pair::start(&daemon)?;
    let mut fates = Vec::new();
    for limit in 3..=14 {
        let fate = one(&daemon, &pair, limit).with_context(|| format!("with {limit} descriptors"))?;
        println!("plugin with {limit} descriptors: {fate:?}");
        fates.push(fate);
    }
    ensure!(fates.contains(&Fate::Ended) && fates.contains(&Fate::Works), "not the limits that matter");
    ensure!(fates.contains(&Fate::Refuses), "its sockets never reached the limit");
    daemon.stop()
}

fn one(daemon: &Containerd, pair: &Pair, limit: u32) -> Result<Fate> {
    let plugin = Plugin::launch_by(daemon, &["prlimit", &format!("--nofile={limit}:1024")])?;
    let decided = wait_for(Duration::from_secs(10), || {
        let log = plugin.log();
        let said = plugin.registrations() > 0 || log.contains("not connected");
        (said || !plugin.is_running()).then_some(())
    });
    decided.with_context(|| format!("it does nothing: {}", plugin.log()))?;

    let (begin, used) = (Instant::now(), pid(&plugin).and_then(cpu).unwrap_or_default());
    let strict = pair.attempt(Policy::Strict)?;
    if let Err(text) = &strict {
        ensure!(tally::reason(text).is_ours(), "not in words of ours: {text}");
    }
    pair.works(Policy::Merge)?;
    ensure!(!plugin.log().contains("panicked"), "{}", plugin.log());
    if !plugin.is_running() {
        ensure!(strict.is_err(), "Strict without a plugin");
        ensure!(plugin.log().contains("(os error 24)"), "it does not say why: {}", plugin.log());
        return Ok(Fate::Ended);
    }

    // One that spins would use all of the time that passes.
    std::thread::sleep(Duration::from_secs(1).saturating_sub(begin.elapsed()));
    let (used, passed) = (cpu(pid(&plugin)?)?.saturating_sub(used), begin.elapsed());
    ensure!(used * 3 < passed, "it used {used:?} of {passed:?}");

    // With enough again, it works.
    let pid = pid(&plugin)?.to_string();
    let raised = Command::new("prlimit").args(["--pid", &pid, "--nofile=1024:1024"]).status()?;
    ensure!(raised.success(), "prlimit: {raised}");
    plugin.wait_registered(1)?;
    pair.works(Policy::Strict).with_context(|| plugin.log())?;
    Ok(if strict.is_ok() { Fate::Works } else { Fate::Refuses })
}

fn pid(plugin: &Plugin) -> Result<u32> {
    plugin.pid().context("the plugin does not run")
}
