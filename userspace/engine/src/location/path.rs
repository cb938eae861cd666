//! How a contact is reached when its URI alone does not say: through the proxies of its Path (RFC 3327), over the flow
//! that its REGISTER came by (RFC 5626; NAT), or both.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// A flow of ours: from which listen address, and where to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BoundFlow {
    /// Index of the listen address.
    pub(crate) listen: u8,
    pub(crate) remote: SocketAddr,
}

/// The way to a contact.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Path<'a> {
    /// URIs of Path, the next hop first, as they go into a Route header: in angle brackets, with commas between; empty
    /// for none.
    pub(crate) routes: &'a [u8],
    /// Where the first hop is, be it the contact itself or the first proxy of `routes`; `None`: where its URI says.
    pub(crate) flow: Option<BoundFlow>,
}

impl<'a> Path<'a> {
    /// Octets of a packed flow at most.
    pub(crate) const FLOW: usize = 18;

    /// Octets of the packed flow.
    pub(super) fn flow_len(&self) -> u8 {
        match self.flow {
            None => 0,
            Some(flow) if flow.remote.is_ipv4() => 6,
            Some(_) => 18,
        }
    }

    /// Octets of all of it, packed.
    pub(super) fn len(&self) -> usize {
        self.routes.len() + usize::from(self.flow_len())
    }

    pub(super) fn pack(&self, text: &mut Vec<u8>) {
        text.extend_from_slice(self.routes);
        if let Some(flow) = self.flow {
            match flow.remote.ip() {
                IpAddr::V4(ip) => text.extend_from_slice(&ip.octets()),
                IpAddr::V6(ip) => text.extend_from_slice(&ip.octets()),
            }
            text.extend_from_slice(&flow.remote.port().to_be_bytes());
        }
    }

    /// From what [`pack`](Self::pack) wrote.
    pub(super) fn unpack(routes: &'a [u8], flow: &[u8], listen: u8) -> Self {
        let address = |ip: &[u8]| match <[u8; 4]>::try_from(ip) {
            Ok(octets) => Some(IpAddr::V4(Ipv4Addr::from(octets))),
            Err(_) => <[u8; 16]>::try_from(ip).ok().map(|octets| IpAddr::V6(Ipv6Addr::from(octets))),
        };
        let flow = flow.split_last_chunk::<2>().and_then(|(ip, port)| {
            let remote = SocketAddr::new(address(ip)?, u16::from_be_bytes(*port));
            Some(BoundFlow { listen, remote })
        });
        Self { routes, flow }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn unpacks_what_it_packed(routes in "[ -~]{0,40}", ip: Option<IpAddr>, port: u16, listen in 0u8..32) {
            let flow = ip.map(|ip| BoundFlow { listen, remote: SocketAddr::new(ip, port) });
            let path = Path { routes: routes.as_bytes(), flow };
            let mut text = Vec::new();
            path.pack(&mut text);
            prop_assert_eq!(text.len(), path.len());
            let (routes, flow) = text.split_at(routes.len());
            prop_assert_eq!(flow.len(), usize::from(path.flow_len()));
            prop_assert_eq!(Path::unpack(routes, flow, listen), path);
        }
    }
}
