//! A run as people like to read it: a column for each party, time downwards, an arrow for each message.

use core::fmt::Write as _;
use core::net::SocketAddr;
use core::time::Duration;
use std::collections::HashMap;

use strowger_engine::Time;

use crate::plan::BEGINNING;
use crate::text::Message;
use crate::trace::{Fate, Record};
use crate::world::Report;

/// Columns from one party to the next.
const STEP: usize = 10;

/// What of a run is shown.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Only messages whose Call-ID contains this.
    pub call: Option<String>,
}

impl Filter {
    fn shows(&self, record: &Record) -> bool {
        match (&self.call, record) {
            (None, _) => true,
            (Some(_), Record::Note { text, .. }) => text.starts_with("FAULT"),
            (Some(wanted), Record::Datagram { bytes, .. }) => {
                Message::read(bytes).is_some_and(|message| message.call_id().contains(wanted.as_str()))
            }
        }
    }
}

/// The ladder of a run that was kept.
#[must_use]
pub fn draw(report: &Report, filter: &Filter) -> String {
    let shown: Vec<&Record> = report.trace.records().iter().filter(|r| filter.shows(r)).collect();
    let taking_part = |address: &SocketAddr| {
        shown
            .iter()
            .any(|r| matches!(r, Record::Datagram { from, to, .. } if from == address || to == address))
    };
    let parties: Vec<&(SocketAddr, String)> = report.parties.iter().filter(|(a, _)| taking_part(a)).collect();
    let columns: HashMap<SocketAddr, usize> = parties.iter().enumerate().map(|(n, (a, _))| (*a, n)).collect();
    let mut text = format!("{:>12}  ", "seconds");
    for (_, name) in &parties {
        let _ = write!(text, "{name:<STEP$}");
    }
    text.push('\n');
    for record in shown {
        match record {
            Record::Datagram { at, from, to, fate, bytes } => {
                let arrow = arrow(parties.len(), columns.get(from).copied(), columns.get(to).copied(), *fate);
                let _ = writeln!(text, "{}  {arrow}  {}{}", clock(*at), start(bytes), remark(*fate, *to));
            }
            Record::Note { at, party, text: note } => {
                let who = report.parties.iter().find(|(a, _)| Some(*a) == *party);
                let name = who.map_or(String::new(), |(_, name)| format!("{name} "));
                let _ = writeln!(text, "{}  ** {name}{note}", clock(*at));
            }
        }
    }
    text
}

fn clock(at: Time) -> String {
    format!("{:>12.6}", at.since(BEGINNING).as_secs_f64())
}

/// The start line, and what tells a response from others of its kind.
pub(crate) fn start(bytes: &[u8]) -> String {
    match Message::read(bytes) {
        Some(message) if message.code().is_some() => {
            let status = message.start.strip_prefix("SIP/2.0 ").unwrap_or_default();
            format!("{status} ({})", message.get("CSeq").unwrap_or_default())
        }
        Some(message) => message.start.strip_suffix(" SIP/2.0").unwrap_or(message.start).to_owned(),
        None => {
            let line = bytes.split(|b| *b == b'\n').next().unwrap_or_default();
            format!("{} octets: {}", bytes.len(), line.get(..40).unwrap_or(line).escape_ascii())
        }
    }
}

fn remark(fate: Fate, to: SocketAddr) -> String {
    let shown = |d: Duration| format!("{:.1} ms", d.as_secs_f64() * 1000.0);
    match fate {
        Fate::Arrives(after) => format!("  +{}", shown(after)),
        Fate::Twice(first, second) => format!("  +{} and +{}", shown(first), shown(second)),
        Fate::Lost => "  LOST".to_owned(),
        Fate::Severed => "  CUT OFF".to_owned(),
        Fate::Nowhere => format!("  to nobody ({to})"),
    }
}

/// Lifelines, with an arrow between two of them.
fn arrow(columns: usize, from: Option<usize>, to: Option<usize>, fate: Fate) -> String {
    let width = columns.saturating_sub(1) * STEP + 1;
    let mut line = vec![' '; width];
    for column in 0..columns {
        line[column * STEP] = '│';
    }
    if let (Some(from), Some(to)) = (from, to) {
        let arrives = matches!(fate, Fate::Arrives(_) | Fate::Twice(..));
        let (left, right) = (from.min(to) * STEP, from.max(to) * STEP);
        for place in line.iter_mut().take(right).skip(left + 1) {
            *place = if *place == '│' { '┼' } else { '─' };
        }
        line[from * STEP] = if from < to { '├' } else { '┤' };
        let (head, place) =
            if from < to { ('►', (to * STEP).saturating_sub(1)) } else { ('◄', to * STEP + 1) };
        if let Some(place) = line.get_mut(place).filter(|_| from != to) {
            *place = if arrives { head } else { '✕' };
        }
    }
    line.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arrows_go_from_column_to_column() {
        let arrives = Fate::Arrives(Duration::ZERO);
        assert_eq!(arrow(3, Some(0), Some(2), arrives), "├─────────┼────────►│");
        assert_eq!(arrow(3, Some(2), Some(1), arrives), "│         │◄────────┤");
        assert_eq!(arrow(2, Some(0), Some(1), Fate::Lost), "├────────✕│");
        assert_eq!(arrow(2, Some(0), None, Fate::Nowhere), "│         │");
    }

    #[test]
    fn start_lines_are_short() {
        assert_eq!(start(b"SIP/2.0 180 Ringing\r\nCSeq: 1 INVITE\r\n\r\n"), "180 Ringing (1 INVITE)");
        assert_eq!(start(b"BYE sip:a SIP/2.0\r\nCSeq: 1 BYE\r\n\r\n"), "BYE sip:a");
        assert_eq!(start(b"\x00\xff\nx"), "4 octets: \\x00\\xff");
    }
}
