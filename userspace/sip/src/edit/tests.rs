//! The plan against a naive editor, and the edits a proxy makes.

use proptest::prelude::*;

use super::*;
use crate::index::Index;

const REQUEST: &[u8] = b"\r\nINVITE sip:bob@example.com SIP/2.0\r\n\
Via: SIP/2.0/UDP 10.0.0.1:5060;rport;branch=z9hG4bK1, SIP/2.0/UDP a;branch=z9hG4bK0\r\n\
Max-Forwards: 70\r\n\
Route: <sip:me;lr>, <sip:me2;lr>\r\n\
Route: <sip:next;lr>\r\n\
From: <sip:a@b>;tag=1\r\n\
To : <sip:b@b> ;x=y \r\n\
Record-Route: <sip:r;lr>\r\n\
Subject: x\r\n folded\r\n\
s : y\r\n\
Call-ID: c\r\n\
CSeq: 1 INVITE\r\n\
Content-Length: 4\r\n\
\r\n\
bodytrailer";

/// Applies `plan` with that much free room on both sides.
fn applied(plan: &EditPlan, datagram: &[u8], head: usize, tail: usize) -> Result<Vec<u8>, EditError> {
    let mut bytes = vec![b'#'; head + datagram.len() + tail];
    bytes[head..head + datagram.len()].copy_from_slice(datagram);
    let before = bytes.clone();
    let mut buffer = Buffer::new(&mut bytes, head..head + datagram.len()).unwrap();
    let result = plan.apply(&mut buffer);
    let message = buffer.message().to_vec();
    if result.is_err() {
        assert_eq!(bytes, before, "a refused edit changed the buffer");
    }
    result.map(|()| message)
}

fn with_plan(
    edit: impl FnOnce(&mut EditPlan, &Message<'_>) -> Result<(), EditError>,
) -> Result<String, EditError> {
    let mut index = Index::new();
    let message = Message::parse(REQUEST, &mut index).unwrap();
    let mut plan = EditPlan::new();
    plan.begin(&message);
    edit(&mut plan, &message)?;
    let mut out = [0; 2048];
    let copied = plan.write_to(REQUEST, &mut out)?.to_vec();
    for (head, tail) in [(0, 500), (500, 0), (500, 500), (7, 493), (200, 3)] {
        assert_eq!(
            applied(&plan, REQUEST, head, tail)?,
            copied,
            "in place differs from copied: {head} {tail}"
        );
    }
    Ok(String::from_utf8(copied).unwrap())
}

#[test]
fn a_request_is_forwarded() {
    let text = with_plan(|plan, m| {
        plan.replace_request_uri(m, b"sip:bob@192.0.2.9:5070")?;
        plan.prepend_header(m, HeaderName::Via, &[b"SIP/2.0/UDP 10.0.0.2", b";branch=z9hG4bK2"])?;
        plan.prepend_header(m, HeaderName::RecordRoute, &[b"<sip:10.0.0.2;lr>"])?;
        plan.set_top_via_params(m, Some([192, 0, 2, 1].into()), Some(40000))?;
        plan.decrement_max_forwards(m)?;
        plan.remove_first_route(m)
    })
    .unwrap();
    let expected = String::from_utf8(REQUEST[2..REQUEST.len() - 7].to_vec())
        .unwrap()
        .replace("sip:bob@example.com", "sip:bob@192.0.2.9:5070")
        .replacen(
            "\r\n",
            "\r\nVia: SIP/2.0/UDP 10.0.0.2;branch=z9hG4bK2\r\nRecord-Route: <sip:10.0.0.2;lr>\r\n",
            1,
        )
        .replace("rport;branch=z9hG4bK1", "rport=40000;branch=z9hG4bK1;received=192.0.2.1")
        .replace("Max-Forwards: 70", "Max-Forwards: 69")
        .replace("Route: <sip:me;lr>, ", "Route: ");
    assert_eq!(text, expected);
}

#[test]
fn values_and_lines_are_removed() {
    let text = with_plan(|plan, m| {
        plan.remove_top_via(m)?;
        plan.remove_routes(m, 3)?;
        plan.remove_header(m, HeaderName::Subject)?;
        plan.remove_header(m, HeaderName::Privacy)
    })
    .unwrap();
    assert!(text.contains("Via: SIP/2.0/UDP a;branch=z9hG4bK0\r\nMax-Forwards: 70\r\nFrom:"), "{text}");
    assert!(text.contains("Record-Route: <sip:r;lr>\r\nCall-ID: c\r\n"), "{text}");
    assert_eq!(with_plan(|plan, m| plan.remove_routes(m, 4)), Err(EditError::Missing(HeaderName::Route)));
    assert!(
        with_plan(|plan, m| plan.remove_routes(m, 2)).unwrap().contains("70\r\nRoute: <sip:next;lr>\r\nFrom")
    );
}

#[test]
fn a_reply_is_built() {
    let text = with_plan(|plan, m| {
        plan.reply(
            m,
            &Reply {
                code: 480,
                to_tag: Some(b"t1"),
                received: Some([192, 0, 2, 1].into()),
                rport: Some(9),
                ..Reply::default()
            },
        )?;
        plan.append_header(m, HeaderName::RetryAfter, &[b"5"])?;
        plan.append_header(m, HeaderName::Server, &[b"S"])
    })
    .unwrap();
    assert_eq!(
        text,
        "SIP/2.0 480 Temporarily Unavailable\r\n\
         Via: SIP/2.0/UDP 10.0.0.1:5060;rport=9;branch=z9hG4bK1;received=192.0.2.1, SIP/2.0/UDP a;branch=z9hG4bK0\r\n\
         From: <sip:a@b>;tag=1\r\n\
         To : <sip:b@b> ;x=y;tag=t1 \r\n\
         Call-ID: c\r\n\
         CSeq: 1 INVITE\r\n\
         Retry-After: 5\r\n\
         Server: S\r\n\
         Content-Length: 0\r\n\r\n"
    );
    let with_routes =
        with_plan(|plan, m| plan.reply(m, &Reply { code: 200, record_route: true, ..Reply::default() }))
            .unwrap();
    assert!(
        with_routes.starts_with("SIP/2.0 200 OK\r\n") && with_routes.contains("Record-Route: <sip:r;lr>\r\n")
    );
}

#[test]
fn header_lines_of_a_reply_come_before_its_end() {
    // Without an empty line the headers end where the message does.
    let cut = b"OPTIONS sip:a SIP/2.0\r\nVia: SIP/2.0/UDP a;branch=z9hG4bK1\r\nTo: <sip:b>\r\n";
    let mut index = Index::new();
    let message = Message::salvage(cut, &mut index).unwrap();
    let mut plan = EditPlan::new();
    plan.reply(&message, &Reply { code: 400, ..Reply::default() }).unwrap();
    plan.append_header(&message, HeaderName::Server, &[b"S"]).unwrap();
    plan.append_header(&message, HeaderName::Warning, &[b"W"]).unwrap();
    let mut out = [0; 500];
    let written = plan.write_to(cut, &mut out).unwrap();
    assert!(written.ends_with(b"To: <sip:b>\r\nServer: S\r\nWarning: W\r\nContent-Length: 0\r\n\r\n"));
}

#[test]
fn edits_are_refused_for_their_reason() {
    let mut index = Index::new();
    let message = Message::parse(REQUEST, &mut index).unwrap();
    let mut plan = EditPlan::new();
    plan.begin(&message);
    assert_eq!(plan.delete(0..4), Err(EditError::OutOfRange));
    assert_eq!(plan.delete(REQUEST.len() - 8..REQUEST.len()), Err(EditError::OutOfRange));
    #[allow(clippy::reversed_empty_ranges)]
    let reversed = 9..8;
    assert_eq!(plan.delete(reversed), Err(EditError::OutOfRange));
    plan.delete(10..20).unwrap();
    for range in [9..11, 19..21, 12..13, 10..20, 15..15, 5..30] {
        assert_eq!(plan.delete(range), Err(EditError::Overlap));
    }
    plan.insert(10, b"a").unwrap();
    plan.insert(20, b"b").unwrap();
    assert_eq!(plan.len(), 3);
    assert_eq!(plan.insert(30, &[0; limit::EDIT_TEXT]), Err(EditError::TextFull));
    for _ in 3..limit::EDITS {
        plan.insert(30, b"").unwrap();
    }
    assert_eq!(plan.insert(30, b""), Err(EditError::TooMany));
    assert_eq!(applied(&plan, &REQUEST[1..], 9, 9), Err(EditError::OtherMessage));
    assert_eq!(plan.write_to(&REQUEST[1..], &mut [0; 2000]), Err(EditError::OtherMessage));
    plan.begin(&message);
    plan.insert(10, &[b'x'; 100]).unwrap();
    let needed = REQUEST.len() - 9 + 100;
    assert_eq!(applied(&plan, REQUEST, 50, 40), Err(EditError::NoRoom { needed, available: needed - 1 }));
    assert_eq!(applied(&plan, REQUEST, 50, 41).map(|m| m.len()), Ok(needed));
    assert_eq!(
        plan.write_to(REQUEST, &mut vec![0; needed - 1]),
        Err(EditError::NoRoom { needed, available: needed - 1 })
    );
}

/// However large the buffer is: offsets have 16 bits.
#[test]
fn no_edit_makes_a_message_over_the_limit() {
    let mut datagram = b"OPTIONS sip:a SIP/2.0\r\n\r\n".to_vec();
    datagram.resize(limit::MESSAGE - 10, b'x');
    let mut index = Index::new();
    let message = Message::parse(&datagram, &mut index).unwrap();
    let mut plan = EditPlan::new();
    for (more, expected) in [
        (10, Ok(limit::MESSAGE)),
        (11, Err(EditError::NoRoom { needed: limit::MESSAGE + 1, available: limit::MESSAGE })),
    ] {
        plan.begin(&message);
        plan.insert(message.headers_end(), &vec![b'y'; more]).unwrap();
        assert_eq!(applied(&plan, &datagram, 256, 256).map(|edited| edited.len()), expected);
        let mut out = vec![0; 2 * limit::MESSAGE];
        assert_eq!(plan.write_to(&datagram, &mut out).map(<[u8]>::len), expected);
    }
}

#[test]
fn the_body_stays_where_it_is() {
    let mut index = Index::new();
    let message = Message::parse(REQUEST, &mut index).unwrap();
    let mut plan = EditPlan::new();
    plan.begin(&message);
    plan.prepend_header(&message, HeaderName::Via, &[b"SIP/2.0/UDP 10.0.0.2;branch=z9hG4bK2"]).unwrap();
    let mut bytes = vec![0; 300 + REQUEST.len()];
    bytes[300..].copy_from_slice(REQUEST);
    let mut buffer = Buffer::new(&mut bytes, 300..300 + REQUEST.len()).unwrap();
    plan.apply(&mut buffer).unwrap();
    assert_eq!(buffer.range().end, 300 + REQUEST.len() - 7);
    assert_eq!(&buffer.message()[buffer.range().len() - 4..], b"body");
}

/// The oracle: a plan for the whole of `datagram`, and what a `Vec` makes of it.
fn naive(datagram: &[u8], edits: &[(usize, usize, Vec<u8>)]) -> Vec<u8> {
    let mut result = datagram.to_vec();
    let mut sorted: Vec<_> = edits.iter().collect();
    sorted.sort_by_key(|e| (e.0, e.1));
    for (from, to, text) in sorted.into_iter().rev() {
        result.splice(from..to, text.iter().copied());
    }
    result
}

fn plan_over(len: usize) -> EditPlan {
    let mut plan = EditPlan::new();
    plan.begin_at(len, 0..len);
    plan
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    /// Any edits, in any order, with any room: equal to the naive editor, or refused exactly when there is no room
    /// (or when they overlap), and then nothing changed.
    #[test]
    fn a_plan_equals_the_naive_editor(
        datagram in prop::collection::vec(any::<u8>(), 0..900),
        edits in prop::collection::vec((any::<u16>(), 0usize..40, prop::collection::vec(any::<u8>(), 0..90)), 0..12),
        head in 0usize..200,
        tail in 0usize..200,
    ) {
        let mut plan = plan_over(datagram.len());
        let mut taken: Vec<(usize, usize, Vec<u8>)> = Vec::new();
        for (at, len, text) in edits {
            let from = usize::from(at) % (datagram.len() + 1);
            let to = (from + len).min(datagram.len());
            let overlaps = taken.iter().any(|(f, t, _)| {
                // Two ranges overlap when they share a byte, or when one's inside holds the other's empty range.
                (from.max(*f) < to.min(*t)) || (from == to && *f < from && from < *t) || (f == t && from < *f && *f < to)
            });
            let result = plan.replace(from..to, &text);
            prop_assert_eq!(result.is_err(), overlaps, "{:?}", result);
            if !overlaps {
                taken.push((from, to, text));
            }
        }
        let expected = naive(&datagram, &taken);
        prop_assert_eq!(plan.edited_len(), expected.len());
        let in_place = applied(&plan, &datagram, head, tail);
        if expected.len() > head + datagram.len() + tail {
            let refused = matches!(in_place, Err(EditError::NoRoom { .. }));
            prop_assert!(refused);
        } else {
            prop_assert_eq!(in_place.unwrap(), expected.clone());
        }
        let mut out = vec![0; expected.len()];
        prop_assert_eq!(plan.write_to(&datagram, &mut out).unwrap(), &expected[..]);
    }
}
