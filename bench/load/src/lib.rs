//! A SIP load generator: callers and callees in one process, for any proxy.
#![forbid(unsafe_code)]

pub mod agents;
pub mod digest;
pub mod pace;
pub mod population;
pub mod record;
pub mod scenario;
pub mod span;
pub mod tally;
pub mod template;
mod text;
mod timers;
