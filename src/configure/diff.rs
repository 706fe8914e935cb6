//! What changes between two texts, in the form of `diff -u`.

use similar::TextDiff;

/// The changes from `old` to `new`, as the file `name`; empty when there are none. `None` is a file
/// that is not there.
#[must_use]
pub fn unified(name: &str, old: Option<&str>, new: Option<&str>) -> String {
    if old == new {
        return String::new();
    }
    let title = |side: Option<&str>| if side.is_some() { name } else { "/dev/null" };
    TextDiff::from_lines(old.unwrap_or_default(), new.unwrap_or_default())
        .unified_diff()
        .header(title(old), title(new))
        .to_string()
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
    fn new_file_and_one_that_goes() {
        assert_eq!(unified("f", None, Some("a\nb\n")), "--- /dev/null\n+++ f\n@@ -0,0 +1,2 @@\n+a\n+b\n");
        assert_eq!(unified("f", Some("a\n"), None), "--- f\n+++ /dev/null\n@@ -1 +0,0 @@\n-a\n");
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
}
