//! What a REGISTER refresh with digest costs, by the clock. Run alone, optimised, on a machine that does nothing else:
//! `cargo test --release --package strowger-engine --test cost -- --ignored --nocapture`.

mod authentic;
mod pair;

use std::time::{Duration, Instant};

use authentic::{Challenge, closed, pair_with};
use pair::{ALICE, HEADROOM, US, register};
use strowger_engine::{Algorithm, Flow, Verdict};
use strowger_sip::Buffer;

const REFRESHES: u32 = 2000;

#[test]
#[ignore = "a measurement: needs optimisation and a machine for itself"]
fn a_refresh_with_digest_takes_at_most_3_microseconds() {
    for algorithm in Algorithm::ALL {
        let mut config = closed();
        config.auth.algorithms = vec![algorithm];
        let mut pair = pair_with(config);
        let contact = format!("<sip:alice@{ALICE}>");
        let text = register("alice", &contact).add("Allow", "INVITE, ACK, CANCEL, BYE, OPTIONS");
        let reply = pair.pass(ALICE, &text).to(ALICE);
        let challenge = Challenge::first(&reply);
        let flow = Flow { local: US.parse().unwrap(), remote: ALICE.parse().unwrap() };
        let (mut least, mut total) = (Duration::MAX, Duration::ZERO);
        for nc in 1..=REFRESHES {
            let text = text.clone().set("CSeq", &format!("{nc} REGISTER"));
            let bytes = challenge.sign(&reply, &text, "alice", nc).bytes();
            let mut memory = vec![0; HEADROOM + bytes.len() + 2048];
            let range = HEADROOM..HEADROOM + bytes.len();
            memory[range.clone()].copy_from_slice(&bytes);
            let mut buffer = Buffer::new(&mut memory, range).unwrap();
            // One in five milliseconds, so that neither tables nor budgets fill.
            pair.pause(5);
            let start = Instant::now();
            let verdict = pair.engine.handle(pair.now, flow, &mut buffer);
            let took = start.elapsed();
            assert!(matches!(verdict, Verdict::Send(_)));
            assert!(buffer.message().starts_with(b"SIP/2.0 200"), "{}", buffer.message().escape_ascii());
            least = least.min(took);
            total += took;
        }
        println!("{}: {least:?} at the least, {:?} on average", algorithm.name(), total / REFRESHES);
        // The least is what it costs when nothing else has the machine.
        if algorithm == Algorithm::Sha256 {
            assert!(least <= Duration::from_micros(3), "{least:?}");
        }
    }
}
