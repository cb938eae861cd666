//! A node that wants to know who calls: each algorithm from the users file to the 200. Real phones that answer
//! challenges are in `impostors` and `baresip`.

use std::fs;
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use md5::Md5;
use rustix::process::Signal;
use sha2::{Digest as _, Sha256, Sha512_256};
use strowger_xtask::lab::Lab;
use strowger_xtask::node::Configuration;

use crate::bench::{Bench, PATIENCE, binary};
use crate::phone::{Phone, Received};

const REALM: &str = "lab";

/// Writes the users file: the lines of `strowger user hash` for these users, each with `NAME-secret` as password.
fn users(bench: &Bench, names: &[&str]) -> PathBuf {
    let file = bench.directory.path().join("users.yaml");
    let mut text = String::from("users:\n");
    for name in names {
        let user = format!("{name}@{}", Lab::NODE_V4);
        let mut child = Command::new(binary())
            .args(["user", "hash", &user, "--realm", REALM])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        writeln!(child.stdin.take().unwrap(), "{name}-secret").unwrap();
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success());
        let line = String::from_utf8(output.stdout).unwrap();
        assert!(!line.contains("secret"), "no password is written: {line}");
        text += &line;
    }
    fs::write(&file, text).unwrap();
    file
}

fn closed(bench: &Bench, algorithms: &str, users: &std::path::Path) -> Configuration {
    let auth = format!("realm: {REALM}, algorithms: [{algorithms}], users: {}", users.display());
    Configuration { open: false, auth, ..bench.configuration("auto") }
}

fn hash(algorithm: &str, text: &str) -> String {
    let hex = |bytes: &[u8]| bytes.iter().map(|b| format!("{b:02x}")).collect();
    match algorithm {
        "SHA-512-256" => hex(&Sha512_256::digest(text)),
        "SHA-256" => hex(&Sha256::digest(text)),
        "MD5" => hex(&Md5::digest(text)),
        other => panic!("{other} was not offered"),
    }
}

/// The request again, with what answers the first challenge of this algorithm.
fn signed(request: &str, refusal: &Received, algorithm: &str, user: &str) -> String {
    let (asked, answered) = match refusal.text.starts_with("SIP/2.0 401 ") {
        true => ("WWW-Authenticate", "Authorization"),
        false => ("Proxy-Authenticate", "Proxy-Authorization"),
    };
    let wanted = format!("algorithm={algorithm},");
    let challenges = refusal.headers(asked);
    let challenge = challenges.iter().find(|c| c.contains(&wanted)).expect("a challenge of this algorithm");
    let nonce = challenge.split("nonce=\"").nth(1).and_then(|rest| rest.split('"').next()).expect("a nonce");
    let mut line = request.split(' ');
    let (method, uri) = (line.next().unwrap(), line.next().unwrap());
    let ha1 = hash(algorithm, &format!("{user}:{REALM}:{user}-secret"));
    let ha2 = hash(algorithm, &format!("{method}:{uri}"));
    let response = hash(algorithm, &format!("{ha1}:{nonce}:00000001:c0ffee:auth:{ha2}"));
    let header = format!(
        "{answered}: Digest username=\"{user}\",realm=\"{REALM}\",nonce=\"{nonce}\",uri=\"{uri}\",response=\"{response}\",\
         algorithm={algorithm},cnonce=\"c0ffee\",qop=auth,nc=00000001\r\n"
    );
    request.replacen("Max-Forwards", &format!("{header}Max-Forwards"), 1).replacen(
        "branch=z9hG4bK-",
        "branch=z9hG4bK-again-",
        1,
    )
}

/// The ACK for a refused INVITE (RFC 3261 section 17.1.1.3).
fn ack(invite: &str, refusal: &Received) -> String {
    let line = |name: &str| invite.lines().find(|line| line.starts_with(name)).expect("a header");
    let to = refusal.headers("To").concat();
    let lines = [
        &line("INVITE").replace("INVITE", "ACK"),
        line("Via"),
        "Max-Forwards: 70",
        line("From"),
        &format!("To: {to}"),
        line("Call-ID"),
        &line("CSeq").replace("INVITE", "ACK"),
        "Content-Length: 0\r\n\r\n",
    ];
    lines.join("\r\n")
}

fn code(message: &Received) -> &str {
    message.text.split(' ').nth(1).unwrap_or_default()
}

fn phone(bench: &Bench, user: &str, port: u16) -> Phone {
    Phone::new(&bench.lab.peers, user, SocketAddr::from((Lab::PEERS_V4, port)), Lab::node_v4())
}

/// A REGISTER as long as those of phones.
fn register(phone: &mut Phone) -> String {
    let headers = "Allow: INVITE, ACK, CANCEL, BYE, OPTIONS, NOTIFY, REFER, MESSAGE, INFO, SUBSCRIBE, UPDATE, PRACK\r\n\
                   Supported: replaces, timer, 100rel, norefersub, eventlist, histinfo, tdialog, from-change\r\n\
                   User-Agent: a phone with a name of the usual length and a version 1.2.3.4 of 2026-11-22\r\nExpires";
    phone.register().replacen("Expires", headers, 1)
}

#[test]
fn each_algorithm_registers_and_calls() {
    let Some(bench) = Bench::plain() else { return };
    let users = users(&bench, &["alice", "bob"]);
    let _node = bench.start(&closed(&bench, "SHA-512-256, SHA-256, MD5", &users));
    let (mut alice, mut bob) = (phone(&bench, "alice", 5101), phone(&bench, "bob", 5102));
    for (algorithm, user) in [("SHA-512-256", 0), ("SHA-256", 1), ("MD5", 0), ("SHA-256", 0), ("MD5", 1)] {
        let phone = if user == 0 { &mut alice } else { &mut bob };
        let request = register(phone);
        let refusal = phone.ask(&request, 20).expect("an answer");
        assert_eq!(code(&refusal), "401", "{}", refusal.text);
        assert_eq!(refusal.headers("WWW-Authenticate").len(), 3, "{}", refusal.text);
        let again = signed(&request.replace("CSeq: ", "CSeq: 10"), &refusal, algorithm, &phone.user.clone());
        let done = phone.ask(&again, 1).expect("an answer");
        assert_eq!(code(&done), "200", "{algorithm}: {}", done.text);
    }
    for algorithm in ["SHA-512-256", "SHA-256", "MD5"] {
        let request = alice.invite("bob", &"a=x-room-for-three-challenges\r\n".repeat(16));
        let refusal = alice.ask(&request, 20).expect("an answer");
        assert_eq!(code(&refusal), "407", "{}", refusal.text);
        alice.send(&ack(&request, &refusal));
        let again = signed(&request.replace("CSeq: ", "CSeq: 10"), &refusal, algorithm, "alice");
        alice.send(&again);
        let at_bob = bob.receive(PATIENCE).expect("the call");
        assert!(at_bob.text.starts_with("INVITE "), "{}", at_bob.text);
        assert!(at_bob.headers("Proxy-Authorization").is_empty(), "credentials stay here: {}", at_bob.text);
        bob.send(&at_bob.reply("486 Busy Here", bob.address));
        let end = std::iter::from_fn(|| alice.receive(Duration::from_secs(5))).find(|m| code(m) != "100");
        assert_eq!(end.as_ref().map(code), Some("486"), "{algorithm}");
        alice.send(&ack(&again, &end.unwrap()));
        while bob.receive(Duration::from_millis(50)).is_some() {}
    }
}

#[test]
fn the_users_file_is_read_again_on_sighup_and_a_bad_one_is_not_taken() {
    let Some(bench) = Bench::plain() else { return };
    let file = users(&bench, &["alice"]);
    let node = bench.start(&closed(&bench, "SHA-256", &file));
    let knows = |user: &str, port: u16| {
        let mut phone = phone(&bench, user, port);
        let request = register(&mut phone);
        let refusal = phone.ask(&request, 20).expect("an answer");
        let again = signed(&request.replace("CSeq: ", "CSeq: 10"), &refusal, "SHA-256", user);
        code(&phone.ask(&again, 1).expect("an answer")).to_owned()
    };
    assert_eq!((knows("alice", 5103), knows("bob", 5104)), ("200".to_owned(), "401".to_owned()));
    let hangup = || {
        node.signal(Signal::HUP).unwrap();
        std::thread::sleep(Duration::from_millis(500));
    };
    let good = fs::read_to_string(&file).unwrap();
    fs::write(&file, good.replace("sha-256", "sha-257")).unwrap();
    hangup();
    assert_eq!(knows("alice", 5105), "200", "those who were known stay");
    users(&bench, &["bob"]);
    hangup();
    assert_eq!((knows("alice", 5106), knows("bob", 5107)), ("401".to_owned(), "200".to_owned()));
    let log = fs::read_to_string(bench.directory.path().join("node.log")).unwrap();
    assert!(log.contains("sha-257"), "the error names the key: {log}");
}
