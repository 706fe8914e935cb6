//! Compiles the project's own .proto files, without protoc on the machine.
//!
//! The results land in `OUT_DIR`: `nri.pkg.api.v1alpha1.rs` and `ttrpc.rs`
//! (messages only), `containerd.services.containers.v1.rs` (with a client)
//! and `runtime.v1.rs`, the CRI, which only the tests and the demo include;
//! `tests/containerd.services.containers.v1.rs` has a server as well, for a
//! double of containerd's API that misbehaves.

use std::{error::Error, fs, path::PathBuf};

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=proto");

    let messages = protox::compile(["nri.proto", "ttrpc.proto"], ["proto"])?;
    prost_build::Config::new().compile_fds(messages)?;

    let services = protox::compile(["containers.proto", "cri.proto"], ["proto"])?;
    tonic_prost_build::configure().build_server(false).compile_fds(services)?;

    let tests = PathBuf::from(std::env::var("OUT_DIR")?).join("tests");
    fs::create_dir_all(&tests)?;
    let double = protox::compile(["containers.proto"], ["proto"])?;
    tonic_prost_build::configure().out_dir(tests).compile_fds(double)?;
    Ok(())
}
