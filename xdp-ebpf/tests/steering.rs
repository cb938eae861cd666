//! Steering by Call-ID through the kernel (BPF_PROG_TEST_RUN): the worker it chooses is the one that userspace names.
//!
//! Which one it was, the beats tell: one worker lives at a time, and what belongs to another is passed. Needs root as
//! `verdicts.rs` does.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may panic")]
#![allow(missing_docs)]

mod packet;
mod served;
mod skip;

use std::path::Path;

use packet::{CUSTOMER, SERVICE, to};
use served::{Dice, Served};
use strowger_wire::steer::{SteeringKey, message_hash, worker_of};
use strowger_xdp::{Counter, LoadOptions, Steering};

const V4: &str = "10.77.0.2:5060";
const V6: &str = "[fd77::2]:5060";

const KEY: SteeringKey = SteeringKey::from_bytes(*b"sixteen secrets!");

fn served(workers: u32) -> Option<Served> {
    let options = LoadOptions { workers, steering: Steering::CallId(KEY), ..LoadOptions::default() };
    Served::new(&[V4, V6], &options)
}

fn message(call_id: &str) -> Vec<u8> {
    format!(
        "OPTIONS sip:10.77.0.2 SIP/2.0\r\nVia: SIP/2.0/UDP 10.77.0.1;branch=z9hG4bK1\r\nMax-Forwards: 70\r\n\
         {call_id}CSeq: 1 OPTIONS\r\nContent-Length: 0\r\n\r\n"
    )
    .into_bytes()
}

/// Lets the first of the two workers live, who owns the queue that packets come by, and the second if so.
fn alive(served: &Served, second: bool) {
    served.revive(0);
    match second {
        true => served.revive(1),
        false => served.hearts[1].beat(0),
    }
}

/// The worker that the program gives `packet` to; `None` when it leaves the choice to userspace.
#[track_caller]
fn steered(served: &Served, packet: &[u8]) -> Option<u32> {
    let verdicts = [false, true].map(|second| {
        alive(served, second);
        served.verdict(&packet.escape_ascii().to_string(), packet)
    });
    match verdicts {
        [Counter::Redirect, Counter::Redirect] => Some(0),
        [Counter::PassNoHeartbeat, Counter::Redirect] => Some(1),
        [Counter::PassNoCallId, Counter::PassNoCallId] => None,
        other => panic!("{other:?} for {}", packet.escape_ascii()),
    }
}

#[test]
fn kernel_and_userspace_name_the_same_worker() {
    let Some(served) = served(2) else { return };
    let mut shares = [0, 0];
    for number in 0..200 {
        let header = match number % 4 {
            0 => format!("Call-ID: {number}@10.77.0.1\r\n"),
            1 => format!("cALL-iD \t:  {number}@10.77.0.1 \r\n"),
            2 => format!("i:{}{number}@10.77.0.1\r\n", "x".repeat(number)),
            _ => format!("Call-ID:\r\n {number}\r\nX-Call: x\r\n"),
        };
        let message = message(&header);
        let expected = worker_of(message_hash(&KEY, &message).unwrap(), 2);
        shares[expected as usize] += 1;
        for packet in [
            to(V4).payload(message.clone()),
            to(V6).payload(message.clone()),
            to(V4).tag(CUSTOMER).payload(message.clone()),
            to(V6).tag(SERVICE).tag(CUSTOMER).payload(message.clone()),
            to(V4).payload(message.clone()).padding(9),
        ] {
            assert_eq!(steered(&served, &packet.bytes()), Some(expected), "{header}");
        }
    }
    assert!(shares.iter().all(|share| (70..130).contains(share)), "{shares:?}");
}

#[test]
fn without_a_call_id_userspace_chooses() {
    let Some(served) = served(2) else { return };
    for payload in [
        Vec::new(),
        b"\r\n\r\n".to_vec(),
        message(""),
        message("Call-ID:\r\n"),
        vec![b'x'; 1_400],
        vec![b'\n'; 1_400],
        vec![b'\r'; 3_400],
        b"x\r\n".repeat(400),
        [message(""), b"Call-ID: body@10.77.0.1\r\n\r\n".to_vec()].concat(),
    ] {
        assert_eq!(steered(&served, &to(V4).payload(payload.clone()).bytes()), None);
        assert_eq!(steered(&served, &to(V6).payload(payload).bytes()), None);
    }
    // In the padding it isn't the message's.
    let padded = to(V4).payload(message("")[..100].to_vec()).padding(20);
    assert_eq!(steered(&served, &padded.bytes()), None);
}

/// Torture messages where the machine has them, and one of ours, with bytes changed at random: whatever the kernel
/// finds, userspace finds too.
#[test]
fn kernel_and_userspace_agree_on_damaged_messages() {
    let Some(served) = served(2) else { return };
    let mut dice = Dice(3261);
    let mut messages = vec![message("Call-ID: a84b4c76e66710@10.77.0.1\r\n"); 10];
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/corpus");
    for folder in ["rfc4475", "rfc5118"] {
        let Ok(files) = std::fs::read_dir(corpus.join(folder)) else { continue };
        messages.extend(files.filter_map(|file| std::fs::read(file.unwrap().path()).ok()));
    }
    messages.retain(|message| message.len() < 3_400);
    let mut found = 0;
    for round in 0..5_000 {
        let mut message = messages[round % messages.len()].clone();
        for _ in 0..dice.throw(3) {
            let at = dice.throw(message.len());
            message[at] = b"\r\n\r\n \t:iIcC-\0x\x80\xff"[dice.throw(16)];
        }
        if dice.throw(4) == 0 {
            message.truncate(dice.throw(message.len() + 1));
        }
        let steered = steered(&served, &to(V4).payload(message.clone()).bytes());
        if let Some(worker) = steered {
            let hash = message_hash(&KEY, &message).unwrap_or_else(|| panic!("{}", message.escape_ascii()));
            assert_eq!(worker, worker_of(hash, 2), "{}", message.escape_ascii());
            found += 1;
        }
    }
    assert!((3_000..4_900).contains(&found), "{found} of 5,000 found: that shows nothing");
}

/// Every worker of the most there can be gets messages, and each message one worker.
#[test]
fn all_workers_are_reached() {
    let Some(served) = served(strowger_xdp::MAX_WORKERS) else { return };
    let mut reached = [false; strowger_xdp::MAX_WORKERS as usize];
    for number in 0..1_000 {
        let message = message(&format!("Call-ID: {number}\r\n"));
        let worker = worker_of(message_hash(&KEY, &message).unwrap(), strowger_xdp::MAX_WORKERS) as usize;
        let packet = to(V4).payload(message).bytes();
        served.hearts[worker].beat(0);
        assert_eq!(served.verdict("its worker doesn't live", &packet), Counter::PassNoHeartbeat);
        served.revive(worker);
        served.revive(0);
        assert_eq!(served.verdict("its worker lives", &packet), Counter::Redirect);
        reached[worker] = true;
    }
    assert_eq!(reached, [true; strowger_xdp::MAX_WORKERS as usize]);
}

/// One worker has nothing to choose from: its messages aren't looked into, whatever steering was asked for.
#[test]
fn one_worker_gets_everything() {
    let Some(served) = served(1) else { return };
    assert_eq!(served.verdict("no Call-ID", &to(V4).payload(vec![b'x'; 600]).bytes()), Counter::Redirect);
}

/// Where flows are steered, a queue has one worker, whatever the message says and however many there are.
#[test]
fn flows_are_not_looked_into() {
    let options = LoadOptions { workers: 2, steering: Steering::Flow, ..LoadOptions::default() };
    let Some(served) = Served::new(&[V4, V6], &options) else { return };
    for number in 0..8 {
        let packet = to(V4).payload(message(&format!("Call-ID: {number}\r\n"))).bytes();
        alive(&served, false);
        assert_eq!(served.verdict("its worker lives", &packet), Counter::Redirect);
        alive(&served, true);
        served.hearts[0].beat(0);
        assert_eq!(served.verdict("another one does", &packet), Counter::PassNoHeartbeat);
    }
    alive(&served, false);
    assert_eq!(served.verdict("no Call-ID", &to(V4).payload(message("")).bytes()), Counter::Redirect);
}

#[test]
fn another_key_is_another_choice() {
    let Some(served) = served(2) else { return };
    let other = SteeringKey::from_bytes([7; 16]);
    let differs = (0..64).filter(|number| {
        let message = message(&format!("Call-ID: {number}\r\n"));
        let worker = worker_of(message_hash(&other, &message).unwrap(), 2);
        steered(&served, &to(V4).payload(message).bytes()) != Some(worker)
    });
    assert!((16..48).contains(&differs.count()));
}

/// A queue whose owner is stuck gets no frames for anybody: what comes by it is passed, whosever it is.
#[test]
fn without_the_owner_of_its_queue_a_message_is_passed() {
    let Some(served) = served(2) else { return };
    for number in 0..8 {
        let message = message(&format!("Call-ID: {number}\r\n"));
        let packet = to(V4).payload(message).bytes();
        alive(&served, true);
        assert_eq!(served.verdict("both live", &packet), Counter::Redirect);
        served.hearts[0].beat(0);
        assert_eq!(served.verdict("the owner does not", &packet), Counter::PassNoHeartbeat);
    }
}
