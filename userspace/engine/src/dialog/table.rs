//! The table of dialogs: slots with generations, and the way to them by keyed hash.
//!
//! Knows nothing of SIP. All memory is reserved at the start; a slot is touched when it is first used.

use core::fmt;
use core::str::FromStr;

use super::entry::Dialog;

/// Names one dialog of one engine, and no later one in the same place. Shown to operators as text: the place and how
/// often it was used, both hexadecimal, as in `1a2b-7`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DialogId(u64);

impl DialogId {
    pub(super) const fn new(slot: u32, generation: u32) -> Self {
        Self((generation as u64) << 32 | slot as u64)
    }

    pub(super) const fn slot(self) -> u32 {
        self.0 as u32
    }

    pub(super) const fn bits(self) -> u64 {
        self.0
    }

    pub(super) const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    const fn generation(self) -> u32 {
        (self.0 >> 32) as u32
    }
}

impl fmt::Display for DialogId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x}-{:x}", self.slot(), self.generation())
    }
}

/// A text that is no [`DialogId`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoDialogId;

impl fmt::Display for NoDialogId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not a dialog: two hexadecimal numbers with a hyphen between, as in 1a2b-7")
    }
}

impl core::error::Error for NoDialogId {}

impl FromStr for DialogId {
    type Err = NoDialogId;

    fn from_str(text: &str) -> Result<Self, NoDialogId> {
        let number = |digits: &str| {
            let plain = digits.bytes().all(|b| b.is_ascii_hexdigit());
            plain.then(|| u32::from_str_radix(digits, 16).ok()).flatten().ok_or(NoDialogId)
        };
        let (slot, generation) = text.split_once('-').ok_or(NoDialogId)?;
        Ok(Self::new(number(slot)?, number(generation)?))
    }
}

/// What dialogs are found by: a keyed hash over Call-ID and the caller's tag, which the branches of a forked call share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct CallKey(pub(super) u64);

/// A keyed hash of the callee's tag; [`NONE`](Self::NONE) before there is one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct CalleeKey(pub(super) u64);

impl CalleeKey {
    pub(super) const NONE: Self = Self(0);
}

/// No slot. Links are stored plus one, so that zeroed memory means this.
const NONE: u32 = 0;

struct Slot {
    generation: u32,
    /// The next in the same bucket, or the next free one; plus one.
    next: u32,
    dialog: Option<Dialog>,
}

/// See the head of this file.
pub(super) struct Table {
    slots: Vec<Slot>,
    limit: usize,
    /// First slot of each bucket, plus one; a power of two of them.
    buckets: Box<[u32]>,
    free: u32,
    used: usize,
}

impl Table {
    /// Room for `limit` dialogs.
    pub(super) fn new(limit: usize) -> Self {
        let limit = limit.min(u32::MAX as usize - 1);
        let buckets = vec![NONE; limit.next_power_of_two()].into_boxed_slice();
        Self { slots: Vec::with_capacity(limit), limit, buckets, free: NONE, used: 0 }
    }

    pub(super) const fn used(&self) -> usize {
        self.used
    }

    pub(super) const fn limit(&self) -> usize {
        self.limit
    }

    /// Slots that were ever used: what there is to walk through.
    pub(super) fn extent(&self) -> u32 {
        self.slots.len() as u32
    }

    /// Puts a dialog in, under the key that it has. Gives it back when there is no room.
    #[allow(clippy::result_large_err)] // the dialog comes back, so that its texts can be released
    pub(super) fn insert(&mut self, dialog: Dialog) -> Result<DialogId, Dialog> {
        let bucket = self.bucket(dialog.call);
        let next_free = self.linked(self.free).map(|slot| slot.next);
        let link = match next_free {
            Some(next) => core::mem::replace(&mut self.free, next),
            None if self.slots.len() < self.limit => {
                self.slots.push(Slot { generation: 0, next: NONE, dialog: None });
                self.slots.len() as u32
            }
            None => return Err(dialog),
        };
        let at = link.wrapping_sub(1);
        let (Some(slot), Some(head)) = (self.slots.get_mut(at as usize), self.buckets.get_mut(bucket)) else {
            return Err(dialog);
        };
        slot.next = core::mem::replace(head, link);
        slot.dialog = Some(dialog);
        self.used += 1;
        Ok(DialogId::new(at, slot.generation))
    }

    /// Takes a dialog out. Its id means nothing from now on.
    pub(super) fn remove(&mut self, id: DialogId) -> Option<Dialog> {
        let at = id.slot();
        let call = self.get(id)?.call;
        let bucket = self.bucket(call);
        let slot = self.slots.get_mut(at as usize)?;
        let dialog = slot.dialog.take()?;
        slot.generation = slot.generation.wrapping_add(1);
        let link = at + 1;
        let next = core::mem::replace(&mut slot.next, self.free);
        self.free = link;
        self.used -= 1;
        let head = self.buckets.get_mut(bucket)?;
        if *head == link {
            *head = next;
            return Some(dialog);
        }
        let mut before = *head;
        while let Some(slot) = before.checked_sub(1).and_then(|at| self.slots.get_mut(at as usize)) {
            if slot.next == link {
                slot.next = next;
                break;
            }
            before = slot.next;
        }
        Some(dialog)
    }

    pub(super) fn get(&self, id: DialogId) -> Option<&Dialog> {
        self.slots.get(id.slot() as usize).filter(|slot| slot.generation == id.generation())?.dialog.as_ref()
    }

    pub(super) fn get_mut(&mut self, id: DialogId) -> Option<&mut Dialog> {
        self.slots
            .get_mut(id.slot() as usize)
            .filter(|slot| slot.generation == id.generation())?
            .dialog
            .as_mut()
    }

    /// The dialog in a slot, whichever it is.
    pub(super) fn at(&self, slot: u32) -> Option<(DialogId, &Dialog)> {
        let place = self.slots.get(slot as usize)?;
        Some((DialogId::new(slot, place.generation), place.dialog.as_ref()?))
    }

    /// All dialogs of a call, the newest first.
    pub(super) fn of_call(&self, call: CallKey) -> impl Iterator<Item = (DialogId, &Dialog)> {
        let mut link = self.buckets.get(self.bucket(call)).copied().unwrap_or(NONE);
        core::iter::from_fn(move || {
            let slot = self.linked(link)?;
            let found = (DialogId::new(link - 1, slot.generation), slot.dialog.as_ref());
            link = slot.next;
            Some(found)
        })
        .filter_map(|(id, dialog)| Some((id, dialog?)))
        .filter(move |(_, dialog)| dialog.call == call)
    }

    fn linked(&self, link: u32) -> Option<&Slot> {
        self.slots.get(link.checked_sub(1)? as usize)
    }

    fn bucket(&self, call: CallKey) -> usize {
        // As many as a power of two.
        call.0 as usize & (self.buckets.len() - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn ids_are_text_and_back() {
        let id = DialogId::new(0x1a2b, 7);
        assert_eq!((id.to_string().as_str(), "1a2b-7".parse()), ("1a2b-7", Ok(id)));
        for bad in ["", "1", "1-", "-1", "+1-1", "1-2-3", "x-1", "100000000-0"] {
            assert_eq!(bad.parse::<DialogId>(), Err(NoDialogId), "{bad}");
        }
    }

    fn dialog(call: u64, callee: u64) -> Dialog {
        Dialog { callee: CalleeKey(callee), ..Dialog::for_test(CallKey(call)) }
    }

    proptest! {
        /// Few calls, so that buckets and calls have several; the oracle is a list.
        #[test]
        fn as_a_list_would(steps in proptest::collection::vec((0u64..12, any::<bool>(), any::<usize>()), 0..200)) {
            let mut table = Table::new(20);
            let mut oracle: Vec<(DialogId, u64, u64)> = Vec::new();
            let mut gone: Vec<DialogId> = Vec::new();
            for (n, (call, insert, which)) in (1u64..).zip(steps) {
                // Both calls of a pair are in one bucket.
                let call = call % 2 * 32 + call / 2;
                if insert {
                    match table.insert(dialog(call, n)) {
                        Ok(id) => oracle.push((id, call, n)),
                        Err(_) => prop_assert_eq!(oracle.len(), 20),
                    }
                } else if !oracle.is_empty() {
                    let (id, _, n) = oracle.swap_remove(which % oracle.len());
                    prop_assert_eq!(table.remove(id).map(|d| d.callee), Some(CalleeKey(n)));
                    gone.push(id);
                }
                prop_assert_eq!(table.used(), oracle.len());
                for call in (0..12).map(|call| call % 2 * 32 + call / 2) {
                    let mut found: Vec<_> =
                        table.of_call(CallKey(call)).map(|(id, d)| (id, call, d.callee.0)).collect();
                    let mut expected: Vec<_> = oracle.iter().filter(|o| o.1 == call).copied().collect();
                    found.sort_unstable();
                    expected.sort_unstable();
                    prop_assert_eq!(found, expected);
                }
                for id in &gone {
                    prop_assert!(table.get(*id).is_none() && table.get_mut(*id).is_none());
                    prop_assert!(table.remove(*id).is_none());
                }
            }
        }
    }
}
