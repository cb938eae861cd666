//! The mirror against a real kernel: host, gateway and far host, each in a namespace of its own.

mod lab;

use std::net::{IpAddr, UdpSocket};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use lab::{Namespace, until};
use strowger_wire::{MacAddr, VlanTags};
use strowger_xsk::{Hop, Mirror, Miss, NextHops};

const PATIENCE: Duration = Duration::from_secs(5);

/// What is promised for a route or link that changes.
const PROMISE: Duration = Duration::from_millis(100);

/// host sw-h 10.90.1.1 ── 10.90.1.254 sw-g1 gateway sw-g2 10.90.2.254 ── 10.90.2.9 sw-f far; the same in IPv6.
struct Network {
    host: Namespace,
    gateway: Namespace,
    far: Namespace,
}

impl Network {
    fn new(test: &str) -> Self {
        let [host, gateway, far] = ["host", "gw", "far"].map(|role| Namespace::new(test, role));
        lab::veth((&host, "sw-h", "10.90.1.1/24"), (&gateway, "sw-g1", "10.90.1.254/24"));
        lab::veth((&gateway, "sw-g2", "10.90.2.254/24"), (&far, "sw-f", "10.90.2.9/24"));
        for (namespace, device, address) in [
            (&host, "sw-h", "fd90:1::1/64"),
            (&gateway, "sw-g1", "fd90:1::fe/64"),
            (&gateway, "sw-g2", "fd90:2::fe/64"),
            (&far, "sw-f", "fd90:2::9/64"),
        ] {
            namespace.ip(&format!("address add {address} dev {device} nodad"));
        }
        host.ip("route add default via 10.90.1.254");
        host.ip("route add default via fd90:1::fe");
        Self { host, gateway, far }
    }

    fn device(&self) -> u32 {
        self.host.ifindex("sw-h")
    }

    /// Makes the kernel resolve the way to `dst`, as the node's own socket does after a miss.
    fn send(&self, dst: &str) {
        let dst: IpAddr = dst.parse().expect("an address");
        self.host.enter(|| {
            let any = if dst.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
            let _ = UdpSocket::bind(any).expect("a socket").send_to(b"?", (dst, 9));
        });
    }

    fn hop(&self, device: &str, gateway: (&Namespace, &str), mtu: u32) -> Hop {
        Hop {
            src_mac: MacAddr(self.host.mac(device)),
            dst_mac: MacAddr(gateway.0.mac(gateway.1)),
            vlans: VlanTags::NONE,
            mtu,
        }
    }
}

/// Waits for the answer that `wanted` accepts; how long it took.
fn answer(
    hops: &NextHops,
    device: u32,
    dst: &str,
    limit: Duration,
    wanted: impl Fn(Result<Hop, Miss>) -> bool,
) -> Duration {
    let dst = dst.parse().expect("an address");
    let mut last = None;
    let found = until(limit, || {
        let answer = hops.lookup(device, dst);
        last = Some(answer);
        wanted(answer).then_some(())
    });
    let Some(((), took)) = found else { panic!("{dst}: still {last:?} after {limit:?}") };
    took
}

#[test]
fn behind_a_gateway_the_hop_is_the_gateways_mac() {
    if !lab::ready("behind_a_gateway_the_hop_is_the_gateways_mac") {
        return;
    }
    let network = Network::new("hop");
    let device = network.device();
    let (mirror, hops) = network.host.enter(|| Mirror::start().unwrap());
    let lookup = |dst: &str| hops.lookup(device, dst.parse().unwrap());

    assert_eq!(lookup("10.90.2.9"), Err(Miss::Unresolved), "nobody has asked for the gateway yet");
    let to_gateway = network.hop("sw-h", (&network.gateway, "sw-g1"), 1500);
    network.send("10.90.2.9");
    let took = answer(&hops, device, "10.90.2.9", PATIENCE, |answer| answer == Ok(to_gateway));
    println!("resolved and known after {took:?}");
    assert_ne!(to_gateway.dst_mac.0, network.far.mac("sw-f"));
    assert_eq!(lookup("10.90.1.254"), Ok(to_gateway), "the gateway itself");

    network.send("fd90:2::9");
    let narrow = Hop { mtu: 1280, ..to_gateway };
    answer(&hops, device, "fd90:2::9", PATIENCE, |answer| answer == Ok(narrow));

    assert_eq!(lookup("10.90.1.1"), Err(Miss::Local));
    assert_eq!(lookup("10.90.1.255"), Err(Miss::Local), "broadcast");
    assert_eq!(lookup("127.0.0.1"), Err(Miss::Local));
    assert_eq!(lookup("fd90:1::1"), Err(Miss::Local));
    assert_eq!(hops.lookup(device + 100, "10.90.2.9".parse().unwrap()), Err(Miss::OtherInterface));

    // Flushed: unknown at once, known again when the kernel has resolved it.
    network.host.ip("neigh flush dev sw-h");
    let took = answer(&hops, device, "10.90.2.9", PROMISE, |answer| answer == Err(Miss::Unresolved));
    println!("flush known after {took:?}");
    network.send("10.90.2.9");
    let took = answer(&hops, device, "10.90.2.9", PATIENCE, |answer| answer == Ok(to_gateway));
    println!("resolved again and known after {took:?}");
    println!("{:?}", mirror.counters());
    drop(mirror);
    assert_eq!(lookup("10.90.2.9"), Err(Miss::Blind), "nobody keeps the table any more");
}

#[test]
fn routes_and_links_are_followed_within_100_ms() {
    if !lab::ready("routes_and_links_are_followed_within_100_ms") {
        return;
    }
    let network = Network::new("route");
    let device = network.device();
    network.gateway.ip("address add 10.90.1.253/24 dev sw-g1");
    let know_neighbours = || {
        let ipv4 = [("10.90.1.254", 1), ("10.90.1.253", 2), ("10.90.1.252", 3)];
        for (address, last) in ipv4.into_iter().chain([("fd90:1::fe", 1), ("fd90:1::fd", 2)]) {
            let lladdr = format!("lladdr 02:00:00:00:00:0{last}");
            network.host.ip(&format!("neigh replace {address} {lladdr} dev sw-h nud permanent"));
        }
    };
    know_neighbours();
    let (mirror, hops) = network.host.enter(|| Mirror::start().unwrap());
    let via = |last| move |answer: Result<Hop, Miss>| answer.is_ok_and(|hop| hop.dst_mac.0[5] == last);
    let step = |what: &str, words: &str, dst: &str, wanted: &dyn Fn(Result<Hop, Miss>) -> bool| {
        network.host.ip(words);
        let took = answer(&hops, device, dst, PROMISE, wanted);
        println!("{what}: known after {took:?}");
    };
    let far = "10.90.2.9";
    answer(&hops, device, far, PROMISE, via(1));
    step("replaced", "route replace default via 10.90.1.253", far, &via(2));
    step("more specific", "route add 10.90.2.0/24 via 10.90.1.252 metric 7", far, &via(3));
    step("better metric", "route add 10.90.2.0/24 via 10.90.1.254 metric 5", far, &via(1));
    step("one of two gone", "route del 10.90.2.0/24 metric 5", far, &via(3));
    step("appended", "route append 10.90.2.0/24 via 10.90.1.254 metric 7", far, &|answer| {
        answer == Err(Miss::Unusual)
    });
    step("all gone", "route flush 10.90.2.0/24", far, &via(2));
    step("route MTU", "route replace default via 10.90.1.253 mtu 1300", far, &|answer| {
        answer.is_ok_and(|hop| hop.mtu == 1300)
    });
    step(
        "multipath",
        "route add 10.90.2.0/24 nexthop via 10.90.1.254 nexthop via 10.90.1.253",
        far,
        &|answer| answer == Err(Miss::Unusual),
    );
    step("multipath gone", "route del 10.90.2.0/24", far, &via(2));
    step("blackhole", "route add blackhole 10.90.2.0/24", far, &|answer| answer == Err(Miss::Unusual));
    step("blackhole gone", "route del blackhole 10.90.2.0/24", far, &via(2));
    step("IPv4 by IPv6", "route add 10.90.2.0/24 via inet6 fd90:1::fe dev sw-h", far, &|answer| {
        answer == Err(Miss::Unusual)
    });
    step("by IPv6 gone", "route del 10.90.2.0/24", far, &via(2));
    step("next-hop object", "nexthop add id 5 via 10.90.1.254 dev sw-h", far, &via(2));
    step("route by it", "route add 10.90.2.0/24 nhid 5", far, &|answer| answer == Err(Miss::Unusual));
    step("object gone, and the route with it", "nexthop del id 5", far, &via(2));
    step("rule", "rule add fwmark 1 table 77", far, &|answer| answer == Err(Miss::Unusual));
    step("rule gone", "rule del fwmark 1 table 77", far, &via(2));
    step("default gone", "route del default", far, &|answer| answer == Err(Miss::NoRoute));
    step("default back", "route add default via 10.90.1.254", far, &via(1));
    step("device MTU", "link set sw-h mtu 1400", far, &|answer| answer.is_ok_and(|hop| hop.mtu == 1400));
    step("device MAC, and all neighbours gone", "link set sw-h address 02:00:00:00:00:99", far, &|answer| {
        answer == Err(Miss::Unresolved)
    });
    know_neighbours();
    answer(&hops, device, far, PROMISE, |answer| answer.is_ok_and(|hop| hop.src_mac.0[5] == 0x99));
    step("address gone, and routes with it", "address del 10.90.1.1/24 dev sw-h", far, &|answer| {
        answer == Err(Miss::NoRoute)
    });
    let far6 = "fd90:2::9";
    know_neighbours();
    step("IPv6 replaced", "-6 route replace default via fd90:1::fd", far6, &via(2));
    step("IPv6 more specific", "-6 route add fd90:2::/64 via fd90:1::fe", far6, &via(1));
    step("IPv6 appended", "-6 route append fd90:2::/64 via fd90:1::fd", far6, &|answer| {
        answer == Err(Miss::Unusual)
    });
    step("IPv6 one of two gone", "-6 route del fd90:2::/64 via fd90:1::fe", far6, &via(2));
    step("IPv6 replaced again", "-6 route replace fd90:2::/64 via fd90:1::fe mtu 1290", far6, &via(1));
    step("IPv6 rule", "-6 rule add from fd90:1::1 table 77", far6, &|answer| answer == Err(Miss::Unusual));
    step("IPv6 rule gone", "-6 rule del from fd90:1::1 table 77", far6, &via(1));
    // The last address took the IPv4 neighbours along too.
    network.host.ip("address add 10.90.1.1/24 dev sw-h");
    know_neighbours();
    step("default back", "route add default via 10.90.1.254", far, &via(1));

    // No carrier: routes stay; the kernel tells of it once a second at most. Down: IPv4 routes go, and the kernel
    // doesn't say so.
    network.gateway.ip("link set sw-g1 down");
    let took = answer(&hops, device, far, PATIENCE, |answer| answer == Err(Miss::Down));
    println!("carrier lost: known after {took:?}");
    network.gateway.ip("link set sw-g1 up");
    let took = answer(&hops, device, far, PATIENCE, via(1));
    println!("carrier back: known after {took:?}");
    step("link down", "link set sw-h down", far, &|answer| answer == Err(Miss::NoRoute));
    network.host.ip("link set sw-h up");
    know_neighbours();
    network.host.ip("route add default via 10.90.1.254");
    let took = answer(&hops, device, far, PATIENCE, via(1));
    println!("link back: known after {took:?}");
    step("device gone", "link del sw-h", far, &|answer| answer == Err(Miss::NoRoute));
    println!("{:?}", mirror.counters());
}

#[test]
fn a_used_neighbour_is_kept_alive_and_an_unused_one_is_not() {
    if !lab::ready("a_used_neighbour_is_kept_alive_and_an_unused_one_is_not") {
        return;
    }
    let network = Network::new("use");
    let device = network.device();
    let (mirror, hops) = network.host.enter(|| Mirror::start().unwrap());
    let gateway_mac = network.gateway.mac("sw-g1").map(|byte| format!("{byte:02x}")).join(":");
    for address in ["10.90.1.254", "10.90.1.77", "fd90:1::fe"] {
        network.host.ip(&format!("neigh replace {address} lladdr {gateway_mac} dev sw-h nud stale"));
    }
    let state = |address: &str| network.host.ip_output(&format!("neigh show {address} dev sw-h"));
    let refreshed = || mirror.counters().refreshed.load(Ordering::Relaxed);
    // Long enough for a round of the mirror in which nobody asked.
    std::thread::sleep(Duration::from_millis(1200));
    assert!(state("10.90.1.254").contains("STALE"), "{}", state("10.90.1.254"));
    assert_eq!(refreshed(), 0);

    let start = Instant::now();
    hops.lookup(device, "10.90.2.9".parse().unwrap()).unwrap();
    hops.lookup(device, "fd90:2::9".parse().unwrap()).unwrap();
    // The kernel waits 5 s (delay_first_probe_time) before it probes.
    for address in ["10.90.1.254", "fd90:1::fe"] {
        until(Duration::from_secs(12), || state(address).contains("REACHABLE").then_some(()))
            .unwrap_or_else(|| panic!("{address} not confirmed: {}", state(address)));
        println!("{address} confirmed after {:?}", start.elapsed());
    }
    assert_eq!(refreshed(), 2);
    assert!(state("10.90.1.77").contains("STALE"), "{}", state("10.90.1.77"));
}
