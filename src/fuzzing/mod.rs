//! The bodies of the fuzz targets (`fuzz/README.md`): any bytes in, nothing out; what must hold is asserted.
//!
//! They exist for cargo-fuzz, which sets `cfg(fuzzing)`, and for `cargo test`, where every file of the committed
//! corpora is a regression test. What is asserted is said by each function; all of them also assert that nothing
//! panics and that a refusal is one line a terminal can show.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::expect_used,
    reason = "a failed assertion is the result"
)]

mod annotation;
mod decide;
mod gate;
pub(crate) mod growth;
mod hook;
mod readers;
mod small;
mod spec;

pub use annotation::annotation;
pub use decide::decide;
pub use gate::gate;
pub use hook::oci_state;
pub use small::{config, declared, group_file, pod};
pub use spec::spec;

/// Frames and messages of a runtime's stream, and the answers to them: see `src/nri/fuzzing.rs`.
pub fn mux(data: &[u8]) {
    crate::nri::fuzzing::stream(data);
}

/// Messages of the CRI that the proxy looks at: see `src/cri_proxy/fuzzing.rs`.
pub fn cri(data: &[u8]) {
    crate::cri_proxy::fuzzing::message(data);
}

/// A reason to refuse, as it is shown to users: one line of bounded length.
pub(crate) fn presentable(error: &impl std::fmt::Display) {
    let text = error.to_string();
    assert!(!text.is_empty() && !text.contains(char::is_control), "{text:?}");
    assert!(text.len() < 8 * 1024, "{} bytes", text.len());
}

/// Numbers between commas; what is none is passed over.
fn numbers(text: &[u8]) -> Vec<u32> {
    text.split(|byte| *byte == b',').filter_map(|n| std::str::from_utf8(n).ok()?.parse().ok()).collect()
}

/// What stands before and behind the first `separator`.
fn split(data: &[u8], separator: u8) -> (&[u8], &[u8]) {
    let mut parts = data.splitn(2, |byte| *byte == separator);
    (parts.next().unwrap_or_default(), parts.next().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use std::{fs, panic, path::Path};

    /// A target's name, which is that of its file and of its corpus, and its body.
    type Target = (&'static str, fn(&[u8]));

    const TARGETS: [Target; 11] = [
        ("annotation", super::annotation),
        ("config", super::config),
        ("cri", super::cri),
        ("decide", super::decide),
        ("declared", super::declared),
        ("gate", super::gate),
        ("group_file", super::group_file),
        ("mux", super::mux),
        ("oci_state", super::oci_state),
        ("pod", super::pod),
        ("spec", super::spec),
    ];

    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<_> = fs::read_dir(folder)
            .unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn every_target_has_a_test_and_a_corpus() {
        let fuzz = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz");
        let targets = TARGETS.map(|(name, _)| name);
        assert_eq!(names(&fuzz.join("corpus")), targets);
        assert_eq!(names(&fuzz.join("fuzz_targets")), targets.map(|name| format!("{name}.rs")));
    }

    #[test]
    fn the_committed_corpora_hold() {
        for (target, run) in TARGETS {
            let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
            let files = names(&folder);
            assert!(!files.is_empty(), "{target} has no corpus");
            for file in files {
                let path = folder.join(file);
                let data = fs::read(&path).unwrap();
                if let Err(reason) = panic::catch_unwind(|| run(&data)) {
                    eprintln!("with {}", path.display());
                    panic::resume_unwind(reason);
                }
            }
        }
    }
}
