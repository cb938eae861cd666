//! What the configuration accepts, what it refuses, and that a refusal names the key.

use super::*;

fn parse(text: &str) -> Result<Config, ConfigError> {
    Config::parse(text, Path::new("node.yaml"))
}

fn error(text: &str) -> String {
    parse(text).expect_err("must be refused").to_string()
}

const SMALLEST: &str = "dataplane: { interface: eth9 }\nsip: { listen: [\"10.0.0.1:5060\"] }\n";

#[test]
fn two_keys_are_enough() {
    let config = parse(SMALLEST).expect("valid");
    assert!(config.auth.required && config.sip.record_route);
    assert_eq!(config.dataplane.mode, Mode::Auto);
    assert_eq!(config.dataplane.queues, Queues::All);
    assert_eq!(config.dataplane.polling, Polling::Adaptive);
    assert_eq!(Duration::from(config.dataplane.gather_us), Duration::from_micros(200));
    assert_eq!(config.dataplane.frames.count(), 4096);
    assert_eq!(config.node.socket_path(), Path::new("/run/strowger/strowger.sock"));
    assert_eq!(config.limits.bindings, 1_000_000);
}

#[test]
fn every_key_is_understood() {
    let config = parse(
        r#"
node: { name: lab-1, socket: /tmp/lab.sock }
dataplane:
  interface: veth-node
  netns: strowger-node
  mode: zero-copy
  queues: [0, 2]
  workers: 2
  cpus: [1, 0]
  steering: flow
  polling: busy
sip:
  listen: ["10.77.0.2:5060", "[fd77::2]:5060"]
  domains: ["10.77.0.2", "example.net", "[fd77::2]"]
  record_route: false
auth:
  required: false
  realm: example.net
  algorithms: [SHA-512-256, SHA-256, MD5]
  nonce_lifetime: 300
  allow_without_qop: false
  trusted: ["192.0.2.9", "10.77.0.0/24", "2001:db8::/32"]
  users: /etc/strowger/users.yaml
registrar:
  min_expires: 60
  default_expires: 3600
  max_expires: 7200
  max_contacts: 10
  nat: off
  outbound: false
  flow_timer: 120
  gruu: false
  service_route: ["sip:10.77.0.2;lr"]
gateways:
  carrier-a: { targets: ["10.77.0.9:5060"], probe: options }
  carrier-b:
    targets: ["10.77.0.10:5060", { address: "[fd77::9]:5080", weight: 2, priority: 3 }]
    probe: options
    probe_interval: 20
    probe_timeout: 2
    down_after: 5
    up_after: 1
    failover: [503, 480]
    timeout: 3
    trusted: false
routes:
  - { method: REGISTER, source: ["192.0.2.0/24", carrier-b], reject: 403 }
  - { from_prefix: "9", from_domain: example.net, to_header_prefix: "8", to_header_domain: example.org, reject: "480 Not Now" }
  - { method: [INVITE, MESSAGE], regex: "^[0-9]{3}@", rewrite: { user: desk, host: "10.77.0.20:5070" }, stateless: true }
  - { domain: example.net, to_prefix: "1", location: true }
  - { to_prefix: "00", strip: 2, prepend: "+", gateway: carrier-a }
dns: { servers: ["127.0.0.53:53"], timeout: 2 }
limits: { per_source_pps: 2000, transactions: 200000, dialogs: 200000, bindings: 1000000 }
policing:
  bans: true
  allow: ["10.77.0.0/28"]
  deny: ["203.0.113.0/24", "2001:db8:bad::/48"]
  unknown_pps: 50
  known_pps: 1000
  burst: 100
  strangers_pps: 20000
  junk: drop
  answer_stun: true
  answer_options: ["192.0.2.9", "2001:db8::7"]
  guesses: 10
  ban_time: 300
  max_ban_time: 86400
store: { dir: ./data }
cdr: { dir: ./cdr }
console: { listen: "127.0.0.1:8888" }
log: { level: debug, format: json }
"#,
    )
    .expect("valid");
    assert_eq!(config.dataplane.queues, Queues::List(vec![0, 2]));
    assert_eq!(config.dataplane.workers, Auto::Count(2));
    assert_eq!(config.dataplane.polling, Polling::Busy);
    assert_eq!(config.sip.domains.len(), 3);
    assert_eq!(config.warnings().len(), 1);
    let engine = config.engine([1; secret::LENGTH]);
    assert_eq!(engine.routes.len(), 5);
    assert_eq!(
        engine.routes[1].action,
        strowger_engine::RouteAction::Reject { code: 480, phrase: "Not Now".into() }
    );
    let [a, b] = &engine.gateways[..] else { panic!("{:?}", engine.gateways) };
    assert_eq!(
        (a.name.as_str(), a.probe, a.trusted),
        ("carrier-a", Some(strowger_engine::Probe::default()), true)
    );
    assert_eq!((b.targets[1].weight, b.targets[1].priority, b.timeout.as_secs()), (2, 3, 3));
    assert!(
        b.probe.is_some_and(|p| p.timeout.as_secs() == 2 && p.interval.as_secs() == 20 && p.down_after == 5)
    );
}

#[test]
fn what_is_wrong_with_gateways_and_routes_names_their_key() {
    let off = "dataplane: { mode: off }\nsip: { listen: [\"10.0.0.1:5060\"] }\n";
    for (text, key) in [
        ("gateways: { g: { targets: [] } }", "gateways.g.targets: "),
        ("gateways: { \"g g\": { targets: [\"10.0.0.9:5060\"] } }", "gateways.g g: "),
        (
            "gateways: { g: { targets: [\"10.0.0.1:5060\"] } }",
            "gateways.g.targets: 10.0.0.1:5060 is this node",
        ),
        ("gateways: { g: { targets: [\"gw.example:5060\"] } }", "`ADDRESS:PORT` or `{ address"),
        ("gateways: { g: { targets: [{ addres: \"10.0.0.9:5060\" }] } }", "unknown field `addres`"),
        ("gateways: { g: { targets: [{ address: \"10.0.0.9:5060\", weight: 0 }] } }", "the weight 0 is not"),
        ("gateways: { g: { targets: [\"10.0.0.9:5060\"], failover: [200] } }", "gateways.g.failover: "),
        ("gateways: { g: { targets: [\"10.0.0.9:5060\"], probe: ping } }", "gateways.g.probe"),
        (
            "gateways: { g: { targets: [\"10.0.0.9:5060\"], probe: options, probe_timeout: 60 } }",
            "gateways.g.probe_timeout: ",
        ),
        ("routes: [{ gateway: g }]", "routes[0].gateway: `g` is not one of `gateways`"),
        ("routes: [{ reject: 403 }, { location: true, reject: 403 }]", "routes[1]: only one of"),
        ("routes: [{ reject: maybe }]", "a status code such as 403"),
        ("routes: [{ reject: 200 }]", "routes[0].reject: "),
        ("routes: [{ source: 10.0.0.1/8 }]", "routes[0].source: \"10.0.0.1/8\" has bits behind its length"),
        ("routes: [{ source: [] }]", "a word or a list of words"),
        ("routes: [{ method: invite }]", "routes[0].method: "),
        ("routes: [{ regex: \"(\" }]", "routes[0].regex: "),
        ("routes: [{ rewrite: { host: \"a b\" } }]", "routes[0].rewrite.host: "),
        ("routes: [{ to_perfix: \"00\" }]", "unknown field `to_perfix`"),
        ("dns: { timeout: 0 }", "dns.timeout: 0 is not"),
        ("dns: { servers: [\"127.0.0.1:0\"] }", "dns.servers: "),
        ("dns: { servers: [localhost] }", "dns.servers"),
        ("limits: { per_source_pps: 0 }", "node.yaml: limits.per_source_pps: 0 would let nobody in"),
    ] {
        let message = error(&format!("{off}{text}"));
        assert!(message.contains(key), "`{text}` said: {message}");
    }
}

#[test]
fn unknown_key_is_named_with_its_line() {
    let text = error("sip: { listen: [\"10.0.0.1:5060\"] }\ndataplane:\n  intreface: eth9\n");
    assert!(text.contains("intreface") && text.contains("line 3"), "{text}");
    assert!(text.contains("`interface`"), "says what is accepted: {text}");
    let text = error("sip: { listen: [\"10.0.0.1:5060\"] }\nsipp: {}\n");
    assert!(text.contains("`sipp`") && text.contains("line 2"), "{text}");
}

#[test]
fn wrong_values_name_their_key() {
    for (text, key) in [
        ("sip: { listen: [] }", "dataplane.interface"),
        ("dataplane: { mode: off }\nsip: { listen: [] }", "sip.listen"),
        ("dataplane: { mode: off }\nsip: { listen: [\"0.0.0.0:5060\"] }", "sip.listen"),
        ("dataplane: { mode: off }\nsip: { listen: [\"[::ffff:10.0.0.1]:5060\"] }", "sip.listen"),
        ("dataplane: { mode: off }\nsip: { listen: [\"10.0.0.1:0\"] }", "sip.listen"),
        ("dataplane: { mode: off }\nsip: { listen: [\"10.0.0.1:5060\", \"10.0.0.1:5060\"] }", "sip.listen"),
        ("dataplane: { mode: off }\nsip: { listen: [\"10.0.0.1:1\"], domains: [\"a b\"] }", "sip.domains"),
        ("dataplane: { mode: sideways }\nsip: { listen: [\"10.0.0.1:5060\"] }", "dataplane.mode"),
        ("dataplane: { interface: e, queues: [] }\nsip: { listen: [\"10.0.0.1:1\"] }", "dataplane.queues"),
        (
            "dataplane: { interface: e, queues: [1, 1] }\nsip: { listen: [\"10.0.0.1:1\"] }",
            "dataplane.queues",
        ),
        ("dataplane: { interface: e, queues: [64] }\nsip: { listen: [\"10.0.0.1:1\"] }", "dataplane.queues"),
        ("dataplane: { interface: e, queues: some }\nsip: { listen: [\"10.0.0.1:1\"] }", "dataplane.queues"),
        ("dataplane: { interface: e, gather_us: 1001 }\nsip: { listen: [\"10.0.0.1:1\"] }", "0 to 1000"),
        (
            "dataplane: { interface: e, frames: 5000 }\nsip: { listen: [\"10.0.0.1:1\"] }",
            "a power of two from 4096 to 65536",
        ),
        (
            "dataplane: { interface: e, frames: 131072 }\nsip: { listen: [\"10.0.0.1:1\"] }",
            "from 4096 to 65536",
        ),
        ("dataplane: { interface: e, polling: often }\nsip: { listen: [\"10.0.0.1:1\"] }", "adaptive"),
        ("dataplane: { interface: e, workers: 0 }\nsip: { listen: [\"10.0.0.1:1\"] }", "dataplane.workers"),
        (
            "dataplane: { interface: sixteen-letters1 }\nsip: { listen: [\"10.0.0.1:1\"] }",
            "dataplane.interface",
        ),
        ("node: { name: \"a/b\" }\ndataplane: { mode: off }\nsip: { listen: [\"10.0.0.1:1\"] }", "node.name"),
        (
            "registrar: { min_expires: 9000 }\ndataplane: { mode: off }\nsip: { listen: [\"10.0.0.1:1\"] }",
            "registrar",
        ),
        (
            "limits: { bindings: 0 }\ndataplane: { mode: off }\nsip: { listen: [\"10.0.0.1:1\"] }",
            "limits.bindings",
        ),
        (
            "routes: [{ to_prefix: \"0\", gateway: g }]\ndataplane: { mode: off }\nsip: { listen: [\"10.0.0.1:1\"] }",
            "routes[0].gateway",
        ),
    ] {
        let message = error(text);
        assert!(message.contains(key), "`{text}` said: {message}");
    }
}

#[test]
fn mode_off_needs_no_interface_and_yaml_off_is_the_word() {
    assert_eq!(
        parse("dataplane: { mode: off }\nsip: { listen: [\"127.0.0.1:5060\"] }")
            .map(|c| c.dataplane.mode)
            .ok(),
        Some(Mode::Off)
    );
}

#[test]
fn what_is_wrong_with_policing_names_its_key() {
    for (text, key) in [
        ("unknown_pps: 5", "known_pps"),
        ("known_pps: 5", "unknown_pps"),
        ("unknown_pps: 50, known_pps: 49", "known_pps"),
        ("unknown_pps: 50, known_pps: 5001", "burst"),
        ("burst: 0", "burst"),
        ("strangers_pps: 10", "strangers_pps"),
        ("deny: [203.0.113.0/24]", "deny"),
        ("guesses: 10", "guesses"),
        ("bans: true, guesses: 2", "guesses"),
        ("ban_time: 0", "ban_time"),
        ("ban_time: 100, max_ban_time: 99", "max_ban_time"),
        ("max_ban_time: 2592001", "max_ban_time"),
        ("answer_options: [192.0.2.9]", "answer_options"),
    ] {
        let said = error(&format!("{SMALLEST}policing: {{ {text} }}\n"));
        assert!(said.contains(&format!("policing.{key}: ")), "{text}: {said}");
    }
    assert!(error(&format!("{SMALLEST}policing: {{ ban: true }}\n")).contains("ban"));
    let config = parse(SMALLEST).expect("valid");
    assert!(!config.policing.is_on(), "nothing by itself");
    assert_eq!(config.policing.program(1000), strowger_xdp::Policing::default());
}

/// The program can't ask for credentials: it answers those alone whom the engine would ask for none.
#[test]
fn pings_are_answered_for_trusted_peers_alone() {
    let options = "policing: { answer_options: [192.0.2.9, \"::ffff:10.77.0.1\"] }\n";
    let auth = |more: &str| format!("auth: {{ required: true, users: u{more} }}\n");
    let open = SMALLEST;
    for (text, good) in [
        (format!("{open}auth: {{ required: false }}\n"), true),
        (format!("{open}{}", auth("")), false),
        (format!("{open}{}", auth(", trusted: [192.0.2.9]")), false),
        (format!("{open}{}", auth(", trusted: [192.0.2.0/24, 10.77.0.1]")), true),
        (
            format!(
                "{open}{}gateways: {{ a: {{ targets: [\"10.77.0.1:5060\"] }} }}\n",
                auth(", trusted: [192.0.2.9]")
            ),
            true,
        ),
        (
            format!(
                "{open}{}gateways: {{ a: {{ targets: [\"10.77.0.1:5060\"], trusted: false }} }}\n",
                auth(", trusted: [192.0.2.9]")
            ),
            false,
        ),
    ] {
        assert_eq!(parse(&format!("{text}{options}")).is_ok(), good, "{text}");
    }
    let peers: Vec<_> = (0..33).map(|n| format!("10.0.0.{n}")).collect();
    let many = format!(
        "{open}auth: {{ required: false }}\npolicing: {{ answer_options: [{}] }}\n",
        peers.join(", ")
    );
    assert!(error(&many).contains("policing.answer_options: 33 peers"));
}

#[test]
fn policing_without_a_program_is_warned_of() {
    let off = "dataplane: { mode: off }\nsip: { listen: [\"10.0.0.1:5060\"] }\nauth: { required: true, users: u }\n";
    let warnings = |more: &str| parse(&format!("{off}{more}")).expect("valid").warnings();
    assert_eq!(warnings(""), [""; 0]);
    assert!(warnings("policing: { junk: drop }\n")[0].contains("policing"));
}
