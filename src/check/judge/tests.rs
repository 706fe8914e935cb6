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
        takes_binary_name: true,
        wrapper: Wrapper::None,
    }
}

/// The wrapper as CRI-O runs it.
fn by_hand() -> Wrapper {
    Wrapper::Installed { path: "/usr/bin/strict-groups-runtime".into(), hook: None, config: None }
}

/// The wrapper as `strict-groups config containerd --wrapper` has containerd run it, without a gate.
fn wrapped(name: &str) -> Handler {
    let path = format!("/etc/containerd/conf.d/strict-groups-runtime-{name}").into();
    let wrapper = Wrapper::Installed { path, hook: Some("/usr/bin/strict-groups".into()), config: None };
    Handler { wrapper, gate: Gate::None, ..handler(name) }
}

fn runtime(name: &str, version: &str, native: bool) -> ContainerRuntime {
    ContainerRuntime { name: name.to_owned(), version: version.to_owned(), native }
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
            path: PathBuf::from(container_start::config::DEFAULT_PATH),
            audit: false,
            wrapper_resolves: true,
            old_runc_exec: OldRuncExec::Refuse,
            summary: "mode enforce".to_owned(),
        }),
        unwrapped_pods: Ok(Vec::new()),
        kernel: Kernel { release: "6.1.0".to_owned(), openat2: true, cgroups: Cgroups::V2 },
    }
}

/// The same under CRI-O.
fn crio() -> Facts {
    let wrapped = Handler { wrapper: by_hand(), ..handler("runc") };
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
fn runtime_that_has_it_needs_nothing_of_ours() {
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
    missing(&Facts { runtime: Ok(runtime("cri-o", "1.25.1", false)), ..crio() }, "runtime");
    missing(&Facts { runtime: Err("no answer".to_owned()), ..good() }, "runtime");
}

#[test]
fn static_gate_has_to_be_at_every_handler_with_hooks() {
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

/// A containerd on the wrapper's way: no NRI, no plugin.
fn on_the_wrappers_way() -> Facts {
    Facts {
        nri: Nri::Missing("/x".into()),
        plugin: Plugin::Unknown("/x".into()),
        handlers: Ok(vec![wrapped("runc"), wrapped("crun")]),
        ..good()
    }
}

#[test]
fn wrapper_on_containerd_needs_no_plugin() {
    let facts = on_the_wrappers_way();
    assert_eq!(faults(&facts), (Verdict::Enforced, vec![]));
    assert!(
        judge(&facts, OWN).table().contains("way to enforce Strict: the OCI runtime wrapper, without NRI")
    );
    let old = Facts { runtime: Ok(runtime("containerd", "1.6.36", false)), ..on_the_wrappers_way() };
    assert_eq!(faults(&old), (Verdict::Enforced, vec![]));
    let mut refuses = on_the_wrappers_way();
    if let Ok(config) = &mut refuses.config {
        config.wrapper_resolves = false;
    }
    let found = [("nri", State::Missing), ("plugin", State::Missing)];
    assert_eq!(faults(&refuses), (Verdict::NotEnforced, found.into()));
}

#[test]
fn wrapper_of_each_handler_has_to_be_usable() {
    let with = |handler| Facts { handlers: Ok(vec![wrapped("runc"), handler]), ..on_the_wrappers_way() };
    // One that is not there is the NRI way, half set up.
    let bare = with(Handler { wrapper: Wrapper::None, ..wrapped("crun") });
    assert_eq!(faults(&bare).0, Verdict::NotEnforced);
    let edited = with(Handler { wrapper: Wrapper::Unusable("edited".to_owned()), ..wrapped("crun") });
    assert!(faults(&edited).1.contains(&("wrapper", State::Missing)));
    let older = Handler { missing_annotations: vec!["x".to_owned()], ..wrapped("crun") };
    missing(&with(older), "wrapper");
    let other = Handler { takes_binary_name: false, gate: Gate::None, ..handler("gvisor") };
    let gvisor = |default| Handler { kind: RuntimeType::Gvisor, default, ..other.clone() };
    warning(&with(gvisor(false)), "wrapper");
    missing(&with(gvisor(true)), "wrapper");
    let config = good().config.map(|config| NodeConfig { path: "/other.toml".into(), ..config });
    warning(&Facts { config, ..on_the_wrappers_way() }, "configuration");
}

#[test]
fn pods_of_before_the_wrapper_are_not_enforced() {
    let pods: Vec<String> = (0..7).map(|number| format!("default/web-{number}")).collect();
    let facts = Facts { unwrapped_pods: Ok(pods.clone()), ..on_the_wrappers_way() };
    missing(&facts, "wrapper");
    let table = judge(&facts, OWN).table();
    assert!(table.contains("7 (default/web-0, ") && table.contains("web-4, …)"), "{table}");
    // The plugin and the static gate see them.
    let gate = handler("x").gate;
    let both =
        Facts { handlers: Ok(vec![Handler { gate, ..wrapped("runc") }]), unwrapped_pods: Ok(pods), ..good() };
    assert_eq!(faults(&both), (Verdict::Enforced, vec![]));
    let alone = Facts { plugin: Plugin::Waiting, ..both };
    assert_eq!(faults(&alone).1, [("plugin", State::Warning), ("wrapper", State::Missing)]);
    let unseen = Facts { unwrapped_pods: Err("not from here".to_owned()), ..on_the_wrappers_way() };
    missing(&unseen, "wrapper");
    // A handler whose shim takes no OCI runtime of our choice does not make it another way.
    let by_path = Handler { takes_binary_name: false, wrapper: Wrapper::None, ..wrapped("x") };
    warning(&Facts { handlers: Ok(vec![wrapped("runc"), by_path]), ..on_the_wrappers_way() }, "wrapper");
}

#[test]
fn beside_the_wrapper_the_plugin_may_be_missing() {
    let gate = handler("x").gate;
    let both = Facts { handlers: Ok(vec![Handler { gate, ..wrapped("runc") }]), ..good() };
    assert!(judge(&both, OWN).table().contains("NRI plugin, static gate and the OCI runtime wrapper"));
    warning(&Facts { plugin: Plugin::Waiting, ..both }, "plugin");
}

#[test]
fn containerd_that_can_hang_has_no_plugin() {
    let old = Facts { runtime: Ok(runtime("containerd", "1.7.2", false)), ..good() };
    missing(&Facts { plugin: Plugin::Waiting, ..old.clone() }, "plugin");
    warning(&old, "plugin");
    assert!(judge(&old, OWN).table().contains("containerd 1.7.2 can hang for good"));
    let oldest = Facts { runtime: Ok(runtime("containerd", "1.6.36", false)), ..good() };
    let report = judge(&oldest, OWN);
    let finding = report.findings.iter().find(|finding| finding.check == "runtime").unwrap();
    assert!(finding.mend.as_deref().unwrap().contains("--wrapper"), "{finding:?}");
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
            handlers: Ok(vec![Handler { wrapper: by_hand(), ..handler("x") }]),
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
