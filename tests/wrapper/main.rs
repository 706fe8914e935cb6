//! Tests of `strict-groups-runtime` on real parts: runc and crun, conmon, podman, containerd 1.7 with
//! it as the OCI runtime, and a recorded stream of CRI-O's NRI.
//!
//! A name selects trials: `cargo test --test wrapper podman`.

#![allow(clippy::indexing_slicing, reason = "of JSON: what is not there is null, and a test may panic")]

#[path = "../support/mod.rs"]
#[allow(dead_code, unused_imports, reason = "shared with others: each uses a part")]
mod support;

mod bundle;
mod command;
mod conmon;
mod containerd;
mod crio;
mod direct;
mod faults;
mod gates;
mod handed_over;
mod membership;
mod podman;
mod unreadable;
mod world;

use std::process::ExitCode;

use libtest_mimic::{Arguments, Trial};

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let trials: Vec<Trial> = [
        conmon::trials(),
        containerd::trials(),
        crio::trials(),
        direct::trials(),
        faults::trials(),
        gates::trials(),
        handed_over::trials(),
        membership::trials(),
        podman::trials(),
        unreadable::trials(),
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
