//! What happened in a world, in order: always as a hash, and on request as records that the ladder is drawn from.

use core::hash::Hasher as _;
use core::net::SocketAddr;
use core::time::Duration;

use siphasher::sip::SipHasher13;
use strowger_engine::Time;

/// What became of a datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It arrives after this time.
    Arrives(Duration),
    /// Two copies arrive, each after its time.
    Twice(Duration, Duration),
    /// Lost by chance.
    Lost,
    /// Lost to a partition.
    Severed,
    /// Nobody has the address it was sent to.
    Nowhere,
}

/// One thing that happened.
#[derive(Clone, Debug)]
pub enum Record {
    /// A datagram was sent.
    Datagram {
        /// When.
        at: Time,
        /// The address of its sender.
        from: SocketAddr,
        /// Where it was sent to.
        to: SocketAddr,
        /// What became of it.
        fate: Fate,
        /// All of it.
        bytes: Vec<u8>,
    },
    /// Something else that a reader must know to understand what follows.
    Note {
        /// When.
        at: Time,
        /// Who it happened to; `None` for the world.
        party: Option<SocketAddr>,
        /// What.
        text: String,
    },
}

/// The record of a run.
pub struct Trace {
    hasher: SipHasher13,
    keep: bool,
    datagrams: u64,
    records: Vec<Record>,
}

impl Trace {
    /// Keeps the records themselves only when asked to: a hash is enough to tell two runs apart.
    pub(crate) fn new(keep: bool) -> Self {
        Self { hasher: SipHasher13::new(), keep, datagrams: 0, records: Vec::new() }
    }

    pub(crate) fn datagram(&mut self, at: Time, from: SocketAddr, to: SocketAddr, fate: Fate, bytes: &[u8]) {
        self.datagrams += 1;
        self.mix(at, from, to);
        self.hasher.write_u8(match fate {
            Fate::Arrives(_) => 0,
            Fate::Twice(..) => 1,
            Fate::Lost => 2,
            Fate::Severed => 3,
            Fate::Nowhere => 4,
        });
        self.hasher.write(bytes);
        if self.keep {
            self.records.push(Record::Datagram { at, from, to, fate, bytes: bytes.to_vec() });
        }
    }

    pub(crate) fn note(&mut self, at: Time, party: Option<SocketAddr>, text: impl FnOnce() -> String) {
        if self.keep {
            self.records.push(Record::Note { at, party, text: text() });
        }
    }

    fn mix(&mut self, at: Time, from: SocketAddr, to: SocketAddr) {
        self.hasher.write_u64(at.as_nanos());
        for address in [from, to] {
            // Worlds are IPv4; of an IPv6 address the port is enough to tell runs apart.
            if let SocketAddr::V4(v4) = address {
                self.hasher.write_u32(v4.ip().to_bits());
            }
            self.hasher.write_u16(address.port());
        }
    }

    /// Hash over every datagram, its time and its fate: equal for equal runs.
    #[must_use]
    pub fn hash(&self) -> u64 {
        self.hasher.finish()
    }

    /// Datagrams sent.
    #[must_use]
    pub fn datagrams(&self) -> u64 {
        self.datagrams
    }

    /// The records; empty unless they were asked for.
    #[must_use]
    pub fn records(&self) -> &[Record] {
        &self.records
    }
}
