//! A node in a world: engines that share a location table, the memory they write into, and the checks of what every
//! engine promises to its caller.

use core::net::SocketAddr;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use strowger_engine::{
    CallStep, Config, Credentials, EndReason, Engine, Flow, Location, Occupancy, Time, Users, Verdict,
};
use strowger_sip::Buffer;

use crate::world::hash;

/// Free octets before a message, as the node's frames have them.
const HEADROOM: usize = 512;
/// Octets of a buffer: the longest datagram fits with what is added to it.
const BUFFER: usize = HEADROOM + 65_535 + 4096;
/// Messages that one datagram or one timer may cause before we call it an avalanche: more than the branches a request
/// can have, with everything that ends them.
const AVALANCHE: usize = 400;
/// Calls of `on_timeout` in a row before we call it a livelock.
const ROUNDS: usize = 2000;

/// The users of a node: name to credentials.
pub(crate) struct Directory(pub(crate) HashMap<String, Credentials>);

impl Users for Directory {
    fn find(&self, user: &[u8], _domain: &str) -> Option<Credentials> {
        self.0.get(core::str::from_utf8(user).ok()?).copied()
    }
}

/// A message that a node sends.
pub(crate) struct Sent {
    pub(crate) to: SocketAddr,
    pub(crate) bytes: Vec<u8>,
}

pub(crate) struct Node {
    pub(crate) name: String,
    pub(crate) address: SocketAddr,
    pub(crate) location: Arc<Location>,
    /// One for each worker.
    engines: Vec<Engine>,
    memory: Vec<u8>,
    /// Calls (hashed) that nobody saw the end of: a record says so, if they were not cut off.
    pub(crate) endless: Vec<u64>,
    /// How often each dialog's record was closed.
    ended: BTreeMap<(usize, String), u32>,
    pub(crate) faults: Vec<String>,
}

impl Node {
    /// # Panics
    /// The plan made a configuration that the engine refuses.
    pub(crate) fn new(
        name: String,
        address: SocketAddr,
        config: Config,
        workers: usize,
        users: Directory,
        now: Time,
    ) -> Self {
        let location = Arc::new(Location::new(&config).expect("the plan's configuration"));
        let (config, users) = (Arc::new(config), Arc::new(users));
        let engines = (0..workers).map(|_| {
            let mut engine =
                Engine::new(Arc::clone(&config), Arc::clone(&location)).expect("the plan's configuration");
            engine.set_users(Arc::clone(&users) as Arc<dyn Users>);
            engine.set_wall_clock(now, 1_700_000_000);
            engine
        });
        let engines = engines.collect();
        Self {
            name,
            address,
            location,
            engines,
            memory: vec![0xa5; BUFFER],
            endless: vec![],
            ended: BTreeMap::new(),
            faults: vec![],
        }
    }

    /// A datagram arrived; what the node sends for it goes into `sent`.
    pub(crate) fn receive(&mut self, now: Time, from: SocketAddr, bytes: &[u8], sent: &mut Vec<Sent>) {
        let end = HEADROOM + bytes.len();
        let Some(place) = self.memory.get_mut(HEADROOM..end) else { return };
        place.copy_from_slice(bytes);
        let Some(mut buffer) = Buffer::new(&mut self.memory, HEADROOM..end) else { return };
        let flow = Flow { local: self.address, remote: from };
        // As a NIC spreads flows over its queues: by the addresses, always to the same one.
        let worker = hash(from.to_string().as_bytes()) as usize % self.engines.len();
        if let Verdict::Send(flow) = self.engines[worker].handle(now, flow, &mut buffer) {
            let bytes = buffer.message().to_vec();
            self.push(flow, bytes, sent);
        }
        self.drain(worker, now, sent);
    }

    /// An engine's timer is due.
    pub(crate) fn wake(&mut self, now: Time, sent: &mut Vec<Sent>) {
        for worker in 0..self.engines.len() {
            let mut rounds = 0;
            while self.engines[worker].timeout().is_some_and(|due| due <= now) {
                self.engines[worker].on_timeout(now);
                self.drain(worker, now, sent);
                rounds += 1;
                if rounds == ROUNDS {
                    return self
                        .faults
                        .push(format!("{}: its timer stays due after {ROUNDS} calls", self.name));
                }
            }
        }
    }

    /// What the engine says for call records: every dialog that is mentioned ends, once.
    fn records(&mut self, worker: usize) {
        while let Some(event) = self.engines[worker].next_event() {
            let ends = matches!(event.step, CallStep::Ended { .. });
            if let CallStep::Ended { reason: EndReason::TooLong, .. } = event.step {
                self.endless.push(hash(event.call_id()));
            }
            let count = self.ended.entry((worker, event.id.to_string())).or_default();
            if *count > 0 {
                self.faults.push(format!("{}: {:?} for a dialog that had ended", self.name, event.step));
            }
            *count += u32::from(ends);
        }
    }

    fn drain(&mut self, worker: usize, now: Time, sent: &mut Vec<Sent>) {
        self.records(worker);
        for _ in 0..AVALANCHE {
            let Some(mut buffer) = Buffer::new(&mut self.memory, HEADROOM..HEADROOM) else { return };
            let Some(flow) = self.engines[worker].transmit(now, &mut buffer) else {
                if self.engines[worker].has_transmit() {
                    self.faults
                        .push(format!("{}: a message waits for a buffer that is larger than any", self.name));
                }
                return;
            };
            let bytes = buffer.message().to_vec();
            self.push(flow, bytes, sent);
        }
        self.faults.push(format!("{}: more than {AVALANCHE} messages at once", self.name));
    }

    fn push(&mut self, flow: Flow, bytes: Vec<u8>, sent: &mut Vec<Sent>) {
        if flow.local != self.address {
            self.faults.push(format!("{}: sent from {}, which is not its address", self.name, flow.local));
        }
        sent.push(Sent { to: flow.remote, bytes });
    }

    /// When the first of the engines wants to be woken.
    pub(crate) fn due(&self) -> Option<Time> {
        self.engines.iter().filter_map(Engine::timeout).min()
    }

    /// The wall clock was set.
    pub(crate) fn set_clock(&mut self, now: Time, unix_seconds: u64) {
        for engine in &mut self.engines {
            engine.set_wall_clock(now, unix_seconds);
        }
    }

    /// No table may ever hold more than its limit.
    pub(crate) fn check_levels(&mut self) {
        for engine in &self.engines {
            for (name, level) in levels(&engine.occupancy()) {
                if level.0 > level.1 {
                    self.faults.push(format!("{}: {name} {} of {}", self.name, level.0, level.1));
                }
            }
        }
    }

    /// When everything has ended, nothing is left.
    pub(crate) fn check_empty(&mut self) {
        for engine in &self.engines {
            for (name, (used, _)) in levels(&engine.occupancy()) {
                if used != 0 {
                    self.faults
                        .push(format!("{}: the world is quiet, and {used} {name} are left", self.name));
                }
            }
            if !engine.is_idle() {
                self.faults.push(format!("{}: the world is quiet, and the engine is not idle", self.name));
            }
        }
        let open = self.ended.values().filter(|count| **count == 0).count();
        if open != 0 {
            self.faults.push(format!(
                "{}: the world is quiet, and the records of {open} dialogs are open",
                self.name
            ));
        }
        if self.location.bindings() != 0 {
            let left = self.location.bindings();
            self.faults.push(format!("{}: the world is quiet, and {left} bindings are left", self.name));
        }
    }
}

fn levels(occupancy: &Occupancy) -> [(&'static str, (usize, usize)); 6] {
    [
        ("transactions", occupancy.transactions),
        ("branches", occupancy.branches),
        ("kept octets", occupancy.kept),
        ("dialogs", occupancy.dialogs),
        ("timers", occupancy.timers),
        ("messages in the outbox", occupancy.outbox),
    ]
    .map(|(name, level)| (name, (level.used, level.limit)))
}
