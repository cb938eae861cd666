//! The calls that an engine sees: what it tells of them, how they end, how many there may be (RFC 3261 sections 12 to
//! 15, RFC 4028).

mod calling;
mod pair;

use calling::{Call, called, dialogs, ended, events, exchange, invite, steps, transmitted};
use pair::{ALICE, BOB, Out, Pair, Text, config, request};
use strowger_engine::{CallStep, Calls, Config, DialogId, DialogState, EndReason, Event, Party};

#[test]
fn a_call_tells_its_story() {
    let mut pair = called();
    let begun = pair.now;
    let at_bob = pair.pass(ALICE, &invite()).to(BOB);
    pair.sleep(2);
    let ringing = at_bob.response(180, "Ringing", "bob-tag");
    pair.pass(BOB, &ringing).to(ALICE);
    pair.pass(BOB, &ringing).to(ALICE);
    pair.sleep(5);
    let ok = at_bob
        .response(200, "OK", "bob-tag")
        .add("Contact", &format!("<sip:bob@{BOB};ob>"))
        .add("Content-Type", "application/sdp")
        .body("v=0\r\nc=IN IP4 10.77.0.12\r\nm=audio 4000 RTP/AVP 8 0\r\n");
    let at_alice = pair.pass(BOB, &ok).to(ALICE);
    let answered = pair.now;
    // The 200 is sent again until the ACK is there.
    pair.pass(BOB, &ok).to(ALICE);
    let call = Call { at_bob, ok: at_alice };
    pair.pass(ALICE, &call.alices("ACK", 1)).to(BOB);
    pair.sleep(60);
    let [view] = &dialogs(&pair)[..] else { panic!("{:?}", dialogs(&pair)) };
    assert_eq!((view.state, view.begun, view.answered), (DialogState::Confirmed, begun, Some(answered)));
    assert_eq!((view.caller.cseq, view.callee.cseq), (1, 0));
    assert_eq!(view.callee.target, format!("sip:bob@{BOB};ob").into_bytes());
    assert_eq!(view.caller.remote.map(|a| a.to_string()).as_deref(), Some(ALICE));
    let id = view.id;
    let hung_up = pair.now;
    let bye = pair.pass(BOB, &call.bobs("BYE", 7)).to(ALICE);
    pair.sleep(1);
    pair.pass(ALICE, &bye.response(200, "OK", "")).to(BOB);

    let told = events(&mut pair);
    let expected = [
        CallStep::Begun,
        CallStep::Ringing(180),
        CallStep::Answered(200),
        ended(EndReason::Bye(Party::Callee), 200),
    ];
    assert_eq!(told.iter().map(|e| e.step).collect::<Vec<_>>(), expected);
    for event in &told {
        assert_eq!((event.id, event.call, event.begun, event.lost), (id, id, begun, 0));
        assert_eq!(event.call_id(), b"call-1@alice");
        assert_eq!(event.caller_tag(), b"alice-tag");
        assert_eq!(
            (event.caller_uri(), event.callee_uri()),
            (&b"sip:alice@example.net"[..], &b"sip:bob@example.net"[..])
        );
        assert_eq!(event.request_uri(), b"sip:bob@example.net");
        assert_eq!(event.caller_contact(), format!("sip:alice@{ALICE}").as_bytes());
        assert!(!event.truncated);
    }
    assert_eq!((told[0].callee_tag(), told[0].callee), (&b""[..], None));
    let last = &told[3];
    assert_eq!((last.at, last.answered), (hung_up, Some(answered)), "the call ended with the BYE");
    assert_eq!(last.ringing, Some(begun.after(std::time::Duration::from_secs(2))));
    assert_eq!(last.callee_contact(), format!("sip:bob@{BOB};ob").as_bytes());
    assert_eq!(last.callee.map(|a| a.to_string()).as_deref(), Some(BOB));
    let [media] = told[2].media() else { panic!("{:?}", told[2].media()) };
    assert_eq!((media.kind(), media.codec(), media.port), (&b"audio"[..], &b"PCMA"[..], 4000));
    assert!(dialogs(&pair).is_empty());
}

#[test]
fn a_call_that_is_not_answered() {
    for (what, cancel, code, expected) in [
        ("busy", false, 486, ended(EndReason::Refused, 486)),
        ("wants credentials", false, 407, ended(EndReason::Refused, 407)),
        ("declined everywhere", false, 603, ended(EndReason::Refused, 603)),
        ("elsewhere", false, 302, ended(EndReason::Refused, 302)),
        ("given up", true, 487, ended(EndReason::Canceled, 487)),
        ("given up too late", true, 486, ended(EndReason::Refused, 486)),
        ("487 of the callee's own", false, 487, ended(EndReason::Refused, 487)),
        ("timed out downstream", false, 408, ended(EndReason::NoAnswer, 408)),
    ] {
        let mut pair = called();
        let at_bob = pair.pass(ALICE, &invite()).to(BOB);
        pair.pass(BOB, &at_bob.response(180, "Ringing", "b")).to(ALICE);
        if cancel {
            let _ = pair.pass(ALICE, &invite().cancel());
        }
        let _ = pair.pass(BOB, &at_bob.response(code, "Whatever", "b"));
        assert_eq!(steps(&mut pair), [CallStep::Begun, CallStep::Ringing(180), expected], "{what}");
        assert!(dialogs(&pair).is_empty(), "{what}");
    }
}

#[test]
fn silence_ends_a_call_that_was_never_answered() {
    let mut pair = called();
    pair.pass(ALICE, &invite()).to(BOB);
    pair.sleep(1000);
    let told = steps(&mut pair);
    assert_eq!(told.len(), 2, "{told:?}");
    assert!(matches!(told[1], CallStep::Ended { reason: EndReason::NoAnswer, .. }), "{told:?}");
    assert!(dialogs(&pair).is_empty());
}

#[test]
fn what_ends_a_call_that_is_up() {
    // RFC 3261 section 15.1.1: a BYE that gets 481, 408 or nothing ends the dialog too; any other refusal does not.
    for (from_alice, code, over) in [
        (true, 200, true),
        (false, 200, true),
        (true, 481, true),
        (true, 408, true),
        (true, 407, false),
        (true, 500, false),
    ] {
        let mut pair = called();
        let call = Call::up(&mut pair, &[]);
        let (text, from, to) =
            if from_alice { (call.alices("BYE", 2), ALICE, BOB) } else { (call.bobs("BYE", 2), BOB, ALICE) };
        exchange(&mut pair, &text, from, to, code, "");
        let by = if from_alice { Party::Caller } else { Party::Callee };
        let last = steps(&mut pair).pop().unwrap();
        if over {
            assert_eq!(last, ended(EndReason::Bye(by), code));
            continue;
        }
        assert_eq!(last, CallStep::Answered(200), "{code}");
        assert_eq!(dialogs(&pair)[0].state, DialogState::Confirmed);
        // With credentials now.
        exchange(&mut pair, &call.alices("BYE", 3), ALICE, BOB, 200, "");
        assert_eq!(steps(&mut pair), [ended(EndReason::Bye(Party::Caller), 200)]);
    }
    let mut pair = called();
    let call = Call::up(&mut pair, &[]);
    let hung_up = pair.now;
    let _ = pair.pass(ALICE, &call.alices("BYE", 2));
    assert_eq!(dialogs(&pair)[0].state, DialogState::Ending);
    pair.sleep(40);
    let last = events(&mut pair).pop().unwrap();
    assert!(matches!(last.step, CallStep::Ended { reason: EndReason::Bye(Party::Caller), .. }), "{last:?}");
    assert_eq!(last.at, hung_up);
}

#[test]
fn a_session_timer_is_watched() {
    let mut pair = called();
    let call = Call::up(&mut pair, &[("Session-Expires", "1800;refresher=uac")]);
    let view = dialogs(&pair).remove(0);
    assert_eq!(view.session, Some((1800, Party::Caller)));
    // RFC 4028 section 8.2: every refresh sets it anew. Bob's UPDATE, which Alice is to repeat.
    pair.sleep(1700);
    let update = call.bobs("UPDATE", 1);
    let there = pair.pass(BOB, &update).to(ALICE);
    let done = there.response(200, "OK", "").add("Session-Expires", "600;refresher=uas");
    pair.pass(ALICE, &done).to(BOB);
    assert_eq!(dialogs(&pair)[0].session, Some((600, Party::Caller)));
    pair.sleep(599);
    assert_eq!(steps(&mut pair), [CallStep::Begun, CallStep::Answered(200)]);
    pair.sleep(2);
    assert_eq!(steps(&mut pair), [ended(EndReason::SessionExpired, 0)]);
    assert!(dialogs(&pair).is_empty());

    // A refresh whose 2xx has no Session-Expires ends the timer.
    let mut pair = called();
    let call = Call::up(&mut pair, &[("Session-Expires", "90;refresher=uas")]);
    exchange(&mut pair, &call.alices("UPDATE", 2), ALICE, BOB, 200, "");
    assert_eq!(dialogs(&pair)[0].session, None);
    pair.sleep(10_000);
    assert_eq!(dialogs(&pair).len(), 1);
    // But nothing lasts for ever.
    pair.sleep(40_000);
    assert_eq!(steps(&mut pair).pop(), Some(ended(EndReason::TooLong, 0)));
}

#[test]
fn a_call_that_goes_on_past_us() {
    let mut pair = Pair::new(Config { record_route: false, ..config() });
    pair.register("bob", &format!("<sip:bob@{BOB}>"));
    let at_bob = pair.pass(ALICE, &invite()).to(BOB);
    pair.pass(BOB, &at_bob.response(200, "OK", "b").add("Contact", &format!("<sip:bob@{BOB}>"))).to(ALICE);
    let expected = [CallStep::Begun, CallStep::Answered(200), ended(EndReason::OffPath, 200)];
    assert_eq!(steps(&mut pair), expected);
    assert!(dialogs(&pair).is_empty());
}

/// RFC 3261 section 13.2.2.4: each 2xx with another To tag is a dialog of its own; the early ones that get none are
/// over 64*T1 after the first.
#[test]
fn a_fork_is_as_many_dialogs_as_are_answered() {
    let mut pair = called();
    let at_bob = pair.pass(ALICE, &invite()).to(BOB);
    let contact = |user: &str| format!("<sip:{user}@{BOB}>");
    for tag in ["one", "two", "three"] {
        pair.pass(BOB, &at_bob.response(180, "Ringing", tag)).to(ALICE);
    }
    assert_eq!(dialogs(&pair).iter().filter(|d| d.state == DialogState::Early).count(), 3);
    let [_, fourth] = ["two", "four"]
        .map(|tag| pair.pass(BOB, &at_bob.response(200, "OK", tag).add("Contact", &contact(tag))).to(ALICE));
    let told = events(&mut pair);
    let tags: Vec<_> =
        told.iter().map(|e| (e.step, String::from_utf8(e.callee_tag().to_vec()).unwrap())).collect();
    let expected = [
        (CallStep::Begun, ""),
        (CallStep::Ringing(180), "one"),
        (CallStep::Ringing(180), "two"),
        (CallStep::Ringing(180), "three"),
        (CallStep::Answered(200), "two"),
        (CallStep::Answered(200), "four"),
    ];
    assert_eq!(tags, expected.map(|(step, tag)| (step, tag.to_owned())));
    assert!(told.iter().all(|e| e.call == told[0].id), "all are of one call");
    let ids: std::collections::HashSet<DialogId> = told.iter().map(|e| e.id).collect();
    assert_eq!(ids.len(), 4);
    pair.sleep(31);
    assert_eq!((events(&mut pair).len(), dialogs(&pair).len()), (0, 4));
    pair.sleep(3);
    assert_eq!(steps(&mut pair), [ended(EndReason::Forked, 0); 2]);
    let mut up: Vec<_> = dialogs(&pair).into_iter().map(|d| (d.state, d.callee.tag)).collect();
    up.sort_by(|a, b| a.1.cmp(&b.1));
    assert_eq!(up, ["four", "two"].map(|tag| (DialogState::Confirmed, tag.into())));
    // Alice hangs up on one of them; the other goes on.
    let bye = request("BYE", &format!("sip:four@{BOB}"))
        .set("To", "<sip:bob@example.net>;tag=four")
        .set("CSeq", "2 BYE");
    exchange(&mut pair, &bye.add("Route", fourth.get("Record-Route")), ALICE, BOB, 200, "");
    assert_eq!(steps(&mut pair), [ended(EndReason::Bye(Party::Caller), 200)]);
    assert_eq!(dialogs(&pair)[0].callee.tag, b"two");
}

#[test]
fn a_fork_that_nobody_answers_ends_as_one() {
    let mut pair = called();
    let at_bob = pair.pass(ALICE, &invite()).to(BOB);
    for tag in ["one", "two"] {
        pair.pass(BOB, &at_bob.response(183, "Session Progress", tag)).to(ALICE);
    }
    let _ = pair.pass(BOB, &at_bob.response(480, "Gone", "one"));
    let told = steps(&mut pair);
    assert_eq!(told[3..], [ended(EndReason::Refused, 480); 2]);
    assert!(dialogs(&pair).is_empty());
}

#[test]
fn one_invite_makes_no_more_dialogs_than_a_fork_has_targets() {
    let mut pair = called();
    let at_bob = pair.pass(ALICE, &invite()).to(BOB);
    for n in 0..50 {
        pair.pass(BOB, &at_bob.response(183, "Session Progress", &format!("tag{n}"))).to(ALICE);
    }
    assert_eq!((dialogs(&pair).len(), pair.count(Event::DialogForkLimit)), (32, 18));
}

/// Sections 12.2.1.2 and 14: a target changes with a 2xx and with nothing else. The end that has moved is reached where
/// it is now, with the token that the other end has had from the beginning.
#[test]
fn an_end_that_moves_is_reached_where_it_is() {
    let moved = "10.77.0.99:5066";
    let mut pair = called();
    let call = Call::up(&mut pair, &[]);
    let to_moved = |cseq| call.alices("INFO", cseq).uri(&format!("sip:bob@{moved}"));
    assert_eq!(pair.pass(ALICE, &to_moved(2)).to(ALICE).code(), 403, "not there yet");
    let re_invite = |cseq| call.bobs("INVITE", cseq).set("Contact", &format!("<sip:bob@{moved}>"));

    // Refused (glare, for one): it stays as it was.
    let there = pair.pass(BOB, &re_invite(1)).to(ALICE);
    let _ = pair.pass(ALICE, &there.response(491, "Request Pending", ""));
    assert_eq!(pair.pass(ALICE, &to_moved(3)).to(ALICE).code(), 403, "refused");
    assert_eq!(dialogs(&pair)[0].callee.target, format!("sip:bob@{BOB}").into_bytes());

    // Accepted: a reliable provisional response may have told Alice before, so it is open since the request.
    let there = pair.pass(BOB, &re_invite(2)).to(ALICE);
    pair.pass(ALICE, &to_moved(4)).to(moved);
    pair.pass(ALICE, &there.response(200, "OK", "").add("Contact", &format!("<sip:alice@{ALICE}>"))).to(BOB);
    assert_eq!(dialogs(&pair)[0].callee.target, format!("sip:bob@{moved}").into_bytes());
    pair.pass(ALICE, &to_moved(5)).to(moved);
    assert_eq!(pair.count(Event::DialogMoved), 2);

    // It proves nothing about anywhere else, and nothing for anybody without the token.
    for (what, text) in [
        ("elsewhere", to_moved(6).uri("sip:bob@10.77.0.98:5066")),
        ("another port", to_moved(6).uri("sip:bob@10.77.0.99:5067")),
        ("by another hop", to_moved(6).add("Route", "<sip:10.77.0.98;lr>")),
        ("the other end's token", to_moved(6).set("Route", call.at_bob.get("Record-Route"))),
        ("a token of our own make", to_moved(6).set("Route", "<sip:10.77.0.2:5060;lr;dlg=0123456789abc>")),
        ("another dialog", to_moved(6).set("To", "<sip:bob@example.net>;tag=other")),
        ("another call", to_moved(6).set("Call-ID", "other")),
    ] {
        assert_eq!(pair.pass(ALICE, &text).to(ALICE).code(), 403, "{what}");
    }
    // Alice moves by an UPDATE of hers, and Bob, who still has his first token, finds her; and he moves back in the 200.
    let update = call.alices("UPDATE", 7).uri(&format!("sip:bob@{moved}"));
    let update = update.set("Contact", "<sip:alice@10.77.0.98>");
    exchange(&mut pair, &update, ALICE, moved, 200, &format!("<sip:bob@{BOB}>"));
    let bye = call.bobs("BYE", 3).uri("sip:alice@10.77.0.98");
    pair.pass(BOB, &bye).to("10.77.0.98:5060");
    assert_eq!(dialogs(&pair)[0].callee.target, format!("sip:bob@{BOB}").into_bytes());
}

#[test]
fn glare_leaves_both_ends_where_they_are() {
    let mut pair = called();
    let call = Call::up(&mut pair, &[]);
    let from_alice = call.alices("INVITE", 2).set("Contact", "<sip:alice@10.77.0.98>");
    let from_bob = call.bobs("INVITE", 1).set("Contact", "<sip:bob@10.77.0.99>");
    let at_bob = pair.pass(ALICE, &from_alice).to(BOB);
    let at_alice = pair.pass(BOB, &from_bob).to(ALICE);
    let _ = pair.pass(BOB, &at_bob.response(491, "Request Pending", ""));
    let _ = pair.pass(ALICE, &at_alice.response(491, "Request Pending", ""));
    let view = dialogs(&pair).remove(0);
    assert_eq!(view.state, DialogState::Confirmed);
    assert_eq!(
        (view.caller.target, view.callee.target),
        (format!("sip:alice@{ALICE}").into_bytes(), format!("sip:bob@{BOB}").into_bytes(),)
    );
    assert_eq!((view.caller.cseq, view.callee.cseq), (2, 1));
    assert_eq!(steps(&mut pair), [CallStep::Begun, CallStep::Answered(200)]);
}

#[test]
fn a_full_table_refuses_new_calls_and_nothing_else() {
    let calls = Calls { max_dialogs: 2, ..Calls::default() };
    let mut pair = Pair::new(Config { calls, ..config() });
    pair.register("bob", &format!("<sip:bob@{BOB}>"));
    let call = Call::up(&mut pair, &[]);
    let nth = |n: u32| {
        invite()
            .set("Call-ID", &format!("call-{n}"))
            .set("Via", &format!("SIP/2.0/UDP {ALICE};branch=z9hG4bK{n}"))
    };
    let second = pair.pass(ALICE, &nth(2)).to(BOB);
    let reply = pair.pass(ALICE, &nth(3)).to(ALICE);
    assert_eq!((reply.code(), reply.get("Retry-After")), (503, "60"));
    assert_eq!(pair.count(Event::DialogLimit), 1);
    // What is there goes on; what is no call, too.
    pair.pass(BOB, &second.response(200, "OK", "b").add("Contact", &format!("<sip:bob@{BOB}>"))).to(ALICE);
    pair.pass(ALICE, &request("MESSAGE", "sip:bob@example.net")).to(BOB);
    exchange(&mut pair, &call.alices("INVITE", 2), ALICE, BOB, 200, "");
    exchange(&mut pair, &call.bobs("BYE", 1), BOB, ALICE, 200, "");
    assert_eq!(dialogs(&pair).len(), 1);
    pair.pass(ALICE, &nth(4)).to(BOB);
}

#[test]
fn calls_with_endless_names_go_through_unwatched() {
    let mut pair = called();
    let uri = format!("sip:bob@example.net;x={}", "y".repeat(1500));
    let long = invite().set("To", &format!("<{uri}>")).set("Contact", &format!("<{uri}>"));
    let long = long.set("From", &format!("<{uri}>;tag=1"));
    let at_bob = pair.pass(ALICE, &long).to(BOB);
    pair.pass(BOB, &at_bob.response(200, "OK", "b")).to(ALICE);
    assert_eq!((pair.count(Event::DialogTooLarge), dialogs(&pair).len()), (1, 0));
    assert!(events(&mut pair).is_empty());
    // Event texts are shorter than the table's.
    let uri = format!("sip:bob@example.net;x={}", "y".repeat(600));
    let long = invite().set("To", &format!("<{uri}>")).set("From", &format!("<{uri}>;tag=2"));
    let at_bob =
        pair.pass(ALICE, &long.set("Via", &format!("SIP/2.0/UDP {ALICE};branch=z9hG4bK-long"))).to(BOB);
    let _ = pair.pass(BOB, &at_bob.response(486, "Busy", "b"));
    let told = events(&mut pair);
    assert!(
        told.len() == 2 && told.iter().all(|e| e.truncated && e.caller_uri() == uri.as_bytes()),
        "{told:?}"
    );
}

#[test]
fn events_that_nobody_takes_are_counted() {
    let calls = Calls { max_events: 3, ..Calls::default() };
    let mut pair = Pair::new(Config { calls, ..config() });
    pair.register("bob", &format!("<sip:bob@{BOB}>"));
    let call = Call::up(&mut pair, &[]);
    exchange(&mut pair, &call.alices("BYE", 2), ALICE, BOB, 200, "");
    for n in 0..4 {
        pair.pass(
            ALICE,
            &invite()
                .set("Call-ID", &format!("{n}"))
                .set("Via", &format!("SIP/2.0/UDP {ALICE};branch=z9hG4bK{n}")),
        )
        .to(BOB);
    }
    assert_eq!(pair.count(Event::CallEventLost), 4);
    assert_eq!(steps(&mut pair).len(), 3);
    pair.pass(
        ALICE,
        &invite().set("Call-ID", "last").set("Via", &format!("SIP/2.0/UDP {ALICE};branch=z9hG4bKlast")),
    )
    .to(BOB);
    let told = events(&mut pair);
    assert_eq!(told.iter().map(|e| e.lost).collect::<Vec<_>>(), [4]);
}

#[test]
fn where_nobody_asks_for_events_none_are_made() {
    let calls = Calls { max_events: 0, ..Calls::default() };
    let mut pair = Pair::new(Config { calls, ..config() });
    pair.register("bob", &format!("<sip:bob@{BOB}>"));
    Call::up(&mut pair, &[]);
    assert_eq!((events(&mut pair).len(), pair.count(Event::CallEventLost)), (0, 0));
    assert_eq!(dialogs(&pair).len(), 1, "watched all the same");
}

#[test]
fn nobody_watches_with_a_table_of_no_size() {
    let calls = Calls { max_dialogs: 0, ..Calls::default() };
    let mut pair = Pair::new(Config { calls, ..config() });
    pair.register("bob", &format!("<sip:bob@{BOB}>"));
    let call = Call::up(&mut pair, &[]);
    exchange(&mut pair, &call.alices("BYE", 2), ALICE, BOB, 200, "");
    assert_eq!((events(&mut pair).len(), pair.count(Event::DialogLimit)), (0, 0));
}

#[test]
fn the_same_invite_once_more_is_the_same_call() {
    let mut pair = called();
    pair.pass(ALICE, &invite()).to(BOB);
    let _ = pair.pass(ALICE, &invite());
    // With credentials: another transaction of the same call, which begins anew.
    let again = invite().set("CSeq", "2 INVITE").set("Via", &format!("SIP/2.0/UDP {ALICE};branch=z9hG4bK-2"));
    pair.pass(ALICE, &again).to(BOB);
    assert_eq!(steps(&mut pair), [CallStep::Begun, ended(EndReason::NoAnswer, 0), CallStep::Begun]);
    assert_eq!(dialogs(&pair).len(), 1);
}

/// A fork of our own (RFC 3261 section 16.6): one call, a dialog for each phone that rings, one of them answered.
#[test]
fn phones_that_ring_together_are_one_call() {
    let mut pair = called();
    let bobs_other = "10.77.0.14:5060";
    let second = pair::register("bob", &format!("<sip:bob@{bobs_other}>")).set("Call-ID", "second");
    let second = second.set("Via", &format!("SIP/2.0/UDP {ALICE};branch=z9hG4bK-second"));
    assert_eq!(pair.pass(ALICE, &second).to(ALICE).code(), 200);
    let first = pair.pass(ALICE, &invite());
    let mut at_phones: Vec<(String, Text)> = transmitted(&mut pair);
    let Out::Sent { remote, .. } = &first else { panic!("{first:?}") };
    at_phones.push((remote.to_string(), first.text()));
    at_phones.retain(|(_, text)| text.start.starts_with("INVITE"));
    at_phones.sort_by(|a, b| a.0.cmp(&b.0));
    let [(one, at_one), (two, at_two)] = &at_phones[..] else { panic!("{at_phones:?}") };
    pair.pass(one, &at_one.response(180, "Ringing", "one")).to(ALICE);
    pair.pass(two, &at_two.response(180, "Ringing", "two")).to(ALICE);
    let ok = at_two.response(200, "OK", "two").add("Contact", &format!("<sip:bob@{two}>"));
    pair.pass(two, &ok).to(ALICE);
    let _ = pair.pass(one, &at_one.response(487, "Request Terminated", "one"));
    pair.sleep(40);
    let told = events(&mut pair);
    let steps: Vec<_> = told.iter().map(|e| (e.step, e.callee_tag().to_vec())).collect();
    let expected = [
        (CallStep::Begun, &b""[..]),
        (CallStep::Ringing(180), b"one"),
        (CallStep::Ringing(180), b"two"),
        (CallStep::Answered(200), b"two"),
        (ended(EndReason::Forked, 0), b"one"),
    ];
    assert_eq!(steps, expected.map(|(step, tag)| (step, tag.to_vec())));
    assert!(told.iter().all(|e| e.call == told[0].id));
    let [up] = &dialogs(&pair)[..] else { panic!("{:?}", dialogs(&pair)) };
    assert_eq!(up.callee.remote.map(|a| a.to_string()).as_ref(), Some(two));
}
