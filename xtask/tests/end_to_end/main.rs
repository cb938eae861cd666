//! The node as it is shipped, in namespaces: real packets, real phones, real signals.
//!
//! Each test makes its own laboratory, writes a configuration, starts `strowger`, and removes everything again, also
//! when it fails. They need root, and some need sipp; without them they skip themselves aloud (see `bench`).
#![forbid(unsafe_code)]
#![expect(clippy::unwrap_used, reason = "what cannot be had here fails the test")]

mod agreement;
mod authentication;
mod bans;
mod baresip;
mod bench;
mod calls;
mod cancel;
mod cast;
mod commands;
mod counted;
mod credentials;
mod crowd;
mod device;
mod drain;
mod exhaustion;
mod failover;
mod flood;
mod forge;
mod forks;
mod fragments;
mod frames;
mod gateway;
mod impostors;
mod ipv6;
mod jumbo;
mod kill;
mod laboratory;
mod load;
mod lossy;
mod martians;
mod misuse;
mod mtu;
mod neighbours;
mod nic;
mod options;
mod phone;
mod pings;
mod polling;
mod relay;
mod replace;
mod scenario;
mod service;
mod signals;
mod soak;
mod spoofed;
mod steering;
mod stuck;
mod switchboard;
mod tagged;
mod workers;
