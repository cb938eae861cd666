//! The messages that are measured, each with the facts that it was written with.
//!
//! There are [`COPIES`] of every kind: users, addresses, ports, tags, branches and Call-IDs differ in value and length,
//! so that no branch predictor learns one message by heart. The kinds whose size is in their name have it exactly.
//! All values come from a fixed seed: every run measures the same octets.

use std::net::IpAddr;
use std::path::Path;

use super::facts::{Facts, Field, UDP};

/// Copies of each kind.
pub const COPIES: usize = 64;

/// One message.
#[derive(Clone, Debug)]
pub struct Sample {
    /// The datagram.
    pub bytes: Vec<u8>,
    /// What it says.
    pub facts: Facts,
    /// What is done to it when it is edited.
    pub change: Change,
}

/// What a proxy puts into a message that it forwards or answers.
#[derive(Clone, Debug)]
pub struct Change {
    /// The new Request-URI: the contact that was looked up.
    pub uri: String,
    /// Value of our Via.
    pub via: String,
    /// Value of our Record-Route.
    pub record_route: String,
    /// Address and port that the message came from.
    pub source: (IpAddr, u16),
    /// Tag of our reply.
    pub tag: String,
}

impl Change {
    fn new(dice: &mut Dice) -> Self {
        let address = IpAddr::from([203, 0, 113, 1 + dice.below(254) as u8]);
        Self {
            uri: format!("sip:{}@{}:{}", dice.user(), dice.address(), dice.port()),
            via: format!("SIP/2.0/UDP {PROXY}:5060;branch=z9hG4bK{}", dice.token(24, 24)),
            record_route: format!("<sip:{PROXY}:5060;lr;k={}>", dice.token(16, 16)),
            source: (address, dice.port() as u16),
            tag: dice.token(16, 16),
        }
    }
}

/// The element under test is this host, as in the Route and the upper Vias.
pub const PROXY: &str = "10.77.0.2";

/// Octets of the INVITE.
pub const INVITE: usize = 500;

// No dots: rsip takes a user with a dot for a host.
const USERS: [&str; 8] = ["bob", "alice", "carol", "4930123", "u1", "front", "jsmith", "ext204"];

/// SplitMix64: enough for spreading values about.
struct Dice(u64);

impl Dice {
    fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut x = self.0;
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^ (x >> 31)
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.roll() % limit
    }

    fn user(&mut self) -> &'static str {
        USERS[self.below(USERS.len() as u64) as usize]
    }

    /// A token of `least` to `most` letters and digits.
    fn token(&mut self, least: u64, most: u64) -> String {
        const LETTERS: &[u8] = b"abcdefghijklmnopqrstuvwxyz0123456789ABCDEF";
        let length = least + self.below(most - least + 1);
        (0..length).map(|_| char::from(LETTERS[self.below(LETTERS.len() as u64) as usize])).collect()
    }

    fn hex(&mut self, length: usize) -> String {
        (0..length).map(|_| char::from(b"0123456789abcdef"[self.below(16) as usize])).collect()
    }

    fn address(&mut self) -> String {
        format!("192.0.2.{}", 1 + self.below(254))
    }

    fn port(&mut self) -> u64 {
        1024 + self.below(64_000)
    }
}

/// Who calls whom: what the requests have in common.
struct Call {
    from: &'static str,
    to: &'static str,
    address: String,
    port: u64,
    branch: String,
    from_tag: String,
    to_tag: String,
    call_id: String,
    cseq: u64,
}

impl Call {
    fn new(dice: &mut Dice) -> Self {
        let address = dice.address();
        let at = if dice.below(2) == 0 { format!("@{address}") } else { String::new() };
        Self {
            from: dice.user(),
            to: dice.user(),
            port: dice.port(),
            branch: format!("z9hG4bK{}", dice.token(6, 16)),
            from_tag: dice.token(6, 10),
            to_tag: dice.token(6, 16),
            call_id: format!("{}{at}", dice.token(10, 18)),
            cseq: 1 + dice.below(40_000),
            address,
        }
    }

    /// What the headers say that all kinds have.
    fn facts(&self, method: &str, body: &str) -> Facts {
        Facts::default()
            .with(Field::ViaTransport, UDP)
            .with(Field::FromTag, &self.from_tag)
            .with(Field::CallId, &self.call_id)
            .with(Field::CSeqNumber, self.cseq.to_string())
            .with(Field::CSeqMethod, method)
            .with(Field::ContentLength, body.len().to_string())
            .with(Field::Body, body)
    }

    /// What a request says besides.
    fn request(&self, method: &str, body: &str) -> Facts {
        self.facts(method, body)
            .with(Field::Method, method)
            .with(Field::MaxForwards, "70")
            .with(Field::ViaHost, &self.address)
            .with(Field::ViaPort, self.port.to_string())
            .with(Field::ViaBranch, &self.branch)
            .with(Field::ViaRport, "0")
    }

    fn contact(&self, facts: Facts) -> Facts {
        facts
            .with(Field::ContactUser, self.from)
            .with(Field::ContactHost, &self.address)
            .with(Field::ContactPort, self.port.to_string())
    }
}

fn session(call: &Call, dice: &mut Dice, padding: usize) -> String {
    let (address, audio) = (&call.address, 10_000 + 2 * dice.below(20_000));
    let id = dice.below(1 << 24);
    format!(
        "v=0\r\no={} {id} 1 IN IP4 {address}\r\ns=-{}\r\nc=IN IP4 {address}\r\nt=0 0\r\nm=audio {audio} RTP/AVP 8\r\n",
        call.from,
        "-".repeat(padding),
    )
}

/// The samples of one kind: `write` gets the call, the dice and the number of octets to pad.
fn samples(
    seed: u64,
    size: Option<usize>,
    write: impl Fn(&Call, &mut Dice, usize) -> (String, Facts),
) -> Vec<Sample> {
    let sample = |number: usize, padding: usize| {
        let mut dice = Dice(seed << 32 | number as u64);
        let call = Call::new(&mut dice);
        let change = Change::new(&mut dice);
        let (bytes, facts) = write(&call, &mut dice, padding);
        Sample { bytes: bytes.into_bytes(), facts, change }
    };
    (0..COPIES)
        .map(|number| {
            let plain = sample(number, 0);
            match size {
                None => plain,
                Some(size) => {
                    let padding = size.saturating_sub(plain.bytes.len());
                    let padded = sample(number, padding);
                    // Content-Length may have got one more digit.
                    if padded.bytes.len() > size { sample(number, padding - 1) } else { padded }
                }
            }
        })
        .collect()
}

/// INVITE of exactly [`INVITE`] octets from a phone behind us, with SDP and a preloaded Route.
#[must_use]
pub fn invite() -> Vec<Sample> {
    invite_with(true)
}

/// The same without a Route, as most phones send it: this one is forwarded.
#[must_use]
pub fn plain_invite() -> Vec<Sample> {
    invite_with(false)
}

fn invite_with(routed: bool) -> Vec<Sample> {
    samples(1, Some(INVITE), |call, dice, padding| {
        let route = if routed { format!("Route: <sip:{PROXY}:5060;lr>\r\n") } else { String::new() };
        let Call { from, to, address, port, branch, from_tag, call_id, cseq, .. } = call;
        let body = session(call, dice, padding);
        let length = body.len();
        let bytes = format!(
            "INVITE sip:{to}@example.net SIP/2.0\r\n\
             Via: SIP/2.0/UDP {address}:{port};branch={branch};rport\r\n\
             Max-Forwards: 70\r\n\
             {route}\
             From: <sip:{from}@example.net>;tag={from_tag}\r\n\
             To: <sip:{to}@example.net>\r\n\
             Call-ID: {call_id}\r\n\
             CSeq: {cseq} INVITE\r\n\
             Contact: <sip:{from}@{address}:{port}>\r\n\
             Content-Type: application/sdp\r\n\
             Content-Length: {length}\r\n\r\n{body}"
        );
        let facts = call
            .contact(call.request("INVITE", &body))
            .with(Field::UriUser, to)
            .with(Field::UriHost, "example.net");
        let facts =
            if routed { facts.with(Field::RouteHost, PROXY).with(Field::RoutePort, "5060") } else { facts };
        (bytes, facts)
    })
}

/// REGISTER with digest credentials.
#[must_use]
pub fn register() -> Vec<Sample> {
    samples(2, None, |call, dice, _| {
        let Call { from, address, port, branch, from_tag, call_id, cseq, .. } = call;
        let (nonce, response, cnonce) = (dice.hex(32), dice.hex(32), dice.token(8, 16));
        let bytes = format!(
            "REGISTER sip:example.net SIP/2.0\r\n\
             Via: SIP/2.0/UDP {address}:{port};branch={branch};rport\r\n\
             Max-Forwards: 70\r\n\
             From: <sip:{from}@example.net>;tag={from_tag}\r\n\
             To: <sip:{from}@example.net>\r\n\
             Call-ID: {call_id}\r\n\
             CSeq: {cseq} REGISTER\r\n\
             Contact: <sip:{from}@{address}:{port}>;expires=3600\r\n\
             Authorization: Digest username=\"{from}\", realm=\"example.net\", nonce=\"{nonce}\", \
             uri=\"sip:example.net\", response=\"{response}\", algorithm=MD5, cnonce=\"{cnonce}\", qop=auth, \
             nc=00000001\r\n\
             Expires: 3600\r\n\
             Content-Length: 0\r\n\r\n"
        );
        let facts = call
            .contact(call.request("REGISTER", ""))
            .with(Field::UriHost, "example.net")
            .with(Field::AuthUsername, from)
            .with(Field::AuthRealm, "example.net")
            .with(Field::AuthNonce, nonce)
            .with(Field::AuthUri, "sip:example.net")
            .with(Field::AuthResponse, response)
            .with(Field::AuthCnonce, cnonce)
            .with(Field::AuthNonceCount, "1");
        (bytes, facts)
    })
}

/// 200 to an INVITE on its way back through us and two more proxies: four Vias, ours on top.
#[must_use]
pub fn answer() -> Vec<Sample> {
    samples(3, None, |call, dice, _| {
        let Call { from, to, address, port, branch, from_tag, to_tag, call_id, cseq } = call;
        let (ours, next, third) = (dice.token(16, 24), dice.token(8, 24), dice.token(8, 24));
        let (phone, phone_port) = (dice.address(), dice.port());
        let body = session(call, dice, 0);
        let length = body.len();
        let bytes = format!(
            "SIP/2.0 200 OK\r\n\
             Via: SIP/2.0/UDP {PROXY}:5060;branch=z9hG4bK{ours}\r\n\
             Via: SIP/2.0/UDP proxy2.example.net:5080;branch=z9hG4bK{next};received=198.51.100.7;rport=5080\r\n\
             Via: SIP/2.0/UDP edge.example.org;branch=z9hG4bK{third}\r\n\
             Via: SIP/2.0/UDP {phone}:{phone_port};branch={branch};received=203.0.113.9;rport=40123\r\n\
             Record-Route: <sip:{PROXY}:5060;lr>\r\n\
             Record-Route: <sip:proxy2.example.net:5080;lr>\r\n\
             From: <sip:{to}@example.net>;tag={from_tag}\r\n\
             To: <sip:{from}@example.net>;tag={to_tag}\r\n\
             Call-ID: {call_id}\r\n\
             CSeq: {cseq} INVITE\r\n\
             Contact: <sip:{from}@{address}:{port}>\r\n\
             Content-Type: application/sdp\r\n\
             Content-Length: {length}\r\n\r\n{body}"
        );
        let facts = call
            .contact(call.facts("INVITE", &body))
            .with(Field::Status, "200")
            .with(Field::ToTag, to_tag)
            .with(Field::ViaHost, PROXY)
            .with(Field::ViaPort, "5060")
            .with(Field::ViaBranch, format!("z9hG4bK{ours}"))
            .with(Field::NextViaHost, "proxy2.example.net")
            .with(Field::NextViaPort, "5080")
            .with(Field::NextViaBranch, format!("z9hG4bK{next}"))
            .with(Field::NextViaReceived, "198.51.100.7")
            .with(Field::NextViaRport, "5080");
        (bytes, facts)
    })
}

/// BYE inside a dialog.
#[must_use]
pub fn bye() -> Vec<Sample> {
    samples(4, None, |call, dice, _| {
        let Call { from, to, address, port, branch, from_tag, to_tag, call_id, cseq } = call;
        let (callee, callee_port) = (dice.address(), dice.port());
        let bytes = format!(
            "BYE sip:{to}@{callee}:{callee_port} SIP/2.0\r\n\
             Via: SIP/2.0/UDP {address}:{port};branch={branch};rport\r\n\
             Max-Forwards: 70\r\n\
             Route: <sip:{PROXY}:5060;lr>\r\n\
             From: <sip:{from}@example.net>;tag={from_tag}\r\n\
             To: <sip:{to}@example.net>;tag={to_tag}\r\n\
             Call-ID: {call_id}\r\n\
             CSeq: {cseq} BYE\r\n\
             Content-Length: 0\r\n\r\n"
        );
        let facts = call
            .request("BYE", "")
            .with(Field::UriUser, to)
            .with(Field::UriHost, callee)
            .with(Field::UriPort, callee_port.to_string())
            .with(Field::RouteHost, PROXY)
            .with(Field::RoutePort, "5060")
            .with(Field::ToTag, to_tag);
        (bytes, facts)
    })
}

/// Our counterpart of the largest torture message: everything that may be long is, and 34 Vias in every spelling.
#[must_use]
pub fn torture() -> Vec<Sample> {
    samples(5, None, |call, dice, _| {
        let Call { to, address, port, branch, from_tag, call_id, cseq, .. } = call;
        let long = |piece: &str, times: usize| piece.repeat(times);
        let user = long("averyverylongcaller", 6);
        let mut vias = String::new();
        for hop in (1..34).rev() {
            let name = ["Via:", "v:", "VIA:", "via:", "V :", "Via :", "v  :", "ViA:"][hop % 8];
            vias +=
                &format!("{name} SIP/2.0/UDP hop{hop}.example.com;branch=z9hG4bK{}\r\n", dice.token(4, 8));
        }
        let branch = format!("{branch}{}", long("long", 48));
        let from_tag = format!("{from_tag}{}", long("982", 45));
        let call_id = format!("{}{call_id}", long("really", 20));
        let body = session(call, dice, 0);
        let length = body.len();
        let bytes = format!(
            "INVITE sip:{to}@example.com SIP/2.0\r\n\
             To: \"A display name of {} length\" <sip:{to}@example.com:6000;unknown={};{}=short>\r\n\
             F: sip:{user}@example.net;tag={from_tag};{}={};{}\r\n\
             Call-ID: {call_id}\r\n\
             CSeq: {cseq} INVITE\r\n\
             Unknown-{}-Name: {}; {} = {}\r\n\
             Via: SIP/2.0/UDP {address}:{port};received=192.0.2.5;branch={branch}\r\n\
             {vias}\
             Max-Forwards: 70\r\n\
             Contact: <sip:{user}@{address}:{port}>\r\n\
             Content-Type: application/sdp\r\n\
             l: {length}\r\n\r\n{body}",
            long("extreme", 12),
            long("long", 24),
            long("name", 28),
            long("parameter", 12),
            long("value", 16),
            long("flag", 30),
            long("Long", 20),
            long("value", 20),
            long("parameter", 10),
            long("value", 20),
        );
        let facts = call
            .request("INVITE", &body)
            .with(Field::UriUser, to)
            .with(Field::UriHost, "example.com")
            .with(Field::FromTag, from_tag)
            .with(Field::CallId, call_id)
            .with(Field::ViaBranch, branch)
            .with(Field::ViaReceived, "192.0.2.5")
            .with(Field::ContactUser, user)
            .with(Field::ContactHost, address)
            .with(Field::ContactPort, port.to_string())
            .without(Field::ViaRport);
        (bytes, facts)
    })
}

/// The largest message of the RFCs' torture corpora, where they lie beside the tree; they are not part of it. It is one
/// message [`COPIES`] times over, so the predictors do learn it. What it says is for the caller to find out.
#[must_use]
pub fn corpus() -> Option<Vec<Sample>> {
    let corpora = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/corpus");
    let files = ["rfc4475", "rfc5118"].iter().filter_map(|name| std::fs::read_dir(corpora.join(name)).ok());
    let messages = files.flatten().filter_map(|file| std::fs::read(file.ok()?.path()).ok());
    let bytes = messages.max_by_key(Vec::len)?;
    let change = Change::new(&mut Dice(6));
    Some(vec![Sample { bytes, facts: Facts::default(), change }; COPIES])
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn the_invite_has_its_size_and_no_two_copies_are_equal() {
        for kind in [invite(), register(), answer(), bye(), torture()] {
            assert_eq!(kind.len(), COPIES);
            let distinct: BTreeSet<_> = kind.iter().map(|sample| &sample.bytes).collect();
            assert_eq!(distinct.len(), COPIES);
            let lengths: BTreeSet<_> =
                kind.iter().map(|sample| sample.bytes.windows(9).position(|w| w == b"\r\nCall-ID")).collect();
            assert!(lengths.len() > 12, "headers lie at {} different places only", lengths.len());
        }
        for sample in invite() {
            assert_eq!(sample.bytes.len(), INVITE, "{}", String::from_utf8_lossy(&sample.bytes));
        }
    }
}
