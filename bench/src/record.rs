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
}

/// Where it is kept.
#[must_use]
pub fn path() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("instructions.json")
}

/// Keeps the counts of this run, and those of other suites that are in the record. A workload that depends on files
/// outside the tree is left out.
///
/// # Errors
/// Nothing was counted, or the file can't be read or written.
pub fn write(report: &Report) -> Result<(), String> {
    let record = from(report);
    if record.instructions.is_empty() {
        return Err("there are no instruction counts to keep: is valgrind installed?".into());
    }
    let record = merged(read()?, record, report.suite);
    let text = serde_json::to_string_pretty(&record).map_err(|e| e.to_string())?;
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
fn is_of(suite: &str, key: &str) -> bool {
    match suite {
        "sip" => !key.contains(": "),
        suite => key.strip_prefix(suite).is_some_and(|rest| rest.starts_with(": ")),
    }
}

fn merged(kept: Record, new: Record, suite: &str) -> Record {
    let others = kept.instructions.into_iter().filter(|(key, _)| !is_of(suite, key));
    Record {
        rustc: new.rustc,
        versions: kept.versions.into_iter().chain(new.versions).collect(),
        instructions: others.chain(new.instructions).collect(),
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
                row.instructions.map(|count| (key, (count * 10.0).round() / 10.0))
            })
            .collect(),
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
}
