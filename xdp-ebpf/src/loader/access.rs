//! Who is trusted and who is banned, as userspace decides and the program enforces.
//!
//! Trust comes first: nobody who is trusted can be banned, and trusting somebody ends his bans. Because this is seen to
//! here, the program can ask in the order that is cheapest.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use aya::maps::MapData;
use aya::maps::lpm_trie::{Key, LpmTrie};
use strowger_wire::Address;

use super::mapped::MappedWords;
use super::switchboard::Switchboard;
use super::{MapError, error};
use crate::source::{BANS_OF_A_SET, Ban, Place, SourceKey};
use crate::{BANNED, MAX_PREFIXES, TRUSTED, map};

/// Words of one ban in the table.
const WORDS: usize = size_of::<Ban>() / 8;

/// A network: the addresses that share their first bits with one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Network {
    /// Leading bits that count, with the 96 that map an IPv4 address into IPv6.
    len: u8,
    /// The address, mapped, with zeros behind these bits.
    bits: u128,
}

impl Network {
    /// The network of `address` with `len` leading bits; what `address` has behind them doesn't matter. `None` when an
    /// address has not that many.
    pub fn new(address: IpAddr, len: u8) -> Option<Self> {
        let len = match address {
            IpAddr::V4(_) => len.checked_add(96),
            IpAddr::V6(_) => Some(len),
        };
        let len = len.filter(|len| *len <= 128)?;
        let all = u128::from_be_bytes(Address::from(address).octets());
        Some(Self { len, bits: all & !Self::host_bits(len) })
    }

    /// Whether every address of `other` is one of these.
    pub fn contains(&self, other: &Self) -> bool {
        self.len <= other.len && (self.bits ^ other.bits) & !Self::host_bits(self.len) == 0
    }

    fn host_bits(len: u8) -> u128 {
        u128::MAX.checked_shr(u32::from(len)).unwrap_or(0)
    }

    fn key(&self) -> Key<[u8; 16]> {
        Key::new(u32::from(self.len), self.bits.to_be_bytes())
    }
}

impl From<IpAddr> for Network {
    fn from(address: IpAddr) -> Self {
        Self { len: 128, bits: u128::from_be_bytes(Address::from(address).octets()) }
    }
}

/// The access list of one loaded program; taken once, and then whoever's it is. Changes hold at once, and without a
/// system call for single addresses.
#[derive(Debug)]
pub struct AccessList {
    bans: Option<Bans>,
    trie: LpmTrie<MapData, [u8; 16], u32>,
    networks: HashMap<Network, u32>,
    switches: Switchboard,
}

/// The table of banned addresses.
#[derive(Debug)]
pub(super) struct Bans {
    pub(super) table: Arc<MappedWords>,
    pub(super) sets: u32,
    pub(super) key: SourceKey,
}

impl AccessList {
    pub(super) fn new(
        bans: Option<Bans>,
        trie: LpmTrie<MapData, [u8; 16], u32>,
        switches: Switchboard,
    ) -> Self {
        Self { bans, trie, networks: HashMap::new(), switches }
    }

    /// Trusts `network` from now on: its packets are neither banned nor charged. Bans of networks inside of it end, and
    /// so do those of its addresses.
    ///
    /// # Errors
    ///
    /// [`MapError::TooManyPrefixes`], [`MapError::Kernel`].
    pub fn trust(&mut self, network: Network) -> Result<(), MapError> {
        let inside: Vec<_> = self
            .networks
            .iter()
            .filter(|(other, value)| **value == BANNED && network.contains(other))
            .map(|(other, _)| *other)
            .collect();
        for other in inside {
            self.remove(other, BANNED)?;
        }
        self.set(network, TRUSTED)?;
        if let Some(bans) = &self.bans {
            bans.end_inside(&network);
        }
        Ok(())
    }

    /// Trusts `network` no more than others.
    ///
    /// # Errors
    ///
    /// [`MapError::Kernel`].
    pub fn distrust(&mut self, network: Network) -> Result<(), MapError> {
        self.remove(network, TRUSTED)
    }

    /// Drops all packets of `network`, but those of trusted networks inside of it.
    ///
    /// # Errors
    ///
    /// [`MapError::Trusted`] when it lies in a trusted network; [`MapError::NoBans`],
    /// [`MapError::TooManyPrefixes`], [`MapError::Kernel`].
    pub fn ban_network(&mut self, network: Network) -> Result<(), MapError> {
        if self.bans.is_none() {
            return Err(MapError::NoBans);
        }
        if self.trusts(&network) {
            return Err(MapError::Trusted);
        }
        self.set(network, BANNED)
    }

    /// Ends the ban of `network`, and of nothing inside or around it.
    ///
    /// # Errors
    ///
    /// [`MapError::Kernel`].
    pub fn unban_network(&mut self, network: Network) -> Result<(), MapError> {
        self.remove(network, BANNED)
    }

    /// Drops all packets of `address` until `until_ns` of CLOCK_MONOTONIC, as the kernel's clock of ticks tells it. An
    /// IPv6 address alone, not its /64: ban the network for that.
    ///
    /// Returns the address whose ban ended early, when the table had no free place for this one: the one among four
    /// that would have ended first.
    ///
    /// # Errors
    ///
    /// [`MapError::Trusted`], [`MapError::NoBans`].
    pub fn ban(&mut self, address: IpAddr, now_ns: u64, until_ns: u64) -> Result<Option<IpAddr>, MapError> {
        if self.trusts(&Network::from(address)) {
            return Err(MapError::Trusted);
        }
        let bans = self.bans.as_ref().ok_or(MapError::NoBans)?;
        Ok(bans.set(Address::from(address), now_ns, until_ns))
    }

    /// Ends the ban of `address`; returns whether there was one.
    pub fn unban(&mut self, address: IpAddr) -> bool {
        self.bans.as_ref().is_some_and(|bans| bans.end(Address::from(address)))
    }

    /// Until when `address` itself is banned, in nanoseconds of CLOCK_MONOTONIC; may lie in the past.
    pub fn banned_until(&self, address: IpAddr) -> Option<u64> {
        let bans = self.bans.as_ref()?;
        let (at, _) = bans.find(Address::from(address))?;
        Some(bans.word(at, 2))
    }

    /// Whether all of `network` is trusted.
    pub fn trusts(&self, network: &Network) -> bool {
        // The longest network around it that anything is known of; its whole is inside that one.
        let around = self.networks.iter().filter(|(other, _)| other.contains(network));
        around.max_by_key(|(other, _)| other.len).is_some_and(|(_, value)| *value == TRUSTED)
    }

    fn set(&mut self, network: Network, value: u32) -> Result<(), MapError> {
        self.trie.insert(&network.key(), value, 0).map_err(|error| match error::os_error(&error) {
            Some(libc::ENOSPC) => MapError::TooManyPrefixes { limit: MAX_PREFIXES },
            _ => MapError::kernel(map::PREFIXES, error),
        })?;
        self.networks.insert(network, value);
        self.count()
    }

    fn remove(&mut self, network: Network, value: u32) -> Result<(), MapError> {
        if self.networks.get(&network) != Some(&value) {
            return Ok(());
        }
        match self.trie.remove(&network.key()) {
            Err(error) if error::os_error(&error) != Some(libc::ENOENT) => {
                return Err(MapError::kernel(map::PREFIXES, error));
            }
            _ => {}
        }
        self.networks.remove(&network);
        self.count()
    }

    fn count(&self) -> Result<(), MapError> {
        let prefixes = self.networks.len() as u64;
        self.switches.change(|switches| switches.prefixes = prefixes)
    }
}

impl Bans {
    /// The first word of each place of the set of `address`.
    fn places(&self, address: Address) -> impl Iterator<Item = usize> {
        let set = Place::of(&self.key, address.words()).set(self.sets) as usize;
        (0..BANS_OF_A_SET).map(move |place| (set * BANS_OF_A_SET + place) * WORDS)
    }

    fn word(&self, at: usize, word: usize) -> u64 {
        self.table.word(at + word).map_or(0, |word| word.load(Ordering::Relaxed))
    }

    fn store(&self, at: usize, word: usize, value: u64) {
        if let Some(word) = self.table.word(at + word) {
            // Released in the order written, which is the order that the program relies on.
            word.store(value, Ordering::Release);
        }
    }

    fn find(&self, address: Address) -> Option<(usize, u64)> {
        let found = self
            .places(address)
            .find(|at| [self.word(*at, 0), self.word(*at, 1)] == address.words() && self.word(*at, 2) != 0)?;
        Some((found, self.word(found, 2)))
    }

    fn set(&self, address: Address, now_ns: u64, until_ns: u64) -> Option<IpAddr> {
        if let Some((at, _)) = self.find(address) {
            self.store(at, 2, until_ns);
            return None;
        }
        let at = self.places(address).min_by_key(|at| self.word(*at, 2))?;
        let ended = (self.word(at, 2) > now_ns).then(|| {
            let [head, tail] = [self.word(at, 0), self.word(at, 1)].map(u64::to_ne_bytes);
            let mut octets = [0; 16];
            octets[..8].copy_from_slice(&head);
            octets[8..].copy_from_slice(&tail);
            IpAddr::from(octets).to_canonical()
        });
        // Nobody's while the address changes.
        self.store(at, 2, 0);
        let [head, tail] = address.words();
        self.store(at, 0, head);
        self.store(at, 1, tail);
        self.store(at, 2, until_ns);
        ended
    }

    fn end(&self, address: Address) -> bool {
        let found = self.find(address);
        found.inspect(|(at, _)| self.store(*at, 2, 0)).is_some()
    }

    fn end_inside(&self, network: &Network) {
        for at in (0..self.sets as usize * BANS_OF_A_SET).map(|place| place * WORDS) {
            let mut octets = [0; 16];
            octets[..8].copy_from_slice(&self.word(at, 0).to_ne_bytes());
            octets[8..].copy_from_slice(&self.word(at, 1).to_ne_bytes());
            if self.word(at, 2) != 0 && network.contains(&Network::from(IpAddr::from(octets))) {
                self.store(at, 2, 0);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network(text: &str) -> Network {
        let (address, len) = text.split_once('/').unwrap();
        Network::new(address.parse().unwrap(), len.parse().unwrap()).unwrap()
    }

    #[test]
    fn a_network_contains_what_shares_its_bits() {
        assert!(network("10.77.0.0/16").contains(&network("10.77.3.0/24")));
        assert!(network("10.77.0.0/16").contains(&network("10.77.0.0/16")));
        assert!(!network("10.77.3.0/24").contains(&network("10.77.0.0/16")));
        assert!(!network("10.77.0.0/16").contains(&network("10.78.0.1/32")));
        assert!(network("0.0.0.0/0").contains(&network("255.255.255.255/32")));
        assert!(!network("0.0.0.0/0").contains(&network("2001:db8::/32")));
        assert!(network("::/0").contains(&network("0.0.0.0/0")));
        assert_eq!(network("10.77.255.1/16"), network("10.77.0.0/16"));
        assert_eq!(Network::new("10.0.0.0".parse().unwrap(), 33), None);
        assert_eq!(Network::new("::".parse().unwrap(), 129), None);
    }
}
