//! What the facts mean. Pure.

use std::path::PathBuf;

use super::{
    facts::{
        Cgroups, ContainerRuntime, Facts, Gate, Handler, Kernel, NodeConfig, Nri, OciRuntime, Plugin, Wrapper,
    },
    program::RUNC_VERSION,
    report::{self, Finding, Report},
};
use crate::{configure::containerd::annotation_patterns, version};
use container_start::{
    config::{DEFAULT_PATH, OldRuncExec},
    oci_runtime::GroupLookup,
};
use strict_groups_core::runtime_type::RuntimeType;

const STATIC_GATE: &str = "static-gate";

/// The first Kata Containers whose Go runtime runs the createRuntime hooks of a container, not only of the sandbox
/// (kata-containers pull request 9524). Its Rust runtime, up to 4.1 at least, does not.
const KATA_WITH_HOOKS: (u32, u32) = (3, 5);

/// Judges the node. `own` is our version, which the hooks should have as well.
#[must_use]
pub fn judge(facts: &Facts, own: &str) -> Report {
    let runtime = facts.runtime.as_ref().ok();
    let way = Way::of(facts);
    let mut findings = vec![runtime_found(&facts.runtime, way)];
    if runtime.is_some_and(|runtime| runtime.native) {
        // Nothing of ours is needed; what is there is not in the way.
        findings.extend(facts.config.as_ref().err().map(|why| config_wrong(why)));
    } else {
        // Under CRI-O the wrapper decides where no plugin does, unless its configuration forbids it.
        let decides = facts.config.as_ref().is_ok_and(|config| config.wrapper_resolves);
        let instead = match way {
            Way::CriO if decides => {
                Some("; the wrapper decides by the annotations and the configuration alone")
            }
            Way::Wrapper | Way::Both if decides => Some("; the wrapper does its work"),
            _ => None,
        };
        if way == Way::Wrapper && decides {
            findings.push(Finding::ok("nri", "not needed: the wrapper decides, and enforces"));
        } else {
            findings.push(softened(nri(&facts.nri, way), instead));
            findings.push(softened(plugin(&facts.plugin, runtime, way), instead));
        }
        findings.extend(way.finding());
        findings.extend(handlers(&facts.handlers, &facts.oci_runtimes, way));
        findings.extend(unwrapped_pods(&facts.unwrapped_pods, &facts.plugin, way));
        findings.extend(hooks(facts, own));
        findings.extend(facts.oci_runtimes.iter().map(|oci| oci_runtime(oci, facts.config.as_ref().ok())));
        findings.push(config(&facts.config, facts.handlers.as_deref().unwrap_or_default()));
        findings.extend(kernel(&facts.kernel));
    }
    let runtime = runtime
        .cloned()
        .map(|ContainerRuntime { name, version, native }| report::ContainerRuntime { name, version, native });
    Report::new(runtime, findings)
}

fn is_crio(runtime: &ContainerRuntime) -> bool {
    runtime.name != "containerd"
}

/// By what Strict is to be enforced on the node (docs/containerd.md).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    /// containerd: the NRI plugin and the static gate. Also where nothing is set up yet.
    Nri,
    /// containerd: the wrapper as the OCI runtime of each handler of runc's shim.
    Wrapper,
    /// containerd: both.
    Both,
    /// CRI-O, which needs the wrapper, and goes by the plugin where there is one.
    CriO,
}

impl Way {
    fn of(facts: &Facts) -> Self {
        if facts.runtime.as_ref().is_ok_and(is_crio) {
            return Self::CriO;
        }
        let handlers = facts.handlers.as_deref().unwrap_or_default();
        let mut runc = handlers.iter().filter(|handler| handler.can_be_wrapped()).peekable();
        let has_wrapper = runc.peek().is_some() && runc.all(|handler| handler.wrapper != Wrapper::None);
        let has_gate = handlers.iter().any(|handler| matches!(handler.gate, Gate::Installed { .. }));
        match (has_wrapper, has_gate) {
            (true, false) => Self::Wrapper,
            (true, true) => Self::Both,
            (false, _) => Self::Nri,
        }
    }

    /// What there is to choose on containerd, and what was chosen.
    fn finding(self) -> Option<Finding> {
        let way = match self {
            Self::CriO => return None,
            Self::Nri => "NRI plugin and static gate",
            Self::Wrapper => "the OCI runtime wrapper, without NRI",
            Self::Both => "NRI plugin, static gate and the OCI runtime wrapper",
        };
        Some(Finding::ok("way", format!("this node's way to enforce Strict: {way}")))
    }

    /// The command that writes the runtime's side of the configuration.
    fn configure(self) -> &'static str {
        match self {
            Self::CriO => "strict-groups config crio --write /etc/crio/crio.conf.d && systemctl restart crio",
            Self::Nri => {
                "strict-groups config containerd --write /etc/containerd/conf.d && systemctl restart containerd"
            }
            Self::Wrapper => {
                "strict-groups config containerd --wrapper --write /etc/containerd/conf.d && systemctl restart containerd"
            }
            Self::Both => {
                "strict-groups config containerd --wrapper --nri --write /etc/containerd/conf.d && systemctl restart \
                 containerd"
            }
        }
    }
}

/// A thing that is missed, where something else does its work.
fn softened(finding: Finding, instead: Option<&str>) -> Finding {
    match (finding, instead) {
        (Finding { state: report::State::Missing, text, check, mend }, Some(instead)) => {
            Finding { state: report::State::Warning, text: format!("{text}{instead}"), check, mend }
        }
        (same, _) => same,
    }
}

/// The most pods that are named.
const PODS_SHOWN: usize = 5;

/// Pods that are older than the wrapper: the plugin and the static gate see their containers, the wrapper does not.
fn unwrapped_pods(pods: &Result<Vec<String>, String>, plugin: &Plugin, way: Way) -> Option<Finding> {
    const CHECK: &str = "wrapper";
    let alone = match way {
        Way::Wrapper => true,
        Way::Both => !matches!(plugin, Plugin::Registered(_)),
        Way::Nri | Way::CriO => false,
    };
    let pods = match pods {
        _ if !alone => return None,
        Ok(pods) if pods.is_empty() => return None,
        Ok(pods) => pods,
        Err(why) => {
            let text = format!("whether all pods were made by the wrapper cannot be told: {why}");
            return Some(Finding::missing(CHECK, text, "run the command on the node, not in a container"));
        }
    };
    let shown: Vec<&str> = pods.iter().map(String::as_str).take(PODS_SHOWN).collect();
    let more = if pods.len() > shown.len() { ", …" } else { "" };
    let becomes =
        if way == Way::Wrapper { "are merged" } else { "are refused while the plugin is not running" };
    let text = format!(
        "pods that were made without the wrapper, and whose containers {becomes}, those to come as well: {} ({}{more})",
        pods.len(),
        shown.join(", ")
    );
    Some(Finding::missing(CHECK, text, "delete them, or drain the node and restart it"))
}

fn runtime_found(runtime: &Result<ContainerRuntime, String>, way: Way) -> Finding {
    const CHECK: &str = "runtime";
    let ContainerRuntime { name, version, native } = match runtime {
        Ok(runtime) => runtime,
        Err(why) => {
            let mend = "systemctl status containerd crio; where it listens elsewhere: strict-groups check --runtime-endpoint PATH";
            return Finding::missing(CHECK, why, mend);
        }
    };
    let seen = format!("{name} {version}");
    if *native {
        return Finding::ok(CHECK, format!("{seen} has supplementalGroupsPolicy itself"));
    }
    let (oldest, what) = match name.as_str() {
        "containerd" => ((1, 7), "containerd 1.7"),
        "cri-o" => ((1, 26), "CRI-O 1.26"),
        _ => {
            return Finding::warning(
                CHECK,
                format!("{seen} is not known to strict-groups"),
                "use containerd or CRI-O",
            );
        }
    };
    let oldest = if matches!(way, Way::Wrapper | Way::Both) { (1, 6) } else { oldest };
    if version::of(version).is_some_and(|version| version < oldest) && name == "containerd" {
        let mend = "upgrade to containerd 1.7.16 or newer; containerd 1.6 has the wrapper as its way: strict-groups config \
                    containerd --wrapper";
        return Finding::missing(CHECK, format!("{seen} has no NRI that the plugin knows"), mend);
    }
    if version::of(version).is_some_and(|version| version < oldest) {
        return Finding::missing(CHECK, format!("{seen} is too old"), format!("upgrade to {what} or newer"));
    }
    Finding::ok(CHECK, format!("{seen} always merges groups, so it needs strict-groups"))
}

fn nri(nri: &Nri, way: Way) -> Finding {
    const CHECK: &str = "nri";
    match nri {
        Nri::Reachable => Finding::ok(CHECK, "NRI is on, and its socket is root's alone"),
        Nri::Missing(path) => {
            let text = format!(
                "there is no {}: NRI is off, or the runtime has its socket elsewhere",
                path.display()
            );
            Finding::missing(CHECK, text, way.configure())
        }
        Nri::Unusable(why) => Finding::missing(CHECK, why, way.configure()),
    }
}

fn plugin(plugin: &Plugin, runtime: Option<&ContainerRuntime>, way: Way) -> Finding {
    const CHECK: &str = "plugin";
    let log = "journalctl -u strict-groups";
    let can_deadlock =
        runtime.filter(|runtime| way != Way::CriO && version::registration_can_deadlock(&runtime.version));
    if let Some(ContainerRuntime { version, .. }) = can_deadlock {
        let danger = format!("containerd {version} can hang for good when an NRI plugin registers");
        let mend = "upgrade to containerd 1.7.16 or newer, or strict-groups config containerd --wrapper";
        return match plugin {
            Plugin::Registered(_) => Finding::warning(CHECK, format!("registered, and {danger}"), mend),
            _ => Finding::missing(CHECK, format!("not registered: {danger}"), mend),
        };
    }
    match plugin {
        Plugin::Registered(with) => match runtime {
            Some(ContainerRuntime { name, .. }) if with.split(' ').next() != Some(name) => {
                let text = format!("the plugin is registered with {with}, not with {name}");
                Finding::missing(CHECK, text, "start strict-groups plugin with --nri-socket of this runtime")
            }
            _ => Finding::ok(CHECK, format!("registered with {with}")),
        },
        Plugin::Waiting => {
            Finding::missing(CHECK, "the plugin runs, and is not registered with the runtime", log)
        }
        Plugin::Silent(why) => Finding::missing(CHECK, why, "systemctl restart strict-groups"),
        Plugin::Unknown(file) => {
            let file = file.display();
            let text = format!("there is no {file}: the plugin does not run, or runs without --health-file");
            Finding::missing(
                CHECK,
                text,
                format!("systemctl enable --now strict-groups (its ExecStart has --health-file {file})"),
            )
        }
        Plugin::Unusable(why) => Finding::missing(
            CHECK,
            why,
            "start strict-groups plugin with --health-file in a folder of root's",
        ),
    }
}

fn handlers(handlers: &Result<Vec<Handler>, String>, oci_runtimes: &[OciRuntime], way: Way) -> Vec<Finding> {
    let handlers = match handlers {
        Ok(handlers) if handlers.is_empty() => {
            return vec![Finding::missing(STATIC_GATE, "the runtime has no handler", way.configure())];
        }
        Ok(handlers) => handlers,
        Err(why) => return vec![Finding::missing(STATIC_GATE, why, way.configure())],
    };
    let mut found = Vec::new();
    for handler in handlers {
        let name = &handler.name;
        found.extend(wrapper(handler, way));
        if way == Way::Wrapper {
            continue;
        }
        if let Some(kind) = &handler.without_hooks {
            found.push(without_gate(
                handler,
                &format!(
                    "handler {name} ({kind}) is not known to run OCI hooks: its containers have no gate"
                ),
                "make a handler that runs OCI hooks (runc, crun) the runtime's default",
            ));
            continue;
        }
        found.push(match &handler.gate {
            Gate::Installed { .. } if !handler.missing_annotations.is_empty() => outdated(handler, way),
            Gate::Installed { .. } => installed(handler, oci_runtimes),
            Gate::None => {
                let text = format!(
                    "handler {name} has none: while the plugin is not running, Strict containers start merged"
                );
                Finding::missing(STATIC_GATE, text, way.configure())
            }
            Gate::Unreadable(why) => {
                Finding::missing(STATIC_GATE, format!("handler {name}: {why}"), way.configure())
            }
        });
    }
    found
}

/// What the wrapper is for a handler. None: nothing, on the way of this node.
fn wrapper(handler: &Handler, way: Way) -> Option<Finding> {
    const CHECK: &str = "wrapper";
    let name = &handler.name;
    let program = &handler.program;
    let installed =
        || Finding::ok(CHECK, format!("handler {name} runs strict-groups-runtime, which becomes {program}"));
    Some(match (&handler.wrapper, way) {
        (Wrapper::Unusable(why), _) => {
            Finding::missing(CHECK, format!("handler {name}: {why}"), way.configure())
        }
        (Wrapper::Installed { .. }, Way::CriO) => {
            Finding::ok(CHECK, format!("handler {name} runs {program}"))
        }
        (Wrapper::Installed { .. }, _) if !handler.missing_annotations.is_empty() => {
            let text = format!(
                "handler {name} runs strict-groups-runtime, which does not see what pods ask for: pod_annotations lacks {} of \
                 the {} patterns that it needs (the drop-in is of an older strict-groups, or another file takes them back)",
                handler.missing_annotations.len(),
                annotation_patterns().len()
            );
            Finding::missing(CHECK, text, way.configure())
        }
        (Wrapper::Installed { .. }, _) => installed(),
        (Wrapper::None, Way::CriO) if handler.without_hooks.is_none() => {
            let text = format!(
                "handler {name} runs {program} and not strict-groups-runtime: Strict containers are refused"
            );
            Finding::missing(CHECK, text, way.configure())
        }
        (Wrapper::None, Way::Wrapper) if handler.default => {
            let text = format!(
                "handler {name}, which pods without a RuntimeClass get, runs no OCI runtime of our choice: its containers \
                 are not seen by the wrapper"
            );
            Finding::missing(CHECK, text, "make a handler of runc's shim the default")
        }
        (Wrapper::None, Way::Wrapper) => {
            let text = format!(
                "handler {name} runs no OCI runtime of our choice: its containers are not seen by the wrapper"
            );
            Finding::warning(
                CHECK,
                text,
                format!("let no pod that has to be Strict use the RuntimeClass of {name}"),
            )
        }
        (Wrapper::None, Way::CriO | Way::Nri | Way::Both) => return None,
    })
}

/// A handler that has the gate and runs nothing of it.
fn without_gate(handler: &Handler, text: &str, mend_default: &str) -> Finding {
    if handler.default {
        let text = format!("{text}, and pods without a RuntimeClass get it");
        return Finding::missing(STATIC_GATE, text, mend_default);
    }
    let mend = format!("let no pod that has to be Strict use the RuntimeClass of {}", handler.name);
    Finding::warning(STATIC_GATE, text, mend)
}

fn outdated(handler: &Handler, way: Way) -> Finding {
    let text = format!(
        "handler {} has it, and it is outdated: pod_annotations lacks {} of the {} patterns that it needs (the drop-in \
         is of an older strict-groups, or another file takes them back)",
        handler.name,
        handler.missing_annotations.len(),
        annotation_patterns().len()
    );
    Finding::missing(STATIC_GATE, text, way.configure())
}

/// A handler that has the gate: whether it also runs it, and what is not known beside that.
fn installed(handler: &Handler, oci_runtimes: &[OciRuntime]) -> Finding {
    let name = &handler.name;
    let unverified = "its processes cannot be seen from the node, so only the runtime's record is checked";
    match handler.kind {
        RuntimeType::Runc | RuntimeType::Other => Finding::ok(STATIC_GATE, format!("handler {name} has it")),
        RuntimeType::Gvisor => {
            Finding::ok(STATIC_GATE, format!("handler {name} has it; not verified: {unverified}"))
        }
        RuntimeType::Kata => {
            let shim = oci_runtimes.iter().find(|oci| oci.program == handler.program);
            let said = shim
                .map_or(Err("its shim is not known"), |shim| shim.version.as_deref().map_err(String::as_str));
            match said {
                Ok(line) if kata_runs_hooks(line) => {
                    Finding::ok(STATIC_GATE, format!("handler {name} has it; not verified: {unverified}"))
                }
                Ok(why) | Err(why) => without_gate(
                    handler,
                    &format!("handler {name} has it, and is not known to run it ({why})"),
                    "use the Go runtime of Kata Containers 3.5 or newer, whose shim runs createRuntime hooks",
                ),
            }
        }
    }
}

/// By the version that Kata's shim prints: `… containerd shim (Golang): id: "…", version: 3.20.0, commit: …`.
fn kata_runs_hooks(line: &str) -> bool {
    let version = line.split_once("version: ").and_then(|(_, version)| version::of(version));
    line.contains("(Golang)") && version.is_some_and(|version| version >= KATA_WITH_HOOKS)
}

fn hooks<'f>(facts: &'f Facts, own: &'f str) -> impl Iterator<Item = Finding> + 'f {
    const CHECK: &str = "hook";
    facts.hooks.iter().map(move |hook| {
        let path = hook.path.display();
        match &hook.version {
            Ok(version) if version.strip_prefix("strict-groups ") == Some(own) => Finding::ok(CHECK, format!("{path} ({own})")),
            Ok(version) if version.starts_with("strict-groups ") => {
                let text = format!("{path} is {version}, this is {own}");
                Finding::warning(CHECK, text, format!("install one version, then systemctl restart strict-groups ({path} is run by the OCI runtime)"))
            }
            Ok(version) => Finding::missing(CHECK, format!("{path} is not strict-groups but {version}"), "set hook_path in /etc/strict-groups/config.toml"),
            Err(why) => {
                let folder = hook.path.parent().map(|folder| folder.display().to_string()).unwrap_or_default();
                Finding::missing(CHECK, format!("{path}: {why}"), format!("strict-groups install --to {folder}"))
            }
        }
    })
}

fn oci_runtime(oci: &OciRuntime, config: Option<&NodeConfig>) -> Finding {
    const CHECK: &str = "oci-runtime";
    let program = &oci.program;
    let line = match &oci.version {
        Ok(line) => line,
        Err(why) => {
            let mend = "install the OCI runtime that the handler names";
            return Finding::warning(CHECK, format!("{program}: {why}"), mend);
        }
    };
    if GroupLookup::of_version(line) == GroupLookup::Literal {
        return Finding::ok(CHECK, format!("{program}: {line}"));
    }
    let known = line.strip_prefix(RUNC_VERSION).is_some_and(|version| version::of(version).is_some());
    let how = if known {
        "looks groups up by name in the container's /etc/group"
    } else {
        "is not known to take groups by number, so it is treated as runc before 1.3, which looks them up by name in the \
         container's /etc/group"
    };
    let text =
        format!("{program}: {line} {how}: Strict containers of images that rename groups there are refused");
    let cure = "use runc 1.3 or newer, or crun";
    match config.map(|config| (config.old_runc_exec, &config.path)) {
        Some((OldRuncExec::Allow, path)) => {
            let text = format!(
                "{text}, and execs CAN GAIN GROUPS where the container may write that file (old_runc_exec = \"allow\")"
            );
            let mend = format!("{cure}, or set old_runc_exec = \"refuse\" in {}", path.display());
            Finding::warning(CHECK, text, mend)
        }
        Some((OldRuncExec::Refuse, _)) | None => {
            let text =
                format!("{text}, and those whose execs could gain groups by it (old_runc_exec = \"refuse\")");
            Finding::warning(CHECK, text, cure)
        }
    }
}

fn config_wrong(why: &str) -> Finding {
    Finding::missing("configuration", why, "strict-groups check --config /etc/strict-groups/config.toml")
}

fn config(config: &Result<NodeConfig, String>, handlers: &[Handler]) -> Finding {
    const CHECK: &str = "configuration";
    let NodeConfig { path, audit, summary, .. } = match config {
        Ok(config) => config,
        Err(why) => return config_wrong(why),
    };
    let read = |config: &Option<PathBuf>| config.clone().unwrap_or_else(|| DEFAULT_PATH.into());
    let by_gates = handlers.iter().filter_map(|handler| match &handler.gate {
        Gate::Installed { config, .. } => Some(("static gate", read(config))),
        Gate::None | Gate::Unreadable(_) => None,
    });
    let by_wrappers = handlers.iter().filter_map(|handler| match &handler.wrapper {
        // Where it is run by its own name, it has the default one.
        Wrapper::Installed { hook: Some(_), config, .. } => Some(("wrapper", read(config))),
        Wrapper::Installed { .. } | Wrapper::None | Wrapper::Unusable(_) => None,
    });
    if let Some((who, other)) = by_gates.chain(by_wrappers).find(|(_, read)| read != path) {
        let text = format!("the {who} reads {}, and {} was looked at", other.display(), path.display());
        return Finding::warning(
            CHECK,
            text,
            format!("strict-groups check --node-config {}", other.display()),
        );
    }
    if *audit {
        let text = format!("{}: {summary}; only pods that ask for Strict themselves get it", path.display());
        return Finding::warning(CHECK, text, format!("mode = \"enforce\" in {}", path.display()));
    }
    Finding::ok(CHECK, format!("{}: {summary}", path.display()))
}

fn kernel(kernel: &Kernel) -> [Finding; 2] {
    let Kernel { release, openat2, cgroups } = kernel;
    let calls = if *openat2 {
        Finding::ok(
            "kernel",
            format!("Linux {release} has openat2, by which the gate stays within a container's files"),
        )
    } else {
        let text = format!(
            "Linux {release} has no openat2: a container whose /etc/group lies behind a symbolic link is refused"
        );
        Finding::warning("kernel", text, "upgrade to Linux 5.6 or newer")
    };
    let cgroups = match cgroups {
        Cgroups::V2 => Finding::ok("cgroups", "version 2; the gate needs none"),
        Cgroups::V1 => Finding::ok("cgroups", "version 1; the gate needs none"),
        Cgroups::None => Finding::warning(
            "cgroups",
            "none are mounted here, so this is not the node's own view",
            "run the command on the node, not in a container",
        ),
    };
    [calls, cgroups]
}

#[cfg(test)]
mod tests;
