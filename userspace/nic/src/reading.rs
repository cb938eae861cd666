//! How every setting stands now.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use crate::ethtool;
use crate::knob::{Knob, Roots, run};

/// One setting as it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reading {
    /// It can be changed.
    Set {
        /// Its value, as the step that sets it would be given.
        value: String,
        /// The most that it can be, where it is a number with a limit.
        most: Option<u32>,
    },
    /// It is what it is.
    Fixed(String),
    /// The driver or the machine has no such thing; the reason in a few words.
    Absent(String),
}

impl Reading {
    fn set(value: impl Into<String>) -> Self {
        Self::Set { value: value.into(), most: None }
    }

    /// The value, when there is one.
    pub fn value(&self) -> Option<&str> {
        match self {
            Self::Set { value, .. } | Self::Fixed(value) => Some(value),
            Self::Absent(_) => None,
        }
    }
}

/// Everything that was read of one device and its machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Readings {
    /// The device.
    pub interface: String,
    /// Its driver, empty where it does not say.
    pub driver: String,
    /// Each setting.
    pub settings: BTreeMap<Knob, Reading>,
    /// The queue that each of the device's interrupts is for.
    pub irq_queues: BTreeMap<u32, u32>,
    /// Huge pages of 2 MiB that nobody uses.
    pub free_huge_pages: u64,
}

/// What is not there because the driver has no such thing.
const NOT_BY_DRIVER: &str = "not supported by driver";
/// Offloads: the name that `ethtool -k` shows, and the one that `-K` takes.
const OFFLOADS: [(&str, &str); 5] = [
    ("generic-receive-offload", "gro"),
    ("large-receive-offload", "lro"),
    ("rx-gro-hw", "rx-gro-hw"),
    ("rx-vlan-offload", "rxvlan"),
    ("ntuple-filters", "ntuple"),
];

impl Readings {
    /// Reads everything of `interface`, in the network namespace of the calling thread, and of these CPUs. Changes nothing.
    pub fn take(roots: &Roots, interface: &str, cpus: &[u32]) -> Self {
        let asked = |words: &[&str]| {
            let words: Vec<String> = ["ethtool"].iter().chain(words).map(|word| (*word).to_owned()).collect();
            run(&words).unwrap_or_default()
        };
        let mut settings = BTreeMap::new();
        let text = asked(&["-l", interface]);
        // Drivers have either queues of both kinds in one, or each for itself.
        let combined = ethtool::column(&text, "Combined");
        let columns: &[(&str, &str)] =
            if combined.is_some() { &[("Combined", "combined")] } else { &[("RX", "rx"), ("TX", "tx")] };
        for (column, name) in columns {
            settings.insert(Knob::Channels((*name).into()), sized(&text, column));
        }
        let text = asked(&["-g", interface]);
        for (column, name) in [("RX", "rx"), ("TX", "tx")] {
            settings.insert(Knob::Ring(name.into()), sized(&text, column));
        }
        let text = asked(&["-k", interface]);
        for (shown, name) in OFFLOADS {
            let on = |on: bool| if on { "on" } else { "off" };
            let reading = match ethtool::offload(&text, shown) {
                Some((value, true)) => Reading::set(on(value)),
                Some((value, false)) => Reading::Fixed(on(value).to_owned()),
                None => Reading::Absent(NOT_BY_DRIVER.to_owned()),
            };
            settings.insert(Knob::Offload(name.into()), reading);
        }
        for flow in ["udp4", "udp6"] {
            let letters = ethtool::flow_hash(&asked(&["-n", interface, "rx-flow-hash", flow]));
            settings.insert(Knob::FlowHash(flow.into()), or_absent(letters, NOT_BY_DRIVER));
        }
        let text = asked(&["-c", interface]);
        for name in ["adaptive-rx", "rx-usecs"] {
            settings.insert(
                Knob::Coalesce(name.into()),
                or_absent(ethtool::coalesce(&text, name), NOT_BY_DRIVER),
            );
        }
        for name in ["napi_defer_hard_irqs", "gro_flush_timeout"] {
            let value = file(&roots.device(interface).join(name));
            settings.insert(Knob::Device(name.into()), or_absent(value, "not in this kernel"));
        }
        settings.insert(Knob::HugePages, or_absent(file(&roots.huge_pages()), "not in this kernel"));
        for cpu in cpus {
            let value = file(&roots.governor(*cpu));
            settings.insert(Knob::Governor(*cpu), or_absent(value, "not on this machine"));
        }
        settings.insert(Knob::Irqbalance, irqbalance(roots));
        let irq_queues = irqs(roots, interface);
        for number in irq_queues.keys() {
            settings.insert(Knob::Irq(*number), or_absent(file(&roots.irq(*number)), "gone"));
        }
        let driver = ethtool::driver(&asked(&["-i", interface])).unwrap_or_default().to_owned();
        Self {
            interface: interface.to_owned(),
            driver,
            settings,
            irq_queues,
            free_huge_pages: free_pages(roots),
        }
    }

    /// The value of a setting, when it has one.
    pub fn value(&self, knob: &Knob) -> Option<&str> {
        self.settings.get(knob)?.value()
    }

    /// Receive queues, 1 where the driver does not say.
    pub fn queues(&self) -> u32 {
        let count = |kind: &str| self.value(&Knob::Channels(kind.into()))?.parse().ok();
        count("combined").or_else(|| count("rx")).unwrap_or(1)
    }
}

fn sized(text: &str, column: &str) -> Reading {
    match ethtool::column(text, column) {
        Some(size) => Reading::Set { value: size.now.to_string(), most: Some(size.most) },
        None => Reading::Absent(NOT_BY_DRIVER.to_owned()),
    }
}

fn or_absent(value: Option<String>, reason: &str) -> Reading {
    value.map_or_else(|| Reading::Absent(reason.to_owned()), Reading::set)
}

fn file(path: &Path) -> Option<String> {
    fs::read_to_string(path).ok().map(|text| text.trim().to_owned())
}

/// Pages of 2 MiB that are reserved and free.
fn free_pages(roots: &Roots) -> u64 {
    let text = fs::read_to_string(roots.proc.join("meminfo")).unwrap_or_default();
    let field = text.lines().find_map(|line| line.strip_prefix("HugePages_Free:"));
    field.and_then(|value| value.trim().parse().ok()).unwrap_or(0)
}

fn irqbalance(roots: &Roots) -> Reading {
    let processes = fs::read_dir(&roots.proc).into_iter().flatten().flatten();
    let runs =
        processes.filter_map(|entry| file(&entry.path().join("comm"))).any(|name| name == "irqbalance");
    Reading::set(if runs { "running" } else { "stopped" })
}

/// The device's interrupts that are for a receive queue. A virtio device's are those of the PCI device above it.
fn irqs(roots: &Roots, interface: &str) -> BTreeMap<u32, u32> {
    let device = roots.device(interface).join("device");
    // Canonical first: `..` of a link is not where the link is.
    let device = device.canonicalize().unwrap_or(device);
    let directories = [Some(device.as_path()), device.parent()];
    let mut entries =
        directories.into_iter().flatten().filter_map(|place| fs::read_dir(place.join("msi_irqs")).ok());
    let Some(entries) = entries.next() else { return BTreeMap::new() };
    let numbers: Vec<u32> =
        entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect();
    let table = fs::read_to_string(roots.proc.join("interrupts")).unwrap_or_default();
    let lines = table.lines().filter_map(|line| {
        let (number, rest) = line.split_once(':')?;
        let number = number.trim().parse().ok()?;
        Some((number, queue_of(rest.split_whitespace().last()?)?))
    });
    lines.filter(|(number, _)| numbers.contains(number)).collect()
}

/// The receive queue in the name of an interrupt: `ice-eth1-TxRx-3`, `mlx5_comp3@pci:…`, `virtio0-input.3`, `eth1-rx-3`.
fn queue_of(name: &str) -> Option<u32> {
    let marks = ["TxRx-", "Tx-Rx-", "mlx5_comp", "-input.", "-rx-"];
    let rest = marks.iter().find_map(|mark| Some(name.split_once(mark)?.1))?;
    let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
    rest[..end].parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queues_in_the_names_of_interrupts() {
        for (name, queue) in [
            ("ice-eth1-TxRx-3", Some(3)),
            ("i40e-enp1s0f0-TxRx-11", Some(11)),
            ("mlx5_comp7@pci:0000:08:00.0", Some(7)),
            ("virtio0-input.2", Some(2)),
            ("virtio0-output.2", None),
            ("ens5-Tx-Rx-1", Some(1)),
            ("mlx5_async0@pci:0000:08:00.0", None),
            ("virtio0-config", None),
        ] {
            assert_eq!(queue_of(name), queue, "{name}");
        }
    }

    #[test]
    fn files_are_read_where_they_are() {
        let directory = tempfile::tempdir().expect("a directory");
        let roots = Roots { sys: directory.path().join("sys"), proc: directory.path().join("proc") };
        let write = |path: &Path, text: &str| {
            fs::create_dir_all(path.parent().expect("inside")).expect("made");
            fs::write(path, text).expect("written");
        };
        write(&roots.device("nic0").join("gro_flush_timeout"), "0\n");
        write(&roots.governor(1), "schedutil\n");
        write(&roots.huge_pages(), "12\n");
        write(&roots.proc.join("meminfo"), "MemTotal: 1 kB\nHugePages_Free:       5\n");
        write(&roots.proc.join("77/comm"), "irqbalance\n");
        write(&roots.device("nic0").join("device/msi_irqs/41"), "");
        write(&roots.device("nic0").join("device/msi_irqs/42"), "");
        write(
            &roots.proc.join("interrupts"),
            "  CPU0\n 41: 1 PCI-MSI x-nic0-TxRx-0\n 42: 0 PCI-MSI nic0-ctl\n 43: 2 o-TxRx-1\n",
        );
        write(&roots.irq(41), "0-1\n");
        let readings = Readings::take(&roots, "nic0", &[1, 2]);
        assert_eq!(readings.value(&Knob::Device("gro_flush_timeout".into())), Some("0"));
        assert_eq!(readings.value(&Knob::Governor(1)), Some("schedutil"));
        assert_eq!(readings.value(&Knob::Governor(2)), None);
        assert_eq!((readings.value(&Knob::HugePages), readings.free_huge_pages), (Some("12"), 5));
        assert_eq!(readings.value(&Knob::Irqbalance), Some("running"));
        assert_eq!(readings.irq_queues, BTreeMap::from([(41, 0)]));
        assert_eq!(readings.value(&Knob::Irq(41)), Some("0-1"));
        let absent = &readings.settings[&Knob::Ring("rx".into())];
        assert_eq!(*absent, Reading::Absent("not supported by driver".to_owned()));
    }
}
