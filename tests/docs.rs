//! SECURITY.md says which test shows each of its statements: those tests exist.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::{fs, path::Path};

const TEXT: &str = include_str!("../SECURITY.md");

/// What stands in backticks and is below a folder `tests/`, in one line of the text.
fn references(line: &str) -> impl Iterator<Item = &str> {
    line.split('`').skip(1).step_by(2).filter(|code| code.contains("tests/"))
}

/// Whether a file has a test, or a trial on real runtimes, of this name.
fn has_test(path: &str, name: &str) -> bool {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    let Ok(source) = fs::read_to_string(&file) else { return false };
    // A trial's name has that of its group in front.
    source.contains(&format!("fn {name}()")) || source.contains(&format!("::{name}\""))
}

#[test]
fn every_test_that_security_md_names_exists() {
    let named: Vec<(&str, &str)> =
        TEXT.lines().flat_map(references).filter_map(|reference| reference.split_once("::")).collect();
    assert!(named.len() > 30, "the table is not understood: {named:?}");
    for (path, name) in named {
        assert!(has_test(path, name), "SECURITY.md names {path}::{name}, which does not exist");
    }
}

#[test]
fn every_way_of_failing_names_its_test() {
    let rows: Vec<&str> = TEXT.lines().skip_while(|line| !line.starts_with("| what fails")).skip(2).collect();
    let rows: Vec<&str> = rows.into_iter().take_while(|line| line.starts_with('|')).collect();
    assert!(rows.len() > 20, "the table is not understood: {rows:?}");
    for row in rows {
        let last = row.trim_end_matches('|').rsplit('|').next().unwrap();
        assert!(references(last).next().is_some(), "no test: {row}");
    }
}

#[test]
fn chart_and_crates_have_one_address() {
    let manifest = include_str!("../Cargo.toml");
    let chart = include_str!("../packaging/kubernetes/chart/Chart.yaml");
    let address =
        manifest.lines().find_map(|line| line.strip_prefix("repository = ")).unwrap().trim_matches('"');
    assert!(address.starts_with("https://"), "{address}");
    for line in [format!("home: {address}"), format!("sources: [{address}]")] {
        assert!(chart.lines().any(|other| other == line), "{line}");
    }
}

#[test]
fn test_that_does_not_exist_is_found_out() {
    assert!(has_test("tests/hook.rs", "pending_gate_refuses"));
    assert!(has_test(
        "crates/e2e/tests/containerd/start_check.rs",
        "process_with_too_many_groups_is_refused_on_containerd_1_7"
    ));
    assert!(!has_test("tests/hook.rs", "a_pending_gate"));
    assert!(!has_test("tests/nothing.rs", "pending_gate_refuses"));
}
