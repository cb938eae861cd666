//! Route and Record-Route, several listen addresses, loops and spirals (RFC 3261 sections 16.3 to 16.6, RFC 5393).

mod pair;

use pair::{ALICE, BOB, Pair, Text, US, config, register, request, stateless};
use strowger_engine::{Config, Event, Reason};

/// A dialog between Alice and Bob, as Alice sees it.
struct Dialog {
    pair: Pair,
    record_route: String,
    to: String,
}

/// Bob says in his 200 that he is at `contact`, and is called nowhere else.
fn dialog(contact: &str) -> Dialog {
    let mut pair = Pair::new(stateless());
    pair.register("bob", &format!("<sip:bob@{BOB}>"));
    let at_bob = pair.pass(ALICE, &request("INVITE", "sip:bob@example.net")).to(BOB);
    let ok = at_bob.response(200, "OK", "bob-tag").add("Contact", &format!("<sip:bob@{contact}>"));
    let ok = pair.pass(BOB, &ok).to(ALICE);
    Dialog { record_route: ok.get("Record-Route").to_owned(), to: ok.get("To").to_owned(), pair }
}

/// Our Record-Route in that dialog, with the token for the hop to `contact`.
fn record_route(contact: &str) -> String {
    dialog(contact).record_route
}

impl Dialog {
    /// A request of Alice's in the dialog, with these Route lines.
    fn request(&self, method: &str, uri: &str, routes: &[&str]) -> Text {
        let text = request(method, uri).set("To", &self.to).set("CSeq", &format!("2 {method}"));
        routes.iter().fold(text, |text, route| text.add("Route", route))
    }
}

#[test]
fn loose_routing_by_what_remains() {
    let mut d = dialog(BOB);
    let target = "sip:bob@192.0.2.9:5071";
    let rr = record_route("192.0.2.9:5071");
    let to8 = record_route("192.0.2.8");
    for (routes, to, remaining) in [
        (vec![rr.clone()], "192.0.2.9:5071", vec![]),
        (vec![to8.clone(), "<sip:192.0.2.8;lr>".into()], "192.0.2.8:5060", vec!["<sip:192.0.2.8;lr>"]),
        (vec![format!("{to8},<sip:192.0.2.8;lr>")], "192.0.2.8:5060", vec!["<sip:192.0.2.8;lr>"]),
        (
            vec![
                format!(
                    "{}, \"P, 2\" <sip:192.0.2.8:99;lr>;x , <sip:p3.net;lr>",
                    record_route("192.0.2.8:99")
                ),
                "<sip:p4;lr>".into(),
            ],
            "192.0.2.8:99",
            vec!["\"P, 2\" <sip:192.0.2.8:99;lr>;x , <sip:p3.net;lr>", "<sip:p4;lr>"],
        ),
        // We are there twice: the hop to ourselves is made here.
        (
            vec![format!("{rr}, {to8}"), "<sip:192.0.2.8;lr>".into()],
            "192.0.2.8:5060",
            vec!["<sip:192.0.2.8;lr>"],
        ),
        (vec![rr.clone(), rr.clone()], "192.0.2.9:5071", vec![]),
        // Somebody else's, then ours: his first.
        (
            vec![to8.clone(), "<sip:192.0.2.8;lr>".into(), rr.clone()],
            "192.0.2.8:5060",
            vec!["<sip:192.0.2.8;lr>", &rr],
        ),
    ] {
        let routes: Vec<_> = routes.iter().map(String::as_str).collect();
        let text = d.request("BYE", target, &routes);
        let sent = d.pair.pass(ALICE, &text).to(to);
        assert_eq!((sent.request_uri(), sent.all("Route")), (target, remaining), "{routes:?}");
    }
}

#[test]
fn strict_routers_before_and_after_us() {
    let mut d = dialog(BOB);
    let target = "sip:bob@192.0.2.9:5071";
    let angle = format!("<{target}>");
    let [rr, to8, to7, to7_5090] =
        ["192.0.2.9:5071", "192.0.2.8", "192.0.2.7:5060", "192.0.2.7:5090"].map(record_route);
    let uri_of = |route: &str| route.trim_matches(['<', '>']).to_owned();
    let ours = uri_of(&rr);
    for (uri, routes, to, sent_uri, remaining) in [
        // From a strict router: our own URI is the Request-URI, the target is the last Route (section 16.4).
        (&ours, vec![angle.as_str()], "192.0.2.9:5071", target, vec![]),
        (
            &uri_of(&to8),
            vec!["<sip:192.0.2.8;lr>", &angle],
            "192.0.2.8:5060",
            target,
            vec!["<sip:192.0.2.8;lr>"],
        ),
        (&ours, vec![&rr, &angle], "192.0.2.9:5071", target, vec![]),
        // To a strict router: it finds itself in the Request-URI, the target is the last Route (section 16.6 item 6).
        (
            &target.to_owned(),
            vec![&to7_5090, "<sip:192.0.2.7:5090>"],
            "192.0.2.7:5090",
            "sip:192.0.2.7:5090",
            vec![angle.as_str()],
        ),
        (
            &target.to_owned(),
            vec![&to7, "<sip:192.0.2.7>", "<sip:192.0.2.8;lr>"],
            "192.0.2.7:5060",
            "sip:192.0.2.7",
            vec!["<sip:192.0.2.8;lr>, <sip:bob@192.0.2.9:5071>"],
        ),
        // Both.
        (&uri_of(&to7), vec!["<sip:192.0.2.7>", &angle], "192.0.2.7:5060", "sip:192.0.2.7", vec![&angle]),
    ] {
        let text = d.request("BYE", uri, &routes);
        let sent = d.pair.pass(ALICE, &text).to(to);
        assert_eq!((sent.request_uri(), sent.all("Route")), (sent_uri, remaining), "{uri} {routes:?}");
    }
    // All in one line, folded.
    let folded = format!("{to8},\r\n <sip:192.0.2.8;lr>,\r\n\t{angle}");
    let text = d.request("BYE", &ours, &[&folded]);
    let sent = d.pair.pass(ALICE, &text).to("192.0.2.8:5060");
    assert_eq!((sent.request_uri(), sent.all("Route")), (target, vec!["<sip:192.0.2.8;lr>"]));
    // Our URI without any Route: there is nowhere to go, and a BYE is nothing we serve.
    assert_eq!(d.pair.pass(ALICE, &d.request("BYE", &ours, &[])).to(ALICE).code(), 405);
    // The same when the last Route is ours again.
    for routes in [vec![rr.as_str()], vec![&rr, &rr], vec!["<sip:192.0.2.8;lr>", &rr]] {
        let ours = if routes[0] == rr { &ours } else { &uri_of(&to8) };
        let out = d.pair.pass(ALICE, &d.request("BYE", ours, &routes));
        if routes[0] == rr {
            assert_eq!(out.to(ALICE).code(), 405, "{routes:?}");
        } else {
            assert_eq!(out.to("192.0.2.8:5060").request_uri(), uri_of(&rr));
        }
    }
    // The real target of a strict router's request is not believed without the token either.
    let text = d.request("BYE", &ours, &[&angle]).set("Call-ID", "another");
    assert_eq!(d.pair.pass(ALICE, &text).to(ALICE).code(), 403);
}

#[test]
fn the_token_belongs_to_one_dialog() {
    let mut d = dialog("192.0.2.9");
    let rr = d.record_route.clone();
    let bye = d.request("BYE", "sip:bob@192.0.2.9", &[&rr]);
    assert_eq!(d.pair.pass(ALICE, &bye).to("192.0.2.9:5060").method(), "BYE");
    let mut digit = rr.clone().into_bytes();
    let last = digit.len() - 2;
    digit[last] = if digit[last] == b'0' { b'1' } else { b'0' };
    let digit = String::from_utf8(digit).unwrap();
    let base = bye.clone();
    let uri = rr.trim_matches(['<', '>']).to_owned();
    for (what, text) in [
        ("another Call-ID", base.clone().set("Call-ID", "call-2@alice")),
        ("another caller", base.clone().set("From", "<sip:alice@example.net>;tag=eve")),
        ("no To tag", base.clone().set("To", "<sip:bob@example.net>")),
        ("a changed token", base.clone().set("Route", &digit)),
        (
            "a shortened token",
            base.clone().set("Route", &rr.replace(">", "").replacen(&rr[rr.len() - 3..rr.len() - 1], ">", 1)),
        ),
        ("no token", base.clone().set("Route", &format!("<sip:{US};lr>"))),
        ("an empty token", base.clone().set("Route", &format!("<sip:{US};lr;dlg>"))),
        ("another secret", base.clone().set("Route", &other_secret())),
        ("another host", base.clone().uri("sip:bob@203.0.113.9")),
        ("another port", base.clone().uri("sip:bob@192.0.2.9:5061")),
        ("a name for the host", base.clone().uri("sip:bob@bob.example.com")),
        ("a hop before the host", base.clone().add("Route", "<sip:203.0.113.9;lr>")),
        ("a strict router for the host", base.clone().uri(&uri).set("Route", "<sip:bob@203.0.113.9>")),
    ] {
        assert_eq!(d.pair.pass(ALICE, &text).to(ALICE).code(), 403, "{what}");
    }
    assert_eq!((d.pair.count(Event::RelayRefused), d.pair.count(Event::TokenInvalid)), (13, 11));
    let ack = d.request("ACK", "sip:bob@192.0.2.9", &[&rr]).set("Call-ID", "call-2@alice");
    assert_eq!(d.pair.pass(ALICE, &ack).dropped(), Reason::Ack);
}

/// Whoever is in a dialog can have a request sent to where the other party said it is, and nowhere else: not with his
/// own token, not with the other party's, not with that of a dialog that he made up with himself at both ends.
#[test]
fn each_end_has_a_token_for_the_other_end_alone() {
    let mut pair = Pair::new(stateless());
    pair.register("bob", &format!("<sip:bob@{BOB}>"));
    let invite = request("INVITE", "sip:bob@example.net").set("Contact", "<sip:alice@192.0.2.11:5064>");
    let at_bob = pair.pass(ALICE, &invite).to(BOB);
    // Bob is behind another proxy, which recorded itself.
    let ok = at_bob.response(200, "OK", "b").add("Contact", "<sip:bob@pc.example.com>");
    let ok = ok.push("Record-Route", "<sip:192.0.2.20:5066;lr>");
    let ok = pair.pass(BOB, &ok).to(ALICE);
    let (bobs, alices) = (at_bob.get("Record-Route").to_owned(), ok.all("Record-Route")[1].to_owned());
    assert_eq!(ok.all("Record-Route")[0], "<sip:192.0.2.20:5066;lr>");
    let from_alice = |routes: &[&str], uri: &str| {
        let text = request("BYE", uri).set("To", ok.get("To"));
        routes.iter().fold(text, |text, route| text.add("Route", route))
    };
    let from_bob = |routes: &[&str], uri: &str| {
        from_alice(routes, uri).set("From", ok.get("To")).set("To", ok.get("From"))
    };
    let other = "<sip:192.0.2.20:5066;lr>";
    let (pc, alice) = ("sip:bob@pc.example.com", "sip:alice@192.0.2.11:5064");
    assert_eq!(pair.pass(ALICE, &from_alice(&[&alices, other], pc)).to("192.0.2.20:5066").request_uri(), pc);
    assert_eq!(pair.pass(BOB, &from_bob(&[&bobs], alice)).to("192.0.2.11:5064").request_uri(), alice);
    for (what, text) in [
        ("Alice past the proxy", from_alice(&[&alices], pc)),
        ("Alice elsewhere", from_alice(&[&alices, "<sip:192.0.2.21;lr>"], pc)),
        ("Alice with Bob's token", from_alice(&[&bobs, other], pc)),
        ("Bob with Alice's token", from_bob(&[&alices], alice)),
        ("Bob elsewhere", from_bob(&[&bobs], "sip:alice@203.0.113.9:5064")),
        ("Bob with a Route in between", from_bob(&[&bobs, "<sip:203.0.113.9;lr>"], alice)),
    ] {
        assert_eq!(pair.pass(ALICE, &text).to(ALICE).code(), 403, "{what}");
    }
    // A name of four letters is not the address with those four octets.
    let invite = request("INVITE", "sip:bob@example.net").set("Contact", "<sip:alice@abcd:5060>");
    let at_bob = pair.pass(ALICE, &invite.set("Call-ID", "names")).to(BOB);
    let bye = from_bob(&[at_bob.get("Record-Route")], "sip:alice@97.98.99.100").set("Call-ID", "names");
    assert_eq!(pair.pass(ALICE, &bye).to(ALICE).code(), 403);
}

/// A provisional response makes a dialog too, as does a 2xx to SUBSCRIBE; a refusal does not, and one without Contact
/// neither.
#[test]
fn only_what_makes_a_dialog_hands_a_token_over() {
    for (method, code, contact, handed) in [
        ("INVITE", 100, true, false),
        ("INVITE", 183, true, true),
        ("INVITE", 200, true, true),
        ("INVITE", 200, false, false),
        ("INVITE", 302, true, false),
        ("INVITE", 486, true, false),
        ("SUBSCRIBE", 202, true, true),
    ] {
        let mut pair = Pair::new(stateless());
        pair.register("bob", &format!("<sip:bob@{BOB}>"));
        let at_bob = pair.pass(ALICE, &request(method, "sip:bob@example.net")).to(BOB);
        let mut response = at_bob.response(code, "Whatever", "b");
        if contact {
            response = response.add("Contact", &format!("<sip:bob@{BOB}>"));
        }
        let at_alice = pair.pass(BOB, &response).to(ALICE);
        let same = at_alice.get("Record-Route") == at_bob.get("Record-Route");
        assert_eq!(!same, handed, "{method} {code} {contact}");
        assert_eq!(
            at_alice.clone().without("Record-Route").without("Via"),
            response.without("Record-Route").without("Via"),
            "and nothing else changes"
        );
    }
}

fn other_secret() -> String {
    let mut pair = Pair::new(Config { secret: [9; 32], ..config() });
    pair.register("bob", &format!("<sip:bob@{BOB}>"));
    pair.pass(ALICE, &request("INVITE", "sip:bob@example.net")).to(BOB).get("Record-Route").to_owned()
}

#[test]
fn a_node_started_again_still_knows_its_dialogs() {
    let d = dialog(BOB);
    let mut again = Pair::new(stateless());
    let bye = d.request("BYE", &format!("sip:bob@{BOB}"), &[&d.record_route]);
    assert_eq!(again.pass(ALICE, &bye).to(BOB).method(), "BYE");
}

#[test]
fn record_route_is_for_what_makes_dialogs() {
    let mut pair = Pair::new(stateless());
    pair.register("bob", &format!("<sip:bob@{BOB}>"));
    for (method, expected) in [
        ("INVITE", true),
        ("SUBSCRIBE", true),
        ("REFER", true),
        ("NOTIFY", true),
        ("DANCE", true),
        ("MESSAGE", false),
        ("PUBLISH", false),
        ("INFO", false),
        ("UPDATE", false),
        ("PRACK", false),
        ("BYE", false),
        ("CANCEL", false),
        ("OPTIONS", false),
    ] {
        let text = request(method, "sip:bob@example.net").add("Record-Route", "<sip:192.0.2.1;lr>");
        let sent = pair.pass(ALICE, &text).to(BOB);
        let lines = sent.all("Record-Route");
        assert_eq!(lines.len(), if expected { 2 } else { 1 }, "{method}");
        assert_eq!(lines.last(), Some(&"<sip:192.0.2.1;lr>"), "ours comes first");
    }
    let mut off = Pair::new(Config { record_route: false, ..config() });
    off.register("bob", &format!("<sip:bob@{BOB}>"));
    assert_eq!(off.pass(ALICE, &request("INVITE", "sip:bob@example.net")).to(BOB).find("Record-Route"), None);
}

#[test]
fn a_loop_is_refused_and_a_spiral_is_not() {
    let mut pair = Pair::new(stateless());
    let proxy = "192.0.2.50:5060";
    pair.register("bob", &format!("<sip:bob@{proxy}>"));
    let first = pair.pass(ALICE, &request("INVITE", "sip:bob@example.net")).to(proxy);
    // Another proxy sends it back with the Request-URI it had here: it would go round for ever.
    let back = |uri: &str| {
        first
            .clone()
            .uri(uri)
            .push("Via", &format!("SIP/2.0/UDP {proxy};branch=z9hG4bKp1"))
            .set("Max-Forwards", "60")
    };
    let reply = pair.pass(proxy, &back("sip:bob@example.net")).to(proxy);
    assert_eq!((reply.code(), reply.reason()), (482, "Loop Detected"));
    assert_eq!(reply.all("Via").len(), 3);
    // With another Request-URI it is a spiral: call forwarding.
    pair.register("carol", &format!("<sip:carol@{BOB}>"));
    let spiral = pair.pass(proxy, &back("sip:carol@example.net")).to(BOB);
    assert_eq!(spiral.all("Via").len(), 4);
    assert_eq!(spiral.all("Record-Route").len(), 2);
    let branches: Vec<_> =
        spiral.all("Via").iter().map(|v| v.split("branch=").nth(1).unwrap().to_owned()).collect();
    assert_ne!(branches[0], branches[2]);
    // The response goes back through both.
    let ringing = spiral.response(180, "Ringing", "c");
    let once = pair.pass(BOB, &ringing).to(proxy);
    let stripped = Text { headers: once.headers.iter().skip(1).cloned().collect(), ..once };
    assert_eq!(pair.pass(proxy, &stripped).to(ALICE).code(), 180);
    // Somebody who writes a Via with our address harms nobody but himself; a foreign Via of any form does not hurt.
    let odd = request("INVITE", "sip:carol@example.net")
        .add("Via", &format!("SIP/2.0/UDP {US};branch=z9hG4bKmadeup"))
        .add("Via", "SIP/2.0/FOO host.example:1;a;b=\"c;d\";branch=1");
    assert_eq!(pair.pass(ALICE, &odd).to(BOB).all("Via").len(), 4);
    assert_eq!(pair.count(Event::Reply482), 1);
}

/// IPv4 inside, IPv6 outside, a second port.
fn two_sided() -> Config {
    Config {
        listen: ["10.77.0.2:5060", "10.77.0.2:5080", "[2001:db8::2]:5062"]
            .map(|a| a.parse().expect("an address"))
            .into(),
        domains: vec!["example.net".into()],
        ..config()
    }
}

const V6: &str = "[2001:db8::2]:5062";
const CAROL: &str = "[2001:db8::77]:5064";

#[test]
fn a_call_from_ipv4_to_ipv6_and_back() {
    let mut pair = Pair::new(two_sided());
    pair.register("carol", &format!("<sip:carol@{CAROL}>"));
    let invite = request("INVITE", "sip:carol@example.net");
    let out = pair.pass(ALICE, &invite);
    let pair::Out::Sent { local, .. } = &out else { panic!("{out:?}") };
    assert_eq!(local.to_string(), V6);
    let at_carol = out.to(CAROL);
    assert!(at_carol.get("Via").starts_with(&format!("SIP/2.0/UDP {V6};branch=z9hG4bK")));
    // Both sides are in the path, the one that sends first (RFC 5658).
    let rr: Vec<_> = at_carol.all("Record-Route").iter().map(|r| (*r).to_owned()).collect();
    assert!(
        rr[0].starts_with(&format!("<sip:{V6};lr;")) && rr[1].starts_with("<sip:10.77.0.2:5060;lr;"),
        "{rr:?}"
    );
    let ok = at_carol.response(200, "OK", "carol-tag").add("Contact", &format!("<sip:carol@{CAROL}>"));
    let out = pair.pass_to(CAROL, V6, &ok.bytes());
    let pair::Out::Sent { local, .. } = &out else { panic!("{out:?}") };
    assert_eq!(local.to_string(), US, "from where the request came to (RFC 3581)");
    let ok = out.to(ALICE);

    // Carol's route set is as it stands, Alice's is turned round.
    let bye = request("BYE", &format!("sip:alice@{ALICE}"))
        .set("Via", &format!("SIP/2.0/UDP {CAROL};branch=z9hG4bK-c1"))
        .set("From", ok.get("To"))
        .set("To", ok.get("From"));
    let bye = rr.iter().fold(bye, |text, route| text.add("Route", route));
    let out = pair.pass_to(CAROL, V6, &bye.bytes());
    let pair::Out::Sent { local, .. } = &out else { panic!("{out:?}") };
    assert_eq!((local.to_string().as_str(), out.to(ALICE).find("Route")), (US, None));
    let info = request("INFO", &format!("sip:carol@{CAROL}")).set("To", ok.get("To"));
    let info = ok.all("Record-Route").iter().rev().fold(info, |text, route| text.add("Route", route));
    let out = pair.pass(ALICE, &info);
    let pair::Out::Sent { local, .. } = &out else { panic!("{out:?}") };
    assert_eq!((local.to_string().as_str(), out.to(CAROL).find("Route")), (V6, None));
}

#[test]
fn a_dialog_leaves_from_the_address_it_came_in_by() {
    let mut pair = Pair::new(two_sided());
    let second = "10.77.0.2:5080";
    pair.register("carol", &format!("<sip:carol@{CAROL}>"));
    let invite = request("INVITE", "sip:carol@example.net");
    let at_carol = pair.pass_to(ALICE, second, &invite.bytes()).to(CAROL);
    let bye = request("BYE", &format!("sip:alice@{ALICE}"))
        .set("Via", &format!("SIP/2.0/UDP {CAROL};branch=z9hG4bK-c1"))
        .set("From", "<sip:carol@example.net>;tag=c")
        .set("To", at_carol.get("From"));
    let bye = at_carol.all("Record-Route").iter().fold(bye, |text, route| text.add("Route", route));
    let pair::Out::Sent { local, remote, .. } = pair.pass_to(CAROL, V6, &bye.bytes()) else {
        panic!("dropped")
    };
    assert_eq!((local.to_string().as_str(), remote.to_string().as_str()), (second, ALICE));
}

#[test]
fn ipv6_all_the_way() {
    let mut pair = Pair::new(two_sided());
    let dora = "[2001:db8::88]:5060";
    let via = "SIP/2.0/UDP [2001:db8::88];branch=z9hG4bKd";
    let register = register("dora", &format!("<sip:dora@{dora}>")).set("Via", via);
    let out = pair.pass_to(dora, V6, &register.bytes());
    assert_eq!(out.to(dora).get("Contact"), format!("<sip:dora@{dora}>;expires=3600"));
    assert_eq!(out.to(dora).get("Via"), via);
    let call = request("INVITE", "sip:dora@[2001:db8:0:0::2]:5062")
        .set("Via", "SIP/2.0/UDP [2001:db8::99]:7;branch=z9hG4bKe");
    // The address is a listen address and no domain: nobody lives there.
    let refused = pair.pass_to(CAROL, V6, &call.bytes()).to("[2001:db8::77]:7");
    assert_eq!(refused.code(), 404);
    assert_eq!(refused.param("Via", "received"), Some("2001:db8::77"));
    let out = pair.pass_to(CAROL, V6, &call.uri("sip:dora@example.net").bytes());
    assert_eq!(out.to(dora).all("Record-Route").len(), 1);
}

#[test]
fn each_listen_address_answers_for_itself() {
    let mut pair = Pair::new(two_sided());
    pair.register("bob", &format!("<sip:bob@{BOB}>"));
    let out = pair.pass_to(ALICE, "10.77.0.2:5080", &request("INVITE", "sip:bob@example.net:5080").bytes());
    let pair::Out::Sent { local, .. } = &out else { panic!("{out:?}") };
    assert_eq!(local.to_string(), "10.77.0.2:5080");
    assert!(out.to(BOB).get("Via").starts_with("SIP/2.0/UDP 10.77.0.2:5080;"));
    assert_eq!(out.to(BOB).all("Record-Route").len(), 1);
    for uri in ["sip:10.77.0.2:5080", "sip:10.77.0.2", "sip:[2001:DB8::2]:5062", "sip:example.net:5062"] {
        let out = pair.pass_to(ALICE, "10.77.0.2:5080", &request("OPTIONS", uri).bytes());
        let pair::Out::Sent { local, .. } = &out else { panic!("{out:?}") };
        assert_eq!((out.to(ALICE).code(), local.to_string().as_str()), (200, "10.77.0.2:5080"), "{uri}");
    }
    let out = pair.pass_to(ALICE, "10.77.0.2:5080", &request("OPTIONS", "sip:[2001:db8::2]").bytes());
    assert_eq!(out.to(ALICE).code(), 403, "no port is 5060, where nobody listens on this address");
}

#[test]
fn no_listen_address_of_the_target_s_family() {
    let mut pair = Pair::new(stateless());
    pair.register("carol", &format!("<sip:carol@{CAROL}>"));
    let reply = pair.pass(ALICE, &request("INVITE", "sip:carol@example.net")).to(ALICE);
    assert_eq!((reply.code(), reply.reason()), (500, "Next Hop Unreachable"));
}

#[test]
fn compact_forms_folding_and_case_are_forwarded_as_they_stand() {
    let mut pair = Pair::new(stateless());
    pair.register("bob", &format!("<sip:bob@{BOB}>"));
    let wild = format!(
        "\r\n\r\nINVITE sip:bob@example.net SIP/2.0\r\n\
         v: SIP / 2.0 /UDP 10.77.0.11 ; branch=z9hG4bK-x ;rport, SIP/2.0/UDP 192.0.2.33;\r\n branch=z9hG4bK-y\r\n\
         mAx-FoRwArDs :   0068\r\n\
         f:\"A \\\"q\\\" lice\"\t<sip:alice@example.net> ; TAG = alice\r\n\
         t:\r\n <sip:bob@example.net>\r\n\
         i : wild@call\r\n\
         CSEQ:\t009\r\n   INVITE\r\n\
         X-Unknown:   spaces   and \t tabs  \r\n\
         m:<sip:alice@{ALICE}>\r\n\
         Date: not a date at all\r\n\
         l:   4\r\n\
         \r\nbodyrest"
    );
    let out = pair.pass_to(ALICE, US, wild.as_bytes());
    let pair::Out::Sent { bytes, remote, .. } = &out else { panic!("{out:?}") };
    assert_eq!(remote.to_string(), BOB);
    let sent = String::from_utf8(bytes.clone()).unwrap();
    assert!(sent.starts_with(&format!("INVITE sip:bob@{BOB} SIP/2.0\r\nVia: ")));
    assert!(sent.ends_with("\r\n\r\nbody"), "what is over is cut (section 18.3): {sent}");
    for untouched in [
        "f:\"A \\\"q\\\" lice\"\t<sip:alice@example.net> ; TAG = alice\r\n",
        "CSEQ:\t009\r\n   INVITE\r\n",
        "X-Unknown:   spaces   and \t tabs  \r\n",
        "Date: not a date at all\r\n",
        "SIP/2.0/UDP 192.0.2.33;\r\n branch=z9hG4bK-y\r\n",
        "rport=5060",
        ";received=10.77.0.11",
    ] {
        assert!(sent.contains(untouched), "{untouched} in {sent}");
    }
    let ringing = pair.pass(BOB, &Text::parse(bytes).response(180, "Ringing", "b"));
    assert_eq!(ringing.to(ALICE).code(), 180);
}
