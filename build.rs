//! Compiles the project's own .proto files, without protoc on the machine.
//!
//! The results land in `OUT_DIR`: the messages of all, `nri.pkg.api.v1alpha1.rs`,
//! `ttrpc.rs` and `containerd.services.containers.v1.rs`. Below `tests/` is what only
//! the tests and the demo include: a client of the CRI, `runtime.v1.rs`, and
//! `containerd.services.containers.v1.rs` with client and server, for a double of
//! containerd's API that misbehaves.

use std::{error::Error, fs, path::PathBuf};

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=proto");

    let messages = protox::compile(["nri.proto", "ttrpc.proto", "containers.proto"], ["proto"])?;
    prost_build::Config::new().compile_fds(messages)?;

    let tests = PathBuf::from(std::env::var("OUT_DIR")?).join("tests");
    fs::create_dir_all(&tests)?;
    let services = protox::compile(["containers.proto", "cri.proto"], ["proto"])?;
    tonic_prost_build::configure().out_dir(tests).compile_fds(services)?;
    Ok(())
}
