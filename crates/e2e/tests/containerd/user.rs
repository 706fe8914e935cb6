//! All ways in which a container's user is named: under Strict the process has its primary group
//! and the declared groups, and is otherwise who it is under Merge.

use anyhow::{Result, ensure};
use libtest_mimic::Trial;

use crate::compare::{Compared, Pair};
use crate::steps::all;
use crate::world::{World, trial};
use e2e::image::Draft;
use e2e::{ContainerSpec, Cri};

const PASSWD: &str = "root:x:0:0:root:/:/bin/sh\nalice:x:1000:1500::/:/bin/sh\nbob:x:1001:1001::/:/bin/sh\n";
const GROUP: &str =
    "root:x:0:root\nalice:x:1500:\nstaff:x:3000:\nlocal:x:50000:alice,root\nadmin:x:50001:root,alice\n";

/// A container, who it has to be, the groups that it declares, and whether Merge gives it more.
struct Case {
    name: &'static str,
    /// What follows `localhost/strict-groups/user-`.
    image: &'static str,
    spec: fn(ContainerSpec) -> ContainerSpec,
    identity: (u32, u32),
    declared: &'static [u32],
    more_under_merge: bool,
}

/// A case with everything declared but the obvious.
const fn case(
    name: &'static str,
    image: &'static str,
    spec: fn(ContainerSpec) -> ContainerSpec,
    identity: (u32, u32),
    declared: &'static [u32],
    more_under_merge: bool,
) -> Case {
    Case { name, image, spec, identity, declared, more_under_merge }
}

const BY_POD: [Case; 19] = [
    case("nobody named: root", "plain", |s| s, (0, 0), &[], true),
    case("nobody named, groups declared", "plain", |s| s.supplemental(&[4000]), (0, 0), &[4000], true),
    case("root", "plain", |s| s.user(0).supplemental(&[4000]), (0, 0), &[4000], true),
    case("root with group", "plain", |s| s.user(0).group(3000), (0, 3000), &[], true),
    case("root by name", "plain", |s| s.user_name("root").supplemental(&[7]), (0, 0), &[7], true),
    case("number", "plain", |s| s.user(1000).supplemental(&[4000]), (1000, 1500), &[4000], true),
    case("number with group", "plain", |s| s.user(1000).group(3000), (1000, 3000), &[], true),
    case("number with the group of passwd", "plain", |s| s.user(1000).group(1500), (1000, 1500), &[], true),
    case("name", "plain", |s| s.user_name("alice").supplemental(&[4000]), (1000, 1500), &[4000], true),
    case("name with group", "plain", |s| s.user_name("alice").group(3000), (1000, 3000), &[], true),
    case("number as name", "plain", |s| s.user_name("1000"), (1000, 1500), &[], true),
    case("user in no group", "plain", |s| s.user(1001).supplemental(&[4000]), (1001, 1001), &[4000], false),
    case("unknown uid", "plain", |s| s.user(7777).supplemental(&[4000]), (7777, 0), &[4000], false),
    case("unknown uid with group", "plain", |s| s.user(7777).group(50000), (7777, 50000), &[], false),
    case(
        "declared and implied",
        "plain",
        |s| s.user(1000).supplemental(&[50000]),
        (1000, 1500),
        &[50000],
        true,
    ),
    case(
        "declared twice",
        "plain",
        |s| s.user(1000).supplemental(&[4000, 4000]),
        (1000, 1500),
        &[4000],
        true,
    ),
    case(
        "declared is the primary",
        "plain",
        |s| s.user(1000).group(3000).supplemental(&[3000]),
        (1000, 3000),
        &[3000],
        true,
    ),
    case(
        "primary is implied",
        "plain",
        |s| s.user(1000).group(50000).supplemental(&[4000]),
        (1000, 50000),
        &[4000],
        true,
    ),
    case(
        "all that is implied is declared",
        "plain",
        |s| s.user(1000).group(3000).supplemental(&[50001, 50000]),
        (1000, 3000),
        &[50000, 50001],
        false,
    ),
];

const BY_IMAGE: [Case; 6] = [
    case("image: name", "alice", |s| s.supplemental(&[4000]), (1000, 1500), &[4000], true),
    case("image: name and group", "alice-staff", |s| s.supplemental(&[4000]), (1000, 3000), &[4000], true),
    case("image: number", "1000", |s| s.supplemental(&[4000]), (1000, 1500), &[4000], true),
    case("image: number and group", "1000-3000", |s| s, (1000, 3000), &[], true),
    case("image's user is overruled", "alice-staff", |s| s.user(1001).group(1), (1001, 1), &[], false),
    case("no passwd file", "bare", |s| s.user(1000).supplemental(&[4000]), (1000, 0), &[4000], false),
];

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial("user::named_by_the_pod", |world| {
            import(world, image("plain").passwd(PASSWD).group(GROUP))?;
            cases(world, "user-pod", &BY_POD)
        }),
        trial("user::named_by_the_image", |world| {
            for (name, user) in [
                ("alice", "alice"),
                ("alice-staff", "alice:staff"),
                ("1000", "1000"),
                ("1000-3000", "1000:3000"),
            ] {
                import(world, image(name).user(user).passwd(PASSWD).group(GROUP))?;
            }
            import(world, image("bare"))?;
            cases(world, "user-image", &BY_IMAGE)
        }),
        trial("user::in_a_thousand_groups", |world| {
            let lines: Vec<String> = (0..1000).map(|n| format!("g{n}:x:{}:alice", 20000 + n)).collect();
            import(world, image("thousand").passwd(PASSWD).group(lines.join("\n")))?;
            let cri = world.old.cri();
            let pair = Pair::run(cri, "", "user-thousand")?;
            let spec = ContainerSpec::new("app", &name("thousand")).user(1000).supplemental(&[20500, 4000]);
            let (strict, merged) = pair.compare(cri, &spec)?.ran()?;
            ensure!(strict.groups() == [1500, 4000, 20500].into_iter().collect(), "{strict}");
            ensure!(merged.groups().len() == 1002, "Merge gives {}", merged.groups().len());
            pair.remove(cri)
        }),
        trial("user::that_the_runtime_refuses_is_refused_as_without_us", |world| {
            import(world, image("refused").passwd(PASSWD).group(GROUP))?;
            let cri = world.old.cri();
            let pair = Pair::run(cri, "", "user-refused")?;
            let app = || ContainerSpec::new("app", &name("refused"));
            all([
                ("group without user", app().group(3000)),
                ("unknown name", app().user_name("mallory")),
                ("negative user", app().user(-1)),
                ("negative group", app().user(1000).group(-1)),
            ]
            .map(|(case, spec)| {
                (case, pair.compare(cri, &spec).and_then(Compared::refused_by_the_runtime))
            }))?;
            pair.remove(cri)
        }),
    ]
}

fn cases(world: &World, name: &str, cases: &[Case]) -> Result<()> {
    let cri = world.old.cri();
    let pair = Pair::run(cri, "", name)?;
    all(cases.iter().map(|case| (case.name, check(cri, &pair, case))))?;
    pair.remove(cri)
}

fn check(cri: &Cri, pair: &Pair, case: &Case) -> Result<()> {
    let spec = (case.spec)(ContainerSpec::new("app", &name(case.image)));
    let (strict, merged) = pair.compare(cri, &spec)?.ran()?;
    let (uid, gid) = case.identity;
    ensure!((strict.uid, strict.gid) == (uid, gid), "{strict} instead of uid {uid}, gid {gid}");
    ensure!((merged.uid, merged.gid) == (uid, gid), "under Merge {merged}");
    let wanted = case.declared.iter().copied().chain([gid]).collect();
    ensure!(strict.groups() == wanted, "{strict} instead of {wanted:?}");
    ensure!(strict.groups().is_subset(&merged.groups()), "{strict}, under Merge only {merged}");
    // Otherwise the case would not show that anything was taken away.
    let more = strict.groups() != merged.groups();
    ensure!(more == case.more_under_merge, "{strict}, under Merge {merged}");
    Ok(())
}

fn name(image: &str) -> String {
    format!("localhost/strict-groups/user-{image}:1")
}

fn image(image: &str) -> Draft {
    Draft::new(&name(image))
}

fn import(world: &World, draft: Draft) -> Result<()> {
    world.old.import(&draft.build(&world.machine)?)
}
