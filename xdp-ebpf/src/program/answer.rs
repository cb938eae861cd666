//! STUN Binding requests on a listener's port, answered where they came in (XDP_TX): RFC 5626 section 8, RFC 8489.
//!
//! Only the plain request of 20 octets, without attributes, is answered here, with the octets by which the engine's own
//! `stun` module answers it; everything else about STUN is the engine's. The answer is 12 octets longer than the request
//! (24 over IPv6), and goes to wherever the request says that it came from: so it is opt-in, and charged to the source's
//! budget where there are budgets.

use core::arch::asm;

use aya_ebpf::helpers::generated::bpf_xdp_adjust_tail;
use aya_ebpf::programs::XdpContext;
use strowger_wire::{Datagram, ETHERNET_LEN, IpVersion, Load as _, STUN_COOKIE, STUN_LEN, Window as _};

use crate::frame::Frame;

/// Binding request, no attributes: the first word of the header.
const REQUEST: u32 = 0x0001_0000;
/// Words of the answer from the IP header on: IP, UDP, STUN header, XOR-MAPPED-ADDRESS.
const WORDS_V4: usize = 5 + 2 + 5 + 3;
/// As above.
const WORDS_V6: usize = 10 + 2 + 5 + 6;
/// TTL or hop limit of the answer, as the workers send.
const TTL: u32 = 64;
/// Protocol number of UDP.
const UDP: u32 = 17;

/// Turns the request, which comes from an address that one host can have, into its answer; false, and the packet as it
/// was, when it is none to be answered here.
#[inline(always)]
pub(crate) fn stun(ctx: &XdpContext, frame: &Frame<'_>, datagram: &Datagram) -> bool {
    if datagram.payload_len != STUN_LEN
        || frame.u32(datagram.payload) != Some(REQUEST.to_be())
        // With bytes behind the datagram, its end isn't where the frame grows.
        || frame.holds(datagram.payload + STUN_LEN + 1)
        || datagram.src.port == 0
    {
        return false;
    }
    let grown = match datagram.version {
        IpVersion::V4 => 12,
        IpVersion::V6 => 24,
    };
    let Some(transaction) = transaction(frame, datagram.payload + 8) else { return false };
    // SAFETY: the context is the kernel's. Pointers into the packet are worth nothing afterwards: they are read anew.
    if unsafe { bpf_xdp_adjust_tail(ctx.ctx, grown) } != 0 {
        return false;
    }
    let frame = Frame::of(ctx);
    swap_hosts(&frame);
    match datagram.version {
        IpVersion::V4 => frame.put(datagram.l3, &over_ipv4(datagram, transaction)),
        IpVersion::V6 => frame.put(datagram.l3, &over_ipv6(datagram, transaction)),
    }
    true
}

/// The three words of the transaction id, as they lie.
#[inline(always)]
fn transaction(frame: &Frame<'_>, at: usize) -> Option<[u32; 3]> {
    Some([frame.u32(at)?, frame.u32(at + 4)?, frame.u32(at + 8)?])
}

/// Sends the frame back to whom it came from; tags stay.
#[inline(always)]
pub(crate) fn swap_hosts(frame: &Frame<'_>) {
    const _: () = assert!(ETHERNET_LEN == 14);
    let Some(hosts) = frame.window::<12>(0) else { return };
    let (dst, dst_end) = (hosts.u32::<0>(), hosts.u16::<4>());
    let (src, src_end) = (hosts.u32::<6>(), hosts.u16::<10>());
    // Twelve bytes: three words, of which the middle one has an end and a beginning.
    let middle = u32::from(src_end) | u32::from(dst as u16) << 16;
    let last = dst >> 16 | u32::from(dst_end) << 16;
    frame.put(0, &[src, middle, last]);
}

/// The two halves of the answer's payload that don't depend on the address: STUN header, and the attribute up to the
/// port.
#[inline(always)]
fn stun_words(datagram: &Datagram, length: u32, family: u32, transaction: [u32; 3]) -> [u32; 7] {
    let [a, b, c] = transaction;
    let port = u32::from(datagram.src.port) ^ STUN_COOKIE >> 16;
    [
        (0x0101_0000 | length).to_be(),
        STUN_COOKIE.to_be(),
        a,
        b,
        c,
        (0x0020_0000 | (length - 4)).to_be(),
        (family << 16 | port).to_be(),
    ]
}

#[inline(always)]
fn over_ipv4(datagram: &Datagram, transaction: [u32; 3]) -> [u32; WORDS_V4] {
    let source = (datagram.src.address.words()[1] >> 32) as u32;
    let destination = (datagram.dst.address.words()[1] >> 32) as u32;
    let [s0, s1, s2, s3, s4, s5, s6] = stun_words(datagram, 12, 1, transaction);
    // An atomic datagram (RFC 6864, 4.1): never fragmented, so its identification may be 0.
    let ttl = (TTL << 24 | UDP << 16).to_be();
    let head = [(0x4500_0000 | 4 * WORDS_V4 as u32).to_be(), 0x4000_u32.to_be()];
    let ip = checksum(head[0] as u64 + head[1] as u64 + ttl as u64 + source as u64 + destination as u64);
    let udp_len = 4 * WORDS_V4 as u32 - 20;
    let ports = (u32::from(datagram.dst.port) << 16 | u32::from(datagram.src.port)).to_be();
    let address = source ^ STUN_COOKIE.to_be();
    let payload = [s0, s1, s2, s3, s4, s5, s6, address];
    let pseudo = source as u64 + destination as u64 + (UDP + udp_len).to_be() as u64;
    let udp = udp(pseudo, ports, udp_len, &payload);
    let ttl = ttl | (ip as u32) << 16;
    [head[0], head[1], ttl, destination, source, ports, udp, s0, s1, s2, s3, s4, s5, s6, address]
}

#[inline(always)]
fn over_ipv6(datagram: &Datagram, transaction: [u32; 3]) -> [u32; WORDS_V6] {
    let words = |[head, tail]: [u64; 2]| [head as u32, (head >> 32) as u32, tail as u32, (tail >> 32) as u32];
    let [a, b, c, d] = words(datagram.src.address.words());
    let [e, f, g, h] = words(datagram.dst.address.words());
    let [s0, s1, s2, s3, s4, s5, s6] = stun_words(datagram, 24, 2, transaction);
    let udp_len = 4 * WORDS_V6 as u32 - 40;
    let ports = (u32::from(datagram.dst.port) << 16 | u32::from(datagram.src.port)).to_be();
    let (xa, xb, xc, xd) = (a ^ s1, b ^ s2, c ^ s3, d ^ s4);
    let payload = [s0, s1, s2, s3, s4, s5, s6, xa, xb, xc, xd];
    let pseudo = [a, b, c, d, e, f, g, h, (UDP + udp_len).to_be()];
    let pseudo = pseudo.iter().fold(0, |sum, word| sum + u64::from(*word));
    let udp = udp(pseudo, ports, udp_len, &payload);
    let head = [0x6000_0000_u32.to_be(), (udp_len << 16 | UDP << 8 | TTL).to_be()];
    [head[0], head[1], e, f, g, h, a, b, c, d, ports, udp, s0, s1, s2, s3, s4, s5, s6, xa, xb, xc, xd]
}

/// The second word of the UDP header: length and checksum, over the pseudo-header whose sum is `pseudo`.
#[inline(always)]
fn udp(pseudo: u64, ports: u32, udp_len: u32, payload: &[u32]) -> u32 {
    udp_end(payload.iter().fold(pseudo, |sum, word| sum + u64::from(*word)), ports, udp_len)
}

/// The same from the sum of pseudo-header and payload.
#[inline(always)]
fn udp_end(sum: u64, ports: u32, udp_len: u32) -> u32 {
    let length = (udp_len << 16).to_be();
    let sum = checksum(sum + u64::from(ports) + u64::from(length));
    // Zero would say that there is none (RFC 768).
    length | u32::from(if sum == 0 { 0xffff } else { sum }) << 16
}

/// Writes IPv4 and UDP headers at `l3`, from one end to the other (the words of their addresses, and their ports), for
/// `udp_len` octets of which pseudo-header and payload have this sum. A payload lies behind them.
#[inline(always)]
pub(crate) fn put_ipv4(
    frame: &Frame<'_>,
    l3: usize,
    (to, from): ([u64; 2], [u64; 2]),
    (from_port, to_port): (u16, u16),
    (udp_len, sum): (u32, u64),
) {
    let (source, destination) = ((from[1] >> 32) as u32, (to[1] >> 32) as u32);
    let head = [(0x4500_0000 | (udp_len + 20)).to_be(), 0x4000_u32.to_be()];
    let ttl = (TTL << 24 | UDP << 16).to_be();
    let ip = checksum(head[0] as u64 + head[1] as u64 + ttl as u64 + source as u64 + destination as u64);
    let ttl = ttl | (ip as u32) << 16;
    let ports = (u32::from(from_port) << 16 | u32::from(to_port)).to_be();
    let udp = udp_end(sum, ports, udp_len);
    frame.put(l3, &[head[0], head[1], ttl, source, destination, ports, udp]);
}

/// The same over IPv6.
#[inline(always)]
pub(crate) fn put_ipv6(
    frame: &Frame<'_>,
    l3: usize,
    (to, from): ([u64; 2], [u64; 2]),
    (from_port, to_port): (u16, u16),
    (udp_len, sum): (u32, u64),
) {
    let words = |[head, tail]: [u64; 2]| [head as u32, (head >> 32) as u32, tail as u32, (tail >> 32) as u32];
    let ([a, b, c, d], [e, f, g, h]) = (words(from), words(to));
    let head = [0x6000_0000_u32.to_be(), (udp_len << 16 | UDP << 8 | TTL).to_be()];
    let ports = (u32::from(from_port) << 16 | u32::from(to_port)).to_be();
    let udp = udp_end(sum, ports, udp_len);
    frame.put(l3, &[head[0], head[1], a, b, c, d, e, f, g, h, ports, udp]);
}

/// The checksum of words as they lie, from their sum (RFC 1071, 2 (B): in the machine's order, both ways).
#[inline(always)]
pub(crate) fn checksum(sum: u64) -> u16 {
    let sum = (sum & 0xffff_ffff) + (sum >> 32);
    let sum = (sum & 0xffff) + (sum >> 16 & 0xffff) + (sum >> 32);
    let sum = (sum & 0xffff) + (sum >> 16);
    let sum = (sum & 0xffff) + (sum >> 16);
    !(sum as u16)
}

impl Frame<'_> {
    /// Writes eight bytes at `offset`; false, and nothing, when the frame ends before their end.
    #[inline(always)]
    pub(crate) fn put64(&self, offset: usize, word: u64) -> bool {
        let Some(at) = self.room(offset, 8) else { return false };
        // SAFETY: as in `put`.
        unsafe { asm!("*(u64 *)({} + 0) = {}", in(reg) at, in(reg) word, options(nostack)) };
        true
    }

    /// Writes words, as they are to lie, from `offset` on; nothing when the frame ends before them.
    #[inline(always)]
    fn put<const N: usize>(&self, offset: usize, words: &[u32; N]) {
        let Some(at) = self.room(offset, 4 * N) else { return };
        for (index, word) in words.iter().enumerate() {
            let at = at + 4 * index;
            // SAFETY: `room` compared all of it with the frame's end, and the verifier proves the same. One instruction,
            // for the reason that reading has.
            unsafe { asm!("*(u32 *)({} + 0) = {}", in(reg) at, in(reg) u64::from(*word), options(nostack)) };
        }
    }
}
