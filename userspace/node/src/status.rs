//! `strowger status`: what it says ([`model`]), who answers ([`server`]), who asks ([`client`]).
//!
//! A Unix stream socket that only its owner can open. Whoever connects gets one JSON object and the end of the stream;
//! there is nothing to send. Tests, benchmarks and the lab read it as programs do; people get tables.

pub(crate) mod client;
pub(crate) mod model;
pub(crate) mod server;
pub(crate) mod view;
