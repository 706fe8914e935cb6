//! Makes text from outside fit to be shown: in errors, in log lines, in `kubectl describe pod`.
//!
//! Annotation values, names in an image's files and pod names are written by others. Shown raw, a
//! line break in one of them forges a log line and an escape sequence takes over a terminal.

/// The longest pod and container name that is shown or carried, in bytes. A namespace has at most
/// 63, a pod's name 253, a container's 63.
pub const NAME_MAX: usize = 320;

use std::fmt::Write as _;

/// What stands where text was cut off.
const CUT: char = '…';

/// Characters that must not reach a terminal or a log as they are: controls (C0, DEL, C1), line
/// and paragraph separators, and the invisible ones that change the direction of the text.
#[must_use]
pub fn is_unsafe(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

/// The beginning of `text`, at most `max` bytes when escaped, and whether something was cut off.
/// All but printable ASCII is an escape such as `\n` or `\u{1b}`: what is shown this way should be a
/// plain word, and a letter that only looks like one of its letters must not look right. Quotes and
/// backslashes are escaped as well, so that the result can stand between quotes.
fn escape(text: &str, max: usize) -> (String, bool) {
    let mut shown = String::new();
    for c in text.chars() {
        let before = shown.len();
        match c {
            '"' | '\\' => shown.extend(['\\', c]),
            ' '..='~' => shown.push(c),
            c => shown.extend(c.escape_default()),
        }
        if shown.len() > max {
            shown.truncate(before);
            return (shown, true);
        }
    }
    (shown, false)
}

/// `text` between quotes, escaped. Of what is longer than `max` bytes when escaped, the beginning
/// is shown, followed by the full length of `text` in bytes.
#[must_use]
pub fn quoted(text: &str, max: usize) -> String {
    let (mut shown, cut) = escape(text, max);
    shown.insert(0, '"');
    if cut {
        shown.push(CUT);
    }
    shown.push('"');
    if cut {
        // Writing to a String cannot fail.
        let _ = write!(shown, " (cut, {} bytes in full)", text.len());
    }
    shown
}

/// `text` as one line of at most `max` bytes: unsafe characters and runs of white space become one
/// space each, what is too long is cut and ends in `…`. What is clean already stays as it is.
pub fn one_line(text: &str, max: usize) -> String {
    words(text, max, is_unsafe)
}

/// The same of a name that stands in a list, `44(video),50000(data)`: it also loses what a list is made of, or
/// `x),0(root` would be two groups.
#[must_use]
pub fn list_name(text: &str, max: usize) -> String {
    words(text, max, |c| is_unsafe(c) || matches!(c, '(' | ')' | ',' | '"'))
}

fn words(text: &str, max: usize, is_unfit: impl Fn(char) -> bool) -> String {
    let mut line = String::with_capacity(text.len().min(max));
    for word in text.split(|c: char| c.is_whitespace() || is_unfit(c)).filter(|word| !word.is_empty()) {
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
        if line.len() > max {
            break;
        }
    }
    if line.len() > max {
        let mut end = max.saturating_sub(CUT.len_utf8());
        while !line.is_char_boundary(end) {
            end -= 1;
        }
        line.truncate(end);
        line.truncate(line.trim_end().len());
        line.push(CUT);
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_and_escapes() {
        assert_eq!(quoted("strict", 32), r#""strict""#);
        assert_eq!(quoted("", 32), r#""""#);
        assert_eq!(quoted("a\nb\u{1b}[2J\"\\", 32), r#""a\nb\u{1b}[2J\"\\""#);
        assert_eq!(quoted("\u{405}trict", 32), r#""\u{405}trict""#, "a Cyrillic letter");
        assert_eq!(quoted("right\u{202e}left", 32), r#""right\u{202e}left""#);
    }

    #[test]
    fn long_values_are_cut_and_measured() {
        assert_eq!(quoted("abcd", 4), r#""abcd""#);
        assert_eq!(quoted("abcde", 4), r#""abcd…" (cut, 5 bytes in full)"#);
        let long = "é".repeat(50_000);
        assert_eq!(quoted(&long, 12), r#""\u{e9}\u{e9}…" (cut, 100000 bytes in full)"#);
        assert_eq!(quoted("\u{1b}\u{1b}", 11), r#""\u{1b}…" (cut, 2 bytes in full)"#);
    }

    #[test]
    fn one_line_is_one_line() {
        assert_eq!(one_line("  it broke:\r\n\tbadly\u{2028}\u{7f}so \n", 100), "it broke: badly so");
        assert_eq!(one_line("clean text", 10), "clean text");
        assert_eq!(one_line("clean text!", 10), "clean t…");
        assert_eq!(one_line("clean  text!", 9), "clean…");
        assert_eq!(one_line("éééé", 5), "é…");
        assert_eq!(one_line("\u{1}\n", 5), "");
    }

    #[test]
    fn list_name_is_one_entry() {
        assert_eq!(list_name("x),0(root", 32), "x 0 root");
        assert_eq!(list_name("\"a\", \u{1b}b", 32), "a b");
        assert_eq!(list_name("domain users", 32), "domain users");
        assert_eq!(list_name("(),", 32), "");
    }
}
