//! Calls through the engine: the seven messages with and without transactions; and without, CANCEL, ACK of a refusal
//! and retransmissions. With transactions these are in `transactions`.

mod pair;

use pair::{ALICE, BOB, Pair, Text, US, config, over, request, stateless};
use strowger_engine::{Event, Reason};

fn called(config: strowger_engine::Config) -> Pair {
    let mut pair = Pair::new(config);
    pair.register("bob", &format!("<sip:bob@{BOB};ob>"));
    pair
}

fn invite() -> Text {
    request("INVITE", "sip:bob@example.net")
        .add("Content-Type", "application/sdp")
        .body("v=0\r\no=- 1 1 IN IP4 10.77.0.11\r\n")
}

#[test]
fn a_call_from_invite_to_bye() {
    call(config());
    call(stateless());
}

fn call(config: strowger_engine::Config) {
    let mut pair = called(config);
    let invite = invite();
    let at_bob = pair.pass(ALICE, &invite).to(BOB);
    assert_eq!(at_bob.request_uri(), format!("sip:bob@{BOB};ob"));
    assert_eq!(at_bob.get("Max-Forwards"), "69");
    assert_eq!(at_bob.body, invite.body);
    let vias = at_bob.all("Via");
    assert_eq!(vias.len(), 2);
    assert!(vias[0].starts_with(&format!("SIP/2.0/UDP {US};branch=z9hG4bK")), "{}", vias[0]);
    assert_eq!(vias[1], invite.get("Via"), "the sent-by is the source: nothing to add (RFC 3261 18.2.1)");
    let record_route = at_bob.get("Record-Route").to_owned();
    assert!(
        record_route.starts_with(&format!("<sip:{US};lr;")) && record_route.ends_with('>'),
        "{record_route}"
    );
    for untouched in
        ["From", "To", "Call-ID", "CSeq", "Contact", "User-Agent", "Content-Type", "Content-Length"]
    {
        assert_eq!(at_bob.get(untouched), invite.get(untouched));
    }

    let ringing = pair.pass(BOB, &at_bob.response(180, "Ringing", "bob-tag")).to(ALICE);
    assert_eq!(ringing.code(), 180);
    assert_eq!(ringing.all("Via"), invite.all("Via"));
    let ok =
        at_bob.response(200, "OK", "bob-tag").add("Contact", &format!("<sip:bob@{BOB}>")).body("v=0\r\n");
    let ok = pair.pass(BOB, &ok).to(ALICE);
    assert_eq!((ok.code(), ok.body.as_str()), (200, "v=0\r\n"));
    // Each end has a token of its own (section 16.7 item 8), and all else stays as it was.
    let alices = ok.get("Record-Route").to_owned();
    assert_ne!(alices, record_route);
    assert_eq!(
        alices.split_once("dlg=").expect("a token").0,
        record_route.split_once("dlg=").expect("a token").0
    );
    assert_eq!(alices.len(), record_route.len());

    let in_dialog = |method: &str, cseq: u32| {
        request(method, &format!("sip:bob@{BOB}"))
            .set("Via", &format!("SIP/2.0/UDP {ALICE};branch=z9hG4bK-{method}-2"))
            .set("To", ok.get("To"))
            .set("CSeq", &format!("{cseq} {method}"))
            .add("Route", &alices)
    };
    let ack = pair.pass(ALICE, &in_dialog("ACK", 1)).to(BOB);
    assert_eq!((ack.request_uri(), ack.find("Route")), (format!("sip:bob@{BOB}").as_str(), None));
    assert_eq!(ack.find("Record-Route"), None);

    // A re-INVITE begins no call, and an INVITE that is refused here neither.
    let again = pair.pass(ALICE, &in_dialog("INVITE", 3)).to(BOB);
    assert_eq!(again.request_uri(), format!("sip:bob@{BOB}"));
    let nobody = request("INVITE", "sip:nobody@example.net").set("CSeq", "9 INVITE");
    assert_eq!(pair.pass(ALICE, &nobody).to(ALICE).code(), 404);

    // Bob hangs up: From and To change places.
    let bye = in_dialog("BYE", 1)
        .uri(&format!("sip:alice@{ALICE}"))
        .set("Via", &format!("SIP/2.0/UDP {BOB};branch=z9hG4bK-bob-1"))
        .set("From", ok.get("To"))
        .set("To", ok.get("From"))
        .set("Route", &record_route);
    let at_alice = pair.pass(BOB, &bye).to(ALICE);
    assert_eq!(
        (at_alice.request_uri(), at_alice.find("Route")),
        (format!("sip:alice@{ALICE}").as_str(), None)
    );
    let done = pair.pass(ALICE, &at_alice.response(200, "OK", "")).to(BOB);
    assert_eq!(done.all("Via"), bye.all("Via"));

    for (event, n) in [
        (Event::RequestInvite, 3),
        (Event::RequestAck, 1),
        (Event::RequestBye, 1),
        (Event::RequestForwarded, 4),
        (Event::Response1xx, 1),
        (Event::Response2xx, 2),
        (Event::ResponseForwarded, 3),
        (Event::CallBegun, 1),
        (Event::CallAnswered, 1),
        (Event::CallEnded, 1),
        (Event::RelayRefused, 0),
    ] {
        assert_eq!(pair.count(event), n, "{}", event.name());
    }
}

#[test]
fn a_retransmission_is_the_same_bytes_to_the_same_place() {
    let mut pair = called(stateless());
    let first = pair.pass(ALICE, &invite());
    let again = pair.pass(ALICE, &invite());
    assert_eq!(first, again);
    // Another worker, and a node started again with the same secret, decide the same.
    let mut other = called(stateless());
    assert_eq!(other.pass(ALICE, &invite()), first);
    let ringing = first.text().response(180, "Ringing", "b");
    assert_eq!(pair.pass(BOB, &ringing), other.pass(BOB, &ringing));
}

#[test]
fn cancel_and_ack_of_a_refusal_follow_the_invite() {
    let mut pair = called(stateless());
    for via in [
        format!("SIP/2.0/UDP {ALICE};branch=z9hG4bK-1"),
        // A client of RFC 2543: no magic cookie, no branch at all.
        format!("SIP/2.0/UDP {ALICE};branch=1"),
        format!("SIP/2.0/UDP {ALICE}"),
        "SIP/2.0/UDP alice.example.com:5060 ;rport; branch=z9hG4bK-1".to_owned(),
    ] {
        let invite = invite().set("Via", &via);
        let at_bob = pair.pass(ALICE, &invite).to(BOB);
        let branch = at_bob.param("Via", "branch").unwrap().to_owned();

        let cancel = pair.pass(ALICE, &invite.cancel()).to(BOB);
        assert_eq!(cancel.method(), "CANCEL");
        assert_eq!(cancel.request_uri(), at_bob.request_uri());
        assert_eq!(cancel.param("Via", "branch"), Some(branch.as_str()), "{via}");

        let terminated = pair.pass(BOB, &at_bob.response(487, "Request Terminated", "b")).to(ALICE);
        assert_eq!(terminated.all("Via").len(), 1);
        let ack = pair.pass(ALICE, &invite.ack(&terminated));
        assert_eq!(ack.to(BOB).param("Via", "branch"), Some(branch.as_str()), "{via}");
    }
}

#[test]
fn the_ack_for_our_own_refusal_ends_here() {
    let mut pair = Pair::new(config());
    let invite = request("INVITE", "sip:nobody@example.net");
    let refused = pair.pass(ALICE, &invite).to(ALICE);
    assert_eq!(refused.code(), 404);
    assert_eq!(pair.pass(ALICE, &invite.ack(&refused)).dropped(), Reason::Ack);
    // Even when the user has appeared meanwhile.
    pair.register("nobody", &format!("<sip:nobody@{BOB}>"));
    assert_eq!(pair.pass(ALICE, &invite.ack(&refused)).dropped(), Reason::Ack);
    assert_eq!(pair.count(Event::DropAck), 2);
}

/// RFC 3261 section 9.2: what was refused without state cannot be cancelled, and its client hears so, with the same To tag.
#[test]
fn a_cancel_of_what_we_refused_is_told_that_it_is_not_there() {
    let mut pair = called(config());
    for (uri, code) in [("sip:nobody@example.net", 404), ("sip:x@192.0.2.1", 403), ("sip:example.net", 405)] {
        let invite = request("INVITE", uri);
        let refused = pair.pass(ALICE, &invite).to(ALICE);
        assert_eq!(refused.code(), code, "{uri}");
        let cancel = pair.pass(ALICE, &invite.cancel()).to(ALICE);
        assert_eq!((cancel.code(), cancel.get("CSeq")), (481, "1 CANCEL"), "{uri}");
        assert_eq!(cancel.get("To"), refused.get("To"), "{uri}");
    }
    assert_eq!(pair.count(Event::Reply481), 3);
    over(pair);
}

#[test]
fn different_transactions_have_different_branches() {
    different(called(config()));
    different(called(stateless()));
}

fn different(mut pair: Pair) {
    let mut branches = std::collections::HashSet::new();
    let base = invite();
    let variants = [
        base.clone(),
        base.clone().set("Via", &format!("SIP/2.0/UDP {ALICE};branch=z9hG4bK-2")),
        base.clone().set("Via", "SIP/2.0/UDP 10.77.0.11:5062;branch=z9hG4bK-INVITE-1"),
        base.clone().set("Via", "SIP/2.0/UDP 10.77.0.13;branch=z9hG4bK-INVITE-1"),
        // The same branch from the same place, by hosts that call themselves differently.
        base.clone().set("Via", "SIP/2.0/UDP 10.0.0.1:5060;rport;branch=z9hG4bK-1"),
        base.clone().set("Via", "SIP/2.0/UDP 10.0.0.2:5060;rport;branch=z9hG4bK-1"),
        base.clone().set("Via", "SIP/2.0/UDP 10.0.0.2:5061;rport;branch=z9hG4bK-1"),
        base.clone().set("Via", "SIP/2.0/UDP one.example.com;rport;branch=z9hG4bK-1"),
        base.clone().set("Via", "SIP/2.0/UDP two.example.com;rport;branch=z9hG4bK-1"),
        base.clone().set("Call-ID", "call-2@alice"),
        base.clone().set("CSeq", "2 INVITE"),
        base.clone().set("Via", &format!("SIP/2.0/UDP {ALICE};branch=1")),
        base.clone().set("Via", &format!("SIP/2.0/UDP {ALICE};branch=2")),
        base.clone().set("Via", &format!("SIP/2.0/UDP {ALICE};branch=1")).set("CSeq", "2 INVITE"),
    ];
    let count = variants.len();
    for text in variants {
        branches.insert(pair.pass(ALICE, &text).to(BOB).param("Via", "branch").expect("ours").to_owned());
    }
    assert_eq!(branches.len(), count);
}

#[test]
fn received_and_rport() {
    let mut pair = called(stateless());
    let nat = "192.0.2.77:40001";
    for (via, expected) in [
        ("SIP/2.0/UDP 10.0.0.5:5062;branch=z9hG4bKa", ("192.0.2.77:5062", Some("192.0.2.77"), None)),
        ("SIP/2.0/UDP 10.0.0.5:5062;rport;branch=z9hG4bKa", (nat, Some("192.0.2.77"), Some("40001"))),
        ("SIP/2.0/UDP pc.example.com;branch=z9hG4bKa;rport", (nat, Some("192.0.2.77"), Some("40001"))),
        ("SIP/2.0/UDP pc.example.com;branch=z9hG4bKa", ("192.0.2.77:5060", Some("192.0.2.77"), None)),
        ("SIP/2.0/UDP 192.0.2.77;branch=z9hG4bKa", ("192.0.2.77:5060", None, None)),
        // RFC 3581 section 4: received although it is the same.
        ("SIP/2.0/UDP 192.0.2.77;rport;branch=z9hG4bKa", (nat, Some("192.0.2.77"), Some("40001"))),
        // What a client claims about itself is replaced.
        (
            "SIP/2.0/UDP 192.0.2.77;received=203.0.113.9;branch=z9hG4bKa",
            ("192.0.2.77:5060", Some("192.0.2.77"), None),
        ),
        (
            "SIP/2.0/UDP 10.0.0.5;received=203.0.113.9;rport=9;branch=z9hG4bKa",
            (nat, Some("192.0.2.77"), Some("40001")),
        ),
        // maddr is not followed.
        ("SIP/2.0/UDP 192.0.2.77;maddr=203.0.113.9;branch=z9hG4bKa", ("192.0.2.77:5060", None, None)),
    ] {
        let (to, received, rport) = expected;
        let at_bob = pair.pass(nat, &invite().set("Via", via)).to(BOB);
        let second = Text {
            headers: at_bob.headers.iter().filter(|(n, _)| n == "Via").skip(1).cloned().collect(),
            ..at_bob.clone()
        };
        assert_eq!(second.param("Via", "received"), received, "{via}");
        assert_eq!(second.param("Via", "rport"), rport, "{via}");
        assert_eq!(second.param("Via", "branch"), Some("z9hG4bKa"));
        let ringing = pair.pass(BOB, &at_bob.response(180, "Ringing", "b")).to(to);
        assert_eq!(ringing.param("Via", "received"), received);
        // Our own replies go the same way.
        let own = pair.pass(nat, &request("OPTIONS", "sip:example.net").set("Via", via)).to(to);
        assert_eq!(own.param("Via", "received"), received, "{via}");
        assert_eq!(own.param("Via", "rport"), rport, "{via}");
    }
}
