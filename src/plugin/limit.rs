//! The most groups that a process can have.

use std::collections::HashSet;

use thiserror::Error;

use strict_groups_core::groups::MOST;

/// A container that no OCI runtime can start. runc's own words are `unable to setup user: setgroups: invalid argument`.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error(
    "the pod declares {groups} groups, and a process on Linux has at most {MOST}; remove some of its supplementalGroups"
)]
pub(super) struct TooManyGroups {
    pub(super) groups: usize,
}

/// An error where a process cannot have all of these groups.
pub(super) fn check(groups: &[u32]) -> Result<(), TooManyGroups> {
    if groups.len() <= MOST {
        return Ok(());
    }
    match groups.iter().collect::<HashSet<_>>().len() {
        ..=MOST => Ok(()),
        groups => Err(TooManyGroups { groups }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_group_counts_once() {
        let most: Vec<u32> = (0..65_536).collect();
        assert_eq!(check(&most), Ok(()));
        assert_eq!(check(&[&most[..], &[0, 1, 2]].concat()), Ok(()));
        assert_eq!(check(&[&most[..], &[65_536]].concat()), Err(TooManyGroups { groups: 65_537 }));
    }
}
