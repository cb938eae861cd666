//! Limits on everything a sender can count up, each with its reason.
//!
//! Exceeding one is a typed error, named with each constant; nothing grows without bound. A [`Fault`](crate::Fault) maps
//! to a status by [`ParseError::status`](crate::ParseError::status); every [`ValueFault`](crate::ValueFault) is 400 to a
//! request whose essential headers have it, and drops a response.
//!
//! Nothing but these limits the length of a header's value: it ends with the datagram at the latest.

/// Octets in a message. Offsets are 16 bits wide, and a UDP datagram carries at most 65,535 − 8 octets (RFC 768).
///
/// Over it: [`Fault::TooLarge`](crate::Fault::TooLarge), whose status is 513 (RFC 3261 section 21.5.7). Nothing can be
/// salvaged of such a message, so from the network's side it is dropped. An edit that would make one longer is refused:
/// [`EditError::NoRoom`](crate::EditError::NoRoom).
pub const MESSAGE: usize = 65_535;

/// Header lines in a message. A path of 70 hops (the initial Max-Forwards, RFC 3261 section 8.1.1.6) can leave
/// 70 Via and 70 Record-Route lines; the rest is for the other headers. The index numbers them in 8 bits, of which one
/// value says that there is none; its entries are 8 octets: 2 KiB.
///
/// Over it: [`Fault::TooManyHeaders`](crate::Fault::TooManyHeaders), 513. The answer is built from the lines that fit.
pub const HEADER_LINES: usize = 255;

/// Octets in a header name. The longest registered one has 29; the length is kept in 8 bits.
///
/// Over it: [`Fault::HeaderNameTooLong`](crate::Fault::HeaderNameTooLong), 400.
pub const HEADER_NAME: usize = 255;

/// Values in one comma-separated list that an iterator gives out before it ends in an error: the 70 hops of
/// [`HEADER_LINES`], with room. Counted over all lines of the header.
///
/// Over it: the iterator's last item is [`ValueFault::TooMany`](crate::ValueFault::TooMany).
pub const LIST_VALUES: usize = 128;

/// Parameters of one header value, parameters of one URI, and headers of one URI. The longest Contact in the field (3GPP
/// feature tags) has about 20.
///
/// Over it: [`ValueFault::TooMany`](crate::ValueFault::TooMany) for the whole value.
pub const PARAMETERS: usize = 64;

/// Octets in a branch, From or To tag, or Call-ID that is accepted: these become keys of tables and are copied into
/// arenas.
///
/// Over it: [`ValueFault::TooLong`](crate::ValueFault::TooLong).
pub const IDENTIFIER: usize = 1024;

/// Octets in a URI, wherever it stands.
///
/// Over it: as Request-URI [`Fault::RequestUriTooLong`](crate::Fault::RequestUriTooLong), 414 (RFC 3261 section
/// 21.4.12); elsewhere [`ValueFault::TooLong`](crate::ValueFault::TooLong) when the URI is parsed.
pub const REQUEST_URI: usize = 4096;

/// Octets in a host name: RFC 1035 section 2.3.4.
///
/// Over it: [`ValueFault::Host`](crate::ValueFault::Host).
pub const HOST: usize = 255;

/// The CSeq number is below 2^31: RFC 3261 section 8.1.1.5.
///
/// Over it: [`ValueFault::Number`](crate::ValueFault::Number).
pub const CSEQ: u32 = (1 << 31) - 1;

/// Max-Forwards is 0 to 255: RFC 3261 section 20.22.
///
/// Over it: [`ValueFault::Number`](crate::ValueFault::Number).
pub const MAX_FORWARDS: u32 = 255;

/// Edits in one plan: a forward needs six, a reply one for each run of headers that is left out.
///
/// Over it: [`EditError::TooMany`](crate::EditError::TooMany).
pub const EDITS: usize = 64;

/// Octets of new text in one plan: ten contacts of a 200 to REGISTER at their longest usual size.
///
/// Over it: [`EditError::TextFull`](crate::EditError::TextFull).
pub const EDIT_TEXT: usize = 8192;

/// Parameters of one challenge or of credentials: RFC 7616 defines 14.
///
/// Over it: [`ValueFault::TooMany`](crate::ValueFault::TooMany).
pub const AUTH_PARAMETERS: usize = 32;

/// Media descriptions (`m=` lines) read from one SDP body.
///
/// Over it: [`SdpFacts::truncated`](crate::SdpFacts::truncated).
pub const SDP_MEDIA: usize = 8;

/// Payload formats read from one `m=` line.
///
/// Over it: [`SdpFacts::truncated`](crate::SdpFacts::truncated).
pub const SDP_FORMATS: usize = 16;

/// Lines of an SDP body that are looked at.
///
/// Over it: [`SdpFacts::truncated`](crate::SdpFacts::truncated).
pub const SDP_LINES: usize = 512;
