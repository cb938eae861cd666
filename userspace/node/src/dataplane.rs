//! Bringing the data plane up and down: kernel sockets, the device (see [`nic`]), and the workers with all they need (see
//! [`crew`]); or in the place of a node that runs (see [`succession`]).
//!
//! Everything here runs on one thread inside the data plane's network namespace (see `netns`), and the threads it starts
//! inherit that. The order makes every moment safe: kernel sockets are bound first and keep what arrives until their
//! workers run, and the XDP program passes what it has no live worker for, so traffic is answered by whichever path
//! is up first. On any fault what was already done is undone by dropping it.

mod crew;
mod layout;
pub(crate) mod nic;
pub(crate) mod succession;
pub(crate) mod watch;

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use strowger_engine::{GatewayHealth, Location};
use strowger_xsk::{Device, KernelSocket, Mirror};

use self::crew::{Crew, Fitting};
use self::layout::Layout;
pub(crate) use self::layout::allowed_cpus;
use self::watch::Serving;
use crate::calls::Errands;
use crate::config::Config;
use crate::fault::Fault;
use crate::orders::Orders;
use crate::policing::Police;
use crate::report::Desk;
use crate::users::UserTable;
use crate::worker::{Report, Wakers};

/// Wanted size of a kernel socket's receive buffer, bytes: 100 ms of 100,000 messages a second.
const SOCKET_BUFFER: usize = 8 << 20;
/// How long a stopping worker may take to finish what is in its rings.
const STOP_PATIENCE: Duration = Duration::from_secs(2);

/// What the device is served by; status shows it.
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
    /// Every worker's kernel sockets once more, for a node that takes this one's place.
    pub doors: Arc<Doors>,
    /// What wakes workers.
    pub wakers: Wakers,
    orders: StopAtLast,
}

/// Each worker's kernel sockets: their addresses and descriptors.
pub(crate) type Doors = Vec<Vec<(SocketAddr, OwnedFd)>>;

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
        let layout = Layout::of(config)?;
        let kernel = (0..layout.count).map(|_| kernel_sockets(config)).collect::<Result<_, _>>()?;
        let crew = Crew::muster(config, users, layout)?;
        let fitting = match &crew.layout.nic {
            None => Fitting::none(),
            Some(nic) => {
                let cpu_of = |at| crew.layout.cpu_of(at);
                let nic::Opened { facts, mut program, shares } =
                    nic.open(config, crew.layout.workers(), (crew.steering, &crew.pings), None, cpu_of)?;
                let police = Police::start(config, &mut program, crew.layout.count)?;
                Fitting { facts, program: Some(program), shares, police, succession: None }
            }
        };
        crew.start(config, kernel, fitting, Arc::default())
    }

    /// The first worker that ended without being told to. There is no such thing but a panic.
    pub(crate) fn dead_worker(&self) -> Option<usize> {
        self.workers.iter().chain([&self.stand_in]).find(|w| w.thread.is_finished()).map(|w| w.id)
    }

    /// From now on nothing new begins; what is under way is finished. See [`strowger_engine::Engine::drain`].
    pub(crate) fn drain(&self) {
        self.orders.0.drain();
    }

    /// What every worker is told.
    pub(crate) fn orders(&self) -> &Arc<Orders> {
        &self.orders.0
    }

    /// Detaches, so that the kernel has the traffic, then lets the workers finish what they hold. With an `heir`, who has
    /// taken the traffic over, the program stays on the device, and what waits in the kernel's sockets is the heir's.
    pub(crate) fn stop(mut self, heir: bool) {
        // First, so that no device is opened any more.
        self.orders.0.stop();
        if let Some(program) = &mut self.serving.now().program {
            match heir {
                true => program.leave(),
                false => program.detach(),
            }
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
    config.sip.listen.iter().map(|address| kernel_socket(*address)).collect()
}

fn kernel_socket(address: SocketAddr) -> Result<KernelSocket, Fault> {
    KernelSocket::bind(address, true, SOCKET_BUFFER).map_err(|error| listen_fault(address, &error))
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
