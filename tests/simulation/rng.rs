//! All random numbers of a world, drawn from one seed. The generator is our own, so that a seed means the same world
//! for ever.

use std::ops::RangeInclusive;
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

/// Names one world, as `42`, or as `1:42` in an older edition of the simulation. A world does not contain what a later
/// edition added, so that it never changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Seed {
    edition: u64,
    pub(crate) number: u64,
}

/// The newest edition.
const EDITION: u64 = 6;

impl From<u64> for Seed {
    fn from(number: u64) -> Self {
        Self { edition: EDITION, number }
    }
}

impl std::str::FromStr for Seed {
    type Err = std::num::ParseIntError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.split_once(':') {
            None => Ok(Self::from(text.parse::<u64>()?)),
            Some((edition, number)) => Ok(Self { edition: edition.parse()?, number: number.parse()? }),
        }
    }
}

impl std::fmt::Display for Seed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.edition == EDITION {
            write!(f, "{}", self.number)
        } else {
            write!(f, "{}:{}", self.edition, self.number)
        }
    }
}

/// `SplitMix64`, after Steele, Lea and Flood, *Fast Splittable Pseudorandom Number Generators* (2014).
#[derive(Debug)]
pub(crate) struct Rng {
    state: u64,
    edition: u64,
}

impl Rng {
    pub(crate) fn new(seed: Seed) -> Self {
        Self { state: seed.number, edition: seed.edition }
    }

    /// Whether this world contains what came with `edition`.
    pub(crate) fn includes(&self, edition: u64) -> bool {
        self.edition >= edition
    }

    /// An independent generator: the numbers that one task draws do not depend on when other tasks draw.
    pub(crate) fn fork(&mut self) -> Self {
        Self { state: self.u64(), edition: self.edition }
    }

    /// Another generator, for what is added to a world that otherwise stays as it was. This one goes on as before.
    pub(crate) fn beside(&self) -> Self {
        Self { state: !self.state, edition: self.edition }
    }

    pub(crate) fn u64(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.state ^ (self.state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub(crate) fn number(&mut self, range: RangeInclusive<u64>) -> u64 {
        range.start() + self.u64() % (range.end() - range.start() + 1)
    }

    pub(crate) fn millis(&mut self, range: RangeInclusive<u64>) -> Duration {
        Duration::from_millis(self.number(range))
    }

    /// Sleeps for a random time. Returns `false`, without sleeping, if that would end at `until` or later.
    pub(crate) async fn sleep(&mut self, millis: RangeInclusive<u64>, until: Instant) -> bool {
        let next = Instant::now() + self.millis(millis);
        let in_time = next < until;
        if in_time {
            sleep_until(next).await;
        }
        in_time
    }

    pub(crate) fn one_in(&mut self, n: u64) -> bool {
        self.number(1..=n) == 1
    }

    pub(crate) fn pick<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[usize::try_from(self.u64() % choices.len() as u64).unwrap()]
    }
}
