//! A next hop behind a gateway on another subnet, in three namespaces: the frame carries the gateway's MAC address,
//! not that of whoever sent the message before.
//!
//! The peers' end of the wire becomes a bridge with a second port, where the gateway is. Alice is in the node's own
//! subnet, Bob behind the gateway:
//!
//! ```text
//! node 10.77.0.2 ──── bridge (Alice 10.77.0.1) ──── gateway 10.77.0.9 · Bob 10.78.0.1
//! ```

use std::net::Ipv4Addr;

use strowger_xtask::lab::Lab;
use strowger_xtask::namespace::Namespace;

use crate::bench::Bench;
use crate::counted::{fresh, repeated, undisturbed};
use crate::phone::Phone;

const GATEWAY: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 9);
const BOB: Ipv4Addr = Ipv4Addr::new(10, 78, 0, 1);

/// Removes the third namespace, also when the test fails.
struct Far(Namespace);

impl Drop for Far {
    fn drop(&mut self) {
        let _ = self.0.remove();
    }
}

fn far(bench: &Bench) -> Far {
    let far = Far(Namespace::new(format!("{}-far", bench.lab.peers.name())));
    far.0.ensure().unwrap();
    let (peers, name) = (&bench.lab.peers, far.0.name());
    let end = Lab::PEERS_INTERFACE;
    let local = format!("{}/24", Lab::PEERS_V4);
    let ip = |namespace: &Namespace, line: &str| {
        namespace.ip(&line.split_whitespace().collect::<Vec<_>>()).unwrap();
    };
    ip(peers, "link add sw-bridge type bridge");
    ip(peers, &format!("addr del {local} dev {end}"));
    ip(peers, &format!("link set {end} master sw-bridge"));
    ip(peers, &format!("addr add {local} dev sw-bridge"));
    ip(peers, &format!("link add sw-to-far type veth peer name sw-far netns {name}"));
    ip(peers, "link set sw-to-far master sw-bridge up");
    ip(peers, "link set sw-bridge up");
    ip(&far.0, &format!("addr add {GATEWAY}/24 dev sw-far"));
    ip(&far.0, "link set sw-far up");
    // Bob's subnet is the gateway's own; that he has no wire of his own changes nothing for the node.
    ip(&far.0, &format!("addr add {BOB}/24 dev lo"));
    ip(&bench.lab.node, &format!("route add 10.78.0.0/24 via {GATEWAY} dev {}", Lab::NODE_INTERFACE));
    far
}

fn mac(namespace: &Namespace, interface: &str) -> String {
    namespace.ip_json(&["link", "show", "dev", interface]).unwrap()[0]["address"].as_str().unwrap().to_owned()
}

#[test]
fn a_next_hop_behind_a_gateway_gets_the_gateways_mac() {
    let Some(bench) = Bench::plain() else { return };
    let far = far(&bench);
    assert_ne!(mac(&bench.lab.peers, "sw-bridge"), mac(&far.0, "sw-far"), "else nothing is shown");
    let node = bench.start(&bench.configuration("copy"));
    bench.warm_up(Lab::PEERS_V4.into(), Lab::node_v4());
    let mut alice =
        Phone::new(&bench.lab.peers, "alice", (Lab::PEERS_V4, 5081).into(), Lab::node_v4()).registered();
    let bob = Phone::new(&far.0, "bob", (BOB, 5082).into(), Lab::node_v4()).registered();
    // The first answer to Bob may have gone by the kernel, which resolved the gateway; from now on it is known.
    let bob = bob.registered();

    let (before, after) = undisturbed(&node, || {
        let before = fresh(&node);
        let invite = alice.invite("bob", "v=0\r\n");
        alice.send(&invite);
        // In a frame with another MAC address it would not be for the gateway's stack.
        let received = bob.of_call("INVITE ", &invite);
        assert!(received.text.starts_with("INVITE sip:bob@10.78.0.1:5082 "), "{}", received.text);
        bob.send(&received.reply("486 Busy Here", bob.address));
        // And this one has Alice's, not the gateway's.
        alice.of_call("SIP/2.0 486 ", &invite);
        (before, fresh(&node))
    });
    let (totals, again) = (after.totals - before.totals, repeated(&after) - repeated(&before));
    // INVITE and 486 pass, a 100 and an ACK are the node's own; nobody acknowledges the 486.
    assert_eq!((totals.sip_in_xsk, totals.sip_out_xsk), (2, 4 + again), "all by AF_XDP: {totals:?}");
    assert_eq!((totals.sip_in_kernel, totals.sip_out_kernel), (0, 0), "{totals:?}");
}
