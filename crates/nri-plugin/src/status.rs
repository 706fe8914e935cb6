//! The status of a ttrpc answer: a gRPC code and a text for people.

use std::{error::Error, fmt};

/// Longest text that is put into an answer, in bytes. A runtime shows it to its user, in one line.
const MAX_TEXT: usize = 4096;

/// The gRPC status codes that a plugin meets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Code {
    /// A handler answered an error.
    Unknown = 2,
    /// The request cannot be understood.
    InvalidArgument = 3,
    /// The handler did not finish in time.
    DeadlineExceeded = 4,
    /// Too much at once, or too large an answer.
    ResourceExhausted = 8,
    /// No such service or method.
    Unimplemented = 12,
    /// The handler panicked.
    Internal = 13,
}

/// A failure as it travels in a ttrpc answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// The gRPC status code; never 0 (success).
    pub code: i32,
    /// The text, printable and at most 4 KiB long.
    pub message: String,
}

impl Status {
    /// A status with this text, made fit to be shown.
    pub(super) fn new(code: Code, message: &str) -> Self {
        Self::received(code as i32, message)
    }

    /// A status that came from the other side: its text is made fit to be shown as well.
    pub(super) fn received(code: i32, message: &str) -> Self {
        Self { code, message: presentable(message) }
    }

    /// The answer to an error of a handler: its text, and those of its sources that say something new.
    pub(super) fn from_error(error: &(dyn Error + 'static)) -> Self {
        Self::new(Code::Unknown, &with_sources(error))
    }
}

/// The error's text, and those of its sources that say something new.
#[must_use]
pub fn with_sources(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (code {})", self.message, self.code)
    }
}

/// `text` without control characters (line breaks become spaces) and cut to [`MAX_TEXT`].
fn presentable(text: &str) -> String {
    let mut out = String::with_capacity(text.len().min(MAX_TEXT));
    for c in text.chars() {
        let c = match c {
            '\n' | '\r' | '\t' => ' ',
            c if c.is_control() => continue,
            c => c,
        };
        if out.len() + c.len_utf8() > MAX_TEXT {
            break;
        }
        out.push(c);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("{text}")]
    struct Layer {
        text: &'static str,
        source: Option<Box<Layer>>,
    }

    fn chain(texts: &[&'static str]) -> Layer {
        let (first, rest) = texts.split_first().unwrap();
        let source = (!rest.is_empty()).then(|| Box::new(chain(rest)));
        Layer { text: first, source }
    }

    #[test]
    fn sources_are_told_unless_they_repeat_what_was_said() {
        assert_eq!(Status::from_error(&chain(&["a", "b", "c"])).message, "a: b: c");
        assert_eq!(Status::from_error(&chain(&["no spec: b", "b"])).message, "no spec: b");
    }

    #[test]
    fn text_is_one_printable_line() {
        let status = Status::new(Code::Unknown, "one\ntwo\u{1b}[31m\0three");
        assert_eq!(status.message, "one two[31mthree");
    }

    #[test]
    fn text_is_cut_between_characters() {
        let status = Status::new(Code::Unknown, &"é€".repeat(4000));
        assert!(status.message.len() <= MAX_TEXT && status.message.len() > MAX_TEXT - 4);
    }
}
