//! The SIP element: what a message costs in it, what its tables take, and how both stay with a million users.
//!
//! All through the public face of [`Engine`](strowger_engine::Engine) alone, with virtual time and messages in frames as a
//! worker has them. Every case is measured with small tables and with large ones, side by side in the same rounds.

pub mod calls;
pub mod frames;
pub mod phones;
pub mod requests;
pub mod site;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use calls::{ANSWERED, CANCELLED, Calls, Stage, StageCase};
use phones::Algorithm;
use requests::{Relay, Request, RequestCase, Requests};
use site::{Bytes, Site};

use crate::callgrind;
use crate::case::{Case, Entry};
use crate::machine::{self, Machine};
use crate::record::{self, Record};
use crate::report::{Layout, Method, Report, Row, Section, Target, shown};
use crate::rounds::{self, Plan};
use crate::sip::allocations;

/// How much there is in the tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    /// As a column's name.
    pub name: &'static str,
    /// Users, each with a binding.
    pub users: u64,
    /// Server transactions, once the tables are filled.
    pub transactions: usize,
    /// Calls that are up.
    pub dialogs: usize,
}

/// What everything is compared with.
pub const SMALL: Size = Size { name: "1,000", users: 1000, transactions: 1000, dialogs: 1000 };
/// What one worker is to hold.
pub const LARGE: Size = Size { name: "1,000,000", users: 1_000_000, transactions: 200_000, dialogs: 200_000 };
/// For a quick run.
pub const QUICK: Size = Size { name: "100,000", users: 100_000, transactions: 20_000, dialogs: 20_000 };

/// Workloads, as they are named in reports and records.
mod workload {
    pub(super) const CALL: &str = "call: each of its seven messages, with timers";
    pub(super) const CANCEL: &str = "CANCEL: its 200 and the one that goes on";
    pub(super) const SHA256: &str = "REGISTER refresh, SHA-256";
    pub(super) const MD5: &str = "REGISTER refresh, MD5";
    pub(super) const SHA512_256: &str = "REGISTER refresh, SHA-512-256";
    pub(super) const OPEN: &str = "REGISTER refresh, no digest";
    pub(super) const CHALLENGED: &str = "REGISTER, 401";
    pub(super) const OPTIONS: &str = "OPTIONS, 200";
    pub(super) const RELAY: &str = "BYE, stateless";
}

/// The stages of a call, as they are named.
const CALL: [(&str, Stage); 8] = [
    ("INVITE", Stage::Invite),
    ("100", Stage::Trying),
    ("180", Stage::Ringing),
    ("200", Stage::Answer),
    ("ACK", Stage::Ack),
    ("BYE", Stage::Bye),
    ("200 to BYE", Stage::ByeAnswer),
    ("timers of a call", Stage::Timers),
];

/// The messages among [`CALL`].
const MESSAGES: usize = 7;

/// A site of this size, and every case on it.
fn entries(size: Size, progress: &mut dyn FnMut(&str)) -> (Vec<Entry>, Bytes) {
    progress(&format!("registering {} users", size.name));
    let (site, engine) = Site::new(size);
    progress(&format!("setting up {} calls", shown(Some(size.dialogs as f64), 0)));
    let mut entries = Vec::new();
    let mut add = |workload, case| entries.push(Entry { workload, candidate: size.name, case: Ok(case) });
    let mut calls = Calls::new(engine, size, ANSWERED, site.now);
    calls.fill_transactions();
    let before = machine::resident();
    calls.fill_dialogs();
    let grown = machine::resident().saturating_sub(before);
    let bytes = site.bytes(&calls.engine.occupancy(), calls.up(), grown);
    let calls = Rc::new(RefCell::new(calls));
    for (workload, stage) in CALL {
        add(workload, Box::new(StageCase::new(&calls, stage)) as Box<dyn Case>);
    }
    let mut cancelled = Calls::new(site.engine(false, false), size, CANCELLED, site.now);
    cancelled.fill_transactions();
    let cancelled = Rc::new(RefCell::new(cancelled));
    add(workload::CANCEL, Box::new(StageCase::new(&cancelled, Stage::Cancel)));
    let of = |auth| Rc::new(RefCell::new(Requests::new(site.engine(auth, false), size, &site)));
    let (closed, open) = (of(true), of(false));
    for (workload, users, request) in [
        (workload::SHA256, &closed, Request::Register(Some(Algorithm::Sha256))),
        (workload::MD5, &closed, Request::Register(Some(Algorithm::Md5))),
        (workload::SHA512_256, &closed, Request::Register(Some(Algorithm::Sha512_256))),
        (workload::OPEN, &open, Request::Register(None)),
        (workload::CHALLENGED, &closed, Request::Challenged),
        (workload::OPTIONS, &open, Request::Options),
    ] {
        add(workload, Box::new(RequestCase::new(users, request).check()));
    }
    add(workload::RELAY, Box::new(Relay::new(site.engine(false, true), size, site.now)));
    (entries, bytes)
}

/// The cases whose instructions are counted: those with small tables. The large ones execute the same, and wait longer.
#[must_use]
pub fn counted() -> Vec<Entry> {
    entries(SMALL, &mut |_| {}).0
}

/// Key in the record of each message of a call, and the count, of the counts of its stages by their keys.
pub(crate) fn counted_average(counts: &BTreeMap<String, f64>) -> Option<(String, f64)> {
    let key = |workload| record::key("engine", workload, SMALL.name);
    let all = CALL.iter().map(|(workload, _)| counts.get(&key(workload)).copied());
    Some((key(workload::CALL), all.sum::<Option<f64>>()? / MESSAGES as f64))
}

/// Measures everything with small tables and with `large` ones. `progress` hears what is being done.
#[must_use]
pub fn run(plan: Plan, large: Size, mut progress: impl FnMut(&str)) -> Report {
    let machine = Machine::here();
    let stolen = machine::stolen();
    // First, so that what the process grows by is not memory that was given back.
    let (large_entries, bytes) = entries(large, &mut progress);
    let (small_entries, _) = entries(SMALL, &mut progress);
    let mut entries: Vec<Entry> =
        small_entries.into_iter().zip(large_entries).flat_map(|(small, large)| [small, large]).collect();
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
            let small: Vec<&Entry> = entries.iter().step_by(2).collect();
            tempfile::tempdir()
                .map_err(|e| format!("no temporary directory: {e}"))
                .and_then(|directory| callgrind::count(&small, &["engine"], directory.path()))
        }
    };
    let rows: Vec<Row> = entries
        .iter()
        .enumerate()
        .map(|(at, entry)| {
            let count = counts.as_ref().ok().filter(|_| at % 2 == 0).and_then(|counts| counts[at / 2]);
            Row::new(entry, &timings.times[at], count, allocations[at])
        })
        .collect();
    drop(entries);
    let rows: Vec<Row> = [SMALL, large].map(|size| average(&rows, size)).into_iter().chain(rows).collect();
    let versions = valgrind.map(|version| ("valgrind", version.trim_start_matches("valgrind-").to_owned()));
    let targets = targets(&rows, large, &bytes, record::read().ok().as_ref(), &machine.rustc);
    Report {
        suite: "engine",
        machine,
        versions: versions.into_iter().collect(),
        method: Method {
            rounds: plan.rounds,
            batch_us: plan.batch.as_micros(),
            copies: frames::BATCH,
            clock_ns: timings.clock,
            processor_ghz: timings.processor.median(),
            repeated: timings.disturbed,
            disturbed: timings.kept_disturbed,
            stolen_s,
            uncounted: counts.err(),
        },
        targets,
        layout: Layout::Together,
        sections: vec![memory(large, &bytes), peers(&rows, large, &bytes)],
        rows,
    }
}

fn find<'a>(rows: &'a [Row], workload: &str, candidate: &str) -> Option<&'a Row> {
    rows.iter().find(|row| row.workload == workload && row.candidate == candidate)
}

/// What each of the seven messages of a call takes: all of them and their timers, by seven.
fn average(rows: &[Row], size: Size) -> Row {
    let sum = |figure: fn(&Row) -> Option<f64>| {
        let all = CALL.iter().map(|(workload, _)| figure(find(rows, workload, size.name)?));
        Some(all.sum::<Option<f64>>()? / MESSAGES as f64)
    };
    Row {
        workload: workload::CALL.to_owned(),
        candidate: size.name.to_owned(),
        refused: None,
        median_ns: sum(|row| row.median_ns),
        p10_ns: None,
        p90_ns: None,
        min_ns: None,
        max_ns: None,
        instructions: sum(|row| row.instructions),
        allocations: sum(|row| row.allocations),
        allocated_bytes: sum(|row| row.allocated_bytes),
    }
}

/// How much more than recorded a call may take: the compiler's whims, and no more.
const GROWTH: f64 = 1.05;

/// The limits that this suite holds the engine to.
fn targets(rows: &[Row], large: Size, bytes: &Bytes, record: Option<&Record>, rustc: &str) -> Vec<Target> {
    let time = |workload, size: Size| find(rows, workload, size.name)?.median_ns;
    let ratio = |workload| time(workload, large).zip(time(workload, SMALL)).map(|(a, b)| a / b);
    let target = |name: &str, limit, measured| Target { name: name.to_owned(), limit, measured };
    let call = find(rows, workload::CALL, SMALL.name);
    let mut targets = vec![
        target("a call, ns for each of its seven messages", 1000.0, time(workload::CALL, SMALL)),
        target("a call, allocations", 0.0, call.and_then(|row| row.allocations)),
        target("REGISTER refresh with SHA-256, ns", 3000.0, time(workload::SHA256, SMALL)),
        target("a binding, octets", 256.0, Some(bytes.binding.round())),
        target("a call that is up, octets", 512.0, Some(bytes.dialog.round())),
        target("a transaction without its kept messages, octets", 512.0, Some(bytes.transaction.round())),
        target(&format!("a call, time at {} users by that at 1,000", large.name), 1.5, ratio(workload::CALL)),
        target(
            &format!("REGISTER refresh, time at {} users by that at 1,000", large.name),
            1.5,
            ratio(workload::SHA256),
        ),
    ];
    // Counts of another compiler say nothing.
    let key = record::key("engine", workload::CALL, SMALL.name);
    let recorded = record.filter(|record| record.rustc == rustc).and_then(|r| r.instructions.get(&key));
    if let Some(recorded) = recorded {
        let now = call.and_then(|row| row.instructions);
        targets.push(target(
            "a call, instructions by those in instructions.json",
            GROWTH,
            now.map(|now| now / recorded),
        ));
    }
    targets
}

/// What the tables take.
fn memory(large: Size, bytes: &Bytes) -> Section {
    let (bindings, transactions, dialogs) = bytes.live;
    let line = |name: &str, live, octets: f64| {
        vec![name.to_owned(), shown(Some(live as f64), 0), shown(Some(octets), 0)]
    };
    Section {
        title: format!("Memory, at {} users", large.name),
        head: ["", "live at once", "octets each"].map(str::to_owned).to_vec(),
        lines: vec![
            line("binding", bindings, bytes.binding),
            line("server transaction with a branch", transactions, bytes.transaction),
            line("messages kept for it", transactions, bytes.kept),
            line("call that is up", dialogs, bytes.dialog),
        ],
        note: [
            "A binding: what is held of the heap, free places of the table and the queue of expiry included. A",
            "transaction: what an engine reserves for a place, with timers and hash table. Kept messages: occupancy.",
            "A call that is up: what the process grew by when they came up, with the same number of transactions.",
        ]
        .join(" "),
    }
}

/// What others cost for something comparable.
fn peers(rows: &[Row], large: Size, bytes: &Bytes) -> Section {
    let micros = |time: Option<f64>| shown(time.map(|ns| ns / 1000.0), 1);
    let time = |workload| find(rows, workload, large.name).and_then(|row| row.median_ns);
    let call = time(workload::CALL).map(|ns| ns * MESSAGES as f64);
    let twice = time(workload::CHALLENGED).zip(time(workload::MD5)).map(|(asked, told)| asked + told);
    let line = |name: &str, ours, theirs: [&str; 3]| {
        [name.to_owned(), ours].into_iter().chain(theirs.map(str::to_owned)).collect()
    };
    Section {
        title: "Peers: whole processes, for orientation".into(),
        head: ["", "this engine", "Kamailio 5.6.3", "OpenSIPS 2026", "SIPhon"].map(str::to_owned).to_vec(),
        lines: vec![
            line("call of seven messages, µs", micros(call), ["95", "171", "375"]),
            line("REGISTER–200, µs", micros(time(workload::OPEN)), ["10.5", "–", "97"]),
            line("REGISTER–401–REGISTER–200 with MD5, µs", micros(twice), ["26", "–", "–"]),
            line("binding, octets", shown(Some(bytes.binding), 0), ["910", "935", "4,825"]),
        ],
        note: format!(
            "Ours is the engine alone, with {} users. Theirs is user and system time of the process with its sockets, \
             at its highest rate without loss on a machine like this one, and the growth of its PSS for 100,000 users \
             (measured in November 2026): the kernel's part of a message is in it, and is not in ours.",
            large.name
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TINY: Size = Size { name: "tiny", users: 200, transactions: 400, dialogs: 300 };

    /// Every stage checks what comes out of the engine; here all of them are run, and the tables are as full as they
    /// should be.
    #[test]
    fn every_case_gives_what_it_should() {
        let (mut entries, bytes) = entries(TINY, &mut |_| {});
        for entry in &mut entries {
            let case = entry.case.as_mut().unwrap();
            for _ in 0..5 {
                case.prepare();
                case.run();
            }
        }
        let (bindings, transactions, dialogs) = bytes.live;
        assert_eq!((bindings, dialogs), (200, 300));
        assert!((380..=700).contains(&transactions), "{transactions}");
        assert!(bytes.kept > 100.0 && bytes.transaction > 200.0 && bytes.binding > 100.0, "{bytes:?}");
    }

    #[test]
    fn a_call_allocates_nothing() {
        let (mut entries, _) = entries(TINY, &mut |_| {});
        for entry in &mut entries {
            let (count, _) = allocations(entry.case.as_mut().unwrap());
            let changes = entry.workload.starts_with("REGISTER refresh");
            // The measure works: a binding that is changed is a new record.
            assert_eq!(count == 0.0, !changes, "{}: {count} allocations", entry.key());
        }
    }

    #[test]
    fn the_average_is_of_seven_and_has_the_timers() {
        let row = |workload: &str, ns| Row {
            workload: workload.into(),
            candidate: "tiny".into(),
            refused: None,
            median_ns: ns,
            p10_ns: None,
            p90_ns: None,
            min_ns: None,
            max_ns: None,
            instructions: None,
            allocations: Some(0.0),
            allocated_bytes: Some(0.0),
        };
        let mut rows: Vec<Row> = CALL.iter().map(|(workload, _)| row(workload, Some(70.0))).collect();
        assert_eq!(average(&rows, TINY).median_ns, Some(80.0));
        assert_eq!(average(&rows, TINY).instructions, None);
        rows[3].median_ns = None;
        assert_eq!(average(&rows, TINY).median_ns, None, "no average of some");
    }
}
