//! Who is banned, by whom, and for how long: by guessing passwords, by an operator, never who is allowed. And what attack
//! tools find out (sipvicious, where it is installed).

use std::net::Ipv4Addr;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use strowger_xtask::lab::Lab;
use strowger_xtask::machine::Tool;
use strowger_xtask::node::{Configuration, Node};

use crate::bench::{Bench, PATIENCE, binary, say, until};
use crate::counted::Report;
use crate::credentials::{Algorithm, authorized, users};
use crate::phone::{Phone, Received};

/// Where the attacker is: the phones have another address.
const ATTACKER: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 66);
/// Long enough for an answer that there is to arrive.
const SILENCE: Duration = Duration::from_millis(700);
const SCANNER: Tool = Tool { program: "svwar", package: "sipvicious" };
const PASSWORD: &str = "looking-glass";

fn start(bench: &Bench, algorithm: &str, policing: &str) -> Node {
    let address = format!("{ATTACKER}/24");
    bench.lab.peers.ip(&["address", "add", &address, "dev", Lab::PEERS_INTERFACE]).unwrap();
    let node = bench.start(&Configuration {
        open: false,
        // Extensions as svwar looks for them.
        auth: format!(
            "algorithms: [{algorithm}], users: {}",
            users(bench, &[("1001", PASSWORD, "active"), ("1002", PASSWORD, "suspended")]).display()
        ),
        extra: format!("policing: {{ {policing} }}\n"),
        ..bench.configuration("copy")
    });
    bench.warm_up(Lab::PEERS_V4.into(), Lab::node_v4());
    node
}

fn phone(bench: &Bench, user: &str, address: Ipv4Addr) -> Phone {
    Phone::new(&bench.lab.peers, user, (address, 5090).into(), Lab::node_v4())
}

/// Asks until there is an answer, because a ban needs a moment to hold and to end.
fn answered(phone: &mut Phone) -> Received {
    let until = Instant::now() + PATIENCE;
    loop {
        let request = phone.register();
        phone.send(&request);
        if let Some(answer) = phone.receive(SILENCE) {
            return answer;
        }
        assert!(Instant::now() < until, "no answer");
    }
}

fn silent(phone: &mut Phone) {
    let request = phone.register();
    phone.send(&request);
    let answer = phone.receive(SILENCE);
    assert!(answer.is_none(), "{}", answer.unwrap().text);
}

/// `strowger ban ARGUMENTS`: whether it did it, and what it said.
fn ban(bench: &Bench, arguments: &[&str]) -> (bool, String) {
    let socket = bench.directory.path().join("node.sock");
    let output =
        Command::new(binary()).arg("ban").args(arguments).arg("--socket").arg(socket).output().unwrap();
    let said = if output.status.success() { output.stdout } else { output.stderr };
    (output.status.success(), String::from_utf8(said).unwrap())
}

fn bans(bench: &Bench) -> Vec<(String, String)> {
    let (done, text) = ban(bench, &["list", "--json"]);
    assert!(done, "{text}");
    let listing: Value = serde_json::from_str(&text).unwrap();
    let text = |ban: &Value, key: &str| ban[key].as_str().unwrap().to_owned();
    listing["bans"].as_array().unwrap().iter().map(|b| (text(b, "network"), text(b, "why"))).collect()
}

#[test]
fn who_guesses_is_banned_and_an_operator_has_the_last_word() {
    let Some(bench) = Bench::plain() else { return };
    let node = start(&bench, "SHA-256", "bans: true, guesses: 4, ban_time: 600, allow: [10.77.0.1]");
    let (mut attacker, mut user) = (phone(&bench, "1001", ATTACKER), phone(&bench, "1001", Lab::PEERS_V4));

    let challenge = answered(&mut attacker);
    assert!(challenge.text.starts_with("SIP/2.0 401 "), "{}", challenge.text);
    for _ in 0..4 {
        let request = attacker.register();
        attacker.send(&authorized(&request, &challenge, Algorithm::Sha256, "wrong", 1));
        assert!(attacker.receive(PATIENCE).expect("a 401").text.starts_with("SIP/2.0 401 "));
    }
    let host = format!("{ATTACKER}/32");
    until("who guesses is banned", || bans(&bench) == [(host.clone(), "guessing".to_owned())]);
    silent(&mut attacker);
    let report = Report::of(&node);
    assert!(report.xdp("drop_banned") > 0);
    assert_eq!(report.0["policing"]["bans"], 1);
    assert_eq!(report.0["policing"]["counters"]["banned_guessing"], 1);
    assert!(node.last_words(20).contains("too many wrong passwords"), "{}", node.last_words(20));
    answered(&mut user);

    assert_eq!(ban(&bench, &["remove", &ATTACKER.to_string()]), (true, String::new()));
    answered(&mut attacker);
    assert_eq!(bans(&bench), []);
    assert!(!ban(&bench, &["remove", &ATTACKER.to_string()]).0, "nobody is banned any more");

    // By an operator: an address for some time, a network until it is taken back.
    assert!(ban(&bench, &["add", &ATTACKER.to_string(), "--for", "2s"]).0);
    silent(&mut attacker);
    answered(&mut attacker);
    assert!(ban(&bench, &["add", "10.77.0.64/28"]).0);
    silent(&mut attacker);
    assert_eq!(bans(&bench), [("10.77.0.64/28".to_owned(), "operator".to_owned())]);
    assert!(ban(&bench, &["remove", "10.77.0.64/28"]).0);
    answered(&mut attacker);

    // Who is allowed is never banned, neither alone nor with his network.
    let (done, said) = ban(&bench, &["add", "10.77.0.1"]);
    assert!(!done && said.contains("trusted"), "{said}");
    assert!(ban(&bench, &["add", "10.77.0.0/24", "--for", "1h"]).0);
    answered(&mut user);
    silent(&mut attacker);
    for wrong in ["10.77.0.1/24", "10.77.0", "10.77.0.0/33"] {
        assert!(!ban(&bench, &["add", wrong]).0, "{wrong}");
    }
}

#[test]
fn scanners_find_nobody() {
    let Some(bench) = Bench::patient(&[SCANNER]) else { return };
    let node = start(&bench, "MD5", "bans: true, guesses: 10");
    let run = |program: &str, arguments: &[&str]| {
        let mut command = bench.lab.peers.command("timeout");
        command.args(["120", program]).args(arguments).current_dir(bench.directory.path());
        command.env("HOME", bench.directory.path()).stdin(Stdio::null());
        let output = command.output().unwrap();
        String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
    };
    // A thousand extensions, among them two that are users; by REGISTER, and by the two others that it has. It looks for
    // answers that differ from that to an extension which nobody has, and gives up where there are none.
    for method in ["REGISTER", "OPTIONS", "INVITE"] {
        let before = Report::of(&node).0["totals"]["sip_in_xsk"].as_u64().unwrap();
        let said = run("svwar", &["--force", "-m", method, "-e", "1000-1999", "10.77.0.2"]);
        let asked = Report::of(&node).0["totals"]["sip_in_xsk"].as_u64().unwrap() - before;
        assert!(asked >= 1, "{said}");
        assert!(said.contains("found nothing"), "{said}");
        say(&format!("svwar {method}: nothing found by {asked} requests"));
    }
    // It guesses the password of a user whom it was told of.
    std::fs::write(bench.directory.path().join("words"), "wrong\n".repeat(200)).unwrap();
    let said = run("svcrack", &["-u", "1001", "-d", "words", "10.77.0.2"]);
    assert!(!said.contains(PASSWORD), "{said}");
    say(&format!("svcrack: {}", Report::of(&node).0["policing"]));
}
