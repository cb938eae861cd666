//! Nothing here allocates: not parsing, not any typed view, not an edit, not a reply, not a refusal.
#![allow(clippy::unwrap_used)] // a test may

mod common;

use std::hint::black_box;

use allocation_counter::measure;
use strowger_sip::verdict::judge;
use strowger_sip::{Buffer, EditPlan, HeaderName, Index, Message, Reply};

/// Reads everything there is to read.
fn read_all(m: &Message<'_>) {
    let _ = black_box((m.start(), m.body(), m.essentials().is_ok(), m.content_length(), m.expires()));
    black_box(m.all().map(|h| h.value_range.len() + h.line_range.len()).sum::<usize>());
    for via in m.vias().flatten() {
        black_box((via.received(), via.maddr(), via.params().iter().count()));
    }
    for address in m.routes().chain(m.record_routes()).chain(m.path()).flatten() {
        black_box(address.uri().map(|u| u.params().iter().count()).unwrap_or_default());
    }
    black_box(m.contacts().flatten().count());
    for token in m.require().chain(m.proxy_require()).chain(m.supported()).chain(m.allow()).flatten() {
        black_box(token.0);
    }
    black_box(m.authorizations().count() + m.proxy_authorizations().count());
    black_box(m.www_authenticates().count() + m.proxy_authenticates().count());
    let _ = black_box((
        m.authentication_info().is_ok(),
        m.replaces().is_ok(),
        m.join().is_ok(),
        m.target_dialog().is_ok(),
    ));
    let _ = black_box((
        m.rack().is_ok(),
        m.rseq(),
        m.event().is_ok(),
        m.subscription_state().is_ok(),
        m.date().is_ok(),
    ));
    let _ =
        black_box((m.session_expires().is_ok(), m.min_se(), m.retry_after().is_ok(), m.privacy().is_ok()));
    let _ = black_box((m.refer_to().is_ok(), m.content_type().is_ok(), m.sdp().is_some()));
    black_box(m.reasons().count() + m.warnings().count() + m.asserted_identities().count());
}

#[test]
fn nothing_allocates() {
    let mut index = Index::new();
    let mut plan = EditPlan::new();
    let mut room = vec![0; 8192];
    let mut out = vec![0; 8192];
    for original in common::ALL {
        let counted = measure(|| {
            room[512..512 + original.len()].copy_from_slice(original);
            let mut buffer = Buffer::new(&mut room, 512..512 + original.len()).unwrap();
            let message = Message::parse(buffer.message(), &mut index).unwrap();
            read_all(&message);
            plan.begin(&message);
            plan.prepend_header(&message, HeaderName::Via, &[b"SIP/2.0/UDP 10.0.0.1;branch=z9hG4bK9"])
                .unwrap();
            plan.remove_header(&message, HeaderName::Supported).unwrap();
            plan.append_header(&message, HeaderName::Server, &[b"S"]).unwrap();
            if message.is_request() {
                plan.replace_request_uri(&message, b"sip:b@[2001:db8::1]").unwrap();
                plan.set_top_via_params(&message, Some("2001:db8::2".parse().unwrap()), Some(5)).unwrap();
                plan.decrement_max_forwards(&message).unwrap();
            }
            plan.apply(&mut buffer).unwrap();
            let message = Message::parse(buffer.message(), &mut index).unwrap();
            read_all(&message);
            if message.is_request() {
                let reply = Reply { code: 404, to_tag: Some(b"t"), rport: Some(9), ..Reply::default() };
                plan.reply(&message, &reply).unwrap();
                black_box(plan.write_to(message.datagram(), &mut out).unwrap());
                plan.apply(&mut buffer).unwrap();
            }
        });
        assert_eq!(counted.count_total, 0, "{}", original[..20].escape_ascii());
    }
}

#[test]
fn a_refusal_allocates_nothing() {
    let mut index = Index::new();
    let broken: Vec<Vec<u8>> = (0..common::TORTUOUS.len())
        .flat_map(|at| [b'\0', b'"', b'\n', b'<', b';'].map(|byte| (at, byte)))
        .map(|(at, byte)| {
            let mut message = common::TORTUOUS.to_vec();
            message[at] = byte;
            message
        })
        .collect();
    let counted = measure(|| {
        for message in &broken {
            black_box(judge(message, &mut index));
        }
    });
    assert_eq!(counted.count_total, 0);
}
