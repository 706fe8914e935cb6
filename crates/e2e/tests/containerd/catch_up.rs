//! Containers that came while the plugin was away: what is not started yet is
//! enforced when it comes back, what runs with too much is reported.

use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};
use libtest_mimic::Trial;

use crate::foreign::Foreign;
use crate::steps::{ANNOTATION, MERGED, STRICT, app, expect, fresh};
use crate::world::{World, trial};
use e2e::{Kind, Plugin, Pod};

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial("catch_up::created_while_away_is_enforced_before_its_start_on_containerd_1_7", |world| {
            created(world, Kind::V1_7)
        }),
        trial("catch_up::created_while_away_is_enforced_before_its_start_on_containerd_2", |world| {
            created(world, Kind::V2)
        }),
        trial("catch_up::created_while_the_plugin_registers_is_enforced_before_its_start", on_its_way),
        trial("catch_up::running_with_too_much_is_reported_once_each", running),
    ]
}

fn created(world: &World, kind: Kind) -> Result<()> {
    let daemon = fresh(world, kind)?;
    let cri = daemon.cri();
    let strict = cri.run_pod(&Pod::new("away-strict").annotation(ANNOTATION, "Strict"))?;
    let strict = cri.create(&strict, &app())?;
    let wrong = cri.run_pod(&Pod::new("away-wrong").annotation(ANNOTATION, "strict"))?;
    let wrong = cri.create(&wrong, &app())?;
    let merge = cri.run_pod(&Pod::new("away-merge"))?;
    let merge = cri.create(&merge, &app())?;

    let plugin = Plugin::start(&daemon, None, &[])?;
    plugin.wait_log(|line| line.contains("enforced before its start") && line.contains("away-strict"))?;
    cri.start(&strict)?;
    expect(&daemon, &strict, &STRICT)?;

    let error = cri.start(&wrong).err().map(|error| error.message).unwrap_or_default();
    ensure!(error.contains("pod default/away-wrong, container app"), "{error}");
    ensure!(error.contains("write Strict or Merge"), "{error}");

    cri.start(&merge)?;
    expect(&daemon, &merge, &MERGED)?;
    // Its sandbox may be older than the static gate's annotations, so that the gate has to be told.
    let config = std::fs::read_to_string(daemon.bundle(&merge).join("config.json"))?;
    ensure!(config.contains(r#"["strict-groups","hook","--gate=merge"]"#), "no Merge marker: {config}");
    Ok(())
}

fn running(world: &World) -> Result<()> {
    let daemon = fresh(world, Kind::V1_7)?;
    let cri = daemon.cri();
    for (name, policy) in [("run-strict", "Strict"), ("run-merge", "Merge")] {
        let pod = cri.run_pod(&Pod::new(name).annotation(ANNOTATION, policy))?;
        cri.launch(&pod, &app())?;
    }
    // It has nothing that Strict would take.
    let pod = cri.run_pod(&Pod::new("run-harmless").annotation(ANNOTATION, "Strict"))?;
    cri.launch(&pod, &app().user(4242))?;

    let plugin = Plugin::start(&daemon, None, &[])?;
    let line = plugin.wait_log(|line| line.contains("VIOLATED"))?;
    ensure!(line.contains("run-strict") && line.contains("extra_groups=\"50000\""), "{line}");

    // A container that is enforced while the plugin is there is none to report later.
    let pod = cri.run_pod(&Pod::new("run-enforced").annotation(ANNOTATION, "Strict"))?;
    cri.launch(&pod, &app())?;
    drop(plugin);
    let plugin = Plugin::start(&daemon, None, &[])?;
    plugin.wait_log(|line| line.contains("VIOLATED"))?;
    let lines = plugin.log().lines().filter(|line| line.contains("VIOLATED")).count();
    ensure!(lines == 1, "{}", plugin.log());
    Ok(())
}

/// CreateContainer went on without the plugin, and Synchronize came before the container was one that containerd tells of.
fn on_its_way(world: &World) -> Result<()> {
    let daemon = fresh(world, Kind::V1_7)?;
    // Nobody registers while a plugin is asked.
    let _slow = Foreign::slow(&daemon, "slow", "10", Duration::from_secs(1))?;
    let pods = ["way-1", "way-2", "way-3"].map(|name| Pod::new(name).annotation(ANNOTATION, "Strict"));
    for pod in pods {
        let pod = daemon.cri().run_pod(&pod)?;
        let (created, plugin) = std::thread::scope(|scope| {
            let created = scope.spawn(|| daemon.cri().create(&pod, &app()));
            std::thread::sleep(Duration::from_millis(300));
            let plugin = Plugin::start(&daemon, None, &[]);
            (created.join(), plugin)
        });
        let (container, plugin) = (created.map_err(|_| anyhow!("creating panicked"))??, plugin?);
        daemon.cri().start(&container)?;
        expect(&daemon, &container, &STRICT).with_context(|| plugin.log())?;
        plugin.wait_log(|line| line.contains("enforced before its start"))?;
    }
    Ok(())
}
