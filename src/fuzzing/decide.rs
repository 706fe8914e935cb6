//! A CreateContainer request to its answer.

use std::{cell::OnceCell, collections::BTreeMap, path::Path, sync::Arc};

use prost::Message;
use tokio::runtime::{Builder, Runtime};

use super::annotation::{expected, node};
use crate::{plugin::StrictGroups, runtimes::containerd::Containers};
use nri_plugin::{
    api::{CreateContainerRequest, CreateContainerResponse},
    fuzzing::{ask, parts, request},
};
use strict_groups_core::{
    gate::{Gate, State},
    merge_marker,
    policy::{NodePolicy, Policy},
};

/// The plugin for each policy that a node can have. The runtime only has to exist: nothing is waited for.
struct Plugins {
    runtime: Runtime,
    by_bits: Vec<Arc<StrictGroups>>,
}

thread_local! {
    static PLUGINS: OnceCell<Plugins> = const { OnceCell::new() };
}

impl Plugins {
    fn new() -> Self {
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        let entered = runtime.enter();
        let containers = Containers::new(Path::new("/nonexistent/containerd.sock"));
        let plugin = |bits| {
            let node = NodePolicy { default: node(bits), ..NodePolicy::default() };
            StrictGroups::new(node, "/usr/bin/strict-groups".into(), containers.clone())
        };
        let by_bits = (0..4).map(|bits| Arc::new(plugin(bits))).collect();
        drop(entered);
        Self { runtime, by_bits }
    }
}

/// Every request is answered. A container that is Strict by its annotations or by the node gets one pending gate or
/// an error, never an empty answer; one that is Merge gets nothing but the empty answer, or the Merge marker where nobody
/// says whether its annotations reach the static gate.
///
/// The first byte: two bits for the node's policy, one that says whether the rest is a whole ttrpc Request or the
/// payload of a CreateContainer. The runtime is one without containerd's API, so that no socket is asked.
pub(super) fn decide(data: &[u8]) {
    let Some((bits, rest)) = data.split_first() else { return };
    let message = if bits & 4 == 0 { request("CreateContainer", rest.to_vec()) } else { rest.to_vec() };
    let _ = answer(*bits, &message);

    let Some((method, payload)) = parts(&message) else { return };
    if method != "CreateContainer" {
        return;
    }
    // Written anew, for the generated code takes a map of any wire type, which the plugin's decoder passes over where
    // it has no use for the map.
    let Ok(create) = CreateContainerRequest::decode(&*payload) else { return };
    let answer = answer(*bits, &request("CreateContainer", create.encode_to_vec()));
    let (Some(pod), Some(container)) = (create.pod, create.container) else {
        return assert!(answer.is_err(), "a request without pod or container");
    };
    let annotations: BTreeMap<_, _> = pod.annotations.into_iter().collect();
    match (expected(&annotations, &container.name, node(*bits)), answer) {
        (Err(()), answer) => assert!(answer.is_err(), "refused"),
        (Ok(Policy::Merge), answer) if annotations.contains_key("kubernetes.io/config.source") => {
            assert_eq!(answer, Ok(Vec::new()), "Merge is left alone");
        }
        (Ok(Policy::Merge), answer) => {
            assert!(merge_marker::is_marker(&hook(&answer.unwrap())), "no Merge marker");
        }
        (Ok(Policy::Strict), answer) => {
            let gate = Gate::parse(&hook(&answer.unwrap())).unwrap().unwrap();
            assert_eq!(gate.state, State::Pending { declared: None });
        }
    }
}

/// The arguments of the one hook that an answer adds.
fn hook(answer: &[u8]) -> Vec<String> {
    let hooks = CreateContainerResponse::decode(answer).unwrap().adjust.unwrap().hooks.unwrap();
    let [hook] = &*hooks.create_runtime else { panic!("{hooks:?}") };
    hook.args.clone()
}

/// The plugin's answer: a payload, or what an error says.
fn answer(bits: u8, message: &[u8]) -> Result<Vec<u8>, String> {
    let answer = PLUGINS.with(|plugins| {
        let plugins = plugins.get_or_init(Plugins::new);
        let _entered = plugins.runtime.enter();
        ask(&plugins.by_bits[usize::from(bits & 3)], "cri-o", message)
    });
    if let Err(text) = &answer {
        assert!(!text.is_empty() && !text.contains(char::is_control), "{text:?}");
        assert!(!text.starts_with("the plugin panicked"), "{text}");
    }
    answer
}
