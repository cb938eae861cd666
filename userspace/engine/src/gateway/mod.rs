//! Gateway groups: which target gets a call, when the next one is tried, and who of them is alive.
//!
//! Asked by the element when a rule names a group. A call's Call-ID decides among targets of one priority by
//! rendezvous hashing: each target draws a number from the Call-ID and its own address, weighted, and the highest
//! wins. So retransmissions meet the same target without any memory, weights hold, and a target that goes away moves
//! its own calls and no others. What is known of targets is in [`GatewayHealth`], shared by workers; who asks them
//! is [`Prober`].

mod group;
mod health;
mod probe;

use core::net::{IpAddr, SocketAddr};
use std::sync::Arc;

pub(crate) use group::check;
pub use group::{Gateway, GatewayTarget, Probe};
use health::Count;
pub use health::{GatewayHealth, TargetReport};
pub(crate) use probe::Prober;

use crate::config::{Config, ConfigError};
use crate::keys::{Keys, Prf};

/// A target that was chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Choice {
    /// Index in its group, which is its bit in [`Tried`].
    pub(crate) target: u8,
    pub(crate) address: SocketAddr,
}

/// The targets of a group that a request was sent to already: one bit each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tried(pub(crate) u32);

impl Tried {
    pub(crate) fn with(self, target: u8) -> Self {
        Self(self.0 | 1u32.checked_shl(u32::from(target)).unwrap_or(0))
    }

    fn has(self, target: u8) -> bool {
        self.0 & 1u32.checked_shl(u32::from(target)).unwrap_or(0) != 0
    }
}

struct Target {
    address: SocketAddr,
    /// Hash of the address: what makes its draws its own, wherever it stands in the list.
    seed: u64,
    weight: f64,
    priority: u16,
}

struct Group {
    /// Index of its first target among those of all groups.
    first: usize,
    targets: Box<[Target]>,
    failover: Box<[u16]>,
    trusted: bool,
}

/// The gateway groups of a node, as one worker sees them.
pub(crate) struct Gateways {
    groups: Box<[Group]>,
    health: Arc<GatewayHealth>,
}

impl Gateways {
    /// The groups of a configuration that was checked, with health of their own.
    pub(crate) fn new(config: &Config, keys: &Keys) -> Result<Self, ConfigError> {
        let mut first = 0;
        let groups = config.gateways.iter().map(|gateway| {
            let targets: Box<[Target]> = gateway
                .targets
                .iter()
                .map(|target| Target {
                    address: target.address,
                    seed: Prf::new(&keys.spread).address(target.address).finish(),
                    weight: f64::from(target.weight),
                    priority: target.priority,
                })
                .collect();
            let group =
                Group { first, failover: gateway.failover.clone().into(), trusted: gateway.trusted, targets };
            first += group.targets.len();
            group
        });
        Ok(Self { groups: groups.collect(), health: Arc::new(GatewayHealth::new(config)?) })
    }

    /// Takes the health that other workers have too.
    pub(crate) fn share(&mut self, health: Arc<GatewayHealth>) {
        self.health = health;
    }

    /// What decides among targets: a keyed hash of the Call-ID, so that nobody can aim at one of them.
    pub(crate) fn call(keys: &Keys, call_id: &[u8]) -> u64 {
        Prf::new(&keys.spread).field(call_id).finish()
    }

    /// The target for a call: of those that are up and were not tried, one of the lowest priority number, by weight.
    /// `None` when there is none left.
    pub(crate) fn choose(&self, group: u16, call: u64, tried: Tried) -> Option<Choice> {
        let group = self.groups.get(usize::from(group))?;
        let mut best: Option<(u16, f64, Choice)> = None;
        for (at, target) in group.targets.iter().enumerate() {
            let index = u8::try_from(at).ok()?;
            if tried.has(index) || !self.health.is_up(group.first + at) {
                continue;
            }
            let draw = draw(call ^ target.seed, target.weight);
            if best.as_ref().is_none_or(|(priority, highest, _)| {
                target.priority < *priority || (target.priority == *priority && draw > *highest)
            }) {
                best = Some((target.priority, draw, Choice { target: index, address: target.address }));
            }
        }
        best.map(|(_, _, choice)| choice)
    }

    /// A request goes to this target.
    pub(crate) fn chosen(&self, group: u16, target: u8) {
        self.count(group, target, Count::Chosen);
    }

    /// Whether the next target is tried after this final response.
    pub(crate) fn fails_over(&self, group: u16, code: u16) -> bool {
        self.groups.get(usize::from(group)).is_some_and(|group| group.failover.contains(&code))
    }

    /// A target gave a final response.
    pub(crate) fn answered(&self, group: u16, target: u8, code: u16) {
        let Some(at) = self.index(group, target) else { return };
        if self.fails_over(group, code) {
            self.health.count(at, Count::FailedOver);
            self.health.fails(at);
        } else {
            self.health.count(at, Count::Answered);
            self.health.works(at);
        }
    }

    /// A target sent nothing in time.
    pub(crate) fn timed_out(&self, group: u16, target: u8) {
        let Some(at) = self.index(group, target) else { return };
        self.health.count(at, Count::TimedOut);
        self.health.fails(at);
    }

    /// Whether requests from this address need no credentials. The port does not count: it is the network that keeps
    /// others from using the address.
    pub(crate) fn trusts(&self, source: IpAddr) -> bool {
        let source = source.to_canonical();
        self.groups.iter().any(|g| g.trusted && g.targets.iter().any(|t| t.address.ip() == source))
    }

    fn count(&self, group: u16, target: u8, count: Count) {
        if let Some(at) = self.index(group, target) {
            self.health.count(at, count);
        }
    }

    fn index(&self, group: u16, target: u8) -> Option<usize> {
        let group = self.groups.get(usize::from(group))?;
        (usize::from(target) < group.targets.len()).then(|| group.first + usize::from(target))
    }
}

/// A target's draw for a call: `ln(u) / weight` for a uniform `u`, which is the time an exponential variable of that
/// rate takes, negated. The first of them is each target's with a chance in proportion to its weight, and the others
/// keep their order when it goes away.
fn draw(mixed: u64, weight: f64) -> f64 {
    // Both halves are keyed hashes; their sum in GF(2) needs one more round to be without linear relations
    // (Stafford's 13th variant of the murmur3 finaliser).
    let mut x = mixed;
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^= x >> 31;
    // 53 bits, above 0.
    let uniform = ((x >> 11) as f64 + 0.5) / (1u64 << 53) as f64;
    uniform.ln() / weight
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gateways(targets: &[(u8, u16, u16)]) -> Gateways {
        let mut gateway = Gateway::new("g", &[]);
        gateway.probe = Some(Probe { down_after: 1, up_after: 1, ..Probe::default() });
        gateway.targets = targets
            .iter()
            .map(|(last, weight, priority)| GatewayTarget {
                address: SocketAddr::from(([10, 0, 0, *last], 5060)),
                weight: *weight,
                priority: *priority,
            })
            .collect();
        let other = Gateway { trusted: false, ..Gateway::new("other", &["10.0.1.1:5060".parse().unwrap()]) };
        let config = Config {
            listen: vec!["10.0.0.2:5060".parse().unwrap()],
            gateways: vec![other, gateway],
            secret: [5; 32],
            ..Config::default()
        };
        config.validate().unwrap();
        Gateways::new(&config, &Keys::derive(&config.secret)).unwrap()
    }

    fn call(n: u32) -> u64 {
        Gateways::call(&Keys::derive(&[5; 32]), format!("call-{n}@host").as_bytes())
    }

    #[test]
    fn calls_are_spread_by_weight() {
        let gateways = gateways(&[(11, 1, 1), (12, 2, 1), (13, 5, 1), (14, 100, 2)]);
        let mut counts = [0u32; 4];
        for n in 0..80_000 {
            counts[usize::from(gateways.choose(1, call(n), Tried::default()).unwrap().target)] += 1;
        }
        // Five standard deviations of a binomial are about 600 here.
        for (count, expected) in counts.into_iter().zip([10_000u32, 20_000, 50_000, 0]) {
            assert!(count.abs_diff(expected) < 600, "{counts:?}");
        }
    }

    #[test]
    fn a_target_that_goes_away_moves_its_own_calls_only() {
        let gateways = gateways(&[(11, 1, 1), (12, 1, 1), (13, 1, 1)]);
        let before: Vec<_> =
            (0..3000).map(|n| gateways.choose(1, call(n), Tried::default()).unwrap()).collect();
        gateways.timed_out(1, 1);
        let mut moved = [0; 3];
        for (n, before) in before.iter().enumerate() {
            let now = gateways.choose(1, call(n as u32), Tried::default()).unwrap();
            match before.target {
                1 => moved[usize::from(now.target)] += 1,
                _ => assert_eq!(now, *before),
            }
        }
        assert!(moved[0] > 300 && moved[1] == 0 && moved[2] > 300, "its calls are spread: {moved:?}");
        gateways.answered(1, 1, 200);
        assert!(
            (0..3000).all(|n| gateways.choose(1, call(n), Tried::default()).unwrap() == before[n as usize])
        );
    }

    #[test]
    fn the_order_of_the_list_does_not_matter() {
        let (one, two) = (gateways(&[(11, 1, 1), (12, 3, 1)]), gateways(&[(12, 3, 1), (11, 1, 1)]));
        for n in 0..1000 {
            let address = |g: &Gateways| g.choose(1, call(n), Tried::default()).unwrap().address;
            assert_eq!(address(&one), address(&two));
        }
    }

    #[test]
    fn all_targets_are_tried_in_the_order_of_priority() {
        let gateways = gateways(&[(11, 1, 2), (12, 1, 1), (13, 1, 1), (14, 1, 3)]);
        for n in 0..100 {
            let (mut tried, mut order) = (Tried::default(), Vec::new());
            while let Some(choice) = gateways.choose(1, call(n), tried) {
                tried = tried.with(choice.target);
                order.push(choice.target);
            }
            assert!(order == [1, 2, 0, 3] || order == [2, 1, 0, 3], "{order:?}");
        }
        assert_eq!(gateways.choose(7, call(0), Tried::default()), None, "no such group");
    }

    #[test]
    fn only_failures_of_the_target_lead_to_the_next() {
        let gateways = gateways(&[(11, 1, 1)]);
        assert!(gateways.fails_over(1, 503) && !gateways.fails_over(1, 486) && !gateways.fails_over(9, 503));
        gateways.answered(1, 0, 486);
        assert!(gateways.choose(1, 0, Tried::default()).is_some(), "busy is an answer");
        gateways.answered(1, 0, 503);
        assert!(gateways.choose(1, 0, Tried::default()).is_none());
        let report = &gateways.health.reports()[1];
        assert_eq!((report.answered, report.failed_over, report.up), (1, 1, false));
    }

    #[test]
    fn trusted_are_the_addresses_of_trusted_groups() {
        let gateways = gateways(&[(11, 1, 1)]);
        assert!(
            gateways.trusts("10.0.0.11".parse().unwrap())
                && gateways.trusts("::ffff:10.0.0.11".parse().unwrap())
        );
        assert!(!gateways.trusts("10.0.1.1".parse().unwrap()), "its group is not");
        assert!(!gateways.trusts("10.0.0.12".parse().unwrap()));
    }
}
