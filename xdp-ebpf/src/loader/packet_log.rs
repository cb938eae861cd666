//! The program's reports about single packets (aya-log), carried into `tracing`.
//!
//! For whoever wants to know why one packet goes where it goes; never on in ordinary operation.

use std::convert::Infallible;
use std::io;

use aya::Ebpf;
use aya_log::EbpfLogger;
use log::{Log, Metadata, Record};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::LoadError;
use crate::Counter;

/// Reports that the program wrote and nobody read yet; 128 KiB, beyond which new ones are lost.
pub struct PacketLog(EbpfLogger<ToTracing>);

impl PacketLog {
    pub(super) fn take(ebpf: &mut Ebpf) -> Result<Self, LoadError> {
        let missing = |_| LoadError::Missing { name: "AYA_LOGS" };
        EbpfLogger::init_with_logger(ebpf, ToTracing).map(Self).map_err(missing)
    }

    /// Carries what is there into `tracing`, without waiting.
    pub fn flush(&mut self) {
        self.0.flush();
    }

    /// Carries reports into `tracing` as they come; spawn it on a Tokio runtime and drop it at the end.
    ///
    /// # Errors
    ///
    /// Only when the runtime can't wait for the ring.
    ///
    /// # Panics
    ///
    /// Outside of a Tokio runtime with I/O enabled.
    pub async fn forward(self) -> io::Result<Infallible> {
        // SAFETY: the logger owns the ring's descriptor, answers with that one for as long as it lives,
        // and the AsyncFd owns the logger.
        let mut ring = unsafe { AsyncFd::register_with_interest(self.0, Interest::READABLE)? };
        loop {
            let mut guard = ring.readable_mut().await?;
            guard.get_inner_mut().flush();
            guard.clear_ready();
        }
    }
}

impl std::fmt::Debug for PacketLog {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("PacketLog")
    }
}

struct ToTracing;

impl Log for ToTracing {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        tracing::enabled!(target: "strowger::xdp", tracing::Level::DEBUG)
    }

    fn log(&self, record: &Record<'_>) {
        let text = record.args().to_string();
        match verdict(&text) {
            Some((queue, counter)) => {
                tracing::debug!(target: "strowger::xdp", queue, verdict = counter.name(), "packet");
            }
            None => tracing::debug!(target: "strowger::xdp", "{text}"),
        }
    }

    fn flush(&self) {}
}

/// Reads `queue N counter M`, the program's only report.
fn verdict(text: &str) -> Option<(u32, Counter)> {
    let (queue, counter) = text.strip_prefix("queue ")?.split_once(" counter ")?;
    let counter = Counter::ALL.get(counter.parse::<usize>().ok()?)?;
    Some((queue.parse().ok()?, *counter))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_names_its_counter() {
        assert_eq!(verdict("queue 3 counter 0"), Some((3, Counter::Redirect)));
        let other = format!("queue 0 counter {}", Counter::PassNotListener as u32);
        assert_eq!(verdict(&other), Some((0, Counter::PassNotListener)));
        assert_eq!(verdict("queue 0 counter 999"), None);
        assert_eq!(verdict("something else"), None);
    }
}
