//! Random images and random security contexts, with the odd things that real
//! ones have.

use std::fmt::Write as _;

use anyhow::Result;

use e2e::image::Draft;
use e2e::random::Random;
use e2e::{ContainerSpec, Image, Machine};

/// So many cases use the same image: an import takes longer than a container.
pub(super) const CASES_PER_IMAGE: usize = 8;

/// A name that is a number is legal; `passwd` then has a say in what it means.
const USERS: [&str; 7] = ["app", "web", "db", "ops", "1000", "x-1.y", "root"];
const UIDS: [i64; 7] = [0, 1000, 1000, 1001, 2000, 65534, 2_147_483_647];
const GIDS: [i64; 11] = [0, 0, 7, 1000, 1001, 3000, 4000, 50000, 50001, 65534, 2_147_483_647];

/// The highest one. Rare, because runc takes it only where /etc/group has it,
/// and not in `passwd`: there containerd 2.x reads it as 4294967295, and fails.
const HIGHEST_GID: i64 = 4_294_967_294;
/// None is a number: runc before 1.3 takes a group of that name for the GID.
const GROUPS: [&str; 8] = ["root", "app", "wheel", "video", "docker", "tape", "data", "implicit"];

const BROKEN_PASSWD: [&str; 8] = [
    "",
    "broken",
    "::::::",
    "#app:x:7:7:::",
    "app:x:seven:7:::",
    "web:x",
    ":x:1000:7:::",
    "db:x:99999999999999999999:7:::",
];
const BROKEN_GROUP: [&str; 12] = [
    "",
    "broken",
    ":::",
    "#off:x:50010:app,web",
    "text:x:seven:app,web,db",
    "short:x",
    ":x:50011:app,web",
    "spaces:x:50012: app , web ",
    "commas:x:50013:,,app,,web,",
    "minus:x:-5:app,db",
    "above:x:4294967296:app,ops",
    "returns:x:50014:app\r",
];

/// What decides the identity in an image.
pub(super) struct ImageCase {
    number: usize,
    user: String,
    passwd: Option<String>,
    group: Option<String>,
    /// /etc/group is a link to a file elsewhere in the image.
    linked: bool,
    users: Vec<&'static str>,
}

impl ImageCase {
    pub(super) fn new(seed: u64, number: usize) -> Self {
        let random = &mut Random::new(seed, 1_000_000 + number as u64);
        let users = match random.some(&USERS, 60) {
            none if none.is_empty() => vec!["app"],
            users => users,
        };
        let groups = random.some(&GROUPS, 75);

        let mut passwd = String::new();
        for name in &users {
            odd_line(random, &mut passwd, &BROKEN_PASSWD);
            let _ = writeln!(passwd, "{name}:x:{}:{}::/:/bin/sh", random.pick(&UIDS), random.pick(&GIDS));
        }
        let mut group = String::new();
        for name in &groups {
            odd_line(random, &mut group, &BROKEN_GROUP);
            let members = random.some(&users, 60).join(",");
            let _ = writeln!(group, "{name}:x:{}:{members}", any_gid(random, 10));
        }
        if random.percent(20) {
            for gid in 0..random.below(250) {
                let _ = writeln!(group, "many-{gid}:x:{}:{}", 60000 + gid, users.join(","));
            }
        }

        let named = random.pick(&users);
        // Mostly a group that the image has: an unknown one is refused.
        let primary = if groups.is_empty() || random.percent(10) { "wheel" } else { random.pick(&groups) };
        let user = match random.below(20) {
            0..=5 => String::new(),
            6..=9 => named.to_owned(),
            10..=12 => random.pick(&UIDS).to_string(),
            13 | 14 => format!("{named}:{primary}"),
            15 | 16 => format!("{}:{}", random.pick(&UIDS), random.pick(&GIDS)),
            17 | 18 => format!("{named}:{}", random.pick(&GIDS)),
            _ => "nobody-knows".to_owned(),
        };
        Self {
            number,
            user,
            passwd: (!random.percent(6)).then_some(passwd),
            group: (!random.percent(6)).then_some(group),
            linked: random.percent(15),
            users,
        }
    }

    pub(super) fn name(&self) -> String {
        format!("localhost/strict-groups/random-{}:1", self.number)
    }

    pub(super) fn build(&self, machine: &Machine) -> Result<Image> {
        let mut draft = Draft::new(&self.name()).user(&self.user);
        if let Some(passwd) = &self.passwd {
            draft = draft.passwd(passwd.as_str());
        }
        if let Some(group) = &self.group {
            draft = if self.linked {
                draft.file("/etc/group-here", 0o644, group.as_str()).link("/etc/group", "group-here")
            } else {
                draft.group(group.as_str())
            };
        }
        draft.build(machine)
    }

    /// Everything that one needs to make the image by hand.
    pub(super) fn describe(&self) -> String {
        let file = |content: &Option<String>| {
            content.as_deref().map_or_else(|| "(missing)".to_owned(), |text| format!("{text:?}"))
        };
        format!(
            "image: User {:?}\n  /etc/passwd {}\n  /etc/group {}{}",
            self.user,
            file(&self.passwd),
            if self.linked { "by a link: " } else { "" },
            file(&self.group),
        )
    }
}

/// Now and then a line of another shape, before a good one.
fn odd_line(random: &mut Random, file: &mut String, lines: &[&str]) {
    if random.percent(20) {
        file.push_str(random.pick(lines));
        file.push('\n');
    }
}

fn any_gid(random: &mut Random, highest: usize) -> i64 {
    if random.percent(highest) { HIGHEST_GID } else { random.pick(&GIDS) }
}

/// A CRI security context.
#[derive(Debug, Default)]
pub(super) struct Security {
    run_as_user: Option<i64>,
    run_as_username: Option<&'static str>,
    run_as_group: Option<i64>,
    supplemental_groups: Vec<i64>,
}

impl Security {
    pub(super) fn new(seed: u64, number: usize, image: &ImageCase) -> Self {
        let random = &mut Random::new(seed, number as u64);
        let mut security = Self::default();
        match random.below(20) {
            // As a pod without runAsUser on an image with a user of its own.
            0..=4 => {}
            5..=11 => security.run_as_user = Some(random.pick(&UIDS)),
            12..=17 => security.run_as_username = Some(random.pick(&image.users)),
            18 if random.percent(50) => security.run_as_username = Some("nobody-knows"),
            // No kubelet sends both; the runtimes decide which one counts.
            _ => {
                security.run_as_user = Some(random.pick(&UIDS));
                security.run_as_username = Some(random.pick(&image.users));
            }
        }
        let named = security.run_as_user.is_some() || security.run_as_username.is_some();
        if random.percent(if named { 50 } else { 5 }) {
            security.run_as_group = Some(any_gid(random, 2));
        }
        if random.percent(70) {
            for _ in 0..random.below(6) {
                // The pool is the image's too, so some are both declared and implied.
                security.supplemental_groups.push(any_gid(random, 2));
            }
        }
        security
    }

    pub(super) fn spec(&self, name: &str, image: &ImageCase) -> ContainerSpec {
        let mut spec = ContainerSpec::new(name, &image.name()).supplemental(&self.supplemental_groups);
        if let Some(uid) = self.run_as_user {
            spec = spec.user(uid);
        }
        if let Some(name) = self.run_as_username {
            spec = spec.user_name(name);
        }
        if let Some(gid) = self.run_as_group {
            spec = spec.group(gid);
        }
        spec
    }
}
