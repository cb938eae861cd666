//! The bindings that a node must have: kept by whoever watches its REGISTERs and their answers.

use core::time::Duration;
use std::collections::HashMap;

use strowger_engine::{Location, Time};

use crate::text::{Message, aor_of, param, split, uri_of};

/// One binding. An answer that is repeated may or may not have granted the time anew, so there are two ends.
#[derive(Clone, Debug)]
pub(crate) struct Bound {
    pub(crate) contact: String,
    /// In thousandths.
    pub(crate) q: u16,
    /// It is there until then for sure.
    surely_until: Time,
    /// After that it must be gone.
    perhaps_until: Time,
}

/// What a REGISTER asks for.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    aor: String,
    all: bool,
    /// Contact, q, seconds.
    contacts: Vec<(String, u16, Option<u32>)>,
}

#[derive(Default)]
pub(crate) struct Book {
    bindings: HashMap<String, Vec<Bound>>,
}

/// The edges of a binding's life are not judged: the node counts in whole seconds where it tells, not where it keeps.
const EDGE: Duration = Duration::from_millis(1100);

impl Book {
    /// Reads a REGISTER.
    pub(crate) fn read(message: &Message<'_>) -> Asked {
        let header = message.get("Expires").and_then(|text| text.parse().ok());
        let mut asked = Asked {
            aor: aor_of(uri_of(message.get("To").unwrap_or_default())).to_owned(),
            all: false,
            contacts: vec![],
        };
        for (_, line) in message.lines().filter(|(name, _)| name.eq_ignore_ascii_case("Contact")) {
            for value in split(line) {
                if value == "*" {
                    asked.all = true;
                    continue;
                }
                let expires = param(value, "expires").and_then(|text| text.parse().ok()).or(header);
                let q = param(value, "q").map_or(1000, thousandths);
                asked.contacts.push((uri_of(value).to_owned(), q, expires));
            }
        }
        asked
    }

    /// The node answered a REGISTER with this 200; `again` when it had done so before. Complains about what it lists.
    pub(crate) fn granted(
        &mut self,
        now: Time,
        asked: &Asked,
        answer: &Message<'_>,
        again: bool,
    ) -> Vec<String> {
        let mut wrong = Vec::new();
        let listed: Vec<(&str, u32)> = answer
            .values("Contact")
            .map(|value| {
                let seconds = param(value, "expires").and_then(|text| text.parse().ok()).unwrap_or(0);
                (uri_of(value), seconds)
            })
            .collect();
        let bindings = self.bindings.entry(asked.aor.clone()).or_default();
        if !again {
            if asked.all {
                bindings.clear();
            }
            for (contact, q, expires) in &asked.contacts {
                if *expires == Some(0) {
                    bindings.retain(|b| b.contact != *contact);
                    continue;
                }
                let Some((_, seconds)) = listed.iter().find(|(uri, _)| uri == contact) else {
                    wrong.push(format!("a 200 to REGISTER does not list {contact}"));
                    continue;
                };
                let until = now.after(Duration::from_secs(u64::from(*seconds)));
                bindings.retain(|b| b.contact != *contact);
                bindings.push(Bound {
                    contact: contact.clone(),
                    q: *q,
                    surely_until: until,
                    perhaps_until: until,
                });
            }
        } else if !asked.all {
            for (contact, _, expires) in &asked.contacts {
                let seconds = listed.iter().find(|(uri, _)| uri == contact).map_or(0, |(_, s)| *s);
                if *expires != Some(0)
                    && let Some(bound) = bindings.iter_mut().find(|b| b.contact == *contact)
                {
                    let until = now.after(Duration::from_secs(u64::from(seconds)));
                    bound.perhaps_until = bound.perhaps_until.max(until);
                }
            }
        }
        // A copy of an answer may be older than what came after it.
        if !again {
            for (uri, _) in &listed {
                if !bindings.iter().any(|b| b.contact == *uri && b.perhaps_until.after(EDGE) >= now) {
                    wrong.push(format!("a 200 to REGISTER lists {uri}, which nobody registered"));
                }
            }
        }
        wrong
    }

    /// Whether `contact` may be bound to `aor` now.
    pub(crate) fn may_have(&self, now: Time, aor: &str, contact: &str) -> bool {
        self.bindings.get(aor).is_some_and(|bindings| {
            bindings.iter().any(|b| b.contact == contact && b.perhaps_until.after(EDGE) >= now)
        })
    }

    /// The contacts of a user: URI, q, and whether it is bound for sure, now and for a while.
    pub(crate) fn contacts(&self, now: Time, aor: &str) -> Vec<(String, u16, bool)> {
        let Some(bindings) = self.bindings.get(aor) else { return vec![] };
        bindings
            .iter()
            .filter(|b| b.perhaps_until.after(EDGE) >= now)
            .map(|b| (b.contact.clone(), b.q, b.surely_until > now.after(EDGE)))
            .collect()
    }

    /// Compares the book with the table.
    pub(crate) fn compare(&self, now: Time, location: &Location) -> Vec<String> {
        let mut wrong = Vec::new();
        let table: HashMap<String, Vec<(String, u16)>> = location
            .snapshot(now, usize::MAX)
            .into_iter()
            .map(|user| (user.aor, user.contacts.into_iter().map(|c| (c.uri, c.q)).collect()))
            .collect();
        for (aor, contacts) in &table {
            for (contact, q) in contacts {
                let known = self.contacts(now, aor);
                match known.iter().find(|(uri, ..)| uri == contact) {
                    None => wrong
                        .push(format!("{aor} is bound to {contact}, which no answered REGISTER asked for")),
                    Some((_, asked, _)) if asked != q => {
                        wrong.push(format!("{aor} is bound to {contact} with q {q}, asked for was {asked}"));
                    }
                    Some(_) => {}
                }
            }
        }
        for (aor, bindings) in &self.bindings {
            for bound in bindings.iter().filter(|b| b.surely_until > now.after(EDGE)) {
                let there =
                    table.get(aor).is_some_and(|list| list.iter().any(|(uri, _)| *uri == bound.contact));
                if !there {
                    wrong.push(format!("the binding of {aor} to {} is lost", bound.contact));
                }
            }
        }
        wrong.sort();
        wrong
    }
}

fn thousandths(text: &str) -> u16 {
    let (whole, part) = text.split_once('.').unwrap_or((text, ""));
    let part = format!("{part:0<3}");
    whole.parse::<u16>().unwrap_or(1) * 1000 + part.get(..3).and_then(|p| p.parse::<u16>().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::Draft;

    fn message(start: &str, lines: &[(&str, &str)]) -> Vec<u8> {
        let mut draft = Draft::new(start, false);
        draft.line("To", "<sip:bob@n0.test>");
        for (name, value) in lines {
            draft.line(name, value);
        }
        draft.finish("")
    }

    fn grant(book: &mut Book, now: Time, asked: &[(&str, &str)], answer: &[(&str, &str)]) -> Vec<String> {
        let request = message("REGISTER sip:n0.test SIP/2.0", asked);
        let answer = message("SIP/2.0 200 OK", answer);
        let asked = Book::read(&Message::read(&request).unwrap());
        book.granted(now, &asked, &Message::read(&answer).unwrap(), false)
    }

    #[test]
    fn what_was_granted_is_known_until_it_runs_out() {
        let mut book = Book::default();
        let contact = ("Contact", "<sip:bob@10.1.0.1:5060>;q=0.5");
        let listed = ("Contact", "<sip:bob@10.1.0.1:5060>;q=0.500;expires=60");
        assert!(grant(&mut book, Time::START, &[contact, ("Expires", "60")], &[listed]).is_empty());
        let has = |book: &Book, seconds| {
            let now = Time::START.after(Duration::from_secs(seconds));
            book.may_have(now, "bob@n0.test", "sip:bob@10.1.0.1:5060")
        };
        assert!(has(&book, 0) && has(&book, 60) && !has(&book, 62));
        assert_eq!(
            book.contacts(Time::START, "bob@n0.test"),
            [("sip:bob@10.1.0.1:5060".to_owned(), 500, true)]
        );
        assert!(grant(&mut book, Time::START, &[contact, ("Expires", "0")], &[]).is_empty());
        assert!(!has(&book, 0));
    }

    #[test]
    fn a_list_that_nobody_asked_for_is_a_fault() {
        let mut book = Book::default();
        let mine = ("Contact", "<sip:bob@10.1.0.1>");
        let theirs = ("Contact", "<sip:eve@10.9.0.1>;expires=60");
        let faults = grant(&mut book, Time::START, &[mine, ("Expires", "60")], &[theirs]);
        assert_eq!(faults.len(), 2, "{faults:?}");
    }

    #[test]
    fn thousandths_of_q() {
        for (text, q) in [("1", 1000), ("0.5", 500), ("0.123", 123), ("1.0", 1000), ("0", 0)] {
            assert_eq!(thousandths(text), q, "{text}");
        }
    }
}
