//! Virtual time. The engine never reads a clock: whoever calls it says what time it is.

use core::time::Duration;

/// Nanoseconds since an arbitrary start that all callers of one [`Location`](crate::Location) share (for instance
/// `CLOCK_MONOTONIC`). Never runs backwards; 64 bits last 584 years.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Time(u64);

impl Time {
    /// The arbitrary start.
    pub const START: Self = Self(0);

    /// A time `nanos` nanoseconds after the start.
    #[must_use]
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// Nanoseconds since the start.
    #[must_use]
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// This time plus `d`; stays at the last representable time instead of wrapping.
    #[must_use]
    pub fn after(self, d: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(d.as_nanos()).unwrap_or(u64::MAX)))
    }

    /// How long after `earlier` this is; zero when it is not later.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }

    /// Whole seconds until `self` seen from `now`, rounded up: what an `expires` parameter may promise without
    /// ever saying 0 for a binding that is still there.
    #[must_use]
    pub(crate) fn seconds_from(self, now: Self) -> u32 {
        u32::try_from(self.0.saturating_sub(now.0).div_ceil(1_000_000_000)).unwrap_or(u32::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn saturates_at_both_ends() {
        assert_eq!(Time::from_nanos(u64::MAX).after(Duration::from_secs(1)).as_nanos(), u64::MAX);
        assert_eq!(Time::START.since(Time::from_nanos(5)), Duration::ZERO);
        assert_eq!(Time::START.after(Duration::from_secs(2)).since(Time::START), Duration::from_secs(2));
    }

    #[test]
    fn remaining_seconds_round_up() {
        let now = Time::from_nanos(10);
        assert_eq!(now.seconds_from(now), 0);
        assert_eq!(Time::from_nanos(11).seconds_from(now), 1);
        assert_eq!(now.after(Duration::from_secs(60)).seconds_from(now), 60);
    }
}
