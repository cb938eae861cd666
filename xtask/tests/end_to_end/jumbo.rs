//! A wire with an MTU of 9,000: frames that fit a chunk of an AF_XDP socket go there, longer ones to the node's kernel
//! socket, and every message is served.

use std::time::Duration;

use strowger_xtask::lab::Lab;
use strowger_xtask::node::Status;

use crate::bench::Bench;
use crate::counted::{fresh, repeated, undisturbed};
use crate::phone::Phone;

/// Ethernet, IPv4 and UDP in front of a message.
const HEADERS: usize = 14 + 20 + 8;
/// The longest message that the XDP program redirects: in a frame of 3,584 bytes.
const LONGEST: usize = 3_584 - HEADERS;
const MTU: &str = "9000";

#[test]
fn messages_of_every_length_are_served_in_generic_mode() {
    every_length("generic");
}

/// Whatever becomes of it: a driver may refuse native XDP at this MTU.
#[test]
fn messages_of_every_length_are_served_in_auto_mode() {
    every_length("auto");
}

fn every_length(wanted: &str) {
    let Some(bench) = Bench::plain() else { return };
    let ends = [(&bench.lab.node, Lab::NODE_INTERFACE), (&bench.lab.peers, Lab::PEERS_INTERFACE)];
    for (namespace, interface) in ends {
        namespace.ip(&["link", "set", interface, "mtu", MTU]).unwrap();
    }
    let node = bench.start(&bench.configuration(wanted));
    let mode = node.status().unwrap().dataplane.mode;
    assert_ne!(mode, "off");
    bench.warm_up(Lab::PEERS_V4.into(), Lab::node_v4());
    let phone = |user, port| Phone::new(&bench.lab.peers, user, (Lab::PEERS_V4, port).into(), Lab::node_v4());
    let mut alice = phone("alice", 5081).registered();
    let bob = phone("bob", 5082).registered();

    for length in [1_000, 3_100, 3_500, LONGEST, LONGEST + 1, 5_000, 8_000] {
        let (before, after) = undisturbed(&node, || {
            let invite = invite_of(&mut alice, length);
            let (_, body) = invite.split_once("\r\n\r\n").unwrap();
            let before = fresh(&node);
            alice.send(&invite);
            let received = bob.of_call("INVITE sip:bob@", &invite);
            assert_eq!(received.body(), body, "{mode}: {length} bytes");
            let after = fresh(&node);
            bob.send(&received.reply("486 Busy Here", bob.address));
            alice.of_call("SIP/2.0 486 ", &invite);
            (before, after)
        });
        let totals = after.totals - before.totals;
        let by_the_kernel = u64::from(length > LONGEST);
        assert_eq!(
            (totals.sip_in_xsk, totals.sip_in_kernel),
            (1 - by_the_kernel, by_the_kernel),
            "{mode}: {length} bytes: {totals:?}"
        );
        // A 100 and the INVITE, and what timers A and G have said again: nobody acknowledges the 486.
        assert_eq!(
            totals.sent(),
            2 + repeated(&after) - repeated(&before),
            "{mode}: {length} bytes: {totals:?}"
        );
        let too_long = |status: &Status| status.whole["dataplane"]["xdp"]["pass_too_long"].as_u64().unwrap();
        assert_eq!(too_long(&after) - too_long(&before), by_the_kernel, "{length}");
    }
    let twice = bob.receive_from_peer(Duration::from_millis(100));
    assert!(twice.is_none() || fresh(&node).event("request_repeated") > 0, "nothing comes twice by itself");
}

/// An INVITE of exactly so many bytes: a long body, and a header for the rest.
fn invite_of(caller: &mut Phone, length: usize) -> String {
    // Lines that differ, so that a lost piece shows.
    let body: String = (0..400).map(|line| format!("a=line:{line:04} abcdefghijklmn\r\n")).collect();
    let invite = caller.invite("bob", &body[..length - 600]);
    let (line, rest) = invite.split_once("\r\n").unwrap();
    let subject = "s".repeat(length - invite.len() - "Subject: \r\n".len());
    let invite = format!("{line}\r\nSubject: {subject}\r\n{rest}");
    assert_eq!(invite.len(), length);
    invite
}
