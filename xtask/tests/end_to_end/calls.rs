//! Real phones call each other in every mode and both families; the counters say which way each message went.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use strowger_xtask::lab::Lab;
use strowger_xtask::lab::phones::Traffic;
use strowger_xtask::node::Totals;

use crate::bench::{Bench, say};
use crate::counted::{fresh, repeated, undisturbed};

const USERS: u32 = 20;
const CALLS: u32 = 200;
/// INVITE, 180, 200, ACK, BYE, 200.
const MESSAGES_OF_A_CALL: u64 = 6;

/// What the node counted while the phones registered and made all calls without a failure.
fn traffic(mode: &str, local: IpAddr, node: SocketAddr) -> Option<(String, Totals)> {
    let bench = Bench::with_sipp()?;
    let running = bench.start(&bench.configuration(mode));
    bench.warm_up(local, node);
    let phones = bench.phones(local, node);
    let plan = Traffic { users: USERS, calls: CALLS, rate: 100, hold: Duration::from_millis(100) };
    let (before, report, after) = undisturbed(&running, || {
        let before = fresh(&running);
        assert_eq!(before.dataplane.xdp_attached, mode != "off");
        assert_eq!(before.dataplane.wanted, mode);
        let registrations = phones.register(USERS, |_| ()).unwrap();
        assert_eq!((registrations.ok, registrations.failed), (u64::from(USERS), 0));
        let report = phones.call(&plan, |_| ()).unwrap();
        assert_eq!((report.calling.ok, report.calling.failed), (u64::from(CALLS), 0), "{report:?}");
        assert_eq!(report.called.created, u64::from(CALLS));
        (before, report, fresh(&running))
    });

    assert_eq!(after.registrations.bindings, u64::from(USERS));
    assert_eq!(after.calls.invites - before.calls.invites, u64::from(CALLS));
    let totals = after.totals - before.totals;
    let by_node = repeated(&after) - repeated(&before);
    let repeated = report.calling.retransmissions + report.called.retransmissions + by_node;
    say(&format!("{CALLS} calls in {} mode, {repeated} retransmissions: {totals:?}", after.dataplane.mode));
    // Every message came in and went out again, and a 100 to each INVITE besides; whoever repeated itself made more.
    let received = u64::from(CALLS) * MESSAGES_OF_A_CALL + u64::from(USERS);
    let sent = received + u64::from(CALLS);
    assert!(totals.received() >= received, "{totals:?}");
    assert!(totals.sent() >= received, "{totals:?}");
    if repeated == 0 {
        assert_eq!((totals.received(), totals.sent()), (received, sent));
    }
    Some((after.dataplane.mode, totals))
}

fn assert_all_by_xdp(totals: &Totals) {
    assert_eq!((totals.sip_in_kernel, totals.sip_out_kernel), (0, 0), "{totals:?}");
}

fn v4(mode: &str) -> Option<(String, Totals)> {
    traffic(mode, IpAddr::V4(Lab::PEERS_V4), Lab::node_v4())
}

#[test]
fn copy_mode_carries_every_message_by_af_xdp() {
    let Some((mode, totals)) = v4("copy") else { return };
    assert_eq!(mode, "copy");
    assert_all_by_xdp(&totals);
}

#[test]
fn generic_mode_carries_every_message_by_af_xdp() {
    let Some((mode, totals)) = v4("generic") else { return };
    assert_eq!(mode, "generic");
    assert_all_by_xdp(&totals);
}

#[test]
fn off_mode_carries_every_message_by_the_kernel_socket() {
    let Some((mode, totals)) = v4("off") else { return };
    assert_eq!(mode, "off");
    assert_eq!((totals.sip_in_xsk, totals.sip_out_xsk), (0, 0), "{totals:?}");
}

#[test]
fn ipv6_calls_go_by_af_xdp_too() {
    let Some((_, totals)) = traffic("auto", IpAddr::V6(Lab::PEERS_V6), Lab::node_v6()) else { return };
    assert_all_by_xdp(&totals);
}

#[test]
fn auto_on_a_veth_falls_back_to_copy_and_says_why() {
    let Some(bench) = Bench::plain() else { return };
    let node = bench.start(&bench.configuration("auto"));
    let dataplane = node.status().unwrap().dataplane;
    assert_eq!(dataplane.mode, "copy");
    assert!(dataplane.fallback.is_some_and(|reason| !reason.is_empty()), "the reason is kept");
}
