//! What the guest saw, and whether that is zero copy.
//!
//! Three witnesses that do not share code must agree: the node's status (the mode that it reports, and the count of
//! messages sent from the very chunk they came in), the kernel (its own word for the socket's memory, as `ss` shows it),
//! and the phones (how many messages there were at all).

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

/// Messages of a call that the node takes from one side and sends to the other: INVITE, 180, 200, ACK, BYE, 200.
const RELAYED_A_CALL: u64 = 6;

/// What the guest saw between two readings of the node's status, with nothing but these calls between them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Evidence {
    /// `uname -r` of the guest.
    pub kernel: String,
    /// The driver of the node's interface.
    pub driver: String,
    /// The mode that the node reports.
    pub mode: String,
    /// `umem(…)` of each AF_XDP socket, as the kernel tells it to `ss`.
    pub sockets: Vec<String>,
    /// How many workers were asked for.
    pub wanted_workers: u32,
    /// How many messages each worker took from its rings.
    pub workers: Vec<u64>,
    /// Phones that registered: a request each, answered where it lay.
    pub registered: u64,
    /// Calls from INVITE to the 200 for BYE.
    pub calls: u64,
    /// Messages that a phone sent again because nothing came back in time.
    pub repeated: u64,
    /// Bodies that arrived otherwise than they were sent.
    pub bodies_damaged: u64,
    /// By how much the workers' counters grew, summed.
    pub counters: BTreeMap<String, u64>,
    /// Frames that the kernel gave back with an address that is none of ours, of either ring, since the start.
    pub bad_addresses: u64,
    /// Frames lost by the node since the start.
    pub leaked: u64,
    /// Where all frames are in the end, and how many there are.
    pub balance: BTreeMap<String, u64>,
}

impl Evidence {
    /// Messages that had to be sent from the chunk they came in.
    fn relayed(&self) -> u64 {
        self.registered + RELAYED_A_CALL * self.calls
    }

    fn counted(&self, name: &str) -> u64 {
        self.counters.get(name).copied().unwrap_or(0)
    }

    /// Everything that speaks against it.
    pub(super) fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        let mut must = |holds: bool, fault: String| {
            if !holds {
                faults.push(fault);
            }
        };
        must(self.mode == "zero-copy", format!("the node reports the mode {}", self.mode));
        must(
            !self.sockets.is_empty() && self.sockets.iter().all(|socket| socket.contains("zc:1")),
            format!("the kernel says of its sockets {:?}", self.sockets),
        );
        must(self.registered > 0 && self.calls > 0, "no phone registered, or none called".to_owned());
        must(self.bodies_damaged == 0, format!("{} bodies arrived damaged", self.bodies_damaged));
        let (received, sent) = (self.counted("rx_xsk"), self.counted("tx_xsk"));
        let (in_place, own) = (self.counted("tx_in_place"), self.counted("tx_own"));
        must(
            in_place >= self.relayed(),
            format!(
                "{in_place} messages left in the chunk they came in, of {} that should have",
                self.relayed()
            ),
        );
        must(in_place <= received, format!("{in_place} messages left in place, and only {received} came"));
        must(
            in_place + own == sent,
            format!("{in_place} in place and {own} of our own are not the {sent} sent"),
        );
        // Of its own the node says 100 once in a call, and repeats what nobody answered.
        let most = self.calls + self.repeated;
        must(
            own <= most,
            format!("{own} messages left from chunks of our own, and there is reason for {most}"),
        );
        // By the kernel's sockets, or by another worker than the one that the Call-ID chose: neither has a reason here.
        for way in ["rx_kernel", "tx_kernel", "handed_over_out", "steered_astray"] {
            let count = self.counted(way);
            must(count == 0, format!("{way}: {count} messages went another way"));
        }
        must(
            self.workers.len() == self.wanted_workers as usize && !self.workers.contains(&0),
            format!("of {} workers these many messages each: {:?}", self.wanted_workers, self.workers),
        );
        must(
            self.bad_addresses == 0,
            format!("{} frames came back with a wrong address", self.bad_addresses),
        );
        must(self.leaked == 0, format!("{} frames were lost", self.leaked));
        let total = self.balance.get("total").copied().unwrap_or(0);
        let places: u64 =
            self.balance.iter().filter(|(name, _)| *name != "total").map(|(_, count)| count).sum();
        must(total > 0 && places == total, format!("the frames do not balance: {:?}", self.balance));
        faults
    }
}

impl fmt::Display for Evidence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} workers: {} registrations, {} calls; of {} messages sent {} left in the chunk they came in, {} were the \
             node's own",
            self.workers.len(),
            self.registered,
            self.calls,
            self.counted("tx_xsk"),
            self.counted("tx_in_place"),
            self.counted("tx_own")
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn good() -> Evidence {
        let counters = [("rx_xsk", 62), ("tx_xsk", 72), ("tx_in_place", 62), ("tx_own", 10)];
        Evidence {
            kernel: "6.18.15".to_owned(),
            driver: "virtio_net".to_owned(),
            mode: "zero-copy".to_owned(),
            sockets: vec!["umem(id:1,size:16777216,chunk_size:4096,qid:0,zc:1,refs:1)".to_owned()],
            wanted_workers: 2,
            workers: vec![30, 32],
            registered: 2,
            calls: 10,
            counters: counters.map(|(name, count)| (name.to_owned(), count)).into(),
            balance: [("free", 3), ("fill", 4), ("total", 7)]
                .map(|(name, count)| (name.to_owned(), count))
                .into(),
            ..Evidence::default()
        }
    }

    #[test]
    fn what_is_zero_copy_has_no_fault() {
        assert_eq!(good().faults(), Vec::<String>::new());
    }

    /// Sets counters.
    fn count(evidence: &mut Evidence, counters: &[(&str, u64)]) {
        evidence.counters.extend(counters.iter().map(|(name, count)| ((*name).to_owned(), *count)));
    }

    /// The one fault of evidence that was good before it was spoilt so.
    fn fault(spoil: impl FnOnce(&mut Evidence)) -> String {
        let mut evidence = good();
        spoil(&mut evidence);
        let mut faults = evidence.faults();
        assert_eq!(faults.len(), 1, "{faults:?}");
        faults.remove(0)
    }

    #[test]
    fn the_mode_and_the_kernels_word_count() {
        assert!(fault(|e| e.mode = "copy".to_owned()).contains("the mode copy"));
        assert!(fault(|e| e.sockets = vec!["umem(id:1,zc:0)".to_owned()]).contains("zc:0"));
        assert!(fault(|e| e.sockets.clear()).contains("kernel says"));
        assert!(fault(|e| e.workers = vec![62, 0]).contains("[62, 0]"));
        assert!(fault(|e| e.workers = vec![62]).contains("of 2 workers"));
    }

    #[test]
    fn messages_that_left_otherwise_count() {
        assert!(fault(|e| e.bodies_damaged = 1).contains("damaged"));
        assert!(
            fault(|e| count(e, &[("tx_in_place", 61), ("tx_xsk", 71)])).contains("of 62 that should have")
        );
        assert!(fault(|e| count(e, &[("rx_xsk", 61)])).contains("only 61 came"));
        assert!(fault(|e| count(e, &[("tx_xsk", 73)])).contains("the 73 sent"));
        assert!(fault(|e| count(e, &[("tx_own", 11), ("tx_xsk", 73)])).contains("reason for 10"));
        assert!(fault(|e| count(e, &[("rx_kernel", 1)])).contains("rx_kernel: 1"));
        assert!(fault(|e| count(e, &[("tx_kernel", 1)])).contains("tx_kernel: 1"));
        assert!(fault(|e| count(e, &[("steered_astray", 1)])).contains("steered_astray: 1"));
        assert!(!Evidence::default().faults().is_empty(), "nothing seen is nothing proven");
    }

    #[test]
    fn frames_that_went_astray_count() {
        assert!(fault(|e| e.bad_addresses = 1).contains("wrong address"));
        assert!(fault(|e| e.leaked = 1).contains("lost"));
        assert!(fault(|e| e.balance.extend([("total".to_owned(), 8)])).contains("balance"));
    }
}
