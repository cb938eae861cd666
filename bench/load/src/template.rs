//! Messages as data: a text with fields in braces, compiled once, written by copying.
//!
//! `scenario` reads the texts, `agents` writes the messages. What is the same for every message of an agent (addresses,
//! domain) is put in when a template is [bound](Template::bind); what is left is a list of literal runs and fields, so
//! writing a message is copying and nothing else. No I/O here, and no allocation in [`Bound::write`].

use std::net::SocketAddr;

use strowger_sip::{AddressText, Index, Message};

/// What a field in braces stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Field {
    /// `{caller}`: the calling user's name; in REGISTER the one who registers.
    Caller,
    /// `{callee}`: the called user's name.
    Callee,
    /// `{branch}`: of this transaction, with the magic cookie (RFC 3261 section 8.1.1.7).
    Branch,
    /// `{call_id}`: of this call; in a response, the request's.
    CallId,
    /// `{registration}`: a Call-ID that stays the same for all REGISTERs of the user (section 10.2.4).
    Registration,
    /// `{cseq}`: the number of this request in its call; in a response, the request's whole CSeq.
    CSeq,
    /// `{sequence}`: a number that rises with every request of the agent, for REGISTER (section 10.2).
    Sequence,
    /// `{tag}`: the sender's own tag.
    Tag,
    /// `{to_tag}`: `;tag=` and the other side's tag, or nothing outside of a dialog.
    ToTag,
    /// `{remote}`: the remote target, from the Contact of the 2xx (section 12.1.2).
    Remote,
    /// `{routes}`, alone on its line: a Route line for each of the route set (section 12.2.1.1).
    Routes,
    /// `{authorization}`, alone on its line: the credentials, when there are any.
    Authorization,
    /// `{vias}`, alone on its line: the request's Via lines, `received` and `rport` put in (section 18.2.1, RFC 3581).
    Vias,
    /// `{record_routes}`, alone on its line: the request's Record-Route lines (section 12.1.1).
    RecordRoutes,
    /// `{from}`: the request's From.
    From,
    /// `{to}`: the request's To, with the callee's tag.
    To,
}

/// What a field gives is a whole number of lines, so that it stands alone on its own.
const LINES: [Field; 4] = [Field::Routes, Field::Authorization, Field::Vias, Field::RecordRoutes];

/// Fields that are the same in every message of an agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Constant {
    Domain,
    Target,
    Local,
    LocalIp,
    IpVersion,
    Length,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(String),
    Constant(Constant),
    Field(Field),
}

/// A message as the scenario has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    head: Vec<Part>,
    body: Vec<Part>,
}

/// What is wrong with a template.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// No such field.
    #[error("there is no field {{{0}}}; there are {FIELDS}")]
    Unknown(String),
    /// A `{` without its `}`.
    #[error("a brace is not closed in the line `{0}`")]
    Open(String),
    /// A field that gives whole lines, and something beside it.
    #[error("{{{0}}} gives whole header lines and must stand alone on its line")]
    NotAlone(String),
    /// A field in the body whose length differs from message to message.
    #[error(
        "the body may have {{domain}}, {{target}}, {{local}}, {{local_ip}} and {{ip_version}} only, not {{{0}}}"
    )]
    Body(String),
    /// What comes out is no SIP message.
    #[error("this is no SIP message: {0}")]
    Sip(String),
}

const FIELDS: &str = "caller, callee, domain, target, local, local_ip, ip_version, branch, call_id, registration, \
                      cseq, sequence, tag, to_tag, remote, routes, authorization, vias, record_routes, from, to, length";

/// What an agent's messages have in common.
#[derive(Clone, Debug)]
pub struct Constants {
    /// The users' domain.
    pub domain: String,
    /// The proxy.
    pub target: SocketAddr,
    /// The agent's own address.
    pub local: SocketAddr,
}

/// What differs from message to message. Fields that a message does not have are left empty.
#[derive(Clone, Copy, Debug, Default)]
#[allow(missing_docs)] // the names are those of `Field`
pub struct Values<'a> {
    pub caller: &'a [u8],
    pub callee: &'a [u8],
    pub branch: &'a [u8],
    pub call_id: &'a [u8],
    pub registration: &'a [u8],
    pub cseq: &'a [u8],
    pub sequence: &'a [u8],
    pub tag: &'a [u8],
    pub to_tag: &'a [u8],
    pub remote: &'a [u8],
    pub routes: &'a [u8],
    pub authorization: &'a [u8],
    pub vias: &'a [u8],
    pub record_routes: &'a [u8],
    pub from: &'a [u8],
    pub to: &'a [u8],
}

impl<'a> Values<'a> {
    fn of(&self, field: Field) -> &'a [u8] {
        match field {
            Field::Caller => self.caller,
            Field::Callee => self.callee,
            Field::Branch => self.branch,
            Field::CallId => self.call_id,
            Field::Registration => self.registration,
            Field::CSeq => self.cseq,
            Field::Sequence => self.sequence,
            Field::Tag => self.tag,
            Field::ToTag => self.to_tag,
            Field::Remote => self.remote,
            Field::Routes => self.routes,
            Field::Authorization => self.authorization,
            Field::Vias => self.vias,
            Field::RecordRoutes => self.record_routes,
            Field::From => self.from,
            Field::To => self.to,
        }
    }
}

impl Template {
    /// Compiles a text: lines end with LF or CRLF, an empty line ends the headers. A missing empty line is added.
    ///
    /// # Errors
    /// See [`TemplateError`].
    pub fn parse(text: &str) -> Result<Self, TemplateError> {
        let mut lines = text.lines();
        let mut head = Vec::new();
        for line in lines.by_ref() {
            if line.is_empty() {
                break;
            }
            let parts = line_parts(line)?;
            if let Some(field) =
                parts.iter().find(|part| matches!(part, Part::Field(field) if LINES.contains(field)))
            {
                if parts.len() > 1 {
                    return Err(TemplateError::NotAlone(line.trim_matches(['{', '}']).to_owned()));
                }
                head.push(field.clone());
                continue;
            }
            head.extend(parts);
            head.push(Part::Text("\r\n".to_owned()));
        }
        head.push(Part::Text("\r\n".to_owned()));
        let mut body = Vec::new();
        for line in lines {
            for part in line_parts(line)? {
                if matches!(part, Part::Field(_) | Part::Constant(Constant::Length)) {
                    return Err(TemplateError::Body(line.to_owned()));
                }
                body.push(part);
            }
            body.push(Part::Text("\r\n".to_owned()));
        }
        Ok(Self { head, body })
    }

    /// Puts in what is constant for an agent, and the body's length.
    #[must_use]
    pub fn bind(&self, constants: &Constants) -> Bound {
        let mut body = Bound::default();
        for part in &self.body {
            body.push(part, constants, 0);
        }
        let length = body.text.len();
        let mut bound = Bound::default();
        for part in self.head.iter().chain(&self.body) {
            bound.push(part, constants, length);
        }
        bound
    }

    /// Whether the field is in it.
    #[must_use]
    pub fn has(&self, field: Field) -> bool {
        self.head.contains(&Part::Field(field))
    }

    /// Writes a specimen and reads it as SIP: a scenario with a broken message is refused before anything is sent.
    ///
    /// # Errors
    /// [`TemplateError::Sip`], with what the parser says.
    pub fn check(&self) -> Result<(), TemplateError> {
        let address = SocketAddr::from(([192, 0, 2, 1], 5060));
        let bound =
            self.bind(&Constants { domain: "example.net".to_owned(), target: address, local: address });
        let values = Values {
            caller: b"a",
            callee: b"b",
            branch: b"z9hG4bK1",
            call_id: b"1",
            registration: b"1",
            cseq: if self.has(Field::Vias) { b"1 INVITE" } else { b"1" },
            sequence: b"1",
            tag: b"1",
            to_tag: b";tag=2",
            remote: b"sip:b@192.0.2.1",
            routes: b"Route: <sip:192.0.2.1;lr>\r\n",
            authorization: b"",
            vias: b"Via: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK1\r\n",
            record_routes: b"Record-Route: <sip:192.0.2.1;lr>\r\n",
            from: b"<sip:a@example.net>;tag=1",
            to: b"<sip:b@example.net>;tag=2",
        };
        let mut room = [0; 16_384];
        let sip = |what: String| TemplateError::Sip(what);
        let len = bound.write(&values, &mut room).ok_or_else(|| sip("over 16 KiB".to_owned()))?;
        let mut index = Index::new();
        let message = Message::parse(room.get(..len).unwrap_or_default(), &mut index)
            .map_err(|error| sip(error.to_string()))?;
        message.essentials().map_err(|error| sip(error.to_string()))?;
        if message.content_length().ok().flatten() != Some(message.body().len() as u32) {
            return Err(sip("it has no `Content-Length: {length}`".to_owned()));
        }
        Ok(())
    }
}

fn line_parts(line: &str) -> Result<Vec<Part>, TemplateError> {
    let mut parts = Vec::new();
    let mut rest = line;
    while let Some((text, after)) = rest.split_once('{') {
        let (name, behind) = after.split_once('}').ok_or_else(|| TemplateError::Open(line.to_owned()))?;
        if !text.is_empty() {
            parts.push(Part::Text(text.to_owned()));
        }
        parts.push(part(name)?);
        rest = behind;
    }
    if !rest.is_empty() {
        parts.push(Part::Text(rest.to_owned()));
    }
    Ok(parts)
}

fn part(name: &str) -> Result<Part, TemplateError> {
    Ok(match name {
        "domain" => Part::Constant(Constant::Domain),
        "target" => Part::Constant(Constant::Target),
        "local" => Part::Constant(Constant::Local),
        "local_ip" => Part::Constant(Constant::LocalIp),
        "ip_version" => Part::Constant(Constant::IpVersion),
        "length" => Part::Constant(Constant::Length),
        "caller" => Part::Field(Field::Caller),
        "callee" => Part::Field(Field::Callee),
        "branch" => Part::Field(Field::Branch),
        "call_id" => Part::Field(Field::CallId),
        "registration" => Part::Field(Field::Registration),
        "cseq" => Part::Field(Field::CSeq),
        "sequence" => Part::Field(Field::Sequence),
        "tag" => Part::Field(Field::Tag),
        "to_tag" => Part::Field(Field::ToTag),
        "remote" => Part::Field(Field::Remote),
        "routes" => Part::Field(Field::Routes),
        "authorization" => Part::Field(Field::Authorization),
        "vias" => Part::Field(Field::Vias),
        "record_routes" => Part::Field(Field::RecordRoutes),
        "from" => Part::Field(Field::From),
        "to" => Part::Field(Field::To),
        _ => return Err(TemplateError::Unknown(name.to_owned())),
    })
}

/// A template for one agent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bound {
    text: Vec<u8>,
    /// Up to that offset of `text`, then the field.
    stops: Vec<(u32, Field)>,
}

impl Bound {
    fn push(&mut self, part: &Part, constants: &Constants, length: usize) {
        match part {
            Part::Text(text) => self.text.extend_from_slice(text.as_bytes()),
            Part::Field(field) => self.stops.push((self.text.len() as u32, *field)),
            Part::Constant(Constant::Domain) => self.text.extend_from_slice(constants.domain.as_bytes()),
            Part::Constant(Constant::Target) => {
                self.text.extend_from_slice(AddressText::host_port(constants.target).as_bytes());
            }
            Part::Constant(Constant::Local) => {
                self.text.extend_from_slice(AddressText::host_port(constants.local).as_bytes());
            }
            Part::Constant(Constant::LocalIp) => {
                self.text.extend_from_slice(constants.local.ip().to_string().as_bytes());
            }
            Part::Constant(Constant::IpVersion) => {
                self.text.push(if constants.local.is_ipv6() { b'6' } else { b'4' });
            }
            Part::Constant(Constant::Length) => self.text.extend_from_slice(length.to_string().as_bytes()),
        }
    }

    /// Writes the message to the front of `out`; its length. `None` when there is no room for it.
    #[inline]
    pub fn write(&self, values: &Values<'_>, out: &mut [u8]) -> Option<usize> {
        let (mut at, mut from) = (0, 0);
        let mut put = |bytes: &[u8]| {
            let end = at + bytes.len();
            out.get_mut(at..end)?.copy_from_slice(bytes);
            at = end;
            Some(())
        };
        for &(stop, field) in &self.stops {
            put(self.text.get(from..stop as usize)?)?;
            put(values.of(field))?;
            from = stop as usize;
        }
        put(self.text.get(from..)?)?;
        Some(at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const OPTIONS: &str = "\
OPTIONS sip:{callee}@{domain} SIP/2.0
Via: SIP/2.0/UDP {local};branch={branch};rport
Max-Forwards: 70
From: <sip:{caller}@{domain}>;tag={tag}
To: <sip:{callee}@{domain}>{to_tag}
{routes}
Call-ID: {call_id}
CSeq: {cseq} OPTIONS
Content-Length: {length}

o=- 1 1 IN IP{ip_version} {local_ip}
";

    fn constants() -> Constants {
        Constants {
            domain: "example.net".to_owned(),
            target: "192.0.2.9:5060".parse().expect("an address"),
            local: "[2001:db8::7]:6000".parse().expect("an address"),
        }
    }

    #[test]
    fn a_message_comes_out_as_it_was_meant() {
        let bound = Template::parse(OPTIONS).expect("compiles").bind(&constants());
        let values = Values {
            caller: b"alice",
            callee: b"bob",
            branch: b"z9hG4bKx",
            call_id: b"id",
            cseq: b"1",
            tag: b"t",
            routes: b"Route: <sip:192.0.2.9;lr>\r\n",
            ..Values::default()
        };
        let mut room = [0; 1024];
        let len = bound.write(&values, &mut room).expect("room");
        let expected = "OPTIONS sip:bob@example.net SIP/2.0\r\n\
            Via: SIP/2.0/UDP [2001:db8::7]:6000;branch=z9hG4bKx;rport\r\nMax-Forwards: 70\r\n\
            From: <sip:alice@example.net>;tag=t\r\nTo: <sip:bob@example.net>\r\n\
            Route: <sip:192.0.2.9;lr>\r\nCall-ID: id\r\nCSeq: 1 OPTIONS\r\nContent-Length: 27\r\n\r\n\
            o=- 1 1 IN IP6 2001:db8::7\r\n";
        let expected = expected.replace("27", &"o=- 1 1 IN IP6 2001:db8::7\r\n".len().to_string());
        assert_eq!(std::str::from_utf8(&room[..len]), Ok(expected.as_str()));
        for short in 0..len {
            assert_eq!(bound.write(&values, &mut room[..short]), None, "no room in {short}");
        }
    }

    #[test]
    fn what_is_wrong_is_said() {
        let refused = |text: &str| Template::parse(text).expect_err("refused");
        assert_eq!(refused("A {nobody} B"), TemplateError::Unknown("nobody".to_owned()));
        assert!(matches!(refused("A {caller"), TemplateError::Open(_)));
        assert!(matches!(refused("A {routes}"), TemplateError::NotAlone(_)));
        assert!(matches!(refused("A\n\n{caller}"), TemplateError::Body(_)));
        assert!(matches!(refused("A\n\n{length}"), TemplateError::Body(_)));
        assert_eq!(Template::parse(OPTIONS).expect("compiles").check(), Ok(()));
        for broken in [OPTIONS.replace("SIP/2.0\nVia", "SIP/2.1\nVia"), OPTIONS.replace("CSeq", "X-CSeq")] {
            let template = Template::parse(&broken).expect("compiles");
            assert!(matches!(template.check(), Err(TemplateError::Sip(_))), "{broken}");
        }
        let unframed = OPTIONS.replace("Content-Length: {length}\n", "");
        assert!(Template::parse(&unframed).expect("compiles").check().is_err());
    }

    proptest! {
        /// Writing is what replacing each field in the text would give.
        #[test]
        fn writing_is_replacing(caller in "[a-z0-9]{0,20}", callee in "[a-z]{1,9}", domain in "[a-z.]{1,30}", body in "[ -z]{0,40}") {
            let text = format!("X {{callee}}@{{domain}} SIP/2.0\n{{routes}}\nA: {{caller}}{{caller}}\nB: {{length}}\n\n{body}\n");
            let constants = Constants { domain: domain.clone(), ..constants() };
            let values = Values { caller: caller.as_bytes(), callee: callee.as_bytes(), ..Values::default() };
            let mut room = [0; 512];
            let len = Template::parse(&text).expect("compiles").bind(&constants).write(&values, &mut room).expect("room");
            let naive = text
                .replace("{routes}\n", "").replace("{caller}", &caller).replace("{callee}", &callee)
                .replace("{domain}", &domain).replace("{length}", &(body.len() + 2).to_string()).replace('\n', "\r\n");
            prop_assert_eq!(String::from_utf8_lossy(&room[..len]), naive);
        }
    }
}
