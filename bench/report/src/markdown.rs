//! The report as Markdown: the tables, for a README or a review.

use std::fmt::Write as _;

use crate::session::Session;
use crate::tables::{self, Table};
use crate::targets;

/// The whole report.
#[must_use]
pub fn markdown(session: &Session) -> String {
    let mut text = format!("# {}\n\n{}.\n\n", title(session), targets::summary(&targets::of(session)));
    let disturbed = session.disturbed().count();
    if disturbed > 0 {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{disturbed} of {} runs were disturbed; see below.\n", session.samples.len());
    }
    for what in &session.omitted {
        let _ = writeln!(text, "- not done: {what}");
    }
    let all = std::iter::once(tables::targets(session))
        .chain(tables::rates(session))
        .chain(tables::echoes(session))
        .chain(tables::costs(session))
        .chain(tables::latencies(session))
        .chain(tables::memory(session))
        .chain(tables::scale(session))
        .chain(tables::ends(session))
        .chain(tables::trouble(session));
    for table in all {
        text.push_str(&one(&table));
    }
    let _ = writeln!(text, "\n## Machine\n");
    for (name, value) in tables::machine(session) {
        let _ = writeln!(text, "- {name}: {value}");
    }
    for peer in &session.peers {
        let _ = writeln!(text, "- {}: {}", peer.title, peer.version);
    }
    let _ = writeln!(text, "- again: `{}`", session.command);
    text
}

/// What it is of.
#[must_use]
pub fn title(session: &Session) -> String {
    format!("Strowger and its peers, {} run of {}", session.kind, crate::number::date(session.started_unix))
}

fn one(table: &Table) -> String {
    let cell = |text: &String| text.replace('|', "\\|").replace('\n', " ");
    let line = |cells: &[String]| format!("| {} |", cells.iter().map(cell).collect::<Vec<_>>().join(" | "));
    let rule = format!("|---{}|", "|---:".repeat(table.head.len().saturating_sub(1)));
    let mut text = format!("\n## {}\n\n{}\n{rule}\n", table.title, line(&table.head));
    for cells in &table.lines {
        let _ = writeln!(text, "{}", line(cells));
    }
    if !table.note.is_empty() {
        let _ = writeln!(text, "\n{}", table.note);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_table_is_one() {
        let mut session = crate::figures::tests::session();
        session.peers[1].title = "a | b".to_owned();
        let text = markdown(&session);
        assert!(text.contains("| a \\| b | 9,001 (9,000–9,002) |"), "{text}");
        for search in session.searches.iter_mut().filter(|search| search.peer == session.peers[1].key) {
            // The time was up.
            search.broke_at = None;
        }
        assert!(markdown(&session).contains("| a \\| b | ≥ 9,001 (9,000–9,002) |"));
        for table in text.split("\n## ").skip(1).filter(|part| !part.starts_with("Machine")) {
            let lines: Vec<&str> = table.lines().filter(|line| line.starts_with('|')).collect();
            let bars = |line: &str| line.replace("\\|", "").matches('|').count();
            assert!(lines.len() > 2, "{table}");
            assert!(lines.iter().all(|line| bars(line) == bars(lines[0])), "{table}");
        }
    }
}
