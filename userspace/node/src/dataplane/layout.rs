//! How many workers there are, on which CPUs, and for which queues of which device. Found out before anything is made.

use super::nic::{self, Nic};
use crate::config::{Auto, Config, Steering};
use crate::fault::Fault;

/// See the head of this file.
pub(super) struct Layout {
    /// Those that workers are pinned to, in their order.
    pub(super) cpus: Vec<usize>,
    /// None with mode `off`.
    pub(super) nic: Option<Nic>,
    /// Workers.
    pub(super) count: usize,
}

impl Layout {
    /// What `config` means on this machine as it is.
    pub(super) fn of(config: &Config) -> Result<Layout, Fault> {
        let cpus = worker_cpus(config)?;
        let nic = nic::find(config)?;
        let count = worker_count(config, nic.as_ref().map(|nic| nic.queues.len()), cpus.len());
        Ok(Layout { cpus, nic, count })
    }

    /// Where a worker is pinned.
    pub(super) fn cpu_of(&self, worker: usize) -> Option<usize> {
        Layout::cpu(&self.cpus, self.count, worker)
    }

    /// The same, of the parts.
    pub(super) fn cpu(cpus: &[usize], workers: usize, worker: usize) -> Option<usize> {
        cpus.get(worker % workers.max(1) % cpus.len().max(1)).copied()
    }

    /// Workers, as the XDP program counts them.
    pub(super) fn workers(&self) -> u32 {
        u32::try_from(self.count).unwrap_or(u32::MAX)
    }
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

pub(super) fn pin(worker: usize, cpu: Option<usize>) {
    if let Some(cpu) = cpu
        && let Err(error) = move_to(cpu)
    {
        tracing::warn!(worker, cpu, %error, "cannot be pinned; runs wherever the kernel puts it");
    }
}

/// Pins the calling thread.
pub(super) fn move_to(cpu: usize) -> rustix::io::Result<()> {
    let mut set = rustix::thread::CpuSet::new();
    set.set(cpu);
    rustix::thread::sched_setaffinity(None, &set)
}
