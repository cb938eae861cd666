//! Who has guessed how often, and for how long that is a ban.
//!
//! A guess is a wrong answer to a challenge of ours that has arrived at its source, so nobody can make somebody else
//! guess. One guess is forgotten every [`FORGOTTEN`]; a user who shows himself there forgives all of them, because behind
//! one address there can be a whole office with one phone that is set wrong. The table is bounded; what finds no place in it
//! is not scored, and is limited by its budget alone.

use std::collections::HashMap;
use std::time::Duration;

use strowger_engine::IpPrefix;

/// In so long one guess is forgotten.
const FORGOTTEN: Duration = Duration::from_secs(30);
/// Sources that have a score at most.
const ROOM: usize = 65_536;
/// How often a full table is looked through for those that are forgotten.
const SWEEP: Duration = Duration::from_secs(1);

/// What guessing leads to.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rules {
    /// Guesses for which a source is banned; 0 for never.
    pub guesses: u32,
    /// The first ban of a source.
    pub first: Duration,
    /// The longest.
    pub longest: Duration,
}

/// What one guess led to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    /// Nothing yet.
    Scored,
    /// There is no room for one more source.
    NoRoom,
    /// Its source is to be banned for so long.
    Ban(Duration),
}

#[derive(Debug, Clone, Copy, Default)]
struct Score {
    guesses: u32,
    /// When the last of them was forgotten, or the first came.
    since: Duration,
    /// Bans so far.
    bans: u32,
    /// Until when those are remembered.
    remembered: Duration,
}

impl Score {
    fn forget(&mut self, now: Duration) {
        let passed = now.saturating_sub(self.since).as_nanos() / FORGOTTEN.as_nanos();
        let passed = u32::try_from(passed).unwrap_or(u32::MAX);
        self.guesses = self.guesses.saturating_sub(passed);
        self.since = if self.guesses == 0 { now } else { self.since + FORGOTTEN * passed };
        if now >= self.remembered {
            self.bans = 0;
        }
    }
}

/// The scores of all sources. Times are those of one clock that does not run backwards.
#[derive(Debug)]
pub(super) struct Scores {
    rules: Rules,
    sources: HashMap<IpPrefix, Score>,
    swept: Duration,
}

impl Scores {
    pub(super) fn new(rules: Rules) -> Scores {
        Scores { rules, sources: HashMap::new(), swept: Duration::ZERO }
    }

    /// Somebody at `source` has guessed.
    pub(super) fn guess(&mut self, source: IpPrefix, now: Duration) -> Outcome {
        let Rules { guesses, first, longest } = self.rules;
        if guesses == 0 {
            return Outcome::Scored;
        }
        if self.sources.len() >= ROOM && !self.sources.contains_key(&source) {
            self.sweep(now);
            if self.sources.len() >= ROOM {
                return Outcome::NoRoom;
            }
        }
        let score = self.sources.entry(source).or_insert(Score { since: now, ..Score::default() });
        score.forget(now);
        score.guesses += 1;
        if score.guesses < guesses {
            return Outcome::Scored;
        }
        let long = first.saturating_mul(1u32.checked_shl(score.bans).unwrap_or(u32::MAX)).min(longest);
        // Who does nothing for as long as the longest ban after his last one begins anew.
        *score = Score {
            guesses: 0,
            since: now,
            bans: (score.bans + 1).min(31),
            remembered: now + long + longest,
        };
        Outcome::Ban(long)
    }

    /// Somebody at `source` has shown that he is a user. How often it has been banned is not forgiven.
    pub(super) fn forgive(&mut self, source: IpPrefix) {
        if let Some(score) = self.sources.get_mut(&source) {
            score.guesses = 0;
        }
    }

    fn sweep(&mut self, now: Duration) {
        if now.saturating_sub(self.swept) < SWEEP {
            return;
        }
        self.swept = now;
        self.sources.retain(|_, score| {
            score.forget(now);
            score.guesses > 0 || score.bans > 0
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULES: Rules =
        Rules { guesses: 3, first: Duration::from_secs(60), longest: Duration::from_secs(200) };

    fn source(n: u32) -> IpPrefix {
        IpPrefix::host(std::net::Ipv4Addr::from_bits(n).into())
    }

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn bans_double_up_to_the_longest_and_are_forgotten() {
        let mut scores = Scores::new(RULES);
        let mut round = |seconds: u64| [0, 1, 2].map(|n| scores.guess(source(1), at(seconds + n)));
        let ban = |seconds| [Outcome::Scored, Outcome::Scored, Outcome::Ban(at(seconds))];
        assert_eq!(round(1000), ban(60));
        assert_eq!(round(1100), ban(120));
        assert_eq!(round(1300), ban(200));
        assert_eq!(round(1600), ban(200));
        // 1602 + 200 of the ban + 200.
        assert_eq!(round(2003), ban(60));
    }

    #[test]
    fn slow_ones_are_forgotten_and_users_forgive() {
        let mut scores = Scores::new(RULES);
        for n in 0..100 {
            assert_eq!(scores.guess(source(1), at(n * 30)), Outcome::Scored, "one in 30 s is forgotten");
        }
        for n in 0..100 {
            assert_eq!(scores.guess(source(2), at(n)), Outcome::Scored);
            assert_eq!(scores.guess(source(2), at(n)), Outcome::Scored);
            scores.forgive(source(2));
        }
        assert_eq!(Scores::new(Rules { guesses: 0, ..RULES }).guess(source(1), at(1)), Outcome::Scored);
    }

    #[test]
    fn a_full_table_takes_nobody_new_until_somebody_is_forgotten() {
        let mut scores = Scores::new(RULES);
        for n in 0..ROOM as u32 {
            assert_eq!(scores.guess(source(n), at(10)), Outcome::Scored);
        }
        assert_eq!(scores.guess(source(u32::MAX), at(10)), Outcome::NoRoom);
        assert_eq!(scores.guess(source(7), at(10)), Outcome::Scored, "who has a place keeps it");
        assert_eq!(scores.guess(source(u32::MAX), at(50)), Outcome::Scored);
        assert_eq!(scores.sources.len(), 2, "the others are forgotten");
    }
}
