//! The SIP element of a node without sockets, clock or threads: registrar, location, proxy with transactions.
//!
//! One law for the whole interface: [`Engine::handle`] takes a message and edits it where it lies, and says where it
//! goes; what leaves besides is drained with [`Engine::transmit`]; [`Engine::timeout`] says when
//! [`Engine::on_timeout`] is wanted; time is an argument. Workers have an engine
//! each and share one [`Location`]. So the behaviour of a whole node runs in a test, with virtual time, without root.
//!
//! The way of a request: `engine` parses, `request` reads what decides, `transaction` says whether it is known, `proxy`
//! validates and finds the next hop, `registrar` serves REGISTER, `refusal` and `answer` say no and yes. The way of a
//! response: `response` believes it or not, `transaction` says what becomes of it. What survives without state is in
//! `branch` and `route`: it travels in the message, under a MAC.
//!
//! ```
//! use std::sync::Arc;
//! use strowger_engine::{Config, Engine, Flow, Location, Time, Verdict};
//! use strowger_sip::Buffer;
//!
//! let config = Config {
//!     listen: vec!["192.0.2.1:5060".parse()?],
//!     domains: vec!["example.net".into()],
//!     auth_required: false, // else `Engine::set_users` says who can authenticate
//!     secret: [7; 32],      // random in earnest
//!     ..Config::default()
//! };
//! let location = Arc::new(Location::new(&config)?);
//! let mut engine = Engine::new(Arc::new(config), location)?;
//!
//! let options = b"OPTIONS sip:example.net SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.7;branch=z9hG4bK1\r\n\
//!     From: <sip:a@example.net>;tag=1\r\nTo: <sip:example.net>\r\nCall-ID: c\r\nCSeq: 1 OPTIONS\r\n\r\n";
//! let mut memory = [0; 2048]; // the message, with room around it
//! memory[512..512 + options.len()].copy_from_slice(options);
//! let mut buffer = Buffer::new(&mut memory, 512..512 + options.len()).ok_or("out of bounds")?;
//!
//! let flow = Flow { local: "192.0.2.1:5060".parse()?, remote: "192.0.2.7:5060".parse()? };
//! assert_eq!(engine.handle(Time::START, flow, &mut buffer), Verdict::Send(flow));
//! assert!(buffer.message().starts_with(b"SIP/2.0 200 OK\r\n"));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
#![forbid(unsafe_code)]

mod admission;
mod answer;
mod arena;
mod branch;
mod config;
mod counters;
mod date;
mod dialog;
mod digest;
mod element;
mod engine;
mod fork;
mod gateway;
mod gruu;
mod keys;
mod location;
mod outbox;
mod ping;
mod plant;
mod proxy;
mod refusal;
mod registrar;
mod request;
pub mod resolve;
mod response;
mod route;
mod routing;
mod sighting;
mod site;
pub mod stun;
mod text;
mod time;
mod timer;
mod transaction;
mod users;

pub use config::{Auth, Calls, Config, ConfigError, Registrar, Timers, Transactions, limit};
pub use counters::{Counters, Event};
pub use dialog::{
    CODEC, CallEvent, CallStep, DialogEnd, DialogFilter, DialogId, DialogState, DialogView, EVENT_MEDIA,
    EVENT_TEXT, EndReason, KillError, MediaFact, NoDialogId, Party,
};
pub use digest::Algorithm;
pub use engine::{Engine, Flow, Level, Occupancy, Reason, Verdict};
pub use gateway::{Gateway, GatewayHealth, GatewayTarget, Probe, TargetReport};
pub use location::{FORMAT, Lineage, Location, NotInherited, RegisteredContact, Registration};
pub use ping::PingFacts;
#[cfg(feature = "plant")]
pub use plant::Plant;
pub use routing::{IpPrefix, RouteAction, RouteRule, RouteSource};
pub use sighting::Sighting;
pub use time::Time;
pub use users::{Credentials, NoUsers, State, Users};
