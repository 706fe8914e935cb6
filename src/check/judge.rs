//! What the facts mean. Pure.

use std::path::Path;

use super::{
    facts::{Cgroups, Facts, Gate, Handler, Kernel, NodeConfig, Nri, OciRuntime, Plugin, Runtime},
    program::RUNC_VERSION,
    report::{self, Finding, Report},
};
use crate::{
    config::{DEFAULT_PATH, OldRuncExec},
    node_config::containerd::annotation_patterns,
    oci_runtime::GroupLookup,
    runtime_type::RuntimeType,
    version,
};

const STATIC_GATE: &str = "static-gate";

/// The first Kata Containers whose Go runtime runs the createRuntime hooks of a container, not only of the sandbox
/// (kata-containers pull request 9524). Its Rust runtime, up to 4.1 at least, does not.
const KATA_WITH_HOOKS: (u32, u32) = (3, 5);

/// Judges the node. `own` is our version, which the hooks should have as well.
#[must_use]
pub fn judge(facts: &Facts, own: &str) -> Report {
    let runtime = facts.runtime.as_ref().ok();
    let mut findings = vec![runtime_found(&facts.runtime)];
    if runtime.is_some_and(|runtime| runtime.native) {
        // Nothing of ours is needed; what is there is not in the way.
        findings.extend(facts.config.as_ref().err().map(|why| config_wrong(why)));
    } else {
        let crio = runtime.is_some_and(is_crio);
        // Under CRI-O the wrapper decides where no plugin does, unless it is told not to.
        let wrapper_decides = crio && facts.config.as_ref().is_ok_and(|config| config.wrapper_resolves);
        findings.push(softened(nri(&facts.nri, crio), wrapper_decides));
        findings.push(softened(plugin(&facts.plugin, runtime), wrapper_decides));
        findings.extend(handlers(&facts.handlers, &facts.oci_runtimes, crio));
        findings.extend(hooks(facts, own));
        findings.extend(facts.oci_runtimes.iter().map(|oci| oci_runtime(oci, facts.config.as_ref().ok())));
        findings.push(config(&facts.config, facts.handlers.as_deref().unwrap_or_default()));
        findings.extend(kernel(&facts.kernel));
    }
    let runtime =
        runtime.cloned().map(|Runtime { name, version, native }| report::Runtime { name, version, native });
    Report::new(runtime, findings)
}

fn is_crio(runtime: &Runtime) -> bool {
    runtime.name != "containerd"
}

/// A thing that is missed, where something else does its work.
fn softened(finding: Finding, soft: bool) -> Finding {
    match finding {
        Finding { state: report::State::Missing, text, .. } if soft => Finding {
            state: report::State::Warning,
            text: format!("{text}; the wrapper decides by the annotations and the configuration alone"),
            ..finding
        },
        same => same,
    }
}

/// The command that writes the runtime's side of the configuration.
fn configure(crio: bool) -> &'static str {
    if crio {
        "strict-groups config crio --write /etc/crio/crio.conf.d && systemctl restart crio"
    } else {
        "strict-groups config containerd --write /etc/containerd/conf.d && systemctl restart containerd"
    }
}

fn runtime_found(runtime: &Result<Runtime, String>) -> Finding {
    const CHECK: &str = "runtime";
    let Runtime { name, version, native } = match runtime {
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
    if version::of(version).is_some_and(|version| version < oldest) {
        return Finding::missing(CHECK, format!("{seen} is too old"), format!("upgrade to {what} or newer"));
    }
    Finding::ok(CHECK, format!("{seen} always merges groups, so it needs strict-groups"))
}

fn nri(nri: &Nri, crio: bool) -> Finding {
    const CHECK: &str = "nri";
    match nri {
        Nri::Reachable => Finding::ok(CHECK, "NRI is on, and its socket is root's alone"),
        Nri::Missing(path) => {
            let text = format!(
                "there is no {}: NRI is off, or the runtime has its socket elsewhere",
                path.display()
            );
            Finding::missing(CHECK, text, configure(crio))
        }
        Nri::Unusable(why) => Finding::missing(CHECK, why, configure(crio)),
    }
}

fn plugin(plugin: &Plugin, runtime: Option<&Runtime>) -> Finding {
    const CHECK: &str = "plugin";
    let log = "journalctl -u strict-groups";
    match plugin {
        Plugin::Registered(with) => match runtime {
            Some(Runtime { name, .. }) if with.split(' ').next() != Some(name) => {
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

fn handlers(
    handlers: &Result<Vec<Handler>, String>,
    oci_runtimes: &[OciRuntime],
    crio: bool,
) -> Vec<Finding> {
    let handlers = match handlers {
        Ok(handlers) if handlers.is_empty() => {
            return vec![Finding::missing(STATIC_GATE, "the runtime has no handler", configure(crio))];
        }
        Ok(handlers) => handlers,
        Err(why) => return vec![Finding::missing(STATIC_GATE, why, configure(crio))],
    };
    let mut found = Vec::new();
    for handler in handlers {
        let name = &handler.name;
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
            Gate::Installed { .. } if !handler.missing_annotations.is_empty() => outdated(handler, crio),
            Gate::Installed { .. } => installed(handler, oci_runtimes),
            Gate::None => {
                let text = format!(
                    "handler {name} has none: while the plugin is not running, Strict containers start merged"
                );
                Finding::missing(STATIC_GATE, text, configure(crio))
            }
            Gate::Unreadable(why) => {
                Finding::missing(STATIC_GATE, format!("handler {name}: {why}"), configure(crio))
            }
        });
        if crio {
            found.push(if handler.wrapped {
                Finding::ok("wrapper", format!("handler {name} runs {}", handler.program))
            } else {
                let text = format!(
                    "handler {name} runs {} and not strict-groups-runtime: Strict containers are refused",
                    handler.program
                );
                Finding::missing("wrapper", text, configure(crio))
            });
        }
    }
    found
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

fn outdated(handler: &Handler, crio: bool) -> Finding {
    let text = format!(
        "handler {} has it, and it is outdated: pod_annotations lacks {} of the {} patterns that it needs (the drop-in \
         is of an older strict-groups, or another file takes them back)",
        handler.name,
        handler.missing_annotations.len(),
        annotation_patterns().len()
    );
    Finding::missing(STATIC_GATE, text, configure(crio))
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
    let default = Path::new(DEFAULT_PATH);
    let other = handlers.iter().find_map(|handler| match &handler.gate {
        Gate::Installed { config, .. } => {
            Some(config.as_deref().unwrap_or(default)).filter(|read| read != path)
        }
        Gate::None | Gate::Unreadable(_) => None,
    });
    if let Some(other) = other {
        let text = format!("the static gate reads {}, and {} was looked at", other.display(), path.display());
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
