//! What the plugin counts, scraped while real containers come.

use std::{
    io::Write,
    net::TcpStream,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use libtest_mimic::Trial;
use nix::sys::signal::Signal;

use crate::{
    start_check,
    steps::{ANNOTATION, app, fresh, fresh_with, merge_works, strict, strict_works},
    world::{World, trial},
};
use e2e::{Kind, Plugin, Pod, scrape, wait_for};

const TIMEOUT: Duration = Duration::from_secs(20);

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial("metrics::containers_refusals_and_violations_are_counted", counted),
        trial("metrics::greedy_scrapers_hold_up_nothing", greedy),
    ]
}

/// Where the plugin says that it gives metrics.
fn address(plugin: &Plugin) -> Result<String> {
    let line = plugin.wait_log(|line| line.contains("INFO metrics address="))?;
    let address = line.split("address=").nth(1).and_then(|rest| rest.split_whitespace().next());
    Ok(address.context("no address")?.to_owned())
}

/// That a scrape has these values, now or soon.
fn expect(address: &str, wanted: &[(&str, u64)]) -> Result<()> {
    let mut last = String::new();
    let right = wait_for(TIMEOUT, || {
        last = scrape::tcp(address).unwrap_or_default();
        wanted.iter().all(|(series, value)| scrape::value(&last, series) == Some(*value)).then_some(())
    });
    right.with_context(|| format!("wanted {wanted:?}, not: {last}"))
}

fn counted(world: &World) -> Result<()> {
    let daemon = fresh_with(world, Kind::V1_7, start_check::options(world, "metrics")?)?;
    let cri = daemon.cri();
    // It runs with too much when the plugin comes.
    let pod = cri.run_pod(&strict("metrics-early"))?;
    cri.launch(&pod, &app())?;

    let plugin = Plugin::start(&daemon, None, &["--metrics-address", "127.0.0.1:0"])?;
    let address = address(&plugin)?;
    expect(
        &address,
        &[
            ("strict_groups_registered", 1),
            ("strict_groups_registrations_total", 1),
            ("strict_groups_violations_at_registration", 1),
            (r#"strict_groups_violations_total{found="at_registration"}"#, 1),
            (r#"strict_groups_violations_total{found="at_start"}"#, 0),
            (r#"strict_groups_handler_duration_seconds_count{event="synchronize"}"#, 1),
        ],
    )?;

    for number in 0..3 {
        strict_works(&daemon, &format!("metrics-strict-{number}"))?;
    }
    for number in 0..2 {
        merge_works(&daemon, &format!("metrics-merge-{number}"))?;
    }
    let pod = cri.run_pod(&Pod::new("metrics-wrong").annotation(ANNOTATION, "strict"))?;
    ensure!(cri.create(&pod, &app()).is_err(), "it was not refused");
    let pod = cri.run_pod(&strict("metrics-lies").handler("lies"))?;
    ensure!(cri.launch(&pod, &app()).is_err(), "it was not refused");
    expect(
        &address,
        &[
            (r#"strict_groups_created_containers_total{policy="strict",result="accepted"}"#, 4),
            (r#"strict_groups_created_containers_total{policy="strict",result="refused"}"#, 0),
            (r#"strict_groups_created_containers_total{policy="merge",result="accepted"}"#, 2),
            (r#"strict_groups_created_containers_total{policy="invalid",result="refused"}"#, 1),
            (r#"strict_groups_started_containers_total{result="enforced"}"#, 3),
            (r#"strict_groups_started_containers_total{result="violated"}"#, 1),
            (r#"strict_groups_started_containers_total{result="unseen"}"#, 0),
            (r#"strict_groups_started_containers_total{result="not_verified"}"#, 0),
            (r#"strict_groups_violations_total{found="at_start"}"#, 1),
            (r#"strict_groups_refusals_total{reason="annotation"}"#, 1),
            (r#"strict_groups_refusals_total{reason="runtime_api"}"#, 0),
            (r#"strict_groups_refusals_total{reason="process"}"#, 1),
            ("strict_groups_removed_groups_total", 4),
            (r#"strict_groups_handler_duration_seconds_count{event="create_container"}"#, 7),
            (r#"strict_groups_handler_duration_seconds_count{event="start_container"}"#, 6),
        ],
    )?;
    let text = scrape::tcp(&address)?;
    ensure!(!text.contains("metrics-"), "a pod's name: {text}");

    daemon.halt(Signal::SIGTERM)?;
    expect(&address, &[("strict_groups_registered", 0)])?;
    plugin.stop(Signal::SIGTERM)?;
    daemon.launch()?;
    daemon.stop()
}

/// Some ask without end, some never finish their question, and Strict pods start as if there were none of them.
fn greedy(world: &World) -> Result<()> {
    let daemon = fresh(world, Kind::V1_7)?;
    let plugin = Plugin::start(&daemon, None, &["--metrics-address", "127.0.0.1:0"])?;
    let address = address(&plugin)?;
    let (stop, answers) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let scrapers: Vec<_> = (0..8)
        .map(|number| {
            let (address, stop, answers) = (address.clone(), Arc::clone(&stop), Arc::clone(&answers));
            thread::spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    if number % 4 > 0 {
                        let answer = scrape::tcp(&address).unwrap_or_default();
                        answers
                            .fetch_add(answer.contains("strict_groups_registered").into(), Ordering::Relaxed);
                    } else if let Ok(mut stream) = TcpStream::connect(&address) {
                        let _ = stream.write_all(b"GET /metrics HTT");
                        thread::sleep(Duration::from_millis(50));
                    }
                }
            })
        })
        .collect();
    let begin = Instant::now();
    let result = (0..5).try_for_each(|number| strict_works(&daemon, &format!("greedy-{number}")));
    let took = begin.elapsed();
    stop.store(true, Ordering::Relaxed);
    for scraper in scrapers {
        ensure!(scraper.join().is_ok(), "a scraper panicked");
    }
    result?;
    ensure!(answers.load(Ordering::Relaxed) > 0, "nobody was answered");
    // The slowest calls of the runtime, all of them far below the 2 s that it waits.
    let text = scrape::tcp(&address)?;
    for event in ["create_container", "post_create_container", "start_container"] {
        let count = |le: &str| {
            let series =
                format!(r#"strict_groups_handler_duration_seconds_bucket{{event="{event}",le="{le}"}}"#);
            scrape::value(&text, &series)
        };
        let (quick, all) = (count("1"), count("+Inf"));
        ensure!(quick == all && all >= Some(5), "{event}: {quick:?} of {all:?} within a second, in {took:?}");
    }
    ensure!(plugin.registrations() == 1, "{}", plugin.log());
    plugin.stop(Signal::SIGTERM)?;
    daemon.stop()
}
