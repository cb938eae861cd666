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
