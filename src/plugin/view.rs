//! What this plugin reads of pods and containers; the rest of the runtime's
//! messages is skipped. Field numbers are those of `proto/nri.proto`.

use std::collections::BTreeMap;

use nri_plugin::api::{ContainerState, Hook, Hooks};
use strict_groups_core::{gate::Gate, merge_marker};

/// The part of NRI's `PodSandbox` that a decision is made from.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Pod {
    /// The sandbox's id in the runtime.
    #[prost(string, tag = "1")]
    pub id: String,
    /// The pod's name.
    #[prost(string, tag = "2")]
    pub name: String,
    /// The pod's uid.
    #[prost(string, tag = "3")]
    pub uid: String,
    /// The pod's namespace.
    #[prost(string, tag = "4")]
    pub namespace: String,
    /// The pod's labels.
    #[prost(btree_map = "string, string", tag = "5")]
    pub labels: BTreeMap<String, String>,
    /// The pod's annotations.
    #[prost(btree_map = "string, string", tag = "6")]
    pub annotations: BTreeMap<String, String>,
}

/// The part of NRI's `Container` that the plugin works with.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Container {
    /// The container's id in the runtime.
    #[prost(string, tag = "1")]
    pub id: String,
    /// The id of its pod's sandbox.
    #[prost(string, tag = "2")]
    pub pod_sandbox_id: String,
    /// Its name in the pod.
    #[prost(string, tag = "3")]
    pub name: String,
    /// How far it got.
    #[prost(enumeration = "ContainerState", tag = "4")]
    pub state: i32,
    /// Its OCI hooks, the gate among them.
    #[prost(message, optional, tag = "10")]
    pub hooks: Option<Hooks>,
    /// Its first process, once it runs.
    #[prost(uint32, tag = "12")]
    pub pid: u32,
}

impl Container {
    /// Whether the plugin decided about it: it has a gate, or the Merge marker.
    pub(super) fn was_seen(&self) -> bool {
        self.has_gate() || self.has_marker()
    }

    /// Whether it has a gate of ours, also one that cannot be read: it was decided to be Strict.
    pub(super) fn has_gate(&self) -> bool {
        self.hooks().any(|hook| !matches!(Gate::parse(&hook.args), Ok(None)))
    }

    /// Whether it has the Merge marker.
    pub(super) fn has_marker(&self) -> bool {
        self.hooks().any(|hook| merge_marker::is_marker(&hook.args))
    }

    /// The gates of ours among its hooks that can be read. The OCI runtime runs the others as well, and they refuse.
    pub(super) fn gates(&self) -> impl Iterator<Item = Gate> + '_ {
        self.hooks().filter_map(|hook| Gate::parse(&hook.args).ok().flatten())
    }

    /// How many bytes the arguments of its hooks are.
    pub(super) fn size_of_hooks(&self) -> usize {
        self.hooks().flat_map(|hook| &hook.args).map(String::len).sum()
    }

    fn hooks(&self) -> impl Iterator<Item = &Hook> {
        self.hooks.iter().flat_map(|hooks| &hooks.create_runtime)
    }
}
