//! An NRI plugin that prints what happens on the node. Run it as root beside a runtime that has NRI on.

use std::sync::Arc;

use strict_groups::nri::api::{Container, CreateContainerResponse, PodSandbox};
use strict_groups::nri::{self, BoxError, Events, Identity, Options, Plugin, Runtime, RuntimeInfo};

struct Logger;

impl Plugin for Logger {
    fn events(&self) -> Events {
        Events::CREATE_CONTAINER | Events::POST_START_CONTAINER | Events::RUN_POD_SANDBOX
    }

    fn connected(&self, runtime: &RuntimeInfo, _: &Runtime) {
        println!("connected to {} {}", runtime.name, runtime.version);
    }

    async fn run_pod_sandbox(&self, pod: PodSandbox) -> Result<(), BoxError> {
        println!("pod {}/{} runs", pod.namespace, pod.name);
        Ok(())
    }

    async fn create_container(
        &self,
        pod: PodSandbox,
        c: Container,
    ) -> Result<CreateContainerResponse, BoxError> {
        println!("container {} of {}/{} is created", c.name, pod.namespace, pod.name);
        Ok(CreateContainerResponse::default()) // no adjustment
    }

    async fn post_start_container(&self, pod: PodSandbox, c: Container) -> Result<(), BoxError> {
        println!("container {} of {}/{} runs as {}", c.name, pod.namespace, pod.name, c.pid);
        Ok(())
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), nri::Error> {
    let options = Options::from_env(Identity::new("logger", "10")?)?;
    nri::run(Arc::new(Logger), options, tokio::signal::ctrl_c()).await
}
