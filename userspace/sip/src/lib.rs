//! SIP messages over borrowed bytes: RFC 3261 and the extensions in use.
#![forbid(unsafe_code)]

mod address;
mod buffer;
mod class;
mod edit;
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
mod render;
mod scan;
mod start;
mod uri;
mod via;

pub use address::{Contact, ContactAddress, NameAddr};
pub use buffer::Buffer;
pub use edit::{EditError, EditPlan, Reply, reason_phrase};
pub use error::{Fault, ParseError, ValueError, ValueFault};
pub use host::Host;
pub use index::Index;
pub use list::{Token, Value, Values};
pub use message::{Essentials, Header, Message};
pub use name::HeaderName;
pub use number::CSeq;
pub use param::{Param, ParamIter, Params};
pub use render::{AddressText, Digits};
pub use start::{Method, RequestLine, StartLine, StatusLine};
pub use uri::{Scheme, UnescapeError, Uri, UriParams, escape_user, unescape_into};
pub use via::{Transport, Via};
