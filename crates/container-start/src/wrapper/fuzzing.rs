//! The bodies of the fuzz targets `argv` and `runtime_state`.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a failed assertion is the result")]

use std::{
    ffi::{OsStr, OsString},
    os::unix::ffi::OsStrExt,
    path::Path,
};

use super::{
    argv::{self, Action},
    state::Running,
};

/// An action is only taken for one whose word is there, and whatever is found in a command line is a part of it.
///
/// The arguments stand with a NUL byte between them.
pub fn argv(data: &[u8]) {
    let args: Vec<OsString> =
        data.split(|byte| *byte == 0).map(|arg| OsStr::from_bytes(arg).to_owned()).collect();
    let call = argv::read(&args);
    let word = |word: &str| assert!(args.iter().any(|arg| arg == word), "no {word}: {args:?}");
    let part = |part: &OsStr| {
        let ends = |arg: &OsString| arg.as_bytes().ends_with(part.as_bytes());
        assert!(args.iter().any(ends), "{} is not in {args:?}", part.display());
    };
    let path = |path: Option<&Path>| path.map(Path::as_os_str).into_iter().for_each(part);
    path(call.root);
    path(call.log);
    call.log_format.into_iter().for_each(part);
    assert!(args.starts_with(call.global));
    match &call.action {
        Action::Create(create) | Action::Run(create) | Action::Restore(create) => {
            word(match &call.action {
                Action::Create(_) => "create",
                Action::Run(_) => "run",
                _ => "restore",
            });
            // Empty where it is no text.
            part(OsStr::new(create.id));
            path(create.bundle);
            path(create.config);
        }
        Action::Start(start) => {
            word("start");
            start.ids.iter().copied().chain(start.unknown).for_each(part);
        }
        Action::Exec(exec) => {
            word("exec");
            exec.ids.iter().copied().chain(exec.unknown).for_each(part);
            path(Some(exec.process));
        }
        Action::Other => {}
    }
    assert_eq!(super::is_restore(&args), matches!(call.action, Action::Restore(_)));
}

/// The bundle is what another reader finds, or the last label that is one; a process has a number above 0.
pub fn state(data: &[u8]) {
    let Some(running) = Running::parse(data) else { return };
    assert!(running.pid != Some(0) && running.spec == running.bundle);
    let Ok(seen) = serde_json::from_slice::<serde_json::Value>(data) else { return };
    let labels = seen["config"]["labels"].as_array();
    let label = labels.into_iter().flatten().rev().find_map(|label| label.as_str()?.strip_prefix("bundle="));
    let bundle = seen["bundle"].as_str().or(label).unwrap();
    assert_eq!(running.bundle, Path::new(bundle));
}
