//! OCI bundles as engines write them: an image's root file system and a config.json.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use strict_groups_core::gate::{Gate, State};

use super::command::Wrapper;
use super::world::World;
use crate::{Identity, plugin, wait_for};

pub const ANNOTATION: &str = "supplemental-groups-policy.noderesource.dev";

/// The example pod's image.
pub const PASSWD: &str = "root:x:0:0:root:/:/bin/sh\nalice:x:1000:1000::/:/bin/sh\n";
pub const GROUP: &str = "root:x:0:\nalice:x:1000:\ngroup-in-image:x:50000:alice\n";

/// What an engine makes of the example pod's container, and what Strict leaves of it.
pub const MERGED: [u32; 3] = [3000, 50000, 4000];
pub const STRICT: [u32; 2] = [3000, 4000];

/// A bundle on disk.
pub struct Bundle {
    pub path: PathBuf,
    pub id: String,
    pub spec: Value,
}

impl Bundle {
    /// The example pod's container, groups merged, without any gate or annotation of ours.
    pub fn new(world: &World) -> Result<Self> {
        let path = world.folder()?;
        let id = format!("c-{}", path.file_name().context("no name")?.display());
        let spec = spec(&format!("/{}/{id}", world.run.name()));
        let bundle = Self { path, id, spec };
        for folder in ["bin", "dev", "etc", "proc", "sys", "tmp"] {
            fs::create_dir_all(bundle.rootfs().join(folder))?;
        }
        fs::copy(world.machine.busybox(), bundle.rootfs().join("bin/busybox"))?;
        for program in ["cat", "sh", "sleep"] {
            symlink("busybox", bundle.rootfs().join("bin").join(program))?;
        }
        bundle.image(PASSWD, GROUP)?;
        bundle.write()?;
        Ok(bundle)
    }

    /// The image's users and groups.
    pub fn image(&self, passwd: impl AsRef<[u8]>, group: impl AsRef<[u8]>) -> Result<()> {
        fs::write(self.rootfs().join("etc/passwd"), passwd)?;
        fs::write(self.rootfs().join("etc/group"), group)?;
        Ok(())
    }

    /// The pod's annotation.
    pub fn annotated(mut self, policy: &str) -> Result<Self> {
        self.spec["annotations"][ANNOTATION] = json!(policy);
        self.written()
    }

    /// A gate, as the plugin injects it.
    pub fn gated(mut self, world: &World, state: State) -> Result<Self> {
        let args = gate(state).args();
        let hook = json!({ "path": plugin::binary(&world.run)?, "args": args });
        match self.spec["hooks"]["createRuntime"].as_array_mut() {
            Some(hooks) => hooks.push(hook),
            None => self.spec["hooks"]["createRuntime"] = json!([hook]),
        }
        self.written()
    }

    /// With the pending gate that the plugin gives a container under CRI-O.
    pub fn pending(self, world: &World) -> Result<Self> {
        self.gated(world, State::Pending { declared: None })
    }

    /// The annotations that CRI-O itself writes.
    pub fn by_crio(mut self) -> Result<Self> {
        for (key, value) in [
            ("io.kubernetes.cri-o.ContainerID", self.id.as_str()),
            ("io.kubernetes.cri-o.SandboxID", "s1"),
            ("io.kubernetes.pod.namespace", "default"),
            ("io.kubernetes.pod.name", "web"),
            ("io.kubernetes.container.name", "app"),
        ] {
            self.spec["annotations"][key] = json!(value);
        }
        self.written()
    }

    pub fn groups(mut self, groups: &[u32]) -> Result<Self> {
        self.spec["process"]["user"]["additionalGids"] = json!(groups);
        self.written()
    }

    fn written(self) -> Result<Self> {
        self.write()?;
        Ok(self)
    }

    pub fn write(&self) -> Result<()> {
        Ok(fs::write(self.config(), serde_json::to_vec(&self.spec)?)?)
    }

    pub fn config(&self) -> PathBuf {
        self.path.join("config.json")
    }

    pub fn rootfs(&self) -> PathBuf {
        self.path.join("rootfs")
    }

    pub fn dir(&self) -> &str {
        self.path.to_str().unwrap_or_default()
    }

    /// The spec as it is on disk now.
    pub fn now(&self) -> Result<Value> {
        Ok(serde_json::from_slice(&fs::read(self.config())?)?)
    }

    /// additionalGids on disk.
    pub fn gids(&self) -> Result<Value> {
        Ok(self.now()?["process"]["user"]["additionalGids"].clone())
    }

    /// A process file with the groups as the engine remembers them.
    pub fn process_file(&self, name: &str, args: &[&str]) -> Result<PathBuf> {
        let mut process = self.spec["process"].clone();
        process["args"] = json!(args);
        let path = self.path.join(name);
        fs::write(&path, serde_json::to_vec(&process)?)?;
        Ok(path)
    }

    /// `create`; the container is deleted when what is given is dropped.
    pub fn create<'w>(&self, wrapper: &'w Wrapper) -> Result<Container<'w>> {
        let pid_file = self.path.join("pid");
        wrapper.ok(&[
            "create",
            "--bundle",
            self.dir(),
            "--pid-file",
            pid_file.to_str().unwrap_or_default(),
            &self.id,
        ])?;
        let pid = fs::read_to_string(&pid_file)?.trim().parse()?;
        Ok(Container { wrapper, id: self.id.clone(), pid })
    }

    /// `create` and `start`; the first process runs then.
    pub fn start<'w>(&self, wrapper: &'w Wrapper) -> Result<Container<'w>> {
        let container = self.create(wrapper)?;
        wrapper.ok(&["start", &self.id])?;
        wait_for(Duration::from_secs(20), || {
            let line = fs::read(format!("/proc/{}/cmdline", container.pid)).ok()?;
            line.starts_with(b"/bin/sleep").then_some(())
        })
        .context("the first process does not run")?;
        Ok(container)
    }

    /// `create` has to be refused, with one line, and nothing of the container may be there.
    pub fn refused(&self, wrapper: &Wrapper) -> Result<String> {
        let said = wrapper.refused(&["create", "--bundle", self.dir(), &self.id])?;
        ensure!(!wrapper.root().join(&self.id).exists(), "the underlying OCI runtime was called: {said}");
        Ok(said)
    }
}

/// A container that the underlying OCI runtime has made.
pub struct Container<'w> {
    pub wrapper: &'w Wrapper,
    pub id: String,
    pub pid: u32,
}

impl Container<'_> {
    /// The groups of the first process have to be these.
    pub fn expect(&self, groups: &[u32]) -> Result<()> {
        is(&Identity::of_process(self.pid)?, groups).context("first process")
    }

    /// The groups of an exec have to be these. `options` say which process.
    pub fn expect_exec(&self, options: &[&str], program: &[&str], groups: &[u32]) -> Result<()> {
        let args = [&["exec"], options, &[&self.id], program].concat();
        is(&Identity::from_status(&self.wrapper.ok(&args)?)?, groups).with_context(|| format!("{args:?}"))
    }
}

impl Drop for Container<'_> {
    fn drop(&mut self) {
        let _ = self.wrapper.output(&["delete", "--force", &self.id]);
    }
}

fn is(identity: &Identity, groups: &[u32]) -> Result<()> {
    let wanted: BTreeSet<u32> = groups.iter().copied().collect();
    ensure!(identity.groups() == wanted, "{identity}, wanted {wanted:?}");
    Ok(())
}

pub fn gate(state: State) -> Gate {
    Gate { pod: "default/web".into(), container: "app".into(), state }
}

/// The gates of a spec.
pub fn gates(config: &Path) -> Result<Vec<Gate>> {
    Ok(strict_groups_core::spec::read(&fs::read(config)?)?.gates)
}

/// As engines write it: the process has no capability, and may get `CAP_SETGID` by a program of the image.
fn spec(cgroup: &str) -> Value {
    json!({
        "ociVersion": "1.0.2",
        "process": {
            "user": { "uid": 1000, "gid": 3000, "additionalGids": MERGED },
            "args": ["/bin/sleep", "2147483647"],
            "env": ["PATH=/bin"],
            "cwd": "/",
            "capabilities": { "bounding": ["CAP_SETGID", "CAP_SETUID"] },
        },
        "root": { "path": "rootfs" },
        "mounts": [{ "destination": "/proc", "type": "proc", "source": "proc" }],
        "annotations": {},
        "linux": {
            "cgroupsPath": cgroup,
            "namespaces": [{ "type": "pid" }, { "type": "ipc" }, { "type": "uts" }, { "type": "mount" }],
        },
    })
}
