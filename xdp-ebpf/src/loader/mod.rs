//! The XDP program from userspace: loaded, attached, fed with listeners, sockets and heartbeats, and
//! read.
//!
//! The node owns one [`Program`] for each interface it serves. Everything the kernel holds for it (maps,
//! program, link) hangs on file descriptors of this process: nothing is pinned, so that the kernel takes
//! the program off the interface when the process ends, however it ends.
//!
//! Not on the way of a packet: beats apart ([`Heartbeat`]), every call here is a system call.

mod access;
mod attach;
mod error;
mod heartbeat;
mod interface;
mod known;
mod listeners;
mod mapped;
mod packet_log;
mod ping;
mod policing;
mod size;
mod switchboard;
mod test_run;

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::sync::Arc;

use aya::maps::{Map, MapData, PerCpuArray, XskMap};
use aya::programs::Xdp;
use aya::{Ebpf, EbpfLoader, Pod};
use strowger_wire::steer::SteeringKey;

pub use access::{AccessList, Network};
pub use attach::{AttachMode, on_interface};
pub use error::{AttachError, LoadError, MapError, Occupant};
pub use heartbeat::Heartbeat;
pub use known::KnownSources;
pub use packet_log::PacketLog;
pub use ping::Pings;
pub use policing::{BAN_ROOM, Budgets, Junk, MAX_BUDGETS, MAX_KNOWN, Policing};
pub use size::ProgramSize;
pub use test_run::{Arrival, TestRun};

use self::access::Bans;
use self::attach::Link;
use self::listeners::Listeners;
use self::mapped::MappedWords;
use self::ping::PingMaps;
use self::policing::Constants;
use self::switchboard::Switchboard;
use crate::source::{BanSet, KnownSet, SourceKey};
use crate::{
    Counter, CounterBlock, HeartbeatSlot, ListenerKey, MAX_QUEUES, MAX_WORKERS, PROGRAM_NAME, Switches,
    constant, map, socket_slot,
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
    /// What it refuses, and answers by itself.
    pub policing: Policing,
    /// The secret by which sources are placed in the tables; none for a new one. A program that comes in the place of another
    /// one and has its key can take over who is known there: [`KnownSources::take_over`].
    pub source_key: Option<SourceKey>,
    /// Whether the program reports every packet's verdict, see [`Program::packet_log`]. Without, the
    /// verifier removes the reporting code.
    pub log_packets: bool,
}

impl Default for LoadOptions {
    /// All queues, one worker, no policing, no log.
    fn default() -> Self {
        Self {
            queues: MAX_QUEUES,
            workers: 1,
            steering: Steering::Flow,
            policing: Policing::default(),
            source_key: None,
            log_packets: false,
        }
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
    listeners: Listeners,
    switches: Switchboard,
    sockets: XskMap<MapData>,
    counters: PerCpuArray<MapData, CounterBlock>,
    heartbeats: Arc<MappedWords>,
    access_list: Option<AccessList>,
    known: Option<KnownSources>,
    pings: PingMaps,
    packet_log: Option<PacketLog>,
    source_key: SourceKey,
    queues: u32,
    workers: u32,
    answers_pings: bool,
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
// SAFETY: as above; two u64.
unsafe impl Pod for Switches {}

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
        let police = Constants::new(&options.policing)?;
        let source_key = match options.source_key {
            Some(key) => key,
            None => SourceKey(random()?),
        };
        let level = if options.log_packets { aya_log::Level::Debug as u8 } else { 0 };
        let mut ebpf = EbpfLoader::new()
            .override_global(aya_log::LEVEL, &level, true)
            .override_global(constant::WORKERS, &options.workers, true)
            .override_global(constant::BY_CALL_ID, &by_call_id, true)
            .override_global(constant::STEERING_KEY, &key, true)
            .override_global(constant::SOURCE_KEY, &source_key.0, true)
            .override_global(constant::BAN_SETS, &police.ban_sets, true)
            .override_global(constant::KNOWN_SETS, &police.known_sets, true)
            .override_global(constant::BUDGET_SETS, &police.budget_sets, true)
            .override_global(constant::BUDGET, &police.budget, true)
            .override_global(constant::STRANGERS, &police.strangers, true)
            .override_global(constant::DROP_JUNK, &police.drop_junk, true)
            .override_global(constant::ANSWER_STUN, &police.answer_stun, true)
            .override_global(constant::ANSWER_OPTIONS, &police.answer_options, true)
            .map_max_entries(map::BANS, police.ban_sets.max(1))
            .map_max_entries(map::KNOWN, police.known_sets.max(1))
            .map_max_entries(map::BUDGETS, police.budget_sets.max(1))
            .load(object)
            .map_err(LoadError::from_aya)?;
        // Before any map is taken out: the code names maps by descriptors that must still be open.
        let program = ebpf.program_mut(PROGRAM_NAME).ok_or(LoadError::Missing { name: PROGRAM_NAME })?;
        let program: &mut Xdp = program.try_into().map_err(|_| LoadError::Missing { name: PROGRAM_NAME })?;
        program.load().map_err(|error| LoadError::from_aya(error.into()))?;
        let packet_log = if options.log_packets { Some(PacketLog::take(&mut ebpf)?) } else { None };
        let switches = Switchboard::new(take(&mut ebpf, map::SWITCHES)?);
        let listeners = Listeners::new(take(&mut ebpf, map::LISTENERS)?);
        let sockets = take(&mut ebpf, map::SOCKETS)?;
        let counters = take(&mut ebpf, map::COUNTERS)?;
        let heartbeats = mapped(&mut ebpf, map::HEARTBEATS, size_of::<HeartbeatSlot>(), MAX_WORKERS)?;
        let bans = match police.ban_sets {
            0 => None,
            sets => {
                let table = Arc::new(mapped(&mut ebpf, map::BANS, size_of::<BanSet>(), sets)?);
                Some(Bans { table, sets, key: source_key })
            }
        };
        let known = match police.known_sets {
            0 => None,
            sets => {
                let table = Arc::new(mapped(&mut ebpf, map::KNOWN, size_of::<KnownSet>(), sets)?);
                Some(KnownSources { table, sets, key: source_key })
            }
        };
        let pings = PingMaps { shape: take(&mut ebpf, map::PINGS)?, peers: take(&mut ebpf, map::PEERS)? };
        let access_list = AccessList::new(bans, take(&mut ebpf, map::PREFIXES)?, switches.clone());
        Ok(Self {
            ebpf,
            listeners,
            switches,
            sockets,
            counters,
            heartbeats: Arc::new(heartbeats),
            access_list: Some(access_list),
            known,
            pings,
            packet_log,
            source_key,
            queues: options.queues,
            workers: options.workers,
            answers_pings: options.policing.answer_options,
            link: None,
        })
    }

    /// Steers datagrams to `listener` from now on. Twice the same is once.
    ///
    /// # Errors
    ///
    /// [`MapError::TooManyListeners`] beyond [`MAX_LISTENERS`](crate::MAX_LISTENERS), [`MapError::Unspecified`] for a wildcard
    /// address: packets carry addresses of the interface, so name them one by one.
    pub fn listen(&mut self, listener: SocketAddr) -> Result<(), MapError> {
        if listener.ip().is_unspecified() {
            return Err(MapError::Unspecified { listener });
        }
        self.listeners.add(listener, &self.switches)
    }

    /// Leaves datagrams to `listener` to the kernel again; nothing happens when it was none.
    ///
    /// # Errors
    ///
    /// [`MapError::Kernel`].
    pub fn unlisten(&mut self, listener: SocketAddr) -> Result<(), MapError> {
        self.listeners.remove(listener, &self.switches)
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
        let heart = if worker < self.workers {
            Heartbeat::new(&self.heartbeats, worker, self.answers_pings)
        } else {
            None
        };
        heart.ok_or(MapError::NoSuchWorker { worker, workers: self.workers })
    }

    /// Has the program answer these pings, where [`Policing::answer_options`] asked for it and as long as the worker
    /// whose they are [is ready](Heartbeat::set_ready).
    ///
    /// # Errors
    ///
    /// [`MapError::Pings`] for what there is no room for, [`MapError::Kernel`].
    pub fn answer_pings(&mut self, pings: &Pings) -> Result<(), MapError> {
        self.pings.write(pings)
    }

    /// Who is trusted and who is banned, once: it belongs to whoever decides that, and may outlive the program.
    pub fn access_list(&mut self) -> Option<AccessList> {
        self.access_list.take()
    }

    /// Where workers publish who is registered; none without budgets.
    pub fn known_sources(&self) -> Option<KnownSources> {
        self.known.clone()
    }

    /// The secret by which it places sources, for the program that comes in its place.
    pub fn source_key(&self) -> SourceKey {
        self.source_key
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

/// Maps the array `name` of the object, which has `entries` values of `value_len` bytes, into this process.
fn mapped(
    ebpf: &mut Ebpf,
    name: &'static str,
    value_len: usize,
    entries: u32,
) -> Result<MappedWords, LoadError> {
    let Some(Map::Array(data)) = ebpf.take_map(name) else { return Err(LoadError::Missing { name }) };
    MappedWords::map(&data, value_len, entries).map_err(|source| LoadError::Mapping { name, source })
}

/// Words that nobody else knows.
fn random() -> Result<[u64; 5], LoadError> {
    let mut bytes = [0; 40];
    // Up to 256 bytes come whole, and without waiting once the system is up (getrandom(2)).
    let filled = rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty());
    match filled {
        Ok(count) if count == bytes.len() => {}
        Ok(_) => return Err(LoadError::Random(io::ErrorKind::UnexpectedEof.into())),
        Err(error) => return Err(LoadError::Random(error.into())),
    }
    let (words, _) = bytes.as_chunks::<8>();
    let mut secret = [0; 5];
    for (to, from) in secret.iter_mut().zip(words) {
        *to = u64::from_ne_bytes(*from);
    }
    Ok(secret)
}
