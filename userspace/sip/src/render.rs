//! Numbers and addresses as text, on the stack: what edits and replies put into a message.

use core::fmt::Write;
use core::net::{IpAddr, Ipv4Addr, SocketAddr};

/// Two digits each.
static PAIRS: [u16; 100] = {
    let mut pairs = [0; 100];
    let mut n = 0;
    while n < 100 {
        pairs[n as usize] = u16::from_le_bytes([b'0' + n / 10, b'0' + n % 10]);
        n += 1;
    }
    pairs
};

/// Each octet in the digits it needs, and a dot.
static OCTETS: [[u8; 4]; 256] = {
    let mut octets = [[b'.'; 4]; 256];
    let mut n = 0;
    while n < 256 {
        let digits = [b'0' + (n / 100) as u8, b'0' + (n / 10 % 10) as u8, b'0' + (n % 10) as u8];
        let skipped = 3 - octet_len(n as u8);
        let mut at = skipped;
        while at < 3 {
            octets[n][at - skipped] = digits[at];
            at += 1;
        }
        n += 1;
    }
    octets
};

#[inline(always)]
const fn octet_len(octet: u8) -> usize {
    1 + (octet > 9) as usize + (octet > 99) as usize
}

/// A number in decimal digits: `1*DIGIT` (RFC 3261 section 25.1), the shortest. Any `u32` has its place.
#[derive(Clone, Copy, Debug)]
pub struct Digits {
    text: [u8; 16],
    len: u8,
}

impl Digits {
    /// The shortest decimal form of `number`.
    #[inline]
    #[must_use]
    pub fn new(number: u32) -> Self {
        const MILLION: u32 = 1_000_000;
        if number < MILLION {
            let (word, len) = shortest(six(number));
            return Self { text: u128::from(word).to_le_bytes(), len: len as u8 };
        }
        let (word, len) = shortest(six(number / MILLION));
        let word = u128::from(word) | u128::from(six(number % MILLION)) << (8 * len);
        Self { text: word.to_le_bytes(), len: len as u8 + 6 }
    }

    /// The digits.
    #[inline]
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        self.text.get(..usize::from(self.len)).unwrap_or_default()
    }

    /// The digits with arbitrary octets after them, and how many they are.
    #[inline(always)]
    pub(crate) fn block(&self) -> (&[u8; 16], usize) {
        (&self.text, usize::from(self.len))
    }
}

/// Six digits of a number below a million, the first one lowest.
#[inline(always)]
fn six(number: u32) -> u64 {
    let pair = |n: u32| u64::from(PAIRS[n as usize % 100]);
    pair(number / 10_000) | pair(number / 100 % 100) << 16 | pair(number % 100) << 32
}

/// Without the zeros at the front, and how many digits are left.
#[inline(always)]
fn shortest(six: u64) -> (u64, u32) {
    // The last digit stays, whatever it is.
    let zeros = ((six ^ 0x3030_3030_3030) | 1 << 40).trailing_zeros() / 8;
    (six >> (8 * zeros), 6 - zeros)
}

/// Writes an address to the front of `room`, and arbitrary octets after it; returns its length.
#[inline(always)]
pub(crate) fn write_v4(room: &mut [u8; 16], address: Ipv4Addr) -> usize {
    let mut at = 0;
    for octet in address.octets() {
        if let Some(place) = room.get_mut(at..).and_then(<[u8]>::first_chunk_mut::<4>) {
            *place = OCTETS[usize::from(octet)];
        }
        at += octet_len(octet) + 1;
    }
    at - 1
}

/// An address, or an address and port, as text: `host` or `hostport` (RFC 3261 section 25.1), IPv6 in the form of RFC 5952. Any
/// address has its place.
#[derive(Clone, Copy, Debug)]
pub struct AddressText {
    /// The longest is "[" 39 characters (45 with an IPv4 tail) "]:65535".
    text: [u8; 56],
    len: u8,
}

impl AddressText {
    /// The address as `received` carries it: an IPv6 address without brackets (RFC 5118 section 4.5).
    #[must_use]
    pub fn received(address: IpAddr) -> Self {
        let mut text = Self { text: [0; 56], len: 0 };
        text.ip(address);
        text
    }

    /// `hostport`: an IPv6 address in brackets, and the port.
    #[must_use]
    pub fn host_port(address: SocketAddr) -> Self {
        let mut text = Self { text: [0; 56], len: 0 };
        let brackets = address.is_ipv6();
        if brackets {
            text.put(b"[");
        }
        text.ip(address.ip());
        if brackets {
            text.put(b"]");
        }
        text.put(b":");
        text.put(Digits::new(u32::from(address.port())).as_bytes());
        text
    }

    /// The text.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        self.text.get(..usize::from(self.len)).unwrap_or_default()
    }

    fn ip(&mut self, address: IpAddr) {
        match address {
            IpAddr::V4(address) => self.v4(address),
            // Cannot fail: `put` always takes what an address can have.
            IpAddr::V6(address) => write!(self, "{address}").unwrap_or_default(),
        }
    }

    fn v4(&mut self, address: Ipv4Addr) {
        let from = usize::from(self.len);
        if let Some(room) = self.text.get_mut(from..).and_then(<[u8]>::first_chunk_mut::<16>) {
            self.len += write_v4(room, address) as u8;
        }
    }

    fn put(&mut self, text: &[u8]) {
        let from = usize::from(self.len);
        if let Some(place) = self.text.get_mut(from..from + text.len()) {
            place.copy_from_slice(text);
            self.len += text.len() as u8;
        }
    }
}

impl Write for AddressText {
    fn write_str(&mut self, text: &str) -> core::fmt::Result {
        self.put(text.as_bytes());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_the_standard_library_writes_them() {
        let powers = (0..10).map(|power| 10u32.pow(power));
        let edges = powers.flat_map(|n| [n - 1, n, n + 1]).chain([u32::MAX - 1, u32::MAX]);
        for n in edges.chain(0..70_000).chain((0..u32::MAX).step_by(99_991)) {
            assert_eq!(Digits::new(n).as_bytes(), n.to_string().as_bytes());
        }
        for octet in 0..=255 {
            for a in [[octet, 0, 255, 10], [255, octet, 255, octet], [1, 99, octet, 100]] {
                let address = IpAddr::from(a);
                assert_eq!(AddressText::received(address).as_bytes(), address.to_string().as_bytes());
            }
        }
        for a in [
            "0.0.0.0:0",
            "255.255.255.255:65535",
            "10.1.20.3:5060",
            "[2001:db8::1]:5060",
            "[ffff:eeee:dddd:cccc:bbbb:aaaa:9999:8888]:65535",
            "[::ffff:255.255.255.255]:1",
        ] {
            let address: SocketAddr = a.parse().unwrap();
            assert_eq!(AddressText::host_port(address).as_bytes(), address.to_string().as_bytes());
            assert_eq!(AddressText::received(address.ip()).as_bytes(), address.ip().to_string().as_bytes());
        }
    }
}
