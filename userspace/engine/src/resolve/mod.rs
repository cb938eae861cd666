//! Next hops that are names (RFC 3263): a table of answers, and the questions that somebody else asks.
//!
//! The engine knows no sockets, so it does not ask name servers. A name that is not in the table becomes a [`Query`],
//! which the node takes with [`Engine::next_query`](crate::Engine::next_query), answers in its own time with a
//! [`Walk`], and gives back with [`Engine::resolved`](crate::Engine::resolved). The table has a fixed size, one
//! question for a name at a time, and keeps bad news too, so that a name which does not exist is not asked for by
//! every call to it.

mod walk;

use core::net::SocketAddr;
use core::time::Duration;
use std::collections::VecDeque;

pub use walk::{Naptr, Question, Records, Srv, Step, Walk};

use crate::keys::{Key, Keys, Prf};
use crate::time::Time;

/// Limits of name resolution, each with its reason.
pub mod limit {
    use core::time::Duration;

    /// Octets of a name (RFC 1035 section 2.3.4).
    pub const NAME: usize = 255;
    /// Addresses that are kept for a name: who has not answered by the eighth does not answer.
    pub const SERVERS: usize = 8;
    /// Questions of one walk: NAPTR, SRV, and the hosts of [`SERVERS`] records, with one to spare.
    pub const QUESTIONS: usize = 11;
    /// Names that are asked for at once. Each is a second or less for a name server that lives.
    pub const PENDING: usize = 256;
    /// How long an answer holds, at most: what a domain changes is seen within the hour.
    pub const LONGEST: Duration = Duration::from_secs(3600);
    /// How long it holds at least, so that a TTL of 0 does not ask for every message.
    pub const SHORTEST: Duration = Duration::from_secs(1);
    /// How long it is believed that there is nothing, at most.
    pub const NOTHING: Duration = Duration::from_secs(60);
    /// How long a failed question is not asked again.
    pub const FAILED: Duration = Duration::from_secs(5);
    /// How long an answer may take. Half of what a UDP client waits for any answer (Timer F, 32 s), so that there is
    /// time left to use it.
    pub const PATIENCE: Duration = Duration::from_secs(16);
}

/// Names in the table: 256 sets of four.
const SETS: usize = 256;
const WAYS: usize = 4;

/// A name that is to be resolved.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Query {
    id: u64,
    port: Option<u16>,
    udp: bool,
    len: u8,
    name: [u8; limit::NAME],
}

impl Query {
    /// A question of an embedder's own, for tests and tools. A name that is too long is cut, and then is no name.
    #[must_use]
    pub fn new(id: u64, name: &str, port: Option<u16>, names_udp: bool) -> Self {
        let len = name.len().min(limit::NAME);
        let mut text = [0; limit::NAME];
        for (to, from) in text.iter_mut().zip(name.bytes().take(len)) {
            *to = from.to_ascii_lowercase();
        }
        Self { id, port, udp: names_udp, len: len as u8, name: text }
    }

    /// What the [`Resolution`] has to repeat.
    #[must_use]
    pub fn id(&self) -> u64 {
        self.id
    }

    /// The name, in lower case, without the root's dot.
    #[must_use]
    pub fn name(&self) -> &str {
        let name = self.name.get(..usize::from(self.len)).unwrap_or_default();
        core::str::from_utf8(name).unwrap_or_default()
    }

    /// The port that the URI names.
    #[must_use]
    pub fn port(&self) -> Option<u16> {
        self.port
    }

    /// Whether the URI says `transport=udp`.
    #[must_use]
    pub fn names_udp(&self) -> bool {
        self.udp
    }
}

impl core::fmt::Debug for Query {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let Self { id, port, udp, .. } = self;
        f.debug_struct("Query")
            .field("id", id)
            .field("name", &self.name())
            .field("port", port)
            .field("udp", udp)
            .finish()
    }
}

/// One address of a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Server {
    /// Where to send.
    pub address: SocketAddr,
    /// Lower is first.
    pub priority: u16,
    /// Share of its record among those of one priority.
    pub weight: u16,
    /// Addresses of one SRV record have the same number, and numbers follow each other.
    pub record: u8,
}

/// The answer to a [`Query`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resolution {
    /// That of the query.
    pub id: u64,
    /// What came of it.
    pub answer: Answer,
}

/// What came of a [`Query`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Addresses, those of one record together; more than [`limit::SERVERS`] are not looked at.
    Found {
        /// In any order of records.
        servers: Vec<Server>,
        /// How long they hold.
        ttl: Duration,
    },
    /// There is no such name, or it has no SIP over UDP.
    Nothing {
        /// How long that holds.
        ttl: Duration,
    },
    /// Nobody knows.
    Failed,
}

/// Addresses in the order in which they are to be tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Addresses {
    list: [Option<SocketAddr>; limit::SERVERS],
}

impl Addresses {
    pub(crate) fn iter(&self) -> impl Iterator<Item = SocketAddr> + '_ {
        self.list.iter().copied().flatten()
    }
}

/// What is known of a name now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(
    clippy::large_enum_variant,
    reason = "read at once; a box would be an allocation on the way of a message"
)]
pub(crate) enum Lookup {
    /// Where to send.
    Ready(Addresses),
    /// It is being asked for.
    Waiting,
    /// It leads nowhere, or too much is being asked for already.
    Failed,
}

#[derive(Clone, Copy)]
#[expect(clippy::large_enum_variant, reason = "a place of a table of fixed size, which has room for either")]
enum State {
    Free,
    /// It is being asked for.
    Pending,
    Known {
        len: u8,
        servers: [Option<Server>; limit::SERVERS],
    },
    Nothing,
}

#[derive(Clone, Copy)]
struct Entry {
    name: u128,
    /// When it was asked or answered for the last time: tells an answer that comes too late from the one awaited.
    id: u64,
    /// Until when the state holds.
    until: Time,
    state: State,
}

/// The names that one worker knows or asks for.
pub(crate) struct Resolver {
    key: Key,
    sets: Box<[[Entry; WAYS]]>,
    /// Places of entries that are being asked for.
    pending: Vec<(u32, u32)>,
    queries: VecDeque<Query>,
    last_id: u64,
}

impl Resolver {
    pub(crate) fn new(keys: &Keys) -> Self {
        let empty = Entry { name: 0, id: 0, until: Time::START, state: State::Free };
        Self {
            key: keys.name,
            sets: vec![[empty; WAYS]; SETS].into_boxed_slice(),
            pending: Vec::with_capacity(limit::PENDING),
            queries: VecDeque::with_capacity(limit::PENDING),
            last_id: 0,
        }
    }

    /// Addresses for a name with the port and transport of its URI. `seed` decides among SRV records of one priority:
    /// a hash of the Call-ID, so that a retransmission meets the same server (section 4.4). Nobody waits here: the
    /// retransmission of a request finds what its original has asked for.
    pub(crate) fn lookup(
        &mut self,
        now: Time,
        seed: u64,
        name: &[u8],
        port: Option<u16>,
        udp: bool,
    ) -> Lookup {
        let name = name.strip_suffix(b".").unwrap_or(name);
        let hash = Prf::wide_lookup(&self.key)
            .folded(name)
            .number(port.map_or(0, u64::from))
            .number(u64::from(udp))
            .finish128();
        let set = (hash >> 64) as usize & (SETS - 1);
        let place = self.sets[set].iter().position(|e| e.name == hash && !matches!(e.state, State::Free));
        if let Some(way) = place {
            let Some(entry) = self.sets[set].get(way).filter(|entry| entry.until > now) else {
                return self.ask(now, (set, way), hash, (name, port, udp));
            };
            return match entry.state {
                State::Known { len, servers } => Lookup::Ready(order(&servers, len, seed)),
                State::Nothing | State::Free => Lookup::Failed,
                State::Pending => Lookup::Waiting,
            };
        }
        // The place of whoever is the first to run out; never of a question that is under way.
        let victim = self.sets[set]
            .iter()
            .enumerate()
            .filter(|(_, entry)| !matches!(entry.state, State::Pending) || entry.until <= now)
            .min_by_key(
                |(_, entry)| if matches!(entry.state, State::Free) { Time::START } else { entry.until },
            )
            .map(|(way, _)| way);
        match victim {
            Some(way) => self.ask(now, (set, way), hash, (name, port, udp)),
            None => Lookup::Failed,
        }
    }

    /// Makes an entry a question.
    fn ask(
        &mut self,
        now: Time,
        (set, way): (usize, usize),
        hash: u128,
        (name, port, udp): (&[u8], Option<u16>, bool),
    ) -> Lookup {
        let Ok(text) = core::str::from_utf8(name) else { return Lookup::Failed };
        // A question that nobody answered in time makes room for this one.
        self.on_timeout(now);
        if name.len() > limit::NAME || self.pending.len() >= limit::PENDING {
            return Lookup::Failed;
        }
        self.last_id += 1;
        let Some(entry) = self.sets.get_mut(set).and_then(|s| s.get_mut(way)) else { return Lookup::Failed };
        *entry =
            Entry { name: hash, id: self.last_id, until: now.after(limit::PATIENCE), state: State::Pending };
        self.pending.push((set as u32, way as u32));
        self.queries.push_back(Query::new(self.last_id, text, port, udp));
        Lookup::Waiting
    }

    /// The next question to be asked.
    pub(crate) fn next_query(&mut self) -> Option<Query> {
        self.queries.pop_front()
    }

    /// Takes an answer. One that nobody waits for any more, or that nobody asked for, changes nothing.
    pub(crate) fn resolved(&mut self, now: Time, resolution: &Resolution) {
        let of = |(set, way): (u32, u32), sets: &[[Entry; WAYS]]| {
            sets.get(set as usize).and_then(|s| s.get(way as usize)).is_some_and(|e| e.id == resolution.id)
        };
        let Some(at) = self.pending.iter().position(|place| of(*place, &self.sets)) else { return };
        let (state, holds) = match &resolution.answer {
            Answer::Found { servers, ttl } if !servers.is_empty() => {
                let mut kept = [None; limit::SERVERS];
                for (to, from) in kept.iter_mut().zip(servers) {
                    *to = Some(*from);
                }
                let len = servers.len().min(limit::SERVERS) as u8;
                (State::Known { len, servers: kept }, (*ttl).min(limit::LONGEST))
            }
            Answer::Found { .. } | Answer::Failed => (State::Nothing, limit::FAILED),
            Answer::Nothing { ttl } => (State::Nothing, (*ttl).min(limit::NOTHING)),
        };
        self.settle(at, state, now.after(holds.max(limit::SHORTEST)));
    }

    /// Ends the question at this place of `pending`.
    fn settle(&mut self, at: usize, state: State, until: Time) {
        let (set, way) = self.pending.swap_remove(at);
        if let Some(entry) = self.sets.get_mut(set as usize).and_then(|s| s.get_mut(way as usize)) {
            entry.state = state;
            entry.until = until;
        }
    }

    /// When the first question has waited long enough.
    pub(crate) fn timeout(&self) -> Option<Time> {
        self.pending
            .iter()
            .filter_map(|(set, way)| Some(self.sets.get(*set as usize)?.get(*way as usize)?.until))
            .min()
    }

    /// Gives up questions that have waited long enough.
    pub(crate) fn on_timeout(&mut self, now: Time) {
        let mut at = 0;
        while let Some((set, way)) = self.pending.get(at).copied() {
            let over = self
                .sets
                .get(set as usize)
                .and_then(|s| s.get(way as usize))
                .is_none_or(|entry| entry.until <= now);
            match over {
                true => self.settle(at, State::Nothing, now.after(limit::FAILED)),
                false => at += 1,
            }
        }
    }
}

/// The order of RFC 2782 ("Usage rules"): by priority, and among records of one priority by lot, weighted. The lots
/// are drawn from the seed, so that the same seed gives the same order.
fn order(servers: &[Option<Server>; limit::SERVERS], len: u8, seed: u64) -> Addresses {
    let mut left = *servers;
    let mut list = [None; limit::SERVERS];
    let mut next = list.iter_mut();
    for round in 0..u64::from(len) {
        let Some(priority) = left.iter().flatten().map(|s| s.priority).min() else { break };
        // A record is drawn by its first address; the others follow it.
        let mut seen = None;
        let firsts = left.map(|server| {
            let server = server.filter(|s| s.priority == priority && seen != Some(s.record))?;
            seen = Some(server.record);
            Some(server)
        });
        let total: u64 = firsts.iter().flatten().map(|s| u64::from(s.weight)).sum();
        // Those of weight 0 come first in the running sum, which gives them a very small chance.
        let zeros = firsts.iter().flatten().filter(|s| s.weight == 0);
        let others = firsts.iter().flatten().filter(|s| s.weight > 0);
        let lot = mix(seed.wrapping_add(round)) % (total + 1);
        let mut sum = 0;
        let chosen = zeros.chain(others).find(|s| {
            sum += u64::from(s.weight);
            sum >= lot
        });
        let Some(record) = chosen.map(|s| s.record) else { break };
        for server in &mut left {
            if let Some(found) = server.filter(|s| s.record == record) {
                if let Some(place) = next.next() {
                    *place = Some(found.address);
                }
                *server = None;
            }
        }
    }
    Addresses { list }
}

/// A permutation without visible order (the finaliser of SplitMix64).
fn mix(n: u64) -> u64 {
    let n = n.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let n = (n ^ (n >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let n = (n ^ (n >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    n ^ (n >> 31)
}

#[cfg(test)]
mod tests;
