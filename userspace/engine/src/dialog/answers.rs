//! What responses do to dialogs: make them (RFC 3261 section 12.1), move their ends (12.2), keep their sessions (RFC 4028),
//! and end them (RFC 3261 section 15).
//!
//! Called by [`Dialogs::response`] for a response that is sent back.

use core::time::Duration;

use strowger_sip::{Message, Refresher};

use super::entry::{Dialog, End, State};
use super::event::{CallStep, EndReason, Part, Party};
use super::read::{Learned, contact, records_us_alone, target_of};
use super::table::{CallKey, CalleeKey, DialogId};
use super::texts::Text;
use super::{Answer, Dialogs, FORKS, LINGER, NO_ANSWER, Scene, TEXT, call_key, callee_key, lens_of, strings};
use crate::counters::Event;
use crate::time::Time;

impl Dialogs {
    pub(super) fn invite_answered(&mut self, scene: &mut Scene<'_>, answer: &Answer<'_, '_>) {
        let call = call_key(scene.keys, answer.call_id, answer.from);
        let callee = callee_key(scene.keys, answer.to);
        let first = |d: &Dialog| d.is_unanswered() && d.invite == answer.cseq;
        if self.find(call, |d| d.invite == answer.cseq).is_none() {
            return self.refreshed(scene, answer);
        }
        if answer.code >= 300 {
            return self.failed(scene, answer.call_id, answer.from, answer.cseq, answer.code);
        }
        let known = self.find(call, |d| d.callee == callee && d.invite == answer.cseq);
        let id = match known {
            Some(id) => id,
            // The first of its callees gets the entry of the INVITE, the others one of their own.
            None => match self.find(call, |d| first(d) && d.callee == CalleeKey::NONE) {
                Some(id) if answer.to.is_empty() => id,
                Some(id) => {
                    let whole = self.change(scene, id, &[(Part::CalleeTag, answer.to)]);
                    if let Some(dialog) = self.table.get_mut(id) {
                        dialog.outdated |= !whole;
                    }
                    id
                }
                None => match self.fork(scene, call, answer) {
                    Some(id) => id,
                    None => return,
                },
            },
        };
        let Some(dialog) = self.table.get_mut(id) else { return };
        // A 2xx sent again (section 13.3.1.4), or a provisional response that was overtaken.
        if !dialog.is_unanswered() {
            return;
        }
        dialog.callee = callee;
        if let Some(source) = answer.source {
            dialog.heard(Party::Callee, source, 0);
        }
        if !answer.to.is_empty() {
            dialog.state = State::Early;
        }
        if answer.code >= 200 {
            return self.confirm(scene, id, answer);
        }
        let rings = dialog.ringing == 0;
        if rings {
            dialog.ringing = dialog.offset(scene.now);
        }
        // Timer C begins anew (section 16.7 item 2).
        if !dialog.lost {
            dialog.deadline = dialog.offset(scene.now.after(NO_ANSWER));
        }
        if rings {
            self.tell(scene, id, CallStep::Ringing(answer.code), scene.now, None);
        }
    }

    /// Another callee of an INVITE that has one.
    fn fork(&mut self, scene: &mut Scene<'_>, call: CallKey, answer: &Answer<'_, '_>) -> Option<DialogId> {
        let mut branches = 0;
        let mut first = None;
        for (id, dialog) in self.table.of_call(call).filter(|(_, d)| d.invite == answer.cseq) {
            branches += 1;
            if dialog.first == id || first.is_none() {
                first = Some(id);
            }
        }
        if branches >= FORKS {
            scene.counters.count(Event::DialogForkLimit);
            return None;
        }
        let dialog = self.table.get(first?)?;
        let strings = strings(&self.texts, dialog, &mut self.scratch);
        let mut parts = strings.parts();
        for (part, value) in parts.iter_mut().zip(0..) {
            let of_callee = [Part::CalleeTag, Part::CalleeTarget, Part::CallerRoutes, Part::CalleeRoutes];
            if of_callee.iter().any(|p| *p as usize == value) {
                *part = b"";
            }
        }
        if let Some(tag) = parts.get_mut(Part::CalleeTag as usize) {
            *tag = answer.to;
        }
        let lens = lens_of(&parts)?;
        let Some(text) = self.texts.store(&parts) else {
            scene.counters.count(Event::DialogLimit);
            return None;
        };
        let [caller, _] = &dialog.ends;
        let caller = End { moving: Text::EMPTY, ..*caller };
        let forked = Dialog {
            call,
            callee: callee_key(scene.keys, answer.to),
            first: dialog.first,
            begun: dialog.begun,
            deadline: 0,
            text,
            lens,
            state: State::Early,
            ends: [caller, End::new()],
            invite: dialog.invite,
            ringing: 0,
            answered: 0,
            hung_up: 0,
            session: 0,
            expires: dialog.expires,
            gateway: dialog.gateway,
            canceled: dialog.canceled,
            caller_refreshes: false,
            lost: !dialog.is_unanswered(),
            outdated: false,
        };
        let wait = if forked.lost { LINGER } else { NO_ANSWER };
        self.insert(scene, forked, wait)
    }

    /// A 2xx makes the dialog (section 13.2.2.4).
    fn confirm(&mut self, scene: &mut Scene<'_>, id: DialogId, answer: &Answer<'_, '_>) {
        // The text of route sets is long, and most calls have no other router on their way.
        let others;
        let (caller_routes, callee_routes, through_us, learned) =
            if records_us_alone(answer.message, scene.site) {
                (&b""[..], &b""[..], true, true)
            } else {
                others = Learned::read(answer.message, scene.site);
                let of = |party| others.routes(party);
                (of(Party::Caller), of(Party::Callee), others.through_us, others.whole)
            };
        let target = contact(answer.message).unwrap_or_default();
        let whole = self.change(
            scene,
            id,
            &[
                (Part::CalleeTag, answer.to),
                (Part::CalleeTarget, target),
                (Part::CallerRoutes, caller_routes),
                (Part::CalleeRoutes, callee_routes),
            ],
        );
        let Some(dialog) = self.table.get_mut(id) else { return };
        let (call, invite) = (dialog.call, dialog.invite);
        dialog.state = State::Confirmed;
        dialog.lost = false;
        dialog.answered = dialog.offset(scene.now);
        dialog.outdated = !whole || !learned;
        // The caller of this dialog may have sent PRACK before; the INVITE is the least it sent.
        let end = dialog.end_mut(Party::Caller);
        end.cseq = end.cseq.max(invite);
        self.tell(scene, id, CallStep::Answered(answer.code), scene.now, Some(answer.message));
        if !through_us {
            self.finish(scene, id, EndReason::OffPath, answer.code, scene.now);
        } else {
            self.timed(scene.now, id, Party::Caller, answer.message);
        }
        while let Some(other) = self.find(call, |d| d.is_unanswered() && d.invite == invite && !d.lost) {
            let Some(dialog) = self.table.get_mut(other) else { return };
            dialog.lost = true;
            self.wait(other, scene.now.after(LINGER));
        }
    }

    /// The response to a re-INVITE or UPDATE. What is refused changes nothing (section 14.1).
    pub(super) fn refreshed(&mut self, scene: &mut Scene<'_>, answer: &Answer<'_, '_>) {
        let found = self.lookup(scene.keys, answer.call_id, answer.from, answer.to);
        let Some((id, sender)) = found.filter(|_| answer.code >= 200) else { return };
        let Some(dialog) = self.table.get_mut(id) else { return };
        if matches!(dialog.state, State::Killing(_)) {
            return;
        }
        let other = sender.other();
        if let Some(source) = answer.source {
            dialog.heard(other, source, 0);
        }
        let end = dialog.end_mut(sender);
        let moved =
            (end.moving_cseq == answer.cseq).then(|| core::mem::replace(&mut end.moving, Text::EMPTY));
        if answer.code < 300 {
            if let Some(moved) = moved.as_ref().filter(|moved| !moved.is_empty()) {
                let mut place = [0; TEXT];
                let target = self.texts.read(moved, &mut place);
                self.retarget(scene, id, sender, target);
            }
            if let Some(target) = contact(answer.message) {
                self.retarget(scene, id, other, target);
            }
            self.timed(scene.now, id, sender, answer.message);
        }
        if let Some(moved) = moved {
            self.texts.release(moved);
        }
    }

    /// An end can be reached somewhere else from now on.
    fn retarget(&mut self, scene: &mut Scene<'_>, id: DialogId, party: Party, target: &[u8]) {
        let Some(dialog) = self.table.get(id) else { return };
        if strings(&self.texts, dialog, &mut self.scratch).target(party) == target {
            return;
        }
        self.keep_token(scene.keys, id, party);
        let whole = self.change(scene, id, &[(target_of(party), target)]);
        if let Some(dialog) = self.table.get_mut(id) {
            dialog.outdated |= !whole;
        }
    }

    /// The session timer that a 2xx to a request of `sender` sets or ends (RFC 4028 section 8.2), and with it when the
    /// dialog ends by itself.
    fn timed(&mut self, now: Time, id: DialogId, sender: Party, message: &Message<'_>) {
        let Some(dialog) = self.table.get_mut(id) else { return };
        let session = message.session_expires().ok().flatten();
        dialog.session = session.map_or(0, |session| session.seconds);
        let refresher = match session.and_then(|session| session.refresher) {
            Some(Refresher::Uac) => sender,
            Some(Refresher::Uas) | None => sender.other(),
        };
        dialog.caller_refreshes = refresher == Party::Caller;
        let last = dialog.begun.after(self.longest);
        let deadline = match dialog.session {
            0 => last,
            seconds => now.after(Duration::from_secs(u64::from(seconds))).min(last),
        };
        dialog.expires = dialog.offset(deadline);
        if dialog.state == State::Confirmed {
            self.wait(id, deadline);
        }
    }

    /// The response to a BYE. Any but a success, a timeout and "no such dialog" leaves the dialog to its sender, who
    /// may try again (sections 12.2.1.2 and 15.1.1).
    pub(super) fn bye_answered(&mut self, scene: &mut Scene<'_>, answer: &Answer<'_, '_>) {
        let found = self.lookup(scene.keys, answer.call_id, answer.from, answer.to);
        let Some((id, sender)) = found.filter(|_| answer.code >= 200) else { return };
        let Some(dialog) = self.table.get_mut(id) else { return };
        if dialog.state != State::Ending(sender) {
            return;
        }
        match answer.code {
            200..300 | 408 | 481 => {
                let at = dialog.time(dialog.hung_up).unwrap_or(scene.now);
                self.finish(scene, id, EndReason::Bye(sender), answer.code, at);
            }
            _ => {
                dialog.state = if dialog.answered == 0 { State::Early } else { State::Confirmed };
                dialog.hung_up = 0;
                let deadline = dialog.time(dialog.expires).unwrap_or(scene.now);
                self.wait(id, deadline);
            }
        }
    }
}
