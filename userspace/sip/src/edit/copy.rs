//! Copies of a few octets, which is what edits are made of.
//!
//! Up to 64 octets are two blocks of a fixed size that may overlap in the middle (a text of up to 128, twice that): some
//! loads and stores, where a call of `memmove` costs more than it copies. A run that moves is loaded whole before
//! anything is stored, so its places may overlap too. Blocks are integers because those stay in registers: arrays went
//! through memory, and were waited for there.

/// What [`put_block`] may change after the end of a text.
pub(super) const SLACK: usize = 32;

/// `bytes[at..at + len]`.
#[inline(always)]
fn run(bytes: &[u8], at: usize, len: usize) -> Option<&[u8]> {
    bytes.get(at..)?.get(..len)
}

#[inline(always)]
fn place(bytes: &mut [u8], at: usize, len: usize) -> Option<&mut [u8]> {
    bytes.get_mut(at..)?.get_mut(..len)
}

/// Loads front and back of `$run`, which is evaluated first, and stores them in `$place`.
macro_rules! blocks {
    ($int:ty, $run:expr, $place:expr) => {{
        let run = $run;
        let (front, back) = (run.first_chunk()?, run.last_chunk()?);
        let (front, back) = (<$int>::from_ne_bytes(*front), <$int>::from_ne_bytes(*back));
        let place: &mut [u8] = $place;
        *place.first_chunk_mut()? = front.to_ne_bytes();
        *place.last_chunk_mut()? = back.to_ne_bytes();
    }};
}

/// As [`blocks`], of 32 octets each.
macro_rules! double_blocks {
    ($run:expr, $place:expr) => {{
        let run = $run;
        let (front, back) = (run.first_chunk::<32>()?, run.last_chunk::<32>()?);
        let a = u128::from_ne_bytes(*front.first_chunk()?);
        let b = u128::from_ne_bytes(*front.last_chunk()?);
        let c = u128::from_ne_bytes(*back.first_chunk()?);
        let d = u128::from_ne_bytes(*back.last_chunk()?);
        let place: &mut [u8] = $place;
        let front = place.first_chunk_mut::<32>()?;
        *front.first_chunk_mut()? = a.to_ne_bytes();
        *front.last_chunk_mut()? = b.to_ne_bytes();
        let back = place.last_chunk_mut::<32>()?;
        *back.first_chunk_mut()? = c.to_ne_bytes();
        *back.last_chunk_mut()? = d.to_ne_bytes();
    }};
}

/// Puts `text` at `at`; returns where it ends, or `None`, and nothing changed, where it has no room.
#[inline(always)]
pub(super) fn put(bytes: &mut [u8], at: usize, text: &[u8]) -> Option<usize> {
    let len = text.len();
    let place = place(bytes, at, len)?;
    match len {
        129.. => place.copy_from_slice(text),
        65.. => {
            let (front, back) = (text.first_chunk::<64>()?, text.last_chunk::<64>()?);
            let room = place.first_chunk_mut::<64>()?;
            double_blocks!(front, room);
            let room = place.last_chunk_mut::<64>()?;
            double_blocks!(back, room);
        }
        32.. => double_blocks!(text, place),
        16.. => blocks!(u128, text, place),
        8.. => blocks!(u64, text, place),
        4.. => blocks!(u32, text, place),
        2.. => blocks!(u16, text, place),
        1 => *place.first_mut()? = *text.first()?,
        0 => {}
    }
    Some(at + len)
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

/// Moves `len` octets; both places are in `bytes`, or nothing happens and it is `None`.
#[inline(always)]
pub(super) fn shift(bytes: &mut [u8], from: usize, len: usize, to: usize) -> Option<()> {
    run(bytes, from, len)?;
    run(bytes, to, len)?;
    match len {
        65.. => bytes.copy_within(from..from + len, to),
        32.. => double_blocks!(run(bytes, from, len)?, place(bytes, to, len)?),
        16.. => blocks!(u128, run(bytes, from, len)?, place(bytes, to, len)?),
        8.. => blocks!(u64, run(bytes, from, len)?, place(bytes, to, len)?),
        4.. => blocks!(u32, run(bytes, from, len)?, place(bytes, to, len)?),
        2.. => blocks!(u16, run(bytes, from, len)?, place(bytes, to, len)?),
        1 => *bytes.get_mut(to)? = *bytes.get(from)?,
        0 => {}
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_length_anywhere() {
        let original: Vec<u8> = (0..=250).collect();
        for len in 0..=150 {
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
