//! CRI-O's handlers and hooks, by its files. A running CRI-O reports its configuration (`GET /config`), and is not asked yet:
//! a file that was written after its start looks as if it were in effect.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use toml::Value;

use super::{
    facts::{Gate, Handler, Wrapper},
    file, hooks,
};
use crate::configure::crio::Settings;
use container_start::wrapper;
use strict_groups_core::{engine::Engine, runtime_type::RuntimeType};

/// CRI-O's main file and its folder of drop-ins.
const MAIN: &str = "/etc/crio/crio.conf";
const DROP_INS: &str = "/etc/crio/crio.conf.d";

/// The handlers, as CRI-O's files have them.
///
/// # Errors
/// A file that cannot be read or is not understood; why.
pub(super) fn handlers() -> Result<Vec<Handler>, String> {
    let mut paths = vec![PathBuf::from(MAIN)];
    paths.extend(files(Path::new(DROP_INS))?);
    let mut texts = Vec::new();
    for path in paths {
        match file::read(&path) {
            Ok(text) => texts.push((path, text)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(format!("cannot read {}: {error}", path.display())),
        }
    }
    let settings = Settings::read(texts.iter().map(|(path, text)| (path.as_path(), text.as_str())))
        .map_err(|error| error.to_string())?;
    let mut gate = Gate::None;
    for folder in &settings.hooks {
        // CRI-O reads no others there.
        for path in files(Path::new(folder))?
            .into_iter()
            .filter(|path| path.extension().is_some_and(|end| end == "json"))
        {
            if let Some(found) =
                file::read(&path).ok().and_then(|text| hooks::in_hook_file(&text, Engine::CriO))
            {
                gate = found;
            }
        }
    }
    Ok(with_gate(&settings, &gate))
}

fn wrapper(program: &str) -> Wrapper {
    let path = PathBuf::from(program);
    if path.file_name().is_some_and(|name| name == wrapper::NAME) {
        Wrapper::Installed { path, hook: None, config: None }
    } else {
        Wrapper::None
    }
}

/// The handlers of `settings`. All of them have the hooks of the folders.
fn with_gate(settings: &Settings, gate: &Gate) -> Vec<Handler> {
    let mut handlers: Vec<Handler> = settings
        .handlers
        .iter()
        .map(|(name, table)| {
            let text = |key| table.get(key).and_then(Value::as_str).unwrap_or_default();
            let kind = text("runtime_type");
            let path = text("runtime_path");
            let program = if path.is_empty() { name } else { path };
            Handler {
                name: name.clone(),
                default: *name == settings.default_runtime,
                kind: if kind == "vm" { RuntimeType::Other } else { RuntimeType::Runc },
                without_hooks: (kind == "vm").then(|| kind.to_owned()),
                gate: gate.clone(),
                missing_annotations: Vec::new(),
                program: program.to_owned(),
                takes_binary_name: kind != "vm",
                wrapper: wrapper(program),
            }
        })
        .collect();
    if !settings.handlers.contains_key(&settings.default_runtime) {
        let name = settings.default_runtime.clone();
        handlers.push(Handler {
            program: name.clone(),
            name,
            default: true,
            kind: RuntimeType::Runc,
            without_hooks: None,
            gate: gate.clone(),
            missing_annotations: Vec::new(),
            takes_binary_name: true,
            wrapper: Wrapper::None,
        });
    }
    handlers
}

/// The files of a folder in the order of their names; none where there is no folder.
fn files(folder: &Path) -> Result<Vec<PathBuf>, String> {
    let entries: io::Result<Vec<PathBuf>> = match fs::read_dir(folder) {
        Ok(entries) => entries.map(|entry| entry.map(|entry| entry.path())).collect(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error),
    };
    let mut paths = entries.map_err(|error| format!("cannot read {}: {error}", folder.display()))?;
    paths.retain(|path| path.is_file());
    paths.sort();
    Ok(paths)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn look(text: &str) -> Vec<(String, bool, Option<String>)> {
        let settings = Settings::read([(Path::new("crio.conf"), text)]).unwrap();
        let handlers = with_gate(&settings, &Gate::None).into_iter();
        handlers
            .map(|handler| (handler.program, handler.wrapper.is_installed(), handler.without_hooks))
            .collect()
    }

    #[test]
    fn wrapper_is_known_by_its_name() {
        let text = "[crio.runtime.runtimes.runc]\nruntime_path = \"/usr/bin/strict-groups-runtime\"\n\
                    [crio.runtime.runtimes.vm]\nruntime_type = \"vm\"\nruntime_path = \"/usr/bin/kata\"\n";
        assert_eq!(
            look(text),
            [
                ("/usr/bin/strict-groups-runtime".to_owned(), true, None),
                ("/usr/bin/kata".to_owned(), false, Some("vm".to_owned())),
            ]
        );
    }

    #[test]
    fn default_handler_in_no_file_is_not_wrapped() {
        assert_eq!(look(""), [("runc".to_owned(), false, None)]);
    }

    #[test]
    fn only_plain_files_are_read() {
        let dir = tempfile::tempdir().unwrap();
        assert!(file::read(dir.path()).is_err());
        assert_eq!(file::read(&dir.path().join("x")).unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}
