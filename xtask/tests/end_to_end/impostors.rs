//! Who is believed and who is not: real phones with the right password and with a wrong one, users who are suspended,
//! credentials that somebody read on the wire, and those of another (RFC 3261 section 22, RFC 7616, RFC 8760).

use strowger_xtask::lab::Lab;
use strowger_xtask::node::{Configuration, Node};

use crate::bench::{Bench, PATIENCE};
use crate::cast::Player;
use crate::credentials::{Algorithm, authorized, users};
use crate::phone::{Phone, Received};
use crate::scenario::Scenario;

const USERS: [(&str, &str, &str); 3] = [
    ("alice", "looking-glass", "active"),
    ("bob", "a \"quoted\" one", "active"),
    ("mallory", "right-but-suspended", "suspended"),
];

fn start(bench: &Bench, algorithm: &str) -> Node {
    let configuration = Configuration {
        open: false,
        auth: format!("algorithms: [{algorithm}], users: {}", users(bench, &USERS).display()),
        ..bench.configuration("copy")
    };
    let node = bench.start(&configuration);
    bench.warm_up(Lab::PEERS_V4.into(), Lab::node_v4());
    node
}

fn password(user: &str) -> &'static str {
    USERS.iter().find(|(name, ..)| *name == user).map(|(_, password, _)| *password).unwrap()
}

/// sipp knows MD5 alone.
#[test]
fn sipp_is_believed_with_the_right_password_alone() {
    const CALLS: u32 = 20;
    let Some(bench) = Bench::with_sipp() else { return };
    let node = start(&bench, "MD5");
    let line = |name: &str, password: &str| {
        vec![format!("{name};bob;[authentication username={name} password={password}]")]
    };
    let register = Scenario::registers_with_credentials(200);
    let (alice, bob) = (Player::at(5080), Player::at(5070));
    let domain = "10.77.0.2";
    alice.asks_for(domain).calls(&bench, &register, &line("alice", "looking-glass"), 1);
    let wrong = Scenario::registers_with_credentials(401);
    bob.asks_for(domain).calls(&bench, &wrong, &line("bob", "not-his"), 1);
    bob.asks_for(domain).calls(&bench, &wrong, &line("nobody", "at-all"), 1);
    assert_eq!(
        node.status().unwrap().registrations.bindings,
        1,
        "who has the wrong password is bound nowhere"
    );
    let suspended = Scenario::registers_with_credentials(403);
    bob.asks_for(domain).calls(&bench, &suspended, &line("mallory", "right-but-suspended"), 1);

    // Alice calls her own phone from another one: sipp cannot say a password with quotation marks, as Bob's.
    let answering = alice.waits(&bench, &Scenario::called("answering").answers(50));
    let calling = Scenario::calls_with_credentials();
    let caller = Player::at(5090);
    let to_alice = vec!["alice;alice;[authentication username=alice password=looking-glass]".to_owned()];
    caller.asks_for("alice@10.77.0.2").calls(&bench, &calling, &to_alice, CALLS);
    let tally = answering.finish(PATIENCE).unwrap();
    assert_eq!((tally.ok, tally.failed), (u64::from(CALLS), 0), "{tally:?}");
    let status = node.status().unwrap();
    assert_eq!(status.event("auth_accepted"), u64::from(CALLS) + 1);
    assert_eq!(status.event("auth_rejected"), 2);
    assert_eq!(status.event("auth_forbidden"), 1);
}

/// Registers, calls, hangs up with an algorithm; is not believed with a wrong password, nor twice.
fn by_our_own_client(algorithm: Algorithm) {
    let Some(bench) = Bench::plain() else { return };
    let node = start(&bench, algorithm.name());
    let phone = |user, port| Phone::new(&bench.lab.peers, user, (Lab::PEERS_V4, port).into(), Lab::node_v4());
    let (mut alice, mut bob) = (phone("alice", 5081), phone("bob", 5082));
    for phone in [&mut alice, &mut bob] {
        let request = phone.register();
        let challenge = answered(phone, &request, "401");
        let with = |password| authorized(&request, &challenge, algorithm, password, 1);
        answered(phone, &with("wrong"), "401");
        answered(phone, &with(password(&phone.user)), "200");
        // Who has read it on the wire cannot say it again: the nonce is used up (a new transaction, the same proof).
        let replayed = with(password(&phone.user)).replacen(";rport", "-again;rport", 1);
        assert!(answered(phone, &replayed, "401").text.contains("stale=true"));
    }
    assert_eq!(node.status().unwrap().registrations.bindings, 2);

    let mut mallory = phone("mallory", 5083);
    let request = mallory.register();
    let challenge = answered(&mallory, &request, "401");
    answered(&mallory, &authorized(&request, &challenge, algorithm, password("mallory"), 1), "403");
    // Alice's password does not make her Bob.
    let as_bob = alice.register().replace("alice", "bob");
    let challenge = answered(&alice, &as_bob, "401");
    let given = authorized(
        &as_bob.replace("From: <sip:bob", "From: <sip:alice"),
        &challenge,
        algorithm,
        password("alice"),
        1,
    );
    answered(&alice, &given, "403");

    let invite = alice.invite("bob", "v=0\r\n");
    let challenge = answered(&alice, &invite, "407");
    alice.send(&Phone::acknowledge_refusal(&invite, &challenge));
    let invite = authorized(&invite, &challenge, algorithm, password("alice"), 1);
    alice.send(&invite);
    let received = bob.of_call("INVITE sip:bob@", &invite);
    assert!(
        received.headers("Proxy-Authorization").is_empty(),
        "what was for us goes no further: {}",
        received.text
    );
    bob.send(&received.reply("200 OK", bob.address));
    let answer = final_response(&alice, &invite);
    assert!(answer.text.starts_with("SIP/2.0 200 "), "{}", answer.text);
    alice.send(&alice.acknowledge(&invite, &answer));
    bob.of_call("ACK ", &invite);
    // The token in the route set shows that the dialog is ours: no challenge within it.
    let bye = alice.in_dialog("BYE", answer.number() + 1, &answer);
    alice.send(&bye);
    let received = bob.of_call("BYE ", &invite);
    bob.send(&received.reply("200 OK", bob.address));
    assert!(final_response(&alice, &bye).text.starts_with("SIP/2.0 200 "));
}

/// Asks, and the final response has this code.
fn answered(phone: &Phone, request: &str, code: &str) -> Received {
    phone.send(request);
    let response = final_response(phone, request);
    assert!(response.text.starts_with(&format!("SIP/2.0 {code} ")), "{} after\n{request}", response.text);
    response
}

/// The final response to this request: not one to another, which is repeated until its ACK is there (timer G, RFC 3261 section
/// 17.2.1).
fn final_response(phone: &Phone, request: &str) -> Received {
    let request = Received { text: request.to_owned() };
    loop {
        let response = phone.receive(PATIENCE).expect("an answer");
        if !response.text.starts_with("SIP/2.0 1") && response.headers("CSeq") == request.headers("CSeq") {
            return response;
        }
    }
}

#[test]
fn nobody_borrows_a_proof_by_sha_256() {
    by_our_own_client(Algorithm::Sha256);
}

#[test]
fn nobody_borrows_a_proof_by_sha_512_256() {
    by_our_own_client(Algorithm::Sha512_256);
}
