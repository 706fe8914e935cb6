//! Calls from the plugin to the runtime.

use tokio::sync::mpsc;

use super::{
    CallError,
    api::{ContainerEviction, ContainerUpdate},
};

/// Makes calls to the runtime that a plugin is connected to. Cheap to clone; of no use after the connection.
#[derive(Debug, Clone)]
pub struct Runtime {
    calls: mpsc::Sender<()>,
}

impl Runtime {
    /// Changes resources of containers, and asks for others to be evicted, outside of any event. Gives back the
    /// updates that failed.
    ///
    /// # Errors
    /// See [`CallError`].
    pub async fn update_containers(
        &self,
        update: Vec<ContainerUpdate>,
        evict: Vec<ContainerEviction>,
    ) -> Result<Vec<ContainerUpdate>, CallError> {
        let _ = (update, evict, &self.calls);
        Err(CallError::Disconnected)
    }
}
