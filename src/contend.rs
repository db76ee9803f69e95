//! The waiting side: drives a [`Contention`] with requests, a watch and a timer until the claim is won.

use std::time::Duration;

use crate::error::{AcquireError, RequestError};
use crate::lease::LeaseHolder;
use crate::pace::{Backoff, jittered};
use crate::protocol::{Answer, Claim, Contention, ContentionStep, Write};
use crate::record::Snapshot;
use crate::session::Session;
use crate::settings::CreateMode;
use crate::store::Failure;
use crate::time::Moment;
use crate::watch::News;
use crate::watcher::Watcher;

/// How long to contend.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Patience {
    /// Until the Lease is ours.
    Forever,
    /// Only if the Lease is free now.
    OneTry,
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

/// However long a server asks to be left alone.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// A watch that tells nothing for so long is checked with a read.
const SILENCE: Duration = Duration::from_secs(30);

/// Contends until the Lease is claimed. Dropped at any point, it leaves in `contention` what may be under way.
pub(crate) async fn contend(
    session: &mut Session,
    contention: &mut Contention,
    patience: Patience,
) -> Result<Claim, Setback> {
    let started = session.clock.now();
    let longest = session.longest_pause();
    let watcher = Watcher::new(session);
    let mut contender = Contender {
        session,
        contention,
        patience,
        started,
        reads: Backoff::new(longest),
        writes: Backoff::new(longest),
        watcher,
        watch_doubted: false,
        holder: None,
    };
    contender.run().await
}

struct Contender<'a> {
    session: &'a mut Session,
    contention: &'a mut Contention,
    patience: Patience,
    started: Moment,
    reads: Backoff,
    /// Starts over when somebody else has got the Lease: then refusals were a matter of competition.
    writes: Backoff,
    watcher: Watcher,
    /// The timer, not the watch, was the reason for the last look.
    watch_doubted: bool,
    /// Who was last seen to hold the Lease.
    holder: Option<String>,
}

impl Contender<'_> {
    async fn run(&mut self) -> Result<Claim, Setback> {
        loop {
            if self.contention.is_judged() {
                self.check_create_mode()?;
            }
            if self.contention.may_claim()
                && let Some(news) = self.spread_out().await
            {
                self.heard(news);
                continue;
            }
            match self.contention.step(self.session.clock.now(), self.session.clock.wall()) {
                ContentionStep::Look => self.look().await?,
                ContentionStep::Claim(write) => self.claim(write).await?,
                ContentionStep::Wait(until) => self.wait(until).await?,
                ContentionStep::Pause(until) => self.session.clock.sleep_until(until).await,
                ContentionStep::Won(claim) => {
                    self.session.turn.created |= claim.created;
                    self.session.turn.spread.won();
                    return Ok(claim);
                }
            }
        }
    }

    async fn look(&mut self) -> Result<(), Setback> {
        let known = self.contention.seen().map(|seen| seen.version.revision);
        let answer = match self.session.store.get(Duration::MAX).await {
            Ok(seen) => {
                self.reads.succeeded();
                let news = seen.as_ref().map(|seen| seen.version.revision) != known;
                if std::mem::take(&mut self.watch_doubted) && news {
                    self.watcher.give_up();
                }
                Answer::Seen(seen)
            }
            Err(failure) => {
                let pause = failure.pause(&mut self.reads, &mut self.session.rng);
                self.endure(&failure, pause)?
            }
        };
        self.answered(answer);
        self.tell_holder();
        Ok(())
    }

    async fn claim(&mut self, write: Write) -> Result<(), Setback> {
        let answer = match self.session.store.write(&write, Duration::MAX).await {
            Ok(snapshot) => Answer::Written(snapshot),
            Err(failure) => self.claim_failed(&failure)?,
        };
        self.answered(answer);
        Ok(())
    }

    fn claim_failed(&mut self, failure: &Failure) -> Result<Answer, Setback> {
        let first = self.writes.is_fresh();
        let pause = failure.pause(&mut self.writes, &mut self.session.rng);
        match failure {
            Failure::Conflict(error) if first || self.patience == Patience::Forever => {
                tracing::debug!(%error, "the Lease has changed since it was looked at");
                if self.watcher.is_open() || !first {
                    self.session.turn.spread.collided();
                }
                Ok(Answer::Unknown { pause })
            }
            Failure::Conflict(_) | Failure::Unknown { .. } => self.endure(failure, pause),
            Failure::Denied(_) => {
                self.contention.refused();
                self.endure(failure, pause)
            }
        }
    }

    fn answered(&mut self, answer: Answer) {
        let (now, wall) = (self.session.clock.now(), self.session.clock.wall());
        self.contention.answered(answer, &mut self.session.turn.judge, now, wall);
    }

    /// What a failure means, if it can pass at all.
    fn endure(&mut self, failure: &Failure, pause: Duration) -> Result<Answer, Setback> {
        if let Failure::Denied(denial) = failure {
            return Err(AcquireError::from(denial.clone()).into());
        }
        let error = failure.error().clone();
        if self.patience == Patience::OneTry {
            return Err(Setback::Request(error));
        }
        let waited = self.started.until(self.session.clock.now());
        if !self.session.store.reached() && waited >= self.session.terms.lease_duration {
            return Err(AcquireError::Unreachable { waited, last: error }.into());
        }
        let pause = pause.min(LONGEST_PAUSE);
        tracing::warn!(%error, ?pause, "request failed");
        self.session.progress.failed(error);
        Ok(Answer::Unknown { pause })
    }

    fn check_create_mode(&self) -> Result<(), AcquireError> {
        let lease = || self.session.store.lease().clone();
        let exists = self.contention.seen().is_some();
        let ours = self.session.turn.created || self.contention.may_have_created();
        match self.session.create_mode {
            CreateMode::MustExist if !exists => Err(AcquireError::LeaseMissing(lease())),
            CreateMode::MustNotExist if exists && !ours => Err(AcquireError::LeaseExists(lease())),
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
            news = self.watcher.next() => Some(news),
            () = tokio::time::sleep(pause) => None,
        }
    }

    /// Waits for news from the watch, but not longer than makes sense without any.
    async fn wait(&mut self, until: Moment) -> Result<(), Setback> {
        if self.patience == Patience::OneTry {
            let holder = self.contention.seen().and_then(LeaseHolder::of);
            return Err(Setback::Held(holder.map(Box::new)));
        }
        let now = self.session.clock.now();
        if let Some(seen) = self.contention.seen() {
            self.watcher.tend(seen.version.revision, now);
        }
        let longest = if self.watcher.is_open() { SILENCE } else { jittered(POLL, &mut self.session.rng) };
        let wake = until.min(now + longest);
        tokio::select! {
            biased;
            news = self.watcher.next() => self.heard(news),
            () = self.session.clock.sleep_until(wake) => {
                self.watch_doubted = true;
                self.contention.doubt(self.session.clock.now());
            }
        }
        Ok(())
    }

    fn heard(&mut self, news: News) {
        self.watcher.heard(&news, self.session);
        match news {
            News::Changed(snapshot) => self.watched(snapshot.version.revision, Some(snapshot)),
            News::Deleted(revision) => self.watched(revision, None),
            // Something may have been missed.
            News::Broken(_) => self.contention.doubt(self.watcher.due()),
            News::Forbidden(_) => {}
        }
    }

    fn watched(&mut self, revision: u64, seen: Option<Snapshot>) {
        let (now, wall) = (self.session.clock.now(), self.session.clock.wall());
        self.contention.watched(revision, seen, &mut self.session.turn.judge, now, wall);
        self.tell_holder();
    }

    fn tell_holder(&mut self) {
        // A claim of our own that went unanswered is nobody to wait for.
        let holder = self.contention.seen().and_then(LeaseHolder::of);
        let holder = holder.filter(|holder| holder.identity != self.session.me);
        let identity = holder.as_ref().map(|holder| holder.identity.clone());
        if identity.is_some() && !self.contention.may_claim() {
            self.writes.succeeded();
        }
        if identity != self.holder {
            if let (Some(holder), Patience::Forever) = (&identity, self.patience) {
                tracing::info!(holder, "waiting");
            }
            self.holder = identity;
        }
        if self.contention.is_judged() {
            self.session.progress.saw(holder);
        }
    }
}
