//! Bringing the data plane up and down: kernel sockets, the device (see [`nic`]), next hops, workers.
//!
//! Everything here runs on one thread inside the data plane's network namespace (see `netns`), and the threads it starts
//! inherit that. The order makes every moment safe: kernel sockets are bound first and keep what arrives until their
//! workers run, and the XDP program passes what it has no live worker for, so traffic is answered by whichever path
//! is up first. On any fault what was already done is undone by dropping it.

pub(crate) mod nic;
pub(crate) mod watch;

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use strowger_engine::{Engine, GatewayHealth, Location, Users};
use strowger_wire::steer::SteeringKey;
use strowger_xsk::{Device, KernelSocket, Mirror};

use self::watch::{Refit, Serving, Watch};
use crate::calls::Errands;
use crate::config::{Auto, Config, Steering};
use crate::egress::FastPath;
use crate::fault::Fault;
use crate::names;
use crate::orders::Orders;
use crate::policing::Police;
use crate::report::Desk;
use crate::secret;
use crate::users::UserTable;
use crate::worker::{Exchange, Parts, Report, Spread, StandIn, Worker};

/// Wanted size of a kernel socket's receive buffer, bytes: 100 ms of 100,000 messages a second.
const SOCKET_BUFFER: usize = 8 << 20;
/// How long a stopping worker may take to finish what is in its rings.
const STOP_PATIENCE: Duration = Duration::from_secs(2);

/// What is fixed once the data plane is up; status shows it.
#[derive(Debug, Clone)]
pub(crate) struct Facts {
    /// `zero-copy`, `copy`, `generic` or `off`.
    pub mode: &'static str,
    /// Why it is not what was wanted.
    pub fallback: Option<String>,
    /// The device.
    pub device: Option<Device>,
    /// What the frames' memory is made of.
    pub memory: Option<String>,
}

/// One running worker as the control side sees it.
#[derive(Debug)]
pub(crate) struct Running {
    /// From 0.
    pub id: usize,
    /// Where it is pinned.
    pub cpu: Option<usize>,
    /// Where it answers.
    pub desk: Arc<Desk<Report>>,
    /// Where operators' errands are left for it.
    pub errands: Arc<Errands>,
    thread: JoinHandle<()>,
}

/// The data plane, up. Dropping it detaches the program; [`Plane::stop`] also lets the workers finish.
pub(crate) struct Plane {
    /// What serves the device.
    pub serving: Serving,
    /// Decides for the program whom it refuses; none when that was not asked for.
    pub police: Option<Police>,
    /// The workers.
    pub workers: Vec<Running>,
    /// Who serves in the place of a worker that is stuck.
    pub stand_in: Running,
    /// All bindings.
    pub location: Arc<Location>,
    /// What is known of gateways.
    pub gateways: Arc<GatewayHealth>,
    /// Keeps the next hops true; none with mode `off`.
    pub mirror: Option<Mirror>,
    /// How many queues are served.
    pub queues: usize,
    orders: StopAtLast,
}

/// Workers and watchers stop, also when the start fails half-way.
struct StopAtLast(Arc<Orders>);

impl Drop for StopAtLast {
    fn drop(&mut self) {
        self.0.stop();
    }
}

impl Plane {
    /// Starts everything that `config` wants, for these users. Call through [`crate::netns::inside`].
    pub(crate) fn start(config: &Config, users: &Arc<UserTable>) -> Result<Plane, Fault> {
        // Exclusively for a moment: with SO_REUSEPORT alone a second node would silently share our traffic.
        for address in &config.sip.listen {
            UdpSocket::bind(address).map_err(|error| listen_fault(*address, &error))?;
        }
        let cpus = worker_cpus(config)?;
        let found = nic::find(config)?;
        let count = worker_count(config, found.as_ref().map(|nic| nic.queues.len()), cpus.len());
        let mut kernel = Vec::with_capacity(count);
        for _ in 0..count {
            kernel.push(kernel_sockets(config)?);
        }

        let by_flow = config.dataplane.steering == Steering::Flow;
        let engine_config = Arc::new(strowger_engine::Config {
            // A response can come to another worker than the one that has its transaction: flows are spread by address.
            stateless: by_flow && count > 1,
            ..config.engine(secret(config)?)
        });
        if engine_config.stateless {
            tracing::warn!(
                workers = count,
                "dataplane.steering: flow with more than one worker: requests are forwarded without transactions"
            );
        }
        let (spread, steering) = match by_flow {
            true => (Spread::Anyhow, strowger_xdp::Steering::Flow),
            false => {
                let key = steering_key()?;
                (Spread::CallId(key), strowger_xdp::Steering::CallId(key))
            }
        };
        let unsuited = |e| Fault::Other(format!("the configuration does not suit the engine: {e}"));
        let location = Arc::new(Location::new(&engine_config).map_err(unsuited)?);
        let gateways = Arc::new(GatewayHealth::new(&engine_config).map_err(unsuited)?);
        // A queue's memory is best on the NUMA node of its worker.
        let cpu_of = |at: usize| cpus.get(at % count % cpus.len().max(1)).copied();
        let (facts, mut program, shares) = match &found {
            None => (Facts { mode: "off", fallback: None, device: None, memory: None }, None, Vec::new()),
            Some(nic) => {
                let workers = u32::try_from(count).unwrap_or(u32::MAX);
                let nic::Opened { facts, program, shares } =
                    nic.open(config, workers, steering, None, cpu_of)?;
                (facts, Some(program), shares)
            }
        };
        let (mirror, hops) = match &found {
            Some(_) => {
                let (mirror, hops) =
                    Mirror::start().map_err(|e| Fault::Other(format!("routes and neighbours: {e}")))?;
                (Some(mirror), Some(hops))
            }
            None => (None, None),
        };

        let policed = match &mut program {
            Some(program) => Police::start(config, program, count)?,
            None => None,
        };
        let (police, sightings) = policed.map_or((None, Vec::new()), |(police, ends)| (Some(police), ends));

        let queues = found.as_ref().map_or(0, |nic| nic.queues.len());
        let shares = shares.into_iter().map(Some).chain(std::iter::repeat_with(|| None));
        let mut exchanges = Exchange::between(count, spread)
            .map_err(|e| Fault::Other(format!("lines between the workers: {e}")))?;
        let lines = exchanges.pop();
        let wards = shared(&kernel)?;
        let orders = StopAtLast(Arc::new(Orders::default()));
        let mut workers = Vec::with_capacity(count);
        let mut refits = Vec::with_capacity(count);
        let mut askers = names::start(&config.dns, count + 1)?;
        let last_asker = askers.pop();
        let began = crate::worker::monotonic();
        let sightings = sightings.into_iter().map(Some).chain(std::iter::repeat_with(|| None));
        let each = kernel.into_iter().zip(askers).zip(exchanges).zip(shares).zip(sightings);
        for (id, ((((kernel, names), exchange), share), sightings)) in each.enumerate() {
            let cpu = cpu_of(id);
            let number = u16::try_from(id).unwrap_or(u16::MAX);
            let mut engine = Engine::for_worker(Arc::clone(&engine_config), Arc::clone(&location), number)
                .map_err(unsuited)?;
            engine.share_gateways(Arc::clone(&gateways), id, count).map_err(unsuited)?;
            engine.set_users(Arc::clone(users) as Arc<dyn Users>);
            engine.succeed(began);
            let fast = match (&facts.device, &hops) {
                (Some(device), Some(hops)) => Some(FastPath::new(device.index, hops.clone(), count)),
                _ => None,
            };
            let (heartbeat, queues) = share.map_or((None, Vec::new()), |s| (Some(s.heartbeat), s.queues));
            let polling = config.dataplane.polling;
            let refit = Arc::new(Refit::default());
            refits.push(Arc::clone(&refit));
            let parts =
                Parts { engine, queues, kernel, heartbeat, fast, names, exchange, sightings, polling, refit };
            let desk = Arc::new(Desk::default());
            let errands = Arc::new(Errands::default());
            let shared = (Arc::clone(&desk), Arc::clone(&errands), Arc::clone(&orders.0));
            let worker = Worker::new(parts, shared).map_err(|e| Fault::Other(format!("worker {id}: {e}")))?;
            let thread = thread(format!("worker-{id}"), move || {
                pin(id, cpu);
                worker.run();
            })?;
            workers.push(Running { id, cpu, desk, errands, thread });
        }
        let (Some(names), Some(exchange)) = (last_asker, lines) else {
            return Err(Fault::Other("the stand-in has no lines to the workers".to_owned()));
        };
        let stand_in = {
            let config = Arc::new(strowger_engine::Config {
                stateless: true,
                transactions: strowger_engine::Transactions::sized(1),
                calls: strowger_engine::Calls { max_dialogs: 0, ..engine_config.calls },
                ..(*engine_config).clone()
            });
            let number = u16::try_from(count).unwrap_or(u16::MAX);
            let mut engine = Engine::for_worker(config, Arc::clone(&location), number).map_err(unsuited)?;
            // It knows how gateways are, and leaves asking them to the workers.
            engine.share_gateways(Arc::clone(&gateways), usize::MAX, 1).map_err(unsuited)?;
            engine.set_users(Arc::clone(users) as Arc<dyn Users>);
            let desk = Arc::new(Desk::default());
            let worker =
                StandIn::new(engine, wards, names, exchange, Arc::clone(&desk), Arc::clone(&orders.0));
            let errands = Arc::default();
            Running {
                id: count,
                cpu: None,
                desk,
                errands,
                thread: thread("stand-in".to_owned(), || worker.run())?,
            }
        };
        let device = facts.device.clone();
        let serving = Serving::new(facts, program);
        if let Some(device) = device {
            let (config, orders) = (config.clone(), Arc::clone(&orders.0));
            let watch = Watch { config, steering, cpus, serving: serving.clone(), refits, orders };
            thread("device-watch".to_owned(), move || watch.run(device))?;
        }
        Ok(Plane { serving, police, workers, stand_in, location, gateways, mirror, queues, orders })
    }

    /// The first worker that ended without being told to. There is no such thing but a panic.
    pub(crate) fn dead_worker(&self) -> Option<usize> {
        self.workers.iter().chain([&self.stand_in]).find(|w| w.thread.is_finished()).map(|w| w.id)
    }

    /// From now on nothing new begins; what is under way is finished. See [`Engine::drain`].
    pub(crate) fn drain(&self) {
        self.orders.0.drain();
    }

    /// Detaches, so that the kernel has the traffic, then lets the workers finish what they hold.
    pub(crate) fn stop(mut self) {
        // First, so that no device is opened any more.
        self.orders.0.stop();
        if let Some(program) = &mut self.serving.now().program {
            program.detach();
        }
        let deadline = Instant::now() + STOP_PATIENCE;
        for worker in self.workers.drain(..).chain([self.stand_in]) {
            while !worker.thread.is_finished() && Instant::now() < deadline {
                std::thread::sleep(Duration::from_millis(1));
            }
            if worker.thread.is_finished() {
                let _ = worker.thread.join();
            } else {
                tracing::error!(worker = worker.id, "does not stop; left behind");
            }
        }
    }
}

fn kernel_sockets(config: &Config) -> Result<Vec<KernelSocket>, Fault> {
    let bind = |address: &SocketAddr| {
        KernelSocket::bind(*address, true, SOCKET_BUFFER).map_err(|error| listen_fault(*address, &error))
    };
    config.sip.listen.iter().map(bind).collect()
}

/// Every worker's sockets once more.
fn shared(kernel: &[Vec<KernelSocket>]) -> Result<Vec<Vec<KernelSocket>>, Fault> {
    let again = |sockets: &Vec<KernelSocket>| sockets.iter().map(KernelSocket::share).collect();
    let all: io::Result<_> = kernel.iter().map(again).collect();
    all.map_err(|error| Fault::Other(format!("the kernel sockets for the stand-in: {error}")))
}

fn thread(name: String, work: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>, Fault> {
    let failed = format!("cannot start the thread {name}");
    std::thread::Builder::new().name(name).spawn(work).map_err(|e| Fault::Other(format!("{failed}: {e}")))
}

/// The secret that is kept, or else one for this run.
fn secret(config: &Config) -> Result<[u8; secret::LENGTH], Fault> {
    secret::keep(&config.store.dir).or_else(|error| {
        tracing::warn!(dir = %config.store.dir.display(), %error, "store.dir: the node's secret cannot be kept; calls that are up will not survive a restart");
        secret::random().map_err(|e| Fault::Other(format!("no random numbers: {e}")))
    })
}

/// `queues` is none with mode `off`, where any number of workers can share the addresses. `auto` is one for each queue,
/// and at most one for each CPU.
fn worker_count(config: &Config, queues: Option<usize>, cpus: usize) -> usize {
    let wanted = match config.dataplane.workers {
        Auto::Auto => cpus,
        Auto::Count(n) => n,
    };
    let queues = queues.unwrap_or(usize::MAX);
    let count = match (config.dataplane.workers, config.dataplane.steering) {
        // Any number of workers can share a queue by Call-ID; a flow has one.
        (Auto::Count(n), Steering::CallId) => n,
        (Auto::Auto, _) | (_, Steering::Flow) => wanted.min(queues),
    }
    .max(1);
    if matches!(config.dataplane.workers, Auto::Count(n) if n > count) {
        tracing::warn!(wanted, count, "dataplane.workers: with steering: flow a queue has one worker");
    }
    if count > cpus {
        tracing::warn!(workers = count, cpus, "dataplane.workers: some workers share a CPU");
    }
    count
}

/// A key that nobody outside can know, so that nobody can aim calls at one worker. Another one in each run.
fn steering_key() -> Result<SteeringKey, Fault> {
    let random = secret::random().map_err(|e| Fault::Other(format!("no random numbers: {e}")))?;
    let mut key = [0; 16];
    key.iter_mut().zip(random).for_each(|(to, from)| *to = from);
    Ok(SteeringKey::from_bytes(key))
}

/// The CPUs that this process may run on, ascending.
pub(crate) fn allowed_cpus() -> Vec<usize> {
    match rustix::thread::sched_getaffinity(None) {
        Ok(set) => (0..rustix::thread::CpuSet::MAX_CPU).filter(|cpu| set.is_set(*cpu)).collect(),
        Err(_) => Vec::new(),
    }
}

fn worker_cpus(config: &Config) -> Result<Vec<usize>, Fault> {
    let allowed = allowed_cpus();
    let wanted = &config.dataplane.cpus;
    if wanted.is_empty() {
        return Ok(allowed);
    }
    match wanted.iter().find(|cpu| !allowed.contains(cpu)) {
        Some(cpu) => Err(Fault::Cpu { cpu: *cpu, allowed }),
        None => Ok(wanted.clone()),
    }
}

fn pin(worker: usize, cpu: Option<usize>) {
    if let Some(cpu) = cpu
        && let Err(error) = move_to(cpu)
    {
        tracing::warn!(worker, cpu, %error, "cannot be pinned; runs wherever the kernel puts it");
    }
}

/// Pins the calling thread.
fn move_to(cpu: usize) -> rustix::io::Result<()> {
    let mut set = rustix::thread::CpuSet::new();
    set.set(cpu);
    rustix::thread::sched_setaffinity(None, &set)
}

/// Says why an address can't be listened on, and what to do.
pub(crate) fn listen_fault(address: SocketAddr, error: &io::Error) -> Fault {
    let problem = match error.kind() {
        io::ErrorKind::AddrInUse => "the port is taken; `ss -lunp` shows by whom".to_owned(),
        io::ErrorKind::AddrNotAvailable => {
            "no interface here has this address; `ip addr` shows those there are (an IPv6 address marked `tentative` is \
             usable a second later)"
                .to_owned()
        }
        io::ErrorKind::PermissionDenied => {
            "not permitted; ports below 1024 need CAP_NET_BIND_SERVICE".to_owned()
        }
        _ => error.to_string(),
    };
    Fault::Listen { address, problem }
}
