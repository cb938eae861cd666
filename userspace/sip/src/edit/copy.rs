//! Copies of a few octets, which is what edits are made of.
//!
//! Up to 64 octets are two blocks of a fixed size that may overlap in the middle: some loads and stores, where a call of
//! `memmove` costs more than it copies. All is loaded before anything is stored, so places may overlap too.

/// What [`put_block`] may write after the end of a text.
pub(super) const SLACK: usize = 32;

macro_rules! by_blocks {
    ($from:expr, $len:expr, $to:expr, [$($size:literal),*]) => {
        $(if $len >= $size
            && let (Some(front), Some(back)) = ($from.first_chunk::<$size>(), $from.last_chunk::<$size>())
        {
            let (front, back) = (*front, *back);
            if let Some(place) = $to.first_chunk_mut::<$size>() {
                *place = front;
            }
            if let Some(place) = $to.last_chunk_mut::<$size>() {
                *place = back;
            }
        } else)* {}
    };
}

/// Puts `text` at `at`; returns where it ends, or `None`, and nothing changed, where it has no room.
#[inline(always)]
pub(super) fn put(bytes: &mut [u8], at: usize, text: &[u8]) -> Option<usize> {
    let end = at.checked_add(text.len())?;
    let place = bytes.get_mut(at..end)?;
    if text.len() > 64 {
        place.copy_from_slice(text);
    } else {
        by_blocks!(text, text.len(), place, [32, 16, 8, 4, 2, 1]);
    }
    Some(end)
}

/// Puts the first `len` octets of `block` at `at`, and may change [`SLACK`] octets after them; returns where they end.
#[inline(always)]
pub(super) fn put_block<const N: usize>(
    bytes: &mut [u8],
    at: usize,
    block: &[u8; N],
    len: usize,
) -> Option<usize> {
    const { assert!(N <= SLACK) };
    *bytes.get_mut(at..)?.first_chunk_mut::<N>()? = *block;
    Some(at + len.min(N))
}

/// Moves `len` octets; both places are in `bytes`, or nothing happens.
#[inline(always)]
pub(super) fn shift(bytes: &mut [u8], from: usize, len: usize, to: usize) {
    if len > 64 {
        if from.max(to) + len <= bytes.len() {
            bytes.copy_within(from..from + len, to);
        }
        return;
    }
    // The blocks are read through one borrow and written through another.
    macro_rules! by {
        ($size:literal) => {
            let Some(run) = bytes.get(from..from + len) else { return };
            let (Some(front), Some(back)) = (run.first_chunk::<$size>(), run.last_chunk::<$size>()) else {
                return;
            };
            let (front, back) = (*front, *back);
            let Some(place) = bytes.get_mut(to..to + len) else { return };
            if let Some(place) = place.first_chunk_mut::<$size>() {
                *place = front;
            }
            if let Some(place) = place.last_chunk_mut::<$size>() {
                *place = back;
            }
        };
    }
    match len {
        32.. => {
            by!(32);
        }
        16.. => {
            by!(16);
        }
        8.. => {
            by!(8);
        }
        4.. => {
            by!(4);
        }
        2.. => {
            by!(2);
        }
        1 => {
            by!(1);
        }
        0 => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_length_anywhere() {
        let original: Vec<u8> = (0..200).collect();
        for len in 0..=100 {
            for (from, to) in [(50, 50), (50, 49), (49, 50), (0, 90), (90, 0), (20, 60), (60, 20), (100, 93)]
            {
                let mut expected = original.clone();
                expected.copy_within(from..from + len, to);
                let mut bytes = original.clone();
                shift(&mut bytes, from, len, to);
                assert_eq!(bytes, expected, "{len} from {from} to {to}");
                let mut put_there = original.clone();
                assert_eq!(put(&mut put_there, to, &original[from..from + len]), Some(to + len));
                assert_eq!(put_there, expected);
            }
        }
    }

    #[test]
    fn what_has_no_room_changes_nothing() {
        for len in [1, 2, 5, 9, 17, 33, 65] {
            let mut bytes = vec![1; 70];
            assert_eq!(put(&mut bytes, 71 - len, &vec![2; len]), None);
            assert_eq!(put(&mut bytes, usize::MAX, &vec![2; len]), None);
            shift(&mut bytes, 0, len, 71 - len);
            shift(&mut bytes, 71 - len, len, 0);
            assert_eq!(bytes, [1; 70]);
        }
        let mut bytes = [0; 40];
        assert_eq!(put_block(&mut bytes, 8, b"abcd", 2), Some(10));
        assert_eq!(bytes[..13], *b"\0\0\0\0\0\0\0\0abcd\0");
        assert_eq!(put_block(&mut bytes, 37, b"abcd", 2), None);
    }
}
