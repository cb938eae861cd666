//! The device's part of the data plane: the XDP program on it, and AF_XDP sockets on each of its queues.
//!
//! Called by the data plane's start, on its thread, inside the namespace.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use strowger_xdp::source::SourceKey;
use strowger_xdp::{
    AttachError, AttachMode, Heartbeat, LoadError, LoadOptions, MapError, Pings, Program, Steering,
};
use strowger_xsk::{
    BindMode, BusyPoll, Device, Mode as WantedBind, Pages, RingSizes, Socket, SocketConfig, UmemConfig,
    XskError,
};

use super::Facts;
use super::layout::{allowed_cpus, move_to};
use crate::config::{Config, Frames, Level, Mode, Polling, Queues};
use crate::fault::Fault;
use crate::netns;
use crate::worker::Queue;

/// Bytes of one frame: a page, so that a whole MTU of 1500 and both headrooms fit.
const CHUNK: u32 = 4096;
/// Room in front of a message besides XDP's own 256 bytes. What we put in front is a Via and a Record-Route: with the
/// longest listen address and token under 300 bytes. 256 more leave room for a second Record-Route.
const HEADROOM: u32 = 256;
// The program redirects frames up to a length that a chunk must have room for: what is longer than the room, the
// kernel drops. Where there is more room than that, frames pass that could be ours.
const _: () =
    assert!(strowger_xdp::LONGEST_FRAME == (CHUNK - strowger_xsk::XDP_HEADROOM - HEADROOM) as usize);
/// How the kernel polls a queue for a worker that never sleeps: no longer than the packets of one batch take to arrive at
/// line rate, and a batch of them.
const BUSY_POLL: BusyPoll = BusyPoll { micros: 20, budget: 64 };
/// Bytes of frame memory of one queue.
pub(crate) const fn memory(frames: Frames) -> u64 {
    frames.count() as u64 * CHUNK as u64
}

/// The device that `dataplane.interface` names, and the queues of it that we serve.
pub(super) struct Nic {
    device: Device,
    pub(super) queues: Vec<u32>,
}

/// Looks the device up; none with mode `off`.
pub(super) fn find(config: &Config) -> Result<Option<Nic>, Fault> {
    if config.dataplane.mode == Mode::Off {
        return Ok(None);
    }
    let name = config.dataplane.interface.as_deref().unwrap_or_default();
    let device = Device::find(name).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => Fault::NoInterface {
            interface: name.to_owned(),
            place: netns::place(config.dataplane.netns.as_deref()),
        },
        _ => Fault::Other(format!("dataplane.interface: {name}: {error}")),
    })?;
    if !device.up {
        return Err(Fault::InterfaceDown { interface: name.to_owned() });
    }
    let queues = chosen_queues(config, &device)?;
    Ok(Some(Nic { device, queues }))
}

/// One worker's part of the device.
#[derive(Debug)]
pub(crate) struct Share {
    pub(crate) heartbeat: Heartbeat,
    pub(crate) queues: Vec<Queue>,
}

/// The device, served as soon as the workers beat.
pub(super) struct Opened {
    pub(super) facts: Facts,
    pub(super) program: Program,
    /// One for each worker.
    pub(super) shares: Vec<Share>,
}

/// How the program is on the device, and why not as was wanted.
pub(super) type Attached = (AttachMode, Option<String>);

/// Sockets on each queue that the program does not know yet: one for each worker that messages of the queue can belong to.
pub(super) struct Sockets {
    facts: Facts,
    /// By worker.
    queues: Vec<Vec<Queue>>,
}

impl Nic {
    /// Loads and attaches the program for `workers`, then opens each queue's sockets. A queue's memory is near the CPU that
    /// `cpu_of` its owner gives. `source_key` is that of the program in whose place this one comes, if there was one.
    pub(super) fn open(
        &self,
        config: &Config,
        workers: u32,
        (steering, pings): (Steering, &Pings),
        source_key: Option<SourceKey>,
        cpu_of: impl Fn(usize) -> Option<usize>,
    ) -> Result<Opened, Fault> {
        let mut program = load(config, workers, (steering, pings), source_key)?;
        let attached = self.attach(&mut program, config.dataplane.mode)?;
        let sockets = self.sockets(config, (workers, steering), attached, cpu_of)?;
        let (facts, shares) = sockets.connect(&mut program)?;
        Ok(Opened { facts, program, shares })
    }

    /// What is known of it while nothing is on it.
    pub(super) fn facts(&self, why: &str) -> Facts {
        let fallback = Some(format!("`{}`: {why}", self.device.name));
        Facts { mode: "off", fallback, device: Some(self.device.clone()), memory: None }
    }

    /// Native where the driver can, generic where that is allowed.
    pub(super) fn attach(&self, program: &mut Program, wanted: Mode) -> Result<Attached, Fault> {
        attach(program, &self.device, wanted)
    }

    /// Puts `program` in the place of the one that another node has attached by `link`, in the mode that this was done
    /// with.
    pub(super) fn succeed(&self, program: &mut Program, link: OwnedFd) -> Result<(), Fault> {
        program.succeed(link, self.device.index).map_err(|error| attach_fault(&error, &self.device))
    }

    /// Opens each queue's sockets, the owner's first.
    pub(super) fn sockets(
        &self,
        config: &Config,
        (workers, steering): (u32, Steering),
        (attached, mut fallback): Attached,
        cpu_of: impl Fn(usize) -> Option<usize>,
    ) -> Result<Sockets, Fault> {
        let device = &self.device;
        let wanted = config.dataplane.mode;
        let frames = config.dataplane.frames.count();
        // The RX ring and what it is refilled from can both be full, or the TX ring and what comes back of it. A worker that
        // lags behind has half of all frames waiting before it, and the other half under way.
        let ring = frames / 2;
        let socket_config = SocketConfig {
            umem: UmemConfig { frames, chunk: CHUNK, headroom: HEADROOM, huge: true },
            rings: RingSizes { rx: ring, tx: ring, fill: ring, completion: ring },
            mode: match (wanted, attached) {
                (Mode::ZeroCopy, _) => WantedBind::ZeroCopy,
                (Mode::Auto, AttachMode::Native) => WantedBind::Auto,
                _ => WantedBind::Copy,
            },
            need_wakeup: true,
        };
        let mut queues: Vec<Vec<Queue>> = (0..workers).map(|_| Vec::new()).collect();
        let mut zero_copy = true;
        let mut memory = None;
        for number in self.queues.iter().copied() {
            let owner = strowger_xdp::worker_of_queue(number, workers);
            let sharers = match steering {
                Steering::Flow => 1,
                Steering::CallId(_) => workers,
            };
            let sockets = near(cpu_of(owner as usize), || {
                Socket::open_shared(device.index, number, &socket_config, sharers)
            })
            .map_err(|error| socket_fault(&error, device, number))?;
            // The owner first, then the others in their order.
            let others = (0..workers).filter(|worker| *worker != owner);
            for (mut socket, worker) in sockets.into_iter().zip(std::iter::once(owner).chain(others)) {
                if socket.mode() != BindMode::ZeroCopy {
                    zero_copy = false;
                    fallback =
                        fallback.or_else(|| socket.fallback_reason().map(|r| format!("zero-copy bind: {r}")));
                }
                memory.get_or_insert_with(|| frame_memory(socket.umem().pages()).to_owned());
                if config.dataplane.polling == Polling::Busy
                    && let Err(error) = socket.prefer_busy_poll(BUSY_POLL)
                {
                    tracing::warn!(queue = number, worker, %error, "dataplane.polling: the kernel will not busy-poll");
                }
                if let Some(queues) = queues.get_mut(worker as usize) {
                    queues.push(Queue { number, owner: owner as usize, socket });
                }
            }
        }
        let mode = match attached {
            AttachMode::Generic => "generic",
            AttachMode::Native if zero_copy => "zero-copy",
            AttachMode::Native => "copy",
        };
        if wanted != Mode::Auto {
            fallback = None;
        }
        let facts = Facts { mode, fallback, device: Some(device.clone()), memory };
        Ok(Sockets { facts, queues })
    }
}

impl Sockets {
    /// Tells the program of the sockets, and gives each worker its own.
    pub(super) fn connect(self, program: &mut Program) -> Result<(Facts, Vec<Share>), Fault> {
        let Sockets { facts, queues } = self;
        let mut shares = Vec::with_capacity(queues.len());
        for (worker, queues) in (0..).zip(queues) {
            for queue in &queues {
                program.set_socket(queue.number, worker, queue.socket.as_fd()).map_err(map_fault)?;
            }
            shares.push(Share { heartbeat: program.heartbeat(worker).map_err(map_fault)?, queues });
        }
        Ok((facts, shares))
    }
}

/// Loads the program for `workers`, and tells it where it listens. `source_key`: see [`Nic::open`].
pub(super) fn load(
    config: &Config,
    workers: u32,
    (steering, pings): (Steering, &Pings),
    source_key: Option<SourceKey>,
) -> Result<Program, Fault> {
    let options = LoadOptions {
        workers,
        steering,
        policing: config.policing.program(config.limits.bindings),
        source_key,
        log_packets: config.log.level == Level::Trace,
        ..LoadOptions::default()
    };
    let mut program = Program::load(&options).map_err(load_fault)?;
    for address in &config.sip.listen {
        program.listen(*address).map_err(map_fault)?;
    }
    if options.policing.answer_options {
        program.answer_pings(pings).map_err(map_fault)?;
    }
    Ok(program)
}

/// Runs `work` on `cpu`, so that the kernel takes memory from its NUMA node, and goes back to where we were.
fn near<T>(cpu: Option<usize>, work: impl FnOnce() -> T) -> T {
    let Some(cpu) = cpu else { return work() };
    let before = allowed_cpus();
    let moved = move_to(cpu).is_ok();
    let done = work();
    if moved {
        let mut set = rustix::thread::CpuSet::new();
        for cpu in before {
            set.set(cpu);
        }
        // We only lose a choice of CPUs for the rest of the start if this fails.
        let _ = rustix::thread::sched_setaffinity(None, &set);
    }
    done
}

fn frame_memory(pages: Pages) -> &'static str {
    match pages {
        Pages::Huge => "huge pages",
        Pages::Transparent => "transparent huge pages",
        Pages::Ordinary => "ordinary pages",
    }
}

fn attach(program: &mut Program, device: &Device, wanted: Mode) -> Result<Attached, Fault> {
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

fn load_fault(error: LoadError) -> Fault {
    match error {
        LoadError::Privilege { operation, .. } => Fault::Privilege {
            what: operation.to_owned(),
            missing: "CAP_BPF CAP_PERFMON CAP_NET_ADMIN CAP_NET_RAW".to_owned(),
        },
        other => Fault::Kernel(other.to_string()),
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
    let name = &device.name;
    let at = format!("AF_XDP on queue {queue} of `{name}`");
    match error {
        XskError::Unsupported => {
            Fault::Kernel(format!("{at}: {error}; boot a kernel that has them, or set dataplane.mode: off"))
        }
        XskError::Privilege => {
            Fault::Privilege { what: "opening AF_XDP sockets".to_owned(), missing: "CAP_NET_RAW".to_owned() }
        }
        XskError::MemoryLock { bytes } => Fault::Privilege {
            what: format!("locking {bytes} bytes of packet memory for queue {queue}"),
            missing: "CAP_IPC_LOCK, or a larger RLIMIT_MEMLOCK (LimitMEMLOCK=infinity)".to_owned(),
        },
        XskError::NoInterface { .. } => {
            Fault::NoInterface { interface: name.clone(), place: "its network namespace any more".to_owned() }
        }
        XskError::Down { .. } => Fault::InterfaceDown { interface: name.clone() },
        XskError::Busy { .. } => Fault::QueueBusy(format!(
            "{at}: {error}; stop who has it (`ss --xdp` or bpftool show it), or leave the queue out of dataplane.queues"
        )),
        XskError::NoZeroCopy { reason, .. } => Fault::Unsupported(format!(
            "{at}: the driver ({}) refuses zero copy: {reason}; use dataplane.mode auto or copy",
            device.driver
        )),
        other => Fault::Other(format!("{at}: {other}")),
    }
}
