//! Calls through one engine in its steady state: as many begin as end, as many transactions run out as are made.
//!
//! The calls go in batches through the stages of a script, over and over; a case measures one stage and lets the others
//! pass. After each batch virtual time goes on, so that the tables hold what the [`Size`] says.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;

use strowger_engine::{Engine, Time};

use super::Size;
use super::frames::{BATCH, Frames};
use super::phones::{Call, US, header};
use super::site::run_timers;
use crate::case::Case;

/// One step of a batch of calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// The INVITE: looked up, recorded, forwarded. Its 100 is made here.
    Invite,
    /// The 100 leaves.
    Trying,
    /// The 180 goes back.
    Ringing,
    /// The 200 goes back.
    Answer,
    /// The ACK goes by its Route.
    Ack,
    /// The BYE of the call that has been up longest.
    Bye,
    /// Its 200.
    ByeAnswer,
    /// A batch's time goes by: timers of as many calls as began.
    Timers,
    /// The CANCEL of a call that rings is answered, and one goes on.
    Cancel,
    /// The answer to that one ends here.
    Cancelled,
    /// The 487 goes back, and is acknowledged.
    Terminated,
    /// The ACK of the 487 ends here.
    Acknowledged,
}

/// A call that is answered and hung up.
pub const ANSWERED: &[Stage] = &[
    Stage::Invite,
    Stage::Trying,
    Stage::Ringing,
    Stage::Answer,
    Stage::Ack,
    Stage::Bye,
    Stage::ByeAnswer,
    Stage::Timers,
];

/// A call that is given up while it rings.
pub const CANCELLED: &[Stage] = &[
    Stage::Invite,
    Stage::Trying,
    Stage::Ringing,
    Stage::Cancel,
    Stage::Cancelled,
    Stage::Terminated,
    Stage::Acknowledged,
    Stage::Timers,
];

/// Server transactions of an answered call.
const TRANSACTIONS: usize = 2;

/// A call that is up: its number, and its Route. Of fixed size and in memory that was touched, so that what the process
/// grows by is the engine's.
#[derive(Clone, Copy)]
struct Up {
    number: u64,
    route: [u8; 64],
}

/// See the head of this file.
pub struct Calls {
    /// The engine.
    pub engine: Engine,
    size: Size,
    script: &'static [Stage],
    at: usize,
    /// Whether the frames of this stage are filled.
    ready: bool,
    /// Whether this stage has been run.
    ran: bool,
    now: Time,
    next: u64,
    /// Calls that have to be up before the oldest is hung up.
    dialogs: usize,
    frames: Frames,
    besides: Frames,
    up: VecDeque<Up>,
    ending: Vec<Up>,
    /// The batch's requests as the callees got them.
    arrived: Vec<Vec<u8>>,
    /// The CANCELs as they got them.
    cancels: Vec<Vec<u8>>,
}

impl Calls {
    /// Calls through this engine, whose users are registered. Nothing has happened yet.
    #[must_use]
    pub fn new(engine: Engine, size: Size, script: &'static [Stage], now: Time) -> Self {
        let us = US.parse().expect("an address");
        let mut up: VecDeque<Up> =
            std::iter::repeat_n(Up { number: 1, route: [1; 64] }, size.dialogs + BATCH).collect();
        up.clear();
        Self {
            engine,
            size,
            script,
            at: 0,
            ready: false,
            ran: false,
            now,
            next: 0,
            dialogs: BATCH,
            frames: Frames::new(us),
            besides: Frames::new(us),
            up,
            ending: Vec::with_capacity(BATCH),
            arrived: vec![Vec::new(); BATCH],
            cancels: vec![Vec::new(); BATCH],
        }
    }

    /// Calls until the transaction tables are as full as they stay.
    pub fn fill_transactions(&mut self) {
        for _ in 0..self.size.transactions / (BATCH * TRANSACTIONS) + 8 {
            self.round();
        }
    }

    /// Calls until as many are up as the size says, and the transactions as before.
    pub fn fill_dialogs(&mut self) {
        self.dialogs = self.size.dialogs.max(BATCH);
        while self.up.len() < self.dialogs {
            self.round();
        }
        self.fill_transactions();
    }

    /// Calls that are up.
    #[must_use]
    pub fn up(&self) -> usize {
        self.up.len()
    }

    /// One batch through the whole script.
    fn round(&mut self) {
        for _ in 0..self.script.len() {
            self.make_ready();
            self.run();
            self.over();
        }
    }

    /// Lets stages pass until this one is next, and fills its frames.
    fn ready(&mut self, stage: Stage) {
        if self.ran {
            self.over();
        }
        while self.script[self.at] != stage {
            self.make_ready();
            self.run();
            self.over();
        }
        self.make_ready();
    }

    fn call(&self, at: usize) -> Call {
        Call::new(self.next + at as u64, self.size.users)
    }

    /// Fills the frames for the next stage.
    fn make_ready(&mut self) {
        if std::mem::replace(&mut self.ready, true) {
            return;
        }
        let stage = self.script[self.at];
        self.frames.clear();
        if stage == Stage::Bye {
            let over = self.up.len().saturating_sub(self.dialogs).min(BATCH);
            self.ending.clear();
            self.ending.extend(self.up.drain(..over));
        }
        for at in 0..BATCH {
            let call = self.call(at);
            let (caller, callee) = (call.caller.address(), call.callee.address());
            match stage {
                Stage::Invite => self.frames.push(caller, &call.invite()),
                Stage::Ringing => self.frames.push(callee, &call.answer(&self.arrived[at], "180 Ringing")),
                Stage::Answer => self.frames.push(callee, &call.answer(&self.arrived[at], "200 OK")),
                Stage::Ack => {
                    let up = &self.up[self.up.len() - BATCH + at];
                    self.frames.push(caller, &call.in_dialog("ACK", 1, route(up)));
                }
                Stage::Bye => {
                    let Some(up) = self.ending.get(at) else { break };
                    let call = Call::new(up.number, self.size.users);
                    self.frames.push(call.caller.address(), &call.in_dialog("BYE", 2, route(up)));
                }
                Stage::ByeAnswer => {
                    let Some(up) = self.ending.get(at) else { break };
                    let call = Call::new(up.number, self.size.users);
                    let answer = call.answer(&self.arrived[at], "200 OK");
                    self.frames.push(call.callee.address(), &answer);
                }
                Stage::Cancel => self.frames.push(caller, &call.with_invite("CANCEL")),
                Stage::Cancelled => self.frames.push(callee, &call.answer(&self.cancels[at], "200 OK")),
                Stage::Terminated => {
                    self.frames.push(callee, &call.answer(&self.arrived[at], "487 Request Terminated"));
                }
                Stage::Acknowledged => self.frames.push(caller, &call.with_invite("ACK")),
                Stage::Trying => break,
                Stage::Timers => {
                    self.now = self.now.after(self.size.step(TRANSACTIONS));
                    break;
                }
            }
        }
    }

    /// The measured work of the stage.
    #[inline]
    fn run(&mut self) {
        let Self { engine, now, frames, besides, .. } = self;
        match self.script[self.at] {
            Stage::Trying => besides.transmit(engine, *now),
            Stage::Timers => {
                run_timers(engine, *now);
            }
            Stage::Cancel | Stage::Terminated => {
                frames.handle(engine, *now);
                besides.transmit(engine, *now);
            }
            _ => frames.handle(engine, *now),
        }
        self.ran = true;
    }

    /// Checks what came out, keeps what later stages need, and goes on to the next stage.
    fn over(&mut self) {
        let stage = self.script[self.at];
        let expected = |at: usize| {
            let (calls, frames) = match stage {
                Stage::Timers | Stage::Cancelled | Stage::Acknowledged => return None,
                Stage::Trying => (self.call(at), &self.besides),
                Stage::Bye | Stage::ByeAnswer => {
                    (Call::new(self.ending.get(at)?.number, self.size.users), &self.frames)
                }
                _ => (self.call(at), &self.frames),
            };
            let (caller, callee) = (calls.caller.address(), calls.callee.address());
            let (remote, begins) = match stage {
                Stage::Invite => (callee, "INVITE sip:"),
                Stage::Trying => (caller, "SIP/2.0 100 "),
                Stage::Ringing => (caller, "SIP/2.0 180 "),
                Stage::Ack => (callee, "ACK sip:"),
                Stage::Bye => (callee, "BYE sip:"),
                Stage::Terminated => (caller, "SIP/2.0 487 "),
                _ => (caller, "SIP/2.0 200 "),
            };
            Some((remote, begins, frames.sent(at)))
        };
        for at in 0..BATCH {
            let Some((remote, begins, sent)) = expected(at) else { continue };
            let right = sent.is_some_and(|(to, bytes)| to == remote && bytes.starts_with(begins.as_bytes()));
            let shown = |(to, bytes): (_, &[u8])| format!("{to}: {}", String::from_utf8_lossy(bytes));
            assert!(right, "{stage:?} should give {begins} to {remote}, and gives {:?}", sent.map(shown));
        }
        match stage {
            Stage::Invite | Stage::Bye => {
                for (at, arrived) in self.arrived.iter_mut().enumerate() {
                    arrived.clear();
                    arrived.extend_from_slice(self.frames.sent(at).map_or(&[], |(_, bytes)| bytes));
                }
            }
            Stage::Answer => {
                for at in 0..BATCH {
                    let answer = self.frames.sent(at).map_or(&[][..], |(_, bytes)| bytes);
                    let value = header(answer, "Record-Route").expect("a Record-Route");
                    let mut route = [b' '; 64];
                    route[..value.len()].copy_from_slice(value.as_bytes());
                    self.up.push_back(Up { number: self.next + at as u64, route });
                }
            }
            Stage::Cancel => {
                // In the order of the calls, one for each.
                assert_eq!(self.besides.len(), BATCH, "a CANCEL goes to every callee");
                for (at, cancel) in self.cancels.iter_mut().enumerate() {
                    let (_, bytes) = self.besides.sent(at).expect("sent");
                    assert!(bytes.starts_with(b"CANCEL "));
                    cancel.clear();
                    cancel.extend_from_slice(bytes);
                }
            }
            Stage::Terminated => assert_eq!(self.besides.len(), BATCH, "every 487 is acknowledged"),
            Stage::Timers => {
                self.next += BATCH as u64;
                assert!(!self.engine.has_transmit(), "nothing has to be sent again");
            }
            _ => {}
        }
        (self.ready, self.ran) = (false, false);
        self.at = (self.at + 1) % self.script.len();
    }
}

fn route(up: &Up) -> &str {
    str::from_utf8(&up.route).unwrap_or_default().trim_end()
}

/// One stage as a case.
pub struct StageCase {
    calls: Rc<RefCell<Calls>>,
    stage: Stage,
}

impl StageCase {
    /// This stage of these calls.
    #[must_use]
    pub fn new(calls: &Rc<RefCell<Calls>>, stage: Stage) -> Self {
        Self { calls: Rc::clone(calls), stage }
    }
}

impl Case for StageCase {
    fn prepare(&mut self) {
        self.calls.borrow_mut().ready(self.stage);
    }

    fn run(&mut self) {
        self.calls.borrow_mut().run();
    }

    fn operations(&self) -> u64 {
        BATCH as u64
    }
}
