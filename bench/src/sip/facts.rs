//! What a proxy reads in a message: the fields that every parser has to give, so that all do the same work.
//!
//! A parser hands them to a [`Sink`]. While it is timed the sink is [`Consumed`], which only makes the optimiser
//! believe that each value is used; for the check it is [`Facts`], which keeps them for comparison. It is the same
//! code of the parser both times.

use std::collections::BTreeMap;
use std::hint::black_box;
use std::net::IpAddr;

/// A field that a proxy needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs)] // the names are the fields
pub enum Field {
    Method,
    UriUser,
    UriHost,
    UriPort,
    Status,
    ViaTransport,
    ViaHost,
    ViaPort,
    ViaBranch,
    ViaReceived,
    /// 0 when the parameter has no value.
    ViaRport,
    /// Second Via of a response: whom to send it to.
    NextViaHost,
    NextViaPort,
    NextViaBranch,
    NextViaReceived,
    NextViaRport,
    FromTag,
    ToTag,
    CallId,
    CSeqNumber,
    CSeqMethod,
    MaxForwards,
    RouteHost,
    RoutePort,
    ContactUser,
    ContactHost,
    ContactPort,
    ContentLength,
    Body,
    /// Parameters of Authorization, without quotes.
    AuthUsername,
    AuthRealm,
    AuthNonce,
    AuthUri,
    AuthResponse,
    AuthCnonce,
    AuthNonceCount,
}

/// A transport in the words of the facts.
pub const UDP: &[u8] = b"UDP";
/// Any other.
pub const OTHER_TRANSPORT: &[u8] = b"other";

/// Where the parts of a URI go.
#[derive(Clone, Copy, Debug)]
pub struct UriFields {
    /// User part; not asked for in a Route.
    pub user: Option<Field>,
    /// Host.
    pub host: Field,
    /// Port.
    pub port: Field,
}

/// Request-URI.
pub const URI: UriFields =
    UriFields { user: Some(Field::UriUser), host: Field::UriHost, port: Field::UriPort };
/// Topmost Route.
pub const ROUTE: UriFields = UriFields { user: None, host: Field::RouteHost, port: Field::RoutePort };
/// First Contact.
pub const CONTACT: UriFields =
    UriFields { user: Some(Field::ContactUser), host: Field::ContactHost, port: Field::ContactPort };

/// Where the parts of a Via go.
#[derive(Clone, Copy, Debug)]
pub struct ViaFields {
    /// Transport; not asked for in the second Via.
    pub transport: Option<Field>,
    /// Host of the sent-by.
    pub host: Field,
    /// Port of the sent-by.
    pub port: Field,
    /// Branch.
    pub branch: Field,
    /// `received`.
    pub received: Field,
    /// `rport`.
    pub rport: Field,
}

/// Topmost Via.
pub const VIA: ViaFields = ViaFields {
    transport: Some(Field::ViaTransport),
    host: Field::ViaHost,
    port: Field::ViaPort,
    branch: Field::ViaBranch,
    received: Field::ViaReceived,
    rport: Field::ViaRport,
};
/// The Via under it, in a response.
pub const NEXT_VIA: ViaFields = ViaFields {
    transport: None,
    host: Field::NextViaHost,
    port: Field::NextViaPort,
    branch: Field::NextViaBranch,
    received: Field::NextViaReceived,
    rport: Field::NextViaRport,
};

/// Takes what a parser has read. A field that is not in the message is not given.
pub trait Sink {
    /// A field as text.
    fn text(&mut self, field: Field, value: &[u8]);
    /// A field as a number.
    fn number(&mut self, field: Field, value: u64);
    /// A host that the parser has recognised as an address.
    fn address(&mut self, field: Field, value: IpAddr);
    /// A hash that the parser has read from its hexadecimal digits.
    fn hash(&mut self, field: Field, value: &[u8]);
    /// A Call-ID that the parser keeps as the parts before and after `@`.
    fn call_id(&mut self, before: &[u8], after: Option<&[u8]>);
}

/// The sink for timing: uses each value and forgets it.
#[derive(Debug)]
pub struct Consumed;

impl Sink for Consumed {
    #[inline(always)]
    fn text(&mut self, _: Field, value: &[u8]) {
        black_box(value);
    }
    #[inline(always)]
    fn number(&mut self, _: Field, value: u64) {
        black_box(value);
    }
    #[inline(always)]
    fn address(&mut self, _: Field, value: IpAddr) {
        black_box(value);
    }
    #[inline(always)]
    fn hash(&mut self, _: Field, value: &[u8]) {
        black_box(value);
    }
    #[inline(always)]
    fn call_id(&mut self, before: &[u8], after: Option<&[u8]>) {
        black_box((before, after));
    }
}

/// The sink for checking: each field as text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts(BTreeMap<Field, Vec<u8>>);

impl Facts {
    /// Adds a field; for writing down what is expected.
    #[must_use]
    pub fn with(mut self, field: Field, value: impl AsRef<[u8]>) -> Self {
        self.text(field, value.as_ref());
        self
    }

    /// Takes a field away.
    #[must_use]
    pub fn without(mut self, field: Field) -> Self {
        self.0.remove(&field);
        self
    }

    /// The fields in which the two differ, with both values; empty when they are equal.
    #[must_use]
    pub fn differences(&self, other: &Facts) -> Vec<String> {
        let fields: std::collections::BTreeSet<_> = self.0.keys().chain(other.0.keys()).collect();
        let shown = |value: Option<&Vec<u8>>| {
            value.map_or_else(|| "nothing".to_owned(), |v| format!("{:?}", String::from_utf8_lossy(v)))
        };
        fields
            .into_iter()
            .filter(|field| self.0.get(field) != other.0.get(field))
            .map(|field| format!("{field:?}: {} and {}", shown(self.0.get(field)), shown(other.0.get(field))))
            .collect()
    }
}

impl Sink for Facts {
    fn text(&mut self, field: Field, value: &[u8]) {
        self.0.insert(field, value.to_vec());
    }
    fn number(&mut self, field: Field, value: u64) {
        self.text(field, value.to_string().as_bytes());
    }
    fn address(&mut self, field: Field, value: IpAddr) {
        self.text(field, value.to_string().as_bytes());
    }
    fn hash(&mut self, field: Field, value: &[u8]) {
        let digits: String = value.iter().map(|byte| format!("{byte:02x}")).collect();
        self.text(field, digits.as_bytes());
    }
    fn call_id(&mut self, before: &[u8], after: Option<&[u8]>) {
        let parts: Vec<&[u8]> = std::iter::once(before).chain(after).collect();
        self.text(Field::CallId, &parts.join(&b'@'));
    }
}

/// A SIP parser as a proxy would use it.
pub trait Parser {
    /// Parses one datagram and hands over every field of [`Field`] that is there.
    ///
    /// # Errors
    /// The parser does not take the message.
    fn read<S: Sink>(&mut self, datagram: &[u8], sink: &mut S) -> Result<(), crate::case::Refusal>;
}
