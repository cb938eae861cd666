//! `strowger run`: from a valid configuration to a node that serves, and down again.
//!
//! The main thread stays in the namespace it was started in and does everything that is not on the way of a message:
//! the status socket, signals, the XDP program's log, watching that the workers live.

use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::{JoinHandle, LocalSet};

use crate::config::Config;
use crate::dataplane::Plane;
use crate::dataplane::succession::Taken;
use crate::fault::Fault;
use crate::handover::giver;
use crate::status::server::Bound;
use crate::status::view::View;
use crate::users::UserTable;
use crate::{logging, netns, privilege, successor};

/// How often we look whether a worker has died, and whether there is another XDP program.
const WATCH: Duration = Duration::from_millis(100);
/// How often workers are asked whether they still go round.
const WORKER_WATCH: Duration = Duration::from_secs(1);
/// How often what workers have seen of sources is looked at: a phone that has just registered is known this much later.
const POLICING: Duration = Duration::from_millis(50);
/// How long what is under way may take when the node is to go: 64·T1, after which every transaction has given up but
/// those whose phone rings (RFC 3261 section 17). `TimeoutStopSec` of the systemd unit is above it.
const DRAIN: Duration = Duration::from_secs(32);
/// How often workers are asked meanwhile whether they have finished.
const DRAIN_WATCH: Duration = Duration::from_millis(20);

/// Runs the node until SIGTERM or SIGINT, and what is under way then to its end; or until another one takes its place. With
/// `replace` it takes the place of the one that runs.
pub(crate) fn run(config: Config, replace: bool) -> Result<(), Fault> {
    // Whatever we create (the status socket first of all) is for our user alone.
    rustix::process::umask(rustix::fs::Mode::RWXG | rustix::fs::Mode::RWXO);
    logging::init(&config.log);
    for line in config.warnings() {
        tracing::warn!("{line}");
    }
    let users = Arc::new(match &config.auth.users {
        Some(file) => UserTable::read(file)?,
        None => UserTable::default(),
    });
    privilege::check(&config)?;

    // Signals are caught from here on, so that one sent during the start also takes everything down in order.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|e| Fault::Other(format!("cannot start the control side: {e}")))?;
    let (terminate, interrupt, hangup, succeed) = {
        let _inside = runtime.enter();
        let catch = |kind| signal(kind).map_err(|e| Fault::Other(format!("cannot catch signals: {e}")));
        let (terminate, interrupt) = (catch(SignalKind::terminate())?, catch(SignalKind::interrupt())?);
        (terminate, interrupt, catch(SignalKind::hangup())?, catch(SignalKind::user_defined2())?)
    };

    let started = Instant::now();
    let path = config.node.socket_path();
    let (for_plane, for_workers, for_asking) = (config.clone(), Arc::clone(&users), path.clone());
    let netns = config.dataplane.netns.as_deref();
    let (socket, plane) = match replace {
        false => {
            let socket = Bound::bind(&path)?;
            (socket, netns::inside(netns, move || Plane::start(&for_plane, &for_workers))?)
        }
        true => {
            let take = move || Plane::replace(&for_plane, &for_workers, &for_asking);
            let (plane, mut taken) = netns::inside(netns, take)?;
            let socket = match taken.desk.take() {
                Some(desk) => Bound::inherit(&path, desk)?,
                None => Bound::bind(&path)?,
            };
            tell(&taken);
            (socket, plane)
        }
    };
    let facts = plane.serving.now().facts.clone();
    tracing::info!(
        node = config.node.name,
        mode = facts.mode,
        fallback = facts.fallback,
        interface = config.dataplane.interface,
        queues = plane.queues,
        workers = plane.workers.len(),
        memory = facts.memory,
        listen = ?config.sip.listen,
        users = users.len(),
        "up after {} ms",
        started.elapsed().as_millis()
    );
    let _ = sd_notify::notify(&[sd_notify::NotifyState::Ready]);
    let local = LocalSet::new();
    local.spawn_local(reload(config.auth.users.clone(), users, hangup));
    local.spawn_local(successor::starts(succeed));
    let result = local.block_on(&runtime, serve(&config, plane, socket, started, terminate, interrupt));
    tracing::info!("down");
    result
}

/// Everything until the signal, and the way down.
async fn serve(
    config: &Config,
    plane: Plane,
    mut socket: Bound,
    started: Instant,
    mut terminate: Signal,
    mut interrupt: Signal,
) -> Result<(), Fault> {
    let view = Rc::new(View::new(config, plane, started));
    let desk = socket.desk();
    // In the order they are written: one that may end the node at once is asked first.
    let result = tokio::select! {
        biased;
        fault = fatal(&view) => Err(fault),
        () = view.replaced() => Ok(()),
        () = asked_to_end(&view, &mut terminate, &mut interrupt) => Ok(()),
        () = gateways(&view) => Err(Fault::Other("the watch over gateways ended".to_owned())),
        () = policing(&view) => Err(Fault::Other("the policing ended".to_owned())),
        () = packet_log(&view) => Err(Fault::Other("the watch over the XDP program's log ended".to_owned())),
        () = watchdog(&view) => Err(Fault::Other("the watchdog ended".to_owned())),
        served = socket.serve(
            {
                let view = Rc::clone(&view);
                move |request| {
                    let view = Rc::clone(&view);
                    async move { view.answer(request).await }
                }
            },
            {
                let view = Rc::clone(&view);
                move |stream, format| {
                    let (view, desk) = (Rc::clone(&view), Arc::clone(&desk));
                    async move { giver::answer(&view, desk, stream, &format).await }
                }
            },
        ) => {
            Err(Fault::Other(format!("the status socket ended: {served:?}")))
        }
    };
    view.settle().await;
    if view.is_taken() {
        socket.leave();
    }
    view.stop();
    result
}

/// Says what was taken from the node before.
fn tell(taken: &Taken) {
    let Taken { offer, died, users, bindings, refused, bans, sockets, gap, waiting, lost, .. } = taken;
    let gap = gap.map_or("unknown".to_owned(), |gap| format!("{:.1} ms", gap.as_secs_f64() * 1e3));
    if *died {
        tracing::warn!(
            pid = offer.pid,
            users,
            bindings,
            of = offer.bindings,
            "the node before ended while it handed over: started as after a restart, with what it had given"
        );
    }
    tracing::info!(
        pid = offer.pid,
        version = offer.version,
        users,
        bindings,
        refused,
        bans,
        sockets,
        gap,
        waiting_octets = waiting,
        lost,
        "took the place of the node before"
    );
}

/// Returns when the node is to go: after the first SIGTERM or SIGINT it begins nothing new, and stays until what is under
/// way is finished, or 64·T1, or the second signal.
async fn asked_to_end(view: &View, terminate: &mut Signal, interrupt: &mut Signal) {
    let mut signal = async || {
        tokio::select! {
            _ = terminate.recv() => "SIGTERM",
            _ = interrupt.recv() => "SIGINT",
        }
    };
    let name = signal().await;
    let began = Instant::now();
    view.drain();
    let _ = sd_notify::notify(&[sd_notify::NotifyState::Stopping]);
    tracing::info!("{name}: nothing new begins; what is under way is finished first");
    let why = tokio::select! {
        () = drained(view) => "nothing is under way any more",
        () = tokio::time::sleep(DRAIN) => "what is still under way is left",
        name = signal() => name,
    };
    tracing::info!("{why}, {} ms later", began.elapsed().as_millis());
}

/// Returns when no worker has anything under way.
async fn drained(view: &View) {
    while !view.is_drained().await {
        tokio::time::sleep(DRAIN_WATCH).await;
    }
}

/// Reads the users again on each SIGHUP. With a file that is wrong the users stay as they are.
async fn reload(file: Option<PathBuf>, users: Arc<UserTable>, mut hangup: Signal) {
    while hangup.recv().await.is_some() {
        let Some(file) = &file else {
            tracing::info!("SIGHUP: no auth.users, nothing to read again");
            continue;
        };
        match users.reload(file) {
            Ok(()) => tracing::info!(file = %file.display(), users = users.len(), "SIGHUP: users read again"),
            Err(error) => tracing::error!(%error, users = users.len(), "SIGHUP: the users stay as they were"),
        }
    }
}

async fn fatal(view: &View) -> Fault {
    loop {
        if let Some(fault) = view.fatal() {
            return fault;
        }
        tokio::time::sleep(WATCH).await;
    }
}

/// Logs every gateway target that goes down or comes back.
async fn gateways(view: &View) {
    let mut known = view.gateways();
    loop {
        tokio::time::sleep(WORKER_WATCH).await;
        let now = view.gateways();
        for (before, target) in known.iter().zip(&now) {
            match (before.up, target.up) {
                (true, false) => {
                    tracing::warn!(group = target.group, address = %target.address, "gateway is down")
                }
                (false, true) => {
                    tracing::info!(group = target.group, address = %target.address, "gateway is up again")
                }
                _ => {}
            }
        }
        known = now;
    }
}

/// Decides whom the XDP program refuses, by what workers have seen.
async fn policing(view: &View) {
    loop {
        tokio::time::sleep(POLICING).await;
        view.police_turn();
    }
}

/// Carries the XDP program's reports into our log: those of the program there is, and of the one that comes in its place when
/// the device is made anew.
async fn packet_log(view: &View) {
    let mut carrying: Option<JoinHandle<()>> = None;
    loop {
        if let Some(log) = view.packet_log() {
            let carry = async move {
                let Err(error) = log.forward().await;
                tracing::warn!(%error, "the XDP program's log cannot be read");
            };
            if let Some(before) = carrying.replace(tokio::task::spawn_local(carry)) {
                before.abort();
            }
        }
        tokio::time::sleep(WATCH).await;
    }
}

/// Tells the service manager that we live, as long as every worker answers; one that does not is logged when that
/// changes. Without a service manager (or without WatchdogSec) only the log is left.
async fn watchdog(view: &View) {
    let limit = sd_notify::watchdog_enabled();
    let every = limit.map_or(WORKER_WATCH, |limit| (limit / 3).min(WORKER_WATCH));
    let mut known = Vec::new();
    loop {
        tokio::time::sleep(every).await;
        let stuck = view.stuck_workers().await;
        // A manager that does not ask may not read either, and its socket holds few messages before it blocks us.
        if stuck.is_empty() && limit.is_some() {
            let _ = sd_notify::notify(&[sd_notify::NotifyState::Watchdog]);
        }
        if stuck != known {
            match stuck.is_empty() {
                true => tracing::info!("every worker answers again"),
                false => {
                    tracing::error!(workers = ?stuck, "do not answer; the kernel has what is theirs, and the stand-in serves it")
                }
            }
            known = stuck;
        }
    }
}
