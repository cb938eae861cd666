//! Host and port as nearly all are written: a name that is not too long or an IPv4 address, then perhaps a colon and
//! digits. They are read without a branch on their length, which no predictor would know.

use wide::u8x16;

use super::{between, eq, first};
use crate::class;

/// What a host is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HostKind {
    /// Letters, digits, `-`, `.`, `_`, not all of them digits and dots, no empty label but the last.
    Name,
    /// Four numbers.
    V4,
    /// Eight groups, in brackets.
    V6,
    /// There is none.
    Neither,
}

/// A host and what follows it. Offsets count from the host's first byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct HostPort {
    /// [`HostKind::V4`] or [`HostKind::Name`].
    pub(crate) kind: HostKind,
    /// For [`HostKind::V4`].
    pub(crate) address: u32,
    pub(crate) host_end: usize,
    /// 0: none.
    pub(crate) port: u16,
    pub(crate) end: usize,
}

/// Bytes that [`host_port`] wants to see.
pub(crate) const AROUND: usize = 40;

/// Where the host begins among them.
pub(crate) const BEFORE: usize = 4;

/// The host and port that begin at [`BEFORE`]; none of the bytes before may be NUL. `None` for any that is written less
/// usually, and for what is none.
#[inline(always)]
pub(crate) fn host_port(around: &[u8; AROUND]) -> Option<HostPort> {
    let window: &[u8; 16] = around[BEFORE..].first_chunk()?;
    let bytes = u8x16::new(*window);
    let digits = between(bytes, b'0', b'9');
    let letters = between(bytes | u8x16::splat(0x20), b'a', b'z');
    let len = first(!(digits | letters | between(bytes, b'-', b'.')));
    if len >= 16 {
        return long_name(around);
    }
    let inside = (1u32 << len) - 1;
    let dots = eq(bytes, b'.').to_bitmask() & inside;
    let (kind, address) = if (digits.to_bitmask() | dots) & inside == inside {
        (HostKind::V4, v4(around, dots, len)?)
    } else {
        if dots & (dots << 1 | 1) != 0 {
            return None; // an empty label
        }
        (HostKind::Name, 0)
    };
    with_port(around, kind, address, len)
}

/// A host of `len` bytes, and the port after it.
#[inline(always)]
fn with_port(around: &[u8; AROUND], kind: HostKind, address: u32, len: usize) -> Option<HostPort> {
    let (port, end) = match *around.get(BEFORE + len)? {
        b':' => {
            let (port, digits) = port(around.get(BEFORE + len + 1..)?.first_chunk()?)?;
            (port, len + 1 + digits)
        }
        _ => (0, len),
    };
    Some(HostPort { kind, address, host_end: len, port, end })
}

/// A name of 16 bytes or more; it can be seen to its end, and with a port after it, up to 27 bytes.
#[inline(never)]
fn long_name(around: &[u8; AROUND]) -> Option<HostPort> {
    let host = &around[BEFORE..];
    let len = class::span(host, class::HOSTNAME);
    let name = host.get(..len)?;
    let letters = name.iter().any(u8::is_ascii_alphabetic);
    if !letters || name[0] == b'.' || name.array_windows().any(|pair| pair == b"..") {
        return None;
    }
    with_port(around, HostKind::Name, 0, len)
}

/// What a number of so many digits keeps of the four bytes that end with it: one to three digits. Any other number keeps
/// everything, which is too great for an octet.
static DIGITS: [u32; 16] = {
    let mut keep = [u32::MAX; 16];
    (keep[1], keep[2], keep[3]) = (0x0f00_0000, 0x0f0f_0000, 0x0f0f_0f00);
    keep
};

/// `len` digits and dots with the dots where `dots` says: are they `1*3DIGIT` four times, each up to 255?
#[inline(always)]
fn v4(around: &[u8; AROUND], dots: u32, len: usize) -> Option<u32> {
    let first = dots | 1 << len;
    let second = first & first.wrapping_sub(1);
    let third = second & second.wrapping_sub(1);
    let fourth = third & third.wrapping_sub(1);
    if fourth != 1 << len {
        return None;
    }
    let (mut address, mut sound, mut before) = (0, true, usize::MAX);
    for ends in [first, second, third, fourth] {
        let end = ends.trailing_zeros() as usize & 15;
        // The last digit is the highest byte. Read from the other side, the digits compare as the number does.
        let word = u32::from_le_bytes(*around[BEFORE + end - 4..].first_chunk()?);
        let digits = word & DIGITS[end.wrapping_sub(before).wrapping_sub(1) & 15];
        sound &= digits.swap_bytes() <= 0x0002_0505;
        // One multiplication adds up hundreds, tens and ones in the highest byte.
        address = address << 8 | digits.wrapping_mul(100 << 16 | 10 << 8 | 1) >> 24;
        before = end;
    }
    sound.then_some(address)
}

/// One to five digits at the front, up to 65,535 and not zero; and how many they are.
#[inline(always)]
pub(crate) fn port(front: &[u8; 8]) -> Option<(u16, usize)> {
    let (number, digits) = super::short_number(front);
    if digits.wrapping_sub(1) >= 5 {
        return None;
    }
    u16::try_from(number).ok().filter(|&port| port != 0).map(|port| (port, digits))
}
