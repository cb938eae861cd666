//! What a session does, as data: its turns in their order. `session` takes them.

use std::time::Duration;

use strowger_report::session::{COPY, FLOOR, GENERIC, KAMAILIO, OFF, Quantity};
use strowger_report::targets::BUSY;

use super::peers::Peer;

/// What a session is to be.
#[derive(Clone, Debug)]
pub struct Plan {
    /// `quick` or `full`.
    pub kind: &'static str,
    /// Rounds at most.
    pub rounds: u32,
    /// No turn begins after this.
    pub limit: Duration,
    /// The steady window at a given rate.
    pub window: Duration,
    /// The steady window of a step of a search.
    pub step: Duration,
    /// A search is told to end after this.
    pub search_limit: Duration,
    /// Kamailio's numbers of workers that are tried.
    pub sweep: Vec<u32>,
    /// Users whose bindings are weighed; none: memory is not measured.
    pub weighed: Option<u32>,
    /// Numbers of users for the chart.
    pub bindings: Vec<u32>,
    /// Numbers of live dialogs for the chart.
    pub dialogs: Vec<u32>,
}

impl Plan {
    /// Under five minutes.
    pub fn quick() -> Self {
        Self {
            kind: "quick",
            rounds: 1,
            limit: Duration::from_secs(4 * 60 + 20),
            window: Duration::from_secs(4),
            step: Duration::from_millis(1500),
            search_limit: Duration::from_secs(25),
            sweep: Vec::new(),
            weighed: None,
            bindings: Vec::new(),
            dialogs: Vec::new(),
        }
    }

    /// As long as is given.
    pub fn full(limit: Duration) -> Self {
        Self {
            kind: "full",
            rounds: 3,
            limit,
            window: Duration::from_secs(5),
            step: Duration::from_millis(2000),
            search_limit: Duration::from_secs(40),
            // Two are tried by themselves.
            sweep: vec![1, 4],
            weighed: Some(100_000),
            bindings: vec![1_000, 10_000, 100_000, 1_000_000],
            dialogs: vec![1_000, 10_000, 100_000, 200_000],
        }
    }

    /// The turns, in their order.
    pub fn turns(&self, peers: &[Peer]) -> Vec<Turn> {
        let known = |keys: &[&str]| -> Vec<String> {
            let mut found: Vec<String> = keys.iter().map(|key| (*key).to_owned()).collect();
            // Whoever was brought along takes part in everything but the floor's place.
            let ours = [FLOOR, KAMAILIO, OFF, GENERIC, COPY, BUSY];
            found.extend(
                peers.iter().filter(|peer| !ours.contains(&peer.key.as_str())).map(|peer| peer.key.clone()),
            );
            found.retain(|key| peers.iter().any(|peer| &peer.key == key));
            found
        };
        let quick = self.kind == "quick";
        let search = |turns: &mut Vec<Turn>, scenario: &str, round, keys: &[&str]| {
            turns.extend(known(keys).into_iter().map(|peer| Turn::Search {
                peer,
                scenario: scenario.into(),
                round,
            }));
        };
        let mut turns = Vec::new();
        for round in 0..self.rounds {
            // First what targets depend on, so that a session that is cut short has that at least.
            turns.push(Turn::Echo { round });
            for rate in [4000.0, 8000.0] {
                for peer in known(&[FLOOR, KAMAILIO, OFF, COPY]) {
                    turns.push(Turn::Cost { peer, rate, round });
                }
            }
            for peer in known(&[FLOOR, KAMAILIO, COPY, BUSY]) {
                turns.push(Turn::Latency { peer, round });
            }
            search(&mut turns, "call", round, &[KAMAILIO, COPY]);
            search(&mut turns, "register-digest", round, &[KAMAILIO, COPY]);
            if quick {
                search(&mut turns, "call", round, &[FLOOR, OFF]);
                continue;
            }
            if round == 0 {
                turns.extend(self.weighed.map(|users| Turn::Weigh { users }));
                search(&mut turns, "call", round, &[FLOOR]);
                turns.extend(self.sweep.iter().map(|workers| Turn::Sweep { workers: *workers }));
                let scale = |quantity, sizes: &[u32]| -> Vec<Turn> {
                    sizes.iter().map(|size| Turn::Scale { quantity, size: *size }).collect()
                };
                turns.extend(scale(Quantity::Bindings, &self.bindings));
                turns.extend(scale(Quantity::Dialogs, &self.dialogs));
            }
            search(&mut turns, "call", round, &[OFF]);
            search(&mut turns, "register-digest", round, &[OFF]);
            for peer in known(&[OFF]) {
                turns.push(Turn::Latency { peer, round });
            }
            for rate in [4000.0, 8000.0] {
                turns.extend(known(&[GENERIC]).into_iter().map(|peer| Turn::Cost { peer, rate, round }));
            }
            if round == 0 {
                search(&mut turns, "call", round, &[GENERIC]);
                for scenario in ["register", "message", "options"] {
                    search(&mut turns, scenario, round, &[KAMAILIO, OFF, COPY]);
                }
            }
        }
        turns
    }
}

/// One turn.
#[derive(Clone, Debug, PartialEq)]
pub enum Turn {
    /// The reflector.
    Echo {
        /// From 0, as everywhere here.
        round: u32,
    },
    /// The highest call rate of Kamailio.
    Sweep {
        /// With so many workers.
        workers: u32,
    },
    /// A highest rate.
    Search {
        /// Whose, by its key.
        peer: String,
        /// At what: the file's name without its ending.
        scenario: String,
        /// In which round.
        round: u32,
    },
    /// Processor time at a rate.
    Cost {
        /// Whose, by its key.
        peer: String,
        /// Calls a second.
        rate: f64,
        /// In which round.
        round: u32,
    },
    /// Latency at a low rate.
    Latency {
        /// Whose, by its key.
        peer: String,
        /// In which round.
        round: u32,
    },
    /// Memory of bindings.
    Weigh {
        /// So many of them.
        users: u32,
    },
    /// Processor time at a size.
    Scale {
        /// Of what.
        quantity: Quantity,
        /// So many of them.
        size: u32,
    },
}

impl Turn {
    /// For the terminal, and for the list of what was left out.
    pub fn name(&self) -> String {
        match self {
            Self::Echo { round } => format!("round {}: reflector", round + 1),
            Self::Sweep { workers } => format!("round 1: kamailio with {workers} workers, highest call rate"),
            Self::Search { peer, scenario, round } => {
                format!("round {}: {peer}, highest {scenario} rate", round + 1)
            }
            Self::Cost { peer, rate, round } => format!("round {}: {peer}, call at {rate:.0}/s", round + 1),
            Self::Latency { peer, round } => format!("round {}: {peer}, latency", round + 1),
            Self::Weigh { users } => format!("memory of {users} bindings"),
            Self::Scale { quantity: Quantity::Bindings, size } => format!("cost with {size} bindings"),
            Self::Scale { quantity: Quantity::Dialogs, size } => format!("cost with {size} live dialogs"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::peers;

    #[test]
    fn every_round_has_its_turns_and_peers_alternate() {
        let plan = Plan::full(Duration::from_secs(1));
        let turns = plan.turns(&peers::own());
        let costs: Vec<&str> = turns
            .iter()
            .filter_map(|turn| match turn {
                Turn::Cost { peer, rate: 4000.0, .. } => Some(peer.as_str()),
                _ => None,
            })
            .collect();
        assert_eq!(costs.len(), 15);
        assert!(costs.windows(2).all(|pair| pair[0] != pair[1]), "{costs:?}");
        let turn = |wanted: fn(&Turn) -> bool| turns.iter().position(wanted).unwrap();
        let digest =
            turn(|turn| matches!(turn, Turn::Search { scenario, .. } if scenario == "register-digest"));
        assert!(digest < turn(|turn| matches!(turn, Turn::Scale { .. })), "what targets need comes first");
        let searched = |key: &str| {
            turns.iter().filter(|turn| matches!(turn, Turn::Search { peer, scenario, .. } if peer == key && scenario == "call")).count()
        };
        assert_eq!((searched(COPY), searched(KAMAILIO)), (3, 3), "and more by the sweep");
        assert!(turns.iter().any(|turn| matches!(turn, Turn::Scale { size: 1_000_000, .. })));
        let without: Vec<Peer> = peers::own().into_iter().filter(|peer| peer.key != KAMAILIO).collect();
        assert!(Plan::quick().turns(&without).iter().all(|turn| !turn.name().contains("kamailio")));
    }
}
