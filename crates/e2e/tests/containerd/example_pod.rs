//! KEP-3619's example pod, without the annotation: what the two
//! runtimes do by themselves, and the plugin leaves as it is.

use libtest_mimic::Trial;

use crate::steps::{MERGED, STRICT, app, check};
use crate::world::trial;
use e2e::Pod;

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial("example_pod::containerd_1_7_merges", |world| {
            check(&world.old, &Pod::new("merge"), &app(), &MERGED)
        }),
        trial("example_pod::containerd_1_7_ignores_the_cri_field", |world| {
            check(&world.old, &Pod::new("field"), &app().strict_field(), &MERGED)
        }),
        trial("example_pod::containerd_1_7_merges_with_crun", |world| {
            check(&world.old, &Pod::new("crun").handler("crun"), &app(), &MERGED)
        }),
        trial("example_pod::containerd_1_7_merges_in_a_user_namespace", |world| {
            let pod = Pod::new("userns").user_namespace(100_000, 65536);
            check(&world.old, &pod, &app(), &MERGED)
        }),
        trial("example_pod::containerd_2_merges_by_default", |world| {
            check(&world.new, &Pod::new("merge"), &app(), &MERGED)
        }),
        trial("example_pod::containerd_2_is_strict_by_the_cri_field", |world| {
            check(&world.new, &Pod::new("strict"), &app().strict_field(), &STRICT)
        }),
    ]
}
