//! What the node wants of every setting, and why.

use serde::Serialize;

use crate::knob::{Knob, Roots, Step};
use crate::reading::{Reading, Readings};
use crate::{MAX_QUEUES, QUEUE_MEMORY, RING};

/// What the caller wants.
#[derive(Clone, Debug, Default)]
pub struct Wishes {
    /// Queues; without it one for each CPU, as far as the device has them.
    pub queues: Option<u32>,
    /// The CPUs of the workers, in their order.
    pub cpus: Vec<u32>,
    /// Whether the workers poll the driver themselves (SO_PREFER_BUSY_POLL).
    pub busy_poll: bool,
    /// Leaves alone what is not the device's own.
    pub device_only: bool,
}

/// How a setting stands to what is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// As wanted.
    Good,
    /// To be changed.
    Change,
    /// Wanted otherwise, and the driver does not let it be changed.
    Fixed,
    /// The driver or the machine has no such thing.
    Unsupported,
}

/// One setting, judged.
#[derive(Clone, Debug, Serialize)]
pub struct Line {
    /// The setting.
    pub knob: Knob,
    /// What it is called.
    pub setting: String,
    /// What it is now, or why there is none.
    pub now: String,
    /// What it should be; none where there is no such setting.
    pub want: Option<String>,
    /// How these two stand.
    pub verdict: Verdict,
    /// Why that is wanted.
    pub why: &'static str,
    /// The command that would change it.
    pub step: Option<String>,
}

/// Judges everything that was read. The lines are in the order in which to change them.
pub fn plan(roots: &Roots, readings: &Readings, wishes: &Wishes) -> Vec<Line> {
    let settings =
        readings.settings.iter().filter(|(knob, _)| !(wishes.device_only && knob.of_the_machine()));
    settings.map(|(knob, reading)| line(roots, readings, wishes, knob, reading)).collect()
}

fn line(roots: &Roots, readings: &Readings, wishes: &Wishes, knob: &Knob, reading: &Reading) -> Line {
    let (want, why) = wanted(readings, wishes, knob, reading);
    let (now, want, verdict) = match reading {
        Reading::Absent(reason) => (reason.clone(), None, Verdict::Unsupported),
        Reading::Set { value, .. } if *value == want => (value.clone(), Some(want), Verdict::Good),
        Reading::Set { value, .. } => (value.clone(), Some(want), Verdict::Change),
        Reading::Fixed(value) if *value == want => (value.clone(), Some(want), Verdict::Good),
        Reading::Fixed(value) => (format!("{value} [fixed]"), Some(want), Verdict::Fixed),
    };
    let step = want.as_ref().filter(|_| verdict == Verdict::Change);
    let step = step.map(|want| Step::new(roots, &readings.interface, knob, want).to_string());
    Line { knob: knob.clone(), setting: knob.to_string(), now, want, verdict, why, step }
}

/// The value that a setting should have, and why.
fn wanted(readings: &Readings, wishes: &Wishes, knob: &Knob, reading: &Reading) -> (String, &'static str) {
    let now = reading.value().unwrap_or_default();
    let most = if let Reading::Set { most, .. } = reading { *most } else { None };
    match knob {
        Knob::Channels(_) => queues(readings, wishes, most.unwrap_or(1)),
        Knob::Ring(_) => (
            most.unwrap_or(RING).min(RING).to_string(),
            "as long as the node's own rings: bursts fit, and the NIC does not hold all frames",
        ),
        Knob::Offload(name) => match name.as_str() {
            "rxvlan" => {
                ("off".to_owned(), "the XDP program judges tags, and does not see those that the NIC strips")
            }
            "ntuple" => ("on".to_owned(), "flows can be sent to queues of one's choice"),
            "lro" => ("off".to_owned(), "merged packets are no frames; most drivers refuse XDP beside it"),
            _ => (
                "off".to_owned(),
                "SIP over UDP gains nothing by merging, and what XDP passes would wait for it",
            ),
        },
        Knob::FlowHash(_) => ("sdfn".to_owned(), "ports too: two proxies are one pair of addresses"),
        Knob::Coalesce(name) if name == "adaptive-rx" => {
            ("off".to_owned(), "the delay of an interrupt is then ours to choose")
        }
        Knob::Coalesce(_) => {
            let shorter = now.parse::<u32>().is_ok_and(|now| now <= LONGEST_DELAY_US);
            let want = if shorter { now.to_owned() } else { LONGEST_DELAY_US.to_string() };
            (want, "no message waits longer than this for its interrupt")
        }
        Knob::Device(name) => {
            let polling =
                if name == "gro_flush_timeout" { GRO_FLUSH_TIMEOUT_NS } else { NAPI_DEFER_HARD_IRQS };
            match wishes.busy_poll {
                true => (polling.to_owned(), "interrupts stay off while the workers poll"),
                // Whoever set it otherwise has his reasons; without busy polling it adds latency, so it is shown.
                false => ("0".to_owned(), "interrupts come at once; more only with busy polling"),
            }
        }
        Knob::HugePages => {
            let needed = u64::from(readings.queues().min(MAX_QUEUES)) * QUEUE_MEMORY / HUGE_PAGE;
            let have = now.parse::<u64>().unwrap_or(0);
            let used = have.saturating_sub(readings.free_huge_pages);
            ((used + needed).max(have).to_string(), "frame memory in pages of 2 MiB: fewer TLB misses")
        }
        Knob::Governor(_) => ("performance".to_owned(), "no message waits for a clock that speeds up"),
        Knob::Irqbalance => ("stopped".to_owned(), "interrupts stay where their workers are"),
        Knob::Irq(number) => {
            let queue = readings.irq_queues.get(number).copied().unwrap_or(0) as usize;
            let cpu = queue.checked_rem(wishes.cpus.len()).and_then(|at| wishes.cpus.get(at));
            let want = cpu.map_or_else(|| now.to_owned(), u32::to_string);
            (want, "the worker's own CPU: the frame is in its cache")
        }
    }
}

/// Longest that an interrupt may be held back: at most 125,000 of them a second and queue.
const LONGEST_DELAY_US: u32 = 8;
/// What the kernel's authors use with preferred busy polling (Linux commit 7fd3253a7de6), nanoseconds.
const GRO_FLUSH_TIMEOUT_NS: &str = "200000";
/// Likewise.
const NAPI_DEFER_HARD_IRQS: &str = "2";
/// Bytes of a huge page.
const HUGE_PAGE: u64 = 2 << 20;

fn queues(readings: &Readings, wishes: &Wishes, most: u32) -> (String, &'static str) {
    let most = most.clamp(1, MAX_QUEUES);
    if let Some(wanted) = wishes.queues {
        return (wanted.clamp(1, most).to_string(), "as asked for");
    }
    if readings.driver == "virtio_net" {
        // It opens those left over for XDP when a program is attached (virtnet_xdp_set), to receiving too: packets
        // would come by queues that nobody serves.
        return (most.to_string(), "all: virtio-net would open the others when XDP is attached");
    }
    let cpus = u32::try_from(wishes.cpus.len()).unwrap_or(1).max(1);
    (most.min(cpus).to_string(), "one for each CPU")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn set(value: &str) -> Reading {
        Reading::Set { value: value.to_owned(), most: None }
    }

    fn readings(settings: impl IntoIterator<Item = (Knob, Reading)>) -> Readings {
        Readings {
            interface: "eth1".to_owned(),
            driver: "ice".to_owned(),
            settings: settings.into_iter().collect(),
            irq_queues: BTreeMap::from([(50, 0), (51, 1), (52, 2)]),
            free_huge_pages: 4,
        }
    }

    fn wishes() -> Wishes {
        Wishes { cpus: vec![2, 3], ..Wishes::default() }
    }

    /// The plan's only line for this setting.
    fn judged(knob: Knob, reading: Reading, wishes: &Wishes) -> Line {
        plan(&Roots::default(), &readings([(knob, reading)]), wishes).remove(0)
    }

    #[test]
    fn queues_are_one_for_each_cpu_as_far_as_there_are() {
        let sized = |now: &str, most| Reading::Set { value: now.to_owned(), most: Some(most) };
        let knob = Knob::Channels("combined".into());
        let line = judged(knob.clone(), sized("16", 112), &wishes());
        assert_eq!(line.step.as_deref(), Some("ethtool -L eth1 combined 2"));
        assert_eq!(judged(knob.clone(), sized("1", 1), &wishes()).verdict, Verdict::Good);
        let asked = Wishes { queues: Some(500), ..wishes() };
        assert_eq!(judged(knob.clone(), sized("16", 112), &asked).want.as_deref(), Some("64"));
        let mut virtio = readings([(knob, sized("2", 8))]);
        virtio.driver = "virtio_net".to_owned();
        assert_eq!(plan(&Roots::default(), &virtio, &wishes())[0].want.as_deref(), Some("8"));
    }

    #[test]
    fn what_cannot_be_changed_is_said_and_left() {
        let lro = Knob::Offload("lro".into());
        assert_eq!(judged(lro.clone(), Reading::Fixed("off".into()), &wishes()).verdict, Verdict::Good);
        let fixed = judged(lro.clone(), Reading::Fixed("on".into()), &wishes());
        assert_eq!((fixed.verdict, fixed.step), (Verdict::Fixed, None));
        let absent = judged(lro, Reading::Absent("not supported by driver".into()), &wishes());
        assert_eq!((absent.verdict, absent.now.as_str()), (Verdict::Unsupported, "not supported by driver"));
        assert_eq!((absent.want, absent.step), (None, None));
    }

    #[test]
    fn interrupts_follow_the_workers() {
        for (irq, cpu) in [(50, "2"), (51, "3"), (52, "2")] {
            assert_eq!(judged(Knob::Irq(irq), set("0-63"), &wishes()).want.as_deref(), Some(cpu));
        }
        let nowhere = Wishes::default();
        assert_eq!(judged(Knob::Irq(50), set("0-63"), &nowhere).verdict, Verdict::Good, "no CPUs, no wish");
    }

    #[test]
    fn a_short_delay_stays_and_a_long_one_is_cut() {
        let knob = Knob::Coalesce("rx-usecs".into());
        assert_eq!(judged(knob.clone(), set("0"), &wishes()).verdict, Verdict::Good);
        assert_eq!(judged(knob, set("50"), &wishes()).want.as_deref(), Some("8"));
    }

    #[test]
    fn deferred_interrupts_need_busy_polling() {
        let knob = Knob::Device("napi_defer_hard_irqs".into());
        assert_eq!(judged(knob.clone(), set("0"), &wishes()).verdict, Verdict::Good);
        let polling = Wishes { busy_poll: true, ..wishes() };
        assert_eq!(judged(knob, set("0"), &polling).want.as_deref(), Some("2"));
    }

    #[test]
    fn huge_pages_are_added_to_those_in_use() {
        // 12 there, 8 of them used by others, one queue needs 8.
        assert_eq!(judged(Knob::HugePages, set("12"), &wishes()).want.as_deref(), Some("16"));
        assert_eq!(judged(Knob::HugePages, set("0"), &wishes()).want.as_deref(), Some("8"));
    }

    #[test]
    fn the_machine_is_left_alone_when_asked() {
        let all = readings([
            (Knob::HugePages, set("0")),
            (Knob::Irqbalance, set("running")),
            (Knob::Ring("rx".into()), set("1")),
        ]);
        let wishes = Wishes { device_only: true, ..wishes() };
        let lines = plan(&Roots::default(), &all, &wishes);
        assert_eq!(lines.iter().map(|line| line.setting.as_str()).collect::<Vec<_>>(), ["ring rx"]);
    }
}
