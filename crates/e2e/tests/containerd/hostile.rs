//! Pods and images that are written to keep the plugin busy, to fill its memory, or to keep it from registering.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use libtest_mimic::Trial;

use crate::attacks::{Node, With};
use crate::steps::{
    MERGED, STRICT, app, check, expect, fresh, fresh_image, fresh_with, merge_works, named, says, strict,
    strict_works,
};
use crate::world::{World, trial};
use e2e::image::Draft;
use e2e::{ContainerSpec, Containerd, Handler, Kind, Options, Plugin, Pod, wait_for};

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial("hostile::six_containers_of_65430_groups_leave_the_plugin_in_service", |world| {
            many_declared(world, 65_430 / fraction())
        }),
        trial("hostile::image_with_1_3_million_groups_is_strict_in_bounds", |world| {
            many_in_image(world, 1_300_000 / fraction())
        }),
        trial("hostile::environment_beyond_nri_is_told_and_outlived", environment),
        trial("hostile::more_groups_than_the_kernel_allows_are_refused", too_many),
        trial("hostile::ordinary_containers_start_beside_500_hostile_ones", |world| {
            beside(world, (500 / fraction()) as usize, (100 / fraction()) as usize)
        }),
    ]
}

/// `STRICT_GROUPS_HOSTILE_FRACTION=10` makes the inputs ten times smaller, for a table. So it is for a debug build, which
/// is too slow for the time that the plugin gives itself.
fn fraction() -> u32 {
    let told = std::env::var("STRICT_GROUPS_HOSTILE_FRACTION").ok().and_then(|text| text.parse().ok());
    told.unwrap_or(if is_release() { 1 } else { 10 })
}

fn is_release() -> bool {
    std::env::var_os("STRICT_GROUPS_BIN").is_some()
}

/// The limit of the `DaemonSet`, in KiB.
const MEMORY_LIMIT: u64 = 256 * 1024;

/// What may stay resident, in KiB.
const KEPT: u64 = 8 * 1024;

/// Prints what the plugin needed and kept.
fn figures(plugin: &Plugin, what: &str) -> Result<Figures> {
    let pid = plugin.pid().context("the plugin does not run")?;
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let field = |name: &str| -> Result<u64> {
        let line = status.lines().find_map(|line| line.strip_prefix(name)).context("no such field")?;
        Ok(line.split_whitespace().next().context("no value")?.parse()?)
    };
    let (rss, peak) = (field("VmRSS:")?, field("VmHWM:")?);
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let (_, fields) = stat.rsplit_once(')').context("no name")?;
    let ticks = fields.split_whitespace().skip(11).take(2).map(str::parse::<u64>).sum::<Result<u64, _>>()?;
    println!("hostile, {what}: {rss} KiB resident, at most {peak} KiB, CPU {} ms", ticks * 10);
    Ok(Figures { rss, peak })
}

struct Figures {
    rss: u64,
    peak: u64,
}

impl Figures {
    /// An error beyond the bounds. What stays is only told of a release build: others are larger themselves.
    fn bounded(&self) -> Result<()> {
        ensure!(self.peak < MEMORY_LIMIT, "{} KiB were needed", self.peak);
        ensure!(!is_release() || self.rss < KEPT, "{} KiB stay", self.rss);
        Ok(())
    }
}

/// GIDs that no image gives.
fn gids(count: u32) -> Vec<i64> {
    (100_000..100_000 + i64::from(count)).collect()
}

/// They were started without the plugin, so it has to look at all of them when it registers.
fn many_declared(world: &World, count: u32) -> Result<()> {
    let daemon = fresh(world, Kind::V1_7)?;
    let cri = daemon.cri();
    let declared = gids(count);
    let pod = cri.run_pod(&strict("many").supplemental(&declared))?;
    for number in 0..6 {
        cri.launch(&pod, &named(&format!("app{number}")).supplemental(&declared))?;
    }
    let waiting = cri.create(&pod, &named("waiting").supplemental(&declared))?;
    let begin = Instant::now();
    let plugin = Plugin::start(&daemon, None, &[])?;
    println!("hostile, six containers of {count} groups: registered after {:?}", begin.elapsed());
    strict_works(&daemon, "beside-many")?;
    merge_works(&daemon, "beside-many-merge")?;
    cri.start(&waiting)?;
    let violated = || Some(plugin.log().matches("VIOLATED").count()).filter(|count| *count == 6);
    wait_for(Duration::from_secs(60), violated).with_context(|| plugin.log())?;
    let figures = figures(&plugin, &format!("six containers of {count} groups"))?;
    let log = plugin.log();
    ensure!(
        log.lines().all(|line| line.len() < 2000),
        "a line of the log is {:?} bytes long",
        log.lines().map(str::len).max()
    );
    ensure!(plugin.registrations() == 1, "registered again:\n{log}");
    figures.bounded()
}

/// An image that puts its user into `count` groups.
fn crowded(count: u32) -> Draft {
    let mut group = String::from("root:x:0:\nalice:x:1000:\n");
    for gid in 200_000..200_000 + count {
        // Writing to a String cannot fail.
        let _ = writeln!(group, "g{gid}:x:{gid}:alice");
    }
    Draft::new(&format!("localhost/strict-groups/crowded-{count}:1"))
        .passwd("root:x:0:0:root:/:/bin/sh\nalice:x:1000:1000::/:/bin/sh\n")
        .group(group)
}

fn many_in_image(world: &World, count: u32) -> Result<()> {
    // crun reads no /etc/group. With runc before 1.3 the gate refuses such a container: its file is beyond 10 MiB.
    let crun = Handler::new("crun", world.machine.crun());
    let daemon = fresh_with(world, Kind::V1_7, Options::default().nri().handler(crun))?;
    let image = crowded(count).build(&world.machine)?;
    daemon.import(&image)?;
    let plugin = Plugin::start(&daemon, None, &[])?;
    let spec =
        |name: &str| ContainerSpec::new(name, image.name()).user(1000).group(3000).supplemental(&[4000]);
    let begin = Instant::now();
    let pod = daemon.cri().run_pod(&strict("crowded").handler("crun"))?;
    let launched = daemon.cri().launch(&pod, &spec("app"));
    println!("hostile, image with {count} groups: created and started after {:?}", begin.elapsed());
    let figures_of_start = figures(&plugin, &format!("image with {count} groups"))?;
    let container = launched.with_context(|| plugin.log())?;
    expect(&daemon, &container, &STRICT)?;
    let line = plugin.wait_log(|line| line.contains("strict") && line.contains("container=\"app\""))?;
    ensure!(line.len() < 4000 && line.contains(" more"), "{} bytes: {line:.300}", line.len());
    ensure!(plugin.registrations() == 1, "registered again:\n{}", plugin.log());
    drop(plugin);

    // The same with one that waits for its start, and with those that run, at a registration.
    let waiting = daemon.cri().create(&pod, &spec("waiting"))?;
    let plugin = Plugin::start(&daemon, None, &[])?;
    check(&daemon, &strict("beside-crowded").handler("crun"), &app(), &STRICT)?;
    daemon.cri().start(&waiting).with_context(|| plugin.log())?;
    expect(&daemon, &waiting, &STRICT)?;
    figures_of_start.bounded()?;
    figures(&plugin, &format!("image with {count} groups, at the registration"))?.bounded()
}

/// What containerd would have to send at a registration is more than its NRI can.
fn environment(world: &World) -> Result<()> {
    let node = Node::start(world, With::NoPlugin)?;
    let daemon = &node.daemon;
    fresh_image(world, daemon)?;
    let pod = daemon.cri().run_pod(&Pod::new("large"))?;
    let value = "x".repeat(120_000);
    let mut containers = Vec::new();
    for number in 0..10 {
        let spec =
            (0..16).fold(named(&format!("large{number}")), |spec, n| spec.env(&format!("V{n}"), &value));
        containers.push(daemon.cri().launch(&pod, &spec)?);
    }
    let plugin = Plugin::launch(daemon, None, &[])?;
    let told = plugin.wait_log(|line| line.contains("strict-groups-runtime"));
    println!("{}", plugin.log());
    told?;
    // The gate of the node stands in for it, and Merge goes on.
    let refused = daemon.cri().run_pod(&strict("without"))?;
    let error = daemon.cri().launch(&refused, &app()).err().map(|error| error.message).unwrap_or_default();
    says(&error, &["Strict is asked for, but the strict-groups plugin did not process this container"])?;
    check(daemon, &Pod::new("large-merge"), &app(), &MERGED)?;
    std::thread::sleep(Duration::from_secs(10));
    let log = plugin.log();
    ensure!(log.lines().count() < 12, "it is told again and again:\n{log}");
    // Once they are gone it registers by itself.
    daemon.cri().remove_pod(&pod.id)?;
    wait_for(Duration::from_secs(90), || (plugin.registrations() > 0).then_some(()))
        .with_context(|| plugin.log())?;
    strict_works(daemon, "after-large")?;
    figures(&plugin, "environment of 19 MB")?.bounded()
}

/// `NGROUPS_MAX` is 65,536.
fn too_many(world: &World) -> Result<()> {
    let daemon: &Containerd = &world.old;
    let pod = daemon.cri().run_pod(&strict("too-many"))?;
    let spec = app().supplemental(&gids(65_537));
    let error = daemon.cri().launch(&pod, &spec).err().map(|error| error.message).unwrap_or_default();
    says(&error, &["pod default/too-many, container app", "65538 groups", "65536"])?;
    daemon.cri().remove_pod(&pod.id)?;
    merge_works(daemon, "beside-too-many")
}

/// Every kind of hostile container at once, beside ordinary ones, on a node with static gate and plugin.
fn beside(world: &World, hostile: usize, ordinaries: usize) -> Result<()> {
    let node = Node::start(world, With::Plugin)?;
    let (daemon, plugin) = (&node.daemon, node.plugin.as_ref().context("no plugin")?);
    fresh_image(world, daemon)?;
    let alice = "root:x:0:0:root:/:/bin/sh\nalice:x:1000:1000::/:/bin/sh\n";
    let image = |name: &str| Draft::new(&format!("localhost/strict-groups/{name}:1")).passwd(alice);
    let kinds = [
        (false, image("spaces").group(" ".repeat(512 * 1024)), 1),
        (true, image("spaces-strict").group(" ".repeat(512 * 1024)), 1),
        (true, image("declares").group("root:x:0:\n"), 60_000 / fraction()),
        (true, crowded(13_000 / fraction()), 1),
        (
            true,
            image("link").link("/etc/group", "/proc/self/root/srv/grp").file(
                "/srv/grp",
                0o644,
                "4000:x:0:\n",
            ),
            1,
        ),
    ];
    let mut specs = Vec::new();
    for (number, (is_strict, draft, groups)) in kinds.into_iter().enumerate() {
        let image = draft.build(&world.machine)?;
        daemon.import(&image)?;
        let name = format!("hostile{number}");
        let pod = daemon.cri().run_pod(&if is_strict { strict(&name) } else { Pod::new(&name) })?;
        specs.push((pod, image.name().to_owned(), gids(groups)));
    }
    let ordinary = |count: usize, when: &str| -> Result<Duration> {
        let mut took = Vec::new();
        for number in 0..count {
            let name = format!("{when}{number}");
            let begin = Instant::now();
            if number % 2 == 0 {
                check(daemon, &strict(&name), &app(), &STRICT)?;
            } else {
                check(daemon, &Pod::new(&name), &app(), &MERGED)?;
            }
            took.push(begin.elapsed());
        }
        took.sort();
        took.get(took.len() / 2).copied().context("none")
    };
    let alone = ordinary(10, "alone")?;

    let next = AtomicUsize::new(0);
    let attack = || -> Result<(usize, usize)> {
        let (mut started, mut refused) = (0, 0);
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            let (Some((pod, image, groups)), true) = (specs.get(number % specs.len()), number < hostile)
            else {
                return Ok((started, refused));
            };
            let spec = ContainerSpec::new(&format!("c{number}"), image).user(1000).group(3000);
            match daemon.cri().launch(pod, &spec.supplemental(groups)) {
                Ok(container) => {
                    started += 1;
                    daemon.cri().stop(&container)?;
                    daemon.cri().remove(&container)?;
                }
                Err(error) => {
                    ensure!(error.message.contains("strict-groups: "), "{image}: {error}");
                    refused += 1;
                }
            }
        }
    };
    let (beside, (started, refused)) = std::thread::scope(|scope| -> Result<_> {
        let attackers = [(); 3].map(|()| scope.spawn(attack));
        let beside = ordinary(ordinaries, "beside");
        let mut sum = (0, 0);
        for attacker in attackers {
            let (started, refused) = attacker.join().map_err(|_| anyhow::anyhow!("a thread panicked"))??;
            sum = (sum.0 + started, sum.1 + refused);
        }
        Ok((beside?, sum))
    })?;
    println!(
        "hostile, {hostile} beside ordinary ones: {started} started, {refused} refused; an ordinary pod took {alone:?} \
         alone and {beside:?} beside them"
    );
    ensure!(plugin.registrations() == 1, "registered again:\n{}", plugin.log());
    figures(plugin, "hostile containers beside ordinary ones")?.bounded()
}
