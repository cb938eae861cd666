//! The decisions of the engine, apart from the storage that a message borrows while it is decided on.
//!
//! Called by [`Engine`](crate::Engine) with a parsed message. Every path ends in a plan to apply and a [`Step`], in
//! nothing more to do with this message, or in a [`Reason`] to drop.
//!
//! The way of a request, one function each: `retransmission` (a transaction knows it), `admission` (is there room for
//! it), `carry_out` validates, `digest` (who sends it), `routing` (which way), `targets` (where to), and `begun` tells
//! those who watch. The way of a response: `response` verifies the branch, `answered` tells those who watch.

use core::net::SocketAddr;
use std::sync::Arc;

use strowger_sip::{Buffer, EditPlan, HeaderName, Message, Method, Reply, Uri};

use crate::admission::{self, Admission};
use crate::answer::{Answer, REPLY_GROWTH};
use crate::branch;
use crate::config::{Config, ConfigError, limit};
use crate::counters::{Counters, Event};
use crate::date::WallClock;
use crate::dialog::{DialogId, Dialogs, KillError, Scene, Source};
use crate::digest::{Digest, Identity, Role};
use crate::engine::{Flow, Level, Occupancy, Reason};
use crate::fork;
use crate::gateway::{GatewayHealth, Gateways, Prober, Tried};
use crate::gruu;
use crate::keys::Keys;
use crate::location::{BoundFlow, Expiry, Found, Location};
use crate::proxy::{self, Destination, Forward};
use crate::refusal::{ALLOW, Refusal, reply_event};
use crate::registrar::{Registrar, User};
use crate::request::{self, Request};
use crate::resolve::{Lookup, Resolver};
use crate::response;
use crate::routing::{self, Decision, RouteFacts, Routing, UriText};
use crate::site::Site;
use crate::time::Time;
use crate::transaction::{Begin, Core, Failover, Fate, First, Keep, Known, Outcome, Report};
use crate::users::{NoUsers, Users};

/// Octets that forwarding adds to a request at most, but for a target much longer than the Request-URI: Via,
/// Record-Route, marks of the Via before. Only a guess whether it can be kept; when it then cannot, it is sent all the
/// same, and not repeated.
const FORWARD_GROWTH: usize = 512;

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

/// How a request was carried out.
enum Done {
    /// The plan makes it the forwarded request, which leaves from the listen address with this index, and is kept. The
    /// event is counted when it is sent.
    Forwarded(u8, SocketAddr, Keep, Option<Event>),
    /// The answer says what the 200 contains.
    Served,
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
    /// Whether the request at hand has shown who sends it.
    proven: bool,
    /// Set by [`Element::drain`].
    draining: bool,
}

/// Preference of the first address of a target with several. There are fewer addresses than that.
const FIRST_Q: u16 = 1000;

/// Which way a request goes, as `routing` says.
struct Way {
    action: Action,
    /// The Request-URI is the one in [`Element::written`].
    rewritten: bool,
    /// Without a transaction.
    stateless: bool,
}

/// See [`Way`].
enum Action {
    /// To where its user is registered, in the domain with this index.
    Location(u16),
    /// To the gateway group with this index.
    Gateway(u16),
    /// By its own URI or Route.
    Elsewhere,
}

impl Action {
    /// By the Request-URI alone.
    fn of(destination: &Destination) -> Result<Self, Refusal> {
        match destination {
            Destination::Nobody => Err(Refusal::NotFound),
            Destination::Us | Destination::Elsewhere => Ok(Self::Elsewhere),
            Destination::User(domain) => Ok(Self::Location(*domain)),
        }
    }
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

    /// `None` for a flow that cannot be: to an address that is not ours, from ourselves, or from no host.
    pub(crate) fn origin(&self, now: Time, flow: Flow, room: usize) -> Option<Origin> {
        let remote = SocketAddr::new(flow.remote.ip().to_canonical(), flow.remote.port());
        let listen = self.site.listen_index(flow.local)?;
        let possible = proxy::is_unicast(remote) && self.site.listen_index(remote).is_none();
        possible.then_some(Origin { now, listen, remote, room })
    }

    /// Whether the source may send one more message. A gateway carries the calls of many: it has no budget.
    pub(crate) fn budget(&mut self, origin: &Origin) -> bool {
        let source = origin.remote.ip();
        self.admission.budgets.take(origin.now, source) || self.gateways.trusts(source)
    }

    /// The fullest table that requests need, in percent.
    fn fullest(&self) -> u8 {
        let Occupancy { transactions, branches, kept, outbox, .. } = self.occupancy();
        let percent = |level: Level| (level.used * 100).checked_div(level.limit).unwrap_or(0).min(100) as u8;
        [transactions, branches, kept, outbox].map(percent).into_iter().max().unwrap_or(0)
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

    /// Tells those who watch dialogs of a final response that was chosen or made here, and leaves now.
    pub(crate) fn concluded(&mut self, now: Time, message: &Message<'_>) {
        let Self { dialogs, site, keys, counters, .. } = self;
        dialogs.response(&mut Scene { now, site, keys, counters }, message, None);
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

    /// `Ok(None)`: a transaction took it, and nothing of it goes on.
    pub(crate) fn response(
        &mut self,
        origin: &Origin,
        message: &Message<'_>,
        plan: &mut EditPlan,
    ) -> Result<Option<Step>, Reason> {
        let code = message.status().map_or(0, |line| line.code);
        self.counters.count(match code / 100 {
            1 => Event::Response1xx,
            2 => Event::Response2xx,
            3 => Event::Response3xx,
            4 => Event::Response4xx,
            5 => Event::Response5xx,
            _ => Event::Response6xx,
        });
        let vias = response::Vias::read(message)?;
        if vias.top.branch().is_some_and(Prober::is_probe) {
            return match self.prober.response(message, &self.gateways) {
                true => Ok(None),
                false => Err(Reason::ResponseForged),
            };
        }
        if vias.top.branch().is_some_and(Dialogs::is_bye) {
            let Self { dialogs, site, keys, counters, .. } = self;
            return match dialogs.bye_response(&mut Scene { now: origin.now, site, keys, counters }, message) {
                true => Ok(None),
                false => Err(Reason::ResponseForged),
            };
        }
        let (branch, next) = response::verify(message, &vias, &self.site, &self.keys, &self.core)?;
        let outcome = match branch.origin {
            branch::Origin::Stateless { listen, .. } => Outcome::Forward(listen, next, Keep::Nothing),
            branch::Origin::Transaction(slot) => {
                self.core.response(origin.now, slot, message, &mut self.counters)?
            }
        };
        self.tell_gateways();
        let (local, remote, keep, send) = match outcome {
            Outcome::Forward(local, remote, keep) => (local, remote, keep, true),
            Outcome::Keep(keep) => (origin.listen, next, keep, false),
            Outcome::Absorbed => return Ok(None),
        };
        // The configuration may have changed under a secret that stayed.
        self.site.listen(local).ok_or(Reason::ResponseForged)?;
        if send {
            self.answered(origin, message);
        }
        response::edit(message, &vias.top, &self.site, &self.keys, plan)?;
        if let Some(Ok(via)) = &vias.next {
            self.admission.feedback(via, plan).map_err(|_| Reason::NoRoom)?;
        }
        let answers = code / 100 == 2 && message.cseq().is_ok_and(|cseq| cseq.method == Method::Invite);
        let events = [Some(Event::ResponseForwarded), answers.then_some(Event::CallAnswered)];
        Ok(Some(Step { local, remote, request: false, send, keep, events }))
    }

    /// `Ok(None)`: a transaction took it, and nothing of it goes on.
    pub(crate) fn request(
        &mut self,
        origin: &Origin,
        message: Message<'_>,
        method: Method<'_>,
        plan: &mut EditPlan,
        answer: &mut Answer,
    ) -> Result<Option<Step>, Reason> {
        self.counters.count(match method {
            Method::Invite => Event::RequestInvite,
            Method::Ack => Event::RequestAck,
            Method::Cancel => Event::RequestCancel,
            Method::Bye => Event::RequestBye,
            Method::Register => Event::RequestRegister,
            Method::Options => Event::RequestOptions,
            _ => Event::RequestOther,
        });
        answer.clear();
        self.proven = false;
        let mut begin = None;
        let arrival = (origin.listen, origin.remote);
        let done = match Request::read(message, method, &self.site, &self.keys, arrival) {
            Ok(mut request) => {
                let key = request.key(&self.keys);
                match self.retransmission(origin, key, method) {
                    Some(Known::Absorbed) => return Ok(None),
                    Some(Known::Cancelled) => {
                        self.begun(origin, &request, None);
                        return self.answer(origin, &message, 200, plan, answer).map(Some);
                    }
                    Some(Known::Acknowledged) => {}
                    None if request.acknowledges_us(&self.keys) => return Err(Reason::Ack),
                    None => {}
                }
                // Not where its token is for: perhaps the other end has moved since.
                if request.token == Some(false) && self.dialogs.permits(&self.keys, &request) {
                    request.token = Some(true);
                    self.counters.count(Event::DialogMoved);
                }
                begin = Some(Begin {
                    key,
                    invite: method == Method::Invite,
                    listen: request.listen,
                    reply_to: request.reply_to,
                    local: request.listen,
                    remote: request.reply_to,
                    first: First::default(),
                    breadth: 0,
                    recorded: false,
                });
                self.admission(origin, &request)
                    .and_then(|()| self.carry_out(origin, &request, key, plan, answer))
            }
            Err(refusal) => Err(refusal),
        };
        match done {
            Ok(Done::Forwarded(local, remote, keep, event)) => {
                let events = [Some(Event::RequestForwarded), event];
                Ok(Step { local, remote, request: true, send: true, keep, events })
            }
            Ok(Done::Served) => {
                let step = self.reply(origin, &message, method, 200, plan, answer)?;
                Ok(self.remember(origin, step, (begin, 200), plan))
            }
            Err(Refusal::Awaited) => return Err(Reason::Awaited),
            Err(refusal) => {
                let step = self.refuse(origin, &message, &refusal, plan, answer)?;
                Ok(self.remember(origin, step, (begin, refusal.code()), plan))
            }
        }
        .map(Some)
    }

    /// Keeps the answer to a request with credentials, which are good once: when it comes again it gets the same, and is not
    /// carried out again (section 8.2.7 has no stateless registrars). What comes from somebody who has not shown who he is
    /// takes no memory.
    fn remember(
        &mut self,
        origin: &Origin,
        step: Step,
        (begin, code): (Option<Begin>, u16),
        plan: &EditPlan,
    ) -> Step {
        if self.config.stateless || !self.proven {
            return step;
        }
        let Some(begin) = begin else { return step };
        match self.core.answered(origin.now, &begin, (code, plan.edited_len())) {
            Some(slot) => Step { keep: Keep::Last(slot), ..step },
            None => {
                self.counters.count(Event::TransactionLimit);
                step
            }
        }
    }

    /// What is left to do with a request that a transaction knows; `None` when none does.
    fn retransmission(&mut self, origin: &Origin, key: u128, method: Method<'_>) -> Option<Known> {
        let transaction = self.core.find(key)?;
        Some(self.core.again(origin.now, transaction, method, &mut self.counters))
    }

    /// Whether there is room for this request, now and for this source.
    fn admission(&mut self, origin: &Origin, request: &Request<'_>) -> Result<(), Refusal> {
        let goes_on = request.in_our_dialog() || matches!(request.method, Method::Ack | Method::Cancel);
        if self.draining && !goes_on {
            return Err(Refusal::Draining(limit::RETRY_AFTER));
        }
        let load = self.admission.load(origin.now, self.fullest());
        if request.in_our_dialog() {
            self.admission.budgets.vouch(origin.remote.ip());
        }
        if goes_on {
            return Ok(());
        }
        if load <= admission::FIRST {
            return Ok(());
        }
        let source = origin.remote.ip();
        let class =
            self.admission.class(source, self.gateways.trusts(source), self.refreshes(origin, request));
        self.admission.judge(class, load, request.headers.call_id).map_err(Refusal::Overload)
    }

    /// Whether this is a REGISTER of a user who has a binding.
    fn refreshes(&self, origin: &Origin, request: &Request<'_>) -> bool {
        let user = || {
            let uri = request.headers.to.uri().ok()?;
            let domain = self.site.domain(&uri.host()?, uri.port())?;
            let user = User::read(uri.user()?)?;
            let aor = self.location.aor(domain, user.as_bytes());
            Some(self.location.find(aor, origin.now, |found| matches!(found, Found::Targets(_))))
        };
        request.method == Method::Register && user().unwrap_or(false)
    }

    /// Who sends this request; `None` where that is not asked. ACK and CANCEL cannot be challenged (RFC 3261 section
    /// 22.1), and who is in a dialog of ours has been before.
    fn digest(
        &mut self,
        origin: &Origin,
        request: &Request<'_>,
        for_us: bool,
    ) -> Result<Option<Identity>, Refusal> {
        if !self.config.auth_required
            || matches!(request.method, Method::Ack | Method::Cancel)
            || (!for_us && request.in_our_dialog())
        {
            return Ok(None);
        }
        if self.gateways.trusts(origin.remote.ip()) {
            return Ok(Some(Identity::TrustedPeer));
        }
        let role = if for_us { Role::Server } else { Role::Proxy };
        let checked = self.auth.check(origin.now, request, role, &self.site, &mut self.counters);
        // Who may not is known all the same, and his credentials are used.
        self.proven = matches!(checked, Ok(Identity::User) | Err(Refusal::Forbidden));
        let identity = checked?;
        self.admission.budgets.vouch(origin.remote.ip());
        Ok(Some(identity))
    }

    /// Plans that credentials for our realm go no further than here.
    fn consume_credentials(&self, request: &Request<'_>, plan: &mut EditPlan) -> Result<(), Refusal> {
        if self.config.auth_required {
            for line in request.message.headers(HeaderName::ProxyAuthorization) {
                if self.auth.is_ours(line.value) {
                    plan.delete(line.line_range).map_err(|_| Refusal::TooLarge)?;
                }
            }
        }
        Ok(())
    }

    /// Which way the request goes: one of a dialog of ours by its Routes and Request-URI, one with a Route by that, all
    /// others as the rules say.
    fn routing(
        &mut self,
        origin: &Origin,
        request: &Request<'_>,
        destination: &Destination,
        sender: Option<Identity>,
    ) -> Result<Way, Refusal> {
        let known = self.is_known(origin, sender);
        let routed = request.routes.next().is_some();
        if routed || request.in_our_dialog() {
            let elsewhere = routed || matches!(destination, Destination::Elsewhere);
            if elsewhere && !request.in_our_dialog() && !known {
                return Err(Refusal::Relay);
            }
            return Action::of(destination).map(|action| Way { action, rewritten: false, stateless: false });
        }
        let parties = self.routing.wants_parties();
        let facts = RouteFacts {
            method: match request.method {
                // They follow their INVITE.
                Method::Ack | Method::Cancel => Method::Invite,
                method => method,
            },
            source: origin.remote.ip(),
            from: parties.then(|| request.headers.from.uri().ok()).flatten(),
            to: parties.then(|| request.headers.to.uri().ok()).flatten(),
            uri: request.uri,
        };
        let Decision { action, rewritten, rule, stateless } = self.routing.decide(&facts, &mut self.written);
        let destination = match rewritten {
            true => {
                let uri = Uri::parse(self.written.as_bytes()).map_err(Refusal::Uri)?;
                Destination::of(&uri, &self.site)
            }
            false => *destination,
        };
        let action = match action {
            routing::Action::Reject(rejection) => return Err(Refusal::Rejected(rejection)),
            routing::Action::Gateway(group) => Action::Gateway(group),
            routing::Action::Location if !matches!(destination, Destination::User(_)) => {
                return Err(Refusal::NotFound);
            }
            routing::Action::Location | routing::Action::Uri => Action::of(&destination)?,
        };
        // Out of the house go requests of those we know. Where nobody has to say who he is, the rules alone decide.
        // ACK and CANCEL cannot say it: they do nothing where their INVITE has not been.
        let out = !matches!(action, Action::Location(_));
        let known = known || (rule.is_some() && matches!(request.method, Method::Ack | Method::Cancel));
        if out && !known && (self.config.auth_required || rule.is_none()) {
            return Err(Refusal::Relay);
        }
        Ok(Way { action, rewritten, stateless })
    }

    /// Whether the sender of a request is known to be one whose requests may leave for elsewhere.
    fn is_known(&self, origin: &Origin, sender: Option<Identity>) -> bool {
        sender.is_some() || self.gateways.trusts(origin.remote.ip())
    }

    /// Plans the forwarding to where the request goes.
    fn targets(
        &mut self,
        origin: &Origin,
        request: &Request<'_>,
        way: &Way,
        (looped, leads_to): (u32, branch::Origin),
        breadth: u8,
        plan: &mut EditPlan,
    ) -> Result<(u8, SocketAddr, First), Refusal> {
        let fork = matches!(leads_to, branch::Origin::Transaction(_));
        let uri = match way.rewritten {
            true => Uri::parse(self.written.as_bytes()).map_err(Refusal::Uri)?,
            false => request.uri,
        };
        let mut forward = Forward {
            site: &self.site,
            keys: &self.keys,
            record_route: self.config.record_route,
            looped,
            origin: leads_to,
            resolved: None,
            breadth,
        };
        let elsewhere = matches!(way.action, Action::Elsewhere);
        let routed = request.routes.next().is_some();
        let flow = elsewhere.then(|| self.flow_in_dialog(origin, request, &uri)).flatten();
        let next = match request.routes.next() {
            _ if flow.is_some() => None,
            Some(route) => Some(route.uri().map_err(|e| Refusal::UriIn(HeaderName::Route, e))?),
            None => elsewhere.then_some(uri),
        };
        let mut first = First::default();
        if let Some((name, port, udp)) = next.as_ref().and_then(proxy::named) {
            let seed = Gateways::call(&self.keys, request.headers.call_id);
            match self.resolver.lookup(origin.now, seed, name, port, udp) {
                Lookup::Ready(addresses) => {
                    let mut usable = addresses.iter().filter(|at| proxy::is_usable(*at, &self.site));
                    forward.resolved = usable.next();
                    // A strict router would need its own URI in the place of the target's.
                    if fork && next.as_ref().is_some_and(|uri| elsewhere && !routed || uri.is_loose()) {
                        first = First { q: FIRST_Q, failover: Failover::Name, ..First::default() };
                        for (at, q) in usable.zip((0..FIRST_Q).rev()) {
                            if let Some(local) = forward.leaves_from(request, at) {
                                let text = (uri.as_bytes(), &b""[..]);
                                self.core.stage((local, at), (q, 0), text, &mut self.counters);
                            }
                        }
                    }
                }
                Lookup::Waiting => return Err(Refusal::Awaited),
                Lookup::Failed => {}
            }
        }
        let alone = |(local, remote)| (local, remote, first);
        match way.action {
            Action::Elsewhere => match flow {
                Some(flow) => forward.plan_over(request, uri.as_bytes(), flow, plan),
                None => forward.plan(request, &uri, plan),
            }
            .map(alone),
            Action::Gateway(group) => {
                let call = Gateways::call(&self.keys, request.headers.call_id);
                let first =
                    self.gateways.choose(group, call, Tried::default()).ok_or(Refusal::GatewaysDown)?;
                let aimed = routing::aimed(&uri, &self.site, first.address, &mut self.aimed)?;
                let (local, remote) = forward.plan_to(request, aimed, first.address, plan)?;
                if !fork {
                    self.gateways.chosen(group, first.target);
                    return Ok((local, remote, First::default()));
                }
                let (mut tried, mut q) = (Tried::default().with(first.target), FIRST_Q);
                while let Some(next) = self.gateways.choose(group, call, tried) {
                    (tried, q) = (tried.with(next.target), q - 1);
                    let aimed = routing::aimed(&uri, &self.site, next.address, &mut self.aimed)?;
                    if let Some(local) = forward.leaves_from(request, next.address) {
                        let to = (local, next.address);
                        self.core.stage(to, (q, next.target), (aimed, b""), &mut self.counters);
                    }
                }
                let failover = Failover::Gateway(group);
                Ok((local, remote, First { q: FIRST_Q, path: false, failover, address: first.target }))
            }
            Action::Location(domain) => {
                let (core, counters) = (&mut self.core, &mut self.counters);
                gruu::find(&self.location, &self.keys, (domain, &uri), origin.now, |found| match found {
                    Found::Unknown => Err(Refusal::NotFound),
                    Found::Offline => Err(Refusal::Unavailable),
                    Found::Unreachable => Err(Refusal::Unreachable),
                    Found::Targets(mut targets) => {
                        let first = targets.next().ok_or(Refusal::Unreachable)?;
                        if fork {
                            let equals = targets.clone().take_while(|target| target.q == first.q).count();
                            let active = (1 + equals).min(usize::from(breadth));
                            forward.breadth = fork::targets::share(breadth, active, 0);
                        }
                        let (local, remote) = forward.plan_target(request, &first, plan)?;
                        if fork {
                            for target in targets {
                                // One that nothing leads to is no target (section 16.5).
                                if let Some(to) = forward.way_to(request, &target) {
                                    core.stage(to, (target.q, 0), (target.uri, target.path), counters);
                                }
                            }
                        }
                        Ok((
                            local,
                            remote,
                            First { q: first.q, path: !first.path.is_empty(), ..First::default() },
                        ))
                    }
                })
                .unwrap_or(Err(Refusal::NotFound))
            }
        }
    }

    /// The flow to the other party of a dialog, when he is a user of ours whom only his flow reaches. What he wrote into
    /// Contact is the Request-URI now; it leads nowhere from here.
    fn flow_in_dialog(&self, origin: &Origin, request: &Request<'_>, uri: &Uri<'_>) -> Option<BoundFlow> {
        if !request.in_our_dialog() || request.routes.next().is_some() {
            return None;
        }
        let party = request.headers.to.uri().ok()?;
        let domain = self.site.domain(&party.host()?, party.port())?;
        let aor = self.location.aor(domain, User::read(party.user()?)?.as_bytes());
        self.location.flow_to(aor, uri, origin.now)
    }

    /// Tells those who watch dialogs of a request that is sent on.
    fn begun(&mut self, origin: &Origin, request: &Request<'_>, gateway: Option<u16>) {
        let Self { dialogs, site, keys, counters, .. } = self;
        let source = Source { listen: origin.listen, remote: origin.remote };
        dialogs.request(&mut Scene { now: origin.now, site, keys, counters }, request, source, gateway);
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

    /// Tells those who watch dialogs of a response that is sent on.
    fn answered(&mut self, origin: &Origin, message: &Message<'_>) {
        let Self { dialogs, site, keys, counters, .. } = self;
        let source = Source { listen: origin.listen, remote: origin.remote };
        dialogs.response(&mut Scene { now: origin.now, site, keys, counters }, message, Some(source));
    }

    /// RFC 3261 sections 16.3 to 16.6; for what ends here, sections 8.2 and 10.3.
    fn carry_out(
        &mut self,
        origin: &Origin,
        request: &Request<'_>,
        key: u128,
        plan: &mut EditPlan,
        answer: &mut Answer,
    ) -> Result<Done, Refusal> {
        if request.token == Some(false) {
            self.counters.count(Event::TokenInvalid);
        }
        let destination = Destination::of(&request.uri, &self.site);
        let routed = request.routes.next().is_some();
        let ours = match destination {
            Destination::Us => true,
            Destination::User(_) => request.method == Method::Register,
            Destination::Nobody | Destination::Elsewhere => false,
        };
        // Section 16.3 item 3: we may answer an OPTIONS that may go no further.
        let last_hop = request.method == Method::Options && request.headers.max_forwards == Some(0);
        let for_us = (ours && !routed) || last_hop;
        let looped = proxy::validate(request, for_us, &self.site, &self.keys)?;
        let sender = self.digest(origin, request, for_us)?;
        if for_us {
            return self.serve(origin, request, answer).map(|()| Done::Served);
        }
        let way = self.routing(origin, request, &destination, sender)?;
        if !self.dialogs.admits(&self.keys, request) {
            return Err(Refusal::DialogsFull(limit::RETRY_AFTER));
        }
        let place = self.place(request, way.stateless)?;
        let leads_to = match place {
            Some(slot) => branch::Origin::Transaction(slot),
            None => branch::Origin::Stateless { listen: request.listen, unique: key as u64 },
        };
        let breadth = proxy::max_breadth(&request.message);
        if breadth == 0 {
            return Err(Refusal::Breadth);
        }
        self.core.unstage();
        let (local, remote, first) =
            self.targets(origin, request, &way, (looped, leads_to), breadth, plan)?;
        self.consume_credentials(request, plan)?;
        let keep = match place {
            Some(_) => {
                let begin = Begin {
                    key,
                    invite: request.method == Method::Invite,
                    listen: request.listen,
                    reply_to: request.reply_to,
                    local,
                    remote,
                    first,
                    breadth,
                    recorded: self.config.record_route && proxy::makes_dialog(request.method),
                };
                self.begin(origin, request, &begin)
            }
            None => Keep::Nothing,
        };
        let gateway = match way.action {
            Action::Gateway(group) => Some(group),
            Action::Location(_) | Action::Elsewhere => None,
        };
        self.begun(origin, request, gateway);
        let event = match request.method {
            Method::Invite if request.headers.to.tag().is_none() => Some(Event::CallBegun),
            Method::Bye => Some(Event::CallEnded),
            _ => None,
        };
        Ok(Done::Forwarded(local, remote, keep, event))
    }

    /// The place for a transaction of this request. `None`: it goes without, because its method has none (section 16.11
    /// for CANCEL, 17 for ACK), because a rule or the configuration says so, or because the tables are full and it belongs to a
    /// dialog of ours.
    fn place(&mut self, request: &Request<'_>, stateless: bool) -> Result<Option<branch::Slot>, Refusal> {
        if stateless || self.config.stateless || matches!(request.method, Method::Ack | Method::Cancel) {
            return Ok(None);
        }
        let place = self.core.vacant();
        match place.filter(|_| self.core.has_room(request.message.bytes().len() + FORWARD_GROWTH)) {
            Some(slot) => Ok(Some(slot)),
            None if request.in_our_dialog() => {
                self.counters.count(Event::TransactionLimit);
                Ok(None)
            }
            None => Err(Refusal::TransactionsFull(limit::RETRY_AFTER)),
        }
    }

    /// Begins the transaction of a request that is about to be sent on; to an INVITE, a 100 is sent at once.
    fn begin(&mut self, origin: &Origin, request: &Request<'_>, begin: &Begin) -> Keep {
        let Some(transaction) = self.core.begin(origin.now, begin, &mut self.counters) else {
            return Keep::Nothing;
        };
        if begin.invite {
            let message = &request.message;
            let (received, rport) = request.via_marks();
            let trying = |plan: &mut EditPlan| {
                let reply = Reply { code: 100, received, rport, ..Reply::default() };
                plan.reply_read(message, &request.headers, &reply)
            };
            self.core.trying(transaction, message, trying, &mut self.counters);
        }
        Keep::Request(transaction)
    }

    /// A request for this server itself: what the 200 says goes into `answer`.
    fn serve(&mut self, origin: &Origin, request: &Request<'_>, answer: &mut Answer) -> Result<(), Refusal> {
        match request.method {
            Method::Register => {
                // The reply keeps less of the request than there is; what is added beside the bindings is small.
                let room = origin.room.saturating_sub(request.message.bytes().len() + REPLY_GROWTH);
                let mut registrar = Registrar {
                    config: &self.config,
                    site: &self.site,
                    keys: &self.keys,
                    location: &self.location,
                    expiry: &mut self.expiry,
                    counters: &mut self.counters,
                };
                registrar.register(request, origin.now, room, &mut answer.lines)?;
                self.admission.budgets.vouch(origin.remote.ip());
                if let Some(clock) = &self.clock {
                    answer.offer(&[b"Date: ", &clock.date(origin.now)]);
                }
            }
            Method::Options => {
                if request.message.has(HeaderName::Require) {
                    return Err(Refusal::Extension(HeaderName::Require));
                }
                // Section 11.2. A body of any type is as good as none; there are no extensions yet.
                answer.offer(&[b"Allow: ", ALLOW.as_bytes()]);
                answer.offer(&[b"Accept: */*"]);
                answer.offer(&[b"Supported:"]);
            }
            Method::Other(_) => return Err(Refusal::UnknownMethod),
            _ => return Err(Refusal::Method),
        }
        if !self.config.server.is_empty() {
            answer.offer(&[b"Server: ", self.config.server.as_bytes()]);
        }
        Ok(())
    }

    /// Plans the reply that says why not.
    pub(crate) fn refuse(
        &mut self,
        origin: &Origin,
        message: &Message<'_>,
        refusal: &Refusal,
        plan: &mut EditPlan,
        answer: &mut Answer,
    ) -> Result<Step, Reason> {
        if let Some(event) = refusal.event() {
            self.counters.count(event);
        }
        answer.clear();
        answer.refuse(refusal, message);
        let method = message.method().ok_or(Reason::Unanswerable)?;
        if let Refusal::Challenge { role, stale } = *refusal {
            self.auth.challenge(origin.now, origin.remote, (role, stale), &mut answer.challenges);
        }
        if !self.config.auth_required || self.proven {
            return self.reply(origin, message, method, refusal.code(), plan, answer);
        }
        // Whoever it is has not shown who he is, and may not be where he says: he gets no more than he has sent.
        let source = origin.remote.ip();
        answer.room = self.auth.credit.receive(source, message.datagram().len());
        let step = self.reply(origin, message, method, refusal.code(), plan, answer)?;
        if !self.auth.credit.spend(source, plan.edited_len()) {
            return Err(Reason::Withheld);
        }
        Ok(step)
    }

    /// Plans the reply to the request: to the address it came from (RFC 3261 section 18.2.2, RFC 3581).
    fn reply(
        &self,
        origin: &Origin,
        message: &Message<'_>,
        method: Method<'_>,
        code: u16,
        plan: &mut EditPlan,
        answer: &Answer,
    ) -> Result<Step, Reason> {
        match method {
            Method::Ack => return Err(Reason::Ack),
            Method::Cancel => return Err(Reason::Cancel),
            _ => {}
        }
        self.answer(origin, message, code, plan, answer)
    }

    /// As [`reply`](Self::reply), whatever the method.
    fn answer(
        &self,
        origin: &Origin,
        message: &Message<'_>,
        code: u16,
        plan: &mut EditPlan,
        answer: &Answer,
    ) -> Result<Step, Reason> {
        let via = message.top_via().map_err(|_| Reason::Unanswerable)?;
        answer.plan(message, &via, origin.remote, code, &self.keys, plan).map_err(|_| Reason::NoRoom)?;
        self.admission.feedback(&via, plan).map_err(|_| Reason::NoRoom)?;
        let remote = request::reply_to(&via, origin.remote);
        let events = [Some(reply_event(code)), None];
        Ok(Step { local: origin.listen, remote, request: false, send: true, keep: Keep::Nothing, events })
    }
}
