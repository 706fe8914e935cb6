//! Compiles NRI's and ttrpc's messages, without protoc on the machine.

use std::error::Error;

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=proto");
    let messages = protox::compile(["nri.proto", "ttrpc.proto"], ["proto"])?;
    Ok(prost_build::Config::new().compile_fds(messages)?)
}
