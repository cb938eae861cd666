//! Errors that are put in on purpose, to see that the simulation finds them (`cargo xtask sim --plant NAME`).
//!
//! Each is at one place of the engine, which asks [`is_planted`]. It can be so only with the feature `plant`, which nothing
//! that is shipped has: without it the answer is a constant, and the error is not compiled.

#[cfg(feature = "plant")]
use core::sync::atomic::{AtomicU8, Ordering};

/// An error that can be put in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(not(feature = "plant"), expect(unreachable_pub, reason = "who plants one has the feature"))]
pub enum Plant {
    /// The final response to an INVITE is not sent again.
    TimerG,
    /// A CANCEL is matched with its INVITE by Call-ID and CSeq, whoever sends it.
    CancelMatch,
    /// The contacts of a user are tried the worst first.
    ContactOrder,
}

/// The one that was put in, and one more; 0 for none.
#[cfg(feature = "plant")]
static PLANTED: AtomicU8 = AtomicU8::new(0);

#[cfg(feature = "plant")]
impl Plant {
    /// The error of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        let all = [
            ("timer-g", Self::TimerG),
            ("cancel-match", Self::CancelMatch),
            ("contact-order", Self::ContactOrder),
        ];
        all.into_iter().find(|(known, _)| *known == name).map(|(_, plant)| plant)
    }

    /// Puts it into every engine of this process, from now on.
    pub fn plant(self) {
        PLANTED.store(self as u8 + 1, Ordering::Relaxed);
    }
}

/// Whether this one was put in.
#[inline(always)]
pub(crate) fn is_planted(plant: Plant) -> bool {
    #[cfg(feature = "plant")]
    let planted = PLANTED.load(Ordering::Relaxed) == plant as u8 + 1;
    #[cfg(not(feature = "plant"))]
    let planted = {
        let _ = plant;
        false
    };
    planted
}
