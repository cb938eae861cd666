//! The guest's phones: one socket that calls, one that is called, a message at a time.
//!
//! They are strict about what matters here: each body must arrive as it was sent, and every repetition is counted,
//! because the verdict compares the node's counts with theirs. Nothing else uses them; the laboratory's phones are sipp.

use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::Failure;
use crate::failure::Doing as _;

/// T1 of RFC 3261 section 17.1.1.1: after so long a request is sent again.
const T1: Duration = Duration::from_millis(500);
/// How often a request is sent at most. Emulation is slow; the limit of the whole guest is the host's.
const TRIES: u32 = 20;
/// The longest message here.
const LONGEST: usize = 4096;

/// A message, and what of it these phones need.
#[derive(Clone, Debug)]
pub(super) struct Message(String);

impl Message {
    /// The values of all headers of this name. The node keeps the names that we write.
    fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        let head = self.0.split("\r\n\r\n").next().unwrap_or_default();
        head.split("\r\n").filter_map(move |line| line.strip_prefix(name)?.strip_prefix(": "))
    }

    fn one<'a>(&'a self, name: &'a str) -> &'a str {
        self.all(name).next().unwrap_or_default()
    }

    fn body(&self) -> &str {
        self.0.split_once("\r\n\r\n").map_or("", |(_, body)| body)
    }

    /// The status of a response.
    fn status(&self) -> Option<u32> {
        self.0.strip_prefix("SIP/2.0 ")?.get(..3)?.parse().ok()
    }

    fn is(&self, method: &str) -> bool {
        self.0.strip_prefix(method).is_some_and(|rest| rest.starts_with(' '))
    }

    /// An answer to this request.
    fn answer(&self, status: &str, contact: SocketAddr) -> String {
        let mut text = format!("SIP/2.0 {status}\r\n");
        for name in ["Via", "Record-Route", "From"] {
            for value in self.all(name) {
                text.push_str(&format!("{name}: {value}\r\n"));
            }
        }
        let to = self.one("To");
        let tag = if to.contains(";tag=") { "" } else { ";tag=called" };
        let (call, number) = (self.one("Call-ID"), self.one("CSeq"));
        text.push_str(&format!(
            "To: {to}{tag}\r\nCall-ID: {call}\r\nCSeq: {number}\r\nContact: <sip:called@{contact}>\r\nContent-Length: 0\r\n\r\n"
        ));
        text
    }
}

/// The body of a call: of a length that differs from call to call, so that frames of many sizes are seen.
fn body(call: &str) -> String {
    let number: usize = call.bytes().map(usize::from).sum::<usize>() * 37 % 900;
    let line = format!("a=call:{call}\r\n");
    line.repeat(1 + number / line.len())
}

/// A socket that speaks to the node alone.
pub(super) struct Phone {
    socket: UdpSocket,
    address: SocketAddr,
    domain: String,
    repeated: u64,
}

impl Phone {
    /// A phone at `address`, in the namespace of the calling thread.
    pub(super) fn new(address: SocketAddr, node: SocketAddr) -> Result<Self, Failure> {
        let socket = UdpSocket::bind(address).doing(format!("bind {address}"))?;
        socket.connect(node).doing(format!("connect to {node}"))?;
        Ok(Self { socket, address, domain: node.ip().to_string(), repeated: 0 })
    }

    /// What it had to send again so far.
    pub(super) fn repeated(&self) -> u64 {
        self.repeated
    }

    /// The next message within the time. Refusals by ICMP, from before the node is up, are nothing.
    fn receive(&self, wait: Duration) -> Option<Message> {
        let until = Instant::now() + wait;
        let mut buffer = [0; LONGEST];
        loop {
            let left = until.checked_duration_since(Instant::now()).filter(|left| !left.is_zero())?;
            self.socket.set_read_timeout(Some(left)).ok()?;
            if let Ok(length) = self.socket.recv(&mut buffer) {
                let text = buffer.get(..length).unwrap_or_default();
                return Some(Message(String::from_utf8_lossy(text).into_owned()));
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    fn send(&self, text: &str) {
        // Where nobody listens yet, this says so; the answer that does not come says the same.
        let _ = self.socket.send(text.as_bytes());
    }

    /// Sends until this request is answered finally.
    fn ask(&mut self, request: &str) -> Result<Message, Failure> {
        let asked = Message(request.to_owned());
        let (call, number) = (asked.one("Call-ID"), asked.one("CSeq"));
        for attempt in 0..TRIES {
            self.repeated += u64::from(attempt > 0);
            self.send(request);
            let until = Instant::now() + T1;
            while let Some(message) = self.receive(until.saturating_duration_since(Instant::now())) {
                let ours = message.one("Call-ID") == call && message.one("CSeq") == number;
                if ours && message.status().is_some_and(|status| status >= 200) {
                    return Ok(message);
                }
            }
        }
        Err(Failure::failed(format!("no answer to {number} of {call}")))
    }

    /// The headers that every request here begins with, after its start line and before CSeq.
    fn request(&self, line: &str, call: &str, from: &str, to: &str, number: &str) -> String {
        let branch = format!("z9hG4bK-{call}-{}", number.replace(' ', "-"));
        let address = self.address;
        format!(
            "{line} SIP/2.0\r\nVia: SIP/2.0/UDP {address};branch={branch};rport\r\nMax-Forwards: 70\r\nFrom: {from}\r\n\
             To: {to}\r\nCall-ID: {call}\r\nCSeq: {number}\r\n"
        )
    }

    /// Registers `user` at this phone.
    pub(super) fn register(&mut self, user: &str, call: &str) -> Result<(), Failure> {
        let (domain, address) = (self.domain.clone(), self.address);
        let who = format!("<sip:{user}@{domain}>");
        let line = format!("REGISTER sip:{domain}");
        let mut request = self.request(&line, call, &format!("{who};tag={call}"), &who, "1 REGISTER");
        request.push_str(&format!(
            "Contact: <sip:{user}@{address}>\r\nExpires: 600\r\nContent-Length: 0\r\n\r\n"
        ));
        match self.ask(&request)?.status() {
            Some(200) => Ok(()),
            other => Err(Failure::failed(format!("{user} was not registered: {other:?}"))),
        }
    }

    /// One call to `user`, from INVITE to the 200 for BYE.
    pub(super) fn call(&mut self, user: &str, call: &str) -> Result<(), Failure> {
        let (domain, address) = (self.domain.clone(), self.address);
        let from = format!("<sip:caller@{domain}>;tag=calling");
        let line = format!("INVITE sip:{user}@{domain}");
        let mut invite = self.request(&line, call, &from, &format!("<sip:{user}@{domain}>"), "1 INVITE");
        let body = body(call);
        invite.push_str(&format!(
            "Contact: <sip:caller@{address}>\r\nContent-Type: text/plain\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        ));
        let answer = self.ask(&invite)?;
        if answer.status() != Some(200) {
            return Err(Failure::failed(format!("{call} was answered {:?}", answer.status())));
        }
        let target = answer.one("Contact").trim_start_matches('<').trim_end_matches('>').to_owned();
        let to = answer.one("To").to_owned();
        let route: String = {
            // The route set of the calling side is the other way round (RFC 3261 section 12.1.2).
            let mut hops: Vec<&str> = answer.all("Record-Route").collect();
            hops.reverse();
            hops.iter().map(|hop| format!("Route: {hop}\r\n")).collect()
        };
        let within = |line: String, number: &str| {
            self.request(&line, call, &from, &to, number) + &route + "Content-Length: 0\r\n\r\n"
        };
        let (ack, bye) = (within(format!("ACK {target}"), "1 ACK"), within(format!("BYE {target}"), "2 BYE"));
        self.send(&ack);
        match self.ask(&bye)?.status() {
            Some(200) => Ok(()),
            other => Err(Failure::failed(format!("the BYE of {call} was answered {other:?}"))),
        }
    }

    /// Answers every call until `stop`; counts bodies that arrived otherwise than they were sent, and messages that
    /// came twice.
    pub(super) fn serve(self, stop: &AtomicBool, damaged: &AtomicU64, repeated: &AtomicU64) {
        let mut last = String::new();
        while !stop.load(Ordering::Relaxed) {
            let Some(message) = self.receive(Duration::from_millis(100)) else { continue };
            let name = format!("{} {}", message.one("CSeq"), message.one("Call-ID"));
            repeated.fetch_add(u64::from(name == last), Ordering::Relaxed);
            last = name;
            if message.is("INVITE") {
                damaged
                    .fetch_add(u64::from(message.body() != body(message.one("Call-ID"))), Ordering::Relaxed);
                self.send(&message.answer("180 Ringing", self.address));
                self.send(&message.answer("200 OK", self.address));
            } else if message.is("BYE") {
                self.send(&message.answer("200 OK", self.address));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_differ_in_length_and_fit_a_frame() {
        let lengths: Vec<usize> = (0..200).map(|number| body(&format!("call-{number}")).len()).collect();
        assert!(lengths.iter().all(|length| *length < 1000), "{lengths:?}");
        assert!(lengths.iter().max() > Some(&700) && lengths.iter().min() < Some(&200), "{lengths:?}");
    }

    #[test]
    fn an_answer_carries_what_it_must() {
        let request = Message(
            "INVITE sip:a@h SIP/2.0\r\nVia: one\r\nVia: two\r\nRecord-Route: <sip:p;lr>\r\nFrom: f\r\nTo: t\r\n\
             Call-ID: c\r\nCSeq: 1 INVITE\r\n\r\nbody"
                .to_owned(),
        );
        let answer = Message(request.answer("200 OK", "10.0.0.1:5070".parse().expect("an address")));
        assert_eq!(answer.all("Via").collect::<Vec<_>>(), ["one", "two"]);
        assert_eq!(
            (answer.status(), answer.one("To"), answer.one("Record-Route")),
            (Some(200), "t;tag=called", "<sip:p;lr>")
        );
        assert!(request.is("INVITE") && !request.is("INV") && request.body() == "body");
    }
}
