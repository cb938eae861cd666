//! What the configuration says about gateways, and what is wrong with it.

use core::net::SocketAddr;
use core::time::Duration;

use crate::config::{ConfigError, limit};
use crate::proxy::is_unicast;

/// Other SIP elements that take the same calls: a carrier's gateways, a cluster of media servers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gateway {
    /// What rules and reports call it: 1 to 63 letters, digits, `-`, `_` or `.`.
    pub name: String,
    /// Where calls go, 1 to [`limit::TARGETS`].
    pub targets: Vec<GatewayTarget>,
    /// How its health is watched; `None`: not at all, and all targets always count as up.
    pub probe: Option<Probe>,
    /// Final responses after which the next target is tried, 400 to 699 and none that speaks of the caller.
    pub failover: Vec<u16>,
    /// A target that has sent nothing at all in this time is given up and the next one tried.
    pub timeout: Duration,
    /// Requests from the targets' addresses need no credentials.
    pub trusted: bool,
}

impl Gateway {
    /// A group that is watched as by default, with targets of equal weight.
    #[must_use]
    pub fn new(name: impl Into<String>, targets: &[SocketAddr]) -> Self {
        let target = |address: &SocketAddr| GatewayTarget { address: *address, weight: 1, priority: 1 };
        Self {
            name: name.into(),
            targets: targets.iter().map(target).collect(),
            probe: None,
            failover: vec![503],
            timeout: Duration::from_secs(4),
            trusted: true,
        }
    }
}

/// One address of a [`Gateway`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GatewayTarget {
    /// UDP address and port.
    pub address: SocketAddr,
    /// Share of the calls among targets of the same priority, 1 to 1000.
    pub weight: u16,
    /// Targets with a higher number get calls when none with a lower one is left (as in SRV, RFC 2782).
    pub priority: u16,
}

/// How targets are watched: by OPTIONS requests (RFC 3261 section 11).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Probe {
    /// Time from one probe to the next, 1 s to an hour.
    pub interval: Duration,
    /// How long an answer may take, at most the interval.
    pub timeout: Duration,
    /// Failures in a row that make a target count as down, 1 to 100.
    pub down_after: u32,
    /// Answers in a row that bring it back, 1 to 100.
    pub up_after: u32,
}

impl Default for Probe {
    fn default() -> Self {
        let (interval, timeout) = (Duration::from_secs(10), Duration::from_secs(4));
        Self { interval, timeout, down_after: 3, up_after: 2 }
    }
}

/// Checks the groups.
///
/// # Errors
/// The first thing that cannot work: the group, the key, and what is accepted.
pub(crate) fn check(gateways: &[Gateway], listen: &[SocketAddr]) -> Result<(), ConfigError> {
    let targets: usize = gateways.iter().map(|gateway| gateway.targets.len()).sum();
    if gateways.len() > limit::GATEWAYS || targets > limit::ALL_TARGETS {
        return Err(ConfigError::TooManyGateways);
    }
    for (at, gateway) in gateways.iter().enumerate() {
        let wrong =
            |key, problem: String| Err(ConfigError::Gateway { name: gateway.name.clone(), key, problem });
        let name = &gateway.name;
        let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
        if !(1..=limit::GATEWAY_NAME).contains(&name.len()) || !name.bytes().all(plain) {
            let most = limit::GATEWAY_NAME;
            return wrong("", format!("a name has 1 to {most} letters, digits, `-`, `_` or `.`"));
        }
        if gateways.iter().take(at).any(|other| other.name == *name) {
            return wrong("", "there are two of this name".to_owned());
        }
        if !(1..=limit::TARGETS).contains(&gateway.targets.len()) {
            return wrong("targets", format!("1 to {} targets are needed", limit::TARGETS));
        }
        for (at, GatewayTarget { address, weight, .. }) in gateway.targets.iter().enumerate() {
            let canonical = address.ip().to_canonical() == address.ip();
            if !is_unicast(*address) || !canonical {
                return wrong("targets", format!("{address} is not the address of one host"));
            }
            if listen.contains(address) {
                return wrong("targets", format!("{address} is this node"));
            }
            if !listen.iter().any(|own| own.is_ipv4() == address.is_ipv4()) {
                return wrong("targets", format!("{address}: sip.listen has no address of this family"));
            }
            if gateway.targets.iter().take(at).any(|other| other.address == *address) {
                return wrong("targets", format!("{address} is there twice"));
            }
            if !(1..=1000).contains(weight) {
                return wrong("targets", format!("{address}: the weight {weight} is not 1 to 1000"));
            }
        }
        for code in &gateway.failover {
            // A challenge and the end of a cancelled call are for the caller (RFC 3261 section 16.7).
            if !(400..=699).contains(code) || matches!(code, 401 | 407 | 487) {
                return wrong("failover", format!("{code} is not 400 to 699 without 401, 407 and 487"));
            }
        }
        let seconds = |d: Duration| (Duration::from_millis(100)..=Duration::from_secs(3600)).contains(&d);
        if !seconds(gateway.timeout) {
            return wrong("timeout", "0.1 to 3600 seconds".to_owned());
        }
        let Some(probe) = gateway.probe else { continue };
        if !seconds(probe.interval) {
            return wrong("probe_interval", "0.1 to 3600 seconds".to_owned());
        }
        if !seconds(probe.timeout) || probe.timeout > probe.interval {
            return wrong("probe_timeout", "0.1 seconds to probe_interval".to_owned());
        }
        for (key, n) in [("down_after", probe.down_after), ("up_after", probe.up_after)] {
            if !(1..=100).contains(&n) {
                return wrong(key, format!("{n} is not 1 to 100"));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_wrong_value_names_group_and_key() {
        let listen = ["10.77.0.2:5060".parse().expect("address")];
        let good = || Gateway {
            probe: Some(Probe::default()),
            ..Gateway::new("carrier-a", &["10.77.0.9:5060".parse().expect("address")])
        };
        assert_eq!(check(&[good()], &listen), Ok(()));
        let wrong = |key: &str, change: &dyn Fn(&mut Gateway)| {
            let mut gateway = good();
            change(&mut gateway);
            let error = check(&[gateway], &listen).expect_err(key).to_string();
            assert!(error.starts_with(&format!("gateways.{key}: ")), "{error}");
        };
        wrong("a b", &|g| g.name = "a b".into());
        wrong("carrier-a.targets", &|g| g.targets.clear());
        for bad in [
            "0.0.0.0:5060",
            "10.77.0.9:0",
            "224.0.0.1:5060",
            "10.77.0.2:5060",
            "[::1]:5060",
            "10.77.0.9:5060",
        ] {
            let bad = bad.parse().expect("address");
            wrong("carrier-a.targets", &|g| {
                g.targets.push(GatewayTarget { address: bad, weight: 1, priority: 1 })
            });
        }
        wrong("carrier-a.targets", &|g| g.targets[0].weight = 0);
        for code in [200, 302, 401, 407, 487, 700] {
            wrong("carrier-a.failover", &|g| g.failover.push(code));
        }
        wrong("carrier-a.timeout", &|g| g.timeout = Duration::ZERO);
        wrong("carrier-a.probe_interval", &|g| {
            g.probe = Some(Probe { interval: Duration::ZERO, ..Probe::default() })
        });
        let late = Probe { timeout: Duration::from_secs(11), ..Probe::default() };
        wrong("carrier-a.probe_timeout", &|g| g.probe = Some(late));
        wrong("carrier-a.down_after", &|g| g.probe = Some(Probe { down_after: 0, ..Probe::default() }));
        wrong("carrier-a.up_after", &|g| g.probe = Some(Probe { up_after: 101, ..Probe::default() }));
        assert!(check(&[good(), good()], &listen).is_err(), "two of a name");
        let many: Vec<_> = (0..257).map(|n| Gateway { name: format!("g{n}"), ..good() }).collect();
        assert_eq!(check(&many, &listen), Err(ConfigError::TooManyGateways));
    }
}
