//! Frames as a worker has them: chunks of 4 KiB side by side, the message behind the headroom that XDP and the node
//! leave and behind the headers of Ethernet, IPv4 and UDP.

use std::net::SocketAddr;
use std::ops::Range;

use strowger_engine::{Engine, Flow, Time, Verdict};
use strowger_sip::Buffer;

/// Messages of one segment: what a worker takes from a ring at most in one turn.
pub const BATCH: usize = 64;
const CHUNK: usize = 4096;
/// 256 octets of XDP's, 256 of the node's, then 42 of headers.
const MESSAGE_AT: usize = 256 + 256 + 14 + 20 + 8;

/// A message that is handled, and what came out.
struct Frame {
    flow: Flow,
    range: Range<usize>,
    sent: Option<Flow>,
}

/// A batch of frames.
pub struct Frames {
    memory: Vec<u8>,
    frames: Vec<Frame>,
    us: SocketAddr,
}

impl Frames {
    /// Empty frames for messages to this address.
    #[must_use]
    pub fn new(us: SocketAddr) -> Self {
        Self { memory: vec![0; CHUNK * BATCH], frames: Vec::with_capacity(BATCH), us }
    }

    /// Takes all messages out.
    pub fn clear(&mut self) {
        self.frames.clear();
    }

    /// A message has come from `remote`.
    pub fn push(&mut self, remote: SocketAddr, message: &[u8]) {
        let start = self.frames.len() * CHUNK + MESSAGE_AT;
        self.memory[start..start + message.len()].copy_from_slice(message);
        let range = MESSAGE_AT..MESSAGE_AT + message.len();
        self.frames.push(Frame { flow: Flow { local: self.us, remote }, range, sent: None });
    }

    /// All messages through the engine, each where it lies.
    pub fn handle(&mut self, engine: &mut Engine, now: Time) {
        for (frame, memory) in self.frames.iter_mut().zip(self.memory.chunks_exact_mut(CHUNK)) {
            let Some(mut buffer) = Buffer::new(memory, frame.range.clone()) else { continue };
            frame.sent = match engine.handle(now, frame.flow, &mut buffer) {
                Verdict::Send(flow) => Some(flow),
                Verdict::Taken | Verdict::Drop(_) => None,
            };
            frame.range = buffer.range();
        }
    }

    /// What the engine has to send besides, each into a frame of its own.
    pub fn transmit(&mut self, engine: &mut Engine, now: Time) {
        self.frames.clear();
        for memory in self.memory.chunks_exact_mut(CHUNK) {
            if !engine.has_transmit() {
                break;
            }
            let Some(mut buffer) = Buffer::new(memory, MESSAGE_AT..MESSAGE_AT) else { continue };
            let Some(flow) = engine.transmit(now, &mut buffer) else { break };
            self.frames.push(Frame { flow, range: buffer.range(), sent: Some(flow) });
        }
    }

    /// What leaves by the frame with this number, and where to.
    #[must_use]
    pub fn sent(&self, at: usize) -> Option<(SocketAddr, &[u8])> {
        let frame = self.frames.get(at)?;
        let memory = self.memory.get(at * CHUNK..(at + 1) * CHUNK)?;
        Some((frame.sent?.remote, memory.get(frame.range.clone())?))
    }

    /// Messages in the frames.
    #[must_use]
    pub fn len(&self) -> usize {
        self.frames.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }
}
