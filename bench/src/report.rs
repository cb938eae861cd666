//! What a run says: rows, targets, the machine; as a table for people, as Markdown, as JSON.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use console::{Style, style};
use serde::Serialize;

use crate::case::Entry;
use crate::machine::Machine;
use crate::rounds::Times;

/// One case's figures; each is for one operation.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// What was done.
    pub workload: String,
    /// Who did it.
    pub candidate: String,
    /// Why there are no figures.
    pub refused: Option<String>,
    /// Middle of the rounds, nanoseconds.
    pub median_ns: Option<f64>,
    /// Nine tenths of the rounds were slower.
    pub p10_ns: Option<f64>,
    /// Nine tenths of the rounds were faster.
    pub p90_ns: Option<f64>,
    /// The fastest round.
    pub min_ns: Option<f64>,
    /// The slowest round.
    pub max_ns: Option<f64>,
    /// Instructions, by callgrind.
    pub instructions: Option<f64>,
    /// Allocations.
    pub allocations: Option<f64>,
    /// Octets allocated.
    pub allocated_bytes: Option<f64>,
}

impl Row {
    /// What was measured of a case: its times, instructions, allocations and octets.
    #[must_use]
    pub fn new(
        entry: &Entry,
        times: &Times,
        instructions: Option<f64>,
        allocations: Option<(f64, f64)>,
    ) -> Self {
        let times = entry.case.is_ok().then_some(times);
        Self {
            workload: entry.workload.to_owned(),
            candidate: entry.candidate.to_owned(),
            refused: entry.case.as_ref().err().map(ToString::to_string),
            median_ns: times.map(Times::median),
            p10_ns: times.map(|t| t.quantile(0.1)),
            p90_ns: times.map(|t| t.quantile(0.9)),
            min_ns: times.map(|t| t.quantile(0.0)),
            max_ns: times.map(|t| t.quantile(1.0)),
            instructions,
            allocations: allocations.map(|(count, _)| count),
            allocated_bytes: allocations.map(|(_, bytes)| bytes),
        }
    }
}

/// Something that must hold.
#[derive(Clone, Debug, Serialize)]
pub struct Target {
    /// What, with its unit.
    pub name: String,
    /// The most that is allowed.
    pub limit: f64,
    /// What was measured; none when it was not.
    pub measured: Option<f64>,
}

impl Target {
    /// Whether it was measured and holds.
    #[must_use]
    pub fn met(&self) -> bool {
        self.measured.is_some_and(|measured| measured <= self.limit)
    }
}

/// A whole run.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// The suite, as in "sip".
    pub suite: &'static str,
    /// Where.
    pub machine: Machine,
    /// Peers and tools, by version.
    pub versions: BTreeMap<&'static str, String>,
    /// How: rounds, batches, what was disturbed.
    pub method: Method,
    /// Which candidate's figures stand together.
    pub layout: Layout,
    /// The figures.
    pub rows: Vec<Row>,
    /// What else was found out.
    pub sections: Vec<Section>,
    /// The targets.
    pub targets: Vec<Target>,
}

/// How the rows are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum Layout {
    /// A table for each workload.
    Apart,
    /// One table.
    Together,
}

/// A table of its own beside the rows.
#[derive(Clone, Debug, Serialize)]
pub struct Section {
    /// What it says.
    pub title: String,
    /// Heads of the columns; the first is that of the lines' names.
    pub head: Vec<String>,
    /// The lines.
    pub lines: Vec<Vec<String>>,
    /// What has to be known to read it.
    pub note: String,
}

/// How a run was made.
#[derive(Clone, Debug, Serialize)]
pub struct Method {
    /// Interleaved rounds.
    pub rounds: usize,
    /// Measured time of one batch, microseconds.
    pub batch_us: u128,
    /// Copies of each message.
    pub copies: usize,
    /// Cost of reading the clock, taken off each segment; nanoseconds.
    pub clock_ns: f64,
    /// The processor's clock, GHz: median of the rounds, by a chain of dependent multiplications.
    pub processor_ghz: f64,
    /// Batches that were repeated because the thread had been off the CPU.
    pub repeated: u64,
    /// Batches that count although the thread had been off the CPU.
    pub disturbed: u64,
    /// Seconds in which the hypervisor took a CPU away meanwhile.
    pub stolen_s: f64,
    /// Why instructions were not counted.
    pub uncounted: Option<String>,
}

impl Report {
    /// Targets that do not hold.
    #[must_use]
    pub fn missed(&self) -> usize {
        self.targets.iter().filter(|target| !target.met()).count()
    }

    /// The last line: `targets: 5 met, 0 missed`.
    #[must_use]
    pub fn summary(&self) -> String {
        let missed = self.missed();
        format!("targets: {} met, {missed} missed", self.targets.len() - missed)
    }

    /// The candidate whose figures the others are compared with.
    fn first<'a>(&'a self, row: &Row) -> Option<&'a Row> {
        self.rows.iter().find(|other| other.workload == row.workload)
    }

    fn cells(&self, row: &Row) -> [String; 6] {
        if let Some(reason) = &row.refused {
            // Some peers' errors hold the message; the JSON has it all.
            let first = reason.split(['(', '\n']).next().unwrap_or_default();
            let short: String = first.chars().take(60).collect();
            return [
                row.candidate.clone(),
                format!("refused: {short}"),
                "".into(),
                "".into(),
                "".into(),
                "".into(),
            ];
        }
        let ours = self.first(row).and_then(|first| first.median_ns);
        let times =
            row.median_ns.zip(ours).map_or_else(String::new, |(time, ours)| format!("{:.1}", time / ours));
        let range = row.p10_ns.zip(row.p90_ns).map(|(low, high)| format!("{low:.0}–{high:.0}"));
        [
            row.candidate.clone(),
            shown(row.median_ns, if row.median_ns.is_some_and(|t| t < 100.0) { 1 } else { 0 }),
            range.unwrap_or_default(),
            times,
            shown(row.instructions, 0),
            shown(row.allocations, 0),
        ]
    }

    /// For people at a terminal. Colours only where they are welcome (`NO_COLOR`, no terminal).
    #[must_use]
    pub fn terminal(&self) -> String {
        let mut text = String::new();
        let mut workload = "";
        for row in &self.rows {
            if row.workload != workload {
                let head = workload.is_empty() || self.layout == Layout::Apart;
                workload = &row.workload;
                if head {
                    let head = format!(
                        "  {:12} {:>8} {:>15} {:>7} {:>9} {:>7}",
                        "", "ns", "p10–p90", "×", "instr.", "allocs"
                    );
                    if self.layout == Layout::Apart {
                        let _ = writeln!(text, "\n{}", style(workload).bold());
                    }
                    let _ = writeln!(text, "{}", style(head).dim());
                }
                if self.layout == Layout::Together {
                    let _ = writeln!(text, "{}", style(workload).bold());
                }
            }
            let [candidate, time, range, times, instructions, allocations] = self.cells(row);
            let line = if row.refused.is_some() {
                format!("  {candidate:12} {time}")
            } else {
                format!(
                    "  {candidate:12} {time:>8} {range:>15} {times:>7} {instructions:>9} {allocations:>7}"
                )
            };
            let first = self.first(row).is_some_and(|first| first.candidate == row.candidate);
            let look = if first { Style::new().bold() } else { Style::new() };
            let _ = writeln!(text, "{}", look.apply_to(line));
        }
        for section in &self.sections {
            section.terminal(&mut text);
        }
        let _ = writeln!(text);
        for line in self.circumstances() {
            let _ = writeln!(text, "{}", style(line).dim());
        }
        let _ = writeln!(text);
        for target in &self.targets {
            let verdict = if target.met() { style("met   ").green() } else { style("MISSED").red().bold() };
            let _ = writeln!(text, "{verdict} {}", sentence(target));
        }
        let _ = writeln!(text, "{}", self.summary());
        text
    }

    /// The same as Markdown.
    #[must_use]
    pub fn markdown(&self) -> String {
        let mut text = String::new();
        let mut workload = "";
        if self.layout == Layout::Together {
            let _ = writeln!(text, "| | | ns | p10–p90 | × | instructions | allocations |");
            let _ = writeln!(text, "|---|---:|---:|---:|---:|---:|---:|");
        }
        for row in &self.rows {
            let begins = row.workload != workload;
            workload = &row.workload;
            if self.layout == Layout::Together {
                let name = if begins { workload } else { "" };
                let _ = writeln!(text, "| {name} | {} |", self.cells(row).join(" | "));
                continue;
            }
            if begins {
                let _ = writeln!(text, "\n**{workload}**\n");
                let _ = writeln!(text, "| | ns | p10–p90 | × | instructions | allocations |");
                let _ = writeln!(text, "|---|---:|---:|---:|---:|---:|");
            }
            let _ = writeln!(text, "| {} |", self.cells(row).join(" | "));
        }
        let _ = writeln!(text);
        for section in &self.sections {
            section.markdown(&mut text);
        }
        for line in self.circumstances() {
            let _ = writeln!(text, "- {line}");
        }
        let _ = writeln!(text, "\n| Target | |\n|---|---|");
        for target in &self.targets {
            let verdict = if target.met() { "met" } else { "**missed**" };
            let _ = writeln!(text, "| {} | {verdict} |", sentence(target));
        }
        let _ = writeln!(text, "\n{}", self.summary());
        text.trim_start().to_owned()
    }

    fn circumstances(&self) -> Vec<String> {
        let Machine { cpu, cpu_id, cpus, virtual_machine, kernel, rustc, load } = &self.machine;
        let guest = if *virtual_machine { ", a virtual machine" } else { "" };
        let Method {
            rounds,
            batch_us,
            copies,
            clock_ns,
            processor_ghz,
            repeated,
            disturbed,
            stolen_s,
            uncounted,
        } = &self.method;
        let mut lines = vec![
            format!(
                "machine: {cpu} ({cpu_id}), {cpus} CPUs{guest}, {processor_ghz:.2} GHz while measuring; {kernel}; load {load:.1} at the start"
            ),
            format!(
                "versions: {rustc}; {}",
                self.versions
                    .iter()
                    .map(|(name, version)| format!("{name} {version}"))
                    .collect::<Vec<_>>()
                    .join(", ")
            ),
            format!(
                "method: median of {rounds} interleaved rounds of {batch_us} µs on {copies} differing messages; clock \
                 {clock_ns:.0} ns taken off; {repeated} batches repeated and {disturbed} kept though disturbed; \
                 {stolen_s:.1} s stolen by the hypervisor"
            ),
        ];
        if let Some(reason) = uncounted {
            lines.push(format!("instructions: not counted, {reason}"));
        }
        lines
    }
}

impl Section {
    fn terminal(&self, text: &mut String) {
        let columns = self.head.len();
        let widths: Vec<usize> = (0..columns)
            .map(|at| {
                let cells = self.lines.iter().filter_map(|line| line.get(at));
                cells.chain(self.head.get(at)).map(|cell| cell.chars().count()).max().unwrap_or(0)
            })
            .collect();
        let line = |cells: &[String]| {
            let mut line = String::new();
            for (at, (cell, width)) in cells.iter().zip(&widths).enumerate() {
                let _ = match at {
                    0 => write!(line, "  {cell:width$}"),
                    _ => write!(line, "  {cell:>width$}"),
                };
            }
            line
        };
        let _ = writeln!(text, "\n{}", style(&self.title).bold());
        let _ = writeln!(text, "{}", style(line(&self.head)).dim());
        for cells in &self.lines {
            let _ = writeln!(text, "{}", line(cells));
        }
        let _ = writeln!(text, "{}", style(format!("  {}", self.note)).dim());
    }

    fn markdown(&self, text: &mut String) {
        let _ = writeln!(text, "**{}**\n\n| {} |", self.title, self.head.join(" | "));
        let _ = writeln!(text, "|---{}|", "|---:".repeat(self.head.len().saturating_sub(1)));
        for cells in &self.lines {
            let _ = writeln!(text, "| {} |", cells.join(" | "));
        }
        let _ = writeln!(text, "\n{}\n", self.note);
    }
}

fn sentence(target: &Target) -> String {
    let measured = target.measured.map_or_else(|| "not measured".to_owned(), |m| format!("{m:.3}"));
    let measured = measured.trim_end_matches('0').trim_end_matches('.').to_owned();
    let measured = if measured.is_empty() { "0".to_owned() } else { measured };
    format!("{}: {measured}, at most {}", target.name, target.limit)
}

/// A number with thousands apart.
#[must_use]
pub fn shown(value: Option<f64>, decimals: usize) -> String {
    let Some(value) = value else { return "–".into() };
    let text = format!("{value:.decimals$}");
    let (whole, part) = text.split_once('.').map_or((text.as_str(), None), |(w, p)| (w, Some(p)));
    let mut grouped = String::new();
    for (at, digit) in whole.chars().enumerate() {
        if at > 0 && (whole.len() - at).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    part.map_or(grouped.clone(), |part| format!("{grouped}.{part}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers() {
        assert_eq!(shown(Some(1_234_567.4), 0), "1,234,567");
        assert_eq!(shown(Some(67.25), 1), "67.2");
        assert_eq!(shown(None, 0), "–");
    }

    #[test]
    fn a_target_that_was_not_measured_is_missed() {
        let target = |measured| Target { name: "time, ns".into(), limit: 250.0, measured };
        assert!(target(Some(250.0)).met());
        assert!(!target(Some(250.1)).met());
        assert!(!target(None).met());
        assert_eq!(sentence(&target(Some(240.0))), "time, ns: 240, at most 250");
        assert_eq!(sentence(&target(Some(0.0))), "time, ns: 0, at most 250");
        assert_eq!(sentence(&target(None)), "time, ns: not measured, at most 250");
    }
}
