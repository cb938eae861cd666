//! Whether the device is still the one that was opened; and when it has gone and another of its name is there, that one is opened.
//!
//! A device can be deleted and made anew, or renamed: its index tells. An AF_XDP socket does not say so, and the program goes with
//! its device. Meanwhile the kernel's sockets serve, by whatever device has the addresses. One thread inside the data plane's
//! namespace, away from every message.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use strowger_xdp::source::SourceKey;
use strowger_xdp::{AttachMode, Pings, Program, Steering};
use strowger_xsk::Device;

use super::Facts;
use super::layout::Layout;
use super::nic::{self, Attached, Nic, Opened, Share};
use crate::config::Config;
use crate::fault::Fault;
use crate::orders::Orders;

/// How often it looks. The promise is to have a device that was made anew within 2 s.
const EVERY: Duration = Duration::from_millis(250);

/// What serves the device now. Status reads it, the watch changes it.
#[derive(Debug)]
pub(crate) struct Served {
    /// What it is.
    pub facts: Facts,
    /// The XDP program; none with mode `off`, and while the device is away.
    pub program: Option<Program>,
    /// How often a device was opened again.
    pub reopened: u64,
}

/// See [`Served`].
#[derive(Debug, Clone)]
pub(crate) struct Serving(Arc<Mutex<Served>>);

impl Serving {
    pub(super) fn new(facts: Facts, program: Option<Program>) -> Serving {
        Serving(Arc::new(Mutex::new(Served { facts, program, reopened: 0 })))
    }

    /// What serves it at this moment. Hold it shortly.
    pub(crate) fn now(&self) -> MutexGuard<'_, Served> {
        // Every change is whole before the next line.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A worker's next part of a device, left for it by the watch.
#[derive(Debug, Default)]
pub(crate) struct Refit {
    left: AtomicBool,
    /// None: the device has gone.
    next: Mutex<Option<(u32, Share)>>,
}

impl Refit {
    /// For the worker: whether something was left. One relaxed load.
    #[inline]
    pub(crate) fn is_left(&self) -> bool {
        self.left.load(Ordering::Relaxed)
    }

    /// For the worker: the index of the device and the part of it; none when there is no device now.
    pub(crate) fn take(&self) -> Option<(u32, Share)> {
        let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        self.left.store(false, Ordering::Relaxed);
        next.take()
    }

    fn leave(&self, next: Option<(u32, Share)>) {
        *self.next.lock().unwrap_or_else(PoisonError::into_inner) = next;
        self.left.store(true, Ordering::Relaxed);
    }
}

/// How long the node before may take to let go of the queues, and how often they are asked for: asking takes the memory of a
/// queue's frames each time.
const LETTING_GO: Duration = Duration::from_secs(5);
const ASK_EVERY: Duration = Duration::from_millis(20);
/// How often it looks whether it is time to ask.
const STILL_WATCH: Duration = Duration::from_millis(1);

/// A device that another node serves, who leaves it to this one. The program for it is loaded.
#[derive(Debug)]
pub(super) struct Succession {
    /// By what that one's program is attached, and how; none when it serves by the kernel alone.
    pub(super) link: Option<(OwnedFd, AttachMode)>,
}

/// What the thread needs to open a device again as it was opened at the start.
pub(super) struct Watch {
    pub(super) config: Config,
    pub(super) steering: Steering,
    pub(super) pings: Pings,
    pub(super) cpus: Vec<usize>,
    pub(super) serving: Serving,
    pub(super) refits: Vec<Arc<Refit>>,
    pub(super) orders: Arc<Orders>,
}

impl Watch {
    /// Until the node stops. `device` is what was opened, or is to be taken over at first.
    pub(super) fn run(self, device: Device, succession: Option<Succession>) {
        let mut complaint = String::new();
        let mut source_key = None;
        let mut index = match succession {
            None => Some(device.index),
            Some(succession) => match self.succeed(succession) {
                Ok(index) => index,
                Err(fault) => {
                    complaint = fault.to_string();
                    tracing::error!("the kernel's sockets serve: {complaint}");
                    source_key = self.serving.now().program.take().map(|program| program.source_key());
                    None
                }
            },
        };
        while !self.orders.is_stopping() {
            std::thread::sleep(EVERY);
            if self.orders.is_still() {
                continue;
            }
            let now = match Device::find(&device.name) {
                Ok(now) => Some(now),
                Err(error) if error.kind() == io::ErrorKind::NotFound => None,
                Err(error) => {
                    tracing::warn!(interface = device.name, %error, "cannot be looked at");
                    continue;
                }
            };
            if index.is_some() && now.as_ref().map(|now| now.index) != index {
                source_key = self.lose(&device.name);
                index = None;
            }
            if index.is_none() && now.is_some_and(|now| now.up) {
                match self.open(source_key) {
                    Ok(opened) => {
                        index = Some(opened);
                        complaint.clear();
                    }
                    Err(fault) if fault.to_string() != complaint => {
                        complaint = fault.to_string();
                        tracing::error!("the kernel's sockets serve on: {complaint}");
                    }
                    Err(_) => {}
                }
            }
        }
    }

    /// Gives the key by which the program that was there has placed sources.
    fn lose(&self, name: &str) -> Option<SourceKey> {
        tracing::error!(
            interface = name,
            "is gone, or is another device now; the kernel's sockets serve until it is back"
        );
        for refit in &self.refits {
            refit.leave(None);
        }
        let mut served = self.serving.now();
        let program = served.program.take();
        let why = format!("`{name}` is gone; it is opened again when it is back");
        served.facts = Facts { mode: "off", fallback: Some(why), ..served.facts.clone() };
        program.map(|program| program.source_key())
    }

    /// Takes the device from the node before, as soon as that one lets go of it; its index, or none when this node is to stop.
    /// Until the workers beat for the first time, whichever program is there passes everything to the kernel's sockets, which serve.
    fn succeed(&self, succession: Succession) -> Result<Option<u32>, Fault> {
        while self.orders.is_still() && !self.orders.is_stopping() {
            std::thread::sleep(STILL_WATCH);
        }
        if self.orders.is_stopping() {
            // The other one has kept what it had.
            return Ok(None);
        }
        let began = Instant::now();
        let nic = self.nic()?;
        let attached = match succession.link {
            Some((link, mode)) => {
                self.with_program(|program| nic.succeed(program, link))?.map(|()| (mode, None))
            }
            None => self.with_program(|program| nic.attach(program, self.config.dataplane.mode))?,
        }?;
        let sockets = loop {
            if self.orders.is_stopping() {
                return Ok(None);
            }
            match self.sockets(&nic, attached.clone()) {
                Err(Fault::QueueBusy(_)) if began.elapsed() < LETTING_GO => std::thread::sleep(ASK_EVERY),
                sockets => break sockets?,
            }
        };
        let (facts, shares) = self.with_program(|program| sockets.connect(program))??;
        let mode = facts.mode;
        let index = facts.device.as_ref().map_or(0, |device| device.index);
        self.serving.now().facts = facts;
        self.deal(index, shares);
        let interface = &self.config.dataplane.interface;
        tracing::info!(
            interface,
            mode,
            "taken over, {} ms after the kernel's sockets",
            began.elapsed().as_millis()
        );
        Ok(Some(index))
    }

    /// What can be done while nobody has the program but us: nobody takes it away but [`Self::lose`], on this thread.
    fn with_program<T>(&self, work: impl FnOnce(&mut Program) -> T) -> Result<T, Fault> {
        let mut served = self.serving.now();
        served.program.as_mut().map(work).ok_or_else(|| Fault::Other("there is no XDP program".to_owned()))
    }

    fn nic(&self) -> Result<Nic, Fault> {
        nic::find(&self.config)?.ok_or_else(|| Fault::Other("there is no device".to_owned()))
    }

    fn workers(&self) -> u32 {
        u32::try_from(self.refits.len()).unwrap_or(u32::MAX)
    }

    fn cpu_of(&self, worker: usize) -> Option<usize> {
        Layout::cpu(&self.cpus, self.refits.len(), worker)
    }

    fn sockets(&self, nic: &Nic, attached: Attached) -> Result<nic::Sockets, Fault> {
        nic.sockets(&self.config, (self.workers(), self.steering), attached, |at| self.cpu_of(at))
    }

    /// Gives each worker its part of the device `index`.
    fn deal(&self, index: u32, shares: Vec<Share>) {
        for (refit, share) in self.refits.iter().zip(shares) {
            refit.leave(Some((index, share)));
        }
    }

    /// The index of the device that is served now.
    fn open(&self, source_key: Option<SourceKey>) -> Result<u32, Fault> {
        let cpu_of = |at| self.cpu_of(at);
        let Opened { facts, program, shares } = self.nic()?.open(
            &self.config,
            self.workers(),
            (self.steering, &self.pings),
            source_key,
            cpu_of,
        )?;
        let index = facts.device.as_ref().map_or(0, |device| device.index);
        let mode = facts.mode;
        {
            let mut served = self.serving.now();
            served.facts = facts;
            served.program = Some(program);
            served.reopened += 1;
        }
        self.deal(index, shares);
        tracing::info!(interface = self.config.dataplane.interface, mode, "is back, and served again");
        Ok(index)
    }
}
