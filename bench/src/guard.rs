//! The guard of the fast path: its instruction counts now against those of the record.
//!
//! `cargo xtask bench guard` and `cargo xtask ci` run it. Times on a shared machine say little about a change of a few
//! percent; instruction counts of the same compiler repeat to the instruction. What is counted: parsing and editing
//! ([`sip`]), the element with small tables ([`engine`]), and the size of the XDP program, whose run
//! time only the kernel can count.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::Path;

use console::style;
use object::{Object as _, ObjectSection as _, SectionKind};

use crate::case::Entry;
use crate::record::{self, Record, SLACK};
use crate::report::shown;
use crate::{callgrind, engine, sip};

/// Key of the size of the XDP program.
const XDP: &str = "xdp: the program's size / instructions";

/// One part of what is guarded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Part {
    /// The message: parse, edit.
    Sip,
    /// The element.
    Engine,
}

impl Part {
    /// Its name in keys and on the command line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Sip => "sip",
            Self::Engine => "engine",
        }
    }

    /// Whether a key of the record is its.
    #[must_use]
    pub fn has(self, key: &str) -> bool {
        record::is_of(self.name(), key)
    }
}

/// The cases: ours of the message, and all of the element; of one part, if so.
#[must_use]
pub fn entries(part: Option<Part>) -> Vec<Entry> {
    let engine = || if part == Some(Part::Sip) { Vec::new() } else { engine::counted() };
    if part == Some(Part::Engine) {
        return engine();
    }
    let message = sip::entries().into_iter().filter(|entry| {
        // The corpus may lie beside the tree or not.
        entry.candidate == sip::peers::name::STROWGER && entry.workload != sip::workload::PARSE_CORPUS
    });
    message.chain(engine()).collect()
}

/// Counts everything, or one part; by the keys of the record.
///
/// # Errors
/// valgrind is not installed or fails, or the XDP object can't be read.
pub fn measure(part: Option<Part>) -> Result<BTreeMap<String, f64>, String> {
    if callgrind::version().is_none() {
        return Err("valgrind is not installed (Debian: apt-get install valgrind)".into());
    }
    let entries = entries(part);
    let arguments: Vec<&str> =
        ["guard"].into_iter().chain(part.iter().flat_map(|part| ["--only", part.name()])).collect();
    let directory = tempfile::tempdir().map_err(|e| format!("no temporary directory: {e}"))?;
    let counts = callgrind::count(&entries.iter().collect::<Vec<_>>(), &arguments, directory.path())?;
    let mut measured = BTreeMap::new();
    for (entry, count) in entries.iter().zip(counts) {
        let suite = if entry.candidate == sip::peers::name::STROWGER { "sip" } else { "engine" };
        let key = record::key(suite, entry.workload, entry.candidate);
        let count = match (&entry.case, count) {
            (Ok(_), Some(count)) => count,
            (Err(refusal), _) => return Err(format!("{key} is refused: {refusal}")),
            (Ok(_), None) => return Err(format!("{key} was not counted")),
        };
        measured.insert(key, record::tenths(count));
    }
    measured.extend(engine::counted_average(&measured).map(|(key, count)| (key, record::tenths(count))));
    if part.is_none() {
        measured.insert(XDP.to_owned(), program_size()? as f64);
    }
    Ok(measured)
}

/// Instructions of the committed XDP program, all functions together.
fn program_size() -> Result<u64, String> {
    /// Octets of an instruction (RFC 9669 section 3).
    const INSTRUCTION: u64 = 8;
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../xdp-ebpf/object/strowger-xdp.o");
    let octets = std::fs::read(&path).map_err(|e| format!("{}: {e}", path.display()))?;
    let file = object::File::parse(&*octets).map_err(|e| format!("{}: {e}", path.display()))?;
    let text = file.sections().filter(|section| section.kind() == SectionKind::Text);
    Ok(text.map(|section| section.size()).sum::<u64>() / INSTRUCTION)
}

/// Keeps the counts in the record.
///
/// # Errors
/// A count rose by more than [`SLACK`] and there is no reason, or the file can't be written.
pub fn keep(kept: Record, measured: BTreeMap<String, f64>, reason: Option<&str>) -> Result<(), String> {
    let peers = kept.instructions.iter().filter(|(key, _)| record::is_a_peers(key));
    let peers = peers.map(|(key, count)| (key.clone(), *count));
    let mut new = Record {
        rustc: env!("STROWGER_BENCH_RUSTC").to_owned(),
        instructions: peers.chain(measured).collect(),
        ..kept.clone()
    };
    record::justify(&kept, &mut new, reason)?;
    record::save(&new)
}

/// The counts held against the record.
#[derive(Clone, Debug, PartialEq)]
pub struct Verdict {
    /// By key: what is recorded and what was measured.
    pub lines: BTreeMap<String, (Option<f64>, Option<f64>)>,
    /// The compiler of the record, when it is not the one that built this.
    pub other_compiler: Option<String>,
}

/// What became of a count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// Within the slack, or less than recorded.
    Fine,
    /// More than recorded and the slack.
    Risen,
    /// Not in the record.
    New,
    /// In the record, and not counted any more.
    Gone,
}

impl Verdict {
    /// Holds what was measured by the compiler `rustc` against the record.
    #[must_use]
    pub fn of(record: &Record, measured: &BTreeMap<String, f64>, rustc: &str) -> Self {
        let recorded: BTreeMap<_, _> =
            record.instructions.iter().filter(|(key, _)| !record::is_a_peers(key)).collect();
        let keys: BTreeSet<&String> = recorded.keys().copied().chain(measured.keys()).collect();
        let line = |key: &String| {
            (key.clone(), (recorded.get(key).map(|count| **count), measured.get(key).copied()))
        };
        Self {
            lines: keys.into_iter().map(line).collect(),
            other_compiler: (record.rustc != rustc).then(|| record.rustc.clone()),
        }
    }

    /// What became of this one.
    fn change(line: (Option<f64>, Option<f64>)) -> Change {
        match line {
            (Some(recorded), Some(measured)) if measured > recorded * (1.0 + SLACK) => Change::Risen,
            (Some(_), Some(_)) => Change::Fine,
            (None, _) => Change::New,
            (_, None) => Change::Gone,
        }
    }

    /// Whether no count rose by more than the slack and the record is of the same cases. Counts of another compiler are
    /// shown and decide nothing.
    #[must_use]
    pub fn holds(&self) -> bool {
        self.other_compiler.is_some() || self.lines.values().all(|line| Self::change(*line) == Change::Fine)
    }

    /// For people at a terminal; the last line is the verdict.
    #[must_use]
    pub fn terminal(&self) -> String {
        let mut text = String::new();
        let width = self.lines.keys().map(|key| key.chars().count()).max().unwrap_or(0);
        let head = format!("  {:width$} {:>10} {:>10} {:>8}", "instructions", "recorded", "now", "change");
        let _ = writeln!(text, "{}", style(head).dim());
        for (key, line) in &self.lines {
            let difference = line.0.zip(line.1).map(|(before, now)| (now / before - 1.0) * 100.0);
            let difference = difference.map_or_else(String::new, |part| format!("{part:+.1} %"));
            let note = match Self::change(*line) {
                Change::Fine => "",
                Change::Risen => "  MORE",
                Change::New => "  not recorded",
                Change::Gone => "  gone",
            };
            let (recorded, now) = (shown(line.0, 0), shown(line.1, 0));
            let _ = writeln!(text, "  {key:width$} {recorded:>10} {now:>10} {difference:>8}{note}");
        }
        if let Some(rustc) = &self.other_compiler {
            let _ = writeln!(text, "the record is of another compiler ({rustc}): nothing is decided");
        }
        let bad = self.lines.values().filter(|line| Self::change(**line) != Change::Fine).count();
        let _ = match bad {
            0 => writeln!(
                text,
                "guard: {} counts, none rose by more than {:.0} %",
                self.lines.len(),
                SLACK * 100.0
            ),
            _ => writeln!(
                text,
                "guard: {bad} of {} counts rose by more than {:.0} % or are not as recorded; if they are worth it: \
                 cargo xtask bench guard --record --reason TEXT",
                self.lines.len(),
                SLACK * 100.0
            ),
        };
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(all: &[(&str, f64)]) -> BTreeMap<String, f64> {
        all.iter().map(|(key, count)| ((*key).to_owned(), *count)).collect()
    }

    #[test]
    fn five_percent_are_the_compilers_and_more_are_ours() {
        let (bye, invite) = ("parse BYE / strowger", "engine: INVITE / 1,000");
        let record = Record {
            rustc: "rustc 1".into(),
            instructions: counts(&[(bye, 1000.0), (invite, 2000.0), ("parse BYE / rsip", 9.0)]),
            ..Record::default()
        };
        let verdict = |all: &[(&str, f64)]| Verdict::of(&record, &counts(all), "rustc 1");
        let fine = verdict(&[(bye, 1050.0), (invite, 10.0)]);
        assert!(fine.holds());
        assert_eq!(fine.lines.len(), 2, "what peers take is not guarded");
        let risen = verdict(&[(bye, 1051.0), (invite, 2000.0)]);
        assert!(!risen.holds());
        assert!(risen.terminal().contains("+5.1 %  MORE"), "{}", risen.terminal());
        assert!(!verdict(&[(bye, 1000.0)]).holds(), "a case that is gone is not guarded any more");
        assert!(
            !verdict(&[(bye, 1.0), (invite, 1.0), ("new / strowger", 1.0)]).holds(),
            "nor one not recorded"
        );
        let other = Verdict::of(&record, &counts(&[(bye, 9999.0)]), "rustc 2");
        assert!(other.holds() && other.terminal().contains("another compiler (rustc 1)"));
    }

    #[test]
    fn the_program_has_a_size() {
        let size = program_size().unwrap();
        assert!((500..100_000).contains(&size), "{size}");
    }
}
