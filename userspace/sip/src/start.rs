//! Start lines and methods: RFC 3261 sections 7.1 and 7.2.

use core::fmt;

use crate::class;
use crate::error::Fault;
use crate::limit;
use crate::scan;
use crate::text::Text;

/// `Method = INVITEm / ACKm / … / extension-method` (RFC 3261 sections 7.1 and 25.1): any token, and case counts. Limited by
/// the datagram alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs)] // the names are the methods
pub enum Method<'a> {
    Invite,
    Ack,
    Bye,
    Cancel,
    Register,
    Options,
    Prack,
    Update,
    Info,
    Message,
    Subscribe,
    Notify,
    Refer,
    Publish,
    /// A token that is none of the above.
    Other(&'a [u8]),
}

impl<'a> Method<'a> {
    /// The method that `text` spells; `None` when it is not a token.
    #[inline]
    #[must_use]
    pub fn from_bytes(text: &'a [u8]) -> Option<Method<'a>> {
        Some(match text {
            b"INVITE" => Method::Invite,
            b"ACK" => Method::Ack,
            b"BYE" => Method::Bye,
            b"CANCEL" => Method::Cancel,
            b"REGISTER" => Method::Register,
            b"OPTIONS" => Method::Options,
            b"PRACK" => Method::Prack,
            b"UPDATE" => Method::Update,
            b"INFO" => Method::Info,
            b"MESSAGE" => Method::Message,
            b"SUBSCRIBE" => Method::Subscribe,
            b"NOTIFY" => Method::Notify,
            b"REFER" => Method::Refer,
            b"PUBLISH" => Method::Publish,
            other if class::is_token(other) => Method::Other(other),
            _ => return None,
        })
    }

    /// The method's spelling.
    #[must_use]
    pub fn as_bytes(self) -> &'a [u8] {
        match self {
            Method::Invite => b"INVITE",
            Method::Ack => b"ACK",
            Method::Bye => b"BYE",
            Method::Cancel => b"CANCEL",
            Method::Register => b"REGISTER",
            Method::Options => b"OPTIONS",
            Method::Prack => b"PRACK",
            Method::Update => b"UPDATE",
            Method::Info => b"INFO",
            Method::Message => b"MESSAGE",
            Method::Subscribe => b"SUBSCRIBE",
            Method::Notify => b"NOTIFY",
            Method::Refer => b"REFER",
            Method::Publish => b"PUBLISH",
            Method::Other(text) => text,
        }
    }
}

impl fmt::Display for Method<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.as_bytes().escape_ascii(), f)
    }
}

/// The first line of a message: `Request-Line / Status-Line` (RFC 3261 sections 7.1, 7.2 and 25.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StartLine<'a> {
    /// A request.
    Request(RequestLine<'a>),
    /// A response.
    Status(StatusLine<'a>),
}

/// `Request-Line = Method SP Request-URI SP SIP-Version CRLF` (RFC 3261 section 7.1), with a single SP at each place. The
/// version is SIP/2.0 in any case.
///
/// Errors: [`Fault::StartLine`], [`Fault::Method`], [`Fault::RequestUri`], [`Fault::RequestUriTooLong`], [`Fault::Version`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestLine<'a> {
    /// The method.
    pub method: Method<'a>,
    /// The Request-URI, not yet parsed: 1 to [`limit::REQUEST_URI`] octets of visible ASCII. In a message that was
    /// [salvaged](crate::Message::salvage), any bytes but control bytes other than HTAB, or nothing.
    pub uri: &'a [u8],
}

/// `Status-Line = SIP-Version SP Status-Code SP Reason-Phrase CRLF` (RFC 3261 section 7.2).
///
/// Errors: [`Fault::StartLine`], [`Fault::Version`], [`Fault::StatusCode`], [`Fault::Control`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StatusLine<'a> {
    /// 100 to 699.
    pub code: u16,
    /// The reason phrase; may be empty, may be UTF-8.
    pub reason: &'a [u8],
}

/// Offsets inside a start line, relative to its first byte. What the index keeps.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Spans {
    /// 0 for a request.
    pub(crate) code: u16,
    /// End of the method.
    pub(crate) method: u16,
    /// Which one it is, in [`METHODS`]; beyond it when none of them.
    pub(crate) known: u8,
    /// Start of the URI or of the reason phrase.
    pub(crate) from: u16,
    /// End of the URI or of the reason phrase.
    pub(crate) to: u16,
}

impl Spans {
    pub(crate) const NONE: Spans = Spans { code: 0, method: 0, known: UNKNOWN, from: 0, to: 0 };
}

/// Does a datagram start like a response? No method can: `/` is not a token byte.
#[inline(always)]
pub(crate) fn is_response(bytes: &[u8]) -> bool {
    // Bit 5 makes letters lower case, and `/` would otherwise come from a control byte, which no line may hold.
    const SIP: u32 = u32::from_le_bytes(*b"sip/");
    bytes.first_chunk::<4>().is_some_and(|head| u32::from_le_bytes(*head) | 0x0020_2020 == SIP)
}

/// ` SIP/2.0`, in any case.
#[inline(always)]
fn is_tail(bytes: &[u8; 8]) -> bool {
    const TAIL: u64 = u64::from_le_bytes(*b" sip/2.0");
    u64::from_le_bytes(*bytes) | 0x0000_0000_2020_2000 == TAIL
}

/// `SIP/` 1*DIGIT `.` 1*DIGIT, any version.
fn is_version(text: &[u8]) -> bool {
    let Some((head, digits)) = text.split_first_chunk::<4>() else { return false };
    let major = class::span(digits, class::DIGIT);
    let Some((b'.', minor)) = digits.get(major..).and_then(<[u8]>::split_first) else { return false };
    head.eq_ignore_ascii_case(b"SIP/") && major > 0 && !minor.is_empty() && class::all(minor, class::DIGIT)
}

/// Reads a start line (without its CRLF). On a fault the offset is relative to the line.
///
/// With `lenient`, a request line is taken even if its URI or version is not acceptable, so that it can be
/// answered.
#[inline]
pub(crate) fn parse(line: &[u8], lenient: bool) -> Result<Spans, (Fault, usize)> {
    if is_response(line) {
        return status(line);
    }
    let method = class::span(line, class::TOKEN);
    if method == 0 || line.get(method) != Some(&b' ') {
        // A first line that ends like a request line is a request with a bad method; anything else is noise.
        let request = line.last_chunk::<8>().is_some_and(is_tail);
        return Err((if request { Fault::Method } else { Fault::StartLine }, method));
    }
    let from = method + 1;
    let to = match line.last_chunk::<8>() {
        Some(tail) if is_tail(tail) => line.len() - 8,
        _ => {
            // Trailing white space, another version, or not SIP at all.
            let text = line.trim_ascii_end();
            let Some(space) = memchr::memrchr(b' ', text) else { return Err((Fault::StartLine, method)) };
            if !is_version(&text[space + 1..]) {
                return Err((Fault::StartLine, space));
            }
            if text.len() != line.len() {
                if !lenient {
                    return Err((Fault::RequestUri, text.len()));
                }
            } else if !lenient {
                return Err((Fault::Version, space + 1));
            }
            space
        }
    };
    let uri = line.get(from..to).unwrap_or_default();
    if !lenient {
        if uri.is_empty() {
            return Err((Fault::RequestUri, from));
        }
        let visible = scan::visible_end(Text::alone(uri), 0);
        if visible != uri.len() {
            return Err((Fault::RequestUri, from + visible));
        }
        if uri.len() > limit::REQUEST_URI {
            return Err((Fault::RequestUriTooLong, from));
        }
    }
    let name = Method::from_bytes(line.get(..method).unwrap_or_default());
    let known = METHODS.iter().position(|m| Some(*m) == name).unwrap_or(UNKNOWN.into()) as u8;
    Ok(Spans { code: 0, method: method as u16, known, from: from as u16, to: to.max(from) as u16 })
}

/// The methods that [`Method`] has names for.
pub(crate) const METHODS: [Method<'static>; 14] = [
    Method::Invite,
    Method::Ack,
    Method::Bye,
    Method::Cancel,
    Method::Register,
    Method::Options,
    Method::Prack,
    Method::Update,
    Method::Info,
    Method::Message,
    Method::Subscribe,
    Method::Notify,
    Method::Refer,
    Method::Publish,
];
const UNKNOWN: u8 = u8::MAX;

/// One of the six methods of RFC 3261, which is the first `len` bytes of a word.
#[inline(always)]
pub(crate) fn usual_method(word: [u8; 8], len: usize) -> Option<Method<'static>> {
    // Bytes that do not count are shifted out.
    let is = |method: &[u8; 8], len: u32| {
        u64::from_le_bytes(word) << (64 - 8 * len) == u64::from_le_bytes(*method) << (64 - 8 * len)
    };
    Some(match len {
        6 if is(b"INVITE  ", 6) => Method::Invite,
        6 if is(b"CANCEL  ", 6) => Method::Cancel,
        3 if is(b"ACK     ", 3) => Method::Ack,
        3 if is(b"BYE     ", 3) => Method::Bye,
        8 if is(b"REGISTER", 8) => Method::Register,
        7 if is(b"OPTIONS ", 7) => Method::Options,
        _ => return None,
    })
}

/// The request line at `start` if it is written as nearly all are: one of the six methods of RFC 3261, one SP, something
/// visible, ` SIP/2.0`, CRLF, and no folding after it. Also where the next line begins. [`parse`] reads any other.
#[inline(always)]
pub(crate) fn usual(bytes: &[u8], start: usize) -> Option<(Spans, usize)> {
    const fn word(text: &[u8; 8]) -> u64 {
        u64::from_le_bytes(*text)
    }
    let text = Text::alone(bytes);
    let head = u128::from_le_bytes(*text.window(start)?);
    let low = head as u64;
    let (known, len) = if low << 8 == word(b"INVITE  ") << 8 {
        (0, 6)
    } else if low << 32 == word(b"ACK     ") << 32 {
        (1, 3)
    } else if low << 32 == word(b"BYE     ") << 32 {
        (2, 3)
    } else if low << 8 == word(b"CANCEL  ") << 8 {
        (3, 6)
    } else if low == word(b"REGISTER") && (head >> 64) as u8 == b' ' {
        (4, 8)
    } else if low == word(b"OPTIONS ") {
        (5, 7)
    } else {
        return None;
    };
    let from = start + len + 1;
    let to = scan::visible_end(text, from);
    const TAIL: u128 = u128::from_le_bytes(*b" SIP/2.0\r\n      ");
    if u128::from_le_bytes(*text.window(to)?) << 48 != TAIL << 48
        || to == from
        || to - from > limit::REQUEST_URI
    {
        return None;
    }
    let next = to + 10;
    if matches!(text.byte(next), b' ' | b'\t') {
        return None;
    }
    let spans =
        Spans { code: 0, method: len as u16, known, from: (from - start) as u16, to: (to - start) as u16 };
    Some((spans, next))
}

fn status(line: &[u8]) -> Result<Spans, (Fault, usize)> {
    match line.first_chunk::<8>() {
        Some(head) if head.eq_ignore_ascii_case(b"SIP/2.0 ") => {}
        _ => {
            let version = line.split(|&b| b == b' ').next().unwrap_or_default();
            let other = is_version(version) && version != line && !version.ends_with(b"/2.0");
            return Err((if other { Fault::Version } else { Fault::StartLine }, 0));
        }
    }
    let digits = line.get(8..11).and_then(class::decimal).unwrap_or(0);
    // The SP after the code is missing in some stacks when there is no reason phrase; nothing hangs on it.
    let from = match line.get(11) {
        None => 11,
        Some(b' ') => 12,
        Some(_) => return Err((Fault::StatusCode, 11)),
    };
    if !(100..700).contains(&digits) {
        return Err((Fault::StatusCode, 8));
    }
    Ok(Spans { code: digits as u16, method: 0, known: UNKNOWN, from, to: line.len() as u16 })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn methods_are_spelled_as_they_are_read() {
        for text in [
            &b"INVITE"[..],
            b"ACK",
            b"BYE",
            b"CANCEL",
            b"REGISTER",
            b"OPTIONS",
            b"PRACK",
            b"UPDATE",
            b"INFO",
            b"MESSAGE",
            b"SUBSCRIBE",
            b"NOTIFY",
            b"REFER",
            b"PUBLISH",
        ] {
            let method = Method::from_bytes(text).unwrap();
            assert_eq!(method.as_bytes(), text);
            assert!(!matches!(method, Method::Other(_)));
        }
        assert_eq!(Method::from_bytes(b"invite"), Some(Method::Other(b"invite")));
        assert_eq!(Method::from_bytes(b"IN(VITE"), None);
        assert_eq!(Method::from_bytes(b""), None);
    }

    #[test]
    fn start_lines_get_their_fault() {
        let fault = |line: &[u8]| parse(line, false).err().map(|(f, _)| f);
        assert_eq!(fault(b"INVITE sip:a@b SIP/2.0"), None);
        assert_eq!(fault(b"INVITE sip:a@b sip/2.0"), None);
        assert_eq!(fault(b"INVITE  sip:a@b SIP/2.0"), Some(Fault::RequestUri));
        assert_eq!(fault(b"INVITE sip:a@b  SIP/2.0"), Some(Fault::RequestUri));
        assert_eq!(fault(b"INVITE sip:a@b\tSIP/2.0"), Some(Fault::StartLine));
        assert_eq!(fault(b"INVITE sip:a@b SIP/2.0 "), Some(Fault::RequestUri));
        assert_eq!(fault(b"INVITE sip:a@b SIP/7.0"), Some(Fault::Version));
        assert_eq!(fault(b"INVITE sip:a@b SIP/2.0.1"), Some(Fault::StartLine));
        assert_eq!(fault(b"INVITE sip:a@b HTTP/1.1"), Some(Fault::StartLine));
        assert_eq!(fault(b"INVITE SIP/2.0"), Some(Fault::RequestUri));
        assert_eq!(fault(b"IN\"VITE sip:a@b SIP/2.0"), Some(Fault::Method));
        assert_eq!(fault(b"INVITE"), Some(Fault::StartLine));
        assert_eq!(fault(b""), Some(Fault::StartLine));
        assert_eq!(fault(b"SIP/2.0 200 OK"), None);
        assert_eq!(fault(b"SIP/2.0 100 "), None);
        assert_eq!(fault(b"SIP/2.0 100"), None);
        assert_eq!(fault(b"SIP/2.0 099 x"), Some(Fault::StatusCode));
        assert_eq!(fault(b"SIP/2.0 700 x"), Some(Fault::StatusCode));
        assert_eq!(fault(b"SIP/2.0 4294967301 x"), Some(Fault::StatusCode));
        assert_eq!(fault(b"SIP/3.0 200 OK"), Some(Fault::Version));
        assert_eq!(fault(b"SIP/2.0"), Some(Fault::StartLine));
        assert_eq!(fault(b"SIP/x 200 OK"), Some(Fault::StartLine));
    }
}
