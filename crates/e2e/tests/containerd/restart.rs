//! containerd goes away and comes back under the plugin.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use libtest_mimic::Trial;
use nix::sys::signal::Signal;

use crate::steps::{STRICT, expect, fresh, named, strict, strict_works};
use crate::world::{World, trial};
use e2e::plugin::REGISTERED;
use e2e::{Kind, Plugin, wait_for};

const TIMEOUT: Duration = Duration::from_secs(20);

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial("restart::plugin_outlives_containerd_1_7", |world| outlives(world, Kind::V1_7)),
        trial("restart::plugin_outlives_containerd_2", |world| outlives(world, Kind::V2)),
    ]
}

fn outlives(world: &World, kind: Kind) -> Result<()> {
    let daemon = fresh(world, kind)?;
    let plugin = Plugin::start(&daemon, None, &[])?;
    let pod = daemon.cri().run_pod(&strict("restart"))?;
    let lasting = daemon.cri().launch(&pod, &named("lasting"))?;
    let created = daemon.cri().create(&pod, &named("created"))?;
    let before = descriptors(&plugin)?;

    for (times, signal) in [Signal::SIGTERM, Signal::SIGKILL, Signal::SIGTERM].into_iter().enumerate() {
        daemon.halt(signal)?;
        let seen = wait_for(TIMEOUT, || last_state(&plugin.log()).filter(|(_, connected)| !connected));
        let (seen, _) = seen.with_context(|| format!("{signal}: it did not notice: {}", plugin.log()))?;
        daemon.launch()?;
        let back = || last_state(&plugin.log()).filter(|(at, connected)| *connected && *at > seen);
        wait_for(TIMEOUT, back).with_context(|| format!("{signal}: it did not return: {}", plugin.log()))?;
        strict_works(&daemon, &format!("restart-{times}")).with_context(|| format!("after {signal}"))?;
        expect(&daemon, &lasting, &STRICT).context("running over the restart")?;
    }
    daemon.cri().start(&created)?;
    expect(&daemon, &created, &STRICT).context("created before the restarts, started after them")?;

    let after = descriptors(&plugin)?;
    ensure!(after == before, "open descriptors: {before} before the restarts, {after} after them");
    ensure!(!plugin.log().contains("ERROR"), "{}", plugin.log());
    drop(plugin);
    daemon.stop()
}

/// Where the log last says that the plugin is connected or is not, and which of the two. It may
/// say so more than once: a containerd that ends can still accept the plugin that it just lost.
fn last_state(log: &str) -> Option<(usize, bool)> {
    let connected = log.rfind(REGISTERED).map(|at| (at, true));
    let lost = log.rfind("not registered with the runtime any more").map(|at| (at, false));
    connected.max(lost)
}

fn descriptors(plugin: &Plugin) -> Result<usize> {
    let pid = plugin.pid().context("the plugin does not run")?;
    Ok(fs::read_dir(format!("/proc/{pid}/fd"))?.count())
}
