//! The reflector: one AF_XDP socket on queue 0, no SIP.

use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::time::{ClockId, clock_gettime};
use strowger_wire::decode;
use strowger_xdp::{AttachMode, LoadOptions, Program};
use strowger_xsk::{Device, FrameBatch, Mode, RingSizes, Socket, SocketConfig, UmemConfig};

/// The node's own sizes: what differs is what is done, not where.
const SIZES: SocketConfig = SocketConfig {
    umem: UmemConfig { frames: 4096, chunk: 4096, headroom: 256, huge: true },
    rings: RingSizes { rx: 2048, tx: 2048, fill: 2048, completion: 2048 },
    mode: Mode::Auto,
    need_wakeup: true,
};
/// Turns without a frame after which we sleep until one comes.
const IDLE_TURNS: u32 = 64;

/// Reflects until told to stop.
///
/// # Errors
/// The interface is not there, or a privilege, or something else serves it.
pub(crate) fn run(
    interface: &str,
    listen: SocketAddr,
    generic: bool,
    stop: &AtomicBool,
) -> Result<(), String> {
    let device = Device::find(interface).map_err(|error| format!("{interface}: {error}"))?;
    let attach = if generic { AttachMode::Generic } else { AttachMode::Native };
    let config = SocketConfig { mode: if generic { Mode::Copy } else { Mode::Auto }, ..SIZES };
    let mut program = Program::load(&LoadOptions::default()).map_err(|error| error.to_string())?;
    program.listen(listen).map_err(|error| error.to_string())?;
    let mut socket = Socket::open(device.index, 0, &config).map_err(|error| error.to_string())?;
    program.set_socket(0, 0, socket.as_fd()).map_err(|error| error.to_string())?;
    let heartbeat = program.heartbeat(0).map_err(|error| error.to_string())?;
    heartbeat.beat(now_ns());
    program.attach(device.index, attach).map_err(|error| error.to_string())?;
    println!("reflecting {listen} on {interface}, {:?} {:?}", attach, socket.mode());

    let mut batch = FrameBatch::new();
    let mut idle = 0;
    while !stop.load(Ordering::Relaxed) {
        heartbeat.beat(now_ns());
        let came = socket.receive(&mut batch);
        while let Some(mut frame) = batch.pop() {
            let range = frame.range();
            let chunk = socket.umem_mut().chunk_mut(&mut frame);
            let turned = chunk.get_mut(range).is_some_and(turn);
            if !turned {
                socket.recycle(frame);
            } else if let Err(frame) = socket.transmit(frame) {
                socket.recycle(frame);
            }
        }
        socket.service();
        idle = if came > 0 { 0 } else { idle + 1 };
        if idle > IDLE_TURNS {
            // Well under the age at which the program passes a worker by.
            let limit = Timespec { tv_sec: 0, tv_nsec: 20_000_000 };
            let mut fds = [PollFd::new(&socket, PollFlags::IN)];
            let _ = poll(&mut fds, Some(&limit));
        }
    }
    Ok(())
}

/// Exchanges the addresses and ports of a UDP datagram over IPv4 in its frame; false for anything else. The checksum of
/// IPv4 stays right; that of UDP is left out, since a veth delivers it half done.
fn turn(frame: &mut [u8]) -> bool {
    let Ok(datagram) = decode(frame) else { return false };
    let payload = datagram.payload_range();
    // Without VLAN tags and options: Ethernet, IPv4, UDP.
    if !datagram.source().is_ipv4() || payload.start != 42 {
        return false;
    }
    let Some(headers) = frame.first_chunk_mut::<42>() else { return false };
    let (destination, source) = headers[..12].split_at_mut(6);
    destination.swap_with_slice(source);
    let (source, destination) = headers[26..34].split_at_mut(4);
    source.swap_with_slice(destination);
    headers.swap(34, 36);
    headers.swap(35, 37);
    headers[40..42].fill(0);
    true
}

fn now_ns() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, SocketAddrV4};

    use strowger_wire::{Headers, MacAddr};

    use super::*;

    #[test]
    fn a_frame_goes_back_where_it_came_from() {
        let (near, far) = (
            SocketAddrV4::new(Ipv4Addr::new(10, 0, 0, 1), 5060),
            SocketAddrV4::new(Ipv4Addr::new(10, 0, 0, 9), 4711),
        );
        let headers = Headers {
            src_mac: MacAddr([4; 6]),
            dst_mac: MacAddr([2; 6]),
            vlans: Default::default(),
            src: far.into(),
            dst: near.into(),
            ttl: 64,
            tos: 0,
            ident: 0,
        };
        let mut chunk = [0_u8; 256];
        chunk[100..105].copy_from_slice(b"hello");
        let range = headers.write(&mut chunk, 100..105).unwrap();
        let frame = &mut chunk[range];
        assert!(turn(frame));
        let datagram = decode(frame).unwrap();
        assert_eq!((datagram.source(), datagram.destination()), (near.into(), far.into()));
        assert_eq!(&frame[..12], &[[4; 6], [2; 6]].concat()[..]);
        assert_eq!(&frame[datagram.payload_range()], b"hello");
        assert!(!turn(&mut frame[..20]), "a runt stays");
    }
}
