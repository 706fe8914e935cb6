//! The plugin at work with what it keeps of root's privileges. What it starts with is in tests/privilege.rs.

use std::fs;

use anyhow::{Context, Result, ensure};
use libtest_mimic::Trial;

use crate::steps::{app, check, strict};
use crate::world::{World, trial};

/// `CAP_SYS_PTRACE`.
const KEPT: &str = "0000000000080000";
const NONE: &str = "0000000000000000";

pub(crate) fn trials() -> Vec<Trial> {
    vec![trial("privilege::no_thread_has_more_than_the_first", every_thread)]
}

/// The names of removed groups are read by a thread of their own.
fn every_thread(world: &World) -> Result<()> {
    check(&world.old, &strict("privilege"), &app(), &[3000, 4000])?;
    world.old_plugin.wait_log(|line| {
        line.contains("pod=\"privilege\"") && line.contains("removed_groups=\"50000(group-in-image)\"")
    })?;
    let pid = world.old_plugin.pid().context("the plugin does not run")?;
    let mut threads = 0;
    for task in fs::read_dir(format!("/proc/{pid}/task"))? {
        let status = fs::read_to_string(task?.path().join("status"))?;
        for (key, wanted) in
            [("CapInh", NONE), ("CapPrm", KEPT), ("CapEff", KEPT), ("CapAmb", NONE), ("NoNewPrivs", "1")]
        {
            ensure!(status.contains(&format!("{key}:\t{wanted}\n")), "{key} is not {wanted}: {status}");
        }
        threads += 1;
    }
    ensure!(threads > 1, "the thread for names is gone already");
    Ok(())
}
