//! What the plugin costs, on a real containerd 1.7 with real containers; a
//! table beside the budgets. Measurements, not tests: it fails only when it
//! cannot measure.
//!
//! `cargo bench -p strict-groups-e2e --bench containers`, as root. `STRICT_GROUPS_BIN` names the
//! release binary. `STRICT_GROUPS_BENCH_ROUNDS` (200), `…_CONTAINERS` (1000)
//! and `…_HOOKS` (500) say how often.

#![allow(
    clippy::indexing_slicing,
    clippy::cast_precision_loss,
    missing_docs,
    reason = "a bench may panic, and counts little"
)]

mod hook;
mod load;

use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context, Result};

use e2e::bench::setting;
use e2e::bench::statistics::{Sample, differences};
use e2e::bench::table::Table;
use e2e::usage::{self, Usage};
use e2e::{
    Containerd, Image, Kind, Machine, Options, Plugin, Pod, Run, RunningPod, node_config, plugin, run,
};
use load::{Arm, User};

const ANNOTATION: &str = "supplemental-groups-policy.noderesource.dev";

fn main() -> ExitCode {
    e2e::bench::main(bench)
}

fn bench() -> Result<()> {
    let (rounds, containers, hooks) =
        (setting("ROUNDS", 200)?, setting("CONTAINERS", 1000)?, setting("HOOKS", 500)?);
    let machine = Machine::check()?;
    run::clean_up_on_signals()?;
    let run = Arc::new(Run::start()?);
    let start = |ways: Option<&[&str]>| -> Result<Containerd> {
        let daemon = node_config::start(&machine, &run, Kind::V1_7, Options::default())?;
        daemon.import(&Image::example(&machine)?)?;
        if let Some(ways) = ways {
            node_config::configure_for(&machine, &daemon, ways)?;
        }
        Ok(daemon)
    };
    // As `strict-groups config containerd` sets a node up for each of the ways, and as it was before.
    let (daemon, wrapper, plain) = (start(Some(&[]))?, start(Some(&["--wrapper"]))?, start(None)?);
    let plugin = Plugin::start(&daemon, None, &[])?;

    let pods = |daemon: &Containerd| -> Result<[RunningPod; 2]> {
        let strict = daemon.cri().run_pod(&Pod::new("strict").annotation(ANNOTATION, "Strict"))?;
        Ok([strict, daemon.cri().run_pod(&Pod::new("merge"))?])
    };
    let ([strict, merge], [wrapped_strict, wrapped_merge]) = (pods(&daemon)?, pods(&wrapper)?);
    let without = plain.cri().run_pod(&Pod::new("without"))?;
    let (cri, cri_of_wrapper) = (daemon.cri(), wrapper.cri());

    let mut table = Table::new();
    eprintln!("{rounds} rounds of create and start, each way");
    let [in_group, unknown] = [User::InGroupOfImage, User::Unknown];
    let arms = [
        Arm { cri, pod: &strict, user: in_group },
        Arm { cri, pod: &strict, user: unknown },
        Arm { cri, pod: &merge, user: in_group },
        Arm { cri, pod: &merge, user: in_group },
        Arm { cri: cri_of_wrapper, pod: &wrapped_strict, user: in_group },
        Arm { cri: cri_of_wrapper, pod: &wrapped_strict, user: unknown },
        Arm { cri: cri_of_wrapper, pod: &wrapped_merge, user: in_group },
        Arm { cri: plain.cri(), pod: &without, user: in_group },
    ];
    report_times(&mut table, &load::rounds(&arms, rounds)?);

    // A plugin that has done nothing yet, for the memory.
    drop(plugin);
    let plugin = Plugin::start(&daemon, None, &[])?;
    let pid = plugin.pid().context("the plugin does not run")?;
    let before = Usage::of(pid)?;

    eprintln!("{containers} Strict containers of each kind, then as many with Merge");
    let cpu = |arm: &Arm<'_>| -> Result<f64> {
        let before = usage::cpu(pid)?;
        load::many(arm, containers)?;
        Ok((usage::cpu(pid)?.saturating_sub(before)).as_secs_f64() * 1e6 / containers as f64)
    };
    let strict_cpu = cpu(&arms[0])?;
    let after = Usage::of(pid)?;
    let (unchanged_cpu, merge_cpu) = (cpu(&arms[1])?, cpu(&arms[2])?);
    table.budget(
        "plugin CPU for a Strict container",
        format!("{strict_cpu:.0} µs, {unchanged_cpu:.0} µs where nothing is removed"),
        format!("a Merge one {merge_cpu:.0} µs"),
        "300 µs",
        strict_cpu < 300.0,
    );
    let kib = |usage: &Usage| format!("{} KiB, {} of it anonymous", usage.rss, usage.anonymous);
    table.budget(
        &format!("plugin's resident memory after {containers} containers"),
        kib(&after),
        format!("at its start {}", kib(&before)),
        "6 MiB",
        after.rss < 6 * 1024,
    );
    table.row(
        &format!("plugin's open descriptors after {containers} containers"),
        after.descriptors.to_string(),
        format!("at its start {}", before.descriptors),
    );

    eprintln!("{hooks} runs of the hook");
    let container = cri.launch(&strict, &load::spec("hook", in_group))?;
    let times = hook::measure(&machine, &daemon, &container, "--gate=resolved", hooks)?;
    let (hook, floor) = (times.hook.median() / 1e3, times.floor.median() / 1e3);
    table.budget(
        &format!("hook, start to exit, config.json of {} bytes", times.config),
        format!("{hook:.2} ms"),
        format!("busybox true {floor:.2} ms, {:.1} times", hook / floor),
        "1.5 ms",
        hook < 1.5,
    );
    // It reads the container's config.json and that of its sandbox.
    let container = cri.launch(&merge, &load::spec("hook", in_group))?;
    let times = hook::measure(&machine, &daemon, &container, "--gate=static", hooks)?;
    let (hook, floor) = (times.hook.median() / 1e3, times.floor.median() / 1e3);
    table.budget(
        "static gate on a Merge container, start to exit",
        format!("{hook:.2} ms"),
        format!("busybox true {floor:.2} ms"),
        "1.0 times",
        hook <= floor,
    );
    let size = std::fs::metadata(plugin::binary(daemon.run())?)?.len() as f64 / 1_048_576.0;
    table.budget("binary", format!("{size:.2} MiB"), String::new(), "4 MiB", size < 4.0);
    table.print();

    drop(plugin);
    daemon.stop()?;
    wrapper.stop()?;
    plain.stop()
}

/// Milliseconds of each arm, in the order of the arms.
fn report_times(
    table: &mut Table,
    [strict, unchanged, merge, again, wrapped, wrapped_unchanged, wrapped_merge, without]: &[Vec<f64>; 8],
) {
    let median = |times: &[f64]| Sample::new(times.to_vec()).median();
    let interval = |sample: &Sample| {
        let (low, high) = sample.median_interval();
        format!("{:+.2} ms (95 %: {low:+.2} to {high:+.2})", sample.median())
    };
    let noise = || format!("Merge minus Merge {}", interval(&differences(again, merge)));
    for (what, times) in [
        ("nothing set up", without),
        ("plugin and static gate, Merge", merge),
        ("plugin and static gate, Strict", strict),
        ("wrapper, Merge", wrapped_merge),
        ("wrapper, Strict", wrapped),
    ] {
        table.row(&format!("create+start, {what}"), format!("{:.1} ms", median(times)), String::new());
    }
    for (what, times, most) in [("", strict, 3.0), (", nothing to remove", unchanged, 1.0)] {
        let extra = differences(times, merge);
        let within = extra.median() <= most;
        let most = format!("{most} ms");
        table.budget(&format!("plugin: Strict minus Merge{what}"), interval(&extra), noise(), &most, within);
    }
    for (what, more, less) in [
        ("plugin: Merge minus nothing set up", merge, without),
        ("wrapper: Strict minus Merge", wrapped, wrapped_merge),
        ("wrapper: Strict minus Merge, nothing to remove", wrapped_unchanged, wrapped_merge),
        ("wrapper: Merge minus nothing set up", wrapped_merge, without),
    ] {
        table.row(what, interval(&differences(more, less)), String::new());
    }
}
