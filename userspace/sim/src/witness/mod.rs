//! A witness stands beside every node, sees each datagram that goes in and out, and knows from the RFCs alone what
//! the node must not do. It never looks inside, but for the table of bindings, which it compares with its own book.

mod book;

use core::net::{IpAddr, SocketAddr};
use core::time::Duration;
use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};

use strowger_engine::{Location, Time};

use crate::phone::{MARK, Proof, verify};
use crate::promise::Promise;
use crate::text::{Message, aor_of};
use crate::world::hash;
use book::{Asked, Book};

/// What tells a server transaction from another (RFC 3261 section 17.2.3).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Key {
    branch: String,
    sent_by: String,
    method: String,
}

/// A request that the node received.
struct Request {
    at: Time,
    /// Where responses may go.
    replies: Vec<SocketAddr>,
    uri: String,
    call_id: String,
    /// It has a To tag.
    inside: bool,
    /// A stranger made it.
    marked: bool,
    proof: Option<Proof>,
    /// Came from another node.
    peer: bool,
    asked: Option<Asked>,
    /// Final responses that the node sent.
    finals: Vec<Final>,
    cancelled: bool,
    /// The contacts of the user that it is for: URI, q, sure.
    targets: Vec<(String, u16, bool)>,
    forks: Vec<Fork>,
}

struct Final {
    code: u16,
    tag: String,
    hash: u64,
    /// Nothing had been sent on: it is the node's own.
    local: bool,
}

/// A request that the node made of it.
struct Fork {
    branch: String,
    uri: String,
    /// When it was sent, or the last provisional response came.
    heard: Time,
    provisional: bool,
    /// Its outcome came when the node may have given up waiting.
    late: bool,
    outcome: Option<u16>,
    cancelled: bool,
}

/// What came from an address, and what went back before it had shown credentials.
#[derive(Default)]
struct Account {
    received: usize,
    sent: usize,
    trusted: bool,
}

/// Timer C is longer than this (section 16.6 item 11).
const TIMER_C: Duration = Duration::from_secs(180);
/// How close to a timer things are not judged.
const EDGE: Duration = Duration::from_secs(1);
/// Timer B.
const TIMER_B: Duration = Duration::from_secs(32);

pub(crate) struct Witness {
    name: String,
    address: SocketAddr,
    sent_by: String,
    domain: String,
    promise: Promise,
    /// User to password.
    passwords: HashMap<String, String>,
    /// The same of those who are locked out: they prove who they are, and get nothing but 403.
    locked: HashMap<String, String>,
    peers: Vec<SocketAddr>,
    book: Book,
    requests: HashMap<Key, Request>,
    /// Our branches, to the request they belong to.
    branches: HashMap<String, Key>,
    accounts: HashMap<IpAddr, Account>,
    /// Hosts that sent what cannot be read, or what a stranger marked: what they are answered is not matched with it.
    odd: HashSet<IpAddr>,
    /// Credentials that opened something, to the transaction that had them.
    used: HashMap<Proof, Key>,
    pub(crate) faults: Vec<String>,
}

impl Witness {
    pub(crate) fn new(
        name: String,
        address: SocketAddr,
        domain: String,
        promise: Promise,
        (passwords, locked): (HashMap<String, String>, HashMap<String, String>),
        peers: Vec<SocketAddr>,
    ) -> Self {
        Self {
            name,
            address,
            sent_by: address.to_string(),
            domain,
            promise,
            passwords,
            locked,
            peers,
            book: Book::default(),
            requests: HashMap::new(),
            branches: HashMap::new(),
            accounts: HashMap::new(),
            odd: HashSet::new(),
            used: HashMap::new(),
            faults: vec![],
        }
    }

    fn fault(&mut self, what: impl core::fmt::Display) {
        self.faults.push(format!("{}: {what}", self.name));
    }

    /// A datagram goes into the node.
    pub(crate) fn sees_in(&mut self, now: Time, from: SocketAddr, bytes: &[u8]) {
        self.accounts.entry(from.ip()).or_default().received += bytes.len();
        let message = Message::read(bytes);
        if message.as_ref().is_none_or(|message| message.get(MARK).is_some()) {
            self.odd.insert(from.ip());
        }
        let Some(message) = message else { return };
        let Some(via) = message.top_via() else { return };
        if message.code().is_some() {
            return self.response_in(now, via.branch, &message);
        }
        let method = message.method();
        if method == "ACK" {
            return;
        }
        let key = |method: &str| Key {
            branch: via.branch.to_owned(),
            sent_by: via.sent_by.to_owned(),
            method: method.to_owned(),
        };
        if method == "CANCEL"
            && let Some(invite) = self.requests.get_mut(&key("INVITE"))
        {
            invite.cancelled = true;
        }
        let reply_to = via.reply_to(from);
        let proof = verify(&message, &self.domain, |user| self.passwords.get(user).cloned());
        if verify(&message, &self.domain, |user| self.locked.get(user).cloned()).is_some() {
            self.accounts.entry(from.ip()).or_default().trusted = true;
        }
        match self.requests.entry(key(method)) {
            Entry::Occupied(mut known) => {
                let known = known.get_mut();
                if !known.replies.contains(&reply_to) {
                    known.replies.push(reply_to);
                }
                known.proof = known.proof.take().or(proof);
            }
            Entry::Vacant(new) => {
                new.insert(Request {
                    at: now,
                    replies: vec![reply_to],
                    uri: message.uri().to_owned(),
                    call_id: message.call_id().to_owned(),
                    inside: message.tag_of_to().is_some(),
                    marked: message.get(MARK).is_some(),
                    proof,
                    peer: self.peers.contains(&from),
                    asked: (method == "REGISTER").then(|| Book::read(&message)),
                    finals: vec![],
                    cancelled: false,
                    targets: self.book.contacts(now, aor_of(message.uri())),
                    forks: vec![],
                });
            }
        }
    }

    fn response_in(&mut self, now: Time, branch: &str, message: &Message<'_>) {
        let Some(fork) = self.fork(branch) else { return };
        match message.code() {
            Some(100..=199) => {
                // What rings first after Timer B has been given up already.
                let late = !fork.provisional && now.since(fork.heard) >= TIMER_B.saturating_sub(EDGE);
                fork.provisional = true;
                // Timer F runs on whatever comes; only an INVITE is waited for longer.
                if message.method() == "INVITE" && !late {
                    fork.heard = now;
                }
            }
            code if message.method() != "CANCEL" && fork.outcome.is_none_or(|o| o >= 300) => {
                fork.late |= fork.outcome.is_none() && now.since(fork.heard) >= TIMER_B.saturating_sub(EDGE);
                fork.outcome = code;
            }
            _ => {}
        }
    }

    fn fork(&mut self, branch: &str) -> Option<&mut Fork> {
        let request = self.requests.get_mut(self.branches.get(branch)?)?;
        request.forks.iter_mut().find(|f| f.branch == branch)
    }

    /// A datagram leaves the node.
    pub(crate) fn sees_out(&mut self, now: Time, to: SocketAddr, bytes: &[u8]) {
        let Some(message) = Message::read(bytes) else {
            // What is malformed in a way that does not matter to a proxy goes on as it is; what the node itself
            // writes is judged by those who get it.
            return;
        };
        let Some(via) = message.top_via() else {
            if !self.odd.contains(&to.ip()) {
                self.fault(format_args!("no Via: {}", message.start));
            }
            return;
        };
        if to == self.address {
            self.fault(format_args!("sends to itself: {}", message.start));
        }
        match message.code() {
            Some(code) => self.response_out(now, to, code, &message, bytes),
            None if via.sent_by != self.sent_by => {
                self.fault(format_args!("a request without its Via: {}", message.start));
            }
            None => self.request_out(now, to, via.branch, &message),
        }
    }

    fn response_out(&mut self, now: Time, to: SocketAddr, code: u16, message: &Message<'_>, bytes: &[u8]) {
        let Some(via) = message.top_via() else { return };
        let key = Key {
            branch: via.branch.to_owned(),
            sent_by: via.sent_by.to_owned(),
            method: message.method().to_owned(),
        };
        let Some(request) = self.requests.get_mut(&key) else {
            if !self.odd.contains(&to.ip()) {
                self.fault(format_args!("{} {} answers nothing that came", message.start, key.method));
            }
            return;
        };
        let mut wrong = Vec::new();
        // A mutated Via may name another port; never another host.
        let odd = self.odd.contains(&to.ip()) && request.replies.iter().any(|reply| reply.ip() == to.ip());
        if !request.replies.contains(&to) && !odd {
            wrong
                .push(format!("{} goes to {to}, the request came from {:?}", message.start, request.replies));
        }
        if code >= 200 {
            let tag = message.tag_of_to().unwrap_or_default().to_owned();
            let likeness = hash(bytes);
            let again = request.finals.iter().any(|f| f.hash == likeness);
            if !again {
                wrong.extend(request.judge_final(now, self.promise, &key, code, &tag));
                let local = request.forks.is_empty();
                request.finals.push(Final { code, tag, hash: likeness, local });
            }
            if code == 200
                && let Some(asked) = request.asked.clone()
            {
                wrong.extend(self.book.granted(now, &asked, message, again && self.promise.local));
            }
        }
        // A challenge that came from further on is one that the node's own let through.
        let challenged = (code == 401 || code == 407) && request.forks.is_empty();
        let proven = request.proof.is_some() && !challenged;
        let (proof, inside) = (request.proof.clone(), request.inside);
        // The first Via is where it came from: what a source was sent counts against what it had sent.
        let account = self.accounts.entry(to.ip()).or_default();
        account.trusted |= proven;
        // What comes back from somebody inside, or from whoever a CANCEL went on to (section 16.10), is as long as he
        // likes.
        if !inside && key.method != "CANCEL" {
            account.sent += bytes.len();
        }
        if self.promise.guarded
            && !account.trusted
            && account.sent > account.received
            && !self.peers.contains(&to)
        {
            let (sent, received) = (account.sent, account.received);
            wrong.push(format!(
                "{sent} octets to {to}, which sent {received} and no credentials (the last: {} to {})",
                message.start, key.method
            ));
        }
        if self.promise.guarded && key.method == "REGISTER" && code == 200 {
            match proof {
                None => wrong.push("a REGISTER without credentials is answered 200".to_owned()),
                Some(proof) => wrong.extend(self.spend(&proof, &key)),
            }
        }
        for what in wrong {
            self.fault(what);
        }
    }

    /// Credentials open one thing once (RFC 7616 section 3.4: nc).
    fn spend(&mut self, proof: &Proof, key: &Key) -> Option<String> {
        match self.used.entry(proof.clone()) {
            Entry::Vacant(new) => {
                new.insert(key.clone());
                None
            }
            Entry::Occupied(old) if old.get() == key => None,
            Entry::Occupied(_) => Some(format!("credentials of {} (nc {}) used twice", proof.user, proof.nc)),
        }
    }

    fn request_out(&mut self, now: Time, to: SocketAddr, branch: &str, message: &Message<'_>) {
        let method = message.method();
        let known = self.branches.contains_key(branch);
        match method {
            // Section 16.10: one that is about nothing it knows goes on without state.
            "CANCEL" if !known && message.values("Via").count() > 1 => return,
            "CANCEL" => return self.cancel_out(now, branch),
            "ACK" if known => {
                let early = self.fork(branch).is_some_and(|f| f.outcome.is_none_or(|code| code < 300));
                if early && self.promise.stateful {
                    self.fault("ACK in the transaction of an INVITE that was not refused");
                }
                return;
            }
            _ if known => return,
            _ => {}
        }
        // One Via: a request of its own.
        let Some(above) = message.second_via() else { return };
        let key = Key {
            branch: above.branch.to_owned(),
            sent_by: above.sent_by.to_owned(),
            method: if method == "ACK" { "INVITE".to_owned() } else { method.to_owned() },
        };
        if method == "ACK" {
            return;
        }
        let Some(request) = self.requests.get_mut(&key) else {
            if message.get(MARK).is_none() {
                self.fault(format_args!("{} made of nothing that came", message.start));
            }
            return;
        };
        let mut wrong = Vec::new();
        let allowed = request.proof.is_some() || request.inside || request.peer;
        if self.promise.guarded && (!allowed || request.marked) {
            wrong.push(format!("{} goes on without credentials", message.start));
        }
        if !request.targets.is_empty() && !request.inside {
            wrong.extend(request.judge_fork(self.promise, now, message.uri()));
        }
        let aor = aor_of(&request.uri).to_owned();
        let ours = aor.split_once('@').is_some_and(|(_, host)| host == self.domain);
        request.forks.push(Fork {
            branch: branch.to_owned(),
            uri: message.uri().to_owned(),
            heard: now,
            provisional: false,
            late: false,
            outcome: None,
            cancelled: false,
        });
        let arrived = request.at;
        self.branches.insert(branch.to_owned(), key);
        // It may have been bound when the request came, and not be any more when its turn comes.
        if ours
            && !self.book.may_have(now, &aor, message.uri())
            && !self.requests[&self.branches[branch]].targets.iter().any(|t| t.0 == message.uri())
        {
            wrong.push(format!(
                "{} for {aor} (came at {arrived:?}) goes to {to}, which is not bound",
                message.start
            ));
        }
        for what in wrong {
            self.fault(what);
        }
    }

    fn cancel_out(&mut self, now: Time, branch: &str) {
        let Some(key) = self.branches.get(branch).cloned() else {
            if self.promise.stateful {
                self.fault(format_args!("CANCEL for the branch {branch}, which it never sent"));
            }
            return;
        };
        let Some(request) = self.requests.get_mut(&key) else { return };
        let decided = request
            .forks
            .iter()
            .any(|f| f.outcome.is_some_and(|code| (200..300).contains(&code) || code >= 600));
        let asked = request.cancelled;
        let call_id = request.call_id.clone();
        let Some(fork) = request.forks.iter_mut().find(|f| f.branch == branch) else { return };
        let waited = now.since(fork.heard) >= TIMER_C;
        let provisional = fork.provisional;
        let uri = fork.uri.clone();
        let first = !core::mem::replace(&mut fork.cancelled, true);
        if !first {
            return;
        }
        if !asked && !decided && !waited {
            self.fault(format_args!("CANCEL to {uri} (Call-ID {call_id}) that nobody asked for"));
        }
        if !provisional && self.promise.stateful {
            self.fault(format_args!("CANCEL to {uri} before a provisional response (section 9.1)"));
        }
    }

    /// The table must be as the book says.
    pub(crate) fn compare(&mut self, now: Time, location: &Location) {
        for wrong in self.book.compare(now, location) {
            self.fault(wrong);
        }
    }

    /// Requests of each kind, for a report of what a run covered: received, forked to more than one, cancelled.
    pub(crate) fn covered(&self) -> (usize, usize, usize) {
        let forked = self.requests.values().filter(|r| r.forks.len() > 1).count();
        let cancelled = self.requests.values().filter(|r| r.cancelled).count();
        (self.requests.len(), forked, cancelled)
    }
}

impl Request {
    /// A final response that was not sent before.
    fn judge_final(&self, now: Time, promise: Promise, key: &Key, code: u16, tag: &str) -> Vec<String> {
        let mut wrong = Vec::new();
        // The transaction of a request that nobody answered is gone after 64*T1 without a word (RFC 4320), and what
        // arrives then is a new request.
        let forgotten = key.method != "INVITE" && now.since(self.at) >= TIMER_B.saturating_sub(EDGE);
        if !promise.stateful || forgotten {
            return wrong;
        }
        let call = &self.call_id;
        let success = (200..300).contains(&code);
        if key.method == "INVITE" && success {
            // Section 16.7 item 5: any number of 2xx, one for each UAS.
            if self.finals.iter().any(|f| (200..300).contains(&f.code) && f.tag == tag) {
                wrong.push(format!("two different 2xx of one UAS (Call-ID {call})"));
            }
            return wrong;
        }
        // Challenges are given without any state, so each is a new one (section 8.2.7).
        let challenge = |code| matches!(code, 401 | 407) && self.forks.is_empty();
        let stateless = challenge(code) && self.finals.iter().all(|f| challenge(f.code));
        // A CANCEL is answered by what is known of its INVITE at the moment, which may be gone when it comes again.
        let local = self.finals.iter().all(|f| f.local) && (!promise.local || key.method == "CANCEL");
        if let Some(Final { code: other, .. }) = self.finals.first().filter(|_| !stateless && !local) {
            wrong.push(format!("{code} after {other} to one {} (Call-ID {call})", key.method));
        }
        wrong.extend(self.judge_choice(promise, code));
        wrong
    }

    /// The choice of the response (section 16.7 item 6).
    fn judge_choice(&self, promise: Promise, code: u16) -> Vec<String> {
        let mut wrong = Vec::new();
        if !promise.forks || self.forks.is_empty() || (200..300).contains(&code) {
            return wrong;
        }
        let call = &self.call_id;
        let outcomes: Vec<Option<u16>> = self.forks.iter().map(|f| f.outcome).collect();
        if outcomes.iter().flatten().any(|c| (200..300).contains(c)) {
            wrong.push(format!("{code}, though a branch had a 2xx (Call-ID {call})"));
        }
        let global: Vec<u16> = outcomes.iter().flatten().copied().filter(|c| *c >= 600).collect();
        if !global.is_empty() {
            if !global.contains(&code) && !self.cancelled {
                wrong.push(format!("{code}, though a branch had {global:?} (Call-ID {call})"));
            }
            return wrong;
        }
        let untried =
            self.targets.iter().find(|(uri, _, sure)| *sure && !self.forks.iter().any(|f| f.uri == *uri));
        if let Some((uri, ..)) = untried
            && !self.cancelled
            && !self.inside
        {
            wrong.push(format!("{code}, though {uri} was never tried (Call-ID {call})"));
        }
        let mut can: Vec<u16> = Vec::new();
        for outcome in outcomes {
            match outcome {
                Some(503) => can.push(500),
                Some(c) => can.push(c),
                None => can.extend([408, 487]),
            }
        }
        let late = self.forks.iter().any(|f| f.late);
        if late {
            can.extend([408, 487]);
        }
        let best = can.iter().map(|c| c / 100).min().unwrap_or(0);
        // What the node may say by itself: it was cancelled, or a target was not to be reached.
        if self.cancelled {
            can.push(487);
        }
        if self.targets.len() > self.forks.len() {
            can.push(500);
        }
        if !can.contains(&code) {
            wrong.push(format!("{code} comes from no branch: {can:?} (Call-ID {call})"));
        } else if code / 100 > best && !late {
            wrong.push(format!("{code}, though a branch had a {best}xx: {can:?} (Call-ID {call})"));
        }
        wrong
    }

    /// The order of the targets (section 16.6): a lower q waits until all the higher ones are over.
    fn judge_fork(&self, promise: Promise, now: Time, uri: &str) -> Vec<String> {
        let mut wrong = Vec::new();
        let Some((_, q, _)) = self.targets.iter().find(|(u, ..)| u == uri) else { return wrong };
        for (better, other, sure) in &self.targets {
            if other <= q || !sure {
                continue;
            }
            match self.forks.iter().find(|f| f.uri == *better) {
                None => wrong.push(format!(
                    "{uri} (q {q}) is tried before {better} (q {other}) (Call-ID {})",
                    self.call_id
                )),
                Some(fork)
                    if fork.outcome.is_none()
                        && now.since(fork.heard) < TIMER_B.saturating_sub(EDGE)
                        && promise.forks =>
                {
                    wrong.push(format!("{uri} (q {q}) is tried while {better} (q {other}) is not over"));
                }
                Some(_) => {}
            }
        }
        if self.forks.iter().any(|f| f.uri == uri) && promise.forks {
            wrong.push(format!("{uri} is tried twice (Call-ID {})", self.call_id));
        }
        wrong
    }
}
