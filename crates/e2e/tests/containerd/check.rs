//! `strict-groups check` on real containerds in every state of being set up.

#![allow(clippy::indexing_slicing, reason = "serde_json gives null for what is not there")]

use std::{collections::BTreeMap, os::unix::fs::PermissionsExt, path::Path, process::Command};

use anyhow::{Context, Result, ensure};
use libtest_mimic::Trial;
use nix::sys::signal::Signal;
use serde_json::Value;

use crate::steps::{ANNOTATION, app, fresh_image};
use crate::world::{World, trial};
use e2e::{Containerd, Kind, Options, Plugin, Pod, Proxy, node_config, plugin::binary, wait_for};

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial("check::containerd_1_7_from_nothing_to_enforced_and_back", steps),
        trial("check::wrappers_way_without_nri_is_enforced", wrappers_way),
        trial("check::containerd_2_has_it_itself", native),
        trial("check::a_runtime_that_does_not_answer", no_answer),
    ]
}

/// What the command said: the exit code, and the JSON, which keeps to the schema.
struct Checked {
    code: Option<i32>,
    report: Value,
}

fn check(daemon: &Containerd, output: &str) -> Result<(Option<i32>, String)> {
    check_at(daemon, &daemon.socket(), output)
}

fn check_at(daemon: &Containerd, endpoint: &Path, output: &str) -> Result<(Option<i32>, String)> {
    let said = Command::new(binary(daemon.run())?)
        .args(["check", "-o", output, "--runtime-endpoint"])
        .arg(endpoint)
        .arg("--nri-socket")
        .arg(daemon.nri_socket())
        .arg("--health-file")
        .arg(daemon.dir().join("health"))
        .arg("--node-config")
        .arg(node_config::node_file(daemon))
        .output()?;
    ensure!(said.stderr.is_empty(), "{}", String::from_utf8_lossy(&said.stderr));
    Ok((said.status.code(), String::from_utf8(said.stdout)?))
}

impl Checked {
    fn now(daemon: &Containerd) -> Result<Self> {
        Self::at(daemon, &daemon.socket())
    }

    /// With this endpoint for the runtime's.
    fn at(daemon: &Containerd, endpoint: &Path) -> Result<Self> {
        let (code, text) = check_at(daemon, endpoint, "json")?;
        let report: Value = serde_json::from_str(&text)?;
        let schema: Value = serde_json::from_str(include_str!("../../../../docs/check.schema.json"))?;
        let schema = jsonschema::validator_for(&schema).context("the schema")?;
        let errors: Vec<String> = schema.iter_errors(&report).map(|error| error.to_string()).collect();
        ensure!(errors.is_empty(), "{errors:?}\n{text}");
        Ok(Self { code, report })
    }

    /// The worst state of each thing that was looked at.
    fn states(&self) -> BTreeMap<&str, &str> {
        let rank = |state: &str| ["Ok", "Warning", "Missing"].iter().position(|known| *known == state);
        let mut states = BTreeMap::new();
        for finding in self.report["findings"].as_array().into_iter().flatten() {
            let (Some(check), Some(state)) = (finding["check"].as_str(), finding["state"].as_str()) else {
                continue;
            };
            let worst = states.entry(check).or_insert(state);
            if rank(worst) < rank(state) {
                *worst = state;
            }
        }
        states
    }

    fn is(self, verdict: &str, code: i32, missing: &[&str]) -> Result<Self> {
        let states = self.states();
        let found: Vec<&str> =
            states.iter().filter(|(_, state)| **state == "Missing").map(|(check, _)| *check).collect();
        ensure!(
            self.report["verdict"] == verdict && self.code == Some(code) && found == missing,
            "exit code {:?}, wanted {verdict} and {missing:?} missing: {:#}",
            self.code,
            self.report
        );
        Ok(self)
    }
}

fn start_plugin(daemon: &Containerd) -> Result<Plugin> {
    let health = daemon.dir().join("health");
    let plugin = Plugin::start(daemon, None, &["--health-file", health.to_str().context("a path")?])?;
    wait_for(std::time::Duration::from_secs(20), || {
        std::fs::read_to_string(&health).ok().filter(|text| text.contains("containerd"))
    })
    .context("no sign of life that says registered")?;
    Ok(plugin)
}

fn steps(world: &World) -> Result<()> {
    // NRI comes with our drop-in.
    let daemon = node_config::start(&world.machine, &world.run, Kind::V1_7, Options::default())?;
    let bare = Checked::now(&daemon)?.is("NotEnforced", 1, &["nri", "plugin", "static-gate"])?;
    ensure!(bare.report["runtime"]["name"] == "containerd", "{:#}", bare.report);
    ensure!(bare.states().get("hook") == Some(&"Ok"), "{:#}", bare.report);

    node_config::configure(&world.machine, &daemon)?;
    Checked::now(&daemon)?.is("NotEnforced", 1, &["plugin"])?;

    let plugin = start_plugin(&daemon)?;
    let whole = Checked::now(&daemon)?.is("Enforced", 0, &[])?;
    ensure!(whole.states().get("configuration") == Some(&"Ok"), "{:#}", whole.report);
    let (code, table) = check(&daemon, "table")?;
    ensure!(
        code == Some(0) && table.contains("\nEnforced: ") && table.contains("registered with containerd"),
        "{table}"
    );

    // What is wrong with the node's configuration, and what stands in it.
    let node = node_config::node_file(&daemon);
    std::fs::write(&node, "mode = \"off\"\n")?;
    Checked::now(&daemon)?.is("NotEnforced", 1, &["configuration"])?;
    std::fs::write(&node, "mode = \"audit\"\n")?;
    let audit = Checked::now(&daemon)?.is("Enforced", 0, &[])?;
    ensure!(audit.states().get("configuration") == Some(&"Warning"), "{:#}", audit.report);
    std::fs::write(&node, "")?;

    // Which OCI runtime really runs: Debian's runc looks groups up by name.
    ensure!(audit.states().get("oci-runtime") == Some(&"Warning"), "{:#}", audit.report);
    let refuse = audit.report.to_string();
    ensure!(refuse.contains("looks groups up by name") && !refuse.contains("CAN GAIN GROUPS"), "{refuse}");
    std::fs::write(&node, "old_runc_exec = \"allow\"\n")?;
    let allow = Checked::now(&daemon)?.is("Enforced", 0, &[])?;
    ensure!(allow.report.to_string().contains("CAN GAIN GROUPS"), "{:#}", allow.report);
    std::fs::write(&node, "")?;

    // What containerd was not started with is not in effect.
    std::thread::sleep(std::time::Duration::from_millis(1100));
    for file in std::fs::read_dir(node_config::folder(&daemon))? {
        let path = file?.path();
        std::fs::write(&path, std::fs::read(&path)?)?;
    }
    let stale = Checked::now(&daemon)?.is("NotEnforced", 1, &["static-gate"])?;
    ensure!(stale.report.to_string().contains("changed after containerd was started"), "{:#}", stale.report);
    daemon.restart(Signal::SIGTERM)?;
    plugin.wait_registered(2)?;
    let again = || Checked::now(&daemon).ok().filter(|checked| checked.code == Some(0));
    wait_for(std::time::Duration::from_secs(20), again).context("not enforced after the restart")?;

    // A drop-in of an older version, whose patterns were others.
    let drop_in = node_config::folder(&daemon).join("strict-groups.toml");
    let ours = std::fs::read_to_string(&drop_in)?;
    std::fs::write(&drop_in, ours.replace("kubernetes.io/config.source", "x"))?;
    daemon.restart(Signal::SIGTERM)?;
    plugin.wait_registered(3)?;
    let older = Checked::now(&daemon)?.is("NotEnforced", 1, &["static-gate"])?;
    ensure!(older.report.to_string().contains("it is outdated"), "{:#}", older.report);
    std::fs::write(&drop_in, ours)?;
    daemon.restart(Signal::SIGTERM)?;
    plugin.wait_registered(4)?;

    plugin.stop(Signal::SIGTERM)?;
    Checked::now(&daemon)?.is("NotEnforced", 1, &["plugin"])?;

    // The plugin alone: with NRI on by hand and no gate.
    let plain = node_config::start(&world.machine, &world.run, Kind::V1_7, Options::default().nri())?;
    let _plugin = start_plugin(&plain)?;
    Checked::now(&plain)?.is("NotEnforced", 1, &["static-gate"])?;
    // The proxy says that it has the feature, and the node is none the safer.
    let proxy = Proxy::start(&plain, &plain.dir().join("health"), &plain.dir().join("proxy.sock"))?;
    ensure!(proxy.cri.features()?.is_some_and(|features| features.supplemental_groups_policy), "not there");
    Checked::at(&plain, &plain.dir().join("proxy.sock"))?.is("NotEnforced", 1, &["static-gate"])?;
    drop(proxy);
    plain.stop()?;
    daemon.stop()
}

fn wrappers_way(world: &World) -> Result<()> {
    let daemon = node_config::start(&world.machine, &world.run, Kind::V1_7, Options::default())?;
    let older = daemon.cri().run_pod(&Pod::new("older"))?;
    node_config::configure_for(&world.machine, &daemon, &["--wrapper"])?;
    let checked = Checked::now(&daemon)?.is("NotEnforced", 1, &["wrapper"])?;
    ensure!(checked.report.to_string().contains("default/older"), "{:#}", checked.report);
    // Also when containerd has moved since: the shim names the socket that it was started with.
    let (main, socket) = (daemon.dir().join("config.toml"), daemon.socket());
    let before = std::fs::read_to_string(&main)?;
    let moved = daemon.dir().join("moved.sock");
    daemon.halt(Signal::SIGTERM)?;
    std::fs::write(&main, before.replace(&socket.display().to_string(), &moved.display().to_string()))?;
    let mut other = daemon.spawn()?;
    let checked = wait_for(std::time::Duration::from_secs(20), || {
        Checked::at(&daemon, &moved).ok().filter(|checked| !checked.report["runtime"].is_null())
    });
    other.kill()?;
    other.wait()?;
    std::fs::write(&main, before)?;
    daemon.launch()?;
    let checked = checked.context("containerd does not answer at its new place")?;
    checked.is("NotEnforced", 1, &["wrapper"])?;
    daemon.cri().remove_pod(&older.id)?;
    let checked = Checked::now(&daemon)?.is("Enforced", 0, &[])?;
    let found = checked.report.to_string();
    ensure!(found.contains("the OCI runtime wrapper, without NRI"), "{found}");
    // The handler's own OCI runtime, not the wrapper, is what reads groups.
    ensure!(
        found.contains("looks groups up by name") && checked.states().get("hook") == Some(&"Ok"),
        "{found}"
    );

    // A container that the wrapper made Strict is one by its process; its record in containerd is as it was.
    fresh_image(world, &daemon)?;
    let pod = daemon.cri().run_pod(&Pod::new("strict").annotation(ANNOTATION, "Strict"))?;
    daemon.cri().launch(&pod, &app())?;
    let mut list = Command::new(binary(daemon.run())?);
    list.args(["list", "--violations", "-o", "json", "--runtime-endpoint"]).arg(daemon.socket());
    let output = list.arg("--config").arg(node_config::node_file(&daemon)).output()?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));

    let file = node_config::folder(&daemon).join("strict-groups-runtime-runc+runc");
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644))?;
    let gone = Checked::now(&daemon)?.is("NotEnforced", 1, &["wrapper"])?.report.to_string();
    ensure!(gone.contains("Permission denied"), "{gone}");
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o755))?;
    std::fs::write(&file, "#!/bin/sh\n")?;
    let edited = Checked::now(&daemon)?.is("NotEnforced", 1, &["wrapper"])?.report.to_string();
    ensure!(
        edited.contains("was edited") && edited.contains("config containerd --wrapper --write"),
        "{edited}"
    );
    std::fs::remove_file(&file)?;
    let gone = Checked::now(&daemon)?.is("NotEnforced", 1, &["wrapper"])?.report.to_string();
    ensure!(gone.contains("there is no "), "{gone}");
    node_config::configure_for(&world.machine, &daemon, &["--wrapper"])?;
    Checked::now(&daemon)?.is("Enforced", 0, &[])?;
    daemon.stop()
}

fn native(world: &World) -> Result<()> {
    let daemon = node_config::start(&world.machine, &world.run, Kind::V2, Options::default())?;
    let native = Checked::now(&daemon)?.is("Native", 0, &[])?;
    ensure!(native.report["runtime"]["native"] == true, "{:#}", native.report);
    daemon.stop()
}

fn no_answer(world: &World) -> Result<()> {
    let daemon = node_config::start(&world.machine, &world.run, Kind::V1_7, Options::default())?;
    node_config::configure(&world.machine, &daemon)?;
    // A runtime that hangs is no reason to hang as well.
    let pid = nix::unistd::Pid::from_raw(i32::try_from(daemon.pid().context("no containerd")?)?);
    nix::sys::signal::kill(pid, Signal::SIGSTOP)?;
    let stopped = Checked::now(&daemon);
    nix::sys::signal::kill(pid, Signal::SIGCONT)?;
    let stopped = stopped?;
    ensure!(stopped.code == Some(1) && stopped.report["runtime"].is_null(), "{:#}", stopped.report);
    ensure!(stopped.states().get("runtime") == Some(&"Missing"), "{:#}", stopped.report);
    daemon.stop()
}
