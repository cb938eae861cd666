//! `policing:`, who is refused before he costs anything, and what is wrong with that section.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use strowger_engine::PingFacts;
use strowger_xdp::ping::MAX_PEERS;
use strowger_xdp::{Budgets, Junk as DropOrPass, MAX_KNOWN, Pings};

use super::Network;

/// Sources whose budgets the program keeps: 4 MiB. Newcomers beyond inherit the budgets of those who owe least.
const SOURCES: u32 = 1 << 18;
/// Networks that may be allowed, and that may be denied: with those of `auth.trusted`, the gateways, and operators' bans
/// they are to fit the program's table.
const NETWORKS: usize = 4096;
/// Seconds of the longest ban: thirty days.
const LONGEST: u32 = 30 * 86_400;

/// `policing:`; everything is off by default, and costs nothing then.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Policing {
    /// Whether sources can be banned.
    pub bans: bool,
    /// Networks that are neither banned nor limited, besides `auth.trusted` and the gateways.
    pub allow: Vec<Network>,
    /// Networks that are banned for as long as the node runs.
    pub deny: Vec<Network>,
    /// Packets a second from a source that is not registered; 0 for any number.
    pub unknown_pps: u32,
    /// Packets a second from one that is; 0 for any number.
    pub known_pps: u32,
    /// Packets at once, from either.
    pub burst: u32,
    /// Packets a second from all unknown sources together, on each CPU that receives; 0 for any number.
    pub strangers_pps: u32,
    /// What happens to what is not SIP by its first bytes.
    pub junk: Junk,
    /// Whether the XDP program answers STUN Binding requests by itself.
    pub answer_stun: bool,
    /// Peers whose plain OPTIONS pings it answers by itself.
    pub answer_options: Vec<IpAddr>,
    /// Wrong answers to our own challenges, in quick succession, for which their source is banned; 0 for never.
    pub guesses: u32,
    /// Seconds of a source's first ban for that; each further one is twice as long.
    pub ban_time: u32,
    /// Seconds of the longest.
    pub max_ban_time: u32,
}

impl Default for Policing {
    fn default() -> Self {
        Policing {
            bans: false,
            allow: Vec::new(),
            deny: Vec::new(),
            unknown_pps: 0,
            known_pps: 0,
            burst: 100,
            strangers_pps: 0,
            junk: Junk::Pass,
            answer_stun: false,
            answer_options: Vec::new(),
            guesses: 0,
            ban_time: 300,
            max_ban_time: 86_400,
        }
    }
}

/// `policing.junk`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Junk {
    /// The workers see it.
    #[default]
    Pass,
    /// The program drops it.
    Drop,
}

impl Policing {
    /// Whether anything is asked for that only the XDP program does.
    pub(crate) fn is_on(&self) -> bool {
        self.bans
            || self.unknown_pps > 0
            || self.junk == Junk::Drop
            || self.answer_stun
            || !self.answer_options.is_empty()
    }

    /// The first value that cannot work: its key below `policing`, and why.
    pub(super) fn problem(&self) -> Option<(&'static str, String)> {
        let wrong = |key, problem: &str| Some((key, problem.to_owned()));
        match (self.unknown_pps, self.known_pps) {
            (0, 0) if self.strangers_pps > 0 => {
                return wrong("strangers_pps", "needs unknown_pps and known_pps");
            }
            (0, 1..) => return wrong("unknown_pps", "missing, and known_pps is set: both or neither"),
            (1.., 0) => return wrong("known_pps", "missing, and unknown_pps is set: both or neither"),
            (unknown, known) if unknown > known => {
                return Some((
                    "known_pps",
                    format!(
                        "{known} is less than the {unknown} of unknown sources: registering would be punished"
                    ),
                ));
            }
            _ => {}
        }
        // The program's clock moves by the kernel's tick of up to 10 ms, and a burst holds what comes in two of them.
        let least = self.known_pps.div_ceil(50).max(1);
        if self.burst < least {
            return Some(("burst", format!("{} is less than a fiftieth of known_pps, {least}", self.burst)));
        }
        for (key, list) in [("allow", &self.allow), ("deny", &self.deny)] {
            if list.len() > NETWORKS {
                return Some((key, format!("{} networks are more than {NETWORKS}", list.len())));
            }
        }
        if self.answer_options.len() > MAX_PEERS {
            let count = self.answer_options.len();
            return Some(("answer_options", format!("{count} peers are more than {MAX_PEERS}")));
        }
        if !self.bans && !self.deny.is_empty() {
            return wrong("deny", "needs bans: true");
        }
        if !self.bans && self.guesses > 0 {
            return wrong("guesses", "needs bans: true");
        }
        // Phones try a wrong password a few times; somebody who has mistyped his is no attacker.
        if (1..3).contains(&self.guesses) {
            return wrong("guesses", "fewer than 3 would ban people who mistype; 0 is never");
        }
        if !(1..=LONGEST).contains(&self.ban_time) {
            return Some(("ban_time", format!("{} is not 1 to {LONGEST} seconds", self.ban_time)));
        }
        if !(self.ban_time..=LONGEST).contains(&self.max_ban_time) {
            return Some((
                "max_ban_time",
                format!("{} is not {} (ban_time) to {LONGEST} seconds", self.max_ban_time, self.ban_time),
            ));
        }
        None
    }

    /// What the program is told. `bindings`: those that there may be.
    pub(crate) fn program(&self, bindings: usize) -> strowger_xdp::Policing {
        let known_room = u32::try_from(bindings).unwrap_or(MAX_KNOWN).min(MAX_KNOWN);
        strowger_xdp::Policing {
            bans: self.bans,
            junk: match self.junk {
                Junk::Pass => DropOrPass::Pass,
                Junk::Drop => DropOrPass::Drop,
            },
            budgets: (self.unknown_pps > 0).then_some(Budgets {
                unknown_pps: self.unknown_pps,
                known_pps: self.known_pps,
                burst: self.burst,
                strangers_pps: self.strangers_pps,
                room: SOURCES,
                known_room,
            }),
            answer_stun: self.answer_stun,
            answer_options: !self.answer_options.is_empty(),
        }
    }

    /// The pings that the program answers in the place of an engine with this configuration.
    pub(crate) fn pings(&self, engine: &strowger_engine::Config) -> Pings {
        let PingFacts { uris, offered, tag_key, tag_digits } = PingFacts::of(engine);
        Pings { uris, offered, tag_key, tag_digits, peers: self.answer_options.clone() }
    }
}
