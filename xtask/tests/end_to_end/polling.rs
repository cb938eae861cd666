//! `dataplane.polling`: each policy answers, sleeps as it says, and what it costs is printed.
//!
//! Latency is that of one OPTIONS at a time, with a pause between two so that an adaptive worker has gone to sleep; CPU is the
//! node's, from /proc, over that time. On a busy machine the figures say little, so only what must hold is asserted.

use std::net::UdpSocket;
use std::time::{Duration, Instant};

use strowger_xtask::lab::Lab;
use strowger_xtask::node::{Configuration, Node};

use crate::bench::{Bench, PATIENCE, say};
use crate::counted::Report;

/// Requests, one after the other.
const ROUNDS: u32 = 1500;
/// Between an answer and the next request.
const PAUSE: Duration = Duration::from_micros(500);
/// Requests at once, and how often.
const WINDOW: u32 = 64;
const BURSTS: u32 = 300;
/// Ticks of the clock in which /proc counts CPU time, a second: the kernel's USER_HZ.
const TICKS: f64 = 100.0;

struct Measured {
    /// Median and 99th percentile of the round trip.
    p50: Duration,
    p99: Duration,
    /// CPUs' worth of the node's time, in percent of one.
    cpu: f64,
    /// Sleeps of the worker for each request.
    sleeps: f64,
}

/// User and system time of the node, in ticks.
fn ticks(node: &Node) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", node.pid())).unwrap();
    // Behind the command, which may have blanks: state is field 3, times are 14 and 15.
    let behind = stat.rsplit(')').next().unwrap();
    behind.split_whitespace().skip(11).take(2).map(|ticks| ticks.parse::<u64>().unwrap()).sum()
}

fn measured(bench: &Bench, mode: &str, policy: &str) -> Measured {
    let plane = format!("  polling: {policy}\n");
    let node = bench.start(&Configuration { workers: Some(1), plane, ..bench.configuration(mode) });
    bench.warm_up(Lab::PEERS_V4.into(), Lab::node_v4());
    let (sleeps, cpu, began) = (Report::of(&node).sum("sleeps"), ticks(&node), Instant::now());
    let mut trips = bench.lab.peers.enter_on_a_thread(round_trips).unwrap();
    let wall = began.elapsed().as_secs_f64();
    let cpu = (ticks(&node) - cpu) as f64 / TICKS / wall * 100.0;
    let sleeps = (Report::of(&node).sum("sleeps") - sleeps) as f64 / f64::from(ROUNDS);
    trips.sort();
    Measured { p50: trips[trips.len() / 2], p99: trips[trips.len() * 99 / 100], cpu, sleeps }
}

/// How long each answer took.
fn round_trips() -> Vec<Duration> {
    let address = (Lab::PEERS_V4, 6500);
    let socket = UdpSocket::bind(address).unwrap();
    socket.connect(Lab::node_v4()).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut answer = [0; 2048];
    (0..ROUNDS)
        .map(|nth| {
            let request = format!(
                "OPTIONS sip:{0} SIP/2.0\r\nVia: SIP/2.0/UDP {1}:6500;branch=z9hG4bKp{nth}\r\nMax-Forwards: 70\r\n\
                 From: <sip:a@{0}>;tag=a\r\nTo: <sip:{0}>\r\nCall-ID: {nth}-polled@here\r\nCSeq: 1 OPTIONS\r\n\
                 Content-Length: 0\r\n\r\n",
                Lab::NODE_V4,
                Lab::PEERS_V4
            );
            std::thread::sleep(PAUSE);
            let sent = Instant::now();
            socket.send(request.as_bytes()).unwrap();
            let length = socket.recv(&mut answer).expect("an answer");
            let took = sent.elapsed();
            assert!(answer[..length].starts_with(b"SIP/2.0 200 "), "{}", String::from_utf8_lossy(&answer[..length]));
            took
        })
        .collect()
}

/// Sends `WINDOW` requests at a time, `BURSTS` times; all are answered.
fn bursts() {
    let socket = UdpSocket::bind((Lab::PEERS_V4, 6501)).unwrap();
    socket.connect(Lab::node_v4()).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut answer = [0; 2048];
    for burst in 0..BURSTS {
        for nth in 0..WINDOW {
            let request = format!(
                "OPTIONS sip:{0} SIP/2.0\r\nVia: SIP/2.0/UDP {1}:6501;branch=z9hG4bKb{burst}x{nth}\r\nMax-Forwards: 70\r\n\
                 From: <sip:a@{0}>;tag=a\r\nTo: <sip:{0}>\r\nCall-ID: {burst}-{nth}-burst@here\r\nCSeq: 1 OPTIONS\r\n\
                 Content-Length: 0\r\n\r\n",
                Lab::NODE_V4,
                Lab::PEERS_V4
            );
            socket.send(request.as_bytes()).unwrap();
        }
        for _ in 0..WINDOW {
            socket.recv(&mut answer).expect("an answer");
        }
    }
}

#[test]
fn a_worker_waits_for_more_only_while_many_come() {
    let Some(bench) = Bench::plain() else { return };
    for (plane, gathers) in [("", true), ("  gather_us: 0\n", false), ("  polling: busy\n", false)] {
        let plane = plane.to_owned();
        let extra = "limits: { per_source_pps: 1000000 }\n".to_owned();
        let configuration = Configuration { workers: Some(1), plane, extra, ..bench.configuration("copy") };
        let node = bench.start(&configuration);
        bench.warm_up(Lab::PEERS_V4.into(), Lab::node_v4());
        bench.lab.peers.enter_on_a_thread(round_trips).unwrap();
        let rarely = Report::of(&node).sum("gathered");
        bench.lab.peers.enter_on_a_thread(bursts).unwrap();
        let often = Report::of(&node).sum("gathered");
        say(&format!(
            "{:?}: waited {rarely} times for one at a time, {} for bursts",
            configuration.plane,
            often - rarely
        ));
        assert_eq!(often > rarely, gathers);
        // A machine that stood still for a moment has many come at once.
        assert!(rarely <= u64::from(ROUNDS) / 20, "{rarely}");
    }
}

#[test]
fn each_polling_policy_answers_and_sleeps_as_it_says() {
    let Some(bench) = Bench::plain() else { return };
    for mode in ["copy", "off"] {
        for policy in ["adaptive", "busy", "power"] {
            let Measured { p50, p99, cpu, sleeps } = measured(&bench, mode, policy);
            say(&format!(
                "{mode}, polling {policy}: round trip p50 {p50:?} p99 {p99:?}, {cpu:.0} % CPU, {sleeps:.2} sleeps a request"
            ));
            match policy {
                "busy" => assert!(sleeps == 0.0, "it slept"),
                _ => assert!(sleeps > 0.5, "it did not sleep between two requests"),
            }
        }
    }
}
