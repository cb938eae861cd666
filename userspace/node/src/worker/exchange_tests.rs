//! Workers who hand messages over, without sockets.

use super::*;

fn by_call_id() -> Spread {
    Spread::CallId(SteeringKey::from_bytes(*b"0123456789abcdef"))
}

fn message(call: usize) -> String {
    format!("OPTIONS sip:a@b SIP/2.0\r\nVia: SIP/2.0/UDP h\r\nCall-ID: {call}@here\r\n\r\n")
}

fn nobody() -> SocketAddr {
    SocketAddr::from(([192, 0, 2, 1], 5060))
}

#[test]
fn a_message_has_one_worker_and_all_agree() {
    let mut exchanges = Exchange::between(3, by_call_id()).expect("descriptors");
    exchanges.pop();
    let mut shares = [0; 3];
    for call in 0..3000 {
        let text = message(call);
        let says: Vec<usize> = exchanges
            .iter()
            .map(|exchange| exchange.elsewhere(text.as_bytes()).unwrap_or(exchange.id))
            .collect();
        assert!(says.iter().all(|worker| *worker == says[0]), "{says:?}");
        shares[says[0]] += 1;
    }
    assert!(shares.iter().all(|share| (900..1100).contains(share)), "{shares:?}");
    assert_eq!(exchanges[1].elsewhere(b"no SIP at all"), None);
}

#[test]
fn with_one_worker_or_by_flow_everything_stays() {
    for (workers, spread) in [(1, by_call_id()), (3, Spread::Anyhow)] {
        let exchanges = Exchange::between(workers, spread).expect("descriptors");
        for call in 0..100 {
            assert_eq!(exchanges[0].elsewhere(message(call).as_bytes()), None);
        }
        assert!(!exchanges[0].steers());
    }
}

#[test]
fn messages_arrive_in_order_and_a_worker_that_is_behind_costs_counted_drops() {
    let mut exchanges = Exchange::between(2, by_call_id()).expect("descriptors");
    exchanges.pop();
    let mut two = exchanges.pop().expect("two");
    let mut one = exchanges.pop().expect("two");
    for round in 0..5 {
        let taken = (0..SLOTS + 7)
            .filter(|call| {
                one.hand_over(Destination::Worker(1), nobody(), nobody(), message(*call).as_bytes())
            })
            .count();
        assert_eq!(taken, SLOTS, "round {round}: the rest finds no room");
        assert!(two.next().is_none(), "nobody has rung");
        one.announce();
        for call in 0..SLOTS {
            let slot = two.next().expect("announced");
            assert_eq!(slot.bytes(slot.message.clone()), message(call).as_bytes());
            assert_eq!((slot.local, slot.remote, slot.home), (nobody(), nobody(), 0));
            two.done(slot);
        }
        assert!(two.next().is_none());
    }
    assert!(
        !one.hand_over(Destination::Worker(1), nobody(), nobody(), &[0; LONGEST + 1]),
        "no UDP datagram is longer"
    );
    assert!(!one.hand_over(Destination::Worker(0), nobody(), nobody(), b"to itself"));
    assert!(!one.hand_over(Destination::Worker(9), nobody(), nobody(), b"to nobody"));
    one.collect();
    assert_eq!(one.stock.len(), SLOTS, "no slot is lost");
}

#[test]
fn threads_hand_each_other_messages() {
    const EACH: usize = 20_000;
    let mut exchanges = Exchange::between(3, by_call_id()).expect("descriptors");
    exchanges.pop();
    let totals: Vec<(usize, usize, usize)> = std::thread::scope(|scope| {
        let workers: Vec<_> = exchanges
            .into_iter()
            .map(|mut exchange| {
                scope.spawn(move || {
                    let (mut given, mut dropped, mut taken) = (0, 0, 0);
                    let mut idle_since = std::time::Instant::now();
                    let mut call = 0;
                    while call < EACH || idle_since.elapsed() < std::time::Duration::from_millis(200) {
                        for _ in 0..32.min(EACH - call) {
                            call += 1;
                            let text = message(call);
                            if let Some(other) = exchange.elsewhere(text.as_bytes()) {
                                match exchange.hand_over(
                                    Destination::Worker(other),
                                    nobody(),
                                    nobody(),
                                    text.as_bytes(),
                                ) {
                                    true => given += 1,
                                    false => dropped += 1,
                                }
                            }
                        }
                        exchange.announce();
                        while let Some(slot) = exchange.next() {
                            let text = slot.bytes(slot.message.clone());
                            assert_eq!(exchange.elsewhere(text), None, "another's message");
                            exchange.done(slot);
                            taken += 1;
                            idle_since = std::time::Instant::now();
                        }
                        if call == EACH {
                            std::thread::yield_now();
                        }
                    }
                    (given, dropped, taken)
                })
            })
            .collect();
        workers.into_iter().map(|worker| worker.join().expect("ends well")).collect()
    });
    let sum = |of: fn(&(usize, usize, usize)) -> usize| totals.iter().map(of).sum::<usize>();
    assert_eq!(sum(|t| t.0), sum(|t| t.2), "every message that was taken arrives once: {totals:?}");
    assert_eq!(sum(|t| t.0) + sum(|t| t.1), 2 * EACH, "each call is another's for two of three: {totals:?}");
}

#[test]
fn what_belongs_to_a_stuck_worker_goes_to_the_stand_in_and_comes_back_with_it() {
    let mut all = Exchange::between(3, by_call_id()).expect("descriptors");
    let mut stand_in = all.pop().expect("behind the workers");
    let [zero, one, two] = all.as_mut_slice() else { panic!("three workers") };
    let of = |worker: usize| {
        let its = |text: &String| stand_in.elsewhere(text.as_bytes()) == Some(worker);
        (0..).map(message).find(its).expect("one of three")
    };
    let [mine, stuck, other] = [of(0), of(1), of(2)];
    let at = |millis: u64| Time::from_nanos(1_000_000_000 + millis * 1_000_000);
    let to = |exchange: &Exchange, now: Time, text: &str| exchange.destination(now, text.as_bytes());

    assert_eq!(to(zero, at(0), &stuck), Some(Destination::Worker(1)), "it has not begun yet");
    for exchange in [&*zero, one, two] {
        exchange.beat(at(0));
    }
    assert_eq!(to(zero, at(100), &stuck), Some(Destination::Worker(1)));
    for exchange in [&*zero, two] {
        exchange.beat(at(50));
    }
    assert_eq!(to(zero, at(101), &stuck), Some(Destination::StandIn));
    assert_eq!(to(zero, at(101), &other), Some(Destination::Worker(2)));
    assert_eq!(to(zero, at(101), &mine), None);
    assert_eq!(to(&stand_in, at(101), &stuck), None, "its own meanwhile");
    assert_eq!(to(&stand_in, at(101), &mine), Some(Destination::Worker(0)));

    for round in 0..3 {
        // From a worker to the stand-in, and from it to a worker; every slot goes home.
        for _ in 0..SLOTS {
            assert!(zero.hand_over(Destination::StandIn, nobody(), nobody(), stuck.as_bytes()), "{round}");
            assert!(
                stand_in.hand_over(Destination::Worker(2), nobody(), nobody(), other.as_bytes()),
                "{round}"
            );
        }
        assert!(!zero.hand_over(Destination::StandIn, nobody(), nobody(), stuck.as_bytes()));
        zero.announce();
        stand_in.announce();
        for _ in 0..SLOTS {
            let slot = stand_in.next().expect("announced");
            assert_eq!((slot.bytes(slot.message.clone()), slot.home), (stuck.as_bytes(), 0));
            stand_in.done(slot);
            let slot = two.next().expect("announced");
            assert_eq!((slot.bytes(slot.message.clone()), slot.home), (other.as_bytes(), 3));
            two.done(slot);
        }
        assert!(stand_in.next().is_none() && two.next().is_none() && zero.next().is_none());
    }
    one.beat(at(150));
    assert_eq!(to(zero, at(200), &stuck), Some(Destination::Worker(1)), "it is back");
}
