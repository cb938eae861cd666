//! Queues times workers: every message of a call on one worker, whichever queue it takes, and the work evenly shared.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use strowger_xtask::lab::Lab;
use strowger_xtask::machine;
use strowger_xtask::node::{Configuration, Node};

use crate::bench::{Bench, say};
use crate::counted::{Report, number, quiet, undisturbed};
use crate::phone::Phone;
use crate::switchboard::{self, Plan};

/// How long the callers may take: generous, so that no test fails because the machine is busy.
pub(crate) const LIMIT: Duration = Duration::from_secs(240);

/// Where the callee answers.
pub(crate) fn callee() -> SocketAddr {
    (Lab::PEERS_V4, 7000).into()
}

/// As many queues at both ends: a veth pair delivers to the queue that the sender's flow hash chose.
pub(crate) fn queues(bench: &Bench, count: u32) {
    let ends = [(&bench.lab.node, Lab::NODE_INTERFACE), (&bench.lab.peers, Lab::PEERS_INTERFACE)];
    for (namespace, interface) in ends {
        let count = count.to_string();
        let mut command = namespace.command("ethtool");
        let status = command.args(["-L", interface, "rx", &count, "tx", &count]).status().unwrap();
        assert!(status.success(), "{interface} has not {count} queues");
    }
}

/// A node of these queues and workers, with a callee registered; the tables have room for every call of a test.
pub(crate) fn node(bench: &Bench, mode: &str, on_queues: u32, workers: u32) -> Node {
    queues(bench, on_queues);
    let limits = "limits: { per_source_pps: 1000000, transactions: 250000, dialogs: 150000 }\n".to_owned();
    let node =
        bench.start(&Configuration { workers: Some(workers), extra: limits, ..bench.configuration(mode) });
    bench.warm_up(Lab::PEERS_V4.into(), Lab::node_v4());
    bind(bench, callee());
    node
}

/// The callee's REGISTER: `bob` is there, and nowhere else.
pub(crate) fn bind(bench: &Bench, callee: SocketAddr) {
    let node = if callee.is_ipv4() { Lab::node_v4() } else { Lab::node_v6() };
    bench.warm_up(callee.ip(), node);
    drop(Phone::new(&bench.lab.peers, "bob", callee, node).registered());
}

/// Callers of so many ports.
pub(crate) fn callers(count: u16) -> Vec<SocketAddr> {
    (0..count).map(|nth| (Lab::PEERS_V4, 6000 + nth).into()).collect()
}

/// Makes the calls, and checks what holds in every case: all succeed, no message is on a wrong worker or lost between two,
/// each worker has its share of the calls, and the frames balance. Gives the reports before and after.
fn calls(bench: &Bench, node: &Node, what: &str, plan: &Plan) -> (Report, Report) {
    let before = Report::of(node);
    let outcome = bench.lab.peers.enter_on_a_thread(|| switchboard::run(plan)).unwrap();
    let after = quiet(node);
    let received: Vec<u64> =
        after.each("rx_xsk").iter().zip(after.each("rx_kernel")).map(|(xsk, kernel)| xsk + kernel).collect();
    let all: u64 = received.iter().sum();
    let shares: Vec<f64> = received.iter().map(|one| *one as f64 * 100.0 / all as f64).collect();
    say(&format!(
        "{what}: {} calls in {:.1} s ({:.0} messages a second), {} requests again; shares {shares:.1?} %, handed over {}, \
         woke others {:?}",
        outcome.finished,
        outcome.took.as_secs_f64(),
        all as f64 / outcome.took.as_secs_f64(),
        outcome.again,
        after.sum("handed_over_in"),
        after.each("woke_others"),
    ));
    assert_eq!(
        outcome.finished,
        plan.calls,
        "{outcome:?}; dropped on the way: {:?}",
        after.each("handed_over_dropped")
    );
    // Of a worker that the machine did not let run: its messages are nobody's share, and of each call one may overtake.
    let round = after.went_round() - before.went_round();
    if round > 0 {
        say(&format!("{what}: {round} messages went round a worker without a beat"));
    }
    // 180 and 200 of a call leave the callee one after the other: so they go through the node. Whoever repeats himself, or has
    // lost the 180, shows nothing.
    assert!(outcome.overtaken as u64 <= round || outcome.again > 0, "{outcome:?}");
    // Which worker has a call is by chance, each time anew: of 2,000 calls and two workers a share of 5 points more or less
    // is 4.5 standard deviations away, of more calls further.
    assert!(plan.calls >= 2_000, "too few to say who has how many");
    let even = 100.0 / shares.len() as f64;
    let slack = even / 10.0 + after.went_round() as f64 * 100.0 / all as f64;
    assert!(shares.iter().all(|share| (share - even).abs() <= slack), "{shares:?}");
    assert_eq!(after.sum("steered_astray"), 0, "of {} looked at", after.sum("steered_checked"));
    let [out, to_stand_in, back] =
        [after.sum("handed_over_out"), after.sum("handed_to_stand_in"), after.stand_in("handed_over_out")];
    assert_eq!(out + to_stand_in + back, after.sum("handed_over_in") + after.stand_in("handed_over_in"));
    assert_eq!(after.sum("handed_over_dropped"), 0);
    // Another worker than that of its request would have dropped a response, and begun nothing for an ACK or a BYE.
    let calls = number(&after.0["calls"], "answered") - number(&before.0["calls"], "answered");
    assert!(calls + round >= plan.calls as u64, "{calls} were answered");
    after.assert_balanced();
    (before, after)
}

/// How many queues brought something between two reports.
fn used_queues((before, after): &(Report, Report)) -> usize {
    let sockets = before.queues().iter().zip(after.queues());
    let used = sockets.filter(|(a, b)| number(&b["counters"], "rx") > number(&a["counters"], "rx"));
    used.map(|(_, socket)| number(socket, "queue")).collect::<BTreeSet<u64>>().len()
}

#[test]
fn a_hundred_thousand_calls_on_two_queues_and_two_workers() {
    let Some(bench) = Bench::with(&[machine::ETHTOOL]) else { return };
    let node = node(&bench, "copy", 2, 2);
    let plan = Plan { callers: callers(32), callee: callee(), calls: 100_000, body: 0, limit: LIMIT };
    let reports = calls(&bench, &node, "2 queues, 2 workers, 33 flows", &plan);
    assert_eq!(used_queues(&reports), 2);
    let report = reports.1;
    assert_eq!(report.queues().len(), 4, "a socket for each worker on each queue");
    assert!(report.sum("steered_checked") >= report.sum("rx_xsk") / 64 - 2, "looked at again, now and then");
}

#[test]
fn one_5_tuple_is_shared_by_two_workers() {
    let Some(bench) = Bench::with(&[machine::ETHTOOL]) else { return };
    let node = node(&bench, "copy", 2, 2);
    // Caller and callee are one socket, as between two proxies.
    let plan = Plan { callers: vec![callee()], callee: callee(), calls: 100_000, body: 0, limit: LIMIT };
    let reports = calls(&bench, &node, "2 queues, 2 workers, one flow", &plan);
    assert_eq!(used_queues(&reports), 1, "one flow is on one queue");
}

#[test]
fn more_workers_than_queues() {
    let Some(bench) = Bench::with(&[machine::ETHTOOL]) else { return };
    let node = node(&bench, "copy", 1, 3);
    let plan = Plan { callers: callers(8), callee: callee(), calls: 20_000, body: 0, limit: LIMIT };
    let (_, report) = calls(&bench, &node, "1 queue, 3 workers", &plan);
    assert_eq!(report.queues().len(), 3);
}

#[test]
fn ipv6_is_steered_alike() {
    let Some(bench) = Bench::with(&[machine::ETHTOOL]) else { return };
    let node = node(&bench, "copy", 2, 2);
    let callee = (Lab::PEERS_V6, 7001).into();
    bind(&bench, callee);
    let callers = (6100..6116).map(|port| (Lab::PEERS_V6, port).into()).collect();
    let plan = Plan { callers, callee, calls: 5_000, body: 0, limit: LIMIT };
    let reports = undisturbed(&node, || calls(&bench, &node, "IPv6, 2 queues, 2 workers", &plan));
    assert_eq!(used_queues(&reports), 2);
    let (before, after) = reports;
    let by_the_kernel =
        after.sum("rx_kernel") + after.sum("tx_kernel") - before.sum("rx_kernel") - before.sum("tx_kernel");
    assert_eq!(by_the_kernel, 0, "all of it by AF_XDP");
}

#[test]
fn generic_mode_steers_alike() {
    let Some(bench) = Bench::with(&[machine::ETHTOOL]) else { return };
    let node = node(&bench, "generic", 2, 2);
    let plan = Plan { callers: callers(8), callee: callee(), calls: 2_000, body: 0, limit: LIMIT };
    let (_, report) = calls(&bench, &node, "generic, 2 queues, 2 workers", &plan);
    assert!(report.sum("rx_xsk") > report.sum("rx_kernel"));
}

#[test]
fn fragments_reach_the_worker_of_their_call() {
    let Some(bench) = Bench::with(&[machine::ETHTOOL]) else { return };
    let node = node(&bench, "copy", 2, 2);
    let plan = Plan { callers: callers(8), callee: callee(), calls: 2_000, body: 3000, limit: LIMIT };
    let (_, report) = calls(&bench, &node, "INVITEs of 3 kB", &plan);
    let (kernel, handed) = (report.sum("rx_kernel"), report.sum("handed_over_in"));
    assert!(kernel + report.stand_in("rx_kernel") >= 2_000, "fragments come by the kernel: {kernel}");
    assert!((kernel / 4..kernel * 3 / 4).contains(&handed), "about half: {handed} of {kernel}");
    assert!(report.xdp("pass_fragment") > 0);
}

#[test]
fn off_mode_hands_each_call_to_one_worker() {
    let Some(bench) = Bench::with(&[machine::ETHTOOL]) else { return };
    let node = node(&bench, "off", 1, 2);
    let plan = Plan { callers: callers(8), callee: callee(), calls: 5_000, body: 0, limit: LIMIT };
    let (_, report) = calls(&bench, &node, "off, 2 workers", &plan);
    assert!(report.sum("handed_over_in") > 1000);
    let flow = Plan { callers: vec![callee()], callee: callee(), calls: 1_000, body: 0, limit: LIMIT };
    let outcome = bench.lab.peers.enter_on_a_thread(|| switchboard::run(&flow)).unwrap();
    assert_eq!(outcome.finished, flow.calls, "{outcome:?}");
}
