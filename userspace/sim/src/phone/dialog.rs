//! Dialogs of a phone: RFC 3261 sections 12 to 15, the 2xx that is repeated until its ACK, requests inside.

use core::net::SocketAddr;
use core::time::Duration;

use strowger_engine::Time;

use super::client::{Purpose, Recipe};
use super::{Alarm, Phone, T1, T2};
use crate::text::{Message, address_of, param, uri_of};

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Phase {
    #[default]
    Early,
    Confirmed,
    Ended,
}

/// A 2xx to INVITE that waits for its ACK.
struct Pending {
    bytes: Vec<u8>,
    reply_to: SocketAddr,
    cseq: u32,
    wait: Duration,
    since: Time,
}

#[derive(Default)]
pub(crate) struct Dialog {
    pub(crate) call_id: String,
    /// Value of From in what we send.
    pub(crate) local: String,
    /// Value of To in what we send.
    pub(crate) remote: String,
    target: String,
    routes: Vec<String>,
    pub(crate) cseq: u32,
    remote_cseq: u32,
    pub(crate) phase: Phase,
    /// A subscription: no BYE ends it.
    subscription: bool,
    pending: Option<Pending>,
    /// The ACK that was sent last, and for which CSeq.
    ack: Option<(u32, Vec<u8>, SocketAddr)>,
    /// A 2xx of ours never got its ACK.
    pub(crate) unacknowledged: bool,
    /// An INVITE of ours is under way.
    inviting: bool,
    inside: Vec<&'static str>,
    talk: Option<Duration>,
    /// The last RSeq that was answered with PRACK.
    rseq: u32,
}

impl Dialog {
    /// A call that nobody has ended.
    pub(crate) fn up(&self) -> bool {
        self.phase == Phase::Confirmed && !self.subscription
    }
}

impl Phone {
    /// Finds or makes the dialog that a response to our request establishes (section 12.1.2).
    pub(super) fn dialog_of_response(&mut self, recipe: &Recipe, message: &Message<'_>) -> Option<usize> {
        let tag = message.tag_of_to()?;
        let known = |d: &Dialog| d.call_id == recipe.call_id && param(&d.remote, "tag") == Some(tag);
        if let Some(at) = self.dialogs.iter().position(known) {
            if let Some(contact) = message.contact() {
                self.dialogs[at].target = contact.to_owned();
            }
            return Some(at);
        }
        let mut routes: Vec<_> = message.values("Record-Route").map(str::to_owned).collect();
        routes.reverse();
        self.dialogs.push(Dialog {
            call_id: recipe.call_id.clone(),
            local: recipe.from.clone(),
            remote: message.get("To")?.to_owned(),
            target: message.contact().unwrap_or(&recipe.uri).to_owned(),
            routes,
            cseq: recipe.cseq,
            remote_cseq: 0,
            phase: Phase::Early,
            subscription: recipe.method == "SUBSCRIBE",
            ..Dialog::default()
        });
        Some(self.dialogs.len() - 1)
    }

    /// The dialog that a request to us establishes (section 12.1.1).
    pub(super) fn dialog_of_request(&mut self, message: &Message<'_>, tag: &str) -> usize {
        let to = message.get("To").unwrap_or_default();
        self.dialogs.push(Dialog {
            call_id: message.call_id().to_owned(),
            local: format!("{to};tag={tag}"),
            remote: message.get("From").unwrap_or_default().to_owned(),
            target: message
                .contact()
                .unwrap_or_else(|| uri_of(message.get("From").unwrap_or_default()))
                .to_owned(),
            routes: message.values("Record-Route").map(str::to_owned).collect(),
            cseq: 100,
            remote_cseq: message.cseq().map_or(0, |(number, _)| number),
            phase: Phase::Early,
            subscription: message.method() == "SUBSCRIBE",
            ..Dialog::default()
        });
        self.dialogs.len() - 1
    }

    /// The dialog of a subscription of ours, before its other end is known.
    pub(super) fn await_subscription(&mut self, recipe: &Recipe) {
        self.dialogs.push(Dialog {
            call_id: recipe.call_id.clone(),
            local: recipe.from.clone(),
            remote: recipe.to.clone(),
            target: recipe.uri.clone(),
            routes: vec![],
            cseq: recipe.cseq,
            remote_cseq: 0,
            phase: Phase::Confirmed,
            subscription: true,
            ..Dialog::default()
        });
    }

    /// What is done inside once the dialog is confirmed: requests, one a second, then BYE after `talk`.
    pub(super) fn plan_inside(
        &mut self,
        now: Time,
        at: usize,
        inside: Vec<&'static str>,
        talk: Option<Duration>,
    ) {
        let dialog = &mut self.dialogs[at];
        dialog.inside = inside;
        dialog.talk = talk;
        if dialog.inside.is_empty() {
            if let Some(talk) = talk {
                self.alarm(now, talk, Alarm::HangUp(at));
            }
        } else {
            self.alarm(now, Duration::from_secs(1), Alarm::Inside(at));
        }
    }

    pub(super) fn next_inside(&mut self, now: Time, at: usize) {
        let Some(dialog) = self.dialogs.get_mut(at).filter(|d| d.up() && !d.inviting) else {
            // An INVITE of ours is still under way: look again.
            if self.dialogs.get(at).is_some_and(Dialog::up) {
                self.alarm(now, Duration::from_secs(1), Alarm::Inside(at));
            }
            return;
        };
        match dialog.inside.pop() {
            Some(method) => {
                dialog.inviting = method == "INVITE";
                let body = if method == "INVITE" || method == "UPDATE" { SDP } else { "" };
                self.send_inside(now, at, method, vec![], body);
                self.alarm(now, Duration::from_secs(1), Alarm::Inside(at));
            }
            None => {
                if let Some(talk) = dialog.talk {
                    self.alarm(now, talk, Alarm::HangUp(at));
                }
            }
        }
    }

    pub(super) fn hang_up(&mut self, now: Time, at: usize) {
        if !self.dialogs.get(at).is_some_and(Dialog::up) {
            return;
        }
        // Section 15: the callee must not send BYE before its 2xx was acknowledged or given up.
        if self.dialogs[at].pending.is_some() {
            return self.alarm(now, Duration::from_millis(700), Alarm::HangUp(at));
        }
        self.dialogs[at].phase = Phase::Ended;
        self.send_inside(now, at, "BYE", vec![], "");
    }

    /// A request inside the dialog (section 12.2.1.1).
    pub(super) fn send_inside(
        &mut self,
        now: Time,
        at: usize,
        method: &'static str,
        mut extra: Vec<(&'static str, String)>,
        body: &'static str,
    ) {
        let contact = self.contact();
        let dialog = &mut self.dialogs[at];
        dialog.cseq += 1;
        if matches!(method, "INVITE" | "UPDATE" | "NOTIFY") {
            extra.push(("Contact", contact));
        }
        let recipe = dialog.recipe(method, dialog.cseq, extra, body, self.proxy);
        self.request(now, recipe, Purpose::Inside(at), 0);
    }

    /// Sends the ACK for a 2xx, or the same one again (section 13.2.2.4).
    pub(super) fn ack(&mut self, at: usize, cseq: u32) {
        if let Some((acked, bytes, remote)) = &self.dialogs[at].ack
            && *acked == cseq
        {
            let (bytes, remote) = (bytes.clone(), *remote);
            return self.send(remote, bytes);
        }
        let recipe = self.dialogs[at].recipe("ACK", cseq, vec![], "", self.proxy);
        let branch = self.new_branch();
        let bytes = self.begin(&recipe, &branch).finish("");
        self.dialogs[at].ack = Some((cseq, bytes.clone(), recipe.remote));
        self.send(recipe.remote, bytes);
    }

    /// Answers the INVITE of server transaction `id` with 200 and repeats it until the ACK comes (section 13.3.1.4).
    pub(super) fn accept_invite(&mut self, now: Time, id: usize, at: usize, tag: &str) {
        let contact = self.contact();
        let lines = [("Contact", contact), ("Supported", "100rel".to_owned())];
        let request = self.request_of(id);
        let Some(cseq) = Message::read(&request).and_then(|m| m.cseq()).map(|(number, _)| number) else {
            return;
        };
        let (Some(reply_to), Some(bytes)) =
            (self.reply_to(id), self.respond(now, id, (200, "OK"), Some(tag), &lines, SDP))
        else {
            return;
        };
        let dialog = &mut self.dialogs[at];
        dialog.phase = if dialog.phase == Phase::Ended { Phase::Ended } else { Phase::Confirmed };
        dialog.pending = Some(Pending { bytes, reply_to, cseq, wait: T1, since: now });
        self.alarm(now, T1, Alarm::Ok(at));
    }

    pub(super) fn repeat_ok(&mut self, now: Time, at: usize) {
        let dialog = &mut self.dialogs[at];
        let Some(pending) = &mut dialog.pending else { return };
        if now.since(pending.since) >= 64 * T1 {
            dialog.pending = None;
            // A BYE that came first ends the waiting too.
            if dialog.phase == Phase::Confirmed {
                dialog.unacknowledged = true;
                self.hang_up(now, at);
            }
            return;
        }
        pending.wait = (pending.wait * 2).min(T2);
        let (bytes, reply_to, wait) = (pending.bytes.clone(), pending.reply_to, pending.wait);
        if dialog.phase == Phase::Confirmed {
            self.send(reply_to, bytes);
        }
        self.alarm(now, wait, Alarm::Ok(at));
    }

    pub(super) fn dialog_acknowledged(&mut self, message: &Message<'_>) {
        let cseq = message.cseq().map(|(number, _)| number);
        if let Some(at) = self.find_dialog(message)
            && self.dialogs[at].pending.as_ref().is_some_and(|p| Some(p.cseq) == cseq)
        {
            self.dialogs[at].pending = None;
        }
    }

    /// The dialog that a request of the other side is in.
    fn find_dialog(&self, message: &Message<'_>) -> Option<usize> {
        let (mine, theirs) = (message.tag_of_to()?, message.tag_of_from()?);
        self.dialogs.iter().position(|d| {
            d.call_id == message.call_id()
                && param(&d.local, "tag") == Some(mine)
                // A NOTIFY can be first (RFC 6665 section 4.4.1): the tag of the other side is not known yet.
                && param(&d.remote, "tag").is_none_or(|tag| tag == theirs)
        })
    }

    /// A request with a To tag (section 12.2.2).
    pub(super) fn inside_dialog(&mut self, now: Time, id: usize, message: &Message<'_>) {
        let Some(at) = self.find_dialog(message) else {
            self.respond(now, id, (481, "Call/Transaction Does Not Exist"), None, &[], "");
            return;
        };
        let number = message.cseq().map_or(0, |(number, _)| number);
        let dialog = &mut self.dialogs[at];
        if number < dialog.remote_cseq {
            self.respond(now, id, (500, "CSeq Out of Order"), None, &[("Retry-After", "1".into())], "");
            return;
        }
        dialog.remote_cseq = number;
        match message.method() {
            "BYE" => {
                dialog.phase = Phase::Ended;
                self.respond(now, id, (200, "OK"), None, &[], "");
                self.end_leg_of(now, message);
            }
            _ if dialog.phase == Phase::Ended && !dialog.subscription => {
                self.respond(now, id, (481, "Call/Transaction Does Not Exist"), None, &[], "");
            }
            "INVITE" if dialog.inviting || dialog.pending.is_some() => {
                self.respond(now, id, (491, "Request Pending"), None, &[], "");
            }
            "INVITE" => {
                let tag = param(&dialog.local, "tag").unwrap_or_default().to_owned();
                self.accept_invite(now, id, at, &tag);
            }
            "PRACK" => {
                self.respond(now, id, (200, "OK"), None, &[], "");
                self.reliable_acknowledged(message);
            }
            _ => {
                let contact = self.contact();
                self.respond(now, id, (200, "OK"), None, &[("Contact", contact)], "");
            }
        }
    }

    /// The outcome of a request inside a dialog.
    pub(super) fn inside_succeeded(&mut self, at: usize, recipe: &Recipe) {
        if recipe.method == "INVITE" {
            self.dialogs[at].inviting = false;
            self.ack(at, recipe.cseq);
        }
    }

    pub(super) fn inside_failed(&mut self, now: Time, at: usize, recipe: &Recipe, code: Option<u16>) {
        if recipe.method == "INVITE" {
            self.dialogs[at].inviting = false;
        }
        // Section 12.2.1.2: 481, 408 or nothing at all ends the dialog.
        if matches!(code, None | Some(408 | 481)) && self.dialogs[at].up() {
            self.hang_up(now, at);
        }
    }

    /// Whether a reliable provisional response is new to this dialog; PRACK is sent when it is.
    pub(super) fn prack(&mut self, now: Time, at: usize, rseq: u32, invite: u32) {
        let dialog = &mut self.dialogs[at];
        if rseq <= dialog.rseq {
            return;
        }
        dialog.rseq = rseq;
        self.send_inside(now, at, "PRACK", vec![("RAck", format!("{rseq} {invite} INVITE"))], "");
    }

    /// A CSeq number was used outside of the dialog's own counting (PRACK counts on from it).
    pub(super) fn confirm(&mut self, at: usize) -> bool {
        let dialog = &mut self.dialogs[at];
        let first = dialog.phase == Phase::Early;
        if first {
            dialog.phase = Phase::Confirmed;
        }
        first
    }
}

impl Dialog {
    fn recipe(
        &self,
        method: &'static str,
        cseq: u32,
        extra: Vec<(&'static str, String)>,
        body: &'static str,
        proxy: SocketAddr,
    ) -> Recipe {
        let next = self.routes.first().map_or(self.target.as_str(), |route| uri_of(route));
        Recipe {
            method,
            uri: self.target.clone(),
            from: self.local.clone(),
            to: self.remote.clone(),
            call_id: self.call_id.clone(),
            cseq,
            routes: self.routes.clone(),
            extra,
            body,
            remote: address_of(next).unwrap_or(proxy),
        }
    }
}

/// A session description that nobody reads.
pub(super) const SDP: &str =
    "v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\nm=audio 4000 RTP/AVP 0\r\n";
