//! Which worker a SIP message belongs to: its Call-ID found and hashed, so that all messages of a call meet in one
//! engine whichever queue they arrive on.
//!
//! Called by the XDP program for every datagram that it redirects while there is more than one worker
//! ([`scan`]), and by the workers for what reached them by the kernel's socket ([`message_hash`]). Both must
//! name the same worker:
//!
//! * The Call-ID is the value of the first header line whose name is `Call-ID` or `i`, in any case, with white
//!   space before the colon or not, with a value on the same line or on folded ones (RFC 3261, 7.3.1, 7.3.3 and
//!   20.8). The start line is no header line, and the body has none.
//! * What is hashed is the value's first word: the bytes from the first that isn't white space up to the next
//!   byte of at most 0x20. A Call-ID has no white space inside (RFC 3261, 25.1), so this is all of it.
//! * Lines end with LF. A message with an LF that has no CR before it is refused by the parser anyway.
//!
//! [`scan`] looks at a bounded part and answers `None` for what it doesn't find there; whatever it finds, the
//! whole-message form finds too, and alike (`tests/steering.rs`).
//!
//! The hash is SipHash-1-3 under a secret of 128 bits: whoever doesn't know it can't make Call-IDs that all
//! meet in one worker.

use core::fmt;

use crate::Load;
use crate::bytes::{equal, through_first, up_to_space, word};
use crate::siphash::SipHash;

/// Steps of [`scan`]'s search for the header line. A step goes on by eight bytes, or to the next line: eleven
/// steps for two lines of forty bytes, so that this many reach well beyond the first kilobyte.
const SCAN_STEPS: usize = 160;
/// Bytes between the header's name and its value that [`scan`] looks through: colon, white space and folding.
const GAP_LIMIT: usize = 16;
/// Words of the longest value that [`scan`] hashes: 255 bytes and the one that ends them.
const VALUE_WORDS: usize = 32;

/// `call-id` in the seven lower bytes of a little-endian word.
const CALL_ID: u64 = u64::from_le_bytes(*b"call-id\0");
/// The bit in which the cases of a letter differ, at the six letters. The hyphen must be one already.
const CALL_ID_CASE: u64 = u64::from_le_bytes([0x20, 0x20, 0x20, 0x20, 0, 0x20, 0x20, 0]);
/// The seven bytes that are compared.
const CALL_ID_MASK: u64 = 0x00ff_ffff_ffff_ffff;

/// The secret of the hash; the same for the XDP program and every worker of one node.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct SteeringKey([u64; 2]);

impl SteeringKey {
    /// From 16 bytes that nobody else knows.
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        let all = u128::from_le_bytes(bytes);
        Self([all as u64, (all >> 64) as u64])
    }

    /// From the two words that [`words`](Self::words) gave.
    #[inline(always)]
    pub const fn from_words(words: [u64; 2]) -> Self {
        Self(words)
    }

    /// As the XDP program holds it.
    pub const fn words(self) -> [u64; 2] {
        self.0
    }
}

impl fmt::Debug for SteeringKey {
    /// Not the secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SteeringKey")
    }
}

/// The worker, below `workers`, that a hash belongs to; 0 when there are none. Every worker has the same share
/// but for 2^-32 of it.
#[inline(always)]
pub const fn worker_of(hash: u64, workers: u32) -> u32 {
    (((hash >> 32) * workers as u64) >> 32) as u32
}

/// The hash of a Call-ID.
pub fn hash(key: &SteeringKey, call_id: &[u8]) -> u64 {
    let mut state = SipHash13::new(key.0);
    let (words, rest) = call_id.as_chunks::<8>();
    for word in words {
        state.compress(u64::from_le_bytes(*word));
    }
    let rest = rest.iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte));
    state.finish(rest, call_id.len() as u64)
}

/// The hash of the Call-ID of `message`, a whole datagram; `None` when it has none.
pub fn message_hash(key: &SteeringKey, message: &[u8]) -> Option<u64> {
    call_id(message).map(|value| hash(key, value))
}

/// The Call-ID of `message`, a whole datagram, and never empty; `None` when it has none. Empty lines before the
/// start line are skipped (RFC 3261, 7.5).
pub fn call_id(message: &[u8]) -> Option<&[u8]> {
    let begin = message.iter().position(|byte| !matches!(byte, b'\r' | b'\n'))?;
    let mut line = next_line(message.get(begin..)?)?;
    loop {
        if matches!(line, [b'\n', ..] | [b'\r', b'\n', ..]) {
            return None;
        }
        if let Some(value) = behind_name(line) {
            let start = value_start(value, usize::MAX)?;
            let word = value.get(start..)?.split(|byte| *byte <= b' ').next()?;
            return (!word.is_empty()).then_some(word);
        }
        line = next_line(line)?;
    }
}

/// What follows the first LF.
fn next_line(bytes: &[u8]) -> Option<&[u8]> {
    let line_feed = bytes.iter().position(|byte| *byte == b'\n')?;
    bytes.get(line_feed + 1..)
}

/// The line from behind the name `Call-ID` or `i` on, when it has that name: colon or white space before it come next.
fn behind_name(line: &[u8]) -> Option<&[u8]> {
    let name = line.iter().position(|byte| matches!(byte, b':' | b' ' | b'\t'))?;
    let (name, rest) = line.split_at_checked(name)?;
    let ours = name.eq_ignore_ascii_case(b"call-id") || name.eq_ignore_ascii_case(b"i");
    let colon = rest.iter().find(|byte| !matches!(byte, b' ' | b'\t'))?;
    (ours && *colon == b':').then_some(rest)
}

/// Finds and hashes the Call-ID of the SIP message that lies in `frame` at `payload`, `payload_len` bytes of it. The
/// frame is shorter than 4,096 bytes.
///
/// Bounded in time, for the XDP program: `None` also for a message that begins with an empty line, for a
/// Call-ID beyond the part that is looked at (a kilobyte and more) or longer than 255 bytes, for one with more
/// than 15 bytes between name and value, and for one that ends within the last eight bytes of the frame.
#[inline(always)]
pub fn scan<L: Load + ?Sized>(
    key: &SteeringKey,
    frame: &L,
    payload: usize,
    payload_len: usize,
) -> Option<u64> {
    let end = frame.blur(payload + payload_len);
    let name_end = frame.blur(find_name(frame, frame.blur(payload))?);
    let gap = value_start(&Behind { frame, base: name_end }, GAP_LIMIT)?;
    hash_value(key, frame, frame.blur(name_end + gap), end)
}

/// Where the name of the Call-ID header ends.
///
/// Word by word for LF; the bytes after each one are compared with what is looked for, eight at once.
#[inline(always)]
fn find_name<L: Load + ?Sized>(frame: &L, payload: usize) -> Option<usize> {
    let mut at = payload;
    if matches!(frame.load::<1>(at)?, [b'\r' | b'\n']) {
        return None;
    }
    for _ in 0..SCAN_STEPS {
        let line_feeds = equal(word(frame, at)?, b'\n');
        // Without a branch, so that the verifier knows the same of `at` either way and follows one of them.
        at += through_first(line_feeds);
        if line_feeds == 0 {
            continue;
        }
        let line = word(frame, at)?;
        if line as u8 == b'\n' || line as u16 == u16::from_le_bytes(*b"\r\n") {
            return None;
        }
        if (line | CALL_ID_CASE) & CALL_ID_MASK == CALL_ID && ends_name((line >> 56) as u8) {
            return Some(at + 7);
        }
        if line as u8 | 0x20 == b'i' && ends_name((line >> 8) as u8) {
            return Some(at + 1);
        }
    }
    None
}

#[inline(always)]
const fn ends_name(byte: u8) -> bool {
    matches!(byte, b':' | b' ' | b'\t')
}

/// Bytes that can be asked for one by one: what stands behind a header's name.
trait Bytes {
    fn byte(&self, at: usize) -> Option<u8>;
}

impl Bytes for [u8] {
    fn byte(&self, at: usize) -> Option<u8> {
        self.get(at).copied()
    }
}

/// The bytes of a frame from `base` on.
struct Behind<'a, L: ?Sized> {
    frame: &'a L,
    base: usize,
}

impl<L: Load + ?Sized> Bytes for Behind<'_, L> {
    #[inline(always)]
    fn byte(&self, at: usize) -> Option<u8> {
        self.frame.load::<1>(self.base + at).map(|[byte]| byte)
    }
}

/// From the end of a header's name to its value: `HCOLON = *( SP / HTAB ) ":" SWS` (RFC 3261, 25.1). A line that
/// goes on in the next one says so by white space there; without, the value is empty and this `None`.
#[inline(always)]
fn value_start<B: Bytes + ?Sized>(bytes: &B, limit: usize) -> Option<usize> {
    let mut place = Gap::Name;
    for at in 0..limit {
        place = match (place, bytes.byte(at)?) {
            (Gap::Name, b' ' | b'\t') => Gap::Name,
            (Gap::Name, b':') | (Gap::Value | Gap::LineEnd, b' ' | b'\t') => Gap::Value,
            (Gap::Value, b'\r') => Gap::Return,
            (Gap::Value | Gap::Return, b'\n') => Gap::LineEnd,
            (Gap::Value, _) => return Some(at),
            _ => return None,
        };
    }
    None
}

/// What was passed last on the way from name to value.
#[derive(Clone, Copy)]
enum Gap {
    /// The name, or white space behind it.
    Name,
    /// The colon, or white space behind it.
    Value,
    /// CR.
    Return,
    /// LF.
    LineEnd,
}

/// Hashes the value at `at`. The byte that ends it must lie before `end`, the end of the message.
#[inline(always)]
fn hash_value<L: Load + ?Sized>(key: &SteeringKey, frame: &L, at: usize, end: usize) -> Option<u64> {
    let mut state = SipHash13::new(key.0);
    for word_index in 0..VALUE_WORDS {
        let len = word_index * 8;
        let word = word(frame, at + len)?;
        let ends = up_to_space(word);
        if ends == 0 {
            state.compress(word);
            continue;
        }
        let len = len + through_first(ends) - 1;
        if len == 0 || at + len >= end {
            return None;
        }
        // Below the lowest bit that is set, byte by byte: the bytes of the value in this word.
        let value = (ends & ends.wrapping_neg()) >> 7;
        return Some(state.finish(word & value.wrapping_sub(1), len as u64));
    }
    None
}

/// With one round for each word and three at the end, as the standard libraries of Rust, Python and Ruby use it for their
/// tables.
type SipHash13 = SipHash<1, 3>;
