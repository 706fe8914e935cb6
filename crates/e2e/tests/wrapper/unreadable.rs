//! Users and groups of an image that somebody made to trouble who reads them.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use anyhow::{Result, ensure};
use libtest_mimic::Trial;
use nix::sys::stat::{Mode, SFlag, makedev, mknod};
use serde_json::json;
use strict_groups_core::gate::State;

use e2e::wrapper::bundle::{Bundle, GROUP, PASSWD, STRICT};
use e2e::wrapper::command::{Real, Wrapper};
use e2e::wrapper::world::{World, trial};

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial("unreadable::what_is_no_plain_file_is_refused", refused),
        trial("unreadable::links_stay_in_the_image", links),
        trial("unreadable::merge_and_declared_do_not_look", not_looked_at),
    ]
}

type Spoil = fn(&Path) -> Result<()>;

const SPOILED: [(Spoil, &str); 5] = [
    (|file| Ok(nix::unistd::mkfifo(file, Mode::S_IRWXU)?), "not a regular file"),
    (|file| Ok(mknod(file, SFlag::S_IFCHR, Mode::S_IRUSR, makedev(1, 5))?), "not a regular file"),
    (|file| Ok(fs::create_dir(file)?), "not a regular file"),
    (|file| Ok(fs::File::create(file)?.set_len(11 << 20)?), "larger than 10 MiB"),
    (|file| Ok(symlink(file.file_name().unwrap_or_default(), file)?), "os error 40"),
];

fn refused(world: &World) -> Result<()> {
    let wrapper = Wrapper::new(world, Real::Runc)?;
    for file in ["etc/group", "etc/passwd"] {
        for (spoil, text) in SPOILED {
            let bundle = Bundle::new(world)?.by_crio()?.pending(world)?;
            let path = bundle.rootfs().join(file);
            fs::remove_file(&path)?;
            spoil(&path)?;
            let before = fs::read(bundle.config())?;
            let said = bundle.refused(&wrapper)?;
            let image = format!("the image's /{file}");
            for part in ["pod default/web, container app", &image, text] {
                ensure!(said.contains(part), "no {part}: {said}");
            }
            ensure!(fs::read(bundle.config())? == before, "config.json was changed");
        }
    }
    Ok(())
}

fn links(world: &World) -> Result<()> {
    let wrapper = Wrapper::new(world, Real::Runc)?;
    let linked = |name: &str, target: &str| -> Result<Bundle> {
        let bundle = Bundle::new(world)?.by_crio()?.pending(world)?;
        let path = bundle.rootfs().join(name);
        let aside = bundle.rootfs().join("elsewhere");
        fs::rename(&path, &aside)?;
        symlink(target, &path)?;
        Ok(bundle)
    };
    // Inside the image these all lead to its file. Outside there is none of that name.
    for (name, target) in [
        ("etc/group", "/elsewhere"),
        ("etc/group", "../../../../../elsewhere"),
        ("etc", "/elsewhere"),
        ("etc", "elsewhere"),
    ] {
        let bundle = linked(name, target)?;
        bundle.start(&wrapper)?.expect(&STRICT)?;
        ensure!(bundle.gids()? == json!(STRICT), "{name} to {target}: {}", bundle.gids()?);
    }
    // The machine's own group file puts alice into another group; nobody must read it. Inside the image the link leads
    // nowhere, which the gate refuses under this runc: it might lead somewhere for runc.
    let outside = world.folder()?.join("group");
    fs::write(&outside, "other:x:4000:alice\n")?;
    let bundle = linked("etc/group", &outside.to_string_lossy())?;
    let output = wrapper.output(&["create", "--bundle", bundle.dir(), &bundle.id])?;
    ensure!(String::from_utf8_lossy(&output.stderr).contains("leads nowhere"), "{output:?}");
    wrapper.output(&["delete", "--force", &bundle.id])?;
    let gids = bundle.gids()?;
    ensure!(gids == json!([3000, 50000, 4000]), "a file outside of the image was read: {gids}");

    // Nothing is there for the kernel, and the file for an engine that takes `none/..` and `file/.` as text.
    for (name, target) in [
        ("etc/group", "../none/../elsewhere"),
        ("etc/group", "/elsewhere/."),
        ("etc/passwd", "/none/../elsewhere"),
        ("etc", "none/../elsewhere"),
    ] {
        let said = linked(name, target)?.refused(&wrapper)?;
        let file = if name == "etc" { "passwd" } else { name };
        ensure!(said.contains(file) && said.contains("symbolic link"), "{name} to {target}: {said}");
    }
    Ok(())
}

/// Who does not need the image's groups is not troubled by them.
fn not_looked_at(world: &World) -> Result<()> {
    let wrapper = Wrapper::new(world, Real::Crun)?;
    let spoiled = |bundle: Bundle| -> Result<Bundle> {
        bundle.image(PASSWD, GROUP)?;
        fs::remove_file(bundle.rootfs().join("etc/group"))?;
        nix::unistd::mkfifo(&bundle.rootfs().join("etc/group"), Mode::S_IRWXU)?;
        Ok(bundle)
    };
    spoiled(Bundle::new(world)?.by_crio()?)?.start(&wrapper)?.expect(&[3000, 4000, 50000])?;
    let bundle = Bundle::new(world)?.by_crio()?;
    let bundle = spoiled(bundle.gated(world, State::Pending { declared: Some(vec![4000]) })?)?;
    // Nor does the gate look under crun, which takes numbers for what they are.
    bundle.start(&wrapper)?.expect(&STRICT)?;
    ensure!(bundle.gids()? == json!(STRICT), "{}", bundle.gids()?);
    Ok(())
}
