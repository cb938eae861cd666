//! A stranger: somebody who wants to do harm. Has an address and no credentials, hears some of what passes, and knows
//! neither the node's key nor the branches that it did not hear; everything it forges carries a [`MARK`].

use core::net::SocketAddr;
use core::time::Duration;

use crate::dice::Dice;
use crate::phone::MARK;
use crate::text::{Draft, Message};

/// One thing a stranger does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Harm {
    /// Octets that are no message.
    Garbage,
    /// A request that was heard, with some octets changed.
    Mutation,
    /// A response to a request that was heard, with a branch that is guessed.
    ForgedResponse,
    /// CANCEL of an INVITE that was heard: its branch with another sent-by, or its Call-ID with another branch.
    SpoofedCancel,
    /// BYE for a dialog that was heard.
    SpoofedBye,
    /// REGISTER of somebody else's address.
    Hijack,
    /// A REGISTER that was heard, with credentials and all, and another Contact.
    Replay,
    /// Requests of every kind to users who may not exist.
    Scan,
    /// Many calls at once.
    Flood,
}

pub(crate) const HARMS: [(u32, Harm); 9] = [
    (2, Harm::Garbage),
    (4, Harm::Mutation),
    (4, Harm::ForgedResponse),
    (4, Harm::SpoofedCancel),
    (3, Harm::SpoofedBye),
    (3, Harm::Hijack),
    (3, Harm::Replay),
    (2, Harm::Scan),
    (1, Harm::Flood),
];

pub(crate) struct Stranger {
    pub(crate) name: String,
    pub(crate) address: SocketAddr,
    pub(crate) harms: Vec<(Duration, Harm)>,
    /// A node, its domain, and a user who exists.
    pub(crate) victim: (SocketAddr, String, String),
    /// The node wants credentials: what an open one takes from everybody is no attack.
    pub(crate) guarded: bool,
    pub(crate) dice: Dice,
    pub(crate) count: u64,
}

/// A datagram that was heard.
#[derive(Clone, Debug)]
pub(crate) struct Heard {
    pub(crate) from: SocketAddr,
    pub(crate) to: SocketAddr,
    pub(crate) bytes: Vec<u8>,
}

impl Stranger {
    /// Does one harm; gives what it sends.
    pub(crate) fn act(&mut self, harm: Harm, heard: &[Heard]) -> Vec<(SocketAddr, Vec<u8>)> {
        let (node, domain, user) = self.victim.clone();
        match harm {
            Harm::Garbage => {
                let len = self.dice.below(200);
                let mut bytes: Vec<u8> = (0..len).map(|_| self.dice.number() as u8).collect();
                if self.dice.chance(300) {
                    bytes = b"\r\n\r\n".to_vec();
                }
                vec![(node, bytes)]
            }
            Harm::Mutation => self.mutated(heard),
            Harm::ForgedResponse => self.forged_response(heard),
            Harm::SpoofedCancel => self.spoofed_cancel(heard),
            Harm::SpoofedBye => self.spoofed_bye(heard),
            Harm::Hijack | Harm::Replay if !self.guarded => vec![],
            Harm::Hijack => {
                let contact = format!("<sip:{user}@{}>", self.address);
                let lines = [("Contact", contact), ("Expires", "600".to_owned())];
                vec![(
                    node,
                    self.request(
                        "REGISTER",
                        &format!("sip:{domain}"),
                        &format!("sip:{user}@{domain}"),
                        &lines,
                    ),
                )]
            }
            Harm::Replay => self.replayed(heard),
            Harm::Scan => {
                let methods = [
                    "OPTIONS",
                    "INVITE",
                    "REGISTER",
                    "MESSAGE",
                    "SUBSCRIBE",
                    "PUBLISH",
                    "NOTIFY",
                    "REFER",
                    "FOO",
                ];
                let method = methods[self.dice.index(methods.len())];
                let who =
                    if self.dice.chance(500) { user } else { format!("{}", 100 + self.dice.below(900)) };
                let target = format!("sip:{who}@{domain}");
                let uri = if method == "REGISTER" { format!("sip:{domain}") } else { target.clone() };
                vec![(node, self.request(method, &uri, &target, &[]))]
            }
            Harm::Flood => (0..30)
                .map(|n| {
                    let target = format!("sip:nobody{n}@{domain}");
                    (node, self.request("INVITE", &target, &target, &[]))
                })
                .collect(),
        }
    }

    fn request(&mut self, method: &str, uri: &str, to: &str, lines: &[(&str, String)]) -> Vec<u8> {
        self.count += 1;
        let mut draft = Draft::new(&format!("{method} {uri} SIP/2.0"), false);
        draft
            .line("Via", format_args!("SIP/2.0/UDP {};branch=z9hG4bKevil{};rport", self.address, self.count));
        draft.line("Max-Forwards", 70);
        draft.line("From", format_args!("<{to}>;tag=evil")).line("To", format_args!("<{to}>"));
        draft.line("Call-ID", format_args!("evil{}@{}", self.count, self.name));
        draft.line("CSeq", format_args!("1 {method}"));
        draft.line(MARK, &self.name);
        for (name, value) in lines {
            draft.line(name, value);
        }
        draft.finish("")
    }

    /// A datagram of the honest.
    fn pick<'h>(
        &mut self,
        heard: &'h [Heard],
        wanted: impl Fn(&Heard, &Message<'_>) -> bool,
    ) -> Option<&'h Heard> {
        let fitting: Vec<&Heard> = heard
            .iter()
            .filter(|h| Message::read(&h.bytes).is_some_and(|m| m.get(MARK).is_none() && wanted(h, &m)))
            .collect();
        if fitting.is_empty() { None } else { Some(fitting[self.dice.index(fitting.len())]) }
    }

    fn mutated(&mut self, heard: &[Heard]) -> Vec<(SocketAddr, Vec<u8>)> {
        let (node, guarded) = (self.victim.0, self.guarded);
        // An open registrar binds what a mutated REGISTER asks for, whatever that is: nobody can say what it must be.
        let takes = |m: &Message<'_>| guarded || m.method() != "REGISTER";
        let wanted = |h: &Heard, m: &Message<'_>| {
            // Inside a dialog the Route proves who one is to whoever can listen, and nobody promises otherwise.
            let open = m.tag_of_to().is_none() && m.get("Authorization").is_none();
            h.to == node && m.code().is_none() && open && m.get("Proxy-Authorization").is_none() && takes(m)
        };
        let Some(found) = self.pick(heard, wanted) else {
            return vec![];
        };
        let Some(message) = Message::read(&found.bytes) else { return vec![] };
        let mut draft = Draft::new(message.start, false);
        draft.line(MARK, &self.name);
        for (name, value) in message.lines().filter(|(name, _)| !name.eq_ignore_ascii_case("Content-Length"))
        {
            // Its own Via, so that this is nobody's retransmission.
            if name.eq_ignore_ascii_case("Via") {
                self.count += 1;
                draft.line(
                    "Via",
                    format_args!("SIP/2.0/UDP {};branch=z9hG4bKmut{}", self.address, self.count),
                );
            } else {
                draft.line(name, value);
            }
        }
        let mut bytes = draft.finish(message.body);
        // What is before the mark stays, and the mark too: who gets it must be able to tell.
        let safe = message.start.len() + 2 + MARK.len() + 2 + self.name.len() + 2;
        for _ in 0..self.dice.between(1, 4) {
            let at = safe + self.dice.index(bytes.len().saturating_sub(safe).max(1));
            let piece: &[u8] = [&b"\r\n"[..], b";", b"\"", b"<", b",", b"\0", b"%", b" ", b"@", b"\xff"]
                [self.dice.index(10)];
            if at <= bytes.len() {
                if self.dice.chance(500) {
                    bytes.splice(at..at, piece.iter().copied());
                } else if at < bytes.len() {
                    bytes[at] = piece[0];
                }
            }
        }
        vec![(node, bytes)]
    }

    fn forged_response(&mut self, heard: &[Heard]) -> Vec<(SocketAddr, Vec<u8>)> {
        let node = self.victim.0;
        let Some(found) = self.pick(heard, |h, m| h.from == node && m.code().is_none()) else {
            return vec![];
        };
        let Some(message) = Message::read(&found.bytes) else { return vec![] };
        let code = [180, 200, 302, 486, 603][self.dice.index(5)];
        let mut draft = Draft::new(&format!("SIP/2.0 {code} Forged"), false);
        let mut first = true;
        for (name, value) in message.lines() {
            match name.to_ascii_lowercase().as_str() {
                "via" => {
                    let guessed = guess(value, &mut self.dice);
                    draft.line("Via", if core::mem::take(&mut first) { guessed } else { value.to_owned() });
                }
                "from" | "call-id" | "cseq" => {
                    draft.line(name, value);
                }
                "to" if message.tag_of_to().is_none() => {
                    draft.line("To", format_args!("{value};tag=evil"));
                }
                "to" => {
                    draft.line("To", value);
                }
                _ => {}
            }
        }
        draft.line("Contact", format_args!("<sip:evil@{}>", self.address)).line(MARK, &self.name);
        vec![(node, draft.finish(""))]
    }

    fn spoofed_cancel(&mut self, heard: &[Heard]) -> Vec<(SocketAddr, Vec<u8>)> {
        let node = self.victim.0;
        let Some(found) =
            self.pick(heard, |h, m| h.to == node && m.method() == "INVITE" && m.code().is_none())
        else {
            return vec![];
        };
        let Some(message) = Message::read(&found.bytes) else { return vec![] };
        let (Some(via), Some((number, _))) = (message.top_via(), message.cseq()) else { return vec![] };
        let (sent_by, branch) = if self.dice.chance(500) {
            (self.address.to_string(), via.branch.to_owned())
        } else {
            (via.sent_by.to_owned(), format!("{}x", via.branch))
        };
        let mut draft = Draft::new(&format!("CANCEL {} SIP/2.0", message.uri()), false);
        draft
            .line("Via", format_args!("SIP/2.0/UDP {sent_by};branch={branch};rport"))
            .line("Max-Forwards", 70);
        for name in ["From", "To", "Call-ID"] {
            draft.line(name, message.get(name).unwrap_or_default());
        }
        draft.line("CSeq", format_args!("{number} CANCEL")).line(MARK, &self.name);
        vec![(node, draft.finish(""))]
    }

    fn spoofed_bye(&mut self, heard: &[Heard]) -> Vec<(SocketAddr, Vec<u8>)> {
        let node = self.victim.0;
        let answer =
            |h: &Heard, m: &Message<'_>| h.from == node && m.code() == Some(200) && m.method() == "INVITE";
        let Some(found) = self.pick(heard, answer) else { return vec![] };
        let Some(message) = Message::read(&found.bytes) else { return vec![] };
        let contact = message.contact().unwrap_or_default().to_owned();
        self.count += 1;
        let mut draft = Draft::new(&format!("BYE {contact} SIP/2.0"), false);
        draft.line("Via", format_args!("SIP/2.0/UDP {};branch=z9hG4bKbye{};rport", self.address, self.count));
        draft.line("Max-Forwards", 70);
        for name in ["From", "To", "Call-ID"] {
            draft.line(name, message.get(name).unwrap_or_default());
        }
        draft.line("CSeq", "9999 BYE").line(MARK, &self.name);
        vec![(node, draft.finish(""))]
    }

    fn replayed(&mut self, heard: &[Heard]) -> Vec<(SocketAddr, Vec<u8>)> {
        let node = self.victim.0;
        let proven = |h: &Heard, m: &Message<'_>| {
            h.to == node && m.method() == "REGISTER" && m.code().is_none() && m.get("Authorization").is_some()
        };
        let Some(found) = self.pick(heard, proven) else { return vec![] };
        let Some(message) = Message::read(&found.bytes) else { return vec![] };
        self.count += 1;
        let mut draft = Draft::new(message.start, false);
        draft.line("Via", format_args!("SIP/2.0/UDP {};branch=z9hG4bKrep{};rport", self.address, self.count));
        draft.line("Contact", format_args!("<sip:evil@{}>", self.address)).line(MARK, &self.name);
        for (name, value) in message.lines() {
            match name.to_ascii_lowercase().as_str() {
                "via" | "contact" | "content-length" => {}
                "cseq" if self.dice.chance(500) => {
                    draft.line("CSeq", "777 REGISTER");
                }
                _ => {
                    draft.line(name, value);
                }
            }
        }
        vec![(node, draft.finish(""))]
    }
}

/// A Via with another branch: the same length, one digit changed somewhere after the cookie.
fn guess(via: &str, dice: &mut Dice) -> String {
    let Some((before, rest)) = via.split_once("branch=") else { return via.to_owned() };
    let end = rest.find([';', ',']).unwrap_or(rest.len());
    let (branch, after) = rest.split_at(end);
    let mut digits: Vec<u8> = branch.bytes().collect();
    if digits.len() > 8 {
        let at = 8 + dice.index(digits.len() - 8);
        digits[at] = if digits[at] == b'7' { b'3' } else { b'7' };
    }
    format!("{before}branch={}{after}", String::from_utf8_lossy(&digits))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guess_changes_the_branch_alone() {
        let mut dice = Dice::new(3, 3);
        for _ in 0..50 {
            let via = "SIP/2.0/UDP 10.0.0.1:5060;branch=z9hG4bKs0123456789;rport";
            let guessed = guess(via, &mut dice);
            assert_ne!(guessed, via);
            assert_eq!(guessed.len(), via.len());
            assert!(
                guessed.starts_with("SIP/2.0/UDP 10.0.0.1:5060;branch=z9hG4bK")
                    && guessed.ends_with(";rport")
            );
        }
    }
}
