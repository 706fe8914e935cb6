//! The columns: what stands in their cells, and how a cell that is too long is cut.

use crate::list::{
    report::{Group, Item},
    verdict::Verdict,
};
use strict_groups_core::policy::ANNOTATION;

const CUT: char = '…';

/// What stands for nothing.
const NONE: &str = "-";

/// One column.
pub(super) struct Column {
    pub(super) title: &'static str,
    pub(super) cell: fn(&Item) -> String,
    /// How narrow it may become, and how; None: what is in it is never cut.
    pub(super) cut: Option<Cut>,
}

/// The least width, and how to get there.
pub(super) type Cut = (usize, fn(&str, usize) -> String);

const fn column(title: &'static str, cut: Option<Cut>, cell: fn(&Item) -> String) -> Column {
    Column { title, cell, cut }
}

const NAMESPACE: Column = column("NAMESPACE", Some((9, cut_name)), |item| plain(&item.namespace));
const POD: Column = column("POD", Some((9, cut_name)), |item| plain(&item.pod));
const CONTAINER: Column = column("CONTAINER", Some((9, cut_name)), |item| plain(&item.container));
const UID: Column = column("UID", None, |item| number(item.user.as_ref().map(|user| user.linux.uid)));
const GID: Column = column("GID", None, |item| number(item.user.as_ref().map(|user| user.linux.gid)));
const GROUPS: Column = column("GROUPS", Some((6, cut_list)), |item| {
    item.user.as_ref().map_or_else(|| NONE.to_owned(), |user| joined(&user.linux.supplemental_groups))
});
const EXTRA: Column = column("EXTRA", Some((6, cut_list)), |item| groups(&item.beyond_strict));
const EXTRA_GIDS: Column = column("EXTRA", Some((6, cut_list)), |item| {
    joined(&item.beyond_strict.iter().map(|group| group.gid).collect::<Vec<_>>())
});
const POLICY: Column = column("POLICY", None, |item| item.policy.name.unwrap_or("?").to_owned());
pub(super) const VERDICT: Column = column("VERDICT", None, |item| verdict(item.verdict).to_owned());
const SETGID: Column =
    column("SETGID", None, |item| item.can_change.as_ref().map_or(NONE, |can| way(can.groups)).to_owned());
const SETUID: Column =
    column("SETUID", None, |item| item.can_change.as_ref().map_or(NONE, |can| way(can.user)).to_owned());
const ESCALATION: Column = column("ESCALATION", None, |item| {
    let allowed = item.can_change.as_ref().map(|can| can.allow_privilege_escalation);
    allowed.map_or(NONE, |allowed| if allowed { "yes" } else { "no" }).to_owned()
});
const DECLARED: Column = column("DECLARED", None, |item| match &item.declared_groups {
    Some(gids) => joined(gids),
    None => "?".to_owned(),
});
const FROM_IMAGE: Column = column("FROM IMAGE", None, |item| groups(&item.image_groups));
const SOURCE: Column = column("SOURCE", None, source);
const STATE: Column = column("STATE", None, |item| item.state.to_ascii_lowercase());
const PID: Column = column("PID", None, |item| number(item.pid));
const ID: Column = column("CONTAINER ID", None, |item| plain(item.id.get(..13).unwrap_or(&item.id)));

/// What fits, most of the time.
pub(super) const NARROW: &[Column] =
    &[NAMESPACE, POD, CONTAINER, UID, GID, GROUPS, EXTRA, POLICY, VERDICT, SETGID];

/// What fits, at the price of cut cells.
pub(super) const NARROWER: &[Column] =
    &[NAMESPACE, POD, CONTAINER, UID, GID, GROUPS, EXTRA_GIDS, POLICY, VERDICT, SETGID];

/// Everything; the reason and the note come last, since they are sentences.
pub(super) const WIDE: &[Column] = &[
    NAMESPACE,
    POD,
    CONTAINER,
    UID,
    GID,
    GROUPS,
    DECLARED,
    FROM_IMAGE,
    EXTRA,
    POLICY,
    SOURCE,
    VERDICT,
    SETGID,
    SETUID,
    ESCALATION,
    STATE,
    PID,
    ID,
    column("REASON", None, |item| {
        let sentences: Vec<&str> = item.reason.as_deref().into_iter().chain(item.note.as_deref()).collect();
        if sentences.is_empty() { NONE.to_owned() } else { sentence(&sentences.join("; ")) }
    }),
];

/// The beginning and the end of a name that is longer than `width`: names of pods differ at their ends.
pub(super) fn cut_name(name: &str, width: usize) -> String {
    let kept = width.saturating_sub(1);
    let front = kept.div_ceil(2);
    let back = name.chars().skip(length(name) - (kept - front));
    name.chars().take(front).chain([CUT]).chain(back).collect()
}

/// As many entries of a list as fit into `width`. No number is cut: its half would be another one.
pub(super) fn cut_list(list: &str, width: usize) -> String {
    let mut out = String::new();
    for entry in list.split_inclusive(',') {
        if length(&out) + length(entry) + 1 > width {
            break;
        }
        out.push_str(entry);
    }
    if out.is_empty() {
        // Of the first entry the number, if there is room for it.
        let number = list.split('(').next().filter(|number| length(number) < width);
        out.push_str(number.unwrap_or_default());
    }
    out.push(CUT);
    out
}

pub(super) fn length(text: &str) -> usize {
    text.chars().count()
}

/// What others wrote, as one word: a character that could pass for another one, for a column's end or for a command
/// to the terminal is a question mark.
fn plain(text: &str) -> String {
    let harmless = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '@' | '$' | '+');
    if text.is_empty() {
        return NONE.to_owned();
    }
    text.chars().map(|c| if harmless(c) { c } else { '?' }).collect()
}

/// A sentence of ours that may quote others.
fn sentence(text: &str) -> String {
    text.chars().map(|c| if matches!(c, ' '..='~') { c } else { '?' }).collect()
}

fn number(number: Option<u32>) -> String {
    number.map_or_else(|| NONE.to_owned(), |number| number.to_string())
}

fn joined(gids: &[u32]) -> String {
    if gids.is_empty() {
        return NONE.to_owned();
    }
    gids.iter().map(u32::to_string).collect::<Vec<_>>().join(",")
}

fn groups(groups: &[Group]) -> String {
    if groups.is_empty() {
        return NONE.to_owned();
    }
    let named = |group: &Group| match &group.name {
        Some(name) => format!("{}({})", group.gid, plain(name)),
        None => group.gid.to_string(),
    };
    groups.iter().map(named).collect::<Vec<_>>().join(",")
}

fn source(item: &Item) -> String {
    let policy = &item.policy;
    let mut text = match (&policy.annotation, policy.rule) {
        (Some(key), _) => {
            let form = key.strip_prefix(ANNOTATION).unwrap_or_default();
            format!("annotation{}", form.split('.').next().unwrap_or_default())
        }
        (None, Some(number)) => format!("rule-{number}"),
        (None, None) => policy.source.to_ascii_lowercase(),
    };
    if policy.audit {
        text.push_str(",audit");
    }
    text
}

fn way(way: &'static str) -> &'static str {
    match way {
        "AtWill" => "yes",
        "ByExec" => "exec",
        _ => "no",
    }
}

/// The verdict as one word.
fn verdict(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Strict => "strict",
        Verdict::Merged => "merged",
        Verdict::WouldLoseGroups => "would-lose",
        Verdict::Violated => "VIOLATED",
        Verdict::Refused => "refused",
        Verdict::NotStarted => "not-started",
        Verdict::Ended => "ended",
        Verdict::NotVerified => "not-verified",
        Verdict::Unknown => "unknown",
    }
}
