//! SIP messages over borrowed bytes: RFC 3261 and the extensions in use.
//!
//! The engine and the benchmarks call it with one datagram at a time. It reads and edits the message where it lies,
//! allocates nothing, and touches neither sockets nor clocks.
#![forbid(unsafe_code)]

mod address;
mod auth;
mod buffer;
mod class;
mod date;
mod dialog;
mod edit;
mod error;
mod host;
mod index;
pub mod limit;
mod list;
mod media;
mod message;
mod name;
mod number;
mod param;
pub mod quoted;
mod render;
mod scan;
mod sdp;
mod session;
mod start;
mod text;
mod uri;
pub mod verdict;
mod via;
mod view;

pub use address::{Contact, ContactAddress, NameAddr};
pub use auth::{
    Algorithm, AuthenticationInfo, Challenge, Credentials, DigestChallenge, DigestCredentials, Hash, Qop,
};
pub use buffer::Buffer;
pub use date::Date;
pub use dialog::{DialogReference, Event, RAck, State, SubscriptionState};
pub use edit::{EditError, EditPlan, Reply, reason_phrase};
pub use error::{Fault, ParseError, ValueError, ValueFault};
pub use host::Host;
pub use index::Index;
pub use list::{Token, Value, Values};
pub use media::{Disposition, MediaType};
pub use message::{Essentials, Header, Message};
pub use name::HeaderName;
pub use number::CSeq;
pub use param::{Param, ParamIter, Params};
pub use render::{AddressText, Digits};
pub use sdp::{Format, Media, SdpFacts};
pub use session::{Privacy, Reason, Refresher, RetryAfter, SessionExpires, Warning};
pub use start::{Method, RequestLine, StartLine, StatusLine};
pub use uri::{Scheme, UnescapeError, Uri, UriParams, escape_user, unescape_into};
pub use via::{Transport, Via};
