//! What the engine promises so far. A promise that is `true` here is held against every message.

/// Transactions: one final response, one copy of a request, CANCEL and ACK hop by hop, nothing left when it is quiet.
pub(crate) const STATEFUL: bool = false;
/// Every contact of a user is tried, by q, and the best response is chosen.
pub(crate) const FORKS: bool = false;
/// Credentials are asked for and checked.
pub(crate) const DIGEST: bool = true;
