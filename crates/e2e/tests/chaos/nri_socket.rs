//! The NRI socket is replaced, and is away for a while.

use std::fs;
use std::os::unix::fs::MetadataExt;

use anyhow::{Context, Result, ensure};
use libtest_mimic::Trial;
use nix::sys::signal::Signal;

use crate::bench::{Bench, trial};
use crate::steps::{Pair, Policy};
use e2e::Plugin;

pub(crate) fn trials() -> Vec<Trial> {
    vec![trial("nri_socket::plugin_finds_the_new_one", replaced)]
}

const NOT_SEEN: &str = "the strict-groups plugin did not process this container";

fn replaced(bench: &Bench) -> Result<()> {
    let daemon = bench.gated()?;
    let plugin = Plugin::start(&daemon, None, &[])?;
    let pair = Pair::start(&daemon)?;
    // A number may be used again, but not at the same time of the file system.
    let identity =
        || fs::metadata(daemon.nri_socket()).map(|data| (data.ino(), data.ctime(), data.ctime_nsec()));
    let works = |times| -> Result<()> {
        plugin.wait_registered(times)?;
        pair.works(Policy::Strict).with_context(|| plugin.log())?;
        pair.works(Policy::Merge)
    };
    works(1)?;

    for (times, signal) in [(2, Signal::SIGTERM), (3, Signal::SIGKILL)] {
        let before = identity()?;
        daemon.restart(signal)?;
        ensure!(identity()? != before, "the socket is the old one");
        works(times)?;
    }

    // Nobody can come in any more; who is in stays.
    fs::remove_file(daemon.nri_socket())?;
    works(3)?;
    daemon.halt(Signal::SIGKILL)?;
    plugin.wait_log(|line| line.contains("there is no NRI socket"))?;
    daemon.launch()?;
    works(4)?;

    // The same for a plugin that starts without the socket: Strict has to wait for the next restart.
    fs::remove_file(daemon.nri_socket())?;
    plugin.stop(Signal::SIGKILL)?;
    let late = Plugin::launch(&daemon, None, &[])?;
    late.wait_log(|line| line.contains("there is no NRI socket"))?;
    pair.refuses(NOT_SEEN)?;
    daemon.restart(Signal::SIGTERM)?;
    late.wait_registered(1)?;
    pair.works(Policy::Strict).with_context(|| late.log())?;
    pair.works(Policy::Merge)?;
    println!("NRI socket replaced: connections {}, then {}", plugin.registrations(), late.registrations());
    daemon.stop()
}
