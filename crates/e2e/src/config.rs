//! The configuration file of a containerd that shares nothing with another one.

use std::fmt::Write as _;
use std::path::{Display, Path};

use super::containerd::{Kind, Options};
use super::leftovers::network;
use super::{Machine, Run, forwarding};

/// The name under which the sandbox image is imported.
pub const SANDBOX_IMAGE: &str = "localhost/strict-groups/sandbox:1";

/// config.toml, of the newest version that this containerd knows.
pub fn config(kind: Kind, dir: &Path, snapshotter: &str, options: &Options) -> String {
    let dir = dir.display();
    let (version, runtime) = (kind.config_version(), kind.cri_plugin());
    // Version 2 has both settings of `images` in the CRI plugin's tables.
    let one_plugin = version == 2;
    let images = if one_plugin { String::new() } else { images(snapshotter) };
    // Version 4 ignores the table `grpc`, and containerd 2.4 the key `bin_dir`. 1.x does not know `bin_dirs`.
    let grpc = if version < 4 { "grpc" } else { "plugins.\"io.containerd.server.v1.grpc\"" };
    let cni_programs = if one_plugin {
        format!("bin_dir = \"{dir}/cni/bin\"")
    } else {
        format!("bin_dirs = [\"{dir}/cni/bin\"]")
    };
    let nri = if kind.has_nri() { nri(&dir, options) } else { String::new() };
    // restrict_oom_score_adj: without CAP_SYS_RESOURCE no process can be given a
    // lower score than we have. netns_mounts_under_state_dir: so that the
    // network namespaces are found, and removed, with our folder.
    let mut text = format!(
        r#"version = {version}
root = "{dir}/root"
state = "{dir}/state"

[{grpc}]
address = "{dir}/containerd.sock"

[plugins."io.containerd.internal.v1.opt"]
path = "{dir}/opt"

{nri}
{images}
[plugins."{runtime}"]
restrict_oom_score_adj = true
netns_mounts_under_state_dir = true
disable_apparmor = true
"#
    );
    if one_plugin {
        let _ = writeln!(text, "sandbox_image = \"{SANDBOX_IMAGE}\"");
    }
    let _ = write!(
        text,
        r#"
[plugins."{runtime}".cni]
{cni_programs}
conf_dir = "{dir}/cni/net.d"

[plugins."{runtime}".containerd]
default_runtime_name = "{default}"
"#,
        default = options.handlers.first().map_or("runc", |handler| handler.name.as_str()),
    );
    if one_plugin {
        let _ = writeln!(text, "snapshotter = \"{snapshotter}\"");
    }
    for handler in &options.handlers {
        let _ = write!(
            text,
            r#"
[plugins."{runtime}".containerd.runtimes.{name}]
runtime_type = "io.containerd.runc.v2"
{settings}
[plugins."{runtime}".containerd.runtimes.{name}.options]
BinaryName = "{binary}"
Root = "{dir}/oci-{name}"
"#,
            name = handler.name,
            settings = handler.settings,
            binary = handler.binary.display(),
        );
    }
    text.push('\n');
    text.push_str(&options.extra);
    text
}

fn nri(dir: &Display<'_>, options: &Options) -> String {
    format!(
        r#"
[plugins."io.containerd.nri.v1.nri"]
disable = {off}
socket_path = "{dir}/nri.sock"
plugin_path = "{dir}/nri-plugins"
plugin_config_path = "{dir}/nri-conf.d"
{settings}
"#,
        off = !options.nri,
        settings = options.nri_settings,
    )
}

/// containerd 2.x keeps images and runtimes in two plugins.
fn images(snapshotter: &str) -> String {
    format!(
        r#"
[plugins."io.containerd.cri.v1.images"]
snapshotter = "{snapshotter}"

[plugins."io.containerd.cri.v1.images".pinned_images]
sandbox = "{SANDBOX_IMAGE}"
"#
    )
}

/// A point-to-point network for pods that are not on the host's: no bridge and
/// no address translation, so no rule stays in the host's packet filter.
pub fn cni(run: &str, dir: &Path) -> String {
    let (high, low) = network(run);
    format!(
        r#"{{
  "cniVersion": "0.4.0",
  "name": "{run}",
  "plugins": [{{
    "type": "ptp",
    "ipMasq": false,
    "ipam": {{
      "type": "host-local",
      "dataDir": "{}/cni/addresses",
      "ranges": [[{{ "subnet": "10.{high}.{low}.0/24" }}]]
    }}
  }}]
}}
"#,
        dir.display()
    )
}

/// overlayfs where a mount of it works, else the snapshotter that copies.
pub fn snapshotter(dir: &Path) -> &'static str {
    let probe = dir.join("overlay-probe");
    let parts = ["lower", "upper", "work", "merged"].map(|part| probe.join(part));
    if parts.iter().any(|part| std::fs::create_dir_all(part).is_err()) {
        return "native";
    }
    let [lower, upper, work, merged] = &parts;
    let data =
        format!("lowerdir={},upperdir={},workdir={}", lower.display(), upper.display(), work.display());
    let works = nix::mount::mount(
        Some("overlay"),
        merged,
        Some("overlay"),
        nix::mount::MsFlags::empty(),
        Some(data.as_str()),
    )
    .is_ok();
    if works {
        let _ = nix::mount::umount(merged);
    }
    let _ = std::fs::remove_dir_all(&probe);
    if works { "overlayfs" } else { "native" }
}

/// Links the CNI plugins into the containerd's own folder, and writes the network.
pub fn write_cni(machine: &Machine, run: &Run, dir: &Path) -> std::io::Result<()> {
    forwarding::remember(run.dir())?;
    std::fs::create_dir_all(dir.join("cni/net.d"))?;
    std::os::unix::fs::symlink(machine.cni_plugins(), dir.join("cni/bin"))?;
    std::fs::write(dir.join("cni/net.d/10-test.conflist"), cni(run.name(), dir))
}
