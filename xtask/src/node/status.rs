//! The object that `strowger status --json` prints, as far as the chores and tests read it.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use crate::Failure;
use crate::failure::Doing as _;

/// What a node says of itself. What is not read here is in `whole`.
#[derive(Clone, Debug, Deserialize)]
pub struct Status {
    /// Who it is.
    pub node: Identity,
    /// The way of its packets.
    pub dataplane: Dataplane,
    /// What the SIP element met.
    pub sip: Sip,
    /// SIP messages by way and direction.
    pub totals: Totals,
    /// What each worker counted.
    pub workers: Vec<Worker>,
    /// The location table.
    pub registrations: Registrations,
    /// Calls seen.
    pub calls: Calls,
    /// The whole object.
    #[serde(skip)]
    pub whole: Value,
}

/// Who answers.
#[derive(Clone, Debug, Deserialize)]
pub struct Identity {
    /// The name from its configuration.
    pub name: String,
    /// Its process.
    pub pid: u32,
}

/// The way of its packets.
#[derive(Clone, Debug, Deserialize)]
pub struct Dataplane {
    /// What is in force: zero-copy, copy, generic or off.
    pub mode: String,
    /// What the configuration asked for.
    pub wanted: String,
    /// Why it is not that, when it is not.
    pub fallback: Option<String>,
    /// Whether the XDP program is attached.
    pub xdp_attached: bool,
}

/// The SIP element, all workers together.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Sip {
    /// Events, by name.
    pub counters: BTreeMap<String, u64>,
    /// How full the tables are, by name.
    #[serde(default)]
    pub occupancy: BTreeMap<String, Level>,
}

/// How full a table is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct Level {
    /// Entries in use.
    pub used: u64,
    /// Entries there is room for.
    pub limit: u64,
}

/// SIP messages by way and direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, serde::Serialize)]
pub struct Totals {
    /// Received by AF_XDP.
    pub sip_in_xsk: u64,
    /// Received by the kernel socket.
    pub sip_in_kernel: u64,
    /// Sent by AF_XDP.
    pub sip_out_xsk: u64,
    /// Sent by the kernel socket.
    pub sip_out_kernel: u64,
}

/// One worker.
#[derive(Clone, Debug, Deserialize)]
pub struct Worker {
    /// Its number, from 0.
    pub id: u32,
    /// What it counted, by name.
    pub counters: BTreeMap<String, u64>,
}

/// The location table.
#[derive(Clone, Copy, Debug, Deserialize)]
pub struct Registrations {
    /// Users with at least one binding.
    pub aors: u64,
    /// Bindings.
    pub bindings: u64,
}

/// Calls seen by the engine.
#[derive(Clone, Copy, Debug, Deserialize)]
pub struct Calls {
    /// INVITEs that began a call.
    pub invites: u64,
    /// Calls answered.
    pub answered: u64,
    /// Calls hung up.
    pub byes: u64,
}

impl Status {
    /// Reads the JSON.
    ///
    /// # Errors
    /// Not the object that was agreed.
    pub fn read(text: &str) -> Result<Self, Failure> {
        let whole: Value = serde_json::from_str(text).doing("read the node's status")?;
        let mut status: Self = serde_json::from_value(whole.clone()).doing("read the node's status")?;
        status.whole = whole;
        Ok(status)
    }

    /// How often the SIP element met this event; 0 when it does not know it.
    pub fn event(&self, name: &str) -> u64 {
        self.sip.counters.get(name).copied().unwrap_or(0)
    }

    /// Entries in use in the table of this name; 0 when there is none.
    pub fn used(&self, table: &str) -> u64 {
        self.sip.occupancy.get(table).map_or(0, |level| level.used)
    }

    /// The counter of this name, summed over workers; 0 when no worker knows it.
    pub fn counted(&self, name: &str) -> u64 {
        self.workers.iter().map(|worker| worker.counted(name)).sum()
    }
}

impl Worker {
    /// The counter of this name; 0 when it does not know it.
    pub fn counted(&self, name: &str) -> u64 {
        self.counters.get(name).copied().unwrap_or(0)
    }
}

impl std::ops::Sub for Totals {
    type Output = Self;

    /// What came between two readings of one node; a restart between them reads as 0.
    fn sub(self, before: Self) -> Self {
        Self {
            sip_in_xsk: self.sip_in_xsk.saturating_sub(before.sip_in_xsk),
            sip_in_kernel: self.sip_in_kernel.saturating_sub(before.sip_in_kernel),
            sip_out_xsk: self.sip_out_xsk.saturating_sub(before.sip_out_xsk),
            sip_out_kernel: self.sip_out_kernel.saturating_sub(before.sip_out_kernel),
        }
    }
}

impl Totals {
    /// All that was received.
    pub fn received(&self) -> u64 {
        self.sip_in_xsk + self.sip_in_kernel
    }

    /// All that was sent.
    pub fn sent(&self) -> u64 {
        self.sip_out_xsk + self.sip_out_kernel
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_agreed_object_is_read() {
        let text = r#"{ "node": {"name":"lab-1","version":"0.1.0","pid":7,"uptime_s":1,"state":"up"},
            "dataplane": {"mode":"copy","wanted":"auto","fallback":"EOPNOTSUPP","interface":"sw-node","ifindex":2,
                "netns":"strowger-node","xdp_attached":true,"xdp":{"redirect":5},"queues":[]},
            "workers": [{"id":0,"cpu":0,"answering":true,"counters":{"rx_xsk":6},"kernel":{}},
                {"id":1,"cpu":1,"answering":true,"counters":{"rx_xsk":1,"tx_xsk":9},"kernel":{}}],
            "sip": {"counters": {"request_absorbed":2}, "occupancy": {"branches":{"used":1,"limit":2}}},
            "totals": {"sip_in_xsk":6,"sip_in_kernel":1,"sip_out_xsk":5,"sip_out_kernel":2},
            "registrations": {"aors":3,"bindings":4}, "calls": {"invites":1,"answered":1,"byes":1} }"#;
        let status = Status::read(text).unwrap();
        assert_eq!(status.totals.received(), 7);
        assert_eq!(status.totals.sent(), 7);
        assert_eq!(status.dataplane.fallback.as_deref(), Some("EOPNOTSUPP"));
        assert_eq!(status.whole["dataplane"]["xdp"]["redirect"], 5);
        assert_eq!((status.counted("rx_xsk"), status.workers[1].counted("tx_xsk")), (7, 9));
        assert_eq!((status.counted("no_such_counter"), status.event("no_such_event")), (0, 0));
        assert_eq!(
            (status.event("request_absorbed"), status.used("branches"), status.used("none")),
            (2, 1, 0)
        );
        let later = Totals { sip_in_xsk: 8, ..status.totals };
        assert_eq!((later - status.totals).sip_in_xsk, 2);
        assert!(Status::read("{}").is_err());
    }
}
