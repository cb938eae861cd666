//! What happens to calls, for whoever writes their records: a bounded queue out of the engine.
//!
//! Filled by the table of dialogs, emptied by the worker through [`Engine::next_event`](crate::Engine::next_event).
//! An event says everything a record needs, so that one that is lost spoils nothing but itself; how many were lost
//! stands in the next one.

use core::fmt;
use core::net::{IpAddr, SocketAddr};

use strowger_sip::SdpFacts;

use super::DialogId;
use crate::time::Time;

/// Octets of text in an event: identifiers, tags and URIs of a call. Longer ones are cut, and the event says so.
pub const EVENT_TEXT: usize = 1024;

/// Media descriptions in an event.
pub const EVENT_MEDIA: usize = 4;

/// Octets of a codec's name in an event; `telephone-event` has 15.
pub const CODEC: usize = 16;

/// One of the two ends of a dialog.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Party {
    /// Whoever sent the INVITE.
    Caller,
    /// Whoever answers it.
    Callee,
}

impl Party {
    /// The one across.
    #[must_use]
    pub const fn other(self) -> Self {
        match self {
            Self::Caller => Self::Callee,
            Self::Callee => Self::Caller,
        }
    }
}

/// Why a call is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EndReason {
    /// This end hung up (RFC 3261 section 15).
    Bye(Party),
    /// The caller gave up before an answer (section 9).
    Canceled,
    /// The final response was no success; the event's code says which.
    Refused,
    /// No final response came.
    NoAnswer,
    /// Another branch of a forked INVITE was answered, this one in time was not (section 13.2.2.4).
    Forked,
    /// Nobody refreshed the session (RFC 4028 section 8.3).
    SessionExpired,
    /// It lasted as long as a call may.
    TooLong,
    /// An operator ended it.
    Killed,
    /// It was answered, but goes on past us: our Record-Route is not in the answer.
    OffPath,
}

impl EndReason {
    /// Name in records: lower case with hyphens, never changed once released.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Bye(Party::Caller) => "caller-bye",
            Self::Bye(Party::Callee) => "callee-bye",
            Self::Canceled => "canceled",
            Self::Refused => "refused",
            Self::NoAnswer => "no-answer",
            Self::Forked => "forked",
            Self::SessionExpired => "session-expired",
            Self::TooLong => "too-long",
            Self::Killed => "killed",
            Self::OffPath => "off-path",
        }
    }
}

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallStep {
    /// The INVITE was sent on. Once for a call, however often it forks.
    Begun,
    /// The first provisional response of this callee with this code (101 to 199).
    Ringing(u16),
    /// A 2xx to the INVITE, with this code. A call that forks can be answered twice, and is then two dialogs.
    Answered(u16),
    /// It is over. Every dialog that was ever in an event has exactly one of these.
    Ended {
        /// Why.
        reason: EndReason,
        /// The final response that says so, 0 when there was none.
        code: u16,
    },
}

/// One medium of an answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MediaFact {
    kind: [u8; 12],
    codec: [u8; CODEC],
    /// Port; 0 for a medium that was refused.
    pub port: u16,
    /// Where the media goes, if the description says an address.
    pub address: Option<IpAddr>,
}

impl MediaFact {
    /// `audio`, `video`, …
    #[must_use]
    pub fn kind(&self) -> &[u8] {
        until_zero(&self.kind)
    }

    /// Name of the first format; empty when the description does not name it.
    #[must_use]
    pub fn codec(&self) -> &[u8] {
        until_zero(&self.codec)
    }
}

fn until_zero(text: &[u8]) -> &[u8] {
    text.split(|&b| b == 0).next().unwrap_or_default()
}

fn copy_cut<const N: usize>(from: &[u8]) -> [u8; N] {
    let mut to = [0; N];
    for (to, from) in to.iter_mut().zip(from) {
        *to = *from;
    }
    to
}

/// The strings of an event, in the order they are stored in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    CallId,
    CallerTag,
    CalleeTag,
    CallerUri,
    CalleeUri,
    RequestUri,
    CallerTarget,
    CalleeTarget,
    /// Not in events: the route set from us to the caller, as the values of a Route header.
    CallerRoutes,
    /// Not in events: from us to the callee.
    CalleeRoutes,
}

/// How many [`Part`]s there are; the first [`EVENT_PARTS`] of them are in events.
pub(super) const PARTS: usize = 10;
const EVENT_PARTS: usize = 8;

/// Something that happened to a call.
#[derive(Clone)]
pub struct CallEvent {
    /// The dialog.
    pub id: DialogId,
    /// The id under which the call [began](CallStep::Begun): another one for the further branches of a forked call.
    pub call: DialogId,
    /// What happened.
    pub step: CallStep,
    /// When it happened.
    pub at: Time,
    /// When the INVITE was sent on.
    pub begun: Time,
    /// When it first rang.
    pub ringing: Option<Time>,
    /// When it was answered.
    pub answered: Option<Time>,
    /// Where the caller's messages come from.
    pub caller: Option<SocketAddr>,
    /// Where the callee's messages come from, once one came.
    pub callee: Option<SocketAddr>,
    /// The gateway group it went to, as an index into the configuration; `None` for one that went to no gateway.
    pub gateway: Option<u16>,
    /// Events that were lost between the one before and this one, because the queue was full.
    pub lost: u64,
    /// A string or the media did not fit: it was cut, or is not the latest.
    pub truncated: bool,
    media: [MediaFact; EVENT_MEDIA],
    media_count: u8,
    lens: [u16; EVENT_PARTS],
    text: [u8; EVENT_TEXT],
}

impl CallEvent {
    fn new(id: DialogId, call: DialogId, step: CallStep, at: Time, begun: Time) -> Self {
        Self {
            id,
            call,
            step,
            at,
            begun,
            ringing: None,
            answered: None,
            caller: None,
            callee: None,
            gateway: None,
            lost: 0,
            truncated: false,
            media: [MediaFact::default(); EVENT_MEDIA],
            media_count: 0,
            lens: [0; EVENT_PARTS],
            text: [0; EVENT_TEXT],
        }
    }

    /// Call-ID.
    #[must_use]
    pub fn call_id(&self) -> &[u8] {
        self.part(Part::CallId)
    }

    /// Tag of the caller.
    #[must_use]
    pub fn caller_tag(&self) -> &[u8] {
        self.part(Part::CallerTag)
    }

    /// Tag of the callee; empty before one has answered anything.
    #[must_use]
    pub fn callee_tag(&self) -> &[u8] {
        self.part(Part::CalleeTag)
    }

    /// URI of From in the INVITE.
    #[must_use]
    pub fn caller_uri(&self) -> &[u8] {
        self.part(Part::CallerUri)
    }

    /// URI of To in the INVITE.
    #[must_use]
    pub fn callee_uri(&self) -> &[u8] {
        self.part(Part::CalleeUri)
    }

    /// Request-URI of the INVITE as it came.
    #[must_use]
    pub fn request_uri(&self) -> &[u8] {
        match self.part(Part::RequestUri) {
            b"" => self.callee_uri(),
            uri => uri,
        }
    }

    /// The caller's Contact.
    #[must_use]
    pub fn caller_contact(&self) -> &[u8] {
        self.part(Part::CallerTarget)
    }

    /// The callee's Contact; empty before it named one.
    #[must_use]
    pub fn callee_contact(&self) -> &[u8] {
        self.part(Part::CalleeTarget)
    }

    /// The media of the session description in the 2xx; only when [answered](CallStep::Answered).
    #[must_use]
    pub fn media(&self) -> &[MediaFact] {
        self.media.get(..usize::from(self.media_count)).unwrap_or_default()
    }

    fn part(&self, part: Part) -> &[u8] {
        let from: usize = self.lens.iter().take(part as usize).map(|len| usize::from(*len)).sum();
        let len = self.lens.get(part as usize).map_or(0, |len| usize::from(*len));
        self.text.get(from..from + len).unwrap_or_default()
    }

    /// Takes the strings over, from a text that has all parts with these lengths.
    pub(super) fn set_text(&mut self, text: &[u8], lens: &[u16; PARTS]) {
        let (mut from, mut to) = (0, 0);
        for (mine, len) in self.lens.iter_mut().zip(lens) {
            let len = usize::from(*len);
            let kept = len.min(EVENT_TEXT - to);
            let whole = text.get(from..from + kept);
            match (self.text.get_mut(to..to + kept), whole) {
                (Some(place), Some(part)) => place.copy_from_slice(part),
                _ => break,
            }
            *mine = kept as u16;
            self.truncated |= kept < len;
            from += len;
            to += kept;
        }
    }

    pub(super) fn set_media(&mut self, facts: &SdpFacts<'_>) {
        self.truncated |= facts.truncated || facts.media().len() > EVENT_MEDIA;
        for (fact, media) in self.media.iter_mut().zip(facts.media()) {
            let codec = media.formats().first().and_then(|format| format.codec).unwrap_or_default();
            self.truncated |= media.kind.len() > 12 || codec.len() > CODEC;
            *fact = MediaFact {
                kind: copy_cut(media.kind),
                codec: copy_cut(codec),
                port: media.port,
                address: media.connection,
            };
            self.media_count += 1;
        }
    }
}

impl fmt::Debug for CallEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CallEvent")
            .field("id", &self.id)
            .field("step", &self.step)
            .field("at", &self.at)
            .field("call_id", &self.call_id().escape_ascii().to_string())
            .finish_non_exhaustive()
    }
}

/// The queue, with a fixed number of places.
pub(super) struct Queue {
    /// Made as they are first used, within the capacity that was taken at start.
    events: Vec<CallEvent>,
    limit: usize,
    first: usize,
    count: usize,
    /// Since the last event that found a place.
    lost: u64,
}

impl Queue {
    pub(super) fn new(limit: usize) -> Self {
        Self { events: Vec::with_capacity(limit), limit, first: 0, count: 0, lost: 0 }
    }

    pub(super) const fn limit(&self) -> usize {
        self.limit
    }

    /// The place of one more event, to be filled in; `None` when the queue is full and the event is lost.
    pub(super) fn place(
        &mut self,
        id: DialogId,
        call: DialogId,
        step: CallStep,
        at: Time,
        begun: Time,
    ) -> Option<&mut CallEvent> {
        if self.count == self.limit {
            self.lost += 1;
            return None;
        }
        let place = (self.first + self.count) % self.limit;
        if place == self.events.len() {
            self.events.push(CallEvent::new(id, call, step, at, begun));
        }
        let event = self.events.get_mut(place)?;
        // The text stays: what counts of it is what the lengths say.
        event.id = id;
        event.call = call;
        event.step = step;
        event.at = at;
        event.begun = begun;
        event.media_count = 0;
        event.lens = [0; EVENT_PARTS];
        event.truncated = false;
        event.lost = core::mem::take(&mut self.lost);
        self.count += 1;
        Some(event)
    }

    pub(super) fn pop(&mut self) -> Option<CallEvent> {
        if self.count == 0 {
            return None;
        }
        let event = self.events.get(self.first)?.clone();
        self.first = (self.first + 1) % self.limit;
        self.count -= 1;
        Some(event)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(n: u32) -> CallEvent {
        let id = DialogId::new(n, 0);
        CallEvent::new(id, id, CallStep::Begun, Time::START, Time::START)
    }

    fn push(queue: &mut Queue, n: u32) -> bool {
        let id = DialogId::new(n, 0);
        queue.place(id, id, CallStep::Begun, Time::START, Time::START).is_some()
    }

    #[test]
    fn what_is_lost_is_counted_and_told() {
        let mut queue = Queue::new(3);
        let pushed: Vec<bool> = (0..5).map(|n| push(&mut queue, n)).collect();
        assert_eq!(pushed, [true, true, true, false, false]);
        assert_eq!(queue.pop().map(|e| (e.id, e.lost)), Some((DialogId::new(0, 0), 0)));
        assert!(push(&mut queue, 5) && !push(&mut queue, 6));
        let rest: Vec<_> = core::iter::from_fn(|| queue.pop()).map(|e| (e.id, e.lost)).collect();
        assert_eq!(rest, [(1, 0), (2, 0), (5, 2)].map(|(n, lost)| (DialogId::new(n, 0), lost)));
        assert!(push(&mut queue, 7) && queue.count == 1);
        assert_eq!(queue.pop().map(|e| e.lost), Some(1));
        let mut none = Queue::new(0);
        assert!(!push(&mut none, 0) && none.pop().is_none());
    }

    #[test]
    fn long_texts_are_cut_and_say_so() {
        let mut e = event(1);
        let lens = [3, 2, 0, 4, 0, 0, 0, 5, 9, 9];
        e.set_text(b"cidabsip:HELLO", &lens);
        assert_eq!((e.call_id(), e.caller_tag(), e.caller_uri()), (&b"cid"[..], &b"ab"[..], &b"sip:"[..]));
        assert_eq!((e.callee_contact(), e.request_uri(), e.truncated), (&b"HELLO"[..], &b""[..], false));
        let long = [b'x'; 3000];
        e.set_text(&long, &[1000, 20, 20, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!((e.call_id().len(), e.caller_tag().len(), e.callee_tag().len()), (1000, 20, 4));
        assert!(e.truncated);
    }

    #[test]
    fn media_of_an_answer() {
        let mut e = event(1);
        e.set_media(&SdpFacts::read(b"c=IN IP4 192.0.2.1\nm=audio 4000 RTP/AVP 0 8\nm=video 0 RTP/AVP 99\n"));
        let [audio, video] = e.media() else { panic!("{:?}", e.media()) };
        assert_eq!((audio.kind(), audio.codec(), audio.port), (&b"audio"[..], &b"PCMU"[..], 4000));
        assert_eq!(audio.address, Some([192, 0, 2, 1].into()));
        assert_eq!((video.kind(), video.codec(), video.port), (&b"video"[..], &b""[..], 0));
        assert!(!e.truncated);
        let mut many = event(2);
        many.set_media(&SdpFacts::read(&b"m=audio 1 RTP/AVP 0\n".repeat(5)));
        assert_eq!((many.media().len(), many.truncated), (4, true));
    }
}
