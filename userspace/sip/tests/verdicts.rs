//! One example for each row of the table of verdicts, from messages of our own.

#![allow(clippy::unwrap_used)] // a test may

mod common;

use std::collections::BTreeMap;

use common::options;
use strowger_sip::verdict::{TABLE, Verdict, judge};
use strowger_sip::{Index, limit};

fn examples() -> Vec<(&'static str, Vec<u8>)> {
    let plain = |what: &str, with: &str| options(what, with, "");
    let more = |lines: &str| options("OPTIONS", "OPTIONS", lines);
    let bytes = |what: &str, with: &[u8]| {
        let message = options(what, what, "");
        let at = message.windows(what.len()).position(|w| w == what.as_bytes()).unwrap();
        [&message[..at], with, &message[at + what.len()..]].concat()
    };
    let long = |n: usize| "x".repeat(n);
    vec![
        ("nothing but CRLF", b"\r\n\r\n".to_vec()),
        ("message over its limit", [more(""), vec![b'x'; limit::MESSAGE]].concat()),
        ("not SIP", b"GET / HTTP/1.1\r\nHost: a\r\n\r\n".to_vec()),
        ("not SIP", plain("SIP/2.0\r\n", "HTTP/2.0\r\n")),
        ("not SIP", plain("SIP/2.0\r\n", "GTP/2.0\r\n")),
        ("not SIP", plain("SIP/2.0\r\n", "SIP/2.0.1\r\n")),
        ("not SIP", plain("SIP/2.0\r\n", "SIP/.0\r\n")),
        ("not SIP", plain("SIP/2.0\r\n", "SIP/2.\r\n")),
        ("not SIP", b"\x80\x01\x02\x03garbage".to_vec()),
        ("start line without version", plain(" SIP/2.0\r\n", "\r\n")),
        ("folded start line", plain(" SIP/2.0\r\n", "\r\n SIP/2.0\r\n")),
        ("method is no token", plain("OPTIONS", "OPT\"IONS")),
        ("another SIP version", plain("SIP/2.0\r\n", "SIP/3.0\r\n")),
        ("another SIP version", plain("SIP/2.0\r\n", "SIP/02.00\r\n")),
        ("white space in the Request-URI", plain("sip:b@example.net ", "sip:b@example.net; lr ")),
        ("several SP in the request line", plain("OPTIONS sip", "OPTIONS  sip")),
        ("several SP in the request line", plain(" SIP/2.0", "  SIP/2.0")),
        ("SP after the SIP version", plain("SIP/2.0\r\n", "SIP/2.0  \r\n")),
        ("Request-URI in angle brackets", plain("sip:b@example.net ", "<sip:b@example.net> ")),
        ("Request-URI with headers", plain("sip:b@example.net ", "sip:b@example.net?Route=%3Csip:c%3E ")),
        ("Request-URI with a broken escape", plain("sip:b@example.net ", "sip:b%4@example.net ")),
        ("Request-URI over its limit", plain("sip:b@", &format!("sip:{}@", long(limit::REQUEST_URI)))),
        ("Request-URI of an unknown scheme", plain("sip:b@example.net ", "nobody:knows ")),
        ("CR or LF alone in the headers", plain("c1@192.0.2.1\r\n", "c1@192.0.2.1\n")),
        ("CR or LF alone in the headers", plain("c1@192.0.2.1\r\n", "c1@192\r.0.2.1\r\n")),
        ("NUL or control byte in the headers", bytes("c1@", b"c1\0@")),
        ("NUL or control byte in the headers", bytes("c1@", b"c1\x7f@")),
        ("control byte in a quoted pair", bytes("To: <", b"To: \"\\\0\\\x7f\" <")),
        ("bytes that are not UTF-8", bytes("To: <", b"To: \"\xff\xfe\" <")),
        ("header line without colon", more("Nonsense\r\n")),
        ("header name that is no token", more("T o: x\r\n")),
        ("header name that is no token", more(": x\r\n")),
        ("header name over its limit", more(&format!("{}: x\r\n", long(limit::HEADER_NAME + 1)))),
        ("too many header lines", more(&"X: y\r\n".repeat(limit::HEADER_LINES))),
        ("space before a header's colon", plain("To: <", "To \t : <")),
        ("headers without an empty line", options("OPTIONS", "OPTIONS", "").strip_suffix(b"\r\n").unwrap().to_vec()),
        ("Content-Length negative or no number", more("Content-Length: -1\r\n")),
        ("Content-Length negative or no number", more("l: five\r\n")),
        ("Content-Length negative or no number", more("l:\r\n")),
        ("Content-Length over 2^32", more("Content-Length: 4294967296\r\n")),
        ("Content-Length over the datagram", more("Content-Length: 1\r\n")),
        ("Content-Length under the datagram", [more("Content-Length: 0\r\n"), b"rest".to_vec()].concat()),
        ("Content-Length absent", [more(""), b"body".to_vec()].concat()),
        ("two Content-Length", more("Content-Length: 0\r\nl: 0\r\n")),
        ("two From, To, Call-ID, CSeq or Max-Forwards", more("f: <sip:a@example.net>;tag=1\r\n")),
        ("two From, To, Call-ID, CSeq or Max-Forwards", more("t: <sip:b@example.net>\r\n")),
        ("two From, To, Call-ID, CSeq or Max-Forwards", more("i: c1@192.0.2.1\r\n")),
        ("two From, To, Call-ID, CSeq or Max-Forwards", more("CSeq: 1 OPTIONS\r\n")),
        ("two From, To, Call-ID, CSeq or Max-Forwards", more("Max-Forwards: 70\r\n")),
        ("From, To, Call-ID or CSeq missing", plain("From: <", "X: <")),
        ("From, To, Call-ID or CSeq missing", plain("To: <", "X: <")),
        ("From, To, Call-ID or CSeq missing", plain("Call-ID: ", "X: ")),
        ("From, To, Call-ID or CSeq missing", plain("CSeq: ", "X: ")),
        ("Via missing", plain("Via: ", "X: ")),
        ("topmost Via malformed", plain("192.0.2.1;branch", "192.0.2.1;;branch")),
        ("topmost Via malformed", plain("SIP/2.0/UDP 192", "SIP/2.0/UDP, 192")),
        ("a lower Via malformed", more("Via: ;;,\r\n")),
        ("branch that is only the magic cookie", plain("z9hG4bK1", "z9hG4bK")),
        (
            "no branch, no From tag, no Max-Forwards",
            b"OPTIONS sip:b SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.1\r\nFrom: sip:a\r\nTo: sip:b\r\nCall-ID: c\r\nCSeq: 1 OPTIONS\r\n\r\n"
                .to_vec(),
        ),
        ("From or To malformed", plain("To: <sip:b@example.net>", "To: \"B <sip:b@example.net>")),
        ("From or To malformed", plain("To: <sip:b@example.net>", "To: <sip:b@example.net")),
        ("From or To malformed", plain("From: <", "From: Bell, A <")),
        ("tag empty or twice", plain(";tag=1", ";tag=")),
        ("tag empty or twice", plain(";tag=1", ";tag=1;tag=1")),
        ("branch, tag or Call-ID over its limit", plain("z9hG4bK1", &long(limit::IDENTIFIER + 1))),
        ("branch, tag or Call-ID over its limit", plain("tag=1", &format!("tag={}", long(limit::IDENTIFIER + 1)))),
        ("branch, tag or Call-ID over its limit", plain("c1@", &long(limit::IDENTIFIER + 1))),
        ("CSeq number 2^31 or more", plain("1 OPTIONS", "2147483648 OPTIONS")),
        ("CSeq method not the request's", plain("1 OPTIONS", "1 INVITE")),
        (
            "CSeq method not the request's, method unknown",
            options("OPTIONS sip", "NEWMETHOD sip", ""),
        ),
        ("Max-Forwards over 255 or no number", plain("70", "256")),
        ("Max-Forwards over 255 or no number", plain("70", "-1")),
        (
            "REGISTER with a malformed Contact",
            String::from_utf8(more("Contact: sip:b@example.net?Route=x\r\n"))
                .unwrap()
                .replace("OPTIONS", "REGISTER")
                .into_bytes(),
        ),
        ("another header malformed", more("Date: Fri, 01 Jan 2010 16:00:00 EST\r\nContact: ;;,\r\nRAck: x\r\n")),
        ("unknown header", more("X-Unknown: ;;,,;\r\n")),
        (
            "ACK with anything wrong",
            String::from_utf8(more("l: 9\r\n")).unwrap().replace("OPTIONS", "ACK").into_bytes(),
        ),
    ]
}

#[test]
fn every_row_has_an_example_with_its_verdict() {
    let mut index = Index::new();
    let mut seen = BTreeMap::new();
    for (class, datagram) in examples() {
        let row = TABLE.iter().find(|r| r.class == class).unwrap_or_else(|| panic!("no row {class}"));
        assert_eq!(judge(&datagram, &mut index), row.verdict, "{class}: {}", datagram.escape_ascii());
        *seen.entry(class).or_insert(0) += 1;
    }
    for row in TABLE {
        assert!(seen.contains_key(row.class), "no example for {}", row.class);
        assert!(!row.section.is_empty());
    }
}

/// The message that the examples are made from is sound, so each example is refused for its own reason.
#[test]
fn the_message_of_the_examples_is_served() {
    assert_eq!(judge(&options("OPTIONS", "OPTIONS", ""), &mut Index::new()), Verdict::Serve);
}

/// A response with anything wrong is dropped, whatever a request of its class would be told.
#[test]
fn a_malformed_response_is_dropped() {
    let mut index = Index::new();
    for (class, datagram) in examples() {
        let row = TABLE.iter().find(|r| r.class == class).unwrap();
        let Some(rest) = datagram.windows(2).position(|w| w == b"\r\n") else { continue };
        let response = [b"SIP/2.0 200 OK", &datagram[rest..]].concat();
        let verdict = judge(&response, &mut index);
        assert!(!matches!(verdict, Verdict::Answer(_)), "{class}");
        let of_start_line = class.contains("URI")
            || class.contains("line")
            || class.contains("version")
            || class.contains("method")
            || class.contains("not SIP")
            || class.contains("REGISTER");
        if !of_start_line && row.verdict != Verdict::Serve {
            assert_eq!(verdict, Verdict::Drop, "{class}");
        }
    }
    for status in
        ["SIP/2.0 99 x", "SIP/2.0 700 x", "SIP/2.0 4294967301 x", "SIP/1.0 200 OK", "SIP/2.0 2000 x"]
    {
        let message = format!("{status}\r\n{}\r\n", common::ESSENTIALS);
        assert_eq!(judge(message.as_bytes(), &mut index), Verdict::Drop, "{status}");
    }
    for via in ["255.255.255.255", "224.0.0.1", "0.0.0.0", "[ff02::1]", "10.0.0.1;received=224.0.0.1"] {
        let message = format!("SIP/2.0 200 OK\r\n{}Via: SIP/2.0/UDP {via}\r\n\r\n", common::ESSENTIALS);
        assert_eq!(judge(message.as_bytes(), &mut index), Verdict::Drop, "{via}");
    }
    let sound = format!("SIP/2.0 200 OK\r\n{}Via: SIP/2.0/UDP 10.0.0.1\r\n\r\n", common::ESSENTIALS);
    assert_eq!(judge(sound.as_bytes(), &mut index), Verdict::Serve);
}
