//! Values of headers, and URIs: the rows of `threats.rs` that are about one value.

use super::common::{REGISTER, options};
use super::refused;
use strowger_sip::verdict::{Verdict, judge};
use strowger_sip::{
    Credentials, EditPlan, HeaderName, Index, Message, Reply, Uri, ValueFault, Via, escape_user, limit,
    unescape_into,
};

/// OpenSIPS CVE-2023-27598, Kamailio CVE-2018-16657: a Via accepted half-parsed, then a reply built over it.
#[test]
fn via_is_whole_or_nothing() {
    let full = b"SIP/2.0/UDP [2001:db8::9]:5070;received=192.0.2.7;branch=z9hG4bKa;rport=5;maddr=1.2.3.4;ttl=1;x=\"a,\\\"b\"";
    for end in 0..=full.len() {
        if let Ok(via) = Via::parse(&full[..end]) {
            assert_eq!(via.as_bytes(), &full[..end], "something was left over");
            assert!(via.branch().is_none_or(|b| !b.is_empty()));
        }
        let mut message = b"OPTIONS sip:a SIP/2.0\r\nVia: ".to_vec();
        message.extend_from_slice(&full[..end]);
        message.extend_from_slice(b"\r\nTo: <sip:b>\r\n\r\n");
        let mut index = Index::new();
        let message = Message::parse(&message, &mut index).unwrap();
        let mut plan = EditPlan::new();
        let reply =
            Reply { code: 400, received: Some([192, 0, 2, 1].into()), rport: Some(9), ..Reply::default() };
        plan.reply(&message, &reply).unwrap();
        let mut out = [0; 1000];
        let written = plan.write_to(message.datagram(), &mut out).unwrap();
        let mut index = Index::new();
        let reply = Message::parse(written, &mut index).unwrap();
        match message.top_via() {
            Ok(_) => assert_eq!(reply.top_via().unwrap().received(), Some([192, 0, 2, 1].into())),
            Err(_) => assert_eq!(reply.header(HeaderName::Via).unwrap().value, full[..end].trim_ascii()),
        }
    }
    // What comes after the last whole part counts too.
    for half in [
        "SIP/2.0/UDP",
        "SIP/2.0/UDP [2001:db8::9",
        "SIP/2.0/UDP a:",
        "SIP/2.0/UDP a:0",
        "SIP/2.0/UDP a:65536",
        "SIP/2.0/UDP a b",
        "SIP/2.0/UDP a;",
        "SIP/2.0/UDP a;;branch=x",
        "SIP/2.0/UDP a;=x",
        "SIP/2.0/UDP a;branch",
        "SIP/2.0/UDP a;branch=",
        "SIP/2.0/UDP a;branch=;rport",
        "SIP/2.0/UDP a;branch=x y",
        "SIP/2.0/UDP a;branch=x>",
        "SIP/2.0/UDP a;branch=x;branch=y",
        "SIP/2.0/UDP a;branch=\"x",
        "SIP/2.0/UDP a;branch=\"x\\",
        "SIP/2.0/UDP a;branch=\"x\\\"",
        "SIP/2.0/UDP a;received=b",
        "SIP/2.0/UDP a;received=192.0.2.256",
        "SIP/2.0/UDP a;received=192.0.2.1;received=192.0.2.1",
        "SIP/2.0/UDP a;rport=",
        "SIP/2.0/UDP a;rport=5x",
        "SIP/2.0/UDP a;rport=65536",
        "SIP/2.0/UDP a;rport;rport",
    ] {
        assert!(Via::parse(half.as_bytes()).is_err(), "{half}");
        let top = "SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK1";
        assert!(refused(&options(top, half, "")), "{half}");
    }
}

/// PJSIP CVE-2017-9372: a huge CSeq number or method.
#[test]
fn cseq_boundaries() {
    let mut index = Index::new();
    for (value, expected) in [
        ("0 OPTIONS", true),
        ("2147483647 OPTIONS", true),
        ("0000000000000000000000002147483647 OPTIONS", true),
        ("2147483648 OPTIONS", false),
        ("4294967295 OPTIONS", false),
        ("4294967296 OPTIONS", false),
        ("4294967297 OPTIONS", false),
        ("18446744073709551617 OPTIONS", false),
        ("-1 OPTIONS", false),
        ("1.0 OPTIONS", false),
        ("1 options", false),
        ("1 OPTIONSX", false),
        ("1 OPTION", false),
        ("1OPTIONS", false),
        ("1", false),
        ("OPTIONS 1", false),
        ("1 OPTIONS x", false),
        ("1 OPTIONS,", false),
    ] {
        let verdict = judge(&options("1 OPTIONS", value, ""), &mut index);
        assert_eq!(verdict, if expected { Verdict::Serve } else { Verdict::Answer(400) }, "{value}");
    }
    // What is served is read as the number that it is, however long it is written.
    for digits in 1..=10 {
        for number in [10u32.pow(digits - 1), 1_234_567_890 / 10u32.pow(10 - digits), limit::CSEQ] {
            for zeros in 0..24 {
                let bytes = options("1 OPTIONS", &format!("{}{number} OPTIONS", "0".repeat(zeros)), "");
                let message = Message::parse(&bytes, &mut index).unwrap();
                assert_eq!(message.essentials().unwrap().cseq.number, number, "{zeros} zeros");
            }
        }
    }
    let long = "X".repeat(60_000);
    let bytes = options("1 OPTIONS", &format!("1 {long}"), "");
    let message = Message::parse(&bytes, &mut index).unwrap();
    assert_eq!(message.cseq().unwrap().method.as_bytes().len(), long.len());
    assert_eq!(message.essentials().unwrap_err().fault, ValueFault::Mismatch);
}

/// OpenSIPS CVE-2023-28098 (over-read), PJSIP CVE-2022-24754 (length of a hash trusted).
#[test]
fn authorization_truncated_at_each_byte() {
    let start = REGISTER.windows(7).position(|w| w == b"Digest ").unwrap();
    let end = start + REGISTER[start..].windows(2).position(|w| w == b"\r\n").unwrap();
    let complete = Credentials::parse(&REGISTER[start..end]);
    assert!(matches!(complete, Ok(Credentials::Digest(_))));
    for cut in start..end {
        let value = &REGISTER[start..cut];
        let alone = Credentials::parse(value).is_ok();
        // Complete is what has a response, and everything else up to the cut in full.
        let quotes = value.iter().filter(|&&b| b == b'"').count();
        let complete = value.windows(41).any(|w| w.starts_with(b"response="))
            && !value.ends_with(b"=")
            && quotes.is_multiple_of(2);
        assert!(!alone || complete, "{}", value.escape_ascii());
        // In its message, where there are bytes to over-read.
        let bytes = [&REGISTER[..cut], &REGISTER[end..]].concat();
        let mut index = Index::new();
        let message = Message::parse(&bytes, &mut index).unwrap();
        assert_eq!(message.authorizations().next().unwrap().is_ok(), alone);
        if let Some(Err(error)) = message.authorizations().next() {
            assert!((start..=cut).contains(&error.at), "{error}");
        }
    }
    // A hash and a count of any other length than theirs; anything left out.
    let text = core::str::from_utf8(&REGISTER[start..end]).unwrap();
    let (hash, count) = ("6629fae49393a05397450978507c4ef1", "00000001");
    let is_ok = |what: &str, with: &str| {
        assert!(text.contains(what), "{what}");
        Credentials::parse(text.replacen(what, with, 1).as_bytes()).is_ok()
    };
    for len in 0..300 {
        assert_eq!(is_ok(hash, &"a".repeat(len)), len == 32 || len == 64, "a hash of {len}");
        assert_eq!(is_ok(count, &"a".repeat(len)), len == 8, "a count of {len}");
    }
    for (at, _) in hash.char_indices() {
        assert!(!is_ok(hash, &[&hash[..at], "g", &hash[at + 1..]].concat()));
    }
    for (name, needed) in [
        ("username=", true),
        ("realm=", true),
        ("nonce=", true),
        ("uri=", true),
        ("response=", true),
        ("cnonce=", true),
        ("nc=", true),
        ("algorithm=", false),
    ] {
        // "nonce=" is the end of "cnonce=" too; the first one counts.
        assert_eq!(is_ok(name, "other="), !needed, "{name}");
        assert!(!is_ok(name, &format!("{name}x, {name}")), "{name} twice");
    }
}

fn is_refused_in_its_message(uri: &str) -> bool {
    let bytes = options("sip:b@example.net", uri, "");
    let mut index = Index::new();
    let message = Message::parse(&bytes, &mut index).unwrap();
    message.request_uri().is_err() && refused(&bytes)
}

/// OpenSIPS CVE-2023-27597, drachtio CVE-2022-47517: a URI rewritten, a `%` at its end.
#[test]
fn uri_rewriting() {
    for text in [
        "sip:a%",
        "sip:a%4",
        "sip:%",
        "sip:a%@b",
        "sip:a@b;x=%",
        "sip:a@b;%",
        "sip:a@b?x=%1",
        "sip:a:%@b",
        "tel:+1;x=%",
    ] {
        assert!(Uri::parse(text.as_bytes()).is_err(), "{text}");
        // In its message, where there are bytes to over-read.
        assert!(is_refused_in_its_message(text), "{text}");
        // Nor does anybody unescape it.
        assert!(unescape_into(text.as_bytes(), &mut [0; 16]).is_err(), "{text}");
    }
    for text in [
        "sip:@b",
        "sip:a@",
        "sip:a@b@c",
        "sip:a@b:0",
        "sip:a@b;",
        "sip:a@b;=x",
        "sip:a@b;x=",
        "sip:a@b;x;X=1",
    ] {
        assert!(Uri::parse(text.as_bytes()).is_err(), "{text}");
        assert!(is_refused_in_its_message(text), "{text}");
    }
    // Every truncation and every single byte of a URI with everything; what parses says what it was made of.
    let full = b"sips:a%41;b:p%42w@h.example:5070;t=%43;lr?x=%44&y=z";
    for end in 0..full.len() {
        for byte in 0..=255u8 {
            let mut text = full.to_vec();
            text[end] = byte;
            for text in [&text[..], &text[..end], &text[..=end]] {
                let Ok(uri) = Uri::parse(text) else { continue };
                let mut room = [0; 64];
                assert!(uri.user().is_none_or(|u| unescape_into(u, &mut room).is_ok()));
                assert!(
                    uri.params().iter().all(|p| p.value.is_none_or(|v| unescape_into(v, &mut room).is_ok()))
                );
                let Some(host) = uri.host() else { continue };
                // Set another host, user and port: what is left reads the same.
                let mut escaped = [0; 12];
                let user = escape_user(b"%\0 @", &mut escaped).unwrap();
                let made = [b"sip:", user, b"@", uri.host_bytes(), b":1", uri.params().as_bytes()].concat();
                let again = Uri::parse(&made).unwrap_or_else(|e| panic!("{e}: {}", made.escape_ascii()));
                assert_eq!((again.user(), again.host(), again.port()), (Some(user), Some(host), Some(1)));
                assert_eq!(again.params(), uri.params());
            }
        }
    }
}
