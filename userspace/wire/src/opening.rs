//! What a datagram on the SIP port is, by its first bytes.
//!
//! Called by the XDP program where junk is policed or STUN answered there. It must not take SIP for anything else,
//! however long a request line or unknown a method is; what looks like SIP and isn't, the worker's parser refuses.

use crate::Load;
use crate::bytes::{HIGHS, up_to_space, word};

/// STUN's magic cookie (RFC 8489, 5), at offset 4.
pub const STUN_COOKIE: u32 = 0x2112_a442;
/// Bytes of a STUN header.
pub const STUN_LEN: usize = 20;

/// The longest keep-alive: two CRLFs (RFC 5626, 3.5.1) with room for what phones send beside them.
const KEEP_ALIVE_LEN: usize = 8;

/// The kinds of payload that are told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Opening {
    /// It begins as a request or status line does, or with empty lines, which RFC 3261 section 7.5 allows before one.
    Sip,
    /// Nothing, or up to eight bytes of CR, LF and NUL alone, or NULs at the head: what keeps a NAT's binding alive. Over
    /// UDP nobody waits for an answer to it (RFC 5626, 3.5.1 and 4.4.1: the pong is for connections).
    KeepAlive,
    /// A STUN message (RFC 8489, 5; RFC 7983, 7).
    Stun,
    /// Nothing that belongs here.
    Other,
}

/// What lies in `frame` at `payload`, `payload_len` bytes of it.
#[inline(always)]
pub fn opening<L: Load + ?Sized>(frame: &L, payload: usize, payload_len: usize) -> Opening {
    if payload_len <= KEEP_ALIVE_LEN {
        // No SIP message is as short as this.
        return if is_keep_alive(frame, payload, payload_len) { Opening::KeepAlive } else { Opening::Other };
    }
    // The frame holds more than eight bytes of payload: the other arm is for the verifier alone.
    let Some(head) = word(frame, payload) else { return Opening::Other };
    let first = head as u8;
    match first {
        b'\r' | b'\n' => return Opening::Sip,
        0..=3 => {
            return if head == 0 {
                Opening::KeepAlive
            } else if payload_len >= STUN_LEN && (head >> 32) as u32 == STUN_COOKIE.swap_bytes() {
                Opening::Stun
            } else {
                Opening::Other
            };
        }
        _ => {}
    }
    if is_status_line(head) || (is_token(first) && is_method(head)) { Opening::Sip } else { Opening::Other }
}

#[inline(always)]
fn is_keep_alive<L: Load + ?Sized>(frame: &L, payload: usize, payload_len: usize) -> bool {
    for at in 0..KEEP_ALIVE_LEN {
        if at == payload_len {
            break;
        }
        if !matches!(frame.load::<1>(payload + at), Some([b'\r' | b'\n' | 0])) {
            return false;
        }
    }
    true
}

/// `SIP/2.0` and a space, in any case: `SIP-Version` is compared so (RFC 3261, 7.1).
#[inline(always)]
const fn is_status_line(head: u64) -> bool {
    head | u64::from_le_bytes([0x20, 0x20, 0x20, 0, 0, 0, 0, 0]) == u64::from_le_bytes(*b"sip/2.0 ")
}

/// Whether the bytes up to the first space, or all eight, are visible ASCII.
#[inline(always)]
const fn is_method(head: u64) -> bool {
    let ends = up_to_space(head);
    let end = ends & ends.wrapping_neg();
    // The bits below the mark, and the whole byte that it marks; all of them when there is none.
    let before = (end >> 7).wrapping_sub(1);
    let ends_with_space = end == 0 || head & (end | end.wrapping_sub(end >> 7)) == end >> 2;
    ends_with_space && head & before & HIGHS == 0
}

/// Whether a token may have this byte (RFC 3261, 25.1).
#[inline(always)]
const fn is_token(byte: u8) -> bool {
    matches!(
        byte,
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9'
            | b'-' | b'.' | b'!' | b'%' | b'*' | b'_' | b'+' | b'`' | b'\'' | b'~'
    )
}
