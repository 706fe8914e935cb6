//! What a process uses: memory, descriptors, threads, processor time (proc(5)).

use std::fmt;
use std::fs;
use std::time::Duration;

use anyhow::{Context, Result};

use e2e::wait_for;

/// One look at a process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Usage {
    /// Resident memory in KiB.
    pub(crate) rss: u64,
    /// The most that it ever was.
    pub(crate) peak: u64,
    pub(crate) threads: u64,
    pub(crate) descriptors: usize,
}

impl Usage {
    pub(crate) fn of(pid: u32) -> Result<Self> {
        let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            line.and_then(|line| line.split_whitespace().next()?.parse().ok()).context("no such field")
        };
        let descriptors = fs::read_dir(format!("/proc/{pid}/fd"))?.count();
        Ok(Self { rss: field("VmRSS:")?, peak: field("VmHWM:")?, threads: field("Threads:")?, descriptors })
    }

    /// Waits until descriptors and threads are as in `before`; gives what they are in the end.
    pub(crate) fn settled(pid: u32, before: &Self) -> Result<Self> {
        // A thread for blocking work is given back after 10 s.
        let same = |now: &Self| (now.threads, now.descriptors) == (before.threads, before.descriptors);
        let settled = wait_for(Duration::from_secs(40), || Self::of(pid).ok().filter(same));
        settled.map_or_else(|| Self::of(pid), Ok)
    }
}

impl fmt::Display for Usage {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { rss, peak, threads, descriptors } = self;
        write!(out, "{rss} KiB (at most {peak}), {descriptors} descriptors, {threads} threads")
    }
}

/// Processor time that a process has used, in clock ticks of 10 ms (stat, fields 14 and 15).
pub(crate) fn ticks(pid: u32) -> Result<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let (_, fields) = stat.rsplit_once(')').context("no name")?;
    let field = |place| fields.split_whitespace().nth(place).and_then(|text| text.parse().ok());
    let ticks = |place| -> Result<u64> { field(place).context("too few fields") };
    Ok(ticks(11)? + ticks(12)?)
}
