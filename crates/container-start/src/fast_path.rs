//! The command lines of every start of a container. They are told apart by hand: building clap's
//! command costs 0.3 ms, more than all the rest of a call.

use std::{
    ffi::{OsStr, OsString},
    path::Path,
};

use crate::{
    record::{self, Asked},
    wrapper,
};

/// A command line that needs no parser.
#[derive(Debug, PartialEq, Eq)]
pub enum FastPath<'a> {
    /// The OCI runtime wrapper, by its own name or as `runtime [--config FILE] --`.
    Runtime {
        /// The node's configuration, if not at its default place.
        config: Option<&'a Path>,
        /// The OCI runtime's own command line.
        args: &'a [OsString],
    },
    /// The same for a runtime handler of containerd, by the kernel: it runs `#!` files by the program they name.
    Handler {
        /// The handler's file.
        file: &'a Path,
        /// The OCI runtime's own command line.
        args: &'a [OsString],
    },
    /// The gate: the arguments after `hook`, as they are injected.
    Gate(Vec<&'a str>),
    /// What the wrapper asks containerd.
    Record(Asked<'a>),
}

/// What a whole command line, the program's name first, is; None: clap has to say.
#[must_use]
pub fn read(line: &[OsString]) -> Option<FastPath<'_>> {
    let (name, args) = line.split_first()?;
    // First: whatever our executable is called, the kernel runs it so for a handler's file.
    if let [command, file, args @ ..] = args
        && command == wrapper::HANDLER
    {
        return Some(FastPath::Handler { file: Path::new(file), args });
    }
    if Path::new(name).file_name() == Some(OsStr::new(wrapper::NAME)) {
        return Some(FastPath::Runtime { config: None, args });
    }
    let (command, rest) = args.split_first()?;
    match command.to_str()? {
        "hook" => gate(rest),
        "runtime" => wrapper(rest),
        record::COMMAND => Asked::read(rest).map(FastPath::Record),
        _ => None,
    }
}

fn gate(args: &[OsString]) -> Option<FastPath<'_>> {
    // What is no Unicode is none of ours.
    let args: Vec<&str> = args.iter().map(|argument| argument.to_str()).collect::<Option<_>>()?;
    args.first()?.starts_with("--gate=").then_some(FastPath::Gate(args))
}

fn wrapper(args: &[OsString]) -> Option<FastPath<'_>> {
    match args {
        [end, args @ ..] if end == "--" => Some(FastPath::Runtime { config: None, args }),
        [option, file, end, args @ ..] if option == "--config" && end == "--" && is_value(file) => {
            Some(FastPath::Runtime { config: Some(Path::new(file)), args })
        }
        _ => None,
    }
}

/// Whether clap would take it for an option's value: it may be an option, or a mistake.
fn is_value(argument: &OsStr) -> bool {
    !argument.is_empty() && !argument.as_encoded_bytes().starts_with(b"-")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(text: &str) -> Vec<OsString> {
        text.split(' ').map(OsString::from).collect()
    }

    fn config_and_args(text: &str) -> (Option<String>, String) {
        match read(&line(text)) {
            Some(FastPath::Runtime { config, args }) => (
                config.map(|path| path.display().to_string()),
                args.join(OsStr::new(" ")).into_string().unwrap(),
            ),
            other => panic!("{text}: {other:?}"),
        }
    }

    #[test]
    fn wrapper_by_its_name() {
        let by_name = config_and_args("/opt/strict-groups/bin/strict-groups-runtime --root /run state x");
        assert_eq!(by_name, (None, "--root /run state x".into()));
        assert_eq!(config_and_args("strict-groups-runtime hook --gate=v1"), (None, "hook --gate=v1".into()));
    }

    #[test]
    fn wrapper_as_a_command() {
        assert_eq!(config_and_args("strict-groups runtime -- state x"), (None, "state x".into()));
        let configured = config_and_args("strict-groups runtime --config /a.toml -- exec -- x");
        assert_eq!(configured, (Some("/a.toml".into()), "exec -- x".into()));
    }

    #[test]
    fn file_of_a_handler_with_the_command_line_behind_it() {
        let line = line("/usr/bin/strict-groups handler /etc/containerd/conf.d/x --root /run create --help");
        let Some(FastPath::Handler { file, args }) = read(&line) else { panic!("{:?}", read(&line)) };
        assert_eq!((file, args.len()), (Path::new("/etc/containerd/conf.d/x"), 4));
    }

    #[test]
    fn question_to_containerd() {
        let line = line("strict-groups containerd-record /run/x.sock abc io.x");
        let asked = Asked { socket: Path::new("/run/x.sock"), id: "abc", extension: "io.x" };
        assert_eq!(read(&line), Some(FastPath::Record(asked)));
    }

    #[test]
    fn a_gate() {
        let expected = Some(FastPath::Gate(vec!["--gate=v1", "--container=a"]));
        assert_eq!(read(&line("strict-groups hook --gate=v1 --container=a")), expected);
    }

    #[test]
    fn everything_else_is_left_to_clap() {
        for text in [
            "strict-groups",
            "strict-groups plugin",
            "strict-groups hook",
            "strict-groups hook --help",
            "strict-groups runtime",
            "strict-groups runtime state",
            "strict-groups runtime --config -- state",
            "strict-groups runtime --config  -- state",
            "strict-groups runtime --config --help -- state",
            "strict-groups runtime --help -- state",
            "strict-groups handler",
            "strict-groups containerd-record /run/x.sock",
            "strict-groups --log-level debug runtime -- state",
            "plugin strict-groups-runtime",
        ] {
            assert_eq!(read(&line(text)), None, "{text}");
        }
        assert_eq!(read(&[]), None);
    }
}
