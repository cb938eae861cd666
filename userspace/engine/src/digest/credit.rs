//! What a source has sent us and not got back: challenges never make more of an attacker's packets than he sent.
//!
//! A refusal can be longer than a very short request. It goes out all the same once the source has sent as many octets
//! as come back: a client over UDP repeats itself after 500 ms (RFC 3261 section 17.1), so the second of two short
//! requests is answered. What is left over is for more challenges in the next one. A fixed table; who shares a place with another begins again, which only costs time.

use core::net::IpAddr;

use crate::keys::{Key, Prf};

/// Places; 16 octets each.
const PLACES: usize = 4096;

/// Octets that are remembered at most: a source that was silent to us for long is not to be answered in bulk.
const MOST: u32 = 65_535;

#[derive(Clone, Copy, Default)]
struct Place {
    source: u64,
    octets: u32,
}

/// The credit of sources whose requests were too short for what they ask.
pub(crate) struct Credit {
    key: Key,
    places: Box<[Place]>,
}

impl Credit {
    pub(super) fn new(key: Key) -> Self {
        Self { key, places: vec![Place::default(); PLACES].into_boxed_slice() }
    }

    fn place(&mut self, source: IpAddr) -> Option<&mut Place> {
        // One who has a whole IPv6 network has one source.
        let hash = match source {
            IpAddr::V4(ip) => Prf::new(&self.key).field(&ip.octets()).finish(),
            IpAddr::V6(ip) => {
                Prf::new(&self.key).field(ip.octets().first_chunk::<8>().unwrap_or(&[0; 8])).finish()
            }
        };
        let place = self.places.get_mut(hash as usize % PLACES)?;
        if place.source != hash {
            *place = Place { source: hash, octets: 0 };
        }
        Some(place)
    }

    /// Books octets that the source has sent. Returns all that it has.
    pub(crate) fn receive(&mut self, source: IpAddr, octets: usize) -> usize {
        let Some(place) = self.place(source) else { return 0 };
        place.octets = (place.octets + u32::try_from(octets).unwrap_or(MOST).min(MOST)).min(MOST);
        place.octets as usize
    }

    /// Takes the octets of a reply off what the source has; false, and nothing taken, when it has fewer.
    pub(crate) fn spend(&mut self, source: IpAddr, octets: usize) -> bool {
        let Some(place) = self.place(source) else { return false };
        let left = u32::try_from(octets).ok().and_then(|octets| place.octets.checked_sub(octets));
        place.octets = left.unwrap_or(place.octets);
        left.is_some()
    }

    /// Takes all that the source has, for a reply that is longer than that.
    pub(crate) fn clear(&mut self, source: IpAddr) {
        if let Some(place) = self.place(source) {
            place.octets = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::Keys;

    #[test]
    fn never_more_out_than_in() {
        let mut credit = Credit::new(Keys::derive(&[1; 32]).nonce);
        let source: IpAddr = "192.0.2.1".parse().unwrap();
        let (mut received, mut sent) = (0, 0);
        for _ in 0..100 {
            received += 300;
            credit.receive(source, 300);
            if credit.spend(source, 390) {
                sent += 390;
            }
            assert!(sent <= received);
        }
        assert!(sent >= received - 390, "{sent} of {received}: what is covered goes out");
        let other = "192.0.2.2".parse().unwrap();
        assert_eq!(credit.receive(other, 300), 300, "each source for itself");
        assert!(!credit.spend(other, 390));
        credit.clear(other);
        assert_eq!(credit.receive(other, 100), 100, "nothing is left of the 300");
        // A host cannot have as many sources as its IPv6 network has addresses.
        let [one, two] = ["2001:db8::1", "2001:db8::2"].map(|ip| ip.parse().unwrap());
        assert_eq!((credit.receive(one, 300), credit.receive(two, 300)), (300, 600));
    }

    #[test]
    fn silence_earns_nothing_beyond_a_datagram() {
        let mut credit = Credit::new(Keys::derive(&[1; 32]).nonce);
        let source: IpAddr = "192.0.2.1".parse().unwrap();
        for _ in 0..1000 {
            credit.receive(source, 300);
            assert!(!credit.spend(source, 70_000_000));
        }
        let answered = (0..1000).filter(|_| credit.spend(source, 500)).count();
        assert_eq!(answered, MOST as usize / 500);
    }
}
