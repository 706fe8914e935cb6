//! What `strict-groups probe` says of a plugin whose containerd comes and goes.

use std::{process::Command, time::Duration};

use anyhow::{Context, Result, ensure};
use libtest_mimic::Trial;
use nix::sys::signal::Signal;

use crate::{
    steps::fresh,
    world::{World, trial},
};
use e2e::{Kind, Plugin, plugin::binary, wait_for};

const TIMEOUT: Duration = Duration::from_secs(20);

pub(crate) fn trials() -> Vec<Trial> {
    vec![trial("probe::ready_is_who_is_registered", ready)]
}

fn ready(world: &World) -> Result<()> {
    let daemon = fresh(world, Kind::V1_7)?;
    let file = daemon.dir().join("health");
    let name = file.to_str().context("a path of ours")?;
    let plugin = Plugin::start(&daemon, None, &["--health-file", name])?;
    let program = binary(daemon.run())?;
    let probe = |more: &[&str]| {
        let output = Command::new(&program).args(["probe", "--health-file", name]).args(more).output();
        output.is_ok_and(|output| output.status.success())
    };
    let until = |wanted: bool| wait_for(TIMEOUT, || (probe(&["--ready"]) == wanted).then_some(()));

    until(true).context("registered and not ready")?;
    daemon.halt(Signal::SIGTERM)?;
    until(false).context("ready without a runtime")?;
    ensure!(probe(&[]), "it lives without a runtime as well");
    daemon.launch()?;
    until(true).context("registered again and not ready")?;
    plugin.stop(Signal::SIGTERM)?;
    daemon.stop()
}
