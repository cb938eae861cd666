//! The thread that keeps [`NextHops`] true.
//!
//! It waits for events, applies them, and publishes a table when a burst has ended, or after 10 ms of it. When events
//! were lost, or leave a doubt, it takes a new snapshot; when the kernel can't be asked any more, it publishes that it
//! is blind, and tries again.

use std::io::{self, Read};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::netlink::{Event, EventRoom, Events, Questions};
use super::state::{Effect, State};
use super::{NextHopError, NextHops};
use crate::syscall;

/// A burst has ended when nothing came for this long.
const QUIET: Duration = Duration::from_millis(2);

/// But a change waits no longer than this.
const PATIENCE: Duration = Duration::from_millis(10);

/// Datagrams read before anything else is looked at.
const EVENTS_PER_TURN: u32 = 256;

/// A snapshot takes at most a quarter of the time, so that a storm of events doesn't make it a busy loop.
const SNAPSHOT_REST: u32 = 3;

/// How long to wait before a lost kernel is looked for again.
const RETRY: Duration = Duration::from_millis(100);

/// How often used neighbours are looked through. A stale one stays usable, so this may be slow.
const REFRESH: Duration = Duration::from_secs(1);

/// Neighbours refreshed each time: more probes at once would be a storm of our own.
const REFRESH_LIMIT: usize = 256;

/// What the mirror did since it was started.
#[derive(Debug, Default)]
pub struct MirrorCounters {
    /// Events heard.
    pub events: AtomicU64,
    /// Times that events were lost, since they came faster than they were read.
    pub overruns: AtomicU64,
    /// Snapshots taken.
    pub snapshots: AtomicU64,
    /// Snapshots that failed, and netlink sockets that were lost.
    pub failures: AtomicU64,
    /// Tables published.
    pub published: AtomicU64,
    /// Stale neighbours that the kernel was told are in use.
    pub refreshed: AtomicU64,
}

/// Keeps [`NextHops`] up to date; dropping it stops the thread, and lookups say [`super::Miss::Blind`] from then on.
#[derive(Debug)]
pub struct Mirror {
    /// Closing it ends the thread.
    stop: Option<UnixStream>,
    thread: Option<JoinHandle<()>>,
    counters: Arc<MirrorCounters>,
}

impl Mirror {
    /// Takes a first snapshot and starts the thread, both in the network namespace of the calling thread.
    pub fn start() -> Result<(Self, NextHops), NextHopError> {
        Self::spawn(Work::prepare(EventRoom::default())?)
    }

    fn spawn(work: Work) -> Result<(Self, NextHops), NextHopError> {
        let (hops, counters) = (work.hops.clone(), work.counters.clone());
        let (stop, stopped) = UnixStream::pair().map_err(NextHopError::Thread)?;
        let thread = std::thread::Builder::new()
            .name("next-hops".into())
            .spawn(move || work.run(&stopped))
            .map_err(NextHopError::Thread)?;
        Ok((Self { stop: Some(stop), thread: Some(thread), counters }, hops))
    }

    /// What it did so far.
    pub fn counters(&self) -> &MirrorCounters {
        &self.counters
    }
}

impl Drop for Mirror {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // A panic of it has been printed; there is nothing else to do about it.
            let _ = thread.join();
        }
    }
}

struct Work {
    events: Events,
    questions: Questions,
    state: State,
    hops: NextHops,
    counters: Arc<MirrorCounters>,
    /// When the first change not yet published came.
    changed_at: Option<Instant>,
    /// Only a snapshot tells how things are.
    doubt: bool,
    /// No snapshot before this.
    look_after: Instant,
}

/// Says that nothing is known any more, however the thread ends.
struct Blinding(NextHops);

impl Drop for Blinding {
    fn drop(&mut self) {
        let table = self.0.table.load_full();
        self.0.publish(super::table::Table { live: false, ..(*table).clone() });
    }
}

impl Work {
    /// Opens the sockets and takes the first snapshot.
    fn prepare(room: EventRoom) -> Result<Self, NextHopError> {
        let failed = |step| move |source| NextHopError::Netlink { step, source };
        // Listening comes before looking, so that nothing falls between.
        let events = Events::open(room).map_err(failed("listen"))?;
        let mut questions = Questions::open().map_err(failed("open"))?;
        let mut state = questions.snapshot().map_err(failed("snapshot"))?;
        let hops = NextHops::new(state.table());
        let counters = MirrorCounters::default();
        count(&counters.snapshots, 1);
        count(&counters.published, 1);
        Ok(Self {
            events,
            questions,
            state,
            hops,
            counters: Arc::new(counters),
            changed_at: None,
            doubt: false,
            look_after: Instant::now(),
        })
    }

    fn run(mut self, mut stopped: &UnixStream) {
        let _blinding = Blinding(self.hops.clone());
        let mut refresh_at = Instant::now() + REFRESH;
        loop {
            let waiting = self.wait_until(refresh_at).saturating_duration_since(Instant::now());
            let [heard, ended] = match syscall::readable([self.events.as_fd(), stopped.as_fd()], waiting) {
                Ok(ready) => ready,
                Err(error) => {
                    tracing::error!(%error, "next hops: can't wait for events");
                    return;
                }
            };
            if ended && stopped.read(&mut [0]).is_ok_and(|read| read == 0) {
                return;
            }
            if heard {
                self.hear();
            }
            let now = Instant::now();
            if self.doubt && now >= self.look_after && self.settled(heard, now) {
                self.look();
            } else if !self.doubt && self.changed_at.is_some() && self.settled(heard, now) {
                self.publish();
            }
            if now >= refresh_at {
                refresh_at = now + REFRESH;
                self.refresh();
            }
        }
    }

    fn wait_until(&self, refresh_at: Instant) -> Instant {
        let now = Instant::now();
        match self.changed_at {
            Some(_) if self.doubt => refresh_at.min(self.look_after.max(now + QUIET)),
            Some(_) => refresh_at.min(now + QUIET),
            None => refresh_at,
        }
    }

    /// Whether the burst has ended, or lasts too long.
    fn settled(&self, heard: bool, now: Instant) -> bool {
        !heard || self.changed_at.is_none_or(|since| now.duration_since(since) >= PATIENCE)
    }

    fn hear(&mut self) {
        for _ in 0..EVENTS_PER_TURN {
            let mut events = 0;
            let mut worst = Effect::None;
            let state = &mut self.state;
            let result = self.events.next(|Event { fact, replaces }| {
                events += 1;
                match state.apply(fact, replaces) {
                    Effect::None => {}
                    Effect::Publish if worst == Effect::None => worst = Effect::Publish,
                    Effect::Publish => {}
                    Effect::Resync => worst = Effect::Resync,
                }
            });
            count(&self.counters.events, events);
            match result {
                Ok(true) => {}
                Ok(false) => return,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => {
                    count(&self.counters.overruns, 1);
                    worst = Effect::Resync;
                }
                Err(error) => {
                    tracing::error!(%error, "next hops: events lost");
                    self.reopen();
                    return;
                }
            }
            if worst != Effect::None {
                self.changed_at.get_or_insert_with(Instant::now);
            }
            self.doubt |= worst == Effect::Resync;
        }
    }

    /// Takes a snapshot.
    fn look(&mut self) {
        let started = Instant::now();
        match self.questions.snapshot() {
            Ok(mut state) => {
                count(&self.counters.snapshots, 1);
                state.inherit(&self.state);
                self.state = state;
                self.doubt = false;
                self.publish();
                self.look_after = Instant::now() + started.elapsed() * SNAPSHOT_REST;
            }
            Err(error) => {
                tracing::warn!(%error, "next hops: no snapshot");
                self.go_blind();
                // The socket may be what is broken; it costs nothing to have a new one.
                if let Ok(questions) = Questions::open() {
                    self.questions = questions;
                }
            }
        }
    }

    fn reopen(&mut self) {
        self.go_blind();
        match Events::open(EventRoom::default()) {
            Ok(events) => self.events = events,
            Err(error) => {
                tracing::error!(%error, "next hops: can't listen");
                // The old socket is still at fault, and says so without end.
                std::thread::sleep(RETRY);
            }
        }
    }

    /// What is published can't be trusted: say so, and look again soon.
    fn go_blind(&mut self) {
        count(&self.counters.failures, 1);
        let table = self.state.table();
        self.hops.publish(super::table::Table { live: false, ..table });
        self.doubt = true;
        let now = Instant::now();
        self.changed_at.get_or_insert(now);
        self.look_after = now + RETRY;
    }

    fn publish(&mut self) {
        self.hops.publish(self.state.table());
        self.changed_at = None;
        count(&self.counters.published, 1);
    }

    fn refresh(&mut self) {
        for key in self.state.take_used_stale(REFRESH_LIMIT) {
            match self.questions.use_neighbour(key) {
                Ok(()) => count(&self.counters.refreshed, 1),
                Err(error) => {
                    tracing::warn!(%error, interface = key.0, neighbour = %key.1, "not refreshed");
                    return;
                }
            }
        }
    }
}

fn count(counter: &AtomicU64, more: u64) {
    counter.fetch_add(more, Ordering::Relaxed);
}

#[cfg(test)]
#[path = "mirror_tests.rs"]
mod tests;
