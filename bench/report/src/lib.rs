//! What a benchmark of proxies found: [`session`] holds it, [`figures`] makes the figures that people compare,
//! [`targets`] says which hold, [`compare`] what changed between two; [`html`], [`markdown`] and [`hgrm`] write it.
//!
//! `cargo xtask bench quick|full|report` fills and writes it. Nothing here measures, opens a socket or starts a process.
#![forbid(unsafe_code)]

pub mod compare;
pub mod figures;
pub mod hgrm;
pub mod html;
pub mod markdown;
pub mod number;
pub mod plot;
pub mod session;
pub mod spread;
pub mod tables;
pub mod targets;
