//! Via: RFC 3261 sections 18.2 and 20.42, `rport` of RFC 3581.

use core::net::IpAddr;
use core::ops::Range;

use crate::error::{ValueError, ValueFault};
use crate::host::{self, Host};
use crate::limit;
use crate::list::Value;
use crate::param::{Key, Params, Piece, Run, Span};
use crate::scan::{self, HostKind};
use crate::text::Text;

/// `transport = "UDP" / "TCP" / … / other-transport`, in any case: of a Via (RFC 3261 section 25.1), a URI, or a configuration.
/// SCTP is of RFC 4168, WS and WSS of RFC 7118.
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

/// `via-parm = sent-protocol LWS sent-by *( SEMI via-params )` (RFC 3261 sections 20.42 and 25.1), with `response-port` of
/// RFC 3581; all of it checked: there is no half-parsed Via.
///
/// Limits: [`limit::IDENTIFIER`] for the branch, [`limit::HOST`], [`limit::PARAMETERS`]. Errors: see [`parse`](Self::parse).
/// Not checked: `ttl` and `maddr`, and that parameters other than branch, received and rport are there once.
#[derive(Clone, Copy, Debug)]
pub struct Via<'a> {
    text: &'a [u8],
    /// Where `text` lies; the pieces count from its start.
    offset: u16,
    /// None when it is the usual one.
    transport: Piece,
    host: host::Place,
    /// 0: none.
    port: u16,
    /// Where the parameters begin.
    params: u16,
    branch: Piece,
    received: Piece,
    /// With `=` and value, if it has one.
    rport: Piece,
    /// 0: none.
    rport_value: u16,
    /// There are other parameters.
    others: bool,
}

impl<'a> Via<'a> {
    /// Parses one Via value that stands alone.
    ///
    /// # Errors
    /// [`ValueFault::Protocol`] for a protocol other than SIP/2.0; [`ValueFault::Host`] for a sent-by or received that is
    /// none; [`ValueFault::Port`] for a port or rport that is not 1 to 65,535; [`ValueFault::DuplicateParameter`] for branch,
    /// received or rport twice; [`ValueFault::TooLong`] for a branch over [`limit::IDENTIFIER`]; [`ValueFault::TooMany`]
    /// over [`limit::PARAMETERS`]; [`ValueFault::Ended`], [`ValueFault::Unexpected`] and [`ValueFault::Unterminated`] where
    /// the grammar does not allow what stands there, a second value among that.
    pub fn parse(text: &'a [u8]) -> Result<Via<'a>, ValueError> {
        crate::list::single(Text::alone(text), 0)
    }

    /// The transport of the sent-protocol; the protocol itself is SIP/2.0.
    #[inline]
    #[must_use]
    pub fn transport(&self) -> Transport<'a> {
        self.transport.of(self.text).map_or(Transport::Udp, Transport::from_bytes)
    }

    /// Host of the sent-by.
    #[inline]
    #[must_use]
    pub fn host(&self) -> Host<'a> {
        // There is always one.
        self.host.host(self.text).unwrap_or(Host::Name(b""))
    }

    /// Port of the sent-by; without it, the transport's default.
    #[inline]
    #[must_use]
    pub fn port(&self) -> Option<u16> {
        (self.port != 0).then_some(self.port)
    }

    /// The value as it stands, without the comma after it.
    #[must_use]
    pub fn as_bytes(&self) -> &'a [u8] {
        self.text
    }

    /// Where the value lies in the message (or in the text, when it was parsed on its own).
    #[must_use]
    pub fn range(&self) -> Range<usize> {
        let offset = usize::from(self.offset);
        offset..offset + self.text.len()
    }

    /// All parameters.
    #[must_use]
    pub fn params(&self) -> Params<'a> {
        Params::checked(self.text.get(usize::from(self.params)..).unwrap_or_default())
    }

    /// Are there parameters other than branch, received and rport? Most Vias have none.
    #[must_use]
    pub fn has_other_params(&self) -> bool {
        self.others
    }

    /// The branch parameter.
    #[must_use]
    pub fn branch(&self) -> Option<&'a [u8]> {
        self.branch.of(self.text)
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
        self.received.of(self.text).and_then(host::address)
    }

    /// The rport parameter: `Some(None)` when it is there without a value, as a request asks for it.
    #[must_use]
    pub fn rport(&self) -> Option<Option<u16>> {
        self.rport.range(0).map(|_| (self.rport_value != 0).then_some(self.rport_value))
    }

    /// The maddr parameter as it stands. Nothing of ours ever sends there.
    #[must_use]
    pub fn maddr(&self) -> Option<&'a [u8]> {
        self.params().value(b"maddr")
    }

    /// Where the value of `received` lies in the message.
    pub(crate) fn received_range(&self) -> Option<Range<usize>> {
        self.received.range(usize::from(self.offset))
    }

    /// Where `rport`, with `=` and value if it has one, lies in the message.
    pub(crate) fn rport_range(&self) -> Option<Range<usize>> {
        self.rport.range(usize::from(self.offset))
    }
}

impl<'a> Value<'a> for Via<'a> {
    #[inline(always)]
    fn take(text: Text<'a>, at: usize) -> Result<(Via<'a>, usize), ValueError> {
        let (value, end) = match Via::usual(text, at) {
            Some(found) => found,
            None => Via::any(text.reach(0), text.end(), at)?,
        };
        Ok((value, end))
    }
}

impl<'a> Via<'a> {
    /// `SIP/2.0/UDP host[:port]` with branch, rport and an IPv4 address in received, short and of the usual letters, at the
    /// value's end or before a comma; `None` for any other.
    #[inline(always)]
    fn usual(text: Text<'a>, start: usize) -> Option<(Via<'a>, usize)> {
        const HEAD: usize = 12;
        const fn word(name: &[u8; 8]) -> u64 {
            u64::from_le_bytes(*name)
        }
        let window = text.bytes::<{ HEAD - scan::BEFORE + scan::AROUND }>(start)?;
        if window[..HEAD] != *b"SIP/2.0/UDP " {
            return None;
        }
        let found = scan::host_port(window.last_chunk()?)?;
        let params = HEAD + found.end;
        let (mut branch, mut received, mut rport) = (Piece::NONE, Piece::NONE, Piece::NONE);
        let mut rport_value = 0;
        let mut end = params;
        while start + end < text.end() {
            let window = text.bytes::<{ 8 + 32 }>(start + end)?;
            let (name, value) = window.split_first_chunk::<8>()?;
            // Bit 5 set makes lower case. It also makes marks of two control bytes, of which a Via outside of quotes has none.
            let name = u64::from_le_bytes(*name) | word(b"        ");
            // A name that is there twice, or goes on, is found by the general way.
            if name == word(b";branch=") && branch == Piece::NONE {
                let len = scan::plain_value(value.first_chunk()?);
                if len == 0 || len == 32 {
                    return None;
                }
                branch = Piece::new((end + 8, end + 8 + len), 0);
                end += 8 + len;
            } else if name << 16 == word(b";rport  ") << 16 && rport == Piece::NONE {
                let from = end + 1;
                end += 6;
                if window[6] == b'=' {
                    let (port, digits) = scan::port(window[7..].first_chunk()?)?;
                    rport_value = port;
                    end += 1 + digits;
                }
                rport = Piece::new((from, end), 0);
            } else if name == word(b";receive") && value[..2] == *b"d=" && received == Piece::NONE {
                let address = scan::host_port(text.bytes(start + end + 10 - scan::BEFORE)?)?;
                if address.kind != HostKind::V4 || address.port != 0 {
                    return None;
                }
                received = Piece::new((end + 10, end + 10 + address.end), 0);
                end += 10 + address.end;
            } else if window[0] == b',' {
                break;
            } else {
                return None;
            }
        }
        if start + end > text.end() {
            return None;
        }
        let via = Via {
            transport: Piece::NONE,
            host: host::Place::new(found, HEAD),
            port: found.port,
            text: text.slice(start, start + end),
            offset: start as u16,
            params: params as u16,
            branch,
            received,
            rport,
            rport_value,
            others: false,
        };
        Some((via, start + end))
    }

    /// The Via that begins at `at`, in a text that ends at `end`.
    #[inline(never)]
    fn any(datagram: &'a [u8], end: usize, at: usize) -> Result<(Via<'a>, usize), ValueError> {
        let text = Text::new(datagram, end);
        let start = text.skip_lws(at);
        // What nearly every Via begins with is one compare of 16 bytes, of which 12 count.
        const USUAL: u128 = u128::from_le_bytes(*b"SIP/2.0/UDP \0\0\0\0");
        let head = text.window(start).map_or(0, |head| u128::from_le_bytes(*head));
        let (transport, host_at) = if head << 32 == USUAL << 32 {
            (Piece::NONE, text.skip_lws(start + 12))
        } else {
            let (transport, host_at) = sent_protocol(text.value(), start)?;
            (Piece::new(transport, start), host_at)
        };
        let (host, host_end) = host::take(text, start, host_at)?;
        let colon = text.skip_lws(host_end);
        let (port, end) = match text.byte(colon) {
            b':' => host::port(text, text.skip_lws(colon + 1))?,
            _ => (0, host_end),
        };
        let params = end;
        let (mut branch, mut received, mut rport) = (Piece::NONE, Piece::NONE, Piece::NONE);
        let (mut rport_value, mut others) = (0, false);
        let mut run = Run::new(end);
        while let Some(found) = run.next(text)? {
            let put = match found.key {
                Key::Branch => {
                    let value = found.value()?;
                    if value.1 - value.0 > limit::IDENTIFIER {
                        return Err(ValueError::new(ValueFault::TooLong, value.0));
                    }
                    branch.put(value, start)
                }
                Key::Rport => {
                    let mut end = found.name.1;
                    if let Some((from, to)) = found.value {
                        let (port, port_end) = host::port(text, from)?;
                        if port_end != to {
                            return Err(ValueError::new(ValueFault::Port, from));
                        }
                        rport_value = port;
                        end = to;
                    }
                    rport.put((found.name.0, end), start)
                }
                Key::Received => {
                    let value = found.value()?;
                    if host::address(text.slice(value.0, value.1)).is_none() {
                        return Err(ValueError::new(ValueFault::Host, value.0));
                    }
                    received.put(value, start)
                }
                Key::Tag | Key::Other => {
                    others = true;
                    Some(())
                }
            };
            put.ok_or(ValueError::new(ValueFault::DuplicateParameter, found.name.0))?;
        }
        let end = run.at;
        if end > limit::MESSAGE {
            return Err(ValueError::new(ValueFault::TooLong, limit::MESSAGE));
        }
        let via = Via {
            transport,
            host,
            port,
            text: text.slice(start, end),
            offset: start as u16,
            params: (params - start) as u16,
            branch,
            received,
            rport,
            rport_value,
            others,
        };
        Ok((via, end))
    }
}

/// `SIP / 2.0 / transport LWS`: the transport, and where the sent-by begins.
#[inline(never)]
fn sent_protocol(value: &[u8], at: usize) -> Result<(Span, usize), ValueError> {
    let text = Text::alone(value);
    let mut at = at;
    for expected in [&b"SIP"[..], b"2.0"] {
        let end = scan::token_end(text, at);
        let slash = text.skip_lws(end);
        if end == at || text.byte(slash) != b'/' {
            let fault = if slash >= text.end() { ValueFault::Ended } else { ValueFault::Unexpected };
            return Err(ValueError::new(fault, slash));
        }
        if !text.slice(at, end).eq_ignore_ascii_case(expected) {
            return Err(ValueError::new(ValueFault::Protocol, at));
        }
        at = text.skip_lws(slash + 1);
    }
    let end = scan::token_end(text, at);
    let host_at = text.skip_lws(end);
    if end == at || host_at == end {
        return Err(ValueError::new(ValueFault::Unexpected, end));
    }
    Ok(((at, end), host_at))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn parameters_of_others_are_told_apart() {
        for (params, others) in [
            ("", false),
            (";branch=z9hG4bK1;rport;received=192.0.2.7", false),
            (";Received=[2001:db8::1] ; BRANCH=z9hG4bK1;rport=5060", false),
            (";branch=z9hG4bK1;oc", true),
            (";ttl=1;branch=z9hG4bK1", true),
            (";branch=z9hG4bK1;tag=1", true),
        ] {
            let text = format!("SIP/2.0/UDP a{params}");
            let via = Via::parse(text.as_bytes()).unwrap();
            assert_eq!(via.has_other_params(), others, "{params}");
            // The oracle: all of them, one by one.
            let known = [&b"branch"[..], b"received", b"rport"];
            let other = |p: crate::param::Param<'_>| !known.iter().any(|k| p.name.eq_ignore_ascii_case(k));
            assert_eq!(via.params().iter().any(other), others, "{params}");
        }
    }

    #[test]
    fn a_full_via() {
        let text = b"SIP/2.0/UDP [2001:db8::9]:5070;received=192.0.2.7;branch=z9hG4bKa/b=;rport;x=\"a,b\"";
        let via = Via::parse(text).unwrap();
        assert_eq!(via.transport(), Transport::Udp);
        assert_eq!(via.host(), Host::V6("2001:db8::9".parse().unwrap()));
        assert_eq!(via.port(), Some(5070));
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
            (spaced.transport(), spaced.port(), spaced.rport(), spaced.branch(), spaced.has_magic_cookie()),
            (Transport::Tcp, Some(5060), Some(Some(4)), Some(&b"390skdjuw"[..]), false)
        );
    }

    /// The short way at one Via with something after it: what it takes, the thorough way must read the same.
    fn taken(text: &str, after: &str) -> bool {
        let datagram = format!("v:{text}{after}");
        let text = Text::new(datagram.as_bytes(), 2 + text.len());
        let Some(short) = Via::usual(text, 2) else { return false };
        let thorough = Via::any(datagram.as_bytes(), text.end(), 2);
        assert_eq!(Ok(format!("{short:?}")), thorough.map(|found| format!("{found:?}")), "{datagram:?}");
        true
    }

    #[test]
    fn usual_vias_go_the_short_way() {
        let after = format!("\r\n{}", "To: <sip:a@b>\r\n".repeat(5));
        for text in [
            "SIP/2.0/UDP 192.0.2.4:5060;branch=z9hG4bKabc.1-2;rport",
            "SIP/2.0/UDP 192.0.2.4:5060;branch=z9hG4bKabc",
            "SIP/2.0/UDP a.example;BRANCH=z9hG4bK;RPort",
            "SIP/2.0/UDP a.example;branch=z9hG4bK,SIP/2.0/TCP b",
            "SIP/2.0/UDP proxy2.example.net:5080;branch=z9hG4bK1;received=198.51.100.7;rport=5080",
            "SIP/2.0/UDP 192.0.2.4;rport;branch=z9hG4bK2",
            "SIP/2.0/UDP 192.0.2.4",
        ] {
            assert!(taken(text, &after), "{text}");
            for end in 0..text.len() {
                taken(&text[..end], &format!("{}{after}", &text[end..]));
            }
        }
        for text in [
            "SIP/2.0/UDP a;branch=",
            "SIP/2.0/UDP a;branch=b;branch=c",
            "SIP/2.0/UDP a;branch=b;rport;rport",
            "SIP/2.0/UDP a;branch=b;rport2",
            "SIP/2.0/UDP a;branch=b;rport=",
            "SIP/2.0/UDP a;branch=b;rport=0",
            "SIP/2.0/UDP a;branch=b;rport=65536",
            "SIP/2.0/UDP a;branch=b;rport=1x",
            "SIP/2.0/UDP a;branch=b;received=b",
            "SIP/2.0/UDP a;branch=b;received=1.2.3.4:5",
            "SIP/2.0/UDP a;branch=b;received=1.2.3.4x",
            "SIP/2.0/UDP a;branch=b;received=1.2.3.4;received=1.2.3.4",
            "SIP/2.0/UDP a;branch=b<",
            "SIP/2.0/UDP a b;branch=b",
            "SIP/2.0/UDP a:0;branch=b",
            "sip/2.0/udp a;branch=b",
        ] {
            assert!(!taken(text, &after), "{text}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4000))]
        #[test]
        fn both_ways_agree(
            text in "SIP/2.0/UDP ([a-z0-9.-]{1,17}|1[0-9]?.1.2[0-9]{0,2}.3)(:[0-9]{0,6})?;branch=([a-zA-Z0-9./:-]{0,34}|[ -~]{0,6})(;rport(=[0-9]{0,6})?|;received=1[0-9]{0,3}.2.3.4|[;,a-z0-9=]{0,9}){0,3}",
            after in "[;,= a-z0-9]{0,8}",
        ) {
            taken(&text, &format!("{after}{}", "\r\n".repeat(32)));
            taken(&text, &after);
        }
    }

    /// RFC 5118 section 4.5; RFC 4475 section 3.2.1.
    #[test]
    fn received_may_have_brackets_and_a_cookie_alone_is_none() {
        for address in ["2001:db8::9", "[2001:db8::9]"] {
            let text = format!("SIP/2.0/UDP a;received={address}");
            let via = Via::parse(text.as_bytes()).unwrap();
            assert_eq!(via.received(), Some("2001:db8::9".parse().unwrap()), "{text}");
        }
        for (branch, made) in [
            ("z9hG4bK", false),
            ("z9hG4bK1", true),
            ("Z9HG4BK1", true),
            ("z9hG4b", false),
            ("1z9hG4bK1", false),
        ] {
            let text = format!("SIP/2.0/UDP a;branch={branch}");
            assert_eq!(Via::parse(text.as_bytes()).unwrap().has_magic_cookie(), made, "{text}");
        }
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
