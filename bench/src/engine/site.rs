//! A node's tables of a given size: users with credentials, their bindings, and engines that share them.

use std::cell::Cell;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use strowger_engine::{
    Algorithm, Auth, Calls, Config, Credentials, Engine, Level, Location, Occupancy, Registrar, State, Time,
    Transactions, Users,
};

use super::Size;
use super::frames::{BATCH, Frames};
use super::phones::{self, Phone, US};
use crate::allocations::held;

/// Octets that an entry of each table takes.
#[derive(Clone, Copy, Debug, Default)]
pub struct Bytes {
    /// A binding: the table's part of it, the record, the entry in the queue of those that run out.
    pub binding: f64,
    /// A server transaction with one branch, their timers and their part of the hash table.
    pub transaction: f64,
    /// The messages kept for a transaction that is live, on average.
    pub kept: f64,
    /// A call that is up.
    pub dialog: f64,
    /// Bindings, transactions and calls that were live at once.
    pub live: (usize, usize, usize),
}

/// Who can authenticate: what a node's users file becomes, a map by name.
struct Known(HashMap<Box<[u8]>, Credentials>);

impl Known {
    fn new(users: u64) -> Self {
        let user = |n| {
            let phone = Phone(n);
            let ha1 = phone.ha1();
            let md5 = ha1.first_chunk().copied();
            let (sha256, sha512_256) = (Some(ha1), Some(ha1));
            let credentials = Credentials { md5, sha256, sha512_256, state: State::Active };
            (phone.user().into_bytes().into_boxed_slice(), credentials)
        };
        Self((0..users).map(user).collect())
    }
}

impl Users for Known {
    fn find(&self, user: &[u8], _domain: &str) -> Option<Credentials> {
        self.0.get(user).copied()
    }
}

/// See the head of this file.
pub struct Site {
    size: Size,
    location: Arc<Location>,
    users: Arc<Known>,
    /// When everybody was registered, and the transactions of that were over.
    pub now: Time,
    /// The last CSeq of a REGISTER; goes up with each.
    pub numbers: Rc<Cell<u32>>,
    binding: f64,
    transaction: f64,
}

impl Site {
    /// Registers every user with one contact; gives the engine that did it.
    ///
    /// # Panics
    /// The engine refuses one.
    #[must_use]
    pub fn new(size: Size) -> (Self, Engine) {
        let before = held();
        let location = Location::new(&config(size, false, false)).expect("a configuration");
        let empty = held() - before;
        let mut site = Self {
            size,
            location: Arc::new(location),
            users: Arc::new(Known::new(size.users)),
            now: Time::from_nanos(5_000_000_000),
            numbers: Rc::new(Cell::new(1)),
            binding: 0.0,
            transaction: transaction(),
        };
        let mut engine = site.engine(false, false);
        let before = held();
        let mut frames = Frames::new(US.parse().expect("an address"));
        let began = held();
        for first in (0..size.users).step_by(BATCH) {
            frames.clear();
            for n in first..size.users.min(first + BATCH as u64) {
                let phone = Phone(n);
                frames.push(phone.address(), &phones::register(phone, 1, None));
            }
            frames.handle(&mut engine, site.now);
            for at in 0..frames.len() {
                let (_, answer) = frames.sent(at).expect("an answer");
                assert!(answer.starts_with(b"SIP/2.0 200 "), "{}", String::from_utf8_lossy(answer));
            }
            site.now = site.now.after(size.step(1));
            run_timers(&mut engine, site.now);
        }
        site.now = site.now.after(Duration::from_secs(200));
        run_timers(&mut engine, site.now);
        let frames = began - before;
        site.binding = (empty + held() - before - frames) as f64 / size.users as f64;
        assert_eq!(site.location.bindings() as u64, size.users);
        (site, engine)
    }

    /// An engine of this node.
    ///
    /// # Panics
    /// The configuration is wrong.
    #[must_use]
    pub fn engine(&self, auth: bool, stateless: bool) -> Engine {
        let config = Arc::new(config(self.size, auth, stateless));
        let mut engine = Engine::new(config, Arc::clone(&self.location)).expect("a configuration");
        engine.set_users(Arc::clone(&self.users) as Arc<dyn Users>);
        engine
    }

    /// What the tables take: `grown` is what the process grew by when the calls that are up came up.
    #[must_use]
    pub fn bytes(&self, full: &Occupancy, up: usize, grown: u64) -> Bytes {
        let Level { used, .. } = full.transactions;
        Bytes {
            binding: self.binding,
            transaction: self.transaction,
            kept: full.kept.used as f64 / used.max(1) as f64,
            dialog: grown as f64 / up.max(1) as f64,
            live: (self.location.bindings(), used, up),
        }
    }
}

impl Size {
    /// How much time goes by with each batch, when each of its messages leaves so many server transactions behind and
    /// as many are to be live as the size says.
    #[must_use]
    pub fn step(&self, each: usize) -> Duration {
        // 64 * T1.
        Duration::from_secs(32) * (BATCH * each) as u32 / self.transactions.max(1) as u32
    }
}

/// Lets all timers fire that are due.
pub fn run_timers(engine: &mut Engine, now: Time) {
    while engine.timeout().is_some_and(|due| due <= now) {
        engine.on_timeout(now);
    }
}

/// What a place in the transaction tables takes: what an engine allocates more for many than for one.
fn transaction() -> f64 {
    const PLACES: usize = 100_000;
    let allocated = |places| {
        let transactions = Transactions { max: places, max_branches: places, max_kept: 1 << 20 };
        let config = Config { transactions, ..config(super::SMALL, false, false) };
        let location = Arc::new(Location::new(&config).expect("a configuration"));
        let before = held();
        let engine = Engine::new(Arc::new(config), location).expect("a configuration");
        let allocated = held() - before;
        drop(engine);
        allocated
    };
    (allocated(PLACES) - allocated(1)) as f64 / (PLACES - 1) as f64
}

fn config(size: Size, auth: bool, stateless: bool) -> Config {
    // With a third free: from three quarters on admission begins to refuse strangers.
    let max = size.transactions * 3 / 2 + 4 * BATCH;
    Config {
        listen: vec![US.parse().expect("an address")],
        domains: vec!["example.net".into()],
        auth_required: auth,
        auth: Auth { algorithms: Algorithm::ALL.to_vec(), ..Auth::default() },
        registrar: Registrar { max_expires: strowger_engine::limit::EXPIRES, ..Registrar::default() },
        max_bindings: size.users as usize,
        transactions: Transactions { max, max_branches: max, max_kept: max * 1536 },
        // A dialog stays for a while after its BYE.
        calls: Calls { max_dialogs: 2 * size.dialogs + max, ..Calls::default() },
        stateless,
        secret: *b"0123456789abcdef0123456789ABCDEF",
        ..Config::default()
    }
}
