//! Nonces that need no memory until somebody has proven himself with one.
//!
//! ```text
//! IIIIIIIIIIIII MMMMMMMMMMMMM       base 32
//! │             └ MAC over the rest, the source address, the realm and the worker (64 bits)
//! └ when it was made (44 bits, about milliseconds of engine time) and a count (20 bits)
//! ```
//! The time is the engine's, which never runs backwards and knows nothing of the wall clock.

use core::net::SocketAddr;
use core::time::Duration;

use crate::keys::{Key, Prf, read_base32, same, write_base32};
use crate::time::Time;

/// Octets of a nonce.
pub(super) const LEN: usize = 26;

/// Bits of the count: a million nonces in one unit of time.
const COUNT_BITS: u32 = 20;

/// log2 of the nanoseconds in a unit of the time.
const UNIT_BITS: u32 = 20;

/// What a nonce of ours says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Nonce {
    /// Unlike any other of this worker, and larger than all that were made before.
    pub(super) id: u64,
    /// Spread evenly, and nobody can choose it.
    pub(super) mac: u64,
}

impl Nonce {
    /// When it was made, in units.
    fn made(&self) -> u64 {
        self.id >> COUNT_BITS
    }

    /// Whether it is older than `lifetime`, or from the future: the machine was started since.
    pub(super) fn expired(&self, now: Time, lifetime: Duration) -> bool {
        let now = units(now);
        self.made() > now || (now - self.made()) << UNIT_BITS > lifetime.as_nanos() as u64
    }
}

fn units(time: Time) -> u64 {
    time.as_nanos() >> UNIT_BITS
}

/// Makes and recognises the nonces of one worker.
pub(super) struct Nonces {
    key: Key,
    /// Tells workers of a node apart: each can only say of its own nonces whether they were used.
    worker: u64,
    count: u64,
    /// The smallest id that this run can have given out.
    first: Option<u64>,
}

impl Nonces {
    pub(super) fn new(key: Key, worker: u64) -> Self {
        Self { key, worker, count: 0, first: None }
    }

    /// Says what time it is before anything else is asked. Returns the id under which nonces are from before the
    /// start, when it was not kept what had been used.
    pub(super) fn floor(&mut self, now: Time) -> u64 {
        *self.first.get_or_insert(units(now) << COUNT_BITS)
    }

    fn mac(&self, id: u64, source: SocketAddr, realm: &[u8]) -> u64 {
        Prf::new(&self.key).number(id).number(self.worker).address(source).field(realm).finish()
    }

    /// A new one, for whoever is at `source`.
    pub(super) fn make(&mut self, now: Time, source: SocketAddr, realm: &[u8]) -> [u8; LEN] {
        self.floor(now);
        self.count += 1;
        let id = units(now) << COUNT_BITS | self.count & ((1 << COUNT_BITS) - 1);
        let mut text = [0; LEN];
        let (first, second) = text.split_at_mut(LEN / 2);
        write_base32(id, first);
        write_base32(self.mac(id, source, realm), second);
        text
    }

    /// Reads one that this worker made for this source and realm.
    pub(super) fn read(&self, text: &[u8], source: SocketAddr, realm: &[u8]) -> Option<Nonce> {
        let text: &[u8; LEN] = text.try_into().ok()?;
        let (first, second) = text.split_at(LEN / 2);
        let nonce = Nonce { id: read_base32(first)?, mac: read_base32(second)? };
        same(self.mac(nonce.id, source, realm), nonce.mac).then_some(nonce)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::Keys;
    use proptest::prelude::*;

    fn nonces(worker: u64) -> Nonces {
        Nonces::new(Keys::derive(&[3; 32]).nonce, worker)
    }

    fn at(seconds: u64) -> Time {
        Time::START.after(Duration::from_secs(seconds))
    }

    #[test]
    fn bound_to_source_realm_and_worker() {
        let source: SocketAddr = "192.0.2.1:5060".parse().unwrap();
        let mut one = nonces(1);
        let text = one.make(at(5), source, b"a");
        assert!(one.read(&text, source, b"a").is_some());
        assert_eq!(one.read(&text, "192.0.2.1:5061".parse().unwrap(), b"a"), None);
        assert_eq!(one.read(&text, "192.0.2.2:5060".parse().unwrap(), b"a"), None);
        assert_eq!(one.read(&text, source, b"b"), None);
        assert_eq!(nonces(2).read(&text, source, b"a"), None);
        assert_ne!(one.make(at(5), source, b"a"), text, "each is new");
    }

    #[test]
    fn ages_with_engine_time_alone() {
        let source: SocketAddr = "192.0.2.1:5060".parse().unwrap();
        let mut one = nonces(1);
        let text = one.make(at(100), source, b"a");
        let nonce = one.read(&text, source, b"a").unwrap();
        let lifetime = Duration::from_secs(30);
        assert!(!nonce.expired(at(100), lifetime) && !nonce.expired(at(130), lifetime));
        assert!(nonce.expired(at(131), lifetime));
        assert!(nonce.expired(at(1), lifetime), "time began again: the machine was started since");
        assert_eq!(one.floor(at(500)), one.floor(at(900)), "fixed by the first");
        assert!(nonce.id >= one.floor(at(500)));
    }

    proptest! {
        #[test]
        fn no_digit_can_be_changed(at_digit in 0usize..LEN, digit in "[0-9a-z]") {
            let source: SocketAddr = "192.0.2.1:5060".parse().unwrap();
            let mut one = nonces(1);
            let mut text = one.make(at(7), source, b"a");
            let digit = digit.as_bytes()[0];
            prop_assume!(text[at_digit] != digit);
            text[at_digit] = digit;
            prop_assert_eq!(one.read(&text, source, b"a"), None);
        }
    }
}
