//! A SIP load generator: callers and callees in one process, for any proxy.
//!
//! A [`scenario`] says what callers send and callees answer; its messages are [`template`]s, compiled once. [`agents`]
//! play it without sockets or clock; [`drive`] runs one set of them on each thread with its [`wire`], and [`run`] makes of
//! that a measured run or a search for the highest lossless rate. What comes out is a [`record`], written as JSON, as
//! `.hgrm` ([`mod@hgrm`]) and as a [`mod@table`].
//!
//! Latency is taken from the moment a request was meant to leave: by the clock in an open loop, at the end of a pause in a
//! call. Whatever keeps it from leaving then is part of what a user would have waited. The time from the actual sending is
//! kept beside it, and so is how late requests left; when that is much, the run says that the generator was the limit.
//!
//! Nothing of this is linked into the node.
#![forbid(unsafe_code)]

pub mod agents;
pub mod digest;
pub mod drive;
pub mod failure;
pub mod hgrm;
pub mod knock;
pub mod live;
pub mod namespace;
pub mod observe;
pub mod pace;
pub mod population;
pub mod record;
pub mod run;
pub mod scenario;
pub mod site;
pub mod span;
pub mod table;
pub mod tally;
pub mod template;
mod text;
mod timers;
pub mod wire;
