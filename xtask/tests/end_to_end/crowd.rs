//! Thousands of calls at once, as a busy hour has them, and nothing of them left when they are over.
//!
//! How many and how long: `STROWGER_CALLS` (1000) and `STROWGER_HOLD`, seconds (10). A full run is 3000 held 20 s.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use strowger_xtask::lab::Lab;
use strowger_xtask::lab::phones::Traffic;
use strowger_xtask::machine;

use crate::bench::{Bench, say};

/// Phones; each takes part in many of the calls.
const USERS: u32 = 200;
/// 64 · T1, what timers H, J and L wait for at most (RFC 3261 section 17, RFC 6026), and a little.
const LINGER: Duration = Duration::from_secs(36);
/// What a call occupies while it lasts.
const TABLES: [&str; 5] = ["transactions", "branches", "kept", "dialogs", "outbox"];

fn number(variable: &str, default: u32) -> u32 {
    match std::env::var(variable) {
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("{variable}: `{text}` is not a number")),
        Err(_) => default,
    }
}

#[test]
fn calls_at_once_all_succeed_and_leave_nothing() {
    let (calls, hold) = (number("STROWGER_CALLS", 1000), number("STROWGER_HOLD", 10));
    let Some(bench) = Bench::patient(&[machine::SIPP]) else { return };
    let node = bench.start(&bench.configuration("copy"));
    let (local, remote) = (IpAddr::V4(Lab::PEERS_V4), Lab::node_v4());
    bench.warm_up(local, remote);
    let phones = bench.phones(local, remote);
    let registrations = phones.register(USERS, |_| ()).unwrap();
    assert_eq!(registrations.failed, 0);

    let before = node.status().unwrap();
    // All are up before the first ends.
    let rate = (calls * 2).div_ceil(hold).max(1);
    let plan = Traffic { users: USERS, calls, rate, hold: Duration::from_secs(u64::from(hold)) };
    let mut most = 0;
    let report = phones.call(&plan, |tally| most = most.max(tally.current)).unwrap();
    let over = Instant::now();
    let after = node.status().unwrap();
    say(&format!(
        "{calls} calls held {hold} s, {rate} begun in a second, {most} at once: {} ok, {} failed, {} retransmissions, {:?}",
        report.calling.ok,
        report.calling.failed,
        report.calling.retransmissions + report.called.retransmissions,
        after.totals - before.totals
    ));
    assert_eq!((report.calling.ok, report.calling.failed), (u64::from(calls), 0), "{report:?}");
    assert_eq!(report.called.created, u64::from(calls));
    assert!(most > u64::from(calls) * 9 / 10, "at once: {most} of {calls}");
    assert!(
        after.used("transactions") >= u64::from(calls),
        "BYEs are remembered for 64 · T1: {:?}",
        after.sip.occupancy
    );

    loop {
        let status = node.status().unwrap();
        if TABLES.iter().all(|table| status.used(table) == 0) {
            break say(&format!("empty {:.1} s after the last call", over.elapsed().as_secs_f64()));
        }
        assert!(over.elapsed() < LINGER, "left: {:?}", status.sip.occupancy);
        std::thread::sleep(Duration::from_millis(200));
    }
    assert_eq!(node.status().unwrap().whole["dataplane"]["frames_leaked"], 0);
}
