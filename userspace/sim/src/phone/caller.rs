//! Calling: the UAC's side of RFC 3261 sections 8.1, 9.1 and 13.2, and the requests outside of dialogs.

use core::time::Duration;

use strowger_engine::Time;

use super::client::{Client, Purpose, Recipe, State};
use super::dialog::SDP;
use super::script::CallPlan;
use super::{Alarm, Phone};
use crate::text::Message;

pub(crate) struct Call {
    plan: CallPlan,
    /// The client transaction of its INVITE.
    client: usize,
    /// A provisional response came: CANCEL is allowed.
    provisional: bool,
    wants_cancel: bool,
    cancels: u8,
    /// The dialog that is talked in.
    dialog: Option<usize>,
    redirected: bool,
    over: bool,
}

impl Call {
    pub(crate) fn answered(&self) -> bool {
        self.dialog.is_some()
    }
}

/// After this time without a final response a CANCEL is tried again: the first may have come before its INVITE.
const CANCEL_AGAIN: Duration = Duration::from_secs(40);
/// CANCELs for one call at most.
const CANCELS: u8 = 12;

impl Phone {
    pub(super) fn call(&mut self, now: Time, plan: CallPlan) {
        let tag = self.new_tag();
        let from = format!("\"{}\" <{}>;tag={tag}", self.name, self.aor());
        let mut extra = vec![("Contact", self.contact())];
        if plan.reliable {
            extra.push(("Supported", "100rel".to_owned()));
        }
        let recipe = Recipe {
            method: "INVITE",
            uri: plan.target.clone(),
            from,
            to: format!("<{}>", plan.target),
            call_id: self.new_call_id(),
            cseq: 1,
            routes: vec![],
            extra,
            body: SDP,
            remote: self.proxy,
        };
        let index = self.calls.len();
        if let Some(after) = plan.cancel_after {
            self.alarm(now, after, Alarm::Cancel(index));
        }
        self.alarm(now, plan.patience, Alarm::Cancel(index));
        let client = self.request(now, recipe, Purpose::Invite(index), 0);
        self.calls.push(Call {
            plan,
            client,
            provisional: false,
            wants_cancel: false,
            cancels: 0,
            dialog: None,
            redirected: false,
            over: false,
        });
    }

    pub(super) fn lose_patience(&mut self, now: Time, index: usize) {
        let Some(call) = self.calls.get_mut(index) else { return };
        let pending = matches!(self.clients[call.client].state, State::Waiting | State::Proceeding);
        if call.over || call.dialog.is_some() || !pending || call.cancels == CANCELS {
            return;
        }
        call.wants_cancel = true;
        if !call.provisional && !call.plan.hasty {
            // It is sent with the first provisional response.
            return;
        }
        // One at a time: a second one would be the same transaction.
        let busy = |c: &Client| c.purpose == Purpose::Cancel(index) && c.outcome.is_none() && !c.timed_out;
        if self.clients.iter().any(busy) {
            return;
        }
        call.cancels += 1;
        let client = call.client;
        self.alarm(now, CANCEL_AGAIN, Alarm::Cancel(index));
        self.cancel_invite(now, client, index);
    }

    pub(super) fn single(&mut self, now: Time, method: &'static str, target: &str) {
        let tag = self.new_tag();
        let from = format!("<{}>;tag={tag}", self.aor());
        let mut extra = vec![];
        match method {
            "SUBSCRIBE" => extra.extend([
                ("Event", "presence".to_owned()),
                ("Expires", "600".to_owned()),
                ("Contact", self.contact()),
            ]),
            "PUBLISH" => extra.extend([("Event", "presence".to_owned()), ("Expires", "600".to_owned())]),
            _ => {}
        }
        let recipe = Recipe {
            method,
            uri: target.to_owned(),
            from,
            to: format!("<{target}>"),
            call_id: self.new_call_id(),
            cseq: 1,
            routes: vec![],
            extra,
            body: if method == "MESSAGE" { "Good morning." } else { "" },
            remote: self.proxy,
        };
        if method == "SUBSCRIBE" {
            // Its NOTIFY may come before the 200 (RFC 6665 section 4.4.1).
            self.await_subscription(&recipe);
        }
        self.request(now, recipe, Purpose::Single, 0);
    }

    pub(super) fn provisional(&mut self, now: Time, purpose: Purpose, code: u16, message: &Message<'_>) {
        let Purpose::Invite(index) = purpose else { return };
        let call = &mut self.calls[index];
        call.provisional = true;
        let recipe = self.clients[call.client].recipe.clone();
        if call.wants_cancel && call.cancels == 0 {
            self.lose_patience(now, index);
        }
        if code == 100 {
            return;
        }
        // RFC 3262 section 4.
        let reliable = message.values("Require").any(|tag| tag == "100rel");
        let rseq = message.get("RSeq").and_then(|text| text.parse().ok());
        if let (true, Some(rseq)) = (reliable, rseq)
            && let Some(at) = self.dialog_of_response(&recipe, message)
        {
            self.prack(now, at, rseq, recipe.cseq);
        }
    }

    pub(super) fn succeeded(&mut self, now: Time, id: usize, purpose: Purpose, message: &Message<'_>) {
        let recipe = self.clients[id].recipe.clone();
        match purpose {
            Purpose::Invite(index) => self.answered(now, index, &recipe, message),
            Purpose::Inside(at) => self.inside_succeeded(at, &recipe),
            Purpose::Register => {
                self.registered(now, &recipe, message);
                self.next_register(now);
            }
            Purpose::Cancel(_) | Purpose::Single => {}
        }
    }

    /// Section 13.2.2.4: every 2xx makes a dialog, and all but one of them are ended at once.
    fn answered(&mut self, now: Time, index: usize, recipe: &Recipe, message: &Message<'_>) {
        let Some(at) = self.dialog_of_response(recipe, message) else {
            return self.fault(format!("{}: a 200 to INVITE without To tag", self.name));
        };
        let first = self.confirm(at);
        self.ack(at, recipe.cseq);
        if !first {
            return;
        }
        let call = &mut self.calls[index];
        if call.over || call.wants_cancel || call.dialog.is_some() {
            return self.hang_up(now, at);
        }
        call.dialog = Some(at);
        let (inside, talk) = (call.plan.inside.clone(), call.plan.talk);
        self.plan_inside(now, at, inside, Some(talk));
    }

    /// A final response other than 2xx, or none (`None`).
    pub(super) fn failed(
        &mut self,
        now: Time,
        id: usize,
        purpose: Purpose,
        outcome: Option<(u16, &Message<'_>)>,
    ) {
        let code = outcome.map(|(code, _)| code);
        if let (Some(401 | 407), Some((_, message))) = (code, outcome)
            && self.try_again(now, id, purpose, message)
        {
            return;
        }
        let recipe = self.clients[id].recipe.clone();
        match purpose {
            Purpose::Invite(index) => {
                if let (Some(302), Some((_, message))) = (code, outcome)
                    && let Some(contact) = message.contact()
                    && !self.calls[index].redirected
                    && !self.calls[index].wants_cancel
                {
                    return self.follow(now, index, recipe, contact.to_owned());
                }
                self.calls[index].over = true;
            }
            Purpose::Inside(at) => self.inside_failed(now, at, &recipe, code),
            Purpose::Register => {
                self.not_registered(now, &recipe, outcome);
                self.next_register(now);
            }
            Purpose::Cancel(_) | Purpose::Single => {}
        }
    }

    /// Section 8.1.3.4.
    fn follow(&mut self, now: Time, index: usize, recipe: Recipe, contact: String) {
        let recipe = Recipe { uri: contact, cseq: recipe.cseq + 1, ..recipe };
        let client = self.request(now, recipe, Purpose::Invite(index), 0);
        let call = &mut self.calls[index];
        call.client = client;
        call.redirected = true;
        call.provisional = false;
    }

    /// Section 22.2: the same request with credentials, under a new branch and the next CSeq.
    fn try_again(&mut self, now: Time, id: usize, purpose: Purpose, message: &Message<'_>) -> bool {
        let tries = self.clients[id].tries;
        if !self.learn(message) || tries >= 3 {
            return false;
        }
        let mut recipe = self.clients[id].recipe.clone();
        match purpose {
            Purpose::Inside(at) => {
                self.dialogs[at].cseq += 1;
                recipe.cseq = self.dialogs[at].cseq;
            }
            Purpose::Invite(index) if self.calls[index].wants_cancel => return false,
            Purpose::Register => recipe.cseq = self.next_register_cseq(),
            _ => recipe.cseq += 1,
        }
        let again = self.request(now, recipe, purpose, tries + 1);
        if let Purpose::Invite(index) = purpose {
            self.calls[index].client = again;
            self.calls[index].provisional = false;
        }
        true
    }
}
