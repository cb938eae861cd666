//! STUN on the SIP port: the answer to a Binding request (RFC 5626 section 8, RFC 8489), as pure functions over bytes.
//!
//! Called by the engine for a datagram that [`is_stun`] says is none of SIP; also the model of any other part of the
//! node that answers such requests, which has to produce the same bytes. Touches nothing but what it is given.
//!
//! The success response, all numbers big-endian:
//!
//! ```text
//! octets
//!  0.. 2   01 01                      Binding success response
//!  2.. 4   length                     of the attributes: 0x000c (IPv4), 0x0018 (IPv6), 8 more with FINGERPRINT
//!  4..20   as in the request          magic cookie 21 12 a4 42 and transaction id
//! 20..24   00 20 00 08 | 00 20 00 14  XOR-MAPPED-ADDRESS, 8 octets or 20
//! 24..26   00 01 | 00 02              family
//! 26..28   port                       xor the first two octets of the cookie
//! 28..32   IPv4 address               xor the cookie
//! 28..44   IPv6 address               xor cookie and transaction id
//!      +8  80 28 00 04 ........       FINGERPRINT, only when the request has one: CRC-32 of all before it xor 5354554e
//! ```
//!
//! So 32 octets for IPv4 and 44 for IPv6, or 40 and 52, for a request of at least 20 or 28. A request with attributes
//! that have to be understood and are not gets the error response 420 (section 6.3.1). Everything else gets nothing:
//! nobody is asked to authenticate, and nothing is kept.

use core::net::{IpAddr, SocketAddr};

/// Octets of the header.
pub const HEADER: usize = 20;
/// What tells STUN from others, at octets 4 to 8.
pub const COOKIE: [u8; 4] = 0x2112_a442_u32.to_be_bytes();
/// Octets of the longest answer: an error that names [`UNKNOWN`] attributes, with FINGERPRINT.
pub const LONGEST: usize = HEADER + 28 + 4 + 2 * UNKNOWN + 8;
/// Unknown attributes that an error response names; a request with more has these named.
pub const UNKNOWN: usize = 16;
/// Octets of the longest request that is looked at: what every path carries in one piece (RFC 8489 section 6.1).
pub const REQUEST: usize = 548;

/// What FINGERPRINT's CRC is xored with (section 14.7).
const FINGERPRINT_XOR: u32 = 0x5354_554e;
/// Text of the error 420 (section 14.8); padded to a multiple of four with it.
const PHRASE: &[u8; 17] = b"Unknown Attribute";

/// Attributes by number (section 18.3).
mod attribute {
    pub(super) const MESSAGE_INTEGRITY: u16 = 0x0008;
    pub(super) const ERROR_CODE: u16 = 0x0009;
    pub(super) const UNKNOWN_ATTRIBUTES: u16 = 0x000a;
    pub(super) const MESSAGE_INTEGRITY_SHA256: u16 = 0x001c;
    pub(super) const XOR_MAPPED_ADDRESS: u16 = 0x0020;
    pub(super) const FINGERPRINT: u16 = 0x8028;
    /// Those below 0x8000 that RFC 8489 defines: known, and of no use in a Binding request that nobody authenticates.
    pub(super) const DEFINED: [u16; 11] = [
        0x0001,
        0x0006,
        MESSAGE_INTEGRITY,
        ERROR_CODE,
        UNKNOWN_ATTRIBUTES,
        0x0014,
        0x0015,
        MESSAGE_INTEGRITY_SHA256,
        0x001d,
        0x001e,
        XOR_MAPPED_ADDRESS,
    ];
}

/// Why a STUN message is not answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Unanswered {
    /// A Binding indication: a keep-alive that wants no answer (section 6.3.2).
    Indication,
    /// Another method, or a response: nothing was asked from here.
    Kind,
    /// Its length is not what its header says, no multiple of four, or over [`REQUEST`].
    Length,
    /// An attribute goes beyond the end.
    Attribute,
    /// FINGERPRINT is wrong, or not the last attribute.
    Fingerprint,
}

/// Whether a datagram is STUN, well-formed or not: no SIP message begins with a 0 or 1 (RFC 5626 section 8).
#[must_use]
pub fn is_stun(datagram: &[u8]) -> bool {
    matches!(datagram, [0 | 1, _, _, _, a, b, c, d, ..] if [*a, *b, *c, *d] == COOKIE)
}

/// The answer to `request`, which came from `source` and for which [`is_stun`] holds, as the beginning of `out`.
///
/// # Errors
/// It gets none, and why.
pub fn answer<'o>(
    request: &[u8],
    source: SocketAddr,
    out: &'o mut [u8; LONGEST],
) -> Result<&'o [u8], Unanswered> {
    let (Some(head), Some(attributes)) = (request.first_chunk::<HEADER>(), request.get(HEADER..)) else {
        return Err(Unanswered::Length);
    };
    match *head {
        [0, 0x01, ..] => {}
        [0, 0x11, ..] => return Err(Unanswered::Indication),
        _ => return Err(Unanswered::Kind),
    }
    let [_, _, high, low, ..] = *head;
    let length = usize::from(u16::from_be_bytes([high, low]));
    if length != attributes.len() || !length.is_multiple_of(4) || request.len() > REQUEST {
        return Err(Unanswered::Length);
    }
    let read = Attributes::read(request, attributes)?;
    let mut response = Response { out, len: 0 };
    // The type and the length, which is known at the end; then as it came.
    response.put(&[1, if read.unknown_count == 0 { 0x01 } else { 0x11 }, 0, 0]);
    response.put(request.get(4..HEADER).unwrap_or_default());
    match read.unknown.get(..read.unknown_count).unwrap_or_default() {
        [] => response.mapped_address(source, request),
        unknown => response.unknown_attributes(unknown),
    }
    if read.fingerprint {
        response.length(8);
        let fingerprint = crc32(response.written()) ^ FINGERPRINT_XOR;
        response.head(attribute::FINGERPRINT, 4);
        response.put(&fingerprint.to_be_bytes());
    } else {
        response.length(0);
    }
    Ok(response.into_written())
}

/// What matters of the attributes of a request.
struct Attributes {
    unknown: [u16; UNKNOWN],
    unknown_count: usize,
    fingerprint: bool,
}

impl Attributes {
    fn read(request: &[u8], mut rest: &[u8]) -> Result<Self, Unanswered> {
        let mut read = Self { unknown: [0; UNKNOWN], unknown_count: 0, fingerprint: false };
        let mut protected = false;
        while let [kind_high, kind_low, high, low, value @ ..] = rest {
            if read.fingerprint {
                return Err(Unanswered::Fingerprint);
            }
            let kind = u16::from_be_bytes([*kind_high, *kind_low]);
            let length = usize::from(u16::from_be_bytes([*high, *low]));
            // What is left is a multiple of four octets, so the padding is there when the value is.
            let (Some(this), Some(next)) = (value.get(..length), value.get(length.next_multiple_of(4)..))
            else {
                return Err(Unanswered::Attribute);
            };
            match kind {
                attribute::FINGERPRINT => {
                    let covered = request.get(..request.len() - rest.len()).unwrap_or_default();
                    if this != (crc32(covered) ^ FINGERPRINT_XOR).to_be_bytes() {
                        return Err(Unanswered::Fingerprint);
                    }
                    read.fingerprint = true;
                }
                // Sections 14.5 and 14.6: what follows is ignored, but for FINGERPRINT.
                attribute::MESSAGE_INTEGRITY | attribute::MESSAGE_INTEGRITY_SHA256 => protected = true,
                0..0x8000 if !protected && !attribute::DEFINED.contains(&kind) => {
                    if let Some(place) = read.unknown.get_mut(read.unknown_count) {
                        *place = kind;
                        read.unknown_count += 1;
                    }
                }
                _ => {}
            }
            rest = next;
        }
        Ok(read)
    }
}

/// A message as it is written. Its buffer has room for the longest there is.
struct Response<'o> {
    out: &'o mut [u8; LONGEST],
    len: usize,
}

impl<'o> Response<'o> {
    fn put(&mut self, bytes: &[u8]) {
        if let Some(place) = self.out.get_mut(self.len..self.len + bytes.len()) {
            place.copy_from_slice(bytes);
            self.len += bytes.len();
        }
    }

    /// The head of an attribute with a value of so many octets.
    fn head(&mut self, kind: u16, length: u16) {
        self.put(&kind.to_be_bytes());
        self.put(&length.to_be_bytes());
    }

    /// Section 14.2.
    fn mapped_address(&mut self, source: SocketAddr, request: &[u8]) {
        let [first, second, ..] = COOKIE;
        let port = source.port() ^ u16::from_be_bytes([first, second]);
        let mask = request.get(4..HEADER).unwrap_or_default();
        let mut masked = |family: u8, address: &mut [u8], length| {
            for (octet, mask) in address.iter_mut().zip(mask) {
                *octet ^= mask;
            }
            self.head(attribute::XOR_MAPPED_ADDRESS, length);
            self.put(&[0, family]);
            self.put(&port.to_be_bytes());
            self.put(address);
        };
        match source.ip().to_canonical() {
            IpAddr::V4(ip) => masked(1, &mut ip.octets(), 8),
            IpAddr::V6(ip) => masked(2, &mut ip.octets(), 20),
        }
    }

    /// ERROR-CODE and UNKNOWN-ATTRIBUTES (sections 14.8 and 14.13).
    fn unknown_attributes(&mut self, unknown: &[u16]) {
        self.head(attribute::ERROR_CODE, 4 + PHRASE.len() as u16);
        self.put(&[0, 0, 4, 20]);
        self.put(PHRASE);
        self.put(&[0; 3]);
        // At most 16 of them.
        self.head(attribute::UNKNOWN_ATTRIBUTES, 2 * unknown.len() as u16);
        for kind in unknown {
            self.put(&kind.to_be_bytes());
        }
        if !unknown.len().is_multiple_of(2) {
            self.put(&[0; 2]);
        }
    }

    /// Writes the length of the attributes that are there, and so many octets to come.
    fn length(&mut self, more: usize) {
        let length = (self.len + more - HEADER) as u16;
        let [_, _, high, low, ..] = self.out;
        [*high, *low] = length.to_be_bytes();
    }

    fn written(&self) -> &[u8] {
        self.out.get(..self.len).unwrap_or_default()
    }

    fn into_written(self) -> &'o [u8] {
        self.out.get(..self.len).unwrap_or_default()
    }
}

/// CRC-32 of ITU V.42, as in Ethernet: reflected, all ones before and after.
fn crc32(bytes: &[u8]) -> u32 {
    // Of each half octet.
    const TABLE: [u32; 16] = {
        let mut table = [0; 16];
        let mut at = 0;
        while at < 16 {
            let mut crc = at as u32;
            let mut bit = 0;
            while bit < 4 {
                crc = if crc & 1 == 1 { crc >> 1 ^ 0xedb8_8320 } else { crc >> 1 };
                bit += 1;
            }
            table[at] = crc;
            at += 1;
        }
        table
    };
    let step = |crc: u32, half: u32| TABLE[((crc ^ half) & 15) as usize] ^ crc >> 4;
    !bytes.iter().fold(!0, |crc, octet| step(step(crc, u32::from(*octet)), u32::from(*octet) >> 4))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ID: [u8; 12] = [0xb7, 0xe7, 0xa7, 0x01, 0xbc, 0x34, 0xd6, 0x86, 0xfa, 0x87, 0xdf, 0xae];

    /// A message of this type with these attributes, padded.
    fn message(kind: u16, attributes: &[(u16, &[u8])]) -> Vec<u8> {
        let mut body = Vec::new();
        for (kind, value) in attributes {
            body.extend(kind.to_be_bytes());
            body.extend((value.len() as u16).to_be_bytes());
            body.extend(*value);
            body.resize(body.len().next_multiple_of(4), b' ');
        }
        let mut text = [&kind.to_be_bytes()[..], &(body.len() as u16).to_be_bytes(), &COOKIE, &ID].concat();
        text.extend(body);
        text
    }

    fn with_fingerprint(mut message: Vec<u8>) -> Vec<u8> {
        let length = (message.len() + 8 - HEADER) as u16;
        message[2..4].copy_from_slice(&length.to_be_bytes());
        let crc = naive_crc32(&message) ^ FINGERPRINT_XOR;
        [&message[..], &[0x80, 0x28, 0, 4], &crc.to_be_bytes()].concat()
    }

    /// Bit by bit.
    fn naive_crc32(bytes: &[u8]) -> u32 {
        let mut crc = !0_u32;
        for octet in bytes {
            crc ^= u32::from(*octet);
            for _ in 0..8 {
                crc = if crc & 1 == 1 { crc >> 1 ^ 0xedb8_8320 } else { crc >> 1 };
            }
        }
        !crc
    }

    fn answered(request: &[u8], source: &str) -> Result<Vec<u8>, Unanswered> {
        assert!(is_stun(request));
        answer(request, source.parse().unwrap(), &mut [0xee; LONGEST]).map(<[u8]>::to_vec)
    }

    fn hex(text: &str) -> Vec<u8> {
        let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
        let octet = |pair: &[u8]| u8::from_str_radix(core::str::from_utf8(pair).unwrap(), 16).unwrap();
        digits.chunks(2).map(octet).collect()
    }

    /// The addresses of RFC 5769 sections 2.2 and 2.3, and its transaction id.
    #[test]
    fn the_source_is_told_as_rfc_5769_writes_it() {
        let request = message(1, &[]);
        let head = "2112a442 b7e7a701bc34d686fa87dfae";
        assert_eq!(
            answered(&request, "192.0.2.1:32853").unwrap(),
            hex(&format!("0101000c {head} 0020000800 01a147e112a643"))
        );
        assert_eq!(answered(&request, "[::ffff:192.0.2.1]:32853"), answered(&request, "192.0.2.1:32853"));
        assert_eq!(
            answered(&request, "[2001:db8:1234:5678:11:2233:4455:6677]:32853").unwrap(),
            hex(&format!("01010018 {head} 0020001400 02a1470113a9faa5d3f179bc25f4b5bed2b9d9"))
        );
    }

    /// RFC 5769 section 2.1, a request of an ICE agent: its FINGERPRINT is right, and PRIORITY is not for this server.
    #[test]
    fn what_has_to_be_understood_and_is_not_is_named() {
        let request = hex(
            "000100582112a442b7e7a701bc34d686fa87dfae802200105354554e207465737420636c69656e74002400046e0001ff\
             80290008932ff9b151263b36000600096576746a3a68367659202020000800149aeaa70cbfd8cb56781ef2b5b2d3f249\
             c1b571a280280004e57a3bcf",
        );
        let response = answered(&request, "192.0.2.1:32853").unwrap();
        let error = [&[0, 0, 4, 20][..], b"Unknown Attribute"].concat();
        let mut expected = message(0x0111, &[(9, &error), (10, &[0, 0x24])]);
        // Padding of ours is zero.
        expected[45..48].fill(0);
        expected[54..56].fill(0);
        assert_eq!(response, with_fingerprint(expected));
        // More than are named, all of them in the longest answer.
        let many: Vec<(u16, &[u8])> = (0..20).map(|n| (0x4000 + n, &b""[..])).collect();
        let response = answered(&with_fingerprint(message(1, &many)), "[2001:db8::1]:5060").unwrap();
        assert_eq!((response.len(), &response[50..54]), (LONGEST, &[0, 32, 0x40, 0x00][..]));
    }

    #[test]
    fn fingerprint_is_answered_with_one() {
        let request = with_fingerprint(message(1, &[(0x8022, b"phone")]));
        let plain = answered(&message(1, &[]), "192.0.2.1:5060").unwrap();
        assert_eq!(answered(&request, "192.0.2.1:5060").unwrap(), with_fingerprint(plain));
        let mut wrong = request.clone();
        *wrong.last_mut().unwrap() ^= 1;
        assert_eq!(answered(&wrong, "192.0.2.1:5060"), Err(Unanswered::Fingerprint));
        let crc = &request[request.len() - 4..];
        let not_last = message(1, &[(0x8022, b"phone"), (0x8028, crc), (0x8022, b"")]);
        assert_eq!(answered(&not_last, "192.0.2.1:5060"), Err(Unanswered::Fingerprint));
    }

    #[test]
    fn what_is_ignored_and_what_is_not_answered() {
        let plain = answered(&message(1, &[]), "192.0.2.1:5060").unwrap();
        // Defined, optional, or behind the integrity that nobody checks.
        for attributes in [
            &[(0x0006, &b"user"[..]), (0x8022, b"a phone"), (0xc001, b"")][..],
            &[(0x0008, &[7; 20]), (0x4000, b"late")],
            &[(0x001c, &[7; 32]), (0x4000, b"late")],
        ] {
            assert_eq!(answered(&message(1, attributes), "192.0.2.1:5060"), Ok(plain.clone()));
        }
        for (kind, why) in [
            (0x0011, Unanswered::Indication),
            (0x0101, Unanswered::Kind),
            (0x0111, Unanswered::Kind),
            (0x0003, Unanswered::Kind),
        ] {
            assert_eq!(answered(&message(kind, &[]), "192.0.2.1:5060"), Err(why), "{kind:x}");
        }
        let whole = message(1, &[(0x8022, b"phone")]);
        for (bytes, why) in [
            (whole[..whole.len() - 1].to_vec(), Unanswered::Length),
            (whole[..19].to_vec(), Unanswered::Length),
            ([&whole[..], b"more"].concat(), Unanswered::Length),
            (message(1, &[(0x8022, &[0; 600])]), Unanswered::Length),
            (
                [&message(1, &[])[..2], &[0, 4], &message(1, &[])[4..], &[0x80, 0x22, 0, 1]].concat(),
                Unanswered::Attribute,
            ),
        ] {
            assert_eq!(answered(&bytes, "192.0.2.1:5060"), Err(why), "{bytes:x?}");
        }
        for other in [&b"OPTIONS sip:a SIP/2.0\r\n"[..], b"\r\n\r\n", b"", &[0; 40], &whole[..7], &[2; 20]] {
            assert!(!is_stun(other), "{other:x?}");
        }
    }

    proptest! {
        /// Whatever comes, an answer is one: its length is right, and it is never longer than it may be.
        #[test]
        fn anything_is_answered_well_or_not(
            kind in prop_oneof![Just(1_u16), any::<u16>()],
            length in prop_oneof![Just(None), any::<u16>().prop_map(Some)],
            body in proptest::collection::vec(prop_oneof![Just(0_u8), Just(4), any::<u8>()], 0..80),
            source in prop_oneof![Just("192.0.2.1:1"), Just("[2001:db8::1]:65535")],
        ) {
            let mut request = message(kind, &[]);
            request.extend(&body);
            let length = length.unwrap_or(body.len() as u16);
            request[2..4].copy_from_slice(&length.to_be_bytes());
            let mut out = [0xee; LONGEST];
            if let Ok(response) = answer(&request, source.parse().unwrap(), &mut out) {
                prop_assert_eq!(&response[4..HEADER], &request[4..HEADER]);
                prop_assert_eq!(usize::from(u16::from_be_bytes([response[2], response[3]])), response.len() - HEADER);
                prop_assert!(response.len() % 4 == 0 && (response[1] & 0xef, response[0]) == (1, 1));
            }
        }

        #[test]
        fn crc_as_bit_by_bit(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            prop_assert_eq!(crc32(&bytes), naive_crc32(&bytes));
        }
    }

    #[test]
    fn crc_of_the_usual_check_value() {
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
    }
}
