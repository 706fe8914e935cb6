//! What the underlying OCI runtime gets is what the wrapper got: a double of it writes down what it sees.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use libtest_mimic::Trial;

use e2e::executable::script;
use e2e::wrapper::bundle::Bundle;
use e2e::wrapper::command::{Real, Wrapper, finish};
use e2e::wrapper::world::{World, trial};

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial("handed_over::arguments_environment_descriptors_and_process", every_call),
        trial("handed_over::by_the_name_of_the_program", by_name),
        trial("handed_over::exec_in_a_container_that_is_not_there", unknown_container),
    ]
}

/// A double of a real runtime: writes what it was given into `seen`, prints a line on both outputs,
/// ends with 42. It is a shell, so it keeps descriptors from 10 on for itself.
fn double(dir: &Path) -> Result<(PathBuf, PathBuf)> {
    let (path, seen) = (dir.join("double"), dir.join("seen"));
    fs::create_dir_all(&seen)?;
    let folder = seen.display();
    script(
        &path,
        &format!(
            "#!/bin/sh\n\
             /bin/cat /proc/$$/environ >{folder}/environ\n\
             /bin/cat /proc/$$/cmdline >{folder}/cmdline\n\
             while read -r key value; do case $key in SigBlk:|SigIgn:|Umask:) echo $key $value;; esac; done \
             </proc/self/status >{folder}/status\n\
             for fd in 0 1 2 3 4 5 6 7 8 9; do /bin/readlink /proc/$$/fd/$fd; echo $fd; done >{folder}/fds\n\
             echo $$ >{folder}/pid\n\
             echo out; echo err >&2; exit 42\n"
        ),
    )?;
    Ok((path, seen))
}

/// Runs `command` as a shell's own process with two more descriptors and an odd environment; gives what
/// the double saw, with its process, and both outputs.
fn seen(command: &Command, dir: &Path, folder: &Path) -> Result<BTreeMap<String, Vec<u8>>> {
    let mut shell = Command::new("/bin/sh");
    shell.arg("-c").arg("echo $$ >\"$0/shell\"; exec 5<\"$0/shell\" 8>>\"$0/eight\"; exec \"$@\"");
    shell.arg(dir).arg(command.get_program()).args(command.get_args());
    shell.env_clear().env("EMPTY", "").env("_OCI_SYNCPIPE", "3").env("NOTIFY_SOCKET", "/x").current_dir("/");
    let output = finish(&mut shell, dir)?;
    ensure!(output.status.code() == Some(42), "{output:?}");
    ensure!(output.stdout == b"out\n" && output.stderr == b"err\n", "{output:?}");
    let mut seen = BTreeMap::new();
    for name in ["environ", "cmdline", "status", "fds"] {
        seen.insert(name.to_owned(), fs::read(folder.join(name))?);
    }
    let (shell, pid) = (fs::read_to_string(dir.join("shell"))?, fs::read_to_string(folder.join("pid"))?);
    ensure!(shell == pid, "another process: {pid} instead of {shell}");
    // Both outputs are files without a name.
    for (name, text) in &mut seen {
        if name == "fds" {
            *text = String::from_utf8_lossy(text)
                .lines()
                .map(|line| if line.contains(" (deleted)") { "output\n".into() } else { format!("{line}\n") })
                .collect::<String>()
                .into_bytes();
        }
    }
    Ok(seen)
}

fn every_call(world: &World) -> Result<()> {
    let wrapper = Wrapper::new(world, Real::Runc)?;
    let (double, folder) = double(&wrapper.dir)?;
    wrapper.configure(&format!("[runtime]\npath = \"{}\"\n", double.display()))?;
    let plain = Bundle::new(world)?;
    let strict = Bundle::new(world)?.by_crio()?.pending(world)?;

    let (plain_dir, strict_dir) = (plain.dir().to_owned(), strict.dir().to_owned());
    let mut calls: Vec<Vec<OsString>> = [
        "--version",
        "-v",
        "features",
        "",
        "--root /r state c1",
        "--root=/r --systemd-cgroup start c1",
        "kill c1 15",
        "delete --force c1",
        "update --resources - c1",
        "pause c1",
        "resume c1",
        "checkpoint --image-path /i c1",
        "frobnicate --bundle /nowhere c1",
        "--log /l --log-format json list",
        "exec c1 id",
        "create --help",
    ]
    .iter()
    .map(|line| line.split_whitespace().map(OsString::from).collect())
    .collect();
    calls[15] = vec!["events".into(), "--stats".into(), "".into(), OsString::from_vec(b"\xff\n".to_vec())];
    calls.push(["create", "--bundle", &plain_dir, "--pid-file", "/p", "c1"].map(OsString::from).to_vec());
    calls.push(["create", "--bundle", &strict_dir, "--pid-file", "/p", "c1"].map(OsString::from).to_vec());
    calls.push(["run", "-d", "--bundle", &plain_dir, "c1"].map(OsString::from).to_vec());
    calls.push(["restore", "-d", "--bundle", &plain_dir, "c1"].map(OsString::from).to_vec());

    for call in calls {
        let direct = seen(Command::new(&double).args(&call), &wrapper.dir, &folder)?;
        let through = seen(wrapper.bare().args(&call), &wrapper.dir, &folder)?;
        for (name, direct) in &direct {
            let through = through.get(name).context("missing")?;
            ensure!(
                direct == through,
                "{call:?}: {name}\nwithout: {:?}\nwith: {:?}",
                String::from_utf8_lossy(direct),
                String::from_utf8_lossy(through)
            );
        }
    }
    ensure!(
        strict.gids()? == serde_json::json!(e2e::wrapper::bundle::STRICT),
        "the wrapper did not do its own work"
    );
    Ok(())
}

/// A link of the name is the wrapper, with the configuration at its usual place. The machine's own
/// /etc is left alone.
fn by_name(world: &World) -> Result<()> {
    let wrapper = Wrapper::new(world, Real::Runc)?;
    let (double, _) = double(&wrapper.dir)?;
    let link = wrapper.dir.join("strict-groups-runtime");
    symlink(wrapper.binary(), &link)?;
    let call = |text: &str, args: &[&OsStr]| {
        wrapper.configure(text)?;
        let mut command = Command::new("unshare");
        command.args(["--mount", "/bin/sh", "-c"]).arg(
            "mount -t tmpfs -o mode=755 tmpfs /etc && mkdir /etc/strict-groups && \
             cp \"$0\" /etc/strict-groups/config.toml && exec \"$@\"",
        );
        command.arg(wrapper.config()).arg(&link).args(args);
        finish(&mut command, &wrapper.dir)
    };
    let output = call(&format!("[runtime]\npath = \"{}\"\n", double.display()), &["features".as_ref()])?;
    ensure!(output.status.code() == Some(42) && output.stdout == b"out\n", "{output:?}");
    // It is a runtime by this name and nothing else: no help, no version of its own.
    let output = call(&format!("[runtime]\npath = \"{}\"\n", double.display()), &["--help".as_ref()])?;
    ensure!(output.status.code() == Some(42), "{output:?}");

    let itself = format!("[runtime]\npath = \"{}\"\n", link.display());
    let said = e2e::wrapper::command::one_line(&call(&itself, &["state".as_ref(), "c1".as_ref()])?)?;
    ensure!(said.contains("strict-groups itself") && said.contains("runtime.path"), "{said}");
    Ok(())
}

/// The underlying OCI runtime knows best what to say about it.
fn unknown_container(world: &World) -> Result<()> {
    for real in e2e::wrapper::command::BOTH {
        let wrapper = Wrapper::new(world, real)?;
        let bundle = Bundle::new(world)?;
        let file = bundle.process_file("process", &["cat"])?;
        let output = wrapper.output(&["exec", "--process", file.to_str().context("no text")?, "nobody"])?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(!output.status.success() && !said.contains("strict-groups: "), "{said}");
        ensure!(said.contains("not exist") || said.contains("No such file"), "{said}");
    }
    Ok(())
}
