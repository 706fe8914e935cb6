//! The file system of the bundles is full, from nothing left to nearly enough.

use std::fs::{self, OpenOptions};
use std::io::{ErrorKind, Write};
use std::path::Path;

use anyhow::{Context, Result, ensure};
use libtest_mimic::Trial;
use nix::mount::{MsFlags, mount};
use nix::sys::signal::Signal;

use crate::bench::{Bench, trial};
use crate::steps::{Pair, Policy};
use crate::tally::{Reason, reason};
use e2e::Plugin;

pub(crate) fn trials() -> Vec<Trial> {
    vec![trial("disk_full::a_bundle_without_space_is_no_way_around", full)]
}

/// What is left free, in KiB. Files take whole pages of 4 KiB.
const FREE: [u64; 10] = [0, 4, 8, 12, 16, 20, 24, 32, 48, 64];

fn full(bench: &Bench) -> Result<()> {
    let daemon = bench.gated()?;
    daemon.halt(Signal::SIGTERM)?;
    let state = daemon.dir().join("state");
    mount(Some("state"), &state, Some("tmpfs"), MsFlags::empty(), Some("size=2m")).context("mounting")?;
    daemon.launch()?;
    let plugin = Plugin::start(&daemon, None, &[])?;
    let pair = Pair::start(&daemon)?;
    pair.works(Policy::Strict)?;

    let filler = state.join("filler");
    let (mut started, mut refused) = (0, 0);
    for free in FREE {
        fill(&filler, free * 1024)?;
        for policy in [Policy::Strict, Policy::Merge] {
            let Err(text) = pair.attempt(policy).with_context(|| format!("{free} KiB free"))? else {
                started += 1;
                continue;
            };
            refused += 1;
            println!("disk full, {free} KiB free, {policy:?} refused: {}", text.trim());
            let told = reason(&text);
            let ours = policy == Policy::Strict && told.is_ours();
            ensure!(
                ours || [Reason::NoSpace, Reason::Silent].contains(&told),
                "{free} KiB free, {policy:?}: {text}"
            );
            ensure!(policy == Policy::Strict || !text.contains("strict-groups: "), "because of us: {text}");
        }
    }
    println!("disk full: started {started}, refused {refused}");
    ensure!(refused > 0, "there was always enough space");
    ensure!(started > 0, "there was never enough space");

    fs::remove_file(&filler)?;
    pair.works(Policy::Strict).with_context(|| plugin.log())?;
    pair.works(Policy::Merge)?;
    ensure!(plugin.registrations() == 1, "it lost the runtime: {}", plugin.log());
    daemon.stop()
}

/// Writes until nothing fits any more, then gives back so many bytes.
fn fill(path: &Path, free: u64) -> Result<()> {
    let mut file = OpenOptions::new().create(true).append(true).open(path)?;
    loop {
        match file.write(&[1; 4096]) {
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::StorageFull => break,
            Err(error) => return Err(error.into()),
        }
    }
    let length = file.metadata()?.len();
    file.set_len(length.checked_sub(free).context("the file system is too small")?)?;
    Ok(())
}
