//! Compiles the project's own .proto files, without protoc on the machine: containerd's services and the CRI, messages only.

use std::error::Error;

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=proto");
    let messages = protox::compile(["containers.proto", "tasks.proto", "cri.proto"], ["proto"])?;
    // Labels and annotations are shown and compared: in an order that stays.
    Ok(prost_build::Config::new().btree_map([".runtime.v1"]).compile_fds(messages)?)
}
