//! A session: several peers under the same loads, in turns. What is written as JSON and read back for comparison.
//!
//! Times are nanoseconds in fields that end in `_ns`, memory is octets, rates are per second.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use strowger_load::record::{Latency, Run};

/// Version of this shape.
pub const SCHEMA: u32 = 1;

/// Everything that a session found.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Session {
    /// [`SCHEMA`] of whoever wrote it.
    pub schema: u32,
    /// Its name, as its directory's.
    pub name: String,
    /// `quick` or `full`.
    pub kind: String,
    /// What repeats it.
    pub command: String,
    /// When it began, seconds since 1970 (UTC).
    pub started_unix: u64,
    /// How long it took, seconds.
    pub took_s: f64,
    /// Where.
    pub machine: Machine,
    /// How the two ends were joined, in words.
    pub laboratory: String,
    /// Who took part.
    pub peers: Vec<Peer>,
    /// What was played: name and its own words.
    pub scenarios: BTreeMap<String, String>,
    /// Runs at a given rate.
    pub samples: Vec<Sample>,
    /// Searches for the highest lossless rate.
    pub searches: Vec<Search>,
    /// Memory of bindings.
    pub memory: Vec<Memory>,
    /// What the reflector moved.
    pub echoes: Vec<Echo>,
    /// Cost against size.
    pub scale: Vec<Scale>,
    /// All times of a leg, the runs of a peer together.
    pub curves: Vec<Curve>,
    /// What was asked for and not done, and why.
    pub omitted: Vec<String>,
}

/// The machine.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Machine {
    /// Processor as /proc/cpuinfo names it.
    pub cpu: String,
    /// Processors online.
    pub cpus: u32,
    /// The hypervisor's flag is set.
    pub virtual_machine: bool,
    /// Octets of memory.
    pub memory_bytes: u64,
    /// `uname -sr`.
    pub kernel: String,
    /// Load of the last minute when it began.
    pub load: f64,
    /// The compiler.
    pub rustc: String,
    /// The commit of the tree, with `+` when it had changes besides.
    pub commit: String,
}

/// Somebody who takes part.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Peer {
    /// A short word: `kamailio`, `copy`. Samples name it.
    pub key: String,
    /// As people call it.
    pub title: String,
    /// Its version, as it says itself.
    pub version: String,
    /// Processes or threads that handle messages.
    pub workers: Option<u32>,
    /// How it is started.
    pub command: String,
    /// The whole of its configuration.
    pub configuration: String,
}

/// The key of the floor: callers and callees without anybody between.
pub const FLOOR: &str = "floor";
/// The key of Kamailio.
pub const KAMAILIO: &str = "kamailio";
/// Our own node over the kernel's sockets.
pub const OFF: &str = "off";
/// Our own node by generic XDP.
pub const GENERIC: &str = "generic";
/// Our own node by AF_XDP in copy mode.
pub const COPY: &str = "copy";

/// What a sample is for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Purpose {
    /// Processor time at equal rates.
    #[default]
    Cost,
    /// Latency at a low rate.
    Latency,
    /// The last lossless step of a search.
    Highest,
    /// The step at which a search found the end.
    Broken,
}

/// One run of the generator at one rate.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Sample {
    /// Which peer.
    pub peer: String,
    /// Which scenario.
    pub scenario: String,
    /// What for.
    pub purpose: Purpose,
    /// The round, from 0: in each all peers have their turn.
    pub round: u32,
    /// Begun in a second.
    pub rate: f64,
    /// What the generator found; without the buckets of its histograms, which are in [`Session::curves`].
    pub run: Run,
    /// Packets lost in the peer's rings and drivers, by name: what its own counters said.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub peer_drops: BTreeMap<String, u64>,
    /// What disturbed it besides what the generator saw.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub disturbed: Vec<String>,
}

/// A search for the highest lossless rate.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Search {
    /// Which peer.
    pub peer: String,
    /// Workers it had, when they are swept.
    pub workers: Option<u32>,
    /// Which scenario.
    pub scenario: String,
    /// The round, from 0.
    pub round: u32,
    /// The highest rate without loss.
    pub highest: Option<f64>,
    /// The lowest above it with loss.
    pub broke_at: Option<f64>,
    /// Why.
    pub reason: String,
    /// Whether the generator was the limit.
    pub generator_limited: bool,
}

impl Search {
    /// Whether the peer may do more than what was found: the generator was the limit, or the time was up before anything
    /// was lost.
    #[must_use]
    pub fn is_at_least(&self) -> bool {
        self.generator_limited || self.broke_at.is_none()
    }
}

/// What a binding takes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Memory {
    /// Which peer.
    pub peer: String,
    /// Users that registered.
    pub bindings: u64,
    /// PSS of all its processes before.
    pub before_bytes: u64,
    /// And after settling.
    pub after_bytes: u64,
    /// How long it settled, seconds.
    pub settled_s: u32,
}

/// What came back from the reflector.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Echo {
    /// The round, from 0.
    #[serde(default)]
    pub round: u32,
    /// Datagrams under way at once.
    pub window: u32,
    /// Octets of a frame.
    pub frame_octets: u32,
    /// How long.
    pub seconds: f64,
    /// Sent.
    pub sent: u64,
    /// Back.
    pub echoed: u64,
    /// Lost.
    pub lost: u64,
    /// There and back a second.
    pub per_second: f64,
    /// With a window of 1: median there and back.
    pub p50_ns: Option<u64>,
    /// And the 99th percentile.
    pub p99_ns: Option<u64>,
}

/// What grows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Quantity {
    /// Users with a binding.
    #[default]
    Bindings,
    /// Calls that are up.
    Dialogs,
}

/// One point of cost against size.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Scale {
    /// Through a node, or in the process of `bench engine`.
    pub source: String,
    /// What grows.
    pub quantity: Quantity,
    /// How many there are.
    pub size: u64,
    /// Processor time of the peer for one call (or message, in-process), nanoseconds.
    pub cost_ns: Option<f64>,
    /// 99th percentile of INVITE→200, nanoseconds.
    pub p99_ns: Option<u64>,
    /// PSS of the process.
    pub pss_bytes: Option<u64>,
    /// Whether nothing failed.
    pub lossless: bool,
}

/// All times of a leg.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Curve {
    /// Which peer.
    pub peer: String,
    /// Which scenario.
    pub scenario: String,
    /// Which leg.
    pub leg: String,
    /// Begun in a second.
    pub rate: f64,
    /// From the intended time; the buckets thinned to what a plot can show.
    pub latency: Latency,
}

impl Session {
    /// Whom a sample speaks of.
    #[must_use]
    pub fn peer(&self, key: &str) -> Option<&Peer> {
        self.peers.iter().find(|peer| peer.key == key)
    }

    /// The title of a peer, or its key when it is not there.
    #[must_use]
    pub fn title<'a>(&'a self, key: &'a str) -> &'a str {
        self.peer(key).map_or(key, |peer| peer.title.as_str())
    }

    /// The samples of a peer, scenario, purpose and rate (any when none is given).
    pub fn samples_of<'a>(
        &'a self,
        peer: &'a str,
        scenario: &'a str,
        purpose: Purpose,
        rate: Option<f64>,
    ) -> impl Iterator<Item = &'a Sample> + 'a {
        self.samples.iter().filter(move |sample| {
            sample.peer == peer
                && sample.scenario == scenario
                && sample.purpose == purpose
                && rate.is_none_or(|rate| (sample.rate - rate).abs() < 0.5)
        })
    }

    /// The rates at which a scenario was run for this purpose, rising.
    #[must_use]
    pub fn rates(&self, scenario: &str, purpose: Purpose) -> Vec<f64> {
        let mut rates: Vec<f64> = self
            .samples
            .iter()
            .filter(|sample| sample.scenario == scenario && sample.purpose == purpose)
            .map(|sample| sample.rate)
            .collect();
        rates.sort_by(f64::total_cmp);
        rates.dedup();
        rates
    }

    /// Samples that something disturbed.
    pub fn disturbed(&self) -> impl Iterator<Item = &Sample> {
        self.samples.iter().filter(|sample| sample.is_disturbed())
    }

    /// Reads what [`serde_json`] wrote.
    ///
    /// # Errors
    /// Not JSON of this shape, or of a later one.
    pub fn read(text: &str) -> Result<Self, String> {
        let session: Self = serde_json::from_str(text).map_err(|error| error.to_string())?;
        if session.schema > SCHEMA {
            return Err(format!("schema {} is newer than {SCHEMA}, which is known here", session.schema));
        }
        Ok(session)
    }
}

impl Sample {
    /// Whether something else than the peer may have made its figures.
    #[must_use]
    pub fn is_disturbed(&self) -> bool {
        !self.disturbed.is_empty() || !self.run.disturbances.is_empty() || !self.run.limits.is_empty()
    }
}
