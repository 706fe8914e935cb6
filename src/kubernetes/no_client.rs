//! Stands for the client in a binary that was built without it.

use super::{AccessError, AskError};
use container_start::config::Kubernetes;

/// There is none.
#[derive(Debug)]
pub enum Client {}

impl Client {
    /// Says what is missing.
    ///
    /// # Errors
    /// Always.
    pub fn new(_: &Kubernetes) -> Result<Self, AccessError> {
        Err(AccessError::NotBuilt)
    }

    /// Asks nobody.
    #[allow(clippy::unused_async, reason = "the client with the feature waits")]
    pub(super) async fn pod(&self, _namespace: &str, _name: &str) -> Result<Vec<u8>, AskError> {
        match *self {}
    }
}
