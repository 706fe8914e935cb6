//! Tests on real containerds: 1.7, which always merges, and 2.x, which has
//! Strict itself.
//!
//! The containerds are started once and shared by all trials; each trial uses
//! pods of its own. As with any test binary, a name selects trials:
//! `cargo test --test runtime announcement`.

#[path = "../support/mod.rs"]
#[allow(dead_code, unused_imports, reason = "shared with the demo: each uses a part")]
mod support;

mod announcement;
mod harness;
mod node_config;
mod static_gate;
mod strict;
mod world;

use std::process::ExitCode;

use libtest_mimic::{Arguments, Trial};

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let trials: Vec<Trial> = [
        announcement::trials(),
        harness::trials(),
        node_config::trials(),
        static_gate::trials(),
        strict::trials(),
    ]
    .into_iter()
    .flatten()
    .collect();

    let selected = trials.iter().any(|trial| !arguments.is_filtered_out(trial));
    if arguments.list || !selected {
        return libtest_mimic::run(&arguments, trials).exit_code();
    }
    if let Err(error) = world::start() {
        // After a signal, the thread that cleans up ends the process.
        if support::run::interrupted() {
            std::thread::park();
        }
        eprintln!("error: {error:#}");
        return ExitCode::FAILURE;
    }
    if std::env::var_os(world::HOLD).is_some() {
        world::hold();
    }
    let conclusion = libtest_mimic::run(&arguments, trials);
    if support::run::interrupted() {
        std::thread::park();
    }
    let left = world::end();
    if !left.is_empty() {
        eprintln!("error: left behind:\n{}", left.join("\n"));
        return ExitCode::FAILURE;
    }
    conclusion.exit_code()
}
