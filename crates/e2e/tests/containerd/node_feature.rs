//! The feature file for Node Feature Discovery, while a real containerd comes and goes.

use std::{fs, path::Path, time::Duration};

use anyhow::{Context, Result, ensure};
use libtest_mimic::Trial;
use nix::sys::signal::Signal;

use crate::{
    steps::fresh,
    world::{World, trial},
};
use e2e::{Kind, Plugin, wait_for};

const TIMEOUT: Duration = Duration::from_secs(20);
const LABEL: &str = "\nstrict-groups.noderesource.dev/enforced=true\n";

pub(crate) fn trials() -> Vec<Trial> {
    vec![trial("node_feature::there_is_a_file_while_strict_is_enforced", told)]
}

fn until(file: &Path, there: bool) -> Result<()> {
    wait_for(TIMEOUT, || (file.exists() == there).then_some(()))
        .with_context(|| format!("{}: wanted {there}", file.display()))
}

fn told(world: &World) -> Result<()> {
    let daemon = fresh(world, Kind::V1_7)?;
    let folder = daemon.dir().join("features.d");
    fs::create_dir(&folder)?;
    let file = folder.join("strict-groups");
    let name = folder.to_str().context("a path of ours")?;
    let plugin = Plugin::start(&daemon, Some(""), &["--nfd-features-dir", name])?;

    until(&file, true).context("registered")?;
    let text = fs::read_to_string(&file)?;
    ensure!(text.starts_with("# +expiry-time=") && text.ends_with(LABEL), "{text}");
    daemon.halt(Signal::SIGTERM)?;
    until(&file, false).context("without a runtime")?;
    daemon.launch()?;
    until(&file, true).context("registered again")?;
    plugin.reconfigure("mode = \"audit\"\n")?;
    until(&file, false).context("in audit mode")?;
    plugin.reconfigure("")?;
    until(&file, true).context("enforcing again")?;

    // What a killed plugin leaves is taken away, or renewed, by the next one.
    plugin.stop(Signal::SIGKILL)?;
    ensure!(file.exists(), "who is killed cannot remove it");
    fs::write(&file, "# +expiry-time=2000-01-01T00:00:00Z\n")?;
    let plugin = Plugin::start(&daemon, None, &["--nfd-features-dir", name])?;
    let renewed = || fs::read_to_string(&file).is_ok_and(|text| text.ends_with(LABEL)).then_some(());
    wait_for(TIMEOUT, renewed).context("not renewed")?;
    plugin.stop(Signal::SIGTERM)?;
    ensure!(!file.exists(), "it stays after SIGTERM");
    ensure!(fs::read_dir(&folder)?.count() == 0, "something is left over");
    daemon.stop()
}
