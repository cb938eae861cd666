//! Calls and registrations go on without allocating: what they need was reserved.
#![forbid(unsafe_code)]

use std::net::SocketAddr;

use strowger_load::agents::{Agents, Outbox, Setup, Timing};
use strowger_load::digest::Allowed;
use strowger_load::pace::Pace;
use strowger_load::population::Population;
use strowger_load::record::Load;
use strowger_load::scenario::{Script, Side};
use strowger_load::span::Span;
use strowger_load::template::Constants;

/// Messages under way, each in a place of its own.
struct Ring {
    places: Vec<([u8; 2048], usize, Side)>,
    begin: usize,
    end: usize,
}

impl Outbox for Ring {
    fn send(&mut self, side: Side, _to: SocketAddr, message: &[u8]) {
        let at = self.end % self.places.len();
        let (room, len, to) = &mut self.places[at];
        room[..message.len()].copy_from_slice(message);
        (*len, *to) = (message.len(), if side == Side::Caller { Side::Callee } else { Side::Caller });
        self.end += 1;
    }
}

#[test]
fn calls_and_registrations_do_not_allocate() {
    let local: [SocketAddr; 2] =
        ["10.0.0.1:5060", "10.0.0.2:5060"].map(|text| text.parse().expect("an address"));
    for scenario in ["call", "mix"] {
        let script = Script::load(scenario).expect("built in");
        let constants =
            local.map(|local| Constants { domain: "example.net".to_owned(), target: local, local });
        let mut agents = Agents::new(Setup {
            parts: script.bind(&constants),
            legs: script.legs().len(),
            population: Population::new("u{n}", "{n}", 0, 100).expect("users"),
            users: (0, 100),
            once: false,
            hold: Span::nanoseconds(50_000_000),
            target: [local[1], local[0]],
            no_proxy: true,
            allowed: Allowed::Any,
            timing: Timing::default(),
            places: 1_000,
            run: 1,
            seed: 1,
        });
        let mut ring = Ring { places: vec![([0; 2048], 0, Side::Caller); 256], begin: 0, end: 0 };
        let mut datagram = [0; 2048];
        let second = 1_000_000_000;
        let pace = Pace::new(Load::Open { rate: 500.0, poisson: false }, second, 9 * second, u64::MAX, 1);
        agents.begin(pace, (second, 9 * second));
        let mut play = |agents: &mut Agents, from: u64, to: u64| {
            for now in (from..to).step_by(500_000) {
                agents.advance(now, &mut ring);
                while ring.begin < ring.end {
                    let (bytes, len, side) = &ring.places[ring.begin % 256];
                    let (len, side) = (*len, *side);
                    datagram[..len].copy_from_slice(&bytes[..len]);
                    ring.begin += 1;
                    agents.receive(now, side, local[1 - side as usize], &datagram[..len], &mut ring);
                }
            }
        };
        // Half of it makes what is made once.
        play(&mut agents, second, 3 * second);
        let before = agents.tally().traffic().received;
        let counted = allocation_counter::measure(|| play(&mut agents, 3 * second, 5 * second));
        let received = agents.tally().traffic().received - before;
        assert!(received > 3_000, "{scenario}: it played: {received} messages");
        assert_eq!(counted.count_total, 0, "{scenario}: {counted:?} for {received} messages");
    }
}
