//! Callers and callees without sockets and clock: messages and times go in, messages come out.
//!
//! One [`Agents`] plays a script with its own users, addresses and calls; `drive` runs one on each thread. The law is that
//! of the node's engine: [`Agents::receive`] and [`Agents::advance`] change the state and hand what is to be sent to the
//! [`Outbox`] at once; time is an argument. Everything is bounded: calls have places that were made at the start, and
//! where there is none a call is not begun, and counted. No allocation while it plays, but for the first failure of a kind.
//!
//! - `call`: what is kept of a call; its identity stands in its Call-ID, branches and tags.
//! - `caller`: client transactions and the caller's half of the dialog (RFC 3261 sections 8.1, 12, 13.2, 17.1).
//! - `callee`: the answers, with server transactions as far as a UAS needs them (sections 8.2, 13.3, 17.2).

mod call;
mod callee;
mod caller;
#[cfg(test)]
mod tests;

use std::net::SocketAddr;

use strowger_sip::{Digits, EditPlan, Index, Message};

use crate::digest::{Allowed, Nonce};
use crate::pace::{Pace, Random};
use crate::population::Population;
use crate::scenario::{BoundPart, BoundStep, Side};
use crate::span::Span;
use crate::tally::{Cause, Tally};
use crate::template::{Bound, Values};
use crate::timers::Timers;

use call::{Call, Callee, Caller, Ident};

/// Takes messages to be sent. The bytes are copied before it returns.
pub trait Outbox {
    /// Sends `message` from the side's address to `to`.
    fn send(&mut self, side: Side, to: SocketAddr, message: &[u8]);
}

/// RFC 3261's timers, nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// T1: estimate of the round trip.
    pub t1: u64,
    /// T2: longest interval between repetitions.
    pub t2: u64,
    /// 64·T1 (timers B, F and H), and how long a provisional response is believed in.
    pub patience: u64,
}

impl Default for Timing {
    fn default() -> Self {
        Self { t1: 500_000_000, t2: 4_000_000_000, patience: 32_000_000_000 }
    }
}

/// What one [`Agents`] plays, and as whom.
#[derive(Clone, Debug)]
pub struct Setup {
    /// The script with its constants in.
    pub parts: Vec<BoundPart>,
    /// How many legs the script measures.
    pub legs: usize,
    /// All users.
    pub population: Population,
    /// Those of this one: the first, and how many.
    pub users: (u32, u32),
    /// Each user once and in order, instead of again and again.
    pub once: bool,
    /// How long calls last.
    pub hold: Span,
    /// Where requests of each side go outside of dialogs: the proxy.
    pub target: [SocketAddr; 2],
    /// There is no proxy: callees answer each other's REGISTERs too.
    pub no_proxy: bool,
    /// Which challenges users answer.
    pub allowed: Allowed,
    /// The timers.
    pub timing: Timing,
    /// Calls at a time.
    pub places: u32,
    /// Tells this run's messages from another's.
    pub run: u32,
    /// For gaps, hold times and client nonces.
    pub seed: u64,
}

/// Calls begun in one turn at most, so that what arrives meanwhile is not left lying.
const BEGINNINGS: u32 = 32;
/// Longest message that is written.
const LONGEST: usize = 16 * 1024;

/// See the head of this file.
pub struct Agents {
    setup: Setup,
    calls: Vec<Call>,
    free: Vec<u32>,
    live: u32,
    timers: Timers,
    pace: Pace,
    window: (u64, u64),
    tally: Tally,
    /// Next user, from 0 on; without bound when each comes once.
    cursor: u32,
    /// Of whose turn it is in a mix: what each part is owed.
    owed: Vec<i64>,
    nonces: Vec<Option<Nonce>>,
    sequence: u32,
    random: Random,
    pen: Pen,
}

/// Room to read and write messages in.
struct Pen {
    /// Away while a message is read.
    index: Option<Box<Index>>,
    other_index: Box<Index>,
    plan: Box<EditPlan>,
    repeated: Box<callee::Repeated>,
    room: Box<[u8; LONGEST]>,
    other_room: Box<[u8; LONGEST]>,
}

impl Agents {
    /// Makes it. All that it will need is reserved here.
    #[must_use]
    pub fn new(setup: Setup) -> Self {
        let places = setup.places as usize;
        let remembers = setup.parts.iter().flat_map(|part| &part.steps).any(|step| {
            matches!(step, BoundStep::Request(request)
                if request.credentials == Some(crate::scenario::Credentials::Remember))
        });
        Self {
            // Reserved, not written: memory that no call needs is not taken.
            calls: Vec::with_capacity(places),
            free: Vec::with_capacity(places),
            live: 0,
            timers: Timers::new(setup.timing.t1, 4 * places),
            pace: Pace::stopped(),
            window: (0, 0),
            tally: Tally::new(setup.legs),
            cursor: 0,
            owed: vec![0; setup.parts.len()],
            nonces: if remembers { vec![None; setup.users.1 as usize] } else { Vec::new() },
            // CSeq numbers are below 2^31 (RFC 3261 section 8.1.1.5), and rise from one run to the next.
            sequence: 0,
            random: Random(setup.seed),
            pen: Pen {
                index: Some(Box::default()),
                other_index: Box::default(),
                plan: Box::default(),
                repeated: Box::default(),
                room: Box::new([0; LONGEST]),
                other_room: Box::new([0; LONGEST]),
            },
            setup,
        }
    }

    /// Begins a run: counts anew, calls begin as `pace` says, those meant to begin in `window` are measured. Calls that
    /// still go on are forgotten.
    pub fn begin(&mut self, pace: Pace, window: (u64, u64)) {
        self.pace = pace;
        self.window = window;
        self.tally = Tally::new(self.setup.legs);
        self.timers.clear();
        self.free.clear();
        for (place, call) in (0..).zip(&mut self.calls) {
            call.caller = Caller::Free;
            self.free.push(place);
        }
        self.live = 0;
    }

    /// Whether the last call has begun.
    #[must_use]
    pub fn begins_no_more(&self) -> bool {
        self.pace.is_stopped()
    }

    /// What goes on has failed.
    pub fn give_up(&mut self) {
        for place in 0..self.calls.len() as u32 {
            if self.calls.get(place as usize).is_some_and(|call| call.caller != Caller::Free) {
                self.fail(place, Cause::Unfinished);
            }
        }
    }

    /// Calls that go on.
    #[must_use]
    pub fn live(&self) -> u32 {
        self.live
    }

    /// What was counted since [`Self::begin`].
    #[must_use]
    pub fn tally(&self) -> &Tally {
        &self.tally
    }

    /// For the driver to count what it sent and received.
    pub(crate) fn traffic(&mut self) -> &mut crate::record::Traffic {
        &mut self.tally.traffic
    }

    /// Whether every call that was to begin has ended.
    #[must_use]
    pub fn over(&self, now: u64) -> bool {
        self.live == 0 && self.pace.over(now)
    }

    /// When [`Self::advance`] has something to do next.
    #[must_use]
    pub fn next(&self) -> Option<u64> {
        match (self.pace.next(self.live), self.timers.next()) {
            (Some(one), Some(other)) => Some(one.min(other)),
            (one, other) => one.or(other),
        }
    }

    /// Begins calls and fires timers that are due.
    pub fn advance(&mut self, now: u64, out: &mut dyn Outbox) {
        for _ in 0..BEGINNINGS {
            let Some(intended) = self.pace.due(now, self.live) else { break };
            self.begin_call(now, intended, out);
        }
        if self.pace.over(now) {
            self.pace = Pace::stopped();
        }
        while let Some(timer) = self.timers.fire(now) {
            let side = if timer.serial & 1 == 0 { Side::Caller } else { Side::Callee };
            let Some(call) = self.calls.get(timer.place as usize) else { continue };
            if call.caller == Caller::Free || call.timers[side as usize] != timer.serial {
                continue;
            }
            match side {
                Side::Caller => self.caller_timer(now, timer.place, timer.due, out),
                Side::Callee => self.callee_timer(now, timer.place, out),
            }
        }
    }

    /// Takes a datagram that came for `side`.
    pub fn receive(
        &mut self,
        now: u64,
        side: Side,
        source: SocketAddr,
        datagram: &[u8],
        out: &mut dyn Outbox,
    ) {
        self.tally.traffic.received += 1;
        // Taken out, so that the message can be read while all the rest changes; put back at the end.
        let mut index = self.pen.index.take().unwrap_or_default();
        match Message::parse(datagram, &mut index) {
            Ok(message) if message.is_request() => self.request(now, side, source, &message, out),
            Ok(message) => self.response(now, side, &message, out),
            // RFC 5626's keep-alives are no messages and no fault.
            Err(_) if datagram.iter().all(|byte| b"\r\n\0".contains(byte)) => {}
            Err(_) => self.tally.traffic.malformed += 1,
        }
        self.pen.index = Some(index);
    }

    fn begin_call(&mut self, now: u64, intended: u64, out: &mut dyn Outbox) {
        let place = match self.free.pop() {
            Some(place) => place,
            None if self.calls.len() < self.setup.places as usize => {
                self.calls.push(Call::NEW);
                (self.calls.len() - 1) as u32
            }
            None => {
                self.tally.skipped += 1;
                return;
            }
        };
        let part = self.choose_part();
        let (first, count) = self.setup.users;
        let (caller, callee) = if self.setup.once {
            (first + self.cursor % count, first + self.cursor % count)
        } else {
            // Half of the users away: everybody calls and is called.
            (first + self.cursor % count, first + (self.cursor % count + count / 2) % count)
        };
        self.cursor = self.cursor.wrapping_add(1) % count.max(1);
        let Some(call) = self.calls.get_mut(place as usize) else { return };
        call.begin(self.setup.run, place);
        call.steady = (self.window.0..self.window.1).contains(&intended);
        call.part = part;
        call.caller_user = caller;
        call.caller_name = self.setup.population.name(caller);
        call.callee_name = self.setup.population.name(callee);
        self.live += 1;
        self.tally.of(call.steady).begun += 1;
        self.play_step(now, place, intended, out);
    }

    /// Whose turn it is: each is owed its weight each time, and who is owed most pays the sum. So any stretch of the run
    /// has the parts in their proportion.
    fn choose_part(&mut self) -> u8 {
        let (mut most, mut sum) = (0, 0);
        for (at, part) in self.setup.parts.iter().enumerate() {
            self.owed[at] += i64::from(part.weight);
            sum += i64::from(part.weight);
            if self.owed[at] > self.owed[most] {
                most = at;
            }
        }
        self.owed[most] -= sum;
        most as u8
    }

    fn succeed(&mut self, place: u32) {
        let Some(call) = self.calls.get(place as usize) else { return };
        // What the callee knows of the call counts too.
        if call.callee == Callee::Answered {
            return self.fail(place, Cause::AckLost);
        }
        self.tally.of(call.steady).succeeded += 1;
        self.end(place);
    }

    fn fail(&mut self, place: u32, cause: Cause) {
        let Some(call) = self.calls.get(place as usize) else { return };
        let (part, step) = (call.part, if cause == Cause::AckLost { 0 } else { call.step });
        let counting = self.tally.of(call.steady);
        counting.failed += 1;
        *counting.failures.entry((part, step, cause)).or_default() += 1;
        self.end(place);
    }

    fn end(&mut self, place: u32) {
        if let Some(call) = self.calls.get_mut(place as usize) {
            call.caller = Caller::Free;
            self.free.push(place);
            self.live -= 1;
        }
    }

    /// The place of a call that goes on.
    fn find(&self, ident: Ident) -> Option<u32> {
        let call = self.calls.get(ident.place as usize)?;
        let known =
            ident.run == self.setup.run && ident.generation == call.generation && call.caller != Caller::Free;
        known.then_some(ident.place)
    }
}

/// Writes a request of a call; its length.
fn write_request(
    run: u32,
    call: &Call,
    template: &Bound,
    (serial, cseq): (u32, u32),
    authorization: &[u8],
    room: &mut [u8],
) -> Option<usize> {
    let branch = call::branch(&call.ident, serial);
    let mut registration = crate::text::Text::<64>::EMPTY;
    let _ = registration.push(&crate::text::hex(run))
        && registration.push(b"-")
        && registration.push(call.caller_name.as_bytes());
    let (cseq, sequence) = (Digits::new(cseq), Digits::new(call.sequence));
    let values = Values {
        caller: call.caller_name.as_bytes(),
        callee: call.callee_name.as_bytes(),
        branch: branch.as_bytes(),
        call_id: &call.ident,
        registration: registration.as_bytes(),
        cseq: cseq.as_bytes(),
        sequence: sequence.as_bytes(),
        tag: call.tag(),
        to_tag: call.to_tag.as_bytes(),
        remote: call.remote.as_bytes(),
        routes: call.routes.as_bytes(),
        authorization,
        ..Values::default()
    };
    template.write(&values, room)
}
