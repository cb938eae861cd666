//! A phone of a few lines, for tests that look at single messages: a UDP socket inside a namespace.

use std::io::ErrorKind;
use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use strowger_xtask::namespace::Namespace;

use crate::bench::PATIENCE;

/// What every phone says of itself. Without it a request may be shorter than the challenge to it, which a node keeps to
/// itself then: nobody gets more from it than he sent.
const MANNERS: &str = "Allow: INVITE, ACK, CANCEL, BYE, OPTIONS, NOTIFY, MESSAGE, UPDATE\r\n\
                       User-Agent: a phone of the end-to-end tests\r\n";

/// One user behind one socket.
pub(crate) struct Phone {
    pub(crate) user: String,
    pub(crate) address: SocketAddr,
    node: SocketAddr,
    socket: UdpSocket,
    sequence: u32,
}

impl Phone {
    /// A phone at `address` in `namespace` that speaks to `node`.
    pub(crate) fn new(
        namespace: &Namespace,
        user: impl Into<String>,
        address: SocketAddr,
        node: SocketAddr,
    ) -> Self {
        // A socket stays in the namespace of the thread that made it.
        let socket = namespace.enter_on_a_thread(|| UdpSocket::bind(address).unwrap()).unwrap();
        Self { user: user.into(), address: socket.local_addr().unwrap(), node, socket, sequence: 0 }
    }

    /// Sends the text to the node. Where nobody listens the kernel says so on a later call; that is no error here.
    pub(crate) fn send(&self, message: &str) {
        let _ = self.socket.send_to(message.as_bytes(), self.node);
    }

    /// The next message from the node within the time, if any.
    pub(crate) fn receive(&self, wait: Duration) -> Option<Received> {
        let until = Instant::now() + wait;
        let mut buffer = vec![0; 65_535];
        loop {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return None;
            }
            self.socket.set_read_timeout(Some(left)).unwrap();
            match self.socket.recv_from(&mut buffer) {
                Ok((length, from)) if from == self.node => {
                    return Some(Received { text: String::from_utf8(buffer[..length].to_vec()).unwrap() });
                }
                Ok(_) => {}
                // A node that is down shows as "connection refused".
                Err(error) if error.kind() == ErrorKind::ConnectionRefused => {
                    std::thread::sleep(Duration::from_millis(1));
                }
                Err(_) => return None,
            }
        }
    }

    /// As [`receive`](Self::receive), but for messages that a node with transactions sends on its own: a 100, and the ACK
    /// of what is no 2xx.
    pub(crate) fn receive_from_peer(&self, wait: Duration) -> Option<Received> {
        let until = Instant::now() + wait;
        loop {
            let received = self.receive(until.saturating_duration_since(Instant::now()))?;
            if !received.text.starts_with("SIP/2.0 100 ") && !received.text.starts_with("ACK ") {
                return Some(received);
            }
        }
    }

    /// The next message that begins so and is of the call that this INVITE began; what is repeated, or of another call, is passed
    /// over. On the way a CANCEL is answered: a phone that has answered the INVITE says 200 to it.
    pub(crate) fn of_call(&self, begins: &str, invite: &str) -> Received {
        let call = Received { text: invite.to_owned() };
        loop {
            let message =
                self.receive(PATIENCE).unwrap_or_else(|| panic!("{}: no {begins}for {invite}", self.user));
            if message.headers("Call-ID") != call.headers("Call-ID") {
                continue;
            }
            if message.text.starts_with(begins) {
                return message;
            }
            if message.text.starts_with("CANCEL ") {
                self.send(&message.reply("200 OK", self.address));
            }
        }
    }

    /// A REGISTER of its own address for an hour.
    pub(crate) fn register(&mut self) -> String {
        self.register_contact(&format!("<sip:{}@{}>", self.user, self.address))
    }

    /// A REGISTER of this contact, wherever it is, for an hour.
    pub(crate) fn register_contact(&mut self, contact: &str) -> String {
        self.sequence += 1;
        let Self { user, address, node, sequence, .. } = self;
        let domain = host(*node);
        format!(
            "REGISTER sip:{domain} SIP/2.0\r\nVia: SIP/2.0/UDP {address};branch=z9hG4bK-{user}-r{sequence};rport\r\n\
             Max-Forwards: 70\r\nFrom: <sip:{user}@{domain}>;tag={user}\r\nTo: <sip:{user}@{domain}>\r\n\
             Call-ID: register-{user}@test\r\nCSeq: {sequence} REGISTER\r\nContact: {contact}\r\n\
             Expires: 3600\r\n{MANNERS}Content-Length: 0\r\n\r\n"
        )
    }

    /// Registers, repeating itself as UDP demands, and fails when that does not succeed.
    pub(crate) fn registered(mut self) -> Self {
        let request = self.register();
        let answer = self.ask(&request, 20).expect("an answer to REGISTER");
        assert!(answer.text.starts_with("SIP/2.0 200 "), "{}", answer.text);
        self
    }

    /// An INVITE to another user with this body.
    pub(crate) fn invite(&mut self, to: &str, body: &str) -> String {
        self.sequence += 1;
        let Self { user, address, node, sequence, .. } = self;
        let domain = host(*node);
        format!(
            "INVITE sip:{to}@{domain} SIP/2.0\r\nVia: SIP/2.0/UDP {address};branch=z9hG4bK-{user}-i{sequence};rport\r\n\
             Max-Forwards: 70\r\nFrom: <sip:{user}@{domain}>;tag={user}\r\nTo: <sip:{to}@{domain}>\r\n\
             Call-ID: call-{sequence}-{user}@test\r\nCSeq: {sequence} INVITE\r\nContact: <sip:{user}@{address}>\r\n\
             {MANNERS}Content-Type: application/sdp\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )
    }

    /// CANCEL of an INVITE: its branch, its number (RFC 3261 section 9.1).
    pub(crate) fn cancel(invite: &str) -> String {
        let to = Received { text: invite.to_owned() }.headers("To")[0].to_owned();
        of_transaction(invite, "CANCEL", &to)
    }

    /// ACK for a final response other than 2xx: part of the INVITE's transaction (section 17.1.1.3).
    pub(crate) fn acknowledge_refusal(invite: &str, response: &Received) -> String {
        of_transaction(invite, "ACK", response.headers("To")[0])
    }

    /// ACK for a 2xx.
    pub(crate) fn acknowledge(&self, invite: &str, response: &Received) -> String {
        let number = Received { text: invite.to_owned() }.number();
        self.in_dialog("ACK", number, response)
    }

    /// A request to whom answered so, along the route set that the response began (section 12.2.1.1).
    pub(crate) fn in_dialog(&self, method: &str, number: u32, response: &Received) -> String {
        let Self { user, address, .. } = self;
        let contact = response.headers("Contact")[0];
        let target = contact.trim_start_matches('<').split('>').next().unwrap_or_default();
        let header = |name: &str| response.headers(name)[0].to_owned();
        let mut text = format!(
            "{method} {target} SIP/2.0\r\nVia: SIP/2.0/UDP {address};branch=z9hG4bK-{user}-{method}-{number};rport\r\n"
        );
        for route in response.headers("Record-Route").iter().rev() {
            text.push_str(&format!("Route: {route}\r\n"));
        }
        text.push_str(&format!(
            "Max-Forwards: 70\r\nFrom: {}\r\nTo: {}\r\nCall-ID: {}\r\nCSeq: {number} {method}\r\n\
             Content-Length: 0\r\n\r\n",
            header("From"),
            header("To"),
            header("Call-ID")
        ));
        text
    }

    /// Sends until there is an answer, every 500 ms (T1) and at most so many times.
    pub(crate) fn ask(&self, request: &str, times: u32) -> Option<Received> {
        (0..times).find_map(|_| {
            self.send(request);
            self.receive(Duration::from_millis(500))
        })
    }
}

/// A request of the INVITE's transaction.
fn of_transaction(invite: &str, method: &str, to: &str) -> String {
    let sent = Received { text: invite.to_owned() };
    let header = |name: &str| sent.headers(name)[0].to_owned();
    format!(
        "{method} {} SIP/2.0\r\nVia: {}\r\nMax-Forwards: 70\r\nFrom: {}\r\nTo: {to}\r\nCall-ID: {}\r\n\
         CSeq: {} {method}\r\nContent-Length: 0\r\n\r\n",
        invite.split(' ').nth(1).unwrap_or_default(),
        header("Via"),
        header("From"),
        header("Call-ID"),
        sent.number()
    )
}

/// A message from the node.
pub(crate) struct Received {
    pub(crate) text: String,
}

impl Received {
    /// The values of all headers of this name, in order; for messages without compact forms and folding.
    pub(crate) fn headers(&self, name: &str) -> Vec<&str> {
        let head = self.text.split("\r\n\r\n").next().unwrap_or_default();
        head.split("\r\n")
            .filter_map(|line| line.split_once(':'))
            .filter(|(found, _)| found.trim().eq_ignore_ascii_case(name))
            .map(|(_, value)| value.trim())
            .collect()
    }

    /// The number in CSeq.
    pub(crate) fn number(&self) -> u32 {
        self.headers("CSeq")[0].split(' ').next().and_then(|number| number.parse().ok()).expect("a CSeq")
    }

    /// What follows the empty line.
    pub(crate) fn body(&self) -> &str {
        self.text.split_once("\r\n\r\n").map_or("", |(_, body)| body)
    }

    /// A reply to this request.
    pub(crate) fn reply(&self, status: &str, contact: SocketAddr) -> String {
        let mut text = format!("SIP/2.0 {status}\r\n");
        for name in ["Via", "Record-Route", "From", "Call-ID", "CSeq"] {
            for value in self.headers(name) {
                text.push_str(&format!("{name}: {value}\r\n"));
            }
        }
        for to in self.headers("To") {
            text.push_str(&format!("To: {to};tag=called\r\n"));
        }
        text.push_str(&format!("Contact: <sip:called@{contact}>\r\nContent-Length: 0\r\n\r\n"));
        text
    }
}

/// The node's address as the host of a SIP URI.
pub(crate) fn host(address: SocketAddr) -> String {
    match address {
        SocketAddr::V4(address) => address.ip().to_string(),
        SocketAddr::V6(address) => format!("[{}]", address.ip()),
    }
}
