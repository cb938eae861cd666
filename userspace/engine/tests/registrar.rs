//! REGISTER through the engine's public face, by the items of RFC 3261 section 10.3.

mod pair;

use pair::{ALICE, BOB, Pair, Text, config, register, request, stateless, unique};
use strowger_engine::{Config, Event, limit};

fn contacts(reply: &Text) -> Vec<String> {
    assert_eq!(reply.code(), 200, "{}", reply.reason());
    reply.all("Contact").iter().map(|c| (*c).to_owned()).collect()
}

fn with_call_id(text: Text, call_id: &str, cseq: u32) -> Text {
    unique(text).set("Call-ID", call_id).set("CSeq", &format!("{cseq} REGISTER"))
}

#[test]
fn the_200_lists_all_bindings_with_what_is_left_of_them() {
    let mut pair = Pair::new(config());
    let first = pair.pass(ALICE, &register("a", "<sip:a@192.0.2.1>;q=0.25;expires=120")).to(ALICE);
    assert_eq!(contacts(&first), ["<sip:a@192.0.2.1>;q=0.250;expires=120"]);
    assert!(first.param("To", "tag").is_some_and(|tag| tag.len() == 8));
    pair.sleep(20);
    let second = pair.pass(ALICE, &register("a", "\"Desk\" <sip:a@192.0.2.2;ob>")).to(ALICE);
    assert_eq!(
        contacts(&second),
        ["<sip:a@192.0.2.1>;q=0.250;expires=100", "<sip:a@192.0.2.2;ob>;expires=3600"]
    );
    // A query changes nothing (section 10.2.3).
    let query = pair.pass(ALICE, &register("a", "")).to(ALICE);
    assert_eq!(contacts(&query), contacts(&second));
    assert_eq!(pair.location.bindings(), 2);
    let nobody = pair.pass(ALICE, &register("nobody", "")).to(ALICE);
    assert!(contacts(&nobody).is_empty());
    assert_eq!(pair.location.aors(), 1, "asking does not make a record");
    let users = pair.location.snapshot(pair.now, 10);
    assert_eq!((users.len(), users[0].aor.as_str(), users[0].contacts.len()), (1, "a@example.net", 2));
    assert_eq!(
        (users[0].contacts[1].uri.as_str(), users[0].contacts[1].expires),
        ("sip:a@192.0.2.2;ob", 3600)
    );
}

#[test]
fn several_contacts_in_one_request_and_in_compact_form() {
    let mut pair = Pair::new(config());
    let text = register("a", "<sip:a@192.0.2.1>, <sip:a@192.0.2.2>;expires=90")
        .add("m", "sip:a@192.0.2.3;q=0.1")
        .add("Expires", "100");
    assert_eq!(
        contacts(&pair.pass(ALICE, &text).to(ALICE)),
        [
            "<sip:a@192.0.2.1>;expires=100",
            "<sip:a@192.0.2.2>;expires=90",
            "<sip:a@192.0.2.3>;q=0.100;expires=100"
        ]
    );
}

#[test]
fn intervals_are_granted_cut_or_refused() {
    let mut pair = Pair::new(config());
    for (contact, header, granted) in [
        ("<sip:a@192.0.2.1>", None, "3600"),
        ("<sip:a@192.0.2.1>", Some("600"), "600"),
        ("<sip:a@192.0.2.1>;expires=60", Some("600"), "60"),
        ("<sip:a@192.0.2.1>;expires=7201", None, "7200"),
        ("<sip:a@192.0.2.1>;expires=99999999999999999999", None, "7200"),
        // What is no number counts as an hour (section 10.2.1.1).
        ("<sip:a@192.0.2.1>;expires=soon", None, "3600"),
        ("<sip:a@192.0.2.1>", Some("soon"), "3600"),
    ] {
        let mut text = register("a", contact)
            .set("Call-ID", &format!("{contact:?}{header:?}").replace(['"', '<', '>', ';', ' '], ""));
        text = text.set("Call-ID", &format!("id-{granted}-{}-{}", contact.len(), header.unwrap_or("none")));
        if let Some(header) = header {
            text = text.add("Expires", header);
        }
        assert_eq!(
            contacts(&pair.pass(ALICE, &text).to(ALICE)),
            [format!("<sip:a@192.0.2.1>;expires={granted}")]
        );
    }
    for (contact, header) in [("<sip:a@192.0.2.1>;expires=59", "600"), ("<sip:a@192.0.2.1>", "1")] {
        let brief = pair.pass(ALICE, &register("b", contact).add("Expires", header)).to(ALICE);
        assert_eq!(
            (brief.code(), brief.reason(), brief.get("Min-Expires")),
            (423, "Interval Too Brief", "60")
        );
    }
    assert!(contacts(&pair.pass(ALICE, &register("b", "")).to(ALICE)).is_empty());
    assert_eq!(pair.count(Event::Reply423), 2);
}

#[test]
fn the_first_hour_may_not_be_refused_and_default_counts() {
    let mut config = config();
    config.registrar.min_expires = 3600;
    config.registrar.default_expires = 4000;
    let mut pair = Pair::new(config);
    assert_eq!(pair.pass(ALICE, &register("a", "<sip:a@192.0.2.1>;expires=3599")).to(ALICE).code(), 423);
    let hour = pair.pass(ALICE, &register("a", "<sip:a@192.0.2.1>;expires=3600")).to(ALICE);
    assert_eq!(contacts(&hour), ["<sip:a@192.0.2.1>;expires=3600"]);
    assert_eq!(
        contacts(&pair.pass(ALICE, &register("b", "<sip:b@192.0.2.1>")).to(ALICE)),
        ["<sip:b@192.0.2.1>;expires=4000"]
    );
}

#[test]
fn a_binding_ends_when_its_time_is_over_and_calls_hear_the_difference() {
    let mut pair = Pair::new(stateless());
    let call = request("INVITE", "sip:bob@example.net");
    assert_eq!(pair.pass(ALICE, &call).to(ALICE).code(), 404);
    pair.register("bob", &format!("<sip:bob@{BOB}>;expires=60"));
    pair.sleep(59);
    assert_eq!(pair.pass(ALICE, &call).to(BOB).method(), "INVITE");
    // At its end, before the timer has run, it is over for everybody.
    pair.now = pair.now.after(std::time::Duration::from_secs(1));
    assert_eq!(pair.pass(ALICE, &call).to(ALICE).code(), 480);
    assert_eq!(pair.location.bindings(), 1);
    pair.sleep(1);
    assert_eq!((pair.location.bindings(), pair.count(Event::BindingExpired)), (0, 1));
    let offline = pair.pass(ALICE, &call).to(ALICE);
    assert_eq!((offline.code(), offline.reason()), (480, "Temporarily Unavailable"));
    pair.sleep(limit::KNOWN);
    assert_eq!(pair.pass(ALICE, &call).to(ALICE).code(), 404);
    assert_eq!((pair.location.aors(), pair.engine.timeout()), (0, None));
}

#[test]
fn refreshes_keep_a_binding_alive() {
    let mut pair = Pair::new(config());
    let text = register("bob", &format!("<sip:bob@{BOB}>;expires=60"));
    for n in 1..=10 {
        let refresh = with_call_id(text.clone(), "r", n);
        assert_eq!(contacts(&pair.pass(ALICE, &refresh).to(ALICE)).len(), 1);
        pair.sleep(50);
    }
    assert_eq!(pair.pass(ALICE, &request("INVITE", "sip:bob@example.net")).to(BOB).method(), "INVITE");
    assert_eq!((pair.count(Event::BindingAdded), pair.count(Event::BindingRefreshed)), (1, 9));
    assert_eq!(pair.count(Event::BindingExpired), 0);
}

#[test]
fn unregistering_one_or_all() {
    let mut pair = Pair::new(config());
    let both = register("a", "<sip:a@192.0.2.1>, <sip:a@192.0.2.2>");
    pair.pass(ALICE, &with_call_id(both, "c", 1));
    let one = with_call_id(register("a", "<sip:a@192.0.2.1>;expires=0"), "c", 2);
    assert_eq!(
        contacts(&pair.pass(ALICE, &unique(one.clone())).to(ALICE)),
        ["<sip:a@192.0.2.2>;expires=3600"]
    );
    assert_eq!(contacts(&pair.pass(ALICE, &unique(one.clone())).to(ALICE)).len(), 1, "sent again");
    let all = with_call_id(register("a", "*").add("Expires", "0"), "c", 3);
    assert!(contacts(&pair.pass(ALICE, &unique(all.clone())).to(ALICE)).is_empty());
    assert!(contacts(&pair.pass(ALICE, &unique(all.clone())).to(ALICE)).is_empty(), "sent again");
    assert_eq!((pair.location.bindings(), pair.count(Event::BindingRemoved)), (0, 2));
    assert_eq!(pair.pass(BOB, &request("INVITE", "sip:a@example.net")).text().code(), 480);
    // By an address-of-record without any binding nothing is made.
    let never = register("never", "*").add("Expires", "0");
    assert!(contacts(&pair.pass(ALICE, &unique(never.clone())).to(ALICE)).is_empty());
    assert_eq!(pair.location.aors(), 1);
}

#[test]
fn star_needs_to_be_alone_and_expires_0() {
    let mut pair = Pair::new(config());
    pair.register("a", "<sip:a@192.0.2.1>");
    for text in [
        register("a", "*"),
        register("a", "*").add("Expires", "60"),
        register("a", "*, <sip:a@192.0.2.1>").add("Expires", "0"),
        register("a", "<sip:a@192.0.2.1>, *").add("Expires", "0"),
        register("a", "*").add("Contact", "*").add("Expires", "0"),
    ] {
        let reply = pair.pass(ALICE, &text).to(ALICE);
        assert_eq!(reply.code(), 400);
        assert_eq!(reply.reason(), "Contact * Needs Expires 0 And No Other Contact");
    }
    assert_eq!(pair.location.bindings(), 1);
}

#[test]
fn call_id_and_cseq_order_requests() {
    let mut pair = Pair::new(config());
    let text = |expires: u32, call_id: &str, cseq| {
        with_call_id(register("a", &format!("<sip:a@192.0.2.1>;expires={expires}")), call_id, cseq)
    };
    let expires = |pair: &mut Pair, text: Text| {
        let reply = pair.pass(ALICE, &text).to(ALICE);
        (reply.code(), reply.find("Contact").map(|c| c.rsplit('=').next().unwrap().to_owned()))
    };
    assert_eq!(expires(&mut pair, text(100, "x", 5)), (200, Some("100".into())));
    // Out of order: refused, nothing changed.
    for (s, n) in [(200, 4), (0, 4), (0, 5)] {
        let reply = pair.pass(ALICE, &text(s, "x", n)).to(ALICE);
        assert_eq!((reply.code(), reply.reason()), (500, "CSeq Out of Order"));
    }
    // The same request again: the same answer, nothing changed.
    pair.sleep(10);
    assert_eq!(expires(&mut pair, text(100, "x", 5)), (200, Some("90".into())));
    assert_eq!(expires(&mut pair, text(300, "x", 6)), (200, Some("300".into())));
    // Another Call-ID: a client that started again, whatever its CSeq.
    assert_eq!(expires(&mut pair, text(400, "y", 1)), (200, Some("400".into())));
    assert_eq!(expires(&mut pair, text(0, "z", 1)), (200, None));
}

#[test]
fn one_bad_contact_spoils_the_request() {
    let mut pair = Pair::new(config());
    for (contacts, code) in [
        ("<sip:a@192.0.2.1>, <sip:a@192.0.2.2>;expires=5", 423),
        ("<sip:a@192.0.2.1>, <mailto:a@example.com>", 400),
        ("<sip:a@192.0.2.1>, <sips:a@192.0.2.2>", 400),
        ("<sip:a@192.0.2.1>, <sip:a@192.0.2.2>;q=1.5", 400),
        ("<sip:a@192.0.2.1>, <sip:a@>", 400),
        ("<sip:a@192.0.2.1>, <sip:a@192.0.2.2;method=INVITE>", 400),
        ("<sip:a@192.0.2.1>, <sip:a@10.77.0.2>", 403),
        ("<sip:a@192.0.2.1>, <sip:b@example.net>", 403),
        ("<sip:a@192.0.2.1>, <sip:b@EXAMPLE.NET.:5060;transport=udp>", 403),
    ] {
        let reply = pair.pass(ALICE, &register("a", contacts)).to(ALICE);
        assert_eq!(reply.code(), code, "{contacts}: {}", reply.reason());
        assert_eq!(pair.location.bindings(), 0, "{contacts}");
    }
    let long = format!("<sip:{}@192.0.2.1>", "a".repeat(limit::CONTACT));
    assert_eq!(pair.pass(ALICE, &register("a", &long)).to(ALICE).reason(), "Contact Too Long");
    // A phone on our own host is not us.
    pair.register("a", "<sip:a@10.77.0.2:5090>");
    assert_eq!(
        pair.pass(BOB, &request("INVITE", "sip:a@example.net")).to("10.77.0.2:5090").method(),
        "INVITE"
    );
}

#[test]
fn the_address_of_record() {
    let mut pair = Pair::new(stateless());
    let to = |to: &str| {
        register("x", &format!("<sip:x@{BOB}>"))
            .set("To", to)
            .set("Call-ID", &to.replace(|c: char| !c.is_ascii_alphanumeric(), ""))
    };
    for (aor, code) in [
        ("<sip:x@elsewhere.net>", 404),
        ("<sip:x@example.net:5099>", 404),
        ("<sips:x@example.net>", 404),
        ("<tel:+123>", 404),
        ("<sip:example.net>", 404),
        ("<sip:x@10.77.0.2>", 200),
        ("sip:y@example.net", 200),
    ] {
        let reply = pair.pass(ALICE, &to(aor)).to(ALICE);
        assert_eq!(reply.code(), code, "{aor}");
    }
    let long = format!("<sip:{}@example.net>", "u".repeat(limit::USER + 1));
    assert_eq!(pair.pass(ALICE, &to(&long)).to(ALICE).reason(), "User Name Too Long");
    // Parameters, escapes, port and the domain's case do not make another user; the user's case does.
    pair.pass(ALICE, &to("\"J\" <sip:j%6Fe@Example.NET:5060;user=phone>;x=1"));
    for (uri, found) in [
        ("sip:joe@example.net", true),
        ("sip:%6a%6f%65@EXAMPLE.net.;transport=udp", true),
        ("sip:Joe@example.net", false),
        ("sip:joe@10.77.0.2", false),
    ] {
        let out = pair.pass(ALICE, &request("OPTIONS", uri));
        assert_eq!(out.text().start.starts_with("OPTIONS"), found, "{uri}");
    }
}

#[test]
fn limits_of_contacts_and_bindings() {
    let mut small = Config { max_bindings: 3, ..config() };
    small.registrar.max_contacts = 2;
    let mut pair = Pair::new(small);
    let two = register("a", "<sip:a@192.0.2.1>;expires=100, <sip:a@192.0.2.2>;expires=200");
    assert_eq!(pair.pass(ALICE, &two).to(ALICE).code(), 200);
    pair.sleep(10);
    let third = pair.pass(ALICE, &register("a", "<sip:a@192.0.2.3>")).to(ALICE);
    assert_eq!((third.code(), third.reason(), third.get("Retry-After")), (503, "Too Many Contacts", "90"));
    // Exchanging one for another is no third.
    let swap = register("a", "<sip:a@192.0.2.1>;expires=0, <sip:a@192.0.2.3>").set("Call-ID", "other");
    assert_eq!(pair.pass(ALICE, &swap).to(ALICE).code(), 200);
    pair.register("b", "<sip:b@192.0.2.1>");
    let full = pair.pass(ALICE, &register("c", "<sip:c@192.0.2.1>")).to(ALICE);
    assert_eq!((full.code(), full.get("Retry-After")), (503, "60"));
    assert_eq!((pair.count(Event::ContactLimit), pair.count(Event::BindingLimit)), (1, 1));
    assert_eq!((pair.location.bindings(), pair.count(Event::Reply503)), (3, 2));
    let many = (0..40).map(|n| format!("<sip:a@192.0.2.{n}>")).collect::<Vec<_>>().join(", ");
    assert_eq!(pair.pass(ALICE, &register("d", &many)).to(ALICE).code(), 503);
}

#[test]
fn an_answer_that_would_not_fit_is_refused_before_anything_changes() {
    let mut config = config();
    config.registrar.max_contacts = 32;
    let mut pair = Pair::new(config);
    let contact = |n: u32| format!("<sip:{}@192.0.2.{n}>", "a".repeat(480));
    let mut held = 0;
    for n in 0..32 {
        let reply = pair.pass(ALICE, &register("a", &contact(n)).set("Call-ID", &format!("c{n}"))).to(ALICE);
        if reply.code() == 503 {
            break;
        }
        held += 1;
        assert_eq!(contacts(&reply).len(), held);
    }
    assert!((5..32).contains(&held), "{held}");
    assert_eq!(pair.location.bindings(), held);
}

#[test]
fn require_names_what_is_not_supported() {
    let mut pair = Pair::new(config());
    let text = register("a", "<sip:a@192.0.2.1>");
    let bad = pair.pass(ALICE, &text.add("Require", "100rel, foo").add("Require", "bar")).to(ALICE);
    assert_eq!((bad.code(), bad.get("Unsupported")), (420, "100rel, foo, bar"));
    assert_eq!(pair.location.bindings(), 0);
}

#[test]
fn the_200_has_a_date_when_the_node_knows_it() {
    let mut pair = Pair::new(config());
    let text = register("a", "<sip:a@192.0.2.1>");
    assert_eq!(pair.pass(ALICE, &unique(text.clone())).to(ALICE).find("Date"), None);
    pair.engine.set_wall_clock(pair.now, 784_111_777);
    pair.sleep(3);
    assert_eq!(
        pair.pass(ALICE, &unique(text.clone())).to(ALICE).get("Date"),
        "Sun, 06 Nov 1994 08:49:40 GMT"
    );
}

#[test]
fn a_request_uri_gets_neither_headers_nor_display_name_of_the_contact() {
    let mut pair = Pair::new(config());
    pair.register("bob", &format!("\"Bob, at work\" <sip:bob@{BOB};line=1?Subject=x>;q=0.5"));
    let at_bob = pair.pass(ALICE, &request("MESSAGE", "sip:bob@example.net")).to(BOB);
    assert_eq!(at_bob.request_uri(), format!("sip:bob@{BOB};line=1"));
}
