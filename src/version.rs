//! Versions of container runtimes and other programs.

/// The first containerd whose NRI (0.6.1) does not take its two locks in both orders (containerd issue 10085).
const CONTAINERD_WITHOUT_DEADLOCK: (u32, u32, u32) = (1, 7, 16);

/// Major and minor number at the beginning of `text`, with or without a `v`.
pub(crate) fn of(text: &str) -> Option<(u32, u32)> {
    let mut parts = parts(text);
    Some((parts.next()??, parts.next()??))
}

/// Whether a containerd of this version can hang for good when an NRI plugin registers while pods start and stop: the
/// registration waits for containerd's events, and they wait for the registration. What is no version is taken for a new
/// one: builds from a branch have a commit in its place.
pub(crate) fn registration_can_deadlock(containerd: &str) -> bool {
    let mut parts = parts(containerd);
    let mut next = || parts.next().flatten();
    match (next(), next()) {
        (Some(major), Some(minor)) => (major, minor, next().unwrap_or(0)) < CONTAINERD_WITHOUT_DEADLOCK,
        _ => false,
    }
}

/// The numbers between the dots, each as far as it goes.
fn parts(text: &str) -> impl Iterator<Item = Option<u32>> {
    text.strip_prefix('v').unwrap_or(text).split('.').map(|part| {
        let digits = part.find(|c: char| !c.is_ascii_digit()).unwrap_or(part.len());
        part.get(..digits)?.parse().ok()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn containerd_before_1_7_16_can_deadlock() {
        for old in ["1.7.2", "v1.7.15", "1.7.0+unknown", "1.7.15~ds1", "1.6.36", "1.7"] {
            assert!(registration_can_deadlock(old), "{old}");
        }
        for new in
            ["1.7.16", "1.7.24~ds1", "v1.7.35", "1.10.0", "2.0.0-rc.1", "v2.4.2", "abc1234", "", "unknown"]
        {
            assert!(!registration_can_deadlock(new), "{new}");
        }
    }

    #[test]
    fn two_numbers() {
        for (text, version) in [
            ("1.7.24", Some((1, 7))),
            ("v2.1.9", Some((2, 1))),
            ("1.3-rc.1+dev", Some((1, 3))),
            ("1.10", Some((1, 10))),
            ("1", None),
            ("", None),
            ("1.x", None),
            ("abc1234", None),
        ] {
            assert_eq!(of(text), version, "{text}");
        }
    }
}
