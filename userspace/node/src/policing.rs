//! Policing from userspace: here it is decided who is allowed, banned and known; the XDP program enforces it.
//!
//! Everything here runs on the control side's thread, off the way of messages. What workers have seen of sources comes by
//! one bounded queue from each of them. Who may be banned by what he does: a source that has answered our own
//! challenges wrongly again and again, and nobody else, because the address of any other message can be made up and a ban would
//! then be a weapon against whoever is named. Against all others there are budgets. Who is allowed is never banned.

mod bans;
pub(crate) mod client;
mod scores;

use std::cell::RefCell;
use std::net::IpAddr;
use std::time::Duration;

use rtrb::{Consumer, Producer, RingBuffer};
use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};
use strowger_engine::{IpPrefix, Sighting};
use strowger_xdp::{AccessList, KnownSources, MapError, Network, Program};

use self::bans::{Ban, Bans};
use self::scores::{Outcome, Rules, Scores};
use crate::config::Config;
use crate::fault::Fault;
use crate::handover::GivenBan;

/// Sightings of one worker that wait for us: as many as it can have in one of our turns.
pub(crate) const WAITING: usize = 4096;

strowger_engine::counters! {
    /// What policing has done.
    pub(crate) enum Act, struct Acts {
        /// Times that a source was published as known: it has registered.
        Published = "published",
        /// Wrong answers to our own challenges.
        Guesses = "guesses",
        /// Of those, not scored because too many sources have a score.
        Unscored = "unscored",
        /// Sources banned for guessing.
        BannedGuessing = "banned_guessing",
        /// Sources not banned for guessing, because they are allowed or the table has no room.
        NotBanned = "not_banned",
        /// Bans by an operator.
        BannedOperator = "banned_operator",
        /// Bans that an operator took back.
        Unbanned = "unbanned",
        /// Bans that were over.
        BansOver = "bans_over",
        /// Bans that ended early because the table had no room for both.
        Evicted = "evicted",
    }
}

/// Why somebody is banned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Why {
    /// `policing.deny`
    Configuration,
    /// `strowger ban add`
    Operator,
    /// Too many wrong passwords.
    Guessing,
}

/// A ban, as it is shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Shown {
    /// ADDRESS/BITS.
    pub network: String,
    /// Seconds left; none for no end.
    pub seconds: Option<u64>,
    /// Who wanted it.
    pub why: Why,
}

/// The answer to `strowger ban list`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Listing {
    /// By address.
    pub bans: Vec<Shown>,
}

/// The answer to `strowger ban add` and `strowger ban remove`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Changed {
    /// Why nothing was.
    pub refused: Option<String>,
}

/// See the head of this file.
pub(crate) struct Police(RefCell<State>);

/// The workers' ends of the queues by which they tell what they have seen of sources.
pub(crate) type Lines = Vec<Producer<Sighting>>;

struct State {
    access: AccessList,
    known: Option<KnownSources>,
    sightings: Vec<Consumer<Sighting>>,
    scores: Scores,
    allowed: Vec<IpPrefix>,
    bans: Bans,
    acts: Acts,
    /// How often the device had been opened again when the program was told.
    reopened: u64,
}

impl Police {
    /// Tells a loaded program who is allowed and who is banned from the beginning. `None` when nothing is policed. The
    /// second part are the workers' ends.
    pub(crate) fn start(
        config: &Config,
        program: &mut Program,
        workers: usize,
    ) -> Result<Option<(Police, Lines)>, Fault> {
        let wanted = &config.policing;
        let Some(mut access) = program.access_list().filter(|_| wanted.is_on()) else { return Ok(None) };
        let fault = |key: &str, network: &IpPrefix, error: MapError| {
            Fault::Other(format!("{key}: {network}: {error}"))
        };
        // Gateways that are asked for credentials all the same carry the calls of many.
        let gateways = config.gateways.values().flat_map(|gateway| gateway.targets.iter());
        let allowed = (wanted.allow.iter().map(|network| ("policing.allow", network.0)))
            .chain(config.auth.trusted.iter().map(|network| ("auth.trusted", network.0)))
            .chain(gateways.map(|target| ("gateways", IpPrefix::host(target.address.ip()))));
        let mut trusted = Vec::new();
        for (key, network) in allowed {
            access.trust(shape(&network)).map_err(|error| fault(key, &network, error))?;
            trusted.push(network);
        }
        let allowed = trusted;
        let mut bans = Bans::default();
        for network in wanted.deny.iter().map(|network| network.0) {
            access.ban_network(shape(&network)).map_err(|error| fault("policing.deny", &network, error))?;
            bans.insert(network, Ban { until: None, why: Why::Configuration, network: true });
        }
        let (ours, theirs) = (0..workers).map(|_| RingBuffer::new(WAITING)).map(|(p, c)| (c, p)).unzip();
        let rules = Rules {
            guesses: wanted.guesses,
            first: Duration::from_secs(wanted.ban_time.into()),
            longest: Duration::from_secs(wanted.max_ban_time.into()),
        };
        let state = State {
            access,
            known: program.known_sources(),
            sightings: ours,
            scores: Scores::new(rules),
            allowed,
            bans,
            acts: Acts::new(),
            reopened: 0,
        };
        Ok(Some((Police(RefCell::new(state)), theirs)))
    }

    /// Tells the program of a device that was opened again who is allowed, who is banned and who is known, once.
    /// `reopened`: how often that was done to a device.
    pub(crate) fn follow(&self, program: &mut Program, reopened: u64) {
        let mut state = self.0.borrow_mut();
        if state.reopened == reopened {
            return;
        }
        state.reopened = reopened;
        let Some(access) = program.access_list() else { return };
        state.access = access;
        let before = std::mem::replace(&mut state.known, program.known_sources());
        if let (Some(known), Some(before)) = (&state.known, before)
            && !known.take_over(&before)
        {
            tracing::error!(
                "who was known has to register again: the program that is back has another table"
            );
        }
        state.tell_all_again();
    }

    /// All bans but those of the configuration, for the node that takes this one's place.
    pub(crate) fn hand_over(&self) -> Vec<GivenBan> {
        let state = self.0.borrow();
        let made = state.bans.iter().filter(|(_, ban)| ban.why != Why::Configuration);
        let given = made.map(|(network, ban)| GivenBan {
            network: network.to_string(),
            until_ns: ban.until.map(nanos),
            why: ban.why,
        });
        given.collect()
    }

    /// Bans whom the node before had banned, as far as he may be here and his time is not over; how many. Why somebody was
    /// banned is remembered, how often he has been is not.
    pub(crate) fn inherit(&self, bans: &[GivenBan]) -> usize {
        let now = monotonic();
        let mut state = self.0.borrow_mut();
        let mut held = 0;
        for ban in bans {
            let left = ban.until_ns.map(|until| Duration::from_nanos(until).saturating_sub(now));
            let Ok(network) = ban.network.parse::<IpPrefix>() else { continue };
            if left == Some(Duration::ZERO) || state.bans.get(&network).is_some() {
                continue;
            }
            match state.ban(network, now, left, ban.why) {
                Ok(()) => held += 1,
                Err(why) => tracing::warn!(%network, why, "was banned by the node before, and is not here"),
            }
        }
        held
    }

    /// Takes what workers have seen, and ends what is over. Called every now and then.
    pub(crate) fn turn(&self) {
        let now = monotonic();
        let mut state = self.0.borrow_mut();
        // In this order: what is over stands in nobody's way.
        state.end_what_is_over(now);
        state.take_sightings(now);
    }

    /// All bans that hold.
    pub(crate) fn list(&self) -> Listing {
        let now = monotonic();
        let state = self.0.borrow();
        let bans = state.bans.iter().map(|(network, ban)| Shown {
            network: network.to_string(),
            seconds: ban.until.map(|until| until.saturating_sub(now).as_secs()),
            why: ban.why,
        });
        Listing { bans: bans.collect() }
    }

    /// An operator bans `network`, for so many seconds or until it is taken back.
    pub(crate) fn add(&self, network: &str, seconds: Option<u64>) -> Changed {
        let done = self.0.borrow_mut().by_operator(network, seconds);
        Changed { refused: done.err() }
    }

    /// An operator takes a ban back, whoever made it.
    pub(crate) fn remove(&self, network: &str) -> Changed {
        let done = self.0.borrow_mut().take_back(network);
        Changed { refused: done.err() }
    }

    /// What was done so far, and how many bans hold.
    pub(crate) fn report(&self) -> (Acts, u64) {
        let state = self.0.borrow();
        (state.acts.clone(), state.bans.len() as u64)
    }
}

impl State {
    fn tell_all_again(&mut self) {
        for network in &self.allowed {
            if let Err(error) = self.access.trust(shape(network)) {
                tracing::error!(%network, %error, "cannot be allowed on the device that is back");
            }
        }
        let now = monotonic();
        for (network, ban) in self.bans.iter() {
            let done = match ban.until {
                Some(until) if !ban.network => {
                    self.access.ban(network.address(), nanos(now), nanos(until)).map(drop)
                }
                _ => self.access.ban_network(shape(network)),
            };
            if let Err(error) = done {
                tracing::error!(%network, %error, "cannot be banned on the device that is back");
            }
        }
    }

    fn take_sightings(&mut self, now: Duration) {
        for at in 0..self.sightings.len() {
            // What comes meanwhile is for the next turn.
            for _ in 0..WAITING {
                let Some(Ok(sighting)) = self.sightings.get_mut(at).map(Consumer::pop) else { break };
                match sighting {
                    Sighting::Registered { source, until } => {
                        self.acts.count(Act::Published);
                        self.scores.forgive(whole(source));
                        if let Some(known) = &self.known {
                            known.publish(source, nanos(now), until.as_nanos());
                        }
                    }
                    Sighting::Guessed { source } => self.guessed(whole(source), now),
                }
            }
        }
    }

    fn guessed(&mut self, source: IpPrefix, now: Duration) {
        self.acts.count(Act::Guesses);
        let long = match self.scores.guess(source, now) {
            Outcome::Scored => return,
            Outcome::NoRoom => return self.acts.count(Act::Unscored),
            Outcome::Ban(long) => long,
        };
        // Messages that were on their way when it was banned still count.
        if self.bans.stands(&source, now.saturating_add(long)) {
            return;
        }
        match self.ban(source, now, Some(long), Why::Guessing) {
            Ok(()) => {
                self.acts.count(Act::BannedGuessing);
                tracing::warn!(network = %source, seconds = long.as_secs(), "banned: too many wrong passwords");
            }
            Err(why) => {
                self.acts.count(Act::NotBanned);
                tracing::warn!(network = %source, why, "too many wrong passwords, and not banned");
            }
        }
    }

    /// A single address that is banned for some time goes where bans end by themselves, all else with the networks. Where
    /// there is no room the ban ends that would have ended first; of networks only one for guessing.
    fn ban(
        &mut self,
        network: IpPrefix,
        now: Duration,
        long: Option<Duration>,
        why: Why,
    ) -> Result<(), String> {
        let until = long.map(|long| now.saturating_add(long));
        let single = IpPrefix::host(network.address()) == network;
        let old = self.bans.get(&network);
        let mut evicted = None;
        let as_network = !single || until.is_none();
        if as_network {
            evicted = self.bans.room(&network, why)?;
            self.access.ban_network(shape(&network)).map_err(|error| error.to_string())?;
        } else if let Some(until) = until {
            let ended =
                self.access.ban(network.address(), nanos(now), nanos(until)).map_err(|e| e.to_string())?;
            if let Some(address) = ended {
                self.acts.count(Act::Evicted);
                self.bans.remove(&IpPrefix::host(address));
            }
        }
        // The other table's, if it was there.
        match old {
            Some(old) if old.network && !as_network => self.lift_network(&network)?,
            Some(old) if !old.network && as_network => _ = self.access.unban(network.address()),
            _ => {}
        }
        self.bans.insert(network, Ban { until, why, network: as_network });
        // At last, for a ban that is refused ends no other: the program's table has more room than ours.
        if let Some(evicted) = evicted {
            self.lift_network(&evicted)?;
            self.bans.remove(&evicted);
            self.acts.count(Act::Evicted);
        }
        Ok(())
    }

    fn lift_network(&mut self, network: &IpPrefix) -> Result<(), String> {
        self.access.unban_network(shape(network)).map_err(|error| error.to_string())
    }

    fn by_operator(&mut self, network: &str, seconds: Option<u64>) -> Result<(), String> {
        let network: IpPrefix = network.parse().map_err(|error| format!("`{network}` {error}"))?;
        self.ban(network, monotonic(), seconds.map(Duration::from_secs), Why::Operator)?;
        self.acts.count(Act::BannedOperator);
        tracing::warn!(%network, seconds, "banned: an operator wants it");
        Ok(())
    }

    fn take_back(&mut self, network: &str) -> Result<(), String> {
        let network: IpPrefix = network.parse().map_err(|error| format!("`{network}` {error}"))?;
        let Some(ban) = self.bans.get(&network) else {
            return Err(format!("{network} is not banned; `strowger ban list` shows what is"));
        };
        match ban.network {
            true => self.lift_network(&network)?,
            false => _ = self.access.unban(network.address()),
        }
        self.bans.remove(&network);
        self.acts.count(Act::Unbanned);
        tracing::warn!(%network, "not banned any more: an operator wants it");
        Ok(())
    }

    fn end_what_is_over(&mut self, now: Duration) {
        for network in self.bans.over(now) {
            let Some(ban) = self.bans.remove(&network) else { continue };
            if ban.network
                && let Err(error) = self.lift_network(&network)
            {
                tracing::error!(%network, error, "cannot be unbanned");
                self.bans.insert(network, ban);
                continue;
            }
            self.acts.count(Act::BansOver);
            tracing::info!(%network, "not banned any more: its time is over");
        }
    }
}

/// What one host has to send from: its address, or its /64.
fn whole(source: IpAddr) -> IpPrefix {
    match source.to_canonical() {
        v6 @ IpAddr::V6(_) => IpPrefix::around(v6, 64).unwrap_or(IpPrefix::host(v6)),
        v4 @ IpAddr::V4(_) => IpPrefix::host(v4),
    }
}

/// As the program's loader has it.
fn shape(network: &IpPrefix) -> Network {
    // A prefix has no more bits than its family.
    Network::new(network.address(), network.length()).unwrap_or(Network::from(network.address()))
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// CLOCK_MONOTONIC, which the program and the engines go by.
fn monotonic() -> Duration {
    let now = clock_gettime(ClockId::Monotonic);
    // Neither is ever negative.
    Duration::new(now.tv_sec.cast_unsigned(), now.tv_nsec as u32)
}
