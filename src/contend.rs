//! The waiting side: drives the [`Contender`] with requests, a watch and a timer until the claim is won.

use std::time::Duration;

use futures::stream::BoxStream;

use crate::error::{AcquireError, RequestError};
use crate::lease::LeaseHolder;
use crate::pace::{Backoff, jittered};
use crate::protocol::{Contender, Moment, Verdict};
use crate::record::{Snapshot, Version};
use crate::session::Session;
use crate::settings::CreateMode;
use crate::store::Failure;
use crate::watch::{News, next_news, watch};

/// How long to contend.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Patience {
    /// Until the Lease is ours.
    Forever,
    /// Only if the Lease is free now.
    OneTry,
}

/// A claim that was definitely made.
pub(crate) struct Claim {
    pub sent: Moment,
    pub snapshot: Snapshot,
}

/// A claim that may have been made, or may yet be made, without our knowing it.
#[derive(Debug, Clone)]
pub(crate) struct UnsettledClaim {
    /// The state it was conditional on; `None`: on there being no Lease.
    pub on: Option<Version>,
    /// The first sending: there may have been several on the same state.
    pub sent: Moment,
}

/// Why there is no claim.
#[derive(Debug)]
pub(crate) enum Setback {
    /// Somebody holds the Lease, and there is no patience to wait.
    Held(Option<Box<LeaseHolder>>),
    /// A request failed, and there is no patience to try again.
    Request(RequestError),
    /// It will not work later either.
    Hopeless(AcquireError),
}

impl From<AcquireError> for Setback {
    fn from(error: AcquireError) -> Self {
        Setback::Hopeless(error)
    }
}

/// Where a watch is forbidden, the Lease is read this often, less up to half.
const POLL: Duration = Duration::from_secs(2);

/// A watch that tells nothing for so long is checked with a read: it may be dead, or watch a future that an
/// API server restored from a backup has yet to reach.
const SILENCE: Duration = Duration::from_secs(30);

/// Contends until the Lease is claimed. Dropped at any point, it leaves in `unsettled` what may be under way.
pub(crate) async fn contend(
    session: &mut Session,
    patience: Patience,
    unsettled: &mut Option<UnsettledClaim>,
) -> Result<Claim, Setback> {
    let backoff = Backoff::new(session.longest_pause());
    let started = session.clock.now();
    let mut contention = Contention {
        session,
        patience,
        unsettled,
        backoff,
        started,
        watch: None,
        watchable: true,
        holder: None,
        conflicts: 0,
    };
    contention.run().await
}

struct Contention<'a> {
    session: &'a mut Session,
    patience: Patience,
    unsettled: &'a mut Option<UnsettledClaim>,
    backoff: Backoff,
    started: Moment,
    watch: Option<BoxStream<'static, News>>,
    watchable: bool,
    /// Who was last seen to hold the Lease.
    holder: Option<String>,
    conflicts: u32,
}

impl Contention<'_> {
    async fn run(&mut self) -> Result<Claim, Setback> {
        let mut seen = match self.session.turn.left_free.take() {
            Some(left) => Some(left),
            None => self.look().await?,
        };
        loop {
            let (now, wall) = (self.session.clock.now(), self.session.clock.wall());
            let turn = &mut *self.session.turn;
            match turn.contender.judge(&self.session.me, seen.as_ref(), now, wall) {
                Verdict::Wait(until) => {
                    let holder = seen.as_ref().and_then(LeaseHolder::of);
                    if self.patience == Patience::OneTry {
                        return Err(Setback::Held(holder.map(Box::new)));
                    }
                    self.tell_waiting(holder);
                    seen = self.next_state(seen, until).await?;
                }
                Verdict::Claim => {
                    self.check_create_mode(seen.as_ref())?;
                    if let Some(news) = self.spread_out().await {
                        seen = self.take_news(news, seen).await?;
                        continue;
                    }
                    if let Some(claim) = self.claim(seen.as_ref()).await? {
                        return Ok(claim);
                    }
                    seen = self.look().await?;
                    if let Some(claim) = self.settle(seen.as_ref()) {
                        return Ok(claim);
                    }
                }
            }
        }
    }

    /// Reads the Lease, as often as it takes.
    async fn look(&mut self) -> Result<Option<Snapshot>, Setback> {
        loop {
            match self.session.store.get(Duration::MAX).await {
                Ok(seen) => {
                    self.backoff.succeeded();
                    return Ok(seen);
                }
                Err(failure) => self.endure(failure).await?,
            }
        }
    }

    /// Claims the Lease in the state that was judged. `None`: look again.
    async fn claim(&mut self, seen: Option<&Snapshot>) -> Result<Option<Claim>, Setback> {
        let session = &mut *self.session;
        let write = Contender::claim(&session.me, session.terms.lease_duration, seen, session.clock.wall());
        let sent = session.clock.now();
        let before = self.unsettled.take();
        let first = before.as_ref().filter(|claim| claim.on == write.on).map_or(sent, |claim| claim.sent);
        *self.unsettled = Some(UnsettledClaim { on: write.on.clone(), sent: first });
        match session.store.write(&write, Duration::MAX).await {
            Ok(snapshot) => Ok(Some(self.won(sent, snapshot))),
            Err(Failure::Conflict(error)) => {
                tracing::debug!(%error, "the Lease has changed since it was looked at");
                self.conflicts += 1;
                if self.watch.is_some() || self.conflicts > 1 {
                    session.turn.spread.collided();
                }
                Ok(None)
            }
            Err(failure) => {
                if matches!(failure, Failure::Denied(_)) {
                    *self.unsettled = before;
                }
                self.endure(failure).await?;
                Ok(None)
            }
        }
    }

    fn won(&mut self, sent: Moment, snapshot: Snapshot) -> Claim {
        let created = self.unsettled.take().is_some_and(|claim| claim.on.is_none());
        self.session.turn.created |= created;
        self.session.turn.spread.won();
        Claim { sent, snapshot }
    }

    /// Looks for what became of an unsettled claim. One that was made counts from its own sending.
    fn settle(&mut self, seen: Option<&Snapshot>) -> Option<Claim> {
        let claim = self.unsettled.clone()?;
        if seen.map(|seen| &seen.version) == claim.on.as_ref() {
            return None; // It may yet be made.
        }
        let Some(seen) = seen.filter(|seen| seen.record.holder.as_deref() == Some(&self.session.me)) else {
            *self.unsettled = None; // It never will be.
            return None;
        };
        let terms = self.session.terms;
        let fresh = self.session.clock.now() < claim.sent + terms.renew_interval;
        let intact = seen.record.duration == Some(terms.lease_duration);
        // If too old to build on, it is claimed again, over the first claim.
        (fresh && intact).then(|| self.won(claim.sent, seen.clone()))
    }

    /// Lets a failure pass, if it can.
    async fn endure(&mut self, failure: Failure) -> Result<(), Setback> {
        let error = failure.error().clone();
        let pause = self.backoff.failed(failure.retry_after(), &mut self.session.rng);
        if let Failure::Denied(denial) = failure {
            return Err(AcquireError::from(denial).into());
        }
        if self.patience == Patience::OneTry {
            return Err(Setback::Request(error));
        }
        let waited = self.started.until(self.session.clock.now());
        if !self.session.store.reached() && waited >= self.session.terms.lease_duration {
            return Err(AcquireError::Unreachable { waited, last: error }.into());
        }
        tracing::warn!(%error, ?pause, "request failed");
        self.session.progress.failed(error);
        tokio::time::sleep(pause).await;
        Ok(())
    }

    fn check_create_mode(&self, seen: Option<&Snapshot>) -> Result<(), AcquireError> {
        let ours = self.session.turn.created || self.unsettled.is_some();
        match (self.session.create_mode, seen) {
            (CreateMode::MustExist, None) => {
                Err(AcquireError::LeaseMissing(self.session.store.lease().clone()))
            }
            (CreateMode::MustNotExist, Some(_)) if !ours => {
                Err(AcquireError::LeaseExists(self.session.store.lease().clone()))
            }
            _ => Ok(()),
        }
    }

    /// After collisions, waits a little before claiming. Returns what the watch told meanwhile.
    async fn spread_out(&mut self) -> Option<News> {
        let pause = self.session.turn.spread.pause(&mut self.session.rng);
        if pause.is_zero() {
            return None;
        }
        tokio::select! {
            biased;
            news = next_news(&mut self.watch) => Some(news),
            () = tokio::time::sleep(pause) => None,
        }
    }

    /// The next state of a Lease that somebody holds: told by the watch, or read in time.
    async fn next_state(
        &mut self,
        seen: Option<Snapshot>,
        until: Moment,
    ) -> Result<Option<Snapshot>, Setback> {
        let revision = seen.as_ref().map_or(0, |seen| seen.version.revision);
        if self.watch.is_none() && self.watchable {
            self.watch = Some(watch(self.session.store.clone(), revision));
        }
        let longest = if self.watchable { SILENCE } else { jittered(POLL, &mut self.session.rng) };
        let wake = until.min(self.session.clock.now() + longest);
        let news = tokio::select! {
            biased;
            news = next_news(&mut self.watch) => Some(news),
            () = self.session.clock.sleep_until(wake) => None,
        };
        if let Some(news) = news {
            return self.take_news(news, seen).await;
        }
        let now_seen = self.look().await?;
        if now_seen.as_ref().map(|now| now.version.revision) != Some(revision) {
            // The watch should have told this. A new one starts from here.
            self.watch = None;
        }
        Ok(now_seen)
    }

    async fn take_news(&mut self, news: News, seen: Option<Snapshot>) -> Result<Option<Snapshot>, Setback> {
        let known = seen.as_ref().map_or(0, |seen| seen.version.revision);
        match news {
            News::Changed(snapshot) if snapshot.version.revision > known => Ok(Some(snapshot)),
            News::Deleted(revision) if revision > known => Ok(None),
            News::Changed(_) | News::Deleted(_) => Ok(seen),
            News::Broken(error) => {
                let pause = self.backoff.failed(None, &mut self.session.rng);
                tracing::debug!(%error, ?pause, "the watch broke off");
                tokio::time::sleep(pause).await;
                self.look().await
            }
            News::Forbidden(error) => {
                self.watchable = false;
                self.session.turn.warn_forbidden_watch(&error);
                Ok(seen)
            }
        }
    }

    fn tell_waiting(&mut self, holder: Option<LeaseHolder>) {
        let identity = holder.as_ref().map(|holder| holder.identity.clone());
        if identity != self.holder {
            tracing::info!(holder = identity.as_deref(), "waiting");
            self.holder = identity;
        }
        self.session.progress.saw(holder);
    }
}
