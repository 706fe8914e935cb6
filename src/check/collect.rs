//! Asks the runtime, the file system and the kernel.

use std::{
    ffi::OsStr,
    fs, io,
    os::unix::{ffi::OsStrExt, fs::MetadataExt},
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use nix::{
    fcntl::{AT_FDCWD, OFlag, OpenHow, ResolveFlag, openat2},
    unistd::{AccessFlags, access},
};
use tokio::{net::UnixStream, time::timeout};

use super::{
    containerd, crio,
    facts::{
        Cgroups, ContainerRuntime, Facts, Gate, Handler, Hook, Kernel, NodeConfig, Nri, OciRuntime, Plugin,
        Wrapper,
    },
    file, program, started,
};
use crate::{
    ops::service::{Health, HealthError},
    runtimes::cri::{Cri, PROXY, has_strict},
};
use container_start::{
    config::{self, Config, Ungated},
    shim::{self, Shim},
    wrapper,
};
use hostfs::ownership::{self, Kind, Untrusted};

/// How long one question to a socket may take.
const LIMIT: Duration = Duration::from_secs(5);
/// How much is shown of what is wrong with a configuration, in bytes.
const CONFIG_SHOWN: usize = 512;
/// Where programs are beside PATH, which a command over ssh or from cron may have in short.
const USUAL: [&str; 4] = ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin"];

/// Where to look.
#[derive(Debug, Clone)]
pub struct Places {
    /// The runtime's CRI socket.
    pub runtime: PathBuf,
    /// The runtime's NRI socket.
    pub nri: PathBuf,
    /// What the plugin writes with `--health-file`.
    pub health: PathBuf,
    /// The node's configuration; None: at its default place.
    pub config: Option<PathBuf>,
}

/// What the runtime says.
struct Said {
    runtime: ContainerRuntime,
    /// The configuration in its status, if there is one.
    config: Option<String>,
    /// Its process.
    pid: Option<i32>,
}

/// Looks at all of it. What does not answer is a fact as well.
pub async fn collect(places: &Places) -> Facts {
    let said = ask(&places.runtime).await;
    let pid = said.as_ref().ok().and_then(|said| said.pid);
    let handlers = match &said {
        Ok(Said { runtime, config: Some(config), .. }) if runtime.name == "containerd" => {
            let started = pid.and_then(started::at);
            let program = |path: &Path| program_text(path, &seen_by(pid, path));
            let read = |path: &str| {
                if started
                    .is_some_and(|started| started::is_older_than(started, &seen_by(pid, Path::new(path))))
                {
                    return Err(io::Error::other(
                        "it was changed after containerd was started, which has the one before",
                    ));
                }
                file::read(&seen_by(pid, Path::new(path)))
            };
            containerd::handlers(config, read, program)
        }
        Ok(Said { runtime, .. }) if runtime.name == "containerd" => {
            Err("containerd's status has no configuration".to_owned())
        }
        Ok(_) => crio::handlers(),
        Err(_) => Err("the runtime does not answer".to_owned()),
    };
    // What the handlers' gates and wrappers read, unless the command line says otherwise.
    let config_path = places.config.clone().or_else(|| named_config(handlers.as_deref().unwrap_or_default()));
    let config = Config::load(config_path.as_deref()).map_err(|error| error.one_line(CONFIG_SHOWN));
    Facts {
        nri: nri(&places.nri).await,
        plugin: plugin(&places.health),
        hooks: hooks(config.as_ref().ok(), handlers.as_deref().unwrap_or_default(), pid),
        oci_runtimes: oci_runtimes(handlers.as_deref().unwrap_or_default(), pid),
        config: config.map(|config| node_config(&config, config_path.as_deref())),
        unwrapped_pods: unwrapped_pods(
            said.as_ref().ok().and_then(|said| containerd::state(said.config.as_deref()?)),
            pid,
            handlers.as_deref().unwrap_or_default(),
        ),
        kernel: kernel(),
        runtime: said.map(|said| said.runtime),
        handlers,
    }
}

/// The node's configuration that a handler names. None: that at the default place.
fn named_config(handlers: &[Handler]) -> Option<PathBuf> {
    let by_gate = handlers.iter().filter_map(|handler| match &handler.gate {
        Gate::Installed { config, .. } => config.clone(),
        Gate::None | Gate::Unreadable(_) => None,
    });
    let by_wrapper = handlers.iter().filter_map(|handler| match &handler.wrapper {
        Wrapper::Installed { config, .. } => config.clone(),
        Wrapper::None | Wrapper::Unusable(_) => None,
    });
    by_gate.chain(by_wrapper).next()
}

async fn ask(socket: &Path) -> Result<Said, String> {
    ownership::check(socket, Kind::Socket).map_err(|untrusted| untrusted.to_string())?;
    let connected = timeout(LIMIT, UnixStream::connect(socket)).await;
    let stream = connected
        .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
        .map_err(|error| format!("{}: {error}", socket.display()))?;
    ownership::check_peer(socket, &stream).map_err(|untrusted| untrusted.to_string())?;
    let pid = stream.peer_cred().ok().and_then(|peer| peer.pid());
    let cri = Cri::new(socket, LIMIT);
    let answers = tokio::try_join!(cri.version(), cri.status(true));
    let (version, mut status) = answers.map_err(|error| error.to_string())?;
    // The feature is our own then, and the process another one.
    let proxied = status.info.contains_key(PROXY);
    let native = has_strict(&status) && !proxied;
    let runtime = ContainerRuntime { name: version.runtime_name, version: version.runtime_version, native };
    Ok(Said { runtime, config: status.info.remove("config"), pid: pid.filter(|_| !proxied) })
}

async fn nri(socket: &Path) -> Nri {
    match timeout(LIMIT, uds_grpc::open(socket)).await {
        Ok(Ok(_stream)) => Nri::Reachable,
        Ok(Err(uds_grpc::Error::Connect(error))) if error.kind() == io::ErrorKind::NotFound => {
            Nri::Missing(socket.to_owned())
        }
        Ok(Err(uds_grpc::Error::Connect(error))) => Nri::Unusable(format!("{}: {error}", socket.display())),
        Ok(Err(untrusted)) => Nri::Unusable(untrusted.to_string()),
        Err(_) => Nri::Unusable(format!("{}: nobody accepts the connection", socket.display())),
    }
}

fn plugin(file: &Path) -> Plugin {
    match ownership::check(file, Kind::File) {
        Ok(()) => {}
        Err(Untrusted::Missing { .. }) => return Plugin::Unknown(file.to_owned()),
        Err(untrusted) => return Plugin::Unusable(untrusted.to_string()),
    }
    // Opening a FIFO would wait.
    if !fs::metadata(file).is_ok_and(|file| file.is_file()) {
        return Plugin::Unusable(format!("{} is no plain file", file.display()));
    }
    let health = match Health::read(file) {
        Ok(health) => health,
        Err(error) => return Plugin::Unusable(error.to_string()),
    };
    match (health.ready(SystemTime::now()), health.registration) {
        (Ok(()), Some(runtime)) => Plugin::Registered(runtime),
        (Ok(()) | Err(HealthError::NotRegistered), _) => Plugin::Waiting,
        (Err(error), _) => Plugin::Silent(error.to_string()),
    }
}

/// The text of the program `path`, which is at `seen` here; empty for one that is no text. Containers start by it, so it has
/// to be one that root can run and nobody else can replace.
fn program_text(path: &Path, seen: &Path) -> Result<String, String> {
    // What is in the view of the runtime alone is there for it to judge.
    if seen == path {
        ownership::check(path, Kind::File).map_err(|untrusted| untrusted.to_string())?;
    }
    access(seen, AccessFlags::X_OK).map_err(|errno| errno.desc().to_owned())?;
    let target = fs::canonicalize(seen).map_err(|error| error.to_string())?;
    if path.file_name().is_some_and(|name| name == wrapper::NAME) {
        // By hand: a link to our program, or a copy of it.
        let is_ours = |name: &OsStr| name == wrapper::NAME || name == "strict-groups";
        return if target.file_name().is_some_and(is_ours) {
            Ok(String::new())
        } else {
            Err(format!("it leads to {}", target.display()))
        };
    }
    file::read(seen).map_err(|error| error.to_string())
}

/// The pods that containerd, the process `pid` with this folder for its state, made before it had the wrapper. They keep
/// their OCI runtime.
fn unwrapped_pods(
    state: Option<PathBuf>,
    pid: Option<i32>,
    handlers: &[Handler],
) -> Result<Vec<String>, String> {
    if !handlers.iter().any(|handler| handler.wrapper.is_installed()) {
        return Ok(Vec::new());
    }
    if !pid.is_some_and(|pid| Path::new(shim::PROC).join(pid.to_string()).exists()) {
        return Err("the processes of the node cannot be seen from here".to_owned());
    }
    let state = state.ok_or("containerd's status does not say where its state is")?;
    // By whatever path it was named. Its socket may have been another one when the shim was started.
    let id = |path: &Path| fs::metadata(path).map(|folder| (folder.dev(), folder.ino()));
    let state_id = id(&seen_by(pid, &state)).map_err(|error| format!("{}: {error}", state.display()))?;
    let shims = shim::all(Path::new(shim::PROC)).map_err(|error| error.to_string())?;
    let is_its = |shim: &&Shim| id(&shim.state()).is_ok_and(|own| own == state_id);
    let is_wrapper = |runtime: &Path| {
        let name = runtime.file_name().unwrap_or_default().to_string_lossy();
        name == wrapper::NAME || wrapper::is_file_name(&name)
    };
    let unwrapped = |shim: &&Shim| shim.runtime().is_some_and(|runtime| !is_wrapper(&runtime));
    let mut pods: Vec<String> = shims.iter().filter(is_its).filter(unwrapped).filter_map(Shim::pod).collect();
    pods.sort_unstable();
    Ok(pods)
}

/// The gates of the handlers, and the one that the plugin injects.
fn hooks(config: Option<&Config>, handlers: &[Handler], pid: Option<i32>) -> Vec<Hook> {
    let own = config.and_then(Config::hook_path).map(Path::to_owned).or_else(|| std::env::current_exe().ok());
    let gates = handlers.iter().filter_map(|handler| match &handler.gate {
        Gate::Installed { hook, .. } => Some(hook.clone()),
        Gate::None | Gate::Unreadable(_) => None,
    });
    let wrappers = handlers.iter().filter_map(|handler| match &handler.wrapper {
        Wrapper::Installed { hook, .. } => hook.clone(),
        Wrapper::None | Wrapper::Unusable(_) => None,
    });
    let mut paths: Vec<PathBuf> = own.into_iter().chain(gates).chain(wrappers).collect();
    paths.sort();
    paths.dedup();
    paths.into_iter().map(|path| Hook { version: version(&path, pid), path }).collect()
}

/// What the program `path` of the process `pid` says of its version.
fn version(path: &Path, pid: Option<i32>) -> Result<String, String> {
    let seen = seen_by(pid, path);
    // What is in the view of the runtime alone is there for it to judge.
    if seen == path { program::trusted_version(path) } else { program::version(&seen) }
}

/// `path` as the process `pid` sees it, which may be in another mount namespace.
fn seen_by(pid: Option<i32>, path: &Path) -> PathBuf {
    let namespace = |process: &str| fs::metadata(format!("/proc/{process}/ns/mnt")).map(|file| file.ino());
    let Some(pid) = pid else { return path.to_owned() };
    match (namespace(&pid.to_string()), namespace("self")) {
        (Ok(theirs), Ok(ours)) if theirs != ours => {
            let root = PathBuf::from(format!("/proc/{pid}/root"));
            root.join(path.strip_prefix("/").unwrap_or(path))
        }
        _ => path.to_owned(),
    }
}

/// What the handlers run, as it is found by who runs it: the shims have the PATH of the container runtime.
fn oci_runtimes(handlers: &[Handler], pid: Option<i32>) -> Vec<OciRuntime> {
    let mut programs: Vec<&str> = handlers
        .iter()
        .filter(|handler| handler.without_hooks.is_none())
        .map(|handler| handler.program.as_str())
        .collect();
    programs.sort_unstable();
    programs.dedup();
    let folders = folders(pid);
    let version_of = |name: &str| {
        let found =
            hostfs::program::find(Path::new(name), folders.iter().cloned(), |path| seen_by(pid, path));
        found.map_or_else(|| Err(format!("there is no {name}")), |path| version(&path, pid))
    };
    programs
        .into_iter()
        .map(|name| OciRuntime { version: version_of(name), program: name.to_owned() })
        .collect()
}

/// The folders in which the process `pid` looks for programs. Where that is not known: ours, and the usual ones.
fn folders(pid: Option<i32>) -> Vec<PathBuf> {
    let environment = pid.and_then(|pid| fs::read(format!("/proc/{pid}/environ")).ok());
    if let Some(path) = environment.as_deref().and_then(path_in) {
        return std::env::split_paths(path).collect();
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).chain(USUAL.map(PathBuf::from)).collect()
}

/// PATH in an environment as `/proc/PID/environ` has it.
fn path_in(environment: &[u8]) -> Option<&OsStr> {
    let mut entries = environment.split(|byte| *byte == 0);
    entries.find_map(|entry| entry.strip_prefix(b"PATH=")).map(OsStr::from_bytes)
}

fn node_config(config: &Config, path: Option<&Path>) -> NodeConfig {
    let node = config.node_policy();
    let path = path.unwrap_or(Path::new(config::DEFAULT_PATH));
    NodeConfig {
        path: path.to_owned(),
        audit: node.mode == strict_groups_core::policy::Mode::Audit,
        wrapper_resolves: config.runtime().ungated() == Ungated::Resolve,
        old_runc_exec: config.old_runc_exec(),
        summary: format!(
            "{}mode {}, default policy {}, rules: {}",
            if path.exists() { "" } else { "not there, so " },
            node.mode.as_str(),
            node.default.policy,
            node.rules.len()
        ),
    }
}

fn kernel() -> Kernel {
    let how = OpenHow::new().flags(OFlag::O_PATH | OFlag::O_CLOEXEC).resolve(ResolveFlag::RESOLVE_BENEATH);
    let text = |path| fs::read_to_string(path).unwrap_or_default();
    Kernel {
        release: text("/proc/sys/kernel/osrelease").trim().to_owned(),
        openat2: openat2(AT_FDCWD, ".", how).is_ok(),
        cgroups: cgroups(&text("/proc/self/mounts")),
    }
}

/// The control groups among the mounts (`proc_pid_mounts(5)`).
fn cgroups(mounts: &str) -> Cgroups {
    let kinds: Vec<&str> = mounts.lines().filter_map(|line| line.split(' ').nth(2)).collect();
    if kinds.contains(&"cgroup") {
        Cgroups::V1
    } else if kinds.contains(&"cgroup2") {
        Cgroups::V2
    } else {
        Cgroups::None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hostfs::executable;

    #[test]
    fn control_groups_by_the_mounts() {
        let v2 = "cgroup2 /sys/fs/cgroup cgroup2 rw 0 0\n";
        let v1 = "cgroup /sys/fs/cgroup/pids cgroup rw,pids 0 0\n";
        assert_eq!(cgroups(v2), Cgroups::V2);
        assert_eq!(cgroups(v1), Cgroups::V1);
        assert_eq!(cgroups(&format!("{v2}{v1}")), Cgroups::V1);
        assert_eq!(cgroups("proc /proc proc rw 0 0\n"), Cgroups::None);
    }

    #[test]
    fn programs_by_path_and_by_name() {
        let find = |name: &str| hostfs::program::find(Path::new(name), folders(None), Path::to_owned);
        assert_eq!(find("/x/runc"), Some("/x/runc".into()));
        assert!(find("sh").is_some_and(|path| path.is_absolute()));
        assert_eq!(find("no-such-program-here"), None);
    }

    #[test]
    fn programs_are_found_by_the_path_of_the_runtime() {
        let path = path_in(b"HOME=/root\0MYPATH=/x\0PATH=/a:/b\0PATH=/c\0");
        assert_eq!(path, Some(OsStr::new("/a:/b")));
        assert_eq!(path_in(b"HOME=/root\0"), None);
        let own = i32::try_from(std::process::id()).unwrap();
        let path = std::env::var_os("PATH").unwrap();
        assert_eq!(folders(Some(own)), std::env::split_paths(&path).collect::<Vec<_>>());
    }

    #[test]
    fn configuration_is_that_of_the_handlers() {
        assert_eq!(named_config(&[]), None);
        let text = r#"{"containerd":{"runtimes":{"x":{"runtimeType":"io.containerd.runc.v2","options":{"BinaryName":"/d/strict-groups-runtime-x+runc"}}}}}"#;
        let program = |_: &Path| Ok("#!/sg handler\nconfig = \"/c.toml\"\npath = \"runc\"\n".to_owned());
        let handlers = containerd::handlers(text, |_| Err(io::ErrorKind::NotFound.into()), program).unwrap();
        assert_eq!(named_config(&handlers), Some("/c.toml".into()));
    }

    #[test]
    fn our_own_view_is_ours() {
        let own = i32::try_from(std::process::id()).unwrap();
        assert_eq!(seen_by(Some(own), Path::new("/bin/sh")), Path::new("/bin/sh"));
        assert_eq!(seen_by(None, Path::new("/bin/sh")), Path::new("/bin/sh"));
    }

    #[test]
    fn program_that_hangs_is_left() {
        let dir = tempfile::tempdir().unwrap();
        let script = dir.path().join("hangs");
        executable::script(&script, "#!/bin/sh\nexec sleep 100\n").unwrap();
        assert!(program::version(&script).unwrap_err().contains("took longer"));
        executable::script(&script, "#!/bin/sh\necho runc version 1.1.15\necho more\n").unwrap();
        assert_eq!(program::version(&script).unwrap(), "runc version 1.1.15");
        executable::script(
            &script,
            "#!/bin/sh\necho NVIDIA Container Runtime version 1.14\necho runc version 1.1.9\n",
        )
        .unwrap();
        assert_eq!(program::version(&script).unwrap(), "runc version 1.1.9");
        executable::script(&script, "#!/bin/sh\nexit 3\n").unwrap();
        assert!(program::version(&script).unwrap_err().contains("exit status: 3"));
    }
}
