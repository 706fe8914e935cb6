//! `hooks.createRuntime` of a spec, each hook as its arguments (OCI runtime-spec, "POSIX-platform Hooks").

use serde_json::value::RawValue;

use super::{HOOKS, OciError, object};
use crate::json::{self, Object};

const CREATE_RUNTIME: &str = "createRuntime";
const ARGS: &str = "args";
const LIST: &str = "hooks.createRuntime";

/// The createRuntime hooks of a spec, and the object to change them in.
pub struct Hooks<'a> {
    hooks: Option<Object<'a>>,
    list: Vec<Hook<'a>>,
}

struct Hook<'a> {
    raw: &'a str,
    members: Object<'a>,
    args: Vec<String>,
}

impl<'a> Hooks<'a> {
    /// The hooks of a config.json.
    ///
    /// # Errors
    /// They are not what the OCI runtime specification says, or ambiguous.
    pub fn read(root: &Object<'a>) -> Result<Self, OciError> {
        let Some(raw) = root.get(HOOKS)? else {
            return Ok(Self { hooks: None, list: Vec::new() });
        };
        let hooks = object(HOOKS, raw)?;
        hooks.distinct()?;
        let list: Vec<&RawValue> = match hooks.get(CREATE_RUNTIME)? {
            Some(raw) => serde_json::from_str(raw).map_err(|_| OciError::BadValue { field: LIST })?,
            None => Vec::new(),
        };
        let list = list.into_iter().map(|raw| Hook::read(raw.get())).collect::<Result<_, _>>()?;
        Ok(Self { hooks: Some(hooks), list })
    }

    /// The arguments of each hook, in the order they stand.
    pub fn args(&self) -> impl Iterator<Item = &[String]> {
        self.list.iter().map(|hook| hook.args.as_slice())
    }

    /// The text of `hooks` with one more createRuntime hook at the end, which runs `path`.
    #[must_use]
    pub fn with_one_more(&self, path: &str, args: &[String]) -> String {
        let args = json::array(args.iter().map(|arg| json::string(arg)));
        let hook = format!(r#"{{"path":{},"args":{args}}}"#, json::string(path));
        let list = json::array(self.list.iter().map(|hook| hook.raw).chain([hook.as_str()]));
        match &self.hooks {
            Some(hooks) => hooks.with(&[(CREATE_RUNTIME, &list)]),
            None => format!(r#"{{"{CREATE_RUNTIME}":{list}}}"#),
        }
    }

    /// The text of `hooks` with other arguments for those hooks for which `new`, in their order, has some; None when it has
    /// none. All else of a hook stays.
    #[must_use]
    pub fn rewrite(&self, new: &[Option<Vec<String>>]) -> Option<String> {
        let hooks = self.hooks.as_ref().filter(|_| new.iter().any(Option::is_some))?;
        let list = json::array(self.list.iter().zip(new).map(|(hook, new)| match new {
            Some(args) => {
                let args = json::array(args.iter().map(|arg| json::string(arg)));
                hook.members.with(&[(ARGS, &args)])
            }
            None => hook.raw.to_owned(),
        }));
        Some(hooks.with(&[(CREATE_RUNTIME, &list)]))
    }
}

impl<'a> Hook<'a> {
    fn read(raw: &'a str) -> Result<Self, OciError> {
        let members = object(LIST, raw)?;
        members.distinct()?;
        let args = args(&members)?;
        Ok(Self { raw, members, args })
    }
}

fn args(hook: &Object<'_>) -> Result<Vec<String>, OciError> {
    match hook.get(ARGS)? {
        Some(args) => serde_json::from_str(args)
            .map_err(|_| OciError::BadValue { field: "args of hooks.createRuntime" }),
        None => Ok(Vec::new()),
    }
}
