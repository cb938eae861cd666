//! SipHash (Aumasson and Bernstein, 2012), word by word: for whoever has its input in words already, as the XDP program
//! does, which can't call a library.
//!
//! Called by `steer` and by the XDP program. The engine takes the library that this is held against in `tests/steering.rs`.

/// The state, with `C` rounds for each word and `D` at the end.
pub struct SipHash<const C: usize, const D: usize>([u64; 4]);

impl<const C: usize, const D: usize> SipHash<C, D> {
    /// Under the key whose halves these are, each little-endian.
    #[inline(always)]
    pub const fn new([k0, k1]: [u64; 2]) -> Self {
        Self([
            k0 ^ 0x736f_6d65_7073_6575,
            k1 ^ 0x646f_7261_6e64_6f6d,
            k0 ^ 0x6c79_6765_6e65_7261,
            k1 ^ 0x7465_6462_7974_6573,
        ])
    }

    /// Takes eight bytes of the input, the first one lowest.
    #[inline(always)]
    pub fn compress(&mut self, word: u64) {
        self.0[3] ^= word;
        for _ in 0..C {
            self.round();
        }
        self.0[0] ^= word;
    }

    /// The hash. `rest` is what is left after the last whole word, at most seven bytes; `len` counts all bytes.
    #[inline(always)]
    pub fn finish(mut self, rest: u64, len: u64) -> u64 {
        self.compress(rest | len << 56);
        self.0[2] ^= 0xff;
        for _ in 0..D {
            self.round();
        }
        let [v0, v1, v2, v3] = self.0;
        v0 ^ v1 ^ v2 ^ v3
    }

    #[inline(always)]
    fn round(&mut self) {
        let [mut v0, mut v1, mut v2, mut v3] = self.0;
        v0 = v0.wrapping_add(v1);
        v2 = v2.wrapping_add(v3);
        v1 = v1.rotate_left(13) ^ v0;
        v3 = v3.rotate_left(16) ^ v2;
        v0 = v0.rotate_left(32);
        v2 = v2.wrapping_add(v1);
        v0 = v0.wrapping_add(v3);
        v1 = v1.rotate_left(17) ^ v2;
        v3 = v3.rotate_left(21) ^ v0;
        v2 = v2.rotate_left(32);
        self.0 = [v0, v1, v2, v3];
    }
}
