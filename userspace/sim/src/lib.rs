//! Worlds: whole nodes, phones and a network that loses, delays, doubles and reorders, in virtual time, from one seed.
//!
//! [`run`] makes the world of a seed and lets it live until nothing is left to happen. The nodes in it are engines
//! that are used by their public interface alone; the phones are user agents of this crate's own, which share no code
//! with them. Whatever anybody notices that the RFCs forbid is a [`Fault`]: `witness` watches what goes into and comes
//! out of a node, `phone` what a user agent may expect, `node` what an engine promises to its caller. `promise` says
//! which of all that the engine claims today.
//!
//! No sockets, no threads, no clock, no root: a fault is found again from its seed, on any machine.
#![forbid(unsafe_code)]

mod dice;
pub mod ladder;
mod network;
mod node;
mod phone;
mod plan;
mod promise;
mod stranger;
mod text;
mod trace;
mod witness;
mod world;

pub use plan::Options;
pub use trace::{Fate, Record, Trace};
pub use world::{Coverage, Fault, Report, run};
