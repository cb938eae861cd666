//! The book of bans: who is banned for how long and by whom, and for whom there is room.
//!
//! Only the book: whoever has it tells the program, which enforces it.

use std::collections::BTreeMap;
use std::time::Duration;

use strowger_engine::IpPrefix;

use super::Why;

/// Bans of networks and of unlimited time at most, besides those of the configuration. The program's table has room for these
/// and for all that can be configured.
const NETWORKS: usize = 4096;
/// Of those, for guessing: whoever has a /48 has more networks to guess from than there is room, and must not take an operator's.
const GUESSERS: usize = NETWORKS / 2;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ban {
    /// CLOCK_MONOTONIC.
    pub until: Option<Duration>,
    pub why: Why,
    /// In the program's table of networks, where nothing ends by itself.
    pub network: bool,
}

/// See the head of this file.
#[derive(Debug, Default)]
pub(super) struct Bans(BTreeMap<IpPrefix, Ban>);

impl Bans {
    pub(super) fn iter(&self) -> impl Iterator<Item = (&IpPrefix, &Ban)> {
        self.0.iter()
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn get(&self, network: &IpPrefix) -> Option<Ban> {
        self.0.get(network).copied()
    }

    pub(super) fn insert(&mut self, network: IpPrefix, ban: Ban) {
        self.0.insert(network, ban);
    }

    pub(super) fn remove(&mut self, network: &IpPrefix) -> Option<Ban> {
        self.0.remove(network)
    }

    /// The networks whose time is over.
    pub(super) fn over(&self, now: Duration) -> Vec<IpPrefix> {
        let over = |ban: &Ban| ban.until.is_some_and(|until| until <= now);
        self.0.iter().filter(|(_, ban)| over(ban)).map(|(network, _)| *network).collect()
    }

    /// Whether guessing until then changes nothing: what an operator or the configuration has decided stands, and a ban for
    /// guessing is never made shorter.
    pub(super) fn stands(&self, network: &IpPrefix, until: Duration) -> bool {
        self.0
            .get(network)
            .is_some_and(|ban| ban.why != Why::Guessing || ban.until.is_none_or(|standing| standing >= until))
    }

    /// Which ban has to end so that there is room for this one in the table of networks, if any: the one for guessing that
    /// ends first, when guessing has all that it may have, or the table is full. An error when nobody there has guessed.
    pub(super) fn room(&self, network: &IpPrefix, why: Why) -> Result<Option<IpPrefix>, String> {
        // What it has already is free for it.
        let others = || self.0.iter().filter(|(other, ban)| ban.network && *other != network);
        let guessers = || others().filter(|(_, ban)| ban.why == Why::Guessing);
        let full = others().filter(|(_, ban)| ban.why != Why::Configuration).count() >= NETWORKS
            || (why == Why::Guessing && guessers().count() >= GUESSERS);
        if !full {
            return Ok(None);
        }
        let first = guessers().min_by_key(|(_, ban)| ban.until.unwrap_or(Duration::MAX));
        match first {
            Some((first, _)) => Ok(Some(*first)),
            None => Err(format!("{NETWORKS} networks are banned, and no more can be")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv6Addr;

    fn network(n: u64) -> IpPrefix {
        let address = Ipv6Addr::from((0x2001_0db8_u128 << 96) | (u128::from(n) << 64));
        IpPrefix::around(address.into(), 64).expect("a network")
    }

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn ban(why: Why, seconds: Option<u64>) -> Ban {
        Ban { until: seconds.map(at), why, network: true }
    }

    #[test]
    fn a_guess_changes_nothing_that_was_decided_and_shortens_nothing() {
        let mut bans = Bans::default();
        assert!(!bans.stands(&network(1), at(300)), "nobody is banned");
        for (why, seconds, stands) in [
            (Why::Configuration, None, true),
            (Why::Operator, None, true),
            (Why::Operator, Some(86_400), true),
            // He has said for how long.
            (Why::Operator, Some(200), true),
            (Why::Guessing, Some(86_400), true),
            (Why::Guessing, Some(200), false),
        ] {
            bans.insert(network(1), ban(why, seconds));
            assert_eq!(bans.stands(&network(1), at(300)), stands, "{why:?} {seconds:?}");
            assert!(!bans.stands(&network(2), at(300)), "another network");
        }
    }

    #[test]
    fn guessers_make_room_for_each_other_and_for_operators() {
        let mut bans = Bans::default();
        let guessers = GUESSERS as u64;
        for n in 0..guessers {
            if n + 1 == guessers {
                assert_eq!(bans.room(&network(n), Why::Guessing), Ok(None), "the last place");
            }
            // The one in the middle ends first.
            bans.insert(network(n), ban(Why::Guessing, Some(1_000 + n.abs_diff(guessers / 2))));
        }
        let first = network(guessers / 2);
        assert_eq!(bans.room(&network(1 << 20), Why::Guessing), Ok(Some(first)));
        assert_eq!(bans.room(&network(7), Why::Guessing), Ok(None), "it has its place");
        // Bans of single addresses have a table of their own.
        bans.insert(network(1 << 21), Ban { network: false, ..ban(Why::Guessing, Some(1)) });
        assert_eq!(bans.room(&network(1 << 20), Why::Guessing), Ok(Some(first)));
        // The configuration's have room of their own.
        for n in 0..NETWORKS as u64 {
            bans.insert(network((1 << 22) + n), ban(Why::Configuration, None));
        }
        for n in 1..NETWORKS as u64 - guessers {
            bans.insert(network((1 << 23) + n), ban(Why::Operator, None));
        }
        assert_eq!(bans.room(&network(1 << 23), Why::Operator), Ok(None), "the last place");
        bans.insert(network(1 << 23), ban(Why::Operator, None));
        // Beyond that operators go before guessers, and not the other way round.
        for n in 0..guessers {
            if n < 2 || n + 1 == guessers {
                let evicted = bans.room(&network((1 << 24) + n), Why::Operator).expect("room");
                assert_eq!(evicted.and_then(|one| bans.get(&one)).map(|ban| ban.why), Some(Why::Guessing));
            }
            bans.remove(&network(n));
            bans.insert(network((1 << 24) + n), ban(Why::Operator, None));
        }
        for why in [Why::Operator, Why::Guessing] {
            assert!(bans.room(&network(1 << 20), why).is_err(), "{why:?}");
            assert_eq!(bans.room(&network(1 << 23), why), Ok(None), "it has its place");
        }
    }
}
