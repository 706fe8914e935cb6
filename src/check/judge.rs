//! What the facts mean. Pure.

use super::{
    facts::{Cgroups, Facts, Gate, Handler, Kernel, NodeConfig, Nri, Plugin, Runtime},
    report::{self, Finding, Report},
};

mod version;

/// What the OCI runtime's first process and exec need; runc before it looks groups up by their names.
const RUNC_WITHOUT_NAMES: (u32, u32) = (1, 3);

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
        findings.extend(handlers(&facts.handlers, crio));
        findings.extend(hooks(facts, own));
        findings.extend(facts.oci_runtimes.iter().map(|oci| oci_runtime(&oci.program, &oci.version)));
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

fn handlers(handlers: &Result<Vec<Handler>, String>, crio: bool) -> Vec<Finding> {
    const CHECK: &str = "static-gate";
    let handlers = match handlers {
        Ok(handlers) if handlers.is_empty() => {
            return vec![Finding::missing(CHECK, "the runtime has no handler", configure(crio))];
        }
        Ok(handlers) => handlers,
        Err(why) => return vec![Finding::missing(CHECK, why, configure(crio))],
    };
    let mut found = Vec::new();
    for handler in handlers {
        let name = &handler.name;
        if let Some(kind) = &handler.without_hooks {
            let text = format!("handler {name} ({kind}) runs no OCI hooks: its containers have no gate");
            if handler.default {
                let text = format!("{text}, and pods without a RuntimeClass get it");
                let mend = "make a handler that runs OCI hooks (runc, crun) the runtime's default";
                found.push(Finding::missing(CHECK, text, mend));
                continue;
            }
            found.push(Finding::warning(
                CHECK,
                text,
                format!("let no pod that has to be Strict use the RuntimeClass of {name}"),
            ));
            continue;
        }
        found.push(match &handler.gate {
            Gate::Installed { .. } if handler.annotations => {
                Finding::ok(CHECK, format!("handler {name} has it"))
            }
            Gate::Installed { .. } => {
                let text = format!(
                    "handler {name} has it, but pod_annotations does not let our annotations through"
                );
                Finding::missing(CHECK, text, configure(crio))
            }
            Gate::None => {
                let text = format!(
                    "handler {name} has none: while the plugin is away, Strict containers start merged"
                );
                Finding::missing(CHECK, text, configure(crio))
            }
            Gate::Unreadable(why) => {
                Finding::missing(CHECK, format!("handler {name}: {why}"), configure(crio))
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

fn oci_runtime(program: &str, said: &Result<String, String>) -> Finding {
    const CHECK: &str = "oci-runtime";
    match said {
        Ok(line) => match line.strip_prefix("runc version ").and_then(version::of) {
            Some(version) if version < RUNC_WITHOUT_NAMES => {
                let text = format!(
                    "{program}: {line} looks groups up by name, in an exec also in a file that the container may have changed (SECURITY.md, \"Known gap\")"
                );
                Finding::warning(CHECK, text, "upgrade to runc 1.3 or use crun")
            }
            _ => Finding::ok(CHECK, format!("{program}: {line}")),
        },
        Err(why) => Finding::warning(
            CHECK,
            format!("{program}: {why}"),
            "install the OCI runtime that the handler names",
        ),
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
    let default = std::path::Path::new(crate::config::DEFAULT_PATH);
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
