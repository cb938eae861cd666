//! Admission: who gets how much of a worker, and what is refused first when there is too much of everything.
//!
//! Three things, each a few nanoseconds on the way of a message and none of them with memory that grows:
//! * a budget for each source address, before anything of a message is read ([`Budgets`]);
//! * classes of requests, of which those that begin something are refused before those that something depends on
//!   ([`Admission::judge`]);
//! * feedback to upstream servers that ask for it, so that they send less instead of being refused (RFC 7339).
//!
//! Called by the element. Nothing here is kept about a message: what is refused leaves no trace but a counter.

use core::fmt::Write as _;
use core::net::IpAddr;

use strowger_sip::{EditError, EditPlan, Via};

use crate::keys::{Key, Keys, Prf};
use crate::text::Text;
use crate::time::Time;

/// Sources that are told apart: 2^13 sets of 8, which are 1 MiB for each worker.
const SETS: usize = 1 << 13;
const WAYS: usize = 8;

/// Nanoseconds of a second, and the time for which a source may be ahead of its rate.
const SECOND: u64 = 1_000_000_000;

/// Seconds in the Retry-After of a request whose whole class is refused, at least and at most: different for every
/// call, so that they do not all come back at once.
const RETRY_AFTER: (u32, u32) = (5, 20);

/// Milliseconds for which our feedback holds (RFC 7339 section 4.3).
const VALIDITY: u32 = 500;

/// One source: a keyed hash of its address, and the time at which what it has sent is paid for.
#[derive(Clone, Copy, Default)]
struct Budget {
    /// 0: free. The lowest bit is [`KNOWN`], and no part of the hash.
    source: u64,
    paid: u64,
}

/// In [`Budget::source`]: somebody there has shown who he is.
const KNOWN: u64 = 1;

/// The budgets of all sources: the generic cell rate algorithm, one word of state for each.
///
/// A fixed table of small sets. A source that finds its set full takes the place of the one that has the least to pay,
/// and takes over what that one had to pay: who sends from ever new addresses shares the budgets that there are, and
/// a full table limits as an empty one does. A source that is over its budget owes the most in its set, so flooding
/// from elsewhere cannot make the table forget it.
pub(crate) struct Budgets {
    sets: Box<[[Budget; WAYS]]>,
    key: Key,
    /// Nanoseconds that one message costs.
    cost: u64,
}

impl Budgets {
    fn new(keys: &Keys, per_second: u32) -> Self {
        let cost = (SECOND / u64::from(per_second.max(1))).max(1);
        Self { sets: vec![[Budget::default(); WAYS]; SETS].into_boxed_slice(), key: keys.source, cost }
    }

    /// An IPv6 host has a whole /64 to send from, so that is one source.
    fn source(&self, address: IpAddr) -> u64 {
        let text = match address.to_canonical() {
            IpAddr::V4(ip) => u64::from(ip.to_bits()),
            IpAddr::V6(ip) => (ip.to_bits() >> 64) as u64,
        };
        let family = u64::from(address.to_canonical().is_ipv4());
        (Prf::lookup(&self.key).number(family).number(text).finish() | 2) & !KNOWN
    }

    fn set(&mut self, source: u64) -> &mut [Budget; WAYS] {
        // The upper bits; the lower two are not the hash's. There are as many sets as the index can say.
        let at = (source >> 32) as usize & (SETS - 1);
        &mut self.sets[at]
    }

    /// Takes one message from the budget of its source; `false` when there is nothing left.
    pub(crate) fn take(&mut self, now: Time, address: IpAddr) -> bool {
        let (source, now, cost) = (self.source(address), now.as_nanos(), self.cost);
        let set = self.set(source);
        let own = set.iter_mut().position(|budget| budget.source & !KNOWN == source);
        let Some(budget) = own.or_else(|| least(set)).and_then(|at| set.get_mut(at)) else { return false };
        let paid = budget.paid.max(now);
        // A whole second's worth may come at once.
        if paid - now > SECOND - cost.min(SECOND) {
            return false;
        }
        if own.is_none() {
            budget.source = source;
        }
        budget.paid = paid + cost;
        true
    }

    /// Notes that somebody at this address has shown who he is.
    pub(crate) fn vouch(&mut self, address: IpAddr) {
        let source = self.source(address);
        if let Some(budget) = self.set(source).iter_mut().find(|budget| budget.source & !KNOWN == source) {
            budget.source |= KNOWN;
        }
    }

    /// Whether somebody at this address has shown who he is, since it last had to make room.
    pub(crate) fn is_known(&mut self, address: IpAddr) -> bool {
        let source = self.source(address);
        self.set(source).iter().any(|budget| budget.source == source | KNOWN)
    }
}

/// Where the source with the least to pay is.
fn least(set: &[Budget; WAYS]) -> Option<usize> {
    set.iter().enumerate().min_by_key(|(_, budget)| budget.paid).map(|(at, _)| at)
}

/// What a request is worth when not everything can be done, the most valuable first. What goes on is never refused
/// here: responses, ACK, CANCEL, and requests of dialogs that are proven to be ours. Refusing those would waste what
/// was spent on them, and calls could not even be ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Class {
    /// REGISTER of a user who has a binding: without it calls to him fail.
    Refresh,
    /// Something new from a source that is known.
    New,
    /// Something new from a source that has not yet shown who it is.
    Unknown,
}

impl Class {
    /// The load from which on some are refused, and that from which on all are, in percent.
    const fn range(self) -> (u8, u8) {
        match self {
            Self::Refresh => (94, 100),
            Self::New => (86, 96),
            Self::Unknown => (75, 88),
        }
    }

    /// How many of a hundred are refused at this load.
    fn refused(self, load: u8) -> u8 {
        let (from, to) = self.range();
        let above = u32::from(load.saturating_sub(from));
        (above * 100 / u32::from(to - from)).min(100) as u8
    }
}

/// The least load at which anything is refused.
pub(crate) const FIRST: u8 = Class::Unknown.range().0;

/// A refusal for want of means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Overload {
    /// Seconds for Retry-After, when all of the class is refused. While only some are, there is none: an upstream
    /// server takes it for all of its calls, and would stop altogether (RFC 7339 section 5.10.2).
    pub(crate) retry_after: Option<u32>,
}

/// Budgets, load and feedback of one worker.
pub(crate) struct Admission {
    pub(crate) budgets: Budgets,
    key: Key,
    /// What the caller says of its backlog, in percent.
    pressure: u8,
    feedback: Feedback,
}

/// What upstream servers are told (RFC 7339).
#[derive(Clone, Copy)]
struct Feedback {
    /// Percent of the requests that they should not send.
    loss: u8,
    /// When that changed: `oc-seq`.
    since: Time,
}

impl Admission {
    pub(crate) fn new(keys: &Keys, per_source_pps: u32) -> Self {
        Self {
            budgets: Budgets::new(keys, per_source_pps),
            key: keys.spread,
            pressure: 0,
            feedback: Feedback { loss: 0, since: Time::START },
        }
    }

    /// See [`Engine::set_pressure`](crate::Engine::set_pressure).
    pub(crate) fn set_pressure(&mut self, percent: u8) {
        self.pressure = percent.min(100);
    }

    /// The load in percent: the caller's backlog or the fullest table, whichever is worse. Keeps the feedback true.
    pub(crate) fn load(&mut self, now: Time, tables: u8) -> u8 {
        let load = self.pressure.max(tables.min(100));
        let loss = Class::New.refused(load);
        if loss != self.feedback.loss {
            self.feedback = Feedback { loss, since: now };
        }
        load
    }

    /// Whether a request of this class is carried out at this load. Of a class of which some are refused, the
    /// Call-ID decides, so that a retransmission has the fate of its original.
    pub(crate) fn judge(&self, class: Class, load: u8, call_id: &[u8]) -> Result<(), Overload> {
        let refused = class.refused(load);
        if refused == 0 {
            return Ok(());
        }
        let draw = Prf::new(&self.key).field(call_id).finish();
        if (draw % 100) as u8 >= refused {
            return Ok(());
        }
        let (least, most) = RETRY_AFTER;
        let seconds = least + ((draw >> 32) as u32) % (most - least + 1);
        Err(Overload { retry_after: (refused == 100).then_some(seconds) })
    }

    /// The class of a request that begins something. `refreshes`: it is a REGISTER of a user who has a binding.
    pub(crate) fn class(&mut self, source: IpAddr, trusted: bool, refreshes: bool) -> Class {
        if refreshes {
            Class::Refresh
        } else if trusted || self.budgets.is_known(source) {
            Class::New
        } else {
            Class::Unknown
        }
    }

    /// Plans our feedback in a Via of a client that asked for it: in the topmost Via of a request that is answered, or
    /// in the one that becomes the topmost of a response. Asking is `oc` beside an `oc-algo` with `loss`, which is
    /// the one class of algorithms that every client has (RFC 7339 section 4.2).
    pub(crate) fn feedback(&self, via: &Via<'_>, plan: &mut EditPlan) -> Result<(), EditError> {
        if !via.has_other_params() {
            return Ok(());
        }
        let params = via.params();
        let (Some(oc), Some(algorithm)) = (params.find(b"oc"), params.find(b"oc-algo")) else {
            return Ok(());
        };
        let Some(algorithms) = algorithm.value else { return Ok(()) };
        let bare = algorithms.strip_prefix(b"\"").and_then(|a| a.strip_suffix(b"\"")).unwrap_or(algorithms);
        let mut each = bare.split(|b| *b == b',');
        // A client may send neither of the others (sections 4.3 and 4.4); one that does is none we understand.
        if !each.any(|a| a.trim_ascii().eq_ignore_ascii_case(b"loss"))
            || params.contains(b"oc-validity")
            || params.contains(b"oc-seq")
        {
            return Ok(());
        }
        let Feedback { loss, since } = self.feedback;
        let mut text = Text::<64>::new();
        let range = |from: &[u8], to: &[u8]| {
            // Both are parts of the Via's text.
            let base = via.as_bytes().as_ptr() as usize;
            let (from, to) = (from.as_ptr() as usize - base, to.as_ptr() as usize - base + to.len());
            via.range().start + from..via.range().start + to
        };
        // A number of three digits, and others of limited size: they fit.
        let _ = write!(text, "oc={loss}");
        plan.replace(range(oc.name, oc.value.unwrap_or(oc.name)), text.as_bytes())?;
        plan.replace(range(algorithm.name, algorithms), b"oc-algo=\"loss\"")?;
        text.clear();
        let validity = if loss == 0 { 0 } else { VALIDITY };
        let millis = since.as_nanos() / 1_000_000;
        let _ = write!(
            text,
            ";oc-validity={validity};oc-seq={}.{:03}",
            millis / 1000 % 1_000_000_000_000,
            millis % 1000
        );
        let end = via.range().end;
        plan.insert(end, text.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::time::Duration;
    use proptest::prelude::*;
    use std::collections::HashMap;

    fn budgets(per_second: u32) -> Budgets {
        Budgets::new(&Keys::derive(&[4; 32]), per_second)
    }

    fn v4(n: u32) -> IpAddr {
        IpAddr::from(n.to_be_bytes())
    }

    const START: Time = Time::from_nanos(1_000_000_000_000);

    #[test]
    fn a_second_at_once_and_then_the_rate() {
        let mut budgets = budgets(10);
        let mut passed = |now: Time, tries: usize| (0..tries).filter(|_| budgets.take(now, v4(1))).count();
        assert_eq!(passed(START, 100), 10);
        assert_eq!(passed(START.after(Duration::from_millis(99)), 100), 0);
        assert_eq!(passed(START.after(Duration::from_millis(100)), 100), 1);
        assert_eq!(passed(START.after(Duration::from_millis(1000)), 100), 9);
        assert_eq!(
            passed(START.after(Duration::from_secs(100)), 100),
            10,
            "a rest is worth one second at most"
        );
    }

    proptest! {
        /// With few sources the table is exactly a token bucket for each, kept here in fractions of a message.
        #[test]
        fn each_source_has_a_bucket_of_its_own(
            per_second in 1u32..50,
            messages in prop::collection::vec((0u64..200, 0u32..20), 1..400),
        ) {
            let mut budgets = budgets(per_second);
            let cost = SECOND / u64::from(per_second);
            // Nanoseconds of credit.
            let mut oracle: HashMap<u32, (u64, u64)> = HashMap::new();
            let mut now = START;
            for (wait, source) in messages {
                now = now.after(Duration::from_millis(wait));
                let (credit, at) = oracle.entry(source).or_insert((SECOND, now.as_nanos()));
                *credit = (*credit + (now.as_nanos() - *at)).min(SECOND);
                *at = now.as_nanos();
                let passes = *credit >= cost;
                if passes {
                    *credit -= cost;
                }
                prop_assert_eq!(budgets.take(now, v4(source)), passes);
            }
        }
    }

    #[test]
    fn a_full_table_goes_on_limiting() {
        let mut budgets = budgets(2);
        let before = budgets.sets.len() * WAYS;
        // Far more sources than there are places, all at once: each place is worth two messages, whoever sends.
        let passed = (0..1_000_000).filter(|n| budgets.take(START, v4(*n))).count();
        assert!(passed <= before * 2, "{passed} passed a table of {before}");
        assert!(passed > before, "and the places are used: {passed}");
        assert!(
            !(0..1000).any(|n| budgets.take(START, v4(n | 0xf000_0000))),
            "nobody new gets a fresh budget"
        );
        let later = START.after(Duration::from_secs(1));
        assert!((0..1000).all(|n| budgets.take(later, v4(n | 0xf000_0000))), "time pays for all");
        assert_eq!(budgets.sets.len() * WAYS, before);
    }

    #[test]
    fn who_is_over_his_budget_cannot_be_flushed_out() {
        let mut budgets = budgets(100);
        while budgets.take(START, v4(7)) {}
        for n in 0..2_000_000 {
            budgets.take(START, v4(0x0a00_0000 + n));
        }
        assert!(!budgets.take(START, v4(7)));
    }

    #[test]
    fn an_ipv6_host_is_its_network() {
        let mut budgets = budgets(1);
        let address = |text: &str| text.parse().unwrap();
        assert!(budgets.take(START, address("2001:db8::1")));
        assert!(!budgets.take(START, address("2001:db8::ffff:1:2")));
        assert!(budgets.take(START, address("2001:db8:0:1::1")));
        assert!(budgets.take(START, address("192.0.2.1")));
        assert!(!budgets.take(START, address("::ffff:192.0.2.1")), "the same host");
    }

    #[test]
    fn sets_cannot_be_chosen_from_outside() {
        // Addresses that share a set under one key are spread by another.
        let (mut one, mut two) = (budgets(1), Budgets::new(&Keys::derive(&[5; 32]), 1));
        let set = |b: &Budgets, n: u32| (b.source(v4(n)) >> 32) as usize & (SETS - 1);
        let wanted = set(&one, 1);
        let crafted: Vec<u32> = (0..2_000_000).filter(|n| set(&one, *n) == wanted).take(200).collect();
        assert!(crafted.len() >= 100, "{}", crafted.len());
        let passed = |b: &mut Budgets| crafted.iter().filter(|n| b.take(START, v4(**n))).count();
        assert_eq!(passed(&mut one), WAYS, "what somebody gets who knows the key");
        assert!(passed(&mut two) > crafted.len() * 9 / 10);
    }

    #[test]
    fn the_less_valuable_goes_first_and_bit_by_bit() {
        let mut last = (0, 0, 0);
        for load in 0..=100 {
            let now = (Class::Refresh.refused(load), Class::New.refused(load), Class::Unknown.refused(load));
            assert!(now.0 <= now.1 && now.1 <= now.2, "{load}: {now:?}");
            assert!(now.0 >= last.0 && now.1 >= last.1 && now.2 >= last.2, "{load}: {now:?} after {last:?}");
            assert_eq!(now.2 == 0, load <= FIRST, "{load}");
            last = now;
        }
        assert_eq!(last, (100, 100, 100));
        assert_eq!(Class::New.refused(86), 0);
        assert_eq!(Class::New.refused(91), 50);
    }

    #[test]
    fn a_retransmission_has_the_fate_of_its_original() {
        let admission = Admission::new(&Keys::derive(&[4; 32]), 2000);
        let judge = |load, n: u32| admission.judge(Class::New, load, format!("{n}@x").as_bytes());
        let refused = (0..10_000).filter(|n| judge(91, *n).is_err()).count();
        assert!((4700..5300).contains(&refused), "half of them: {refused}");
        for n in 0..1000 {
            assert_eq!(judge(91, n), judge(91, n));
            // Who is refused at one load is refused at any higher one, and only then told to stay away.
            if let Err(overload) = judge(91, n) {
                assert_eq!(overload.retry_after, None);
                assert!(judge(94, n).is_err());
            }
            let seconds = judge(96, n).unwrap_err().retry_after.unwrap();
            assert!((5..=20).contains(&seconds));
        }
    }

    #[test]
    fn known_sources_come_before_unknown_ones() {
        let mut admission = Admission::new(&Keys::derive(&[4; 32]), 2000);
        let (known, unknown) = (v4(1), v4(2));
        for source in [known, unknown] {
            assert!(admission.budgets.take(START, source));
        }
        admission.budgets.vouch(known);
        assert_eq!(admission.class(known, false, false), Class::New);
        assert_eq!(admission.class(unknown, false, false), Class::Unknown);
        assert_eq!(admission.class(unknown, true, false), Class::New);
        assert_eq!(admission.class(unknown, false, true), Class::Refresh);
        assert!(admission.budgets.take(START, known), "and its budget is the same one");
        assert_eq!(admission.class(known, false, false), Class::New);
    }

    /// The Via after the plan.
    fn fed_back(admission: &Admission, via: &str) -> String {
        let text = format!("OPTIONS sip:a SIP/2.0\r\nVia: {via}, SIP/2.0/UDP b;oc;oc-algo=\"loss\"\r\n\r\n");
        let mut index = strowger_sip::Index::new();
        let message = strowger_sip::Message::parse(text.as_bytes(), &mut index).unwrap();
        let mut plan = EditPlan::new();
        plan.begin(&message);
        admission.feedback(&message.vias().next().unwrap().unwrap(), &mut plan).unwrap();
        let mut out = [0; 1024];
        let text = std::str::from_utf8(plan.write_to(text.as_bytes(), &mut out).unwrap()).unwrap().to_owned();
        let (via, rest) = text.split_once("Via: ").unwrap().1.split_once(", ").unwrap();
        assert_eq!(rest, "SIP/2.0/UDP b;oc;oc-algo=\"loss\"\r\n\r\n", "that of somebody else");
        via.to_owned()
    }

    #[test]
    fn upstream_is_told_when_it_asks() {
        let mut admission = Admission::new(&Keys::derive(&[4; 32]), 2000);
        let asks = "SIP/2.0/UDP p1.example.net;branch=z9hG4bK2d4790.1;oc;oc-algo=\"loss,A\"";
        assert_eq!(
            fed_back(&admission, asks),
            "SIP/2.0/UDP p1.example.net;branch=z9hG4bK2d4790.1;oc=0;oc-algo=\"loss\";oc-validity=0;oc-seq=0.000"
        );
        admission.set_pressure(91);
        assert_eq!(admission.load(START, 20), 91);
        assert!(
            fed_back(&admission, asks).ends_with(";oc=50;oc-algo=\"loss\";oc-validity=500;oc-seq=1000.000")
        );
        assert_eq!(admission.load(START.after(Duration::from_millis(1500)), 93), 93);
        assert!(
            fed_back(&admission, asks).ends_with(";oc=70;oc-algo=\"loss\";oc-validity=500;oc-seq=1001.500")
        );
        admission.set_pressure(0);
        admission.load(START.after(Duration::from_millis(2250)), 0);
        assert!(fed_back(&admission, asks).ends_with(";oc=0;oc-algo=\"loss\";oc-validity=0;oc-seq=1002.250"));
        // A value that came from downstream does not pass.
        assert!(
            fed_back(&admission, "SIP/2.0/UDP a;oc=99;oc-algo=\"loss\"").contains(";oc=0;oc-algo=\"loss\";")
        );
        for silent in [
            "SIP/2.0/UDP a;branch=z9hG4bK1",
            "SIP/2.0/UDP a;oc",
            "SIP/2.0/UDP a;oc;oc-algo=\"rate\"",
            "SIP/2.0/UDP a;oc-algo=\"loss\"",
            "SIP/2.0/UDP a;oc;oc-algo=\"loss\";oc-seq=1.1",
        ] {
            assert_eq!(fed_back(&admission, silent), silent);
        }
    }
}
