//! OCI runtimes of several versions under one containerd: runc before 1.3, which looks groups up by name, runc since,
//! which takes numbers only, and crun.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use libtest_mimic::Trial;

use crate::steps::{MERGED, STRICT, all, app, check, fresh_with, strict};
use crate::support::{Handler, Kind, Machine, Options, Plugin, Pod};
use crate::world::{World, trial};

/// The versions of runc: Debian's, and those that are built from tests/go-modules.
const RUNC: [&str; 4] = [DEBIAN, "1.2.8", "1.3.6", "1.5.2"];
const DEBIAN: &str = "1.1.5";

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial("oci_runtimes::each_has_its_version", |world| {
            all(RUNC.map(|version| (version, has_version(&world.machine, version))))
        }),
        trial("oci_runtimes::each_runs_a_strict_pod", each_runs_a_strict_pod),
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

/// `runc-1-2-8`
fn handler(version: &str) -> String {
    format!("runc-{}", version.replace('.', "-"))
}
