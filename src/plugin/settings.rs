//! What the node's configuration says to the plugin, which may be read again.

use std::{collections::BTreeMap, path::PathBuf};

use nri_plugin::api::{ContainerAdjustment, CreateContainerResponse, Hook, Hooks};
use strict_groups_core::{
    gate::Gate,
    merge_marker,
    policy::{Decision, Facts, Mode, NodePolicy, Policy, PolicyError},
};

use super::{Container, Pod, pod_spec};

#[derive(Debug)]
pub(super) struct Settings {
    /// Who gets which policy.
    pub(super) node: NodePolicy,
    /// The gate's executable (absolute, as the OCI runtime finds it).
    pub(super) hook_path: PathBuf,
}

impl Settings {
    /// The policy that counts for a container. `field` is `supplementalGroupsPolicy` of its pod's spec.
    pub(super) fn decide(
        &self,
        pod: &Pod,
        container: &Container,
        field: Option<&str>,
    ) -> Result<Decision, PolicyError> {
        self.node.decide(&facts(pod, container, field))
    }

    /// The policy that would count in the mode `enforce`.
    pub(super) fn decide_enforced(
        &self,
        pod: &Pod,
        container: &Container,
        field: Option<&str>,
    ) -> Result<Decision, PolicyError> {
        self.node.decide_in(Mode::Enforce, &facts(pod, container, field))
    }

    pub(super) fn is_audit(&self) -> bool {
        self.node.mode == Mode::Audit
    }

    /// Whether the static gate could not tell by itself that this container is Merge. It does not see the pod's labels,
    /// and for it the policy of a pod is unknown whose sandbox may be `older` than the node's configuration, or was
    /// made without the annotation that says so.
    pub(super) fn needs_marker(&self, pod: &Pod, container: &Container, older: bool) -> bool {
        if older || !pod.annotations.contains_key(pod_spec::SOURCE) {
            return true;
        }
        let blind = self.node.decide(&Facts { labels: None, ..facts(pod, container, None) });
        !matches!(blind, Ok(decision) if decision.policy == Policy::Merge)
    }

    /// The adjustment that makes the OCI runtime run the gate.
    pub(super) fn inject(&self, gate: &Gate) -> CreateContainerResponse {
        self.hook(gate.args())
    }

    /// The adjustment that gives a Merge container its marker.
    pub(super) fn inject_marker(&self) -> CreateContainerResponse {
        self.hook(merge_marker::args())
    }

    fn hook(&self, args: Vec<String>) -> CreateContainerResponse {
        let hook = Hook { path: self.hook_path_text(), args, ..Default::default() };
        let hooks = Hooks { create_runtime: vec![hook], ..Default::default() };
        let adjust = ContainerAdjustment { hooks: Some(hooks), ..Default::default() };
        CreateContainerResponse { adjust: Some(adjust), ..Default::default() }
    }

    /// The hook's path as JSON and protobuf have it.
    pub(super) fn hook_path_text(&self) -> String {
        self.hook_path.to_string_lossy().into_owned()
    }
}

/// What the plugin knows when it decides: NRI tells the annotations that the sandbox was created with.
fn facts<'a>(
    pod: &'a Pod,
    container: &'a Container,
    field: Option<&'a str>,
) -> Facts<'a, &'a BTreeMap<String, String>> {
    Facts {
        annotations: &pod.annotations,
        container: &container.name,
        namespace: Some(&pod.namespace),
        labels: Some(&pod.labels),
        field,
    }
}
