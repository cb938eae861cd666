//! Who is measured: Strowger, the peers, and a lower bound. Each file says what its candidate does more or less.

pub mod httparse;
#[cfg(feature = "osip")]
#[allow(unsafe_code)]
pub mod osip;
pub mod rsip;
pub mod rsipstack;
pub mod strowger;

use super::messages::{Change, Sample};
use crate::case::Refusal;

/// A peer that edits: its own representation is changed, then written out. What it was parsed into is not dropped
/// within the measured time; what it writes is.
pub trait Editor {
    /// A parsed message.
    type Message;

    /// Parses one and makes ready what a proxy has ready; not measured.
    ///
    /// # Errors
    /// The peer does not take the message.
    fn parse(&mut self, sample: &Sample) -> Result<Self::Message, Refusal>;

    /// Does [`Work::Forward`](super::edit::Work::Forward) and gives the octets to `sent`.
    ///
    /// # Errors
    /// The peer cannot.
    fn forward(
        &mut self,
        message: &mut Self::Message,
        change: &Change,
        sent: &mut dyn FnMut(&[u8]),
    ) -> Result<(), Refusal>;

    /// Does [`Work::StripVia`](super::edit::Work::StripVia) and gives the octets to `sent`.
    ///
    /// # Errors
    /// The peer cannot.
    fn strip_via(&mut self, message: &mut Self::Message, sent: &mut dyn FnMut(&[u8])) -> Result<(), Refusal>;

    /// Does [`Work::Reply`](super::edit::Work::Reply) and gives the octets to `sent`.
    ///
    /// # Errors
    /// The peer cannot.
    fn reply(
        &mut self,
        message: &mut Self::Message,
        code: u16,
        change: &Change,
        sent: &mut dyn FnMut(&[u8]),
    ) -> Result<(), Refusal>;
}

/// Names under which the candidates stand in reports and in the record of instruction counts.
pub mod name {
    /// The library under test.
    pub const STROWGER: &str = "strowger";
    /// libosip2.
    pub const OSIP: &str = "libosip2";
    /// rsip.
    pub const RSIP: &str = "rsip";
    /// rsipstack.
    pub const RSIPSTACK: &str = "rsipstack";
    /// The lower bound.
    pub const HTTPARSE: &str = "httparse";
}
