use std::path::PathBuf;

use super::*;
use crate::check::{
    facts::{Hook, OciRuntime},
    report::{State, Verdict},
};

const OWN: &str = "0.1.0";

fn handler(name: &str) -> Handler {
    Handler {
        name: name.to_owned(),
        default: false,
        kind: RuntimeType::Runc,
        without_hooks: None,
        gate: Gate::Installed { hook: "/usr/bin/strict-groups".into(), config: None },
        missing_annotations: Vec::new(),
        program: "runc".to_owned(),
        wrapped: false,
    }
}

fn runtime(name: &str, version: &str, native: bool) -> Runtime {
    Runtime { name: name.to_owned(), version: version.to_owned(), native }
}

/// A node on which nothing is missing.
fn good() -> Facts {
    Facts {
        runtime: Ok(runtime("containerd", "1.7.24", false)),
        nri: Nri::Reachable,
        plugin: Plugin::Registered("containerd v1.7.24".to_owned()),
        handlers: Ok(vec![handler("runc")]),
        hooks: vec![Hook {
            path: "/usr/bin/strict-groups".into(),
            version: Ok(format!("strict-groups {OWN}")),
        }],
        oci_runtimes: vec![OciRuntime {
            program: "runc".to_owned(),
            version: Ok("runc version 1.3.0".to_owned()),
        }],
        config: Ok(NodeConfig {
            path: PathBuf::from(crate::config::DEFAULT_PATH),
            audit: false,
            wrapper_resolves: true,
            old_runc_exec: OldRuncExec::Refuse,
            summary: "mode enforce".to_owned(),
        }),
        kernel: Kernel { release: "6.1.0".to_owned(), openat2: true, cgroups: Cgroups::V2 },
    }
}

/// The same under CRI-O.
fn crio() -> Facts {
    let wrapped = Handler { wrapped: true, ..handler("runc") };
    Facts {
        runtime: Ok(runtime("cri-o", "1.30.14", false)),
        plugin: Plugin::Registered("cri-o 1.30.14".to_owned()),
        handlers: Ok(vec![wrapped]),
        ..good()
    }
}

/// What is not as it should be, and the verdict.
fn faults(facts: &Facts) -> (Verdict, Vec<(&'static str, State)>) {
    let report = judge(facts, OWN);
    for finding in &report.findings {
        assert_eq!(finding.state == State::Ok, finding.mend.is_none(), "{finding:?}");
        assert!(!finding.text.is_empty() && !finding.text.contains('\n'), "{finding:?}");
    }
    let wrong = report.findings.into_iter().filter(|finding| finding.state != State::Ok);
    (report.verdict, wrong.map(|finding| (finding.check, finding.state)).collect())
}

#[track_caller]
fn missing(facts: &Facts, check: &'static str) {
    assert_eq!(faults(facts), (Verdict::NotEnforced, vec![(check, State::Missing)]));
}

#[track_caller]
fn warning(facts: &Facts, check: &'static str) {
    assert_eq!(faults(facts), (Verdict::Enforced, vec![(check, State::Warning)]));
}

#[test]
fn nothing_is_missing() {
    for facts in [good(), crio()] {
        assert_eq!(faults(&facts), (Verdict::Enforced, vec![]));
    }
}

#[test]
fn a_runtime_that_has_it_needs_nothing_of_ours() {
    let facts = Facts {
        runtime: Ok(runtime("containerd", "2.1.9", true)),
        nri: Nri::Missing("/x".into()),
        plugin: Plugin::Unknown("/x".into()),
        handlers: Ok(vec![]),
        hooks: vec![],
        ..good()
    };
    assert_eq!(faults(&facts), (Verdict::Native, vec![]));
    let report = judge(&facts, OWN);
    assert_eq!(report.findings.len(), 1);
    assert!(report.table().contains("Native"));
}

#[test]
fn each_missing_thing_is_found() {
    missing(&Facts { nri: Nri::Missing("/x".into()), ..good() }, "nri");
    missing(&Facts { nri: Nri::Unusable("not root's".to_owned()), ..good() }, "nri");
    for plugin in [
        Plugin::Waiting,
        Plugin::Silent("for 30 s".to_owned()),
        Plugin::Unknown("/x".into()),
        Plugin::Unusable("not root's".to_owned()),
        Plugin::Registered("cri-o 1.30".to_owned()),
    ] {
        missing(&Facts { plugin, ..good() }, "plugin");
    }
    missing(&Facts { config: Err("line 3".to_owned()), ..good() }, "configuration");
    for version in [Err("there is none".to_owned()), Ok("bash 5".to_owned())] {
        missing(&Facts { hooks: vec![Hook { path: "/x/y".into(), version }], ..good() }, "hook");
    }
    missing(&Facts { runtime: Ok(runtime("containerd", "1.6.30", false)), ..good() }, "runtime");
    missing(&Facts { runtime: Err("no answer".to_owned()), ..good() }, "runtime");
}

#[test]
fn the_static_gate_has_to_be_at_every_handler_with_hooks() {
    let with = |handlers| Facts { handlers, ..good() };
    missing(&with(Err("not understood".to_owned())), "static-gate");
    missing(&with(Ok(vec![])), "static-gate");
    for gate in [Gate::None, Gate::Unreadable("gone".to_owned())] {
        missing(&with(Ok(vec![handler("runc"), Handler { gate, ..handler("crun") }])), "static-gate");
    }
    let wasm = Handler {
        kind: RuntimeType::Other,
        without_hooks: Some("io.containerd.spin.v2".to_owned()),
        gate: Gate::None,
        ..handler("wasm")
    };
    warning(&with(Ok(vec![handler("runc"), wasm.clone()])), "static-gate");
    let default = Handler { default: true, ..wasm };
    missing(&with(Ok(vec![handler("runc"), default])), "static-gate");
}

#[test]
fn drop_in_without_all_patterns_is_outdated() {
    let older =
        Handler { missing_annotations: vec!["kubernetes.io/config.source".to_owned()], ..handler("runc") };
    let facts = Facts { handlers: Ok(vec![older]), ..good() };
    missing(&facts, "static-gate");
    let report = judge(&facts, OWN);
    let finding = report.findings.iter().find(|finding| finding.check == "static-gate").unwrap();
    assert!(finding.text.contains("outdated: pod_annotations lacks 1 of the 3 patterns"), "{}", finding.text);
    assert!(finding.mend.as_deref().unwrap().starts_with("strict-groups config containerd --write"));
}

const GO: &str =
    r#"Kata Containers containerd shim (Golang): id: "io.containerd.kata.v2", version: 3.5.0, commit: x"#;
const RUST: &str =
    "Kata Containers containerd shim (Rust): id: io.containerd.kata.v2, version: 4.1.0, commit: x";

#[test]
fn kata_counts_where_its_runtime_runs_the_hook() {
    let node = |version: Result<&str, &str>, default| {
        let program = "containerd-shim-kata-v2".to_owned();
        let kata = Handler { default, kind: RuntimeType::Kata, program: program.clone(), ..handler("kata") };
        let version = version.map(str::to_owned).map_err(str::to_owned);
        let mut facts = Facts { handlers: Ok(vec![handler("runc"), kata]), ..good() };
        facts.oci_runtimes.push(OciRuntime { program, version });
        facts
    };
    assert_eq!(faults(&node(Ok(GO), true)), (Verdict::Enforced, vec![]));
    assert!(judge(&node(Ok(GO), true), OWN).table().contains("handler kata has it; not verified"));
    let older = GO.replace("3.5.0", "3.4.0");
    for line in [RUST, &older] {
        warning(&node(Ok(line), false), "static-gate");
        missing(&node(Ok(line), true), "static-gate");
    }
    // Not there: nobody can tell.
    assert_eq!(
        faults(&node(Err("there is no shim"), false)),
        (Verdict::Enforced, vec![("static-gate", State::Warning), ("oci-runtime", State::Warning)])
    );
}

#[test]
fn gvisor_is_covered_and_not_verified() {
    let gvisor = Handler { kind: RuntimeType::Gvisor, program: "runsc".to_owned(), ..handler("gvisor") };
    let mut facts = Facts { handlers: Ok(vec![handler("runc"), gvisor]), ..good() };
    let version = Ok("runsc version release-20260831.0".to_owned());
    facts.oci_runtimes.push(OciRuntime { program: "runsc".to_owned(), version });
    assert_eq!(faults(&facts), (Verdict::Enforced, vec![]));
    assert!(judge(&facts, OWN).table().contains("handler gvisor has it; not verified"));
}

#[test]
fn old_runc_warns_and_says_what_becomes_of_execs() {
    let text = |line: &str, old_runc_exec| {
        let oci = OciRuntime { program: "/usr/sbin/runc".to_owned(), version: Ok(line.to_owned()) };
        let config = good().config.map(|config| NodeConfig { old_runc_exec, ..config });
        let facts = Facts { oci_runtimes: vec![oci], config, ..good() };
        warning(&facts, "oci-runtime");
        judge(&facts, OWN).table()
    };
    let refuse = text("runc version 1.1.5+ds1", OldRuncExec::Refuse);
    for part in [
        "runc version 1.1.5+ds1 looks groups up by name",
        "rename groups",
        "old_runc_exec = \"refuse\"",
        "-> use runc 1.3",
    ] {
        assert!(refuse.contains(part), "{part}: {refuse}");
    }
    let allow = text("runc version 1.2.8", OldRuncExec::Allow);
    for part in ["CAN GAIN GROUPS", "set old_runc_exec = \"refuse\" in /etc/strict-groups/config.toml"] {
        assert!(allow.contains(part), "{part}: {allow}");
    }
    for unknown in ["runc version unknown", "otherunc version 0.5.3"] {
        assert!(text(unknown, OldRuncExec::Refuse).contains("treated as runc before 1.3"), "{unknown}");
    }
}

#[test]
fn under_crio_the_wrapper_is_what_counts() {
    missing(&Facts { handlers: Ok(vec![handler("runc")]), ..crio() }, "wrapper");
    warning(&Facts { nri: Nri::Missing("/x".into()), ..crio() }, "nri");
    warning(&Facts { plugin: Plugin::Waiting, ..crio() }, "plugin");
    let mut refuses = Facts { plugin: Plugin::Waiting, ..crio() };
    if let Ok(config) = &mut refuses.config {
        config.wrapper_resolves = false;
    }
    missing(&refuses, "plugin");
}

#[test]
fn what_is_to_be_known_does_not_change_the_verdict() {
    let oci = |said: Result<&str, &str>| {
        let version = said.map(str::to_owned).map_err(str::to_owned);
        Facts { oci_runtimes: vec![OciRuntime { program: "runc".to_owned(), version }], ..good() }
    };
    warning(&oci(Err("there is no runc")), "oci-runtime");
    assert_eq!(faults(&oci(Ok("crun version 1.8.1"))).1, []);
    let older = Hook { path: "/x/y".into(), version: Ok("strict-groups 0.0.9".to_owned()) };
    warning(&Facts { hooks: vec![older], ..good() }, "hook");
    let kernel = Kernel { openat2: false, ..good().kernel };
    warning(&Facts { kernel, ..good() }, "kernel");
    let kernel = Kernel { cgroups: Cgroups::None, ..good().kernel };
    warning(&Facts { kernel, ..good() }, "cgroups");
    let audit = good().config.map(|config| NodeConfig { audit: true, ..config });
    warning(&Facts { config: audit, ..good() }, "configuration");
    let gate = Gate::Installed { hook: "/usr/bin/strict-groups".into(), config: Some("/other.toml".into()) };
    warning(&Facts { handlers: Ok(vec![Handler { gate, ..handler("runc") }]), ..good() }, "configuration");
    warning(
        &Facts {
            runtime: Ok(runtime("frakti", "1.0", false)),
            handlers: Ok(vec![Handler { wrapped: true, ..handler("x") }]),
            plugin: Plugin::Registered("frakti 1.0".to_owned()),
            ..good()
        },
        "runtime",
    );
}

#[test]
fn text_from_outside_stays_one_line() {
    let facts = Facts { nri: Nri::Unusable("a\nb\u{1b}[31m".to_owned()), ..good() };
    let table = judge(&facts, OWN).table();
    assert!(
        table.contains("MISSING  nri           a b [31m\n") && table.ends_with("missing above.\n"),
        "{table}"
    );
}
