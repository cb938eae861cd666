//! Next hops over pictures made by hand: every reason to give up, what facts change, and a naive oracle.

use std::net::IpAddr;

use proptest::prelude::*;
use strowger_wire::MacAddr;

use super::super::facts::Vlan;
use super::super::{Hop, NextHops};
use super::*;

const DEVICE: u32 = 2;
const OTHER: u32 = 3;
const TAGGED: u32 = 4;
const TWICE: u32 = 5;
const STRANGE: u32 = 6;

fn mac(last: u8) -> MacAddr {
    MacAddr([2, 0, 0, 0, 0, last])
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn link(index: u32) -> Link {
    Link { index, up: true, mtu: 1500, mac: Some(mac(index as u8)), vlan: None }
}

fn vlan(index: u32, parent: u32, tag: Option<VlanTag>) -> Link {
    Link { vlan: Some(Vlan { parent, tag }), ..link(index) }
}

fn route(prefix: &str, gateway: Option<&str>, oif: u32) -> Route {
    let (address, len) = prefix.split_once('/').unwrap();
    let address = ip(address);
    Route {
        family: Family::of(address),
        table: TABLE_MAIN,
        prefix: Prefix::new(address, len.parse().unwrap()).unwrap(),
        tos: 0,
        metric: 0,
        kind: Kind::Unicast,
        gateway: gateway.map(ip),
        oif,
        mtu: None,
        dead: false,
        unusual: false,
    }
}

fn neighbour(oif: u32, address: &str, last: u8) -> Neighbour {
    Neighbour { key: (oif, ip(address)), mac: Some(mac(last)), stale: false }
}

/// 10.0.0.0/24 and 2001:db8::/64 on the device, everything else through gateways there, rules as the kernel has them.
fn usual() -> State {
    let mut state = State::default();
    for family in [Family::V4, Family::V6] {
        for (priority, table) in [(0, TABLE_LOCAL), (32766, TABLE_MAIN), (32767, TABLE_DEFAULT)] {
            if family == Family::V4 || table != TABLE_DEFAULT {
                state.learn(Fact::Rule(Rule { family, priority, table: Some(table) }));
            }
        }
    }
    state.learn(Fact::Link(link(DEVICE)));
    state.learn(Fact::Link(link(OTHER)));
    for (prefix, gateway) in [
        ("10.0.0.0/24", None),
        ("0.0.0.0/0", Some("10.0.0.254")),
        ("2001:db8::/64", None),
        ("::/0", Some("fe80::1")),
    ] {
        state.learn(Fact::Route(route(prefix, gateway, DEVICE)));
    }
    for local in ["10.0.0.1/32", "2001:db8::1/128"] {
        let route = route(local, None, DEVICE);
        state.learn(Fact::Route(Route { table: TABLE_LOCAL, kind: Kind::Local, ..route }));
    }
    state.learn(Fact::Neighbour(neighbour(DEVICE, "10.0.0.7", 0x77)));
    state.learn(Fact::Neighbour(neighbour(DEVICE, "10.0.0.254", 0xfe)));
    state.learn(Fact::Neighbour(neighbour(DEVICE, "2001:db8::7", 0x67)));
    state.learn(Fact::Neighbour(neighbour(DEVICE, "fe80::1", 0x61)));
    state
}

fn ask(state: &mut State, dst: &str) -> Result<Hop, Miss> {
    state.table().lookup(DEVICE, ip(dst))
}

fn hop(last: u8, mtu: u32) -> Result<Hop, Miss> {
    Ok(Hop { src_mac: mac(DEVICE as u8), dst_mac: mac(last), vlans: VlanTags::NONE, mtu })
}

#[test]
fn on_the_link_and_through_a_gateway() {
    let mut state = usual();
    assert_eq!(ask(&mut state, "10.0.0.7"), hop(0x77, 1500));
    assert_eq!(ask(&mut state, "192.0.2.1"), hop(0xfe, 1500));
    assert_eq!(ask(&mut state, "2001:db8::7"), hop(0x67, 1500));
    assert_eq!(ask(&mut state, "2001:db8:1::7"), hop(0x61, 1280), "the path behind may be narrower");
}

#[test]
fn what_is_not_another_hosts_address_is_left_to_the_kernel() {
    let mut state = usual();
    for dst in [
        "10.0.0.1",
        "127.0.0.1",
        "127.9.9.9",
        "0.0.0.0",
        "255.255.255.255",
        "224.0.1.75",
        "2001:db8::1",
        "::1",
        "::",
        "ff02::1",
        "fe80::7",
    ] {
        assert_eq!(ask(&mut state, dst), Err(Miss::Local), "{dst}");
    }
    let broadcast = Route { kind: Kind::Local, table: TABLE_LOCAL, ..route("10.0.0.255/32", None, DEVICE) };
    state.apply(Fact::Route(broadcast), false);
    assert_eq!(ask(&mut state, "10.0.0.255"), Err(Miss::Local));
}

#[test]
fn a_neighbour_is_used_only_while_its_address_is_known() {
    let mut state = usual();
    assert_eq!(ask(&mut state, "10.0.0.8"), Err(Miss::Unresolved));
    let lost = Neighbour { mac: None, ..neighbour(DEVICE, "10.0.0.254", 0) };
    assert_eq!(state.apply(Fact::Neighbour(lost), false), Effect::Publish);
    assert_eq!(ask(&mut state, "192.0.2.1"), Err(Miss::Unresolved));
    state.apply(Fact::Neighbour(neighbour(DEVICE, "10.0.0.254", 0xaa)), false);
    assert_eq!(ask(&mut state, "192.0.2.1"), hop(0xaa, 1500));
    state.apply(Fact::NeighbourGone((DEVICE, ip("10.0.0.254"))), false);
    assert_eq!(ask(&mut state, "192.0.2.1"), Err(Miss::Unresolved));
    // The same address on another interface is somebody else.
    state.apply(Fact::Neighbour(neighbour(OTHER, "10.0.0.254", 0xbb)), false);
    assert_eq!(ask(&mut state, "192.0.2.1"), Err(Miss::Unresolved));
}

#[test]
fn routes_by_length_then_metric() {
    let mut state = usual();
    state.learn(Fact::Neighbour(neighbour(DEVICE, "10.0.0.9", 9)));
    let worse = Route { metric: 200, ..route("192.0.2.0/24", Some("10.0.0.254"), DEVICE) };
    let better = Route { metric: 100, ..route("192.0.2.0/24", Some("10.0.0.7"), DEVICE) };
    assert_eq!(state.apply(Fact::Route(worse), false), Effect::Publish);
    assert_eq!(ask(&mut state, "192.0.2.1"), hop(0xfe, 1500));
    state.apply(Fact::Route(better), false);
    assert_eq!(ask(&mut state, "192.0.2.1"), hop(0x77, 1500));
    state.apply(Fact::Route(route("192.0.2.1/32", Some("10.0.0.9"), DEVICE)), false);
    assert_eq!(ask(&mut state, "192.0.2.1"), hop(9, 1500));
    assert_eq!(ask(&mut state, "192.0.2.2"), hop(0x77, 1500));
    assert_eq!(state.apply(Fact::RouteGone(better), false), Effect::Publish);
    assert_eq!(ask(&mut state, "192.0.2.2"), hop(0xfe, 1500));
}

#[test]
fn a_dead_route_leaves_the_way_to_a_shorter_prefix() {
    let mut state = usual();
    let dead = Route { dead: true, ..route("192.0.2.0/24", Some("10.0.0.7"), DEVICE) };
    state.apply(Fact::Route(dead), false);
    assert_eq!(ask(&mut state, "192.0.2.1"), hop(0xfe, 1500));
}

#[test]
fn the_routes_mtu_narrows_the_interfaces() {
    let mut state = usual();
    let narrow = Route { mtu: Some(1400), ..route("192.0.2.0/24", Some("10.0.0.7"), DEVICE) };
    state.apply(Fact::Route(narrow), false);
    assert_eq!(ask(&mut state, "192.0.2.1"), hop(0x77, 1400));
    let wide = Route { mtu: Some(9000), ..narrow };
    state.apply(Fact::Route(wide), true);
    assert_eq!(ask(&mut state, "192.0.2.1"), hop(0x77, 1500));
}

#[test]
fn whatever_is_unusual_is_left_to_the_kernel() {
    let plain = route("192.0.2.0/24", Some("10.0.0.7"), DEVICE);
    for (what, added, miss) in [
        ("multipath and its like", vec![Route { unusual: true, ..plain }], Miss::Unusual),
        ("blackhole", vec![Route { kind: Kind::Other, ..plain }], Miss::Unusual),
        ("unreachable", vec![Route { kind: Kind::Unreachable, ..plain }], Miss::NoRoute),
        ("a route for one TOS", vec![Route { tos: 0x10, ..plain }], Miss::Unusual),
        ("no interface", vec![Route { oif: 0, ..plain }], Miss::Unusual),
        ("another interface", vec![Route { oif: OTHER, ..plain }], Miss::OtherInterface),
        ("an interface that isn't there", vec![Route { oif: 99, ..plain }], Miss::OtherInterface),
        ("a tie", vec![plain, Route { gateway: Some(ip("10.0.0.254")), ..plain }], Miss::Unusual),
        ("a better one for one TOS", vec![plain, Route { tos: 8, metric: 9, ..plain }], Miss::Unusual),
    ] {
        let mut state = usual();
        added.into_iter().for_each(|route| state.learn(Fact::Route(route)));
        assert_eq!(ask(&mut state, "192.0.2.1"), Err(miss), "{what}");
        assert_eq!(ask(&mut state, "192.0.3.1"), hop(0xfe, 1500), "{what}: other destinations are as before");
    }
}

#[test]
fn policy_rules_and_the_default_table_make_a_family_unusual() {
    let rule = |family, priority, table| Fact::Rule(Rule { family, priority, table });
    for (what, fact) in [
        ("a rule with a selector", rule(Family::V4, 100, None)),
        ("a rule to another table", rule(Family::V4, 100, Some(42))),
        ("a second main", rule(Family::V4, 32765, Some(TABLE_MAIN))),
        ("a default table", Fact::Route(Route { table: TABLE_DEFAULT, ..route("0.0.0.0/0", None, DEVICE) })),
    ] {
        let mut state = usual();
        state.learn(fact);
        assert_eq!(ask(&mut state, "10.0.0.7"), Err(Miss::Unusual), "{what}");
        assert_eq!(ask(&mut state, "2001:db8::7"), hop(0x67, 1500), "{what}: the other family is as before");
    }
    let mut without = usual();
    without.rules.retain(|rule| rule.table != Some(TABLE_LOCAL));
    assert_eq!(ask(&mut without, "10.0.0.7"), Err(Miss::Unusual), "no local rule");

    let mut unread = usual();
    unread.learn(Fact::Unsettled);
    assert_eq!(ask(&mut unread, "10.0.0.7"), Err(Miss::Unusual), "a route that couldn't be read");

    let mut aside = usual();
    aside.learn(Fact::Route(Route { table: 42, ..route("0.0.0.0/0", Some("10.0.0.7"), DEVICE) }));
    assert_eq!(ask(&mut aside, "192.0.2.1"), hop(0xfe, 1500), "a table that no rule leads to");
}

#[test]
fn no_route_is_no_route() {
    let mut state = usual();
    state.apply(Fact::RouteGone(route("0.0.0.0/0", Some("10.0.0.254"), DEVICE)), false);
    assert_eq!(ask(&mut state, "192.0.2.1"), Err(Miss::NoRoute));
    assert_eq!(ask(&mut state, "2001:db8:1::7"), hop(0x61, 1280));
}

#[test]
fn vlan_interfaces_on_the_device_give_their_tags() {
    let mut state = usual();
    let (service, customer) = (VlanTag::service(100), VlanTag::customer(7));
    state.learn(Fact::Link(Link { mtu: 1496, ..vlan(TAGGED, DEVICE, Some(service)) }));
    state.learn(Fact::Link(Link { mac: Some(mac(0xee)), ..vlan(TWICE, TAGGED, Some(customer)) }));
    state.learn(Fact::Link(vlan(STRANGE, DEVICE, None)));
    for (prefix, oif) in [("10.4.0.0/16", TAGGED), ("10.5.0.0/16", TWICE), ("10.6.0.0/16", STRANGE)] {
        state.learn(Fact::Route(route(prefix, None, oif)));
    }
    state.learn(Fact::Neighbour(neighbour(TAGGED, "10.4.0.1", 0x41)));
    state.learn(Fact::Neighbour(neighbour(TWICE, "10.5.0.1", 0x51)));
    state.learn(Fact::Neighbour(neighbour(STRANGE, "10.6.0.1", 0x61)));

    let once = ask(&mut state, "10.4.0.1").unwrap();
    assert_eq!((once.src_mac, once.dst_mac, once.mtu), (mac(TAGGED as u8), mac(0x41), 1496));
    assert_eq!(once.vlans.as_slice(), [service]);
    let twice = ask(&mut state, "10.5.0.1").unwrap();
    assert_eq!((twice.src_mac, twice.dst_mac), (mac(0xee), mac(0x51)));
    assert_eq!(twice.vlans.as_slice(), [service, customer], "the lower interface's tag is outside");
    assert_eq!(ask(&mut state, "10.6.0.1"), Err(Miss::Unusual), "priorities that we don't know");
    assert_eq!(state.table().lookup(OTHER, ip("10.5.0.1")), Err(Miss::OtherInterface));

    let down = Link { up: false, ..link(DEVICE) };
    assert_eq!(state.apply(Fact::Link(down), false), Effect::Resync);
    let mut state = {
        state.built = None;
        state
    };
    assert_eq!(ask(&mut state, "10.5.0.1"), Err(Miss::Down), "its lowest interface is down");
}

#[test]
fn vlans_too_deep_orphaned_or_in_a_circle_are_not_followed() {
    let tag = |vid| Some(VlanTag::customer(vid));
    let mut state = usual();
    state.learn(Fact::Link(vlan(TAGGED, DEVICE, tag(1))));
    state.learn(Fact::Link(vlan(TWICE, TAGGED, tag(2))));
    state.learn(Fact::Link(vlan(10, TWICE, tag(3))));
    state.learn(Fact::Link(vlan(11, 99, tag(4))));
    state.learn(Fact::Link(vlan(12, 13, tag(5))));
    state.learn(Fact::Link(vlan(13, 12, tag(6))));
    for oif in 10..14 {
        state.learn(Fact::Route(route(&format!("10.{oif}.0.0/16"), None, oif)));
        state.learn(Fact::Neighbour(neighbour(oif, &format!("10.{oif}.0.1"), 1)));
    }
    for oif in 10..14 {
        let asked = ask(&mut state, &format!("10.{oif}.0.1"));
        assert!(matches!(asked, Err(Miss::Unusual | Miss::OtherInterface)), "{oif}: {asked:?}");
    }
}

#[test]
fn the_neighbour_that_is_missing_is_named() {
    let mut state = usual();
    let missing = |state: &mut State, dst: &str| state.table().unresolved(DEVICE, ip(dst));
    assert_eq!(missing(&mut state, "10.0.0.7"), None, "he is known");
    assert_eq!(missing(&mut state, "10.0.0.8"), Some(ip("10.0.0.8")));
    assert_eq!(missing(&mut state, "192.0.2.1"), None);
    for gateway in ["10.0.0.254", "fe80::1"] {
        state.apply(Fact::NeighbourGone((DEVICE, ip(gateway))), false);
    }
    assert_eq!(
        missing(&mut state, "192.0.2.1"),
        Some(ip("10.0.0.254")),
        "it is the gateway that is asked for"
    );
    assert_eq!(missing(&mut state, "2001:db8:1::7"), Some(ip("fe80::1")));
    for elsewhere in ["10.0.0.1", "127.0.0.1", "224.0.1.75"] {
        assert_eq!(missing(&mut state, elsewhere), None, "{elsewhere}");
    }
    state.apply(Fact::RouteGone(route("0.0.0.0/0", Some("10.0.0.254"), DEVICE)), false);
    assert_eq!(missing(&mut state, "192.0.2.1"), None, "nobody is");
}

#[test]
fn a_link_down_is_down() {
    let mut state = usual();
    assert_eq!(state.apply(Fact::Link(link(DEVICE)), false), Effect::None);
    assert_eq!(state.apply(Fact::Link(Link { up: false, ..link(DEVICE) }), false), Effect::Resync);
    assert_eq!(ask(&mut state, "10.0.0.7"), Err(Miss::Down));
}

#[test]
fn a_changed_mac_or_mtu_of_ours_is_seen() {
    let mut state = usual();
    ask(&mut state, "10.0.0.7").unwrap();
    let changed = Link { mac: Some(mac(0x99)), mtu: 9000, ..link(DEVICE) };
    assert_eq!(state.apply(Fact::Link(changed), false), Effect::Publish);
    let hop = ask(&mut state, "10.0.0.7").unwrap();
    assert_eq!((hop.src_mac, hop.mtu), (mac(0x99), 9000));
}

#[test]
fn events_in_doubt_ask_for_a_snapshot() {
    let mut state = usual();
    let plain = route("192.0.2.0/24", Some("10.0.0.7"), DEVICE);
    assert_eq!(state.apply(Fact::Route(plain), false), Effect::Publish);
    assert_eq!(state.apply(Fact::Route(plain), false), Effect::None, "told twice");
    let other = Route { gateway: Some(ip("10.0.0.254")), ..plain };
    assert_eq!(state.apply(Fact::Route(other), false), Effect::Resync, "appended");
    assert_eq!(state.apply(Fact::RouteGone(other), false), Effect::Resync, "never heard of");
    assert_eq!(state.apply(Fact::Route(other), true), Effect::Publish, "in the place of the only one");
    assert_eq!(ask(&mut state, "192.0.2.1"), hop(0xfe, 1500));
    let beside = Route { metric: 5, ..plain };
    state.apply(Fact::Route(beside), false);
    assert_eq!(state.apply(Fact::Route(Route { oif: OTHER, ..beside }), true), Effect::Publish);
    assert_eq!(state.apply(Fact::Unsettled, false), Effect::Resync);
    assert_eq!(state.apply(Fact::LinkGone(OTHER), false), Effect::Resync);
    assert_eq!(state.apply(Fact::LinkGone(OTHER), false), Effect::None);
    assert_eq!(state.apply(Fact::Nothing, false), Effect::None);
}

#[test]
fn only_stale_neighbours_that_were_asked_for_are_refreshed() {
    let mut state = usual();
    let stale = |last| Neighbour { stale: true, ..neighbour(DEVICE, &format!("10.0.0.{last}"), last) };
    for last in [7, 20, 21] {
        state.apply(Fact::Neighbour(stale(last)), false);
    }
    let table = state.table();
    assert_eq!(state.take_used_stale(10), [], "nobody asked");
    table.lookup(DEVICE, ip("10.0.0.20")).unwrap();
    table.lookup(DEVICE, ip("192.0.2.1")).unwrap();
    // The mark outlives the table it was set in, and a snapshot.
    let mut next = usual();
    for last in [7, 20, 21] {
        next.learn(Fact::Neighbour(stale(last)));
    }
    next.inherit(&state);
    assert_eq!(
        next.take_used_stale(10),
        [(DEVICE, ip("10.0.0.20"))],
        "the gateway was used, but isn't stale"
    );
    assert_eq!(next.take_used_stale(10), [], "once for each use");
    let gateway = Neighbour { stale: true, ..neighbour(DEVICE, "10.0.0.254", 0xfe) };
    next.apply(Fact::Neighbour(gateway), false);
    assert_eq!(next.take_used_stale(10), [(DEVICE, ip("10.0.0.254"))], "it has become stale after its use");

    let table = next.table();
    for last in [7, 20, 21] {
        table.lookup(DEVICE, ip(&format!("10.0.0.{last}"))).unwrap();
    }
    assert_eq!(next.take_used_stale(2).len(), 2);
    assert_eq!(next.take_used_stale(2).len(), 1, "the others wait for their turn");
}

#[test]
fn a_mirror_that_lost_the_kernel_says_so() {
    let mut state = usual();
    let hops = NextHops::new(state.table());
    assert_eq!(hops.lookup(DEVICE, ip("10.0.0.7")), hop(0x77, 1500));
    hops.publish(Table { live: false, ..state.table() });
    assert_eq!(hops.lookup(DEVICE, ip("10.0.0.7")), Err(Miss::Blind));
    hops.publish(state.table());
    assert_eq!(hops.clone().lookup(DEVICE, ip("10.0.0.7")), hop(0x77, 1500));
}

#[test]
fn misses_are_numbered_and_named_in_order() {
    for (nth, miss) in Miss::ALL.into_iter().enumerate() {
        assert_eq!(miss as usize, nth);
        assert!(Miss::ALL[..nth].iter().all(|other| other.name() != miss.name()));
    }
}

/// Routes over few prefixes, metrics and interfaces, so that they meet.
fn any_route() -> impl Strategy<Value = Route> {
    let prefix = (prop::sample::select(vec![0u8, 0x40, 0x80, 0xc0]), 0..4u8).prop_map(|(byte, len)| {
        let address = IpAddr::from([0xa0 | (byte >> 2), byte, 1, 1]);
        (address, [0, 8, 12, 20][usize::from(len)])
    });
    let kind = prop_oneof![
        8 => Just(Kind::Unicast),
        1 => Just(Kind::Other),
        1 => Just(Kind::Unreachable),
    ];
    let table = prop_oneof![8 => Just(TABLE_MAIN), 1 => Just(TABLE_LOCAL), 1 => Just(77u32)];
    (prefix, 0..3u32, kind, table, 1..4u32, any::<bool>(), prop::bool::weighted(0.1)).prop_map(
        |((address, len), metric, kind, table, oif, gateway, dead)| Route {
            family: Family::V4,
            table,
            prefix: Prefix::new(address, len).expect("a short prefix"),
            tos: 0,
            metric,
            kind,
            gateway: gateway.then(|| IpAddr::from([10, 0, 0, oif as u8])),
            oif,
            mtu: None,
            dead,
            unusual: false,
        },
    )
}

/// The answer by walking over all routes, with nothing precomputed.
fn oracle(routes: &[Route], dst: IpAddr) -> Result<(u32, IpAddr), Miss> {
    let matching =
        |table| routes.iter().filter(move |route| route.table == table && route.prefix.contains(dst));
    if matching(TABLE_LOCAL).next().is_some() {
        return Err(Miss::Local);
    }
    let live = || matching(TABLE_MAIN).filter(|route| !route.dead);
    let longest = live().map(|route| route.prefix.len()).max().ok_or(Miss::NoRoute)?;
    let at_longest = || live().filter(|route| route.prefix.len() == longest);
    let metric = at_longest().map(|route| route.metric).min().expect("there is one");
    let best: Vec<&Route> = at_longest().filter(|route| route.metric == metric).collect();
    match best[..] {
        [Route { kind: Kind::Unicast, oif, gateway, .. }] => Ok((*oif, gateway.unwrap_or(dst))),
        [Route { kind: Kind::Unreachable, .. }] => Err(Miss::NoRoute),
        _ => Err(Miss::Unusual),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// Routes come and go by events; a lookup answers as the oracle does over what is left.
    #[test]
    fn lookups_answer_as_a_walk_over_all_routes(
        routes in prop::collection::vec(any_route(), 0..25),
        gone in prop::collection::vec(any::<prop::sample::Index>(), 0..10),
        asked in prop::collection::vec(any::<[u8; 2]>(), 20),
    ) {
        let mut state = usual();
        state.routes.clear();
        let mut kept: Vec<Route> = Vec::new();
        for route in routes {
            // What would make the mirror ask again is another test's matter.
            if !kept.iter().any(|other| other.key() == route.key() && other.rivals(&route)) {
                prop_assert_eq!(state.apply(Fact::Route(route), false), Effect::Publish);
                kept.push(route);
            }
        }
        for index in gone {
            if !kept.is_empty() {
                let route = kept.remove(index.index(kept.len()));
                prop_assert_eq!(state.apply(Fact::RouteGone(route), false), Effect::Publish);
            }
        }
        for oif in 1..4 {
            state.learn(Fact::Link(link(oif)));
        }
        for [high, low] in asked {
            let dst = IpAddr::from([0xa0 | (high & 0x3f) >> 2, low, 1, 1]);
            let expected = oracle(&kept, dst);
            if let Ok((oif, next)) = expected {
                state.learn(Fact::Neighbour(Neighbour { key: (oif, next), mac: Some(mac(0x42)), stale: false }));
                let table = state.table();
                let hop = Hop { src_mac: mac(oif as u8), dst_mac: mac(0x42), vlans: VlanTags::NONE, mtu: 1500 };
                prop_assert_eq!(table.lookup(oif, dst), Ok(hop));
                prop_assert_eq!(table.lookup(oif + 1, dst), Err(Miss::OtherInterface));
                state.apply(Fact::NeighbourGone((oif, next)), false);
                prop_assert_eq!(state.table().lookup(oif, dst), Err(Miss::Unresolved));
            } else {
                prop_assert_eq!(state.table().lookup(DEVICE, dst), expected.map(|_| unreachable!()));
            }
        }
    }
}
