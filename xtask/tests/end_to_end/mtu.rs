//! A message that fits the wire when it comes and no longer when it goes: AF_XDP brings it, the kernel socket sends it,
//! in fragments.

use std::net::{IpAddr, SocketAddr};

use strowger_xtask::lab::Lab;

use crate::bench::{Bench, say};
use crate::counted::{fresh, undisturbed};
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
    let (before, after, answered) = undisturbed(&node, || {
        let invite = alice.invite("bob", &lines[..room]);
        assert!((largest - 1..=largest).contains(&invite.len()), "just fits: {}", invite.len());
        let before = fresh(&node);
        alice.send(&invite);
        let received = bob.of_call("INVITE ", &invite);
        assert!(received.text.len() > largest, "it grew: {}", received.text.len());
        assert_eq!(received.body(), &lines[..room]);
        assert_eq!((received.headers("Via").len(), received.headers("Record-Route").len()), (2, 1));
        let after = fresh(&node);
        say(&format!("{} bytes in, {} bytes out", invite.len(), received.text.len()));
        bob.send(&received.reply("486 Busy Here", bob.address));
        alice.of_call("SIP/2.0 486 ", &invite);
        (before, after, fresh(&node))
    });
    let totals = after.totals - before.totals;
    let detours = after.counted("detour_over_mtu") - before.counted("detour_over_mtu");
    assert_eq!((totals.sip_in_xsk, totals.sip_in_kernel), (1, 0), "it came by AF_XDP: {totals:?}");
    // More than once when the phone takes longer than timer A (RFC 3261 section 17.1.1.2).
    assert!(detours >= 1, "it left by the kernel: {totals:?}");
    assert_eq!(totals.sip_out_kernel, detours, "and nothing else did: {totals:?}");
    let totals = answered.totals - after.totals;
    assert!(totals.sip_out_xsk > 0, "what is small leaves by AF_XDP as before: {totals:?}");
}
