//! SIP messages over borrowed bytes: RFC 3261 and the extensions in use.
//!
//! The engine and the benchmarks call it with one datagram at a time. It reads and edits the message where it lies,
//! allocates nothing, and touches neither sockets nor clocks.
//!
//! # Parse
//!
//! [`Message::parse`] makes one pass over the datagram: it reads the start line, finds the header lines and their names,
//! and sets the end of the body by Content-Length. Where everything lies goes into an [`Index`] that the caller keeps
//! and hands in again for the next message. No value has been read by then but Content-Length.
//!
//! ```
//! use strowger_sip::{Index, Message, Method};
//!
//! let datagram = b"OPTIONS sip:bob@example.net SIP/2.0\r\n\
//!     Via: SIP/2.0/UDP 192.0.2.1:5062;rport;branch=z9hG4bK1\r\n\
//!     Max-Forwards: 70\r\n\
//!     From: <sip:alice@example.net>;tag=1\r\n\
//!     To: <sip:bob@example.net>\r\n\
//!     Call-ID: c1@192.0.2.1\r\n\
//!     CSeq: 1 OPTIONS\r\n\
//!     Content-Length: 0\r\n\r\n";
//!
//! let mut index = Index::new(); // one for each worker
//! let message = Message::parse(datagram, &mut index)?;
//! assert_eq!(message.method(), Some(Method::Options));
//! # Ok::<(), strowger_sip::ParseError>(())
//! ```
//!
//! # Read
//!
//! Values are read on demand, into views that borrow from the datagram. [`Message::essentials`] reads what every message
//! must have, all or nothing. A header that may be there once is read by a method that gives `Ok(None)` when it is not
//! there; one that may have several values gives an iterator over all its lines and the commas in them. A header without
//! a view, or one that [`HeaderName`] does not know, is there as it stands ([`Message::header`], [`Message::all`]).
//!
//! ```
//! # use strowger_sip::{HeaderName, Index, Message};
//! let datagram = b"OPTIONS sip:bob@example.net SIP/2.0\r\n\
//!     Via: SIP/2.0/UDP 192.0.2.1:5062;rport;branch=z9hG4bK1\r\n\
//!     Route: <sip:192.0.2.9;lr>, \"next\" <sip:192.0.2.10:5070;lr>\r\n\
//!     f: \"Alice\" <sip:alice@example.net>;tag=1\r\n\
//!     t: <sip:bob@example.net>\r\n\
//!     i: c1@192.0.2.1\r\n\
//!     CSeq: 1 OPTIONS\r\n\
//!     X-Trace: on\r\n\r\n";
//! # let mut index = Index::new();
//! let message = Message::parse(datagram, &mut index)?;
//!
//! let essentials = message.essentials()?;
//! assert_eq!(essentials.via.branch(), Some(&b"z9hG4bK1"[..]));
//! assert_eq!(essentials.from.tag(), Some(&b"1"[..]));
//! assert_eq!(essentials.from.uri()?.user(), Some(&b"alice"[..]));
//!
//! for route in message.routes() {
//!     assert!(route?.uri()?.is_loose());
//! }
//!
//! assert_eq!(message.expires()?, None);
//! let own = message.all().find(|header| header.raw_name == b"X-Trace").map(|header| header.value);
//! assert_eq!(own, Some(&b"on"[..]));
//! # Ok::<(), Box<dyn core::error::Error>>(())
//! ```
//!
//! # Edit
//!
//! An [`EditPlan`] collects changes against a message and then applies them to its bytes, in place: what grows at the
//! front grows into the headroom of the [`Buffer`], and the rest of the message stays where it is. A plan that cannot be
//! applied is refused and nothing has changed. Every byte that no edit covers is afterwards what it was.
//!
//! ```
//! # use strowger_sip::{Buffer, EditPlan, HeaderName, Index, Message};
//! # let datagram = b"BYE sip:bob@example.net SIP/2.0\r\n\
//! #     Via: SIP/2.0/UDP 10.0.0.1:5062;rport;branch=z9hG4bK1\r\n\
//! #     Max-Forwards: 70\r\n\r\n";
//! let mut frame = [0; 2048]; // with room before and after the message
//! frame[256..256 + datagram.len()].copy_from_slice(datagram);
//! let mut buffer = Buffer::new(&mut frame, 256..256 + datagram.len()).ok_or("not in the frame")?;
//!
//! let (mut index, mut plan) = (Index::new(), EditPlan::new()); // one of each for a worker
//! let message = Message::parse(buffer.message(), &mut index)?;
//! plan.begin(&message);
//! plan.replace_request_uri(&message, b"sip:bob@192.0.2.7:5064")?;
//! plan.set_top_via_params(&message, Some([192, 0, 2, 1].into()), Some(40_000))?;
//! plan.prepend_header(&message, HeaderName::Via, &[b"SIP/2.0/UDP 192.0.2.9", b";branch=z9hG4bK2"])?;
//! plan.decrement_max_forwards(&message)?;
//! plan.apply(&mut buffer)?;
//!
//! assert_eq!(
//!     buffer.message(),
//!     b"BYE sip:bob@192.0.2.7:5064 SIP/2.0\r\n\
//!     Via: SIP/2.0/UDP 192.0.2.9;branch=z9hG4bK2\r\n\
//!     Via: SIP/2.0/UDP 10.0.0.1:5062;rport=40000;branch=z9hG4bK1;received=192.0.2.1\r\n\
//!     Max-Forwards: 69\r\n\r\n"
//! );
//! # Ok::<(), Box<dyn core::error::Error>>(())
//! ```
//!
//! # Reply
//!
//! [`EditPlan::reply`] makes a plan that turns a request into its response, to be applied in place or written elsewhere.
//! It works too for a request that [`Message::parse`] refused: [`Message::salvage`] reads as much of it as the refusal
//! needs. Of an INVITE that was sent, [`EditPlan::cancel`] and [`EditPlan::ack`] make the CANCEL and the ACK.
//!
//! ```
//! # use strowger_sip::{EditPlan, Index, Message, Reply};
//! let datagram = b"OPTIONS sip:bob@example.net SIP/2.0\r\n\
//!     Via: SIP/2.0/UDP 10.0.0.1:5062;rport;branch=z9hG4bK1\r\n\
//!     From: <sip:alice@example.net>;tag=1\r\n\
//!     To: <sip:bob@example.net>\r\n\
//!     this line has no colon\r\n\
//!     Call-ID: c1\r\n\
//!     CSeq: 1 OPTIONS\r\n\r\n";
//! # let (mut index, mut plan) = (Index::new(), EditPlan::new());
//! let Err(refused) = Message::parse(datagram, &mut index) else { panic!("a bad line was taken") };
//! let code = refused.status().ok_or("to be dropped")?;
//! let request = Message::salvage(datagram, &mut index).ok_or("nobody to answer")?;
//!
//! let from = ([192, 0, 2, 1].into(), 40_000); // where the datagram came from
//! let to_tag = Some(&b"t1"[..]);
//! plan.reply(&request, &Reply { code, to_tag, received: Some(from.0), rport: Some(from.1), ..Reply::default() })?;
//! let mut out = [0; 1024];
//! assert_eq!(
//!     plan.write_to(datagram, &mut out)?,
//!     b"SIP/2.0 400 Bad Request\r\n\
//!     Via: SIP/2.0/UDP 10.0.0.1:5062;rport=40000;branch=z9hG4bK1;received=192.0.2.1\r\n\
//!     From: <sip:alice@example.net>;tag=1\r\n\
//!     To: <sip:bob@example.net>;tag=t1\r\n\
//!     Call-ID: c1\r\n\
//!     CSeq: 1 OPTIONS\r\n\
//!     Content-Length: 0\r\n\r\n"
//! );
//! # Ok::<(), Box<dyn core::error::Error>>(())
//! ```
//!
//! # Laws
//!
//! - **Borrowed bytes.** A view holds references into the datagram, or numbers read from it. What a view says of a part is
//!   the part as it stands: escapes, quotes of a parameter and folding are in it, unless the method says otherwise.
//! - **No allocation**, not in an error either. [`Index`] and [`EditPlan`] are the only large things, of fixed size; a
//!   worker makes one of each when it starts.
//! - **No `unsafe`** in the crate, and no panic on any bytes.
//! - **Offsets** ([`Header::value_range`], [`Via::range`], [`ValueError::at`] …) count from the first byte that was given to
//!   [`Message::parse`]; of a value that was parsed alone, from its own first byte. In a message they fit 16 bits.
//! - **Whole or not at all.** A view is made only of a value that was read to its end; there is no half-read Via. What a
//!   view leaves unchecked, its documentation says.
//! - **One reading.** Every header line belongs to one entry of the index, its name compared without regard to case, white
//!   space before the colon and compact form; whatever removes or counts a header goes by the index.
//! - **Linear time** in the length of the message. What would be quadratic in a count (a URI's parameters compared with each
//!   other) has a small limit.
//!
//! # What is malformed
//!
//! A fault of the message as a whole is a [`ParseError`], one of a value a [`ValueError`]; both know what was wrong, where,
//! and which status answers it. [`verdict::TABLE`] says it class by class with its section and [`verdict::judge`] decides it
//! for a datagram. In short:
//!
//! | What is wrong | A request is | Type |
//! |---|---|---|
//! | noise, keep-alives, a start line that is none, a method that is no token | dropped | [`Fault::Empty`], [`Fault::StartLine`], [`Fault::Method`] |
//! | CR, LF or another control byte where it must not be | dropped | [`Fault::BareLineEnd`], [`Fault::Control`] |
//! | another SIP version | answered 505 | [`Fault::Version`] |
//! | white space in or around the Request-URI | answered 400 | [`Fault::RequestUri`] |
//! | a Request-URI that is too long; of an unknown scheme; no URI at all, or with headers | answered 414; 416; 400 | [`Fault::RequestUriTooLong`], [`Scheme::Other`], [`ValueError`] |
//! | a header line without colon, or whose name is no token or too long | answered 400 | [`Fault::HeaderLine`], [`Fault::HeaderNameTooLong`] |
//! | too many header lines | answered 513 | [`Fault::TooManyHeaders`] |
//! | no empty line; Content-Length that is no number or over the datagram | answered 400 | [`Fault::NoEmptyLine`], [`Fault::ContentLength`], [`Fault::Truncated`] |
//! | From, To, Call-ID, CSeq, Max-Forwards or Content-Length twice | answered 400 | [`Fault::Duplicate`] |
//! | topmost Via, From, To, Call-ID, CSeq or Max-Forwards malformed, or missing where it must be there | answered 400 | [`ValueError`] |
//! | a CSeq method that is not the request's | answered 400; 501 when the request's is unknown | [`ValueFault::Mismatch`] |
//! | any other header malformed | served; who needs the header judges it | [`ValueError`] |
//!
//! An ACK is never answered, nor is a request without Via. A response that has any of this is dropped.
//!
//! # Where the grammar is read otherwise
//!
//! On purpose. What a view leaves unchecked besides is in its own documentation. The second parser of the differential test
//! (`tests/naive`) is written from the grammar; where it had to follow the crate, it says DECIDED.
//!
//! | Place | RFC 3261 section 25.1 | Here | Reason | In `tests/naive` |
//! |---|---|---|---|---|
//! | status line | SP before the reason phrase | may be missing when the phrase is empty | stacks leave it out; nothing hangs on it | yes |
//! | reason phrase | `reserved`, `unreserved`, `escaped`, UTF-8, SP, HTAB | any bytes but control bytes; HTAB | nobody reads it | yes |
//! | Request-URI, for [`Message::parse`] | a URI | visible ASCII | [`Message::request_uri`] tells who needs it | yes |
//! | a parameter's value | `token`, `host` or `quoted-string` | visible ASCII without `; , " < > \`, or a quoted string | base64 in branches and tags | yes |
//! | `received` of a Via | an address, IPv6 without brackets | with or without | RFC 5118 section 4.5 | yes |
//! | IPv6 address with an IPv4 part | two colons | a third one before the IPv4 part | RFC 5118 section 4.10 | yes |
//! | host name | labels of letters, digits and inner `-`; the last one begins with a letter | also `_`, and `-` and digits anywhere, but not digits and dots alone | names in use | yes |
//! | port | any digits | 1 to 65,535 | no packet can be sent to another | yes |
//! | display name without quotes | tokens, each with white space after it | tokens, white space and bytes beyond ASCII, in any order | names are written so | |
//! | quoted string | UTF-8 | any bytes; control bytes only in a quoted pair | opaque to a proxy | |
//! | Route, Record-Route, Path, Service-Route | `name-addr` | `addr-spec` too, without angle brackets | it can be read as well as in a Contact | |
//! | Call-ID | one `@` at most | any number, anywhere | an opaque key | |
//! | list of values | not empty, for most headers | a line without value adds nothing | nothing can be meant by it | |
//! | hexadecimal digits of Digest | lower case | either | nothing else can be meant | |
//! | Digest parameters | quoted or not, as each is defined | either | stacks disagree; the value is the same | |
//! | Privacy (RFC 3323) | values with `;` between them | also `,` | phones write it | |
//!
//! What a section says of malformed values is not in the table: an expires of a Contact that is no number is 3600
//! (section 20.10), a delta-seconds over 2^32 − 1 is 2^32 − 1 (section 20.19).
//!
//! # Headers and their views
//!
//! Rules are of RFC 3261 section 25.1 where no other is named, sections of RFC 3261 likewise. Every view fails with
//! [`Ended`](ValueFault::Ended) or [`Unexpected`](ValueFault::Unexpected) where the grammar does not allow what stands there;
//! with [`Unterminated`](ValueFault::Unterminated) and, after [`PARAMETERS`](limit::PARAMETERS), with
//! [`TooMany`](ValueFault::TooMany) where there may be parameters. A header that may be there once fails with
//! [`Duplicate`](ValueFault::Duplicate), one that must be there with [`Missing`](ValueFault::Missing); a list of values ends
//! with [`TooMany`](ValueFault::TooMany) after [`LIST_VALUES`](limit::LIST_VALUES). The last column has what comes besides.
//! Of credentials and challenges there is one in each line.
//!
//! | Header | Read by | Rule | Limits | Errors of its own |
//! |---|---|---|---|---|
//! | Via | [`top_via`](Message::top_via), [`vias`](Message::vias): [`Via`] | `via-parm`, 20.42; `response-port`, RFC 3581 | [`IDENTIFIER`](limit::IDENTIFIER), [`HOST`](limit::HOST) | `Protocol`, `Host`, `Port`, `TooLong`, `DuplicateParameter` |
//! | From, To | [`from`](Message::from), [`to`](Message::to): [`NameAddr`] | `from-spec`, 20.20; `To`, 20.39 | [`IDENTIFIER`](limit::IDENTIFIER) | `TooLong`, `DuplicateParameter` |
//! | Call-ID | [`call_id`](Message::call_id): bytes | `callid`, 20.8 | [`IDENTIFIER`](limit::IDENTIFIER) | `TooLong` |
//! | CSeq | [`cseq`](Message::cseq): [`CSeq`] | `CSeq`, 20.16 | [`CSEQ`](limit::CSEQ) | `Number`; `Mismatch` from [`essentials`](Message::essentials) |
//! | Max-Forwards | [`max_forwards`](Message::max_forwards): number | `1*DIGIT`, 20.22 | [`MAX_FORWARDS`](limit::MAX_FORWARDS) | `Number` |
//! | Max-Breadth | [`max_breadth`](Message::max_breadth): number | `1*DIGIT`, RFC 5393 section 5.8 | 2^32 − 1 | `Number` |
//! | Content-Length | [`content_length`](Message::content_length): number | `1*DIGIT`, 20.14 | the datagram | [`Fault::ContentLength`], [`Fault::Truncated`] |
//! | Contact | [`contacts`](Message::contacts): [`Contact`] | `contact-param`, 20.10; RFC 5626, RFC 5627 | [`IDENTIFIER`](limit::IDENTIFIER) | as From; `Number` for q and reg-id |
//! | Route, Record-Route | [`routes`](Message::routes), [`record_routes`](Message::record_routes): [`NameAddr`] | `route-param`, 20.34; `rec-route`, 20.30 | | as From |
//! | Path, Service-Route | [`path`](Message::path), [`service_routes`](Message::service_routes): [`NameAddr`] | `path-value`, RFC 3327 section 4; `sr-value`, RFC 3608 section 5 | | as From |
//! | Reply-To, Refer-To, Referred-By | [`reply_to`](Message::reply_to), [`refer_to`](Message::refer_to), [`referred_by`](Message::referred_by): [`NameAddr`] | `rplyto-spec`, 20.31; RFC 3515 section 2.1; RFC 3892 | | as From |
//! | P-Asserted-Identity, P-Preferred-Identity | [`asserted_identities`](Message::asserted_identities), [`preferred_identities`](Message::preferred_identities): [`NameAddr`] | RFC 3325 sections 9.1 and 9.2 | | as From |
//! | any address header | [`address`](Message::address), [`values`](Message::values): [`NameAddr`] | `( name-addr / addr-spec ) *( SEMI generic-param )` | | as From |
//! | Require, Proxy-Require, Supported, Unsupported | [`require`](Message::require), [`proxy_require`](Message::proxy_require), [`supported`](Message::supported), [`unsupported`](Message::unsupported): [`Token`] | `option-tag`, 20.32, 20.29, 20.37, 20.40 | | |
//! | Allow, Allow-Events | [`allow`](Message::allow), [`allow_events`](Message::allow_events): [`Token`] | `Method`, 20.5; `event-type`, RFC 6665 section 8.4 | | |
//! | Authorization, Proxy-Authorization | [`authorizations`](Message::authorizations), [`proxy_authorizations`](Message::proxy_authorizations): [`Credentials`] | `credentials`, 20.7, 20.28; RFC 7616 section 3.4 | [`AUTH_PARAMETERS`](limit::AUTH_PARAMETERS) | `Missing`, `Number`, `DuplicateParameter` |
//! | WWW-Authenticate, Proxy-Authenticate | [`www_authenticates`](Message::www_authenticates), [`proxy_authenticates`](Message::proxy_authenticates): [`Challenge`] | `challenge`, 20.44, 20.27; RFC 7616 section 3.3, RFC 8760 | [`AUTH_PARAMETERS`](limit::AUTH_PARAMETERS) | as Authorization |
//! | Authentication-Info | [`authentication_info`](Message::authentication_info): [`AuthenticationInfo`] | `ainfo`, 20.6; RFC 7616 section 3.5 | [`AUTH_PARAMETERS`](limit::AUTH_PARAMETERS) | `Number`, `DuplicateParameter` |
//! | Expires, Min-Expires, Flow-Timer | [`expires`](Message::expires), [`min_expires`](Message::min_expires), [`flow_timer`](Message::flow_timer): seconds | `delta-seconds`, 20.19, 20.23; RFC 5626 section 10 | 2^32 − 1 | `Number` |
//! | Session-Expires, Min-SE | [`session_expires`](Message::session_expires): [`SessionExpires`]; [`min_se`](Message::min_se): seconds | RFC 4028 sections 4 and 5 | 2^32 − 1 | `Number` |
//! | Retry-After | [`retry_after`](Message::retry_after): [`RetryAfter`] | `Retry-After`, 20.33 | 2^32 − 1 | `Number` |
//! | Date | [`date`](Message::date): [`Date`] | `rfc1123-date`, 20.17 | | `Number` |
//! | Event | [`event`](Message::event): [`Event`] | `Event`, RFC 6665 section 8.4 | | |
//! | Subscription-State | [`subscription_state`](Message::subscription_state): [`SubscriptionState`] | `Subscription-State`, RFC 6665 section 8.4 | 2^32 − 1 seconds | `Number` |
//! | RAck, RSeq | [`rack`](Message::rack): [`RAck`]; [`rseq`](Message::rseq): number | RFC 3262 sections 7.1, 7.2 and 10 | 1 to 2^32 − 1; [`CSEQ`](limit::CSEQ) | `Number` |
//! | Replaces, Join, Target-Dialog | [`replaces`](Message::replaces), [`join`](Message::join), [`target_dialog`](Message::target_dialog): [`DialogReference`] | RFC 3891 section 6.1, RFC 3911, RFC 4538 | [`IDENTIFIER`](limit::IDENTIFIER) for the Call-ID | `Missing`, `DuplicateParameter`, `TooLong` |
//! | Reason | [`reasons`](Message::reasons): [`Reason`] | `reason-value`, RFC 3326 section 2 | cause to 2^32 − 1 | `Number` |
//! | Warning | [`warnings`](Message::warnings): [`Warning`] | `warning-value`, 20.43 | | |
//! | Privacy | [`privacy`](Message::privacy): [`Privacy`] | `Privacy-hdr`, RFC 3323 section 4.2 | | |
//! | Content-Type, Accept | [`content_type`](Message::content_type), [`accept`](Message::accept): [`MediaType`] | `media-type`, 20.15; `accept-range`, 20.1 | | |
//! | Content-Disposition | [`content_disposition`](Message::content_disposition): [`Disposition`] | 20.11 | | |
//! | any other | [`header`](Message::header), [`headers`](Message::headers), [`single`](Message::single), [`all`](Message::all): [`Header`] | `header-value`, 7.3.1 | | |
//!
//! A [`Uri`] is read from its bytes when it is asked for: [`Message::request_uri`], [`NameAddr::uri`]. Of a body, [`Message::sdp`] reads
//! a few facts of SDP ([`SdpFacts`]); to everything else it is opaque.
//!
//! # Limits
//!
//! [`limit`] has a constant with its reason for all that a sender can count up, and names the error. All of them are
//! checked where the thing is counted, so that no later part can meet more: the largest number of values that a caller can
//! be handed is fixed, and with it the time that a message can cost.
//!
//! # Tests and fuzzing
//!
//! - `tests/threats.rs` and `tests/threats` have a test for each way in which parsing and editing have broken SIP servers.
//! - `tests/verdicts.rs` holds an example of its own against each row of [`verdict::TABLE`]; `tests/corpus.rs` holds every
//!   message of RFC 4475 and RFC 5118 against the verdict of its section, where the two collections are at hand.
//! - `tests/differential.rs` compares the crate's reading with that of a second parser, `tests/naive`, over messages and
//!   mutations of them.
//! - Vectorised routines, the edit plan and the escapes have naive twins and property tests beside them.
//! - `tests/allocations.rs` counts allocations.
//! - What must hold of any bytes is in `tests/exercise`. `tests/mutations.rs` runs it over the seeds in `fuzz/seeds` and
//!   mutations of them for a few seconds, without nightly; it prints its seed, and `STROWGER_SEED` sets it. Six targets for
//!   libFuzzer run the same code: `parse`, `views`, `edit`, `reply`, `authorization` and `uri`, by
//!   `cargo xtask fuzz [target] --minutes N`. A finding becomes a test with a name.
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
