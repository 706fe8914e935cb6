//! The Merge marker: the hook of a container whose policy is known to be Merge.
//!
//! ```text
//! strict-groups hook --gate=merge
//! ```
//!
//! It does nothing. Only those Merge containers get it of which the static gate could not tell the policy by itself: where
//! a rule of the node's configuration decides by labels, and where the sandbox is older than the drop-in. A pod's author
//! cannot write hooks.

use crate::hook_args::{MERGE, PROGRAM};

/// The hook's `args`, the program's name (`args[0]`) included.
#[must_use]
pub fn args() -> Vec<String> {
    PROGRAM.into_iter().chain([MERGE]).map(str::to_owned).collect()
}

/// Whether a hook's `args` are those of the marker, to the letter.
#[must_use]
pub fn is_marker(args: &[impl AsRef<str>]) -> bool {
    args.iter().map(AsRef::as_ref).eq(PROGRAM.into_iter().chain([MERGE]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gate::Gate;

    #[test]
    fn mark_is_no_gate() {
        assert!(is_marker(&args()));
        assert_eq!(Gate::parse(&args()), Ok(None));
    }

    #[test]
    fn nothing_else_is_the_mark() {
        for other in ["", "strict-groups hook", "strict-groups hook --gate=merge x", "x hook --gate=merge"] {
            assert!(!is_marker(&other.split(' ').collect::<Vec<_>>()), "{other}");
        }
        let with_more = ["strict-groups", "hook", "--gate=merge", "--pod=a/b"];
        assert!(Gate::parse(&with_more).is_err());
    }
}
