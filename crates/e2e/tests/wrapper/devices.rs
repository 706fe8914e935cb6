//! A device node in the place of `/etc/group`, in the image or in a volume: to open one can do something, and whoever reads
//! a container's files is root.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use libtest_mimic::Trial;
use nix::errno::Errno;
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use nix::sys::stat::{Mode, SFlag, makedev, mknod};
use serde_json::json;
use strict_groups_core::gate::State;

use e2e::wrapper::bundle::{Bundle, STRICT};
use e2e::wrapper::command::{Real, Wrapper};
use e2e::wrapper::world::{World, trial};

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial("devices::gate_never_opens_a_device_in_a_volume", volume),
        trial("devices::gate_never_opens_a_device_of_the_image", image),
        trial("devices::wrapper_never_opens_a_device_of_the_image", wrapper),
    ]
}

/// A device node that tells when it is opened.
struct Device {
    watch: Inotify,
}

impl Device {
    fn at(path: &Path) -> Result<Self> {
        let _ = fs::remove_file(path);
        // As /dev/null.
        mknod(path, SFlag::S_IFCHR, Mode::S_IRUSR | Mode::S_IROTH, makedev(1, 3))?;
        let watch = Inotify::init(InitFlags::IN_NONBLOCK | InitFlags::IN_CLOEXEC)?;
        watch.add_watch(path, AddWatchFlags::IN_OPEN)?;
        let device = Self { watch };
        fs::File::open(path)?;
        ensure!(device.was_opened()?, "an open does not show");
        Ok(device)
    }

    /// Since it was asked last.
    fn was_opened(&self) -> Result<bool> {
        match self.watch.read_events() {
            Ok(events) => Ok(!events.is_empty()),
            Err(Errno::EAGAIN) => Ok(false),
            Err(errno) => Err(errno).context("reading events"),
        }
    }
}

fn resolved(world: &World) -> Result<Bundle> {
    let state = State::Resolved { groups: STRICT.to_vec(), removed: Vec::new() };
    Bundle::new(world)?.groups(&STRICT)?.gated(world, state)
}

/// runc's own words surround those of the gate.
fn refused(world: &World, bundle: &Bundle, device: &Device, why: &str) -> Result<()> {
    let wrapper = Wrapper::new(world, Real::Runc)?;
    let output = wrapper.output(&["create", "--bundle", bundle.dir(), &bundle.id])?;
    let said = String::from_utf8_lossy(&output.stderr);
    if output.status.success() {
        wrapper.output(&["delete", "--force", &bundle.id])?;
    }
    ensure!(!output.status.success() && said.contains(why), "{}: {said}", output.status);
    ensure!(!device.was_opened()?, "it was opened");
    Ok(())
}

fn volume(world: &World) -> Result<()> {
    for (at, part) in [("/etc", ""), ("/etc/group", "group")] {
        let volume = world.folder()?;
        let device = Device::at(&volume.join("group"))?;
        let mut bundle = resolved(world)?;
        let mounts = bundle.spec["mounts"].as_array_mut().context("no mounts")?;
        mounts.push(json!({
            "destination": at, "type": "bind", "source": volume.join(part), "options": ["rbind", "rw"],
        }));
        bundle.write()?;
        refused(world, &bundle, &device, "another mount").with_context(|| at.to_owned())?;
    }
    Ok(())
}

fn image(world: &World) -> Result<()> {
    let bundle = resolved(world)?;
    let device = Device::at(&bundle.rootfs().join("etc/group"))?;
    refused(world, &bundle, &device, "no regular file")
}

/// The wrapper itself reads the image's files where nobody says what the pod declares.
fn wrapper(world: &World) -> Result<()> {
    for file in ["etc/group", "etc/passwd"] {
        let bundle = Bundle::new(world)?.by_crio()?.pending(world)?;
        let device = Device::at(&bundle.rootfs().join(file))?;
        refused(world, &bundle, &device, "not a regular file").with_context(|| file.to_owned())?;
    }
    Ok(())
}
