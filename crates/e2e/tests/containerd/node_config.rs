//! `strict-groups config containerd` against the real program of 1.7 and 2.x: what it writes, shows
//! and takes away, and what it leaves alone.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use libtest_mimic::Trial;

use crate::steps::{ANNOTATION, app, fresh_image};
use crate::world::{World, trial};
use e2e::{Kind, Options, Pod, node_config, plugin};

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial("node_config::containerd_1_7_write_diff_and_remove", |world| round(world, Kind::V1_7)),
        trial("node_config::containerd_2_write_diff_and_remove", |world| round(world, Kind::V2)),
        trial("node_config::what_the_operator_changes_later_is_not_hidden", |world| {
            later_changes(world, Kind::V1_7)?;
            later_changes(world, Kind::V2)
        }),
        trial("node_config::a_main_file_of_version_2_stays_in_effect_on_containerd_2", older_version),
        trial("node_config::files_of_others_and_edited_ones_are_left_alone", not_ours),
        trial("node_config::an_own_base_spec_is_kept", own_base_spec),
        trial("node_config::crio_write_diff_and_remove", |_| crio()),
        trial("node_config::other_handlers_that_run_hooks_have_the_gate", |world| {
            other_handlers(world, Kind::V1_7)?;
            other_handlers(world, Kind::V2)
        }),
        trial("node_config::static_gate_reads_the_file_that_was_given", given_file),
        trial("node_config::keys_in_any_case_pass_on_containerd_1_7", |world| any_case(world, Kind::V1_7)),
        trial("node_config::keys_in_any_case_pass_on_containerd_2", |world| any_case(world, Kind::V2)),
    ]
}

/// A folder with a main file, which imports `conf.d`.
struct Node<'w> {
    world: &'w World,
    kind: Kind,
    dir: tempfile::TempDir,
}

impl<'w> Node<'w> {
    fn new(world: &'w World, kind: Kind, main: &str) -> Result<Self> {
        let node = Self { world, kind, dir: tempfile::tempdir()? };
        fs::create_dir(node.folder())?;
        node.main(main)?;
        Ok(node)
    }

    fn folder(&self) -> std::path::PathBuf {
        self.dir.path().join("conf.d")
    }

    /// Writes the main file.
    fn main(&self, text: &str) -> Result<()> {
        let imports = format!("imports = [\"{}/*.toml\"]\n{text}", self.folder().display());
        Ok(fs::write(self.dir.path().join("config.toml"), imports)?)
    }

    /// Runs the command with `--<action> conf.d`.
    fn run(&self, action: &str) -> Result<Said> {
        Said::of(&mut self.command(action)?)
    }

    fn command(&self, action: &str) -> Result<Command> {
        let mut command = Command::new(plugin::built()?);
        command.args(["config", "containerd", "--containerd"]).arg(self.containerd()?);
        command.arg("--containerd-config").arg(self.dir.path().join("config.toml"));
        command.arg(format!("--{action}")).arg(self.folder());
        Ok(command)
    }

    /// Runs the command; it succeeds.
    fn succeeds(&self, action: &str) -> Result<Said> {
        let said = self.run(action)?;
        ensure!(said.code == Some(0), "--{action}: {said:?}");
        Ok(said)
    }

    fn containerd(&self) -> Result<std::path::PathBuf> {
        Ok(self.world.machine.containerd(self.kind)?.join("containerd"))
    }

    /// The configuration that containerd has.
    fn dump(&self) -> Result<toml::Table> {
        let mut command = Command::new(self.containerd()?);
        command.arg("--config").arg(self.dir.path().join("config.toml")).args(["config", "dump"]);
        let said = Said::of(&mut command)?;
        ensure!(said.code == Some(0), "{said:?}");
        Ok(toml::from_str(&said.out)?)
    }

    /// A value of the CRI plugin's table.
    fn cri(&self, pointer: &str) -> Result<toml::Value> {
        let plugin = self.kind.cri_plugin();
        let dump = self.dump()?;
        let mut value = dump.get("plugins").and_then(|all| all.get(plugin)).context("no CRI plugin")?;
        for key in pointer.split('/') {
            value = value.get(key).with_context(|| format!("no {pointer}"))?;
        }
        Ok(value.clone())
    }

    fn has_gate(&self, handler: &str) -> Result<bool> {
        let spec = self.cri(&format!("containerd/runtimes/{handler}/base_runtime_spec"))?;
        Ok(spec.as_str().is_some_and(|path| path.starts_with(&*self.folder().to_string_lossy())))
    }
}

#[derive(Debug)]
struct Said {
    code: Option<i32>,
    out: String,
    err: String,
}

impl Said {
    fn of(command: &mut Command) -> Result<Self> {
        let output = command.stdin(std::process::Stdio::null()).output().context("starting it")?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Ok(Self { code: output.status.code(), out: text(&output.stdout), err: text(&output.stderr) })
    }
}

/// Names, contents and change times of a folder's files.
fn state(path: &Path) -> Result<BTreeMap<String, (String, std::time::SystemTime)>> {
    let mut state = BTreeMap::new();
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        let content = fs::read_to_string(entry.path())?;
        state.insert(
            entry.file_name().to_string_lossy().into_owned(),
            (content, entry.metadata()?.modified()?),
        );
    }
    Ok(state)
}

/// The table of a runtime handler, as a main file of this containerd has it.
fn handler(kind: Kind, name: &str, lines: &str) -> String {
    let plugin = kind.cri_plugin();
    format!(
        "[plugins.\"{plugin}\".containerd.runtimes.{name}]\nruntime_type = \"io.containerd.runc.v2\"\n{lines}\n"
    )
}

/// The first line of a main file of this containerd.
fn version(kind: Kind) -> String {
    format!("version = {}\n", kind.config_version())
}

fn round(world: &World, kind: Kind) -> Result<()> {
    let handlers = handler(kind, "runc", "") + &handler(kind, "crun", "");
    let node = Node::new(world, kind, &format!("{}{handlers}", version(kind)))?;
    fs::write(node.folder().join("other.toml"), version(kind))?;
    let empty = state(&node.folder())?;

    let shown = node.run("diff")?;
    ensure!(shown.code == Some(1) && shown.out.contains("+++ "), "{shown:?}");
    ensure!(state(&node.folder())? == empty, "--diff wrote something");

    let said = node.succeeds("write")?;
    ensure!(said.err.contains("restart containerd") && !said.err.contains("imports = "), "{said:?}");
    for name in ["crun", "runc"] {
        ensure!(node.has_gate(name)?, "{name} has no base spec of ours");
    }
    let nri = node.dump()?;
    let nri = nri.get("plugins").and_then(|all| all.get("io.containerd.nri.v1.nri")?.get("disable"));
    ensure!(nri.and_then(toml::Value::as_bool) == Some(false), "NRI: {nri:?}");

    let written = state(&node.folder())?;
    ensure!(written.len() == 3, "{:?}", written.keys());
    let said = node.succeeds("write")?;
    ensure!(said.err.contains("up to date") && state(&node.folder())? == written, "{said:?}");
    let shown = node.succeeds("diff")?;
    ensure!(shown.out.is_empty(), "{shown:?}");

    node.succeeds("remove")?;
    ensure!(state(&node.folder())? == empty, "--remove left or changed something");
    ensure!(!node.has_gate("runc")?, "still there");

    // Without the import the operator is told.
    fs::write(node.dir.path().join("config.toml"), version(kind))?;
    let said = node.succeeds("write")?;
    let line = format!("imports = [\"{}/*.toml\"]", node.folder().display());
    ensure!(said.err.contains("does not import") && said.err.contains(&line), "{said:?}");
    Ok(())
}

fn later_changes(world: &World, kind: Kind) -> Result<()> {
    let main = |lines: &str| format!("{}{}", version(kind), handler(kind, "runc", lines));
    let node = Node::new(world, kind, &main("snapshotter = \"one\""))?;
    node.succeeds("write")?;
    let snapshotter = "containerd/runtimes/runc/snapshotter";
    ensure!(node.cri(snapshotter)?.as_str() == Some("one"), "{kind:?}");
    node.main(&main("snapshotter = \"two\""))?;
    let shown = node.run("diff")?;
    ensure!(shown.code == Some(1) && shown.out.contains("+snapshotter = \"two\""), "{shown:?}");
    node.succeeds("write")?;
    ensure!(node.cri(snapshotter)?.as_str() == Some("two"), "{kind:?}: the change is hidden");
    Ok(())
}

/// containerd 2 translates a main file of version 2, but not beside a drop-in of version 3.
fn older_version(world: &World) -> Result<()> {
    let main = format!(
        "{}[plugins.\"io.containerd.grpc.v1.cri\"]\nsandbox_image = \"localhost/mine:1\"\n{}",
        &version(Kind::V1_7),
        handler(Kind::V1_7, "crun", "")
    );
    let node = Node::new(world, Kind::V2, &main)?;
    let before = node.dump()?;
    node.succeeds("write")?;
    ensure!(node.has_gate("crun")?, "crun is lost");
    let image = |dump: &toml::Table| {
        let images = dump.get("plugins")?.get("io.containerd.cri.v1.images")?;
        Some(images.get("pinned_images")?.get("sandbox")?.as_str()?.to_owned())
    };
    ensure!(image(&before).as_deref() == Some("localhost/mine:1"), "{before}");
    ensure!(image(&node.dump()?) == image(&before), "the sandbox image is lost");
    Ok(())
}

fn not_ours(world: &World) -> Result<()> {
    let node = Node::new(world, Kind::V1_7, &version(Kind::V1_7))?;
    let drop_in = node.folder().join("strict-groups.toml");
    fs::write(&drop_in, version(Kind::V1_7))?;
    let before = state(&node.folder())?;
    for action in ["write", "diff", "remove"] {
        let said = node.run(action)?;
        ensure!(said.code == Some(1) && said.err.contains("was not written by strict-groups"), "{said:?}");
        ensure!(state(&node.folder())? == before, "--{action} changed something");
    }
    fs::remove_file(&drop_in)?;
    node.succeeds("write")?;
    fs::write(&drop_in, format!("{}\n# mine\n", fs::read_to_string(&drop_in)?))?;
    let before = state(&node.folder())?;
    for action in ["write", "diff", "remove"] {
        let said = node.run(action)?;
        ensure!(said.code == Some(1) && said.err.contains("was edited"), "{said:?}");
        ensure!(state(&node.folder())? == before, "--{action} changed something");
    }
    Ok(())
}

fn own_base_spec(world: &World) -> Result<()> {
    let own = tempfile::tempdir()?;
    let path = own.path().join("own.json");
    fs::write(
        &path,
        r#"{"ociVersion":"1.0.2","process":{"rlimits":[{"type":"RLIMIT_NOFILE","hard":9,"soft":9}]}}"#,
    )?;
    let main = format!(
        "{}{}",
        &version(Kind::V1_7),
        handler(Kind::V1_7, "mine", &format!("base_runtime_spec = \"{}\"", path.display()))
    );
    let node = Node::new(world, Kind::V1_7, &main)?;
    for _ in 0..2 {
        node.succeeds("write")?;
        ensure!(node.has_gate("mine")?, "no gate");
        let spec = fs::read_to_string(node.folder().join("strict-groups-base-spec-mine.json"))?;
        ensure!(spec.contains("RLIMIT_NOFILE") && spec.contains("--gate=static"), "{spec}");
    }
    node.main(&version(Kind::V1_7))?;
    node.succeeds("write")?;
    ensure!(!node.folder().join("strict-groups-base-spec-mine.json").exists(), "the old one is still there");
    Ok(())
}

/// gVisor and Kata Containers; containerd does not look for their shims before a pod wants them.
fn other_handlers(world: &World, kind: Kind) -> Result<()> {
    let table = |name, runtime_type| {
        handler(kind, name, "pod_annotations = [\"own.example/*\"]")
            .replace("io.containerd.runc.v2", runtime_type)
    };
    let main = [
        version(kind),
        handler(kind, "runc", ""),
        table("gvisor", "io.containerd.runsc.v1"),
        table("kata", "io.containerd.kata.v2"),
        table("kata-qemu", "io.containerd.kata-qemu.v2"),
        table("wasm", "io.containerd.spin.v2"),
    ];
    let node = Node::new(world, kind, &main.concat())?;
    let said = node.succeeds("write")?;
    ensure!(said.err.contains("the runtime handler wasm (io.containerd.spin.v2) is not known"), "{said:?}");
    ensure!(said.err.contains("the runtime handler kata-qemu runs the gate if"), "{said:?}");
    ensure!(!said.err.contains("gvisor") && !said.err.contains("takes it back"), "{said:?}");
    for name in ["runc", "gvisor", "kata", "kata-qemu"] {
        ensure!(node.has_gate(name)?, "{kind:?}: {name} has no base spec of ours");
    }
    ensure!(!node.has_gate("wasm")?, "{kind:?}: wasm was changed");
    let annotations = node.cri("containerd/runtimes/gvisor/pod_annotations")?;
    let annotations: Vec<&str> =
        annotations.as_array().into_iter().flatten().filter_map(toml::Value::as_str).collect();
    ensure!(
        annotations.len() == 4
            && annotations.contains(&"own.example/*")
            && annotations.contains(&"kubernetes.io/config.source"),
        "{annotations:?}"
    );
    Ok(())
}

/// Wherever it lies: the gate then refuses without it, where it would take the default for granted otherwise.
fn given_file(world: &World) -> Result<()> {
    let node = Node::new(world, Kind::V1_7, &version(Kind::V1_7))?;
    let file = node.dir.path().join("node.toml");
    let run = || {
        let mut command = node.command("write")?;
        Said::of(command.arg("--config").arg(&file))
    };
    let missing = run()?;
    ensure!(missing.code == Some(1) && missing.err.contains("node.toml"), "{missing:?}");
    fs::write(&file, "")?;
    let said = run()?;
    ensure!(said.code == Some(0), "{said:?}");
    let spec = || fs::read_to_string(node.folder().join("strict-groups-base-spec.json"));
    ensure!(spec()?.contains(&format!("\"--config={}\"", file.display())), "{}", spec()?);
    node.succeeds("write")?;
    ensure!(!spec()?.contains("--config="), "{}", spec()?);
    Ok(())
}

/// containerd's own matching of `pod_annotations`, for the sandbox and for its containers.
fn any_case(world: &World, kind: Kind) -> Result<()> {
    let daemon = node_config::start(&world.machine, &world.run, kind, Options::default())?;
    fresh_image(world, &daemon)?;
    node_config::configure(&world.machine, &daemon)?;
    let ours = [
        ANNOTATION.to_owned(),
        ANNOTATION.to_uppercase(),
        "Supplemental-Groups-Policy.NodeResource.dev/Pod".to_owned(),
        format!("{ANNOTATION}/container.{}", "a".repeat(53)),
        "kubernetes.io/config.source".to_owned(),
    ];
    let others = [
        format!("{ANNOTATION}.example"),
        format!("x{ANNOTATION}"),
        "supplemental_groups-policy.noderesource.dev".to_owned(),
        "kubernetes.io/config.hash".to_owned(),
    ];
    let annotations =
        |pod: Pod| ours.iter().chain(&others).fold(pod, |pod, key| pod.annotation(key, "Merge"));
    let pod = daemon.cri().run_pod(&annotations(Pod::new("any-case")))?;
    let container = daemon.cri().create(&pod, &app())?;
    let record = daemon.ctr().args(["containers", "info", &container]).output()?;
    let record: serde_json::Value = serde_json::from_slice(&record.stdout)?;
    let sandbox: serde_json::Value =
        serde_json::from_str(&fs::read_to_string(daemon.bundle(&pod.id).join("config.json"))?)?;
    for (whose, spec) in [("sandbox", Some(&sandbox)), ("container", record.get("Spec"))] {
        let found = spec.and_then(|spec| spec.get("annotations")?.as_object()).context("no annotations")?;
        for key in &ours {
            let value = found.get(key).and_then(serde_json::Value::as_str);
            ensure!(value == Some("Merge"), "{kind:?}, {whose}: {key} is lost: {found:?}");
        }
        for key in &others {
            ensure!(!found.contains_key(key), "{kind:?}, {whose}: {key} passes: {found:?}");
        }
    }
    daemon.stop()
}

fn crio() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let path = |name: &str| dir.path().join(name);
    let (drop_ins, hooks) = (path("crio.conf.d"), path("hooks.d"));
    let built = plugin::built()?;
    let wrapper = path("strict-groups-runtime");
    std::os::unix::fs::symlink(&built, &wrapper)?;
    fs::write(path("runc"), "")?;
    fs::write(path("node.toml"), format!("[runtime]\npath = \"{}\"\n", path("runc").display()))?;
    fs::write(
        path("crio.conf"),
        "[crio.runtime.runtimes.runc]\nruntime_path = \"runc\"\nruntime_root = \"/run/x\"\n\
         [crio.runtime.runtimes.kata]\nruntime_path = \"runc\"\nruntime_type = \"vm\"\n",
    )?;
    let run = |action: &[&str]| {
        let mut command = Command::new(&built);
        command.args(["config", "crio"]).args(action).args(action.first().map(|_| &drop_ins));
        let options = ["config", "crio-config", "crio-config-dir", "hooks-dir", "wrapper"]
            .map(|name| format!("--{name}"));
        let values = [path("node.toml"), path("crio.conf"), drop_ins.clone(), hooks.clone(), wrapper.clone()];
        for (option, value) in options.iter().zip(values) {
            command.arg(option).arg(value);
        }
        Said::of(&mut command)
    };
    let printed = run(&[])?;
    ensure!(printed.code == Some(0) && printed.err.contains("kata"), "{printed:?}");
    let table: toml::Table = toml::from_str(&printed.out)?;
    let runtimes =
        table.get("crio").and_then(|crio| crio.get("runtime")?.get("runtimes")).context("no runtimes")?;
    let of_runc = |key| runtimes.get("runc").and_then(|runc| runc.get(key)?.as_str());
    ensure!(of_runc("runtime_path") == wrapper.to_str(), "{runtimes}");
    ensure!(of_runc("runtime_root") == Some("/run/x"), "{runtimes}");
    ensure!(run(&["--diff"])?.code == Some(1), "nothing to do?");
    let written = run(&["--write"])?;
    ensure!(written.code == Some(0) && written.err.contains("Restart CRI-O"), "{written:?}");
    ensure!(
        fs::read_to_string(drop_ins.join("99-strict-groups.conf"))? == printed.out,
        "not what was printed"
    );
    let hook = fs::read_to_string(hooks.join("strict-groups.json"))?;
    let config = format!("\"--config={}\"", path("node.toml").display());
    ensure!(hook.contains("--runtime=cri-o") && hook.contains(&config), "{hook}");
    ensure!(run(&["--diff"])?.code == Some(0), "not all written");
    ensure!(run(&[])?.out == printed.out, "the drop-in is made from itself");
    ensure!(run(&["--remove"])?.code == Some(0), "not removed");
    ensure!(state(&drop_ins)?.is_empty() && state(&hooks)?.is_empty(), "not all removed");

    fs::remove_file(&wrapper)?;
    let missing = run(&[])?;
    ensure!(missing.code == Some(1) && missing.err.contains("ln -s strict-groups"), "{missing:?}");
    Ok(())
}
