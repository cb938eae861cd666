//! The record of instruction counts in the tree: what an operation costs today, so that tomorrow's cost can be compared
//! with it. Times depend on the machine, instruction counts on the compiler and the code alone.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::report::Report;

/// The record.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
pub struct Record {
    /// The compiler.
    pub rustc: String,
    /// Peers and tools.
    pub versions: BTreeMap<String, String>,
    /// Instructions for each operation, by "workload / candidate".
    pub instructions: BTreeMap<String, f64>,
    /// The last time that a count was allowed to rise by more than [`SLACK`], and why.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub risen: BTreeMap<String, Rise>,
}

/// A count that was allowed to rise.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub struct Rise {
    /// Instructions before.
    pub from: f64,
    /// And since.
    pub to: f64,
    /// What they are for, or what else made it worth them.
    pub reason: String,
}

/// What a count may rise by without a reason, as a part of it: the compiler's whims, and no more.
pub const SLACK: f64 = 0.05;

/// Where it is kept.
#[must_use]
pub fn path() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("instructions.json")
}

/// Keeps the counts of this run, and those of other suites that are in the record. A workload that depends on files
/// outside the tree is left out.
///
/// # Errors
/// Nothing was counted, one of ours rose by more than [`SLACK`] and no reason is given, or the file can't be read or
/// written.
pub fn write(report: &Report, reason: Option<&str>) -> Result<(), String> {
    let record = from(report);
    if record.instructions.is_empty() {
        return Err("there are no instruction counts to keep: is valgrind installed?".into());
    }
    let kept = read()?;
    let mut merged = merged(kept.clone(), record, report.suite);
    justify(&kept, &mut merged, reason)?;
    save(&merged)
}

/// Whether a key is of a peer: what they take is not ours to guard.
#[must_use]
pub fn is_a_peers(key: &str) -> bool {
    is_of("sip", key) && !key.ends_with(" / strowger")
}

/// Puts the reason beside every count of ours that rose by more than [`SLACK`] since `kept`.
///
/// # Errors
/// There is such a count and no reason.
pub fn justify(kept: &Record, new: &mut Record, reason: Option<&str>) -> Result<(), String> {
    let mut risen = kept.risen.clone();
    // The reason of a rise is kept until the count is another one altogether.
    risen.retain(|key, _| new.instructions.contains_key(key));
    for (key, &to) in new.instructions.iter().filter(|(key, _)| !is_a_peers(key)) {
        let Some(&from) = kept.instructions.get(key) else { continue };
        if to > from * (1.0 + SLACK) {
            let reason = reason.map(str::trim).filter(|reason| !reason.is_empty()).ok_or_else(|| {
                format!("{key} rose from {from} to {to}: that takes a reason (--reason TEXT)")
            })?;
            risen.insert(key.clone(), Rise { from, to, reason: reason.to_owned() });
        } else if to < from * (1.0 - SLACK) {
            risen.remove(key);
        }
    }
    new.risen = risen;
    Ok(())
}

/// Writes the record.
///
/// # Errors
/// The file can't be written.
pub fn save(record: &Record) -> Result<(), String> {
    let text = serde_json::to_string_pretty(record).map_err(|e| e.to_string())?;
    let path = path();
    std::fs::write(&path, text + "\n").map_err(|e| format!("could not write {}: {e}", path.display()))
}

/// The record in the tree.
///
/// # Errors
/// The file can't be read.
pub fn read() -> Result<Record, String> {
    let path = path();
    let text =
        std::fs::read_to_string(&path).map_err(|e| format!("could not read {}: {e}", path.display()))?;
    serde_json::from_str(&text).map_err(|e| format!("{}: {e}", path.display()))
}

/// Key of a row. Those of the first suite have no prefix.
#[must_use]
pub fn key(suite: &str, workload: &str, candidate: &str) -> String {
    let prefix = if suite == "sip" { String::new() } else { format!("{suite}: ") };
    format!("{prefix}{workload} / {candidate}")
}

/// Whether a key is of this suite.
pub(crate) fn is_of(suite: &str, key: &str) -> bool {
    match suite {
        "sip" => !key.contains(": "),
        suite => key.strip_prefix(suite).is_some_and(|rest| rest.starts_with(": ")),
    }
}

/// As it is written: to a tenth.
#[must_use]
pub fn tenths(count: f64) -> f64 {
    (count * 10.0).round() / 10.0
}

fn merged(kept: Record, new: Record, suite: &str) -> Record {
    let others = kept.instructions.into_iter().filter(|(key, _)| !is_of(suite, key));
    Record {
        rustc: new.rustc,
        versions: kept.versions.into_iter().chain(new.versions).collect(),
        instructions: others.chain(new.instructions).collect(),
        risen: kept.risen,
    }
}

fn from(report: &Report) -> Record {
    let counted = report.rows.iter().filter(|row| row.workload != crate::sip::workload::PARSE_CORPUS);
    Record {
        rustc: report.machine.rustc.clone(),
        versions: report
            .versions
            .iter()
            .map(|(name, version)| ((*name).to_owned(), version.clone()))
            .collect(),
        instructions: counted
            .filter_map(|row| {
                let key = key(report.suite, &row.workload, &row.candidate);
                row.instructions.map(|count| (key, tenths(count)))
            })
            .collect(),
        risen: BTreeMap::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::Machine;
    use crate::report::{Layout, Method, Row};
    use crate::sip::workload;

    #[test]
    fn counts_are_kept_but_not_those_of_files_outside_the_tree() {
        let row = |workload: &str, instructions| Row {
            workload: workload.into(),
            candidate: "strowger".into(),
            refused: None,
            median_ns: Some(1.0),
            p10_ns: None,
            p90_ns: None,
            min_ns: None,
            max_ns: None,
            instructions,
            allocations: None,
            allocated_bytes: None,
        };
        let report = Report {
            suite: "sip",
            machine: Machine::here(),
            versions: BTreeMap::from([("valgrind", "3.19.0".to_owned())]),
            method: Method {
                rounds: 1,
                batch_us: 1,
                copies: 1,
                clock_ns: 0.0,
                processor_ghz: 1.0,
                repeated: 0,
                disturbed: 0,
                stolen_s: 0.0,
                uncounted: None,
            },
            rows: vec![
                row(workload::PARSE_BYE, Some(1234.56)),
                row(workload::PARSE_CORPUS, Some(9.0)),
                row(workload::FORWARD, None),
            ],
            layout: Layout::Apart,
            sections: Vec::new(),
            targets: Vec::new(),
        };
        let record = from(&report);
        assert_eq!(record.instructions, BTreeMap::from([("parse BYE / strowger".to_owned(), 1234.6)]));
        let text = serde_json::to_string(&record).unwrap();
        assert_eq!(serde_json::from_str::<Record>(&text).unwrap(), record);

        // A suite replaces its own and leaves the others'.
        let of = |keys: &[(&str, f64)]| Record {
            instructions: keys.iter().map(|(key, count)| ((*key).to_owned(), *count)).collect(),
            ..record.clone()
        };
        let kept =
            of(&[("engine: INVITE / 1,000", 1.0), ("engine: gone / 1,000", 2.0), ("parse BYE / x", 3.0)]);
        let engine = merged(kept.clone(), of(&[("engine: INVITE / 1,000", 4.0)]), "engine");
        assert_eq!(engine, of(&[("engine: INVITE / 1,000", 4.0), ("parse BYE / x", 3.0)]));
        let sip = merged(kept, of(&[("parse BYE / y", 5.0)]), "sip");
        assert_eq!(
            sip,
            of(&[("engine: INVITE / 1,000", 1.0), ("engine: gone / 1,000", 2.0), ("parse BYE / y", 5.0)])
        );
    }
    #[test]
    fn what_rises_takes_a_reason() {
        let of = |counts: &[(&str, f64)]| Record {
            instructions: counts.iter().map(|(key, count)| ((*key).to_owned(), *count)).collect(),
            ..Record::default()
        };
        let ours = "parse BYE / strowger";
        let kept = of(&[(ours, 100.0), ("parse BYE / rsip", 100.0)]);
        // Within the slack, or a peer's: no reason is asked for.
        justify(&kept, &mut of(&[(ours, 105.0), ("parse BYE / rsip", 300.0)]), None).unwrap();
        let mut risen = of(&[(ours, 105.1)]);
        assert!(justify(&kept, &mut risen, None).unwrap_err().contains(ours));
        assert!(justify(&kept, &mut risen, Some("  ")).is_err(), "an empty reason is none");
        justify(&kept, &mut risen, Some("checks the To tag")).unwrap();
        let rise = Rise { from: 100.0, to: 105.1, reason: "checks the To tag".into() };
        assert_eq!(risen.risen.get(ours), Some(&rise));
        // It stays beside the count until that falls.
        let mut same = of(&[(ours, 104.0)]);
        justify(&risen, &mut same, None).unwrap();
        assert_eq!(same.risen.len(), 1);
        let mut fallen = of(&[(ours, 90.0)]);
        justify(&risen, &mut fallen, None).unwrap();
        assert!(fallen.risen.is_empty());
        let text = serde_json::to_string(&risen).unwrap();
        assert_eq!(serde_json::from_str::<Record>(&text).unwrap(), risen);
    }
}
