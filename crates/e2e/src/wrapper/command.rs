//! The wrapper as an operator sets it up: its configuration, and the underlying OCI runtime behind it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use anyhow::{Context, Result, ensure};

use super::world::World;
use crate::{executable::script, plugin, run};

/// Which real runtime.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Real {
    Runc,
    Crun,
}

pub const BOTH: [Real; 2] = [Real::Runc, Real::Crun];

impl Real {
    pub fn path(self, world: &World) -> PathBuf {
        match self {
            Self::Runc => world.machine.runc(),
            Self::Crun => world.machine.plain_crun(),
        }
    }

    /// Options that go before the subcommand on this machine.
    fn global(self) -> &'static [&'static str] {
        match self {
            Self::Runc => &[],
            Self::Crun => &["--cgroup-manager=disabled"],
        }
    }
}

/// The wrapper before a real runtime, with a state folder and a configuration of its own.
pub struct Wrapper {
    pub dir: PathBuf,
    pub real: Real,
    binary: PathBuf,
    run: String,
}

impl Wrapper {
    pub fn new(world: &World, real: Real) -> Result<Self> {
        Self::with(world, real, "")
    }

    /// `more`: lines for the configuration's `[runtime]` table, and tables behind it.
    pub fn with(world: &World, real: Real, more: &str) -> Result<Self> {
        let dir = world.folder()?;
        let binary = plugin::binary(&world.run)?;
        let wrapper = Self { dir, real, binary, run: world.run.name().to_owned() };
        wrapper.configure(&format!("[runtime]\npath = \"{}\"\n{more}", real.path(world).display()))?;
        Ok(wrapper)
    }

    /// Writes the configuration anew.
    pub fn configure(&self, text: &str) -> Result<()> {
        Ok(fs::write(self.config(), text)?)
    }

    pub fn config(&self) -> PathBuf {
        self.dir.join("config.toml")
    }

    /// The underlying OCI runtime's `--root`.
    pub fn root(&self) -> PathBuf {
        self.dir.join("state")
    }

    /// The wrapper's process, without arguments for the runtime.
    pub fn bare(&self) -> Command {
        let mut command = Command::new(&self.binary);
        command.args(["runtime", "--config"]).arg(self.config()).arg("--");
        command.env(run::VARIABLE, &self.run).stdin(Stdio::null());
        command
    }

    /// The runtime's command line, its state folder included.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = self.bare();
        command.arg("--root").arg(self.root()).args(self.real.global()).args(args);
        command
    }

    /// Runs it. What a container inherits goes to a file: it would keep a pipe open.
    pub fn output(&self, args: &[&str]) -> Result<Output> {
        finish(&mut self.command(args), &self.dir)
    }

    /// Runs it; it has to succeed.
    pub fn ok(&self, args: &[&str]) -> Result<String> {
        let output = self.output(args)?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        ensure!(output.status.success(), "{args:?}: {}: {said}", output.status);
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Runs it; it has to fail, with one line, which is given.
    pub fn refused(&self, args: &[&str]) -> Result<String> {
        let output = self.output(args)?;
        one_line(&output).with_context(|| format!("{args:?}"))
    }

    /// A script that is the wrapper, for engines that want a path; it takes no arguments of its own.
    pub fn script(&self) -> Result<PathBuf> {
        let path = self.dir.join("strict-groups-runtime.sh");
        let (binary, config) = (self.binary.display(), self.config());
        script(
            &path,
            &format!("#!/bin/sh\nexec {binary} runtime --config {} -- \"$@\"\n", config.display()),
        )?;
        Ok(path)
    }

    pub fn binary(&self) -> &Path {
        &self.binary
    }
}

/// What a command that failed printed: one line on stderr.
pub fn one_line(output: &Output) -> Result<String> {
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(!output.status.success(), "it was not refused");
    ensure!(output.stdout.is_empty(), "it printed {}", String::from_utf8_lossy(&output.stdout));
    ensure!(said.lines().count() == 1 && said.starts_with("strict-groups: "), "it said {said:?}");
    ensure!(said.len() < 1500, "too long: {said:?}");
    Ok(said)
}

/// Runs a command to its end, with its output in files in `dir`.
pub fn finish(command: &mut Command, dir: &Path) -> Result<Output> {
    let (out, err) = (tempfile::tempfile_in(dir)?, tempfile::tempfile_in(dir)?);
    command.stdout(out.try_clone()?).stderr(err.try_clone()?);
    let status = command.status().with_context(|| format!("starting {}", command.get_program().display()))?;
    let read = |file: fs::File| -> Result<Vec<u8>> {
        use std::io::{Read, Seek};
        let (mut file, mut bytes) = (file, Vec::new());
        file.rewind()?;
        file.read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    Ok(Output { status, stdout: read(out)?, stderr: read(err)? })
}
