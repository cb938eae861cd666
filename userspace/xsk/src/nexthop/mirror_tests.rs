//! The mirror in a storm, with and without room for it. Its everyday work is tested in `tests/next_hops.rs`.

use super::super::Miss;
use super::*;

#[path = "../../tests/lab/mod.rs"]
mod lab;

/// 2,000 routes and 2,000 neighbours, put in and half of the routes out again; in the end the default route goes.
fn storm() -> String {
    let mut batch = String::new();
    for nth in 0..2000 {
        let (high, low) = (nth / 250, nth % 250);
        batch += &format!("route add 10.{}.{low}.0/24 via 10.90.1.254\n", 100 + high);
        batch += &format!("neigh replace 10.90.1.{low} lladdr 02:00:00:00:{high:02x}:{low:02x} dev sw-h\n");
        if nth % 2 == 1 {
            batch += &format!("route del 10.{}.{low}.0/24\n", 100 + high);
        }
    }
    batch += "neigh replace 10.90.1.254 lladdr 02:00:00:00:00:01 dev sw-h nud permanent\n";
    batch + "route del default\n"
}

#[test]
fn a_storm_of_events_ends_in_the_truth_also_when_events_are_lost() {
    if !lab::ready("a_storm_of_events_ends_in_the_truth_also_when_events_are_lost") {
        return;
    }
    for room in [EventRoom::default(), EventRoom(2048)] {
        let [host, gateway] = ["host", "gw"].map(|role| lab::Namespace::new("storm", role));
        lab::veth((&host, "sw-h", "10.90.1.1/24"), (&gateway, "sw-g", "10.90.1.254/24"));
        host.ip("route add default via 10.90.1.254");
        let device = host.ifindex("sw-h");
        let work = host.enter(|| Work::prepare(room).unwrap());
        let mut file = std::env::temp_dir();
        file.push(format!("strowger-xsk-storm-{}", std::process::id()));
        std::fs::write(&file, storm()).unwrap();
        host.ip(&format!("-batch {}", file.display()));
        std::fs::remove_file(&file).unwrap();
        // Nobody has listened so far, so what doesn't fit is lost.
        let (mirror, hops) = host.enter(move || Mirror::spawn(work).unwrap());

        let end = "192.0.2.1".parse().unwrap();
        let gone = || (hops.lookup(device, end) == Err(Miss::NoRoute)).then_some(());
        let ((), took) = lab::until(Duration::from_secs(5), gone).expect("the last event's effect");
        for nth in 0..2000u32 {
            let dst = format!("10.{}.{}.1", 100 + nth / 250, nth % 250).parse().unwrap();
            let expected = if nth % 2 == 0 { Ok(1) } else { Err(Miss::NoRoute) };
            assert_eq!(hops.lookup(device, dst).map(|hop| hop.dst_mac.0[5]), expected, "{dst}");
        }
        println!("{room:?}: the truth {took:?} after the storm; {:?}", mirror.counters());
        let overruns = mirror.counters().overruns.load(Ordering::Relaxed);
        assert_eq!(overruns > 0, room.0 == 2048, "{overruns} overruns");
    }
}
