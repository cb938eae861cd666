//! The device under the node: down and up again under load, deleted and made anew. The process goes on, and so do calls.

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use strowger_xtask::lab::Lab;
use strowger_xtask::lab::phones::Traffic;
use strowger_xtask::node::{Configuration, Node, Status};

use crate::bench::{Bench, PATIENCE, say, until};
use crate::counted::{Report, number};
use crate::credentials::{Algorithm, authorized, users};
use crate::phone::Phone;

/// The promise: so soon after the device is there it is served again.
const PROMISED: Duration = Duration::from_secs(2);

fn reopened(status: &Status) -> u64 {
    status.whole["dataplane"]["reopened"].as_u64().unwrap()
}

/// Every queue's frames are somewhere.
fn assert_balanced(node: &Node) {
    let status = node.status().unwrap();
    assert_eq!(status.whole["dataplane"]["frames_leaked"], 0);
    for queue in status.whole["dataplane"]["queues"].as_array().unwrap() {
        let balance = queue["balance"].as_object().unwrap();
        if let Some(total) = balance.get("total") {
            let of = |name: &str| balance[name].as_u64().unwrap();
            let sum: u64 = balance.keys().filter(|name| *name != "total").map(|name| of(name)).sum();
            assert_eq!(sum, total.as_u64().unwrap(), "{balance:?}");
        }
    }
}

/// Waits until the device is served in the mode `mode`; how long that took.
fn until_mode(node: &mut Node, mode: &str) -> Duration {
    let began = Instant::now();
    loop {
        assert!(node.ended().unwrap().is_none(), "{}", node.last_words(10));
        if node.status().unwrap().dataplane.mode == mode {
            return began.elapsed();
        }
        assert!(began.elapsed() < PATIENCE, "{}", node.last_words(10));
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// THREATS, "device deleted and remade": re-attached within 2 s, by the same process, with its bindings.
#[test]
fn a_device_that_is_made_anew_is_served_again() {
    const ROUNDS: u64 = 3;
    let Some(bench) = Bench::with_sipp() else { return };
    let configuration = Configuration { workers: Some(2), ..bench.configuration("auto") };
    let mut node = bench.start(&configuration);
    let (local, remote) = (Lab::PEERS_V4.into(), Lab::node_v4());
    bench.warm_up(local, remote);
    let phones = bench.phones(local, remote);
    assert_eq!(phones.register(20, |_| ()).unwrap().failed, 0);
    for round in 1..=ROUNDS {
        bench.lab.node.ip(&["link", "del", Lab::NODE_INTERFACE]).unwrap();
        until_mode(&mut node, "off");
        let status = node.status().unwrap();
        let why = status.dataplane.fallback.unwrap_or_default();
        assert!(!status.dataplane.xdp_attached && why.contains(Lab::NODE_INTERFACE), "{why}");
        bench.lab.up().unwrap();
        let took = until_mode(&mut node, "copy");
        say(&format!("round {round}: served again {} ms after the device is there", took.as_millis()));
        assert!(took < PROMISED, "{took:?}");
        assert!(!bench.lab.xdp_programs().unwrap().is_empty());
        bench.warm_up(local, remote);
        let before = node.status().unwrap();
        assert_eq!(reopened(&before), round);
        let plan = Traffic { users: 20, calls: 20, rate: 50, hold: Duration::from_millis(50) };
        let report = phones.call(&plan, |_| ()).unwrap();
        assert_eq!((report.calling.ok, report.calling.failed), (20, 0), "who was registered is: {report:?}");
        let totals = node.status().unwrap().totals - before.totals;
        assert!(totals.sip_in_xsk >= 100 && totals.sip_out_xsk >= 100, "by AF_XDP again: {totals:?}");
        assert_balanced(&node);
    }
    node.stop(Signal::TERM, PATIENCE * 2).unwrap();
    bench.assert_nothing_left();
}

/// Lines of the node's log that tell of a packet which was redirected.
fn told(bench: &Bench) -> usize {
    let log = std::fs::read_to_string(bench.directory.path().join("node.log")).unwrap();
    log.lines().filter(|line| line.contains("verdict") && line.contains("\"redirect\"")).count()
}

/// What goes with the program is with the next one: who is known, and the log of its packets.
#[test]
fn who_was_known_is_known_on_the_device_that_is_back() {
    const STRANGER: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 66);
    let Some(bench) = Bench::plain() else { return };
    let mut node = bench.start(&Configuration {
        open: false,
        auth: format!(
            "algorithms: [SHA-256], users: {}",
            users(&bench, &[("alice", "looking-glass", "active")]).display()
        ),
        extra: "policing: { unknown_pps: 10, known_pps: 1000, burst: 20 }\nlog: { level: trace }\n"
            .to_owned(),
        ..bench.configuration("auto")
    });
    bench.warm_up(Lab::PEERS_V4.into(), Lab::node_v4());
    let mut alice = Phone::new(&bench.lab.peers, "alice", (Lab::PEERS_V4, 5081).into(), Lab::node_v4());
    let request = alice.register();
    let challenge = alice.ask(&request, 5).expect("a challenge");
    let request = authorized(&request, &challenge, Algorithm::Sha256, "looking-glass", 1);
    assert!(alice.ask(&request, 5).expect("an answer").text.starts_with("SIP/2.0 200 "));
    let published = |node: &Node| number(&Report::of(node).0["policing"]["counters"], "published");
    until("alice is made known", || published(&node) == 1);
    until("the program's log is on", || told(&bench) >= 2);
    let before = told(&bench);

    bench.lab.node.ip(&["link", "del", Lab::NODE_INTERFACE]).unwrap();
    until_mode(&mut node, "off");
    bench.lab.up().unwrap();
    until_mode(&mut node, "copy");
    let address = format!("{STRANGER}/24");
    bench.lab.peers.ip(&["address", "add", &address, "dev", Lab::PEERS_INTERFACE]).unwrap();
    // Far more at once than either may send: how much of it was refused, of who is known and of who is not.
    let refused = || {
        let report = Report::of(&node);
        [report.xdp("drop_known_rate"), report.xdp("drop_unknown_rate")]
    };
    let burst = |phone: &Phone| {
        let before = refused();
        for _ in 0..200 {
            phone.send(&request);
        }
        std::thread::sleep(Duration::from_millis(100));
        let after = refused();
        [after[0] - before[0], after[1] - before[1]]
    };
    // Policing follows a moment later: who is known, and the budgets.
    until("alice has the budget of who is known", || burst(&alice)[0] > 0);
    let [known, unknown] = burst(&alice);
    assert!(known > 0 && unknown == 0, "alice is known: {known} and {unknown} refused");
    let stranger = Phone::new(&bench.lab.peers, "bob", (STRANGER, 5082).into(), Lab::node_v4());
    let [known, unknown] = burst(&stranger);
    assert!(known == 0 && unknown > 100, "others are not: {known} and {unknown} refused");
    assert_eq!(published(&node), 1, "without being told again");
    until("the log of the program that is back", || told(&bench) > before);
}

/// THREATS, "link down": what comes meanwhile is lost as on any wire, and SIP's repetitions hide it.
#[test]
fn a_link_that_goes_down_and_up_under_load_loses_no_call() {
    const CALLS: u32 = 400;
    let Some(bench) = Bench::with_sipp() else { return };
    let node = bench.start(&bench.configuration("copy"));
    let (local, remote) = (Lab::PEERS_V4.into(), Lab::node_v4());
    bench.warm_up(local, remote);
    let phones = bench.phones(local, remote);
    assert_eq!(phones.register(20, |_| ()).unwrap().failed, 0);
    let plan = Traffic { users: 20, calls: CALLS, rate: 80, hold: Duration::from_millis(100) };
    let (report, flaps) = std::thread::scope(|scope| {
        let calls = scope.spawn(|| phones.call(&plan, |_| ()).unwrap());
        let mut flaps = 0;
        while !calls.is_finished() && flaps < 4 {
            std::thread::sleep(Duration::from_millis(900));
            bench.lab.node.ip(&["link", "set", Lab::NODE_INTERFACE, "down"]).unwrap();
            std::thread::sleep(Duration::from_millis(100));
            bench.lab.node.ip(&["link", "set", Lab::NODE_INTERFACE, "up"]).unwrap();
            flaps += 1;
        }
        (calls.join().unwrap(), flaps)
    });
    say(&format!(
        "{} of {CALLS} calls ok over {flaps} flaps of 100 ms, {} repetitions",
        report.calling.ok,
        report.calling.retransmissions + report.called.retransmissions
    ));
    assert!(flaps >= 2, "under load");
    assert_eq!((report.calling.ok, report.calling.failed), (CALLS.into(), 0), "{report:?}");
    let before = node.status().unwrap();
    assert_eq!(reopened(&before), 0, "it is the same device");
    let phone = Phone::new(&bench.lab.peers, "carol", (Lab::PEERS_V4, 5090).into(), Lab::node_v4());
    phone.registered();
    let totals = node.status().unwrap().totals - before.totals;
    assert!(totals.sip_in_xsk > 0, "by AF_XDP as before: {totals:?}");
    assert_balanced(&node);
}
