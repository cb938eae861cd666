//! What the seven messages of a call cost: INVITE, 100, 180, 200, ACK, BYE and 200 through an engine whose tables hold
//! the calls of the last half minute. Prints nanoseconds for each message, taken over `CALLS` calls in a row.
//!
//! `cargo run --release -p strowger-engine --example seven [CALLS]`; under callgrind, with
//! `--toggle-collect='*Engine*handle*'`, instructions.

use std::error::Error;
use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use strowger_engine::{Config, Engine, Flow, Location, Time, Verdict};
use strowger_sip::Buffer;

const US: &str = "10.77.0.2:5060";
const ALICE: &str = "10.77.0.11:5060";
const BOB: &str = "10.77.0.12:5070";
const SDP: &str = "v=0\r\no=- 3724394400 3724394405 IN IP4 10.77.0.11\r\ns=-\r\nc=IN IP4 10.77.0.11\r\nt=0 0\r\n\
    m=audio 4000 RTP/AVP 8 0 101\r\na=rtpmap:8 PCMA/8000\r\na=rtpmap:0 PCMU/8000\r\n\
    a=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-16\r\na=sendrecv\r\n";
const WHAT: [&str; 7] = ["INVITE", "100", "180", "200", "ACK", "BYE", "200 to BYE"];

/// An engine, memory for one message, and what was spent on each of the seven.
struct Bench {
    engine: Engine,
    now: Time,
    memory: Vec<u8>,
    spent: [Duration; 7],
}

impl Bench {
    /// One message through the engine; what it became.
    fn pass(&mut self, what: usize, from: &str, text: &str) -> Result<String, Box<dyn Error>> {
        let room = self.memory.get_mut(512..512 + text.len()).ok_or("too long")?;
        room.copy_from_slice(text.as_bytes());
        let mut buffer = Buffer::new(&mut self.memory, 512..512 + text.len()).ok_or("too long")?;
        let flow = Flow { local: US.parse()?, remote: from.parse()? };
        let start = Instant::now();
        let verdict = black_box(self.engine.handle(self.now, flow, &mut buffer));
        self.spent[what] += start.elapsed();
        match verdict {
            Verdict::Send(_) => Ok(String::from_utf8(buffer.message().to_vec())?),
            other => Err(format!("{}: {other:?}", WHAT[what]).into()),
        }
    }

    /// The 100.
    fn transmit(&mut self) {
        while self.engine.has_transmit() {
            let Some(mut buffer) = Buffer::new(&mut self.memory, 512..512) else { return };
            let start = Instant::now();
            let sent = black_box(self.engine.transmit(self.now, &mut buffer));
            self.spent[1] += start.elapsed();
            if sent.is_none() {
                return;
            }
        }
    }
}

/// The lines of a request that its response repeats.
fn response(request: &str, status: &str, body: &str) -> String {
    let mut text = format!("SIP/2.0 {status}\r\n");
    for line in request.lines().take_while(|line| !line.is_empty()) {
        let name = line.split(':').next().unwrap_or_default();
        if ["Via", "Record-Route", "From", "Call-ID", "CSeq"].contains(&name) {
            text += &format!("{line}\r\n");
        } else if name == "To" {
            let tag = if line.contains(";tag=") { "" } else { ";tag=bob" };
            text += &format!("{line}{tag}\r\n");
        }
    }
    text + &format!("Contact: <sip:bob@{BOB}>\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}

fn main() -> Result<(), Box<dyn Error>> {
    let calls: u64 = std::env::args().nth(1).map_or(Ok(20_000), |n| n.parse())?;
    let config = Config {
        listen: vec![US.parse()?],
        domains: vec!["example.net".into()],
        auth_required: false,
        per_source_pps: u32::MAX,
        secret: [7; 32],
        ..Config::default()
    };
    let location = Arc::new(Location::new(&config)?);
    let engine = Engine::new(Arc::new(config), location)?;
    let mut bench = Bench {
        engine,
        now: Time::from_nanos(1_000_000_000),
        memory: vec![0; 8192],
        spent: [Duration::ZERO; 7],
    };
    let register = format!(
        "REGISTER sip:example.net SIP/2.0\r\nVia: SIP/2.0/UDP {BOB};branch=z9hG4bKr\r\nFrom: <sip:bob@example.net>;tag=r\r\n\
         To: <sip:bob@example.net>\r\nCall-ID: r\r\nCSeq: 1 REGISTER\r\nContact: <sip:bob@{BOB}>\r\nContent-Length: 0\r\n\r\n"
    );
    bench.pass(0, BOB, &register)?;
    bench.spent = [Duration::ZERO; 7];
    for n in 0..calls {
        let request = |method: &str, uri: &str, cseq: u32, to: &str, more: &str, body: &str| {
            format!(
                "{method} {uri} SIP/2.0\r\nVia: SIP/2.0/UDP {ALICE};branch=z9hG4bKPj{method}{n:016x};rport\r\n\
                 Max-Forwards: 70\r\nFrom: \"Alice\" <sip:alice@example.net>;tag=a{n:08x}\r\nTo: <sip:bob@example.net>{to}\r\n\
                 Call-ID: {n:032x}@10.77.0.11\r\nCSeq: {cseq} {method}\r\nContact: <sip:alice@{ALICE}>\r\n{more}\
                 User-Agent: Phone 1.2.3\r\nAllow: INVITE, ACK, BYE, CANCEL, OPTIONS\r\nContent-Length: {}\r\n\r\n{body}",
                body.len()
            )
        };
        let sdp = "Content-Type: application/sdp\r\n";
        let at_bob = bench.pass(0, ALICE, &request("INVITE", "sip:bob@example.net", 1, "", sdp, SDP))?;
        bench.transmit();
        bench.pass(2, BOB, &response(&at_bob, "180 Ringing", ""))?;
        let ok = bench.pass(3, BOB, &response(&at_bob, "200 OK", SDP))?;
        let route =
            ok.lines().find_map(|line| line.strip_prefix("Record-Route: ")).ok_or("no Record-Route")?;
        let (uri, route) = (format!("sip:bob@{BOB}"), format!("Route: {route}\r\n"));
        bench.pass(4, ALICE, &request("ACK", &uri, 1, ";tag=bob", &route, ""))?;
        let bye = bench.pass(5, ALICE, &request("BYE", &uri, 2, ";tag=bob", &route, ""))?;
        bench.pass(6, BOB, &response(&bye, "200 OK", ""))?;
        while bench.engine.next_event().is_some() {}
        // 1,000 calls a second.
        bench.now = bench.now.after(Duration::from_millis(1));
        while bench.engine.timeout().is_some_and(|due| due <= bench.now) {
            bench.engine.on_timeout(bench.now);
        }
    }
    println!("{:?}", bench.engine.occupancy());
    let mut sum = 0;
    for (what, spent) in WHAT.iter().zip(bench.spent) {
        let each = spent.as_nanos() as u64 / calls.max(1);
        sum += each;
        println!("{what:>10} {each:>6} ns");
    }
    println!("{:>10} {:>6} ns", "average", sum / 7);
    Ok(())
}
