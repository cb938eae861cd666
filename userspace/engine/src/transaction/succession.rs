//! Responses to requests whose transaction is not here and will not take them: that of an engine before this one, or of a
//! worker that is stuck.
//!
//! RFC 6026 section 7.3 has a proxy drop a response that fits none of its transactions, so that nobody uses it as a relay.
//! Our branch proves that the request was ours and where its response goes, and whoever had the transaction can't send it
//! there. So the response goes on by its Vias, as RFC 3261 section 16.7 item 1 had it, or the call would fail.

use super::{Core, NEVER};
use crate::branch::Slot;
use crate::time::Time;

/// For whose transactions a core speaks besides its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Succession {
    Nobody,
    /// Those of engines before this one, until then.
    Before {
        until: Time,
    },
    /// Those of all other workers.
    Others,
}

impl Core {
    /// See [`Engine::succeed`](crate::Engine::succeed).
    pub(crate) fn succeed(&mut self, now: Time) {
        // Once in about a millisecond. A place is not used again so often for long, so the generations of an engine stay
        // below what the next one begins with.
        self.branches.begin_at((now.as_nanos() >> 20) as u32);
        self.succession = Succession::Before { until: now.after(64 * self.timers.t1) };
    }

    /// See [`Engine::stand_in`](crate::Engine::stand_in).
    pub(crate) fn stand_in(&mut self) {
        self.succession = Succession::Others;
    }

    /// Whether a response to the branch `at` of ours, which is proven, goes on although its transaction is not here.
    pub(crate) fn speaks_for(&self, now: Time, at: Slot) -> bool {
        let until = match self.succession {
            Succession::Nobody => return false,
            Succession::Before { until } if self.branches.precedes(at.generation) => until,
            Succession::Others if at.worker != self.worker => NEVER,
            Succession::Before { .. } | Succession::Others => return false,
        };
        now < until
    }
}
