//! What happens to a message that is malformed: served all the same, answered, or dropped.
//!
//! [`TABLE`] says it class by class with the RFC section; [`judge`] decides it for a datagram. The engine asks the same
//! questions in the same order on its way; tests hold an example of every row against [`judge`].

use crate::address::Contact;
use crate::error::ValueFault;
use crate::host::Host;
use crate::index::Index;
use crate::message::Message;
use crate::name::HeaderName;
use crate::start::Method;
use crate::uri::{Scheme, Uri};

/// What a server does with a message for its form alone, before it looks at what the message wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is processed.
    Serve,
    /// It is refused with this status, sent to where the datagram came from.
    Answer(u16),
    /// It is dropped and counted.
    Drop,
}

/// One class of message.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// What is wrong with it, or unusual about it.
    pub class: &'static str,
    /// What happens to a request of this class. A response with anything wrong is dropped.
    pub verdict: Verdict,
    /// The section that says so; of RFC 3261 where no other is named.
    pub section: &'static str,
    /// Why, where the section leaves a choice.
    pub reason: &'static str,
}

const fn row(class: &'static str, verdict: Verdict, section: &'static str, reason: &'static str) -> Row {
    Row { class, verdict, section, reason }
}

/// The verdicts, class by class.
pub const TABLE: &[Row] = &[
    row("nothing but CRLF", Verdict::Drop, "RFC 5626 3.5.1", "a keep-alive; a pong is for streams"),
    row("not SIP", Verdict::Drop, "7.1", "who answers noise is an amplifier"),
    row("start line without version", Verdict::Drop, "7.1", "not a request of SIP/2.0"),
    row(
        "folded start line",
        Verdict::Drop,
        "7.1",
        "a start line does not fold; nothing after it can be trusted",
    ),
    row("method is no token", Verdict::Drop, "7.1", "the CSeq of a reply would have to repeat it"),
    row("another SIP version", Verdict::Answer(505), "21.5.6", ""),
    row(
        "white space in the Request-URI",
        Verdict::Answer(400),
        "RFC 4475 3.1.2.8",
        "no guess at what was meant",
    ),
    row(
        "several SP in the request line",
        Verdict::Answer(400),
        "RFC 4475 3.1.2.9",
        "no guess at what was meant",
    ),
    row("SP after the SIP version", Verdict::Answer(400), "RFC 4475 3.1.2.10", "no guess at what was meant"),
    row("Request-URI in angle brackets", Verdict::Answer(400), "RFC 4475 3.1.2.7", ""),
    row("Request-URI with headers", Verdict::Answer(400), "19.1.1, RFC 4475 3.1.2.11", ""),
    row("Request-URI with a broken escape", Verdict::Answer(400), "19.1.2", ""),
    row("Request-URI over its limit", Verdict::Answer(414), "21.4.12", "limit::REQUEST_URI"),
    row("Request-URI of an unknown scheme", Verdict::Answer(416), "16.3 step 2", ""),
    row(
        "CR or LF alone in the headers",
        Verdict::Drop,
        "7, 25.1",
        "others would see other header lines than we do",
    ),
    row("NUL or control byte in the headers", Verdict::Drop, "25.1", "a reply would have to repeat it"),
    row("control byte in a quoted pair", Verdict::Serve, "25.1, RFC 4475 3.1.1.2", ""),
    row(
        "bytes that are not UTF-8",
        Verdict::Serve,
        "7.3.1",
        "opaque to a proxy, in display names and unknown headers",
    ),
    row("header line without colon", Verdict::Answer(400), "7.3.1", ""),
    row("header name that is no token", Verdict::Answer(400), "7.3.1", ""),
    row("header name over its limit", Verdict::Answer(400), "21.4.1", "limit::HEADER_NAME"),
    row("too many header lines", Verdict::Answer(513), "21.5.7", "limit::HEADER_LINES"),
    row(
        "space before a header's colon",
        Verdict::Serve,
        "25.1 HCOLON",
        "and the header counts as what it is",
    ),
    row("headers without an empty line", Verdict::Answer(400), "7", "cut off"),
    row("Content-Length negative or no number", Verdict::Answer(400), "18.3, RFC 4475 3.1.2.3", ""),
    row("Content-Length over 2^32", Verdict::Answer(400), "18.3", "never taken modulo anything"),
    row("Content-Length over the datagram", Verdict::Answer(400), "18.3, RFC 4475 3.1.2.2", ""),
    row(
        "Content-Length under the datagram",
        Verdict::Serve,
        "18.3, RFC 4475 3.1.1.8",
        "the rest is not part of it",
    ),
    row("Content-Length absent", Verdict::Serve, "18.3", "the body is what is left of the datagram"),
    row("two Content-Length", Verdict::Answer(400), "RFC 4475 3.3.9", "even if they agree"),
    row("two From, To, Call-ID, CSeq or Max-Forwards", Verdict::Answer(400), "RFC 4475 3.3.8", ""),
    row("From, To, Call-ID or CSeq missing", Verdict::Answer(400), "8.1.1, RFC 4475 3.3.1", ""),
    row("Via missing", Verdict::Drop, "8.1.1, 18.2.2", "nobody to answer"),
    row("topmost Via malformed", Verdict::Answer(400), "RFC 4475 3.1.2.1", "to the source, Via untouched"),
    row("a lower Via malformed", Verdict::Serve, "16.3", "not ours to read"),
    row(
        "branch that is only the magic cookie",
        Verdict::Serve,
        "RFC 4475 3.2.1",
        "as RFC 2543, without branch",
    ),
    row("no branch, no From tag, no Max-Forwards", Verdict::Serve, "RFC 4475 3.4.1", "a client of RFC 2543"),
    row("From or To malformed", Verdict::Answer(400), "RFC 4475 3.1.2.6, 3.1.2.14, 3.1.2.15", ""),
    row("tag empty or twice", Verdict::Answer(400), "19.3", ""),
    row("branch, tag or Call-ID over its limit", Verdict::Answer(400), "21.4.1", "limit::IDENTIFIER"),
    row("CSeq number 2^31 or more", Verdict::Answer(400), "8.1.1.5, RFC 4475 3.1.2.4", ""),
    row("CSeq method not the request's", Verdict::Answer(400), "8.1.1.5, RFC 4475 3.1.2.17", ""),
    row("CSeq method not the request's, method unknown", Verdict::Answer(501), "RFC 4475 3.1.2.18", ""),
    row("Max-Forwards over 255 or no number", Verdict::Answer(400), "20.22, RFC 4475 3.1.2.4", ""),
    row("REGISTER with a malformed Contact", Verdict::Answer(400), "10.3, RFC 4475 3.1.2.13", ""),
    row("another header malformed", Verdict::Serve, "16.3 step 1", "only who needs the header judges it"),
    row("unknown header", Verdict::Serve, "7.3.1", "kept as it is"),
    row("ACK with anything wrong", Verdict::Drop, "8.2.7, 17.1.1.3", "an ACK is never answered"),
];

/// The verdict on a datagram's form: what [`TABLE`] says of its class.
#[must_use]
pub fn judge(datagram: &[u8], index: &mut Index) -> Verdict {
    let error = match Message::parse(datagram, index) {
        Ok(message) => return judge_message(&message),
        Err(error) => error,
    };
    let Some(status) = error.status() else { return Verdict::Drop };
    match Message::salvage(datagram, index) {
        Some(message) => answer(&message, status),
        None => Verdict::Drop,
    }
}

fn judge_message(message: &Message<'_>) -> Verdict {
    let Some(line) = message.request() else { return judge_response(message) };
    match message.essentials() {
        Ok(_) => {}
        Err(error) if error.fault == ValueFault::Mismatch && matches!(line.method, Method::Other(_)) => {
            return answer(message, 501);
        }
        Err(error) => return answer(message, error.status()),
    }
    match Uri::parse(line.uri) {
        Ok(uri) if uri.headers().is_some() => return answer(message, 400),
        Ok(uri) if matches!(uri.scheme(), Scheme::Other(_)) => return answer(message, 416),
        Ok(_) => {}
        Err(_) => return answer(message, 400),
    }
    if line.method == Method::Register {
        let sound = |contact: Contact<'_>| match contact {
            Contact::Star => true,
            Contact::Address(address) => address.uri().is_ok(),
        };
        if !message.contacts().all(|contact| contact.is_ok_and(sound)) {
            return answer(message, 400);
        }
    }
    Verdict::Serve
}

/// A response is served or dropped. It goes on to the second Via, which must not lead to more than one host
/// (RFC 4475 section 3.3.10).
fn judge_response(message: &Message<'_>) -> Verdict {
    let sound = message.essentials().is_ok()
        && match message.vias().nth(1) {
            None => true,
            Some(Ok(next)) => next.host().is_unicast() && next.received().is_none_or(is_unicast),
            Some(Err(_)) => false,
        };
    if sound { Verdict::Serve } else { Verdict::Drop }
}

/// A refusal, if there is somebody to send it to.
fn answer(message: &Message<'_>, status: u16) -> Verdict {
    let answerable = message.method().is_some_and(|m| m != Method::Ack) && message.has(HeaderName::Via);
    if answerable { Verdict::Answer(status) } else { Verdict::Drop }
}

fn is_unicast(address: core::net::IpAddr) -> bool {
    let broadcast = matches!(address, core::net::IpAddr::V4(a) if a.is_broadcast());
    !address.is_multicast() && !address.is_unspecified() && !broadcast
}

impl Host<'_> {
    /// Can a packet to this host reach at most one machine? A name may yet resolve to anything.
    #[must_use]
    pub fn is_unicast(&self) -> bool {
        self.ip().is_none_or(is_unicast)
    }
}
