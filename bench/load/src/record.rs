//! What a run writes as JSON: the contract with whoever makes a report of it.
//!
//! `run` fills it, `table` prints it, `main` writes it; the reporter reads it back with the same types. Times are
//! nanoseconds in integers whose names end in `_ns`, rates are per second, memory is octets. A field that is not known
//! is `null`, never 0. [`SCHEMA`] is raised whenever a field changes its meaning or goes; fields may be added without.

use std::collections::BTreeMap;

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

/// Version of this shape, in [`Record::schema`].
pub const SCHEMA: u32 = 1;

/// One invocation of the program: one run, or the runs of a search.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// [`SCHEMA`] of the program that wrote it.
    pub schema: u32,
    /// The program's version.
    pub version: String,
    /// The command line, to repeat it.
    pub command: Vec<String>,
    /// A word of the user's for the peer (`--label`): what the reporter groups runs by.
    pub label: String,
    /// When it began, seconds since 1970 (UTC).
    pub started_unix: u64,
    /// The machine.
    pub machine: Machine,
    /// What was played.
    pub scenario: Scenario,
    /// Where the proxy was: address and port. Without a proxy (`--no-proxy`) the callees' own.
    pub target: String,
    /// Whether requests went to the callees directly: the floor.
    pub no_proxy: bool,
    /// How packets went in and out.
    pub io: Io,
    /// Threads, each with sockets and users of its own.
    pub threads: u32,
    /// The runs in their order.
    pub runs: Vec<Run>,
    /// What the search found, when it was one.
    pub search: Option<Search>,
}

/// Where it ran.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Machine {
    /// Processor as /proc/cpuinfo names it.
    pub cpu: String,
    /// Processors that are online.
    pub cpus: u32,
    /// Kernel release.
    pub kernel: String,
    /// Load of the last minute when it began.
    pub load: f64,
}

/// What was played.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Scenario {
    /// Its name: the file's without `.yaml`.
    pub name: String,
    /// Its own words.
    pub about: String,
    /// Users in all.
    pub users: u32,
    /// How long calls last, as written; `null` where no call is made.
    pub hold: Option<String>,
    /// Messages that a proxy receives for one of it, when nothing is lost; a mean for a mix.
    pub messages: f64,
}

/// How packets went in and out.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Io {
    /// `recvmmsg` and `sendmmsg` on UDP sockets.
    #[default]
    Kernel,
    /// AF_XDP rings.
    Xdp {
        /// The interface.
        interface: String,
        /// `zero-copy` or `copy`.
        mode: String,
    },
}

/// How the load was offered.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Load {
    /// Begun by the clock, whatever became of those before.
    Open {
        /// Per second.
        rate: f64,
        /// Exponential gaps instead of equal ones.
        poisson: bool,
    },
    /// The next one begins when one ends.
    Closed {
        /// As many at once.
        outstanding: u32,
    },
}

impl Default for Load {
    fn default() -> Self {
        Load::Open { rate: 0.0, poisson: false }
    }
}

/// One run: prepared, warmed up, measured in a steady window, drained.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Run {
    /// How the load was offered.
    pub load: Load,
    /// Registrations before the run, by the same address.
    pub prepared: Option<Counts>,
    /// Length of the warm-up.
    pub warm_up_ns: u64,
    /// Length of the steady window: figures below are of what began in it, unless they say otherwise.
    pub steady_ns: u64,
    /// From the end of the window until the last one ended or was given up.
    pub drain_ns: u64,
    /// What became of those that began in the window.
    pub counts: Counts,
    /// The same for the whole run, warm-up and drain too.
    pub whole: Counts,
    /// Calls, registrations or messages that ended well, per second of the window.
    pub achieved: f64,
    /// Latencies, one for each leg.
    pub legs: Vec<Leg>,
    /// How late requests left, after the time they were meant to: the generator's own fault. All but ACK.
    pub lateness: Latency,
    /// What the processors did in the window.
    pub cpu: Cpu,
    /// The processes that were watched (`--watch`), in the window.
    pub watched: Vec<Watched>,
    /// Where packets were lost, in the window and the drain after it.
    pub drops: Drops,
    /// Signs that the generator, not the proxy, was the limit. Empty: it was not.
    pub limits: Vec<Limit>,
    /// What else disturbed the run. Empty: nothing that was seen.
    pub disturbances: Vec<Disturbance>,
    /// Whether it was lossless: 0 failed, under 0.1 % of requests repeated, and no [`Self::limits`].
    pub lossless: bool,
}

/// What became of calls (or registrations, or messages).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Begun.
    pub begun: u64,
    /// Ended as the scenario says.
    pub succeeded: u64,
    /// Did not.
    pub failed: u64,
    /// Why, with the request that failed: `INVITE: no answer`, `REGISTER: 503`.
    pub failures: BTreeMap<String, u64>,
    /// Requests sent, each once: ACK is one.
    pub requests: u64,
    /// Requests sent again by timers A and E (RFC 3261 section 17.1).
    pub requests_repeated: u64,
    /// 2xx sent again by callees that got no ACK (section 13.3.1.4).
    pub responses_repeated: u64,
    /// Requests that reached a callee again: repeated by the proxy, or by us through a stateless one.
    pub requests_seen_again: u64,
    /// Challenges (401, 407) that were answered.
    pub challenges: u64,
}

/// Datagrams, both directions, everything counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Traffic {
    /// Datagrams given to the kernel or the ring.
    pub sent: u64,
    /// Datagrams received.
    pub received: u64,
    /// Of these: no SIP message.
    pub malformed: u64,
    /// Of these: SIP, but of no call or transaction that is going on.
    pub stray: u64,
}

/// The latency of one leg.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Leg {
    /// As the scenario names it: `INVITE→200`.
    pub name: String,
    /// From the time the request was meant to leave.
    pub intended: Latency,
    /// From the time it was handed to the kernel or the ring; what most generators report. It hides whatever kept the
    /// generator from sending in time.
    pub actual: Latency,
}

/// A histogram of times: three significant digits, up to 64 s and the last bucket beyond.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Latency {
    /// Values.
    pub count: u64,
    /// Smallest; 0 when there is none, as for all below.
    pub min_ns: u64,
    /// Mean.
    pub mean_ns: f64,
    /// Standard deviation.
    pub stdev_ns: f64,
    /// Median.
    pub p50_ns: u64,
    /// 90th percentile.
    pub p90_ns: u64,
    /// 99th percentile.
    pub p99_ns: u64,
    /// 99.9th percentile.
    pub p999_ns: u64,
    /// 99.99th percentile.
    pub p9999_ns: u64,
    /// Largest.
    pub max_ns: u64,
    /// All of it: value and count of each bucket that has any, by rising value (the bucket's highest).
    pub buckets: Vec<(u64, u64)>,
}

/// What the processors did, in the window.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Cpu {
    /// The generator's own time, all threads.
    pub own_ns: u64,
    /// The whole machine: the time of all processors less what they were idle, waited for disks, or were not given by the
    /// hypervisor. The kernel measures idle time; the parts below it samples at its ticks, so they need not add up to this.
    pub busy_ns: u64,
    /// Of that in user space, niced included.
    pub user_ns: u64,
    /// In the kernel, for processes.
    pub system_ns: u64,
    /// In software interrupts: most of the network stack.
    pub softirq_ns: u64,
    /// In hardware interrupts.
    pub irq_ns: u64,
    /// Taken by the hypervisor.
    pub steal_ns: u64,
}

/// A process that was watched, with all its children, in the window.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Watched {
    /// The user's word for it.
    pub name: String,
    /// Its process id.
    pub pid: u32,
    /// Processes, children included.
    pub processes: u32,
    /// User time.
    pub user_ns: u64,
    /// System time.
    pub system_ns: u64,
    /// Proportional set size at the end of the window; `null` where the kernel does not tell us.
    pub pss_bytes: Option<u64>,
    /// Resident set size at the end of the window.
    pub rss_bytes: u64,
}

/// Where packets were lost, by those who lost them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Drops {
    /// Our sockets' receive buffers were full (`SK_MEMINFO_DROPS`).
    pub own_receive: u64,
    /// Our sockets' send buffers or TX rings were full.
    pub own_send_full: u64,
    /// The kernel refused to send: no route, unreachable.
    pub own_send_refused: u64,
    /// Our AF_XDP sockets: RX ring full, no fill descriptor.
    pub own_xdp: u64,
    /// UDP counters by namespace: `RcvbufErrors`, `SndbufErrors`, `InErrors`, `NoPorts`, `InCsumErrors`. The generator's
    /// own is called `own`, those of `--watch-netns` by their names.
    pub udp: BTreeMap<String, BTreeMap<String, u64>>,
    /// Packets that the backlog of a processor dropped (`softnet_stat`, second column).
    pub softnet_dropped: u64,
    /// Times that a processor left packets for later (third column).
    pub softnet_squeezed: u64,
    /// Datagrams.
    pub traffic: Traffic,
}

/// A sign that the generator was the limit.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Limit {
    /// More than 1 % of the requests left over 10 ms late.
    Late {
        /// The part of them, 0 to 1.
        part: f64,
        /// The 99th percentile of the lateness.
        p99_ns: u64,
    },
    /// Calls were not begun, since as many as it has places for were going on.
    Places {
        /// How many were not begun.
        skipped: u64,
    },
    /// Its own receive buffers or rings lost packets.
    Received {
        /// How many.
        lost: u64,
    },
    /// Its own send buffers or rings were full.
    Sent {
        /// How many.
        lost: u64,
    },
}

/// What else disturbed a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Disturbance {
    /// The hypervisor took more than 1 % of the machine.
    Steal {
        /// The part of the window's processor time, 0 to 1.
        part: f64,
    },
    /// Processes that are neither ours nor watched took more than 10 % of a processor.
    Others {
        /// Processors they took, on the mean.
        processors: f64,
    },
    /// It was interrupted before the window was over.
    Interrupted,
}

/// What a search for the highest lossless rate found.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Search {
    /// The highest rate that was lossless; `null` when not even the lowest was.
    pub highest: Option<f64>,
    /// The lowest rate above it that was not; `null` when none was found below the ceiling.
    pub broke_at: Option<f64>,
    /// Why it was not, in words.
    pub reason: String,
    /// Whether the generator, not the proxy, set the limit.
    pub generator_limited: bool,
}

impl Latency {
    /// The figures of a histogram of nanoseconds.
    #[must_use]
    pub fn of(histogram: &Histogram<u64>) -> Self {
        if histogram.is_empty() {
            return Self::default();
        }
        Self {
            count: histogram.len(),
            min_ns: histogram.min(),
            mean_ns: histogram.mean(),
            stdev_ns: histogram.stdev(),
            p50_ns: histogram.value_at_quantile(0.5),
            p90_ns: histogram.value_at_quantile(0.9),
            p99_ns: histogram.value_at_quantile(0.99),
            p999_ns: histogram.value_at_quantile(0.999),
            p9999_ns: histogram.value_at_quantile(0.9999),
            max_ns: histogram.max(),
            buckets: histogram
                .iter_recorded()
                .map(|bucket| (bucket.value_iterated_to(), bucket.count_at_value()))
                .collect(),
        }
    }
}

impl Counts {
    /// What we had to repeat, requests and 2xx, as a part of the requests: what a lossless run has under 0.1 % of.
    #[must_use]
    pub fn repeated_part(&self) -> f64 {
        let repeated = self.requests_repeated + self.responses_repeated;
        if self.requests == 0 { 0.0 } else { repeated as f64 / self.requests as f64 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_survives_its_json() {
        let mut histogram = Histogram::new_with_bounds(1, 1 << 36, 3).expect("bounds");
        for value in [100_000, 120_000, 120_050, 900_000_000] {
            histogram.record(value).expect("in bounds");
        }
        let latency = Latency::of(&histogram);
        assert_eq!((latency.count, latency.buckets.iter().map(|(_, n)| n).sum()), (4, 4_u64));
        let run = Run {
            legs: vec![Leg { name: "INVITE→100".to_owned(), intended: latency.clone(), actual: latency }],
            limits: vec![Limit::Places { skipped: 3 }],
            disturbances: vec![Disturbance::Interrupted],
            load: Load::Closed { outstanding: 7 },
            ..Run::default()
        };
        let record = Record { schema: SCHEMA, runs: vec![run], ..Record::default() };
        let text = serde_json::to_string(&record).expect("JSON");
        assert_eq!(serde_json::from_str::<Record>(&text).expect("reads"), record);
        assert!(text.contains(r#""limits":[{"kind":"places","skipped":3}]"#), "{text}");
        assert!(text.contains(r#""load":{"kind":"closed","outstanding":7}"#), "{text}");
    }

    #[test]
    fn nothing_recorded_is_zero() {
        let histogram = Histogram::new_with_bounds(1, 1 << 36, 3).expect("bounds");
        assert_eq!(Latency::of(&histogram), Latency::default());
    }
}
