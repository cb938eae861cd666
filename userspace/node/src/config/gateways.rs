//! `gateways:` as it is written, and what the engine is told of it.

use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use serde::de::value::MapAccessDeserializer;
use serde::{Deserialize, Deserializer, Serialize, de};
use strowger_engine::GatewayTarget;

/// One of `gateways:` (times in seconds)
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Gateway {
    /// Where calls go.
    pub targets: Vec<Target>,
    /// How its health is watched.
    #[serde(default)]
    pub probe: Probe,
    /// From one OPTIONS request to the next.
    #[serde(default = "ten")]
    pub probe_interval: u32,
    /// How long its answer may take; by default 4, and not longer than the interval.
    #[serde(default)]
    pub probe_timeout: Option<u32>,
    /// Failures in a row after which a target gets no calls.
    #[serde(default = "three")]
    pub down_after: u32,
    /// Answers in a row after which it gets calls again.
    #[serde(default = "two")]
    pub up_after: u32,
    /// Answers after which the next target is tried.
    #[serde(default = "unavailable")]
    pub failover: Vec<u16>,
    /// A target that says nothing for so long is given up and the next one tried.
    #[serde(default = "four")]
    pub timeout: u32,
    /// Its requests need no credentials.
    #[serde(default = "super::yes")]
    pub trusted: bool,
}

/// One address of a gateway: `ADDRESS:PORT`, or a mapping with weight and priority.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(crate) struct Target {
    /// Address and port.
    pub address: SocketAddr,
    /// Share of the calls among targets of the same priority.
    pub weight: u16,
    /// The lowest number gets the calls while it is up.
    pub priority: u16,
}

/// `gateways.*.probe`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Probe {
    /// Not at all: it always counts as up.
    #[default]
    #[serde(alias = "none")]
    Off,
    /// By OPTIONS requests.
    Options,
}

impl Gateway {
    /// What the engine is told; it judges the values too.
    pub(crate) fn engine(&self, name: &str) -> strowger_engine::Gateway {
        let seconds = |n: u32| Duration::from_secs(n.into());
        strowger_engine::Gateway {
            name: name.to_owned(),
            targets: self
                .targets
                .iter()
                .map(|t| GatewayTarget { address: t.address, weight: t.weight, priority: t.priority })
                .collect(),
            probe: (self.probe == Probe::Options).then(|| strowger_engine::Probe {
                interval: seconds(self.probe_interval),
                timeout: seconds(self.probe_timeout.unwrap_or(four().min(self.probe_interval))),
                down_after: self.down_after,
                up_after: self.up_after,
            }),
            failover: self.failover.clone(),
            timeout: seconds(self.timeout),
            trusted: self.trusted,
        }
    }
}

impl<'de> Deserialize<'de> for Target {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Mapping {
            address: SocketAddr,
            #[serde(default = "one")]
            weight: u16,
            #[serde(default = "one")]
            priority: u16,
        }
        struct Visitor;
        impl<'de> de::Visitor<'de> for Visitor {
            type Value = Target;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("`ADDRESS:PORT` or `{ address: ADDRESS:PORT, weight: 1, priority: 1 }`")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Target, E> {
                let wrong = |_| E::invalid_value(de::Unexpected::Str(text), &self);
                Ok(Target { address: text.parse().map_err(wrong)?, weight: 1, priority: 1 })
            }
            fn visit_map<M: de::MapAccess<'de>>(self, map: M) -> Result<Target, M::Error> {
                let Mapping { address, weight, priority } =
                    Mapping::deserialize(MapAccessDeserializer::new(map))?;
                Ok(Target { address, weight, priority })
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

fn one() -> u16 {
    1
}

fn two() -> u32 {
    2
}

fn three() -> u32 {
    3
}

fn four() -> u32 {
    4
}

fn ten() -> u32 {
    10
}

fn unavailable() -> Vec<u16> {
    vec![503]
}
