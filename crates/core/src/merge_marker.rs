//! The mark of a container that the plugin saw and left alone, as its policy is Merge.
//!
//! ```text
//! strict-groups hook --gate=merge
//! ```
//!
//! It is a hook that does nothing, and it is not made for every Merge container: only where the
//! static gate could not tell by itself that the policy is Merge, because a rule of the node's
//! configuration decides by labels ([`container_start::static_gate`]). Being a hook, it cannot be written by a
//! pod's author.

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
    fn the_mark_is_no_gate() {
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
