//! The workers before they have sockets: their engines with all tables, the lines between them, who resolves names, the
//! next hops. All of it can be had while another node serves. Then, with sockets, they are started.

use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::thread::JoinHandle;

use strowger_engine::{Engine, GatewayHealth, Location, Users};
use strowger_wire::steer::SteeringKey;
use strowger_xdp::{Pings, Program, Steering};
use strowger_xsk::{KernelSocket, Mirror, NextHops};

use super::layout::{Layout, pin};
use super::nic::Share;
use super::watch::{Refit, Serving, Succession, Watch};
use super::{Doors, Facts, Plane, Running, StopAtLast};
use crate::calls::Errands;
use crate::config::{self, Config};
use crate::egress::FastPath;
use crate::fault::Fault;
use crate::names::{self, Asker};
use crate::orders::Orders;
use crate::policing::{Lines, Police};
use crate::report::Desk;
use crate::secret;
use crate::users::UserTable;
use crate::worker::{Exchange, Parts, Spread, StandIn, Worker};

/// See the head of this file.
pub(super) struct Crew {
    pub(super) layout: Layout,
    pub(super) steering: Steering,
    /// What the program answers in the engines' place, where that is wanted.
    pub(super) pings: Pings,
    /// One for each worker.
    pub(super) engines: Vec<Engine>,
    pub(super) location: Arc<Location>,
    stand_in: Engine,
    gateways: Arc<GatewayHealth>,
    /// The workers', then the stand-in's.
    exchanges: Vec<Exchange>,
    askers: Vec<Asker>,
    next_hops: Option<(Mirror, NextHops)>,
}

/// The device as the workers get it.
pub(super) struct Fitting {
    pub(super) facts: Facts,
    pub(super) program: Option<Program>,
    /// One for each worker, or none when they get theirs later.
    pub(super) shares: Vec<Share>,
    pub(super) police: Option<(Police, Lines)>,
    /// What is to be done with the device at first, when it is another node's.
    pub(super) succession: Option<Succession>,
}

impl Fitting {
    /// With mode `off`.
    pub(super) fn none() -> Fitting {
        let facts = Facts { mode: "off", fallback: None, device: None, memory: None };
        Fitting { facts, program: None, shares: Vec::new(), police: None, succession: None }
    }
}

impl Crew {
    /// Makes everything that needs no socket of the data plane.
    pub(super) fn muster(config: &Config, users: &Arc<UserTable>, layout: Layout) -> Result<Crew, Fault> {
        let count = layout.count;
        let by_flow = config.dataplane.steering == config::Steering::Flow;
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
            true => (Spread::Anyhow, Steering::Flow),
            false => {
                let key = steering_key()?;
                (Spread::CallId(key), Steering::CallId(key))
            }
        };
        let unsuited = |e| Fault::Other(format!("the configuration does not suit the engine: {e}"));
        let location = Arc::new(Location::new(&engine_config).map_err(unsuited)?);
        let gateways = Arc::new(GatewayHealth::new(&engine_config).map_err(unsuited)?);
        let engine = |config: &Arc<strowger_engine::Config>, id: usize, workers: usize| {
            let number = u16::try_from(id).unwrap_or(u16::MAX);
            let mut engine = Engine::for_worker(Arc::clone(config), Arc::clone(&location), number)?;
            // Who is none of the workers knows how gateways are, and leaves asking them to those.
            let asks = if id < workers { id } else { usize::MAX };
            engine.share_gateways(Arc::clone(&gateways), asks, workers)?;
            engine.set_users(Arc::clone(users) as Arc<dyn Users>);
            Ok(engine)
        };
        let engines: Result<_, _> = (0..count).map(|id| engine(&engine_config, id, count)).collect();
        let stand_in = Arc::new(strowger_engine::Config {
            stateless: true,
            transactions: strowger_engine::Transactions::sized(1),
            calls: strowger_engine::Calls { max_dialogs: 0, ..engine_config.calls },
            ..(*engine_config).clone()
        });
        let next_hops = match &layout.nic {
            Some(_) => {
                Some(Mirror::start().map_err(|e| Fault::Other(format!("routes and neighbours: {e}")))?)
            }
            None => None,
        };
        Ok(Crew {
            engines: engines.map_err(unsuited)?,
            stand_in: engine(&stand_in, count, count).map_err(unsuited)?,
            exchanges: Exchange::between(count, spread)
                .map_err(|e| Fault::Other(format!("lines between the workers: {e}")))?,
            askers: names::start(&config.dns, count + 1)?,
            layout,
            steering,
            pings: config.policing.pings(&engine_config),
            location,
            gateways,
            next_hops,
        })
    }

    /// Starts the workers with these kernel sockets, those of each worker for itself, and whoever watches the device. With `orders`
    /// to stand still they do so from the beginning.
    pub(super) fn start(
        self,
        config: &Config,
        kernel: Vec<Vec<KernelSocket>>,
        fitting: Fitting,
        orders: Arc<Orders>,
    ) -> Result<Plane, Fault> {
        let Crew { layout, steering, pings, engines, location, gateways, mut exchanges, mut askers, .. } =
            self;
        let (mirror, hops) = self.next_hops.unzip();
        let Fitting { facts, program, shares, police, succession } = fitting;
        let (police, sightings) = police.map_or((None, Vec::new()), |(police, ends)| (Some(police), ends));
        let orders = StopAtLast(orders);
        let (Some(exchange), Some(names)) = (exchanges.pop(), askers.pop()) else {
            return Err(Fault::Other("the stand-in has no lines to the workers".to_owned()));
        };
        let wakers = exchange.wakers();
        let doors = Arc::new(doors(&kernel)?);
        let stand_in = {
            let (desk, wards) = (Arc::default(), shared(&kernel)?);
            let worker =
                StandIn::new(self.stand_in, wards, names, exchange, Arc::clone(&desk), Arc::clone(&orders.0));
            let thread = thread("stand-in".to_owned(), || worker.run())?;
            Running { id: layout.count, cpu: None, desk, errands: Arc::default(), thread }
        };
        let mut workers = Vec::with_capacity(layout.count);
        let mut refits = Vec::with_capacity(layout.count);
        let began = crate::worker::monotonic();
        let shares = shares.into_iter().map(Some).chain(std::iter::repeat_with(|| None));
        let sightings = sightings.into_iter().map(Some).chain(std::iter::repeat_with(|| None));
        let each = kernel.into_iter().zip(engines).zip(askers).zip(exchanges).zip(shares).zip(sightings);
        for (id, (((((kernel, mut engine), names), exchange), share), sightings)) in each.enumerate() {
            let cpu = layout.cpu_of(id);
            engine.succeed(began);
            let fast = match (&facts.device, &hops) {
                (Some(device), Some(hops)) => Some(FastPath::new(device.index, hops.clone(), layout.count)),
                _ => None,
            };
            let (heartbeat, queues) = share.map_or((None, Vec::new()), |s| (Some(s.heartbeat), s.queues));
            let refit = Arc::new(Refit::default());
            refits.push(Arc::clone(&refit));
            let parts = Parts {
                engine,
                queues,
                kernel,
                heartbeat,
                fast,
                names,
                exchange,
                sightings,
                polling: config.dataplane.polling,
                gather: config.dataplane.gather_us.into(),
                refit,
            };
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
        let queues = layout.nic.as_ref().map_or(0, |nic| nic.queues.len());
        let device = facts.device.clone();
        let serving = Serving::new(facts, program);
        if let Some(device) = device {
            let (config, orders) = (config.clone(), Arc::clone(&orders.0));
            let cpus = layout.cpus;
            let watch = Watch { config, steering, pings, cpus, serving: serving.clone(), refits, orders };
            thread("device-watch".to_owned(), move || watch.run(device, succession))?;
        }
        Ok(Plane {
            serving,
            police,
            workers,
            stand_in,
            location,
            gateways,
            mirror,
            queues,
            doors,
            wakers,
            orders,
        })
    }
}

/// Every worker's sockets once more.
fn shared(kernel: &[Vec<KernelSocket>]) -> Result<Vec<Vec<KernelSocket>>, Fault> {
    let again = |sockets: &Vec<KernelSocket>| sockets.iter().map(KernelSocket::share).collect();
    let all: io::Result<_> = kernel.iter().map(again).collect();
    all.map_err(|error| Fault::Other(format!("the kernel sockets for the stand-in: {error}")))
}

/// And once more, by their descriptors alone.
fn doors(kernel: &[Vec<KernelSocket>]) -> Result<Doors, Fault> {
    let door = |socket: &KernelSocket| Ok((socket.local(), socket.as_fd().try_clone_to_owned()?));
    let all: io::Result<_> = kernel.iter().map(|sockets| sockets.iter().map(door).collect()).collect();
    all.map_err(|error| Fault::Other(format!("the kernel sockets for whoever comes next: {error}")))
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

/// A key that nobody outside can know, so that nobody can aim calls at one worker. Another one in each run.
fn steering_key() -> Result<SteeringKey, Fault> {
    let random = secret::random().map_err(|e| Fault::Other(format!("no random numbers: {e}")))?;
    let mut key = [0; 16];
    key.iter_mut().zip(random).for_each(|(to, from)| *to = from);
    Ok(SteeringKey::from_bytes(key))
}
