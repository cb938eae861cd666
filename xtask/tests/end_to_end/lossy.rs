//! Calls over a network that loses every sixth packet: phones and node repeat what was lost, and nothing happens twice.

use std::time::Instant;

use strowger_xtask::lab::Lab;
use strowger_xtask::machine;

use crate::bench::{Bench, PATIENCE, say};
use crate::cast::Player;
use crate::relay::{Leg, Relay};
use crate::scenario::Scenario;

const CALLS: u32 = 40;
/// Of 100 datagrams, on each of the four ways between two phones and the node.
const LOSS: u64 = 16;
const SEED: u64 = 20_130_905;

#[test]
fn every_call_completes_where_packets_are_lost() {
    let Some(bench) = Bench::patient(&[machine::SIPP]) else { return };
    let node = bench.start(&bench.configuration("copy"));
    bench.warm_up(Lab::PEERS_V4.into(), Lab::node_v4());
    let at = |port: u16| (Lab::PEERS_V4, port).into();
    let behind = |port: u16| {
        let (inner, outer) = (port + 1000, port + 2000);
        let leg = Leg { phone: at(port), inner: at(inner), outer: at(outer) };
        (Player::behind(port, outer, leg.inner), leg)
    };
    let ((caller, one), (called, two)) = (behind(5080), behind(5070));
    let relay = Relay::start(&bench.lab.peers, Lab::node_v4(), &[one, two], LOSS, SEED);

    let began = Instant::now();
    let register =
        Scenario::calling("register").register(false).perhaps("register", 100).expect("register", 200);
    caller.calls(&bench, &register, &["alice".to_owned()], 1);
    called.calls(&bench, &register, &["bob".to_owned()], 1);

    // It rings until its 180 has come through in spite of everything: sipp repeats its 200 no more when it is sent the
    // INVITE once more. Nothing is lost twice in a row, so by timer A (section 17.1.1.2) the INVITE comes after 0.5 s, its
    // 180 is lost, the next INVITE too, and the one after 3.5 s brings it. The ACK may be lost until after the BYE. Whoever
    // is hung up on stays as long as his 200 may be asked for again: 3 s, if the BYE came after 0.5 s and at 1.5 s did not
    // (timer E, section 17.1.2.2).
    let called_side = Scenario::called("answering")
        .invited()
        .reply_to_invite("180 Ringing")
        .pause(4500)
        .reply_to_invite("200 OK")
        .receive_perhaps("ACK")
        .receive("BYE")
        .reply("200 OK")
        .linger(4500);
    let answering = called.waits(&bench, &called_side);
    let before = node.status().unwrap();
    let calling = Scenario::calling("calling")
        .invite(false)
        .perhaps("invite", 100)
        .perhaps("invite", 180)
        .expect("invite", 200)
        .ack()
        .pause(200)
        .bye();
    let tally = caller.calls(&bench, &calling, &["alice;bob".to_owned()], CALLS);
    let took = began.elapsed();
    let there = answering.finish(PATIENCE).unwrap();
    let all = u64::from(CALLS);
    assert_eq!((there.created, there.ok), (all, all), "no INVITE came as a second call: {there:?}");

    let after = node.status().unwrap();
    let count = |name: &str| after.event(name) - before.event(name);
    let (passed, lost) = relay.counted();
    say(&format!(
        "{CALLS} calls in {:.1} s: {passed} datagrams passed, {lost} lost; repeated by the phones {}, by the node {} \
         requests and {} responses; absorbed by the node {}",
        took.as_secs_f64(),
        tally.retransmissions + there.retransmissions,
        count("request_repeated"),
        count("response_repeated"),
        count("request_absorbed")
    ));
    assert!(
        lost * 100 > (passed + lost) * LOSS / 2,
        "the network was as bad as meant: {lost} of {}",
        passed + lost
    );
    assert!(count("request_repeated") > 0 && count("request_absorbed") > 0, "{:?}", after.sip);
}
