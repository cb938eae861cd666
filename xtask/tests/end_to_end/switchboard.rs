//! Callers and callees for many calls in little time: a thread, batches of datagrams, no state but what a call needs.
//!
//! sipp makes hundreds of calls a second; where a hundred thousand are wanted this is what makes them. A call is INVITE, 180,
//! 200, ACK, BYE, 200, and in-dialog requests take the way that Record-Route and Contact say. What is lost is sent again.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use strowger_xsk::KernelSocket;
use strowger_xtask::lab::Lab;

use crate::phone::host;

/// Calls under way at once: more would overrun the queues of a veth pair.
const WINDOW: usize = 128;
/// How long an answer may be away before a request is sent again, and how often that is looked at.
const AGAIN: Duration = Duration::from_millis(500);
/// Calls of all runs so far.
static BEGUN: AtomicUsize = AtomicUsize::new(0);
/// Receive and send buffers.
const BUFFER: usize = 4 << 20;

/// Who calls whom, and how often.
pub(crate) struct Plan {
    /// The callers' addresses; the calls go round them.
    pub(crate) callers: Vec<SocketAddr>,
    /// Whose REGISTER has bound `bob` here, of the callers' family. It may be a caller too: then all traffic has one 5-tuple.
    pub(crate) callee: SocketAddr,
    /// How many calls.
    pub(crate) calls: usize,
    /// Bytes of the INVITE's body.
    pub(crate) body: usize,
    /// How long all of it may take.
    pub(crate) limit: Duration,
}

/// What came of it.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Outcome {
    /// Calls whose BYE was answered with 200.
    pub(crate) finished: usize,
    /// Requests and answers sent again.
    pub(crate) again: usize,
    /// Calls whose 200 overtook the 180 that the callee had sent before it.
    pub(crate) overtaken: usize,
    /// Messages sent, of both sides.
    pub(crate) sent: usize,
    /// How long it took.
    pub(crate) took: Duration,
}

/// A request that waits for its answer.
struct Waiting {
    socket: usize,
    rang: bool,
    request: String,
    since: Instant,
}

/// The callee's 200s without an ACK, by Call-ID, and when they were sent: it repeats them (RFC 3261 section 13.3.1.4).
type Unacknowledged = HashMap<String, (String, Instant)>;

/// Makes the calls. Call it in the peers' namespace.
pub(crate) fn run(plan: &Plan) -> Outcome {
    let bind =
        |address: &SocketAddr| KernelSocket::bind(*address, false, BUFFER).expect("a caller's address");
    let node = if plan.callee.is_ipv4() { Lab::node_v4() } else { Lab::node_v6() };
    let mut sockets: Vec<KernelSocket> = plan.callers.iter().map(bind).collect();
    if !plan.callers.contains(&plan.callee) {
        sockets.push(bind(&plan.callee));
    }
    let began = Instant::now();
    let mut outcome = Outcome::default();
    let mut waiting: HashMap<usize, Waiting> = HashMap::new();
    let mut unacknowledged = Unacknowledged::new();
    // A call of the run before may be remembered for 64·T1: these have other numbers.
    let first = BEGUN.fetch_add(plan.calls, Ordering::Relaxed);
    let mut next = first;
    let mut looked = began;
    let mut replies = Vec::new();
    while outcome.finished < plan.calls && began.elapsed() < plan.limit {
        while next < first + plan.calls && waiting.len() < WINDOW {
            let socket = next % plan.callers.len();
            let request = invite(next, plan.callers[socket], node, plan.body);
            send(&mut sockets[socket], node, &request, &mut outcome);
            waiting.insert(next, Waiting { socket, rang: false, request, since: Instant::now() });
            next += 1;
        }
        let mut idle = true;
        for (at, socket) in sockets.iter_mut().enumerate() {
            let local = socket.local();
            for nth in 0..socket.receive() {
                idle = false;
                let Some(received) = socket.received(nth) else { continue };
                let bytes = received.slot.get(received.message.clone()).unwrap_or_default();
                let text = std::str::from_utf8(bytes).expect("SIP of ours is ASCII");
                if text.starts_with("SIP/2.0 ") {
                    answered(text, local, at, &mut waiting, &mut outcome, &mut replies);
                } else {
                    asked(text, local, &mut unacknowledged, &mut replies);
                }
            }
            for reply in replies.drain(..) {
                send(socket, node, &reply, &mut outcome);
            }
            socket.flush();
        }
        if looked.elapsed() > AGAIN {
            looked = Instant::now();
            for late in waiting.values_mut().filter(|w| w.since.elapsed() > AGAIN) {
                late.since = looked;
                outcome.again += 1;
                send(&mut sockets[late.socket], node, &late.request, &mut outcome);
            }
            for (answer, since) in unacknowledged.values_mut().filter(|(_, since)| since.elapsed() > AGAIN) {
                *since = looked;
                outcome.again += 1;
                let callee = sockets.iter_mut().find(|socket| socket.local() == plan.callee);
                send(callee.expect("the callee's"), node, answer, &mut outcome);
            }
        }
        if idle {
            std::thread::yield_now();
        }
    }
    outcome.took = began.elapsed();
    outcome
}

fn send(socket: &mut KernelSocket, node: SocketAddr, message: &str, outcome: &mut Outcome) {
    assert!(socket.send_copy(message.as_bytes(), node), "a datagram at most");
    outcome.sent += 1;
}

fn invite(call: usize, from: SocketAddr, node: SocketAddr, body: usize) -> String {
    let node = host(node);
    let body = "x".repeat(body);
    format!(
        "INVITE sip:bob@{node} SIP/2.0\r\nVia: SIP/2.0/UDP {from};branch=z9hG4bKi{call}\r\nMax-Forwards: 70\r\n\
         From: <sip:caller@{node}>;tag=c{call}\r\nTo: <sip:bob@{node}>\r\nCall-ID: {call}-of-many@{from}\r\n\
         CSeq: 1 INVITE\r\nContact: <sip:caller@{from}>\r\nContent-Type: text/plain\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// The lines of the headers of this name.
fn lines<'a>(message: &'a str, name: &str) -> impl Iterator<Item = &'a str> {
    let head = message.split("\r\n\r\n").next().unwrap_or_default();
    let name = format!("{name}:");
    head.split("\r\n").skip(1).filter(move |line| line.starts_with(&name))
}

fn line<'a>(message: &'a str, name: &str) -> &'a str {
    lines(message, name).next().unwrap_or_else(|| panic!("no {name} in {message}"))
}

/// A response to a caller.
fn answered(
    text: &str,
    local: SocketAddr,
    socket: usize,
    waiting: &mut HashMap<usize, Waiting>,
    outcome: &mut Outcome,
    replies: &mut Vec<String>,
) {
    if text.starts_with("SIP/2.0 100 ") {
        return;
    }
    let call = line(text, "Call-ID").trim_start_matches("Call-ID: ").split('-').next().unwrap_or_default();
    let call: usize = call.parse().expect("a number");
    if text.starts_with("SIP/2.0 180 ") {
        if let Some(wait) = waiting.get_mut(&call) {
            wait.rang = true;
        }
        return;
    }
    assert!(text.starts_with("SIP/2.0 200 "), "{text}");
    if line(text, "CSeq").ends_with("BYE") {
        outcome.finished += usize::from(waiting.remove(&call).is_some());
        return;
    }
    // A 200 is acknowledged as often as it comes; its call is hung up once.
    replies.push(in_dialog("ACK", 1, text, local, call));
    if let Some(wait) = waiting.get_mut(&call)
        && wait.request.starts_with("INVITE")
    {
        outcome.overtaken += usize::from(!wait.rang);
        let bye = in_dialog("BYE", 2, text, local, call);
        replies.push(bye.clone());
        *wait = Waiting { socket, rang: true, request: bye, since: Instant::now() };
    }
}

fn in_dialog(method: &str, number: u32, response: &str, local: SocketAddr, call: usize) -> String {
    let contact = line(response, "Contact");
    let target = contact.split(['<', '>']).nth(1).expect("a Contact in brackets");
    let mut text = format!(
        "{method} {target} SIP/2.0\r\nVia: SIP/2.0/UDP {local};branch=z9hG4bK{method}{call}\r\nMax-Forwards: 70\r\n"
    );
    let routes: Vec<&str> = lines(response, "Record-Route").collect();
    for route in routes.iter().rev() {
        let _ = write!(text, "{}\r\n", route.trim_start_matches("Record-"));
    }
    for name in ["From", "To", "Call-ID"] {
        let _ = write!(text, "{}\r\n", line(response, name));
    }
    let _ = write!(text, "CSeq: {number} {method}\r\nContent-Length: 0\r\n\r\n");
    text
}

/// A request to the callee.
fn asked(text: &str, local: SocketAddr, unacknowledged: &mut Unacknowledged, replies: &mut Vec<String>) {
    let reply = |status: &str, contact: bool| {
        let mut reply = format!("SIP/2.0 {status}\r\n");
        for name in ["Via", "Record-Route", "From", "To", "Call-ID", "CSeq"] {
            for line in lines(text, name) {
                let tag = if name == "To" && !line.contains(";tag=") { ";tag=callee" } else { "" };
                let _ = write!(reply, "{line}{tag}\r\n");
            }
        }
        if contact {
            let _ = write!(reply, "Contact: <sip:bob@{local}>\r\n");
        }
        reply.push_str("Content-Length: 0\r\n\r\n");
        reply
    };
    let call = line(text, "Call-ID");
    match text.split(' ').next() {
        Some("INVITE") => {
            replies.push(reply("180 Ringing", true));
            let answer = reply("200 OK", true);
            unacknowledged.insert(call.to_owned(), (answer.clone(), Instant::now()));
            replies.push(answer);
        }
        Some("ACK") => _ = unacknowledged.remove(call),
        Some("BYE") => replies.push(reply("200 OK", false)),
        _ => {}
    }
}
