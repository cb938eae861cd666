//! The laboratory itself: made and removed any number of times, mended when half made.

use strowger_xtask::lab::Lab;
use strowger_xtask::namespace::Namespace;

use crate::bench::Bench;

#[test]
fn up_and_down_are_idempotent() {
    let Some(bench) = Bench::plain() else { return };
    assert!(bench.lab.stands());
    assert_eq!(bench.lab.up().unwrap(), Vec::<String>::new(), "nothing is left to do");
    assert!(!bench.lab.down().unwrap().is_empty());
    assert!(!bench.lab.exists());
    assert_eq!(bench.lab.down().unwrap(), Vec::<String>::new(), "nothing is left to remove");
    bench.lab.up().unwrap();
    assert!(bench.lab.stands());
}

#[test]
fn what_is_half_made_is_mended() {
    let Some(bench) = Bench::plain() else { return };
    let end = Lab::NODE_INTERFACE;
    let address = format!("{}/24", Lab::NODE_V4);
    let harm: [(&str, &dyn Fn()); 6] = [
        ("no wire", &|| drop(bench.lab.node.ip(&["link", "del", end]).unwrap())),
        ("no address", &|| drop(bench.lab.node.ip(&["addr", "del", &address, "dev", end]).unwrap())),
        ("down", &|| drop(bench.lab.node.ip(&["link", "set", end, "down"]).unwrap())),
        ("one namespace gone", &|| assert!(bench.lab.peers.remove().unwrap())),
        ("a namespace that is only a name", &|| {
            bench.lab.node.remove().unwrap();
            std::fs::write(bench.lab.node.path(), "").unwrap();
        }),
        ("two wires instead of one", &|| {
            bench.lab.node.ip(&["link", "del", end]).unwrap();
            for (namespace, name) in [(&bench.lab.node, end), (&bench.lab.peers, Lab::PEERS_INTERFACE)] {
                namespace.ip(&["link", "add", name, "type", "veth", "peer", "name", "sw-stray"]).unwrap();
            }
        }),
    ];
    for (name, harm) in harm {
        harm();
        assert!(!bench.lab.stands(), "{name}: it shows");
        assert!(!bench.lab.up().unwrap().is_empty(), "{name}: something was done");
        assert!(bench.lab.stands(), "{name}: it is mended");
    }
}

#[test]
fn laboratories_stand_side_by_side() {
    let Some(bench) = Bench::plain() else { return };
    let name = format!("{}-2", bench.lab.node.name());
    let other = Lab::named(&name).guard();
    other.up().unwrap();
    assert!(bench.lab.stands() && other.stands());
    drop(other);
    assert!(bench.lab.stands(), "removing one leaves the other");
    assert!(!Namespace::new(format!("{name}-node")).exists());
}
