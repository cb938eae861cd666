//! Everything of one invocation that stays the same from run to run: sockets, agents, whom to watch.
//!
//! `main` makes a [`Site`] from the command line; `run` plays on it, once or many times.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher as _, Hasher as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

use crate::agents::{Agents, Setup, Timing};
use crate::digest::Allowed;
use crate::drive::Clock;
use crate::failure::Failure;
use crate::knock::knock;
use crate::namespace;
use crate::observe::Watching;
use crate::population::Population;
use crate::record::Io;
use crate::scenario::Script;
use crate::span::Span;
use crate::template::Constants;
use crate::wire::{Kernel, Pair, Wire, Xdp};

/// How to make a [`Site`].
#[derive(Clone, Debug)]
pub struct Plan {
    /// What is played.
    pub script: Script,
    /// The proxy; none is the floor, callers and callees alone.
    pub target: Option<SocketAddr>,
    /// Our address; none takes the one that the kernel would send to the target from.
    pub local: Option<IpAddr>,
    /// The callees' address, when it is another.
    pub callee_local: Option<IpAddr>,
    /// Ports: of thread n, callers have `port + 2n` and callees the next; 0 takes any.
    pub port: u16,
    /// The network namespaces of callers and callees.
    pub netns: [Option<String>; 2],
    /// The users' domain; none is the target's address.
    pub domain: Option<String>,
    /// The users.
    pub population: Population,
    /// Which challenges they answer.
    pub allowed: Allowed,
    /// How long calls last, instead of what the script says.
    pub hold: Option<Span>,
    /// RFC 3261's timers.
    pub timing: Timing,
    /// The interface for AF_XDP; none is the kernel's sockets alone.
    pub xdp: Option<String>,
    /// The callees', when they are on another one.
    pub callee_xdp: Option<String>,
    /// Threads.
    pub threads: u32,
    /// Calls at a time, of all threads.
    pub places: u32,
    /// Never sleep.
    pub spin: bool,
    /// The processor of the first thread; the next has the next.
    pub cpu: Option<u32>,
    /// Ask first whether anybody is there.
    pub knock: bool,
    /// Register first, when the script says so.
    pub prepare: bool,
    /// Whom to watch.
    pub watching: Watching,
}

/// One thread's part.
pub(crate) struct Worker {
    pub(crate) agents: Agents,
    /// Those who register before, and how many users they have.
    pub(crate) preparing: Option<(Agents, u32)>,
    pub(crate) wire: Box<dyn Wire>,
}

/// See the head of this file.
pub struct Site {
    /// As it was planned.
    pub plan: Plan,
    /// The proxy; without one, the first thread's callees.
    pub target: SocketAddr,
    /// How packets go.
    pub io: Io,
    pub(crate) workers: Vec<Worker>,
    pub(crate) preparing: Option<Script>,
    pub(crate) clock: Clock,
    pub(crate) seed: u64,
}

impl Site {
    /// Opens the sockets, asks whether the proxy is there, and makes all that the agents need.
    ///
    /// # Errors
    /// Whatever of it is not possible.
    pub fn open(plan: Plan) -> Result<Self, Failure> {
        let usage = |what: &str| Failure::Usage { what: what.to_owned() };
        if plan.threads == 0 || plan.threads > plan.population.count() {
            return Err(usage("there must be a thread, and a user for each"));
        }
        if plan.target.is_none() && plan.script.remembers() {
            return Err(usage("without a proxy nobody gives out nonces"));
        }
        if plan.xdp.is_some() && plan.threads != 1 {
            return Err(usage("with --xdp there is one thread: it serves all queues of an interface"));
        }
        if plan.xdp.is_some() && plan.callee_xdp.is_none() && plan.netns[0] != plan.netns[1] {
            return Err(usage("callees in another namespace have an interface of their own: --callee-xdp"));
        }
        let caller_netns = plan.netns[0].as_deref();
        let caller_ip = match (plan.local, plan.target) {
            (Some(ip), _) => ip,
            (None, Some(target)) => namespace::inside(caller_netns, || source_for(target))??,
            (None, None) => IpAddr::V4(Ipv4Addr::LOCALHOST),
        };
        let callee_ip = plan.callee_local.unwrap_or(caller_ip);
        if plan.target.is_some_and(|target| target.is_ipv4() != caller_ip.is_ipv4())
            || caller_ip.is_ipv4() != callee_ip.is_ipv4()
        {
            return Err(usage("--target, --local and --callee-local are of one IP version"));
        }
        if plan.knock
            && let Some(target) = plan.target
        {
            let domain = plan.domain.clone().unwrap_or_else(|| host(target.ip()));
            namespace::inside(caller_netns, || knock(SocketAddr::new(caller_ip, 0), target, &domain))??;
        }
        let preparing = match (&plan.script.prepare, plan.prepare && plan.target.is_some()) {
            (Some(name), true) => Some(Script::load(name)?),
            _ => None,
        };
        // The standard library's hash keys are the system's random numbers: it only tells runs apart.
        let seed = RandomState::new().build_hasher().finish();
        let mut site = Self {
            target: plan.target.unwrap_or(SocketAddr::new(callee_ip, 0)),
            io: Io::Kernel,
            workers: Vec::new(),
            preparing,
            clock: Clock::start(),
            seed,
            plan,
        };
        for thread in 0..site.plan.threads {
            let port = |side: u32| match site.plan.port {
                0 => Ok(0),
                port => u16::try_from(u32::from(port) + 2 * thread + side)
                    .map_err(|_| usage("--port and --threads lead beyond port 65535")),
            };
            let local = [SocketAddr::new(caller_ip, port(0)?), SocketAddr::new(callee_ip, port(1)?)];
            let netns = |side: usize| site.plan.netns[side].as_deref();
            let (wire, local): (Box<dyn Wire>, _) = match (&site.plan.xdp, &site.plan.callee_xdp) {
                (None, _) => {
                    let kernel = Kernel::bind(local, [netns(0), netns(1)])?;
                    let local = kernel.local();
                    (Box::new(kernel), local)
                }
                (Some(interface), None) => {
                    let kernel = Kernel::bind(local, [netns(0), netns(1)])?;
                    let local = kernel.local();
                    let (xdp, io) = Xdp::open(interface, netns(0), kernel)?;
                    site.io = io;
                    (Box::new(xdp), local)
                }
                (Some(caller), Some(callee)) => {
                    // Each wire has both sides' sockets and uses one; the other is any port of its own address.
                    let any = |side: usize| SocketAddr::new(local[side].ip(), 0);
                    let callers = Kernel::bind([local[0], any(0)], [netns(0); 2])?;
                    let callees = Kernel::bind([any(1), local[1]], [netns(1); 2])?;
                    let local = [callers.local()[0], callees.local()[1]];
                    let (callers, io) = Xdp::open(caller, netns(0), callers)?;
                    let (callees, _) = Xdp::open(callee, netns(1), callees)?;
                    site.io = io;
                    (Box::new(Pair::new(callers, callees)), local)
                }
            };
            let worker = site.worker(thread, local, wire);
            site.workers.push(worker);
            if thread == 0 && site.plan.target.is_none() {
                site.target = local[1];
            }
        }
        Ok(site)
    }

    fn worker(&self, thread: u32, local: [SocketAddr; 2], wire: Box<dyn Wire>) -> Worker {
        let plan = &self.plan;
        // Without a proxy, requests of each side go to the other.
        let target = plan.target.map_or([local[1], local[0]], |target| [target; 2]);
        let domain = plan.domain.clone().unwrap_or_else(|| host(target[0].ip()));
        let constants =
            [0, 1].map(|side| Constants { domain: domain.clone(), target: target[side], local: local[side] });
        let (threads, users) = (plan.threads, plan.population.count());
        let first = (u64::from(users) * u64::from(thread) / u64::from(threads)) as u32;
        let next = (u64::from(users) * u64::from(thread + 1) / u64::from(threads)) as u32;
        // Distinct for each thread, and for those who prepare.
        let run = (self.seed as u32 & 0x7fff_ff00).wrapping_add(thread);
        let setup = |script: &Script, run: u32| Setup {
            parts: script.bind(&constants),
            legs: script.legs().len(),
            population: plan.population.clone(),
            users: (first, next - first),
            once: script.once,
            hold: plan.hold.or(script.hold).unwrap_or_default(),
            target,
            no_proxy: plan.target.is_none(),
            allowed: plan.allowed,
            timing: plan.timing,
            places: plan.places.div_ceil(threads).max(1),
            run,
            seed: self.seed ^ u64::from(run),
        };
        let preparing = self.preparing.as_ref().map(|script| {
            let setup = Setup { places: 256, ..setup(script, run | 0x8000_0000) };
            (Agents::new(setup), next - first)
        });
        Worker { agents: Agents::new(setup(&plan.script, run)), preparing, wire }
    }
}

/// The address that the kernel would send to `target` from.
fn source_for(target: SocketAddr) -> Result<IpAddr, Failure> {
    let any: IpAddr =
        if target.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let unreachable = |error| Failure::Unreachable { target, local: SocketAddr::new(any, 0), error };
    let socket = UdpSocket::bind((any, 0)).map_err(unreachable)?;
    socket.connect(target).map_err(unreachable)?;
    Ok(socket.local_addr().map_err(unreachable)?.ip())
}

/// An address as a URI has it.
fn host(ip: IpAddr) -> String {
    match ip {
        IpAddr::V4(ip) => ip.to_string(),
        IpAddr::V6(ip) => format!("[{ip}]"),
    }
}
