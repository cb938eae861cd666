//! What a phone will do: chosen from the seed before the world begins, obeyed by the phone.

use core::time::Duration;

use crate::dice::Dice;

/// One thing a phone does on its own.
#[derive(Clone, Debug)]
pub(crate) enum Deed {
    /// Calls a URI.
    Call(Box<CallPlan>),
    /// A request outside of any dialog.
    Single(&'static str, String),
    /// Removes its binding.
    Unregister,
    /// Removes all bindings of its user with `Contact: *`.
    UnregisterAll,
    /// Asks for the bindings of its user.
    Query,
}

/// One call as the caller means it to go.
#[derive(Clone, Debug)]
pub(crate) struct CallPlan {
    pub(crate) target: String,
    /// CANCEL after this time.
    pub(crate) cancel_after: Option<Duration>,
    /// Does not wait for a provisional response with it, as RFC 3261 section 9.1 demands.
    pub(crate) hasty: bool,
    /// CANCEL after this time of ringing in any case.
    pub(crate) patience: Duration,
    /// Hangs up after this time when the other side has not.
    pub(crate) talk: Duration,
    /// Requests inside the dialog, one a second.
    pub(crate) inside: Vec<&'static str>,
    /// Offers reliable provisional responses (RFC 3262).
    pub(crate) reliable: bool,
}

/// How a phone treats a call that comes in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// 200 without anything before it.
    AtOnce,
    /// 180, then 200.
    Ring,
    /// 183 with a body, reliable when the caller can; then 200.
    EarlyMedia,
    /// Rings until somebody ends it.
    RingForever,
    /// Sends 100 and nothing more.
    Trying,
    /// This final response at once.
    Refuse(u16),
    /// Rings, then this final response.
    RingAndRefuse(u16),
    /// 302 to another user.
    Redirect,
    /// 401 or 407 of its own; accepts whatever credentials come for its realm.
    Challenge(u16),
    /// Hears nothing.
    Mute,
    /// 180, and it is dead before the 200.
    DieRinging,
}

/// How a phone writes.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Style {
    /// Compact header names.
    pub(crate) compact: bool,
    /// `rport` in its Via (RFC 3581).
    pub(crate) rport: bool,
    /// Puts all Via values of a response on one line.
    pub(crate) joined_vias: bool,
    /// Sends 100 for an INVITE before anything else.
    pub(crate) tries: bool,
    /// Sends its credentials with the first request once it knows a nonce.
    pub(crate) eager_credentials: bool,
    /// The digest algorithms it can do, as a mask: 1 MD5, 2 SHA-256.
    pub(crate) algorithms: u8,
    /// Says of itself what most phones say: a node offers a stranger no more octets than it got.
    pub(crate) wordy: bool,
}

impl Style {
    pub(crate) fn draw(dice: &mut Dice) -> Self {
        let algorithms = dice.weighted(&[(3, 1), (2, 2), (3, 3)]);
        Self {
            compact: dice.chance(200) && algorithms != 2,
            rport: dice.chance(600),
            joined_vias: dice.chance(200),
            tries: dice.chance(300),
            eager_credentials: dice.chance(500),
            algorithms,
            // One that can do SHA-256 alone is modern.
            wordy: algorithms == 2 || dice.chance(500),
        }
    }
}

/// A phone's registration.
#[derive(Clone, Debug)]
pub(crate) struct Binding {
    pub(crate) contact: String,
    /// In thousandths; `None` for no parameter.
    pub(crate) q: Option<u16>,
    /// Seconds asked for.
    pub(crate) expires: u32,
    /// Says so in the Contact's parameter and not in the Expires header.
    pub(crate) in_contact: bool,
    /// Refreshes it before it runs out, until this time after its start.
    pub(crate) refresh_for: Duration,
}

/// What a phone does with the calls it gets, as weights.
pub(crate) type Temper = Vec<(u32, Answer)>;

/// A temper: mostly ordinary people, sometimes one who does the same thing every time.
pub(crate) fn temper(dice: &mut Dice) -> Temper {
    let all = [
        (20, Answer::Ring),
        (10, Answer::AtOnce),
        (10, Answer::EarlyMedia),
        (6, Answer::Refuse(486)),
        (3, Answer::RingAndRefuse(486)),
        (4, Answer::Refuse(603)),
        (2, Answer::Refuse(404)),
        (2, Answer::Refuse(500)),
        (3, Answer::Refuse(503)),
        (2, Answer::RingAndRefuse(408)),
        (4, Answer::RingForever),
        (3, Answer::Trying),
        (4, Answer::Redirect),
        (3, Answer::Challenge(401)),
        (3, Answer::Challenge(407)),
        (2, Answer::Mute),
        (2, Answer::DieRinging),
    ];
    if dice.chance(400) { vec![(1, dice.weighted(&all))] } else { all.to_vec() }
}
