//! The registrar: REGISTER for our domains (RFC 3261 section 10.3), in the order of its items.
//!
//! Called with requests whose sender has been authenticated, where the configuration wants that (see `digest`): whoever
//! gets here may bind the user in To.

mod reach;

use core::fmt::Write as _;

use strowger_sip::{Contact as ContactValue, HeaderName, Scheme, Token, unescape_into};

use crate::config::{Config, limit};
use crate::counters::{Counters, Event};
use crate::gruu;
use crate::keys::{Keys, Prf};
use crate::location::{self, Aor, Change, Contact, Expiry, Listed, Location, Tally, Update};
use crate::refusal::Refusal;
use crate::request::Request;
use crate::site::Site;
use crate::text::Text;
use crate::time::Time;

use reach::{Reach, supports};

/// Option tags that the registrar understands in Require: Path (RFC 3327), RFC 5626, GRUU (RFC 5627).
pub(crate) const EXTENSIONS: [&[u8]; 3] = [b"path", b"outbound", b"gruu"];

/// What the registrar works with.
pub(crate) struct Registrar<'e> {
    pub(crate) config: &'e Config,
    pub(crate) site: &'e Site,
    pub(crate) keys: &'e Keys,
    pub(crate) location: &'e Location,
    pub(crate) expiry: &'e mut Expiry,
    pub(crate) counters: &'e mut Counters,
}

/// The user that a URI of ours names.
pub(crate) struct User {
    name: [u8; limit::USER],
    len: usize,
}

impl User {
    /// Unescaped (section 10.3 item 5); `None` when it is too long.
    pub(crate) fn read(escaped: &[u8]) -> Option<Self> {
        let mut name = [0; limit::USER];
        let len = unescape_into(escaped, &mut name).ok()?.len();
        Some(Self { name, len })
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        self.name.get(..self.len).unwrap_or_default()
    }
}

impl Registrar<'_> {
    /// Carries a REGISTER out and writes the lines of the 200. `room` is how many octets they may take.
    pub(crate) fn register<const N: usize>(
        &mut self,
        request: &Request<'_>,
        now: Time,
        room: usize,
        lines: &mut Text<N>,
    ) -> Result<(), Refusal> {
        for tag in request.message.require() {
            if !EXTENSIONS.iter().any(|known| tag.is_ok_and(|Token(tag)| tag.eq_ignore_ascii_case(known))) {
                return Err(Refusal::Extension(HeaderName::Require));
            }
        }
        let (aor, domain, user) = self.address_of_record(request)?;
        let registrar = &self.config.registrar;
        let uri = request.headers.to.uri().map_err(|e| Refusal::UriIn(HeaderName::To, e))?;
        let (name, host) = (uri.user().unwrap_or_default(), uri.host_bytes());
        let gruus = registrar.gruu && supports(request, b"gruu");
        let cseq = request.headers.cseq.number;
        let keys = self.keys;
        let list = |lines: &mut Text<N>, binding: Listed<'_>| {
            // `room` was checked before the bindings were changed, and is not more than what `lines` takes.
            let _ = lines.line(|line| {
                line.write_str("Contact: <")?;
                line.push(binding.uri)?;
                line.write_str(">")?;
                if binding.q < 1000 {
                    write!(line, ";q=0.{:03}", binding.q)?;
                }
                write!(line, ";expires={}", binding.expires)?;
                if !binding.instance.is_empty() {
                    line.write_str(";+sip.instance=\"")?;
                    line.push(binding.instance)?;
                    line.write_str("\"")?;
                }
                if binding.reg_id > 0 {
                    write!(line, ";reg-id={}", binding.reg_id)?;
                }
                if gruus { gruu::write(keys, (aor, name, host), &binding, (cseq, now), line) } else { Ok(()) }
            });
        };
        if !request.message.has(HeaderName::Contact) {
            self.service_route(lines)?;
            self.location.list(aor, now, &mut |binding| list(lines, binding));
            return Ok(());
        }
        let reach = Reach::read(request, self.site, registrar.outbound)?;
        let mut contacts = [Contact::NONE; limit::CONTACTS];
        let change = self.change(request, &reach, &mut contacts)?;
        let flow = matches!(change, Change::Each(each) if each.iter().any(|contact| contact.reg_id > 0));
        self.service_route(lines)?;
        self.repeat(request, flow, lines)?;
        let update = Update {
            call_id: Prf::new(&self.keys.call_id).field(request.headers.call_id).finish(),
            cseq,
            change,
            path: reach.way(request, flow, registrar.nat),
            room: room.min(N).saturating_sub(lines.as_bytes().len()),
            gruus: if gruus { gruu::room(name.len(), host.len()) } else { 0 },
        };
        let (tally, made) = self
            .location
            .update(aor, (domain, user.as_bytes()), &update, now, &mut |binding| list(lines, binding))
            .map_err(|refusal| match refusal {
                location::Refusal::OutOfOrder => Refusal::OutOfOrder,
                location::Refusal::Contacts { retry_after } => Refusal::ContactLimit(retry_after),
                location::Refusal::Full => Refusal::TableFull(limit::RETRY_AFTER),
            })?;
        if let Some(due) = made {
            self.expiry.add(aor, due);
        }
        self.tally(&tally);
        Ok(())
    }

    /// Which proxies the user is to call by (RFC 3608).
    fn service_route<const N: usize>(&self, lines: &mut Text<N>) -> Result<(), Refusal> {
        self.config.registrar.service_route.iter().try_for_each(|route| {
            lines.line(|line| write!(line, "Service-Route: <{route}>")).map_err(|_| Refusal::TooLarge)
        })
    }

    /// What the 200 says of the way: the Path that was kept (RFC 3327 section 5.3), and that a flow was bound (RFC 5626
    /// section 6).
    fn repeat<const N: usize>(
        &self,
        request: &Request<'_>,
        flow: bool,
        lines: &mut Text<N>,
    ) -> Result<(), Refusal> {
        let too_large = |_| Refusal::TooLarge;
        for path in request.message.headers(HeaderName::Path) {
            lines
                .line(|line| line.write_str("Path: ").and_then(|()| line.push(path.value)))
                .map_err(too_large)?;
        }
        if flow && supports(request, b"outbound") {
            lines.line(|line| line.write_str("Require: outbound")).map_err(too_large)?;
            let timer = self.config.registrar.flow_timer;
            if timer > 0 {
                lines.line(|line| write!(line, "Flow-Timer: {timer}")).map_err(too_large)?;
            }
        }
        Ok(())
    }

    fn tally(&mut self, tally: &Tally) {
        for (event, n) in [
            (Event::BindingAdded, tally.added),
            (Event::BindingRefreshed, tally.refreshed),
            (Event::BindingRemoved, tally.removed),
            (Event::BindingExpired, tally.expired),
        ] {
            self.counters.add(event, n as u64);
        }
    }

    /// Item 5: the user in To, who must be in one of our domains.
    fn address_of_record(&self, request: &Request<'_>) -> Result<(Aor, u16, User), Refusal> {
        let uri = request.headers.to.uri().map_err(|e| Refusal::UriIn(HeaderName::To, e))?;
        let ours =
            (uri.scheme() == Scheme::Sip).then(|| self.site.domain(&uri.host()?, uri.port())).flatten();
        let (Some(domain), Some(user)) = (ours, uri.user()) else { return Err(Refusal::NotFound) };
        let user = User::read(user).ok_or(Refusal::Contact("User Name Too Long"))?;
        Ok((self.location.aor(domain, user.as_bytes()), domain, user))
    }

    /// Items 6 and 7 up to the bindings: what the Contacts ask for, and what of it is granted.
    fn change<'a, 'c>(
        &self,
        request: &Request<'a>,
        reach: &Reach,
        contacts: &'c mut [Contact<'a>; limit::CONTACTS],
    ) -> Result<Change<'c>, Refusal>
    where
        'a: 'c,
    {
        // What is no number counts as an hour (section 10.2.1.1).
        let expires = request.message.expires().unwrap_or(Some(3600));
        let mut count = 0;
        let mut star = false;
        for value in request.message.contacts() {
            let address = match value.map_err(Refusal::Header)? {
                ContactValue::Star => {
                    star = true;
                    count += 1;
                    continue;
                }
                ContactValue::Address(address) => address,
            };
            let asked = address.expires().or(expires).unwrap_or(self.config.registrar.default_expires);
            let slot = contacts.get_mut(count).ok_or(Refusal::ContactLimit(limit::RETRY_AFTER))?;
            *slot = self.grant(&address, asked, reach)?;
            count += 1;
        }
        self.check_flows(request, reach, contacts.get(..count).unwrap_or_default())?;
        match (star, count) {
            (true, 1) if expires == Some(0) => Ok(Change::RemoveAll),
            (true, _) => Err(Refusal::Contact("Contact * Needs Expires 0 And No Other Contact")),
            (false, _) => Ok(Change::Each(contacts.get(..count).unwrap_or_default())),
        }
    }

    /// RFC 5626 section 6: a flow is bound by its own request, and by a first hop that keeps it.
    fn check_flows(
        &self,
        request: &Request<'_>,
        reach: &Reach,
        granted: &[Contact<'_>],
    ) -> Result<(), Refusal> {
        let asked = request.message.contacts().map_while(Result::ok);
        let mut asked = asked.filter(|contact| match contact {
            ContactValue::Address(contact) => contact.reg_id().is_some() && contact.instance().is_some(),
            ContactValue::Star => false,
        });
        if self.config.registrar.outbound
            && !reach.outbound
            && asked.next().is_some()
            && supports(request, b"outbound")
        {
            return Err(Refusal::FirstHop);
        }
        let live = granted.iter().filter(|contact| contact.expires > 0).count();
        if live > 1 && granted.iter().any(|contact| contact.expires > 0 && contact.reg_id > 0) {
            return Err(Refusal::Contact("reg-id Beside Another Contact"));
        }
        Ok(())
    }

    /// One contact: whether we take it, and for how long.
    fn grant<'a>(
        &self,
        contact: &strowger_sip::ContactAddress<'a>,
        asked: u32,
        reach: &Reach,
    ) -> Result<Contact<'a>, Refusal> {
        let registrar = &self.config.registrar;
        if asked > 0 && asked < registrar.min_expires {
            return Err(Refusal::TooBrief(registrar.min_expires));
        }
        let uri = contact.uri().map_err(|e| Refusal::UriIn(HeaderName::Contact, e))?;
        let text = contact.address.uri_bytes();
        if asked > 0 {
            if uri.scheme() != Scheme::Sip {
                return Err(Refusal::Contact("Contact Is Not a sip URI"));
            }
            if text.len() > limit::CONTACT {
                return Err(Refusal::Contact("Contact Too Long"));
            }
            // It would have to be cut out of every Request-URI (section 16.6 item 2); nobody registers with it.
            if uri.params().contains(b"method") {
                return Err(Refusal::Contact("Contact With a Method"));
            }
            if uri.host().is_some_and(|host| self.site.is_us(&host, uri.port())) {
                return Err(Refusal::ContactIsUs);
            }
        }
        let instance = contact.instance().unwrap_or_default();
        if instance.len() > limit::INSTANCE {
            return Err(Refusal::Contact("Instance Too Long"));
        }
        // Neither may a Request-URI have headers (section 19.1.1).
        let headers = uri.headers().map_or(0, |headers| headers.len() + 1);
        Ok(Contact {
            uri: text,
            target: text.len() - headers.min(text.len()),
            expires: asked.min(registrar.max_expires),
            q: contact.q().unwrap_or(1000),
            reachable: reach.reaches(contact, self.site),
            instance,
            reg_id: if reach.outbound && !instance.is_empty() { contact.reg_id().unwrap_or(0) } else { 0 },
        })
    }
}
