//! The harness itself: a test bench that leaves things behind, or that
//! overlooks them, makes all other results worthless.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use libtest_mimic::Trial;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::world::{self, World, trial};
use e2e::{ContainerSpec, Containerd, Image, Kind, Options, Pod, Run, leftovers};

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial("harness::nothing_is_left_after_a_regular_end", |world| {
            let run = Arc::new(Run::start()?);
            let daemon = busy(world, &run)?;
            daemon.stop()?;
            let processes = leftovers::processes(run.name());
            ensure!(processes.is_empty(), "still running: {processes:?}");
            drop(daemon);
            let left = run.end();
            ensure!(left.is_empty(), "left: {left:?}");
            Ok(())
        }),
        trial("harness::nothing_is_left_after_the_daemon_was_killed", |world| {
            let run = Arc::new(Run::start()?);
            let daemon = busy(world, &run)?;
            daemon.halt(Signal::SIGKILL)?;
            let before = leftovers::leftovers(run.name(), run.dir());
            for kind in ["process", "mount", "cgroup", "network interface", "folder"] {
                ensure!(before.iter().any(|line| line.starts_with(kind)), "no {kind} found in {before:?}");
            }
            let sockets = leftovers::shim_sockets(run.name(), run.dir());
            ensure!(!sockets.is_empty() && sockets.iter().all(|path| path.exists()), "sockets: {sockets:?}");
            let left = run.end();
            ensure!(left.is_empty(), "left: {left:?}");
            ensure!(sockets.iter().all(|path| !path.exists()), "left: {sockets:?}");
            Ok(())
        }),
        trial("harness::nothing_is_left_after_sigint", |_| interrupted(Signal::SIGINT)),
        trial("harness::nothing_is_left_after_sigterm", |_| interrupted(Signal::SIGTERM)),
        trial("harness::the_next_run_removes_what_a_killed_one_left", |_| {
            let (mut child, name, dir) = held()?;
            child.kill()?;
            child.wait()?;
            let before = leftovers::leftovers(&name, &dir);
            ensure!(before.iter().any(|line| line.starts_with("process")), "nothing to remove: {before:?}");
            let next = Run::start()?;
            let left = leftovers::leftovers(&name, &dir);
            ensure!(left.is_empty(), "left: {left:?}");
            let left = next.end();
            ensure!(left.is_empty(), "left: {left:?}");
            Ok(())
        }),
        trial("harness::pods_outlive_a_restart_of_the_daemon", |world| {
            let run = Arc::new(Run::start()?);
            let daemon = Containerd::start(&world.machine, &run, Kind::V1_7, Options::default())?;
            let image = Image::example(&world.machine)?;
            daemon.import(&image)?;
            let pod = daemon.cri().run_pod(&Pod::new("lasting"))?;
            let container = daemon.cri().launch(&pod, &ContainerSpec::new("app", image.name()))?;
            let pid = daemon.cri().status(&container)?.pid;
            for signal in [Signal::SIGTERM, Signal::SIGKILL] {
                let daemon_pid = daemon.pid();
                daemon.restart(signal)?;
                ensure!(daemon.pid() != daemon_pid, "the daemon is the old one");
                let now = daemon.cri().status(&container)?.pid;
                ensure!(now == pid, "after {signal}: pid {now} instead of {pid}");
                ensure!(daemon.cri().exec(&container, &["true"])?.code == 0, "no exec after {signal}");
            }
            daemon.stop()
        }),
        trial("harness::an_image_has_the_same_bytes_every_time", |world| {
            let (one, two) = (Image::example(&world.machine)?, Image::example(&world.machine)?);
            ensure!(one.archive() == two.archive(), "two builds differ");
            Ok(())
        }),
    ]
}

/// A containerd with a pod of each kind in it.
fn busy(world: &World, run: &Arc<Run>) -> Result<Containerd> {
    let daemon = Containerd::start(&world.machine, run, Kind::V1_7, Options::default().network())?;
    let image = Image::example(&world.machine)?;
    daemon.import(&image)?;
    for pod in [Pod::new("host-network"), Pod::new("userns").user_namespace(200_000, 65536)] {
        let pod = daemon.cri().run_pod(&pod)?;
        daemon.cri().launch(&pod, &ContainerSpec::new("app", image.name()))?;
    }
    Ok(daemon)
}

/// This test binary once more, with its containerds running: the process, the
/// run's name and its folder.
fn held() -> Result<(Child, String, PathBuf)> {
    let mut child = Command::new(std::env::current_exe()?)
        .env(world::HOLD, "1")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    let mut line = String::new();
    BufReader::new(child.stdout.take().context("no stdout")?).read_line(&mut line)?;
    let dir = PathBuf::from(line.trim());
    let name = dir.file_name().with_context(|| format!("no folder in {line:?}"))?;
    let name = name.to_string_lossy().into_owned();
    Ok((child, name, dir))
}

/// A signal ends the tests as a shell expects it, and nothing stays.
fn interrupted(signal: Signal) -> Result<()> {
    let (child, name, dir) = held()?;
    ensure!(dir.is_dir(), "no folder {}", dir.display());
    kill(Pid::from_raw(child.id().try_into()?), signal)?;
    let output = child.wait_with_output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.code() == Some(128 + signal as i32), "{}: {said}", output.status);
    ensure!(said.contains("nothing is left behind"), "it said: {said}");
    let left = leftovers::leftovers(&name, &dir);
    ensure!(left.is_empty(), "left: {left:?}");
    Ok(())
}
