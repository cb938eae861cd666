//! How a worker waits for messages: what it costs in CPU, and what it saves in latency. `dataplane.polling`.

use std::time::Duration;

use crate::config::Polling;

/// How long an idle worker looks at its rings before it sleeps: a wake-up costs several microseconds, so this bounds
/// the waste at a few times what it saves.
const SPIN: Duration = Duration::from_micros(20);

/// How long a worker goes round without work before it sleeps; none for never. `queues` is how many it has: without any
/// there is nothing to look at but by system calls, and sleeping is one.
pub(super) fn patience(polling: Polling, queues: usize) -> Option<Duration> {
    match polling {
        Polling::Busy => None,
        Polling::Adaptive if queues > 0 => Some(SPIN),
        Polling::Adaptive | Polling::Power => Some(Duration::ZERO),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_policy_waits_as_it_says() {
        assert_eq!(patience(Polling::Adaptive, 1), Some(SPIN));
        assert_eq!(patience(Polling::Adaptive, 0), Some(Duration::ZERO), "the kernel's sockets say when");
        assert_eq!(patience(Polling::Power, 4), Some(Duration::ZERO));
        assert_eq!(patience(Polling::Busy, 4), None);
    }
}
