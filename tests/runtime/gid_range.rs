//! GIDs at the ends of their range: what the runtime accepts under Merge works under Strict, and
//! what it refuses is refused in the same words.

use anyhow::{Result, bail, ensure};
use libtest_mimic::Trial;

use crate::compare::{Compared, Pair};
use crate::identities::{IMAGE, all};
use crate::support::{ContainerSpec, Cri};
use crate::world::trial;

/// The largest GID there is: 4294967295 is (gid_t) -1, which the kernel takes for "no change".
const LARGEST: u32 = 4_294_967_294;

/// The primary group, the declared groups, and whether it has to work.
const CASES: [(&str, i64, &[i64], bool); 14] = [
    ("largest declared", 3000, &[4_294_967_294], true),
    ("largest primary", 4_294_967_294, &[4000], true),
    ("largest in both", 4_294_967_294, &[4_294_967_294], true),
    ("beyond 31 bits", 2_147_483_648, &[2_147_483_647, 2_147_483_649], true),
    ("beyond 16 bits", 65536, &[65535, 65537], true),
    ("0 declared", 3000, &[0], true),
    ("0 primary", 0, &[4000], true),
    ("0 in both", 0, &[0], true),
    ("-1 declared", 3000, &[-1], false),
    ("-1 primary", -1, &[4000], false),
    ("4294967295 declared", 3000, &[4_294_967_295], false),
    ("4294967295 primary", 4_294_967_295, &[4000], false),
    ("4294967296 declared", 3000, &[4_294_967_296], false),
    ("largest 64 bit number declared", 3000, &[i64::MAX], false),
];

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial("gid_range::as_the_runtime_has_it_with_runc", |world| cases(world.old.cri(), "runc")),
        trial("gid_range::a_thousand_declared_groups", |world| {
            let declared: Vec<i64> = (0..1000).map(|n| i64::from(LARGEST) - n * 7919).collect();
            let pair = Pair::run(world.old.cri(), "gid-thousand")?;
            check(world.old.cri(), &pair, 3000, &declared, true)?;
            pair.remove(world.old.cri())
        }),
    ]
}

fn cases(cri: &Cri, name: &str) -> Result<()> {
    let pair = Pair::run(cri, &format!("gid-range-{name}"))?;
    all(CASES.map(|(case, gid, declared, works)| (case, check(cri, &pair, gid, declared, works))))?;
    pair.remove(cri)
}

fn check(cri: &Cri, pair: &Pair, gid: i64, declared: &[i64], works: bool) -> Result<()> {
    let spec = ContainerSpec::new("app", IMAGE).user(1000).group(gid).supplemental(declared);
    match pair.compare(cri, &spec)? {
        Compared::Ran { strict, merged } => {
            ensure!(works, "runs as {strict}, under Merge {merged}");
            let wanted =
                declared.iter().chain([&gid]).copied().map(u32::try_from).collect::<Result<_, _>>()?;
            ensure!(strict.groups() == wanted, "{strict} instead of {wanted:?}");
            ensure!(i64::from(strict.gid) == gid, "{strict}");
            ensure!(merged.groups().contains(&50000), "nothing to remove: under Merge {merged}");
        }
        Compared::Refused { reason } if works => bail!("refused: {reason}"),
        Compared::Refused { reason } => {
            ensure!(!reason.contains("strict-groups:"), "refused by us: {reason}");
        }
    }
    Ok(())
}
