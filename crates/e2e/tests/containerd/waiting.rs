//! The plugin is there, the runtime's socket is not.

use std::{thread, time::Duration};

use anyhow::{Result, anyhow, ensure};
use libtest_mimic::Trial;
use nix::sys::signal::Signal;

use crate::foreign::Foreign;
use crate::steps::{app, fresh, fresh_with, says, strict_works};
use crate::world::{World, trial};
use e2e::{Kind, Options, Plugin, Pod};

/// What the plugin says when it has to wait.
const WAITING: &str = "not connected to the runtime, waiting for it";

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial("waiting::plugin_is_started_before_containerd", |world| {
            starts_first(world, false, "there is no NRI socket at")
        }),
        trial("waiting::plugin_is_started_on_a_socket_of_a_killed_containerd", |world| {
            starts_first(world, true, "nobody listens on the NRI socket")
        }),
        trial("waiting::the_runtime_gave_up_while_the_plugin_was_stopped", gave_up),
        trial("waiting::nri_is_off", |world| {
            let daemon = fresh_with(world, Kind::V1_7, Options::default())?;
            let plugin = Plugin::launch(&daemon, None, &[])?;
            let line = plugin.wait_log(|line| line.contains(WAITING))?;
            let socket = daemon.nri_socket().display().to_string();
            says(&line, &[&socket, "NRI is off", "disable = false", "io.containerd.nri.v1.nri"])?;
            ensure!(plugin.stop(Signal::SIGTERM)? == Some(0), "it did not end well: {}", plugin.log());
            daemon.stop()
        }),
    ]
}

fn starts_first(world: &World, stale: bool, complaint: &str) -> Result<()> {
    let daemon = fresh(world, Kind::V1_7)?;
    daemon.halt(Signal::SIGKILL)?;
    // containerd leaves its socket behind; at a node's boot there is none.
    if !stale {
        std::fs::remove_file(daemon.nri_socket())?;
    }
    let plugin = Plugin::launch(&daemon, None, &[])?;
    let line = plugin.wait_log(|line| line.contains(WAITING))?;
    says(&line, &[complaint, &daemon.nri_socket().display().to_string(), "not running"])?;
    daemon.launch()?;
    plugin.wait_registered(1)?;
    strict_works(&daemon, "waiting")?;
    let lines = plugin.log().matches(complaint).count();
    ensure!(lines == 1, "said {lines} times: {}", plugin.log());
    daemon.stop()
}

/// containerd 1.7 does not wait for the answer to Synchronize for ever. It keeps the connection then, and never calls.
fn gave_up(world: &World) -> Result<()> {
    let daemon = fresh(world, Kind::V1_7)?;
    // Nobody is synchronized while a plugin is asked.
    let slow = Foreign::slow(&daemon, "slow", "10", Duration::from_millis(1300))?;
    let pod = daemon.cri().run_pod(&Pod::new("slow"))?;
    let plugin = thread::scope(|scope| {
        let created = scope.spawn(|| daemon.cri().create(&pod, &app()));
        thread::sleep(Duration::from_millis(200));
        let plugin = Plugin::launch(&daemon, None, &[])?;
        thread::sleep(Duration::from_millis(600));
        plugin.signal(Signal::SIGSTOP)?;
        created.join().map_err(|_| anyhow!("creating panicked"))??;
        // Longer than the two seconds that it waits.
        thread::sleep(Duration::from_millis(2500));
        Ok::<_, anyhow::Error>(plugin)
    })?;
    drop(slow);
    plugin.signal(Signal::SIGCONT)?;
    plugin.wait_registered(1)?;
    ensure!(plugin.log().contains("may have gone on without the plugin"), "{}", plugin.log());
    strict_works(&daemon, "after")
}
