//! The shape of the OPTIONS pings that the program answers, compiled into the automaton that it runs, and the table of
//! peers whose pings these are.
//!
//! The shape is what gateways and proxies send each other to see who is there: a request line with one of our URIs, then in any
//! order one Via, From, To, Call-ID, CSeq and Max-Forwards, each once and plainly written, and lines that an answer
//! has no use for. It is narrower than what the engine takes: whatever is out of the ordinary is the engine's, and
//! everything here is answered as it would (`tests/pings.rs`).

use std::net::IpAddr;

use aya::Pod;
use aya::maps::{Array, MapData};
use strowger_wire::Address;

use super::MapError;
use crate::map;
use crate::ping::{
    ADDRESS_TEXT, BEGIN, CLASSES, END, MAX_PEERS, OFFERED, OFFERED_LEN, Offered, PEER_SETS, PEERS_OF_A_SET,
    Peer, PeerSet, REFUSED, STATES, Shape, action, gap, mark,
};

// SAFETY: integers without padding (asserted in `ping`), valid for every pattern of bits.
unsafe impl Pod for Peer {}
// SAFETY: as above.
unsafe impl Pod for Shape {}

/// What the program has to know to answer in the engine's place.
#[derive(Clone, Debug)]
pub struct Pings {
    /// URIs that mean this server, as they stand in a request line. As many as there is room for are known, the first
    /// ones before the others.
    pub uris: Vec<String>,
    /// Lines of the answer beside what it repeats, without their ends, in their order. Each goes out if the answer
    /// stays no longer than the request with it.
    pub offered: Vec<String>,
    /// The key of To tags.
    pub tag_key: [u8; 16],
    /// The digits of To tags.
    pub tag_digits: [u8; 32],
    /// Whose pings are answered.
    pub peers: Vec<IpAddr>,
}

/// Where pings and peers are written to.
pub(super) struct PingMaps {
    pub(super) shape: Array<MapData, Shape>,
    pub(super) peers: Array<MapData, PeerSet>,
}

impl PingMaps {
    /// Writes everything; the peers last, because without them nothing is answered.
    pub(super) fn write(&mut self, pings: &Pings) -> Result<(), MapError> {
        let shape = shape(pings)?;
        self.shape.set(0, shape.as_ref(), 0).map_err(|error| MapError::kernel(map::PINGS, error))?;
        for (set, peers) in (0..).zip(peers(&pings.peers)?) {
            self.peers.set(set, peers, 0).map_err(|error| MapError::kernel(map::PEERS, error))?;
        }
        Ok(())
    }
}

fn peers(addresses: &[IpAddr]) -> Result<Vec<PeerSet>, MapError> {
    let mut sets = vec![[Peer::NONE; PEERS_OF_A_SET]; PEER_SETS as usize];
    let mut all: Vec<IpAddr> = addresses.iter().map(IpAddr::to_canonical).collect();
    all.sort_unstable();
    all.dedup();
    if all.len() > MAX_PEERS {
        return Err(MapError::Pings { reason: "more peers than there is room for" });
    }
    for address in all {
        let words = Address::from(address).words();
        let mut peer = Peer { address: words, ..Peer::NONE };
        let text = address.to_string();
        peer.len = text.len() as u64;
        let room = peer.text.get_mut(..text.len()).filter(|_| text.len() < ADDRESS_TEXT);
        room.ok_or(MapError::Pings { reason: "a peer whose address is too long" })?
            .copy_from_slice(text.as_bytes());
        let free =
            sets.get_mut(Peer::set(words) as usize).and_then(|set| set.iter_mut().find(|peer| peer.len == 0));
        *free.ok_or(MapError::Pings {
            reason: "five peers fall into one set of the table; leave one out",
        })? = peer;
    }
    Ok(sets)
}

fn shape(pings: &Pings) -> Result<Box<Shape>, MapError> {
    let mut automaton = Automaton::new();
    automaton.pings(&pings.uris);
    let mut shape = automaton.classified()?;
    let lines = pings.offered.iter().filter(|line| !line.is_empty());
    if lines.clone().count() > OFFERED {
        return Err(MapError::Pings { reason: "more lines to offer than there is room for" });
    }
    for (line, place) in lines.zip(&mut shape.offered) {
        let text = format!("{line}\r\n");
        let room = place.text.get_mut(..text.len());
        room.ok_or(MapError::Pings { reason: "a line to offer is too long" })?
            .copy_from_slice(text.as_bytes());
        place.len = text.len() as u64;
    }
    let key = u128::from_le_bytes(pings.tag_key);
    shape.tag_key = [key as u64, (key >> 64) as u64];
    shape.digits = pings.tag_digits;
    Ok(shape)
}

/// A state, while the automaton is made.
type State = u16;

/// The automaton in the making: for each state its next one by octet, and its action.
struct Automaton {
    next: Vec<[State; 256]>,
    action: Vec<u16>,
}

const DIGITS: &str = "0123456789";
/// Octets of a branch, a tag and a Call-ID: those of a token (RFC 3261, 25.1).
const TOKEN: &str = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-.!%*_+`'~";
/// Octets of the URIs in From and To, of which nothing depends on the URI.
const URI: &str = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.!~*'()&=+$/?:@%[];";
/// What has been in a Via, as bits.
const RPORT: usize = 1;
const BRANCH: usize = 2;

impl Automaton {
    fn new() -> Self {
        let mut automaton = Self { next: Vec::new(), action: Vec::new() };
        for state in [REFUSED, BEGIN, END] {
            let action = if state == REFUSED { 0 } else { action::LEAVE };
            let made = automaton.state(action);
            debug_assert_eq!(made, state);
        }
        automaton
    }

    fn state(&mut self, action: u16) -> State {
        self.next.push([REFUSED; 256]);
        self.action.push(action);
        // More than there is room for are refused in the end.
        (self.next.len() - 1) as State
    }

    fn follow(&self, from: State, octet: u8) -> State {
        self.next.get(usize::from(from)).map_or(REFUSED, |row| row[usize::from(octet)])
    }

    /// From a state by any of these octets to another, where no way is yet.
    fn edges(&mut self, from: State, octets: &str, to: State) {
        let Some(row) = self.next.get_mut(usize::from(from)) else { return };
        for octet in octets.bytes() {
            row[usize::from(octet)] = to;
        }
    }

    /// From a state by one of these octets to a new one.
    fn one(&mut self, from: State, octets: &str, action: u16) -> State {
        let to = self.state(action);
        self.edges(from, octets, to);
        to
    }

    /// As [`one`](Self::one), from several states that go on alike.
    fn join(&mut self, from: &[State], octets: &str, action: u16) -> State {
        let to = self.state(action);
        from.iter().for_each(|from| self.edges(*from, octets, to));
        to
    }

    /// By one or more of these octets; the first one is marked. Gives the states behind the first and behind more.
    fn some(&mut self, from: &[State], octets: &str, mark: u16) -> [State; 2] {
        let first = self.join(from, octets, mark);
        let more = self.one(first, octets, 0);
        self.edges(more, octets, more);
        [first, more]
    }

    /// By a text, letter by letter; a way that is there already is gone, so that texts share their beginnings.
    fn text(&mut self, from: State, text: &str, any_case: bool, action: u16) -> State {
        let mut at = from;
        for letter in text.chars() {
            let there = self.follow(at, letter as u8);
            if there != REFUSED {
                at = there;
                continue;
            }
            let both = match any_case {
                true => format!("{}{}", letter.to_ascii_lowercase(), letter.to_ascii_uppercase()),
                false => letter.to_string(),
            };
            at = self.one(at, &both, action);
        }
        at
    }

    /// A header's name in any case, its colon and the spaces behind it. Gives the state behind the colon, and one behind
    /// spaces; both go on alike.
    fn name(&mut self, lines: State, names: &[&str], leave: u16) -> Vec<State> {
        let mut states = Vec::new();
        for name in names {
            let name = self.text(lines, name, true, 0);
            let colon = self.one(name, ":", leave);
            let space = self.one(colon, " ", leave);
            self.edges(space, " ", space);
            states.extend([colon, space]);
        }
        states
    }

    /// CR with an action, and LF.
    fn end(&mut self, from: &[State], action: u16, lines: State) {
        let cr = self.join(from, "\r", action);
        self.edges(cr, "\n", lines);
    }

    /// What one state has for ways, another has too.
    fn alike(&mut self, model: State, other: State) {
        let row = self.next.get(usize::from(model)).copied();
        if let (Some(row), Some(other)) = (row, self.next.get_mut(usize::from(other))) {
            *other = row;
        }
    }

    /// The whole shape.
    fn pings(&mut self, uris: &[String]) {
        const LEAVE: u16 = action::LEAVE;
        const LINE: u16 = action::LINE | mark::LINE;
        // Behind a line that is kept, and behind one that isn't: from there all goes on alike.
        let lines = self.state(LINE);
        let left = self.state(LINE | LEAVE);

        self.via(lines);
        self.addresses(lines);
        self.call(lines);

        let name = self.name(lines, &["Max-Forwards"], LEAVE);
        let digit = self.join(&name, "123456789", LEAVE | mark::MAX_FORWARDS);
        let second = self.one(digit, DIGITS, LEAVE);
        self.end(&[digit, second], LEAVE, left);
        let name = self.name(lines, &["Content-Length", "l"], LEAVE);
        let zero = self.join(&name, "0", LEAVE | mark::CONTENT_LENGTH);
        self.end(&[zero], LEAVE, left);

        let visible: String = (' '..='~').collect();
        let rest = self.state(LEAVE);
        for name in ["Contact", "m", "User-Agent", "Accept", "Allow", "Supported", "k", "Allow-Events", "u"] {
            let name = self.text(lines, name, true, 0);
            self.edges(name, ":", rest);
        }
        self.edges(rest, &visible, rest);
        self.end(&[rest], LEAVE, left);

        let cr = self.one(lines, "\r", LEAVE);
        self.edges(cr, "\n", END);
        self.alike(lines, left);

        // Last, because URIs take what room there is.
        let method = self.text(BEGIN, "OPTIONS ", false, LEAVE);
        let version = self.state(LEAVE);
        let behind = self.text(version, "SIP/2.0\r", false, LEAVE);
        self.edges(behind, "\n", left);
        for uri in uris {
            if self.next.len() + uri.len() <= STATES {
                let uri = self.text(method, uri, false, LEAVE);
                self.edges(uri, " ", version);
            }
        }
    }

    /// Via: an address, perhaps a port, `branch` and perhaps `rport`, each once.
    fn via(&mut self, lines: State) {
        let name = self.name(lines, &["Via", "v"], 0);
        let protocol = self.join(&name, "S", 0);
        let before = self.text(protocol, "IP/2.0/UDP ", false, 0);
        let [_, v4] = self.some(&[before], "0123456789.", mark::HOST);
        let bracket = self.one(before, "[", 0);
        let [_, v6] = self.some(&[bracket], "0123456789abcdef:", mark::HOST);
        let closed = self.one(v6, "]", mark::HOST_END);
        let colons = [self.one(v4, ":", mark::HOST_END), self.one(closed, ":", 0)];
        let ports = self.port(&colons);

        // Behind a `;`, by what has been there: nothing, `rport`, `branch`, both.
        let params: [State; 4] = std::array::from_fn(|_| self.state(0));
        let ends = [mark::VIA_END, mark::VIA_END | gap::RECEIVED << action::BEFORE].map(|action| {
            let cr = self.state(action);
            self.edges(cr, "\n", lines);
            cr
        });
        for (seen, from) in params.into_iter().enumerate() {
            if seen & RPORT == 0 {
                let name = self.text(from, "rpor", false, 0);
                let name = self.one(name, "t", mark::RPORT | gap::RPORT << action::BEHIND);
                self.edges(name, ";", params[seen | RPORT]);
                if seen & BRANCH != 0 {
                    self.edges(name, "\r", ends[1]);
                }
            }
            if seen & BRANCH == 0 {
                let name = self.text(from, "branch=", false, 0);
                for branch in self.some(&[name], TOKEN, 0) {
                    self.edges(branch, ";", params[seen | BRANCH]);
                    self.edges(branch, "\r", ends[seen & RPORT]);
                }
            }
        }
        // The first `;` of all notes what is over there.
        let behind_host = self.one(v4, ";", mark::HOST_END);
        let behind_port = self.join(&ports, ";", mark::PORT_END);
        self.edges(closed, ";", params[0]);
        self.alike(params[0], behind_host);
        self.alike(params[0], behind_port);
    }

    /// A port without a zero in front, behind these states; not all ports have five digits, and those from 65,000 on are left
    /// to the engine.
    fn port(&mut self, from: &[State]) -> [State; 10] {
        let first = ["12345", "6", "789"].map(|digits| self.join(from, digits, mark::PORT));
        let mut short = self.join(&[first[2]], DIGITS, 0);
        let mut long = self.one(first[0], DIGITS, 0);
        self.edges(first[1], "01234", long);
        self.edges(first[1], "56789", short);
        let mut ports = [first[0], first[1], first[2], short, long, 0, 0, 0, 0, 0];
        for pair in [5, 7] {
            short = self.one(short, DIGITS, 0);
            long = self.one(long, DIGITS, 0);
            (ports[pair], ports[pair + 1]) = (short, long);
        }
        ports[9] = self.one(long, DIGITS, 0);
        ports
    }

    /// From with its tag, and To without one; each in angle brackets, without a display name.
    fn addresses(&mut self, lines: State) {
        for (names, is_to) in [(["From", "f"], false), (["To", "t"], true)] {
            let name = self.name(lines, &names, 0);
            let open = self.join(&name, "<", 0);
            let scheme = self.text(open, "sip:", false, 0);
            let uri = self.some(&[scheme], URI, 0);
            let close = self.join(&uri, ">", 0);
            if is_to {
                self.end(&[close], mark::TO_END | gap::TAG << action::BEFORE, lines);
                continue;
            }
            let name = self.text(close, ";tag=", false, 0);
            let tag = self.some(&[name], TOKEN, mark::TAG);
            self.end(&tag, mark::TAG_END, lines);
        }
    }

    /// Call-ID and CSeq.
    fn call(&mut self, lines: State) {
        let name = self.name(lines, &["Call-ID", "i"], 0);
        let word = self.some(&name, TOKEN, mark::CALL_ID);
        let at = self.join(&word, "@", 0);
        let host = self.some(&[at], TOKEN, 0);
        self.end(&[word, host].concat(), mark::CALL_ID_END, lines);

        let name = self.name(lines, &["CSeq"], 0);
        let mut digits = vec![self.join(&name, "123456789", mark::CSEQ)];
        for at in 0..8 {
            digits.push(self.one(digits[at], DIGITS, 0));
        }
        let space = self.join(&digits, " ", mark::CSEQ_END);
        let method = self.text(space, "OPTIONS", false, 0);
        self.end(&[method], 0, lines);
    }

    /// The automaton as the program has it: octets that go the same way everywhere are one class.
    fn classified(&self) -> Result<Box<Shape>, MapError> {
        if self.next.len() > STATES {
            return Err(MapError::Pings { reason: "more states than there is room for" });
        }
        let nothing = Offered { len: 0, text: [0; OFFERED_LEN] };
        let mut shape = Box::new(Shape {
            class: [0; 256],
            next: [[REFUSED; CLASSES]; STATES],
            action: [0; STATES],
            offered: [nothing; OFFERED],
            tag_key: [0; 2],
            digits: [0; 32],
        });
        let mut columns: Vec<Vec<State>> = Vec::new();
        for octet in 0..=255_u8 {
            let column: Vec<State> = self.next.iter().map(|row| row[usize::from(octet)]).collect();
            let class = columns.iter().position(|known| *known == column).unwrap_or(columns.len());
            if class == columns.len() {
                columns.push(column);
            }
            shape.class[usize::from(octet)] = class as u8;
        }
        if columns.len() > CLASSES {
            return Err(MapError::Pings { reason: "more classes of octets than there is room for" });
        }
        for (class, column) in columns.iter().enumerate() {
            for (row, next) in shape.next.iter_mut().zip(column) {
                row[class] = *next;
            }
        }
        for (to, from) in shape.action.iter_mut().zip(&self.action) {
            *to = *from;
        }
        Ok(shape)
    }
}
