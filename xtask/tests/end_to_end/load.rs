//! The load generator against the node, by kernel sockets and by AF_XDP, and beside sipp.

use std::collections::HashMap;
use std::fs;
use std::net::SocketAddr;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use strowger_load::agents::Timing;
use strowger_load::digest::Allowed;
use strowger_load::live::Live;
use strowger_load::observe::Watching;
use strowger_load::population::Population;
use strowger_load::record::{Io, Load, Run};
use strowger_load::run::Shape;
use strowger_load::scenario::Script;
use strowger_load::site::{Plan, Site};
use strowger_xtask::lab::Lab;
use strowger_xtask::lab::network::xdp_programs;
use strowger_xtask::node::Configuration;
use strowger_xtask::sipp::{self, Scenario, Sipp, Tally};

use crate::bench::{Bench, say};
use crate::credentials::users;

/// What sipp and we are compared at.
const RATE: u32 = 500;
const SECONDS: u32 = 5;
const CALLS: u32 = RATE * SECONDS;
const HOLD: Duration = Duration::from_millis(250);

/// The generator's half of a test: its plan, with the callers and callees in the peers' namespace.
pub(crate) fn plan(bench: &Bench, scenario: &str) -> Plan {
    let peers = Some(bench.lab.peers.name().to_owned());
    Plan {
        script: Script::load(scenario).unwrap(),
        target: Some(Lab::node_v4()),
        local: None,
        callee_local: None,
        port: 6060,
        netns: [peers.clone(), peers.clone()],
        domain: None,
        population: Population::new("u{n}", "secret-{n}", 100_000, 100).unwrap(),
        allowed: Allowed::Any,
        hold: None,
        timing: Timing::default(),
        xdp: None,
        callee_xdp: None,
        threads: 1,
        places: 20_000,
        spin: false,
        cpu: None,
        knock: true,
        prepare: true,
        watching: Watching { processes: Vec::new(), namespaces: vec![("own".to_owned(), peers)] },
    }
}

fn play(plan: Plan) -> (Run, Io) {
    let (live, stop) = (Live::new(true), AtomicBool::new(false));
    let mut site = Site::open(plan).unwrap_or_else(|failure| panic!("{failure}"));
    site.prepare(&live, &stop).unwrap_or_else(|failure| panic!("{failure}"));
    let once = site.plan.script.once.then(|| u64::from(site.plan.population.count()));
    let rate = f64::from(RATE);
    let shape = Shape {
        load: Load::Open { rate, poisson: false },
        warm_up: Duration::from_millis(500),
        duration: Duration::from_secs(u64::from(SECONDS)),
        count: once,
        drain: None,
    };
    (site.play(&shape, &live, &stop).run, site.io.clone())
}

/// A node that does not hold the load of one address against it.
pub(crate) fn configuration(bench: &Bench, mode: &str) -> Configuration {
    Configuration { extra: "limits: { per_source_pps: 1000000 }\n".to_owned(), ..bench.configuration(mode) }
}

fn p50(run: &Run, leg: &str) -> [u64; 2] {
    let leg = run.legs.iter().find(|measured| measured.name == leg).unwrap();
    assert_eq!(leg.intended.count, run.counts.begun, "{}: every call is timed", leg.name);
    [leg.intended.p50_ns, leg.actual.p50_ns]
}

#[test]
fn five_hundred_calls_a_second_go_through_the_node() {
    let Some(bench) = Bench::plain() else { return };
    let node = bench.start(&configuration(&bench, "copy"));
    bench.warm_up(Lab::PEERS_V4.into(), Lab::node_v4());
    for xdp in [None, Some(Lab::PEERS_INTERFACE.to_owned())] {
        let (run, io) = play(Plan { xdp: xdp.clone(), ..plan(&bench, "call") });
        assert_eq!((run.counts.begun, run.counts.failed), (u64::from(CALLS), 0), "{:?}", run.counts);
        for leg in ["INVITE in→out", "INVITE→100", "INVITE→180", "INVITE→200", "BYE→200"] {
            p50(&run, leg);
        }
        let [_, hop] = p50(&run, "INVITE in→out");
        assert!((1_000..1_000_000_000).contains(&hop), "a plausible time: {hop} ns");
        assert_eq!(matches!(io, Io::Xdp { .. }), xdp.is_some());
        // Six messages are received for each call, and the node's own 100.
        let traffic = run.drops.traffic;
        assert_eq!(traffic.malformed, 0);
        assert!(traffic.received >= u64::from(CALLS) * 7, "{traffic:?}");
        say(&format!("{io:?}: {} calls, INVITE in→out p50 {} us", run.counts.succeeded, hop / 1_000));
    }
    drop(node);
    // The program went with the generator.
    assert_eq!(xdp_programs(Some(&bench.lab.peers), Lab::PEERS_INTERFACE).unwrap(), Vec::<String>::new());
}

#[test]
fn every_scenario_ends_well_through_the_node() {
    let Some(bench) = Bench::plain() else { return };
    let _node = bench.start(&configuration(&bench, "off"));
    bench.warm_up(Lab::PEERS_V4.into(), Lab::node_v4());
    for scenario in ["options", "message", "register", "register-fresh", "mix"] {
        let (run, _) = play(plan(&bench, scenario));
        assert_eq!(run.counts.failed, 0, "{scenario}: {:?}", run.counts.failures);
        assert!(run.counts.succeeded > 0, "{scenario}");
    }
}

#[test]
fn users_show_who_they_are() {
    let Some(bench) = Bench::patient(&[]) else { return };
    let population = Population::new("u{n}", "secret-{n}", 100_000, 20).unwrap();
    let named: Vec<(String, String)> =
        (0..20).map(|at| (population.name_text(at), population.password_text(at))).collect();
    let known: Vec<(&str, &str, &str)> =
        named.iter().map(|(name, password)| (name.as_str(), password.as_str(), "active")).collect();
    let known = users(&bench, &known);
    let start = |algorithm: &str| {
        let auth = format!("algorithms: [{algorithm}], users: {}", known.display());
        let node = bench.start(&Configuration { open: false, auth, ..configuration(&bench, "off") });
        bench.warm_up(Lab::PEERS_V4.into(), Lab::node_v4());
        node
    };
    let pass = |scenario: &str, allowed: Allowed| {
        let (run, _) = play(Plan { population: population.clone(), allowed, ..plan(&bench, scenario) });
        assert_eq!(run.counts.failed, 0, "{scenario} {allowed:?}: {:?}", run.counts.failures);
        assert!(run.counts.succeeded >= 20 && run.whole.challenges > 0, "{scenario}: {:?}", run.whole);
    };
    let node = start("SHA-256");
    pass("register-digest", Allowed::Sha256);
    pass("call-digest", Allowed::Any);
    drop(node);
    let _node = start("MD5");
    pass("register-digest", Allowed::Md5);
    pass("register-refresh", Allowed::Any);
    pass("register-storm", Allowed::Any);
    let wrong = Population::new("u{n}", "guess-{n}", 100_000, 20).unwrap();
    let (run, _) = play(Plan { population: wrong, ..plan(&bench, "register-storm") });
    assert_eq!((run.counts.succeeded, run.counts.failed), (0, 20), "{:?}", run.counts);
}

/// sipp's calls, and its medians from the INVITE to the 100 and to the 200, nanoseconds.
fn by_sipp(bench: &Bench) -> (Tally, [u64; 2]) {
    let log = bench.directory.path().join("messages.tsv");
    let arguments = ["-trace_shortmsg", "-shortmessage_file", log.to_str().unwrap()];
    let pairs: Vec<String> =
        (0..50).map(|pair| format!("{};{}", 1_000 + 2 * pair, 1_001 + 2 * pair)).collect();
    let address = |port| SocketAddr::new(Lab::PEERS_V4.into(), port);
    let called = sipp::Plan {
        scenario: Scenario::UAS,
        arguments: &[],
        label: "called",
        namespace: &bench.lab.peers,
        local: address(5070),
        remote: None,
        injected: &[],
        calls: 0,
        rate: 0,
        hold: Duration::ZERO,
        limit: Duration::from_secs(120),
        directory: bench.directory.path(),
    };
    let calling = sipp::Plan {
        scenario: Scenario::UAC,
        arguments: &arguments,
        label: "calling",
        local: address(5080),
        remote: Some(Lab::node_v4()),
        injected: &pairs,
        calls: CALLS,
        rate: RATE,
        hold: HOLD,
        ..called.clone()
    };
    let mut answering = Sipp::start(&called).unwrap();
    answering.listening(&bench.lab.peers, called.local).unwrap();
    let tally = Sipp::start(&calling).unwrap().follow(CALLS, |_| {}).unwrap();
    answering.finish(Duration::from_secs(4)).unwrap();
    let text = fs::read_to_string(&log).unwrap();
    let medians = ["SIP/2.0 100", "SIP/2.0 200"].map(|response| median(&text, response));
    fs::remove_file(&log).unwrap();
    (tally, medians)
}

/// Of the times from each call's first INVITE to its first such response, in sipp's list of messages: date, time, seconds,
/// `S` or `R`, Call-ID, CSeq and start line, with tabs between. Its own statistics have milliseconds only.
fn median(list: &str, response: &str) -> u64 {
    let mut begun: HashMap<&str, f64> = HashMap::new();
    let mut times = Vec::new();
    for line in list.lines() {
        let fields: Vec<&str> = line.split('\t').collect();
        let [_, _, seconds, way, call, "CSeq:1 INVITE", first] = fields.as_slice() else { continue };
        let seconds: f64 = seconds.parse().unwrap();
        if *way == "S" && first.starts_with("INVITE") {
            begun.entry(call).or_insert(seconds);
        } else if *way == "R" && first.starts_with(response) {
            times.extend(begun.remove(call).map(|begun| seconds - begun));
        }
    }
    assert_eq!(times.len(), CALLS as usize, "every call is timed");
    times.sort_by(f64::total_cmp);
    (times[times.len() / 2] * 1e9) as u64
}

#[test]
fn the_generator_and_sipp_agree() {
    let Some(bench) = Bench::with_sipp() else { return };
    let _node = bench.start(&configuration(&bench, "copy"));
    bench.warm_up(Lab::PEERS_V4.into(), Lab::node_v4());
    let phones = bench.phones(Lab::PEERS_V4.into(), Lab::node_v4());
    // The users that the pairs above call.
    assert_eq!(phones.register(100, |_| {}).unwrap().ok, 100);
    for round in 1..=3 {
        let (tally, sipp) = by_sipp(&bench);
        let (run, _) = play(plan(&bench, "call"));
        say(&format!(
            "round {round}: sipp {} calls, {} failed, {} repeated; strowger-load {} calls, {} failed, {} repeated",
            tally.ok,
            tally.failed,
            tally.retransmissions,
            run.counts.succeeded,
            run.counts.failed,
            run.counts.requests_repeated
        ));
        for (leg, sipp) in ["INVITE→100", "INVITE→200"].into_iter().zip(sipp) {
            let [intended, actual] = p50(&run, leg).map(|ns| ns / 1_000);
            say(&format!(
                "round {round}: {leg} p50, us: sipp {}, strowger-load {actual} from the sending, {intended} from when it was meant",
                sipp / 1_000
            ));
            // Another clock and other places to read it; on a busy machine a round can be anything but absurd.
            assert!((1_000..1_000_000_000).contains(&sipp) && (1..1_000_000).contains(&actual));
        }
        assert_eq!((tally.ok, tally.failed), (u64::from(CALLS), 0));
        assert_eq!((run.counts.succeeded, run.counts.failed), (u64::from(CALLS), 0));
    }
}
