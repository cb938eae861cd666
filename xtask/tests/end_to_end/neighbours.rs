//! Neighbour entries that vanish under load cost no call: a miss goes out by the kernel socket, which resolves anew.

use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use strowger_xtask::lab::Lab;
use strowger_xtask::lab::phones::Traffic;

use crate::bench::{Bench, say};

#[test]
fn a_neighbour_flush_every_100_ms_loses_no_call() {
    let Some(bench) = Bench::with_sipp() else { return };
    let node = bench.start(&bench.configuration("copy"));
    let (local, remote) = (IpAddr::V4(Lab::PEERS_V4), Lab::node_v4());
    bench.warm_up(local, remote);
    let phones = bench.phones(local, remote);
    let registrations = phones.register(20, |_| ()).unwrap();
    assert_eq!(registrations.failed, 0);

    let before = node.status().unwrap();
    let over = AtomicBool::new(false);
    let plan = Traffic { users: 20, calls: 500, rate: 100, hold: Duration::from_millis(100) };
    let (report, flushes) = std::thread::scope(|scope| {
        let flusher = scope.spawn(|| {
            let mut flushes = 0_u32;
            while !over.load(Ordering::Relaxed) {
                bench.lab.node.ip(&["neigh", "flush", "dev", Lab::NODE_INTERFACE]).unwrap();
                flushes += 1;
                std::thread::sleep(Duration::from_millis(100));
            }
            flushes
        });
        let report = phones.call(&plan, |_| ());
        over.store(true, Ordering::Relaxed);
        (report.unwrap(), flusher.join().unwrap())
    });
    let after = node.status().unwrap();
    let totals = after.totals - before.totals;
    let misses = after.counted("detour_unresolved") - before.counted("detour_unresolved");
    say(&format!(
        "{} calls ok under {flushes} flushes, {misses} messages without a neighbour, {} retransmissions, {totals:?}",
        report.calling.ok,
        report.calling.retransmissions + report.called.retransmissions
    ));
    assert!(flushes >= 10, "the flushes happened under load");
    assert!(
        misses > 0 && totals.sip_out_kernel >= misses,
        "a flush reached the node, and its way out took over"
    );
    assert_eq!((report.calling.ok, report.calling.failed), (500, 0), "{report:?}");
}
