//! JSON values as YAML in block style.
//!
//! Own code, since it is this little: JSON is YAML (1.2) but for the layout, so strings that are not plain words
//! stay in JSON's quotes. The YAML crates bring parsers of several 100 KiB. The tests read the result back with one
//! of them.

use serde_json::Value;

/// Words that YAML 1.1 readers take for something else than a string.
const OTHER: [&str; 9] = ["true", "false", "null", "yes", "no", "on", "off", "y", "n"];

/// `value` as a YAML document; `quoted` gives a string in JSON's quotes.
pub(super) fn document(value: &Value, quoted: &dyn Fn(&str) -> String) -> String {
    let mut out = String::new();
    write(&mut out, value, 0, quoted);
    out.push('\n');
    out
}

/// Writes a value at the end of `out`, whose last line ends in `:`, `-` or is empty.
fn write(out: &mut String, value: &Value, depth: usize, quoted: &dyn Fn(&str) -> String) {
    let start = |out: &mut String, first: bool| {
        // The first entry of a map or list in a list stands behind its dash.
        let behind_dash = first && out.ends_with('-');
        if behind_dash {
            out.push(' ');
        } else if !out.is_empty() {
            out.push('\n');
            out.extend(std::iter::repeat_n("  ", depth));
        }
    };
    match value {
        Value::Object(members) if !members.is_empty() => {
            for (place, (key, value)) in members.iter().enumerate() {
                start(out, place == 0);
                out.push_str(&scalar(key, quoted));
                out.push(':');
                write(out, value, depth + 1, quoted);
            }
        }
        Value::Array(values) if !values.is_empty() => {
            for (place, value) in values.iter().enumerate() {
                start(out, place == 0);
                out.push('-');
                write(out, value, depth + 1, quoted);
            }
        }
        other => {
            if !out.is_empty() {
                out.push(' ');
            }
            match other {
                Value::String(text) => out.push_str(&scalar(text, quoted)),
                other => out.push_str(&other.to_string()),
            }
        }
    }
}

fn scalar(text: &str, quoted: &dyn Fn(&str) -> String) -> String {
    let word = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '/');
    let plain = text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.chars().all(word)
        && !OTHER.contains(&text.to_ascii_lowercase().as_str());
    if plain { text.to_owned() } else { quoted(text) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::terminal_json::quoted;

    #[test]
    fn as_people_write_it() {
        let value = json!({
            "kind": "X",
            "items": [{ "a": 1, "b": [1, 2], "c": [] , "d": {} }, { "a": null }],
            "nested": [[1, [true]], "yes", "a b", "0x1", ""],
        });
        let wanted = "\
items:
  - a: 1
    b:
      - 1
      - 2
    c: []
    d: {}
  - a: null
kind: X
nested:
  - - 1
    - - true
  - \"yes\"
  - \"a b\"
  - \"0x1\"
  - \"\"
";
        assert_eq!(document(&value, &quoted), wanted);
        assert_eq!(document(&json!("x"), &quoted), "x\n");
        assert_eq!(document(&json!([]), &quoted), "[]\n");
    }

    fn values() -> impl Strategy<Value = Value> {
        let text = prop_oneof![
            any::<String>(),
            "[a-zA-Z0-9.:#&*!|>%@`'\"{}\\[\\], -]{0,8}",
            proptest::sample::select(vec![
                "null", "True", "~", "1e3", "0o7", "a: b", "a #b", "-", "---", "\u{1b}[m"
            ])
            .prop_map(str::to_owned),
        ];
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<u32>().prop_map(Value::from),
            text.clone().prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 32, 5, move |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
                proptest::collection::vec((text.clone(), inner), 0..5)
                    .prop_map(|members| Value::Object(members.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn reader_of_yaml_finds_the_same(value in values()) {
            let text = document(&value, &quoted);
            let read: Value = serde_saphyr::from_str(&text).map_err(|error| {
                TestCaseError::fail(format!("{error} in:\n{text}"))
            })?;
            prop_assert_eq!(read, value, "{}", text);
        }
    }
}
