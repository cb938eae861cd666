//! Every status the engine answers with on its own, the order of the checks (RFC 3261 section 16.3), and what is
//! answered to nobody.

mod pair;

use pair::{ALICE, BOB, Out, Pair, Text, US, config, register, request, stateless};
use strowger_engine::{Config, Event, Flow, Reason, Verdict};

fn with_bob(config: Config) -> Pair {
    let mut pair = Pair::new(config);
    pair.register("bob", &format!("<sip:bob@{BOB}>"));
    pair
}

#[test]
fn a_table_of_refusals() {
    let invite = || request("INVITE", "sip:bob@example.net");
    let long = format!("sip:bob@example.net;x={}", "y".repeat(5000));
    let many = (0..200).fold(invite(), |text, n| text.add("X-Test", &n.to_string()));
    let too_many = (0..300).fold(invite(), |text, n| text.add("X-Test", &n.to_string()));
    let table: Vec<(&str, Text, u16, &str)> = vec![
        ("unknown user", invite().uri("sip:eve@example.net"), 404, "Not Found"),
        ("a user at an address that is no domain", invite().uri("sip:bob@10.77.0.3:5060"), 404, "Not Found"),
        ("not ours", invite().uri("sip:bob@example.com"), 403, "Not Served Here"),
        ("an address that is not ours", invite().uri("sip:bob@192.0.2.1"), 403, "Not Served Here"),
        ("our address, another port", invite().uri("sip:bob@10.77.0.2:5099"), 403, "Not Served Here"),
        ("a Route to elsewhere", invite().add("Route", "<sip:192.0.2.1;lr>"), 403, "Not Served Here"),
        (
            "REGISTER with a Route to elsewhere",
            request("REGISTER", "sip:example.net").add("Route", "<sip:192.0.2.1;lr>"),
            403,
            "Not Served Here",
        ),
        ("REGISTER for elsewhere", request("REGISTER", "sip:example.com"), 403, "Not Served Here"),
        ("sips", invite().uri("sips:bob@example.net"), 416, "Unsupported URI Scheme"),
        ("tel", invite().uri("tel:+15551234"), 416, "Unsupported URI Scheme"),
        ("unknown scheme", invite().uri("nobody-knows:this"), 416, "Unsupported URI Scheme"),
        ("no hops left", invite().set("Max-Forwards", "0"), 483, "Too Many Hops"),
        ("Proxy-Require", invite().add("Proxy-Require", "a, b"), 420, "Bad Extension"),
        ("version", Text { start: "INVITE sip:bob@example.net SIP/3.0".into(), ..invite() }, 505, ""),
        ("Request-URI too long", invite().uri(&long), 414, ""),
        ("Request-URI broken", invite().uri("sip:bob@"), 400, "Bad Request-URI at octet 8"),
        ("Request-URI without scheme", invite().uri("bob"), 400, "Bad Request-URI at octet 3"),
        ("no To", invite().without("To"), 400, "To is missing"),
        ("no From", invite().without("From"), 400, "From is missing"),
        ("no CSeq", invite().without("CSeq"), 400, "CSeq is missing"),
        ("no Call-ID", invite().without("Call-ID"), 400, "Call-ID is missing"),
        ("two To", invite().add("t", "<sip:x@y>"), 400, ""),
        ("CSeq of another method", invite().set("CSeq", "1 OPTIONS"), 400, ""),
        ("CSeq of 2^31", invite().set("CSeq", "2147483648 INVITE"), 400, ""),
        ("Max-Forwards 256", invite().set("Max-Forwards", "256"), 400, ""),
        ("Max-Forwards of words", invite().set("Max-Forwards", "many"), 400, ""),
        ("From broken", invite().set("From", "\"Alice <sip:alice@example.net>"), 400, ""),
        ("Content-Length larger than the datagram", invite().set("Content-Length", "10"), 400, ""),
        ("Content-Length negative", invite().set("Content-Length", "-1"), 400, ""),
        ("Route broken", invite().add("Route", "<sip:x@"), 400, ""),
        ("Route of another scheme", invite().add("Route", "<tel:+1>"), 403, ""),
        ("too many headers", too_many, 513, ""),
        ("INVITE to ourselves", invite().uri("sip:example.net"), 405, "Method Not Allowed"),
        ("BYE to ourselves", request("BYE", "sip:10.77.0.3:5060"), 405, "Method Not Allowed"),
        ("unknown method to ourselves", request("DANCE", "sip:example.net"), 501, "Not Implemented"),
        (
            "OPTIONS with Require",
            request("OPTIONS", "sip:example.net").add("Require", "x"),
            420,
            "Bad Extension",
        ),
    ];
    let mut config = stateless();
    config.listen.push("10.77.0.3:5060".parse().unwrap());
    let mut pair = with_bob(config);
    assert_eq!(pair.pass(ALICE, &many).to(BOB).all("X-Test").len(), 200);
    for (what, text, code, reason) in table {
        let reply = pair.pass(ALICE, &text).to(ALICE);
        assert_eq!(reply.code(), code, "{what}: {}", reply.start);
        if !reason.is_empty() {
            assert_eq!(reply.reason(), reason, "{what}");
        }
        assert!(!reply.reason().is_empty());
        for repeated in ["Via", "From", "Call-ID", "CSeq"] {
            assert_eq!(reply.all(repeated), text.all(repeated), "{what}: {repeated}");
        }
        if let [to] = text.all("To")[..]
            && !text.all("Call-ID").is_empty()
            && reply.reason() != "CSeq is missing"
            && !what.starts_with("CSeq of 2")
        {
            let expected = format!("{to};tag=");
            assert!(reply.get("To").starts_with(&expected), "{what}: {}", reply.get("To"));
        }
        for absent in ["Record-Route", "Contact", "User-Agent", "Max-Forwards", "Route"] {
            assert_eq!(reply.find(absent), None, "{what}");
        }
        // An ACK is never answered (section 17). A CANCEL hears what is wrong with it, or that there is nothing to
        // cancel (section 9.2).
        for method in ["ACK", "CANCEL"] {
            let start = text.start.replacen(text.method(), method, 1);
            let mut silent = Text { start, ..text.clone() };
            if let Some(cseq) = text.find("CSeq") {
                silent = silent.set("CSeq", &cseq.replace(text.method(), method));
            }
            let out = pair.pass(ALICE, &silent);
            // These two ignore Proxy-Require and Require (section 8.2.2.3).
            if what == "Proxy-Require" {
                assert_eq!(out.to(BOB).method(), method);
            } else if method == "ACK" {
                assert_eq!(out.dropped(), Reason::Ack, "{what}");
            } else {
                let same = [400, 414, 482, 483, 505, 513].contains(&code);
                assert_eq!(out.to(ALICE).code(), if same { code } else { 481 }, "{what}");
            }
        }
    }
    let reply =
        pair.pass(ALICE, &invite().add("Proxy-Require", "foo ,bar").add("Proxy-Require", "baz")).to(ALICE);
    assert_eq!(reply.get("Unsupported"), "foo, bar, baz");
    let reply = pair.pass(ALICE, &request("SUBSCRIBE", "sip:example.net")).to(ALICE);
    assert_eq!(reply.get("Allow"), "OPTIONS, REGISTER");
    assert_eq!(pair.count(Event::RelayRefused), 21);
}

/// RFC 3261 section 20.29: Proxy-Require speaks to proxies. Of a registrar and a UAS extensions are asked by Require.
#[test]
fn proxy_require_does_not_count_where_the_request_ends() {
    let mut pair = with_bob(stateless());
    for (text, code) in [
        (register("alice", "<sip:alice@192.0.2.1>"), 200),
        (request("OPTIONS", "sip:example.net"), 200),
        (request("OPTIONS", "sip:bob@example.net").set("Max-Forwards", "0"), 200),
        (request("INVITE", "sip:example.net"), 405),
    ] {
        let text = text.add("Proxy-Require", "x");
        assert_eq!(pair.pass(ALICE, &text).to(ALICE).code(), code, "{}", text.start);
    }
    for text in [register("alice", "<sip:alice@192.0.2.1>"), request("OPTIONS", "sip:example.net")] {
        let reply = pair.pass(ALICE, &text.add("Require", "y").add("Proxy-Require", "x")).to(ALICE);
        assert_eq!((reply.code(), reply.get("Unsupported")), (420, "y"));
    }
    let reply =
        pair.pass(ALICE, &request("INVITE", "sip:bob@example.net").add("Proxy-Require", "x")).to(ALICE);
    assert_eq!((reply.code(), reply.get("Unsupported")), (420, "x"), "it counts for a proxy");
}

#[test]
fn checks_come_in_the_order_of_the_rfc() {
    let mut pair = with_bob(stateless());
    let worst = request("INVITE", "sips:eve@example.com")
        .set("Max-Forwards", "0")
        .add("Proxy-Require", "x")
        .set("CSeq", "1 BYE");
    type Repair = fn(Text) -> Text;
    let steps: [(&str, Repair, u16); 5] = [
        ("syntax", |t| t, 400),
        ("scheme", |t| t.set("CSeq", "1 INVITE"), 416),
        ("hops", |t| t.uri("sip:eve@example.com"), 483),
        ("Proxy-Require", |t| t.set("Max-Forwards", "1"), 420),
        ("relay", |t| t.without("Proxy-Require"), 403),
    ];
    let mut text = worst;
    for (what, repair, code) in steps {
        text = repair(text);
        assert_eq!(pair.pass(ALICE, &text).to(ALICE).code(), code, "{what}");
    }
}

#[test]
fn max_forwards_0_is_enough_for_what_ends_here() {
    let mut pair = with_bob(stateless());
    // RFC 3261 sections 11 and 16.3 item 3: an OPTIONS that may go no further is answered, whoever it is for.
    for uri in ["sip:example.net", "sip:bob@example.net", "sip:carol@example.com"] {
        assert_eq!(pair.pass(ALICE, &request("OPTIONS", uri).set("Max-Forwards", "0")).to(ALICE).code(), 200);
    }
    let register = register("carol", "<sip:carol@192.0.2.5>").set("Max-Forwards", "0");
    assert_eq!(pair.pass(ALICE, &register).to(ALICE).code(), 200);
    assert_eq!(
        pair.pass(ALICE, &request("OPTIONS", "sip:bob@example.net")).to(BOB).get("Max-Forwards"),
        "69"
    );
    let none = request("MESSAGE", "sip:bob@example.net").without("Max-Forwards");
    assert_eq!(pair.pass(ALICE, &none).to(BOB).get("Max-Forwards"), "70");
}

#[test]
fn options_to_us() {
    let mut pair = Pair::new(Config { server: "strowger".into(), ..config() });
    for uri in ["sip:example.net", "sip:10.77.0.2:5060", "sip:10.77.0.2;transport=udp", "SIP:EXAMPLE.NET"] {
        let reply = pair.pass(ALICE, &request("OPTIONS", uri)).to(ALICE);
        assert_eq!((reply.code(), reply.reason(), reply.get("Allow")), (200, "OK", "OPTIONS, REGISTER"));
        assert_eq!(
            (reply.get("Accept"), reply.get("Supported"), reply.get("Server")),
            ("*/*", "", "strowger")
        );
    }
    // What is only recommended is left out when the reply would be longer than the request.
    let short = request("OPTIONS", "sip:example.net").without("User-Agent").without("Contact");
    let reply = pair.pass(ALICE, &short).to(ALICE);
    assert!(reply.bytes().len() <= short.bytes().len());
    assert_eq!(reply.find("Server"), None);
}

#[test]
fn a_route_of_our_own_without_a_dialog_is_taken_away_and_no_more() {
    let mut pair = with_bob(stateless());
    // A phone with an outbound proxy.
    for route in [
        format!("<sip:{US};lr>"),
        "<sip:example.net;lr>".into(),
        format!("<sip:{US};lr>, <sip:10.77.0.2;lr>"),
    ] {
        let at_bob = pair.pass(ALICE, &request("INVITE", "sip:bob@example.net").add("Route", &route)).to(BOB);
        assert_eq!(at_bob.find("Route"), None);
        let relay = request("INVITE", "sip:bob@192.0.2.1").add("Route", &route);
        assert_eq!(pair.pass(ALICE, &relay).to(ALICE).code(), 403);
        // A To tag proves nothing.
        let relay = relay.set("To", "<sip:bob@192.0.2.1>;tag=1");
        assert_eq!(pair.pass(ALICE, &relay).to(ALICE).code(), 403);
        let register = register("carol", "<sip:carol@192.0.2.5>").add("Route", &route);
        assert_eq!(pair.pass(ALICE, &register).to(ALICE).code(), 200);
    }
    assert_eq!(pair.count(Event::TokenInvalid), 0);
}

#[test]
fn next_hops_that_cannot_be_reached() {
    let mut pair = Pair::new(stateless());
    for (user, contact) in [
        ("name", "<sip:x@pc.example.com>"),
        ("tcp", "<sip:x@192.0.2.1;transport=tcp>"),
        ("tls", "<sip:x@192.0.2.1;transport=TLS>"),
        ("v6", "<sip:x@[2001:db8::1]>"),
        ("group", "<sip:x@224.0.1.75>"),
        ("all", "<sip:x@255.255.255.255>"),
        ("none", "<sip:x@0.0.0.0>"),
    ] {
        pair.register(user, contact);
        let reply = pair.pass(ALICE, &request("INVITE", &format!("sip:{user}@example.net"))).to(ALICE);
        assert_eq!((reply.code(), reply.reason()), (500, "Next Hop Unreachable"), "{user}");
        // Another contact that can be reached is taken, however low its q.
        pair.register(user, &format!("<sip:{user}@{BOB};transport=UDP>;q=0.1"));
        let at_bob = pair.pass(ALICE, &request("INVITE", &format!("sip:{user}@example.net"))).to(BOB);
        assert_eq!(at_bob.request_uri(), format!("sip:{user}@{BOB};transport=UDP"));
    }
    assert_eq!(pair.count(Event::NextHopUnreachable), 7);
    // maddr is not followed.
    pair.register("maddr", &format!("<sip:x@{BOB};maddr=192.0.2.66>"));
    pair.pass(ALICE, &request("INVITE", "sip:maddr@example.net")).to(BOB);
}

#[test]
fn what_nobody_hears_of() {
    let mut pair = with_bob(stateless());
    for (bytes, reason) in [
        (&b""[..], Reason::KeepAlive),
        (b"\r\n\r\n", Reason::KeepAlive),
        (b"\x00\x01\x00\x00\x21\x12\xa4\x42", Reason::Stun),
        (b"GET / HTTP/1.1\r\n\r\n", Reason::NotSip),
        (b"INVITE sip:bob@example.net SIP/2.0\r\n\r\n", Reason::Unanswerable),
        (b"INVITE sip:bob@example.net SIP/2.0\r\nVia: nonsense\r\n\r\n", Reason::Unanswerable),
        (b"SIP/2.0 200 OK\r\n\r\n", Reason::ResponseMalformed),
        (b"SIP/2.0 999 OK\r\n\r\n", Reason::ResponseMalformed),
        (b"SIP/2.0 200 OK\r\nContent-Length: 5\r\n\r\n", Reason::ResponseMalformed),
    ] {
        let before = pair.count(reason.event());
        assert_eq!(pair.pass_to(ALICE, US, bytes).dropped(), reason, "{}", bytes.escape_ascii());
        assert_eq!(pair.count(reason.event()), before + 1);
    }
    let invite = request("INVITE", "sip:bob@example.net").bytes();
    for (from, to) in [
        (ALICE, "10.77.0.3:5060"),
        (ALICE, "10.77.0.2:5061"),
        (US, US),
        ("10.77.0.11:0", US),
        ("0.0.0.0:5060", US),
        ("255.255.255.255:5060", US),
        ("224.0.0.1:5060", US),
    ] {
        assert_eq!(pair.pass_to(from, to, &invite), Out::Dropped(Reason::Flow), "{from} {to}");
    }
}

/// An IPv4 address in an IPv6 header is nobody's; one that a socket for both versions writes so is an IPv4 host's.
#[test]
fn nobody_comes_from_an_ipv4_address_to_an_ipv6_one() {
    const US_V6: &str = "[fd77::2]:5060";
    let listen = vec![US.parse().unwrap(), US_V6.parse().unwrap()];
    let mut pair = Pair::new(Config { listen, ..stateless() });
    let invite = request("INVITE", "sip:bob@example.net").bytes();
    for source in ["[::ffff:10.77.0.11]:5060", "[::ffff:127.0.0.1]:5060", "[::ffff:10.77.0.2]:5070", ALICE] {
        assert_eq!(pair.pass_to(source, US_V6, &invite), Out::Dropped(Reason::Flow), "{source}");
    }
    for (source, local) in [("[::ffff:10.77.0.11]:5060", US), ("[fd77::11]:5060", US_V6)] {
        assert_ne!(pair.pass_to(source, local, &invite), Out::Dropped(Reason::Flow), "{source}");
    }
}

#[test]
fn no_room_to_forward_is_said_and_no_room_at_all_is_counted() {
    let mut pair = with_bob(stateless());
    let flow = Flow { local: US.parse().unwrap(), remote: ALICE.parse().unwrap() };
    let mut seen = Vec::new();
    let invite = request("INVITE", "sip:bob@example.net").body(&"x".repeat(300)).bytes();
    for room in 0..400 {
        let mut memory = vec![0; invite.len() + room];
        memory[room / 2..room / 2 + invite.len()].copy_from_slice(&invite);
        let mut buffer = strowger_sip::Buffer::new(&mut memory, room / 2..room / 2 + invite.len()).unwrap();
        let what = match pair.engine.handle(pair.now, flow, &mut buffer) {
            Verdict::Send(Flow { remote, .. }) if remote.to_string() == BOB => "forwarded",
            Verdict::Send(_) => {
                assert_eq!(Text::parse(buffer.message()).code(), 513);
                "513"
            }
            Verdict::Taken => "taken",
            Verdict::Drop(_) => "dropped",
        };
        if seen.last() != Some(&what) {
            seen.push(what);
        }
    }
    assert_eq!(seen, ["513", "forwarded"], "a reply is shorter than its request");
    // A request so short that even its reply does not fit.
    let tiny = b"OPTIONS sip:example.net SIP/2.0\r\nv:SIP/2.0/UDP a;branch=z9hG4bKa\r\nf:<sip:a@b>\r\nt:<sip:a@b>\r\ni:1\r\nCSeq:1 OPTIONS\r\n\r\n";
    let mut memory = tiny.to_vec();
    let mut buffer = strowger_sip::Buffer::new(&mut memory, 0..tiny.len()).unwrap();
    assert_eq!(pair.engine.handle(pair.now, flow, &mut buffer), Verdict::Drop(Reason::NoRoom));
}

#[test]
fn an_engine_needs_a_good_configuration_and_the_table_made_for_it() {
    use std::sync::Arc;
    use strowger_engine::{ConfigError, Engine, Location};

    fn between_threads<T: Send>() {}
    fn shared<T: Send + Sync>() {}
    between_threads::<Engine>();
    shared::<Location>();

    let make = |config: Config, table: &Config| {
        Engine::new(Arc::new(config), Arc::new(Location::new(table).unwrap())).map(|_| ())
    };
    assert_eq!(make(config(), &config()), Ok(()));
    let other_limits = Config { record_route: false, ..config() };
    assert_eq!(make(other_limits, &config()), Ok(()));
    assert_eq!(make(Config { secret: [1; 32], ..config() }, &config()), Err(ConfigError::Location));
    assert_eq!(
        make(Config { domains: vec!["example.org".into()], ..config() }, &config()),
        Err(ConfigError::Location)
    );
    assert_eq!(make(Config { listen: vec![], ..config() }, &config()), Err(ConfigError::NoListen));
    assert_eq!(Location::new(&Config { secret: [0; 32], ..config() }).map(|_| ()), Err(ConfigError::Secret));
}
