//! Policing: whose packets are served, and how many of them. What userspace decides is enforced here.
//!
//! In this order, each part only when the loader's constants ask for it: trusted sources, bans by address and by
//! prefix, what isn't SIP, budgets. Userspace keeps bans and trust apart (it bans nobody who is trusted), so the
//! cheapest look-up comes first here.

use aya_ebpf::Global;
use strowger_wire::{Address, Datagram, Envelope, Opening, Port, opening};
use strowger_xdp::source::{self, Place, SourceKey, known_time};
use strowger_xdp::{BANNED, Counter, TRUSTED};

use crate::frame::Frame;
use crate::maps;

// Named by `strowger_xdp::constant`.
#[unsafe(no_mangle)]
static SOURCE_KEY: Global<[u64; 5]> = Global::new([0; 5]);
#[unsafe(no_mangle)]
static BAN_SETS: Global<u32> = Global::new(0);
#[unsafe(no_mangle)]
static KNOWN_SETS: Global<u32> = Global::new(0);
#[unsafe(no_mangle)]
static BUDGET_SETS: Global<u32> = Global::new(0);
#[unsafe(no_mangle)]
static BUDGET: Global<[u64; 4]> = Global::new([0; 4]);
#[unsafe(no_mangle)]
static STRANGERS: Global<[u64; 2]> = Global::new([0; 2]);
#[unsafe(no_mangle)]
static DROP_JUNK: Global<u32> = Global::new(0);
#[unsafe(no_mangle)]
static ANSWER_STUN: Global<u32> = Global::new(0);

/// What policing lets through.
pub(crate) enum Admitted {
    /// What the workers serve.
    Sip,
    /// A STUN message that may be answered here.
    Stun,
}

/// Whether the datagram may go on; the counter of whatever it ends by, when not.
#[inline(always)]
pub(crate) fn admit(frame: &Frame<'_>, datagram: &Datagram) -> Result<Admitted, Counter> {
    let trusted = is_trusted(datagram.src.address)?;
    let mut admitted = Admitted::Sip;
    if DROP_JUNK.load() != 0 || ANSWER_STUN.load() != 0 {
        match opening(frame, datagram.payload, datagram.payload_len) {
            Opening::Sip => {}
            Opening::Stun if ANSWER_STUN.load() != 0 => admitted = Admitted::Stun,
            Opening::KeepAlive if DROP_JUNK.load() != 0 => return Err(Counter::DropKeepAlive),
            Opening::Other if DROP_JUNK.load() != 0 => return Err(Counter::DropJunk),
            Opening::Stun | Opening::KeepAlive | Opening::Other => {}
        }
    }
    if BUDGET_SETS.load() != 0 && !trusted {
        charge(source::source_of(datagram.version, datagram.src.address))?;
    }
    Ok(admitted)
}

/// Whether sources are looked at, and not what they send alone.
#[inline(always)]
pub(crate) fn knows_sources() -> bool {
    BAN_SETS.load() != 0 || BUDGET_SETS.load() != 0
}

/// Whether what isn't plainly a datagram, and may be one to a listener, may go to the kernel, whose socket would serve
/// it. What it says isn't looked at: the worker does that.
#[inline(always)]
pub(crate) fn admit_to_kernel(envelope: &Envelope) -> Result<(), Counter> {
    let trusted = is_trusted(envelope.src)?;
    // A message in fragments costs what any costs, and the first fragment pays: without that one there is no message.
    if BUDGET_SETS.load() != 0 && !trusted && envelope.port != Port::OF_FIRST_FRAGMENT {
        charge(source::source_of(envelope.version, envelope.src))?;
    }
    Ok(())
}

/// Whether the source is trusted; the counter of its ban, when it is banned.
#[inline(always)]
fn is_trusted(source: Address) -> Result<bool, Counter> {
    let address = source.words();
    if BAN_SETS.load() != 0 && is_banned(address) {
        return Err(Counter::DropBanned);
    }
    if !knows_sources() || !maps::has_prefixes() {
        return Ok(false);
    }
    match maps::prefix_of(address) {
        Some(BANNED) => Err(Counter::DropBannedPrefix),
        prefix => Ok(prefix == Some(TRUSTED)),
    }
}

#[inline(always)]
fn is_banned(address: [u64; 2]) -> bool {
    let key = SourceKey(SOURCE_KEY.load());
    let Some(set) = maps::bans(Place::of(&key, address).set(BAN_SETS.load())) else { return false };
    let [head, tail] = address;
    for at in 0..source::BANS_OF_A_SET {
        // SAFETY: a pointer that the lookup returned is valid for the whole value. Userspace writes it at any time:
        // each word is read once, and whole.
        let (there, until_ns) = unsafe {
            let ban = (&raw const (*set)[at]).cast::<u64>();
            ([ban.read_volatile(), ban.add(1).read_volatile()], ban.add(2).read_volatile())
        };
        if (there[0] ^ head) | (there[1] ^ tail) == 0 && until_ns != 0 {
            return maps::now_ns() < until_ns;
        }
    }
    false
}

/// Charges one message to its source: a leaky bucket for each, kept as the time until which the source has used up
/// what it may (GCRA, ITU-T I.371).
#[inline(always)]
fn charge(source: [u64; 2]) -> Result<(), Counter> {
    let key = SourceKey(SOURCE_KEY.load());
    let place = Place::of(&key, source);
    let now_ns = maps::now_ns();
    let known = is_known(place, known_time(now_ns));
    let [unknown_cost, unknown_limit, known_cost, known_limit] = BUDGET.load();
    let (cost, limit, refusal) = if known {
        (known_cost, known_limit, Counter::DropKnownRate)
    } else {
        (unknown_cost, unknown_limit, Counter::DropUnknownRate)
    };
    let Some(set) = maps::budgets(place.set(BUDGET_SETS.load())) else { return Ok(()) };

    // The source's own entry, or else the one that owes least: an idle one owes nothing, and where none is idle the
    // newcomer inherits a debt. So a storm of made-up sources has no more than what the table's entries may spend.
    let mut least = u64::MAX;
    let mut chosen = 0;
    for at in 0..source::BUDGETS_OF_A_SET {
        // SAFETY: a pointer that the lookup returned is valid for the whole value. Other CPUs may write it: each word
        // is read once, and whole.
        let (owner, spent_ns) = unsafe {
            let budget = (&raw const (*set)[at]).cast::<u64>();
            (budget.read_volatile(), budget.add(1).read_volatile())
        };
        let debt = spent_ns.saturating_sub(now_ns);
        if owner == place.hash {
            least = debt;
            chosen = at;
            break;
        }
        if debt < least {
            least = debt;
            chosen = at;
        }
    }
    if least > limit {
        return Err(refusal);
    }
    if !known {
        charge_strangers(now_ns)?;
    }
    // SAFETY: as above, and `chosen` is one of the set's. Two CPUs that charge the same source at once may lose one of
    // the two charges; that is cheaper than to agree.
    unsafe {
        let budget = set.cast::<u64>().add(2 * chosen);
        budget.write_volatile(place.hash);
        budget.add(1).write_volatile(now_ns + least + cost);
    }
    Ok(())
}

#[inline(always)]
fn is_known(place: Place, now: u32) -> bool {
    let Some(set) = maps::known(place.set(KNOWN_SETS.load())) else { return false };
    for at in 0..source::KNOWN_OF_A_SET {
        // SAFETY: a pointer that the lookup returned is valid for the whole value. Userspace writes it at any time:
        // each word is read once, and whole.
        let word = unsafe { (&raw const (*set)[at]).read_volatile() };
        if (word >> 32) as u32 == place.tag {
            return word as u32 > now;
        }
    }
    false
}

/// Charges one message to all unknown sources of this CPU together.
#[inline(always)]
fn charge_strangers(now_ns: u64) -> Result<(), Counter> {
    let [cost, limit] = STRANGERS.load();
    if cost == 0 {
        return Ok(());
    }
    let Some(cpu) = maps::this_cpu() else { return Ok(()) };
    let debt = cpu.strangers_ns.saturating_sub(now_ns);
    if debt > limit {
        return Err(Counter::DropStrangers);
    }
    cpu.strangers_ns = now_ns + debt + cost;
    Ok(())
}
