//! How registered contacts are reached: Path (RFC 3327), Service-Route (RFC 3608), flows (RFC 5626), NATs (RFC 3581).

mod pair;

use std::sync::atomic::{AtomicU32, Ordering};

use pair::{ALICE, BOB, Pair, Text, US, config, register, request};
use strowger_engine::Event;

/// Carol's phone at home, and where her router sends from.
const HOME: &str = "192.168.1.5:5060";
const ROUTER: &str = "203.0.113.5:40001";
const INSTANCE: &str = "<urn:uuid:00000000-0000-1000-8000-000A95A0E128>";

/// Carol's REGISTER as her phone sends it.
fn home(contact: &str, cseq: u32) -> Text {
    register("carol", contact)
        .set("Via", &format!("SIP/2.0/UDP {HOME};branch=z9hG4bK-{cseq};rport"))
        .set("Call-ID", "carol-at-home")
        .set("CSeq", &format!("{cseq} REGISTER"))
}

/// An INVITE of Alice's, each a transaction of its own.
fn invite(uri: &str) -> Text {
    unique(request("INVITE", uri))
}

fn unique(text: Text) -> Text {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let branch = COUNT.fetch_add(1, Ordering::Relaxed);
    text.set("Via", &format!("SIP/2.0/UDP {ALICE};branch=z9hG4bK-reach-{branch}"))
}

fn call(pair: &mut Pair, uri: &str) -> Text {
    pair.pass(ALICE, &invite(uri)).text()
}

#[test]
fn a_phone_behind_a_nat_is_called_where_its_register_came_from() {
    let mut pair = Pair::new(config());
    let contact = format!("<sip:carol@{HOME}>");
    let done = pair.pass(ROUTER, &home(&contact, 1)).to(ROUTER);
    assert_eq!((done.code(), done.get("Contact")), (200, "<sip:carol@192.168.1.5:5060>;expires=3600"));
    let at_carol = pair.pass(ALICE, &invite("sip:carol@example.net")).to(ROUTER);
    assert_eq!(at_carol.request_uri(), format!("sip:carol@{HOME}"), "the Request-URI stays hers");
    // What follows in the dialog goes the same way, though the Request-URI is her private address.
    let ok = at_carol.response(200, "OK", "c").add("Contact", &contact);
    let ok = pair.pass(ROUTER, &ok).to(ALICE);
    let in_dialog = |method: &str| {
        unique(request(method, &format!("sip:carol@{HOME}")))
            .set("To", ok.get("To"))
            .add("Route", ok.get("Record-Route"))
    };
    assert_eq!(pair.pass(ALICE, &in_dialog("ACK")).to(ROUTER).method(), "ACK");
    let bye = in_dialog("BYE").set("CSeq", "2 BYE");
    assert_eq!(pair.pass(ALICE, &bye).to(ROUTER).method(), "BYE");
    // Her router gives her another port: the next REGISTER says so, and all follows.
    let elsewhere = "203.0.113.5:51515";
    assert_eq!(pair.pass(elsewhere, &home(&contact, 2)).to(elsewhere).code(), 200);
    assert_eq!(call(&mut pair, "sip:carol@example.net").method(), "INVITE");
    assert_eq!(pair.pass(ALICE, &unique(bye.clone()).set("CSeq", "3 BYE")).to(elsewhere).method(), "BYE");
}

#[test]
fn who_is_not_behind_a_nat_is_called_at_his_contact() {
    let mut pair = Pair::new(config());
    // Somebody who knows his own address registers another one: a third party (RFC 3261 section 10.2).
    pair.register("bob", &format!("<sip:bob@{BOB}>"));
    assert_eq!(pair.pass(ALICE, &invite("sip:bob@example.net")).to(BOB).method(), "INVITE");
    // Through a proxy without Path the source is the proxy's.
    let proxied = home("<sip:carol@192.0.2.7>", 1).add("Via", "SIP/2.0/UDP 192.0.2.7;branch=z9hG4bK-x");
    assert_eq!(pair.pass(ROUTER, &proxied).text().code(), 200);
    assert_eq!(pair.pass(ALICE, &invite("sip:carol@example.net")).to("192.0.2.7:5060").method(), "INVITE");
    // And where the configuration says so nobody is.
    let mut off = config();
    off.registrar.nat = false;
    let mut pair = Pair::new(off);
    pair.pass(ROUTER, &home(&format!("<sip:carol@{HOME}>"), 1)).to(ROUTER);
    assert_eq!(pair.pass(ALICE, &invite("sip:carol@example.net")).to(HOME).method(), "INVITE");
}

#[test]
fn rfc_3327_5_3_path_is_kept_repeated_and_used_as_route() {
    let mut pair = Pair::new(config());
    let text = register("carol", "<sip:carol@192.0.2.200>")
        .add("Supported", "path")
        .add("Path", "\"P\" <sip:p1@192.0.2.1;lr>;x=y, <sip:192.0.2.2:5090;lr>")
        .add("Path", "<sip:192.0.2.3;lr>");
    let done = pair.pass(ALICE, &text).to(ALICE);
    assert_eq!(
        (done.code(), done.all("Path")),
        (200, vec!["\"P\" <sip:p1@192.0.2.1;lr>;x=y, <sip:192.0.2.2:5090;lr>", "<sip:192.0.2.3;lr>"])
    );
    let out = pair.pass(ALICE, &invite("sip:carol@example.net")).to("192.0.2.1:5060");
    assert_eq!(out.request_uri(), "sip:carol@192.0.2.200");
    assert_eq!(out.all("Route"), ["<sip:p1@192.0.2.1;lr>, <sip:192.0.2.2:5090;lr>, <sip:192.0.2.3;lr>"]);
    // The next REGISTER has another Path, or none.
    let again = text.clone().without("Path").set("CSeq", "2 REGISTER");
    assert_eq!(pair.pass(ALICE, &again).to(ALICE).find("Path"), None);
    assert_eq!(call(&mut pair, "sip:carol@example.net").find("Route"), None);
}

#[test]
fn rfc_3327_5_3_path_that_is_refused() {
    let mut pair = Pair::new(config());
    let text = register("carol", "<sip:carol@192.0.2.200>").add("Path", "<sip:192.0.2.1;lr>");
    let unasked = pair.pass(ALICE, &text).to(ALICE);
    assert_eq!((unasked.code(), unasked.get("Unsupported")), (420, "path"));
    let text = text.add("Supported", "timer, path");
    for (path, code) in [
        ("<sip:192.0.2.1>", 400),
        ("<sip:10.77.0.2;lr>", 403),
        ("<sip:192.0.2.1;lr>, <sip:example.net;lr>", 403),
        ("<sip:192.0.2.1;lr", 400),
        (&*format!("<sip:{}@192.0.2.1;lr>", "p".repeat(1100)), 400),
        ("<sip:192.0.2.1;lr>", 200),
    ] {
        assert_eq!(pair.pass(ALICE, &text.clone().set("Path", path)).to(ALICE).code(), code, "{path}");
    }
    // A way that we cannot go is none.
    let name = text.set("Path", "<sip:edge.example.com;lr>").set("CSeq", "2 REGISTER");
    assert_eq!(pair.pass(ALICE, &name).to(ALICE).code(), 200);
    assert_eq!(call(&mut pair, "sip:carol@example.net").code(), 500);
}

#[test]
fn rfc_3608_6_3_service_route_in_each_200() {
    let mut config = config();
    config.registrar.service_route = vec!["sip:192.0.2.50;lr".into(), format!("sip:{US};lr")];
    let mut pair = Pair::new(config);
    for contact in ["<sip:a@192.0.2.1>", ""] {
        let done = pair.pass(ALICE, &register("a", contact)).to(ALICE);
        assert_eq!(done.all("Service-Route"), ["<sip:192.0.2.50;lr>", "<sip:10.77.0.2:5060;lr>"]);
    }
    assert_eq!(
        pair.pass(ALICE, &register("a", "<sip:a@192.0.2.1>;expires=1")).to(ALICE).find("Service-Route"),
        None
    );
}

/// Carol's REGISTER for one flow.
fn flow(reg_id: u32, cseq: u32) -> Text {
    home(&format!("<sip:carol@{HOME};ob>;reg-id={reg_id};+sip.instance=\"{INSTANCE}\""), cseq)
        .add("Supported", "path, outbound")
}

#[test]
fn rfc_5626_6_a_binding_is_an_instance_and_its_flow() {
    let mut config = config();
    config.registrar.flow_timer = 120;
    let mut pair = Pair::new(config);
    let done = pair.pass(ROUTER, &flow(1, 1)).to(ROUTER);
    assert_eq!((done.code(), done.get("Require"), done.get("Flow-Timer")), (200, "outbound", "120"));
    let own = format!("<sip:carol@{HOME};ob>;expires=3600;+sip.instance=\"{INSTANCE}\";reg-id=1");
    assert_eq!(done.all("Contact"), [own]);
    // The same flow from another address, with another Contact: it takes the place of the first.
    let moved = flow(1, 2)
        .set("Contact", &format!("<sip:carol@192.168.7.7;ob>;reg-id=1;+sip.instance=\"{INSTANCE}\""));
    let moved_to = "198.51.100.9:1024";
    assert_eq!(pair.pass(moved_to, &moved).to(moved_to).all("Contact").len(), 1);
    assert_eq!(
        pair.pass(ALICE, &invite("sip:carol@example.net")).to(moved_to).request_uri(),
        "sip:carol@192.168.7.7;ob"
    );
    // A second flow beside it: one binding more, and of the two only the newer is called.
    pair.sleep(10);
    assert_eq!(pair.pass(ROUTER, &flow(2, 3)).to(ROUTER).all("Contact").len(), 2);
    let text = pair.pass(ALICE, &invite("sip:carol@example.net")).to(ROUTER);
    assert_eq!(text.request_uri(), format!("sip:carol@{HOME};ob"));
    // Unregistering the second leaves the first.
    let gone = flow(2, 4).add("Expires", "0");
    assert_eq!(pair.pass(ROUTER, &gone).to(ROUTER).all("Contact").len(), 1);
    assert_eq!(pair.pass(ALICE, &invite("sip:carol@example.net")).to(moved_to).method(), "INVITE");
}

/// A flow that an edge proxy has lost is replaced by another of the same phone; each once, and only after 430.
#[test]
fn rfc_5626_7_after_430_the_other_flow_is_tried() {
    const EDGES: [&str; 3] = ["192.0.2.7:5060", "192.0.2.8:5060", "192.0.2.9:5060"];
    let mut pair = Pair::new(config());
    for (n, edge) in (1u32..).zip(EDGES) {
        let host = edge.strip_suffix(":5060").unwrap();
        let text = flow(n, n)
            .set("Via", &format!("SIP/2.0/UDP {edge};branch=z9hG4bK-edge{n}"))
            .add("Via", &format!("SIP/2.0/UDP {HOME};branch=z9hG4bK-{n}"))
            .add("Path", &format!("<sip:token{n}@{host};lr;ob>"));
        assert_eq!(pair.pass(edge, &text).to(edge).code(), 200);
        pair.sleep(10);
    }
    let mut at = pair.pass(ALICE, &invite("sip:carol@example.net")).to(EDGES[2]);
    let mut tried = vec![EDGES[2].to_owned()];
    let last = loop {
        pair.drain();
        let edge = tried.last().unwrap().clone();
        let out = pair.pass(&edge, &at.response(430, "Flow Failed", "e"));
        let sent: Vec<_> = pair.drain().into_iter().filter(|out| out.text().method() != "ACK").collect();
        if let pair::Out::Sent { remote, .. } = out {
            break (remote.to_string(), out.text().code());
        }
        assert_eq!(sent.len(), 1, "one at a time");
        let pair::Out::Sent { remote, .. } = &sent[0] else { panic!() };
        if remote.to_string() == ALICE {
            break (remote.to_string(), sent[0].text().code());
        }
        at = sent[0].text();
        assert_eq!(at.method(), "INVITE");
        assert!(at.get("Route").starts_with("<sip:token"), "{}", at.get("Route"));
        assert_eq!(at.all("Route").len(), 1);
        tried.push(remote.to_string());
    };
    assert_eq!((tried.len(), last), (3, (ALICE.to_owned(), 430)), "{tried:?}");
    assert_eq!(pair.count(Event::FlowReplaced), 2);
    // Any other answer is the phone's.
    let at = pair.pass(ALICE, &invite("sip:carol@example.net")).to(EDGES[2]);
    pair.drain();
    assert_eq!(pair.pass(EDGES[2], &at.response(486, "Busy Here", "c")).to(ALICE).code(), 486);
}

#[test]
fn rfc_5626_6_the_first_hop_has_to_keep_the_flow() {
    let mut pair = Pair::new(config());
    let proxied = flow(1, 1).add("Via", "SIP/2.0/UDP 192.0.2.7;branch=z9hG4bK-x");
    let refused = pair.pass(ROUTER, &proxied).text();
    assert_eq!((refused.code(), refused.reason()), (439, "First Hop Lacks Outbound Support"));
    let no_ob = proxied.clone().add("Path", "<sip:192.0.2.7;lr>");
    assert_eq!(pair.pass(ROUTER, &no_ob).text().code(), 439);
    assert_eq!((pair.location.bindings(), pair.count(Event::Reply439)), (0, 2));
    // Who does not ask for it is registered without: reg-id is ignored.
    let plain = no_ob.clone().set("Supported", "path");
    let done = pair.pass(ROUTER, &plain).text();
    assert_eq!((done.code(), done.find("Require")), (200, None));
    assert!(!done.get("Contact").contains("reg-id"), "{}", done.get("Contact"));
    // With `ob` in the Path it is the proxy's flow.
    let kept = no_ob.set("Path", "<sip:token@192.0.2.7;lr;ob>").set("CSeq", "9 REGISTER");
    let done = pair.pass("192.0.2.7:5060", &kept).text();
    assert_eq!(
        (done.code(), done.get("Require"), done.get("Path")),
        (200, "outbound", "<sip:token@192.0.2.7;lr;ob>")
    );
    let out = pair.pass(ALICE, &invite("sip:carol@example.net")).to("192.0.2.7:5060");
    assert_eq!(out.get("Route"), "<sip:token@192.0.2.7;lr;ob>");
}

#[test]
fn rfc_5626_6_one_flow_in_one_request() {
    let mut pair = Pair::new(config());
    let two = flow(1, 1).add("Contact", "<sip:carol@192.0.2.9>");
    let refused = pair.pass(ROUTER, &two).to(ROUTER);
    assert_eq!((refused.code(), refused.reason()), (400, "reg-id Beside Another Contact"));
    let removed = flow(1, 1).add("Contact", "<sip:carol@192.0.2.9>;expires=0");
    assert_eq!(pair.pass(ROUTER, &removed).to(ROUTER).code(), 200);
    // reg-id without an instance is ignored (section 6).
    let alone = register("dave", &format!("<sip:dave@{BOB}>;reg-id=1")).add("Supported", "outbound");
    let done = pair.pass(ALICE, &alone).to(ALICE);
    assert_eq!(
        (done.code(), done.find("Require"), done.get("Contact")),
        (200, None, &*format!("<sip:dave@{BOB}>;expires=3600"))
    );
    let mut off = config();
    off.registrar.outbound = false;
    let done = Pair::new(off).pass(ROUTER, &flow(1, 1)).to(ROUTER);
    assert_eq!((done.code(), done.find("Require")), (200, None));
}

#[test]
fn contacts_of_several_devices_are_called_best_first() {
    let mut pair = Pair::new(config());
    pair.register("bob", "<sip:bob@192.0.2.1>;q=0.3, <sip:bob@192.0.2.2>;q=0.9, <sip:bob@192.0.2.3>;q=0.5");
    assert_eq!(
        pair.pass(ALICE, &request("OPTIONS", "sip:bob@example.net")).to("192.0.2.2:5060").method(),
        "OPTIONS"
    );
}
