//! A user agent on each side of an engine, in virtual time: what every test of the engine's public face uses.
//!
//! [`Pair`] passes datagrams through the engine. [`Text`] is a message as a list of lines, read and written by code
//! of its own that shares nothing with the parser under test.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used)] // every test binary takes its own part of it

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use strowger_engine::{Config, Engine, Event, Flow, Location, Reason, Time, Verdict};
use strowger_sip::Buffer;

/// The address the engine listens on, unless a test says otherwise.
pub const US: &str = "10.77.0.2:5060";
pub const ALICE: &str = "10.77.0.11:5060";
pub const BOB: &str = "10.77.0.12:5070";

/// Free bytes before and after a message in its buffer.
pub const HEADROOM: usize = 512;
const TAILROOM: usize = 4096;

/// A configuration with one listen address, two domains and open registration.
pub fn config() -> Config {
    Config {
        listen: vec![US.parse().unwrap()],
        domains: vec!["example.net".into(), "10.77.0.2".into()],
        auth_required: false,
        // Tests have much to say in no time.
        per_source_pps: 1_000_000_000,
        max_bindings: 1000,
        secret: *b"0123456789abcdef0123456789ABCDEF",
        ..Config::default()
    }
}

/// As [`config`], forwarding without transactions: the same message again is decided anew.
pub fn stateless() -> Config {
    Config { stateless: true, ..config() }
}

/// What came out for one datagram.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Out {
    Sent {
        local: SocketAddr,
        remote: SocketAddr,
        bytes: Vec<u8>,
    },
    /// The verdict was [`Verdict::Taken`].
    Taken,
    Dropped(Reason),
}

impl Out {
    /// The message sent, which must be to `remote`.
    #[track_caller]
    pub fn to(&self, remote: &str) -> Text {
        match self {
            Out::Sent { remote: sent, bytes, .. } => {
                assert_eq!(sent.to_string(), remote, "sent elsewhere: {}", String::from_utf8_lossy(bytes));
                Text::parse(bytes)
            }
            Out::Taken => panic!("taken"),
            Out::Dropped(reason) => panic!("dropped: {reason:?}"),
        }
    }

    /// The message sent, wherever to.
    #[track_caller]
    pub fn text(&self) -> Text {
        match self {
            Out::Sent { bytes, .. } => Text::parse(bytes),
            Out::Taken => panic!("taken"),
            Out::Dropped(reason) => panic!("dropped: {reason:?}"),
        }
    }

    #[track_caller]
    pub fn dropped(&self) -> Reason {
        match self {
            Out::Sent { bytes, .. } => panic!("sent: {}", String::from_utf8_lossy(bytes)),
            Out::Taken => panic!("taken"),
            Out::Dropped(reason) => *reason,
        }
    }
}

pub struct Pair {
    pub engine: Engine,
    pub location: Arc<Location>,
    pub now: Time,
}

impl Pair {
    pub fn new(config: Config) -> Self {
        let location = Arc::new(Location::new(&config).expect("configuration"));
        let engine = Engine::new(Arc::new(config), Arc::clone(&location)).expect("configuration");
        Self { engine, location, now: Time::from_nanos(5_000_000_123) }
    }

    /// One datagram from `source` to the listen address `local`.
    #[track_caller]
    pub fn pass_to(&mut self, source: &str, local: &str, bytes: &[u8]) -> Out {
        let mut memory = vec![0xa5; HEADROOM + bytes.len() + TAILROOM];
        memory[HEADROOM..HEADROOM + bytes.len()].copy_from_slice(bytes);
        let mut buffer = Buffer::new(&mut memory, HEADROOM..HEADROOM + bytes.len()).expect("in bounds");
        let flow = Flow { local: local.parse().unwrap(), remote: source.parse().unwrap() };
        match self.engine.handle(self.now, flow, &mut buffer) {
            Verdict::Send(flow) => {
                Out::Sent { local: flow.local, remote: flow.remote, bytes: buffer.message().to_vec() }
            }
            Verdict::Taken => Out::Taken,
            Verdict::Drop(reason) => Out::Dropped(reason),
        }
    }

    /// What leaves besides, as a caller drains it.
    pub fn drain(&mut self) -> Vec<Out> {
        let mut sent = Vec::new();
        while self.engine.has_transmit() {
            let mut memory = vec![0x5a; HEADROOM + 65_535];
            let mut buffer = Buffer::new(&mut memory, HEADROOM..HEADROOM).expect("in bounds");
            let Some(Flow { local, remote }) = self.engine.transmit(self.now, &mut buffer) else { break };
            sent.push(Out::Sent { local, remote, bytes: buffer.message().to_vec() });
        }
        sent
    }

    /// One message from `source` to [`US`].
    #[track_caller]
    pub fn pass(&mut self, source: &str, text: &Text) -> Out {
        self.pass_to(source, US, &text.bytes())
    }

    /// Lets time pass, running the engine's timer whenever it asks for it.
    pub fn sleep(&mut self, seconds: u64) {
        self.pause(seconds * 1000);
    }

    /// As [`sleep`](Self::sleep) for milliseconds; what the engine sent meanwhile, with the milliseconds after which it
    /// did.
    pub fn pause(&mut self, millis: u64) -> Vec<(u64, Out)> {
        let start = self.now;
        let until = start.after(Duration::from_millis(millis));
        let mut sent = Vec::new();
        while let Some(due) = self.engine.timeout().filter(|due| *due <= until) {
            self.now = self.now.max(due);
            self.engine.on_timeout(self.now);
            let after = self.now.since(start).as_millis() as u64;
            sent.extend(self.drain().into_iter().map(|out| (after, out)));
        }
        self.now = until;
        sent
    }

    pub fn count(&self, event: Event) -> u64 {
        self.engine.counters().of(event)
    }

    /// Registers `user@example.net` at `contact`, which must work.
    #[track_caller]
    pub fn register(&mut self, user: &str, contact: &str) {
        let text = register(user, contact);
        let source = ALICE;
        assert_eq!(self.pass(source, &text).to(source).code(), 200);
    }
}

/// A message as lines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Text {
    pub start: String,
    pub headers: Vec<(String, String)>,
    pub body: String,
}

impl Text {
    /// Reads a message; panics when it is not well-formed.
    #[track_caller]
    pub fn parse(bytes: &[u8]) -> Self {
        let text = String::from_utf8(bytes.to_vec()).expect("UTF-8");
        let (head, body) = text.split_once("\r\n\r\n").expect("an empty line");
        let mut lines = head.split("\r\n");
        let start = lines.next().unwrap().to_owned();
        let mut headers: Vec<(String, String)> = Vec::new();
        for line in lines {
            if line.starts_with([' ', '\t']) {
                let last = headers.last_mut().expect("a line to fold into");
                last.1.push(' ');
                last.1.push_str(line.trim());
                continue;
            }
            let (name, value) = line.split_once(':').unwrap_or_else(|| panic!("no colon: {line}"));
            headers.push((name.trim().to_owned(), value.trim().to_owned()));
        }
        let message = Self { start, headers, body: body.to_owned() };
        if let Some(length) = message.find("Content-Length") {
            assert_eq!(length.parse::<usize>().expect("a number"), body.len(), "Content-Length of {text}");
        }
        message
    }

    pub fn bytes(&self) -> Vec<u8> {
        let mut text = format!("{}\r\n", self.start);
        for (name, value) in &self.headers {
            text.push_str(&format!("{name}: {value}\r\n"));
        }
        (text + "\r\n" + &self.body).into_bytes()
    }

    /// First value of a header, by its long name.
    pub fn find(&self, name: &str) -> Option<&str> {
        self.all(name).first().copied()
    }

    #[track_caller]
    pub fn get(&self, name: &str) -> &str {
        self.find(name).unwrap_or_else(|| panic!("no {name} in {self:#?}"))
    }

    /// All lines of a header, by its long name.
    pub fn all(&self, name: &str) -> Vec<&str> {
        let compact = match name {
            "Via" => "v",
            "From" => "f",
            "To" => "t",
            "Call-ID" => "i",
            "Contact" => "m",
            "Content-Length" => "l",
            "Supported" => "k",
            _ => name,
        };
        let is = |n: &str| n.eq_ignore_ascii_case(name) || n.eq_ignore_ascii_case(compact);
        self.headers.iter().filter(|(n, _)| is(n)).map(|(_, v)| v.as_str()).collect()
    }

    /// Replaces a header, or adds it at the end.
    pub fn set(mut self, name: &str, value: &str) -> Self {
        match self.headers.iter_mut().find(|(n, _)| n == name) {
            Some(header) => header.1 = value.to_owned(),
            None => self.headers.push((name.to_owned(), value.to_owned())),
        }
        self
    }

    /// Adds a line after those of the same name, or at the end.
    pub fn add(mut self, name: &str, value: &str) -> Self {
        let at = self.headers.iter().rposition(|(n, _)| n == name).map_or(self.headers.len(), |n| n + 1);
        self.headers.insert(at, (name.to_owned(), value.to_owned()));
        self
    }

    /// Adds a line before everything.
    pub fn push(mut self, name: &str, value: &str) -> Self {
        self.headers.insert(0, (name.to_owned(), value.to_owned()));
        self
    }

    pub fn without(mut self, name: &str) -> Self {
        self.headers.retain(|(n, _)| n != name);
        self
    }

    pub fn body(mut self, body: &str) -> Self {
        self.body = body.to_owned();
        self.set("Content-Length", &body.len().to_string())
    }

    /// The request with another Request-URI.
    pub fn uri(mut self, uri: &str) -> Self {
        let method = self.method().to_owned();
        self.start = format!("{method} {uri} SIP/2.0");
        self
    }

    pub fn method(&self) -> &str {
        self.start.split(' ').next().unwrap()
    }

    #[track_caller]
    pub fn request_uri(&self) -> &str {
        assert!(self.start.ends_with(" SIP/2.0"), "{}", self.start);
        self.start.split(' ').nth(1).unwrap()
    }

    #[track_caller]
    pub fn code(&self) -> u16 {
        assert!(self.start.starts_with("SIP/2.0 "), "not a response: {}", self.start);
        self.start[8..11].parse().unwrap()
    }

    pub fn reason(&self) -> &str {
        &self.start[12..]
    }

    /// Value of a parameter in the first value of a header, after the last `>` when there is one.
    #[track_caller]
    pub fn param(&self, header: &str, name: &str) -> Option<&str> {
        let value = self.get(header);
        let params = value.rsplit_once('>').map_or(value, |(_, params)| params);
        let mut parts = params.split(',').next().unwrap().split(';').skip(1);
        parts.find_map(|p| {
            let (n, v) = p.split_once('=').unwrap_or((p, ""));
            n.trim().eq_ignore_ascii_case(name).then(|| v.trim())
        })
    }

    /// What a UAS answers: Vias, From, To with its tag, Call-ID, CSeq, Record-Routes.
    pub fn response(&self, code: u16, reason: &str, tag: &str) -> Text {
        let mut headers = Vec::new();
        for name in ["Via", "Record-Route", "From", "To", "Call-ID", "CSeq"] {
            for value in self.all(name) {
                let tagged = name == "To" && !value.contains(";tag=") && !tag.is_empty();
                let value = if tagged { format!("{value};tag={tag}") } else { value.to_owned() };
                headers.push((name.to_owned(), value));
            }
        }
        headers.push(("Content-Length".into(), "0".into()));
        Text { start: format!("SIP/2.0 {code} {reason}"), headers, body: String::new() }
    }

    /// The ACK of a UAC for a non-2xx response (RFC 3261 section 17.1.1.3).
    pub fn ack(&self, response: &Text) -> Text {
        let number = self.get("CSeq").split(' ').next().unwrap();
        let ack = Text {
            start: format!("ACK {} SIP/2.0", self.request_uri()),
            headers: vec![],
            body: String::new(),
        };
        let mut ack = ack.add("Via", self.all("Via")[0]).add("Max-Forwards", "70");
        for route in self.all("Route") {
            ack = ack.add("Route", route);
        }
        ack.add("From", self.get("From"))
            .add("To", response.get("To"))
            .add("Call-ID", self.get("Call-ID"))
            .add("CSeq", &format!("{number} ACK"))
            .add("Content-Length", "0")
    }

    /// The CANCEL of a UAC (RFC 3261 section 9.1).
    pub fn cancel(&self) -> Text {
        let mut cancel = self.ack(self);
        cancel.start = format!("CANCEL {} SIP/2.0", self.request_uri());
        let number = self.get("CSeq").split(' ').next().unwrap();
        let cseq = format!("{number} CANCEL");
        cancel.set("CSeq", &cseq)
    }
}

/// A request of Alice's, as her phone at [`ALICE`] sends it.
pub fn request(method: &str, uri: &str) -> Text {
    let text = Text { start: format!("{method} {uri} SIP/2.0"), headers: vec![], body: String::new() };
    text.add("Via", &format!("SIP/2.0/UDP {ALICE};branch=z9hG4bK-{method}-1"))
        .add("Max-Forwards", "70")
        .add("From", "\"Alice\" <sip:alice@example.net>;tag=alice-tag")
        .add("To", &format!("<{uri}>"))
        .add("Call-ID", "call-1@alice")
        .add("CSeq", &format!("1 {method}"))
        .add("Contact", &format!("<sip:alice@{ALICE}>"))
        .add("User-Agent", "Test phone of some brand, with a name that phones tend to have 1.2.3")
        .add("Content-Length", "0")
}

/// The same request as another transaction: with another branch.
pub fn unique(text: Text) -> Text {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let via = text.get("Via").replacen("branch=z9hG4bK", &format!("branch=z9hG4bK.{count}."), 1);
    match text.find("Via").is_some() {
        true => text.set("Via", &via),
        false => text,
    }
}

/// A REGISTER for `user@example.net` with one Contact value (none when empty). Every call has its own Call-ID.
pub fn register(user: &str, contact: &str) -> Text {
    let aor = format!("<sip:{user}@example.net>");
    let text = request("REGISTER", "sip:example.net")
        .set("From", &format!("{aor};tag=r"))
        .set("To", &aor)
        .set(
            "Call-ID",
            &format!("register-{user}-{}", contact.replace(|c: char| !c.is_ascii_alphanumeric(), "")),
        )
        .without("Contact");
    let text = unique(text);
    if contact.is_empty() { text } else { text.add("Contact", contact) }
}

/// Nothing is left of what happened, after the longest of all timers.
#[track_caller]
pub fn over(mut pair: Pair) {
    pair.pause(500_000);
    assert!(pair.engine.is_idle());
    let left = pair.engine.occupancy();
    let used =
        [left.transactions, left.branches, left.kept, left.timers, left.outbox].map(|level| level.used);
    assert_eq!(used, [0; 5]);
}
