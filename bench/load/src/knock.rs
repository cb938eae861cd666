//! Is there a SIP server at all? Asked once before a run, so that a wrong address costs seconds and not a run.

use std::io::ErrorKind;
use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use strowger_sip::{Index, Message};

use crate::failure::Failure;

/// How long an answer is waited for.
const PATIENCE: Duration = Duration::from_secs(3);
/// Between two tries: T1 (RFC 3261 section 17.1.2.2).
const AGAIN: Duration = Duration::from_millis(500);

/// Sends OPTIONS from any port of `local` until a response comes; any response will do. In the calling thread's
/// network namespace.
///
/// # Errors
/// [`Failure::Silent`], [`Failure::Refused`], [`Failure::WrongPeer`], [`Failure::Unreachable`], [`Failure::Local`].
pub fn knock(local: SocketAddr, target: SocketAddr, domain: &str) -> Result<(), Failure> {
    let source = SocketAddr::new(local.ip(), 0);
    let cannot =
        |error: std::io::Error| Failure::Local { what: format!("cannot use {}: {error}", source.ip()) };
    let unreachable = |error| Failure::Unreachable { target, local: source, error };
    let socket = UdpSocket::bind(source).map_err(cannot)?;
    // Connected, so that an ICMP error comes back to us.
    socket.connect(target).map_err(unreachable)?;
    socket.set_read_timeout(Some(AGAIN)).map_err(cannot)?;
    let source = socket.local_addr().map_err(cannot)?;
    let branch = format!("z9hG4bK-knock-{}-{}", std::process::id(), source.port());
    let request = format!(
        "OPTIONS sip:{domain} SIP/2.0\r\nVia: SIP/2.0/UDP {source};branch={branch};rport\r\nMax-Forwards: 70\r\n\
         From: <sip:knock@{domain}>;tag=knock\r\nTo: <sip:{domain}>\r\nCall-ID: {branch}\r\nCSeq: 1 OPTIONS\r\n\
         Contact: <sip:knock@{source}>\r\nContent-Length: 0\r\n\r\n"
    );
    let until = Instant::now() + PATIENCE;
    let mut buffer = [0; 65_535];
    let mut wrong = None;
    let mut refused = false;
    while Instant::now() < until {
        match socket.send(request.as_bytes()) {
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::ConnectionRefused => refused = true,
            Err(error) => return Err(unreachable(error)),
        }
        match socket.recv(&mut buffer) {
            Ok(len) => match judge(buffer.get(..len).unwrap_or_default(), branch.as_bytes()) {
                Ok(()) => return Ok(()),
                Err(what) => wrong = Some(what),
            },
            Err(error) if error.kind() == ErrorKind::ConnectionRefused => {
                refused = true;
                // It may be about to start.
                std::thread::sleep(AGAIN.min(until.saturating_duration_since(Instant::now())));
            }
            Err(error)
                if matches!(
                    error.kind(),
                    ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted
                ) => {}
            Err(error) => return Err(unreachable(error)),
        }
    }
    Err(match (wrong, refused) {
        (Some(what), _) => Failure::WrongPeer { target, what },
        (None, true) => Failure::Refused { target },
        (None, false) => Failure::Silent { target, seconds: PATIENCE.as_secs() },
    })
}

fn judge(datagram: &[u8], branch: &[u8]) -> Result<(), String> {
    let mut index = Index::new();
    let message = Message::parse(datagram, &mut index)
        .map_err(|error| format!("{} octets that are no SIP message ({error})", datagram.len()))?;
    if message.is_request() {
        return Err("our own request came back: it is an echo".to_owned());
    }
    match message.top_via() {
        Ok(via) if via.branch() == Some(branch) => Ok(()),
        _ => Err("a response to something else: its Via is not ours".to_owned()),
    }
}
