//! What `strowger status --json` counts, as tests read it: by worker, by queue, and whether the frames balance.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use serde_json::Value;
use strowger_xtask::node::Node;

use crate::bench::PATIENCE;

/// The object of status, and a way to its numbers.
pub(crate) struct Report(pub(crate) Value);

impl Report {
    pub(crate) fn of(node: &Node) -> Self {
        Self(node.status().unwrap().whole)
    }

    pub(crate) fn workers(&self) -> &[Value] {
        self.0["workers"].as_array().map_or(&[], Vec::as_slice)
    }

    pub(crate) fn queues(&self) -> &[Value] {
        self.0["dataplane"]["queues"].as_array().map_or(&[], Vec::as_slice)
    }

    /// What each worker counted under this name.
    pub(crate) fn each(&self, name: &str) -> Vec<u64> {
        self.workers().iter().map(|worker| number(&worker["counters"], name)).collect()
    }

    pub(crate) fn sum(&self, name: &str) -> u64 {
        self.each(name).iter().sum()
    }

    pub(crate) fn xdp(&self, name: &str) -> u64 {
        number(&self.0["dataplane"]["xdp"], name)
    }

    /// Frames: nothing leaked, nothing held, every part in its place.
    pub(crate) fn assert_balanced(&self) {
        assert_eq!(self.0["dataplane"]["frames_leaked"], 0);
        let numbers: BTreeSet<u64> = self.queues().iter().map(|queue| number(queue, "queue")).collect();
        for queue in numbers {
            let sockets: Vec<&Value> =
                self.queues().iter().filter(|socket| number(socket, "queue") == queue).collect();
            let owner = sockets.iter().find(|socket| socket["worker"] == socket["owner"]).expect("an owner");
            let balance = &owner["balance"];
            let parts = ["free", "fill", "rx", "tx", "completion", "held", "crossing"];
            let parts: u64 = parts.iter().map(|part| number(balance, part)).sum();
            assert_eq!(parts, number(balance, "total"), "queue {queue}: {balance}");
            assert_eq!(number(balance, "held"), 0, "queue {queue}: {balance}");
            let at_hand: u64 = sockets.iter().map(|socket| number(socket, "at_hand")).sum();
            assert_eq!(at_hand, number(balance, "free"), "queue {queue}: free frames are on one list each");
        }
        for socket in self.queues() {
            for bug in ["rx_bad_address", "completion_bad_address", "tx_runt"] {
                assert_eq!(number(&socket["counters"], bug), 0, "{bug}: {socket}");
            }
        }
    }
}

/// The number of this name, which must be there.
pub(crate) fn number(object: &Value, name: &str) -> u64 {
    object[name].as_u64().unwrap_or_else(|| panic!("no number `{name}` in {object}"))
}

/// Status, once the last completions are reaped and nothing moves any more.
pub(crate) fn quiet(node: &Node) -> Report {
    let began = Instant::now();
    loop {
        let report = Report::of(node);
        let moving: u64 = report
            .queues()
            .iter()
            .flat_map(|queue| {
                ["rx", "tx", "completion"].map(|part| queue["balance"][part].as_u64().unwrap_or(0))
            })
            .sum();
        if moving == 0 {
            return report;
        }
        assert!(began.elapsed() < PATIENCE, "it does not come to rest: {}", report.0["dataplane"]["queues"]);
        std::thread::sleep(Duration::from_millis(50));
    }
}
