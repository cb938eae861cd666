//! What messages say about a dialog: strings in the order they are kept in, targets and route sets.

use strowger_sip::{Contact, Message, NameAddr};

use super::event::{PARTS, Part, Party};
use crate::site::Site;

/// The strings of a dialog, one behind the other.
pub(super) struct Strings<'a> {
    pub(super) text: &'a [u8],
    pub(super) lens: [u16; PARTS],
}

impl<'a> Strings<'a> {
    pub(super) fn get(&self, part: Part) -> &'a [u8] {
        let part = part as usize;
        let from: usize = self.lens.iter().take(part).map(|len| usize::from(*len)).sum();
        let len = self.lens.get(part).map_or(0, |len| usize::from(*len));
        self.text.get(from..from + len).unwrap_or_default()
    }

    /// All parts in their order.
    pub(super) fn parts(&self) -> [&'a [u8]; PARTS] {
        let mut rest = self.text;
        self.lens.map(|len| {
            let (part, after) = rest.split_at(rest.len().min(usize::from(len)));
            rest = after;
            part
        })
    }

    pub(super) fn tag(&self, party: Party) -> &'a [u8] {
        self.get(match party {
            Party::Caller => Part::CallerTag,
            Party::Callee => Part::CalleeTag,
        })
    }

    pub(super) fn uri(&self, party: Party) -> &'a [u8] {
        self.get(match party {
            Party::Caller => Part::CallerUri,
            Party::Callee => Part::CalleeUri,
        })
    }

    pub(super) fn target(&self, party: Party) -> &'a [u8] {
        self.get(target_of(party))
    }

    /// The values of a Route header from us to this end.
    pub(super) fn routes(&self, party: Party) -> &'a [u8] {
        self.get(match party {
            Party::Caller => Part::CallerRoutes,
            Party::Callee => Part::CalleeRoutes,
        })
    }
}

pub(super) const fn target_of(party: Party) -> Part {
    match party {
        Party::Caller => Part::CallerTarget,
        Party::Callee => Part::CalleeTarget,
    }
}

/// The URI of the first Contact, as it stands.
pub(super) fn contact<'a>(message: &Message<'a>) -> Option<&'a [u8]> {
    match message.contacts().next()?.ok()? {
        Contact::Address(contact) => Some(contact.address.uri_bytes()),
        Contact::Star => None,
    }
}

/// Hops on one side of us that a route set may have. The longest chains in the field have about six.
const HOPS: usize = 16;

/// Octets of one side's route set.
const ROUTES: usize = 1024;

/// The route sets that the Record-Route of a response makes (RFC 3261 section 12.1): of each end the part beyond us,
/// nearest hop first, as the values of a Route header.
pub(super) struct Learned {
    caller: crate::text::Text<ROUTES>,
    callee: crate::text::Text<ROUTES>,
    /// One of the values is ours.
    pub(super) through_us: bool,
    /// All of it was read and kept.
    pub(super) whole: bool,
}

/// Whether a value of Record-Route is ours.
fn is_ours(value: &NameAddr<'_>, site: &Site) -> bool {
    value.uri().ok().and_then(|uri| site.listen_named(&uri.host()?, uri.port())).is_some()
}

/// Whether the Record-Route of a response is there, can be read, and has values of ours alone: nothing is beyond us on
/// either side.
pub(super) fn records_us_alone(message: &Message<'_>, site: &Site) -> bool {
    let mut values = message.record_routes().peekable();
    values.peek().is_some() && values.all(|value| value.is_ok_and(|value| is_ours(&value, site)))
}

impl Learned {
    #[cold]
    pub(super) fn read(message: &Message<'_>, site: &Site) -> Self {
        let mut learned = Self {
            caller: crate::text::Text::new(),
            callee: crate::text::Text::new(),
            through_us: false,
            whole: true,
        };
        // Those above ours are on the way to the callee, the nearest last; those below on the way to the caller. Of
        // a call that came through us twice, what lies between is neither.
        let mut above: [Option<NameAddr<'_>>; HOPS] = [None; HOPS];
        let mut count = 0;
        for value in message.record_routes() {
            let Ok(value) = value else {
                learned.whole = false;
                break;
            };
            if is_ours(&value, site) {
                learned.through_us = true;
                learned.caller.clear();
            } else if learned.through_us {
                learned.whole &= append(&mut learned.caller, &value);
            } else {
                match above.get_mut(count) {
                    Some(place) => *place = Some(value),
                    None => learned.whole = false,
                }
                count += 1;
            }
        }
        for value in above.iter().rev().flatten() {
            learned.whole &= append(&mut learned.callee, value);
        }
        learned
    }

    pub(super) fn routes(&self, party: Party) -> &[u8] {
        match party {
            Party::Caller => self.caller.as_bytes(),
            Party::Callee => self.callee.as_bytes(),
        }
    }
}

fn append(routes: &mut crate::text::Text<ROUTES>, value: &NameAddr<'_>) -> bool {
    let comma: &[u8] = if routes.as_bytes().is_empty() { b"" } else { b", " };
    routes.push(comma).and_then(|()| routes.push(value.as_bytes())).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use strowger_sip::Index;

    fn learned(record_routes: &[&str]) -> (String, String, bool) {
        let site = Site::new(&Config {
            listen: ["10.0.0.2:5060", "10.0.0.2:5080"].map(|a| a.parse().unwrap()).into(),
            secret: [1; 32],
            ..Config::default()
        });
        let lines: String = record_routes.iter().map(|r| format!("Record-Route: {r}\r\n")).collect();
        let text = format!("SIP/2.0 200 OK\r\n{lines}\r\n");
        let mut index = Index::new();
        let message = Message::parse(text.as_bytes(), &mut index).unwrap();
        let learned = Learned::read(&message, &site);
        assert!(learned.whole);
        let through_us_alone = learned.through_us
            && learned.caller.as_bytes().is_empty()
            && learned.callee.as_bytes().is_empty();
        assert_eq!(records_us_alone(&message, &site), through_us_alone, "{record_routes:?}");
        let text = |party| String::from_utf8(learned.routes(party).to_vec()).unwrap();
        (text(Party::Caller), text(Party::Callee), learned.through_us)
    }

    /// RFC 3261 section 12.1.1: the callee's route set is as it stands; 12.1.2: the caller's is reversed.
    #[test]
    fn route_sets_without_us() {
        let ours = "<sip:10.0.0.2;lr;dlg=x>";
        for (record_routes, caller, callee, through) in [
            (&[][..], "", "", false),
            (&[ours][..], "", "", true),
            (
                &["<sip:p3;lr>, <sip:p2;lr>", ours, "<sip:p1;lr>"],
                "<sip:p1;lr>",
                "<sip:p2;lr>, <sip:p3;lr>",
                true,
            ),
            (&[ours, "<sip:p2;lr>,<sip:p1;lr>"], "<sip:p2;lr>, <sip:p1;lr>", "", true),
            (
                &["<sip:p2;lr>", "<sip:10.0.0.2:5080;lr>", ours, "<sip:p1;lr>"],
                "<sip:p1;lr>",
                "<sip:p2;lr>",
                true,
            ),
            (&["<sip:p4;lr>", ours, "<sip:p2;lr>", ours, "<sip:p1;lr>"], "<sip:p1;lr>", "<sip:p4;lr>", true),
            (&["<sip:p2;lr>", "<sip:p1;lr>"], "", "<sip:p1;lr>, <sip:p2;lr>", false),
        ] {
            assert_eq!(learned(record_routes), (caller.into(), callee.into(), through), "{record_routes:?}");
        }
    }
}
