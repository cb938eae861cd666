//! The other end: as many datagrams under way as the window says, one more for each that came back. So nothing is
//! sent that the machine cannot take, and the rate is what it moves.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use serde::Serialize;
use strowger_xsk::KernelSocket;

/// Octets of each of the socket's buffers.
const BUFFER: usize = 8 << 20;
/// After so long without a datagram, those that are out are lost.
const LOST_AFTER: Duration = Duration::from_millis(200);

/// What came back.
#[derive(Debug, Serialize)]
pub(crate) struct Echoed {
    /// Datagrams under way at once.
    window: u32,
    /// Octets of a frame: payload, UDP, IPv4 or IPv6, Ethernet.
    frame_octets: u32,
    /// How long it was measured.
    seconds: f64,
    /// Datagrams sent.
    sent: u64,
    /// Of these, back in time.
    echoed: u64,
    /// Of these, lost.
    lost: u64,
    /// Datagrams a second, there and back.
    per_second: f64,
    /// With a window of 1: half of them were back after so many nanoseconds.
    p50_ns: Option<u64>,
    /// And 99 of 100.
    p99_ns: Option<u64>,
}

/// Sends for so long.
///
/// # Errors
/// There is no socket to be had, or nothing ever comes back.
pub(crate) fn run(
    local: SocketAddr,
    to: SocketAddr,
    window: u32,
    octets: u16,
    seconds: u64,
    stop: &AtomicBool,
) -> Result<Echoed, String> {
    let mut socket = KernelSocket::bind(local, false, BUFFER).map_err(|error| format!("{local}: {error}"))?;
    let payload = payload(usize::from(octets));
    knock(&mut socket, &payload, to)?;
    let window = u64::from(window);
    let mut times = Vec::new();
    let (mut sent, mut echoed, mut lost, mut out) = (0_u64, 0_u64, 0_u64, 0_u64);
    let began = Instant::now();
    let until = began + Duration::from_secs(seconds);
    let mut left = began;
    while Instant::now() < until && !stop.load(Ordering::Relaxed) {
        if out < window {
            left = Instant::now();
            while out < window {
                if socket.send_copy(&payload, to) {
                    sent += 1;
                    out += 1;
                } else {
                    break;
                }
            }
            socket.flush();
        }
        let came = socket.receive() as u64;
        if came > 0 {
            if window == 1 {
                times.push(u64::try_from(left.elapsed().as_nanos()).unwrap_or(u64::MAX));
            }
            echoed += came;
            out = out.saturating_sub(came);
        } else if !readable(&socket, LOST_AFTER)? {
            lost += out;
            out = 0;
        }
    }
    let seconds = began.elapsed().as_secs_f64();
    if echoed == 0 {
        return Err(format!("nothing came back from {to}"));
    }
    times.sort_unstable();
    let quantile = |part: f64| times.get((times.len() as f64 * part) as usize).copied();
    let headers = if to.is_ipv4() { 42 } else { 62 };
    Ok(Echoed {
        window: u32::try_from(window).unwrap_or(u32::MAX),
        frame_octets: u32::from(octets) + headers,
        seconds,
        sent,
        echoed,
        lost,
        per_second: echoed as f64 / seconds,
        p50_ns: quantile(0.5),
        p99_ns: quantile(0.99),
    })
}

/// Until the first comes back: the neighbour is not resolved yet, and the reflector may not be up.
fn knock(socket: &mut KernelSocket, payload: &[u8], to: SocketAddr) -> Result<(), String> {
    for _ in 0..100 {
        socket.send_copy(payload, to);
        socket.flush();
        if readable(socket, Duration::from_millis(50))? && socket.receive() > 0 {
            // What is late would be counted as an echo.
            while readable(socket, Duration::from_millis(20))? {
                socket.receive();
            }
            return Ok(());
        }
    }
    Err(format!("nobody reflects at {to}"))
}

fn readable(socket: &KernelSocket, limit: Duration) -> Result<bool, String> {
    let limit = Timespec { tv_sec: 0, tv_nsec: i64::from(limit.subsec_nanos()) };
    let mut fds = [PollFd::new(socket, PollFlags::IN)];
    match poll(&mut fds, Some(&limit)) {
        Ok(ready) => Ok(ready > 0),
        Err(rustix::io::Errno::INTR) => Ok(true),
        Err(error) => Err(format!("poll: {error}")),
    }
}

/// As long as asked for. It begins as a SIP message does, for programs on the way that look.
fn payload(octets: usize) -> Vec<u8> {
    let mut payload = b"OPTIONS sip:10.77.0.2 SIP/2.0\r\nCall-ID: reflected\r\n\r\n".to_vec();
    payload.resize(octets, b'x');
    payload
}
