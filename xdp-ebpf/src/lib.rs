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
pub mod ping;
pub mod source;

pub use abi::{
    BANNED, CounterBlock, HEARTBEAT_STALE_NS, HeartbeatSlot, LISTENER_SETS, LISTENERS_OF_A_SET,
    LONGEST_FRAME, ListenerKey, ListenerSet, MAX_LISTENERS, MAX_PREFIXES, MAX_QUEUES, MAX_WORKERS,
    PROGRAM_NAME, PrefixKey, Switches, TRUSTED, constant, map, socket_slot, worker_of_queue,
};
pub use counter::{Action, Counter};
#[cfg(feature = "loader")]
pub use loader::*;
