//! What the XDP program and userspace agree upon, and (feature `loader`) the userspace that loads it.
//!
//! * The ABI: names, keys and values of the maps ([`ListenerKey`], [`HeartbeatSlot`], [`CounterBlock`]),
//!   the reasons that are counted ([`Counter`]), and the limits. The program in `src/main.rs` and the
//!   loader both take it from here.
//! * The loader (`Program`): the committed object, loaded and attached by the node, watched by `status`, and run
//!   against single packets by the tests.
//!
//! How the program decides is told at the head of `src/main.rs`. The object in `object/` is rebuilt by
//! `cargo xtask build-ebpf` whenever a source that goes into it changes.
#![cfg_attr(not(feature = "loader"), no_std)]

mod abi;
mod counter;
#[cfg(feature = "loader")]
mod loader;

pub use abi::{
    CounterBlock, HEARTBEAT_STALE_NS, HeartbeatSlot, LONGEST_FRAME, ListenerKey, MAX_LISTENERS, MAX_QUEUES,
    MAX_WORKERS, PROGRAM_NAME, constant, map, socket_slot, worker_of_queue,
};
pub use counter::Counter;
#[cfg(feature = "loader")]
pub use loader::*;
