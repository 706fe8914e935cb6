//! The hook for CRI-O: a file for its `hooks_dir` (containers/common, "OCI Hooks Configuration",
//! version 1.0.0). CRI-O reads the folder while it runs, so a file takes effect at once.

use serde_json::json;

use crate::configure::{File, Hook, seal};

/// The file's name in the hooks folder.
pub const FILE: &str = "strict-groups.json";

/// The file that makes CRI-O give every container this hook.
#[must_use]
pub fn hook_file(hook: &Hook) -> File {
    let content = json!({
        "x-strict-groups": format!("by strict-groups config, do not edit; {}", seal::OPEN),
        "version": "1.0.0",
        "hook": hook.to_json(),
        "when": { "always": true },
        "stages": ["createRuntime"],
    });
    File::new(FILE, seal::seal(&format!("{content:#}\n")))
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use container_start::static_gate::StaticGate;
    use strict_groups_core::engine::Engine;

    #[test]
    fn hook_runs_for_every_container() {
        let gate = StaticGate { runtime: Engine::CriO, config: Some("/etc/sg.toml".into()) };
        let file = hook_file(&Hook { path: "/usr/bin/strict-groups".into(), gate });
        assert_eq!((file.name.as_str(), seal::owner(&file.content)), (FILE, seal::Owner::Ours));
        let value: Value = serde_json::from_str(&file.content).unwrap();
        assert_eq!(value["version"], "1.0.0");
        assert_eq!(value["when"], json!({"always": true}));
        assert_eq!(value["stages"], json!(["createRuntime"]));
        assert_eq!(
            value["hook"],
            json!({
                "path": "/usr/bin/strict-groups",
                "args": ["strict-groups", "hook", "--gate=static", "--runtime=cri-o", "--config=/etc/sg.toml"],
            })
        );
    }
}
