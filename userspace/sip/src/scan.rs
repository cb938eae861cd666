//! The vectorised parts: 64 bytes at a time for the header index, 16 at a time for the runs that typed views skip over,
//! and numbers read as one word.
//!
//! Vectors come from the crate `wide`: SSE2 on every x86-64, NEON on every AArch64, plain integers elsewhere. Each
//! routine has a naive twin in the tests.

mod host;

use wide::{bytemuck, i8x16, u8x16};

use crate::class;
use crate::text::Text;

pub(crate) use host::{AROUND, BEFORE, HostKind, HostPort, host_port, port};

/// Bytes looked at in one step: one bit each in a [`Masks`] word.
pub(crate) const BLOCK: usize = 64;

/// Bit `i` speaks of byte `i` of the block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Masks {
    /// The byte is LF.
    pub(crate) line_feed: u64,
    /// The byte is below 0x20 or is DEL: CR, LF and HTAB are among them.
    pub(crate) control: u64,
}

/// Where are the line feeds and where the control bytes? The header index walks the line feeds, and uses the other
/// mask to prove, without a second look at the bytes, that nothing but CRLF is among them.
#[inline(always)]
pub(crate) fn masks(block: &[u8; BLOCK]) -> Masks {
    let mut result = Masks { line_feed: 0, control: 0 };
    let (lanes, _) = block.as_chunks::<16>();
    for (i, lane) in lanes.iter().enumerate() {
        let bytes = u8x16::new(*lane);
        let control = between(bytes, 0, 0x1f) | eq(bytes, 0x7f);
        result.line_feed |= u64::from(eq(bytes, b'\n').to_bitmask()) << (16 * i);
        result.control |= u64::from(control.to_bitmask()) << (16 * i);
    }
    result
}

/// Where are the bytes that neither a name nor a value has in it as nearly all are written: control bytes, DEL, and what is not
/// ASCII?
#[inline(always)]
pub(crate) fn odd(block: &[u8; BLOCK]) -> u64 {
    let mut result = 0;
    let (lanes, _) = block.as_chunks::<16>();
    for (i, lane) in lanes.iter().enumerate() {
        result |= u64::from(between(u8x16::new(*lane), 0x7f, 0x1f).to_bitmask()) << (16 * i);
    }
    result
}

/// Offset of the first `:` among the 16 bytes, or 16.
#[inline(always)]
pub(crate) fn colon(window: &[u8; 16]) -> usize {
    first(eq(u8x16::new(*window), b':'))
}

#[inline(always)]
fn eq(bytes: u8x16, byte: u8) -> u8x16 {
    bytes.simd_eq(u8x16::splat(byte))
}

/// The bytes from `from` up to `to`; with `to` below `from`, up over 0xff and 0 to it.
#[inline(always)]
fn between(bytes: u8x16, from: u8, to: u8) -> u8x16 {
    // Moved so that `to` is the greatest signed number, all of the range and nothing else is over what is before `from`.
    let moved: i8x16 = bytemuck::cast(bytes + u8x16::splat(0x7f_u8.wrapping_sub(to)));
    let before = 0x7e_u8.wrapping_sub(to.wrapping_sub(from));
    bytemuck::cast(moved.simd_gt(i8x16::splat(before as i8)))
}

/// Not `%x21-7E`.
#[inline(always)]
fn not_visible(bytes: u8x16) -> u8x16 {
    between(bytes, 0x7f, 0x20)
}

#[inline(always)]
fn letters_and_digits(bytes: u8x16) -> u8x16 {
    between(bytes | u8x16::splat(0x20), b'a', b'z') | between(bytes, b'0', b'9')
}

/// Number of the first lane that is set, or 16.
#[inline(always)]
fn first(mask: u8x16) -> usize {
    (mask.to_bitmask() | 1 << 16).trailing_zeros() as usize
}

/// Defines `fn name(text, at)`: where the run of bytes in a class that begins at `at` ends, which is the first byte from
/// there on that `outside` finds, or the end. With `or b'%'`, an escape ends it too.
macro_rules! run {
    ($(#[$doc:meta])* $name:ident = $class:ident $(or $also:literal)?, |$bytes:ident| $outside:expr) => {
        $(#[$doc])*
        #[inline(always)]
        pub(crate) fn $name(text: Text<'_>, at: usize) -> usize {
            let mut at = at;
            while let Some(window) = text.window(at) {
                let $bytes = u8x16::new(*window);
                let found = first($outside);
                at += found;
                if found < 16 || at >= text.end() {
                    return at.min(text.end());
                }
            }
            // The last bytes of the datagram.
            let also: &[u8] = &[$($also)?];
            slow_run_end(text.value(), at, class::$class, also.first().copied())
        }
    };
}

#[inline(never)]
fn slow_run_end(value: &[u8], at: usize, mask: u16, also: Option<u8>) -> usize {
    let end = class::run_end(value, at, mask);
    let run = value.get(at..end).unwrap_or_default();
    also.and_then(|byte| memchr::memchr(byte, run)).map_or(end, |i| at + i)
}

/// How many of the 16 bytes from the front on are surely in [`class::USER`]: alphanumerics and ``_+,-./``.
#[inline(always)]
pub(crate) fn plain_user(window: &[u8; 16]) -> usize {
    let b = u8x16::new(*window);
    let letters = between(b | u8x16::splat(0x20), b'a', b'z');
    first(!(letters | between(b, b'+', b'9') | eq(b, b'_')))
}

/// Number of the first of 32 lanes that is not set, or 32.
#[inline(always)]
fn run_of_two(low: u8x16, high: u8x16) -> usize {
    (low.to_bitmask() | high.to_bitmask() << 16).trailing_ones() as usize
}

/// How many of the 32 bytes from the front on are surely in [`class::VALUE`]: alphanumerics and ``-./:``.
#[inline(always)]
pub(crate) fn plain_value(window: &[u8; 32]) -> usize {
    let plain = |b: u8x16| between(b | u8x16::splat(0x20), b'a', b'z') | between(b, b'-', b':');
    let (low, high) = halves(window);
    run_of_two(plain(low), plain(high))
}

/// How many of the 32 bytes from the front on are surely in [`class::CALL_ID`]: alphanumerics and ``-./:@``.
#[inline(always)]
pub(crate) fn plain_call_id(window: &[u8; 32]) -> usize {
    let plain = |b: u8x16| between(b | u8x16::splat(0x20), b'a', b'z') | between(b, b'-', b':') | eq(b, b'@');
    let (low, high) = halves(window);
    run_of_two(plain(low), plain(high))
}

/// How many of the 16 bytes from the front on are letters.
#[inline(always)]
pub(crate) fn letters(window: &[u8; 16]) -> usize {
    first(!between(u8x16::new(*window) | u8x16::splat(0x20), b'a', b'z'))
}

/// How many of the 32 bytes from the front on are neither `"` nor `\`.
#[inline(always)]
pub(crate) fn plain_quoted(window: &[u8; 32]) -> usize {
    let plain = |b: u8x16| !(eq(b, b'"') | eq(b, b'\\'));
    let (low, high) = halves(window);
    run_of_two(plain(low), plain(high))
}

/// How many of the 32 bytes from the front on are surely in [`class::ADDRESS`]: all of them but `!`.
#[inline(always)]
pub(crate) fn plain_address(window: &[u8; 32]) -> usize {
    // `<` and `>` differ in one bit.
    let outside = |b: u8x16| between(b, 0x7f, b'"') | eq(b | u8x16::splat(b'<' ^ b'>'), b'>');
    let (low, high) = halves(window);
    (u64::from(outside(low).to_bitmask() | outside(high).to_bitmask() << 16) | 1 << 32).trailing_zeros()
        as usize
}

#[inline(always)]
fn halves(window: &[u8; 32]) -> (u8x16, u8x16) {
    let (lanes, _) = window.as_chunks::<16>();
    (u8x16::new(lanes[0]), u8x16::new(lanes[1]))
}

run! {
    /// End of a run of [`class::VALUE`].
    value_end = VALUE, |b| {
        not_visible(b) | eq(b, b';') | eq(b, b',') | eq(b, b'"') | eq(b, b'<') | eq(b, b'>') | eq(b, b'\\')
    }
}

run! {
    /// End of a run of [`class::ADDRESS`].
    address_end = ADDRESS, |b| not_visible(b) | eq(b, b'"') | eq(b, b'<') | eq(b, b'>')
}

run! {
    /// End of a run of [`class::VISIBLE`].
    visible_end = VISIBLE, |b| not_visible(b)
}

run! {
    /// End of a run of [`class::CALL_ID`].
    call_id_end = CALL_ID, |b| {
        not_visible(b) | eq(b, b'#') | eq(b, b'$') | eq(b, b'&') | eq(b, b',') | eq(b, b';') | eq(b, b'=')
            | eq(b, b'^') | eq(b, b'|')
    }
}

run! {
    /// End of a run of [`class::TOKEN`].
    token_end = TOKEN, |b| {
        let marks = eq(b, b'!') | eq(b, b'%') | eq(b, b'\'') | between(b, b'*', b'+') | between(b, b'-', b'.')
            | between(b, b'_', b'`') | eq(b, b'~');
        !(letters_and_digits(b) | marks)
    }
}

run! {
    /// End of a run of [`class::HOSTNAME`].
    hostname_end = HOSTNAME, |b| !(letters_and_digits(b) | between(b, b'-', b'.') | eq(b, b'_'))
}

run! {
    /// End of a run of [`class::USER`], or its first `%`.
    user_end = USER or b'%', |b| {
        not_visible(b) | between(b, b'"', b'#') | eq(b, b'%') | eq(b, b':') | eq(b, b'<') | eq(b, b'>') | eq(b, b'@')
            | between(b, b'[', b'^') | eq(b, b'`') | between(b, b'{', b'}')
    }
}

run! {
    /// End of a run of [`class::URI_PARAM`], or its first `%`.
    uri_param_end = URI_PARAM or b'%', |b| {
        let marks = eq(b, b'!') | eq(b, b'$') | between(b, b'&', b'+') | between(b, b'-', b'/') | eq(b, b':')
            | eq(b, b'[') | eq(b, b']') | eq(b, b'_') | eq(b, b'~');
        !(letters_and_digits(b) | marks)
    }
}

run! {
    /// First `"` or `\` from `at` on, or the end.
    quote = UNQUOTE, |b| eq(b, b'"') | eq(b, b'\\')
}

/// The decimal number at the front, and how many digits it has there, up to eight; no number when there is none.
#[inline(always)]
pub(crate) fn short_number(front: &[u8; 8]) -> (u32, usize) {
    // A digit is below ten when its high half is taken away; any other byte gets its highest bit set, or had it.
    let word = u64::from_le_bytes(*front) ^ 0x3030_3030_3030_3030;
    let others = (word.wrapping_add(0x7676_7676_7676_7676) | word) & 0x8080_8080_8080_8080;
    let digits = others.trailing_zeros() / 8;
    // The last digit into the top byte; below the first one zeros, which are zeros of the number too.
    (eight_digits(word.wrapping_shl(64 - 8 * digits)), digits as usize)
}

/// The eight bytes that sixteen hexadecimal digits of either case spell.
#[inline(always)]
pub(crate) fn hexadecimal(digits: &[u8; 16]) -> Option<[u8; 8]> {
    let b = u8x16::new(*digits);
    let letters = between(b | u8x16::splat(0x20), b'a', b'f');
    if (letters | between(b, b'0', b'9')).to_bitmask() != 0xffff {
        return None;
    }
    let nibbles = (b & u8x16::splat(0x0f)) + (letters & u8x16::splat(9));
    // Two nibbles to a byte, two bytes to a pair, two pairs to a half.
    let half = |word: u64| {
        let bytes = (word << 4 | word >> 8) & 0x00ff_00ff_00ff_00ff;
        let pairs = (bytes | bytes >> 8) & 0x0000_ffff_0000_ffff;
        (pairs | pairs >> 16) & 0xffff_ffff
    };
    let [low, high]: [u64; 2] = bytemuck::cast(nibbles);
    Some((half(low) | half(high) << 32).to_le_bytes())
}

/// The number whose eight digits, first one lowest, are the values of the bytes.
#[inline(always)]
fn eight_digits(word: u64) -> u32 {
    // Pairs, then fours, then all eight: each step is one multiplication.
    let pairs = word.wrapping_mul(10 << 8 | 1) >> 8 & 0x00ff_00ff_00ff_00ff;
    let fours = pairs.wrapping_mul(100 << 16 | 1) >> 16 & 0x0000_ffff_0000_ffff;
    (fours.wrapping_mul(10_000 << 32 | 1) >> 32) as u32
}

/// The decimal number at `at` and its end; `None` when there is no digit, or for a number over `u32::MAX`. Leading
/// zeros are legal, any number of them.
#[inline(always)]
pub(crate) fn number(text: Text<'_>, at: usize) -> Option<(u32, usize)> {
    if let Some(front) = text.bytes(at)
        && let (number, digits @ 1..8) = short_number(front)
        && at + digits <= text.end()
    {
        return Some((number, at + digits));
    }
    long_number(text.value(), at)
}

#[inline(never)]
fn long_number(value: &[u8], at: usize) -> Option<(u32, usize)> {
    let text = Text::alone(value);
    let mut end = at;
    let mut number: u32 = 0;
    while let digit @ 0..=9 = text.byte(end).wrapping_sub(b'0') {
        number = number.checked_mul(10)?.checked_add(u32::from(digit))?;
        end += 1;
    }
    (end > at).then_some((number, end))
}

#[cfg(test)]
mod tests;
