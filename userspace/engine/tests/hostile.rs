//! Messages that want to do harm: mutated, oversized, endless, crafted. The engine does not panic, what it sends is a
//! message, and it sends nothing to anybody who is not part of the exchange.

mod pair;

use std::path::{Path, PathBuf};

use pair::{ALICE, BOB, HEADROOM, Out, Pair, Text, US, config, register, request, stateless};
use proptest::prelude::*;
use strowger_engine::{Config, Reason, Transactions};
use strowger_sip::{Fault, Index, Message, limit};

/// A pair with Bob registered, and one message of each kind that gets through. Without transactions, so that a message
/// is decided on each time that it comes.
fn scene() -> (Pair, Vec<(&'static str, Vec<u8>)>) {
    scene_of(stateless())
}

fn scene_of(config: Config) -> (Pair, Vec<(&'static str, Vec<u8>)>) {
    let mut pair = Pair::new(Config { transactions: Transactions::sized(8), ..config });
    pair.register("bob", &format!("<sip:bob@{BOB}>;q=0.7"));
    let invite =
        request("INVITE", "sip:bob@example.net").add("Supported", "100rel, timer").body("v=0\r\no=a\r\n");
    let at_bob = pair.pass(ALICE, &invite).to(BOB);
    let ok = at_bob.response(200, "OK", "b").add("Contact", &format!("<sip:bob@{BOB}>")).body("v=0\r\n");
    let rr = pair.pass(BOB, &ok).to(ALICE).get("Record-Route").to_owned();
    let bye = request("BYE", &format!("sip:bob@{BOB}"))
        .set("To", "<sip:bob@example.net>;tag=b")
        .add("Route", &format!("{rr}, <sip:10.77.0.12:5070;lr>"));
    let strict = bye.clone().uri(rr.trim_matches(['<', '>'])).set("Route", &format!("<sip:bob@{BOB}>"));
    let texts = [
        (ALICE, invite.clone()),
        (ALICE, invite.cancel()),
        (ALICE, bye),
        (ALICE, strict),
        (ALICE, request("OPTIONS", "sip:example.net")),
        (
            ALICE,
            register("carol", "\"C\" <sip:carol@192.0.2.5;ob>;q=0.5, sip:carol@192.0.2.6")
                .add("Expires", "600"),
        ),
        (ALICE, register("bob", "*").add("Expires", "0")),
        (BOB, at_bob.response(180, "Ringing", "b")),
        (BOB, ok),
    ];
    let messages = texts.into_iter().map(|(from, text)| (from, text.bytes())).collect();
    (pair, messages)
}

/// What must hold for whatever comes out for a datagram from `source`.
fn check(source: &str, bytes: &[u8], out: &Out) {
    let Out::Sent { local, remote, bytes: sent } = out else { return };
    assert_eq!(local.to_string(), US);
    let mut index = Index::new();
    let shown = || format!("{}\n→ {remote}\n{}", bytes.escape_ascii(), sent.escape_ascii());
    let message = match Message::parse(sent, &mut index) {
        Ok(message) => message,
        // The request had as many lines as we read, and what we had to add came on top: well-formed all the same.
        Err(e) if e.fault == Fault::TooManyHeaders => return,
        Err(e) => panic!("{e}: {}", shown()),
    };
    let source: std::net::SocketAddr = source.parse().expect("an address");
    match message.status() {
        None => {
            let via = message.top_via().expect("our Via");
            assert_eq!(via.host().ip().map(|ip| ip.to_string()).as_deref(), Some("10.77.0.2"), "{}", shown());
            assert_eq!(message.essentials().map(|_| ()), Ok(()), "{}", shown());
        }
        Some(_) if remote.to_string() == ALICE && source.to_string() == BOB => {}
        Some(status) => {
            assert_eq!(remote.ip(), source.ip(), "a reply goes to its source: {}", shown());
            assert!(status.code >= 200, "no provisional responses (section 16.11)");
            // Beside what it lists or names, a reply has nothing that its request has not paid for.
            let listed: usize = message
                .all()
                .filter(|h| {
                    ["Contact", "Allow", "Unsupported", "Retry-After", "Min-Expires"]
                        .iter()
                        .any(|n| h.raw_name == n.as_bytes())
                })
                .map(|h| h.line_range.len())
                .sum();
            assert!(
                sent.len() <= bytes.len() + FORCED + listed,
                "{} bytes for {}: {}",
                sent.len(),
                bytes.len(),
                shown()
            );
        }
    }
}

/// What the RFC forces into a reply that is not in its request: status line for request line (the reason phrase says
/// what was wrong), To tag, received, rport, Content-Length.
const FORCED: usize = "SIP/2.0 400 ".len()
    + 48
    + ";tag=01234567;received=255.255.255.255;rport=65535\r\nContent-Length: 0\r\n".len();

#[derive(Clone, Debug)]
enum Mutation {
    Set(usize, u8),
    Insert(usize, Vec<u8>),
    Delete(usize, usize),
    Repeat(usize, usize, usize),
    Truncate(usize),
    SwapLines(usize, usize),
    RepeatLine(usize, usize),
}

fn mutation() -> impl Strategy<Value = Mutation> {
    let at = 0usize..2000;
    let piece = prop_oneof![
        Just(b"\r\n".to_vec()),
        Just(b"\r\n\r\n".to_vec()),
        Just(b"\r\n ".to_vec()),
        Just(b",".to_vec()),
        Just(b";".to_vec()),
        Just(b"\"".to_vec()),
        Just(b"<".to_vec()),
        Just(b">".to_vec()),
        Just(b"%".to_vec()),
        Just(b"\0".to_vec()),
        Just(b"@".to_vec()),
        Just(b";lr".to_vec()),
        Just(b";rport".to_vec()),
        Just(b";received=203.0.113.7".to_vec()),
        Just(b";maddr=203.0.113.7".to_vec()),
        Just(b"99999999999999999999".to_vec()),
        Just(format!("\r\nRoute: <sip:{US};lr>").into_bytes()),
        Just(b"\r\nRoute: <sip:203.0.113.7>".to_vec()),
        Just(b"\r\nVia: SIP/2.0/UDP 203.0.113.7".to_vec()),
        proptest::collection::vec(any::<u8>(), 1..20),
    ];
    prop_oneof![
        4 => (at.clone(), any::<u8>()).prop_map(|(at, byte)| Mutation::Set(at, byte)),
        4 => (at.clone(), piece).prop_map(|(at, piece)| Mutation::Insert(at, piece)),
        2 => (at.clone(), 1usize..40).prop_map(|(at, len)| Mutation::Delete(at, len)),
        1 => (at.clone(), 1usize..40, 1usize..200).prop_map(|(at, len, n)| Mutation::Repeat(at, len, n)),
        1 => at.prop_map(Mutation::Truncate),
        1 => (0usize..20, 0usize..20).prop_map(|(a, b)| Mutation::SwapLines(a, b)),
        1 => (0usize..20, 1usize..300).prop_map(|(line, n)| Mutation::RepeatLine(line, n)),
    ]
}

fn mutate(bytes: &mut Vec<u8>, mutation: &Mutation) {
    let len = bytes.len();
    let clamp = |at: usize| if len == 0 { 0 } else { at % len };
    match mutation {
        Mutation::Set(at, byte) if len > 0 => bytes[clamp(*at)] = *byte,
        Mutation::Insert(at, piece) => drop(bytes.splice(clamp(*at)..clamp(*at), piece.iter().copied())),
        Mutation::Delete(at, n) => drop(bytes.drain(clamp(*at)..(clamp(*at) + n).min(len))),
        Mutation::Repeat(at, n, times) => {
            let piece = bytes[clamp(*at)..(clamp(*at) + n).min(len)].repeat(*times);
            bytes.splice(clamp(*at)..clamp(*at), piece);
        }
        Mutation::Truncate(at) => bytes.truncate(clamp(*at)),
        Mutation::SwapLines(..) | Mutation::RepeatLine(..) => {
            let mut lines: Vec<Vec<u8>> =
                bytes.split_inclusive(|b| *b == b'\n').map(<[u8]>::to_vec).collect();
            let count = lines.len();
            match mutation {
                Mutation::SwapLines(a, b) if count > 0 => lines.swap(a % count, b % count),
                Mutation::RepeatLine(line, n) if count > 0 => {
                    let line = lines[line % count].clone();
                    let at = lines.len() / 2;
                    lines.splice(at..at, std::iter::repeat_n(line, *n));
                }
                _ => {}
            }
            *bytes = lines.concat();
        }
        Mutation::Set(..) => {}
    }
    bytes.truncate(65_507);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn mutated_messages_do_no_harm(which in 0usize..9, mutations in proptest::collection::vec(mutation(), 1..5)) {
        let (mut pair, messages) = scene();
        let (source, bytes) = &messages[which];
        let mut bytes = bytes.clone();
        for mutation in &mutations {
            mutate(&mut bytes, mutation);
        }
        let out = pair.pass_to(source, US, &bytes);
        check(source, &bytes, &out);
        prop_assert_eq!(pair.pass_to(source, US, &bytes), out.clone(), "a retransmission is treated the same");
        prop_assert!(pair.location.bindings() <= 4);
    }

    #[test]
    fn transactions_bear_mutated_messages(mutations in proptest::collection::vec((0usize..9, proptest::collection::vec(mutation(), 0..3)), 1..20)) {
        let (mut pair, messages) = scene_of(config());
        for (which, mutations) in mutations {
            let (source, bytes) = &messages[which];
            let mut bytes = bytes.clone();
            for mutation in &mutations {
                mutate(&mut bytes, mutation);
            }
            check(source, &bytes, &pair.pass_to(source, US, &bytes));
            for (_, out) in pair.pause(700) {
                let Out::Sent { bytes, .. } = out else { panic!("{out:?}") };
                prop_assert!(Message::parse(&bytes, &mut Index::new()).is_ok(), "{}", bytes.escape_ascii());
            }
            let full = pair.engine.occupancy();
            prop_assert!(full.transactions.used <= full.transactions.limit && full.kept.used <= full.kept.limit);
        }
        // Whatever happened, in the end everything is given back.
        pair.pause(400_000);
        let left = pair.engine.occupancy();
        prop_assert_eq!((left.transactions.used, left.branches.used, left.kept.used, left.outbox.used), (0, 0, 0, 0));
    }

    #[test]
    fn noise_does_no_harm(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let (mut pair, _) = scene();
        check(ALICE, &bytes, &pair.pass_to(ALICE, US, &bytes));
    }
}

#[test]
fn every_prefix_and_every_byte_set_to_what_hurts() {
    let (mut pair, messages) = scene();
    for (source, bytes) in &messages {
        for end in 0..bytes.len() {
            check(source, &bytes[..end], &pair.pass_to(source, US, &bytes[..end]));
            for byte in [0, b'\r', b'\n', b'"', b'<', b';', b',', b'%', 0xff] {
                let mut changed = bytes.clone();
                changed[end] = byte;
                check(source, &changed, &pair.pass_to(source, US, &changed));
            }
        }
    }
}

#[test]
fn identifiers_of_every_length() {
    let (mut pair, _) = scene();
    for len in (0..300).chain((300..4200).step_by(97)).chain([1023, 1024, 1025, 4095, 4096, 4097]) {
        let id = "x".repeat(len);
        for text in [
            request("INVITE", "sip:bob@example.net").set("Call-ID", &id),
            request("INVITE", "sip:bob@example.net")
                .set("Via", &format!("SIP/2.0/UDP {ALICE};branch=z9hG4bK{id}")),
            request("INVITE", "sip:bob@example.net").set("From", &format!("<sip:a@b>;tag={id}")),
            request("INVITE", &format!("sip:{id}@example.net")),
            register(&id, &format!("<sip:{id}@192.0.2.1>")).set("Call-ID", "r"),
            request("OPTIONS", "sip:example.net").add("Require", &id),
            request(&format!("X{id}"), "sip:bob@example.net"),
        ] {
            let bytes = text.bytes();
            let out = pair.pass_to(ALICE, US, &bytes);
            check(ALICE, &bytes, &out);
            // A Via that cannot be read tells nobody where to answer.
            let readable =
                text.param("Via", "branch").is_some_and(|branch| branch.len() <= limit::IDENTIFIER);
            assert_eq!(matches!(out, Out::Sent { .. }), readable, "{len}: {out:?}");
        }
    }
}

#[test]
fn lists_without_end() {
    let (mut pair, _) = scene();
    let base = request("INVITE", "sip:bob@example.net");
    for n in [1, 60, 127, 128, 129, 255, 256, 257, 1000] {
        let list = |value: &str| vec![value; n].join(",");
        let lines = |name: &str, value: &str| (0..n).fold(base.clone(), |text, _| text.add(name, value));
        for text in [
            base.clone().add("Via", &list("SIP/2.0/UDP 192.0.2.1;branch=1")),
            lines("Via", "SIP/2.0/UDP 192.0.2.1;branch=1"),
            base.clone().add("Route", &list(&format!("<sip:{US};lr>"))),
            lines("Route", &format!("<sip:{US};lr>")),
            lines("Record-Route", "<sip:192.0.2.1;lr>"),
            base.clone().add("Proxy-Require", &list("a")),
            register("x", &list("<sip:x@192.0.2.1>")),
            base.clone().set("To", &format!("<sip:bob@example.net>{}", ";a=b".repeat(n))),
            base.clone().uri(&format!("sip:bob@example.net{}", ";a=b".repeat(n))),
        ] {
            let bytes = text.bytes();
            check(ALICE, &bytes, &pair.pass_to(ALICE, US, &bytes));
        }
    }
}

/// Replies to requests as phones and attack tools send them are no longer than the request.
#[test]
fn a_reply_is_no_amplifier() {
    let mut pair = Pair::new(Config { auth_required: true, server: "strowger".into(), ..config() });
    pair.engine.set_wall_clock(pair.now, 0);
    let (mut received, mut sent) = (0, 0);
    for text in [
        request("OPTIONS", "sip:example.net"),
        request("OPTIONS", "sip:100@10.77.0.2")
            .set("From", "\"sipvicious\"<sip:100@1.1.1.1>;tag=6332393461383364"),
        register("100", &format!("<sip:100@{ALICE}>")),
        request("INVITE", "sip:1000@example.net"),
        request("INVITE", "sip:bob@example.com"),
        request("SUBSCRIBE", "sip:example.net"),
        request("INVITE", "sip:bob@"),
    ] {
        for via in [
            format!("SIP/2.0/UDP {ALICE};branch=z9hG4bK-1"),
            "SIP/2.0/UDP 10.0.0.1:5060;branch=z9hG4bK-1;rport".into(),
        ] {
            let text = text.clone().set("Via", &via);
            received += text.bytes().len();
            match pair.pass(ALICE, &text) {
                Out::Sent { bytes, .. } => sent += bytes.len(),
                Out::Dropped(reason) => assert_eq!(reason, Reason::Withheld),
                Out::Taken => panic!("taken"),
            }
            assert!(sent <= received, "{sent} for {received}: {}", text.start);
        }
    }
    assert!(sent > received / 2, "most are answered");
}

#[test]
fn ten_thousand_callers_leave_nothing_behind() {
    let (mut pair, _) = scene();
    let (aors, bindings) = (pair.location.aors(), pair.location.bindings());
    for n in 0..10_000 {
        let text = request("INVITE", &format!("sip:{n}@example.net")).set("Call-ID", &format!("{n}@x"));
        assert_eq!(pair.pass(ALICE, &text).to(ALICE).code(), 404);
    }
    assert_eq!((pair.location.aors(), pair.location.bindings()), (aors, bindings));
}

/// The torture messages of RFC 4475 and RFC 5118 from `$STROWGER_CORPUS`, or from `shared/corpus` beside the project.
fn corpus() -> Vec<(PathBuf, Vec<u8>)> {
    let root = std::env::var_os("STROWGER_CORPUS")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/corpus"), PathBuf::from);
    let mut found = Vec::new();
    for name in ["rfc4475", "rfc5118"] {
        for entry in std::fs::read_dir(root.join(name)).into_iter().flatten().flatten() {
            found.push((entry.path(), std::fs::read(entry.path()).expect("readable")));
        }
    }
    found
}

#[test]
fn torture_messages() {
    let messages = corpus();
    if messages.is_empty() {
        println!("no corpus here: nothing tested");
        return;
    }
    let mut domains = config();
    domains.domains.extend(["example.com", "company.com", "biloxi.com"].map(String::from));
    for (path, bytes) in messages {
        let mut pair = Pair::new(domains.clone());
        let out = pair.pass_to(ALICE, US, &bytes);
        println!(
            "{}: {}",
            path.file_name().unwrap().display(),
            match &out {
                Out::Sent { remote, bytes, .. } => {
                    format!(
                        "{remote} {}",
                        bytes.split(|b| *b == b'\r').next().unwrap_or_default().escape_ascii()
                    )
                }
                Out::Taken => "taken".to_owned(),
                Out::Dropped(reason) => format!("{reason:?}"),
            }
        );
        check(ALICE, &bytes, &out);
        if bytes.starts_with(b"SIP/2.0") {
            assert!(
                matches!(out, Out::Dropped(Reason::ResponseNotOurs | Reason::ResponseMalformed)),
                "{out:?}"
            );
        }
    }
}

#[test]
fn the_message_may_lie_anywhere_in_its_buffer() {
    let (mut pair, messages) = scene();
    for (source, bytes) in &messages {
        let Out::Sent { bytes: expected, .. } = pair.pass_to(source, US, bytes) else { continue };
        for (head, tail) in [(0, 2000), (2000, 0), (HEADROOM, 0), (7, 600), (300, 300)] {
            let mut memory = vec![0xee; head + bytes.len() + tail];
            memory[head..head + bytes.len()].copy_from_slice(bytes);
            let mut buffer = strowger_sip::Buffer::new(&mut memory, head..head + bytes.len()).unwrap();
            let flow = strowger_engine::Flow { local: US.parse().unwrap(), remote: source.parse().unwrap() };
            let verdict = pair.engine.handle(pair.now, flow, &mut buffer);
            assert!(matches!(verdict, strowger_engine::Verdict::Send(_)));
            assert_eq!(Text::parse(buffer.message()), Text::parse(&expected), "{head} {tail}");
        }
    }
}
