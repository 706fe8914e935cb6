//! Compiles the project's own .proto files, without protoc on the machine.
//!
//! The results land in `OUT_DIR`: the messages of all, `nri.pkg.api.v1alpha1.rs`,
//! `ttrpc.rs`, `containerd.services.containers.v1.rs`, `containerd.services.tasks.v1.rs`
//! and `runtime.v1.rs`, the CRI. Below `tests/` is what only
//! the tests and the demo include: a client of the CRI, `runtime.v1.rs`, and
//! `containerd.services.containers.v1.rs` with client and server, for a double of
//! containerd's API that misbehaves.

use std::{error::Error, fs, path::PathBuf};

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=proto");

    let messages = ["nri.proto", "ttrpc.proto", "containers.proto", "tasks.proto", "cri.proto"];
    // Labels and annotations are shown and compared: in an order that stays.
    prost_build::Config::new()
        .btree_map([".runtime.v1"])
        .compile_fds(protox::compile(messages, ["proto"])?)?;

    let tests = PathBuf::from(std::env::var("OUT_DIR")?).join("tests");
    fs::create_dir_all(&tests)?;
    let services = protox::compile(["containers.proto", "cri.proto"], ["proto"])?;
    tonic_prost_build::configure().out_dir(tests).compile_fds(services)?;
    Ok(())
}
