//! Routing rules and gateway groups through the engine's face: which way a request goes, and what gateways' answers
//! to OPTIONS do to that.
#![expect(clippy::unwrap_used)]

mod pair;

use std::sync::Arc;
use std::time::Duration;

// Without transactions, so that a request is decided on each time that it comes.
use pair::{ALICE, Out, Pair, Text, request, stateless as config};
use strowger_engine::{
    Config, ConfigError, Engine, Event, Gateway, GatewayHealth, GatewayTarget, Location, Probe, Reason,
    RouteAction, RouteRule, RouteSource,
};

const ONE: &str = "10.77.0.31:5060";
const TWO: &str = "10.77.0.32:5060";

fn gateway(probe: Option<Probe>) -> Gateway {
    let targets = [ONE, TWO].map(|address| address.parse().unwrap());
    Gateway { probe, ..Gateway::new("carrier-a", &targets) }
}

/// Numbers with 00 go to the gateways, without the 00 and with a plus; 0190 is barred.
fn routed(probe: Option<Probe>) -> Config {
    let reject = RouteAction::Reject { code: 403, phrase: "Barred".into() };
    let to_gateway = RouteRule {
        to_prefix: Some("00".into()),
        methods: vec!["INVITE".into()],
        strip: 2,
        prepend: "+".into(),
        action: RouteAction::Gateway("carrier-a".into()),
        ..RouteRule::default()
    };
    Config {
        gateways: vec![gateway(probe)],
        routes: vec![
            RouteRule { to_prefix: Some("0190".into()), action: reject, ..RouteRule::default() },
            to_gateway,
        ],
        ..config()
    }
}

fn call(number: u32) -> Text {
    request("INVITE", "sip:0049301@example.net;user=phone").set("Call-ID", &format!("call-{number}@alice"))
}

/// Where a message went, and what it was.
#[track_caller]
fn sent(out: &Out) -> (String, Text) {
    let Out::Sent { remote, bytes, .. } = out else { panic!("{out:?}") };
    (remote.to_string(), Text::parse(bytes))
}

#[test]
fn a_rule_sends_to_a_gateway_and_changes_the_number() {
    let mut pair = Pair::new(routed(None));
    let (mut one, mut two) = (0, 0);
    for number in 0..200 {
        let (to, text) = sent(&pair.pass(ALICE, &call(number)));
        assert_eq!(
            text.request_uri(),
            format!("sip:+49301@{to};user=phone"),
            "the gateway's address, not ours"
        );
        assert_eq!(text.get("To"), "<sip:0049301@example.net;user=phone>", "To is the caller's");
        match to.as_str() {
            ONE => one += 1,
            TWO => two += 1,
            other => panic!("{other}"),
        }
        let again = sent(&pair.pass(ALICE, &call(number)));
        assert_eq!(again.0, to, "a retransmission meets the same target");
    }
    assert!(one > 60 && two > 60, "{one} and {two}");
}

#[test]
fn ack_and_cancel_follow_their_invite() {
    let mut pair = Pair::new(routed(None));
    let invite = call(1);
    let (to, forwarded) = sent(&pair.pass(ALICE, &invite));
    assert_eq!(pair.pass(ALICE, &invite.cancel()).to(&to).request_uri(), forwarded.request_uri());
    let refusal = forwarded.response(486, "Busy Here", "g");
    let refusal = pair.pass(&to, &refusal).to(ALICE);
    assert_eq!(pair.pass(ALICE, &invite.ack(&refusal)).to(&to).request_uri(), forwarded.request_uri());
}

#[test]
fn a_rule_refuses_with_its_own_words() {
    let mut pair = Pair::new(routed(None));
    for number in ["0190123", "0-190", "%30190"] {
        let answer = pair.pass(ALICE, &request("INVITE", &format!("sip:{number}@example.net"))).to(ALICE);
        assert_eq!((answer.code(), answer.reason()), (403, "Barred"), "{number}");
    }
    assert_eq!(pair.count(Event::RouteRejected), 3);
}

#[test]
fn without_a_rule_users_are_looked_up_and_nothing_is_relayed() {
    let mut pair = Pair::new(routed(None));
    pair.register("bob", "<sip:bob@10.77.0.12:5070>");
    assert_eq!(pair.pass(ALICE, &request("INVITE", "sip:bob@example.net")).to(pair::BOB).method(), "INVITE");
    assert_eq!(pair.pass(ALICE, &request("INVITE", "sip:carol@example.net")).to(ALICE).code(), 404);
    assert_eq!(pair.pass(ALICE, &request("INVITE", "sip:bob@192.0.2.1")).to(ALICE).code(), 403);
    assert_eq!(
        pair.pass(ALICE, &request("MESSAGE", "sip:0049@example.net")).to(ALICE).code(),
        404,
        "INVITE only"
    );
}

#[test]
fn a_rule_may_rename_a_user_of_ours() {
    let rule = RouteRule {
        to_prefix: Some("boss".into()),
        rewrite_user: Some("bob".into()),
        action: RouteAction::Location,
        ..RouteRule::default()
    };
    let mut pair = Pair::new(Config { routes: vec![rule], ..config() });
    pair.register("bob", "<sip:bob@10.77.0.12:5070>");
    assert_eq!(pair.pass(ALICE, &request("INVITE", "sip:boss@example.net")).to(pair::BOB).method(), "INVITE");
}

#[test]
fn a_rule_may_name_another_host() {
    let rule = RouteRule {
        domain: Some("partner.example".into()),
        rewrite_host: Some("192.0.2.9:5090".into()),
        ..RouteRule::default()
    };
    let mut pair = Pair::new(Config { routes: vec![rule.clone()], ..config() });
    let call = request("INVITE", "sip:x@partner.example");
    assert_eq!(pair.pass(ALICE, &call).to("192.0.2.9:5090").request_uri(), "sip:x@192.0.2.9:5090");
    // Where one has to say who one is, a rule alone opens no door.
    let mut closed = Pair::new(Config { routes: vec![rule], auth_required: true, ..config() });
    let Out::Sent { bytes, .. } = closed.pass(ALICE, &call) else { panic!("no answer") };
    assert!(matches!(Text::parse(&bytes).code(), 403 | 407));
}

#[test]
fn what_comes_from_a_gateway_is_known_by_its_address() {
    let from_gateway = RouteRule {
        sources: vec![RouteSource::Gateway("carrier-a".into())],
        action: RouteAction::Reject { code: 480, phrase: String::new() },
        ..RouteRule::default()
    };
    let mut pair = Pair::new(Config { routes: vec![from_gateway], ..routed(None) });
    let call = request("INVITE", "sip:carol@example.net");
    assert_eq!(pair.pass("10.77.0.31:40000", &call).to("10.77.0.31:5060").code(), 480);
    assert_eq!(pair.pass(ALICE, &call).to(ALICE).code(), 404);
}

const PROBE: Probe =
    Probe { interval: Duration::from_secs(10), timeout: Duration::from_secs(4), down_after: 2, up_after: 2 };

/// Runs the node's timer for so many seconds; gateways in `alive` answer their probes.
fn run(pair: &mut Pair, seconds: u64, alive: &[&str]) -> usize {
    let until = pair.now.after(Duration::from_secs(seconds));
    let mut probes = 0;
    while let Some(due) = pair.engine.timeout().filter(|due| *due <= until) {
        pair.now = pair.now.max(due);
        pair.engine.on_timeout(pair.now);
        for out in pair.drain() {
            let (to, probe) = sent(&out);
            assert_eq!(probe.method(), "OPTIONS");
            probes += 1;
            if alive.contains(&to.as_str()) {
                assert_eq!(pair.pass(&to, &probe.response(200, "OK", "gateway")), Out::Taken);
            }
        }
    }
    pair.now = until;
    probes
}

#[test]
fn probes_take_a_dead_target_out_and_bring_it_back() {
    let mut pair = Pair::new(routed(Some(PROBE)));
    let used = |pair: &mut Pair| {
        let mut used: Vec<_> = (0..50).map(|number| sent(&pair.pass(ALICE, &call(number))).0).collect();
        used.sort_unstable();
        used.dedup();
        used
    };
    run(&mut pair, 30, &[ONE, TWO]);
    assert_eq!(used(&mut pair), [ONE, TWO]);
    run(&mut pair, 30, &[TWO]);
    assert_eq!(used(&mut pair), [TWO], "two probes were lost");
    run(&mut pair, 30, &[]);
    let answer = pair.pass(ALICE, &call(1)).to(ALICE);
    assert_eq!((answer.code(), answer.reason()), (500, "No Gateway Available"));
    assert_eq!(pair.count(Event::GatewaysDown), 1);
    run(&mut pair, 30, &[ONE, TWO]);
    assert_eq!(used(&mut pair), [ONE, TWO], "two answers brought them back");
    assert!(pair.count(Event::ProbeSent) >= 24);
}

#[test]
fn a_probe_is_answered_once_and_only_by_who_has_seen_it() {
    let mut pair = Pair::new(routed(Some(PROBE)));
    pair.now = pair.now.max(pair.engine.timeout().unwrap());
    pair.engine.on_timeout(pair.now);
    let (to, probe) = sent(&pair.drain()[0]);
    let answer = probe.response(200, "OK", "gateway");
    assert_eq!(pair.pass(&to, &answer), Out::Taken);
    assert_eq!(pair.pass(&to, &answer), Out::Taken, "sent twice");
    let via = answer.get("Via").to_owned();
    let digit = if via.contains("z9hG4bKp0") { "z9hG4bKp1" } else { "z9hG4bKp0" };
    let forged = answer.set("Via", &(via.replace(&via[via.find("z9hG4bKp").unwrap()..][..9], digit)));
    assert_eq!(pair.pass(&to, &forged), Out::Dropped(Reason::ResponseForged));
}

#[test]
fn workers_share_what_they_learn_and_the_work_of_asking() {
    let config = Arc::new(routed(Some(PROBE)));
    let health = Arc::new(GatewayHealth::new(&config).unwrap());
    let mut pairs: Vec<_> = (0..2)
        .map(|worker| {
            let mut pair = Pair::new((*config).clone());
            pair.engine.share_gateways(Arc::clone(&health), worker, 2).unwrap();
            pair
        })
        .collect();
    // The first worker asks the first target, which is dead; the second hears of it.
    assert!(run(&mut pairs[0], 30, &[]) > 0);
    assert!((0..50).all(|number| sent(&pairs[1].pass(ALICE, &call(number))).0 == TWO));
    let reports = health.reports();
    assert_eq!((reports[0].up, reports[1].up), (false, true));
    assert_eq!((reports[0].probes_lost, reports[1].probes_lost), (3, 0), "nobody asked the second");
    let other = GatewayHealth::new(&pair::config()).unwrap();
    assert_eq!(pairs[0].engine.share_gateways(Arc::new(other), 0, 2), Err(ConfigError::Health));
}

#[test]
fn what_cannot_work_is_refused_at_the_start() {
    let start = |config: Config| {
        let location = Arc::new(Location::new(&pair::config()).unwrap());
        Engine::new(Arc::new(config), location).err().map(|error| error.to_string())
    };
    let mut unknown = routed(None);
    unknown.gateways.clear();
    assert_eq!(start(unknown).unwrap(), "routes[1].gateway: `carrier-a` is not one of `gateways`");
    let mut heavy = routed(None);
    heavy.gateways[0].targets.push(GatewayTarget {
        address: pair::US.parse().unwrap(),
        weight: 1,
        priority: 1,
    });
    assert_eq!(start(heavy).unwrap(), "gateways.carrier-a.targets: 10.77.0.2:5060 is this node");
}
