//! What policing the program does, decided before it is verified.

use super::LoadError;

/// Bans that the table has room for: 1 MiB. What is banned beyond takes the place of the ban in its set that would
/// have ended first.
pub const BAN_ROOM: u32 = 32_768;
/// The most sources whose budgets can be kept: 64 MiB.
pub const MAX_BUDGETS: u32 = 4 << 20;
/// The most sources that can be published as known: 64 MiB.
pub const MAX_KNOWN: u32 = 8 << 20;

/// What the program refuses. Whatever isn't asked for isn't in the verified program, and costs nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Policing {
    /// Whether addresses and prefixes can be banned: see [`Program::access_list`](super::Program::access_list).
    pub bans: bool,
    /// What happens to what isn't SIP.
    pub junk: Junk,
    /// How much each source may send; `None`: as much as it likes.
    pub budgets: Option<Budgets>,
    /// Whether STUN Binding requests on a listener's port are answered by the program (XDP_TX).
    pub answer_stun: bool,
    /// Whether OPTIONS pings are: see [`Program::answer_pings`](super::Program::answer_pings).
    pub answer_options: bool,
}

/// What happens to datagrams to a listener that are neither SIP nor STUN by their first bytes, keep-alives included.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Junk {
    /// The workers see it.
    #[default]
    Pass,
    /// It is dropped: junk as such, keep-alives because they have done their work on the way here.
    Drop,
}

/// How much a source may send. Trusted ones may send all they like; an IPv6 source is a /64.
///
/// A budget is a leaky bucket. The program's clock moves by the kernel's tick of up to 10 ms, so a burst must hold what
/// comes in two of them; [`Policing`]'s check sees to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budgets {
    /// Packets a second from a source that isn't known.
    pub unknown_pps: u32,
    /// Packets a second from one that is: see [`Program::known_sources`](super::Program::known_sources).
    pub known_pps: u32,
    /// Packets at once, from either.
    pub burst: u32,
    /// Packets a second from all unknown sources together, on each CPU that receives; 0: any number. Against storms from
    /// made-up addresses, each of which has a budget of its own.
    pub strangers_pps: u32,
    /// Sources whose budgets are kept, at most [`MAX_BUDGETS`]; rounded up to a power of two. While more than these are
    /// active, newcomers inherit the budgets of those who owe least.
    pub room: u32,
    /// Known sources that there must be room for, at most [`MAX_KNOWN`].
    pub known_room: u32,
}

impl Budgets {
    /// Cost of a message, and the debt up to which one is served; nanoseconds.
    fn cost(self, pps: u32) -> Result<(u64, u64), LoadError> {
        let cost = 1_000_000_000_u64.checked_div(u64::from(pps));
        let cost = cost.ok_or(LoadError::Budgets { reason: "rates are at least one packet a second" })?;
        Ok((cost, cost * u64::from(self.burst.saturating_sub(1))))
    }
}

/// [`Policing`] as the program's constants.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Constants {
    pub(super) ban_sets: u32,
    pub(super) known_sets: u32,
    pub(super) budget_sets: u32,
    pub(super) budget: [u64; 4],
    pub(super) strangers: [u64; 2],
    pub(super) drop_junk: u32,
    pub(super) answer_stun: u32,
    pub(super) answer_options: u32,
}

impl Constants {
    pub(super) fn new(policing: &Policing) -> Result<Self, LoadError> {
        let mut constants = Self {
            ban_sets: if policing.bans { BAN_ROOM / crate::source::BANS_OF_A_SET as u32 } else { 0 },
            drop_junk: u32::from(policing.junk == Junk::Drop),
            answer_stun: u32::from(policing.answer_stun),
            answer_options: u32::from(policing.answer_options),
            ..Self::default()
        };
        if let Some(budgets) = policing.budgets {
            if budgets.burst == 0 {
                return Err(LoadError::Budgets { reason: "the burst is at least one packet" });
            }
            // Two ticks of 10 ms.
            if u64::from(budgets.burst) * 50 < u64::from(budgets.unknown_pps.max(budgets.known_pps)) {
                return Err(LoadError::Budgets {
                    reason: "the burst is less than a fiftieth of a second's packets",
                });
            }
            if budgets.known_room > MAX_KNOWN || budgets.room > MAX_BUDGETS {
                return Err(LoadError::Budgets { reason: "room for more sources than there may be" });
            }
            let unknown = budgets.cost(budgets.unknown_pps)?;
            let known = budgets.cost(budgets.known_pps)?;
            constants.budget = [unknown.0, unknown.1, known.0, known.1];
            if budgets.strangers_pps > 0 {
                // Together they may send in one tick what they may send in two.
                let burst = (budgets.strangers_pps / 50).max(budgets.burst);
                let strangers = Budgets { burst, ..budgets }.cost(budgets.strangers_pps)?;
                constants.strangers = [strangers.0, strangers.1];
            }
            let sets = budgets.room.div_ceil(crate::source::BUDGETS_OF_A_SET as u32);
            constants.budget_sets = sets.max(1).next_power_of_two();
            // Half full at most, so that a set of eight hardly ever overflows.
            constants.known_sets = (budgets.known_room / 4).max(1).next_power_of_two();
        }
        Ok(constants)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BUDGETS: Budgets = Budgets {
        unknown_pps: 100,
        known_pps: 2_000,
        burst: 50,
        strangers_pps: 0,
        room: 5_000,
        known_room: 1_000,
    };

    fn constants(budgets: Budgets) -> Result<Constants, LoadError> {
        Constants::new(&Policing { budgets: Some(budgets), ..Policing::default() })
    }

    #[test]
    fn nothing_is_on_by_itself() {
        let constants = Constants::new(&Policing::default()).unwrap();
        let all = [constants.ban_sets, constants.known_sets, constants.budget_sets, constants.drop_junk];
        assert_eq!((all, constants.answer_stun, constants.answer_options), ([0; 4], 0, 0));
    }

    #[test]
    fn a_budget_is_a_cost_and_a_debt() {
        let [unknown, debt, known, _] = constants(BUDGETS).unwrap().budget;
        assert_eq!((unknown, debt, known), (10_000_000, 490_000_000, 500_000));
        let constants = constants(BUDGETS).unwrap();
        assert_eq!((constants.known_sets, constants.budget_sets), (256, 2_048));
    }

    #[test]
    fn what_cannot_be_kept_is_refused() {
        for budgets in [
            Budgets { unknown_pps: 0, ..BUDGETS },
            Budgets { known_pps: 0, ..BUDGETS },
            Budgets { burst: 0, ..BUDGETS },
            Budgets { burst: 39, ..BUDGETS },
            Budgets { known_room: MAX_KNOWN + 1, ..BUDGETS },
            Budgets { room: MAX_BUDGETS + 1, ..BUDGETS },
        ] {
            assert!(matches!(constants(budgets), Err(LoadError::Budgets { .. })), "{budgets:?}");
        }
    }
}
