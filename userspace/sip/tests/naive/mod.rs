//! A second reading of RFC 3261 section 25, written for nothing but being easy to compare with the text: it splits,
//! copies and allocates, and shares no code with the crate.
//!
//! Where the crate decides otherwise than the grammar, it is done here as well and marked DECIDED, so that the two can be
//! compared for equality; every other disagreement is a mistake in one of them.
#![allow(unreachable_pub, clippy::unwrap_used)]

/// A message as its parts.
#[derive(Debug, PartialEq, Eq)]
pub struct Parts {
    pub start: Start,
    /// Name as it stands, its meaning in lower case, value.
    pub headers: Vec<(Vec<u8>, String, Vec<u8>)>,
    pub body: Vec<u8>,
}

#[derive(Debug, PartialEq, Eq)]
pub enum Start {
    Request { method: Vec<u8>, uri: Vec<u8> },
    Status { code: u16, reason: Vec<u8> },
}

#[derive(Debug, PartialEq, Eq)]
pub struct Via {
    pub transport: String,
    pub host: String,
    pub port: Option<u16>,
    pub branch: Option<Vec<u8>>,
    pub received: Option<std::net::IpAddr>,
    pub rport: Option<Option<u16>>,
}

fn is_token_byte(b: u8) -> bool {
    b.is_ascii_alphanumeric() || b"-.!%*_+`'~".contains(&b)
}

fn is_token(text: &[u8]) -> bool {
    !text.is_empty() && text.iter().all(|&b| is_token_byte(b))
}

fn is_lws(b: u8) -> bool {
    b == b' ' || b == b'\t' || b == b'\r' || b == b'\n'
}

fn trim(text: &[u8]) -> &[u8] {
    let start = text.iter().position(|&b| !is_lws(b)).unwrap_or(text.len());
    let end = text.iter().rposition(|&b| !is_lws(b)).map_or(start, |i| i + 1);
    &text[start..end]
}

fn split_at_crlf(text: &[u8]) -> Vec<Vec<u8>> {
    let mut lines = vec![Vec::new()];
    let mut i = 0;
    while i < text.len() {
        if text[i..].starts_with(b"\r\n") {
            lines.push(Vec::new());
            i += 2;
        } else {
            lines.last_mut().unwrap().push(text[i]);
            i += 1;
        }
    }
    lines
}

/// The compact forms of RFC 3261 section 7.3.3 and of the IANA registry.
fn full_name(name: &[u8]) -> String {
    let name = String::from_utf8(name.to_ascii_lowercase()).unwrap();
    let full = match name.as_str() {
        "a" => "accept-contact",
        "b" => "referred-by",
        "c" => "content-type",
        "d" => "request-disposition",
        "e" => "content-encoding",
        "f" => "from",
        "i" => "call-id",
        "j" => "reject-contact",
        "k" => "supported",
        "l" => "content-length",
        "m" => "contact",
        "n" => "identity-info",
        "o" => "event",
        "r" => "refer-to",
        "s" => "subject",
        "t" => "to",
        "u" => "allow-events",
        "v" => "via",
        "x" => "session-expires",
        "y" => "identity",
        other => other,
    };
    full.to_string()
}

/// `None` for what is no message.
pub fn read(datagram: &[u8]) -> Option<Parts> {
    if datagram.len() > 65_535 {
        return None;
    }
    let mut text = datagram;
    while let Some(rest) = text.strip_prefix(b"\r\n") {
        text = rest;
    }
    let end = (0..text.len()).find(|&i| text[i..].starts_with(b"\r\n\r\n"))?;
    let (head, rest) = (&text[..end], &text[end + 4..]);

    let lines = split_at_crlf(head);
    if lines.iter().any(|line| line.contains(&b'\r') || line.contains(&b'\n')) {
        return None;
    }
    let start = start_line(&lines[0])?;

    // Unfold: a line that begins with white space belongs to the one before it.
    let mut folded: Vec<Vec<u8>> = Vec::new();
    for line in &lines[1..] {
        if line.starts_with(b" ") || line.starts_with(b"\t") {
            let last = folded.last_mut()?;
            last.extend_from_slice(b"\r\n");
            last.extend_from_slice(line);
        } else {
            folded.push(line.clone());
        }
    }
    if folded.len() > 255 {
        return None;
    }
    let mut headers = Vec::new();
    for line in &folded {
        let colon = line.iter().position(|&b| b == b':')?;
        let mut name = &line[..colon];
        while name.ends_with(b" ") || name.ends_with(b"\t") {
            name = &name[..name.len() - 1];
        }
        if !is_token(name) || name.len() > 255 || !controls_are_quoted(line) {
            return None;
        }
        headers.push((name.to_vec(), full_name(name), trim(&line[colon + 1..]).to_vec()));
    }
    for once in ["to", "from", "call-id", "cseq", "max-forwards", "content-length"] {
        if headers.iter().filter(|h| h.1 == once).count() > 1 {
            return None;
        }
    }
    let mut body = rest.to_vec();
    if let Some((_, _, value)) = headers.iter().find(|h| h.1 == "content-length") {
        let digits = std::str::from_utf8(value).ok().filter(|v| v.bytes().all(|b| b.is_ascii_digit()))?;
        let length: u32 = digits.parse().ok()?;
        if length as usize > rest.len() {
            return None;
        }
        body.truncate(length as usize);
    }
    Some(Parts { start, headers, body })
}

/// Control bytes are only allowed as the second byte of a quoted pair in a quoted string; HTAB, and the CR and LF of
/// folding, are white space.
fn controls_are_quoted(line: &[u8]) -> bool {
    let mut i = 0;
    let mut in_quotes = false;
    while i < line.len() {
        let b = line[i];
        if in_quotes && b == b'\\' && i + 1 < line.len() && !b"\r\n".contains(&line[i + 1]) {
            i += 2;
            continue;
        }
        if b == b'"' {
            in_quotes = !in_quotes;
        }
        if (b < 0x20 || b == 0x7f) && !b"\t\r\n".contains(&b) {
            return false;
        }
        i += 1;
    }
    true
}

fn start_line(line: &[u8]) -> Option<Start> {
    if line.len() >= 4 && line[..4].eq_ignore_ascii_case(b"SIP/") {
        if line.len() < 11 || !line[..8].eq_ignore_ascii_case(b"SIP/2.0 ") {
            return None;
        }
        let code: u16 = std::str::from_utf8(&line[8..11])
            .ok()
            .filter(|c| c.bytes().all(|b| b.is_ascii_digit()))?
            .parse()
            .ok()?;
        if !(100..700).contains(&code) {
            return None;
        }
        // DECIDED: the SP before an empty reason phrase may be missing.
        let reason = match &line[11..] {
            [] => &[],
            [b' ', reason @ ..] => reason,
            _ => return None,
        };
        // DECIDED: any bytes but controls; the grammar is narrower, and nobody reads it.
        if reason.iter().any(|&b| (b < 0x20 && b != b'\t') || b == 0x7f) {
            return None;
        }
        return Some(Start::Status { code, reason: reason.to_vec() });
    }
    let pieces: Vec<&[u8]> = line.split(|&b| b == b' ').collect();
    let [method, uri, version] = pieces[..] else { return None };
    // DECIDED: any visible ASCII, up to the limit; whether it is a URI is asked by who needs it.
    let visible = uri.iter().all(|&b| b > b' ' && b < 0x7f);
    if !is_token(method)
        || uri.is_empty()
        || uri.len() > 4096
        || !visible
        || !version.eq_ignore_ascii_case(b"SIP/2.0")
    {
        return None;
    }
    Some(Start::Request { method: method.to_vec(), uri: uri.to_vec() })
}

/// `CSeq = 1*DIGIT LWS Method`.
pub fn cseq(value: &[u8]) -> Option<(u32, Vec<u8>)> {
    let digits = value.iter().take_while(|b| b.is_ascii_digit()).count();
    let number: u32 = std::str::from_utf8(&value[..digits]).unwrap().parse().ok()?;
    let rest = &value[digits..];
    let method = trim(rest);
    (number < 1 << 31 && rest.len() > method.len() && is_token(method)).then(|| (number, method.to_vec()))
}

/// A reader that takes things off the front of a text.
struct Rest<'a>(&'a [u8]);

impl<'a> Rest<'a> {
    fn space(&mut self) -> bool {
        let before = self.0.len();
        while self.0.first().is_some_and(|&b| is_lws(b)) {
            self.0 = &self.0[1..];
        }
        self.0.len() < before
    }

    fn byte(&mut self, byte: u8) -> bool {
        match self.0.split_first() {
            Some((&b, rest)) if b == byte => {
                self.0 = rest;
                true
            }
            _ => false,
        }
    }

    fn take_while(&mut self, keep: impl Fn(u8) -> bool) -> &'a [u8] {
        let end = self.0.iter().position(|&b| !keep(b)).unwrap_or(self.0.len());
        let (taken, rest) = self.0.split_at(end);
        self.0 = rest;
        taken
    }

    fn token(&mut self) -> Option<&'a [u8]> {
        Some(self.take_while(is_token_byte)).filter(|t| !t.is_empty())
    }

    fn quoted(&mut self) -> Option<&'a [u8]> {
        let whole = self.0;
        if !self.byte(b'"') {
            return None;
        }
        loop {
            let (&b, rest) = self.0.split_first()?;
            self.0 = rest;
            match b {
                b'"' => return Some(&whole[..whole.len() - self.0.len()]),
                b'\\' => self.0 = self.0.split_first()?.1,
                _ => {}
            }
        }
    }
}

/// The first Via value of a header, as `via-parm` of RFC 3261 with RFC 3581.
pub fn top_via(value: &[u8]) -> Option<Via> {
    let mut rest = Rest(value);
    rest.space();
    for expected in ["SIP", "2.0"] {
        if !rest.token()?.eq_ignore_ascii_case(expected.as_bytes()) {
            return None;
        }
        rest.space();
        if !rest.byte(b'/') {
            return None;
        }
        rest.space();
    }
    let transport = String::from_utf8(rest.token()?.to_ascii_uppercase()).unwrap();
    if !rest.space() {
        return None;
    }
    let host = host(&mut rest)?;
    let after_host = Rest(rest.0);
    let mut port = None;
    rest.space();
    if rest.byte(b':') {
        rest.space();
        port = Some(port_number(rest.take_while(|b| b.is_ascii_digit()))?);
    } else {
        rest = after_host;
    }
    let mut params: Vec<(String, Option<Vec<u8>>)> = Vec::new();
    loop {
        rest.space();
        if rest.0.is_empty() || rest.0[0] == b',' {
            break;
        }
        if !rest.byte(b';') {
            return None;
        }
        rest.space();
        let name = String::from_utf8(rest.token()?.to_ascii_lowercase()).unwrap();
        rest.space();
        let mut value = None;
        if rest.byte(b'=') {
            rest.space();
            let text = if rest.0.first() == Some(&b'"') {
                rest.quoted()?
            } else {
                // DECIDED: everything that is no separator of the list; the grammar has tokens and hosts.
                rest.take_while(|b| b > b' ' && b < 0x7f && !b";,\"<>\\".contains(&b))
            };
            if text.is_empty() {
                return None;
            }
            value = Some(text.to_vec());
        }
        params.push((name, value));
    }
    if params.len() > 64 {
        return None;
    }
    let mut via = Via { transport, host, port, branch: None, received: None, rport: None };
    for name in ["branch", "received", "rport"] {
        let found: Vec<_> = params.iter().filter(|p| p.0 == name).collect();
        match (found.as_slice(), name) {
            ([], _) => {}
            ([(_, Some(value))], "branch") if value.len() <= 1024 => via.branch = Some(value.clone()),
            ([(_, Some(value))], "received") => via.received = Some(received(value)?),
            ([(_, None)], "rport") => via.rport = Some(None),
            ([(_, Some(value))], "rport") => {
                if !value.iter().all(u8::is_ascii_digit) {
                    return None;
                }
                via.rport = Some(Some(port_number(value)?));
            }
            _ => return None,
        }
    }
    Some(via)
}

/// DECIDED: 1 to 65,535; no packet can be sent to another.
fn port_number(digits: &[u8]) -> Option<u16> {
    std::str::from_utf8(digits).ok()?.parse().ok().filter(|&p| p != 0)
}

/// DECIDED: with or without brackets (RFC 5118 section 4.5).
fn received(value: &[u8]) -> Option<std::net::IpAddr> {
    let inner = value.strip_prefix(b"[").and_then(|v| v.strip_suffix(b"]"));
    if inner.is_none() && !value.contains(&b':') {
        return ipv4(value).map(Into::into);
    }
    ipv6(inner.unwrap_or(value)).map(Into::into)
}

fn ipv4(text: &[u8]) -> Option<std::net::Ipv4Addr> {
    let octets: Vec<&[u8]> = text.split(|&b| b == b'.').collect();
    let octets: Option<Vec<u8>> = octets
        .iter()
        .map(|o| {
            let sound = (1..=3).contains(&o.len()) && o.iter().all(u8::is_ascii_digit);
            std::str::from_utf8(o).ok().filter(|_| sound)?.parse().ok()
        })
        .collect();
    let octets: [u8; 4] = octets?.try_into().ok()?;
    Some(octets.into())
}

fn ipv6(text: &[u8]) -> Option<std::net::Ipv6Addr> {
    let text = std::str::from_utf8(text).ok()?;
    if let Ok(address) = text.parse() {
        return Some(address);
    }
    // DECIDED: the third colon of RFC 5118 section 4.10, before an IPv4 part alone.
    let (before, after) = text.split_once(":::")?;
    if after.contains(':') || !after.contains('.') {
        return None;
    }
    format!("{before}::{after}").parse().ok()
}

/// The host in a form that can be compared: addresses by value, names in lower case.
fn host(rest: &mut Rest<'_>) -> Option<String> {
    if rest.byte(b'[') {
        let inner = rest.take_while(|b| b != b']');
        if !rest.byte(b']') || inner.len() > 46 {
            return None;
        }
        return ipv6(inner).map(|a| format!("[{a}]"));
    }
    // DECIDED: "_" in names, and "-" and digits anywhere in a label, as long as the name is not all digits and dots.
    let text = rest.take_while(|b| b.is_ascii_alphanumeric() || b"-._".contains(&b));
    if text.iter().all(|&b| b.is_ascii_digit() || b == b'.') {
        return ipv4(text).map(|a| a.to_string());
    }
    let labels: Vec<&[u8]> = text.strip_suffix(b".").unwrap_or(text).split(|&b| b == b'.').collect();
    if text.len() > 255 || labels.iter().any(|l| l.is_empty()) {
        return None;
    }
    Some(String::from_utf8(text.to_ascii_lowercase()).unwrap())
}
