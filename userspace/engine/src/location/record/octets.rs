//! A record as one block of octets, for the node that takes this one's place (see [`handover`](super::super::handover)).
//!
//! All numbers are little-endian. A block is of one user:
//!
//! ```text
//! domain u16 · octets of the user u16 · known until u64 · bindings u8 · user
//! then for each live binding, oldest first:
//!   expires u64 · Call-ID u64 · CSeq u32 · reg-id u32 · octets of URI u16 · of its target u16 · of Path u16 · q u16 ·
//!   octets of instance u8 · of flow u8 · listen address u8 · reachable u8 · URI · instance · Path · flow
//! ```
//! Times are those of the engine's clock, which both nodes share. Whoever changes this changes
//! [`FORMAT`](super::super::handover::FORMAT).

use core::net::IpAddr;

use strowger_sip::Uri;

use super::{Binding, Draft, Record};
use crate::config::limit;
use crate::location::handover::{Lineage, NotInherited};
use crate::location::path::Path;
use crate::time::Time;

/// What is left to be read.
struct Rest<'a>(&'a [u8]);

impl<'a> Rest<'a> {
    fn octets(&mut self, count: usize) -> Result<&'a [u8], NotInherited> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or(NotInherited::Malformed)?;
        self.0 = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], NotInherited> {
        let (taken, rest) = self.0.split_first_chunk().ok_or(NotInherited::Malformed)?;
        self.0 = rest;
        Ok(*taken)
    }

    fn u8(&mut self) -> Result<u8, NotInherited> {
        self.array().map(u8::from_le_bytes)
    }

    fn u16(&mut self) -> Result<u16, NotInherited> {
        self.array().map(u16::from_le_bytes)
    }

    fn u32(&mut self) -> Result<u32, NotInherited> {
        self.array().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Result<u64, NotInherited> {
        self.array().map(u64::from_le_bytes)
    }

    /// Text that can stand in a header field.
    fn text(&mut self, count: usize, most: usize) -> Result<&'a [u8], NotInherited> {
        let text = self.octets(count)?;
        match count <= most && !text.iter().any(u8::is_ascii_control) {
            true => Ok(text),
            false => Err(NotInherited::Malformed),
        }
    }
}

impl Record {
    /// Whether it was made at `since` or later: whoever changes anything of a user makes the record anew.
    pub(in crate::location) fn is_newer(&self, since: Time) -> bool {
        self.known_until >= since.after(Self::KNOWN)
    }

    /// Writes what of it is still true behind what is in `out`; `false`, and nothing written, when nothing is.
    pub(in crate::location) fn write(&self, now: Time, out: &mut Vec<u8>) -> bool {
        let live = || self.drafts().filter(|d| d.binding.expires > now);
        let count = live().count();
        // What has run out and was not yet collected is collected here: the user stays known from now on.
        let collected = count == 0 && !self.is_empty();
        let known_until = if collected { now.after(Self::KNOWN) } else { self.known_until };
        if count == 0 && known_until <= now {
            return false;
        }
        out.extend_from_slice(&self.domain.to_le_bytes());
        out.extend_from_slice(&self.user.to_le_bytes());
        out.extend_from_slice(&known_until.as_nanos().to_le_bytes());
        out.push(count as u8); // at most limit::CONTACTS
        out.extend_from_slice(self.user());
        for Draft { uri, instance, path, binding } in live() {
            out.extend_from_slice(&binding.expires.as_nanos().to_le_bytes());
            out.extend_from_slice(&binding.call_id.to_le_bytes());
            out.extend_from_slice(&binding.cseq.to_le_bytes());
            out.extend_from_slice(&binding.reg_id.to_le_bytes());
            for octets in [binding.uri, binding.target, binding.path, binding.q] {
                out.extend_from_slice(&octets.to_le_bytes());
            }
            out.extend([binding.instance, binding.flow, binding.listen, u8::from(binding.reachable)]);
            out.extend_from_slice(uri);
            out.extend_from_slice(instance);
            path.pack(out);
        }
        true
    }

    /// What [`write`](Self::write) wrote, as this node has it. What has run out since is left out, and so is what came
    /// by a listen address that is none here.
    pub(in crate::location) fn read(
        octets: &[u8],
        lineage: &Lineage,
        now: Time,
    ) -> Result<Self, NotInherited> {
        let mut rest = Rest(octets);
        let (domain, user, known_until, count) = (rest.u16()?, rest.u16()?, rest.u64()?, rest.u8()?);
        let user = rest.octets(user.into())?;
        if user.len() > limit::USER || usize::from(count) > limit::CONTACTS {
            return Err(NotInherited::Malformed);
        }
        let mut drafts = Vec::with_capacity(count.into());
        for _ in 0..count {
            if let Some(draft) = Self::read_binding(&mut rest, lineage)?
                && draft.binding.expires > now
            {
                drafts.push(draft);
            }
        }
        if !rest.0.is_empty() {
            return Err(NotInherited::Malformed);
        }
        let domain = lineage.domain(domain).ok_or(NotInherited::Domain)?;
        let known_until = Time::from_nanos(known_until);
        Ok(Self { known_until, ..Self::pack(domain, user, &drafts, now) })
    }

    fn read_binding<'a>(rest: &mut Rest<'a>, lineage: &Lineage) -> Result<Option<Draft<'a>>, NotInherited> {
        let expires = Time::from_nanos(rest.u64()?);
        let (call_id, cseq, reg_id) = (rest.u64()?, rest.u32()?, rest.u32()?);
        let [uri, target, path, q] = [rest.u16()?, rest.u16()?, rest.u16()?, rest.u16()?];
        let [instance, flow, listen, reachable] = rest.array()?;
        let texts = (
            rest.text(uri.into(), limit::CONTACT)?,
            rest.text(instance.into(), limit::INSTANCE)?,
            rest.text(path.into(), limit::PATH)?,
        );
        let remote = rest.octets(flow.into())?;
        if target > uri || q > 1000 || !matches!(flow, 0 | 6 | 18) || reachable > 1 {
            return Err(NotInherited::Malformed);
        }
        let listen = match flow {
            0 => 0,
            _ => match lineage.listen(listen) {
                Some(listen) => listen,
                None => return Ok(None),
            },
        };
        let (text, instance_text, routes) = texts;
        let binding = Binding {
            expires,
            call_id,
            cseq,
            reg_id,
            from: 0,
            uri,
            target,
            path,
            q,
            instance,
            flow,
            listen,
            reachable: reachable == 1,
        };
        let path = Path::unpack(routes, remote, listen);
        Ok(Some(Draft { uri: text, instance: instance_text, path, binding }))
    }

    /// Bindings, those that have run out included.
    pub(in crate::location) fn count(&self) -> usize {
        self.bindings.len()
    }

    /// Where the phones of its bindings send from, as far as that is known, and until when they are bound: the end of
    /// their flow, or else the address in their contact. Of one behind proxies nothing is known.
    pub(in crate::location) fn sources(&self) -> impl Iterator<Item = (IpAddr, Time)> {
        self.drafts().filter_map(|draft| {
            let address = match draft.path.flow {
                Some(flow) => flow.remote.ip(),
                None if draft.path.routes.is_empty() => Uri::parse(draft.uri).ok()?.host()?.ip()?,
                None => return None,
            };
            Some((address, draft.binding.expires))
        })
    }
}
