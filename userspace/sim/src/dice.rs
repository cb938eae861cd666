//! Chance: everything random in a world comes from one seed, in streams that do not disturb each other.
//!
//! A stream for the plan, one for the network, one for each party: so a call more or less does not change which
//! packets of the others are lost.

use core::time::Duration;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng as _, SeedableRng as _};

/// A stream of random numbers. The same seed and stream give the same numbers on every machine.
#[derive(Clone, Debug)]
pub(crate) struct Dice(ChaCha8Rng);

impl Dice {
    /// Stream number `stream` of `seed`.
    pub(crate) fn new(seed: u64, stream: u64) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        rng.set_stream(stream);
        Self(rng)
    }

    /// 64 random bits.
    pub(crate) fn number(&mut self) -> u64 {
        self.0.next_u64()
    }

    /// 0 to `n` - 1; 0 when `n` is 0. The bias for such small numbers does not matter.
    pub(crate) fn below(&mut self, n: u64) -> u64 {
        if n == 0 { 0 } else { self.0.next_u64() % n }
    }

    /// `low` to `high`, both included.
    pub(crate) fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.below(high.saturating_sub(low).saturating_add(1))
    }

    /// True `per_mille` times in a thousand.
    pub(crate) fn chance(&mut self, per_mille: u32) -> bool {
        self.below(1000) < u64::from(per_mille)
    }

    /// A duration of `low` to `high` milliseconds, in microseconds.
    pub(crate) fn millis(&mut self, low: u64, high: u64) -> Duration {
        Duration::from_micros(self.between(low * 1000, high * 1000))
    }

    /// One of some things, each as likely as its weight says.
    ///
    /// # Panics
    /// Without any weight.
    pub(crate) fn weighted<T: Copy>(&mut self, choices: &[(u32, T)]) -> T {
        let total = choices.iter().map(|(weight, _)| u64::from(*weight)).sum();
        let mut at = self.below(total);
        for (weight, thing) in choices {
            match at.checked_sub(u64::from(*weight)) {
                Some(rest) => at = rest,
                None => return *thing,
            }
        }
        panic!("no weight in the choices")
    }

    /// One index below `len`, which is not 0.
    pub(crate) fn index(&mut self, len: usize) -> usize {
        self.below(len as u64) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_that_was_written_down_stays_what_it_is() {
        // Whoever changes these numbers makes every seed in a report worthless.
        let mut dice = Dice::new(4711, 3);
        assert_eq!([dice.number(), dice.number()], KNOWN);
        assert_ne!(Dice::new(4711, 4).number(), Dice::new(4711, 3).number());
        assert_ne!(Dice::new(4712, 3).number(), Dice::new(4711, 3).number());
    }

    const KNOWN: [u64; 2] = [9_710_204_068_624_638_365, 4_653_420_268_973_203_268];

    #[test]
    fn weights_are_obeyed() {
        let mut dice = Dice::new(1, 1);
        let mut counts = [0; 3];
        for _ in 0..10_000 {
            counts[dice.weighted(&[(1, 0), (0, 1), (3, 2usize)])] += 1;
        }
        assert_eq!(counts[1], 0);
        assert!((2200..2800).contains(&counts[0]), "{counts:?}");
        assert!((0..100).all(|_| (3..=5).contains(&dice.between(3, 5))));
    }
}
