//! Who a process is: uid, gid and supplementary groups.

use std::collections::BTreeSet;
use std::fmt;
use std::fs;

use anyhow::{Context, Result};

/// Ids as the container itself sees them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    pub uid: u32,
    pub gid: u32,
    /// The supplementary groups, as the kernel has them.
    pub supplementary: BTreeSet<u32>,
}

impl Identity {
    /// A running process, its ids translated into its user namespace.
    pub fn of_process(pid: u32) -> Result<Self> {
        let read = |file: &str| {
            let path = format!("/proc/{pid}/{file}");
            fs::read_to_string(&path).with_context(|| format!("reading {path}"))
        };
        let host = Self::from_status(&read("status")?)?;
        let (uids, gids) = (IdMap::parse(&read("uid_map")?)?, IdMap::parse(&read("gid_map")?)?);
        Ok(Self {
            uid: uids.to_container(host.uid)?,
            gid: gids.to_container(host.gid)?,
            supplementary: host
                .supplementary
                .iter()
                .map(|gid| gids.to_container(*gid))
                .collect::<Result<_>>()?,
        })
    }

    /// The text of a /proc/PID/status (proc(5)); the second number of Uid and
    /// Gid is the effective id.
    pub fn from_status(text: &str) -> Result<Self> {
        let field = |name: &str| -> Result<Vec<u32>> {
            let line = text.lines().find_map(|line| line.strip_prefix(name)).context("no such line")?;
            line.split_whitespace().map(|number| Ok(number.parse()?)).collect()
        };
        let ids = |name: &str| field(name).with_context(|| format!("{name} of a process status: {text:?}"));
        Ok(Self {
            uid: *ids("Uid:")?.get(1).context("no effective uid")?,
            gid: *ids("Gid:")?.get(1).context("no effective gid")?,
            supplementary: ids("Groups:")?.into_iter().collect(),
        })
    }

    /// What counts for access: the gid and the supplementary groups.
    pub fn groups(&self) -> BTreeSet<u32> {
        let mut groups = self.supplementary.clone();
        groups.insert(self.gid);
        groups
    }
}

/// As `id` shows it.
impl fmt::Display for Identity {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let groups: Vec<String> = self.groups().iter().map(u32::to_string).collect();
        write!(out, "uid={} gid={} groups={}", self.uid, self.gid, groups.join(","))
    }
}

/// A `uid_map` or `gid_map` of a process (user namespaces, in proc(5)).
struct IdMap(Vec<(u32, u32, u32)>);

impl IdMap {
    fn parse(text: &str) -> Result<Self> {
        let line = |line: &str| {
            let mut numbers = line.split_whitespace().map(str::parse);
            let mut next = || numbers.next().context("too short")?.context("no number");
            Ok((next()?, next()?, next()?))
        };
        text.lines().map(line).collect::<Result<_>>().map(Self).context("reading an id map")
    }

    fn to_container(&self, host: u32) -> Result<u32> {
        let inside = |&(container, start, length): &(u32, u32, u32)| {
            let offset = host.checked_sub(start).filter(|offset| *offset < length)?;
            container.checked_add(offset)
        };
        self.0.iter().find_map(inside).with_context(|| format!("id {host} is not in the user namespace"))
    }
}
