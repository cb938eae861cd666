//! One user at several phones (RFC 3261 section 16.6 and 16.7): those of the same q ring together, the next q rings when
//! the better ones refuse.

use std::time::Duration;

use strowger_xtask::lab::Lab;
use strowger_xtask::machine;
use strowger_xtask::node::Node;
use strowger_xtask::sipp::Sipp;

use crate::bench::{Bench, PATIENCE, say};
use crate::cast::Player;
use crate::phone::Phone;
use crate::scenario::Scenario;

const CALLS: u32 = 20;

/// A node, and `bob` at these ports with these q values.
fn bob_at(bench: &Bench, contacts: &[(u16, &str)]) -> Node {
    let node = bench.start(&bench.configuration("copy"));
    bench.warm_up(Lab::PEERS_V4.into(), Lab::node_v4());
    let mut phone = Phone::new(&bench.lab.peers, "bob", (Lab::PEERS_V4, 6000).into(), Lab::node_v4());
    for (port, q) in contacts {
        let contact = format!("<sip:bob@{}:{port}>;q={q}", Lab::PEERS_V4);
        let request = phone.register_contact(&contact);
        let answer = phone.ask(&request, 20).expect("an answer to REGISTER");
        assert!(answer.text.starts_with("SIP/2.0 200 "), "{}", answer.text);
    }
    assert_eq!(node.status().unwrap().registrations.bindings, u64::try_from(contacts.len()).unwrap());
    node
}

/// Every call went through this phone's whole scenario.
fn went_through(sipp: Sipp, name: &str) {
    let tally = sipp.finish(PATIENCE).unwrap();
    assert_eq!((tally.ok, tally.failed), (u64::from(CALLS), 0), "{name}: {tally:?}");
}

/// Calls, answers are acknowledged, hangs up.
fn calls() -> Scenario {
    Scenario::calling("calling")
        .invite(false)
        .perhaps("invite", 100)
        .perhaps("invite", 180)
        .expect("invite", 200)
        .ack()
        .pause(100)
        .bye()
}

#[test]
fn phones_of_one_q_ring_together_and_who_does_not_answer_is_cancelled() {
    let Some(bench) = Bench::with_sipp() else { return };
    let _node = bob_at(&bench, &[(5071, "0.7"), (5072, "0.7")]);
    let answering = Player::at(5071).waits(&bench, &Scenario::called("answering").answers(300));
    let ringing = Player::at(5072).waits(&bench, &Scenario::called("ringing").rings_in_vain());
    Player::at(5080).calls(&bench, &calls(), &["alice;bob".to_owned()], CALLS);
    went_through(answering, "the phone that answered");
    // It got the CANCEL after its 180, its 487 was acknowledged by the node, and it saw no ACK or BYE of the call.
    went_through(ringing, "the phone that did not");
}

#[test]
fn a_603_ends_the_ringing_of_all() {
    let Some(bench) = Bench::with_sipp() else { return };
    let _node = bob_at(&bench, &[(5071, "0.7"), (5072, "0.7"), (5073, "0.3")]);
    let declining = Scenario::called("declining")
        .invited()
        .reply_to_invite("180 Ringing")
        .pause(300)
        .reply_to_invite("603 Decline")
        .receive("ACK");
    let declining = Player::at(5071).waits(&bench, &declining);
    let ringing = Player::at(5072).waits(&bench, &Scenario::called("ringing").rings_in_vain());
    let last = Player::at(5073).waits(&bench, &Scenario::called("last").answers(0));
    let calling = Scenario::calling("calling")
        .invite(false)
        .perhaps("invite", 100)
        .perhaps("invite", 180)
        .expect("invite", 603)
        .ack_refusal();
    Player::at(5080).calls(&bench, &calling, &["alice;bob".to_owned()], CALLS);
    went_through(declining, "the phone that declined");
    went_through(ringing, "the phone that rang");
    let last = last.finish(Duration::from_secs(1)).unwrap();
    assert_eq!(last.created, 0, "after a 6xx nobody else is asked (section 16.7 step 5)");
}

#[test]
fn the_next_q_rings_when_the_better_are_busy() {
    let Some(bench) = Bench::with_sipp() else { return };
    let _node = bob_at(&bench, &[(5073, "0.2"), (5071, "1.0"), (5072, "0.5")]);
    let busy = Player::at(5071).waits(&bench, &Scenario::called("busy").refuses("486 Busy Here"));
    let away =
        Player::at(5072).waits(&bench, &Scenario::called("away").refuses("480 Temporarily Unavailable"));
    let answering = Player::at(5073).waits(&bench, &Scenario::called("answering").answers(100));
    Player::at(5080).calls(&bench, &calls(), &["alice;bob".to_owned()], CALLS);
    went_through(busy, "the phone that is busy");
    went_through(away, "the phone whose user is away");
    went_through(answering, "the phone that answered");
}

/// Nobody is at the better contact: the next one is tried when its INVITE has been repeated for 64 · T1 (timer B).
#[test]
fn the_next_q_rings_when_the_better_is_silent() {
    let Some(bench) = Bench::patient(&[machine::SIPP]) else { return };
    let _node = bob_at(&bench, &[(5071, "1.0"), (5072, "0.5")]);
    // It hears, and says nothing.
    let silent = Phone::new(&bench.lab.peers, "bob", (Lab::PEERS_V4, 5071).into(), Lab::node_v4());
    let answering = Player::at(5072).waits(&bench, &Scenario::called("answering").answers(100));
    let calling = Scenario::calling("calling")
        .invite(false)
        .expect("invite", 100)
        .perhaps("invite", 180)
        .expect_within("invite", 200, 40_000)
        .ack()
        .bye();
    let began = std::time::Instant::now();
    Player::at(5080).calls(&bench, &calling, &["alice;bob".to_owned()], CALLS);
    say(&format!("{CALLS} calls went on to the next phone after {:.1} s", began.elapsed().as_secs_f64()));
    assert!(began.elapsed() >= Duration::from_secs(32));
    let tally = answering.finish(PATIENCE).unwrap();
    assert_eq!((tally.ok, tally.failed), (u64::from(CALLS), 0), "{tally:?}");
    // Timer A: at 0, 0.5, 1.5, 3.5, 7.5, 15.5 and 31.5 s, and nothing but INVITEs: no response, no CANCEL.
    let mut heard = 0;
    while let Some(message) = silent.receive(Duration::from_millis(10)) {
        assert!(message.text.starts_with("INVITE "), "{}", message.text);
        heard += 1;
    }
    assert_eq!(heard, 7 * CALLS, "each INVITE seven times");
}
