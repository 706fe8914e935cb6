//! The filter itself, and the names of groups for log lines.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    fmt::Write as _,
};

use crate::{membership, text};

/// How many groups a process can have (`NGROUPS_MAX`, setgroups(2)).
pub const MOST: usize = 65_536;

/// How many groups of a list a log line has: a process may have 65,536.
const LISTED: usize = 64;

/// How many bytes of a group's name are shown.
const NAME_SHOWN: usize = 32;

/// What [`strict`] made of a process's groups.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Filtered {
    /// The groups that the process keeps: the supplementary list to write. Never empty.
    pub kept: Vec<u32>,
    /// The groups that were taken away, each once, in the order they stood.
    pub removed: Vec<u32>,
}

/// Applies the policy Strict (KEP-3619) to the supplementary groups `made` by the container
/// runtime, for a process with the primary group `gid` and the groups `declared` by its pod.
///
/// Kept is what is the primary group or declared, each once, in the order it stood. A declared
/// group that the runtime did not give is not added: the filter only ever removes. The one
/// exception is `gid`, put first when the list lacks it. The process has that group anyway, but
/// without it in the list a file's negative group permission (`rw----rw-`) is bypassed
/// (CVE-2023-25173), and an empty list makes a runtime skip `setgroups` altogether.
#[must_use]
pub fn strict(gid: u32, made: &[u32], declared: &[u32]) -> Filtered {
    let allowed: HashSet<u32> = declared.iter().copied().chain([gid]).collect();
    let mut seen = HashSet::with_capacity(made.len());
    let mut filtered = Filtered::default();

    for group in made.iter().copied().filter(|&group| seen.insert(group)) {
        if allowed.contains(&group) {
            filtered.kept.push(group);
        } else {
            filtered.removed.push(group);
        }
    }
    if !seen.contains(&gid) {
        filtered.kept.insert(0, gid);
    }
    filtered
}

/// The groups of `held` that are not `allowed`: each once, in ascending order.
#[must_use]
pub fn excess(held: impl IntoIterator<Item = u32>, allowed: impl IntoIterator<Item = u32>) -> Vec<u32> {
    let allowed: HashSet<u32> = allowed.into_iter().collect();
    let excess: BTreeSet<u32> = held.into_iter().filter(|group| !allowed.contains(group)).collect();
    excess.into_iter().collect()
}

/// The groups in a message: the first eight, and how many more there are.
pub fn shown(gids: &[u32]) -> String {
    const SHOWN: usize = 8;
    let mut text = gids.iter().take(SHOWN).map(u32::to_string).collect::<Vec<_>>().join(", ");
    if let Some(more) = gids.len().checked_sub(SHOWN).filter(|more| *more > 0) {
        // Writing to a String cannot fail.
        let _ = write!(text, " and {more} more");
    }
    text
}

/// Looks up the names of `gids` in the content of an image's `/etc/group`.
///
/// Gives one entry for each of `gids`, in their order: None where the file has no name. The first
/// line with a GID wins. Lines that are broken are passed over, as the C library does. The names
/// are made fit for a list in a log line, since image authors write them: one line of at most 32 bytes, without
/// `(`, `)`, `,` and `"`.
#[must_use]
pub fn names(group_file: &[u8], gids: &[u32]) -> Vec<Option<String>> {
    let mut wanted: HashMap<u32, Option<String>> = gids.iter().map(|&gid| (gid, None)).collect();
    let mut missing = wanted.len();

    for line in group_file.split(|&byte| byte == b'\n') {
        if missing == 0 {
            break;
        }
        let Some((name, gid)) = entry(line) else { continue };
        if let Some(slot @ None) = wanted.get_mut(&gid) {
            let name = text::list_name(&String::from_utf8_lossy(name), NAME_SHOWN);
            if !name.is_empty() {
                *slot = Some(name);
                missing -= 1;
            }
        }
    }
    gids.iter().map(|gid| wanted.get(gid).cloned().flatten()).collect()
}

/// The groups as one word for logs, `3000,4000`: the first 64, and how many more there are.
#[must_use]
pub fn list(gids: &[u32]) -> String {
    list_with_names(gids, &[])
}

/// The same with the names that [`names`] found, `44(video),1001`.
#[must_use]
pub fn list_with_names(gids: &[u32], names: &[Option<String>]) -> String {
    let mut text = String::new();
    for (place, gid) in gids.iter().take(LISTED).enumerate() {
        if place > 0 {
            text.push(',');
        }
        // Writing to a String cannot fail.
        let _ = match names.get(place) {
            Some(Some(name)) => write!(text, "{gid}({name})"),
            _ => write!(text, "{gid}"),
        };
    }
    if let Some(more) = gids.len().checked_sub(LISTED).filter(|more| *more > 0) {
        let _ = write!(text, " and {more} more");
    }
    text
}

/// A line of `/etc/group` that gives another group the number of one of ours as its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Alias {
    /// The GID that is written as a name.
    pub name: u32,
    /// The GID that a group of this name has, as runc reads it: 0 where the file has no number, and more than 32 bits
    /// where it has them, of which the kernel gets the lower ones.
    pub gid: i64,
}

/// Looks for a group in the content of a container's `/etc/group` whose name is one of `gids`
/// written as a number, but whose GID is another one.
///
/// runc before 1.3 looks each of a spec's additionalGids up in that file, by name as well as by
/// number, and takes what it finds. So such a line turns a group that was declared into one that
/// was not, behind the back of the spec.
#[must_use]
pub fn alias(group_file: &[u8], gids: &[u32]) -> Option<Alias> {
    let gids: HashSet<u32> = gids.iter().copied().collect();
    membership::lines(group_file).find_map(|line| {
        let mut fields = membership::fields(line);
        let written = str::from_utf8(fields.next()?).ok()?;
        let name: u32 = written.parse().ok()?;
        // It is compared as text: `+4000` and `04000` are other names.
        if name.to_string() != written {
            return None;
        }
        let gid = membership::number(fields.nth(1).unwrap_or_default());
        (gid != i64::from(name) && gids.contains(&name)).then_some(Alias { name, gid })
    })
}

/// The name and the GID of one line, `name:password:gid:members` (group(5)). None for comments and
/// for anything of another shape.
fn entry(line: &[u8]) -> Option<(&[u8], u32)> {
    let mut fields = line.trim_ascii().split(|&byte| byte == b':');
    let (name, _password, gid) = (fields.next()?, fields.next()?, fields.next()?);
    if name.is_empty() || name.starts_with(b"#") {
        return None;
    }
    Some((name, str::from_utf8(gid).ok()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::fuzzing::growth::assert_linear;

    fn filtered(kept: &[u32], removed: &[u32]) -> Filtered {
        Filtered { kept: kept.to_vec(), removed: removed.to_vec() }
    }

    #[test]
    fn group_that_is_named_like_another_number_is_found() {
        let found = |file: &str| alias(file.as_bytes(), &[3000, 4000]).map(|alias| (alias.name, alias.gid));
        assert_eq!(found("root:x:0:\n4000:x:50000:\n"), Some((4000, 50000)));
        assert_eq!(found(" 3000:x:0:\r\n"), Some((3000, 0)));
        for no_number in ["4000", "4000:x", "4000:x:", "4000:x:abc:", "4000:x: 4000:"] {
            assert_eq!(found(no_number), Some((4000, 0)), "{no_number}: runc takes it for 0");
        }
        assert_eq!(found("4000:x:99999999999:"), Some((4000, 99_999_999_999)));
        for space in ["\u{b}", "\u{a0}", "\u{85}", " \t", "\u{3000}"] {
            assert_eq!(found(&format!("{space}4000:x:50000:{space}")), Some((4000, 50000)), "{space:?}");
        }
        // The kernel would get 50000 and 4294967291 of these.
        for (gid, cut) in [(4_295_017_296, 50000), (-5, 4_294_967_291_u32)] {
            let zero = alias(format!("0:x:{gid}:\n").as_bytes(), &[0]).map(|alias| alias.gid);
            assert_eq!(zero, Some(gid), "cut to {cut}");
        }
        assert_eq!(alias(b"0:x:0:\n0:x:abc:\n", &[0]), None, "0 is 0");
        for harmless in [
            "",
            "4000:x:4000:",
            "5000:x:50000:",
            "a4000:x:1:",
            "x:x:4000:",
            ":::",
            "4 000:x:1:",
            "+4000:x:1:",
            "04000:x:1:",
            "4000 :x:1:",
            "#4000:x:1:",
        ] {
            assert_eq!(found(harmless), None, "{harmless}");
        }
    }

    #[test]
    fn example_pod() {
        assert_eq!(strict(3000, &[3000, 4000, 50000], &[4000]), filtered(&[3000, 4000], &[50000]));
    }

    #[test]
    fn group_both_declared_and_implied_stays() {
        assert_eq!(strict(3000, &[3000, 50000], &[50000]), filtered(&[3000, 50000], &[]));
    }

    #[test]
    fn order_stays_and_each_group_stands_once() {
        assert_eq!(strict(1, &[5, 9, 1, 5, 7, 9], &[7, 5]), filtered(&[5, 1, 7], &[9]));
    }

    #[test]
    fn primary_group_is_added_first_when_it_lacks() {
        assert_eq!(strict(3000, &[50000], &[]), filtered(&[3000], &[50000]));
        assert_eq!(strict(3000, &[4000], &[4000]), filtered(&[3000, 4000], &[]));
        assert_eq!(strict(0, &[], &[]), filtered(&[0], &[]));
    }

    #[test]
    fn declared_groups_are_never_added() {
        assert_eq!(strict(0, &[0], &[7, 8]), filtered(&[0], &[]));
    }

    #[test]
    fn ends_of_the_range() {
        assert_eq!(
            strict(u32::MAX, &[0, u32::MAX - 1], &[u32::MAX - 1]),
            filtered(&[u32::MAX, u32::MAX - 1], &[0])
        );
    }

    #[test]
    fn as_many_groups_as_the_kernel_allows() {
        let made: Vec<u32> = (0..65536).collect();
        let declared: Vec<u32> = made.iter().copied().filter(|gid| gid % 2 == 1).collect();
        let result = strict(1, &made, &declared);
        assert_eq!(result.kept, declared);
        assert_eq!(result.removed.len(), 32768);
    }

    /// What an image's author can repeat, and what it costs.
    #[test]
    fn work_is_linear_in_the_file() {
        for unit in
            [" ", "\n", "\u{a0}", "\u{3000}x", ":", "a", "9", "7:x:7:\n", "70000:x:1:\n", "\u{1b}:x:7:\n"]
        {
            let make = |length: usize| unit.repeat(length / unit.len());
            assert_linear(&format!("{unit:?}"), 64 * 1024, make, |text| {
                assert_eq!(alias(text.as_bytes(), &[7]), None);
                drop(names(text.as_bytes(), &[7]));
            });
        }
    }

    /// The pod's author writes the groups, the image's author the lines.
    #[test]
    fn work_is_linear_in_groups_and_lines() {
        let make = |groups: usize| {
            let gids: Vec<u32> = (1_000_000..).take(groups).collect();
            let lines = |gid: &u32| format!("{}:x:1:\n", gid + 1_000_000);
            (gids.iter().map(lines).collect::<String>(), gids)
        };
        assert_linear("alias", 4096, make, |(file, gids)| assert_eq!(alias(file.as_bytes(), gids), None));
        assert_linear("names", 4096, make, |(file, gids)| drop(names(file.as_bytes(), gids)));
        assert_linear("strict", 4096, make, |(_, gids)| drop(strict(0, gids, &gids[1..])));
        assert_linear("excess", 4096, make, |(_, gids)| {
            drop(excess(gids.iter().copied(), gids[1..].iter().copied()));
        });
    }

    #[test]
    fn finds_names() {
        let file = b"root:x:0:\nvideo:x:44:a,b\nimplicit:x:50000:alice\nagain:x:50000:\n";
        let found = names(file, &[50000, 1, 0, 50000]);
        assert_eq!(found, [Some("implicit".into()), None, Some("root".into()), Some("implicit".into())]);
        assert_eq!(names(file, &[]), Vec::<Option<String>>::new());
    }

    #[test]
    fn broken_lines_are_passed_over() {
        let file = b"\n::\n:x:7:\n#off:x:7:\nseven:x:seven:\nseven:x\nseven:x:-7:\nseven:x:4294967303:\n\xff\xfe\nok:x:7\r\n";
        assert_eq!(names(file, &[7]), [Some("ok".into())]);
    }

    #[test]
    fn name_cannot_forge_another_entry_of_a_list() {
        let names = names(b"x),0(root:x:50000:\n\"y\",1:x:50001:\n", &[50000, 50001]);
        assert_eq!(list_with_names(&[50000, 50001, 7], &names), "50000(x 0 root),50001(y 1),7");
    }

    #[test]
    fn long_list_is_cut_with_a_count() {
        let gids: Vec<u32> = (1..=65).collect();
        assert_eq!((list(&[]), list(&[3000, 4000])), (String::new(), "3000,4000".to_owned()));
        assert!(list(&gids[..64]).ends_with(",63,64"));
        assert!(list(&gids).ends_with(",63,64 and 1 more"));
        let names: Vec<_> = gids.iter().map(|_| Some("n".repeat(NAME_SHOWN))).collect();
        assert!(list_with_names(&gids, &names).ends_with("n) and 1 more"));
        assert!(list(&vec![u32::MAX; 200_000]).len() < 800);
    }

    #[test]
    fn names_are_made_safe() {
        let long = format!("{}:x:1:\n", "n".repeat(100_000));
        let name = names(long.as_bytes(), &[1]).pop().flatten().unwrap();
        assert!(name.len() <= NAME_SHOWN && name.ends_with('…'));
        assert_eq!(names(b"a\x1b[31m\rb\xff:x:2:", &[2]), [Some("a [31m b\u{fffd}".into())]);
        assert_eq!(names(b"\x1b:x:2:\nnext:x:2:\n", &[2]), [Some("next".into())]);
    }

    /// As it was written first: plainly right, and lines times groups.
    fn alias_by_a_list(group_file: &[u8], gids: &[u32]) -> Option<Alias> {
        membership::lines(group_file).find_map(|line| {
            let mut fields = membership::fields(line);
            let written = str::from_utf8(fields.next()?).ok()?;
            let gid = membership::number(fields.nth(1).unwrap_or_default());
            let name = gids.iter().copied().find(|name| name.to_string() == written)?;
            (gid != i64::from(name)).then_some(Alias { name, gid })
        })
    }

    proptest! {
        #[test]
        fn alias_is_what_it_was(
            lines in proptest::collection::vec("[ \u{a0}+0]{0,2}[0-9x]{0,2}[ x]{0,1}:x?:[-+ 0-9]{0,3}(:[ax,]{0,2})?", 0..8),
            gids in proptest::collection::vec(0_u32..12, 0..6),
        ) {
            let file = lines.join("\n");
            prop_assert_eq!(alias(file.as_bytes(), &gids), alias_by_a_list(file.as_bytes(), &gids));
        }

        #[test]
        fn only_removes(gid: u32, made: Vec<u32>, picks: Vec<(bool, u32)>) {
            // Half of the declared groups are among the made ones, so that the filter has something to keep.
            let declared: Vec<u32> = picks
                .into_iter()
                .map(|(known, n)| if known && !made.is_empty() { made[n as usize % made.len()] } else { n })
                .collect();
            let Filtered { kept, removed } = strict(gid, &made, &declared);
            prop_assert!(kept.contains(&gid));
            for group in &kept {
                prop_assert!(*group == gid || (made.contains(group) && declared.contains(group)));
            }
            for group in &removed {
                prop_assert!(made.contains(group) && *group != gid && !declared.contains(group));
            }
            for group in &made {
                prop_assert_eq!(1, kept.iter().chain(&removed).filter(|&g| g == group).count());
            }
            // A second time changes nothing.
            prop_assert_eq!(strict(gid, &kept, &declared), Filtered { kept, removed: vec![] });
        }

        #[test]
        fn any_bytes_are_a_group_file(file: Vec<u8>, gids: Vec<u32>) {
            prop_assert_eq!(names(&file, &gids).len(), gids.len());
        }
    }
}
