//! Gateway groups: a dead target costs a call its patience and not itself; one that is known to be dead costs nothing;
//! one that is back gets calls again.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use strowger_xtask::lab::Lab;
use strowger_xtask::node::Node;
use strowger_xtask::sipp::{Plan, Scenario, Sipp, Tally};

use crate::bench::{Bench, PATIENCE, say};
use crate::phone::Phone;

const CALLS: u32 = 20;
/// Nobody is there.
const DEAD: u16 = 5071;
/// sipp answers calls there.
const ALIVE: u16 = 5072;
/// A target of the test's own.
const WATCHED: u16 = 5073;

fn at(port: u16) -> SocketAddr {
    SocketAddr::new(Lab::PEERS_V4.into(), port)
}

/// Ends the gateway's thread, also when the test fails.
struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// What status says of the target at this address: up or not, and its counters.
fn target(node: &Node, port: u16) -> (bool, serde_json::Value) {
    let status = node.status().unwrap();
    let address = at(port).to_string();
    let all = status.whole["gateways"].as_array().cloned().unwrap_or_default();
    let found = all.into_iter().find(|gateway| gateway["address"] == address.as_str()).unwrap();
    (found["up"].as_bool().unwrap(), found["counters"].clone())
}

/// Calls by sipp to a number that a rule sends to the gateways, which a second sipp answers.
fn calls(bench: &Bench) -> (Tally, Tally) {
    let plan = |scenario, label, port, remote, injected, calls| Plan {
        scenario,
        arguments: &[],
        label,
        namespace: &bench.lab.peers,
        local: at(port),
        remote,
        injected,
        calls,
        rate: 20,
        hold: Duration::from_millis(100),
        limit: Duration::from_secs(60),
        directory: bench.directory.path(),
    };
    let called = Sipp::start(&plan(Scenario::UAS, "gateway", ALIVE, None, &[], 0)).unwrap();
    let lines = ["1000;0049301".to_owned()];
    let mut calling =
        Sipp::start(&plan(Scenario::UAC, "caller", 5080, Some(Lab::node_v4()), &lines, CALLS)).unwrap();
    let until = Instant::now() + Duration::from_secs(90);
    while calling.ended().unwrap().is_none() && Instant::now() < until {
        std::thread::sleep(Duration::from_millis(50));
    }
    let made = calling.tally();
    if made.ok != u64::from(CALLS) {
        say(&calling.complaint());
    }
    (made, called.finish(Duration::from_secs(10)).unwrap())
}

#[test]
fn calls_to_a_dead_target_are_completed_by_the_next() {
    let Some(bench) = Bench::with_sipp() else { return };
    let mut configuration = bench.configuration("copy");
    configuration.extra = format!(
        "gateways:\n  carrier:\n    targets:\n      - {{ address: \"{}\", priority: 1 }}\n      - {{ address: \"{}\", priority: 2 }}\n    \
         timeout: 1\nroutes:\n  - {{ to_prefix: \"00\", strip: 2, prepend: \"+\", gateway: carrier }}\n",
        at(DEAD),
        at(ALIVE)
    );
    let node = bench.start(&configuration);
    bench.warm_up(Lab::PEERS_V4.into(), Lab::node_v4());
    let (made, answered) = calls(&bench);
    assert_eq!((made.ok, made.failed, answered.created), (u64::from(CALLS), 0, u64::from(CALLS)), "{made:?}");
    let (_, dead) = target(&node, DEAD);
    let (_, alive) = target(&node, ALIVE);
    say(&format!("dead target: {dead}; the one alive: {alive}"));
    assert_eq!((&dead["chosen"], &dead["timed_out"]), (&CALLS.into(), &CALLS.into()));
    assert_eq!((&alive["chosen"], &alive["answered"]), (&CALLS.into(), &CALLS.into()));
}

#[test]
fn a_target_that_dies_is_left_out_until_it_is_back() {
    let Some(bench) = Bench::plain() else { return };
    let mut configuration = bench.configuration("copy");
    configuration.extra = format!(
        "gateways:\n  watched:\n    targets: [\"{}\"]\n    probe: options\n    probe_interval: 1\n    probe_timeout: 1\n    \
         down_after: 2\n    up_after: 2\nroutes:\n  - {{ to_prefix: \"00\", gateway: watched }}\n",
        at(WATCHED)
    );
    let gateway = Phone::new(&bench.lab.peers, "gateway", at(WATCHED), Lab::node_v4());
    let mut alice = Phone::new(&bench.lab.peers, "alice", at(5081), Lab::node_v4());
    let node = bench.start(&configuration);
    bench.warm_up(Lab::PEERS_V4.into(), Lab::node_v4());

    // The gateway answers OPTIONS while it lives, and INVITE with 486.
    let (alive, stop) = (AtomicBool::new(true), AtomicBool::new(false));
    std::thread::scope(|scope| {
        let _stop = Stop(&stop);
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                let Some(request) = gateway.receive(Duration::from_millis(50)) else { continue };
                if !alive.load(Ordering::Relaxed) {
                    continue;
                }
                match request.text.split(' ').next() {
                    Some("OPTIONS") => gateway.send(&request.reply("200 OK", gateway.address)),
                    Some("INVITE") => gateway.send(&request.reply("486 Busy Here", gateway.address)),
                    _ => {}
                }
            }
        });
        let until = |up: bool| {
            let began = Instant::now();
            while target(&node, WATCHED).0 != up || (up && target(&node, WATCHED).1["probes_answered"] == 0) {
                assert!(began.elapsed() < PATIENCE, "not {up} in time");
                std::thread::sleep(Duration::from_millis(50));
            }
            began.elapsed()
        };
        let mut call = || {
            let invite = alice.invite("0049301", "v=0\r\n");
            let id = invite.split("\r\n").find(|line| line.starts_with("Call-ID:")).unwrap().to_owned();
            alice.send(&invite);
            // Past the 100 to what is final, and past what an earlier call is told again: nobody sends ACKs here.
            let until = Instant::now() + PATIENCE;
            loop {
                let left = until.saturating_duration_since(Instant::now());
                let answer = alice.receive(left).expect("an answer");
                if answer.text.contains(&id) && !answer.text.starts_with("SIP/2.0 100 ") {
                    break answer.text.split("\r\n").next().unwrap_or_default().to_owned();
                }
            }
        };
        until(true);
        assert_eq!(call(), "SIP/2.0 486 Busy Here");
        alive.store(false, Ordering::Relaxed);
        let down = until(false);
        assert_eq!(call(), "SIP/2.0 500 No Gateway Available");
        alive.store(true, Ordering::Relaxed);
        let up = until(true);
        assert_eq!(call(), "SIP/2.0 486 Busy Here");
        say(&format!("a dead gateway was known to be after {down:?}, and back after {up:?}"));
    });
    let (_, counters) = target(&node, WATCHED);
    assert_eq!(counters["went_down"], 1, "{counters}");
}
