//! Limits on everything a sender can count up, each with its reason.
//!
//! Exceeding one is a typed error ([`Fault`](crate::Fault)) that maps to a status; nothing grows without bound.

/// Octets in a message. Offsets are 16 bits wide, and a UDP datagram carries at most 65,535 − 8 octets (RFC 768).
/// Over it: 513 (RFC 3261 section 21.5.7).
pub const MESSAGE: usize = 65_535;

/// Header lines in a message. A path of 70 hops (the initial Max-Forwards, RFC 3261 section 8.1.1.6) can leave
/// 70 Via and 70 Record-Route lines; the rest is for the other headers. The index numbers them in 8 bits, of which one
/// value says that there is none; its entries are 8 octets: 2 KiB.
pub const HEADER_LINES: usize = 255;

/// Octets in a header name. The longest registered one has 29; the length is kept in 8 bits.
pub const HEADER_NAME: usize = 255;

/// Values in one comma-separated list that an iterator gives out before it ends in an error: the 70 hops of
/// [`HEADER_LINES`], with room. Counted over all lines of the header.
pub const LIST_VALUES: usize = 128;

/// Parameters of one header value or URI. The longest Contact in the field (3GPP feature tags) has about 20.
pub const PARAMETERS: usize = 64;

/// Octets in a branch, tag or Call-ID that is accepted: these become keys of tables and are copied into arenas.
pub const IDENTIFIER: usize = 1024;

/// Octets in a Request-URI. Over it: 414 (RFC 3261 section 21.4.12).
pub const REQUEST_URI: usize = 4096;

/// Octets in a host name: RFC 1035 section 2.3.4.
pub const HOST: usize = 255;

/// The CSeq number is below 2^31: RFC 3261 section 8.1.1.5.
pub const CSEQ: u32 = (1 << 31) - 1;

/// Max-Forwards is 0 to 255: RFC 3261 section 20.22.
pub const MAX_FORWARDS: u32 = 255;

/// Edits in one plan: a forward needs six, a reply one for each run of headers that is left out.
pub const EDITS: usize = 64;

/// Octets of new text in one plan: ten contacts of a 200 to REGISTER at their longest usual size.
pub const EDIT_TEXT: usize = 8192;

/// Parameters of one challenge or of credentials: RFC 7616 defines 14.
pub const AUTH_PARAMETERS: usize = 32;

/// Media descriptions (`m=` lines) read from one SDP body.
pub const SDP_MEDIA: usize = 8;

/// Payload formats read from one `m=` line.
pub const SDP_FORMATS: usize = 16;

/// Lines of an SDP body that are looked at.
pub const SDP_LINES: usize = 512;
