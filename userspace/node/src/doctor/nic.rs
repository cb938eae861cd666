//! What `strowger doctor` says of the NIC's settings and the machine's: the same as `cargo xtask nic check`, because both
//! judge by `strowger-nic`. Slow is not broken, so every one of these is a note.

use strowger_nic::{Line, Readings, Roots, Verdict, Wishes, plan};
use strowger_xsk::Device;

use super::Finding;
use crate::config::{Config, Frames, Polling};
use crate::dataplane;

// What is tuned is what is served, unless the configuration says more.
const _: () = assert!(dataplane::nic::memory(Frames::LEAST) == strowger_nic::QUEUE_MEMORY);
const _: () = assert!(Frames::LEAST.count() / 2 == strowger_nic::RING);
const _: () = assert!(strowger_xdp::MAX_QUEUES == strowger_nic::MAX_QUEUES);

/// Findings of the device and the machine. In the data plane's network namespace; without a mount of its /sys there, the
/// files of the device are another's, and are left out.
pub(super) fn findings(config: &Config, device: &Device) -> Vec<Finding> {
    if !std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default())
        .chain(["/usr/sbin".into(), "/sbin".into()])
        .any(|directory| directory.join("ethtool").is_file())
    {
        return vec![Finding::note(
            "NIC",
            "its settings are not known: no ethtool",
            "apt-get install -y ethtool",
        )];
    }
    let cpus = if config.dataplane.cpus.is_empty() {
        dataplane::allowed_cpus()
    } else {
        config.dataplane.cpus.clone()
    };
    let wishes = Wishes {
        // As many as there are: how many are served is a finding of its own.
        queues: Some(device.rx_queues),
        cpus: cpus.into_iter().filter_map(|cpu| u32::try_from(cpu).ok()).collect(),
        busy_poll: config.dataplane.polling == Polling::Busy,
        device_only: false,
    };
    let roots = Roots::default();
    let readings = Readings::take(&roots, &device.name, &wishes.cpus);
    let files_are_ours = roots.is_of(&device.name, device.index);
    // Memory is a finding of its own, which knows how much is needed.
    let lines = plan(&roots, &readings, &wishes)
        .into_iter()
        .filter(|line| line.setting != "huge pages" && (files_are_ours || !line.knob.in_device_files()));
    judged(&device.name, lines.collect())
}

/// A note for each setting that is not as wanted, or one that all of them are.
fn judged(name: &str, lines: Vec<Line>) -> Vec<Finding> {
    let worse: Vec<Finding> = lines.iter().filter_map(note).collect();
    if worse.is_empty() {
        let supported = lines.iter().filter(|line| line.verdict == Verdict::Good).count();
        return vec![Finding::good("NIC", format!("{name}: {supported} settings are as they should be"))];
    }
    worse
}

fn note(line: &Line) -> Option<Finding> {
    let want = line.want.as_deref()?;
    let seen = format!("{} is {}, best {want}: {}", line.setting, line.now, line.why);
    match line.verdict {
        Verdict::Change => Some(Finding::note("NIC", seen, line.step.clone().unwrap_or_default())),
        // Nothing mends it, and nobody needs flow rules to run: not worth a line.
        Verdict::Fixed | Verdict::Good | Verdict::Unsupported => None,
    }
}

#[cfg(test)]
mod tests {
    use strowger_nic::{Knob, Reading};

    use super::super::Grade;
    use super::*;

    fn lines(gro: Reading) -> Vec<Line> {
        let readings = Readings {
            interface: "eth1".to_owned(),
            driver: "ice".to_owned(),
            settings: [(Knob::Offload("gro".to_owned()), gro)].into(),
            irq_queues: [].into(),
            free_huge_pages: 0,
        };
        plan(&Roots::default(), &readings, &Wishes::default())
    }

    #[test]
    fn what_could_be_better_is_a_note_with_its_command() {
        let on = Reading::Set { value: "on".to_owned(), most: None };
        let findings = judged("eth1", lines(on));
        assert_eq!((findings.len(), findings[0].grade), (1, Grade::Note));
        assert_eq!(findings[0].fix.as_deref(), Some("ethtool -K eth1 gro off"));
    }

    #[test]
    fn what_is_good_or_cannot_be_changed_is_one_line() {
        for reading in [Reading::Fixed("on".to_owned()), Reading::Absent("no".to_owned())] {
            let findings = judged("eth1", lines(reading));
            assert_eq!((findings.len(), findings[0].grade), (1, Grade::Good));
        }
    }
}
