//! Rings that are full: what is lost is counted, the same by the node, the kernel and the device, and no frame is lost.

use std::net::UdpSocket;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;
use strowger_xtask::lab::Lab;
use strowger_xtask::machine;
use strowger_xtask::namespace::Namespace;
use strowger_xtask::node::Node;

use crate::bench::{Bench, say};
use crate::counted::{Report, number, quiet};
use crate::steering::{LIMIT, callee, callers, node};
use crate::switchboard::{self, Plan};

/// Requests that arrive while nobody reads: more than the RX rings of two workers hold, and the fill ring gives.
const BURST: u32 = 12_000;

/// A counter of the device's queue, by its name in `ethtool -S`.
fn device_counter(namespace: &Namespace, queue: u64, name: &str) -> u64 {
    let mut command = namespace.command("ethtool");
    let output = command.args(["-S", Lab::NODE_INTERFACE]).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let wanted = format!("rx_queue_{queue}_{name}:");
    let line = text.lines().find_map(|line| line.trim().strip_prefix(&wanted));
    line.unwrap_or_else(|| panic!("no {wanted} in {text}")).trim().parse().unwrap()
}

/// The sum of a counter over the sockets of a queue.
fn on_queue(report: &Report, queue: u64, group: &str, name: &str) -> u64 {
    let sockets = report.queues().iter().filter(|socket| number(socket, "queue") == queue);
    sockets.map(|socket| number(&socket[group], name)).sum()
}

/// Sends more than the node's rings hold, while it is stopped for less time than a heart takes to look still: XDP goes on
/// redirecting to somebody who does not read.
pub(crate) fn overrun(bench: &Bench, node: &Node) {
    overrun_after(bench, node, Duration::ZERO);
}

/// The same, when it has been stopped for so long: after 150 ms all of it waits in the kernel's sockets.
pub(crate) fn overrun_after(bench: &Bench, node: &Node, stopped: Duration) {
    bench
        .lab
        .peers
        .enter_on_a_thread(|| {
            let sockets: Vec<UdpSocket> =
                (6900..6908).map(|port| UdpSocket::bind((Lab::PEERS_V4, port)).unwrap()).collect();
            let requests: Vec<String> = (0..64)
                .map(|call| {
                    format!(
                        "OPTIONS sip:nobody@{0} SIP/2.0\r\nVia: SIP/2.0/UDP {1}:6900;rport;branch=z9hG4bKo{call}\r\n\
                         From: <sip:a@{0}>;tag=a\r\nTo: <sip:nobody@{0}>\r\nCall-ID: {call}-unread@here\r\n\
                         CSeq: 1 OPTIONS\r\nMax-Forwards: 70\r\nContent-Length: 0\r\n\r\n",
                        Lab::NODE_V4,
                        Lab::PEERS_V4
                    )
                })
                .collect();
            node.signal(Signal::STOP).unwrap();
            std::thread::sleep(stopped);
            for nth in 0..BURST as usize {
                let request = &requests[nth % requests.len()];
                // What the kernel has no room for is not there to be lost.
                let _ = sockets[nth % sockets.len()].send_to(request.as_bytes(), Lab::node_v4());
            }
            node.signal(Signal::CONT).unwrap();
        })
        .unwrap();
}

/// Frames that the kernel had no room for in a socket's RX ring, or no chunk.
fn lost(node: &Node) -> u64 {
    let report = Report::of(node);
    [0, 1].iter().map(|&queue| lost_on(&report, queue)).sum()
}

fn lost_on(report: &Report, queue: u64) -> u64 {
    ["rx_dropped", "rx_ring_full"].iter().map(|name| on_queue(report, queue, "statistics", name)).sum()
}

/// Overruns the rings until something is lost: a machine that is slow sends too little before the program takes the heart for still.
pub(crate) fn overrun_until_lost(bench: &Bench, node: &Node) {
    let before = lost(node);
    for _ in 0..10 {
        overrun(bench, node);
        if lost(node) > before {
            return;
        }
        say("the rings were not full: again");
    }
    panic!("the rings are never full");
}

#[test]
fn full_rings_are_counted_alike_by_all_and_leak_nothing() {
    let Some(bench) = Bench::with(&[machine::ETHTOOL]) else { return };
    let node = node(&bench, "copy", 2, 2);
    let before = Report::of(&node);

    overrun_until_lost(&bench, &node);

    std::thread::sleep(Duration::from_millis(200));
    let after = quiet(&node);
    let mut redirected = 0;
    for queue in [0, 1] {
        let of = |group, name| on_queue(&after, queue, group, name);
        let statistics =
            ["rx_dropped", "rx_ring_full", "rx_fill_ring_empty_descs"].map(|name| of("statistics", name));
        say(&format!(
            "queue {queue}: {} received; dropped, ring full, fill empty: {statistics:?}",
            of("counters", "rx")
        ));
        // The kernel's figures (XDP_STATISTICS), the program's and the device's have to make sense of each other.
        let dropped = lost_on(&after, queue);
        let by_device = device_counter(&bench.lab.node, queue, "xdp_redirect");
        assert_eq!(of("counters", "rx"), by_device, "queue {queue}: the device counts what the socket took");
        redirected += of("counters", "rx") + dropped;
    }
    assert_eq!(
        after.xdp("redirect"),
        redirected,
        "every packet that was redirected was received or counted as lost"
    );
    assert_eq!(after.sum("rx_xsk"), after.queues().iter().map(|q| number(&q["counters"], "rx")).sum::<u64>());
    after.assert_balanced();
    let idle = |report: &Report| -> Vec<Value> {
        report.queues().iter().map(|q| q["balance"]["total"].clone()).collect()
    };
    assert_eq!(idle(&before), idle(&after));

    // And everything works as before.
    let plan = Plan { callers: callers(8), callee: callee(), calls: 2_000, body: 0, limit: LIMIT };
    let outcome = bench.lab.peers.enter_on_a_thread(|| switchboard::run(&plan)).unwrap();
    assert_eq!(outcome.finished, plan.calls, "{outcome:?}");
    quiet(&node).assert_balanced();
}
