//! One run: prepare, warm up, measure, drain; and the search for the highest lossless rate, which is many.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use hdrhistogram::Histogram;

use crate::drive::{Gauge, drive};
use crate::failure::Failure;
use crate::live::Live;
use crate::observe::Snapshot;
use crate::pace::Pace;
use crate::record::{Counts, Disturbance, Drops, Limit, Load, Run, Search};
use crate::site::Site;
use crate::tally::Tally;
use crate::wire::WireCounts;

/// Registrations under way at a time while users are prepared, of all threads: fast, and no storm.
const PREPARING: u32 = 32;
/// Requests that may leave late before the generator is called the limit.
const LATE_PART: f64 = 0.01;
/// Steal, of the window's processor time, that is called a disturbance.
const STEAL_PART: f64 = 0.01;
/// Processors that somebody else may use.
const OTHERS: f64 = 0.1;
/// Repeated requests of a lossless run are fewer than this part.
const REPEATED_PART: f64 = 0.001;
/// How often the live view is drawn.
const FRAME: Duration = Duration::from_millis(100);

/// How one run is to be.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// How calls begin.
    pub load: Load,
    /// Before the window.
    pub warm_up: Duration,
    /// The window.
    pub duration: Duration,
    /// Ends after so many instead; then there is no warm-up and the window is all of it.
    pub count: Option<u64>,
    /// What goes on so long after the window (or, with a count, after the last one was begun) has failed; none leaves it
    /// to the timers.
    pub drain: Option<Duration>,
}

/// A run's figures, and the histograms that they are of.
#[derive(Debug)]
pub struct Outcome {
    /// The figures.
    pub run: Run,
    /// By leg, from the intended time.
    pub histograms: Vec<(String, Histogram<u64>)>,
}

impl Site {
    /// Registers all users, when the script wants it.
    ///
    /// # Errors
    /// [`Failure::Unprepared`] when any could not be; [`Failure::Interrupted`].
    pub fn prepare(&mut self, live: &Live, stop: &AtomicBool) -> Result<Option<Counts>, Failure> {
        let Some(script) = &self.preparing else { return Ok(None) };
        let script = script.clone();
        let (clock, spin, threads) = (self.clock, self.plan.spin, self.plan.threads);
        let start = clock.now();
        let gauges: Vec<Gauge> = self.workers.iter().map(|_| Gauge::default()).collect();
        let users = u64::from(self.plan.population.count());
        live.begin("users register", Some(users));
        std::thread::scope(|scope| {
            let mut running = Vec::new();
            for (worker, gauge) in self.workers.iter_mut().zip(&gauges) {
                let Some((agents, users)) = &mut worker.preparing else { continue };
                let wire = worker.wire.as_mut();
                let load = Load::Closed { outstanding: (PREPARING / threads).max(1) };
                let pace = Pace::new(load, start, u64::MAX, u64::from(*users), 1);
                let run = (pace, (start, u64::MAX), u64::MAX);
                running.push(scope.spawn(move || drive(agents, wire, clock, run, spin, (gauge, stop))));
            }
            while running.iter().any(|thread| !thread.is_finished()) {
                live.show(&gauges);
                std::thread::sleep(FRAME / 4);
            }
        });
        let mut tally = Tally::new(script.legs().len());
        for worker in &self.workers {
            if let Some((agents, _)) = &worker.preparing {
                tally.add(agents.tally());
            }
        }
        let [counts, _] = tally.counts(&|part, step| script.method(part, step));
        live.done(&format!("{} of {users} users", counts.succeeded));
        if stop.load(Ordering::Relaxed) {
            return Err(Failure::Interrupted);
        }
        if counts.succeeded < users {
            let why = counts.failures.iter().max_by_key(|(_, count)| **count).map(|(why, _)| why.clone());
            let why = why.unwrap_or_else(|| "no place for them".to_owned());
            return Err(Failure::Unprepared { failed: users - counts.succeeded, users, why });
        }
        Ok(Some(counts))
    }

    /// Plays one run.
    pub fn play(&mut self, shape: &Shape, live: &Live, stop: &AtomicBool) -> Outcome {
        let (clock, spin, cpu) = (self.clock, self.plan.spin, self.plan.cpu);
        let nanoseconds = |duration: Duration| duration.as_nanos() as u64;
        // A moment for the threads to begin, so that the first calls are not late.
        let start = clock.now() + 20_000_000;
        let warm_up = if shape.count.is_some() { 0 } else { nanoseconds(shape.warm_up) };
        let duration = if shape.count.is_some() { u64::MAX / 4 } else { nanoseconds(shape.duration) };
        let window = (start + warm_up, start + warm_up + duration);
        let hold = self.plan.hold.or(self.plan.script.hold).unwrap_or_default().longest();
        let drain = shape.drain.map_or(hold + self.plan.timing.patience + 1_000_000_000, nanoseconds);
        let threads = u64::from(self.plan.threads);
        let gauges: Vec<Gauge> = self.workers.iter().map(|_| Gauge::default()).collect();
        let watching = self.plan.watching.clone();
        let wires = |site: &Self| sum(site.workers.iter().map(|worker| worker.wire.counts()));
        let wire_before = wires(self);
        live.begin(&described(shape), shape.count);
        let seed = self.seed;
        let mut snapshots: Vec<(u64, Snapshot)> = Vec::new();
        std::thread::scope(|scope| {
            let mut running = Vec::new();
            for ((worker, gauge), thread) in self.workers.iter_mut().zip(&gauges).zip(0_u64..) {
                let load = share(shape.load, thread, threads);
                let most = shape.count.map_or(u64::MAX, |count| (count + threads - 1 - thread) / threads);
                // Threads take turns, so that together they have equal gaps.
                let first = match shape.load {
                    Load::Open { rate, .. } => start + (thread as f64 * 1e9 / rate.max(1e-3)) as u64,
                    Load::Closed { .. } => start,
                };
                let pace = Pace::new(load, first, window.1, most, seed ^ thread);
                let (agents, wire) = (&mut worker.agents, worker.wire.as_mut());
                let cpu = cpu.map(|first| first as usize + thread as usize);
                running.push(scope.spawn(move || {
                    pin(cpu);
                    drive(agents, wire, clock, (pace, window, drain), spin, (gauge, stop))
                }));
            }
            let over = || running.iter().all(|thread| thread.is_finished());
            for border in [window.0, window.1] {
                while clock.now() < border && !over() {
                    live.show(&gauges);
                    let left = Duration::from_nanos(border.saturating_sub(clock.now()));
                    std::thread::sleep(left.min(FRAME / 2));
                }
                snapshots.push((clock.now(), Snapshot::take(&watching)));
            }
            while !over() {
                live.show(&gauges);
                std::thread::sleep(FRAME / 4);
            }
        });
        let end = clock.now();
        let last = Snapshot::take(&watching);
        let lost = difference(wires(self), wire_before);
        let mut tally = Tally::new(self.plan.script.legs().len());
        for worker in &self.workers {
            tally.add(worker.agents.tally());
        }
        let [(from, first), (to, second)] = snapshots.as_slice() else { unreachable!("two borders") };
        let steady_ns = if shape.count.is_some() { end - start } else { (to - from).min(duration) };
        let outcome = self.outcome(shape, &tally, (first, second, &last), lost, (warm_up, steady_ns));
        let mut outcome = outcome;
        outcome.run.drain_ns = if shape.count.is_some() { 0 } else { end.saturating_sub(window.1) };
        if stop.load(Ordering::Relaxed) {
            outcome.run.disturbances.push(Disturbance::Interrupted);
            outcome.run.lossless = false;
        }
        live.done(&summary(&outcome.run));
        outcome
    }

    fn outcome(
        &self,
        shape: &Shape,
        tally: &Tally,
        (first, second, last): (&Snapshot, &Snapshot, &Snapshot),
        lost: WireCounts,
        (warm_up_ns, steady_ns): (u64, u64),
    ) -> Outcome {
        let script = &self.plan.script;
        let [counts, whole] = tally.counts(&|part, step| script.method(part, step));
        let (lateness, late_part) = tally.latenesses();
        let cpu = second.cpu_since(first);
        let watched = second.watched_since(first);
        let (softnet_dropped, softnet_squeezed) = last.softnet_since(first);
        let drops = Drops {
            own_receive: lost.receive_lost,
            own_send_full: lost.send_full,
            own_send_refused: lost.send_refused,
            own_xdp: lost.xdp_lost,
            udp: last.udp_since(first),
            softnet_dropped,
            softnet_squeezed,
            traffic: tally.traffic,
        };
        let mut limits = Vec::new();
        if late_part > LATE_PART {
            limits.push(Limit::Late { part: late_part, p99_ns: lateness.p99_ns });
        }
        if tally.skipped > 0 {
            limits.push(Limit::Places { skipped: tally.skipped });
        }
        if lost.receive_lost + lost.xdp_lost > 0 {
            limits.push(Limit::Received { lost: lost.receive_lost + lost.xdp_lost });
        }
        if lost.send_full > 0 {
            limits.push(Limit::Sent { lost: lost.send_full });
        }
        let mut disturbances = Vec::new();
        let machine = steady_ns as f64 * f64::from(crate::observe::machine().cpus);
        let steal = cpu.steal_ns as f64 / machine.max(1.0);
        if steal > STEAL_PART {
            disturbances.push(Disturbance::Steal { part: steal });
        }
        // What interrupts took is nobody's; what is left of the machine's work is somebody's.
        let known: u64 =
            cpu.own_ns + watched.iter().map(|process| process.user_ns + process.system_ns).sum::<u64>();
        let others = (cpu.user_ns + cpu.system_ns).saturating_sub(known) as f64 / steady_ns.max(1) as f64;
        // Without a word about the proxy, it would be the proxy.
        if !watched.is_empty() && others > OTHERS {
            disturbances.push(Disturbance::Others { processors: others });
        }
        let lossless = counts.failed == 0
            && counts.begun > 0
            && counts.repeated_part() < REPEATED_PART
            && limits.is_empty();
        let run = Run {
            load: shape.load,
            prepared: None,
            warm_up_ns,
            steady_ns,
            drain_ns: 0,
            achieved: counts.succeeded as f64 * 1e9 / steady_ns.max(1) as f64,
            counts,
            whole,
            legs: tally.legs(&script.legs()),
            lateness,
            cpu,
            watched,
            drops,
            limits,
            disturbances,
            lossless,
        };
        let histograms = script.legs().into_iter().zip(tally.histograms().cloned()).collect();
        Outcome { run, histograms }
    }

    /// Looks for the highest rate without loss from `from` to `to`: half as much again each time until a rate is not
    /// lossless, then halfway between the two until they are within `precision` of each other. A rate that is not
    /// lossless gets a second chance, so that a hiccup of the machine does not end the search.
    pub fn search(
        &mut self,
        shape: &Shape,
        (from, to, precision): (f64, f64, f64),
        live: &Live,
        stop: &AtomicBool,
        mut heard: impl FnMut(&Outcome),
    ) -> Search {
        let mut search = Search::default();
        let mut rate = from;
        while !stop.load(Ordering::Relaxed) {
            let load = match shape.load {
                Load::Open { poisson, .. } => Load::Open { rate, poisson },
                Load::Closed { .. } => Load::Open { rate, poisson: false },
            };
            let mut outcome = self.play(&Shape { load, ..*shape }, live, stop);
            heard(&outcome);
            if !outcome.run.lossless && !stop.load(Ordering::Relaxed) {
                outcome = self.play(&Shape { load, ..*shape }, live, stop);
                heard(&outcome);
            }
            if stop.load(Ordering::Relaxed) {
                break;
            }
            if outcome.run.lossless {
                search.highest = Some(rate);
            } else {
                search.broke_at = Some(rate);
                search.reason = why_not(&outcome.run);
                search.generator_limited = !outcome.run.limits.is_empty();
            }
            rate = match (search.highest, search.broke_at) {
                (Some(good), Some(bad)) if bad <= good * (1.0 + precision) => break,
                (Some(good), Some(bad)) => f64::midpoint(good, bad),
                (Some(good), None) if good >= to => {
                    search.reason = "lossless up to the highest rate asked for".to_owned();
                    break;
                }
                (Some(good), None) => (good * 1.5).min(to),
                (None, Some(bad)) if bad <= from / 16.0 => break,
                // Begun too high.
                (None, _) => rate / 2.0,
            };
        }
        search
    }
}

/// Binds the calling thread to a processor. Where there is none of that number it stays where it is.
fn pin(cpu: Option<usize>) {
    let Some(cpu) = cpu else { return };
    let mut set = rustix::thread::CpuSet::new();
    set.set(cpu);
    let _ = rustix::thread::sched_setaffinity(None, &set);
}

/// A thread's share of the load.
fn share(load: Load, thread: u64, threads: u64) -> Load {
    match load {
        Load::Open { rate, poisson } => Load::Open { rate: rate / threads as f64, poisson },
        Load::Closed { outstanding } => {
            let outstanding = (u64::from(outstanding) + threads - 1 - thread) / threads;
            Load::Closed { outstanding: u32::try_from(outstanding).unwrap_or(u32::MAX) }
        }
    }
}

fn described(shape: &Shape) -> String {
    match shape.load {
        Load::Open { rate, .. } => format!("{} a second", rounded(rate)),
        Load::Closed { outstanding } => format!("{outstanding} at a time"),
    }
}

fn rounded(rate: f64) -> String {
    if rate < 10.0 { format!("{rate:.1}") } else { format!("{rate:.0}") }
}

fn summary(run: &Run) -> String {
    let Counts { begun, succeeded, failed, .. } = run.counts;
    let verdict = if run.lossless { "lossless".to_owned() } else { why_not(run) };
    format!("{begun} begun, {succeeded} ok, {failed} failed: {verdict}")
}

/// Why a run was not lossless, in words.
#[must_use]
pub fn why_not(run: &Run) -> String {
    let mut reasons: Vec<String> = run.limits.iter().map(limit_text).collect();
    if run.counts.begun == 0 {
        reasons.push("nothing was begun".to_owned());
    }
    if run.counts.failed > 0 {
        let most = run.counts.failures.iter().max_by_key(|(_, count)| **count);
        let most = most.map(|(why, count)| format!(", most ({count}): {why}")).unwrap_or_default();
        reasons.push(format!("{} of {} failed{most}", run.counts.failed, run.counts.begun));
    }
    let repeated = run.counts.repeated_part();
    if repeated >= REPEATED_PART {
        reasons.push(format!("{:.2} % repeated", 100.0 * repeated));
    }
    for (name, counters) in &run.drops.udp {
        if let Some(lost) = counters.get("RcvbufErrors") {
            reasons.push(format!("receive buffers in namespace {name} lost {lost}"));
        }
    }
    reasons.join("; ")
}

/// A sign that the generator was the limit, in words.
#[must_use]
pub fn limit_text(limit: &Limit) -> String {
    match limit {
        Limit::Late { part, p99_ns } => format!(
            "{:.1} % of the requests left over 10 ms late (p99 {:.1} ms)",
            100.0 * part,
            *p99_ns as f64 / 1e6
        ),
        Limit::Places { skipped } => format!("{skipped} were not begun for want of --places"),
        Limit::Received { lost } => format!("its own receive buffers lost {lost} messages"),
        Limit::Sent { lost } => format!("its own send buffers were full {lost} times"),
    }
}

fn sum(counts: impl Iterator<Item = WireCounts>) -> WireCounts {
    counts.fold(WireCounts::default(), |sum, one| WireCounts {
        sent: sum.sent + one.sent,
        receive_lost: sum.receive_lost + one.receive_lost,
        send_full: sum.send_full + one.send_full,
        send_refused: sum.send_refused + one.send_refused,
        xdp_lost: sum.xdp_lost + one.xdp_lost,
    })
}

fn difference(after: WireCounts, before: WireCounts) -> WireCounts {
    WireCounts {
        sent: after.sent - before.sent,
        receive_lost: after.receive_lost - before.receive_lost,
        send_full: after.send_full - before.send_full,
        send_refused: after.send_refused - before.send_refused,
        xdp_lost: after.xdp_lost - before.xdp_lost,
    }
}
