//! The start check: which groups the kernel gave a process that was created and not yet started.
//!
//! The OCI runtime's `create` is done, the process has its final ids and waits for `start` (OCI runtime spec,
//! "Lifecycle"). No instruction of the image has run, so nothing that image or pod can do changes the answer.

use thiserror::Error;

use hostfs::identity::{self, Identity, IdentityError};
use strict_groups_core::groups;

/// Why a Strict container must not be started. The text is what the pod's author reads in the pod's events.
#[derive(Debug, Error)]
pub enum StartError {
    /// The process holds groups that the decision does not allow.
    #[error(
        "the created process holds groups that supplementalGroupsPolicy Strict does not allow ({}); the OCI runtime \
         did not take them from config.json (runc before 1.3 looks numbers up as names in the container's /etc/group): \
         use runc 1.3 or newer or crun, then delete the pod to try again",
        groups::shown(.groups)
    )]
    NotAllowed {
        /// Those groups, in the container's own ids where they have one; the primary group too if it is another one.
        groups: Vec<u32>,
    },
    /// Nobody can tell which groups the process has.
    #[error(
        "the groups of the created process cannot be read ({0}), so supplementalGroupsPolicy Strict cannot be \
         verified; see the log of strict-groups on the node; the kubelet tries again, unless restartPolicy is Never"
    )]
    Unreadable(#[from] IdentityError),
}

/// Compares the created process `pid` (as seen in our own PID namespace) with its decision: the primary group `gid`,
/// and the `declared` groups, both in the container's own ids.
///
/// # Errors
/// The process holds another group, or cannot be looked at: also when it has ended.
pub fn check(pid: u32, gid: u32, declared: &[u32]) -> Result<Identity, StartError> {
    let process = identity::of_process(pid)?;
    judge(&process, gid, declared)?;
    Ok(process)
}

/// The same for an identity that was read already.
///
/// # Errors
/// The process holds another group.
pub fn judge(process: &Identity, gid: u32, declared: &[u32]) -> Result<(), StartError> {
    let other_primary = process.gids.iter().copied().filter(|own| *own != gid);
    let beyond = process.beyond(declared.iter().copied().chain([gid]));
    let groups = groups::excess(other_primary.chain(beyond), []);
    if groups.is_empty() { Ok(()) } else { Err(StartError::NotAllowed { groups }) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn process(gids: [u32; 4], groups: &[u32], unmapped: &[u32]) -> Identity {
        Identity { uid: 1000, gids, groups: groups.to_vec(), unmapped: unmapped.to_vec() }
    }

    fn refused(process: &Identity) -> Vec<u32> {
        match judge(process, 3000, &[4000, 5000]) {
            Ok(()) => Vec::new(),
            Err(StartError::NotAllowed { groups }) => groups,
            Err(error) => panic!("{error}"),
        }
    }

    #[test]
    fn declared_groups_and_the_primary_one_are_allowed() {
        for groups in [&[][..], &[3000], &[3000, 4000], &[5000, 4000, 3000]] {
            assert_eq!(refused(&process([3000; 4], groups, &[])), [] as [u32; 0], "{groups:?}");
        }
    }

    #[test]
    fn every_other_group_is_named_once() {
        assert_eq!(refused(&process([3000; 4], &[50000, 0, 4000, 50000], &[])), [0, 50000]);
    }

    #[test]
    fn each_of_the_four_gids_counts() {
        for place in 0..4 {
            let mut gids = [3000; 4];
            // Declared, and still not the primary group.
            gids[place] = 4000;
            assert_eq!(refused(&process(gids, &[3000], &[])), [4000], "{place}");
        }
    }

    #[test]
    fn unmapped_host_group_is_refused_though_it_looks_declared() {
        assert_eq!(refused(&process([3000; 4], &[3000, 4000], &[4000])), [4000]);
    }

    #[test]
    fn process_that_ended_is_refused() {
        let mut child = std::process::Command::new("/bin/true").spawn().unwrap();
        let pid = child.id();
        child.wait().unwrap();
        assert!(matches!(check(pid, 0, &[]), Err(StartError::Unreadable(IdentityError::Gone { .. }))));
    }

    #[test]
    fn our_own_process_is_what_it_is() {
        let own = identity::of_process(std::process::id()).unwrap();
        assert_eq!(check(std::process::id(), own.gid(), &own.groups).unwrap(), own);
        assert!(check(std::process::id(), own.gid() + 1, &own.groups).is_err());
    }
}
