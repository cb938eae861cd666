//! Keyed hashes. Every value that an attacker chooses and we later trust or look up goes through one of these.
//!
//! All keys come from the one secret of the configuration, each for one purpose, so that a value made for one can
//! never pass as another. SipHash-2-4 is used as the pseudo-random function and MAC: 64 bits that can only be tried
//! online, one message at a time. What is only looked up in tables here, and never leaves, is hashed by SipHash-1-3, as
//! the standard library does: it has half the rounds, and whoever is outside sees nothing of it to learn from.

use core::hash::Hasher;

use siphasher::sip::{SipHasher13, SipHasher24};
use siphasher::sip128::{SipHasher13 as SipHasher13x128, SipHasher24 as SipHasher24x128};

/// The key of one purpose.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Key([u8; 16]);

impl Key {
    /// For somebody else who has to make the same.
    pub(crate) fn octets(self) -> [u8; 16] {
        self.0
    }
}

/// One key for each purpose.
#[derive(Clone, Copy)]
pub(crate) struct Keys {
    /// The part of a branch that makes it unique (RFC 3261 section 16.11).
    pub(crate) branch: Key,
    /// The part of a branch that recognises a loop (RFC 5393 section 4.2.1).
    pub(crate) looped: Key,
    /// The part of a branch that proves we made it.
    pub(crate) mac: Key,
    /// The token in our Record-Route that proves a dialog is ours.
    pub(crate) dialog: Key,
    /// Keys of the table of dialogs.
    pub(crate) call: Key,
    /// Branches of our own BYEs.
    pub(crate) bye: Key,
    /// To tags of our own replies (RFC 3261 section 8.2.7).
    pub(crate) tag: Key,
    /// Keys of the location table.
    pub(crate) aor: Key,
    /// Call-IDs kept with bindings.
    pub(crate) call_id: Key,
    /// Which gateway target a call goes to, and which requests are refused under load.
    pub(crate) spread: Key,
    /// Branches of our own OPTIONS requests to gateways.
    pub(crate) probe: Key,
    /// Source addresses in the table of budgets.
    pub(crate) source: Key,
    /// Names in the table of DNS answers.
    pub(crate) name: Key,
    /// Nonces of digest authentication, and what hangs on them.
    pub(crate) nonce: Key,
    /// Temporary GRUUs (RFC 5627).
    pub(crate) gruu: Key,
}

impl Keys {
    /// Derives all keys from the configured secret: `SipHash128(secret[..16], label, secret[16..])`.
    pub(crate) fn derive(secret: &[u8; 32]) -> Self {
        let (first, second) = secret.split_at(16);
        let mut root = Key([0; 16]);
        root.0.copy_from_slice(first);
        let key = |label: &[u8]| Key(Prf::wide(&root).field(label).field(second).finish128().to_le_bytes());
        Self {
            branch: key(b"branch"),
            looped: key(b"loop"),
            mac: key(b"mac"),
            dialog: key(b"dialog"),
            call: key(b"call"),
            bye: key(b"bye"),
            tag: key(b"tag"),
            aor: key(b"aor"),
            call_id: key(b"call-id"),
            spread: key(b"spread"),
            probe: key(b"probe"),
            source: key(b"source"),
            name: key(b"name"),
            nonce: key(b"nonce"),
            gruu: key(b"gruu"),
        }
    }
}

/// A keyed hash over a list of fields. Every field is written with its length, so that two lists never give the
/// same input: `("ab", "c")` is not `("a", "bc")`.
///
/// Small pieces are gathered into a block: the hash takes a block at a fraction of what it takes for its pieces. The
/// gathering is the same for all hashes, and is there once.
pub(crate) struct Prf<H> {
    hasher: H,
    block: Block,
}

/// Octets of a block: whole words of the hash, and enough for most branches and tags with their neighbours.
const BLOCK: usize = 128;

/// What is not in the hash yet.
struct Block {
    octets: [u8; BLOCK],
    len: usize,
}

impl Block {
    const EMPTY: Self = Self { octets: [0; BLOCK], len: 0 };

    fn gathered(&self) -> &[u8] {
        self.octets.get(..self.len).unwrap_or_default()
    }

    /// `false`, and nothing taken, when there is no room for `bytes`.
    fn push(&mut self, bytes: &[u8]) -> bool {
        let Some(free) = self.octets.get_mut(self.len..self.len + bytes.len()) else { return false };
        free.copy_from_slice(bytes);
        self.len += bytes.len();
        true
    }

    /// The same for a field: its length, and what it is.
    #[inline(never)]
    fn field(&mut self, bytes: &[u8]) -> bool {
        self.len + 4 + bytes.len() <= BLOCK && self.push(&length(bytes)) && self.push(bytes)
    }

    #[inline(never)]
    fn address(&mut self, address: core::net::SocketAddr) -> bool {
        let ip = match address.ip() {
            core::net::IpAddr::V4(ip) => ip.to_ipv6_mapped(),
            core::net::IpAddr::V6(ip) => ip,
        };
        self.len + 18 <= BLOCK && self.push(&address.port().to_le_bytes()) && self.push(&ip.octets())
    }
}

/// The length of a field as it is hashed. None has four gigaoctets.
fn length(bytes: &[u8]) -> [u8; 4] {
    (bytes.len() as u32).to_le_bytes()
}

/// For what leaves this node and is believed when it comes back.
impl Prf<SipHasher24> {
    pub(crate) fn new(key: &Key) -> Self {
        Self { hasher: SipHasher24::new_with_key(&key.0), block: Block::EMPTY }
    }

    pub(crate) fn finish(&self) -> u64 {
        self.hasher.hash(self.block.gathered())
    }
}

/// The same, wide enough for a key.
impl Prf<SipHasher24x128> {
    pub(crate) fn wide(key: &Key) -> Self {
        Self { hasher: SipHasher24x128::new_with_key(&key.0), block: Block::EMPTY }
    }

    pub(crate) fn finish128(&self) -> u128 {
        self.hasher.hash(self.block.gathered()).as_u128()
    }
}

/// For tables.
impl Prf<SipHasher13> {
    pub(crate) fn lookup(key: &Key) -> Self {
        Self { hasher: SipHasher13::new_with_key(&key.0), block: Block::EMPTY }
    }

    pub(crate) fn finish(&self) -> u64 {
        self.hasher.hash(self.block.gathered())
    }
}

/// For tables whose keys stand for what they are made of.
impl Prf<SipHasher13x128> {
    pub(crate) fn wide_lookup(key: &Key) -> Self {
        Self { hasher: SipHasher13x128::new_with_key(&key.0), block: Block::EMPTY }
    }

    pub(crate) fn finish128(&self) -> u128 {
        self.hasher.hash(self.block.gathered()).as_u128()
    }
}

impl<H: Hasher> Prf<H> {
    /// Hashes what was gathered, and then `bytes`, at once when they are longer than a block.
    #[cold]
    fn spill(&mut self, bytes: &[u8]) {
        self.hasher.write(self.block.gathered());
        self.block.len = 0;
        if !self.block.push(bytes) {
            self.hasher.write(bytes);
        }
    }

    #[inline(always)]
    fn push(&mut self, bytes: &[u8]) {
        if !self.block.push(bytes) {
            self.spill(bytes);
        }
    }

    #[inline(always)]
    pub(crate) fn field(&mut self, bytes: &[u8]) -> &mut Self {
        if !self.block.field(bytes) {
            self.spill(&length(bytes));
            self.push(bytes);
        }
        self
    }

    /// As [`field`](Self::field), with ASCII letters in lower case: for what is compared without case.
    pub(crate) fn folded(&mut self, bytes: &[u8]) -> &mut Self {
        self.push(&length(bytes));
        for part in bytes.chunks(32) {
            let mut lower = [0; 32];
            for (to, from) in lower.iter_mut().zip(part) {
                *to = from.to_ascii_lowercase();
            }
            self.push(lower.get(..part.len()).unwrap_or_default());
        }
        self
    }

    #[inline(always)]
    pub(crate) fn number(&mut self, n: u64) -> &mut Self {
        self.push(&n.to_le_bytes());
        self
    }

    #[inline(always)]
    pub(crate) fn address(&mut self, address: core::net::SocketAddr) -> &mut Self {
        if !self.block.address(address) {
            self.spill(b"");
            self.block.address(address);
        }
        self
    }
}

/// Digits of [`write_base32`]: lower case only, because tokens are compared without case (RFC 3261 section 7.3.1).
pub(crate) const DIGITS: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";

/// Writes the low `5 * out.len()` bits of `n`, most significant digit first.
pub(crate) fn write_base32(mut n: u64, out: &mut [u8]) {
    for digit in out.iter_mut().rev() {
        *digit = DIGITS[(n & 31) as usize];
        n >>= 5;
    }
}

/// Value of each digit in both cases; 32 for what is none.
const VALUES: [u8; 256] = {
    let mut values = [32; 256];
    let mut value = 0;
    while value < DIGITS.len() {
        values[DIGITS[value] as usize] = value as u8;
        values[DIGITS[value].to_ascii_uppercase() as usize] = value as u8;
        value += 1;
    }
    values
};

/// Reads what [`write_base32`] wrote; `None` on any other byte or on more than 64 bits.
pub(crate) fn read_base32(digits: &[u8]) -> Option<u64> {
    let mut n: u64 = 0;
    let mut lost = 0;
    let mut bad = 0;
    for digit in digits {
        let value = VALUES[usize::from(*digit)];
        bad |= value & 32;
        lost |= n >> 59;
        n = (n << 5) | u64::from(value);
    }
    (bad == 0 && lost == 0).then_some(n)
}

/// Whether two MACs are the same, in a time that does not depend on where they differ.
pub(crate) fn same(a: u64, b: u64) -> bool {
    core::hint::black_box(a ^ b) == 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn purposes_and_secrets_have_different_keys() {
        let keys = |s: u8| {
            let k = Keys::derive(&[s; 32]);
            [
                k.branch, k.looped, k.mac, k.dialog, k.call, k.bye, k.tag, k.aor, k.call_id, k.spread,
                k.probe, k.source, k.name, k.nonce, k.gruu,
            ]
            .map(|k| k.0)
        };
        let mut all: Vec<_> = keys(1).into_iter().chain(keys(2)).collect();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), 30);
        let mut half = [1; 32];
        half[31] = 9;
        assert_ne!(Keys::derive(&half).mac.0, Keys::derive(&[1; 32]).mac.0, "the second half matters");
    }

    #[test]
    fn fields_do_not_run_into_each_other() {
        let key = Keys::derive(&[7; 32]).tag;
        let hash = |fields: &[&[u8]]| {
            let mut prf = Prf::new(&key);
            fields.iter().for_each(|field| {
                prf.field(field);
            });
            prf.finish()
        };
        assert_ne!(hash(&[b"ab", b"c"]), hash(&[b"a", b"bc"]));
        assert_ne!(hash(&[b"ab"]), hash(&[b"ab", b""]));
    }

    proptest! {
        #[test]
        fn base32_round_trips(n: u64) {
            let mut text = [0; 13];
            write_base32(n, &mut text);
            prop_assert_eq!(read_base32(&text), Some(n));
            prop_assert_eq!(read_base32(&text.to_ascii_uppercase()), Some(n));
        }

        #[test]
        fn base32_reads_only_what_it_would_write(text in "[ -~]{13}") {
            if let Some(n) = read_base32(text.as_bytes()) {
                let mut again = [0; 13];
                write_base32(n, &mut again);
                prop_assert!(again.eq_ignore_ascii_case(text.as_bytes()));
            }
        }

        /// The oracle hashes it in one piece.
        #[test]
        fn gathering_changes_nothing(
            fields in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..200), 0..8),
            address: (u32, u16),
        ) {
            let key = Keys::derive(&[3; 32]).tag;
            let address = core::net::SocketAddr::new(core::net::Ipv4Addr::from(address.0).into(), address.1);
            let (mut one, mut other, mut whole) = (Prf::new(&key), Prf::wide_lookup(&key), Vec::new());
            for field in &fields {
                one.field(field).number(7).address(address);
                other.field(field).number(7).address(address);
                whole.extend_from_slice(&(field.len() as u32).to_le_bytes());
                whole.extend_from_slice(field);
                whole.extend_from_slice(&7u64.to_le_bytes());
                whole.extend_from_slice(&address.port().to_le_bytes());
                let core::net::IpAddr::V4(ip) = address.ip() else { unreachable!() };
                whole.extend_from_slice(&ip.to_ipv6_mapped().octets());
            }
            prop_assert_eq!(one.finish(), SipHasher24::new_with_key(&key.0).hash(&whole));
            let oracle = SipHasher13x128::new_with_key(&key.0).hash(&whole).as_u128();
            prop_assert_eq!(other.finish128(), oracle);
        }

        #[test]
        fn folding_is_lower_casing(text in "[ -~]{0,100}") {
            let key = Keys::derive(&[3; 32]).tag;
            prop_assert_eq!(
                Prf::new(&key).folded(text.as_bytes()).finish(),
                Prf::new(&key).field(text.to_ascii_lowercase().as_bytes()).finish()
            );
        }
    }
}
