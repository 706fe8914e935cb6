//! A gate as the arguments of a hook, and back.

use super::{Gate, GateError, REASON_MAX, State};
use crate::{
    groups,
    hook_args::{PROGRAM, STATIC},
    merge_marker, text,
};

/// The most groups in one argument. With ten digits and a comma each they take 88 KiB of the 128
/// that the kernel allows.
const GROUPS_PER_ARG: usize = 8192;

const GATE: &str = "--gate";
const POD: &str = "--pod";
const CONTAINER: &str = "--container";
const GROUPS: &str = "--groups";
const DECLARED: &str = "--declared";
const REMOVED: &str = "--removed";
const REASON: &str = "--reason";

/// How many groups were removed, where [`REMOVED`] has only the first of them.
const REMOVED_COUNT: &str = "--removed-count";

/// How many removed groups are carried: an image can give its user millions.
const REMOVED_MAX: usize = 1024;

/// What stands for a name of which nothing can be shown.
const UNNAMED: &str = "?";

const PENDING: &str = "pending";
const RESOLVED: &str = "resolved";
const REFUSED: &str = "refused";

pub(super) fn write(gate: &Gate) -> Vec<String> {
    let state = match gate.state {
        State::Pending { .. } => PENDING,
        State::Resolved { .. } => RESOLVED,
        State::Refused { .. } => REFUSED,
    };
    let mut args: Vec<String> = PROGRAM.map(String::from).into();
    args.push(format!("{GATE}={state}"));
    args.push(format!("{POD}={}", name(&gate.pod)));
    args.push(format!("{CONTAINER}={}", name(&gate.container)));
    match &gate.state {
        State::Pending { declared: None } => {}
        State::Pending { declared: Some(declared) } => args.extend(lists(DECLARED, declared)),
        State::Resolved { groups, removed } => {
            args.extend(lists(GROUPS, groups));
            if !removed.is_empty() {
                args.extend(lists(REMOVED, removed.get(..REMOVED_MAX).unwrap_or(removed)));
            }
            if removed.len() > REMOVED_MAX {
                args.push(format!("{REMOVED_COUNT}={}", removed.len()));
            }
        }
        State::Refused { reason } => args.push(format!("{REASON}={}", text::one_line(reason, REASON_MAX))),
    }
    args
}

/// A name as one line. It is never empty: a gate without a name would not be understood again.
fn name(text: &str) -> String {
    let line = text::one_line(text, text::NAME_MAX);
    if line.is_empty() { UNNAMED.to_owned() } else { line }
}

/// `flag=1,2,3`, as often as it takes; `flag=` for an empty list.
fn lists(flag: &str, groups: &[u32]) -> impl Iterator<Item = String> {
    let none: &[u32] = &[];
    let empty = groups.is_empty().then_some(none);
    groups.chunks(GROUPS_PER_ARG).chain(empty).map(move |chunk| {
        let mut arg = format!("{flag}=");
        for (n, group) in chunk.iter().enumerate() {
            if n > 0 {
                arg.push(',');
            }
            arg.push_str(&group.to_string());
        }
        arg
    })
}

pub(super) fn read(args: &[impl AsRef<str>]) -> Result<Option<Gate>, GateError> {
    if merge_marker::is_marker(args) {
        return Ok(None);
    }
    let mut args = args.iter().map(AsRef::as_ref);
    if PROGRAM.iter().any(|name| args.next() != Some(*name)) {
        return Ok(None);
    }
    // The node's own gate carries no container's decision.
    if args.clone().next() == Some(STATIC) {
        return Ok(None);
    }

    let (mut state, mut pod, mut container, mut reason) = (None, None, None, None);
    let (mut groups, mut removed, mut declared, mut removed_count) = (None, None, None, None);
    for arg in args {
        let unknown = || GateError::Unknown { arg: arg.to_owned() };
        let (flag, value) = arg.split_once('=').ok_or_else(unknown)?;
        match flag {
            GATE => once(GATE, &mut state, value)?,
            POD => once(POD, &mut pod, value)?,
            CONTAINER => once(CONTAINER, &mut container, value)?,
            REASON => once(REASON, &mut reason, value)?,
            GROUPS => append(GROUPS, &mut groups, value)?,
            DECLARED => append(DECLARED, &mut declared, value)?,
            REMOVED => append(REMOVED, &mut removed, value)?,
            REMOVED_COUNT => once(REMOVED_COUNT, &mut removed_count, value)?,
            _ => return Err(unknown()),
        }
    }

    for (flag, list) in [(GROUPS, &groups), (DECLARED, &declared)] {
        if list.as_ref().is_some_and(|list| list.len() > groups::MOST) {
            return Err(GateError::TooMany { flag });
        }
    }
    // It is for whoever reads config.json.
    if let Some(count) = removed_count {
        count
            .parse::<usize>()
            .map_err(|_| GateError::BadNumber { flag: REMOVED_COUNT, shown: text::quoted(count, 16) })?;
    }
    let state = state.ok_or(GateError::Missing { flag: GATE })?;
    let state = match state {
        PENDING => {
            absent(PENDING, REASON, reason.is_some())?;
            absent(PENDING, GROUPS, groups.is_some())?;
            absent(PENDING, REMOVED, removed.is_some())?;
            absent(PENDING, REMOVED_COUNT, removed_count.is_some())?;
            State::Pending { declared }
        }
        RESOLVED => {
            absent(RESOLVED, REASON, reason.is_some())?;
            absent(RESOLVED, DECLARED, declared.is_some())?;
            let groups = groups.ok_or(GateError::Missing { flag: GROUPS })?;
            State::Resolved { groups, removed: removed.unwrap_or_default() }
        }
        REFUSED => {
            absent(REFUSED, GROUPS, groups.is_some())?;
            absent(REFUSED, DECLARED, declared.is_some())?;
            absent(REFUSED, REMOVED, removed.is_some())?;
            absent(REFUSED, REMOVED_COUNT, removed_count.is_some())?;
            State::Refused { reason: reason.ok_or(GateError::Missing { flag: REASON })?.to_owned() }
        }
        other => return Err(GateError::Unknown { arg: format!("{GATE}={other}") }),
    };
    Ok(Some(Gate { pod: named(POD, pod)?, container: named(CONTAINER, container)?, state }))
}

/// Stores the value of a flag that may stand only once.
fn once<'a>(flag: &'static str, slot: &mut Option<&'a str>, value: &'a str) -> Result<(), GateError> {
    match slot.replace(value) {
        Some(_) => Err(GateError::Repeated { flag }),
        None => Ok(()),
    }
}

/// Adds a list of groups to those of the arguments before.
fn append(flag: &'static str, slot: &mut Option<Vec<u32>>, value: &str) -> Result<(), GateError> {
    let list = slot.get_or_insert_default();
    if value.is_empty() {
        return Ok(());
    }
    for item in value.split(',') {
        // "+1" is a number to Rust and nothing that we write.
        let number = item.parse().ok().filter(|_| !item.starts_with('+'));
        list.push(number.ok_or_else(|| GateError::BadNumber { flag, shown: text::quoted(item, 16) })?);
    }
    Ok(())
}

fn absent(state: &'static str, flag: &'static str, present: bool) -> Result<(), GateError> {
    if present { Err(GateError::Misplaced { flag, state }) } else { Ok(()) }
}

fn named(flag: &'static str, value: Option<&str>) -> Result<String, GateError> {
    match value {
        Some(name) if !name.is_empty() => Ok(name.to_owned()),
        _ => Err(GateError::Missing { flag }),
    }
}
