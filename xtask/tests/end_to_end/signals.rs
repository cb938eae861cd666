//! SIGTERM and SIGINT end the node cleanly: exit code 0, nothing on the interface, no socket file.

use rustix::process::Signal;
use strowger_xtask::lab::Lab;

use crate::bench::{Bench, PATIENCE};

#[test]
fn sigterm_and_sigint_end_cleanly_in_every_mode() {
    let Some(bench) = Bench::plain() else { return };
    for mode in ["copy", "generic", "off"] {
        for signal in [Signal::TERM, Signal::INT] {
            let mut node = bench.start(&bench.configuration(mode));
            bench.warm_up(Lab::PEERS_V4.into(), Lab::node_v4());
            let status = node.stop(signal, PATIENCE).unwrap();
            assert_eq!(status.code(), Some(0), "{mode}, {signal:?}: {}", node.last_words(10));
            bench.assert_nothing_left();
        }
    }
}
