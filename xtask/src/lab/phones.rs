//! The phones of the laboratory: they register through the node and call each other through it.
//!
//! Numbers begin at 1000. The even ones call, the odd ones are called; each calling and each called phone sits behind
//! one of two ports of the peers' address, where sipp plays all of them.

use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::time::{Duration, Instant};

use serde::Serialize;

use super::network::Lab;
use crate::failure::Doing as _;
use crate::sipp::{Plan, Scenario, Sipp, Tally};
use crate::{Code, Failure, interrupt};

/// Where the phones are and what they call.
#[derive(Clone, Copy, Debug)]
pub struct Phones<'a> {
    /// Their laboratory.
    pub lab: &'a Lab,
    /// Their own address, that of the peers in either family.
    pub local: IpAddr,
    /// The node.
    pub node: SocketAddr,
    /// Where sipp keeps its files.
    pub directory: &'a Path,
}

/// The first number.
const FIRST_NUMBER: u32 = 1000;
/// Where the calling phones are.
const CALLING_PORT: u16 = 5080;
/// Where the called phones are.
const CALLED_PORT: u16 = 5070;
/// REGISTERs in a second. The phones of an office do not all start at once; those of a laboratory may.
const REGISTER_RATE: u32 = 500;

/// Nobody listens there; who asks is told so.
const DISCARD_PORT: u16 = 9;
/// ARP or neighbour discovery on a veth pair takes well under a millisecond; the node hears of it by netlink.
const RESOLVED_AFTER: Duration = Duration::from_millis(50);

/// How many calls, and how.
#[derive(Clone, Copy, Debug)]
pub struct Traffic {
    /// Phones, half of them calling.
    pub users: u32,
    /// Calls.
    pub calls: u32,
    /// Calls begun in a second.
    pub rate: u32,
    /// Time between ACK and BYE.
    pub hold: Duration,
}

/// What the phones saw.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    /// The calling side.
    pub calling: Tally,
    /// The called side.
    pub called: Tally,
}

impl Phones<'_> {
    /// Every phone registers once. `progress` hears how many have.
    ///
    /// # Errors
    /// sipp cannot run, or was interrupted. A REGISTER that fails is in the tally, not an error.
    pub fn register(&self, users: u32, mut progress: impl FnMut(u64)) -> Result<Tally, Failure> {
        let mut total = Tally::default();
        for (label, port, first) in [("called", CALLED_PORT, 1), ("calling", CALLING_PORT, 0)] {
            let lines: Vec<String> =
                (first..users).step_by(2).map(|user| format!("{};{port}", FIRST_NUMBER + user)).collect();
            let Ok(count @ 1..) = u32::try_from(lines.len()) else { continue };
            let plan = Plan {
                scenario: Scenario::REGISTER,
                arguments: &[],
                label,
                namespace: &self.lab.peers,
                local: SocketAddr::new(self.local, port),
                remote: Some(self.node),
                injected: &lines,
                calls: count,
                rate: REGISTER_RATE,
                hold: Duration::ZERO,
                limit: limit(count, REGISTER_RATE, Duration::ZERO),
                directory: self.directory,
            };
            let mut sipp = Sipp::start(&plan)?;
            let tally = sipp.follow(count, |tally| progress(total.ok + tally.ok))?;
            total.created += u64::from(count).max(tally.created);
            total.ok += tally.ok;
            total.failed += u64::from(count) - tally.ok.min(u64::from(count));
            total.retransmissions += tally.retransmissions;
            progress(total.ok);
        }
        Ok(total)
    }

    /// Registered phones call each other. `progress` hears the calling side's tally while it goes on.
    ///
    /// # Errors
    /// sipp cannot run, or was interrupted. A call that fails is in the tally, not an error.
    pub fn call(&self, traffic: &Traffic, mut progress: impl FnMut(&Tally)) -> Result<Report, Failure> {
        let pairs: Vec<String> = (0..traffic.users / 2)
            .map(|pair| format!("{};{}", FIRST_NUMBER + 2 * pair, FIRST_NUMBER + 2 * pair + 1))
            .collect();
        let limit = limit(traffic.calls, traffic.rate, traffic.hold);
        let called = Plan {
            scenario: Scenario::UAS,
            arguments: &[],
            label: "called",
            namespace: &self.lab.peers,
            local: SocketAddr::new(self.local, CALLED_PORT),
            remote: None,
            injected: &[],
            calls: 0,
            rate: 0,
            hold: Duration::ZERO,
            limit: limit + Duration::from_secs(30),
            directory: self.directory,
        };
        let calling = Plan {
            scenario: Scenario::UAC,
            label: "calling",
            local: SocketAddr::new(self.local, CALLING_PORT),
            remote: Some(self.node),
            injected: &pairs,
            calls: traffic.calls,
            rate: traffic.rate,
            hold: traffic.hold,
            limit,
            ..called
        };
        let mut answering = Sipp::start(&called)?;
        answering.listening(&self.lab.peers, called.local)?;
        let mut sipp = Sipp::start(&calling)?;
        let mut tally = sipp.follow(traffic.calls, &mut progress)?;
        // What sipp gave up before it began is as failed as what it began.
        tally.failed = u64::from(traffic.calls).saturating_sub(tally.ok);
        if tally.failed > 0 {
            eprintln!("{}", sipp.complaint());
        }
        let called = answering.finish(Duration::from_secs(4))?;
        Ok(Report { calling: tally, called })
    }
}

/// The time after which whatever is left has failed: the run itself, and 64·T1 for the last transaction to give up.
fn limit(calls: u32, rate: u32, hold: Duration) -> Duration {
    Duration::from_secs(u64::from(calls / rate.max(1)) + 40) + hold
}

/// Sends OPTIONS from the peers until the node answers, so that calls do not begin into the void. Gives the attempts
/// that failed before.
///
/// Beforehand both sides resolve each other's link-layer address, by a datagram to the discard port (RFC 863) and what
/// the kernel says to it: else the first answer would go by the kernel socket, and the counters of a laboratory would
/// never show AF_XDP alone.
///
/// # Errors
/// No answer within `wait`.
pub fn knock(lab: &Lab, local: IpAddr, node: SocketAddr, wait: Duration) -> Result<u32, Failure> {
    lab.peers.enter_on_a_thread(|| {
        let socket = std::net::UdpSocket::bind((local, 0)).doing(format!("take a port of {local}"))?;
        socket.set_read_timeout(Some(Duration::from_millis(500))).doing("set a time limit")?;
        let source = socket.local_addr().doing("ask for our port")?;
        let resolver = std::net::UdpSocket::bind((local, 0)).doing(format!("take a port of {local}"))?;
        // Whether it arrives does not matter.
        let _ = resolver.send_to(&[0], (node.ip(), DISCARD_PORT));
        std::thread::sleep(RESOLVED_AFTER);
        let until = Instant::now() + wait;
        let mut buffer = [0; 2048];
        for attempt in 0_u32.. {
            let request = format!(
                "OPTIONS sip:{node} SIP/2.0\r\nVia: SIP/2.0/UDP {source};branch=z9hG4bK-knock-{attempt};rport\r\n\
                 Max-Forwards: 70\r\nFrom: <sip:lab@{source}>;tag=knock\r\nTo: <sip:{node}>\r\n\
                 Call-ID: knock-{source}\r\nCSeq: {} OPTIONS\r\nContent-Length: 0\r\n\r\n",
                attempt + 1
            );
            // A port that nobody holds comes back as an error here; that is a knock without an answer too.
            let answered = socket.send_to(request.as_bytes(), node).is_ok()
                && socket.recv_from(&mut buffer).is_ok_and(|(_, from)| from == node);
            if answered {
                return Ok(attempt);
            }
            interrupt::check()?;
            if Instant::now() > until {
                break;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Err(Failure::new(Code::Node, format!("no answer from {node} to OPTIONS within {} s", wait.as_secs()))
            .fix("cargo xtask build-and-load in another terminal"))
    })?
}
