//! Which groups an image's `/etc/passwd` and `/etc/group` give a user.
//!
//! Container runtimes in Go read these files with the same small parser (moby/sys/user, once
//! runc's libcontainer/user). It takes far more than the C library does: a number that is none
//! counts as 0, one that is too long wraps around when it becomes a GID, missing fields are empty.
//! Whoever builds an image can write such lines, so they are read here in the same way.
//!
//! It is used where nothing tells which groups a pod declared. What the files give is taken away
//! then, so when in doubt the answer here has a group too many and never one too few: all names of
//! a uid count, although a runtime takes only the one by which the user was found, and a user without a
//! name has a name that is empty, which some runtimes find among the members of `group:x:5:,`.

use std::collections::{BTreeSet, HashSet};

/// The groups, in the container's own GIDs, that have one of the users `uids` as a member.
/// `passwd` and `group` are the contents of the files, empty where the image has none.
#[must_use]
pub fn implied(passwd: &[u8], group: &[u8], uids: &[u32]) -> BTreeSet<u32> {
    let uids: HashSet<u32> = uids.iter().copied().collect();
    let names: HashSet<&[u8]> = lines(passwd)
        .filter_map(|line| {
            let mut fields = fields(line);
            let name = fields.next()?;
            let uid = cut(number(fields.nth(1).unwrap_or_default()));
            uids.contains(&uid).then_some(name)
        })
        .collect();
    if names.is_empty() {
        return BTreeSet::new();
    }
    lines(group)
        // The passwd parser knows no comments, the group parser does.
        .filter(|line| !line.starts_with(b"#"))
        .filter_map(|line| {
            let mut fields = fields(line).skip(2);
            let gid = cut(number(fields.next()?));
            // No text is a list without members; a comma alone is one with two that have no name.
            let members = fields.next().filter(|members| !members.is_empty())?;
            members.split(|&byte| byte == b',').any(|member| names.contains(member)).then_some(gid)
        })
        .collect()
}

/// The lines of a file without white space around them; empty ones are left out.
pub fn lines(file: &[u8]) -> impl Iterator<Item = &[u8]> {
    file.split(|&byte| byte == b'\n').map(trim).filter(|line| !line.is_empty())
}

/// The fields of a line.
pub fn fields(line: &[u8]) -> impl Iterator<Item = &[u8]> {
    line.split(|&byte| byte == b':')
}

/// A number as Go's `Atoi` reads it when its error is ignored.
pub fn number(text: &[u8]) -> i64 {
    let (negative, digits) = match text {
        [b'-', digits @ ..] => (true, digits),
        [b'+', digits @ ..] | digits => (false, digits),
    };
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return 0;
    }
    let magnitude = digits
        .iter()
        .fold(0_i128, |sum, digit| sum.saturating_mul(10).saturating_add(i128::from(*digit - b'0')));
    // What is out of range becomes the nearest number of 64 bits.
    let value = if negative { -magnitude } else { magnitude };
    i64::try_from(value.clamp(i64::MIN.into(), i64::MAX.into())).unwrap_or_default()
}

/// The GID that the kernel gets for a number: its lower 32 bits.
fn cut(number: i64) -> u32 {
    let [a, b, c, d, ..] = number.to_le_bytes();
    u32::from_le_bytes([a, b, c, d])
}

/// Takes white space off both ends, that of Unicode included, as Go's `bytes.TrimSpace` does. Only the ends are looked
/// at, and no byte more than twice: a line may be all of a file.
fn trim(mut line: &[u8]) -> &[u8] {
    // A character has at most four bytes, and those behind it do not matter.
    while let Some(rest) = line.get(..line.len().min(4)).and_then(|start| {
        let first = start.utf8_chunks().next()?.valid().chars().next().filter(|c| c.is_whitespace())?;
        line.get(first.len_utf8()..)
    }) {
        line = rest;
    }
    while let Some(rest) = (1..=4).find_map(|length| {
        let (rest, last) = line.split_at_checked(line.len().checked_sub(length)?)?;
        let last = str::from_utf8(last).ok()?;
        (last.chars().count() == 1 && last.chars().all(char::is_whitespace)).then_some(rest)
    }) {
        line = rest;
    }
    line
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::fuzzing::growth::assert_linear;

    const PASSWD: &str = "root:x:0:0::/:/bin/sh\nalice:x:1000:1000::/:/bin/sh\n";

    fn given(passwd: &str, group: &str, uid: u32) -> Vec<u32> {
        implied(passwd.as_bytes(), group.as_bytes(), &[uid]).into_iter().collect()
    }

    #[test]
    fn example_pods_image() {
        let group = "root:x:0:\nalice:x:1000:\nimplicit:x:50000:alice\nother:x:50001:bob,root\n";
        assert_eq!(given(PASSWD, group, 1000), [50000]);
        assert_eq!(given(PASSWD, group, 0), [50001]);
        assert_eq!(given(PASSWD, group, 1001), [] as [u32; 0]);
        assert_eq!(given("", group, 1000), [] as [u32; 0], "a number without a name is in no group");
        assert_eq!(given(PASSWD, "", 1000), [] as [u32; 0]);
    }

    #[test]
    fn all_names_of_a_uid_count() {
        let passwd = "a:x:7:7::/:\nb:x:7:7::/:\n";
        assert_eq!(given(passwd, "x:x:1:a\ny:x:2:b\nz:x:3:c\n", 7), [1, 2]);
    }

    #[test]
    fn what_is_no_number_is_0() {
        for broken in ["x:x:abc:alice", "x:x::alice", "x:x: 5:alice", "x:x:0x5:alice", "x:x:5_0:alice"] {
            assert_eq!(given(PASSWD, broken, 1000), [0], "{broken}");
        }
        for no_uid in ["alice", "alice:x", "alice:x:", "alice:x:one:1::/:"] {
            assert_eq!(given(no_uid, "x:x:5:alice", 0), [5], "{no_uid}");
        }
    }

    #[test]
    fn long_numbers_wrap_around() {
        assert_eq!(given(PASSWD, "x:x:4295017296:alice", 1000), [50000]);
        assert_eq!(given(PASSWD, "x:x:-1:alice", 1000), [u32::MAX]);
        assert_eq!(given(PASSWD, "x:x:99999999999999999999:alice", 1000), [u32::MAX]);
        assert_eq!(given(PASSWD, "x:x:-99999999999999999999:alice", 1000), [0]);
        assert_eq!(given(PASSWD, "x:x:-9223372036854775807:alice", 1000), [1]);
        assert_eq!(given(PASSWD, "x:x:-9223372036854775808:alice", 1000), [0]);
        assert_eq!(given(PASSWD, "x:x:9223372036854775807:alice", 1000), [u32::MAX]);
        assert_eq!(given(PASSWD, "x:x:+5:alice", 1000), [5]);
        assert_eq!(given("alice:x:4294968296:0::/:", "x:x:5:alice", 1000), [5]);
    }

    #[test]
    fn broken_lines() {
        assert_eq!(given(PASSWD, "x:x:5", 1000), [] as [u32; 0]);
        assert_eq!(given(PASSWD, "x:x:5:alice:more", 1000), [5]);
        assert_eq!(given(PASSWD, "x:x:5:bob,,alice,\r", 1000), [5]);
        assert_eq!(given(PASSWD, "x:x:5: alice", 1000), [] as [u32; 0], "spaces inside stay");
        assert_eq!(given(PASSWD, "\u{a0}\tx:x:5:alice \u{2003}\r\n", 1000), [5]);
        assert_eq!(given(PASSWD, " #x:x:5:alice\n", 1000), [] as [u32; 0]);
        assert_eq!(given("#alice:x:1000:0::/:", "x:x:5:#alice", 1000), [5]);
        assert_eq!(given(":x:1000:0::/:", "x:x:5:\ny:x:6:,\nz:x:7", 1000), [6], "no name is a name");
        assert_eq!(implied(b"\xff:x:1:", b"\xffx:x:5:\xff", &[1]).into_iter().collect::<Vec<_>>(), [5]);
    }

    /// What an image's author can repeat, and what it costs.
    #[test]
    fn work_is_linear_in_the_files() {
        for unit in [
            " ",
            "\n",
            "\u{a0}",
            "\u{3000}x",
            "\u{85}",
            "\u{80}",
            ":",
            ",",
            "a",
            "9",
            "a:x:1000:\n",
            "x:x:5:alice\n",
            " x \n",
        ] {
            let make = |length: usize| unit.repeat(length / unit.len());
            let file = |text: &String| drop(implied(text.as_bytes(), text.as_bytes(), &[1000]));
            assert_linear(&format!("{unit:?}"), 64 * 1024, make, file);
            let members = |length| format!("x:x:5:{}", make(length));
            assert_linear(&format!("members {unit:?}"), 64 * 1024, members, |text| {
                drop(implied(PASSWD.as_bytes(), text.as_bytes(), &[1000]));
            });
        }
    }

    /// As it was written first: plainly right, and quadratic.
    fn trim_by_validating_all(mut line: &[u8]) -> &[u8] {
        while let Some(rest) = line.utf8_chunks().next().and_then(|chunk| {
            let first = chunk.valid().chars().next().filter(|c| c.is_whitespace())?;
            line.get(first.len_utf8()..)
        }) {
            line = rest;
        }
        while let Some(rest) = (1..=line.len()).find_map(|length| {
            let (rest, last) = line.split_at(line.len() - length);
            let last = str::from_utf8(last).ok()?;
            (last.chars().count() == 1 && last.chars().all(char::is_whitespace)).then_some(rest)
        }) {
            line = rest;
        }
        line
    }

    /// White space, letters, and what is no character or only a part of one.
    fn bits() -> impl Strategy<Value = Vec<u8>> {
        let bit = proptest::sample::select(vec![
            &b" "[..],
            b"\t",
            b"\x0b",
            b"\r",
            b"\xc2\xa0",
            b"\xc2\x85",
            b"\xe3\x80\x80",
            b"\xe2\x80\xa8",
            b"a",
            b":",
            b"\xf0\x9f\x98\x80",
            b"\xc2",
            b"\xa0",
            b"\x80",
            b"\xe3\x80",
            b"\xff",
            b"\xf0\x9f\x98",
            b"\xe1\x9a\x80",
        ]);
        proptest::collection::vec(bit, 0..12).prop_map(|bits| bits.concat())
    }

    proptest! {
        #[test]
        fn trim_is_what_it_was(line in prop_oneof![bits(), any::<Vec<u8>>()]) {
            prop_assert_eq!(trim(&line), trim_by_validating_all(&line));
        }

        #[test]
        fn any_bytes_are_files(passwd: Vec<u8>, group: Vec<u8>, uid: u32) {
            let _any = implied(&passwd, &group, &[uid]);
        }

        #[test]
        fn line_gives_its_group_wherever_it_stands(before in "[a-z:0-9\n,#]{0,40}", after in "[a-z:0-9\n,#]{0,40}", gid: u32) {
            let group = format!("{before}\nx:x:{gid}:alice\n{after}");
            prop_assert!(implied(PASSWD.as_bytes(), group.as_bytes(), &[1000]).contains(&gid));
        }
    }
}
