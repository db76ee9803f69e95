//! The background task of an observer, and the channel on which it publishes its answers.

use std::sync::Arc;
use std::time::SystemTime;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use super::ExpiryRule;
use super::holder::ObservedHolder;
use crate::clock::Clock;
use crate::driver::{Observe, Report};
use crate::error::ObserveError;
use crate::kubernetes::{Failure, LeaseClient};
use crate::lease::{LeaseHolder, LeaseName};
use crate::protocol::{Instant, Observation, ObserveState, Snapshot};

/// Observes until `stop` is cancelled.
pub(super) async fn run(
    client: Arc<LeaseClient>,
    clock: Clock,
    rng: fastrand::Rng,
    rule: ExpiryRule,
    publisher: Publisher,
    stop: CancellationToken,
) {
    let lease = client.lease();
    let span = tracing::error_span!(target: "lease_lock", "lease_observer", namespace = lease.namespace(), lease = lease.name());
    let state = ObserveState::new(rule.fallback_duration, rule.max_clock_skew, clock.now());
    let observe = Observe::new(client, clock.clone(), rng, state, publisher);
    stop.run_until_cancelled(clock.run(observe.run().instrument(span))).await;
}

/// Publishes the answers of one background task.
pub(super) struct Publisher {
    lease: LeaseName,
    clock: Clock,
    channel: watch::Sender<ObservedHolder>,
}

impl Publisher {
    pub(super) fn new(lease: LeaseName, clock: Clock) -> (Self, watch::Receiver<ObservedHolder>) {
        let (channel, answers) = watch::channel(ObservedHolder::Pending);
        (Self { lease, clock, channel }, answers)
    }

    /// Replaces the answer. A renewal wakes nobody up.
    fn publish(&self, answer: ObservedHolder) {
        self.channel.send_if_modified(|known| {
            let changed = !known.is_same(&answer);
            *known = answer;
            changed
        });
    }

    fn wall(&self, instant: Instant) -> SystemTime {
        let ago = instant.until(self.clock.now());
        let now = self.clock.wall().system_time();
        now.and_then(|now| now.checked_sub(ago)).unwrap_or(SystemTime::UNIX_EPOCH)
    }
}

impl Report for Publisher {
    fn report(&mut self, observation: Observation<'_>, failure: Option<&Failure>) {
        let holder = |seen: &Snapshot| LeaseHolder::of(seen).map(Box::new);
        let answer = match observation {
            Observation::Pending => Some(ObservedHolder::Pending),
            Observation::Free => Some(ObservedHolder::Free),
            Observation::Held(seen) => holder(seen).map(ObservedHolder::Held),
            Observation::Expired(seen) => holder(seen).map(ObservedHolder::Expired),
            Observation::Unknown { since, last } => failure.map(|failure| ObservedHolder::Unknown {
                since: self.wall(since),
                last: last.and_then(holder),
                error: failure.into(),
            }),
        };
        if let Some(answer) = answer {
            self.publish(answer);
        }
    }
}

impl Drop for Publisher {
    /// However the task ends, in a panic or with its runtime, nobody takes its last answer for the present one.
    fn drop(&mut self) {
        let last = self.channel.borrow().last_known().cloned().map(Box::new);
        let since = self.wall(self.clock.now());
        let error = ObserveError::TaskEnded(self.lease.clone());
        self.publish(ObservedHolder::Unknown { since, last, error });
    }
}
