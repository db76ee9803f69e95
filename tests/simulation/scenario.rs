//! The scenario of one seed: the nodes, how they are set up, and the faults that happen to them.

use std::time::Duration;

use crate::rng::Rng;

pub(crate) struct Scenario {
    pub(crate) profile: FaultProfile,
    /// How long faults are injected. Afterwards everything is healed.
    pub(crate) fault_period: Duration,
    pub(crate) nodes: Vec<NodeConfig>,
    /// How many contenders behave as client-go does.
    pub(crate) client_go: u64,
    /// The longest pause between two operations of a task, in milliseconds.
    pub(crate) max_idle_ms: u64,
    /// If set, all nodes trust wall clocks up to this skew.
    pub(crate) max_clock_skew: Option<Duration>,
    /// Whether all nodes have the same name.
    pub(crate) shared_name: bool,
    /// Whether wall clocks are set back.
    pub(crate) clock_steps: bool,
    /// If set, the administrator labels the Lease, with pauses up to this many milliseconds.
    pub(crate) max_label_interval_ms: Option<u64>,
    pub(crate) usage: Usage,
    /// If set, tasks also do work that is done once for each period of this length.
    pub(crate) once_in: Option<Duration>,
}

/// How all tasks of a world use the lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Usage {
    /// Each task draws what it does next.
    Random,
    /// Each task always acquires, holds for the same time, releases and rests for the same time.
    Steady { hold: Duration, rest: Duration },
    /// The task that acquires first holds until the faults end.
    OneHolds,
}

/// The kinds of faults in one world.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FaultProfile {
    /// Nodes crash. Nodes can crash in all other profiles too.
    CrashesOnly,
    /// An administrator edits and deletes the Lease.
    LeaseEdits,
    /// Networks fail, and machines freeze.
    Severe,
    /// `Severe` and `LeaseEdits` together.
    SevereAndEdits,
    /// Single requests fail, so rarely that no hold may be lost.
    RareFailures,
    /// Watches fall silent, and do not end.
    SilentWatches,
    /// Nothing goes wrong. The nodes are at different distances from the server, some are throttled, and some watches lag.
    Contention,
    /// The holder crashes while many nodes wait.
    CrashInCrowd,
    /// An administrator edits the queue while one node holds, and watches end.
    QueueEdits,
    /// The server takes long for each write, and cancels a write that its client gives up.
    SlowServer,
}

/// One machine with one lock.
#[derive(Clone, Debug)]
pub(crate) struct NodeConfig {
    pub(crate) lease_duration: Duration,
    pub(crate) renew_deadline: Duration,
    pub(crate) renew_interval: Duration,
    pub(crate) rate: f64,
    pub(crate) wall: Duration,
    /// From the request to its answer.
    pub(crate) latency: Duration,
    /// How many tasks share the lock.
    pub(crate) tasks: u64,
    /// Whether the API server forbids it to watch.
    pub(crate) watch_forbidden: bool,
    /// Whether a claim that is given up arrives late.
    pub(crate) late_claims: bool,
    /// One way to the server, on average. Zero in a world that has a latency.
    pub(crate) distance: Duration,
    /// Whether it is frozen now and then for a moment, as by a limit of its CPU time.
    pub(crate) is_throttled: bool,
    /// How late the events of its watches are.
    pub(crate) event_lag: Duration,
    /// How long the server takes for each of its writes. Zero: no longer than for a read.
    pub(crate) write_time: Duration,
}

impl FaultProfile {
    pub(crate) fn is_severe(self) -> bool {
        matches!(self, Self::Severe | Self::SevereAndEdits)
    }

    pub(crate) fn has_lease_edits(self) -> bool {
        matches!(self, Self::LeaseEdits | Self::SevereAndEdits)
    }

    /// Whether no hold may be lost, and no claim be left over.
    pub(crate) fn preserves_holds(self) -> bool {
        matches!(self, Self::CrashesOnly | Self::RareFailures | Self::SlowServer)
    }
}

impl Scenario {
    /// The time that all nodes need for one turn each, without faults: an event and a claim, the answer, the hold and a release.
    pub(crate) fn round(&self) -> Duration {
        let Usage::Steady { hold, .. } = self.usage else { return Duration::ZERO };
        self.nodes.iter().map(|node| hold + 4 * node.distance).sum()
    }

    pub(crate) fn draw(rng: &mut Rng) -> Self {
        use FaultProfile::{CrashesOnly, LeaseEdits, Severe, SevereAndEdits};
        let profile = rng.pick(&[
            CrashesOnly,
            LeaseEdits,
            Severe,
            Severe,
            Severe,
            SevereAndEdits,
            SevereAndEdits,
            SevereAndEdits,
        ]);
        let max_clock_skew = rng.one_in(8).then_some(Duration::from_secs(10));
        let nodes = (0..rng.number(2..=6)).map(|_| NodeConfig::draw(max_clock_skew.is_some(), rng)).collect();
        let mut scenario = Self {
            profile,
            fault_period: rng.millis(20_000..=60_000),
            max_idle_ms: rng.pick(&[0, 0, 3_000, 15_000]),
            nodes,
            client_go: rng.pick(&[0, 0, 0, 1, 2]),
            max_clock_skew,
            shared_name: false,
            max_label_interval_ms: None,
            clock_steps: false,
            usage: Usage::Random,
            once_in: None,
        };
        if rng.includes(2) {
            scenario.draw_more(rng);
        }
        if rng.includes(4) {
            scenario.draw_distances(rng);
        }
        if rng.includes(5) && scenario.profile == CrashesOnly && rng.one_in(4) {
            scenario.slow_down(rng);
        }
        if rng.includes(6) && scenario.usage == Usage::Random && rng.beside().one_in(3) {
            // Fewer periods than the Lease remembers.
            scenario.once_in = Some(scenario.fault_period / 12);
        }
        scenario
    }

    /// One node, because a process that joins the queue makes a renewal fail that takes long, and the next one may come too late.
    fn slow_down(&mut self, rng: &mut Rng) {
        (self.profile, self.client_go, self.max_label_interval_ms) = (FaultProfile::SlowServer, 0, None);
        self.nodes.truncate(1);
        for node in &mut self.nodes {
            // The bound of a write, by default.
            let bound = node.renew_deadline.saturating_sub(node.renew_interval).min(node.renew_deadline / 2);
            node.write_time = bound.mul_f64(rng.pick(&[0.3, 0.6, 0.9]));
        }
        let (hold, rest) = (rng.pick(&[0, 5_000, 40_000]), rng.pick(&[0, 1_000]));
        let [hold, rest] = [hold, rest].map(Duration::from_millis);
        self.usage = Usage::Steady { hold, rest };
    }

    fn draw_more(&mut self, rng: &mut Rng) {
        use FaultProfile::{CrashesOnly, RareFailures, SilentWatches};
        if rng.one_in(3) {
            self.profile = rng.pick(&[CrashesOnly, RareFailures, RareFailures, SilentWatches, SilentWatches]);
        }
        self.shared_name = rng.one_in(4);
        self.clock_steps = self.max_clock_skew.is_none() && rng.one_in(4);
        self.max_label_interval_ms = rng.one_in(6).then(|| rng.pick(&[1_000, 5_000]));
        for node in &mut self.nodes {
            node.late_claims = self.profile == RareFailures && rng.one_in(2);
            // A watch that works reveals the outcome of a write.
            node.watch_forbidden =
                self.profile != SilentWatches && rng.one_in(if self.profile == RareFailures { 2 } else { 8 });
        }
        if self.profile == SilentWatches {
            (self.fault_period, self.client_go) = (Duration::from_secs(120), 0);
            if rng.one_in(2) {
                // Longer than a silent watch is believed.
                self.nodes.iter_mut().for_each(|node| node.lease_for(rng.number(70..=100)));
            }
        }
    }
}

/// Worlds with distances. Those about contention take long.
impl Scenario {
    fn draw_distances(&mut self, rng: &mut Rng) {
        use FaultProfile::{Contention, CrashInCrowd, QueueEdits};
        if !rng.one_in(24) {
            if self.profile.is_severe() && rng.one_in(4) {
                self.nodes.iter_mut().for_each(|node| node.move_away(rng));
            }
            return;
        }
        self.profile = rng.pick(&[Contention, Contention, Contention, CrashInCrowd, QueueEdits, QueueEdits]);
        (self.client_go, self.max_clock_skew, self.max_label_interval_ms) = (0, None, None);
        (self.shared_name, self.clock_steps) = (false, false);
        let is_crowd = self.profile == CrashInCrowd || self.profile == Contention && rng.one_in(3);
        if is_crowd {
            let count = match rng.number(1..=40) {
                1 => 300,
                2..=4 => rng.number(41..=100),
                _ if self.profile == CrashInCrowd => rng.number(41..=100),
                _ => rng.number(17..=40),
            };
            self.nodes = (0..count).map(|_| NodeConfig::draw(false, rng)).collect();
        }
        for node in &mut self.nodes {
            node.lease_for(15);
            node.move_away(rng);
            (node.tasks, node.watch_forbidden, node.late_claims) = (1, false, false);
        }
        match self.profile {
            Contention => {
                let holds: &[u64] = if is_crowd { &[20, 100, 200] } else { &[0, 5, 100, 500, 2_000] };
                let (hold, rest) = (rng.pick(holds), rng.pick(&[0, 0, 200, 900]));
                let [hold, rest] = [hold, rest].map(Duration::from_millis);
                self.usage = Usage::Steady { hold, rest };
                self.fault_period = Duration::from_secs(120);
                if is_crowd && rng.one_in(3) {
                    let distance = rng.millis(100..=400);
                    self.nodes.iter_mut().for_each(|node| node.distance = distance);
                }
                for node in &mut self.nodes {
                    node.is_throttled = rng.one_in(4);
                    node.event_lag = if rng.one_in(4) { rng.millis(20..=300) } else { Duration::ZERO };
                }
            }
            profile => {
                // Otherwise the node with the fastest clock is long the only one for which the hold has expired.
                self.nodes.iter_mut().for_each(|node| node.rate = 1.0);
                self.usage = Usage::OneHolds;
                self.fault_period = Duration::from_secs(if profile == QueueEdits { 200 } else { 60 });
            }
        }
    }
}

impl NodeConfig {
    fn draw(in_sync: bool, rng: &mut Rng) -> Self {
        const SECOND: Duration = Duration::from_secs(1);
        let seconds = if rng.one_in(16) { rng.number(50..=100) } else { rng.number(3..=20) };
        let lease_duration = Duration::from_secs(seconds);
        let longest = (lease_duration * 98 / 100).min(Duration::from_secs(seconds - 1));
        let renew_deadline = rng.pick(&[lease_duration * 2 / 3, longest]);
        let renew_interval = rng.pick(&[renew_deadline / 2, renew_deadline / 4]);
        let off = if in_sync { rng.millis(0..=8_000) } else { rng.millis(0..=172_800_000) };
        Self {
            lease_duration,
            renew_deadline,
            renew_interval: renew_interval.max(SECOND).min(renew_deadline * 7 / 10),
            rate: rng.pick(&[0.99, 0.995, 1.0, 1.0, 1.005, 1.01]),
            wall: Duration::from_secs(1_700_000_000) + off,
            latency: rng.pick(&[Duration::ZERO, Duration::from_millis(2), Duration::from_millis(40)]),
            tasks: rng.pick(&[1, 1, 1, 2, 3]),
            watch_forbidden: false,
            late_claims: false,
            distance: Duration::ZERO,
            is_throttled: false,
            event_lag: Duration::ZERO,
            write_time: Duration::ZERO,
        }
    }

    fn move_away(&mut self, rng: &mut Rng) {
        let farthest = rng.pick(&[2, 10, 50, 250]);
        (self.latency, self.distance) = (Duration::ZERO, rng.millis(1..=farthest));
    }

    fn lease_for(&mut self, seconds: u64) {
        self.lease_duration = Duration::from_secs(seconds);
        self.renew_deadline = self.lease_duration * 2 / 3;
        self.renew_interval = self.renew_deadline / 2;
    }
}
