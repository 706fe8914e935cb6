//! What all parts of the plugin share.

use std::sync::Arc;

use super::{names::Names, resolver::Resolver};
use crate::{ops::metrics::Metrics, runtimes::containerd::Containers};

/// Cheap to clone; clones share everything.
#[derive(Debug, Clone)]
pub(super) struct Context {
    pub(super) resolver: Arc<Resolver>,
    pub(super) names: Names,
    pub(super) metrics: Arc<Metrics>,
}

impl Context {
    /// Resolves containers through `containers`; has counted nothing yet.
    pub(super) fn new(containers: Containers) -> Self {
        Self {
            resolver: Arc::new(Resolver::new(containers)),
            names: Names::default(),
            metrics: Arc::default(),
        }
    }
}
