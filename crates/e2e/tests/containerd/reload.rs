//! SIGHUP: the plugin reads its configuration again.

use anyhow::{Context, Result, ensure};
use libtest_mimic::Trial;
use nix::sys::signal::Signal;

use crate::steps::{MERGED, STRICT, app, check, expect, fresh};
use crate::world::{World, trial};
use e2e::{Kind, Plugin, Pod};

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial("reload::a_good_file_counts_from_then_on", good),
        trial("reload::a_bad_file_is_refused_and_the_old_one_stays", bad),
    ]
}

const AGAIN: &str = "the configuration was read again";
const REFUSED: &str = "the configuration was not read again, the one before stays: ";

fn good(world: &World) -> Result<()> {
    let daemon = fresh(world, Kind::V1_7)?;
    let plugin = Plugin::start(&daemon, Some(""), &[])?;
    let old = daemon.cri().launch(&daemon.cri().run_pod(&Pod::new("old"))?, &app())?;
    let team = || Pod::new("team").namespace("team-a");
    check(&daemon, &team(), &app(), &MERGED)?;

    plugin.reconfigure("[[rule]]\nnamespaces = [\"team-*\"]\npolicy = \"Strict\"\n")?;
    let line = plugin.wait_log(|line| line.contains(AGAIN))?;
    for part in ["INFO", "changed=\"rule\"", "mode=\"enforce\"", "default_policy=Merge", "rules=1"] {
        ensure!(line.contains(part), "no {part} in {line}");
    }
    check(&daemon, &team(), &app(), &STRICT)?;
    check(&daemon, &Pod::new("other"), &app(), &MERGED)?;

    plugin.reconfigure("default_policy = \"Strict\"\n")?;
    let line = plugin.wait_log(|line| line.contains("changed=\"default_policy,rule\""))?;
    ensure!(line.contains("default_policy=Strict") && line.contains("rules=0"), "{line}");
    check(&daemon, &Pod::new("other-now"), &app(), &STRICT)?;
    // What ran before runs on as it was, and the connection to the runtime is the first one.
    expect(&daemon, &old, &MERGED)?;
    ensure!(plugin.registrations() == 1, "{}", plugin.log());

    plugin.signal(Signal::SIGHUP)?;
    plugin.wait_log(|line| line.contains("changed=\"\""))?;
    let code = plugin.stop(Signal::SIGTERM)?;
    ensure!(code == Some(0), "ended with {code:?}");
    daemon.stop()
}

fn bad(world: &World) -> Result<()> {
    let daemon = fresh(world, Kind::V1_7)?;
    let plugin = Plugin::start(&daemon, Some("default_policy = \"Strict\"\n"), &[])?;
    let file = plugin.config();
    let file = file.to_str().context("a path that is no text")?;
    for (number, (text, parts)) in [
        ("\ndefault_polcy = \"Merge\"\n", &["line 2", "default_polcy", "`default_policy`"][..]),
        ("[[rule]]\npolicy = \"Merge\"\n", &["line 1", "[[rule]]", "a rule needs namespaces"]),
        ("mode = \"observe\"\n", &["line 1", "observe", "`enforce` or `audit`"]),
        ("\n\nhook_path = \"strict-groups\"\n", &["line 3", "hook_path", "absolute"]),
        ("default_policy = ", &["line 1", "default_policy"]),
    ]
    .into_iter()
    .enumerate()
    {
        plugin.reconfigure(text)?;
        let nth =
            |log: String| log.lines().filter(|line| line.contains(REFUSED)).nth(number).map(str::to_owned);
        plugin.wait_log(|_| nth(plugin.log()).is_some())?;
        let line = nth(plugin.log()).context("no line")?;
        for part in [&["ERROR", file][..], parts].concat() {
            ensure!(line.contains(part), "no {part} in {line}");
        }
        check(&daemon, &Pod::new("strict-still"), &app(), &STRICT)?;
    }
    std::fs::remove_file(file)?;
    plugin.signal(Signal::SIGHUP)?;
    plugin.wait_log(|line| line.contains(REFUSED) && line.contains("No such file"))?;
    check(&daemon, &Pod::new("strict-without"), &app(), &STRICT)?;
    ensure!(!plugin.log().contains(AGAIN), "{}", plugin.log());
    daemon.stop()
}
