//! What a device and its machine were like before the first change, in a file that is written before it.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use strowger_nic::{Knob, Line, Reading, Readings, Roots};

use crate::Failure;
use crate::failure::Doing as _;

/// The file's content.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Record {
    /// The device's index: another device of the same name has another.
    index: u32,
    /// What was, in the order of setting.
    before: Vec<(Knob, String)>,
}

/// The record of one device, and its place.
#[derive(Debug)]
pub(super) struct State {
    file: PathBuf,
    record: Record,
    /// Nothing is in the file yet.
    new: bool,
}

impl State {
    /// The state of earlier changes that nobody has undone, or a new one.
    pub(super) fn begin(roots: &Roots, interface: &str) -> Result<Self, Failure> {
        if let Some(state) = Self::load(roots, interface)? {
            return Ok(state);
        }
        let record = Record { index: index(roots, interface)?, before: Vec::new() };
        Ok(Self { file: place(&super::directory(), interface)?, record, new: true })
    }

    /// The state of earlier changes, when there are any.
    pub(super) fn load(roots: &Roots, interface: &str) -> Result<Option<Self>, Failure> {
        let file = place(&super::directory(), interface)?;
        if !file.exists() {
            return Ok(None);
        }
        let text = fs::read_to_string(&file).doing(format!("read {}", file.display()))?;
        let record: Record = serde_json::from_str(&text).doing(format!("read {}", file.display()))?;
        if record.index != index(roots, interface)? {
            return Err(Failure::failed(format!(
                "{interface} is another device than the one that was changed"
            ))
            .fix(format!("its settings went with it: rm {}", file.display())));
        }
        Ok(Some(Self { file, record, new: false }))
    }

    /// Saves every setting that the plan judges and that can be set. What is known from before stays: it was earlier.
    pub(super) fn remember(&mut self, readings: &Readings, lines: &[Line]) -> Result<(), Failure> {
        for knob in lines.iter().map(|line| &line.knob) {
            let known = self.record.before.iter().any(|(earlier, _)| earlier == knob);
            if !known && let Some(Reading::Set { value, .. }) = readings.settings.get(knob) {
                self.record.before.push((knob.clone(), value.clone()));
            }
        }
        self.record.before.sort();
        let text = serde_json::to_string_pretty(&self.record).doing("write JSON")?;
        let directory = super::directory();
        fs::create_dir_all(&directory).doing(format!("make {}", directory.display()))?;
        // Whole or not at all, and on its way before anything changes.
        let half = self.file.with_extension("new");
        fs::write(&half, text).doing(format!("write {}", half.display()))?;
        fs::rename(&half, &self.file).doing(format!("write {}", self.file.display()))
    }

    /// What was, in the order of setting.
    pub(super) fn before(&self) -> &[(Knob, String)] {
        &self.record.before
    }

    /// The CPUs whose governors it knows.
    pub(super) fn cpus(&self) -> Vec<u32> {
        let cpus = self.record.before.iter().filter_map(|(knob, _)| match knob {
            Knob::Governor(cpu) => Some(*cpu),
            _ => None,
        });
        cpus.collect()
    }

    /// Everything is as it was.
    pub(super) fn forget(self) -> Result<(), Failure> {
        fs::remove_file(&self.file).doing(format!("remove {}", self.file.display()))
    }

    /// Nothing was changed now; what was changed before is still known.
    pub(super) fn forget_when_new(self) -> Result<(), Failure> {
        if self.new { self.forget() } else { Ok(()) }
    }
}

/// The file for a device: names are a namespace's own, so its number is part of it.
fn place(directory: &Path, interface: &str) -> Result<PathBuf, Failure> {
    let namespace = fs::metadata("/proc/thread-self/ns/net").doing("look at the network namespace")?;
    Ok(directory.join(format!("{interface}-{}.json", namespace.ino())))
}

fn index(roots: &Roots, interface: &str) -> Result<u32, Failure> {
    let file = roots.sys.join("class/net").join(interface).join("ifindex");
    let text = fs::read_to_string(&file).doing(format!("read {}", file.display()))?;
    text.trim().parse().doing(format!("read {}", file.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_read_as_it_was_written() {
        let before = vec![
            (Knob::Channels("rx".into()), "1".to_owned()),
            (Knob::HugePages, "0".to_owned()),
            (Knob::Governor(3), "schedutil".to_owned()),
            (Knob::Irq(41), "0-1".to_owned()),
        ];
        let record = Record { index: 7, before };
        let text = serde_json::to_string(&record).expect("JSON");
        assert_eq!(serde_json::from_str::<Record>(&text).expect("read"), record);
        let mut sorted = record.before.clone();
        sorted.sort();
        assert_eq!(sorted, record.before, "queues first, interrupts last");
    }
}
