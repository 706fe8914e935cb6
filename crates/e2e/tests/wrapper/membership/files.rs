//! Odd `/etc/passwd` and `/etc/group` files: those that somebody thought of, and random ones.

use std::fmt::{self, Write as _};

use anyhow::{Context, Result};

use e2e::random::Random;

const DEFAULT_SEED: u64 = 3619;
const DEFAULT_CASES: usize = 5;

/// Who the container is to run as.
#[derive(Clone)]
pub(super) enum User {
    Id(i64),
    Name(&'static str),
}

impl fmt::Display for User {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Id(uid) => write!(out, "{uid}"),
            Self::Name(name) => write!(out, "{name}"),
        }
    }
}

/// The files of an image, and users to run as.
pub(super) struct Files {
    pub(super) name: String,
    pub(super) passwd: Vec<u8>,
    pub(super) group: Vec<u8>,
    pub(super) users: Vec<User>,
    /// Several names have one uid, so more groups count as the image's than an engine gives to one name;
    /// or a group has the user's own name, which containerd leaves out.
    pub(super) overlap: bool,
}

const ALICE: &str = "root:x:0:0::/:/bin/sh\nalice:x:1000:1000::/:/bin/sh\n";

/// Name, passwd, group, whether the files overlap.
const KNOWN: [(&str, &str, &str, bool); 22] = [
    ("the example pod", ALICE, "alice:x:1000:\nimplicit:x:50000:alice\n", false),
    ("no file", "", "", false),
    ("a line without an end", ALICE, "implicit:x:50000:alice", false),
    ("CRLF", "root:x:0:0::/:\r\nalice:x:1000:1000::/:\r\n", "a:x:50000:bob,alice\r\nb:x:5:alice\r\n", false),
    (
        "spaces around",
        " \talice:x:1000:1000::/: \t\n",
        "\t a:x:50000:alice \t\n\u{b}b:x:5:alice\u{c}\n",
        false,
    ),
    (
        "spaces of Unicode",
        "\u{a0}alice:x:1000:7::/:\u{3000}\n",
        "\u{2003}a:x:50000:alice\u{2028}\n\u{85}b:x:5:alice\u{85}\n\u{200b}c:x:7:alice\u{200b}\n",
        false,
    ),
    ("spaces inside", ALICE, "a:x:50000: alice\nb:x: 5:alice\nc:x:7:bob, alice ,\n", false),
    (
        "comments",
        "#alice:x:1000:1000::/:\n  #bob:x:7:7::/:\nalice:x:1000:1000::/:\n",
        "#a:x:50000:alice,#alice\n  #b:x:5:alice\na:x:7:alice,#alice\n",
        true,
    ),
    ("too few fields", "alice\nbob:x\nalice:x:1000\n", "a\na:x\na:x:50000\na:x:5:\na:x:7:alice\n", true),
    ("too many fields", "alice:x:1000:1000::/:/bin/sh:more:and:more\n", "a:x:50000:alice:bob:more\n", false),
    (
        "numbers that are none",
        "alice:x:1000:x::/:\nzero:x:abc:7::/:\n",
        "a:x:abc:alice\nb:x:0x5:alice\nc:x:5_0:alice\nd:x:5.0:alice\ne:x:+7:alice\nf:x:007:alice\n",
        true,
    ),
    (
        "empty numbers",
        "alice:x:1000:::/:\nempty:x:::::/:\n",
        "a:x::alice\nb:x::empty\nc:x:50000:empty\n",
        true,
    ),
    (
        "wrap-around",
        "alice:x:4294968296:1000::/:\nroot:x:4294967296:0::/:\n",
        "a:x:4295017296:alice\nb:x:-1:alice\nc:x:5:root\nd:x:50000:alice\n",
        true,
    ),
    (
        "beyond 64 bits",
        "big:x:99999999999999999999:7::/:\nalice:x:1000:1000::/:\n",
        "a:x:99999999999999999999:alice\nb:x:-99999999999999999999:alice\nc:x:9223372036854775808:alice\ne:x:-9223372036854775807:alice\nd:x:50000:big\n",
        true,
    ),
    (
        "several users with one uid",
        "alice:x:1000:1000::/:\nbob:x:1000:7::/:\ncarol:x:1000:8::/:\n",
        "a:x:50000:alice\nb:x:5:bob\nc:x:7:carol,alice\n",
        true,
    ),
    ("one name, several uids", "alice:x:1000:1000::/:\nalice:x:7:7::/:\n", "a:x:50000:alice\n", false),
    ("one group, several lines", ALICE, "a:x:50000:bob\na:x:50000:alice\na:x:5:alice\n", false),
    ("a group with the user's name", ALICE, "alice:x:50000:alice\nb:x:5:alice\n", true),
    (
        "a name that is a number",
        "1000:x:7:7::/:\nalice:x:1000:1000::/:\n",
        "a:x:50000:1000\nb:x:5:alice\n",
        true,
    ),
    ("no name", ":x:1000:1000::/:\n", "a:x:50000:\nb:x:5:,\nc:x:7:bob,,\n", true),
    ("no name before one", ":x:1000:1000::/:\nalice:x:1000:1000::/:\n", "a:x:50000:,\nb:x:5:alice\n", true),
    ("commas", ALICE, "a:x:50000:,,alice,,\nb:x:5:,\nc:x:7:alice,alice\n", false),
];

/// The known files and the random ones.
pub(super) fn all() -> Result<Vec<Files>> {
    let users = |passwd: &str| {
        let mut users = vec![User::Id(1000), User::Name("alice")];
        // Who is 0 there is odd.
        users.extend(
            ["zero", "empty", "root"]
                .iter()
                .any(|name| passwd != ALICE && passwd.contains(name))
                .then_some(User::Id(0)),
        );
        users
    };
    let mut all: Vec<Files> = KNOWN
        .iter()
        .map(|(name, passwd, group, overlap)| Files {
            name: (*name).to_owned(),
            passwd: (*passwd).into(),
            group: (*group).into(),
            users: users(passwd),
            overlap: *overlap,
        })
        .collect();

    // Longer than any buffer of a reader: 4 KiB, 64 KiB, 1 MiB.
    for length in [5_000, 70_000, 1_100_000] {
        all.push(Files {
            name: format!("a line of {length} bytes"),
            passwd: ALICE.into(),
            group: format!("a:x:50000:{}alice\nb:x:5:alice\n", "somebody,".repeat(length / 9)).into(),
            users: vec![User::Id(1000)],
            overlap: false,
        });
    }
    all.push(Files {
        name: "a user behind a line of 70000 bytes".to_owned(),
        passwd: format!("root:x:0:0:{}:/:\nalice:x:1000:1000::/:\n", "x".repeat(70_000)).into(),
        group: "a:x:50000:alice\n".into(),
        users: vec![User::Id(1000), User::Name("alice")],
        overlap: false,
    });
    all.push(Files {
        name: "bytes that are no text".to_owned(),
        passwd: b"\xff:x:7:7::/:\n\xc2\xa0alice:x:1000:1000::/:\xe2\x80\n".to_vec(),
        group: b"\xa0a:x:50000:alice\nb:x:5:\xff,alice\xff\nc:x:7:alice\x00\nd:x:60001:\xff\n\xe3\x80\x80e:x:60002:alice\xe3\x80\x80\n".to_vec(),
        users: vec![User::Id(1000), User::Id(7)],
        overlap: false,
    });

    let seed = setting("STRICT_GROUPS_SEED", DEFAULT_SEED)?;
    let cases = setting("STRICT_GROUPS_CASES", DEFAULT_CASES)?;
    all.extend((0..cases).map(|number| random(seed, number)));
    Ok(all)
}

fn setting<T: std::str::FromStr>(variable: &str, default: T) -> Result<T> {
    let Ok(text) = std::env::var(variable) else { return Ok(default) };
    text.parse().ok().with_context(|| format!("{variable}={text:?} is no number"))
}

const NAMES: [&str; 9] = ["alice", "bob", "alice", "root", "", "#alice", " alice", "1000", "al\u{a0}ice"];
const NUMBERS: [&str; 16] = [
    "1000",
    "1000",
    "0",
    "7",
    "5",
    "50000",
    "50001",
    "-1",
    "4294968296",
    "4295017296",
    "",
    "abc",
    "+1000",
    "1_000",
    "99999999999999999999",
    "01000",
];
const ENDS: [&str; 7] = ["\n", "\n", "\n", "\r\n", "\n\n", " \n", "\u{3000}\n"];
const STARTS: [&str; 6] = ["", "", "", " ", "#", "\u{a0}"];

fn random(seed: u64, number: usize) -> Files {
    let random = &mut Random::new(seed, 7_000_000 + number as u64);
    let mut passwd = String::from(if random.percent(70) { "alice:x:1000:1000::/:\n" } else { "" });
    for _ in 0..random.below(5) {
        let (name, uid, gid) = (random.pick(&NAMES), random.pick(&NUMBERS), random.pick(&NUMBERS));
        let fields = [name, "x", uid, gid, "", "/", ""];
        let fields = fields.get(..=random.below(fields.len())).unwrap_or_default().join(":");
        let _ = write!(passwd, "{}{fields}{}", random.pick(&STARTS), random.pick(&ENDS));
    }
    let mut group = String::new();
    for line in 0..random.below(12) {
        let members: Vec<&str> = (0..random.below(4)).map(|_| random.pick(&NAMES)).collect();
        let (gid, members) = (random.pick(&NUMBERS), members.join(","));
        let own = format!("g{line}");
        let fields =
            [if random.percent(80) { &own } else { random.pick(&NAMES) }, "x", gid, &members, "more"];
        let count = if random.percent(80) { 3 } else { random.below(fields.len()) };
        let fields = fields.get(..=count).unwrap_or_default().join(":");
        let _ = write!(group, "{}{fields}{}", random.pick(&STARTS), random.pick(&ENDS));
    }
    Files {
        name: format!("random files {number} of seed {seed}"),
        passwd: passwd.into(),
        group: group.into(),
        users: vec![User::Id(1000), User::Id(0), User::Name("alice")],
        overlap: true,
    }
}
