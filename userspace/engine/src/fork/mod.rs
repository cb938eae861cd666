//! Forking: what a request that goes to several places needs beside transactions (RFC 3261 sections 16.6 and 16.7).

pub(crate) mod choice;
pub(crate) mod targets;
