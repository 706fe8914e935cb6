//! Groups in a log line. An image or a pod can name hundreds of thousands.

use std::fmt;

use strict_groups_core::groups;

/// The most that a line names.
const NAMED: usize = 32;

/// The first groups of a list, and how many more there are.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Listed {
    /// At most 32.
    pub(super) first: Vec<u32>,
    pub(super) more: usize,
}

impl Listed {
    pub(super) fn new(gids: &[u32]) -> Self {
        let first: Vec<u32> = gids.iter().copied().take(NAMED).collect();
        Self { more: gids.len() - first.len(), first }
    }

    pub(super) fn len(&self) -> usize {
        self.first.len() + self.more
    }

    pub(super) fn is_empty(&self) -> bool {
        self.first.is_empty()
    }

    /// `first`, written in whatever way, and what is left out.
    pub(super) fn with(&self, first: &str) -> String {
        match self.more {
            0 => first.to_owned(),
            more => format!("{first} and {more} more"),
        }
    }
}

impl fmt::Display for Listed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.with(&groups::list(&self.first)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_list_is_cut_and_counted() {
        assert_eq!(Listed::new(&[]).to_string(), "");
        assert_eq!(Listed::new(&[3000, 4000]).to_string(), "3000,4000");
        let all: Vec<u32> = (0..200_000).collect();
        let listed = Listed::new(&all);
        let text = listed.to_string();
        assert!(text.starts_with("0,1,2,") && text.ends_with(",31 and 199968 more"), "{text}");
        assert_eq!(listed.len(), all.len());
        assert!(Listed::new(&all[..32]).to_string().ends_with(",31"));
    }
}
