//! What exists of a run: processes, mounts, cgroups, sockets, interfaces, files.
//!
//! Found by the run's name in what the kernel shows, not by a list that we
//! would have to keep: such a list is what is missing after a crash.

use std::fs;
use std::path::{Path, PathBuf};

use super::run::VARIABLE;

/// Everything that is left of a run, one line each; empty after a clean end.
pub fn leftovers(name: &str, dir: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for pid in processes(name) {
        let command = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let command = String::from_utf8_lossy(&command).replace('\0', " ");
        found.push(format!("process {pid} {command}"));
    }
    found.extend(mounts(name).iter().map(|path| format!("mount {}", path.display())));
    found.extend(cgroups(name).iter().map(|path| format!("cgroup {}", path.display())));
    found.extend(sockets(name).iter().map(|path| format!("socket {}", path.display())));
    found.extend(interfaces(name).iter().map(|interface| format!("network interface {interface}")));
    found.extend(cni_results(name).iter().map(|path| format!("file {}", path.display())));
    if dir.exists() {
        found.push(format!("folder {}", dir.display()));
    }
    found
}

/// Processes of the run: started by us or by something that we started (the
/// environment is inherited by shims and hooks), or inside one of its
/// containers (by cgroup, and by mounts for a runtime that makes no cgroups).
pub fn processes(name: &str) -> Vec<i32> {
    let me = std::process::id();
    let own_namespace = fs::read_link("/proc/self/ns/mnt").ok();
    let variable = format!("{VARIABLE}={name}");
    let mut found = Vec::new();
    for pid in numbers_in_proc() {
        if u32::try_from(pid) == Ok(me) || is_zombie(pid) {
            continue;
        }
        let in_environment = fs::read(format!("/proc/{pid}/environ"))
            .is_ok_and(|bytes| bytes.split(|byte| *byte == 0).any(|entry| entry == variable.as_bytes()));
        let in_cgroup = || mentions(format!("/proc/{pid}/cgroup"), name);
        let in_mounts =
            || fs::read_link(format!("/proc/{pid}/ns/mnt")).ok() != own_namespace && is_rooted_in(pid, name);
        if in_environment || in_cgroup() || in_mounts() {
            found.push(pid);
        }
    }
    found
}

/// Mount points below the run's folder, the last one mounted first.
pub fn mounts(name: &str) -> Vec<PathBuf> {
    let table = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let mut found: Vec<PathBuf> = table
        .lines()
        .filter_map(|line| line.split(' ').nth(4))
        .filter(|point| point.contains(name))
        .map(PathBuf::from)
        .collect();
    found.reverse();
    found
}

/// The run's top cgroup in every hierarchy, v1 and v2.
pub fn cgroups(name: &str) -> Vec<PathBuf> {
    let table = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let mut found = Vec::new();
    for line in table.lines() {
        let Some((left, right)) = line.split_once(" - ") else { continue };
        if !right.starts_with("cgroup ") && !right.starts_with("cgroup2 ") {
            continue;
        }
        let Some(point) = left.split(' ').nth(4) else { continue };
        let path = Path::new(point).join(name);
        if path.is_dir() {
            found.push(path);
        }
    }
    found
}

/// UNIX sockets below the run's folder that someone still listens on.
fn sockets(name: &str) -> Vec<PathBuf> {
    let table = fs::read_to_string("/proc/net/unix").unwrap_or_default();
    let paths = table.lines().filter_map(|line| line.split_whitespace().nth(7));
    paths.filter(|path| path.contains(name)).map(PathBuf::from).collect()
}

/// Sockets of shims. Their place, /run/containerd/s, is fixed in containerd,
/// their name is a hash: so they are asked for while the shims still run, and
/// read from the bundles for those that do not.
pub fn shim_sockets(name: &str, dir: &Path) -> Vec<PathBuf> {
    let table = fs::read_to_string("/proc/net/unix").unwrap_or_default();
    let mut found = Vec::new();
    for pid in processes(name) {
        for descriptor in fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten() {
            let Ok(target) = fs::read_link(descriptor.path()) else { continue };
            let target = target.to_string_lossy();
            let Some(inode) = target.strip_prefix("socket:[").and_then(|rest| rest.strip_suffix(']')) else {
                continue;
            };
            let line = table.lines().find(|line| line.split_whitespace().nth(6) == Some(inode));
            found.extend(line.and_then(|line| line.split_whitespace().nth(7)).map(PathBuf::from));
        }
    }
    for daemon in fs::read_dir(dir).into_iter().flatten().flatten() {
        let bundles = daemon.path().join("state/io.containerd.runtime.v2.task/k8s.io");
        for bundle in fs::read_dir(bundles).into_iter().flatten().flatten() {
            for file in ["address", "bootstrap.json"] {
                let text = fs::read_to_string(bundle.path().join(file)).unwrap_or_default();
                let Some((_, rest)) = text.split_once("unix://") else { continue };
                found.extend(rest.split('"').next().map(|path| PathBuf::from(path.trim())));
            }
        }
    }
    found.retain(|path| path.starts_with("/run/containerd/s"));
    found.sort();
    found.dedup();
    found
}

/// Interfaces with a route into the run's own network (see `network`).
pub fn interfaces(name: &str) -> Vec<String> {
    let (high, low) = network(name);
    // /proc/net/route shows addresses as hexadecimal numbers in host byte order.
    let table = fs::read_to_string("/proc/net/route").unwrap_or_default();
    let mut found = Vec::new();
    for line in table.lines().skip(1) {
        let mut fields = line.split_whitespace();
        let (Some(interface), Some(destination)) = (fields.next(), fields.next()) else { continue };
        let Ok(address) = u32::from_str_radix(destination, 16) else { continue };
        if address.to_ne_bytes().starts_with(&[10, high, low]) {
            found.push(interface.to_owned());
        }
    }
    found.sort();
    found.dedup();
    found
}

/// The run's network is 10.HIGH.LOW.0/24, taken from its name.
pub fn network(name: &str) -> (u8, u8) {
    let sum = name.bytes().fold(7_u16, |sum, byte| sum.wrapping_mul(31).wrapping_add(u16::from(byte)));
    let [high, low] = sum.to_be_bytes();
    (high, low)
}

/// Files that the CNI library keeps for each pod, in a place that is fixed.
/// Those of the loopback plugin have the run's name only inside, in a path.
pub fn cni_results(name: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir("/var/lib/cni/results").into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).filter(|path| mentions(path, name)).collect()
}

fn numbers_in_proc() -> Vec<i32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
}

/// A dead process that nobody has waited for holds nothing any more.
fn is_zombie(pid: i32) -> bool {
    fs::read_to_string(format!("/proc/{pid}/stat"))
        .is_ok_and(|stat| stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('Z')))
}

/// True when the process's root file system is one of the run's. The other
/// lines of its mount table mean nothing: a container of another run has a copy
/// of all the host's mounts until it has changed its root.
fn is_rooted_in(pid: i32, name: &str) -> bool {
    fs::read_to_string(format!("/proc/{pid}/mountinfo")).is_ok_and(|table| {
        table.lines().any(|line| line.split(' ').nth(4) == Some("/") && line.contains(name))
    })
}

fn mentions(file: impl AsRef<Path>, name: &str) -> bool {
    fs::read_to_string(file).is_ok_and(|text| text.contains(name))
}
