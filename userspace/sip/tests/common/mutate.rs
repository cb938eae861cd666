//! A small mutator for hostile messages: bytes, words of the grammar, lines and numbers, changed, moved and doubled.
//!
//! Deterministic for a seed. `STROWGER_SEED` sets it; without, the clock does, and it is printed.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used)]

use std::time::{Duration, Instant, SystemTime};

/// Words that mean something to the parser.
pub const WORDS: &[&str] = &[
    "\r\n",
    "\r\n ",
    "\r\n\t",
    "\r\n\r\n",
    "\n",
    "\r",
    " ",
    "\t",
    "\0",
    ":",
    ";",
    ",",
    "<",
    ">",
    "\"",
    "\\",
    "\\\"",
    "=",
    "@",
    "/",
    "?",
    "%",
    "%0",
    "%00",
    "*",
    "[",
    "]",
    "[::1]",
    ":::",
    "SIP/2.0",
    "SIP/2.0/UDP ",
    "sip:",
    "sips:",
    "tel:+1",
    "Via: ",
    "v: ",
    "To: ",
    "t: ",
    "From: ",
    "f: ",
    "Call-ID: ",
    "i: ",
    "CSeq: ",
    "Max-Forwards: ",
    "Content-Length: ",
    "l: ",
    "Route: ",
    "Record-Route: ",
    "Contact: ",
    "m: ",
    "Expires: ",
    "Authorization: Digest ",
    "Require: ",
    "k: ",
    "\r\nVia: ",
    "\r\nTo : ",
    ";branch=z9hG4bK",
    ";tag=",
    ";rport",
    ";rport=",
    ";received=",
    ";lr",
    ";maddr=",
    ";q=0.5",
    ";expires=",
    "0",
    "1",
    "-1",
    "255",
    "256",
    "65535",
    "65536",
    "2147483647",
    "2147483648",
    "4294967295",
    "4294967296",
    "18446744073709551616",
    "255.255.255.255",
    "256.1.1.1",
    "1.2.3",
    "INVITE",
    "ACK",
    "\u{7f}",
    "\u{80}",
    "\u{fffd}",
    "INVITE sip:a SIP/2.0\r\n",
];

/// xorshift64*; good enough to choose bytes by.
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Random(seed | 1)
    }

    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    pub fn below(&mut self, limit: usize) -> usize {
        (self.next() >> 33) as usize % limit.max(1)
    }

    fn range(&mut self, len: usize) -> std::ops::Range<usize> {
        let from = self.below(len + 1);
        let span = if self.below(4) == 0 { 200 } else { 12 };
        from..(from + self.below(span)).min(len)
    }
}

/// One to six changes to one of the messages.
pub fn mutate(random: &mut Random, messages: &[&[u8]]) -> Vec<u8> {
    let mut message = messages[random.below(messages.len())].to_vec();
    for _ in 0..=random.below(6) {
        let at = random.below(message.len() + 1);
        match random.below(10) {
            0 if at < message.len() => message[at] = random.next() as u8,
            1 if at < message.len() => message[at] ^= 1 << random.below(8),
            2 => drop(message.splice(at..at, WORDS[random.below(WORDS.len())].bytes())),
            3 => {
                let range = random.range(message.len());
                drop(message.splice(range, WORDS[random.below(WORDS.len())].bytes()));
            }
            4 => drop(message.drain(random.range(message.len()))),
            5 => {
                let copy = message[random.range(message.len())].to_vec();
                drop(message.splice(at..at, copy));
            }
            6 => {
                // A line, moved or doubled.
                let lines: Vec<_> = message.split_inclusive(|&b| b == b'\n').map(<[u8]>::to_vec).collect();
                if !lines.is_empty() {
                    let line = lines[random.below(lines.len())].clone();
                    drop(message.splice(at..at, line));
                }
            }
            7 => {
                let other = messages[random.below(messages.len())];
                let piece = other[random.range(other.len())].to_vec();
                drop(message.splice(at..at, piece));
            }
            8 => message.truncate(at),
            _ => {
                // A run of digits becomes another number.
                if let Some(from) = (at..message.len()).find(|&i| message[i].is_ascii_digit()) {
                    let to = (from..message.len())
                        .find(|&i| !message[i].is_ascii_digit())
                        .unwrap_or(message.len());
                    let number = random.next() >> random.below(64);
                    drop(message.splice(from..to, number.to_string().into_bytes()));
                }
            }
        }
    }
    message
}

/// Runs `check` on mutated messages, at most `count` of them and at most for `limit`. Says the seed, and on a failure the
/// message.
pub fn run(name: &str, messages: &[&[u8]], count: usize, limit: Duration, mut check: impl FnMut(&[u8])) {
    let seed = match std::env::var("STROWGER_SEED") {
        Ok(text) => text.parse().unwrap(),
        Err(_) => SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_nanos() as u64,
    };
    println!("{name}: STROWGER_SEED={seed}");
    let mut random = Random::new(seed);
    let start = Instant::now();
    let mut done = 0;
    while done < count && start.elapsed() < limit {
        let message = mutate(&mut random, messages);
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| check(&message)));
        if outcome.is_err() {
            panic!("{name}: STROWGER_SEED={seed}, message {done}: b\"{}\"", message.escape_ascii());
        }
        done += 1;
    }
    println!("{name}: {done} messages");
    assert!(done > 100, "only {done} messages in {limit:?}");
}
