//! CANCEL at every moment of a call (RFC 3261 section 9): before the phone rings, while it rings, and as it is answered.

use std::time::Duration;

use strowger_xtask::lab::Lab;

use crate::bench::{Bench, PATIENCE, say};
use crate::cast::Player;
use crate::phone::Phone;
use crate::relay::Dice;
use crate::scenario::Scenario;

const CALLS: u32 = 20;

/// Bob plays one scenario, Alice calls him with the other; both must see every step of every call.
fn cancelled(called: &Scenario, calling: &Scenario) {
    let Some(bench) = Bench::with_sipp() else { return };
    let _node = bench.start(&bench.configuration("copy"));
    bench.warm_up(Lab::PEERS_V4.into(), Lab::node_v4());
    let register = Scenario::calling("register").register(false).expect("register", 200);
    let (alice, bob) = (Player::at(5080), Player::at(5070));
    bob.calls(&bench, &register, &["bob".to_owned()], 1);
    let answering = bob.waits(&bench, called);
    alice.calls(&bench, calling, &["alice;bob".to_owned()], CALLS);
    let tally = answering.finish(PATIENCE).unwrap();
    assert_eq!((tally.ok, tally.failed), (u64::from(CALLS), 0), "{tally:?}");
}

/// Section 9.1: nothing is cancelled at the phone before it said something. In its pause a CANCEL would fail the call.
#[test]
fn a_cancel_before_the_phone_rings_waits_for_it() {
    let called = Scenario::called("called").invited().pause(700).reply_to_invite("180 Ringing").cancelled();
    let calling = Scenario::calling("calling")
        .invite(false)
        .expect("invite", 100)
        .cancel()
        .expect("cancel", 200)
        .perhaps("invite", 180)
        .expect("invite", 487)
        .ack_refusal();
    cancelled(&called, &calling);
}

#[test]
fn a_cancel_while_the_phone_rings_ends_it() {
    let calling = Scenario::calling("calling")
        .invite(false)
        .perhaps("invite", 100)
        .expect("invite", 180)
        .pause(100)
        .cancel()
        .expect("cancel", 200)
        .expect("invite", 487)
        .ack_refusal();
    cancelled(&Scenario::called("called").rings_in_vain(), &calling);
}

/// The phone had sent its 200 when the CANCEL came: the call stands, and is hung up.
#[test]
fn a_call_that_was_answered_as_it_was_cancelled_stands() {
    let called = Scenario::called("called")
        .invited()
        .reply_to_invite("180 Ringing")
        .receive("CANCEL")
        .reply("200 OK")
        .reply_to_invite("200 OK")
        .receive("ACK")
        .receive("BYE")
        .reply("200 OK");
    let calling = Scenario::calling("calling")
        .invite(false)
        .perhaps("invite", 100)
        .expect("invite", 180)
        .cancel()
        .expect("cancel", 200)
        .expect("invite", 200)
        .ack()
        .bye();
    cancelled(&called, &calling);
}

/// Section 9.2: after the final response a CANCEL changes nothing, and is answered 200 all the same. The phone never
/// hears of it, else it would fail the call.
#[test]
fn a_cancel_after_the_answer_changes_nothing() {
    let calling = Scenario::calling("calling")
        .invite(false)
        .perhaps("invite", 100)
        .perhaps("invite", 180)
        .expect("invite", 200)
        .ack()
        .cancel()
        .expect("cancel", 200)
        .pause(100)
        .bye();
    cancelled(&Scenario::called("called").answers(0), &calling);
}

/// What one side saw of a call.
#[derive(Debug, Default)]
struct Seen {
    finals: Vec<String>,
    cancels_answered: u32,
}

/// CANCEL and 200 cross on the wire, in both orders, within microseconds.
#[test]
fn a_cancel_that_crosses_the_answer_leaves_both_sides_of_one_mind() {
    const ROUNDS: u32 = 100;
    let Some(bench) = Bench::plain() else { return };
    let _node = bench.start(&bench.configuration("copy"));
    bench.warm_up(Lab::PEERS_V4.into(), Lab::node_v4());
    let phone = |user, port| Phone::new(&bench.lab.peers, user, (Lab::PEERS_V4, port).into(), Lab::node_v4());
    let mut alice = phone("alice", 5081).registered();
    let bob = phone("bob", 5082).registered();
    let mut dice = Dice(1961);
    let (mut answered, mut cancelled) = (0, 0);
    for round in 0..ROUNDS {
        let invite = alice.invite("bob", "v=0\r\n");
        alice.send(&invite);
        let received = bob.of_call("INVITE ", &invite);
        bob.send(&received.reply("180 Ringing", bob.address));
        loop {
            if alice.receive(PATIENCE).expect("the 180").text.starts_with("SIP/2.0 180 ") {
                break;
            }
        }
        // Both are sent before either side reads.
        let (answer, cancel) = (received.reply("200 OK", bob.address), Phone::cancel(&invite));
        let answers_first = dice.next().is_multiple_of(2);
        if answers_first {
            bob.send(&answer);
        }
        alice.send(&cancel);
        if !answers_first {
            // A phone that has not heard of the CANCEL yet answers; one that has, does not.
            if dice.next().is_multiple_of(2) {
                bob.send(&answer);
            } else {
                let heard = bob.of_call("CANCEL ", &invite);
                bob.send(&heard.reply("200 OK", bob.address));
                bob.send(&received.reply("487 Request Terminated", bob.address));
            }
        }
        let mut seen = Seen::default();
        while seen.finals.is_empty() || seen.cancels_answered == 0 {
            let message = alice.receive(PATIENCE).unwrap_or_else(|| panic!("round {round}: {seen:?}"));
            let [sequence] = message.headers("CSeq")[..] else { panic!("{}", message.text) };
            if sequence.ends_with("CANCEL") {
                assert!(message.text.starts_with("SIP/2.0 200 "), "{}", message.text);
                seen.cancels_answered += 1;
            } else if !message.text.starts_with("SIP/2.0 1") {
                seen.finals.push(message.text[8..11].to_owned());
                if message.text.starts_with("SIP/2.0 200 ") {
                    answered += 1;
                    alice.send(&alice.acknowledge(&invite, &message));
                    bob.of_call("ACK ", &invite);
                } else {
                    cancelled += 1;
                    assert!(message.text.starts_with("SIP/2.0 487 "), "{}", message.text);
                    alice.send(&Phone::acknowledge_refusal(&invite, &message));
                }
            }
        }
        assert_eq!(seen.finals.len(), 1, "one final response: {seen:?}");
    }
    say(&format!("{ROUNDS} crossings: {answered} calls stood, {cancelled} were cancelled"));
    assert!(answered > 0 && cancelled > 0);
    let more = alice.receive(Duration::from_millis(700)).map(|message| message.text);
    assert_eq!(more, None, "all that Alice got was acknowledged; nothing is repeated");
}
