//! SIP messages over borrowed bytes: RFC 3261 and the extensions in use.
#![forbid(unsafe_code)]

mod address;
mod class;
mod error;
mod host;
mod index;
pub mod limit;
mod list;
mod message;
mod name;
mod number;
mod param;
pub mod quoted;
mod scan;
mod start;
mod uri;
mod via;

pub use address::{Contact, ContactAddress, NameAddr};
pub use error::{Fault, ParseError, ValueError, ValueFault};
pub use host::Host;
pub use index::Index;
pub use list::{Token, Value, Values};
pub use message::{Essentials, Header, Message};
pub use name::HeaderName;
pub use number::CSeq;
pub use param::{Param, ParamIter, Params};
pub use start::{Method, RequestLine, StartLine, StatusLine};
pub use uri::{Scheme, UnescapeError, Uri, UriParams, escape_user, unescape_into};
pub use via::{Transport, Via};
