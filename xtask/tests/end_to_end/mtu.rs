//! A message that fits the wire when it comes and no longer when it goes: AF_XDP brings it, the kernel socket sends it,
//! in fragments.

use std::net::{IpAddr, SocketAddr};

use strowger_xtask::lab::Lab;

use crate::bench::{Bench, PATIENCE, say};
use crate::phone::Phone;

/// The veth pair's MTU less the headers of UDP and of IPv4 or IPv6.
const LARGEST_PAYLOAD: usize = 1500 - 20 - 8;
const LARGEST_PAYLOAD_V6: usize = 1500 - 40 - 8;

#[test]
fn an_invite_that_outgrows_the_mtu_leaves_whole_by_the_kernel_socket() {
    outgrows(LARGEST_PAYLOAD, Lab::PEERS_V4.into(), Lab::node_v4());
}

#[test]
fn an_invite_that_outgrows_the_mtu_over_ipv6_leaves_whole_by_the_kernel_socket() {
    outgrows(LARGEST_PAYLOAD_V6, Lab::PEERS_V6.into(), Lab::node_v6());
}

fn outgrows(largest: usize, local: IpAddr, remote: SocketAddr) {
    let Some(bench) = Bench::plain() else { return };
    let node = bench.start(&bench.configuration("copy"));
    bench.warm_up(local, remote);
    let phone = |user, port| Phone::new(&bench.lab.peers, user, (local, port).into(), remote);
    let mut alice = phone("alice", 5081).registered();
    let bob = phone("bob", 5082).registered();

    let empty = alice.invite("bob", "");
    // Content-Length has four digits then and not one; every line of the body differs, so that a lost part shows.
    let room = largest - empty.len() - 3;
    let lines: String = (0..100).map(|line| format!("a=line:{line:04} abcdefghij\r\n")).collect();
    let invite = alice.invite("bob", &lines[..room]);
    assert!((largest - 1..=largest).contains(&invite.len()), "just fits: {}", invite.len());

    let before = node.status().unwrap();
    alice.send(&invite);
    let received = bob.receive(PATIENCE).expect("the INVITE");
    assert!(received.text.len() > largest, "it grew: {}", received.text.len());
    assert_eq!(received.body(), &lines[..room]);
    assert_eq!((received.headers("Via").len(), received.headers("Record-Route").len()), (2, 1));
    let after = node.status().unwrap();
    let totals = after.totals - before.totals;
    let detours = after.counted("detour_over_mtu") - before.counted("detour_over_mtu");
    say(&format!("{} bytes in, {} bytes out, {totals:?}", invite.len(), received.text.len()));
    assert_eq!((totals.sip_in_xsk, totals.sip_in_kernel), (1, 0), "it came by AF_XDP: {totals:?}");
    assert_eq!((totals.sip_out_kernel, detours), (1, 1), "it left by the kernel: {totals:?}");

    bob.send(&received.reply("486 Busy Here", bob.address));
    let answer = alice.receive_from_peer(PATIENCE).expect("the answer");
    assert!(answer.text.starts_with("SIP/2.0 486 "), "{}", answer.text);
    let totals = node.status().unwrap().totals - after.totals;
    assert!(totals.sip_out_xsk > 0, "what is small leaves by AF_XDP as before: {totals:?}");
}
