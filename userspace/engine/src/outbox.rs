//! What waits to be written into a frame: a bounded queue of small descriptors, oldest first.
//!
//! A descriptor names an entry of a table by slot and generation and says which message is to be made of it. When the
//! entry is gone by then, the descriptor is skipped. Losing one is no worse than losing a datagram: every message that
//! is written here has a timer, or a retransmission of the other side, behind it.

use std::collections::VecDeque;

/// Which message is to be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The request of a branch, for the first time or again.
    Request,
    /// The CANCEL of a branch (RFC 3261 section 9.1).
    Cancel,
    /// The ACK for the final response of a branch, when it is no 2xx (section 17.1.1.3).
    Ack,
    /// The last response of a transaction, provisional or final.
    Response,
}

/// One message that waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Item {
    pub(crate) kind: Kind,
    /// In the table of branches, for a response in that of transactions.
    pub(crate) slot: u32,
    pub(crate) generation: u32,
}

/// See the head of this file.
pub(crate) struct Outbox {
    items: VecDeque<Item>,
    limit: usize,
}

impl Outbox {
    /// A queue for `limit` messages.
    pub(crate) fn new(limit: usize) -> Self {
        Self { items: VecDeque::with_capacity(limit), limit }
    }

    /// Puts a message at the end; `false` when the queue is full and it is lost.
    pub(crate) fn push(&mut self, item: Item) -> bool {
        let room = self.items.len() < self.limit;
        if room {
            self.items.push_back(item);
        }
        room
    }

    /// The oldest message.
    pub(crate) fn first(&self) -> Option<Item> {
        self.items.front().copied()
    }

    /// Removes the oldest message.
    pub(crate) fn pop(&mut self) {
        self.items.pop_front();
    }

    pub(crate) fn len(&self) -> usize {
        self.items.len()
    }

    pub(crate) fn limit(&self) -> usize {
        self.limit
    }
}
