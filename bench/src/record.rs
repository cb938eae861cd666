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

/// Keeps the counts of this run. A workload that depends on files outside the tree is left out.
///
/// # Errors
/// Nothing was counted, or the file can't be written.
pub fn write(report: &Report) -> Result<(), String> {
    let record = from(report);
    if record.instructions.is_empty() {
        return Err("there are no instruction counts to keep: is valgrind installed?".into());
    }
    let text = serde_json::to_string_pretty(&record).map_err(|e| e.to_string())?;
    let path = path();
    std::fs::write(&path, text + "\n").map_err(|e| format!("could not write {}: {e}", path.display()))
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
                let key = format!("{} / {}", row.workload, row.candidate);
                row.instructions.map(|count| (key, (count * 10.0).round() / 10.0))
            })
            .collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::Machine;
    use crate::report::{Method, Row};
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
            targets: Vec::new(),
        };
        let record = from(&report);
        assert_eq!(record.instructions, BTreeMap::from([("parse BYE / strowger".to_owned(), 1234.6)]));
        let text = serde_json::to_string(&record).unwrap();
        assert_eq!(serde_json::from_str::<Record>(&text).unwrap(), record);
    }
}
