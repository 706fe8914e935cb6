//! Random numbers that are the same everywhere for the same seed.

/// The generator `SplitMix64` (Steele, Lea and Flood, 2014): good enough to
/// choose test cases, and no dependency.
pub struct Random(u64);

impl Random {
    /// Numbers that depend on `seed` and on `stream` only, so that case 17 is
    /// the same whether 18 or 1000 cases are run.
    pub fn new(seed: u64, stream: u64) -> Self {
        let mut random = Self(seed ^ stream.wrapping_mul(0xd6e8_feb8_6659_fd93));
        random.next();
        random
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number from 0 to `limit` - 1; `limit` is at least 1.
    pub fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.next() % limit as u64).unwrap_or_default()
    }

    /// True in so many cases out of a hundred.
    pub fn percent(&mut self, share: usize) -> bool {
        self.below(100) < share
    }

    /// One of them; `from` is not empty.
    #[allow(clippy::indexing_slicing, reason = "below the length")]
    pub fn pick<T: Clone>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())].clone()
    }

    /// Each of them with the given chance.
    pub fn some<T: Clone>(&mut self, from: &[T], share: usize) -> Vec<T> {
        from.iter().filter(|_| self.percent(share)).cloned().collect()
    }
}
