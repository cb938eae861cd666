//! The location table against a model that a reader can check against RFC 3261 section 10.3 line by line.

use core::time::Duration;
use std::collections::BTreeMap;
use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::config::limit;

fn config(max_bindings: usize, max_contacts: usize) -> Config {
    let mut config = Config {
        listen: vec!["10.0.0.2:5060".parse().unwrap()],
        domains: vec!["example.net".into()],
        max_bindings,
        secret: [5; 32],
        ..Config::default()
    };
    config.registrar.max_contacts = max_contacts;
    config
}

fn seconds(n: u64) -> Time {
    Time::START.after(Duration::from_secs(n))
}

fn contact(uri: &str, expires: u32) -> Contact<'_> {
    Contact { uri: uri.as_bytes(), target: uri.len(), expires, q: 1000, reachable: true, ..Contact::NONE }
}

/// One update of `user`; the listing afterwards.
fn set(
    (location, expiry): (&Location, &mut Expiry),
    user: &str,
    (call_id, cseq): (u64, u32),
    change: Change<'_>,
    now: Time,
) -> Result<Vec<(String, u32)>, Refusal> {
    let aor = location.aor(0, user.as_bytes());
    let mut listed = Vec::new();
    let update = Update { call_id, cseq, change, path: Path::default(), room: 8000, gruus: 0 };
    let (_, due) = location.update(aor, (0, user.as_bytes()), &update, now, &mut |l| {
        listed.push((String::from_utf8(l.uri.to_vec()).unwrap(), l.expires));
    })?;
    if let Some(due) = due {
        expiry.add(aor, due);
    }
    Ok(listed)
}

fn target(location: &Location, user: &str, now: Time) -> Option<String> {
    location.find(location.aor(0, user.as_bytes()), now, |found| match found {
        Found::Targets(mut targets) => Some(String::from_utf8(targets.next()?.uri.to_vec()).unwrap()),
        _ => None,
    })
}

#[test]
fn highest_q_then_the_contact_made_last_whoever_refreshes() {
    let location = Location::new(&config(10, 5)).unwrap();
    let mut expiry = Expiry::new();
    let at = (&location, &mut expiry);
    let with_q = |uri, q| [Contact { q, ..contact(uri, 60) }];
    set(at, "a", (1, 1), Change::Each(&with_q("sip:a@1.1.1.1", 500)), seconds(1)).unwrap();
    set((&location, &mut expiry), "a", (2, 1), Change::Each(&with_q("sip:a@2.2.2.2", 500)), seconds(1))
        .unwrap();
    assert_eq!(target(&location, "a", seconds(1)).as_deref(), Some("sip:a@2.2.2.2"));
    set((&location, &mut expiry), "a", (1, 2), Change::Each(&with_q("sip:a@1.1.1.1", 500)), seconds(2))
        .unwrap();
    assert_eq!(
        target(&location, "a", seconds(2)).as_deref(),
        Some("sip:a@2.2.2.2"),
        "a refresh keeps the place"
    );
    set((&location, &mut expiry), "a", (3, 1), Change::Each(&with_q("sip:a@3.3.3.3", 501)), seconds(2))
        .unwrap();
    set((&location, &mut expiry), "a", (4, 1), Change::Each(&with_q("sip:a@4.4.4.4", 499)), seconds(2))
        .unwrap();
    assert_eq!(target(&location, "a", seconds(2)).as_deref(), Some("sip:a@3.3.3.3"));
    let unreachable = [Contact { reachable: false, ..contact("sip:a@example.com", 60) }];
    set((&location, &mut expiry), "a", (5, 1), Change::Each(&unreachable), seconds(2)).unwrap();
    assert_eq!(target(&location, "a", seconds(2)).as_deref(), Some("sip:a@3.3.3.3"));
    assert_eq!(target(&location, "a", seconds(61)).as_deref(), Some("sip:a@3.3.3.3"), "the others are over");
    assert_eq!(target(&location, "a", seconds(62)), None);
}

#[test]
fn all_of_an_update_or_nothing() {
    let location = Location::new(&config(10, 3)).unwrap();
    let mut expiry = Expiry::new();
    let two = [contact("sip:a@1.1.1.1", 60), contact("sip:a@2.2.2.2", 60)];
    set((&location, &mut expiry), "a", (1, 5), Change::Each(&two), seconds(1)).unwrap();
    // The second contact is out of order: the first must not be touched.
    let mixed = [contact("sip:a@3.3.3.3", 60), contact("sip:a@2.2.2.2", 0)];
    assert_eq!(
        set((&location, &mut expiry), "a", (1, 4), Change::Each(&mixed), seconds(2)),
        Err(Refusal::OutOfOrder)
    );
    let more = [contact("sip:a@3.3.3.3", 60), contact("sip:a@4.4.4.4", 60)];
    assert_eq!(
        set((&location, &mut expiry), "a", (1, 6), Change::Each(&more), seconds(11)),
        Err(Refusal::Contacts { retry_after: 50 })
    );
    assert_eq!(
        set((&location, &mut expiry), "a", (1, 4), Change::RemoveAll, seconds(2)),
        Err(Refusal::OutOfOrder)
    );
    let listed = set((&location, &mut expiry), "a", (1, 5), Change::Each(&two), seconds(2)).unwrap();
    assert_eq!(
        listed,
        [("sip:a@1.1.1.1".to_owned(), 59), ("sip:a@2.2.2.2".to_owned(), 59)],
        "sent again: same answer"
    );
    assert_eq!(location.bindings(), 2);
    let update = Update {
        path: Path::default(),
        gruus: 0,
        call_id: 9,
        cseq: 1,
        change: Change::Each(&[contact("sip:a@3.3.3.3", 60)]),
        room: 158,
    };
    let aor = location.aor(0, b"a");
    assert_eq!(
        location.update(aor, (0, b"a"), &update, seconds(2), &mut |_| ()).map(|_| ()),
        Err(Refusal::Contacts { retry_after: 59 }),
        "three lines do not fit 158 octets"
    );
}

#[test]
fn full_table_refuses_new_bindings_and_keeps_old_ones() {
    let location = Location::new(&config(2, 3)).unwrap();
    let mut expiry = Expiry::new();
    let one = [contact("sip:x@1.1.1.1", 60)];
    for user in ["a", "b"] {
        set((&location, &mut expiry), user, (1, 1), Change::Each(&one), seconds(1)).unwrap();
    }
    assert_eq!(
        set((&location, &mut expiry), "c", (1, 1), Change::Each(&one), seconds(1)),
        Err(Refusal::Full)
    );
    assert!(set((&location, &mut expiry), "a", (1, 2), Change::Each(&one), seconds(2)).is_ok());
    let moved = [contact("sip:x@2.2.2.2", 60), contact("sip:x@1.1.1.1", 0)];
    assert!(
        set((&location, &mut expiry), "a", (1, 3), Change::Each(&moved), seconds(2)).is_ok(),
        "a swap needs no room"
    );
    assert!(set((&location, &mut expiry), "b", (1, 2), Change::RemoveAll, seconds(2)).is_ok());
    assert_eq!(
        set((&location, &mut expiry), "c", (1, 2), Change::Each(&one), seconds(2)),
        Err(Refusal::Full),
        "b is known still"
    );
    expiry.run(&location, seconds(2 + limit::KNOWN + 60));
    assert!(set((&location, &mut expiry), "c", (1, 3), Change::Each(&one), seconds(1000)).is_ok());
}

/// Worker B removes what worker A has just added, and counts that first.
#[test]
fn a_removal_that_is_counted_before_its_addition_reads_as_none() {
    let count = Count::default();
    count.change(0, 2);
    assert_eq!(count.get(), 0);
    count.change(3, 0);
    assert_eq!(count.get(), 1);
}

#[test]
fn one_queue_entry_for_each_record_whatever_comes() {
    let location = Location::new(&config(100, 3)).unwrap();
    let mut expiry = Expiry::new();
    let one = |s| [contact("sip:x@1.1.1.1", s)];
    for n in 1..500 {
        let change = one(if n % 3 == 0 { 0 } else { 7200 - n });
        set((&location, &mut expiry), "a", (1, n), Change::Each(&change), seconds(1)).unwrap();
        set((&location, &mut expiry), "never", (1, n), Change::Each(&one(0)), seconds(1)).unwrap();
    }
    assert_eq!((location.aors(), expiry.len().0), (1, 1));
    assert_eq!(location.records.len(), 1);
}

/// Who goes makes room for who comes: the calendar has as many places as there were records at once.
#[test]
fn places_are_used_again() {
    let location = Location::new(&config(1000, 3)).unwrap();
    let mut expiry = Expiry::new();
    for round in 0..5 {
        let start = 10_000 * round;
        for n in 0..100 {
            let user = format!("{round}-{n}");
            let one = [contact("sip:x@1.1.1.1", 60 + n)];
            set((&location, &mut expiry), &user, (1, 1), Change::Each(&one), seconds(start + 1)).unwrap();
        }
        assert_eq!((location.registered(), expiry.len()), (100, (100, 100)));
        assert!(expiry.next().is_some_and(|next| next <= seconds(start + 61)));
        // Each when its own time has come, and not before.
        for n in 0..100 {
            while expiry.next().is_some_and(|next| next <= seconds(start + 61 + n)) {
                expiry.run(&location, seconds(start + 61 + n));
            }
            let left = location.registered() as u64;
            assert!(left == 100 - n || left == 99 - n, "{n}: {left}");
        }
        while let Some(next) = expiry.next() {
            expiry.run(&location, next);
        }
        assert_eq!((location.aors(), expiry.len().0), (0, 0));
    }
}

#[test]
fn work_of_one_run_is_bounded() {
    let location = Location::new(&config(1000, 3)).unwrap();
    let mut expiry = Expiry::new();
    for n in 0..600 {
        let uri = format!("sip:{n}@1.1.1.1");
        set((&location, &mut expiry), &n.to_string(), (1, 1), Change::Each(&[contact(&uri, 60)]), seconds(1))
            .unwrap();
    }
    assert_eq!(expiry.run(&location, seconds(60)), 0);
    assert_eq!(location.registered(), 600);
    // Some runs only file anew what comes due later in the minute.
    let runs: Vec<_> = (0..20).map(|_| expiry.run(&location, seconds(61))).collect();
    assert_eq!((runs.iter().sum::<usize>(), runs.last()), (600, Some(&0)));
    assert!(runs.iter().all(|run| *run <= limit::EXPIRY_BATCH), "{runs:?}");
    assert_eq!((location.bindings(), location.aors()), (0, 600), "known, for calls to get 480");
    assert_eq!(location.registered(), 0);
    for _ in 0..40 {
        expiry.run(&location, seconds(62 + limit::KNOWN));
    }
    assert_eq!((location.aors(), expiry.len().0, location.records.len()), (0, 0, 0));
}

#[test]
fn readers_see_whole_updates_from_other_threads() {
    let location = Arc::new(Location::new(&config(100, 4)).unwrap());
    let writers: Vec<_> = (0..2u64)
        .map(|writer| {
            let location = Arc::clone(&location);
            std::thread::spawn(move || {
                let mut expiry = Expiry::new();
                let uris = [format!("sip:a@{writer}.0.0.1"), format!("sip:a@{writer}.0.0.2")];
                for n in 1..2000 {
                    // Both or none.
                    let s = if n % 2 == 1 { 60 } else { 0 };
                    let pair = [contact(&uris[0], s), contact(&uris[1], s)];
                    set((&location, &mut expiry), "a", (writer, n), Change::Each(&pair), seconds(1)).unwrap();
                }
                expiry.len().0
            })
        })
        .collect();
    let aor = location.aor(0, b"a");
    while writers.iter().any(|w| !w.is_finished()) {
        let mut listed = 0;
        location.list(aor, seconds(1), &mut |_| listed += 1);
        assert!(listed % 2 == 0, "{listed} contacts: half an update");
    }
    let entries: usize = writers.into_iter().map(|w| w.join().unwrap()).sum();
    assert_eq!((location.aors(), entries, location.bindings()), (1, 1, 4));
}

/// Section 10.3, as simply as it can be written.
#[derive(Default)]
struct Model {
    users: BTreeMap<String, Vec<ModelBinding>>,
}

#[derive(Clone)]
struct ModelBinding {
    uri: String,
    call_id: u64,
    cseq: u32,
    until: u64,
}

impl Model {
    fn live(&self, user: &str, now: u64) -> Vec<ModelBinding> {
        self.users.get(user).into_iter().flatten().filter(|b| b.until > now).cloned().collect()
    }

    fn update(
        &mut self,
        user: &str,
        (call_id, cseq): (u64, u32),
        contacts: Option<&[(String, u32)]>,
        now: u64,
        max: usize,
    ) -> bool {
        let before = self.live(user, now);
        let mut after = before.clone();
        match contacts {
            None => {
                if after.iter().any(|b| b.call_id == call_id && b.cseq >= cseq) {
                    return false;
                }
                after.clear();
            }
            Some(contacts) => {
                for (uri, expires) in contacts {
                    let new =
                        ModelBinding { uri: uri.clone(), call_id, cseq, until: now + u64::from(*expires) };
                    match after.iter().position(|b| b.uri == *uri) {
                        None if *expires > 0 => after.push(new),
                        None => {}
                        Some(n) if after[n].call_id == call_id && after[n].cseq == cseq && *expires > 0 => {}
                        Some(n) if after[n].call_id == call_id && after[n].cseq >= cseq => return false,
                        Some(n) if *expires == 0 => {
                            after.remove(n);
                        }
                        Some(n) => after[n] = new,
                    }
                }
            }
        }
        let grew = after.iter().any(|b| !before.iter().any(|o| o.uri == b.uri));
        if grew && after.len() > max {
            return false;
        }
        self.users.insert(user.to_owned(), after);
        true
    }
}

#[derive(Clone, Debug)]
enum Step {
    Set { user: u8, call_id: u64, cseq: u32, contacts: Vec<(u8, u32)> },
    RemoveAll { user: u8, call_id: u64, cseq: u32 },
    Wait(u64),
}

fn step() -> impl Strategy<Value = Step> {
    let contacts = proptest::collection::vec((0u8..4, prop_oneof![Just(0u32), 1u32..100]), 1..4);
    prop_oneof![
        6 => (0u8..3, 0u64..2, 0u32..6, contacts)
            .prop_map(|(user, call_id, cseq, contacts)| Step::Set { user, call_id, cseq, contacts }),
        1 => (0u8..3, 0u64..2, 0u32..6).prop_map(|(user, call_id, cseq)| Step::RemoveAll { user, call_id, cseq }),
        2 => (1u64..120).prop_map(Step::Wait),
    ]
}

proptest! {
    #[test]
    fn behaves_as_the_model(steps in proptest::collection::vec(step(), 1..60)) {
        let location = Location::new(&config(1000, 3)).unwrap();
        let (mut expiry, mut model, mut now) = (Expiry::new(), Model::default(), 10);
        for step in steps {
            match step {
                Step::Wait(s) => {
                    now += s;
                    expiry.run(&location, seconds(now));
                }
                Step::Set { user, call_id, cseq, contacts } => {
                    let user = format!("u{user}");
                    let named: Vec<_> = contacts.iter().map(|(n, e)| (format!("sip:x@1.1.1.{n}"), *e)).collect();
                    // The first of two equal contacts in one request wins in both.
                    let asked: Vec<_> = named.iter().map(|(u, e)| contact(u, *e)).collect();
                    let done = set((&location, &mut expiry), &user, (call_id, cseq), Change::Each(&asked), seconds(now));
                    prop_assert_eq!(done.is_ok(), model.update(&user, (call_id, cseq), Some(&named), now, 3));
                }
                Step::RemoveAll { user, call_id, cseq } => {
                    let user = format!("u{user}");
                    let done = set((&location, &mut expiry), &user, (call_id, cseq), Change::RemoveAll, seconds(now));
                    prop_assert_eq!(done.is_ok(), model.update(&user, (call_id, cseq), None, now, 3));
                }
            }
            let mut held = 0;
            for user in ["u0", "u1", "u2"] {
                let mut listed = Vec::new();
                location.list(location.aor(0, user.as_bytes()), seconds(now), &mut |l| {
                    listed.push((String::from_utf8(l.uri.to_vec()).unwrap(), u64::from(l.expires)));
                });
                let expected: Vec<_> = model.live(user, now).into_iter().map(|b| (b.uri, b.until - now)).collect();
                prop_assert_eq!(&listed, &expected);
                prop_assert_eq!(target(&location, user, seconds(now)), expected.last().map(|(uri, _)| uri.clone()));
                held += listed.len();
            }
            prop_assert!(location.bindings() >= held);
            prop_assert_eq!(location.aors(), expiry.len().0);
            let bound = location.records.pin().values().filter(|record| !record.is_empty()).count();
            prop_assert_eq!(location.registered(), bound);
        }
        expiry.run(&location, seconds(now + 1000));
        expiry.run(&location, seconds(now + 2000));
        prop_assert_eq!((location.bindings(), location.aors(), location.registered()), (0, 0, 0));
        prop_assert_eq!(expiry.len().0, 0);
    }
}
