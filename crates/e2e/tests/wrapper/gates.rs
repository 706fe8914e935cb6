//! What the wrapper makes of a container's gate, and of a container that has none.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use anyhow::{Result, ensure};
use libtest_mimic::Trial;
use serde_json::{Value, json};
use strict_groups_core::gate::State;

use e2e::wrapper::bundle::{ANNOTATION, Bundle, GROUP, MERGED, PASSWD, STRICT, gate, gates};
use e2e::wrapper::command::{Real, Wrapper, finish};
use e2e::wrapper::world::{World, trial};

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial("gates::pending_becomes_resolved", pending),
        trial("gates::the_declared_groups_are_exact", declared),
        trial("gates::resolved_is_not_widened", resolved),
        trial("gates::refused_stays_refused", refused),
        trial("gates::several_gates_each_have_their_say", several),
        trial("gates::groups_of_devices_stay", devices),
        trial("gates::ungated_is_resolved_or_refused", ungated),
        trial("gates::the_node_decides_for_pods_that_do_not_say", node),
        trial("gates::a_sandbox_is_left_alone", sandbox),
        trial("gates::a_container_of_no_pod", no_pod),
        trial("gates::another_config_is_taken_from_where_crun_takes_it", other_config),
    ]
}

fn kept(groups: &[u32], removed: &[u32]) -> State {
    State::Resolved { groups: groups.to_vec(), removed: removed.to_vec() }
}

fn declares(groups: &[u32]) -> State {
    State::Pending { declared: Some(groups.to_vec()) }
}

/// Creates, starts and looks: these groups, on disk and in the process.
fn comes_out(bundle: &Bundle, wrapper: &Wrapper, groups: &[u32]) -> Result<()> {
    let container = bundle.start(wrapper)?;
    ensure!(bundle.gids()? == json!(groups), "{} instead of {groups:?}", bundle.gids()?);
    container.expect(groups)
}

fn pending(world: &World) -> Result<()> {
    let wrapper = Wrapper::new(world, Real::Runc)?;
    let bundle = Bundle::new(world)?.by_crio()?.pending(world)?;
    comes_out(&bundle, &wrapper, &STRICT)?;
    ensure!(gates(&bundle.config())? == [gate(kept(&STRICT, &[50000]))], "{}", bundle.now()?);
    let mut now = bundle.now()?;
    let mut before = bundle.spec.clone();
    for spec in [&mut now, &mut before] {
        spec["process"]["user"]["additionalGids"] = json!(null);
        spec["hooks"] = json!(null);
    }
    ensure!(now == before, "something else was changed: {now}");
    ours(&bundle)
}

/// Of ours there is nothing in the bundle but the note that the wrapper made it.
fn ours(bundle: &Bundle) -> Result<()> {
    let files: Vec<_> = fs::read_dir(&bundle.path)?.flatten().map(|file| file.file_name()).collect();
    let ours: Vec<_> = files.iter().filter(|name| name.to_string_lossy().contains("strict-groups")).collect();
    ensure!(ours == ["strict-groups-runtime"], "{files:?}");
    let note = fs::symlink_metadata(bundle.path.join("strict-groups-runtime"))?;
    ensure!(
        note.is_file() && note.len() == 0 && note.mode() & 0o7777 == 0o600 && note.uid() == 0,
        "{note:?}"
    );
    Ok(())
}

fn declared(world: &World) -> Result<()> {
    let wrapper = Wrapper::new(world, Real::Runc)?;
    for (declared, groups) in [
        (&[4000][..], &[3000, 4000][..]),
        // Declared and in the image: nothing but the list can tell.
        (&[50000, 4000], &[3000, 50000, 4000]),
        (&[50000], &[3000, 50000]),
        (&[], &[3000]),
        // A group that the engine did not give is not added.
        (&[4000, 60000], &[3000, 4000]),
    ] {
        let bundle = Bundle::new(world)?.by_crio()?.gated(world, declares(declared))?;
        comes_out(&bundle, &wrapper, groups)?;
    }
    Ok(())
}

fn resolved(world: &World) -> Result<()> {
    let wrapper = Wrapper::new(world, Real::Runc)?;
    let bundle = Bundle::new(world)?.by_crio()?.groups(&STRICT)?.gated(world, kept(&STRICT, &[50000]))?;
    let before = fs::read(bundle.config())?;
    comes_out(&bundle, &wrapper, &STRICT)?;
    ensure!(fs::read(bundle.config())? == before, "written although it was right");
    ours(&bundle)?;
    // The spec has more than the gate allows: somebody changed it later.
    let bundle = Bundle::new(world)?.by_crio()?.gated(world, kept(&STRICT, &[]))?;
    comes_out(&bundle, &wrapper, &STRICT)
}

fn refused(world: &World) -> Result<()> {
    let wrapper = Wrapper::new(world, Real::Runc)?;
    let state = State::Refused { reason: "the record has no metadata".into() };
    for bundle in [
        Bundle::new(world)?.by_crio()?.gated(world, state.clone())?,
        Bundle::new(world)?.by_crio()?.gated(world, state.clone())?.pending(world)?,
        Bundle::new(world)?.by_crio()?.pending(world)?.gated(world, state)?,
    ] {
        let before = fs::read(bundle.config())?;
        let said = bundle.refused(&wrapper)?;
        ensure!(said.contains("pod default/web, container app") && said.contains("no metadata"), "{said}");
        ensure!(fs::read(bundle.config())? == before, "config.json was changed");
    }
    Ok(())
}

fn several(world: &World) -> Result<()> {
    let wrapper = Wrapper::new(world, Real::Runc)?;
    let none = State::Pending { declared: None };
    for (states, groups) in [
        ([none.clone(), none.clone()], &[3000, 4000][..]),
        // Where one of them knows the declared groups, nothing is guessed.
        ([none.clone(), declares(&[50000])], &[3000, 50000]),
        ([declares(&[50000]), none.clone()], &[3000, 50000]),
        ([declares(&[50000, 4000]), declares(&[4000])], &[3000, 4000]),
        ([none, kept(&[3000], &[50000, 4000])], &[3000]),
    ] {
        let [first, second] = states;
        let bundle = Bundle::new(world)?.by_crio()?.gated(world, first)?.gated(world, second)?;
        comes_out(&bundle, &wrapper, groups)?;
    }
    Ok(())
}

/// CRI-O puts the groups of CDI devices before the primary one.
fn devices(world: &World) -> Result<()> {
    let wrapper = Wrapper::new(world, Real::Runc)?;
    let made = [44, 50000, 3000, 50001, 4000];
    let group = format!("{GROUP}video:x:44:alice\nmore:x:50001:alice\n");
    for (state, groups) in [
        (State::Pending { declared: None }, &[44, 50000, 3000, 4000][..]),
        (declares(&[4000]), &[44, 50000, 3000, 4000]),
        (declares(&[]), &[44, 50000, 3000]),
    ] {
        let bundle = Bundle::new(world)?.by_crio()?.groups(&made)?.gated(world, state.clone())?;
        bundle.image(PASSWD, &group)?;
        comes_out(&bundle, &wrapper, groups)?;
    }
    // No other engine does, so there the first groups are the image's as well.
    let bundle = Bundle::new(world)?.groups(&made)?.pending(world)?;
    bundle.image(PASSWD, &group)?;
    comes_out(&bundle, &wrapper, &STRICT)
}

fn ungated(world: &World) -> Result<()> {
    let annotated = || Bundle::new(world)?.by_crio()?.annotated("Strict");
    let wrapper = Wrapper::new(world, Real::Runc)?;
    let bundle = annotated()?;
    comes_out(&bundle, &wrapper, &STRICT)?;
    // It has a gate from now on, behind which it is verified, and by which an exec is.
    ensure!(gates(&bundle.config())? == [gate(kept(&STRICT, &[50000]))], "{}", bundle.now()?);
    // The wrapper does the work, so nobody has to be let through without.
    let exempt = Wrapper::with(world, Real::Runc, "[exempt]\nnamespaces = [\"default\"]\n")?;
    comes_out(&annotated()?, &exempt, &STRICT)?;

    let refuse = "ungated = \"refuse\"\n";
    let wrapper = Wrapper::with(world, Real::Runc, refuse)?;
    let said = annotated()?.refused(&wrapper)?;
    ensure!(said.contains("pod default/web, container app") && said.contains("did not process"), "{said}");
    comes_out(&Bundle::new(world)?.by_crio()?.annotated("Merge")?, &wrapper, &MERGED)?;
    comes_out(&Bundle::new(world)?.by_crio()?.pending(world)?, &wrapper, &STRICT)?;
    let exempt = format!("{refuse}[exempt]\nnamespaces = [\"default\"]\n");
    comes_out(&annotated()?, &Wrapper::with(world, Real::Runc, &exempt)?, &MERGED)?;

    let said = Bundle::new(world)?.by_crio()?.annotated("strict")?.refused(&wrapper)?;
    ensure!(said.contains("write Strict or Merge"), "{said}");
    let mut bundle = Bundle::new(world)?.by_crio()?.annotated("Merge")?;
    bundle.spec["annotations"][format!("{ANNOTATION}/container.app")] = json!("Strict");
    bundle.write()?;
    comes_out(&bundle, &Wrapper::new(world, Real::Runc)?, &STRICT)
}

fn node(world: &World) -> Result<()> {
    let wrapper = Wrapper::new(world, Real::Runc)?;
    let path = Real::Runc.path(world);
    let set = |first: &str| wrapper.configure(&format!("{first}[runtime]\npath = \"{}\"\n", path.display()));
    set("default_policy = \"Strict\"\n")?;
    comes_out(&Bundle::new(world)?.by_crio()?, &wrapper, &STRICT)?;
    let said = Bundle::new(world)?.by_crio()?.annotated("Merge")?.refused(&wrapper)?;
    ensure!(said.contains("demands Strict"), "{said}");
    set("default_policy = \"Strict\"\npods_may_override = true\n")?;
    comes_out(&Bundle::new(world)?.by_crio()?.annotated("Merge")?, &wrapper, &MERGED)
}

fn sandbox(world: &World) -> Result<()> {
    let wrapper = Wrapper::new(world, Real::Runc)?;
    let mut bundle = Bundle::new(world)?.by_crio()?.annotated("Strict")?;
    bundle.spec["annotations"]["io.kubernetes.cri-o.SandboxID"] = json!(bundle.id);
    bundle.write()?;
    comes_out(&bundle, &wrapper, &MERGED)
}

/// podman's: the annotation is on the container itself, and its name is its id.
fn no_pod(world: &World) -> Result<()> {
    let wrapper = Wrapper::new(world, Real::Runc)?;
    comes_out(&Bundle::new(world)?.annotated("Strict")?, &wrapper, &STRICT)?;
    let bundle = Bundle::new(world)?.annotated("strict")?;
    let said = bundle.refused(&wrapper)?;
    ensure!(said.contains(&bundle.id) && !said.contains("(unknown)"), "{said}");
    let mut bundle = Bundle::new(world)?;
    bundle.spec["annotations"][format!("{ANNOTATION}/container.app")] = json!("Strict");
    bundle.write()?;
    let said = bundle.refused(&wrapper)?;
    ensure!(said.contains(&bundle.id) && said.contains("this one is in none"), "{said}");
    Ok(())
}

/// crun looks for it where it is called, not in the bundle.
fn other_config(world: &World) -> Result<()> {
    let wrapper = Wrapper::new(world, Real::Crun)?;
    let bundle = Bundle::new(world)?.by_crio()?.pending(world)?;
    let (dir, decoy) = (world.folder()?, fs::read(bundle.config())?);
    fs::rename(bundle.config(), dir.join("other.json"))?;
    fs::write(Path::new(bundle.dir()).join("other.json"), &decoy)?;
    let mut command = wrapper.command(&["create", "--bundle", bundle.dir(), "-f", "other.json", &bundle.id]);
    let output = finish(command.current_dir(&dir), &wrapper.dir)?;
    // The gate knows the bundle's own file only, which is not there.
    ensure!(!output.status.success(), "{output:?}");
    let spec: Value = serde_json::from_slice(&fs::read(dir.join("other.json"))?)?;
    wrapper.output(&["delete", "--force", &bundle.id])?;
    ensure!(spec["process"]["user"]["additionalGids"] == json!(STRICT), "{spec}");
    ensure!(fs::read(Path::new(bundle.dir()).join("other.json"))? == decoy, "the other one was changed");
    Ok(())
}
