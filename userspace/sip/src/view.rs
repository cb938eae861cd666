//! The typed views of a message's headers beyond those that every message has: one method for each.

use crate::address::{NameAddr, delta_seconds};
use crate::auth::{AuthenticationInfo, Challenge, Credentials};
use crate::class;
use crate::date::Date;
use crate::dialog::{self, DialogReference, Event, RAck, SubscriptionState};
use crate::error::{ValueError, ValueFault};
use crate::list::{Token, Values};
use crate::media::{Disposition, MediaType};
use crate::message::Message;
use crate::name::HeaderName;
use crate::sdp::SdpFacts;
use crate::session::{Privacy, Reason, RetryAfter, SessionExpires, Warning, seconds_with_params};

/// Each of these reads a header that may be there once: `Ok(None)` when it is not there, an error when it is there
/// twice or cannot be read. Where a header may have several values, an iterator of results.
impl<'a> Message<'a> {
    /// Credentials for this server, one for each line (RFC 3261 section 20.7); of several realms or algorithms. A line that
    /// cannot be read is an error (see [`Credentials::parse`]) and the next one follows it.
    pub fn authorizations(&self) -> impl Iterator<Item = Result<Credentials<'a>, ValueError>> + use<'a> {
        self.each(HeaderName::Authorization, Credentials::parse)
    }

    /// Credentials for proxies, one for each line (section 20.28). As [`authorizations`](Self::authorizations).
    pub fn proxy_authorizations(
        &self,
    ) -> impl Iterator<Item = Result<Credentials<'a>, ValueError>> + use<'a> {
        self.each(HeaderName::ProxyAuthorization, Credentials::parse)
    }

    /// Challenges of a server, one for each line (section 20.44, RFC 8760 section 2.3). A line that cannot be read is an
    /// error (see [`Challenge::parse`]) and the next one follows it: what is not understood is to be ignored.
    pub fn www_authenticates(&self) -> impl Iterator<Item = Result<Challenge<'a>, ValueError>> + use<'a> {
        self.each(HeaderName::WwwAuthenticate, Challenge::parse)
    }

    /// Challenges of a proxy, one for each line (section 20.27). As [`www_authenticates`](Self::www_authenticates).
    pub fn proxy_authenticates(&self) -> impl Iterator<Item = Result<Challenge<'a>, ValueError>> + use<'a> {
        self.each(HeaderName::ProxyAuthenticate, Challenge::parse)
    }

    /// Authentication-Info (RFC 7616 section 3.5).
    ///
    /// # Errors
    /// See [`AuthenticationInfo::parse`].
    pub fn authentication_info(&self) -> Result<Option<AuthenticationInfo<'a>>, ValueError> {
        self.read(HeaderName::AuthenticationInfo, AuthenticationInfo::parse)
    }

    /// Path values, topmost first: `path-value` (RFC 3327 section 4).
    #[must_use]
    pub fn path(&self) -> Values<'a, NameAddr<'a>> {
        self.values(HeaderName::Path)
    }

    /// Service-Route values: `sr-value` (RFC 3608 section 5).
    #[must_use]
    pub fn service_routes(&self) -> Values<'a, NameAddr<'a>> {
        self.values(HeaderName::ServiceRoute)
    }

    /// P-Asserted-Identity values: at most one sip or sips and one tel URI, which is for the caller to check
    /// (RFC 3325 section 9.1).
    #[must_use]
    pub fn asserted_identities(&self) -> Values<'a, NameAddr<'a>> {
        self.values(HeaderName::PAssertedIdentity)
    }

    /// P-Preferred-Identity values (RFC 3325 section 9.2).
    #[must_use]
    pub fn preferred_identities(&self) -> Values<'a, NameAddr<'a>> {
        self.values(HeaderName::PPreferredIdentity)
    }

    /// Methods of Allow (section 20.5); they are case-sensitive, [`Token::is`] is not.
    #[must_use]
    pub fn allow(&self) -> Values<'a, Token<'a>> {
        self.values(HeaderName::Allow)
    }

    /// Option tags of Unsupported (section 20.40).
    #[must_use]
    pub fn unsupported(&self) -> Values<'a, Token<'a>> {
        self.values(HeaderName::Unsupported)
    }

    /// Event packages of Allow-Events (RFC 6665 section 8.2.2).
    #[must_use]
    pub fn allow_events(&self) -> Values<'a, Token<'a>> {
        self.values(HeaderName::AllowEvents)
    }

    /// Media ranges of Accept (section 20.1).
    #[must_use]
    pub fn accept(&self) -> Values<'a, MediaType<'a>> {
        self.values(HeaderName::Accept)
    }

    /// Reason values (RFC 3326 section 2).
    #[must_use]
    pub fn reasons(&self) -> Values<'a, Reason<'a>> {
        self.values(HeaderName::Reason)
    }

    /// Warning values (section 20.43).
    #[must_use]
    pub fn warnings(&self) -> Values<'a, Warning<'a>> {
        self.values(HeaderName::Warning)
    }

    /// Reply-To (section 20.31).
    ///
    /// # Errors
    /// See [`NameAddr::parse`].
    pub fn reply_to(&self) -> Result<Option<NameAddr<'a>>, ValueError> {
        self.address(HeaderName::ReplyTo)
    }

    /// Refer-To (RFC 3515 section 2.1).
    ///
    /// # Errors
    /// See [`NameAddr::parse`].
    pub fn refer_to(&self) -> Result<Option<NameAddr<'a>>, ValueError> {
        self.address(HeaderName::ReferTo)
    }

    /// Referred-By (RFC 3892).
    ///
    /// # Errors
    /// See [`NameAddr::parse`].
    pub fn referred_by(&self) -> Result<Option<NameAddr<'a>>, ValueError> {
        self.address(HeaderName::ReferredBy)
    }

    /// Replaces (RFC 3891 section 6.1).
    ///
    /// # Errors
    /// See [`DialogReference::parse`].
    pub fn replaces(&self) -> Result<Option<DialogReference<'a>>, ValueError> {
        self.read(HeaderName::Replaces, DialogReference::parse)
    }

    /// Join (RFC 3911).
    ///
    /// # Errors
    /// See [`DialogReference::parse`].
    pub fn join(&self) -> Result<Option<DialogReference<'a>>, ValueError> {
        self.read(HeaderName::Join, DialogReference::parse)
    }

    /// Target-Dialog (RFC 4538).
    ///
    /// # Errors
    /// See [`DialogReference::parse_target`].
    pub fn target_dialog(&self) -> Result<Option<DialogReference<'a>>, ValueError> {
        self.read(HeaderName::TargetDialog, DialogReference::parse_target)
    }

    /// RAck (RFC 3262 section 7.2).
    ///
    /// # Errors
    /// See [`RAck::parse`].
    pub fn rack(&self) -> Result<Option<RAck<'a>>, ValueError> {
        self.read(HeaderName::RAck, RAck::parse)
    }

    /// RSeq, 1 to 2^32 − 1 (RFC 3262 section 7.1).
    ///
    /// # Errors
    /// [`ValueFault::Number`].
    pub fn rseq(&self) -> Result<Option<u32>, ValueError> {
        self.read(HeaderName::RSeq, dialog::rseq)
    }

    /// Event (RFC 6665 section 8.2.1).
    ///
    /// # Errors
    /// See [`Event::parse`].
    pub fn event(&self) -> Result<Option<Event<'a>>, ValueError> {
        self.read(HeaderName::Event, Event::parse)
    }

    /// Subscription-State (RFC 6665 section 8.2.3).
    ///
    /// # Errors
    /// See [`SubscriptionState::parse`].
    pub fn subscription_state(&self) -> Result<Option<SubscriptionState<'a>>, ValueError> {
        self.read(HeaderName::SubscriptionState, SubscriptionState::parse)
    }

    /// Session-Expires (RFC 4028 section 4).
    ///
    /// # Errors
    /// See [`SessionExpires::parse`].
    pub fn session_expires(&self) -> Result<Option<SessionExpires<'a>>, ValueError> {
        self.read(HeaderName::SessionExpires, SessionExpires::parse)
    }

    /// Min-SE in seconds, its parameters left out: `delta-seconds *( SEMI generic-param )` (RFC 4028 section 5).
    ///
    /// # Errors
    /// [`ValueFault::Number`]; parameters that the grammar does not allow.
    pub fn min_se(&self) -> Result<Option<u32>, ValueError> {
        self.read(HeaderName::MinSe, |text| seconds_with_params(text).map(|(seconds, _)| seconds))
    }

    /// Min-Expires in seconds: `delta-seconds` (section 20.23).
    ///
    /// # Errors
    /// [`ValueFault::Number`].
    pub fn min_expires(&self) -> Result<Option<u32>, ValueError> {
        self.seconds(HeaderName::MinExpires)
    }

    /// Flow-Timer in seconds: `1*DIGIT` (RFC 5626 section 10).
    ///
    /// # Errors
    /// [`ValueFault::Number`].
    pub fn flow_timer(&self) -> Result<Option<u32>, ValueError> {
        self.seconds(HeaderName::FlowTimer)
    }

    /// Max-Breadth: `1*DIGIT`, up to 2^32 − 1 (RFC 5393 section 5.8).
    ///
    /// # Errors
    /// [`ValueFault::Number`].
    pub fn max_breadth(&self) -> Result<Option<u32>, ValueError> {
        self.read(HeaderName::MaxBreadth, |text| {
            class::decimal(text).ok_or(ValueError::new(ValueFault::Number, 0))
        })
    }

    /// Retry-After (section 20.33).
    ///
    /// # Errors
    /// See [`RetryAfter::parse`].
    pub fn retry_after(&self) -> Result<Option<RetryAfter<'a>>, ValueError> {
        self.read(HeaderName::RetryAfter, RetryAfter::parse)
    }

    /// Privacy (RFC 3323 section 4.2).
    ///
    /// # Errors
    /// See [`Privacy::parse`].
    pub fn privacy(&self) -> Result<Option<Privacy<'a>>, ValueError> {
        self.read(HeaderName::Privacy, Privacy::parse)
    }

    /// Date (section 20.17).
    ///
    /// # Errors
    /// See [`Date::parse`].
    pub fn date(&self) -> Result<Option<Date>, ValueError> {
        self.read(HeaderName::Date, Date::parse)
    }

    /// Content-Type (section 20.15).
    ///
    /// # Errors
    /// See [`MediaType::parse`].
    pub fn content_type(&self) -> Result<Option<MediaType<'a>>, ValueError> {
        self.read(HeaderName::ContentType, MediaType::parse)
    }

    /// Content-Disposition (section 20.11).
    ///
    /// # Errors
    /// See [`Disposition::parse`].
    pub fn content_disposition(&self) -> Result<Option<Disposition<'a>>, ValueError> {
        self.read(HeaderName::ContentDisposition, Disposition::parse)
    }

    /// Facts of the body if Content-Type says that it is `application/sdp`; `None` also when that cannot be read. A body of
    /// several parts is not opened.
    #[must_use]
    pub fn sdp(&self) -> Option<SdpFacts<'a>> {
        let kind = self.content_type().ok().flatten()?;
        kind.is(b"application", b"sdp").then(|| SdpFacts::read(self.body()))
    }

    fn seconds(&self, name: HeaderName) -> Result<Option<u32>, ValueError> {
        self.read(name, |text| delta_seconds(text).ok_or(ValueError::new(ValueFault::Number, 0)))
    }

    /// Every line of a header that has one value in each line.
    fn each<T>(
        &self,
        name: HeaderName,
        parse: fn(&'a [u8]) -> Result<T, ValueError>,
    ) -> impl Iterator<Item = Result<T, ValueError>> + use<'a, T> {
        self.headers(name).map(move |h| {
            parse(h.value).map_err(|e| ValueError::new(e.fault, e.at + h.value_range.start).of(name))
        })
    }
}
