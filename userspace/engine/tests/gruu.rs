//! GRUUs through the engine's public face (RFC 5627).

mod pair;

use pair::{ALICE, BOB, Pair, Text, config, register, request};
use strowger_engine::Event;

const INSTANCE: &str = "<urn:uuid:00000000-0000-1000-8000-000A95A0E128>";
const OTHER: &str = "<urn:uuid:00000000-0000-1000-8000-000A95A0E129>";

fn device(contact: &str, instance: &str, call_id: &str, cseq: u32) -> Text {
    register("bob", &format!("<sip:bob@{contact}>;+sip.instance=\"{instance}\""))
        .add("Supported", "gruu")
        .set("Call-ID", call_id)
        .set("CSeq", &format!("{cseq} REGISTER"))
}

/// `pub-gruu` and `temp-gruu` of the binding of a contact.
#[track_caller]
fn gruus(pair: &mut Pair, text: &Text, contact: &str) -> (String, String) {
    let done = pair.pass(ALICE, text).to(ALICE);
    assert_eq!(done.code(), 200, "{}", done.reason());
    let line =
        done.all("Contact").into_iter().find(|line| line.contains(contact)).expect("its binding").to_owned();
    let value = |name: &str| {
        let from = line.find(&format!(";{name}=\"")).unwrap_or_else(|| panic!("no {name} in {line}"));
        line[from..].split('"').nth(1).expect("a quoted value").to_owned()
    };
    (value("pub-gruu"), value("temp-gruu"))
}

#[track_caller]
fn called(pair: &mut Pair, uri: &str) -> Text {
    // Each a transaction of its own.
    let branch = format!("SIP/2.0/UDP {ALICE};branch=z9hG4bK-{}", pair.count(Event::RequestOptions));
    pair.pass(ALICE, &request("OPTIONS", uri).set("Via", &branch)).text()
}

#[test]
fn rfc_5627_5_2_a_device_that_knows_gruus_gets_both() {
    let mut pair = Pair::new(config());
    let (public, temporary) = gruus(&mut pair, &device(BOB, INSTANCE, "b", 1), BOB);
    assert_eq!(public, "sip:bob@example.net;gr=urn:uuid:00000000-0000-1000-8000-000A95A0E128");
    assert!(temporary.starts_with("sip:tgruu.") && temporary.ends_with("@example.net;gr"), "{temporary}");
    // Without Supported: gruu, or without an instance, there is none; the instance is repeated all the same.
    let plain = device(BOB, INSTANCE, "b", 2).without("Supported");
    let done = pair.pass(ALICE, &plain).to(ALICE);
    assert!(done.get("Contact").contains("+sip.instance") && !done.get("Contact").contains("gruu"));
    let none = register("carol", "<sip:carol@192.0.2.1>").add("Supported", "gruu");
    assert!(!pair.pass(ALICE, &none).to(ALICE).get("Contact").contains("gruu"));
}

#[test]
fn rfc_5627_6_1_a_gruu_reaches_one_device() {
    let mut pair = Pair::new(config());
    let (one, hidden_one) = gruus(&mut pair, &device("192.0.2.1", INSTANCE, "b1", 1), "192.0.2.1");
    let (two, hidden_two) = gruus(&mut pair, &device("192.0.2.2", OTHER, "b2", 1), "192.0.2.2");
    for (uri, host) in [
        (&one, "192.0.2.1"),
        (&hidden_one, "192.0.2.1"),
        (&two, "192.0.2.2"),
        (&hidden_two, "192.0.2.2"),
        (&one.to_uppercase().replace("SIP:BOB", "sip:bob"), "192.0.2.1"),
    ] {
        assert_eq!(called(&mut pair, uri).request_uri(), format!("sip:bob@{host}"), "{uri}");
    }
    assert_eq!(called(&mut pair, "sip:bob@example.net").request_uri(), "sip:bob@192.0.2.2", "the last made");
    // Section 5.4: nothing tells that two temporary ones are of the same user.
    let middle = |uri: &str| uri["sip:tgruu.".len()..].split('@').next().unwrap().as_bytes().to_vec();
    let same = middle(&hidden_one).iter().zip(middle(&hidden_two)).filter(|(a, b)| *a == b).count();
    assert!(same < 10, "{same} of 52 digits are the same");
}

#[test]
fn rfc_5627_5_3_what_outlives_a_registration() {
    let mut pair = Pair::new(config());
    let (public, temporary) = gruus(&mut pair, &device(BOB, INSTANCE, "b", 1), BOB);
    let (_, second) = gruus(&mut pair, &device(BOB, INSTANCE, "b", 2), BOB);
    assert_ne!(temporary, second, "each answer has a new one (section 5.1)");
    for uri in [&public, &temporary, &second] {
        assert_eq!(called(&mut pair, uri).method(), "OPTIONS", "the older stays good");
    }
    // Another Call-ID: the device was started again, and its temporary ones are gone (section 5.1).
    let (_, third) = gruus(&mut pair, &device(BOB, INSTANCE, "again", 1), BOB);
    assert_eq!(called(&mut pair, &temporary).code(), 404);
    assert_eq!(called(&mut pair, &third).method(), "OPTIONS");
    let gone = device(BOB, INSTANCE, "again", 2).add("Expires", "0");
    assert_eq!(pair.pass(ALICE, &gone).to(ALICE).code(), 200);
    assert_eq!((called(&mut pair, &public).code(), called(&mut pair, &third).code()), (480, 404));
}

#[test]
fn a_temporary_gruu_cannot_be_made_up() {
    let mut pair = Pair::new(config());
    let (public, temporary) = gruus(&mut pair, &device(BOB, INSTANCE, "b", 1), BOB);
    for at in ["sip:tgruu.".len(), "sip:tgruu.".len() + 30, "sip:tgruu.".len() + 51] {
        let mut forged = temporary.clone().into_bytes();
        forged[at] = if forged[at] == b'2' { b'3' } else { b'2' };
        let forged = String::from_utf8(forged).unwrap();
        assert_eq!(called(&mut pair, &forged).code(), 404, "{forged}");
    }
    for uri in [
        "sip:tgruu.@example.net;gr",
        "sip:tgruu.00@example.net;gr",
        "sip:bob@example.net;gr",
        "sip:nobody@example.net;gr=urn:x",
    ] {
        assert_eq!(called(&mut pair, uri).code(), 404, "{uri}");
    }
    assert_eq!(
        called(&mut pair, &public.replace("E128", "E12F")).code(),
        480,
        "no such device, and the user is known"
    );
    // Section 5.1: a GRUU is no contact.
    let own = register("bob", &format!("<{public}>"));
    assert_eq!(pair.pass(ALICE, &own).to(ALICE).code(), 403);
}

#[test]
fn instances_that_cannot_stand_in_a_uri_get_none() {
    let mut pair = Pair::new(config());
    for instance in ["<urn:x:a;b>", "<urn:x:a b>", "<>"] {
        let text = device(BOB, instance, instance, 1);
        let done = pair.pass(ALICE, &text.set("Call-ID", "x")).to(ALICE);
        assert!(done.code() != 200 || !done.get("Contact").contains("gruu"), "{instance}");
        pair.pass(ALICE, &register("bob", "*").add("Expires", "0").set("Call-ID", "y"));
    }
    let long = device(BOB, &format!("<urn:x:{}>", "a".repeat(250)), "l", 1);
    assert_eq!(pair.pass(ALICE, &long).to(ALICE).reason(), "Instance Too Long");
}
