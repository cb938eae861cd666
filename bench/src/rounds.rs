//! Timing in interleaved rounds: in each round every case has one short batch, so that whatever the machine does
//! meanwhile (clock frequency, neighbours, heat) falls on all of them alike.
//!
//! A batch is some segments one after the other, each between two readings of the monotonic clock, whose own cost is
//! measured and taken off. The order of the cases turns from round to round. A batch in which the thread was off the
//! CPU (wall time ahead of its CPU time) is thrown away and repeated, and counted as disturbed.

use std::hint::black_box;
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

use crate::case::{Case, Entry, measured_segment};

/// How long a run takes.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Rounds, each with one batch for each case.
    pub rounds: usize,
    /// Measured time in a batch.
    pub batch: Duration,
}

/// Batches are repeated at most this often in a row; then the last one counts, disturbed or not.
const ATTEMPTS: usize = 5;
/// A batch is disturbed when the wall clock ran ahead of the thread's CPU time by more than this part.
const DISTURBED: f64 = 0.02;

/// The times of one case, nanoseconds for each operation, sorted.
#[derive(Clone, Debug, Default)]
pub struct Times(Vec<f64>);

impl Times {
    /// The middle one.
    #[must_use]
    pub fn median(&self) -> f64 {
        self.quantile(0.5)
    }

    /// The value below which that part of the rounds lies.
    #[must_use]
    pub fn quantile(&self, part: f64) -> f64 {
        let last = self.0.len().saturating_sub(1);
        let at = (part * last as f64).round() as usize;
        self.0.get(at).copied().unwrap_or(f64::NAN)
    }
}

/// What a run gave.
#[derive(Clone, Debug)]
pub struct Timings {
    /// One for each entry, in their order; empty for a refused case.
    pub times: Vec<Times>,
    /// Batches that were thrown away because the thread was off the CPU.
    pub disturbed: u64,
    /// Batches that were kept although disturbed, after the last attempt.
    pub kept_disturbed: u64,
    /// Cost of one pair of clock readings, already taken off; nanoseconds.
    pub clock: f64,
    /// The processor's clock in GHz, one value for each round: see `processor_clock`.
    pub processor: Times,
}

/// Measures all cases. `progress` hears of each round that is done.
pub fn measure(entries: &mut [Entry], plan: Plan, mut progress: impl FnMut(usize)) -> Timings {
    let clock = clock_cost();
    let mut timings = Timings {
        times: vec![Times::default(); entries.len()],
        disturbed: 0,
        kept_disturbed: 0,
        clock,
        processor: Times::default(),
    };
    let segments: Vec<u32> = entries
        .iter_mut()
        .map(|entry| entry.case.as_mut().map_or(0, |case| segments_for(case.as_mut(), plan.batch)))
        .collect();
    for round in 0..plan.rounds {
        for turn in 0..entries.len() {
            let turn = if round % 2 == 0 { turn } else { entries.len() - 1 - turn };
            let at = (turn + round / 2) % entries.len();
            let Ok(case) = entries[at].case.as_mut() else { continue };
            for attempt in 1..=ATTEMPTS {
                let (time, disturbed) = batch(case.as_mut(), segments[at], clock);
                if disturbed && attempt < ATTEMPTS {
                    timings.disturbed += 1;
                    continue;
                }
                timings.kept_disturbed += u64::from(disturbed);
                timings.times[at].0.push(time);
                break;
            }
        }
        timings.processor.0.push(processor_clock());
        progress(round + 1);
    }
    for times in timings.times.iter_mut().chain([&mut timings.processor]) {
        times.0.sort_by(f64::total_cmp);
    }
    timings
}

/// How many segments fill a batch.
fn segments_for(case: &mut dyn Case, batch: Duration) -> u32 {
    let mut fastest = Duration::MAX;
    for _ in 0..10 {
        case.prepare();
        let start = Instant::now();
        measured_segment(case);
        fastest = fastest.min(start.elapsed());
    }
    let segments = batch.as_nanos() / fastest.as_nanos().max(1);
    u32::try_from(segments).unwrap_or(u32::MAX).max(1)
}

/// One batch: nanoseconds for each operation, and whether the thread was off the CPU.
fn batch(case: &mut dyn Case, segments: u32, clock: f64) -> (f64, bool) {
    // Not measured: caches and predictors get to know this case again.
    case.prepare();
    measured_segment(case);
    let (mut measured, mut on_cpu) = (Duration::ZERO, Duration::ZERO);
    for _ in 0..segments {
        case.prepare();
        let cpu = cpu_time();
        let start = Instant::now();
        measured_segment(case);
        measured += start.elapsed();
        on_cpu += cpu_time().saturating_sub(cpu);
    }
    let operations = f64::from(segments) * case.operations() as f64;
    let time = (measured.as_nanos() as f64 - f64::from(segments) * clock) / operations;
    (time, measured.as_secs_f64() > on_cpu.as_secs_f64() * (1.0 + DISTURBED))
}

/// The thread's time on the CPU.
fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or(0))
}

/// The processor's clock in GHz, from a chain of multiplications and additions of which each needs the one before: 3 + 1
/// cycles on every x86-64 of the last fifteen years. It tells a slow clock from a busy core: a neighbour on the same
/// core slows real work and hardly this.
fn processor_clock() -> f64 {
    const STEPS: u32 = 2_000;
    let mut x = black_box(3_u64);
    let start = Instant::now();
    for _ in 0..STEPS {
        x = x.wrapping_mul(x).wrapping_add(1);
    }
    black_box(x);
    f64::from(4 * STEPS) / start.elapsed().as_nanos() as f64
}

/// What two readings of the clock measure with nothing between them: the median of many.
fn clock_cost() -> f64 {
    let mut costs: Vec<u128> = (0..10_000).map(|_| Instant::now().elapsed().as_nanos()).collect();
    costs.sort_unstable();
    costs[costs.len() / 2] as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Spin(u64);
    impl Case for Spin {
        fn prepare(&mut self) {
            spin(50_000); // the same for both: were it measured, it would hide the difference
        }
        fn run(&mut self) {
            spin(self.0);
        }
        fn operations(&self) -> u64 {
            10
        }
    }

    fn spin(times: u64) {
        let mut x = 1_u64;
        for _ in 0..times {
            x = black_box(x.wrapping_mul(3));
        }
    }

    /// Bounds far apart, since others may use the machine; were the preparation measured, both would take the same.
    #[test]
    fn more_work_takes_more_time_and_preparation_none() {
        let entry = |name, work| Entry { workload: "spin", candidate: name, case: Ok(Box::new(Spin(work))) };
        let mut entries = [entry("once", 5_000), entry("tenfold", 50_000)];
        let timings = measure(&mut entries, Plan { rounds: 21, batch: Duration::from_micros(100) }, |_| {});
        let ratio = timings.times[1].median() / timings.times[0].median();
        assert!((3.0..30.0).contains(&ratio), "{ratio}");
        assert_eq!(timings.times[0].0.len(), 21);
    }

    #[test]
    fn quantiles() {
        let times = Times((1..=101).map(f64::from).collect());
        assert_eq!((times.median(), times.quantile(0.0), times.quantile(0.9)), (51.0, 1.0, 91.0));
    }
}
