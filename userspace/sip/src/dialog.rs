//! Headers that name a dialog, a transaction or a subscription: Replaces and Join (RFC 3891, 3911), Target-Dialog
//! (RFC 4538), RAck and RSeq (RFC 3262), Event and Subscription-State (RFC 6665).

use crate::address::delta_seconds;
use crate::class;
use crate::error::{ValueError, ValueFault};
use crate::limit;
use crate::number::CSeq;
use crate::param::{self, Params};
use crate::start::Method;
use crate::text::Text;

/// `callid *( SEMI param )` with both tags: Replaces (RFC 3891 section 6.1), Join (RFC 3911), Target-Dialog (RFC 4538).
///
/// The Call-ID has at most [`limit::IDENTIFIER`] octets. Not checked: the length of the tags, that early-only is alone (it
/// has no meaning in Join and Target-Dialog), that there is such a dialog.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DialogReference<'a> {
    /// The Call-ID.
    pub call_id: &'a [u8],
    /// `to-tag` (`remote-tag` in Target-Dialog).
    pub to_tag: &'a [u8],
    /// `from-tag` (`local-tag` in Target-Dialog).
    pub from_tag: &'a [u8],
    /// `early-only` (RFC 3891 section 6.1).
    pub early_only: bool,
    /// All parameters.
    pub params: Params<'a>,
}

impl<'a> DialogReference<'a> {
    /// Parses the value of Replaces or Join.
    ///
    /// # Errors
    /// [`ValueFault::Missing`] without both tags; [`ValueFault::DuplicateParameter`] for a tag that is there twice;
    /// [`ValueFault::TooLong`] for the Call-ID; more than [`limit::PARAMETERS`]; what the grammar does not allow.
    pub fn parse(text: &'a [u8]) -> Result<DialogReference<'a>, ValueError> {
        Self::with_tags(text, b"to-tag", b"from-tag")
    }

    /// Parses the value of Target-Dialog (RFC 4538 section 7).
    ///
    /// # Errors
    /// As [`parse`](Self::parse).
    pub fn parse_target(text: &'a [u8]) -> Result<DialogReference<'a>, ValueError> {
        Self::with_tags(text, b"remote-tag", b"local-tag")
    }

    fn with_tags(text: &'a [u8], to: &[u8], from: &[u8]) -> Result<DialogReference<'a>, ValueError> {
        // A Call-ID cannot hold ";", so it ends there.
        let len = class::span(text, class::CALL_ID);
        if len == 0 {
            return Err(ValueError::new(ValueFault::Ended, 0));
        }
        if len > limit::IDENTIFIER {
            return Err(ValueError::new(ValueFault::TooLong, 0));
        }
        let params = trailing(text, len)?;
        let tag = |name: &[u8]| -> Result<&'a [u8], ValueError> {
            let mut found = params.iter().filter(|p| p.name.eq_ignore_ascii_case(name));
            let first = found.next().and_then(|p| p.value);
            if found.next().is_some() {
                return Err(ValueError::new(ValueFault::DuplicateParameter, len));
            }
            first.ok_or(ValueError::new(ValueFault::Missing, text.len()))
        };
        Ok(DialogReference {
            call_id: &text[..len],
            to_tag: tag(to)?,
            from_tag: tag(from)?,
            early_only: params.contains(b"early-only"),
            params,
        })
    }
}

/// `RAck = response-num LWS CSeq-num LWS Method` (RFC 3262 sections 7.2 and 10).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RAck<'a> {
    /// The RSeq of the response that is acknowledged: 1 to 2^32 − 1.
    pub response: u32,
    /// CSeq of that response.
    pub cseq: CSeq<'a>,
}

impl<'a> RAck<'a> {
    /// Parses a RAck value.
    ///
    /// # Errors
    /// [`ValueFault::Number`] for a response number of 0 or over 2^32 − 1 and for a CSeq number over [`limit::CSEQ`];
    /// what the grammar does not allow.
    pub fn parse(text: &'a [u8]) -> Result<RAck<'a>, ValueError> {
        let digits = class::span(text, class::DIGIT);
        let at = class::skip_lws(text, digits);
        if digits == 0 || at == digits {
            return Err(ValueError::new(ValueFault::Unexpected, digits));
        }
        let response = rseq(&text[..digits])?;
        let cseq = CSeq::parse(text.get(at..).unwrap_or_default())
            .map_err(|e| ValueError::new(e.fault, e.at + at))?;
        Ok(RAck { response, cseq })
    }

    /// Does this acknowledge the response with that RSeq to that request?
    #[must_use]
    pub fn acknowledges(&self, rseq: u32, cseq: u32, method: Method<'_>) -> bool {
        self.response == rseq && self.cseq.number == cseq && self.cseq.method == method
    }
}

/// `RSeq = 1*DIGIT`, 1 to 2^32 − 1 (RFC 3262 section 7.1).
pub(crate) fn rseq(text: &[u8]) -> Result<u32, ValueError> {
    class::decimal(text).filter(|&n| n != 0).ok_or(ValueError::new(ValueFault::Number, 0))
}

/// `Event = event-type *( SEMI event-param )` (RFC 6665 section 8.4). The package is any token: its dots are not looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event<'a> {
    /// Package and template-packages, as in `presence.winfo`; case counts (section 8.2.1).
    pub package: &'a [u8],
    /// The id parameter; the first, if there are several.
    pub id: Option<&'a [u8]>,
    /// All parameters.
    pub params: Params<'a>,
}

impl<'a> Event<'a> {
    /// Parses an Event value.
    ///
    /// # Errors
    /// What the grammar does not allow; more than [`limit::PARAMETERS`].
    pub fn parse(text: &'a [u8]) -> Result<Event<'a>, ValueError> {
        let (package, params) = token_with_params(text)?;
        Ok(Event { package, id: params.value(b"id"), params })
    }
}

/// `substate-value = "active" / "pending" / "terminated" / extension-substate`, in any case (RFC 6665 section 8.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)] // the names are the states
pub enum State<'a> {
    Active,
    Pending,
    Terminated,
    /// A token that is none of the above.
    Other(&'a [u8]),
}

/// `Subscription-State = substate-value *( SEMI subexp-params )` (RFC 6665 section 8.4). Of a parameter that is there
/// several times, the first counts. Seconds over 2^32 − 1 are 2^32 − 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SubscriptionState<'a> {
    /// The state.
    pub state: State<'a>,
    /// `expires` in seconds.
    pub expires: Option<u32>,
    /// `reason`, without quotes if it has any.
    pub reason: Option<&'a [u8]>,
    /// `retry-after` in seconds.
    pub retry_after: Option<u32>,
    /// All parameters.
    pub params: Params<'a>,
}

impl<'a> SubscriptionState<'a> {
    /// Parses a Subscription-State value.
    ///
    /// # Errors
    /// [`ValueFault::Number`] for an expires or retry-after that is no number; what the grammar does not allow; more than
    /// [`limit::PARAMETERS`].
    pub fn parse(text: &'a [u8]) -> Result<SubscriptionState<'a>, ValueError> {
        let (state, params) = token_with_params(text)?;
        let state = if state.eq_ignore_ascii_case(b"active") {
            State::Active
        } else if state.eq_ignore_ascii_case(b"pending") {
            State::Pending
        } else if state.eq_ignore_ascii_case(b"terminated") {
            State::Terminated
        } else {
            State::Other(state)
        };
        let seconds = |name| match params.value(name) {
            None => Ok(None),
            Some(text) => delta_seconds(text).map(Some).ok_or(ValueError::new(ValueFault::Number, 0)),
        };
        Ok(SubscriptionState {
            state,
            expires: seconds(b"expires")?,
            reason: params.value(b"reason"),
            retry_after: seconds(b"retry-after")?,
            params,
        })
    }
}

/// Parameters from `at` to the end of the text.
pub(crate) fn trailing(text: &[u8], at: usize) -> Result<Params<'_>, ValueError> {
    let text = Text::alone(text);
    let (params, end) = param::take(text, at)?;
    if !text.is_over(end) {
        return Err(ValueError::new(ValueFault::Unexpected, end));
    }
    Ok(params)
}

/// `token *( SEMI generic-param )`.
pub(crate) fn token_with_params(text: &[u8]) -> Result<(&[u8], Params<'_>), ValueError> {
    let len = class::span(text, class::TOKEN);
    if len == 0 {
        let fault = if text.is_empty() { ValueFault::Ended } else { ValueFault::Unexpected };
        return Err(ValueError::new(fault, 0));
    }
    Ok((&text[..len], trailing(text, len)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_need_both_tags() {
        let r = DialogReference::parse(b"98732@sip.example.com;from-tag=r33th4x0r; to-tag=ff87ff;early-only")
            .unwrap();
        assert_eq!(
            (r.call_id, r.to_tag, r.from_tag),
            (&b"98732@sip.example.com"[..], &b"ff87ff"[..], &b"r33th4x0r"[..])
        );
        assert!(r.early_only);
        let fault = |t: &[u8]| DialogReference::parse(t).unwrap_err().fault;
        assert_eq!(fault(b"a;to-tag=1"), ValueFault::Missing);
        assert_eq!(fault(b"a;to-tag=1;from-tag"), ValueFault::Missing);
        assert_eq!(fault(b"a;to-tag=1;from-tag=2;to-tag=3"), ValueFault::DuplicateParameter);
        assert_eq!(fault(b";to-tag=1"), ValueFault::Ended);
        assert_eq!(fault(b"a b;to-tag=1"), ValueFault::Unexpected);
        assert!(DialogReference::parse_target(b"a;local-tag=1;remote-tag=2").is_ok());
        let of_length = |len: usize| format!("{};to-tag=1;from-tag=2", "a".repeat(len));
        assert!(DialogReference::parse(of_length(limit::IDENTIFIER).as_bytes()).is_ok());
        assert_eq!(fault(of_length(limit::IDENTIFIER + 1).as_bytes()), ValueFault::TooLong);
    }

    #[test]
    fn rack() {
        let r = RAck::parse(b"776656 1 INVITE").unwrap();
        assert!(r.acknowledges(776656, 1, Method::Invite) && !r.acknowledges(776656, 1, Method::Update));
        for bad in [
            &b"0 1 INVITE"[..],
            b"4294967296 1 INVITE",
            b"1 2147483648 INVITE",
            b"1 INVITE",
            b"1",
            b"",
            b"1 1",
        ] {
            assert!(RAck::parse(bad).is_err());
        }
    }

    #[test]
    fn events_and_states() {
        let e = Event::parse(b"presence.winfo;id=4").unwrap();
        assert_eq!((e.package, e.id), (&b"presence.winfo"[..], Some(&b"4"[..])));
        let s = SubscriptionState::parse(b"Terminated ; reason=timeout;retry-after=5;expires=99999999999")
            .unwrap();
        assert_eq!((s.state, s.reason, s.retry_after), (State::Terminated, Some(&b"timeout"[..]), Some(5)));
        assert_eq!(s.expires, Some(u32::MAX));
        assert!(SubscriptionState::parse(b"active;expires=soon").is_err());
        assert!(SubscriptionState::parse(b"").is_err() && Event::parse(b";x").is_err());
    }
}
