//! The branch of the Via that we put on requests. The response brings it back: by it a transaction finds its client
//! branch without search, and a stateless proxy (RFC 3261 section 16.11) what it must remember. Nobody else can write
//! one.
//!
//! ```text
//! z9hG4bK t WW SSSSS GGGGGGG PPPPPPP MMMMMMMMMMMMM
//!         │ │  │     │       │       └ MAC over all of it and the transaction (64 bits)
//!         │ │  │     │       └ what decides the route, hashed: equal means a loop (RFC 5393 4.2.1; 32 bits)
//!         │ │  │     └ generation of the slot
//!         │ │  └ slot in the worker's table of branches
//!         │ └ number of the worker
//!         └ kind: of a transaction
//!
//! z9hG4bK s L UUUUUUUUUUUUU PPPPPPP MMMMMMMMMMMMM
//!         │ │ └ unique, and the same for a retransmission, its CANCEL and its ACK (16.11; 64 bits)
//!         │ └ index of the listen address the request came to; the response leaves from it (RFC 3581 section 4)
//!         └ kind: stateless
//! ```
//! All but the cookie is base 32, lower case. Other kinds can follow; a kind not known is a forged branch.

use core::net::SocketAddr;

use crate::keys::{Keys, Prf, read_base32, same, write_base32};

/// RFC 3261 section 8.1.1.7.
pub(crate) const COOKIE: &[u8] = b"z9hG4bK";

/// The kinds.
const STATELESS: u8 = b's';
const TRANSACTION: u8 = b't';

/// Octets of a branch as text.
pub(crate) const LEN: usize = 7 + 1 + 14 + 7 + 13;

/// What a branch leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    Stateless {
        /// Index of the listen address that the request came to.
        listen: u8,
        unique: u64,
    },
    Transaction(Slot),
}

/// A client branch of some worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Slot {
    /// Below [`limit::WORKERS`](crate::limit::WORKERS).
    pub(crate) worker: u16,
    /// At most [`limit::BRANCHES`](crate::limit::BRANCHES).
    pub(crate) slot: u32,
    pub(crate) generation: u32,
}

/// The readable parts of a branch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Branch {
    pub(crate) origin: Origin,
    pub(crate) looped: u32,
}

/// What of a transaction is in the request we send and in the response that comes back: bound by the MAC.
#[derive(Clone, Copy)]
pub(crate) struct Bound<'a> {
    pub(crate) call_id: &'a [u8],
    pub(crate) cseq: u32,
    /// Where the response goes next. With it under the MAC, whoever answers cannot have us send to a third party.
    pub(crate) reply_to: SocketAddr,
}

impl Branch {
    fn mac(&self, keys: &Keys, bound: &Bound<'_>) -> u64 {
        let (kind, one, other) = match self.origin {
            Origin::Stateless { listen, unique } => (STATELESS, u64::from(listen), unique),
            Origin::Transaction(Slot { worker, slot, generation }) => {
                (TRANSACTION, u64::from(worker), u64::from(slot) << 32 | u64::from(generation))
            }
        };
        Prf::new(&keys.mac)
            .number(u64::from(kind) << 32 | one)
            .number(other)
            .number(u64::from(self.looped))
            .field(bound.call_id)
            .number(u64::from(bound.cseq))
            .address(bound.reply_to)
            .finish()
    }

    /// The branch as text.
    pub(crate) fn write(&self, keys: &Keys, bound: &Bound<'_>) -> [u8; LEN] {
        let mut text = [0; LEN];
        let (cookie, rest) = text.split_at_mut(COOKIE.len());
        cookie.copy_from_slice(COOKIE);
        let (kind, rest) = rest.split_at_mut(1);
        let (origin, rest) = rest.split_at_mut(14);
        match self.origin {
            Origin::Stateless { listen, unique } => {
                kind.fill(STATELESS);
                let (first, rest) = origin.split_at_mut(1);
                write_base32(u64::from(listen), first);
                write_base32(unique, rest);
            }
            Origin::Transaction(of) => {
                kind.fill(TRANSACTION);
                let (worker, rest) = origin.split_at_mut(2);
                write_base32(u64::from(of.worker), worker);
                let (slot, generation) = rest.split_at_mut(5);
                write_base32(u64::from(of.slot), slot);
                write_base32(u64::from(of.generation), generation);
            }
        }
        let (looped, mac) = rest.split_at_mut(7);
        write_base32(u64::from(self.looped), looped);
        write_base32(self.mac(keys, bound), mac);
        text
    }

    /// Reads a branch of ours without believing it: for loop detection, where lying harms only the liar.
    pub(crate) fn read(text: &[u8]) -> Option<(Self, u64)> {
        let text: &[u8; LEN] = text.try_into().ok()?;
        let (cookie, rest) = text.split_at(COOKIE.len());
        let (kind, rest) = rest.split_at(1);
        let (origin, rest) = rest.split_at(14);
        let (looped, mac) = rest.split_at(7);
        if !cookie.eq_ignore_ascii_case(COOKIE) {
            return None;
        }
        let origin = if kind.eq_ignore_ascii_case(&[STATELESS]) {
            let (listen, unique) = origin.split_at(1);
            Origin::Stateless {
                listen: u8::try_from(read_base32(listen)?).ok()?,
                unique: read_base32(unique)?,
            }
        } else if kind.eq_ignore_ascii_case(&[TRANSACTION]) {
            let (worker, rest) = origin.split_at(2);
            let (slot, generation) = rest.split_at(5);
            Origin::Transaction(Slot {
                worker: u16::try_from(read_base32(worker)?).ok()?,
                slot: u32::try_from(read_base32(slot)?).ok()?,
                generation: u32::try_from(read_base32(generation)?).ok()?,
            })
        } else {
            return None;
        };
        let branch = Self { origin, looped: u32::try_from(read_base32(looped)?).ok()? };
        Some((branch, read_base32(mac)?))
    }

    /// Reads a branch of ours from a response; `None` unless we wrote exactly this one for this transaction.
    pub(crate) fn verify(text: &[u8], keys: &Keys, bound: &Bound<'_>) -> Option<Self> {
        let (branch, mac) = Self::read(text)?;
        same(branch.mac(keys, bound), mac).then_some(branch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::limit;
    use proptest::prelude::*;

    fn bound(call_id: &[u8]) -> Bound<'_> {
        Bound { call_id, cseq: 7, reply_to: "192.0.2.1:5060".parse().unwrap() }
    }

    fn origin() -> impl Strategy<Value = Origin> {
        prop_oneof![
            (0u8..32, any::<u64>()).prop_map(|(listen, unique)| Origin::Stateless { listen, unique }),
            (0..limit::WORKERS as u16, 0..=limit::BRANCHES as u32, any::<u32>()).prop_map(
                |(worker, slot, generation)| Origin::Transaction(Slot { worker, slot, generation })
            ),
        ]
    }

    proptest! {
        #[test]
        fn reads_what_it_wrote(origin in origin(), looped: u32) {
            let keys = Keys::derive(&[9; 32]);
            let branch = Branch { origin, looped };
            let text = branch.write(&keys, &bound(b"a@b"));
            prop_assert_eq!(Branch::verify(&text, &keys, &bound(b"a@b")), Some(branch));
            prop_assert_eq!(Branch::verify(&text.to_ascii_lowercase(), &keys, &bound(b"a@b")), Some(branch));
        }

        #[test]
        fn any_other_digit_is_a_forgery(origin in origin(), at in 7usize..LEN, digit in "[0-9a-z]") {
            let keys = Keys::derive(&[9; 32]);
            let mut text = Branch { origin, looped: 3 }.write(&keys, &bound(b"a@b"));
            let digit = digit.as_bytes()[0];
            prop_assume!(text[at] != digit);
            text[at] = digit;
            prop_assert_eq!(Branch::verify(&text, &keys, &bound(b"a@b")), None);
        }

        #[test]
        fn arbitrary_text_is_no_branch(text in proptest::collection::vec(any::<u8>(), 0..60)) {
            prop_assert_eq!(Branch::verify(&text, &Keys::derive(&[9; 32]), &bound(b"a@b")), None);
        }
    }

    #[test]
    fn every_bound_part_counts() {
        let keys = Keys::derive(&[9; 32]);
        let origin = Origin::Stateless { listen: 1, unique: 2 };
        let text = Branch { origin, looped: 3 }.write(&keys, &bound(b"a@b"));
        let verify = |keys, bound| Branch::verify(&text, keys, &bound).is_some();
        assert!(verify(&keys, bound(b"a@b")));
        assert!(!verify(&keys, bound(b"a@c")));
        assert!(!verify(&keys, Bound { cseq: 8, ..bound(b"a@b") }));
        assert!(!verify(&keys, Bound { reply_to: "192.0.2.2:5060".parse().unwrap(), ..bound(b"a@b") }));
        assert!(!verify(&keys, Bound { reply_to: "192.0.2.1:5061".parse().unwrap(), ..bound(b"a@b") }));
        assert!(!verify(&Keys::derive(&[8; 32]), bound(b"a@b")));
    }
}
