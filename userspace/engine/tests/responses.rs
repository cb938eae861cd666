//! Responses that are believed and those that are not (RFC 3261 sections 16.11 and 18.2.2).

mod pair;

use pair::{ALICE, BOB, Pair, Text, US, config, request, stateless};
use strowger_engine::{Config, Event, Reason};

fn called(config: Config) -> (Pair, Text) {
    let mut pair = Pair::new(config);
    pair.register("bob", &format!("<sip:bob@{BOB}>"));
    let at_bob = pair.pass(ALICE, &request("INVITE", "sip:bob@example.net")).to(BOB);
    (pair, at_bob)
}

/// The response with its Via lines replaced.
fn with_vias(response: &Text, vias: &[String]) -> Text {
    let headers = vias.iter().map(|v| ("Via".to_owned(), v.clone()));
    let rest = response.headers.iter().filter(|(n, _)| n != "Via").cloned();
    Text { headers: headers.chain(rest).collect(), ..response.clone() }
}

#[test]
fn only_the_response_to_what_we_sent_goes_through() {
    believed(called(config()));
    believed(called(stateless()));
}

fn believed((mut pair, at_bob): (Pair, Text)) {
    let ok = at_bob.response(200, "OK", "b");
    let (ours, next) = (ok.all("Via")[0].to_owned(), ok.all("Via")[1].to_owned());
    let branch = at_bob.param("Via", "branch").expect("ours").to_owned();
    let swap = |from: char, to: char| -> String {
        let at = branch.rfind(from).unwrap_or(20);
        let mut text = branch.clone();
        text.replace_range(at..=at, &to.to_string());
        text
    };
    let last = branch.chars().last().expect("not empty");
    let forged = swap(last, if last == '0' { '1' } else { '0' });
    let vias = |a: &str, b: &str| with_vias(&ok, &[a.to_owned(), b.to_owned()]);
    for (what, text, reason) in [
        ("a branch of his own", vias(&ours.replace(&branch, "z9hG4bKxyz"), &next), Reason::ResponseForged),
        ("a branch changed", vias(&ours.replace(&branch, &forged), &next), Reason::ResponseForged),
        ("no branch", vias(&format!("SIP/2.0/UDP {US}"), &next), Reason::ResponseForged),
        ("another call", ok.clone().set("Call-ID", "call-2@alice"), Reason::ResponseForged),
        ("another CSeq", ok.clone().set("CSeq", "2 INVITE"), Reason::ResponseForged),
        ("to somebody else", vias(&ours, &next.replace(ALICE, "203.0.113.9")), Reason::ResponseForged),
        ("to another port", vias(&ours, &next.replace("5060", "5061")), Reason::ResponseForged),
        ("received of his own", vias(&ours, &format!("{next};received=203.0.113.9")), Reason::ResponseForged),
        ("another sent-by", vias(&ours.replace(US, "10.77.0.3:5060"), &next), Reason::ResponseNotOurs),
        ("another port", vias(&ours.replace(US, "10.77.0.2:5061"), &next), Reason::ResponseNotOurs),
        ("a name for us", vias(&ours.replace(US, "example.net"), &next), Reason::ResponseNotOurs),
        ("no second Via", with_vias(&ok, std::slice::from_ref(&ours)), Reason::ResponseNoNextVia),
        ("no Via", with_vias(&ok, &[]), Reason::ResponseMalformed),
        ("a broken second Via", vias(&ours, "SIP/2.0/UDP"), Reason::ResponseMalformed),
        (
            "a second Via by name",
            vias(&ours, "SIP/2.0/UDP pc.example.com;branch=z9hG4bK1"),
            Reason::ResponseMalformed,
        ),
        ("to a group", vias(&ours, "SIP/2.0/UDP 224.0.0.1;branch=z9hG4bK1"), Reason::ResponseMalformed),
        ("no Call-ID", ok.clone().without("Call-ID"), Reason::ResponseMalformed),
        ("no CSeq", ok.clone().without("CSeq"), Reason::ResponseMalformed),
    ] {
        let before = pair.count(reason.event());
        assert_eq!(pair.pass(BOB, &text).dropped(), reason, "{what}");
        assert_eq!(pair.count(reason.event()), before + 1);
    }
    assert_eq!(pair.count(Event::ResponseForwarded), 0);
    assert_eq!(pair.pass(BOB, &ok).to(ALICE).code(), 200);
    // From wherever it comes: a multi-homed phone answers from its other address.
    assert_eq!(pair.pass("192.0.2.200:9", &ok).to(ALICE).code(), 200);
    // Tokens are compared without case.
    let upper = vias(&ours.replace(&branch, &branch.to_uppercase()), &next);
    assert_eq!(pair.pass(BOB, &upper).to(ALICE).code(), 200);
    let mut other = Pair::new(Config { secret: [3; 32], ..config() });
    assert_eq!(other.pass(BOB, &ok).dropped(), Reason::ResponseForged);
}

#[test]
fn every_class_is_forwarded_and_counted() {
    let (mut pair, at_bob) = called(stateless());
    for code in [100, 183, 200, 302, 407, 503, 603, 699] {
        assert_eq!(pair.pass(BOB, &at_bob.response(code, "Whatever", "b")).to(ALICE).code(), code);
    }
    for (event, n) in [
        (Event::Response1xx, 2),
        (Event::Response2xx, 1),
        (Event::Response3xx, 1),
        (Event::Response4xx, 1),
        (Event::Response5xx, 1),
        (Event::Response6xx, 2),
        (Event::ResponseForwarded, 8),
        (Event::CallAnswered, 1),
    ] {
        assert_eq!(pair.count(event), n, "{}", event.name());
    }
}

#[test]
fn only_our_via_is_taken_away() {
    let (mut pair, at_bob) = called(config());
    let mut ok = at_bob.response(200, "OK", "b").body("v=0\r\n").add("X-Other", "kept, as it is");
    // Both Vias in one line, as some element on the way may write them.
    let both = ok.all("Via").join(" ,\r\n ");
    ok = with_vias(&ok, &[both]);
    let sent = pair.pass(BOB, &ok).to(ALICE);
    assert_eq!(sent.all("Via"), [at_bob.all("Via")[1]]);
    assert_eq!((sent.get("X-Other"), sent.body.as_str()), ("kept, as it is", "v=0\r\n"));
    assert_eq!(sent.get("To"), ok.get("To"));
}

/// What one engine sent is answered after it is gone, through the next one: for 64·T1, and nobody else's (RFC 3261
/// section 16.7 item 1; RFC 6026 section 7.3 for the rest).
#[test]
fn a_call_that_rings_is_answered_through_the_engine_that_comes_after() {
    let (mut before, at_bob) = called(config());
    let ok = at_bob.response(200, "OK", "b");

    let mut alone = Pair::new(config());
    assert_eq!(alone.pass(BOB, &ok).dropped(), Reason::ResponseStray, "nobody said that others were there");

    let mut after = Pair::new(config());
    after.now = before.now;
    after.sleep(2);
    after.engine.succeed(after.now);
    // Its own first transaction takes the place that the other's had.
    after.register("bob", &format!("<sip:bob@{BOB}>"));
    let mine = after.pass(ALICE, &request("INVITE", "sip:bob@example.net").set("Call-ID", "call-9@alice"));
    let mine = mine.to(BOB).response(200, "OK", "b9");
    assert_eq!(after.pass(BOB, &ok).to(ALICE).get("Call-ID"), ok.get("Call-ID"), "the call of before");
    assert_eq!(after.count(Event::ResponseInherited), 1);
    assert_eq!(after.pass(BOB, &mine).to(ALICE).get("Call-ID"), "call-9@alice", "its own");
    assert_eq!(after.count(Event::ResponseInherited), 1);
    let forged = ok.clone().set("CSeq", "2 INVITE");
    assert_eq!(after.pass(BOB, &forged).dropped(), Reason::ResponseForged);
    after.sleep(32);
    assert_eq!(after.pass(BOB, &ok).dropped(), Reason::ResponseStray, "64 · T1 are over");

    assert_eq!(before.pass(BOB, &ok).to(ALICE).code(), 200, "and the one before would have taken it");
}

#[test]
fn a_stand_in_sends_on_what_answers_a_stuck_worker_and_the_worker_what_answers_the_stand_in() {
    let (mut worker, at_bob) = called(config());
    let others = std::sync::Arc::new(stateless());
    let location = std::sync::Arc::clone(&worker.location);
    let engine =
        strowger_engine::Engine::for_worker(others, std::sync::Arc::clone(&location), 4).expect("fits");
    let mut other = Pair { engine, location, now: worker.now };
    let ok = at_bob.response(200, "OK", "b");
    assert_eq!(other.pass(BOB, &ok).dropped(), Reason::ResponseStray);
    other.engine.stand_in();
    assert_eq!(other.pass(BOB, &ok).to(ALICE).code(), 200);
    assert_eq!(other.count(Event::ResponseInherited), 1);

    let second = request("INVITE", "sip:bob@example.net").set("Call-ID", "call-2@alice");
    let second = other.pass(ALICE, &second).to(BOB).response(180, "Ringing", "b");
    assert_eq!(worker.pass(BOB, &second).to(ALICE).code(), 180, "no transaction is asked for");
}
