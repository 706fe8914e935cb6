//! The container runtime that wrote a container's `config.json`, and the annotations by which that shows.

use crate::oci::Annotations;
use crate::text;

/// CRI-O's own id of the container.
const CRI_O_CONTAINER: &str = "io.kubernetes.cri-o.ContainerID";

/// The container runtime that makes the config.json.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Engine {
    /// containerd.
    Containerd,
    /// CRI-O.
    CriO,
    /// Neither: podman and others, whose containers belong to no pod. The hook is never told this one.
    Other,
}

/// The annotations that only the runtime itself can write, or that it writes last.
#[derive(Debug, Clone, Copy)]
pub struct Keys {
    pub sandbox: &'static str,
    pub namespace: &'static str,
    pub pod: &'static str,
    pub container: &'static str,
}

impl Engine {
    /// The name, as the static gate's arguments have it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Containerd => "containerd",
            Self::CriO => "cri-o",
            Self::Other => "other",
        }
    }

    #[must_use]
    pub fn keys(self) -> Keys {
        match self {
            // Put in after the pod's annotations that `pod_annotations` lets through.
            Self::Containerd => Keys {
                sandbox: "io.kubernetes.cri.sandbox-id",
                namespace: "io.kubernetes.cri.sandbox-namespace",
                pod: "io.kubernetes.cri.sandbox-name",
                container: "io.kubernetes.cri.container-name",
            },
            // All annotations of the pod come first, CRI-O's own next, the kubelet's labels last.
            Self::CriO => Keys {
                sandbox: "io.kubernetes.cri-o.SandboxID",
                namespace: "io.kubernetes.pod.namespace",
                pod: "io.kubernetes.pod.name",
                container: "io.kubernetes.container.name",
            },
            // Nobody else's annotations say who a container is: these are nobody's.
            Self::Other => Keys { sandbox: "", namespace: "", pod: "", container: "" },
        }
    }

    /// The runtime that made a config.json for the container `id`, by annotations that it alone can have
    /// written: the id is made up after the pod.
    #[must_use]
    pub fn of(annotations: &Annotations, id: &str) -> Self {
        if annotations.get(CRI_O_CONTAINER).is_some_and(|container| container == id) {
            Self::CriO
        } else if annotations.contains_key(Self::Containerd.keys().sandbox) {
            Self::Containerd
        } else {
            Self::Other
        }
    }

    /// The pod of a container or sandbox with these annotations, as `namespace/name`. None: they do not say.
    #[must_use]
    pub fn pod(self, annotations: &Annotations) -> Option<String> {
        let keys = self.keys();
        let value = |key: &str| annotations.get(key).map(|name| text::one_line(name, text::NAME_MAX));
        Some(format!("{}/{}", value(keys.namespace)?, value(keys.pod)?))
    }

    /// Whether the container is one of this runtime's. CRI-O shares its folder of hooks with podman,
    /// whose containers belong to no pod.
    #[must_use]
    pub fn made(self, annotations: &Annotations) -> bool {
        match self {
            Self::Containerd | Self::Other => true,
            Self::CriO => annotations.contains_key(CRI_O_CONTAINER),
        }
    }
}
