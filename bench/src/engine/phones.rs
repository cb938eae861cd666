//! What phones write, and what they read of what they get: the other ends of every message of the suite.
//!
//! All of a call follows from its number, so that nothing has to be kept of the calls that are up but the Route. Texts are
//! made and read naively, with no code of the engine's.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use md5::Md5;
use sha2::{Digest, Sha256, Sha512_256};

/// The address of the engine.
pub const US: &str = "10.77.0.2:5060";

/// A number that looks like none of its neighbours (splitmix64): every run measures the same octets.
#[must_use]
pub fn mix(n: u64) -> u64 {
    let z = n.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(0x9e37_79b9_7f4a_7c15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// A user with one phone: a name, and an address that no other has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Phone(pub u64);

impl Phone {
    /// The user's name: seven to ten octets.
    #[must_use]
    pub fn user(self) -> String {
        let name = ["u", "user", "ext", "sip."][self.0 as usize % 4];
        format!("{name}{:06}", self.0)
    }

    /// Where the phone is.
    #[must_use]
    pub fn address(self) -> SocketAddr {
        SocketAddr::new(IpAddr::V4(Ipv4Addr::from_bits(0x6440_0000 + self.0 as u32)), 5060)
    }

    /// His HA1, of any algorithm. No hash of a password: nobody asks for the password here.
    #[must_use]
    pub fn ha1(self) -> [u8; 32] {
        let mut ha1 = [0; 32];
        for (part, n) in ha1.as_chunks_mut::<8>().0.iter_mut().zip(1..) {
            *part = mix(self.0 << 8 | n).to_le_bytes();
        }
        ha1
    }
}

/// A call: who calls whom.
#[derive(Clone, Copy, Debug)]
pub struct Call {
    /// Its number.
    pub number: u64,
    /// Who calls.
    pub caller: Phone,
    /// Who is called.
    pub callee: Phone,
}

impl Call {
    /// The call with this number among this many users.
    #[must_use]
    pub fn new(number: u64, users: u64) -> Self {
        let phone = |n| Phone(mix(n) % users);
        Self { number, caller: phone(2 * number), callee: phone(2 * number + 1) }
    }

    fn call_id(&self) -> String {
        format!("{:016x}@{}", mix(self.number ^ 0xca11), self.caller.address().ip())
    }

    fn from(&self) -> String {
        let user = self.caller.user();
        format!("\"{user}\" <sip:{user}@example.net>;tag={:08x}", mix(self.number ^ 0xf0) as u32)
    }

    fn to(&self) -> String {
        format!("<sip:{}@example.net>", self.callee.user())
    }

    fn callee_tag(&self) -> String {
        format!("{:08x}", mix(self.number ^ 0x70) as u32)
    }

    fn head(&self, method: &str, uri: &str, branch: &str) -> String {
        format!(
            "{method} {uri} SIP/2.0\r\nVia: SIP/2.0/UDP {};branch=z9hG4bK{:016x}{branch};rport\r\nMax-Forwards: 70\r\n",
            self.caller.address(),
            mix(self.number ^ 0xb4a)
        )
    }

    /// The INVITE.
    #[must_use]
    pub fn invite(&self) -> Vec<u8> {
        let uri = format!("sip:{}@example.net", self.callee.user());
        let (user, address) = (self.caller.user(), self.caller.address());
        let body = sdp(address);
        format!(
            "{}From: {}\r\nTo: {}\r\nCall-ID: {}\r\nCSeq: 1 INVITE\r\nContact: <sip:{user}@{address}>\r\n\
             User-Agent: Desk phone 3.1\r\nContent-Type: application/sdp\r\nContent-Length: {}\r\n\r\n{body}",
            self.head("INVITE", &uri, "i"),
            self.from(),
            self.to(),
            self.call_id(),
            body.len()
        )
        .into_bytes()
    }

    /// What the callee answers to a request as it got it.
    #[must_use]
    pub fn answer(&self, request: &[u8], status: &str) -> Vec<u8> {
        let mut text = format!("SIP/2.0 {status}\r\n");
        for line in lines(request) {
            let kept = ["Via:", "Record-Route:", "From:", "Call-ID:", "CSeq:"];
            if kept.iter().any(|name| line.starts_with(name)) || line.contains(";tag=") {
                text += line;
                text += "\r\n";
            } else if line.starts_with("To:") {
                text += &format!("{line};tag={}\r\n", self.callee_tag());
            }
        }
        let invite = request.starts_with(b"INVITE");
        let body =
            if invite && status.starts_with("200") { sdp(self.callee.address()) } else { String::new() };
        if invite {
            text += &format!("Contact: <sip:{}@{}>\r\n", self.callee.user(), self.callee.address());
        }
        if !body.is_empty() {
            text += "Content-Type: application/sdp\r\n";
        }
        text += &format!("Content-Length: {}\r\n\r\n{body}", body.len());
        text.into_bytes()
    }

    /// A request of the caller's in the dialog, by this Route.
    #[must_use]
    pub fn in_dialog(&self, method: &str, number: u32, route: &str) -> Vec<u8> {
        let uri = format!("sip:{}@{}", self.callee.user(), self.callee.address());
        format!(
            "{}Route: {route}\r\nFrom: {}\r\nTo: {};tag={}\r\nCall-ID: {}\r\nCSeq: {number} {method}\r\n\
             User-Agent: Desk phone 3.1\r\nContent-Length: 0\r\n\r\n",
            self.head(method, &uri, &method[..1]),
            self.from(),
            self.to(),
            self.callee_tag(),
            self.call_id()
        )
        .into_bytes()
    }

    /// The CANCEL, or the ACK of a refusal: both go the way of the INVITE.
    #[must_use]
    pub fn with_invite(&self, method: &str) -> Vec<u8> {
        let uri = format!("sip:{}@example.net", self.callee.user());
        let tag = if method == "ACK" { format!(";tag={}", self.callee_tag()) } else { String::new() };
        format!(
            "{}From: {}\r\nTo: {}{tag}\r\nCall-ID: {}\r\nCSeq: 1 {method}\r\nContent-Length: 0\r\n\r\n",
            self.head(method, &uri, "i"),
            self.from(),
            self.to(),
            self.call_id()
        )
        .into_bytes()
    }
}

/// Offer or answer: three codecs and DTMF.
fn sdp(address: SocketAddr) -> String {
    let ip = address.ip();
    format!(
        "v=0\r\no=- 3842 3842 IN IP4 {ip}\r\ns=-\r\nc=IN IP4 {ip}\r\nt=0 0\r\nm=audio 16384 RTP/AVP 9 8 0 101\r\n\
         a=rtpmap:101 telephone-event/8000\r\na=sendrecv\r\n"
    )
}

/// The lines of a message before its body.
fn lines(message: &[u8]) -> impl Iterator<Item = &str> {
    let text = str::from_utf8(message).unwrap_or_default();
    text.split_once("\r\n\r\n").map_or(text, |(head, _)| head).split("\r\n").skip(1)
}

/// The first value of a header.
#[must_use]
pub fn header<'a>(message: &'a [u8], name: &str) -> Option<&'a str> {
    lines(message).find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
}

/// A digest algorithm as a phone knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    #[allow(missing_docs)]
    Md5,
    #[allow(missing_docs)]
    Sha256,
    #[allow(missing_docs)]
    Sha512_256,
}

impl Algorithm {
    fn name(self) -> &'static str {
        match self {
            Self::Md5 => "MD5",
            Self::Sha256 => "SHA-256",
            Self::Sha512_256 => "SHA-512-256",
        }
    }

    fn hash(self, text: &str) -> String {
        match self {
            Self::Md5 => hex(&Md5::digest(text)),
            Self::Sha256 => hex(&Sha256::digest(text)),
            Self::Sha512_256 => hex(&Sha512_256::digest(text)),
        }
    }

    /// The value of Authorization for a REGISTER (RFC 7616 section 3.4).
    #[must_use]
    pub fn authorization(self, phone: Phone, nonce: &str) -> String {
        let ha1 = phone.ha1();
        let ha1 = hex(if self == Self::Md5 { &ha1[..16] } else { &ha1 });
        let a2 = self.hash("REGISTER:sip:example.net");
        let response = self.hash(&format!("{ha1}:{nonce}:00000001:0a4f113b:auth:{a2}"));
        format!(
            "Digest username=\"{}\", realm=\"example.net\", nonce=\"{nonce}\", uri=\"sip:example.net\", \
             response=\"{response}\", algorithm={}, cnonce=\"0a4f113b\", qop=auth, nc=00000001",
            phone.user(),
            self.name()
        )
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The nonce of a 401.
#[must_use]
pub fn nonce(challenge: &[u8]) -> Option<&str> {
    let (_, nonce) = header(challenge, "WWW-Authenticate")?.split_once("nonce=\"")?;
    nonce.split('"').next()
}

/// A REGISTER of the phone's one contact, in one Call-ID; `number` goes up.
#[must_use]
pub fn register(phone: Phone, number: u32, authorization: Option<&str>) -> Vec<u8> {
    let (user, address) = (phone.user(), phone.address());
    let authorization = authorization.map_or_else(String::new, |value| format!("Authorization: {value}\r\n"));
    format!(
        "REGISTER sip:example.net SIP/2.0\r\nVia: SIP/2.0/UDP {address};branch=z9hG4bK{:016x};rport\r\nMax-Forwards: 70\r\n\
         From: <sip:{user}@example.net>;tag={:08x}\r\nTo: <sip:{user}@example.net>\r\nCall-ID: {:016x}@{ip}\r\n\
         CSeq: {number} REGISTER\r\nContact: <sip:{user}@{address}>\r\nExpires: 2000000000\r\n{authorization}\
         Allow: INVITE, ACK, CANCEL, BYE, OPTIONS, INFO, UPDATE, PRACK, REFER, NOTIFY, SUBSCRIBE, MESSAGE\r\n\
         Supported: replaces, timer\r\nUser-Agent: Desk phone 3.1\r\nContent-Length: 0\r\n\r\n",
        mix(phone.0 ^ u64::from(number) << 32),
        mix(phone.0 ^ 0xf1) as u32,
        mix(phone.0 ^ 0x4e6),
        ip = address.ip()
    )
    .into_bytes()
}

/// An OPTIONS for the server itself.
#[must_use]
pub fn options(phone: Phone, number: u32) -> Vec<u8> {
    let (user, address) = (phone.user(), phone.address());
    format!(
        "OPTIONS sip:example.net SIP/2.0\r\nVia: SIP/2.0/UDP {address};branch=z9hG4bK{:016x};rport\r\nMax-Forwards: 70\r\n\
         From: <sip:{user}@example.net>;tag={:08x}\r\nTo: <sip:example.net>\r\nCall-ID: {:016x}@{ip}\r\n\
         CSeq: {number} OPTIONS\r\nAccept: application/sdp\r\nUser-Agent: Desk phone 3.1, with a longer name\r\n\
         Supported: replaces, timer\r\nContent-Length: 0\r\n\r\n",
        mix(phone.0 ^ u64::from(number) << 32),
        mix(phone.0 ^ 0xf1) as u32,
        mix(phone.0 ^ 0x4e7),
        ip = address.ip()
    )
    .into_bytes()
}
