//! The network of a world: what becomes of a datagram between two addresses.
//!
//! Lossy, but not without mercy: of the copies of one message on one way at most [`Network::mercy`] are lost in a row,
//! because a protocol with finitely many retransmissions can promise nothing to a network that loses them all. What
//! is lost to a partition, or to a party that died, is lost without mercy; [`Network::severed`] knows which calls
//! that hurt, so that a check does not blame the node for them.

use core::net::{IpAddr, SocketAddr};
use core::time::Duration;
use std::collections::{HashMap, HashSet};

use strowger_engine::Time;

use crate::dice::Dice;

/// How the network treats datagrams, the same for all ways.
#[derive(Clone, Debug)]
pub(crate) struct Weather {
    /// In a thousand.
    pub(crate) loss: u32,
    /// In a thousand.
    pub(crate) duplication: u32,
    /// In a thousand: delayed by up to a second more, so that others overtake it.
    pub(crate) reordering: u32,
    pub(crate) delay: Duration,
    /// Added at random, up to this.
    pub(crate) jitter: Duration,
}

/// Between two sets of hosts nothing passes for a time.
#[derive(Clone, Debug)]
pub(crate) struct Partition {
    pub(crate) from: Time,
    pub(crate) until: Time,
    /// Those on one side; everybody else is on the other.
    pub(crate) side: HashSet<IpAddr>,
}

/// What became of a datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Passage {
    /// It arrives after this time; a second copy after the other.
    Arrives(Duration, Option<Duration>),
    /// Lost by chance.
    Lost,
    /// Lost to a partition.
    Severed,
}

/// What tells one message from another on its way: all its copies have the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Likeness {
    pub(crate) from: SocketAddr,
    pub(crate) to: SocketAddr,
    /// Hash of start line, top branch and CSeq.
    pub(crate) message: u64,
    /// Neither the final response to an INVITE nor an ACK: few copies are sent of it.
    pub(crate) precious: bool,
}

pub(crate) struct Network {
    /// What a node answers without a transaction is not repeated by itself: one of two copies of everything arrives.
    kind: bool,
    weather: Weather,
    partitions: Vec<Partition>,
    dice: Dice,
    /// Copies of a message lost in a row.
    row: HashMap<Likeness, u32>,
    /// Call-ID (hashed) and host of what was lost without mercy.
    severed: HashSet<(u64, IpAddr)>,
    severed_calls: HashSet<u64>,
}

impl Network {
    pub(crate) fn new(weather: Weather, partitions: Vec<Partition>, dice: Dice, kind: bool) -> Self {
        Self {
            kind,
            weather,
            partitions,
            dice,
            row: HashMap::new(),
            severed: HashSet::new(),
            severed_calls: HashSet::new(),
        }
    }

    /// Copies of a message that are lost in a row at most. An INVITE has seven copies in 64*T1 and stops being
    /// repeated with the first provisional response; any other request has eleven, for the way there and back over
    /// two hops or three, and nobody says that it was in vain (RFC 4320): one of two. The final response to an INVITE
    /// and its ACK are repeated until they are there: two of three.
    const fn mercy(&self, likeness: &Likeness) -> u32 {
        if likeness.precious || self.kind { 1 } else { 2 }
    }

    /// Decides about one datagram; `call` is the hash of its Call-ID.
    pub(crate) fn pass(&mut self, now: Time, likeness: Likeness, call: u64) -> Passage {
        let (from, to) = (likeness.from.ip(), likeness.to.ip());
        let parted =
            |p: &Partition| p.from <= now && now < p.until && p.side.contains(&from) != p.side.contains(&to);
        if self.partitions.iter().any(parted) {
            self.sever(call, from);
            self.sever(call, to);
            return Passage::Severed;
        }
        // The dice are cast for every datagram alike, so that the next one's fate does not depend on this one's.
        let lost = self.dice.chance(self.weather.loss);
        let first = self.delay();
        let second = self.dice.chance(self.weather.duplication).then(|| self.delay());
        let mercy = self.mercy(&likeness);
        let row = self.row.entry(likeness).or_default();
        if lost && *row < mercy {
            *row += 1;
            return Passage::Lost;
        }
        *row = 0;
        Passage::Arrives(first, second)
    }

    #[cfg(test)]
    pub(crate) fn without_partitions(&mut self) {
        self.partitions.clear();
    }

    fn delay(&mut self) -> Duration {
        let jitter = Duration::from_micros(self.dice.below(self.weather.jitter.as_micros() as u64 + 1));
        let late = if self.dice.chance(self.weather.reordering) {
            self.dice.millis(1, 1000)
        } else {
            Duration::ZERO
        };
        self.weather.delay + jitter + late
    }

    /// Notes that a message of this call from or to `host` was lost without mercy.
    pub(crate) fn sever(&mut self, call: u64, host: IpAddr) {
        self.severed.insert((call, host));
        self.severed_calls.insert(call);
    }

    /// Whether a host lost anything so.
    pub(crate) fn severed_host(&self, host: IpAddr) -> bool {
        self.severed.iter().any(|(_, h)| *h == host)
    }

    /// Whether that happened to a call at this host.
    pub(crate) fn severed_at(&self, call: u64, host: IpAddr) -> bool {
        self.severed.contains(&(call, host))
    }

    /// Whether that happened to a call anywhere.
    pub(crate) fn severed(&self, call: u64) -> bool {
        self.severed_calls.contains(&call)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn likeness(message: u64, precious: bool) -> Likeness {
        let address = |n: u8| SocketAddr::from(([10, 0, 0, n], 5060));
        Likeness { from: address(1), to: address(2), message, precious }
    }

    fn network(loss: u32, partitions: Vec<Partition>) -> Network {
        let weather = Weather {
            loss,
            duplication: 100,
            reordering: 100,
            delay: Duration::from_millis(5),
            jitter: Duration::from_millis(3),
        };
        Network::new(weather, partitions, Dice::new(9, 9), false)
    }

    #[test]
    fn mercy_ends_a_row_of_losses() {
        let mut network = network(1000, vec![]);
        let mut fates = |precious| -> Vec<bool> {
            (0..6).map(|_| network.pass(Time::START, likeness(1, precious), 1) == Passage::Lost).collect()
        };
        assert_eq!(fates(true), [true, false, true, false, true, false]);
        assert_eq!(fates(false), [true, true, false, true, true, false]);
        assert!(!network.severed(1));
    }

    #[test]
    fn a_partition_has_no_mercy_and_is_known() {
        let side = HashSet::from([IpAddr::from([10, 0, 0, 2])]);
        let until = Time::START.after(Duration::from_secs(1));
        let mut network = network(0, vec![Partition { from: Time::START, until, side }]);
        for _ in 0..9 {
            assert_eq!(network.pass(Time::START, likeness(1, false), 5), Passage::Severed);
        }
        assert!(matches!(network.pass(until, likeness(1, false), 6), Passage::Arrives(..)));
        assert!(network.severed(5) && !network.severed(6));
        assert!(network.severed_at(5, IpAddr::from([10, 0, 0, 2])));
        assert!(!network.severed_at(5, IpAddr::from([10, 0, 0, 3])));
    }

    #[test]
    fn delays_are_within_the_weather() {
        let mut network = network(0, vec![]);
        let mut copies = 0;
        for n in 0..1000 {
            let Passage::Arrives(first, second) = network.pass(Time::START, likeness(n, false), 1) else {
                panic!("lost without loss")
            };
            assert!((5..=1008).contains(&first.as_millis()), "{first:?}");
            copies += usize::from(second.is_some());
        }
        assert!((50..150).contains(&copies), "{copies}");
    }
}
