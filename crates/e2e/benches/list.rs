//! What `strict-groups list` takes on a full node, on a real containerd 1.7. A measurement, not a test.
//!
//! `cargo bench -p strict-groups-e2e --bench list`, as root. `STRICT_GROUPS_BIN` names the release binary, `STRICT_GROUPS_BENCH_LIST` (500)
//! says how many containers.

#![allow(clippy::indexing_slicing, missing_docs, reason = "a bench may panic, and counts little")]

use std::process::{Command, ExitCode};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use e2e::{ContainerSpec, Containerd, Cri, Image, Kind, Machine, Options, Plugin, Pod, Run, plugin, run};

const ANNOTATION: &str = "supplemental-groups-policy.noderesource.dev";
const BUDGET: Duration = Duration::from_millis(300);
const CONTAINERS_OF_A_POD: usize = 10;
const ROUNDS: usize = 20;

fn main() -> ExitCode {
    e2e::bench::main(bench)
}

fn bench() -> Result<()> {
    let count = e2e::bench::setting("LIST", 500)?;
    let machine = Machine::check()?;
    run::clean_up_on_signals()?;
    let run = Arc::new(Run::start()?);
    let daemon = Containerd::start(&machine, &run, Kind::V1_7, Options::default().nri())?;
    daemon.import(&Image::example(&machine)?)?;
    let plugin = Plugin::start(&daemon, None, &[])?;
    eprintln!("starting {count} containers");
    let ids = start(daemon.cri(), count)?;
    drop(plugin);

    let listed = times(|| {
        let output = Command::new(plugin::binary(&run)?)
            .args(["list", "--runtime-endpoint"])
            .arg(daemon.socket())
            .output()?;
        let lines = String::from_utf8_lossy(&output.stdout).lines().count();
        ensure!(output.status.success() && lines == count + 1, "{output:?}");
        Ok(())
    })?;
    // What each container's own status would cost, before anything is made of it.
    let asked = times(|| ids.iter().try_for_each(|id| daemon.cri().status(id).map(drop)))?;
    let verdict = if listed.0 < BUDGET { "ok" } else { "OVER" };
    println!("{count} running containers, {ROUNDS} rounds; median and longest");
    println!("list: {:.0?}, {:.0?}; budget {BUDGET:?}: {verdict}", listed.0, listed.1);
    println!("ContainerStatus of each, one after another: {:.0?}, {:.0?}", asked.0, asked.1);
    daemon.stop()
}

/// Half of the pods are Strict, half Merge; the image gives all of them a group.
fn start(cri: &Cri, count: usize) -> Result<Vec<String>> {
    let mut ids = Vec::with_capacity(count);
    while ids.len() < count {
        let number = ids.len() / CONTAINERS_OF_A_POD;
        let policy = if number.is_multiple_of(2) { "Strict" } else { "Merge" };
        let pod = cri.run_pod(&Pod::new(&format!("pod-{number}")).annotation(ANNOTATION, policy))?;
        for place in 0..CONTAINERS_OF_A_POD.min(count - ids.len()) {
            let spec = ContainerSpec::new(&format!("app-{place}"), "localhost/strict-groups/example:1")
                .user(1000)
                .group(3000)
                .supplemental(&[4000]);
            ids.push(cri.launch(&pod, &spec)?);
        }
    }
    Ok(ids)
}

/// Median and longest.
fn times(work: impl Fn() -> Result<()>) -> Result<(Duration, Duration)> {
    let mut times = Vec::with_capacity(ROUNDS);
    for _ in 0..ROUNDS {
        let start = Instant::now();
        work()?;
        times.push(start.elapsed());
    }
    times.sort_unstable();
    Ok((times[ROUNDS / 2], times[ROUNDS - 1]))
}
