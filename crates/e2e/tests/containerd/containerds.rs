//! The containerds that are built from tests/go-modules: each has its version, takes the configuration that the tests
//! write, and runs the KEP-3619 example pod as it does without strict-groups.

use anyhow::{Result, ensure};
use libtest_mimic::Trial;

use crate::steps::{MERGED, STRICT, app, check, fresh_with};
use crate::world::{World, trial};
use e2e::{Kind, Options, Pod};

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial("containerds::v1_6_36_merges", |world| works(world, Kind::V1_6, "v1.6.36")),
        trial("containerds::v1_7_2_merges", |world| works(world, Kind::V1_7_2, "v1.7.2")),
        trial("containerds::v1_7_35_merges", |world| works(world, Kind::V1_7_35, "v1.7.35")),
        trial("containerds::v2_4_2_is_strict_by_the_cri_field", |world| works(world, Kind::V2_4, "v2.4.2")),
    ]
}

fn works(world: &World, kind: Kind, version: &str) -> Result<()> {
    let options = Options::default();
    let daemon = fresh_with(world, kind, if kind.has_nri() { options.nri() } else { options })?;
    let cri = daemon.cri();

    let said = cri.version()?.runtime_version;
    ensure!(said == version, "its version is {said}");
    let native = cri.features()?.is_some_and(|features| features.supplemental_groups_policy);
    ensure!(native == kind.has_strict(), "supplementalGroupsPolicy among its features: {native}");
    let listens = daemon.nri_socket().exists();
    ensure!(listens == kind.has_nri(), "it has a socket for NRI plugins: {listens}");

    check(&daemon, &Pod::new("merge"), &app(), &MERGED)?;
    let groups: &[u32] = if kind.has_strict() { &STRICT } else { &MERGED };
    check(&daemon, &Pod::new("field").strict_field(), &app().strict_field(), groups)?;
    daemon.stop()
}
