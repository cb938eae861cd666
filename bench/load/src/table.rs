//! The table at the end: what a person wants to know of a run, on standard output.

use std::fmt::Write as _;

use crate::record::{Disturbance, Latency, Load, Record, Run, Search};
use crate::run::{limit_text, why_not};

/// A whole invocation: its last run, and the search's verdict.
#[must_use]
pub fn table(record: &Record) -> String {
    let mut text = String::new();
    // Writing to a String cannot fail.
    let way = if record.no_proxy { "without a proxy" } else { "through" };
    let _ = writeln!(
        text,
        "\n{} {way} {}, {} users, {} thread{}",
        record.scenario.name,
        record.target,
        record.scenario.users,
        record.threads,
        if record.threads == 1 { "" } else { "s" }
    );
    match &record.search {
        Some(search) => {
            for run in &record.runs {
                let _ = writeln!(text, "{:>12}  {}", load_text(&run.load), verdict(run));
            }
            let best = record.runs.iter().rev().find(|run| run.lossless);
            if let Some(run) = best {
                let _ = writeln!(text, "\nthe highest lossless run, {}", load_text(&run.load));
                text.push_str(&run_text(run));
            }
            text.push_str(&search_text(search));
        }
        None => record.runs.iter().for_each(|run| text.push_str(&run_text(run))),
    }
    text
}

fn run_text(run: &Run) -> String {
    let mut text = String::new();
    let counts = &run.counts;
    let seconds = run.steady_ns as f64 / 1e9;
    let _ = writeln!(
        text,
        "{} for {seconds:.1} s: {} begun, {} ok, {} failed; {:.1}/s ok",
        load_text(&run.load),
        counts.begun,
        counts.succeeded,
        counts.failed,
        run.achieved
    );
    let _ = writeln!(
        text,
        "{} requests, {} repeated ({:.3} %), {} 2xx repeated, {} seen again by callees, {} challenges answered",
        counts.requests,
        counts.requests_repeated,
        100.0 * counts.repeated_part(),
        counts.responses_repeated,
        counts.requests_seen_again,
        counts.challenges
    );
    for (why, count) in &counts.failures {
        let _ = writeln!(text, "  failed: {count:>8}  {why}");
    }
    let _ = writeln!(
        text,
        "\n{:<18}{:>10}{:>11}{:>11}{:>11}{:>11}{:>11}{:>11}",
        "us, as intended", "count", "p50", "p90", "p99", "p99.9", "max", "p50 sent"
    );
    for leg in &run.legs {
        // What never happened (a proxy without 100) is no row.
        if leg.intended.count > 0 {
            row(&mut text, &leg.name, &leg.intended, Some(&leg.actual));
        }
    }
    row(&mut text, "left late by", &run.lateness, None);
    let each = |ns: u64| ns as f64 / 1e3 / counts.succeeded.max(1) as f64;
    let _ = write!(
        text,
        "\nus of processor for each: machine {:.1}, of it softirq {:.1}; generator {:.1}",
        each(run.cpu.busy_ns),
        each(run.cpu.softirq_ns),
        each(run.cpu.own_ns)
    );
    for process in &run.watched {
        let _ = write!(text, "; {} {:.1}", process.name, each(process.user_ns + process.system_ns));
    }
    text.push('\n');
    for process in &run.watched {
        let memory = process.pss_bytes.unwrap_or(process.rss_bytes) as f64 / f64::from(1 << 20);
        let _ = writeln!(text, "{}: {} processes, {memory:.1} MiB", process.name, process.processes);
    }
    let traffic = &run.drops.traffic;
    let _ = writeln!(
        text,
        "datagrams: {} sent, {} received ({} stray, {} malformed)",
        traffic.sent, traffic.received, traffic.stray, traffic.malformed
    );
    for (name, counters) in &run.drops.udp {
        if !counters.is_empty() {
            let list: Vec<String> = counters.iter().map(|(name, count)| format!("{name} {count}")).collect();
            let _ = writeln!(text, "UDP, namespace {name}: {}", list.join(", "));
        }
    }
    if run.drops.softnet_dropped + run.drops.own_send_refused > 0 {
        let _ = writeln!(
            text,
            "softnet dropped {}, the kernel refused to send {}",
            run.drops.softnet_dropped, run.drops.own_send_refused
        );
    }
    for disturbance in &run.disturbances {
        let _ = match disturbance {
            Disturbance::Steal { part } => {
                writeln!(text, "disturbed: the hypervisor took {:.1} % of the machine", 100.0 * part)
            }
            Disturbance::Others { processors } => {
                writeln!(text, "disturbed: others used {processors:.2} processors")
            }
            Disturbance::Interrupted => writeln!(text, "disturbed: interrupted before the end"),
        };
    }
    for limit in &run.limits {
        let _ = writeln!(text, "the generator was the limit: {}", limit_text(limit));
    }
    let _ = writeln!(text, "{}", verdict(run));
    text
}

fn verdict(run: &Run) -> String {
    if run.lossless { "lossless".to_owned() } else { format!("not lossless: {}", why_not(run)) }
}

fn search_text(search: &Search) -> String {
    match (search.highest, search.broke_at) {
        (Some(highest), Some(broke)) => {
            let who = if search.generator_limited { " (the generator's limit, not the proxy's)" } else { "" };
            format!("\nhighest lossless rate: {highest:.0}/s; at {broke:.0}/s{who}: {}\n", search.reason)
        }
        (Some(highest), None) => format!("\nlossless at {highest:.0}/s: {}\n", search.reason),
        (None, _) => format!("\nno rate was lossless: {}\n", search.reason),
    }
}

fn load_text(load: &Load) -> String {
    match load {
        Load::Open { rate, poisson } => {
            let gaps = if *poisson { ", Poisson" } else { "" };
            if *rate < 10.0 { format!("{rate:.1}/s{gaps}") } else { format!("{rate:.0}/s{gaps}") }
        }
        Load::Closed { outstanding } => format!("{outstanding} at a time"),
    }
}

fn row(text: &mut String, name: &str, latency: &Latency, actual: Option<&Latency>) {
    let us = |ns: u64| ns as f64 / 1e3;
    let _ = write!(text, "{name:<18}{:>10}", latency.count);
    for value in [latency.p50_ns, latency.p90_ns, latency.p99_ns, latency.p999_ns, latency.max_ns] {
        let _ = write!(text, "{:>11.1}", us(value));
    }
    if let Some(actual) = actual {
        let _ = write!(text, "{:>11.1}", us(actual.p50_ns));
    }
    text.push('\n');
}
