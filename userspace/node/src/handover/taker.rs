//! The side of the new node: it asks, compares, and takes.

use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::line::{Frame, Kind, Line};
use super::{Account, GivenBan, Offer, format, obstacle};
use crate::config::Config;
use crate::fault::Fault;
use crate::status::model::Request;

/// How long the node that runs may take for anything. It goes on serving when this one gives up.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long a process whose sockets are closed may take to be over.
const DYING: Duration = if cfg!(test) { Duration::from_millis(300) } else { Duration::from_secs(5) };

/// The node that runs.
pub(crate) struct Predecessor {
    line: Line,
    process: OwnedFd,
    patience: Duration,
    /// What it says of itself.
    pub offer: Offer,
}

/// Why it gave no more.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Silence {
    /// Its process is over: whatever it had is free.
    Dead,
    /// It serves on, for this reason.
    Kept(String),
}

/// What it has given, all of it or, when it died, a part.
#[derive(Debug, Default)]
pub(crate) struct Heirloom {
    /// Kernel sockets, by address.
    pub sockets: Vec<(SocketAddr, OwnedFd)>,
    /// What its XDP program is attached by.
    pub link: Option<OwnedFd>,
    /// The status socket.
    pub desk: Option<OwnedFd>,
    /// Bans that hold.
    pub bans: Vec<GivenBan>,
    /// What it said last.
    pub account: Option<Account>,
}

impl Predecessor {
    /// Asks the node whose status socket is `path` whether `config` can take its place. Nothing changes there.
    pub(crate) fn greet(path: &Path, config: &Config) -> Result<Predecessor, Fault> {
        let nobody = |error| Fault::NoPredecessor { path: path.into(), error };
        let stream = UnixStream::connect(path).map_err(nobody)?;
        let mut line = Line::over(stream, PATIENCE).map_err(nobody)?;
        let request = Request::HandOver { format: format() };
        let request = serde_json::to_string(&request).map_err(|e| Fault::Other(e.to_string()))?;
        line.say(&request).map_err(nobody)?;
        let answer = line.hear(PATIENCE).map_err(|error| match error.kind() {
            io::ErrorKind::WouldBlock => nobody(io::Error::other("it says nothing")),
            _ => nobody(error),
        })?;
        let refused = |why: String| Fault::Replace { path: path.into(), why };
        let offer: Offer = serde_json::from_str(&answer).map_err(|_| {
            let why = serde_json::from_str::<serde_json::Value>(&answer).ok();
            let why =
                why.as_ref().and_then(|v| v["error"].as_str()).unwrap_or("its answer is not understood");
            refused(format!("the node that runs does not hand over: {why}"))
        })?;
        if let Some(why) = obstacle(&offer, config) {
            return Err(refused(why));
        }
        // The socket's own word is who began to listen, and that one may have been replaced long ago.
        let process = line.expect(Kind::Process, PATIENCE).map_err(nobody)?.descriptors.pop();
        match process {
            Some(process) => Ok(Predecessor { line, process, patience: PATIENCE, offer }),
            None => Err(refused("the node that runs does not show its process".to_owned())),
        }
    }

    /// That both have the same secret, whose mark `seal` is.
    pub(crate) fn same_secret(&self, seal: &str, path: PathBuf, config: &Config) -> Result<(), Fault> {
        if self.offer.seal == seal {
            return Ok(());
        }
        let why = format!(
            "store.dir: the secret in {} is not that of the node that runs, and without it calls that are up cannot go on: name that node's \
             store.dir, and make it one that can be written",
            config.store.dir.display()
        );
        Err(Fault::Replace { path, why })
    }

    /// Takes the copy; `user` is given each user's block. The node that runs serves meanwhile.
    pub(crate) fn copy(&mut self, mut user: impl FnMut(&[u8])) -> Result<(), Silence> {
        self.say(Kind::Copy)?;
        loop {
            let frame = self.next()?;
            match frame.kind {
                Kind::Users => frame.blocks().for_each(&mut user),
                Kind::Copied => return Ok(()),
                _ => return Err(self.silence(&io::Error::other(format!("{:?}", frame.kind)))),
            }
        }
    }

    /// Has it stand still, and takes the rest into `heirloom`.
    pub(crate) fn take(
        &mut self,
        heirloom: &mut Heirloom,
        mut user: impl FnMut(&[u8]),
    ) -> Result<(), Silence> {
        self.say(Kind::Pause)?;
        loop {
            let frame = self.next()?;
            match frame.kind {
                Kind::Users => frame.blocks().for_each(&mut user),
                Kind::Given => return Ok(()),
                _ => heirloom.add(frame).map_err(|error| self.silence(&error))?,
            }
        }
    }

    /// Says that this node stands ready, and hears that it is to serve from now on.
    pub(crate) fn ready(&mut self) -> Result<(), Silence> {
        self.say(Kind::Ready)?;
        let frame = match self.line.receive(self.patience) {
            Ok(frame) => frame,
            Err(error) => match self.last_word() {
                Some(frame) => frame,
                None => return Err(self.silence(&error)),
            },
        };
        match frame.kind {
            Kind::Yours => Ok(()),
            Kind::Kept => Err(kept(&frame)),
            other => Err(self.silence(&io::Error::other(format!("{other:?}")))),
        }
    }

    /// What it has said before this end hung up. From here on its word that this one is to serve does not leave it, so it keeps its
    /// place; if it had left, it counts. Otherwise one that is slow could give its place to one that has gone.
    fn last_word(&mut self) -> Option<Frame> {
        self.line.hang_up();
        self.line.receive(self.patience).ok()
    }

    fn say(&mut self, kind: Kind) -> Result<(), Silence> {
        // It may have said why, before it closed its end: that is heard instead of a word that doesn't come.
        match self.line.send(kind, b"", &[]) {
            Ok(()) => Ok(()),
            Err(error) => match self.line.receive(self.patience) {
                Ok(frame) if frame.kind == Kind::Kept => Err(kept(&frame)),
                _ => Err(self.silence(&error)),
            },
        }
    }

    fn next(&mut self) -> Result<Frame, Silence> {
        match self.line.receive(self.patience) {
            Ok(frame) if frame.kind == Kind::Kept => Err(kept(&frame)),
            Ok(frame) => Ok(frame),
            Err(error) => Err(self.silence(&error)),
        }
    }

    /// After an error: whether its process is over. One that lives serves on, whatever it was.
    fn silence(&self, error: &io::Error) -> Silence {
        let closed = matches!(
            error.kind(),
            io::ErrorKind::UnexpectedEof | io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset
        );
        // Some moments pass between the end of its sockets and its own.
        let most = if closed { DYING } else { Duration::ZERO };
        // Seconds: the conversion cannot fail.
        let most = Timespec::try_from(most).unwrap_or(Timespec { tv_sec: 0, tv_nsec: 0 });
        let over = poll(&mut [PollFd::new(&self.process, PollFlags::IN)], Some(&most));
        match over {
            Ok(1..) => Silence::Dead,
            _ if error.kind() == io::ErrorKind::WouldBlock => {
                Silence::Kept(format!("it has said nothing for {} s", self.patience.as_secs()))
            }
            _ => Silence::Kept(error.to_string()),
        }
    }
}

fn kept(frame: &Frame) -> Silence {
    Silence::Kept(String::from_utf8_lossy(&frame.content).into_owned())
}

impl Heirloom {
    pub(super) fn add(&mut self, mut frame: Frame) -> io::Result<()> {
        match frame.kind {
            Kind::Bans => self.bans.extend(frame.json::<Vec<GivenBan>>()?),
            Kind::State => self.account = Some(frame.json()?),
            Kind::Sockets => {
                let addresses: Vec<SocketAddr> = frame.json()?;
                if addresses.len() != frame.descriptors.len() {
                    return Err(io::Error::other("not as many sockets as addresses"));
                }
                self.sockets.extend(addresses.into_iter().zip(frame.descriptors));
            }
            Kind::Link => self.link = frame.descriptors.pop(),
            Kind::Desk => self.desk = frame.descriptors.pop(),
            other => return Err(io::Error::other(format!("{other:?}"))),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::line::Parcel;
    use super::*;
    use rustix::process::{PidfdFlags, pidfd_open};
    use std::os::fd::AsFd;
    use std::process::{Child, Command};

    /// A process that can be killed, and the other end of the line to it.
    fn predecessor() -> (Predecessor, Line, Child) {
        let child = Command::new("sleep").arg("100").spawn().expect("sleep is there");
        let pid = rustix::process::Pid::from_child(&child);
        let process = pidfd_open(pid, PidfdFlags::empty()).expect("it lives");
        let (one, other) = UnixStream::pair().expect("a pair");
        let offer = Offer {
            format: format(),
            version: String::new(),
            pid: child.id(),
            listen: Vec::new(),
            domains: Vec::new(),
            realm: String::new(),
            interface: None,
            netns: None,
            mode: "off".to_owned(),
            seal: String::new(),
            bindings: 0,
        };
        let line = Line::over(one, PATIENCE).expect("set");
        (
            Predecessor { line, process, patience: PATIENCE, offer },
            Line::over(other, PATIENCE).expect("set"),
            child,
        )
    }

    fn end(mut child: Child) {
        child.kill().expect("it lived");
        child.wait().expect("it ended");
    }

    #[test]
    fn all_of_it_is_taken() {
        let (mut predecessor, mut line, child) = predecessor();
        let giver = std::thread::spawn(move || {
            line.expect(Kind::Copy, PATIENCE).expect("asked");
            let mut parcel = Parcel::new(&mut line);
            parcel.add(b"alice");
            parcel.add(b"bob");
            parcel.finish().expect("sent");
            line.send(Kind::Copied, b"", &[]).expect("sent");
            line.expect(Kind::Pause, PATIENCE).expect("asked");
            let mut parcel = Parcel::new(&mut line);
            parcel.add(b"carol");
            parcel.finish().expect("sent");
            let ban = GivenBan {
                network: "192.0.2.0/24".into(),
                until_ns: None,
                why: crate::policing::Why::Operator,
            };
            line.send(Kind::Bans, &serde_json::to_vec(&[ban]).expect("JSON"), &[]).expect("sent");
            let account = Account { since_ns: 7, dropped: 1, left: 2 };
            line.send(Kind::State, &serde_json::to_vec(&account).expect("JSON"), &[]).expect("sent");
            let socket = std::net::UdpSocket::bind("127.0.0.1:0").expect("bound");
            let address = socket.local_addr().expect("bound");
            line.send(Kind::Sockets, &serde_json::to_vec(&[address]).expect("JSON"), &[socket.as_fd()])
                .expect("sent");
            line.send(Kind::Desk, b"", &[socket.as_fd()]).expect("sent");
            line.send(Kind::Given, b"", &[]).expect("sent");
            line.expect(Kind::Ready, PATIENCE).expect("ready");
            line.send(Kind::Yours, b"", &[]).expect("sent");
            address
        });
        let (mut users, mut heirloom) = (Vec::new(), Heirloom::default());
        assert_eq!(predecessor.copy(|user| users.push(user.to_vec())), Ok(()));
        assert_eq!(users, [b"alice".to_vec(), b"bob".to_vec()]);
        assert_eq!(predecessor.take(&mut heirloom, |user| users.push(user.to_vec())), Ok(()));
        assert_eq!(predecessor.ready(), Ok(()));
        let address = giver.join().expect("ends");
        assert_eq!((users.len(), heirloom.bans.len(), heirloom.link.is_none()), (3, 1, true));
        assert_eq!(heirloom.account.map(|account| (account.since_ns, account.left)), Some((7, 2)));
        assert_eq!((heirloom.sockets[0].0, heirloom.desk.is_some()), (address, true));
        end(child);
    }

    #[test]
    fn one_that_dies_leaves_what_it_has_given_and_one_that_closes_does_not() {
        for dies in [true, false] {
            let (mut predecessor, mut line, child) = predecessor();
            let giver = std::thread::spawn(move || {
                line.expect(Kind::Copy, PATIENCE).expect("asked");
                let mut parcel = Parcel::new(&mut line);
                parcel.add(b"alice");
                parcel.finish().expect("sent");
                // Its sockets are closed first, and its process is over some moments later.
                drop(line);
                if dies {
                    std::thread::sleep(Duration::from_millis(50));
                    end(child);
                    None
                } else {
                    Some(child)
                }
            });
            let mut users = 0;
            let silence = predecessor.copy(|_| users += 1).expect_err("it said no more");
            assert_eq!((silence == Silence::Dead, users), (dies, 1), "{silence:?}");
            if let Some(child) = giver.join().expect("ends") {
                end(child);
            }
        }
    }

    #[test]
    fn one_of_the_two_serves_when_the_word_comes_late() {
        let (mut predecessor, mut line, child) = predecessor();
        predecessor.patience = Duration::from_millis(20);
        // While this one listened in vain, or too late.
        assert!(matches!(predecessor.ready(), Err(Silence::Kept(_))));
        line.expect(Kind::Ready, PATIENCE).expect("it was ready once");
        let error = line.send(Kind::Yours, b"", &[]).expect_err("the other one is told that nobody takes it");
        assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
        end(child);
        // On its way when this one gave up.
        let (mut predecessor, mut line, child) = self::predecessor();
        line.send(Kind::Yours, b"", &[]).expect("sent");
        assert_eq!(predecessor.last_word().map(|frame| frame.kind), Some(Kind::Yours));
        assert!(line.send(Kind::Yours, b"", &[]).is_err());
        end(child);
    }

    #[test]
    fn what_it_says_when_it_keeps_its_place_is_heard() {
        let (mut predecessor, mut line, child) = predecessor();
        line.send(Kind::Kept, b"a worker is stuck", &[]).expect("sent");
        let kept = Silence::Kept("a worker is stuck".to_owned());
        assert_eq!(predecessor.take(&mut Heirloom::default(), |_| {}), Err(kept));
        line.send(Kind::Kept, b"too late", &[]).expect("sent");
        drop(line);
        assert_eq!(predecessor.ready(), Err(Silence::Kept("too late".to_owned())));
        end(child);
    }
}
