//! 3xx responses that are followed here (RFC 3261 section 16.7 item 4), and those that are the caller's.

mod pair;

use pair::{ALICE, Out, Pair, Text, config, over, register, request};
use strowger_engine::{Config, Event, Gateway, RouteAction, RouteRule};

const BOB: &str = "10.77.0.21:5060";
const CAROL: &str = "10.77.0.22:5060";
const DESK: &str = "10.77.0.23:5060";

/// Bob, and Carol with two phones.
fn scene(config: Config) -> Pair {
    let mut pair = Pair::new(config);
    pair.register("bob", &format!("<sip:bob@{BOB}>;expires=7200"));
    pair.register("carol", &format!("<sip:carol@{CAROL}>;q=1;expires=7200"));
    pair.register("carol", &format!("<sip:carol@{DESK}>;q=0.5;expires=7200"));
    pair
}

fn following() -> Config {
    Config { follow_redirects: true, ..config() }
}

fn invite() -> Text {
    request("INVITE", "sip:bob@example.net").body("v=0\r\no=- 1 1 IN IP4 10.77.0.11\r\n")
}

fn moved(at: &Text, contacts: &[&str]) -> Text {
    contacts
        .iter()
        .fold(at.response(302, "Moved Temporarily", "b"), |text, contact| text.add("Contact", contact))
}

/// What waits to be sent, but for the 100 and ACKs.
fn waiting(pair: &mut Pair) -> Vec<(String, Text)> {
    let sent = pair.drain().into_iter().map(|out| match out {
        Out::Sent { remote, ref bytes, .. } => (remote.to_string(), Text::parse(bytes)),
        out => panic!("{out:?}"),
    });
    sent.filter(|(_, text)| !text.start.starts_with("SIP/2.0 100") && text.method() != "ACK").collect()
}

#[track_caller]
fn one(pair: &mut Pair) -> (String, Text) {
    let mut all = waiting(pair);
    assert_eq!(all.len(), 1, "{all:#?}");
    all.remove(0)
}

/// Bob sends the call to Carol: her phones are asked by q, and the caller hears nothing of it.
#[test]
fn a_redirection_to_a_user_of_ours_is_followed() {
    let mut pair = scene(following());
    let at_bob = pair.pass(ALICE, &invite()).to(BOB);
    assert_eq!(pair.pass(BOB, &moved(&at_bob, &["<sip:carol@example.net>"])), Out::Taken);
    let (to, at_carol) = one(&mut pair);
    assert_eq!((to.as_str(), at_carol.request_uri()), (CAROL, "sip:carol@10.77.0.22:5060"));
    assert_eq!(at_carol.get("To"), invite().get("To"), "To is the caller's");
    assert_ne!(at_carol.get("Via"), at_bob.get("Via"));
    assert_eq!((at_carol.body.clone(), at_carol.get("Max-Breadth")), (invite().body, "60"));
    // The 302 again: acknowledged, nothing more.
    assert_eq!(pair.pass(BOB, &moved(&at_bob, &["<sip:carol@example.net>"])), Out::Taken);
    assert!(waiting(&mut pair).is_empty());
    assert_eq!(pair.pass(CAROL, &at_carol.response(486, "Busy Here", "c")), Out::Taken);
    let (to, at_desk) = one(&mut pair);
    assert_eq!(to, DESK);
    let ok = at_desk.response(200, "OK", "d").add("Contact", &format!("<sip:carol@{DESK}>"));
    assert_eq!(pair.pass(DESK, &ok).to(ALICE).code(), 200);
    assert_eq!(pair.count(Event::Redirected), 1);
    over(pair);
}

/// When nobody answers well, the best of what the targets said goes upstream, and the 3xx is not among it.
#[test]
fn what_was_followed_is_no_answer() {
    for (code, reason) in [(486, "Busy Here"), (604, "Does Not Exist Anywhere")] {
        let mut pair = scene(following());
        let at_bob = pair.pass(ALICE, &invite()).to(BOB);
        pair.pass(BOB, &moved(&at_bob, &["<sip:carol@example.net>;q=0.3"]));
        let (_, at_carol) = one(&mut pair);
        pair.pass(CAROL, &at_carol.response(code, reason, "c"));
        let mut sent = waiting(&mut pair);
        if code == 486 {
            assert_eq!(sent[0].0, DESK);
            pair.pass(DESK, &sent[0].1.response(480, "Temporarily Unavailable", "d"));
            sent = waiting(&mut pair);
        }
        assert_eq!((sent[0].0.as_str(), sent[0].1.code()), (ALICE, code));
        over(pair);
    }
}

/// RFC 3261 section 16.5: a target is in the set once. Two who send calls to each other do not make a loop of it.
#[test]
fn nobody_is_tried_twice() {
    let mut pair = scene(following());
    let at_bob = pair.pass(ALICE, &invite()).to(BOB);
    pair.pass(BOB, &moved(&at_bob, &["<sip:carol@example.net>"]));
    let (_, at_carol) = one(&mut pair);
    assert_eq!(pair.pass(CAROL, &moved(&at_carol, &["<sip:bob@example.net>"])), Out::Taken);
    let (to, at_desk) = one(&mut pair);
    assert_eq!((to.as_str(), at_desk.method()), (DESK, "INVITE"));
    // Nobody is left: the 3xx that could not be followed is an answer like others.
    let back = moved(&at_desk, &["<sip:carol@example.net>", "<sip:bob@example.net>"]);
    assert_eq!(pair.pass(DESK, &back), Out::Taken);
    let (to, answer) = one(&mut pair);
    assert_eq!((to.as_str(), answer.code()), (ALICE, 302));
    assert_eq!(pair.count(Event::Redirected), 1);
    over(pair);
}

/// Where following might cost the caller, be barred to him, or ask for something else, the 3xx is his.
#[test]
fn other_redirections_are_the_callers() {
    let reject = RouteRule {
        to_prefix: Some("carol".into()),
        from_prefix: Some("alice".into()),
        action: RouteAction::Reject { code: 403, phrase: String::new() },
        ..RouteRule::default()
    };
    let to_gateway = RouteRule {
        to_prefix: Some("00".into()),
        action: RouteAction::Gateway("carrier".into()),
        ..RouteRule::default()
    };
    let ruled = |rules: Vec<RouteRule>| Config {
        gateways: vec![Gateway::new("carrier", &["10.77.0.31:5060".parse().unwrap()])],
        routes: rules,
        ..following()
    };
    for (what, config, contacts) in [
        ("not asked to follow", config(), &["<sip:carol@example.net>"][..]),
        ("an address", following(), &["<sip:carol@10.77.0.22:5060>"]),
        ("another domain", following(), &["<sip:carol@example.com>"]),
        ("a number by a gateway", ruled(vec![to_gateway]), &["<sip:00900123@example.net>"]),
        ("one whom the caller may not call", ruled(vec![reject]), &["<sip:carol@example.net>"]),
        ("one of two", following(), &["<sip:carol@example.net>", "<sip:x@192.0.2.1>"]),
        ("nobody", following(), &["<sip:nobody@example.net>"]),
        ("itself", following(), &["<sip:bob@example.net>"]),
        ("no contact", following(), &[]),
        ("another method", following(), &["<sip:carol@example.net;method=BYE>"]),
        ("more headers", following(), &["<sip:carol@example.net?Replaces=x>"]),
        ("sips", following(), &["<sips:carol@example.net>"]),
        ("a telephone number", following(), &["<tel:+49301>"]),
        ("what cannot be read", following(), &["<sip:carol@example.net>", "<sip:"]),
    ] {
        let mut pair = scene(config);
        let at_bob = pair.pass(ALICE, &invite()).to(BOB);
        waiting(&mut pair);
        let out = pair.pass(BOB, &moved(&at_bob, contacts));
        assert_ne!(out, Out::Taken, "{what}");
        let answer = out.to(ALICE);
        assert_eq!((answer.code(), answer.all("Contact")), (302, contacts.to_vec()), "{what}");
        assert!(waiting(&mut pair).is_empty(), "{what}");
        assert_eq!(pair.count(Event::Redirected), 0, "{what}");
        over(pair);
    }
}

/// After a CANCEL nobody else is called; and the request of a dialog has one target.
#[test]
fn what_is_given_up_or_of_a_dialog_is_not_followed() {
    let mut pair = scene(following());
    let at_bob = pair.pass(ALICE, &invite()).to(BOB);
    pair.pass(BOB, &at_bob.response(180, "Ringing", "b")).to(ALICE);
    pair.pass(ALICE, &invite().cancel()).to(ALICE);
    waiting(&mut pair);
    assert_eq!(pair.pass(BOB, &moved(&at_bob, &["<sip:carol@example.net>"])).to(ALICE).code(), 302);
    assert!(waiting(&mut pair).is_empty());
    over(pair);
    let mut pair = scene(following());
    let again = invite().set("To", "<sip:bob@example.net>;tag=b");
    let at_bob = pair.pass(ALICE, &again).to(BOB);
    assert_eq!(pair.pass(BOB, &moved(&at_bob, &["<sip:carol@example.net>"])).to(ALICE).code(), 302);
    over(pair);
}

/// A chain of users who each send the call on ends with the places there are for targets.
#[test]
fn a_long_chain_ends() {
    let mut pair = Pair::new(following());
    let phone = |n: usize| format!("10.77.1.{n}:5060");
    for n in 1..60 {
        let text = register(&format!("u{n}"), &format!("<sip:u{n}@{}>;expires=7200", phone(n)));
        assert_eq!(pair.pass(ALICE, &text).to(ALICE).code(), 200);
    }
    let invite = request("INVITE", "sip:u1@example.net");
    let mut at = pair.pass(ALICE, &invite).to(&phone(1));
    let mut tried = 1;
    let code = loop {
        let next = format!("<sip:u{}@example.net>", tried + 1);
        pair.pass(&phone(tried), &moved(&at, &[&next]));
        let (to, text) = one(&mut pair);
        if to == ALICE {
            break text.code();
        }
        tried += 1;
        assert_eq!(to, phone(tried));
        at = text;
    };
    assert_eq!((tried, code), (strowger_engine::limit::CONTACTS, 302));
    over(pair);
}
