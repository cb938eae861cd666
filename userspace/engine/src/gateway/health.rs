//! What is known of every gateway target, shared by all workers: up or down, and what was counted.
//!
//! Written when a call's fate at a target is known and when a probe is answered or not; read when a target is chosen.
//! A target is one word that is changed in one step, so that two workers never lose each other's news. Nothing here
//! is touched by messages inside a dialog.

use core::net::SocketAddr;
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};

use super::group::{Gateway, check};
use crate::config::{Config, ConfigError};

/// In [`Target::state`]: the target is down.
const DOWN: u32 = 1 << 31;

/// The health of every target of every gateway group. One for all workers of a node.
#[derive(Debug)]
pub struct GatewayHealth {
    targets: Box<[Target]>,
}

/// One target.
#[derive(Debug)]
struct Target {
    group: String,
    address: SocketAddr,
    /// Outcomes in a row that contradict the state, and [`DOWN`].
    state: AtomicU32,
    down_after: u32,
    up_after: u32,
    /// Without probes nothing would ever bring a target back, so it never goes down.
    probed: bool,
    counts: [AtomicU64; Count::ALL],
}

/// What is counted for a target.
#[derive(Clone, Copy)]
pub(crate) enum Count {
    /// Requests sent there by a rule.
    Chosen,
    /// Requests that it gave a final answer which stands.
    Answered,
    /// Requests that were sent to another target after its answer.
    FailedOver,
    /// Requests that it did not answer in time.
    TimedOut,
    /// Probes answered.
    ProbeAnswered,
    /// Probes not answered.
    ProbeLost,
    /// Times it went down.
    WentDown,
}

impl Count {
    const ALL: usize = Self::WentDown as usize + 1;
}

/// What a report says of a target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TargetReport {
    /// The group it is in.
    pub group: String,
    /// Its address.
    pub address: SocketAddr,
    /// Whether calls are sent there.
    pub up: bool,
    /// Requests sent there by a rule.
    pub chosen: u64,
    /// Requests that it gave a final answer which stands.
    pub answered: u64,
    /// Requests that were sent to another target after its answer.
    pub failed_over: u64,
    /// Requests that it did not answer in time.
    pub timed_out: u64,
    /// Probes answered.
    pub probes_answered: u64,
    /// Probes not answered in time.
    pub probes_lost: u64,
    /// Times it went down.
    pub went_down: u64,
}

impl GatewayHealth {
    /// All targets of the configuration, up.
    ///
    /// # Errors
    /// A gateway group that cannot work.
    pub fn new(config: &Config) -> Result<Self, ConfigError> {
        check(&config.gateways, &config.listen)?;
        let targets = config
            .gateways
            .iter()
            .flat_map(|gateway| gateway.targets.iter().map(|target| Target::new(gateway, target.address)));
        Ok(Self { targets: targets.collect() })
    }

    /// What is known of every target, in the order of the configuration.
    #[must_use]
    pub fn reports(&self) -> Vec<TargetReport> {
        self.targets.iter().map(Target::report).collect()
    }

    /// Whether it was made for these groups.
    pub(crate) fn fits(&self, gateways: &[Gateway]) -> bool {
        let all = gateways.iter().flat_map(|g| g.targets.iter().map(move |t| (&g.name, t.address)));
        self.targets.iter().map(|t| (&t.group, t.address)).eq(all)
    }

    pub(crate) fn is_up(&self, target: usize) -> bool {
        self.targets.get(target).is_some_and(|t| t.state.load(Relaxed) & DOWN == 0)
    }

    pub(crate) fn count(&self, target: usize, count: Count) {
        if let Some(target) = self.targets.get(target) {
            target.count(count);
        }
    }

    /// The target answered.
    pub(crate) fn works(&self, target: usize) {
        if let Some(target) = self.targets.get(target).filter(|t| t.probed) {
            target.outcome(true);
        }
    }

    /// The target did not answer, or that it cannot.
    pub(crate) fn fails(&self, target: usize) {
        if let Some(target) = self.targets.get(target).filter(|t| t.probed) {
            target.outcome(false);
        }
    }
}

impl Target {
    fn new(gateway: &Gateway, address: SocketAddr) -> Self {
        let probe = gateway.probe.unwrap_or_default();
        Self {
            group: gateway.name.clone(),
            address,
            state: AtomicU32::new(0),
            down_after: probe.down_after,
            up_after: probe.up_after,
            probed: gateway.probe.is_some(),
            counts: [const { AtomicU64::new(0) }; Count::ALL],
        }
    }

    fn count(&self, count: Count) {
        if let Some(slot) = self.counts.get(count as usize) {
            slot.fetch_add(1, Relaxed);
        }
    }

    fn outcome(&self, good: bool) {
        let step = |state: u32| {
            let (down, run) = (state & DOWN != 0, state & !DOWN);
            let enough = if down { self.up_after } else { self.down_after };
            // A good outcome contradicts being down, a bad one being up.
            Some(match (down == good, run + 1 >= enough) {
                (false, _) => state & DOWN,
                (true, false) => state + 1,
                (true, true) => (state ^ DOWN) & DOWN,
            })
        };
        // While it is up and works, which is nearly always, the cache line stays where it is.
        if good && self.state.load(Relaxed) == 0 {
            return;
        }
        if let Ok(before) = self.state.fetch_update(Relaxed, Relaxed, step)
            && before & DOWN == 0
            && step(before).is_some_and(|after| after & DOWN != 0)
        {
            self.count(Count::WentDown);
        }
    }

    fn report(&self) -> TargetReport {
        let of = |count: Count| self.counts.get(count as usize).map_or(0, |slot| slot.load(Relaxed));
        TargetReport {
            group: self.group.clone(),
            address: self.address,
            up: self.state.load(Relaxed) & DOWN == 0,
            chosen: of(Count::Chosen),
            answered: of(Count::Answered),
            failed_over: of(Count::FailedOver),
            timed_out: of(Count::TimedOut),
            probes_answered: of(Count::ProbeAnswered),
            probes_lost: of(Count::ProbeLost),
            went_down: of(Count::WentDown),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gateway::Probe;
    use proptest::prelude::*;

    fn target(down_after: u32, up_after: u32) -> Target {
        let probe = Some(Probe { down_after, up_after, ..Probe::default() });
        let address = "10.0.0.9:5060".parse().expect("address");
        Target::new(&Gateway { probe, ..Gateway::new("g", &[address]) }, address)
    }

    proptest! {
        /// Against the sentence in the documentation: it goes down after so many failures in a row, and up after so
        /// many answers in a row.
        #[test]
        fn thresholds_count_in_a_row(
            down_after in 1u32..5,
            up_after in 1u32..5,
            outcomes in prop::collection::vec(any::<bool>(), 0..200),
        ) {
            let target = target(down_after, up_after);
            let (mut up, mut downs) = (true, 0);
            // Outcomes since the last change.
            let mut since: Vec<bool> = Vec::new();
            for good in outcomes {
                target.outcome(good);
                since.push(good);
                let run = since.iter().rev().take_while(|g| **g != up).count() as u32;
                if run >= if up { down_after } else { up_after } {
                    up = !up;
                    downs += u64::from(!up);
                    since.clear();
                }
                prop_assert_eq!(target.report().up, up);
                prop_assert_eq!(target.report().went_down, downs);
            }
        }
    }

    #[test]
    fn workers_do_not_lose_each_others_news() {
        let target = target(40_000, 1);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| (0..10_000).for_each(|_| target.outcome(false)));
            }
        });
        assert!(!target.report().up, "forty thousand failures were counted");
        assert_eq!(target.report().went_down, 1);
    }

    #[test]
    fn without_probes_nothing_goes_down() {
        let address = "10.0.0.9:5060".parse().expect("address");
        let config = Config {
            listen: vec!["10.0.0.2:5060".parse().expect("address")],
            gateways: vec![Gateway::new("g", &[address])],
            ..Config::default()
        };
        let health = GatewayHealth::new(&config).expect("valid");
        (0..100).for_each(|_| health.fails(0));
        assert!(health.is_up(0) && !health.is_up(1), "there is no second target");
        assert!(health.fits(&config.gateways) && !health.fits(&[]));
    }
}
