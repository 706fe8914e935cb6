//! runc and crun behind the wrapper: a container's whole life.

use std::fs;
use std::os::unix::fs::MetadataExt;

use anyhow::{Context, Result, ensure};
use libtest_mimic::Trial;
use serde_json::{Value, json};

use e2e::wrapper::bundle::{Bundle, MERGED, STRICT};
use e2e::wrapper::command::{BOTH, Real, Wrapper};
use e2e::wrapper::world::{World, trial};

const STATUS: [&str; 2] = ["cat", "/proc/self/status"];

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial("direct::a_strict_container_from_create_to_delete", |world| each(world, life)),
        trial("direct::merge_is_not_touched", |world| each(world, merge)),
        trial("direct::an_exec_cannot_rename_its_groups", |world| each(world, renamed)),
        trial("direct::an_annotation_names_no_other_bundle", |world| each(world, annotated_bundle)),
    ]
}

fn each(world: &World, test: fn(&World, Real) -> Result<()>) -> Result<()> {
    BOTH.into_iter().try_for_each(|real| test(world, real).with_context(|| format!("{real:?}")))
}

fn life(world: &World, real: Real) -> Result<()> {
    let wrapper = Wrapper::new(world, real)?;
    let bundle = Bundle::new(world)?.by_crio()?.pending(world)?;
    let container = bundle.start(&wrapper)?;
    container.expect(&STRICT)?;
    ensure!(bundle.gids()? == json!(STRICT), "{}", bundle.gids()?);

    // Without a process file it comes from config.json, and with one from the engine's memory.
    // crun takes no user from there.
    let groups = if real == Real::Crun { &[0][..] } else { &STRICT };
    container.expect_exec(&[], &STATUS, groups)?;
    for (number, form) in ["--process FILE", "-p FILE", "--process=FILE", "-pFILE"].iter().enumerate() {
        let file = bundle.process_file(&format!("process-{number}"), &STATUS)?;
        let options = form.replace("FILE", file.to_str().context("no text")?);
        let options: Vec<&str> = options.split(' ').collect();
        // runc's own command line knows no value right behind a letter.
        if real == Real::Runc && options.len() == 1 && !form.starts_with("--") {
            continue;
        }
        container.expect_exec(&options, &[], &STRICT)?;
        let now: Value = serde_json::from_slice(&fs::read(&file)?)?;
        ensure!(now["user"]["additionalGids"] == json!(STRICT), "{form}: {now}");
        ensure!(now["args"] == json!(STATUS), "{form}: {now}");
    }

    let state: Value = serde_json::from_str(&wrapper.ok(&["state", &bundle.id])?)?;
    ensure!(state["status"] == "running" && state["pid"] == container.pid, "{state}");
    wrapper.ok(&["kill", &bundle.id, "KILL"])?;
    e2e::wait_for(std::time::Duration::from_secs(20), || {
        let state: Value = serde_json::from_str(&wrapper.ok(&["state", &bundle.id]).ok()?).ok()?;
        (state["status"] == "stopped").then_some(())
    })
    .context("it does not stop")?;
    wrapper.ok(&["delete", &bundle.id])?;
    ensure!(!wrapper.root().join(&bundle.id).exists(), "it was not deleted");
    let gone = wrapper.output(&["state", &bundle.id])?;
    ensure!(!gone.status.success(), "state of what is gone: {gone:?}");
    Ok(())
}

fn merge(world: &World, real: Real) -> Result<()> {
    let wrapper = Wrapper::new(world, real)?;
    for bundle in [
        Bundle::new(world)?,
        Bundle::new(world)?.by_crio()?,
        Bundle::new(world)?.by_crio()?.annotated("Merge")?,
    ] {
        let before = (fs::read(bundle.config())?, fs::metadata(bundle.config())?);
        let container = bundle.start(&wrapper)?;
        let after = (fs::read(bundle.config())?, fs::metadata(bundle.config())?);
        ensure!(before.0 == after.0, "config.json was changed");
        ensure!(!bundle.path.join("strict-groups-runtime").exists(), "a note in the bundle");
        ensure!(before.1.ino() == after.1.ino() && before.1.mtime_nsec() == after.1.mtime_nsec(), "written");
        container.expect(&MERGED)?;
        let file = bundle.process_file("process", &STATUS)?;
        let inode = fs::metadata(&file)?.ino();
        container.expect_exec(&["--process", file.to_str().context("no text")?], &[], &MERGED)?;
        ensure!(fs::metadata(&file)?.ino() == inode, "the process file was replaced");
    }
    Ok(())
}

/// runc before 1.3 takes a group's number for a name; a running container can make such a name.
fn renamed(world: &World, real: Real) -> Result<()> {
    let wrapper = Wrapper::new(world, real)?;
    let bundle = Bundle::new(world)?.by_crio()?.pending(world)?;
    let container = bundle.start(&wrapper)?;
    let file = bundle.process_file("process", &STATUS)?;
    let file = file.to_str().context("no text")?;
    // runc takes white space off a line as Unicode has it.
    for line in ["4000:x:50000:\n", "\u{b}4000:x:50000:\n", "a:x:1:\n\u{a0}4000:x:50000:\u{3000}\n"] {
        fs::write(bundle.rootfs().join("etc/group"), line)?;
        if real == Real::Crun {
            // It takes numbers for what they are.
            container.expect_exec(&["--process", file], &[], &STRICT)?;
            continue;
        }
        let said = wrapper.refused(&["exec", "--process", file, &container.id])?;
        ensure!(said.contains("pod default/web, container app") && said.contains("named \"4000\""), "{said}");
    }
    Ok(())
}

/// runc keeps the bundle's path among labels that it makes of the annotations, and CRI-O copies those of the pod.
fn annotated_bundle(world: &World, real: Real) -> Result<()> {
    let wrapper = Wrapper::new(world, real)?;
    let other = Bundle::new(world)?.by_crio()?;
    let mut bundle = Bundle::new(world)?.by_crio()?.pending(world)?;
    bundle.spec["annotations"]["bundle"] = json!(other.dir());
    bundle.write()?;
    let container = bundle.start(&wrapper)?;
    container.expect(&STRICT)?;
    let file = bundle.process_file("process", &STATUS)?;
    container.expect_exec(&["--process", file.to_str().context("no text")?], &[], &STRICT)
}
