//! What one table hands over is what the next one has; anything else is refused and breaks nothing.

use core::net::{IpAddr, SocketAddr};
use core::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::config::limit;

const SECRET: [u8; 32] = [5; 32];

fn config(listen: &[&str], domains: &[&str], max_bindings: usize) -> Config {
    Config {
        listen: listen.iter().map(|a| a.parse().unwrap()).collect(),
        domains: domains.iter().map(ToString::to_string).collect(),
        max_bindings,
        secret: SECRET,
        ..Config::default()
    }
}

/// The node that goes and the one that comes, whose lists are in another order.
fn pair() -> (Location, Location, Lineage) {
    let first = config(&["10.0.0.2:5060", "[2001:db8::2]:5060"], &["example.net", "example.org"], 1000);
    let second =
        config(&["[2001:db8::2]:5060", "10.0.0.2:5060"], &["new.net", "example.org", "example.net"], 1000);
    let (goes, comes) = (Location::new(&first).unwrap(), Location::new(&second).unwrap());
    let lineage = Lineage::new(&comes, &second, &first.listen, goes.domains());
    (goes, comes, lineage)
}

fn seconds(n: u64) -> Time {
    Time::START.after(Duration::from_secs(n))
}

fn blocks(location: &Location, since: Time, now: Time) -> Vec<Vec<u8>> {
    let mut blocks = Vec::new();
    location.hand_over(since, now, |block| blocks.push(block.to_vec()));
    blocks
}

fn register(location: &Location, (domain, user): (u16, &str), update: &Update<'_>, now: Time) {
    let aor = location.aor(domain, user.as_bytes());
    let _ = location.update(aor, (domain, user.as_bytes()), update, now, &mut |_| {});
}

/// All that can be asked of a user, in words; addresses and domains by name.
fn known(location: &Location, domain: &str, user: &str, listen: &[&str], now: Time) -> Vec<String> {
    let Some(index) = location.domains.iter().position(|d| d == domain) else { return Vec::new() };
    let aor = location.aor(index as u16, user.as_bytes());
    let mut lines = Vec::new();
    location.list(aor, now, &mut |l| {
        lines.push(format!(
            "{:?} {} {} {:?} {} {}",
            String::from_utf8_lossy(l.uri),
            l.expires,
            l.q,
            l.instance,
            l.reg_id,
            l.call_id
        ));
    });
    location.find(aor, now, |found| match found {
        Found::Unknown => lines.push("unknown".into()),
        Found::Offline => lines.push("offline".into()),
        Found::Unreachable => lines.push("unreachable".into()),
        Found::Targets(targets) => lines.extend(targets.map(|t| {
            let flow = t.flow.map(|f| (listen[usize::from(f.listen)], f.remote));
            format!("to {:?} {} {:?} {flow:?}", String::from_utf8_lossy(t.uri), t.q, t.path)
        })),
    });
    lines
}

fn update<'a>(contacts: &'a [Contact<'a>], path: Path<'a>, call_id: u64, cseq: u32) -> Update<'a> {
    Update { call_id, cseq, change: Change::Each(contacts), path, room: 60_000, gruus: 0 }
}

#[derive(Clone, Debug)]
struct Step {
    user: u8,
    domain: u16,
    host: u8,
    expires: u32,
    q: u16,
    reg_id: u32,
    routes: String,
    flow: Option<(IpAddr, u16, u8)>,
    reachable: bool,
    after: u64,
}

fn step() -> impl Strategy<Value = Step> {
    let contact = (0u8..6, 0u32..200, 0u16..=1000, 0u32..3, any::<bool>());
    let way = ("(<sip:[a-z]{1,9};lr>)?", proptest::option::of((any::<IpAddr>(), any::<u16>(), 0u8..2)));
    ((0u8..5, 0u16..2, 0u64..60), contact, way).prop_map(
        |((user, domain, after), (host, expires, q, reg_id, reachable), (routes, flow))| Step {
            user,
            domain,
            host,
            expires,
            q,
            reg_id,
            routes,
            flow,
            reachable,
            after,
        },
    )
}

fn play(location: &Location, steps: &[Step], mut now: Time) -> Time {
    for (n, step) in steps.iter().enumerate() {
        now = now.after(Duration::from_secs(step.after));
        let uri = format!("sip:u@192.0.2.{};x?h=1", step.host);
        let instance = format!("<urn:uuid:{}>", step.host);
        let contact = Contact {
            uri: uri.as_bytes(),
            target: uri.len() - 4,
            expires: step.expires,
            q: step.q,
            reachable: step.reachable,
            instance: if step.reg_id > 0 { instance.as_bytes() } else { b"" },
            reg_id: step.reg_id,
        };
        let flow =
            step.flow.map(|(ip, port, listen)| BoundFlow { listen, remote: SocketAddr::new(ip, port) });
        let path = Path { routes: step.routes.as_bytes(), flow };
        let user = format!("user{}", step.user);
        register(location, (step.domain, &user), &update(&[contact], path, n as u64, n as u32), now);
    }
    now
}

const GOES: [&str; 2] = ["v4", "v6"];
const COMES: [&str; 2] = ["v6", "v4"];

/// `forgotten`: whether it matters that a user without contacts is still known. When timers come to him is nobody's promise.
fn assert_same(goes: &Location, comes: &Location, now: Time, forgotten: bool) {
    for domain in ["example.net", "example.org"] {
        for user in 0..5 {
            let user = format!("user{user}");
            let [one, other] = [(goes, GOES), (comes, COMES)].map(|(table, listen)| {
                let mut lines = known(table, domain, &user, &listen, now);
                lines.retain(|line| forgotten || !["unknown", "offline"].contains(&line.as_str()));
                lines
            });
            assert_eq!(one, other, "{user}@{domain}");
        }
    }
}

/// What timers do at `now`, whenever that is.
fn collect(table: &Location, now: Time) {
    for domain in 0..table.domains.len() as u16 {
        for user in 0..5 {
            table.expire(table.aor(domain, format!("user{user}").as_bytes()), now);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// The oracle is the first table itself. What changes after the copy comes by the second pass.
    #[test]
    fn the_next_node_knows_what_this_one_knew(
        before in proptest::collection::vec(step(), 0..30),
        after in proptest::collection::vec(step(), 0..10),
    ) {
        let (goes, comes, lineage) = pair();
        let mut expiry = Expiry::new();
        let mut inherit = |block: &[u8], now| {
            let (aor, due, _) = comes.inherit(now, block, &lineage, &mut |_, _| {}).unwrap();
            if let Some(due) = due {
                expiry.add(aor, due);
            }
        };
        let copied = play(&goes, &before, seconds(1000));
        for block in blocks(&goes, Time::START, copied) {
            inherit(&block, copied);
        }
        assert_same(&goes, &comes, copied, true);
        let now = play(&goes, &after, copied);
        for block in blocks(&goes, copied, now) {
            inherit(&block, now);
        }
        assert_same(&goes, &comes, now, true);
        prop_assert_eq!(expiry.len().0, comes.aors());
        collect(&goes, now);
        collect(&comes, now);
        prop_assert_eq!((goes.bindings(), goes.registered()), (comes.bindings(), comes.registered()));
        // What runs out does so for both at once. Who has nothing any more is forgotten when a timer comes to it, which may be
        // later with the second: it looks at a user when the first record that it was given is due.
        for later in [30, 100, 200] {
            let later = now.after(Duration::from_secs(later));
            expiry.run(&comes, later);
            assert_same(&goes, &comes, later, false);
        }
        for n in 1..5 {
            expiry.run(&comes, now.after(Duration::from_secs(n * (limit::KNOWN + 200))));
        }
        prop_assert_eq!((comes.aors(), comes.bindings(), expiry.len().0), (0, 0, 0), "nothing is left for ever");
    }

    /// No block makes it panic, and what it takes of a broken one keeps the limits.
    #[test]
    fn a_broken_block_is_refused(
        steps in proptest::collection::vec(step(), 1..10),
        at: prop::sample::Index,
        with: u8,
        cut: prop::sample::Index,
    ) {
        let (goes, comes, lineage) = pair();
        let now = play(&goes, &steps, seconds(1000));
        for mut block in blocks(&goes, Time::START, now) {
            let short = &block[..cut.index(block.len())];
            let refused = comes.inherit(now, short, &lineage, &mut |_, _| {});
            prop_assert_eq!(refused, Err(NotInherited::Malformed));
            let at = at.index(block.len());
            block[at] = with;
            if let Ok((_, _, count)) = comes.inherit(now, &block, &lineage, &mut |_, _| {}) {
                prop_assert!(count <= limit::CONTACTS);
            }
        }
    }
}

#[test]
fn only_what_changed_since_is_written_again_and_nothing_that_has_run_out() {
    let (goes, ..) = pair();
    let contact = |expires| Contact {
        uri: b"sip:u@192.0.2.1",
        target: 15,
        expires,
        q: 1000,
        reachable: true,
        ..Contact::NONE
    };
    register(&goes, (0, "early"), &update(&[contact(10)], Path::default(), 1, 1), seconds(100));
    register(&goes, (0, "late"), &update(&[contact(10)], Path::default(), 2, 1), seconds(105));
    assert_eq!(blocks(&goes, Time::START, seconds(106)).len(), 2);
    assert_eq!(blocks(&goes, seconds(105), seconds(106)).len(), 1);
    assert_eq!(blocks(&goes, seconds(106), seconds(106)).len(), 0);
    // Both bindings have run out, and the users are known for a while.
    let gone = blocks(&goes, Time::START, seconds(200));
    assert_eq!(gone.iter().map(|block| block[12]).collect::<Vec<_>>(), [0, 0], "no binding");
    for user in ["early", "late"] {
        goes.expire(goes.aor(0, user.as_bytes()), seconds(200));
    }
    assert_eq!(blocks(&goes, Time::START, seconds(199 + limit::KNOWN)).len(), 2);
    assert_eq!(blocks(&goes, Time::START, seconds(200 + limit::KNOWN)).len(), 0, "and then no more");
}

#[test]
fn who_is_of_another_domain_or_one_too_many_is_refused() {
    let (goes, comes, lineage) = pair();
    let one =
        [Contact { uri: b"sip:u@192.0.2.1", target: 15, expires: 60, reachable: true, ..Contact::NONE }];
    register(&goes, (0, "alice"), &update(&one, Path::default(), 1, 1), seconds(1));
    let [block] = blocks(&goes, Time::START, seconds(1)).try_into().unwrap();
    let other = config(&["10.0.0.2:5060"], &["new.net"], 1000);
    let stranger = Lineage::new(&Location::new(&other).unwrap(), &other, &[], goes.domains());
    assert_eq!(comes.inherit(seconds(1), &block, &stranger, &mut |_, _| {}), Err(NotInherited::Domain));
    let small = config(&["10.0.0.2:5060"], &["example.net"], 1);
    let full = Location::new(&small).unwrap();
    register(&full, (0, "bob"), &update(&one, Path::default(), 1, 1), seconds(1));
    let lineage_of_full = Lineage::new(&full, &small, &small.listen, goes.domains());
    assert_eq!(full.inherit(seconds(1), &block, &lineage_of_full, &mut |_, _| {}), Err(NotInherited::Full));
    assert_eq!((full.bindings(), full.aors()), (1, 1));
    assert!(comes.inherit(seconds(1), &block, &lineage, &mut |_, _| {}).is_ok());
}

#[test]
fn it_is_told_where_phones_send_from() {
    let (goes, comes, lineage) = pair();
    let one =
        [Contact { uri: b"sip:u@192.0.2.1", target: 15, expires: 60, reachable: true, ..Contact::NONE }];
    let flow = Some(BoundFlow { listen: 0, remote: "198.51.100.7:5060".parse().unwrap() });
    for (user, path) in [
        ("plain", Path::default()),
        ("nat", Path { routes: b"", flow }),
        ("behind", Path { routes: b"<sip:p.net;lr>", flow: None }),
    ] {
        register(&goes, (1, user), &update(&one, path, 1, 1), seconds(1));
    }
    let mut seen = Vec::new();
    for block in blocks(&goes, Time::START, seconds(1)) {
        let told = &mut |address: IpAddr, until| seen.push((address.to_string(), until));
        comes.inherit(seconds(1), &block, &lineage, told).unwrap();
    }
    seen.sort();
    assert_eq!(seen, [("192.0.2.1".to_owned(), seconds(61)), ("198.51.100.7".to_owned(), seconds(61))]);
}

#[test]
fn the_seal_is_of_the_secret_alone() {
    let (goes, comes, _) = pair();
    assert_eq!(goes.seal(), comes.seal());
    let other = Config { secret: [6; 32], ..config(&["10.0.0.2:5060"], &["example.net"], 10) };
    assert_ne!(Location::new(&other).unwrap().seal(), goes.seal());
}
