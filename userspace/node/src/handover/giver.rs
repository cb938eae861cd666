//! The side of the node that runs and goes.
//!
//! On the control side's thread stands [`answer`]; what waits for the other process runs beside it, so that the status socket, policing
//! and the watchdog go on meanwhile.

use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::process::{PidfdFlags, getpid, pidfd_open};
use strowger_engine::{Location, Time};

use super::line::{DESCRIPTORS, HangUp, Kind, Line, Parcel};
use super::{Account, GivenBan, Offer, format};
use crate::dataplane::Doors;
use crate::dataplane::watch::Serving;
use crate::orders::Orders;
use crate::policing::Police;
use crate::status::view::View;
use crate::successor::is_stranger;
use crate::worker::{Wakers, monotonic};

/// How long the new node may take to make its tables, and to put the copy into them.
const PREPARING: Duration = Duration::from_secs(120);
/// How long it may not read. Records that workers replace meanwhile stay in memory.
const READING: Duration = Duration::from_secs(5);
/// How long a worker may take to stand still. One that is stuck never does.
const STANDING: Duration = Duration::from_millis(500);
/// How long the new node may take in the gap.
const GAP: Duration = Duration::from_secs(2);
/// How often it is looked whether all stand still.
const LOOK: Duration = Duration::from_micros(100);
/// Users changed so shortly before the copy are given once more: a worker's turn may have begun before it.
const OVERLAP: Duration = Duration::from_secs(1);
/// Bans in a frame.
const BANS: usize = 1000;

/// What there is to give, besides the status socket.
pub(crate) struct Estate {
    pub offer: Offer,
    pub location: Arc<Location>,
    pub orders: Arc<Orders>,
    pub wakers: Wakers,
    pub doors: Arc<Doors>,
    pub serving: Serving,
    /// How many workers there are.
    pub workers: usize,
}

/// What was given.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Given {
    /// To which process.
    pub to: u32,
    /// Users in the copy, and once more.
    pub users: (usize, usize),
    /// Bans.
    pub bans: usize,
    /// How long the workers stood still before the other one had it.
    pub stood: Duration,
}

/// Workers that stand still, and go on when this is dropped, unless they have been given up.
struct Standing {
    orders: Arc<Orders>,
    given_up: bool,
}

impl Standing {
    fn still(estate: &Estate) -> Standing {
        estate.orders.stand_still();
        estate.wakers.wake_all();
        Standing { orders: Arc::clone(&estate.orders), given_up: false }
    }
}

impl Drop for Standing {
    fn drop(&mut self) {
        if !self.given_up {
            self.orders.go_on();
        }
    }
}

/// Answers whoever asks for this node's place, in a format that he names: with everything, or with why not.
pub(crate) async fn answer(view: &View, desk: Arc<OwnedFd>, mut stream: UnixStream, wanted: &str) {
    let asker = rustix::net::sockopt::socket_peercred(&stream).map(|peer| peer.pid);
    let refusal = if wanted != format() {
        let version = env!("CARGO_PKG_VERSION");
        Some(format!("it is strowger {version} and speaks format {} and not {wanted}", format()))
    } else if asker.is_ok_and(is_stranger) {
        Some(
            "it is a service, and this process none of it: `systemctl kill --kill-whom=main -s SIGUSR2 strowger` has it start its successor"
                .to_owned(),
        )
    } else {
        view.may_be_replaced().err()
    };
    let estate = match (refusal, view.estate()) {
        (None, Some(estate)) => estate,
        (refusal, _) => {
            let why = refusal.unwrap_or_else(|| "it is about to end".to_owned());
            tracing::warn!(why, "another node wants this one's place, and does not get it");
            // A line fits the socket's buffer; and whoever does not read it does without.
            let _ = stream.write_all(format!("{}\n", serde_json::json!({ "error": why })).as_bytes());
            return;
        }
    };
    let bans = || view.police(Police::hand_over).unwrap_or_default();
    let given = match HangUp::of(&stream) {
        Ok(hang_up) => {
            view.is_wanted(hang_up);
            give(estate, desk, bans, stream).await
        }
        Err(error) => Err(said(&error)),
    };
    match given {
        Ok(given) => {
            let Given { to, users: (copied, again), bans, stood } = given;
            tracing::info!(
                pid = to,
                users = copied,
                changed = again,
                bans,
                "handed over; stood still for {:.1} ms",
                stood.as_secs_f64() * 1e3
            );
            let _ = sd_notify::notify(&[sd_notify::NotifyState::MainPid(to)]);
            view.is_replaced();
        }
        Err(why) => {
            tracing::error!(why, "another node has not taken this one's place; this one serves on");
            view.is_not_replaced();
        }
    }
}

/// Gives everything to whoever is at the other end of `stream`; `bans` tells the bans when it is time. After an error this node
/// serves on.
async fn give(
    estate: Estate,
    desk: Arc<OwnedFd>,
    bans: impl Fn() -> Vec<GivenBan>,
    stream: UnixStream,
) -> Result<Given, String> {
    let beside = tokio::task::spawn_blocking(move || {
        let mut line = Line::over(stream, READING)?;
        let copied = copy(&mut line, &estate).inspect_err(|error| keep(&mut line, error))?;
        io::Result::Ok((line, estate, copied))
    });
    let (mut line, estate, (began, users)) =
        beside.await.map_err(|e| e.to_string())?.map_err(|e| said(&e))?;
    let (since, standing) = (monotonic(), Standing::still(&estate));
    let bans = bans();
    let beside = tokio::task::spawn_blocking(move || {
        let mut standing = standing;
        let given = hand_over(&mut line, &estate, &desk, &bans, (began, since)).and_then(|again| {
            let to = line.peer()?.as_raw_pid().cast_unsigned();
            line.send(Kind::Yours, b"", &[])?;
            let stood = monotonic().since(since);
            Ok(Given { to, users: (users, again), bans: bans.len(), stood })
        });
        standing.given_up = given.is_ok();
        // From here on the workers go on.
        drop(standing);
        given.inspect_err(|error| keep(&mut line, error))
    });
    beside.await.map_err(|e| e.to_string())?.map_err(|e| said(&e))
}

/// Says that this node serves on. Whoever has gone doesn't hear it.
fn keep(line: &mut Line, why: &io::Error) {
    let _ = line.send(Kind::Kept, said(why).as_bytes(), &[]);
}

fn said(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => "the new node says nothing".to_owned(),
        io::ErrorKind::UnexpectedEof | io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset => {
            "the new node has gone".to_owned()
        }
        _ => error.to_string(),
    }
}

/// All bindings, while the workers go on. When it began, and how many users there were.
fn copy(line: &mut Line, estate: &Estate) -> io::Result<(Time, usize)> {
    line.say(&serde_json::to_string(&estate.offer)?)?;
    let process = pidfd_open(getpid(), PidfdFlags::empty())?;
    line.send(Kind::Process, b"", &[process.as_fd()])?;
    line.expect(Kind::Copy, PREPARING)?;
    let began = monotonic();
    let mut parcel = Parcel::new(line);
    estate.location.hand_over(Time::START, began, |block| parcel.add(block));
    let users = parcel.finish()?;
    line.send(Kind::Copied, b"", &[])?;
    line.expect(Kind::Pause, PREPARING)?;
    Ok((began, users))
}

/// What is given while everything stands still, up to the word that the other one is ready. How many users were given
/// again.
fn hand_over(
    line: &mut Line,
    estate: &Estate,
    desk: &OwnedFd,
    bans: &[GivenBan],
    (began, since): (Time, Time),
) -> io::Result<usize> {
    let asked = Instant::now();
    while estate.orders.standing() < estate.workers {
        if asked.elapsed() > STANDING {
            return Err(io::Error::other(
                "a worker is stuck, and does not stand still: restart the node instead",
            ));
        }
        std::thread::sleep(LOOK);
    }
    let mut parcel = Parcel::new(line);
    // Never before the clock's start.
    let overlap = Time::from_nanos(began.as_nanos().saturating_sub(OVERLAP.as_nanos() as u64).max(1));
    estate.location.hand_over(overlap, monotonic(), |block| parcel.add(block));
    let again = parcel.finish()?;
    for some in bans.chunks(BANS) {
        line.send(Kind::Bans, &serde_json::to_vec(some)?, &[])?;
    }
    let account = Account {
        since_ns: since.as_nanos(),
        dropped: estate.doors.iter().flatten().filter_map(|(_, door)| strowger_xsk::drops(door).ok()).sum(),
        left: estate.orders.left(),
    };
    line.send(Kind::State, &serde_json::to_vec(&account)?, &[])?;
    sockets(line, &estate.doors)?;
    // A descriptor of its own: the program is not to wait for the other node to read.
    let link = {
        let served = estate.serving.now();
        let link = served.program.as_ref().and_then(|program| program.link());
        link.map(|link| link.try_clone_to_owned()).transpose()?
    };
    if let Some(link) = link {
        line.send(Kind::Link, b"", &[link.as_fd()])?;
    }
    line.send(Kind::Desk, b"", &[desk.as_fd()])?;
    line.send(Kind::Given, b"", &[])?;
    line.expect(Kind::Ready, GAP)?;
    Ok(again)
}

/// All kernel sockets. A worker can have more than a frame: several of one address, where there were more workers before.
fn sockets(line: &mut Line, doors: &Doors) -> io::Result<()> {
    for some in doors.iter().flat_map(|worker| worker.chunks(DESCRIPTORS)) {
        let addresses: Vec<_> = some.iter().map(|(address, _)| *address).collect();
        let doors: Vec<BorrowedFd<'_>> = some.iter().map(|(_, door)| door.as_fd()).collect();
        line.send(Kind::Sockets, &serde_json::to_vec(&addresses)?, &doors)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::handover::taker::Heirloom;
    use std::net::UdpSocket;

    const SOON: Duration = Duration::from_secs(5);

    fn pair() -> (Line, Line) {
        let (one, other) = UnixStream::pair().expect("a pair");
        (Line::over(one, SOON).expect("set"), Line::over(other, SOON).expect("set"))
    }

    #[test]
    fn a_worker_may_have_more_sockets_than_a_frame() {
        const EACH: [usize; 3] = [DESCRIPTORS + 8, 0, DESCRIPTORS];
        let door = || {
            let socket = UdpSocket::bind("127.0.0.1:0").expect("bound");
            (socket.local_addr().expect("bound"), OwnedFd::from(socket))
        };
        let doors: Doors = EACH.map(|many| (0..many).map(|_| door()).collect()).into();
        let (mut one, mut other) = pair();
        sockets(&mut one, &doors).expect("sent");
        drop(one);
        let mut heirloom = Heirloom::default();
        while let Ok(frame) = other.receive(SOON) {
            heirloom.add(frame).expect("taken");
        }
        let given = doors.iter().flatten().map(|(address, _)| *address).collect::<Vec<_>>();
        let taken = heirloom.sockets.into_iter().map(|(address, socket)| {
            assert_eq!(UdpSocket::from(socket).local_addr().expect("bound"), address, "its own address");
            address
        });
        assert_eq!(taken.collect::<Vec<_>>(), given);
    }
}
