//! What a kubelet would ask of the node's runtime, for the virtual machine's scenarios: KEP-3619's example pod
//! and strict-groups' own pod on a node. See vm-tests/.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::{Args, Subcommand};
use e2e::cri::v1;
use e2e::{ContainerSpec, Cri, Identity, Image, Machine, Pod, wait_for};

const SOCKET: &str = "/run/containerd/containerd.sock";
/// The top cgroup of pods where systemd manages them.
const SLICE: &str = "kubepods.slice";
const TIMEOUT: Duration = Duration::from_secs(60);

/// Pods through the CRI of this node's containerd, or of the socket in `CONTAINER_RUNTIME_ENDPOINT`.
#[derive(Subcommand)]
pub(crate) enum Command {
    /// Writes the images into a folder; on the machine that has the test runtimes
    Images { folder: PathBuf },
    /// Runs the KEP-3619 example pod and prints the groups of its first process and of an exec
    Run(PodArgs),
    /// The same, and leaves it running; prints its container's id, too
    Keep(PodArgs),
    /// Prints the groups of an exec in a container that runs
    Exec { container: String },
    /// Removes all pods
    Clear,
    /// Whether the runtime says that it has the feature
    Feature,
    /// strict-groups in a pod, as packaging/kubernetes runs it
    #[command(subcommand)]
    Daemon(Daemon),
}

#[derive(Args)]
pub(crate) struct PodArgs {
    name: String,
    /// The policy that the pod's annotation says
    #[arg(long)]
    policy: Option<String>,
    /// The pod's spec says supplementalGroupsPolicy: Strict
    #[arg(long)]
    field: bool,
    /// The runtime handler
    #[arg(long, default_value = "")]
    handler: String,
    /// The first process is looked at from inside the container: its pid on the node is a sandbox's (gVisor)
    #[arg(long)]
    inside: bool,
}

#[derive(Subcommand)]
pub(crate) enum Daemon {
    /// The init container and the plugin
    Start { image: String },
    /// Whether the readiness probe succeeds within a minute
    Ready { container: String },
    /// Stops the plugin
    Stop { container: String },
}

pub(crate) fn run(command: Command) -> Result<()> {
    match command {
        Command::Images { folder } => images(&folder),
        Command::Run(args) => {
            let cri = connect()?;
            let (pod, _) = start(&cri, &args)?;
            Ok(cri.remove_pod(&pod)?)
        }
        Command::Keep(args) => {
            let (_, container) = start(&connect()?, &args)?;
            println!("{container}");
            Ok(())
        }
        Command::Exec { container } => {
            println!("{}", exec(&connect()?, &container)?);
            Ok(())
        }
        Command::Clear => Ok(connect()?.remove_all_pods()?),
        Command::Feature => {
            let features = connect()?.features()?.unwrap_or_default();
            println!("{}", features.supplemental_groups_policy);
            Ok(())
        }
        Command::Daemon(Daemon::Start { image }) => daemon(&connect()?, &image),
        Command::Daemon(Daemon::Ready { container }) => ready(&connect()?, &container),
        Command::Daemon(Daemon::Stop { container }) => Ok(connect()?.stop(&container)?),
    }
}

/// Waits for a containerd that was just started.
fn connect() -> Result<Cri> {
    let socket = std::env::var("CONTAINER_RUNTIME_ENDPOINT").unwrap_or_default();
    let socket = if socket.is_empty() { SOCKET } else { &socket };
    let cri = Cri::new(Path::new(socket), SLICE)?;
    wait_for(TIMEOUT, || cri.is_ready().then_some(())).context("the runtime is not ready")?;
    Ok(cri)
}

fn images(folder: &Path) -> Result<()> {
    let machine = Machine::check()?;
    fs::write(folder.join("example.tar"), Image::example(&machine)?.archive())?;
    fs::write(folder.join("sandbox.tar"), Image::sandbox(&machine)?.archive())?;
    Ok(())
}

/// Gives the ids of the pod and its container. A pod whose container does not start is taken away.
fn start(cri: &Cri, args: &PodArgs) -> Result<(String, String)> {
    let mut pod = Pod::new(&args.name).handler(&args.handler);
    if let Some(policy) = &args.policy {
        pod = pod.annotation("supplemental-groups-policy.noderesource.dev", policy);
    }
    let mut spec = ContainerSpec::new("app", "localhost/strict-groups/example:1")
        .user(1000)
        .group(3000)
        .supplemental(&[4000]);
    if args.field {
        (pod, spec) = (pod.strict_field(), spec.strict_field());
    }
    confine(&mut spec);
    let pod = cri.run_pod(&pod)?;
    let container = match cri.launch(&pod, &spec) {
        Ok(container) => container,
        Err(error) => {
            cri.remove_pod(&pod.id)?;
            return Err(error.into());
        }
    };
    let status = cri.status(&container)?;
    let pid = status.pid;
    let first =
        if args.inside { status_of(cri, &container, "1")? } else { shown(&Identity::of_process(pid)?) };
    let confined = fs::read_to_string(format!("/proc/{pid}/attr/current")).unwrap_or_default();
    let user = status.user.map(|user| {
        let groups: Vec<String> = user.supplemental_groups.iter().map(ToString::to_string).collect();
        format!(" user={}:{}:{}", user.uid, user.gid, groups.join(","))
    });
    let user = user.unwrap_or_default();
    println!("first={first} exec={} apparmor={}{user}", exec(cri, &container)?, confined.trim());
    Ok((pod.id, container))
}

/// The profile of `AppArmor`, which the kubelet asks for where the node has it.
fn confine(spec: &mut ContainerSpec) {
    if fs::read_to_string("/sys/module/apparmor/parameters/enabled").is_ok_and(|text| text.starts_with('Y')) {
        "runtime/default".clone_into(&mut spec.security.apparmor_profile);
    }
}

fn exec(cri: &Cri, container: &str) -> Result<String> {
    status_of(cri, container, "self")
}

/// The groups of a process of the container, by the container's own /proc.
fn status_of(cri: &Cri, container: &str, process: &str) -> Result<String> {
    let output = cri.exec(container, &["cat", &format!("/proc/{process}/status")])?;
    ensure!(output.code == 0, "exec: {}", output.stderr);
    Ok(shown(&Identity::from_status(&output.stdout)?))
}

/// `3000,4000`
fn shown(identity: &Identity) -> String {
    let groups: Vec<String> = identity.groups().iter().map(ToString::to_string).collect();
    groups.join(",")
}

/// The paths, capabilities and namespaces of packaging/kubernetes/base and overlays/containerd.
fn daemon(cri: &Cri, image: &str) -> Result<()> {
    for folder in ["/opt/strict-groups", "/etc/strict-groups", "/var/run/nri"] {
        fs::create_dir_all(folder)?;
    }
    let mut pod = Pod::new("strict-groups").namespace("kube-system");
    pod.namespaces.pid = v1::NamespaceMode::Node.into();
    let pod = cri.run_pod(&pod)?;

    let install = container("install", image, &["/strict-groups", "install", "--to", "/opt/strict-groups"])
        .mount("/opt/strict-groups", "/opt/strict-groups");
    let id = cri.launch(&pod, &install)?;
    let code = cri.wait_exit(&id)?;
    ensure!(code == 0, "the init container ended with {code}");

    let health = "/run/strict-groups-health";
    fs::create_dir_all(health)?;
    let mut plugin =
        container("plugin", image, &[INSTALLED, "plugin", "--health-file", "/run/strict-groups/health"])
            .mount("/opt/strict-groups", "/opt/strict-groups")
            .mount("/etc/strict-groups", "/etc/strict-groups")
            .mount("/var/run/nri", "/var/run/nri")
            .mount("/run/containerd", "/run/containerd");
    for mount in &mut plugin.config.mounts {
        mount.readonly = true;
        if mount.container_path == "/run/containerd" {
            mount.propagation = v1::MountPropagation::PropagationHostToContainer.into();
        }
    }
    let plugin = plugin.mount(health, "/run/strict-groups").capability("SYS_PTRACE");
    println!("{}", cri.launch(&pod, &plugin)?);
    Ok(())
}

const INSTALLED: &str = "/opt/strict-groups/strict-groups";

fn container(name: &str, image: &str, command: &[&str]) -> ContainerSpec {
    let mut spec = ContainerSpec::new(name, image).user(0).group(0).command(command);
    spec.security.no_new_privs = true;
    spec.security.readonly_rootfs = true;
    spec.security.capabilities.get_or_insert_default().drop_capabilities.push("ALL".to_owned());
    confine(&mut spec);
    spec
}

fn ready(cri: &Cri, container: &str) -> Result<()> {
    let probe = [INSTALLED, "probe", "--health-file", "/run/strict-groups/health", "--ready"];
    let succeeds = || cri.exec(container, &probe).is_ok_and(|output| output.code == 0).then_some(());
    wait_for(TIMEOUT, succeeds).context("the readiness probe fails")
}
