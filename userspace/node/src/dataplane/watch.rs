//! Whether the device is still the one that was opened; and when it has gone and another of its name is there, that one is opened.
//!
//! A device can be deleted and made anew, or renamed: its index tells. An AF_XDP socket does not say so, and the program goes with
//! its device. Meanwhile the kernel's sockets serve, by whatever device has the addresses. One thread inside the data plane's
//! namespace, away from every message.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use strowger_xdp::source::SourceKey;
use strowger_xdp::{Program, Steering};
use strowger_xsk::Device;

use super::Facts;
use super::nic::{self, Opened, Share};
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

/// What the thread needs to open a device again as it was opened at the start.
pub(super) struct Watch {
    pub(super) config: Config,
    pub(super) steering: Steering,
    pub(super) cpus: Vec<usize>,
    pub(super) serving: Serving,
    pub(super) refits: Vec<Arc<Refit>>,
    pub(super) orders: Arc<Orders>,
}

impl Watch {
    /// Until the node stops. `device` is what was opened.
    pub(super) fn run(self, device: Device) {
        let mut index = Some(device.index);
        let mut complaint = String::new();
        let mut source_key = None;
        while !self.orders.is_stopping() {
            std::thread::sleep(EVERY);
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
                    Ok(opened) => index = Some(opened),
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

    /// The index of the device that is served now.
    fn open(&self, source_key: Option<SourceKey>) -> Result<u32, Fault> {
        let Some(nic) = nic::find(&self.config)? else {
            return Err(Fault::Other("there is no device".to_owned()));
        };
        let (count, cpus) = (self.refits.len(), &self.cpus);
        let cpu_of = |at: usize| cpus.get(at % count.max(1) % cpus.len().max(1)).copied();
        let workers = u32::try_from(count).unwrap_or(u32::MAX);
        let Opened { facts, program, shares } =
            nic.open(&self.config, workers, self.steering, source_key, cpu_of)?;
        let index = facts.device.as_ref().map_or(0, |device| device.index);
        let mode = facts.mode;
        {
            let mut served = self.serving.now();
            served.facts = facts;
            served.program = Some(program);
            served.reopened += 1;
        }
        for (refit, share) in self.refits.iter().zip(shares) {
            refit.leave(Some((index, share)));
        }
        tracing::info!(interface = self.config.dataplane.interface, mode, "is back, and served again");
        Ok(index)
    }
}
