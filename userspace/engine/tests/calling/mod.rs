//! Calls of Alice's to Bob, and what an engine tells of them: what every test of dialogs uses.
#![allow(dead_code, unreachable_pub)] // every test binary takes its own part of it

use strowger_engine::{CallEvent, CallStep, DialogFilter, EndReason};

use crate::pair::{ALICE, BOB, Out, Pair, Text, config, request};

pub fn called() -> Pair {
    let mut pair = Pair::new(config());
    pair.register("bob", &format!("<sip:bob@{BOB}>"));
    pair
}

pub fn invite() -> Text {
    request("INVITE", "sip:bob@example.net")
}

pub fn events(pair: &mut Pair) -> Vec<CallEvent> {
    std::iter::from_fn(|| pair.engine.next_event()).collect()
}

/// The steps of all events since the last time.
pub fn steps(pair: &mut Pair) -> Vec<CallStep> {
    events(pair).iter().map(|event| event.step).collect()
}

pub fn ended(reason: EndReason, code: u16) -> CallStep {
    CallStep::Ended { reason, code }
}

pub fn dialogs(pair: &Pair) -> Vec<strowger_engine::DialogView> {
    let (found, more) = pair.engine.dialogs(&DialogFilter::default(), 0, 100);
    assert_eq!((found.len(), more), (pair.engine.occupancy().dialogs.used, None));
    found
}

/// A call that is up, as both ends see it.
pub struct Call {
    /// The INVITE at Bob.
    pub at_bob: Text,
    /// The 200 at Alice.
    pub ok: Text,
}

impl Call {
    pub fn up(pair: &mut Pair, extra: &[(&str, &str)]) -> Self {
        let at_bob = pair.pass(ALICE, &invite()).to(BOB);
        let ok = at_bob.response(200, "OK", "bob-tag").add("Contact", &format!("<sip:bob@{BOB}>"));
        let ok = extra.iter().fold(ok, |ok, (name, value)| ok.set(name, value));
        let ok = pair.pass(BOB, &ok).to(ALICE);
        assert_eq!(ok.code(), 200);
        let call = Self { at_bob, ok };
        pair.pass(ALICE, &call.alices("ACK", 1)).to(BOB);
        call
    }

    pub fn alices(&self, method: &str, cseq: u32) -> Text {
        request(method, &format!("sip:bob@{BOB}"))
            .set("Via", &format!("SIP/2.0/UDP {ALICE};branch=z9hG4bK-a-{method}-{cseq}"))
            .set("To", self.ok.get("To"))
            .set("CSeq", &format!("{cseq} {method}"))
            .add("Route", self.ok.get("Record-Route"))
    }

    pub fn bobs(&self, method: &str, cseq: u32) -> Text {
        request(method, &format!("sip:alice@{ALICE}"))
            .set("Via", &format!("SIP/2.0/UDP {BOB};branch=z9hG4bK-b-{method}-{cseq}"))
            .set("From", self.ok.get("To"))
            .set("To", self.ok.get("From"))
            .set("CSeq", &format!("{cseq} {method}"))
            .set("Contact", &format!("<sip:bob@{BOB}>"))
            .add("Route", self.at_bob.get("Record-Route"))
    }
}

/// A request from one to the other, and its response back.
pub fn exchange(pair: &mut Pair, text: &Text, from: &str, to: &str, code: u16, contact: &str) {
    let there = pair.pass(from, text).to(to);
    let mut response = there.response(code, "Whatever", "");
    if !contact.is_empty() {
        response = response.add("Contact", contact);
    }
    assert_eq!(pair.pass(to, &response).to(from).code(), code);
}

/// Everything the engine has to send besides.
pub fn transmitted(pair: &mut Pair) -> Vec<(String, Text)> {
    let sent = pair.drain().into_iter().map(|out| match &out {
        Out::Sent { remote, .. } => (remote.to_string(), out.text()),
        other => panic!("{other:?}"),
    });
    sent.collect()
}
