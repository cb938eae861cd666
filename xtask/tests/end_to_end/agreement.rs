//! What status says, held against everybody else who counts: the device (`ip -s link`, `ethtool -S`), the sockets' XDP_STATISTICS and
//! the kernel's own SNMP counters. Both directions agree to the packet, also when rings were full and messages took the
//! kernel's way.
//!
//! | The device | is |
//! |---|---|
//! | received | all of the program's verdicts |
//! | redirected | received by the sockets |
//! | dropped after a redirect | the sockets' `rx_dropped` and `rx_ring_full` |
//! | sent | sent by the sockets, and by the kernel: datagrams with their fragments, ICMP |

use std::collections::BTreeMap;
use std::fs;

use serde_json::Value;
use strowger_xtask::lab::Lab;
use strowger_xtask::machine;

use crate::bench::{Bench, say};
use crate::counted::{Report, number, quiet};
use crate::exhaustion::overrun_until_lost;
use crate::forge::Ends;
use crate::steering::{LIMIT, bind, callee, callers, node};
use crate::switchboard::{self, Plan};

/// Everything that is counted outside of the node, by name.
struct Counted(BTreeMap<String, u64>);

impl Counted {
    fn now(bench: &Bench) -> Self {
        let mut all = BTreeMap::new();
        let links = bench.lab.node.ip_json(&["-s", "link", "show", "dev", Lab::NODE_INTERFACE]).unwrap();
        let statistics: &Value = &links[0]["stats64"];
        for way in ["rx", "tx"] {
            for what in ["packets", "dropped", "errors"] {
                all.insert(format!("{way}_{what}"), number(&statistics[way], what));
            }
        }
        let output = bench.lab.node.command("ethtool").args(["-S", Lab::NODE_INTERFACE]).output().unwrap();
        for line in String::from_utf8_lossy(&output.stdout).lines() {
            let Some((name, value)) = line.trim().split_once(": ") else { continue };
            // By queue: rx_queue_0_xdp_redirect.
            let Some((_, name)) = name.strip_prefix("rx_queue_").and_then(|name| name.split_once('_')) else {
                continue;
            };
            *all.entry(format!("queues_{name}")).or_default() += value.trim().parse::<u64>().unwrap();
        }
        // The kernel shows the counters of the namespace of the thread that asks.
        let read = |path: &str| {
            bench
                .lab
                .node
                .enter_on_a_thread(|| fs::read_to_string(format!("/proc/thread-self/net/{path}")).unwrap())
                .unwrap()
        };
        // Pairs of lines: names, values.
        let text = read("snmp");
        let lines: Vec<&str> = text.lines().collect();
        for pair in lines.chunks(2) {
            let [names, values] = pair else { continue };
            let (group, names) = names.split_once(": ").unwrap();
            let (_, values) = values.split_once(": ").unwrap();
            for (name, value) in names.split(' ').zip(values.split(' ')) {
                all.insert(format!("{group}{name}"), value.parse().unwrap_or(0));
            }
        }
        for line in read("snmp6").lines() {
            let mut words = line.split_whitespace();
            if let (Some(name), Some(value)) = (words.next(), words.next()) {
                all.insert(name.to_owned(), value.parse().unwrap_or(0));
            }
        }
        Self(all)
    }

    fn since(&self, before: &Self, name: &str) -> u64 {
        let of = |counted: &Self| *counted.0.get(name).unwrap_or_else(|| panic!("nobody counts {name}"));
        of(self) - of(before)
    }
}

/// The sum of a counter over all sockets.
fn sockets(report: &Report, group: &str, name: &str) -> u64 {
    report.queues().iter().map(|socket| number(&socket[group], name)).sum()
}

fn verdicts(report: &Report, prefix: &str) -> u64 {
    let all = report.0["dataplane"]["xdp"].as_object().unwrap();
    all.iter().filter(|(name, _)| name.starts_with(prefix)).map(|(_, count)| count.as_u64().unwrap()).sum()
}

/// A counter of the kernel's sockets, of the workers and the stand-in.
fn kernel(report: &Report, name: &str) -> u64 {
    let workers = report.workers().iter().chain([&report.0["stand_in"]]);
    workers.map(|worker| number(&worker["kernel"], name)).sum()
}

#[test]
fn status_agrees_with_the_device_and_the_kernel_to_the_packet() {
    let Some(bench) = Bench::with(&[machine::ETHTOOL]) else { return };
    let node = node(&bench, "copy", 2, 2);
    let six = (Lab::PEERS_V6, 7001).into();
    bench.warm_up(Lab::PEERS_V6.into(), Lab::node_v6());
    // Neighbours that are known for good: ARP is the one thing on this wire that nobody counts.
    let Ends { from, to } = Ends::of(&bench);
    let ends = [
        (&bench.lab.node, Lab::NODE_INTERFACE, from, [Lab::PEERS_V4.to_string(), Lab::PEERS_V6.to_string()]),
        (&bench.lab.peers, Lab::PEERS_INTERFACE, to, [Lab::NODE_V4.to_string(), Lab::NODE_V6.to_string()]),
    ];
    for (namespace, interface, mac, addresses) in ends {
        for address in addresses {
            let mac = mac.to_string();
            namespace
                .ip(&["neigh", "replace", &address, "lladdr", &mac, "dev", interface, "nud", "permanent"])
                .unwrap();
        }
    }

    let (before, counted_before) = (quiet(&node), Counted::now(&bench));
    let play = |plan: Plan| {
        let outcome = bench.lab.peers.enter_on_a_thread(|| switchboard::run(&plan)).unwrap();
        assert_eq!(outcome.finished, plan.calls, "{outcome:?}");
    };
    play(Plan { callers: callers(8), callee: callee(), calls: 2_000, body: 0, limit: LIMIT });
    // INVITEs of several fragments, each way.
    play(Plan { callers: callers(8), callee: callee(), calls: 200, body: 3_000, limit: LIMIT });
    overrun_until_lost(&bench, &node);
    bind(&bench, six);
    let callers = (6100..6108).map(|port| (Lab::PEERS_V6, port).into()).collect();
    play(Plan { callers, callee: six, calls: 500, body: 0, limit: LIMIT });
    std::thread::sleep(std::time::Duration::from_millis(300));
    let (after, counted) = (quiet(&node), Counted::now(&bench));

    let device = |name: &str| counted.since(&counted_before, name);
    let socket = |group: &str, name: &str| sockets(&after, group, name) - sockets(&before, group, name);
    let verdict = |prefix: &str| verdicts(&after, prefix) - verdicts(&before, prefix);
    let udp = |name: &str| device(&format!("Udp{name}")) + device(&format!("Udp6{name}"));
    let by_sockets = |name: &str| kernel(&after, name) - kernel(&before, name);

    // In.
    assert_eq!(device("rx_packets"), verdict(""), "the program has seen each packet and counted it once");
    assert_eq!(device("queues_xdp_packets"), verdict(""));
    let lost = socket("statistics", "rx_dropped") + socket("statistics", "rx_ring_full");
    assert!(lost > 0, "rings were full");
    assert_eq!(device("queues_xdp_redirect"), socket("counters", "rx"));
    assert_eq!(device("queues_drops"), lost);
    assert_eq!(verdict("redirect"), socket("counters", "rx") + lost);
    assert_eq!(device("queues_xdp_drops"), verdict("drop_"));
    assert_eq!(device("queues_xdp_tx"), verdict("answer_"));
    for bug in ["rx_invalid_descs", "tx_invalid_descs"] {
        assert_eq!(socket("statistics", bug), 0, "{bug}");
    }
    assert_eq!(
        udp("InDatagrams"),
        by_sockets("received"),
        "what was passed, put together from its fragments"
    );
    assert_eq!(udp("RcvbufErrors"), by_sockets("receive_dropped"));

    // Out.
    assert_eq!(socket("counters", "tx"), socket("counters", "completed"));
    let by_rings = after.sum("tx_xsk") - before.sum("tx_xsk");
    assert_eq!(socket("counters", "tx"), by_rings);
    assert_eq!(udp("OutDatagrams"), by_sockets("sent"));
    assert_eq!(after.sum("tx_kernel") - before.sum("tx_kernel"), by_sockets("sent"));
    let fragments = device("IpFragCreates") + device("Ip6FragCreates");
    let fragmented = device("IpFragOKs") + device("Ip6FragOKs");
    assert!(fragmented >= 200 && fragments > fragmented, "{fragmented} in {fragments}");
    let by_kernel =
        by_sockets("sent") - fragmented + fragments + device("IcmpOutMsgs") + device("Icmp6OutMsgs");
    let sent = device("tx_packets") + device("tx_dropped");
    say(&format!(
        "received {} (redirected {}, of these lost by rings {lost}; passed {}), sent {sent} ({by_rings} by rings, {by_kernel} by the kernel, \
         {} of them refused by the other end)",
        device("rx_packets"),
        verdict("redirect"),
        verdict("pass_"),
        device("tx_dropped"),
    ));
    assert_eq!(sent, by_rings + by_kernel);
    assert_eq!((device("rx_errors"), device("tx_errors")), (0, 0));
    after.assert_balanced();
}
