//! What an OCI runtime was asked to do, as far as it matters here.
//!
//! runc (Go) and crun (C) read their command lines differently: `-bundle X`, `--bundle=X`, `-bX` and
//! `--bund X` each are legal with one of them. All of these are understood, since who calls
//! was written for the underlying OCI runtime. Nothing is checked: wrong usage is the underlying OCI runtime's to tell.

use std::{
    ffi::{OsStr, OsString},
    os::unix::ffi::OsStrExt,
    path::Path,
};

/// The command line of an OCI runtime.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Call<'a> {
    /// `--root`: where the underlying OCI runtime keeps its containers' state.
    pub(super) root: Option<&'a Path>,
    /// `--log`: where it writes its errors to.
    pub(super) log: Option<&'a Path>,
    /// `--log-format`: `text` where it is missing, or `json`.
    pub(super) log_format: Option<&'a OsStr>,
    /// The arguments before the subcommand.
    pub(super) global: &'a [OsString],
    pub(super) action: Action<'a>,
}

/// The subcommand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Action<'a> {
    /// `create`: a container comes from a bundle, and waits for `start`.
    Create(Create<'a>),
    /// `run`: it comes from a bundle and starts at once.
    Run(Create<'a>),
    /// `restore`: it comes from a bundle and a checkpoint, and runs at once.
    Restore(Create<'a>),
    /// `start`: the process that `create` made runs the image's program.
    Start(Start<'a>),
    /// `exec` with a process file.
    Exec(Exec<'a>),
    /// Anything else.
    Other,
}

/// A container that is to be made.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Create<'a> {
    /// The container's id; empty where there is none.
    pub(super) id: &'a str,
    /// `--bundle`; none: the working directory.
    pub(super) bundle: Option<&'a Path>,
    /// crun's `--config`: the spec's path.
    pub(super) config: Option<&'a Path>,
}

/// A container that is to start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Start<'a> {
    /// The container's id, as [`Exec::ids`].
    pub(super) ids: Vec<&'a OsStr>,
    /// An option that is not known.
    pub(super) unknown: Option<&'a OsStr>,
}

/// A process that is to run in a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Exec<'a> {
    /// The container's id. More than one: behind an option that is not known stands either its value
    /// or the id. crun takes bytes that are no text.
    pub(super) ids: Vec<&'a OsStr>,
    /// `--process`
    pub(super) process: &'a Path,
    /// An option that is not known.
    pub(super) unknown: Option<&'a OsStr>,
}

/// One option of a command line: its long name, its letter, whether a value follows.
#[derive(Clone, Copy)]
struct Known {
    long: &'static str,
    short: Option<u8>,
    value: bool,
}

const fn with_value(long: &'static str) -> Known {
    Known { long, short: None, value: true }
}

const fn switch(long: &'static str) -> Known {
    Known { long, short: None, value: false }
}

const fn short(short: u8, known: Known) -> Known {
    Known { short: Some(short), ..known }
}

const GLOBAL: &[Known] = &[
    with_value("root"),
    with_value("log"),
    with_value("log-format"),
    with_value("log-level"),
    with_value("criu"),
    with_value("rootless"),
    with_value("cgroup-manager"),
    switch("debug"),
    switch("systemd-cgroup"),
    short(b'h', switch("help")),
    short(b'v', switch("version")),
];

const CREATE: &[Known] = &[
    short(b'b', with_value("bundle")),
    short(b'f', with_value("config")),
    with_value("console-socket"),
    with_value("pidfd-socket"),
    with_value("pid-file"),
    with_value("preserve-fds"),
    with_value("image-path"),
    with_value("work-path"),
    with_value("parent-path"),
    with_value("manage-cgroups-mode"),
    with_value("empty-ns"),
    with_value("lsm-profile"),
    with_value("lsm-mount-context"),
    short(b'd', switch("detach")),
    switch("no-subreaper"),
    switch("no-pivot"),
    switch("no-new-keyring"),
    switch("keep"),
];

const START: &[Known] = &[short(b'h', switch("help"))];

const EXEC: &[Known] = &[
    short(b'p', with_value("process")),
    short(b'e', with_value("env")),
    short(b'u', with_value("user")),
    short(b'g', with_value("additional-gids")),
    short(b'c', with_value("cap")),
    with_value("console-socket"),
    with_value("pidfd-socket"),
    with_value("pid-file"),
    with_value("preserve-fds"),
    with_value("process-label"),
    with_value("apparmor"),
    with_value("cgroup"),
    with_value("cwd"),
    short(b'd', switch("detach")),
    short(b't', switch("tty")),
    switch("no-new-privs"),
    switch("ignore-paused"),
];

/// An element of a command line.
enum Item<'a> {
    Option {
        name: &'static str,
        value: Option<&'a OsStr>,
    },
    Unknown(&'a OsStr),
    Word(&'a OsStr),
    /// `--`: what follows are words.
    End,
}

/// Walks over arguments, some of which are options of `known`.
struct Items<'a> {
    known: &'static [Known],
    args: &'a [OsString],
    next: usize,
    /// Behind `--`.
    ended: bool,
}

impl<'a> Items<'a> {
    fn new(known: &'static [Known], args: &'a [OsString]) -> Self {
        Self { known, args, next: 0, ended: false }
    }

    fn value(&mut self) -> Option<&'a OsStr> {
        let arg = self.args.get(self.next)?;
        self.next += 1;
        Some(arg)
    }
}

impl<'a> Iterator for Items<'a> {
    type Item = Item<'a>;

    fn next(&mut self) -> Option<Item<'a>> {
        let arg = self.value()?;
        if self.ended {
            return Some(Item::Word(arg));
        }
        let text = match arg.as_bytes() {
            b"--" => {
                self.ended = true;
                return Some(Item::End);
            }
            [b'-', b'-', long @ ..] => long,
            // A single dash is a word.
            [b'-', rest @ ..] if !rest.is_empty() => {
                if let Some((known, value)) = letter(self.known, rest) {
                    let value = match value {
                        None if known.value => self.value(),
                        value => value,
                    };
                    return Some(Item::Option { name: known.long, value });
                }
                // Go takes long names behind one dash as well.
                rest
            }
            _ => return Some(Item::Word(arg)),
        };
        let mut parts = text.splitn(2, |&byte| byte == b'=');
        let (name, value) = (parts.next().unwrap_or_default(), parts.next().map(OsStr::from_bytes));
        let Some(known) = long(self.known, name) else {
            return Some(Item::Unknown(arg));
        };
        let value = match value {
            None if known.value => self.value(),
            value => value,
        };
        Some(Item::Option { name: known.long, value })
    }
}

/// The option of a long name, or of an unambiguous beginning of one (`getopt_long(3)`).
fn long(known: &'static [Known], name: &[u8]) -> Option<&'static Known> {
    if let Some(exact) = known.iter().find(|known| known.long.as_bytes() == name) {
        return Some(exact);
    }
    let mut begins = known.iter().filter(|known| !name.is_empty() && known.long.as_bytes().starts_with(name));
    begins.next().filter(|_| begins.next().is_none())
}

/// The option of a letter, with the value that is written right behind it: `-bX`, `-b=X`, or `-tpX`
/// behind letters that take none. None: a long name behind one dash, or not known.
fn letter<'a>(known: &'static [Known], text: &'a [u8]) -> Option<(&'static Known, Option<&'a OsStr>)> {
    let name = text.split(|&byte| byte == b'=').next().unwrap_or_default();
    if name.len() > 1 && long(known, name).is_some() {
        return None;
    }
    let mut rest = text;
    loop {
        let (letter, after) = rest.split_first()?;
        let option = known.iter().find(|known| known.short == Some(*letter))?;
        match after {
            [] => return Some((option, None)),
            [b'=', value @ ..] | value if option.value => {
                return Some((option, Some(OsStr::from_bytes(value))));
            }
            _ => rest = after,
        }
    }
}

/// Understands a command line, the program's name left out.
pub(super) fn read(args: &[OsString]) -> Call<'_> {
    let mut items = Items::new(GLOBAL, args);
    let (mut root, mut log, mut log_format) = (None, None, None);
    let subcommand = loop {
        match items.next() {
            Some(Item::Option { name: "root", value }) => root = value.map(Path::new),
            Some(Item::Option { name: "log", value }) => log = value.map(Path::new),
            Some(Item::Option { name: "log-format", value }) => log_format = value,
            Some(Item::Option { .. } | Item::End) => {}
            // An option of a newer runtime: unless a subcommand follows, the next word is its value.
            Some(Item::Unknown(option)) => {
                let next = args.get(items.next).and_then(|next| next.to_str());
                if !option.as_bytes().contains(&b'=') && next.is_some_and(|next| !is_subcommand(next)) {
                    items.value();
                }
            }
            Some(Item::Word(word)) => break word,
            None => return Call { root, log, log_format, global: args, action: Action::Other },
        }
    };
    let (global, rest) = args.split_at(items.next.saturating_sub(1).min(args.len()));
    let rest = rest.get(1..).unwrap_or_default();
    let action = match subcommand.as_bytes() {
        b"create" => Action::Create(create(rest)),
        b"run" => Action::Run(create(rest)),
        b"restore" => Action::Restore(create(rest)),
        b"start" => start(rest),
        b"exec" => exec(rest),
        _ => Action::Other,
    };
    Call { root, log, log_format, global, action }
}

fn is_subcommand(word: &str) -> bool {
    const SUBCOMMANDS: [&str; 16] = [
        "create",
        "run",
        "restore",
        "exec",
        "start",
        "state",
        "kill",
        "delete",
        "list",
        "ps",
        "pause",
        "resume",
        "update",
        "checkpoint",
        "events",
        "features",
    ];
    word.starts_with('-') || SUBCOMMANDS.contains(&word)
}

fn create(args: &[OsString]) -> Create<'_> {
    let mut create = Create::default();
    let mut id = None;
    for item in Items::new(CREATE, args) {
        match item {
            Item::Option { name: "bundle", value } => create.bundle = value.map(Path::new),
            Item::Option { name: "config", value } => create.config = value.map(Path::new),
            Item::Word(word) => id = id.or(Some(word)),
            Item::Option { .. } | Item::Unknown(_) | Item::End => {}
        }
    }
    create.id = id.and_then(OsStr::to_str).unwrap_or_default();
    create
}

fn start(args: &[OsString]) -> Action<'_> {
    let (ids, unknown) = ids(START, args, |_, _| {});
    Action::Start(Start { ids, unknown })
}

fn exec(args: &[OsString]) -> Action<'_> {
    let mut process = None;
    let (ids, unknown) = ids(EXEC, args, |name, value| {
        if name == "process" {
            process = value.map(Path::new);
        }
    });
    match process {
        Some(process) => Action::Exec(Exec { ids, process, unknown }),
        None => Action::Other,
    }
}

/// The words up to the container's id, and an option before it that is not known. `option` gets those that are.
fn ids<'a>(
    known: &'static [Known],
    args: &'a [OsString],
    mut option: impl FnMut(&'static str, Option<&'a OsStr>),
) -> (Vec<&'a OsStr>, Option<&'a OsStr>) {
    let (mut ids, mut unknown, mut maybe_a_value) = (Vec::new(), None, false);
    for item in Items::new(known, args) {
        let after_unknown = std::mem::take(&mut maybe_a_value);
        match item {
            Item::Option { name, value } => option(name, value),
            Item::Unknown(option) => {
                unknown = Some(option);
                maybe_a_value = !option.as_bytes().contains(&b'=');
            }
            Item::End => {}
            Item::Word(word) => {
                ids.push(word);
                // What follows the id is the program that an exec runs.
                if !after_unknown {
                    break;
                }
            }
        }
    }
    (ids, unknown)
}

#[cfg(test)]
mod tests;
