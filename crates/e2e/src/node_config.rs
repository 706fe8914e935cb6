//! `strict-groups config containerd` for one of the test's containerds.

use std::path::PathBuf;
use std::process::{Command, Output};
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;

use super::{Containerd, Kind, Machine, Options, Run, plugin};

/// The command with what it needs to know of this containerd: its program and its configuration.
pub fn command(machine: &Machine, daemon: &Containerd) -> Result<Command> {
    let mut command = Command::new(plugin::binary(daemon.run())?);
    command.args(["config", "containerd", "--containerd"]);
    command.arg(machine.containerd(daemon.kind())?.join("containerd"));
    command.arg("--containerd-config").arg(daemon.dir().join("config.toml"));
    command.stdin(std::process::Stdio::null());
    Ok(command)
}

/// The folder that a containerd of [`start`] imports.
pub fn folder(daemon: &Containerd) -> PathBuf {
    daemon.dir().join("conf.d")
}

/// The node's configuration that the static gate of a containerd of [`start`] reads.
pub fn node_file(daemon: &Containerd) -> PathBuf {
    daemon.dir().join("node.toml")
}

/// A containerd whose configuration imports a folder, which is empty.
pub fn start(machine: &Machine, run: &Arc<Run>, kind: Kind, options: Options) -> Result<Containerd> {
    let daemon = Containerd::start(machine, run, kind, options)?;
    std::fs::create_dir(folder(&daemon))?;
    let path = daemon.dir().join("config.toml");
    let (text, imports) = (std::fs::read_to_string(&path)?, folder(&daemon));
    std::fs::write(path, format!("imports = [\"{}/*.toml\"]\n{text}", imports.display()))?;
    std::fs::write(node_file(&daemon), "")?;
    Ok(daemon)
}

/// Lets the command write the files of a containerd of [`start`], and restarts that.
pub fn configure(machine: &Machine, daemon: &Containerd) -> Result<()> {
    configure_for(machine, daemon, &[])
}

/// The same with these options, such as `--wrapper`.
pub fn configure_for(machine: &Machine, daemon: &Containerd, ways: &[&str]) -> Result<()> {
    let mut command = command(machine, daemon)?;
    command.args(ways);
    command.arg("--config").arg(node_file(daemon)).arg("--write").arg(folder(daemon));
    let said = text(&command.output().context("starting strict-groups")?)?;
    ensure!(!said.contains("does not import") && !said.contains("takes it back"), "{said}");
    daemon.restart(Signal::SIGTERM)
}

/// What a command that has to succeed says to the operator.
pub fn text(output: &Output) -> Result<String> {
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(output.status.success(), "{}: {said}", output.status);
    Ok(said)
}
