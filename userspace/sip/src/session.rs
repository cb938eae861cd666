//! Timers and reasons: Session-Expires and Min-SE (RFC 4028), Retry-After and Warning (RFC 3261 sections 20.33 and
//! 20.43), Reason (RFC 3326), Privacy (RFC 3323).

use crate::address::delta_seconds;
use crate::class;
use crate::dialog::trailing;
use crate::error::{ValueError, ValueFault};
use crate::list::Value;
use crate::param::{self, Params, quoted_end, strip_quotes};
use crate::scan;
use crate::text::Text;

/// `refresher-param = "refresher" EQUAL ( "uas" / "uac" )`: who refreshes a session (RFC 4028 section 4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)] // the names are the roles
pub enum Refresher {
    Uac,
    Uas,
}

/// `Session-Expires = delta-seconds *( SEMI se-params )` (RFC 4028 section 4). Seconds over 2^32 − 1 are 2^32 − 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionExpires<'a> {
    /// The interval in seconds. Below 90 it answers 422 (section 5); that is for the caller to say.
    pub seconds: u32,
    /// `refresher`.
    pub refresher: Option<Refresher>,
    /// All parameters.
    pub params: Params<'a>,
}

impl<'a> SessionExpires<'a> {
    /// Parses a Session-Expires value.
    ///
    /// # Errors
    /// [`ValueFault::Number`] without digits at the front; [`ValueFault::Unexpected`] for a refresher that is neither uac nor
    /// uas; more than [`limit::PARAMETERS`](crate::limit::PARAMETERS); what the grammar does not allow.
    pub fn parse(text: &'a [u8]) -> Result<SessionExpires<'a>, ValueError> {
        let (seconds, params) = seconds_with_params(text)?;
        let refresher = match params.value(b"refresher") {
            None => None,
            Some(v) if v.eq_ignore_ascii_case(b"uac") => Some(Refresher::Uac),
            Some(v) if v.eq_ignore_ascii_case(b"uas") => Some(Refresher::Uas),
            Some(_) => return Err(ValueError::new(ValueFault::Unexpected, 0)),
        };
        Ok(SessionExpires { seconds, refresher, params })
    }
}

/// `delta-seconds *( SEMI generic-param )`: Min-SE too.
pub(crate) fn seconds_with_params(text: &[u8]) -> Result<(u32, Params<'_>), ValueError> {
    let digits = class::span(text, class::DIGIT);
    let seconds = delta_seconds(&text[..digits]).ok_or(ValueError::new(ValueFault::Number, 0))?;
    Ok((seconds, trailing(text, digits)?))
}

/// `Retry-After = delta-seconds [ comment ] *( SEMI retry-param )` (RFC 3261 section 20.33). Seconds over 2^32 − 1 are
/// 2^32 − 1. The comment is any bytes up to its last parenthesis; comments in it may nest to any depth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetryAfter<'a> {
    /// Seconds from now.
    pub seconds: u32,
    /// The comment without its outer parentheses.
    pub comment: Option<&'a [u8]>,
    /// `duration`: how long the callee can then be reached, in seconds.
    pub duration: Option<u32>,
    /// All parameters.
    pub params: Params<'a>,
}

impl<'a> RetryAfter<'a> {
    /// Parses a Retry-After value.
    ///
    /// # Errors
    /// [`ValueFault::Number`] without digits at the front, or for a duration that is no number;
    /// [`ValueFault::Unterminated`] for a comment without end; more than [`limit::PARAMETERS`](crate::limit::PARAMETERS); what
    /// the grammar does not allow.
    pub fn parse(text: &'a [u8]) -> Result<RetryAfter<'a>, ValueError> {
        let digits = class::span(text, class::DIGIT);
        let seconds = delta_seconds(&text[..digits]).ok_or(ValueError::new(ValueFault::Number, 0))?;
        let open = class::skip_lws(text, digits);
        let (comment, at) = if text.get(open) == Some(&b'(') {
            let end = comment_end(text, open)?;
            (text.get(open + 1..end - 1), end)
        } else {
            (None, digits)
        };
        let params = trailing(text, at)?;
        let duration = match params.value(b"duration") {
            None => None,
            Some(v) => Some(delta_seconds(v).ok_or(ValueError::new(ValueFault::Number, at))?),
        };
        Ok(RetryAfter { seconds, comment, duration, params })
    }
}

/// End of the comment that opens at `at`, after its `)`. Comments nest; the depth needs no stack, only a count.
fn comment_end(text: &[u8], at: usize) -> Result<usize, ValueError> {
    let mut depth = 0usize;
    let mut escaped = false;
    for (i, &b) in text.iter().enumerate().skip(at) {
        match b {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'(' => depth += 1,
            b')' => {
                depth -= 1;
                if depth == 0 {
                    return Ok(i + 1);
                }
            }
            _ => {}
        }
    }
    Err(ValueError::new(ValueFault::Unterminated, at))
}

/// `reason-value = protocol *( SEMI reason-params )`: one value of Reason (RFC 3326 section 2). Of a parameter that is
/// there several times, the first counts.
///
/// Errors: [`ValueFault::Number`] for a cause that is no number up to 2^32 − 1; what the grammar does not allow. Not
/// checked: that the cause is one of the protocol, that each protocol is there once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reason<'a> {
    /// `SIP`, `Q.850`, or another token; compare without regard to case.
    pub protocol: &'a [u8],
    /// `cause`.
    pub cause: Option<u32>,
    /// `text` without its quotes, escapes as they stand.
    pub text: Option<&'a [u8]>,
    /// All parameters.
    pub params: Params<'a>,
}

impl<'a> Value<'a> for Reason<'a> {
    fn take(text: Text<'a>, at: usize) -> Result<(Reason<'a>, usize), ValueError> {
        let from = text.skip_lws(at);
        let to = scan::token_end(text, from);
        if to == from {
            return Err(ValueError::new(ValueFault::Unexpected, from));
        }
        let (params, end) = param::take(text, to)?;
        let cause = match params.value(b"cause") {
            None => None,
            Some(v) => Some(class::decimal(v).ok_or(ValueError::new(ValueFault::Number, from))?),
        };
        let reason = Reason { protocol: text.slice(from, to), cause, text: params.value(b"text"), params };
        Ok((reason, end))
    }
}

/// `warning-value = warn-code SP warn-agent SP warn-text`: one value of Warning (RFC 3261 section 20.43). Any white space
/// is taken for SP, and none will do before the text.
///
/// Errors: [`ValueFault::Unexpected`] where the three are not in this order; [`ValueFault::Unterminated`]. Not checked: that
/// the agent is a host, with port, or a token, and the range of the code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Warning<'a> {
    /// Three digits.
    pub code: u16,
    /// Host and port, or a pseudonym.
    pub agent: &'a [u8],
    /// The text without its quotes, escapes as they stand.
    pub text: &'a [u8],
}

impl<'a> Value<'a> for Warning<'a> {
    fn take(text: Text<'a>, at: usize) -> Result<(Warning<'a>, usize), ValueError> {
        let from = text.skip_lws(at);
        let (code, code_end) = scan::number(text, from).unwrap_or((0, from));
        let agent = text.skip_lws(code_end);
        let agent_end = scan::value_end(text, agent);
        let quote = text.skip_lws(agent_end);
        if code_end != from + 3 || agent == code_end || agent_end == agent || text.byte(quote) != b'"' {
            return Err(ValueError::new(ValueFault::Unexpected, from));
        }
        let end = quoted_end(text, quote)?;
        let words = strip_quotes(text.slice(quote, end));
        Ok((Warning { code: code as u16, agent: text.slice(agent, agent_end), text: words }, end))
    }
}

/// `Privacy-hdr = priv-value *( ";" priv-value )` (RFC 3323 section 4.2), where `,` passes for `;`. Not checked: that the
/// values are known, and that `none` is alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Privacy<'a> {
    raw: &'a [u8],
}

impl<'a> Privacy<'a> {
    /// Parses a Privacy value.
    ///
    /// # Errors
    /// [`ValueFault::Unexpected`] for a value that is not a token; an empty one is none.
    pub fn parse(text: &'a [u8]) -> Result<Privacy<'a>, ValueError> {
        let privacy = Privacy { raw: text };
        match privacy.values().all(class::is_token) {
            true => Ok(privacy),
            false => Err(ValueError::new(ValueFault::Unexpected, 0)),
        }
    }

    /// The values: `id`, `header`, `session`, `user`, `none`, `critical`, `history`, ….
    pub fn values(&self) -> impl Iterator<Item = &'a [u8]> + Clone + use<'a> {
        // A comma is not in the grammar; some phones write it, and nothing else can be meant.
        self.raw.split(|&b| b == b';' || b == b',').map(class::trim)
    }

    /// Is that value there, in any case?
    #[must_use]
    pub fn contains(&self, value: &[u8]) -> bool {
        self.values().any(|v| v.eq_ignore_ascii_case(value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::list::single;

    #[test]
    fn session_expires() {
        let s = SessionExpires::parse(b"4000;refresher=UAC;x").unwrap();
        assert_eq!((s.seconds, s.refresher), (4000, Some(Refresher::Uac)));
        assert!(SessionExpires::parse(b"4000;refresher=me").is_err());
        assert!(SessionExpires::parse(b"").is_err() && SessionExpires::parse(b"soon").is_err());
        assert_eq!(seconds_with_params(b"90").map(|s| s.0), Ok(90));
    }

    #[test]
    fn retry_after() {
        let r = RetryAfter::parse(b"18000 (I'm (really\\)) out);duration=3600").unwrap();
        assert_eq!(
            (r.seconds, r.comment, r.duration),
            (18000, Some(&b"I'm (really\\)) out"[..]), Some(3600))
        );
        assert_eq!(RetryAfter::parse(b"120").map(|r| r.seconds), Ok(120));
        for bad in [&b"(x)"[..], b"1 (x", b"1 x", b"1;duration=x", b"1 (\\)", b""] {
            assert!(RetryAfter::parse(bad).is_err(), "{:?}", bad.escape_ascii().to_string());
        }
    }

    #[test]
    fn reasons_and_warnings() {
        let r: Reason<'_> = single(Text::alone(b"Q.850 ;cause=16 ;text=\"Terminated, yes\""), 0).unwrap();
        assert_eq!((r.protocol, r.cause, r.text), (&b"Q.850"[..], Some(16), Some(&b"Terminated, yes"[..])));
        assert!(single::<Reason<'_>>(Text::alone(b"SIP;cause=x"), 0).is_err());
        let w: Warning<'_> = single(Text::alone(b"307 isi.edu:5060 \"Session, parameter\""), 0).unwrap();
        assert_eq!((w.code, w.agent, w.text), (307, &b"isi.edu:5060"[..], &b"Session, parameter"[..]));
        for bad in [&b"30 a \"x\""[..], b"307 \"x\"", b"307 a x", b"307 a \"x", b""] {
            assert!(single::<Warning<'_>>(Text::alone(bad), 0).is_err());
        }
    }

    #[test]
    fn privacy() {
        let p = Privacy::parse(b"id; Header;critical").unwrap();
        assert!(p.contains(b"ID") && p.contains(b"header") && !p.contains(b"none"));
        assert_eq!(p.values().count(), 3);
        assert!(Privacy::parse(b"").is_err() && Privacy::parse(b"id;;user").is_err());
    }
}
