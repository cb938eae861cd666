//! What has broken SIP servers in parsing and editing, one test for each class. The names in the comments are where it
//! happened.

#![allow(clippy::unwrap_used)] // a test may

mod common;
#[path = "threats/values.rs"]
mod values;

use common::{ALL, EVERY_VIEW, INVITE, RESPONSE, TORTUOUS, options};
use strowger_sip::verdict::{Verdict, judge};
use strowger_sip::{
    Buffer, Credentials, EditError, EditPlan, Fault, HeaderName, Index, Message, Reply, SdpFacts, Uri,
    ValueFault, Via, limit,
};

fn fault(bytes: &[u8]) -> Option<Fault> {
    Message::parse(bytes, &mut Index::new()).err().map(|e| e.fault)
}

fn refused(bytes: &[u8]) -> bool {
    judge(bytes, &mut Index::new()) == Verdict::Answer(400)
}

/// OpenSIPS CVE-2023-28097; its first fix was incomplete.
#[test]
fn content_length_overflow() {
    let with = |value: &str| {
        [options("OPTIONS", "OPTIONS", &format!("Content-Length: {value}\r\n")), b"four".to_vec()].concat()
    };
    let mut refused_values: Vec<String> =
        ["-1", "-2147483648", "+4", "4 4", "4,4", "0x4", "4;", "four", "", "٤", "5", "005", "9"]
            .iter()
            .map(|v| v.to_string())
            .collect();
    for base in [1u128 << 15, 1 << 16, 1 << 31, 1 << 32, (1 << 32) + 32, 1 << 63, 1 << 64] {
        for k in -4i128..=4 {
            refused_values.push((base as i128 + k).to_string());
        }
    }
    refused_values.push("99999999999999999999".into());
    for value in &refused_values {
        assert!(refused(&with(value)), "{value}");
    }
    // Smaller than the datagram: clamped. Exact, and with any number of leading zeros: the same number.
    for (value, body) in [("0", ""), ("3", "fou"), ("4", "four"), ("0000000000000000000004", "four")] {
        let mut index = Index::new();
        let bytes = with(value);
        let message = Message::parse(&bytes, &mut index).unwrap();
        assert_eq!(message.body(), body.as_bytes());
        assert_eq!(message.bytes().len(), bytes.len() - 4 + body.len());
    }
    assert!(refused(&options("OPTIONS", "OPTIONS", "Content-Length: 0\r\nl: 0\r\n")));
    // The largest datagram, and one byte more.
    for (size, expected) in [(limit::MESSAGE, None), (limit::MESSAGE + 1, Some(Fault::TooLarge))] {
        let mut bytes = options("OPTIONS", "OPTIONS", "");
        bytes.resize(size, b'x');
        assert_eq!(fault(&bytes), expected);
    }
}

/// CVE-2023-27599: an unterminated quote or parameter, crash on edit. What is not edited stays as it is.
#[test]
fn unterminated_quote_then_edit() {
    for broken in [
        "\"Bob <sip:b@c>",
        "\"Bob\\",
        "<sip:b@c",
        "<sip:b@c>;x=\"",
        "<sip:b@c>;",
        "<sip:b@c>;x=",
        "\"\\\"",
        "<",
    ] {
        let bytes = options("To: <sip:b@example.net>", &format!("To: {broken}"), "Subject: \"\r\n");
        let mut index = Index::new();
        let message = Message::parse(&bytes, &mut index).unwrap();
        assert!(message.to().is_err(), "{broken}");
        let mut plan = EditPlan::new();
        plan.begin(&message);
        plan.prepend_header(&message, HeaderName::Via, &[b"SIP/2.0/UDP 10.0.0.1;branch=z9hG4bK9"]).unwrap();
        plan.decrement_max_forwards(&message).unwrap();
        let mut out = [0; 1000];
        let edited = plan.write_to(&bytes, &mut out).unwrap();
        let mut second = Index::new();
        let edited = Message::parse(edited, &mut second).unwrap();
        let before: Vec<_> = message.all().filter(|h| h.name != HeaderName::MaxForwards).collect();
        let after: Vec<_> = edited.all().skip(1).filter(|h| h.name != HeaderName::MaxForwards).collect();
        assert_eq!(edited.max_forwards(), Ok(Some(69)));
        assert_eq!(before.len(), after.len());
        for (a, b) in before.iter().zip(&after) {
            assert_eq!((a.raw_name, a.value), (b.raw_name, b.value));
        }
    }
}

/// Kamailio CVE-2018-14767: two To headers, an empty tag.
#[test]
fn duplicate_singleton_header() {
    for (name, value, header) in [
        ("To", "<sip:b@example.net>;tag=", HeaderName::To),
        ("To", "<sip:x@example.net>", HeaderName::To),
        ("t", "<sip:x@example.net>", HeaderName::To),
        ("T ", "<sip:x@example.net>", HeaderName::To),
        ("tO\t ", "<sip:x@example.net>", HeaderName::To),
        ("From", "<sip:x@example.net>;tag=2", HeaderName::From),
        ("f", "<sip:x@example.net>;tag=2", HeaderName::From),
        ("Call-ID", "other", HeaderName::CallId),
        ("i", "other", HeaderName::CallId),
        ("CSeq", "2 OPTIONS", HeaderName::CSeq),
        ("Max-Forwards", "1", HeaderName::MaxForwards),
    ] {
        // By the index, before any value is read; nobody sees the first or the second of them.
        let bytes = options("OPTIONS", "OPTIONS", &format!("{name}: {value}\r\n"));
        assert_eq!(fault(&bytes), Some(Fault::Duplicate(header)), "{name}");
        assert!(refused(&bytes), "{name}");
        // By who reads it, where the index lets it pass.
        let mut index = Index::new();
        let message = Message::salvage(&bytes, &mut index).unwrap();
        assert_eq!(message.single(header).unwrap_err().fault, ValueFault::Duplicate, "{name}");
        assert_eq!(message.essentials().unwrap_err().fault, ValueFault::Duplicate, "{name}");
    }
    let two_values = options("To: <sip:b@example.net>", "To: <sip:b@example.net>, <sip:x@example.net>", "");
    assert!(refused(&two_values));
    assert!(refused(&options("tag=1", "tag=", "")));
    // The others that may be there once are refused by who reads them.
    let bytes = options("OPTIONS", "OPTIONS", "Expires: 1\r\nExpires: 2\r\nEvent: a\r\no: b\r\n");
    let mut index = Index::new();
    let message = Message::parse(&bytes, &mut index).unwrap();
    assert_eq!(message.expires().unwrap_err().fault, ValueFault::Duplicate);
    assert_eq!(message.event().unwrap_err().fault, ValueFault::Duplicate);
}

/// Kamailio CVE-2018-8828, CVE-2020-27507: off by one at some length of a tag, branch, token.
#[test]
fn every_token_length() {
    let cases: [(&str, &str, &str); 8] = [
        ("z9hG4bK1", "", "branch"),
        ("tag=1", "tag=", "tag"),
        ("c1@192.0.2.1", "", "Call-ID"),
        ("b@example.net>", "", "user"),
        ("OPTIONS sip", "", "method"),
        ("Max-Forwards: 70", "Max-Forwards: 70\r\n", "header name"),
        ("sip:b@example.net ", "sip:", "Request-URI"),
        ("sip:b@example.net ", "sip:", "user of the Request-URI"),
    ];
    // What is around the token in each of the last two.
    const URI: usize = "sip:@example.net".len();
    let mut index = Index::new();
    for (what, prefix, kind) in cases {
        let mut lengths: Vec<usize> = (0..700).collect();
        for center in [
            limit::IDENTIFIER,
            limit::REQUEST_URI - URI,
            limit::REQUEST_URI,
            8192,
            32768,
            limit::MESSAGE - 300,
        ] {
            lengths.extend(center - 4..center + 5);
        }
        for len in lengths {
            let token = "x".repeat(len);
            let suffix = match kind {
                "user" => "@example.net>",
                "method" => " sip",
                "header name" => ": v",
                "Request-URI" => " ",
                "user of the Request-URI" => "@example.net ",
                _ => "",
            };
            let mut bytes = options(what, &format!("{prefix}{token}{suffix}"), "");
            if kind == "method" {
                // In the CSeq too.
                bytes = String::from_utf8(bytes).unwrap().replace("OPTIONS", &token).into_bytes();
            }
            let verdict = judge(&bytes, &mut index);
            let served = match kind {
                "branch" | "tag" | "Call-ID" => (1..=limit::IDENTIFIER).contains(&len),
                // A proxy does not read the URI of a To; `NameAddr::uri` refuses an empty user.
                "user" => bytes.len() <= limit::MESSAGE,
                "header name" => (1..=limit::HEADER_NAME).contains(&len),
                "Request-URI" => (1..=limit::HOST).contains(&len),
                "user of the Request-URI" => (1..=limit::REQUEST_URI - URI).contains(&len),
                _ => len > 0 && bytes.len() <= limit::MESSAGE,
            };
            assert_eq!(verdict == Verdict::Serve, served, "{kind} of {len}: {verdict:?}");
            let too_long = match kind {
                _ if bytes.len() > limit::MESSAGE => Verdict::Drop,
                "method" => Verdict::Drop, // empty
                "Request-URI" if len + "sip:".len() > limit::REQUEST_URI => Verdict::Answer(414),
                "user of the Request-URI" if len > 0 => Verdict::Answer(414),
                _ => Verdict::Answer(400),
            };
            assert!(served || verdict == too_long, "{kind} of {len}: {verdict:?}");
        }
    }
    // Any other URI has the limit when it is read.
    for (len, fault) in [(limit::REQUEST_URI, None), (limit::REQUEST_URI + 1, Some(ValueFault::TooLong))] {
        let head = "sip:b@h;x=";
        let uri = format!("{head}{}>", "y".repeat(len - head.len()));
        let bytes = options("sip:b@example.net>", &uri, "");
        let message = Message::parse(&bytes, &mut index).unwrap();
        assert_eq!(message.to().unwrap().uri().err().map(|e| e.fault), fault);
    }
}

/// OpenSIPS CVE-2023-28095: reply headers mis-correlated.
#[test]
fn a_reply_to_every_message_corresponds() {
    for request in ALL {
        let mut index = Index::new();
        let message = Message::parse(request, &mut index).unwrap();
        let mut plan = EditPlan::new();
        let reply = Reply {
            code: 486,
            to_tag: Some(b"new"),
            received: Some([192, 0, 2, 99].into()),
            rport: Some(4000),
            ..Reply::default()
        };
        let planned = plan.reply(&message, &reply);
        if !message.is_request() {
            assert!(planned.is_err(), "a response was answered");
            continue;
        }
        planned.unwrap();
        let mut out = vec![0; request.len() + 512];
        let written = plan.write_to(request, &mut out).unwrap();
        for head in [0, 3, 40, 256, 500, 512] {
            let mut room = vec![0; request.len() + 512];
            room[head..head + request.len()].copy_from_slice(request);
            let mut buffer = Buffer::new(&mut room, head..head + request.len()).unwrap();
            plan.apply(&mut buffer).unwrap();
            assert_eq!(buffer.message(), written, "with room for {head} octets at the front");
        }
        let mut other = Index::new();
        let answer = Message::parse(written, &mut other).unwrap();
        assert_eq!(answer.status().unwrap().code, 486);
        let (asked, answered) = (message.essentials().unwrap(), answer.essentials().unwrap());
        assert_eq!(asked.call_id, answered.call_id);
        assert_eq!(asked.cseq, answered.cseq);
        assert_eq!(asked.from.as_bytes(), answered.from.as_bytes());
        assert_eq!(asked.to.uri_bytes(), answered.to.uri_bytes());
        assert_eq!(answered.to.tag(), asked.to.tag().or(Some(b"new")));
        assert_eq!(asked.via.branch(), answered.via.branch());
        assert_eq!(answered.via.received(), Some([192, 0, 2, 99].into()));
        assert_eq!(answered.via.rport(), asked.via.rport().map(|_| Some(4000)));
        let below =
            |m: &Message<'_>| m.vias().skip(1).map(|v| v.unwrap().as_bytes().to_vec()).collect::<Vec<_>>();
        assert_eq!(below(&message), below(&answer));
        assert_eq!(answer.content_length(), Ok(Some(0)));
        assert_eq!(answer.bytes().len(), written.len());
    }
}

/// Asterisk CVE-2011-2529, CVE-2016-9938: NUL and control bytes.
#[test]
fn nul_and_control_at_each_offset() {
    let mut index = Index::new();
    for original in [INVITE, RESPONSE, TORTUOUS] {
        let headers = Message::parse(original, &mut index).unwrap().headers_end();
        for at in 0..original.len() {
            for control in [0, 1, 8, 0x0b, 0x0c, 0x1f, 0x7f, b'\r', b'\n'] {
                let mut bytes = original.to_vec();
                if bytes[at] == control {
                    continue;
                }
                let was = bytes[at];
                bytes[at] = control;
                let verdict = judge(&bytes, &mut index);
                if at >= headers + 4 {
                    assert_eq!(verdict, Verdict::Serve, "a body is opaque");
                } else if at < headers {
                    let quoted_pair =
                        at > 0 && original[at - 1] == b'\\' && control != b'\r' && control != b'\n';
                    let became_line_end = (control == b'\n' && at > 0 && original[at - 1] == b'\r')
                        || was == b'\r'
                        || was == b'\n';
                    if !quoted_pair && !became_line_end {
                        assert_eq!(
                            verdict,
                            Verdict::Drop,
                            "{control:#x} at {at} of {}",
                            original[..20].escape_ascii()
                        );
                    }
                }
            }
        }
    }
    // A backslash makes a control byte harmless in a quoted string alone, which ends with its header line at the latest.
    for control in (0..0x20).chain([0x7f]).filter(|c| !b"\t\r\n".contains(c)) {
        for (head, tail, expected) in [
            ("Subject: \"\\", "\"", Verdict::Serve),
            ("Subject: \"\r\n \\", "\"", Verdict::Serve),
            ("Subject: \"\\\"\\", "\"", Verdict::Serve),
            ("Subject: \"\\\\", "\"", Verdict::Drop),
            ("Subject: \"", "\"", Verdict::Drop),
            ("Subject: \\", "", Verdict::Drop),
            ("Subject: \"\"\\", "", Verdict::Drop),
            ("Subject: \"\r\nX: \\", "\"", Verdict::Drop),
            ("Subject: \"\\\r\nX: ", "\"", Verdict::Drop),
            ("Subject: \"\\\r\n ", "\"", Verdict::Drop),
        ] {
            let mut bytes = options("OPTIONS", "OPTIONS", &format!("{head}?{tail}\r\n"));
            let at = bytes.windows(head.len()).position(|w| w == head.as_bytes()).unwrap() + head.len();
            bytes[at] = control;
            assert_eq!(judge(&bytes, &mut index), expected, "{}", bytes.escape_ascii());
        }
    }
    // In a header's name, control bytes that look like something else after case folding.
    for control in [0u8, b'\r' /* | 0x20 is '-' */, 0x1f, 0x7f, 0x80, 0xff] {
        for name in ["Max-Forwards", "Call-ID", "Content-Length"] {
            let mut line = name.as_bytes().to_vec();
            let dash = line.iter().position(|&b| b == b'-').unwrap();
            line[dash] = control;
            assert_eq!(HeaderName::from_bytes(&line), HeaderName::Other);
        }
    }
}

/// Kamailio CVE-2020-28361: a header not removed because of a space before its colon. The rescan is by hand.
#[test]
fn header_removal_cannot_be_evaded() {
    let lines = [
        "P-Asserted-Identity: <sip:evil@example.net>",
        "P-Asserted-Identity : <sip:evil@example.net>",
        "P-Asserted-Identity\t: <sip:evil@example.net>",
        "P-Asserted-Identity \t :<sip:evil@example.net>",
        "p-asserted-IDENTITY:<sip:evil@example.net>",
        "P-Asserted-Identity:\r\n <sip:evil@example.net>",
        "P-Asserted-Identity: \"x\"\r\n\t<sip:evil@example.net>\r\n ;a=b",
        "P-Asserted-Identity:",
        "P-Asserted-Identity:\r\n ",
        "P-Asserted-Identity: <sip:evil@example.net> \r\n \t\r\n ",
    ];
    for first in lines {
        for second in lines {
            let bytes = options(
                "OPTIONS",
                "OPTIONS",
                &format!("X-A: 1\r\n{first}\r\nX-B: 2\r\n{second}\r\nX-C: 3\r\n"),
            );
            let mut index = Index::new();
            let message = Message::parse(&bytes, &mut index).unwrap();
            let mut plan = EditPlan::new();
            plan.begin(&message);
            plan.remove_header(&message, HeaderName::PAssertedIdentity).unwrap();
            let mut out = [0; 1000];
            let edited = plan.write_to(&bytes, &mut out).unwrap();
            let text = core::str::from_utf8(edited).unwrap().to_ascii_lowercase();
            assert!(!text.contains("asserted") && !text.contains("evil"), "{text}");
            assert!(text.contains("x-a: 1\r\nx-b: 2\r\nx-c: 3\r\n\r\n"), "{text}");
            // What a strict and a sloppy scanner would each see is gone.
            for line in text.split("\r\n") {
                let name = line.split(':').next().unwrap().trim();
                assert_ne!(name, "p-asserted-identity");
            }
        }
    }
    // Compact forms are the same header.
    for (compact, name) in
        [("k", HeaderName::Supported), ("S ", HeaderName::Subject), ("x\t", HeaderName::SessionExpires)]
    {
        let bytes = options("OPTIONS", "OPTIONS", &format!("{compact}: v\r\n{}: v\r\n", name.as_str()));
        let mut index = Index::new();
        let message = Message::parse(&bytes, &mut index).unwrap();
        let mut plan = EditPlan::new();
        plan.begin(&message);
        plan.remove_header(&message, name).unwrap();
        let mut out = [0; 1000];
        let edited = plan.write_to(&bytes, &mut out).unwrap();
        assert_eq!(edited, options("OPTIONS", "OPTIONS", ""));
    }
}

/// Asterisk CVE-2018-7284, reSIProcate CVE-2017-11521: many headers, Vias, Routes, parameters, m= lines.
#[test]
fn every_count_has_a_limit() {
    let mut index = Index::new();
    let lines = |n: usize| options("OPTIONS", "OPTIONS", &"X: y\r\n".repeat(n));
    let own = Message::parse(&lines(0), &mut index).unwrap().all().count();
    assert_eq!(fault(&lines(limit::HEADER_LINES - own)), None);
    assert_eq!(fault(&lines(limit::HEADER_LINES - own + 1)), Some(Fault::TooManyHeaders));

    for (name, value) in
        [("Via", "SIP/2.0/UDP a"), ("Route", "<sip:a>"), ("Contact", "<sip:a>"), ("Supported", "a")]
    {
        let values = |n: usize| {
            let list = vec![value; n].join(",");
            options("Via: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK1\r\n", "", &format!("{name}: {list}\r\n"))
        };
        for (count, expected) in
            [(limit::LIST_VALUES, None), (limit::LIST_VALUES + 1, Some(ValueFault::TooMany))]
        {
            let bytes = values(count);
            let message = Message::parse(&bytes, &mut index).unwrap();
            let (seen, last) = match name {
                "Via" => (message.vias().count(), message.vias().last().unwrap().err()),
                "Route" => (message.routes().count(), message.routes().last().unwrap().err()),
                "Contact" => (message.contacts().count(), message.contacts().last().unwrap().err()),
                _ => (message.supported().count(), message.supported().last().unwrap().err()),
            };
            assert_eq!((seen, last.map(|e| e.fault)), (count, expected), "{name}");
        }
    }
    for (text, ok) in [
        (format!("SIP/2.0/UDP a{}", ";x".repeat(limit::PARAMETERS)), true),
        (format!("SIP/2.0/UDP a{}", ";x".repeat(limit::PARAMETERS + 1)), false),
    ] {
        assert_eq!(Via::parse(text.as_bytes()).is_ok(), ok);
    }
    for (n, ok) in [(limit::PARAMETERS, true), (limit::PARAMETERS + 1, false)] {
        let params: String = (0..n).map(|i| format!(";x{i}")).collect();
        assert_eq!(Uri::parse(format!("sip:a{params}").as_bytes()).is_ok(), ok);
        assert_eq!(Uri::parse(format!("sip:a?{}", vec!["x=y"; n].join("&")).as_bytes()).is_ok(), ok);
    }
    // What there is over a limit of SDP is left out, and that is said.
    let (medium, format, other) = ("m=audio 1 RTP/AVP 0\r\n", " 0", "a=x\r\n");
    for (over, truncated) in [(0, false), (1, true), (3000, true)] {
        let media = medium.repeat(limit::SDP_MEDIA + over);
        let facts = SdpFacts::read(media.as_bytes());
        assert_eq!((facts.media().len(), facts.truncated), (limit::SDP_MEDIA, truncated));
        let formats = format!("m=audio 1 RTP/AVP{}", format.repeat(limit::SDP_FORMATS + over));
        let facts = SdpFacts::read(formats.as_bytes());
        assert_eq!((facts.media()[0].formats().len(), facts.truncated), (limit::SDP_FORMATS, truncated));
        let lines = format!("{}{medium}", other.repeat(limit::SDP_LINES - 2 + over));
        let facts = SdpFacts::read(lines.as_bytes());
        assert_eq!((facts.media().len(), facts.truncated), (usize::from(over < 2), truncated));
    }
    for (over, expected) in [(0, ValueFault::Missing), (1, ValueFault::TooMany)] {
        let credentials = format!("Digest {}", vec!["a=b"; limit::AUTH_PARAMETERS + over].join(","));
        assert_eq!(Credentials::parse(credentials.as_bytes()).unwrap_err().fault, expected);
    }
    let bytes = lines(0);
    let message = Message::parse(&bytes, &mut index).unwrap();
    let mut plan = EditPlan::new();
    plan.begin(&message);
    for _ in 0..limit::EDITS {
        plan.insert(message.headers_end(), b"X: y\r\n").unwrap();
    }
    assert_eq!(plan.insert(message.headers_end(), b"X: y\r\n"), Err(EditError::TooMany));
    plan.begin(&message);
    plan.insert(message.headers_end(), &[b'x'; limit::EDIT_TEXT]).unwrap();
    assert_eq!(plan.insert(message.headers_end(), b"x"), Err(EditError::TextFull));
    // Nested or repeated openings cost one pass each.
    for body in ["(", "<", "\"", "[", ",", ";", "=", "%", "\\"] {
        let bytes = options("To: <sip:b@example.net>", &format!("To: {}", body.repeat(60_000)), "");
        assert!(refused(&bytes), "{body}");
    }
}

/// A message with every typed view: all are read, and read alike after the message was forwarded.
#[test]
fn every_view_survives_forwarding() {
    let mut index = Index::new();
    let message = Message::parse(EVERY_VIEW, &mut index).unwrap();
    let mut plan = EditPlan::new();
    plan.begin(&message);
    plan.prepend_header(&message, HeaderName::Via, &[b"SIP/2.0/UDP 10.0.0.1;branch=z9hG4bK9"]).unwrap();
    plan.remove_first_route(&message).unwrap();
    plan.decrement_max_forwards(&message).unwrap();
    let mut out = [0; 4096];
    let edited = plan.write_to(EVERY_VIEW, &mut out).unwrap();
    let mut other = Index::new();
    let forwarded = Message::parse(edited, &mut other).unwrap();
    for m in [&message, &forwarded] {
        assert!(m.essentials().is_ok() && m.event().unwrap().is_some() && m.rack().unwrap().is_some());
        assert!(
            m.subscription_state().unwrap().is_some()
                && m.rseq() == Ok(Some(1))
                && m.min_se() == Ok(Some(90))
        );
        assert!(
            m.replaces().unwrap().is_some()
                && m.join().unwrap().is_some()
                && m.target_dialog().unwrap().is_some()
        );
        assert!(
            m.refer_to().unwrap().is_some()
                && m.referred_by().unwrap().is_some()
                && m.reply_to().unwrap().is_some()
        );
        assert!(m.session_expires().unwrap().is_some() && m.retry_after().unwrap().is_some());
        assert!(
            m.min_expires() == Ok(Some(60))
                && m.flow_timer() == Ok(Some(120))
                && m.max_breadth() == Ok(Some(60))
        );
        assert!(m.privacy().unwrap().unwrap().contains(b"id") && m.date().unwrap().is_some());
        assert!(m.content_type().unwrap().is_some() && m.content_disposition().unwrap().unwrap().is_optional);
        assert_eq!((m.reasons().flatten().count(), m.warnings().flatten().count()), (2, 1));
        assert_eq!((m.allow().flatten().count(), m.allow_events().flatten().count()), (3, 2));
        assert_eq!((m.accept().flatten().count(), m.unsupported().flatten().count()), (2, 1));
        assert_eq!((m.path().flatten().count(), m.service_routes().flatten().count()), (1, 1));
        assert_eq!(
            (m.asserted_identities().flatten().count(), m.preferred_identities().flatten().count()),
            (2, 1)
        );
        assert_eq!(
            (m.www_authenticates().flatten().count(), m.proxy_authenticates().flatten().count()),
            (1, 1)
        );
        assert!(
            m.proxy_authorizations().flatten().count() == 1 && m.authentication_info().unwrap().is_some()
        );
        assert_eq!(m.sdp().unwrap().media().len(), 1);
    }
    assert_eq!((message.routes().count(), forwarded.routes().count()), (2, 1));
}
