//! What to run: pods and containers, written down the way a kubelet would.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, Ordering};

use super::cri::v1;

/// Where the kubelet has a pod from: `api`, `file` or `http`.
pub const CONFIG_SOURCE: &str = "kubernetes.io/config.source";

static COUNTER: AtomicU32 = AtomicU32::new(0);

/// A pod. The default is on the host's network, which needs no CNI.
#[derive(Clone)]
pub struct Pod {
    pub config: v1::PodSandboxConfig,
    pub handler: String,
    pub namespaces: v1::NamespaceOption,
    pub privileged: bool,
    pub policy: i32,
    pub supplemental: Vec<i64>,
}

impl Pod {
    /// A pod with a uid of its own, so names may be used again.
    pub fn new(name: &str) -> Self {
        let number = COUNTER.fetch_add(1, Ordering::Relaxed);
        let metadata = v1::PodSandboxMetadata {
            name: name.to_owned(),
            uid: format!("00000000-0000-4000-8000-{number:012}"),
            namespace: "default".to_owned(),
            attempt: 0,
        };
        // The kubelet sets it for every pod.
        let annotations = HashMap::from([(CONFIG_SOURCE.to_owned(), "api".to_owned())]);
        let config = v1::PodSandboxConfig { metadata: Some(metadata), annotations, ..Default::default() };
        let namespaces = v1::NamespaceOption {
            network: v1::NamespaceMode::Node.into(),
            pid: v1::NamespaceMode::Container.into(),
            ..Default::default()
        };
        Self {
            config,
            handler: String::new(),
            namespaces,
            privileged: false,
            policy: 0,
            supplemental: Vec::new(),
        }
    }

    /// Its name.
    pub fn name(&self) -> String {
        self.config.metadata.clone().unwrap_or_default().name
    }

    /// Adds an annotation.
    pub fn annotation(mut self, key: &str, value: &str) -> Self {
        self.config.annotations.insert(key.to_owned(), value.to_owned());
        self
    }

    /// Leaves an annotation out, such as one that every pod has.
    pub fn without_annotation(mut self, key: &str) -> Self {
        self.config.annotations.remove(key);
        self
    }

    /// supplementalGroups and fsGroup; the kubelet sends them with each container as well.
    pub fn supplemental(mut self, gids: &[i64]) -> Self {
        self.supplemental = gids.to_vec();
        self
    }

    /// Adds a label.
    pub fn label(mut self, key: &str, value: &str) -> Self {
        self.config.labels.insert(key.to_owned(), value.to_owned());
        self
    }

    /// The Kubernetes namespace; `default` otherwise.
    pub fn namespace(mut self, namespace: &str) -> Self {
        if let Some(metadata) = self.config.metadata.as_mut() {
            namespace.clone_into(&mut metadata.namespace);
        }
        self
    }

    /// The runtime handler; the default one otherwise.
    pub fn handler(mut self, name: &str) -> Self {
        name.clone_into(&mut self.handler);
        self
    }

    /// spec.hostname, or what the kubelet makes of the pod's name. It is only the pod's own with `own_network`.
    pub fn hostname(mut self, name: &str) -> Self {
        name.clone_into(&mut self.config.hostname);
        self
    }

    /// `shareProcessNamespace: true`.
    pub fn shared_processes(mut self) -> Self {
        self.namespaces.pid = v1::NamespaceMode::Pod.into();
        self
    }

    /// A network namespace of its own. The containerd needs `Options::network`.
    pub fn own_network(mut self) -> Self {
        self.namespaces.network = v1::NamespaceMode::Pod.into();
        self
    }

    /// A user namespace: ids from 0 to `length` - 1 are `host_base` and up on
    /// the host. It comes with an own network, as it does in Kubernetes.
    pub fn user_namespace(mut self, host_base: u32, length: u32) -> Self {
        let mapping = v1::IdMapping { host_id: host_base, container_id: 0, length };
        self.namespaces.userns_options = Some(v1::UserNamespace {
            mode: v1::NamespaceMode::Pod.into(),
            uids: vec![mapping],
            gids: vec![mapping],
        });
        self.own_network()
    }

    /// `supplementalGroupsPolicy: Strict` in the pod's spec, as a kubelet from 1.31 on sends it.
    pub fn strict_field(self) -> Self {
        self.policy(v1::SupplementalGroupsPolicy::Strict.into())
    }

    /// Any number as the policy.
    pub fn policy(mut self, number: i32) -> Self {
        self.policy = number;
        self
    }

    /// Allows privileged containers in the pod.
    pub fn privileged(mut self) -> Self {
        self.privileged = true;
        self
    }

    /// The annotations, as they are sent.
    pub fn annotations(&self) -> &HashMap<String, String> {
        &self.config.annotations
    }
}

/// A container of a pod. The default is the image's user and a first process
/// that sleeps.
#[derive(Clone)]
pub struct ContainerSpec {
    pub config: v1::ContainerConfig,
    pub security: v1::LinuxContainerSecurityContext,
}

impl ContainerSpec {
    /// `image`: a name that has been imported.
    pub fn new(name: &str, image: &str) -> Self {
        let config = v1::ContainerConfig {
            metadata: Some(v1::ContainerMetadata { name: name.to_owned(), attempt: 0 }),
            image: Some(v1::ImageSpec { image: image.to_owned() }),
            command: vec!["/bin/sleep".to_owned(), "2147483647".to_owned()],
            ..Default::default()
        };
        Self { config, security: v1::LinuxContainerSecurityContext::default() }
    }

    /// runAsUser.
    pub fn user(mut self, uid: i64) -> Self {
        self.security.run_as_user = Some(v1::Int64Value { value: uid });
        self
    }

    /// The user by name: what the kubelet sends when only the image names a user.
    pub fn user_name(mut self, name: &str) -> Self {
        name.clone_into(&mut self.security.run_as_username);
        self
    }

    /// runAsGroup.
    pub fn group(mut self, gid: i64) -> Self {
        self.security.run_as_group = Some(v1::Int64Value { value: gid });
        self
    }

    /// supplementalGroups; the kubelet adds fsGroup to the same list.
    pub fn supplemental(mut self, gids: &[i64]) -> Self {
        self.security.supplemental_groups = gids.to_vec();
        self
    }

    /// `supplemental_groups_policy = Strict` in the CRI, as a kubelet from 1.31
    /// on sends it: native Strict on containerd 2.x, ignored by 1.7.
    pub fn strict_field(mut self) -> Self {
        self.security.supplemental_groups_policy = v1::SupplementalGroupsPolicy::Strict.into();
        self
    }

    /// All capabilities and devices.
    pub fn privileged(mut self) -> Self {
        self.security.privileged = true;
        self
    }

    /// One more capability, by its name without `CAP_`.
    pub fn capability(mut self, name: &str) -> Self {
        self.security.capabilities.get_or_insert_default().add_capabilities.push(name.to_owned());
        self
    }

    /// Another name in its pod.
    pub fn name(mut self, name: &str) -> Self {
        name.clone_into(&mut self.config.metadata.get_or_insert_default().name);
        self
    }

    /// How often the kubelet has started it again.
    pub fn attempt(mut self, number: u32) -> Self {
        self.config.metadata.get_or_insert_default().attempt = number;
        self
    }

    /// All capabilities are dropped but these.
    pub fn only_capabilities(mut self, names: &[&str]) -> Self {
        let capabilities = self.security.capabilities.get_or_insert_default();
        capabilities.drop_capabilities = vec!["ALL".to_owned()];
        capabilities.add_capabilities = names.iter().map(|&name| name.to_owned()).collect();
        self
    }

    /// `allowPrivilegeEscalation: false`.
    pub fn no_new_privs(mut self) -> Self {
        self.security.no_new_privs = true;
        self
    }

    /// `seccompProfile: RuntimeDefault`.
    pub fn default_seccomp(mut self) -> Self {
        self.security.seccomp = Some(v1::SecurityProfile::default());
        self
    }

    /// `workingDir`.
    pub fn working_dir(mut self, path: &str) -> Self {
        path.clone_into(&mut self.config.working_dir);
        self
    }

    /// The first process's command line, instead of sleeping.
    pub fn command(mut self, command: &[&str]) -> Self {
        self.config.command = command.iter().map(|&part| part.to_owned()).collect();
        self
    }

    /// A folder of the host, readable and writable.
    pub fn mount(mut self, host: &str, container: &str) -> Self {
        self.config.mounts.push(v1::Mount {
            container_path: container.to_owned(),
            host_path: host.to_owned(),
            readonly: false,
            ..Default::default()
        });
        self
    }

    /// An environment variable.
    pub fn env(mut self, key: &str, value: &str) -> Self {
        self.config.envs.push(v1::KeyValue { key: key.to_owned(), value: value.to_owned() });
        self
    }

    /// A container annotation, which only the kubelet can set.
    pub fn annotation(mut self, key: &str, value: &str) -> Self {
        self.config.annotations.insert(key.to_owned(), value.to_owned());
        self
    }
}
