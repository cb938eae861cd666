//! A storm of requests in the names of hosts that are not there, all of them on the link: nobody has the addresses that the
//! refusals go to, so the kernel would ask for each and keep an entry for it. Its table of neighbours, which all interfaces and
//! namespaces of the machine share, has to stay usable, and calls go on.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use strowger_wire::VlanTags;
use strowger_xtask::lab::Lab;
use strowger_xtask::lab::phones::Traffic;

use crate::bench::{Bench, say};
use crate::counted::{Report, number, quiet};
use crate::forge::{Ends, Forge};

/// Packets a second: what a node serves beside its calls, so that what fails does not fail for want of CPU.
const RATE: u32 = 10_000;
const CALLS: u32 = 200;

fn request(source: Ipv4Addr, nth: u32) -> String {
    format!(
        "OPTIONS sip:nobody@10.77.0.2 SIP/2.0\r\nVia: SIP/2.0/UDP {source}:5060;branch=z9hG4bK{nth};rport\r\n\
         Max-Forwards: 70\r\nFrom: <sip:u@{source}>;tag={nth}\r\nTo: <sip:nobody@10.77.0.2>\r\n\
         Call-ID: {nth}@spoofed\r\nCSeq: 1 OPTIONS\r\nContent-Length: 0\r\n\r\n"
    )
}

/// So many of a /16, in an order that meets all of them again and again. Gives how many were sent.
fn storm(ends: Ends, sources: u32, over: &AtomicBool) -> u64 {
    let mut forge = Forge::open(ends);
    let began = Instant::now();
    for nth in 0_u32.. {
        if over.load(Ordering::Relaxed) {
            break;
        }
        // Every other host of the /16, and so on, until there are enough.
        let [high, low] = ((nth % sources * (65_536 / sources) + 1) as u16).to_be_bytes();
        let source = Ipv4Addr::new(10, 98, high, low);
        forge.send(
            (SocketAddr::from((source, 5060)), Lab::node_v4()),
            VlanTags::NONE,
            request(source, nth).as_bytes(),
        );
        let due = Duration::from_secs(1) * nth / RATE;
        std::thread::sleep(due.saturating_sub(began.elapsed()));
    }
    forge.sent()
}

/// Neighbours of the /16 in the node's namespace, in whatever state.
fn strangers(bench: &Bench) -> usize {
    let all = bench.lab.node.ip_json(&["neigh", "show", "nud", "all", "dev", Lab::NODE_INTERFACE]).unwrap();
    let all = all.as_array().map_or(&[][..], Vec::as_slice);
    all.iter().filter(|entry| entry["dst"].as_str().is_some_and(|dst| dst.starts_with("10.98."))).count()
}

#[test]
fn a_storm_from_addresses_that_nobody_has_leaves_the_neighbours_alone() {
    let Some(bench) = Bench::with_sipp() else { return };
    let room = std::fs::read_to_string("/proc/sys/net/ipv4/neigh/default/gc_thresh3").unwrap();
    let room: u32 = room.trim().parse().unwrap();
    // Fewer than would overrun this machine's table, should nothing hold them back; and few enough for the storm to come to
    // each of them again and again while the calls last.
    let sources = (room * 3 / 4).min(8_192);
    bench.lab.node.ip(&["route", "add", "10.98.0.0/16", "dev", Lab::NODE_INTERFACE]).unwrap();
    let node = bench.start(&bench.configuration("copy"));
    let (local, remote) = (Lab::PEERS_V4.into(), Lab::node_v4());
    bench.warm_up(local, remote);
    let phones = bench.phones(local, remote);
    assert_eq!(phones.register(20, |_| ()).unwrap().failed, 0);
    let ends = Ends::of(&bench);

    let before = Report::of(&node);
    let over = AtomicBool::new(false);
    let plan = Traffic { users: 20, calls: CALLS, rate: 50, hold: Duration::from_millis(100) };
    let (report, sent, (soon, after_so_long)) = std::thread::scope(|scope| {
        // Stopped also when the calls fail.
        struct Stop<'a>(&'a AtomicBool);
        impl Drop for Stop<'_> {
            fn drop(&mut self) {
                self.0.store(true, Ordering::Relaxed);
            }
        }
        let storming =
            scope.spawn(|| bench.lab.peers.enter_on_a_thread(|| storm(ends, sources, &over)).unwrap());
        let looking = scope.spawn(|| {
            let began = Instant::now();
            std::thread::sleep(Duration::from_secs(1));
            (strangers(&bench), began.elapsed())
        });
        let stop = Stop(&over);
        let report = phones.call(&plan, |_| ()).unwrap();
        drop(stop);
        (report, storming.join().unwrap(), looking.join().unwrap())
    });
    let after = quiet(&node);
    let more = |name: &str| after.sum(name) - before.sum(name);
    let heard = |name: &str| {
        let of = |report: &Report| number(&report.0["dataplane"]["next_hops"], name);
        of(&after) - of(&before)
    };
    let late = strangers(&bench);
    say(&format!(
        "{sent} requests from {sources} addresses that nobody has: {soon} of them in the kernel's table after a second, {late} in \
         the end, of {room}; {} refusals not sent, {} by the kernel; {} events of the kernel's, {} tables published; {} of {CALLS} \
         calls ok, {} repetitions",
        more("drop_unresolved"),
        more("detour_unresolved"),
        heard("events"),
        heard("published"),
        report.calling.ok,
        report.calling.retransmissions + report.called.retransmissions
    ));
    assert_eq!((report.calling.ok, report.calling.failed), (CALLS.into(), 0), "{report:?}");
    assert!(sent > u64::from(sources) * 4, "each address again and again: {sent}");
    // A fifth of the table a second, and half a second's worth at once; and what the start of the threads adds.
    let allowed = f64::from(room) / 5.0 * (0.5 + after_so_long.as_secs_f64()) + f64::from(room) / 10.0;
    let some = (room / 20).min(sources / 15);
    assert!(soon as u32 > some && (soon as f64) <= allowed, "{soon} after {after_so_long:?}, of {room}");
    assert!(late as u32 <= sources, "{late}");
    // Of each neighbour the kernel says that it was not found, that it is asked for again, that it is given up.
    assert!(heard("events") < u64::from(room) * 6, "{}", heard("events"));
    assert_eq!(heard("overruns"), 0);
    // Where the refusals went: every request of the storm was answered, or lost by a ring, which says so.
    let lost: u64 = after
        .queues()
        .iter()
        .map(|q| ["rx_dropped", "rx_ring_full"].map(|n| number(&q["statistics"], n)).iter().sum::<u64>())
        .sum();
    let went = more("drop_unresolved") + more("detour_unresolved") + more("drop_kernel_send") + lost;
    assert!(went >= sent, "{went} of {sent}");
    assert!(more("drop_unresolved") > sent / 2);
    assert_eq!(more("drop_kernel_send"), 0);
    after.assert_balanced();
}
