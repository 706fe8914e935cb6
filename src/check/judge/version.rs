//! Versions, as far as two numbers tell.

/// Major and minor number at the beginning of `text`, with or without a `v`.
pub(super) fn of(text: &str) -> Option<(u32, u32)> {
    let mut parts = text.strip_prefix('v').unwrap_or(text).split('.');
    let major = parts.next()?.parse().ok()?;
    let minor = parts.next()?;
    let digits = minor.find(|c: char| !c.is_ascii_digit()).unwrap_or(minor.len());
    Some((major, minor.get(..digits)?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::of;

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
