//! The mark by which a file is known to be ours, and to be as we wrote it.
//!
//! An operator's own file is never overwritten, and neither is one of ours that somebody edited: the
//! edit would be lost without a word. The checksum tells the two from a file that may be replaced.
//! It guards against accidents, not against somebody who can write to the folder.

/// What stands before the checksum's digits.
const MARK: &str = "strict-groups-checksum:";
const DIGITS: usize = 16;

/// What a text that is to be sealed has in the place of its checksum, once.
pub const OPEN: &str = "strict-groups-checksum:0000000000000000";

/// Whose a file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Owner {
    /// Ours, as we wrote it.
    Ours,
    /// Ours, and changed since.
    Edited,
    /// Not ours.
    Other,
}

/// Puts the checksum of `text` in the place of the first [`OPEN`]. A text without it stays as it is.
#[must_use]
pub fn seal(text: &str) -> String {
    text.replacen(OPEN, &format!("{MARK}{:016x}", checksum(text)), 1)
}

/// Whose `text` is.
#[must_use]
pub fn owner(text: &str) -> Owner {
    let Some((before, rest)) = text.split_once(MARK) else { return Owner::Other };
    let Some((digits, after)) = rest.split_at_checked(DIGITS) else { return Owner::Edited };
    let open = format!("{before}{OPEN}{after}");
    if digits == format!("{:016x}", checksum(&open)) { Owner::Ours } else { Owner::Edited }
}

/// FNV-1a with 64 bits: the standard library has no hash that stays the same over its versions.
fn checksum(text: &str) -> u64 {
    text.bytes()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sealed_is_ours_until_it_is_edited() {
        let sealed = seal(&format!("# {OPEN}\nversion = 2\n"));
        assert_eq!(sealed.len(), OPEN.len() + 14 + 1);
        assert_eq!(owner(&sealed), Owner::Ours);
        for edited in [
            sealed.replace('2', "3"),
            format!("{sealed} "),
            format!("\n{sealed}"),
            sealed[..OPEN.len()].to_owned(),
            format!("# {OPEN}\nversion = 2\n"),
            format!("{MARK}ä"),
        ] {
            assert_eq!(owner(&edited), Owner::Edited, "{edited}");
        }
    }

    #[test]
    fn everything_else_is_somebody_elses() {
        for text in ["", "version = 2\n", "# written by strict-groups"] {
            assert_eq!(owner(text), Owner::Other);
        }
    }

    #[test]
    fn checksum_is_the_published_one() {
        // Test vectors of the algorithm's authors.
        assert_eq!(checksum(""), 0xcbf2_9ce4_8422_2325);
        assert_eq!(checksum("foobar"), 0x8594_4171_f739_67e8);
    }
}
