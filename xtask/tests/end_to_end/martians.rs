//! Packets from addresses that nobody on the network has: loopback, and the node's own. The kernel drops them as martians;
//! XDP comes before it. Where such an address is trusted, because a program on the node's machine uses it, nobody may be
//! believed who writes it into a packet from outside.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use strowger_wire::VlanTags;
use strowger_xtask::lab::Lab;
use strowger_xtask::node::Configuration;

use crate::bench::{Bench, PATIENCE};
use crate::counted::Report;
use crate::forge::{Ends, Forge};
use crate::phone::{Phone, host};

/// A host that is trusted and could be there.
const PEER: &str = "10.77.0.9";
/// Long enough for a request to be passed on.
const SILENCE: Duration = Duration::from_millis(500);

/// An INVITE that leaves for elsewhere, as nobody may ask for who isn't known.
fn relayed(source: SocketAddr, to: SocketAddr, nth: usize) -> String {
    let at = host(source);
    format!(
        "INVITE sip:x@{to} SIP/2.0\r\nVia: SIP/2.0/UDP {source};branch=z9hG4bK-martian-{nth};rport\r\n\
         Max-Forwards: 70\r\nFrom: <sip:m@{at}>;tag={nth}\r\nTo: <sip:x@{to}>\r\nCall-ID: {nth}@martians\r\n\
         CSeq: 1 INVITE\r\nContact: <sip:m@{source}>\r\nContent-Length: 0\r\n\r\n"
    )
}

#[test]
fn nobody_from_outside_is_believed_to_be_this_machine() {
    let Some(bench) = Bench::plain() else { return };
    let own = [Lab::node_v4().ip(), Lab::node_v6().ip()];
    let node = bench.start(&Configuration {
        open: false,
        auth: format!("trusted: [127.0.0.1, \"::1\", {}, \"{}\", {PEER}]", own[0], own[1]),
        ..bench.configuration("copy")
    });
    let ends = Ends::of(&bench);
    for (local, remote) in
        [(Lab::PEERS_V4.into(), Lab::node_v4()), (IpAddr::from(Lab::PEERS_V6), Lab::node_v6())]
    {
        bench.warm_up(local, remote);
    }
    let victim = Phone::new(&bench.lab.peers, "x", (Lab::PEERS_V4, 5082).into(), Lab::node_v4());
    let victim6 = Phone::new(&bench.lab.peers, "x", (Lab::PEERS_V6, 5082).into(), Lab::node_v6());
    let send = |source: &str, nth| {
        let source: IpAddr = source.parse().unwrap();
        let (node, victim) =
            if source.is_ipv4() { (Lab::node_v4(), &victim) } else { (Lab::node_v6(), &victim6) };
        let source = SocketAddr::new(source, 5070);
        let request = relayed(source, victim.address, nth);
        let forged = || Forge::open(ends).send((source, node), VlanTags::NONE, request.as_bytes());
        bench.lab.peers.enter_on_a_thread(forged).unwrap();
        victim
    };

    // So it is with who is trusted and could be there.
    let received = send(PEER, 0).receive(PATIENCE).expect("what a trusted peer sends on");
    assert!(received.text.starts_with("INVITE sip:x@"), "{}", received.text);

    let own = own.map(|ip| ip.to_string());
    let (none, ours) = ("pass_martian", "drop_martian");
    let cases = [
        ("127.0.0.1", none),
        ("127.1.2.3", none),
        ("::1", none),
        ("::ffff:127.0.0.1", none),
        (&*own[0], ours),
        (&*own[1], ours),
    ];
    for (nth, (source, counter)) in cases.into_iter().enumerate() {
        let before = Report::of(&node);
        let victim = send(source, nth + 1);
        // Repetitions of the first INVITE may still come.
        while let Some(received) = victim.receive(SILENCE) {
            assert!(
                !received.text.contains(&format!("Call-ID: {}@", nth + 1)),
                "{source}: {}",
                received.text
            );
        }
        let after = Report::of(&node);
        let counted = |report: &Report| match counter {
            "pass_martian" => report.xdp(counter),
            _ => report.sum(counter),
        };
        assert_eq!(counted(&after), counted(&before) + 1, "{source}: {counter}");
        // Not every kernel drops an IPv4 address in an IPv6 header: the engine does.
        if !source.starts_with("::ffff:") {
            assert_eq!(after.sum("rx_kernel"), before.sum("rx_kernel"), "{source}: nor by the kernel");
        }
    }
    Report::of(&node).assert_balanced();
}
