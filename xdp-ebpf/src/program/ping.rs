//! OPTIONS pings of a fixed shape (RFC 3261 section 11), from peers that the configuration names, answered where they
//! came in (XDP_TX): octet by octet what the engine would answer.
//!
//! What the shape is, the loader's automaton says (`strowger_xdp::ping`); here it is run. Whatever else comes is left as it
//! was. A function of its own, because the program's way of every other packet must not pay for its registers.

use core::arch::asm;
use core::mem::offset_of;

use aya_ebpf::bindings::xdp_md;
use aya_ebpf::helpers::generated::bpf_xdp_adjust_tail;
use aya_ebpf::programs::XdpContext;
use strowger_wire::{Datagram, Load as _, SipHash, UDP_LEN};
use strowger_xdp::ping::{
    self, ADDRESS_TEXT, BEGIN, CALL_ID, CLASSES, END, LINES, LONGEST, LONGEST_ANSWER, OFFERED, OFFERED_LEN,
    Offered, PEERS_OF_A_SET, Peer, SHORTEST, STATES, Scratch, Shape, TAG, action, mark,
};

use crate::answer::{checksum, put_ipv4, put_ipv6, swap_hosts};
use crate::frame::Frame;
use crate::maps;

/// `OPTIONS ` as a little-endian word.
const OPTIONS: u64 = u64::from_le_bytes(*b"OPTIONS ");
/// What the answer begins with.
const STATUS: &[u8; 16] = b"SIP/2.0 200 OK\r\n";
/// What it ends with, and zeros for the checksum's sake.
const CLOSING: &[u8; 32] = b"Content-Length: 0\r\n\r\n\0\0\0\0\0\0\0\0\0\0\0";
const CLOSING_LEN: u64 = 21;
/// Octets of `;tag=` and a To tag, and of `;received=`.
const TAG_GAP: u64 = 13;
const RECEIVED: u64 = 10;
/// The port of a Via that names none.
const DEFAULT_PORT: u64 = 5060;
/// Masks of the places in [`Scratch`].
const PLACE: u64 = 2047;
const HASHED: u64 = 255;

/// The datagram, as far as it is asked for here; handed over in memory.
pub(crate) struct Asked {
    l3: usize,
    l4: usize,
    len: u64,
    /// 4 or 6.
    version: usize,
    src: [u64; 2],
    dst: [u64; 2],
    src_port: u16,
    dst_port: u16,
}

/// What may be a ping: an OPTIONS. It comes from an address that one host can have.
#[inline(always)]
pub(crate) fn may_be(frame: &Frame<'_>, datagram: &Datagram) -> Option<Asked> {
    let options = frame.u64(datagram.payload)? == OPTIONS.to_le();
    let fits = (SHORTEST..=LONGEST).contains(&datagram.payload_len)
        // With octets behind the datagram, its end isn't where the frame grows.
        && !frame.holds(datagram.payload + datagram.payload_len + 1);
    (options && fits && datagram.src.port != 0).then(|| Asked {
        l3: datagram.l3,
        l4: datagram.l4,
        len: datagram.payload_len as u64,
        version: datagram.version as usize,
        src: datagram.src.address.words(),
        dst: datagram.dst.address.words(),
        src_port: datagram.src.port,
        dst_port: datagram.dst.port,
    })
}

/// Turns the ping into its answer; false, and the packet as it was, when it is none of the shape.
#[inline(always)]
pub(crate) fn answer(ctx: *mut xdp_md, asked: &Asked) -> bool {
    // Two functions, because the kernel gives a program and all that it calls at one time 512 bytes of stack.
    is_ping(ctx, asked) && send(ctx, asked)
}

/// Whether it is a ping of the shape, from a peer. All that its answer takes is in memory then.
#[inline(never)]
fn is_ping(ctx: *mut xdp_md, asked: &Asked) -> bool {
    let context = XdpContext::new(ctx);
    let Some(ping) = Ping::of(asked) else { return false };
    ping.is_from_a_peer(asked.src)
        && ping.read(&context, asked)
        && ping.recognize(asked.src_port)
        && ping.is_plain(asked.src_port)
}

/// Puts the answer in the ping's place.
#[inline(never)]
fn send(ctx: *mut xdp_md, asked: &Asked) -> bool {
    let context = XdpContext::new(ctx);
    let Some(ping) = Ping::of(asked) else { return false };
    ping.send(&context, asked)
}

/// `number`, of which the verifier knows nothing any more: what comes out of a map may be any. So the ways by which it
/// came to be different numbers are one way from here on.
#[inline(always)]
fn forgotten(memory: usize, number: u64) -> u64 {
    let place = memory + offset_of!(Scratch, number);
    put64(place, number);
    get64(place)
}

/// A port in digits, the first one lowest.
struct Decimal {
    digits: u64,
    len: u64,
}

impl Decimal {
    #[inline(always)]
    fn of(memory: usize, port: u16) -> Self {
        let n = forgotten(memory, u64::from(port)) & 0xffff;
        // Without branches: the sign of a difference.
        let above = |limit: u64| opaque(limit.wrapping_sub(n)) >> 63;
        let len = 1 + above(9) + above(99) + above(999) + above(9_999);
        let digit = |of: u64, at: u32| (of % 10 + u64::from(b'0')) << (8 * at);
        let all =
            digit(n / 10_000, 0) | digit(n / 1_000, 1) | digit(n / 100, 2) | digit(n / 10, 3) | digit(n, 4);
        let len = forgotten(memory, len);
        Self { digits: all >> (8 * (5 - len) & 63), len }
    }
}

/// One ping on its way through: addresses of what it is looked at with, and the octets of the request.
struct Ping {
    shape: usize,
    memory: usize,
    len: u64,
}

impl Ping {
    #[inline(always)]
    fn of(asked: &Asked) -> Option<Self> {
        Some(Self { shape: maps::shape()? as usize, memory: maps::scratch()? as usize, len: asked.len })
    }

    /// Whether a peer has this address; notes its text.
    #[inline(always)]
    fn is_from_a_peer(&self, address: [u64; 2]) -> bool {
        let Some(set) = maps::peers(Peer::set(address)) else { return false };
        let set = set as usize;
        for at in 0..PEERS_OF_A_SET {
            let entry = set + at * size_of::<Peer>();
            if (get64(entry) ^ address[0]) | (get64(entry + 8) ^ address[1]) == 0 {
                let len = get64(entry + offset_of!(Peer, len));
                put64(self.part(offset_of!(Scratch, peer_len)), len);
                for word in 0..ADDRESS_TEXT / 8 {
                    let text = get64(entry + offset_of!(Peer, text) + 8 * word);
                    put64(self.part(offset_of!(Scratch, peer)) + 8 * word, text);
                }
                return len != 0;
            }
        }
        false
    }

    /// Copies the request, and checks its checksum as the worker would.
    #[inline(always)]
    fn read(&self, context: &XdpContext, asked: &Asked) -> bool {
        let frame = Frame::of(context);
        let l4 = frame.blur(asked.l4);
        let payload = l4 + UDP_LEN;
        let words = self.len >> 3;
        let mut sum = 0;
        for at in 0..LONGEST as u64 / 8 {
            if at >= words {
                break;
            }
            let Some(word) = frame.u64(payload + 8 * at as usize) else { return false };
            put64(self.request(0) + 8 * at as usize, word);
            sum += halves(word);
        }
        let rest = self.len & 7;
        // Read anew, so that it is all the same to the verifier how many steps there were.
        let frame = Frame::of(context);
        let l4 = frame.blur(asked.l4);
        let payload = l4 + UDP_LEN;
        if rest != 0 {
            let Some(word) = frame.u64(payload + self.len as usize - 8) else { return false };
            let word = word >> (64 - 8 * rest);
            put64(self.request(self.len & !7), word);
            sum += halves(word);
        }
        let Some(udp) = frame.u64(l4) else { return false };
        if udp >> 48 == 0 {
            return frame.blur(asked.version) == 4;
        }
        // Whole, or as a sender on this machine leaves it for a NIC to complete: the sum of the pseudo-header.
        let pseudo = asked.pseudo(UDP_LEN as u64 + self.len);
        checksum(sum + halves(udp) + pseudo) == 0 || u64::from(!checksum(pseudo)) == udp >> 48
    }

    /// Runs the automaton over the request; whether it accepts it, and everything is there as often as it must be.
    #[inline(always)]
    fn recognize(&self, source: u16) -> bool {
        let gap = || self.part(offset_of!(Scratch, gap));
        put32(gap(), 0);
        put32(gap() + 4, 1 + Decimal::of(self.memory, source).len);
        put32(gap() + 8, RECEIVED + get64(self.part(offset_of!(Scratch, peer_len))));
        put32(gap() + 12, TAG_GAP);
        for at in 0..ping::MARKS / 2 {
            put64(self.part(offset_of!(Scratch, count)) + 8 * at, 0);
        }
        let [first, second] = two_words(STATUS);
        put64(self.answer(0), first);
        put64(self.answer(0) + 8, second);

        let mut state = u64::from(BEGIN);
        // How far the answer is, and where its line begins. Kept in memory: what comes out of that is any number to the
        // verifier, and so the ways by which it came to be different ones are one way.
        let end = || self.part(offset_of!(Scratch, out));
        let line = || self.part(offset_of!(Scratch, line));
        put32(end(), STATUS.len() as u64);
        put32(line(), STATUS.len() as u64);
        for at in 0..LONGEST as u64 {
            if at >= self.len {
                break;
            }
            let octet = get8(self.request(0) + at as usize);
            let class = get8(self.shape + octet as usize) & (CLASSES as u64 - 1);
            state = opaque(state) & (STATES as u64 - 1);
            let next = 2 * (state * CLASSES as u64 + class) as usize;
            state = get16(self.of_shape(offset_of!(Shape, next)) + next);
            state &= STATES as u64 - 1;
            let todo = get16(self.of_shape(offset_of!(Shape, action)) + 2 * state as usize);
            let out = get32(end());
            if todo == 0 {
                put8(self.answer(out), octet);
                put32(end(), out + 1);
                continue;
            }
            let mark = 4 * (todo & u64::from(action::MARK)) as usize;
            put32(self.part(offset_of!(Scratch, at)) + mark, at);
            put32(self.part(offset_of!(Scratch, place)) + mark, out);
            let count = self.part(offset_of!(Scratch, count)) + mark;
            put32(count, get32(count) + 1);
            let out = out + get32(gap() + 4 * (todo >> action::BEFORE & 3) as usize);
            put8(self.answer(out), octet);
            let out = out + 1 + get32(gap() + 4 * (todo >> action::BEHIND & 3) as usize);
            let begin = get32(line());
            // Chosen without a branch: all ones when the line is left out, or is over.
            let leave = opaque(todo >> action::LEAVE.trailing_zeros() & 1).wrapping_neg();
            let out = (out & !leave) | (begin & leave);
            put32(end(), out);
            let over = opaque(todo >> action::LINE.trailing_zeros() & 1).wrapping_neg();
            put32(line(), (begin & !over) | (out & over));
        }
        let twice = (self.count(mark::HOST) ^ 1)
            | (self.count(mark::TAG) ^ 1)
            | (self.count(mark::TO_END) ^ 1)
            | (self.count(mark::CALL_ID) ^ 1)
            | (self.count(mark::CSEQ) ^ 1)
            | (self.count(mark::MAX_FORWARDS) ^ 1)
            | self.count(mark::CONTENT_LENGTH) >> 1;
        state == u64::from(END) && twice == 0 && self.count(mark::LINE) <= LINES
    }

    /// Whether the Via is the sender's own: his address, and his port where he doesn't ask for it.
    #[inline(always)]
    fn is_plain(&self, source: u16) -> bool {
        let host = self.at(mark::HOST);
        let len = self.at(mark::HOST_END) - host;
        if len != get64(self.part(offset_of!(Scratch, peer_len))) {
            return false;
        }
        for at in 0..ADDRESS_TEXT as u64 {
            if at >= len {
                break;
            }
            let text = self.part(offset_of!(Scratch, peer)) + at as usize;
            if get8(self.request(host + at)) != get8(text) {
                return false;
            }
        }
        if self.count(mark::RPORT) != 0 {
            return true;
        }
        let port = match self.count(mark::PORT) {
            0 => DEFAULT_PORT,
            _ => self.number::<5>(self.at(mark::PORT), self.at(mark::PORT_END)),
        };
        port == u64::from(source)
    }

    /// The number in the request's digits from `first` to before `end`, `N` of them at most.
    #[inline(always)]
    fn number<const N: u64>(&self, first: u64, end: u64) -> u64 {
        let mut number = 0;
        for at in 0..N {
            if first + at >= end {
                break;
            }
            number = number * 10 + (get8(self.request(first + at)) - u64::from(b'0'));
        }
        number
    }

    /// The tag for To, its digits one in each octet, the first one lowest: `engine::request::tag`.
    #[inline(always)]
    fn tag(&self) -> Option<u64> {
        let (call_id, tag) = (self.at(mark::CALL_ID), self.at(mark::TAG));
        let call_id_len = self.at(mark::CALL_ID_END) - call_id;
        let tag_len = self.at(mark::TAG_END) - tag;
        if call_id_len > CALL_ID || tag_len > TAG {
            return None;
        }
        let cseq = self.number::<9>(self.at(mark::CSEQ), self.at(mark::CSEQ_END));
        // Each piece is copied in whole words; the next one is written over what is too much.
        self.hashed(0, 4, call_id_len);
        for word in 0..CALL_ID as usize / 8 {
            put64(self.hash_place(4) + 8 * word, get64(self.request(call_id) + 8 * word));
        }
        self.hashed(4 + call_id_len, 4, tag_len);
        for word in 0..TAG as usize / 8 {
            put64(self.hash_place(8 + call_id_len) + 8 * word, get64(self.request(tag) + 8 * word));
        }
        self.hashed(8 + call_id_len + tag_len, 8, cseq);
        let len = 16 + call_id_len + tag_len;

        let key = self.of_shape(offset_of!(Shape, tag_key));
        let mut hash = SipHash::<2, 4>::new([get64(key), get64(key + 8)]);
        for word in 0..(16 + CALL_ID + TAG) / 8 {
            if word >= len >> 3 {
                break;
            }
            hash.compress(get64(self.hash_place(0) + 8 * word as usize));
        }
        let rest = get64(self.hash_place(len & !7)) & ((1 << (8 * (len & 7))) - 1);
        let hash = hash.finish(rest, len);
        let mut digits = 0;
        for at in 0..8 {
            let value = hash >> (5 * (7 - at)) & 31;
            let digit = get8(self.of_shape(offset_of!(Shape, digits)) + value as usize);
            digits |= digit << (8 * at);
        }
        Some(digits)
    }

    /// Fills the gaps, adds what is offered, and puts the answer in the request's place.
    #[inline(always)]
    fn send(&self, context: &XdpContext, asked: &Asked) -> bool {
        let port = Decimal::of(self.memory, asked.src_port);
        let Some(tag) = self.tag() else { return false };
        let to = self.answer(self.out(mark::TO_END));
        put64(to, u64::from_le_bytes(*b";tag=\0\0\0"));
        // The gap has thirteen octets.
        put64(to + 5, tag);
        if self.count(mark::RPORT) != 0 {
            let rport = self.out(mark::RPORT) + 1;
            put8(self.answer(rport), u64::from(b'='));
            for at in 0..5 {
                if at >= port.len {
                    break;
                }
                put8(self.answer(rport + 1 + at), port.digits >> (8 * at));
            }
            let received = self.out(mark::VIA_END);
            put64(self.answer(received), u64::from_le_bytes(*b";receive"));
            put8(self.answer(received + 8), u64::from(b'd'));
            put8(self.answer(received + 9), u64::from(b'='));
            let len = get64(self.part(offset_of!(Scratch, peer_len)));
            for at in 0..ADDRESS_TEXT as u64 {
                if at >= len {
                    break;
                }
                let octet = get8(self.part(offset_of!(Scratch, peer)) + at as usize);
                put8(self.answer(received + RECEIVED + at), octet);
            }
        }
        for line in 0..OFFERED {
            let line = self.of_shape(offset_of!(Shape, offered)) + line * size_of::<Offered>();
            let (out, len) = (self.end(), get64(line));
            if len == 0 || out + len + CLOSING_LEN > self.len {
                continue;
            }
            let to = self.answer(out);
            for word in 0..OFFERED_LEN / 8 {
                put64(to + 8 * word, get64(line + offset_of!(Offered, text) + 8 * word));
            }
            put32(self.part(offset_of!(Scratch, out)), out + len);
        }
        let closing = self.answer(self.end());
        let [first, second] = two_words(CLOSING.first_chunk().unwrap_or(STATUS));
        let [third, fourth] = two_words(CLOSING.last_chunk().unwrap_or(STATUS));
        put64(closing, first);
        put64(closing + 8, second);
        put64(closing + 16, third);
        put64(closing + 24, fourth);

        let len = opaque(self.end() + CLOSING_LEN);
        if len > LONGEST_ANSWER as u64 {
            return false;
        }
        // SAFETY: the context is the kernel's. Pointers into the packet are worth nothing afterwards: they are read anew.
        if unsafe { bpf_xdp_adjust_tail(context.ctx, (len - self.len) as i32) } != 0 {
            return false;
        }
        let frame = Frame::of(context);
        swap_hosts(&frame);
        let payload = frame.blur(asked.l4) + UDP_LEN;
        let mut sum = 0;
        let words = len >> 3;
        for at in 0..LONGEST_ANSWER / 8 {
            if at as u64 >= words {
                break;
            }
            let word = get64(self.answer(0) + 8 * at);
            // It has the room, as was asked for. To go on without would be one more way for the verifier in each step.
            if !frame.put64(payload + 8 * at, word) {
                return true;
            }
            sum += halves(word);
        }
        // Read anew: how much of the packet the verifier knows depends on the steps that were taken.
        let frame = Frame::of(context);
        let payload = frame.blur(asked.l4) + UDP_LEN;
        if len & 7 != 0 {
            // Behind the answer there are zeros; in the packet its last word overlaps the one before.
            sum += halves(get64(self.answer(len & !7)));
            frame.put64(payload + len as usize - 8, get64(self.answer(len - 8)));
        }
        let udp_len = UDP_LEN as u64 + len;
        let sum = sum + asked.pseudo(udp_len);
        let (l3, ports) = (frame.blur(asked.l3), (asked.dst_port, asked.src_port));
        // To the verifier any number, like the offsets: it follows one way up to here.
        match frame.blur(asked.version) {
            4 => put_ipv4(&frame, l3, (asked.src, asked.dst), ports, (udp_len as u32, sum)),
            _ => put_ipv6(&frame, l3, (asked.src, asked.dst), ports, (udp_len as u32, sum)),
        }
        true
    }

    /// The address of a part of the memory. Computed anew for each use: kept, all of these would fill the stack.
    #[inline(always)]
    fn part(&self, offset: usize) -> usize {
        opaque(self.memory as u64) as usize + offset
    }

    /// The address of a part of the shape, likewise.
    #[inline(always)]
    fn of_shape(&self, offset: usize) -> usize {
        opaque(self.shape as u64) as usize + offset
    }

    /// The address of an octet of the request.
    #[inline(always)]
    fn request(&self, at: u64) -> usize {
        self.part(0) + (opaque(at) & PLACE) as usize
    }

    /// The address of an octet of the answer.
    #[inline(always)]
    fn answer(&self, at: u64) -> usize {
        self.part(offset_of!(Scratch, answer)) + (opaque(at) & PLACE) as usize
    }

    #[inline(always)]
    fn hash_place(&self, at: u64) -> usize {
        self.part(offset_of!(Scratch, hashed)) + (opaque(at) & HASHED) as usize
    }

    /// Writes a number of `size` octets into what is hashed.
    #[inline(always)]
    fn hashed(&self, at: u64, size: usize, number: u64) {
        match size {
            4 => put32(self.hash_place(at), number),
            _ => put64(self.hash_place(at), number),
        }
    }

    /// Where a mark is in the request.
    #[inline(always)]
    fn at(&self, mark: u16) -> u64 {
        get32(self.part(offset_of!(Scratch, at)) + 4 * usize::from(mark))
    }

    /// Where it is in the answer.
    #[inline(always)]
    fn out(&self, mark: u16) -> u64 {
        get32(self.part(offset_of!(Scratch, place)) + 4 * usize::from(mark))
    }

    /// The end of the answer so far.
    #[inline(always)]
    fn end(&self) -> u64 {
        get32(self.part(offset_of!(Scratch, out)))
    }

    /// How often a mark was come to.
    #[inline(always)]
    fn count(&self, mark: u16) -> u64 {
        get32(self.part(offset_of!(Scratch, count)) + 4 * usize::from(mark))
    }
}

impl Asked {
    /// The sum of the pseudo-header, whichever way the datagram goes. What stands around an IPv4 address is a zero of the
    /// ones' complement.
    #[inline(always)]
    fn pseudo(&self, udp_len: u64) -> u64 {
        let ([a, b], [c, d]) = (self.src, self.dst);
        halves(a) + halves(b) + halves(c) + halves(d) + u64::from((17 + udp_len as u32).to_be())
    }
}

#[inline(always)]
const fn halves(word: u64) -> u64 {
    (word & 0xffff_ffff) + (word >> 32)
}

#[inline(always)]
fn two_words(text: &[u8; 16]) -> [u64; 2] {
    let all = u128::from_le_bytes(*text);
    [all as u64, (all >> 64) as u64]
}

/// `number`, of which the compiler knows nothing any more, so that it masks where it is told to: the verifier doesn't
/// follow every conclusion.
#[inline(always)]
fn opaque(mut number: u64) -> u64 {
    // SAFETY: a move to itself. It can't be less: the kernel refuses line numbers of no instruction.
    unsafe { asm!("{0} = {0}", inout(reg) number, options(pure, nomem, nostack, preserves_flags)) };
    number
}

macro_rules! access {
    ($get:ident, $put:ident, $int:literal) => {
        /// Reads an integer of a map by one instruction, aligned or not.
        #[inline(always)]
        fn $get(at: usize) -> u64 {
            let value: u64;
            // SAFETY: the address is inside of a map's value, as the verifier proves. Nothing is written.
            unsafe {
                asm!(concat!("{} = *(", $int, " *)({} + 0)"), out(reg) value, in(reg) at, options(readonly, nostack));
            }
            value
        }

        /// Writes one likewise.
        #[inline(always)]
        #[allow(dead_code)]
        fn $put(at: usize, value: u64) {
            // SAFETY: as above; the map's value is this CPU's own.
            unsafe {
                asm!(concat!("*(", $int, " *)({} + 0) = {}"), in(reg) at, in(reg) value, options(nostack));
            }
        }
    };
}

access!(get8, put8, "u8");
access!(get16, put16, "u16");
access!(get32, put32, "u32");
access!(get64, put64, "u64");
