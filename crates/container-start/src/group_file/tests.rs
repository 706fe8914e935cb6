use std::{
    fs,
    os::unix::fs::{PermissionsExt, symlink},
    path::PathBuf,
};

use nix::{
    fcntl::{OFlag, OpenHow, ResolveFlag, openat2},
    mount::{MntFlags, MsFlags, mount, umount2},
    unistd::{Uid, chown, geteuid},
};
use proptest::prelude::*;

use super::*;

/// The root directory of a container, with an empty `/etc`.
struct Image(tempfile::TempDir);

impl Image {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("etc")).unwrap();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
        Self(dir)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(self, name: &str, content: &str) -> Self {
        fs::create_dir_all(self.path(name).parent().unwrap()).unwrap();
        fs::write(self.path(name), content).unwrap();
        self
    }

    fn link(self, name: &str, target: &str) -> Self {
        symlink(target, self.path(name)).unwrap();
        self
    }

    fn root(&self) -> OwnedFd {
        open(self.0.path(), OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty()).unwrap()
    }

    fn find(&self) -> Result<GroupFile, GroupFileError> {
        find(self.root(), None)
    }

    fn content(&self) -> Option<Vec<u8>> {
        self.find().unwrap().content
    }

    fn why_not(&self) -> String {
        self.find().unwrap_err().to_string()
    }
}

#[test]
fn plain_file_is_read() {
    assert_eq!(Image::new().write("etc/group", "x:x:1:\n").content().unwrap(), b"x:x:1:\n");
}

#[test]
fn links_of_the_image_are_followed_inside() {
    for target in ["grp", "./grp", "../etc/grp", "/etc/grp", "../../../../etc/grp", "//etc/./grp"] {
        let image = Image::new().write("etc/grp", "x").link("etc/group", target);
        assert_eq!(image.content().unwrap(), b"x", "{target}");
    }
    let image = Image::new().write("usr/etc/group", "y");
    fs::remove_dir(image.path("etc")).unwrap();
    assert_eq!(image.link("etc", "usr/etc").content().unwrap(), b"y");
}

#[test]
fn missing_file_is_none() {
    let image = Image::new();
    assert_eq!(image.content(), None);
    fs::remove_dir(image.path("etc")).unwrap();
    assert_eq!(image.content(), None);
    fs::write(image.path("etc"), "").unwrap();
    assert_eq!(image.content(), None);
}

#[test]
fn link_that_leads_nowhere_is_refused() {
    for target in ["none", "/tmp/grp", "/proc/self/root/etc/grp", "grp/", "grp/.", "../grp/x"] {
        let image = Image::new().write("etc/grp", "x").link("etc/group", target);
        assert!(image.why_not().contains("leads nowhere"), "{target}");
    }
    let image = Image::new().link("etc/group", "group");
    assert!(image.why_not().contains("too many"));
    let image = Image::new();
    fs::remove_dir(image.path("etc")).unwrap();
    assert!(image.link("etc", "none").why_not().contains("leads nowhere"));
}

#[test]
fn what_is_no_file_is_refused_unopened() {
    let image = Image::new();
    nix::unistd::mkfifo(&image.path("etc/group"), Mode::S_IRUSR).unwrap();
    assert!(image.why_not().contains("no regular file"));
    fs::remove_file(image.path("etc/group")).unwrap();
    fs::create_dir(image.path("etc/group")).unwrap();
    assert!(image.why_not().contains("no regular file"));
    let image = Image::new().link("etc/group", "..");
    assert!(image.why_not().contains("no regular file"));
}

/// Takes its mount away again.
struct Mounted(PathBuf);

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = umount2(&self.0, MntFlags::MNT_DETACH);
    }
}

fn bind(source: &Path, target: &Path) -> Mounted {
    let none: Option<&str> = None;
    mount(Some(source), target, none, MsFlags::MS_BIND, none).unwrap();
    Mounted(target.to_owned())
}

#[test]
#[ignore = "needs root"]
fn file_on_another_mount_is_refused_unless_generated() {
    let image = Image::new().write("etc/group", "x");
    let bundle = tempfile::tempdir().unwrap();
    let generated = bundle.path().join("group");
    fs::write(&generated, "y").unwrap();
    let _mounted = bind(&generated, &image.path("etc/group"));
    assert!(image.why_not().contains("another mount"));
    let found = find(image.root(), Some(&generated)).unwrap();
    assert_eq!(found.content.unwrap(), b"y");
    // Others than root can write to it.
    fs::set_permissions(&generated, fs::Permissions::from_mode(0o666)).unwrap();
    assert!(find(image.root(), Some(&generated)).is_err());
}

#[test]
#[ignore = "needs root"]
fn directory_on_another_mount_is_refused() {
    let image = Image::new().write("etc/group", "x").write("vol/group", "y");
    let _mounted = bind(&image.path("vol"), &image.path("etc"));
    assert!(image.why_not().contains("another mount"));
    let image = Image::new().write("vol/x", "").write("data/group", "y").link("etc/group", "/vol/group");
    let _mounted = bind(&image.path("data"), &image.path("vol"));
    assert!(image.why_not().contains("another mount"));
}

const CONFINED: Confinement = Confinement {
    read_only_root: false,
    no_new_privileges: true,
    may_set_groups: false,
    sets_groups: false,
    may_unshare: false,
    may_mount: false,
    has_ambient: false,
    shares_processes: false,
    mount_sources: Vec::new(),
};

fn at_risk(image: &Image, confinement: &Confinement) -> bool {
    image.find().unwrap().exec_can_gain_groups(confinement, 1000, false)
}

/// An image of which nothing is writable for user 1000.
fn sound() -> Image {
    let image = Image::new().write("etc/group", "x");
    fs::set_permissions(image.path("etc/group"), fs::Permissions::from_mode(0o644)).unwrap();
    fs::set_permissions(image.path("etc"), fs::Permissions::from_mode(0o755)).unwrap();
    image
}

#[test]
fn exec_is_at_risk_when_the_user_can_change_the_way() {
    assert!(!at_risk(&sound(), &CONFINED));
    for (name, mode) in [
        ("etc/group", 0o664),
        ("etc/group", 0o646),
        ("etc", 0o775),
        ("etc", 0o757),
        ("", 0o777),
        ("etc", 0o1777),
    ] {
        let image = sound();
        fs::set_permissions(image.path(name), fs::Permissions::from_mode(mode)).unwrap();
        assert!(at_risk(&image, &CONFINED), "{name} {mode:o}");
    }
    if geteuid().is_root() {
        for name in ["etc/group", "etc", ""] {
            let image = sound();
            chown(&image.path(name), Some(Uid::from_raw(1000)), None).unwrap();
            assert!(at_risk(&image, &CONFINED), "{name}");
        }
    }
    let image = Image::new();
    fs::set_permissions(image.path("etc"), fs::Permissions::from_mode(0o777)).unwrap();
    assert!(at_risk(&image, &CONFINED), "it can be made");
    let image = sound().write("tmp/grp", "x");
    fs::remove_file(image.path("etc/group")).unwrap();
    let image = image.link("etc/group", "/tmp/grp");
    assert!(!at_risk(&image, &CONFINED));
    fs::set_permissions(image.path("tmp"), fs::Permissions::from_mode(0o777)).unwrap();
    assert!(at_risk(&image, &CONFINED), "a directory behind a link");
}

#[test]
fn exec_risk_follows_from_the_confinement() {
    let image = sound();
    let with = |change: fn(&mut Confinement)| {
        let mut confinement = CONFINED;
        change(&mut confinement);
        confinement
    };
    assert!(at_risk(&image, &with(|c| c.no_new_privileges = false)), "counts as root");
    assert!(at_risk(&image, &with(|c| c.has_ambient = true)));
    assert!(
        at_risk(&image, &with(|c| (c.sets_groups, c.has_ambient) = (true, true))),
        "the effective set is root's"
    );
    assert!(at_risk(&image, &with(|c| c.shares_processes = true)));
    assert!(image.find().unwrap().exec_can_gain_groups(&CONFINED, 0, true), "root");
    // It can change its groups anyway.
    let root_with = |confinement| image.find().unwrap().exec_can_gain_groups(&confinement, 0, true);
    assert!(!root_with(with(|c| (c.sets_groups, c.may_unshare) = (true, true))));
    assert!(root_with(CONFINED));
    assert!(!at_risk(&image, &with(|c| (c.no_new_privileges, c.may_set_groups) = (false, true))));
    let read_only = with(|c| (c.no_new_privileges, c.read_only_root) = (false, true));
    assert!(!at_risk(&image, &read_only));
    assert!(at_risk(&image, &Confinement { may_mount: true, ..read_only.clone() }));
    // In a user namespace of its own it may mount what it likes.
    assert_eq!(at_risk(&image, &Confinement { may_unshare: true, ..read_only }), user_namespaces());
    assert_eq!(at_risk(&image, &with(|c| c.may_unshare = true)), user_namespaces());
}

/// What the kernel opens below `root`: its content, or None where there is nothing.
fn kernel(root: &OwnedFd) -> Result<Option<Vec<u8>>, Errno> {
    let how = OpenHow::new().flags(OFlag::O_RDONLY | OFlag::O_NONBLOCK).resolve(ResolveFlag::RESOLVE_IN_ROOT);
    match openat2(root, rootfs::GROUP_FILE, how) {
        Ok(file) => {
            let mut content = Vec::new();
            File::from(file).read_to_end(&mut content).map(|_| Some(content)).map_err(|_| Errno::EISDIR)
        }
        Err(Errno::ENOENT | Errno::ENOTDIR) => Ok(None),
        Err(errno) => Err(errno),
    }
}

fn target() -> impl Strategy<Value = String> {
    let part = prop_oneof![
        4 => Just("a"), 4 => Just("b"), 3 => Just("etc"), 3 => Just("group"), 2 => Just(".."), 1 => Just("."),
        1 => Just(""), 1 => Just("none"),
    ];
    (any::<bool>(), proptest::collection::vec(part, 1..5))
        .prop_map(|(absolute, parts)| format!("{}{}", if absolute { "/" } else { "" }, parts.join("/")))
        .prop_filter("a link needs a target", |target| !target.is_empty())
}

proptest! {
    /// Over random farms of links: what is found is what the kernel opens, or it is refused.
    #[test]
    fn found_is_what_the_kernel_opens(
        links in proptest::collection::vec((prop_oneof![
            Just("etc/group"), Just("etc"), Just("a"), Just("b"), Just("a/group"), Just("b/group"), Just("a/b"),
        ], target()), 1..6),
        files in proptest::collection::vec(prop_oneof![
            Just("etc/group"), Just("a/group"), Just("b/group"), Just("group"), Just("a/a"), Just("b/a/group"),
        ], 0..4),
    ) {
        let dir = tempfile::tempdir().unwrap();
        for (name, target) in &links {
            let path = dir.path().join(name);
            // A link may stand in the way of another's directory.
            if fs::create_dir_all(path.parent().unwrap()).is_ok() && path.starts_with(dir.path()) {
                let _ = symlink(target, path);
            }
        }
        for name in files {
            let path = dir.path().join(name);
            let inside = |path: &Path| fs::canonicalize(path).is_ok_and(|real| real.starts_with(dir.path()));
            if !path.exists() && path.parent().is_some_and(|parent| parent.exists() && inside(parent)) {
                let _ = fs::write(&path, name);
            }
        }
        let root = open(dir.path(), OFlag::O_PATH, Mode::empty()).unwrap();
        let opened = kernel(&root);
        if let Ok(found) = find(root, None) {
            prop_assert_eq!(opened, Ok(found.content));
        }
    }
}

#[test]
#[ignore = "needs root"]
fn device_is_never_opened() {
    use nix::sys::{
        inotify::{AddWatchFlags, InitFlags, Inotify},
        stat::{SFlag, makedev, mknod},
    };
    let image = Image::new();
    let path = image.path("etc/group");
    mknod(&path, SFlag::S_IFCHR, Mode::S_IRUSR, makedev(1, 3)).unwrap();
    let watch = Inotify::init(InitFlags::IN_NONBLOCK).unwrap();
    watch.add_watch(&path, AddWatchFlags::IN_OPEN).unwrap();
    assert!(image.find().is_err());
    assert_eq!(watch.read_events().unwrap_err(), nix::errno::Errno::EAGAIN);
}
