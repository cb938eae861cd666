//! Instruction counts: the same binary once more under valgrind's callgrind, with a fixed number of segments.
//!
//! Counting is on between entry and return of [`measured_segment`] only. After each case a dump is written (it is
//! triggered by the return of `counted_case`), so that one run under valgrind counts all cases. The count is of
//! instructions that the program executes, in libraries too; it does not depend on what else the machine does.

use std::path::Path;
use std::process::{Command, Stdio};

use crate::case::{Case, Entry, measured_segment};

/// Segments that are counted for each case; before them, as many uncounted ones warm lazily made things up.
const SEGMENTS: u64 = 2;

/// The subcommand under which the binary runs its cases for counting.
pub const COMMAND: &str = "count";

/// Runs all cases, for callgrind to watch.
pub fn run_counted(entries: &mut [Entry]) {
    for case in entries.iter_mut().filter_map(|entry| entry.case.as_mut().ok()) {
        for _ in 0..SEGMENTS {
            case.prepare();
            case.run();
        }
        counted_case(case.as_mut());
    }
}

/// One case; its return triggers a dump.
#[inline(never)]
fn counted_case(case: &mut dyn Case) {
    for _ in 0..SEGMENTS {
        case.prepare();
        measured_segment(case);
    }
}

/// The version of valgrind, when it is installed.
#[must_use]
pub fn version() -> Option<String> {
    let output = Command::new("valgrind").arg("--version").stdin(Stdio::null()).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// Instructions for each operation, one for each entry (none for a refused case). `arguments` are those of the suite,
/// after [`COMMAND`]; the dumps are left in `directory`, numbered in the order of the cases.
///
/// # Errors
/// valgrind cannot be started or fails, or its dumps are not what they should be.
pub fn count(entries: &[&Entry], arguments: &[&str], directory: &Path) -> Result<Vec<Option<f64>>, String> {
    let program = std::env::current_exe().map_err(|e| format!("own path: {e}"))?;
    let dump = directory.join("callgrind");
    let output = Command::new("valgrind")
        .args(["--quiet", "--tool=callgrind", "--collect-atstart=no"])
        .arg("--toggle-collect=*measured_segment*")
        .arg("--dump-after=*counted_case*")
        .arg(format!("--callgrind-out-file={}", dump.display()))
        .arg(program)
        .arg(COMMAND)
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .map_err(|e| format!("valgrind: {e}"))?;
    if !output.status.success() {
        let complaint = String::from_utf8_lossy(&output.stderr);
        return Err(format!("valgrind: {}", complaint.lines().last().unwrap_or("no message")));
    }
    let mut number = 0;
    let mut counts = Vec::with_capacity(entries.len());
    for entry in entries {
        let Ok(case) = &entry.case else {
            counts.push(None);
            continue;
        };
        number += 1;
        let path = format!("{}.{number}", dump.display());
        let text = std::fs::read_to_string(&path).map_err(|e| format!("{path}: {e}"))?;
        let total = total(&text).ok_or_else(|| format!("{path}: no total"))?;
        counts.push(Some(total as f64 / (SEGMENTS * case.operations()) as f64));
    }
    let over = format!("{}.{}", dump.display(), number + 1);
    if Path::new(&over).exists() && std::fs::read_to_string(&over).ok().and_then(|t| total(&t)) != Some(0) {
        return Err(format!("{over}: a dump that belongs to no case"));
    }
    Ok(counts)
}

/// The sum of a dump.
fn total(dump: &str) -> Option<u64> {
    let line =
        dump.lines().find_map(|line| line.strip_prefix("summary:").or(line.strip_prefix("totals:")))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_total_of_a_dump() {
        assert_eq!(total("version: 1\nevents: Ir\nsummary: 4711\n\nfn=(1) x\n"), Some(4711));
        assert_eq!(total("version: 1\ntotals: 12\n"), Some(12));
        assert_eq!(total("version: 1\n"), None);
    }
}
