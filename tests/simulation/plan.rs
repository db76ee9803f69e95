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
    /// All go by one name.
    pub(crate) namesakes: bool,
    /// Clocks are set back.
    pub(crate) turned_back: bool,
    /// Somebody labels the Lease time and again, this often at the most, in milliseconds.
    pub(crate) labelled: Option<u64>,
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
    /// One request fails now and then, never so often that a hold may be lost.
    Drizzle,
    /// Watches fall silent without an end.
    Deaf,
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
    /// It may not watch.
    pub(crate) blind: bool,
    /// A claim that is given up arrives late.
    pub(crate) late_claims: bool,
}

impl Weather {
    pub(crate) fn is_stormy(self) -> bool {
        matches!(self, Self::Stormy | Self::Foul)
    }

    pub(crate) fn is_meddled(self) -> bool {
        matches!(self, Self::Meddled | Self::Foul)
    }

    /// Whether no hold may be lost, and nothing be left behind.
    pub(crate) fn is_gentle(self) -> bool {
        matches!(self, Self::Calm | Self::Drizzle)
    }
}

impl Plan {
    pub(crate) fn draw(chance: &mut Chance) -> Self {
        use Weather::{Calm, Foul, Meddled, Stormy};
        let weather = chance.pick(&[Calm, Meddled, Stormy, Stormy, Stormy, Foul, Foul, Foul]);
        let skew = chance.one_in(8).then_some(Duration::from_secs(10));
        let nodes = (0..chance.number(2..=6)).map(|_| NodePlan::draw(skew.is_some(), chance)).collect();
        let mut plan = Self {
            weather,
            span: chance.millis(20_000..=60_000),
            leisure: chance.pick(&[0, 0, 3_000, 15_000]),
            nodes,
            client_go: chance.pick(&[0, 0, 0, 1, 2]),
            skew,
            namesakes: false,
            labelled: None,
            turned_back: false,
        };
        if chance.knows(2) {
            plan.draw_more(chance);
        }
        plan
    }

    fn draw_more(&mut self, chance: &mut Chance) {
        use Weather::{Calm, Deaf, Drizzle};
        if chance.one_in(3) {
            self.weather = chance.pick(&[Calm, Drizzle, Drizzle, Deaf, Deaf]);
        }
        self.namesakes = chance.one_in(4);
        self.turned_back = self.skew.is_none() && chance.one_in(4);
        self.labelled = chance.one_in(3).then(|| chance.pick(&[1_000, 5_000]));
        for node in &mut self.nodes {
            node.late_claims = self.weather == Drizzle && chance.one_in(2);
            // A watch that works tells what became of a write.
            node.blind = self.weather != Deaf && chance.one_in(if self.weather == Drizzle { 2 } else { 8 });
        }
        if self.weather == Deaf {
            (self.span, self.client_go) = (Duration::from_secs(120), 0);
            if chance.one_in(2) {
                // Longer than any watch is believed without a word.
                self.nodes.iter_mut().for_each(|node| node.lease_for(chance.number(70..=100)));
            }
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
            blind: false,
            late_claims: false,
        }
    }

    fn lease_for(&mut self, seconds: u64) {
        self.lease_duration = Duration::from_secs(seconds);
        self.renew_deadline = self.lease_duration * 2 / 3;
        self.renew_interval = self.renew_deadline / 2;
    }
}
