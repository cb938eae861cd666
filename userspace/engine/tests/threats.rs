//! What broke other SIP servers: one test for each class of behaviour, by what the attacker wants.

mod authentic;
mod pair;

use std::time::Instant;

use authentic::{Challenge, closed, pair_with, signed};
use pair::{ALICE, BOB, HEADROOM, Out, Pair, Text, US, register, request, unique};
use strowger_engine::{Event, Flow, Reason, Verdict};
use strowger_sip::Buffer;

const MALLORY: &str = "10.77.0.66:5060";

/// Methods that have a meaning somewhere, and some that have none.
const METHODS: [&str; 18] = [
    "INVITE",
    "BYE",
    "REGISTER",
    "OPTIONS",
    "MESSAGE",
    "SUBSCRIBE",
    "NOTIFY",
    "PUBLISH",
    "REFER",
    "INFO",
    "UPDATE",
    "PRACK",
    "FOO",
    "invite",
    "Ack",
    "CANCELLED",
    "A",
    "*!",
];

/// As long as what phones send.
fn usual(text: Text) -> Text {
    text.add("Allow", "INVITE, ACK, CANCEL, BYE, OPTIONS, NOTIFY, REFER, MESSAGE, INFO, SUBSCRIBE, UPDATE")
}

/// A closed node with Bob registered.
fn scene() -> Pair {
    let mut pair = pair_with(closed());
    let text = usual(register("bob", &format!("<sip:bob@{BOB}>")));
    let text = signed(&mut pair, ALICE, &text, "bob");
    assert_eq!(pair.pass(ALICE, &text).to(ALICE).code(), 200);
    pair
}

fn from(source: &str, text: Text) -> Text {
    text.set("Via", &format!("SIP/2.0/UDP {source};branch=z9hG4bK-x"))
}

/// MESSAGE and SUBSCRIBE were open where INVITE was not (FreeSWITCH, CVE-2021-37624 and CVE-2021-41157).
#[test]
fn no_method_is_open_without_credentials() {
    let mut pair = scene();
    for method in METHODS {
        for (uri, wanted) in [
            ("sip:bob@example.net", 407),
            ("sip:nobody@example.net", 407),
            ("sip:bob@10.77.0.2", 407),
            ("sip:example.net", 401),
            ("sip:10.77.0.2:5060", 401),
            ("sip:bob@10.77.0.2:5060", 407),
            ("sip:x@192.0.2.1", 407),
        ] {
            let wanted = if method == "REGISTER" && !uri.contains("192") { 401 } else { wanted };
            let text = from(MALLORY, usual(request(method, uri)));
            let reply = pair.pass(MALLORY, &text).to(MALLORY);
            assert_eq!(reply.code(), wanted, "{method} {uri}");
            // A To tag and a Route of ours without the token of a dialog make no dialog.
            let in_dialog = text
                .set("To", &format!("<{uri}>;tag=b"))
                .add("Route", "<sip:10.77.0.2;lr;dlg=0123456789abc>");
            let code = pair.pass(MALLORY, &in_dialog).to(MALLORY).code();
            assert!(code == 401 || code == 407, "{method} {uri}: {code}");
        }
    }
    assert_eq!((pair.count(Event::RequestForwarded), pair.location.bindings()), (0, 1));
}

/// The same with the credentials of somebody whose account is closed.
#[test]
fn no_method_is_open_for_users_who_are_not_active() {
    let mut pair = scene();
    for method in METHODS {
        for user in ["dave", "eve"] {
            let party = format!("<sip:{user}@example.net>");
            let text = usual(request(method, "sip:bob@example.net").set("From", &format!("{party};tag=1")));
            let text = signed(&mut pair, ALICE, &text.set("To", &party), user);
            assert_eq!(pair.pass(ALICE, &text).to(ALICE).code(), 403, "{method} {user}");
        }
    }
    assert_eq!(pair.count(Event::RequestForwarded), 0);
}

/// Any user could change any binding (Asterisk, CVE-2019-18790).
#[test]
fn nobody_changes_the_binding_of_another() {
    let mut pair = scene();
    let before = pair.location.snapshot(pair.now, 10);
    let steal = usual(register("bob", &format!("<sip:bob@{MALLORY}>"))).set("CSeq", "9 REGISTER");
    let steal = from(MALLORY, steal);
    for (what, text, code) in [
        ("no credentials", steal.clone(), 401),
        ("another user", signed(&mut pair, MALLORY, &steal, "carol"), 403),
        (
            "another user, who says so in From",
            {
                let text = steal.clone().set("From", "<sip:carol@example.net>;tag=1");
                signed(&mut pair, MALLORY, &text, "carol")
            },
            403,
        ),
        (
            "all of them",
            {
                let text = steal.clone().set("Contact", "*").add("Expires", "0");
                signed(&mut pair, MALLORY, &text, "carol")
            },
            403,
        ),
        (
            "by an escaped name",
            {
                let text = steal.clone().set("To", "<sip:%62ob@example.net>");
                signed(&mut pair, MALLORY, &text, "carol")
            },
            403,
        ),
        ("asking what they are", signed(&mut pair, MALLORY, &steal.clone().without("Contact"), "carol"), 403),
        (
            "in a dialog",
            steal.clone().set("To", "<sip:bob@example.net>;tag=x").add("Route", "<sip:10.77.0.2;lr>"),
            401,
        ),
    ] {
        let reply = pair.pass(MALLORY, &text).to(MALLORY);
        assert_eq!(reply.code(), code, "{what}");
        assert_eq!(reply.find("Contact"), None, "{what}: nothing is told");
    }
    assert_eq!(pair.location.snapshot(pair.now, 10), before);
}

/// A party of a dialog has its token; that is no key to the registrar.
#[test]
fn a_token_of_a_dialog_opens_no_registrar() {
    let mut pair = scene();
    let invite = usual(request("INVITE", "sip:bob@example.net"));
    let invite = signed(&mut pair, ALICE, &invite, "alice");
    let at_bob = pair.pass(ALICE, &invite).to(BOB);
    let ok = at_bob.response(200, "OK", "b").add("Contact", &format!("<sip:bob@{BOB}>"));
    let ok = pair.pass(BOB, &ok).to(ALICE);
    // In the dialog nobody is asked again...
    let bye = request("BYE", &format!("sip:bob@{BOB}"))
        .set("To", ok.get("To"))
        .set("CSeq", "2 BYE")
        .add("Route", ok.get("Record-Route"));
    assert_eq!(pair.pass(ALICE, &bye).to(BOB).method(), "BYE");
    // ... but a REGISTER in it is a REGISTER, also when a party says that he is where the registrar is.
    let invite = unique(usual(request("INVITE", "sip:bob@example.net"))).set("Call-ID", "another");
    let invite = signed(&mut pair, ALICE, &invite, "alice");
    let at_bob = pair.pass(ALICE, &invite).to(BOB);
    let ok_here = at_bob.response(200, "OK", "b").add("Contact", "<sip:example.net>");
    let ok_here = pair.pass(BOB, &ok_here).to(ALICE);
    for (invite, ok) in [(&invite, &ok), (&invite, &ok_here)] {
        let register = usual(register("bob", "<sip:bob@192.0.2.66>"))
            .set("Call-ID", invite.get("Call-ID"))
            .set("From", invite.get("From"))
            .set("To", ok.get("To"))
            .add("Route", ok.get("Record-Route"));
        assert_eq!(pair.pass(ALICE, &register).to(ALICE).code(), 401);
    }
}

/// svwar asks for extensions and compares first lines; better tools compare everything.
#[test]
fn users_cannot_be_enumerated_by_what_is_answered() {
    let mut pair = scene();
    // Everything that differs between the two by right: the name that was asked for, and the nonce.
    let blank = |text: &Text, name: &str| {
        let nonce = Challenge::first(text).nonce;
        String::from_utf8(text.bytes()).unwrap().replace(&nonce, "N").replace(name, "user")
    };
    for method in METHODS {
        let mut answers = Vec::new();
        // Known and here, known and not here, unknown: all of one length.
        for name in ["bob", "eve", "zoe"] {
            let uri =
                if method == "REGISTER" { "sip:example.net" } else { &format!("sip:{name}@example.net") };
            let text = usual(request(method, uri))
                .set("From", &format!("<sip:{name}@example.net>;tag=1"))
                .set("To", &format!("<sip:{name}@example.net>"));
            let plain = pair.pass(ALICE, &text).to(ALICE);
            let challenge = Challenge::first(&plain);
            let header = if plain.code() == 401 { "Authorization" } else { "Proxy-Authorization" };
            let guess = text.set(header, &challenge.answer(&plain_request(method, uri), name, "guess", 1));
            let wrong = pair.pass(ALICE, &guess).to(ALICE);
            let tagless = |text: String| text.replace(plain.param("To", "tag").unwrap(), "T");
            answers.push((tagless(blank(&plain, name)), tagless(blank(&wrong, name))));
        }
        assert!(answers.iter().all(|a| *a == answers[0]), "{method}: {answers:#?}");
        assert!(!answers[0].1.contains("stale"));
    }
}

fn plain_request(method: &str, uri: &str) -> Text {
    request(method, uri)
}

/// The same, by the clock: a user who is not there costs what one costs who is.
#[test]
fn users_cannot_be_enumerated_by_how_long_it_takes() {
    let mut pair = scene();
    let mut attempt = |name: &str| {
        let text = usual(register(name, "")).set("To", &format!("<sip:{name}@example.net>"));
        let reply = pair.pass(ALICE, &text).to(ALICE);
        // The last is there always, whatever there is room for.
        let value = Challenge::all(&reply).pop().unwrap().answer(&text, name, "guess", 1);
        Ready::new(&text.set("Authorization", &value))
    };
    let (mut known, mut unknown) = (attempt("bob"), attempt("zoe"));
    // The least of many is what it costs when nothing else runs. A real difference would show each time.
    let mut seen = Vec::new();
    for _ in 0..8 {
        let (mut least_known, mut least_unknown) = (u128::MAX, u128::MAX);
        for _ in 0..400 {
            least_known = least_known.min(known.time(&mut pair));
            least_unknown = least_unknown.min(unknown.time(&mut pair));
        }
        let (a, b) = (least_known as f64, least_unknown as f64);
        seen.push((least_known, least_unknown));
        if (a - b).abs() / a.max(b) < 0.05 {
            println!("8 wrong passwords of one who is known: {a} ns, of one who is not: {b} ns");
            return;
        }
    }
    panic!("known and unknown differ by more than 5 %: {seen:?}");
}

/// A request ready to be handled over and over.
struct Ready {
    bytes: Vec<u8>,
    memory: Vec<u8>,
}

impl Ready {
    fn new(text: &Text) -> Self {
        let bytes = text.bytes();
        Self { memory: vec![0; HEADROOM + bytes.len() + 2048], bytes }
    }

    /// Nanoseconds of eight.
    fn time(&mut self, pair: &mut Pair) -> u128 {
        let flow =
            Flow { local: US.parse().expect("an address"), remote: ALICE.parse().expect("an address") };
        let range = HEADROOM..HEADROOM + self.bytes.len();
        let mut took = 0;
        for _ in 0..8 {
            self.memory[range.clone()].copy_from_slice(&self.bytes);
            let mut buffer = Buffer::new(&mut self.memory, range.clone()).expect("it fits");
            let start = Instant::now();
            let verdict = pair.engine.handle(pair.now, flow, &mut buffer);
            took += start.elapsed().as_nanos();
            assert!(matches!(verdict, Verdict::Send(_)));
        }
        took
    }
}

/// Kamailio's default leaves qop, the count and the nonce's bindings off.
#[test]
fn a_digest_is_good_once_here_and_for_this() {
    let mut pair = scene();
    let text = usual(register("bob", &format!("<sip:bob@{BOB}>"))).set("CSeq", "2 REGISTER");
    let text = signed(&mut pair, ALICE, &text, "bob");
    assert_eq!(pair.pass(ALICE, &text).to(ALICE).code(), 200);
    // The same again, changed or not, from the same address or another.
    let moved = text.clone().set("Contact", &format!("<sip:bob@{MALLORY}>")).set("CSeq", "3 REGISTER");
    for (source, text) in [(ALICE, &text), (ALICE, &moved), (MALLORY, &text), (MALLORY, &moved)] {
        let text = from(source, text.clone());
        assert_eq!(pair.pass(source, &text).to(source).code(), 401);
    }
    // For another method, and as credentials for a proxy.
    let value = text.get("Authorization").to_owned();
    let invite = usual(request("INVITE", "sip:alice@example.net").set("From", "<sip:bob@example.net>;tag=1"));
    let again = invite.clone().add("Proxy-Authorization", &value);
    assert_ne!(pair.pass(ALICE, &again).to(ALICE).code(), 200);
    assert_eq!(pair.count(Event::RequestForwarded), 0);
    // Later, and after everybody else has been here.
    pair.sleep(24 * 3600);
    assert_eq!(pair.pass(ALICE, &text).to(ALICE).code(), 401);
    assert_eq!(pair.count(Event::AuthAccepted), 2);
}

/// Calls to a contact that is this node would run in a circle (RFC 5393).
#[test]
fn no_contact_points_at_us() {
    let mut pair = scene();
    for contact in [
        format!("sip:{US}"),
        "sip:carol@10.77.0.2".into(),
        "sip:bob@example.net".into(),
        "sip:carol@EXAMPLE.net.;transport=udp".into(),
        "sip:carol@example.net:5060".into(),
        "sip:carol@[::ffff:10.77.0.2]".into(),
        "sip:%63arol@10.77.0.2:5060".into(),
    ] {
        let text = usual(register("carol", &format!("<{contact}>"))).set("Call-ID", "c");
        let text = signed(&mut pair, ALICE, &text, "carol");
        assert_eq!(pair.pass(ALICE, &text).to(ALICE).code(), 403, "{contact}");
        let path = usual(register("carol", "<sip:carol@192.0.2.1>"))
            .add("Supported", "path")
            .add("Path", &format!("<{contact};lr>"));
        let path = signed(&mut pair, ALICE, &path, "carol");
        assert_eq!(pair.pass(ALICE, &path).to(ALICE).code(), 403, "{contact}");
    }
    assert_eq!(pair.location.bindings(), 1);
}

/// Reflection 1:10 and more by a forged source address; `maddr` and sent-by that name a third party.
#[test]
fn nobody_gets_more_than_his_source_has_sent_before_he_has_shown_who_he_is() {
    let mut pair = scene();
    let bare = |method: &str, uri: &str| {
        Text { start: format!("{method} {uri} SIP/2.0"), headers: vec![], body: String::new() }
            .add("v", &format!("SIP/2.0/UDP {MALLORY};branch=z9hG4bK1"))
            .add("f", "<sip:a@b>;tag=1")
            .add("t", "<sip:b@b>")
            .add("i", "1")
            .add("CSeq", &format!("1 {method}"))
    };
    let (mut received, mut sent, mut answers) = (0, 0, 0);
    let mut pass = |pair: &mut Pair, text: &Text| {
        received += text.bytes().len();
        match pair.pass(MALLORY, text) {
            Out::Sent { remote, bytes, .. } => {
                assert_eq!(remote.ip().to_string(), "10.77.0.66", "an answer goes to its source");
                sent += bytes.len();
                answers += 1;
            }
            Out::Dropped(reason) => {
                assert!(matches!(reason, Reason::Withheld | Reason::Unanswerable), "{reason:?}");
            }
            Out::Taken => {}
        }
        assert!(sent <= received, "{sent} for {received}: {}", text.start);
    };
    for round in 0..3 {
        for method in METHODS {
            for uri in [
                "sip:b",
                "sip:example.net",
                "sip:bob@example.net",
                "tel:1",
                "sip:x@192.0.2.1",
                "sip:b@",
                "sips:example.net",
            ] {
                let text = bare(method, uri).set("i", &format!("{round}"));
                pass(&mut pair, &text);
                pass(&mut pair, &text.clone().add("Require", "a, b, c").add("Proxy-Require", "d"));
                pass(
                    &mut pair,
                    &text.clone().set("v", "SIP/2.0/UDP 192.0.2.9:9;maddr=192.0.2.8;branch=z9hG4bK1;rport"),
                );
                pass(&mut pair, &text.clone().set("CSeq", "x"));
                pass(&mut pair, &text.add("Max-Forwards", "0"));
            }
        }
    }
    assert!(answers > 500, "{answers}: who repeats himself is answered");
    println!("{sent} octets for {received}, {answers} answers");
}
