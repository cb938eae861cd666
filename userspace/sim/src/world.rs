//! A world: everything in it, and the order in which it happens.
//!
//! One queue of events, by time and then by the order in which they were put in. Nothing else decides what comes
//! next, so a seed has one history. After every event the faults that anybody found are collected; the world goes on
//! until nothing is left to happen.

use core::cmp::Ordering;
use core::hash::Hasher as _;
use core::net::SocketAddr;
use core::time::Duration;
use std::collections::{BinaryHeap, HashMap, HashSet, VecDeque};

use siphasher::sip::SipHasher13;
use strowger_engine::Time;

use crate::network::{Likeness, Network, Passage};
use crate::node::{Node, Sent};
use crate::phone::{Alarm, Phone};
use crate::plan::{BEGINNING, Options, Plan};
use crate::stranger::{Heard, Stranger};
use crate::text::Message;
use crate::trace::{Fate, Trace};
use crate::witness::Witness;

/// A hash that is the same everywhere.
pub(crate) fn hash(bytes: &[u8]) -> u64 {
    let mut hasher = SipHasher13::new();
    hasher.write(bytes);
    hasher.finish()
}

/// The hash that stands for a Call-ID.
pub(crate) fn call_hash(call_id: &str) -> u64 {
    hash(call_id.as_bytes())
}

/// Events after which a world is called restless: a hundred times what the busiest has.
const EVENTS: u64 = 400_000;
/// Virtual time after which it is called restless.
const AGE: Duration = Duration::from_secs(6 * 3600);
/// Datagrams that strangers remember.
const HEARD: usize = 48;
/// Faults after which a run ends: one error often shows a thousand times.
const FAULTS: usize = 20;

enum Event {
    Arrival { from: SocketAddr, to: SocketAddr, bytes: Vec<u8> },
    Phone(usize, Alarm),
    Node(usize),
    Harm(usize, usize),
    Clock(usize, u64),
}

struct Entry {
    at: Time,
    order: u64,
    event: Event,
}

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        self.order == other.order
    }
}

impl Eq for Entry {}

impl Ord for Entry {
    /// The earliest is the greatest, as the heap wants it.
    fn cmp(&self, other: &Self) -> Ordering {
        (other.at, other.order).cmp(&(self.at, self.order))
    }
}

impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

#[derive(Clone, Copy)]
enum Party {
    Node(usize),
    Phone(usize),
    Stranger,
}

/// Something that must not be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// When it was noticed, after the beginning of the world.
    pub at: Duration,
    /// Who noticed and what.
    pub what: String,
}

/// What happened in how many worlds, for a report that says what was tried.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Coverage {
    /// Datagrams that were sent.
    pub datagrams: u64,
    /// Requests that nodes received, retransmissions apart.
    pub requests: u64,
    /// Those that were sent to more than one contact.
    pub forked: u64,
    /// INVITEs for which a CANCEL came.
    pub cancelled: u64,
    /// Calls that were answered.
    pub calls: u64,
    /// Virtual time.
    pub seconds: u64,
}

impl Coverage {
    /// Adds another world's.
    pub fn add(&mut self, other: &Self) {
        self.datagrams += other.datagrams;
        self.requests += other.requests;
        self.forked += other.forked;
        self.cancelled += other.cancelled;
        self.calls += other.calls;
        self.seconds += other.seconds;
    }
}

/// The outcome of one seed.
pub struct Report {
    /// The seed.
    pub seed: u64,
    /// What must not be and was; empty when all is well.
    pub faults: Vec<Fault>,
    /// What happened.
    pub trace: Trace,
    /// The parties in the order of a ladder's columns.
    pub parties: Vec<(SocketAddr, String)>,
    /// What was tried.
    pub coverage: Coverage,
}

struct World {
    now: Time,
    queue: BinaryHeap<Entry>,
    order: u64,
    nodes: Vec<(Node, Witness)>,
    /// When each node is woken next, as the queue has it.
    due: Vec<Option<Time>>,
    phones: Vec<Phone>,
    strangers: Vec<Stranger>,
    network: Network,
    places: HashMap<SocketAddr, Party>,
    heard: VecDeque<Heard>,
    trace: Trace,
    faults: Vec<Fault>,
    /// What the phones miss at the end is a fault.
    phones_judge: bool,
}

/// Runs the world of one seed to its end.
#[must_use]
pub fn run(seed: u64, options: &Options) -> Report {
    let mut world = World::new(Plan::draw(seed, options), options.keep);
    world.live();
    world.report(seed)
}

impl World {
    fn new(plan: Plan, keep: bool) -> Self {
        let mut world = Self {
            now: BEGINNING,
            queue: BinaryHeap::new(),
            order: 0,
            due: vec![None; plan.nodes.len()],
            nodes: plan.nodes,
            phones: plan.phones,
            strangers: plan.strangers,
            network: plan.network,
            places: HashMap::new(),
            heard: VecDeque::new(),
            trace: Trace::new(keep),
            faults: vec![],
            phones_judge: plan.promise.stateful,
        };
        for note in plan.notes {
            world.trace.note(BEGINNING, None, || note);
        }
        for (n, (node, _)) in world.nodes.iter().enumerate() {
            world.places.insert(node.address, Party::Node(n));
        }
        for (n, phone) in world.phones.iter().enumerate() {
            world.places.insert(phone.address, Party::Phone(n));
        }
        for stranger in &world.strangers {
            world.places.insert(stranger.address, Party::Stranger);
        }
        for (at, node, clock) in plan.clocks {
            world.push(at, Event::Clock(node, clock));
        }
        for n in 0..world.strangers.len() {
            for k in 0..world.strangers[n].harms.len() {
                let after = world.strangers[n].harms[k].0;
                world.push(BEGINNING.after(after), Event::Harm(n, k));
            }
        }
        for n in 0..world.phones.len() {
            world.phones[n].begin_life(BEGINNING);
            world.collect(n);
        }
        world
    }

    fn push(&mut self, at: Time, event: Event) {
        self.order += 1;
        self.queue.push(Entry { at: at.max(self.now), order: self.order, event });
    }

    fn fault(&mut self, what: String) {
        let at = self.now.since(BEGINNING);
        self.trace.note(self.now, None, || format!("FAULT {what}"));
        self.faults.push(Fault { at, what });
    }

    fn live(&mut self) {
        let mut events = 0;
        while let Some(Entry { at, event, .. }) = self.queue.pop() {
            self.now = at;
            self.happen(event);
            events += 1;
            if events > EVENTS || at.since(BEGINNING) > AGE {
                return self.fault("the world does not come to rest".to_owned());
            }
            if self.faults.len() >= FAULTS {
                return;
            }
        }
        self.judge();
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Arrival { from, to, bytes } => {
                match self.places.get(&to).copied() {
                    Some(Party::Node(n)) => self.at_node(n, from, &bytes),
                    Some(Party::Phone(n)) => self.at_phone(n, from, &bytes),
                    Some(Party::Stranger) | None => {}
                }
                self.overhear(from, to, bytes);
            }
            Event::Phone(n, alarm) => {
                if !self.phones[n].dead {
                    self.phones[n].wake(self.now, alarm);
                    self.collect(n);
                }
            }
            Event::Node(n) => {
                if self.due[n].is_some_and(|due| due <= self.now) {
                    self.due[n] = None;
                }
                let mut sent = Vec::new();
                self.nodes[n].0.wake(self.now, &mut sent);
                self.node_done(n, sent);
            }
            Event::Harm(n, k) => {
                let heard: Vec<Heard> = self.heard.iter().cloned().collect();
                let harm = self.strangers[n].harms[k].1;
                let from = self.strangers[n].address;
                for (to, bytes) in self.strangers[n].act(harm, &heard) {
                    self.send(from, to, bytes);
                }
            }
            Event::Clock(n, clock) => {
                let address = self.nodes[n].0.address;
                self.trace.note(self.now, Some(address), || format!("its wall clock is set to {clock}"));
                self.nodes[n].0.set_clock(self.now, clock);
                self.node_done(n, vec![]);
            }
        }
    }

    /// Strangers hear what has arrived: they are not faster than the honest.
    fn overhear(&mut self, from: SocketAddr, to: SocketAddr, bytes: Vec<u8>) {
        if self.strangers.is_empty() {
            return;
        }
        if self.heard.len() == HEARD {
            self.heard.pop_front();
        }
        self.heard.push_back(Heard { from, to, bytes });
    }

    fn at_node(&mut self, n: usize, from: SocketAddr, bytes: &[u8]) {
        let mut sent = Vec::new();
        let (node, witness) = &mut self.nodes[n];
        witness.sees_in(self.now, from, bytes);
        node.receive(self.now, from, bytes, &mut sent);
        let registers = bytes.starts_with(b"REGISTER");
        self.node_done(n, sent);
        if registers {
            let (node, witness) = &mut self.nodes[n];
            witness.compare(self.now, &node.location);
            self.node_faults(n);
        }
    }

    fn node_done(&mut self, n: usize, sent: Vec<Sent>) {
        let (node, witness) = &mut self.nodes[n];
        node.check_levels();
        for message in &sent {
            witness.sees_out(self.now, message.to, &message.bytes);
        }
        let from = node.address;
        if let Some(due) = node.due()
            && self.due[n].is_none_or(|known| due < known)
        {
            self.due[n] = Some(due);
            self.push(due, Event::Node(n));
        }
        self.node_faults(n);
        for message in sent {
            self.send(from, message.to, message.bytes);
        }
    }

    fn node_faults(&mut self, n: usize) {
        let (node, witness) = &mut self.nodes[n];
        let mut found = core::mem::take(&mut node.faults);
        found.append(&mut witness.faults);
        for what in found {
            self.fault(what);
        }
    }

    fn at_phone(&mut self, n: usize, from: SocketAddr, bytes: &[u8]) {
        if self.phones[n].dead {
            let (_, call) = likeness(from, self.phones[n].address, bytes);
            return self.network.sever(call, self.phones[n].address.ip());
        }
        self.phones[n].receive(self.now, from, bytes);
        self.collect(n);
    }

    /// Does what a phone wants done.
    fn collect(&mut self, n: usize) {
        let out = core::mem::take(&mut self.phones[n].out);
        let address = self.phones[n].address;
        for call in out.deaf {
            self.network.sever(call, address.ip());
        }
        if out.died {
            // Whoever it talked to hears nothing more.
            for call in self.phones[n].call_hashes() {
                self.network.sever(call, address.ip());
            }
            self.trace.note(self.now, Some(address), || "dies".to_owned());
        }
        for (at, alarm) in out.alarms {
            self.push(at, Event::Phone(n, alarm));
        }
        for (to, bytes) in out.sends {
            self.send(address, to, bytes);
        }
        for what in out.faults {
            self.fault(what);
        }
    }

    fn send(&mut self, from: SocketAddr, to: SocketAddr, bytes: Vec<u8>) {
        let (likeness, call) = likeness(from, to, &bytes);
        if !self.places.contains_key(&to) {
            self.network.sever(call, to.ip());
            return self.trace.datagram(self.now, from, to, Fate::Nowhere, &bytes);
        }
        let fate = match self.network.pass(self.now, likeness, call) {
            Passage::Arrives(first, None) => Fate::Arrives(first),
            Passage::Arrives(first, Some(second)) => Fate::Twice(first, second),
            Passage::Lost => Fate::Lost,
            Passage::Severed => Fate::Severed,
        };
        self.trace.datagram(self.now, from, to, fate, &bytes);
        if let Fate::Twice(_, second) = fate {
            let bytes = bytes.clone();
            self.push(self.now.after(second), Event::Arrival { from, to, bytes });
        }
        if let Fate::Arrives(first) | Fate::Twice(first, _) = fate {
            self.push(self.now.after(first), Event::Arrival { from, to, bytes });
        }
    }

    /// Nothing is left to happen: is everything as it must be?
    fn judge(&mut self) {
        for n in 0..self.nodes.len() {
            let (node, witness) = &mut self.nodes[n];
            node.check_empty();
            witness.compare(self.now, &node.location);
            self.node_faults(n);
        }
        // A 2xx is repeated by the callee alone: cut off, it takes the final response with it.
        let answered: HashSet<u64> = self.phones.iter().flat_map(Phone::answered_hashes).collect();
        let gone = |call| answered.contains(&call) && self.network.severed(call);
        let verdicts: Vec<String> = self
            .phones
            .iter()
            .filter(|phone| !phone.dead && self.phones_judge)
            .flat_map(|phone| phone.verdicts(&self.network, &gone))
            .collect();
        for what in verdicts {
            self.fault(what);
        }
    }

    fn report(self, seed: u64) -> Report {
        let mut coverage = Coverage {
            datagrams: self.trace.datagrams(),
            calls: self.phones.iter().map(|phone| phone.answered_calls() as u64).sum(),
            seconds: self.now.since(BEGINNING).as_secs(),
            ..Coverage::default()
        };
        for (_, witness) in &self.nodes {
            let (requests, forked, cancelled) = witness.covered();
            coverage.requests += requests as u64;
            coverage.forked += forked as u64;
            coverage.cancelled += cancelled as u64;
        }
        let phones = self.phones.iter().map(|p| (p.address, p.name.clone()));
        let nodes = self.nodes.iter().map(|(n, _)| (n.address, n.name.clone()));
        let strangers = self.strangers.iter().map(|s| (s.address, s.name.clone()));
        let parties = nodes.chain(phones).chain(strangers).collect();
        Report { seed, faults: self.faults, trace: self.trace, parties, coverage }
    }
}

/// What tells a datagram's message from others, and the hash of its Call-ID.
fn likeness(from: SocketAddr, to: SocketAddr, bytes: &[u8]) -> (Likeness, u64) {
    let Some(message) = Message::read(bytes) else {
        return (Likeness { from, to, message: hash(bytes), precious: false }, 0);
    };
    let mut hasher = SipHasher13::new();
    let branch = message.top_via().map_or("", |via| via.branch);
    for part in [
        message.start,
        branch,
        message.get("CSeq").unwrap_or_default(),
        message.get("To").unwrap_or_default(),
    ] {
        hasher.write(part.as_bytes());
        hasher.write_u8(0);
    }
    let lasting = message.method() == "ACK"
        || message.method() == "INVITE" && message.code().is_some_and(|code| code >= 200);
    (Likeness { from, to, message: hasher.finish(), precious: !lasting }, call_hash(message.call_id()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn phones_have_nothing_to_complain_about_each_other() {
        let (mut calls, mut datagrams) = (0, 0);
        for seed in 0..1500 {
            let mut world = World::new(Plan::without_nodes(seed), false);
            world.phones_judge = true;
            world.live();
            assert_eq!(world.faults, [], "seed {seed}");
            calls += world.phones.iter().map(Phone::answered_calls).sum::<usize>();
            datagrams += world.trace.datagrams();
        }
        assert!(calls > 1000 && datagrams > 20_000, "{calls} calls, {datagrams} datagrams");
    }
}
