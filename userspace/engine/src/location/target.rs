//! What a record says: to the proxy the targets of a user, to the registrar the list of his bindings.

use super::path::BoundFlow;
use super::record::Record;
use crate::config::limit;

/// One target of a request (RFC 3261 section 16.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Target<'a> {
    /// The new Request-URI.
    pub(crate) uri: &'a [u8],
    /// Thousandths, 0 to 1000.
    pub(crate) q: u16,
    /// Where it is sent to whatever the URI says (or the first of `path`): its flow, when it is behind a NAT or
    /// registered with RFC 5626.
    pub(crate) flow: Option<BoundFlow>,
    /// Values of a Route header that it is sent with, the next hop first (RFC 3327 section 5.4), each a URI in angle
    /// brackets; empty for none.
    pub(crate) path: &'a [u8],
}

impl<'a> Target<'a> {
    /// The URI that says where the next hop is: the first of the path, or the contact's.
    pub(crate) fn next_uri(&self) -> &'a [u8] {
        let first = self.path.strip_prefix(b"<").and_then(|path| path.split(|b| *b == b'>').next());
        first.unwrap_or(self.uri)
    }
}

/// The targets of a user, at least one, the best first: by falling q, and among equals the contact that was made last.
#[derive(Clone)]
pub(crate) struct Targets<'a> {
    record: &'a Record,
    order: [u8; limit::CONTACTS],
    count: usize,
    at: usize,
}

impl<'a> Targets<'a> {
    pub(super) fn new(record: &'a Record, order: [u8; limit::CONTACTS], count: usize) -> Self {
        Self { record, order, count, at: 0 }
    }
}

impl<'a> Iterator for Targets<'a> {
    type Item = Target<'a>;

    fn next(&mut self) -> Option<Target<'a>> {
        let place = *self.order.get(self.at).filter(|_| self.at < self.count)?;
        self.at += 1;
        self.record.target(place)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.count - self.at, Some(self.count - self.at))
    }
}

impl ExactSizeIterator for Targets<'_> {}

/// A binding for the 200.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Listed<'a> {
    pub(crate) uri: &'a [u8],
    /// Seconds left, at least 1.
    pub(crate) expires: u32,
    pub(crate) q: u16,
    /// `+sip.instance`; empty for none.
    pub(crate) instance: &'a [u8],
    /// `reg-id`; 0 for none.
    pub(crate) reg_id: u32,
    /// Keyed hash of the Call-ID that made or refreshed it.
    pub(crate) call_id: u64,
}

impl Listed<'_> {
    /// Octets that a binding's line in the 200 takes at most. `gruus`: octets of both GRUUs beside the instance, when
    /// they are listed.
    pub(super) const fn length(uri: usize, instance: usize, gruus: usize) -> usize {
        let line = "Contact: <>;q=0.123;expires=2147483647\r\n".len() + uri;
        match (instance, gruus) {
            (0, _) => line,
            (_, 0) => line + ";+sip.instance=\"\";reg-id=2147483647".len() + instance,
            _ => line + ";+sip.instance=\"\";reg-id=2147483647".len() + 2 * instance + gruus,
        }
    }
}
