//! What is no call: REGISTER with and without digest, its challenge, OPTIONS, and a request in a dialog without state.

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use strowger_engine::{Engine, Time};

use super::Size;
use super::frames::{BATCH, Frames};
use super::phones::{self, Algorithm, Call, Phone, US, header, mix};
use super::site::{Site, run_timers};
use crate::case::Case;

/// What a batch of phones sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request {
    /// A REGISTER with credentials, or without any.
    Register(Option<Algorithm>),
    /// A REGISTER that is challenged.
    Challenged,
    /// An OPTIONS for the server.
    Options,
}

/// An engine and the users that speak to it, another batch of them each time.
pub struct Requests {
    engine: Engine,
    size: Size,
    now: Time,
    next: u64,
    /// The last CSeq of anybody's REGISTER.
    numbers: Rc<Cell<u32>>,
    frames: Frames,
}

impl Requests {
    /// Users of this site who speak to this engine of it.
    ///
    /// # Panics
    /// Never.
    #[must_use]
    pub fn new(engine: Engine, size: Size, site: &Site) -> Self {
        let frames = Frames::new(US.parse().expect("an address"));
        Self { engine, size, now: site.now, next: 0, numbers: Rc::clone(&site.numbers), frames }
    }

    /// Anybody, but nobody twice in a batch: a request that comes again is not answered anew.
    fn phone(&self, at: usize) -> Phone {
        let apart = self.size.users / BATCH as u64;
        Phone((mix(self.next) % self.size.users + at as u64 * apart) % self.size.users)
    }

    /// Lets a batch's time go by, as if as many transactions were to stay as the size says; then fills the frames for
    /// the next batch of phones.
    fn make_ready(&mut self, request: Request) {
        self.now = self.now.after(self.size.step(1));
        run_timers(&mut self.engine, self.now);
        self.next += BATCH as u64;
        let mut answers = [const { None }; BATCH];
        if let Request::Register(Some(algorithm)) = request {
            self.fill(Request::Challenged, &answers);
            self.frames.handle(&mut self.engine, self.now);
            for (at, answer) in answers.iter_mut().enumerate() {
                let (_, challenge) = self.frames.sent(at).expect("a challenge");
                let nonce = phones::nonce(challenge).expect("a nonce");
                *answer = Some(algorithm.authorization(self.phone(at), nonce));
            }
        }
        self.fill(request, &answers);
    }

    fn fill(&mut self, request: Request, answers: &[Option<String>; BATCH]) {
        self.frames.clear();
        let number = self.numbers.get() + 1;
        self.numbers.set(number);
        for (at, answer) in answers.iter().enumerate() {
            let phone = self.phone(at);
            let message = match request {
                Request::Options => phones::options(phone, number),
                Request::Register(_) | Request::Challenged => {
                    phones::register(phone, number, answer.as_deref())
                }
            };
            self.frames.push(phone.address(), &message);
        }
    }

    fn check(&self, request: Request) {
        let begins = if request == Request::Challenged { "SIP/2.0 401 " } else { "SIP/2.0 200 " };
        for at in 0..BATCH {
            let sent = self.frames.sent(at);
            let right = sent.is_some_and(|(to, bytes)| {
                to == self.phone(at).address() && bytes.starts_with(begins.as_bytes())
            });
            let shown = sent.map(|(_, bytes)| String::from_utf8_lossy(bytes));
            assert!(right, "{request:?} should give {begins}, and gives {shown:?}");
        }
    }
}

/// One kind of request as a case.
pub struct RequestCase {
    requests: Rc<RefCell<Requests>>,
    request: Request,
}

impl RequestCase {
    /// These users send that.
    #[must_use]
    pub fn new(requests: &Rc<RefCell<Requests>>, request: Request) -> Self {
        Self { requests: Rc::clone(requests), request }
    }
}

impl Case for RequestCase {
    fn prepare(&mut self) {
        self.requests.borrow_mut().make_ready(self.request);
    }

    fn run(&mut self) {
        let Requests { engine, now, frames, .. } = &mut *self.requests.borrow_mut();
        frames.handle(engine, *now);
    }

    fn operations(&self) -> u64 {
        BATCH as u64
    }
}

impl RequestCase {
    /// Runs once and checks what came out.
    ///
    /// # Panics
    /// It is not what should come out.
    pub fn check(mut self) -> Self {
        self.prepare();
        self.run();
        self.requests.borrow().check(self.request);
        self
    }
}

/// Messages of dialogs that are up, which differ; as many as are used in turn.
const DIALOGS: u64 = 4096;

/// A BYE that goes by its Route through an engine without transactions.
pub struct Relay {
    engine: Engine,
    now: Time,
    byes: Vec<(SocketAddr, Vec<u8>)>,
    at: usize,
    frames: Frames,
}

impl Relay {
    /// Sets calls up through this engine and makes their BYEs.
    ///
    /// # Panics
    /// A call does not come about.
    #[must_use]
    pub fn new(mut engine: Engine, size: Size, now: Time) -> Self {
        let mut frames = Frames::new(US.parse().expect("an address"));
        let mut pass = |remote, message: &[u8]| {
            frames.clear();
            frames.push(remote, message);
            frames.handle(&mut engine, now);
            frames.sent(0).expect("forwarded").1.to_vec()
        };
        let byes = (0..DIALOGS.min(size.users)).map(|number| {
            let call = Call::new(number, size.users);
            let arrived = pass(call.caller.address(), &call.invite());
            let answer = pass(call.callee.address(), &call.answer(&arrived, "200 OK"));
            let route = header(&answer, "Record-Route").expect("a Record-Route");
            let bye = call.in_dialog("BYE", 2, route);
            assert!(pass(call.caller.address(), &bye).starts_with(b"BYE "));
            (call.caller.address(), bye)
        });
        let byes = byes.collect();
        Self { engine, now, byes, at: 0, frames }
    }
}

impl Case for Relay {
    fn prepare(&mut self) {
        // A message from the same source again is within its budget only if time goes by.
        self.now = self.now.after(Duration::from_millis(10));
        self.frames.clear();
        for _ in 0..BATCH {
            self.at = (self.at + 1) % self.byes.len();
            let (source, bye) = &self.byes[self.at];
            self.frames.push(*source, bye);
        }
    }

    fn run(&mut self) {
        self.frames.handle(&mut self.engine, self.now);
    }

    fn operations(&self) -> u64 {
        BATCH as u64
    }
}
