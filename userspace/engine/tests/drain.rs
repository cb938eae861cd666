//! A node that is about to go: nothing new begins, what is under way is finished, and it says when that is so.

mod pair;

use pair::{ALICE, BOB, Out, Pair, Text, config, over, register, request};

fn with_bob() -> Pair {
    let mut pair = Pair::new(config());
    pair.register("bob", &format!("<sip:bob@{BOB}>;expires=7200"));
    pair
}

fn invite() -> Text {
    request("INVITE", "sip:bob@example.net")
}

#[test]
fn a_draining_engine_begins_nothing_new() {
    let mut pair = with_bob();
    let at_bob = pair.pass(ALICE, &request("INVITE", "sip:bob@example.net")).to(BOB);
    let ok = at_bob.response(200, "OK", "b").add("Contact", &format!("<sip:bob@{BOB}>"));
    let ok = pair.pass(BOB, &ok).to(ALICE);
    pair.drain();
    let other = pair.pass(ALICE, &request("INVITE", "sip:bob@example.net").set("CSeq", "2 INVITE")).to(BOB);
    pair.drain();
    assert!(!pair.engine.is_idle(), "a call is being set up");
    pair.engine.drain(pair.now);
    for text in [request("INVITE", "sip:bob@example.net").set("CSeq", "9 INVITE"), register("x", "")] {
        let reply = pair.pass(ALICE, &text).to(ALICE);
        assert_eq!((reply.code(), reply.get("Retry-After")), (503, "60"), "{}", text.start);
    }
    // What belongs to a dialog of ours still passes.
    let bye = request("BYE", &format!("sip:bob@{BOB}"))
        .set("To", "<sip:bob@example.net>;tag=b")
        .add("Route", ok.get("Record-Route"));
    let bye = pair.pass(ALICE, &bye).to(BOB);
    assert_eq!(bye.method(), "BYE");
    pair.drain();
    assert!(!pair.engine.is_idle());
    // What is under way is finished.
    assert_eq!(pair.pass(BOB, &other.response(486, "Busy Here", "b")).to(ALICE).code(), 486);
    assert_eq!(pair.pass(BOB, &bye.response(200, "OK", "")).to(ALICE).code(), 200);
    pair.drain();
    assert!(pair.engine.is_idle());
}

#[test]
fn an_idle_engine_may_go_at_once() {
    let mut pair = with_bob();
    assert!(!pair.engine.is_drained(pair.now), "nobody asked it to");
    pair.engine.drain(pair.now);
    assert!(pair.engine.is_drained(pair.now));
}

/// RFC 3261 section 17.2.1: until its ACK a refusal is repeated, and 64·T1 at most.
#[test]
fn a_refusal_waits_for_its_ack() {
    for acknowledged in [true, false] {
        let mut pair = with_bob();
        let at_bob = pair.pass(ALICE, &invite()).to(BOB);
        pair.drain();
        pair.engine.drain(pair.now);
        let busy = pair.pass(BOB, &at_bob.response(486, "Busy Here", "b")).to(ALICE);
        pair.drain();
        assert!(pair.engine.is_idle() && !pair.engine.is_drained(pair.now));
        pair.pause(10_000);
        assert!(!pair.engine.is_drained(pair.now), "it is still repeated");
        if acknowledged {
            assert_eq!(pair.pass(ALICE, &invite().ack(&busy)), Out::Taken);
            assert!(pair.engine.is_drained(pair.now));
        } else {
            pair.pause(21_000);
            assert!(!pair.engine.is_drained(pair.now));
            pair.pause(1_500);
            assert!(pair.engine.is_drained(pair.now), "64·T1 are over");
        }
        over(pair);
    }
}

/// RFC 6026 section 7.1: a 2xx that was lost comes again from the callee, and passes only where its transaction is known.
#[test]
fn an_answer_may_yet_be_repeated() {
    let mut pair = with_bob();
    let at_bob = pair.pass(ALICE, &invite()).to(BOB);
    pair.drain();
    pair.engine.drain(pair.now);
    let ok = at_bob.response(200, "OK", "b").add("Contact", &format!("<sip:bob@{BOB}>"));
    pair.pass(BOB, &ok).to(ALICE);
    pair.drain();
    pair.pause(1_500);
    assert!(!pair.engine.is_drained(pair.now));
    assert_eq!(pair.pass(BOB, &ok).to(ALICE).code(), 200, "it was lost twice");
    pair.pause(499);
    assert!(!pair.engine.is_drained(pair.now));
    pair.pause(1);
    assert!(pair.engine.is_drained(pair.now));
}

/// Who was told that a call is being ended is not left with half of it.
#[test]
fn a_call_that_is_being_killed_is_ended_at_both_ends() {
    let mut pair = with_bob();
    let at_bob = pair.pass(ALICE, &invite()).to(BOB);
    let ok = at_bob.response(200, "OK", "b").add("Contact", &format!("<sip:bob@{BOB}>"));
    pair.pass(BOB, &ok).to(ALICE);
    pair.drain();
    pair.pause(3_000);
    let (found, _) = pair.engine.dialogs(&strowger_engine::DialogFilter::default(), 0, 9);
    pair.engine.kill(pair.now, found[0].id).unwrap();
    pair.engine.drain(pair.now);
    let byes = pair.drain();
    assert_eq!(byes.len(), 2);
    assert!(!pair.engine.is_drained(pair.now));
    for bye in byes {
        assert_eq!(pair.pass(BOB, &bye.text().response(200, "OK", "")), Out::Taken);
    }
    assert!(pair.engine.is_drained(pair.now));
}
