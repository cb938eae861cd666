//! Numbers and addresses as text, on the stack: what edits and replies put into a message.

use core::fmt::Write;
use core::net::{IpAddr, Ipv4Addr, SocketAddr};

/// A number in decimal digits.
#[derive(Clone, Copy, Debug)]
pub struct Digits {
    text: [u8; 10],
    from: u8,
}

impl Digits {
    /// The shortest decimal form of `number`.
    #[must_use]
    pub fn new(number: u32) -> Self {
        let mut text = [0; 10];
        let mut from = text.len();
        let mut rest = number;
        for place in text.iter_mut().rev() {
            *place = b'0' + (rest % 10) as u8;
            from -= 1;
            rest /= 10;
            if rest == 0 {
                break;
            }
        }
        Self { text, from: from as u8 }
    }

    /// The digits.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        self.text.get(usize::from(self.from)..).unwrap_or_default()
    }
}

/// An address, or an address and port, as text.
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
        for (i, octet) in address.octets().into_iter().enumerate() {
            if i > 0 {
                self.put(b".");
            }
            self.put(Digits::new(u32::from(octet)).as_bytes());
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
        for n in [0, 1, 9, 10, 99, 100, 65535, 65536, u32::MAX - 1, u32::MAX] {
            assert_eq!(Digits::new(n).as_bytes(), n.to_string().as_bytes());
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
