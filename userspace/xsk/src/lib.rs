//! The data plane's hold on Linux: AF_XDP sockets, the kernel UDP socket beside them, and next hops from netlink.
//!
//! `strowger-node` opens [`Socket`]s on each NIC queue, one for each worker, and [`KernelSocket`]s for each listen address, asks
//! [`NextHops`] where a message leaves, and hands frames between them and the engine. Nothing here knows SIP.
//!
//! This crate holds the only `unsafe` of the user-space side, in six files: `xdp/memory.rs` (mappings),
//! `xdp/umem.rs` (a token opens its chunk), `xdp/ring.rs` (indices and descriptors shared with the kernel),
//! `mmsg.rs` (batches of datagrams), `device.rs` (ioctls) and `syscall.rs`. Each block says why it is sound.
#![deny(unsafe_code)]
#![deny(unsafe_op_in_unsafe_fn)]

#[allow(unsafe_code)]
mod device;
mod kernel;
#[allow(unsafe_code)]
mod mmsg;
mod nexthop;
#[allow(unsafe_code)]
mod syscall;
mod xdp;

pub use device::Device;
pub use kernel::{KernelCounters, KernelSocket, Received, drops, waiting};
pub use nexthop::{Hop, Mirror, MirrorCounters, Miss, NextHopError, NextHops};
pub use xdp::{
    Balance, BindMode, BusyPoll, Counters, Frame, FrameBatch, Mode, OutOfChunk, Pages, RingSizes, RingUse,
    Socket, SocketConfig, Statistics, Umem, UmemConfig, UmemError, XDP_HEADROOM, XskError, frames_leaked,
};
