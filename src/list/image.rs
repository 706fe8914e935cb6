//! What the files of a container's image say: names of groups, and the groups of a user.
//!
//! Image authors write them, and they may lie on a file system that does not answer (FUSE). So they are read by
//! another thread, which is left alone when it hangs.

use std::{
    collections::BTreeSet,
    sync::{Arc, mpsc},
    time::Duration,
};

use hostfs::rootfs;
use strict_groups_core::{groups, membership};

/// How long one container's files may take.
const TIMEOUT: Duration = Duration::from_millis(500);

/// So many containers may hang before the rest is done without.
const MOST_HANGING: usize = 4;

/// Names wanted of the `/etc/group` that a process sees.
#[derive(Debug)]
pub(super) struct NamesOf {
    pub(super) pid: u32,
    pub(super) gids: Vec<u32>,
}

/// For each job the names, in the order of its `gids`, as far as they can be had.
pub(super) fn names(jobs: Vec<NamesOf>) -> Vec<Vec<Option<String>>> {
    let read = |job: &NamesOf| {
        let root = rootfs::of_process(job.pid).ok()?;
        let file = rootfs::read(root, rootfs::GROUP_FILE).ok()??;
        Some(groups::names(&file, &job.gids))
    };
    within_time(jobs, read).into_iter().map(|names| names.flatten().unwrap_or_default()).collect()
}

/// For each process and the uid that its spec has: the groups that the files which the process sees give this user. None:
/// they cannot be read.
pub(super) fn implied(jobs: Vec<(u32, u32)>) -> Vec<Option<BTreeSet<u32>>> {
    let read = |&(pid, uid): &(u32, u32)| {
        let root = rootfs::of_process(pid).ok()?;
        let passwd = rootfs::read(&root, rootfs::PASSWD_FILE).ok()?.unwrap_or_default();
        let group = rootfs::read(&root, rootfs::GROUP_FILE).ok()?.unwrap_or_default();
        Some(membership::implied(&passwd, &group, &[uid]))
    };
    within_time(jobs, read).into_iter().map(Option::flatten).collect()
}

/// Does `work` for each job, in order. None: it took too long.
fn within_time<J, T>(jobs: Vec<J>, work: impl Fn(&J) -> T + Copy + Send + 'static) -> Vec<Option<T>>
where
    J: Send + Sync + 'static,
    T: Send + 'static,
{
    let jobs = Arc::new(jobs);
    let mut done: Vec<Option<T>> = Vec::with_capacity(jobs.len());
    let mut hanging = 0;
    while done.len() < jobs.len() && hanging < MOST_HANGING {
        let (sender, results) = mpsc::channel();
        let (rest, first) = (Arc::clone(&jobs), done.len());
        std::thread::spawn(move || {
            for job in rest.iter().skip(first) {
                if sender.send(work(job)).is_err() {
                    return;
                }
            }
        });
        while done.len() < jobs.len() {
            let Ok(result) = results.recv_timeout(TIMEOUT) else {
                done.push(None);
                hanging += 1;
                break;
            };
            done.push(Some(result));
        }
    }
    done.resize_with(jobs.len(), || None);
    done
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_are_in_order() {
        assert_eq!(within_time(vec![1, 2, 3], |n| n * 2), [Some(2), Some(4), Some(6)]);
        assert_eq!(within_time(Vec::<u32>::new(), |n| *n), []);
    }

    #[test]
    fn what_hangs_is_left_behind() {
        let hang_at_2 = |n: &u32| {
            if *n == 2 {
                std::thread::sleep(TIMEOUT * 20);
            }
        };
        assert_eq!(within_time(vec![1, 2, 3], hang_at_2), [Some(()), None, Some(())]);
        let started = std::time::Instant::now();
        let all_hang = |_: &u32| std::thread::sleep(TIMEOUT * 20);
        assert_eq!(within_time(vec![0; 50], all_hang), [None; 50]);
        assert!(started.elapsed() < TIMEOUT * 15);
    }

    #[test]
    fn our_own_files_are_read() {
        let pid = std::process::id();
        let found =
            names(vec![NamesOf { pid, gids: vec![0, 4_294_967_294] }, NamesOf { pid: 0, gids: vec![0] }]);
        assert_eq!(found, [vec![Some("root".to_owned()), None], vec![]]);
        let found = implied(vec![(pid, 4_294_967_294), (0, 0)]);
        assert_eq!(found, [Some(BTreeSet::new()), None]);
    }
}
