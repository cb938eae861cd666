//! What is dialled, as rules see it and as rules change it.
//!
//! The user part of a URI is compared by what it means: escapes are resolved (RFC 3261 section 19.1.4), and the
//! visual separators of a telephone number count for nothing (RFC 3966 section 3). Otherwise `0-0900`, which a
//! gateway dials as `00900`, would pass a rule that bars `00`.

use core::fmt;
use core::ops::Range;

use strowger_sip::{Uri, escape_user, limit, unescape_into};

use crate::config::limit::USER;
use crate::text::Text;

/// Text of a Request-URI that rules have changed.
pub(crate) type UriText = Text<{ limit::REQUEST_URI }>;

/// A user part, unescaped, a telephone number without its visual separators.
pub(crate) struct Dialled {
    text: [u8; USER],
    len: usize,
}

impl Dialled {
    /// What `user` means; `None` when it has more octets than any user of ours may have.
    pub(crate) fn read(user: &[u8]) -> Option<Self> {
        let mut text = [0; USER];
        let mut len = unescape_into(user, &mut text).ok()?.len();
        // A number ends where its parameters begin.
        let number = text.iter().take(len).position(|b| *b == b';').unwrap_or(len);
        if is_number(text.get(..number)?) {
            let mut kept = 0;
            for at in 0..len {
                let octet = *text.get(at)?;
                if at >= number || !is_separator(octet) {
                    *text.get_mut(kept)? = octet;
                    kept += 1;
                }
            }
            len = kept;
        }
        Some(Self { text, len })
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        self.text.get(..self.len).unwrap_or_default()
    }

    /// The beginning of a user as a rule writes it, without escapes; `None` for a number with separators, which no
    /// user would ever begin with.
    pub(crate) fn literal(text: &str) -> Option<Box<[u8]>> {
        let text = text.as_bytes();
        let separated = is_number(text) && text.iter().any(|b| is_separator(*b));
        (!separated).then(|| text.into())
    }
}

/// `-`, `.`, `(` and `)`.
fn is_separator(octet: u8) -> bool {
    matches!(octet, b'-' | b'.' | b'(' | b')')
}

/// Digits, `*`, `#`, a `+` in front, and separators; at least one digit.
fn is_number(text: &[u8]) -> bool {
    let rest = text.strip_prefix(b"+").unwrap_or(text);
    rest.iter().any(u8::is_ascii_digit)
        && rest.iter().all(|b| b.is_ascii_digit() || is_separator(*b) || matches!(b, b'*' | b'#'))
}

/// Changes to the called user and host.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Rewrite {
    pub(crate) strip: usize,
    pub(crate) prepend: Box<[u8]>,
    pub(crate) user: Option<Box<[u8]>>,
    /// Host and port.
    pub(crate) host: Option<Box<[u8]>>,
}

/// Why a URI cannot be rewritten.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RewriteError {
    /// Fewer octets than are to be stripped, or none left: 484 (RFC 3261 section 21.4.22).
    Short,
    /// No room for the text: 414.
    Long,
}

impl From<fmt::Error> for RewriteError {
    fn from(_: fmt::Error) -> Self {
        Self::Long
    }
}

impl Rewrite {
    /// Whether there is nothing to do.
    pub(crate) fn is_nothing(&self) -> bool {
        *self == Self::default()
    }

    fn changes_user(&self) -> bool {
        self.strip > 0 || !self.prepend.is_empty() || self.user.is_some()
    }

    /// Writes the changed URI. What no rule speaks of stays as it is written: scheme, password, port, parameters.
    /// `dialled` is what the URI's user means.
    pub(crate) fn write(
        &self,
        uri: &Uri<'_>,
        dialled: &Dialled,
        out: &mut UriText,
    ) -> Result<(), RewriteError> {
        out.clear();
        let text = uri.as_bytes();
        let authority = authority(uri);
        let user_from = text.iter().position(|b| *b == b':').map_or(0, |colon| colon + 1);
        out.push(text.get(..user_from).unwrap_or_default())?;
        if self.changes_user() {
            let base = self.user.as_deref().unwrap_or(dialled.as_bytes());
            let rest = base.get(self.strip..).ok_or(RewriteError::Short)?;
            if rest.is_empty() && self.prepend.is_empty() {
                return Err(RewriteError::Short);
            }
            // The user of a URI may not be longer than we take from anybody else.
            if self.prepend.len() + rest.len() > USER {
                return Err(RewriteError::Long);
            }
            let mut escaped = [0; 3 * USER];
            for part in [&*self.prepend, rest] {
                out.push(escape_user(part, &mut escaped).map_err(|_| RewriteError::Long)?)?;
            }
            if let Some(password) = uri.password() {
                out.push(b":")?;
                out.push(password)?;
            }
            out.push(b"@")?;
        } else {
            out.push(text.get(user_from..authority.start).unwrap_or_default())?;
        }
        match &self.host {
            Some(host) => out.push(host)?,
            None => out.push(text.get(authority.clone()).unwrap_or_default())?,
        }
        out.push(text.get(authority.end..).unwrap_or_default())?;
        Ok(())
    }
}

/// Where host and port stand in the URI's text.
pub(crate) fn authority(uri: &Uri<'_>) -> Range<usize> {
    let text = uri.as_bytes();
    // Everything before an unescaped `@` is user and password; neither host nor parameters can have one.
    let from = text
        .iter()
        .position(|b| *b == b'@')
        .or_else(|| text.iter().position(|b| *b == b':'))
        .map_or(0, |at| at + 1);
    let host_end = (from + uri.host_bytes().len()).min(text.len());
    let rest = text.get(host_end..).unwrap_or_default();
    let port = rest.iter().position(|b| matches!(b, b';' | b'?')).unwrap_or(rest.len());
    from..host_end + port
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn dialled(user: &str) -> Option<Vec<u8>> {
        Dialled::read(user.as_bytes()).map(|d| d.as_bytes().to_vec())
    }

    #[test]
    fn escapes_and_separators_mean_nothing() {
        for (user, expected) in [
            ("00900", "00900"),
            ("0-0.9(0)0", "00900"),
            ("%30%30%39", "009"),
            ("%30-%30", "00"),
            ("+1-212-555;phone-context=a-b.c", "+1212555;phone-context=a-b.c"),
            ("alice.b-c", "alice.b-c"),
            ("*72-1#", "*721#"),
            ("--", "--"),
            ("", ""),
        ] {
            assert_eq!(dialled(user).as_deref(), Some(expected.as_bytes()), "{user}");
        }
        assert_eq!(dialled(&"1".repeat(256)), None);
    }

    fn rewritten(
        uri: &str,
        strip: usize,
        prepend: &str,
        user: Option<&str>,
        host: Option<&str>,
    ) -> Result<String, RewriteError> {
        let uri = Uri::parse(uri.as_bytes()).expect("URI");
        let boxed = |text: &str| text.as_bytes().to_vec().into_boxed_slice();
        let rewrite =
            Rewrite { strip, prepend: boxed(prepend), user: user.map(boxed), host: host.map(boxed) };
        let mut out = UriText::new();
        let dialled = Dialled::read(uri.user().unwrap_or_default()).expect("short");
        rewrite.write(&uri, &dialled, &mut out)?;
        Ok(String::from_utf8(out.as_bytes().to_vec()).expect("ASCII"))
    }

    #[test]
    fn the_rest_of_the_uri_stays() {
        for (uri, strip, prepend, user, host, expected) in [
            ("sip:0049@h", 2, "+", None, None, "sip:+49@h"),
            (
                "SIP:0049:p%41ss@h:5070;user=phone?a=b",
                2,
                "",
                None,
                None,
                "SIP:49:p%41ss@h:5070;user=phone?a=b",
            ),
            ("sip:0-0 1@h".replace(' ', "%20").as_str(), 1, "", None, None, "sip:-0%201@h"),
            ("sip:0-0-1@h", 1, "", None, None, "sip:01@h"),
            ("sip:a@[2001:db8::1]:5060;lr", 0, "", None, Some("g.example:5080"), "sip:a@g.example:5080;lr"),
            ("sip:a@h", 0, "", Some("b c@d"), None, "sip:b%20c%40d@h"),
            ("sip:a%40x@h", 0, "9", None, None, "sip:9a%40x@h"),
            ("sip:h:5060", 0, "", Some("op"), None, "sip:op@h:5060"),
            ("sip:h;x=1", 0, "", None, Some("192.0.2.1"), "sip:192.0.2.1;x=1"),
            ("sip:a%61@h", 0, "", None, Some("i"), "sip:a%61@i"),
        ] {
            assert_eq!(rewritten(uri, strip, prepend, user, host).as_deref(), Ok(expected), "{uri}");
        }
    }

    #[test]
    fn what_cannot_be_stripped_is_short() {
        assert_eq!(rewritten("sip:00@h", 3, "", None, None), Err(RewriteError::Short));
        assert_eq!(rewritten("sip:00@h", 2, "", None, None), Err(RewriteError::Short));
        assert_eq!(rewritten("sip:h", 1, "", None, None), Err(RewriteError::Short));
        assert_eq!(rewritten("sip:00@h", 2, "1", None, None).as_deref(), Ok("sip:1@h"));
        let long = format!("sip:{}@h", "1".repeat(255));
        assert_eq!(rewritten(&long, 0, "9", None, None), Err(RewriteError::Long));
    }

    proptest! {
        /// Whatever is in the user, the new URI parses, has the user that was asked for and the same rest.
        #[test]
        fn a_rewritten_uri_is_a_uri(
            user in prop::collection::vec(any::<u8>(), 1..60),
            prepend in prop::collection::vec(any::<u8>(), 0..8),
            strip in 0usize..8,
        ) {
            let mut escaped = [0; 180];
            let text = [b"sip:", escape_user(&user, &mut escaped).unwrap(), b"@h.example:5070;a=b"].concat();
            let uri = Uri::parse(&text).unwrap();
            let before = Dialled::read(uri.user().unwrap()).unwrap();
            let rewrite = Rewrite { strip, prepend: prepend.clone().into_boxed_slice(), ..Rewrite::default() };
            let mut out = UriText::new();
            let expected = before.as_bytes().get(strip..).map(|rest| [&prepend, rest].concat());
            match rewrite.write(&uri, &before, &mut out) {
                Err(error) => {
                    prop_assert_eq!(error, RewriteError::Short);
                    prop_assert!(expected.is_none_or(|e| e.is_empty()));
                }
                Ok(()) => {
                    let after = Uri::parse(out.as_bytes()).unwrap();
                    let mut user = [0; 400];
                    if rewrite.changes_user() {
                        prop_assert_eq!(unescape_into(after.user().unwrap(), &mut user).unwrap(), &expected.unwrap()[..]);
                    }
                    prop_assert!(out.as_bytes().ends_with(b"@h.example:5070;a=b"));
                }
            }
        }
    }
}
