//! Acquires the Lease: drives an [`AcquireState`] with requests, a watch and timers until the claim is won.
//!
//! Each turn of the loop asks the machine for a step and carries it out. While the Lease is held, the loop waits for an event
//! of the watch, and joins the queue. Before it claims a free Lease, it leaves the Lease to the processes ahead in the queue.

use std::time::Duration;

use futures::FutureExt;
use futures::future::{Fuse, FusedFuture};

use super::retry::{InFlight, pause_after};
use super::session::Session;
use crate::backoff::{Backoff, jittered};
use crate::error::{AcquireError, RequestError};
use crate::kubernetes::{Failure, WatchEvent};
use crate::lease::LeaseHolder;
use crate::protocol::{AcquireState, AcquireStep, Claim, Instant, Outcome, Snapshot, Write, identity};
use crate::settings::CreateMode;

/// The reaction to a held Lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Wait until it can be claimed.
    Wait,
    /// Give up at once.
    Try,
}

/// Why the Lease was not acquired.
#[derive(Debug)]
pub(crate) enum NotAcquired {
    /// It is held, and the mode is [`Mode::Try`].
    Held(Option<Box<LeaseHolder>>),
    /// A request failed, and the mode is [`Mode::Try`].
    Failed(RequestError),
    /// An error that waiting would not change.
    Fatal(AcquireError),
}

impl From<AcquireError> for NotAcquired {
    fn from(error: AcquireError) -> Self {
        NotAcquired::Fatal(error)
    }
}

/// If watching is forbidden, the Lease is read at this interval, less up to one half by chance.
const POLL_INTERVAL: Duration = Duration::from_secs(2);

/// The longest pause after a failed request, however long the server asks the client to wait.
const MAX_RETRY_PAUSE: Duration = Duration::from_secs(60);

/// If a watch is silent for this long, a read checks it.
const WATCH_SILENCE_LIMIT: Duration = Duration::from_secs(30);

/// Acquires the Lease. If the future is dropped, `state` knows what may be in flight.
pub(super) async fn acquire(
    session: &mut Session,
    state: &mut AcquireState,
    mode: Mode,
) -> Result<Claim, NotAcquired> {
    let started = session.context.now();
    let max_pause = session.context.max_pause();
    let mut driver = AcquireDriver {
        session,
        state,
        mode,
        started,
        read_backoff: Backoff::new(max_pause),
        write_backoff: Backoff::new(max_pause),
        joining: Fuse::terminated(),
        opening: None,
        last_news: started,
        silence_checked: false,
        published_holder: None,
    };
    driver.run().await
}

struct AcquireDriver<'a> {
    session: &'a mut Session,
    state: &'a mut AcquireState,
    mode: Mode,
    started: Instant,
    read_backoff: Backoff,
    /// Starts over when another process has acquired the Lease: then the refused claims were a matter of competition.
    write_backoff: Backoff,
    /// The write that joins the queue, while it is in flight.
    joining: InFlight<Snapshot>,
    /// The present opportunity to claim.
    opening: Option<Opening>,
    /// When the Lease was last heard of.
    last_news: Instant,
    /// Whether the next read is there to check a silent watch.
    silence_checked: bool,
    published_holder: Option<String>,
}

/// A time in which the Lease can be claimed.
struct Opening {
    since: Instant,
    /// Drawn after collisions.
    contention_pause: Duration,
}

impl AcquireDriver<'_> {
    async fn run(&mut self) -> Result<Claim, NotAcquired> {
        loop {
            if self.state.is_known() {
                self.check_create_mode()?;
            }
            if self.state.may_claim()
                && let Some(event) = self.wait_behind_queue().await
            {
                self.watched(event);
                continue;
            }
            match self.state.step(self.session.context.now(), self.session.context.clock.wall()) {
                AcquireStep::Read => self.read().await?,
                AcquireStep::Claim(write) => self.claim(write).await?,
                AcquireStep::Wait(until) => self.wait(until).await?,
                AcquireStep::Pause(until) => self.session.context.clock.sleep_until(until).await,
                AcquireStep::Won(claim) => {
                    self.session.memory.created |= claim.created;
                    self.session.memory.contention.won();
                    return Ok(claim);
                }
            }
        }
    }

    async fn read(&mut self) -> Result<(), NotAcquired> {
        let existed = self.state.observed().is_some();
        let outcome = match self.session.context.client.get(Duration::MAX).await {
            Ok(seen) => {
                self.read_backoff.succeeded();
                self.last_news = self.session.context.now();
                let watcher = &mut self.session.memory.watcher;
                let untold =
                    seen.as_ref().map_or(existed, |seen| !watcher.agrees_with(seen.version.revision));
                if std::mem::take(&mut self.silence_checked) && untold {
                    watcher.refute();
                }
                Outcome::Read(seen)
            }
            Err(failure) => {
                let pause = pause_after(&failure, &mut self.read_backoff, &mut self.session.context.rng);
                self.retry_or_fail(&failure, pause)?
            }
        };
        self.answered(outcome);
        self.on_observation();
        Ok(())
    }

    async fn claim(&mut self, write: Write) -> Result<(), NotAcquired> {
        let outcome = match self.session.context.client.write(&write, Duration::MAX).await {
            Ok(snapshot) => Outcome::Written(snapshot),
            Err(failure) => self.claim_failed(&failure)?,
        };
        self.answered(outcome);
        Ok(())
    }

    fn claim_failed(&mut self, failure: &Failure) -> Result<Outcome, NotAcquired> {
        let first = self.write_backoff.is_fresh();
        let pause = pause_after(failure, &mut self.write_backoff, &mut self.session.context.rng);
        match failure {
            Failure::Conflict(error) if first || self.mode == Mode::Wait => {
                tracing::debug!(%error, "the Lease has changed since it was read");
                if self.session.memory.watcher.is_open() || !first {
                    self.session.memory.contention.collided();
                }
                self.opening = None;
                Ok(Outcome::Unknown { pause })
            }
            Failure::Conflict(_) | Failure::Unknown { .. } => self.retry_or_fail(failure, pause),
            Failure::Denied(_) => {
                self.state.refused();
                self.retry_or_fail(failure, pause)
            }
        }
    }

    fn answered(&mut self, outcome: Outcome) {
        let Session { context, memory } = &mut *self.session;
        self.state.answered(outcome, &mut memory.expiry, context.now(), context.clock.wall());
    }

    /// Ends the acquisition if a failure is fatal, or if it has lasted too long. Otherwise it is tried again.
    fn retry_or_fail(&mut self, failure: &Failure, pause: Duration) -> Result<Outcome, NotAcquired> {
        if let Failure::Denied(denial) = failure {
            return Err(AcquireError::from(denial.clone()).into());
        }
        let error = failure.error().clone();
        if self.mode == Mode::Try {
            return Err(NotAcquired::Failed(error));
        }
        let context = &self.session.context;
        let waited = self.started.until(context.now());
        if !context.client.reached() && waited >= context.timings.lease_duration {
            return Err(AcquireError::Unreachable { waited, last: error }.into());
        }
        let pause = pause.min(MAX_RETRY_PAUSE);
        tracing::warn!(%error, ?pause, "request failed");
        context.progress.failed(error);
        Ok(Outcome::Unknown { pause })
    }

    fn check_create_mode(&self) -> Result<(), AcquireError> {
        let lease = || self.session.context.client.lease().clone();
        let exists = self.state.observed().is_some();
        let ours = self.session.memory.created || self.state.may_have_created();
        match self.session.context.create_mode {
            CreateMode::MustExist if !exists => Err(AcquireError::LeaseMissing(lease())),
            CreateMode::MustNotExist if exists && !ours => Err(AcquireError::LeaseExists(lease())),
            _ => Ok(()),
        }
    }

    /// Leaves a free Lease to the processes ahead in the queue. After collisions, a process outside the queue waits a little
    /// longer. Returns an event of the watch that came meanwhile.
    async fn wait_behind_queue(&mut self) -> Option<WatchEvent> {
        let Session { context, memory } = &mut *self.session;
        let now = context.now();
        let queue = self.state.queue();
        let head_start = queue.map_or(Duration::ZERO, |queue| memory.queue_policy.head_start(queue));
        let has_place = queue.is_some_and(|queue| queue.contains(memory.queue_policy.ticket()));
        let opening = self.opening.get_or_insert_with(|| Opening {
            since: now,
            contention_pause: memory.contention.pause(&mut context.rng),
        });
        let pause = if has_place { Duration::ZERO } else { opening.contention_pause };
        let claim_at = opening.since + head_start + pause;
        if claim_at <= now {
            return None;
        }
        if self.mode == Mode::Try {
            // An event might be old, and there is no time to wait for a newer one. The claim will tell.
            context.clock.sleep_until(claim_at).await;
            return None;
        }
        if let Some(Snapshot { version, .. }) = self.state.observed() {
            memory.watcher.ensure_open(version.revision);
        }
        tokio::select! {
            biased;
            event = memory.watcher.next() => Some(event),
            () = context.clock.sleep_until(claim_at) => None,
        }
    }

    /// Waits for an event of the watch, but no longer than is safe without one.
    async fn wait(&mut self, until: Instant) -> Result<(), NotAcquired> {
        if self.mode == Mode::Try {
            let holder = self.state.observed().and_then(LeaseHolder::of);
            return Err(NotAcquired::Held(holder.map(Box::new)));
        }
        self.opening = None;
        let join_at = self.join_queue();
        let Session { context, memory } = &mut *self.session;
        if let Some(seen) = self.state.observed() {
            memory.watcher.ensure_open(seen.version.revision);
        }
        let limit = if memory.watcher.is_open() {
            WATCH_SILENCE_LIMIT
        } else {
            jittered(POLL_INTERVAL, &mut context.rng)
        };
        let read_at = until.min(self.last_news + limit);
        let reopen_at =
            Some(memory.watcher.retry_at()).filter(|at| !memory.watcher.is_open() && *at > context.now());
        let wake = [join_at, reopen_at].into_iter().flatten().fold(read_at, Instant::min);
        tokio::select! {
            biased;
            event = memory.watcher.next() => self.watched(event),
            joined = &mut self.joining => self.joined(joined),
            () = context.clock.sleep_until(wake) => {
                let now = context.now();
                if read_at <= now {
                    self.silence_checked = true;
                    self.state.read_again(now);
                }
            }
        }
        Ok(())
    }

    /// Joins the queue when it is time, or returns when that will be. While another library holds the Lease, this process
    /// does not join: the release of that holder can fail for good if another client has written since.
    fn join_queue(&mut self) -> Option<Instant> {
        let seen = self.state.observed().filter(|_| self.joining.is_terminated())?;
        if !seen.record.holder.as_deref().is_some_and(identity::is_generated) {
            return None;
        }
        let Session { context, memory } = &mut *self.session;
        let now = context.now();
        let join_at = memory.queue_policy.join_at(seen, now, &mut context.rng)?;
        if join_at > now {
            return Some(join_at);
        }
        memory.queue_policy.joining(seen, now);
        let (client, on) = (context.client.clone(), seen.version.clone());
        let queue = seen.queue.joined_by(memory.queue_policy.ticket());
        self.joining = async move { client.join(&on, &queue).await }.boxed().fuse();
        None
    }

    /// The outcome grants nothing, and a failure is no reason to stop waiting.
    fn joined(&mut self, joined: Result<Snapshot, Failure>) {
        match joined {
            Ok(snapshot) => self.observed(snapshot.version.revision, Some(snapshot)),
            Err(failure) => {
                tracing::debug!(error = %failure.error(), "not in the queue");
                let policy = &mut self.session.memory.queue_policy;
                match failure {
                    Failure::Conflict(_) => policy.collided(self.session.context.now()),
                    _ => policy.widen(),
                }
            }
        }
    }

    fn watched(&mut self, event: WatchEvent) {
        self.last_news = self.session.context.now();
        match event {
            WatchEvent::Changed(snapshot) => self.observed(snapshot.version.revision, Some(snapshot)),
            WatchEvent::Deleted(revision) => self.observed(revision, None),
            // Changes may have been missed. A claim would find that out by itself.
            WatchEvent::Broken(_) if !self.state.may_claim() => {
                self.state.read_again(self.session.memory.watcher.retry_at());
            }
            WatchEvent::Broken(_) | WatchEvent::Forbidden(_) => {}
        }
    }

    fn observed(&mut self, revision: u64, seen: Option<Snapshot>) {
        let Session { context, memory } = &mut *self.session;
        self.state.watched(revision, seen, &mut memory.expiry, context.now(), context.clock.wall());
        self.on_observation();
    }

    /// Draws the consequences of a new observation of the Lease.
    fn on_observation(&mut self) {
        // An unanswered claim of our own is no holder to wait for.
        let holder = self.state.observed().and_then(LeaseHolder::of);
        let holder = holder.filter(|holder| holder.identity != self.session.context.me);
        if holder.is_some() && !self.state.may_claim() {
            self.write_backoff.succeeded();
        }
        self.publish_holder(holder);
    }

    /// Tells callers and the log who holds the Lease.
    fn publish_holder(&mut self, holder: Option<LeaseHolder>) {
        let identity = holder.as_ref().map(|holder| holder.identity.clone());
        if identity != self.published_holder {
            if let (Some(holder), Mode::Wait) = (&identity, self.mode) {
                tracing::info!(holder, "waiting");
            }
            self.published_holder = identity;
        }
        if self.state.is_known() {
            self.session.context.progress.observed(holder);
        }
    }
}
