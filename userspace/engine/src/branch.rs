//! The branch of the Via that we put on requests: what a stateless proxy remembers about a transaction is written
//! there (RFC 3261 section 16.11), and nobody else can write it.
//!
//! ```text
//! z9hG4bK s L UUUUUUUUUUUUU PPPPPPP MMMMMMMMMMMMM
//!         │ │ │             │       └ MAC over all of it and the transaction (64 bits)
//!         │ │ │             └ what decides the route, hashed: equal means a loop (RFC 5393 4.2.1; 32 bits)
//!         │ │ └ unique, and the same for a retransmission, its CANCEL and its ACK (16.11; 64 bits)
//!         │ └ index of the listen address the request came to; the response leaves from it (RFC 3581 section 4)
//!         └ kind: stateless
//! ```
//! All but the cookie is base 32, lower case. Other kinds can follow; a kind not known is a forged branch.

use core::net::SocketAddr;

use crate::keys::{Keys, Prf, read_base32, same, write_base32};

/// RFC 3261 section 8.1.1.7.
pub(crate) const COOKIE: &[u8] = b"z9hG4bK";

/// This file's kind of branch.
const STATELESS: u8 = b's';

/// Octets of a branch as text.
pub(crate) const LEN: usize = 7 + 1 + 1 + 13 + 7 + 13;

/// The readable parts of a branch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Branch {
    /// Index of the listen address that the request came to.
    pub(crate) listen: u8,
    pub(crate) unique: u64,
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
        Prf::new(&keys.mac)
            .number(u64::from(self.listen))
            .number(self.unique)
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
        kind.fill(STATELESS);
        let (listen, rest) = rest.split_at_mut(1);
        write_base32(u64::from(self.listen), listen);
        let (unique, rest) = rest.split_at_mut(13);
        write_base32(self.unique, unique);
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
        let (listen, rest) = rest.split_at(1);
        let (unique, rest) = rest.split_at(13);
        let (looped, mac) = rest.split_at(7);
        if !cookie.eq_ignore_ascii_case(COOKIE) || !kind.eq_ignore_ascii_case(&[STATELESS]) {
            return None;
        }
        let branch = Self {
            listen: u8::try_from(read_base32(listen)?).ok()?,
            unique: read_base32(unique)?,
            looped: u32::try_from(read_base32(looped)?).ok()?,
        };
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
    use proptest::prelude::*;

    fn bound(call_id: &[u8]) -> Bound<'_> {
        Bound { call_id, cseq: 7, reply_to: "192.0.2.1:5060".parse().unwrap() }
    }

    proptest! {
        #[test]
        fn reads_what_it_wrote(listen in 0u8..32, unique: u64, looped: u32) {
            let keys = Keys::derive(&[9; 32]);
            let branch = Branch { listen, unique, looped };
            let text = branch.write(&keys, &bound(b"a@b"));
            prop_assert_eq!(Branch::verify(&text, &keys, &bound(b"a@b")), Some(branch));
            prop_assert_eq!(Branch::verify(&text.to_ascii_lowercase(), &keys, &bound(b"a@b")), Some(branch));
        }

        #[test]
        fn any_other_digit_is_a_forgery(at in 8usize..LEN, digit in "[0-9a-z]") {
            let keys = Keys::derive(&[9; 32]);
            let mut text = Branch { listen: 1, unique: 2, looped: 3 }.write(&keys, &bound(b"a@b"));
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
        let text = Branch { listen: 1, unique: 2, looped: 3 }.write(&keys, &bound(b"a@b"));
        let verify = |keys, bound| Branch::verify(&text, keys, &bound).is_some();
        assert!(verify(&keys, bound(b"a@b")));
        assert!(!verify(&keys, bound(b"a@c")));
        assert!(!verify(&keys, Bound { cseq: 8, ..bound(b"a@b") }));
        assert!(!verify(&keys, Bound { reply_to: "192.0.2.2:5060".parse().unwrap(), ..bound(b"a@b") }));
        assert!(!verify(&keys, Bound { reply_to: "192.0.2.1:5061".parse().unwrap(), ..bound(b"a@b") }));
        assert!(!verify(&Keys::derive(&[8; 32]), bound(b"a@b")));
    }
}
