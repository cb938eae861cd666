//! Probes: OPTIONS requests of our own to gateway targets (RFC 3261 section 11), by which one knows who is alive
//! before a caller finds out.
//!
//! A probe is a non-INVITE client transaction (section 17.1.2) with all that is variable in it kept in a few words for
//! each target: it is repeated with Timer E while nothing comes, and given up after the group's own time instead of
//! Timer F's 32 s. The branch says which target and which probe, under a MAC, so an answer needs no table and a forged
//! one counts for nothing. Every worker has its share of the targets.

use core::fmt::Write as _;
use core::net::SocketAddr;
use core::time::Duration;

use strowger_sip::{Buffer, Message};

use super::health::Count;
use super::{Gateways, Probe};
use crate::branch::COOKIE;
use crate::config::Config;
use crate::keys::{Key, Keys, Prf, read_base32, same, write_base32};
use crate::site::Site;
use crate::text::Text;
use crate::time::Time;

/// Kind of the branches of probes: see [`crate::branch`].
const KIND: u8 = b'p';

/// Digits of the target's index, of the probe's number and of the MAC.
const INDEX: usize = 2;
const NUMBER: usize = 7;
const MAC: usize = 13;

/// Octets of a probe's branch.
const LEN: usize = COOKIE.len() + 1 + INDEX + NUMBER + MAC;

/// Timer E's first and longest interval (section 17.1.2.2: T1 and T2).
const FIRST: Duration = Duration::from_millis(500);
const LONGEST: Duration = Duration::from_secs(4);

/// Between the first probes of two targets, so that a node does not start with a burst.
const STAGGER: Duration = Duration::from_millis(7);

/// One target that this worker probes.
struct Watched {
    group: u16,
    target: u8,
    address: SocketAddr,
    /// Index of the listen address it is asked from.
    local: u8,
    probe: Probe,
    /// What is to be done next is due then.
    due: Time,
    /// Number of the probe; also its CSeq.
    number: u32,
    begun: Time,
    waiting: bool,
    /// Timer E's interval.
    interval: Duration,
    /// To be sent, or sent again.
    unsent: bool,
}

/// The probes of one worker.
pub(crate) struct Prober {
    key: Key,
    user_agent: Box<str>,
    watched: Box<[Watched]>,
    /// When the first of them has something due; `None` when there are none.
    next: Option<Time>,
    unsent: usize,
    started: bool,
}

impl Prober {
    /// Probes every `workers`-th target from number `worker` on.
    pub(crate) fn new(config: &Config, site: &Site, keys: &Keys, worker: usize, workers: usize) -> Self {
        let all = config.gateways.iter().zip(0u16..).flat_map(|(gateway, group)| {
            gateway
                .targets
                .iter()
                .zip(0u8..)
                .map(move |(target, n)| (group, n, target.address, gateway.probe))
        });
        let mine = all.skip(worker).step_by(workers.max(1));
        let watched: Box<[Watched]> = mine
            .filter_map(|(group, target, address, probe)| {
                Some(Watched {
                    group,
                    target,
                    address,
                    local: site.listen_for(address, 0)?,
                    probe: probe?,
                    due: Time::START,
                    number: 0,
                    begun: Time::START,
                    waiting: false,
                    interval: FIRST,
                    unsent: false,
                })
            })
            .collect();
        let next = (!watched.is_empty()).then_some(Time::START);
        let user_agent = config.server.as_str().into();
        Self { key: keys.probe, user_agent, watched, next, unsent: 0, started: false }
    }

    /// When [`on_timeout`](Self::on_timeout) has something to do.
    pub(crate) fn timeout(&self) -> Option<Time> {
        self.next
    }

    /// Whether [`transmit`](Self::transmit) has something to send.
    pub(crate) fn has_transmit(&self) -> bool {
        self.unsent > 0
    }

    /// Begins, repeats and gives up what is due.
    pub(crate) fn on_timeout(&mut self, now: Time, gateways: &Gateways) {
        if self.next.is_none_or(|next| next > now) {
            return;
        }
        if !self.started {
            self.started = true;
            for (watched, n) in self.watched.iter_mut().zip(0u32..) {
                watched.due = now.after((STAGGER * n).min(watched.probe.interval));
            }
        }
        for watched in &mut self.watched {
            if watched.due > now {
                continue;
            }
            let before = watched.unsent;
            watched.turn(now, gateways);
            self.unsent += usize::from(watched.unsent && !before);
            self.unsent -= usize::from(!watched.unsent && before);
        }
        self.schedule();
    }

    fn schedule(&mut self) {
        self.next = self.watched.iter().map(|watched| watched.due).min();
    }

    /// Writes the next probe that is to be sent. Returns the listen address it leaves from, and where it goes.
    pub(crate) fn transmit(&mut self, site: &Site, buffer: &mut Buffer<'_>) -> Option<(u8, SocketAddr)> {
        while self.unsent > 0 {
            let Some((watched, at)) = self.watched.iter_mut().zip(0u32..).find(|(watched, _)| watched.unsent)
            else {
                self.unsent = 0;
                return None;
            };
            watched.unsent = false;
            self.unsent -= 1;
            let text = watched.request(at, &self.key, site, &self.user_agent)?;
            if buffer.replace(text.as_bytes()) {
                return Some((watched.local, watched.address));
            }
        }
        None
    }

    /// Whether the branch is that of a probe, by its kind.
    pub(crate) fn is_probe(branch: &[u8]) -> bool {
        branch.len() == LEN && branch.get(COOKIE.len()).is_some_and(|kind| kind.eq_ignore_ascii_case(&KIND))
    }

    /// Takes the response to a probe; `false` when it answers none that we sent.
    pub(crate) fn response(&mut self, message: &Message<'_>, gateways: &Gateways) -> bool {
        let Some((at, number, mac)) = message.top_via().ok().and_then(|via| read(via.branch()?)) else {
            return false;
        };
        let Some(watched) = self.watched.get_mut(at as usize) else { return false };
        if number != watched.number || !same(watched.mac(at, &self.key), mac) {
            return false;
        }
        let Some(code) = message.status().map(|line| line.code) else { return false };
        // Provisional responses say that it lives, but the transaction goes on (section 17.1.2.2); a second final
        // response is one that was sent twice.
        if code >= 200 && watched.waiting {
            watched.answered(code, gateways);
            self.unsent -= usize::from(core::mem::take(&mut watched.unsent));
            self.schedule();
        }
        true
    }
}

impl Watched {
    fn turn(&mut self, now: Time, gateways: &Gateways) {
        let given_up = self.begun.after(self.probe.timeout);
        if !self.waiting {
            // Below 2^31, as a CSeq has to be (section 8.1.1.5).
            self.number = (self.number + 1) & (u32::MAX >> 1);
            self.begun = now;
            self.waiting = true;
            self.interval = FIRST;
            self.unsent = true;
            self.due = now.after(FIRST.min(self.probe.timeout));
        } else if now >= given_up {
            gateways.count(self.group, self.target, Count::ProbeLost);
            self.over(gateways, false);
        } else {
            self.unsent = true;
            self.interval = (self.interval * 2).min(LONGEST);
            self.due = now.after(self.interval).min(given_up);
        }
    }

    fn answered(&mut self, code: u16, gateways: &Gateways) {
        gateways.count(self.group, self.target, Count::ProbeAnswered);
        // Any answer shows that it lives (section 11.2 lets a UAS answer as it would an INVITE), but for one after
        // which calls would go elsewhere.
        self.over(gateways, !(code == 408 || gateways.fails_over(self.group, code)));
    }

    fn over(&mut self, gateways: &Gateways, good: bool) {
        self.waiting = false;
        self.unsent = false;
        self.due = self.begun.after(self.probe.interval);
        if let Some(at) = gateways.index(self.group, self.target) {
            match good {
                true => gateways.health.works(at),
                false => gateways.health.fails(at),
            }
        }
    }

    /// Binds the branch to this very probe: who has not seen it cannot answer it.
    fn mac(&self, at: u32, key: &Key) -> u64 {
        Prf::new(key)
            .number(u64::from(at))
            .number(u64::from(self.number))
            .number(self.begun.as_nanos())
            .address(self.address)
            .finish()
    }

    fn request(&self, at: u32, key: &Key, site: &Site, user_agent: &str) -> Option<Text<1024>> {
        let mac = self.mac(at, key);
        let mut branch = [0; LEN - COOKIE.len() - 1];
        let (index, rest) = branch.split_at_mut(INDEX);
        write_base32(u64::from(at), index);
        let (number, rest) = rest.split_at_mut(NUMBER);
        write_base32(u64::from(self.number), number);
        write_base32(mac, rest);
        let branch = core::str::from_utf8(&branch).ok()?;
        let (local, to) = (&site.listen(self.local)?.text, self.address);
        let mut text = Text::new();
        write!(
            text,
            "OPTIONS sip:{to} SIP/2.0\r\nVia: SIP/2.0/UDP {local};branch=z9hG4bK{kind}{branch};rport\r\n\
             Max-Forwards: 70\r\nFrom: <sip:{local}>;tag={tag:08x}\r\nTo: <sip:{to}>\r\nCall-ID: {mac:016x}@{local}\r\n\
             CSeq: {number} OPTIONS\r\nAccept: application/sdp\r\n",
            kind = char::from(KIND),
            tag = mac.rotate_left(17) as u32,
            number = self.number,
        )
        .ok()?;
        if !user_agent.is_empty() {
            write!(text, "User-Agent: {user_agent}\r\n").ok()?;
        }
        text.push(b"Content-Length: 0\r\n\r\n").ok()?;
        Some(text)
    }
}

/// Index, number and MAC of a probe's branch.
fn read(branch: &[u8]) -> Option<(u32, u32, u64)> {
    let rest = Prober::is_probe(branch).then(|| branch.get(COOKIE.len() + 1..))??;
    let (index, rest) = rest.split_at_checked(INDEX)?;
    let (number, mac) = rest.split_at_checked(NUMBER)?;
    Some((
        u32::try_from(read_base32(index)?).ok()?,
        u32::try_from(read_base32(number)?).ok()?,
        read_base32(mac)?,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gateway::Gateway;
    use strowger_sip::Index;

    struct Bench {
        site: Site,
        gateways: Gateways,
        prober: Prober,
        now: Time,
    }

    fn bench(targets: u8) -> Bench {
        let addresses: Vec<_> = (0..targets).map(|n| SocketAddr::from(([10, 0, 0, 100 + n], 5060))).collect();
        let probe = Some(Probe { down_after: 2, up_after: 2, ..Probe::default() });
        let config = Config {
            listen: vec!["10.0.0.2:5060".parse().unwrap()],
            gateways: vec![Gateway { probe, ..Gateway::new("g", &addresses) }],
            secret: [6; 32],
            server: "strowger/0".into(),
            ..Config::default()
        };
        config.validate().unwrap();
        let (site, keys) = (Site::new(&config), Keys::derive(&config.secret));
        let gateways = Gateways::new(&config, &keys).unwrap();
        let prober = Prober::new(&config, &site, &keys, 0, 1);
        Bench { site, gateways, prober, now: Time::from_nanos(77_000_000_000) }
    }

    impl Bench {
        /// Lets time pass; every probe sent in it, with the milliseconds after which it was.
        fn run(&mut self, time: Duration) -> Vec<(u128, SocketAddr, String)> {
            let (from, until) = (self.now, self.now.after(time));
            let mut sent = Vec::new();
            while let Some(due) = self.prober.timeout().filter(|due| *due <= until) {
                self.now = self.now.max(due);
                self.prober.on_timeout(self.now, &self.gateways);
                let mut memory = [0; 2048];
                loop {
                    let mut buffer = Buffer::new(&mut memory, 256..256).unwrap();
                    let Some((local, to)) = self.prober.transmit(&self.site, &mut buffer) else { break };
                    assert_eq!(local, 0);
                    let text = String::from_utf8(buffer.message().to_vec()).unwrap();
                    sent.push((self.now.since(from).as_millis(), to, text));
                }
                assert!(!self.prober.has_transmit());
            }
            self.now = until;
            sent
        }

        fn answer(&mut self, probe: &str, status: &str) -> bool {
            let (_, headers) = probe.split_once("\r\n").unwrap();
            let text = format!("SIP/2.0 {status}\r\n{headers}");
            let mut index = Index::new();
            let message = Message::parse(text.as_bytes(), &mut index).unwrap();
            self.prober.response(&message, &self.gateways)
        }

        fn up(&self, target: usize) -> bool {
            self.gateways.health.is_up(target)
        }
    }

    const MS: fn(u64) -> Duration = Duration::from_millis;

    #[test]
    fn a_probe_is_a_request_by_the_letter() {
        let mut bench = bench(1);
        let sent = bench.run(MS(10));
        let [(0, to, text)] = &sent[..] else { panic!("{sent:?}") };
        assert_eq!(to.to_string(), "10.0.0.100:5060");
        let mut index = Index::new();
        let message = Message::parse(text.as_bytes(), &mut index).unwrap();
        let essentials = message.essentials().unwrap();
        assert_eq!(essentials.cseq.number, 1);
        assert_eq!(essentials.max_forwards, Some(70));
        assert!(
            essentials.via.has_magic_cookie()
                && essentials.from.tag().is_some()
                && essentials.to.tag().is_none()
        );
        assert!(
            text.starts_with("OPTIONS sip:10.0.0.100:5060 SIP/2.0\r\nVia: SIP/2.0/UDP 10.0.0.2:5060;branch=")
        );
        assert!(text.contains("User-Agent: strowger/0\r\n"));
    }

    #[test]
    fn timer_e_repeats_and_the_probe_is_given_up() {
        // RFC 3261 section 17.1.2.2: 500 ms, 1 s, 2 s; given up after 4 s, the next begins 10 s after the first.
        let mut bench = bench(1);
        let sent = bench.run(MS(9_999));
        assert_eq!(sent.iter().map(|(at, ..)| *at).collect::<Vec<_>>(), [0, 500, 1500, 3500]);
        assert!(sent.iter().all(|(.., text)| *text == sent[0].2), "a retransmission is the same");
        assert!(bench.up(0), "one failure is not enough");
        let sent = bench.run(MS(10_000));
        assert!(!bench.up(0), "two are");
        assert_ne!(sent[0].2, sent.last().unwrap().2.replace("CSeq: 2", "CSeq: 1"), "another branch");
        assert_eq!(bench.gateways.health.reports()[0].probes_lost, 2);
    }

    #[test]
    fn answers_bring_it_back() {
        let mut bench = bench(1);
        bench.run(MS(19_000));
        assert!(!bench.up(0));
        let next = |bench: &mut Bench| {
            let wait = bench.prober.timeout().unwrap().since(bench.now);
            bench.run(wait).pop().unwrap().2
        };
        let probe = next(&mut bench);
        assert!(bench.answer(&probe, "100 Trying"));
        assert_eq!(next(&mut bench), probe, "a provisional response does not end it");
        assert!(bench.answer(&probe, "200 OK") && bench.answer(&probe, "200 OK") && !bench.up(0));
        assert_eq!(bench.gateways.health.reports()[0].probes_answered, 1, "sent twice, counted once");
        let probe = next(&mut bench);
        assert!(bench.answer(&probe, "404 Not Found") && bench.up(0), "any answer shows that it lives");
        assert!(bench.run(MS(0)).is_empty(), "answered: not repeated");
    }

    #[test]
    fn a_target_that_cannot_is_as_one_that_does_not_answer() {
        let mut bench = bench(1);
        for up in [true, false] {
            let wait = bench.prober.timeout().unwrap().since(bench.now);
            let probe = bench.run(wait).pop().unwrap().2;
            assert!(bench.answer(&probe, "503 Service Unavailable"));
            assert_eq!(bench.up(0), up);
        }
    }

    #[test]
    fn forged_answers_count_for_nothing() {
        let mut bench = bench(2);
        let sent = bench.run(MS(20));
        assert_eq!(sent.len(), 2, "both targets, one after the other: {sent:?}");
        let probe = &sent[0].2;
        let at = probe.find("z9hG4bKp").unwrap() + 8;
        for digit in 0..INDEX + NUMBER + MAC {
            let mut forged = probe.clone().into_bytes();
            forged[at + digit] = if forged[at + digit] == b'0' { b'1' } else { b'0' };
            assert!(!bench.answer(std::str::from_utf8(&forged).unwrap(), "200 OK"), "digit {digit}");
        }
        assert!(!bench.answer(&probe.replace("z9hG4bKp", "z9hG4bKs"), "200 OK"));
        assert_eq!(bench.gateways.health.reports()[0].probes_answered, 0);
        assert!(bench.answer(probe, "200 OK"));
        assert_eq!(bench.gateways.health.reports()[0].probes_answered, 1);
        assert_eq!(bench.gateways.health.reports()[1].probes_answered, 0);
    }

    #[test]
    fn workers_share_the_targets() {
        let addresses: Vec<_> = (0..5).map(|n| SocketAddr::from(([10, 0, 0, 100 + n], 5060))).collect();
        let config = Config {
            listen: vec!["10.0.0.2:5060".parse().unwrap()],
            gateways: vec![Gateway { probe: Some(Probe::default()), ..Gateway::new("g", &addresses) }],
            secret: [6; 32],
            ..Config::default()
        };
        let (site, keys) = (Site::new(&config), Keys::derive(&config.secret));
        let mut all: Vec<_> = (0..3)
            .flat_map(|worker| Prober::new(&config, &site, &keys, worker, 3).watched.into_vec())
            .map(|watched| watched.address)
            .collect();
        all.sort_unstable();
        assert_eq!(all, addresses);
        let unprobed = Config { gateways: vec![Gateway::new("g", &addresses)], ..config };
        assert_eq!(Prober::new(&unprobed, &site, &keys, 0, 1).timeout(), None);
    }
}
