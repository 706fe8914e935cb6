//! `hooks.createRuntime` of a spec, and the gates in it.

use serde_json::value::RawValue;

use super::{HOOKS, SpecError, json, object};
use crate::gate::{Gate, State};
use crate::json::Object;
use crate::merge_marker;
use crate::static_gate::StaticGate;

const CREATE_RUNTIME: &str = "createRuntime";
const ARGS: &str = "args";
const LIST: &str = "hooks.createRuntime";

/// The createRuntime hooks of a spec, and the object to change them in.
pub(super) struct Hooks<'a> {
    hooks: Option<Object<'a>>,
    list: Vec<Hook<'a>>,
}

struct Hook<'a> {
    raw: &'a str,
    members: Object<'a>,
    gate: Option<Gate>,
    mark: bool,
}

impl<'a> Hooks<'a> {
    pub(super) fn read(root: &Object<'a>) -> Result<Self, SpecError> {
        let Some(raw) = root.get(HOOKS)? else {
            return Ok(Self { hooks: None, list: Vec::new() });
        };
        let hooks = object(HOOKS, raw)?;
        hooks.distinct()?;
        let list: Vec<&RawValue> = match hooks.get(CREATE_RUNTIME)? {
            Some(raw) => serde_json::from_str(raw).map_err(|_| SpecError::BadValue { field: LIST })?,
            None => Vec::new(),
        };
        let list = list.into_iter().map(|raw| Hook::read(raw.get())).collect::<Result<_, _>>()?;
        Ok(Self { hooks: Some(hooks), list })
    }

    /// The node's own gate among the hooks.
    pub(super) fn static_gate(&self) -> Result<Option<StaticGate>, SpecError> {
        let gates = self.list.iter().map(Hook::static_gate);
        Ok(gates.collect::<Result<Vec<_>, _>>()?.into_iter().flatten().next())
    }

    /// Our gates among the hooks.
    pub(super) fn gates(&self) -> impl Iterator<Item = &Gate> {
        self.list.iter().filter_map(|hook| hook.gate.as_ref())
    }

    /// Whether the plugin's mark is among the hooks.
    pub(super) fn has_marker(&self) -> bool {
        self.list.iter().any(|hook| hook.mark)
    }

    /// The text of `hooks` with one more createRuntime hook at the end, which runs `path`.
    pub(super) fn with_one_more(&self, path: &str, args: &[String]) -> String {
        let args = json::array(args.iter().map(|arg| json::string(arg)));
        let hook = format!(r#"{{"path":{},"args":{args}}}"#, json::string(path));
        let list = json::array(self.list.iter().map(|hook| hook.raw).chain([hook.as_str()]));
        match &self.hooks {
            Some(hooks) => hooks.with(&[(CREATE_RUNTIME, &list)]),
            None => format!(r#"{{"{CREATE_RUNTIME}":{list}}}"#),
        }
    }

    /// The text of `hooks` after each gate got the state that `change` gives; None when it gives
    /// none for any of them. Only the arguments of a changed gate are written anew.
    pub(super) fn rewrite(&self, change: impl Fn(&Gate) -> Option<State>) -> Option<String> {
        let mut changed = false;
        let list = json::array(self.list.iter().map(|hook| {
            let state = hook.gate.as_ref().and_then(|gate| Some((gate, change(gate)?)));
            let Some((gate, state)) = state else { return hook.raw.to_owned() };
            changed = true;
            let args = Gate { state, ..gate.clone() }.args();
            hook.members.with(&[(ARGS, &json::array(args.iter().map(|arg| json::string(arg))))])
        }));
        let hooks = self.hooks.as_ref().filter(|_| changed)?;
        Some(hooks.with(&[(CREATE_RUNTIME, &list)]))
    }
}

impl<'a> Hook<'a> {
    fn read(raw: &'a str) -> Result<Self, SpecError> {
        let members = object(LIST, raw)?;
        members.distinct()?;
        let args = args(&members)?;
        let (gate, mark) = (Gate::parse(&args)?, merge_marker::is_marker(&args));
        Ok(Self { raw, members, gate, mark })
    }

    /// None also for one that is not understood: its own process refuses.
    fn static_gate(&self) -> Result<Option<StaticGate>, SpecError> {
        Ok(StaticGate::parse(&args(&self.members)?).ok().flatten())
    }
}

fn args(hook: &Object<'_>) -> Result<Vec<String>, SpecError> {
    match hook.get(ARGS)? {
        Some(args) => serde_json::from_str(args)
            .map_err(|_| SpecError::BadValue { field: "args of hooks.createRuntime" }),
        None => Ok(Vec::new()),
    }
}
