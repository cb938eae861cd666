//! What is kept of one call (or registration, or message) while it goes on: both sides of it, since both are ours.

use std::net::SocketAddr;

use crate::digest::Line;
use crate::population::Name;
use crate::text::{Text, hex, unhex};

/// Octets of [`Ident`].
const IDENT: usize = 24;
/// The magic cookie of RFC 3261 section 8.1.1.7.
const COOKIE: &[u8] = b"z9hG4bK";

/// Which call a message is of: it stands in Call-ID, branch and tags, so no call is searched for. 24 hexadecimal digits:
/// the run's number, the place, and which of its calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ident {
    pub(crate) run: u32,
    pub(crate) place: u32,
    pub(crate) generation: u32,
}

impl Ident {
    pub(crate) fn text(self) -> [u8; IDENT] {
        let mut text = [0; IDENT];
        for (room, number) in text.chunks_exact_mut(8).zip([self.run, self.place, self.generation]) {
            room.copy_from_slice(&hex(number));
        }
        text
    }

    /// Of a Call-ID: exactly an identity.
    pub(crate) fn of_call_id(text: &[u8]) -> Option<Self> {
        let (digits, []) = text.as_chunks::<8>() else { return None };
        let [run, place, generation] = digits else { return None };
        Some(Self { run: unhex(run)?, place: unhex(place)?, generation: unhex(generation)? })
    }

    /// Of a branch: cookie, identity, and the number of the transaction in its call.
    pub(crate) fn of_branch(text: &[u8]) -> Option<(Self, u32)> {
        let (cookie, rest) = text.split_at_checked(COOKIE.len())?;
        let (ident, serial) = rest.split_at_checked(IDENT)?;
        if !cookie.eq_ignore_ascii_case(COOKIE) {
            return None;
        }
        Some((Self::of_call_id(ident)?, unhex(serial)?))
    }
}

/// The tag that either side of a call has: place and generation.
pub(crate) fn tag(ident: &[u8; IDENT]) -> &[u8] {
    ident.get(8..).unwrap_or_default()
}

/// The branch of a call's transaction.
pub(crate) fn branch(ident: &[u8; IDENT], serial: u32) -> Text<48> {
    let mut text = Text::EMPTY;
    // 39 octets: there is room.
    let _ = text.push(COOKIE) && text.push(ident) && text.push(&hex(serial));
    text
}

/// Where the caller is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Caller {
    /// No call is in this place.
    Free,
    /// A request was sent, nothing came back (Calling, Trying).
    Trying,
    /// A provisional response did.
    Proceeding,
    /// Between two requests.
    Pausing,
}

/// Where the callee's INVITE transaction is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Callee {
    /// None came yet.
    Idle,
    /// The final response waits for its time.
    Ringing,
    /// It was sent, no ACK came.
    Answered,
    /// The ACK came.
    Confirmed,
}

/// One place.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    pub(crate) generation: u32,
    pub(crate) ident: [u8; IDENT],
    /// It began in the steady window.
    pub(crate) steady: bool,
    pub(crate) part: u8,
    pub(crate) step: u8,
    pub(crate) caller: Caller,
    pub(crate) callee: Callee,
    pub(crate) caller_user: u32,
    pub(crate) caller_name: Name,
    pub(crate) callee_name: Name,

    /// When the current request was meant to leave, and when it did.
    pub(crate) intended: u64,
    pub(crate) sent: u64,
    /// The transaction: part of its branch.
    pub(crate) serial: u32,
    pub(crate) cseq: u32,
    pub(crate) sequence: u32,
    /// The last setting of each side's timer.
    pub(crate) timers: [u32; 2],
    /// Timer A or E, and B or F.
    pub(crate) interval: u64,
    pub(crate) deadline: u64,
    /// Bit n: the nth leg of the current request is timed already.
    pub(crate) timed: u32,
    /// The current request was challenged already.
    pub(crate) challenged: bool,
    /// The INVITE whose refusal was acknowledged, to do it again when the refusal comes again.
    pub(crate) refused: Option<(u32, u32)>,
    pub(crate) authorization: Line,

    /// The dialog, from the 2xx (RFC 3261 section 12.1.2): step, transaction and CSeq of its INVITE, the ACK's transaction.
    pub(crate) invited: Option<(u8, u32, u32)>,
    pub(crate) ack_serial: u32,
    pub(crate) to_tag: Text<128>,
    pub(crate) remote: Text<256>,
    pub(crate) routes: Text<1024>,
    pub(crate) next_hop: Option<SocketAddr>,

    /// Bit n: the nth answer of the part was asked for.
    pub(crate) seen: u32,
    /// The final response to the INVITE, to repeat.
    pub(crate) answer: Text<2048>,
    pub(crate) answer_to: Option<SocketAddr>,
    pub(crate) answer_interval: u64,
    pub(crate) answer_deadline: u64,
}

impl Call {
    /// A place that was never used.
    pub(crate) const NEW: Self = Self {
        generation: 0,
        ident: [0; IDENT],
        steady: false,
        part: 0,
        step: 0,
        caller: Caller::Free,
        callee: Callee::Idle,
        caller_user: 0,
        caller_name: Text::EMPTY,
        callee_name: Text::EMPTY,
        intended: 0,
        sent: 0,
        serial: 0,
        cseq: 0,
        sequence: 0,
        timers: [0; 2],
        interval: 0,
        deadline: 0,
        timed: 0,
        challenged: false,
        refused: None,
        authorization: Line::EMPTY,
        invited: None,
        ack_serial: 0,
        to_tag: Text::EMPTY,
        remote: Text::EMPTY,
        routes: Text::EMPTY,
        next_hop: None,
        seen: 0,
        answer: Text::EMPTY,
        answer_to: None,
        answer_interval: 0,
        answer_deadline: 0,
    };

    /// Makes it ready for the next call; what is long is emptied, not written over.
    pub(crate) fn begin(&mut self, run: u32, place: u32) {
        self.generation = self.generation.wrapping_add(1);
        self.ident = Ident { run, place, generation: self.generation }.text();
        // Timers of the call before mean nothing to this one.
        self.timers = self.timers.map(|timer| timer.wrapping_add(2));
        self.step = 0;
        self.callee = Callee::Idle;
        self.serial = 0;
        self.cseq = 0;
        self.timed = 0;
        self.challenged = false;
        self.refused = None;
        self.authorization.clear();
        self.invited = None;
        self.to_tag.clear();
        self.remote.clear();
        self.routes.clear();
        self.next_hop = None;
        self.seen = 0;
        self.answer.clear();
        self.answer_to = None;
    }

    /// Tag of either side.
    pub(crate) fn tag(&self) -> &[u8] {
        tag(&self.ident)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identity_survives_the_wire() {
        let ident = Ident { run: 0xdead_beef, place: 7, generation: u32::MAX };
        assert_eq!(Ident::of_call_id(&ident.text()), Some(ident));
        let branch = branch(&ident.text(), 3);
        assert_eq!(Ident::of_branch(branch.as_bytes()), Some((ident, 3)));
        assert_eq!(Ident::of_branch(&branch.as_bytes().to_ascii_uppercase()), None, "we write lower case");
        for wrong in
            [&b""[..], b"1", b"z9hG4bK", b"z9hG4bK-1", &ident.text()[1..], b"000000000000000000000000x"]
        {
            assert_eq!((Ident::of_call_id(wrong), Ident::of_branch(wrong)), (None, None));
        }
    }
}
