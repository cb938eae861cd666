//! SIP as the parties of a world read and write it: by code of their own, so that an error in the parser of the
//! product is not believed by those who judge it.
//!
//! It reads what well-behaved implementations write; [`Message::read`] says no to everything else.

use core::fmt::Write as _;
use core::net::{IpAddr, SocketAddr};

/// The port of a URI or Via that names none.
pub(crate) const DEFAULT_PORT: u16 = 5060;

/// A message that was read, over the datagram's text.
#[derive(Clone, Debug)]
pub(crate) struct Message<'a> {
    pub(crate) start: &'a str,
    /// Long name and value of every line, in order.
    headers: Vec<(&'a str, &'a str)>,
    pub(crate) body: &'a str,
}

impl<'a> Message<'a> {
    /// `None` for what is no well-formed message.
    pub(crate) fn read(bytes: &'a [u8]) -> Option<Self> {
        let text = core::str::from_utf8(bytes).ok()?;
        let (head, body) = text.split_once("\r\n\r\n")?;
        let mut lines = head.split("\r\n");
        let start = lines.next()?;
        if !start.starts_with("SIP/2.0 ") && !start.ends_with(" SIP/2.0") {
            return None;
        }
        let mut headers = Vec::with_capacity(16);
        for line in lines {
            // Nobody here folds lines but strangers.
            if line.starts_with([' ', '\t']) {
                return None;
            }
            let (name, value) = line.split_once(':')?;
            headers.push((long_name(name.trim_end()), value.trim()));
        }
        let message = Self { start, headers, body };
        match message.get("Content-Length").map(str::parse::<usize>) {
            None => Some(message),
            Some(Ok(length)) if length == body.len() => Some(message),
            _ => None,
        }
    }

    /// Every line: long name and value.
    pub(crate) fn lines(&self) -> impl Iterator<Item = (&'a str, &'a str)> + '_ {
        self.headers.iter().copied()
    }

    /// The first line with this name.
    pub(crate) fn get(&self, name: &str) -> Option<&'a str> {
        self.headers.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, value)| *value)
    }

    /// All values of a header, its lines split at commas.
    pub(crate) fn values<'s>(&'s self, name: &'s str) -> impl Iterator<Item = &'a str> + 's {
        self.headers.iter().filter(move |(n, _)| n.eq_ignore_ascii_case(name)).flat_map(|(_, v)| split(v))
    }

    /// The code of a response.
    pub(crate) fn code(&self) -> Option<u16> {
        self.start.strip_prefix("SIP/2.0 ")?.get(..3)?.parse().ok()
    }

    /// The method of a request, or of the request that a response answers.
    pub(crate) fn method(&self) -> &'a str {
        match self.code() {
            None => self.start.split(' ').next().unwrap_or_default(),
            Some(_) => self.cseq().map_or("", |(_, method)| method),
        }
    }

    /// The Request-URI; empty in a response.
    pub(crate) fn uri(&self) -> &'a str {
        match self.code() {
            None => self.start.split(' ').nth(1).unwrap_or_default(),
            Some(_) => "",
        }
    }

    pub(crate) fn call_id(&self) -> &'a str {
        self.get("Call-ID").unwrap_or_default()
    }

    /// Number and method.
    pub(crate) fn cseq(&self) -> Option<(u32, &'a str)> {
        let (number, method) = self.get("CSeq")?.split_once(' ')?;
        Some((number.trim().parse().ok()?, method.trim()))
    }

    /// The tag of From.
    pub(crate) fn tag_of_from(&self) -> Option<&'a str> {
        param(self.get("From")?, "tag")
    }

    /// The tag of To.
    pub(crate) fn tag_of_to(&self) -> Option<&'a str> {
        param(self.get("To")?, "tag")
    }

    /// The first Via.
    pub(crate) fn top_via(&self) -> Option<Via<'a>> {
        Via::read(self.values("Via").next()?)
    }

    /// The second Via.
    pub(crate) fn second_via(&self) -> Option<Via<'a>> {
        Via::read(self.values("Via").nth(1)?)
    }

    /// URI of the first Contact.
    pub(crate) fn contact(&self) -> Option<&'a str> {
        self.values("Contact").next().map(uri_of)
    }
}

/// A value of Via.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Via<'a> {
    /// `host[:port]` as it was written.
    pub(crate) sent_by: &'a str,
    pub(crate) branch: &'a str,
    text: &'a str,
}

impl<'a> Via<'a> {
    fn read(text: &'a str) -> Option<Self> {
        let rest = text.strip_prefix("SIP/2.0/UDP ")?;
        let sent_by = rest.split(';').next()?.trim();
        Some(Self { sent_by, branch: param(text, "branch").unwrap_or_default(), text })
    }

    /// Where a response goes (RFC 3261 section 18.2.2, RFC 3581 section 4) for a request that came from `source`.
    pub(crate) fn reply_to(&self, source: SocketAddr) -> SocketAddr {
        let port = if has_param(self.text, "rport") {
            source.port()
        } else {
            self.sent_by.rsplit_once(':').and_then(|(_, p)| p.parse().ok()).unwrap_or(DEFAULT_PORT)
        };
        SocketAddr::new(source.ip(), port)
    }
}

/// A message being written.
#[derive(Clone, Debug)]
pub(crate) struct Draft {
    text: String,
    /// Compact header names.
    compact: bool,
}

impl Draft {
    /// Begins with the start line.
    pub(crate) fn new(start: &str, compact: bool) -> Self {
        let mut text = String::with_capacity(768);
        text.push_str(start);
        text.push_str("\r\n");
        Self { text, compact }
    }

    /// Adds a line.
    pub(crate) fn line(&mut self, name: &str, value: impl core::fmt::Display) -> &mut Self {
        let name = if self.compact { short_name(name) } else { name };
        // Writing to a string does not fail.
        let _ = write!(self.text, "{name}: {value}\r\n");
        self
    }

    /// Adds Content-Length and body.
    pub(crate) fn finish(mut self, body: &str) -> Vec<u8> {
        if !body.is_empty() {
            self.line("Content-Type", "application/sdp");
        }
        self.line("Content-Length", body.len());
        self.text.push_str("\r\n");
        self.text.push_str(body);
        self.text.into_bytes()
    }
}

const COMPACT: [(&str, &str); 9] = [
    ("Via", "v"),
    ("From", "f"),
    ("To", "t"),
    ("Call-ID", "i"),
    ("Contact", "m"),
    ("Content-Length", "l"),
    ("Content-Type", "c"),
    ("Supported", "k"),
    ("Event", "o"),
];

fn long_name(name: &str) -> &str {
    if name.len() > 1 {
        return name;
    }
    COMPACT.iter().find(|(_, short)| short.eq_ignore_ascii_case(name)).map_or(name, |(long, _)| long)
}

fn short_name(name: &str) -> &str {
    COMPACT.iter().find(|(long, _)| *long == name).map_or(name, |(_, short)| short)
}

/// Splits a list at its commas, not at those in quotes or angle brackets.
pub(crate) fn split(list: &str) -> impl Iterator<Item = &str> {
    let mut rest = Some(list);
    core::iter::from_fn(move || {
        let text = rest?;
        let (mut quoted, mut angle, mut escaped) = (false, false, false);
        for (at, c) in text.bytes().enumerate() {
            match c {
                _ if escaped => escaped = false,
                b'\\' if quoted => escaped = true,
                b'"' => quoted = !quoted,
                b'<' if !quoted => angle = true,
                b'>' if !quoted => angle = false,
                b',' if !quoted && !angle => {
                    rest = text.get(at + 1..);
                    return Some(text[..at].trim());
                }
                _ => {}
            }
        }
        rest = None;
        Some(text.trim())
    })
}

/// A header parameter: after the angle brackets where there are some.
pub(crate) fn param<'a>(value: &'a str, name: &str) -> Option<&'a str> {
    find_param(value, name).map(|v| v.trim_matches('"'))
}

/// Whether a header parameter is there, with or without value.
pub(crate) fn has_param(value: &str, name: &str) -> bool {
    find_param(value, name).is_some()
}

fn find_param<'a>(value: &'a str, name: &str) -> Option<&'a str> {
    let params = value.rsplit_once('>').map_or(value, |(_, params)| params);
    params.split(';').skip(1).find_map(|p| {
        let (n, v) = p.split_once('=').unwrap_or((p, ""));
        n.trim().eq_ignore_ascii_case(name).then_some(v.trim())
    })
}

/// The URI of a name-addr or addr-spec.
pub(crate) fn uri_of(value: &str) -> &str {
    match value.split_once('<').and_then(|(_, rest)| rest.split_once('>')) {
        Some((uri, _)) => uri,
        None => value.split(';').next().unwrap_or_default().trim(),
    }
}

/// User and host of a sip URI without parameters: `alice@example.net`.
pub(crate) fn aor_of(uri: &str) -> &str {
    let rest = uri.strip_prefix("sip:").unwrap_or(uri);
    rest.split([';', '?']).next().unwrap_or_default()
}

/// The address that a sip URI with an IP address names.
pub(crate) fn address_of(uri: &str) -> Option<SocketAddr> {
    let rest = aor_of(uri);
    let host = rest.rsplit_once('@').map_or(rest, |(_, host)| host);
    if let Ok(address) = host.parse() {
        return Some(address);
    }
    let ip: IpAddr = host.trim_matches(['[', ']']).parse().ok()?;
    Some(SocketAddr::new(ip, DEFAULT_PORT))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_read_as_it_was_written() {
        for compact in [false, true] {
            let mut draft = Draft::new("INVITE sip:bob@example.net SIP/2.0", compact);
            draft.line(
                "Via",
                "SIP/2.0/UDP 10.0.0.1:5061;branch=z9hG4bKa;rport, SIP/2.0/UDP 10.0.0.2;branch=b",
            );
            draft.line("From", "\"A, B\" <sip:a@b;x=1>;tag=7").line("To", "<sip:bob@example.net>");
            draft.line("Call-ID", "c").line("CSeq", "12 INVITE").line("Contact", "<sip:a@10.0.0.1:5061>");
            let bytes = draft.finish("v=0\r\n");
            let message = Message::read(&bytes).unwrap();
            assert_eq!((message.method(), message.uri()), ("INVITE", "sip:bob@example.net"));
            assert_eq!((message.tag_of_from(), message.tag_of_to()), (Some("7"), None));
            assert_eq!(message.cseq(), Some((12, "INVITE")));
            let via = message.top_via().unwrap();
            assert_eq!((via.sent_by, via.branch), ("10.0.0.1:5061", "z9hG4bKa"));
            assert_eq!(via.reply_to("10.9.9.9:1".parse().unwrap()).to_string(), "10.9.9.9:1");
            let second = message.second_via().unwrap();
            assert_eq!(second.branch, "b");
            assert_eq!(second.reply_to("10.9.9.9:1".parse().unwrap()).to_string(), "10.9.9.9:5060");
            assert_eq!(message.body, "v=0\r\n");
            assert_eq!(message.contact().and_then(address_of), Some("10.0.0.1:5061".parse().unwrap()));
        }
    }

    #[test]
    fn lists_and_parameters() {
        let list: Vec<_> = split("\"a,\\\"b\" <sip:x,y@z>;q=0.5 , *,<sip:c>").collect();
        assert_eq!(list, ["\"a,\\\"b\" <sip:x,y@z>;q=0.5", "*", "<sip:c>"]);
        assert_eq!(param(list[0], "q"), Some("0.5"));
        assert_eq!(uri_of(list[0]), "sip:x,y@z");
        assert_eq!(param("<sip:a;tag=no>;Tag = yes", "tag"), Some("yes"));
        assert_eq!(aor_of("sip:a@b;lr?x=1"), "a@b");
        assert!(address_of("sip:a@example.net").is_none());
    }

    #[test]
    fn what_is_no_message_is_refused() {
        for bytes in
            [&b"\r\n\r\n"[..], b"INVITE x SIP/2.0\r\nnocolon\r\n\r\n", b"A b SIP/2.0\r\nl: 4\r\n\r\nabc"]
        {
            assert!(Message::read(bytes).is_none(), "{}", bytes.escape_ascii());
        }
    }
}
