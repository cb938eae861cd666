//! Globally routable URIs of one device of a user (RFC 5627), made without any memory of their own.
//!
//! A public GRUU is the address-of-record with the instance in `gr`. A temporary one says nothing to anybody else:
//!
//! ```text
//! sip:tgruu.AAAAAAAAAAAAAAAAAAAAAAAAAADDDDDDDDDDDDDMMMMMMMMMMMMM@example.net;gr
//!           │                         │            └ MAC over the address, the instance and the Call-ID (64 bits)
//!           │                         └ unlike that of any other (64 bits)
//!           └ key of the user's record, veiled with what the second part gives (128 bits)
//! ```
//! It is good as long as the instance stays registered with the Call-ID that it was given out for (section 5.1).

use strowger_sip::Uri;

use crate::keys::{Keys, Prf, read_base32, same, write_base32};
use crate::location::{Aor, Found, Listed, Location, Which};
use crate::registrar::User;
use crate::text::Text;
use crate::time::Time;

/// How the user part of a temporary GRUU begins.
const PREFIX: &[u8] = b"tgruu.";

/// Octets of a 64-bit number.
const NUMBER: usize = 13;

/// Octets of both parameters beside the instance, for a user and host of these lengths.
pub(crate) const fn room(user: usize, host: usize) -> usize {
    ";pub-gruu=\"sip:@;gr=\";temp-gruu=\"sip:@;gr\"".len() + user + 2 * host + PREFIX.len() + 4 * NUMBER
}

/// The parameters `pub-gruu` and `temp-gruu` of a Contact in the 200, for a binding of the user `user@host` (as To has
/// it). Nothing for a binding without an instance, or with one that cannot stand in a URI.
pub(crate) fn write<const N: usize>(
    keys: &Keys,
    (aor, user, host): (Aor, &[u8], &[u8]),
    binding: &Listed<'_>,
    (cseq, now): (u32, Time),
    line: &mut Text<N>,
) -> core::fmt::Result {
    let Some(name) = instance_name(binding.instance) else { return Ok(()) };
    for part in [b";pub-gruu=\"sip:", user, b"@", host, b";gr=", name, b"\";temp-gruu=\"sip:", PREFIX] {
        line.push(part)?;
    }
    // New in every answer (section 5.1): the older ones stay good beside it.
    let fresh = Prf::new(&keys.gruu)
        .number(aor.bits() as u64)
        .field(binding.instance)
        .number(binding.call_id)
        .number(cseq.into())
        .number(now.as_nanos())
        .finish();
    let veiled = aor.bits() ^ veil(keys, fresh);
    let mac = mac(keys, aor, fresh, binding.instance, binding.call_id);
    for number in [(veiled >> 64) as u64, veiled as u64, fresh, mac] {
        let mut digits = [0; NUMBER];
        write_base32(number, &mut digits);
        line.push(&digits)?;
    }
    for part in [b"@", host, b";gr\""] {
        line.push(part)?;
    }
    Ok(())
}

fn veil(keys: &Keys, fresh: u64) -> u128 {
    Prf::wide(&keys.gruu).number(fresh).finish128()
}

fn mac(keys: &Keys, aor: Aor, fresh: u64, instance: &[u8], call_id: u64) -> u64 {
    let aor = aor.bits();
    Prf::new(&keys.gruu)
        .number((aor >> 64) as u64)
        .number(aor as u64)
        .number(fresh)
        .field(instance)
        .number(call_id)
        .finish()
}

/// An instance-id as `gr` has it: without its angle brackets, when all of it may stand in a URI parameter.
fn instance_name(instance: &[u8]) -> Option<&[u8]> {
    let name = bare(instance);
    let plain = |b: &u8| b.is_ascii_alphanumeric() || b"-_.!~*'()[]/:&+$".contains(b);
    (!name.is_empty() && name.iter().all(plain)).then_some(name)
}

fn bare(instance: &[u8]) -> &[u8] {
    instance.strip_prefix(b"<").and_then(|i| i.strip_suffix(b">")).unwrap_or(instance)
}

/// Whether a `gr` names the instance of a binding. URNs of UUIDs are compared without case.
pub(crate) fn names(gr: &[u8], instance: &[u8]) -> bool {
    !instance.is_empty() && bare(instance).eq_ignore_ascii_case(gr)
}

/// Looks up whom a Request-URI of the domain names: a user, or one device of his. `None` when its user part can be
/// nobody's.
pub(crate) fn find<R>(
    location: &Location,
    keys: &Keys,
    (domain, uri): (u16, &Uri<'_>),
    now: Time,
    use_it: impl FnOnce(Found<'_>) -> R,
) -> Option<R> {
    let user = User::read(uri.user()?)?;
    let Some(gr) = uri.params().find(b"gr") else {
        return Some(location.find(location.aor(domain, user.as_bytes()), now, use_it));
    };
    if let Some(gr) = gr.value {
        let aor = location.aor(domain, user.as_bytes());
        return Some(location.find_which(aor, &Which::Instance(gr), now, use_it));
    }
    let digits = user.as_bytes().strip_prefix(PREFIX)?;
    let mut numbers = [0; 4];
    let (texts, []) = digits.as_chunks::<NUMBER>() else { return None };
    if texts.len() != numbers.len() {
        return None;
    }
    for (number, text) in numbers.iter_mut().zip(texts) {
        *number = read_base32(text)?;
    }
    let [high, low, fresh, given] = numbers;
    let aor = Aor::from_bits((u128::from(high) << 64 | u128::from(low)) ^ veil(keys, fresh));
    let proven = |instance: &[u8], call_id| same(mac(keys, aor, fresh, instance, call_id), given);
    Some(location.find_which(aor, &Which::Proven(&proven), now, use_it))
}
