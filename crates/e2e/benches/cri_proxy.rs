//! What the CRI proxy adds to a call of a kubelet, beside the same call made directly, in one run. A measurement, not
//! a test.
//!
//! `cargo bench -p strict-groups-e2e --bench cri_proxy`, as root. `STRICT_GROUPS_BIN` names the release binary,
//! `STRICT_GROUPS_BENCH_CALLS` (2000) says how many pairs of each call.

#![allow(clippy::indexing_slicing, missing_docs, reason = "a bench may panic, and counts little")]

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, Result, ensure};

use e2e::bench::setting;
use e2e::bench::statistics::{Sample, differences};
use e2e::bench::table::Table;
use e2e::random::Random;
use e2e::usage::Usage;
use e2e::{ContainerSpec, Containerd, Cri, Image, Kind, Machine, Options, Plugin, Pod, Proxy, Run, run};

const CONTAINERS: usize = 30;
const BUDGET_MICROSECONDS: f64 = 150.0;
const BUDGET_KIB: u64 = 10 * 1024;

fn main() -> ExitCode {
    e2e::bench::main(bench)
}

fn bench() -> Result<()> {
    let calls = setting("CALLS", 2000)?;
    let machine = Machine::check()?;
    run::clean_up_on_signals()?;
    let run = Arc::new(Run::start()?);
    let daemon = Containerd::start(&machine, &run, Kind::V1_7, Options::default().nri())?;
    daemon.import(&Image::example(&machine)?)?;
    // As on a node, whose /run is in memory.
    let memory = tempfile::Builder::new().prefix("strict-groups-bench-").tempdir_in("/dev/shm")?;
    let (health, requests) = (memory.path().join("health"), memory.path().join(e2e::plugin::REQUESTS));
    let [health_file, requests_dir] = [&health, &requests].map(|path| path.to_str().context("a path"));
    let arguments = ["--health-file", health_file?, "--requests-dir", requests_dir?];
    let _plugin = Plugin::start(&daemon, None, &arguments)?;
    let socket = daemon.dir().join("cri.sock");
    let proxy = Proxy::start(&daemon, &health, &socket)?;
    measure(&daemon, &proxy, calls)?;
    drop(proxy);
    daemon.stop()
}

fn measure(daemon: &Containerd, proxy: &Proxy, calls: usize) -> Result<()> {
    let (direct, through, pid) = (daemon.cri(), &proxy.cri, proxy.pid());
    let features = through.features()?.unwrap_or_default();
    ensure!(features.supplemental_groups_policy, "the proxy does not do its work");
    let pod = through.run_pod(&Pod::new("bench").strict_field())?;
    let ids = (0..CONTAINERS).map(|number| {
        let spec = ContainerSpec::new(&format!("app-{number}"), "localhost/strict-groups/example:1");
        Ok(through.launch(&pod, &spec.user(1000).group(3000).supplemental(&[4000]).strict_field())?)
    });
    let ids: Vec<String> = ids.collect::<Result<_>>()?;
    let mut table = Table::new();
    let start = Usage::of(pid)?;

    pairs(&mut table, "Version", calls, [direct, through], |cri, _| Ok(cri.version().map(drop)?))?;
    pairs(&mut table, "Status", calls, [direct, through], |cri, _| Ok(cri.features().map(drop)?))?;
    let name = format!("ListPodSandbox, {CONTAINERS} containers");
    pairs(&mut table, &name, calls, [direct, through], |cri, _| Ok(cri.pods().map(drop)?))?;
    pairs(&mut table, "ContainerStatus", calls, [direct, through], |cri, number| {
        Ok(cri.plain_status(&ids[number % ids.len()]).map(drop)?)
    })?;

    // A runtime refuses it at once, so that what the proxy does is not lost in what making a container takes.
    let gone = through.run_pod(&Pod::new("gone"))?;
    through.remove_pod(&gone.id)?;
    let merge = ContainerSpec::new("app", "localhost/strict-groups/example:1").supplemental(&[4000]);
    for (name, spec) in [("Merge", merge.clone()), ("Strict", merge.strict_field())] {
        let name = format!("CreateContainer in a sandbox that is gone, {name}");
        pairs(&mut table, &name, calls, [direct, through], |cri, _| {
            ensure!(cri.create(&gone, &spec).is_err(), "it was created");
            Ok(())
        })?;
    }

    let end = Usage::of(pid)?;
    table.budget(
        &format!("the proxy's resident memory after {} calls", 6 * calls),
        format!("{} KiB, {} of it anonymous", end.rss, end.anonymous),
        format!("before {} KiB, {} of it anonymous", start.rss, start.anonymous),
        "10 MiB",
        end.rss < BUDGET_KIB,
    );
    table.print();
    through.remove_all_pods()?;
    Ok(())
}

/// The same call both ways, in random order.
fn pairs(
    table: &mut Table,
    what: &str,
    calls: usize,
    ways: [&Cri; 2],
    call: impl Fn(&Cri, usize) -> Result<()>,
) -> Result<()> {
    let mut random = Random::new(1, 1);
    let mut times = [Vec::with_capacity(calls), Vec::with_capacity(calls)];
    // The first ones warm up and do not count.
    for number in 0..calls + 50 {
        let first = random.below(2);
        for way in [first, 1 - first] {
            let start = Instant::now();
            call(ways[way], number)?;
            let took = start.elapsed().as_secs_f64() * 1e6;
            if number >= 50 {
                times[way].push(took);
            }
        }
    }
    let added = differences(&times[1], &times[0]);
    let (low, high) = added.median_interval();
    let [direct, through] = times.map(|times| Sample::new(times).median());
    table.budget(
        &format!("added to {what}"),
        format!("{:+.0} µs (95 %: {low:+.0} to {high:+.0})", added.median()),
        format!("{direct:.0} µs direct, {through:.0} µs through it"),
        "150 µs",
        added.median() < BUDGET_MICROSECONDS,
    );
    Ok(())
}
