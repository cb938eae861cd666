//! Frames between two nodes over a Unix socket, with descriptors beside them.
//!
//! A frame is a kind (one octet), the octets of its content (u32, little-endian), and these. Descriptors come with its head.
//! Blocking, with a limit for each call: both ends have a thread for it.

use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::net::Shutdown;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, recvmsg, sendmsg,
};
use serde::de::DeserializeOwned;

/// Octets of a frame's content at most.
pub(crate) const LONGEST: usize = 1 << 20;
/// Descriptors beside a frame at most: a socket for each listen address.
pub(crate) const DESCRIPTORS: usize = strowger_engine::limit::LISTEN;
/// Octets of the head.
const HEAD: usize = 5;

/// What a frame is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Kind {
    /// New: begin with the copy.
    Copy = 1,
    /// New: stand still, and give the rest.
    Pause = 2,
    /// New: the workers stand ready.
    Ready = 3,
    /// Old, behind the offer: a descriptor of its process.
    Process = 15,
    /// Old: users, each as its octets (u32) and its block.
    Users = 16,
    /// Old: that was the copy.
    Copied = 17,
    /// Old: [`GivenBan`](super::GivenBan)s, a list in JSON.
    Bans = 18,
    /// Old: an [`Account`](super::Account) in JSON.
    State = 19,
    /// Old: kernel sockets of one worker; their addresses as a list in JSON.
    Sockets = 20,
    /// Old: the XDP program's link.
    Link = 21,
    /// Old: the status socket.
    Desk = 22,
    /// Old: that was all.
    Given = 23,
    /// Old: it serves no more.
    Yours = 24,
    /// Old: it goes on serving; why, as text.
    Kept = 25,
}

impl Kind {
    const ALL: [Kind; 14] = [
        Kind::Copy,
        Kind::Pause,
        Kind::Ready,
        Kind::Process,
        Kind::Users,
        Kind::Copied,
        Kind::Bans,
        Kind::State,
        Kind::Sockets,
        Kind::Link,
        Kind::Desk,
        Kind::Given,
        Kind::Yours,
        Kind::Kept,
    ];
}

/// What came.
#[derive(Debug)]
pub(crate) struct Frame {
    pub kind: Kind,
    pub content: Vec<u8>,
    pub descriptors: Vec<OwnedFd>,
}

impl Frame {
    /// The content, which is JSON.
    pub(crate) fn json<T: DeserializeOwned>(&self) -> io::Result<T> {
        serde_json::from_slice(&self.content).map_err(io::Error::from)
    }

    /// The blocks in a frame of users.
    pub(crate) fn blocks(&self) -> impl Iterator<Item = &[u8]> {
        let mut rest = self.content.as_slice();
        std::iter::from_fn(move || {
            let (len, tail) = rest.split_first_chunk::<4>()?;
            let (block, tail) = tail.split_at_checked(u32::from_le_bytes(*len) as usize)?;
            rest = tail;
            Some(block)
        })
    }
}

/// Hangs up when it is dropped: whoever waits at either end of the line goes on at once.
#[derive(Debug)]
pub(crate) struct HangUp(UnixStream);

impl HangUp {
    /// For the line over this socket.
    pub(crate) fn of(stream: &UnixStream) -> io::Result<HangUp> {
        stream.try_clone().map(HangUp)
    }
}

impl Drop for HangUp {
    fn drop(&mut self) {
        // It fails when the other end has gone, which is as good.
        let _ = self.0.shutdown(Shutdown::Both);
    }
}

/// One end.
#[derive(Debug)]
pub(crate) struct Line {
    stream: UnixStream,
}

impl Line {
    /// Over a connected socket. `patience` is how long the other end may take to read what is said.
    pub(crate) fn over(stream: UnixStream, patience: Duration) -> io::Result<Line> {
        stream.set_nonblocking(false)?;
        stream.set_write_timeout(Some(patience))?;
        Ok(Line { stream })
    }

    /// Says one line of text.
    pub(crate) fn say(&mut self, text: &str) -> io::Result<()> {
        self.stream.write_all(text.as_bytes())?;
        self.stream.write_all(b"\n")
    }

    /// The next line of text, without its end; at most [`LONGEST`].
    pub(crate) fn hear(&mut self, patience: Duration) -> io::Result<String> {
        self.stream.set_read_timeout(Some(patience))?;
        let (mut line, mut octet) = (Vec::new(), [0]);
        loop {
            self.stream.read_exact(&mut octet)?;
            match octet {
                [b'\n'] => return String::from_utf8(line).map_err(io::Error::other),
                [octet] if line.len() < LONGEST => line.push(octet),
                _ => return Err(io::Error::other("a line without end")),
            }
        }
    }

    /// Sends a frame.
    pub(crate) fn send(
        &mut self,
        kind: Kind,
        content: &[u8],
        descriptors: &[BorrowedFd<'_>],
    ) -> io::Result<()> {
        if content.len() > LONGEST || descriptors.len() > DESCRIPTORS {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let mut head = [kind as u8, 0, 0, 0, 0];
        // At most LONGEST.
        head[1..].copy_from_slice(&(content.len() as u32).to_le_bytes());
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS))];
        let mut beside = SendAncillaryBuffer::new(&mut space);
        if !descriptors.is_empty() {
            beside.push(SendAncillaryMessage::ScmRights(descriptors));
        }
        // Alone, so that descriptors are read with the head.
        let sent = loop {
            match sendmsg(&self.stream, &[IoSlice::new(&head)], &mut beside, SendFlags::NOSIGNAL) {
                Err(rustix::io::Errno::INTR) => {}
                sent => break sent?,
            }
        };
        self.stream.write_all(head.get(sent..).unwrap_or_default())?;
        self.stream.write_all(content)
    }

    /// The next frame.
    pub(crate) fn receive(&mut self, patience: Duration) -> io::Result<Frame> {
        self.stream.set_read_timeout(Some(patience))?;
        let mut head = [0; HEAD];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS))];
        let mut beside = RecvAncillaryBuffer::new(&mut space);
        let came = loop {
            let parts = &mut [IoSliceMut::new(&mut head)];
            match recvmsg(&self.stream, parts, &mut beside, RecvFlags::CMSG_CLOEXEC) {
                Err(rustix::io::Errno::INTR) => {}
                came => break came?.bytes,
            }
        };
        if came == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let mut descriptors = Vec::new();
        for message in beside.drain() {
            if let RecvAncillaryMessage::ScmRights(given) = message {
                descriptors.extend(given);
            }
        }
        self.stream.read_exact(head.get_mut(came..).unwrap_or_default())?;
        let [kind, length @ ..] = head;
        let kind = Kind::ALL.into_iter().find(|known| *known as u8 == kind);
        let kind = kind.ok_or_else(|| io::Error::other("a frame of a kind that is not known"))?;
        let length = u32::from_le_bytes(length) as usize;
        if length > LONGEST {
            return Err(io::Error::other("a frame that is too long"));
        }
        let mut content = vec![0; length];
        self.stream.read_exact(&mut content)?;
        Ok(Frame { kind, content, descriptors })
    }

    /// The next frame, which must be of this kind. Why the other end keeps what it has is an error by its own words.
    pub(crate) fn expect(&mut self, kind: Kind, patience: Duration) -> io::Result<Frame> {
        let frame = self.receive(patience)?;
        match frame.kind {
            came if came == kind => Ok(frame),
            came => Err(io::Error::other(format!("{came:?} instead of {kind:?}"))),
        }
    }

    /// From now on nothing is sent by either end; what has been sent can still be received.
    pub(crate) fn hang_up(&self) {
        // It fails when the other end has gone, which is as good.
        let _ = self.stream.shutdown(Shutdown::Both);
    }

    /// The process that has connected to this end. Of the one that listened it would be who was the first to, and that may be over.
    pub(crate) fn peer(&self) -> io::Result<rustix::process::Pid> {
        Ok(rustix::net::sockopt::socket_peercred(&self.stream)?.pid)
    }
}

/// Collects blocks into frames of users.
pub(crate) struct Parcel<'l> {
    line: &'l mut Line,
    content: Vec<u8>,
    sent: usize,
    failed: Option<io::Error>,
}

/// Octets after which a parcel is sent.
const PARCEL: usize = 256 << 10;

impl<'l> Parcel<'l> {
    /// An empty one.
    pub(crate) fn new(line: &'l mut Line) -> Parcel<'l> {
        Parcel { line, content: Vec::with_capacity(PARCEL), sent: 0, failed: None }
    }

    /// Adds a block; sends what has been collected now and then. After a failure nothing more is done.
    pub(crate) fn add(&mut self, block: &[u8]) {
        if self.failed.is_some() {
            return;
        }
        if self.content.len() + 4 + block.len() > PARCEL {
            self.flush();
        }
        // A user has 65,535 octets of text at most.
        self.content.extend_from_slice(&(block.len() as u32).to_le_bytes());
        self.content.extend_from_slice(block);
        self.sent += 1;
    }

    fn flush(&mut self) {
        if !self.content.is_empty() {
            self.failed = self.line.send(Kind::Users, &self.content, &[]).err();
            self.content.clear();
        }
    }

    /// Sends the rest; how many blocks there were.
    pub(crate) fn finish(mut self) -> io::Result<usize> {
        if self.failed.is_none() {
            self.flush();
        }
        match self.failed {
            None => Ok(self.sent),
            Some(error) => Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsFd;

    const SOON: Duration = Duration::from_secs(5);

    fn pair() -> (Line, Line) {
        let (one, other) = UnixStream::pair().expect("a pair");
        (Line::over(one, SOON).expect("set"), Line::over(other, SOON).expect("set"))
    }

    #[test]
    fn frames_arrive_whole_with_their_descriptors() {
        let (mut one, mut other) = pair();
        let sender = std::thread::spawn(move || {
            one.say("{\"a\":1}").expect("said");
            one.send(Kind::Copied, b"", &[]).expect("sent");
            let sockets = [
                std::net::UdpSocket::bind("127.0.0.1:0").expect("bound"),
                std::net::UdpSocket::bind("127.0.0.1:0").expect("bound"),
            ];
            let ports = sockets.each_ref().map(|s| s.local_addr().expect("bound").port());
            let given = sockets.each_ref().map(AsFd::as_fd);
            one.send(Kind::Sockets, b"two", &given).expect("sent");
            let mut parcel = Parcel::new(&mut one);
            for n in 0..20_000u32 {
                parcel.add(&vec![n as u8; n as usize % 100]);
            }
            assert_eq!(parcel.finish().expect("sent"), 20_000);
            one.send(Kind::Given, &[1; 300_000], &[]).expect("sent");
            ports
        });
        assert_eq!(other.hear(SOON).expect("heard"), "{\"a\":1}");
        assert_eq!(other.expect(Kind::Copied, SOON).expect("came").content, b"");
        let frame = other.receive(SOON).expect("came");
        assert_eq!(
            (frame.kind, frame.content.as_slice(), frame.descriptors.len()),
            (Kind::Sockets, &b"two"[..], 2)
        );
        let ports: Vec<u16> = frame
            .descriptors
            .into_iter()
            .map(|fd| std::net::UdpSocket::from(fd).local_addr().expect("bound").port())
            .collect();
        let mut blocks = 0;
        let last = loop {
            let frame = other.receive(SOON).expect("came");
            assert!(frame.descriptors.is_empty());
            if frame.kind != Kind::Users {
                break frame;
            }
            for block in frame.blocks() {
                assert_eq!(block, vec![blocks as u8; blocks as usize % 100]);
                blocks += 1;
            }
        };
        assert_eq!((blocks, last.kind, last.content.len()), (20_000u32, Kind::Given, 300_000));
        assert_eq!(ports, sender.join().expect("ends"));
        let end = other.receive(SOON).expect_err("closed");
        assert_eq!(end.kind(), io::ErrorKind::UnexpectedEof);
    }

    #[test]
    fn nobody_waits_at_a_line_that_is_hung_up() {
        let (mut one, mut other) = pair();
        let hang_up = HangUp::of(&one.stream).expect("once more");
        other.send(Kind::Pause, b"", &[]).expect("sent");
        let (waits, waiting) = std::sync::mpsc::channel();
        let waiter = std::thread::spawn(move || {
            let came = one.receive(SOON).expect("was sent before");
            waits.send(()).expect("heard");
            (came.kind, one.receive(Duration::from_secs(100)).map_err(|error| error.kind()))
        });
        waiting.recv().expect("it waits");
        let began = std::time::Instant::now();
        drop(hang_up);
        let (came, end) = waiter.join().expect("ends");
        assert_eq!((came, end.err()), (Kind::Pause, Some(io::ErrorKind::UnexpectedEof)));
        assert!(began.elapsed() < SOON);
        assert_eq!(other.send(Kind::Pause, b"", &[]).expect_err("gone").kind(), io::ErrorKind::BrokenPipe);
    }

    #[test]
    fn what_is_no_frame_is_an_error() {
        for wrong in [&b"\x63\0\0\0\0"[..], b"\x10\xff\xff\xff\xff", b"\x10\x05\0\0\0ab", b"\x10\x05"] {
            let (mut one, mut other) = pair();
            one.stream.write_all(wrong).expect("written");
            drop(one);
            assert!(other.receive(SOON).is_err(), "{wrong:?}");
        }
        let (one, mut other) = pair();
        let late = other.receive(Duration::from_millis(20)).expect_err("nobody speaks");
        assert_eq!(late.kind(), io::ErrorKind::WouldBlock);
        drop(one);
        let (mut one, _other) = pair();
        assert!(one.send(Kind::Users, &vec![0; LONGEST + 1], &[]).is_err());
    }

    #[test]
    fn another_kind_is_not_what_was_expected() {
        let (mut one, mut other) = pair();
        one.send(Kind::Pause, b"", &[]).expect("sent");
        let error = other.expect(Kind::Copy, SOON).expect_err("another");
        assert!(error.to_string().contains("Pause instead of Copy"), "{error}");
    }
}
