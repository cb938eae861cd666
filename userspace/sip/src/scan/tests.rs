//! Every vectorised routine against a naive one.

use proptest::prelude::*;

use super::*;
use crate::class;

fn naive(block: &[u8; BLOCK]) -> Masks {
    let mut masks = Masks { line_feed: 0, control: 0 };
    for (i, &b) in block.iter().enumerate() {
        masks.line_feed |= u64::from(b == b'\n') << i;
        masks.control |= u64::from(b.is_ascii_control()) << i;
    }
    masks
}

fn naive_odd(block: &[u8; BLOCK]) -> u64 {
    (0..BLOCK).map(|i| u64::from(block[i].is_ascii_control() || !block[i].is_ascii()) << i).sum()
}

#[test]
fn every_byte_in_every_lane() {
    for at in 0..BLOCK {
        for byte in 0..=255u8 {
            let mut block = [b'a'; BLOCK];
            block[at] = byte;
            assert_eq!(masks(&block), naive(&block), "{byte} at {at}");
            assert_eq!(odd(&block), naive_odd(&block), "{byte} at {at}");
        }
    }
    for at in 0..16 {
        let mut window = [b'a'; 16];
        window[at] = b':';
        window[15] = b':';
        assert_eq!(colon(&window), at);
    }
    assert_eq!(colon(&[b'a'; 16]), 16);
}

/// Every byte at every place, in values of every length around a vector's, with and without bytes after them.
#[test]
fn runs_end_where_their_class_does() {
    type Run = fn(Text<'_>, usize) -> usize;
    let runs: [(Run, u16, Option<u8>); 9] = [
        (value_end, class::VALUE, None),
        (address_end, class::ADDRESS, None),
        (call_id_end, class::CALL_ID, None),
        (token_end, class::TOKEN, None),
        (hostname_end, class::HOSTNAME, None),
        (user_end, class::USER, Some(b'%')),
        (uri_param_end, class::URI_PARAM, Some(b'%')),
        (quote, class::UNQUOTE, None),
        (visible_end, class::VISIBLE, None),
    ];
    for len in (0..36).chain([48]) {
        let mut datagram = vec![b'a'; len + 20];
        for at in 0..len.max(1) {
            for byte in 0..=255u8 {
                datagram[at] = byte;
                let value = &datagram[..len];
                for (run, mask, also) in runs {
                    let end = (0..len).find(|&i| !class::is(value[i], mask) || Some(value[i]) == also);
                    let end = end.unwrap_or(len);
                    assert_eq!(run(Text::alone(value), 0), end, "{byte:#x} at {at} of {len}");
                    assert_eq!(run(Text::new(&datagram, len), 0), end, "{byte:#x} at {at} of {len}, within");
                }
            }
            datagram[at] = b'a';
        }
    }
    for at in 0..32 {
        for byte in 0..=255u8 {
            let mut window = [b'a'; 32];
            window[at] = byte;
            window[31] = b' ';
            let is = |mask| class::is(window[at], mask) && at < 31;
            // Short ones may end before their class does, and never after it.
            assert!(
                plain_value(&window) == if is(class::VALUE) && plain_value(&window) > at { 31 } else { at }
            );
            assert!(
                plain_call_id(&window)
                    == if is(class::CALL_ID) && plain_call_id(&window) > at { 31 } else { at }
            );
            assert!(plain_address(&window) == if is(class::ADDRESS) && byte != b'!' { 31 } else { at });
            assert!(plain_quoted(&window) == if is(class::UNQUOTE) || at == 31 { 32 } else { at });
            let half = window.first_chunk().unwrap();
            assert!(
                at >= 16
                    || plain_user(half) == if is(class::USER) && plain_user(half) > at { 16 } else { at }
            );
        }
    }
    assert_eq!(
        (plain_value(&[b'a'; 32]), plain_call_id(&[b'a'; 32]), plain_address(&[b'a'; 32])),
        (32, 32, 32)
    );
    assert_eq!(value_end(Text::alone(b"abc"), 3), 3);
    assert_eq!(value_end(Text::alone(b"abc"), 1), 3);
}

#[test]
fn numbers_of_every_length() {
    for text in [
        "0",
        "7",
        "42",
        "123",
        "9999",
        "65535",
        "123456",
        "1234567",
        "12345678",
        "123456789",
        "4294967295",
        "4294967296",
        "00000000000000000000000000000042",
        "0000000000004294967295",
        "99999999999999999999",
        "",
        "x",
        "12x4",
        "1234567x",
        "12345678x",
        "-1",
        "+1",
        " 1",
    ] {
        let digits = text.bytes().take_while(u8::is_ascii_digit).count();
        let expected = text[..digits].parse().ok().map(|n: u32| (n, digits));
        assert_eq!(number(Text::alone(text.as_bytes()), 0), expected, "{text:?}");
        let datagram = format!("{text}9999999999999999999999");
        assert_eq!(number(Text::new(datagram.as_bytes(), text.len()), 0), expected, "{text:?} within");
        let moved = format!("ab{text}");
        assert_eq!(number(Text::alone(moved.as_bytes()), 2), expected.map(|(n, end)| (n, end + 2)));
    }
}

fn naive_v4(text: &[u8]) -> Option<[u8; 4]> {
    let octets: Option<Vec<u8>> = text
        .split(|&b| b == b'.')
        .map(|o| match o.len() {
            1..=3 if o.iter().all(u8::is_ascii_digit) => std::str::from_utf8(o).ok()?.parse().ok(),
            _ => None,
        })
        .collect();
    octets?.try_into().ok()
}

fn naive_host(text: &[u8]) -> (HostKind, usize, u32) {
    let len = text.iter().position(|&b| !class::is(b, class::HOSTNAME)).unwrap_or(text.len());
    let text = &text[..len];
    if text.iter().all(|&b| b.is_ascii_digit() || b == b'.') {
        match naive_v4(text) {
            Some(octets) => (HostKind::V4, len, u32::from_be_bytes(octets)),
            None => (HostKind::Neither, len, 0),
        }
    } else if text.starts_with(b".") || text.windows(2).any(|w| w == b"..") {
        (HostKind::Neither, len, 0)
    } else {
        (HostKind::Name, len, 0)
    }
}

/// What the short way takes, with something after the host, is what it is.
fn check_host_port(text: &str, after: &str) -> bool {
    let datagram = format!("sip:{text}{after}{}", " ".repeat(AROUND));
    let Some(found) = host_port(datagram.as_bytes()[..AROUND].try_into().unwrap()) else { return false };
    let rest = &datagram.as_bytes()[BEFORE..];
    assert_eq!((found.kind, found.host_end, found.address), naive_host(rest), "{datagram:?}");
    let port = &rest[found.host_end..found.end];
    assert!(!rest[found.end].is_ascii_digit());
    match port.strip_prefix(b":") {
        None => assert!(port.is_empty() && found.port == 0 && rest[found.end] != b':'),
        Some(digits) => assert_eq!(std::str::from_utf8(digits).unwrap().parse(), Ok(found.port)),
    }
    assert!(port.is_empty() || found.port != 0);
    true
}

#[test]
fn addresses_of_every_shape() {
    let octets = ["0", "9", "10", "99", "100", "255", "256", "299", "300", "999", "007", "", "1000", "1a"];
    for a in octets {
        for b in octets {
            for c in octets {
                for d in octets {
                    for text in
                        [format!("{a}.{b}.{c}.{d}"), format!("{a}.{b}.{c}"), format!("{a}.{b}.{c}.{d}.")]
                    {
                        let text = text.as_bytes();
                        let (kind, _, address) = naive_host(text);
                        let sound = matches!(kind, HostKind::V4 | HostKind::Name);
                        let host = crate::host::Host::parse(text).ok();
                        assert_eq!(host.is_some(), sound, "{}", text.escape_ascii());
                        let v4 = (kind == HostKind::V4).then(|| address.to_be_bytes().into());
                        assert_eq!(host.and_then(|host| host.ip()), v4, "{}", text.escape_ascii());
                        assert_eq!(check_host_port(str::from_utf8(text).unwrap(), ""), sound);
                    }
                }
            }
        }
    }
}

proptest! {
    #[test]
    fn masks_agree_with_the_naive_scan(bytes in prop::collection::vec(any::<u8>(), BLOCK)) {
        let block: &[u8; BLOCK] = bytes.as_slice().try_into().unwrap();
        prop_assert_eq!(masks(block), naive(block));
        prop_assert_eq!(odd(block), naive_odd(block));
    }

    #[test]
    fn hosts_and_ports_agree_with_the_naive_reading(
        text in "[0-9.]{1,16}|[0-9a-zA-Z.-]{1,16}|[0-9a-z.]{14,30}", after in "(:[0-9]{0,7})?[0-9a.:; ]{0,3}",
    ) {
        check_host_port(&text, &after);
    }

    #[test]
    fn hosts_agree_with_the_naive_reading(text in "[0-9.]{1,18}|[0-9a-zA-Z._-]{1,20}") {
        let (kind, _, address) = naive_host(text.as_bytes());
        let host = crate::host::Host::parse(text.as_bytes()).ok();
        prop_assert_eq!(host.is_some(), kind != HostKind::Neither);
        let v4 = (kind == HostKind::V4).then(|| address.to_be_bytes().into());
        prop_assert_eq!(host.and_then(|host| host.ip()), v4);
    }

    #[test]
    fn numbers_agree_with_the_standard_library(n in any::<u32>(), zeros in 0usize..12, after in "[0-9a ]{0,9}") {
        let text = format!("{}{n}", "0".repeat(zeros));
        let datagram = format!("{text}{after}");
        let within = Text::new(datagram.as_bytes(), text.len());
        prop_assert_eq!(number(within, 0), Some((n, text.len())));
    }
}
