//! What the project needs besides its binary: `cargo xtask man|completions|demo|cri-pod`.

mod cri_pod;
mod demo;
mod generate;

use std::process::ExitCode;

use clap::Parser;

#[derive(Parser)]
enum Task {
    /// Makes the man pages in a folder
    Man(generate::Folder),
    /// Makes the shells' completions in a folder
    Completions(generate::Folder),
    /// Shows the pod of KEP-3619 on a real containerd 1.7, without and with the annotation
    Demo,
    /// Runs pods through the CRI of this node's containerd, or of the socket in `CONTAINER_RUNTIME_ENDPOINT`
    #[command(subcommand)]
    CriPod(cri_pod::Command),
}

fn main() -> ExitCode {
    let result = match Task::parse() {
        Task::Man(folder) => generate::man(&folder),
        Task::Completions(folder) => generate::completions(&folder),
        Task::Demo => return demo::run(),
        Task::CriPod(command) => cri_pod::run(command),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
