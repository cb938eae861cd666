//! What is measured: one workload done by one candidate.

use std::fmt;

/// A piece of work that can be repeated. One call of [`run`](Self::run) is a *segment* of
/// [`operations`](Self::operations) operations on differing inputs; only segments are timed and counted.
pub trait Case {
    /// Brings the inputs of the next segment into their first state; not measured.
    fn prepare(&mut self) {}
    /// The measured work.
    fn run(&mut self);
    /// Operations in a segment.
    fn operations(&self) -> u64;
}

/// A case that can't be measured, and why: shown in the report at its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal(pub String);

impl Refusal {
    /// From any error.
    pub fn of(error: impl fmt::Debug) -> Self {
        // Some peers put the whole message into their errors.
        Self(format!("{error:?}").chars().take(120).collect())
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A case under its name.
pub struct Entry {
    /// What is done, as in "parse INVITE"; entries of one workload stand together.
    pub workload: &'static str,
    /// Who does it, as in "libosip2".
    pub candidate: &'static str,
    /// The work, checked once against the expected result before it is handed out; or why there is none.
    pub case: Result<Box<dyn Case>, Refusal>,
}

impl Entry {
    /// Key in the record of instruction counts.
    #[must_use]
    pub fn key(&self) -> String {
        format!("{} / {}", self.workload, self.candidate)
    }
}

/// One segment. It stays a function of its own under this name: the clock is read around it, and callgrind counts
/// between its entry and its return (see [`callgrind`](crate::callgrind)).
#[inline(never)]
pub fn measured_segment(case: &mut dyn Case) {
    case.run();
}
