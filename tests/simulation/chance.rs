//! All that is left to chance, from one seed. Its own generator, so that a seed means the same world for ever.

use std::ops::RangeInclusive;
use std::time::Duration;

/// `SplitMix64`, after Steele, Lea and Flood, *Fast Splittable Pseudorandom Number Generators* (2014).
#[derive(Debug)]
pub(crate) struct Chance(u64);

impl Chance {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// An independent source: what one task draws does not depend on when others do.
    pub(crate) fn fork(&mut self) -> Self {
        Self(self.u64())
    }

    pub(crate) fn u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub(crate) fn number(&mut self, range: RangeInclusive<u64>) -> u64 {
        range.start() + self.u64() % (range.end() - range.start() + 1)
    }

    pub(crate) fn millis(&mut self, range: RangeInclusive<u64>) -> Duration {
        Duration::from_millis(self.number(range))
    }

    pub(crate) fn one_in(&mut self, n: u64) -> bool {
        self.number(1..=n) == 1
    }

    pub(crate) fn pick<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[usize::try_from(self.u64() % choices.len() as u64).unwrap()]
    }
}
