//! Packets for the table, written field by field. Independent of `strowger_wire`, whose decoder the
//! program uses: an error there must not hide itself here.
#![allow(dead_code, reason = "each test takes what it needs")]

use std::net::{IpAddr, SocketAddr};

pub(crate) const CUSTOMER: u16 = 0x8100;
pub(crate) const SERVICE: u16 = 0x88a8;

/// One packet: plain SIP over UDP until told otherwise. Lengths are right unless they are set.
#[derive(Clone)]
pub(crate) struct Packet {
    dst_mac: [u8; 6],
    tags: Vec<u16>,
    ethertype: Option<u16>,
    src: SocketAddr,
    dst: SocketAddr,
    version_ihl: Option<u8>,
    options: Vec<u8>,
    fragment: u16,
    protocol: u8,
    extension: Vec<u8>,
    ip_length: Option<u16>,
    udp_length: Option<u16>,
    payload: Vec<u8>,
    padding: usize,
    cut: Option<usize>,
    checksum: Checksum,
}

/// What stands in the UDP header for a checksum.
#[derive(Clone, Copy)]
enum Checksum {
    None,
    Whole,
    /// Of the pseudo-header alone, as a sender leaves it to a NIC.
    Partial,
}

/// From 10.77.0.1 or fd77::1, port 5061, to `listener`.
pub(crate) fn to(listener: &str) -> Packet {
    let dst: SocketAddr = listener.parse().unwrap();
    let src: IpAddr = if dst.is_ipv4() { [10, 77, 0, 1].into() } else { "fd77::1".parse().unwrap() };
    Packet {
        dst_mac: [0x02, 0, 0, 0, 0, 0x02],
        tags: Vec::new(),
        ethertype: None,
        src: SocketAddr::new(src, 5061),
        dst,
        version_ihl: None,
        options: Vec::new(),
        fragment: 0,
        protocol: 17,
        extension: Vec::new(),
        ip_length: None,
        udp_length: None,
        payload: b"OPTIONS sip:10.77.0.2 SIP/2.0\r\nContent-Length: 0\r\n\r\n".to_vec(),
        padding: 0,
        cut: None,
        checksum: Checksum::None,
    }
}

impl Packet {
    /// From another address and port.
    pub(crate) fn from(mut self, src: SocketAddr) -> Self {
        assert_eq!(src.is_ipv4(), self.dst.is_ipv4());
        self.src = src;
        self
    }

    pub(crate) fn mac(mut self, dst_mac: [u8; 6]) -> Self {
        self.dst_mac = dst_mac;
        self
    }

    /// One more tag, inside of those before; its TPID.
    pub(crate) fn tag(mut self, tpid: u16) -> Self {
        self.tags.push(tpid);
        self
    }

    pub(crate) fn ethertype(mut self, ethertype: u16) -> Self {
        self.ethertype = Some(ethertype);
        self
    }

    pub(crate) fn version_ihl(mut self, byte: u8) -> Self {
        self.version_ihl = Some(byte);
        self
    }

    /// IPv4 options, a multiple of 4 bytes; IHL counts them.
    pub(crate) fn options(mut self, bytes: &[u8]) -> Self {
        assert_eq!(bytes.len() % 4, 0);
        self.options = bytes.to_vec();
        self
    }

    /// IPv4's flags and fragment offset.
    pub(crate) fn fragment(mut self, word: u16) -> Self {
        self.fragment = word;
        self
    }

    pub(crate) fn protocol(mut self, protocol: u8) -> Self {
        self.protocol = protocol;
        self
    }

    /// An IPv6 extension header of 8 bytes, announced as `next_header`.
    pub(crate) fn extension(mut self, next_header: u8) -> Self {
        self.protocol = next_header;
        self.extension = vec![17, 0, 1, 4, 0, 0, 0, 0];
        self
    }

    /// What stands in the place of that header: as long as one likes, its first byte the next header.
    pub(crate) fn extension_bytes(mut self, bytes: &[u8]) -> Self {
        self.extension = bytes.to_vec();
        self
    }

    pub(crate) fn ip_length(mut self, length: u16) -> Self {
        self.ip_length = Some(length);
        self
    }

    pub(crate) fn udp_length(mut self, length: u16) -> Self {
        self.udp_length = Some(length);
        self
    }

    pub(crate) fn payload(mut self, payload: Vec<u8>) -> Self {
        self.payload = payload;
        self
    }

    /// A UDP checksum that holds, instead of none.
    pub(crate) fn checksum(mut self) -> Self {
        self.checksum = Checksum::Whole;
        self
    }

    /// The sum of the pseudo-header in its place.
    pub(crate) fn partial_checksum(mut self) -> Self {
        self.checksum = Checksum::Partial;
        self
    }

    /// Bytes after the IP packet.
    pub(crate) fn padding(mut self, bytes: usize) -> Self {
        self.padding = bytes;
        self
    }

    /// Only the first `bytes` of the frame.
    pub(crate) fn cut(mut self, bytes: usize) -> Self {
        self.cut = Some(bytes);
        self
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut frame = self.dst_mac.to_vec();
        frame.extend([0x02, 0, 0, 0, 0, 0x01]);
        for tpid in &self.tags {
            frame.extend(tpid.to_be_bytes());
            frame.extend([0x00, 0x64]);
        }
        let is_v4 = self.dst.is_ipv4();
        frame.extend(self.ethertype.unwrap_or(if is_v4 { 0x0800 } else { 0x86dd }).to_be_bytes());
        let udp_len = 8 + self.payload.len();
        if is_v4 {
            self.put_ipv4(&mut frame, udp_len)
        } else {
            self.put_ipv6(&mut frame, udp_len)
        }
        frame.extend(&self.extension);
        frame.extend(self.src.port().to_be_bytes());
        frame.extend(self.dst.port().to_be_bytes());
        frame.extend(self.udp_length.unwrap_or(udp_len as u16).to_be_bytes());
        frame.extend(self.sum(udp_len).to_be_bytes());
        frame.extend(&self.payload);
        frame.resize(frame.len() + self.padding, 0xaa);
        frame.truncate(self.cut.unwrap_or(frame.len()));
        frame
    }

    fn put_ipv4(&self, frame: &mut Vec<u8>, udp_len: usize) {
        let ihl = 5 + self.options.len() / 4;
        let total = self.ip_length.unwrap_or((4 * ihl + udp_len) as u16);
        frame.extend([self.version_ihl.unwrap_or(0x40 | ihl as u8), 0]);
        frame.extend(total.to_be_bytes());
        frame.extend([0x12, 0x34]);
        frame.extend(self.fragment.to_be_bytes());
        frame.extend([64, self.protocol, 0, 0]);
        self.put_addresses(frame);
        frame.extend(&self.options);
    }

    fn put_ipv6(&self, frame: &mut Vec<u8>, udp_len: usize) {
        let length = self.ip_length.unwrap_or((self.extension.len() + udp_len) as u16);
        frame.extend([self.version_ihl.unwrap_or(0x60), 0, 0, 0]);
        frame.extend(length.to_be_bytes());
        frame.extend([self.protocol, 64]);
        self.put_addresses(frame);
    }

    fn put_addresses(&self, frame: &mut Vec<u8>) {
        for end in [self.src, self.dst] {
            match end.ip() {
                IpAddr::V4(ip) => frame.extend(ip.octets()),
                IpAddr::V6(ip) => frame.extend(ip.octets()),
            }
        }
    }

    /// RFC 768, word by word.
    fn sum(&self, udp_len: usize) -> u16 {
        let mut words = Vec::new();
        self.put_addresses(&mut words);
        words.extend([0, 17]);
        words.extend((udp_len as u16).to_be_bytes());
        if matches!(self.checksum, Checksum::Whole) {
            for number in [self.src.port(), self.dst.port(), udp_len as u16] {
                words.extend(number.to_be_bytes());
            }
            words.extend(&self.payload);
        }
        let mut sum = 0_u32;
        for pair in words.chunks(2) {
            sum += u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0));
            sum = (sum & 0xffff) + (sum >> 16);
        }
        match self.checksum {
            Checksum::None => 0,
            Checksum::Whole if sum == 0xffff => 0xffff,
            Checksum::Whole => !(sum as u16),
            Checksum::Partial => sum as u16,
        }
    }
}
