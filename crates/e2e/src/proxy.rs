//! The CRI proxy before a runtime.

use std::{
    fs::File,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{Mutex, PoisonError},
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use super::{Containerd, Cri, Run, plugin, wait_for};

const TIMEOUT: Duration = Duration::from_secs(20);

/// `strict-groups cri-proxy`.
pub struct Proxy {
    child: Mutex<Child>,
    pub socket: PathBuf,
    /// What a kubelet that is pointed at it has.
    pub cri: Cri,
    log: PathBuf,
}

impl Proxy {
    /// Starts one on `socket`, for a plugin that says how it is in the file `health` in its containerd's folder, and
    /// waits until it answers.
    pub fn start(containerd: &Containerd, health: &Path, socket: &Path) -> Result<Self> {
        Self::launch(containerd.run(), &containerd.socket(), health, socket)?.ready()
    }

    /// Waits until it answers.
    pub fn ready(self) -> Result<Self> {
        let ready = wait_for(TIMEOUT, || self.cri.is_ready().then_some(()));
        ready.with_context(|| format!("the proxy does not answer; its log:\n{}", self.log()))?;
        Ok(self)
    }

    /// The same for whatever listens on `endpoint`, without waiting.
    pub fn launch(run: &Run, endpoint: &Path, health: &Path, socket: &Path) -> Result<Self> {
        let log = socket.with_extension("log");
        let output = File::options().append(true).create(true).open(&log)?;
        let mut command = Command::new(plugin::binary(run)?);
        command.arg("cri-proxy").arg("--listen").arg(socket);
        command.arg("--runtime-endpoint").arg(endpoint).arg("--health-file").arg(health);
        command.arg("--requests-dir").arg(health.with_file_name(plugin::REQUESTS));
        command.stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output);
        let child = Mutex::new(run.spawn(&mut command)?);
        Ok(Self { child, socket: socket.to_owned(), cri: Cri::new(socket, run.name())?, log })
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.lock().unwrap_or_else(PoisonError::into_inner).id()
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Ends it by this signal and waits.
    pub fn stop(&self, signal: Signal) -> Result<()> {
        let mut child = self.child.lock().unwrap_or_else(PoisonError::into_inner);
        kill(Pid::from_raw(child.id().try_into()?), signal)?;
        let Some(status) = wait_for(TIMEOUT, || child.try_wait().transpose()) else {
            bail!("the proxy does not end; its log:\n{}", self.log());
        };
        let status = status?;
        ensure!(signal == Signal::SIGKILL || status.success(), "{status}; its log:\n{}", self.log());
        Ok(())
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let child = self.child.get_mut().unwrap_or_else(PoisonError::into_inner);
        let _ = child.kill();
        let _ = child.wait();
    }
}
