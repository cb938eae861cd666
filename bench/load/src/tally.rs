//! What an agent counts and times while it plays.

use std::collections::BTreeMap;

use hdrhistogram::Histogram;

use crate::record::{Counts, Latency, Leg, Traffic};

/// Longest time that a histogram tells from longer ones: 64·T1 and as much again.
const LONGEST: u64 = 64_000_000_000;

/// Why something failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Cause {
    /// No final response within 64·T1 (timers B and F, RFC 3261 section 17.1), or after a provisional one.
    NoAnswer,
    /// It went on when the drain was over.
    Unfinished,
    /// A response that the scenario does not want.
    Status(u16),
    /// A challenge without anything that can be answered, or credentials that were not taken.
    Challenge(u16),
    /// 2xx, but the callee never got the request.
    Elsewhere,
    /// The callee never got the ACK.
    AckLost,
    /// A Record-Route, Contact or nonce longer than there is room for.
    TooLong,
    /// A 2xx without what a dialog needs: Contact, To tag (section 12.1.2), or a Route that is not loose.
    NoDialog,
}

impl Cause {
    fn text(self) -> String {
        match self {
            Cause::NoAnswer => "no answer".to_owned(),
            Cause::Unfinished => "not over in time".to_owned(),
            Cause::Status(code) => code.to_string(),
            Cause::Challenge(code) => format!("{code}, not to be answered"),
            Cause::Elsewhere => "answered, but not by the callee".to_owned(),
            Cause::AckLost => "its ACK never came".to_owned(),
            Cause::TooLong => "headers too long to keep".to_owned(),
            Cause::NoDialog => "2xx without a usable dialog".to_owned(),
        }
    }
}

/// Counts of one kind of calls.
#[derive(Clone, Debug, Default)]
pub(crate) struct Counting {
    pub(crate) begun: u64,
    pub(crate) succeeded: u64,
    pub(crate) failed: u64,
    /// By part and step of the script.
    pub(crate) failures: BTreeMap<(u8, u8, Cause), u64>,
    pub(crate) requests: u64,
    pub(crate) requests_repeated: u64,
    pub(crate) responses_repeated: u64,
    pub(crate) requests_seen_again: u64,
    pub(crate) challenges: u64,
}

impl Counting {
    fn add(&mut self, other: &Counting) {
        let Counting { begun, succeeded, failed, failures, requests, requests_repeated, .. } = other;
        self.begun += begun;
        self.succeeded += succeeded;
        self.failed += failed;
        for (cause, count) in failures {
            *self.failures.entry(*cause).or_default() += count;
        }
        self.requests += requests;
        self.requests_repeated += requests_repeated;
        self.responses_repeated += other.responses_repeated;
        self.requests_seen_again += other.requests_seen_again;
        self.challenges += other.challenges;
    }

    /// For the record; `method` names the request of a part's step.
    fn counts(&self, method: &dyn Fn(u8, u8) -> String) -> Counts {
        let mut failures = BTreeMap::new();
        for ((part, step, cause), count) in &self.failures {
            *failures.entry(format!("{}: {}", method(*part, *step), cause.text())).or_default() += count;
        }
        Counts {
            begun: self.begun,
            succeeded: self.succeeded,
            failed: self.failed,
            failures,
            requests: self.requests,
            requests_repeated: self.requests_repeated,
            responses_repeated: self.responses_repeated,
            requests_seen_again: self.requests_seen_again,
            challenges: self.challenges,
        }
    }
}

/// All of it. Histograms have fixed bounds: recording allocates nothing.
#[derive(Clone, Debug)]
pub struct Tally {
    /// Of calls that began in the steady window, and of the others.
    pub(crate) steady: Counting,
    pub(crate) outside: Counting,
    /// From the intended time, and from the actual one; of the steady window alone.
    legs: Vec<[Histogram<u64>; 2]>,
    lateness: Histogram<u64>,
    /// Requests over [`Self::LATE`] late.
    late: u64,
    /// Datagrams.
    pub(crate) traffic: Traffic,
    /// Calls not begun for want of a place.
    pub(crate) skipped: u64,
}

impl Tally {
    /// A request that leaves later than this is late: 10 ms, a time slice or two of somebody else.
    pub(crate) const LATE: u64 = 10_000_000;

    pub(crate) fn new(legs: usize) -> Self {
        Self {
            steady: Counting::default(),
            outside: Counting::default(),
            legs: (0..legs).map(|_| [histogram(), histogram()]).collect(),
            lateness: histogram(),
            late: 0,
            traffic: Traffic::default(),
            skipped: 0,
        }
    }

    /// Datagrams so far.
    #[must_use]
    pub fn traffic(&self) -> Traffic {
        self.traffic
    }

    pub(crate) fn of(&mut self, steady: bool) -> &mut Counting {
        if steady { &mut self.steady } else { &mut self.outside }
    }

    pub(crate) fn leg(&mut self, leg: u8, intended: u64, actual: u64) {
        if let Some([from_intended, from_actual]) = self.legs.get_mut(usize::from(leg)) {
            from_intended.saturating_record(intended);
            from_actual.saturating_record(actual);
        }
    }

    pub(crate) fn lateness(&mut self, late: u64) {
        self.lateness.saturating_record(late);
        self.late += u64::from(late > Self::LATE);
    }

    /// Adds what another agent of the same script counted.
    pub(crate) fn add(&mut self, other: &Tally) {
        self.steady.add(&other.steady);
        self.outside.add(&other.outside);
        for (mine, theirs) in self.legs.iter_mut().flatten().zip(other.legs.iter().flatten()) {
            // The same bounds: it cannot fail.
            let _ = mine.add(theirs);
        }
        let _ = self.lateness.add(&other.lateness);
        self.late += other.late;
        self.skipped += other.skipped;
        self.traffic.sent += other.traffic.sent;
        self.traffic.received += other.traffic.received;
        self.traffic.malformed += other.traffic.malformed;
        self.traffic.stray += other.traffic.stray;
    }

    /// What became of those of the window, and of all.
    pub(crate) fn counts(&self, method: &dyn Fn(u8, u8) -> String) -> [Counts; 2] {
        let mut whole = self.steady.clone();
        whole.add(&self.outside);
        [self.steady.counts(method), whole.counts(method)]
    }

    pub(crate) fn legs(&self, names: &[String]) -> Vec<Leg> {
        let leg = |(name, [intended, actual]): (&String, &[Histogram<u64>; 2])| Leg {
            name: name.clone(),
            intended: Latency::of(intended),
            actual: Latency::of(actual),
        };
        names.iter().zip(&self.legs).map(leg).collect()
    }

    /// The histogram of a leg from the intended time.
    pub(crate) fn histograms(&self) -> impl Iterator<Item = &Histogram<u64>> {
        self.legs.iter().map(|[intended, _]| intended)
    }

    /// How late requests left, and the part of them that was over [`Self::LATE`].
    pub(crate) fn latenesses(&self) -> (Latency, f64) {
        let part = if self.lateness.is_empty() { 0.0 } else { self.late as f64 / self.lateness.len() as f64 };
        (Latency::of(&self.lateness), part)
    }
}

fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, LONGEST, 3).expect("bounds that the crate allows")
}
