//! The short way through the header lines against the thorough one.

use proptest::prelude::*;

use super::*;

/// Start lines do not matter here; this one only stands before the headers.
const BEFORE: &str = "X\r\n";

/// What the short way makes of the lines must be what the thorough one makes of them; whether it has taken them.
fn compare(lines: &[u8]) -> bool {
    let bytes = [BEFORE.as_bytes(), lines].concat();
    let (mut short, mut thorough) = (Index::new(), Index::new());
    let Some(empty_line) = short.usual_lines(&bytes, BEFORE.len()) else { return false };
    let expected = thorough.read_header_lines::<false>(&bytes, BEFORE.len());
    assert_eq!(Ok(Some(empty_line)), expected, "{:?}", lines.escape_ascii().to_string());
    assert_eq!(short.entries(), thorough.entries(), "{:?}", lines.escape_ascii().to_string());
    assert_eq!((short.first, short.repeated), (thorough.first, thorough.repeated));
    true
}

#[test]
fn usual_lines_go_the_short_way() {
    let body = "x".repeat(64);
    for lines in [
        "Via: SIP/2.0/UDP a\r\nVia: SIP/2.0/UDP b\r\nX-Other: c\r\nl: 0\r\n\r\n",
        "To:<sip:a>\r\nSubject:\r\nSubject :  \r\nv:\ta\t \r\nWWW-Authenticate: Digest\r\n\r\n",
        "Subject: a\r\n folded\r\n\tand more\r\nFrom: \"\u{416}\" <sip:a>\r\n\r\n",
    ] {
        assert!(compare(format!("{lines}{body}").as_bytes()), "{lines:?}");
        // At the end of the datagram, and with the lines at every place in a block.
        for before in 40..110 {
            let lines = format!("Subject: {}\r\n{lines}", "s".repeat(before));
            assert!(compare(lines.as_bytes()), "{lines:?}");
        }
    }
}

#[test]
fn what_is_not_right_does_not_go_the_short_way() {
    let body = "x".repeat(128);
    for lines in [
        "Via: a\r\n",
        "\r\n",
        "Via: a\r\nTo\r\n\r\n",
        "Via: a\nTo: b\r\n\r\n",
        "Via: a\rTo: b\r\n\r\n",
        "Via: a\r\r\n\r\n",
        "Via: a\r\n\n",
        "Via: a\r\n\rTo: b\r\n\r\n",
        "Call\rID: b\r\n\r\n",
        "Via: a\x01\r\n\r\n",
        "Via: a\x7f\r\n\r\n",
        "(: a\r\n\r\n",
        ": a\r\n\r\n",
        " Via: a\r\n",
    ] {
        assert!(!compare(format!("{lines}{body}").as_bytes()), "{lines:?}");
    }
    let many = |count| "v: a\r\n".repeat(count) + "\r\n" + &body;
    assert!(compare(many(limit::HEADER_LINES).as_bytes()));
    assert!(!compare(many(limit::HEADER_LINES + 1).as_bytes()));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]
    #[test]
    fn both_ways_agree(
        pieces in prop::collection::vec(
            prop_oneof![
                8 => prop::sample::select(vec![
                    "Via: ", "Call-ID: ", "call-id:", "t", "From", "To", "X", "Content-Length", "P-Asserted-Identity",
                    "WWW-Authenticate", "Max-Forwards: 70", ":", ": ", " ", "  ", "\t", "\r\n", "\r\n", "\r\n", "\r\n\r\n",
                    "\r\n ", "\r", "\n", "\"", "\\", "\u{416}", "\x7f", "\x01", "sip:a@b;c=d", "0123456789abcdef0123",
                ]).prop_map(str::to_owned),
                1 => "[ -~]{0,40}",
            ],
            0..24,
        ),
        after in 0usize..100,
    ) {
        let lines = pieces.concat() + "\r\n\r\n" + &"z".repeat(after);
        compare(lines.as_bytes());
    }
}
