//! The machines of RFC 3261 section 17 with RFC 4320 and RFC 6026, seen from outside in virtual time: one test for each
//! of their rules. At the end of every test everything is given back.

mod pair;

use pair::{ALICE, BOB, Out, Pair, Text, config, over, request};
use strowger_engine::{Config, Event, Reason, Transactions};

fn called() -> Pair {
    called_with(config())
}

fn called_with(config: Config) -> Pair {
    let mut pair = Pair::new(config);
    pair.register("bob", &format!("<sip:bob@{BOB}>;expires=7200"));
    pair
}

fn invite() -> Text {
    request("INVITE", "sip:bob@example.net").body("v=0\r\no=- 1 1 IN IP4 10.77.0.11\r\n")
}

/// What left, by start line's first two words and destination, with the time.
fn seen(sent: &[(u64, Out)]) -> Vec<(u64, String, String)> {
    sent.iter()
        .map(|(at, out)| {
            let Out::Sent { remote, bytes, .. } = out else { panic!("{out:?}") };
            let text = Text::parse(bytes);
            let what = match text.start.strip_prefix("SIP/2.0 ") {
                Some(status) => status[..3].to_owned(),
                None => text.method().to_owned(),
            };
            (*at, what, remote.to_string())
        })
        .collect()
}

/// Milliseconds at which `what` left for `to`: each at one of `expected`, or less than a tick of the timers later.
#[track_caller]
fn at_times(sent: &[(u64, Out)], what: &str, to: &str, expected: &[u64]) {
    let times: Vec<u64> =
        seen(sent).into_iter().filter(|(_, w, t)| w == what && t == to).map(|(at, ..)| at).collect();
    let fits = times.len() == expected.len()
        && times.iter().zip(expected).all(|(at, expected)| (*expected..expected + 40).contains(at));
    assert!(fits, "{what} to {to} at {times:?}, expected {expected:?}");
}

/// What waits to be sent now: one message, to `to`.
#[track_caller]
fn one(pair: &mut Pair, to: &str) -> Text {
    let out = pair.drain();
    assert_eq!(out.len(), 1, "{out:#?}");
    out[0].to(to)
}

#[track_caller]
fn nothing(pair: &mut Pair) {
    let out = pair.drain();
    assert!(out.is_empty(), "{out:#?}");
}

/// An INVITE on its way, its 100 sent.
fn ringing() -> (Pair, Text) {
    let mut pair = called();
    let at_bob = pair.pass(ALICE, &invite()).to(BOB);
    assert_eq!(one(&mut pair, ALICE).code(), 100);
    assert_eq!(pair.pass(BOB, &at_bob.response(180, "Ringing", "b")).to(ALICE).code(), 180);
    nothing(&mut pair);
    (pair, at_bob)
}

/// RFC 3261 section 17.2.1: 100 at once, and a retransmission brings the last provisional response again.
#[test]
fn invite_server_proceeding() {
    let mut pair = called();
    let at_bob = pair.pass(ALICE, &invite()).to(BOB);
    let trying = one(&mut pair, ALICE);
    assert_eq!((trying.code(), trying.reason()), (100, "Trying"));
    for same in ["Via", "From", "To", "Call-ID", "CSeq"] {
        assert_eq!(trying.all(same), invite().all(same), "{same}");
    }
    assert_eq!(pair.pass(ALICE, &invite()), Out::Taken);
    assert_eq!(one(&mut pair, ALICE), trying);
    let ringing = pair.pass(BOB, &at_bob.response(180, "Ringing", "b")).to(ALICE);
    assert_eq!(pair.pass(ALICE, &invite()), Out::Taken);
    assert_eq!(one(&mut pair, ALICE), ringing);
    assert_eq!(pair.pass(BOB, &at_bob.response(183, "Session Progress", "b")).to(ALICE).code(), 183);
    assert_eq!(pair.pass(ALICE, &invite()), Out::Taken);
    assert_eq!(one(&mut pair, ALICE).code(), 183);
    // Bob's own 100 is for us.
    assert_eq!(pair.pass(BOB, &at_bob.response(100, "Trying", "")), Out::Taken);
    assert_eq!(pair.count(Event::RequestAbsorbed), 3);
    assert_eq!((pair.count(Event::TransactionBegun), pair.count(Event::CallBegun)), (1, 1));
    over(pair);
}

/// Section 17.1.1.2: timer A doubles without end, timer B ends it after 64·T1; section 16.7 item 6: then it is 408.
#[test]
fn invite_client_calling() {
    let mut pair = called();
    let at_bob = pair.pass(ALICE, &invite()).to(BOB);
    pair.drain();
    let sent = pair.pause(32_100);
    at_times(&sent, "INVITE", BOB, &[500, 1500, 3500, 7500, 15_500, 31_500]);
    at_times(&sent, "408", ALICE, &[32_000]);
    assert!(
        sent.iter()
            .filter(|(_, out)| matches!(out, Out::Sent { remote, .. } if remote.to_string() == BOB))
            .all(|(_, out)| out.text() == at_bob),
        "the same bytes"
    );
    let timeout = sent.iter().find(|(at, _)| *at >= 32_000).map(|(_, out)| out.text()).unwrap();
    assert_eq!((timeout.all("Via"), timeout.reason()), (invite().all("Via"), "Request Timeout"));
    assert!(timeout.param("To", "tag").is_some(), "section 8.2.6.2");
    assert_eq!(pair.pass(ALICE, &invite().ack(&timeout)), Out::Taken);
    assert_eq!((pair.count(Event::BranchTimeout), pair.count(Event::RequestRepeated)), (1, 6));
    over(pair);
}

/// Section 17.1.1.2: a provisional response stops timer A.
#[test]
fn invite_client_proceeding() {
    let (mut pair, _) = ringing();
    assert!(seen(&pair.pause(100_000)).is_empty());
    over(pair);
}

/// Section 17.1.1.3: the ACK of a non-2xx; 17.1.1.2: and again for each retransmission, which goes no further.
#[test]
fn invite_client_completed() {
    let (mut pair, at_bob) = ringing();
    let busy = at_bob.response(486, "Busy Here", "b").add("X-Other", "y");
    let at_alice = pair.pass(BOB, &busy).to(ALICE);
    assert_eq!((at_alice.code(), at_alice.get("X-Other")), (486, "y"));
    let ack = one(&mut pair, BOB);
    assert_eq!((ack.method(), ack.request_uri()), ("ACK", at_bob.request_uri()));
    assert_eq!(ack.all("Via"), [at_bob.all("Via")[0]]);
    assert_eq!((ack.get("To"), ack.get("From")), (busy.get("To"), at_bob.get("From")));
    assert_eq!(
        (ack.get("CSeq"), ack.get("Call-ID"), ack.body.as_str()),
        ("1 ACK", at_bob.get("Call-ID"), "")
    );
    assert_eq!(pair.pass(ALICE, &invite().ack(&at_alice)), Out::Taken);
    pair.pause(31_000);
    assert_eq!(pair.pass(BOB, &busy), Out::Taken);
    assert_eq!(one(&mut pair, BOB), ack);
    // After timer D it is nobody's.
    pair.pause(1500);
    assert_eq!(pair.pass(BOB, &busy).dropped(), Reason::ResponseStray);
    assert_eq!(pair.count(Event::AckSent), 2);
    over(pair);
}

/// Section 17.2.1: timer G repeats a final response up to T2 apart, the ACK ends that, and timer I absorbs more of it.
#[test]
fn invite_server_completed_and_confirmed() {
    let (mut pair, at_bob) = ringing();
    let at_alice = pair.pass(BOB, &at_bob.response(486, "Busy Here", "b")).to(ALICE);
    pair.drain();
    let sent = pair.pause(8000);
    at_times(&sent, "486", ALICE, &[500, 1500, 3500, 7500]);
    assert!(sent.iter().all(|(_, out)| out.text() == at_alice));
    assert_eq!(pair.pass(ALICE, &invite()), Out::Taken);
    assert_eq!(one(&mut pair, ALICE), at_alice, "to a retransmission too");
    let ack = invite().ack(&at_alice);
    for _ in 0..3 {
        assert_eq!(pair.pass(ALICE, &ack), Out::Taken);
        nothing(&mut pair);
    }
    assert_eq!(pair.pass(ALICE, &invite()), Out::Taken, "confirmed: absorbed");
    nothing(&mut pair);
    assert!(seen(&pair.pause(4900)).is_empty());
    over(pair);
}

/// Section 17.2.1: timer H gives up.
#[test]
fn a_final_response_that_nobody_acknowledges() {
    let (mut pair, at_bob) = ringing();
    pair.pass(BOB, &at_bob.response(404, "Not Found", "b")).to(ALICE);
    pair.drain();
    let sent = pair.pause(100_000);
    at_times(&sent, "404", ALICE, &[500, 1500, 3500, 7500, 11_500, 15_500, 19_500, 23_500, 27_500, 31_500]);
    assert_eq!(pair.count(Event::FinalUnacknowledged), 1);
    over(pair);
}

/// RFC 6026 sections 7.1 and 7.2: after a 2xx the INVITE is absorbed and answered by nobody, and every 2xx passes, for
/// 64·T1; then it is a stray (section 7.3).
#[test]
fn accepted() {
    let (mut pair, at_bob) = ringing();
    let ok = at_bob.response(200, "OK", "b").body("v=0\r\n");
    let first = pair.pass(BOB, &ok).to(ALICE);
    let kept = pair.engine.occupancy().kept.used;
    assert_eq!(kept, 0, "all that was kept is let go");
    for _ in 0..3 {
        pair.pause(10_000);
        assert_eq!(pair.pass(ALICE, &invite()), Out::Taken);
        nothing(&mut pair);
        assert_eq!(pair.pass(BOB, &ok).to(ALICE), first);
        // Another fork farther on.
        assert_eq!(pair.pass(BOB, &at_bob.response(200, "OK", "c")).to(ALICE).code(), 200);
        // What is no 2xx comes too late.
        assert_eq!(pair.pass(BOB, &at_bob.response(486, "Busy Here", "b")), Out::Taken);
        assert_eq!(pair.pass(BOB, &at_bob.response(180, "Ringing", "b")), Out::Taken);
    }
    pair.pause(2100);
    assert_eq!(pair.pass(BOB, &ok).dropped(), Reason::ResponseStray);
    assert_eq!(pair.count(Event::DropResponseStray), 1);
    over(pair);
}

/// An ACK with the branch of its INVITE, from a client that makes no difference between 2xx and others, reaches who
/// answered (RFC 6026 section 7.1).
#[test]
fn an_ack_of_a_2xx_passes_the_transaction() {
    let (mut pair, at_bob) = ringing();
    let ok = at_bob.response(200, "OK", "b").add("Contact", &format!("<sip:bob@{BOB}>"));
    let ok = pair.pass(BOB, &ok).to(ALICE);
    let ack = invite().ack(&ok).uri(&format!("sip:bob@{BOB}")).add("Route", ok.get("Record-Route"));
    assert_eq!(pair.pass(ALICE, &ack).to(BOB).method(), "ACK");
    over(pair);
}

/// Section 16.10: 200 for the CANCEL at once, a CANCEL for the branch; section 9.1: as the INVITE, with its branch.
#[test]
fn cancel() {
    let (mut pair, at_bob) = ringing();
    let cancel = invite().cancel();
    let ok = pair.pass(ALICE, &cancel).to(ALICE);
    assert_eq!((ok.code(), ok.get("CSeq"), ok.all("Via")), (200, "1 CANCEL", cancel.all("Via")));
    assert!(ok.param("To", "tag").is_some());
    let to_bob = one(&mut pair, BOB);
    assert_eq!((to_bob.method(), to_bob.request_uri()), ("CANCEL", at_bob.request_uri()));
    assert_eq!(to_bob.all("Via"), [at_bob.all("Via")[0]]);
    assert_eq!((to_bob.get("To"), to_bob.get("CSeq")), (at_bob.get("To"), "1 CANCEL"));
    // The CANCEL again is answered again, and cancels nothing twice.
    assert_eq!(pair.pass(ALICE, &cancel).to(ALICE).code(), 200);
    nothing(&mut pair);
    let sent = pair.pause(4000);
    at_times(&sent, "CANCEL", BOB, &[500, 1500, 3500]);
    assert_eq!(pair.pass(BOB, &to_bob.response(200, "OK", "b")), Out::Taken);
    assert!(seen(&pair.pause(10_000)).is_empty(), "answered");
    let terminated = pair.pass(BOB, &at_bob.response(487, "Request Terminated", "b")).to(ALICE);
    assert_eq!((terminated.code(), terminated.param("To", "tag")), (487, Some("b")));
    assert_eq!(one(&mut pair, BOB).method(), "ACK");
    assert_eq!(pair.pass(ALICE, &invite().ack(&terminated)), Out::Taken);
    assert_eq!(pair.count(Event::CancelSent), 4);
    over(pair);
}

/// Section 9.1: no CANCEL before a provisional response; then at once.
#[test]
fn cancel_waits_for_a_provisional_response() {
    let mut pair = called();
    let at_bob = pair.pass(ALICE, &invite()).to(BOB);
    pair.drain();
    assert_eq!(pair.pass(ALICE, &invite().cancel()).to(ALICE).code(), 200);
    nothing(&mut pair);
    at_times(&pair.pause(1000), "INVITE", BOB, &[500]);
    assert_eq!(pair.pass(BOB, &at_bob.response(100, "Trying", "")), Out::Taken);
    assert_eq!(one(&mut pair, BOB).method(), "CANCEL");
    // The 2xx was on its way: it passes (section 9.1).
    assert_eq!(pair.pass(BOB, &at_bob.response(200, "OK", "b")).to(ALICE).code(), 200);
    assert!(seen(&pair.pause(31_000)).is_empty());
    over(pair);
}

/// Section 9.1: 64·T1 after a CANCEL the transaction is over; the caller hears 487.
#[test]
fn a_cancel_that_nothing_comes_of() {
    let (mut pair, _) = ringing();
    pair.pass(ALICE, &invite().cancel()).to(ALICE);
    assert_eq!(one(&mut pair, BOB).method(), "CANCEL");
    let sent = pair.pause(33_000);
    at_times(&sent, "487", ALICE, &[32_000, 32_500]);
    assert_eq!(pair.count(Event::BranchTimeout), 1);
    over(pair);
    // And with a Bob that never said a word.
    let mut pair = called();
    pair.pass(ALICE, &invite()).to(BOB);
    pair.drain();
    pair.pass(ALICE, &invite().cancel()).to(ALICE);
    at_times(&pair.pause(32_100), "487", ALICE, &[32_000]);
    over(pair);
}

/// Section 16.8: timer C cancels a branch that rings for too long; section 16.7 item 2: 101 to 199 start it anew.
#[test]
fn timer_c() {
    let (mut pair, at_bob) = ringing();
    pair.pause(100_000);
    assert_eq!(pair.pass(BOB, &at_bob.response(180, "Ringing", "b")).to(ALICE).code(), 180);
    pair.pause(100_000);
    // 100 does not.
    assert_eq!(pair.pass(BOB, &at_bob.response(100, "Trying", "")), Out::Taken);
    let sent = pair.pause(90_000);
    at_times(&sent, "CANCEL", BOB, &[85_000, 85_500, 86_500, 88_500]);
    assert_eq!(pair.pass(BOB, &at_bob.response(487, "Request Terminated", "b")).to(ALICE).code(), 487);
    assert_eq!(pair.count(Event::BranchRangOut), 1);
    over(pair);
}

/// Section 17.1.2.2: timers E and F. RFC 4320: 100 when timer E has reached T2, and no 408 at the end.
#[test]
fn non_invite_without_an_answer() {
    let mut pair = called();
    let info = request("INFO", "sip:bob@example.net");
    pair.pass(ALICE, &info).to(BOB);
    nothing(&mut pair);
    // Section 17.2.2: absorbed while nothing was answered.
    assert_eq!(pair.pass(ALICE, &info), Out::Taken);
    nothing(&mut pair);
    let sent = pair.pause(60_000);
    at_times(&sent, "INFO", BOB, &[500, 1500, 3500, 7500, 11_500, 15_500, 19_500, 23_500, 27_500, 31_500]);
    at_times(&sent, "100", ALICE, &[3500]);
    assert_eq!(sent.len(), 11, "{:?}", seen(&sent));
    assert_eq!((pair.count(Event::BranchTimeout), pair.count(Event::Reply408)), (1, 0));
    over(pair);
}

/// Section 17.1.2.2: in Proceeding timer E is T2. RFC 4320 section 4.1: provisional responses are not sent on.
#[test]
fn non_invite_proceeding() {
    let mut pair = called();
    let info = request("INFO", "sip:bob@example.net");
    let at_bob = pair.pass(ALICE, &info).to(BOB);
    for code in [100, 183] {
        assert_eq!(pair.pass(BOB, &at_bob.response(code, "Wait", "")), Out::Taken);
    }
    let sent = pair.pause(10_000);
    at_times(&sent, "INFO", BOB, &[500, 4500, 8500]);
    at_times(&sent, "100", ALICE, &[3500]);
    // Section 17.2.2: the 100 to a retransmission.
    assert_eq!(pair.pass(ALICE, &info), Out::Taken);
    assert_eq!(one(&mut pair, ALICE).code(), 100);
    assert_eq!(pair.pass(BOB, &at_bob.response(200, "OK", "b")).to(ALICE).code(), 200);
    over(pair);
}

/// Section 17.2.2: the final response to a retransmission, for 64·T1; section 17.1.2.2: timer K absorbs.
#[test]
fn non_invite_completed() {
    for code in [200, 302, 481, 503, 603] {
        let mut pair = called();
        let info = request("INFO", "sip:bob@example.net");
        let at_bob = pair.pass(ALICE, &info).to(BOB);
        let answer = at_bob.response(code, "Whatever", "b");
        let out = pair.pass(BOB, &answer);
        // Section 16.7 item 6: a 503 speaks of the next hop, not of us.
        let (expected, sent) = if code == 503 { (500, one(&mut pair, ALICE)) } else { (code, out.to(ALICE)) };
        assert_eq!((sent.code(), sent.all("Via")), (expected, info.all("Via")));
        assert_eq!(pair.pass(BOB, &answer), Out::Taken);
        nothing(&mut pair);
        pair.pause(6000);
        assert_eq!(pair.pass(BOB, &answer).dropped(), Reason::ResponseStray, "after timer K");
        pair.pause(25_500);
        assert_eq!(pair.pass(ALICE, &info), Out::Taken);
        assert_eq!(one(&mut pair, ALICE), sent);
        pair.pause(600);
        // After timer J it is a new one.
        assert_eq!(pair.pass(ALICE, &info).to(BOB).method(), "INFO");
        over(pair);
    }
}

/// Section 16.7 item 6: 503 of the only branch of an INVITE is 500 upstream, made and repeated by us.
#[test]
fn a_503_goes_no_farther() {
    let (mut pair, at_bob) = ringing();
    assert_eq!(pair.pass(BOB, &at_bob.response(503, "Service Unavailable", "b")), Out::Taken);
    let sent = pair.drain();
    let seen: Vec<_> = seen(&sent.into_iter().map(|out| (0, out)).collect::<Vec<_>>());
    assert_eq!(seen, [(0, "ACK".into(), BOB.into()), (0, "500".into(), ALICE.into())]);
    at_times(&pair.pause(1000), "500", ALICE, &[500]);
    over(pair);
}

/// A response of another method, or with a branch that is not its transaction's, changes nothing (section 17.1.3).
#[test]
fn a_response_matches_branch_and_method() {
    let (mut pair, at_bob) = ringing();
    let ok = at_bob.response(200, "OK", "b");
    assert_eq!(pair.pass(BOB, &ok.clone().set("CSeq", "1 BYE")).dropped(), Reason::ResponseForged);
    let alone = |text: Text| {
        let top = text.all("Via")[0].to_owned();
        text.without("Via").push("Via", &top)
    };
    // A response to a CANCEL that nobody sent is nobody's business; a forged one is none.
    assert_eq!(pair.pass(BOB, &alone(ok.clone().set("CSeq", "1 CANCEL"))), Out::Taken);
    assert_eq!(pair.pass(BOB, &alone(ok.clone().set("CSeq", "2 CANCEL"))).dropped(), Reason::ResponseForged);
    assert_eq!(pair.pass(BOB, &ok).to(ALICE).code(), 200);
    over(pair);
}

/// Full tables are answered, and calls that are up go on without (section 16.11).
#[test]
fn full_tables() {
    for sizes in [
        Transactions { max: 1, ..Transactions::sized(100) },
        Transactions { max_branches: 1, ..Transactions::sized(100) },
        Transactions { max_kept: 4096, ..Transactions::sized(100) },
    ] {
        let mut pair = called_with(Config { transactions: sizes, ..config() });
        let at_bob = pair.pass(ALICE, &invite()).to(BOB);
        pair.drain();
        // The token for the caller comes with what can make a dialog.
        let early = at_bob.response(183, "Session Progress", "b").add("Contact", &format!("<sip:bob@{BOB}>"));
        let early = pair.pass(BOB, &early).to(ALICE);
        for n in 2..10 {
            let other = invite().set("Call-ID", &format!("call-{n}"));
            let out = pair.pass(ALICE, &other);
            if n == 9 {
                let refused = out.to(ALICE);
                assert_eq!(refused.code(), 503, "{sizes:?}");
                assert!(refused.get("Retry-After").parse::<u32>().is_ok_and(|seconds| seconds > 0));
            }
        }
        pair.drain();
        let bye = request("BYE", &format!("sip:bob@{BOB}"))
            .set("To", "<sip:bob@example.net>;tag=b")
            .add("Route", early.get("Record-Route"));
        let bye = pair.pass(ALICE, &bye).to(BOB);
        assert!(pair.count(Event::TransactionLimit) > 0, "it went without");
        assert_eq!(pair.pass(BOB, &bye.response(200, "OK", "")).to(ALICE).code(), 200);
        assert_eq!(pair.pass(BOB, &at_bob.response(486, "Busy Here", "b")).to(ALICE).code(), 486);
        over(pair);
    }
}

/// What cannot be sent on leaves no transaction behind.
#[test]
fn no_room_to_forward_leaves_nothing() {
    let mut pair = called();
    let bytes = invite().body(&"x".repeat(300)).bytes();
    let flow = strowger_engine::Flow { local: pair::US.parse().unwrap(), remote: ALICE.parse().unwrap() };
    let mut memory = bytes.clone();
    let mut buffer = strowger_sip::Buffer::new(&mut memory, 0..bytes.len()).unwrap();
    let verdict = pair.engine.handle(pair.now, flow, &mut buffer);
    assert_eq!(verdict, strowger_engine::Verdict::Send(flow));
    assert_eq!(Text::parse(buffer.message()).code(), 513);
    nothing(&mut pair);
    assert_eq!(pair.engine.occupancy().transactions.used, 0);
    over(pair);
}

/// A message that is too long for the frame at hand waits for a larger one, and nothing behind it is lost.
#[test]
fn a_small_frame_makes_nothing_be_lost() {
    let (mut pair, _) = ringing();
    assert_eq!(pair.pass(ALICE, &invite()), Out::Taken);
    let mut small = [0; 64];
    let mut buffer = strowger_sip::Buffer::new(&mut small, 32..32).unwrap();
    assert_eq!(pair.engine.transmit(pair.now, &mut buffer), None);
    assert!(pair.engine.has_transmit() && buffer.message().is_empty());
    assert_eq!(one(&mut pair, ALICE).code(), 180);
    over(pair);
}

/// A client of RFC 2543 has no branch that could be trusted: its retransmissions, CANCEL and ACK are still known
/// (section 17.2.3).
#[test]
fn without_the_magic_cookie() {
    for via in [format!("SIP/2.0/UDP {ALICE};branch=1"), format!("SIP/2.0/UDP {ALICE}")] {
        let mut pair = called();
        let invite = invite().set("Via", &via);
        let at_bob = pair.pass(ALICE, &invite).to(BOB);
        pair.drain();
        assert_eq!(pair.pass(ALICE, &invite), Out::Taken);
        pair.pass(BOB, &at_bob.response(180, "Ringing", "b")).to(ALICE);
        assert_eq!(pair.pass(ALICE, &invite.cancel()).to(ALICE).code(), 200);
        let terminated = pair.pass(BOB, &at_bob.response(487, "Request Terminated", "b")).to(ALICE);
        assert_eq!(pair.pass(ALICE, &invite.ack(&terminated)), Out::Taken, "{via}");
        pair.drain();
        assert!(!seen(&pair.pause(400)).iter().any(|(_, what, _)| what == "487"));
        over(pair);
    }
}
