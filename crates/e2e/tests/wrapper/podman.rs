//! podman with the wrapper as its runtime: nothing in it knows of Kubernetes or NRI.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use libtest_mimic::Trial;
use serde_json::json;

use crate::start::widening;
use e2e::image::Draft;
use e2e::wrapper::bundle::ANNOTATION;
use e2e::wrapper::command::{BOTH, Real, Wrapper, finish};
use e2e::wrapper::world::{World, trial};
use e2e::{Identity, run};

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial("podman::run_and_exec_of_the_example_pods_image", example),
        trial("podman::process_with_other_groups_never_runs", start_refused),
        trial("podman::a_refusal_shows_as_the_runtimes_own_error", refusal),
    ]
}

/// A podman that shares nothing with another one.
pub(crate) struct Podman {
    program: PathBuf,
    dir: PathBuf,
    runtime: PathBuf,
    run: String,
}

impl Podman {
    pub(crate) fn new(world: &World, runtime: &Path) -> Result<Self> {
        let dir = world.folder()?;
        fs::create_dir_all(dir.join("home/.config/containers"))?;
        fs::write(
            dir.join("home/.config/containers/policy.json"),
            json!({ "default": [{ "type": "insecureAcceptAnything" }] }).to_string(),
        )?;
        fs::write(
            dir.join("storage.conf"),
            format!(
                "[storage]\ndriver = \"vfs\"\nrunroot = \"{0}/runroot\"\ngraphroot = \"{0}/root\"\n",
                dir.display()
            ),
        )?;
        fs::write(
            dir.join("containers.conf"),
            format!(
                "[engine]\nconmon_path = [\"{}\"]\n[network]\nnetwork_backend = \"cni\"\n\
                 network_config_dir = \"{}/net\"\ncni_plugin_dirs = [\"{}\"]\n",
                world.machine.conmon().display(),
                dir.display(),
                world.machine.cni_plugins().display()
            ),
        )?;
        let (program, run) = (world.machine.podman(), world.run.name().to_owned());
        Ok(Self { program, dir, runtime: runtime.to_owned(), run })
    }

    fn command(&self, args: &[impl AsRef<OsStr>]) -> Command {
        let mut command = Command::new(&self.program);
        command.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").env(run::VARIABLE, &self.run);
        for (variable, file) in [
            ("HOME", "home"),
            ("TMPDIR", "."),
            ("CONTAINERS_CONF", "containers.conf"),
            ("CONTAINERS_STORAGE_CONF", "storage.conf"),
        ] {
            command.env(variable, self.dir.join(file));
        }
        command.env("CONTAINERS_REGISTRIES_CONF", "/dev/null");
        for (option, folder) in [("--root", "root"), ("--runroot", "runroot"), ("--tmpdir", "tmp")] {
            command.arg(option).arg(self.dir.join(folder));
        }
        command.args(["--cgroup-manager=cgroupfs", "--events-backend=none", "--runtime"]).arg(&self.runtime);
        command.args(args).stdin(Stdio::null());
        command
    }

    /// Runs it to its end; what it printed, and whether it succeeded.
    pub(crate) fn output(&self, args: &[impl AsRef<OsStr>]) -> Result<(bool, String, String)> {
        let output = finish(&mut self.command(args), &self.dir)?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Ok((output.status.success(), text(&output.stdout), text(&output.stderr)))
    }

    fn ok(&self, args: &[impl AsRef<OsStr>]) -> Result<String> {
        let (success, out, err) = self.output(args)?;
        ensure!(success, "podman: {err}");
        Ok(out)
    }

    /// `run` with what this machine needs, in the run's own cgroup.
    pub(crate) fn run(&self, more: &[&str]) -> Vec<String> {
        let parent = format!("--cgroup-parent=/{}", self.run);
        let limits = ["--net=host", "--ulimit=nofile=1024:1024", "--ulimit=nproc=1024:1024"];
        [&["run", &parent], &limits[..], more].concat().into_iter().map(str::to_owned).collect()
    }

    /// Loads the image. podman keeps notes about what it loads below /var/lib, wherever its storage is:
    /// they go to a tmpfs that nobody else sees.
    fn load(&self, world: &World) -> Result<&'static str> {
        let name = "localhost/strict-groups/podman:1";
        let image = Draft::new(name)
            .user("alice")
            .passwd(e2e::wrapper::bundle::PASSWD)
            .group(e2e::wrapper::bundle::GROUP)
            .build(&world.machine)?;
        let archive = self.dir.join("image.tar");
        fs::write(&archive, image.archive())?;
        let load = self.command(&["load", "--input", archive.to_str().context("no text")?]);
        let mut command = Command::new("unshare");
        command.args(["--mount", "/bin/sh", "-c", "mount -t tmpfs tmpfs /var/lib && exec \"$0\" \"$@\""]);
        command.arg(load.get_program()).args(load.get_args()).env_clear();
        command.envs(load.get_envs().filter_map(|(key, value)| Some((key, value?)))).stdin(Stdio::null());
        let output = finish(&mut command, &self.dir)?;
        ensure!(output.status.success(), "podman load: {}", String::from_utf8_lossy(&output.stderr));
        let ids = self.ok(&["images", "--quiet", "--no-trunc"])?;
        self.ok(&["tag", ids.trim(), name])?;
        Ok(name)
    }
}

const STATUS: [&str; 2] = ["cat", "/proc/self/status"];

fn example(world: &World) -> Result<()> {
    let wrapper = Wrapper::new(world, Real::Runc)?;
    let podman = Podman::new(world, &wrapper.script()?)?;
    let image = podman.load(world)?;
    let is = |text: &str, groups: &[u32]| -> Result<()> {
        let identity = Identity::from_status(text)?;
        let wanted: BTreeSet<u32> = groups.iter().copied().collect();
        ensure!(identity.groups() == wanted, "{identity}, wanted {wanted:?}");
        Ok(())
    };
    let strict = format!("{ANNOTATION}=Strict");
    for (name, policy, groups) in [
        ("strict", &["--annotation", strict.as_str()][..], &[1000, 4000][..]),
        ("merge", &[], &[1000, 4000, 50000]),
    ] {
        let options = [policy, &["--group-add", "4000"]].concat();
        let run = [&options[..], &["--rm", image], &STATUS].concat();
        is(&podman.ok(&podman.run(&run))?, groups).context(name)?;
        let detached = [&options[..], &["--detach", "--name", name, image]].concat();
        podman.ok(&podman.run(&detached))?;
        is(&podman.ok(&[&["exec", name], &STATUS[..]].concat())?, groups).context("exec")?;
        // A user of its own, whom the image gives nothing.
        let exec = [&["exec", "--user", "0", name], &STATUS[..]].concat();
        let other = Identity::from_status(&podman.ok(&exec)?)?;
        ensure!(other.uid == 0 && !other.groups().contains(&50000), "{other}");
        // Started again: the spec is made anew.
        podman.ok(&["restart", "--time", "0", name])?;
        is(&podman.ok(&[&["exec", name], &STATUS[..]].concat())?, groups).context("after a restart")?;
        podman.ok(&["rm", "--force", "--time", "0", name])?;
    }
    Ok(())
}

fn start_refused(world: &World) -> Result<()> {
    for real in BOTH {
        let wrapper = Wrapper::new(world, real)?;
        let podman = Podman::new(world, &wrapper.script()?)?;
        let image = podman.load(world)?;
        let volume = podman.dir.join("volume");
        fs::create_dir(&volume)?;
        fs::set_permissions(&volume, std::os::unix::fs::PermissionsExt::from_mode(0o777))?;
        let (annotation, volumes) = (format!("{ANNOTATION}=Strict"), format!("{}:/volume", volume.display()));
        let options = ["--annotation", &annotation, "--volume", &volumes, "--name", "wide"];
        let run = [&options[..], &[image, "/bin/sh", "-c", "echo ran >/volume/ran"]].concat();

        let path = widening(world, real, &wrapper.dir)?;
        wrapper.configure(&format!("[runtime]\npath = \"{}\"\n", path.display()))?;
        let (success, _, said) = podman.output(&podman.run(&run))?;
        ensure!(!success && !volume.join("ran").exists(), "it ran: {said}");
        ensure!(said.contains("strict-groups: ") && said.contains("Strict does not allow (50000)"), "{said}");
        podman.ok(&["rm", "--force", "--time", "0", "wide"])?;

        wrapper.configure(&format!("[runtime]\npath = \"{}\"\n", real.path(world).display()))?;
        podman.ok(&podman.run(&run))?;
        ensure!(volume.join("ran").exists(), "it does not run without the attack either");
        podman.ok(&["rm", "--force", "--time", "0", "wide"])?;
    }
    Ok(())
}

fn refusal(world: &World) -> Result<()> {
    let wrapper = Wrapper::new(world, Real::Runc)?;
    let podman = Podman::new(world, &wrapper.script()?)?;
    let image = podman.load(world)?;
    let wrong = format!("{ANNOTATION}=strict");
    let run = podman.run(&["--rm", "--annotation", &wrong, image, "true"]);
    let (success, _, said) = podman.output(&run)?;
    ensure!(!success && said.contains("write Strict or Merge") && said.contains("strict-groups: "), "{said}");
    Ok(())
}
