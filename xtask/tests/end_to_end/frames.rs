//! `dataplane.frames`: a queue has as many as it says, they are all accounted for, and messages go through them.

use crate::bench::Bench;
use crate::counted::{number, quiet};
use crate::steering::{bind, callee};
use strowger_xtask::node::Configuration;

#[test]
fn a_queue_has_as_many_frames_as_the_configuration_says() {
    let Some(bench) = Bench::plain() else { return };
    for (plane, frames) in [("", 4096), ("  frames: 16384\n", 16_384)] {
        let node = bench.start(&Configuration { plane: plane.to_owned(), ..bench.configuration("copy") });
        bind(&bench, callee());
        let report = quiet(&node);
        report.assert_balanced();
        assert_eq!(number(&report.queues()[0]["balance"], "total"), frames);
        // What waits to be filled is half of them.
        assert_eq!(number(&report.queues()[0]["balance"], "fill"), frames / 2, "{}", report.queues()[0]);
        assert!(report.sum("rx_xsk") > 0, "{}", report.0);
    }
}
