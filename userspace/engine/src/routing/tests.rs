//! What rules match and what they do, through [`Routing::decide`].

use super::*;
use core::net::SocketAddr;

fn gateways() -> Vec<Gateway> {
    let address = |text: &str| text.parse::<SocketAddr>().unwrap();
    vec![
        Gateway::new("carrier-a", &[address("10.77.0.9:5060"), address("10.77.0.10:5080")]),
        Gateway::new("carrier-b", &[address("[2001:db8::9]:5060")]),
    ]
}

fn compiled(rules: &[RouteRule]) -> Result<Routing, ConfigError> {
    Routing::new(rules, &gateways())
}

/// A request in one line: `METHOD URI FROM TO SOURCE`.
fn decide(rules: &[RouteRule], request: &str) -> (Decision, String) {
    let routing = compiled(rules).unwrap();
    let parts: Vec<_> = request.split(' ').collect();
    let [method, uri, from, to, source] = parts[..] else { panic!("{request}") };
    let parse = |text: &'static str| Uri::parse(text.as_bytes()).unwrap();
    // Tests live long enough.
    let leak = |text: &str| -> &'static str { text.to_owned().leak() };
    let facts = RouteFacts {
        method: Method::from_bytes(leak(method).as_bytes()).unwrap(),
        source: source.parse().unwrap(),
        from: Some(parse(leak(from))),
        to: Some(parse(leak(to))),
        uri: parse(leak(uri)),
    };
    let mut out = UriText::new();
    let decision = routing.decide(&facts, &mut out);
    (decision, String::from_utf8(out.as_bytes().to_vec()).unwrap())
}

const CALL: &str = "INVITE sip:0049301@example.net sip:alice@example.net sip:bob@example.org 10.77.0.1";

fn rule(change: impl FnOnce(&mut RouteRule)) -> RouteRule {
    let mut rule = RouteRule { action: RouteAction::Gateway("carrier-b".into()), ..RouteRule::default() };
    change(&mut rule);
    rule
}

#[test]
fn without_a_rule_the_uri_decides() {
    let none = Decision { action: Action::Uri, stateless: false, rewritten: false, rule: None };
    assert_eq!(decide(&[], CALL), (none, String::new()));
    assert_eq!(decide(&[rule(|r| r.to_prefix = Some("1".into()))], CALL), (none, String::new()));
}

#[test]
fn each_match_alone() {
    let some = |text: &str| Some(text.to_owned());
    let prefix = |text: &str| vec![RouteSource::Prefix(text.parse().unwrap())];
    let cases: &[(&str, RouteRule, bool)] = &[
        ("everything", rule(|_| ()), true),
        ("method", rule(|r| r.methods = vec!["MESSAGE".into(), "INVITE".into()]), true),
        ("other method", rule(|r| r.methods = vec!["MESSAGE".into()]), false),
        ("called", rule(|r| r.to_prefix = some("00")), true),
        ("called whole", rule(|r| r.to_prefix = some("0049301")), true),
        ("called longer", rule(|r| r.to_prefix = some("00493011")), false),
        ("caller", rule(|r| r.from_prefix = some("ali")), true),
        ("caller's case", rule(|r| r.from_prefix = some("Ali")), false),
        ("To", rule(|r| r.to_header_prefix = some("bob")), true),
        ("not To", rule(|r| r.to_header_prefix = some("00")), false),
        ("domain", rule(|r| r.domain = some("EXAMPLE.net.")), true),
        ("other domain", rule(|r| r.domain = some("example.org")), false),
        ("caller's domain", rule(|r| r.from_domain = some("example.net")), true),
        ("not the caller's", rule(|r| r.from_domain = some("example.org")), false),
        ("To domain", rule(|r| r.to_header_domain = some("example.org")), true),
        ("not To domain", rule(|r| r.to_header_domain = some("10.0.0.1")), false),
        ("source", rule(|r| r.sources = prefix("10.77.0.0/24")), true),
        ("other source", rule(|r| r.sources = prefix("10.78.0.0/24")), false),
        ("regex", rule(|r| r.regex = some(r"^0049[0-9]+@example\.net$")), true),
        ("other regex", rule(|r| r.regex = some("^49")), false),
        (
            "all but one",
            rule(|r| {
                r.to_prefix = some("00");
                r.domain = some("example.net");
                r.from_prefix = some("bob");
            }),
            false,
        ),
    ];
    for (name, rule, expected) in cases {
        let (decision, _) = decide(std::slice::from_ref(rule), CALL);
        assert_eq!(decision.action == Action::Gateway(1), *expected, "{name}");
        assert_eq!(decision.rule, expected.then_some(0), "{name}");
    }
}

#[test]
fn sources_may_be_gateways_whatever_the_port() {
    let rules = [rule(|r| r.sources = vec![RouteSource::Gateway("carrier-a".into())])];
    for (source, expected) in [("10.77.0.10", true), ("::ffff:10.77.0.9", true), ("10.77.0.11", false)] {
        let request = CALL.replace("10.77.0.1", source);
        assert_eq!(decide(&rules, &request).0.rule.is_some(), expected, "{source}");
    }
}

#[test]
fn the_first_match_wins() {
    let reject = |code| RouteAction::Reject { code, phrase: String::new() };
    let rules = [
        rule(|r| (r.to_prefix, r.action) = (Some("0190".into()), reject(403))),
        rule(|r| (r.to_prefix, r.action) = (Some("00".into()), RouteAction::Gateway("carrier-a".into()))),
        rule(|r| r.action = RouteAction::Location),
    ];
    let of = |number: &str| decide(&rules, &CALL.replace("0049301", number)).0;
    assert!(matches!(of("019012").action, Action::Reject(r) if r.code == 403 && r.phrase() == "Forbidden"));
    assert_eq!((of("0049").action, of("0049").rule), (Action::Gateway(0), Some(1)));
    assert_eq!((of("alice").action, of("alice").rule), (Action::Location, Some(2)));
}

#[test]
fn a_barred_number_cannot_be_spelled_past_its_rule() {
    let reject = RouteAction::Reject { code: 403, phrase: "Barred".into() };
    let rules = [rule(|r| (r.to_prefix, r.action) = (Some("0190".into()), reject))];
    for spelled in
        ["0190123", "0-190-123", "%30190123", "0%2D190", "(0190)1", "01.90;phone-context=x", "0190:pass"]
    {
        let action = decide(&rules, &CALL.replace("0049301", spelled)).0.action;
        assert!(
            matches!(action, Action::Reject(r) if r.code == 403 && r.phrase() == "Barred"),
            "{spelled}: {action:?}"
        );
    }
    let long = decide(&rules, &CALL.replace("0049301", &"0".repeat(256))).0.action;
    assert!(matches!(long, Action::Reject(r) if r.code == 414), "too long to be looked at: {long:?}");
}

#[test]
fn the_number_is_changed_on_the_way() {
    let rules = [rule(|r| {
        (r.to_prefix, r.strip, r.prepend) = (Some("00".into()), 2, "+".into());
        r.rewrite_host = Some("sbc.example:5080".into());
        r.stateless = true;
    })];
    let (decision, uri) = decide(&rules, CALL);
    assert!(decision.rewritten && decision.stateless);
    assert_eq!(uri, "sip:+49301@sbc.example:5080");
    let (decision, _) = decide(&[rule(|r| r.strip = 7)], CALL);
    assert!(matches!(decision.action, Action::Reject(r) if r.code == 484), "nothing is left: {decision:?}");
}

#[test]
fn wrong_rules_name_number_and_key() {
    let good = rule(|_| ());
    let wrong = |key: &str, change: &dyn Fn(&mut RouteRule)| {
        let rules = [good.clone(), rule(|r| change(r))];
        let error = compiled(&rules).err().unwrap_or_else(|| panic!("{key} was taken")).to_string();
        assert!(error.starts_with(&format!("routes[1].{key}: ")), "{error}");
    };
    wrong("method", &|r| r.methods = vec!["invite".into()]);
    wrong("method", &|r| r.methods = vec!["IN VITE".into()]);
    wrong("source", &|r| r.sources = vec![RouteSource::Gateway("carrier-c".into())]);
    wrong("from_prefix", &|r| r.from_prefix = Some(String::new()));
    wrong("to_prefix", &|r| r.to_prefix = Some("1".repeat(65)));
    wrong("to_prefix", &|r| r.to_prefix = Some("0-190".into()));
    wrong("domain", &|r| r.domain = Some("a b".into()));
    wrong("from_domain", &|r| r.from_domain = Some("a..b".into()));
    wrong("regex", &|r| r.regex = Some("(".into()));
    wrong("strip", &|r| r.strip = 256);
    wrong("prepend", &|r| r.prepend = "1".repeat(65));
    wrong("rewrite.user", &|r| r.rewrite_user = Some(String::new()));
    for bad in ["", "a b", "user@host", "host;lr", "host?a=b", "host:0"] {
        wrong("rewrite.host", &|r| r.rewrite_host = Some(bad.into()));
    }
    wrong("gateway", &|r| r.action = RouteAction::Gateway("carrier-c".into()));
    for code in [99, 200, 700] {
        wrong("reject", &|r| r.action = RouteAction::Reject { code, phrase: String::new() });
    }
    wrong("reject", &|r| r.action = RouteAction::Reject { code: 404, phrase: "a\r\nb".into() });
    wrong("reject", &|r| {
        r.action = RouteAction::Reject { code: 404, phrase: String::new() };
        r.strip = 1;
    });
    assert_eq!(compiled(&vec![good; 1025]).err(), Some(ConfigError::TooManyRoutes));
}

#[test]
fn deciding_allocates_nothing() {
    let rules: Vec<_> = (0..100)
        .map(|n| rule(|r| r.regex = Some(format!("^00{n}[0-9]{{2,9}}@example\\.net$"))))
        .chain([rule(|r| {
            (r.to_prefix, r.from_prefix, r.strip) = (Some("00".into()), Some("ali".into()), 2);
        })])
        .collect();
    let routing = compiled(&rules).unwrap();
    let uri = |text: &'static str| Uri::parse(text.as_bytes()).unwrap();
    let facts = RouteFacts {
        method: Method::Invite,
        source: "10.77.0.1".parse().unwrap(),
        from: Some(uri("sip:alice@example.net")),
        to: Some(uri("sip:0@example.net")),
        uri: uri("sip:00X49301@example.net;user=phone"),
    };
    let mut out = UriText::new();
    let counted = allocation_counter::measure(|| {
        for _ in 0..100 {
            assert_eq!(routing.decide(&facts, &mut out).rule, Some(100));
        }
    });
    assert_eq!((counted.count_total, out.as_bytes()), (0, &b"sip:X49301@example.net;user=phone"[..]));
}
