//! Two UDP sockets, one for each side, with `recvmmsg` and `sendmmsg`.

use std::net::SocketAddr;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use strowger_xsk::KernelSocket;

use super::{Wire, WireCounts};
use crate::agents::Outbox;
use crate::failure::Failure;
use crate::namespace;
use crate::scenario::Side;

/// Wanted for each socket's buffers: 16 MiB hold 50 ms of the highest rates. The kernel gives what
/// net.core.rmem_max allows, twice, or all of it to CAP_NET_ADMIN.
const BUFFER: usize = 16 << 20;

/// See the head of this file.
#[derive(Debug)]
pub struct Kernel {
    sockets: [KernelSocket; 2],
    received: [usize; 2],
}

impl Kernel {
    /// Binds the callers' and the callees' socket, each in its namespace. Port 0 takes any.
    ///
    /// # Errors
    /// The address is not this machine's, the port is taken, the namespace cannot be entered.
    pub fn bind(local: [SocketAddr; 2], netns: [Option<&str>; 2]) -> Result<Self, Failure> {
        let bind = |side: Side| {
            let address = local[side as usize];
            namespace::inside(netns[side as usize], || KernelSocket::bind(address, false, BUFFER))?
                .map_err(|error| Failure::Local { what: format!("cannot use {address}: {error}") })
        };
        Ok(Self { sockets: [bind(Side::Caller)?, bind(Side::Callee)?], received: [0; 2] })
    }

    /// The addresses that it has.
    #[must_use]
    pub fn local(&self) -> [SocketAddr; 2] {
        [self.sockets[0].local(), self.sockets[1].local()]
    }

    /// The callers' socket and the callees'.
    pub(super) fn sockets(&self) -> &[KernelSocket; 2] {
        &self.sockets
    }
}

impl Outbox for Kernel {
    #[inline]
    fn send(&mut self, side: Side, to: SocketAddr, message: &[u8]) {
        // Refused is what is longer than a datagram can be; messages are written in less room than that.
        let _ = self.sockets[side as usize].send_copy(message, to);
    }
}

impl Wire for Kernel {
    fn receive(&mut self) -> usize {
        for (socket, received) in self.sockets.iter_mut().zip(&mut self.received) {
            *received = socket.receive();
        }
        self.received.iter().sum()
    }

    fn datagram(&mut self, at: usize, into: &mut [u8]) -> Option<(Side, SocketAddr, usize)> {
        let (side, at) = match at.checked_sub(self.received[0]) {
            None => (Side::Caller, at),
            Some(at) if at < self.received[1] => (Side::Callee, at),
            Some(_) => return None,
        };
        let received = self.sockets[side as usize].received(at)?;
        let message = received.slot.get(received.message)?;
        into.get_mut(..message.len())?.copy_from_slice(message);
        Some((side, received.source, message.len()))
    }

    fn flush(&mut self) {
        for socket in &mut self.sockets {
            socket.flush();
        }
    }

    fn wait(&mut self, longest: Duration) {
        let [caller, callee] = &self.sockets;
        let mut ready = [PollFd::new(caller, PollFlags::IN), PollFd::new(callee, PollFlags::IN)];
        if let Ok(longest) = Timespec::try_from(longest) {
            // A signal wakes us early, and that is all.
            let _ = poll(&mut ready, Some(&longest));
        }
    }

    fn counts(&self) -> WireCounts {
        let mut counts = WireCounts::default();
        for socket in &self.sockets {
            let counted = socket.counters();
            counts.sent += counted.sent;
            counts.send_full += counted.send_full;
            counts.send_refused += counted.send_refused;
            counts.receive_lost += socket.drops().unwrap_or(0);
        }
        counts
    }
}
