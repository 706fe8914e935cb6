//! The base spec: what containerd starts from for every container of a handler
//! (`base_runtime_spec`), with the static gate among its hooks.
//!
//! Without a base spec, containerd starts from its own default spec and takes the security settings
//! out of that before it applies those of the pod. With one it takes out nothing. So three settings of
//! the default have to go here, else they would suddenly hold for every container (a limit of 1024
//! open files, for one).

use serde_json::{Map, Value};
use thiserror::Error;

use super::{Hook, seal};
use container_start::static_gate::StaticGate;

/// The member that says whose file it is. Readers of a spec pass over what they do not know.
const OURS: &str = "x-strict-groups";

/// Why a base spec cannot be made.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum BaseSpecError {
    /// The text is not one JSON object.
    #[error("it is no JSON object")]
    NotJson,
    /// A part has another type than the OCI runtime spec says.
    #[error("{field} in it is not what the OCI runtime spec wants")]
    BadValue {
        /// The part's path.
        field: &'static str,
    },
}

/// containerd's own default, as `ctr oci spec` prints it, with `hook`. A container made from it is
/// the same as one made without a base spec, except for the hook.
///
/// # Errors
/// When `default` is not a spec.
pub fn from_default(default: &str, hook: &Hook) -> Result<String, BaseSpecError> {
    let mut spec = parse(default)?;
    let process = object(&mut spec, "process")?;
    process.remove("rlimits");
    process.remove("apparmorProfile");
    object(&mut spec, "linux")?.remove("seccomp");
    with_hook(spec, hook)
}

/// The operator's own base spec with `hook`, and otherwise as it is.
///
/// # Errors
/// When `own` is not a spec.
pub fn from_own(own: &str, hook: &Hook) -> Result<String, BaseSpecError> {
    with_hook(parse(own)?, hook)
}

fn parse(text: &str) -> Result<Map<String, Value>, BaseSpecError> {
    serde_json::from_str(text).map_err(|_| BaseSpecError::NotJson)
}

/// A member that is an object; made when it is not there.
fn object<'a>(
    parent: &'a mut Map<String, Value>,
    field: &'static str,
) -> Result<&'a mut Map<String, Value>, BaseSpecError> {
    let value = parent.entry(field).or_insert(Value::Null);
    if value.is_null() {
        *value = Map::new().into();
    }
    value.as_object_mut().ok_or(BaseSpecError::BadValue { field })
}

fn with_hook(mut spec: Map<String, Value>, hook: &Hook) -> Result<String, BaseSpecError> {
    let list = object(&mut spec, "hooks")?.entry("createRuntime").or_insert(Value::Null);
    if list.is_null() {
        *list = Value::Array(Vec::new());
    }
    let list = list.as_array_mut().ok_or(BaseSpecError::BadValue { field: "hooks.createRuntime" })?;
    list.retain(|hook| !is_static_gate(hook));
    // First: what it refuses shall not have run the hooks of others.
    list.insert(0, hook.to_json());
    spec.insert(OURS.to_owned(), format!("by strict-groups config, do not edit; {}", seal::OPEN).into());
    Ok(seal::seal(&format!("{:#}\n", Value::Object(spec))))
}

fn is_static_gate(hook: &Value) -> bool {
    let args: Vec<&str> =
        hook.get("args").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).collect();
    !matches!(StaticGate::parse(&args), Ok(None))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use strict_groups_core::engine::Engine;

    fn hook() -> Hook {
        let gate = StaticGate { runtime: Engine::Containerd, config: None };
        Hook { path: "/usr/local/bin/strict-groups".into(), gate }
    }

    fn value(text: &str) -> Value {
        assert_eq!(seal::owner(text), seal::Owner::Ours);
        let mut value: Value = serde_json::from_str(text).unwrap();
        assert!(value.as_object_mut().unwrap().remove(OURS).is_some());
        value
    }

    #[test]
    fn default_loses_what_containerd_takes_out_of_it() {
        let default = json!({
            "process": {"cwd": "/", "rlimits": [{"type": "RLIMIT_NOFILE"}], "apparmorProfile": "x"},
            "linux": {"seccomp": {}, "maskedPaths": ["/proc/kcore"]},
            "number": u64::MAX,
        });
        let spec = value(&from_default(&default.to_string(), &hook()).unwrap());
        assert_eq!(
            spec,
            json!({
                "process": {"cwd": "/"},
                "linux": {"maskedPaths": ["/proc/kcore"]},
                "number": u64::MAX,
                "hooks": {"createRuntime": [hook().to_json()]},
            })
        );
    }

    #[test]
    fn own_one_keeps_everything() {
        let own = json!({
            "process": {"rlimits": [{"type": "RLIMIT_NOFILE"}]},
            "hooks": {"createRuntime": [{"path": "/bin/true"}], "prestart": []},
        });
        let spec = value(&from_own(&own.to_string(), &hook()).unwrap());
        assert_eq!(spec["process"], own["process"]);
        assert_eq!(
            spec["hooks"],
            json!({"createRuntime": [hook().to_json(), {"path": "/bin/true"}], "prestart": []})
        );
    }

    #[test]
    fn second_time_changes_nothing() {
        let first = from_own("{}", &hook()).unwrap();
        assert_eq!(from_own(&first, &hook()).unwrap(), first);
    }

    #[test]
    fn what_is_no_spec_is_an_error() {
        for text in ["", "[]", "{", "null"] {
            assert_eq!(from_own(text, &hook()), Err(BaseSpecError::NotJson));
        }
        for (text, field) in [
            (r#"{"process":7}"#, "process"),
            (r#"{"linux":[]}"#, "linux"),
            (r#"{"hooks":"x"}"#, "hooks"),
            (r#"{"hooks":{"createRuntime":{}}}"#, "hooks.createRuntime"),
        ] {
            assert_eq!(from_default(text, &hook()), Err(BaseSpecError::BadValue { field }));
        }
    }
}
