//! The last look, at the process itself: what it sees, and what it does not
//! take for a fault.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};
use libtest_mimic::Trial;

use crate::steps::{app, fresh_with, merge_works, strict};
use crate::support::{Handler, Identity, Kind, Options, Plugin};
use crate::world::{World, trial};

pub(crate) fn trials() -> Vec<Trial> {
    vec![trial("witness::sees_a_runtime_that_gives_more_groups", |world| {
        let daemon = fresh_with(world, Kind::V1_7, options(world, "witness")?)?;
        let plugin = Plugin::start(&daemon, None, &[])?;
        let pod = daemon.cri().run_pod(&strict("witness-lies").handler("lies"))?;
        let container = daemon.cri().launch(&pod, &app())?;
        // Such a runtime is beyond any hook; what is left is to say so.
        let first = Identity::of_process(daemon.cri().status(&container)?.pid)?;
        ensure!(first.groups().contains(&50000), "the runtime did not lie: {first}");
        let line = plugin.wait_log(|line| line.contains("VIOLATED"))?;
        for part in
            ["ERROR", "pod=\"witness-lies\"", "container=\"app\"", "extra_groups=\"50000\"", "uid=1000"]
        {
            ensure!(line.contains(part), "no {part} in: {line}");
        }
        merge_works(&daemon, "witness-merge")?;

        let pod = daemon.cri().run_pod(&strict("witness-ends").handler("waits"))?;
        let container = daemon.cri().launch(&pod, &app().command(&["true"]))?;
        ensure!(daemon.cri().wait_exit(&container)? == 0, "it failed");
        let line = plugin.wait_log(|line| line.contains("pod=\"witness-ends\""))?;
        ensure!(line.contains("INFO strict"), "{line}");
        let errors = plugin.log().matches("ERROR").count();
        ensure!(errors == 1, "{}", plugin.log());
        daemon.stop()
    })]
}

/// Beside runc: a runtime that puts a group back and leaves the hooks out,
/// and one whose `start` takes until the process has ended (not the sandbox's).
pub(crate) fn options(world: &World, whose: &str) -> Result<Options> {
    let runc = world.machine.runc();
    let lies = script(
        world,
        &format!("{whose}-lies"),
        &runc,
        r#"case " $* " in *" create "*)
    sed -i 's/"additionalGids":\[/&50000,/; s/"createRuntime":/"none":/' "$bundle/config.json" ;;
esac
exec "$runc" "$@""#,
    )?;
    let waits = script(
        world,
        &format!("{whose}-waits"),
        &runc,
        r#""$runc" "$@" || exit
case " $* " in *" start "*)
    grep -q '"io.kubernetes.cri.container-type":"container"' "$bundle/config.json" || exit 0
    while [ -e "/proc/$(cat "$bundle/init.pid")" ]; do sleep 0.02; done ;;
esac"#,
    )?;
    let handler = |name, path: PathBuf| Handler::new(name, path);
    Ok(Options::default()
        .nri()
        .handler(handler("runc", runc))
        .handler(handler("lies", lies))
        .handler(handler("waits", waits)))
}

fn script(world: &World, name: &str, runc: &Path, body: &str) -> Result<PathBuf> {
    let path = world.run.dir().join(format!("runtime-{name}"));
    let runc = runc.display();
    // The shim has the runtime log into the bundle, at every call.
    let bundle = r#"for word; do [ "$last" = --log ] && bundle=$(dirname "$word"); last=$word; done"#;
    fs::write(&path, format!("#!/bin/sh\nrunc='{runc}'\n{bundle}\n{body}\n"))?;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?;
    Ok(path)
}
