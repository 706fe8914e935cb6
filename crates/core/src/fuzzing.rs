//! What the bodies of the fuzz targets share: see `fuzz/README.md`.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::missing_panics_doc,
    reason = "a failed assertion is the result"
)]

pub mod growth;

/// A reason to refuse, as it is shown to users: one line of bounded length.
pub fn presentable(error: &impl std::fmt::Display) {
    let text = error.to_string();
    assert!(!text.is_empty() && !text.contains(char::is_control), "{text:?}");
    assert!(text.len() < 8 * 1024, "{} bytes", text.len());
}
