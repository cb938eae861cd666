//! A setting by its name, and the step that sets it.

use std::fmt;
use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use serde::{Deserialize, Serialize};

/// A setting. The order is that of setting: a driver that makes its queues anew may reset what comes after them, and
/// interrupts are the last because the balancer would move them again.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Knob {
    /// A number of queues, as `ethtool -L` names it: `combined`, `rx`, `tx`.
    Channels(String),
    /// The length of the NIC's own rings, as `ethtool -G` names them: `rx`, `tx`.
    Ring(String),
    /// An offload, as `ethtool -K` takes it: `gro`, `rxvlan`, …; `on` or `off`.
    Offload(String),
    /// The fields that choose the queue of a flow (`udp4`, `udp6`), as the letters of `ethtool -N`.
    FlowHash(String),
    /// Interrupt moderation, as `ethtool -C` names it.
    Coalesce(String),
    /// A file of /sys/class/net/IF.
    Device(String),
    /// Memory in pages of 2 MiB.
    HugePages,
    /// A CPU's frequency governor.
    Governor(u32),
    /// The daemon that moves interrupts about: `running` or `stopped`.
    Irqbalance,
    /// The CPUs that serve an interrupt, as a list.
    Irq(u32),
}

impl Knob {
    /// Whether it belongs to the machine, and not to the device alone.
    pub fn of_the_machine(&self) -> bool {
        matches!(self, Self::HugePages | Self::Governor(_) | Self::Irqbalance)
    }

    /// Whether it is read from the device's directory in /sys, which is that of the network namespace it was mounted in.
    pub fn in_device_files(&self) -> bool {
        matches!(self, Self::Device(_) | Self::Irq(_))
    }
}

impl fmt::Display for Knob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Channels(kind) => write!(f, "queues {kind}"),
            Self::Ring(kind) => write!(f, "ring {kind}"),
            Self::Offload(name) | Self::Coalesce(name) | Self::Device(name) => f.write_str(name),
            Self::FlowHash(flow) => write!(f, "rx-flow-hash {flow}"),
            Self::HugePages => f.write_str("huge pages"),
            Self::Governor(cpu) => write!(f, "governor cpu{cpu}"),
            Self::Irqbalance => f.write_str("irqbalance"),
            Self::Irq(number) => write!(f, "irq {number}"),
        }
    }
}

/// Where /sys and /proc are: their own places, and others in tests.
#[derive(Clone, Debug)]
pub struct Roots {
    /// Usually `/sys`, of the network namespace that the device is in.
    pub sys: PathBuf,
    /// Usually `/proc`.
    pub proc: PathBuf,
}

impl Default for Roots {
    fn default() -> Self {
        Self { sys: PathBuf::from("/sys"), proc: PathBuf::from("/proc") }
    }
}

impl Roots {
    /// Whether /sys is that of the namespace in which the device of this name has this index.
    pub fn is_of(&self, interface: &str, index: u32) -> bool {
        let text = fs::read_to_string(self.device(interface).join("ifindex"));
        text.is_ok_and(|text| text.trim().parse() == Ok(index))
    }

    /// A device's directory.
    pub(crate) fn device(&self, interface: &str) -> PathBuf {
        self.sys.join("class/net").join(interface)
    }

    /// The file that has a CPU's governor.
    pub(crate) fn governor(&self, cpu: u32) -> PathBuf {
        self.sys.join(format!("devices/system/cpu/cpu{cpu}/cpufreq/scaling_governor"))
    }

    /// The file that has the number of huge pages.
    pub(crate) fn huge_pages(&self) -> PathBuf {
        self.proc.join("sys/vm/nr_hugepages")
    }

    /// The file that has an interrupt's CPUs.
    pub(crate) fn irq(&self, number: u32) -> PathBuf {
        self.proc.join(format!("irq/{number}/smp_affinity_list"))
    }
}

/// What sets a knob. Shown, it is the command that does the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// A program and its arguments.
    Run(Vec<String>),
    /// A file and what is written to it.
    Write(PathBuf, String),
}

/// Why a step was not taken, in the words of the program or of the kernel.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{step}`: {reason}")]
pub struct Refusal {
    step: String,
    /// The last that was said.
    pub reason: String,
}

impl Step {
    /// The step that gives `knob` of `interface` this value.
    pub fn new(roots: &Roots, interface: &str, knob: &Knob, value: &str) -> Self {
        let ethtool = |flag: &str, words: &[&str]| {
            let words = ["ethtool", flag, interface].into_iter().chain(words.iter().copied());
            Self::Run(words.map(str::to_owned).collect())
        };
        match knob {
            Knob::Channels(kind) => ethtool("-L", &[kind, value]),
            Knob::Ring(kind) => ethtool("-G", &[kind, value]),
            Knob::Offload(name) => ethtool("-K", &[name, value]),
            Knob::FlowHash(flow) => ethtool("-N", &["rx-flow-hash", flow, value]),
            Knob::Coalesce(name) => ethtool("-C", &[name, value]),
            Knob::Device(name) => Self::Write(roots.device(interface).join(name), value.to_owned()),
            Knob::HugePages => Self::Write(roots.huge_pages(), value.to_owned()),
            Knob::Governor(cpu) => Self::Write(roots.governor(*cpu), value.to_owned()),
            Knob::Irq(number) => Self::Write(roots.irq(*number), value.to_owned()),
            Knob::Irqbalance => {
                let deed = if value == "running" { "start" } else { "stop" };
                Self::Run(["systemctl", deed, "irqbalance"].map(str::to_owned).to_vec())
            }
        }
    }

    /// Takes it.
    ///
    /// # Errors
    /// The program is missing or refuses, or the file cannot be written.
    pub fn take(&self) -> Result<(), Refusal> {
        let refusal = |reason: String| Refusal { step: self.to_string(), reason };
        match self {
            Self::Write(path, value) => fs::write(path, value).map_err(|error| refusal(error.to_string())),
            Self::Run(words) => run(words).map(drop).map_err(refusal),
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Run(words) => f.write_str(&words.join(" ")),
            Self::Write(path, value) => write!(f, "echo {value} > {}", path.display()),
        }
    }
}

/// What the program prints, or the last line of its complaint.
pub(crate) fn run(words: &[String]) -> Result<String, String> {
    let (program, arguments) = words.split_first().ok_or("no program")?;
    let mut command = Command::new(program);
    let output = command.args(arguments).env("LC_ALL", "C").stdin(Stdio::null()).output();
    let output = output.map_err(|error| format!("{program}: {error}"))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let complaint = String::from_utf8_lossy(&output.stderr);
    let last = complaint.lines().rev().find(|line| !line.trim().is_empty());
    Err(last.map_or_else(|| format!("{program}: {}", output.status), |line| line.trim().to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_read_as_one_would_type_them() {
        let roots = Roots::default();
        let step = |knob: Knob, value: &str| Step::new(&roots, "eth1", &knob, value).to_string();
        assert_eq!(step(Knob::Channels("combined".into()), "8"), "ethtool -L eth1 combined 8");
        assert_eq!(step(Knob::FlowHash("udp4".into()), "sdfn"), "ethtool -N eth1 rx-flow-hash udp4 sdfn");
        assert_eq!(
            step(Knob::Device("gro_flush_timeout".into()), "200000"),
            "echo 200000 > /sys/class/net/eth1/gro_flush_timeout"
        );
        assert_eq!(step(Knob::Irqbalance, "stopped"), "systemctl stop irqbalance");
        assert_eq!(step(Knob::Irq(41), "3"), "echo 3 > /proc/irq/41/smp_affinity_list");
    }

    #[test]
    fn a_refusal_carries_the_last_words() {
        let step = Step::Run(["sh", "-c", "echo one >&2; echo two >&2; exit 3"].map(str::to_owned).to_vec());
        assert_eq!(step.take().map_err(|refusal| refusal.reason), Err("two".to_owned()));
        assert!(Step::Write("/proc/no-such-file".into(), "1".into()).take().is_err());
        assert!(Step::Run(vec!["no-such-program-here".into()]).take().is_err());
    }
}
