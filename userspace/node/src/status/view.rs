//! Making a report: asks every worker's desk, the XDP program's counters and the location table.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use strowger_engine::{Counters, Event, GatewayHealth, Occupancy, TargetReport};
use strowger_xdp::{PacketLog, Program};
use strowger_xsk::Mirror;
use tokio::sync::Notify;

use crate::calls;
use crate::config::Config;
use crate::dataplane::Plane;
use crate::fault::Fault;
use crate::handover::giver::Estate;
use crate::handover::line::HangUp;
use crate::handover::{self, Offer};
use crate::policing::{Changed, Police};
use crate::report::Desk;
use crate::status::model::{
    Calls, Counts, Dataplane, Gateway, Level, Node, Policing, Queue, Registrations, Request, Sip, Status,
    Totals, Worker,
};
use crate::worker::{Count, Counts as WorkerCounts, Report};

/// A worker looks at its desk at least every 20 ms; one that needs longer than this is called stuck.
const PATIENCE: Duration = Duration::from_millis(250);

/// How often it is looked whether another node has taken this one's place, when this one goes; and how long at most.
const SETTLING: Duration = Duration::from_millis(1);
const UNSETTLED: Duration = Duration::from_secs(2);

/// What the control side holds of the running node.
pub(crate) struct View {
    config: Config,
    /// None once stopped. Borrowed mutably only by [`View::stop`], when nothing else runs any more.
    plane: RefCell<Option<Plane>>,
    started: Instant,
    draining: Cell<bool>,
    place: Cell<Place>,
    /// Ends the talk with whoever wants it.
    hang_up: RefCell<Option<HangUp>>,
    replaced: Notify,
}

/// Whether another node takes this one's place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Ours,
    /// One is about to.
    Wanted,
    /// One has.
    Theirs,
}

impl View {
    /// Takes the data plane over.
    pub(crate) fn new(config: &Config, plane: Plane, started: Instant) -> View {
        View {
            config: config.clone(),
            plane: RefCell::new(Some(plane)),
            started,
            draining: Cell::new(false),
            place: Cell::new(Place::Ours),
            hang_up: RefCell::new(None),
            replaced: Notify::new(),
        }
    }

    /// Notes that another node is about to take this one's place, or says why it may not.
    pub(crate) fn may_be_replaced(&self) -> Result<(), String> {
        if self.draining.get() {
            return Err("it is about to end; start the new one when it has".to_owned());
        }
        if self.place.get() != Place::Ours {
            return Err("another one is taking its place already".to_owned());
        }
        self.place.set(Place::Wanted);
        Ok(())
    }

    /// How to end the talk with that one.
    pub(crate) fn is_wanted(&self, hang_up: HangUp) {
        self.hang_up.replace(Some(hang_up));
    }

    /// It has not, and may try again.
    pub(crate) fn is_not_replaced(&self) {
        self.place.set(Place::Ours);
        self.hang_up.take();
    }

    /// It has.
    pub(crate) fn is_replaced(&self) {
        self.place.set(Place::Theirs);
        self.hang_up.take();
        self.replaced.notify_one();
    }

    /// Hangs up on a node that is about to take this one's place, and returns when it is settled whether it has.
    pub(crate) async fn settle(&self) {
        self.hang_up.take();
        let settled = async {
            while self.place.get() == Place::Wanted {
                tokio::time::sleep(SETTLING).await;
            }
        };
        // Nothing waits at the line any more, and for workers no longer than this.
        if tokio::time::timeout(UNSETTLED, settled).await.is_err() {
            tracing::error!(
                "another node was about to take this one's place, and it is not known whether it has"
            );
        }
    }

    /// Returns when another node has taken this one's place.
    pub(crate) async fn replaced(&self) {
        self.replaced.notified().await;
    }

    /// Whether one has.
    pub(crate) fn is_taken(&self) -> bool {
        self.place.get() == Place::Theirs
    }

    /// What such a node is given.
    pub(crate) fn estate(&self) -> Option<Estate> {
        let plane = self.plane.borrow();
        let plane = plane.as_ref()?;
        Some(Estate {
            offer: Offer {
                format: handover::format(),
                version: env!("CARGO_PKG_VERSION").to_owned(),
                pid: std::process::id(),
                listen: self.config.sip.listen.clone(),
                domains: plane.location.domains().to_vec(),
                realm: handover::realm(&self.config),
                interface: self.config.dataplane.interface.clone(),
                netns: self.config.dataplane.netns.clone(),
                mode: plane.serving.now().facts.mode.to_owned(),
                seal: handover::seal(&plane.location),
                bindings: plane.location.bindings(),
            },
            location: Arc::clone(&plane.location),
            orders: Arc::clone(plane.orders()),
            wakers: plane.wakers.clone(),
            doors: Arc::clone(&plane.doors),
            serving: plane.serving.clone(),
            workers: plane.workers.len(),
        })
    }

    /// Why the node cannot go on, if so: a worker that ended unasked.
    pub(crate) fn fatal(&self) -> Option<Fault> {
        let plane = self.plane.borrow();
        let plane = plane.as_ref()?;
        if let Some(worker) = plane.dead_worker() {
            return Some(Fault::Other(format!("worker {worker} died; its panic is in the log above")));
        }
        None
    }

    /// What is known of every gateway target.
    pub(crate) fn gateways(&self) -> Vec<TargetReport> {
        self.plane.borrow().as_ref().map_or_else(Vec::new, |plane| plane.gateways.reports())
    }

    /// What the police have to say; `None` when nothing is policed.
    pub(crate) fn police<T>(&self, ask: impl FnOnce(&Police) -> T) -> Option<T> {
        self.plane.borrow().as_ref()?.police.as_ref().map(ask)
    }

    /// The XDP program's reports, once for each program that makes any.
    pub(crate) fn packet_log(&self) -> Option<PacketLog> {
        let plane = self.plane.borrow();
        let mut served = plane.as_ref()?.serving.now();
        served.program.as_mut().and_then(Program::packet_log)
    }

    /// Lets the police do what is to be done now.
    pub(crate) fn police_turn(&self) {
        let plane = self.plane.borrow();
        let Some((plane, police)) = plane.as_ref().and_then(|p| Some((p, p.police.as_ref()?))) else {
            return;
        };
        {
            let mut served = plane.serving.now();
            let reopened = served.reopened;
            if let Some(program) = &mut served.program {
                police.follow(program, reopened);
            }
        }
        police.turn();
    }

    /// The workers that do not answer. All are asked at once, so this takes [`PATIENCE`] and not more.
    pub(crate) async fn stuck_workers(&self) -> Vec<usize> {
        let asked =
            self.desks().into_iter().map(|(id, _, desk)| async move { (id, desk.ask(PATIENCE).await.1) });
        let answers = futures_util::future::join_all(asked).await;
        answers.into_iter().filter(|(_, answering)| !answering).map(|(id, _)| id).collect()
    }

    /// Nothing new begins from now on.
    pub(crate) fn drain(&self) {
        self.draining.set(true);
        if let Some(plane) = self.plane.borrow().as_ref() {
            plane.drain();
        }
    }

    /// Whether every worker that answers has finished what was under way. One that is stuck finishes nothing.
    pub(crate) async fn is_drained(&self) -> bool {
        let asked = self.desks().into_iter().map(|(_, _, desk)| async move { desk.ask(PATIENCE).await });
        let answers = futures_util::future::join_all(asked).await;
        answers.into_iter().all(|(report, answering)| !answering || report.is_some_and(|r| r.drained))
    }

    fn desks(&self) -> Vec<(usize, Option<usize>, Arc<Desk<Report>>)> {
        match self.plane.borrow().as_ref() {
            Some(plane) => (plane.workers.iter().chain([&plane.stand_in]))
                .map(|w| (w.id, w.cpu, Arc::clone(&w.desk)))
                .collect(),
            None => Vec::new(),
        }
    }

    /// Lets the workers finish, lets go of everything. What another node has taken stays as it is.
    pub(crate) fn stop(&self) {
        let plane = self.plane.borrow_mut().take();
        if let Some(plane) = plane {
            plane.stop(self.is_taken());
        }
    }

    /// The answer to a request, as JSON.
    pub(crate) async fn answer(&self, request: Request) -> Vec<u8> {
        let workers: Vec<_> = match self.plane.borrow().as_ref() {
            Some(plane) => plane.workers.iter().map(|w| (w.id, Arc::clone(&w.errands))).collect(),
            None => Vec::new(),
        };
        let text = match request {
            Request::Status => serde_json::to_vec(&self.status().await),
            Request::Calls { uri, most } => {
                let gateways: Vec<String> = self.config.gateways.keys().cloned().collect();
                serde_json::to_vec(&calls::list(&workers, &gateways, uri.as_deref(), most).await)
            }
            Request::Bans => serde_json::to_vec(&self.police(Police::list).unwrap_or_default()),
            Request::Ban { network, seconds } => serde_json::to_vec(
                &self.police(|police| police.add(&network, seconds)).unwrap_or_else(unpoliced),
            ),
            Request::Unban { network } => {
                serde_json::to_vec(&self.police(|police| police.remove(&network)).unwrap_or_else(unpoliced))
            }
            // Whoever serves the socket has given him to those who do that.
            Request::HandOver { .. } => Ok(Vec::new()),
            Request::Kill { call_id } => {
                let done = calls::kill(&workers, &call_id).await;
                tracing::info!(call_id, killed = done.killed, refused = ?done.refused, "an operator ends a call");
                serde_json::to_vec(&done)
            }
        };
        text.unwrap_or_default()
    }

    /// One report. All workers are asked at once, so a stuck one costs [`PATIENCE`] and not more.
    pub(crate) async fn status(&self) -> Status {
        let desks = self.desks();
        let spare = self.plane.borrow().as_ref().map(|plane| plane.stand_in.id);
        let answers = futures_util::future::join_all(desks.iter().map(|(id, cpu, desk)| async {
            let (report, answering) = desk.ask(PATIENCE).await;
            (*id, *cpu, report, answering)
        }))
        .await;

        let mut workers = Vec::with_capacity(answers.len());
        let mut queues = Vec::new();
        let mut events = Counters::new();
        let mut sums = WorkerCounts::new();
        let mut stand_in = None;
        let mut occupancy = BTreeMap::new();
        for (id, cpu, report, answering) in answers {
            let (mut counters, mut kernel, mut sip) = (Counts::new(), Counts::new(), Counts::new());
            let mut levels = BTreeMap::new();
            if let Some(report) = report {
                counters = named(report.counts.iter().map(|(c, n)| (c.name(), n)));
                kernel = named(report.kernel);
                sip = named(report.events.iter().map(|(e, n)| (e.name(), n)));
                add_levels(&mut levels, &report.occupancy);
                sums.merge(&report.counts);
                events.merge(&report.events);
                add_levels(&mut occupancy, &report.occupancy);
                for queue in report.queues {
                    queues.push(Queue {
                        queue: queue.number,
                        worker: id,
                        owner: queue.owner,
                        mode: queue.mode.to_owned(),
                        counters: named(queue.counters),
                        statistics: named(queue.statistics),
                        balance: named(queue.balance),
                        at_hand: queue.at_hand,
                        rings: named(queue.rings),
                    });
                }
            }
            let worker = Worker { id, cpu, answering, counters, kernel, sip, occupancy: levels };
            match Some(id) == spare {
                true => stand_in = Some(worker),
                false => workers.push(worker),
            }
        }
        queues.sort_by_key(|q| (q.queue, q.worker));
        let sip = Sip { counters: named(events.iter().map(|(e, n)| (e.name(), n))), occupancy };
        Status { stand_in, ..self.assemble(workers, queues, sip, &events, &sums) }
    }

    fn assemble(
        &self,
        workers: Vec<Worker>,
        queues: Vec<Queue>,
        sip: Sip,
        events: &Counters,
        sums: &WorkerCounts,
    ) -> Status {
        let plane = self.plane.borrow();
        let served = plane.as_ref().map(|p| p.serving.now());
        let facts = served.as_ref().map(|s| &s.facts);
        let device = facts.and_then(|f| f.device.as_ref());
        let program = served.as_ref().and_then(|s| s.program.as_ref());
        let location = plane.as_ref().map(|p| &p.location);
        Status {
            node: Node {
                name: self.config.node.name.clone(),
                version: env!("CARGO_PKG_VERSION").to_owned(),
                pid: std::process::id(),
                uptime_s: self.started.elapsed().as_secs(),
                state: match (plane.is_some(), self.draining.get(), self.place.get()) {
                    (false, ..) => "stopping",
                    (true, true, _) => "draining",
                    (true, false, Place::Ours) => "up",
                    (true, false, Place::Wanted | Place::Theirs) => "handing over",
                }
                .to_owned(),
                listen: self.config.sip.listen.iter().map(ToString::to_string).collect(),
            },
            dataplane: Dataplane {
                mode: facts.map_or("off", |f| f.mode).to_owned(),
                wanted: self.config.dataplane.mode.to_string(),
                fallback: facts.and_then(|f| f.fallback.clone()),
                interface: device.map(|d| d.name.clone()),
                ifindex: device.map(|d| d.index),
                driver: device.map(|d| d.driver.clone()),
                netns: self.config.dataplane.netns.clone(),
                xdp_attached: program.is_some_and(Program::is_attached),
                memory: facts.and_then(|f| f.memory.clone()),
                xdp: program.and_then(|p| p.counters().ok()).map_or_else(BTreeMap::new, |counts| {
                    named(strowger_xdp::Counter::ALL.iter().map(|c| c.name()).zip(counts))
                }),
                next_hops: plane
                    .as_ref()
                    .and_then(|p| p.mirror.as_ref())
                    .map_or_else(BTreeMap::new, next_hops),
                reopened: served.as_ref().map_or(0, |s| s.reopened),
                frames_leaked: strowger_xsk::frames_leaked(),
                queues,
            },
            workers,
            stand_in: None,
            sip,
            totals: Totals {
                sip_in_xsk: sums.of(Count::RxXsk),
                sip_in_kernel: sums.of(Count::RxKernel),
                sip_out_xsk: sums.of(Count::TxXsk),
                sip_out_kernel: sums.of(Count::TxKernel),
            },
            registrations: Registrations {
                aors: location.map_or(0, |l| l.registered() as u64),
                bindings: location.map_or(0, |l| l.bindings() as u64),
            },
            calls: Calls {
                invites: events.of(Event::CallBegun),
                answered: events.of(Event::CallAnswered),
                byes: events.of(Event::CallEnded),
            },
            gateways: plane.as_ref().map_or_else(Vec::new, |p| gateways(&p.gateways)),
            policing: plane.as_ref().and_then(|p| p.police.as_ref()).map(|police| {
                let (acts, bans) = police.report();
                Policing { bans, counters: named(acts.iter().map(|(act, n)| (act.name(), n))) }
            }),
        }
    }
}

/// What an operator hears who wants a ban of a node that has none.
fn unpoliced() -> Changed {
    let why = "this node bans nobody: it needs policing.bans: true, and a dataplane.mode other than off";
    Changed { refused: Some(why.to_owned()) }
}

/// Adds a worker's tables to those of the others.
fn add_levels(sum: &mut BTreeMap<String, Level>, worker: &Occupancy) {
    let Occupancy { transactions, branches, kept, dialogs, timers, outbox } = worker;
    let named = [
        ("transactions", transactions),
        ("branches", branches),
        ("kept", kept),
        ("dialogs", dialogs),
        ("timers", timers),
        ("outbox", outbox),
    ];
    for (name, level) in named {
        let total = sum.entry(name.to_owned()).or_default();
        total.used += level.used as u64;
        total.limit += level.limit as u64;
    }
}

fn gateways(health: &GatewayHealth) -> Vec<Gateway> {
    let reports = health.reports().into_iter().map(|target| Gateway {
        group: target.group,
        address: target.address.to_string(),
        up: target.up,
        counters: named([
            ("chosen", target.chosen),
            ("answered", target.answered),
            ("failed_over", target.failed_over),
            ("timed_out", target.timed_out),
            ("probes_answered", target.probes_answered),
            ("probes_lost", target.probes_lost),
            ("went_down", target.went_down),
        ]),
    });
    reports.collect()
}

fn next_hops(mirror: &Mirror) -> Counts {
    let c = mirror.counters();
    named(
        [
            ("events", &c.events),
            ("overruns", &c.overruns),
            ("snapshots", &c.snapshots),
            ("failures", &c.failures),
            ("published", &c.published),
            ("refreshed", &c.refreshed),
        ]
        .map(|(name, n)| (name, n.load(Ordering::Relaxed))),
    )
}

fn named(counts: impl IntoIterator<Item = (&'static str, u64)>) -> Counts {
    counts.into_iter().map(|(name, n)| (name.to_owned(), n)).collect()
}
