//! Against a name server of the test's own on the loopback: packets written by hand, nothing shared with what is tested.

use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use strowger_engine::resolve::Answer;

use super::*;

/// Records by name and type, as their data on the wire.
type Zone = Vec<(&'static str, u16, Vec<u8>)>;

const A: u16 = 1;
const AAAA: u16 = 28;
const SRV: u16 = 33;
const NAPTR: u16 = 35;

/// A name server that knows a zone, and nothing of `silent.example`.
struct Server {
    address: SocketAddr,
    asked: Arc<AtomicUsize>,
    stop: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Server {
    fn start(zone: Zone) -> Server {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
        let address = socket.local_addr().unwrap();
        let (asked, stop) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
        let (counter, end) = (Arc::clone(&asked), Arc::clone(&stop));
        let thread = std::thread::spawn(move || {
            let mut packet = [0; 1500];
            while !end.load(Ordering::Relaxed) {
                let Ok((length, peer)) = socket.recv_from(&mut packet) else { continue };
                counter.fetch_add(1, Ordering::Relaxed);
                if let Some(reply) = reply(&packet[..length], &zone) {
                    socket.send_to(&reply, peer).unwrap();
                }
            }
        });
        Server { address, asked, stop, thread: Some(thread) }
    }

    fn dns(&self) -> Dns {
        Dns { servers: vec![self.address], timeout: 1 }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.take().map(std::thread::JoinHandle::join);
    }
}

/// RFC 1035 section 4: the question back with the records there are.
fn reply(query: &[u8], zone: &Zone) -> Option<Vec<u8>> {
    let (mut at, mut name) = (12, String::new());
    loop {
        let length = usize::from(query[at]);
        at += 1;
        if length == 0 {
            break;
        }
        name.push_str(std::str::from_utf8(&query[at..at + length]).unwrap());
        name.push('.');
        at += length;
    }
    let kind = u16::from_be_bytes([query[at], query[at + 1]]);
    let question = &query[12..at + 4];
    let name = name.trim_end_matches('.').to_ascii_lowercase();
    if name == "silent.example" {
        return None;
    }
    let found: Vec<_> = zone.iter().filter(|(n, k, _)| *n == name && *k == kind).collect();
    let known = zone.iter().any(|(n, ..)| *n == name);
    let refused = name == "broken.example";
    // Answer, recursion available; NXDOMAIN for what is in no record, SERVFAIL for what is broken.
    let code = if refused {
        2
    } else if known {
        0
    } else {
        3
    };
    let mut reply = [&query[..2], &[0x81, 0x80 | code, 0, 1]].concat();
    reply.extend((found.len() as u16).to_be_bytes());
    let authority = found.is_empty() && !refused;
    reply.extend([0, u8::from(authority), 0, 0]);
    reply.extend(question);
    for (_, kind, data) in found {
        reply.extend([0xc0, 12]);
        reply.extend(kind.to_be_bytes());
        reply.extend([0, 1, 0, 0, 0, 90]);
        reply.extend((data.len() as u16).to_be_bytes());
        reply.extend(data);
    }
    if authority {
        // SOA of the root, with a negative TTL of 40 s (RFC 2308 section 4).
        let mut soa = vec![0, 0];
        for number in [1u32, 3600, 600, 86_400, 40] {
            soa.extend(number.to_be_bytes());
        }
        reply.extend([0, 0, 6, 0, 1, 0, 0, 0, 40]);
        reply.extend((soa.len() as u16).to_be_bytes());
        reply.extend(soa);
    }
    Some(reply)
}

fn wire_name(name: &str) -> Vec<u8> {
    let labels = name.split('.').flat_map(|label| [&[label.len() as u8], label.as_bytes()].concat());
    labels.chain([0]).collect()
}

fn srv(priority: u16, weight: u16, port: u16, target: &str) -> Vec<u8> {
    [priority.to_be_bytes(), weight.to_be_bytes(), port.to_be_bytes()]
        .concat()
        .into_iter()
        .chain(wire_name(target))
        .collect()
}

fn naptr(order: u16, service: &str, replacement: &str) -> Vec<u8> {
    let text = |text: &str| [&[text.len() as u8], text.as_bytes()].concat();
    [
        order.to_be_bytes().to_vec(),
        10u16.to_be_bytes().to_vec(),
        text("s"),
        text(service),
        text(""),
        wire_name(replacement),
    ]
    .concat()
}

fn zone() -> Zone {
    vec![
        ("example.com", NAPTR, naptr(20, "SIP+D2U", "_sip._udp.voice.example")),
        ("example.com", NAPTR, naptr(10, "SIP+D2T", "_sip._tcp.voice.example")),
        ("_sip._udp.voice.example", SRV, srv(1, 5, 5070, "two.voice.example")),
        ("_sip._udp.voice.example", SRV, srv(0, 7, 5060, "one.voice.example")),
        ("one.voice.example", A, vec![192, 0, 2, 1]),
        ("one.voice.example", AAAA, [&[0x20, 1, 0x0d, 0xb8][..], &[0; 11], &[1]].concat()),
        ("two.voice.example", A, vec![192, 0, 2, 2]),
    ]
}

/// What a worker gets for this question, within some seconds.
fn answer(asker: &Asker, query: Query) -> Answer {
    assert!(asker.ask(query));
    let until = Instant::now() + Duration::from_secs(10);
    loop {
        if let Some(resolution) = asker.answer() {
            assert_eq!(resolution.id, query.id());
            return resolution.answer;
        }
        assert!(Instant::now() < until, "no answer to {query:?}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn addresses(answer: &Answer) -> Vec<String> {
    let Answer::Found { servers, .. } = answer else { panic!("{answer:?}") };
    servers.iter().map(|s| format!("{} {} {}", s.address, s.priority, s.weight)).collect()
}

#[test]
fn a_name_leads_to_addresses_over_the_wire() {
    let server = Server::start(zone());
    let askers = start(&server.dns(), 2).unwrap();
    let found = answer(&askers[1], Query::new(5, "example.com", None, false));
    assert_eq!(addresses(&found), ["[2001:db8::1]:5060 0 7", "192.0.2.1:5060 0 7", "192.0.2.2:5070 1 5"]);
    assert!(matches!(found, Answer::Found { ttl, .. } if (80..=90).contains(&ttl.as_secs())), "{found:?}");
    assert!(askers[0].answer().is_none(), "each worker has its own answers");
    let found = answer(&askers[0], Query::new(6, "two.voice.example", Some(5099), false));
    assert_eq!(addresses(&found), ["192.0.2.2:5099 0 0"]);
    assert!(server.asked.load(Ordering::Relaxed) >= 6);
}

#[test]
fn no_such_name_a_broken_server_and_silence_are_told_apart() {
    let server = Server::start(zone());
    let askers = start(&server.dns(), 1).unwrap();
    let nothing = answer(&askers[0], Query::new(1, "nowhere.example", None, false));
    assert!(matches!(nothing, Answer::Nothing { ttl } if (30..=40).contains(&ttl.as_secs())), "{nothing:?}");
    assert_eq!(answer(&askers[0], Query::new(2, "broken.example", Some(5060), false)), Answer::Failed);
    let began = Instant::now();
    assert_eq!(answer(&askers[0], Query::new(3, "silent.example", Some(5060), false)), Answer::Failed);
    assert!(began.elapsed() < Duration::from_secs(8), "given up within the engine's patience");
    let not_a_name = format!("{}.example", "x".repeat(64));
    assert!(matches!(answer(&askers[0], Query::new(4, &not_a_name, Some(1), false)), Answer::Nothing { .. }));
}

#[test]
fn a_full_channel_loses_questions_and_nothing_else() {
    let server = Server::start(zone());
    let askers = start(&server.dns(), 1).unwrap();
    let taken =
        (0..5000).filter(|n| askers[0].ask(Query::new(*n, "silent.example", Some(5060), false))).count();
    assert!(taken < 5000, "bounded");
    drop(askers);
}
