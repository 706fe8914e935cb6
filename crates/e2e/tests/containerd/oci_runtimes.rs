//! OCI runtimes of several versions under one containerd: runc before 1.3, which looks groups up by name, runc since,
//! which takes numbers only, and crun.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use libtest_mimic::Trial;

use crate::steps::{MERGED, STRICT, all, app, check, fresh_with, strict};
use crate::world::{World, trial};
use e2e::image::Draft;
use e2e::{ContainerSpec, Handler, Kind, Machine, Options, Plugin, Pod, node_config};

/// The versions of runc: Debian's, and those that are built from tests/go-modules.
const RUNC: [&str; 4] = [DEBIAN, "1.2.8", "1.3.6", "1.5.2"];
const DEBIAN: &str = "1.1.5";

const PASSWD: &str = "root:x:0:0:root:/:/bin/sh\nalice:x:1000:1000::/:/bin/sh\n";

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial("oci_runtimes::each_has_its_version", |world| {
            all(RUNC.map(|version| (version, has_version(&world.machine, version))))
        }),
        trial("oci_runtimes::each_runs_a_strict_pod", each_runs_a_strict_pod),
        trial("oci_runtimes::only_old_runc_refuses_for_a_name", only_old_runc_refuses_for_a_name),
    ]
}

fn runc(machine: &Machine, version: &str) -> Result<PathBuf> {
    if version == DEBIAN { Ok(machine.runc()) } else { machine.runc_at(version) }
}

/// What `runc --version` says is what strict-groups decides by.
fn has_version(machine: &Machine, version: &str) -> Result<()> {
    let output = Command::new(runc(machine, version)?).arg("--version").output().context("starting runc")?;
    let text = String::from_utf8_lossy(&output.stdout);
    let first = text.lines().next().unwrap_or_default();
    // Debian has more behind it: "1.1.5+ds1".
    ensure!(first.starts_with(&format!("runc version {version}")), "{version}: it says {first:?}");
    Ok(())
}

fn each_runs_a_strict_pod(world: &World) -> Result<()> {
    let mut options = Options::default().nri().handler(Handler::new("crun", world.machine.crun()));
    for version in RUNC {
        // A handler's name has no dots here: it is a bare key of the configuration.
        options = options.handler(Handler::new(&handler(version), runc(&world.machine, version)?));
    }
    let daemon = fresh_with(world, Kind::V1_7, options)?;
    let _plugin = Plugin::start(&daemon, None, &[])?;
    let handlers = RUNC.iter().map(|version| handler(version)).chain(["crun".to_owned()]);
    all(handlers.map(|handler| {
        let pod = |name: &str| format!("{name}-{handler}");
        let works = check(&daemon, &strict(&pod("strict")).handler(&handler), &app(), &STRICT)
            .and_then(|()| check(&daemon, &Pod::new(&pod("merge")).handler(&handler), &app(), &MERGED));
        (handler, works)
    }))
}

/// Images that rename a group, or that could do so later: refused where the OCI runtime would read their `/etc/group`,
/// and of no interest to the others. With `old_runc_exec = "allow"` the second kind starts everywhere.
fn only_old_runc_refuses_for_a_name(world: &World) -> Result<()> {
    let mut options = Options::default().handler(Handler::new("crun", world.machine.crun()));
    for version in RUNC {
        options = options.handler(Handler::new(&handler(version), runc(&world.machine, version)?));
    }
    let daemon = node_config::start(&world.machine, &Arc::clone(&world.run), Kind::V1_7, options)?;
    let renames = Draft::new("localhost/strict-groups/renames:1").passwd(PASSWD).group("4000:x:50000:\n");
    let may_rename =
        Draft::new("localhost/strict-groups/may-rename:1").passwd(PASSWD).link("/etc/group", "/tmp/none/grp");
    let writable = Draft::new("localhost/strict-groups/writable:1").passwd(PASSWD).file_of(
        (1000, 1000),
        "/etc/group",
        0o644,
        "alice:x:1000:\n",
    );
    for image in [renames, may_rename, writable] {
        daemon.import(&image.build(&world.machine)?)?;
    }
    node_config::configure(&world.machine, &daemon)?;
    let _plugin = Plugin::start(&daemon, None, &[])?;
    let spec = |image: &str| {
        let spec = ContainerSpec::new("app", &format!("localhost/strict-groups/{image}:1"));
        spec.user(1000).group(3000).supplemental(&[4000]).no_new_privs()
    };
    let pod = |image: &str, handler: &str| strict(&format!("{image}-{handler}")).handler(handler);
    let images = ["renames", "may-rename", "writable"];

    let (old, new) = RUNC.split_at(2);
    let old: Vec<String> = old.iter().map(|version| handler(version)).collect();
    let new = new.iter().map(|version| handler(version)).chain(["crun".to_owned()]);
    all(new.flat_map(|handler| images.map(|image| (image, handler.clone()))).map(|(image, handler)| {
        (format!("{image} under {handler}"), check(&daemon, &pod(image, &handler), &spec(image), &STRICT))
    }))?;
    let refused = |image: &str, handler: &str, why: &str| -> Result<()> {
        let pod = daemon.cri().run_pod(&pod(image, handler))?;
        let error = daemon.cri().launch(&pod, &spec(image)).err().context("it started")?.message;
        for part in [&format!("pod default/{}, container app", pod.name()), why, "runc 1.3"] {
            ensure!(error.contains(part), "no {part:?} in: {error}");
        }
        Ok(daemon.cri().remove_pod(&pod.id)?)
    };
    let why = ["has GID 50000", "leads nowhere", "old_runc_exec"];
    all(old
        .iter()
        .flat_map(|handler| images.into_iter().zip(why).map(move |(image, why)| (image, why, handler)))
        .map(|(image, why, handler)| (format!("{image} under {handler}"), refused(image, handler, why))))?;

    fs::write(node_config::node_file(&daemon), "old_runc_exec = \"allow\"\n")?;
    all(old
        .iter()
        .map(|handler| (handler, check(&daemon, &pod("writable", handler), &spec("writable"), &STRICT))))?;
    let oldest = old.first().context("no old runc")?;
    refused("renames", oldest, "has GID 50000")?;
    daemon.stop()
}

/// `runc-1-2-8`
fn handler(version: &str) -> String {
    format!("runc-{}", version.replace('.', "-"))
}
