//! What a reply of our own says beside what it repeats from the request.
//!
//! Header lines are of two kinds: what the RFC demands with the status goes out always; what it only recommends goes
//! out as far as the reply stays no longer than the request. Nobody is authenticated when a reply is written, and a
//! source address can be forged: a reply must not be worth more to an attacker than his own packet.

use core::fmt::Write as _;
use core::net::SocketAddr;

use strowger_sip::{EditError, EditPlan, Essentials, Message, Reply, Via};

use crate::keys::Keys;
use crate::refusal::Refusal;
use crate::request::{TAG_LEN, own_tag, tag_for, via_marks};
use crate::text::Text;

/// Octets a reply can have over its request, beside the lines of [`Answer::lines`]: To tag, received, rport,
/// Content-Length, and the status line with the longest reason phrase.
pub(crate) const REPLY_GROWTH: usize = 256;

/// The lines of a 200 to REGISTER at their most: half of what the plan can take (see
/// [`strowger_sip::limit::EDIT_TEXT`]) is left for the rest.
const LINES: usize = 7168;

/// Three challenges with the longest realm.
const CHALLENGES: usize = 1280;

/// Header lines and reason phrase of one reply; a worker makes one and uses it for every message.
pub(crate) struct Answer {
    /// Demanded.
    pub(crate) lines: Text<LINES>,
    /// Recommended, the most important first, each with its CRLF.
    offered: Text<256>,
    /// Challenges, the most wanted first. The last is demanded, and of the others as many go out as there is room for:
    /// an algorithm that only some clients know can be left out, the one that all know cannot.
    pub(crate) challenges: Text<CHALLENGES>,
    phrase: Text<128>,
    /// Octets that the reply may have with all of its challenges: what its source has sent and not got back.
    pub(crate) room: usize,
}

impl Answer {
    pub(crate) const fn new() -> Self {
        Self {
            lines: Text::new(),
            offered: Text::new(),
            challenges: Text::new(),
            phrase: Text::new(),
            room: 0,
        }
    }

    pub(crate) const fn clear(&mut self) {
        self.lines.clear();
        self.offered.clear();
        self.challenges.clear();
        self.room = 0;
        self.phrase.clear();
    }

    /// One more recommended line.
    pub(crate) fn offer(&mut self, parts: &[&[u8]]) {
        // Without room it is left out: it is only offered.
        let _ = self.offered.line(|line| parts.iter().try_for_each(|part| line.push(part)));
    }

    /// Phrase and lines of a refusal.
    pub(crate) fn refuse(&mut self, refusal: &Refusal, request: &Message<'_>) {
        refusal.lines(request, &mut self.lines);
        // A phrase that is too long is cut; it is for people.
        let _ = write!(self.phrase, "{refusal}");
    }

    /// Plans the reply.
    pub(crate) fn plan(
        &self,
        (request, headers): (&Message<'_>, Option<&Essentials<'_>>),
        via: &Via<'_>,
        remote: SocketAddr,
        code: u16,
        keys: &Keys,
        plan: &mut EditPlan,
    ) -> Result<(), EditError> {
        let tag: Option<[u8; TAG_LEN]> = match headers {
            Some(headers) => Some(tag_for(headers, keys)),
            None => own_tag(request, keys),
        };
        let (received, rport) = via_marks(via, remote);
        let reply = Reply {
            code,
            reason: self.phrase.as_bytes(),
            to_tag: tag.as_ref().map(|tag| &tag[..]),
            received,
            rport,
            record_route: false,
            skip_vias: 0,
        };
        match headers {
            Some(headers) => plan.reply_read(request, headers, &reply)?,
            None => plan.reply(request, &reply)?,
        }
        let end = request.headers_end();
        if !self.lines.as_bytes().is_empty() {
            plan.insert(end, self.lines.as_bytes())?;
        }
        let most = request.datagram().len();
        let challenges = self.challenges.as_bytes();
        let last = challenges.split_inclusive(|b| *b == b'\n').next_back().unwrap_or_default();
        let wanted_more = challenges.get(..challenges.len() - last.len()).unwrap_or_default();
        for line in wanted_more.split_inclusive(|b| *b == b'\n') {
            if plan.edited_len() + line.len() + last.len() <= most.max(self.room) {
                plan.insert(end, line)?;
            }
        }
        if !last.is_empty() {
            plan.insert(end, last)?;
        }
        for line in self.offered.as_bytes().split_inclusive(|b| *b == b'\n') {
            if plan.edited_len() + line.len() <= most {
                plan.insert(end, line)?;
            }
        }
        Ok(())
    }
}
