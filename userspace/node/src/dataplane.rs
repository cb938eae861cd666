//! Bringing the data plane up and down: XDP program, AF_XDP sockets, kernel sockets, next hops, workers.
//!
//! Everything here runs on one thread inside the data plane's network namespace (see `netns`), and the threads it starts
//! inherit that. The order makes every moment safe: kernel sockets are bound before the program is attached, and the
//! program passes what it has no live socket for, so traffic is answered by whichever path is up. On any fault what
//! was already done is undone by dropping it.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use strowger_engine::{Engine, Location};
use strowger_xdp::{AttachError, AttachMode, LoadError, LoadOptions, MapError, Program};
use strowger_xsk::{
    BindMode, Device, KernelSocket, Mirror, Mode as WantedBind, Pages, RingSizes, Socket, SocketConfig,
    UmemConfig, XskError,
};

use crate::config::{Auto, Config, Level, Mode, Queues, Steering};
use crate::egress::FastPath;
use crate::fault::Fault;
use crate::netns;
use crate::report::Desk;
use crate::secret;
use crate::worker::{Queue, Report, Worker};

/// Frames of one queue: twice what its four rings can hold at once would be waste, less would starve one of them.
const FRAMES: u32 = 4096;
/// Bytes of one frame: a page, so that a whole MTU of 1500 and both headrooms fit.
const CHUNK: u32 = 4096;
/// Room in front of a message besides XDP's own 256 bytes. What we put in front is a Via and a Record-Route: with the
/// longest listen address and token under 300 bytes. 256 more leave room for a second Record-Route.
const HEADROOM: u32 = 256;
// The program redirects frames up to a length that a chunk must have room for: what is longer than the room, the
// kernel drops. Where there is more room than that, frames pass that could be ours.
const _: () =
    assert!(strowger_xdp::LONGEST_FRAME == (CHUNK - strowger_xsk::XDP_HEADROOM - HEADROOM) as usize);
/// Entries of each ring.
const RING: u32 = 2048;
/// Bytes of frame memory of one queue.
pub(crate) const UMEM_BYTES: u64 = FRAMES as u64 * CHUNK as u64;
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
    thread: JoinHandle<()>,
}

/// The data plane, up. Dropping it detaches the program; [`Plane::stop`] also lets the workers finish.
pub(crate) struct Plane {
    /// What it is.
    pub facts: Facts,
    /// The XDP program; none with mode `off`.
    pub program: Option<Program>,
    /// The workers.
    pub workers: Vec<Running>,
    /// All bindings.
    pub location: Arc<Location>,
    /// Keeps the next hops true.
    _mirror: Option<Mirror>,
    /// How many queues are served.
    pub queues: usize,
    stop: Arc<AtomicBool>,
}

impl Plane {
    /// Starts everything that `config` wants. Call through [`netns::inside`].
    pub(crate) fn start(config: &Config) -> Result<Plane, Fault> {
        // Exclusively for a moment: with SO_REUSEPORT alone a second node would silently share our traffic.
        for address in &config.sip.listen {
            UdpSocket::bind(address).map_err(|error| listen_fault(*address, &error))?;
        }
        let engine_config = Arc::new(config.engine(secret(config)?));
        let unsuited = |e| Fault::Other(format!("the configuration does not suit the engine: {e}"));
        let location = Arc::new(Location::new(&engine_config).map_err(unsuited)?);

        let Opened { facts, program, sockets } = match config.dataplane.mode {
            Mode::Off => Opened {
                facts: Facts { mode: "off", fallback: None, device: None, memory: None },
                program: None,
                sockets: Vec::new(),
            },
            _ => open_device(config)?,
        };
        let (mirror, hops) = match &facts.device {
            Some(_) => {
                let (mirror, hops) =
                    Mirror::start().map_err(|e| Fault::Other(format!("routes and neighbours: {e}")))?;
                (Some(mirror), Some(hops))
            }
            None => (None, None),
        };

        let queue_count = sockets.len();
        let cpus = worker_cpus(config);
        let count = worker_count(config, &facts, sockets.len(), cpus.len());
        let stop = Arc::new(AtomicBool::new(false));
        let mut shares: Vec<Vec<Queue>> = (0..count).map(|_| Vec::new()).collect();
        for (at, (number, socket)) in sockets.into_iter().enumerate() {
            let heartbeat = match &program {
                Some(program) => program.heartbeat(number).map_err(map_fault)?,
                None => return Err(Fault::Other("a queue without a program".to_owned())),
            };
            shares[at % count].push(Queue { number, socket, heartbeat });
        }

        let mut workers = Vec::with_capacity(count);
        for (id, queues) in shares.into_iter().enumerate() {
            let cpu = cpus.get(id % cpus.len().max(1)).copied();
            let mut kernel = Vec::with_capacity(config.sip.listen.len());
            for address in &config.sip.listen {
                kernel.push(
                    KernelSocket::bind(*address, true, SOCKET_BUFFER)
                        .map_err(|error| listen_fault(*address, &error))?,
                );
            }
            let engine = Engine::new(Arc::clone(&engine_config), Arc::clone(&location)).map_err(unsuited)?;
            let fast = match (&facts.device, &hops) {
                (Some(device), Some(hops)) => Some(FastPath { device: device.index, hops: hops.clone() }),
                _ => None,
            };
            let desk = Arc::new(Desk::default());
            let worker = Worker::new(engine, queues, kernel, fast, Arc::clone(&desk), Arc::clone(&stop))
                .map_err(|e| Fault::Other(format!("worker {id}: {e}")))?;
            let thread = std::thread::Builder::new()
                .name(format!("worker-{id}"))
                .spawn(move || {
                    pin(id, cpu);
                    worker.run();
                })
                .map_err(|e| Fault::Other(format!("cannot start worker {id}: {e}")))?;
            workers.push(Running { id, cpu, desk, thread });
        }
        Ok(Plane { facts, program, workers, location, _mirror: mirror, queues: queue_count, stop })
    }

    /// The first worker that ended without being told to. There is no such thing but a panic.
    pub(crate) fn dead_worker(&self) -> Option<usize> {
        self.workers.iter().find(|w| w.thread.is_finished()).map(|w| w.id)
    }

    /// Detaches, so that the kernel has the traffic, then lets the workers finish what they hold.
    pub(crate) fn stop(mut self) {
        if let Some(program) = &mut self.program {
            program.detach();
        }
        self.stop.store(true, Ordering::Relaxed);
        let deadline = Instant::now() + STOP_PATIENCE;
        for worker in self.workers.drain(..) {
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

impl Drop for Plane {
    fn drop(&mut self) {
        // On a fault during start: threads must not outlive the sockets' owner.
        self.stop.store(true, Ordering::Relaxed);
    }
}

/// What was opened of the device; nothing with mode `off`.
struct Opened {
    facts: Facts,
    program: Option<Program>,
    /// By the queue's number.
    sockets: Vec<(u32, Socket)>,
}

/// Loads and attaches the program, then opens a socket for each queue.
fn open_device(config: &Config) -> Result<Opened, Fault> {
    let wanted = config.dataplane.mode;
    let name = config.dataplane.interface.as_deref().unwrap_or_default();
    let device = Device::find(name).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => Fault::NoInterface {
            interface: name.to_owned(),
            place: netns::place(config.dataplane.netns.as_deref()),
        },
        _ => Fault::Other(format!("dataplane.interface: {name}: {error}")),
    })?;
    if !device.up {
        return Err(Fault::Unsupported(format!(
            "dataplane.interface: `{name}` is down; `ip link set {name} up`"
        )));
    }
    let queues = chosen_queues(config, &device)?;

    let options =
        LoadOptions { queues: strowger_xdp::MAX_QUEUES, log_packets: config.log.level == Level::Trace };
    let mut program = Program::load(&options).map_err(load_fault)?;
    for address in &config.sip.listen {
        program.listen(*address).map_err(map_fault)?;
    }

    let (attached, mut fallback) = attach(&mut program, &device, wanted)?;
    let bind = match (wanted, attached) {
        (Mode::ZeroCopy, _) => WantedBind::ZeroCopy,
        (Mode::Auto, AttachMode::Native) => WantedBind::Auto,
        _ => WantedBind::Copy,
    };
    let mut sockets = Vec::with_capacity(queues.len());
    let mut zero_copy = true;
    let mut memory = None;
    for number in queues {
        let socket_config = SocketConfig {
            umem: UmemConfig { frames: FRAMES, chunk: CHUNK, headroom: HEADROOM, huge: true },
            rings: RingSizes { rx: RING, tx: RING, fill: RING, completion: RING },
            mode: bind,
            need_wakeup: true,
        };
        let socket = Socket::open(device.index, number, &socket_config)
            .map_err(|e| socket_fault(&e, &device, number))?;
        if socket.mode() != BindMode::ZeroCopy {
            zero_copy = false;
            fallback = fallback.or_else(|| socket.fallback_reason().map(|r| format!("zero-copy bind: {r}")));
        }
        memory.get_or_insert_with(|| frame_memory(socket.umem().pages()).to_owned());
        program.set_socket(number, socket.as_fd()).map_err(map_fault)?;
        sockets.push((number, socket));
    }
    let mode = match attached {
        AttachMode::Generic => "generic",
        AttachMode::Native if zero_copy => "zero-copy",
        AttachMode::Native => "copy",
    };
    if wanted != Mode::Auto {
        fallback = None;
    }
    Ok(Opened {
        facts: Facts { mode, fallback, device: Some(device), memory },
        program: Some(program),
        sockets,
    })
}

fn frame_memory(pages: Pages) -> &'static str {
    match pages {
        Pages::Huge => "huge pages",
        Pages::Transparent => "transparent huge pages",
        Pages::Ordinary => "ordinary pages",
    }
}

/// Native where the driver can, generic where that is allowed.
fn attach(
    program: &mut Program,
    device: &Device,
    wanted: Mode,
) -> Result<(AttachMode, Option<String>), Fault> {
    if wanted == Mode::Generic {
        return match program.attach(device.index, AttachMode::Generic) {
            Ok(()) => Ok((AttachMode::Generic, None)),
            Err(error) => Err(attach_fault(&error, device)),
        };
    }
    match program.attach(device.index, AttachMode::Native) {
        Ok(()) => Ok((AttachMode::Native, None)),
        // Not every driver that cannot (an MTU too long, queues too few) says so by the same error.
        Err(native @ (AttachError::NoNative { .. } | AttachError::Kernel { .. })) if wanted == Mode::Auto => {
            match program.attach(device.index, AttachMode::Generic) {
                Ok(()) => Ok((AttachMode::Generic, Some(native.to_string()))),
                Err(error) => Err(attach_fault(&error, device)),
            }
        }
        Err(error) => Err(attach_fault(&error, device)),
    }
}

/// The secret that is kept, or else one for this run.
fn secret(config: &Config) -> Result<[u8; secret::LENGTH], Fault> {
    secret::keep(&config.store.dir).or_else(|error| {
        tracing::warn!(dir = %config.store.dir.display(), %error, "store.dir: the node's secret cannot be kept; calls that are up will not survive a restart");
        secret::random().map_err(|e| Fault::Other(format!("no random numbers: {e}")))
    })
}

fn chosen_queues(config: &Config, device: &Device) -> Result<Vec<u32>, Fault> {
    match &config.dataplane.queues {
        Queues::All => {
            if device.rx_queues > strowger_xdp::MAX_QUEUES {
                tracing::warn!(
                    queues = device.rx_queues,
                    served = strowger_xdp::MAX_QUEUES,
                    "the kernel socket serves the other queues"
                );
            }
            Ok((0..device.rx_queues.min(strowger_xdp::MAX_QUEUES)).collect())
        }
        Queues::List(list) => match list.iter().find(|q| **q >= device.rx_queues) {
            Some(queue) => Err(Fault::Unsupported(format!(
                "dataplane.queues: `{}` has {} receive queues numbered from 0, and {queue} is wanted; see `ethtool -l {}`",
                device.name, device.rx_queues, device.name
            ))),
            None => Ok(list.clone()),
        },
    }
}

fn worker_count(config: &Config, facts: &Facts, queues: usize, cpus: usize) -> usize {
    let most = if facts.device.is_some() { queues } else { usize::MAX };
    let wanted = match config.dataplane.workers {
        Auto::Auto => cpus,
        Auto::Count(n) => n,
    };
    let count = wanted.min(most).max(1);
    if matches!(config.dataplane.workers, Auto::Count(n) if n > count) {
        tracing::warn!(wanted, count, "dataplane.workers: a queue has one worker in this version");
    }
    if count > 1 && config.dataplane.steering == Steering::CallId {
        tracing::info!("dataplane.steering: call-id is not in this version; flows are spread by the device");
    }
    count
}

/// The CPUs that this process may run on, ascending.
pub(crate) fn allowed_cpus() -> Vec<usize> {
    match rustix::thread::sched_getaffinity(None) {
        Ok(set) => (0..rustix::thread::CpuSet::MAX_CPU).filter(|cpu| set.is_set(*cpu)).collect(),
        Err(_) => Vec::new(),
    }
}

fn worker_cpus(config: &Config) -> Vec<usize> {
    if config.dataplane.cpus.is_empty() { allowed_cpus() } else { config.dataplane.cpus.clone() }
}

fn pin(worker: usize, cpu: Option<usize>) {
    let Some(cpu) = cpu else { return };
    let mut set = rustix::thread::CpuSet::new();
    set.set(cpu);
    if let Err(error) = rustix::thread::sched_setaffinity(None, &set) {
        tracing::warn!(worker, cpu, %error, "cannot be pinned; runs wherever the kernel puts it");
    }
}

/// Says why an address can't be listened on, and what to do.
pub(crate) fn listen_fault(address: SocketAddr, error: &io::Error) -> Fault {
    let problem = match error.kind() {
        io::ErrorKind::AddrInUse => "the port is taken; `ss -lunp` shows by whom".to_owned(),
        io::ErrorKind::AddrNotAvailable => {
            "no interface here has this address; `ip addr` shows those there are".to_owned()
        }
        io::ErrorKind::PermissionDenied => {
            "not permitted; ports below 1024 need CAP_NET_BIND_SERVICE".to_owned()
        }
        _ => error.to_string(),
    };
    Fault::Listen { address, problem }
}

fn load_fault(error: LoadError) -> Fault {
    match error {
        LoadError::Privilege { operation, .. } => Fault::Privilege {
            what: operation.to_owned(),
            missing: "CAP_BPF CAP_PERFMON CAP_NET_ADMIN CAP_NET_RAW".to_owned(),
        },
        other => Fault::Unsupported(other.to_string()),
    }
}

fn map_fault(error: MapError) -> Fault {
    Fault::Other(error.to_string())
}

fn attach_fault(error: &AttachError, device: &Device) -> Fault {
    let name = &device.name;
    match error {
        AttachError::Busy { occupant, .. } => Fault::XdpBusy(format!(
            "dataplane.interface: `{name}` carries another XDP program, {occupant}; stop what attached it, or `ip link set dev {name} xdp off`"
        )),
        AttachError::NoNative { .. } => Fault::Unsupported(format!(
            "dataplane.mode: the driver of `{name}` ({}) has no native XDP; use mode auto or generic",
            device.driver
        )),
        AttachError::Privilege => Fault::Privilege {
            what: format!("attaching to `{name}`"),
            missing: "CAP_NET_ADMIN CAP_BPF".to_owned(),
        },
        other => Fault::Unsupported(format!("dataplane.interface: `{name}`: {other}")),
    }
}

fn socket_fault(error: &XskError, device: &Device, queue: u32) -> Fault {
    Fault::Unsupported(format!("AF_XDP on queue {queue} of `{}`: {error}", device.name))
}
