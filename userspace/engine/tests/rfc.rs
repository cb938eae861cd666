//! Demands of the RFCs that no other test has as its subject: see `docs/rfc.md`.

mod pair;

use pair::{ALICE, BOB, Pair, register, request, stateless};

/// RFC 3261 section 10.3: Record-Route means nothing in REGISTER, and its response has none; a header that nobody knows
/// changes nothing (8.2.2); a registrar answers with no 6xx.
#[test]
fn what_means_nothing_in_a_register() {
    let mut pair = Pair::new(stateless());
    let plain = register("a", "<sip:a@192.0.2.1>");
    let odd =
        plain.clone().add("Record-Route", "<sip:192.0.2.9;lr>").add("X-Unknown", "x").add("Subject", "?");
    let (plain, odd) = (pair.pass(ALICE, &plain).to(ALICE), pair.pass(ALICE, &odd).to(ALICE));
    assert_eq!(plain, odd);
    assert_eq!((odd.code(), odd.find("Record-Route")), (200, None));
    for wrong in [
        register("a", "<sip:a@192.0.2.1>;expires=1"),
        register("a", "*"),
        register("a", "<tel:+1>"),
        register("a", "nonsense <"),
        register("a", "<sip:a@192.0.2.1>").set("To", "<sip:a@elsewhere.net>"),
        register("a", "<sip:a@192.0.2.1>").add("Require", "x"),
        register("a", "<sip:a@192.0.2.1>").uri("sip:elsewhere.net"),
    ] {
        let code = pair.pass(ALICE, &wrong).to(ALICE).code();
        assert!((400..600).contains(&code), "{code}: {wrong:?}");
    }
}

/// RFC 3261 sections 10.3 item 7 and 19.1.4: contacts that are equivalent are one binding, and so one target (16.5).
#[test]
fn equivalent_contacts_are_one_binding() {
    let mut pair = Pair::new(stateless());
    let mut listed = Vec::new();
    for (n, contact) in [
        "<sip:alice@Host.example.com:5070;transport=udp>",
        "<sip:%61lice@host.EXAMPLE.com:5070;transport=UDP>",
        "<SIP:alice@host.example.com:5070;transport=udp;x=1>",
        "<sip:Alice@host.example.com:5070;transport=udp>",
        "<sip:alice@host.example.com;transport=udp>",
        "<sip:alice@host.example.com:5070>",
    ]
    .iter()
    .enumerate()
    {
        let text =
            register("alice", contact).set("Call-ID", "one").set("CSeq", &format!("{} REGISTER", n + 1));
        listed.push(pair.pass(ALICE, &text).to(ALICE).all("Contact").len());
    }
    // The user is compared with case, a port or a transport that one names and the other does not makes two; another
    // parameter that only one has does not count.
    assert_eq!(listed, [1, 1, 1, 2, 3, 4]);
}

/// RFC 4028 section 8: a proxy that asks for no session timer of its own leaves theirs alone, both ways; and so the rest
/// of both messages (RFC 3261 sections 16.6 item 1 and 16.7 item 9).
#[test]
fn session_timers_of_others_are_left_alone() {
    let mut pair = Pair::new(stateless());
    pair.register("bob", &format!("<sip:bob@{BOB}>"));
    let timer = [
        ("Session-Expires", "60;refresher=uac"),
        ("Min-SE", "30"),
        ("Supported", "timer, x"),
        ("Require", "timer"),
        ("Allow", "INVITE, DANCE"),
        ("X-Unknown", "  a ; b "),
    ];
    let with = |text: pair::Text| timer.iter().fold(text, |text, (name, value)| text.add(name, value));
    let invite = with(request("INVITE", "sip:bob@example.net").body("v=0\r\n"));
    let at_bob = pair.pass(ALICE, &invite).to(BOB);
    let ok =
        with(at_bob.response(200, "OK", "b").add("Contact", &format!("<sip:bob@{BOB}>")).body("v=0\r\n"));
    let at_alice = pair.pass(BOB, &ok).to(ALICE);
    for name in timer.map(|(name, _)| name).iter().chain(&["Contact", "From", "To", "Call-ID", "CSeq"]) {
        assert_eq!(at_bob.all(name), invite.all(name).iter().map(|v| v.trim()).collect::<Vec<_>>(), "{name}");
        assert_eq!(at_alice.all(name), ok.all(name).iter().map(|v| v.trim()).collect::<Vec<_>>(), "{name}");
    }
    assert_eq!((at_bob.body.as_str(), at_alice.body.as_str()), ("v=0\r\n", "v=0\r\n"));
}
