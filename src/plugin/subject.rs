//! Whom a message is about.

use std::fmt;

use super::{Container, Pod};

/// A container, named the way its owner knows it.
#[derive(Debug, Clone)]
pub(super) struct Subject {
    /// `namespace/name`
    pub(super) pod: String,
    pub(super) container: String,
}

impl Subject {
    pub(super) fn new(pod: &Pod, container: &Container) -> Self {
        Self { pod: format!("{}/{}", pod.namespace, pod.name), container: container.name.clone() }
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "pod {}, container {}", self.pod, self.container)
    }
}
