//! The bodies of the fuzz targets (`fuzz/README.md`): any bytes in, nothing out; what must hold is asserted.
//!
//! They exist for cargo-fuzz, which sets the feature `fuzzing`, and for `cargo test`, where every file of the committed
//! corpora is a regression test. What is asserted is said by each function; all of them also assert that nothing
//! panics, that a refusal is one line a terminal can show, and that no case takes much longer than reading it
//! ([`growth`]).

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
mod hook;
mod readers;
mod small;
mod spec;

use strict_groups_core::fuzzing::growth;

/// The fuzz targets: name, body, in the order of their names.
macro_rules! targets {
    ($($(#[$doc:meta])* $name:ident: $body:path, $length:expr;)+) => {
        $($(#[$doc])* pub fn $name(data: &[u8]) {
            growth::in_time(data, $length(data), $body);
        })+

        /// A target's name, which is that of its file and of its corpus, and its body.
        #[cfg(test)]
        const TARGETS: &[(&str, fn(&[u8]))] = &[$((stringify!($name), $name)),+];
    };
}

targets! {
    /// Annotations to a policy.
    annotation: annotation::annotation, <[u8]>::len;
    /// An OCI runtime's command line: see [`container_start::wrapper::fuzzing`].
    argv: container_start::wrapper::fuzzing::argv, <[u8]>::len;
    /// A node's configuration.
    config: small::config, <[u8]>::len;
    /// Messages of the CRI that the proxy looks at: see `src/cri_proxy/fuzzing.rs`.
    cri: crate::cri_proxy::fuzzing::message, <[u8]>::len;
    /// Frames of the CRI's messages, from kubelet and runtime: see `src/cri_proxy/fuzzing.rs`.
    cri_frames: crate::cri_proxy::fuzzing::frames, <[u8]>::len;
    /// A CreateContainer request to its answer.
    decide: decide::decide, <[u8]>::len;
    /// containerd's metadata.
    declared: small::declared, <[u8]>::len;
    /// A hook's arguments.
    gate: gate::gate, <[u8]>::len;
    /// A container's `/etc/group`.
    group_file: small::group_file, small::length;
    /// Frames of gRPC messages: see `uds_grpc::fuzzing`.
    grpc: uds_grpc::fuzzing::frames, <[u8]>::len;
    /// A kubeconfig file: see `src/kubernetes/fuzzing.rs`. Nothing without the feature `kubernetes-api`.
    kubeconfig: crate::kubernetes::fuzzing::kubeconfig, <[u8]>::len;
    /// Frames and messages of a runtime's stream, and the answers to them: see `nri_plugin::fuzzing`.
    mux: nri_plugin::fuzzing::stream, <[u8]>::len;
    /// All that the hook reads.
    oci_state: hook::oci_state, <[u8]>::len;
    /// An image's `/etc/passwd` and `/etc/group`.
    passwd: small::passwd, small::length;
    /// The API server's pod.
    pod: small::pod, <[u8]>::len;
    /// What runc and crun keep of a container: see [`container_start::wrapper::fuzzing`].
    runtime_state: container_start::wrapper::fuzzing::state, <[u8]>::len;
    /// config.json to edited config.json.
    spec: spec::spec, <[u8]>::len;
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

    use super::TARGETS;

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
        let targets: Vec<&str> = TARGETS.iter().map(|(name, _)| *name).collect();
        assert_eq!(names(&fuzz.join("corpus")), targets);
        let files: Vec<String> = targets.iter().map(|name| format!("{name}.rs")).collect();
        assert_eq!(names(&fuzz.join("fuzz_targets")), files);
    }

    #[test]
    fn committed_corpora_hold() {
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
