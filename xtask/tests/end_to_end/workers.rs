//! Two workers and flow steering: the kernel spreads flows over them, and each finds what was registered through the other.

use std::collections::BTreeMap;

use strowger_xtask::lab::Lab;
use strowger_xtask::node::{Configuration, Node};

use crate::bench::{Bench, PATIENCE, say};
use crate::phone::Phone;

/// Phones, each on a port of its own: that all their flows hash to one of two workers happens once in 2^31 runs.
const PHONES: u16 = 32;

#[test]
fn two_workers_share_registrations_in_copy_mode() {
    two_workers("copy", "rx_xsk");
}

#[test]
fn two_workers_share_registrations_in_off_mode() {
    two_workers("off", "rx_kernel");
}

/// What each of both workers received the way that `counter` counts.
fn received(node: &Node, counter: &str) -> [u64; 2] {
    let workers = node.status().unwrap().workers;
    let [one, two] = workers.as_slice() else { panic!("two workers: {workers:?}") };
    [one.counted(counter), two.counted(counter)]
}

/// Two queues at both ends: a veth pair delivers to the queue that the sender's flow hash chose.
fn two_queues(bench: &Bench) {
    let ends = [(&bench.lab.node, Lab::NODE_INTERFACE), (&bench.lab.peers, Lab::PEERS_INTERFACE)];
    for (namespace, interface) in ends {
        let mut command = namespace.command("ethtool");
        let status = command.args(["-L", interface, "rx", "2", "tx", "2"]).status().unwrap();
        assert!(status.success(), "{interface} got no second queue");
    }
}

fn two_workers(mode: &str, counter: &str) {
    let Some(bench) = Bench::with(&[strowger_xtask::machine::ETHTOOL]) else { return };
    two_queues(&bench);
    let plane = "  steering: flow\n".to_owned();
    let configuration = Configuration { workers: Some(2), plane, ..bench.configuration(mode) };
    let node = bench.start(&configuration);
    bench.warm_up(Lab::PEERS_V4.into(), Lab::node_v4());

    // Which worker a phone's flow belongs to shows by whose counter its REGISTER moved.
    let mut sides: BTreeMap<usize, Vec<Phone>> = BTreeMap::new();
    for port in 6000..6000 + PHONES {
        let before = received(&node, counter);
        let address = (Lab::PEERS_V4, port).into();
        let phone = Phone::new(&bench.lab.peers, format!("user{port}"), address, Lab::node_v4()).registered();
        let after = received(&node, counter);
        let moved: Vec<usize> = (0..2).filter(|&worker| after[worker] > before[worker]).collect();
        let [worker] = moved.as_slice() else { panic!("a flow on two workers: {before:?} to {after:?}") };
        sides.entry(*worker).or_default().push(phone);
    }
    let mut one = sides.remove(&0).expect("phones on the first worker");
    let mut two = sides.remove(&1).expect("phones on the second worker");

    // Every call crosses: its INVITE arrives at the worker that did not register whom it calls.
    let before = received(&node, counter);
    let pairs = one.len().max(two.len());
    for pair in 0..pairs {
        let (a, b) = (pair % one.len(), pair % two.len());
        call(&mut one[a], &two[b]);
        call(&mut two[b], &one[a]);
    }
    let after = received(&node, counter);
    say(&format!(
        "{mode}: {} and {} phones on the two workers, {} calls across, {counter} {before:?} to {after:?}",
        one.len(),
        two.len(),
        2 * pairs
    ));
    // An INVITE and its answer for each call; the answer to the one comes by the worker of the other.
    let expected = 2 * u64::try_from(pairs).unwrap();
    for worker in 0..2 {
        assert!(after[worker] - before[worker] >= expected, "{before:?} to {after:?}");
    }
}

/// An INVITE reaches `called`, and the answer comes back.
fn call(calling: &mut Phone, called: &Phone) {
    let invite = calling.invite(&called.user, "v=0\r\n");
    calling.send(&invite);
    let received = called.receive(PATIENCE).expect("the INVITE");
    assert!(received.text.starts_with(&format!("INVITE sip:{}@", called.user)), "{}", received.text);
    assert_eq!(received.headers("From"), calling_from(&invite), "the INVITE of this call");
    called.send(&received.reply("486 Busy Here", called.address));
    let answer = calling.receive_from_peer(PATIENCE).expect("the answer");
    assert!(answer.text.starts_with("SIP/2.0 486 "), "{}", answer.text);
}

/// The value of From in a request of ours.
fn calling_from(request: &str) -> Vec<&str> {
    request.split("\r\n").filter_map(|line| line.strip_prefix("From: ")).collect()
}
