//! Long traffic with everything that goes wrong on a network: calls, users who come and go, neighbours that are forgotten, routes that
//! vanish and come back, links that flap, rings that overflow, junk. At the end nothing is lost that is not counted,
//! nothing is kept that is over, and the memory is what it was.
//!
//! How long: `STROWGER_SOAK`, seconds (10). An hour is `STROWGER_SOAK=3600 cargo xtask test soak`. From a minute on it also waits until
//! the last transaction is over, 64·T1 after the last message.

use std::net::UdpSocket;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value;
use strowger_xtask::lab::Lab;
use strowger_xtask::machine;
use strowger_xtask::node::{Configuration, Node};

use crate::bench::{Bench, PATIENCE, say};
use crate::counted::{Report, number, quiet};
use crate::exhaustion::{overrun, overrun_after};
use crate::phone::Phone;
use crate::relay::Dice;
use crate::steering::{bind, callee, callers, queues};
use crate::switchboard::{self, Plan};

/// Users who come and go.
const USERS: usize = 40;
/// Calls of a round, which takes about a second.
const CALLS: usize = 300;
/// From so long on the rest after the load is seen to its end.
const LONG: Duration = Duration::from_secs(60);
/// 64·T1, what the longest timers wait for (RFC 3261 section 17, RFC 6026), and a little.
const LINGER: Duration = Duration::from_secs(36);
/// Whoever is called registers for an hour, and so again after half of it.
const REFRESH: Duration = Duration::from_secs(1800);
/// What a transaction that was never needed before makes resident, with what is kept for it; its place is reserved from the
/// start.
const TRANSACTION: u64 = 420;
/// Bytes that a run of less than [`LONG`] may need for the first time towards its end: the slots in which two workers hand over
/// to each other, of which 256 each have a page touched once so many messages are on the way, and the kernel sockets'.
const FIRST_TOUCH: u64 = 2 * 256 * 4096;
const SEED: u64 = 19_640_421;

fn duration() -> Duration {
    let seconds = match std::env::var("STROWGER_SOAK") {
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("STROWGER_SOAK: `{text}` is not a number")),
        Err(_) => 10,
    };
    Duration::from_secs(seconds)
}

/// Registers and goes, one user after the other, each until the node says that it is so.
fn come_and_go(bench: &Bench, over: &AtomicBool) -> u64 {
    let address = (Lab::PEERS_V4, 6400).into();
    let mut phone = Phone::new(&bench.lab.peers, "", address, Lab::node_v4());
    let mut times = 0;
    while !over.load(Ordering::Relaxed) {
        for expires in ["3600", "3600", "0"] {
            for user in 0..USERS {
                phone.user = format!("guest{user}");
                let request = phone.register().replace("Expires: 3600", &format!("Expires: {expires}"));
                // An answer that came late belongs to one before.
                let answered = (0..40).any(|_| {
                    phone.send(&request);
                    let until = Instant::now() + Duration::from_millis(500);
                    std::iter::from_fn(|| phone.receive(until.saturating_duration_since(Instant::now()))).any(
                        |answer| {
                            answer.text.contains(&format!("\r\nCSeq: {} REGISTER\r\n", number_of(&request)))
                        },
                    )
                });
                assert!(answered, "no answer to {request}");
                times += 1;
            }
        }
    }
    times
}

/// The number in the CSeq of a request of ours.
fn number_of(request: &str) -> &str {
    let behind = request.split("CSeq: ").nth(1).expect("a CSeq");
    behind.split(' ').next().expect("a number")
}

/// What is not SIP, or not in order, or nobody's. A few thousand a second.
fn annoy(over: &AtomicBool) -> u64 {
    let socket = UdpSocket::bind((Lab::PEERS_V4, 6500)).unwrap();
    let mut dice = Dice(SEED);
    let mut sent = 0;
    let request = |method: &str, more: &str, nth: u64| {
        format!(
            "{method} sip:nobody@{0} SIP/2.0\r\nVia: SIP/2.0/UDP {1}:6500;branch=z9hG4bKj{nth};rport\r\n\
             From: <sip:a@{0}>;tag=a\r\nTo: <sip:nobody@{0}>\r\nCall-ID: {nth}-junk@here\r\nCSeq: 1 {method}\r\n\
             {more}Content-Length: 0\r\n\r\n",
            Lab::NODE_V4,
            Lab::PEERS_V4
        )
    };
    while !over.load(Ordering::Relaxed) {
        let nth = dice.next() % 100_000;
        let message: Vec<u8> = match dice.next() % 12 {
            0 => b"\r\n\r\n".to_vec(),
            1 => Vec::new(),
            2 => (0..dice.next() % 1400).map(|at| (at ^ nth) as u8).collect(),
            // Several fragments of nothing.
            3 => vec![b'x'; 3000],
            4 => request("INVITE", "Max-Forwards: 70\r\n", nth).into_bytes()[..120].to_vec(),
            5 => request("OPTIONS", "Max-Forwards: 0\r\n", nth).into_bytes(),
            6 => request("CANCEL", "Max-Forwards: 70\r\n", nth).into_bytes(),
            7 => request("ACK", "Max-Forwards: 70\r\n", nth).into_bytes(),
            8 => request("BYE", "Max-Forwards: 70\r\nRoute: <sip:192.0.2.9;lr>\r\n", nth).into_bytes(),
            9 => request("INVITE", "Max-Forwards: 70\r\nRequire: teleport\r\n", nth).into_bytes(),
            10 => request("OPTIONS", "Max-Forwards: 70\r\n", nth)
                .replacen("OPTIONS sip:nobody@10.77.0.2 SIP/2.0", "SIP/2.0 200 OK", 1)
                .into_bytes(),
            // STUN, and nearly so (RFC 8489).
            _ => [&[0, 1, 0, (nth % 2) as u8, 0x21, 0x12, 0xa4, 0x42][..], &[7; 12]].concat(),
        };
        // A route that is away is no error here.
        let _ = socket.send_to(&message, Lab::node_v4());
        sent += 1;
        if sent % 64 == 0 {
            std::thread::sleep(Duration::from_millis(20));
        }
    }
    sent
}

/// Breaks something every now and then, and mends it.
fn break_things(bench: &Bench, over: &AtomicBool) -> u64 {
    let mut dice = Dice(SEED ^ 1);
    let mut times = 0;
    let peer = Lab::PEERS_V4.to_string();
    let set = |how: &str| bench.lab.node.ip(&["link", "set", Lab::NODE_INTERFACE, how]).unwrap();
    while !over.load(Ordering::Relaxed) {
        std::thread::sleep(Duration::from_millis(60));
        times += 1;
        match dice.next() % 6 {
            // It gives up when neighbours come faster than they go; some have gone.
            0..=2 => drop(bench.lab.node.ip(&["neigh", "flush", "dev", Lab::NODE_INTERFACE])),
            3 => {
                set("down");
                set("up");
            }
            kind => {
                let route = if kind == 4 { "unreachable" } else { "blackhole" };
                bench.lab.node.ip(&["route", "replace", route, &peer]).unwrap();
                std::thread::sleep(Duration::from_millis(20));
                bench.lab.node.ip(&["route", "del", route, &peer]).unwrap();
            }
        }
    }
    times
}

/// Resident memory of the node, KiB; a page of a table counts when it is first used.
fn memory(node: &Node) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{}/status", node.pid())).unwrap();
    let line = text.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// How much of a table is in use.
fn used(report: &Report, table: &str) -> u64 {
    number(&report.0["sip"]["occupancy"][table], "used")
}

/// The numbers of these names in an object, added up.
fn all(counters: &Value, names: &[&str]) -> u64 {
    names.iter().map(|name| number(counters, name)).sum()
}

/// The same for all whose names begin so.
fn family(counters: &Value, prefix: &str) -> u64 {
    let all = counters.as_object().expect("counters");
    all.iter().filter(|(name, _)| name.starts_with(prefix)).map(|(_, count)| count.as_u64().unwrap()).sum()
}

/// Everything that came in went somewhere, and everything that went out came from somewhere, by the counters of each worker.
fn assert_accounted(report: &Report) {
    for (nth, worker) in report.workers().iter().chain([&report.0["stand_in"]]).enumerate() {
        let (worker, sip, kernel) = (&worker["counters"], &worker["sip"], &worker["kernel"]);
        let frames = |name: &str| -> u64 {
            let sockets = report.queues().iter().filter(|socket| number(socket, "worker") == nth as u64);
            sockets.map(|socket| number(&socket["counters"], name)).sum()
        };
        // From the sockets to the messages, and back.
        assert_eq!(
            frames("rx"),
            all(worker, &["rx_xsk", "drop_checksum", "drop_undecodable"]),
            "worker {nth}: frames received"
        );
        assert_eq!(frames("tx"), number(worker, "tx_xsk"), "worker {nth}: frames sent");
        assert_eq!(
            number(kernel, "received") + number(worker, "handed_over_in"),
            all(worker, &["rx_kernel", "handed_over_out", "handed_to_stand_in", "handed_over_dropped"]),
            "worker {nth}: datagrams received"
        );
        assert_eq!(
            number(worker, "tx_kernel"),
            all(kernel, &["sent", "send_full", "send_refused"]),
            "worker {nth}: datagrams sent"
        );
        // What each message was, and what came of it. A malformed request is no request, and answered 400.
        let received = all(worker, &["rx_xsk", "rx_kernel"]);
        let methods = ["ack", "bye", "cancel", "invite", "options", "other", "register"];
        let requests: u64 = methods.iter().map(|method| number(sip, &format!("request_{method}"))).sum();
        let responses: u64 = (1..=6).map(|class| number(sip, &format!("response_{class}xx"))).sum();
        let other = [
            "reply_400",
            "stun_answered",
            "drop_stun",
            "drop_keep_alive",
            "drop_not_sip",
            "drop_unanswerable",
            "drop_response_malformed",
            "drop_budget",
        ];
        assert_eq!(received, requests + responses + all(sip, &other), "worker {nth}: messages received");
        assert_eq!(number(worker, "engine_drop"), family(sip, "drop_"), "worker {nth}: messages dropped");
        assert_eq!(
            number(worker, "engine_taken"),
            all(sip, &["request_absorbed", "response_absorbed"]),
            "worker {nth}: messages absorbed"
        );
        // Why each message was sent, and how it went.
        let reasons = [
            "request_forwarded",
            "response_forwarded",
            "request_repeated",
            "response_repeated",
            "ack_sent",
            "cancel_sent",
            "bye_sent",
            "probe_sent",
            "stun_answered",
        ];
        let ways = ["tx_xsk", "tx_kernel", "drop_kernel_send", "drop_no_socket", "drop_unresolved"];
        assert_eq!(
            all(sip, &reasons) + family(sip, "reply_"),
            all(worker, &ways),
            "worker {nth}: messages sent"
        );
    }
}

#[test]
fn an_hour_of_faults_leaves_nothing_behind() {
    let Some(bench) = Bench::with(&[machine::ETHTOOL]) else { return };
    queues(&bench, 2);
    let node = bench.start(&Configuration {
        workers: Some(2),
        extra: "limits: { per_source_pps: 1000000, transactions: 60000, dialogs: 4000 }\n".to_owned(),
        ..bench.configuration("copy")
    });
    bind(&bench, callee());
    // What is touched only when a worker was not let run for long is touched before anything is measured.
    overrun_after(&bench, &node, Duration::from_millis(150));
    let before = quiet(&node);
    let total = |report: &Report| -> u64 {
        report.queues().iter().map(|queue| queue["balance"]["total"].as_u64().unwrap_or(0)).sum()
    };

    let began = Instant::now();
    let over = AtomicBool::new(false);
    let (mut rounds, mut touched) = (Vec::new(), 0);
    let (guests, junk, broken) = std::thread::scope(|scope| {
        // Stopped also when the calls fail.
        struct Stop<'a>(&'a AtomicBool);
        impl Drop for Stop<'_> {
            fn drop(&mut self) {
                self.0.store(true, Ordering::Relaxed);
            }
        }
        let guests = scope.spawn(|| come_and_go(&bench, &over));
        let junk = scope.spawn(|| bench.lab.peers.enter_on_a_thread(|| annoy(&over)).unwrap());
        let broken = scope.spawn(|| break_things(&bench, &over));
        let stop = Stop(&over);
        let (mut again, mut registered) = (0, Instant::now());
        while began.elapsed() < duration() || rounds.len() < 6 {
            if registered.elapsed() > REFRESH {
                bind(&bench, callee());
                registered = Instant::now();
            }
            let plan =
                Plan { callers: callers(8), callee: callee(), calls: CALLS, body: 0, limit: PATIENCE * 2 };
            let outcome = bench.lab.peers.enter_on_a_thread(|| switchboard::run(&plan)).unwrap();
            assert_eq!(outcome.finished, plan.calls, "{outcome:?}");
            again += outcome.again;
            overrun(&bench, &node);
            touched = touched.max(used(&Report::of(&node), "transactions"));
            rounds.push(memory(&node) * 1024 - touched * TRANSACTION);
        }
        drop(stop);
        say(&format!("{} rounds of {CALLS} calls, {again} requests repeated by the phones", rounds.len()));
        (guests.join().unwrap(), junk.join().unwrap(), broken.join().unwrap())
    });
    let rested = Instant::now();
    std::thread::sleep(Duration::from_millis(500));
    let after = quiet(&node);
    let mean = |some: &[u64]| some.iter().sum::<u64>() / some.len() as u64 / 1024;
    let third = rounds.len() / 3;
    let (first, last) = (mean(&rounds[..third]), mean(&rounds[rounds.len() - third..]));
    say(&format!(
        "{:.0} s: {guests} registrations, {junk} junk messages, {broken} faults; resident {} KiB and, but for {touched} transactions, \
         {first} KiB in the first third, {last} in the last; {}",
        began.elapsed().as_secs_f64(),
        memory(&node),
        after.0["sip"]["occupancy"]
    ));
    after.assert_balanced();
    assert_eq!(total(&before), total(&after), "frames");
    assert_eq!(number(&after.0["registrations"], "bindings"), 1, "all guests have gone");
    assert_accounted(&after);
    let late = if duration() < LONG { FIRST_TOUCH / 1024 } else { 0 };
    assert!(last <= first + first / 100 + 256 + late, "memory grows: {rounds:?}");
    for table in ["dialogs", "outbox"] {
        assert_eq!(used(&after, table), 0, "{table}");
    }
    if duration() >= LONG {
        let tables = ["transactions", "branches", "kept", "timers"];
        while tables.iter().any(|table| used(&Report::of(&node), table) > 0) {
            assert!(rested.elapsed() < LINGER, "left: {}", Report::of(&node).0["sip"]["occupancy"]);
            std::thread::sleep(Duration::from_millis(500));
        }
        say(&format!("tables empty {:.1} s after the last message", rested.elapsed().as_secs_f64()));
    }
}
