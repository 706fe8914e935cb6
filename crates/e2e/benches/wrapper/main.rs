//! What the OCI runtime wrapper adds to a call of the underlying OCI runtime: a table beside the budgets.
//! Measurements, not tests: it fails only when it cannot measure.
//!
//! `cargo bench -p strict-groups-e2e --bench wrapper`, as root. `STRICT_GROUPS_BIN` names the release binary.
//! `STRICT_GROUPS_BENCH_CREATES` (400) and `…_CALLS` (500) say how often.

#![allow(clippy::indexing_slicing, missing_docs, reason = "a bench may panic")]

use std::process::{Command, ExitCode, Stdio};
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use nix::mount::{MsFlags, mount};
use strict_groups_core::gate::State;

use e2e::bench::setting;
use e2e::bench::statistics::{Sample, differences};
use e2e::bench::table::Table;
use e2e::random::Random;
use e2e::wrapper::bundle::{Bundle, STRICT};
use e2e::wrapper::command::{Real, Wrapper};
use e2e::wrapper::world::World;
use e2e::{Machine, Run, run};

fn main() -> ExitCode {
    e2e::bench::main(bench)
}

fn bench() -> Result<()> {
    let (creates, calls) = (setting("CREATES", 400)?, setting("CALLS", 500)?);
    let machine = Machine::check()?;
    run::clean_up_on_signals()?;
    let world = World { machine, run: Arc::new(Run::start()?) };
    // CRI-O's bundles are below /run, in memory; renaming a file on a disk may wait for the disk.
    let (tmpfs, none) = (Some("tmpfs"), MsFlags::empty());
    mount(tmpfs, world.run.dir(), tmpfs, none, Some("mode=755")).context("mounting a tmpfs")?;
    let mut table = Table::new();

    let wrapper = Wrapper::new(&world, Real::Runc)?;
    let real = Real::Runc.path(&world);
    // What the underlying OCI runtime gets is the same: the wrapper makes the one of the other.
    let pending = Bundle::new(&world)?.by_crio()?.pending(&world)?;
    let resolved = State::Resolved { groups: STRICT.to_vec(), removed: vec![50000] };
    let resolved = Bundle::new(&world)?.by_crio()?.groups(&STRICT)?.gated(&world, resolved)?;
    eprintln!("{creates} pairs of runc create");
    let create = |bundle: &Bundle, mut command: Command| -> Result<f64> {
        bundle.write()?;
        command.arg("--root").arg(wrapper.root()).args(["create", "--bundle", bundle.dir(), &bundle.id]);
        let took = time(&mut command)?;
        wrapper.ok(&["delete", "--force", &bundle.id])?;
        Ok(took)
    };
    let with = || create(&pending, wrapper.bare());
    let without = || create(&resolved, Command::new(&real));
    report(&mut table, "runc create, Strict", &pairs(creates, with, without)?, 2.0);

    let merge = Bundle::new(&world)?.by_crio()?;
    let start = |bundle: &Bundle, mut command: Command| -> Result<f64> {
        bundle.write()?;
        let _container = bundle.create(&wrapper)?;
        time(command.arg("--root").arg(wrapper.root()).args(["start", &bundle.id]))
    };
    for (policy, bundle) in [("Strict", &pending), ("Merge", &merge)] {
        eprintln!("{creates} pairs of runc start");
        let times = pairs(creates, || start(bundle, wrapper.bare()), || start(bundle, Command::new(&real)))?;
        report(&mut table, &format!("runc start, {policy}"), &times, 1.0);
    }

    let container = pending.start(&wrapper)?;
    let state =
        |mut command: Command| time(command.arg("--root").arg(wrapper.root()).args(["state", &container.id]));
    eprintln!("{calls} pairs of runc state");
    let times = pairs(calls, || state(wrapper.bare()), || state(Command::new(&real)))?;
    report(&mut table, "runc state", &times, 0.7);
    drop(container);
    // Their config.json stays as it is from now on.
    let waiting = [Bundle::new(&world)?.by_crio()?.pending(&world)?, Bundle::new(&world)?.by_crio()?];
    let waiting = [waiting[0].create(&wrapper)?, waiting[1].create(&wrapper)?];

    // The same in front of a program that does nothing, where less noise is in the way.
    let nothing = world.machine.busybox();
    let dir = world.folder()?;
    let link = dir.join("true");
    std::os::unix::fs::symlink(&nothing, &link)?;
    wrapper.configure(&format!("[runtime]\npath = \"{}\"\n", link.display()))?;
    let call = |bundle: &Bundle, mut command: Command| {
        bundle.write()?;
        time(command.args(["create", "--bundle", bundle.dir(), &bundle.id]))
    };
    eprintln!("{calls} pairs of a program that does nothing, twice");
    let times = pairs(calls, || call(&pending, wrapper.bare()), || call(&resolved, Command::new(&link)))?;
    report(&mut table, "busybox true, as create of Strict", &times, 2.0);
    let state = |mut command: Command| time(command.args(["state", &pending.id]));
    let times = pairs(calls, || state(wrapper.bare()), || state(Command::new(&link)))?;
    report(&mut table, "busybox true, as state", &times, 0.7);
    let root = wrapper.root();
    let start = |id: &str, mut command: Command| time(command.arg("--root").arg(&root).args(["start", id]));
    for (policy, container) in ["Strict", "Merge"].iter().zip(&waiting) {
        let id = &container.id;
        let times = pairs(calls, || start(id, wrapper.bare()), || start(id, Command::new(&link)))?;
        report(&mut table, &format!("busybox true, as start of {policy}"), &times, 1.0);
    }
    // Only the underlying OCI runtime ends them.
    wrapper.configure(&format!("[runtime]\npath = \"{}\"\n", real.display()))?;
    drop(waiting);
    table.print();
    Ok(())
}

/// Both ways, in random order each round; milliseconds, round by round.
fn pairs(
    rounds: usize,
    mut with: impl FnMut() -> Result<f64>,
    mut without: impl FnMut() -> Result<f64>,
) -> Result<[Vec<f64>; 2]> {
    let mut random = Random::new(1, 1);
    let mut times = [Vec::new(), Vec::new()];
    // The first round warms up and does not count.
    for round in 0..=rounds {
        let pair = if random.percent(50) {
            let first = with()?;
            [first, without()?]
        } else {
            let first = without()?;
            [with()?, first]
        };
        if round > 0 {
            times[0].push(pair[0]);
            times[1].push(pair[1]);
        }
    }
    Ok(times)
}

fn time(command: &mut Command) -> Result<f64> {
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::inherit());
    let start = Instant::now();
    let status = command.status()?;
    let took = start.elapsed();
    ensure!(status.success(), "{command:?}: {status}");
    Ok(took.as_secs_f64() * 1e3)
}

fn report(table: &mut Table, what: &str, [with, without]: &[Vec<f64>; 2], budget: f64) {
    let median = |times: &[f64]| Sample::new(times.to_vec()).median();
    let added = differences(with, without);
    let (low, high) = added.median_interval();
    table.budget(
        &format!("added to {what}"),
        format!("{:+.2} ms (95 %: {low:+.2} to {high:+.2})", added.median()),
        format!("{:.2} ms without, {:.2} ms with", median(without), median(with)),
        &format!("{budget} ms"),
        added.median() < budget,
    );
}
