//! The table of names in virtual time.

use super::*;
use proptest::prelude::*;

const NOW: Time = Time::from_nanos(5_000_000_000);

fn resolver() -> Resolver {
    Resolver::new(&Keys::derive(&[3; 32]))
}

fn server(last: u8, priority: u16, weight: u16, record: u8) -> Server {
    Server { address: SocketAddr::from(([192, 0, 2, last], 5060)), priority, weight, record }
}

fn found(id: u64, servers: &[Server], seconds: u64) -> Resolution {
    Resolution { id, answer: Answer::Found { servers: servers.to_vec(), ttl: Duration::from_secs(seconds) } }
}

fn addresses(lookup: Lookup) -> Vec<u8> {
    let Lookup::Ready(addresses) = lookup else { panic!("{lookup:?}") };
    addresses
        .iter()
        .map(|address| match address {
            SocketAddr::V4(a) => a.ip().octets()[3],
            SocketAddr::V6(_) => 0,
        })
        .collect()
}

fn after(seconds: u64) -> Time {
    NOW.after(Duration::from_secs(seconds))
}

#[test]
fn one_question_for_a_name() {
    let mut r = resolver();
    for name in [&b"example.com"[..], b"EXAMPLE.com.", b"example.com"] {
        assert_eq!(r.lookup(NOW, 0, name, None, false), Lookup::Waiting);
    }
    let query = r.next_query().unwrap();
    assert_eq!((query.name(), query.port(), query.names_udp()), ("example.com", None, false));
    assert_eq!(r.next_query(), None);
    r.resolved(after(1), &found(query.id(), &[server(1, 0, 0, 0)], 60));
    assert_eq!(addresses(r.lookup(after(60), 0, b"example.com", None, false)), [1]);
    assert_eq!(r.next_query(), None);
    assert_eq!(r.lookup(after(62), 0, b"example.com", None, false), Lookup::Waiting, "it ran out");
    assert!(r.next_query().is_some_and(|again| again.id() != query.id()));
}

#[test]
fn port_and_transport_make_another_question() {
    let mut r = resolver();
    for (port, udp) in [(None, false), (None, true), (Some(5060), false), (Some(5061), false)] {
        assert_eq!(r.lookup(NOW, 0, b"example.com", port, udp), Lookup::Waiting);
        let query = r.next_query().unwrap();
        assert_eq!((query.port(), query.names_udp()), (port, udp));
    }
}

#[test]
fn bad_news_are_kept_for_a_while() {
    let mut r = resolver();
    let mut ask = |at: Time, name: &[u8], answer: Answer| {
        assert_eq!(r.lookup(at, 0, name, None, false), Lookup::Waiting);
        let id = r.next_query().unwrap().id();
        r.resolved(at, &Resolution { id, answer });
        // How long it is not asked again.
        let asked = |r: &mut Resolver, s| {
            r.lookup(at.after(Duration::from_secs(s)), 0, name, None, false) == Lookup::Waiting
        };
        let again = (0..10_000).find(|s| asked(&mut r, *s));
        assert!(again.is_none() || r.next_query().is_some());
        again
    };
    let ttl = Duration::from_secs;
    assert_eq!(ask(NOW, b"a.example", Answer::Nothing { ttl: ttl(20) }), Some(20));
    assert_eq!(ask(NOW, b"b.example", Answer::Nothing { ttl: ttl(9000) }), Some(60));
    assert_eq!(ask(NOW, b"c.example", Answer::Failed), Some(5));
    assert_eq!(ask(NOW, b"d.example", Answer::Found { servers: vec![], ttl: ttl(9) }), Some(5));
    assert_eq!(ask(NOW, b"e.example", Answer::Nothing { ttl: ttl(0) }), Some(1));
}

#[test]
fn an_answer_that_does_not_come_is_a_failure() {
    let mut r = resolver();
    assert_eq!(r.timeout(), None);
    assert_eq!(r.lookup(NOW, 0, b"example.com", None, false), Lookup::Waiting);
    let id = r.next_query().unwrap().id();
    assert_eq!(r.timeout(), Some(after(16)));
    r.on_timeout(after(15));
    r.on_timeout(after(16));
    assert_eq!(r.timeout(), None);
    assert_eq!(r.lookup(after(17), 0, b"example.com", None, false), Lookup::Failed);
    r.resolved(after(18), &found(id, &[server(1, 0, 0, 0)], 60));
    assert_eq!(r.lookup(after(18), 0, b"example.com", None, false), Lookup::Failed, "too late to count");
    r.resolved(after(18), &found(4711, &[server(1, 0, 0, 0)], 60));
    assert_eq!(r.lookup(after(22), 0, b"example.com", None, false), Lookup::Waiting, "asked again");
}

#[test]
fn everything_is_bounded_and_nothing_is_lost() {
    let mut r = resolver();
    let name = |n: usize| format!("h{n}.example").into_bytes();
    let mut waiting = 0;
    for n in 0..100_000 {
        if r.lookup(NOW, 0, &name(n), None, false) == Lookup::Waiting {
            waiting += 1;
        }
    }
    assert!(waiting <= limit::PENDING && waiting > limit::PENDING / 2, "{waiting}");
    assert_eq!(std::iter::from_fn(|| r.next_query()).count(), waiting);
    r.on_timeout(after(100));
    // All places are free again.
    let again = (0..limit::PENDING)
        .filter(|n| r.lookup(after(200), 0, &name(*n), None, false) == Lookup::Waiting)
        .count();
    assert!(again > limit::PENDING / 2, "{again}");
}

#[test]
fn asking_and_answering_allocates_nothing() {
    let mut r = resolver();
    let answer = |id| found(id, &[server(1, 0, 0, 0), server(2, 1, 0, 1)], 1);
    let mut answers: Vec<_> = (0..1000).map(answer).collect();
    let counted = allocation_counter::measure(|| {
        for n in 0..1000u64 {
            let now = after(n * 10);
            assert_eq!(r.lookup(now, n, b"example.com", None, false), Lookup::Waiting);
            answers[n as usize].id = r.next_query().unwrap().id();
            r.resolved(now, &answers[n as usize]);
            assert!(matches!(r.lookup(now, n, b"example.com", None, false), Lookup::Ready(_)));
        }
    });
    assert_eq!(counted.count_total, 0);
}

fn ordered(servers: &[Server], seed: u64) -> Vec<u8> {
    let mut kept = [None; limit::SERVERS];
    for (to, from) in kept.iter_mut().zip(servers) {
        *to = Some(*from);
    }
    addresses(Lookup::Ready(order(&kept, servers.len() as u8, seed)))
}

#[test]
fn weights_share_the_calls() {
    let servers = [server(1, 10, 1, 0), server(2, 10, 3, 1), server(3, 10, 0, 2), server(9, 5, 0, 3)];
    let mut second = [0u32; 4];
    for call in 0..40_000 {
        let order = ordered(&servers, mix(call));
        assert_eq!((order.len(), order[0]), (4, 9), "the lowest priority number is first");
        second[usize::from(order[1])] += 1;
    }
    // Of the lots 0 to 4, 0 is the one without weight's (RFC 2782), 1 the first's, 2 to 4 the second's.
    for (at, share) in [(1, 8_000u32), (2, 24_000), (3, 8_000)] {
        assert!(second[at].abs_diff(share) < 600, "{second:?}");
    }
}

proptest! {
    /// Every address once, priorities in order, addresses of one record side by side, and always the same.
    #[test]
    fn the_order_is_a_permutation_by_priority(
        records in prop::collection::vec((0u16..3, 0u16..4, 1usize..4), 1..6),
        seed: u64,
    ) {
        let mut servers = Vec::new();
        for (record, (priority, weight, count)) in records.into_iter().enumerate() {
            for _ in 0..count {
                let last = servers.len() as u8;
                servers.push(server(last, priority, weight, record as u8));
            }
        }
        servers.truncate(limit::SERVERS);
        let order = ordered(&servers, seed);
        prop_assert_eq!(&order, &ordered(&servers, seed));
        let mut sorted = order.clone();
        sorted.sort_unstable();
        prop_assert_eq!(sorted, (0..servers.len() as u8).collect::<Vec<_>>());
        let of = |last: &u8| servers[usize::from(*last)];
        prop_assert!(order.is_sorted_by_key(|last| of(last).priority));
        let mut records: Vec<_> = order.iter().map(|last| of(last).record).collect();
        let all = records.len();
        records.dedup();
        let runs = records.len();
        records.sort_unstable();
        records.dedup();
        prop_assert_eq!(records.len(), runs, "a record is not torn apart ({} of {})", runs, all);
    }
}
