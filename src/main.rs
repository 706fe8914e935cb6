//! The `strict-groups` binary: from the command line to the command.

use std::{ffi::OsString, process::ExitCode};

use clap::Parser;
use container_start::{
    fast_path::{self, FastPath},
    hook,
};
use strict_groups::{
    cli::{Cli, Command},
    commands::{check, config, cri_proxy, install, list, plugin, probe, record, wrapper},
    ops::logging,
};

mod allocator;

#[global_allocator]
static ALLOCATOR: allocator::Allocator = allocator::Allocator;

fn main() -> ExitCode {
    let args: Vec<OsString> = std::env::args_os().collect();
    match fast_path::read(&args) {
        Some(FastPath::Runtime { config, args }) => wrapper::run(args, config),
        Some(FastPath::Handler { file, args }) => wrapper::run_handler(args, file),
        Some(FastPath::Gate(gate)) => refuse_or_exit(gate),
        Some(FastPath::Record(asked)) => record::run(&asked),
        None => command(args),
    }
}

/// Not a part of `main`, which would need all of its stack.
#[inline(never)]
fn command(args: Vec<OsString>) -> ExitCode {
    match Cli::parse_from(or_launched(args)) {
        Cli { command: Command::Hook { gate }, .. } => refuse_or_exit(gate.iter().map(String::as_str)),
        Cli { command: Command::Plugin(args), log_level } => {
            report(logging::start(log_level.into()).and_then(|()| plugin::run(&args)))
        }
        Cli { command: Command::Check(args), .. } => {
            check::run(&args).unwrap_or_else(|error| report(Err(error)))
        }
        Cli { command: Command::Config(args), .. } => {
            config::run(&args).unwrap_or_else(|error| report(Err(error)))
        }
        Cli { command: Command::List(args), .. } => {
            list::run(&args).unwrap_or_else(|error| report(Err(error)))
        }
        Cli { command: Command::CriProxy(args), log_level } => {
            report(logging::start(log_level.into()).and_then(|()| cri_proxy::run(&args)))
        }
        Cli { command: Command::Install(args), .. } => report(install::run(&args)),
        Cli { command: Command::Probe(args), .. } => report(probe::run(&args)),
        Cli { command: Command::Runtime(args), .. } => wrapper::run(&args.args, args.config.as_deref()),
    }
}

/// The command line; a runtime that starts us from its plugin directory gives
/// none, but says so in the environment.
fn or_launched(mut args: Vec<OsString>) -> Vec<OsString> {
    if args.len() < 2 && nri_plugin::is_launched() {
        args.push("plugin".into());
    }
    args
}

/// The hook prints nothing but its reason: the OCI runtime quotes it whole.
fn refuse_or_exit<'a>(gate: impl IntoIterator<Item = &'a str>) -> ExitCode {
    let args: Vec<String> = ["strict-groups", "hook"].into_iter().chain(gate).map(String::from).collect();
    hook::run(&args)
}

fn report(result: anyhow::Result<()>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("strict-groups: {error:#}");
            ExitCode::FAILURE
        }
    }
}
