//! Where and with what a run was made: figures mean nothing without it.

use std::fs;

use rustix::system::uname;
use serde::Serialize;

/// The machine, and how quiet it was.
#[derive(Clone, Debug, Serialize)]
pub struct Machine {
    /// Processor, as /proc/cpuinfo names it.
    pub cpu: String,
    /// Family, model and stepping: cloud machines hide the name.
    pub cpu_id: String,
    /// Processors that are online.
    pub cpus: usize,
    /// The hypervisor's flag is set.
    pub virtual_machine: bool,
    /// `uname -sr`.
    pub kernel: String,
    /// The compiler that built the binary.
    pub rustc: String,
    /// Load of the last minute when the run began, without the run itself.
    pub load: f64,
}

impl Machine {
    /// This machine, now.
    #[must_use]
    pub fn here() -> Self {
        let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let field = |name: &str| {
            let line = cpuinfo.lines().find(|line| line.split(':').next().is_some_and(|n| n.trim() == name));
            line.and_then(|line| line.split_once(':')).map_or("?", |(_, value)| value.trim()).to_owned()
        };
        let system = uname();
        let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
        Self {
            cpu: field("model name"),
            cpu_id: format!(
                "family {} model {} stepping {}",
                field("cpu family"),
                field("model"),
                field("stepping")
            ),
            cpus: std::thread::available_parallelism().map_or(1, usize::from),
            virtual_machine: field("flags").split(' ').any(|flag| flag == "hypervisor"),
            kernel: format!("{} {}", system.sysname().to_string_lossy(), system.release().to_string_lossy()),
            rustc: env!("STROWGER_BENCH_RUSTC").to_owned(),
            load: load.split(' ').next().and_then(|text| text.parse().ok()).unwrap_or(f64::NAN),
        }
    }
}

/// Time that the hypervisor took from all processors together since boot, in seconds.
#[must_use]
pub fn stolen() -> f64 {
    let stat = fs::read_to_string("/proc/stat").unwrap_or_default();
    let ticks = stat.lines().next().and_then(|line| line.split_whitespace().nth(8)?.parse::<f64>().ok());
    // USER_HZ is 100 on every Linux that runs this.
    ticks.unwrap_or(0.0) / 100.0
}

/// Octets of memory that this process has in use, as the kernel counts them.
#[must_use]
pub fn resident() -> u64 {
    // Not by pages: asking for their size upsets valgrind.
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<u64>().ok()).unwrap_or(0) * 1024
}
