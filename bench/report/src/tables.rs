//! The tables of a report, for HTML and Markdown alike.

use crate::figures::{self, Cost, added, binding, cost, highest, latency, searches};
use crate::number::{grouped, octets, spread, three};
use crate::session::{FLOOR, Purpose, Quantity, Search, Session};
use crate::spread::Spread;
use crate::targets;

/// A table. The first column names the line.
#[derive(Clone, Debug, PartialEq)]
pub struct Table {
    /// What it says.
    pub title: String,
    /// What has to be known to read it.
    pub note: String,
    /// Heads of the columns.
    pub head: Vec<String>,
    /// The lines.
    pub lines: Vec<Vec<String>>,
}

impl Table {
    fn new(title: impl Into<String>, note: impl Into<String>, head: &[&str]) -> Self {
        let head = head.iter().map(|cell| (*cell).to_owned()).collect();
        Self { title: title.into(), note: note.into(), head, lines: Vec::new() }
    }

    /// Whether any line says more than its name.
    fn says_something(&self) -> bool {
        self.lines.iter().any(|line| line.iter().skip(1).any(|cell| cell != NOTHING))
    }
}

const NOTHING: &str = "–";

/// The targets.
#[must_use]
pub fn targets(session: &Session) -> Table {
    let mut table = Table::new(
        "Targets",
        "Ours is the node in copy mode with one worker, unless the line says otherwise.",
        &["target", "limit", "measured", ""],
    );
    for target in targets::of(session) {
        let verdict = match target.met {
            Some(true) => "met",
            Some(false) => "missed",
            None => "not measured",
        };
        let figures = target.figures.unwrap_or_else(|| NOTHING.to_owned());
        table.lines.push(vec![target.what, target.limit, figures, verdict.to_owned()]);
    }
    table
}

/// The highest rates without loss, of every scenario that was searched.
#[must_use]
pub fn rates(session: &Session) -> Option<Table> {
    let scenarios: Vec<&String> = session
        .scenarios
        .keys()
        .filter(|name| session.searches.iter().any(|search| &search.scenario == *name))
        .collect();
    let mut head = vec!["per second"];
    head.extend(scenarios.iter().map(|name| name.as_str()));
    let mut table = Table::new(
        "Highest lossless rates",
        "Nothing failed and under 0.1 % of the requests were repeated. Median of the rounds, with their range. \
         ≥: the generator, not the peer, was the limit, or the time was up before anything broke.",
        &head,
    );
    for peer in &session.peers {
        let cells = scenarios.iter().map(|scenario| {
            let text = spread(highest(session, &peer.key, scenario));
            let limited = searches(session, &peer.key, scenario).any(Search::is_at_least);
            if limited && text != NOTHING { format!("≥ {text}") } else { text }
        });
        table.lines.push(std::iter::once(peer.title.clone()).chain(cells).collect());
    }
    table.lines.retain(|line| line.iter().skip(1).any(|cell| cell != NOTHING));
    table.says_something().then_some(table)
}

/// Where each search ended and why.
#[must_use]
pub fn ends(session: &Session) -> Option<Table> {
    let mut table = Table::new(
        "Where it broke",
        "Each search for the highest rate: the last rate without loss, the first with, and what was lost there.",
        &["search", "lossless", "broke at", "why"],
    );
    for search in &session.searches {
        let workers = search.workers.map(|count| format!(", {count} workers")).unwrap_or_default();
        let shown = |rate: Option<f64>| rate.map_or_else(|| NOTHING.to_owned(), |rate| grouped(rate, 0));
        table.lines.push(vec![
            format!(
                "{}{workers}, {}, round {}",
                session.title(&search.peer),
                search.scenario,
                search.round + 1
            ),
            shown(search.highest),
            shown(search.broke_at),
            search.reason.clone(),
        ]);
    }
    table.says_something().then_some(table)
}

/// Processor time at equal rates; one table for each scenario and rate.
#[must_use]
pub fn costs(session: &Session) -> Vec<Table> {
    let mut tables = Vec::new();
    for scenario in session.scenarios.keys() {
        for rate in session.rates(scenario, Purpose::Cost) {
            let mut table = Table::new(
                format!("Processor time at {} {scenario}/s", grouped(rate, 0)),
                "Microseconds for each one begun in the steady window. Machine: everything that was busy, generator \
                 included. Less floor: without what the same load takes without a proxy, in the same round. Own: \
                 user and system time of the peer's processes. Softirq: of the machine. Lossy runs have no figure.",
                &["µs", "less floor", "own", "machine", "generator", "softirq", "lossless runs", "PSS"],
            );
            for peer in &session.peers {
                let of = |pick: fn(&Cost) -> f64| spread(cost(session, &peer.key, scenario, rate, pick));
                let samples: Vec<_> =
                    session.samples_of(&peer.key, scenario, Purpose::Cost, Some(rate)).collect();
                if samples.is_empty() {
                    continue;
                }
                let lossless = samples.iter().filter(|sample| sample.run.lossless).count();
                let pss = samples.iter().filter_map(|sample| {
                    sample.run.watched.iter().filter_map(|watched| watched.pss_bytes).max()
                });
                let pss = pss.max().map_or_else(|| NOTHING.to_owned(), |bytes| octets(bytes as f64));
                let floor = peer.key == FLOOR;
                table.lines.push(vec![
                    peer.title.clone(),
                    if floor {
                        NOTHING.to_owned()
                    } else {
                        spread(added(session, &peer.key, scenario, rate))
                    },
                    if floor { NOTHING.to_owned() } else { of(|cost| cost.own) },
                    of(|cost| cost.machine),
                    of(|cost| cost.generator),
                    of(|cost| cost.softirq),
                    format!("{lossless} of {}", samples.len()),
                    pss,
                ]);
            }
            tables.push(table);
        }
    }
    tables
}

/// Latency at a low rate; one table for each scenario.
#[must_use]
pub fn latencies(session: &Session) -> Vec<Table> {
    let mut tables = Vec::new();
    for scenario in session.scenarios.keys() {
        for rate in session.rates(scenario, Purpose::Latency) {
            let mut table = Table::new(
                format!("Latency at {} {scenario}/s", grouped(rate, 0)),
                "Microseconds from the time a request was meant to leave. Median of the rounds, with their range. A \
                 leg with in→out is one hop: from the caller's sending to the callee's receiving.",
                &["leg and peer", "p50", "p90", "p99", "p99.9", "largest", "times"],
            );
            for leg in figures::legs(session, scenario) {
                for peer in &session.peers {
                    let of = |pick: fn(&strowger_load::record::Latency) -> u64| {
                        latency(session, &peer.key, scenario, &leg, pick)
                    };
                    let Some(p50) = of(|latency| latency.p50_ns) else { continue };
                    let times: f64 = session
                        .samples_of(&peer.key, scenario, Purpose::Latency, Some(rate))
                        .flat_map(|sample| sample.run.legs.iter().filter(|found| found.name == leg))
                        .map(|found| found.intended.count as f64)
                        .sum();
                    table.lines.push(vec![
                        format!("{leg}, {}", peer.title),
                        spread(Some(p50)),
                        spread(of(|latency| latency.p90_ns)),
                        spread(of(|latency| latency.p99_ns)),
                        spread(of(|latency| latency.p999_ns)),
                        spread(of(|latency| latency.max_ns)),
                        grouped(times, 0),
                    ]);
                }
            }
            if table.says_something() {
                tables.push(table);
            }
        }
    }
    tables
}

/// Memory of bindings.
#[must_use]
pub fn memory(session: &Session) -> Option<Table> {
    let mut table = Table::new(
        "Memory of a binding",
        "Growth of the proportional set size of all processes while so many users registered, by their number, after \
         settling. Timer J holds transactions for 32 s.",
        &["", "octets a binding", "users", "before", "after", "settled"],
    );
    for memory in &session.memory {
        table.lines.push(vec![
            session.title(&memory.peer).to_owned(),
            spread(binding(session, &memory.peer)),
            grouped(memory.bindings as f64, 0),
            octets(memory.before_bytes as f64),
            octets(memory.after_bytes as f64),
            format!("{} s", memory.settled_s),
        ]);
    }
    table.says_something().then_some(table)
}

/// What the reflector moved.
#[must_use]
pub fn echoes(session: &Session) -> Option<Table> {
    let mut table = Table::new(
        "The laboratory's ceiling: an AF_XDP reflector without SIP",
        "Datagrams there and back, closed loop. What is under way is the window; with a window of 1 the time there \
         and back is the wake-up of both ends.",
        &["window", "there and back /s", "lost", "octets of a frame", "p50 µs", "p99 µs"],
    );
    let mut windows: Vec<u32> = session.echoes.iter().map(|echo| echo.window).collect();
    windows.sort_unstable();
    windows.dedup();
    for window in windows {
        let all: Vec<_> = session.echoes.iter().filter(|echo| echo.window == window).collect();
        let of = |pick: fn(&crate::session::Echo) -> Option<f64>| {
            spread(Spread::of(all.iter().filter_map(|echo| pick(echo))))
        };
        table.lines.push(vec![
            window.to_string(),
            of(|echo| Some(echo.per_second)),
            grouped(all.iter().map(|echo| echo.lost as f64).sum(), 0),
            all.first().map(|echo| echo.frame_octets.to_string()).unwrap_or_default(),
            of(|echo| echo.p50_ns.map(|ns| ns as f64 / 1e3)),
            of(|echo| echo.p99_ns.map(|ns| ns as f64 / 1e3)),
        ]);
    }
    table.says_something().then_some(table)
}

/// Cost against size.
#[must_use]
pub fn scale(session: &Session) -> Vec<Table> {
    let mut tables = Vec::new();
    for (quantity, title) in [
        (Quantity::Bindings, "Cost against the number of bindings"),
        (Quantity::Dialogs, "Cost against the number of live dialogs"),
    ] {
        let mut table = Table::new(
            title,
            "Through a node: own processor time for a call. In the process of `bench engine`: time for each of a \
             call's messages, without sockets.",
            &["size", "where", "µs", "INVITE→200 p99, µs", "PSS", "nothing failed"],
        );
        let shown = |value: Option<f64>| value.map_or_else(|| NOTHING.to_owned(), three);
        for point in session.scale.iter().filter(|point| point.quantity == quantity) {
            table.lines.push(vec![
                grouped(point.size as f64, 0),
                point.source.clone(),
                shown(point.cost_ns.map(|ns| ns / 1e3)),
                shown(point.p99_ns.map(|ns| ns as f64 / 1e3)),
                point.pss_bytes.map_or_else(|| NOTHING.to_owned(), |bytes| octets(bytes as f64)),
                if point.lossless { "yes" } else { "no" }.to_owned(),
            ]);
        }
        if !table.lines.is_empty() {
            tables.push(table);
        }
    }
    tables
}

/// Where packets were lost, and what disturbed a run: only runs with something to say.
#[must_use]
pub fn trouble(session: &Session) -> Option<Table> {
    let mut table = Table::new(
        "Losses and disturbances",
        "Runs at a given rate in which something was lost, failed, or disturbed; what is not here had nothing. \
         Losses are read where they happen: sockets, rings, the backlog of a processor, the peer's own counters.",
        &["run", "lost and failed", "disturbed"],
    );
    for sample in session.samples.iter().filter(|sample| sample.purpose != Purpose::Broken) {
        let lost = lost(sample);
        let mut disturbed: Vec<String> = sample.disturbed.clone();
        disturbed.extend(sample.run.disturbances.iter().map(disturbance));
        disturbed.extend(sample.run.limits.iter().map(limit));
        if lost.is_empty() && disturbed.is_empty() {
            continue;
        }
        let or_nothing =
            |texts: Vec<String>| if texts.is_empty() { NOTHING.to_owned() } else { texts.join("; ") };
        table.lines.push(vec![
            format!(
                "{}, {} at {}/s, round {}",
                session.title(&sample.peer),
                sample.scenario,
                grouped(sample.rate, 0),
                sample.round + 1
            ),
            or_nothing(lost),
            or_nothing(disturbed),
        ]);
    }
    table.says_something().then_some(table)
}

fn lost(sample: &crate::session::Sample) -> Vec<String> {
    let mut lost = Vec::new();
    let mut add = |what: &str, count: u64| {
        if count > 0 {
            lost.push(format!("{what} {}", grouped(count as f64, 0)));
        }
    };
    let run = &sample.run;
    add("failed", run.counts.failed);
    add("requests repeated", run.counts.requests_repeated);
    add("generator: receive buffer", run.drops.own_receive);
    add("generator: send buffer", run.drops.own_send_full);
    add("generator: refused", run.drops.own_send_refused);
    add("backlog (softnet)", run.drops.softnet_dropped);
    for (namespace, counters) in &run.drops.udp {
        for name in ["RcvbufErrors", "SndbufErrors", "InCsumErrors"] {
            add(&format!("{namespace}: {name}"), counters.get(name).copied().unwrap_or(0));
        }
    }
    for (name, count) in &sample.peer_drops {
        add(&format!("peer: {name}"), *count);
    }
    lost
}

fn disturbance(disturbance: &strowger_load::record::Disturbance) -> String {
    use strowger_load::record::Disturbance::{Interrupted, Others, Steal};
    match disturbance {
        Steal { part } => format!("{:.1} % stolen by the hypervisor", part * 100.0),
        Others { processors } => format!("other processes took {processors:.2} processors"),
        Interrupted => "interrupted".to_owned(),
    }
}

fn limit(limit: &strowger_load::record::Limit) -> String {
    use strowger_load::record::Limit::{Late, Places, Received, Sent};
    match limit {
        Late { part, p99_ns } => {
            format!(
                "generator late: {:.1} % of the requests, p99 {:.1} ms",
                part * 100.0,
                *p99_ns as f64 / 1e6
            )
        }
        Places { skipped } => format!("generator full: {skipped} not begun"),
        Received { lost } => format!("generator lost {lost} received"),
        Sent { lost } => format!("generator lost {lost} to be sent"),
    }
}

/// The machine, as lines of name and value.
#[must_use]
pub fn machine(session: &Session) -> Vec<(String, String)> {
    let machine = &session.machine;
    let kind = if machine.virtual_machine { ", a virtual machine" } else { "" };
    [
        ("processor", format!("{}, {} CPUs{kind}", machine.cpu, machine.cpus)),
        ("memory", octets(machine.memory_bytes as f64)),
        ("kernel", machine.kernel.clone()),
        ("load at the start", format!("{:.2}", machine.load)),
        ("compiler", machine.rustc.clone()),
        ("commit", machine.commit.clone()),
        ("laboratory", session.laboratory.clone()),
        ("began", crate::number::date(session.started_unix)),
        ("took", format!("{:.0} min {:02.0} s", (session.took_s / 60.0).floor(), session.took_s % 60.0)),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .into()
}
