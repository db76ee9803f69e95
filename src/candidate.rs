//! The background task of an election: stands again and again, leads, and publishes which of the two it does.

use std::mem::discriminant;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use crate::error::AcquireError;
use crate::guard::LeaseGuard;
use crate::held::Held;
use crate::office::Office;
use crate::pace::Backoff;

/// The background task of an election.
pub(crate) struct Candidate {
    office: Arc<Office>,
    news: watch::Sender<Option<Held>>,
    backoff: Backoff,
    rng: fastrand::Rng,
}

/// Longer than anybody polls who cannot watch: 2 s in this crate, 4.4 s in client-go with its defaults.
const STAND_BACK: Duration = Duration::from_secs(5);

/// The longest pause after a refusal.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

impl Candidate {
    pub(crate) fn new(office: Arc<Office>, news: watch::Sender<Option<Held>>) -> Self {
        let rng = office.lock().rng();
        Self { office, news, backoff: Backoff::new(LONGEST_PAUSE), rng }
    }

    /// Stands for election until it is stopped or the lock is shut down.
    pub(crate) async fn run(mut self) {
        let stopped = self.office.stopped().clone();
        stopped.run_until_cancelled(self.stand()).await;
    }

    async fn stand(&mut self) {
        let lock = self.office.lock().clone();
        while !self.office.is_closed() {
            // `shutdown` waits until the guard is where its owner can drop it.
            let pending = lock.pending();
            match lock.acquire().await {
                Ok(guard) => {
                    if let Some(held) = self.take_office(guard) {
                        drop(pending);
                        self.lead(held).await;
                    }
                }
                Err(AcquireError::ShutDown(_)) => return,
                Err(refusal) => {
                    drop(pending);
                    self.refused(refusal).await;
                }
            }
        }
    }

    /// None where the election has ended meanwhile.
    fn take_office(&mut self, guard: LeaseGuard) -> Option<Held> {
        self.backoff.succeeded();
        self.office.set_refusal(None);
        let held = guard.held().clone();
        self.office.take(guard).ok().map(|()| held)
    }

    async fn lead(&mut self, held: Held) {
        let lost = held.token();
        self.news.send_replace(Some(held));
        lost.cancelled().await;
        self.publish_none();
        if self.office.vacate() {
            self.stand_back().await;
        }
    }

    /// Lets others go first: not only until the release is over.
    async fn stand_back(&self) {
        self.office.lock().last_turn_over().await;
        self.pause(STAND_BACK).await;
    }

    async fn refused(&mut self, refusal: AcquireError) {
        let pause = self.backoff.failed(None, &mut self.rng);
        let lock = self.office.lock();
        let known = self.office.refusal();
        if known.is_none_or(|known| discriminant(&known) != discriminant(&refusal)) {
            lock.span().in_scope(|| tracing::error!(error = %refusal, ?pause, "election refused"));
        }
        // Whom it waited for before says nothing any more.
        lock.progress().saw(None);
        self.office.set_refusal(Some(refusal));
        self.pause(pause).await;
    }

    async fn pause(&self, pause: Duration) {
        self.office.lock().closing().run_until_cancelled(tokio::time::sleep(pause)).await;
    }

    fn publish_none(&self) {
        self.news.send_if_modified(|held| held.take().is_some());
    }
}

impl Drop for Candidate {
    /// However the task ends, in a panic or with its runtime, nobody is left to lead unattended.
    fn drop(&mut self) {
        drop(self.office.close());
        self.publish_none();
    }
}
