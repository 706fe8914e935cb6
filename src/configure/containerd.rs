//! The drop-in for containerd, made from the configuration that containerd has.
//!
//! containerd 1.7 replaces the whole table of a plugin by that of an imported file. So the drop-in
//! repeats the tables that it changes in full, as `containerd config dump` shows them.

use std::collections::BTreeMap;

use thiserror::Error;
use toml::{Table, Value};

use super::{
    File, Hook, base_spec,
    base_spec::BaseSpecError,
    seal,
    wrapper::{self, WrapperFileError},
};
use container_start::static_gate::CONFIG_SOURCE;
use strict_groups_core::policy::ANNOTATION;
use strict_groups_core::runtime_type::{self, RuntimeType};
use strict_groups_core::text;

/// The drop-in's name.
pub const DROP_IN: &str = "strict-groups.toml";
/// How the names of the base specs begin; they end in `.json`.
pub const BASE_SPEC: &str = "strict-groups-base-spec";

const NRI: &str = "io.containerd.nri.v1.nri";
/// The option of runc's shim that names the OCI runtime (containerd, `core/runtime/v2/runc/options`).
const BINARY_NAME: &str = "BinaryName";
/// The sandbox controller that makes a bundle for each sandbox.
pub(crate) const OWN_SANDBOXES: &str = "podsandbox";

/// Why there is no drop-in for this configuration.
#[derive(Debug, Error)]
pub enum PlanError {
    /// The dump is not TOML.
    #[error("what `containerd config dump` prints is not understood")]
    NotToml(#[source] Box<toml::de::Error>),
    /// A version of the configuration that is not known.
    #[error("containerd's configuration has version {version}; versions 2 to 4 are known")]
    Version {
        /// The version, as it stands.
        version: String,
    },
    /// A table that every containerd with Kubernetes has.
    #[error("containerd's configuration has no table plugins.\"{plugin}\"; is the plugin disabled?")]
    NoPlugin {
        /// The plugin's id.
        plugin: &'static str,
    },
    /// containerd 1.6, or NRI was built out of it.
    #[error(
        "this containerd has no NRI that the plugin knows (containerd 1.7.16 and newer have), so the OCI runtime wrapper is \
         the way: run the command with --wrapper"
    )]
    NoNri,
    /// There is nothing that could be protected.
    #[error("no runtime handler in containerd's configuration can be protected in this way")]
    NoHandler,
    /// A handler cannot have the wrapper.
    #[error(transparent)]
    Wrapper(#[from] WrapperFileError),
    /// The name of a handler that gets a file of its own cannot be part of the file's name.
    #[error("the runtime handler {} cannot be named in a file's name", text::quoted(.name, 64))]
    HandlerName {
        /// The handler.
        name: String,
    },
    /// A key has another type than containerd's.
    #[error("{key} of the runtime handler {handler} is not what containerd wants")]
    BadValue {
        /// The key.
        key: &'static str,
        /// The handler.
        handler: String,
    },
    /// A handler's own base spec cannot be used.
    #[error("the base_runtime_spec {path} of the runtime handler {handler} cannot be used: {source}")]
    OwnSpec {
        /// The file.
        path: String,
        /// The handler.
        handler: String,
        /// What is wrong.
        source: OwnSpecError,
    },
    /// The default spec is none.
    #[error("what `ctr oci spec` prints cannot be used: {0}")]
    DefaultSpec(#[source] BaseSpecError),
    /// The tables cannot be written as TOML.
    #[error("the drop-in cannot be written")]
    Write(#[source] Box<toml::ser::Error>),
}

/// Why a handler's own base spec cannot be used.
#[derive(Debug, Error)]
pub enum OwnSpecError {
    /// It cannot be read.
    #[error(transparent)]
    Read(#[from] std::io::Error),
    /// It is not a spec.
    #[error(transparent)]
    Spec(#[from] BaseSpecError),
    /// It is one of our files: the dump still shows an older drop-in of ours.
    #[error(
        "it was written by strict-groups, and whose configuration it came from is not known; take the files away \
         with --remove, then write them again"
    )]
    Ours,
}

/// By which of the two ways Strict is enforced on the node. At least one of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ways {
    /// The NRI plugin and the static gate.
    pub nri: bool,
    /// The wrapper as the OCI runtime of each handler.
    pub wrapper: bool,
}

/// What a drop-in is made from.
#[derive(Debug, Clone, Copy)]
pub struct Input<'a> {
    /// What `containerd config dump` prints, without an earlier drop-in of ours.
    pub dump: &'a str,
    /// The versions of containerd's main file and of those that it imports. containerd translates
    /// older ones than the dump's, but no longer does so beside an imported file of the newer
    /// version: then all plugins are repeated.
    pub versions: &'a [i64],
    /// What `ctr oci spec` prints.
    pub default_spec: &'a str,
    /// The static gate.
    pub hook: &'a Hook,
    /// The folder of the files, absolute.
    pub folder: &'a str,
    /// What the files are for.
    pub ways: Ways,
}

/// What a handler has of ours.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Covered {
    /// The path of its base spec, which has the static gate.
    pub base_spec: Option<String>,
    /// The path of its OCI runtime, which is the wrapper.
    pub wrapper: Option<String>,
}

/// The files to write, and what they do not reach.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// The base specs and wrappers, then the drop-in.
    pub files: Vec<File>,
    /// Each handler that has something of ours.
    pub covered: BTreeMap<String, Covered>,
    /// Of these, the handlers of Kata Containers that have the static gate, which not every version of it runs.
    pub kata: Vec<String>,
    /// The handlers of which it is not known that they run OCI hooks, with their runtime type.
    pub uncovered: BTreeMap<String, String>,
    /// The handlers whose shim runs no OCI runtime of our choice, with their runtime type.
    pub unwrapped: BTreeMap<String, String>,
}

impl Plan {
    /// The drop-in.
    #[must_use]
    pub fn drop_in(&self) -> &str {
        self.files.iter().find(|file| file.name == DROP_IN).map_or("", |file| &file.content)
    }
}

/// Makes the drop-in and its base specs. `read` gives the text of a handler's own base spec.
///
/// # Errors
/// Whenever the files would not be right.
pub fn plan(input: &Input<'_>, read: impl Fn(&str) -> std::io::Result<String>) -> Result<Plan, PlanError> {
    let mut dump: Table = toml::from_str(input.dump).map_err(|error| PlanError::NotToml(Box::new(error)))?;
    let (version, cri) = version(&dump)?;
    let mut plugins = match dump.remove("plugins") {
        Some(Value::Table(plugins)) => plugins,
        _ => Table::new(),
    };
    if input.ways.nri {
        plugin(&mut plugins, NRI).map_err(|_| PlanError::NoNri)?.insert("disable".to_owned(), false.into());
    }

    let mut plan = Plan {
        files: Vec::new(),
        covered: BTreeMap::new(),
        kata: Vec::new(),
        uncovered: BTreeMap::new(),
        unwrapped: BTreeMap::new(),
    };
    for (name, handler) in handlers(plugin(&mut plugins, cri)?) {
        let kind = handler.get("runtime_type").and_then(Value::as_str).unwrap_or_default();
        let foreign = foreign_sandboxes(handler);
        let shown = match &foreign {
            Some(controller) => format!("{kind}, whose sandboxes the {controller} makes"),
            None => kind.to_owned(),
        };
        let mut covered = Covered::default();
        if input.ways.nri && foreign.is_none() && RuntimeType::of(kind).runs_hooks() {
            if RuntimeType::of(kind) == RuntimeType::Kata {
                plan.kata.push(name.clone());
            }
            covered.base_spec = Some(spec_for(&mut plan, input, &name, handler, &read)?);
        } else if input.ways.nri {
            plan.uncovered.insert(name.clone(), shown.clone());
        }
        let shim = handler.get("runtime_path").and_then(Value::as_str).unwrap_or_default().to_owned();
        if input.ways.wrapper && foreign.is_none() && runtime_type::takes_binary_name(kind, &shim) {
            covered.wrapper = Some(wrapper_for(&mut plan, input, &name, handler)?);
        } else if input.ways.wrapper {
            plan.unwrapped.insert(name.clone(), shown);
        }
        if covered != Covered::default() {
            cover(&name, handler, &covered)?;
            plan.covered.insert(name, covered);
        }
    }
    if plan.covered.is_empty() {
        return Err(PlanError::NoHandler);
    }

    if input.versions.iter().all(|known| *known == version) {
        plugins.retain(|name, _| name == cri || (name == NRI && input.ways.nri));
    }
    let mut content = Table::new();
    content.insert("version".to_owned(), version.into());
    content.insert("plugins".to_owned(), plugins.into());
    let content = toml::to_string(&content).map_err(|error| PlanError::Write(Box::new(error)))?;
    let content = format!(
        "# By strict-groups config containerd; do not edit, write it again. {}\n\
         # It repeats whole tables of containerd's configuration and hides them: after a change there,\n\
         # or a new version of containerd, write it again.\n{content}",
        seal::OPEN
    );
    plan.files.push(File::new(DROP_IN, seal::seal(&content)));
    Ok(plan)
}

/// What of a plan containerd does not see, going by a dump with the drop-in in its place: `NRI`, and
/// the names of handlers. Empty when all of it is in effect.
///
/// # Errors
/// When the dump is not understood.
pub fn not_in_effect(dump: &str, plan: &Plan) -> Result<Vec<String>, PlanError> {
    let mut dump: Table = toml::from_str(dump).map_err(|error| PlanError::NotToml(Box::new(error)))?;
    let (_, cri) = version(&dump)?;
    let mut missing = plan.covered.clone();
    let needs_nri = plan.covered.values().any(|covered| covered.base_spec.is_some());
    let mut nri_off = needs_nri;
    if let Some(Value::Table(plugins)) = dump.get_mut("plugins") {
        if needs_nri {
            nri_off = plugin(plugins, NRI)?.get("disable").and_then(Value::as_bool) != Some(false);
        }
        for (name, handler) in handlers(plugin(plugins, cri)?) {
            let spec = handler.get("base_runtime_spec").and_then(Value::as_str);
            let binary = handler.get("options").and_then(|options| options.get(BINARY_NAME)?.as_str());
            let is_in_effect = |covered: &Covered| {
                covered.base_spec.as_deref().is_none_or(|ours| spec == Some(ours))
                    && covered.wrapper.as_deref().is_none_or(|ours| binary == Some(ours))
            };
            let in_effect = missing.get(&name).is_some_and(is_in_effect);
            let annotations = handler.get("pod_annotations").and_then(Value::as_array);
            let has = |pattern: &String| {
                annotations.into_iter().flatten().any(|known| known.as_str() == Some(pattern))
            };
            if in_effect && annotation_patterns().iter().all(has) {
                missing.remove(&name);
            }
        }
    }
    Ok(nri_off.then(|| "NRI".to_owned()).into_iter().chain(missing.into_keys()).collect())
}

fn version(dump: &Table) -> Result<(i64, &'static str), PlanError> {
    match dump.get("version").and_then(Value::as_integer) {
        Some(version @ 2) => Ok((version, "io.containerd.grpc.v1.cri")),
        // 4 is that of containerd 2.4, with the same tables.
        Some(version @ (3 | 4)) => Ok((version, "io.containerd.cri.v1.runtime")),
        _ => Err(PlanError::Version {
            version: dump.get("version").map_or_else(|| "1".to_owned(), ToString::to_string),
        }),
    }
}

fn plugin<'a>(plugins: &'a mut Table, plugin: &'static str) -> Result<&'a mut Table, PlanError> {
    plugins.get_mut(plugin).and_then(Value::as_table_mut).ok_or(PlanError::NoPlugin { plugin })
}

/// Who makes the handler's sandboxes, if that is not containerd's own podsandbox controller. The static gate reads a pod's
/// annotations in the bundle that the latter makes; without one it would know no pod's policy.
fn foreign_sandboxes(handler: &Table) -> Option<String> {
    // The key of containerd 2.x, and that of 1.7.
    let named = ["sandboxer", "sandbox_mode"].into_iter().find_map(|key| handler.get(key)?.as_str());
    named.filter(|name| !matches!(*name, "" | OWN_SANDBOXES)).map(str::to_owned)
}

/// The tables of the runtime handlers, with their names. Version 2 has two places for one more,
/// which are empty as long as nobody uses them.
fn handlers(cri: &mut Table) -> Vec<(String, &mut Table)> {
    let Some(Value::Table(containerd)) = cri.get_mut("containerd") else { return Vec::new() };
    let mut found = Vec::new();
    for (name, value) in containerd {
        let Value::Table(table) = value else { continue };
        match name.as_str() {
            "runtimes" => {
                let named =
                    table.iter_mut().filter_map(|(name, value)| Some((name.clone(), value.as_table_mut()?)));
                found.extend(named);
            }
            "default_runtime" | "untrusted_workload_runtime"
                if table.get("runtime_type").and_then(Value::as_str).is_some_and(|kind| !kind.is_empty()) =>
            {
                found.push((name.clone(), table));
            }
            _ => {}
        }
    }
    found
}

/// The path of the base spec of a handler, after it was added to the plan's files.
fn spec_for(
    plan: &mut Plan,
    input: &Input<'_>,
    name: &str,
    handler: &Table,
    read: impl Fn(&str) -> std::io::Result<String>,
) -> Result<String, PlanError> {
    let own = match handler.get("base_runtime_spec") {
        None => "",
        Some(Value::String(path)) => path.as_str(),
        Some(_) => return Err(PlanError::BadValue { key: "base_runtime_spec", handler: name.to_owned() }),
    };
    let (file, content) = if own.is_empty() {
        let content =
            base_spec::from_default(input.default_spec, input.hook).map_err(PlanError::DefaultSpec)?;
        (format!("{BASE_SPEC}.json"), content)
    } else {
        check_name(name)?;
        let content = own_spec(own, input.hook, read).map_err(|source| PlanError::OwnSpec {
            path: own.to_owned(),
            handler: name.to_owned(),
            source,
        })?;
        (format!("{BASE_SPEC}-{name}.json"), content)
    };
    let path = path_of(input, &file);
    if plan.files.iter().all(|known| known.name != file) {
        plan.files.push(File::new(file, content));
    }
    Ok(path)
}

/// The path of the wrapper of a handler, after it was added to the plan's files.
fn wrapper_for(plan: &mut Plan, input: &Input<'_>, name: &str, handler: &Table) -> Result<String, PlanError> {
    check_name(name)?;
    let own = match handler.get("options").and_then(|options| options.get(BINARY_NAME)) {
        None => "",
        Some(Value::String(path)) => path.as_str(),
        Some(_) => return Err(PlanError::BadValue { key: BINARY_NAME, handler: name.to_owned() }),
    };
    let file = wrapper::file(name, own, &input.hook.path, input.hook.gate.config.as_deref())?;
    let path = path_of(input, &file.name);
    plan.files.push(file);
    Ok(path)
}

fn path_of(input: &Input<'_>, file: &str) -> String {
    format!("{}/{file}", input.folder.trim_end_matches('/'))
}

fn check_name(name: &str) -> Result<(), PlanError> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if name.is_empty() || !name.chars().all(is_plain) {
        return Err(PlanError::HandlerName { name: name.to_owned() });
    }
    Ok(())
}

fn own_spec(
    path: &str,
    hook: &Hook,
    read: impl Fn(&str) -> std::io::Result<String>,
) -> Result<String, OwnSpecError> {
    let own = read(path)?;
    if seal::owner(&own) == seal::Owner::Other {
        Ok(base_spec::from_own(&own, hook)?)
    } else {
        Err(OwnSpecError::Ours)
    }
}

/// Gives a handler what is ours, and lets the pod's annotations for us into config.json.
fn cover(name: &str, handler: &mut Table, covered: &Covered) -> Result<(), PlanError> {
    if let Some(spec) = &covered.base_spec {
        handler.insert("base_runtime_spec".to_owned(), spec.as_str().into());
    }
    if let Some(wrapper) = &covered.wrapper {
        let options = handler.entry("options").or_insert_with(|| Value::Table(Table::new()));
        let Value::Table(options) = options else {
            return Err(PlanError::BadValue { key: "options", handler: name.to_owned() });
        };
        options.insert(BINARY_NAME.to_owned(), wrapper.as_str().into());
    }
    let annotations = handler.entry("pod_annotations").or_insert_with(|| Value::Array(Vec::new()));
    let Value::Array(patterns) = annotations else {
        return Err(PlanError::BadValue { key: "pod_annotations", handler: name.to_owned() });
    };
    for pattern in annotation_patterns() {
        if !patterns.iter().any(|known| known.as_str() == Some(&pattern)) {
            patterns.push(pattern.into());
        }
    }
    Ok(())
}

/// What has to be in `pod_annotations`: our keys in any case, so that one in the wrong case is refused instead of being
/// lost, and [`CONFIG_SOURCE`]. The patterns are those of Go's path.Match, whose `*` stops at a slash.
pub(crate) fn annotation_patterns() -> [String; 3] {
    let ours = in_any_case(ANNOTATION);
    [ours.clone(), format!("{ours}/*"), CONFIG_SOURCE.to_owned()]
}

/// A pattern for `key` in upper and lower case: `[aA][bB]`. No character of a key is special to path.Match.
fn in_any_case(key: &str) -> String {
    let mut pattern = String::with_capacity(key.len() * 4);
    for c in key.chars() {
        if c.is_ascii_alphabetic() {
            pattern.extend(['[', c.to_ascii_lowercase(), c.to_ascii_uppercase(), ']']);
        } else {
            pattern.push(c);
        }
    }
    pattern
}

#[cfg(test)]
mod tests;
