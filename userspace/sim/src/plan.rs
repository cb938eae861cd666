//! What a world consists of, drawn from its seed before it begins.

use core::net::{IpAddr, SocketAddr};
use core::time::Duration;
use std::collections::{HashMap, HashSet};

use strowger_engine::{Algorithm, Auth, Calls, Config, IpPrefix, Registrar, State, Time, Transactions};

use crate::dice::Dice;
use crate::network::{Network, Partition, Weather};
use crate::node::{Directory, Node};
#[cfg(test)]
use crate::phone::script::Answer;
use crate::phone::script::{Binding, CallPlan, Deed, Style, temper};
use crate::phone::{Phone, credentials_of};
use crate::promise::{self, Promise};
use crate::stranger::{HARMS, Stranger};
use crate::witness::Witness;

/// What a caller of [`run`](crate::run) wants changed about the worlds.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Loss in a thousand, the same for all seeds; without it each draws its own, 0 to 300.
    pub loss: Option<u32>,
    /// Keeps every datagram for a ladder.
    pub keep: bool,
}

/// A world before its first moment.
pub(crate) struct Plan {
    pub(crate) promise: Promise,
    pub(crate) nodes: Vec<(Node, Witness)>,
    pub(crate) phones: Vec<Phone>,
    pub(crate) strangers: Vec<Stranger>,
    pub(crate) network: Network,
    /// When the wall clock of a node is set, and to what.
    pub(crate) clocks: Vec<(Time, usize, u64)>,
    /// What a reader of a trace should know.
    pub(crate) notes: Vec<String>,
}

/// When every world begins. Not 0, so that what is before the beginning can be told from it.
pub(crate) const BEGINNING: Time = Time::from_nanos(1_000_000_000_000);

/// Phones at most.
const PHONES: u64 = 12;

struct Draft {
    dice: Dice,
    seed: u64,
    promise: Promise,
    named: bool,
    nat: bool,
    phones: Vec<Phone>,
    /// Every user: node, name.
    users: Vec<(usize, String)>,
    nodes: usize,
}

fn node_address(n: usize) -> SocketAddr {
    SocketAddr::from(([10, 0, n as u8, 1], 5060))
}

impl Plan {
    pub(crate) fn draw(seed: u64, options: &Options) -> Self {
        let mut dice = Dice::new(seed, 0);
        let nodes = dice.weighted(&[(6, 1), (3, 2), (1, 3)]);
        let guarded = dice.chance(600);
        let stateful = promise::STATEFUL && !dice.chance(100);
        let promise =
            Promise { stateful, forks: stateful && promise::FORKS, guarded, local: stateful && guarded };
        let named = nodes == 1 || dice.chance(300);
        let nat = dice.chance(600);
        let mut draft = Draft { dice, seed, promise, named, nat, phones: vec![], users: vec![], nodes };
        draft.people();
        draft.deeds();
        let passwords = draft.passwords();
        let network = draft.network(options.loss);
        let clocks = draft.clocks();
        let strangers = draft.strangers();
        let nodes: Vec<_> = (0..nodes).map(|n| draft.node(n, &passwords[n])).collect();
        let notes = vec![format!(
            "{} nodes{}, {} phones, {} strangers",
            draft.nodes,
            if guarded { " that want credentials" } else { "" },
            draft.phones.len(),
            strangers.len()
        )];
        Self { promise, nodes, phones: draft.phones, strangers, network, clocks, notes }
    }
}

impl Draft {
    /// A node's domain: a name, or its address, by which other nodes find it without asking anybody.
    fn domain(&self, n: usize) -> String {
        if self.named { format!("n{n}.test") } else { node_address(n).ip().to_string() }
    }

    /// Users with one to four phones each, at different preferences.
    fn people(&mut self) {
        let wanted = self.dice.between(2, PHONES) as usize;
        while self.phones.len() < wanted {
            let node = self.dice.index(self.nodes);
            let user = format!("u{}", self.users.len());
            self.users.push((node, user.clone()));
            let contacts = self.dice.weighted(&[(5, 1), (3, 2), (2, 3), (1, 4)]);
            for n in 0..contacts {
                self.phone(node, &user, n);
            }
        }
        // Somebody's calls go on to a user of another node, whose calls may come back: a loop (RFC 5393).
        if self.nodes > 1 && self.dice.chance(400) {
            for _ in 0..self.dice.between(1, 3) {
                let (from, to) = (self.dice.index(self.users.len()), self.dice.index(self.users.len()));
                let ((node, user), (other, target)) = (self.users[from].clone(), self.users[to].clone());
                if node != other {
                    let n = self.phones.len();
                    self.phone(node, &user, n);
                    if let Some(binding) = self.phones.last_mut().and_then(|phone| phone.binding.as_mut()) {
                        binding.contact = format!("sip:{target}@{}", node_address(other).ip());
                    }
                }
            }
        }
    }

    fn phone(&mut self, node: usize, user: &str, n: usize) {
        let index = self.phones.len();
        let name = format!("{user}-{n}");
        let public =
            SocketAddr::from(([10, 1, index as u8, 1], if self.dice.chance(500) { 5060 } else { 5062 }));
        // Behind a NAT that keeps its mapping: what it writes into Via is not where its packets come from.
        let natted = self.dice.chance(200);
        let private = natted && self.nat && self.dice.chance(600);
        let mut style = Style::draw(&mut self.dice);
        let sent_by = if natted {
            style.rport = true;
            format!("192.168.1.{}:5060", index + 2)
        } else {
            public.to_string()
        };
        // A node that wants credentials answers short requests late (a reply is no longer than what came), or never when
        // two sources share what it remembers of them.
        style.wordy |= self.promise.guarded;
        let temper = temper(&mut self.dice);
        let identity = (user.to_owned(), self.domain(node), format!("secret of {user}"));
        let dice = Dice::new(self.seed, 100 + index as u64);
        let mut phone = Phone::new(name, public, sent_by, identity, node_address(node), style, temper, dice);
        phone.guarded = self.promise.guarded;
        if self.promise.guarded && self.dice.chance(50) {
            phone.password.push_str(", or something like it");
            phone.hopeless = true;
        }
        // Its contact is no use to anybody but the node that knows where its REGISTER came from.
        if private {
            phone.contact_host = phone.sent_by.clone();
        }
        let q = self.dice.weighted(&[(4, None), (2, Some(900)), (3, Some(500)), (2, Some(200))]);
        phone.binding = Some(Binding {
            contact: format!("sip:{user}@{}", phone.contact_host),
            q,
            expires: self.dice.weighted(&[(1, 5), (3, 30), (4, 60), (2, 120)]),
            in_contact: self.dice.chance(500),
            // Without its binding nobody reaches it, not even inside a dialog.
            refresh_for: Duration::from_secs(if private {
                600
            } else {
                self.dice.weighted(&[(2, 0), (3, 40), (2, 90)])
            }),
        });
        self.phones.push(phone);
    }

    fn deeds(&mut self) {
        for index in 0..self.phones.len() {
            let private = self.phones[index].contact_host.starts_with("192.168.");
            let count = self.dice.weighted(&[(3, 0), (4, 1), (3, 2), (1, 4)]);
            let mut deeds = Vec::new();
            for _ in 0..count {
                let at = self.dice.millis(1500, 30_000)
                    + if private { Duration::from_secs(20) } else { Duration::ZERO };
                let deed = self.deed(index);
                deeds.push((at, deed));
            }
            if self.dice.chance(250) && !private {
                let all = self.dice.chance(300);
                let at = self.dice.millis(1000, 60_000);
                deeds.push((at, if all { Deed::UnregisterAll } else { Deed::Unregister }));
            }
            let target = self.target(index);
            let phone = &mut self.phones[index];
            phone.deeds = deeds;
            phone.elsewhere = target;
        }
        // A world in which nobody does anything finds nothing.
        if !self.phones.iter().any(|p| p.deeds.iter().any(|(_, d)| matches!(d, Deed::Call(_)))) {
            let call = Deed::Call(Box::new(self.call(0)));
            self.phones[0].deeds.push((Duration::from_secs(3), call));
        }
    }

    fn deed(&mut self, index: usize) -> Deed {
        if self.dice.chance(700) {
            return Deed::Call(Box::new(self.call(index)));
        }
        if self.dice.chance(100) {
            return Deed::Query;
        }
        let method = ["MESSAGE", "OPTIONS", "SUBSCRIBE", "PUBLISH"][self.dice.index(4)];
        let target = self.target(index);
        Deed::Single(method, target)
    }

    /// A user of the same node: nodes relay to nobody else.
    fn target(&mut self, index: usize) -> String {
        let home = self.phones[index].domain.clone();
        let neighbours: Vec<String> = self
            .users
            .iter()
            .filter(|(node, _)| self.domain(*node) == home)
            .map(|(_, user)| user.clone())
            .collect();
        let user = if self.dice.chance(50) {
            "nobody".to_owned()
        } else {
            neighbours[self.dice.index(neighbours.len())].clone()
        };
        format!("sip:{user}@{home}")
    }

    fn call(&mut self, index: usize) -> CallPlan {
        let target = self.target(index);
        let dice = &mut self.dice;
        let kinds = ["INVITE", "UPDATE", "INFO", "MESSAGE", "OPTIONS"];
        let inside =
            (0..dice.weighted(&[(6, 0), (3, 1), (1, 3)])).map(|_| kinds[dice.index(kinds.len())]).collect();
        let cancels = dice.chance(250);
        CallPlan {
            target,
            // Some race with the answer, some come before anything has.
            cancel_after: cancels
                .then(|| if dice.chance(400) { dice.millis(0, 80) } else { dice.millis(80, 6000) }),
            hasty: dice.chance(150),
            patience: if dice.chance(80) { Duration::from_secs(400) } else { dice.millis(4000, 60_000) },
            talk: dice.millis(300, 10_000),
            inside,
            reliable: dice.chance(400),
        }
    }

    /// Of every node: user to password.
    fn passwords(&self) -> Vec<HashMap<String, String>> {
        let mut all = vec![HashMap::new(); self.nodes];
        for (node, user) in &self.users {
            all[*node].insert(user.clone(), format!("secret of {user}"));
        }
        all
    }

    fn network(&mut self, loss: Option<u32>) -> Network {
        let dice = &mut self.dice;
        let drawn = if dice.chance(300) { 0 } else { dice.below(301) as u32 };
        let weather = Weather {
            loss: loss.unwrap_or(drawn),
            duplication: if dice.chance(500) { 0 } else { dice.below(60) as u32 },
            reordering: if dice.chance(600) { 0 } else { dice.below(60) as u32 },
            delay: Duration::from_micros(dice.weighted(&[(2, 100), (4, 5000), (3, 40_000), (1, 250_000)])),
            jitter: Duration::from_micros(dice.weighted(&[(3, 100), (3, 5000), (2, 60_000)])),
        };
        let mut partitions = Vec::new();
        if dice.chance(150) {
            let from = BEGINNING.after(dice.millis(1000, 30_000));
            let mut side: HashSet<IpAddr> =
                self.phones.iter().filter(|_| dice.chance(300)).map(|phone| phone.address.ip()).collect();
            if self.nodes > 1 && dice.chance(500) {
                side.insert(node_address(1).ip());
            }
            partitions.push(Partition { from, until: from.after(dice.millis(500, 40_000)), side });
        }
        Network::new(weather, partitions, Dice::new(self.seed, 1), !self.promise.local)
    }

    fn clocks(&mut self) -> Vec<(Time, usize, u64)> {
        let mut clocks = Vec::new();
        if self.dice.chance(300) {
            for _ in 0..self.dice.between(1, 3) {
                let at = BEGINNING.after(self.dice.millis(0, 60_000));
                // An hour to either side of where it began.
                clocks.push((at, self.dice.index(self.nodes), 1_700_000_000 - 3600 + self.dice.below(7200)));
            }
        }
        clocks
    }

    fn strangers(&mut self) -> Vec<Stranger> {
        let count = self.dice.weighted(&[(5, 0), (4, 1), (1, 2)]);
        let mut strangers = Vec::new();
        for n in 0..count {
            let (node, user) = self.users[self.dice.index(self.users.len())].clone();
            let mut harms: Vec<_> = (0..self.dice.between(1, 12))
                .map(|_| (self.dice.millis(1000, 40_000), self.dice.weighted(&HARMS)))
                .collect();
            harms.sort_by_key(|(at, _)| *at);
            strangers.push(Stranger {
                name: format!("stranger{n}"),
                address: SocketAddr::from(([198, 51, 100, n as u8 + 1], 6666)),
                harms,
                victim: (node_address(node), self.domain(node), user),
                guarded: self.promise.guarded,
                dice: Dice::new(self.seed, 1000 + n as u64),
                count: 0,
            });
        }
        strangers
    }

    fn auth(&mut self, n: usize) -> Auth {
        let all = [Algorithm::Sha512_256, Algorithm::Sha256, Algorithm::Md5];
        let algorithms = self.dice.weighted(&[(3, &all[1..]), (2, &all[..]), (1, &all[2..])]).to_vec();
        // A phone that can do nothing of it never gets in.
        let mask: u8 = algorithms
            .iter()
            .map(|algorithm| match algorithm {
                Algorithm::Md5 => 1,
                Algorithm::Sha256 => 2,
                Algorithm::Sha512_256 => 0,
            })
            .sum();
        let realm = self.domain(n);
        for phone in self.phones.iter_mut().filter(|phone| phone.domain == realm) {
            // Of three challenges the middle one is the first to be left out when the request is short.
            let crowded = algorithms.len() == 3 && phone.style.algorithms == 2;
            phone.hopeless |= phone.style.algorithms & mask == 0 || crowded;
        }
        let mut trusted = Vec::new();
        if self.dice.chance(700) {
            let others = (0..self.nodes).filter(|m| *m != n).map(|m| node_address(m).ip());
            trusted.extend(others.map(IpPrefix::host));
        }
        Auth {
            algorithms,
            trusted,
            nonce_lifetime: self.dice.weighted(&[(1, 3), (2, 20), (3, 300)]),
            nonces: self.dice.weighted(&[(1, 16), (3, 1000)]),
            ..Auth::default()
        }
    }

    fn node(&mut self, n: usize, passwords: &HashMap<String, String>) -> (Node, Witness) {
        let address = node_address(n);
        let mut secret = [0; 32];
        for part in secret.chunks_mut(8) {
            part.copy_from_slice(&self.dice.number().to_le_bytes());
        }
        let config = Config {
            listen: vec![address],
            domains: vec![self.domain(n)],
            auth_required: self.promise.guarded,
            auth: self.auth(n),
            registrar: Registrar {
                min_expires: self.dice.weighted(&[(1, 5), (2, 20)]),
                default_expires: 60,
                max_expires: self.dice.weighted(&[(1, 60), (2, 120)]),
                nat: self.nat,
                ..Registrar::default()
            },
            max_bindings: 200,
            transactions: Transactions::sized(512),
            calls: Calls { max_dialogs: 256, max_seconds: 1800, ..Calls::default() },
            stateless: !self.promise.stateful,
            record_route: true,
            secret,
            ..Config::default()
        };
        let trusts = |peer: &SocketAddr| config.auth.trusted.iter().any(|prefix| prefix.contains(peer.ip()));
        let peers = (0..self.nodes).filter(|m| *m != n).map(node_address).filter(trusts).collect();
        let realm = self.domain(n);
        let mut passwords = passwords.clone();
        let mut locked = HashMap::new();
        let mut directory = HashMap::new();
        for (user, password) in &passwords {
            directory.insert(user.clone(), credentials_of(user, &realm, password, State::Active));
        }
        // Somebody may be locked out: the right password does not help him.
        if self.dice.chance(150)
            && let Some(user) = self.users.iter().find(|(node, _)| *node == n).map(|(_, user)| user.clone())
        {
            let state = if self.dice.chance(500) { State::Inactive } else { State::Suspended };
            if let Some(entry) = directory.get_mut(&user) {
                entry.state = state;
            }
            locked.extend(passwords.remove_entry(&user));
            let locked = |phone: &&mut Phone| phone.user == user && phone.domain == realm;
            self.phones.iter_mut().filter(locked).for_each(|phone| phone.hopeless = true);
        }
        // Several workers get the messages of one transaction each as the network spreads them: that is for nodes that
        // keep no transactions.
        let workers = if self.promise.stateful || self.dice.chance(500) { 1 } else { 2 };
        let node = Node::new(format!("n{n}"), address, config, workers, Directory(directory), BEGINNING);
        let witness = Witness::new(format!("n{n}"), address, realm, self.promise, (passwords, locked), peers);
        (node, witness)
    }
}

#[cfg(test)]
impl Plan {
    /// Two phones on a bad line and no node between them: whatever the phones complain about here is their own error.
    pub(crate) fn without_nodes(seed: u64) -> Self {
        let dice = Dice::new(seed, 0);
        let promise = Promise { stateful: true, forks: true, guarded: false, local: true };
        let mut draft =
            Draft { dice, seed, promise, named: true, nat: false, phones: vec![], users: vec![], nodes: 1 };
        draft.users = vec![(0, "u0".to_owned()), (0, "u1".to_owned())];
        draft.phone(0, "u0", 0);
        draft.phone(0, "u1", 0);
        draft.deeds();
        let addresses = [draft.phones[0].address, draft.phones[1].address];
        for (n, phone) in draft.phones.iter_mut().enumerate() {
            phone.proxy = addresses[1 - n];
            phone.binding = None;
            // Nobody is between them to give up for the one that is silent.
            phone.temper.retain(|(_, answer)| !matches!(answer, Answer::Mute | Answer::DieRinging));
            if phone.temper.is_empty() {
                phone.temper.push((1, Answer::Ring));
            }
        }
        let mut network = draft.network(None);
        network.without_partitions();
        Self {
            promise,
            nodes: vec![],
            phones: draft.phones,
            strangers: vec![],
            network,
            clocks: vec![],
            notes: vec![],
        }
    }
}
