//! SIGTERM while calls are being made: they are finished, new ones go elsewhere, and the node is gone soon after.

use std::time::{Duration, Instant};

use rustix::process::Signal;
use strowger_xtask::lab::Lab;
use strowger_xtask::node::Node;

use crate::bench::{Bench, PATIENCE, say};
use crate::cast::Player;
use crate::phone::Phone;
use crate::scenario::Scenario;

const CALLS: u32 = 20;

/// 64·T1, and what a busy machine takes besides.
const LIMIT: Duration = Duration::from_secs(40);

/// Waits until this many calls ring.
fn wait_for_calls(node: &Node, calls: u64) {
    let until = Instant::now() + PATIENCE;
    while node.status().unwrap().used("transactions") < calls {
        assert!(Instant::now() < until, "{}", node.last_words(10));
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn state(node: &Node) -> String {
    node.status().unwrap().whole["node"]["state"].as_str().unwrap().to_owned()
}

/// THREATS, "SIGTERM": calls that ring are answered and hung up while the node drains; a new one gets 503 and Retry-After.
#[test]
fn calls_under_way_are_finished_after_sigterm() {
    let Some(bench) = Bench::with_sipp() else { return };
    let mut node = bench.start(&bench.configuration("copy"));
    bench.warm_up(Lab::PEERS_V4.into(), Lab::node_v4());
    let register = Scenario::calling("register").register(false).expect("register", 200);
    let (alice, bob) = (Player::at(5080), Player::at(5070));
    bob.calls(&bench, &register, &["bob".to_owned()], 1);
    let answering = bob.waits(&bench, &Scenario::called("called").answers(3000));
    let calling = Scenario::calling("calling")
        .invite(false)
        .perhaps("invite", 100)
        .perhaps("invite", 180)
        .expect("invite", 200)
        .ack()
        .pause(500)
        .bye();
    let took = std::thread::scope(|threads| {
        let calls = threads.spawn(|| alice.calls(&bench, &calling, &["alice;bob".to_owned()], CALLS));
        wait_for_calls(&node, CALLS.into());
        let began = Instant::now();
        node.signal(Signal::TERM).unwrap();
        while state(&node) != "draining" {
            assert!(began.elapsed() < PATIENCE, "{}", node.last_words(10));
        }
        let mut carol = Phone::new(&bench.lab.peers, "carol", (Lab::PEERS_V4, 5090).into(), Lab::node_v4());
        let invite = carol.invite("bob", "");
        let answer = carol.ask(&invite, 5).expect("an answer");
        assert!(answer.text.starts_with("SIP/2.0 503 "), "{}", answer.text);
        assert_eq!(answer.headers("Retry-After").len(), 1, "{}", answer.text);
        carol.send(&Phone::acknowledge_refusal(&invite, &answer));
        let ended = node.wait(LIMIT).unwrap();
        assert_eq!(ended.code(), Some(0), "{}", node.last_words(10));
        calls.join().unwrap();
        began.elapsed()
    });
    say(&format!(
        "{CALLS} calls that rang were finished, and the node was gone {} ms after SIGTERM",
        took.as_millis()
    ));
    let tally = answering.finish(PATIENCE).unwrap();
    assert_eq!((tally.ok, tally.failed), (u64::from(CALLS), 0), "{tally:?}");
    bench.assert_nothing_left();
}

#[test]
fn the_second_signal_ends_it_at_once_and_an_idle_node_needs_but_one() {
    let Some(bench) = Bench::plain() else { return };
    let mut node = bench.start(&bench.configuration("copy"));
    bench.warm_up(Lab::PEERS_V4.into(), Lab::node_v4());
    let phone = |user, port| Phone::new(&bench.lab.peers, user, (Lab::PEERS_V4, port).into(), Lab::node_v4());
    let mut alice = phone("alice", 5081).registered();
    let bob = phone("bob", 5082).registered();
    // Bob rings, and nobody answers.
    let invite = alice.invite("bob", "");
    alice.send(&invite);
    let received = bob.receive(PATIENCE).expect("the INVITE");
    bob.send(&received.reply("180 Ringing", bob.address));
    wait_for_calls(&node, 1);
    node.signal(Signal::TERM).unwrap();
    std::thread::sleep(Duration::from_secs(1));
    assert_eq!(state(&node), "draining", "somebody waits for an answer");
    let began = Instant::now();
    let ended = node.stop(Signal::INT, PATIENCE).unwrap();
    assert_eq!(ended.code(), Some(0), "{}", node.last_words(10));
    say(&format!("with a call that rings, gone {} ms after the second signal", began.elapsed().as_millis()));

    let mut node = bench.start(&bench.configuration("copy"));
    let began = Instant::now();
    let ended = node.stop(Signal::TERM, PATIENCE).unwrap();
    assert_eq!(ended.code(), Some(0), "{}", node.last_words(10));
    say(&format!("with nothing under way, gone {} ms after the first", began.elapsed().as_millis()));
    bench.assert_nothing_left();
}
