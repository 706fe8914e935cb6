//! The binary's command line: what scripts and administrators meet. Exit codes are 0 done,
//! 1 refused or failed, 2 wrong usage.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::{
    fs,
    path::Path,
    process::{Command, Output, Stdio},
};

fn strict_groups(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_strict-groups"))
        .args(args)
        .env_clear()
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

/// What was printed to stderr; the exit code must be this one.
fn fails(args: &[&str], code: i32) -> String {
    let output = strict_groups(args);
    assert_eq!(output.status.code(), Some(code), "{args:?}: {output:?}");
    assert!(output.stdout.is_empty(), "{args:?}: {output:?}");
    String::from_utf8(output.stderr).unwrap()
}

/// Runs the plugin with this configuration, which must be refused before anything else happens.
fn fails_with_config(text: &str) -> String {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("config.toml");
    fs::write(&file, text).unwrap();
    let said = plugin_fails(&file);
    assert!(said.contains(file.to_str().unwrap()), "no file: {said}");
    said
}

fn plugin_fails(config: &Path) -> String {
    // No socket is there, so a plugin that took its configuration would wait for ever.
    let config = config.to_str().unwrap();
    let said = fails(&["plugin", "--nri-socket", "/nonexistent/nri.sock", "--config", config], 1);
    assert!(said.starts_with("strict-groups: "), "{said}");
    said
}

#[test]
fn version_is_name_and_number() {
    let output = strict_groups(&["--version"]);
    assert!(output.status.success());
    let expected = format!("strict-groups {}\n", env!("CARGO_PKG_VERSION"));
    assert_eq!(String::from_utf8(output.stdout).unwrap(), expected);
}

#[test]
fn help_goes_to_stdout_and_names_commands_and_defaults() {
    for (args, wanted) in [
        (&["--help"][..], &["plugin", "hook", "--log-level", "--version"][..]),
        (
            &["plugin", "--help"],
            &[
                "--config",
                "/etc/strict-groups/config.toml",
                "--nri-socket",
                "/var/run/nri/nri.sock",
                "--containerd-socket",
                "/run/containerd/containerd.sock",
                "--name",
                "--index",
                "90",
            ],
        ),
        (
            &["list", "--help"],
            &[
                "--output",
                "table",
                "wide",
                "json",
                "yaml",
                "--namespace",
                "--pod",
                "--violations",
                "--runtime-endpoint",
            ],
        ),
    ] {
        let output = strict_groups(args);
        assert!(output.status.success() && output.stderr.is_empty(), "{args:?}: {output:?}");
        let text = String::from_utf8(output.stdout).unwrap();
        for word in wanted {
            assert!(text.contains(word), "{args:?} lacks {word}: {text}");
        }
    }
}

#[test]
fn wrong_usage_exits_with_2_and_says_what_is_wrong() {
    for (args, wanted) in [
        (&[][..], "Usage"),
        (&["plugn"], "plugn"),
        (&["--no-such-flag"], "--no-such-flag"),
        (&["plugin", "--no-such-flag"], "--no-such-flag"),
        (&["plugin", "surplus"], "surplus"),
        (&["plugin", "--config"], "--config"),
        (&["plugin", "--log-level", "loud"], "loud"),
        (&["--log-level", "INFO", "plugin"], "INFO"),
        (&["plugin", "--index", "9"], "two digits"),
        (&["plugin", "--index", "100"], "two digits"),
        (&["plugin", "--index", "9x"], "two digits"),
        (&["plugin", "--index", ""], "index"),
        (&["plugin", "--name", ""], "name"),
        (&["plugin", "--name", "a\nb"], "control characters"),
        (&["list", "-o", "xml"], "json"),
        (&["list", "surplus"], "surplus"),
        (&["list", "--namespace"], "--namespace"),
    ] {
        let said = fails(args, 2);
        assert!(said.contains(wanted), "{args:?} does not say {wanted}: {said}");
    }
}

#[test]
#[ignore = "needs root"]
fn list_of_no_runtime_fails_in_one_line() {
    let dir = tempfile::tempdir().unwrap();
    let missing = dir.path().join("none.sock");
    let missing = missing.to_str().unwrap();
    for (args, wanted) in [
        (&["list", "--runtime-endpoint", "tcp://127.0.0.1:1"][..], "unix:///path"),
        (&["list", "-r", "relative.sock"], "\"relative.sock\""),
        (&["list", "--runtime-endpoint", missing], missing),
        (&["list", "--violations", "-o", "json", "-r", &format!("unix://{missing}")], missing),
        (&["list", "-r", missing, "--config", "/nonexistent/config.toml"], "/nonexistent/config.toml"),
    ] {
        let said = fails(args, 1);
        assert!(said.starts_with("strict-groups: ") && said.contains(wanted), "{args:?}: {said}");
        assert_eq!(said.lines().count(), 1, "{said}");
    }
}

#[test]
#[ignore = "needs root"]
fn configuration_that_was_named_must_exist() {
    let said = plugin_fails(Path::new("/nonexistent/strict-groups.toml"));
    assert!(said.contains("/nonexistent/strict-groups.toml") && said.contains("No such file"), "{said}");
}

#[test]
#[ignore = "needs root"]
fn configuration_that_is_a_folder_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let said = plugin_fails(dir.path());
    assert!(said.contains(dir.path().to_str().unwrap()) && said.contains("directory"), "{said}");
}

#[test]
#[ignore = "needs root"]
fn broken_configuration_is_refused_with_line_and_key() {
    for (text, line, wanted) in [
        ("pods_may_override = true\ndefault_polcy = \"Strict\"\n", "line 2", "default_polcy"),
        ("[policy]\ndefault = \"Strict\"\n", "line 1", "policy"),
        ("default_policy = \"strict\"\n", "line 1", "Strict"),
        ("default_policy = true\n", "line 1", "default_policy"),
        ("\n\npods_may_override = \"yes\"\n", "line 3", "pods_may_override"),
        ("default_policy = \"Strict\"\ndefault_policy = \"Merge\"\n", "line 2", "default_policy"),
        ("default_policy = \n", "line 1", "default_policy"),
        (
            "[[rule]]\nnamespaces = [\"a\"]\npolicy = \"Strict\"\n[[rule]]\npolicy = \"Strict\"\n",
            "line 4",
            "labels",
        ),
    ] {
        let said = fails_with_config(text);
        assert!(said.contains(line) && said.contains(wanted), "{text:?} gives: {said}");
    }
}

#[test]
#[ignore = "needs root"]
fn hook_that_no_runtime_would_find_is_refused() {
    let said = fails_with_config("hook_path = \"bin/strict-groups\"\n");
    assert!(said.contains("bin/strict-groups") && said.contains("absolute"), "{said}");
}

#[test]
fn log_filter_that_is_not_understood_is_refused() {
    let output = Command::new(env!("CARGO_BIN_EXE_strict-groups"))
        .args(["plugin", "--nri-socket", "/nonexistent/nri.sock"])
        .env_clear()
        .env("RUST_LOG", "strict_groups=loud")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("RUST_LOG") && said.contains("loud"), "{said}");
}

#[test]
#[ignore = "needs root"]
fn check_validates_a_configuration_wherever_it_lies() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("config.toml");
    let file = file.to_str().unwrap();
    std::fs::write(file, "mode = \"audit\"\n[[rule]]\nnamespaces = [\"a\"]\npolicy = \"Strict\"\n").unwrap();
    let output = strict_groups(&["check", "--config", file]);
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
    let said = String::from_utf8(output.stdout).unwrap();
    assert_eq!(said, format!("{file} is valid: mode audit, default policy Merge, rules: 1\n"));

    // Where others can change it, it may be good all the same.
    std::fs::set_permissions(file, std::os::unix::fs::PermissionsExt::from_mode(0o666)).unwrap();
    let output = strict_groups(&["check", "--config", file]);
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success() && said.contains("note: the plugin does not take the file"), "{said}");

    std::fs::write(file, "\n[[rule]]\npolicy = \"Strict\"\n").unwrap();
    let said = fails(&["check", "--config", file], 1);
    for part in [file, "line 2", "[[rule]]", "a rule needs namespaces"] {
        assert!(said.contains(part), "no {part} in {said}");
    }
    let said = fails(&["check", "--config", "/nonexistent/config.toml"], 1);
    assert!(said.contains("/nonexistent/config.toml") && said.contains("No such file"), "{said}");
    // It looks at the file alone: options for the node make no sense beside it.
    let said = fails(&["check", "--config", file, "--output", "json"], 2);
    assert!(said.contains("--config"), "{said}");
}
