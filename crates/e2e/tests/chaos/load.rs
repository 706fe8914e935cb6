//! Many Strict containers: what the plugin uses stays the same.

use std::sync::Barrier;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::ScopedJoinHandle;

use anyhow::{Context, Result, ensure};
use libtest_mimic::Trial;

use crate::bench::{Bench, number, trial};
use crate::steps::{Policy, again, app};
use e2e::usage::Usage;
use e2e::{Containerd, Identity, Plugin, RunningPod};

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial("load::one_after_another_leaves_nothing_in_the_plugin", one_after_another),
        trial("load::a_hundred_at_once_leave_nothing_in_the_plugin", at_once),
    ]
}

/// From here on memory must not grow: buffers and caches are filled.
const WARM: usize = 200;
/// At once: so many pods with so many containers each.
const PODS: usize = 10;
const EACH: usize = 10;
/// What containerd 1.7 says where its own shim did not answer it in time: it takes the pod's sandbox for dead. Seen
/// on a machine with ten times more work than processors.
const SANDBOX_LOST: &str = "/proc/0/ns/";

fn one_after_another(bench: &Bench) -> Result<()> {
    let daemon = bench.gated()?;
    let plugin = Plugin::start(&daemon, None, &[])?;
    let pid = plugin.pid().context("no process")?;
    let cri = daemon.cri();
    let pod = cri.run_pod(&Policy::Strict.pod("load"))?;
    let start = first(&daemon, pid, &pod)?;

    let containers = number("LOAD_CONTAINERS", 250)?.max(WARM + 50);
    let (mut samples, mut refused) = (Vec::new(), 0);
    for count in 0..containers {
        if count == WARM || (count > WARM && (count - WARM).is_multiple_of(500)) {
            samples.push((count, Usage::of(pid)?));
        }
        let (id, tried) = again(|tried| {
            let spec = app(&format!("c{count}-{tried}")).command(&["/bin/true"]);
            Ok(cri.launch(&pod, &spec).map_err(|error| error.message))
        })?;
        refused += tried;
        // Not killed: it ends by itself.
        ensure!(cri.wait_exit(&id)? == 0, "container {count} failed");
        cri.remove(&id)?;
    }
    let end = Usage::settled(pid, &start)?;
    println!("load, {containers} Strict containers one after another, {refused} tried again: start {start}");
    for (count, sample) in &samples {
        println!("load: after {count}: {sample}");
    }
    println!("load: end {end}");
    let (_, warm) = samples.first().context("no sample")?;
    flat(&start, warm, &end)?;
    // Each of them was seen: the figures are those of work.
    let seen = plugin.log().matches(" strict pod=").count();
    ensure!(seen == containers + 1, "{seen} of {containers} + 1 containers were enforced");
    daemon.stop()
}

fn at_once(bench: &Bench) -> Result<()> {
    let daemon = bench.gated()?;
    let plugin = Plugin::start(&daemon, None, &[])?;
    let pid = plugin.pid().context("no process")?;
    let cri = daemon.cri();
    let pods: Vec<RunningPod> = (0..PODS)
        .map(|number| cri.run_pod(&Policy::Strict.pod(&format!("crowd{number}"))))
        .collect::<Result<_, _>>()?;
    let start = first(&daemon, pid, pods.first().context("no pod")?)?;

    // The first round fills buffers.
    let again = round(&daemon, &pods, 1)?;
    let warm = Usage::settled(pid, &start)?;
    let again = again + round(&daemon, &pods, 2)?;
    let end = Usage::settled(pid, &start)?;
    println!(
        "load, {} Strict containers at once, twice, {again} tried again: start {start}; {warm}; {end}",
        PODS * EACH
    );
    flat(&start, &warm, &end)?;
    daemon.stop()
}

/// Starts all containers at the same moment, looks at each and removes it.
/// Gives how many had to be tried again.
fn round(daemon: &Containerd, pods: &[RunningPod], round: usize) -> Result<usize> {
    let cri = daemon.cri();
    let barrier = Barrier::new(PODS * EACH);
    let refused = AtomicUsize::new(0);
    let one = |pod: &RunningPod, number: usize| -> Result<Option<String>> {
        barrier.wait();
        let launch = |tried| {
            let name = format!("r{round}-c{number}-{tried}");
            Ok(cri.launch(pod, &app(&name)).map_err(|error| error.message))
        };
        let (id, tried) = match again(launch) {
            Ok(launched) => launched,
            Err(error) if error.to_string().contains(SANDBOX_LOST) => return Ok(None),
            Err(error) => return Err(error.context(format!("container {number}"))),
        };
        refused.fetch_add(tried, Ordering::Relaxed);
        let first = Identity::of_process(cri.status(&id)?.pid)?;
        ensure!(first.groups() == Policy::Strict.groups(), "container {number}: {first}");
        Ok(Some(id))
    };
    let one = &one;
    let ids: Vec<Option<String>> = std::thread::scope(|scope| {
        let numbered = pods.iter().flat_map(|pod| (0..EACH).map(move |number| (pod, number)));
        let threads: Vec<_> = numbered.map(|(pod, number)| scope.spawn(move || one(pod, number))).collect();
        let join = |thread: ScopedJoinHandle<'_, Result<Option<String>>>| {
            thread.join().map_err(|_| anyhow::anyhow!("a thread panicked"))?
        };
        threads.into_iter().map(join).collect::<Result<_>>()
    })?;
    let ids: Vec<String> = ids.into_iter().flatten().collect();
    ensure!(ids.len() * 2 > PODS * EACH, "containerd started only {}", ids.len());
    for id in ids {
        cri.stop(&id)?;
        cri.remove(&id)?;
    }
    Ok(refused.into_inner())
}

/// What the plugin uses once it has seen a container: it connects to containerd when it has to.
fn first(daemon: &Containerd, pid: u32, pod: &RunningPod) -> Result<Usage> {
    let id = daemon.cri().launch(pod, &app("first"))?;
    daemon.cri().stop(&id)?;
    daemon.cri().remove(&id)?;
    let now = Usage::of(pid)?;
    Usage::settled(pid, &Usage { threads: 1, ..now })
}

fn flat(start: &Usage, warm: &Usage, end: &Usage) -> Result<()> {
    ensure!(end.descriptors == start.descriptors, "descriptors: {start}, then {end}");
    ensure!(end.threads == start.threads, "threads: {start}, then {end}");
    ensure!(end.rss <= warm.rss + 1024, "memory: {warm}, then {end}");
    Ok(())
}
