//! What the measurements with whole programs share.

pub mod statistics;
pub mod table;

use std::process::ExitCode;

use anyhow::{Context, Result};

use crate::run;

/// Runs `bench` where cargo asks for measurements.
pub fn main(bench: impl FnOnce() -> Result<()>) -> ExitCode {
    // `cargo test --all-targets` starts benches too, without this argument.
    if !std::env::args().any(|argument| argument == "--bench") {
        println!("nothing is measured: run it by cargo bench");
        return ExitCode::SUCCESS;
    }
    match bench() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // After a signal, the thread that cleans up ends the process.
            if run::interrupted() {
                std::thread::park();
            }
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// The number in the variable `STRICT_GROUPS_BENCH_{name}`, else `default`.
pub fn setting(name: &str, default: usize) -> Result<usize> {
    let variable = format!("STRICT_GROUPS_BENCH_{name}");
    let Ok(text) = std::env::var(&variable) else { return Ok(default) };
    text.parse().ok().filter(|&count| count > 0).with_context(|| format!("{variable}={text:?} is no count"))
}
