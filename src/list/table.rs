//! The list for people: aligned columns, at most 100 characters wide unless all is asked for.

use std::borrow::Cow;

use super::{
    report::{Group, Item},
    verdict::Verdict,
};

/// What a table may be wide, in characters.
const WIDEST: usize = 100;
const GAP: usize = 2;
const CUT: char = '…';

/// What stands for nothing.
const NONE: &str = "-";

/// One column.
struct Column {
    title: &'static str,
    cell: fn(&Item) -> String,
    /// How narrow it may become, and how; None: what is in it is never cut.
    cut: Option<Cut>,
}

type Cut = (usize, fn(&str, usize) -> String);

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
const POLICY: Column = column("POLICY", None, |item| item.policy.name.unwrap_or("?").to_owned());
const VERDICT: Column = column("VERDICT", None, |item| verdict(item.verdict).to_owned());
const SETGID: Column = column("SETGID", None, |item| {
    item.can_change.as_ref().map_or(NONE, |can| way(can.groups)).to_owned()
});
const SETUID: Column = column("SETUID", None, |item| {
    item.can_change.as_ref().map_or(NONE, |can| way(can.user)).to_owned()
});
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

/// What fits.
const NARROW: &[Column] = &[NAMESPACE, POD, CONTAINER, UID, GID, GROUPS, EXTRA, POLICY, VERDICT, SETGID];

/// Everything; the reason comes last, since it is a sentence.
const WIDE: &[Column] = &[
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
    column("REASON", None, |item| item.reason.as_deref().map_or_else(|| NONE.to_owned(), sentence)),
];

/// How the table is to look.
#[derive(Debug, Clone, Copy, Default)]
pub struct Style {
    /// All columns, as wide as they are.
    pub wide: bool,
    /// The verdict in colour.
    pub colour: bool,
}

/// The table, with its head and a line for each of `items`.
#[must_use]
pub fn render(items: &[Item], style: Style) -> String {
    let columns = if style.wide { WIDE } else { NARROW };
    let cells: Vec<Vec<String>> =
        items.iter().map(|item| columns.iter().map(|column| (column.cell)(item)).collect()).collect();
    let mut widths: Vec<usize> = columns
        .iter()
        .enumerate()
        .map(|(place, column)| {
            let longest = cells.iter().filter_map(|row| row.get(place)).map(|cell| length(cell)).max();
            longest.unwrap_or(0).max(length(column.title))
        })
        .collect();
    if !style.wide {
        narrow(&mut widths, columns);
    }

    let mut out = String::new();
    let head = columns.iter().map(|column| column.title);
    line(&mut out, head.map(Cow::Borrowed), &widths, None);
    for (row, item) in cells.iter().zip(items) {
        let colour = style.colour.then(|| colour(item.verdict)).flatten();
        let place = columns.iter().position(|column| column.title == VERDICT.title);
        let paint = colour.zip(place);
        let fitted = row.iter().zip(columns).zip(&widths).map(|((cell, column), width)| match column.cut {
            Some((_, cut)) if length(cell) > *width => Cow::Owned(cut(cell, *width)),
            _ => Cow::Borrowed(cell.as_str()),
        });
        line(&mut out, fitted, &widths, paint);
    }
    out
}

/// Takes from the widest of the columns that can be cut until all fit.
fn narrow(widths: &mut [usize], columns: &[Column]) {
    let gaps = GAP * widths.len().saturating_sub(1);
    while widths.iter().sum::<usize>() + gaps > WIDEST {
        let cuttable = widths.iter_mut().zip(columns).filter_map(|(width, column)| {
            let (least, _) = column.cut.filter(|(least, _)| *width > *least)?;
            Some((*width - least, width))
        });
        let Some((_, width)) = cuttable.max_by_key(|(over, _)| *over) else { return };
        *width -= 1;
    }
}

/// One line; `paint` is a colour and the column that has it.
fn line<'a>(
    out: &mut String,
    cells: impl Iterator<Item = Cow<'a, str>>,
    widths: &[usize],
    paint: Option<(&str, usize)>,
) {
    let last = widths.len().saturating_sub(1);
    for (place, (cell, width)) in cells.zip(widths).enumerate() {
        let padding = if place == last { 0 } else { width.saturating_sub(length(&cell)) + GAP };
        match paint.filter(|(_, column)| *column == place) {
            Some((colour, _)) => out.extend(["\u{1b}[", colour, "m", &cell, "\u{1b}[0m"]),
            None => out.push_str(&cell),
        }
        out.extend(std::iter::repeat_n(' ', padding));
    }
    out.truncate(out.trim_end_matches(' ').len());
    out.push('\n');
}

/// The beginning and the end of a name that is longer than `width`: names of pods differ at their ends.
fn cut_name(name: &str, width: usize) -> String {
    let kept = width.saturating_sub(1);
    let front = kept.div_ceil(2);
    let back = name.chars().skip(length(name) - (kept - front));
    name.chars().take(front).chain([CUT]).chain(back).collect()
}

/// As many entries of a list as fit into `width`. No number is cut: its half would be another one.
fn cut_list(list: &str, width: usize) -> String {
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

fn length(text: &str) -> usize {
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
            let form = key.strip_prefix(crate::policy::ANNOTATION).unwrap_or_default();
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
        Verdict::Unknown => "unknown",
    }
}

/// The number of a colour (ECMA-48, "SGR").
fn colour(verdict: Verdict) -> Option<&'static str> {
    match verdict {
        Verdict::Strict => Some("32"),
        Verdict::WouldLoseGroups | Verdict::Unknown => Some("33"),
        Verdict::Violated => Some("1;31"),
        Verdict::Refused => Some("31"),
        Verdict::Merged | Verdict::NotStarted | Verdict::Ended => None,
    }
}

#[cfg(test)]
mod tests;
