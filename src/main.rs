//! The `strict-groups` binary: from the command line to the command.

use std::{path::Path, process::ExitCode};

use clap::Parser;
use strict_groups::{
    cli::{Cli, Command},
    commands::{check, config, cri_proxy, hook, install, list, plugin, probe, runtime},
    logging, nri, runtime as oci_runtime,
};

/// musl's allocator maps and unmaps pages for every few KiB, some 70 system
/// calls for one Strict container.
#[global_allocator]
static ALLOCATOR: dlmalloc::GlobalDlmalloc = dlmalloc::GlobalDlmalloc;

fn main() -> ExitCode {
    // Engines call us under this name for every step of every container: nothing comes before.
    let mut args = std::env::args_os();
    if args.next().is_some_and(|name| Path::new(&name).file_name() == Some(oci_runtime::NAME.as_ref())) {
        let _told = oci_runtime::run(&args.collect::<Vec<_>>(), None);
        return ExitCode::FAILURE;
    }
    match Cli::parse_from(arguments()) {
        Cli { command: Command::Hook { gate }, .. } => refuse_or_exit(&gate),
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
        Cli { command: Command::Runtime(args), .. } => runtime::run(&args),
    }
}

/// The command line; a runtime that starts us from its plugin directory gives
/// none, but says so in the environment.
fn arguments() -> Vec<std::ffi::OsString> {
    let mut args: Vec<_> = std::env::args_os().collect();
    if args.len() < 2 && nri::is_launched() {
        args.push("plugin".into());
    }
    args
}

/// The hook prints nothing but its reason: the OCI runtime quotes it whole.
fn refuse_or_exit(gate: &[String]) -> ExitCode {
    let args: Vec<String> =
        ["strict-groups", "hook"].map(String::from).into_iter().chain(gate.iter().cloned()).collect();
    match hook::verify(&args, std::io::stdin().lock()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(reason) => {
            eprintln!("{reason}");
            ExitCode::FAILURE
        }
    }
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
