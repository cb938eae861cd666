//! A phone: a user agent with one address, one user and a mind of its own.
//!
//! It follows RFC 3261 sections 8 to 17 by code that shares nothing with the node's, and complains
//! ([`Phone::verdicts`], [`Outbox::faults`]) when what it sees cannot be explained by the network. The world moves it:
//! [`Phone::receive`] for a datagram, [`Phone::wake`] for an alarm that it asked for; what it wants lies in
//! [`Phone::out`] afterwards.

mod callee;
mod caller;
mod client;
mod dialog;
mod digest;
mod registration;
pub(crate) mod script;
mod server;

use core::net::SocketAddr;
use core::time::Duration;
use std::collections::HashSet;

use strowger_engine::Time;

use crate::dice::Dice;
use crate::network::Network;
use crate::text::Message;
use crate::world::call_hash;
pub(crate) use digest::{Known, Proof, credentials_of, verify};
use script::{Binding, Deed, Style, Temper};

/// RFC 3261 table 4.
pub(crate) const T1: Duration = Duration::from_millis(500);
pub(crate) const T2: Duration = Duration::from_secs(4);
pub(crate) const T4: Duration = Duration::from_secs(5);

/// A header in what a stranger forged. Nothing that an honest party sends has it.
pub(crate) const MARK: &str = "X-Stranger";

/// What a phone asked to be woken for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Alarm {
    Client(usize, client::Timer),
    Server(usize, server::Timer),
    /// Deed with this index.
    Deed(usize),
    /// The caller has had enough of call n.
    Cancel(usize),
    /// The callee does the next thing about leg n.
    Leg(usize),
    /// The 2xx of dialog n is sent again.
    Ok(usize),
    /// The reliable provisional response of leg n is sent again.
    Reliable(usize),
    /// The next request inside dialog n.
    Inside(usize),
    /// Hangs up dialog n.
    HangUp(usize),
    /// Refreshes the registration.
    Refresh,
}

/// What a phone wants done.
#[derive(Default)]
pub(crate) struct Outbox {
    pub(crate) sends: Vec<(SocketAddr, Vec<u8>)>,
    pub(crate) alarms: Vec<(Time, Alarm)>,
    /// What must not happen, and did.
    pub(crate) faults: Vec<String>,
    /// Calls (hashed) that this phone will not hear of.
    pub(crate) deaf: Vec<u64>,
    /// It died.
    pub(crate) died: bool,
}

pub(crate) struct Phone {
    pub(crate) name: String,
    /// Where the network delivers.
    pub(crate) address: SocketAddr,
    /// What it writes into Via: another address behind a NAT.
    pub(crate) sent_by: String,
    /// Host and port of its Contacts.
    pub(crate) contact_host: String,
    pub(crate) user: String,
    pub(crate) domain: String,
    pub(crate) password: String,
    /// The address of the node that it uses.
    pub(crate) proxy: SocketAddr,
    pub(crate) style: Style,
    pub(crate) temper: Temper,
    pub(crate) binding: Option<Binding>,
    /// With the time of each after the beginning.
    pub(crate) deeds: Vec<(Duration, Deed)>,
    /// A user to send callers to.
    pub(crate) elsewhere: String,
    /// It cannot be let in: its password is wrong, its user is suspended, or it has no algorithm in common with the node.
    pub(crate) hopeless: bool,
    /// The nodes let nobody in without credentials.
    pub(crate) guarded: bool,
    pub(crate) dead: bool,
    pub(crate) out: Outbox,
    dice: Dice,
    ids: u64,
    clients: Vec<client::Client>,
    servers: Vec<server::Server>,
    calls: Vec<caller::Call>,
    legs: Vec<callee::Leg>,
    dialogs: Vec<dialog::Dialog>,
    known: Vec<Known>,
    registration: registration::Registration,
    deaf: HashSet<String>,
}

impl Phone {
    #[allow(clippy::too_many_arguments)]
    pub(crate) fn new(
        name: String,
        address: SocketAddr,
        sent_by: String,
        (user, domain, password): (String, String, String),
        proxy: SocketAddr,
        style: Style,
        temper: Temper,
        dice: Dice,
    ) -> Self {
        Self {
            name,
            address,
            sent_by,
            contact_host: address.to_string(),
            user,
            domain,
            password,
            proxy,
            style,
            temper,
            binding: None,
            deeds: Vec::new(),
            elsewhere: String::new(),
            hopeless: false,
            guarded: false,
            dead: false,
            out: Outbox::default(),
            dice,
            ids: 0,
            clients: Vec::new(),
            servers: Vec::new(),
            calls: Vec::new(),
            legs: Vec::new(),
            dialogs: Vec::new(),
            known: Vec::new(),
            registration: registration::Registration::default(),
            deaf: HashSet::new(),
        }
    }

    /// `sip:user@domain`
    pub(crate) fn aor(&self) -> String {
        format!("sip:{}@{}", self.user, self.domain)
    }

    /// Sets the alarms of everything that it means to do.
    pub(crate) fn begin_life(&mut self, now: Time) {
        for n in 0..self.deeds.len() {
            let after = self.deeds[n].0;
            self.alarm(now, after, Alarm::Deed(n));
        }
        if self.binding.is_some() {
            let after = self.dice.millis(0, 500);
            self.alarm(now, after, Alarm::Refresh);
        }
    }

    fn send(&mut self, to: SocketAddr, bytes: Vec<u8>) {
        self.out.sends.push((to, bytes));
    }

    fn alarm(&mut self, now: Time, after: Duration, alarm: Alarm) {
        self.out.alarms.push((now.after(after), alarm));
    }

    fn fault(&mut self, what: String) {
        self.out.faults.push(what);
    }

    fn new_id(&mut self) -> u64 {
        self.ids += 1;
        self.ids
    }

    fn new_branch(&mut self) -> String {
        let id = self.new_id();
        format!("z9hG4bK{:08x}{id}", self.dice.number() as u32)
    }

    fn new_tag(&mut self) -> String {
        let id = self.new_id();
        format!("{:06x}{id}", self.dice.number() as u32 & 0xff_ffff)
    }

    fn new_call_id(&mut self) -> String {
        let id = self.new_id();
        format!("{:08x}{id}@{}", self.dice.number() as u32, self.name)
    }

    /// Our Contact value for dialogs.
    fn contact(&self) -> String {
        format!("<sip:{}@{}>", self.user, self.contact_host)
    }

    /// A datagram arrived.
    pub(crate) fn receive(&mut self, now: Time, source: SocketAddr, bytes: &[u8]) {
        let Some(message) = Message::read(bytes) else {
            let mark = MARK.as_bytes();
            if !bytes.windows(mark.len()).any(|w| w.eq_ignore_ascii_case(mark)) {
                self.fault(format!("{} cannot read what it got: {}", self.name, bytes.escape_ascii()));
            }
            return;
        };
        if message.code().is_some() {
            if message.get(MARK).is_some() {
                self.fault(format!("{} got a forged response: {}", self.name, message.start));
            }
            return self.client_response(now, &message);
        }
        if self.deaf.contains(message.call_id()) {
            return self.out.deaf.push(call_hash(message.call_id()));
        }
        if message.get(MARK).is_some() {
            return self.stranger(now, source, &message, bytes);
        }
        match message.method() {
            "ACK" => {
                if !self.acknowledged(now, &message) {
                    self.dialog_acknowledged(&message);
                }
            }
            "CANCEL" => self.cancelled(now, source, &message, bytes),
            _ => {
                let forgot = message.method() == "INVITE"
                    && message.tag_of_to().is_none()
                    && self.plays_deaf(&message);
                if forgot {
                    return;
                }
                let Some(id) = self.accept(now, source, &message, bytes) else { return };
                if message.tag_of_to().is_some() {
                    self.inside_dialog(now, id, &message);
                } else {
                    self.outside_dialog(now, id, &message);
                }
            }
        }
    }

    /// A request of somebody who is not let in: a node that wants credentials must not have passed it on.
    fn stranger(&mut self, now: Time, source: SocketAddr, message: &Message<'_>, bytes: &[u8]) {
        // CANCEL is never challenged (section 22.1), and may be passed on by a proxy that does not know what it is about
        // (16.10). It must not cancel anything.
        let harmless = message.method() == "CANCEL" && self.invite_of(message).is_none();
        if (self.guarded || message.method() == "CANCEL") && !harmless {
            self.fault(format!("{} got a stranger's {}", self.name, message.start));
        }
        if message.method() == "ACK" {
            return;
        }
        if let Some(id) = self.accept(now, source, message, bytes) {
            let tag = self.new_tag();
            self.respond(now, id, (403, "Forbidden"), Some(&tag), &[], "");
        }
    }

    fn outside_dialog(&mut self, now: Time, id: usize, message: &Message<'_>) {
        match message.method() {
            "INVITE" => self.invited(now, id, message),
            "SUBSCRIBE" => self.subscribed(now, id, message),
            "MESSAGE" | "OPTIONS" | "NOTIFY" | "PUBLISH" => {
                let tag = self.new_tag();
                self.respond(now, id, (200, "OK"), Some(&tag), &[], "");
            }
            _ => {
                let tag = self.new_tag();
                self.respond(now, id, (405, "Method Not Allowed"), Some(&tag), &[], "");
            }
        }
    }

    /// An alarm went off.
    pub(crate) fn wake(&mut self, now: Time, alarm: Alarm) {
        match alarm {
            Alarm::Client(id, timer) => self.client_timer(now, id, timer),
            Alarm::Server(id, timer) => self.server_timer(now, id, timer),
            Alarm::Deed(n) => self.deed(now, n),
            Alarm::Cancel(call) => self.lose_patience(now, call),
            Alarm::Leg(leg) => self.next_step(now, leg),
            Alarm::Ok(dialog) => self.repeat_ok(now, dialog),
            Alarm::Reliable(leg) => self.repeat_reliable(now, leg),
            Alarm::Inside(dialog) => self.next_inside(now, dialog),
            Alarm::HangUp(dialog) => self.hang_up(now, dialog),
            Alarm::Refresh => self.refresh(now),
        }
    }

    fn deed(&mut self, now: Time, n: usize) {
        let Some((_, deed)) = self.deeds.get(n).cloned() else { return };
        match deed {
            Deed::Call(plan) => self.call(now, *plan),
            Deed::Single(method, target) => self.single(now, method, &target),
            Deed::Unregister => self.unregister(now, false),
            Deed::UnregisterAll => self.unregister(now, true),
            Deed::Query => self.query(now),
        }
    }

    /// What is wrong at the end of the world, when nothing is under way any more.
    /// `gone` knows the calls whose answer nobody could repeat.
    pub(crate) fn verdicts(&self, network: &Network, gone: &dyn Fn(u64) -> bool) -> Vec<String> {
        let mut wrong = Vec::new();
        let host = self.address.ip();
        for client in &self.clients {
            let call = call_hash(&client.recipe.call_id);
            if client.outcome.is_some() {
                continue;
            }
            // Whatever became of the callee, an INVITE is answered by the first node. Nobody answers another request
            // for a callee that is silent (RFC 4320).
            let excused = match client.recipe.method {
                "INVITE" if client.recipe.remote == self.proxy => {
                    network.severed_at(call, host) || gone(call)
                }
                // Whoever has no transaction for it any more may leave it unanswered (section 9.2 says SHOULD).
                "CANCEL" => self.is_answered(&client.branch) || network.severed(call),
                _ => network.severed(call),
            };
            if !excused {
                wrong.push(format!(
                    "{}: no final response to {} {} (Call-ID {}, {})",
                    self.name,
                    client.recipe.method,
                    client.recipe.uri,
                    client.recipe.call_id,
                    if client.timed_out { "timed out" } else { "still waiting" },
                ));
            }
        }
        if let Some(what) = self.registration_verdict() {
            let excused = self.hopeless
                // Its algorithm may be left out of every challenge for want of octets.
                || self.style.algorithms == 2
                || self.registration_calls().any(|call| network.severed(call_hash(call)))
                || network.severed_host(host);
            if !excused {
                wrong.push(format!("{}: {what}", self.name));
            }
        }
        for server in self.servers.iter().filter(|s| s.invite()) {
            let call = call_hash(&server.call_id);
            if server.final_code.is_none() && !network.severed_at(call, host) {
                wrong.push(format!("{}: left ringing (Call-ID {})", self.name, server.call_id));
            }
            if server.unacknowledged && !network.severed(call) {
                let code = server.final_code.unwrap_or_default();
                wrong.push(format!("{}: no ACK for its {code} (Call-ID {})", self.name, server.call_id));
            }
        }
        for dialog in &self.dialogs {
            let call = call_hash(&dialog.call_id);
            if network.severed(call) {
                continue;
            }
            if dialog.unacknowledged {
                wrong.push(format!("{}: no ACK for its 2xx (Call-ID {})", self.name, dialog.call_id));
            }
            if dialog.up() {
                wrong.push(format!("{}: a call is still up (Call-ID {})", self.name, dialog.call_id));
            }
        }
        wrong
    }

    /// The calls that it answered with 2xx.
    pub(crate) fn answered_hashes(&self) -> impl Iterator<Item = u64> {
        let answered = |s: &&server::Server| s.invite() && s.final_code.is_some_and(|code| code < 300);
        self.servers.iter().filter(answered).map(|s| call_hash(&s.call_id))
    }

    /// Every call that it had to do with.
    pub(crate) fn call_hashes(&self) -> Vec<u64> {
        let own = self.clients.iter().map(|c| c.recipe.call_id.as_str());
        own.chain(self.servers.iter().map(|s| s.call_id.as_str())).map(call_hash).collect()
    }

    /// Calls that were answered, for a report of what a run covered.
    pub(crate) fn answered_calls(&self) -> usize {
        self.calls.iter().filter(|c| c.answered()).count()
    }
}
