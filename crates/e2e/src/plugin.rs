//! The strict-groups binary as an NRI plugin of a containerd.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::{Containerd, Run, executable, log_tail, wait_for};

/// How long registering or ending may take on a loaded machine.
const TIMEOUT: Duration = Duration::from_secs(20);

/// What the plugin logs once the runtime has accepted it; the level tells it from "not connected".
pub const REGISTERED: &str = "INFO connected to the runtime";

/// The folder of a containerd in which the CRI proxy hands on requests to the plugin.
pub const REQUESTS: &str = "requests";

/// A running plugin; dropping it ends the process.
pub struct Plugin {
    log: PathBuf,
    child: Mutex<Option<Child>>,
}

impl Plugin {
    /// Starts it and waits until it is registered. `config`: the content of
    /// its configuration file, if it shall have one. `arguments`: more of its
    /// command line.
    pub fn start(containerd: &Containerd, config: Option<&str>, arguments: &[&str]) -> Result<Self> {
        let plugin = Self::launch(containerd, config, arguments)?;
        plugin.wait_registered(1)?;
        Ok(plugin)
    }

    /// Starts it, waits until it is registered, and has it use the containerd API at `api`.
    pub fn start_with_api(containerd: &Containerd, api: &Path) -> Result<Self> {
        Self::start_with(containerd, api, None)
    }

    /// The same with a configuration.
    pub fn start_with(containerd: &Containerd, api: &Path, config: Option<&str>) -> Result<Self> {
        let plugin = Self::launch_as(containerd, api, config, &[])?;
        plugin.wait_registered(1)?;
        Ok(plugin)
    }

    /// Starts it and does not wait.
    pub fn launch(containerd: &Containerd, config: Option<&str>, arguments: &[&str]) -> Result<Self> {
        Self::launch_as(containerd, &containerd.socket(), config, arguments)
    }

    /// Starts it by way of another program, which is given its command line, and does not wait.
    pub fn launch_by(containerd: &Containerd, program: &[&str]) -> Result<Self> {
        let (first, more) = program.split_first().context("no program")?;
        let mut command = Command::new(first);
        command.args(more).arg(binary(containerd.run())?);
        Self::spawn(command, containerd, &containerd.socket(), None, &[])
    }

    fn launch_as(
        containerd: &Containerd,
        api: &Path,
        config: Option<&str>,
        arguments: &[&str],
    ) -> Result<Self> {
        Self::spawn(Command::new(binary(containerd.run())?), containerd, api, config, arguments)
    }

    fn spawn(
        mut command: Command,
        containerd: &Containerd,
        api: &Path,
        config: Option<&str>,
        arguments: &[&str],
    ) -> Result<Self> {
        let log = (0..100_000)
            .map(|number| containerd.dir().join(format!("plugin-{number}.log")))
            .find(|path| OpenOptions::new().write(true).create_new(true).open(path).is_ok())
            .context("no name for the plugin's log")?;
        command.arg("plugin").arg("--nri-socket").arg(containerd.nri_socket());
        command.arg("--containerd-socket").arg(api);
        if !arguments.contains(&"--requests-dir") {
            command.arg("--requests-dir").arg(containerd.dir().join(REQUESTS));
        }
        if let Some(text) = config {
            let path = log.with_extension("toml");
            fs::write(&path, text)?;
            command.arg("--config").arg(path);
        }
        let output = OpenOptions::new().append(true).open(&log)?;
        command.args(arguments).stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output);
        let child = containerd.run().spawn(&mut command)?;
        Ok(Self { log, child: Mutex::new(Some(child)) })
    }

    /// Waits until it has registered `times` times since its start.
    pub fn wait_registered(&self, times: usize) -> Result<()> {
        let registered = wait_for(TIMEOUT, || {
            if self.log().matches(REGISTERED).count() >= times {
                return Some(true);
            }
            let mut child = self.child.lock().unwrap_or_else(PoisonError::into_inner);
            let ended = child.as_mut().is_none_or(|child| !matches!(child.try_wait(), Ok(None)));
            ended.then_some(false)
        });
        match registered {
            Some(true) => Ok(()),
            Some(false) => bail!("the plugin ended before it was registered; its log:\n{}", self.tail()),
            None => bail!("the plugin did not register within {TIMEOUT:?}; its log:\n{}", self.tail()),
        }
    }

    /// Writes another configuration for one that was started with one, and says so by SIGHUP.
    pub fn reconfigure(&self, text: &str) -> Result<()> {
        fs::write(self.config(), text)?;
        self.signal(Signal::SIGHUP)
    }

    /// Where its configuration is, if it was started with one.
    pub fn config(&self) -> PathBuf {
        self.log.with_extension("toml")
    }

    /// Its process id, as long as it runs.
    pub fn pid(&self) -> Option<u32> {
        self.child.lock().unwrap_or_else(PoisonError::into_inner).as_ref().map(Child::id)
    }

    /// Whether the process is still there.
    pub fn is_running(&self) -> bool {
        let mut child = self.child.lock().unwrap_or_else(PoisonError::into_inner);
        child.as_mut().is_some_and(|child| matches!(child.try_wait(), Ok(None)))
    }

    /// How often it has registered so far.
    pub fn registrations(&self) -> usize {
        self.log().matches(REGISTERED).count()
    }

    /// Sends a signal, such as SIGSTOP, and does not wait.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        let pid = self.pid().context("the plugin does not run")?;
        kill(Pid::from_raw(pid.try_into()?), signal).context("signalling the plugin")
    }

    /// Ends it with this signal and gives its exit code (`None` when the signal killed it).
    pub fn stop(&self, signal: Signal) -> Result<Option<i32>> {
        let Some(mut child) = self.child.lock().unwrap_or_else(PoisonError::into_inner).take() else {
            bail!("the plugin does not run");
        };
        kill(Pid::from_raw(child.id().try_into()?), signal)?;
        if let Some(status) = wait_for(TIMEOUT, || child.try_wait().transpose()) {
            return Ok(status?.code());
        }
        child.kill()?;
        child.wait()?;
        bail!("the plugin did not end on {signal}; its log:\n{}", self.tail())
    }

    /// What it has logged so far.
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    /// Waits for a log line like this and gives it.
    pub fn wait_log(&self, wanted: impl Fn(&str) -> bool) -> Result<String> {
        wait_for(TIMEOUT, || self.log().lines().find(|line| wanted(line)).map(str::to_owned))
            .with_context(|| format!("no such line in the plugin's log:\n{}", self.tail()))
    }

    fn tail(&self) -> String {
        log_tail(&self.log, 20)
    }
}

impl Drop for Plugin {
    fn drop(&mut self) {
        let child = self.child.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(mut child) = child {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// The binary under test, copied into the run's folder: it runs from a place
/// that is root's alone, and the checkout may belong to somebody else.
pub fn binary(run: &Run) -> Result<PathBuf> {
    // Held for the first caller's copy: a program that is being written cannot be run.
    static COPYING: Mutex<()> = Mutex::new(());
    let _guard = COPYING.lock().unwrap_or_else(PoisonError::into_inner);
    let copy = run.dir().join("strict-groups");
    if !copy.exists() {
        let built = built()?;
        executable::copy(&built, &copy)?;
        fs::set_permissions(&copy, fs::Permissions::from_mode(0o755))?;
    }
    Ok(copy)
}

/// `STRICT_GROUPS_BIN`, else cargo's debug binary, which is built first. That needs cargo to run us.
pub fn built() -> Result<PathBuf> {
    static BUILT: Mutex<Option<PathBuf>> = Mutex::new(None);
    if let Some(path) = std::env::var_os("STRICT_GROUPS_BIN") {
        return Ok(PathBuf::from(path));
    }
    let mut built = BUILT.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(path) = &*built {
        return Ok(path.clone());
    }
    let cargo = std::env::var_os("CARGO").context("STRICT_GROUPS_BIN is not set")?;
    let mut command = Command::new(cargo);
    command.current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")).stderr(Stdio::inherit());
    command.args(["build", "--quiet", "--package", "strict-groups", "--bin", "strict-groups"]);
    command.arg("--message-format=json-render-diagnostics");
    if cfg!(feature = "kubernetes-api") {
        command.args(["--features", "kubernetes-api"]);
    }
    let output = command.output()?;
    ensure!(output.status.success(), "cargo cannot build strict-groups");
    let messages = serde_json::Deserializer::from_slice(&output.stdout).into_iter::<serde_json::Value>();
    let path = messages.flatten().find_map(|message| Some(PathBuf::from(message["executable"].as_str()?)));
    let path = path.context("cargo names no binary")?;
    Ok(built.insert(path).clone())
}
