//! What was wrong with a message, and where.
//!
//! [`ParseError`] is about the message as a whole (start line, framing, header lines) and comes from
//! [`Message::parse`](crate::Message::parse); [`ValueError`] is about one header value or URI and comes from the
//! typed views. Both know which status answers them.

use core::fmt;

use crate::name::HeaderName;

/// Why a datagram is not a SIP message that can be served.
///
/// The status after each is what answers a request with it; see [`ParseError::status`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fault {
    /// Nothing but CRLF: a keep-alive (RFC 5626 section 3.5.1) or noise. Dropped.
    Empty,
    /// More than [`limit::MESSAGE`](crate::limit::MESSAGE) octets. 513, but nothing can be salvaged to build it from.
    TooLarge,
    /// The first line is neither a request line nor a status line (RFC 3261 sections 7.1 and 7.2), does not end, or is
    /// folded. Dropped.
    StartLine,
    /// A request line of SIP/2.0 whose method is not a token. Dropped.
    Method,
    /// No Request-URI, a byte in it that is not visible ASCII, or white space around it beyond the single SP (RFC 3261
    /// section 7.1). 400. Whether it is a URI is asked by [`Message::request_uri`](crate::Message::request_uri) alone.
    RequestUri,
    /// The Request-URI has more than [`limit::REQUEST_URI`](crate::limit::REQUEST_URI) octets. 414.
    RequestUriTooLong,
    /// A well-formed SIP version which is not 2.0. 505.
    Version,
    /// A status code that is not three digits from 100 to 699. Dropped.
    StatusCode,
    /// A CR or LF among the header lines which is not part of a CRLF, or an LF alone at the end of the start line.
    /// Dropped.
    BareLineEnd,
    /// A control character, NUL and DEL among them, outside a quoted pair; HTAB is white space. Dropped.
    Control,
    /// A header line without a colon, with an empty name, or with a name that is not a token. 400.
    HeaderLine,
    /// A header name of more than [`limit::HEADER_NAME`](crate::limit::HEADER_NAME) octets. 400.
    HeaderNameTooLong,
    /// More than [`limit::HEADER_LINES`](crate::limit::HEADER_LINES) header lines. 513.
    TooManyHeaders,
    /// The datagram ended before the empty line after the headers. 400.
    NoEmptyLine,
    /// From, To, Call-ID, CSeq, Max-Forwards or Content-Length is there twice (RFC 3261 section 7.3.1), whatever the two
    /// say. 400. Other headers that may be there once are judged when they are read: [`ValueFault::Duplicate`].
    Duplicate(HeaderName),
    /// Content-Length is not a number, or one over 2^32 − 1. 400.
    ContentLength,
    /// Content-Length is larger than what is left of the datagram (RFC 3261 section 18.3). 400.
    Truncated,
}

/// A [`Fault`] and its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ParseError {
    /// What was wrong.
    pub fault: Fault,
    /// Offset into the datagram, at or shortly before the trouble.
    pub at: usize,
    /// The datagram starts like a response; responses are never answered.
    pub response: bool,
}

impl ParseError {
    /// The status that answers a request with this fault; `None` when it is dropped instead, which is the case for
    /// every response (RFC 3261 section 18.1.2) and for what does not start like a request.
    ///
    /// An answer also needs something to be built from: when [`Message::salvage`](crate::Message::salvage) has nothing, or
    /// a request without Via, or an ACK, there is none ([`verdict::judge`](crate::verdict::judge)).
    #[must_use]
    pub fn status(&self) -> Option<u16> {
        if self.response {
            return None;
        }
        match self.fault {
            Fault::Empty | Fault::StartLine | Fault::Method | Fault::StatusCode => None,
            // A reply would have to repeat the bytes that are the trouble.
            Fault::BareLineEnd | Fault::Control => None,
            Fault::TooLarge | Fault::TooManyHeaders => Some(513),
            Fault::RequestUriTooLong => Some(414),
            Fault::Version => Some(505),
            Fault::RequestUri
            | Fault::HeaderLine
            | Fault::HeaderNameTooLong
            | Fault::NoEmptyLine
            | Fault::Duplicate(_)
            | Fault::ContentLength
            | Fault::Truncated => Some(400),
        }
    }
}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self.fault {
            Fault::Empty => "nothing but CRLF",
            Fault::TooLarge => "message too large",
            Fault::StartLine => "neither request nor response",
            Fault::Method => "method is not a token",
            Fault::RequestUri => "bad byte in the request line",
            Fault::RequestUriTooLong => "Request-URI too long",
            Fault::Version => "SIP version not supported",
            Fault::StatusCode => "bad status code",
            Fault::BareLineEnd => "CR or LF alone",
            Fault::Control => "control character",
            Fault::HeaderLine => "bad header line",
            Fault::HeaderNameTooLong => "header name too long",
            Fault::TooManyHeaders => "too many header lines",
            Fault::NoEmptyLine => "no empty line after the headers",
            Fault::Duplicate(name) => return write!(f, "{name} twice at octet {}", self.at),
            Fault::ContentLength => "bad Content-Length",
            Fault::Truncated => "Content-Length larger than the datagram",
        };
        write!(f, "{what} at octet {}", self.at)
    }
}

impl core::error::Error for ParseError {}

/// Why a header value or URI cannot be read. All of them are 400 to a request ([`ValueError::status`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ValueFault {
    /// The header is not there.
    Missing,
    /// The header is there more than once and may not be.
    Duplicate,
    /// The value ends too early.
    Ended,
    /// A byte that the grammar does not allow here.
    Unexpected,
    /// A quoted string or angle bracket that does not end.
    Unterminated,
    /// A number out of its range, or not a number.
    Number,
    /// A `%` that two hexadecimal digits do not follow.
    Escape,
    /// A host that is neither name nor address.
    Host,
    /// A port that is not 1 to 65,535.
    Port,
    /// A value longer than its limit.
    TooLong,
    /// More values or parameters than the limit.
    TooMany,
    /// Two values that must agree do not (CSeq method and request method).
    Mismatch,
    /// A parameter that may be there once is there twice.
    DuplicateParameter,
    /// A protocol other than SIP/2.0 in a Via.
    Protocol,
}

/// A [`ValueFault`], its header and its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ValueError {
    /// The header; [`HeaderName::Other`] when the value was parsed on its own.
    pub header: HeaderName,
    /// What was wrong.
    pub fault: ValueFault,
    /// Offset into the message (or into the value, when it was parsed on its own).
    pub at: usize,
}

impl ValueError {
    pub(crate) const fn new(fault: ValueFault, at: usize) -> Self {
        Self { header: HeaderName::Other, fault, at }
    }

    /// The same error, of that header.
    #[inline]
    #[must_use]
    pub(crate) fn of(mut self, header: HeaderName) -> Self {
        self.header = header;
        self
    }

    /// The status that answers a request with this fault. A response with it is dropped.
    #[must_use]
    pub fn status(&self) -> u16 {
        400
    }
}

impl fmt::Display for ValueError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self.fault {
            ValueFault::Missing => return write!(f, "{} is missing", self.header),
            ValueFault::Duplicate => "there twice",
            ValueFault::Ended => "ends early",
            ValueFault::Unexpected => "unexpected byte",
            ValueFault::Unterminated => "quote or bracket without end",
            ValueFault::Number => "bad number",
            ValueFault::Escape => "bad escape",
            ValueFault::Host => "bad host",
            ValueFault::Port => "bad port",
            ValueFault::TooLong => "too long",
            ValueFault::TooMany => "too many",
            ValueFault::Mismatch => "does not match",
            ValueFault::DuplicateParameter => "parameter twice",
            ValueFault::Protocol => "not SIP/2.0",
        };
        write!(f, "{}: {what} at octet {}", self.header, self.at)
    }
}

impl core::error::Error for ValueError {}
