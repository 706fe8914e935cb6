//! Tests on real containerds: 1.7, which always merges, and 2.x, which has
//! Strict itself.
//!
//! The containerds are started once and shared by all trials; each trial uses
//! pods of its own. As with any test binary, a name selects trials:
//! `cargo e2e containerd -- example_pod`.

mod alias;
mod annotation;
mod api_away;
mod attacks;
mod audit;
mod bad_annotation;
mod catch_up;
mod check;
mod company;
mod compare;
mod containerds;
mod cri_proxy;
mod crowd;
mod differential;
mod example_pod;
mod foreign;
mod gate;
mod gid_range;
mod group_file;
mod harness;
mod hostile;
mod journal;
mod launched;
mod lifecycle;
mod list;
mod log_line;
mod metrics;
mod node_config;
mod node_default;
mod node_feature;
mod oci_runtimes;
#[cfg(feature = "kubernetes-api")]
mod pod_spec;
mod privilege;
mod probe;
mod records;
mod reload;
mod restart;
mod rules;
mod start_check;
mod static_gate;
mod steps;
mod store;
mod strict;
mod user;
mod volume;
mod waiting;
mod world;

use std::process::ExitCode;

fn main() -> ExitCode {
    let trials = [
        alias::trials(),
        annotation::trials(),
        example_pod::trials(),
        api_away::trials(),
        attacks::trials(),
        audit::trials(),
        bad_annotation::trials(),
        catch_up::trials(),
        check::trials(),
        company::trials(),
        containerds::trials(),
        crowd::trials(),
        cri_proxy::trials(),
        differential::trials(),
        gate::trials(),
        gid_range::trials(),
        group_file::trials(),
        harness::trials(),
        hostile::trials(),
        journal::trials(),
        launched::trials(),
        lifecycle::trials(),
        list::trials(),
        log_line::trials(),
        metrics::trials(),
        node_config::trials(),
        node_default::trials(),
        node_feature::trials(),
        oci_runtimes::trials(),
        #[cfg(feature = "kubernetes-api")]
        pod_spec::trials(),
        privilege::trials(),
        probe::trials(),
        records::trials(),
        reload::trials(),
        restart::trials(),
        rules::trials(),
        start_check::trials(),
        static_gate::trials(),
        strict::trials(),
        user::trials(),
        volume::trials(),
        waiting::trials(),
    ];
    let start = || {
        world::start()?;
        if std::env::var_os(world::HOLD).is_some() {
            world::hold();
        }
        Ok(())
    };
    e2e::trials::run(trials, None, start, world::end)
}
