//! The drop-in for CRI-O's `crio.conf.d`.

use std::path::Path;

use toml::{Table, Value};

use super::Settings;
use crate::configure::{File, seal};

/// The drop-in's name: read last, since what it repeats of the others is as they have it.
pub const NAME: &str = "99-strict-groups.conf";

/// What CRI-O 1.26 to 1.30 gives its default handler when no file has a table for it.
const DEFAULT_HANDLER: &str = r#"
runtime_type = "oci"
runtime_root = "/run/runc"
allowed_annotations = ["io.containers.trace-syscall"]
monitor_cgroup = "system.slice"
monitor_env = ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"]
"#;

/// What the drop-in is made from.
pub struct Input<'a> {
    /// CRI-O's own configuration, without the drop-in.
    pub settings: &'a Settings,
    /// The wrapper, as CRI-O finds it.
    pub wrapper: &'a Path,
    /// The folder of the static gate's file.
    pub hooks: &'a Path,
    /// Whether a handler's `runtime_path` (empty: the handler's name, looked up) is the runtime that the
    /// wrapper becomes.
    pub is_real: &'a dyn Fn(&str, &str) -> bool,
}

/// The drop-in and what is to be said about it.
#[derive(Debug, PartialEq, Eq)]
pub struct Plan {
    /// The drop-in.
    pub file: File,
    /// The handlers that run through the wrapper from now on.
    pub wrapped: Vec<String>,
    /// The handlers that are left as they are. Their Strict containers are refused by the static gate,
    /// where they run hooks at all.
    pub left: Vec<String>,
    /// Whether the default handler was in no file, so that CRI-O's own defaults were written down.
    pub assumed: bool,
}

/// Makes the drop-in.
#[must_use]
pub fn drop_in(input: &Input<'_>) -> Plan {
    let mut handlers = input.settings.handlers.clone();
    let default = &input.settings.default_runtime;
    let assumed = !handlers.contains_key(default);
    if assumed {
        handlers.insert(default.clone(), toml::from_str(DEFAULT_HANDLER).unwrap_or_default());
    }
    let (mut wrapped, mut left) = (Vec::new(), Vec::new());
    let mut runtimes = Table::new();
    for (name, mut handler) in handlers {
        let text = |key| handler.get(key).and_then(Value::as_str).unwrap_or_default();
        // Handlers of type "vm" speak another protocol (the containerd shim's).
        let oci = matches!(text("runtime_type"), "" | "oci" | "pod");
        let path = text("runtime_path");
        if oci && (Path::new(path) == input.wrapper || (input.is_real)(&name, path)) {
            handler.insert("runtime_path".to_owned(), Value::from(input.wrapper.to_string_lossy().as_ref()));
            // It names other runtimes for other platforms, past the wrapper.
            handler.remove("platform_runtime_paths");
            runtimes.insert(name.clone(), Value::Table(handler));
            wrapped.push(name);
        } else {
            left.push(name);
        }
    }
    let mut hooks = input.settings.hooks.clone();
    let folder = input.hooks.to_string_lossy();
    if hooks.iter().all(|path| *path != folder) {
        hooks.push(folder.into_owned());
    }
    let runtime = table([("hooks_dir", Value::from(hooks)), ("runtimes", Value::Table(runtimes))]);
    let nri = table([("enable_nri", Value::from(true))]);
    let content = table([(
        "crio",
        Value::Table(table([("nri", Value::Table(nri)), ("runtime", Value::Table(runtime))])),
    )]);
    let content = format!(
        "# by strict-groups config, do not edit; {}\n\
         # The handlers stand here whole: CRI-O takes a table from the last file that has it.\n\n{content}",
        seal::OPEN
    );
    Plan { file: File::new(NAME, seal::seal(&content)), wrapped, left, assumed }
}

fn table<const N: usize>(entries: [(&str, Value); N]) -> Table {
    entries.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const WRAPPER: &str = "/usr/bin/strict-groups-runtime";

    fn plan(text: &str) -> (Plan, Table) {
        let settings = Settings::read([(Path::new("crio.conf"), text)]).unwrap();
        let input = Input {
            settings: &settings,
            wrapper: Path::new(WRAPPER),
            hooks: Path::new("/etc/containers/oci/hooks.d"),
            is_real: &|name, path| path == "/usr/bin/runc" || (path.is_empty() && name == "runc"),
        };
        let plan = drop_in(&input);
        assert_eq!((plan.file.name.as_str(), seal::owner(&plan.file.content)), (NAME, seal::Owner::Ours));
        let table = toml::from_str(&plan.file.content).unwrap();
        (plan, table)
    }

    #[test]
    fn every_field_of_a_handler_is_repeated() {
        let fields = "runtime_root = \"/run/x\"\nmonitor_path = \"/usr/bin/conmon\"\nprivileged_without_host_devices = true\nallowed_annotations = [\"a\"]\n";
        let (plan, table) =
            plan(&format!("[crio.runtime.runtimes.runc]\nruntime_path = \"/usr/bin/runc\"\n{fields}"));
        let mut expected: Table = toml::from_str(fields).unwrap();
        expected.insert("runtime_path".into(), WRAPPER.into());
        assert_eq!(table["crio"]["runtime"]["runtimes"]["runc"].as_table(), Some(&expected));
        assert_eq!(table["crio"]["nri"]["enable_nri"].as_bool(), Some(true));
        assert_eq!((plan.wrapped, plan.left, plan.assumed), (vec!["runc".to_owned()], vec![], false));
    }

    #[test]
    fn default_handler_that_no_file_has_is_written_down() {
        let (plan, table) = plan("");
        assert!(plan.assumed);
        let runc = &table["crio"]["runtime"]["runtimes"]["runc"];
        assert_eq!(runc["runtime_path"].as_str(), Some(WRAPPER));
        assert_eq!(runc["runtime_root"].as_str(), Some("/run/runc"));
    }

    #[test]
    fn hooks_are_looked_for_where_they_were_and_in_our_folder() {
        let (_, table) = plan("[crio.runtime]\nhooks_dir = [\"/x\"]\n");
        let hooks: Vec<_> = table["crio"]["runtime"]["hooks_dir"]
            .as_array()
            .unwrap()
            .iter()
            .map(|v| v.as_str().unwrap())
            .collect();
        assert_eq!(hooks, ["/x", "/etc/containers/oci/hooks.d"]);
        let (_, table) = self::plan("[crio.runtime]\nhooks_dir = [\"/etc/containers/oci/hooks.d\"]\n");
        assert_eq!(table["crio"]["runtime"]["hooks_dir"].as_array().unwrap().len(), 1);
    }

    #[test]
    fn another_runtime_is_left_as_it_is() {
        let (plan, table) = plan(
            "[crio.runtime]\ndefault_runtime = \"runc\"\n[crio.runtime.runtimes.runc]\nruntime_path = \"\"\n\
             [crio.runtime.runtimes.kata]\nruntime_path = \"/usr/bin/runc\"\nruntime_type = \"vm\"\n\
             [crio.runtime.runtimes.crun]\nruntime_path = \"/usr/bin/crun\"\n",
        );
        assert_eq!(plan.left, ["crun", "kata"]);
        assert_eq!(plan.wrapped, ["runc"]);
        assert_eq!(table["crio"]["runtime"]["runtimes"].as_table().unwrap().len(), 1);
    }

    #[test]
    fn handler_that_is_wrapped_already_stays_so() {
        let (plan, table) = plan(&format!(
            "[crio.runtime.runtimes.runc]\nruntime_path = \"{WRAPPER}\"\n[crio.runtime.runtimes.runc.platform_runtime_paths]\n\"linux/arm64\" = \"/x\"\n"
        ));
        assert_eq!(plan.wrapped, ["runc"]);
        let runc = table["crio"]["runtime"]["runtimes"]["runc"].as_table().unwrap();
        assert_eq!(runc.keys().collect::<Vec<_>>(), ["runtime_path"]);
    }
}
