//! Whatever is broken, a Strict container is not made with other groups, and who reads the message
//! knows what to do.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::process::{Command, Output};

use anyhow::{Context, Result, ensure};
use libtest_mimic::Trial;
use nix::sys::stat::Mode;
use serde_json::Value;

use e2e::executable::script;
use e2e::wrapper::bundle::{Bundle, STRICT};
use e2e::wrapper::command::{Real, Wrapper, finish, one_line};
use e2e::wrapper::world::{World, trial};

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial("faults::config_json", config_json),
        trial("faults::a_bundle_that_cannot_be_written", read_only),
        trial("faults::no_space_in_the_bundle", disk_full),
        trial("faults::the_underlying_runtime", real_runtime),
        trial("faults::the_nodes_configuration", node_configuration),
        trial("faults::the_process_file_of_an_exec", process_file),
        trial("faults::the_bundle_of_a_running_container", bundle_gone),
        trial("faults::a_state_that_cannot_be_asked_for", state_unknown),
        trial("faults::the_log_gets_the_reason", log),
    ]
}

fn strict(world: &World) -> Result<Bundle> {
    Bundle::new(world)?.by_crio()?.pending(world)
}

fn config_json(world: &World) -> Result<()> {
    let wrapper = Wrapper::new(world, Real::Runc)?;
    let said = |spoil: &dyn Fn(&Bundle) -> Result<()>| -> Result<String> {
        let bundle = strict(world)?;
        spoil(&bundle)?;
        let said = bundle.refused(&wrapper)?;
        ensure!(said.contains(&bundle.id), "which container? {said}");
        Ok(said)
    };
    let text = said(&|bundle| Ok(fs::remove_dir_all(&bundle.path)?))?;
    ensure!(text.contains("cannot read") && text.contains("No such file"), "{text}");
    let text = said(&|bundle| Ok(fs::remove_file(bundle.config())?))?;
    ensure!(text.contains("config.json") && text.contains("No such file"), "{text}");
    let text = said(&|bundle| Ok(fs::File::create(bundle.config())?.set_len(100 << 20)?))?;
    ensure!(text.contains("larger than 16 MiB"), "{text}");
    let text = said(&|bundle| {
        fs::remove_file(bundle.config())?;
        Ok(nix::unistd::mkfifo(&bundle.config(), Mode::S_IRWXU)?)
    })?;
    ensure!(text.contains("not a regular file"), "{text}");
    let text = said(&|bundle| {
        fs::rename(bundle.config(), bundle.path.join("elsewhere"))?;
        Ok(symlink("elsewhere", bundle.config())?)
    })?;
    ensure!(text.contains("cannot read"), "{text}");
    let text = said(&|bundle| {
        let half = fs::read(bundle.config())?;
        Ok(fs::write(bundle.config(), half.get(..half.len() / 2).context("empty")?)?)
    })?;
    ensure!(text.contains("is not understood") && text.contains("line 1"), "{text}");
    let text = said(&|bundle| {
        let twice = fs::read_to_string(bundle.config())?.replacen("\"uid\"", "\"GID\":0,\"uid\"", 1);
        Ok(fs::write(bundle.config(), twice)?)
    })?;
    ensure!(text.contains("ambiguous"), "{text}");
    let text = said(&|bundle| Ok(fs::remove_dir_all(bundle.rootfs())?));
    ensure!(text.is_err(), "the names are known once the gate is: {text:?}");
    Ok(())
}

/// Runs `create` of the bundle in a mount namespace of its own, which `prepare` has changed.
fn create_in(wrapper: &Wrapper, bundle: &Bundle, path: &str, prepare: &str) -> Result<Output> {
    let create = wrapper.command(&["create", "--bundle", path, &bundle.id]);
    let mut command = Command::new("unshare");
    command.args(["--mount", "/bin/sh", "-c"]).arg(format!("{prepare}; exec \"$@\"")).arg(bundle.dir());
    command.arg(create.get_program()).args(create.get_args());
    let output = finish(&mut command, &wrapper.dir)?;
    ensure!(!wrapper.root().join(&bundle.id).exists(), "the underlying OCI runtime was called: {output:?}");
    Ok(output)
}

fn read_only(world: &World) -> Result<()> {
    let wrapper = Wrapper::new(world, Real::Runc)?;
    let bundle = strict(world)?;
    let mount = "set -e; mount --bind \"$0\" \"$0\"; mount -o remount,bind,ro \"$0\"";
    let said = one_line(&create_in(&wrapper, &bundle, bundle.dir(), mount)?)?;
    ensure!(said.contains("pod default/web, container app"), "{said}");
    ensure!(said.contains("cannot be replaced") && said.contains("Read-only file system"), "{said}");
    Ok(())
}

fn disk_full(world: &World) -> Result<()> {
    let wrapper = Wrapper::new(world, Real::Runc)?;
    let mut bundle = strict(world)?;
    bundle.spec["root"]["path"] = bundle.rootfs().to_string_lossy().into();
    bundle.write()?;
    let small = bundle.path.join("small");
    fs::create_dir(&small)?;
    let full = "set -e; mount -t tmpfs -o size=16k tmpfs \"$0/small\"; cp \"$0/config.json\" \"$0/small\"; \
                cat /dev/zero >\"$0/small/rest\" 2>/dev/null || :";
    let path = small.to_str().context("no text")?;
    let said = one_line(&create_in(&wrapper, &bundle, path, full)?)?;
    ensure!(said.contains("pod default/web, container app") && said.contains("No space left"), "{said}");
    Ok(())
}

fn real_runtime(world: &World) -> Result<()> {
    let wrapper = Wrapper::new(world, Real::Runc)?;
    let bundle = strict(world)?;
    let no_program = wrapper.dir.join("no-program");
    fs::write(&no_program, "")?;
    let other = world.folder()?;
    let copy = other.join("strict-groups-runtime");
    script(&copy, "#!/bin/sh\n")?;
    let link = other.join("runc");
    symlink(&copy, &link)?;
    for (path, text) in [
        ("/nonexistent/runc".into(), "No such file"),
        (no_program, "Permission denied"),
        (wrapper.binary().to_owned(), "strict-groups itself"),
        (copy, "strict-groups itself"),
        (link, "strict-groups itself"),
    ] {
        wrapper.configure(&format!("[runtime]\npath = \"{}\"\n", path.display()))?;
        for args in [&["create", "--bundle", bundle.dir(), &bundle.id][..], &["state", &bundle.id]] {
            let said = wrapper.refused(args)?;
            ensure!(said.contains(text) && said.contains("runtime.path"), "{said}");
        }
    }
    Ok(())
}

fn node_configuration(world: &World) -> Result<()> {
    let wrapper = Wrapper::new(world, Real::Runc)?;
    let running = Bundle::new(world)?.by_crio()?.pending(world)?;
    let container = running.start(&wrapper)?;
    let broken = fs::read_to_string(wrapper.config())? + "\ndefault_polcy = \"Strict\"\n";
    wrapper.configure(&broken)?;

    let state: Value = serde_json::from_str(&wrapper.ok(&["state", &container.id])?)?;
    ensure!(state["status"] == "running", "{state}");
    wrapper.ok(&["--version"])?;
    let file = running.process_file("process", &["cat", "/proc/self/status"])?;
    container.expect_exec(&["--process", file.to_str().context("no text")?], &[], &STRICT)?;

    // The policy may be the node's, so who has no gate waits; the gate of one that has it knows all.
    for ungated in [Bundle::new(world)?.by_crio()?.annotated("Strict")?, Bundle::new(world)?.by_crio()?] {
        let said = ungated.refused(&wrapper)?;
        for part in ["pod default/web, container app", "config.toml is wrong", "line 4", "default_polcy"] {
            ensure!(said.contains(part), "no {part}: {said}");
        }
    }
    strict(world)?.start(&wrapper)?.expect(&STRICT)?;

    // No TOML at all, or not root's alone. The path in it counts; one that somebody else wrote does not.
    let good = broken.replace("default_polcy", "default_policy");
    wrapper.configure(&format!("mode = \"enforce\n{good}"))?;
    wrapper.ok(&["state", &container.id])?;
    wrapper.configure(&good)?;
    fs::set_permissions(wrapper.config(), Permissions::from_mode(0o666))?;
    let output = wrapper.output(&["state", &container.id])?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(!output.status.success(), "a path was taken from a file that anybody may write");
    ensure!(said.contains("OCI runtime") && !said.contains("does not exist"), "it asked another one: {said}");
    fs::set_permissions(wrapper.config(), Permissions::from_mode(0o644))?;
    wrapper.ok(&["kill", &container.id, "KILL"])?;
    wrapper.ok(&["delete", "--force", &container.id])?;
    Ok(())
}

fn process_file(world: &World) -> Result<()> {
    for real in e2e::wrapper::command::BOTH {
        let wrapper = Wrapper::new(world, real)?;
        let bundle = strict(world)?;
        let container = bundle.start(&wrapper)?;
        let file = bundle.path.join("process");
        let path = file.to_str().context("no text")?;
        let refused = || wrapper.refused(&["exec", "--process", path, &container.id]);
        let said = refused()?;
        ensure!(said.contains(path) && said.contains("No such file"), "{said}");
        for broken in ["", "{\"user\":", "[]", "{\"user\":{\"gid\":-1}}", "{\"user\":{},\"User\":{}}"] {
            fs::write(&file, broken)?;
            let said = refused()?;
            ensure!(said.contains(path) && said.contains("is not understood"), "{broken}: {said}");
            ensure!(said.contains("pod default/web, container app"), "{said}");
        }
        fs::remove_file(&file)?;
        nix::unistd::mkfifo(&file, Mode::S_IRWXU)?;
        let said = refused()?;
        ensure!(said.contains("not a regular file"), "{said}");
    }
    Ok(())
}

/// An exec's groups are judged by the container's gate. Where that cannot be read, nothing runs.
fn bundle_gone(world: &World) -> Result<()> {
    let wrapper = Wrapper::new(world, Real::Runc)?;
    let bundle = strict(world)?;
    let container = bundle.start(&wrapper)?;
    let file = bundle.process_file("process", &["cat"])?;
    fs::rename(bundle.config(), bundle.path.join("elsewhere"))?;
    let said = wrapper.refused(&["exec", "-p", file.to_str().context("no text")?, &container.id])?;
    ensure!(said.contains(&container.id) && said.contains("config.json"), "{said}");
    Ok(())
}

/// A runtime whose files are not known is asked for the state. When that breaks, which is not the same
/// as that there is no such container, an exec must not go on.
fn state_unknown(world: &World) -> Result<()> {
    let wrapper = Wrapper::new(world, Real::Runc)?;
    let bundle = strict(world)?;
    let file = bundle.process_file("process", &["cat"])?;
    let file = file.to_str().context("no text")?;
    let other = wrapper.dir.join("other");
    for (says, text) in [
        ("echo '{\"pid\":'", "does not tell the state"),
        ("echo '{\"pid\":7}'", "does not tell the state"),
        ("kill -9 $$", "does not tell the state"),
    ] {
        script(&other, &format!("#!/bin/sh\ncase \"$*\" in *state*) {says};; *) echo ran;; esac\n"))?;
        wrapper.configure(&format!("[runtime]\npath = \"{}\"\n", other.display()))?;
        let said = wrapper.refused(&["exec", "--process", file, "c1"])?;
        ensure!(said.contains("container c1") && said.contains(text), "{says}: {said}");
    }

    // runc itself fails here as it does for a container that is not there.
    let wrapper = Wrapper::new(world, Real::Runc)?;
    let container = bundle.start(&wrapper)?;
    let state = wrapper.root().join(&container.id).join("state.json");
    let real = fs::read(&state)?;
    fs::write(&state, "{")?;
    let said = wrapper.refused(&["exec", "--process", file, &container.id]);
    fs::write(&state, real)?;
    let said = said?;
    ensure!(said.contains(&container.id) && said.contains("cannot be read"), "{said}");
    Ok(())
}

/// containerd and podman read the reason there.
fn log(world: &World) -> Result<()> {
    let wrapper = Wrapper::new(world, Real::Runc)?;
    let bundle = strict(world)?;
    fs::write(bundle.config(), "{\"a\":\"\\\"")?;
    let file = wrapper.dir.join("log.json");
    let global = ["--log", file.to_str().context("no text")?, "--log-format", "json"];
    let create = ["create", "--bundle", bundle.dir(), &bundle.id];
    let said = wrapper.refused(&[&global[..], &create].concat())?;
    let line: Value = serde_json::from_str(&fs::read_to_string(&file)?)?;
    ensure!(line["level"] == "error" && line["msg"] == said.trim_end(), "{line} instead of {said}");
    ensure!(line["time"].as_str().is_some_and(|time| time.ends_with('Z')), "no time: {line}");

    // The other format, and a place of crun's that is no file.
    let file = wrapper.dir.join("log.txt");
    wrapper.refused(&[&["--log", file.to_str().context("no text")?][..], &create].concat())?;
    let line = fs::read_to_string(&file)?;
    ensure!(
        line.contains("level=error msg=\"strict-groups: container") && line.lines().count() == 1,
        "{line}"
    );
    let mut command = wrapper.command(&[&["--log", "journald:x"][..], &create].concat());
    let output = finish(command.current_dir(&wrapper.dir), &wrapper.dir)?;
    one_line(&output)?;
    ensure!(!wrapper.dir.join("journald:x").exists(), "a file of that name");
    Ok(())
}
