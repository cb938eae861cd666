//! Measurements of Strowger beside its peers: what `cargo xtask bench …` builds and runs.
//!
//! [`sip`] measures the SIP message: parsing, editing for forwarding, replying; [`engine`] the SIP element: calls,
//! registrations, memory, scale. The rest serves every suite: rounds of
//! timing in which the candidates take turns ([`rounds`]), instruction counts by callgrind ([`callgrind`]) and the [`guard`] that holds them against the [`record`],
//! allocations ([`allocations`]), the machine ([`machine`]) and the report ([`report`]).
//!
//! Nothing here is linked into the node, and the peers are dependencies of this crate alone. Unsafe code is in two
//! files: the FFI to libosip2 and the counting allocator, whose trait is unsafe to implement.
#![deny(unsafe_code)]

#[allow(unsafe_code)]
pub mod allocations;
pub mod callgrind;
pub mod case;
pub mod engine;
pub mod guard;
pub mod machine;
pub mod record;
pub mod report;
pub mod rounds;
pub mod sip;
