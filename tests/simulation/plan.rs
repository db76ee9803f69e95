//! What the world of one seed is like.

use std::time::Duration;

use crate::chance::Chance;

pub(crate) struct Plan {
    pub(crate) weather: Weather,
    /// How long there is weather; afterwards everything is healed.
    pub(crate) span: Duration,
    pub(crate) nodes: Vec<NodePlan>,
    /// How many contenders behave as client-go does.
    pub(crate) client_go: u64,
    /// The longest that users do without the lock, in milliseconds.
    pub(crate) leisure: u64,
    /// All trust wall clocks this far.
    pub(crate) skew: Option<Duration>,
}

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Weather {
    /// Nothing, except that nodes crash.
    Calm,
    /// An administrator edits and deletes the Lease.
    Meddled,
    /// Networks fail, and machines stand still.
    Stormy,
    /// All of that.
    Foul,
}

/// One machine with one lock.
#[derive(Clone, Debug)]
pub(crate) struct NodePlan {
    pub(crate) lease_duration: Duration,
    pub(crate) renew_deadline: Duration,
    pub(crate) renew_interval: Duration,
    pub(crate) rate: f64,
    pub(crate) wall: Duration,
    /// From request to answer.
    pub(crate) latency: Duration,
    /// How many tasks share the lock.
    pub(crate) tasks: u64,
}

impl Weather {
    pub(crate) fn is_stormy(self) -> bool {
        matches!(self, Self::Stormy | Self::Foul)
    }

    pub(crate) fn is_meddled(self) -> bool {
        matches!(self, Self::Meddled | Self::Foul)
    }
}

impl Plan {
    pub(crate) fn draw(chance: &mut Chance) -> Self {
        use Weather::{Calm, Foul, Meddled, Stormy};
        let weather = chance.pick(&[Calm, Meddled, Stormy, Stormy, Stormy, Foul, Foul, Foul]);
        let skew = chance.one_in(8).then_some(Duration::from_secs(10));
        let nodes = (0..chance.number(2..=6)).map(|_| NodePlan::draw(skew.is_some(), chance)).collect();
        Self {
            weather,
            span: chance.millis(20_000..=60_000),
            leisure: chance.pick(&[0, 0, 3_000, 15_000]),
            nodes,
            client_go: chance.pick(&[0, 0, 0, 1, 2]),
            skew,
        }
    }
}

impl NodePlan {
    fn draw(in_sync: bool, chance: &mut Chance) -> Self {
        const SECOND: Duration = Duration::from_secs(1);
        let seconds = if chance.one_in(16) { chance.number(50..=100) } else { chance.number(3..=20) };
        let lease_duration = Duration::from_secs(seconds);
        let boldest = (lease_duration * 98 / 100).min(Duration::from_secs(seconds - 1));
        let renew_deadline = chance.pick(&[lease_duration * 2 / 3, boldest]);
        let renew_interval = chance.pick(&[renew_deadline / 2, renew_deadline / 4]);
        let off = if in_sync { chance.millis(0..=8_000) } else { chance.millis(0..=172_800_000) };
        Self {
            lease_duration,
            renew_deadline,
            renew_interval: renew_interval.max(SECOND).min(renew_deadline * 7 / 10),
            rate: chance.pick(&[0.99, 0.995, 1.0, 1.0, 1.005, 1.01]),
            wall: Duration::from_secs(1_700_000_000) + off,
            latency: chance.pick(&[Duration::ZERO, Duration::from_millis(2), Duration::from_millis(40)]),
            tasks: chance.pick(&[1, 1, 1, 2, 3]),
        }
    }
}
