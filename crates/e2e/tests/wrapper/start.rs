//! `start`: the process that waits is judged, not the files; `run` and `restore`, which have no such moment.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use libtest_mimic::Trial;
use serde_json::{Value, json};
use strict_groups_core::gate::State;

use e2e::wrapper::bundle::{Bundle, Container, MERGED, STRICT};
use e2e::wrapper::command::{BOTH, Real, Wrapper, finish};
use e2e::wrapper::world::{World, trial};
use e2e::{executable::script, wait_for};

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial("start::process_with_more_than_config_json_is_refused", |world| each(world, wide)),
        trial("start::process_in_a_user_namespace_is_judged_by_its_own_ids", |world| {
            each(world, user_namespace)
        }),
        trial("start::image_that_renames_a_declared_group_never_runs", renamed),
        trial("start::config_json_with_more_than_the_gate_is_refused", |world| each(world, edited)),
        trial("start::container_of_before_the_wrapper_is_judged_again", |world| each(world, before)),
        trial("start::state_that_says_too_little_is_refused", doubt),
        trial("start::container_that_cannot_start_is_the_runtimes_to_report", |world| each(world, not_ours)),
        trial("start::every_id_that_a_runtime_takes_is_found", |world| each(world, ids)),
        trial("start::merge_costs_no_process", |world| each(world, no_process)),
        trial("start::run_and_restore_of_strict_are_refused", |world| each(world, run_and_restore)),
    ]
}

fn each(world: &World, test: fn(&World, Real) -> Result<()>) -> Result<()> {
    BOTH.into_iter().try_for_each(|real| test(world, real).with_context(|| format!("{real:?}")))
}

/// A runtime that gives the process group 50000 as well, and shows the gate a config.json without it.
pub(crate) fn widening(world: &World, real: Real, dir: &Path) -> Result<PathBuf> {
    let path = dir.join(format!("widening-{real:?}").to_lowercase());
    let program = real.path(world);
    script(
        &path,
        &format!(
            "#!/bin/sh\n\
             for argument; do\n\
             [ \"$before\" = --bundle ] && bundle=$argument\n\
             [ \"$argument\" = create ] && create=1\n\
             before=$argument\n\
             done\n\
             if [ \"$create\" ]; then\n\
             hook='{{\"path\":\"/bin/cp\",\"args\":[\"cp\",\"'$bundle'/narrow\",\"'$bundle'/config.json\"]}}'\n\
             cp \"$bundle/config.json\" \"$bundle/narrow\"\n\
             sed -e 's/\"additionalGids\": *\\[/&50000,/' -e \"s|\\\"createRuntime\\\": *\\[|&$hook,|\" \
             \"$bundle/narrow\" >\"$bundle/config.json\"\n\
             fi\n\
             exec {} \"$@\"\n",
            program.display()
        ),
    )?;
    Ok(path)
}

/// The wrapper before it.
fn widened(world: &World, real: Real) -> Result<Wrapper> {
    let wrapper = Wrapper::new(world, real)?;
    let path = widening(world, real, &wrapper.dir)?;
    wrapper.configure(&format!("[runtime]\npath = \"{}\"\n", path.display()))?;
    Ok(wrapper)
}

/// Gives the container a volume, and a program that leaves a file in it.
fn observed(mut bundle: Bundle) -> Result<Bundle> {
    let volume = bundle.path.join("volume");
    fs::create_dir(&volume)?;
    fs::set_permissions(&volume, std::os::unix::fs::PermissionsExt::from_mode(0o777))?;
    fs::create_dir(bundle.rootfs().join("volume"))?;
    let mounts = bundle.spec["mounts"].as_array_mut().context("no mounts")?;
    mounts.push(
        json!({ "destination": "/volume", "type": "bind", "source": volume, "options": ["bind", "rw"] }),
    );
    let program = "cat /proc/self/status >/volume/ran; exec sleep 2147483647";
    bundle.spec["process"]["args"] = json!(["/bin/sh", "-c", program]);
    bundle.write()?;
    Ok(bundle)
}

fn ran(bundle: &Bundle) -> bool {
    bundle.path.join("volume/ran").exists()
}

/// `start` is refused with one line, and the program has not run.
fn refused(bundle: &Bundle, wrapper: &Wrapper) -> Result<String> {
    let said = wrapper.refused(&["start", &bundle.id])?;
    std::thread::sleep(Duration::from_millis(100));
    ensure!(!ran(bundle), "the image's program ran: {said}");
    Ok(said)
}

/// `start` succeeds, and the program has these groups.
fn starts(bundle: &Bundle, wrapper: &Wrapper, groups: &[u32]) -> Result<()> {
    wrapper.ok(&["start", &bundle.id])?;
    let file = bundle.path.join("volume/ran");
    let said = wait_for(Duration::from_secs(20), || {
        fs::read_to_string(&file).ok().filter(|text| text.contains("nonvoluntary_ctxt_switches"))
    });
    let said = said.context("the program did not run")?;
    let identity = e2e::Identity::from_status(&said)?;
    ensure!(identity.groups() == groups.iter().copied().collect(), "{identity}, wanted {groups:?}");
    Ok(())
}

fn strict(world: &World) -> Result<Bundle> {
    observed(Bundle::new(world)?.by_crio()?.pending(world)?)
}

fn named(said: &str) -> Result<()> {
    ensure!(said.contains("pod default/web, container app: "), "no name: {said}");
    Ok(())
}

/// crun keeps the spec that it made the container from; puts the narrow one there too.
fn hide(wrapper: &Wrapper, bundle: &Bundle) -> Result<()> {
    let kept = wrapper.root().join(&bundle.id).join("config.json");
    if kept.exists() {
        fs::copy(bundle.config(), kept)?;
    }
    Ok(())
}

fn wide(world: &World, real: Real) -> Result<()> {
    let wrapper = widened(world, real)?;
    let bundle = strict(world)?;
    let container = bundle.create(&wrapper)?;
    container.expect(&[3000, 4000, 50000]).context("the attack does not work")?;
    ensure!(bundle.gids()? == json!(STRICT), "config.json shows the attack");
    if real == Real::Crun {
        let said = refused(&bundle, &wrapper)?;
        named(&said)?;
        ensure!(said.contains("Strict does not allow (50000)"), "{said}");
        hide(&wrapper, &bundle)?;
    }
    let said = refused(&bundle, &wrapper)?;
    named(&said)?;
    ensure!(said.contains("the created process holds groups") && said.contains("(50000)"), "{said}");
    // It can still be ended, and nothing but `start` is in its way.
    let state: Value = serde_json::from_str(&wrapper.ok(&["state", &bundle.id])?)?;
    ensure!(state["status"] == "created", "{state}");
    drop(container);
    ensure!(!wrapper.root().join(&bundle.id).exists(), "not deleted");

    // Merge is not judged.
    let merge = observed(Bundle::new(world)?.by_crio()?)?;
    let _container = merge.create(&wrapper)?;
    starts(&merge, &wrapper, &MERGED)
}

fn user_namespace(world: &World, real: Real) -> Result<()> {
    let mapped = |mut bundle: Bundle| -> Result<Bundle> {
        let map = json!([{ "containerID": 0, "hostID": 100_000, "size": 65536 }]);
        bundle.spec["linux"]["uidMappings"] = map.clone();
        bundle.spec["linux"]["gidMappings"] = map;
        let namespaces = bundle.spec["linux"]["namespaces"].as_array_mut().context("no namespaces")?;
        namespaces.push(json!({ "type": "user" }));
        let mounts = bundle.spec["mounts"].as_array_mut().context("no mounts")?;
        mounts.push(json!({ "destination": "/dev", "type": "tmpfs", "source": "tmpfs" }));
        bundle.write()?;
        Ok(bundle)
    };
    let wrapper = Wrapper::new(world, real)?;
    let bundle = mapped(strict(world)?)?;
    let container = bundle.create(&wrapper)?;
    let status = fs::read_to_string(format!("/proc/{}/status", container.pid))?;
    ensure!(status.contains("103000"), "no user namespace: {status}");
    starts(&bundle, &wrapper, &STRICT)?;

    let wrapper = widened(world, real)?;
    let bundle = mapped(strict(world)?)?;
    let _container = bundle.create(&wrapper)?;
    hide(&wrapper, &bundle)?;
    let said = refused(&bundle, &wrapper)?;
    named(&said)?;
    ensure!(said.contains("the created process holds groups") && said.contains("(50000)"), "{said}");
    Ok(())
}

/// runc before 1.3 looks a group up by name, in a file that the gate, in another PID namespace, does not see. Who
/// refuses it does not matter: nothing of the image may run.
fn renamed(world: &World) -> Result<()> {
    let wrapper = Wrapper::new(world, Real::Runc)?;
    for (link, lines) in [
        ("/proc/self/root/etc/grp", "4000:x:50000:\n"),
        ("/proc/thread-self/root/etc/grp", "4000:x:50000:\n"),
        ("/proc/self/cwd/etc/grp", "3000:x:0:\n"),
    ] {
        let declared = State::Pending { declared: Some(vec![4000]) };
        let bundle = observed(Bundle::new(world)?.by_crio()?.gated(world, declared)?)?;
        fs::remove_file(bundle.rootfs().join("etc/group"))?;
        std::os::unix::fs::symlink(link, bundle.rootfs().join("etc/group"))?;
        fs::write(bundle.rootfs().join("etc/grp"), lines)?;
        let output = wrapper.output(&["create", "--bundle", bundle.dir(), &bundle.id])?;
        let container = Container { wrapper: &wrapper, id: bundle.id.clone(), pid: 0 };
        let said = if output.status.success() {
            refused(&bundle, &wrapper)?
        } else {
            String::from_utf8_lossy(&output.stderr).into_owned()
        };
        named(&said)?;
        drop(container);
        ensure!(!ran(&bundle), "the image's program ran");
    }
    Ok(())
}

/// Who changes config.json behind the gate changes nothing for the process; its execs would have the groups.
fn edited(world: &World, real: Real) -> Result<()> {
    let wrapper = Wrapper::new(world, real)?;
    let bundle = strict(world)?;
    let _container = bundle.create(&wrapper)?;
    let good = fs::read(bundle.config())?;
    let mut more = bundle.now()?;
    more["process"]["user"]["additionalGids"] = json!(MERGED);
    fs::write(bundle.config(), more.to_string())?;
    hide(&wrapper, &bundle)?;
    let said = refused(&bundle, &wrapper)?;
    named(&said)?;
    ensure!(said.contains("Strict does not allow (50000)"), "{said}");
    fs::write(bundle.config(), good)?;
    hide(&wrapper, &bundle)?;
    starts(&bundle, &wrapper, &STRICT)
}

fn before(world: &World, real: Real) -> Result<()> {
    let wrapper = Wrapper::new(world, real)?;
    // The same runtime and its state, without the wrapper.
    let create = |bundle: &Bundle| -> Result<Container<'_>> {
        let through = wrapper.command(&["create", "--bundle", bundle.dir(), &bundle.id]);
        let args: Vec<_> = through.get_args().skip_while(|arg| *arg != "--").skip(1).collect();
        let output = finish(Command::new(real.path(world)).args(args), &wrapper.dir)?;
        ensure!(output.status.success(), "{output:?}");
        Ok(Container { wrapper: &wrapper, id: bundle.id.clone(), pid: 0 })
    };
    let bundle = observed(Bundle::new(world)?.by_crio()?.annotated("Strict")?)?;
    let container = create(&bundle)?;
    let said = refused(&bundle, &wrapper)?;
    named(&said)?;
    ensure!(said.contains("was created without it") && said.contains("delete the pod"), "{said}");
    drop(container);
    let typo = observed(Bundle::new(world)?.by_crio()?.annotated("strict")?)?;
    let container = create(&typo)?;
    ensure!(refused(&typo, &wrapper)?.contains("write Strict or Merge"));
    drop(container);

    let marked = || -> Result<Bundle> {
        let mut bundle = Bundle::new(world)?.by_crio()?.annotated("Strict")?;
        let path = e2e::plugin::binary(&world.run)?;
        let marker = json!({ "path": path, "args": ["strict-groups", "hook", "--gate=merge"] });
        bundle.spec["hooks"] = json!({ "createRuntime": [marker] });
        observed(bundle)
    };
    for merge in [
        observed(Bundle::new(world)?.by_crio()?)?,
        observed(Bundle::new(world)?.by_crio()?.annotated("Merge")?)?,
        observed(Bundle::new(world)?)?,
        marked()?,
    ] {
        let _container = create(&merge)?;
        starts(&merge, &wrapper, &MERGED)?;
    }

    let merge = observed(Bundle::new(world)?.by_crio()?)?;
    let _container = create(&merge)?;
    let good = fs::read_to_string(wrapper.config())?;
    wrapper.configure(&format!("{good}default_polcy = \"Strict\"\n"))?;
    let said = refused(&merge, &wrapper)?;
    named(&said)?;
    ensure!(said.contains("the policy of this node cannot be read"), "{said}");
    wrapper.configure(&good)?;
    starts(&merge, &wrapper, &MERGED)
}

fn doubt(world: &World) -> Result<()> {
    let wrapper = Wrapper::new(world, Real::Runc)?;
    let bundle = strict(world)?;
    let _container = bundle.create(&wrapper)?;
    let state = wrapper.root().join(&bundle.id).join("state.json");
    let (good, config) = (fs::read_to_string(&state)?, fs::read(bundle.config())?);
    let pid = good.split("\"init_process_pid\":").nth(1).context("no pid")?;
    let pid = pid.split(',').next().context("no pid")?;
    let with_pid = |other: &str| {
        good.replace(&format!("init_process_pid\":{pid}"), &format!("init_process_pid\":{other}"))
    };

    for (broken, text) in [
        ("{".to_owned(), "cannot be read"),
        // runc itself takes this for a container that has stopped.
        (with_pid("-1"), "names no process"),
        (with_pid("\"x\""), "cannot be read"),
        (with_pid("0"), "names no process"),
        (with_pid("4194303"), "has ended"),
        // Somebody else's process: ours.
        (with_pid(&std::process::id().to_string()), "the created process holds groups"),
    ] {
        fs::write(&state, &broken)?;
        let said = refused(&bundle, &wrapper)?;
        ensure!(said.contains(text), "no {text}: {said}");
        ensure!(said.contains(&bundle.id) || said.contains("pod default/web, container app: "), "{said}");
    }
    fs::write(&state, &good)?;

    let merge = observed(Bundle::new(world)?.by_crio()?)?;
    let _merge = merge.create(&wrapper)?;
    for bundle in [&bundle, &merge] {
        for content in [None, Some(""), Some("{\"process\":{},\"Process\":{}}")] {
            match content {
                None => fs::remove_file(bundle.config())?,
                Some(content) => fs::write(bundle.config(), content)?,
            }
            let said = refused(bundle, &wrapper)?;
            ensure!(said.contains(&bundle.id) && said.contains("config.json"), "{said}");
        }
    }
    fs::write(bundle.config(), config)?;
    merge.write()?;
    // With an option that nobody knows the container is found all the same.
    let output = wrapper.output(&["start", "--new", &bundle.id])?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(!output.status.success() && !said.contains("strict-groups: "), "{said}");
    let said = wrapper.refused(&["start", "--new", "nobody"])?;
    ensure!(said.contains("\"--new\" of start is not known") && said.contains("container nobody"), "{said}");
    starts(&merge, &wrapper, &MERGED)?;
    starts(&bundle, &wrapper, &STRICT)
}

fn own_words(output: &Output) -> Result<()> {
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(!output.status.success() && !said.is_empty() && !said.contains("strict-groups: "), "{output:?}");
    Ok(())
}

fn not_ours(world: &World, real: Real) -> Result<()> {
    let wrapper = Wrapper::new(world, real)?;
    own_words(&wrapper.output(&["start", "nobody"])?)?;
    for args in [&["start"][..], &["start", ""], &["start", ".."]] {
        own_words(&wrapper.output(args)?)?;
    }

    let bundle = strict(world)?;
    let container = bundle.create(&wrapper)?;
    starts(&bundle, &wrapper, &STRICT)?;
    own_words(&wrapper.output(&["start", &bundle.id])?).context("started twice")?;
    container.expect(&STRICT)?;

    // Whether the process has gone for good depends on who reaps it here.
    let bundle = strict(world)?;
    let container = bundle.create(&wrapper)?;
    wrapper.ok(&["kill", &bundle.id, "KILL"])?;
    wait_for(Duration::from_secs(20), || {
        let status = fs::read_to_string(format!("/proc/{}/status", container.pid)).unwrap_or_default();
        (!status.contains("\nState:\tS") && !status.contains("\nState:\tR")).then_some(())
    })
    .context("it does not end")?;
    let output = wrapper.output(&["start", &bundle.id])?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(!output.status.success() && !ran(&bundle), "{output:?}");
    ensure!(!said.contains("strict-groups: ") || said.contains("has ended"), "{said}");
    Ok(())
}

fn ids(world: &World, real: Real) -> Result<()> {
    // runc takes letters, digits and `+-_.`; this crun makes a keyring of the id, and none begins with a dot.
    let ids = match real {
        Real::Runc => &[".x", "..x", "a..b", "a+b_c"][..],
        Real::Crun => &["a b", "é", "a..b", "a\nb"],
    };
    let wrapper = widened(world, real)?;
    for id in ids {
        let mut bundle = strict(world)?;
        (*id).clone_into(&mut bundle.id);
        bundle.spec["annotations"]["io.kubernetes.cri-o.ContainerID"] = json!(id);
        bundle.write()?;
        let _container = bundle.create(&wrapper)?;
        let said = refused(&bundle, &wrapper).with_context(|| format!("{id:?}"))?;
        named(&said)?;
    }
    let mut bundle = strict(world)?;
    "-x".clone_into(&mut bundle.id);
    wrapper.ok(&["create", "--bundle", bundle.dir(), "--", "-x"])?;
    let said = wrapper.refused(&["start", "--", "-x"]);
    wrapper.ok(&["delete", "--force", "--", "-x"])?;
    ensure!(!ran(&bundle), "the image's program ran");
    named(&said?)
}

/// The state file and config.json say all. Also without `--root`, where crun goes by its environment.
fn no_process(world: &World, real: Real) -> Result<()> {
    let wrapper = Wrapper::new(world, real)?;
    let (counting, calls) = (wrapper.dir.join(format!("{real:?}").to_lowercase()), wrapper.dir.join("calls"));
    script(
        &counting,
        &format!(
            "#!/bin/sh\necho \"$*\" >>{}\nexec {} \"$@\"\n",
            calls.display(),
            real.path(world).display()
        ),
    )?;
    wrapper.configure(&format!("[runtime]\npath = \"{}\"\n", counting.display()))?;
    for bundle in [observed(Bundle::new(world)?.by_crio()?)?, strict(world)?] {
        let _container = bundle.create(&wrapper)?;
        fs::remove_file(&calls)?;
        wrapper.ok(&["start", &bundle.id])?;
        let seen = fs::read_to_string(&calls)?;
        ensure!(seen.lines().count() == 1 && seen.contains(" start "), "{seen}");
        fs::remove_file(&calls)?;
    }
    if real == Real::Crun {
        let call = |args: &[&str]| {
            let mut command = wrapper.bare();
            command.args(["--cgroup-manager=disabled"]).args(args).env("XDG_RUNTIME_DIR", wrapper.root());
            finish(&mut command, &wrapper.dir)
        };
        let bundle = strict(world)?;
        let output = call(&["create", "--bundle", bundle.dir(), &bundle.id])?;
        ensure!(
            output.status.success() && wrapper.root().join("crun").join(&bundle.id).exists(),
            "{output:?}"
        );
        fs::remove_file(&calls)?;
        let output = call(&["start", &bundle.id])?;
        call(&["delete", "--force", &bundle.id])?;
        ensure!(output.status.success() && fs::read_to_string(&calls)?.lines().count() == 2, "{output:?}");
    }
    Ok(())
}

fn run_and_restore(world: &World, real: Real) -> Result<()> {
    let wrapper = Wrapper::new(world, real)?;
    let resolved = State::Resolved { groups: STRICT.to_vec(), removed: vec![50000] };
    for bundle in [
        strict(world)?,
        observed(Bundle::new(world)?.by_crio()?.annotated("Strict")?)?,
        observed(Bundle::new(world)?.by_crio()?.groups(&STRICT)?.gated(world, resolved)?)?,
    ] {
        let before = fs::read(bundle.config())?;
        for (verb, text) in [
            ("run", "use `create` and `start`"),
            ("restore", "the processes of a checkpoint bring their own groups"),
        ] {
            let said = wrapper.refused(&[verb, "--detach", "--bundle", bundle.dir(), &bundle.id])?;
            named(&said)?;
            ensure!(said.contains(text), "{said}");
            ensure!(
                !wrapper.root().join(&bundle.id).exists() && !ran(&bundle),
                "the underlying OCI runtime was called"
            );
            ensure!(fs::read(bundle.config())? == before, "config.json was changed");
        }
    }
    let no_pod = observed(Bundle::new(world)?.annotated("Strict")?)?;
    let said = wrapper.refused(&["run", "--bundle", no_pod.dir(), &no_pod.id])?;
    ensure!(said.contains(&no_pod.id) && said.contains("use `create` and `start`"), "{said}");
    let typo = observed(Bundle::new(world)?.by_crio()?.annotated("strict")?)?;
    for verb in ["run", "restore"] {
        let said = wrapper.refused(&[verb, "--bundle", typo.dir(), &typo.id])?;
        ensure!(said.contains("write Strict or Merge"), "{said}");
        let said = wrapper.refused(&[verb, "--bundle", "/nonexistent", "c1"])?;
        ensure!(said.contains("container c1") && said.contains("/nonexistent/config.json"), "{said}");
    }

    for mut merge in [observed(Bundle::new(world)?.by_crio()?)?, observed(Bundle::new(world)?)?] {
        merge.spec["process"]["args"] = json!(["cat", "/proc/self/status"]);
        merge.write()?;
        let before = fs::read(merge.config())?;
        let said = wrapper.ok(&["run", "--bundle", merge.dir(), &merge.id])?;
        let identity = e2e::Identity::from_status(&said)?;
        ensure!(identity.groups() == MERGED.into(), "{identity}");
        // No criu is here: the runtime says so.
        own_words(&wrapper.output(&["restore", "--bundle", merge.dir(), &merge.id])?)?;
        ensure!(fs::read(merge.config())? == before, "config.json was changed");
    }
    Ok(())
}
