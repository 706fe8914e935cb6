//! GIDs at the ends of their range: what the runtimes accept under Merge works under Strict, and
//! what they refuse is refused in the same words.

use anyhow::{Context, Result, ensure};
use libtest_mimic::Trial;

use crate::compare::{Compared, Pair};
use crate::steps::{IMAGE, all};
use crate::world::trial;
use e2e::image::Draft;
use e2e::{ContainerSpec, Cri};

/// The largest GID there is: 4294967295 is `(gid_t) -1`, which the kernel takes for "no change".
const LARGEST: i64 = 4_294_967_294;

/// runc's own limit, and that of containerd for the primary group.
const RUNC_LARGEST: i64 = 2_147_483_647;

/// Who accepts it.
#[derive(Clone, Copy, PartialEq)]
enum Accepted {
    /// Both OCI runtimes.
    Always,
    /// crun, since runc stops at 2^31 - 1.
    ByCrun,
    /// Nobody, and we do not get to say anything.
    Never,
    /// Not by us: it is no GID. What containerd makes of it (it cuts off bits) is not what the pod
    /// declares.
    NotByUs,
}

/// The primary group, the declared groups, and who has to accept them.
const CASES: [(&str, i64, &[i64], Accepted); 14] = [
    ("largest declared", 3000, &[LARGEST], Accepted::ByCrun),
    ("runc's largest declared", 3000, &[RUNC_LARGEST], Accepted::Always),
    ("one more than that declared", 3000, &[RUNC_LARGEST + 1], Accepted::ByCrun),
    ("runc's largest primary", RUNC_LARGEST, &[4000], Accepted::Always),
    ("one more than that primary", RUNC_LARGEST + 1, &[4000], Accepted::Never),
    ("beyond 16 bits", 65536, &[65535, 65537], Accepted::Always),
    ("0 declared", 3000, &[0], Accepted::Always),
    ("0 primary", 0, &[4000], Accepted::Always),
    ("0 in both", 0, &[0], Accepted::Always),
    ("-1 declared", 3000, &[-1], Accepted::NotByUs),
    ("-1 primary", -1, &[4000], Accepted::Never),
    ("4294967295 declared", 3000, &[4_294_967_295], Accepted::Never),
    ("4294967296 declared", 3000, &[4_294_967_296], Accepted::NotByUs),
    ("largest 64 bit number declared", 3000, &[i64::MAX], Accepted::NotByUs),
];

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial("gid_range::as_the_runtime_has_it_with_runc", |world| cases(world.old.cri(), "runc")),
        trial("gid_range::as_the_runtime_has_it_with_crun", |world| cases(world.old.cri(), "crun")),
        trial("gid_range::largest_primary_group", |world| {
            // containerd takes it from the image only, and runc not at all.
            let image = Draft::new("localhost/strict-groups/gid-largest:1")
                .passwd(format!("alice:x:1000:{LARGEST}::/:/bin/sh\n"))
                .group("local:x:50000:alice\n")
                .build(&world.machine)?;
            world.old.import(&image)?;
            let cri = world.old.cri();
            let pair = Pair::run(cri, "crun", "gid-largest")?;
            let spec = ContainerSpec::new("app", image.name()).user(1000).supplemental(&[LARGEST - 1]);
            runs(pair.compare(cri, &spec)?, LARGEST, &[LARGEST - 1])?;
            pair.remove(cri)
        }),
        trial("gid_range::a_thousand_declared_groups", |world| {
            let declared: Vec<i64> = (0..1000).map(|n| RUNC_LARGEST - n * 7919).collect();
            let pair = Pair::run(world.old.cri(), "", "gid-thousand")?;
            let spec = ContainerSpec::new("app", IMAGE).user(1000).group(3000).supplemental(&declared);
            runs(pair.compare(world.old.cri(), &spec)?, 3000, &declared)?;
            pair.remove(world.old.cri())
        }),
    ]
}

fn cases(cri: &Cri, handler: &str) -> Result<()> {
    let pair = Pair::run(cri, handler, &format!("gid-range-{handler}"))?;
    all(CASES.map(|(case, gid, declared, accepted)| {
        let spec = ContainerSpec::new("app", IMAGE).user(1000).group(gid).supplemental(declared);
        let result = pair.compare(cri, &spec).and_then(|compared| match accepted {
            Accepted::NotByUs => refused_by_us(compared, handler),
            Accepted::ByCrun if handler == "crun" => runs(compared, gid, declared),
            Accepted::Always => runs(compared, gid, declared),
            Accepted::Never | Accepted::ByCrun => compared.refused_by_the_runtime(),
        });
        (case, result)
    }))?;
    pair.remove(cri)
}

/// It has to run with exactly these groups, and Merge has to give it one more.
fn runs(compared: Compared, gid: i64, declared: &[i64]) -> Result<()> {
    let (strict, merged) = compared.ran()?;
    let wanted = declared.iter().chain([&gid]).copied().map(u32::try_from).collect::<Result<_, _>>()?;
    ensure!(strict.groups() == wanted, "{strict} instead of {wanted:?}");
    ensure!(i64::from(strict.gid) == gid, "{strict}");
    ensure!(merged.groups().contains(&50000), "nothing to remove: under Merge {merged}");
    Ok(())
}

fn refused_by_us(compared: Compared, handler: &str) -> Result<()> {
    let reason = compared.strict.err().context("it runs")?;
    // crun keeps to itself what a hook says, and some of this it finds out before it runs one.
    if handler != "crun" {
        let said = reason.find("strict-groups: pod default/gid-range-").with_context(|| reason.clone())?;
        ensure!(reason[said..].contains("supplemental_groups"), "{reason}");
    }
    Ok(())
}
