//! The Call-ID found and hashed: by the bounded scan, by the whole-message form, and by a naive reading of RFC 3261.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may panic")]

use std::hash::Hasher as _;
use std::path::Path;

use proptest::prelude::*;
use siphasher::sip::{SipHasher13, SipHasher24};
use strowger_wire::SipHash;
use strowger_wire::steer::{SteeringKey, call_id, hash, message_hash, scan, worker_of};

const KEY: SteeringKey = SteeringKey::from_bytes(*b"sixteen secrets!");

const INVITE: &str = "INVITE sip:bob@biloxi.example.com SIP/2.0\r\n\
    Via: SIP/2.0/UDP pc33.atlanta.example.com;branch=z9hG4bKnashds8\r\n\
    Max-Forwards: 70\r\n\
    To: Bob <sip:bob@biloxi.example.com>\r\n\
    From: Alice <sip:alice@atlanta.example.com>;tag=1928301774\r\n\
    Call-ID: a84b4c76e66710@pc33.atlanta.example.com\r\n\
    CSeq: 314159 INVITE\r\n\
    Content-Length: 0\r\n\r\n";

/// The scan over a message that lies in a frame behind some bytes, with some after it.
fn scanned(message: &[u8], before: usize, after: &[u8]) -> Option<u64> {
    let mut frame = vec![b'\n'; before];
    frame.extend_from_slice(message);
    frame.extend_from_slice(after);
    scan(&KEY, frame.as_slice(), before, message.len())
}

/// Reads header lines the slow way: unfold, split at the first colon, compare the trimmed name.
fn oracle(message: &[u8]) -> Option<Vec<u8>> {
    let begin = message.iter().position(|b| *b != b'\r' && *b != b'\n')?;
    let mut lines: Vec<Vec<u8>> = Vec::new();
    let mut whole = message[begin..].split(|b| *b == b'\n').peekable();
    while let Some(line) = whole.next() {
        // What stands behind the last LF isn't a line, unless it is the value that counts.
        let line = if whole.peek().is_some() { line.strip_suffix(b"\r").unwrap_or(line) } else { line };
        if line.is_empty() {
            break;
        }
        match lines.last_mut() {
            Some(last) if lines_go_on(line) => {
                // Kept, because a name and its colon stand on one line.
                last.push(b'\n');
                last.extend_from_slice(line);
            }
            _ => lines.push(line.to_vec()),
        }
    }
    for line in lines.iter().skip(1) {
        let Some(colon) = line.iter().position(|b| *b == b':') else { continue };
        let name = &line[..colon];
        let name_end = name.iter().rposition(|b| *b != b' ' && *b != b'\t').map_or(0, |last| last + 1);
        let name = name[..name_end].to_ascii_lowercase();
        if name == b"call-id" || name == b"i" {
            let value = &line[colon + 1..];
            let start = value.iter().position(|b| !matches!(b, b' ' | b'\t' | b'\n'))?;
            let word: Vec<u8> = value[start..].iter().copied().take_while(|b| *b > b' ').collect();
            return (!word.is_empty()).then_some(word);
        }
    }
    None
}

fn lines_go_on(line: &[u8]) -> bool {
    line.first().is_some_and(|b| *b == b' ' || *b == b'\t')
}

#[track_caller]
fn same(message: &[u8], expected: Option<&[u8]>) {
    let text = String::from_utf8_lossy(message);
    assert_eq!(call_id(message), expected, "{text}");
    let expected = expected.map(|value| hash(&KEY, value));
    assert_eq!(message_hash(&KEY, message), expected, "{text}");
    for before in [0, 42, 70] {
        assert_eq!(scanned(message, before, b""), expected, "before {before}: {text}");
        assert_eq!(scanned(message, before, b"\ni: padding \r\n\r\n"), expected, "{text}");
    }
}

fn with(header: &str) -> Vec<u8> {
    let all = INVITE.replace("Call-ID: a84b4c76e66710@pc33.atlanta.example.com\r\n", header);
    assert_ne!(all, INVITE);
    all.into_bytes()
}

#[test]
fn every_way_to_write_a_call_id() {
    same(INVITE.as_bytes(), Some(b"a84b4c76e66710@pc33.atlanta.example.com"));
    for header in [
        "Call-ID: a@b\r\n",
        "Call-ID:a@b\r\n",
        "CALL-ID: a@b\r\n",
        "call-id:  \t a@b\r\n",
        "cAlL-iD : a@b\r\n",
        "Call-ID\t \t: a@b\r\n",
        "i: a@b\r\n",
        "I: a@b\r\n",
        "i:a@b\r\n",
        "i \t:a@b\r\n",
        "Call-ID: a@b \t \r\n",
        "Call-ID:\r\n a@b\r\n",
        "Call-ID: \r\n\ta@b\r\n",
        "i :\r\n   a@b\r\n",
        "i:\r\n \r\n a@b\r\n",
        "Call-ID: a@b\r\n \r\n",
        "Call-IDs: x\r\nCall-ID-Old: x\r\nInfo: x\r\nIn: x\r\nCall-ID: a@b\r\n",
        "Subject: x\r\n Call-ID: folded\r\n i: folded\r\nCall-ID: a@b\r\n",
        "Call-ID: a@b\r\nCall-ID: second\r\ni: third\r\n",
        "Call-ID: a@b\nX: y\r\n",
    ] {
        same(&with(header), Some(b"a@b"));
    }
    same(&with("Call-ID: :a:b\r\n"), Some(b":a:b"));
}

#[test]
fn what_is_no_call_id() {
    for header in [
        "",
        "Call-ID:\r\n",
        "Call-ID: \r\n",
        "Call-ID \r\n : a@b\r\n",
        "Call-ID a@b\r\n",
        "Call\rID: a@b\r\n",
        "Call_ID: a@b\r\n",
        "Call-Id\0: a@b\r\n",
        "X-Call-ID: a@b\r\n",
        "ii: a@b\r\n",
        "j: a@b\r\n",
        "\x09i: a@b\r\n",
        "Call-ID: \x01a@b\r\n",
        "Call-ID: \0\r\n",
    ] {
        same(&with(header), None);
    }
    // In the start line, and in the body.
    same(b"i: sip:a@b SIP/2.0\r\nVia: SIP/2.0/UDP a\r\nCSeq: 1 OPTIONS\r\n\r\n", None);
    same(b"OPTIONS sip:a SIP/2.0\r\nVia: SIP/2.0/UDP a\r\n\r\nCall-ID: body\r\ni: body\r\n\r\n", None);
    same(b"OPTIONS sip:a SIP/2.0\r\nVia: SIP/2.0/UDP a\n\nCall-ID: body\r\ni: body\r\n\r\n", None);
    for bytes in [&b""[..], b"\r\n", b"\r\n\r\n", b"\0", b"i:a", b"OPTIONS sip:a SIP/2.0", b"x\ni:"] {
        same(bytes, None);
    }
}

/// What userspace alone finds: the scan leaves it to the kernel's socket, whose reader finds it.
#[test]
fn beyond_the_scan() {
    let only_userspace = |message: &[u8], value: &[u8]| {
        assert_eq!(call_id(message), Some(value), "{}", String::from_utf8_lossy(message));
        assert_eq!(scanned(message, 42, b"padding"), None, "{}", String::from_utf8_lossy(message));
    };
    only_userspace(format!("\r\n\r\n{INVITE}").as_bytes(), b"a84b4c76e66710@pc33.atlanta.example.com");
    only_userspace(&with(&format!("Call-ID: {}\r\n", "x".repeat(256))), "x".repeat(256).as_bytes());
    only_userspace(&with(&format!("Call-ID{}: a@b\r\n", " ".repeat(15))), b"a@b");
    only_userspace(&with("Call-ID foo: x\r\ni: a@b\r\n"), b"a@b");
    let many =
        format!("{}Call-ID: a@b\r\n", "Via: SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bK1\r\n".repeat(40));
    only_userspace(&with(&many), b"a@b");
    // Cut off in the value, which userspace takes for its end.
    only_userspace(b"OPTIONS sip:a SIP/2.0\r\ni: cut-off-here", b"cut-off-here");
    // Up to the limits it is found.
    same(&with(&format!("Call-ID: {}\r\n", "x".repeat(255))), Some("x".repeat(255).as_bytes()));
    same(&with(&format!("Call-ID{}: a@b\r\n", " ".repeat(13))), Some(b"a@b"));
    let many =
        format!("{}Call-ID: a@b\r\n", "Via: SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bK1\r\n".repeat(18));
    assert!(many.len() > 880);
    same(&with(&many), Some(b"a@b"));
}

#[test]
fn the_hash_is_siphash_1_3() {
    let (k0, k1) = (KEY.words()[0], KEY.words()[1]);
    let value: Vec<u8> = (0..200).map(|n| 33 + n as u8 % 200).collect();
    for len in 0..value.len() {
        let mut theirs = SipHasher13::new_with_keys(k0, k1);
        theirs.write(&value[..len]);
        assert_eq!(hash(&KEY, &value[..len]), theirs.finish(), "{len} bytes");
    }
}

#[test]
fn workers_get_equal_shares() {
    assert_eq!(
        (worker_of(0, 3), worker_of(u64::MAX, 3), worker_of(u64::MAX, 1), worker_of(7, 0)),
        (0, 2, 0, 0)
    );
    for workers in [2, 3, 7, 64] {
        let mut shares = vec![0_u32; workers as usize];
        for call in 0..64_000 {
            let hash = hash(&KEY, format!("{call}@10.0.0.1").as_bytes());
            shares[worker_of(hash, workers) as usize] += 1;
        }
        let fair = 64_000 / workers;
        assert!(shares.iter().all(|share| share.abs_diff(fair) < fair / 8), "{workers}: {shares:?}");
    }
}

/// The torture messages, where the machine has them, and pieces of each.
#[test]
fn torture_messages_agree() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/corpus");
    let mut found = 0;
    for folder in ["rfc4475", "rfc5118"] {
        let Ok(files) = std::fs::read_dir(corpus.join(folder)) else { continue };
        for file in files.map(|file| file.unwrap().path()).filter(|file| file.is_file()) {
            let message = std::fs::read(&file).unwrap();
            for end in 0..=message.len() {
                agree(&message[..end]);
            }
            found += usize::from(scanned(&message, 42, b"").is_some());
        }
    }
    if found == 0 {
        eprintln!("no torture messages beside this tree");
    } else {
        assert!(found > 45, "{found}");
    }
}

/// All three forms on any bytes.
#[track_caller]
fn agree(message: &[u8]) {
    let whole = call_id(message);
    assert_eq!(whole, oracle(message).as_deref(), "{}", message.escape_ascii());
    for (before, after) in [(0, &b""[..]), (42, b"\ni: padding \r\n\r\n")] {
        if let Some(found) = scanned(message, before, after) {
            assert_eq!(Some(found), message_hash(&KEY, message), "{}", message.escape_ascii());
        }
    }
}

fn pieces() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        prop::sample::select(vec![
            &b"\r\n"[..],
            b"\n",
            b"\r",
            b" ",
            b"\t",
            b":",
            b"i",
            b"I",
            b"Call-ID",
            b"call-id",
            b"Call-",
            b"ID",
            b"Call-ID: ",
            b"\r\ni: ",
            b"\r\nCall-ID: ",
            b"\r\n\r\n",
            b"a@b",
            b"OPTIONS sip:a SIP/2.0\r\n",
            b"Via: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK1\r\n",
            b"\x80",
            b"\0",
            b"\x1f",
            b"!",
        ])
        .prop_map(<[u8]>::to_vec),
        prop::collection::vec(any::<u8>(), 1..9),
    ];
    prop::collection::vec(piece, 0..16).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(20_000))]

    /// As the XDP program makes To tags, word by word.
    #[test]
    fn siphash_2_4_is_the_librarys(bytes in proptest::collection::vec(any::<u8>(), 0..300), key: [u8; 16]) {
        let (halves, _) = key.as_chunks::<8>();
        let mut state = SipHash::<2, 4>::new([u64::from_le_bytes(halves[0]), u64::from_le_bytes(halves[1])]);
        let (words, rest) = bytes.as_chunks::<8>();
        words.iter().for_each(|word| state.compress(u64::from_le_bytes(*word)));
        let rest = rest.iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte));
        prop_assert_eq!(state.finish(rest, bytes.len() as u64), SipHasher24::new_with_key(&key).hash(&bytes));
    }

    #[test]
    fn any_bytes_agree(message in pieces()) {
        agree(&message);
    }

    #[test]
    fn mutations_agree(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
        end in any::<prop::sample::Index>(),
        whole in any::<bool>(),
    ) {
        let mut message = INVITE.as_bytes().to_vec();
        for (at, byte) in changes {
            let at = at.index(message.len());
            message[at] = if byte < 128 { byte } else { message[at] ^ (1 << (byte % 8)) };
        }
        if !whole {
            message.truncate(end.index(message.len()));
        }
        agree(&message);
    }
}
