//! conmon as CRI-O calls it, with the wrapper as the runtime: the command lines and the spec are those
//! that were recorded of CRI-O 1.30.14, with other paths.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use libtest_mimic::Trial;
use serde_json::{Value, json};
use strict_groups_core::gate::State;

use crate::start::widening;
use e2e::wrapper::bundle::{Bundle, STRICT, gate, gates};
use e2e::wrapper::command::{Real, Wrapper, finish, one_line};
use e2e::wrapper::world::{World, trial};
use e2e::{Identity, plugin, wait_for};

/// Every command line of one pod's life, each followed by that of its parent.
const RECORDED: &str = include_str!("../../../../tests/fixtures/crio-1.30.14/runtime-argv.txt");
const SPEC: &str = include_str!("../../../../tests/fixtures/crio-1.30.14/config.container.json");
const PROCESS: &str = include_str!("../../../../tests/fixtures/crio-1.30.14/exec-process.json");
const ID: &str = "241174a21008be8f6f215ddc8b16839023a43fdbf22276611c1f3dc1a5a483f3";

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial("conmon::a_container_of_crio_from_create_to_delete", life),
        trial("conmon::crio_reads_why_a_container_is_refused", refused),
        trial("conmon::crio_reads_why_a_start_is_refused", start_refused),
        trial("conmon::crio_reads_why_a_checkpoint_is_refused", checkpoint_refused),
        trial("conmon::a_copy_that_cannot_be_written_refuses", copy_read_only),
    ]
}

/// The places of the recorded command lines in a folder of the run.
struct Node {
    dir: PathBuf,
    conmon: PathBuf,
    script: PathBuf,
    wrapper: Wrapper,
    bundle: Bundle,
}

const BUNDLE: &str = "/run/containers/storage/overlay-containers/241174a21008be8f6f215ddc8b16839023a43fdbf22276611c1f3dc1a5a483f3/userdata";
const PERSISTENT: &str = "/var/lib/containers/storage/overlay-containers/241174a21008be8f6f215ddc8b16839023a43fdbf22276611c1f3dc1a5a483f3/userdata";

impl Node {
    /// The recorded spec in a bundle, with its copy, and with the gate that the plugin injects.
    fn new(world: &World) -> Result<Self> {
        let wrapper = Wrapper::new(world, Real::Runc)?;
        let mut bundle = Bundle::new(world)?;
        let mut spec: Value = serde_json::from_str(SPEC)?;
        spec["root"]["path"] = bundle.rootfs().to_string_lossy().into();
        spec["process"]["args"] = json!(["/bin/sleep", "2147483647"]);
        spec["process"]["env"] = json!(["PATH=/bin"]);
        // The namespaces and files of the pod were another machine's.
        for namespace in spec["linux"]["namespaces"].as_array_mut().context("no namespaces")? {
            namespace.as_object_mut().context("no namespace")?.remove("path");
        }
        let mounts = spec["mounts"].as_array_mut().context("no mounts")?;
        mounts.retain(|mount| mount["type"] != "bind" && mount["type"] != "cgroup");
        spec["linux"]["cgroupsPath"] = format!("/{}/{ID}", world.run.name()).into();
        let pending = gate(State::Pending { declared: None });
        let hook = json!({ "path": plugin::binary(&world.run)?, "args": pending.args() });
        spec["hooks"]["createRuntime"].as_array_mut().context("no hooks")?.push(hook);
        bundle.spec = spec;
        ID.clone_into(&mut bundle.id);

        let dir = world.folder()?;
        fs::create_dir(dir.join("persistent"))?;
        let (conmon, script) = (world.machine.conmon(), wrapper.script()?);
        let node = Self { dir, conmon, script, wrapper, bundle };
        node.write()?;
        Ok(node)
    }

    /// The spec and its copy, as CRI-O writes them.
    fn write(&self) -> Result<()> {
        self.bundle.write()?;
        fs::copy(self.bundle.config(), self.copy())?;
        Ok(())
    }

    fn copy(&self) -> PathBuf {
        self.dir.join("persistent/config.json")
    }

    /// A recorded word, with this node's places.
    fn place(&self, word: &str) -> String {
        let dir = self.dir.display();
        [
            (BUNDLE.to_owned(), self.bundle.dir().to_owned()),
            (PERSISTENT.to_owned(), format!("{dir}/persistent")),
            ("/usr/libexec/runc-capture".to_owned(), self.script.display().to_string()),
            ("/run/runc".to_owned(), self.wrapper.root().display().to_string()),
            ("/var/run/crio".to_owned(), dir.to_string()),
            ("/var/log/crio/pods".to_owned(), dir.to_string()),
            ("/tmp/".to_owned(), format!("{dir}/")),
        ]
        .iter()
        .find(|(from, _)| word.contains(from.as_str()))
        .map_or_else(|| word.to_owned(), |(from, to)| word.replace(from.as_str(), to))
    }

    /// Runs the recorded conmon whose runtime was called with `verb`, as CRI-O does: descriptor 3 is
    /// where conmon reports to, 4 is where CRI-O tells it to go on. Gives what was reported.
    fn conmon(&self, verb: &str) -> Result<Vec<Value>> {
        self.conmon_with(verb, &[])
    }

    /// The same with `more` arguments.
    fn conmon_with(&self, verb: &str, more: &[&str]) -> Result<Vec<Value>> {
        let line = recorded_conmon(verb)?;
        let report = self.dir.join(format!("report-{verb}"));
        fs::write(self.dir.join("go"), "\0")?;
        let mut command = Command::new("/bin/sh");
        command.arg("-c").arg("exec 3>\"$0\" 4<\"$1\"; shift; exec \"$@\"").arg(&report);
        command.arg(self.dir.join("go")).arg(&self.conmon);
        command.args(line.iter().map(|word| self.place(word))).args(more);
        // CRI-O gives conmon hardly any environment, and no PATH.
        command.env_clear().env("_OCI_SYNCPIPE", "3").env("_OCI_STARTPIPE", "4").env("XDG_RUNTIME_DIR", "");
        command.env(e2e::run::VARIABLE, run_name(&self.dir)?);
        command.stdin(std::process::Stdio::null());
        let output = finish(&mut command, &self.dir)?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        let reports = wait_for(Duration::from_secs(20), || {
            let text = fs::read_to_string(&report).ok()?;
            let read =
                serde_json::Deserializer::from_str(&text).into_iter().collect::<Result<Vec<Value>, _>>();
            read.ok().filter(|reports| !reports.is_empty())
        });
        reports.with_context(|| format!("conmon reports nothing, it said {said}"))
    }

    /// CRI-O's own calls of the runtime.
    fn call(&self, args: &[&str]) -> Result<String> {
        let output = self.output(args)?;
        ensure!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }
}

impl Node {
    fn output(&self, args: &[&str]) -> Result<Output> {
        let mut command = Command::new(&self.script);
        command.env_clear().env(e2e::run::VARIABLE, run_name(&self.dir)?);
        command.arg("--root").arg(self.wrapper.root()).args(args).stdin(std::process::Stdio::null());
        finish(&mut command, &self.dir)
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.wrapper.output(&["delete", "--force", ID]);
    }
}

fn run_name(dir: &Path) -> Result<String> {
    let run = dir.parent().and_then(Path::file_name).context("no run")?;
    Ok(run.to_string_lossy().into_owned())
}

/// The words of the recorded conmon, without its program, that ran the runtime with this subcommand.
fn recorded_conmon(verb: &str) -> Result<Vec<&'static str>> {
    let lines: Vec<&str> = RECORDED.lines().collect();
    for pair in lines.windows(2) {
        let [call, parent] = pair else { continue };
        if let Some(conmon) = parent.strip_prefix("parent: /usr/bin/conmon ")
            && call.split(' ').any(|word| word == verb)
        {
            return Ok(conmon.split_whitespace().collect());
        }
    }
    bail!("no conmon with {verb} was recorded")
}

fn life(world: &World) -> Result<()> {
    let node = Node::new(world)?;
    let reports = node.conmon("create")?;
    let pid = reports.first().and_then(|report| report["pid"].as_u64()).context("no pid")?;
    let pid = u32::try_from(pid)?;
    ensure!(fs::read_to_string(node.bundle.path.join("pidfile"))?.trim() == pid.to_string(), "{reports:?}");

    // Both files are what CRI-O reads from now on.
    let resolved = gate(State::Resolved { groups: STRICT.to_vec(), removed: vec![50000] });
    for file in [node.bundle.config(), node.copy()] {
        ensure!(gates(&file)? == [resolved.clone()], "{}", file.display());
    }
    ensure!(fs::read(node.bundle.config())? == fs::read(node.copy())?, "the copy differs");

    let state: Value = serde_json::from_str(&node.call(&["state", ID])?)?;
    ensure!(state["status"] == "created" && state["pid"] == pid, "{state}");
    node.call(&["start", ID])?;
    wait_for(Duration::from_secs(20), || {
        fs::read(format!("/proc/{pid}/cmdline")).ok()?.starts_with(b"/bin/sleep").then_some(())
    })
    .context("the first process does not run")?;
    let first = Identity::of_process(pid)?;
    ensure!(first.uid == 1000 && first.groups() == STRICT.into(), "{first}");

    // `crictl exec`: CRI-O runs it itself. `crictl exec --sync` and probes: conmon does. CRI-O's file has
    // the groups of its memory in both.
    let mut process: Value = serde_json::from_str(PROCESS)?;
    ensure!(process["user"]["additionalGids"] == json!([3000, 50000, 4000]), "{process}");
    process["args"] = json!(["cat", "/proc/self/status"]);
    process["env"] = json!(["PATH=/bin"]);
    let file = node.dir.join("exec-process-3247333698");
    fs::write(&file, process.to_string())?;
    let said = node.call(&["exec", "--process", file.to_str().context("no text")?, ID])?;
    ensure!(Identity::from_status(&said)?.groups() == STRICT.into(), "{said}");

    fs::write(node.dir.join("exec-process-1144573821"), process.to_string())?;
    let reports = node.conmon("exec")?;
    ensure!(reports.last().is_some_and(|report| report["exit_code"] == 0), "{reports:?}");
    let log = fs::read_dir(&node.dir)?
        .flatten()
        .find(|file| file.file_name().to_string_lossy().starts_with("crio-log-"))
        .context("no log of the exec")?;
    // Each line has a time, the stream and a mark in front.
    let log = fs::read_to_string(log.path())?;
    let said: String =
        log.lines().filter_map(|line| Some(line.splitn(4, ' ').nth(3)?.to_owned() + "\n")).collect();
    ensure!(Identity::from_status(&said)?.groups() == STRICT.into(), "{log}");

    node.call(&["kill", ID, "KILL"])?;
    wait_for(Duration::from_secs(20), || {
        let state: Value = serde_json::from_str(&node.call(&["state", ID]).ok()?).ok()?;
        (state["status"] == "stopped").then_some(())
    })
    .context("it does not stop")?;
    node.call(&["delete", "--force", ID])?;
    Ok(())
}

fn refused(world: &World) -> Result<()> {
    let node = Node::new(world)?;
    fs::remove_file(node.bundle.rootfs().join("etc/group"))?;
    nix::unistd::mkfifo(&node.bundle.rootfs().join("etc/group"), nix::sys::stat::Mode::S_IRWXU)?;
    let reports = node.conmon("create")?;
    let report = reports.first().context("no report")?;
    let message = report["message"].as_str().context("no message")?;
    ensure!(report["pid"].as_i64().is_some_and(|pid| pid < 0), "{report}");
    for part in ["strict-groups: pod default/web, container app", "/etc/group", "not a regular file"] {
        ensure!(message.contains(part), "no {part}: {message}");
    }
    ensure!(!node.wrapper.root().join(ID).exists(), "the underlying OCI runtime was called");
    Ok(())
}

/// CRI-O calls `start` itself and shows what it prints.
fn start_refused(world: &World) -> Result<()> {
    let node = Node::new(world)?;
    let path = widening(world, Real::Runc, &node.wrapper.dir)?;
    node.wrapper.configure(&format!("[runtime]\npath = \"{}\"\n", path.display()))?;
    let reports = node.conmon("create")?;
    let pid = reports.first().and_then(|report| report["pid"].as_u64()).context("no pid")?;
    let process = Identity::of_process(u32::try_from(pid)?)?;
    ensure!(process.groups().contains(&50000), "the attack does not work: {process}");
    let said = one_line(&node.output(&["start", ID])?)?;
    for part in ["pod default/web, container app: ", "the created process holds groups", "(50000)"] {
        ensure!(said.contains(part), "no {part}: {said}");
    }
    let state: Value = serde_json::from_str(&node.call(&["state", ID])?)?;
    ensure!(state["status"] == "created", "{state}");
    node.call(&["delete", "--force", ID])?;
    Ok(())
}

/// conmon calls `restore` instead of `create` then; there is no `start`.
fn checkpoint_refused(world: &World) -> Result<()> {
    let node = Node::new(world)?;
    let image = node.dir.join("checkpoint");
    fs::create_dir(&image)?;
    let reports = node.conmon_with("create", &["--restore", image.to_str().context("no text")?])?;
    let report = reports.first().context("no report")?;
    let message = report["message"].as_str().context("no message")?;
    for part in ["pod default/web, container app: ", "the processes of a checkpoint bring their own groups"] {
        ensure!(message.contains(part), "no {part}: {message}");
    }
    ensure!(!node.wrapper.root().join(ID).exists(), "the underlying OCI runtime was called");
    Ok(())
}

/// CRI-O would go back to the old groups when it is started again.
fn copy_read_only(world: &World) -> Result<()> {
    let node = Node::new(world)?;
    fs::remove_file(node.copy())?;
    fs::create_dir(node.copy())?;
    let reports = node.conmon("create")?;
    let message = reports.first().and_then(|report| report["message"].as_str()).context("no message")?;
    ensure!(
        message.contains("persistent/config.json") && message.contains("cannot be replaced"),
        "{message}"
    );
    Ok(())
}
