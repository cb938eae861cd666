//! Frames from whatever addresses one likes: headers and payload written into an AF_XDP ring of the peers' interface.

use std::net::SocketAddr;
use std::ops::Range;

use strowger_wire::{Headers, MacAddr, VlanTags};
use strowger_xsk::{Device, Socket, SocketConfig};
use strowger_xtask::lab::Lab;
use strowger_xtask::namespace::Namespace;

use crate::bench::Bench;

/// Where the payload is in a frame: behind the longest headers.
const PAYLOAD: usize = 128;

/// Both ends of the wire, from the peers to the node.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ends {
    pub(crate) from: MacAddr,
    pub(crate) to: MacAddr,
}

impl Ends {
    pub(crate) fn of(bench: &Bench) -> Self {
        Self {
            from: mac(&bench.lab.peers, Lab::PEERS_INTERFACE),
            to: mac(&bench.lab.node, Lab::NODE_INTERFACE),
        }
    }
}

fn mac(namespace: &Namespace, interface: &str) -> MacAddr {
    let links = namespace.ip_json(&["link", "show", "dev", interface]).unwrap();
    let text = links[0]["address"].as_str().unwrap().to_owned();
    let octets: Vec<u8> = text.split(':').map(|octet| u8::from_str_radix(octet, 16).unwrap()).collect();
    MacAddr(octets.try_into().unwrap())
}

/// The ring.
pub(crate) struct Forge {
    socket: Socket,
    ends: Ends,
    packets: u64,
}

impl Forge {
    /// On the first queue of the peers' interface. Call it in the peers' namespace.
    pub(crate) fn open(ends: Ends) -> Self {
        let device = Device::find(Lab::PEERS_INTERFACE).unwrap();
        let socket = Socket::open(device.index, 0, &SocketConfig::default()).unwrap();
        Self { socket, ends, packets: 0 }
    }

    /// Puts a datagram into the ring; `false` when that is full.
    pub(crate) fn put(
        &mut self,
        (src, dst): (SocketAddr, SocketAddr),
        vlans: VlanTags,
        payload: &[u8],
    ) -> bool {
        let Some(mut frame) = self.socket.umem_mut().take() else { return false };
        let Ends { from, to } = self.ends;
        let ident = self.packets as u16;
        let headers = Headers { src_mac: from, dst_mac: to, vlans, src, dst, ttl: 64, tos: 0, ident };
        let chunk = self.socket.umem_mut().chunk_mut(&mut frame);
        let range: Range<usize> = PAYLOAD..PAYLOAD + payload.len();
        chunk[range.clone()].copy_from_slice(payload);
        let whole = headers.write(chunk, range).unwrap();
        frame.set_range(whole).unwrap();
        match self.socket.transmit(frame) {
            Ok(()) => self.packets += 1,
            Err(frame) => {
                self.socket.recycle(frame);
                return false;
            }
        }
        true
    }

    /// A datagram's frame, to be changed and [sent](Self::send_frame).
    pub(crate) fn frame(&self, (src, dst): (SocketAddr, SocketAddr), payload: &[u8]) -> Vec<u8> {
        let Ends { from, to } = self.ends;
        let vlans = VlanTags::NONE;
        let headers = Headers { src_mac: from, dst_mac: to, vlans, src, dst, ttl: 64, tos: 0, ident: 0 };
        let mut frame = vec![0; headers.len()];
        frame.extend_from_slice(payload);
        let whole = headers.write(&mut frame, headers.len()..headers.len() + payload.len()).unwrap();
        assert_eq!(whole, 0..frame.len());
        frame
    }

    /// Sends a frame as it is.
    pub(crate) fn send_frame(&mut self, bytes: &[u8]) {
        let mut frame = self.socket.umem_mut().take().expect("a frame is free");
        let chunk = self.socket.umem_mut().chunk_mut(&mut frame);
        chunk[PAYLOAD..PAYLOAD + bytes.len()].copy_from_slice(bytes);
        frame.set_range(PAYLOAD..PAYLOAD + bytes.len()).unwrap();
        assert!(self.socket.transmit(frame).is_ok(), "the ring has room");
        while self.socket.ring_use().tx > 0 {
            self.service();
        }
    }

    /// Makes the kernel send what is in the ring, and takes back what is sent.
    pub(crate) fn service(&mut self) {
        self.socket.service();
    }

    /// Puts a datagram into the ring, as soon as there is room, and sees it sent.
    pub(crate) fn send(&mut self, ends: (SocketAddr, SocketAddr), vlans: VlanTags, payload: &[u8]) {
        while !self.put(ends, vlans, payload) {
            self.service();
        }
        while self.socket.ring_use().tx > 0 {
            self.service();
        }
    }

    /// How many were sent: what is still in the ring was not.
    pub(crate) fn sent(&self) -> u64 {
        self.packets - u64::from(self.socket.ring_use().tx)
    }
}
