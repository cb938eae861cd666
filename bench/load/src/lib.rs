//! A SIP load generator: callers and callees in one process, for any proxy.
#![forbid(unsafe_code)]

pub mod record;
