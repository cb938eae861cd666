//! The decisions of the engine, apart from the storage that a message borrows while it is decided on.
//!
//! Called by [`Engine`](crate::Engine) with a parsed message. Every path ends in a plan to apply and a [`Step`], in
//! nothing more to do with this message, or in a [`Reason`] to drop.
//!
//! The way of a request, one function each: `retransmission` (a transaction knows it), `admission` (is there room for
//! it), `carry_out` validates, `digest` (who sends it), `routing` (which way), `targets` (where to), and `begun` tells
//! those who watch; what is answered here is in `uas`. The way of a response: `response` verifies the branch, `answered`
//! tells those who watch. Here is what the element consists of, and what it does without a message.

mod admission;
mod redirect;
mod request;
mod response;
mod stun;
mod targets;
mod uas;
mod way;

use core::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use strowger_sip::{Buffer, Message, Method};

use crate::admission::Admission;
use crate::config::{Config, ConfigError, limit};
use crate::counters::{Counters, Event};
use crate::date::WallClock;
use crate::dialog::{DialogId, Dialogs, KillError, Scene};
use crate::digest::Digest;
use crate::engine::{Flow, Level, Occupancy};
use crate::gateway::{GatewayHealth, Gateways, Prober};
use crate::keys::Keys;
use crate::location::{Expiry, Lineage, Location, NotInherited};
use crate::proxy;
use crate::resolve::Resolver;
use crate::routing::{Routing, UriText};
use crate::sighting::{Sighting, Sightings};
use crate::site::Site;
use crate::time::Time;
use crate::transaction::{Core, Fate, Keep, Report};
use crate::users::{NoUsers, Users};

/// Where and when a message came.
pub(crate) struct Origin {
    now: Time,
    /// Index of the listen address.
    listen: u8,
    remote: SocketAddr,
    /// Octets of the whole buffer: the largest reply.
    room: usize,
}

/// What is to be done once the plan is applied.
pub(crate) struct Step {
    /// Index of the listen address it leaves from.
    local: u8,
    remote: SocketAddr,
    /// A request on its way: when there is no room for it, its sender hears of it.
    pub(crate) request: bool,
    /// Whether it leaves now; else it is only kept.
    pub(crate) send: bool,
    /// What it is kept as.
    keep: Keep,
    /// Counted when it is sent.
    events: [Option<Event>; 2],
}

/// Registrar and proxy.
pub(crate) struct Element {
    config: Arc<Config>,
    location: Arc<Location>,
    site: Site,
    keys: Keys,
    pub(crate) counters: Counters,
    core: Core,
    expiry: Expiry,
    pub(crate) dialogs: Dialogs,
    pub(crate) clock: Option<WallClock>,
    routing: Routing,
    gateways: Gateways,
    prober: Prober,
    pub(crate) admission: Admission,
    pub(crate) resolver: Resolver,
    /// The Request-URI as the rules want it, and as a gateway wants it.
    written: Box<UriText>,
    aimed: Box<UriText>,
    auth: Digest,
    pub(crate) sightings: Sightings,
    /// Whether the request at hand has shown who sends it.
    proven: bool,
    /// Set by [`Element::drain`].
    draining: bool,
}

impl Element {
    pub(crate) fn new(
        config: Arc<Config>,
        location: Arc<Location>,
        worker: u16,
    ) -> Result<Self, ConfigError> {
        config.validate()?;
        if usize::from(worker) >= limit::WORKERS {
            return Err(ConfigError::Worker(worker));
        }
        let keys = Keys::derive(&config.secret);
        if !location.fits(&config, &keys) {
            return Err(ConfigError::Location);
        }
        let site = Site::new(&config);
        let auth = Digest::new(&config, &keys, Arc::new(NoUsers), location.next_worker());
        let dialogs = Dialogs::new(&config.calls);
        Ok(Self {
            routing: Routing::new(&config.routes, &config.gateways)?,
            gateways: Gateways::new(&config, &keys)?,
            prober: Prober::new(&config, &site, &keys, 0, 1),
            admission: Admission::new(&keys, config.per_source_pps),
            resolver: Resolver::new(&keys),
            written: Box::new(UriText::new()),
            aimed: Box::new(UriText::new()),
            auth,
            sightings: Sightings::default(),
            proven: false,
            core: Core::new(&config, worker),
            config,
            location,
            site,
            keys,
            counters: Counters::new(),
            expiry: Expiry::new(),
            dialogs,
            clock: None,
            draining: false,
        })
    }

    pub(crate) fn set_users(&mut self, users: Arc<dyn Users>) {
        self.auth.set_users(users);
    }

    /// See [`Engine::succeed`](crate::Engine::succeed).
    pub(crate) fn succeed(&mut self, now: Time) {
        self.core.succeed(now);
    }

    /// See [`Engine::lineage`](crate::Engine::lineage).
    pub(crate) fn lineage(&self, listen: &[SocketAddr], domains: &[String]) -> Lineage {
        Lineage::new(&self.location, &self.config, listen, domains)
    }

    /// See [`Engine::inherit`](crate::Engine::inherit).
    pub(crate) fn inherit(
        &mut self,
        now: Time,
        user: &[u8],
        lineage: &Lineage,
        seen: &mut dyn FnMut(IpAddr, Time),
    ) -> Result<usize, NotInherited> {
        let (aor, made, bindings) = self.location.inherit(now, user, lineage, seen)?;
        if let Some(due) = made {
            self.expiry.add(aor, due);
        }
        Ok(bindings)
    }

    /// See [`Engine::stand_in`](crate::Engine::stand_in).
    pub(crate) fn stand_in(&mut self) {
        self.core.stand_in();
    }

    /// `None` for a flow that cannot be: to an address that is not ours, from ourselves, or from no host. So is one from an
    /// IPv4 address to an IPv6 one of ours: somebody wrote it into an IPv6 header, which the kernel lets pass, and has no claim
    /// to what that IPv4 address may (RFC 4942 section 2.2).
    pub(crate) fn origin(&self, now: Time, flow: Flow, room: usize) -> Option<Origin> {
        let remote = match flow.remote {
            SocketAddr::V4(_) => flow.remote,
            SocketAddr::V6(remote) => SocketAddr::new(remote.ip().to_canonical(), remote.port()),
        };
        let listen = self.site.listen_index(flow.local)?;
        let mixed = flow.local.is_ipv6() && remote.is_ipv4();
        if mixed || !proxy::is_unicast(remote) || self.site.listen_index(remote).is_some() {
            return None;
        }
        Some(Origin { now, listen, remote, room })
    }

    /// Counts what was sent; `None` when its listen address is none.
    pub(crate) fn finish(&mut self, step: &Step) -> Option<Flow> {
        let local = self.site.listen(step.local)?.address;
        for event in step.events.into_iter().flatten() {
            self.counters.count(event);
        }
        Some(Flow { local, remote: step.remote })
    }

    /// See [`Engine::share_gateways`](crate::Engine::share_gateways).
    pub(crate) fn share_gateways(
        &mut self,
        health: Arc<GatewayHealth>,
        worker: usize,
        workers: usize,
    ) -> Result<(), ConfigError> {
        if !health.fits(&self.config.gateways) {
            return Err(ConfigError::Health);
        }
        self.gateways.share(health);
        self.prober = Prober::new(&self.config, &self.site, &self.keys, worker, workers);
        Ok(())
    }

    /// Tells those who watch sources of one.
    fn seen(&mut self, sighting: Sighting) {
        if !self.sightings.note(sighting) {
            self.counters.count(Event::SightingLost);
        }
    }

    /// Keeps the message, once edited, as the step says.
    pub(crate) fn keep(&mut self, now: Time, step: &Step, message: &[u8]) {
        self.core.keep(now, step.keep, message, &mut self.counters);
    }

    /// Forgets the transaction of a request that could not be sent.
    pub(crate) fn abandon(&mut self, step: &Step) {
        if let Keep::Request(transaction) = step.keep {
            self.core.abandon(transaction);
        }
    }

    pub(crate) fn timeout(&self) -> Option<Time> {
        let own =
            [self.core.next_timer(), self.expiry.next(), self.prober.timeout(), self.resolver.timeout()];
        own.into_iter().flatten().chain(self.dialogs.timeout()).min()
    }

    pub(crate) fn on_timeout(&mut self, now: Time) {
        self.core.on_timeout(now, &mut self.counters);
        self.tell_gateways();
        let expired = self.expiry.run(&self.location, now);
        self.counters.add(Event::BindingExpired, expired as u64);
        self.prober.on_timeout(now, &self.gateways);
        self.resolver.on_timeout(now);
        let Self { dialogs, site, keys, counters, .. } = self;
        dialogs.expire(&mut Scene { now, site, keys, counters });
    }

    /// Tells those who watch gateways of a response.
    fn tell_gateways(&mut self) {
        while let Some(Report { group, target, what }) = self.core.next_report() {
            match what {
                Fate::Chosen => self.gateways.chosen(group, target),
                Fate::Answered(code) => self.gateways.answered(group, target, code),
                Fate::TimedOut => self.gateways.timed_out(group, target),
            }
        }
    }

    /// Tells those who watch dialogs that an INVITE they were told of cannot be sent on.
    pub(crate) fn undone(&mut self, now: Time, message: &Message<'_>, code: u16) {
        if let (Some(Method::Invite), Ok(headers)) = (message.method(), message.essentials()) {
            let Self { dialogs, site, keys, counters, .. } = self;
            let caller = headers.from.tag().unwrap_or_default();
            let mut scene = Scene { now, site, keys, counters };
            dialogs.failed(&mut scene, headers.call_id, caller, headers.cseq.number, code);
        }
    }

    pub(crate) fn transmit(&mut self, now: Time, buffer: &mut Buffer<'_>) -> Option<Flow> {
        if let Some(flow) = self.core.transmit(&self.site, &self.keys, buffer, &mut self.counters) {
            return Some(flow);
        }
        let Self { dialogs, site, keys, counters, prober, .. } = self;
        let bye = dialogs.transmit(&mut Scene { now, site, keys, counters }, buffer);
        if bye.is_some() {
            counters.count(Event::ByeSent);
        }
        let probe = || {
            let probe = prober.transmit(site, buffer);
            if probe.is_some() {
                counters.count(Event::ProbeSent);
            }
            probe
        };
        let (local, remote) = bye.or_else(probe)?;
        Some(Flow { local: self.site.listen(local)?.address, remote })
    }

    pub(crate) fn has_transmit(&self) -> bool {
        self.core.has_transmit() || self.prober.has_transmit() || self.dialogs.has_transmit()
    }

    pub(crate) fn occupancy(&self) -> Occupancy {
        Occupancy {
            transactions: self.core.transactions(),
            branches: self.core.branches(),
            kept: self.core.kept(),
            dialogs: Level { used: self.dialogs.used(), limit: self.dialogs.limit() },
            timers: self.core.timers(),
            outbox: self.core.outbox(),
        }
    }

    /// See [`Engine::kill`](crate::Engine::kill).
    pub(crate) fn kill(&mut self, now: Time, id: DialogId) -> Result<(), KillError> {
        let Self { dialogs, site, keys, counters, .. } = self;
        dialogs.kill(&mut Scene { now, site, keys, counters }, id)
    }

    pub(crate) fn drain(&mut self, _now: Time) {
        self.draining = true;
    }

    pub(crate) fn is_idle(&self) -> bool {
        self.core.is_idle()
    }

    /// See [`Engine::is_drained`](crate::Engine::is_drained).
    pub(crate) fn is_drained(&self, now: Time) -> bool {
        self.draining && self.core.is_settled(now) && !self.dialogs.is_hanging_up()
    }
}
