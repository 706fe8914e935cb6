//! Which `/etc/group` runc before 1.3 opens, over random link farms: roots of images and volumes with links of all kinds
//! between them. Each farm is tried twice on a real runc, with the gate and without.
//!
//! What must hold: the file that the gate judges is the file that runc opens, or the container is refused. So a
//! container that starts has no group beyond 3000 and 4000, and one that is refused for what its file says would really
//! have got that group. Every file of a farm gives 4000 (or 3000) another GID, so that the group shows the file.
//!
//! `LINK_FARMS=1000` tries more of them, `LINK_FARMS_SEED=17` others; a failure prints the seed and the farm's number.

use std::collections::BTreeSet;
use std::fmt;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Component, Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use libtest_mimic::Trial;
use nix::sys::stat::{Mode, SFlag, makedev, mknod};
use serde_json::{Value, json};
use strict_groups_core::gate::State;

use e2e::random::Random;
use e2e::wrapper::bundle::{STRICT, gate};
use e2e::wrapper::command::finish;
use e2e::wrapper::world::{World, trial};
use e2e::{Identity, plugin, run, wait_for};

const FARMS: u64 = 200;
const SEED: u64 = 20_261_124;
const THREADS: usize = 2;

/// No start takes this long.
const TIMEOUT: Duration = Duration::from_secs(20);
const HANGS: &str = "it hangs";

/// Debian's runc and the last one before groups became plain numbers.
const RUNC: [&str; 2] = ["1.1.5", "1.2.8"];

pub(crate) fn trials() -> Vec<Trial> {
    vec![trial("link_farms::gate_judges_the_file_that_runc_opens", farms)]
}

fn farms(world: &World) -> Result<()> {
    let number = |name: &str, default| match std::env::var(name) {
        Ok(text) => text.parse().with_context(|| format!("{name}={text}")),
        Err(_) => Ok(default),
    };
    let (seed, farms) = (number("LINK_FARMS_SEED", SEED)?, number("LINK_FARMS", FARMS)?);
    let (next, tally) = (AtomicU64::new(0), Mutex::new(Tally::default()));
    let begin = std::time::Instant::now();
    let work = |yard: Yard<'_>| -> Result<()> {
        loop {
            let farm = next.fetch_add(1, Ordering::Relaxed);
            if farm >= farms {
                return Ok(());
            }
            let layout = Layout::random(&mut Random::new(seed, farm));
            let result = yard.try_farm(farm, &layout);
            let result = result.with_context(|| format!("seed {seed}, farm {farm}:\n{layout}"));
            tally.lock().unwrap_or_else(PoisonError::into_inner).count(&layout, &result?);
        }
    };
    let yards = (0..THREADS).map(|_| Yard::new(world)).collect::<Result<Vec<_>>>()?;
    std::thread::scope(|scope| {
        let threads: Vec<_> = yards.into_iter().map(|yard| scope.spawn(|| work(yard))).collect();
        threads
            .into_iter()
            .try_for_each(|thread| thread.join().unwrap_or_else(|_| bail!("a thread panicked")))
    })?;
    let tally = tally.into_inner().unwrap_or_else(PoisonError::into_inner);
    println!("{farms} farms, seed {seed}, {:.1?}: {tally}", begin.elapsed());
    tally.is_telling(farms).with_context(|| format!("seed {seed}: {tally}"))
}

/// How the farms of a run ended.
#[derive(Debug, Default)]
struct Tally {
    started: u64,
    /// Of these, how many had a link in them.
    started_with_links: u64,
    refused: u64,
    /// Of these, how many for the group that the file gives.
    refused_for_a_group: u64,
    /// Without the gate they had a group too many.
    turned: u64,
    /// runc itself failed, with the gate or without.
    broken: u64,
}

impl Tally {
    fn count(&mut self, layout: &Layout, outcome: &Outcome) {
        match outcome {
            Outcome::Started => {
                self.started += 1;
                self.started_with_links += u64::from(layout.has_links());
            }
            &Outcome::Refused { for_a_group, turned } => {
                self.refused += 1;
                self.refused_for_a_group += u64::from(for_a_group);
                self.turned += u64::from(turned);
            }
            Outcome::Broken => self.broken += 1,
        }
    }

    /// A generator that makes no attacks, or nothing but attacks, proves nothing.
    fn is_telling(&self, farms: u64) -> Result<()> {
        let least = |what: &str, number: u64, share: u64| {
            ensure!(number * share >= farms, "only {number} of {farms} {what}");
            Ok(())
        };
        least("started", self.started, 8)?;
        least("started with links", self.started_with_links, 12)?;
        least("were refused for a group", self.refused_for_a_group, 12)?;
        least("had a group too many without the gate", self.turned, 8)?;
        ensure!(self.broken * 4 <= farms, "runc failed for {} of {farms}", self.broken);
        Ok(())
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { started, started_with_links, refused, refused_for_a_group, turned, broken } = self;
        write!(
            f,
            "{started} started ({started_with_links} with links), {refused} refused ({refused_for_a_group} for a group, \
             {turned} had one too many without the gate), {broken} that runc cannot run"
        )
    }
}

/// How one farm ended.
enum Outcome {
    Started,
    Refused { for_a_group: bool, turned: bool },
    Broken,
}

/// What is in a place.
#[derive(Clone, Debug)]
enum Thing {
    Folder,
    /// What is written in front of the line that gives a group away.
    File {
        before: &'static str,
        name: u32,
        gid: u32,
    },
    /// A file that gives nothing away.
    Plain,
    Link(String),
    /// A character device that is empty, as /dev/null. runc would wait for a FIFO.
    Device,
}

/// A tree of files: things by their paths, in the order in which they are made. What finds no room is left out.
type Tree = Vec<(String, Thing)>;

/// One farm.
struct Layout {
    root: Tree,
    volumes: Vec<Tree>,
    /// Destinations, and the number of the volume; a part of it if there is a second one.
    mounts: Vec<(String, usize, String)>,
    /// The file that CRI-O generates in the bundle and mounts.
    generated: Option<Thing>,
    cwd: &'static str,
    open_mode: bool,
}

const PLACES: [&str; 10] = ["a", "b", "etc", "srv", "a/b", "b/a", "etc/a", "data", "etc/grp", "tmp"];
const FILES: [&str; 8] =
    ["etc/group", "a/group", "b/group", "group", "srv/group", "a/b/group", "etc/grp", "tmp/group"];

impl Layout {
    fn random(random: &mut Random) -> Self {
        let mut gid = 50_000;
        let mut layout = Self {
            root: vec![("etc".into(), Thing::Folder)],
            volumes: Vec::new(),
            mounts: Vec::new(),
            generated: None,
            cwd: random.pick(&["/", "/", "/bin", "/tmp"]),
            open_mode: random.percent(8),
        };
        match random.below(100) {
            0..45 => layout.root.push(("etc/group".into(), Thing::Link(target(random)))),
            45..55 => layout.root = vec![("etc".into(), Thing::Link(target(random)))],
            55..85 => layout.root.push(("etc/group".into(), file(random, &mut gid))),
            85..89 => layout.root.push(("etc/group".into(), random.pick(&[Thing::Device, Thing::Folder]))),
            _ => {}
        }
        for _ in 0..random.below(4) {
            let place = random.pick(&PLACES).to_owned();
            let thing = if random.percent(60) { Thing::Folder } else { Thing::Link(target(random)) };
            layout.root.push((place, thing));
        }
        for place in random.some(&FILES, 85) {
            let thing = if random.percent(15) { Thing::Link(target(random)) } else { file(random, &mut gid) };
            layout.root.push((place.to_owned(), thing));
        }
        for number in 0..random.below(5).saturating_sub(3) {
            let mut volume = Tree::new();
            for place in ["group", "grp", "a/group", "a", "etc/group"] {
                if random.percent(60) {
                    let link = random.percent(20);
                    let thing = if link { Thing::Link(target(random)) } else { file(random, &mut gid) };
                    volume.push((place.to_owned(), thing));
                }
            }
            let destination = random.pick(&["/etc", "/etc/group", "/a", "/b", "/srv", "/data", "/dev/shm"]);
            let part = if destination == "/etc/group" { "group" } else { "" };
            layout.volumes.push(volume);
            layout.mounts.push((destination.to_owned(), number, part.to_owned()));
        }
        if random.percent(8) {
            layout.generated = Some(file(random, &mut gid));
        }
        layout
    }

    fn has_links(&self) -> bool {
        let linked = |tree: &Tree| tree.iter().any(|(_, thing)| matches!(thing, Thing::Link(_)));
        linked(&self.root) || self.volumes.iter().any(linked)
    }
}

/// Where a link leads.
fn target(random: &mut Random) -> String {
    let mut target = random
        .pick(&[
            "",
            "",
            "",
            "/",
            "/",
            "/",
            "./",
            "../",
            "../../../../",
            "//",
            "/proc/self/root/",
            "/proc/self/cwd/",
            "/proc/thread-self/root/",
            "/proc/1/root/",
            "/proc/self/task/../root/",
            "/dev/shm/",
        ])
        .to_owned();
    let parts = ["a", "b", "etc", "srv", "data", "..", ".", "", "none", "tmp"];
    for _ in 0..random.below(5).saturating_sub(2) {
        target.push_str(random.pick(&parts));
        target.push('/');
    }
    target.push_str(random.pick(&["group", "group", "group", "group", "grp", "grp", "a", "..", "etc/grp"]));
    target.push_str(random.pick(&["", "", "", "", "", "", "/", "/."]));
    target
}

fn file(random: &mut Random, gid: &mut u32) -> Thing {
    if random.percent(60) {
        return Thing::Plain;
    }
    *gid += 1;
    let before = random.pick(&[
        "",
        "",
        "root:x:0:\n",
        "root:x:0:\nalice:x:1000:\n",
        "\u{a0}",
        "\u{85}",
        "#\n \t",
        "x:\u{b}\n\u{b}",
    ]);
    Thing::File { before, name: random.pick(&[4000, 4000, 4000, 3000]), gid: *gid }
}

impl Thing {
    /// Makes it.
    fn make(&self, path: &Path) -> Result<()> {
        match self {
            Self::Folder => fs::create_dir(path)?,
            Self::File { before, name, gid } => fs::write(path, format!("{before}{name}:x:{gid}:\n"))?,
            Self::Plain => fs::write(path, "root:x:0:\nalice:x:1000:\n")?,
            Self::Link(target) => symlink(target, path)?,
            Self::Device => mknod(path, SFlag::S_IFCHR, Mode::S_IRUSR | Mode::S_IROTH, makedev(1, 3))?,
        }
        Ok(())
    }
}

impl fmt::Display for Layout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tree = |f: &mut fmt::Formatter<'_>, tree: &Tree| {
            tree.iter().try_for_each(|(place, thing)| writeln!(f, "  {place}: {thing:?}"))
        };
        writeln!(f, "cwd {}, open mode {}, generated {:?}, root:", self.cwd, self.open_mode, self.generated)?;
        tree(f, &self.root)?;
        for (destination, number, part) in &self.mounts {
            writeln!(f, "volume {number} {part} at {destination}:")?;
            tree(f, self.volumes.get(*number).unwrap_or(&Tree::new()))?;
        }
        Ok(())
    }
}

/// Makes a tree below `root`. No link is followed, for an absolute one leads to this machine's own files.
fn plant(root: &Path, tree: &Tree) -> Result<()> {
    for (place, thing) in tree {
        let mut path = root.to_owned();
        let mut parts = Path::new(place).components().peekable();
        while let Some(Component::Normal(part)) = parts.next() {
            path.push(part);
            let there = fs::symlink_metadata(&path).ok();
            if parts.peek().is_none() {
                if there.is_none() {
                    thing.make(&path)?;
                }
            } else if there.as_ref().is_some_and(|there| !there.is_dir()) {
                break;
            } else if there.is_none() {
                fs::create_dir(&path)?;
            }
        }
    }
    Ok(())
}

/// Where one thread runs its containers.
struct Yard<'w> {
    world: &'w World,
    dir: PathBuf,
    hook: PathBuf,
}

/// What runc made of a container.
enum Created {
    Groups(BTreeSet<u32>),
    /// What was said.
    Failed(String),
}

impl<'w> Yard<'w> {
    fn new(world: &'w World) -> Result<Self> {
        Ok(Self { world, dir: world.folder()?, hook: plugin::binary(&world.run)? })
    }

    fn try_farm(&self, farm: u64, layout: &Layout) -> Result<Outcome> {
        let version = RUNC[usize::try_from(farm)? % RUNC.len()];
        let runc = if version == "1.1.5" {
            self.world.machine.runc()
        } else {
            self.world.machine.runc_at(version)?
        };
        let with = self.create(&runc, &format!("f{farm}-gated"), layout, true)?;
        let without = self.create(&runc, &format!("f{farm}-bare"), layout, false)?;
        let excess = |groups: &BTreeSet<u32>| -> Vec<u32> {
            groups.iter().copied().filter(|group| !STRICT.contains(group)).collect()
        };
        match (with, without) {
            (Created::Groups(groups), _) if !excess(&groups).is_empty() => {
                bail!("runc {version}: the gate let through {groups:?}")
            }
            (Created::Groups(_), Created::Groups(groups)) => {
                ensure!(
                    excess(&groups).is_empty(),
                    "runc {version}: not the same without the gate: {groups:?}"
                );
                Ok(Outcome::Started)
            }
            (Created::Groups(_), Created::Failed(said)) => {
                bail!("runc {version} fails without the gate: {said}")
            }
            (Created::Failed(said), without) if is_ours(&said) => {
                let told = alias(&said);
                let Created::Groups(groups) = without else { return Ok(Outcome::Broken) };
                if let Some(gid) = told {
                    let opened = groups.contains(&gid);
                    ensure!(opened, "runc {version} opens another file than the gate: {groups:?}, {said}");
                }
                Ok(Outcome::Refused { for_a_group: told.is_some(), turned: !excess(&groups).is_empty() })
            }
            (Created::Failed(said), Created::Groups(groups)) => {
                bail!("runc {version} fails with the gate alone ({groups:?} without): {said}")
            }
            (Created::Failed(_), Created::Failed(_)) => Ok(Outcome::Broken),
        }
    }

    /// Lets runc create the container, and takes it away again.
    fn create(&self, runc: &Path, name: &str, layout: &Layout, gated: bool) -> Result<Created> {
        let bundle = self.dir.join(name);
        let rootfs = bundle.join("rootfs");
        for folder in ["", "bin", "proc"] {
            fs::create_dir_all(rootfs.join(folder))?;
        }
        fs::hard_link(self.program()?, rootfs.join("bin/sleep"))?;
        plant(&rootfs, &layout.root)?;
        plant(&rootfs, &vec![("tmp".into(), Thing::Folder)])?;
        if layout.open_mode && fs::symlink_metadata(rootfs.join("etc"))?.is_dir() {
            fs::set_permissions(rootfs.join("etc"), fs::Permissions::from_mode(0o777))?;
        }
        for (number, volume) in layout.volumes.iter().enumerate() {
            let path = bundle.join(format!("volume-{number}"));
            fs::create_dir(&path)?;
            plant(&path, volume)?;
        }
        if let Some(generated) = &layout.generated {
            generated.make(&bundle.join("group"))?;
        }
        let id = format!("{}-{name}", self.dir.file_name().context("no name")?.display());
        fs::write(bundle.join("config.json"), self.spec(&bundle, &id, layout, gated).to_string())?;

        let pid_file = bundle.join("pid");
        let mut command = self.runc(runc);
        command.arg("create").arg("--bundle").arg(&bundle).arg("--pid-file").arg(&pid_file).arg(&id);
        let said = bundle.join("said");
        command.stdout(Stdio::null()).stderr(fs::File::create(&said)?);
        let mut child = self.world.run.spawn(&mut command)?;
        let created = match wait_for(TIMEOUT, || child.try_wait().transpose()).transpose()? {
            Some(status) if status.success() => {
                let pid = fs::read_to_string(&pid_file)?.trim().parse()?;
                Created::Groups(Identity::of_process(pid)?.groups())
            }
            Some(_) => Created::Failed(fs::read_to_string(&said)?),
            None => {
                child.kill()?;
                child.wait()?;
                Created::Failed(HANGS.to_owned())
            }
        };
        if matches!(&created, Created::Groups(_))
            || matches!(&created, Created::Failed(said) if said == HANGS)
        {
            finish(self.runc(runc).args(["delete", "--force", &id]), &self.dir)?;
        }
        fs::remove_dir_all(&bundle)?;
        Ok(created)
    }

    fn runc(&self, runc: &Path) -> Command {
        let mut command = Command::new(runc);
        command.arg("--root").arg(self.dir.join("state")).stdin(Stdio::null());
        command.env(run::VARIABLE, self.world.run.name());
        command
    }

    /// The program of all containers, which never runs.
    fn program(&self) -> Result<PathBuf> {
        let path = self.dir.join("busybox");
        if !path.exists() {
            fs::copy(self.world.machine.busybox(), &path)?;
        }
        Ok(path)
    }

    fn spec(&self, bundle: &Path, id: &str, layout: &Layout, gated: bool) -> Value {
        let mut mounts = vec![json!({"destination": "/proc", "type": "proc", "source": "proc"})];
        let mut bind = |source: PathBuf, destination: &str| {
            mounts.push(json!({
                "destination": destination, "type": "bind", "source": source, "options": ["rbind", "rw"],
            }));
        };
        for (destination, number, part) in &layout.mounts {
            let source = bundle.join(format!("volume-{number}")).join(part);
            // A part that is a link would be this machine's own file.
            if fs::symlink_metadata(&source).is_ok_and(|source| source.is_dir() || source.is_file()) {
                bind(source, destination);
            }
        }
        if layout.generated.is_some() {
            bind(bundle.join("group"), "/etc/group");
        }
        // What is not known of the declared groups makes no difference to the file.
        let state = State::Resolved { groups: STRICT.to_vec(), removed: Vec::new() };
        let hook = json!({"path": self.hook, "args": gate(state).args()});
        json!({
            "ociVersion": "1.0.2",
            "process": {
                "user": {"uid": 1000, "gid": 3000, "additionalGids": STRICT},
                "args": ["/bin/sleep", "1000"],
                "env": ["PATH=/bin"],
                "cwd": layout.cwd,
                // It could change its groups itself: what becomes of an exec is not the question here.
                "capabilities": {"bounding": ["CAP_SETGID"]},
            },
            "root": {"path": "rootfs"},
            "mounts": mounts,
            "hooks": {"createRuntime": if gated { json!([hook]) } else { json!([]) }},
            "linux": {
                "cgroupsPath": format!("/{}/{id}", self.world.run.name()),
                "namespaces": [{"type": "pid"}, {"type": "ipc"}, {"type": "uts"}, {"type": "mount"}],
            },
        })
    }
}

fn is_ours(said: &str) -> bool {
    said.contains("strict-groups: pod default/web, container app")
}

/// The group that the gate says the file would give.
fn alias(said: &str) -> Option<u32> {
    let (_, rest) = said.split_once("but has GID ")?;
    rest.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}
