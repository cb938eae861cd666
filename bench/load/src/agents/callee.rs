//! The callee's half: answers to requests (RFC 3261 sections 8.2, 12.1.1, 13.3), repeated until the ACK comes.

use std::net::SocketAddr;

use strowger_sip::{AddressText, Digits, HeaderName, Message, Method, Reply, Via};

use super::call::{Callee, Ident};
use super::{Agents, Outbox};
use crate::scenario::Side;
use crate::template::Values;
use crate::text::Text;

/// Where SIP is when no port is said (RFC 3261 section 18.1.1).
const SIP_PORT: u16 = 5060;

/// The headers of a request that its responses repeat.
#[derive(Default)]
pub(super) struct Repeated {
    vias: Text<2048>,
    record_routes: Text<2048>,
    to: Text<384>,
}

impl Agents {
    pub(super) fn request(
        &mut self,
        now: u64,
        side: Side,
        source: SocketAddr,
        message: &Message<'_>,
        out: &mut dyn Outbox,
    ) {
        let known = message.call_id().ok().and_then(Ident::of_call_id).and_then(|ident| self.find(ident));
        let (Some(method), Ok(via)) = (message.method(), message.top_via()) else {
            self.tally.traffic.malformed += 1;
            return;
        };
        // Callers get no requests: what arrives there is our own, sent back by something that is no proxy.
        let Some(place) = known.filter(|_| side == Side::Callee) else {
            return self.stray(side, source, method, &via, message, out);
        };
        let Some(call) = self.calls.get_mut(place as usize) else { return };
        if method == Method::Ack {
            if call.callee == Callee::Answered {
                call.callee = Callee::Confirmed;
            }
            return;
        }
        let answers = &self.setup.parts[usize::from(call.part)].answers;
        let Some(at) = answers.iter().position(|answer| answer.method == method.as_bytes()) else {
            return self.stray(side, source, method, &via, message, out);
        };
        let again = call.seen & 1 << at != 0;
        call.seen |= 1 << at;
        if again {
            self.tally.of(call.steady).requests_seen_again += 1;
        } else if call.steady
            && let Some(leg) = answers[at].leg
        {
            self.tally.leg(leg, now.saturating_sub(call.intended), now.saturating_sub(call.sent));
        }
        let to = response_address(&via, source);
        if method == Method::Invite && again && call.callee != Callee::Ringing {
            // The response was lost, or crossed the request: as it was (section 17.2.1); not after the ACK (RFC 6026).
            if call.callee == Callee::Answered {
                out.send(Side::Callee, to, call.answer.as_bytes());
            }
            return;
        }
        let repeated = &mut *self.pen.repeated;
        if repeated.read(message, &via, source, call.tag()).is_none() {
            self.tally.traffic.malformed += 1;
            return;
        }
        let ident = call.ident;
        let value = |name| message.header(name).map(|header| header.value).unwrap_or_default();
        let values = Values {
            caller: call.caller_name.as_bytes(),
            callee: call.callee_name.as_bytes(),
            call_id: value(HeaderName::CallId),
            cseq: value(HeaderName::CSeq),
            tag: super::call::tag(&ident),
            vias: repeated.vias.as_bytes(),
            record_routes: repeated.record_routes.as_bytes(),
            from: value(HeaderName::From),
            to: repeated.to.as_bytes(),
            ..Values::default()
        };
        let room = self.pen.room.as_mut_slice();
        let mut wait = 0;
        let last = answers[at].responses.len().saturating_sub(1);
        for (number, (after, template)) in answers[at].responses.iter().enumerate() {
            let Some(len) = template.write(&values, room) else { return };
            let bytes = room.get(..len).unwrap_or_default();
            if method != Method::Invite || number < last {
                out.send(Side::Callee, to, bytes);
                continue;
            }
            if again {
                // It rings, and goes on ringing.
                return;
            }
            if !call.answer.set(bytes) {
                return;
            }
            call.answer_to = Some(to);
            wait = after.draw(self.random.next());
        }
        if method == Method::Invite {
            call.callee = Callee::Ringing;
            if wait == 0 {
                self.answer(now, place, out);
            } else {
                self.set_timer(now, wait, place, Side::Callee);
            }
        }
    }

    /// Sends the final response to the INVITE, and from now on again until its ACK comes.
    fn answer(&mut self, now: u64, place: u32, out: &mut dyn Outbox) {
        let timing = self.setup.timing;
        let Some(call) = self.calls.get_mut(place as usize) else { return };
        let Some(to) = call.answer_to else { return };
        out.send(Side::Callee, to, call.answer.as_bytes());
        call.callee = Callee::Answered;
        call.answer_interval = timing.t1;
        call.answer_deadline = now + timing.patience;
        self.set_timer(now, timing.t1, place, Side::Callee);
    }

    /// Section 13.3.1.4: a 2xx is repeated, T1, 2·T1 and so on up to T2, for 64·T1.
    pub(super) fn callee_timer(&mut self, now: u64, place: u32, out: &mut dyn Outbox) {
        let t2 = self.setup.timing.t2;
        let Some(call) = self.calls.get_mut(place as usize) else { return };
        match call.callee {
            Callee::Ringing => self.answer(now, place, out),
            Callee::Answered if now < call.answer_deadline => {
                let Some(to) = call.answer_to else { return };
                out.send(Side::Callee, to, call.answer.as_bytes());
                call.answer_interval = (2 * call.answer_interval).min(t2);
                let (interval, steady) = (call.answer_interval, call.steady);
                self.tally.of(steady).responses_repeated += 1;
                self.set_timer(now, interval, place, Side::Callee);
            }
            Callee::Answered | Callee::Idle | Callee::Confirmed => {}
        }
    }

    /// A request of no call of ours. OPTIONS may be a proxy's probe, and gets its 200; without a proxy we are the
    /// registrar too; what is left gets 481 (section 12.2.2), so that the proxy does not repeat it.
    fn stray(
        &mut self,
        side: Side,
        source: SocketAddr,
        method: Method<'_>,
        via: &Via<'_>,
        message: &Message<'_>,
        out: &mut dyn Outbox,
    ) {
        let registrar = self.setup.no_proxy && method == Method::Register;
        if !registrar {
            self.tally.traffic.stray += 1;
        }
        // On the caller's side it came back to its sender: an answer would make an echo look like a proxy.
        let echo = via.branch().is_some_and(|branch| Ident::of_branch(branch).is_some());
        if method == Method::Ack || !registrar && (side == Side::Caller || echo) {
            return;
        }
        let code = if registrar || method == Method::Options { 200 } else { 481 };
        let reply = Reply {
            code,
            to_tag: Some(b"stray"),
            received: Some(source.ip()),
            rport: Some(source.port()),
            ..Reply::default()
        };
        if self.pen.plan.reply(message, &reply).is_ok()
            && let Ok(bytes) = self.pen.plan.write_to(message.datagram(), self.pen.room.as_mut_slice())
        {
            out.send(side, response_address(via, source), bytes);
        }
    }
}

/// Section 18.2.2 and RFC 3581 section 4: to where the request came from; its port only when the sender asked for it.
fn response_address(via: &Via<'_>, source: SocketAddr) -> SocketAddr {
    let port = if via.rport().is_some() { source.port() } else { via.port().unwrap_or(SIP_PORT) };
    SocketAddr::new(source.ip(), port)
}

impl Repeated {
    /// `None` when there is more than there is room for.
    fn read(&mut self, message: &Message<'_>, via: &Via<'_>, source: SocketAddr, tag: &[u8]) -> Option<()> {
        self.vias.clear();
        self.record_routes.clear();
        let datagram = message.datagram();
        let mut topmost = true;
        for header in message.headers(HeaderName::Via) {
            let vias = &mut self.vias;
            let line = datagram.get(header.line_range.clone())?;
            if !topmost {
                vias.push(line).then_some(())?;
                continue;
            }
            topmost = false;
            // Cut at the end of the topmost value, and in it after an `rport` without value.
            let value = via.range();
            let asked = via.rport() == Some(None);
            let at = match asked.then(|| rport_end(via.as_bytes())).flatten() {
                Some(end) => value.start + end,
                None => value.end,
            };
            vias.push(datagram.get(header.line_range.start..at)?).then_some(())?;
            if asked {
                let port = Digits::new(u32::from(source.port()));
                (vias.push(b"=") && vias.push(port.as_bytes())).then_some(())?;
            }
            vias.push(datagram.get(at..value.end)?).then_some(())?;
            // Section 18.2.1: when the sender's address is not what it says; RFC 3581 section 4: always beside rport.
            if via.received().is_none() && (asked || !is_host(via, source)) {
                let ip = AddressText::received(source.ip());
                (vias.push(b";received=") && vias.push(ip.as_bytes())).then_some(())?;
            }
            vias.push(datagram.get(value.end..header.line_range.end)?).then_some(())?;
        }
        for header in message.headers(HeaderName::RecordRoute) {
            self.record_routes.push(datagram.get(header.line_range)?).then_some(())?;
        }
        let to = message.header(HeaderName::To)?;
        self.to.set(to.value).then_some(())?;
        if message.to().ok()?.tag().is_none() {
            (self.to.push(b";tag=") && self.to.push(tag)).then_some(())?;
        }
        Some(())
    }
}

/// After the name of the parameter `rport`.
fn rport_end(via: &[u8]) -> Option<usize> {
    const NAME: &[u8] = b";rport";
    let at = via.windows(NAME.len()).position(|window| window.eq_ignore_ascii_case(NAME))?;
    Some(at + NAME.len())
}

fn is_host(via: &Via<'_>, source: SocketAddr) -> bool {
    match via.host() {
        strowger_sip::Host::V4(ip) => source.ip() == ip,
        strowger_sip::Host::V6(ip) => source.ip() == ip,
        strowger_sip::Host::Name(_) => false,
    }
}
