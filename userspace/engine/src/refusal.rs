//! Why a request is not carried out, and the reply that says so.
//!
//! One variant for each reason, so that the status, the phrase, the headers the RFC demands with it and the counter
//! stay together. Written by every step of request handling, read by the reply writer alone.

use core::fmt::{self, Write as _};

use strowger_sip::{HeaderName, Message, Method, ParseError, Token, ValueError};

use crate::admission::Overload;
use crate::counters::Event;
use crate::digest::Role;
use crate::registrar::EXTENSIONS;
use crate::routing::Rejection;
use crate::text::Text;

/// Methods this server carries out when a request is for itself.
pub(crate) const ALLOW: &str = "OPTIONS, REGISTER";
/// The header line that says so.
pub(crate) const ALLOW_LINE: &str = "Allow: OPTIONS, REGISTER";

/// Why a request is refused.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Refusal {
    /// 400, 414, 505, 513: not a message.
    Unreadable(ParseError),
    /// 400: a header that is needed cannot be read.
    Header(ValueError),
    /// 400: the Request-URI, or the URI that takes its place, cannot be read.
    Uri(ValueError),
    /// 400: a URI inside a Route, To or Contact cannot be read.
    UriIn(HeaderName, ValueError),
    /// 400: a contact's user, URI or number of contacts is over its limit, or what it says makes no sense.
    Contact(&'static str),
    /// 403: no proof that the dialog is ours (see [`Event::RelayRefused`]).
    Relay,
    /// 401 or 407: who sends this? `stale`: the credentials were right, and their nonce too old.
    Challenge { role: Role, stale: bool },
    /// 400: the credentials are for another resource than the Request-URI (RFC 7616 section 3.4.6).
    DigestUri,
    /// 403: the user may not use this server, or acts for somebody else.
    Forbidden,
    /// 403: a contact that is this node: calls to it would run in a circle (RFC 5393).
    ContactIsUs,
    /// 404: not a user of ours.
    NotFound,
    /// 405: not a method this server carries out.
    Method,
    /// 501: not a method anyone has heard of.
    UnknownMethod,
    /// 416: not a sip URI.
    Scheme,
    /// 420: option tags of this header.
    Extension(HeaderName),
    /// 420: a proxy added Path for a user agent that does not know it (RFC 3327 section 5.3).
    PathUnasked,
    /// 439: the proxy before us does not keep flows (RFC 5626 section 11.6).
    FirstHop,
    /// 423: a shorter interval than this.
    TooBrief(u32),
    /// 480: a known user without a live binding.
    Unavailable,
    /// 440: Max-Breadth does not allow a single branch (RFC 5393 section 5.3.3).
    Breadth,
    /// 481: the CANCEL of something that is not there (RFC 3261 section 9.2).
    NoTransaction,
    /// 482.
    Loop,
    /// 483.
    TooManyHops,
    /// 500: an older REGISTER came after a newer one (RFC 3261 section 10.3 item 7).
    OutOfOrder,
    /// 500: the next hop is nothing we can send to. It would be 503 by section 16.9, which section 16.7 item 6 has
    /// us turn into 500: 503 would say that this proxy serves nobody.
    Unreachable,
    /// 503: no more contacts for this user for so many seconds.
    ContactLimit(u32),
    /// 503: the table is full; try again in so many seconds.
    TableFull(u32),
    /// 503: no more transactions; try again in so many seconds.
    TransactionsFull(u32),
    /// 503: no more calls for so many seconds.
    DialogsFull(u32),
    /// 503: the node is going down; try again in so many seconds.
    Draining(u32),
    /// No reply: the next hop's name is being asked for, and the retransmission will find the answer.
    Awaited,
    /// 503: not enough of something to carry it out.
    Overload(Overload),
    /// 500: no target of the gateway group is up. Not 503, as with [`Unreachable`](Self::Unreachable).
    GatewaysDown,
    /// What a routing rule says.
    Rejected(Rejection),
    /// 513: no room to forward it.
    TooLarge,
}

impl Refusal {
    /// The status code.
    pub(crate) fn code(&self) -> u16 {
        match self {
            Self::Unreadable(e) => e.status().unwrap_or(400),
            Self::Header(_) | Self::Uri(_) | Self::UriIn(..) | Self::Contact(_) => 400,
            Self::DigestUri => 400,
            Self::Challenge { role: Role::Server, .. } => 401,
            Self::Challenge { role: Role::Proxy, .. } => 407,
            Self::Relay | Self::Forbidden | Self::ContactIsUs => 403,
            Self::NotFound => 404,
            Self::Method => 405,
            Self::Scheme => 416,
            Self::Extension(_) | Self::PathUnasked => 420,
            Self::FirstHop => 439,
            Self::TooBrief(_) => 423,
            Self::Unavailable => 480,
            Self::Breadth => 440,
            Self::NoTransaction => 481,
            Self::Loop => 482,
            Self::TooManyHops => 483,
            Self::OutOfOrder | Self::Unreachable => 500,
            Self::UnknownMethod => 501,
            Self::GatewaysDown => 500,
            Self::Overload(_) | Self::Awaited => 503,
            Self::Rejected(rejection) => rejection.code,
            Self::ContactLimit(_) | Self::TableFull(_) | Self::TransactionsFull(_) => 503,
            Self::DialogsFull(_) | Self::Draining(_) => 503,
            Self::TooLarge => 513,
        }
    }

    /// What a CANCEL is told that comes to this end. What is wrong with it is wrong with its request too, and is said;
    /// why else that would not be carried out says only that there is nothing to cancel (RFC 3261 section 9.2).
    #[cold]
    pub(crate) fn of_cancel(self) -> Self {
        match self {
            Self::Unreadable(_) | Self::Header(_) | Self::Uri(_) | Self::UriIn(..) => self,
            Self::Loop | Self::TooManyHops | Self::TooLarge => self,
            _ => Self::NoTransaction,
        }
    }

    /// What is counted besides the reply.
    pub(crate) fn event(&self) -> Option<Event> {
        Some(match self {
            Self::Relay => Event::RelayRefused,
            Self::Overload(_) => Event::OverloadRefused,
            Self::GatewaysDown => Event::GatewaysDown,
            Self::Rejected(_) => Event::RouteRejected,
            Self::Unreachable => Event::NextHopUnreachable,
            Self::ContactLimit(_) => Event::ContactLimit,
            Self::TableFull(_) => Event::BindingLimit,
            Self::TransactionsFull(_) => Event::TransactionLimit,
            Self::DialogsFull(_) => Event::DialogLimit,
            _ => return None,
        })
    }

    /// The header lines that the RFC demands with the status, into `lines`.
    pub(crate) fn lines<const N: usize>(&self, request: &Message<'_>, lines: &mut Text<N>) {
        // A text that is full stays as it is; the status says enough.
        let _ = match self {
            Self::Method | Self::UnknownMethod => write!(lines, "Allow: {ALLOW}\r\n"),
            Self::Extension(name) => unsupported(request, *name, lines),
            Self::PathUnasked => lines.write_str("Unsupported: path\r\n"),
            Self::TooBrief(seconds) => write!(lines, "Min-Expires: {seconds}\r\n"),
            Self::Overload(Overload { retry_after: Some(seconds) })
            | Self::ContactLimit(seconds)
            | Self::TableFull(seconds)
            | Self::TransactionsFull(seconds)
            | Self::DialogsFull(seconds)
            | Self::Draining(seconds) => {
                write!(lines, "Retry-After: {seconds}\r\n")
            }
            _ => Ok(()),
        };
    }
}

/// `Unsupported` with the option tags of `name` that are unknown: the registrar knows some, the proxy none.
fn unsupported<const N: usize>(request: &Message<'_>, name: HeaderName, lines: &mut Text<N>) -> fmt::Result {
    lines.line(|line| {
        line.write_str("Unsupported: ")?;
        let known = |tag: &[u8]| {
            name == HeaderName::Require
                && request.method() == Some(Method::Register)
                && EXTENSIONS.iter().any(|known| tag.eq_ignore_ascii_case(known))
        };
        let tags = request.values::<Token<'_>>(name).map_while(Result::ok).filter(|tag| !known(tag.0));
        for (n, tag) in tags.enumerate() {
            if n > 0 {
                line.write_str(", ")?;
            }
            line.push(tag.0)?;
        }
        Ok(())
    })
}

/// The reason phrase.
impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unreadable(e) => return fmt::Display::fmt(e, f),
            Self::Header(e) => return fmt::Display::fmt(e, f),
            Self::Uri(e) => return write!(f, "Bad Request-URI at octet {}", e.at),
            Self::UriIn(name, e) => return write!(f, "Bad URI in {name} at octet {}", e.at),
            Self::Contact(what) => what,
            Self::Relay => "Not Served Here",
            Self::Challenge { role: Role::Server, .. } => "Unauthorized",
            Self::Challenge { role: Role::Proxy, .. } => "Proxy Auth Required",
            Self::DigestUri => "Digest URI Is Not the Request-URI",
            Self::Forbidden => "Forbidden",
            Self::ContactIsUs => "Contact Is This Server",
            Self::NotFound => "Not Found",
            Self::Method => "Method Not Allowed",
            Self::Scheme => "Unsupported URI Scheme",
            Self::Extension(_) | Self::PathUnasked => "Bad Extension",
            Self::FirstHop => "First Hop Lacks Outbound Support",
            Self::TooBrief(_) => "Interval Too Brief",
            Self::Unavailable => "Temporarily Unavailable",
            Self::Breadth => "Max-Breadth Exceeded",
            Self::NoTransaction => "Call/Transaction Does Not Exist",
            Self::Loop => "Loop Detected",
            Self::TooManyHops => "Too Many Hops",
            Self::OutOfOrder => "CSeq Out of Order",
            Self::Unreachable => "Next Hop Unreachable",
            Self::UnknownMethod => "Not Implemented",
            Self::ContactLimit(_) => "Too Many Contacts",
            Self::TableFull(_) | Self::TransactionsFull(_) => "Service Unavailable",
            Self::DialogsFull(_) => "Too Many Calls",
            Self::Draining(_) => "Going Down",
            Self::Overload(_) => "Overloaded",
            Self::Awaited => "Next Hop Not Known Yet",
            Self::GatewaysDown => "No Gateway Available",
            Self::Rejected(rejection) => rejection.phrase(),
            Self::TooLarge => "Message Too Large",
        })
    }
}

/// The counter of replies with this code.
pub(crate) fn reply_event(code: u16) -> Event {
    match code {
        401 => Event::Reply401,
        407 => Event::Reply407,
        100 => Event::Reply100,
        408 => Event::Reply408,
        440 => Event::Reply440,
        487 => Event::Reply487,
        403 => Event::Reply403,
        404 => Event::Reply404,
        405 => Event::Reply405,
        414 => Event::Reply414,
        416 => Event::Reply416,
        420 => Event::Reply420,
        423 => Event::Reply423,
        439 => Event::Reply439,
        480 => Event::Reply480,
        481 => Event::Reply481,
        482 => Event::Reply482,
        483 => Event::Reply483,
        500 => Event::Reply500,
        501 => Event::Reply501,
        503 => Event::Reply503,
        505 => Event::Reply505,
        513 => Event::Reply513,
        200 => Event::Reply200,
        _ => Event::Reply400,
    }
}
