//! The figures that people compare, from the samples of a session: each is one value a round, kept with its range.

use std::collections::BTreeMap;

use crate::session::{FLOOR, Purpose, Quantity, Sample, Search, Session};
use crate::spread::Spread;

/// Which way is better.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Better {
    /// Less.
    Lower,
    /// More.
    Higher,
}

/// One figure of one peer.
#[derive(Clone, Debug, PartialEq)]
pub struct Figure {
    /// What is measured, under what load: the same words in every session.
    pub what: String,
    /// Whose.
    pub peer: String,
    /// Unit, as `µs`.
    pub unit: &'static str,
    /// Which way is better.
    pub better: Better,
    /// The rounds.
    pub spread: Spread,
}

/// Processor time of one run, for each call (or registration, or message) begun in its window; microseconds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Cost {
    /// The whole machine: everything that was busy, generator included.
    pub machine: f64,
    /// The generator's own process.
    pub generator: f64,
    /// The peer's processes, user and system time.
    pub own: f64,
    /// Software interrupts of the whole machine.
    pub softirq: f64,
}

impl Cost {
    /// Of a sample; none when nothing was begun.
    #[must_use]
    pub fn of(sample: &Sample) -> Option<Self> {
        let run = &sample.run;
        if run.counts.begun == 0 {
            return None;
        }
        let each = |ns: u64| ns as f64 / 1e3 / run.counts.begun as f64;
        let own: u64 = run.watched.iter().map(|watched| watched.user_ns + watched.system_ns).sum();
        Some(Self {
            machine: each(run.cpu.busy_ns),
            generator: each(run.cpu.own_ns),
            own: each(own),
            softirq: each(run.cpu.softirq_ns),
        })
    }
}

/// Something of [`Cost`] over the rounds at one rate.
#[must_use]
pub fn cost(
    session: &Session,
    peer: &str,
    scenario: &str,
    rate: f64,
    pick: impl Fn(&Cost) -> f64,
) -> Option<Spread> {
    let samples = session.samples_of(peer, scenario, Purpose::Cost, Some(rate));
    Spread::of(
        samples.filter(|sample| sample.run.lossless).filter_map(|sample| Some(pick(&Cost::of(sample)?))),
    )
}

/// Processor time of the machine for a call, less what the same load takes without a proxy. In each round the floor of
/// the same round is taken off, so that the machine's drift goes with it.
#[must_use]
pub fn added(session: &Session, peer: &str, scenario: &str, rate: f64) -> Option<Spread> {
    let floor: BTreeMap<u32, f64> = session
        .samples_of(FLOOR, scenario, Purpose::Cost, Some(rate))
        .filter_map(|sample| Some((sample.round, Cost::of(sample)?.machine)))
        .collect();
    let median = Spread::of(floor.values().copied())?.median;
    Spread::of(
        session
            .samples_of(peer, scenario, Purpose::Cost, Some(rate))
            .filter(|sample| sample.run.lossless)
            .filter_map(|sample| {
                let floor = floor.get(&sample.round).copied().unwrap_or(median);
                Some(Cost::of(sample)?.machine - floor)
            }),
    )
}

/// A percentile of a leg over the rounds, microseconds.
#[must_use]
pub fn latency(
    session: &Session,
    peer: &str,
    scenario: &str,
    leg: &str,
    pick: impl Fn(&strowger_load::record::Latency) -> u64,
) -> Option<Spread> {
    Spread::of(session.samples_of(peer, scenario, Purpose::Latency, None).filter_map(|sample| {
        let leg = sample.run.legs.iter().find(|found| found.name == leg)?;
        (leg.intended.count > 0).then(|| pick(&leg.intended) as f64 / 1e3)
    }))
}

/// The searches of a peer; of one whose workers were swept, those with its best number, or all where that number was not
/// tried.
pub fn searches<'a>(
    session: &'a Session,
    peer: &'a str,
    scenario: &'a str,
) -> impl Iterator<Item = &'a Search> {
    let best = session.peer(peer).and_then(|peer| peer.workers);
    let theirs =
        session.searches.iter().filter(move |search| search.peer == peer && search.scenario == scenario);
    let with_best = move |search: &&Search| search.workers.is_none() || search.workers == best;
    let tried = theirs.clone().any(|search| with_best(&search));
    theirs.filter(move |search| !tried || with_best(search))
}

/// The highest rates without loss over the rounds.
#[must_use]
pub fn highest(session: &Session, peer: &str, scenario: &str) -> Option<Spread> {
    Spread::of(searches(session, peer, scenario).filter_map(|search| search.highest))
}

/// Octets a binding.
#[must_use]
pub fn binding(session: &Session, peer: &str) -> Option<Spread> {
    Spread::of(
        session
            .memory
            .iter()
            .filter(|memory| memory.peer == peer && memory.bindings > 0)
            .map(|memory| (memory.after_bytes as f64 - memory.before_bytes as f64) / memory.bindings as f64),
    )
}

/// What the reflector moved: datagrams there and back a second, the best window's.
#[must_use]
pub fn echoed(session: &Session) -> Option<Spread> {
    let mut windows: BTreeMap<u32, Vec<f64>> = BTreeMap::new();
    for echo in session.echoes.iter().filter(|echo| echo.lost == 0 && echo.window > 1) {
        windows.entry(echo.window).or_default().push(echo.per_second);
    }
    windows.into_values().filter_map(Spread::of).max_by(|a, b| a.median.total_cmp(&b.median))
}

/// The legs that a scenario measured for latency, in the order of the samples.
#[must_use]
pub fn legs(session: &Session, scenario: &str) -> Vec<String> {
    let mut legs: Vec<String> = Vec::new();
    let samples = session.samples.iter();
    for sample in samples.filter(|sample| sample.scenario == scenario && sample.purpose == Purpose::Latency) {
        for leg in sample.run.legs.iter().filter(|leg| leg.intended.count > 0) {
            if !legs.contains(&leg.name) {
                legs.push(leg.name.clone());
            }
        }
    }
    legs
}

/// Every figure of a session.
#[must_use]
pub fn all(session: &Session) -> Vec<Figure> {
    let mut figures = Vec::new();
    let mut add = |what: String, peer: &str, unit, better, spread: Option<Spread>| {
        if let Some(spread) = spread {
            figures.push(Figure { what, peer: peer.to_owned(), unit, better, spread });
        }
    };
    for peer in &session.peers {
        let key = peer.key.as_str();
        for scenario in session.scenarios.keys() {
            let found = highest(session, key, scenario);
            add(format!("{scenario}: highest lossless rate"), key, "/s", Better::Higher, found);
            for rate in session.rates(scenario, Purpose::Cost) {
                let at = format!("{scenario} at {rate:.0}/s");
                let own = cost(session, key, scenario, rate, |cost| cost.own);
                let machine = added(session, key, scenario, rate);
                if key != FLOOR {
                    add(format!("{at}: own processor time"), key, "µs", Better::Lower, own);
                    add(format!("{at}: machine less floor"), key, "µs", Better::Lower, machine);
                }
            }
            for leg in legs(session, scenario) {
                let p50 = latency(session, key, scenario, &leg, |latency| latency.p50_ns);
                let p99 = latency(session, key, scenario, &leg, |latency| latency.p99_ns);
                add(format!("{scenario}: {leg}, p50"), key, "µs", Better::Lower, p50);
                add(format!("{scenario}: {leg}, p99"), key, "µs", Better::Lower, p99);
            }
        }
        add("memory of a binding".to_owned(), key, "B", Better::Lower, binding(session, key));
    }
    add("reflected datagrams".to_owned(), "reflector", "/s", Better::Higher, echoed(session));
    for point in &session.scale {
        let size = match point.quantity {
            Quantity::Bindings => format!("{} bindings", point.size),
            Quantity::Dialogs => format!("{} dialogs", point.size),
        };
        let cost = Spread::of(point.cost_ns.map(|ns| ns / 1e3));
        add(format!("cost at {size}"), &point.source, "µs", Better::Lower, cost);
    }
    figures
}

#[cfg(test)]
pub(crate) mod tests {
    use strowger_load::record::{Counts, Cpu, Latency, Leg, Run, Watched};

    use super::*;
    use crate::session::{COPY, KAMAILIO, Memory, Peer};

    /// A sample of 1,000 calls that took the machine and the peer so many microseconds each.
    pub(crate) fn sample(
        peer: &str,
        purpose: Purpose,
        round: u32,
        rate: f64,
        machine: f64,
        own: f64,
    ) -> Sample {
        let ns = |us: f64| (us * 1e6) as u64;
        let latency =
            Latency { count: 1000, p50_ns: ns(own) / 1000, p99_ns: 2 * ns(own) / 1000, ..Latency::default() };
        let legs = ["INVITE→100", "INVITE in→out"].map(|name| Leg {
            name: name.to_owned(),
            intended: latency.clone(),
            actual: Latency::default(),
        });
        Sample {
            peer: peer.to_owned(),
            scenario: "call".to_owned(),
            purpose,
            round,
            rate,
            run: Run {
                counts: Counts { begun: 1000, succeeded: 1000, ..Counts::default() },
                cpu: Cpu { busy_ns: ns(machine), own_ns: ns(10.0), ..Cpu::default() },
                watched: vec![Watched { user_ns: ns(own), ..Watched::default() }],
                legs: legs.to_vec(),
                lossless: true,
                ..Run::default()
            },
            ..Sample::default()
        }
    }

    /// Kamailio and our copy mode with a floor of 50 µs, three rounds.
    pub(crate) fn session() -> Session {
        let mut session = Session { schema: 1, kind: "full".to_owned(), ..Session::default() };
        session.scenarios.insert("call".to_owned(), "a call".to_owned());
        session.scenarios.insert("register-digest".to_owned(), "a registration".to_owned());
        for (key, title) in [(FLOOR, "no proxy"), (KAMAILIO, "Kamailio"), ("off", "off"), (COPY, "copy")] {
            let workers = (key == KAMAILIO).then_some(2);
            session.peers.push(Peer {
                key: key.to_owned(),
                title: title.to_owned(),
                workers,
                ..Peer::default()
            });
        }
        for round in 0..3 {
            let drift = f64::from(round);
            for rate in [4000.0, 8000.0] {
                for (peer, machine, own) in
                    [(FLOOR, 50.0, 0.0), (KAMAILIO, 250.0, 100.0), ("off", 130.0, 40.0), (COPY, 80.0, 12.0)]
                {
                    session.samples.push(sample(peer, Purpose::Cost, round, rate, machine + drift, own));
                }
            }
            for (peer, own) in [(KAMAILIO, 120.0), (COPY, 50.0)] {
                session.samples.push(sample(peer, Purpose::Latency, round, 200.0, 900.0, own));
            }
            for (peer, rate) in [(KAMAILIO, 9000.0), (COPY, 30_000.0)] {
                session.searches.push(Search {
                    peer: peer.to_owned(),
                    workers: (peer == KAMAILIO).then_some(2),
                    scenario: "call".to_owned(),
                    round,
                    highest: Some(rate + drift),
                    broke_at: Some(rate * 1.1),
                    ..Search::default()
                });
            }
        }
        session.searches.push(Search {
            peer: KAMAILIO.to_owned(),
            workers: Some(4),
            scenario: "call".to_owned(),
            highest: Some(5000.0),
            ..Search::default()
        });
        session.memory.push(Memory {
            peer: COPY.to_owned(),
            bindings: 1000,
            before_bytes: 1_000_000,
            after_bytes: 1_200_000,
            settled_s: 40,
        });
        session
    }

    #[test]
    fn the_floor_of_the_round_is_taken_off() {
        let session = session();
        let added = added(&session, COPY, "call", 4000.0).unwrap();
        assert!((added.median - 30.0).abs() < 0.01 && (added.high - added.low) < 0.01, "{added:?}");
        assert_eq!(cost(&session, COPY, "call", 8000.0, |cost| cost.own).unwrap().median, 12.0);
    }

    #[test]
    fn a_lossy_run_has_no_cost() {
        let mut session = session();
        for sample in &mut session.samples {
            sample.run.lossless = sample.rate < 5000.0;
        }
        assert_eq!(added(&session, KAMAILIO, "call", 8000.0), None);
        assert!(added(&session, KAMAILIO, "call", 4000.0).is_some());
    }

    #[test]
    fn where_the_best_number_of_workers_was_not_tried_others_count() {
        let mut session = session();
        session.searches.push(Search {
            peer: KAMAILIO.to_owned(),
            workers: Some(4),
            scenario: "register-digest".to_owned(),
            highest: Some(33_000.0),
            ..Search::default()
        });
        assert_eq!(highest(&session, KAMAILIO, "register-digest").unwrap().median, 33_000.0);
    }

    #[test]
    fn the_best_number_of_workers_counts() {
        let highest = highest(&session(), KAMAILIO, "call").unwrap();
        assert_eq!((highest.low, highest.median, highest.count), (9000.0, 9001.0, 3), "{highest:?}");
    }

    #[test]
    fn what_a_session_says() {
        let session = session();
        let figures = all(&session);
        let find = |what: &str, peer: &str| {
            figures.iter().find(|f| f.what == what && f.peer == peer).map(|f| f.spread.median)
        };
        assert_eq!(find("call: INVITE→100, p50", COPY), Some(50.0));
        assert_eq!(find("memory of a binding", COPY), Some(200.0));
        assert_eq!(find("call at 4000/s: own processor time", FLOOR), None);
        assert_eq!(legs(&session, "call"), ["INVITE→100", "INVITE in→out"]);
    }
}
