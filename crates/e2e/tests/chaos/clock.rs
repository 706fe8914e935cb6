//! Clocks that are far from where they were when the plugin last ran.
//!
//! A time namespace gives the plugin a `CLOCK_MONOTONIC` and `CLOCK_BOOTTIME` of
//! its own from its start on. A jump while it runs cannot be tried: these
//! clocks never jump, and `CLOCK_REALTIME`, which does, belongs to the whole
//! machine and is in no namespace. So it is shown instead that nothing in the
//! plugin that decides or waits reads `CLOCK_REALTIME`.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use libtest_mimic::Trial;

use crate::bench::{Bench, trial};
use crate::steps::{Pair, Policy};
use e2e::Plugin;

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial("clock::plugin_with_a_shifted_clock_works", shifted),
        trial("clock::nothing_depends_on_the_time_of_day", |_| no_time_of_day()),
    ]
}

fn shifted(bench: &Bench) -> Result<()> {
    let daemon = bench.gated()?;
    let pair = Pair::start(&daemon)?;
    let uptime = fs::read_to_string("/proc/uptime")?;
    let seconds: i64 = uptime.split('.').next().context("no uptime")?.parse()?;
    let ten_years = 315_360_000;
    for offset in [ten_years, -(seconds - 2)] {
        let (monotonic, boottime) = (format!("--monotonic={offset}"), format!("--boottime={offset}"));
        let unshare = ["unshare", "--time", &monotonic, &boottime, "--fork", "--kill-child", "--"];
        let plugin = Plugin::launch_by(&daemon, &unshare)?;
        plugin.wait_registered(1)?;
        let pid = plugin.pid().context("no process")?;
        let child = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"))?;
        let namespace = |pid: &str| fs::read_link(format!("/proc/{pid}/ns/time"));
        ensure!(namespace(child.trim())? != namespace("self")?, "it has the machine's clocks");

        pair.works(Policy::Strict).with_context(|| plugin.log())?;
        pair.works(Policy::Merge)?;
        println!("clock shifted by {offset} s: works");
    }
    daemon.stop()
}

fn no_time_of_day() -> Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut files = vec![root.join("src/runtimes/containerd.rs")];
    for folder in ["crates/nri-plugin/src", "src/plugin"] {
        let entries = fs::read_dir(root.join(folder))?;
        files.extend(entries.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?);
    }
    let mut waits = 0;
    for file in files {
        let text = fs::read_to_string(&file)?;
        waits += text.matches("Instant::now").count();
        for word in ["SystemTime", "UNIX_EPOCH", "Realtime", "REALTIME"] {
            ensure!(!text.contains(word), "{} has {word}", file.display());
        }
    }
    ensure!(waits > 0, "the wrong files were read");
    Ok(())
}
