//! Via: RFC 3261 sections 18.2 and 20.42, `rport` of RFC 3581.

use core::net::IpAddr;
use core::ops::Range;

use crate::class;
use crate::error::{ValueError, ValueFault};
use crate::host::{self, Host};
use crate::limit;
use crate::list::Value;
use crate::param::{self, Params, Span};

/// The transport of a Via, a URI, or a configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)] // the names are the transports
pub enum Transport<'a> {
    Udp,
    Tcp,
    Tls,
    Sctp,
    TlsSctp,
    Ws,
    Wss,
    /// A token that is none of the above.
    Other(&'a [u8]),
}

impl<'a> Transport<'a> {
    /// The transport that `text` spells, in any case.
    #[inline]
    #[must_use]
    pub fn from_bytes(text: &'a [u8]) -> Transport<'a> {
        if text.eq_ignore_ascii_case(b"UDP") {
            return Transport::Udp;
        }
        for (name, transport) in [
            (&b"TCP"[..], Transport::Tcp),
            (b"TLS", Transport::Tls),
            (b"SCTP", Transport::Sctp),
            (b"TLS-SCTP", Transport::TlsSctp),
            (b"WS", Transport::Ws),
            (b"WSS", Transport::Wss),
        ] {
            if text.eq_ignore_ascii_case(name) {
                return transport;
            }
        }
        Transport::Other(text)
    }
}

/// `via-parm = sent-protocol LWS sent-by *( SEMI via-params )`, all of it checked: there is no half-parsed Via.
#[derive(Clone, Copy, Debug)]
pub struct Via<'a> {
    /// The transport of the sent-protocol; the protocol itself is SIP/2.0.
    pub transport: Transport<'a>,
    /// Host of the sent-by.
    pub host: Host<'a>,
    /// Port of the sent-by; without it, the transport's default.
    pub port: Option<u16>,
    /// All parameters.
    pub params: Params<'a>,
    text: &'a [u8],
    offset: usize,
    branch: Option<Span>,
    received: Option<(Span, IpAddr)>,
    rport: Option<(Span, Option<u16>)>,
}

impl<'a> Via<'a> {
    /// Parses one Via value that stands alone.
    ///
    /// # Errors
    /// What the grammar does not allow; a protocol other than SIP/2.0; a parameter of ours that is there twice;
    /// a branch over [`limit::IDENTIFIER`].
    pub fn parse(text: &'a [u8]) -> Result<Via<'a>, ValueError> {
        crate::list::single(text)
    }

    /// The value as it stands, without the comma after it.
    #[must_use]
    pub fn as_bytes(&self) -> &'a [u8] {
        self.text
    }

    /// Where the value lies in the message (or in the text, when it was parsed on its own).
    #[must_use]
    pub fn range(&self) -> Range<usize> {
        self.offset..self.offset + self.text.len()
    }

    /// The branch parameter.
    #[must_use]
    pub fn branch(&self) -> Option<&'a [u8]> {
        self.branch.and_then(|(from, to)| self.text.get(from..to))
    }

    /// Was the branch made as RFC 3261 section 8.1.1.7 says (the cookie, and something after it)?
    #[must_use]
    pub fn has_magic_cookie(&self) -> bool {
        self.branch().is_some_and(|b| {
            b.len() > 7 && b.first_chunk::<7>().is_some_and(|c| c.eq_ignore_ascii_case(b"z9hG4bK"))
        })
    }

    /// The received parameter, brackets tolerated (RFC 5118 section 4.5).
    #[must_use]
    pub fn received(&self) -> Option<IpAddr> {
        self.received.map(|(_, address)| address)
    }

    /// The rport parameter: `Some(None)` when it is there without a value, as a request asks for it.
    #[must_use]
    pub fn rport(&self) -> Option<Option<u16>> {
        self.rport.map(|(_, port)| port)
    }

    /// The maddr parameter as it stands. Nothing of ours ever sends there.
    #[must_use]
    pub fn maddr(&self) -> Option<&'a [u8]> {
        self.params.value(b"maddr")
    }

    /// Where the value of `received` lies in the message.
    pub(crate) fn received_range(&self) -> Option<Range<usize>> {
        self.received.map(|((from, to), _)| self.offset + from..self.offset + to)
    }

    /// Where `rport`, with `=` and value if it has one, lies in the message.
    pub(crate) fn rport_range(&self) -> Option<Range<usize>> {
        self.rport.map(|((from, to), _)| self.offset + from..self.offset + to)
    }
}

impl<'a> Value<'a> for Via<'a> {
    #[inline]
    fn take(text: &'a [u8], at: usize) -> Result<(Via<'a>, usize), ValueError> {
        let start = class::skip_lws(text, at);
        let transport_at = match text.get(start..).and_then(<[u8]>::first_chunk::<8>) {
            Some(head) if head.eq_ignore_ascii_case(b"SIP/2.0/") => class::skip_lws(text, start + 8),
            _ => protocol(text, start)?,
        };
        let transport_end =
            transport_at + class::span(text.get(transport_at..).unwrap_or_default(), class::TOKEN);
        let host_at = class::skip_lws(text, transport_end);
        if transport_end == transport_at || host_at == transport_end {
            return Err(ValueError::new(ValueFault::Unexpected, transport_end));
        }
        let (host, host_end) = host::take(text, host_at)?;
        let colon = class::skip_lws(text, host_end);
        let (port, end) = match text.get(colon) {
            Some(b':') => {
                let (port, end) = host::port(text, class::skip_lws(text, colon + 1))?;
                (Some(port), end)
            }
            _ => (None, host_end),
        };
        let (mut branch, mut received, mut rport) = (None, None, None);
        let (params, end) = param::take(text, end, |name, value| {
            let name_text = text.get(name.0..name.1).unwrap_or_default();
            // Offsets from here on are from the start of this value.
            let span = |(from, to): Span| (from - start, to - start);
            let twice = match name_text.len() {
                6 if name_text.eq_ignore_ascii_case(b"branch") => {
                    let value = value.ok_or(ValueError::new(ValueFault::Ended, name.1))?;
                    if value.1 - value.0 > limit::IDENTIFIER {
                        return Err(ValueError::new(ValueFault::TooLong, value.0));
                    }
                    branch.replace(span(value)).is_some()
                }
                8 if name_text.eq_ignore_ascii_case(b"received") => {
                    let value = value.ok_or(ValueError::new(ValueFault::Ended, name.1))?;
                    let address = host::address(text.get(value.0..value.1).unwrap_or_default())
                        .ok_or(ValueError::new(ValueFault::Host, value.0))?;
                    received.replace((span(value), address)).is_some()
                }
                5 if name_text.eq_ignore_ascii_case(b"rport") => {
                    let (end, port) = match value {
                        None => (name.1, None),
                        Some((from, to)) => {
                            let (port, end) = host::port(text, from)?;
                            if end != to {
                                return Err(ValueError::new(ValueFault::Port, from));
                            }
                            (to, Some(port))
                        }
                    };
                    rport.replace((span((name.0, end)), port)).is_some()
                }
                _ => false,
            };
            if twice { Err(ValueError::new(ValueFault::DuplicateParameter, name.0)) } else { Ok(()) }
        })?;
        let transport = Transport::from_bytes(text.get(transport_at..transport_end).unwrap_or_default());
        let value = text.get(start..end).unwrap_or_default();
        Ok((Via { transport, host, port, params, text: value, offset: start, branch, received, rport }, end))
    }

    fn relocate(&mut self, by: usize) {
        self.offset += by;
    }
}

/// `SIP / 2.0 /` with white space around the slashes: where the transport begins.
#[cold]
fn protocol(text: &[u8], at: usize) -> Result<usize, ValueError> {
    let mut at = at;
    for expected in [&b"SIP"[..], b"2.0"] {
        let end = at + class::span(text.get(at..).unwrap_or_default(), class::TOKEN);
        let slash = class::skip_lws(text, end);
        match text.get(slash) {
            Some(b'/') if end > at => {}
            Some(_) => return Err(ValueError::new(ValueFault::Unexpected, slash)),
            None => return Err(ValueError::new(ValueFault::Ended, slash)),
        }
        if !text.get(at..end).unwrap_or_default().eq_ignore_ascii_case(expected) {
            return Err(ValueError::new(ValueFault::Protocol, at));
        }
        at = class::skip_lws(text, slash + 1);
    }
    Ok(at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_via() {
        let text = b"SIP/2.0/UDP [2001:db8::9]:5070;received=192.0.2.7;branch=z9hG4bKa/b=;rport;x=\"a,b\"";
        let via = Via::parse(text).unwrap();
        assert_eq!(via.transport, Transport::Udp);
        assert_eq!(via.host, Host::V6("2001:db8::9".parse().unwrap()));
        assert_eq!(via.port, Some(5070));
        assert_eq!(via.branch(), Some(&b"z9hG4bKa/b="[..]));
        assert!(via.has_magic_cookie());
        assert_eq!(via.received(), Some([192, 0, 2, 7].into()));
        assert_eq!(via.rport(), Some(None));
        assert_eq!(&text[via.received_range().unwrap()], b"192.0.2.7");
        assert_eq!(&text[via.rport_range().unwrap()], b"rport");
        assert_eq!(via.range(), 0..text.len());
        let spaced =
            Via::parse(b"SIP  / 2.0\r\n / TCP  a.example : 5060 ; rport = 4 ; branch = 390skdjuw").unwrap();
        assert_eq!(
            (spaced.transport, spaced.port, spaced.rport(), spaced.branch(), spaced.has_magic_cookie()),
            (Transport::Tcp, Some(5060), Some(Some(4)), Some(&b"390skdjuw"[..]), false)
        );
    }

    #[test]
    fn half_vias_are_errors() {
        for (text, fault) in [
            (&b""[..], ValueFault::Ended),
            (b"SIP", ValueFault::Ended),
            (b"SIP/2.0/UDP", ValueFault::Unexpected),
            (b"SIP/2.0/UDP ", ValueFault::Host),
            (b"SIP/2.0/ a", ValueFault::Unexpected),
            (b"SIP/3.0/UDP a", ValueFault::Protocol),
            (b"HTTP/2.0/UDP a", ValueFault::Protocol),
            (b"SIP/2.0/UDP a:", ValueFault::Port),
            (b"SIP/2.0/UDP a:0", ValueFault::Port),
            (b"SIP/2.0/UDP a:65536", ValueFault::Port),
            (b"SIP/2.0/UDP a;branch", ValueFault::Ended),
            (b"SIP/2.0/UDP a;branch=", ValueFault::Ended),
            (b"SIP/2.0/UDP a;branch=x;BRANCH=y", ValueFault::DuplicateParameter),
            (b"SIP/2.0/UDP a;received=b", ValueFault::Host),
            (b"SIP/2.0/UDP a;rport=x", ValueFault::Port),
            (b"SIP/2.0/UDP a;rport=1x", ValueFault::Port),
            (b"SIP/2.0/UDP 2001:db8::1", ValueFault::Host),
            (b"SIP/2.0/UDP a b", ValueFault::Unexpected),
            (b"SIP/2.0/UDP 192.0.2.15;;,;,,", ValueFault::Unexpected),
        ] {
            let error = Via::parse(text).unwrap_err();
            assert_eq!(error.fault, fault, "{:?}", text.escape_ascii().to_string());
        }
    }
}
