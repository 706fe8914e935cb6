use std::io;

use serde_json::Value as Json;

use super::*;
use container_start::static_gate::StaticGate;
use strict_groups_core::engine::Engine;

const OLD: &str = include_str!("../../../tests/fixtures/containerd-1.7.24/config-dump.toml");
const OLD_SPEC: &str = include_str!("../../../tests/fixtures/containerd-1.7.24/ctr-oci-spec.json");
const NEW: &str = include_str!("../../../tests/fixtures/containerd-2.1.9/config-dump.toml");
const NEW_SPEC: &str = include_str!("../../../tests/fixtures/containerd-2.1.9/ctr-oci-spec.json");

const CRI_OLD: &str = "io.containerd.grpc.v1.cri";
const CRI_NEW: &str = "io.containerd.cri.v1.runtime";

fn hook() -> Hook {
    let gate = StaticGate { runtime: Engine::Containerd, config: None };
    Hook { path: "/usr/local/bin/strict-groups".into(), gate }
}

fn own(path: &str) -> io::Result<String> {
    if path == "/etc/containerd/own.json" {
        return Ok(r#"{"process":{"rlimits":[]},"mounts":[]}"#.to_owned());
    }
    Err(io::ErrorKind::NotFound.into())
}

const NRI_ALONE: Ways = Ways { nri: true, wrapper: false };

fn plan_of(dump: &str, spec: &str, versions: &[i64]) -> Result<Plan, PlanError> {
    plan_for(NRI_ALONE, dump, spec, versions)
}

fn plan_for(ways: Ways, dump: &str, spec: &str, versions: &[i64]) -> Result<Plan, PlanError> {
    let folder = "/etc/containerd/conf.d/";
    plan(&Input { dump, versions, default_spec: spec, hook: &hook(), folder, ways }, own)
}

fn table(text: &str) -> Table {
    toml::from_str(text).unwrap()
}

/// Both versions: the dump, the default spec, its version and its CRI plugin.
fn both() -> [(&'static str, &'static str, i64, &'static str); 2] {
    [(OLD, OLD_SPEC, 2, CRI_OLD), (NEW, NEW_SPEC, 3, CRI_NEW)]
}

#[test]
fn only_what_is_ours_changes_in_the_tables() {
    for (dump, spec, version, cri) in both() {
        let plan = plan_of(dump, spec, &[version]).unwrap();
        let names: Vec<&str> = plan.files.iter().map(|file| file.name.as_str()).collect();
        assert_eq!(names.last(), Some(&DROP_IN), "the drop-in is written last");
        assert!(plan.files.iter().all(|file| seal::owner(&file.content) == seal::Owner::Ours));

        let mut expected = table(dump);
        let plugins = expected["plugins"].as_table_mut().unwrap();
        plugins.retain(|name, _| name == cri || name == NRI);
        plugins[NRI]["disable"] = false.into();
        for (name, annotations, spec) in [
            ("runc", vec!["example.com/*"], "strict-groups-base-spec.json"),
            ("own", vec![], "strict-groups-base-spec-own.json"),
            ("kata", vec![], "strict-groups-base-spec.json"),
        ] {
            let handler = plugins[cri]["containerd"]["runtimes"][name].as_table_mut().unwrap();
            let ours = annotation_patterns().map(Value::from);
            let all: Vec<Value> = annotations.into_iter().map(Value::from).chain(ours).collect();
            handler.insert("pod_annotations".to_owned(), all.into());
            handler.insert("base_runtime_spec".to_owned(), format!("/etc/containerd/conf.d/{spec}").into());
        }
        let mut drop_in = table(plan.drop_in());
        assert_eq!(drop_in.remove("version"), Some(version.into()));
        assert_eq!(drop_in.remove("plugins").as_ref(), expected.get("plugins"));
        assert!(drop_in.is_empty(), "{drop_in}");

        assert_eq!(plan.covered.keys().collect::<Vec<_>>(), ["kata", "own", "runc"]);
        assert!(plan.uncovered.is_empty(), "{:?}", plan.uncovered);
    }
}

#[test]
fn handlers_that_run_hooks_get_the_gate_and_others_are_named() {
    for (dump, spec, version, cri) in both() {
        let mut dump = table(dump);
        let runtimes = dump["plugins"][cri]["containerd"]["runtimes"].as_table_mut().unwrap();
        for (name, kind) in [
            ("gvisor", "io.containerd.runsc.v1"),
            ("kata-qemu", "io.containerd.kata-qemu.v2"),
            ("wasm", "io.containerd.spin.v2"),
            ("windows", "io.containerd.runhcs.v1"),
        ] {
            runtimes.insert(name.to_owned(), toml::from_str(&format!("runtime_type = \"{kind}\"")).unwrap());
        }
        for (name, key) in [("foreign", "sandboxer"), ("foreign-1.7", "sandbox_mode")] {
            let text = format!("runtime_type = \"io.containerd.runc.v2\"\n{key} = \"shim\"");
            runtimes.insert(name.to_owned(), toml::from_str(&text).unwrap());
        }
        let plan = plan_of(&dump.to_string(), spec, &[version]).unwrap();
        assert_eq!(plan.covered.keys().collect::<Vec<_>>(), ["gvisor", "kata", "kata-qemu", "own", "runc"]);
        assert_eq!(plan.kata, ["kata", "kata-qemu"]);
        assert_eq!(
            plan.covered["gvisor"].base_spec.as_deref(),
            Some("/etc/containerd/conf.d/strict-groups-base-spec.json")
        );
        let named: Vec<(&str, &str)> =
            plan.uncovered.iter().map(|(name, kind)| (name.as_str(), kind.as_str())).collect();
        assert_eq!(
            named,
            [
                ("foreign", "io.containerd.runc.v2, whose sandboxes the shim makes"),
                ("foreign-1.7", "io.containerd.runc.v2, whose sandboxes the shim makes"),
                ("wasm", "io.containerd.spin.v2"),
                ("windows", "io.containerd.runhcs.v1"),
            ]
        );
    }
}

#[test]
fn annotation_patterns_match_our_keys_in_any_case() {
    let [bare, below, source] = annotation_patterns();
    assert!(
        bare.starts_with("[sS][uU][pP][pP]") && bare.ends_with("[eE][sS][oO][uU][rR][cC][eE].[dD][eE][vV]")
    );
    assert!(bare.contains("[lL]-[gG]") && !bare.contains(['*', '?', '\\', '^']), "{bare}");
    assert_eq!(below, format!("{bare}/*"));
    assert_eq!(source, "kubernetes.io/config.source");
}

#[test]
fn own_base_spec_stays_the_base() {
    let plan = plan_of(NEW, NEW_SPEC, &[]).unwrap();
    let spec = |name: &str| -> Json {
        let file = plan.files.iter().find(|file| file.name == name).unwrap();
        serde_json::from_str(&file.content).unwrap()
    };
    assert!(spec("strict-groups-base-spec-own.json")["process"]["rlimits"].is_array());
    assert!(spec("strict-groups-base-spec.json")["process"]["rlimits"].is_null());
    assert!(spec("strict-groups-base-spec.json")["process"]["capabilities"].is_object());
}

#[test]
fn files_of_another_version_are_repeated_whole() {
    let plan = plan_of(NEW, NEW_SPEC, &[3, 2]).unwrap();
    let plugins = |text: &str| table(text)["plugins"].as_table().unwrap().keys().cloned().collect::<Vec<_>>();
    assert_eq!(plugins(plan.drop_in()), plugins(NEW));
}

#[test]
fn two_other_places_of_version_2_are_covered_when_used() {
    let mut dump = table(OLD);
    let place = &mut dump["plugins"][CRI_OLD]["containerd"]["untrusted_workload_runtime"];
    place["runtime_type"] = "io.containerd.runc.v2".into();
    let plan = plan_of(&dump.to_string(), OLD_SPEC, &[2]).unwrap();
    assert!(plan.covered.contains_key("untrusted_workload_runtime"), "{:?}", plan.covered);
    assert!(!plan.covered.contains_key("default_runtime"), "an empty one stays as it is");
}

#[test]
fn what_containerd_sees_is_compared_with_the_plan() {
    for (dump, spec, version, _) in both() {
        let plan = plan_of(dump, spec, &[version]).unwrap();
        assert_eq!(not_in_effect(plan.drop_in(), &plan).unwrap(), [""; 0]);
        let before: &[&str] =
            if version == 2 { &["NRI", "kata", "own", "runc"] } else { &["kata", "own", "runc"] };
        assert_eq!(not_in_effect(dump, &plan).unwrap(), before);
        let partly = plan.drop_in().replace("strict-groups-base-spec-own.json", "own.json");
        assert_eq!(not_in_effect(&partly, &plan).unwrap(), ["own"]);
        // A drop-in of a version that had other patterns.
        let [bare, _, source] = annotation_patterns();
        for (now, then) in [(source.as_str(), "x"), (bare.as_str(), ANNOTATION)] {
            let older = plan.drop_in().replace(now, then);
            assert_eq!(not_in_effect(&older, &plan).unwrap(), ["kata", "own", "runc"], "{now}");
        }
    }
}

/// What of a handler's table `plan` set.
fn binary(plan: &Plan, cri: &str, handler: &str) -> Option<String> {
    let drop_in = table(plan.drop_in());
    let table = &drop_in["plugins"][cri]["containerd"]["runtimes"][handler];
    Some(table.get("options")?.get("BinaryName")?.as_str()?.to_owned())
}

#[test]
fn wrapper_becomes_the_runtime_of_each_handler_of_runcs_shim() {
    let ways = Ways { nri: false, wrapper: true };
    for (dump, spec, version, cri) in both() {
        let mut dump = table(dump);
        let runtimes = dump["plugins"][cri]["containerd"]["runtimes"].as_table_mut().unwrap();
        for (name, lines) in [
            (
                "crun",
                "runtime_type = \"io.containerd.runc.v2\"\n[options]\nBinaryName = \"/usr/bin/crun\"\nRoot = \"/r\"",
            ),
            ("by-path", "runtime_type = \"/opt/bin/containerd-shim-runc-v2\""),
            ("oldest", "runtime_type = \"io.containerd.runtime.v1.linux\""),
            ("gvisor", "runtime_type = \"io.containerd.runsc.v1\""),
            ("foreign", "runtime_type = \"io.containerd.runc.v2\"\nsandbox_mode = \"shim\""),
        ] {
            runtimes.insert(name.to_owned(), toml::from_str(lines).unwrap());
        }
        let plan = plan_for(ways, &dump.to_string(), spec, &[version]).unwrap();
        assert_eq!(plan.covered.keys().collect::<Vec<_>>(), ["crun", "own", "runc"]);
        assert_eq!(
            plan.unwrapped.keys().collect::<Vec<_>>(),
            ["by-path", "foreign", "gvisor", "kata", "oldest"]
        );
        assert!(plan.uncovered.is_empty() && plan.kata.is_empty());
        for (handler, own) in [("crun", "/usr/bin/crun"), ("own", "runc"), ("runc", "runc")] {
            let name = container_start::wrapper::file_name(handler, own);
            assert_eq!(binary(&plan, cri, handler), Some(format!("/etc/containerd/conf.d/{name}")));
            let file = plan.files.iter().find(|file| file.name == name).unwrap();
            assert!(file.executable && file.content.contains(&format!("\npath = \"{own}\"\n")));
        }
        // All else stays: other options, the own base spec, NRI.
        let mut drop_in = table(plan.drop_in());
        let plugins = drop_in["plugins"].as_table_mut().unwrap();
        assert_eq!(plugins.keys().collect::<Vec<_>>(), [cri]);
        for handler in ["crun", "own", "runc"] {
            let there = plugins[cri]["containerd"]["runtimes"][handler].as_table_mut().unwrap();
            there["options"].as_table_mut().unwrap().remove("BinaryName");
            let patterns = there.remove("pod_annotations").unwrap();
            let old = dump["plugins"][cri]["containerd"]["runtimes"][handler].as_table_mut().unwrap();
            let options = old.entry("options").or_insert_with(|| Value::Table(Table::new()));
            options.as_table_mut().unwrap().remove("BinaryName");
            old.remove("pod_annotations");
            assert_eq!(there, old);
            assert!(
                annotation_patterns()
                    .iter()
                    .all(|ours| { patterns.as_array().unwrap().contains(&Value::from(ours.as_str())) })
            );
        }
        assert_eq!(not_in_effect(plan.drop_in(), &plan).unwrap(), [""; 0]);
        let other = plan.drop_in().replace("strict-groups-runtime-crun+crun", "nvidia");
        assert_eq!(not_in_effect(&other, &plan).unwrap(), ["crun"]);
    }
}

#[test]
fn both_ways_stand_side_by_side() {
    for (dump, spec, version, cri) in both() {
        let plan = plan_for(Ways { nri: true, wrapper: true }, dump, spec, &[version]).unwrap();
        assert!(plan.covered["runc"].base_spec.is_some() && plan.covered["runc"].wrapper.is_some());
        assert!(plan.covered["kata"].base_spec.is_some() && plan.covered["kata"].wrapper.is_none());
        assert_eq!(plan.unwrapped.keys().collect::<Vec<_>>(), ["kata"]);
        assert!(binary(&plan, cri, "runc").is_some());
        assert_eq!(not_in_effect(plan.drop_in(), &plan).unwrap(), [""; 0]);
    }
}

#[test]
fn containerd_without_nri_has_the_wrapper_as_its_way() {
    let mut dump = table(OLD);
    dump["plugins"].as_table_mut().unwrap().remove(NRI);
    let plan = |ways| plan_for(ways, &dump.to_string(), OLD_SPEC, &[2]);
    assert!(matches!(plan(NRI_ALONE), Err(PlanError::NoNri)));
    assert!(PlanError::NoNri.to_string().contains("--wrapper"));
    assert!(plan(Ways { nri: false, wrapper: true }).is_ok());
}

#[test]
fn handler_that_has_the_wrapper_already_is_an_error() {
    let dump = OLD.replace(
        "runtimes.runc.options]",
        "runtimes.runc.options]\nBinaryName = \"/x/strict-groups-runtime\"",
    );
    let error = plan_for(Ways { nri: false, wrapper: true }, &dump, OLD_SPEC, &[2]).unwrap_err();
    assert!(matches!(error, PlanError::Wrapper(WrapperFileError::Already { .. })), "{error}");
}

#[test]
fn what_cannot_be_right_is_an_error() {
    let error = |dump: &str| plan_of(dump, NEW_SPEC, &[]).unwrap_err();
    assert!(matches!(error("="), PlanError::NotToml(_)));
    assert!(matches!(error(""), PlanError::Version { version } if version == "1"));
    assert!(matches!(error("version = 9"), PlanError::Version { version } if version == "9"));
    assert!(matches!(error("version = 3"), PlanError::NoNri));
    let no_cri = format!("version = 3\n[plugins.\"{NRI}\"]\n");
    assert!(matches!(error(&no_cri), PlanError::NoPlugin { plugin: CRI_NEW }));
    let none = format!("{no_cri}[plugins.\"{CRI_NEW}\"]\n");
    assert!(matches!(error(&none), PlanError::NoHandler));
    let one = |lines: &str| {
        format!(
            "{none}[plugins.\"{CRI_NEW}\".containerd.runtimes.\"a/b\"]\nruntime_type = \"io.containerd.runc.v2\"\n{lines}"
        )
    };
    assert!(plan_of(&one(""), NEW_SPEC, &[]).is_ok());
    let named = one("base_runtime_spec = \"/etc/containerd/own.json\"");
    assert!(matches!(error(&named), PlanError::HandlerName { name } if name == "a/b"));
    assert!(matches!(error(&one("base_runtime_spec = 1")), PlanError::BadValue { .. }));
    assert!(matches!(error(&one("pod_annotations = \"x\"")), PlanError::BadValue { .. }));
    assert!(matches!(
        plan_of(&one(""), "[]", &[]).unwrap_err(),
        PlanError::DefaultSpec(BaseSpecError::NotJson)
    ));
}

#[test]
fn own_base_spec_that_cannot_be_used_is_an_error() {
    let input = |read: fn(&str) -> io::Result<String>| {
        let input = Input {
            dump: NEW,
            versions: &[],
            default_spec: NEW_SPEC,
            hook: &hook(),
            folder: "/d",
            ways: NRI_ALONE,
        };
        match plan(&input, read) {
            Err(PlanError::OwnSpec { path, handler, source }) => {
                assert_eq!((path.as_str(), handler.as_str()), ("/etc/containerd/own.json", "own"));
                source
            }
            other => panic!("{other:?}"),
        }
    };
    assert!(matches!(input(|_| Err(io::ErrorKind::NotFound.into())), OwnSpecError::Read(_)));
    assert!(matches!(input(|_| Ok("[]".to_owned())), OwnSpecError::Spec(BaseSpecError::NotJson)));
    assert!(matches!(input(|_| Ok(base_spec::from_own("{}", &hook()).unwrap())), OwnSpecError::Ours));
}
