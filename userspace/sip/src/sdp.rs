//! The few facts of an SDP body (RFC 8866) that a call record needs: media kinds, codecs, addresses.
//!
//! Bodies stay opaque otherwise. Everything is bounded, and a body that is not SDP yields no facts instead of an
//! error: nothing about a call's routing may hang on its body.

use core::net::IpAddr;

use crate::class;
use crate::host;
use crate::limit;

/// What a call record wants of a session description (`session-description`, RFC 8866 section 9): its `c=` line, and of
/// every medium the `m=`, `c=` and `a=rtpmap` lines.
///
/// At most [`limit::SDP_MEDIA`] media, [`limit::SDP_FORMATS`] formats of each, [`limit::SDP_LINES`] lines. There is no error:
/// a line that cannot be read, or is of another kind, is passed over, and with an `m=` line the lines below it. Not checked:
/// the order of lines, whether those that RFC 8866 demands are there, the version. Offers and answers are not compared.
#[derive(Clone, Copy, Debug)]
pub struct SdpFacts<'a> {
    /// The session's connection address (`connection-field`), if it is an address and not a name.
    pub connection: Option<IpAddr>,
    media: [Media<'a>; limit::SDP_MEDIA],
    count: usize,
    /// There were more media descriptions, formats or lines than the limits keep.
    pub truncated: bool,
}

/// One media description: `media-field = "m=" media SP port ["/" integer] SP proto 1*(SP fmt)` and what belongs to it
/// (RFC 8866 sections 5.14 and 9).
#[derive(Clone, Copy, Debug)]
pub struct Media<'a> {
    /// `audio`, `video`, `image`, …
    pub kind: &'a [u8],
    /// The port, the first one of several; 0 for a medium that was refused.
    pub port: u16,
    /// `RTP/AVP`, `RTP/SAVPF`, …
    pub protocol: &'a [u8],
    /// The medium's own connection address, or the session's; `None` also when the medium's own is a name.
    pub connection: Option<IpAddr>,
    formats: [Format<'a>; limit::SDP_FORMATS],
    count: usize,
}

/// One format (`fmt`, RFC 8866 section 9) of an `m=` line, with its name from `a=rtpmap`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Format<'a> {
    /// The payload type, or whatever the protocol has for a format.
    pub id: &'a [u8],
    /// The encoding name (`opus`); for the static types of RFC 3551 that a call is likely to have, their name.
    pub codec: Option<&'a [u8]>,
}

const NO_FORMAT: Format<'static> = Format { id: b"", codec: None };
const NO_MEDIA: Media<'static> = Media {
    kind: b"",
    port: 0,
    protocol: b"",
    connection: None,
    formats: [NO_FORMAT; limit::SDP_FORMATS],
    count: 0,
};

impl<'a> Media<'a> {
    /// The formats in their order of preference.
    #[must_use]
    pub fn formats(&self) -> &[Format<'a>] {
        self.formats.get(..self.count).unwrap_or_default()
    }
}

impl<'a> SdpFacts<'a> {
    /// Reads a body. Lines end with LF, or with CRLF as they should.
    ///
    /// ```
    /// use strowger_sip::SdpFacts;
    ///
    /// let facts = SdpFacts::read(b"v=0\r\nc=IN IP4 192.0.2.1\r\nm=audio 40000 RTP/AVP 8 101\r\n");
    /// let [audio] = facts.media() else { panic!("one medium") };
    /// assert_eq!((audio.port, audio.connection), (40_000, Some([192, 0, 2, 1].into())));
    /// assert_eq!(audio.formats()[0].codec, Some(&b"PCMA"[..]));
    /// ```
    #[must_use]
    pub fn read(body: &'a [u8]) -> SdpFacts<'a> {
        let mut facts =
            SdpFacts { connection: None, media: [NO_MEDIA; limit::SDP_MEDIA], count: 0, truncated: false };
        // A media description that is not kept swallows the lines that belong to it.
        let mut kept = true;
        for (number, line) in body.split(|&b| b == b'\n').enumerate() {
            if number == limit::SDP_LINES {
                facts.truncated = true;
                break;
            }
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            match line {
                [b'm', b'=', rest @ ..] => kept = facts.medium(rest),
                _ if !kept => {}
                [b'c', b'=', rest @ ..] => {
                    let address = connection(rest);
                    match facts.last() {
                        Some(media) => media.connection = address,
                        None => facts.connection = address,
                    }
                }
                [b'a', b'=', b'r', b't', b'p', b'm', b'a', b'p', b':', rest @ ..] => {
                    if let (Some(media), Some((id, codec))) = (facts.last(), rtpmap(rest)) {
                        let count = media.count;
                        for format in media.formats.iter_mut().take(count).filter(|f| f.id == id) {
                            format.codec = Some(codec);
                        }
                    }
                }
                _ => {}
            }
        }
        facts
    }

    /// The media descriptions in their order.
    #[must_use]
    pub fn media(&self) -> &[Media<'a>] {
        self.media.get(..self.count).unwrap_or_default()
    }

    fn last(&mut self) -> Option<&mut Media<'a>> {
        self.count.checked_sub(1).and_then(|last| self.media.get_mut(last))
    }

    /// `m=<media> <port>[/<count>] <proto> <fmt> ...`
    fn medium(&mut self, rest: &'a [u8]) -> bool {
        let mut words = rest.split(|&b| b == b' ').filter(|w| !w.is_empty());
        let (Some(kind), Some(port), Some(protocol)) = (words.next(), words.next(), words.next()) else {
            return false;
        };
        let digits = class::span(port, class::DIGIT);
        let Some(port) = class::decimal(&port[..digits]).and_then(|p| u16::try_from(p).ok()) else {
            return false;
        };
        let connection = self.connection;
        let Some(media) = self.media.get_mut(self.count) else {
            self.truncated = true;
            return false;
        };
        *media = Media { kind, port, protocol, connection, ..NO_MEDIA };
        for id in words {
            let Some(format) = media.formats.get_mut(media.count) else {
                self.truncated = true;
                break;
            };
            *format = Format { id, codec: static_codec(id) };
            media.count += 1;
        }
        self.count += 1;
        true
    }
}

/// `c=IN IP4 <address>[/<ttl>...]`
fn connection(rest: &[u8]) -> Option<IpAddr> {
    let mut words = rest.split(|&b| b == b' ').filter(|w| !w.is_empty());
    let (b"IN", version, address) = (words.next()?, words.next()?, words.next()?) else { return None };
    let address = address.split(|&b| b == b'/').next()?;
    match version {
        b"IP4" => host::v4(address).map(IpAddr::V4),
        b"IP6" => host::v6(address).map(IpAddr::V6),
        _ => None,
    }
}

/// `<payload type> <encoding name>/<clock rate>[/<parameters>]`
fn rtpmap(rest: &[u8]) -> Option<(&[u8], &[u8])> {
    let space = memchr::memchr(b' ', rest)?;
    let name = rest.get(space + 1..)?.split(|&b| b == b'/').next().filter(|n| !n.is_empty())?;
    Some((&rest[..space], name))
}

/// RFC 3551 section 6, the types still met.
fn static_codec(id: &[u8]) -> Option<&'static [u8]> {
    Some(match id {
        b"0" => b"PCMU",
        b"3" => b"GSM",
        b"4" => b"G723",
        b"8" => b"PCMA",
        b"9" => b"G722",
        b"13" => b"CN",
        b"15" => b"G728",
        b"18" => b"G729",
        b"26" => b"JPEG",
        b"31" => b"H261",
        b"34" => b"H263",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn facts_of_a_call() {
        let body = b"v=0\r\no=alice 1 1 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1/127\r\nt=0 0\r\n\
m=audio 49170/2 RTP/AVP 0 101\r\na=rtpmap:101 telephone-event/8000\r\n\
m=video 0 RTP/SAVPF 96\r\nc=IN IP6 2001:db8::5\r\na=rtpmap:96 H264/90000\r\na=rtpmap:97 x/1\r\n";
        let facts = SdpFacts::read(body);
        assert_eq!(facts.connection, Some([192, 0, 2, 1].into()));
        let [audio, video] = facts.media() else { panic!() };
        assert_eq!((audio.kind, audio.port, audio.protocol), (&b"audio"[..], 49170, &b"RTP/AVP"[..]));
        assert_eq!(audio.connection, facts.connection);
        let codecs: Vec<_> = audio.formats().iter().map(|f| f.codec.unwrap()).collect();
        assert_eq!(codecs, [&b"PCMU"[..], b"telephone-event"]);
        assert_eq!((video.port, video.formats()[0].codec), (0, Some(&b"H264"[..])));
        assert_eq!(video.connection, Some("2001:db8::5".parse().unwrap()));
        assert!(!facts.truncated);
    }

    #[test]
    fn bounded_and_indifferent_to_rubbish() {
        let many = b"m=audio 1 RTP/AVP 0\n".repeat(limit::SDP_MEDIA + 1);
        let facts = SdpFacts::read(&many);
        assert_eq!((facts.media().len(), facts.truncated), (limit::SDP_MEDIA, true));
        let formats = [&b"m=audio 1 RTP/AVP"[..], &b" 0".repeat(limit::SDP_FORMATS + 1)].concat();
        let facts = SdpFacts::read(&formats);
        assert_eq!((facts.media()[0].formats().len(), facts.truncated), (limit::SDP_FORMATS, true));
        assert!(SdpFacts::read(&b"\n".repeat(limit::SDP_LINES)).truncated);
        for body in [
            &b""[..],
            b"m=",
            b"m=audio",
            b"m=audio x RTP/AVP",
            b"m=audio 70000 RTP/AVP 0",
            b"c=IN IP4",
            b"c=IN IP4 300.0.0.1",
            b"a=rtpmap:0 x/1",
            b"m=audio 1 RTP/AVP 0\na=rtpmap:",
            b"\0\xff",
        ] {
            let facts = SdpFacts::read(body);
            assert!(facts.connection.is_none() && facts.media().iter().all(|m| m.kind == b"audio"));
        }
        // What belongs to a medium that cannot be read does not leak into the session.
        let facts = SdpFacts::read(b"m=audio x RTP/AVP 0\nc=IN IP4 192.0.2.1\n");
        assert!(facts.connection.is_none());
    }
}
