//! A worker thread with an engine that has a call, asked from outside as the control side does.

use std::sync::Arc;

use strowger_engine::{Config, Flow, Location, Verdict};
use strowger_sip::Buffer;

use super::*;

const US: &str = "192.0.2.1:5060";
const ALICE: &str = "192.0.2.11:5060";
const BOB: &str = "192.0.2.12:5060";

/// Puts a message through the engine: what it became.
fn pass(engine: &mut Engine, from: &str, text: &str) -> String {
    let mut memory = vec![0; 8192];
    memory[1024..1024 + text.len()].copy_from_slice(text.as_bytes());
    let mut buffer = Buffer::new(&mut memory, 1024..1024 + text.len()).expect("in bounds");
    let flow = Flow { local: US.parse().expect("address"), remote: from.parse().expect("address") };
    let verdict = engine.handle(Time::START, flow, &mut buffer);
    assert!(matches!(verdict, Verdict::Send(_)), "{verdict:?}");
    String::from_utf8(buffer.message().to_vec()).expect("text")
}

/// An engine with a call of Alice's to Bob's address that is up.
fn with_a_call() -> Engine {
    let config = Config {
        listen: vec![US.parse().expect("address")],
        domains: vec!["example.net".into()],
        auth_required: false,
        secret: [7; 32],
        ..Config::default()
    };
    let location = Arc::new(Location::new(&config).expect("configuration"));
    let mut engine = Engine::new(Arc::new(config), location).expect("configuration");
    let head = |method: &str, uri: &str, to: &str| {
        format!(
            "{method} {uri} SIP/2.0\r\nVia: SIP/2.0/UDP {ALICE};branch=z9hG4bK{method}\r\nMax-Forwards: 70\r\n\
             From: <sip:alice@example.net>;tag=a\r\nTo: {to}\r\nCall-ID: one@alice\r\nCSeq: 1 {method}\r\n"
        )
    };
    let register = head("REGISTER", "sip:example.net", "<sip:bob@example.net>").replace("one@", "register@");
    pass(&mut engine, ALICE, &format!("{register}Contact: <sip:bob@{BOB}>\r\n\r\n"));
    let invite = head("INVITE", "sip:bob@example.net", "<sip:bob@example.net>");
    let at_bob = pass(&mut engine, ALICE, &format!("{invite}Contact: <sip:alice@{ALICE}>\r\n\r\n"));
    let kept = ["Via:", "Record-Route:", "From:", "Call-ID:", "CSeq:"];
    let mut answer = "SIP/2.0 200 OK\r\n".to_owned();
    for line in at_bob.lines().filter(|line| kept.iter().any(|name| line.starts_with(name))) {
        answer.push_str(&format!("{line}\r\n"));
    }
    let answer = format!("{answer}To: <sip:bob@example.net>;tag=b\r\nContact: <sip:bob@{BOB}>\r\n\r\n");
    pass(&mut engine, BOB, &answer);
    engine
}

#[tokio::test]
async fn a_call_is_listed_and_ended() {
    let errands = Arc::new(Errands::default());
    let stop = Arc::new(AtomicBool::new(false));
    let (theirs, stopped) = (Arc::clone(&errands), Arc::clone(&stop));
    let worker = std::thread::spawn(move || {
        let mut engine = with_a_call();
        let mut sent = false;
        while !stopped.load(Ordering::Relaxed) {
            sent |= theirs.serve(&mut engine, Time::START.after(Duration::from_secs(5)));
            std::thread::yield_now();
        }
        (sent, engine.has_transmit())
    });
    let workers = [(0, Arc::clone(&errands)), (1, Arc::new(Errands::default()))];
    let listing = list(&workers, &[], None, 10).await;
    assert_eq!(
        (listing.calls.len(), listing.more, &listing.silent),
        (1, false, &vec![1]),
        "one worker is stuck"
    );
    let call = &listing.calls[0];
    assert_eq!((call.call_id.as_str(), call.state.as_str(), call.up_s), ("one@alice", "up", Some(5)));
    assert_eq!(
        (call.caller.uri.as_str(), call.callee.address.as_deref()),
        ("sip:alice@example.net", Some(BOB))
    );
    let workers = &workers[..1];
    assert_eq!(list(workers, &[], Some("CAROL"), 10).await.calls, []);
    assert_eq!(list(workers, &[], Some("Alice"), 10).await.calls.len(), 1);
    assert!(list(workers, &[], None, 0).await.more);

    assert_eq!(kill(workers, "two@alice").await, Killed::default());
    assert_eq!(kill(workers, "one@alice").await, Killed { killed: 1, ..Killed::default() });
    let again = kill(workers, "one@alice").await;
    assert_eq!((again.killed, again.refused), (0, vec![KillError::Ending.to_string()]));
    assert_eq!(list(workers, &[], None, 10).await.calls[0].state, "ending");
    stop.store(true, Ordering::Relaxed);
    assert_eq!(worker.join().expect("ends"), (true, true), "the BYEs wait to be sent");
}

/// A worker that is stuck does not collect errands without end.
#[tokio::test]
async fn errands_for_a_stuck_worker_are_bounded() {
    let errands = Errands::default();
    let filter = DialogFilter::default();
    let asked = (0..2 * WAITING).map(|_| errands.walk(&filter, |_, _| true));
    let answered = futures_util::future::join_all(asked).await;
    assert!(answered.iter().all(|answered| !answered));
    assert_eq!(errands.waiting().len(), WAITING);
}
