//! The caller's half: client transactions (RFC 3261 section 17.1), dialogs (section 12), ACK (section 13.2.2.4).

use std::net::SocketAddr;

use strowger_sip::{HeaderName, Host, Message, NameAddr, Uri};

use super::call::{Call, Caller, Ident};
use super::{Agents, Outbox, Setup, write_request};
use crate::digest::{Answering, Nonce};
use crate::scenario::{BoundRequest, BoundStep, Credentials, Side};
use crate::tally::Cause;

/// Where SIP is when no port is said (RFC 3261 section 19.1.2).
const SIP_PORT: u16 = 5060;

impl Agents {
    /// Does what the call's step says; a call without further steps has succeeded.
    pub(super) fn play_step(&mut self, now: u64, place: u32, intended: u64, out: &mut dyn Outbox) {
        let Some(call) = self.calls.get_mut(place as usize) else { return };
        let part = &self.setup.parts[usize::from(call.part)];
        let pause = match part.steps.get(usize::from(call.step)) {
            None => return self.succeed(place),
            Some(BoundStep::Request(_)) => {
                call.intended = intended;
                call.timed = 0;
                call.challenged = false;
                call.authorization.clear();
                return self.first_attempt(now, place, out);
            }
            Some(BoundStep::Hold) => self.setup.hold,
            Some(BoundStep::Pause(span)) => *span,
        };
        call.caller = Caller::Pausing;
        let span = pause.draw(self.random.next());
        self.set_timer(now, span, place, Side::Caller);
    }

    fn first_attempt(&mut self, now: u64, place: u32, out: &mut dyn Outbox) {
        let Some(call) = self.calls.get_mut(place as usize) else { return };
        let request = current(&self.setup, call);
        if request.is_some_and(|request| request.credentials == Some(Credentials::Remember)) {
            let user = (call.caller_user - self.setup.users.0) as usize;
            if let Some(mut nonce) = self.nonces.get(user).copied().flatten() {
                if !self.authorize(place, &mut nonce) {
                    return self.fail(place, Cause::TooLong);
                }
                if let Some(kept) = self.nonces.get_mut(user) {
                    *kept = Some(nonce);
                }
            }
        }
        let Some(call) = self.calls.get_mut(place as usize) else { return };
        call.sent = now;
        let (steady, late) = (call.steady, now.saturating_sub(call.intended));
        if steady {
            self.tally.lateness(late);
        }
        self.attempt(now, place, out);
    }

    /// Sends the step's request in a transaction of its own.
    fn attempt(&mut self, now: u64, place: u32, out: &mut dyn Outbox) {
        let Some(call) = self.calls.get_mut(place as usize) else { return };
        self.sequence = (self.sequence + 1) & 0x7fff_ffff;
        call.sequence = self.sequence;
        call.serial += 1;
        call.cseq += 1;
        call.caller = Caller::Trying;
        call.interval = self.setup.timing.t1;
        call.deadline = now + self.setup.timing.patience;
        self.tally.of(call.steady).requests += 1;
        if self.send_current(place, out) {
            self.set_timer(now, self.setup.timing.t1, place, Side::Caller);
        }
    }

    /// Sends the current request, as it was the first time. False when it cannot be written: then the call has failed.
    fn send_current(&mut self, place: u32, out: &mut dyn Outbox) -> bool {
        let Some(call) = self.calls.get(place as usize) else { return false };
        let Some(request) = current(&self.setup, call) else { return false };
        let (run, number, authorization) =
            (self.setup.run, (call.serial, call.cseq), call.authorization.as_bytes());
        let room = self.pen.room.as_mut_slice();
        let Some(len) = write_request(run, call, &request.message, number, authorization, room) else {
            self.fail(place, Cause::TooLong);
            return false;
        };
        let to = hop(&self.setup, call, request.from);
        out.send(request.from, to, room.get(..len).unwrap_or_default());
        true
    }

    pub(super) fn set_timer(&mut self, now: u64, span: u64, place: u32, side: Side) {
        let Some(call) = self.calls.get_mut(place as usize) else { return };
        let timer = &mut call.timers[side as usize];
        // Even numbers are the caller's, odd ones the callee's.
        *timer = (timer.wrapping_add(2) & !1) | side as u32;
        self.timers.set(now, span, place, *timer);
    }

    pub(super) fn caller_timer(&mut self, now: u64, place: u32, due: u64, out: &mut dyn Outbox) {
        let Some(call) = self.calls.get_mut(place as usize) else { return };
        let Some(request) = current(&self.setup, call) else {
            if call.caller == Caller::Pausing {
                call.step += 1;
                // Meant to leave when the pause was over, however late we are.
                self.play_step(now, place, due, out);
            }
            return;
        };
        if now >= call.deadline {
            return self.fail(place, Cause::NoAnswer);
        }
        let invite = request.method == b"INVITE";
        let t2 = self.setup.timing.t2;
        call.interval = match (invite, call.caller) {
            // Section 17.1.1.2: an INVITE is not repeated once there was a provisional response.
            (true, Caller::Proceeding) => call.deadline - now,
            (true, _) => 2 * call.interval,
            // Section 17.1.2.2.
            (false, Caller::Proceeding) => t2,
            (false, _) => (2 * call.interval).min(t2),
        };
        let span = call.interval.min(call.deadline - now);
        if !(invite && call.caller == Caller::Proceeding) {
            self.tally.of(call.steady).requests_repeated += 1;
            if !self.send_current(place, out) {
                return;
            }
        }
        self.set_timer(now, span, place, Side::Caller);
    }

    pub(super) fn response(&mut self, now: u64, side: Side, message: &Message<'_>, out: &mut dyn Outbox) {
        let known = message
            .top_via()
            .ok()
            .and_then(|via| Ident::of_branch(via.branch()?))
            .and_then(|(ident, serial)| self.find(ident).map(|place| (place, serial)));
        let (Some((place, serial)), Some(status)) = (known, message.status()) else {
            self.tally.traffic.stray += 1;
            return;
        };
        let code = status.code;
        let Some(call) = self.calls.get_mut(place as usize) else { return };
        let current = current(&self.setup, call).filter(|request| {
            serial == call.serial && request.from == side && call.caller != Caller::Pausing
        });
        let Some(request) = current else {
            return self.response_again(place, serial, code, message, out);
        };
        if (200..300).contains(&code)
            && let Some(answer) = self.setup.parts[usize::from(call.part)]
                .answers
                .iter()
                .position(|answer| answer.method == request.method)
            && call.seen & 1 << answer == 0
        {
            return self.fail(place, Cause::Elsewhere);
        }
        if call.steady
            && let Some(at) = request.measure.iter().position(|(measured, _)| *measured == code)
            && call.timed & 1 << at == 0
        {
            call.timed |= 1 << at;
            let (intended, actual) = (now.saturating_sub(call.intended), now.saturating_sub(call.sent));
            self.tally.leg(request.measure[at].1, intended, actual);
        }
        let invite = request.method == b"INVITE";
        match code {
            100..200 => {
                if call.caller == Caller::Trying {
                    call.caller = Caller::Proceeding;
                    if invite {
                        // Timer B is over; what is left is our own patience. The timer that runs sets the next.
                        call.deadline = now + self.setup.timing.patience;
                    }
                }
            }
            200..300 if invite => match make_dialog(call, message) {
                Ok(()) => {
                    call.invited = Some((call.step, call.serial, call.cseq));
                    call.serial += 1;
                    call.ack_serial = call.serial;
                    self.tally.of(call.steady).requests += 1;
                    self.send_ack(place, out);
                    self.next_step(now, place, out);
                }
                Err(cause) => self.fail(place, cause),
            },
            200..300 => self.next_step(now, place, out),
            _ => {
                let challenge = matches!(code, 401 | 407) && request.credentials.is_some();
                if invite {
                    call.refused = Some((call.serial, call.cseq));
                    self.acknowledge_refusal(place, message, out);
                }
                if challenge {
                    self.challenged(now, place, code, message, out);
                } else {
                    self.fail(place, Cause::Status(code));
                }
            }
        }
    }

    fn next_step(&mut self, now: u64, place: u32, out: &mut dyn Outbox) {
        if let Some(call) = self.calls.get_mut(place as usize) {
            call.step += 1;
            self.play_step(now, place, now, out);
        }
    }

    /// A final response of a transaction that is over: the other side has not got our ACK.
    fn response_again(
        &mut self,
        place: u32,
        serial: u32,
        code: u16,
        message: &Message<'_>,
        out: &mut dyn Outbox,
    ) {
        let Some(call) = self.calls.get(place as usize) else { return };
        if code >= 300 && call.refused.is_some_and(|(refused, _)| refused == serial) {
            // RFC 3261 section 17.1.1.2, Completed.
            self.acknowledge_refusal(place, message, out);
        } else if (200..300).contains(&code) && call.invited.is_some_and(|(_, invited, _)| invited == serial)
        {
            // Section 13.2.2.4: each 2xx gets its ACK.
            self.send_ack(place, out);
        } else {
            self.tally.traffic.stray += 1;
        }
    }

    fn send_ack(&mut self, place: u32, out: &mut dyn Outbox) {
        let Some(call) = self.calls.get(place as usize) else { return };
        let Some((step, _, cseq)) = call.invited else { return };
        let steps = &self.setup.parts[usize::from(call.part)].steps;
        let Some(BoundStep::Request(request)) = steps.get(usize::from(step)) else { return };
        let Some(ack) = &request.ack else { return };
        let room = self.pen.room.as_mut_slice();
        let number = (call.ack_serial, cseq);
        // The INVITE's credentials stand in its ACK (section 22.1), and are gone with the next request.
        let Some(len) = write_request(self.setup.run, call, ack, number, call.authorization.as_bytes(), room)
        else {
            return self.fail(place, Cause::TooLong);
        };
        out.send(request.from, hop(&self.setup, call, request.from), room.get(..len).unwrap_or_default());
    }

    /// Section 17.1.1.3: the ACK for a response other than 2xx is of the INVITE's transaction. It is made from the INVITE
    /// as it was sent and the response's To.
    fn acknowledge_refusal(&mut self, place: u32, response: &Message<'_>, out: &mut dyn Outbox) {
        let Some(call) = self.calls.get(place as usize) else { return };
        let (Some(number), Some(request)) = (call.refused, current(&self.setup, call)) else { return };
        let pen = &mut self.pen;
        let written =
            write_request(self.setup.run, call, &request.message, number, b"", pen.room.as_mut_slice());
        let invite = written.and_then(|len| pen.room.get(..len)).unwrap_or_default();
        let Ok(invite) = Message::parse(invite, &mut pen.other_index) else { return };
        let (Some(line), Some(to)) = (invite.request(), response.header(HeaderName::To)) else { return };
        let mut at = 0;
        let mut put = |bytes: &[u8]| {
            if let Some(room) = pen.other_room.get_mut(at..at + bytes.len()) {
                room.copy_from_slice(bytes);
                at += bytes.len();
            }
        };
        [b"ACK ", line.uri, b" SIP/2.0\r\n"].into_iter().for_each(&mut put);
        for header in invite.all() {
            match header.name {
                HeaderName::Via
                | HeaderName::Route
                | HeaderName::MaxForwards
                | HeaderName::From
                | HeaderName::CallId => {
                    put(invite.datagram().get(header.line_range).unwrap_or_default());
                }
                _ => {}
            }
        }
        [b"To: ", to.value, b"\r\nCSeq: ", strowger_sip::Digits::new(number.1).as_bytes()]
            .into_iter()
            .for_each(&mut put);
        put(b" ACK\r\nContent-Length: 0\r\n\r\n");
        let to = hop(&self.setup, call, request.from);
        out.send(request.from, to, pen.other_room.get(..at).unwrap_or_default());
    }

    /// 401 and 407 (sections 22.2 and 22.3): the request again, with credentials.
    fn challenged(&mut self, now: u64, place: u32, code: u16, message: &Message<'_>, out: &mut dyn Outbox) {
        let nonce = Nonce::of(message, code, self.setup.allowed);
        let Some(call) = self.calls.get_mut(place as usize) else { return };
        let remember = current(&self.setup, call)
            .is_some_and(|request| request.credentials == Some(Credentials::Remember));
        // Once for each request; a remembered nonce may have grown stale, so its refusal is the first.
        let (Some(mut nonce), false) = (nonce, call.challenged) else {
            return self.fail(place, Cause::Challenge(code));
        };
        call.challenged = true;
        let (steady, user) = (call.steady, call.caller_user);
        self.tally.of(steady).challenges += 1;
        if !self.authorize(place, &mut nonce) {
            return self.fail(place, Cause::TooLong);
        }
        if remember && let Some(kept) = self.nonces.get_mut((user - self.setup.users.0) as usize) {
            *kept = Some(nonce);
        }
        self.attempt(now, place, out);
    }

    /// Writes the call's Authorization line for its current request.
    fn authorize(&mut self, place: u32, nonce: &mut Nonce) -> bool {
        let Some(call) = self.calls.get_mut(place as usize) else { return false };
        let Some(request) = current(&self.setup, call) else { return false };
        let pen = &mut self.pen;
        // Written once without, for the Request-URI that the credentials are for.
        let number = (call.serial, call.cseq);
        let Some(len) =
            write_request(self.setup.run, call, &request.message, number, b"", pen.room.as_mut_slice())
        else {
            return false;
        };
        let uri = pen.room.get(..len).unwrap_or_default().split(|&byte| byte == b' ').nth(1);
        let name = call.caller_name;
        let password = self.setup.population.password(call.caller_user);
        let who = Answering {
            user: name.as_bytes(),
            password: password.as_bytes(),
            method: &request.method,
            uri: uri.unwrap_or_default(),
            random: self.random.next() as u32,
        };
        nonce.answer(&who, &mut call.authorization)
    }
}

/// The request of the call's step, if the step is one.
fn current<'s>(setup: &'s Setup, call: &Call) -> Option<&'s BoundRequest> {
    match setup.parts.get(usize::from(call.part))?.steps.get(usize::from(call.step)) {
        Some(BoundStep::Request(request)) => Some(request),
        _ => None,
    }
}

/// Where the call's requests go: in a dialog to its next hop, else to the proxy.
fn hop(setup: &Setup, call: &Call, side: Side) -> SocketAddr {
    call.next_hop.unwrap_or(setup.target[side as usize])
}

/// The caller's half of a dialog from the 2xx (section 12.1.2): To tag, remote target from Contact, route set from
/// Record-Route in reverse order; and the next hop from these (section 12.2.1.1).
fn make_dialog(call: &mut Call, message: &Message<'_>) -> Result<(), Cause> {
    let to = message.to().map_err(|_| Cause::NoDialog)?;
    let tag = to.tag().ok_or(Cause::NoDialog)?;
    let contact = message.header(HeaderName::Contact).ok_or(Cause::NoDialog)?;
    let contact = NameAddr::parse(contact.value).map_err(|_| Cause::NoDialog)?;
    if !(call.to_tag.set(b";tag=") && call.to_tag.push(tag) && call.remote.set(contact.uri_bytes())) {
        return Err(Cause::TooLong);
    }
    call.routes.clear();
    let mut first = None;
    // Lists are short (a proxy adds one or two): looking for the last, then the one before it, needs no memory.
    let count = message.record_routes().count();
    for at in (0..count).rev() {
        let route = message.record_routes().nth(at).and_then(Result::ok).ok_or(Cause::NoDialog)?;
        if first.is_none() {
            let uri = route.uri().map_err(|_| Cause::NoDialog)?;
            // A strict router (RFC 2543) wants its own URI in the start line; none is left in the field.
            if !uri.is_loose() {
                return Err(Cause::NoDialog);
            }
            first = Some(uri);
        }
        let fits =
            call.routes.push(b"Route: ") && call.routes.push(route.as_bytes()) && call.routes.push(b"\r\n");
        if !fits {
            return Err(Cause::TooLong);
        }
    }
    let hop = match first {
        Some(uri) => uri,
        None => contact.uri().map_err(|_| Cause::NoDialog)?,
    };
    // A host name is left to the proxy.
    call.next_hop = address_of(&hop);
    Ok(())
}

fn address_of(uri: &Uri<'_>) -> Option<SocketAddr> {
    let ip = match uri.host()? {
        Host::V4(ip) => ip.into(),
        Host::V6(ip) => ip.into(),
        Host::Name(_) => return None,
    };
    Some(SocketAddr::new(ip, uri.port().unwrap_or(SIP_PORT)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use strowger_sip::Index;

    fn dialog(lines: &str) -> (Call, Result<(), Cause>) {
        let text = format!("SIP/2.0 200 OK\r\nTo: <sip:b@x>;tag=9\r\n{lines}Content-Length: 0\r\n\r\n");
        let mut index = Index::new();
        let mut call = Call::NEW;
        let message = Message::parse(text.as_bytes(), &mut index).expect("parses");
        let made = make_dialog(&mut call, &message);
        (call, made)
    }

    #[test]
    fn the_route_set_is_the_record_route_turned_round() {
        let (call, made) = dialog(
            "Record-Route: <sip:192.0.2.3:5070;lr;x=1>, <sip:192.0.2.2;lr>\r\nRecord-Route: <sip:[2001:db8::1];lr>\r\n\
             Contact: \"B\" <sip:b@192.0.2.9:7000>;expires=5\r\n",
        );
        assert_eq!(made, Ok(()));
        let routes =
            b"Route: <sip:[2001:db8::1];lr>\r\nRoute: <sip:192.0.2.2;lr>\r\nRoute: <sip:192.0.2.3:5070;lr;x=1>\r\n";
        assert_eq!(call.routes.as_bytes(), routes);
        assert_eq!(
            (call.to_tag.as_bytes(), call.remote.as_bytes()),
            (&b";tag=9"[..], &b"sip:b@192.0.2.9:7000"[..])
        );
        assert_eq!(call.next_hop, "[2001:db8::1]:5060".parse().ok());
    }

    #[test]
    fn without_routes_the_contact_is_the_next_hop() {
        let (call, made) = dialog("Contact: <sip:b@192.0.2.9:7000>\r\n");
        assert_eq!((made, call.next_hop), (Ok(()), "192.0.2.9:7000".parse().ok()));
        let (call, made) = dialog("Contact: <sip:b@phone.example.net>\r\n");
        assert_eq!((made, call.next_hop), (Ok(()), None), "a name is left to the proxy");
    }

    #[test]
    fn what_makes_no_dialog_is_a_failure() {
        for (lines, cause) in [
            ("", Cause::NoDialog),
            ("Contact: <sip:b@192.0.2.9>\r\nRecord-Route: <sip:192.0.2.3>\r\n", Cause::NoDialog),
            ("Contact: <sip:b@192.0.2.9>\r\nRecord-Route: nonsense\r\n", Cause::NoDialog),
        ] {
            assert_eq!(dialog(lines).1, Err(cause), "{lines}");
        }
        let long = format!("Contact: <sip:b@192.0.2.9;x={}>\r\n", "y".repeat(300));
        assert_eq!(dialog(&long).1, Err(Cause::TooLong));
    }
}
