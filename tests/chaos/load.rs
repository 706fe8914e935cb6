//! Many Strict containers: what the plugin uses stays the same.

use std::sync::Barrier;

use anyhow::{Context, Result, ensure};
use libtest_mimic::Trial;

use crate::bench::{Bench, number, trial};
use crate::process::Usage;
use crate::steps::{Policy, app};
use crate::support::{Identity, Plugin, RunningPod};

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial("load::one_after_another_leaves_nothing_in_the_plugin", one_after_another),
        trial("load::a_hundred_at_once_leave_nothing_in_the_plugin", at_once),
    ]
}

/// From here on memory must not grow: buffers and caches are filled.
const WARM: usize = 200;

fn one_after_another(bench: &Bench) -> Result<()> {
    let daemon = bench.gated()?;
    let plugin = Plugin::start(&daemon, None, &[])?;
    let pid = plugin.pid().context("no process")?;
    let cri = daemon.cri();
    let pod = cri.run_pod(&Policy::Strict.pod("load"))?;
    let start = Usage::of(pid)?;

    let containers = number("LOAD_CONTAINERS", 300)?.max(WARM + 50);
    let mut samples = Vec::new();
    for count in 0..containers {
        if count == WARM || (count > WARM && (count - WARM) % 500 == 0) {
            samples.push((count, Usage::of(pid)?));
        }
        let id = cri.launch(&pod, &app(&format!("c{count}")).command(&["/bin/true"]))?;
        // Not killed: it ends by itself.
        ensure!(cri.wait_exit(&id)? == 0, "container {count} failed");
        cri.remove(&id)?;
    }
    let end = Usage::settled(pid, &start)?;
    println!("load, {containers} Strict containers one after another: start {start}");
    for (count, sample) in &samples {
        println!("load: after {count}: {sample}");
    }
    println!("load: end {end}");
    let (_, warm) = samples.first().context("no sample")?;
    flat(&start, warm, &end)?;
    // Each of them was seen: the figures are those of work.
    let seen = plugin.log().matches(" strict pod=").count();
    ensure!(seen == containers, "{seen} of {containers} containers were enforced");
    daemon.stop()
}

fn at_once(bench: &Bench) -> Result<()> {
    const PODS: usize = 10;
    const EACH: usize = 10;
    let daemon = bench.gated()?;
    let plugin = Plugin::start(&daemon, None, &[])?;
    let pid = plugin.pid().context("no process")?;
    let cri = daemon.cri();
    let pods: Vec<RunningPod> = (0..PODS)
        .map(|number| cri.run_pod(&Policy::Strict.pod(&format!("crowd{number}"))))
        .collect::<Result<_, _>>()?;
    let start = Usage::of(pid)?;

    // The first round fills buffers.
    let mut ends = Vec::new();
    for round in 0..2 {
        let barrier = Barrier::new(PODS * EACH);
        let ids: Vec<String> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..PODS * EACH)
                .map(|number| {
                    let (pod, barrier) = (&pods[number % PODS], &barrier);
                    scope.spawn(move || -> Result<String> {
                        barrier.wait();
                        let id = cri.launch(pod, &app(&format!("r{round}-c{number}")))?;
                        let first = Identity::of_process(cri.status(&id)?.pid)?;
                        ensure!(first.groups() == Policy::Strict.groups(), "container {number}: {first}");
                        Ok(id)
                    })
                })
                .collect();
            threads
                .into_iter()
                .map(|thread| thread.join().map_err(|_| anyhow::anyhow!("a thread panicked"))?)
                .collect::<Result<_>>()
        })?;
        for id in ids {
            cri.stop(&id)?;
            cri.remove(&id)?;
        }
        ends.push(Usage::settled(pid, &start)?);
    }
    println!("load, {} Strict containers at once, twice: start {start}; {}; {}", PODS * EACH, ends[0], ends[1]);
    flat(&start, &ends[0], &ends[1])?;
    daemon.stop()
}

fn flat(start: &Usage, warm: &Usage, end: &Usage) -> Result<()> {
    ensure!(end.descriptors == start.descriptors, "descriptors: {start}, then {end}");
    ensure!(end.threads == start.threads, "threads: {start}, then {end}");
    ensure!(end.rss <= warm.rss + 1024, "memory: {warm}, then {end}");
    Ok(())
}
