//! Two sessions: what changed beyond noise. Noise is the range of the alternated rounds: where two ranges share a value
//! nothing is said to have changed.

use std::fmt::Write as _;

use crate::figures::{self, Better, Figure};
use crate::number;
use crate::session::Session;

/// What became of a figure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The ranges share a value.
    Noise,
    /// Beyond noise, to the better.
    Better,
    /// Beyond noise, to the worse.
    Worse,
}

/// One figure in both.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    /// In the first.
    pub before: Figure,
    /// In the second.
    pub after: Figure,
    /// What became of it.
    pub outcome: Outcome,
}

/// Every figure that both have, and what only one has.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Comparison {
    /// In both.
    pub changes: Vec<Change>,
    /// What only one of them measured: `PEER, WHAT`.
    pub apart: Vec<String>,
    /// Why the two may not compare: another machine, another kernel.
    pub warnings: Vec<String>,
}

/// Holds `after` against `before`.
#[must_use]
pub fn compare(before: &Session, after: &Session) -> Comparison {
    let (old, new) = (figures::all(before), figures::all(after));
    let same = |a: &Figure, b: &Figure| a.what == b.what && a.peer == b.peer;
    let mut comparison = Comparison::default();
    for figure in &old {
        match new.iter().find(|other| same(figure, other)) {
            Some(other) => comparison.changes.push(Change {
                before: figure.clone(),
                after: other.clone(),
                outcome: outcome(figure, other),
            }),
            None => comparison.apart.push(format!("{}, {}: only before", figure.peer, figure.what)),
        }
    }
    for figure in new.iter().filter(|figure| !old.iter().any(|other| same(figure, other))) {
        comparison.apart.push(format!("{}, {}: only after", figure.peer, figure.what));
    }
    let machine = |session: &Session| session.machine.clone();
    let (a, b) = (machine(before), machine(after));
    for (what, a, b) in [
        ("processor", a.cpu, b.cpu),
        ("processors", a.cpus.to_string(), b.cpus.to_string()),
        ("kernel", a.kernel, b.kernel),
        ("compiler", a.rustc, b.rustc),
    ] {
        if a != b {
            comparison.warnings.push(format!("{what}: {a} and {b}"));
        }
    }
    for session in [before, after] {
        let disturbed = session.disturbed().count();
        if disturbed > 0 {
            comparison.warnings.push(format!("{}: {disturbed} disturbed runs", session.name));
        }
    }
    comparison
}

fn outcome(before: &Figure, after: &Figure) -> Outcome {
    if before.spread.overlaps(&after.spread) {
        return Outcome::Noise;
    }
    let less = after.spread.median < before.spread.median;
    if less == (before.better == Better::Lower) { Outcome::Better } else { Outcome::Worse }
}

impl Comparison {
    /// For people; the last line is the verdict.
    #[must_use]
    pub fn terminal(&self) -> String {
        let mut text = String::new();
        for warning in &self.warnings {
            let _ = writeln!(text, "note: {warning}");
        }
        for (wanted, head) in [(Outcome::Worse, "worse"), (Outcome::Better, "better")] {
            let found: Vec<&Change> = self.changes.iter().filter(|change| change.outcome == wanted).collect();
            if found.is_empty() {
                continue;
            }
            let _ = writeln!(text, "\n{head}");
            for change in found {
                let (a, b) = (change.before.spread, change.after.spread);
                let by = (b.median / a.median - 1.0) * 100.0;
                let _ = writeln!(
                    text,
                    "  {:10} {}: {} → {} {} ({by:+.0} %)",
                    change.before.peer,
                    change.before.what,
                    number::spread(Some(a)),
                    number::spread(Some(b)),
                    change.before.unit
                );
            }
        }
        if !self.apart.is_empty() {
            let _ = writeln!(text, "\nin one of them alone: {}", self.apart.len());
            for what in &self.apart {
                let _ = writeln!(text, "  {what}");
            }
        }
        let count = |outcome| self.changes.iter().filter(|change| change.outcome == outcome).count();
        let (worse, better) = (count(Outcome::Worse), count(Outcome::Better));
        let _ = writeln!(
            text,
            "\n{} figures: {better} better, {worse} worse, {} within noise",
            self.changes.len(),
            count(Outcome::Noise)
        );
        text
    }

    /// Whether any figure is worse beyond noise.
    #[must_use]
    pub fn is_worse(&self) -> bool {
        self.changes.iter().any(|change| change.outcome == Outcome::Worse)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::figures::tests::session;
    use crate::session::{COPY, KAMAILIO};

    #[test]
    fn a_session_equals_itself() {
        let session = session();
        let comparison = compare(&session, &session);
        assert!(comparison.changes.len() > 10);
        assert!(comparison.changes.iter().all(|change| change.outcome == Outcome::Noise));
        assert!(comparison.apart.is_empty() && comparison.warnings.is_empty() && !comparison.is_worse());
    }

    #[test]
    fn only_what_is_beyond_the_ranges_changed() {
        let before = session();
        let mut after = before.clone();
        after.machine.kernel = "Linux 7".to_owned();
        for search in &mut after.searches {
            // Kamailio's rounds lie 2 apart: one more is noise. Ours falls by a third.
            search.highest =
                search.highest.map(|rate| if search.peer == KAMAILIO { rate + 1.0 } else { rate * 0.66 });
        }
        after.memory[0].after_bytes = 1_150_000;
        let comparison = compare(&before, &after);
        let of = |what: &str, peer: &str| {
            let mut all = comparison.changes.iter();
            all.find(|change| change.before.what == what && change.before.peer == peer).unwrap().outcome
        };
        assert_eq!(of("call: highest lossless rate", KAMAILIO), Outcome::Noise);
        assert_eq!(of("call: highest lossless rate", COPY), Outcome::Worse);
        assert_eq!(of("memory of a binding", COPY), Outcome::Better, "less memory is better");
        assert!(comparison.is_worse());
        assert_eq!(comparison.warnings, ["kernel:  and Linux 7"]);
        let text = comparison.terminal();
        assert!(text.contains("(-34 %)") && text.contains(": 1 better, 1 worse, "), "{text}");
    }
}
