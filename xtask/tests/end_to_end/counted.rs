//! What `strowger status --json` counts, as tests read it: by worker, by queue, and whether the frames balance.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use serde_json::Value;
use strowger_xtask::node::{Node, Status};

use crate::bench::{PATIENCE, say};

/// The object of status, and a way to its numbers.
pub(crate) struct Report(pub(crate) Value);

impl Report {
    pub(crate) fn of(node: &Node) -> Self {
        Self(fresh(node).whole)
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

    /// What the stand-in for stuck workers counted under this name.
    pub(crate) fn stand_in(&self, name: &str) -> u64 {
        number(&self.0["stand_in"]["counters"], name)
    }

    /// Messages that went round a worker because it had not beaten for 100 ms, at least; some are counted twice. A machine that
    /// lets a thread wait for so long brings this about, and then it is as it should be.
    pub(crate) fn went_round(&self) -> u64 {
        let passed = self.0["dataplane"]["xdp"]["pass_stale_heartbeat"].as_u64().unwrap_or(0);
        passed + self.stand_in("rx_kernel") + self.stand_in("handed_over_out")
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

/// Plays the scenario until no message went round a worker meanwhile, at most three times, and gives what came of that run: so
/// what the machine does to the threads is not taken for what the node does with messages. What has to hold in any case the
/// scenario asserts itself; what holds of a run without a stall is asserted of what is given.
pub(crate) fn undisturbed<T>(node: &Node, mut scenario: impl FnMut() -> T) -> T {
    for _ in 0..3 {
        let before = Report::of(node).went_round();
        let outcome = scenario();
        let more = Report::of(node).went_round() - before;
        if more == 0 {
            return outcome;
        }
        say(&format!(
            "{more} messages went round a worker that the machine did not let run for 100 ms: again"
        ));
    }
    panic!("messages went round a worker three times: {}", Report::of(node).0["dataplane"]["xdp"]);
}

/// Status in which everybody has answered: of who is busy for long it has what he said last time.
pub(crate) fn fresh(node: &Node) -> Status {
    let began = Instant::now();
    loop {
        let status = node.status().unwrap();
        let workers = status.whole["workers"].as_array().map_or(&[][..], Vec::as_slice);
        let all = workers.iter().chain([&status.whole["stand_in"]]).all(|worker| worker["answering"] == true);
        if all || began.elapsed() > PATIENCE {
            return status;
        }
    }
}

/// What the node has sent again by itself: its timers A, E and G (RFC 3261 section 17) fire when somebody is slow.
pub(crate) fn repeated(status: &Status) -> u64 {
    status.event("request_repeated") + status.event("response_repeated")
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
