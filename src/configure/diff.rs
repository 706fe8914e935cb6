//! What changes between two texts, in the form of `diff -u`.

use std::fmt::Write as _;

/// Lines around a change that are shown with it.
const CONTEXT: usize = 3;
/// Above this many pairs of lines the changed part is shown as replaced in one piece.
const LARGEST_TABLE: usize = 4_000_000;

#[derive(Clone, Copy)]
enum Edit<'a> {
    Same(&'a str),
    Old(&'a str),
    New(&'a str),
}

/// The changes from `old` to `new`, as the file `name`; empty when there are none. `None` is a file
/// that is not there.
#[must_use]
pub fn unified(name: &str, old: Option<&str>, new: Option<&str>) -> String {
    if old == new {
        return String::new();
    }
    let edits = edits(old.unwrap_or_default(), new.unwrap_or_default());
    let title = |side: Option<&str>| if side.is_some() { name.to_owned() } else { "/dev/null".to_owned() };
    let mut text = format!("--- {}\n+++ {}\n", title(old), title(new));
    let near: Vec<bool> = near_a_change(&edits);
    let (mut old_line, mut new_line, mut at) = (1, 1, 0);
    while let Some(rest) = edits.get(at..).filter(|rest| !rest.is_empty()) {
        let shown = near.iter().skip(at).take_while(|near| **near).count();
        let hidden = near.iter().skip(at).take_while(|near| !**near).count();
        let hunk = rest.get(..shown).unwrap_or_default();
        let olds = hunk.iter().filter(|edit| !matches!(edit, Edit::New(_))).count();
        let news = hunk.iter().filter(|edit| !matches!(edit, Edit::Old(_))).count();
        if shown > 0 {
            // Writing to a String cannot fail.
            let _ =
                writeln!(text, "@@ -{},{olds} +{},{news} @@", first(old_line, olds), first(new_line, news));
        }
        for edit in hunk {
            let _ = match edit {
                Edit::Same(line) => writeln!(text, " {line}"),
                Edit::Old(line) => writeln!(text, "-{line}"),
                Edit::New(line) => writeln!(text, "+{line}"),
            };
        }
        at += shown + hidden;
        old_line += olds + hidden;
        new_line += news + hidden;
    }
    text
}

/// The number of a hunk's first line; of an empty one, that of the line before it.
fn first(line: usize, count: usize) -> usize {
    if count == 0 { line - 1 } else { line }
}

fn near_a_change(edits: &[Edit<'_>]) -> Vec<bool> {
    let changed: Vec<bool> = edits.iter().map(|edit| !matches!(edit, Edit::Same(_))).collect();
    (0..edits.len())
        .map(|at| {
            let from = at.saturating_sub(CONTEXT);
            changed.iter().skip(from).take(at + CONTEXT + 1 - from).any(|changed| *changed)
        })
        .collect()
}

/// The shortest way from one text to the other, by the longest common subsequence of lines.
fn edits<'a>(old: &'a str, new: &'a str) -> Vec<Edit<'a>> {
    let (old, new): (Vec<&str>, Vec<&str>) = (old.lines().collect(), new.lines().collect());
    let (rows, columns) = (old.len() + 1, new.len() + 1);
    if rows.saturating_mul(columns) > LARGEST_TABLE {
        return old.into_iter().map(Edit::Old).chain(new.into_iter().map(Edit::New)).collect();
    }
    // common[i][j]: how many lines old[i..] and new[j..] have in common.
    let mut common = vec![vec![0_usize; columns]; rows];
    let at = |table: &[Vec<usize>], i: usize, j: usize| {
        table.get(i).and_then(|row| row.get(j)).copied().unwrap_or_default()
    };
    for (i, old) in old.iter().enumerate().rev() {
        for (j, new) in new.iter().enumerate().rev() {
            let most = if old == new {
                at(&common, i + 1, j + 1) + 1
            } else {
                at(&common, i + 1, j).max(at(&common, i, j + 1))
            };
            if let Some(cell) = common.get_mut(i).and_then(|row| row.get_mut(j)) {
                *cell = most;
            }
        }
    }
    let (mut i, mut j, mut edits) = (0, 0, Vec::new());
    loop {
        match (old.get(i).copied(), new.get(j).copied()) {
            (Some(left), Some(right)) if left == right => {
                edits.push(Edit::Same(left));
                i += 1;
                j += 1;
            }
            (Some(left), right) if right.is_none() || at(&common, i + 1, j) >= at(&common, i, j + 1) => {
                edits.push(Edit::Old(left));
                i += 1;
            }
            (_, Some(right)) => {
                edits.push(Edit::New(right));
                j += 1;
            }
            (_, None) => return edits,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_texts_differ_in_nothing() {
        assert_eq!(unified("f", Some("a\nb\n"), Some("a\nb\n")), "");
        assert_eq!(unified("f", None, None), "");
    }

    #[test]
    fn a_new_file_and_one_that_goes() {
        assert_eq!(unified("f", None, Some("a\nb\n")), "--- /dev/null\n+++ f\n@@ -0,0 +1,2 @@\n+a\n+b\n");
        assert_eq!(unified("f", Some("a\n"), None), "--- f\n+++ /dev/null\n@@ -1,1 +0,0 @@\n-a\n");
    }

    #[test]
    fn changes_stand_with_their_surroundings() {
        let old = "1\n2\n3\n4\n5\n6\n7\n8\n9\n10\n11\n12\n13\n14\n15\n16\n17\n";
        let new = old.replace("2\n3\n", "2\nx\n").replacen("16\n", "", 1);
        let expected = "--- f\n+++ f\n\
            @@ -1,6 +1,6 @@\n 1\n 2\n-3\n+x\n 4\n 5\n 6\n\
            @@ -13,5 +13,4 @@\n 13\n 14\n 15\n-16\n 17\n";
        assert_eq!(unified("f", Some(old), Some(&new)), expected);
    }

    #[test]
    fn very_long_texts_are_replaced_in_one_piece() {
        let (old, new) = ("a\n".repeat(3000), "b\n".repeat(3000));
        let text = unified("f", Some(&old), Some(&new));
        assert_eq!(text.lines().filter(|line| *line == "-a").count(), 3000);
        assert_eq!(text.lines().filter(|line| *line == "+b").count(), 3000);
    }
}
