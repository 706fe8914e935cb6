//! Holds `docs/troubleshooting.md` and the code together: each message of ours that `kubectl describe pod` can show
//! has its row there, and each row is a message.
//!
//! A sample of every variant is made, with a word in capitals for what varies. A variant without one does not compile.

#![allow(clippy::match_same_arms, reason = "every variant is named, whatever is done with it")]

pub(crate) mod samples;

use std::collections::BTreeSet;

const DOCUMENT: &str = include_str!("../docs/troubleshooting.md");

/// A list with a sample of every variant of an enum.
macro_rules! every {
    ($type:ty; $($pattern:pat => $sample:expr),+ $(,)?) => {{
        let _exhaustive = |sample: &$type| match sample { $($pattern => ()),+ };
        let samples: Vec<$type> = vec![$({
            let sample: $type = $sample;
            assert!(matches!(sample, $pattern), "{sample:?} is not {}", stringify!($pattern));
            sample
        }),+];
        samples
    }};
}
pub(crate) use every;

/// `text` with the word DETAIL for `inner`, which has rows of its own.
pub(crate) fn detail(text: &str, inner: &str) -> String {
    text.replace(inner, "DETAIL")
}

/// A message without what says whose it is and which container it is about.
fn bare(text: &str) -> String {
    let text = text.strip_prefix("strict-groups: ").unwrap_or(text);
    let named = format!("pod {}, container {}: ", samples::POD, samples::CONTAINER);
    let text = text.strip_prefix(&named).unwrap_or(text);
    let text = text.strip_prefix(&format!("pod {}: ", samples::POD)).unwrap_or(text);
    text.strip_prefix("container ID: ").unwrap_or(text).to_owned()
}

/// The rows of the document's tables: message, cause and cure.
fn rows() -> Vec<Vec<&'static str>> {
    let rows = DOCUMENT.lines().filter(|line| line.starts_with("| ``"));
    rows.map(|row| row.trim_matches('|').split(" | ").map(str::trim).collect()).collect()
}

#[test]
fn document_has_each_message_and_no_other() {
    let code: BTreeSet<String> = samples::all().iter().map(|text| bare(text)).collect();
    let unquoted = |cell: &str| cell.trim_matches('`').trim().to_owned();
    let document: BTreeSet<String> =
        rows().iter().filter_map(|row| row.first()).map(|cell| unquoted(cell)).collect();
    let lacks: Vec<&String> = code.difference(&document).collect();
    let knows: Vec<&String> = document.difference(&code).collect();
    assert!(
        lacks.is_empty() && knows.is_empty(),
        "docs/troubleshooting.md lacks {lacks:#?} and has what nobody says: {knows:#?}"
    );
    assert!(code.len() > 50, "{code:?}");
}

#[test]
fn each_message_is_one_line_with_a_cause_and_a_cure() {
    for row in rows() {
        assert_eq!(row.len(), 3, "not message, cause and cure: {row:?}");
        let (message, cause, cure) = (row[0], row[1], row[2]);
        assert!(message.ends_with("``") && !cause.is_empty() && !cure.is_empty(), "{row:?}");
    }
    assert!(samples::all().iter().all(|text| !text.contains('\n')));
}
