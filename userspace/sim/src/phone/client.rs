//! Client transactions of a phone: RFC 3261 section 17.1 with RFC 6026.

use core::net::SocketAddr;
use core::time::Duration;

use strowger_engine::Time;

use super::{Alarm, Phone, T1, T2, T4};
use crate::text::{Draft, Message};

/// Everything of a request but what changes from try to try: Via, credentials.
#[derive(Clone, Debug)]
pub(crate) struct Recipe {
    pub(crate) method: &'static str,
    pub(crate) uri: String,
    /// Whole value of From, with its tag.
    pub(crate) from: String,
    /// Whole value of To.
    pub(crate) to: String,
    pub(crate) call_id: String,
    pub(crate) cseq: u32,
    pub(crate) routes: Vec<String>,
    pub(crate) extra: Vec<(&'static str, String)>,
    pub(crate) body: &'static str,
    pub(crate) remote: SocketAddr,
}

/// Whom the outcome is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    Register,
    /// Index of the call.
    Invite(usize),
    Cancel(usize),
    /// Index of the dialog.
    Inside(usize),
    Single,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// Calling, or Trying.
    Waiting,
    Proceeding,
    Completed,
    /// RFC 6026.
    Accepted,
    Terminated,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Timer {
    /// A or E: send again.
    Repeat,
    /// B or F: give up.
    GiveUp,
    /// D, K or M: forget it.
    Forget,
}

pub(crate) struct Client {
    pub(crate) recipe: Recipe,
    pub(crate) purpose: Purpose,
    pub(crate) state: State,
    pub(crate) branch: String,
    bytes: Vec<u8>,
    wait: Duration,
    /// A final response came.
    pub(crate) outcome: Option<u16>,
    /// Gave up waiting.
    pub(crate) timed_out: bool,
    /// How often it was sent with other credentials.
    pub(crate) tries: u8,
}

impl Client {
    fn invite(&self) -> bool {
        self.recipe.method == "INVITE"
    }
}

const ALLOW: &str =
    "INVITE, ACK, CANCEL, BYE, OPTIONS, PRACK, UPDATE, INFO, MESSAGE, SUBSCRIBE, NOTIFY, REFER";

impl Phone {
    /// Begins a transaction; returns its index.
    pub(crate) fn request(&mut self, now: Time, recipe: Recipe, purpose: Purpose, tries: u8) -> usize {
        let branch = self.new_branch();
        self.request_with(now, recipe, purpose, tries, branch)
    }

    fn request_with(
        &mut self,
        now: Time,
        recipe: Recipe,
        purpose: Purpose,
        tries: u8,
        branch: String,
    ) -> usize {
        let mut draft = self.begin(&recipe, &branch);
        for (name, value) in &recipe.extra {
            draft.line(name, value);
        }
        if self.style.wordy && recipe.method != "CANCEL" {
            draft.line("Allow", ALLOW).line("Supported", "replaces, outbound, gruu, path, timer, norefersub");
        }
        // CANCEL is not authenticated (section 22.1); ACK repeats what its INVITE had.
        if recipe.method != "CANCEL" {
            for (name, value) in self.credentials(recipe.method, &recipe.uri, tries) {
                draft.line(name, value);
            }
        }
        let bytes = draft.finish(recipe.body);
        self.send(recipe.remote, bytes.clone());
        let id = self.clients.len();
        self.alarm(now, T1, Alarm::Client(id, Timer::Repeat));
        self.alarm(now, 64 * T1, Alarm::Client(id, Timer::GiveUp));
        self.clients.push(Client {
            recipe,
            purpose,
            state: State::Waiting,
            branch,
            bytes,
            wait: T1,
            outcome: None,
            timed_out: false,
            tries,
        });
        id
    }

    /// Whether the INVITE with this branch has its final response.
    pub(super) fn is_answered(&self, branch: &str) -> bool {
        self.clients.iter().any(|c| c.branch == branch && c.recipe.method == "INVITE" && c.outcome.is_some())
    }

    /// Whether a REGISTER is under way.
    pub(super) fn registering(&self) -> bool {
        let waits = |c: &Client| matches!(c.state, State::Waiting | State::Proceeding);
        self.clients.iter().any(|c| c.purpose == Purpose::Register && waits(c))
    }

    /// Start line, Via, Max-Forwards, the identifying headers and Route.
    pub(crate) fn begin(&self, recipe: &Recipe, branch: &str) -> Draft {
        let mut draft = Draft::new(&format!("{} {} SIP/2.0", recipe.method, recipe.uri), self.style.compact);
        let rport = if self.style.rport { ";rport" } else { "" };
        draft.line("Via", format_args!("SIP/2.0/UDP {};branch={branch}{rport}", self.sent_by));
        draft.line("Max-Forwards", 70);
        for route in &recipe.routes {
            draft.line("Route", route);
        }
        draft.line("From", &recipe.from).line("To", &recipe.to).line("Call-ID", &recipe.call_id);
        draft.line("CSeq", format_args!("{} {}", recipe.cseq, recipe.method));
        draft.line("User-Agent", "Telephone of the simulated world 1.0");
        draft
    }

    /// CANCEL of an INVITE that is under way (section 9.1): its own transaction with the same branch.
    pub(crate) fn cancel_invite(&mut self, now: Time, invite: usize, call: usize) {
        let client = &self.clients[invite];
        let recipe = Recipe { method: "CANCEL", extra: vec![], body: "", ..client.recipe.clone() };
        let branch = client.branch.clone();
        self.request_with(now, recipe, Purpose::Cancel(call), 0, branch);
    }

    /// Section 17.1.1.3: the ACK of a non-2xx is part of the transaction.
    fn ack_refusal(&mut self, id: usize, response: &Message<'_>) {
        let client = &self.clients[id];
        let to = response.get("To").unwrap_or_default().to_owned();
        let recipe = Recipe { method: "ACK", extra: vec![], body: "", to, ..client.recipe.clone() };
        let bytes = self.begin(&recipe, &client.branch).finish("");
        self.send(recipe.remote, bytes);
    }

    pub(super) fn client_timer(&mut self, now: Time, id: usize, timer: Timer) {
        let Some(client) = self.clients.get_mut(id) else { return };
        match (timer, client.state) {
            (Timer::Repeat, State::Waiting | State::Proceeding) => {
                // Timer A stops with the first provisional response, E goes on at T2.
                if client.state == State::Proceeding && client.invite() {
                    return;
                }
                client.wait *= 2;
                if !client.invite() {
                    client.wait = if client.state == State::Proceeding { T2 } else { client.wait.min(T2) };
                }
                let (bytes, remote, wait) = (client.bytes.clone(), client.recipe.remote, client.wait);
                self.send(remote, bytes);
                self.alarm(now, wait, Alarm::Client(id, Timer::Repeat));
            }
            (Timer::GiveUp, State::Waiting | State::Proceeding) => {
                // Timer B counts in Calling alone, Timer F in both states.
                if client.state == State::Proceeding && client.invite() {
                    return;
                }
                client.state = State::Terminated;
                client.timed_out = true;
                let purpose = client.purpose;
                self.failed(now, id, purpose, None);
            }
            (Timer::Forget, _) => client.state = State::Terminated,
            _ => {}
        }
    }

    /// A response from the network.
    pub(super) fn client_response(&mut self, now: Time, message: &Message<'_>) {
        let (Some(via), Some(code)) = (message.top_via(), message.code()) else { return };
        let method = message.method();
        let found = self.clients.iter().rposition(|c| c.branch == via.branch && c.recipe.method == method);
        let Some(id) = found else { return };
        if message.second_via().is_some() || via.sent_by != self.sent_by {
            self.fault(format!(
                "{} got a response with the Vias of somebody else: {}",
                self.name, message.start
            ));
            return;
        }
        let client = &mut self.clients[id];
        let (invite, purpose) = (client.invite(), client.purpose);
        match (client.state, code) {
            (State::Waiting | State::Proceeding, 100..=199) => {
                client.state = State::Proceeding;
                self.provisional(now, purpose, code, message);
            }
            (State::Waiting | State::Proceeding, 200..=299) => {
                client.outcome = Some(code);
                client.state = if invite { State::Accepted } else { State::Completed };
                self.alarm(now, if invite { 64 * T1 } else { T4 }, Alarm::Client(id, Timer::Forget));
                self.succeeded(now, id, purpose, message);
            }
            // RFC 6026 section 7.2: every 2xx that follows is for the core.
            (State::Accepted, 200..=299) => self.succeeded(now, id, purpose, message),
            (State::Waiting | State::Proceeding, _) => {
                client.outcome = Some(code);
                client.state = State::Completed;
                if invite {
                    self.ack_refusal(id, message);
                }
                self.alarm(now, if invite { 64 * T1 } else { T4 }, Alarm::Client(id, Timer::Forget));
                self.failed(now, id, purpose, Some((code, message)));
            }
            (State::Completed, 300..=699) if invite => self.ack_refusal(id, message),
            (State::Completed, 200..=299) if invite => {
                // Section 16.7 item 5: a 2xx can follow another final response through a proxy that forked. The
                // transaction is over, but a call that nobody acknowledges would stay up at the other end.
                self.succeeded(now, id, purpose, message);
            }
            _ => {}
        }
    }
}
