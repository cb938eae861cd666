//! Digest authentication through the engine's public face: RFC 3261 section 22, RFC 7616, RFC 8760.

mod authentic;
mod pair;

use authentic::{Challenge, Known, closed, pair_with, signed};
use pair::{ALICE, BOB, Out, Pair, Text, US, request, unique};
use strowger_engine::{Algorithm, Config, Event, Reason, Sighting};

fn reply(pair: &mut Pair, text: &Text) -> Text {
    // Each a transaction of its own.
    pair.pass(ALICE, &unique(text.clone())).to(ALICE)
}

fn all_algorithms() -> Config {
    let mut config = closed();
    config.auth.algorithms = Algorithm::ALL.to_vec();
    config
}

/// As long as those of phones are at the least: a challenge is no longer.
fn register(user: &str, contact: &str) -> Text {
    pair::register(user, contact).add("Allow", "INVITE, ACK, CANCEL, BYE, OPTIONS")
}

/// A REGISTER as long as those of phones, with room for three challenges.
fn long_register(user: &str) -> Text {
    register(user, &format!("<sip:{user}@{ALICE}>"))
        .add(
            "Allow",
            "INVITE, ACK, CANCEL, BYE, OPTIONS, NOTIFY, REFER, MESSAGE, INFO, SUBSCRIBE, UPDATE, PRACK",
        )
        .add("Supported", "replaces, timer, 100rel, norefersub, path, outbound, gruu, eventlist, histinfo")
        .add(
            "Accept",
            "application/sdp, application/dtmf-relay, text/plain, message/sipfrag, message/external-body",
        )
}

#[test]
fn rfc_7616_3_7_one_challenge_for_each_algorithm_in_the_configured_order() {
    let mut pair = pair_with(all_algorithms());
    let text = long_register("alice");
    let refused = reply(&mut pair, &text);
    assert_eq!((refused.code(), refused.reason()), (401, "Unauthorized"));
    let challenges = Challenge::all(&refused);
    let names: Vec<_> = challenges.iter().map(|c| c.algorithm.as_str()).collect();
    assert_eq!(names, ["SHA-512-256", "SHA-256", "MD5"]);
    for challenge in &challenges {
        assert_eq!((challenge.realm.as_str(), challenge.qop.as_str()), ("example.net", "auth"));
        assert!(challenge.nonce.len() == 26 && !challenge.stale);
        let done = reply(&mut pair, &challenge.sign(&refused, &text, "alice", 1).set("CSeq", "2 REGISTER"));
        // All three have one nonce, which is good once with this count.
        assert_eq!(done.code(), if challenge.algorithm == "SHA-512-256" { 200 } else { 401 });
    }
    for (name, cseq) in [("SHA-512-256", 3), ("SHA-256", 4), ("MD5", 5)] {
        let text = text.clone().set("CSeq", &format!("{cseq} REGISTER"));
        let refused = reply(&mut pair, &text);
        let challenge = Challenge::all(&refused).into_iter().find(|c| c.algorithm == name).unwrap();
        assert_eq!(reply(&mut pair, &challenge.sign(&refused, &text, "alice", 1)).code(), 200, "{name}");
    }
    assert_eq!((pair.count(Event::AuthAccepted), pair.location.bindings()), (4, 1));
}

#[test]
fn rfc_3261_22_3_a_proxy_asks_with_407_and_keeps_its_credentials_to_itself() {
    let mut pair = pair_with(closed());
    let bob = signed(&mut pair, ALICE, &register("bob", &format!("<sip:bob@{BOB}>")), "bob");
    assert_eq!(reply(&mut pair, &bob).code(), 200);
    let other = "Digest username=\"a\", realm=\"elsewhere\", nonce=\"n\", uri=\"sip:x\", response=\"00000000000000000000000000000000\"";
    let invite = request("INVITE", "sip:bob@example.net").body("v=0\r\n").add("Proxy-Authorization", other);
    let refused = reply(&mut pair, &invite);
    assert_eq!((refused.code(), refused.reason()), (407, "Proxy Auth Required"));
    let answer = Challenge::first(&refused).answer(&invite, "alice", "alice-secret", 1);
    let at_bob = pair.pass(ALICE, &invite.clone().add("Proxy-Authorization", &answer)).to(BOB);
    assert_eq!(at_bob.all("Proxy-Authorization"), [other], "ours is taken out, that of the next proxy stays");
    // Authorization is for whoever is called.
    let invite = invite.without("Proxy-Authorization").set("Authorization", &answer).set("CSeq", "2 INVITE");
    assert_eq!(reply(&mut pair, &invite).code(), 407);
}

#[test]
fn rfc_7616_3_4_each_count_once_in_any_order() {
    let mut pair = pair_with(closed());
    let text = register("alice", "");
    let refused = reply(&mut pair, &text);
    let challenge = Challenge::first(&refused);
    for (nc, code) in
        [(1, 200), (1, 401), (4, 200), (2, 200), (4, 401), (3, 200), (500, 200), (373, 200), (372, 401)]
    {
        let again = reply(&mut pair, &challenge.sign(&refused, &text, "alice", nc));
        assert_eq!(again.code(), code, "{nc}");
        if code == 401 {
            assert!(Challenge::first(&again).stale, "the password was right");
        }
    }
    assert_eq!((pair.count(Event::AuthAccepted), pair.count(Event::AuthReplayed)), (6, 3));
}

#[test]
fn rfc_7616_3_3_an_old_nonce_is_stale_and_a_wrong_password_is_not() {
    let mut config = closed();
    config.auth.nonce_lifetime = 60;
    let mut pair = pair_with(config);
    let text = register("alice", "");
    let refused = reply(&mut pair, &text);
    let challenge = Challenge::first(&refused);
    pair.sleep(59);
    assert_eq!(reply(&mut pair, &challenge.sign(&refused, &text, "alice", 1)).code(), 200);
    pair.sleep(2);
    let stale = Challenge::first(&reply(&mut pair, &challenge.sign(&refused, &text, "alice", 2)));
    assert!(stale.stale && stale.nonce != challenge.nonce);
    assert_eq!(reply(&mut pair, &stale.sign(&refused, &text, "alice", 1)).code(), 200);
    let wrong = text.clone().set("Authorization", &challenge.answer(&text, "alice", "guess", 3));
    assert!(!Challenge::first(&reply(&mut pair, &wrong)).stale, "old and wrong");
    let wrong = text.clone().set("Authorization", &stale.answer(&text, "alice", "guess", 2));
    assert!(!Challenge::first(&reply(&mut pair, &wrong)).stale, "fresh and wrong");
    assert_eq!((pair.count(Event::AuthStale), pair.count(Event::AuthRejected)), (1, 2));
    // The count of a request that proved nobody is not used up.
    assert_eq!(reply(&mut pair, &stale.sign(&refused, &text, "alice", 2)).code(), 200);
}

#[test]
fn a_nonce_is_for_one_address_one_worker_and_one_run() {
    let mut pair = pair_with(closed());
    let text = register("alice", "");
    let refused = reply(&mut pair, &text);
    let signed = Challenge::first(&refused).sign(&refused, &text, "alice", 1);
    for thief in ["10.77.0.11:5061", "10.77.0.99:5060"] {
        let out = pair
            .pass(thief, &signed.clone().set("Via", &format!("SIP/2.0/UDP {thief};branch=z9hG4bK1")))
            .text();
        assert!(Challenge::first(&out).stale, "{thief}");
    }
    // Another worker of the same node, and the same worker after a restart with the same secret.
    let mut other = pair_with(closed());
    let again = reply(&mut other, &signed);
    let first = strowger_engine::Engine::new(std::sync::Arc::new(closed()), pair.location.clone());
    other.engine = first.expect("configuration");
    other
        .engine
        .set_users(std::sync::Arc::new(Known::default().with("alice", strowger_engine::State::Active)));
    let elsewhere = reply(&mut other, &signed);
    assert!(Challenge::first(&elsewhere).stale, "another worker cannot know whether it was used");
    // The same number: a nonce from before the start may have been used.
    assert_eq!(again.code(), 200, "virtual time stood still, so this one cannot tell");
    let mut later = pair_with(closed());
    later.sleep(5);
    assert!(Challenge::first(&reply(&mut later, &signed)).stale);
    assert_eq!(reply(&mut pair, &signed).code(), 200, "its owner can use it all the same");
}

#[test]
fn rfc_7616_3_4_6_the_uri_is_the_request_uri() {
    let mut pair = pair_with(closed());
    let text = register("alice", "");
    let refused = reply(&mut pair, &text);
    let challenge = Challenge::first(&refused);
    for (uri, code) in [
        ("sip:example.net:5060", 200),
        ("sip:EXAMPLE.net;transport=udp", 200),
        ("sip:example.com", 400),
        ("sip:alice@example.net", 400),
        ("sip:example.net:5070", 400),
        ("sips:example.net", 400),
        ("*", 400),
    ] {
        let refused = reply(&mut pair, &text);
        let answer = Challenge::first(&refused).answer(&text.clone().uri(uri), "alice", "alice-secret", 1);
        let again = reply(&mut pair, &text.clone().set("Authorization", &answer));
        assert_eq!(again.code(), code, "{uri}: {}", again.reason());
    }
    // For another method the response is another.
    let options = request("OPTIONS", "sip:example.net");
    let stolen = options.set("Authorization", &challenge.answer(&text, "alice", "alice-secret", 9));
    assert_eq!(reply(&mut pair, &stolen).code(), 401);
}

#[test]
fn what_does_not_prove_anybody_is_challenged_again() {
    let mut pair = pair_with(closed());
    let text = register("alice", "")
        .add("User-Agent", "with room for two challenges in its answer, as INVITEs have it too");
    let text = text.add("Supported", "replaces, timer, 100rel, norefersub");
    let refused = reply(&mut pair, &text);
    let challenge = Challenge::first(&refused);
    let good = challenge.answer(&text, "alice", "alice-secret", 1);
    for (what, value) in [
        ("another realm", good.replace("realm=\"example.net\"", "realm=\"example.org\"")),
        ("the realm in another case", good.replace("realm=\"example.net\"", "realm=\"Example.net\"")),
        ("another scheme", "Basic YWxpY2U6YWxpY2Utc2VjcmV0".into()),
        ("auth-int", good.replace("qop=auth", "qop=auth-int")),
        ("no qop", good.replace(", qop=auth", "")),
        ("an algorithm that was not offered", good.replace("algorithm=SHA-256", "algorithm=SHA-512-256")),
        ("a session", good.replace("algorithm=SHA-256", "algorithm=SHA-256-sess")),
        ("a hashed user name", format!("{good}, userhash=true")),
        ("another nonce", good.replace(&challenge.nonce, &"0".repeat(26))),
        ("a nonce of the wrong length", good.replace(&challenge.nonce, "abc")),
        ("the name in another case", good.replace("\"alice\"", "\"Alice\"")),
        ("a name of any length", good.replace("\"alice\"", &format!("\"{}\"", "a".repeat(600)))),
    ] {
        let again = reply(&mut pair, &text.clone().set("Authorization", &value));
        assert_eq!(again.code(), 401, "{what}");
        assert!(!Challenge::first(&again).stale, "{what}");
    }
    for (what, value) in [
        ("no nonce", good.replace("nonce=\"", "nunce=\"")),
        ("a response that is too short", good.replace("response=\"", "response=\"0")),
        ("no cnonce", good.replace("cnonce=", "knonce=")),
        ("nc of seven digits", good.replace("nc=00000001", "nc=0000001")),
    ] {
        assert_eq!(reply(&mut pair, &text.clone().set("Authorization", &value)).code(), 400, "{what}");
    }
    // With an escape in the name, and an opaque of whoever's, it is as good.
    let answer = good.replace("alice\"", "al\\ice\"") + ", opaque=\"x\"";
    assert_eq!(reply(&mut pair, &text.set("Authorization", &answer)).code(), 200);
}

#[test]
fn credentials_without_qop_only_where_the_configuration_says_so() {
    let mut config = closed();
    config.auth.allow_without_qop = true;
    let mut pair = pair_with(config);
    let text = register("alice", "");
    let challenge = Challenge::first(&reply(&mut pair, &text));
    let hex = |text: &str| {
        use sha2::Digest as _;
        sha2::Sha256::digest(text).iter().map(|b| format!("{b:02x}")).collect::<String>()
    };
    let ha1 = hex("alice:example.net:alice-secret");
    let response = hex(&format!("{ha1}:{}:{}", challenge.nonce, hex("REGISTER:sip:example.net")));
    let value = format!(
        "Digest username=\"alice\", realm=\"example.net\", nonce=\"{}\", uri=\"sip:example.net\", response=\"{response}\", algorithm=SHA-256",
        challenge.nonce
    );
    let text = text.set("Authorization", &value);
    assert_eq!(reply(&mut pair, &text).code(), 200);
    assert!(Challenge::first(&reply(&mut pair, &text)).stale, "each nonce for one request");
    assert_eq!(reply(&mut pair_with(closed()), &text).code(), 401);
}

#[test]
fn who_owns_an_address_of_record() {
    let mut pair = pair_with(closed());
    let own = register("alice", "<sip:alice@192.0.2.1>");
    for (what, text, user, code) in [
        ("her own", own.clone(), "alice", 200),
        ("by her full name", own.clone().set("CSeq", "2 REGISTER"), "alice@example.net", 200),
        ("another's", own.clone(), "bob", 403),
        ("inactive", register("dave", ""), "dave", 403),
        ("suspended", register("eve", ""), "eve", 403),
        // From does not count in a REGISTER (section 10.2: a third party's).
        (
            "From another",
            own.clone().set("From", "<sip:bob@example.net>;tag=1").set("CSeq", "3 REGISTER"),
            "alice",
            200,
        ),
        ("an OPTIONS of another", request("OPTIONS", "sip:example.net"), "bob", 403),
        (
            "an OPTIONS from nowhere",
            request("OPTIONS", "sip:example.net").set("From", "<sip:alice@example.com>;tag=1"),
            "alice",
            401,
        ),
        (
            "an escaped name",
            own.set("To", "<sip:%61lice@example.net>").set("CSeq", "4 REGISTER"),
            "alice",
            200,
        ),
    ] {
        let text = signed(&mut pair, ALICE, &text, user);
        assert_eq!(reply(&mut pair, &text).code(), code, "{what}");
    }
    assert_eq!((pair.location.aors(), pair.count(Event::AuthForbidden)), (1, 4));
}

#[test]
fn trusted_peers_are_not_asked_and_dialogs_of_ours_neither() {
    let mut config = closed();
    config.auth.trusted = vec!["10.77.0.40/31".parse().unwrap()];
    let mut pair = pair_with(config);
    let bob = signed(&mut pair, ALICE, &register("bob", &format!("<sip:bob@{BOB}>")), "bob");
    assert_eq!(reply(&mut pair, &bob).code(), 200);
    let invite = request("INVITE", "sip:bob@example.net").set("From", "<sip:+49301@carrier.example>;tag=1");
    assert_eq!(pair.pass("10.77.0.41:5060", &invite).to(BOB).method(), "INVITE");
    let stranger = invite.set("Via", "SIP/2.0/UDP 10.77.0.42:5060;branch=z9hG4bK-stranger");
    assert_eq!(pair.pass("10.77.0.42:5060", &stranger).text().code(), 407);
    // What it sends may leave for elsewhere, as what our users send.
    let relay = request("INVITE", "sip:x@192.0.2.1")
        .set("Call-ID", "relay")
        .set("Via", &format!("SIP/2.0/UDP {ALICE};branch=z9hG4bK-relay"));
    assert_eq!(pair.pass("10.77.0.41:5060", &relay).to("192.0.2.1:5060").method(), "INVITE");
}

#[test]
fn an_authenticated_user_may_call_anywhere_by_address() {
    let mut pair = pair_with(closed());
    let invite = request("INVITE", "sip:x@192.0.2.1").body("v=0\r\n");
    let invite = signed(&mut pair, ALICE, &invite, "alice");
    assert_eq!(pair.pass(ALICE, &invite).to("192.0.2.1:5060").method(), "INVITE");
}

#[test]
fn ack_and_cancel_are_never_challenged() {
    let mut pair = pair_with(closed());
    let invite = request("INVITE", "sip:bob@example.net");
    let refused = reply(&mut pair, &invite);
    assert_eq!(pair.pass(ALICE, &invite.ack(&refused)), Out::Dropped(Reason::Ack));
    for text in [invite.cancel(), request("ACK", "sip:bob@example.net"), request("CANCEL", "sip:example.net")]
    {
        let out = pair.pass(ALICE, &text.clone().set("Call-ID", "other"));
        if let Out::Sent { .. } = out {
            assert!(![401, 407].contains(&out.text().code()), "{}", text.start);
        }
    }
    assert_eq!(pair.count(Event::Reply401), 0);
}

/// RFC 3261 section 8.2.7: for who was only challenged nothing is kept, and his CANCEL is ignored. Section 9.2: peers that
/// nobody challenges hear 481, and who has shown who he is has a transaction.
#[test]
fn a_cancel_is_answered_to_those_we_know() {
    const PEER: &str = "10.77.0.40:5060";
    let mut config = closed();
    config.auth.trusted = vec!["10.77.0.40".parse().unwrap()];
    let mut pair = pair_with(config);
    let invite = request("INVITE", "sip:nobody@example.net");
    assert_eq!(reply(&mut pair, &invite).code(), 407);
    assert_eq!(pair.pass(ALICE, &invite.cancel()).dropped(), Reason::Cancel);
    let from_peer = invite.clone().set("Via", &format!("SIP/2.0/UDP {PEER};branch=z9hG4bK-peer"));
    assert_eq!(pair.pass(PEER, &from_peer).to(PEER).code(), 404);
    assert_eq!(pair.pass(PEER, &from_peer.cancel()).to(PEER).code(), 481);
    let known = signed(&mut pair, ALICE, &invite, "alice");
    assert_eq!(pair.pass(ALICE, &known).to(ALICE).code(), 404);
    assert_eq!(pair.pass(ALICE, &known.cancel()).to(ALICE).code(), 200);
}

/// Phones behind one address ask again and again, and none of them waits for a retransmission. But whoever uses that
/// address as his own gets little more out of us than he has sent: one challenge, and others only as far as they are paid for.
#[test]
fn where_somebody_has_registered_every_short_request_is_challenged() {
    let mut pair = pair_with(all_algorithms());
    let short = pair::register("alice", &format!("<sip:alice@{ALICE}>"));
    let asked = long_register("alice");
    let signed = signed(&mut pair, ALICE, &asked, "alice");
    assert_eq!(pair.pass(ALICE, &signed).to(ALICE).code(), 200);
    for _ in 0..40 {
        let challenged = reply(&mut pair, &short);
        assert_eq!(challenged.code(), 401);
        let names: Vec<_> = Challenge::all(&challenged).into_iter().map(|c| c.algorithm).collect();
        assert_eq!(names.last().map(String::as_str), Some("MD5"), "the one that every client knows");
        let (sent, received) = (challenged.bytes().len(), short.bytes().len());
        assert!(sent * 2 <= received * 3, "{sent} for {received}");
    }
    assert_eq!(pair.count(Event::DropWithheld), 0);
}

/// As short as requests can be that are challenged.
const SHORTEST: [&[u8]; 3] = [
    b"REGISTER sip:a SIP/2.0\r\nv:SIP/2.0/UDP a;branch=z9hG4bK1\r\nf:<sip:a>;tag=1\r\nt:<sip:a>\r\ni:a\r\nCSeq:1 REGISTER\r\n\r\n",
    b"X sip:a SIP/2.0\r\nv:SIP/2.0/UDP a;branch=z9hG4bK1\r\nf:<sip:a>;tag=1\r\nt:<sip:a>\r\ni:a\r\nCSeq:1 X\r\n\r\n",
    b"X sip:a SIP/2.0\r\nv:SIP/2.0/UDP a;rport\r\nf:<sip:a>;tag=1\r\nt:<sip:a>\r\ni:a\r\nCSeq:1 X\r\n\r\n",
];

/// What SECURITY.md says of somebody who uses an address as his own at which a user has registered: each refusal is the
/// shortest, whatever the request, and nothing that was not paid for is remembered as if it had been.
#[test]
fn where_somebody_has_registered_nobody_gets_more_than_the_shortest_challenge_unpaid() {
    let mut pair = pair_with(all_algorithms());
    let signed = signed(&mut pair, ALICE, &long_register("alice"), "alice");
    assert_eq!(pair.pass(ALICE, &signed).to(ALICE).code(), 200);
    let mut most = 0.0_f64;
    for short in SHORTEST {
        for _ in 0..40 {
            let refused = pair.pass_to(ALICE, US, short).to(ALICE);
            assert!(matches!(refused.code(), 401 | 407), "{refused:?}");
            assert_eq!(Challenge::all(&refused).len(), 1);
            most = most.max(refused.bytes().len() as f64 / short.len() as f64);
        }
    }
    println!("{most:.2} octets for one");
    assert!(most < 3.25, "{most}");
    // As at the first time: what these have brought is used up.
    let names: Vec<_> =
        Challenge::all(&reply(&mut pair, &middling())).into_iter().map(|c| c.algorithm).collect();
    assert_eq!(names, ["SHA-512-256", "MD5"]);
}

/// A REGISTER with room for two challenges.
fn middling() -> Text {
    register("alice", "<sip:alice@192.0.2.1>")
        .add("Supported", "path, outbound, gruu, replaces, timer")
        .add("Allow", "INVITE, ACK, CANCEL, BYE")
}

#[test]
fn a_challenge_fits_what_the_source_has_sent() {
    let mut pair = pair_with(all_algorithms());
    // As short as a REGISTER can be.
    let short =
        Text { start: "REGISTER sip:example.net SIP/2.0".into(), headers: vec![], body: String::new() }
            .add("v", &format!("SIP/2.0/UDP {ALICE};branch=z9hG4bK1"))
            .add("f", "<sip:alice@example.net>;tag=1")
            .add("t", "<sip:alice@example.net>")
            .add("i", "c")
            .add("CSeq", "1 REGISTER");
    let (mut received, mut sent, mut most) = (0, 0, 0);
    for _ in 0..40 {
        received += short.bytes().len();
        match pair.pass(ALICE, &short) {
            Out::Sent { bytes, .. } => {
                sent += bytes.len();
                let names: Vec<_> =
                    Challenge::all(&Text::parse(&bytes)).into_iter().map(|c| c.algorithm).collect();
                assert_eq!(names.last().map(String::as_str), Some("MD5"), "the one that every client knows");
                most = most.max(names.len());
            }
            Out::Dropped(reason) => assert_eq!(reason, Reason::Withheld),
            Out::Taken => panic!("taken"),
        }
        assert!(sent <= received, "{sent} for {received}");
    }
    assert!(sent > 0 && pair.count(Event::DropWithheld) > 0);
    assert!(most > 1, "who asks again and again hears of the others");
    // In between as many as fit.
    let mut pair = pair_with(all_algorithms());
    let names: Vec<_> =
        Challenge::all(&reply(&mut pair, &middling())).into_iter().map(|c| c.algorithm).collect();
    assert_eq!(names, ["SHA-512-256", "MD5"]);
}

/// RFC 3261 section 8.2.7 rules stateless registrars out: a copy that comes late changes nothing.
#[test]
fn a_request_with_credentials_that_comes_again_gets_the_same_answer() {
    let mut pair = pair_with(closed());
    let cseq = |text: Text, n: u32| text.set("Call-ID", "c").set("CSeq", &format!("{n} REGISTER"));
    let first = cseq(register("alice", "<sip:alice@192.0.2.1>"), 1);
    let first = signed(&mut pair, ALICE, &first, "alice");
    let answer = pair.pass(ALICE, &first).to(ALICE);
    let gone = cseq(register("alice", "<sip:alice@192.0.2.1>;expires=0"), 2);
    let gone = signed(&mut pair, ALICE, &gone, "alice");
    assert_eq!(pair.pass(ALICE, &gone).to(ALICE).code(), 200);
    pair.sleep(31);
    assert_eq!(pair.pass(ALICE, &first), Out::Taken);
    let again = pair.drain().remove(0).to(ALICE);
    assert_eq!(
        (again.code(), again.get("Contact"), again.get("To")),
        (200, answer.get("Contact"), answer.get("To"))
    );
    assert_eq!(pair.location.bindings(), 0, "what was removed stays removed");
    // Timer J.
    pair.sleep(2);
    assert_eq!((pair.engine.occupancy().transactions.used, pair.engine.occupancy().kept.used), (0, 0));
}

/// Only who has had our challenge can answer it wrongly: of anybody else it is not known where he is.
#[test]
fn a_guess_is_seen_of_the_source_that_our_nonce_went_to() {
    let mut pair = pair_with(closed());
    pair.engine.watch_sources(8);
    let seen = |pair: &mut Pair| std::iter::from_fn(|| pair.engine.next_sighting()).collect::<Vec<_>>();
    let ip = |source: &str| source.parse::<std::net::SocketAddr>().unwrap().ip();
    let text = register("alice", &format!("<sip:alice@{ALICE}>"));
    let refused = reply(&mut pair, &text);
    let challenge = Challenge::first(&refused);
    assert_eq!(seen(&mut pair), [], "a challenge is no guess");
    for user in ["alice", "nobody"] {
        let wrong = text.clone().add("Authorization", &challenge.answer(&text, user, "wrong", 1));
        let elsewhere = "10.77.0.12:5060";
        pair.pass(elsewhere, &unique(wrong.clone())).to(elsewhere);
        assert_eq!(seen(&mut pair), [], "in another's name");
        assert_eq!(reply(&mut pair, &wrong).code(), 401);
        assert_eq!(seen(&mut pair), [Sighting::Guessed { source: ip(ALICE) }], "{user}");
    }
    let right = text.clone().add("Authorization", &challenge.answer(&text, "alice", "alice-secret", 1));
    assert_eq!(reply(&mut pair, &right).code(), 200);
    let until = pair.now.after(core::time::Duration::from_secs(7200));
    assert_eq!(seen(&mut pair), [Sighting::Registered { source: ip(ALICE), until }]);
    pair.sleep(301);
    let late = text.clone().add("Authorization", &challenge.answer(&text, "alice", "wrong", 2));
    assert_eq!(reply(&mut pair, &late).code(), 401);
    assert_eq!(seen(&mut pair), [], "the nonce is too old to show where he is");
}
