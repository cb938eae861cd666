//! The element: one message in, one verdict out.
//!
//! Called by the worker that owns it, for each datagram and for its timer. Decides with the modules beside it, edits
//! the message where it lies, and never touches a socket, a clock or the heap on the way of a message that is
//! forwarded or answered (a REGISTER that changes bindings builds the next record).

use core::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use strowger_sip::{Buffer, EditPlan, Fault, Index, Message};

use crate::answer::Answer;
use crate::config::{Config, ConfigError};
use crate::counters::{Counters, Event};
use crate::date::WallClock;
use crate::dialog::{CallEvent, DialogFilter, DialogId, DialogView, KillError};
use crate::element::Element;
use crate::gateway::GatewayHealth;
use crate::location::{Lineage, Location, NotInherited};
use crate::refusal::Refusal;
use crate::resolve::{Query, Resolution};
use crate::sighting::Sighting;
use crate::stun;
use crate::time::Time;
use crate::users::Users;

/// The two ends of a UDP datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Flow {
    /// The listen address of ours.
    pub local: SocketAddr,
    /// The other end.
    pub remote: SocketAddr,
}

/// What becomes of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Verdict {
    /// The message that is now in the buffer leaves from `local` to `remote`.
    Send(Flow),
    /// Nothing leaves from this buffer: the message was absorbed, kept, or is answered through [`Engine::transmit`].
    /// The buffer's contents mean nothing any more.
    Taken,
    /// Nothing leaves, and the reason is counted; the buffer's contents mean nothing any more.
    Drop(Reason),
}

/// Why a message produced nothing. Each has its [`Event`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reason {
    /// CRLF or nothing, or a STUN indication: a keep-alive.
    KeepAlive,
    /// STUN, and no Binding request that could be answered (see [`stun`](crate::stun)).
    Stun,
    /// Neither request nor response.
    NotSip,
    /// A malformed request that cannot even be answered.
    Unanswerable,
    /// An ACK that ends here. An ACK is never answered.
    Ack,
    /// A CANCEL that ends here, of somebody for whom nothing is kept (RFC 3261 section 8.2.7).
    Cancel,
    /// A malformed response.
    ResponseMalformed,
    /// A response whose top Via is not ours (section 16.11).
    ResponseNotOurs,
    /// A response with a branch that we did not make for this transaction.
    ResponseForged,
    /// A response with a branch of ours whose transaction is over (RFC 6026 section 7.3), or another worker's.
    ResponseStray,
    /// A response with no Via but ours.
    ResponseNoNextVia,
    /// The name of the next hop is being asked for; the retransmission finds the answer.
    Awaited,
    /// From a source that sent more than it may.
    Budget,
    /// To an address that is not ours, or from one that cannot be answered.
    Flow,
    /// The buffer has no room for what must be added.
    NoRoom,
    /// A refusal, or an answer to STUN, that is longer than what its source has sent.
    Withheld,
}

impl Reason {
    /// Its counter.
    #[must_use]
    pub const fn event(self) -> Event {
        match self {
            Self::KeepAlive => Event::DropKeepAlive,
            Self::Stun => Event::DropStun,
            Self::NotSip => Event::DropNotSip,
            Self::Unanswerable => Event::DropUnanswerable,
            Self::Ack => Event::DropAck,
            Self::Cancel => Event::DropCancel,
            Self::ResponseMalformed => Event::DropResponseMalformed,
            Self::ResponseNotOurs => Event::DropResponseNotOurs,
            Self::ResponseForged => Event::DropResponseForged,
            Self::ResponseStray => Event::DropResponseStray,
            Self::ResponseNoNextVia => Event::DropResponseNoNextVia,
            Self::Awaited => Event::DropAwaited,
            Self::Budget => Event::DropBudget,
            Self::Flow => Event::DropFlow,
            Self::NoRoom => Event::DropNoRoom,
            Self::Withheld => Event::DropWithheld,
        }
    }
}

/// How full the tables of an engine are: what is used, and what there is room for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Occupancy {
    /// Server transactions.
    pub transactions: Level,
    /// Client transactions: a request that was forked has several.
    pub branches: Level,
    /// Octets of kept messages.
    pub kept: Level,
    /// Dialogs.
    pub dialogs: Level,
    /// Timers that run.
    pub timers: Level,
    /// Messages that wait for [`Engine::transmit`].
    pub outbox: Level,
}

/// One table of [`Occupancy`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Level {
    /// Entries in use.
    pub used: usize,
    /// Entries there is room for.
    pub limit: usize,
}

/// The SIP element of one worker: registrar and proxy.
pub struct Engine {
    element: Element,
    index: Box<Index>,
    plan: Box<EditPlan>,
    answer: Box<Answer>,
}

impl Engine {
    /// An element that serves `config` and looks users up in `location`.
    ///
    /// # Errors
    /// The configuration is wrong, or the table was made for another one.
    pub fn new(config: Arc<Config>, location: Arc<Location>) -> Result<Self, ConfigError> {
        Self::for_worker(config, location, 0)
    }

    /// As [`new`](Self::new), for the worker with this number, below [`limit::WORKERS`](crate::limit::WORKERS), of those
    /// that share the addresses.
    ///
    /// # Errors
    /// As [`new`](Self::new); a number that is too high.
    pub fn for_worker(
        config: Arc<Config>,
        location: Arc<Location>,
        worker: u16,
    ) -> Result<Self, ConfigError> {
        Ok(Self {
            element: Element::new(config, location, worker)?,
            index: Box::new(Index::new()),
            plan: Box::new(EditPlan::new()),
            answer: Box::new(Answer::new()),
        })
    }

    /// Shares what is known of gateways with the node's other workers, of which there are `workers`; this one, counted
    /// from 0, asks its share of the targets how they are. An engine that is not told so asks them all, and keeps what
    /// it learns to itself.
    ///
    /// # Errors
    /// `health` was made for other gateways.
    pub fn share_gateways(
        &mut self,
        health: Arc<GatewayHealth>,
        worker: usize,
        workers: usize,
    ) -> Result<(), ConfigError> {
        self.element.share_gateways(health, worker, workers)
    }

    /// Says who can authenticate. Never called, nobody can.
    pub fn set_users(&mut self, users: Arc<dyn Users>) {
        self.element.set_users(users);
    }

    /// Says that others may have served these addresses under this secret until `now`: for 64·T1, responses to requests of
    /// theirs go on by their Vias, although their transactions are gone. So a call that rings while a node is started again
    /// is answered. Called before the first message. It knows theirs by their time, so `now` must not have begun anew since.
    pub fn succeed(&mut self, now: Time) {
        self.element.succeed(now);
    }

    /// What the places in the lists of another node are here: its listen addresses as its configuration has them, and its
    /// [domains](Location::domains).
    #[must_use]
    pub fn lineage(&self, listen: &[SocketAddr], domains: &[String]) -> Lineage {
        self.element.lineage(listen, domains)
    }

    /// Takes a user with his bindings over from the node whose place this one takes, as its
    /// [`hand_over`](Location::hand_over) wrote them; returns how many bindings. `seen` is told where their phones send from and
    /// until when they are bound, as far as that is known. One that comes again replaces what was there. This engine sees to it that
    /// they run out. Called before the first message.
    ///
    /// # Errors
    /// See [`NotInherited`]; nothing has changed.
    pub fn inherit(
        &mut self,
        now: Time,
        user: &[u8],
        lineage: &Lineage,
        seen: &mut dyn FnMut(IpAddr, Time),
    ) -> Result<usize, NotInherited> {
        self.element.inherit(now, user, lineage, seen)
    }

    /// Makes this engine a stand-in for other workers that are stuck: responses to their requests go on by their Vias.
    /// One that keeps no transactions ([`Config::stateless`]) leaves nothing behind when they are back.
    pub fn stand_in(&mut self) {
        self.element.stand_in();
    }

    /// Says how far the caller is behind: 0 for nothing waiting, 100 for as much waiting as it has room for. From 75 on
    /// requests are refused, those that begin something and come from sources not known first (RFC 7339 for
    /// upstream servers that understand it, 503 for others). The engine's own tables count the same way.
    pub fn set_pressure(&mut self, percent: u8) {
        self.element.admission.set_pressure(percent);
    }

    /// Whether an OPTIONS from a trusted peer would get a 200 now: the engine is not [draining](Self::drain), and there
    /// is not so much to do that anything is refused.
    pub fn is_ready(&mut self, now: Time) -> bool {
        self.element.is_ready(now)
    }

    /// Handles one datagram. `message` holds it, with free room around it for what is added; after
    /// [`Verdict::Send`] it holds what is to be sent.
    pub fn handle(&mut self, now: Time, flow: Flow, message: &mut Buffer<'_>) -> Verdict {
        match self.decide(now, flow, message) {
            Ok(Some(flow)) => Verdict::Send(flow),
            Ok(None) => Verdict::Taken,
            Err(reason) => {
                self.element.counters.count(reason.event());
                Verdict::Drop(reason)
            }
        }
    }

    fn decide(&mut self, now: Time, flow: Flow, message: &mut Buffer<'_>) -> Result<Option<Flow>, Reason> {
        let Self { element, index, plan, answer } = self;
        // Origin and step are looked at where they lie: moving them out is more code than most of what is done here.
        let origin = element.origin(now, flow, message.capacity());
        let Some(origin) = &origin else { return Err(Reason::Flow) };
        if !element.budget(origin) {
            return Err(Reason::Budget);
        }
        let mut step = match Message::parse(message.message(), index) {
            Ok(parsed) => match parsed.method() {
                Some(method) => element.request(origin, parsed, method, plan, answer),
                None => element.response(origin, &parsed, plan),
            },
            Err(_) if stun::is_stun(message.message()) => return element.stun(origin, message).map(Some),
            Err(error) if error.fault == Fault::Empty => Err(Reason::KeepAlive),
            Err(error) if error.response => Err(Reason::ResponseMalformed),
            Err(error) if error.status().is_none() => Err(Reason::NotSip),
            Err(error) => match Message::salvage(message.message(), index) {
                Some(parsed) => {
                    element.refuse(origin, (&parsed, None), &Refusal::Unreadable(error), plan, answer)
                }
                None => Err(Reason::Unanswerable),
            }
            .map(Some),
        };
        let step = match &mut step {
            Ok(Some(step)) => step,
            Ok(None) => return Ok(None),
            Err(reason) => return Err(*reason),
        };
        match plan.apply(message) {
            Ok(()) => {}
            // The message is as it was: say that it is too large to be sent on.
            Err(_) if step.request => {
                element.abandon(step);
                let parsed = Message::parse(message.message(), index).map_err(|_| Reason::NoRoom)?;
                element.undone(now, &parsed, Refusal::TooLarge.code());
                *step = element.refuse(origin, (&parsed, None), &Refusal::TooLarge, plan, answer)?;
                plan.apply(message).map_err(|_| Reason::NoRoom)?;
            }
            Err(_) => return Err(Reason::NoRoom),
        }
        element.keep(now, step, message.message());
        if !step.send {
            return Ok(None);
        }
        element.finish(step).map(Some).ok_or(Reason::Flow)
    }

    /// The next message that leaves besides. `buffer` is empty memory: its range is empty and stands where a message
    /// should begin. On `Some` it holds the message, which leaves from `local` to `remote`.
    ///
    /// Called after [`handle`](Self::handle) and [`on_timeout`](Self::on_timeout) until `None`. A caller without memory
    /// may come later: nothing is lost but time. A message that the buffer has no room for waits for a larger one
    /// (`None`, although [`has_transmit`](Self::has_transmit)); one of [`MESSAGE`](strowger_sip::limit::MESSAGE)
    /// octets is always large enough.
    pub fn transmit(&mut self, now: Time, buffer: &mut Buffer<'_>) -> Option<Flow> {
        let Self { element, index, .. } = self;
        let flow = element.transmit(now, buffer)?;
        if let [b'S', b'I', b'P', b'/', b'2', b'.', b'0', b' ', b'3'..=b'6', ..] = buffer.message()
            && let Ok(message) = Message::parse(buffer.message(), index)
        {
            element.concluded(now, &message);
        }
        Some(flow)
    }

    /// Whether [`transmit`](Self::transmit) may have something.
    #[must_use]
    pub fn has_transmit(&self) -> bool {
        self.element.has_transmit()
    }

    /// How full the tables are.
    #[must_use]
    pub fn occupancy(&self) -> Occupancy {
        self.element.occupancy()
    }

    /// The next name that the node has to resolve (see [`resolve`](crate::resolve)). Called after
    /// [`handle`](Self::handle) until `None`.
    pub fn next_query(&mut self) -> Option<Query> {
        self.element.resolver.next_query()
    }

    /// Takes the answer to a [`Query`]. One that comes too late changes nothing.
    pub fn resolved(&mut self, now: Time, answer: &Resolution) {
        self.element.resolver.resolved(now, answer);
    }

    /// From now on requests that begin something get 503 with Retry-After; what is under way goes on.
    pub fn drain(&mut self, now: Time) {
        self.element.drain(now);
    }

    /// Whether nothing is under way: no request waits for its final response, nothing waits to be sent.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.element.is_idle()
    }

    /// Whether a [draining](Self::drain) engine can be let go of without harm to anybody: it [is idle](Self::is_idle),
    /// no refusal waits for its ACK, no call is being [killed](Self::kill), and the last 2xx to an INVITE has had 4·T1 to
    /// be repeated in, should it have been lost. Calls that are up do not count: all that they need is in their messages.
    ///
    /// Whoever cannot wait longer leaves after 64·T1: but for phones that ring, every transaction is over then.
    #[must_use]
    pub fn is_drained(&self, now: Time) -> bool {
        self.element.is_drained(now)
    }

    /// When [`on_timeout`](Self::on_timeout) is to be called next; `None` while nothing is waiting.
    #[must_use]
    pub fn timeout(&self) -> Option<Time> {
        self.element.timeout()
    }

    /// Lets timers fire and collects bindings that ran out, and asks gateways how they are: a bounded number, so [`timeout`](Self::timeout) may be due
    /// again at once. What is to be sent is then in [`transmit`](Self::transmit).
    pub fn on_timeout(&mut self, now: Time) {
        self.element.on_timeout(now);
    }

    /// What happened to calls since it was last asked, the oldest first; `None` when there is nothing more. The queue has
    /// [`Calls::max_events`](crate::Calls::max_events) places.
    pub fn next_event(&mut self) -> Option<CallEvent> {
        self.element.dialogs.next_event()
    }

    /// Some of the dialogs that fit `filter`, at most `most`, and where to go on: `from` is 0 at first, then what the
    /// last step said; `None` at the end. A step may find nothing and the next one something. A dialog that is there
    /// the whole time is in exactly one step.
    #[must_use]
    pub fn dialogs(&self, filter: &DialogFilter, from: u32, most: usize) -> (Vec<DialogView>, Option<u32>) {
        self.element.dialogs.views(filter, from, most)
    }

    /// Ends a call: a BYE to each end, as the other end would send it, repeated until it is answered or 64·T1 are over.
    /// They leave by [`transmit`](Self::transmit). Then an event says that the call was
    /// [killed](crate::EndReason::Killed).
    ///
    /// # Errors
    /// It cannot be ended; nothing has changed.
    pub fn kill(&mut self, now: Time, id: DialogId) -> Result<(), KillError> {
        self.element.kill(now, id)
    }

    /// Keeps up to `room` [`Sighting`]s for [`next_sighting`](Self::next_sighting) from now on; never called, none.
    pub fn watch_sources(&mut self, room: usize) {
        self.element.sightings.watch(room);
    }

    /// What sources have shown of themselves since it was last asked, the oldest first; `None` when there is nothing
    /// more. Those for which there was no room are counted as lost.
    pub fn next_sighting(&mut self) -> Option<Sighting> {
        self.element.sightings.next()
    }

    /// Says what the wall clock shows at `now`, for the Date header of replies to REGISTER. Called at start and
    /// whenever the wall clock may have been set; never called, there is no Date.
    pub fn set_wall_clock(&mut self, now: Time, unix_seconds: u64) {
        self.element.clock = Some(WallClock::new(now, unix_seconds));
    }

    /// What was counted so far.
    #[must_use]
    pub fn counters(&self) -> &Counters {
        &self.element.counters
    }
}
