//! A node with containers of every kind, on real containerds.

use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use libtest_mimic::Trial;
use serde_json::{Value, json};

use super::{items, list};
use crate::steps::{ANNOTATION, app, fresh_with, named, strict};
use crate::world::{World, trial};
use e2e::plugin::binary;
use e2e::{ContainerSpec, Containerd, Identity, Kind, Options, Plugin, Pod};

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial("list::every_kind_of_container_on_containerd_1_7", |world| every_kind(world, Kind::V1_7)),
        trial("list::every_kind_of_container_on_containerd_2", |world| every_kind(world, Kind::V2)),
        trial("list::more_records_than_containerd_sends_at_once", more_than_one_message),
    ]
}

/// It becomes alice, by the image's own files, once it runs.
fn taker() -> ContainerSpec {
    let command = ["/bin/busybox", "su", "-s", "/bin/sh", "alice", "-c", "sleep 2147483647"];
    named("app").user(0).group(0).command(&command)
}

/// A container that cannot change anything of itself.
fn locked() -> ContainerSpec {
    let mut spec = app().default_seccomp();
    spec.security.no_new_privs = true;
    spec.security.capabilities.get_or_insert_default().drop_capabilities.push("ALL".to_owned());
    spec
}

fn every_kind(world: &World, kind: Kind) -> Result<()> {
    let daemon = fresh_with(world, kind, Options::default().nri().network())?;
    let cri = daemon.cri();
    // Nobody enforces yet.
    cri.launch(&cri.run_pod(&strict("away"))?, &app())?;

    let plugin = Plugin::start(&daemon, None, &[])?;
    cri.launch(&cri.run_pod(&strict("strict"))?, &app())?;
    cri.launch(&cri.run_pod(&strict("locked").namespace("prod"))?, &locked())?;
    cri.launch(&cri.run_pod(&strict("root"))?, &app().user(0).group(0))?;
    if kind == Kind::V1_7 {
        // containerd 2 wants idmapped mounts for it, which runc has from 1.2 on.
        cri.launch(&cri.run_pod(&strict("userns").user_namespace(200_000, 65536))?, &app())?;
    }
    cri.launch(&cri.run_pod(&strict("takes-groups"))?, &taker())?;
    cri.launch(&cri.run_pod(&Pod::new("merge"))?, &app())?;
    cri.launch(&cri.run_pod(&Pod::new("merge-harmless"))?, &app().user(4242))?;
    cri.launch(&cri.run_pod(&Pod::new("own-field"))?, &app().strict_field())?;
    let mixed = Pod::new("mixed").annotation(&format!("{ANNOTATION}/pod"), "Strict");
    let mixed = cri.run_pod(&mixed.annotation(&format!("{ANNOTATION}/container.proxy"), "Merge"))?;
    cri.launch(&mixed, &app())?;
    cri.launch(&mixed, &named("proxy"))?;
    let ended = cri.launch(&cri.run_pod(&strict("ended"))?, &app().command(&["true"]))?;
    cri.wait_exit(&ended)?;
    cri.create(&cri.run_pod(&strict("waiting"))?, &app())?;
    let paused = cri.launch(&cri.run_pod(&strict("paused"))?, &app())?;
    let pause = daemon.ctr().args(["tasks", "pause", &paused]).output()?;
    ensure!(pause.status.success(), "{}", String::from_utf8_lossy(&pause.stderr));
    drop(plugin);
    // Created while nobody was there, with a policy that is none: the plugin shuts it when it is back.
    let shut = cri.create(&cri.run_pod(&Pod::new("shut").annotation(ANNOTATION, "strict"))?, &app())?;
    let plugin = Plugin::start(&daemon, None, &[])?;
    plugin.wait_log(|line| line.contains("will not start"))?;
    cri.start(&shut).err().context("it started")?;

    let table = look(world, &daemon, kind);
    let resumed = daemon.ctr().args(["tasks", "resume", &paused]).output()?;
    ensure!(resumed.status.success(), "{}", String::from_utf8_lossy(&resumed.stderr));
    // Last, since it panics.
    insta::assert_snapshot!(format!("table_on_{kind:?}"), table?);
    Ok(())
}

/// Gives the table.
fn look(world: &World, daemon: &Containerd, kind: Kind) -> Result<String> {
    let socket = daemon.socket();
    let run = |arguments: &[&str], code| list(&world.run, &socket, arguments)?.exits(code);
    let table = run(&[], 0)?;
    ensure!(table.lines().all(|line| line.chars().count() <= 100 && !line.contains('\u{1b}')), "{table}");
    let red =
        |no_colour| on_a_terminal(world, daemon, no_colour).map(|text| text.contains("\u{1b}[1;31mVIOLATED"));
    ensure!(red("")? && !red("1")?, "colour belongs on a terminal, unless NO_COLOR is set");
    let wide = run(&["-o", "wide"], 0)?;
    ensure!(wide.lines().next().is_some_and(|head| head.ends_with("REASON")), "{wide}");

    let json = run(&["--output", "json"], 0)?;
    let found = items(&json)?;
    let wanted = if kind == Kind::V1_7 { 15 } else { 14 };
    ensure!(found.len() == wanted, "{} containers: {json}", found.len());
    for (name, item) in &found {
        same_as_proc(item).with_context(|| format!("{name}: {item}"))?;
    }
    let is = |name: &str, pointer: &str, wanted: Value| {
        let real = found.get(name).and_then(|item| item.pointer(pointer));
        ensure!(real == Some(&wanted), "{name}{pointer}: {real:?} instead of {wanted}");
        Ok(())
    };
    is("away/app", "/beyondStrict", json!([{ "gid": 50000, "name": "group-in-image" }]))?;
    is(
        "strict/app",
        "/user",
        json!({"linux": {"uid": 1000, "gid": 3000, "supplementalGroups": [3000, 4000]}}),
    )?;
    is("strict/app", "/imageGroups", json!([{ "gid": 50000, "name": "group-in-image" }]))?;
    is("strict/app", "/declaredGroups", json!([4000]))?;
    is("strict/app", "/policy/annotation", json!(ANNOTATION))?;
    is("strict/app", "/canChange/allowPrivilegeEscalation", json!(true))?;
    is(
        "locked/app",
        "/canChange",
        json!({
            "groups": "No", "user": "No", "noNewPrivs": true, "allowPrivilegeEscalation": false
        }),
    )?;
    is("root/app", "/canChange/groups", json!("AtWill"))?;
    if kind == Kind::V1_7 {
        is("userns/app", "/user/linux/supplementalGroups", json!([3000, 4000]))?;
    }
    is("takes-groups/app", "/beyondStrict/1", json!({ "gid": 50000, "name": "group-in-image" }))?;
    is("mixed/proxy", "/policy/annotation", json!(format!("{ANNOTATION}/container.proxy")))?;
    is("paused/app", "/state", json!("Paused"))?;
    is("waiting/app", "/user", Value::Null)?;
    let native = if kind.has_strict() { "PodField" } else { "Default" };
    is("own-field/app", "/policy/source", json!(native))?;

    let yaml: Value = serde_saphyr::from_str(&run(&["-o", "yaml"], 0)?)?;
    ensure!(yaml == serde_json::from_str::<Value>(&json)?, "YAML and JSON differ");

    let violations = items(&run(&["--violations", "-o", "json"], 1)?)?;
    let mut names: Vec<&str> = violations.keys().map(String::as_str).collect();
    names.sort_unstable();
    ensure!(names == ["away/app", "takes-groups/app"], "{names:?}");
    ensure!(run(&["--violations", "-n", "prod"], 0)?.lines().count() == 1, "there is one in prod");
    let prod = items(&run(&["--namespace", "prod", "-o", "json"], 0)?)?;
    ensure!(prod.len() == 1 && prod.contains_key("locked/app"), "{prod:?}");
    let mixed = items(&run(&["--pod", "mixed", "-o", "json"], 0)?)?;
    ensure!(mixed.len() == 2, "{mixed:?}");

    let audit = daemon.dir().join("list-audit.toml");
    std::fs::write(
        &audit,
        "mode = \"audit\"\n[[rule]]\nnamespaces = [\"default\"]\npolicy = \"Strict\"\npods_may_override = true\n",
    )?;
    let audited = run(&["-o", "json", "--config", audit.to_str().context("a path")?], 0)?;
    let merge = items(&audited)?.remove("merge/app").context("no merge/app")?;
    ensure!(
        merge["policy"]
            == json!({"name": "Strict", "source": "Rule", "annotation": null, "rule": 1, "audit": true})
            && merge["verdict"] == "WouldLoseGroups",
        "{merge}"
    );
    Ok(table)
}

/// What it prints when stdout is a terminal.
fn on_a_terminal(world: &World, daemon: &Containerd, no_colour: &str) -> Result<String> {
    let command = format!("{} list -r {}", binary(&world.run)?.display(), daemon.socket().display());
    let output = Command::new("script")
        .args(["--quiet", "--return", "--command", &command, "/dev/null"])
        .env("NO_COLOR", no_colour)
        .stdin(Stdio::null())
        .output()
        .context("starting script(1)")?;
    ensure!(output.status.success(), "{output:?}");
    Ok(String::from_utf8(output.stdout)?)
}

/// Another reading of the same process gives the same.
fn same_as_proc(item: &Value) -> Result<()> {
    let Some(pid) = item["pid"].as_u64() else {
        ensure!(item["user"].is_null() && item["canChange"].is_null(), "it has no process");
        return Ok(());
    };
    let real = Identity::of_process(pid.try_into()?)?;
    let linux = &item["user"]["linux"];
    let groups: Vec<u32> = serde_json::from_value(linux["supplementalGroups"].clone())?;
    ensure!(
        linux["uid"] == real.uid
            && linux["gid"] == real.gid
            && real.supplementary == groups.into_iter().collect(),
        "/proc has {real}"
    );
    Ok(())
}

fn more_than_one_message(world: &World) -> Result<()> {
    let daemon = fresh_with(world, Kind::V1_7, Options::default().nri())?;
    let cri = daemon.cri();
    let pod = cri.run_pod(&Pod::new("many"))?;
    let large = "x".repeat(100_000);
    // 24 MB of records; containerd sends 16 MiB at once.
    for number in 0..240 {
        cri.create(&pod, &named(&format!("c{number}")).env("LARGE", &large))?;
    }
    let started = Instant::now();
    let json = list(&world.run, &daemon.socket(), &["-o", "json"])?.exits(0)?;
    let found = items(&json)?;
    ensure!(found.len() == 240, "{} containers after {:?}", found.len(), started.elapsed());
    let complete =
        found.values().all(|item| item["declaredGroups"] == json!([4000]) && item["reason"].is_null());
    ensure!(complete, "{json}");
    daemon.stop()
}
