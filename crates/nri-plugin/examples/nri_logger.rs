//! An NRI plugin that prints what happens on the node. Run it as root beside a runtime that has NRI on.

use std::sync::Arc;

use nri_plugin::api::{Container, CreateContainerResponse, PodSandbox};
use nri_plugin::{BoxError, Events, Identity, Options, Plugin};

struct Logger;

impl Plugin for Logger {
    type Pod = PodSandbox;
    type Container = Container;

    fn events(&self) -> Events {
        Events::CREATE_CONTAINER | Events::POST_START_CONTAINER
    }

    async fn create_container(
        &self,
        p: PodSandbox,
        c: Container,
    ) -> Result<CreateContainerResponse, BoxError> {
        println!("container {} of {}/{} is created", c.name, p.namespace, p.name);
        Ok(CreateContainerResponse::default()) // no adjustment
    }

    async fn post_start_container(&self, p: PodSandbox, c: Container) -> Result<(), BoxError> {
        println!("container {} of {}/{} runs as {}", c.name, p.namespace, p.name, c.pid);
        Ok(())
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), nri_plugin::Error> {
    let options = Options::from_env(Identity::new("logger", "10")?)?;
    nri_plugin::run(Arc::new(Logger), options, tokio::signal::ctrl_c()).await
}
