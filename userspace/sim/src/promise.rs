//! What a node promises, as it is configured and as far as the engine is written. What is promised is held against
//! every message.

/// The promises of a world's nodes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Promise {
    /// Transactions: one final response, one copy of a request, CANCEL and ACK hop by hop, nothing left when it is
    /// quiet. Not of nodes that forward statelessly.
    pub(crate) stateful: bool,
    /// Every contact of a user is tried, by q, and the best response is chosen.
    pub(crate) forks: bool,
    /// Credentials are asked for and checked.
    pub(crate) guarded: bool,
    /// Requests with credentials that the node answers itself are transactions too. Without credentials anybody could
    /// fill its tables.
    pub(crate) local: bool,
}

/// The engine has transactions.
pub(crate) const STATEFUL: bool = true;
/// The engine forks.
pub(crate) const FORKS: bool = true;
