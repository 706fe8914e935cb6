//! What a pod declares, asked from the Kubernetes API.
//!
//! Two things about a pod never reach an old runtime: `supplementalGroupsPolicy` of its spec, and,
//! with CRI-O, which of a container's groups the pod declares. The API server has both. It is asked
//! once for each pod, with `GET /api/v1/namespaces/{namespace}/pods/{name}`, when the pod's sandbox
//! starts; [`Lookup`] keeps the answer until the sandbox goes.
//!
//! The groups are `fsGroup` and `supplementalGroups` of the pod's `securityContext`. The kubelet
//! adds those of persistent volumes (annotation `pv.beta.kubernetes.io/gid` of the
//! `PersistentVolume`), which are not in the pod: to know them would take the right to read the
//! whole cluster's volumes. So the groups of a pod with such a volume count as not known: else a
//! group that it needs would be taken from it.
//!
//! The client is only there with the cargo feature `kubernetes-api`: TLS and YAML make the static
//! binary 2.6 MiB bigger.

mod answer;
mod error;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzzing;
mod lookup;

#[cfg(feature = "kubernetes-api")]
mod access;
#[cfg(feature = "kubernetes-api")]
mod client;
#[cfg(not(feature = "kubernetes-api"))]
#[path = "kubernetes/no_client.rs"]
mod client;
#[cfg(feature = "kubernetes-api")]
mod kubeconfig;

pub use answer::{AnswerError, Declared, read};
pub use client::Client;
pub use error::{AccessError, AskError};
pub use lookup::{Lookup, PodId};
