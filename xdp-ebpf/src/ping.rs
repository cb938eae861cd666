//! What program and loader agree upon about OPTIONS pings that the program answers: the automaton that knows them, the
//! peers who are answered, and the program's memory for it.
//!
//! A ping of the shape is a word of a regular language. The loader compiles it into an automaton of [`STATES`] states
//! over [`CLASSES`] classes of octets; the program runs that over the message once, copies what the answer repeats on the
//! way, leaves gaps for what is put in, and notes where things are. What the automaton doesn't accept is the engine's.

use core::mem::size_of;

/// Octets of the longest ping that is looked at.
pub const LONGEST: usize = 1024;
/// Octets of the shortest; there is no SIP request of fewer.
pub const SHORTEST: usize = 64;
/// Octets of the longest answer.
pub const LONGEST_ANSWER: usize = 1408;

/// States of the automaton at most.
pub const STATES: usize = 512;
/// Classes of octets that it tells apart, at most.
pub const CLASSES: usize = 128;
/// Not of the shape, whatever follows.
pub const REFUSED: u16 = 0;
/// Before the first octet.
pub const BEGIN: u16 = 1;
/// Behind the last one.
pub const END: u16 = 2;

/// What happens when a state is come to, as bits of its action. None: the octet is copied into the answer.
pub mod action {
    /// The [`mark`](super::mark) that is noted here; 0 for none.
    pub const MARK: u16 = 31;
    /// The [`gap`](super::gap) before this octet.
    pub const BEFORE: u32 = 5;
    /// The gap behind this octet.
    pub const BEHIND: u32 = 7;
    /// The line isn't part of the answer: what was copied of it is taken back.
    pub const LEAVE: u16 = 1 << 9;
    /// The line ends with this octet.
    pub const LINE: u16 = 1 << 10;
}

/// Places in the message: counted, and the last of each is noted, in the request and in the answer.
pub mod mark {
    /// First octet of the Via's host.
    pub const HOST: u16 = 1;
    /// Behind its last.
    pub const HOST_END: u16 = 2;
    /// First digit of its port, if it has one.
    pub const PORT: u16 = 3;
    /// Behind its last.
    pub const PORT_END: u16 = 4;
    /// Last letter of `rport`.
    pub const RPORT: u16 = 5;
    /// Behind the Via.
    pub const VIA_END: u16 = 6;
    /// First octet of From's tag.
    pub const TAG: u16 = 7;
    /// Behind its last.
    pub const TAG_END: u16 = 8;
    /// Behind To.
    pub const TO_END: u16 = 9;
    /// First octet of the Call-ID.
    pub const CALL_ID: u16 = 10;
    /// Behind its last.
    pub const CALL_ID_END: u16 = 11;
    /// First digit of CSeq.
    pub const CSEQ: u16 = 12;
    /// Behind its last.
    pub const CSEQ_END: u16 = 13;
    /// First digit of Max-Forwards.
    pub const MAX_FORWARDS: u16 = 14;
    /// The digit of Content-Length.
    pub const CONTENT_LENGTH: u16 = 15;
    /// The end of a line.
    pub const LINE: u16 = 16;
}

/// Marks that there can be.
pub const MARKS: usize = 32;
/// Header lines at most, the request line and the empty one among them.
pub const LINES: u64 = 32;
/// Octets of the longest Call-ID.
pub const CALL_ID: u64 = 128;
/// Octets of the longest tag of From.
pub const TAG: u64 = 64;

/// What is put into the answer.
pub mod gap {
    /// `=` and the source's port, behind `rport`.
    pub const RPORT: u16 = 1;
    /// `;received=` and the source's address, at the end of the Via.
    pub const RECEIVED: u16 = 2;
    /// `;tag=` and our tag, at the end of To.
    pub const TAG: u16 = 3;
}

/// Lines that the answer has beside what it repeats, as far as it stays no longer than the request.
pub const OFFERED: usize = 4;
/// Octets of the longest of these.
pub const OFFERED_LEN: usize = 120;

/// One of these lines.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Offered {
    /// Octets of it; 0: none.
    pub len: u64,
    /// The line with its CRLF, then zeros.
    pub text: [u8; OFFERED_LEN],
}

/// The automaton, and what else the answer is made of.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Shape {
    /// The class of each octet.
    pub class: [u8; 256],
    /// The next state, by state and class.
    pub next: [[u16; CLASSES]; STATES],
    /// What happens in a state: see [`action`].
    pub action: [u16; STATES],
    /// Lines of the answer, in their order.
    pub offered: [Offered; OFFERED],
    /// The key of the To tag, in words.
    pub tag_key: [u64; 2],
    /// The digits of the To tag.
    pub digits: [u8; 32],
}

/// Peers that a set of their table holds.
pub const PEERS_OF_A_SET: usize = 4;
/// Sets of the table of peers.
pub const PEER_SETS: u32 = 64;
/// Peers at most: so many that hardly ever five fall into one set.
pub const MAX_PEERS: usize = 32;
/// Octets of an address's text, at most.
pub const ADDRESS_TEXT: usize = 40;

/// Somebody whose pings are answered.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Peer {
    /// Words of the address; zeros: nobody.
    pub address: [u64; 2],
    /// Octets of `text`.
    pub len: u64,
    /// The address as `received` has it, then zeros.
    pub text: [u8; ADDRESS_TEXT],
}

impl Peer {
    /// An unused place.
    pub const NONE: Self = Self { address: [0; 2], len: 0, text: [0; ADDRESS_TEXT] };

    /// The set that an address belongs to. Peers are the operator's, so the hash needs no secret.
    #[inline(always)]
    pub const fn set([head, tail]: [u64; 2]) -> u32 {
        ((head ^ tail.rotate_left(32)).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 58) as u32
    }
}

/// One set of the table of peers.
pub type PeerSet = [Peer; PEERS_OF_A_SET];

/// The program's memory for one ping, on each CPU. Places in it are masked by their power of two, so that the verifier
/// knows them inside; what is written from there on has room behind it.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Scratch {
    /// The request.
    pub request: [u8; 2048 + 128],
    /// The answer.
    pub answer: [u8; 2048 + 192],
    /// What the To tag is a hash of.
    pub hashed: [u8; 256 + 128],
    /// Where a mark is in the request.
    pub at: [u32; MARKS],
    /// Where it is in the answer.
    pub place: [u32; MARKS],
    /// How often it was come to.
    pub count: [u32; MARKS],
    /// The peer's address as text.
    pub peer: [u8; ADDRESS_TEXT],
    /// Octets of that.
    pub peer_len: u64,
    /// Something to be forgotten.
    pub number: u64,
    /// Octets of each gap.
    pub gap: [u32; 4],
    /// Octets of the answer so far.
    pub out: u32,
    /// Those before its last line.
    pub line: u32,
}

// As in `abi`: no padding, and what the verifier is to know.
const _: () = {
    use core::mem::offset_of;
    assert!(size_of::<Offered>() == 128 && size_of::<Peer>() == 64 && size_of::<PeerSet>() == 256);
    assert!(offset_of!(Shape, next) == 256 && offset_of!(Shape, action) == 256 + 2 * STATES * CLASSES);
    assert!(size_of::<Shape>() == 256 + 2 * STATES * CLASSES + 2 * STATES + 128 * OFFERED + 16 + 32);
    assert!(offset_of!(Scratch, at) % 8 == 0 && offset_of!(Scratch, gap) % 8 == 0);
    assert!(PEER_SETS == 64, "`Peer::set` gives six bits");
};
