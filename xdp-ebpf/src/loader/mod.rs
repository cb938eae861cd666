//! The XDP program from userspace: loaded, attached, fed with listeners, sockets and heartbeats, and
//! read.
//!
//! The node owns one [`Program`] for each interface it serves. Everything the kernel holds for it (maps,
//! program, link) hangs on file descriptors of this process: nothing is pinned, so that the kernel takes
//! the program off the interface when the process ends, however it ends.
//!
//! Not on the way of a packet: beats apart ([`Heartbeat`]), every call here is a system call.

mod attach;
mod error;
mod heartbeat;
mod interface;
mod packet_log;
mod test_run;

use std::fmt;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::sync::Arc;

use aya::maps::{HashMap, Map, MapData, PerCpuArray, XskMap};
use aya::programs::Xdp;
use aya::{Ebpf, EbpfLoader, Pod};
use strowger_wire::steer::SteeringKey;

pub use attach::{AttachMode, on_interface};
pub use error::{AttachError, LoadError, MapError, Occupant};
pub use heartbeat::Heartbeat;
pub use packet_log::PacketLog;
pub use test_run::{Arrival, TestRun};

use self::attach::Link;
use self::heartbeat::HeartbeatPage;
use crate::{
    Counter, CounterBlock, ListenerKey, MAX_LISTENERS, MAX_QUEUES, MAX_WORKERS, PROGRAM_NAME, constant, map,
    socket_slot,
};

/// The committed object. `cargo xtask build-ebpf --check` proves that it belongs to its sources.
pub const OBJECT: &[u8] = aya::include_bytes_aligned!("../../object/strowger-xdp.o");

/// What is decided before the program is verified.
#[derive(Clone, Copy, Debug)]
pub struct LoadOptions {
    /// Queues that will be served, at most [`MAX_QUEUES`].
    pub queues: u32,
    /// Workers that share the queues, from 1 to [`MAX_WORKERS`].
    pub workers: u32,
    /// What chooses among them.
    pub steering: Steering,
    /// Whether the program reports every packet's verdict, see [`Program::packet_log`]. Without, the
    /// verifier removes the reporting code.
    pub log_packets: bool,
}

impl Default for LoadOptions {
    /// All queues, one worker, no log.
    fn default() -> Self {
        Self { queues: MAX_QUEUES, workers: 1, steering: Steering::Flow, log_packets: false }
    }
}

/// What chooses the worker of a message. With one worker there is nothing to choose, and nothing is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Steering {
    /// The queue that the device chose: [`worker_of_queue`](crate::worker_of_queue).
    Flow,
    /// The Call-ID's hash under this key: [`worker_of`](strowger_wire::steer::worker_of).
    CallId(SteeringKey),
}

/// The loaded program with its maps and, once attached, its link. Dropping it detaches.
pub struct Program {
    ebpf: Ebpf,
    listeners: HashMap<MapData, ListenerKey, u32>,
    sockets: XskMap<MapData>,
    counters: PerCpuArray<MapData, CounterBlock>,
    heartbeats: Arc<HeartbeatPage>,
    packet_log: Option<PacketLog>,
    queues: u32,
    workers: u32,
    link: Option<Link>,
}

impl fmt::Debug for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { queues, workers, link, .. } = self;
        f.debug_struct("Program")
            .field("queues", queues)
            .field("workers", workers)
            .field("link", link)
            .finish_non_exhaustive()
    }
}

// SAFETY: made of integers without padding (asserted in `abi`), valid for every pattern of bits that the
// kernel can hold in the map.
unsafe impl Pod for ListenerKey {}
// SAFETY: as above; an array of u64.
unsafe impl Pod for CounterBlock {}

impl Program {
    /// Loads the committed object into the kernel. Needs CAP_BPF, CAP_NET_ADMIN, and CAP_PERFMON for its
    /// arithmetic on packet pointers.
    ///
    /// # Errors
    ///
    /// See [`LoadError`]; the kernel keeps nothing of a failed load.
    pub fn load(options: &LoadOptions) -> Result<Self, LoadError> {
        Self::load_object(OBJECT, options)
    }

    /// Loads `object`, which must be ELF and 8-byte aligned, instead of the committed one.
    ///
    /// # Errors
    ///
    /// See [`LoadError`].
    pub fn load_object(object: &[u8], options: &LoadOptions) -> Result<Self, LoadError> {
        if options.queues > MAX_QUEUES {
            return Err(LoadError::TooManyQueues { queues: options.queues });
        }
        if !(1..=MAX_WORKERS).contains(&options.workers) {
            return Err(LoadError::Workers { workers: options.workers });
        }
        let (by_call_id, key) = match options.steering {
            Steering::Flow => (0_u32, [0; 2]),
            Steering::CallId(key) => (1, key.words()),
        };
        let level = if options.log_packets { aya_log::Level::Debug as u8 } else { 0 };
        let mut ebpf = EbpfLoader::new()
            .override_global(aya_log::LEVEL, &level, true)
            .override_global(constant::WORKERS, &options.workers, true)
            .override_global(constant::BY_CALL_ID, &by_call_id, true)
            .override_global(constant::STEERING_KEY, &key, true)
            .load(object)
            .map_err(LoadError::from_aya)?;
        // Before any map is taken out: the code names maps by descriptors that must still be open.
        let program = ebpf.program_mut(PROGRAM_NAME).ok_or(LoadError::Missing { name: PROGRAM_NAME })?;
        let program: &mut Xdp = program.try_into().map_err(|_| LoadError::Missing { name: PROGRAM_NAME })?;
        program.load().map_err(|error| LoadError::from_aya(error.into()))?;
        let packet_log = if options.log_packets { Some(PacketLog::take(&mut ebpf)?) } else { None };
        let listeners = take(&mut ebpf, map::LISTENERS)?;
        let sockets = take(&mut ebpf, map::SOCKETS)?;
        let counters = take(&mut ebpf, map::COUNTERS)?;
        let heartbeats = match ebpf.take_map(map::HEARTBEATS) {
            Some(Map::Array(data)) => HeartbeatPage::map(&data).map_err(LoadError::Heartbeats)?,
            _ => return Err(LoadError::Missing { name: map::HEARTBEATS }),
        };
        Ok(Self {
            ebpf,
            listeners,
            sockets,
            counters,
            heartbeats: Arc::new(heartbeats),
            packet_log,
            queues: options.queues,
            workers: options.workers,
            link: None,
        })
    }

    /// Steers datagrams to `listener` from now on. Twice the same is once.
    ///
    /// # Errors
    ///
    /// [`MapError::TooManyListeners`] beyond [`MAX_LISTENERS`], [`MapError::Unspecified`] for a wildcard
    /// address: packets carry addresses of the interface, so name them one by one.
    pub fn listen(&mut self, listener: SocketAddr) -> Result<(), MapError> {
        if listener.ip().is_unspecified() {
            return Err(MapError::Unspecified { listener });
        }
        self.listeners.insert(ListenerKey::from(listener), 0, 0).map_err(|error| {
            match error::os_error(&error) {
                Some(libc::E2BIG) => MapError::TooManyListeners { limit: MAX_LISTENERS },
                _ => MapError::kernel(map::LISTENERS, error),
            }
        })
    }

    /// Leaves datagrams to `listener` to the kernel again; nothing happens when it was none.
    ///
    /// # Errors
    ///
    /// [`MapError::Kernel`].
    pub fn unlisten(&mut self, listener: SocketAddr) -> Result<(), MapError> {
        match self.listeners.remove(&ListenerKey::from(listener)) {
            Err(error) if error::os_error(&error) != Some(libc::ENOENT) => {
                Err(MapError::kernel(map::LISTENERS, error))
            }
            _ => Ok(()),
        }
    }

    /// Gives what comes by `queue` and belongs to `worker` to the AF_XDP socket `socket`, in place of the one before.
    ///
    /// The kernel drops a packet that it redirects to a socket of another queue or interface: bind the
    /// socket first. It forgets the socket by itself when it is closed.
    ///
    /// # Errors
    ///
    /// [`MapError::NoSuchQueue`], [`MapError::NoSuchWorker`], or [`MapError::NotAnXdpSocket`] for any other kind of
    /// descriptor.
    pub fn set_socket(&mut self, queue: u32, worker: u32, socket: BorrowedFd<'_>) -> Result<(), MapError> {
        let slot = self.slot(queue, worker)?;
        self.sockets.set(slot, socket.as_raw_fd(), 0).map_err(|error| match error::os_error(&error) {
            Some(libc::EOPNOTSUPP | libc::ENOTSOCK) => MapError::NotAnXdpSocket { queue },
            _ => MapError::kernel(map::SOCKETS, error),
        })
    }

    /// Passes what comes by `queue` and belongs to `worker` to the kernel again; nothing happens when the slot is
    /// empty.
    ///
    /// # Errors
    ///
    /// [`MapError::NoSuchQueue`], [`MapError::NoSuchWorker`], [`MapError::Kernel`].
    pub fn clear_socket(&mut self, queue: u32, worker: u32) -> Result<(), MapError> {
        let slot = self.slot(queue, worker)?;
        match self.sockets.unset(slot) {
            // The kernel forgot a closed socket before us.
            Err(error) if !matches!(error::os_error(&error), Some(libc::ENOENT | libc::EINVAL)) => {
                Err(MapError::kernel(map::SOCKETS, error))
            }
            _ => Ok(()),
        }
    }

    /// The heart of `worker`. Until its first beat, what belongs to it is passed.
    ///
    /// # Errors
    ///
    /// [`MapError::NoSuchWorker`].
    pub fn heartbeat(&self, worker: u32) -> Result<Heartbeat, MapError> {
        let heart = if worker < self.workers { Heartbeat::new(&self.heartbeats, worker) } else { None };
        heart.ok_or(MapError::NoSuchWorker { worker, workers: self.workers })
    }

    /// Packets by [`Counter`], summed over the CPUs. CPUs are read one after the other while packets
    /// arrive, so the sum over counters is exact only when the interface is quiet.
    ///
    /// # Errors
    ///
    /// [`MapError::Kernel`].
    pub fn counters(&self) -> Result<[u64; Counter::COUNT], MapError> {
        let cpus = self.counters.get(&0, 0).map_err(|error| MapError::kernel(map::COUNTERS, error))?;
        let mut sums = [0; Counter::COUNT];
        for block in cpus.iter() {
            for (sum, value) in sums.iter_mut().zip(block.values) {
                *sum += value;
            }
        }
        Ok(sums)
    }

    /// The program's reports, once, when [`LoadOptions::log_packets`] asked for them.
    pub fn packet_log(&mut self) -> Option<PacketLog> {
        self.packet_log.take()
    }

    fn slot(&self, queue: u32, worker: u32) -> Result<u32, MapError> {
        if queue >= self.queues {
            return Err(MapError::NoSuchQueue { queue, queues: self.queues });
        }
        if worker >= self.workers {
            return Err(MapError::NoSuchWorker { worker, workers: self.workers });
        }
        Ok(socket_slot(queue, worker))
    }

    fn xdp(&self) -> Option<&Xdp> {
        self.ebpf.program(PROGRAM_NAME)?.try_into().ok()
    }
}

/// Takes the map `name` out of the object, as the type it must have.
fn take<M: TryFrom<Map>>(ebpf: &mut Ebpf, name: &'static str) -> Result<M, LoadError> {
    let map = ebpf.take_map(name).ok_or(LoadError::Missing { name })?;
    M::try_from(map).map_err(|_| LoadError::Missing { name })
}
