//! A phone of a few lines, for tests that look at single messages: a UDP socket inside a namespace.

use std::io::ErrorKind;
use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use strowger_xtask::namespace::Namespace;

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

    /// A REGISTER for an hour.
    pub(crate) fn register(&mut self) -> String {
        self.sequence += 1;
        let Self { user, address, node, sequence, .. } = self;
        let domain = host(*node);
        format!(
            "REGISTER sip:{domain} SIP/2.0\r\nVia: SIP/2.0/UDP {address};branch=z9hG4bK-{user}-r{sequence};rport\r\n\
             Max-Forwards: 70\r\nFrom: <sip:{user}@{domain}>;tag={user}\r\nTo: <sip:{user}@{domain}>\r\n\
             Call-ID: register-{user}@test\r\nCSeq: {sequence} REGISTER\r\nContact: <sip:{user}@{address}>\r\n\
             Expires: 3600\r\nContent-Length: 0\r\n\r\n"
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
             Content-Type: application/sdp\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )
    }

    /// Sends until there is an answer, every 500 ms (T1) and at most so many times.
    pub(crate) fn ask(&self, request: &str, times: u32) -> Option<Received> {
        (0..times).find_map(|_| {
            self.send(request);
            self.receive(Duration::from_millis(500))
        })
    }
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
fn host(address: SocketAddr) -> String {
    match address {
        SocketAddr::V4(address) => address.ip().to_string(),
        SocketAddr::V6(address) => format!("[{}]", address.ip()),
    }
}
