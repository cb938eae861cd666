//! One question to rtnetlink: which XDP program is on an interface?
//!
//! The link's own interface (BPF_LINK_*) doesn't know programs that were attached by netlink, as iproute2
//! does. One message and one answer; not worth an asynchronous netlink library.

use std::io;

use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketType, recv, send, socket};

/// linux/netlink.h, linux/rtnetlink.h.
const NLMSG_ERROR: u16 = 2;
const NLM_F_REQUEST: u16 = 1;
const RTM_NEWLINK: u16 = 16;
const RTM_GETLINK: u16 = 18;
/// Bytes of `struct nlmsghdr` and of `struct ifinfomsg`.
const NLMSGHDR_LEN: usize = 16;
const IFINFOMSG_LEN: usize = 16;
/// linux/if_link.h. Nested attributes may carry flags in the two upper bits of their type.
const IFLA_XDP: u16 = 43;
const IFLA_XDP_ATTACHED: u16 = 2;
const ATTRIBUTE_TYPE_MASK: u16 = 0x3fff;
/// The program in whichever mode there is one; drivers, generic and hardware when there are several.
const IFLA_XDP_IDS: [u16; 4] = [4, 5, 6, 7];

/// An answer about one interface is 1 to 2 KB; statistics of many VFs, which we don't ask for, are more.
const ANSWER_LEN: usize = 32 * 1024;

/// Whether an XDP program is on an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Attached {
    No,
    Yes { id: Option<u32> },
}

/// Asks the kernel about `ifindex` of the calling thread's network namespace. ENODEV when there is none.
pub(super) fn attached(ifindex: u32) -> io::Result<Attached> {
    // No protocol is protocol 0, which is NETLINK_ROUTE.
    let socket = socket(AddressFamily::NETLINK, SocketType::RAW, None)?;
    let mut request = Vec::with_capacity(NLMSGHDR_LEN + IFINFOMSG_LEN);
    request.extend(((NLMSGHDR_LEN + IFINFOMSG_LEN) as u32).to_ne_bytes());
    request.extend(RTM_GETLINK.to_ne_bytes());
    request.extend(NLM_F_REQUEST.to_ne_bytes());
    request.extend(1u32.to_ne_bytes()); // sequence
    request.extend(0u32.to_ne_bytes()); // port: the kernel
    request.extend([0; 4]); // family, type
    request.extend(ifindex.to_ne_bytes());
    request.extend([0; 8]); // flags, change
    send(&socket, &request, SendFlags::empty())?;
    let mut answer = vec![0; ANSWER_LEN];
    let (_, len) = recv(&socket, &mut answer[..], RecvFlags::empty())?;
    parse(answer.get(..len).unwrap_or_default())
}

fn parse(answer: &[u8]) -> io::Result<Attached> {
    let kind = u16_at(answer, 4).ok_or_else(malformed)?;
    let body = answer.get(NLMSGHDR_LEN..).ok_or_else(malformed)?;
    match kind {
        RTM_NEWLINK => {
            let attributes = body.get(IFINFOMSG_LEN..).ok_or_else(malformed)?;
            Ok(find(attributes, IFLA_XDP).map_or(Attached::No, program))
        }
        NLMSG_ERROR => {
            let error = u32_at(body, 0).ok_or_else(malformed)?.cast_signed();
            Err(io::Error::from_raw_os_error(-error))
        }
        _ => Err(malformed()),
    }
}

fn program(xdp: &[u8]) -> Attached {
    match find(xdp, IFLA_XDP_ATTACHED) {
        None | Some([0, ..] | []) => Attached::No,
        Some(_) => {
            let mut ids = IFLA_XDP_IDS.into_iter().filter_map(|kind| u32_at(find(xdp, kind)?, 0));
            Attached::Yes { id: ids.next() }
        }
    }
}

/// The payload of the first attribute `kind` among `attributes` (`struct rtattr`, aligned to 4).
fn find(mut attributes: &[u8], kind: u16) -> Option<&[u8]> {
    loop {
        let len = usize::from(u16_at(attributes, 0)?);
        let payload = attributes.get(4..len)?;
        if u16_at(attributes, 2)? & ATTRIBUTE_TYPE_MASK == kind {
            return Some(payload);
        }
        attributes = attributes.get(len.next_multiple_of(4)..)?;
    }
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..)?.first_chunk().map(|bytes| u16::from_ne_bytes(*bytes))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().map(|bytes| u32::from_ne_bytes(*bytes))
}

fn malformed() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "an answer of rtnetlink that can't be read")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attribute(kind: u16, payload: &[u8]) -> Vec<u8> {
        let mut bytes = (4 + payload.len() as u16).to_ne_bytes().to_vec();
        bytes.extend(kind.to_ne_bytes());
        bytes.extend(payload);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    }

    fn answer(kind: u16, body: &[u8]) -> Vec<u8> {
        let mut bytes = ((NLMSGHDR_LEN + body.len()) as u32).to_ne_bytes().to_vec();
        bytes.extend(kind.to_ne_bytes());
        bytes.extend([0; 10]);
        bytes.extend(body);
        bytes
    }

    fn link(attributes: &[Vec<u8>]) -> Vec<u8> {
        answer(RTM_NEWLINK, &[vec![0; IFINFOMSG_LEN], attributes.concat()].concat())
    }

    #[test]
    fn the_program_is_found_behind_other_attributes() {
        let xdp = [attribute(IFLA_XDP_ATTACHED, &[2]), attribute(4, &77u32.to_ne_bytes())].concat();
        let name = attribute(3, b"sw-node\0");
        // NLA_F_NESTED, as newer kernels may say.
        let message = link(&[name.clone(), attribute(IFLA_XDP | 0x8000, &xdp)]);
        assert_eq!(parse(&message).unwrap(), Attached::Yes { id: Some(77) });
        let none = link(&[name, attribute(IFLA_XDP, &attribute(IFLA_XDP_ATTACHED, &[0]))]);
        assert_eq!(parse(&none).unwrap(), Attached::No);
    }

    #[test]
    fn an_error_is_the_kernels() {
        let message = answer(NLMSG_ERROR, &(-libc::ENODEV).to_ne_bytes());
        assert_eq!(parse(&message).unwrap_err().raw_os_error(), Some(libc::ENODEV));
    }

    #[test]
    fn a_cut_answer_is_survived() {
        let xdp = [attribute(IFLA_XDP_ATTACHED, &[2]), attribute(4, &77u32.to_ne_bytes())].concat();
        let message = link(&[attribute(IFLA_XDP, &xdp)]);
        for len in 0..message.len() {
            assert_ne!(parse(&message[..len]).ok(), Some(Attached::Yes { id: Some(77) }));
        }
        // An attribute that says it is empty must not hold the walk up.
        assert_eq!(parse(&link(&[vec![0; 8]])).unwrap(), Attached::No);
    }

    #[test]
    fn loopback_has_none_and_a_missing_interface_is_enodev() {
        assert_eq!(attached(1).unwrap(), Attached::No);
        assert_eq!(attached(0x7fff_fff0).unwrap_err().raw_os_error(), Some(libc::ENODEV));
    }
}
