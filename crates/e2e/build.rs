//! Compiles what the tests say to container runtimes: clients and servers of containerd's services and of the CRI, and
//! the messages of ttrpc, without protoc on the machine.

use std::error::Error;

fn main() -> Result<(), Box<dyn Error>> {
    let (ours, nri) = ("../../proto", "../nri-plugin/proto");
    println!("cargo:rerun-if-changed={ours}");
    println!("cargo:rerun-if-changed={nri}");
    tonic_prost_build::configure()
        .compile_fds(protox::compile(["containers.proto", "cri.proto"], [ours])?)?;
    Ok(prost_build::Config::new().compile_fds(protox::compile(["ttrpc.proto"], [nri])?)?)
}
