//! The mirror's own picture, changed fact by fact, from which [`Table`]s are built.
//!
//! Facts that leave no doubt are applied. Those that do (a route replaced among several, a link going down, which
//! takes IPv4 routes with it that the kernel never mentions) ask for a new snapshot instead: see [`Effect::Resync`].

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use strowger_wire::{VlanTag, VlanTags};

use super::Miss;
use super::facts::{
    Fact, Family, Kind, Link, Neighbour, NeighbourKey, Route, RouteKey, Rule, TABLE_DEFAULT, TABLE_LOCAL,
    TABLE_MAIN,
};
use super::prefix::{Prefix, Ranges};
use super::table::{Answer, Entry, Port, Routes, Table};

/// VLAN interfaces above one another that are followed: a frame has two tags at most.
const MAX_TAGS: usize = 2;

/// What a fact means for what is published.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Effect {
    /// Nothing changed.
    None,
    /// A new table is to be published.
    Publish,
    /// Only a new snapshot tells how things are now.
    Resync,
}

#[derive(Debug, Clone)]
struct Known {
    neighbour: Neighbour,
    used: Arc<AtomicBool>,
}

/// Everything the kernel told that matters here.
#[derive(Debug, Default)]
pub(super) struct State {
    links: BTreeMap<u32, Link>,
    neighbours: HashMap<NeighbourKey, Known>,
    routes: BTreeMap<RouteKey, Vec<Route>>,
    rules: Vec<Rule>,
    /// There is a route or rule that couldn't be read.
    incomplete: bool,
    /// The last table, if its ports and routes still hold: a neighbour's change doesn't rebuild them.
    built: Option<Table>,
}

impl State {
    /// Takes one fact of a snapshot.
    pub(super) fn learn(&mut self, fact: Fact) {
        match fact {
            Fact::Link(link) => {
                self.links.insert(link.index, link);
            }
            Fact::Neighbour(neighbour) => self.learn_neighbour(neighbour),
            // Several routes may stand for one prefix.
            Fact::Route(route) => self.routes.entry(route.key()).or_default().push(route),
            Fact::Rule(rule) => self.rules.push(rule),
            Fact::LinkGone(_) | Fact::NeighbourGone(_) | Fact::RouteGone(_) | Fact::Nothing => {}
            Fact::Unsettled => self.incomplete = true,
        }
    }

    /// Takes one fact of an event; `replaces` says that the kernel put a route in another one's place.
    pub(super) fn apply(&mut self, fact: Fact, replaces: bool) -> Effect {
        match fact {
            Fact::Link(link) => self.apply_link(link),
            Fact::LinkGone(index) => match self.links.remove(&index) {
                Some(_) => Effect::Resync,
                None => Effect::None,
            },
            Fact::Neighbour(neighbour) => {
                let known = self.neighbours.get(&neighbour.key).map(|known| known.neighbour);
                if known == Some(neighbour) {
                    return Effect::None;
                }
                self.learn_neighbour(neighbour);
                if known.and_then(|known| known.mac) == neighbour.mac {
                    return Effect::None;
                }
                Effect::Publish
            }
            Fact::NeighbourGone(key) => match self.neighbours.remove(&key) {
                Some(_) => Effect::Publish,
                None => Effect::None,
            },
            Fact::Route(route) => self.apply_route(route, replaces),
            Fact::RouteGone(route) => self.apply_route_gone(&route),
            Fact::Rule(_) | Fact::Unsettled => Effect::Resync,
            Fact::Nothing => Effect::None,
        }
    }

    fn learn_neighbour(&mut self, neighbour: Neighbour) {
        self.neighbours
            .entry(neighbour.key)
            .and_modify(|known| known.neighbour = neighbour)
            .or_insert_with(|| Known { neighbour, used: Arc::default() });
    }

    fn apply_link(&mut self, link: Link) -> Effect {
        let old = self.links.insert(link.index, link);
        match old {
            Some(old) if old == link => Effect::None,
            // Routes came or went with it, and not all of them are told.
            Some(old) if old.up != link.up => Effect::Resync,
            None => Effect::Resync,
            Some(_) => {
                self.built = None;
                Effect::Publish
            }
        }
    }

    fn apply_route(&mut self, route: Route, replaces: bool) -> Effect {
        let place = self.routes.entry(route.key()).or_default();
        let mut rivals = place.iter_mut().filter(|other| other.rivals(&route));
        match (rivals.next(), rivals.next()) {
            (None, _) => place.push(route),
            (Some(only), None) if *only == route => return Effect::None,
            (Some(only), None) if replaces || only.same(&route) => *only = route,
            // Appended, prepended, replaced among several: whatever it is, ask.
            _ => return Effect::Resync,
        }
        self.built = None;
        Effect::Publish
    }

    fn apply_route_gone(&mut self, route: &Route) -> Effect {
        let Some(place) = self.routes.get_mut(&route.key()) else { return Effect::None };
        let mut same = place.iter().enumerate().filter(|(_, other)| other.same(route)).map(|(nth, _)| nth);
        let (Some(nth), None) = (same.next(), same.next()) else { return Effect::Resync };
        place.remove(nth);
        if place.is_empty() {
            self.routes.remove(&route.key());
        }
        self.built = None;
        Effect::Publish
    }

    /// Keeps the marks of what was used when a new snapshot takes the place of `old`.
    pub(super) fn inherit(&mut self, old: &Self) {
        for (key, known) in &mut self.neighbours {
            if let Some(old) = old.neighbours.get(key) {
                known.used = old.used.clone();
            }
        }
    }

    /// Neighbours that are stale and were asked for since the last call, at most `limit`.
    pub(super) fn take_used_stale(&self, limit: usize) -> Vec<NeighbourKey> {
        let mut found = Vec::new();
        for known in self.neighbours.values() {
            if found.len() == limit {
                break;
            }
            // A mark on one that isn't stale stays until it is: it was used, and then the kernel gave it up.
            if known.neighbour.stale && known.used.swap(false, Ordering::Relaxed) {
                found.push(known.neighbour.key);
            }
        }
        found
    }

    /// The table to publish.
    pub(super) fn table(&mut self) -> Table {
        let neighbours = Arc::new(
            self.neighbours
                .iter()
                .map(|(&key, known)| (key, Entry { mac: known.neighbour.mac, used: known.used.clone() }))
                .collect(),
        );
        let table = match self.built.take() {
            Some(built) => Table { neighbours, ..built },
            None => Table {
                ports: self.ports().into(),
                neighbours,
                v4: Arc::new(self.routes_of(Family::V4)),
                v6: Arc::new(self.routes_of(Family::V6)),
                live: true,
            },
        };
        self.built = Some(table.clone());
        table
    }

    fn ports(&self) -> Vec<Port> {
        self.links.values().map(|link| self.port(link)).collect()
    }

    /// Follows a VLAN interface down to the one that frames leave by.
    fn port(&self, link: &Link) -> Port {
        let mut up = link.up;
        let mut device = link;
        // The outermost last, until they are turned round.
        let mut tags: Vec<Option<VlanTag>> = Vec::new();
        while let Some(vlan) = device.vlan
            && tags.len() <= MAX_TAGS
        {
            tags.push(vlan.tag);
            // A parent that isn't here is in another namespace.
            let Some(parent) = self.links.get(&vlan.parent) else { break };
            device = parent;
            up &= device.up;
        }
        let tags = match tags[..] {
            // Not at the bottom yet: too many tags, a circle, or a parent elsewhere.
            _ if device.vlan.is_some() => None,
            [] => Some(VlanTags::NONE),
            [Some(tag)] => Some(VlanTags::one(tag)),
            [Some(inner), Some(outer)] => Some(VlanTags::two(outer, inner)),
            _ => None,
        };
        Port { ifindex: link.index, device: device.index, tags, mac: link.mac, mtu: link.mtu, up }
    }

    fn routes_of(&self, family: Family) -> Routes {
        let mut local: Vec<(Prefix, ())> = Vec::new();
        let mut main: Vec<(Prefix, u32)> = Vec::new();
        let mut answers: Vec<Answer> = Vec::new();
        let mut unusual = self.incomplete || !self.rules_are_usual(family);
        for (&(_, table, prefix), routes) in self.routes.iter().filter(|((of, ..), _)| *of == family) {
            match table {
                TABLE_LOCAL => local.push((prefix, ())),
                TABLE_MAIN => {
                    if let Some(answer) = choose(routes) {
                        main.push((prefix, answers.len() as u32));
                        answers.push(answer);
                    }
                }
                // Consulted when main has no answer. Nobody uses it, so we don't follow it.
                TABLE_DEFAULT => unusual = true,
                // No rule leads there, or rules aren't usual.
                _ => {}
            }
        }
        Routes { local: Ranges::build(local), main: Ranges::build(main), answers, unusual }
    }

    /// Whether the rules are those that the kernel starts with.
    fn rules_are_usual(&self, family: Family) -> bool {
        let mut rules: Vec<Rule> = self.rules.iter().copied().filter(|rule| rule.family == family).collect();
        rules.sort_unstable();
        let usual = |priority, table| Rule { family, priority, table: Some(table) };
        let usual = [usual(0, TABLE_LOCAL), usual(32766, TABLE_MAIN), usual(32767, TABLE_DEFAULT)];
        match family {
            Family::V4 => rules == usual,
            Family::V6 => rules == usual[..2],
        }
    }
}

/// What the routes of one prefix in one table come to: the live one with the lowest metric, if there is no doubt.
/// `None` when all of them are dead, so that a shorter prefix answers.
fn choose(routes: &[Route]) -> Option<Answer> {
    let live = || routes.iter().filter(|route| !route.dead);
    let best = live().min_by_key(|route| route.metric)?;
    let doubt = live().any(|route| route.unusual || route.tos != 0)
        || live().filter(|route| route.metric == best.metric).count() > 1;
    if doubt {
        return Some(Answer::Miss(Miss::Unusual));
    }
    Some(match best.kind {
        Kind::Unicast if best.oif != 0 => Answer::Via { gateway: best.gateway, oif: best.oif, mtu: best.mtu },
        Kind::Local => Answer::Miss(Miss::Local),
        Kind::Unreachable => Answer::Miss(Miss::NoRoute),
        Kind::Unicast | Kind::Other => Answer::Miss(Miss::Unusual),
    })
}

#[cfg(test)]
#[path = "state_tests.rs"]
mod tests;
