//! A node with the proxy before its runtime.

use std::{
    fs::File,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use anyhow::{Context, Result};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use crate::world::World;
use e2e::{Containerd, Handler, Image, Kind, Options, Plugin, Proxy, plugin, wait_for};

const TIMEOUT: Duration = Duration::from_secs(20);

static COUNTER: AtomicU32 = AtomicU32::new(0);

pub(super) struct Node {
    pub(super) containerd: Containerd,
    plugin: Mutex<Option<Plugin>>,
    health: PathBuf,
}

impl Node {
    /// A containerd of its own, without a plugin.
    pub(super) fn start(world: &World, kind: Kind) -> Result<Self> {
        let options = Options::default().handler(Handler::new("runc", world.machine.runc())).nri();
        let containerd = Containerd::start(&world.machine, &world.run, kind, options)?;
        containerd.import(&Image::example(&world.machine)?)?;
        let health = containerd.dir().join("health");
        Ok(Self { containerd, plugin: Mutex::default(), health })
    }

    /// Starts the plugin and waits until it says that it is registered.
    pub(super) fn plugin(&self) -> Result<()> {
        self.plugin_with(&[])
    }

    /// The same with more arguments.
    pub(super) fn plugin_with(&self, more: &[&str]) -> Result<()> {
        let health = self.health.to_str().context("the health file's path")?;
        let arguments = [&["--health-file", health], more].concat();
        let plugin = Plugin::start(&self.containerd, None, &arguments)?;
        *self.plugin.lock().unwrap_or_else(PoisonError::into_inner) = Some(plugin);
        wait_for(TIMEOUT, || std::fs::read_to_string(&self.health).ok()?.contains("containerd").then_some(()))
            .context("the plugin does not say that it is registered")
    }

    /// Where the proxy hands on requests to the plugin.
    pub(super) fn requests(&self) -> PathBuf {
        self.containerd.dir().join(plugin::REQUESTS)
    }

    /// Ends the plugin, and takes away what it said last, which counts for some seconds more.
    pub(super) fn stop_plugin(&self) -> Result<()> {
        let plugin = self.plugin.lock().unwrap_or_else(PoisonError::into_inner).take();
        plugin.context("there is no plugin")?.stop(Signal::SIGTERM)?;
        match std::fs::remove_file(&self.health) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error.into()),
            _ => Ok(()),
        }
    }

    /// A proxy before the runtime.
    pub(super) fn proxy(&self) -> Result<Proxy> {
        let number = COUNTER.fetch_add(1, Ordering::Relaxed);
        let socket = self.containerd.dir().join(format!("p{number}.sock"));
        self.proxy_on(&socket)
    }

    /// A proxy on this socket, which one that was killed may have left.
    pub(super) fn proxy_on(&self, socket: &Path) -> Result<Proxy> {
        Proxy::start(&self.containerd, &self.health, socket)
    }

    /// A proxy before what listens on `endpoint`, a way to this node's runtime.
    pub(super) fn proxy_before(&self, endpoint: &Path) -> Result<Proxy> {
        let socket = endpoint.with_extension("proxy");
        Proxy::launch(self.containerd.run(), endpoint, &self.health, &socket)?.ready()
    }

    /// Ends or stops the plugin in a way that it cannot tell: what it said last goes on to count.
    pub(super) fn lose_plugin(&self, signal: Signal) -> Result<()> {
        let plugin = self.plugin.lock().unwrap_or_else(PoisonError::into_inner);
        plugin.as_ref().context("there is no plugin")?.signal(signal)
    }
}

/// Stands in for systemd: holds a listening socket, hands it to a proxy (`sd_listen_fds(3)`), and starts the next
/// proxy when one ends. The arguments: the socket, the file for the proxy's pid, its command line.
const HOLDER: &str = r#"
use Socket; use POSIX;
my ($path, $pidfile, @command) = @ARGV;
$^F = 9;
my $socket;
socket($socket, PF_UNIX, SOCK_STREAM, 0) && bind($socket, sockaddr_un($path)) && listen($socket, 128) or die $!;
while (1) {
    my $pid = fork();
    if ($pid == 0) {
        POSIX::dup2(fileno($socket), 3);
        ($ENV{LISTEN_PID}, $ENV{LISTEN_FDS}) = ($$, 1);
        exec(@command) or die $!;
    }
    open(my $file, '>', "$pidfile.new"); print $file $pid; close($file); rename("$pidfile.new", $pidfile);
    waitpid($pid, 0);
}
"#;

/// A socket that outlives the proxies behind it.
pub(super) struct Held {
    holder: Mutex<Child>,
    pub(super) socket: PathBuf,
    pid_file: PathBuf,
    log: PathBuf,
}

impl Held {
    pub(super) fn start(node: &Node) -> Result<Self> {
        let dir = node.containerd.dir();
        let (socket, pid_file, log) = (dir.join("held.sock"), dir.join("held.pid"), dir.join("held.log"));
        let output = File::options().append(true).create(true).open(&log)?;
        let mut command = Command::new("perl");
        command.args(["-e", HOLDER]).arg(&socket).arg(&pid_file).arg(plugin::binary(node.containerd.run())?);
        command.arg("cri-proxy").arg("--runtime-endpoint").arg(node.containerd.socket());
        command.arg("--requests-dir").arg(node.requests());
        command.stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output);
        let holder = Mutex::new(node.containerd.run().spawn(&mut command)?);
        wait_for(TIMEOUT, || pid_file.exists().then_some(())).context("nobody holds the socket")?;
        Ok(Self { holder, socket, pid_file, log })
    }

    pub(super) fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Ends the proxy that is there, by SIGTERM, and gives its pid.
    pub(super) fn stop_proxy(&self) -> Result<i32> {
        let pid = std::fs::read_to_string(&self.pid_file)?.parse()?;
        kill(Pid::from_raw(pid), Signal::SIGTERM).context("ending the proxy")?;
        Ok(pid)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let holder = self.holder.get_mut().unwrap_or_else(PoisonError::into_inner);
        // First, or it starts another proxy.
        let _ = holder.kill();
        let _ = holder.wait();
        let _ = self.stop_proxy();
    }
}
