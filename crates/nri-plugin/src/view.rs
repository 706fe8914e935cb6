//! Requests whose pod and container are decoded only as far as the plugin wants.
//!
//! A runtime tells a plugin everything about a container: mounts, environment, devices, some 200 strings. To make
//! those strings takes longer than everything else that the stub does, and a node has thousands of containers. So a
//! plugin names the types to decode into: [`PodSandbox`](super::api::PodSandbox) and
//! [`Container`](super::api::Container) for all of it, or messages of its own with the few fields that it reads
//! (same field numbers; Protocol Buffers skip the others).

use std::fmt::Debug;

use super::api::LinuxResources;

/// A message that a plugin has a pod or a container decoded into.
pub trait View: prost::Message + Debug + Default + PartialEq + Clone + 'static {}

impl<T: prost::Message + Debug + Default + PartialEq + Clone + 'static> View for T {}

/// The request of every event: pod, container if it is about one, and for an update the resources asked for.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Event<Pod: View, Container: View> {
    #[prost(message, optional, tag = "1")]
    pub(super) pod: Option<Pod>,
    #[prost(message, optional, tag = "2")]
    pub(super) container: Option<Container>,
    #[prost(message, optional, tag = "3")]
    pub(super) linux_resources: Option<LinuxResources>,
}

/// `StateChangeEvent`.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct StateChange<Pod: View, Container: View> {
    #[prost(int32, tag = "1")]
    pub(super) event: i32,
    #[prost(message, optional, tag = "2")]
    pub(super) pod: Option<Pod>,
    #[prost(message, optional, tag = "3")]
    pub(super) container: Option<Container>,
}

/// `SynchronizeRequest`.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct State<Pod: View, Container: View> {
    #[prost(message, repeated, tag = "1")]
    pub(super) pods: Vec<Pod>,
    #[prost(message, repeated, tag = "2")]
    pub(super) containers: Vec<Container>,
    #[prost(bool, tag = "3")]
    pub(super) more: bool,
}

#[cfg(test)]
mod tests {
    use prost::Message;

    use super::*;
    use crate::api;

    #[derive(Clone, PartialEq, prost::Message)]
    struct Name {
        #[prost(string, tag = "3")]
        name: String,
    }

    #[test]
    fn view_reads_its_fields_and_skips_the_others() {
        let container = api::Container {
            id: "c".into(),
            name: "app".into(),
            env: vec!["A=1".into()],
            ..api::Container::default()
        };
        let pod = Some(api::PodSandbox { uid: "u".into(), ..api::PodSandbox::default() });
        let bytes = api::CreateContainerRequest { pod, container: Some(container) }.encode_to_vec();
        let event = Event::<Name, Name>::decode(&*bytes).unwrap();
        assert_eq!(event.pod.unwrap().name, "u");
        assert_eq!(event.container.unwrap().name, "app");
    }
}
