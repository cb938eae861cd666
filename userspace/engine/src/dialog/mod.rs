//! The calls that go through this node: INVITE dialogs as a proxy sees them (RFC 3261 sections 12 to 16).
//!
//! Told by the element of every request it sends on ([`Dialogs::request`]) and of every response it sends back
//! ([`Dialogs::response`], and [`Dialogs::failed`] for a refusal of its own). It changes no message and routes none. It
//! knows who talks to whom since when, so that calls can be recorded ([`CallEvent`]), shown, limited and ended by an
//! operator, and so that an end that moves in mid-call can still be reached.
//!
//! All memory is taken at the start. A full table is an answer (503 to new INVITEs, see [`Dialogs::admits`]); what is in
//! the table stays until it ends: by a BYE, a refusal, its session timer, or the longest time a call may last.

mod answers;
mod bye;
mod entry;
mod event;
mod read;
mod table;
mod texts;
mod view;

use core::net::SocketAddr;
use core::time::Duration;

use strowger_sip::{Message, Method, Uri};

use crate::config::Calls;
use crate::counters::{Counters, Event};
use crate::keys::{Keys, Prf, same};
use crate::request::Request;
use crate::response::Headers;
use crate::route::{Hop, token};
use crate::site::Site;
use crate::time::Time;
use crate::timer::Wheel;

use bye::HangUps;
use entry::{Dialog, End, State};
use event::{PARTS, Part, Queue};
use read::{Strings, contact};
use table::{CallKey, CalleeKey, Table};
use texts::{Text, Texts};

pub use bye::KillError;
pub use event::{CODEC, CallEvent, CallStep, EVENT_MEDIA, EVENT_TEXT, EndReason, MediaFact, Party};
pub use table::{DialogId, NoDialogId};
pub use view::{DialogEnd, DialogFilter, DialogState, DialogView};

/// Octets of one dialog's strings. The identifiers alone may have a thousand each; a call that brings more than this
/// goes through unwatched and is counted.
const TEXT: usize = 4096;

/// Chunks of text for each dialog on average: 256 octets, which most calls stay under. Those with longer strings take
/// the places of others.
const CHUNKS: usize = 4;

/// Chunks that the longest strings of one dialog take.
const LONGEST: usize = TEXT.div_ceil(texts::CHUNK);

/// Dialogs that one INVITE may make. A fork goes to 32 targets at most, and few of them answer with a tag.
const FORKS: usize = 32;

/// How long an INVITE without a final response is kept after its last provisional response: above Timer C, which is
/// over three minutes (section 16.6 item 11) and ends it when a transaction is kept for it.
const NO_ANSWER: Duration = Duration::from_secs(300);

/// 64·T1, and a second: after it, no more 2xx of other branches is to be expected (section 13.2.2.4), and the client
/// transaction of a BYE is over.
const LINGER: Duration = Duration::from_secs(33);

/// Timers looked at in one call of [`Dialogs::expire`].
const BATCH: usize = 64;

/// What the table needs of the element.
pub(crate) struct Scene<'e> {
    pub(crate) now: Time,
    pub(crate) site: &'e Site,
    pub(crate) keys: &'e Keys,
    pub(crate) counters: &'e mut Counters,
}

/// Where a message came from, and to which listen address.
#[derive(Clone, Copy)]
pub(crate) struct Source {
    pub(crate) listen: u8,
    pub(crate) remote: SocketAddr,
}

/// See the head of this file.
pub(crate) struct Dialogs {
    table: Table,
    texts: Texts,
    wheel: Wheel,
    events: Queue,
    hang_ups: HangUps,
    /// How long a call may last.
    longest: Duration,
    /// The strings of the dialog at hand.
    scratch: Box<[u8; TEXT]>,
}

impl Dialogs {
    pub(crate) fn new(calls: &Calls) -> Self {
        Self {
            table: Table::new(calls.max_dialogs),
            texts: Texts::new(calls.max_dialogs.saturating_mul(CHUNKS).saturating_add(LONGEST)),
            wheel: Wheel::new(calls.max_dialogs),
            events: Queue::new(calls.max_events),
            hang_ups: HangUps::new(),
            longest: Duration::from_secs(u64::from(calls.max_seconds)),
            scratch: Box::new([0; TEXT]),
        }
    }

    /// Whether this request may be sent on as far as the table goes: it begins no call, or there is room for one more
    /// with the longest strings, or it is there already.
    pub(crate) fn admits(&self, keys: &Keys, request: &Request<'_>) -> bool {
        let begins = request.method == Method::Invite && request.headers.to.tag().is_none();
        if !begins || self.table.limit() == 0 {
            return true;
        }
        let room =
            self.table.used() < self.table.limit() && self.texts.limit() - self.texts.used() >= LONGEST;
        let call = || call_key(keys, request.headers.call_id, request.sender_tag());
        room || self.find(call(), |dialog| dialog.invite == request.headers.cseq.number).is_some()
    }

    pub(crate) const fn used(&self) -> usize {
        self.table.used()
    }

    pub(crate) const fn limit(&self) -> usize {
        self.table.limit()
    }

    pub(crate) fn next_event(&mut self) -> Option<CallEvent> {
        self.events.pop()
    }

    /// A request is sent on, for the first time. `gateway`: the index of the gateway group it goes to.
    pub(crate) fn request(
        &mut self,
        scene: &mut Scene<'_>,
        request: &Request<'_>,
        source: Source,
        gateway: Option<u16>,
    ) {
        match (request.method, request.headers.to.tag()) {
            _ if self.table.limit() == 0 => {}
            (Method::Ack, _) => {}
            (Method::Invite, None) => self.begin(scene, request, source, gateway),
            (Method::Cancel, None) => self.canceled(scene, request),
            (_, None) => {}
            (_, Some(to)) => self.within(scene, request, to, source),
        }
    }

    /// A response is sent back towards whoever sent the request: of a forked INVITE every provisional response and
    /// 2xx, and the one that was chosen of the others. Without a source it is one of our own.
    pub(crate) fn response(
        &mut self,
        scene: &mut Scene<'_>,
        message: &Message<'_>,
        headers: &Headers<'_>,
        source: Option<Source>,
    ) {
        let Headers { code, cseq, call_id, from: Some(_), to: Some(to) } = *headers else { return };
        let (from, to) = (headers.sender_tag(), to.tag().unwrap_or_default());
        let answer = Answer { message, code, cseq: cseq.number, call_id, from, to, source };
        match cseq.method {
            _ if code <= 100 || self.table.limit() == 0 => {}
            Method::Invite => self.invite_answered(scene, &answer),
            Method::Update => self.refreshed(scene, &answer),
            Method::Bye => self.bye_answered(scene, &answer),
            _ => {}
        }
    }

    /// We refuse an INVITE that was sent on, or send back the refusal that was chosen among those of its branches.
    pub(crate) fn failed(
        &mut self,
        scene: &mut Scene<'_>,
        call_id: &[u8],
        from: &[u8],
        cseq: u32,
        code: u16,
    ) {
        let call = call_key(scene.keys, call_id, from);
        while let Some(id) = self.find(call, |d| d.is_unanswered() && d.invite == cseq) {
            let canceled = self.table.get(id).is_some_and(|d| d.canceled);
            let reason = match code {
                487 if canceled => EndReason::Canceled,
                408 => EndReason::NoAnswer,
                _ => EndReason::Refused,
            };
            self.finish(scene, id, reason, code, scene.now);
        }
    }

    /// When [`expire`](Self::expire) has something to do.
    pub(crate) fn timeout(&self) -> Option<Time> {
        self.wheel.next().into_iter().chain(self.hang_ups.timeout()).min()
    }

    /// Ends what has waited long enough: a bounded number.
    pub(crate) fn expire(&mut self, scene: &mut Scene<'_>) {
        self.hang_ups.expire(scene.now);
        let mut budget = BATCH;
        while let Some(slot) = self.wheel.pop(scene.now, &mut budget) {
            let Some((id, dialog)) = self.table.at(slot) else { continue };
            let deadline = dialog.time(dialog.deadline).unwrap_or(scene.now);
            if deadline > scene.now {
                self.wheel.arm(slot, deadline);
                continue;
            }
            let (reason, at) = match dialog.state {
                State::Trying | State::Early if dialog.lost => (EndReason::Forked, scene.now),
                State::Trying | State::Early => (EndReason::NoAnswer, scene.now),
                State::Ending(by) => (EndReason::Bye(by), dialog.time(dialog.hung_up).unwrap_or(scene.now)),
                State::Killing(_) => (EndReason::Killed, dialog.time(dialog.hung_up).unwrap_or(scene.now)),
                State::Confirmed if scene.now >= dialog.begun.after(self.longest) => {
                    (EndReason::TooLong, scene.now)
                }
                State::Confirmed => (EndReason::SessionExpired, scene.now),
            };
            self.finish(scene, id, reason, 0, at);
        }
    }

    /// Whether a request whose token is not good for where it goes may go there all the same: its token is the one
    /// that this end got from us, and it goes to where the other end has moved since, or is about to.
    pub(crate) fn permits(&mut self, keys: &Keys, request: &Request<'_>) -> bool {
        let headers = request.headers;
        let (Some(to), Some(given)) = (headers.to.tag(), request.routes.given()) else { return false };
        let Some((id, sender)) = self.lookup(keys, headers.call_id, request.sender_tag(), to) else {
            return false;
        };
        let Some(dialog) = self.table.get(id) else { return false };
        let Some(hop) = request.hop() else { return false };
        if dialog.end(sender).token == 0 || !same(dialog.end(sender).token, given) {
            return false;
        }
        let there =
            |target: &[u8]| Uri::parse(target).ok().and_then(|uri| Hop::of(&uri)).is_some_and(|at| at == hop);
        let other = sender.other();
        let strings = strings(&self.texts, dialog, &mut self.scratch);
        if strings.routes(other).is_empty() && there(strings.target(other)) {
            return true;
        }
        let mut moving = [0; TEXT];
        there(self.texts.read(&dialog.end(other).moving, &mut moving))
    }

    /// An INVITE that begins a call.
    fn begin(&mut self, scene: &mut Scene<'_>, request: &Request<'_>, source: Source, gateway: Option<u16>) {
        let headers = request.headers;
        let cseq = headers.cseq.number;
        let call = call_key(scene.keys, headers.call_id, request.sender_tag());
        // The same INVITE once more, be it by another way: sent again, or come back in a spiral.
        if self.find(call, |d| d.invite == cseq && !matches!(d.state, State::Ending(_))).is_some() {
            return;
        }
        // Whoever asks again (with credentials, at another place) has given up what he asked before.
        while let Some(id) = self.find(call, |d| d.is_unanswered() && d.invite < cseq) {
            self.finish(scene, id, EndReason::NoAnswer, 0, scene.now);
        }
        let to = headers.to.uri_bytes();
        let uri = if request.received_uri == to { b"" } else { request.received_uri };
        let caller = contact(&request.message).unwrap_or_default();
        let parts: [&[u8]; PARTS] = [
            headers.call_id,
            request.sender_tag(),
            b"",
            headers.from.uri_bytes(),
            to,
            uri,
            caller,
            b"",
            b"",
            b"",
        ];
        let Some((text, lens)) = self.keep(scene, &parts) else { return };
        let mut dialog = Dialog {
            call,
            callee: CalleeKey::NONE,
            first: DialogId::new(0, 0),
            begun: scene.now,
            deadline: 0,
            text,
            lens,
            state: State::Trying,
            ends: [End::new(), End::new()],
            invite: cseq,
            ringing: 0,
            answered: 0,
            hung_up: 0,
            session: 0,
            expires: 0,
            gateway: gateway.map_or(0, |index| index.saturating_add(1)),
            canceled: false,
            caller_refreshes: false,
            lost: false,
            outdated: false,
        };
        dialog.heard(Party::Caller, source, cseq);
        dialog.expires = dialog.offset(scene.now.after(self.longest));
        let Some(id) = self.insert(scene, dialog, NO_ANSWER) else { return };
        if let Some(dialog) = self.table.get_mut(id) {
            dialog.first = id;
        }
        self.tell(scene, id, CallStep::Begun, scene.now, None);
    }

    fn canceled(&mut self, scene: &Scene<'_>, request: &Request<'_>) {
        let call = call_key(scene.keys, request.headers.call_id, request.sender_tag());
        let cseq = request.headers.cseq.number;
        while let Some(id) = self.find(call, |d| d.is_unanswered() && d.invite == cseq && !d.canceled) {
            let Some(dialog) = self.table.get_mut(id) else { return };
            dialog.canceled = true;
        }
    }

    /// A request within a dialog.
    fn within(&mut self, scene: &mut Scene<'_>, request: &Request<'_>, to: &[u8], source: Source) {
        let headers = request.headers;
        let cseq = headers.cseq.number;
        let Some((id, sender)) = self.lookup(scene.keys, headers.call_id, request.sender_tag(), to) else {
            return;
        };
        let Some(dialog) = self.table.get_mut(id) else { return };
        // What ends by our BYE changes no more, or else that would change when it is sent again.
        if matches!(request.method, Method::Cancel) || matches!(dialog.state, State::Killing(_)) {
            return;
        }
        dialog.heard(sender, source, cseq);
        match request.method {
            Method::Bye if matches!(dialog.state, State::Confirmed | State::Early) => {
                dialog.state = State::Ending(sender);
                dialog.hung_up = dialog.offset(scene.now);
                self.wait(id, scene.now.after(LINGER));
            }
            Method::Invite | Method::Update => {
                self.moving(scene.keys, id, sender, cseq, contact(&request.message));
            }
            _ => {}
        }
    }

    /// A target refresh request names where its sender is to be reached (section 12.2). It holds when it is answered
    /// with a 2xx; until then both places do.
    fn moving(&mut self, keys: &Keys, id: DialogId, sender: Party, cseq: u32, contact: Option<&[u8]>) {
        let Some(dialog) = self.table.get_mut(id) else { return };
        let here =
            strings(&self.texts, dialog, &mut self.scratch).target(sender) == contact.unwrap_or_default();
        let end = dialog.end_mut(sender);
        self.texts.release(core::mem::replace(&mut end.moving, Text::EMPTY));
        end.moving_cseq = cseq;
        if let Some(contact) = contact.filter(|contact| !here && contact.len() <= TEXT) {
            match self.texts.store(&[contact]) {
                Some(text) => end.moving = text,
                None => dialog.outdated = true,
            }
            self.keep_token(keys, id, sender);
        }
    }

    /// Before `party` moves for the first time: its peer goes on with the token it has, which is for the hop it was
    /// first told. With routers on the way the next hop stays, and the token with it.
    fn keep_token(&mut self, keys: &Keys, id: DialogId, party: Party) {
        let Some(dialog) = self.table.get_mut(id) else { return };
        let strings = strings(&self.texts, dialog, &mut self.scratch);
        let hop = Uri::parse(strings.target(party)).ok().and_then(|uri| Hop::of(&uri));
        let end = dialog.end_mut(party.other());
        if let Some(hop) = hop.filter(|_| end.token == 0 && strings.routes(party).is_empty()) {
            end.token = token(strings.get(Part::CallId), strings.get(Part::CallerTag), &hop, keys);
        }
    }

    /// A dialog is over: whoever writes records hears of it, and its place is free.
    fn finish(&mut self, scene: &mut Scene<'_>, id: DialogId, reason: EndReason, code: u16, at: Time) {
        self.tell(scene, id, CallStep::Ended { reason, code }, at, None);
        self.wheel.disarm(id.slot());
        self.hang_ups.forget(id);
        let Some(dialog) = self.table.remove(id) else { return };
        self.texts.release(dialog.text);
        for end in dialog.ends {
            self.texts.release(end.moving);
        }
    }

    fn tell(
        &mut self,
        scene: &mut Scene<'_>,
        id: DialogId,
        step: CallStep,
        at: Time,
        answer: Option<&Message<'_>>,
    ) {
        let Some(dialog) = self.table.get(id).filter(|_| self.events.limit() > 0) else { return };
        let Some(event) = self.events.place(id, dialog.first, step, at, dialog.begun) else {
            scene.counters.count(Event::CallEventLost);
            return;
        };
        event.ringing = dialog.time(dialog.ringing);
        event.answered = dialog.time(dialog.answered);
        event.caller = dialog.end(Party::Caller).remote.get();
        event.callee = dialog.end(Party::Callee).remote.get();
        event.gateway = dialog.gateway.checked_sub(1);
        event.truncated = dialog.outdated;
        let strings = strings(&self.texts, dialog, &mut self.scratch);
        event.set_text(strings.text, &strings.lens);
        if let Some(facts) = answer.and_then(Message::sdp) {
            event.set_media(&facts);
        }
    }

    /// Stores the strings of a new call.
    fn keep(&mut self, scene: &mut Scene<'_>, parts: &[&[u8]; PARTS]) -> Option<(Text, [u16; PARTS])> {
        let Some(lens) = lens_of(parts) else {
            scene.counters.count(Event::DialogTooLarge);
            return None;
        };
        let Some(text) = self.texts.store(parts) else {
            scene.counters.count(Event::DialogLimit);
            return None;
        };
        Some((text, lens))
    }

    fn insert(&mut self, scene: &mut Scene<'_>, dialog: Dialog, wait: Duration) -> Option<DialogId> {
        match self.table.insert(dialog) {
            Ok(id) => {
                self.wait(id, scene.now.after(wait));
                Some(id)
            }
            Err(dialog) => {
                scene.counters.count(Event::DialogLimit);
                self.texts.release(dialog.text);
                None
            }
        }
    }

    /// Replaces strings. `false`, and all as before, when there is no room for the new ones.
    fn change(&mut self, scene: &mut Scene<'_>, id: DialogId, changes: &[(Part, &[u8])]) -> bool {
        let Some(dialog) = self.table.get_mut(id) else { return false };
        let old = strings(&self.texts, dialog, &mut self.scratch);
        let before = old.parts();
        let mut parts = before;
        for (part, value) in changes {
            if let Some(place) = parts.get_mut(*part as usize) {
                *place = value;
            }
        }
        if parts == before {
            return true;
        }
        let Some(lens) = lens_of(&parts) else {
            scene.counters.count(Event::DialogTooLarge);
            return false;
        };
        self.texts.release(core::mem::replace(&mut dialog.text, Text::EMPTY));
        match self.texts.store(&parts) {
            Some(text) => {
                dialog.text = text;
                dialog.lens = lens;
                true
            }
            None => {
                scene.counters.count(Event::DialogLimit);
                // What was there before fits again.
                dialog.text = self.texts.store(&before).unwrap_or(Text::EMPTY);
                false
            }
        }
    }

    /// What the dialog waits for at most from now on.
    fn wait(&mut self, id: DialogId, deadline: Time) {
        if let Some(dialog) = self.table.get_mut(id) {
            dialog.deadline = dialog.offset(deadline);
            self.wheel.arm(id.slot(), deadline);
        }
    }

    /// The newest dialog of a call that is such.
    fn find(&self, call: CallKey, such: impl Fn(&Dialog) -> bool) -> Option<DialogId> {
        self.table.of_call(call).find(|(_, dialog)| such(dialog)).map(|(id, _)| id)
    }

    /// The dialog that a message with these tags belongs to, and which end sent it (section 12.2.2).
    fn lookup(&self, keys: &Keys, call_id: &[u8], from: &[u8], to: &[u8]) -> Option<(DialogId, Party)> {
        let with = |caller: &[u8], callee: &[u8]| {
            let callee = callee_key(keys, callee);
            self.find(call_key(keys, call_id, caller), |dialog| dialog.callee == callee)
        };
        match with(from, to) {
            Some(id) => Some((id, Party::Caller)),
            None => with(to, from).map(|id| (id, Party::Callee)),
        }
    }
}

/// What a response says that decides.
struct Answer<'m, 'a> {
    message: &'m Message<'a>,
    code: u16,
    cseq: u32,
    call_id: &'a [u8],
    from: &'a [u8],
    to: &'a [u8],
    source: Option<Source>,
}

fn call_key(keys: &Keys, call_id: &[u8], caller: &[u8]) -> CallKey {
    CallKey(Prf::lookup(&keys.call).field(call_id).field(caller).finish())
}

/// Never [`CalleeKey::NONE`] for a tag, and always for none.
fn callee_key(keys: &Keys, callee: &[u8]) -> CalleeKey {
    if callee.is_empty() {
        return CalleeKey::NONE;
    }
    CalleeKey(Prf::lookup(&keys.call).field(callee).finish() | 1)
}

/// The lengths of strings; `None` when they are too long together.
fn lens_of(parts: &[&[u8]; PARTS]) -> Option<[u16; PARTS]> {
    let whole: usize = parts.iter().map(|part| part.len()).sum();
    (whole <= TEXT).then(|| parts.map(|part| part.len() as u16))
}

fn strings<'s>(texts: &Texts, dialog: &Dialog, scratch: &'s mut [u8; TEXT]) -> Strings<'s> {
    Strings { text: texts.read(&dialog.text, &mut scratch[..]), lens: dialog.lens }
}
