//! Being called: the UAS's side of RFC 3261 sections 8.2, 9.2 and 13.3, reliable provisional responses (RFC 3262) and
//! subscriptions (RFC 6665).

use core::net::SocketAddr;
use core::time::Duration;

use strowger_engine::Time;

use super::dialog::SDP;
use super::script::Answer;
use super::{Alarm, Phone, T1};
use crate::text::Message;
use crate::world::call_hash;

/// An INVITE that came in.
pub(crate) struct Leg {
    server: usize,
    call_id: String,
    from_tag: String,
    tag: String,
    answer: Answer,
    step: u8,
    dialog: Option<usize>,
    reliable: Option<Reliable>,
    /// After this time the final answer follows the provisional one.
    rings: Duration,
    /// Hangs up after this time.
    talk: Option<Duration>,
}

/// A provisional response that waits for its PRACK.
struct Reliable {
    bytes: Vec<u8>,
    reply_to: SocketAddr,
    rseq: u32,
    wait: Duration,
    since: Time,
    acknowledged: bool,
}

impl Phone {
    /// Whether this phone hears nothing of the call; chosen when its first INVITE comes.
    pub(super) fn plays_deaf(&mut self, message: &Message<'_>) -> bool {
        let known = self.legs.iter().any(|leg| leg.call_id == message.call_id());
        let deaf: u32 = self.temper.iter().filter(|(_, a)| *a == Answer::Mute).map(|(w, _)| w).sum();
        let all: u32 = self.temper.iter().map(|(w, _)| w).sum();
        if known || deaf == 0 || self.dice.below(u64::from(all)) >= u64::from(deaf) {
            return false;
        }
        self.deaf.insert(message.call_id().to_owned());
        self.out.deaf.push(call_hash(message.call_id()));
        true
    }

    pub(super) fn invited(&mut self, now: Time, id: usize, message: &Message<'_>) {
        let mut answer = self.dice.weighted(&self.temper);
        let credentials = message.get("Authorization").or(message.get("Proxy-Authorization"));
        let proved = message
            .values("Authorization")
            .chain(message.values("Proxy-Authorization"))
            .any(|value| value.contains(&format!("realm=\"{}\"", self.name)));
        if matches!(answer, Answer::Challenge(_)) && (credentials.is_some() && proved) {
            answer = Answer::Ring;
        }
        if answer == Answer::Mute {
            answer = Answer::Ring;
        }
        let reliable = message.values("Supported").any(|tag| tag == "100rel");
        let rings =
            if self.dice.chance(150) { self.dice.millis(8000, 40_000) } else { self.dice.millis(50, 4000) };
        let talk = self.dice.chance(400).then(|| self.dice.millis(500, 8000));
        let tag = self.new_tag();
        self.legs.push(Leg {
            server: id,
            call_id: message.call_id().to_owned(),
            from_tag: message.tag_of_from().unwrap_or_default().to_owned(),
            tag,
            answer,
            step: 0,
            dialog: None,
            reliable: None,
            rings,
            talk,
        });
        let leg = self.legs.len() - 1;
        if self.style.tries || answer == Answer::Trying {
            self.respond(now, id, (100, "Trying"), None, &[], "");
        }
        if answer == Answer::EarlyMedia && reliable {
            self.legs[leg].reliable = Some(Reliable {
                bytes: Vec::new(),
                reply_to: self.reply_to(id).unwrap_or(self.proxy),
                rseq: 1 + self.dice.below(1000) as u32,
                wait: T1,
                since: now,
                acknowledged: false,
            });
        }
        let think = self.dice.millis(0, 300);
        self.alarm(now, think, Alarm::Leg(leg));
    }

    /// The next thing that a leg does.
    pub(super) fn next_step(&mut self, now: Time, leg: usize) {
        let Leg { server, answer, step, rings, .. } = self.legs[leg];
        let tag = self.legs[leg].tag.clone();
        self.legs[leg].step += 1;
        let pending = self.servers[server].final_code.is_none();
        if !pending {
            return;
        }
        match (answer, step) {
            (Answer::AtOnce, _) | (Answer::Ring | Answer::EarlyMedia, 1..) => self.pick_up(now, leg),
            (Answer::Ring | Answer::RingForever | Answer::RingAndRefuse(_) | Answer::DieRinging, 0) => {
                let contact = self.contact();
                self.respond(now, server, (180, "Ringing"), Some(&tag), &[("Contact", contact)], "");
                if answer != Answer::RingForever {
                    self.alarm(now, rings, Alarm::Leg(leg));
                }
            }
            (Answer::EarlyMedia, 0) => {
                self.early_media(now, leg);
                self.alarm(now, rings, Alarm::Leg(leg));
            }
            (Answer::Refuse(code), _) | (Answer::RingAndRefuse(code), 1..) => {
                self.respond(now, server, (code, "Not Now"), Some(&tag), &[], "");
            }
            (Answer::Redirect, _) => {
                let contact = format!("<{}>", self.elsewhere);
                self.respond(
                    now,
                    server,
                    (302, "Moved Temporarily"),
                    Some(&tag),
                    &[("Contact", contact)],
                    "",
                );
            }
            (Answer::Challenge(code), _) => {
                let name = if code == 401 { "WWW-Authenticate" } else { "Proxy-Authenticate" };
                let value =
                    format!("Digest realm=\"{}\", nonce=\"{}\", qop=\"auth\", algorithm=MD5", self.name, tag);
                self.respond(now, server, (code, "Who Are You"), Some(&tag), &[(name, value)], "");
            }
            (Answer::DieRinging, 1..) => {
                self.dead = true;
                self.out.died = true;
            }
            (Answer::Trying | Answer::RingForever | Answer::Mute, _) => {}
        }
    }

    fn early_media(&mut self, now: Time, leg: usize) {
        let Leg { server, .. } = self.legs[leg];
        let tag = self.legs[leg].tag.clone();
        let mut lines = vec![("Contact", self.contact())];
        let rseq = self.legs[leg].reliable.as_ref().map(|r| r.rseq);
        if let Some(rseq) = rseq {
            lines.extend([("Require", "100rel".to_owned()), ("RSeq", rseq.to_string())]);
            self.leg_dialog(leg);
        }
        let sent = self.respond(now, server, (183, "Session Progress"), Some(&tag), &lines, SDP);
        if let (Some(reliable), Some(bytes)) = (&mut self.legs[leg].reliable, sent) {
            reliable.bytes = bytes;
            reliable.since = now;
            self.alarm(now, T1, Alarm::Reliable(leg));
        }
    }

    /// RFC 3262 section 3: repeated until PRACK comes; after 64*T1 the INVITE is refused.
    pub(super) fn repeat_reliable(&mut self, now: Time, leg: usize) {
        let server = self.legs[leg].server;
        let over = self.servers[server].final_code.is_some();
        let tag = self.legs[leg].tag.clone();
        let Some(reliable) = self.legs[leg].reliable.as_mut().filter(|r| !r.acknowledged && !over) else {
            return;
        };
        if now.since(reliable.since) >= 64 * T1 {
            self.respond(now, server, (500, "No PRACK"), Some(&tag), &[], "");
            return;
        }
        reliable.wait *= 2;
        let (bytes, reply_to, wait) = (reliable.bytes.clone(), reliable.reply_to, reliable.wait);
        self.send(reply_to, bytes);
        self.alarm(now, wait, Alarm::Reliable(leg));
    }

    pub(super) fn reliable_acknowledged(&mut self, message: &Message<'_>) {
        let rack = message.get("RAck").and_then(|value| value.split(' ').next()?.parse::<u32>().ok());
        for leg in &mut self.legs {
            if leg.call_id == message.call_id()
                && Some(leg.tag.as_str()) == message.tag_of_to()
                && let Some(reliable) = &mut leg.reliable
                && Some(reliable.rseq) == rack
            {
                reliable.acknowledged = true;
            }
        }
    }

    fn leg_dialog(&mut self, leg: usize) -> Option<usize> {
        if self.legs[leg].dialog.is_none() {
            let request = self.request_of(self.legs[leg].server);
            let message = Message::read(&request)?;
            let tag = self.legs[leg].tag.clone();
            self.legs[leg].dialog = Some(self.dialog_of_request(&message, &tag));
        }
        self.legs[leg].dialog
    }

    fn pick_up(&mut self, now: Time, leg: usize) {
        // RFC 3262 section 3: not while a reliable response with an offer or answer is unacknowledged.
        if self.legs[leg].reliable.as_ref().is_some_and(|r| !r.acknowledged) {
            return self.alarm(now, Duration::from_millis(500), Alarm::Leg(leg));
        }
        let Some(at) = self.leg_dialog(leg) else { return };
        let Leg { server, talk, .. } = self.legs[leg];
        let tag = self.legs[leg].tag.clone();
        self.accept_invite(now, server, at, &tag);
        let inside = if self.dice.chance(150) { vec!["INFO"] } else { vec![] };
        if talk.is_some() || !inside.is_empty() {
            self.plan_inside(now, at, inside, talk);
        }
    }

    /// Section 9.2.
    pub(super) fn cancelled(&mut self, now: Time, source: SocketAddr, message: &Message<'_>, bytes: &[u8]) {
        let Some(id) = self.accept(now, source, message, bytes) else { return };
        let Some(invite) = self.invite_of(message) else {
            let tag = self.new_tag();
            self.respond(now, id, (481, "No Such Transaction"), Some(&tag), &[], "");
            return;
        };
        let tag = self.legs.iter().find(|leg| leg.server == invite).map(|leg| leg.tag.clone());
        self.respond(now, id, (200, "OK"), tag.as_deref(), &[], "");
        if self.servers[invite].final_code.is_none() {
            self.respond(now, invite, (487, "Request Terminated"), tag.as_deref(), &[], "");
            if let Some(at) = self.legs.iter().find(|leg| leg.server == invite).and_then(|leg| leg.dialog) {
                self.dialogs[at].phase = super::dialog::Phase::Ended;
            }
        }
    }

    /// BYE in an early dialog ends the INVITE too (section 15.1.2).
    pub(super) fn end_leg_of(&mut self, now: Time, message: &Message<'_>) {
        let found = self.legs.iter().find(|leg| {
            leg.call_id == message.call_id()
                && Some(leg.tag.as_str()) == message.tag_of_to()
                && Some(leg.from_tag.as_str()) == message.tag_of_from()
        });
        if let Some((server, tag)) = found.map(|leg| (leg.server, leg.tag.clone()))
            && self.servers[server].final_code.is_none()
        {
            self.respond(now, server, (487, "Request Terminated"), Some(&tag), &[], "");
        }
    }

    /// SUBSCRIBE: 200 and a NOTIFY that says it is over (RFC 6665 section 4.2).
    pub(super) fn subscribed(&mut self, now: Time, id: usize, message: &Message<'_>) {
        let tag = self.new_tag();
        let at = self.dialog_of_request(message, &tag);
        let lines = [("Contact", self.contact()), ("Expires", "600".to_owned())];
        self.respond(now, id, (200, "OK"), Some(&tag), &lines, "");
        let extra = vec![
            ("Event", "presence".to_owned()),
            ("Subscription-State", "terminated;reason=timeout".to_owned()),
        ];
        self.send_inside(now, at, "NOTIFY", extra, "");
    }
}
