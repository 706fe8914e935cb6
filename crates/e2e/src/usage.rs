//! What a process uses: memory, descriptors, threads, processor time (proc(5)).

use std::fmt;
use std::fs;
use std::time::Duration;

use anyhow::{Context, Result};
use nix::time::clock_getcpuclockid;
use nix::unistd::Pid;

use super::wait_for;

/// One look at a process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Usage {
    /// Resident memory in KiB.
    pub rss: u64,
    /// The part of it that is not backed by a file, in KiB.
    pub anonymous: u64,
    /// The most that it ever was.
    pub peak: u64,
    pub threads: u64,
    pub descriptors: usize,
}

impl Usage {
    pub fn of(pid: u32) -> Result<Self> {
        let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            line.and_then(|line| line.split_whitespace().next()?.parse().ok()).context("no such field")
        };
        let descriptors = fs::read_dir(format!("/proc/{pid}/fd"))?.count();
        Ok(Self {
            rss: field("VmRSS:")?,
            anonymous: field("RssAnon:")?,
            peak: field("VmHWM:")?,
            threads: field("Threads:")?,
            descriptors,
        })
    }

    /// Waits until descriptors and threads are as in `before`; gives what they are in the end.
    pub fn settled(pid: u32, before: &Self) -> Result<Self> {
        // A thread for blocking work is given back after 10 s.
        let same = |now: &Self| (now.threads, now.descriptors) == (before.threads, before.descriptors);
        let settled = wait_for(Duration::from_secs(40), || Self::of(pid).ok().filter(same));
        settled.map_or_else(|| Self::of(pid), Ok)
    }
}

impl fmt::Display for Usage {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { rss, anonymous: _, peak, threads, descriptors } = self;
        write!(out, "{rss} KiB (at most {peak}), {descriptors} descriptors, {threads} threads")
    }
}

/// CPU time, user and system, of all threads, also of those that have ended.
pub fn cpu(pid: u32) -> Result<Duration> {
    Ok(clock_getcpuclockid(Pid::from_raw(pid.try_into()?))?.now()?.into())
}
