//! containerd starts the plugin itself, from its plugin directory.

use std::fs;
use std::os::unix::fs::symlink;

use anyhow::{Result, ensure};
use libtest_mimic::Trial;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::steps::{app, fresh, merge_works, says, strict, strict_works};
use crate::world::{World, trial};
use e2e::{Kind, plugin, run, wait_for};

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial("launched::by_containerd_1_7", |world| by_containerd(world, Kind::V1_7)),
        trial("launched::by_containerd_2", |world| by_containerd(world, Kind::V2)),
        trial("launched::the_bare_binary_uses_the_default_socket", bare),
    ]
}

/// A script gives the options that the directory cannot.
fn by_containerd(world: &World, kind: Kind) -> Result<()> {
    let daemon = fresh(world, kind)?;
    let log = daemon.dir().join("launched.log");
    let said = |text: &str| fs::read_to_string(&log).unwrap_or_default().matches(text).count();
    let pid = daemon.dir().join("launched.pid");
    let script = format!(
        "#!/bin/sh\necho $$ > {}\nexport {}={}\nexec {} plugin --containerd-socket {} 2>>{}\n",
        pid.display(),
        run::VARIABLE,
        world.run.name(),
        plugin::binary(daemon.run())?.display(),
        daemon.socket().display(),
        log.display()
    );
    let path = daemon.nri_plugins().join("90-strict-groups");
    e2e::executable::script(&path, &script)?;
    for (times, signal) in (1..).zip([Signal::SIGTERM, Signal::SIGKILL]) {
        daemon.restart(signal)?;
        strict_works(&daemon, "launched-strict")?;
        merge_works(&daemon, "launched-merge")?;
        ensure!(said(plugin::REGISTERED) == times, "{:?}\n{}", fs::read_to_string(&log), daemon.log());
    }
    // The plugin goes with the containerd that started it.
    daemon.halt(Signal::SIGKILL)?;
    let gone = wait_for(std::time::Duration::from_secs(20), || {
        (said("the connection inherited from the runtime is over") == 2).then_some(())
    });
    ensure!(gone.is_some(), "the plugin is still there: {:?}", fs::read_to_string(&log));
    daemon.launch()?;
    strict_works(&daemon, "launched-again")?;

    // A plugin that is killed stays away until then: docs/containerd.md has it so.
    kill(Pid::from_raw(fs::read_to_string(&pid)?.trim().parse()?), Signal::SIGKILL)?;
    merge_works(&daemon, "launched-killed")?;
    ensure!(said("INFO starting") == 3, "{:?}", fs::read_to_string(&log));
    daemon.restart(Signal::SIGTERM)?;
    strict_works(&daemon, "launched-restarted")?;
    daemon.stop()
}

/// Without a command line it is the plugin, with defaults; the default socket
/// is not this containerd's, so that Strict is refused and Merge is not.
fn bare(world: &World) -> Result<()> {
    let daemon = fresh(world, Kind::V1_7)?;
    symlink(plugin::binary(daemon.run())?, daemon.nri_plugins().join("90-strict-groups"))?;
    daemon.restart(Signal::SIGTERM)?;
    merge_works(&daemon, "bare-merge")?;
    let pod = daemon.cri().run_pod(&strict("bare-strict"))?;
    let Err(error) = daemon.cri().create(&pod, &app()) else { anyhow::bail!("it was created") };
    says(&error.message, &["pod default/bare-strict, container app", "/run/containerd/containerd.sock"])?;
    daemon.stop()
}
