//! OPTIONS pings answered by the program (BPF_PROG_TEST_RUN): octet by octet what an engine with the same configuration
//! answers, or not at all. Needs root as `verdicts.rs` does.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may panic")]
#![allow(missing_docs)]

mod packet;
mod served;
mod skip;

use std::net::SocketAddr;
use std::sync::Arc;

use packet::{CUSTOMER, Packet, SERVICE, to};
use served::{Dice, Served, XDP_TX};
use strowger_engine::{Auth, Config, Engine, Flow, IpPrefix, Location, PingFacts, Time, Verdict};
use strowger_sip::Buffer;
use strowger_wire::steer::{SteeringKey, message_hash, worker_of};
use strowger_wire::{ChecksumState, decode, ipv4_header_valid, udp_checksum_state};
use strowger_xdp::Counter::*;
use strowger_xdp::{Budgets, Junk, LoadOptions, MapError, Pings, Policing, Steering};

const V4: &str = "10.77.0.2:5060";
const V6: &str = "[fd77::2]:5060";
const KEY: SteeringKey = SteeringKey::from_bytes(*b"sixteen secrets!");

fn config() -> Config {
    Config {
        listen: vec![V4.parse().unwrap(), V6.parse().unwrap()],
        domains: vec!["example.net".into(), "10.77.0.2".into()],
        auth_required: false,
        server: "Strowger".into(),
        // The engine's clock stands still here.
        per_source_pps: 1_000_000_000,
        secret: [7; 32],
        ..Config::default()
    }
}

/// Peers whose pings are answered.
const PEERS: [&str; 5] = ["10.77.0.1", "10.9.8.7", "192.0.2.200", "fd77::1", "2001:db8::7:0:1"];

fn pings(config: &Config) -> Pings {
    let PingFacts { uris, offered, tag_key, tag_digits } = PingFacts::of(config);
    let peers = PEERS.map(|peer| peer.parse().unwrap()).into();
    Pings { uris, offered, tag_key, tag_digits, peers }
}

/// The program and an engine with this configuration.
struct Node {
    served: Served,
    engine: Engine,
}

impl Node {
    fn new(config: Config, workers: u32) -> Option<Self> {
        let policing = Policing { answer_options: true, ..Policing::default() };
        let options =
            LoadOptions { policing, workers, steering: Steering::CallId(KEY), ..LoadOptions::default() };
        let mut served = Served::new(&[V4, V6], &options)?;
        served.program.answer_pings(&pings(&config)).unwrap();
        served.hearts.iter().for_each(|heart| heart.set_ready(true));
        let location = Arc::new(Location::new(&config).unwrap());
        let engine = Engine::new(Arc::new(config), location).unwrap();
        Some(Self { served, engine })
    }

    /// What the engine answers, and to whom.
    fn engines(&mut self, packet: &[u8]) -> Option<(Vec<u8>, SocketAddr)> {
        let datagram = decode(packet).unwrap();
        let message = &packet[datagram.payload_range()];
        let mut memory = vec![0; 8192];
        memory[2048..2048 + message.len()].copy_from_slice(message);
        let mut buffer = Buffer::new(&mut memory, 2048..2048 + message.len()).unwrap();
        let flow = Flow { local: datagram.destination(), remote: datagram.source() };
        match self.engine.handle(Time::START, flow, &mut buffer) {
            Verdict::Send(flow) => Some((buffer.message().to_vec(), flow.remote)),
            _ => None,
        }
    }

    /// Whether the program answers `packet`: then as the engine does, in headers that hold; else it is as it was.
    #[track_caller]
    fn answers(&mut self, packet: &[u8]) -> bool {
        let name = packet.escape_ascii().to_string();
        let before = self.served.program.counters().unwrap()[AnswerOptions as usize];
        let run = self.served.program.test_run(packet, 1, None).unwrap();
        let counted = self.served.program.counters().unwrap()[AnswerOptions as usize] - before;
        if run.action != XDP_TX {
            assert_eq!((run.packet.as_slice(), counted), (packet, 0), "{name}");
            return false;
        }
        assert_eq!(counted, 1);
        let (question, answer) = (decode(packet).unwrap(), decode(run.packet.as_slice()).unwrap());
        let (expected, remote) =
            self.engines(packet).unwrap_or_else(|| panic!("the engine is silent: {name}"));
        let said = &run.packet[answer.payload_range()];
        assert_eq!(said.escape_ascii().to_string(), expected.escape_ascii().to_string(), "to {name}");
        assert_eq!(answer.destination(), remote, "{name}");
        assert_eq!((answer.source(), answer.destination()), (question.destination(), question.source()));
        assert_eq!(run.packet.len(), answer.payload_range().end, "nothing behind the answer");
        assert_eq!((answer.dst_mac, answer.src_mac), (question.src_mac, question.dst_mac));
        assert_eq!(answer.vlans, question.vlans);
        assert!(ipv4_header_valid(&run.packet, &answer));
        assert_eq!(udp_checksum_state(&run.packet, &answer), ChecksumState::Valid, "{name}");
        true
    }
}

/// A packet with a UDP checksum that holds.
fn packet(source: SocketAddr, payload: Vec<u8>) -> Packet {
    to(if source.is_ipv4() { V4 } else { V6 }).from(source).payload(payload).checksum()
}

fn source(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

/// Pings as they are sent in the field: (what sends it, from where, the message).
fn samples() -> Vec<(&'static str, SocketAddr, String)> {
    vec![
        (
            "Kamailio's dispatcher",
            source("10.9.8.7:5060"),
            "OPTIONS sip:10.77.0.2:5060 SIP/2.0\r\n\
             Via: SIP/2.0/UDP 10.9.8.7;branch=z9hG4bK03fc.6e1ca4b6000000000000000000000000.0\r\n\
             To: <sip:10.77.0.2:5060>\r\nFrom: <sip:dispatcher@localhost>;tag=1e8e1f4c8a5e5b1c2d3a-7c2f\r\n\
             CSeq: 10 OPTIONS\r\nCall-ID: 6bfa3c0c41f3a2e5-2318@10.9.8.7\r\nMax-Forwards: 70\r\n\
             Content-Length: 0\r\nUser-Agent: kamailio (5.8.4 (x86_64/linux))\r\n\r\n"
                .into(),
        ),
        (
            "Asterisk, pjsip qualify",
            source("192.0.2.200:5060"),
            "OPTIONS sip:10.77.0.2 SIP/2.0\r\n\
             Via: SIP/2.0/UDP 192.0.2.200:5060;rport;branch=z9hG4bKPj2f0f5cf7-e0c5-4f3b-9e45-05b0d5a0b2f1\r\n\
             From: <sip:asterisk@192.0.2.200>;tag=9d0a3d2c-8d1b-4d5e-9a0f-3f0c4b6c9a11\r\n\
             To: <sip:10.77.0.2>\r\nContact: <sip:asterisk@192.0.2.200:5060>\r\n\
             Call-ID: 4cb1d0a2-7d57-4b8e-8a5c-1d3f9f2d6c10\r\nCSeq: 31337 OPTIONS\r\nMax-Forwards: 70\r\n\
             User-Agent: Asterisk PBX 20.9.2\r\nContent-Length:  0\r\n\r\n"
                .into(),
        ),
        (
            "FreeSWITCH's gateway, over IPv6",
            source("[fd77::1]:5080"),
            "OPTIONS sip:[fd77::2] SIP/2.0\r\nVia: SIP/2.0/UDP [fd77::1]:5080;rport;branch=z9hG4bKrXQ3m0v7X1v6N\r\n\
             Max-Forwards: 70\r\nFrom: <sip:[fd77::2]>;tag=0D3Q5tSKy9jXB\r\nTo: <sip:[fd77::2]>\r\n\
             Call-ID: 5a9e3cf2-1b2a-123d-5bb1-0242ac110002\r\nCSeq: 84216117 OPTIONS\r\n\
             Contact: <sip:gw+strowger@[fd77::1]:5080;transport=udp;gw=strowger>\r\n\
             User-Agent: FreeSWITCH-mod_sofia/1.10.12\r\n\
             Allow: INVITE, ACK, BYE, CANCEL, OPTIONS, MESSAGE, INFO, UPDATE, REGISTER, REFER, NOTIFY\r\n\
             Supported: timer, path, replaces\r\nAllow-Events: talk, hold, conference, refer\r\n\
             Content-Length: 0\r\n\r\n"
                .into(),
        ),
        (
            "another Strowger's probe",
            source("10.77.0.1:5060"),
            "OPTIONS sip:10.77.0.2:5060 SIP/2.0\r\nVia: SIP/2.0/UDP 10.77.0.1:5060;branch=z9hG4bKp0a1b2c3d4e5f;rport\r\n\
             Max-Forwards: 70\r\nFrom: <sip:10.77.0.1>;tag=8s7d6f5g\r\nTo: <sip:10.77.0.2:5060>\r\n\
             Call-ID: 7h6j5k4l3m2n\r\nCSeq: 1 OPTIONS\r\nAccept: application/sdp\r\n\r\n"
                .into(),
        ),
        (
            "compact, the other way round",
            source("10.77.0.1:9"),
            "OPTIONS sip:example.net SIP/2.0\r\nl:0\r\nMAX-FORWARDS:7\r\ncseq: 999999999 OPTIONS\r\ni:a@b\r\n\
             t:<sip:example.net>\r\nf:<sip:a>;tag=b\r\nv:SIP/2.0/UDP 10.77.0.1;branch=z9hG4bKa;rport\r\n\r\n"
                .into(),
        ),
    ]
}

#[test]
fn pings_of_the_field_are_answered_as_the_engine_does() {
    let Some(mut node) = Node::new(config(), 1) else { return };
    for (name, source, message) in samples() {
        let packet = packet(source, message.into_bytes());
        for packet in [packet.clone(), packet.clone().tag(CUSTOMER), packet.tag(SERVICE).tag(CUSTOMER)] {
            assert!(node.answers(&packet.bytes()), "{name}");
        }
    }
}

/// Credentials asked for, of others; no line about who we are; URIs by default.
#[test]
fn another_configuration_is_another_answer() {
    let trusted = PEERS.map(|peer| IpPrefix::host(peer.parse().unwrap())).into();
    let config = Config {
        domains: Vec::new(),
        auth_required: true,
        auth: Auth { trusted, ..Auth::default() },
        server: String::new(),
        secret: [8; 32],
        ..config()
    };
    let Some(mut node) = Node::new(config, 1) else { return };
    for (name, source, message) in samples() {
        let packet = packet(source, message.clone().into_bytes()).bytes();
        assert_eq!(node.answers(&packet), !message.contains("sip:example.net SIP"), "{name}");
    }
}

/// A message, taken apart and put together again in some other way: octets changed, put in and left out, lines doubled,
/// left out and exchanged.
fn damaged(dice: &mut Dice, message: &str) -> Vec<u8> {
    let head = message.strip_suffix("\r\n").unwrap();
    let mut lines: Vec<Vec<u8>> = head.split_inclusive("\r\n").map(|line| line.as_bytes().to_vec()).collect();
    let count = lines.len();
    match dice.throw(8) {
        0 => lines.swap(dice.throw(count - 1) + 1, dice.throw(count - 1) + 1),
        1 => lines.insert(dice.throw(count) + 1, lines[dice.throw(count)].clone()),
        2 => _ = lines.remove(dice.throw(count)),
        3 => {
            const OTHERS: [&str; 12] = [
                "Route: <sip:10.77.0.2;lr>",
                "Require: path",
                "Proxy-Require: foo",
                "Timestamp: 54",
                "Content-Length: 1",
                "Content-Type: text/plain",
                "Via: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bKother",
                "Max-Forwards: 0",
                "To: <sip:b>;tag=1",
                "Supported:",
                "k: path",
                "X: y",
            ];
            let line = format!("{}\r\n", OTHERS[dice.throw(OTHERS.len())]);
            lines.insert(dice.throw(count) + 1, line.into_bytes());
        }
        _ => {}
    }
    let mut message = lines.concat();
    message.extend(b"\r\n");
    for _ in 0..dice.throw(4) {
        let at = dice.throw(message.len());
        const OCTETS: &[u8] = b"\r\n \t:;=<>\"@,./?[]()0123456789azAZ%-_*\0\x7f\x80\xff";
        let octet = OCTETS[dice.throw(OCTETS.len())];
        match dice.throw(4) {
            0 => message.insert(at, octet),
            1 => _ = message.remove(at),
            _ => message[at] = octet,
        }
    }
    message
}

/// Whatever comes: the program answers as the engine does, or leaves it as it was.
#[test]
fn what_is_not_of_the_shape_is_the_engines() {
    let rounds = std::env::var("STROWGER_PING_ROUNDS").map_or(10_000, |rounds| rounds.parse().unwrap());
    let Some(mut node) = Node::new(config(), 1) else { return };
    let mut dice = Dice(3261);
    let samples = samples();
    let (mut answered, mut plain) = (0, 0);
    for round in 0..rounds {
        let (_, source, message) = &samples[round % samples.len()];
        let message = damaged(&mut dice, message);
        let mut source = *source;
        if dice.throw(4) == 0 {
            source.set_port(dice.throw(65_536) as u16);
        }
        let packet = packet(source, message.clone()).bytes();
        if node.answers(&packet) {
            answered += 1;
            plain += usize::from(samples.iter().any(|(_, _, sample)| sample.as_bytes() == message));
        }
    }
    let changed = answered - plain;
    assert!(
        changed > rounds / 10 && answered < rounds * 3 / 4,
        "{answered} of {rounds}, {changed} of them damaged"
    );
}

/// Every length of every part, and so every length of the answer.
#[test]
fn lengths_of_all_parts_are_right() {
    let Some(mut node) = Node::new(config(), 1) else { return };
    let mut dice = Dice(19);
    let mut answered = [0; 2];
    for round in 0..4_000 {
        let mut text = |most: usize| {
            let len = dice.throw(most) + 1;
            (0..len).map(|_| char::from(b"abcXYZ019-.!%*_+~'`"[dice.throw(19)])).collect::<String>()
        };
        let (branch, tag, call_id, host, agent) = (text(60), text(66), text(120), text(14), text(200));
        let host = host.replace('`', "x");
        let peer = ["10.77.0.1", "10.9.8.7", "192.0.2.200", "[fd77::1]", "[2001:db8::7:0:1]"][dice.throw(5)];
        let digits = [9, 99, 999, 9_999, 65_535][dice.throw(5)];
        let port = dice.throw(digits) + 1;
        let rport = ["", ";rport"][dice.throw(2)];
        let sent_by = match dice.throw(4) {
            0 => peer.to_owned(),
            _ => format!("{peer}:{port}"),
        };
        let via = match dice.throw(2) {
            0 => format!("{sent_by};branch={branch}{rport}"),
            _ => format!("{sent_by}{rport};branch={branch}"),
        };
        let call_id = if dice.throw(2) == 0 { format!("{call_id}@{host}") } else { call_id };
        let most = [9, 99, 99_999, 999_999_999][dice.throw(4)];
        let cseq = dice.throw(most) + 1;
        let agent = if dice.throw(2) == 0 { String::new() } else { format!("User-Agent: {agent}\r\n") };
        let message = format!(
            "OPTIONS sip:example.net SIP/2.0\r\nVia: SIP/2.0/UDP {via}\r\nFrom: <sip:{host}>;tag={tag}\r\n\
             To: <sip:{host}@example.net>\r\nCall-ID: {call_id}\r\nCSeq: {cseq} OPTIONS\r\nMax-Forwards: 70\r\n\
             {agent}\r\n"
        );
        let source = format!("{peer}:{port}").parse().unwrap();
        let packet = packet(source, message.into_bytes()).bytes();
        let expected = tag.len() <= 64
            && call_id.len() <= 128
            && (port < 65_000 || sent_by == peer)
            && (!rport.is_empty() || sent_by != peer || port == 5060);
        assert_eq!(node.answers(&packet), expected, "round {round}: {}", packet.escape_ascii());
        answered[usize::from(expected)] += 1;
    }
    assert!(answered[0] > 300 && answered[1] > 2_000, "{answered:?}");
}

/// The samples, each with one thing about it that makes it the engine's.
#[test]
fn each_thing_that_is_not_plain_is_the_engines() {
    let Some(node) = Node::new(config(), 1) else { return };
    let (_, source, asterisk) = samples().swap_remove(1);
    let verdict = |what: &str, packet: &Packet| {
        assert_eq!(node.served.verdict(what, &packet.bytes()), Redirect, "{what}")
    };
    for (what, from, to) in [
        ("another method", "OPTIONS sip", "NOTIFY sip"),
        ("the method in lower case", "OPTIONS sip", "options sip"),
        ("a user", "sip:10.77.0.2 SIP", "sip:a@10.77.0.2 SIP"),
        ("another server", "sip:10.77.0.2 SIP", "sip:10.77.0.3 SIP"),
        ("another port of ours", "sip:10.77.0.2 SIP", "sip:10.77.0.2:5061 SIP"),
        ("a parameter", "sip:10.77.0.2 SIP", "sip:10.77.0.2;lr SIP"),
        ("sips", "sip:10.77.0.2 SIP", "sips:10.77.0.2 SIP"),
        ("another version", "SIP/2.0\r\nVia", "SIP/3.0\r\nVia"),
        ("another transport", "SIP/2.0/UDP", "SIP/2.0/TCP"),
        ("another sent-by", "UDP 192.0.2.200", "UDP 192.0.2.20"),
        ("a sent-by that is longer", "UDP 192.0.2.200", "UDP 192.0.2.2001"),
        ("a port that is none", ":5060;rport", ":65536;rport"),
        ("a port of 0", ":5060;rport", ":0;rport"),
        ("an rport with a value", ";rport;", ";rport=5060;"),
        ("received", ";rport;", ";received=192.0.2.200;rport;"),
        ("feedback asked for", ";rport;", ";oc;oc-algo=\"loss\";rport;"),
        ("no branch", ";branch=", ";brunch="),
        ("two branches", ";rport;", ";branch=a;rport;"),
        ("two Vias in one line", "\r\nFrom", ", SIP/2.0/UDP 192.0.2.1;branch=z9hG4bKb\r\nFrom"),
        ("two Vias", "\r\nFrom", "\r\nVia: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bKb\r\nFrom"),
        ("a name in From", "From: <", "From: \"a\" <"),
        ("no tag in From", ";tag=9d0", ";gat=9d0"),
        ("a tag in To", "To: <sip:10.77.0.2>", "To: <sip:10.77.0.2>;tag=1"),
        ("two To", "\r\nContact", "\r\nTo: <sip:10.77.0.2>\r\nContact"),
        ("no To", "\r\nTo:", "\r\nContact:"),
        ("no From", "\r\nFrom:", "\r\nContact:"),
        ("no Via", "\r\nVia:", "\r\nContact:"),
        ("no CSeq", "\r\nCSeq:", "\r\nContact:"),
        ("no Max-Forwards", "\r\nMax-Forwards:", "\r\nContact:"),
        ("Max-Forwards 0", "Max-Forwards: 70", "Max-Forwards: 0"),
        ("Max-Forwards 100", "Max-Forwards: 70", "Max-Forwards: 100"),
        ("two Max-Forwards", "Max-Forwards: 70", "Max-Forwards: 70\r\nMax-Forwards: 70"),
        ("the CSeq of another method", " OPTIONS\r\n", " NOTIFY\r\n"),
        ("a CSeq of ten digits", "CSeq: 31337", "CSeq: 1234567890"),
        ("two CSeqs", "CSeq: 31337", "CSeq: 1 OPTIONS\r\nCSeq: 31337"),
        ("two Call-IDs", "\r\nCSeq", "\r\nCall-ID: a\r\nCSeq"),
        ("Route", "\r\nTo", "\r\nRoute: <sip:10.77.0.2;lr>\r\nTo"),
        ("Require", "\r\nTo", "\r\nRequire: path\r\nTo"),
        ("Proxy-Require", "\r\nTo", "\r\nProxy-Require: path\r\nTo"),
        ("Authorization", "\r\nTo", "\r\nAuthorization: Digest a=b\r\nTo"),
        ("a folded line", "User-Agent: ", "User-Agent:\r\n "),
        ("beyond ASCII", "User-Agent: ", "User-Agent: \u{fc}"),
        ("a body", "Content-Length:  0\r\n\r\n", "Content-Length: 4\r\n\r\nbody"),
        ("a body that nobody counts", "Content-Length:  0\r\n\r\n", "\r\nbody"),
        ("two Content-Lengths", "Content-Length:  0", "l: 0\r\nl: 0"),
        ("octets behind", "\r\n\r\n", "\r\n\r\n "),
        ("an empty line in front", "OPTIONS sip", "\r\nOPTIONS sip"),
        ("no end", "  0\r\n\r\n", "  0\r\n"),
        ("LF alone", "Max-Forwards: 70\r\n", "Max-Forwards: 70\n"),
    ] {
        assert_eq!(asterisk.matches(from).count().min(1), 1, "{what}");
        let message = asterisk.replacen(from, to, 1);
        assert_ne!(message, asterisk);
        verdict(what, &packet(source, message.into_bytes()));
    }
    let many = asterisk.replace("\r\nTo", &format!("\r\n{}To", "Allow: A\r\n".repeat(24)));
    verdict("too many lines", &packet(source, many.into_bytes()));
    let long = asterisk.replace("Asterisk PBX", &"x".repeat(700));
    verdict("too long", &packet(source, long.into_bytes()));

    let plain = packet(source, asterisk.clone().into_bytes());
    verdict("padding", &plain.clone().padding(1));
    verdict("a stranger", &packet("192.0.2.201:5060".parse().unwrap(), asterisk.clone().into_bytes()));
    verdict("port 0", &packet("192.0.2.200:0".parse().unwrap(), asterisk.into_bytes()));
}

/// As the worker judges checksums.
#[test]
fn the_checksum_must_hold_or_be_none() {
    let Some(mut node) = Node::new(config(), 1) else { return };
    for index in [0, 2] {
        let (_, source, message) = samples().swap_remove(index);
        let whole = packet(source, message.clone().into_bytes()).bytes();
        assert!(node.answers(&whole));
        let checksum = decode(whole.as_slice()).unwrap().l4 + 6;
        for at in [checksum, checksum + 1, whole.len() - 1, whole.len() - 11] {
            let mut damaged = whole.clone();
            damaged[at] ^= 1;
            assert_eq!(node.served.verdict("a checksum that does not hold", &damaged), Redirect);
        }
        // None at all: over IPv4 alone (RFC 8200, 8.1).
        let mut none = whole.clone();
        none[checksum..checksum + 2].fill(0);
        assert_eq!(node.answers(&none), source.is_ipv4());
        // What a sender on the same machine leaves to a NIC.
        let partial = packet(source, message.into_bytes()).partial_checksum().bytes();
        assert_eq!(
            udp_checksum_state(&partial, &decode(partial.as_slice()).unwrap()),
            ChecksumState::Partial
        );
        assert!(node.answers(&partial));
    }
}

/// A node that is stuck, gone, on its way down or overloaded isn't said to be there.
#[test]
fn only_a_worker_that_is_ready_is_spoken_for() {
    let Some(mut node) = Node::new(config(), 2) else { return };
    let (_, source, message) = samples().swap_remove(0);
    let worker = worker_of(message_hash(&KEY, message.as_bytes()).unwrap(), 2) as usize;
    let packet = packet(source, message.into_bytes()).bytes();
    assert!(node.answers(&packet));
    node.served.hearts[1 - worker].set_ready(false);
    assert!(node.answers(&packet), "another worker's readiness");
    node.served.hearts[worker].set_ready(false);
    assert_eq!(node.served.verdict("not ready", &packet), Redirect);
    node.served.hearts[worker].set_ready(true);
    node.served.hearts[worker].beat(1);
    assert_eq!(node.served.verdict("stuck", &packet), PassStaleHeartbeat);
    node.served.revive(worker);
    assert!(node.answers(&packet));
    // A worker that ends takes its readiness with it.
    let again = node.served.program.heartbeat(worker as u32).unwrap();
    drop(std::mem::replace(&mut node.served.hearts[worker], again));
    node.served.revive(worker);
    assert_eq!(node.served.verdict("begun anew", &packet), Redirect);
}

#[test]
fn it_is_opt_in() {
    let (_, source, message) = samples().swap_remove(0);
    let packet = packet(source, message.into_bytes()).bytes();
    let Some(mut silent) = Served::new(&[V4], &LoadOptions::default()) else { return };
    silent.program.answer_pings(&pings(&config())).unwrap();
    silent.hearts[0].set_ready(true);
    assert_eq!(silent.verdict("not asked for", &packet), Redirect);

    let policing = Policing { answer_options: true, ..Policing::default() };
    let Some(untold) = Served::new(&[V4], &LoadOptions { policing, ..LoadOptions::default() }) else {
        return;
    };
    untold.hearts[0].set_ready(true);
    assert_eq!(untold.verdict("nobody said whose", &packet), Redirect);
}

/// With everything on there is still room in the verifier's budget, and pings are answered all the same.
#[test]
fn all_of_policing_goes_with_it() {
    let Some(mut served) = ({
        let budgets = Budgets {
            unknown_pps: 9_000,
            known_pps: 9_000,
            burst: 9_000,
            strangers_pps: 9_000,
            room: 64,
            known_room: 64,
        };
        let policing = Policing {
            bans: true,
            junk: Junk::Drop,
            budgets: Some(budgets),
            answer_stun: true,
            answer_options: true,
        };
        let steering = Steering::CallId(KEY);
        Served::new(&[V4, V6], &LoadOptions { policing, workers: 2, steering, ..LoadOptions::default() })
    }) else {
        return;
    };
    served.program.answer_pings(&pings(&config())).unwrap();
    served.hearts.iter().for_each(|heart| heart.set_ready(true));
    let size = served.program.size().unwrap();
    assert!(size.verified_instructions < 700_000, "{size:?}");
    for (name, source, message) in samples() {
        let packet = packet(source, message.into_bytes()).bytes();
        assert_eq!(served.program.test_run(&packet, 1, None).unwrap().action, XDP_TX, "{name}");
    }
}

#[test]
fn what_there_is_no_room_for_is_refused() {
    let policing = Policing { answer_options: true, ..Policing::default() };
    let Some(mut served) = Served::new(&[V4], &LoadOptions { policing, ..LoadOptions::default() }) else {
        return;
    };
    let good = pings(&config());
    let mut refused = |pings: Pings| {
        let answer = served.program.answer_pings(&pings);
        assert!(matches!(answer, Err(MapError::Pings { .. })), "{answer:?}");
    };
    let many =
        (0..=strowger_xdp::ping::MAX_PEERS as u32).map(|n| std::net::Ipv4Addr::from(n << 8 | 1).into());
    refused(Pings { peers: many.collect(), ..good.clone() });
    refused(Pings { offered: vec!["x".repeat(119)], ..good.clone() });
    refused(Pings { offered: vec!["a: b".into(); 5], ..good.clone() });
    // URIs beyond the room are the engine's.
    let uris = (0..100).map(|n| format!("sip:host-{n}.example.net")).chain(good.uris.clone()).collect();
    served.program.answer_pings(&Pings { uris, ..good }).unwrap();
}
