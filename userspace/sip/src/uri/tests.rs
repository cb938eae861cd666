//! URIs: their parts, what is none, and the short way against the thorough one.

use proptest::prelude::*;

use super::*;

fn uri(text: &str) -> Uri<'_> {
    Uri::parse(text.as_bytes()).unwrap_or_else(|e| panic!("{text}: {e}"))
}

#[test]
fn parts_of_a_sip_uri() {
    let u = uri("sip:alice:secret@[2001:db8::1]:5070;transport=tcp;lr?to=a%40b&x=");
    assert_eq!(u.scheme(), Scheme::Sip);
    assert_eq!((u.user(), u.password()), (Some(&b"alice"[..]), Some(&b"secret"[..])));
    assert_eq!(u.host_bytes(), b"[2001:db8::1]");
    assert_eq!(u.port(), Some(5070));
    assert_eq!(u.transport(), Some(Transport::Tcp));
    assert!(u.is_loose() && u.is_sip());
    let pairs: Vec<_> = u.header_pairs().collect();
    assert_eq!(pairs, [(&b"to"[..], &b"a%40b"[..]), (b"x", b"")]);
}

#[test]
fn a_user_part_may_look_like_parameters() {
    let u = uri("sip:user;par=u%40example.net@example.com");
    assert_eq!(u.user(), Some(&b"user;par=u%40example.net"[..]));
    assert!(u.params().as_bytes().is_empty());
    let u = uri(
        "sip:1_unusual.URI~(to-be!sure)&isn't+it$/crazy?,/;;*:&it+has=1,weird!*pas$wo~d_too.(doesn't-it)@example.com",
    );
    assert_eq!(u.password(), Some(&b"&it+has=1,weird!*pas$wo~d_too.(doesn't-it)"[..]));
}

#[test]
fn tel_and_other_schemes() {
    let t = uri("tel:+1-201-555-0123;phone-context=example.com");
    assert_eq!((t.scheme(), t.user()), (Scheme::Tel, Some(&b"+1-201-555-0123"[..])));
    assert_eq!(t.params().value(b"phone-context"), Some(&b"example.com"[..]));
    assert_eq!(uri("nobodyKnowsThisScheme:totallyopaquecontent").opaque(), b"totallyopaquecontent");
    assert_eq!(uri("soap.beep://192.0.2.103:3002").scheme(), Scheme::Other(b"soap.beep"));
}

#[test]
fn what_is_not_a_uri() {
    for (text, fault) in [
        ("", ValueFault::Ended),
        ("sip", ValueFault::Ended),
        ("sip:", ValueFault::Host),
        ("sip:@a", ValueFault::Unexpected),
        ("sip:a@", ValueFault::Host),
        ("sip:a b@c", ValueFault::Unexpected),
        ("<sip:a@b>", ValueFault::Unexpected),
        ("sip:a@b:", ValueFault::Port),
        ("sip:a@b:70000", ValueFault::Port),
        ("sip:a@b;", ValueFault::Ended),
        ("sip:a@b;x=", ValueFault::Ended),
        ("sip:a@b?", ValueFault::Unexpected),
        ("sip:a@b?=x", ValueFault::Unexpected),
        ("sip:a@b?x=y=z", ValueFault::Unexpected),
        ("sip:a@b;x;y=1;X=2", ValueFault::DuplicateParameter),
        ("sip:a@b;lr;%6Cr", ValueFault::DuplicateParameter),
        ("sip:a@b;%6Cr;lr", ValueFault::DuplicateParameter),
        ("sip:a@b;l%72;x;LR", ValueFault::DuplicateParameter),
        ("sip:a@b;lx;lr;ly;Lr=1", ValueFault::DuplicateParameter),
        ("sip:a%@b", ValueFault::Escape),
        ("sip:a%4@b", ValueFault::Escape),
        ("sip:a%zz@b", ValueFault::Escape),
        ("sip:a@b;x=%", ValueFault::Escape),
        ("sip:a@b?x=%4", ValueFault::Escape),
        ("sip:a@b@c", ValueFault::Unexpected),
        ("sip:a:b:c@d", ValueFault::Port),
        ("sip:user@2001:db8::10", ValueFault::Host),
        ("sip:a@b ", ValueFault::Unexpected),
        ("sip:a@b\0", ValueFault::Unexpected),
        ("tel:", ValueFault::Ended),
        ("tel:+12a", ValueFault::Unexpected),
        ("1a:b", ValueFault::Unexpected),
        ("x:", ValueFault::Ended),
        ("x:a b", ValueFault::Unexpected),
    ] {
        assert_eq!(Uri::parse(text.as_bytes()).map(|_| ()).map_err(|e| e.fault), Err(fault), "{text:?}");
    }
}

/// The short way at one URI with something after it: what it takes, the thorough way must read the same.
fn taken(text: &str, after: &str) -> bool {
    let datagram = format!("<{text}{after}");
    let text = Text::new(datagram.as_bytes(), 1 + text.len());
    let Some(short) = Uri::usual(text, 1) else { return false };
    let thorough = Uri::any(datagram.as_bytes(), text.end(), 1);
    assert_eq!(Ok(format!("{short:?}")), thorough.map(|uri| format!("{uri:?}")), "{datagram:?}");
    true
}

#[test]
fn usual_uris_go_the_short_way() {
    let after = ">\r\nContent-Type: application/sdp\r\nContent-Length: 0\r\n\r\n";
    for text in [
        "sip:bob@192.0.2.4:65535",
        "SIP:a@b",
        "sip:+4930.123-4_5/6@255.255.255.255",
        "sip:10.77.0.2:5060;lr",
        "sip:p1.example.net;lr",
        "sip:example.net",
        "sip:a.@b.",
        "sip:bob@10.0.0.1:5060;transport=udp;ob?x=y",
        "sip:123456789012345@a23456789012345:1",
        "sip:a@a234567890123456789.example:5060;lr",
    ] {
        assert!(taken(text, after), "{text}");
        for end in 0..text.len() {
            taken(&text[..end], &format!("{}{after}", &text[end..]));
        }
    }
    for text in [
        "sip:@a",
        "sip:",
        "sip:a@",
        "sips:a",
        "sip:a:b@c",
        "sip:a:5060@c",
        "sip:a;b@c",
        "sip:a@1.2.3.256",
        "sip:a@1.2.3",
        "sip:a@1.2.3.4.5",
        "sip:a@1..3.4",
        "sip:a@.b",
        "sip:a@b..c",
        "sip:a@b:0",
        "sip:a@b:65536",
        "sip:a@b:",
        "sip:a@b:123456",
        "sip:a@b;",
        "sip:a@b;lr;LR",
        "sip:a@[::1]",
        "sip:a%41@b",
        "sip:a@1.2.3.0004",
        "sip:a@1.2.3.",
    ] {
        assert!(!taken(text, after), "{text}");
    }
}

/// In a text that stands alone there may be any byte. The one that differs from a colon in a letter's case bit is none.
#[test]
fn a_scheme_ends_in_a_colon() {
    let rest = "bob@192.0.2.4:5060;transport=udp;x=0123456789012345678901234567890123456789";
    assert!(taken(&format!("sip:{rest}"), ""));
    let other = format!("sip\x1a{rest}");
    assert!(!taken(&other, ""));
    assert_eq!(Uri::parse(other.as_bytes()).map(|_| ()).map_err(|e| e.fault), Err(ValueFault::Unexpected));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]
    #[test]
    fn both_ways_agree(
        text in "(sip|SIP|sips?):([a-zA-Z0-9_+,./-]{0,18}|[ -~]{0,6})(@|:|;|%)?([a-z0-9.-]{0,17}|[0-9]{0,4}(\\.[0-9]{0,4}){2,4})(:[0-9]{0,6})?(;lr|;[ -~]{0,8})?",
        after in "[>?;,@: a-z0-9.]{0,8}",
    ) {
        taken(&text, &format!("{after}{}", "\r\n".repeat(32)));
        taken(&text, &after);
    }
}

#[test]
fn many_parameters_of_one_beginning_are_told_apart() {
    let names: Vec<String> = (0..limit::PARAMETERS).map(|n| format!("{}{n}", "x".repeat(40))).collect();
    let with = |last: &str| format!("sip:a@b;{};{last}", names[..limit::PARAMETERS - 1].join("=1;"));
    assert_eq!(uri(&with(&names[limit::PARAMETERS - 1])).params().iter().count(), limit::PARAMETERS);
    for name in &names[..limit::PARAMETERS - 1] {
        let escaped = format!("%58{}", &name[1..]);
        for again in [name.clone(), name.to_ascii_uppercase(), escaped] {
            let error = Uri::parse(with(&again).as_bytes()).unwrap_err();
            assert_eq!(error.fault, ValueFault::DuplicateParameter, "{again}");
        }
    }
}
