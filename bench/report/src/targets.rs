//! What the project set itself, held against a session.

use strowger_load::record::Latency;

use crate::figures::{added, binding, cost, echoed, highest, latency};
use crate::number::three;
use crate::session::{COPY, FLOOR, KAMAILIO, OFF, Session};
use crate::spread::Spread;

/// Our node with busy polling, where that was measured.
pub const BUSY: &str = "busy";
/// Messages that go into a proxy for a call: INVITE, 180, 200, ACK, BYE, 200.
pub const CALL_IN: f64 = 6.0;
/// And out of it: the six that are sent on, and its own 100.
pub const CALL_OUT: f64 = 7.0;

/// One target.
#[derive(Clone, Debug, PartialEq)]
pub struct Target {
    /// What, in words.
    pub what: String,
    /// The limit, in words: `at least 3 ×`.
    pub limit: String,
    /// The figures that were held against it, in words; none when it was not measured.
    pub figures: Option<String>,
    /// Whether it holds; none when it was not measured.
    pub met: Option<bool>,
}

/// Every target, in the order of importance.
#[must_use]
pub fn of(session: &Session) -> Vec<Target> {
    let mut targets = Vec::new();
    let rate = |peer, scenario| highest(session, peer, scenario);
    targets.push(ratio(
        "call: highest lossless rate, by Kamailio's",
        rate(COPY, "call"),
        rate(KAMAILIO, "call"),
        "/s",
        Limit::AtLeast(3.0),
    ));
    let per_call = CALL_IN + CALL_OUT;
    targets.push(ratio(
        "call: packets at the highest rate, by the reflector's (both directions)",
        rate(COPY, "call").map(|spread| times(spread, per_call)),
        echoed(session).map(|spread| times(spread, 2.0)),
        "/s",
        Limit::AtLeast(0.6),
    ));
    // Who asks must not be what is measured.
    let alone = rate(FLOOR, "call");
    for (whose, peer) in [("Kamailio's", KAMAILIO), ("ours", COPY)] {
        let what = format!("call: highest rate of the generator without a proxy, by {whose}");
        targets.push(ratio(&what, alone, rate(peer, "call"), "/s", Limit::AtLeast(5.0)));
    }
    for at in [4000.0, 8000.0] {
        let machine = |peer| added(session, peer, "call", at);
        let words = |than: &str| format!("call at {at:.0}/s: machine less floor, by {than}");
        targets.push(ratio(&words("Kamailio's"), machine(COPY), machine(KAMAILIO), "µs", Limit::AtMost(0.2)));
        targets.push(ratio(
            &words("our kernel-socket mode's"),
            machine(COPY),
            machine(OFF),
            "µs",
            Limit::AtMost(0.5),
        ));
        targets.push(plain(
            &format!("call at {at:.0}/s: own processor time"),
            cost(session, COPY, "call", at, |cost| cost.own),
            "µs",
            13.0,
        ));
    }
    targets.push(ratio(
        "REGISTER with digest: highest lossless rate, by Kamailio's",
        rate(COPY, "register-digest"),
        rate(KAMAILIO, "register-digest"),
        "/s",
        Limit::AtLeast(3.0),
    ));
    for (peer, how, part) in [(COPY, "adaptive polling", 0.5), (BUSY, "busy polling", 0.25)] {
        for leg in ["INVITE→100", "INVITE in→out"] {
            for (name, pick) in [("p50", p50 as fn(&Latency) -> u64), ("p99", p99)] {
                targets.push(ratio(
                    &format!("call at 200/s: {leg} {name} with {how}, by Kamailio's"),
                    latency(session, peer, "call", leg, pick),
                    latency(session, KAMAILIO, "call", leg, pick),
                    "µs",
                    Limit::AtMost(part),
                ));
            }
        }
    }
    targets.push(plain("memory of a binding", binding(session, COPY), "B", 256.0));
    targets
}

/// Those that do not hold. In a full session what was not measured does not hold either.
#[must_use]
pub fn missed(session: &Session, targets: &[Target]) -> usize {
    let full = session.kind == "full";
    targets.iter().filter(|target| target.met == Some(false) || full && target.met.is_none()).count()
}

/// The last line of a run: `targets: 5 met, 1 missed, 2 not measured`.
#[must_use]
pub fn summary(targets: &[Target]) -> String {
    let count = |met| targets.iter().filter(|target| target.met == met).count();
    let (met, missed, not) = (count(Some(true)), count(Some(false)), count(None));
    let not = if not == 0 { String::new() } else { format!(", {not} not measured") };
    format!("targets: {met} met, {missed} missed{not}")
}

/// Whether a session is of a load without a proxy only: nothing to hold targets against.
#[must_use]
pub fn apply(session: &Session) -> bool {
    session.peers.iter().any(|peer| peer.key != FLOOR)
}

fn p50(latency: &Latency) -> u64 {
    latency.p50_ns
}

fn p99(latency: &Latency) -> u64 {
    latency.p99_ns
}

#[derive(Clone, Copy)]
enum Limit {
    AtLeast(f64),
    AtMost(f64),
}

fn times(spread: Spread, factor: f64) -> Spread {
    Spread {
        median: spread.median * factor,
        low: spread.low * factor,
        high: spread.high * factor,
        count: spread.count,
    }
}

fn ratio(what: &str, ours: Option<Spread>, theirs: Option<Spread>, unit: &str, limit: Limit) -> Target {
    let limit_words = match limit {
        Limit::AtLeast(factor) => format!("at least {} ×", three(factor)),
        Limit::AtMost(factor) => format!("at most {} ×", three(factor)),
    };
    let measured = ours.zip(theirs).filter(|(_, theirs)| theirs.median > 0.0);
    let measured = measured.map(|(ours, theirs)| (ours.median, theirs.median, ours.median / theirs.median));
    Target {
        what: what.to_owned(),
        limit: limit_words,
        figures: measured.map(|(ours, theirs, by)| {
            let by = if by < 1.0 { format!("{by:.3}") } else { three(by) };
            format!("{by} × ({} and {} {unit})", three(ours), three(theirs))
        }),
        met: measured.map(|(_, _, by)| match limit {
            Limit::AtLeast(factor) => by >= factor,
            Limit::AtMost(factor) => by <= factor,
        }),
    }
}

fn plain(what: &str, ours: Option<Spread>, unit: &str, most: f64) -> Target {
    Target {
        what: what.to_owned(),
        limit: format!("at most {} {unit}", three(most)),
        figures: ours.map(|ours| format!("{} {unit}", three(ours.median))),
        met: ours.map(|ours| ours.median <= most),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::figures::tests::session;

    fn find<'a>(targets: &'a [Target], what: &str) -> &'a Target {
        targets.iter().find(|target| target.what.starts_with(what)).expect(what)
    }

    #[test]
    fn met_missed_and_not_measured() {
        let session = session();
        let targets = of(&session);
        // 30,001 by 9,001; 30 µs of 200; 30 of 80; 12 of at most 13; 50 by 120; 200 octets.
        for (what, met) in [
            ("call: highest", Some(true)),
            ("call: packets", None),
            ("call: highest rate of the generator without a proxy, by Kamailio", None),
            ("call at 4000/s: machine less floor, by Kamailio", Some(true)),
            ("call at 4000/s: machine less floor, by our", Some(true)),
            ("call at 8000/s: own", Some(true)),
            ("REGISTER", None),
            ("call at 200/s: INVITE→100 p50 with adaptive", Some(true)),
            ("call at 200/s: INVITE→100 p50 with busy", None),
            ("memory", Some(true)),
        ] {
            assert_eq!(find(&targets, what).met, met, "{what}");
        }
        assert_eq!(find(&targets, "call: highest").figures.as_deref(), Some("3.33 × (30,001 and 9,001 /s)"));
        assert_eq!(missed(&session, &targets), 8, "a full session has to measure everything");
        let quick = Session { kind: "quick".to_owned(), ..session.clone() };
        assert_eq!(missed(&quick, &of(&quick)), 0);
        assert_eq!(
            summary(&targets),
            format!("targets: {} met, 0 missed, 8 not measured", targets.len() - 8)
        );
    }

    #[test]
    fn a_slower_node_misses() {
        let mut session = session();
        for search in &mut session.searches {
            search.highest = search.highest.map(|rate| rate.min(20_000.0));
        }
        for sample in session.samples.iter_mut().filter(|sample| sample.peer == COPY) {
            for watched in &mut sample.run.watched {
                watched.user_ns *= 2;
            }
        }
        let targets = of(&session);
        assert_eq!(find(&targets, "call: highest").met, Some(false));
        assert_eq!(find(&targets, "call at 4000/s: own").met, Some(false));
        assert!(missed(&session, &targets) > 2);
    }
}
