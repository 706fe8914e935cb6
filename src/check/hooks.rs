//! The static gate in a JSON file: containerd's base spec, or CRI-O's file for a hook.

use serde_json::Value;

use super::facts::Gate;
use container_start::static_gate::StaticGate;
use strict_groups_core::engine::Engine;

/// The static gate for `runtime` among the createRuntime hooks of a spec.
pub(super) fn in_spec(spec: &str, runtime: Engine) -> Gate {
    let Ok(spec) = serde_json::from_str::<Value>(spec) else {
        return Gate::Unreadable("it is no JSON".to_owned());
    };
    let hooks = spec.pointer("/hooks/createRuntime").and_then(Value::as_array);
    let gate = hooks.into_iter().flatten().find_map(|hook| gate(hook, runtime));
    gate.unwrap_or(Gate::None)
}

/// The static gate for `runtime` in a file of a `hooks_dir`; None: another hook.
pub(super) fn in_hook_file(file: &str, runtime: Engine) -> Option<Gate> {
    let file: Value = serde_json::from_str(file).ok()?;
    let stage = file.get("stages")?.as_array()?.iter().any(|stage| stage == "createRuntime");
    let always = file.pointer("/when/always")?.as_bool()?;
    (stage && always).then(|| gate(file.get("hook")?, runtime)).flatten()
}

fn gate(hook: &Value, runtime: Engine) -> Option<Gate> {
    let args = hook.get("args")?.as_array()?;
    let args: Vec<&str> = args.iter().map(Value::as_str).collect::<Option<_>>()?;
    let gate = StaticGate::parse(&args).ok()??;
    let path = hook.get("path")?.as_str()?;
    (gate.runtime == runtime).then(|| Gate::Installed { hook: path.into(), config: gate.config })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::configure::{Hook, crio};

    fn hook(runtime: Engine) -> Hook {
        let gate = StaticGate { runtime, config: Some("/etc/sg.toml".into()) };
        Hook { path: "/usr/bin/strict-groups".into(), gate }
    }

    fn installed() -> Gate {
        Gate::Installed { hook: "/usr/bin/strict-groups".into(), config: Some("/etc/sg.toml".into()) }
    }

    #[test]
    fn gate_of_the_runtime_is_found_among_others() {
        let spec = |runtime| {
            let own = serde_json::json!({ "path": "/bin/true" });
            serde_json::json!({ "hooks": { "createRuntime": [own, hook(runtime).to_json()] } }).to_string()
        };
        assert_eq!(in_spec(&spec(Engine::Containerd), Engine::Containerd), installed());
        assert_eq!(in_spec(&spec(Engine::CriO), Engine::Containerd), Gate::None);
        assert_eq!(in_spec("{}", Engine::Containerd), Gate::None);
        assert!(matches!(in_spec("{", Engine::Containerd), Gate::Unreadable(_)));
    }

    #[test]
    fn file_that_we_write_has_it() {
        let file = crio::hook_file(&hook(Engine::CriO)).content;
        assert_eq!(in_hook_file(&file, Engine::CriO), Some(installed()));
        assert_eq!(in_hook_file(&file.replace("true", "false"), Engine::CriO), None);
        assert_eq!(in_hook_file(&file.replace("\"createRuntime\"", "\"poststop\""), Engine::CriO), None);
        assert_eq!(in_hook_file("", Engine::CriO), None);
    }
}
