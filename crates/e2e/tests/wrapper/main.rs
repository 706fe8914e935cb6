//! Tests of `strict-groups-runtime` on real parts: runc and crun, conmon, podman, containerd 1.7 with
//! it as the OCI runtime, and a recorded stream of CRI-O's NRI.
//!
//! A name selects trials: `cargo e2e wrapper -- podman`.

#![allow(clippy::indexing_slicing, reason = "of JSON: what is not there is null, and a test may panic")]

mod attacks;
mod conmon;
mod containerd;
mod crio;
mod devices;
mod direct;
mod faults;
mod gates;
mod handed_over;
mod link_farms;
mod membership;
mod podman;
mod record;
mod start;
mod unreadable;

use std::process::ExitCode;

fn main() -> ExitCode {
    let trials = [
        attacks::trials(),
        conmon::trials(),
        containerd::trials(),
        crio::trials(),
        devices::trials(),
        direct::trials(),
        faults::trials(),
        gates::trials(),
        handed_over::trials(),
        link_farms::trials(),
        membership::trials(),
        podman::trials(),
        record::trials(),
        start::trials(),
        unreadable::trials(),
    ];
    e2e::trials::run(trials, None, e2e::wrapper::world::start, e2e::wrapper::world::end)
}
