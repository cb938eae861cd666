//! A phone's registration: RFC 3261 section 10.2.

use core::time::Duration;

use strowger_engine::Time;

use super::client::{Purpose, Recipe};
use super::{Alarm, Phone};
use crate::text::{Message, param, uri_of};

#[derive(Default)]
pub(crate) struct Registration {
    call_id: String,
    cseq: u32,
    began: Option<Time>,
    /// Removed, and not to be refreshed.
    over: bool,
    /// Was granted once.
    granted: bool,
    /// What is to be sent when the one under way is answered.
    waiting: Vec<Vec<(&'static str, String)>>,
}

impl Phone {
    pub(super) fn next_register_cseq(&mut self) -> u32 {
        self.registration.cseq += 1;
        self.registration.cseq
    }

    /// Section 10.2: no new REGISTER before the last one is answered or has timed out.
    fn register(&mut self, now: Time, extra: Vec<(&'static str, String)>) {
        if self.registering() {
            return self.registration.waiting.push(extra);
        }
        if self.registration.call_id.is_empty() {
            self.registration.call_id = self.new_call_id();
        }
        let recipe = Recipe {
            method: "REGISTER",
            uri: format!("sip:{}", self.domain),
            from: format!("<{}>;tag={}", self.aor(), self.new_tag()),
            to: format!("<{}>", self.aor()),
            call_id: self.registration.call_id.clone(),
            cseq: self.next_register_cseq(),
            routes: vec![],
            extra,
            body: "",
            remote: self.proxy,
        };
        self.request(now, recipe, Purpose::Register, 0);
    }

    /// The one under way is over.
    pub(super) fn next_register(&mut self, now: Time) {
        if !self.registration.waiting.is_empty() && !self.registering() {
            let extra = self.registration.waiting.remove(0);
            self.register(now, extra);
        }
    }

    pub(super) fn refresh(&mut self, now: Time) {
        let began = *self.registration.began.get_or_insert(now);
        let Some(binding) = self.binding.clone() else { return };
        if self.registration.over || now.since(began) > binding.refresh_for {
            return;
        }
        let q = binding.q.map(|q| format!(";q=0.{q:03}")).unwrap_or_default();
        let mut contact = format!("<{}>{q}", binding.contact);
        let mut extra = vec![];
        if binding.in_contact {
            contact.push_str(&format!(";expires={}", binding.expires));
        } else {
            extra.push(("Expires", binding.expires.to_string()));
        }
        extra.push(("Contact", contact));
        self.register(now, extra);
    }

    pub(super) fn unregister(&mut self, now: Time, all: bool) {
        let Some(binding) = &self.binding else { return };
        let contact = if all { "*".to_owned() } else { format!("<{}>", binding.contact) };
        self.registration.over = true;
        self.register(now, vec![("Contact", contact), ("Expires", "0".to_owned())]);
    }

    pub(super) fn query(&mut self, now: Time) {
        self.register(now, vec![]);
    }

    /// What is wrong when the world has ended.
    pub(super) fn registration_verdict(&self) -> Option<&'static str> {
        let meant_to = self.binding.is_some() && self.registration.began.is_some() && !self.registration.over;
        (meant_to && !self.registration.granted).then_some("could never register")
    }

    pub(super) fn registration_calls(&self) -> impl Iterator<Item = &str> {
        core::iter::once(self.registration.call_id.as_str())
    }

    pub(super) fn registered(&mut self, now: Time, recipe: &Recipe, message: &Message<'_>) {
        let Some(binding) = &self.binding else { return };
        let asked = recipe.extra.iter().find(|(name, _)| *name == "Contact");
        let expires =
            recipe.extra.iter().find(|(name, _)| *name == "Expires").map(|(_, value)| value.as_str());
        let removed = expires == Some("0");
        let listed = message.values("Contact").find(|value| uri_of(value) == binding.contact);
        let granted =
            listed.and_then(|value| param(value, "expires")).and_then(|text| text.parse::<u32>().ok());
        match (asked, removed, granted) {
            (Some(_), false, None) => {
                let text = format!("{}: the 200 to REGISTER does not list its contact", self.name);
                self.fault(text);
            }
            (Some(_), false, Some(granted)) if granted > binding.expires => {
                let text = format!("{}: asked for {} s, granted {granted} s", self.name, binding.expires);
                self.fault(text);
            }
            (Some(_), false, Some(granted)) => {
                self.registration.granted = true;
                let early = self.dice.between(50, 90);
                let after = Duration::from_millis(u64::from(granted) * 10 * early);
                self.alarm(now, after, Alarm::Refresh);
            }
            (Some(_), true, Some(_)) => {
                let text = format!("{}: the 200 to REGISTER lists the contact that it removed", self.name);
                self.fault(text);
            }
            _ => {}
        }
    }

    /// A registration that never worked does not count as one that has lasted long enough; for a few tries.
    fn start_over(&mut self) {
        if !self.registration.granted && self.registration.cseq < 20 {
            self.registration.began = None;
        }
    }

    pub(super) fn not_registered(
        &mut self,
        now: Time,
        recipe: &Recipe,
        outcome: Option<(u16, &Message<'_>)>,
    ) {
        match outcome {
            // Section 10.2.8.
            Some((423, message)) => {
                let least = message.get("Min-Expires").and_then(|text| text.parse().ok());
                if let (Some(least), Some(binding)) = (least, &mut self.binding) {
                    binding.expires = binding.expires.max(least);
                    self.start_over();
                    self.refresh(now);
                }
            }
            // Copies and tries overtake each other; the next one is newer.
            Some((500, _)) => {
                let after = self.dice.millis(500, 2000);
                if recipe.extra.iter().any(|(name, value)| *name == "Expires" && value == "0") {
                    return;
                }
                self.start_over();
                self.alarm(now, after, Alarm::Refresh);
            }
            // A nonce that was too old each time: a phone tries again later.
            Some((401, _)) if !self.hopeless && !self.registration.granted && self.registration.cseq < 20 => {
                self.start_over();
                self.alarm(now, Duration::from_secs(30), Alarm::Refresh);
            }
            Some((503, _)) | None => {
                self.start_over();
                self.alarm(now, Duration::from_secs(30), Alarm::Refresh);
            }
            Some(_) => {}
        }
    }
}
