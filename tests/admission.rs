//! The admission policies of packaging/kubernetes: their CEL, as it is in the files, over pods that
//! must pass and pods that must not.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test may panic")]

use std::{fs, path::Path, sync::Arc};

use cel::{
    Context, Env, StructDef, Value,
    common::types::{MAP_TYPE, Type},
};
use serde_json::{Value as Json, json};

const KEY: &str = "supplemental-groups-policy.noderesource.dev";
const VALIDATING: [&str; 2] = ["validating.yaml", "kyverno/validating.yaml"];
const MUTATING: [&str; 2] = ["mutating.yaml", "kyverno/mutating.yaml"];

/// One file's policy, its expressions, and how it is bound to namespaces.
struct Policy {
    spec: Json,
    selector: Json,
}

impl Policy {
    fn read(file: &str) -> Self {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging/kubernetes/admission").join(file);
        let text = fs::read_to_string(path).unwrap();
        let documents: Vec<Json> =
            text.split("\n---\n").map(|document| serde_saphyr::from_str(document).unwrap()).collect();
        let spec = documents.first().unwrap()["spec"].clone();
        let selector = documents
            .iter()
            .flat_map(|document| [&document["spec"]["matchResources"], &document["spec"]["matchConstraints"]])
            .map(|matches| matches["namespaceSelector"].clone())
            .find(|selector| !selector.is_null())
            .unwrap();
        Self { spec, selector }
    }

    /// The expressions of a list, each with its name or message.
    fn list(&self, list: &str) -> Vec<(String, String)> {
        let empty = Vec::new();
        let text = |item: &Json, key: &str| item[key].as_str().unwrap_or_default().to_owned();
        let items = self.spec[list].as_array().unwrap_or(&empty);
        items
            .iter()
            .map(|item| (text(item, "name") + &text(item, "message"), text(item, "expression")))
            .collect()
    }

    /// Whether the policy is for this request at all.
    fn concerns(&self, request: &Request) -> bool {
        let operations = self.spec["matchConstraints"]["resourceRules"][0]["operations"].clone();
        operations.as_array().unwrap().contains(&json!(request.operation()))
            && self
                .list("matchConditions")
                .iter()
                .all(|(name, condition)| truth(name, &request.evaluate(condition, &json!({}))))
    }

    /// What the API server would say; None when the request passes.
    fn refusal(&self, request: &Request) -> Option<String> {
        if !self.concerns(request) {
            return None;
        }
        let mut variables = json!({});
        for (name, expression) in self.list("variables") {
            let value = request.evaluate(&expression, &variables);
            variables[name.as_str()] = value;
        }
        self.list("validations")
            .into_iter()
            .find(|(message, expression)| !truth(message, &request.evaluate(expression, &variables)))
            .map(|(message, _)| message)
    }

    /// The annotations that the pod gets.
    fn annotations(&self, request: &Request) -> Option<Json> {
        let expression = self.spec["mutations"][0]["applyConfiguration"]["expression"].as_str().unwrap();
        // What is made is no JSON, but its parts are.
        let annotations = format!("({expression}).metadata.annotations");
        self.concerns(request).then(|| request.evaluate(&annotations, &json!({})))
    }
}

fn truth(name: &str, value: &Json) -> bool {
    value.as_bool().unwrap_or_else(|| panic!("{name} is no truth: {value}"))
}

/// An admission request.
struct Request {
    object: Json,
    old: Option<Json>,
}

impl Request {
    fn create(object: Json) -> Self {
        Self { object, old: None }
    }

    fn operation(&self) -> &'static str {
        if self.old.is_some() { "UPDATE" } else { "CREATE" }
    }

    /// As the API server evaluates an expression (Kubernetes, "Common Expression Language in Kubernetes").
    fn evaluate(&self, expression: &str, variables: &Json) -> Json {
        let mut env = Env::stdlib().with_optional_support(true);
        // The types of an apply configuration, as far as we use them.
        let metadata =
            StructDef::new("Object.metadata".to_owned()).add_field("annotations".to_owned(), MAP_TYPE);
        let metadata_type = Type::new_struct("Object.metadata".to_owned());
        env.add_type(metadata).unwrap();
        env.add_type(StructDef::new("Object".to_owned()).add_field("metadata".to_owned(), metadata_type))
            .unwrap();
        let env = Arc::new(env);
        let program = env.compile(expression).unwrap_or_else(|error| panic!("{expression}: {error}"));
        let mut context = Context::with_env(env);
        let request = json!({"operation": self.operation()});
        for (name, value) in [("object", &self.object), ("request", &request), ("variables", variables)] {
            context.add_variable(name, value).unwrap();
        }
        context.add_variable("oldObject", self.old.as_ref().unwrap_or(&Json::Null)).unwrap();
        let value: Value = program.execute(&context).unwrap_or_else(|error| panic!("{expression}: {error}"));
        value.json().unwrap()
    }
}

fn pod(annotations: &[(&str, &str)]) -> Json {
    let mut pod = json!({
        "metadata": {"name": "web", "namespace": "shop"},
        "spec": {"containers": [{"name": "app", "image": "app"}]},
    });
    if !annotations.is_empty() {
        let annotations: serde_json::Map<_, _> =
            annotations.iter().map(|(form, value)| (format!("{KEY}{form}"), json!(value))).collect();
        pod["metadata"]["annotations"] = annotations.into();
    }
    pod
}

fn with(mut pod: Json, pointer: &str, value: Json) -> Json {
    let (parent, key) = pointer.rsplit_once('/').unwrap();
    pod.pointer_mut(parent).unwrap()[key] = value;
    pod
}

fn field(policy: &str) -> Json {
    with(pod(&[]), "/spec/securityContext", json!({"supplementalGroupsPolicy": policy}))
}

fn update(old: Json, new: Json) -> Request {
    Request { object: new, old: Some(old) }
}

#[test]
fn pods_that_are_strict_pass() {
    for file in VALIDATING {
        let policy = Policy::read(file);
        for (name, pod) in [
            ("the annotation", pod(&[("", "Strict")])),
            ("in long", pod(&[("/pod", "Strict")])),
            ("a container as well", pod(&[("", "Strict"), ("/container.app", "Strict")])),
            ("the field", field("Strict")),
            (
                "the field and a container",
                with(
                    field("Strict"),
                    "/metadata/annotations",
                    json!({format!("{KEY}/container.app"): "Strict", "example.com/other": "Merge"}),
                ),
            ),
            ("Windows", with(pod(&[]), "/spec/os", json!({"name": "windows"}))),
            ("another's annotation", with(pod(&[("", "Strict")]), "/metadata/annotations/a", json!("Merge"))),
        ] {
            assert_eq!(policy.refusal(&Request::create(pod)), None, "{file}: {name}");
        }
    }
}

#[test]
fn pods_that_are_not_strict_are_refused() {
    for file in VALIDATING {
        let policy = Policy::read(file);
        for (name, pod, word) in [
            ("nothing said", pod(&[]), "add the annotation"),
            (
                "no annotation of ours",
                with(pod(&[]), "/metadata/annotations", json!({"a": "Strict"})),
                "add the",
            ),
            ("Linux", with(pod(&[]), "/spec/os", json!({"name": "linux"})), "add the annotation"),
            ("one container alone", pod(&[("/container.app", "Strict")]), "add the annotation"),
            ("Merge", pod(&[("", "Merge")]), "must all be Strict"),
            ("another value", pod(&[("", "strict")]), "must all be Strict"),
            ("the long form says otherwise", pod(&[("", "Strict"), ("/pod", "Merge")]), "must all be Strict"),
            ("a container says otherwise", pod(&[("", "Strict"), ("/container.app", "Merge")]), "must all"),
            ("the field says otherwise", field("Merge"), "add the annotation"),
            (
                "the field, and a container otherwise",
                with(
                    field("Strict"),
                    "/metadata/annotations",
                    json!({format!("{KEY}/container.app"): "Merge"}),
                ),
                "must all be Strict",
            ),
            (
                "no policy in the context",
                with(pod(&[]), "/spec/securityContext", json!({"runAsUser": 1})),
                "add",
            ),
        ] {
            let said = policy.refusal(&Request::create(pod));
            assert!(said.as_ref().is_some_and(|said| said.contains(word)), "{file}: {name}: {said:?}");
        }
    }
}

#[test]
fn older_pod_may_be_changed_but_not_made_worse() {
    let finalized = |pod| with(pod, "/metadata/finalizers", json!([]));
    for file in VALIDATING {
        let policy = Policy::read(file);
        for (name, request) in [
            ("it never said anything", update(pod(&[]), finalized(pod(&[])))),
            ("it says Merge as before", update(pod(&[("", "Merge")]), finalized(pod(&[("", "Merge")])))),
            ("it becomes Strict", update(pod(&[]), pod(&[("", "Strict")]))),
            ("it stays Strict", update(pod(&[("", "Strict")]), finalized(pod(&[("", "Strict")])))),
        ] {
            assert_eq!(policy.refusal(&request), None, "{file}: {name}");
        }
        for (name, request) in [
            ("taken away", update(pod(&[("", "Strict")]), pod(&[]))),
            ("changed", update(pod(&[("", "Strict")]), pod(&[("", "Merge")]))),
            (
                "a container more",
                update(pod(&[("", "Strict")]), pod(&[("", "Strict"), ("/container.x", "Merge")])),
            ),
        ] {
            assert!(policy.refusal(&request).is_some(), "{file}: {name}");
        }
    }
}

#[test]
fn who_says_nothing_gets_the_annotation_and_then_passes() {
    for (file, validating) in MUTATING.into_iter().zip(VALIDATING) {
        let policy = Policy::read(file);
        for (name, before) in [
            ("nothing", pod(&[])),
            ("others' annotations", with(pod(&[]), "/metadata/annotations", json!({"a": "b"}))),
            ("the field Strict", field("Strict")),
            ("a context", with(pod(&[]), "/spec/securityContext", json!({"runAsUser": 1}))),
        ] {
            let added = policy.annotations(&Request::create(before.clone()));
            assert_eq!(added, Some(json!({KEY: "Strict"})), "{file}: {name}");
            let mut after = before;
            after["metadata"]["annotations"][KEY] = json!("Strict");
            assert_eq!(Policy::read(validating).refusal(&Request::create(after)), None, "{file}: {name}");
        }
        for (name, pod) in [
            ("Merge", pod(&[("", "Merge")])),
            ("Strict", pod(&[("", "Strict")])),
            ("one container", pod(&[("/container.app", "Merge")])),
            ("a value that is wrong", pod(&[("", "no")])),
            ("the field Merge", field("Merge")),
            ("Windows", with(pod(&[]), "/spec/os", json!({"name": "windows"}))),
        ] {
            assert_eq!(policy.annotations(&Request::create(pod)), None, "{file}: {name}");
        }
        let existing = update(pod(&[]), pod(&[]));
        assert_eq!(policy.annotations(&existing), None, "{file}: a pod that exists");
    }
}

#[test]
fn kyverno_has_the_same_expressions_and_namespaces() {
    for [ours, kyverno] in [VALIDATING, MUTATING] {
        let (ours, kyverno) = (Policy::read(ours), Policy::read(kyverno));
        assert_eq!(ours.selector, kyverno.selector);
        for part in ["matchConditions", "variables", "validations", "mutations", "failurePolicy"] {
            assert_eq!(ours.spec[part], kyverno.spec[part], "{part}");
        }
    }
}

#[test]
fn only_namespaces_with_the_label_are_concerned() {
    for (file, label) in
        [(VALIDATING, "enforce"), (MUTATING, "default")].map(|(files, label)| (files[0], label))
    {
        let selector = Policy::read(file).selector;
        assert_eq!(selector, json!({"matchLabels": {format!("{KEY}/{label}"): "Strict"}}), "{file}");
    }
}
