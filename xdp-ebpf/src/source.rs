//! Where a packet's source stands in the tables of policing: bans, known sources, budgets.
//!
//! The tables are arrays that the program reads in place, without a call: an LRU hash of the kernel's costs 20 ns for
//! each look-up, these cost 5. A table is divided into sets; a source belongs to one set, which a keyed hash of its
//! address chooses, and can stand anywhere in it. So no table grows, a full one works on, and nobody outside can aim
//! at a set. Program and loader both place sources by what is here.

use strowger_wire::{Address, IpVersion};

/// The secret of the hash: five odd-looking words that nobody else knows.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct SourceKey(pub [u64; 5]);

impl core::fmt::Debug for SourceKey {
    /// Not the secret.
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("SourceKey")
    }
}

/// The address by which a source is known and has its budget: an IPv6 host has a whole /64 to send from, so that is
/// one source.
#[inline(always)]
pub fn source_of(version: IpVersion, address: Address) -> [u64; 2] {
    let [head, tail] = address.words();
    match version {
        IpVersion::V4 => [head, tail],
        IpVersion::V6 => [head, 0],
    }
}

/// Where a source stands: a number for its set, and a tag by which it is told from others of the set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// What the source is recognized by where there is room for it.
    pub hash: u64,
    /// What the source is recognized by in a table of few bits.
    pub tag: u32,
}

impl Place {
    /// Of the source with these two words.
    ///
    /// The sum is strongly universal in its upper half (Dietzfelbinger 1996): whatever two addresses are chosen, they
    /// meet by chance alone for whoever doesn't know the key. Five multiplications, where a keyed hash that is secure
    /// against more than that would cost as much as all other policing.
    #[inline(always)]
    pub const fn of(key: &SourceKey, source: [u64; 2]) -> Self {
        let [a, b, c, d, e] = key.0;
        let [head, tail] = source;
        let sum = (head & 0xffff_ffff)
            .wrapping_mul(a)
            .wrapping_add((head >> 32).wrapping_mul(b))
            .wrapping_add((tail & 0xffff_ffff).wrapping_mul(c))
            .wrapping_add((tail >> 32).wrapping_mul(d))
            .wrapping_add(e);
        // Neighbours' sums lie in a row; this scatters them, and loses nothing.
        let scattered = (sum ^ (sum >> 32)).wrapping_mul(a | 1);
        let hash = scattered ^ (scattered >> 29);
        Self { hash, tag: hash as u32 }
    }

    /// The set among `sets`, which is a power of two of at most 2^31.
    #[inline(always)]
    pub const fn set(self, sets: u32) -> u32 {
        (self.hash >> 33) as u32 & sets.wrapping_sub(1)
    }
}

/// Bans that a set of the table holds.
pub const BANS_OF_A_SET: usize = 4;

/// One banned address.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Ban {
    /// Words of the [`Address`].
    pub address: [u64; 2],
    /// Nanoseconds of CLOCK_MONOTONIC until which the ban holds; 0: no ban.
    pub until_ns: u64,
    /// Zero.
    pub reserved: u64,
}

/// One set of the table of bans: two cache lines.
pub type BanSet = [Ban; BANS_OF_A_SET];

/// Known sources that a set of the table holds.
pub const KNOWN_OF_A_SET: usize = 8;

/// One set of known sources: a cache line. Each is a word of [`Place::tag`] and [`known_time`].
pub type KnownSet = [u64; KNOWN_OF_A_SET];

/// A known source: its tag, and until when.
#[inline(always)]
pub const fn known_entry(tag: u32, until: u32) -> u64 {
    (tag as u64) << 32 | until as u64
}

/// Nanoseconds as the table of known sources keeps time: in steps of 2^30, about 1.07 s; 146 years until it wraps.
#[inline(always)]
pub const fn known_time(ns: u64) -> u32 {
    (ns >> 30) as u32
}

/// Budgets that a set of the table holds.
pub const BUDGETS_OF_A_SET: usize = 4;

/// What one source has spent. Two words that two CPUs may write at once: what comes out is a wrong debt or nobody's
/// entry, and both are gone with the next message.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Budget {
    /// [`Place::hash`] of the source.
    pub source: u64,
    /// Nanoseconds of CLOCK_MONOTONIC until which it has used up what it may: its debt is what lies ahead.
    pub spent_ns: u64,
}

/// One set of budgets: a cache line.
pub type BudgetSet = [Budget; BUDGETS_OF_A_SET];

#[cfg(test)]
mod tests {
    extern crate std;

    use std::collections::HashSet;
    use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
    use std::vec::Vec;

    use super::*;

    const KEY: SourceKey = SourceKey([
        0x9e37_79b9_7f4a_7c15,
        0xbf58_476d_1ce4_e5b9,
        0x94d0_49bb_1331_11eb,
        0xd6e8_feb8_6659_fd93,
        0xa076_1d64_78bd_642f,
    ]);

    /// A /16 of neighbours, and a /112: no set is far fuller than the others, and tags differ within a set.
    #[test]
    fn neighbours_are_spread() {
        let v4: Vec<IpAddr> = (0..65_536).map(|n| Ipv4Addr::from(0x0a4d_0000_u32 + n).into()).collect();
        let base = 0x2001_0db8_u128 << 96;
        let v6: Vec<IpAddr> = (0..65_536).map(|n| Ipv6Addr::from(base + (n << 64)).into()).collect();
        for (version, sources) in [(IpVersion::V4, v4), (IpVersion::V6, v6)] {
            let mut sets = std::vec![0_u32; 4_096];
            let mut tags = HashSet::new();
            for source in &sources {
                let place = Place::of(&KEY, source_of(version, Address::from(*source)));
                sets[place.set(4_096) as usize] += 1;
                tags.insert((place.set(4_096), place.tag));
            }
            assert!(sets.iter().all(|n| *n < 64), "{:?}", sets.iter().max());
            assert_eq!(tags.len(), sources.len());
        }
    }

    #[test]
    fn an_ipv6_subnet_is_one_source() {
        let of = |text: &str| source_of(IpVersion::V6, Address::from(text.parse::<IpAddr>().unwrap()));
        assert_eq!(of("2001:db8::1"), of("2001:db8::ffff:1"));
        assert_ne!(of("2001:db8::1"), of("2001:db8:0:1::1"));
    }
}
