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
use load::Arm;
use support::{Containerd, Image, Kind, Machine, Options, Plugin, Pod, Run, plugin, run};

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
    let arms = [
        Arm { cri, pod: &strict },
        Arm { cri, pod: &merge },
        Arm { cri, pod: &merge },
        Arm { cri: plain.cri(), pod: &without },
    ];
    report_times(&mut table, &load::rounds(&arms, rounds)?);

    // A plugin that has done nothing yet, for the memory.
    drop(plugin);
    let plugin = Plugin::start(&daemon, None, &[])?;
    let pid = plugin.pid().context("the plugin does not run")?;
    let (memory, descriptors) = (process::memory(pid)?, process::descriptors(pid)?);

    eprintln!("{containers} Strict containers, then as many with Merge");
    let cpu = |pod| -> Result<f64> {
        let before = process::cpu(pid)?;
        load::many(cri, pod, containers)?;
        Ok((process::cpu(pid)?.saturating_sub(before)).as_secs_f64() * 1e6 / containers as f64)
    };
    let strict_cpu = cpu(&strict)?;
    let (memory_after, descriptors_after) = (process::memory(pid)?, process::descriptors(pid)?);
    let merge_cpu = cpu(&merge)?;
    table.budget(
        "plugin CPU for a Strict container",
        format!("{strict_cpu:.0} µs"),
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
    let container = cri.launch(&strict, &load::spec("hook"))?;
    let times = hook::measure(&machine, &daemon, &container, hooks)?;
    let (hook, floor) = (times.hook.median() / 1e3, times.floor.median() / 1e3);
    table.budget(
        &format!("hook, start to exit, config.json of {} bytes", times.config),
        format!("{hook:.2} ms"),
        format!("busybox true {floor:.2} ms, {:.1} times", hook / floor),
        "1.5 ms",
        hook < 1.5,
    );
    let size = std::fs::metadata(plugin::binary(daemon.run())?)?.len() as f64 / 1_048_576.0;
    table.budget("binary", format!("{size:.2} MiB"), String::new(), "4 MiB", size < 4.0);
    table.print();

    drop(plugin);
    daemon.stop()?;
    plain.stop()
}

/// `[strict, merge, merge again, no plugin]`, in milliseconds.
fn report_times(table: &mut Table, [strict, merge, again, without]: &[Vec<f64>; 4]) {
    let median = |times: &[f64]| Sample::new(times.to_vec()).median();
    let merged = median(merge);
    let interval = |sample: &Sample| {
        let (low, high) = sample.median_interval();
        format!("{:+.2} ms (95 %: {low:+.2} to {high:+.2})", sample.median())
    };
    let extra = differences(strict, merge);
    let percent = extra.median() * 100.0 / merged;
    table.row("create+start, no plugin", format!("{:.1} ms", median(without)), String::new());
    table.row("create+start, Merge", format!("{merged:.1} ms"), String::new());
    table.row("create+start, Strict", format!("{:.1} ms", median(strict)), String::new());
    table.budget(
        "Strict minus Merge",
        format!("{}, {percent:+.1} %", interval(&extra)),
        format!("Merge minus Merge {}", interval(&differences(again, merge))),
        "4 ms or 5 %",
        extra.median() <= 4.0 || percent <= 5.0,
    );
    table.row("Merge minus no plugin", interval(&differences(merge, without)), String::new());
}
