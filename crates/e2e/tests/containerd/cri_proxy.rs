//! The CRI proxy before real containerds.

mod ended;
mod feature;
mod garbled;
mod handed_on;
mod killed;
mod life;
mod node;
mod raw;
mod streaming;
mod transparent;
mod unknown;

use std::{collections::BTreeSet, time::Duration};

use anyhow::{Result, ensure};
use libtest_mimic::Trial;

use crate::{
    steps::{ANNOTATION, app, identity},
    world::trial,
};
use e2e::Cri;

const SERVICE: &str = "/runtime.v1.RuntimeService/";
const TIMEOUT: Duration = Duration::from_secs(20);

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial("cri_proxy::the_field_works_without_an_annotation", feature::field),
        trial("cri_proxy::user_linux_is_as_native", feature::user),
        trial("cri_proxy::what_it_asks_for_itself_harms_no_call", feature::no_worse),
        trial("cri_proxy::refuses_what_it_cannot_keep", feature::refusals),
        trial("cri_proxy::takes_back_what_the_plugin_missed", feature::missed),
        trial("cri_proxy::refuses_strict_when_the_answer_cannot_be_read", garbled::create),
        trial("cri_proxy::container_field_counts_in_a_sandbox_without_it", handed_on::container_alone),
        trial("cri_proxy::sandbox_field_counts_for_a_container_without_it", handed_on::sandbox_alone),
        trial("cri_proxy::forged_annotations_change_nothing", handed_on::forged),
        trial("cri_proxy::request_of_a_killed_proxy_decides_nothing_later", handed_on::killed),
        trial("cri_proxy::creates_at_once_are_not_mixed_up", handed_on::at_once),
        trial("cri_proxy::request_planted_by_another_user_is_refused", handed_on::planted),
        trial("cri_proxy::plugin_that_looks_elsewhere_is_found_out", handed_on::elsewhere),
        trial("cri_proxy::declared_groups_are_handed_on_where_no_record_has_them", handed_on::declared),
        trial("cri_proxy::says_that_the_feature_is_there_while_it_is", feature::honest),
        trial("cri_proxy::answers_as_without_it", transparent::alike),
        trial("cri_proxy::changes_nothing_on_a_native_runtime", transparent::native),
        trial("cri_proxy::events_have_the_user", feature::events),
        trial("cri_proxy::survives_the_runtime_and_may_be_killed", life::lives),
        trial("cri_proxy::loses_nothing_when_killed_under_load", killed::under_load),
        trial("cri_proxy::exec_attach_and_port_forward_work", streaming::work),
        trial("cri_proxy::passes_cancellation_and_deadlines", ended::calls),
        trial("cri_proxy::answers_what_is_on_its_way_when_told_to_stop", ended::drained),
        trial("cri_proxy::passes_streams_that_nobody_knows", unknown::calls),
        trial("cri_proxy::passes_large_answers", transparent::large),
        trial("cri_proxy::loses_no_call_when_systemd_holds_the_socket", life::activated),
    ]
}

/// Groups of the first process and of an exec, which must be the same.
fn groups(cri: &Cri, container: &str) -> Result<BTreeSet<u32>> {
    Ok(identity(cri, container)?.groups())
}

fn set(groups: &[u32]) -> BTreeSet<u32> {
    groups.iter().copied().collect()
}

fn refused(result: Result<impl Sized, e2e::cri::CriError>, code: tonic::Code, words: &[&str]) -> Result<()> {
    let Err(error) = result else { anyhow::bail!("{words:?} was not refused") };
    ensure!(error.code == code && words.iter().all(|word| error.message.contains(word)), "{error}");
    Ok(())
}
