//! What runs a container, by the runtime type of its handler in containerd (`io.containerd.runc.v2`).
//!
//! containerd keeps the type with each container's record, and turns it into the name of a shim's program.

use std::path::Path;

/// What a runtime type stands for, as far as it matters here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RuntimeType {
    /// An OCI runtime like runc or crun, which makes the container's process a process of the node.
    Runc,
    /// gVisor: the process lives inside of a sandbox process.
    Gvisor,
    /// Kata Containers: the process lives in a virtual machine.
    Kata,
    /// Any other one (Windows, WebAssembly, …): nothing is known of it.
    Other,
}

impl RuntimeType {
    /// What `runtime_type` stands for. containerd takes the absolute path of a shim's program as well.
    #[must_use]
    pub fn of(runtime_type: &str) -> Self {
        // containerd 1.x's first runtime, which had a shim of its own.
        if runtime_type == "io.containerd.runtime.v1.linux" {
            return Self::Runc;
        }
        let named = if runtime_type.starts_with('/') {
            let program = Path::new(runtime_type).file_name().and_then(|name| name.to_str());
            program.and_then(|name| name.strip_prefix("containerd-shim-")?.rsplit_once('-'))
        } else {
            runtime_type.strip_prefix("io.containerd.").and_then(|name| name.rsplit_once('.'))
        };
        match named {
            Some(("runc", _)) => Self::Runc,
            Some(("runsc", _)) => Self::Gvisor,
            // Kata's installer names a type for each hypervisor: io.containerd.kata-qemu.v2.
            Some((name, _)) if name.starts_with("kata") => Self::Kata,
            _ => Self::Other,
        }
    }

    /// Whether it runs the createRuntime hooks of a container. Of Kata Containers the Go runtime does, from 3.5 on; the
    /// Rust runtime has the same runtime type and runs those of the sandbox only.
    #[must_use]
    pub fn runs_hooks(self) -> bool {
        self != Self::Other
    }

    /// Whether the pid that containerd reports is taken for that of the container's own process. With Kata and gVisor it
    /// is that of a hypervisor or a sandbox, which says nothing about the container's groups. Nobody else is excused.
    #[must_use]
    pub fn has_own_process(self) -> bool {
        !matches!(self, Self::Gvisor | Self::Kata)
    }
}

/// Whether the shim of a handler runs the OCI runtime that the handler's `BinaryName` names: runc's own. containerd goes by
/// the runtime type's name (`getRuntimeOptionsType`) and takes a shim's path there for one of which it knows nothing.
/// `runtime_path`, where it is not empty, is the shim's program.
#[must_use]
pub fn takes_binary_name(runtime_type: &str, runtime_path: &str) -> bool {
    let of_runc = |shim: &str| {
        let name = Path::new(shim).file_name().and_then(|name| name.to_str());
        matches!(name, Some("containerd-shim-runc-v1" | "containerd-shim-runc-v2"))
    };
    matches!(runtime_type, "io.containerd.runc.v1" | "io.containerd.runc.v2")
        && (runtime_path.is_empty() || of_runc(runtime_path))
}

/// The name of the shim's program for a runtime type, as containerd makes it: `containerd-shim-runc-v2`.
#[must_use]
pub fn shim(runtime_type: &str) -> String {
    if runtime_type.starts_with('/') {
        return runtime_type.to_owned();
    }
    let mut parts = runtime_type.rsplit('.');
    let (version, name) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    format!("containerd-shim-{name}-{version}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runtime_types_of_every_kind() {
        for (name, wanted) in [
            ("io.containerd.runc.v2", RuntimeType::Runc),
            ("io.containerd.runc.v1", RuntimeType::Runc),
            ("io.containerd.runtime.v1.linux", RuntimeType::Runc),
            ("/usr/local/bin/containerd-shim-runc-v2", RuntimeType::Runc),
            ("io.containerd.runsc.v1", RuntimeType::Gvisor),
            ("io.containerd.kata.v2", RuntimeType::Kata),
            ("io.containerd.kata-qemu.v2", RuntimeType::Kata),
            ("io.containerd.kata-clh.v2", RuntimeType::Kata),
            ("/opt/kata/bin/containerd-shim-kata-v2", RuntimeType::Kata),
            ("io.containerd.runhcs.v1", RuntimeType::Other),
            ("io.containerd.spin.v2", RuntimeType::Other),
            ("io.containerd.runcat.v2", RuntimeType::Other),
            ("com.example.runc.v2", RuntimeType::Other),
            ("runc", RuntimeType::Other),
            ("/usr/bin/runc", RuntimeType::Other),
            ("", RuntimeType::Other),
        ] {
            assert_eq!(RuntimeType::of(name), wanted, "{name}");
        }
    }

    #[test]
    fn only_kata_and_gvisor_are_known_to_hide_the_process() {
        let kinds = [RuntimeType::Runc, RuntimeType::Gvisor, RuntimeType::Kata, RuntimeType::Other];
        assert_eq!(kinds.map(RuntimeType::has_own_process), [true, false, false, true]);
        assert_eq!(kinds.map(RuntimeType::runs_hooks), [true, true, true, false]);
    }

    #[test]
    fn runcs_own_shim_alone_takes_a_binary_name() {
        assert!(takes_binary_name("io.containerd.runc.v2", ""));
        assert!(takes_binary_name("io.containerd.runc.v1", "/opt/containerd-shim-runc-v2"));
        for (kind, shim) in [
            ("io.containerd.runc.v2", "/opt/containerd-shim-mine-v2"),
            ("/opt/containerd-shim-runc-v2", ""),
            ("io.containerd.runtime.v1.linux", ""),
            ("io.containerd.runsc.v1", ""),
        ] {
            assert!(!takes_binary_name(kind, shim), "{kind} {shim}");
        }
    }

    #[test]
    fn shim_is_named_after_the_last_two_parts() {
        assert_eq!(shim("io.containerd.kata-qemu.v2"), "containerd-shim-kata-qemu-v2");
        assert_eq!(shim("/opt/shim"), "/opt/shim");
    }
}
