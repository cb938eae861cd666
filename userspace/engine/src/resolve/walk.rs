//! The way from a name to addresses: which records are asked for, and what follows from each answer (RFC 3263
//! section 4, for the one transport this node has).
//!
//! Not on the way of a message: whoever answers [`Query`]s drives a walk, asks a name server what it wants, and gives
//! the end to the engine as a [`Resolution`]. So the decisions are here, where they can be tested without a network,
//! and the packets are where packets belong.

use core::net::{IpAddr, SocketAddr};
use core::time::Duration;

use super::{Answer, Query, Resolution, Server, limit};
use crate::site::DEFAULT_PORT;

/// One NAPTR record (RFC 3403).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Naptr {
    /// Lower is first, and those of another number do not count beside it.
    pub order: u16,
    /// Lower is first among those of one order.
    pub preference: u16,
    /// `s`: the replacement has SRV records.
    pub flags: String,
    /// `SIP+D2U`: SIP over UDP.
    pub service: String,
    /// The name that has the records.
    pub replacement: String,
}

/// One SRV record (RFC 2782).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Srv {
    /// Lower is first.
    pub priority: u16,
    /// Share among those of one priority.
    pub weight: u16,
    /// UDP port.
    pub port: u16,
    /// The host, or `.`: there is decidedly no such service.
    pub target: String,
}

/// What a [`Walk`] wants to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Question {
    /// NAPTR records of a name.
    Naptr(String),
    /// SRV records of a name.
    Srv(String),
    /// A and AAAA records of a name, the wanted ones first.
    Addresses(String),
}

/// What a name server has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Records {
    /// To [`Question::Naptr`].
    Naptr(Vec<Naptr>),
    /// To [`Question::Srv`].
    Srv(Vec<Srv>),
    /// To [`Question::Addresses`].
    Addresses(Vec<IpAddr>),
    /// There are none: no such name, or none of that type.
    Nothing,
    /// Nobody knows: no answer, or one that the server could not give.
    Failed,
}

/// What is next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Ask this, and give the answer to [`Walk::answer`].
    Ask(Question),
    /// The walk is over.
    Done(Resolution),
}

/// An SRV record whose host is being looked up.
#[derive(Clone, Debug)]
struct Host {
    name: String,
    port: u16,
    priority: u16,
    weight: u16,
}

/// One walk from a name to addresses. At most [`limit::QUESTIONS`] questions, whatever the answers are.
#[derive(Clone, Debug)]
pub struct Walk {
    id: u64,
    name: String,
    next: Option<Question>,
    /// Hosts to look up, the first of which is being asked for.
    hosts: Vec<Host>,
    servers: Vec<Server>,
    /// The shortest of all answers.
    ttl: Duration,
    /// An answer that nobody could give: what is found beside it does not hold for long.
    failed: bool,
    asked: usize,
}

impl Walk {
    /// The walk for a query.
    #[must_use]
    pub fn new(query: &Query) -> Self {
        let name = query.name().to_owned();
        let mut walk = Self {
            id: query.id(),
            next: None,
            hosts: Vec::new(),
            servers: Vec::new(),
            ttl: limit::LONGEST,
            failed: false,
            asked: 0,
            name,
        };
        match query.port() {
            // A port ends the search for services (section 4.2).
            Some(port) => walk.only_host(port),
            // So does a transport the search for transports (section 4.1).
            None if query.names_udp() => walk.next = Some(walk.own_service()),
            None => walk.next = Some(Question::Naptr(walk.name.clone())),
        }
        walk
    }

    /// What is next. Until the answer to a question is given, the same question again.
    #[must_use]
    pub fn step(&self) -> Step {
        match &self.next {
            Some(question) => Step::Ask(question.clone()),
            None => Step::Done(Resolution { id: self.id, answer: self.end() }),
        }
    }

    /// The answer to the question asked, and how long it holds.
    pub fn answer(&mut self, records: Records, ttl: Duration) {
        let Some(question) = self.next.take() else { return };
        self.asked += 1;
        self.failed |= records == Records::Failed;
        if !matches!(records, Records::Failed) {
            self.ttl = self.ttl.min(ttl);
        }
        match (question, records) {
            (Question::Naptr(_), Records::Naptr(found)) => self.next = Some(self.service(found)),
            // Without NAPTR records the service of the one transport we have is asked for (section 4.1).
            (Question::Naptr(_), _) => self.next = Some(self.own_service()),
            (Question::Srv(_), Records::Srv(found)) if !found.is_empty() => self.service_hosts(found),
            // Without SRV records the name itself is the host (section 4.2).
            (Question::Srv(_), _) => self.only_host(DEFAULT_PORT),
            (Question::Addresses(_), records) => {
                let host = self.hosts.remove(0);
                if let Records::Addresses(found) = records {
                    self.found(&host, &found);
                }
                self.next_host();
            }
        }
        if self.asked >= limit::QUESTIONS {
            self.next = None;
        }
    }

    fn own_service(&self) -> Question {
        Question::Srv(format!("_sip._udp.{}", self.name))
    }

    /// The service that NAPTR records name for UDP. With none of ours among them it is as if there were none at all: a
    /// domain has to have its SRV records whatever its NAPTR records say (section 4.1).
    fn service(&self, found: Vec<Naptr>) -> Question {
        found
            .into_iter()
            .filter(|naptr| {
                naptr.flags.eq_ignore_ascii_case("s") && naptr.service.eq_ignore_ascii_case("SIP+D2U")
            })
            .min_by_key(|naptr| (naptr.order, naptr.preference))
            .map_or_else(|| self.own_service(), |naptr| Question::Srv(naptr.replacement))
    }

    fn service_hosts(&mut self, mut found: Vec<Srv>) {
        // The most wanted, when there are more than are kept.
        found.sort_by_key(|srv| srv.priority);
        found.retain(|srv| srv.target != "." && !srv.target.is_empty() && srv.port != 0);
        found.truncate(limit::SERVERS);
        let host =
            |srv: Srv| Host { name: srv.target, port: srv.port, priority: srv.priority, weight: srv.weight };
        self.hosts = found.into_iter().map(host).collect();
        self.next_host();
    }

    fn only_host(&mut self, port: u16) {
        self.hosts = vec![Host { name: self.name.clone(), port, priority: 0, weight: 0 }];
        self.next_host();
    }

    fn next_host(&mut self) {
        self.next = self.hosts.first().map(|host| Question::Addresses(host.name.clone()));
    }

    fn found(&mut self, host: &Host, addresses: &[IpAddr]) {
        let record = self.servers.last().map_or(0, |server| server.record + 1);
        for address in addresses {
            if self.servers.len() < limit::SERVERS {
                let address = SocketAddr::new(*address, host.port);
                let Host { priority, weight, .. } = *host;
                self.servers.push(Server { address, priority, weight, record });
            }
        }
    }

    fn end(&self) -> Answer {
        let (servers, failed) = (self.servers.clone(), self.failed);
        match (servers.is_empty(), failed) {
            (false, false) => Answer::Found { servers, ttl: self.ttl },
            (false, true) => Answer::Found { servers, ttl: self.ttl.min(limit::FAILED) },
            (true, false) => Answer::Nothing { ttl: self.ttl },
            (true, true) => Answer::Failed,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TTL: Duration = Duration::from_secs(300);

    fn srv(priority: u16, weight: u16, port: u16, target: &str) -> Srv {
        Srv { priority, weight, port, target: target.into() }
    }

    fn naptr(order: u16, preference: u16, flags: &str, service: &str, replacement: &str) -> Naptr {
        let [flags, service, replacement] = [flags, service, replacement].map(str::to_owned);
        Naptr { order, preference, flags, service, replacement }
    }

    fn addresses(texts: &[&str]) -> Records {
        Records::Addresses(texts.iter().map(|text| text.parse().unwrap()).collect())
    }

    /// Walks with a name server that has these records; the questions asked and the end.
    fn walk(query: Query, zone: &[(Question, Records)]) -> (Vec<Question>, Answer) {
        let (mut walk, mut asked) = (Walk::new(&query), Vec::new());
        loop {
            match walk.step() {
                Step::Done(resolution) => {
                    assert_eq!(resolution.id, query.id());
                    return (asked, resolution.answer);
                }
                Step::Ask(question) => {
                    let known = zone.iter().find(|(q, _)| *q == question);
                    walk.answer(known.map_or(Records::Nothing, |(_, records)| records.clone()), TTL);
                    asked.push(question);
                    assert!(asked.len() <= limit::QUESTIONS);
                }
            }
        }
    }

    fn name(text: &str) -> String {
        text.to_owned()
    }

    /// Addresses with priority, weight and record.
    fn found(answer: &Answer) -> Vec<(String, u16, u16, u8)> {
        let Answer::Found { servers, .. } = answer else { panic!("{answer:?}") };
        servers.iter().map(|s| (s.address.to_string(), s.priority, s.weight, s.record)).collect()
    }

    #[test]
    fn naptr_then_srv_then_addresses() {
        // The example of section 4.1, whose NAPTR records prefer what this node cannot do.
        let zone = [
            (
                Question::Naptr(name("example.com")),
                Records::Naptr(vec![
                    naptr(50, 50, "s", "SIPS+D2T", "_sips._tcp.example.com."),
                    naptr(90, 50, "s", "SIP+D2T", "_sip._tcp.example.com."),
                    naptr(100, 60, "s", "SIP+D2U", "wrong.example.com."),
                    naptr(100, 50, "S", "sip+d2u", "_sip._udp.other.example."),
                    naptr(10, 10, "a", "SIP+D2U", "wrong.example.com."),
                ]),
            ),
            (
                Question::Srv(name("_sip._udp.other.example.")),
                Records::Srv(vec![
                    srv(1, 1, 5070, "server2.example.com."),
                    srv(0, 2, 5060, "server1.example.com."),
                ]),
            ),
            (Question::Addresses(name("server1.example.com.")), addresses(&["2001:db8::1", "192.0.2.1"])),
            (Question::Addresses(name("server2.example.com.")), addresses(&["192.0.2.2"])),
        ];
        let (asked, answer) = walk(Query::new(7, "example.com", None, false), &zone);
        assert_eq!(asked, zone.each_ref().map(|(question, _)| question.clone()));
        assert_eq!(
            found(&answer),
            [
                (name("[2001:db8::1]:5060"), 0, 2, 0),
                (name("192.0.2.1:5060"), 0, 2, 0),
                (name("192.0.2.2:5070"), 1, 1, 1),
            ]
        );
    }

    #[test]
    fn what_the_uri_says_is_not_asked_for() {
        let host = Question::Addresses(name("example.com"));
        let service = Question::Srv(name("_sip._udp.example.com"));
        let search = Question::Naptr(name("example.com"));
        let zone = [(host.clone(), addresses(&["192.0.2.1"]))];
        for (port, udp, asked, address) in [
            (Some(5080), false, vec![host.clone()], "192.0.2.1:5080"),
            (Some(5060), true, vec![host.clone()], "192.0.2.1:5060"),
            (None, true, vec![service.clone(), host.clone()], "192.0.2.1:5060"),
            (None, false, vec![search, service, host], "192.0.2.1:5060"),
        ] {
            let (questions, answer) = walk(Query::new(1, "example.com", port, udp), &zone);
            assert_eq!((questions, found(&answer)), (asked, vec![(name(address), 0, 0, 0)]));
        }
    }

    #[test]
    fn naptr_records_without_udp_are_as_none() {
        let tcp = Records::Naptr(vec![naptr(1, 1, "s", "SIP+D2T", "_sip._tcp.example.com")]);
        let (asked, _) =
            walk(Query::new(1, "example.com", None, false), &[(Question::Naptr(name("example.com")), tcp)]);
        assert_eq!(asked[1], Question::Srv(name("_sip._udp.example.com")));
    }

    #[test]
    fn nothing_is_nothing_and_a_failure_is_not() {
        let query = || Query::new(1, "example.com", None, true);
        assert_eq!(walk(query(), &[]).1, Answer::Nothing { ttl: TTL });
        let refused = Records::Srv(vec![srv(0, 0, 5060, ".")]);
        let service = Question::Srv(name("_sip._udp.example.com"));
        let (asked, answer) = walk(query(), &[(service.clone(), refused)]);
        assert_eq!(
            (asked.len(), answer),
            (1, Answer::Nothing { ttl: TTL }),
            "the domain says that it has no SIP"
        );
        let host = Question::Addresses(name("example.com"));
        assert_eq!(walk(query(), &[(host.clone(), Records::Failed)]).1, Answer::Failed);
        let half = [(service, Records::Failed), (host, addresses(&["192.0.2.1"]))];
        let (_, answer) = walk(query(), &half);
        assert!(
            matches!(answer, Answer::Found { ttl, .. } if ttl == limit::FAILED),
            "asked again soon: {answer:?}"
        );
    }

    #[test]
    fn answers_are_bounded_whatever_they_say() {
        let service = Question::Srv(name("_sip._udp.example.com"));
        let many = Records::Srv((0..500).map(|n| srv(500 - n, 1, 5060, &format!("h{n}.example"))).collect());
        let mut zone = vec![(service, many)];
        for n in 0..500 {
            let all: Vec<_> = (0..100).map(|m| IpAddr::from([10, 0, n as u8, m])).collect();
            zone.push((Question::Addresses(format!("h{n}.example")), Records::Addresses(all)));
        }
        let (asked, answer) = walk(Query::new(1, "example.com", None, true), &zone);
        assert!(asked.len() <= limit::QUESTIONS);
        let found = found(&answer);
        assert_eq!((found.len(), found[0].1), (limit::SERVERS, 1), "the most wanted ones: {found:?}");
    }
}
