//! How datagrams go in and out: kernel sockets, or AF_XDP rings.

mod kernel;
mod pair;
mod xdp;

use std::net::SocketAddr;
use std::time::Duration;

use crate::agents::Outbox;
use crate::scenario::Side;

pub use kernel::Kernel;
pub use pair::Pair;
pub use xdp::Xdp;

/// What a wire lost, since it was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WireCounts {
    /// Datagrams that the kernel or the ring took.
    pub sent: u64,
    /// Received, and lost since buffers were full.
    pub receive_lost: u64,
    /// Not sent since buffers or rings were full.
    pub send_full: u64,
    /// Not sent since the kernel refused: no route, unreachable.
    pub send_refused: u64,
    /// Lost by AF_XDP: RX ring full, no fill descriptor.
    pub xdp_lost: u64,
}

/// One thread's way to the network: the addresses of both sides.
pub trait Wire: Outbox + Send {
    /// Fetches what has come, without waiting; how many datagrams. Sends what waits to be sent first.
    fn receive(&mut self) -> usize;
    /// Copies the `at`th of the last [`Self::receive`] to `into`: for whom it came, from where, its length.
    fn datagram(&mut self, at: usize, into: &mut [u8]) -> Option<(Side, SocketAddr, usize)>;
    /// Sends what waits to be sent.
    fn flush(&mut self);
    /// Sleeps until something comes, at most that long.
    fn wait(&mut self, longest: Duration);
    /// What was lost. Some system calls.
    fn counts(&self) -> WireCounts;
}
