//! Two wires as one: callers on one device, callees on another, each with its own rings.
//!
//! Without a proxy, callers at one end of a wire call callees at its other end. `site` makes it for `--callee-xdp`.

use std::net::SocketAddr;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::{Wire, WireCounts, Xdp};
use crate::agents::Outbox;
use crate::scenario::Side;

/// See the head of this file.
pub struct Pair {
    wires: [Xdp; 2],
    /// Of the last receive, how many came by the callers' wire.
    first: usize,
}

impl Pair {
    /// Callers have the first, callees the second.
    #[must_use]
    pub fn new(caller: Xdp, callee: Xdp) -> Self {
        Self { wires: [caller, callee], first: 0 }
    }
}

impl Outbox for Pair {
    fn send(&mut self, side: Side, to: SocketAddr, message: &[u8]) {
        self.wires[side as usize].send(side, to, message);
    }
}

impl Wire for Pair {
    fn receive(&mut self) -> usize {
        let [caller, callee] = &mut self.wires;
        self.first = caller.receive();
        self.first + callee.receive()
    }

    fn datagram(&mut self, at: usize, into: &mut [u8]) -> Option<(Side, SocketAddr, usize)> {
        let [caller, callee] = &mut self.wires;
        match at.checked_sub(self.first) {
            None => caller.datagram(at, into),
            Some(at) => callee.datagram(at, into),
        }
    }

    fn flush(&mut self) {
        self.wires.iter_mut().for_each(Wire::flush);
    }

    fn wait(&mut self, longest: Duration) {
        let [caller, callee] = &self.wires;
        let mut ready = [PollFd::new(caller, PollFlags::IN), PollFd::new(callee, PollFlags::IN)];
        if let Ok(longest) = Timespec::try_from(longest) {
            // A signal wakes us early, and that is all.
            let _ = poll(&mut ready, Some(&longest));
        }
        self.wires.iter_mut().for_each(Xdp::hear_kernel);
    }

    fn counts(&self) -> WireCounts {
        let [caller, callee] = [self.wires[0].counts(), self.wires[1].counts()];
        WireCounts {
            sent: caller.sent + callee.sent,
            receive_lost: caller.receive_lost + callee.receive_lost,
            send_full: caller.send_full + callee.send_full,
            send_refused: caller.send_refused + callee.send_refused,
            xdp_lost: caller.xdp_lost + callee.xdp_lost,
        }
    }
}
