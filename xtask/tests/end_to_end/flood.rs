//! Storms as fast as one core can make them, from banned and from unknown sources, while registered phones call: no call
//! fails, and what a refused packet costs is printed.
//!
//! The storm is written frame by frame into an AF_XDP ring of the peers' interface, so it comes from any address that it
//! likes. How long each lasts: `STROWGER_FLOOD` (5), seconds; a full run is 10.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};
use strowger_wire::VlanTags;
use strowger_xtask::lab::Lab;
use strowger_xtask::node::{Configuration, Node};

use crate::bench::{Bench, say};
use crate::cast::Player;
use crate::counted::{Report, number, quiet};
use crate::credentials::users;
use crate::forge::{Ends, Forge};
use crate::scenario::Scenario;

/// Calls begun in a second, as the cast plays them.
const RATE: u32 = 20;
/// Frames made between two looks at the clock.
const BATCH: u32 = 64;
/// Those whom the configuration bans.
const BANNED: [u8; 2] = [10, 99];
/// Those of whom nobody has heard.
const UNKNOWN: [u8; 2] = [10, 98];

fn seconds() -> u32 {
    match std::env::var("STROWGER_FLOOD") {
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("STROWGER_FLOOD: `{text}` is not a number")),
        Err(_) => 5,
    }
}

/// One kind of storm.
struct Storm {
    name: &'static str,
    /// The first half of its sources' addresses.
    from: [u8; 2],
    /// How many sources there are.
    sources: u32,
    payload: fn(u32) -> Vec<u8>,
    /// The verdict that most of it meets.
    verdict: &'static str,
}

const STORMS: [Storm; 5] = [
    Storm {
        name: "REGISTER from a banned network",
        from: BANNED,
        sources: 65_536,
        payload: register,
        verdict: "drop_banned_prefix",
    },
    Storm {
        name: "junk from a banned network",
        from: BANNED,
        sources: 65_536,
        payload: junk,
        verdict: "drop_",
    },
    Storm { name: "junk from a /16", from: UNKNOWN, sources: 65_536, payload: junk, verdict: "drop_junk" },
    Storm {
        name: "REGISTER from one source",
        from: UNKNOWN,
        sources: 1,
        payload: register,
        verdict: "drop_unknown_rate",
    },
    Storm {
        name: "REGISTER from a /16",
        from: UNKNOWN,
        sources: 65_536,
        payload: register,
        verdict: "drop_strangers",
    },
];

fn register(nth: u32) -> Vec<u8> {
    format!(
        "REGISTER sip:10.77.0.2 SIP/2.0\r\nVia: SIP/2.0/UDP 10.98.0.1:5060;branch=z9hG4bK{nth};rport\r\n\
         Max-Forwards: 70\r\nFrom: <sip:u{nth}@10.77.0.2>;tag={nth}\r\nTo: <sip:u{nth}@10.77.0.2>\r\n\
         Call-ID: {nth}@flood\r\nCSeq: 1 REGISTER\r\nContact: <sip:u{nth}@10.98.0.1>\r\nUser-Agent: \
         friendly-scanner\r\nAllow: INVITE, ACK, CANCEL, BYE, OPTIONS, MESSAGE\r\nContent-Length: 0\r\n\r\n"
    )
    .into_bytes()
}

/// Bytes that begin as neither SIP nor STUN does.
fn junk(nth: u32) -> Vec<u8> {
    (0..200).map(|at| 0x80 | (nth.wrapping_mul(31).wrapping_add(at * 7) as u8)).collect()
}

/// What the sender did, and the CPU time of its thread. On a veth pair that includes the receiving side's work in the
/// kernel: delivery, the XDP program, and dropping.
#[derive(Debug)]
struct Sent {
    packets: u64,
    cpu: Duration,
    took: Duration,
}

/// The thread's CPU time.
fn cpu() -> Duration {
    let now = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(now.tv_sec as u64, now.tv_nsec as u32)
}

/// Sends as fast as it can until told to stop. Runs inside the peers' namespace.
fn send(storm: &Storm, ends: Ends, stop: &AtomicBool) -> Sent {
    // On a core of its own: what it makes the kernel do happens there too.
    let mut own = rustix::thread::CpuSet::new();
    own.set(0);
    rustix::thread::sched_setaffinity(None, &own).unwrap();
    let mut forge = Forge::open(ends);
    let payloads: Vec<Vec<u8>> = (0..256).map(storm.payload).collect();
    let (began, before) = (Instant::now(), cpu());
    let mut nth = 0_u32;
    while !stop.load(Ordering::Relaxed) {
        for _ in 0..BATCH {
            nth = nth.wrapping_add(1);
            let [high, low] = ((nth.wrapping_mul(40_503) % storm.sources) as u16).to_be_bytes();
            let source = Ipv4Addr::new(storm.from[0], storm.from[1], high, low);
            let way = (SocketAddr::from((source, 5060)), Lab::node_v4());
            if !forge.put(way, VlanTags::NONE, &payloads[nth as usize % payloads.len()]) {
                break;
            }
        }
        forge.service();
    }
    Sent { packets: forge.sent(), cpu: cpu() - before, took: began.elapsed() }
}

/// CPU time of a process so far.
fn cpu_of(node: &Node) -> Duration {
    let text = std::fs::read_to_string(format!("/proc/{}/stat", node.pid())).unwrap();
    // proc(5): fields 14 and 15, user and system; the second field ends with the last parenthesis.
    let fields: Vec<&str> = text.rsplit_once(')').unwrap().1.split_whitespace().collect();
    let ticks: u64 = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
    Duration::from_millis(ticks * 1000 / rustix::param::clock_ticks_per_second())
}

#[test]
fn calls_go_on_under_storms_from_banned_and_unknown_sources() {
    let Some(bench) = Bench::with_sipp() else { return };
    // The worker has another core than the storm, where there is one: as on a machine whose NIC's interrupts have theirs.
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let node = bench.start(&Configuration {
        plane: format!("  cpus: [{}]\n", cores.min(2) - 1),
        open: false,
        auth: format!(
            "algorithms: [MD5], users: {}",
            users(&bench, &[("alice", "looking-glass", "active")]).display()
        ),
        extra: "policing: { bans: true, deny: [10.99.0.0/16], unknown_pps: 50, known_pps: 5000, burst: 100, \
                strangers_pps: 1000, junk: drop }\n"
            .to_owned(),
        ..bench.configuration("copy")
    });
    bench.warm_up(Lab::PEERS_V4.into(), Lab::node_v4());
    let ends = Ends::of(&bench);

    let (alice, caller) = (Player::at(5080), Player::at(5090));
    let credentials =
        |name: &str| vec![format!("{name};alice;[authentication username=alice password=looking-glass]")];
    let registering = Scenario::registers_with_credentials(200);
    alice.asks_for("10.77.0.2").calls(&bench, &registering, &credentials("alice"), 1);
    let calling = Scenario::calls_with_credentials();
    let calls = RATE * seconds();
    let call = || {
        let answering = alice.waits(&bench, &Scenario::called("answering").answers(50));
        caller.asks_for("alice@10.77.0.2").calls(&bench, &calling, &credentials("alice"), calls);
        let tally = answering.finish(crate::bench::PATIENCE).unwrap();
        assert_eq!((tally.ok, tally.failed), (u64::from(calls), 0), "{tally:?}");
    };

    // What the calls cost by themselves.
    let before = cpu_of(&node);
    call();
    let alone = cpu_of(&node) - before;
    assert!(number(&Report::of(&node).0["policing"]["counters"], "published") > 0, "alice is known");

    for storm in &STORMS {
        let (before, spent) = (Report::of(&node), cpu_of(&node));
        let stop = AtomicBool::new(false);
        let sent = std::thread::scope(|scope| {
            // Stopped also when the calls fail.
            struct Stop<'a>(&'a AtomicBool);
            impl Drop for Stop<'_> {
                fn drop(&mut self) {
                    self.0.store(true, Ordering::Relaxed);
                }
            }
            let storming =
                scope.spawn(|| bench.lab.peers.enter_on_a_thread(|| send(storm, ends, &stop)).unwrap());
            let stopping = Stop(&stop);
            call();
            drop(stopping);
            storming.join().unwrap()
        });
        let after = quiet(&node);
        let spent = cpu_of(&node) - spent;
        let more = |prefix: &str| -> u64 {
            let verdicts = after.0["dataplane"]["xdp"].as_object().unwrap().keys();
            let names = verdicts.filter(|name| name.starts_with(prefix));
            names.map(|name| after.xdp(name) - before.xdp(name)).sum()
        };
        // What the other end of a veth pair has no room for is lost before the program sees it.
        let (judged, refused) = (more(""), more(storm.verdict));
        let besides = spent.saturating_sub(alone);
        let each = |time: Duration| time.as_nanos() / u128::from(refused.max(1));
        say(&format!(
            "{}: {} packets in {:.1} s ({:.0} a second), {judged} judged with those of the calls, {refused} refused; {calls} calls, none failed; CPU for each: {} ns \
             to make, deliver and refuse it, {} ns of the node's",
            storm.name,
            sent.packets,
            sent.took.as_secs_f64(),
            sent.packets as f64 / sent.took.as_secs_f64(),
            each(sent.cpu),
            each(besides),
        ));
        assert!(judged > u64::from(10_000 * seconds()), "no storm: {judged}");
        assert!(refused > judged * 9 / 10, "{refused} of {judged}: {}", after.0["dataplane"]["xdp"]);
        assert_eq!(after.xdp("drop_known_rate"), 0, "who calls is known, and within his budget");
        after.assert_balanced();
    }
}
