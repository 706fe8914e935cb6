//! containerd's handlers, as the running containerd says it has them: what it was started with, not what its
//! files say by now.

use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
};

use serde::Deserialize;

use super::{
    facts::{Gate, Handler, Wrapper},
    hooks,
};
use crate::configure::{
    containerd::{OWN_SANDBOXES, annotation_patterns},
    wrapper,
};
use container_start::wrapper::{Handler as WrapperFile, NAME, is_file_name};
use strict_groups_core::{
    engine::Engine,
    runtime_type::{self, RuntimeType, takes_binary_name},
};

/// What the shims run for a handler that names no program.
const RUNC: &str = "runc";
const RUNSC: &str = "runsc";

/// The CRI plugin's configuration in the verbose part of its status.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Config {
    containerd: Containerd,
    /// The plugin's own folder, in that of containerd's state.
    #[serde(default)]
    state_dir: PathBuf,
}

/// The folder of containerd's state by `config`, JSON. None: it does not say.
pub(super) fn state(config: &str) -> Option<PathBuf> {
    let Config { state_dir, .. } = serde_json::from_str(config).ok()?;
    state_dir.is_absolute().then(|| state_dir.parent().map(Path::to_owned))?
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Containerd {
    #[serde(default)]
    default_runtime_name: String,
    #[serde(default)]
    runtimes: Option<BTreeMap<String, Table>>,
    #[serde(default)]
    default_runtime: Option<Table>,
    #[serde(default)]
    untrusted_workload_runtime: Option<Table>,
}

/// A handler's table. containerd writes `null` for what is empty.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Table {
    #[serde(default)]
    runtime_type: String,
    /// The shim's program; else it is found by the runtime type.
    #[serde(default)]
    runtime_path: String,
    #[serde(default, rename = "PodAnnotations", alias = "podAnnotations")]
    annotations: Option<Vec<String>>,
    #[serde(default)]
    base_runtime_spec: String,
    #[serde(default)]
    options: Option<serde_json::Map<String, serde_json::Value>>,
    /// Who makes the sandboxes; containerd 1.7 has another name for it.
    #[serde(default, alias = "sandboxMode")]
    sandboxer: String,
}

/// The handlers in `config`, JSON. `read` gives the text of a base spec, `program` that of a program, if it can be
/// run; else why not.
///
/// # Errors
/// The configuration is not understood; why.
pub(super) fn handlers(
    config: &str,
    read: impl Fn(&str) -> io::Result<String>,
    program: impl Fn(&Path) -> Result<String, String>,
) -> Result<Vec<Handler>, String> {
    let Config { containerd, .. } = serde_json::from_str(config)
        .map_err(|error| format!("the configuration in containerd's status is not understood: {error}"))?;
    let Containerd { default_runtime_name, runtimes, default_runtime, untrusted_workload_runtime } =
        containerd;
    let more =
        [("default_runtime", default_runtime), ("untrusted_workload_runtime", untrusted_workload_runtime)];
    let more = more.into_iter().filter_map(|(name, table)| Some((name.to_owned(), table?)));
    let handlers = runtimes.unwrap_or_default().into_iter().chain(more);
    // The last two are there also when nobody uses them.
    Ok(handlers
        .filter(|(_, table)| !table.runtime_type.is_empty())
        .map(|(name, table)| handler(name == default_runtime_name, name, table, &read, &program))
        .collect())
}

fn handler(
    default: bool,
    name: String,
    table: Table,
    read: impl Fn(&str) -> io::Result<String>,
    program_text: impl Fn(&Path) -> Result<String, String>,
) -> Handler {
    let Table { runtime_type, runtime_path, annotations, base_runtime_spec: spec, options, sandboxer } =
        table;
    let gate = match spec.as_str() {
        "" => Gate::None,
        path => match read(path) {
            Ok(text) => match hooks::in_spec(&text, Engine::Containerd) {
                Gate::Unreadable(why) => Gate::Unreadable(format!("{path}: {why}")),
                known => known,
            },
            Err(error) => Gate::Unreadable(format!("{path}: {error}")),
        },
    };
    let annotations = annotations.unwrap_or_default();
    let kind = RuntimeType::of(&runtime_type);
    let takes_binary_name = takes_binary_name(&runtime_type, &runtime_path);
    let option = |name| options.as_ref().and_then(|options| options.get(name)).and_then(|name| name.as_str());
    let binary = option("BinaryName").filter(|name| !name.is_empty());
    let (wrapper, behind) = match binary.filter(|_| kind == RuntimeType::Runc) {
        Some(path) => wrapper_at(path, program_text),
        None => (Wrapper::None, None),
    };
    let program = match (kind, binary) {
        _ if let Some(own) = behind => own,
        (RuntimeType::Runc | RuntimeType::Gvisor, Some(name)) => name.to_owned(),
        (RuntimeType::Runc | RuntimeType::Other, _) => RUNC.to_owned(),
        (RuntimeType::Gvisor, None) => RUNSC.to_owned(),
        (RuntimeType::Kata, _) if runtime_path.is_empty() => runtime_type::shim(&runtime_type),
        (RuntimeType::Kata, _) => runtime_path,
    };
    // The static gate reads the pod's annotations in the sandbox's bundle.
    let without_hooks = match &*sandboxer {
        "" | OWN_SANDBOXES => (!kind.runs_hooks()).then_some(runtime_type),
        foreign => Some(format!("{runtime_type}, whose sandboxes the {foreign} makes")),
    };
    Handler {
        name,
        default,
        kind,
        without_hooks,
        gate,
        takes_binary_name,
        missing_annotations: annotation_patterns()
            .into_iter()
            .filter(|pattern| !annotations.contains(pattern))
            .collect(),
        program,
        wrapper,
    }
}

/// The wrapper that a `BinaryName` is, and the OCI runtime behind it where the file names one.
fn wrapper_at(binary: &str, text: impl Fn(&Path) -> Result<String, String>) -> (Wrapper, Option<String>) {
    let path = PathBuf::from(binary);
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let by_hand = name == NAME;
    if !by_hand && !is_file_name(&name) {
        return (Wrapper::None, None);
    }
    let text = match text(&path) {
        Ok(text) => text,
        Err(why) => return (Wrapper::Unusable(format!("{binary}: {why}")), None),
    };
    if by_hand {
        return (Wrapper::Installed { path, hook: None, config: None }, None);
    }
    match (wrapper::program(&text), WrapperFile::parse(&text)) {
        (Some(hook), Some(handler)) => {
            let (hook, config) = (Some(hook.to_owned()), handler.config().map(PathBuf::from));
            (Wrapper::Installed { path, hook, config }, Some(handler.path().to_string_lossy().into_owned()))
        }
        _ => (Wrapper::Unusable(format!("{binary} was not written by strict-groups, or was edited")), None),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn look(config: &serde_json::Value) -> Vec<Handler> {
        let spec = r#"{"hooks": {"createRuntime": [{"path": "/sg", "args": ["strict-groups", "hook", "--gate=static", "--runtime=containerd"]}]}}"#;
        let read = |path: &str| match path {
            "/ours.json" => Ok(spec.to_owned()),
            "/other.json" => Ok("{}".to_owned()),
            _ => Err(io::ErrorKind::NotFound.into()),
        };
        let program = |path: &Path| match path.to_str().unwrap() {
            "/opt/strict-groups-runtime" => Ok(String::new()),
            "/strict-groups-runtime-crun" => Ok("#!/sg handler\npath = \"/usr/bin/crun\"\n".to_owned()),
            "/strict-groups-runtime-edited" => Ok("#!/sg handler\npath = 7\n".to_owned()),
            _ => Err("No such file".to_owned()),
        };
        handlers(&config.to_string(), read, program).unwrap()
    }

    #[test]
    fn what_a_handler_has_and_lacks() {
        let [bare_key, below, source] = annotation_patterns();
        let found = look(
            &json!({ "containerd": { "defaultRuntimeName": "kata", "defaultRuntime": { "runtimeType": "" }, "runtimes": {
            "bare": { "runtimeType": "io.containerd.runc.v2", "PodAnnotations": null, "options": null },
            "crun": { "runtimeType": "io.containerd.runc.v2", "baseRuntimeSpec": "/other.json", "options": { "BinaryName": "/usr/bin/crun" } },
            "gone": { "runtimeType": "io.containerd.runc.v2", "baseRuntimeSpec": "/gone.json" },
            "gvisor": { "runtimeType": "io.containerd.runsc.v1", "runtimePath": "", "options": { "TypeUrl": "x" } },
            "kata": { "runtimeType": "io.containerd.kata-qemu.v2" },
            "older": { "runtimeType": "io.containerd.runc.v2", "PodAnnotations": [bare_key, below] },
            "runc": { "runtimeType": "io.containerd.runc.v2", "PodAnnotations": [below, "x", source, bare_key], "baseRuntimeSpec": "/ours.json" },
            "shim": { "runtimeType": "io.containerd.runc.v2", "sandboxer": "shim" },
            "shim-1.7": { "runtimeType": "io.containerd.runc.v2", "sandboxMode": "shim" },
            "wasm": { "runtimeType": "io.containerd.spin.v2", "sandboxer": "podsandbox" },
        } } }),
        );
        let [bare, crun, gone, gvisor, kata, older, runc, shim, old_shim, wasm] =
            <[Handler; 10]>::try_from(found).unwrap();
        assert_eq!((bare.gate, bare.missing_annotations.len()), (Gate::None, 3));
        assert_eq!((bare.program.as_str(), bare.kind), ("runc", RuntimeType::Runc));
        assert_eq!((crun.gate, crun.program), (Gate::None, "/usr/bin/crun".to_owned()));
        assert!(matches!(gone.gate, Gate::Unreadable(why) if why.contains("/gone.json")));
        assert_eq!((gvisor.program.as_str(), gvisor.kind), ("runsc", RuntimeType::Gvisor));
        assert_eq!((kata.program.as_str(), kata.kind), ("containerd-shim-kata-qemu-v2", RuntimeType::Kata));
        assert!(gvisor.without_hooks.is_none() && kata.without_hooks.is_none());
        assert_eq!(wasm.without_hooks.as_deref(), Some("io.containerd.spin.v2"));
        for handler in [shim, old_shim] {
            assert!(
                handler.without_hooks.is_some_and(|why| why.contains("the shim makes")),
                "no bundle of the sandbox"
            );
        }
        assert_eq!(older.missing_annotations, ["kubernetes.io/config.source"]);
        assert!(kata.default && !runc.default);
        assert_eq!(runc.gate, Gate::Installed { hook: "/sg".into(), config: None });
        assert!(runc.missing_annotations.is_empty() && runc.without_hooks.is_none());
    }

    #[test]
    fn wrapper_is_found_by_the_binary_name() {
        let handler = |binary: &str| {
            let table =
                json!({ "runtimeType": "io.containerd.runc.v2", "options": { "BinaryName": binary } });
            look(&json!({ "containerd": { "runtimes": { "x": table } } })).remove(0)
        };
        let crun = handler("/strict-groups-runtime-crun");
        let path = "/strict-groups-runtime-crun".into();
        assert_eq!(crun.wrapper, Wrapper::Installed { path, hook: Some("/sg".into()), config: None });
        assert_eq!(crun.program, "/usr/bin/crun");
        assert!(handler("/opt/strict-groups-runtime").wrapper.is_installed(), "by hand");
        for broken in
            ["/strict-groups-runtime-edited", "/strict-groups-runtime-gone", "/gone/strict-groups-runtime"]
        {
            assert!(matches!(handler(broken).wrapper, Wrapper::Unusable(why) if why.contains(broken)));
        }
        assert_eq!(handler("/usr/bin/crun").wrapper, Wrapper::None);
    }

    #[test]
    fn what_is_not_understood_is_said() {
        for text in ["", "{}", "{\"containerd\": 7}"] {
            let (empty, none) = (|_: &str| Ok(String::new()), |_: &Path| Ok(String::new()));
            assert!(handlers(text, empty, none).unwrap_err().contains("not understood"), "{text}");
        }
        assert_eq!(look(&json!({ "containerd": { "runtimes": null } })), []);
    }
}
