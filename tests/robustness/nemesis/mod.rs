//! The nemesis: it injects random faults until a deadline, and counts them.
//!
//! Three parts run at the same time: [`network`], [`processes`] and [`control_plane`].

pub(crate) mod control_plane;
pub(crate) mod network;
pub(crate) mod processes;

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::event_log::EventLog;

pub(crate) struct Nemesis {
    event_log: Arc<EventLog>,
    deadline: Instant,
    injected: Mutex<BTreeMap<&'static str, u64>>,
}

impl Nemesis {
    pub(crate) fn new(event_log: Arc<EventLog>, duration: Duration) -> Self {
        Self { event_log, deadline: Instant::now() + duration, injected: Mutex::default() }
    }

    pub(crate) fn is_active(&self) -> bool {
        Instant::now() < self.deadline
    }

    /// Counts and records a fault that is injected now.
    pub(crate) fn record(&self, fault: &'static str, target: &str) {
        self.event_log.record(fault, target);
        *self.injected.lock().unwrap().entry(fault).or_default() += 1;
    }

    /// Waits for a random time in milliseconds, but not beyond the deadline.
    pub(crate) async fn wait(&self, rng: &mut fastrand::Rng, millis: RangeInclusive<u64>) {
        let remaining = self.deadline.saturating_duration_since(Instant::now());
        sleep(Duration::from_millis(rng.u64(millis)).min(remaining)).await;
    }

    pub(crate) fn count(&self, fault: &str) -> u64 {
        self.injected.lock().unwrap().get(fault).copied().unwrap_or_default()
    }

    /// How often each fault was injected.
    pub(crate) fn counts(&self) -> BTreeMap<&'static str, u64> {
        self.injected.lock().unwrap().clone()
    }
}
