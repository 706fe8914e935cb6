//! What the plugin costs, on a real containerd 1.7 with real containers; a
//! table beside the budgets. Measurements, not tests: it fails only when it
//! cannot measure.
//!
//! `cargo bench --bench containers`, as root. `STRICT_GROUPS_BIN` names the
//! release binary. `STRICT_GROUPS_BENCH_ROUNDS` (200), `…_CONTAINERS` (1000)
//! and `…_HOOKS` (500) say how often.

#![allow(
    clippy::indexing_slicing,
    clippy::cast_precision_loss,
    missing_docs,
    reason = "a bench may panic, and counts little"
)]

#[path = "../../tests/support/mod.rs"]
#[allow(dead_code, unused_imports, reason = "shared with the tests: each uses a part")]
mod support;

#[path = "../common/mod.rs"]
mod common;
mod hook;
mod load;
mod process;

use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context, Result};

use common::setting;
use common::statistics::{Sample, differences};
use common::table::Table;
use load::{Arm, User};
use support::{Containerd, Image, Kind, Machine, Options, Plugin, Pod, Run, node_config, plugin, run};

const ANNOTATION: &str = "supplemental-groups-policy.noderesource.dev";

fn main() -> ExitCode {
    common::main(bench)
}

fn bench() -> Result<()> {
    let (rounds, containers, hooks) =
        (setting("ROUNDS", 200)?, setting("CONTAINERS", 1000)?, setting("HOOKS", 500)?);
    let machine = Machine::check()?;
    run::clean_up_on_signals()?;
    let run = Arc::new(Run::start()?);
    let start = || -> Result<Containerd> {
        let daemon = Containerd::start(&machine, &run, Kind::V1_7, Options::default().nri())?;
        daemon.import(&Image::announcement(&machine)?)?;
        Ok(daemon)
    };
    let (daemon, plain) = (start()?, start()?);
    let plugin = Plugin::start(&daemon, None, &[])?;

    let cri = daemon.cri();
    let strict = cri.run_pod(&Pod::new("strict").annotation(ANNOTATION, "Strict"))?;
    let merge = cri.run_pod(&Pod::new("merge"))?;
    let without = plain.cri().run_pod(&Pod::new("without"))?;

    let mut table = Table::new();
    eprintln!("{rounds} rounds of create and start, each way");
    let [in_group, unknown] = [User::InGroupOfImage, User::Unknown];
    let arms = [
        Arm { cri, pod: &strict, user: in_group },
        Arm { cri, pod: &strict, user: unknown },
        Arm { cri, pod: &merge, user: in_group },
        Arm { cri, pod: &merge, user: in_group },
        Arm { cri: plain.cri(), pod: &without, user: in_group },
    ];
    report_times(&mut table, &load::rounds(&arms, rounds)?);

    // A plugin that has done nothing yet, for the memory.
    drop(plugin);
    let plugin = Plugin::start(&daemon, None, &[])?;
    let pid = plugin.pid().context("the plugin does not run")?;
    let (memory, descriptors) = (process::memory(pid)?, process::descriptors(pid)?);

    eprintln!("{containers} Strict containers of each kind, then as many with Merge");
    let cpu = |arm: &Arm<'_>| -> Result<f64> {
        let before = process::cpu(pid)?;
        load::many(arm, containers)?;
        Ok((process::cpu(pid)?.saturating_sub(before)).as_secs_f64() * 1e6 / containers as f64)
    };
    let strict_cpu = cpu(&arms[0])?;
    let (memory_after, descriptors_after) = (process::memory(pid)?, process::descriptors(pid)?);
    let (unchanged_cpu, merge_cpu) = (cpu(&arms[1])?, cpu(&arms[2])?);
    table.budget(
        "plugin CPU for a Strict container",
        format!("{strict_cpu:.0} µs, {unchanged_cpu:.0} µs where nothing is removed"),
        format!("a Merge one {merge_cpu:.0} µs"),
        "300 µs",
        strict_cpu < 300.0,
    );
    let kib = |(all, anonymous): (u64, u64)| format!("{all} KiB, {anonymous} of it anonymous");
    table.budget(
        &format!("plugin's resident memory after {containers} containers"),
        kib(memory_after),
        format!("at its start {}", kib(memory)),
        "6 MiB",
        memory_after.0 < 6 * 1024,
    );
    table.row(
        &format!("plugin's open descriptors after {containers} containers"),
        descriptors_after.to_string(),
        format!("at its start {descriptors}"),
    );

    eprintln!("{hooks} runs of the hook");
    let container = cri.launch(&strict, &load::spec("hook", in_group))?;
    let times = hook::measure(&machine, &daemon, &container, hooks)?;
    let (hook, floor) = (times.hook.median() / 1e3, times.floor.median() / 1e3);
    table.budget(
        &format!("hook, start to exit, config.json of {} bytes", times.config),
        format!("{hook:.2} ms"),
        format!("busybox true {floor:.2} ms, {:.1} times", hook / floor),
        "1.5 ms",
        hook < 1.5,
    );
    static_gate(&mut table, &machine, &run, hooks)?;
    let size = std::fs::metadata(plugin::binary(daemon.run())?)?.len() as f64 / 1_048_576.0;
    table.budget("binary", format!("{size:.2} MiB"), String::new(), "4 MiB", size < 4.0);
    table.print();

    drop(plugin);
    daemon.stop()?;
    plain.stop()
}

/// What the static gate costs a Merge container: it reads the container's config.json and that of its sandbox.
fn static_gate(table: &mut Table, machine: &Machine, run: &Arc<Run>, times: usize) -> Result<()> {
    eprintln!("{times} runs of the static gate");
    let daemon = node_config::start(machine, run, Kind::V1_7, Options::default())?;
    daemon.import(&Image::announcement(machine)?)?;
    node_config::configure(machine, &daemon)?;
    let pod = daemon.cri().run_pod(&Pod::new("merge"))?;
    let container = daemon.cri().launch(&pod, &load::spec("hook", User::InGroupOfImage))?;
    let times = hook::measure(machine, &daemon, &container, times)?;
    let (hook, floor) = (times.hook.median() / 1e3, times.floor.median() / 1e3);
    table.budget(
        "static gate on a Merge container, start to exit",
        format!("{hook:.2} ms"),
        format!("busybox true {floor:.2} ms"),
        "1.0 times",
        hook <= floor,
    );
    daemon.stop()
}

/// `[strict, strict with nothing to remove, merge, merge again, no plugin]`, in milliseconds.
fn report_times(table: &mut Table, [strict, unchanged, merge, again, without]: &[Vec<f64>; 5]) {
    let median = |times: &[f64]| Sample::new(times.to_vec()).median();
    let merged = median(merge);
    let interval = |sample: &Sample| {
        let (low, high) = sample.median_interval();
        format!("{:+.2} ms (95 %: {low:+.2} to {high:+.2})", sample.median())
    };
    let noise = || format!("Merge minus Merge {}", interval(&differences(again, merge)));
    table.row("create+start, no plugin", format!("{:.1} ms", median(without)), String::new());
    table.row("create+start, Merge", format!("{merged:.1} ms"), String::new());
    table.row("create+start, Strict", format!("{:.1} ms", median(strict)), String::new());
    for (what, times, most) in [("", strict, 3.0), (", nothing to remove", unchanged, 1.0)] {
        let extra = differences(times, merge);
        let measured = format!("{}, {:+.1} %", interval(&extra), extra.median() * 100.0 / merged);
        let within = extra.median() <= most;
        table.budget(&format!("Strict minus Merge{what}"), measured, noise(), &format!("{most} ms"), within);
    }
    table.row("Merge minus no plugin", interval(&differences(merge, without)), String::new());
}
