//! What an operator does with calls: finds them, and ends them (RFC 3261 sections 12.2.1.1 and 15.1.1).

mod calling;
mod pair;

use calling::{Call, called, dialogs, ended, events, invite, steps, transmitted};
use pair::{ALICE, BOB, Text, request};
use strowger_engine::{DialogFilter, DialogState, EndReason, Event, KillError, Reason, Time};

const CAROL: &str = "10.77.0.13:5060";

#[test]
fn an_operator_finds_dialogs() {
    let mut pair = called();
    pair.register("carol", &format!("<sip:carol@{CAROL}>"));
    for n in 0..10 {
        let to = if n % 2 == 0 { "bob" } else { "carol" };
        let text = request("INVITE", &format!("sip:{to}@example.net")).set("Call-ID", &format!("call-{n}"));
        let text = text.set("Via", &format!("SIP/2.0/UDP {ALICE};branch=z9hG4bK{n}"));
        pair.pass(ALICE, &text).to(if n % 2 == 0 { BOB } else { CAROL });
    }
    let find = |filter: DialogFilter, most: usize| {
        let (mut from, mut all, mut rounds) = (Some(0), Vec::new(), 0);
        while let Some(at) = from {
            let (found, next) = pair.engine.dialogs(&filter, at, most);
            assert!(found.len() <= most);
            all.extend(found);
            from = next;
            rounds += 1;
        }
        (all, rounds)
    };
    let carols = DialogFilter { uri: Some(b"CAROL@".to_vec()), ..DialogFilter::default() };
    assert_eq!(find(carols.clone(), 100).0.len(), 5);
    let (some, rounds) = find(carols, 2);
    assert!(some.len() == 5 && rounds >= 3, "{rounds}");
    let one = DialogFilter { call_id: Some(b"call-4".to_vec()), ..DialogFilter::default() };
    let (found, _) = find(one, 100);
    assert_eq!((found.len(), found[0].callee.uri.as_slice()), (1, &b"sip:bob@example.net"[..]));
    let up = DialogFilter { state: Some(DialogState::Confirmed), ..DialogFilter::default() };
    assert!(find(up, 100).0.is_empty());
    assert_eq!(found[0].id.to_string().parse(), Ok(found[0].id));
    assert!(pair.engine.timeout().is_some_and(|at| at > Time::START));
}

/// RFC 3261 section 12.2.1.1: each BYE is what the other end would send: its tags, the next of its CSeq numbers, the
/// route set beyond us, the remote target.
#[test]
fn an_operator_ends_a_call_at_both_ends() {
    let mut pair = called();
    let invite = invite().add("Record-Route", "<sip:10.77.0.31;lr>").set("CSeq", "17 INVITE");
    let at_bob = pair.pass(ALICE, &invite).to(BOB);
    let ok = at_bob
        .response(200, "OK", "bob-tag")
        .push("Record-Route", "<sip:10.77.0.32:5099;lr>, \"x, y\" <sip:10.77.0.33;lr>;p=\"a, b\"")
        .add("Contact", "<sip:bob@10.77.0.44:5099;transport=udp>");
    let id = {
        let ok = pair.pass(BOB, &ok).to(ALICE);
        assert_eq!(ok.code(), 200);
        dialogs(&pair)[0].id
    };
    let view = dialogs(&pair).remove(0);
    assert_eq!(view.callee.routes, b"\"x, y\" <sip:10.77.0.33;lr>;p=\"a, b\", <sip:10.77.0.32:5099;lr>");
    let _ = (events(&mut pair), transmitted(&mut pair));
    assert_eq!(pair.engine.kill(pair.now, id), Ok(()));
    assert_eq!(pair.engine.kill(pair.now, id), Err(KillError::Ending));
    let killed = pair.now;
    let mut sent = transmitted(&mut pair);
    assert_eq!(sent.len(), 2);
    let (to_bob, bye_bob) = sent.remove(1);
    let (to_alice, bye_alice) = sent.remove(0);
    assert_eq!((to_alice.as_str(), to_bob.as_str()), ("10.77.0.31:5060", "10.77.0.33:5060"));
    assert_eq!(bye_bob.start, "BYE sip:bob@10.77.0.44:5099;transport=udp SIP/2.0");
    assert_eq!(bye_bob.get("From"), "<sip:alice@example.net>;tag=alice-tag");
    assert_eq!(bye_bob.get("To"), "<sip:bob@example.net>;tag=bob-tag");
    assert_eq!((bye_bob.get("Call-ID"), bye_bob.get("CSeq")), ("call-1@alice", "18 BYE"));
    assert_eq!(bye_bob.all("Route"), ["\"x, y\" <sip:10.77.0.33;lr>;p=\"a, b\", <sip:10.77.0.32:5099;lr>"]);
    assert_eq!(bye_alice.start, format!("BYE sip:alice@{ALICE} SIP/2.0"));
    assert_eq!(bye_alice.get("From"), "<sip:bob@example.net>;tag=bob-tag");
    assert_eq!((bye_alice.get("CSeq"), bye_alice.all("Route")), ("1 BYE", vec!["<sip:10.77.0.31;lr>"]));
    for bye in [&bye_alice, &bye_bob] {
        assert_eq!((bye.get("Max-Forwards"), bye.all("Via").len(), bye.find("Contact")), ("70", 1, None));
    }
    assert_ne!(bye_alice.param("Via", "branch"), bye_bob.param("Via", "branch"));

    // Timer E: the same request once more, until there is an answer.
    let _ = pair.pass("10.77.0.31:5060", &bye_alice.response(200, "OK", ""));
    assert_eq!(dialogs(&pair)[0].state, DialogState::Ending);
    let again: Vec<Text> = pair.pause(1000).iter().map(|(_, out)| out.to(&to_bob)).collect();
    assert_eq!(again, std::slice::from_ref(&bye_bob));
    // Nobody but who has seen the BYE can answer it, and for his end alone.
    let branch = bye_bob.param("Via", "branch").unwrap().to_owned();
    let mut other = branch.clone();
    other.replace_range(8..9, "1");
    let via = bye_bob.get("Via").to_owned();
    for forged in
        [other, format!("{}0", &branch[..branch.len() - 1]), format!("{}z", &branch[..branch.len() - 1])]
    {
        if forged != branch {
            let forged = bye_bob.response(200, "OK", "").set("Via", &via.replace(&branch, &forged));
            assert_eq!(pair.pass(BOB, &forged).dropped(), Reason::ResponseForged);
        }
    }
    assert!(events(&mut pair).is_empty());
    let _ = pair.pass("10.77.0.33:5060", &bye_bob.response(100, "Trying", ""));
    assert_eq!(dialogs(&pair).len(), 1, "not final");
    // Whatever the answer is, this end has heard.
    let _ = pair.pass("10.77.0.33:5060", &bye_bob.response(481, "Gone", ""));
    let told = events(&mut pair);
    let [last] = &told[..] else { panic!("{told:?}") };
    assert_eq!((last.step, last.at), (ended(EndReason::Killed, 0), killed));
    assert!(dialogs(&pair).is_empty() && !pair.engine.has_transmit());
    assert_eq!(pair.engine.kill(pair.now, id), Err(KillError::Unknown));
    assert_eq!(pair.count(Event::ByeSent), 3);
}

#[test]
fn a_killed_call_is_over_whoever_answers() {
    let mut pair = called();
    Call::up(&mut pair, &[]);
    let id = dialogs(&pair)[0].id;
    let _ = transmitted(&mut pair);
    assert_eq!(pair.engine.kill(pair.now, id), Ok(()));
    let first = transmitted(&mut pair).len();
    let again = pair.pause(40_000);
    let byes = again.iter().filter(|(_, out)| out.text().method() == "BYE").count();
    let sent = first + byes;
    // 0, 0.5, 1.5, 3.5, then every 4 s: eleven times to each end, as Timer E says up to Timer F.
    assert_eq!((sent, steps(&mut pair).pop()), (22, Some(ended(EndReason::Killed, 0))));
    assert!(dialogs(&pair).is_empty() && !pair.engine.has_transmit());
}

/// RFC 3261 section 12.2.1.1: a strict router finds itself in the Request-URI.
#[test]
fn a_killed_call_with_a_strict_router() {
    let mut pair = called();
    let at_bob = pair.pass(ALICE, &invite()).to(BOB);
    let ok = at_bob.response(200, "OK", "b").push("Record-Route", "<sip:10.77.0.33:5071>");
    let ok = ok.push("Record-Route", "<sip:10.77.0.34;lr>").add("Contact", &format!("<sip:bob@{BOB}>"));
    pair.pass(BOB, &ok).to(ALICE);
    let _ = transmitted(&mut pair);
    let id = dialogs(&pair)[0].id;
    assert_eq!(pair.engine.kill(pair.now, id), Ok(()));
    let (to, bye) = transmitted(&mut pair).remove(1);
    assert_eq!((to.as_str(), bye.request_uri()), ("10.77.0.33:5071", "sip:10.77.0.33:5071"));
    assert_eq!(bye.all("Route"), ["<sip:10.77.0.34;lr>", &format!("<sip:bob@{BOB}>")]);
}

#[test]
fn what_cannot_be_ended_says_why() {
    let mut pair = called();
    pair.pass(ALICE, &invite()).to(BOB);
    let id = dialogs(&pair)[0].id;
    assert_eq!(pair.engine.kill(pair.now, id), Err(KillError::NotAnswered));
    assert_eq!(pair.engine.kill(pair.now, "ffff-0".parse().unwrap()), Err(KillError::Unknown));
    // More than can be under way at once.
    let mut pair = called();
    for n in 0..65 {
        let text = invite().set("Call-ID", &format!("call-{n}"));
        let at_bob =
            pair.pass(ALICE, &text.set("Via", &format!("SIP/2.0/UDP {ALICE};branch=z9hG4bK{n}"))).to(BOB);
        let ok = at_bob.response(200, "OK", "b").add("Contact", &format!("<sip:bob@{BOB}>"));
        pair.pass(BOB, &ok).to(ALICE);
    }
    let killed: Vec<_> = dialogs(&pair).iter().map(|d| pair.engine.kill(pair.now, d.id)).collect();
    assert_eq!(killed.iter().filter(|k| **k == Err(KillError::Busy)).count(), 1);
    pair.sleep(40);
    assert_eq!(dialogs(&pair).len(), 1);
}
