//! Attaching, and leaving alone: in network namespaces of the tests' own, which end with their threads.
//!
//! Needs root, `ip` and `bpftool`; says SKIP without, and fails under `CI=true`.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may panic")]
#![allow(missing_docs)]

mod packet;
mod skip;

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use packet::to;
use rustix::net::{AddressFamily, SocketType};
use skip::skip;
use strowger_xdp::{
    Arrival, AttachError, AttachMode, Counter, LONGEST_FRAME, LoadError, LoadOptions, Network, Policing,
    Program,
};

const LISTENER: &str = "10.77.0.2:5060";

/// Runs `test` on a thread in a new network namespace; nothing outside of it is touched.
fn in_namespace(test: impl FnOnce() + Send + 'static) {
    if let Err(error @ (LoadError::Privilege { .. } | LoadError::Unsupported { .. })) =
        Program::load(&LoadOptions::default())
    {
        skip(&format!("attaching was NOT tested: {error}"));
        return;
    }
    let thread = std::thread::spawn(move || {
        // SAFETY: takes a new network namespace for this thread alone, which ends with the test; no memory
        // is concerned.
        if unsafe { libc::unshare(libc::CLONE_NEWNET) } != 0 {
            skip(&format!("attaching was NOT tested: unshare: {}", io::Error::last_os_error()));
            return;
        }
        test();
    });
    if let Err(panic) = thread.join() {
        std::panic::resume_unwind(panic);
    }
}

fn ip(arguments: &str) {
    let status = Command::new("ip").args(arguments.split(' ')).status().expect("`ip` is needed (iproute2)");
    assert!(status.success(), "ip {arguments}");
}

fn ifindex(name: &str) -> u32 {
    rustix::net::netdevice::name_to_index(
        rustix::net::socket(AddressFamily::INET, SocketType::DGRAM, None).unwrap(),
        name,
    )
    .unwrap()
}

fn program() -> Program {
    let mut program = Program::load(&LoadOptions::default()).unwrap();
    program.listen(LISTENER.parse().unwrap()).unwrap();
    program
}

/// The interface says whether a program is on it.
fn has_xdp(name: &str) -> bool {
    let output = Command::new("ip").args(["link", "show", "dev", name]).output().unwrap();
    String::from_utf8_lossy(&output.stdout).contains("prog/xdp")
}

#[test]
fn it_comes_and_goes_with_its_owner() {
    in_namespace(|| {
        ip("link add swt-a type veth peer name swt-b");
        for mode in [AttachMode::Native, AttachMode::Generic] {
            let mut program = program();
            program.attach(ifindex("swt-a"), mode).unwrap();
            assert!(program.is_attached() && has_xdp("swt-a"));
            let twice = program.attach(ifindex("swt-b"), mode);
            assert!(matches!(twice, Err(AttachError::Attached)), "{twice:?}");
            program.detach();
            assert!(!program.is_attached() && !has_xdp("swt-a"));
            program.attach(ifindex("swt-a"), mode).unwrap();
            assert!(has_xdp("swt-a"));
            drop(program);
            assert!(!has_xdp("swt-a"), "{mode:?} stayed behind");
        }
    });
}

/// The number of the program on the interface, as `ip` shows it.
fn program_id(name: &str) -> Option<u32> {
    let output = Command::new("ip").args(["-d", "link", "show", "dev", name]).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.split_once("prog/xdp id ")?.1.split_whitespace().next()?.parse().ok()
}

#[test]
fn the_next_program_takes_the_link_and_the_first_leaves_it() {
    in_namespace(|| {
        ip("link add swt-a type veth peer name swt-b");
        for mode in [AttachMode::Native, AttachMode::Generic] {
            let (mut first, mut second) = (program(), program());
            assert!(first.link().is_none());
            first.attach(ifindex("swt-a"), mode).unwrap();
            let before = program_id("swt-a");
            let given = |program: &Program| program.link().unwrap().try_clone_to_owned().unwrap();
            let wrong = second.succeed(given(&first), ifindex("swt-b"));
            assert!(matches!(wrong, Err(AttachError::NotItsLink { .. })), "{wrong:?}");
            let socket = rustix::net::socket(AddressFamily::INET, SocketType::DGRAM, None).unwrap();
            let wrong = second.succeed(socket, ifindex("swt-a"));
            assert!(matches!(wrong, Err(AttachError::NotItsLink { .. })), "{wrong:?}");
            assert!(before.is_some() && program_id("swt-a") == before, "{mode:?}: what was there stayed");

            second.succeed(given(&first), ifindex("swt-a")).unwrap();
            let after = program_id("swt-a");
            assert!(after.is_some() && after != before, "{mode:?}: {before:?}, {after:?}");
            first.leave();
            drop(first);
            assert_eq!(program_id("swt-a"), after, "{mode:?}");
            let twice = second.attach(ifindex("swt-a"), mode);
            assert!(matches!(twice, Err(AttachError::Attached)), "{twice:?}");
            drop(second);
            assert!(!has_xdp("swt-a"), "{mode:?} stayed behind");
        }
        // Whose interface is gone, that has nothing to give.
        let (mut first, mut second) = (program(), program());
        first.attach(ifindex("swt-a"), AttachMode::Native).unwrap();
        let (link, index) = (first.link().unwrap().try_clone_to_owned().unwrap(), ifindex("swt-a"));
        ip("link del swt-a");
        assert!(matches!(second.succeed(link, index), Err(AttachError::NotItsLink { .. })));
    });
}

#[test]
fn an_occupied_interface_is_left_alone() {
    in_namespace(|| {
        ip("link add swt-a type veth peer name swt-b");
        for mode in [AttachMode::Native, AttachMode::Generic] {
            let mut first = program();
            first.attach(ifindex("swt-a"), mode).unwrap();
            let mut second = program();
            for wanted in [AttachMode::Native, AttachMode::Generic] {
                match second.attach(ifindex("swt-a"), wanted) {
                    Err(AttachError::Busy { occupant, .. }) => {
                        assert!(occupant.id.is_some());
                        assert_eq!(occupant.name.as_deref(), Some("strowger"));
                    }
                    other => panic!("{mode:?} there, {wanted:?} wanted: {other:?}"),
                }
                assert!(has_xdp("swt-a") && !second.is_attached());
            }
            drop(first);
            second.attach(ifindex("swt-a"), mode).unwrap();
        }
    });
}

/// Generic XDP makes one piece of any frame, and test runs none of this length: so these go over a real interface.
#[test]
fn a_frame_that_no_chunk_holds_is_passed() {
    in_namespace(|| {
        ip("link add swt-a mtu 9000 type veth peer name swt-b mtu 9000");
        ip("link set swt-a up");
        ip("link set swt-b up");
        let policing = Policing { bans: true, ..Policing::default() };
        let mut program = Program::load(&LoadOptions { policing, ..LoadOptions::default() }).unwrap();
        program.listen(LISTENER.parse().unwrap()).unwrap();
        let mut list = program.access_list().unwrap();
        let banned: SocketAddr = "10.77.0.66:5061".parse().unwrap();
        list.ban_network(Network::new(banned.ip(), 32).unwrap()).unwrap();
        program.attach(ifindex("swt-a"), AttachMode::Generic).unwrap();
        let heartbeat = program.heartbeat(0).unwrap();
        heartbeat.beat(u64::MAX);
        // Taken by an AF_XDP socket that isn't bound, a frame is dropped; counted is what the program decided.
        let socket = rustix::net::socket(AddressFamily::XDP, SocketType::RAW, None).unwrap();
        program.set_socket(0, 0, socket.as_fd()).unwrap();
        let wire = wire("swt-b");
        let from = |source: Option<SocketAddr>, len: usize| {
            let packet = to(LISTENER).payload(vec![b'x'; len - 42]);
            source.map_or(packet.clone(), |source| packet.from(source)).bytes()
        };
        for (source, len, expected) in [
            (None, 1_000, Counter::Redirect),
            (None, LONGEST_FRAME, Counter::Redirect),
            (None, LONGEST_FRAME + 1, Counter::PassTooLong),
            (None, 5_000, Counter::PassTooLong),
            (None, 9_014, Counter::PassTooLong),
            // Who is banned isn't served by the kernel either.
            (Some(banned), 1_000, Counter::DropBannedPrefix),
            (Some(banned), LONGEST_FRAME + 1, Counter::DropBannedPrefix),
            (Some(banned), 9_014, Counter::DropBannedPrefix),
        ] {
            let frame = from(source, len);
            let of = |counter: Counter| program.counters().unwrap()[counter as usize];
            let before = of(expected);
            rustix::io::write(&wire, &frame).unwrap();
            let until = Instant::now() + Duration::from_secs(5);
            while of(expected) == before {
                assert!(Instant::now() < until, "{len}: {expected:?} did not move");
                std::thread::sleep(Duration::from_millis(1));
            }
            assert_eq!(of(expected), before + 1, "{len}");
        }
    });
}

/// A socket that sends whole frames from the interface.
fn wire(name: &str) -> OwnedFd {
    let socket = rustix::net::socket(AddressFamily::PACKET, SocketType::RAW, None).unwrap();
    // SAFETY: an all-zero sockaddr_ll is valid.
    let mut address: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
    address.sll_family = libc::AF_PACKET as u16;
    address.sll_ifindex = ifindex(name) as i32;
    let len = size_of::<libc::sockaddr_ll>() as libc::socklen_t;
    // SAFETY: the address is read for the length that is given.
    let bound = unsafe { libc::bind(socket.as_raw_fd(), (&raw const address).cast(), len) };
    assert_eq!(bound, 0, "bind: {}", io::Error::last_os_error());
    socket
}

/// A program that came by netlink, as other tools attach theirs, would be replaced by a netlink attach.
#[test]
fn a_program_of_another_tool_is_left_alone() {
    in_namespace(|| {
        if !Command::new("bpftool").arg("version").output().is_ok_and(|output| output.status.success()) {
            return skip("programs of other tools were NOT tested: no bpftool");
        }
        ip("link add swt-a type veth peer name swt-b");
        let mut first = program();
        first.attach(ifindex("swt-a"), AttachMode::Generic).unwrap();
        let mut second = program();
        let Err(AttachError::Busy { occupant, .. }) = second.attach(ifindex("swt-a"), AttachMode::Generic)
        else {
            panic!("not busy");
        };
        let id = occupant.id.unwrap().to_string();
        let attach = ["net", "attach", "xdpgeneric", "id", &id, "dev", "swt-b"];
        assert!(Command::new("bpftool").args(attach).status().unwrap().success());
        for mode in [AttachMode::Native, AttachMode::Generic] {
            let busy = second.attach(ifindex("swt-b"), mode);
            assert!(matches!(busy, Err(AttachError::Busy { .. })), "{mode:?}: {busy:?}");
            assert!(has_xdp("swt-b"));
        }
        drop(second);
        assert!(has_xdp("swt-b"));
    });
}

#[test]
fn what_can_not_be_is_said_with_its_remedy() {
    in_namespace(|| {
        // The loopback's driver has no XDP.
        let mut program = program();
        let native = program.attach(ifindex("lo"), AttachMode::Native).unwrap_err();
        assert!(matches!(native, AttachError::NoNative { .. }), "{native:?}");
        assert!(native.to_string().contains("generic"));
        let missing = program.attach(4_711, AttachMode::Generic).unwrap_err();
        assert!(matches!(missing, AttachError::NoInterface { ifindex: 4_711 }), "{missing:?}");
        program.attach(ifindex("lo"), AttachMode::Generic).unwrap();
    });
}

/// Without a look at the message the packet's queue decides: worker `queue % workers`, its beat, its socket there.
#[test]
fn flows_go_by_their_queue() {
    in_namespace(|| {
        ip("link add swt-a numrxqueues 128 type veth peer name swt-b");
        let mut program = Program::load(&LoadOptions { workers: 6, ..LoadOptions::default() }).unwrap();
        program.listen(LISTENER.parse().unwrap()).unwrap();
        let arrival = |queue| Some(Arrival { ifindex: ifindex("swt-a"), queue });
        let socket = rustix::net::socket(AddressFamily::XDP, SocketType::RAW, None).unwrap();
        for (queue, worker) in [(3, 3), (7, 1), (8, 3), (9, 3), (2, 2)] {
            program.set_socket(queue, worker, socket.as_fd()).unwrap();
        }
        let hearts = [1, 3, 5].map(|worker| program.heartbeat(worker).unwrap());
        hearts.iter().for_each(|heart| heart.beat(u64::MAX));
        let packet = to(LISTENER).bytes();
        for (queue, expected) in [
            (3, Counter::Redirect),
            (7, Counter::Redirect),
            (9, Counter::Redirect),
            // The socket of another worker.
            (15, Counter::PassNoSocket),
            (8, Counter::PassNoHeartbeat),
            (2, Counter::PassNoHeartbeat),
            (5, Counter::PassNoSocket),
            (62, Counter::PassNoHeartbeat),
            (63, Counter::PassNoSocket),
            (64, Counter::PassQueueUnknown),
            (127, Counter::PassQueueUnknown),
        ] {
            let before = program.counters().unwrap();
            program.test_run(&packet, 1, arrival(queue)).unwrap();
            let after = program.counters().unwrap();
            let moved = Counter::ALL.into_iter().find(|&c| after[c as usize] != before[c as usize]);
            assert_eq!(moved, Some(expected), "queue {queue}");
        }
    });
}

/// Reports arrive in `tracing` by the counter's name, and only when they were asked for.
#[test]
fn packets_are_reported_when_asked_for() {
    in_namespace(|| {
        assert!(program().packet_log().is_none());
        let options = LoadOptions { log_packets: true, ..LoadOptions::default() };
        let mut program = Program::load(&options).unwrap();
        let mut log = program.packet_log().unwrap();
        program.test_run(&to(LISTENER).bytes(), 1, None).unwrap();
        program.test_run(&to(LISTENER).protocol(6).bytes(), 2, None).unwrap();

        let written = Written::default();
        let writer = written.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_max_level(tracing::Level::DEBUG)
            .with_ansi(false)
            .with_writer(move || writer.clone())
            .finish();
        tracing::subscriber::with_default(subscriber, || log.flush());
        let text = String::from_utf8(written.0.lock().unwrap().clone()).unwrap();
        assert_eq!(text.matches("verdict=\"pass_not_listener\"").count(), 1, "{text}");
        assert_eq!(text.matches("verdict=\"pass_not_udp\"").count(), 2, "{text}");
        assert!(text.contains("queue=0"), "{text}");
    });
}

/// What the log wrote.
#[derive(Clone, Default)]
struct Written(Arc<Mutex<Vec<u8>>>);

impl io::Write for Written {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
