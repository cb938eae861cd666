//! Server transactions of a phone: RFC 3261 section 17.2 with RFC 6026.

use core::net::SocketAddr;
use core::time::Duration;

use strowger_engine::Time;

use super::{Alarm, Phone, T1, T2, T4};
use crate::text::{Draft, Message};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// Trying, or Proceeding.
    Proceeding,
    Completed,
    Confirmed,
    /// RFC 6026.
    Accepted,
    Terminated,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Timer {
    /// G: send the final response again.
    Repeat,
    /// H: no ACK came.
    GiveUp,
    /// I, J or L: forget it.
    Forget,
}

pub(crate) struct Server {
    pub(crate) method: String,
    pub(crate) call_id: String,
    branch: String,
    sent_by: String,
    request: Vec<u8>,
    reply_to: SocketAddr,
    pub(crate) state: State,
    /// The last response.
    last: Option<Vec<u8>>,
    wait: Duration,
    pub(crate) final_code: Option<u16>,
    /// A non-2xx to INVITE for which no ACK came.
    pub(crate) unacknowledged: bool,
}

impl Server {
    pub(crate) fn invite(&self) -> bool {
        self.method == "INVITE"
    }
}

impl Phone {
    /// Takes a request that is neither ACK nor a retransmission; `None` when it was one.
    pub(super) fn accept(
        &mut self,
        now: Time,
        source: SocketAddr,
        message: &Message<'_>,
        bytes: &[u8],
    ) -> Option<usize> {
        let via = message.top_via()?;
        let method = message.method();
        let same = |s: &Server| s.branch == via.branch && s.sent_by == via.sent_by && s.method == method;
        if let Some(id) = self.servers.iter().rposition(|s| same(s) && s.state != State::Terminated) {
            let server = &self.servers[id];
            let again = match server.state {
                State::Proceeding | State::Completed => server.last.clone(),
                State::Confirmed | State::Accepted | State::Terminated => None,
            };
            if let Some(bytes) = again {
                let reply_to = server.reply_to;
                self.send(reply_to, bytes);
            }
            return None;
        }
        self.servers.push(Server {
            method: method.to_owned(),
            call_id: message.call_id().to_owned(),
            branch: via.branch.to_owned(),
            sent_by: via.sent_by.to_owned(),
            request: bytes.to_vec(),
            reply_to: via.reply_to(source),
            state: State::Proceeding,
            last: None,
            wait: T1,
            final_code: None,
            unacknowledged: false,
        });
        let _ = now;
        Some(self.servers.len() - 1)
    }

    /// The INVITE transaction that an ACK or a CANCEL is about (sections 17.2.3 and 9.2).
    pub(super) fn invite_of(&self, message: &Message<'_>) -> Option<usize> {
        let via = message.top_via()?;
        self.servers.iter().rposition(|s| s.invite() && s.branch == via.branch && s.sent_by == via.sent_by)
    }

    /// The ACK of a non-2xx response; `false` when it is for no transaction.
    pub(super) fn acknowledged(&mut self, now: Time, message: &Message<'_>) -> bool {
        let Some(id) = self.invite_of(message) else { return false };
        if self.servers[id].state == State::Completed {
            self.servers[id].state = State::Confirmed;
            self.alarm(now, T4, Alarm::Server(id, Timer::Forget));
        }
        true
    }

    /// Writes a response to the request of a transaction, and sends it.
    pub(crate) fn respond(
        &mut self,
        now: Time,
        id: usize,
        status: (u16, &str),
        to_tag: Option<&str>,
        lines: &[(&str, String)],
        body: &str,
    ) -> Option<Vec<u8>> {
        let (code, reason) = status;
        let server = self.servers.get(id)?;
        if server.state != State::Proceeding {
            return None;
        }
        let message = Message::read(&server.request)?;
        let mut draft = Draft::new(&format!("SIP/2.0 {code} {reason}"), self.style.compact);
        if self.style.joined_vias {
            let vias: Vec<_> = message.values("Via").collect();
            draft.line("Via", vias.join(", "));
        } else {
            for via in message.values("Via") {
                draft.line("Via", via);
            }
        }
        for (name, value) in message.lines() {
            match name.to_ascii_lowercase().as_str() {
                "from" | "call-id" | "cseq" => {
                    draft.line(name, value);
                }
                // Only responses that make a dialog need it (section 12.1.1).
                "record-route" if code > 100 && code < 300 => {
                    draft.line(name, value);
                }
                "to" => match to_tag {
                    Some(tag) if message.tag_of_to().is_none() => {
                        draft.line("To", format_args!("{value};tag={tag}"));
                    }
                    _ => {
                        draft.line("To", value);
                    }
                },
                _ => {}
            }
        }
        for (name, value) in lines {
            draft.line(name, value);
        }
        let bytes = draft.finish(body);
        self.pass_on(now, id, code, bytes.clone());
        Some(bytes)
    }

    fn pass_on(&mut self, now: Time, id: usize, code: u16, bytes: Vec<u8>) {
        let server = &mut self.servers[id];
        let reply_to = server.reply_to;
        server.last = Some(bytes.clone());
        if code >= 200 {
            server.final_code = Some(code);
            let invite = server.invite();
            server.state = if invite && code < 300 { State::Accepted } else { State::Completed };
            match (invite, code) {
                (true, 300..) => {
                    self.alarm(now, T1, Alarm::Server(id, Timer::Repeat));
                    self.alarm(now, 64 * T1, Alarm::Server(id, Timer::GiveUp));
                }
                _ => self.alarm(now, 64 * T1, Alarm::Server(id, Timer::Forget)),
            }
        }
        self.send(reply_to, bytes);
    }

    pub(super) fn server_timer(&mut self, now: Time, id: usize, timer: Timer) {
        let Some(server) = self.servers.get_mut(id) else { return };
        match (timer, server.state) {
            (Timer::Repeat, State::Completed) => {
                server.wait = (server.wait * 2).min(T2);
                let (again, reply_to, wait) = (server.last.clone(), server.reply_to, server.wait);
                if let Some(bytes) = again {
                    self.send(reply_to, bytes);
                }
                self.alarm(now, wait, Alarm::Server(id, Timer::Repeat));
            }
            (Timer::GiveUp, State::Completed) => {
                server.state = State::Terminated;
                server.unacknowledged = true;
            }
            (Timer::Forget, _) => server.state = State::Terminated,
            _ => {}
        }
    }

    /// Where the responses of a transaction go.
    pub(crate) fn reply_to(&self, id: usize) -> Option<SocketAddr> {
        Some(self.servers.get(id)?.reply_to)
    }

    /// The request of a transaction.
    pub(crate) fn request_of(&self, id: usize) -> Vec<u8> {
        self.servers.get(id).map(|s| s.request.clone()).unwrap_or_default()
    }
}
