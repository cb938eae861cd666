//! What happens to a message that is malformed: served all the same, answered, or dropped.
//!
//! [`TABLE`] says it class by class with the RFC section; [`judge`] decides it for a datagram. The engine asks the same
//! questions in the same order on its way; tests hold an example of every row against [`judge`].
//!
//! A verdict is about form: start line, framing, header lines, and the values of those headers that every message must
//! have ([`Message::essentials`]), with the Request-URI, and Contact in a REGISTER. Whether the request can be done
//! (Proxy-Require, Max-Forwards of 0, credentials, the target) is for the engine to say.

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
    /// It is refused with this status, sent to where the datagram came from. [`Message::salvage`] gives what the reply is
    /// built from.
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

/// Writes the rows down once, for the program and for the reader.
macro_rules! table {
    ($($class:literal => $verdict:ident $(($status:literal))?, $section:literal, $reason:literal;)*) => {
        /// The verdicts, class by class.
        ///
        /// | What is wrong, or unusual | Request | Section | Reason |
        /// |---|---|---|---|
        $(#[doc = concat!(
            "| ", $class, " | ", stringify!($verdict), $(" ", $status,)? " | ", $section, " | ", $reason, " |"
        )])*
        ///
        /// Sections are of RFC 3261 where no other is named. A response that would be answered if it were a request is
        /// dropped, and so is one whose second Via is malformed or leads to more than one host.
        pub const TABLE: &[Row] = &[$(Row {
            class: $class,
            verdict: Verdict::$verdict $(($status))?,
            section: $section,
            reason: $reason,
        }),*];
    };
}

table! {
    "nothing but CRLF" => Drop, "RFC 5626 3.5.1", "a keep-alive; a pong is for streams";
    "message over its limit" => Drop, "21.5.7", "limit::MESSAGE; no datagram is so long, nothing is read of it";
    "not SIP" => Drop, "7.1", "who answers noise is an amplifier";
    "start line without version" => Drop, "7.1", "not a request of SIP/2.0";
    "folded start line" => Drop, "7.1", "a start line does not fold; nothing after it can be trusted";
    "method is no token" => Drop, "7.1", "the CSeq of a reply would have to repeat it";
    "another SIP version" => Answer(505), "21.5.6", "";
    "white space in the Request-URI" => Answer(400), "RFC 4475 3.1.2.8", "no guess at what was meant";
    "several SP in the request line" => Answer(400), "RFC 4475 3.1.2.9", "no guess at what was meant";
    "SP after the SIP version" => Answer(400), "RFC 4475 3.1.2.10", "no guess at what was meant";
    "Request-URI in angle brackets" => Answer(400), "RFC 4475 3.1.2.7", "";
    "Request-URI with headers" => Answer(400), "19.1.1, RFC 4475 3.1.2.11", "";
    "Request-URI with a broken escape" => Answer(400), "19.1.2", "";
    "Request-URI over its limit" => Answer(414), "21.4.12", "limit::REQUEST_URI";
    "Request-URI of an unknown scheme" => Answer(416), "16.3 step 2", "";
    "CR or LF alone in the headers" => Drop, "7, 25.1", "others would see other header lines than we do";
    "NUL or control byte in the headers" => Drop, "25.1", "a reply would have to repeat it";
    "control byte in a quoted pair" => Serve, "25.1, RFC 4475 3.1.1.2", "";
    "bytes that are not UTF-8" => Serve, "7.3.1", "opaque to a proxy, in display names and unknown headers";
    "header line without colon" => Answer(400), "7.3.1", "";
    "header name that is no token" => Answer(400), "7.3.1", "";
    "header name over its limit" => Answer(400), "21.4.1", "limit::HEADER_NAME";
    "too many header lines" => Answer(513), "21.5.7", "limit::HEADER_LINES";
    "space before a header's colon" => Serve, "25.1 HCOLON", "and the header counts as what it is";
    "headers without an empty line" => Answer(400), "7", "cut off";
    "Content-Length negative or no number" => Answer(400), "18.3, RFC 4475 3.1.2.3", "";
    "Content-Length over 2^32" => Answer(400), "18.3", "never taken modulo anything";
    "Content-Length over the datagram" => Answer(400), "18.3, RFC 4475 3.1.2.2", "";
    "Content-Length under the datagram" => Serve, "18.3, RFC 4475 3.1.1.8", "the rest is not part of it";
    "Content-Length absent" => Serve, "18.3", "the body is what is left of the datagram";
    "two Content-Length" => Answer(400), "RFC 4475 3.3.9", "even if they agree";
    "two From, To, Call-ID, CSeq or Max-Forwards" => Answer(400), "RFC 4475 3.3.8", "";
    "From, To, Call-ID or CSeq missing" => Answer(400), "8.1.1, RFC 4475 3.3.1", "";
    "Via missing" => Drop, "8.1.1, 18.2.2", "nobody to answer";
    "topmost Via malformed" => Answer(400), "RFC 4475 3.1.2.1", "to the source, Via untouched";
    "a lower Via malformed" => Serve, "16.3", "not ours to read";
    "branch that is only the magic cookie" => Serve, "RFC 4475 3.2.1", "as RFC 2543, without branch";
    "no branch, no From tag, no Max-Forwards" => Serve, "RFC 4475 3.4.1", "a client of RFC 2543";
    "From or To malformed" => Answer(400), "RFC 4475 3.1.2.6, 3.1.2.14, 3.1.2.15", "";
    "tag empty or twice" => Answer(400), "19.3", "";
    "branch, tag or Call-ID over its limit" => Answer(400), "21.4.1", "limit::IDENTIFIER";
    "CSeq number 2^31 or more" => Answer(400), "8.1.1.5, RFC 4475 3.1.2.4", "";
    "CSeq method not the request's" => Answer(400), "8.1.1.5, RFC 4475 3.1.2.17", "";
    "CSeq method not the request's, method unknown" => Answer(501), "RFC 4475 3.1.2.18", "";
    "Max-Forwards over 255 or no number" => Answer(400), "20.22, RFC 4475 3.1.2.4", "";
    "REGISTER with a malformed Contact" => Answer(400), "10.3, RFC 4475 3.1.2.13", "";
    "another header malformed" => Serve, "16.3 step 1", "only who needs the header judges it";
    "unknown header" => Serve, "7.3.1", "kept as it is";
    "ACK with anything wrong" => Drop, "8.2.7, 17.1.1.3", "an ACK is never answered";
}

/// The verdict on a datagram's form: what [`TABLE`] says of its class.
///
/// ```
/// use strowger_sip::Index;
/// use strowger_sip::verdict::{Verdict, judge};
///
/// let mut index = Index::new();
/// let request = "BYE sip:b@example.net SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK1\r\n";
/// assert_eq!(judge(format!("{request}\r\n").as_bytes(), &mut index), Verdict::Answer(400)); // no From
/// assert_eq!(judge(b"\r\n\r\n", &mut index), Verdict::Drop);
/// ```
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
