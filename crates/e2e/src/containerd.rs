//! A containerd of our own: started, restarted, stopped.

use std::fs::{self, OpenOptions};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::{Cri, Image, Machine, Run, config, log_tail, run, wait_for};

/// How long a start or a stop may take on a loaded machine.
const TIMEOUT: Duration = Duration::from_secs(40);

static IMPORTS: AtomicU32 = AtomicU32::new(0);

/// Which containerd. `V1_7` and `V2` are Debian's packages, the others are built from tests/go-modules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// 1.6.36: its NRI is the old one, where no plugin can register.
    V1_6,
    /// 1.7.2: its NRI can deadlock when a plugin registers (containerd #10085, until 1.7.15).
    V1_7_2,
    /// 1.7: knows no policy, always merges.
    V1_7,
    /// 1.7.35: the newest 1.7.
    V1_7_35,
    /// 2.1 or newer: has Strict itself.
    V2,
    /// 2.4.2: its configuration has version 4.
    V2_4,
}

impl Kind {
    /// True when NRI plugins can register.
    pub fn has_nri(self) -> bool {
        self != Self::V1_6
    }

    /// True when it enforces the CRI field `supplemental_groups_policy` itself.
    pub fn has_strict(self) -> bool {
        matches!(self, Self::V2 | Self::V2_4)
    }

    /// The newest version of the configuration file that it knows.
    pub fn config_version(self) -> u32 {
        match self {
            Self::V1_6 | Self::V1_7_2 | Self::V1_7 | Self::V1_7_35 => 2,
            Self::V2 => 3,
            Self::V2_4 => 4,
        }
    }

    /// The plugin whose table has the runtime handlers: since version 3 not the one that serves the CRI.
    pub fn cri_plugin(self) -> &'static str {
        if self.config_version() == 2 { "io.containerd.grpc.v1.cri" } else { "io.containerd.cri.v1.runtime" }
    }
}

/// A runtime handler, which a pod can choose by name.
pub struct Handler {
    pub name: String,
    pub binary: PathBuf,
    /// Lines for its table in the configuration, such as `base_runtime_spec = "…"`.
    pub settings: String,
}

impl Handler {
    /// `binary`: the OCI runtime's path.
    pub fn new(name: &str, binary: impl Into<PathBuf>) -> Self {
        Self { name: name.to_owned(), binary: binary.into(), settings: String::new() }
    }

    /// Adds lines to the handler's table.
    pub fn settings(mut self, lines: &str) -> Self {
        self.settings.push_str(lines);
        self
    }
}

/// How to start it. The default has NRI off, no network and runc alone.
#[derive(Default)]
pub struct Options {
    pub nri: bool,
    pub nri_settings: String,
    pub handlers: Vec<Handler>,
    pub network: bool,
    pub own_mounts: bool,
    pub extra: String,
}

impl Options {
    /// Turns NRI on.
    pub fn nri(mut self) -> Self {
        self.nri = true;
        self
    }

    /// Adds lines to NRI's table, such as `plugin_request_timeout = "1s"`.
    pub fn nri_settings(mut self, lines: &str) -> Self {
        self.nri_settings.push_str(lines);
        self
    }

    /// Adds a runtime handler; the first one is the default.
    pub fn handler(mut self, handler: Handler) -> Self {
        self.handlers.push(handler);
        self
    }

    /// Gives pods a network of their own, which user namespaces need.
    pub fn network(mut self) -> Self {
        self.network = true;
        self
    }

    /// Gives the daemon, and its shims, a mount namespace, as systemd does where a unit has `PrivateMounts=` or the like.
    pub fn own_mounts(mut self) -> Self {
        self.own_mounts = true;
        self
    }

    /// Adds text, whole TOML tables, to the end of the configuration.
    pub fn extra(mut self, toml: &str) -> Self {
        self.extra.push_str(toml);
        self
    }
}

/// A running containerd. Dropping it stops its pods and then itself.
pub struct Containerd {
    run: Arc<Run>,
    kind: Kind,
    programs: PathBuf,
    dir: PathBuf,
    snapshotter: &'static str,
    own_mounts: bool,
    child: Mutex<Option<Child>>,
    cri: Cri,
}

impl Containerd {
    /// Starts it and waits until the CRI answers; imports the sandbox image.
    pub fn start(machine: &Machine, run: &Arc<Run>, kind: Kind, mut options: Options) -> Result<Self> {
        ensure!(kind.has_nri() || !options.nri, "{kind:?} has no NRI");
        let programs = machine.containerd(kind)?;
        let dir = (0..1000)
            .map(|number| run.dir().join(format!("c{number}")))
            .find(|dir| fs::create_dir(dir).is_ok())
            .context("no folder for containerd")?;
        for folder in ["nri-plugins", "nri-conf.d", "tmp"] {
            fs::create_dir(dir.join(folder))?;
        }
        if options.handlers.is_empty() {
            options = options.handler(Handler::new("runc", machine.runc()));
        }
        if options.network {
            config::write_cni(machine, run, &dir)?;
        }
        let snapshotter = config::snapshotter(&dir);
        fs::write(dir.join("config.toml"), config::config(kind, &dir, snapshotter, &options))?;

        let cri = Cri::new(&dir.join("containerd.sock"), run.name())?;
        let (own_mounts, child) = (options.own_mounts, Mutex::new(None));
        let daemon = Self { run: Arc::clone(run), kind, programs, dir, snapshotter, own_mounts, child, cri };
        daemon.launch()?;
        daemon.import(&Image::sandbox(machine)?)?;
        Ok(daemon)
    }

    /// Its CRI.
    pub fn cri(&self) -> &Cri {
        &self.cri
    }

    /// Which containerd it is.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The run it belongs to.
    pub fn run(&self) -> &Arc<Run> {
        &self.run
    }

    /// Its folder: sockets, configuration, log, images, bundles.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The gRPC socket.
    pub fn socket(&self) -> PathBuf {
        self.dir.join("containerd.sock")
    }

    /// The socket for NRI plugins.
    pub fn nri_socket(&self) -> PathBuf {
        self.dir.join("nri.sock")
    }

    /// The folder of NRI plugins that containerd starts itself.
    pub fn nri_plugins(&self) -> PathBuf {
        self.dir.join("nri-plugins")
    }

    /// The folder of a running container: config.json and the rootfs.
    pub fn bundle(&self, container: &str) -> PathBuf {
        self.dir.join("state/io.containerd.runtime.v2.task/k8s.io").join(container)
    }

    /// What it has logged so far, over all its restarts.
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(self.log_path()).unwrap_or_default()).into_owned()
    }

    /// The process id of the daemon, as long as it runs.
    pub fn pid(&self) -> Option<u32> {
        self.child.lock().unwrap_or_else(PoisonError::into_inner).as_ref().map(Child::id)
    }

    /// Ends the daemon with this signal and starts it again; pods live on.
    pub fn restart(&self, signal: Signal) -> Result<()> {
        self.halt(signal)?;
        self.launch()
    }

    /// Ends the daemon; pods live on. `launch` starts it again.
    pub fn halt(&self, signal: Signal) -> Result<()> {
        let Some(mut child) = self.child.lock().unwrap_or_else(PoisonError::into_inner).take() else {
            return Ok(());
        };
        kill(Pid::from_raw(child.id().try_into()?), signal)?;
        if wait_for(TIMEOUT, || child.try_wait().transpose()).is_none() {
            child.kill()?;
            child.wait()?;
            bail!("containerd did not end on {signal}");
        }
        Ok(())
    }

    /// Starts the daemon on what is in its folder.
    pub fn spawn(&self) -> Result<Child> {
        let log = OpenOptions::new().create(true).append(true).open(self.log_path())?;
        // Its own shim and ctr have to come first in PATH.
        let path = format!("{}:/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin", self.programs.display());
        let program = self.programs.join("containerd");
        let mut command = Command::new(if self.own_mounts { Path::new("unshare") } else { &program });
        if self.own_mounts {
            command.args(["--mount", "--propagation", "slave"]).arg(program);
        }
        self.run.spawn(
            command
                .arg("--config")
                .arg(self.dir.join("config.toml"))
                .env("PATH", path)
                .env("TMPDIR", self.dir.join("tmp"))
                .stdin(Stdio::null())
                .stdout(log.try_clone()?)
                .stderr(log),
        )
    }

    /// The same, and waits until the CRI answers.
    pub fn launch(&self) -> Result<()> {
        let mut child = self.spawn()?;
        let up = wait_for(TIMEOUT, || match child.try_wait() {
            Ok(None) => self.cri.is_ready().then_some(Ok(())),
            Ok(Some(status)) => {
                Some(Err(format!("ended with code {:?}, signal {:?}", status.code(), status.signal())))
            }
            Err(error) => Some(Err(error.to_string())),
        });
        *self.child.lock().unwrap_or_else(PoisonError::into_inner) = Some(child);
        match up {
            Some(Ok(())) => Ok(()),
            _ if run::interrupted() => bail!("interrupted"),
            Some(Err(end)) => {
                bail!("containerd {end}; the end of its log:\n{}", log_tail(&self.log_path(), 30))
            }
            None => bail!(
                "containerd's CRI does not answer after {TIMEOUT:?}; the end of its log:\n{}",
                log_tail(&self.log_path(), 30)
            ),
        }
    }

    /// Imports an image and waits until the CRI knows it.
    pub fn import(&self, image: &Image) -> Result<()> {
        // Two tests may import the same image at the same time.
        let number = IMPORTS.fetch_add(1, Ordering::Relaxed);
        let file = self.dir.join("tmp").join(format!("image-{number}.tar"));
        fs::write(&file, image.archive())?;
        let output = self
            .ctr()
            .args(["images", "import", "--snapshotter", self.snapshotter])
            .arg(&file)
            .output()
            .context("starting ctr")?;
        fs::remove_file(&file)?;
        ensure!(
            output.status.success(),
            "importing {}: {}",
            image.name(),
            String::from_utf8_lossy(&output.stderr)
        );
        // The CRI hears of it by an event, so a little later.
        wait_for(TIMEOUT, || self.cri.has_image(image.name()).then_some(()))
            .with_context(|| format!("the CRI does not see the imported image {}", image.name()))
    }

    /// ctr for this containerd, in the CRI's namespace.
    pub fn ctr(&self) -> Command {
        let mut command = Command::new(self.programs.join("ctr"));
        command.arg("--address").arg(self.socket()).args(["--namespace", "k8s.io"]);
        command.env(run::VARIABLE, self.run.name());
        command
    }

    /// Removes all pods, then ends the daemon.
    pub fn stop(&self) -> Result<()> {
        let pods = if self.pid().is_some() { self.cri.remove_all_pods() } else { Ok(()) };
        self.halt(Signal::SIGTERM)?;
        pods.context("removing the pods")
    }

    fn log_path(&self) -> PathBuf {
        self.dir.join("containerd.log")
    }
}

impl Drop for Containerd {
    fn drop(&mut self) {
        // Errors are not lost: what stays is removed, or reported, by the run.
        let _ = self.stop();
    }
}
