//! The SIP message: parsing, editing for forwarding, replying, beside other SIP libraries.

pub mod edit;
pub mod facts;
pub mod messages;
pub mod parse;
pub mod peers;

use std::collections::BTreeMap;

use crate::allocations::Allocations;
use crate::callgrind;
use crate::case::{Case, Entry};
use crate::machine::{self, Machine};
use crate::report::{Layout, Method, Report, Row, Target};
use crate::rounds::{self, Plan};
use edit::Work;
use peers::name;

/// Workloads, as they are named in reports and records.
pub mod workload {
    #![allow(missing_docs)]
    pub const PARSE_INVITE: &str = "parse INVITE";
    pub const PARSE_REGISTER: &str = "parse REGISTER";
    pub const PARSE_ANSWER: &str = "parse 200, 4 Vias";
    pub const PARSE_BYE: &str = "parse BYE";
    pub const PARSE_TORTURE: &str = "parse torture";
    pub const PARSE_CORPUS: &str = "parse corpus";
    pub const FORWARD: &str = "forward INVITE";
    pub const STRIP_VIA: &str = "strip Via of 200";
    pub const REPLY_200: &str = "reply 200";
    pub const REPLY_404: &str = "reply 404";
}

/// Every case of the suite.
#[must_use]
pub fn entries() -> Vec<Entry> {
    let mut entries = Vec::new();
    entries.extend(parse::entries(workload::PARSE_INVITE, &messages::invite()));
    entries.extend(parse::entries(workload::PARSE_REGISTER, &messages::register()));
    entries.extend(parse::entries(workload::PARSE_ANSWER, &messages::answer()));
    entries.extend(parse::entries(workload::PARSE_BYE, &messages::bye()));
    entries.extend(parse::entries(workload::PARSE_TORTURE, &messages::torture()));
    if let Some(samples) = messages::corpus() {
        entries.extend(parse::found_entries(workload::PARSE_CORPUS, samples));
    }
    entries.extend(edit::entries(workload::FORWARD, Work::Forward, &messages::plain_invite()));
    entries.extend(edit::entries(workload::STRIP_VIA, Work::StripVia, &messages::answer()));
    entries.extend(edit::entries(workload::REPLY_200, Work::Reply(200), &messages::invite()));
    entries.extend(edit::entries(workload::REPLY_404, Work::Reply(404), &messages::invite()));
    entries
}

/// Measures everything: time in interleaved rounds, allocations, instructions when valgrind is there. `progress` hears
/// what is being done.
#[must_use]
pub fn run(plan: Plan, mut progress: impl FnMut(&str)) -> Report {
    let machine = Machine::here();
    let stolen = machine::stolen();
    progress("checking that every candidate reads and writes the same");
    let mut entries = entries();
    progress("timing");
    let timings = rounds::measure(&mut entries, plan, |round| {
        progress(&format!("round {round} of {}", plan.rounds));
    });
    let stolen_s = machine::stolen() - stolen;
    progress("counting allocations");
    let allocations: Vec<_> =
        entries.iter_mut().map(|entry| entry.case.as_mut().ok().map(allocations)).collect();
    let valgrind = callgrind::version();
    let counts = match &valgrind {
        None => Err("valgrind is not installed (Debian: apt-get install valgrind)".to_owned()),
        Some(_) => {
            progress("counting instructions under valgrind");
            tempfile::tempdir().map_err(|e| format!("no temporary directory: {e}")).and_then(|directory| {
                callgrind::count(&entries.iter().collect::<Vec<_>>(), &["sip"], directory.path())
            })
        }
    };
    let mut versions = versions();
    versions.extend(valgrind.map(|version| ("valgrind", version.trim_start_matches("valgrind-").to_owned())));
    let rows = entries.iter().enumerate().map(|(at, entry)| {
        let count = counts.as_ref().ok().and_then(|counts| counts[at]);
        Row::new(entry, &timings.times[at], count, allocations[at])
    });
    let rows: Vec<Row> = rows.collect();
    Report {
        suite: "sip",
        machine,
        versions,
        method: Method {
            rounds: plan.rounds,
            batch_us: plan.batch.as_micros(),
            copies: messages::COPIES,
            clock_ns: timings.clock,
            processor_ghz: timings.processor.median(),
            repeated: timings.disturbed,
            disturbed: timings.kept_disturbed,
            stolen_s,
            uncounted: counts.err(),
        },
        targets: targets(&rows),
        layout: Layout::Apart,
        rows,
        sections: Vec::new(),
    }
}

/// Allocations and octets for each operation, over one round through all copies.
pub(crate) fn allocations(case: &mut Box<dyn Case>) -> (f64, f64) {
    let (mut count, mut bytes, mut operations) = (0, 0, 0);
    while operations < messages::COPIES as u64 {
        case.prepare();
        let before = Allocations::now();
        case.run();
        let made = Allocations::now() - before;
        count += made.count;
        bytes += made.bytes;
        operations += case.operations();
    }
    (count as f64 / operations as f64, bytes as f64 / operations as f64)
}

fn versions() -> BTreeMap<&'static str, String> {
    BTreeMap::from([
        #[cfg(feature = "osip")]
        (name::OSIP, peers::osip::VERSION.to_owned()),
        (name::RSIP, peers::rsip::VERSION.to_owned()),
        (name::RSIPSTACK, peers::rsipstack::VERSION.to_owned()),
        (name::HTTPARSE, peers::httparse::VERSION.to_owned()),
    ])
}

/// The limits that this suite holds Strowger to.
fn targets(rows: &[Row]) -> Vec<Target> {
    let time = |workload: &str, candidate: &str| {
        rows.iter().find(|row| row.workload == workload && row.candidate == candidate)?.median_ns
    };
    let ours = |workload| time(workload, name::STROWGER);
    let peers = [name::OSIP, name::RSIP, name::RSIPSTACK];
    let fastest = peers.iter().filter_map(|peer| time(workload::PARSE_INVITE, peer)).reduce(f64::min);
    let target = |name: &str, limit, measured| Target { name: name.to_owned(), limit, measured };
    let allocations = rows.iter().filter(|row| row.candidate == name::STROWGER).map(|row| row.allocations);
    vec![
        target("parse INVITE, ns", 250.0, ours(workload::PARSE_INVITE)),
        target(
            "parse INVITE, part of the fastest peer's time",
            0.2,
            ours(workload::PARSE_INVITE).zip(fastest).map(|(ours, fastest)| ours / fastest),
        ),
        target("forward INVITE, ns", 100.0, ours(workload::FORWARD)),
        target("strip Via of 200, ns", 100.0, ours(workload::STRIP_VIA)),
        target("reply 200, ns", 150.0, ours(workload::REPLY_200)),
        target("reply 404, ns", 150.0, ours(workload::REPLY_404)),
        target(
            "allocations in any of Strowger's operations",
            0.0,
            allocations.reduce(|a, b| Some(a?.max(b?))).flatten(),
        ),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every candidate is checked against what the messages were written with when the cases are made; here only those
    /// refuse that are known to, for the reason that is known.
    #[test]
    fn every_candidate_does_the_same_work() {
        for entry in entries() {
            let known = match (entry.workload, entry.candidate) {
                // rsip knows no compact forms; HTTP has no space before the colon.
                (workload::PARSE_TORTURE, name::RSIP) => Some("TokenizeError"),
                (workload::PARSE_TORTURE, name::HTTPARSE) => Some("HeaderName"),
                (workload::PARSE_CORPUS, name::RSIP) => Some("TokenizeError"),
                (workload::PARSE_CORPUS, name::HTTPARSE) => Some("HeaderName"),
                _ => None,
            };
            match (entry.case.as_ref().err(), known) {
                (None, None) => {}
                (Some(refusal), Some(known)) if refusal.0.starts_with(known) => {}
                (refusal, known) => panic!("{}: {refusal:?}, expected {known:?}", entry.key()),
            }
        }
    }

    #[test]
    fn we_do_not_allocate_and_the_peers_do() {
        for entry in &mut entries() {
            let Ok(case) = &mut entry.case else { continue };
            let (count, _) = allocations(case);
            let none = [name::STROWGER, name::HTTPARSE].contains(&entry.candidate);
            assert_eq!(count == 0.0, none, "{}: {count} allocations", entry.key());
        }
    }

    #[test]
    fn the_versions_are_those_that_are_built() {
        let manifest = include_str!("../Cargo.toml");
        for (name, version) in versions().iter().filter(|(name, _)| **name != name::OSIP) {
            let line = manifest.lines().find(|line| line.starts_with(&format!("{name} = ")));
            assert!(line.is_some_and(|line| line.contains(&format!("\"={version}\""))), "{name} {version}");
        }
    }
}
