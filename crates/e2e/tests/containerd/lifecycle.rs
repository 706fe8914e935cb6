//! The plugin comes and goes while pods live.

use anyhow::{Context, Result, ensure};
use libtest_mimic::Trial;
use nix::sys::signal::Signal;

use crate::steps::{STRICT, app, expect, fresh, named, strict};
use crate::world::{World, trial};
use e2e::{Identity, Kind, Plugin};

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial("lifecycle::plugin_ends_by_sigterm_and_comes_back", |world| {
            comes_back(world, Kind::V1_7, Signal::SIGTERM)
        }),
        trial("lifecycle::plugin_ends_by_sigkill_and_comes_back", |world| {
            comes_back(world, Kind::V1_7, Signal::SIGKILL)
        }),
        trial("lifecycle::plugin_ends_by_sigkill_and_comes_back_on_containerd_2", |world| {
            comes_back(world, Kind::V2, Signal::SIGKILL)
        }),
    ]
}

fn comes_back(world: &World, kind: Kind, signal: Signal) -> Result<()> {
    let daemon = fresh(world, kind)?;
    let cri = daemon.cri();

    // The sandbox is there before the plugin is.
    let pod = cri.run_pod(&strict("lifecycle"))?;
    let plugin = Plugin::start(&daemon, None, &[])?;
    let running = cri.launch(&pod, &named("running"))?;
    expect(&daemon, &running, &STRICT).context("container of a pod that is older than the plugin")?;
    let created = cri.create(&pod, &named("created"))?;
    let pid = cri.status(&running)?.pid;

    let code = plugin.stop(signal)?;
    if signal == Signal::SIGTERM {
        ensure!(code == Some(0), "exit code {code:?}");
        ensure!(plugin.log().trim_end().ends_with("stopped"), "it did not say so: {}", plugin.log());
    }

    // Nobody enforces anything now; what was decided before still holds.
    expect(&daemon, &running, &STRICT).context("running, without the plugin")?;
    cri.start(&created)?;
    expect(&daemon, &created, &STRICT).context("created before the end, started after it")?;

    let plugin = Plugin::start(&daemon, None, &[])?;
    let second = cri.launch(&pod, &app())?;
    expect(&daemon, &second, &STRICT).context("the pod's next container")?;
    expect(&daemon, &running, &STRICT).context("running, with the next plugin")?;
    ensure!(cri.status(&running)?.pid == pid, "the running container was started again");
    let first = Identity::of_process(pid)?;
    ensure!((first.uid, first.gid) == (1000, 3000), "{first}");
    ensure!(!plugin.log().contains("ERROR"), "{}", plugin.log());
    daemon.stop()
}
