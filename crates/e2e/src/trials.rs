//! What each test binary that starts real runtimes does around its trials.

use std::process::ExitCode;

use anyhow::Result;
use libtest_mimic::{Arguments, Trial};

use super::run;

/// Starts what the trials share with `start`, runs those that were asked for, and takes everything down with `end`,
/// which gives what is left behind, a line each. `threads`: how many trials run at a time unless the command line says.
pub fn run(
    groups: impl IntoIterator<Item = Vec<Trial>>,
    threads: Option<usize>,
    start: impl FnOnce() -> Result<()>,
    end: impl FnOnce() -> Vec<String>,
) -> ExitCode {
    let mut arguments = Arguments::from_args();
    arguments.test_threads = arguments.test_threads.or(threads);
    let trials: Vec<Trial> = groups.into_iter().flatten().collect();
    let selected = trials.iter().any(|trial| !arguments.is_filtered_out(trial));
    if arguments.list || !selected {
        return libtest_mimic::run(&arguments, trials).exit_code();
    }
    if let Err(error) = start() {
        wait_if_interrupted();
        eprintln!("error: {error:#}");
        return ExitCode::FAILURE;
    }
    let conclusion = libtest_mimic::run(&arguments, trials);
    wait_if_interrupted();
    let left = end();
    if !left.is_empty() {
        eprintln!("error: left behind:\n{}", left.join("\n"));
        return ExitCode::FAILURE;
    }
    conclusion.exit_code()
}

/// After a signal, the thread that cleans up ends the process.
fn wait_if_interrupted() {
    if run::interrupted() {
        std::thread::park();
    }
}
