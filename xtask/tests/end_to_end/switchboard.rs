//! Callers and callees for many calls in little time: a thread, batches of datagrams, no state but what a call needs.
//!
//! sipp makes hundreds of calls a second; where a hundred thousand are wanted this is what makes them. A call is INVITE, 180,
//! 200, ACK, BYE, 200, and in-dialog requests take the way that Record-Route and Contact say. What is lost is sent again.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use strowger_xsk::KernelSocket;
use strowger_xtask::lab::Lab;

/// Calls under way at once: more would overrun the queues of a veth pair.
const WINDOW: usize = 128;
/// How long an answer may be away before a request is sent again, and how often that is looked at.
const AGAIN: Duration = Duration::from_millis(500);
/// Receive and send buffers.
const BUFFER: usize = 4 << 20;

/// Who calls whom, and how often.
pub(crate) struct Plan {
    /// The callers' addresses; the calls go round them.
    pub(crate) callers: Vec<SocketAddr>,
    /// Whose REGISTER has bound `bob` here. It may be a caller too: then all traffic has one 5-tuple.
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
    /// Requests sent again.
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

/// Makes the calls. Call it in the peers' namespace.
pub(crate) fn run(plan: &Plan) -> Outcome {
    let bind =
        |address: &SocketAddr| KernelSocket::bind(*address, false, BUFFER).expect("a caller's address");
    let mut sockets: Vec<KernelSocket> = plan.callers.iter().map(bind).collect();
    if !plan.callers.contains(&plan.callee) {
        sockets.push(bind(&plan.callee));
    }
    let began = Instant::now();
    let mut outcome = Outcome::default();
    let mut waiting: HashMap<usize, Waiting> = HashMap::new();
    let mut next = 0;
    let mut looked = began;
    let mut replies = Vec::new();
    while outcome.finished < plan.calls && began.elapsed() < plan.limit {
        while next < plan.calls && waiting.len() < WINDOW {
            let socket = next % plan.callers.len();
            let request = invite(next, plan.callers[socket], plan.body);
            send(&mut sockets[socket], &request, &mut outcome);
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
                    asked(text, local, &mut replies);
                }
            }
            for reply in replies.drain(..) {
                send(socket, &reply, &mut outcome);
            }
            socket.flush();
        }
        if looked.elapsed() > AGAIN {
            looked = Instant::now();
            for late in waiting.values_mut().filter(|w| w.since.elapsed() > AGAIN) {
                late.since = looked;
                outcome.again += 1;
                send(&mut sockets[late.socket], &late.request, &mut outcome);
            }
        }
        if idle {
            std::thread::yield_now();
        }
    }
    outcome.took = began.elapsed();
    outcome
}

fn send(socket: &mut KernelSocket, message: &str, outcome: &mut Outcome) {
    assert!(socket.send_copy(message.as_bytes(), Lab::node_v4()), "a datagram at most");
    outcome.sent += 1;
}

fn invite(call: usize, from: SocketAddr, body: usize) -> String {
    let node = Lab::NODE_V4;
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
fn asked(text: &str, local: SocketAddr, replies: &mut Vec<String>) {
    let mut reply = |status: &str, contact: bool| {
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
        replies.push(reply);
    };
    match text.split(' ').next() {
        Some("INVITE") => {
            reply("180 Ringing", true);
            reply("200 OK", true);
        }
        Some("BYE") => reply("200 OK", false),
        _ => {}
    }
}
