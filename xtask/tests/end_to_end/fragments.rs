//! A message larger than the wire's MTU: the fragments pass XDP, the kernel puts them together, and the node's kernel
//! socket serves the whole.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use strowger_xtask::lab::Lab;

use crate::bench::{Bench, PATIENCE};
use crate::phone::Phone;

#[test]
fn an_invite_of_4_kb_arrives_whole_in_copy_mode() {
    large_invite("copy", Lab::PEERS_V4.into(), Lab::node_v4());
}

#[test]
fn an_invite_of_4_kb_arrives_whole_over_ipv6() {
    large_invite("copy", Lab::PEERS_V6.into(), Lab::node_v6());
}

#[test]
fn an_invite_of_4_kb_arrives_whole_in_off_mode() {
    large_invite("off", Lab::PEERS_V4.into(), Lab::node_v4());
}

fn large_invite(mode: &str, local: IpAddr, remote: SocketAddr) {
    let Some(bench) = Bench::plain() else { return };
    let node = bench.start(&bench.configuration(mode));
    bench.warm_up(local, remote);
    let phone = |user, port| Phone::new(&bench.lab.peers, user, (local, port).into(), remote);
    let mut alice = phone("alice", 5081).registered();
    let bob = phone("bob", 5082).registered();

    // Every line differs, so that a lost or repeated fragment shows.
    let body: String = (0..120).map(|line| format!("a=line:{line:04} abcdefghijklmnopqrstu\r\n")).collect();
    let invite = alice.invite("bob", &body);
    assert!(invite.len() > 4000, "it must not fit in one frame: {}", invite.len());
    let before = node.status().unwrap().totals;
    alice.send(&invite);
    let received = bob.receive_from_peer(PATIENCE).expect("the INVITE");
    assert!(received.text.starts_with("INVITE sip:bob@"), "{}", received.text);
    assert_eq!(received.body(), body);
    assert_eq!(received.headers("Via").len(), 2, "its own and the node's");
    let totals = node.status().unwrap().totals - before;
    // The 100 takes the same way; a node of several workers has none.
    assert!(totals.sip_in_kernel == 1 && [1, 2].contains(&totals.sip_out_kernel), "{totals:?}");

    // The answer is small and goes its usual way back.
    bob.send(&received.reply("486 Busy Here", bob.address));
    let answer = alice.receive_from_peer(PATIENCE).expect("the answer");
    assert!(answer.text.starts_with("SIP/2.0 486 "), "{}", answer.text);
    assert_eq!(answer.headers("Via").len(), 1, "the node took its own away");
    assert!(bob.receive_from_peer(Duration::from_millis(100)).is_none(), "and nothing comes twice");
}
