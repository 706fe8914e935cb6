use std::path::Path;

use super::*;
use strict_groups_core::gate::{Gate, State};
use strict_groups_core::oci::ProcessUser;

const ID: &str = "3e63207708e8a8398b53849f5ee72b58d2deb2af1048c93f807f735dcb2e38f2";

/// What the runtime makes of a container `app` in the pod `default/web`, with groups of its image.
struct Case {
    gate: StaticGate,
    id: &'static str,
    view: View,
    annotations: Annotations,
    /// Those of the sandbox's config.json; None: it cannot be read.
    sandbox: Option<Annotations>,
    config: &'static str,
}

fn case(runtime: Engine) -> Case {
    let keys = runtime.keys();
    let annotations = [
        (keys.sandbox, "another id"),
        (keys.namespace, "default"),
        (keys.pod, "web"),
        (keys.container, "app"),
        ("io.kubernetes.cri-o.ContainerID", ID),
    ];
    Case {
        gate: StaticGate { runtime, config: None },
        id: ID,
        view: View {
            user: ProcessUser { uid: 1000, gid: 3000, additional_gids: vec![3000, 4000, 50000] },
            gates: Vec::new(),
            keeps_original_groups: false,
            seen_as_merge: false,
            root_path: None,
        },
        annotations: annotations.map(|(key, value)| (key.to_owned(), value.to_owned())).into(),
        sandbox: Some([(CONFIG_SOURCE.to_owned(), "api".to_owned())].into()),
        config: "",
    }
}

fn both() -> [Case; 2] {
    [case(Engine::Containerd), case(Engine::CriO)]
}

impl Case {
    /// An annotation that the pod has had from the beginning.
    fn annotation(self, key: &str, value: &str) -> Self {
        self.annotation_now(key, value).annotation_then(key, value)
    }

    /// One that came after the sandbox was made.
    fn annotation_now(mut self, key: &str, value: &str) -> Self {
        self.annotations.insert(key.to_owned(), value.to_owned());
        self
    }

    /// One that the pod had when the sandbox was made.
    fn annotation_then(mut self, key: &str, value: &str) -> Self {
        self.sandbox.get_or_insert_default().insert(key.to_owned(), value.to_owned());
        self
    }

    fn strict(self) -> Self {
        self.annotation(ANNOTATION, "Strict")
    }

    fn config(mut self, config: &'static str) -> Self {
        self.config = config;
        self
    }

    fn gates(mut self, states: &[State]) -> Self {
        let gate =
            |state: &State| Gate { pod: "default/web".into(), container: "app".into(), state: state.clone() };
        self.view.gates = states.iter().map(gate).collect();
        self
    }

    fn judge(&self) -> Result<Option<(String, String)>, String> {
        let candidate = Candidate { id: self.id, view: &self.view, annotations: &self.annotations };
        let config = || Config::parse(self.config, Path::new("/etc/strict-groups/config.toml"));
        let sandbox = |id: &str| {
            assert_eq!(id, "another id");
            self.sandbox.clone().and_then(Sandbox::in_config)
        };
        self.gate.judge(&candidate, sandbox, config).map_err(|refusal| {
            let text = refusal.to_string();
            assert!(!text.contains('\n') && text.len() < 1000, "{text:?}");
            assert!(text.starts_with("strict-groups: pod "), "{text}");
            text
        })
    }

    #[track_caller]
    fn starts(&self) {
        self.judge().unwrap();
    }

    #[track_caller]
    fn refused(&self, why: &str) {
        let text = self.judge().unwrap_err();
        assert!(text.contains(why), "{text}");
    }
}

fn resolved() -> State {
    State::Resolved { groups: vec![3000, 4000, 50000], removed: vec![] }
}

#[test]
fn merge_starts() {
    for case in both() {
        case.starts();
        case.annotation(ANNOTATION, "Merge").starts();
    }
}

#[test]
fn strict_without_a_gate_is_refused() {
    for case in both() {
        let text = case.strict().judge().unwrap_err();
        assert!(text.starts_with("strict-groups: pod default/web, container app: "), "{text}");
        assert!(text.contains("plugin did not process this container"), "{text}");
    }
    let named = format!("{ANNOTATION}/container.app");
    for case in both() {
        case.annotation(&named, "Strict").refused("did not process");
    }
    for case in both() {
        case.strict().annotation(&named, "Merge").starts();
    }
}

#[test]
fn nodes_default_counts() {
    for case in both() {
        let mut case = case.config("default_policy = \"Strict\"");
        case.refused("did not process");
        case = case.annotation(ANNOTATION, "Merge");
        case.refused("this node demands Strict");
        case.config("default_policy = \"Strict\"\npods_may_override = true").starts();
    }
}

#[test]
fn wrong_annotation_is_refused_with_its_text() {
    for case in both() {
        case.annotation(ANNOTATION, "strict").refused("write Strict or Merge");
    }
}

#[test]
fn gate_of_the_plugin_decides() {
    for case in both() {
        let case = case.strict().gates(&[resolved()]);
        case.starts();
        let case = case.gates(&[resolved(), State::Pending { declared: None }]);
        case.refused("never enforced");
        case.gates(&[State::Refused { reason: "the moon is full".into() }]).refused("the moon is full");
    }
}

#[test]
fn without_groups_to_lose_everything_starts() {
    for mut case in both() {
        case.view.user.additional_gids = Vec::new();
        case.strict().refused("did not process");
    }
    for groups in [&[3000][..], &[3000, 3000]] {
        for mut case in both() {
            case.view.user.additional_gids = groups.to_vec();
            let mut case = case.strict().config("default_polcy = 1");
            case.starts();
            // crun would then not set the groups at all.
            case.view.keeps_original_groups = true;
            case.config("").refused("did not process");
        }
    }
}

#[test]
fn broken_configuration_stops_only_what_depends_on_it() {
    for case in both() {
        let case = case.config("\ndefault_polcy = \"Strict\"\n");
        case.refused("/etc/strict-groups/config.toml");
        case.refused("line 2");
        case.strict().gates(&[resolved()]).starts();
    }
}

#[test]
fn exempt_pods_start() {
    let config = "[exempt]\nnamespaces = [\"kube-system\"]\npods = [\"default/we*\"]";
    for case in both() {
        let mut case = case.strict().config(config);
        case.starts();
        let keys = case.gate.runtime.keys();
        case = case.annotation(keys.pod, "api");
        case.refused("did not process");
        case = case.annotation(keys.namespace, "kube-system");
        case.starts();
        case.annotations.remove(keys.pod);
        case.refused("pod kube-system/(unknown)");
    }
}

#[test]
fn sandbox_is_known_by_the_runtimes_own_id() {
    for case in both() {
        let sandbox = case.gate.runtime.keys().sandbox;
        case.strict().annotation(sandbox, ID).starts();
    }
    for (case, kind) in
        both().into_iter().zip(["io.kubernetes.cri.container-type", "io.kubernetes.cri-o.ContainerType"])
    {
        case.strict().annotation(kind, "sandbox").refused("did not process");
    }
}

#[test]
fn other_runtimes_keys_mean_nothing() {
    let config = "[exempt]\nnamespaces = [\"kube-system\"]";
    for (case, other) in both().into_iter().zip([Engine::CriO, Engine::Containerd]) {
        let keys = other.keys();
        let case = case.strict().config(config).annotation(keys.sandbox, ID);
        let case = case.annotation(keys.namespace, "kube-system").annotation(keys.container, "other");
        case.annotation(&format!("{ANNOTATION}/container.other"), "Merge").refused("container app");
    }
}

#[test]
fn podmans_containers_start() {
    let mut case = case(Engine::CriO).config("default_policy = \"Strict\"");
    case.annotations.clear();
    case.starts();
    // On containerd such a container is none of the CRI's, and nobody exempted it.
    case.gate.runtime = Engine::Containerd;
    case.refused("pod (unknown)/(unknown), container (unknown)");
}

#[test]
fn nameless_container_gets_no_policy_by_name() {
    for case in both() {
        let mut case = case.annotation(&format!("{ANNOTATION}/container.app"), "Strict");
        let key = case.gate.runtime.keys().container;
        case.annotations.remove(key);
        case.refused(key);
    }
}

#[test]
fn names_from_outside_are_one_line() {
    let case = case(Engine::Containerd).strict();
    let long = "x".repeat(10_000);
    case.annotation(Engine::Containerd.keys().pod, &format!("a\nb\x1b{long}")).refused("default/a b");
}

#[test]
fn arguments_are_read_back() {
    for runtime in [Engine::Containerd, Engine::CriO] {
        for config in [None, Some(PathBuf::from("/etc/a=b.toml"))] {
            let gate = StaticGate { runtime, config };
            let args = gate.args();
            assert_eq!(Gate::parse(&args), Ok(None), "not a gate of a container");
            assert_eq!(StaticGate::parse(&args), Ok(Some(gate)));
        }
    }
}

#[test]
fn other_arguments_are_none_or_wrong() {
    let parse = |args: &str| StaticGate::parse(&args.split(' ').collect::<Vec<_>>());
    for other in ["", "strict-groups hook", "strict-groups hook --gate=pending", "other hook --gate=static"] {
        assert_eq!(parse(other), Ok(None), "{other}");
    }
    assert_eq!(parse("strict-groups hook --gate=static"), Err(StaticGateError::NoRuntime));
    for wrong in [
        "--runtime=docker",
        "--runtime=",
        "--config=",
        "--config=/a --config=/b",
        "--pod=a/b",
        "x",
        "--runtime=cri-o",
    ] {
        let error = parse(&format!("strict-groups hook --gate=static --runtime=containerd {wrong}"));
        assert!(matches!(error, Err(StaticGateError::Unknown { .. })), "{wrong}: {error:?}");
    }
}

#[test]
fn strict_with_nothing_to_lose_is_named_for_further_checks() {
    for mut case in both() {
        case.view.user.additional_gids = vec![3000];
        assert_eq!(case.judge(), Ok(None), "Merge");
        let named = Ok(Some(("default/web".to_owned(), "app".to_owned())));
        let case = case.strict();
        assert_eq!(case.judge(), named);
        // Its own gate does the rest.
        assert_eq!(case.gates(&[resolved()]).judge(), Ok(None));
    }
    let mut unknown = case(Engine::Containerd);
    unknown.view.user.additional_gids = vec![3000];
    unknown.sandbox = None;
    assert!(matches!(unknown.judge(), Ok(Some(_))));
}

#[test]
fn annotations_are_those_of_the_sandbox() {
    let case = || case(Engine::Containerd);
    case()
        .annotation_then(ANNOTATION, "Strict")
        .annotation_now(ANNOTATION, "Merge")
        .refused("did not process");
    case().annotation_then(ANNOTATION, "Strict").refused("did not process");
    case().annotation_now(ANNOTATION, "Strict").starts();
    case().annotation_now(ANNOTATION, "strict").starts();
    // CRI-O copies the sandbox's.
    self::case(Engine::CriO).annotation_now(ANNOTATION, "Strict").refused("did not process");
}

#[test]
fn sandbox_without_the_kubelets_annotation_is_unknown() {
    for sandbox in [None, Some(Annotations::new())] {
        let mut case = case(Engine::Containerd);
        case.sandbox = sandbox;
        case.refused("whether the pod asks for supplementalGroupsPolicy Strict is not known");
        case.view.seen_as_merge = true;
        case.starts();
        case.view.seen_as_merge = false;
        case.gates(&[resolved()]).starts();
    }
    let mut case = case(Engine::Containerd);
    case.annotations.remove(Engine::Containerd.keys().sandbox);
    case.refused("is not known");
}

#[test]
fn wrong_annotation_is_refused_whatever_there_is_to_lose() {
    for mut case in both() {
        case.view.user.additional_gids = vec![3000];
        let case = case.annotation(ANNOTATION, "strict");
        case.refused("write Strict or Merge; then delete the pod");
    }
}

const BY_LABEL: &str = "[[rule]]\nlabels = { app = \"web\" }\npolicy = \"Strict\"";

#[test]
fn rules_by_namespace_count() {
    let strict = "[[rule]]\nnamespaces = [\"def*\"]\npolicy = \"Strict\"";
    for case in both() {
        let keys = case.gate.runtime.keys();
        let case = case.config(strict);
        case.refused("did not process");
        case.annotation(keys.namespace, "other").starts();
    }
    let open = "default_policy = \"Strict\"\n[[rule]]\nnamespaces = [\"default\"]\npolicy = \"Merge\"";
    for case in both() {
        let keys = case.gate.runtime.keys();
        let mut case = case.config(open);
        case.starts();
        // Nobody knows whether the rule is for it.
        case.annotations.remove(keys.namespace);
        case.refused("only the strict-groups plugin knows");
    }
}

#[test]
fn where_a_label_decides_only_what_the_plugin_saw_starts() {
    for case in both() {
        let mut case = case.config(BY_LABEL);
        case.refused("decides by the pod's labels");
        case.view.seen_as_merge = true;
        case.starts();
        // No marker is a way around what is Strict for sure.
        let case = case.strict();
        case.refused("did not process");
        case.config("default_policy = \"Strict\"").refused("did not process");
    }
    for case in both() {
        let closed = "[[rule]]\nlabels = { app = \"web\" }\npolicy = \"Strict\"\npods_may_override = true";
        case.config(closed).annotation(ANNOTATION, "Merge").starts();
    }
    for case in both() {
        // What a rule before it says needs no label.
        let first = "[[rule]]\nnamespaces = [\"default\"]\npolicy = \"Merge\"\n[[rule]]\nlabels = { app = \"web\" }\npolicy = \"Strict\"";
        case.config(first).starts();
    }
}

#[test]
fn in_audit_only_what_a_pod_asks_for_is_refused() {
    for text in ["default_policy = \"Strict\"", BY_LABEL] {
        let config: &'static str = format!("mode = \"audit\"\n{text}").leak();
        for case in both() {
            let case = case.config(config);
            case.starts();
            let case = case.annotation(ANNOTATION, "Merge");
            case.starts();
            let case = case.strict();
            case.refused("did not process");
            case.annotation(ANNOTATION, "strict").refused("write Strict or Merge");
        }
    }
}

#[test]
fn no_rule_is_for_a_container_of_no_pod() {
    let strict = "[[rule]]\nlabels = { app = \"*\" }\nnamespaces = [\"a*\"]\npolicy = \"Strict\"";
    for config in [BY_LABEL, strict] {
        let mut case = case(Engine::CriO).config(config);
        case.gate.runtime = Engine::Other;
        case.starts();
        case.config("default_policy = \"Strict\"").refused("did not process");
    }
}

#[test]
fn merge_marker_is_no_static_gate() {
    assert_eq!(StaticGate::parse(&strict_groups_core::merge_marker::args()), Ok(None));
}
