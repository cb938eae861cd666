//! Who is registered, as the workers publish it: known sources have a budget of their own.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use strowger_wire::{Address, IpVersion};

use super::mapped::MappedWords;
use crate::source::{KNOWN_OF_A_SET, Place, SourceKey, known_entry, known_time, source_of};

/// The known sources of one program: shared by all workers, each of which publishes by atomic stores alone.
///
/// A source is remembered by 32 bits of a keyed hash besides its set, so once in some hundred million times a stranger
/// is taken for a known source, and has that one's budget. An IPv6 source is a /64.
#[derive(Clone, Debug)]
pub struct KnownSources {
    pub(super) table: Arc<MappedWords>,
    pub(super) sets: u32,
    pub(super) key: SourceKey,
}

impl KnownSources {
    /// Makes `address` known until `until_ns` of CLOCK_MONOTONIC (to about a second), or for longer when it is already.
    /// In a full set the source goes whose time ends first.
    pub fn publish(&self, address: IpAddr, now_ns: u64, until_ns: u64) {
        let place = self.place(address);
        let (now, until) = (known_time(now_ns), known_time(until_ns).saturating_add(1));
        let wanted = known_entry(place.tag, until);
        // Bounded: somebody else's store into the same word is all that can come between.
        for _ in 0..KNOWN_OF_A_SET {
            let Some((word, seen)) = self.choose(place, now) else { return };
            if (seen >> 32) as u32 == place.tag && seen as u32 >= until {
                return;
            }
            if word.compare_exchange(seen, wanted, Ordering::Relaxed, Ordering::Relaxed).is_ok() {
                return;
            }
        }
    }

    /// Makes `address` unknown: it has no binding any more.
    pub fn forget(&self, address: IpAddr) {
        let place = self.place(address);
        for word in self.words(place) {
            let seen = word.load(Ordering::Relaxed);
            if seen != 0 && (seen >> 32) as u32 == place.tag {
                // Whoever comes between has published anew.
                let _ = word.compare_exchange(seen, 0, Ordering::Relaxed, Ordering::Relaxed);
            }
        }
    }

    /// Whether `address` is known at `now_ns`.
    pub fn contains(&self, address: IpAddr, now_ns: u64) -> bool {
        let place = self.place(address);
        let mut words = self.words(place).map(|word| word.load(Ordering::Relaxed));
        words.any(|word| (word >> 32) as u32 == place.tag && word as u32 > known_time(now_ns))
    }

    /// Makes known here whoever is known to `before`, whose program was there earlier: a copy of its table, so both
    /// must have places for as many sources, and one key ([`LoadOptions::source_key`](super::LoadOptions::source_key)).
    /// `false`, and nothing done, when they have not. Who is published here already stays so.
    #[must_use = "whoever was known is not, unless this says so"]
    pub fn take_over(&self, before: &Self) -> bool {
        if (self.sets, self.key.0) != (before.sets, before.key.0) {
            return false;
        }
        for at in 0..self.sets as usize * KNOWN_OF_A_SET {
            let (Some(from), Some(to)) = (before.table.word(at), self.table.word(at)) else { break };
            let known = from.load(Ordering::Relaxed);
            if known != 0 {
                // What is in the place is newer.
                let _ = to.compare_exchange(0, known, Ordering::Relaxed, Ordering::Relaxed);
            }
        }
        true
    }

    /// The source's own word, or else the one whose time ends first; and what is in it.
    fn choose(&self, place: Place, now: u32) -> Option<(&AtomicU64, u64)> {
        let seen = self.words(place).map(|word| (word, word.load(Ordering::Relaxed)));
        seen.min_by_key(|(_, seen)| {
            let own = *seen != 0 && (*seen >> 32) as u32 == place.tag;
            // Those that have ended are all alike.
            (!own, (*seen as u32).max(now))
        })
    }

    fn words(&self, place: Place) -> impl Iterator<Item = &AtomicU64> {
        let first = place.set(self.sets) as usize * KNOWN_OF_A_SET;
        (first..first + KNOWN_OF_A_SET).filter_map(|at| self.table.word(at))
    }

    fn place(&self, address: IpAddr) -> Place {
        let version = if address.is_ipv4() { IpVersion::V4 } else { IpVersion::V6 };
        Place::of(&self.key, source_of(version, Address::from(address)))
    }
}
