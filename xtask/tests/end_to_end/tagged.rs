//! Tagged frames (IEEE 802.1Q, 802.1ad). A frame is the node's by destination address and port, whatever tag it carries, and what
//! it brings about follows the routing table: here, untagged. The frames are written by the test, because not every kernel
//! has VLAN interfaces; that a route through one leads to its tag is tested with the mirror of routes.

use std::net::SocketAddr;
use std::time::Duration;

use strowger_wire::{VlanTag, VlanTags};
use strowger_xtask::lab::Lab;

use crate::bench::{Bench, until};
use crate::counted::{Report, undisturbed};
use crate::forge::{Ends, Forge};
use crate::phone::Phone;

#[test]
fn tagged_messages_are_served_like_others() {
    let Some(bench) = Bench::plain() else { return };
    let node = bench.start(&bench.configuration("copy"));
    let ends = Ends::of(&bench);
    let (customer, service) = (VlanTag::customer(5), VlanTag::service(100));
    let tags = [
        ("none", VlanTags::NONE),
        ("one", VlanTags::one(customer)),
        ("priority alone", VlanTags::one(VlanTag { tpid: customer.tpid, tci: 0xa000 })),
        ("two", VlanTags::two(service, customer)),
    ];
    let families: [(std::net::IpAddr, SocketAddr); 2] =
        [(Lab::PEERS_V4.into(), Lab::node_v4()), (Lab::PEERS_V6.into(), Lab::node_v6())];
    for (at, (local, remote)) in families.into_iter().enumerate() {
        bench.warm_up(local, remote);
        let port = 5081 + 10 * at as u16;
        let phone = |user, port| Phone::new(&bench.lab.peers, user, (local, port).into(), remote);
        let (mut alice, bob) = (phone("alice", port), phone("bob", port + 1).registered());
        for (name, vlans) in tags {
            let (before, after) = undisturbed(&node, || {
                let invite = alice.invite("bob", "v=0\r\n");
                let before = Report::of(&node);
                let way = (alice.address, remote);
                let send = || Forge::open(ends).send(way, vlans, invite.as_bytes());
                bench.lab.peers.enter_on_a_thread(send).unwrap();
                let received = bob.of_call("INVITE sip:bob@", &invite);
                assert_eq!(received.body(), "v=0\r\n", "{name} at {local}");
                bob.send(&received.reply("486 Busy Here", bob.address));
                let answer = alice.of_call("SIP/2.0 486 ", &invite);
                alice.send(&Phone::acknowledge_refusal(&invite, &answer));
                let received = |report: &Report| {
                    report.sum("rx_xsk") + report.sum("rx_kernel") + report.stand_in("rx_kernel")
                };
                until("all three came", || received(&Report::of(&node)) >= received(&before) + 3);
                while bob.receive(Duration::from_millis(50)).is_some() {}
                (before, Report::of(&node))
            });
            let more = |name: &str| after.sum(name) - before.sum(name);
            // INVITE, 486, and two ACKs of which one is the node's own.
            assert_eq!(
                (more("rx_xsk"), more("rx_kernel"), more("tx_kernel")),
                (3, 0, 0),
                "{name} at {local}"
            );
            assert_eq!(after.xdp("redirect") - before.xdp("redirect"), 3, "{name} at {local}");
        }
    }
    Report::of(&node).assert_balanced();
}
