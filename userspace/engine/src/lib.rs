//! The SIP element of a node without sockets, clock or threads: registrar, location, stateless proxy.
//!
//! One law for the whole interface: [`Engine::handle`] takes a message and edits it where it lies, and says where it
//! goes; [`Engine::timeout`] says when [`Engine::on_timeout`] is wanted; time is an argument. Workers have an engine
//! each and share one [`Location`]. So the behaviour of a whole node runs in a test, with virtual time, without root.
//!
//! The way of a request: `engine` parses, `request` reads what decides, `proxy` validates and finds the next hop,
//! `registrar` serves REGISTER, `refusal` and `answer` say no and yes. The way of a response: `response`. What makes
//! it stateless is in `branch` and `route`: all that must be remembered travels in the message, under a MAC.
#![forbid(unsafe_code)]

mod answer;
mod branch;
mod config;
mod counters;
mod date;
mod element;
mod engine;
mod keys;
mod location;
mod proxy;
mod refusal;
mod registrar;
mod request;
mod response;
mod route;
mod site;
mod text;
mod time;

pub use config::{Config, ConfigError, Registrar, limit};
pub use counters::{Counters, Event};
pub use engine::{Engine, Flow, Reason, Verdict};
pub use location::{Location, RegisteredContact, Registration};
pub use time::Time;
