//! sipp processes on the ports of the peers' address: who they are, how they register, whom they call.

use std::net::SocketAddr;
use std::time::Duration;

use strowger_xtask::lab::Lab;
use strowger_xtask::sipp::{self, Plan, Sipp, Tally};

use crate::bench::Bench;
use crate::scenario::Scenario;

/// One sipp: its port, and what else differs from a phone beside the node.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Player {
    /// Its own port.
    pub(crate) port: u16,
    /// The port in its contacts.
    pub(crate) contact: u16,
    /// Where it sends to.
    pub(crate) node: SocketAddr,
    /// The Request-URI of what it proves its right to, without its scheme: sipp computes a digest over this.
    resource: &'static str,
}

/// The domain of all users, the node's address.
const DOMAIN: &str = "10.77.0.2";
/// Calls begun in a second.
const RATE: u32 = 20;

impl Player {
    /// A phone that speaks with the node itself.
    pub(crate) fn at(port: u16) -> Self {
        Self { port, contact: port, node: Lab::node_v4(), resource: DOMAIN }
    }

    /// A phone that speaks with somebody else, who passes on to it what comes to the port `contact`.
    pub(crate) fn behind(port: u16, contact: u16, node: SocketAddr) -> Self {
        Self { contact, node, ..Self::at(port) }
    }

    /// The same, for requests to this URI; its scheme is left out.
    pub(crate) fn asks_for(self, resource: &'static str) -> Self {
        Self { resource, ..self }
    }

    /// Makes `calls` calls, each line of `injected` in turn, and fails when one of them does.
    pub(crate) fn calls(&self, bench: &Bench, scenario: &Scenario, injected: &[String], calls: u32) -> Tally {
        let text = scenario.text();
        let (label, contact) = (self.port.to_string(), self.contact.to_string());
        let arguments = self.arguments(&contact);
        let plan = Plan { injected, calls, ..self.plan(bench, scenario.for_sipp(&text), &label, &arguments) };
        let mut sipp = Sipp::start(&plan).unwrap();
        let tally = sipp.follow(calls, |_| ()).unwrap();
        if tally.failed > 0 {
            eprintln!("{}", sipp.complaint());
        }
        assert_eq!((tally.ok, tally.failed), (u64::from(calls), 0), "{}: {tally:?}", scenario.name());
        tally
    }

    /// Waits to be called.
    pub(crate) fn waits(&self, bench: &Bench, scenario: &Scenario) -> Sipp {
        let text = scenario.text();
        let (label, contact) = (self.port.to_string(), self.contact.to_string());
        let arguments = self.arguments(&contact);
        let plan = self.plan(bench, scenario.for_sipp(&text), &label, &arguments);
        let mut sipp = Sipp::start(&plan).unwrap();
        sipp.listening(&bench.lab.peers, plan.local).unwrap();
        sipp
    }

    /// The keywords of the scenarios, and patience with whoever does not answer: the limits are the scenarios'.
    fn arguments<'a>(&self, contact: &'a str) -> [&'a str; 10] {
        let Self { resource, .. } = *self;
        ["-key", "domain", DOMAIN, "-key", "contact", contact, "-auth_uri", resource, "-max_retrans", "20"]
    }

    fn plan<'a>(
        &self,
        bench: &'a Bench,
        scenario: sipp::Scenario<'a>,
        label: &'a str,
        arguments: &'a [&'a str],
    ) -> Plan<'a> {
        Plan {
            scenario,
            arguments,
            label,
            namespace: &bench.lab.peers,
            local: (Lab::PEERS_V4, self.port).into(),
            remote: (!scenario.called).then_some(self.node),
            injected: &[],
            calls: 0,
            rate: RATE,
            hold: Duration::ZERO,
            limit: Duration::from_secs(90),
            directory: bench.directory.path(),
        }
    }
}
