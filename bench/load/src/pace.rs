//! When calls begin: by the clock (open loop), or when others end (closed loop).

use crate::record::Load;

/// How calls are begun in one run. Times are nanoseconds of the run's clock.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    load: Load,
    start: u64,
    until: u64,
    most: u64,
    begun: u64,
    /// When the next one is meant to begin.
    next: f64,
    random: Random,
}

impl Pace {
    /// From `start` on, until `until` or until `most` were begun.
    #[must_use]
    pub fn new(load: Load, start: u64, until: u64, most: u64, seed: u64) -> Self {
        Self { load, start, until, most, begun: 0, next: start as f64, random: Random(seed) }
    }

    /// None begins.
    #[must_use]
    pub fn stopped() -> Self {
        Self::new(Load::default(), 0, 0, 0, 0)
    }

    /// Whether it is [`Self::stopped`].
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        self.most == 0
    }

    /// When the one was meant to begin that is due now, with `live` going on; taken off the schedule.
    pub fn due(&mut self, now: u64, live: u32) -> Option<u64> {
        if self.begun >= self.most || now < self.start {
            return None;
        }
        let intended = match self.load {
            Load::Closed { outstanding } => (live < outstanding && now < self.until).then_some(now)?,
            Load::Open { rate, poisson } => {
                let intended = self.next as u64;
                if intended > now || intended >= self.until {
                    return None;
                }
                let period = 1e9 / rate.max(1e-3);
                if poisson {
                    self.next += period * -(1.0 - self.random.unit()).ln();
                } else {
                    // By multiplication: a sum would drift.
                    self.next = self.start as f64 + (self.begun + 1) as f64 * period;
                }
                intended
            }
        };
        self.begun += 1;
        Some(intended)
    }

    /// When the next one is due, with `live` going on: for the time to sleep. It may be past.
    #[must_use]
    pub fn next(&self, live: u32) -> Option<u64> {
        if self.begun >= self.most {
            return None;
        }
        match self.load {
            Load::Closed { outstanding } => (live < outstanding).then_some(self.start),
            Load::Open { .. } => Some(self.next as u64).filter(|&next| next < self.until),
        }
    }

    /// Whether none will begin any more.
    #[must_use]
    pub fn over(&self, now: u64) -> bool {
        self.begun >= self.most
            || match self.load {
                Load::Closed { .. } => now >= self.until,
                Load::Open { .. } => self.next as u64 >= self.until,
            }
    }
}

/// A small generator of random numbers (SplitMix64): for gaps, hold times and nonces of clients.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    /// From 0 to below 1.
    fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn an_open_loop_keeps_to_the_clock_whatever_happens() {
        let mut pace = Pace::new(Load::Open { rate: 300.0, poisson: false }, SECOND, 3 * SECOND, u64::MAX, 1);
        assert_eq!(pace.due(SECOND - 1, 0), None);
        assert_eq!(pace.next(0), Some(SECOND));
        // Nobody looks for a second and a half; all that were due are begun, each with its own time.
        let mut intended = Vec::new();
        while let Some(at) = pace.due(2 * SECOND + SECOND / 2, 1_000_000) {
            intended.push(at);
        }
        assert_eq!(intended.len(), 451);
        assert!(intended.windows(2).all(|pair| (3_333_332..3_333_335).contains(&(pair[1] - pair[0]))));
        while pace.due(9 * SECOND, 0).is_some() {}
        assert_eq!((pace.begun, pace.over(0), pace.next(0)), (600, true, None));
    }

    #[test]
    fn poisson_gaps_have_the_rate_and_the_spread() {
        let mut pace = Pace::new(Load::Open { rate: 1_000.0, poisson: true }, 0, 100 * SECOND, u64::MAX, 7);
        let mut intended = Vec::new();
        while let Some(at) = pace.due(100 * SECOND, 0) {
            intended.push(at);
        }
        assert!((98_500..101_500).contains(&intended.len()), "{}", intended.len());
        let gaps: Vec<f64> = intended.windows(2).map(|pair| (pair[1] - pair[0]) as f64 / 1e6).collect();
        let mean = gaps.iter().sum::<f64>() / gaps.len() as f64;
        let deviation = (gaps.iter().map(|gap| (gap - mean).powi(2)).sum::<f64>() / gaps.len() as f64).sqrt();
        assert!((0.97..1.03).contains(&(deviation / mean)), "exponential gaps: {deviation} / {mean}");
    }

    #[test]
    fn a_closed_loop_waits_for_the_others() {
        let mut pace = Pace::new(Load::Closed { outstanding: 2 }, 5, 100, 4, 1);
        assert_eq!((pace.due(4, 0), pace.next(0)), (None, Some(5)));
        assert_eq!((pace.due(6, 0), pace.due(6, 1), pace.due(6, 2)), (Some(6), Some(6), None));
        assert_eq!((pace.next(2), pace.next(1)), (None, Some(5)));
        assert_eq!((pace.due(50, 1), pace.over(50)), (Some(50), false));
        assert_eq!((pace.due(60, 1), pace.due(61, 1), pace.over(61)), (Some(60), None, true), "four in all");
        let mut late = Pace::new(Load::Closed { outstanding: 2 }, 5, 100, 4, 1);
        assert_eq!((late.due(100, 0), late.over(100)), (None, true));
    }
}
