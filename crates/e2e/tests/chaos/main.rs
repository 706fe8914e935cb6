//! Faults and load, on real containerds 1.7 with the static gate, with figures.
//!
//! What has to hold, whatever is killed, stopped, full or away: a container
//! that reaches its first process has exactly the right groups; the others are
//! refused with a reason that can be read; one whose policy is Merge is never
//! refused because of us.
//!
//! `CHAOS_CONTAINERS` (300) says how many containers the longest of these
//! trials starts, `LOAD_CONTAINERS` (250, the least) how many are started one after
//! another, `CHAOS_SEED` which random choices are made. The figures are
//! printed; `make chaos` and `make load` are the large ones.

mod api_hangs;
mod bench;
mod clock;
mod crowd;
mod descriptors;
mod disk_full;
mod load;
mod nri_socket;
mod plugin_killed;
mod registrations;
mod runtime_killed;
mod saboteur;
mod steps;
mod synchronize;
mod tally;
mod valve;
mod wrapper;

use std::process::ExitCode;

fn main() -> ExitCode {
    // They wait for time-outs more than they work.
    let threads = Some(4);
    let trials = [
        plugin_killed::trials(),
        runtime_killed::trials(),
        wrapper::trials(),
        registrations::trials(),
        load::trials(),
        api_hangs::trials(),
        nri_socket::trials(),
        descriptors::trials(),
        disk_full::trials(),
        clock::trials(),
        synchronize::trials(),
    ];
    e2e::trials::run(trials, threads, bench::start, bench::end)
}
