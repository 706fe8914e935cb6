//! Removes everything that carries a run's name, without asking containerd:
//! this has to work after a crash too.

use std::fs;
use std::path::Path;
use std::time::Duration;

use nix::mount::{MntFlags, umount2};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, waitpid};
use nix::unistd::Pid;

use super::{forwarding, leftovers, wait_for};

/// How long killed processes, cgroups and network namespaces may take to go.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Folders whose place is fixed in containerd, CNI, crun and runc.
const FIXED: [&str; 6] = [
    "/run/containerd/s",
    "/run/containerd",
    "/var/lib/cni/results",
    "/var/lib/cni",
    "/run/crun",
    "/run/runc",
];

/// Does what it can; `leftovers` tells what was not possible.
pub fn clean(name: &str, dir: &Path) {
    let sockets = leftovers::shim_sockets(name, dir);
    kill_all(name);
    // crun 1.8 gives the machine's own /dev/null to the user of a container whose output goes there.
    let root = (Some(nix::unistd::Uid::from_raw(0)), Some(nix::unistd::Gid::from_raw(0)));
    let _ = nix::unistd::chown("/dev/null", root.0, root.1);
    // A mount may hide another at the same place, so look again after each round.
    for _ in 0..8 {
        let mounts = leftovers::mounts(name);
        if mounts.is_empty() {
            break;
        }
        for point in mounts {
            let _ = umount2(&point, MntFlags::MNT_DETACH);
        }
    }
    wait_for(TIMEOUT, || {
        for path in leftovers::cgroups(name) {
            remove_cgroup(&path);
        }
        leftovers::cgroups(name).is_empty().then_some(())
    });
    for file in sockets.iter().chain(&leftovers::cni_results(name)) {
        let _ = fs::remove_file(file);
    }
    forwarding::restore(dir);
    // Never through a mount: what is behind it may not be ours.
    if leftovers::mounts(name).is_empty() {
        let _ = fs::remove_dir_all(dir);
    }
    // They stay if someone else uses them.
    for folder in FIXED {
        let _ = fs::remove_dir(folder);
    }
    // The interfaces go with their network namespaces, a little later.
    wait_for(TIMEOUT, || leftovers::interfaces(name).is_empty().then_some(()));
}

/// Kills until nothing is left to kill: a shim may start a process meanwhile.
fn kill_all(name: &str) {
    let mut killed = Vec::new();
    wait_for(TIMEOUT, || {
        let processes = leftovers::processes(name);
        for pid in &processes {
            let _ = kill(Pid::from_raw(*pid), Signal::SIGKILL);
        }
        killed.extend_from_slice(&processes);
        reap(&killed);
        processes.is_empty().then_some(())
    });
}

/// Waits for those that are our children by now, so that no zombie stays.
fn reap(pids: &[i32]) {
    for pid in pids {
        let _ = waitpid(Pid::from_raw(*pid), Some(WaitPidFlag::WNOHANG));
    }
}

/// A cgroup's files cannot be deleted, only the folders, from the inside out.
fn remove_cgroup(path: &Path) {
    for entry in fs::read_dir(path).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_cgroup(&entry.path());
        }
    }
    let _ = fs::remove_dir(path);
}
