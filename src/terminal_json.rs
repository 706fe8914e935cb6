//! JSON that may be looked at on a terminal.
//!
//! JSON escapes the characters below U+0020 only. The others that a terminal must not get (`text.rs`) are escaped as
//! well, which changes nothing for a reader of JSON.

use std::fmt::Write as _;

use serde::Serialize;

use strict_groups_core::text;

/// `value` as indented JSON, with a line break at the end.
///
/// # Errors
/// As [`serde_json::to_string_pretty`]: not for what is in this crate.
pub(crate) fn document(value: &impl Serialize) -> serde_json::Result<String> {
    let mut text = escaped(&serde_json::to_string_pretty(value)?);
    text.push('\n');
    Ok(text)
}

/// `text` as a JSON string.
pub(crate) fn quoted(text: &str) -> String {
    escaped(&serde_json::Value::from(text).to_string())
}

/// JSON with every unsafe character written as an escape. Outside of strings there is none but the line breaks.
fn escaped(json: &str) -> String {
    let mut out = String::with_capacity(json.len());
    for c in json.chars() {
        if c != '\n' && (text::is_unsafe(c) || matches!(c, '\u{fffe}' | '\u{ffff}')) {
            for unit in c.encode_utf16(&mut [0; 2]) {
                // Writing to a String cannot fail.
                let _ = write!(out, "\\u{unit:04x}");
            }
        } else {
            out.push(c);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn nothing_reaches_the_terminal() {
        let text = "a\u{1b}[2J\u{7f}\u{9b}31m\u{202e}\u{2028}\u{feff}é\n";
        let json = quoted(text);
        assert_eq!(json, r#""a\u001b[2J\u007f\u009b31m\u202e\u2028\ufeffé\n""#);
        assert_eq!(serde_json::from_str::<String>(&json).unwrap(), text);
    }

    proptest! {
        #[test]
        fn it_means_the_same(texts: Vec<String>) {
            let json = document(&texts).unwrap();
            prop_assert!(!json.chars().any(|c| c != '\n' && text::is_unsafe(c)));
            prop_assert_eq!(serde_json::from_str::<Vec<String>>(&json).unwrap(), texts);
        }
    }
}
