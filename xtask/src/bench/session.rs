//! One session: every peer under every load, in turns, until the time that was given is used up.
//!
//! The plan is a list of turns in rounds: the first round has one of everything, those that follow repeat what targets
//! depend on. So a session that is cut short has fewer rounds, and not fewer kinds of figures. Each turn starts its
//! peer anew and ends it.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use strowger_load::record::{Latency, Record, Run};
use strowger_report::session::{
    COPY, Curve, Echo, FLOOR, GENERIC, KAMAILIO, Memory, OFF, Purpose, Quantity, SCHEMA, Sample, Scale,
    Search, Session,
};

use super::generator::{Generator, Load, Task};
use super::peers::{Peer, Place, Running};
use super::plan::{Plan, Turn};
use crate::failure::Doing as _;
use crate::lab::Lab;
use crate::progress::{self, Step};
use crate::{Failure, interrupt, process};

/// Users of a run, unless the number of users is what is measured.
pub const USERS: u32 = 1000;
/// Bindings that our node makes room for, unless memory is what is measured.
pub const BINDINGS: u32 = 1_100_000;
/// Sizes of the reflector's window.
const WINDOWS: [u32; 4] = [1, 64, 256, 1024];
/// How long memory settles: Timer J is 32 s.
const SETTLE: Duration = Duration::from_secs(40);
/// Buckets of a histogram that are kept for a plot.
const KEPT_BUCKETS: usize = 400;

/// Whoever runs a session.
pub struct Runner<'a> {
    /// Where.
    pub place: &'a Place,
    /// The generator.
    pub generator: Generator,
    /// `strowger-reflector`.
    pub reflector: PathBuf,
    /// Who takes part.
    pub peers: Vec<Peer>,
    /// What is found.
    pub session: Session,
    histograms: BTreeMap<(String, String, String), BTreeMap<u64, u64>>,
}

impl<'a> Runner<'a> {
    /// Nothing measured yet.
    pub fn new(place: &'a Place, generator: Generator, reflector: PathBuf, peers: Vec<Peer>) -> Self {
        let session = Session { schema: SCHEMA, ..Session::default() };
        Self { place, generator, reflector, peers, session, histograms: BTreeMap::new() }
    }

    /// Takes the turns. What fails of a peer is left out and said; an interruption ends the session.
    ///
    /// # Errors
    /// Interrupted, or the laboratory is gone.
    pub fn run(&mut self, plan: &Plan) -> Result<(), Failure> {
        let began = Instant::now();
        let turns = plan.turns(&self.peers);
        let count = turns.len();
        for (at, turn) in turns.into_iter().enumerate() {
            interrupt::check()?;
            if began.elapsed() > plan.limit {
                let rest = format!(
                    "{} of {count} turns: the time was used up, from `{}` on",
                    count - at,
                    turn.name()
                );
                progress::warn(&rest);
                self.session.omitted.push(rest);
                break;
            }
            let name = turn.name();
            let step = Step::begin(format!("{}/{count} {name}", at + 1));
            match self.turn(plan, turn) {
                Ok(found) => step.done(found),
                Err(failure) => {
                    interrupt::check()?;
                    drop(step);
                    progress::warn(format_args!("{name}: {failure}"));
                    self.session.omitted.push(format!("{name}: {}", failure.what()));
                }
            }
        }
        self.session.took_s = began.elapsed().as_secs_f64();
        self.curves();
        self.session.peers = self.peers.iter().map(|peer| peer.described(self.place, false)).collect();
        Ok(())
    }

    fn turn(&mut self, plan: &Plan, turn: Turn) -> Result<String, Failure> {
        match turn {
            Turn::Echo { round } => self.echo(plan, round),
            Turn::Sweep { workers } => self.sweep(plan, workers),
            Turn::Search { peer, scenario, round } => {
                let peer = self.peer(&peer)?;
                self.search(plan, &peer, &scenario, round)
            }
            Turn::Cost { peer, rate, round } => {
                let peer = self.peer(&peer)?;
                let window = plan.window;
                self.sample(&peer, Purpose::Cost, rate, window, round)
            }
            Turn::Latency { peer, round } => {
                let peer = self.peer(&peer)?;
                let window = plan.window.mul_f64(1.5);
                self.sample(&peer, Purpose::Latency, 200.0, window, round)
            }
            Turn::Weigh { users } => self.weigh(users),
            Turn::Scale { quantity, size } => self.scale(plan, quantity, size),
        }
    }

    fn peer(&self, key: &str) -> Result<Peer, Failure> {
        let found = self.peers.iter().find(|peer| peer.key == key);
        found.cloned().ok_or_else(|| Failure::failed(format!("{key} takes no part")))
    }

    /// Starts the peer, plays the task against it, and reads its own counters.
    fn play(
        &mut self,
        peer: &Peer,
        task: Task,
        limit: Duration,
    ) -> Result<(Record, BTreeMap<String, u64>), Failure> {
        let digest = task.scenario.ends_with("digest");
        let mut running = peer.start(self.place, digest)?;
        let task = Task {
            target: running.as_ref().map(|_| peer.address()),
            watch: running.as_ref().map(Running::pid),
            ..task
        };
        let record = self.generator.play(&task, limit)?;
        if let Some(running) = &mut running {
            running.check()?;
        }
        self.session.scenarios.entry(task.scenario.clone()).or_insert_with(|| record.scenario.about.clone());
        Ok((record, peer.drops(self.place)))
    }

    fn sample(
        &mut self,
        peer: &Peer,
        purpose: Purpose,
        rate: f64,
        window: Duration,
        round: u32,
    ) -> Result<String, Failure> {
        let warm_up = if rate > 1000.0 { Duration::from_secs(2) } else { Duration::from_secs(1) };
        let spin = purpose == Purpose::Latency;
        let task = Task { warm_up, window, spin, ..task("call", Load::Rate(rate)) };
        let (record, peer_drops) = self.play(peer, task, window + Duration::from_secs(60))?;
        let run = record
            .runs
            .into_iter()
            .next_back()
            .ok_or_else(|| Failure::failed("the generator made no run"))?;
        let found = match purpose {
            Purpose::Latency => {
                self.keep(&peer.key, "call", &run);
                let leg = run.legs.iter().find(|leg| leg.name.contains("in→out"));
                leg.map(|leg| {
                    format!(
                        "in→out p50 {} µs, p99 {} µs",
                        leg.intended.p50_ns / 1000,
                        leg.intended.p99_ns / 1000
                    )
                })
                .unwrap_or_default()
            }
            _ => {
                let lossless = if run.lossless { "lossless" } else { "NOT lossless" };
                let busy = run.cpu.busy_ns / run.counts.begun.max(1) / 1000;
                let own: u64 = run.watched.iter().map(|process| process.user_ns + process.system_ns).sum();
                format!("{lossless}, machine {busy} µs, own {} µs", own / run.counts.begun.max(1) / 1000)
            }
        };
        self.session.samples.push(Sample {
            peer: peer.key.clone(),
            scenario: "call".to_owned(),
            purpose,
            round,
            rate,
            run: trimmed(run),
            peer_drops,
            disturbed: Vec::new(),
        });
        Ok(found)
    }

    /// Kamailio with so many workers; the number that does best is taken from then on.
    fn sweep(&mut self, plan: &Plan, workers: u32) -> Result<String, Failure> {
        let mut peer = self.peer(KAMAILIO)?;
        peer.workers = Some(workers);
        let found = self.search(plan, &peer, "call", 0)?;
        let searches = self.session.searches.iter();
        let best = searches
            .filter(|search| search.peer == KAMAILIO && search.scenario == "call")
            .filter_map(|search| Some((search.workers?, search.highest?)))
            .max_by(|a, b| a.1.total_cmp(&b.1));
        if let (Some((workers, _)), Some(peer)) =
            (best, self.peers.iter_mut().find(|peer| peer.key == KAMAILIO))
        {
            peer.workers = Some(workers);
        }
        Ok(found)
    }

    fn search(&mut self, plan: &Plan, peer: &Peer, scenario: &str, round: u32) -> Result<String, Failure> {
        // Where an earlier round ended, a search begins a little below it.
        let earlier = self.session.searches.iter().rev();
        let earlier = earlier
            .filter(|search| search.peer == peer.key && search.scenario == scenario)
            .find_map(|search| search.highest);
        let from =
            earlier.map_or(if scenario.starts_with("call") { 4000.0 } else { 10_000.0 }, |rate| rate * 0.8);
        // Ours are known to do more; who can't is asked for half as much, and so on.
        let ours = [FLOOR, OFF, GENERIC, COPY].contains(&peer.key.as_str());
        let from = if earlier.is_none() && ours { from * 3.0 } else { from };
        let load = Load::Search { from, to: 400_000.0 };
        let task = Task { warm_up: Duration::from_millis(700), window: plan.step, ..task(scenario, load) };
        let (record, peer_drops) = self.play(peer, task, plan.search_limit)?;
        let found = record.search.clone().unwrap_or_default();
        for (rate, purpose) in [(found.highest, Purpose::Highest), (found.broke_at, Purpose::Broken)] {
            let Some(rate) = rate else { continue };
            let at = |run: &&Run| matches!(run.load, strowger_load::record::Load::Open { rate: r, .. } if (r - rate).abs() < 0.5);
            if let Some(run) = record.runs.iter().rev().find(at) {
                self.session.samples.push(Sample {
                    peer: peer.key.clone(),
                    scenario: scenario.to_owned(),
                    purpose,
                    round,
                    rate,
                    run: trimmed(run.clone()),
                    peer_drops: if purpose == Purpose::Broken { peer_drops.clone() } else { BTreeMap::new() },
                    disturbed: Vec::new(),
                });
            }
        }
        let reason = if found.broke_at.is_none() && found.reason.is_empty() {
            "the time was up".to_owned()
        } else {
            found.reason.clone()
        };
        let least = if found.broke_at.is_none() { "at least " } else { "" };
        let shown = found.highest.map_or("none".to_owned(), |rate| format!("{least}{rate:.0}/s"));
        self.session.searches.push(Search {
            peer: peer.key.clone(),
            workers: (peer.key == KAMAILIO).then_some(peer.workers).flatten(),
            scenario: scenario.to_owned(),
            round,
            highest: found.highest,
            broke_at: found.broke_at,
            reason,
            generator_limited: found.generator_limited,
        });
        Ok(shown)
    }

    /// The reflector in the peers' place, and its other end.
    fn echo(&mut self, plan: &Plan, round: u32) -> Result<String, Failure> {
        use std::os::unix::process::CommandExt as _;

        let listen = Lab::node_v4().to_string();
        let log = self.place.directory.join("reflector.log");
        let output = std::fs::File::create(&log).doing(format!("write {}", log.display()))?;
        let also = output.try_clone().doing(format!("write {}", log.display()))?;
        let mut command = self.place.lab.node.command(&self.reflector.display().to_string());
        command.args(["reflect", "--interface", Lab::NODE_INTERFACE, "--listen", &listen]);
        let child = command
            .stdin(Stdio::null())
            .stdout(output)
            .stderr(also)
            .process_group(0)
            .spawn()
            .map_err(|error| process::not_started(&command, &error))?;
        let mut running = Running::of(child, log);
        let seconds = if plan.kind == "quick" { "1" } else { "2" };
        let mut best = 0.0_f64;
        for window in WINDOWS {
            running.check()?;
            interrupt::check()?;
            let local = format!("{}:5070", Lab::PEERS_V4);
            let mut command = self.place.lab.peers.command(&self.reflector.display().to_string());
            command.args(["echo", "--to", &listen, "--local", &local, "--seconds", seconds]);
            command.args(["--window", &window.to_string()]);
            let text = process::output(&mut command)?;
            let mut echo: Echo = serde_json::from_str(&text).doing("read the echo's JSON")?;
            echo.round = round;
            best = best.max(echo.per_second);
            self.session.echoes.push(echo);
        }
        Ok(format!("{best:.0} datagrams/s"))
    }

    /// Kamailio and our copy mode: both settle at the same time, in laboratories of their own, while nothing is sent.
    fn weigh(&mut self, users: u32) -> Result<String, Failure> {
        let mut all = Vec::new();
        for (at, key) in [KAMAILIO, COPY].into_iter().enumerate() {
            let Ok(peer) = self.peer(key) else { continue };
            let lab = Lab::named(&format!(
                "{}-{at}",
                self.place
                    .directory
                    .file_name()
                    .map_or_else(|| "swb".into(), |name| name.to_string_lossy().into_owned())
            ));
            let guard = lab.clone().guard();
            guard.up()?;
            // Room for as many as are weighed: the index of a larger node would be touched all over by a part of them.
            let place = Place { lab: lab.clone(), bindings: users + users / 10, ..self.place.clone() };
            let running = peer.start(&place, false)?;
            let generator = Generator { lab: lab.clone(), ..self.generator.clone() };
            let Some(running) = running else { continue };
            let register = |users| Task {
                target: Some(peer.address()),
                watch: Some(running.pid()),
                users,
                ..task("register-fresh", Load::Once)
            };
            // The first hundred bring up what is made once.
            generator.play(&register(100), Duration::from_secs(20))?;
            let before = pss(running.pid());
            let record = generator.play(&register(users), Duration::from_secs(90))?;
            let registered = record.runs.last().map_or(0, |run| run.whole.succeeded);
            all.push((peer.key.clone(), registered, before, running, guard));
        }
        let until = Instant::now() + SETTLE;
        while Instant::now() < until {
            interrupt::check()?;
            std::thread::sleep(Duration::from_millis(50));
        }
        let mut found = Vec::new();
        for (peer, bindings, before, running, _guard) in &all {
            let after = pss(running.pid());
            found.push(format!("{peer} {} B", after.saturating_sub(*before) / (*bindings).max(1)));
            self.session.memory.push(Memory {
                peer: peer.clone(),
                bindings: *bindings,
                before_bytes: *before,
                after_bytes: after,
                settled_s: u32::try_from(SETTLE.as_secs()).unwrap_or(0),
            });
        }
        Ok(found.join(", "))
    }

    /// Our copy mode with so many bindings, or so many calls that are up.
    fn scale(&mut self, plan: &Plan, quantity: Quantity, size: u32) -> Result<String, Failure> {
        let peer = self.peer(COPY)?;
        let rate = 4000.0;
        let (users, hold, warm_up) = match quantity {
            Quantity::Bindings => (size, None, Duration::from_secs(2)),
            // As many are up as begin while one lasts.
            Quantity::Dialogs => {
                let hold = Duration::from_secs_f64(f64::from(size) / rate);
                (USERS, Some(hold), hold + Duration::from_secs(1))
            }
        };
        let window = plan.window.min(Duration::from_secs(4));
        let task = Task { users, hold, warm_up, window, ..task("call", Load::Rate(rate)) };
        let limit = warm_up + window + hold.unwrap_or_default() + Duration::from_secs(100);
        let (record, _) = self.play(&peer, task, limit)?;
        let run = record.runs.last().ok_or_else(|| Failure::failed("the generator made no run"))?;
        let own: u64 = run.watched.iter().map(|process| process.user_ns + process.system_ns).sum();
        let cost = (run.counts.begun > 0).then(|| own as f64 / run.counts.begun as f64);
        let answered = run.legs.iter().find(|leg| leg.name == "INVITE→200").map(|leg| leg.intended.p99_ns);
        self.session.scale.push(Scale {
            source: peer.title.clone(),
            quantity,
            size: u64::from(size),
            cost_ns: cost,
            p99_ns: answered,
            pss_bytes: run.watched.first().and_then(|process| process.pss_bytes),
            lossless: run.lossless,
        });
        let lossless = if run.lossless { "" } else { ", NOT lossless" };
        Ok(format!("own {:.1} µs{lossless}", cost.unwrap_or(0.0) / 1e3))
    }

    /// Adds a run's histograms to those of its peer.
    fn keep(&mut self, peer: &str, scenario: &str, run: &Run) {
        for leg in &run.legs {
            let key = (peer.to_owned(), scenario.to_owned(), leg.name.clone());
            let all = self.histograms.entry(key).or_default();
            for (value, count) in &leg.intended.buckets {
                *all.entry(*value).or_default() += count;
            }
        }
    }

    /// The histograms of all rounds as curves.
    fn curves(&mut self) {
        let histograms = std::mem::take(&mut self.histograms);
        self.session.curves = histograms
            .into_iter()
            .filter(|(_, buckets)| !buckets.is_empty())
            .map(|((peer, scenario, leg), buckets)| Curve {
                peer,
                scenario,
                leg,
                rate: 200.0,
                latency: whole(buckets),
            })
            .collect();
    }
}

/// A task with what most have in common.
fn task(scenario: &str, load: Load) -> Task {
    Task {
        scenario: scenario.to_owned(),
        target: None,
        watch: None,
        users: USERS,
        load,
        warm_up: Duration::ZERO,
        window: Duration::from_secs(1),
        hold: None,
        spin: false,
    }
}

/// A run without the buckets of its histograms, which are the bulk of it.
fn trimmed(mut run: Run) -> Run {
    run.lateness.buckets.clear();
    for leg in &mut run.legs {
        leg.intended.buckets.clear();
        leg.actual = Latency::default();
    }
    run
}

/// The figures of merged buckets. Neighbours are joined until a plot has no use for more; the tail stays as it is.
fn whole(buckets: BTreeMap<u64, u64>) -> Latency {
    let total: u64 = buckets.values().sum();
    let at = |quantile: f64| {
        let mut below = 0;
        let wanted = (total as f64 * quantile).ceil().max(1.0) as u64;
        for (value, count) in &buckets {
            below += count;
            if below >= wanted {
                return *value;
            }
        }
        0
    };
    let mean =
        buckets.iter().map(|(value, count)| *value as f64 * *count as f64).sum::<f64>() / total.max(1) as f64;
    let square =
        buckets.iter().map(|(value, count)| (*value as f64 - mean).powi(2) * *count as f64).sum::<f64>();
    let (min_ns, max_ns) =
        (buckets.keys().next().copied().unwrap_or(0), buckets.keys().next_back().copied().unwrap_or(0));
    let (p50_ns, p90_ns, p99_ns, p999_ns, p9999_ns) = (at(0.5), at(0.9), at(0.99), at(0.999), at(0.9999));
    // A bucket is joined with the next while both are less than a KEPT_BUCKETS-th of what is left above them.
    let mut joined: Vec<(u64, u64)> = Vec::new();
    let (mut below, mut gathered) = (0, 0);
    for (value, count) in &buckets {
        gathered += count;
        let left = total - below;
        if gathered * KEPT_BUCKETS as u64 >= left * 4 {
            joined.push((*value, gathered));
            below += gathered;
            gathered = 0;
        }
    }
    if gathered > 0 {
        joined.push((max_ns, gathered));
    }
    Latency {
        count: total,
        min_ns,
        mean_ns: mean,
        stdev_ns: (square / total.max(1) as f64).sqrt(),
        p50_ns,
        p90_ns,
        p99_ns,
        p999_ns,
        p9999_ns,
        max_ns,
        buckets: joined,
    }
}

/// Proportional set size of a process and its children, octets.
fn pss(pid: u32) -> u64 {
    let own = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
    let line = own.lines().find_map(|line| line.strip_prefix("Pss:"));
    let kib: u64 = line.and_then(|line| line.trim().strip_suffix(" kB")?.trim().parse().ok()).unwrap_or(0);
    let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    kib * 1024 + children.split_whitespace().filter_map(|child| child.parse().ok()).map(pss).sum::<u64>()
}

/// The commit of the tree, with `+` when it has changes.
pub fn commit() -> String {
    let git = |arguments: &[&str]| {
        let mut command = Command::new("git");
        process::output(command.current_dir(crate::workspace::root()).args(arguments)).unwrap_or_default()
    };
    let changed = !git(&["status", "--porcelain", "--untracked-files=no"]).trim().is_empty();
    format!("{}{}", git(&["rev-parse", "--short", "HEAD"]).trim(), if changed { "+" } else { "" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn joined_buckets_keep_the_tail() {
        let buckets: BTreeMap<u64, u64> = (1..=20_000).map(|value| (value * 1000, 1)).collect();
        let latency = whole(buckets);
        assert_eq!((latency.count, latency.p50_ns, latency.max_ns), (20_000, 10_000_000, 20_000_000));
        assert_eq!(latency.buckets.iter().map(|(_, count)| count).sum::<u64>(), 20_000);
        assert!(latency.buckets.len() < 1500, "{}", latency.buckets.len());
        let tail: Vec<u64> = latency.buckets.iter().rev().take(3).map(|(value, _)| *value).collect();
        assert_eq!(tail, [20_000_000, 19_999_000, 19_998_000]);
    }
}
